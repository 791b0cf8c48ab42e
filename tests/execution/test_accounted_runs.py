"""Booked runs, carried out by the executor: metered, accounted and revised, and nothing lost."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from booked_work import book, the_booking
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from execution.bookings import executor_of_bookings
from grid.half_hours import from_rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid
from ingest.accounts import keep_accounts
from metered_runs import assert_conserved, readings_of, the_account, the_workload

RUNS = 36
PLACES = 3


def test_a_few_dozen_runs_have_the_same_energy_as_workloads_as_meters_and_as_data_centres(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    chance = random.Random(11)
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(number, pue=1 + number / 7) for number in range(1, PLACES + 1)])
    ends = set()
    for number in range(RUNS):
        start = NOW + timedelta(seconds=chance.randrange(4 * 3600))
        hours = chance.uniform(0.01, 3)
        booked = book(
            postgres,
            f"job-{number}",
            starts_at=start,
            hours=hours,
            it_power_kw=round(chance.uniform(0, 400), 6),
            dc_id=f"DC-{chance.randint(1, PLACES):03d}",
            deferral_window_mins=None,
            urgency="CRITICAL",
        )
        ends |= {start, from_rfc3339(booked["ends_at"])}
    executor = executor_of_bookings(postgres, worker="one", carbon_price_gbp_per_t=100, clock=lambda: NOW)
    for moment in sorted(ends):
        while executor.run_due(moment).taken:
            pass
    assert {row["state"] for row in postgres.select("capacity_bookings", order=OrderBy(("booking_id",)))} == {"ENDED"}
    assert_conserved(conninfo)
    for number in range(RUNS):
        booking, work = the_booking(postgres, f"job-{number}"), the_workload(postgres, f"job-{number}")
        metered_wh = sum(row["site_energy_wh"] for row in readings_of(postgres, booking["booking_id"]))
        assert work["actual_energy_kwh"] == round(metered_wh / 1000, 6)
        hours = (from_rfc3339(work["actual_end"]) - from_rfc3339(work["actual_start"])) / timedelta(hours=1)
        site_kw = float(booking["it_power_kw"]) * (1 + int(booking["dc_id"][-1]) / 7)
        assert metered_wh == pytest.approx(site_kw * hours * 1000, abs=0.0005 + 1e-6)


def test_the_pipeline_s_run_keeps_the_accounts_and_the_history_of_loads(postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(1)])
    book(postgres, "job", starts_at=NOW, hours=0.25)
    executor = executor_of_bookings(postgres, worker="one", carbon_price_gbp_per_t=100, clock=lambda: NOW)
    executor.run_due(NOW)
    executor.run_due(NOW + timedelta(minutes=15))
    before = the_account(postgres, the_booking(postgres, "job")["booking_id"])
    store_grid(postgres, carbon_added=7, fetched_at=NOW + timedelta(minutes=20))
    assert keep_accounts(postgres, NOW + timedelta(minutes=20)) == 1
    after = the_account(postgres, before["booking_id"])
    assert after["carbon_gco2"] == pytest.approx(before["carbon_gco2"] * 17 / 10)
    assert (before["revision"], after["revision"]) == (1, 2)
    assert the_workload(postgres, "job")["actual_carbon_gco2"] == after["carbon_gco2"]
    assert keep_accounts(postgres, NOW + timedelta(minutes=25)) == 0
    (load,) = postgres.select("data_centre_loads", order=OrderBy(("dc_id",)))
    assert (load["base_load_percentage"], load["it_energy_wh"]) == (50, 240)
