"""Pipeline runs against a loopback server in the part of the three APIs, and a real database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from database.errors import DatabaseClosed, DatabaseError
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from faulty_upstream import Reply
from grid.half_hours import HALF_HOUR, UTC, from_rfc3339, settlement_period
from grid_upstreams import (
    GridUpstreams,
    elexon_demand_mw,
    national_gco2_per_kwh,
    neso_demand_mw,
    price_gbp_per_mwh,
    regional_gco2_per_kwh,
)
from hypothesis_profile import SHARES_A_FIXTURE
from ingest.health import read_health
from ingest.report import RunReport
from ingest.run import run_once
from ingest.sources import FetchOutcome, Upstreams, offline_outcome
from new_database import as_url
from server_process import inherited
from settings import Settings, load_settings
from upstream_payloads import CALM_MIX
from upstreams.neso import NesoClient

NOW = datetime(2026, 11, 22, 8, 14, 30, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
AHEAD = [SLOT + n * HALF_HOUR for n in range(96)]
OFFLINE = load_settings({})
BACKEND = Path(pipeline.__file__).parent


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that fails is asked again at once: tests/upstreams/test_session.py has the pauses between attempts."""
    monkeypatch.setattr("upstreams.session.pause_s", lambda *_, **__: 0.0)


@pytest.fixture
def upstream() -> Iterator[GridUpstreams]:
    with GridUpstreams(NOW) as server:
        yield server


def run(database: Database, server: GridUpstreams, now: datetime = NOW, *, again: bool = False) -> RunReport:
    """A run of a process of its own: with new connections, and NESO's calls uncounted."""
    settings = server.settings()
    with Upstreams(settings) as upstreams:
        return run_once(database, settings, upstreams, now=now, again=again)


def run_offline(database: Database, now: datetime = NOW, settings: Settings = OFFLINE, **options: bool) -> RunReport:
    return run_once(database, settings, None, now=now, **options)


def rows(database: Database, table: str, *key: str, where: tuple[Where, ...] = ()) -> list[Row]:
    return database.select(table, order=OrderBy(key), where=where)


def signals(database: Database) -> dict[datetime, Row]:
    return {from_rfc3339(row["timestamp"]): row for row in rows(database, "grid_signals", "timestamp")}


def regional_signals(database: Database) -> dict[tuple[int, datetime], Row]:
    found = rows(database, "regional_grid_signals", "region_id", "timestamp")
    return {(row["region_id"], from_rfc3339(row["timestamp"])): row for row in found}


def the_run(database: Database, slot: datetime = SLOT) -> Row:
    (row,) = rows(database, "pipeline_runs", "slot", where=(Where("slot", slot),))
    return row


def everything(database: Database) -> dict[str, list[Row]]:
    """All rows that a run may write, but for the record of the run itself."""
    return {
        table: rows(database, table, *key)
        for table, key in {
            "grid_signals": ("timestamp",),
            "regional_grid_signals": ("region_id", "timestamp"),
            "generation_mix": ("mix_id",),
            "operators": ("operator_id",),
            "data_centres": ("dc_id",),
            "storage_assets": ("asset_id",),
            "agents": ("agent_id",),
            "compute_workloads": ("job_id",),
            "workload_notifications": ("notification_id",),
        }.items()
    }


