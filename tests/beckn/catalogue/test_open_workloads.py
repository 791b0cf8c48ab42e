"""Which workloads are listed, in which order, and what is told of them."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.catalogue.open_workloads import OPEN_STATUSES, WORKLOADS_PROVIDER_ID, open_workloads
from beckn_worlds import NOON, moments, queues
from database.interface import Database, OrderBy
from grid_world import NOW, submit
from grid_world import workload as stored_workload
from ontology.types import ComputeWorkload
from vocabulary import WorkloadStatus


def a_workload(job_id: str = "job-1", **facts: Any) -> ComputeWorkload:
    """One that says everything of itself."""
    said = {
        **dict.fromkeys(ComputeWorkload.model_fields),
        "job_id": job_id,
        "operator": "OP-OWNER",
        "workload_type": "TRAINING_RUN",
        "urgency": "MEDIUM",
        "required_gpu_mins": 1200,
        "required_cpu_cores": 16,
        "required_memory_gb": 64,
        "estimated_energy_kwh": 5.75,
        "carbon_cap_gco2": 150,
        "max_price_gbp": 40,
        "deadline": NOON + timedelta(hours=8),
        "deferral_window_mins": 240,
        "status": "PENDING",
        "status_reason": "asked for by J. Doe",
        "is_synthetic": False,
        "created_at": NOON - timedelta(minutes=5),
        "updated_at": NOON,
    }
    return ComputeWorkload.model_validate({**said, **facts})


def listed(*workloads: ComputeWorkload, now: datetime = NOON) -> list[dict[str, Any]]:
    (provider,) = open_workloads(workloads, now=now).model_dump(mode="json")["providers"]
    items: list[dict[str, Any]] = provider["items"]
    return items


def stops(workload: ComputeWorkload, now: datetime = NOON) -> dict[str, Any]:
    (provider,) = open_workloads([workload], now=now).model_dump(mode="json")["providers"]
    ((fulfillment),) = provider["fulfillments"]
    return {stop["type"]: stop["time"] for stop in fulfillment["stops"]}


def test_a_workload_is_an_item_that_says_what_it_needs() -> None:
    assert listed(a_workload()) == [
        {
            "id": "job-1",
            "descriptor": {"code": "TRAINING_RUN", "name": "Workload job-1"},
            "price": {"currency": "GBP", "maximum_value": "40"},
            "quantity": {"selected": {"measure": {"unit": "GPU-min", "value": "1200"}}},
            "location_ids": ["GB"],
            "fulfillment_ids": ["ful:job-1"],
            "tags": [
                {
                    "descriptor": {"code": "workload-requirements"},
                    "display": True,
                    "list": [
                        {"descriptor": {"code": "workload-type"}, "value": "TRAINING_RUN"},
                        {"descriptor": {"code": "urgency"}, "value": "MEDIUM"},
                        {"descriptor": {"code": "status"}, "value": "PENDING"},
                        {"descriptor": {"code": "cpu-cores"}, "value": "16"},
                        {"descriptor": {"code": "memory-gb"}, "value": "64"},
                        {"descriptor": {"code": "estimated-energy-kwh"}, "value": "5.75"},
                        {"descriptor": {"code": "deferral-window"}, "value": "PT240M"},
                        {"descriptor": {"code": "synthetic"}, "value": "false"},
                    ],
                },
                {
                    "descriptor": {"code": "energy-constraints"},
                    "display": True,
                    "list": [{"descriptor": {"code": "max-carbon-intensity-gco2-per-kwh"}, "value": "150"}],
                },
            ],
        }
    ]


def test_what_a_workload_does_not_say_is_left_out() -> None:
    (item,) = listed(
        a_workload(required_gpu_mins=None, max_price_gbp=None, carbon_cap_gco2=None, required_cpu_cores=None)
    )
    assert (item["price"], item["quantity"]) == ({"currency": "GBP"}, {})
    assert [group["descriptor"]["code"] for group in item["tags"]] == ["workload-requirements"]
    assert "cpu-cores" not in json.dumps(item)


def test_zero_is_said() -> None:
    (item,) = listed(a_workload(max_price_gbp=0, carbon_cap_gco2=0))
    assert item["price"]["maximum_value"] == "0"
    assert item["tags"][1]["list"][0]["value"] == "0"


def test_it_may_start_from_now_until_its_window_closes_and_must_end_by_its_deadline() -> None:
    assert stops(a_workload()) == {
        "start": {"range": {"start": "2026-11-22T12:00:00Z", "end": "2026-11-22T15:55:00Z"}},
        "end": {"timestamp": "2026-11-22T20:00:00Z"},
    }


def test_with_a_deadline_alone_the_last_start_is_open() -> None:
    assert stops(a_workload(deferral_window_mins=None)) == {
        "start": {"range": {"start": "2026-11-22T12:00:00Z"}},
        "end": {"timestamp": "2026-11-22T20:00:00Z"},
    }


def test_with_neither_window_nor_deadline_it_starts_now() -> None:
    assert stops(a_workload(deferral_window_mins=None, deadline=None)) == {
        "start": {"range": {"start": "2026-11-22T12:00:00Z", "end": "2026-11-22T12:00:00Z"}},
    }


def test_workloads_that_run_or_are_over_are_not_listed() -> None:
    every = [a_workload(str(status), status=status) for status in WorkloadStatus]
    assert {item["id"] for item in listed(*every)} == {str(status) for status in OPEN_STATUSES}
    assert {WorkloadStatus.RUNNING, WorkloadStatus.COMPLETED, WorkloadStatus.CANCELLED}.isdisjoint(OPEN_STATUSES)


def test_workloads_of_the_same_age_are_in_the_order_of_their_ids() -> None:
    assert [item["id"] for item in listed(*map(a_workload, "cab"))] == ["a", "b", "c"]


def test_jobs_of_one_id_are_told_apart_by_their_operators() -> None:
    workloads = [a_workload("same", operator=operator) for operator in ("OP-1", "OP-2")] + [a_workload("other")]
    (provider,) = open_workloads(workloads, now=NOON).providers
    assert sorted(item.id for item in provider.items or ()) == ["OP-1/same", "OP-2/same", "other"]
    assert [item.fulfillment_ids for item in provider.items or ()] == [
        (fulfillment.id,) for fulfillment in provider.fulfillments or ()
    ]


def test_without_workloads_the_list_is_empty() -> None:
    assert listed() == []


@given(queues(), moments, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_oldest_comes_first_whatever_the_order_of_the_input(
    queue: list[ComputeWorkload], now: datetime, rng: random.Random
) -> None:
    waiting = sorted((each for each in queue if each.status in OPEN_STATUSES), key=lambda each: each.job_id)
    by_age = sorted(waiting, key=lambda each: each.created_at)
    catalog = open_workloads(queue, now=now)
    assert [item.id for item in catalog.providers[0].items] == [each.job_id for each in by_age]
    assert open_workloads(rng.sample(queue, len(queue)), now=now) == catalog


@given(queues(), moments)
@settings(max_examples=40, deadline=None)
def test_every_figure_is_the_workloads_own(queue: list[ComputeWorkload], now: datetime) -> None:
    workloads = {each.job_id: each for each in queue}
    for item in listed(*queue, now=now):
        workload = workloads[item["id"]]
        tags = {tag["descriptor"]["code"]: tag["value"] for group in item["tags"] for tag in group["list"]}
        selected = item["quantity"].get("selected", {}).get("measure", {}).get("value")
        figures = [
            (selected, workload.required_gpu_mins),
            (item["price"].get("maximum_value"), workload.max_price_gbp),
            (tags.get("max-carbon-intensity-gco2-per-kwh"), workload.carbon_cap_gco2),
            (tags.get("cpu-cores"), workload.required_cpu_cores),
            (tags.get("memory-gb"), workload.required_memory_gb),
            (tags.get("estimated-energy-kwh"), workload.estimated_energy_kwh),
        ]
        assert [None if text is None else float(text) for text, _ in figures] == [figure for _, figure in figures]
        assert (tags["workload-type"], tags["urgency"]) == (str(workload.workload_type), str(workload.urgency))


def test_whose_a_workload_is_and_what_was_said_of_it_stay_out() -> None:
    document = open_workloads([a_workload(host_dc_id="DC-HOST")], now=NOON).model_dump_json()
    assert not any(secret in document for secret in ("OP-OWNER", "J. Doe", "DC-HOST"))


def test_the_databases_workloads_are_listed(database: Database) -> None:
    submit(database, stored_workload("job-1", max_price_gbp=2.5), stored_workload("job-2"))
    rows = database.select("compute_workloads", order=OrderBy(("job_id",)))
    (provider,) = open_workloads(map(ComputeWorkload.model_validate, rows), now=NOW).providers
    assert provider.id == WORKLOADS_PROVIDER_ID
    assert sorted(item.id for item in provider.items) == ["job-1", "job-2"]
