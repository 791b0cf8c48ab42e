from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from decision_contexts import NOON, a_context, centre, context_json, task
from decisions.scoring.context import DecisionContext


def document(**parts: Any) -> dict[str, Any]:
    return context_json(**{"task": task(), "price": [1], "carbon": {13: [1]}, "centres": [centre()], **parts})


@pytest.mark.parametrize(
    "written", ["2026-11-22T08:04:11Z", "2026-11-22T08:04:11+00:00", "2026-11-22T09:04:11+01:00"]
)
def test_times_are_read_with_any_offset_and_kept_in_utc(written: str) -> None:
    context = DecisionContext.model_validate({**document(), "as_of": written})
    assert context.as_of == datetime(2026, 11, 22, 8, 4, 11, tzinfo=timezone.utc)
    assert context.as_of.tzinfo is timezone.utc


def test_columns_the_scorer_does_not_know_are_ignored() -> None:
    assert DecisionContext.model_validate({**document(summary={"data_centres": 1}, new=1)}) == a_context(
        price=[1], carbon={13: [1]}
    )


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"centres": [centre(), centre()]}, "dc_id DC-001 appears more than once"),
        ({"centres": [centre(pue=0.9)]}, "pue"),
        ({"centres": [centre(current_load_percentage=101)]}, "current_load_percentage"),
        ({"centres": [centre(status="SLEEPING")]}, "status"),
        ({"task": task(urgency="SOON")}, "urgency"),
        ({"task": task(deadline="2026-11-22T08:00:00")}, "deadline"),
        ({"task": task(estimated_energy_kwh=float("nan"))}, "estimated_energy_kwh"),
        ({"task": task(required_gpu_mins=-1)}, "required_gpu_mins"),
        ({"price": [float("inf")]}, "wholesale_price_gbp_mwh"),
        ({"carbon": {13: [-1]}}, "carbon_intensity_gco2_per_kwh"),
        ({"stress": [1.01]}, "grid_stress_score"),
        ({"start": NOON.replace(minute=10)}, "start of a half-hour"),
    ],
)
def test_what_cannot_be_true_is_refused_by_name(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        DecisionContext.model_validate(document(**parts))


def test_a_region_that_stands_twice_is_refused() -> None:
    doubled = document()
    doubled["regional"] *= 2
    with pytest.raises(ValidationError, match="region_id 13 appears more than once"):
        DecisionContext.model_validate(doubled)