def test_a_run_stores_what_the_sources_say_and_names_them(database: Database, upstream: GridUpstreams) -> None:
    report = run(database, upstream)
    assert report.state == "succeeded"
    assert {source.state for source in report.sources.values()} == {"fresh"}

    national = signals(database)
    assert [national[at]["carbon_intensity_forecast"] for at in AHEAD] == list(map(national_gco2_per_kwh, AHEAD))
    assert {national[at]["carbon_source"] for at in AHEAD} == {"carbon_intensity_api"}
    assert {national[at]["settlement_period"] - settlement_period(at) for at in AHEAD} == {0}
    before = SLOT - HALF_HOUR
    assert national[before]["carbon_intensity_actual"] == national_gco2_per_kwh(before) + 5
    assert (national[before]["wholesale_price_gbp_mwh"], national[before]["price_source"]) == (
        price_gbp_per_mwh(before),
        "elexon",
    )
    assert {national[at]["price_source"] for at in AHEAD} == {"modelled"}
    assert (national[SLOT]["demand_mw"], national[SLOT]["demand_source"]) == (elexon_demand_mw(SLOT), "elexon")
    later = SLOT + timedelta(hours=40)
    assert (national[later]["demand_mw"], national[later]["demand_source"]) == (neso_demand_mw(later), "neso")

    regional = regional_signals(database)
    assert len(regional) == 17 * 96
    for (region_id, at), row in regional.items():
        assert row["carbon_intensity_forecast"] == regional_gco2_per_kwh(region_id, at)
        assert row["carbon_source"] == "carbon_intensity_api"
    mix = rows(database, "generation_mix", "mix_id", where=(Where("region_id", True, "is_null"),))
    assert {row["fuel"]: row["percentage"] for row in mix} == CALM_MIX

    centres = rows(database, "data_centres", "dc_id")
    assert len(centres) == 8
    for centre in centres:
        assert centre["current_carbon_intensity_gco2"] == regional_gco2_per_kwh(centre["region_id"], SLOT)
        assert from_rfc3339(centre["carbon_intensity_timestamp"]) == SLOT
    (event,) = database.call("dfs_requirements_from", {"p_from": NOW})
    assert (event["event_id"], event["requirement_mw"]) == ("2026-136", "500")
    assert len(database.call("loss_of_load_between", {"p_from": SLOT, "p_until": AHEAD[-1]})) == 95
    record = the_run(database)
    assert (record["state"], record["last_error"], record["counts"]["workloads"]) == ("succeeded", None, 3)
    assert record["counts"]["dfs_events"] == 1 < record["counts"]["price_revisions"]
    assert record["sources"].keys() == report.sources.keys()
    assert set(record["stages_ms"]) >= {"claim", "known", "fetch", "derive", "store", "prune"}


def test_running_it_again_changes_nothing(postgres: PostgresDatabase, upstream: GridUpstreams) -> None:
    run(postgres, upstream)
    first = everything(postgres)
    report = run(postgres, upstream, again=True)
    assert report.state == "succeeded"
    assert report.counts["workloads"] == 0
    assert everything(postgres) == first


def test_without_a_network_there_is_a_whole_world_and_all_of_it_says_it_is_synthetic(database: Database) -> None:
    report = run_offline(database)
    assert report.state == "succeeded"
    national = signals(database)
    assert sorted(national) == AHEAD
    for row in national.values():
        assert {row["carbon_source"], row["demand_source"], row["price_source"]} == {"synthetic"}
        assert None not in (row["carbon_intensity_forecast"], row["demand_mw"], row["wholesale_price_gbp_mwh"])
    regional = regional_signals(database)
    assert len(regional) == 17 * 96
    assert {row["carbon_source"] for row in regional.values()} == {"synthetic"}
    assert {row["mix_source"] for row in rows(database, "generation_mix", "mix_id")} == {"synthetic"}
    for table, key in (("data_centres", "dc_id"), ("storage_assets", "asset_id"), ("compute_workloads", "job_id")):
        found = rows(database, table, key)
        assert found
        assert all(row["is_synthetic"] for row in found)


