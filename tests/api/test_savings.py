"""Savings over real HTTP: sums by group, what is compared, what is not, and whose."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from api_application import create_app
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of
from grid_world import NOW, data_centre, store_world
from metered_runs import HOUR, metered_run, run_now
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

SAVINGS = "/api/v1/savings"
SLOT = half_hour_of(NOW)
LATER = NOW + timedelta(days=1)
PERIOD = f"from={(SLOT - HOUR).strftime('%Y-%m-%dT%H:%M:%SZ')}"


@pytest.fixture
def world(postgres: PostgresDatabase) -> PostgresDatabase:
    store_world(postgres)
    return postgres


@pytest.fixture
def api(world: PostgresDatabase) -> Iterator[Client]:
    with served(create_app(world, load_settings({}), clock=lambda: LATER)) as client:
        yield client


def asked(api: Client, query: str = PERIOD, **options: Any) -> Any:
    found = api.get(f"{SAVINGS}?{query}", **options)
    assert found.status_code == 200, found.text
    return found.json()


def test_a_run_is_compared_with_itself_at_once(world: PostgresDatabase, api: Client) -> None:
    # Region 1 has 10 g in the first half-hour, and 1 g more in each that follows.
    metered_run(world, "better", start=SLOT, dc_id="DC-001", run_now=run_now(SLOT, dc_id="DC-002"))
    metered_run(world, "worse", start=SLOT + 3 * HOUR, dc_id="DC-001", run_now=run_now(SLOT, dc_id="DC-001"))
    metered_run(world, "order", start=SLOT, dc_id="DC-003")
    found = asked(api)
    assert (found["period_from"], found["period_to"]) == ("2026-11-22T07:00:00Z", "2026-11-23T08:04:11Z")
    total = found["total"]
    assert (total["key"], total["runs"], total["runs_without_counterfactual"]) == (None, 3, 1)
    assert (total["it_energy_kwh"], total["site_energy_kwh"]) == (12, 14.4)
    compared = total["compared"]
    assert compared["runs"] == 2
    assert compared["carbon_gco2"] == pytest.approx(2.4 * (10 + 11) + 2.4 * (16 + 17))
    assert compared["run_now_carbon_gco2"] == pytest.approx(2.4 * (20 + 21) + 2.4 * (10 + 11))
    assert compared["realised_saving_gco2"] == pytest.approx(2.4 * (20 - 12))
    assert (compared["realised_saving_kwh"], compared["realised_saving_gbp"]) == (0, 0)
    assert (compared["runs_worse_in_carbon"], compared["runs_worse_in_cost"]) == (1, 0)
    assert (compared["runs_worse_than_run_now"], compared["share_worse_than_run_now"]) == (1, 0.5)
    assert total["predicted"] is None


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("day", {"2026-11-22": 2, "2026-11-23": 1}),
        ("data_centre", {"DC-001": 1, "DC-002": 2}),
        ("operator", {"local": 3}),
        ("workload_type", {"INFERENCE_BATCH": 2, "TRAINING_RUN": 1}),
    ],
)
def test_groups_sum_to_the_total(world: PostgresDatabase, api: Client, by: str, keys: dict[str, int]) -> None:
    metered_run(world, "one", start=SLOT, run_now=run_now(SLOT + HOUR))
    metered_run(world, "two", start=SLOT + HOUR, dc_id="DC-002", workload_type="TRAINING_RUN")
    metered_run(world, "three", start=SLOT + 20 * HOUR, dc_id="DC-002", run_now=run_now(SLOT, dc_id="DC-003"))
    found = asked(api, f"{PERIOD}&by={by}")
    assert {group["key"]: group["runs"] for group in found["groups"]} == keys
    for figure in ("runs", "it_energy_kwh", "site_energy_kwh", "carbon_gco2", "cost_gbp", "runs_to_be_revised"):
        assert found["total"][figure] == pytest.approx(sum(group[figure] for group in found["groups"])), figure
    compared = [group["compared"] for group in found["groups"] if group["compared"]]
    for figure in ("runs", "realised_saving_gco2", "realised_saving_gbp", "runs_worse_than_run_now"):
        assert found["total"]["compared"][figure] == pytest.approx(sum(each[figure] for each in compared)), figure


def test_what_a_decision_foretold_stands_beside_what_came_of_the_same_runs(
    world: PostgresDatabase, api: Client
) -> None:
    options = [
        {"dc_id": "DC-001", "estimates": {"recommended": {"carbon_gco2": 40, "cost_gbp": 0.3}}},
        {"dc_id": "DC-002", "estimates": {"run_now": {"carbon_gco2": 100, "cost_gbp": 0.5}}},
    ]
    metered_run(world, "not-foretold", start=SLOT, run_now=run_now(SLOT, dc_id="DC-002"))
    world.insert("compute_workloads", [{"job_id": "decided", "workload_type": "OTHER"}])
    decision = {
        "job_id": "decided",
        "notification_id": 4711,
        "scorer": "deterministic",
        "scorer_version": "1.2.0",
        "context": {},
        "output": {"data_centre_options": options},
        "tenant": "local",
    }
    world.insert("orchestration_decisions", [decision])
    metered_run(world, "foretold", start=SLOT, run_now=run_now(SLOT, dc_id="DC-002"), notification_id=4711)
    total = asked(api)["total"]
    assert total["compared"]["runs"] == 2
    assert total["predicted"] == {
        "runs": 1,
        "predicted_saving_gco2": 60,
        "predicted_saving_gbp": pytest.approx(0.2),
        "realised_saving_gco2": pytest.approx(total["compared"]["realised_saving_gco2"] / 2),
        "realised_saving_gbp": 0,
    }


def test_runs_that_could_not_all_have_been_at_once_save_nothing_beyond_what_could(
    world: PostgresDatabase, api: Client
) -> None:
    for number in range(5):  # of 4 MW each where 10 MW are free
        metered_run(
            world,
            f"job-{number}",
            start=SLOT,
            run_now=run_now(SLOT, dc_id="DC-003", it_power_kw=4000),
            it_power_kw=4000,
        )
    total = asked(api)["total"]
    assert (total["runs"], total["runs_without_room_to_run_now"], total["compared"]["runs"]) == (5, 3, 2)
    assert total["compared"]["realised_saving_gco2"] == pytest.approx(2 * 2400 * 20 * 2)


def test_nothing_ran(api: Client) -> None:
    found = asked(api)
    assert found["groups"] == []
    assert (found["total"]["runs"], found["total"]["carbon_gco2"], found["total"]["compared"]) == (0, 0, None)
    assert any("offset" in sentence for sentence in found["accounting"])


def test_only_the_runs_that_began_within_the_period_count(world: PostgresDatabase, api: Client) -> None:
    metered_run(world, "before", start=SLOT)
    metered_run(world, "within", start=SLOT + HOUR)
    metered_run(world, "after", start=SLOT + 2 * HOUR)
    assert asked(api, "from=2026-11-22T09:00:00Z&to=2026-11-22T10:00:00Z")["total"]["runs"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=2026-11-22T09:00:00Z&to=2026-11-22T09:00:00Z", "from"),
        ("from=2024-01-01T00:00:00Z", "from"),
        ("by=colour", "by"),
        ("to=yesterday", "to"),
        ("since=2026-11-22T09:00:00Z", "since"),
    ],
)
def test_a_wrong_question_is_422_and_names_the_field(api: Client, query: str, field: str) -> None:
    found = api.get(f"{SAVINGS}?{query}")
    assert found.status_code == 422
    assert [error["field"] for error in found.json()["errors"]] == [field]


def test_an_operator_sees_its_own_and_the_platform_everybody_s(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    store_world(postgres)
    postgres.upsert("data_centres", [data_centre(2, operator=B)], conflict=["dc_id"])
    metered_run(postgres, "of-a", start=SLOT, dc_id="DC-002", operator=A, run_now=run_now(SLOT))
    metered_run(postgres, "of-b", start=SLOT, dc_id="DC-001", operator=B)
    metered_run(postgres, "of-b-too", start=SLOT, dc_id="DC-003", operator=B)
    keys = {operator: made_key(postgres, operator, Role.READER)[0] for operator in (A, B)}
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as api:
        query = "from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&by=operator"
        of_a, of_b = (asked(api, query, headers=bearer(keys[operator].text)) for operator in (A, B))
        everybody = asked(api, query, headers=bearer(PLATFORM_KEY))
        assert is_problem(api.get(f"{SAVINGS}?{query}"), 401)
        readings = {
            operator: api.get("/api/v1/objects/MeterReading", headers=bearer(key.text)).json()["objects"]
            for operator, key in keys.items()
        }
    assert {group["key"]: group["runs"] for group in of_a["groups"]} == {A: 1}
    assert {group["key"]: group["runs"] for group in of_b["groups"]} == {B: 2}
    assert {group["key"]: group["runs"] for group in everybody["groups"]} == {A: 1, B: 2}
    # What ran in a data centre is known to whose it was, and to whose place it was.
    assert {reading["job_id"] for reading in readings[A]} == {"of-a"}
    assert {reading["job_id"] for reading in readings[B]} == {"of-a", "of-b", "of-b-too"}
    gate.close()
