"""The endpoint that lets agents given in a request negotiate, over real HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from database.interface import Where
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world
from served import Client

PATH = "/api/v1/negotiations/plan"
JOB = {"job_id": "j", "energy_mwh": 1, "max_power_mw": 2}
HALL_A = {"kind": "compute", "agent": "A", "endowment_mw": 1.5, "cost_gbp_per_mwh": [80, 120], "jobs": [JOB]}
HALL_B = {**HALL_A, "agent": "B", "cost_gbp_per_mwh": [80, 130]}
BATTERY = {
    "kind": "storage",
    "agent": "S",
    "cost_gbp_per_mwh": [80, 100],
    "power_mw": 0.8,
    "capacity_mwh": 1,
    "charge_mwh": 0.5,
    "round_trip_efficiency": 1,
    "wear_gbp_per_mwh": 4,
}


def test_three_agents_share_a_limit_and_are_told_who_pays_whom(world: Client) -> None:
    found = world.post(PATH, {"half_hours": 2, "agents": [HALL_B, BATTERY, HALL_A]})
    assert found.status_code == 200, found.text
    answer = found.json()
    assert answer["price_gbp_per_mwh"] == pytest.approx([40, 0])
    assert (answer["cost_gbp"], answer["alone_gbp"]) == (pytest.approx(175.2), pytest.approx(182.5))
    assert [award["agent"] for award in answer["awards"]] == ["A", "B", "S"]
    assert [award["pays_gbp"] for award in answer["awards"]] == pytest.approx([6, 10, -16])
    assert [award["gains_gbp"] for award in answer["awards"]] == pytest.approx([0, 2.5, 4.8])
    assert answer["limit_mw"] == [3, 3]
    assert answer["explanation"][0].startswith("Alone the agents would cost £182.50 together, so £175.20;")
    assert "S is paid £16.00 and is £4.80 better off than alone." in answer["explanation"]


def test_costs_are_of_the_forecast_where_a_region_is_named(world: Client) -> None:
    """The region's carbon rises by a gram a half-hour, the price is one: work is as early as the limit lets it."""
    job = {**JOB, "earliest": "2026-11-22T08:10:00Z", "deadline": "2026-11-22T10:40:00Z"}
    halls = [
        {"kind": "compute", "agent": name, "region_id": region, "endowment_mw": 1, "jobs": [job]}
        for name, region in (("north", 1), ("south", 13))
    ]
    answer = world.post(PATH, {"half_hours": 6, "agents": halls}).json()
    north, south = answer["awards"]
    assert north["draw_mw"][0] == south["draw_mw"][0] == 0  # its window begins with the next half-hour
    assert north["draw_mw"][5] == south["draw_mw"][5] == 0  # and ends before the last
    assert sum(north["draw_mw"]) == pytest.approx(2)
    assert answer["as_of"] == "2026-11-22T08:04:11Z"
    assert north["cost_gbp"] == pytest.approx(80 + 1.15, abs=0.5)
    assert answer["warnings"] == []


def test_costs_that_are_of_invented_figures_are_told_to_be(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    every = [Where("timestamp", NOW - timedelta(days=1), "gte")]
    postgres.update("grid_signals", {"price_source": "synthetic"}, where=every)
    of_london = [*every, Where("region_id", 13)]
    postgres.update("regional_grid_signals", {"carbon_source": "synthetic"}, where=of_london)
    halls = [
        {"kind": "compute", "agent": name, "region_id": region, "endowment_mw": 9, "jobs": [JOB]}
        for name, region in (("north", 1), ("south", 13))
    ]
    assert api.post(PATH, {"half_hours": 6, "agents": halls}).json()["warnings"] == [
        "The wholesale price is invented (synthetic), with no real figure behind it.",
        "The carbon intensity of region 13 is invented (synthetic), with no real figure behind it.",
    ]
    assert api.post(PATH, {"half_hours": 2, "agents": [HALL_A, HALL_B]}).json()["warnings"] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"agents": [HALL_A, HALL_A]}, "agents.1.agent"),
        ({"agents": [HALL_A, {**HALL_B, "cost_gbp_per_mwh": [80, 1, 2]}]}, "agents.1.cost_gbp_per_mwh"),
        ({"agents": [HALL_A, {**HALL_B, "region_id": 3}]}, "agents.1"),
        ({"agents": [HALL_A, {**HALL_B, "jobs": [{**JOB, "energy_mwh": 9}]}]}, "agents.1.jobs.0"),
        ({"agents": [HALL_A, {**HALL_B, "endowment_mw": 0.1}]}, "agents"),
        ({"agents": [HALL_A, {**BATTERY, "charge_mwh": 2}]}, "agents.1.charge_mwh"),
        ({"agents": [HALL_A, {**HALL_B, "jobs": [{**JOB, "may_pause": "no"}]}]}, "agents.1.compute.jobs.0.may_pause"),
        ({"agents": [HALL_A]}, "agents"),
    ],
)
def test_what_cannot_be_negotiated_is_refused_by_its_field(world: Client, change: dict[str, Any], fault: str) -> None:
    answer = world.post(PATH, {"half_hours": 2, **change})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == fault


def test_the_whole_forecast_may_be_negotiated_about_and_a_buyer_may_take_part(world: Client) -> None:
    halls = [
        {"kind": "compute", "agent": name, "region_id": 1, "endowment_mw": 9, "jobs": [JOB]} for name in ("a", "b")
    ]
    assert world.post(PATH, {"half_hours": 96, "agents": halls}).status_code == 200
    buyer = {"kind": "buyer", "agent": "event", "pays_gbp_per_mwh": 500, "need_mw": [0, 1]}
    answer = world.post(PATH, {"half_hours": 2, "agents": [HALL_A, buyer]}).json()
    assert [award["pays_gbp"] for award in answer["awards"]] == pytest.approx(
        [-answer["awards"][1]["pays_gbp"], answer["awards"][1]["pays_gbp"]]
    )


def test_work_that_may_not_pause_runs_in_one_go_and_what_is_saved_is_shared(world: Client) -> None:
    """Two halls want the first half-hour, in which only one has room with the battery's help."""
    whole = {"jobs": [{**JOB, "may_pause": False}], "endowment_mw": [1, 2]}
    halls = [{**HALL_A, **whole, "cost_gbp_per_mwh": [80, 120]}, {**HALL_B, **whole, "cost_gbp_per_mwh": [80, 90]}]
    answer = world.post(
        PATH, {"half_hours": 2, "agents": [*halls, {**BATTERY, "cost_gbp_per_mwh": [-5, 100]}]}
    ).json()
    awards = {award["agent"]: award for award in answer["awards"]}
    assert (awards["A"]["draw_mw"], awards["B"]["draw_mw"]) == ([2, 0], [0, 2])
    assert answer["payments"] == "shares"
    assert sum(award["pays_gbp"] for award in answer["awards"]) == pytest.approx(0, abs=1e-6)
    assert all(award["net_gbp"] <= award["alone_gbp"] + 1e-6 for award in answer["awards"])
    assert answer["explanation"][1].startswith("Somebody's plans cannot be split")
