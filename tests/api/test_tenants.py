"""Two operators, the platform and nobody at the API server: every endpoint shows each what is its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from api_application import api_access, create_app
from database.callers import CallersDatabase
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from running_gateway import workers_on
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, bearer, made_key, with_tenants
from two_operators import A, B, gate_of, make_operators

WORKLOADS = "/api/v1/workloads"
OBJECTS = "/api/v1/objects"
PLATFORM = bearer(PLATFORM_KEY)
GROUPS = [
    "/api/v1/live-state",
    "/api/v1/ontology",
    f"{OBJECTS}/ComputeWorkload",
    f"{OBJECTS}/OrchestrationDecision",
    f"{OBJECTS}/StorageAsset",
    f"{OBJECTS}/DataCentre",
    f"{OBJECTS}/Operator/{A}/links/OWNED_BY",
    "/api/v1/grid/regional",
    "/api/v1/grid/forecast",
    "/api/v1/market/catalog",
    WORKLOADS,
    f"{WORKLOADS}?status=PENDING",
]


@dataclass
class Served:
    """An API server, and what each of its callers sends."""

    client: Client
    of_a: dict[str, str]
    of_b: dict[str, str]
    reader_of_a: dict[str, str]

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return self.client.get(path, headers=headers or {})

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> Any:
        return self.client.post(path, document, headers=headers or {})


@pytest.fixture
def api(postgres: PostgresDatabase, conninfo: str) -> Iterator[Served]:
    make_operators(postgres)
    store_world(postgres)
    submit(
        postgres,
        workload("planted-of-a", operator=A),
        workload("planted-of-b", operator=B),
        workload("planted-of-nobody"),
    )
    workers_on(postgres).work_once()
    submit(postgres, workload("open-of-a", operator=A), workload("open-of-b", operator=B))
    for operator in (A, B):
        asset = {
            "asset_id": f"battery-of-{operator}",
            "name": f"Battery of {operator}",
            "operator": operator,
            "region_id": 13,
            "capacity_mwh": 100,
            "power_mw": 50,
        }
        postgres.insert("storage_assets", [asset])
    gate = gate_of(conninfo)
    settings = load_settings(with_tenants())
    keys = [made_key(postgres, A)[0], made_key(postgres, B)[0], made_key(postgres, A, Role.READER)[0]]
    access = api_access(postgres, settings, gate)
    app = create_app(postgres, settings, clock=lambda: NOW, access=access)
    with served(app) as client:
        yield Served(client, *(bearer(key.text) for key in keys))
    gate.close()


@pytest.mark.parametrize("path", GROUPS)
def test_each_group_of_endpoints_shows_each_caller_its_own(api: Served, path: str) -> None:
    assert api.get(path).status_code == 401
    for _ in range(2):  # the second time from whatever is remembered
        to_a, to_b, to_platform = (api.get(path, headers) for headers in (api.of_a, api.of_b, PLATFORM))
        assert [to_a.status_code, to_b.status_code, to_platform.status_code] == [200, 200, 200]
        for answer, others in ((to_a, "of-b"), (to_b, "of-a")):
            for planted in (
                f"planted-{others}",
                f"open-{others}",
                f"battery-of-op-{others[-1]}",
                "planted-of-nobody",
            ):
                assert planted not in answer.text


def test_own_workloads_and_decisions_are_there_with_the_operator_s_numbers(api: Served) -> None:
    for headers, own in ((api.of_a, "of-a"), (api.of_b, "of-b")):
        page = api.get(WORKLOADS, headers).json()["workloads"]
        assert {row["job_id"] for row in page} == {f"planted-{own}", f"open-{own}"}
        decided = api.get(f"{WORKLOADS}/planted-{own}", headers).json()["decision"]
        assert decided["sequence"] == decided["output"]["_metadata"]["sequence"] == 1
        (decision,) = api.get(f"{OBJECTS}/OrchestrationDecision", headers).json()["objects"]
        assert (decision["job_id"], decision["sequence"]) == (f"planted-{own}", 1)
    everything = api.get(f"{OBJECTS}/OrchestrationDecision", PLATFORM).json()["objects"]
    assert sorted(decision["sequence"] for decision in everything) == [1, 2, 3]


@pytest.mark.parametrize(
    ("theirs", "nothing"),
    [
        (f"{WORKLOADS}/planted-of-b", f"{WORKLOADS}/there-is-none"),
        (f"{WORKLOADS}?after=planted-of-b", f"{WORKLOADS}?after=there-is-none"),
        (f"{OBJECTS}/ComputeWorkload/planted-of-b", f"{OBJECTS}/ComputeWorkload/there-is-none"),
        (f"{OBJECTS}/StorageAsset/battery-of-op-b", f"{OBJECTS}/StorageAsset/there-is-none"),
        (
            f"{OBJECTS}/ComputeWorkload/planted-of-b/links/OWNED_BY",
            f"{OBJECTS}/ComputeWorkload/there-is-none/links/OWNED_BY",
        ),
        (f"{OBJECTS}/ComputeWorkload?job_id=planted-of-b", f"{OBJECTS}/ComputeWorkload?job_id=there-is-none"),
    ],
)
def test_another_s_object_is_answered_as_one_that_is_not_there(api: Served, theirs: str, nothing: str) -> None:
    answers = [api.get(path, api.of_a) for path in (theirs, nothing)]
    assert answers[0].status_code == answers[1].status_code
    assert _without_names(answers[0].text, "planted-of-b", "battery-of-op-b") == _without_names(
        answers[1].text, "there-is-none"
    )


def _without_names(text: str, *names: str) -> str:
    for name in names:
        text = text.replace(name, "ID")
    return text


def test_the_same_job_id_is_free_in_another_operator_and_a_conflict_only_in_the_own(api: Served) -> None:
    document = {"job_id": "planted-of-b", "workload_type": "TRAINING_RUN", "required_gpu_mins": 60}
    stored = api.post(WORKLOADS, document, api.of_a)
    assert (stored.status_code, stored.json()["workloads"][0]["operator"]) == (201, A)
    assert api.post(WORKLOADS, document, api.of_a).status_code == 200
    assert api.post(WORKLOADS, {**document, "required_gpu_mins": 61}, api.of_a).status_code == 409
    theirs = api.get(f"{WORKLOADS}/planted-of-b", api.of_b).json()
    assert (theirs["operator"], theirs["workload_type"]) == (B, "INFERENCE_BATCH")


def test_nobody_submits_for_another_and_hears_of_no_others(api: Served) -> None:
    document = {"job_id": "mine", "workload_type": "TRAINING_RUN", "required_gpu_mins": 60}
    refused = api.post(WORKLOADS, {**document, "operator": B}, api.of_a)
    assert refused.status_code == 422
    assert refused.json().get("known_operators", []) in ([], [A])
    unknown = api.post(WORKLOADS, {**document, "operator": "op-none"}, api.of_a)
    assert refused.text.replace(B, "ID") == unknown.text.replace("op-none", "ID")
    assert api.post(WORKLOADS, document, api.reader_of_a).status_code == 403
    assert api.post(WORKLOADS, document).status_code == 401
    assert api.get(f"{WORKLOADS}/mine", PLATFORM).status_code == 404
    assert api.post(WORKLOADS, {**document, "operator": A}, api.of_a).status_code == 201


def test_too_many_open_workloads_are_refused(api: Served, postgres: PostgresDatabase) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "open_jobs", "p_capacity": 3})
    documents = [{"job_id": f"more-{number}", "workload_type": "TRAINING_RUN"} for number in range(3)]
    assert api.post(WORKLOADS, documents, api.of_a).status_code == 429
    assert api.post(WORKLOADS, documents, api.of_b).status_code == 201


def test_what_if_runs_over_the_shared_grid_alone(api: Served) -> None:
    task = {"workload_type": "TRAINING_RUN", "required_gpu_mins": 60}
    planned = api.post("/api/v1/plan", task, api.of_a)
    assert planned.status_code == 200
    assert api.post("/api/v1/plan", task, api.reader_of_a).status_code == 403
    assert api.post("/api/v1/plan/batch", {"workloads": [task]}, api.of_b).status_code == 200
    assert "of-b" not in planned.text
    assert api.post("/api/v1/plan", task).status_code == 401


def test_a_member_that_is_removed_is_refused_by_the_database_though_it_is_remembered(
    api: Served, postgres: PostgresDatabase
) -> None:
    assert api.get(WORKLOADS, api.of_a).status_code == 200
    for member in postgres.call("tenancy_members", {"p_operator": A}):
        if member["user_id"].startswith("svc:"):
            postgres.call("tenancy_remove_member", {"p_operator": A, "p_user_id": member["user_id"]})
    refused = [api.get(path, api.of_a) for path in (WORKLOADS, f"{WORKLOADS}/planted-of-a", "/api/v1/live-state")]
    assert {answer.status_code for answer in refused} <= {401, 403}
    assert all("planted" not in answer.text for answer in refused)


def test_an_endpoint_that_forgot_to_ask_reaches_nothing(postgres: PostgresDatabase) -> None:
    """As one would that was given no line in the table of scopes, or stood before the guard."""
    app = create_app(postgres, load_settings(with_tenants()), clock=lambda: NOW)
    database = CallersDatabase(postgres, postgres, lambda: None)
    app.add_url_rule("/forgotten", "forgotten", lambda: json.dumps(database.call("live_state")))
    with app.test_request_context("/forgotten"):
        answer = app.full_dispatch_request()
    assert answer.status_code == 401
