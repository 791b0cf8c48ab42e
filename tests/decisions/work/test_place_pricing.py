"""Prices of capacity: planned from what is booked and what waits, kept by pipeline run, and told to decisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from booked_work import book
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from decisions.joint.place_prices import PlacePrices
from decisions.scoring.context import Capacity
from decisions.work.notifications import WorkQueue
from decisions.work.place_pricing import PlacePricing
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload

SLOT = half_hour_of(NOW)
MINUTE = timedelta(minutes=1)
KW = 10.0
FACTS: dict[str, Any] = {
    "workload_type": "RAG_QUERY",
    "estimated_energy_kwh": KW,
    "required_gpu_mins": 60,
    "deferral_window_mins": 360,
    "created_at": NOW,
}
"""An hour of one GPU, which takes all the power there is."""


def small_world(database: Database, kw: float = KW) -> None:
    """One data centre with room for one of the workloads here at a time."""
    store_grid(database)
    store_data_centres(database, [data_centre(1, total_capacity_mw=kw / 1000, current_load_percentage=0)])


def finish_a_run(database: Database, slot: datetime = SLOT) -> None:
    database.insert("pipeline_runs", [{"slot": slot, "state": "succeeded", "work_state": "completed"}])


def something_happens(database: PostgresDatabase) -> None:
    database.run_script(
        "insert into event_numbers (newest) values (1) on conflict (only_row) do update set newest = 1"
    )


def price(database: Database, now: datetime = NOW) -> PlacePrices | None:
    pricing = PlacePricing(database, carbon_price_gbp_per_t=100, clock=lambda: now, monotonic=lambda: 0.0)
    return pricing.price()


def capacity(database: Database, now: datetime = NOW) -> Capacity:
    return Capacity.model_validate(database.call("capacity_at", {"p_now": now}))


def test_nothing_is_planned_before_a_run_and_nothing_is_worth_anything_without_competition(
    database: Database,
) -> None:
    small_world(database)
    assert price(database) is None
    assert capacity(database).prices is None
    finish_a_run(database)
    found = price(database)
    assert found is not None
    assert (found.workloads, found.gbp_per_kw) == (0, {})
    known = capacity(database).prices
    assert known is not None
    assert (known.planned_at, known.start, known.method, known.gbp_per_kw) == (NOW, SLOT, "each_alone", {})


def test_what_is_booked_and_what_waits_compete_as_if_nothing_had_been_placed(postgres: PostgresDatabase) -> None:
    small_world(postgres)
    finish_a_run(postgres)
    book(postgres, "booked", starts_at=SLOT + HALF_HOUR, it_power_kw=KW, **FACTS)
    submit(postgres, workload("waits", **FACTS))
    found = price(postgres)
    assert found is not None
    assert (found.workloads, found.left_out) == (2, 0)
    known = capacity(postgres).prices
    assert known is not None
    assert max(gbp for _, gbp in known.gbp_per_kw["DC-001"]) > 0
    batch = WorkQueue(postgres, "test", lease_seconds=60).contexts(["waits"], NOW)
    of_context = batch.context("waits").capacity
    assert of_context is not None
    assert of_context.prices == known
    assert batch.task_row("waits")["capacity"]["prices"]["gbp_per_kw"] == known.gbp_per_kw


def test_prices_are_made_anew_when_something_has_happened_but_not_at_once(postgres: PostgresDatabase) -> None:
    small_world(postgres)
    finish_a_run(postgres)
    assert price(postgres) is not None
    assert price(postgres, NOW + 10 * MINUTE) is None
    something_happens(postgres)
    assert price(postgres, NOW + 4 * MINUTE) is None
    assert price(postgres, NOW + 6 * MINUTE) is not None
    (row,) = postgres.select("capacity_prices", where=[Where("slot", SLOT)], order=OrderBy(("slot",)))
    assert row["newest_event"] == 1


def test_prices_of_more_than_the_half_hour_before_are_not_known_any_more(database: Database) -> None:
    small_world(database)
    finish_a_run(database)
    assert price(database) is not None
    assert capacity(database, NOW + HALF_HOUR).prices is not None
    assert capacity(database, NOW + 2 * HALF_HOUR).prices is None
    finish_a_run(database, SLOT + HALF_HOUR)
    store_grid(database, NOW + HALF_HOUR)
    assert price(database, NOW + HALF_HOUR) is not None
    known = capacity(database, NOW + 2 * HALF_HOUR).prices
    assert known is not None
    assert known.start == SLOT + HALF_HOUR


def test_what_has_begun_or_is_an_orders_stays_where_it_is(postgres: PostgresDatabase) -> None:
    small_world(postgres)
    finish_a_run(postgres)
    book(postgres, "begun", starts_at=SLOT, it_power_kw=KW, **FACTS)
    submit(postgres, workload("waits", **FACTS))
    found = price(postgres)
    assert found is not None
    assert (found.workloads, found.gbp_per_kw) == (1, {})
