"""Meter readings on the real server: written once, revised by further rows, and summed up without loss."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.errors import DatabaseError
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_world
from hypothesis_profile import SHARES_A_FIXTURE
from metered_runs import (
    HOUR,
    assert_conserved,
    ended_run,
    metered_run,
    readings_of,
    record,
    simulated_rows,
    the_account,
    the_workload,
)
from new_database import empty

LATER = NOW + 3 * HOUR


def reading(half_hours: int, it_wh: int, source: str = "rapl") -> dict[str, Any]:
    half_hour = half_hour_of(NOW) + half_hours * HALF_HOUR
    return {
        "half_hour": half_hour.isoformat(),
        "it_energy_wh": it_wh,
        "site_energy_wh": it_wh + 10,
        "source": source,
    }


def test_a_run_that_has_ended_has_its_readings_and_its_workload_what_it_used(database: Database) -> None:
    store_world(database)
    number = metered_run(database, "job", start=NOW, duration=HOUR, it_power_kw=4)
    stored = readings_of(database, number)
    assert [row["it_energy_wh"] for row in stored] == [1721.111, 2000, 278.889]
    assert [row["site_energy_wh"] for row in stored] == [2065.333, 2400, 334.667]
    assert {(row["source"], row["revision"], row["dc_id"], row["job_id"]) for row in stored} == {
        ("simulated", 1, "DC-001", "job")
    }
    work = the_workload(database, "job")
    assert work["actual_energy_kwh"] == 4.8
    assert work["actual_carbon_gco2"] == pytest.approx(2.065333 * 10 + 2.4 * 11 + 0.334667 * 12)
    assert work["actual_cost_gbp"] == pytest.approx(4.8 * 80 / 1000)
    assert work["actuals_basis"] == {
        "half_hours": 3,
        "energy": {"simulated": 3},
        "carbon": {"forecast": 3},
        "cost": {"elexon": 3},
        "revision": 1,
        "settled": False,
    }


def test_recording_the_same_again_adds_nothing(database: Database) -> None:
    store_world(database)
    number = ended_run(database, "job")
    rows = simulated_rows(NOW, HOUR, 4, 1.2)
    assert record(database, number, rows, LATER) == {"state": "recorded", "readings": 3}
    before = readings_of(database, number), the_account(database, number), loads(database)
    assert record(database, number, rows, LATER + HOUR) == {"state": "repeated", "readings": 0}
    assert (readings_of(database, number), the_account(database, number), loads(database)) == before


def test_a_correction_is_a_further_revision_and_the_newest_counts(database: Database) -> None:
    store_world(database)
    number = ended_run(database, "job")
    record(database, number, [reading(0, 100), reading(1, 200), reading(2, 300)], LATER)
    assert record(database, number, [reading(0, 100), reading(1, 250)], LATER) == {"state": "recorded", "readings": 2}
    assert [
        (row["it_energy_wh"], row["site_energy_wh"], row["revision"]) for row in readings_of(database, number)
    ] == [(100, 110, 1), (200, 210, 1), (250, 260, 2), (300, 310, 1), (0, 0, 2)]
    assert the_workload(database, "job")["actual_energy_kwh"] == 0.37
    assert [(row["it_energy_wh"], row["site_energy_wh"]) for row in loads(database)] == [
        (100, 110),
        (250, 260),
        (0, 0),
    ]
    # And back: what was taken back may come again.
    record(database, number, [reading(0, 100), reading(1, 250), reading(2, 30)], LATER)
    assert the_workload(database, "job")["actual_energy_kwh"] == 0.41


def test_readings_are_changed_removed_and_emptied_by_nobody(postgres: PostgresDatabase, conninfo: str) -> None:
    store_world(postgres)
    metered_run(postgres, "job")
    for statement in (
        "update meter_readings set it_energy_wh = 0",
        "delete from meter_readings",
        "truncate meter_readings",
    ):
        with (
            psycopg.connect(conninfo, options="-c session_replication_role=replica") as owner,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="written once"),
        ):
            owner.execute(statement.encode())


def test_what_has_not_ended_has_no_readings(database: Database) -> None:
    store_world(database)
    number = ended_run(database, "job", state="RUNNING")
    assert record(database, number, [reading(0, 100)], LATER) == {"state": "not_ended", "readings": 0}
    assert record(database, number + 1, [reading(0, 100)], LATER) == {"state": "unknown_booking", "readings": 0}
    assert readings_of(database, number) == []


def test_a_run_that_was_broken_off_used_what_it_used(database: Database) -> None:
    store_world(database)
    number = ended_run(database, "job", state="RELEASED", status="FAILED")
    assert record(database, number, [reading(0, 100)], LATER)["state"] == "recorded"
    assert the_workload(database, "job")["actual_energy_kwh"] == 0.11


def test_a_reading_that_no_meter_gives_is_refused(database: Database) -> None:
    store_world(database)
    number = ended_run(database, "job")
    for wrong in (
        reading(0, -5),
        reading(0, 5) | {"site_energy_wh": 4},
        reading(0, 5, "guessed"),
        reading(0, 5) | {"half_hour": NOW.isoformat()},
    ):
        with pytest.raises(DatabaseError):
            record(database, number, [wrong], LATER)
    with pytest.raises(DatabaseError):
        record(database, number, [reading(0, 5), reading(0, 6)], LATER)
    assert readings_of(database, number) == []


def test_the_history_of_a_load_keeps_what_others_drew_beside_what_ran(database: Database) -> None:
    store_world(database)
    metered_run(database, "job", start=half_hour_of(NOW), duration=HALF_HOUR)
    assert database.call("sample_loads", {"p_now": NOW}) == {"data_centres": 3}
    (stored, *_) = loads(database)
    assert (stored["base_load_percentage"], stored["total_capacity_mw"], stored["it_energy_wh"]) == (50, 20, 2000)
    # The same half-hour again: what is true now.
    load = {"current_load_percentage": 60, "base_load_percentage": 60}
    database.update("data_centres", load, where=[Where("status", "ACTIVE")])
    database.call("sample_loads", {"p_now": NOW + timedelta(minutes=5)})
    assert {row["base_load_percentage"] for row in loads(database)} == {60}


def loads(database: Database) -> list[dict[str, Any]]:
    return database.select("data_centre_loads", order=OrderBy(("dc_id", "half_hour")))


RUNS = st.lists(
    st.tuples(
        st.integers(1, 3),  # where
        st.integers(0, 6 * 3600),  # when, seconds
        st.integers(1, 4 * 3600),  # for how long
        st.floats(0, 5000),  # IT kW
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=20, suppress_health_check=SHARES_A_FIXTURE)
@given(runs=RUNS, again=st.data())
def test_workloads_meters_and_data_centres_have_the_same_energy_to_the_watt_hour(
    postgres: PostgresDatabase, conninfo: str, runs: list[tuple[int, int, int, float]], again: st.DataObject
) -> None:
    empty(conninfo, hang_up=False)  # for each example, and not only for the first
    store_data_centres(postgres, [data_centre(number, pue=1 + number / 7) for number in (1, 2, 3)])
    numbers = []
    for place, (where, after, seconds, it_power_kw) in enumerate(runs):
        start, duration = NOW + timedelta(seconds=after), timedelta(seconds=seconds)
        number = ended_run(
            postgres,
            f"job-{place}",
            start=start,
            duration=duration,
            dc_id=f"DC-{where:03d}",
            it_power_kw=it_power_kw,
        )
        numbers.append((number, start, duration, where, it_power_kw))
        record(postgres, number, simulated_rows(start, duration, it_power_kw, 1 + where / 7), LATER)
    # Some are corrected, some told again.
    for number, start, duration, where, it_power_kw in again.draw(st.lists(st.sampled_from(numbers), max_size=6)):
        factor = again.draw(st.sampled_from([0, 0.5, 1, 3]))
        record(postgres, number, simulated_rows(start, duration / 2, it_power_kw * factor, 1 + where / 7), LATER)
    assert_conserved(conninfo)
