"""Polling the API: what has not changed is not sent again, what has is, and each tenant has its own."""

from __future__ import annotations

import pytest

from booked_work import book
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid_world import store_grid, store_world, submit, workload
from served import Client
from tenancy.scopes import Role
from tenant_settings import api_with_tenants, bearer, made_key
from two_operators import A, B, gate_of, make_operators

DOCUMENTS = [
    "/api/v1/live-state",
    "/api/v1/live-state?objects=DataCentre,Region",
    "/api/v1/ontology",
    "/api/v1/objects/DataCentre",
    "/api/v1/objects/DataCentre/DC-001",
    "/api/v1/grid/regional",
    "/api/v1/grid/forecast",
    "/api/v1/grid/forecast?region_id=3",
    "/api/v1/grid/forecast/regions",
    "/api/v1/grid/history",
    "/api/v1/pipeline-runs",
    "/api/v1/data-centres/DC-001/capacity",
]


def etag_of(api: Client, path: str, **headers: str) -> str:
    found = api.get(path, headers=headers)
    assert found.status_code == 200, found.text
    return found.headers["ETag"]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_has_not_changed_is_not_sent_again(world: Client, path: str) -> None:
    first = world.get(path)
    for _ in range(2):
        unchanged = world.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        again = world.get(path)
        assert (again.json(), again.headers["ETag"]) == (first.json(), first.headers["ETag"])
        assert again.headers["Content-Type"] == "application/json"
        assert again.headers["X-Content-Type-Options"] == "nosniff"


def test_it_is_compressed_whether_made_or_kept(world: Client) -> None:
    for _ in range(2):
        found = world.get("/api/v1/live-state", headers={"Accept-Encoding": "gzip"})
        assert found.headers["Content-Encoding"] == "gzip"
        assert int(found.headers["Content-Length"]) * 5 < len(found.content)
        plain = world.get("/api/v1/live-state", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert plain.json() == found.json()


def test_whatever_is_written_is_in_the_next_answer(api_through: Client, database: Database) -> None:
    store_world(database)
    etags = {path: etag_of(api_through, path) for path in DOCUMENTS}

    def changed() -> set[str]:
        found = {path: etag_of(api_through, path) for path in DOCUMENTS}
        different = {path for path in DOCUMENTS if found[path] != etags[path]}
        etags.update(found)
        return different

    assert changed() == set()
    submit(database, workload("job"))
    assert changed() == {"/api/v1/live-state"}
    book(database, "booked", it_power_kw=100)
    assert "/api/v1/data-centres/DC-001/capacity" in changed()
    store_grid(database, regions=(3,), carbon_added=7)
    assert {
        "/api/v1/grid/regional",
        "/api/v1/grid/forecast?region_id=3",
        "/api/v1/grid/forecast/regions",
    } <= changed()
    database.update("data_centres", {"pue": 1.5}, where=[Where("dc_id", "DC-001")])
    assert changed() >= {"/api/v1/objects/DataCentre", "/api/v1/live-state?objects=DataCentre,Region"}
    assert changed() == set()


def test_a_running_pipeline_whose_lease_may_end_by_itself_is_looked_for_every_time(
    api: Client, postgres: PostgresDatabase
) -> None:
    store_world(postgres)
    postgres.insert(
        "pipeline_runs",
        [
            {
                "slot": "2026-11-22T08:00:00Z",
                "state": "running",
                "work_state": "running",
                "lease_token": 1,
                "leased_until": "2100-01-01T00:00:00Z",
            }
        ],
    )
    path = "/api/v1/live-state?objects=Region"
    for _ in range(2):
        assert api.get(path).json()["pipeline_running"] is True


def test_each_tenant_polls_its_own(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    store_world(postgres)
    submit(postgres, workload("of-a", operator=A), workload("of-b", operator=B))
    keys = {operator: made_key(postgres, operator, Role.READER)[0].text for operator in (A, B)}
    path = "/api/v1/objects/ComputeWorkload"
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as api:
        for _ in range(3):
            jobs = {
                operator: [row["job_id"] for row in api.get(path, headers=bearer(key)).json()["objects"]]
                for operator, key in keys.items()
            }
            assert jobs == {A: ["of-a"], B: ["of-b"]}
        assert api.get(path).status_code == 401
        etag = etag_of(api, path, **bearer(keys[A]))
        assert api.get(path, headers={**bearer(keys[A]), "If-None-Match": etag}).status_code == 304
        assert api.get(path, headers={**bearer(keys[B]), "If-None-Match": etag}).status_code == 200
    gate.close()
