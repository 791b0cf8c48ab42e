"""The price of the place: what a run displaces. It stands beside the score and changes nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON, random_context, with_idle_capacity, with_random_capacity
from decisions.publishing.output import build_output
from decisions.scoring.capacity import displaced_gbp, less
from decisions.scoring.context import Capacity, CapacityPrices, DecisionContext
from decisions.scoring.decide import decide
from grid.half_hours import half_hour_of

seeds = st.integers(min_value=0, max_value=2**32)
MINUTE = timedelta(minutes=1)


def prices(gbp_per_kw: dict[str, tuple[tuple[int, float], ...]], **parts: Any) -> CapacityPrices:
    facts = {"planned_at": NOON, "workloads": 3, "left_out": 0, "method": "exact", "start": NOON, "half_hours": 4}
    return CapacityPrices.model_validate({**facts, "gbp_per_kw": gbp_per_kw, **parts})


def capacity(of: CapacityPrices | None) -> Capacity:
    return Capacity(start=NOON, half_hours=96, free_it_kw={"DC-001": ((0, 100.0),)}, prices=of)


def displaced(start: int, end: int, *, dc_id: str = "DC-001", kw: float = 10) -> float | None:
    """Of a run between two minutes from noon."""
    known = prices({"DC-001": ((0, 0.0), (1, 0.2), (3, 0.5))})
    return displaced_gbp(capacity(known), dc_id, NOON + start * MINUTE, NOON + end * MINUTE, kw)


def test_a_run_displaces_its_whole_power_in_every_half_hour_that_it_touches() -> None:
    assert displaced(0, 30) == 0
    assert displaced(0, 31) == pytest.approx(2)
    assert displaced(29, 91) == pytest.approx(10 * (0 + 0.2 + 0.2 + 0.5))
    assert displaced(30, 90) == pytest.approx(4)
    assert displaced(100, 101, kw=0.5) == pytest.approx(0.25)


def test_where_nobody_competes_nothing_is_displaced_and_where_no_price_is_known_nothing_is_said() -> None:
    assert displaced(0, 120, dc_id="DC-002") == 0
    assert displaced(0, 121) is None
    assert displaced(-1, 30) is None
    assert displaced_gbp(capacity(None), "DC-001", NOON, NOON + HALF_HOUR, 1) is None
    assert displaced_gbp(None, "DC-001", NOON, NOON + HALF_HOUR, 1) is None


def test_prices_stay_with_what_a_decision_leaves() -> None:
    known = capacity(prices({"DC-001": ((0, 0.1),)}))
    assert less(known, "DC-001", NOON, NOON + HALF_HOUR, 5).prices == known.prices


@pytest.mark.parametrize("steps", [((0, -0.1),), ((1, 0.1),), ((0, 0.1), (0, 0.2))])
def test_prices_that_are_none_are_refused(steps: Any) -> None:
    with pytest.raises(ValueError, match="DC-001"):
        prices({"DC-001": steps})


def with_random_prices(context: DecisionContext, seed: int) -> DecisionContext:
    rng = random.Random(seed)
    of = {
        site.dc_id: tuple(
            (at, rng.choice([0, 0.001, 0.3])) for at in sorted({0, rng.randint(0, 5), rng.randint(0, 9)})
        )
        for site in context.data_centres
        if rng.random() < 0.8
    }
    known = prices(of, start=half_hour_of(context.as_of), half_hours=10)
    assert context.capacity is not None
    return context.model_copy(update={"capacity": context.capacity.model_copy(update={"prices": known})})


@given(seeds)
def test_prices_are_never_negative_and_change_nothing_else(seed: int) -> None:
    """So a wider window and more power are never worse with them, as they are not without."""
    without = with_random_capacity(random_context(seed), seed)
    priced = decide(with_random_prices(without, seed))
    assert all(one.displaced_gbp is None or one.displaced_gbp >= 0 for one in priced.options)
    plain = decide(without)
    assert all(one.displaced_gbp is None for one in plain.options)
    assert tuple(replace(one, displaced_gbp=None) for one in priced.options) == plain.options
    assert (priced.binding, priced.carbon_price_switches) == (plain.binding, plain.carbon_price_switches)


@given(seeds)
def test_with_room_for_all_every_known_price_is_nothing(seed: int) -> None:
    context = with_idle_capacity(random_context(seed))
    assert context.capacity is not None
    none = prices({}, start=half_hour_of(context.as_of), half_hours=400)
    decision = decide(context.model_copy(update={"capacity": context.capacity.model_copy(update={"prices": none})}))
    for option in decision.options:
        assert option.displaced_gbp == (0 if option.evaluated else None)
    output = build_output(decision, generated_at=NOON)
    assert output.decision.capacity_prices is not None
    assert output.decision.capacity_prices.source == "joint_plan"
