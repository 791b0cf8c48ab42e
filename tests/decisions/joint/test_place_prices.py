"""What a kilowatt is worth to the work that competes for it."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import a_context
from decisions.joint.place_prices import PlacePrices, price_places
from decisions.joint.plan import PlacedJob, plan_jointly
from decisions.joint.problem import Job, PlanInputs
from decisions.joint.solver import Method
from decisions.scoring.objective import Terms
from joint_cases import a_job, a_site, random_case, surroundings
from vocabulary import Policy

TERMS = Terms.of(Policy.BALANCED)


def no_time_passes() -> float:
    return 0.0


def priced(jobs: list[Job], where: PlanInputs) -> PlacePrices:
    return price_places(jobs, where, TERMS, monotonic=no_time_passes, time_limit_s=10_000)


def one_cheap_half_hour(kw: float) -> PlanInputs:
    """A data centre in London: the first half-hour costs £20/MWh, the next ones £120/MWh."""
    return surroundings(a_context(centres=[a_site(kw=kw)], price=[20.0, *[120.0] * 5]))


def waiting(number: int, **facts: Any) -> Job:
    return a_job(f"job-{number}", minutes=30, deferral_window_mins=120, urgency="LOW", **facts)


def test_where_there_is_room_for_all_nothing_is_displaced() -> None:
    prices = priced([waiting(1), waiting(2)], one_cheap_half_hour(kw=2))
    assert (prices.gbp_per_kw, prices.method, prices.workloads, prices.left_out) == ({}, Method.ALONE, 2, 0)
    assert priced([], one_cheap_half_hour(kw=2)).workloads == 0


def test_a_kilowatt_that_is_short_is_worth_what_the_next_would_save_with_it() -> None:
    """Two want the kilowatt of the cheap half-hour: the other pays half a kWh at £100/MWh more, and its wait."""
    where = one_cheap_half_hour(kw=1)
    prices = priced([waiting(1), waiting(2)], where)
    ((at, price), *_) = prices.gbp_per_kw["DC-1"]
    pue = where.centres[0].pue
    assert at == 0
    assert abs(price - (0.5 * pue * 0.1 + 0.005)) < 1e-3
    assert prices.start == where.signals.origin


@given(st.integers(min_value=0, max_value=2**32))
@settings(max_examples=25)
def test_prices_are_those_of_the_joint_plan_and_never_negative(seed: int) -> None:
    case = random_case(seed, most_jobs=5, half_hours=6)
    prices = priced(case.jobs, case.surroundings())
    for steps in prices.gbp_per_kw.values():
        assert steps[0][0] == 0
        assert all(price >= 0 for _, price in steps)
        assert any(price > 0 for _, price in steps)
    plan = plan_jointly(case.jobs, case.surroundings(), monotonic=no_time_passes, time_limit_s=10_000)
    assert prices.method is plan.method
    for site in plan.capacity:
        steps = prices.gbp_per_kw.get(site.dc_id, ((0, 0.0),))
        drawn = [next(price for begins, price in reversed(steps) if begins <= at) for at in range(prices.half_hours)]
        assert max(abs(drawn - site.price_gbp_per_kw.clip(min=0))) < 1e-8
    assert prices.left_out == sum(not isinstance(one, PlacedJob) and one.for_capacity for one in plan.jobs)


def test_the_order_of_the_work_changes_no_price() -> None:
    case = random_case(7, most_jobs=6, half_hours=6)
    shuffled = list(case.jobs)
    random.Random(1).shuffle(shuffled)
    assert priced(shuffled, case.surroundings()) == priced(case.jobs, case.surroundings())
