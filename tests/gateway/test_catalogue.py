"""The catalogue of open workloads over real HTTP."""

from __future__ import annotations

from typing import Any

from beckn_specification import on_search_faults
from grid_world import NOW, submit, workload
from running_gateway import RunningGateway, running_gateway
from supabase_client import Database, Where


def listed(gateway: RunningGateway, query: str = "") -> list[str]:
    document = gateway.get(f"/beckn/catalog{query}").json()
    (provider,) = document["message"]["catalog"]["providers"]
    items: list[Any] = provider.get("items", [])
    return [item["id"] for item in items]


def test_the_open_workloads_are_listed_and_the_others_are_not(database: Database) -> None:
    submit(database, *(workload(f"job-{number}") for number in range(4)))
    database.update("compute_workloads", {"status": "COMPLETED"}, where=[Where("job_id", "job-0")])
    database.update("compute_workloads", {"status": "DEFERRED_CARBON"}, where=[Where("job_id", "job-1")])
    with running_gateway(database) as gateway:
        assert sorted(listed(gateway)) == ["job-1", "job-2", "job-3"]
        assert len(listed(gateway, "?limit=2")) == 2
        assert gateway.get("/beckn/catalog?limit=0").status_code == 422
        document = gateway.get("/beckn/catalog").json()
    assert document["context"]["action"] == "on_search"
    assert document["context"]["timestamp"].startswith(f"{NOW:%Y-%m-%dT%H:%M:%S}")


def test_the_catalogue_is_a_valid_on_search(database: Database) -> None:
    submit(database, workload("job-1", carbon_cap_gco2=150, max_price_gbp=40, deferral_window_mins=60))
    with running_gateway(database) as gateway:
        assert on_search_faults(gateway.get("/beckn/catalog").json()) == []
