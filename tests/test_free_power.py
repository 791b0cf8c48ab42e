"""Whoever offers, plans, sells or decides sees the same free power of a data centre in a half-hour."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from api_application import create_app
from beckn.provider.order_book import OrderBook
from beckn.provider.slots import run_at
from booked_work import book
from database.interface import Database, OrderBy, Row, Where
from decisions.scoring.context import Task
from decisions.work.worker import DecisionWorkers
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from hardware import GPU_IT_POWER_KW
from served import Client, served
from settings import load_settings

SLOT = half_hour_of(NOW)
HERE = "DC-001"
FREE_KW = 20_000 * 0.5
NEEDS: Row = {"workload_type": "RAG_QUERY", "urgency": "LOW", "required_gpu_mins": 10, "deferral_window_mins": 0}
"""Ten minutes of one GPU, from now on: within the present half-hour."""
A_LITTLE_KW = 0.01
"""Below the rounding of nobody: power is counted to the milliwatt."""


def needs(it_power_kw: float) -> Row:
    return {**NEEDS, "estimated_energy_kwh": it_power_kw / 6}


def by_catalogue(client: Client, _: Database) -> float:
    """The least power that the whole GPUs on offer need."""
    catalogue = client.get("/api/v1/market/catalog").json()["message"]["catalog"]
    (item,) = [
        item
        for provider in catalogue["providers"]
        for item in provider["items"]
        if item["id"].startswith(HERE) and f"{SLOT:%Y%m%dT%H%MZ}" in item["id"]
    ]
    minutes = (SLOT + HALF_HOUR - NOW).total_seconds() / 60
    return math.ceil(int(item["quantity"]["available"]["measure"]["value"]) / minutes) * GPU_IT_POWER_KW


def by_joint_plan(client: Client, _: Database) -> float:
    answer = client.post("/api/v1/plan/batch", {"workloads": [{"job_id": "asked", **needs(1)}]}).json()
    (site,) = answer["capacity"]
    assert (site["dc_id"], answer["half_hours_from"]) == (HERE, rfc3339(SLOT))
    return float(site["free_by_half_hour_kw"][0])


def by_timeline(client: Client, _: Database) -> float:
    return float(client.get(f"/api/v1/data-centres/{HERE}/capacity").json()["free_kw"][0])


def plan_takes(client: Client, _: Database, it_power_kw: float) -> bool:
    output = client.post("/api/v1/plan", needs(it_power_kw)).json()
    return bool(output["decision"]["dc_id"] == HERE)


def slot_takes(_: Client, database: Database, it_power_kw: float) -> bool:
    shelf = OrderBook(database, "provider.example")
    grid = shelf.grid(NOW)
    (centre,) = grid.data_centres
    task = Task.model_validate({"job_id": "asked", **needs(it_power_kw)})
    run, violations = run_at(task, grid, centre, NOW, carbon_price_gbp_per_t=100, capacity=shelf.capacity(NOW))
    assert run is not None
    return not violations


def gateway_takes(_: Client, database: Database, it_power_kw: float) -> bool:
    """Decides a workload, and cancels it again."""
    job_id = f"asked-{it_power_kw}-{database.call('bookings_health', {'p_now': NOW})['simulation']['held']}"
    submit(database, workload(job_id, **needs(it_power_kw)))
    gateway = DecisionWorkers(
        database,
        agent_id="gateway",
        clock=lambda: NOW,
        carbon_price_gbp_per_t=100,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
    while gateway.work_once():
        pass
    (decision,) = database.select(
        "orchestration_decisions", where=[Where("job_id", job_id)], order=OrderBy(("decision_id",))
    )
    database.call("cancel_workload", {"p_job_id": job_id, "p_reason": "only asked", "p_now": NOW})
    return bool(decision["chosen_dc_id"] == HERE)


FIGURES: tuple[Callable[[Client, Database], float], ...] = (by_joint_plan, by_timeline)
TAKERS: tuple[Callable[[Client, Database, float], bool], ...] = (plan_takes, slot_takes, gateway_takes)


def check_all_see(free_kw: float, client: Client, database: Database) -> None:
    assert [figure(client, database) for figure in FIGURES] == [pytest.approx(free_kw)] * len(FIGURES)
    assert [takes(client, database, free_kw) for takes in TAKERS] == [True] * len(TAKERS)
    assert [takes(client, database, free_kw + A_LITTLE_KW) for takes in TAKERS] == [False] * len(TAKERS)
    assert by_catalogue(client, database) == pytest.approx(math.floor(free_kw / GPU_IT_POWER_KW) * GPU_IT_POWER_KW)


def test_catalogue_plans_slots_and_gateway_see_the_same_free_power(database: Database) -> None:
    store_grid(database, regions=(1,))
    store_data_centres(database, [data_centre(1)])
    with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
        check_all_see(FREE_KW, client, database)
        book(database, "booked", starts_at=SLOT, hours=0.25, it_power_kw=1234.5)
        check_all_see(FREE_KW - 1234.5, client, database)
        book(database, "later", starts_at=SLOT + HALF_HOUR, hours=1, it_power_kw=4000)  # not in this half-hour
        check_all_see(FREE_KW - 1234.5, client, database)
        database.call("cancel_workload", {"p_job_id": "booked", "p_reason": "done", "p_now": NOW})
        check_all_see(FREE_KW, client, database)
