from __future__ import annotations

import dataclasses
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import task
from decisions.scoring.context import Task
from decisions.scoring.energy import compute_load
from decisions.scoring.objective import Terms
from decisions.scoring.suitability import ReferenceScale, suitability_score
from vocabulary import Policy

LOAD = compute_load(Task.model_validate(task()))


def test_the_references_score_90_and_10_and_their_middle_50() -> None:
    assert suitability_score(0) == pytest.approx(90)
    assert suitability_score(0.5) == pytest.approx(50)
    assert suitability_score(1) == pytest.approx(10)


@given(st.floats(min_value=-100, max_value=1e6))
@settings(deadline=None)
def test_the_score_is_the_documented_formula(position: float) -> None:
    u = 4 / 3 * (2 * position - 1)
    assert suitability_score(position) == pytest.approx(50 * (1 - u / sqrt(1 + u * u)), abs=1e-9)


@given(low=st.floats(min_value=-20, max_value=1e5), step=st.floats(min_value=1e-9, max_value=10))
@settings(deadline=None)
def test_the_score_falls_strictly_between_distinguishable_positions(low: float, step: float) -> None:
    first, second = (float(np.round(position, 9)) for position in (low, low + step))
    if first < second:
        assert 0 < suitability_score(second) < suitability_score(first) < 100


def test_the_score_stays_above_zero_however_dear() -> None:
    scores = [suitability_score(10.0**power) for power in range(100)]
    assert all(higher > lower > 0 for higher, lower in pairwise(scores))


def test_the_reference_objectives_are_the_documented_conditions() -> None:
    scale = ReferenceScale.of(LOAD, Terms.of(Policy.BALANCED, 100))
    assert scale.good_gbp == pytest.approx(0.96 * 1.1 * 0.020)
    assert scale.bad_gbp == pytest.approx(0.96 * 1.6 * (0.150 + 0.040 + 0.050))
    assert scale.bad_carbon_g == pytest.approx(0.96 * 1.6 * 400)


def test_the_position_is_zero_at_the_good_reference_and_one_at_the_bad() -> None:
    scale = ReferenceScale.of(LOAD, Terms.of(Policy.BALANCED, 100))
    middle = (scale.good_gbp + scale.bad_gbp) / 2
    positions = scale.position(np.array([scale.good_gbp, middle, scale.bad_gbp]))
    assert positions.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("policy", list(Policy))
def test_a_workload_of_no_energy_or_no_carbon_price_still_has_a_scale(policy: Policy) -> None:
    nothing = dataclasses.replace(LOAD, it_energy_kwh=0.0, it_power_kw=0.0)
    for scale in (
        ReferenceScale.of(nothing, Terms.of(policy, 100)),
        ReferenceScale.of(LOAD, Terms.of(policy, 0)),
    ):
        assert np.isfinite(scale.position(np.array([0.0, 1.0]))).all()
        assert np.isfinite(scale.carbon_share(np.array([0.0, 1.0]))).all()
