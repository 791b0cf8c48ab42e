"""What the SQL files promise of the tables: rules, triggers, idempotence, precedence and exactly one winner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from catalogue import content, structure
from clock import utc_now
from database.build_sql import FILES
from database.embedded import EmbeddedPostgres
from database.errors import DatabaseError, RowRefused
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from database.schema import install_schema
from grid.half_hours import HALF_HOUR, UTC, from_rfc3339, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from linked_world import AGENT, decision, store_linked_world
from new_database import new_database

SLOT = half_hour_of(NOW)
Answer = TypeVar("Answer")


@pytest.fixture
def connection(conninfo: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """As the superuser, past every permission."""
    with psycopg.connect(conninfo, autocommit=True, row_factory=dict_row) as session:
        yield session


@pytest.fixture(scope="module")
def shared(postgres_server: EmbeddedPostgres) -> Iterator[PostgresDatabase]:
    """One database for the tests that store nothing in it, or each in a half-hour of its own."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        yield database
        database.close()


@pytest.fixture(scope="module")
def decided(postgres_server: EmbeddedPostgres) -> Iterator[PostgresDatabase]:
    """One database with a decision, for the tests that try in vain to change it."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_linked_world(database)
        yield database
        database.close()


def at_once(count: int, work: Callable[[int], Answer]) -> list[Answer]:
    """The answers of `count` threads that start together."""
    barrier = threading.Barrier(count)

    def start(number: int) -> Answer:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def run_sql_files(conninfo: str) -> None:
    """As a user pastes them: one after the other, each as a whole."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        for file in FILES.values():
            session.execute(file.read_bytes())


