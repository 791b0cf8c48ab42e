"""What runs at one's own data centres: whoever's it is, while it does, and no more of it than a host must know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clock import utc_now
from database.interface import Where
from database.postgres import PostgresDatabase
from grid_world import data_centre, store_data_centres, store_grid
from served import Client
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B

HOSTED = "/api/v1/hosted-workloads"
SHOWN = {
    *("job_id", "operator", "host_dc_id", "required_gpu_mins", "required_cpu_cores", "required_memory_gb"),
    *("estimated_energy_kwh", "status", "scheduled_start", "actual_start"),
}


@pytest.fixture
def api(postgres: PostgresDatabase, door: PostgresDatabase) -> Iterator[Client]:
    """A's data centre is DC-001 and B's DC-002."""
    store_grid(postgres, utc_now())
    store_data_centres(postgres, [data_centre(number, operator=(A, B)[number - 1]) for number in (1, 2)], utc_now())
    with api_with_tenants(postgres, door) as client:
        yield client


def place(postgres: PostgresDatabase, owner: str, job_id: str, dc_id: str, status: str) -> None:
    row = {"job_id": job_id, "operator": owner, "workload_type": "TRAINING_RUN", "max_price_gbp": 5}
    postgres.insert("compute_workloads", [row])
    postgres.update(
        "compute_workloads",
        {"status": status, "host_dc_id": dc_id},
        where=[Where("job_id", job_id), Where("operator", owner)],
    )


def test_a_host_sees_what_is_placed_with_it_and_no_more_of_it_than_it_must(
    postgres: PostgresDatabase, api: Client
) -> None:
    reader = {operator: bearer(made_key(postgres, operator, Role.READER)[0].text) for operator in (A, B)}
    for job_id, dc_id, status in (
        ("running", "DC-002", "RUNNING"),
        ("waiting", "DC-002", "QUEUED"),
        ("done", "DC-002", "COMPLETED"),
        ("wished", "DC-002", "PENDING"),
        ("elsewhere", "DC-001", "RUNNING"),
    ):
        place(postgres, A, job_id, dc_id, status)
    hosted = api.get(HOSTED, headers=reader[B]).json()
    assert [(each["job_id"], each["operator"]) for each in hosted["workloads"]] == [("running", A), ("waiting", A)]
    assert hosted["next"] is None
    assert set(hosted["workloads"][0]) == SHOWN
    assert is_problem(api.get("/api/v1/workloads/running", headers=reader[B]), 404)
    own = api.get(HOSTED, headers=reader[A]).json()["workloads"]
    assert [each["job_id"] for each in own] == ["elsewhere"]
    everybodys = api.get(HOSTED, headers=bearer(PLATFORM_KEY)).json()["workloads"]
    assert [each["job_id"] for each in everybodys] == ["elsewhere", "running", "waiting"]


def test_pages_hold_every_workload_once_also_those_of_one_name(postgres: PostgresDatabase, api: Client) -> None:
    reader = bearer(made_key(postgres, B, Role.READER)[0].text)
    expected = []
    for number in range(5):
        for owner in (A, B):
            place(postgres, owner, f"job-{number}", "DC-002", "RUNNING")
            expected.append((f"job-{number}", owner))
    for headers in (reader, bearer(PLATFORM_KEY)):
        read: list[tuple[str, str]] = []
        after = ""
        while after is not None:
            page = api.get(f"{HOSTED}?limit=3{after and f'&after={after}'}", headers=headers).json()
            read += [(each["job_id"], each["operator"]) for each in page["workloads"]]
            after = page["next"]
        assert read == expected
