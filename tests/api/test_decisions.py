"""The list of decisions: newest first, with the margin, filtered and paged, each operator its own."""

from __future__ import annotations

from typing import Any

import pytest

from api_application import create_app
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from linked_world import decision, store_linked_world
from running_gateway import workers_on
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from tenants_work import decide_all
from two_operators import A, B, gate_of, make_operators

DECISIONS = "/api/v1/decisions"


def jobs(answer: Any) -> list[str]:
    return [row["job_id"] for row in answer.json()["decisions"]]


def test_each_says_what_was_chosen_how_narrowly_and_what_it_comes_to(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("placed"), workload("waits", carbon_cap_gco2=1))
    workers_on(postgres).work_once()
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        found = {row["job_id"]: row for row in client.get(DECISIONS).json()["decisions"]}
        whole = client.get(f"/api/v1/objects/OrchestrationDecision/{found['placed']['decision_id']}").json()
    placed, waits = found["placed"], found["waits"]
    output = whole["object"]["output"]
    assert placed["chosen_dc_id"] == output["decision"]["dc_id"] == "DC-001"
    assert placed["runner_up"] == output["decision"]["runner_up"]
    assert placed["runner_up"]["margin_gbp"] > 0
    assert placed["objective_gbp"] == output["decision"]["objective_gbp"]
    assert placed["estimates"] == output["data_centre_options"][0]["estimates"]
    assert (placed["considered"], placed["score"]) == (3, output["data_centre_options"][0]["suitability_score"])
    assert placed["waiting"] is None
    assert (waits["chosen_dc_id"], waits["score"], waits["estimates"]) == (None, None, None)
    assert waits["waiting"]["status"] == "DEFERRED_CARBON"


def test_pages_and_filters_leave_nothing_out(postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    several = [decision("job-2", number, decided_at=NOW, chosen_dc_id="DC-002") for number in range(2, 7)]
    postgres.insert("orchestration_decisions", several)  # all of one moment
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        seen: list[int] = []
        after: dict[str, str] = {}
        for _ in range(4):
            page = client.get(DECISIONS, params={"limit": "2", **after}).json()
            seen += [row["sequence"] for row in page["decisions"]]
            after = {"after": page["next"]} if page["next"] else {}
            if not after:
                break
        assert sorted(seen) == [1, 2, 3, 4, 5, 6]
        assert jobs(client.get(DECISIONS, params={"job_id": "job-1"})) == ["job-1"]
        assert jobs(client.get(DECISIONS, params={"dc_id": "DC-002"})) == ["job-2"] * 5
        assert jobs(client.get(DECISIONS, params={"scorer": "gemini"})) == []


@pytest.mark.parametrize(
    "output", [{}, [1, 2], "text", None, {"data_centre_options": 7, "decision": [], "task": "x"}]
)
def test_an_output_of_another_shape_hides_no_decision(postgres: PostgresDatabase, output: Any) -> None:
    store_linked_world(postgres)
    if output is not None:
        postgres.insert("orchestration_decisions", [decision("job-2", 2, output=output)])
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        rows = client.get(DECISIONS).json()["decisions"]
    assert rows[0]["chosen_dc_id"] == "DC-001"
    assert (rows[0]["considered"], rows[0]["runner_up"], rows[0]["objective_gbp"]) == (None, None, None)


def test_each_operator_sees_its_own_by_its_own_numbers(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    store_world(postgres)
    submit(postgres, *(workload(f"job-{number}", operator=(A, B)[number % 2]) for number in range(6)))
    decide_all(postgres)
    of = {operator: bearer(made_key(postgres, operator, Role.READER)[0].text) for operator in (A, B)}
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as api:
        everybodys = api.get(DECISIONS, headers=bearer(PLATFORM_KEY)).json()["decisions"]
        assert len(everybodys) == 6
        for operator, numbers in ((A, {0, 2, 4}), (B, {1, 3, 5})):
            own = api.get(DECISIONS, headers=of[operator]).json()["decisions"]
            assert {row["job_id"] for row in own} == {f"job-{number}" for number in numbers}
            assert sorted(row["sequence"] for row in own) == [1, 2, 3]
        place = api.get(f"{DECISIONS}?limit=1", headers=bearer(PLATFORM_KEY)).json()["next"]
        older = api.get(DECISIONS, params={"after": place}, headers=of[A]).json()["decisions"]
        assert {row["job_id"] for row in older} <= {"job-0", "job-2", "job-4"}
        is_problem(api.get(DECISIONS), 401)
    gate.close()


@pytest.mark.parametrize("asked", ["after=x", "scorer=moon", "limit=0", "limit=201", "moon=1"])
def test_what_cannot_be_asked_is_refused(api: Client, asked: str) -> None:
    is_problem(api.get(f"{DECISIONS}?{asked}"), 422)