def test_running_the_files_again_changes_nothing_and_loses_nothing(
    postgres: PostgresDatabase, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    store_linked_world(postgres)
    before = structure(connection), content(connection)
    for _ in range(2):
        run_sql_files(postgres.conninfo)
    assert (structure(connection), content(connection)) == before


def test_many_servers_that_start_at_once_install_the_files_without_harm(postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as session:
        session.execute("create database bare_of_tables")
    try:
        conninfo = make_conninfo(postgres_server.conninfo, dbname="bare_of_tables")
        databases = [PostgresDatabase(conninfo, max_connections=1) for _ in range(4)]
        at_once(4, lambda number: install_schema(databases[number]))
        assert len(databases[0].select("regions", order=OrderBy(("region_id",)))) == 17
        for database in databases:
            database.close()
    finally:
        with psycopg.connect(postgres_server.conninfo, autocommit=True) as session:
            session.execute("drop database bare_of_tables with (force)")


def test_an_owner_without_special_rights_installs_and_uses_them(postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as session:
        session.execute("create role tenant login")
        session.execute("create database tenancy owner tenant")
    try:
        tenant = PostgresDatabase(make_conninfo(postgres_server.conninfo, dbname="tenancy", user="tenant"))
        assert install_schema(tenant)
        store_linked_world(tenant)
        assert len(tenant.select("orchestration_decisions", order=OrderBy(("decision_id",)))) == 1
        tenant.close()
    finally:
        with psycopg.connect(postgres_server.conninfo, autocommit=True) as session:
            session.execute("drop database tenancy with (force)")
            session.execute("drop role tenant")


@pytest.mark.parametrize(
    "statement",
    [
        "update orchestration_decisions set reasoning = 'another'",
        "update orchestration_decisions set reasoning = reasoning",
        "delete from orchestration_decisions",
        "truncate orchestration_decisions",
        "truncate compute_workloads cascade",
    ],
)
@pytest.mark.parametrize("session_role", ["origin", "replica"])
def test_nobody_changes_the_audit_log(decided: PostgresDatabase, statement: str, session_role: str) -> None:
    before = decided.select("orchestration_decisions", order=OrderBy(("decision_id",)))
    with psycopg.connect(decided.conninfo, autocommit=True) as superuser:
        superuser.execute(f"set session_replication_role = {session_role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="orchestration_decisions is an audit log"):
            superuser.execute(statement.encode())
    assert decided.select("orchestration_decisions", order=OrderBy(("decision_id",))) == before


def test_what_a_decision_refers_to_cannot_be_deleted(decided: PostgresDatabase) -> None:
    for table, key, value in (
        ("compute_workloads", "job_id", "job-1"),
        ("data_centres", "dc_id", "DC-001"),
        ("agents", "agent_id", AGENT),
    ):
        with pytest.raises(RowRefused, match="violates foreign key"):
            decided.delete(table, where=[Where(key, value)])


SIGNAL: Row = {"timestamp": SLOT, "settlement_period": 17}
REGIONAL: Row = {"region_id": 1, "timestamp": SLOT, "carbon_source": "neso", "fetched_at": NOW}
MIX: Row = {"region_id": None, "timestamp": SLOT, "fuel": "wind", "percentage": 50, "mix_source": "synthetic"}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("grid_signals", SIGNAL | {"timestamp": NOW}),
        ("grid_signals", SIGNAL | {"settlement_period": 51}),
        ("grid_signals", SIGNAL | {"carbon_intensity_forecast": 100, "carbon_source": None}),
        ("grid_signals", SIGNAL | {"carbon_intensity_forecast": -1, "carbon_source": "synthetic"}),
        ("grid_signals", SIGNAL | {"carbon_intensity_forecast": 100, "carbon_source": "elexon"}),
        ("grid_signals", SIGNAL | {"demand_mw": 0, "demand_source": "neso"}),
        ("grid_signals", SIGNAL | {"demand_mw": 30_000, "demand_source": None}),
        ("grid_signals", SIGNAL | {"grid_stress_score": 1.01}),
        ("grid_signals", SIGNAL | {"wholesale_price_gbp_mwh": 80, "price_source": "neso"}),
        ("grid_signals", SIGNAL | {"carbon_index": "mild"}),
        ("regional_grid_signals", REGIONAL),
        ("regional_grid_signals", REGIONAL | {"carbon_source": "modelled", "region_id": 18}),
        ("regional_grid_signals", REGIONAL | {"carbon_source": "modelled", "timestamp": NOW}),
        ("generation_mix", MIX | {"fuel": "peat"}),
        ("generation_mix", MIX | {"percentage": 101}),
        ("generation_mix", MIX),
        ("data_centres", data_centre(1, pue=0.9)),
        ("data_centres", data_centre(1, current_load_percentage=100.1)),
        ("data_centres", data_centre(1, latitude=91)),
        ("data_centres", data_centre(1, status="ON FIRE")),
        ("data_centres", data_centre(1, operator="OP-nobody")),
        ("data_centres", data_centre(1, dc_id="DC 1")),
        ("compute_workloads", workload("")),
        ("compute_workloads", workload("a" * 65)),
        ("compute_workloads", workload("job 1")),
        ("compute_workloads", workload("job-1", workload_type="MINING")),
        ("compute_workloads", workload("job-1", urgency="NOW")),
        ("compute_workloads", workload("job-1", required_gpu_mins=-1)),
        ("compute_workloads", workload("job-1", host_dc_id="DC-404")),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(shared: PostgresDatabase, table: str, row: Row) -> None:
    with pytest.raises(RowRefused):
        shared.insert(table, [row])


def test_zeros_and_negative_prices_are_values(postgres: PostgresDatabase) -> None:
    zeros = {
        "carbon_intensity_forecast": 0,
        "carbon_source": "carbon_intensity_api",
        "grid_stress_score": 0,
        "wholesale_price_gbp_mwh": -12.5,
        "price_source": "elexon",
    }
    (stored,) = postgres.insert("grid_signals", [SIGNAL | zeros])
    assert {name: stored[name] for name in zeros} == zeros


def test_a_row_is_as_old_as_its_oldest_figure(postgres: PostgresDatabase) -> None:
    times = {"carbon_fetched_at": NOW, "demand_fetched_at": NOW - timedelta(hours=3), "price_fetched_at": None}
    (stored,) = postgres.insert("grid_signals", [SIGNAL | times])
    assert from_rfc3339(stored["fetched_at"]) == NOW - timedelta(hours=3)


def test_updated_at_moves_with_a_change_and_only_then(postgres: PostgresDatabase) -> None:
    store_data_centres(postgres, [data_centre(1)])
    the_centre = [Where("dc_id", "DC-001")]
    (before,) = postgres.select("data_centres", where=the_centre, order=OrderBy(("dc_id",)))
    (same,) = postgres.update("data_centres", {"name": before["name"]}, where=the_centre)
    assert same == before
    (changed,) = postgres.update("data_centres", {"name": "Another"}, where=the_centre)
    assert changed["updated_at"] > before["updated_at"]
    assert changed["created_at"] == before["created_at"]


def test_an_inserted_workload_asks_for_a_decision_and_wakes_listeners(database: Database) -> None:
    listener = database.listen(["workload_ready"])
    submit(database, workload("job-1"), workload("job-2"))
    database.insert("compute_workloads", [workload("job-3") | {"status": "RUNNING"}])
    asked = database.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert [(row["job_id"], row["work_state"]) for row in asked] == [("job-1", "available"), ("job-2", "available")]
    if listener is not None:
        assert listener.wait(30) == ["workload_ready"]
        listener.close()


def figures(source: str, value: float, fetched_at: datetime, *, slot: datetime = SLOT) -> tuple[Row, Row, Row]:
    """A national and a regional signal and a national mix of one half-hour, all of one source."""
    real = source == "real"
    national = SIGNAL | {
        "timestamp": slot,
        "carbon_intensity_forecast": value,
        "carbon_index": "low",
        "carbon_source": "carbon_intensity_api" if real else source,
        "carbon_fetched_at": fetched_at,
        "demand_mw": value,
        "grid_stress_score": value / 1000,
        "demand_source": "neso" if real else source,
        "demand_fetched_at": fetched_at,
        "wholesale_price_gbp_mwh": value,
        "price_source": "elexon" if real else source,
        "price_fetched_at": fetched_at,
    }
    carbon_source = "carbon_intensity_api" if real else source
    regional = {
        "region_id": 1,
        "timestamp": slot,
        "carbon_intensity_forecast": value,
        "carbon_index": "low",
        "carbon_source": carbon_source,
        "fetched_at": fetched_at,
        "mix": {"wind": value / 10},
    }
    return national, regional, {"timestamp": slot, "mix_source": carbon_source, "mix": {"wind": value / 10}}


def store(database: Database, national: Row, regional: Row | None = None, mix: Row | None = None) -> Row:
    batch = {
        "national": [national],
        "regional": [] if regional is None else [regional],
        "national_mix": [] if mix is None else [mix],
    }
    answer: Row = database.call("store_signals", {"p_batch": batch})
    return answer


def stored_signal(database: Database, slot: datetime = SLOT) -> Row:
    (row,) = database.select("grid_signals", where=[Where("timestamp", slot)], order=OrderBy(("timestamp",)))
    return row


SOURCES_BY_RANK = ("synthetic", "modelled", "real")


@pytest.mark.parametrize("stored", [0, 1, 2])
@pytest.mark.parametrize("later", [0, 1, 2])
def test_a_figure_gives_way_only_to_one_as_good(shared: PostgresDatabase, stored: int, later: int) -> None:
    slot = SLOT + (1 + 3 * stored + later) * HALF_HOUR
    store(shared, *figures(SOURCES_BY_RANK[stored], 100, NOW, slot=slot))
    store(shared, *figures(SOURCES_BY_RANK[later], 200, NOW + HALF_HOUR, slot=slot))
    value = 200 if later >= stored else 100
    signal = stored_signal(shared, slot)
    names = ("carbon_intensity_forecast", "demand_mw", "wholesale_price_gbp_mwh")
    assert {signal[name] for name in names} == {value}
    assert signal["grid_stress_score"] == value / 1000
    at_the_time = [Where("timestamp", slot)]
    (regional,) = shared.select("regional_grid_signals", where=at_the_time, order=OrderBy(("region_id", "timestamp")))
    assert regional["carbon_intensity_forecast"] == value
    mixes = shared.select("generation_mix", where=at_the_time, order=OrderBy(("mix_id",)))
    assert [mix["percentage"] for mix in mixes] == [value / 10, value / 10]


def test_of_two_figures_as_good_the_one_fetched_later_stands(postgres: PostgresDatabase) -> None:
    store(postgres, figures("real", 200, NOW + HALF_HOUR)[0])
    store(postgres, figures("real", 100, NOW)[0])
    signal = stored_signal(postgres)
    assert (signal["carbon_intensity_forecast"], signal["demand_mw"], signal["wholesale_price_gbp_mwh"]) == (
        200,
        200,
        200,
    )


def test_a_null_replaces_nothing_and_an_actual_joins_its_forecast(database: Database) -> None:
    store(database, figures("real", 100, NOW)[0])
    empty = dict.fromkeys(figures("real", 0, NOW)[0]) | SIGNAL
    store(database, empty | {"carbon_intensity_actual": 97, "carbon_source": "carbon_intensity_api"})
    signal = stored_signal(database)
    assert (signal["carbon_intensity_forecast"], signal["carbon_intensity_actual"]) == (100, 97)
    assert (signal["demand_mw"], signal["demand_source"], signal["price_source"]) == (100, "neso", "elexon")
    store(database, empty)
    assert stored_signal(database) == signal


def test_storing_the_same_mix_again_writes_no_row(postgres: PostgresDatabase) -> None:
    batch = figures("real", 100, NOW)
    assert store(postgres, *batch)["mix"] == 2
    assert store(postgres, *batch)["mix"] == 0


def test_a_slot_that_many_claim_at_once_has_one_winner(database: Database) -> None:
    def claim(number: int, *, again: bool = False) -> Row:
        arguments = {
            "p_slot": SLOT,
            "p_owner": f"server:{number}:x",
            "p_lease_seconds": 60,
            "p_again": again,
        }
        answer: Row = database.call("claim_pipeline_slot", arguments)
        return answer

    answers = at_once(12, claim)
    (winner,) = [number for number, answer in enumerate(answers) if answer["claimed"]]
    assert {answer["owner"] for answer in answers if not answer["claimed"]} == {f"server:{winner}:x"}
    assert {answer["state"] for answer in answers if not answer["claimed"]} == {"running"}

    token = answers[winner]["lease_token"]
    finish = {
        "p_slot": SLOT,
        "p_lease_token": token,
        "p_state": "succeeded",
        "p_sources": {},
        "p_counts": {},
        "p_stages_ms": {},
    }
    assert database.call("finish_pipeline_run", finish) == {"state": "finished"}
    assert database.call("finish_pipeline_run", finish) == {"state": "fenced"}
    assert not any(answer["claimed"] for answer in at_once(4, claim))
    assert sum(answer["claimed"] for answer in at_once(12, lambda number: claim(number, again=True))) == 1


def test_a_lease_that_ran_out_is_taken_over_once_and_its_holder_fenced_off(postgres: PostgresDatabase) -> None:
    arguments = {"p_slot": SLOT, "p_owner": "server:0:x", "p_lease_seconds": 0.0}
    old = postgres.call("claim_pipeline_slot", arguments)
    arguments["p_lease_seconds"] = 60
    answers = at_once(12, lambda _: postgres.call("claim_pipeline_slot", arguments))
    (new,) = [answer for answer in answers if answer["claimed"]]
    assert new["lease_token"] > old["lease_token"]
    batch: Row = {"national": [], "regional": [], "national_mix": []}
    stale = {"p_slot": SLOT, "p_lease_token": old["lease_token"], "p_batch": batch}
    assert postgres.call("store_run", stale) == {"state": "fenced"}
    assert postgres.call("store_run", stale | {"p_lease_token": new["lease_token"]})["state"] == "stored"


def test_only_the_dead_owner_that_is_named_loses_its_lease(postgres: PostgresDatabase) -> None:
    arguments = {"p_slot": SLOT, "p_owner": "server:0:x", "p_lease_seconds": 60}
    postgres.call("claim_pipeline_slot", arguments)
    assert not postgres.call("claim_pipeline_slot", arguments | {"p_dead_owner": "server:1:x"})["claimed"]
    assert postgres.call("claim_pipeline_slot", arguments | {"p_dead_owner": "server:0:x"})["claimed"]


def submission(job_id: str, digest: str = "one", **changes: Any) -> Row:
    return {"job_id": job_id, "workload_type": "OTHER", "urgency": "LOW", "submission_digest": digest, **changes}


def test_the_same_submission_from_many_at_once_is_stored_once(database: Database) -> None:
    rows = [submission(f"job-{number}") for number in range(20)]

    def submit_shuffled(number: int) -> Row:
        answer: Row = database.call("submit_workloads", {"p_rows": rows[number:] + rows[:number]})
        return answer

    answers = at_once(10, submit_shuffled)
    created = [job_id for answer in answers for job_id in answer["created"]]
    assert sorted(created) == sorted(row["job_id"] for row in rows)
    for number, answer in enumerate(answers):
        assert [row["job_id"] for row in answer["rows"]] == [row["job_id"] for row in rows[number:] + rows[:number]]
    assert len(database.select("workload_notifications", order=OrderBy(("notification_id",)))) == 20


def test_of_submissions_that_contradict_each_other_one_is_stored_whole_and_none_in_part(
    postgres: PostgresDatabase,
) -> None:
    def submit_own(number: int) -> Row:
        rows = [submission("shared", digest=f"digest {number}"), submission(f"own-{number}")]
        answer: Row = postgres.call("submit_workloads", {"p_rows": rows})
        return answer

    answers = at_once(10, submit_own)
    (winner,) = [number for number, answer in enumerate(answers) if "created" in answer]
    assert [answer for answer in answers if "created" not in answer] == [{"conflicts": ["shared"]}] * 9
    stored = postgres.select("compute_workloads", order=OrderBy(("job_id",)))
    assert [row["job_id"] for row in stored] == [f"own-{winner}", "shared"]
    assert len(postgres.select("workload_notifications", order=OrderBy(("notification_id",)))) == 2


def test_a_submission_with_unknown_names_stores_nothing_and_lists_the_known_ones(
    postgres: PostgresDatabase,
) -> None:
    postgres.insert("operators", [{"operator_id": "OP-1", "name": "One"}])
    store_data_centres(postgres, [data_centre(1)])
    rows = [submission("job-1", operator="OP-1"), submission("job-2", operator="OP-2")]
    assert postgres.call("submit_workloads", {"p_rows": rows}) == {
        "unknown_operators": ["OP-2"],
        "known_operators": ["OP-1"],
    }
    rows = [submission("job-1", host_dc_id="DC-404")]
    assert postgres.call("submit_workloads", {"p_rows": rows}) == {
        "unknown_data_centres": ["DC-404"],
        "known_data_centres": ["DC-001"],
    }
    assert postgres.select("compute_workloads", order=OrderBy(("job_id",))) == []


def test_one_submission_that_breaks_a_rule_stores_none_of_its_request(postgres: PostgresDatabase) -> None:
    with pytest.raises(RowRefused):
        postgres.call("submit_workloads", {"p_rows": [submission("job-1"), submission("job 2")]})
    assert postgres.select("compute_workloads", order=OrderBy(("job_id",))) == []


def test_pruning_takes_what_is_old_and_leaves_what_still_counts(
    postgres: PostgresDatabase, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    old, before = NOW - timedelta(days=100), NOW - timedelta(days=90)
    store_grid(postgres, old, regions=(1, 2))
    store_linked_world(postgres)
    connection.execute("update workload_notifications set work_state = 'completed', finished_at = %s", (old,))
    connection.execute(
        "insert into workload_notifications (job_id, work_state, created_at) values ('job-2', 'discarded', %s)",
        (old,),
    )
    connection.execute(
        "insert into broadcast_log (sequence, event_type, event, created_at) "
        "select n, 'decision', '{}', %s from generate_series(101, 103) as n",
        (old,),
    )
    connection.execute("insert into agent_states (agent_id, state, observed_at) values (%s, 'OLD', %s)", (AGENT, old))
    connection.execute(
        "insert into pipeline_runs (slot, state, work_state, leased_by, lease_token, leased_until) "
        "values (%s, 'succeeded', 'completed', 'a:1:x', 1, now()), (%s, 'running', 'running', 'a:1:x', 2, now())",
        (half_hour_of(old), half_hour_of(old) + HALF_HOUR),
    )
    decided = postgres.select("orchestration_decisions", order=OrderBy(("decision_id",)))
    new_events = [row["sequence"] for row in postgres.select("broadcast_log", order=OrderBy(("sequence",)))][:-3]

    pruned = postgres.call("prune_history", {"p_before": before})
    assert pruned == {"grid_signals": 96, "regional_grid_signals": 192, "notifications": 2, "events": 2}

    def left(table: str, *key: str) -> list[Row]:
        return postgres.select(table, order=OrderBy(key))

    assert min(row["timestamp"] for row in left("grid_signals", "timestamp")) >= "2026-11-22"
    assert min(row["timestamp"] for row in left("generation_mix", "mix_id")) >= "2026-11-22"
    assert [row["work_state"] for row in left("workload_notifications", "notification_id")] == ["discarded"]
    assert [row["sequence"] for row in left("broadcast_log", "sequence")] == [*new_events, 103]
    assert [row["state"] for row in left("agent_states", "state_id")] == ["STARTED"]
    assert [row["state"] for row in left("pipeline_runs", "slot")] == ["running"]
    assert left("orchestration_decisions", "decision_id") == decided
    assert len(left("compute_workloads", "job_id")) == 2


def test_the_last_state_of_an_agent_is_kept_however_old(
    postgres: PostgresDatabase, connection: psycopg.Connection[dict[str, Any]]
) -> None:
    store_linked_world(postgres, NOW)
    postgres.call("prune_history", {"p_before": NOW + timedelta(days=1)})
    assert len(postgres.select("agent_states", order=OrderBy(("state_id",)))) == 1


def test_the_17_regions_are_there(postgres: PostgresDatabase) -> None:
    regions = postgres.select("regions", order=OrderBy(("region_id",)))
    assert [row["region_id"] for row in regions] == list(range(1, 18))
    assert [row["short_name"] for row in regions if row["is_aggregate"]] == ["England", "Scotland", "Wales"]
    assert {row["country"] for row in regions} == {"England", "Scotland", "Wales"}
    london = regions[12]
    assert (london["short_name"], london["dno_region"]) == ("London", "UKPN London")
    assert all(49 < row["latitude"] < 61 and -8 < row["longitude"] < 2 for row in regions)


def test_the_views_show_the_present(database: Database) -> None:
    now = utc_now()
    store_linked_world(database, now)
    (state,) = database.select("current_system_state", order=OrderBy(("as_of",)))
    assert from_rfc3339(state["timestamp"]) == half_hour_of(now)
    assert (state["carbon_intensity_forecast"], state["wholesale_price_gbp_mwh"]) == (150, 80)
    assert (state["data_centres_active"], state["workloads_waiting"]) == (2, 2)
    ranking = database.select("regional_carbon_ranking", order=OrderBy(("rank", "region_id")))
    assert [(row["rank"], row["region_id"]) for row in ranking] == [(n, n) for n in range(1, 15)]
    (decided,) = database.select("recent_decisions", order=OrderBy(("decision_id",)))
    assert (decided["job_id"], decided["chosen_dc_name"]) == ("job-1", "Data centre 1")


def test_the_views_show_that_nothing_is_known(postgres: PostgresDatabase) -> None:
    (state,) = postgres.select("current_system_state", order=OrderBy(("as_of",)))
    assert (state["timestamp"], state["carbon_intensity_forecast"], state["data_centres_active"]) == (None, None, 0)
    ranking = postgres.select("regional_carbon_ranking", order=OrderBy(("rank", "region_id")))
    assert {row["carbon_intensity_forecast"] for row in ranking} == {None}
    assert len(ranking) == 14


def test_half_hours_and_source_ranks_in_sql_agree_with_the_program(
    connection: psycopg.Connection[dict[str, Any]],
) -> None:
    moments = [NOW, SLOT, datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)]
    for moment in moments:
        found = connection.execute("select half_hour_of(%s) as start", (moment,)).fetchone()
        assert found == {"start": half_hour_of(moment)}
    ranks = connection.execute(
        "select source_rank(s) as rank from unnest(array[null, 'synthetic', 'modelled', 'neso', 'elexon']) as s"
    ).fetchall()
    assert [row["rank"] for row in ranks] == [-1, 0, 1, 2, 2]


def test_decisions_of_one_sequence_number_are_refused(postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    with pytest.raises(DatabaseError):
        postgres.insert("orchestration_decisions", [decision("job-2", 1)])
