from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from decision_contexts import NOON, a_context, centre, task
from decisions.publishing.waiting import WaitingStatus, waiting_status
from decisions.scoring.decide import decide
from vocabulary import WorkloadStatus


def status_of(**parts: Any) -> WaitingStatus:
    waiting = waiting_status(decide(a_context(**parts)))
    assert waiting is not None
    return waiting


def test_a_placed_workload_does_not_wait() -> None:
    assert waiting_status(decide(a_context())) is None


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"task": task(carbon_cap_gco2=100)}, WorkloadStatus.DEFERRED_CARBON),
        ({"task": task(max_price_gbp=0.01)}, WorkloadStatus.DEFERRED_PRICE),
        ({"stress": [1] * 6}, WorkloadStatus.DEFERRED_GRID_STRESS),
        ({"task": task(carbon_cap_gco2=100, max_price_gbp=0.01)}, WorkloadStatus.DEFERRED_CARBON),
        ({"task": task(carbon_cap_gco2=100), "stress": [1] * 6}, WorkloadStatus.DEFERRED_GRID_STRESS),
    ],
)
def test_the_constraint_that_the_grid_may_lift_names_the_status(
    parts: dict[str, Any], status: WorkloadStatus
) -> None:
    assert status_of(**parts).status is status


def test_the_option_nearest_to_taking_it_names_the_status() -> None:
    centres = [centre("DC-1", status="MAINTENANCE"), centre("DC-2"), centre("DC-3", region_id=14)]
    waiting = status_of(
        centres=centres,
        task=task(carbon_cap_gco2=100, max_price_gbp=0.2),
        carbon={13: [200] * 6, 14: [300] * 6},
    )
    assert waiting.status is WorkloadStatus.DEFERRED_CARBON
    assert waiting.reason == (
        "At DC-2, which comes closest to taking it: carbon intensity reaches 200 gCO2/kWh, above its cap of 100."
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"centres": []},
        {"centres": [centre(status="CONSTRAINED")]},
        {"centres": [centre(current_load_percentage=100)]},
        {"centres": [centre(region_id=3)]},
        {"price": [100]},
    ],
)
def test_what_is_no_matter_of_the_grids_state_leaves_it_pending(parts: dict[str, Any]) -> None:
    waiting = status_of(**parts)
    assert waiting.status is WorkloadStatus.PENDING
    assert waiting.reason.endswith(".")


def test_a_deadline_that_cannot_be_met_any_more_fails_it_whatever_else_is_wrong() -> None:
    deadline = (NOON + timedelta(minutes=59)).isoformat()
    waiting = status_of(task=task(deadline=deadline, carbon_cap_gco2=0), centres=[])
    assert waiting.status is WorkloadStatus.FAILED
    assert waiting.reason == "It runs for 1 h and cannot end by its deadline 2026-11-22T12:59:00Z."


def test_a_run_longer_than_any_forecast_fails() -> None:
    assert status_of(task=task(required_gpu_mins=60 * 48.5)).status is WorkloadStatus.FAILED
    assert status_of(task=task(required_gpu_mins=60 * 48)).status is WorkloadStatus.PENDING
