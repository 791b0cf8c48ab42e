"""The same behaviour through both doors: psycopg, and the supabase package over a real PostgREST."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest

from database.errors import AccessRefused, DatabaseUnreachable, RowRefused, SchemaMissing, UniqueConflict
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from postgrest_server import PostgrestServer

START = datetime(2026, 11, 22, 8, 0, tzinfo=timezone.utc)
BY_OPERATOR = OrderBy(("operator_id",))


def operator(number: int, **changes: object) -> Row:
    return {
        "operator_id": f"OP-{number:05d}",
        "name": f"Operator {number}",
        "operator_type": "CLOUD",
        **changes,
    }


def test_inserted_rows_come_back_as_stored_with_their_defaults(database: Database) -> None:
    stored = database.insert("operators", [operator(1), operator(2)])
    assert [row["country"] for row in stored] == ["GB", "GB"]
    assert database.select("operators", order=BY_OPERATOR) == stored


def test_a_second_row_with_the_same_key_is_a_conflict_and_stores_nothing(database: Database) -> None:
    database.insert("operators", [operator(1)])
    with pytest.raises(UniqueConflict):
        database.insert("operators", [operator(2), operator(1)])
    assert len(database.select("operators", order=BY_OPERATOR)) == 1


def test_upsert_replaces_the_named_columns_and_keeps_the_others(database: Database) -> None:
    database.insert("operators", [operator(1, country="IE")])
    database.upsert("operators", [operator(1, name="Renamed"), operator(2)], conflict=["operator_id"])
    rows = database.select("operators", order=BY_OPERATOR)
    assert [(row["name"], row["country"]) for row in rows] == [("Renamed", "IE"), ("Operator 2", "GB")]


def test_upsert_twice_stores_once(database: Database) -> None:
    row = {"region_id": 1, "timestamp": START, "carbon_source": "synthetic", "fetched_at": START}
    for _ in range(2):
        database.upsert("regional_grid_signals", [row], conflict=["region_id", "timestamp"])
    assert len(database.select("regional_grid_signals", order=OrderBy(("region_id", "timestamp")))) == 1


def test_update_changes_only_the_rows_that_meet_every_condition(database: Database) -> None:
    database.insert("operators", [operator(1, country="GB"), operator(2, country="IE"), operator(3, country="IE")])
    changed = database.update(
        "operators",
        {"name": "Moved", "operator_type": "GRID"},
        where=[Where("country", "IE"), Where("operator_id", "OP-00002", "gt")],
    )
    assert [row["operator_id"] for row in changed] == ["OP-00003"]
    names = [row["name"] for row in database.select("operators", order=BY_OPERATOR)]
    assert names == ["Operator 1", "Operator 2", "Moved"]


def test_delete_says_how_many_rows_it_took(database: Database) -> None:
    database.insert("operators", [operator(n) for n in range(5)])
    assert database.delete("operators", where=[Where("operator_id", ["OP-00001", "OP-00003"], "in")]) == 2
    assert len(database.select("operators", order=BY_OPERATOR)) == 3


def test_a_change_without_a_condition_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="at least one condition"):
        database.update("operators", {"name": "x"}, where=[])
    with pytest.raises(ValueError, match="at least one condition"):
        database.delete("operators", where=[])


def test_rows_of_one_write_must_name_the_same_columns(database: Database) -> None:
    with pytest.raises(ValueError, match="same columns"):
        database.insert("operators", [operator(1), operator(2, country="IE")])


def test_writing_no_rows_does_nothing(database: Database) -> None:
    assert database.insert("operators", []) == []
    assert database.upsert("operators", [], conflict=["operator_id"]) == []


def test_more_rows_than_one_answer_may_hold_come_back_whole(database: Database) -> None:
    stored = database.insert("operators", [operator(n) for n in range(2345)])
    assert len(stored) == 2345
    rows = database.select("operators", order=BY_OPERATOR)
    assert [row["operator_id"] for row in rows] == [f"OP-{n:05d}" for n in range(2345)]
    assert len(database.select("operators", order=BY_OPERATOR, limit=1500)) == 1500


def test_pages_go_on_after_the_last_row_seen(database: Database) -> None:
    database.insert("operators", [operator(n) for n in range(7)])
    first = database.select("operators", order=BY_OPERATOR, limit=3)
    second = database.select("operators", order=BY_OPERATOR, limit=3, after=[first[-1]["operator_id"]])
    assert [row["operator_id"] for row in second] == ["OP-00003", "OP-00004", "OP-00005"]
    newest = OrderBy(("operator_id",), descending=True)
    down = database.select("operators", order=newest, limit=2, after=["OP-00005"])
    assert [row["operator_id"] for row in down] == ["OP-00004", "OP-00003"]


def test_pages_go_on_within_a_key_of_two_columns(database: Database) -> None:
    times = [START + timedelta(minutes=30 * n) for n in range(3)]
    rows = [
        {
            "region_id": r,
            "timestamp": t,
            "carbon_source": "synthetic",
            "fetched_at": START,
            "carbon_intensity_forecast": 0,
        }
        for r in (1, 2)
        for t in times
    ]
    database.insert("regional_grid_signals", rows)
    order = OrderBy(("region_id", "timestamp"))
    page = database.select("regional_grid_signals", order=order, after=[1, times[1]], limit=2)
    assert [(row["region_id"], datetime.fromisoformat(row["timestamp"])) for row in page] == [
        (1, times[2]),
        (2, times[0]),
    ]


def test_conditions_compare_text_numbers_times_and_nulls(database: Database) -> None:
    assert len(database.select("regions", where=[Where("is_aggregate", True)], order=OrderBy(("region_id",)))) == 3
    assert len(database.select("regions", where=[Where("region_id", 15, "gte")], order=OrderBy(("region_id",)))) == 3
    odd = 'comma, "quote" and (brackets) & 100%'
    database.insert("operators", [operator(1, name=odd), operator(2)])
    assert len(database.select("operators", where=[Where("name", odd)], order=BY_OPERATOR)) == 1
    assert len(database.select("operators", where=[Where("name", [odd, "x"], "in")], order=BY_OPERATOR)) == 1
    by_name = OrderBy(("name", "operator_id"), descending=True)
    assert len(database.select("operators", order=by_name, after=[odd, "OP-00001"])) == 1
    agents = [{"agent_id": "A", "name": "a", "agent_type": "t", "operator": None}]
    database.insert("agents", agents)
    by_agent = OrderBy(("agent_id",))
    assert len(database.select("agents", where=[Where("operator", True, "is_null")], order=by_agent)) == 1
    assert database.select("agents", where=[Where("operator", False, "is_null")], order=by_agent) == []


def test_selected_columns_only(database: Database) -> None:
    row = database.select("regions", columns=["region_id", "short_name"], order=OrderBy(("region_id",)), limit=1)
    assert row == [{"region_id": 1, "short_name": "North Scotland"}]


def test_functions_take_json_numbers_times_and_texts(database: Database) -> None:
    claim = database.call(
        "claim_pipeline_slot", {"p_slot": START, "p_owner": "a", "p_lease_seconds": 60, "p_again": False}
    )
    assert claim["claimed"] is True
    state = database.call("live_state", {"p_now": START, "p_types": ["Region"]})
    assert len(state["Region"]) == 17
    assert state["DataCentre"] is None


def test_a_broken_rule_of_the_table_is_told_apart(database: Database) -> None:
    with pytest.raises(RowRefused):
        database.insert("operators", [operator(1, operator_type="PIRATE")])
    with pytest.raises(RowRefused):
        database.insert("agents", [{"agent_id": "A", "name": "a", "agent_type": "t", "operator": "OP-nobody"}])


def test_a_missing_table_or_function_says_to_run_the_sql_files(database: Database) -> None:
    with pytest.raises(SchemaMissing, match="supabase_schema.sql"):
        database.select("no_such_table", order=OrderBy(("x",)))
    with pytest.raises(SchemaMissing, match="supabase_schema.sql"):
        database.call("no_such_function", {"p_x": 1})


def test_many_threads_share_one_door(database: Database) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                database.insert("operators", [operator(number * 100 + turn)])
                assert database.select("operators", where=[Where("country", "GB")], order=BY_OPERATOR, limit=5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(database.select("operators", order=BY_OPERATOR)) == 120


def test_a_wrong_key_says_which_key_is_needed(postgrest: PostgrestServer) -> None:
    for key in (postgrest.wrong_key, postgrest.powerless_key):
        supabase = SupabaseDatabase(postgrest.url, key)
        with pytest.raises(AccessRefused, match="secret"):
            supabase.select("regions", order=OrderBy(("region_id",)))
        supabase.close()


def test_nothing_listening_is_unreachable() -> None:
    supabase = SupabaseDatabase("http://127.0.0.1:9", "key")
    with pytest.raises(DatabaseUnreachable, match="cannot be reached"):
        supabase.select("regions", order=OrderBy(("region_id",)))
    supabase.close()
    direct = PostgresDatabase("postgresql://127.0.0.1:9/none")
    with pytest.raises(DatabaseUnreachable):
        direct.select("regions", order=OrderBy(("region_id",)))
    direct.close()