def test_an_offline_run_changes_no_real_figure_and_models_the_rest(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    run(postgres, upstream)
    real = signals(postgres)
    run_offline(postgres, NOW + timedelta(hours=2))
    after = signals(postgres)
    for at in AHEAD:
        assert after[at]["carbon_intensity_forecast"] == real[at]["carbon_intensity_forecast"]
        assert after[at]["demand_mw"] == real[at]["demand_mw"]
    added = [at for at in after if at > AHEAD[-1]]
    assert len(added) == 4
    assert {after[at]["carbon_source"] for at in added} == {"modelled"}
    regional = regional_signals(postgres)
    assert {regional[region, at]["carbon_source"] for region in range(1, 18) for at in added} == {"modelled"}


def test_real_figures_take_the_place_of_synthetic_ones(postgres: PostgresDatabase, upstream: GridUpstreams) -> None:
    run_offline(postgres)
    run(postgres, upstream, again=True)
    assert {row["carbon_source"] for row in signals(postgres).values()} == {"carbon_intensity_api", None}
    assert {row["carbon_source"] for row in regional_signals(postgres).values()} == {"carbon_intensity_api"}
    mixes = rows(postgres, "generation_mix", "mix_id", where=(Where("region_id", False, "is_null"),))
    assert {row["mix_source"] for row in mixes} == {"carbon_intensity_api"}


# Published, interpolated, modelled, invented: each comes before the next.
ORDER = (("elexon", False), ("modelled", True), ("modelled", False), ("synthetic", False))


@settings(max_examples=60, suppress_health_check=SHARES_A_FIXTURE)
@given(offers=st.lists(st.tuples(st.sampled_from(ORDER), st.integers(1, 5)), min_size=1, max_size=6))
def test_what_is_stored_is_the_best_that_was_offered_and_of_real_ones_the_newest(
    postgres: PostgresDatabase, offers: list[tuple[tuple[str, bool], int]]
) -> None:
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("truncate grid_signals cascade")
    best = min(ORDER.index(kind) for kind, _ in offers)
    same = [(number, minute) for number, (kind, minute) in enumerate(offers) if ORDER.index(kind) == best]
    # Of figures that nobody published the last one made is the one to keep, whatever it is modelled on.
    expected = max(same, key=lambda offer: (offer[1], offer[0])) if best == 0 else same[-1]
    for number, ((source, interpolated), minute) in enumerate(offers):
        row = {
            "timestamp": SLOT,
            "settlement_period": 17,
            "demand_mw": 30_000 + number,
            "demand_source": source,
            "demand_interpolated": interpolated,
            "demand_fetched_at": NOW + timedelta(minutes=minute),
        }
        postgres.call("store_signals", {"p_batch": {"national": [row]}})
    (stored,) = rows(postgres, "grid_signals", "timestamp")
    assert (stored["demand_source"], stored["demand_interpolated"]) == ORDER[best]
    assert stored["demand_mw"] == 30_000 + expected[0]


def test_after_the_clock_was_set_back_new_figures_take_the_place_of_those_of_the_future(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    ahead = NOW + timedelta(hours=26)
    upstream.now = ahead
    run(postgres, upstream, ahead)
    upstream.now = NOW
    assert run(postgres, upstream, NOW).state == "succeeded"
    later = signals(postgres)[SLOT + timedelta(hours=30)]
    assert from_rfc3339(later["carbon_fetched_at"]) == NOW


def test_without_sources_for_days_the_figures_say_how_old_what_is_real_of_them_is(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    run(postgres, upstream)
    upstream.faults = {"/carbon/": Reply(status=500), "/neso/": Reply(status=500), "/elexon/": Reply(status=500)}
    later = NOW + timedelta(hours=30)
    assert run(postgres, upstream, later).state == "partial"

    grid = postgres.call("grid_context", {"p_now": later})
    assert grid["national"]["forecast"]["carbon_sources"] == {"carbon_intensity_api": 36, "modelled": 60}
    london = next(region for region in grid["regional"] if region["region_id"] == 13)
    for forecast in (grid["national"]["forecast"], london["forecast"]):
        assert from_rfc3339(forecast["oldest_fetched_at"]) == NOW
    found = read_health(postgres, now=later, version="1")
    assert (found.state, found.serves()) == ("degraded", True)
    assert "wholesale price" in found.figure_reasons()[0]
    assert "stale, resting on figures fetched at 2026-11-22T08:14:30Z" in found.figure_reasons()[0]
    assert "elexon_market_index_price (last answer 2026-11-22T08:14:30Z)" in found.figure_reasons()[-1]

    much_later = NOW + timedelta(days=12)
    run(postgres, upstream, much_later)
    found = read_health(postgres, now=much_later, version="1")
    assert (found.state, found.newest_signal_age_seconds) == ("degraded", None)
    assert "invented (synthetic), with no real figure behind it" in found.figure_reasons()[0]


def test_a_process_that_stops_amid_a_run_says_nothing_of_it_and_the_next_one_makes_it(
    postgres: PostgresDatabase, conninfo: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopping = PostgresDatabase(conninfo)

    def stop(*_: object) -> FetchOutcome:
        stopping.close()
        return offline_outcome()

    with monkeypatch.context() as patched:
        patched.setattr("ingest.run._fetch", stop)
        with pytest.raises(DatabaseClosed):
            run_offline(stopping)
    assert caplog.text == ""
    monkeypatch.setattr("ingest.run._PROCESS", "its successor")
    assert run_offline(postgres).state == "succeeded"


def test_a_source_that_fails_keeps_its_rows_and_the_others_go_on(database: Database, upstream: GridUpstreams) -> None:
    run(database, upstream)
    before = regional_signals(database)
    upstream.faults = {"/regional/": Reply({"error": "gone"}, status=404)}
    later = upstream.now = NOW + HALF_HOUR
    report = run(database, upstream, later)
    assert report.state == the_run(database, SLOT + HALF_HOUR)["state"] == "partial"
    states = {name: source.state for name, source in report.sources.items()}
    assert states.pop("carbon_regional_forecast") == "stale"
    assert set(states.values()) == {"fresh"}
    failed = report.sources["carbon_regional_forecast"]
    assert "HTTP 404" in failed.detail
    assert failed.last_success_at == "2026-11-22T08:14:30Z"
    after = regional_signals(database)
    assert {key: after[key] for key in before} == before
    assert {row["carbon_source"] for key, row in after.items() if key not in before} == {"modelled"}

    upstream.faults = {}
    upstream.now = NOW + 2 * HALF_HOUR
    report = run(database, upstream, NOW + 2 * HALF_HOUR)
    assert report.sources["carbon_regional_forecast"].state == "fresh"
    assert {row["carbon_source"] for row in regional_signals(database).values()} == {"carbon_intensity_api"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Reply(b"[" * 100_000), "without JSON"),
        (Reply(b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}"), "no usable row"),
        (Reply(b"\x1f\x8b" + b"\x00" * 50, headers={"Content-Encoding": "gzip"}), "connection failed"),
        (Reply(b'{"data": "\\ud800\\u0000"}'), "data is"),
        (Reply(b"\xff\xfe", headers={"Content-Type": "application/json; charset=zlib_codec"}), "without JSON"),
    ],
    ids=["nested without end", "nested", "no gzip", "half a character", "characters of an unknown kind"],
)
def test_a_source_that_answers_in_an_odd_way_fails_alone(
    postgres: PostgresDatabase, upstream: GridUpstreams, fault: Reply, words: str
) -> None:
    upstream.faults["/regional/"] = fault
    report = run(postgres, upstream)
    assert report.state == "partial"
    failed = report.sources.pop("carbon_regional_forecast")
    assert failed.state == "failed"
    assert words in failed.detail
    assert failed.detail.isprintable()
    assert {source.state for source in report.sources.values()} == {"fresh"}


def test_a_source_whose_certificates_cannot_be_read_fails_alone(
    postgres: PostgresDatabase, upstream: GridUpstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with Upstreams(upstream.settings(ELEXON_URL="https://127.0.0.1:9/bmrs/api/v1")) as upstreams:
        report = run_once(postgres, upstream.settings(), upstreams, now=NOW)
    failed = {name for name, source in report.sources.items() if source.state == "failed"}
    assert failed == {
        "elexon_day_ahead_demand",
        "elexon_market_index_price",
        "elexon_system_price",
        "elexon_loss_of_load",
    }
    assert report.state == "partial"


def test_a_source_that_fails_in_a_way_nobody_foresaw_fails_alone(
    postgres: PostgresDatabase,
    upstream: GridUpstreams,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open\x1b files")

    monkeypatch.setattr(NesoClient, "day_ahead_demand", fail)
    report = run(postgres, upstream)
    failed = report.sources.pop("neso_day_ahead_demand")
    assert (failed.state, failed.detail) == ("failed", r"OSError: [Errno 24] Too many open\x1b files")
    assert {source.state for source in report.sources.values()} == {"fresh"}
    assert "Traceback" in caplog.text


def test_a_source_that_never_answered_has_failed_and_its_part_is_synthetic(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    upstream.faults = {"": Reply(b"<html>down</html>", status=404)}
    report = run(postgres, upstream)
    assert report.state == "partial"
    assert {source.state for source in report.sources.values()} == {"failed"}
    assert {row["carbon_source"] for row in signals(postgres).values()} == {"synthetic"}


def test_neso_is_not_asked_a_third_time_within_a_minute_and_counts_as_fresh(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    settings = upstream.settings()
    with Upstreams(settings) as upstreams:
        run_once(postgres, settings, upstreams, now=NOW)
        report = run_once(postgres, settings, upstreams, now=NOW, again=True)
    assert report.state == "succeeded"
    assert len(upstream.asked("/neso/datastore_search")) == 2


def test_of_many_that_ask_for_a_half_hour_one_runs_it(postgres: PostgresDatabase) -> None:
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: run_offline(postgres), range(8)))
    assert sorted(report.state for report in reports) == ["succeeded"] + ["taken"] * 7
    assert the_run(postgres)["attempt"] == 1
    assert len(rows(postgres, "compute_workloads", "job_id")) == 3


def claim(database: Database, owner: str, *, lease_seconds: float = 60) -> None:
    """Another process's unfinished run."""
    arguments = {"p_slot": SLOT, "p_owner": owner, "p_lease_seconds": lease_seconds}
    assert database.call("claim_pipeline_slot", arguments)["claimed"]


def a_dead_process_id() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_slot_of_a_process_that_died_here_is_run_at_once(database: Database) -> None:
    claim(database, f"{socket.gethostname()}:{a_dead_process_id()}:0a1b2c3d")
    assert run_offline(database).state == "succeeded"
    assert the_run(database)["attempt"] == 2


def test_the_slot_of_a_predecessor_with_our_process_number_is_run_at_once(postgres: PostgresDatabase) -> None:
    claim(postgres, f"{socket.gethostname()}:{os.getpid()}:0a1b2c3d")
    assert run_offline(postgres).state == "succeeded"


def test_the_slot_of_a_process_that_lives_is_left_alone(postgres: PostgresDatabase) -> None:
    claim(postgres, f"{socket.gethostname()}:{os.getppid()}:0a1b2c3d")
    report = run_offline(postgres)
    assert report.state == "taken"
    assert report.taken_until == from_rfc3339(the_run(postgres)["leased_until"])
    assert signals(postgres) == {}


def test_the_slot_of_another_machine_is_run_when_its_lease_has_ended(postgres: PostgresDatabase) -> None:
    claim(postgres, f"elsewhere:{a_dead_process_id()}:0a1b2c3d", lease_seconds=0)
    assert run_offline(postgres).state == "succeeded"


def test_a_run_that_goes_on_keeps_its_slot(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.run.LEASE_SECONDS", 0.3)
    kept: list[bool] = []

    def look() -> None:
        if not kept:
            first = the_run(postgres)["leased_until"]
            give_up_at = time.monotonic() + 30
            while the_run(postgres)["leased_until"] == first:
                assert time.monotonic() < give_up_at
            kept.append(True)

    with GridUpstreams(NOW, before=look) as upstream:
        assert run(postgres, upstream).state == "succeeded"
    assert kept


def test_a_run_that_lost_its_slot_stores_nothing(postgres: PostgresDatabase) -> None:
    lost = threading.Event()

    def take_over() -> None:
        if not lost.is_set():
            lost.set()
            with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
                connection.execute("update pipeline_runs set leased_until = now() - interval '1 second'")
            claim(postgres, "elsewhere:1:0a1b2c3d")

    with GridUpstreams(NOW, before=take_over) as upstream:
        report = run(postgres, upstream)
    assert report.state == "fenced"
    assert not any(everything(postgres).values())
    assert (the_run(postgres)["state"], the_run(postgres)["leased_by"]) == ("running", "elsewhere:1:0a1b2c3d")


@pytest.mark.own_database
def test_a_run_that_could_not_be_stored_says_why_and_is_made_again(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("alter table regional_grid_signals add constraint full_disk check (false)")
        with pytest.raises(DatabaseError, match="full_disk"):
            run(postgres, upstream)
        record = the_run(postgres)
        assert record["state"] == "failed"
        assert "full_disk" in record["last_error"]
        assert record["sources"]["carbon_national_forecast"]["state"] == "fresh"
        assert not any(everything(postgres).values())
        connection.execute("alter table regional_grid_signals drop constraint full_disk")
    assert run(postgres, upstream).state == "succeeded"
    assert the_run(postgres)["last_error"] is None


def test_what_a_failed_run_could_not_fetch_is_not_forgotten(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    run(postgres, upstream)
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(
            "insert into pipeline_runs (slot, state, work_state, leased_by, lease_token, leased_until, finished_at) "
            "values (%s, 'failed', 'retryable', 'elsewhere:1:x', 1, now(), now())",
            (SLOT + HALF_HOUR,),
        )
    upstream.faults = {"/neso/": Reply(b"", status=404)}
    upstream.now = NOW + 2 * HALF_HOUR
    report = run(postgres, upstream, upstream.now)
    assert report.sources["neso_day_ahead_demand"].state == "stale"


def test_history_older_than_the_retention_is_pruned(postgres: PostgresDatabase) -> None:
    run_offline(postgres, NOW - timedelta(days=6))
    settings = load_settings({"PYLON_RETENTION_DAYS": "3"})
    report = run_offline(postgres, settings=settings)
    assert report.counts["pruned"] > 0
    assert sorted(signals(postgres)) == AHEAD
    assert {at for _, at in regional_signals(postgres)} == set(AHEAD)
    assert len(rows(postgres, "pipeline_runs", "slot")) == 1


def test_data_centres_move_with_the_day_but_belong_to_who_edits_them(postgres: PostgresDatabase) -> None:
    run_offline(postgres)
    postgres.update("data_centres", {"name": "Ours", "status": "MAINTENANCE"}, where=[Where("dc_id", "DC-001")])
    postgres.update("data_centres", {"is_synthetic": False}, where=[Where("dc_id", "DC-002")])
    before = {row["dc_id"]: row for row in rows(postgres, "data_centres", "dc_id")}
    run_offline(postgres, NOW + timedelta(hours=6))
    after = {row["dc_id"]: row for row in rows(postgres, "data_centres", "dc_id")}
    assert (after["DC-001"]["name"], after["DC-001"]["status"]) == ("Ours", "MAINTENANCE")
    assert after["DC-001"]["current_load_percentage"] != before["DC-001"]["current_load_percentage"]
    assert after["DC-002"]["current_load_percentage"] == before["DC-002"]["current_load_percentage"]


def test_the_synthetic_world_can_be_switched_off(postgres: PostgresDatabase) -> None:
    none = load_settings({"SYNTHETIC_DATA_CENTRES": "0", "SYNTHETIC_WORKLOADS_PER_RUN": "0"})
    assert run_offline(postgres, settings=none).state == "succeeded"
    assert rows(postgres, "data_centres", "dc_id") == rows(postgres, "compute_workloads", "job_id") == []
    assert len(signals(postgres)) == 96


def test_every_half_hour_brings_new_workloads_and_the_same_half_hour_the_same(postgres: PostgresDatabase) -> None:
    for now in (NOW, NOW + HALF_HOUR, NOW):
        run_offline(postgres, now, again=True)
    workloads = rows(postgres, "compute_workloads", "job_id")
    assert len(workloads) == 6
    assert len(rows(postgres, "workload_notifications", "notification_id")) == 6


def test_the_command_runs_once_and_prints_its_stages(
    conninfo: str, postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    # The command reads the real clock, and this upstream answers for a fixed one.
    upstream.now = datetime.now(UTC)
    done = subprocess.run(
        [sys.executable, BACKEND / "pipeline.py"],
        env={**inherited(), "DATABASE_URL": as_url(conninfo), **upstream.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "succeeded in" in done.stdout) == (0, True), done.stdout + done.stderr
    for stage in ("claim", "known", "fetch", "derive", "store", "prune"):
        assert f"\n  {stage} " in done.stdout
    assert "carbon_national_forecast     fresh" in done.stdout
    assert any(row["carbon_source"] == "carbon_intensity_api" for row in signals(postgres).values())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """The command in this process, with the test's own logging left as it is."""
    monkeypatch.setattr(pipeline, "log_to_stderr", lambda: None)
    return pipeline.main


def test_the_command_works_without_a_network(
    command: Callable[[list[str]], int],
    conninfo: str,
    postgres: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", as_url(conninfo))
    monkeypatch.setenv("CARBON_INTENSITY_URL", "http://127.0.0.1:9")
    assert command(["--offline"]) == 0
    assert "network                      off" in capsys.readouterr().out
    assert len(signals(postgres)) == 96


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backfill", "fortnight"], "'fortnight' is not a span: write 14d for days or 36h for hours"),
        (["--backfill", "0d"], "'0d' is not a span"),
        (["--offline", "--backfill", "1d"], "--backfill needs the network"),
    ],
)
def test_the_command_explains_its_arguments(
    command: Callable[[list[str]], int], arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(arguments)
    assert says in capsys.readouterr().err


def test_the_command_says_in_a_line_which_setting_is_wrong(
    command: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_PORT", "http")
    assert command([]) == 1
    said = capsys.readouterr().err
    assert said == "pipeline: API_PORT='http' is refused: it takes a whole number from 1 to 65535\n"


def test_a_report_is_one_line_for_the_log() -> None:
    report = RunReport(SLOT, "succeeded", counts={"national": 96}, stages_ms={"fetch": 812.4})
    assert report.summary() == "run slot=2026-11-22T08:00:00Z state=succeeded national=96 fetch=812ms"
    taken: Any = RunReport(SLOT, "taken")
    assert taken.summary() == "run slot=2026-11-22T08:00:00Z state=taken"
