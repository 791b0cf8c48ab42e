"""The answer is the exhaustive optimum, and obeys the laws a decision must obey.

`exhaustive` works the answer out minute by minute in exact fractions and shares no code with the scorer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import (
    HALF_HOUR,
    NOON,
    a_context,
    centre,
    random_context,
    random_context_json,
    task,
    with_idle_capacity,
    with_random_capacity,
)
from decisions.scoring.capacity import less
from decisions.scoring.context import DataCentre, DecisionContext, Task
from decisions.scoring.decide import Decision, decide
from vocabulary import Policy, Urgency

MINUTE = timedelta(minutes=1)
CASES = 2_000
seeds = st.integers(min_value=0, max_value=2**32)


class Candidate(NamedTuple):
    """Ordered as answers are: least J, least carbon, earliest, first dc_id."""

    objective_gbp: Fraction
    carbon_g: Fraction
    start: datetime
    dc_id: str


def exhaustive(context: DecisionContext, carbon_price: int, policy: Policy) -> list[Candidate]:
    """Every feasible candidate, by looking at every minute of every run."""
    job = context.task
    power_kw, minutes = power_and_minutes(job)
    delay_gbp_per_h = {"LOW": "0.01", "MEDIUM": "0.05", "HIGH": "0.5", "CRITICAL": "0"}[job.urgency.value]
    count_cost, count_carbon, count_rest = {"balanced": (1, 1, 1), "carbon": (0, 1, 0), "cost": (1, 0, 0)}[
        policy.value
    ]
    found = []
    for site in context.data_centres:
        if site.status.value != "ACTIVE":
            continue
        for start in starts(context, minutes):
            spent = Counter(half_hour_of(start + minute * MINUTE) for minute in range(minutes))
            if any(power_kw > free_kw_at(context, site, half_hour) for half_hour in spent):
                continue
            figures = [figures_at(context, site.region_id, half_hour) for half_hour in spent]
            if any(None in figure for figure in figures):
                continue
            prices, stresses, intensities = ([fraction(value) for value in one] for one in zip(*figures, strict=True))
            kwh = power_kw * fraction(site.pue) / 60
            cost = over(spent, prices) * kwh / 1000
            carbon = over(spent, intensities) * kwh
            if job.carbon_cap_gco2 is not None and max(intensities) > fraction(job.carbon_cap_gco2):
                continue
            if job.max_price_gbp is not None and cost > fraction(job.max_price_gbp):
                continue
            if job.urgency.value != "CRITICAL" and max(stresses) > Fraction("0.95"):
                continue
            stress = over(spent, [score * score for score in stresses]) * 50 * kwh / 1000
            delay = Fraction(delay_gbp_per_h) * Fraction((start - context.as_of) / MINUTE) / 60
            objective = (
                count_cost * cost + count_carbon * carbon * carbon_price / 1_000_000 + count_rest * (stress + delay)
            )
            found.append(Candidate(objective, carbon, start, site.dc_id))
    return sorted(found)


def half_hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=30 * (moment.minute // 30))


def over(spent: Counter[datetime], figures: list[Fraction]) -> Fraction:
    """The sum of a figure over every minute of a run, which spends so many in each half-hour."""
    return sum((minutes * figure for minutes, figure in zip(spent.values(), figures, strict=True)), Fraction(0))


def free_kw_at(context: DecisionContext, site: DataCentre, moment: datetime) -> Fraction:
    """The power free in the half-hour of `moment`: by the capacity, or by the present load without one."""
    if context.capacity is None:
        return fraction(site.total_capacity_mw) * 10 * (100 - fraction(site.current_load_percentage))
    free_kw = Fraction(0)
    for half_hour, kw in context.capacity.free_it_kw.get(site.dc_id, ()):
        if half_hour == 0 or moment >= context.capacity.start + half_hour * HALF_HOUR:
            free_kw = fraction(kw)
    return max(free_kw, Fraction(0))


def power_and_minutes(job: Task) -> tuple[Fraction, int]:
    gpus = {
        "TRAINING_RUN": 8,
        "FINE_TUNING": 8,
        "INFERENCE_BATCH": 4,
        "DATA_PROCESSING": 2,
        "OTHER": 2,
        "RAG_QUERY": 1,
    }[job.workload_type.value]
    minutes = int(job.required_gpu_mins or 0) // gpus
    if job.estimated_energy_kwh is not None:
        return fraction(job.estimated_energy_kwh) * 60 / minutes, minutes
    return gpus * Fraction("0.96"), minutes


def starts(context: DecisionContext, minutes: int) -> Iterator[datetime]:
    """Now, and every half-hour on the clock for as long as the window and the deadline allow."""
    job, as_of = context.task, context.as_of
    last = as_of
    if job.urgency.value != "CRITICAL":
        if job.deferral_window_mins is not None:
            since = min(as_of, job.created_at or as_of)
            last = max(as_of, since + timedelta(minutes=job.deferral_window_mins))
        elif job.deadline:
            last = job.deadline
    start = as_of
    while start <= min(last, as_of + timedelta(days=3)):
        if not job.deadline or start + minutes * MINUTE <= job.deadline:
            yield start
        start = start.replace(minute=30 * (start.minute // 30)) + HALF_HOUR


def figures_at(context: DecisionContext, region_id: int, moment: datetime) -> list[float | None]:
    """Price, stress and intensity in the half-hour of `moment`."""
    national = context.national.forecast
    regional = [region.forecast for region in context.regional if region.region_id == region_id]
    values: list[float | None] = []
    for start, series in [
        (national.start, national.wholesale_price_gbp_mwh),
        (national.start, national.grid_stress_score),
        *((forecast.start, forecast.carbon_intensity_gco2_per_kwh) for forecast in regional),
    ]:
        position = (moment - start) // HALF_HOUR
        values.append(series[position] if 0 <= position < len(series) else None)
    return values if regional else [None]


@cache
def fraction(value: float | None) -> Fraction:
    """The decimal that a figure was written as."""
    return Fraction(repr(value))


class Answer(NamedTuple):
    objective_gbp: float
    carbon_g: float
    start: datetime
    dc_id: str


def answer(decision: Decision) -> Answer | None:
    chosen = decision.chosen
    if chosen is None or chosen.recommended is None:
        return None
    run = chosen.recommended
    return Answer(run.objective_gbp, run.carbon_gco2, run.start, chosen.centre.dc_id)


def place_and_start(decision: Decision) -> tuple[str, datetime] | None:
    found = answer(decision)
    return (found.dc_id, found.start) if found else None


def scores(decision: Decision) -> dict[str, float]:
    return {option.centre.dc_id: option.score for option in decision.options}


def ranking(decision: Decision) -> list[str]:
    return [option.centre.dc_id for option in decision.options]


def changed(context: DecisionContext, **facts: Any) -> DecisionContext:
    return context.model_copy(update={"task": context.task.model_copy(update=facts)})


# The exhaustive optimum


def test_place_start_and_ranking_are_the_exhaustive_optimum() -> None:
    placed = 0
    for seed in range(CASES):
        context = random_context(seed)
        if seed % 3 == 0:
            context = with_random_capacity(context, seed)
        policy = random.Random(seed).choice(list(Policy))
        carbon_price = random.Random(seed).choice([0, 50, 100, 300])
        candidates = exhaustive(context, carbon_price, policy)
        decision = decide(context, carbon_price_gbp_per_t=carbon_price, policy=policy)
        ranked = [option.centre.dc_id for option in decision.options if option.feasible]
        assert ranked == list(dict.fromkeys(candidate.dc_id for candidate in candidates)), seed
        found = answer(decision)
        if not candidates:
            assert found is None, seed
            continue
        assert found is not None, seed
        placed += 1
        best = candidates[0]
        assert (found.start, found.dc_id) == (best.start, best.dc_id), seed
        assert found.objective_gbp == pytest.approx(float(best.objective_gbp), rel=1e-9, abs=1e-12), seed
        assert found.carbon_g == pytest.approx(float(best.carbon_g), rel=1e-9, abs=1e-9), seed
    assert placed > CASES / 5, "most random cases should have an answer, else they prove little"


# Laws


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_an_options_score_and_recommendation_do_not_depend_on_the_other_options(seed: int) -> None:
    context = random_context(seed)
    together = {option.centre.dc_id: option for option in decide(context).options}
    for site in context.data_centres:
        alone = decide(context.model_copy(update={"data_centres": (site,)})).options[0]
        assert alone == together[site.dc_id]


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_a_region_with_a_longer_forecast_changes_no_other_regions_options(seed: int) -> None:
    context = random_context(seed)
    longer = (
        random_context(seed + 1)
        .regional[0]
        .forecast.model_copy(
            update={"carbon_intensity_gco2_per_kwh": (100.0,) * 30, "start": context.national.forecast.start}
        )
    )
    extra = context.regional[0].model_copy(update={"region_id": 98, "forecast": longer})
    widened = context.model_copy(update={"regional": (*context.regional, extra)})
    assert decide(widened).options == decide(context).options


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_the_order_of_the_inputs_changes_nothing(seed: int) -> None:
    document = random_context_json(random.Random(seed))
    shuffled = {**document}
    for name in ("regional", "data_centres"):
        shuffled[name] = random.Random(seed + 1).sample(document[name], len(document[name]))
    before, after = (decide(DecisionContext.model_validate(each)) for each in (document, shuffled))
    assert before.options == after.options
    assert before.binding == after.binding
    assert before.carbon_price_switches == after.carbon_price_switches


@given(seed=seeds, factor=st.sampled_from([0.5, 2.0, 7.0]))
@settings(max_examples=150, deadline=None)
def test_scaling_the_prices_or_the_carbon_price_alone_changes_no_ranking_under_the_policy_that_counts_only_it(
    seed: int, factor: float
) -> None:
    context = changed(random_context(seed), max_price_gbp=None)
    dearer = with_prices_times(context, factor)
    cost, cost_dearer = (decide(each, policy=Policy.COST) for each in (context, dearer))
    assert ranking(cost) == ranking(cost_dearer)
    carbon = decide(context, policy=Policy.CARBON, carbon_price_gbp_per_t=100)
    carbon_dearer = decide(context, policy=Policy.CARBON, carbon_price_gbp_per_t=100 * factor)
    assert ranking(carbon) == ranking(carbon_dearer)
    for before, after in ((cost, cost_dearer), (carbon, carbon_dearer)):
        assert place_and_start(before) == place_and_start(after)


@given(seed=seeds, factor=st.sampled_from([0.5, 2.0, 7.0]))
@settings(max_examples=150, deadline=None)
def test_scaling_prices_and_carbon_price_together_changes_no_ranking_where_nothing_else_has_a_price(
    seed: int, factor: float
) -> None:
    """A calm grid has no stress adder and CRITICAL work, which starts now, no delay."""
    context = changed(random_context(seed), max_price_gbp=None, urgency=Urgency.CRITICAL)
    calm = context.national.forecast.model_copy(
        update={"grid_stress_score": (0.0,) * len(context.national.forecast.grid_stress_score)}
    )
    context = context.model_copy(update={"national": context.national.model_copy(update={"forecast": calm})})
    before = decide(context, carbon_price_gbp_per_t=100)
    after = decide(with_prices_times(context, factor), carbon_price_gbp_per_t=100 * factor)
    assert ranking(before) == ranking(after)


def with_prices_times(context: DecisionContext, factor: float) -> DecisionContext:
    forecast = context.national.forecast
    prices = tuple(price if price is None else price * factor for price in forecast.wholesale_price_gbp_mwh)
    dearer = forecast.model_copy(update={"wholesale_price_gbp_mwh": prices})
    return context.model_copy(update={"national": context.national.model_copy(update={"forecast": dearer})})


@given(seed=seeds, wider=st.integers(min_value=0, max_value=400))
@settings(max_examples=150, deadline=None)
def test_a_wider_window_is_never_worse(seed: int, wider: int) -> None:
    context = random_context(seed)
    window = context.task.deferral_window_mins or 0
    before = answer(decide(changed(context, deferral_window_mins=window)))
    after = answer(decide(changed(context, deferral_window_mins=window + wider)))
    if before:
        assert after is not None
        assert after.objective_gbp <= before.objective_gbp + 1e-9


@given(seed=seeds, factor=st.sampled_from([1.0, 1.5, 100.0, 10_000.0]))
@settings(max_examples=150, deadline=None)
def test_more_capacity_is_never_worse(seed: int, factor: float) -> None:
    context = random_context(seed)
    larger = tuple(
        site.model_copy(update={"total_capacity_mw": site.total_capacity_mw * factor})
        for site in context.data_centres
    )
    before = answer(decide(context))
    after = answer(decide(context.model_copy(update={"data_centres": larger})))
    if before:
        assert after is not None
        assert after.objective_gbp <= before.objective_gbp + 1e-9


@given(seed=seeds, site=st.integers(0, 3), half_hour=st.integers(0, 12), more_kw=st.sampled_from([0.0, 0.5, 8.0]))
@settings(max_examples=150, deadline=None)
def test_more_free_power_in_any_half_hours_is_never_worse(
    seed: int, site: int, half_hour: int, more_kw: float
) -> None:
    context = with_random_capacity(random_context(seed), seed)
    assert context.capacity is not None
    names = sorted(context.capacity.free_it_kw)
    if not names:
        return
    start = context.capacity.start + half_hour * HALF_HOUR
    roomier = less(context.capacity, names[site % len(names)], start, start + 3 * HALF_HOUR, -more_kw)
    before = decide(context)
    after = decide(context.model_copy(update={"capacity": roomier}))
    assert {one.centre.dc_id for one in before.options if one.feasible} <= {
        one.centre.dc_id for one in after.options if one.feasible
    }
    if (found := answer(before)) is not None:
        roomier_answer = answer(after)
        assert roomier_answer is not None
        assert roomier_answer.objective_gbp <= found.objective_gbp + 1e-9


@given(seed=seeds, wider=st.integers(min_value=0, max_value=400))
@settings(max_examples=150, deadline=None)
def test_a_wider_window_is_never_worse_where_power_comes_and_goes(seed: int, wider: int) -> None:
    context = with_random_capacity(random_context(seed), seed)
    window = context.task.deferral_window_mins or 0
    before = answer(decide(changed(context, deferral_window_mins=window)))
    after = answer(decide(changed(context, deferral_window_mins=window + wider)))
    if before:
        assert after is not None
        assert after.objective_gbp <= before.objective_gbp + 1e-9


@given(seed=seeds)
@settings(max_examples=200, deadline=None)
def test_on_an_empty_platform_the_decision_is_what_it_was_before_there_were_bookings(seed: int) -> None:
    before, after = decide(random_context(seed)), decide(with_idle_capacity(random_context(seed)))
    assert after.options == before.options
    assert after.binding == before.binding
    assert after.carbon_price_switches == before.carbon_price_switches


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_what_is_decided_one_after_the_other_never_takes_more_than_was_free(seed: int) -> None:
    context = with_random_capacity(random_context(seed), seed)
    assert context.capacity is not None
    left = context.capacity
    for _ in range(5):
        decision = decide(context.model_copy(update={"capacity": left}))
        found = answer(decision)
        if found is None:
            break
        run = decision.options[0].recommended
        assert run is not None
        left = less(left, found.dc_id, run.start, run.end, decision.load.it_power_kw)
    for dc_id, steps in left.free_it_kw.items():
        given = [kw for _, kw in context.capacity.free_it_kw[dc_id]]
        assert min(kw for _, kw in steps) >= min(0.0, *given)


@given(seed=seeds, tighter=st.floats(min_value=0, max_value=1))
@settings(max_examples=150, deadline=None)
def test_a_stricter_limit_never_makes_anything_feasible(seed: int, tighter: float) -> None:
    context = random_context(seed)
    for name, loose in (("carbon_cap_gco2", 200.0), ("max_price_gbp", 0.5)):
        before = decide(changed(context, **{name: loose}))
        after = decide(changed(context, **{name: loose * tighter}))
        feasible = {option.centre.dc_id for option in before.options if option.feasible}
        assert {option.centre.dc_id for option in after.options if option.feasible} <= feasible


@given(seed=seeds, low=st.integers(0, 500), rise=st.integers(0, 500), policy=st.sampled_from(Policy))
@settings(max_examples=200, deadline=None)
def test_a_higher_carbon_price_never_raises_the_carbon_of_the_answer(
    seed: int, low: int, rise: int, policy: Policy
) -> None:
    context = random_context(seed)
    cheap = answer(decide(context, carbon_price_gbp_per_t=low, policy=policy))
    dear = answer(decide(context, carbon_price_gbp_per_t=low + rise, policy=policy))
    assert (cheap is None) == (dear is None)
    if cheap and dear:
        assert dear.carbon_g <= cheap.carbon_g * (1 + 1e-6) + 1e-6


@given(seed=seeds)
@settings(max_examples=200, deadline=None)
def test_an_option_better_in_every_part_never_ranks_below(seed: int) -> None:
    options = [option for option in decide(random_context(seed)).options if option.feasible]
    for place, lower in enumerate(options):
        for higher in options[:place]:
            assert lower.evaluated is not None
            assert higher.evaluated is not None
            better, worse = lower.evaluated.parts, higher.evaluated.parts
            strictly_better_in_all = (
                better.energy_gbp < worse.energy_gbp
                and better.carbon_gbp < worse.carbon_gbp
                and better.grid_stress_gbp <= worse.grid_stress_gbp
                and better.delay_gbp <= worse.delay_gbp
                and worse.total_gbp - better.total_gbp > 1e-9
            )
            assert not strictly_better_in_all
            assert higher.score >= lower.score


@given(seed=seeds, greener=st.integers(min_value=0, max_value=50))
@settings(max_examples=150, deadline=None)
def test_a_site_with_less_carbon_in_every_half_hour_and_a_lower_pue_never_ranks_below(
    seed: int, greener: int
) -> None:
    rng = random.Random(seed)
    carbon = [rng.randint(50, 300) for _ in range(8)]
    context = a_context(
        task=task(deferral_window_mins=240, carbon_cap_gco2=250, urgency=rng.choice(["LOW", "HIGH"])),
        price=[rng.randint(0, 200) for _ in range(8)],
        stress=[rng.random() for _ in range(8)],
        carbon={13: carbon, 14: [intensity - greener for intensity in carbon]},
        centres=[centre("DC-1", pue=1.3), centre("DC-2", region_id=14, pue=1.3 - rng.choice([0, 0.1]))],
    )
    decision = decide(context)
    site_scores = scores(decision)
    assert site_scores["DC-2"] >= site_scores["DC-1"]
    if greener and site_scores["DC-2"]:
        assert ranking(decision)[0] == "DC-2"


@given(seed=seeds)
@settings(max_examples=200, deadline=None)
def test_scores_fall_strictly_as_the_objective_rises_and_only_infeasible_options_score_zero(
    seed: int,
) -> None:
    options = decide(random_context(seed)).options
    for option in options:
        assert (option.score > 0) == option.feasible
        assert option.score <= 100
        assert bool(option.violations) != option.feasible
    feasible = [option for option in options if option.evaluated and option.feasible]
    for better, worse in pairwise(feasible):
        assert better.rank < worse.rank
        if better.rank[0] < worse.rank[0]:
            assert better.score > worse.score
        else:
            assert better.score == worse.score


def test_policies_find_the_least_carbon_and_the_least_cost_of_all_feasible_candidates() -> None:
    for seed in range(300):
        context = random_context(seed)
        candidates = exhaustive(context, 100, Policy.COST)
        if not candidates:
            continue
        greenest = answer(decide(context, policy=Policy.CARBON))
        cheapest = answer(decide(context, policy=Policy.COST))
        assert greenest is not None
        assert cheapest is not None
        assert greenest.carbon_g == pytest.approx(float(min(one.carbon_g for one in candidates)), abs=1e-6)
        assert cheapest.objective_gbp == pytest.approx(float(candidates[0].objective_gbp), abs=1e-9)


# Edges


def test_critical_work_starts_now_whatever_a_later_start_would_save() -> None:
    job = task(urgency="CRITICAL", deferral_window_mins=600, deadline="2026-11-24T12:00:00Z")
    decision = decide(a_context(task=job, price=[300, 0, 0, 0, 0, 0], as_of=NOON + 7 * MINUTE))
    assert place_and_start(decision) == ("DC-001", NOON + 7 * MINUTE)


def test_all_equal_candidates_start_now_at_the_first_dc_id() -> None:
    job = task(deferral_window_mins=90)
    sites = [centre(dc_id) for dc_id in ("DC-3", "DC-1", "DC-2")]
    for minute in range(30):
        for policy in (Policy.CARBON, Policy.COST):
            context = a_context(task=job, centres=sites, as_of=NOON + minute * MINUTE)
            decision = decide(context, policy=policy)
            assert ranking(decision) == ["DC-1", "DC-2", "DC-3"]
            assert {option.recommended.start for option in decision.options if option.recommended} == {context.as_of}
            assert len(set(scores(decision).values())) == 1


def test_a_tie_in_money_goes_to_the_lower_carbon() -> None:
    job = task(deferral_window_mins=90)
    context = a_context(task=job, price=[50] * 6, carbon={13: [200, 200, 100, 100, 200, 200]})
    assert place_and_start(decide(context, policy=Policy.COST)) == ("DC-001", NOON + 2 * HALF_HOUR)


def test_with_zero_everywhere_the_answer_is_now_at_no_cost() -> None:
    context = a_context(price=[0] * 6, carbon={13: [0] * 6}, task=task(deferral_window_mins=60))
    for carbon_price in (0, 100):
        found = decide(context, carbon_price_gbp_per_t=carbon_price)
        assert answer(found) == (0, 0, NOON, "DC-001")
        assert found.options[0].score > 90


def test_a_job_of_no_energy_costs_only_its_delay() -> None:
    decision = decide(a_context(task=task(estimated_energy_kwh=0, deferral_window_mins=60)))
    assert answer(decision) == (0, 0, NOON, "DC-001")
    assert decision.options[0].score == pytest.approx(90)


def test_negative_prices_are_sought_and_score_above_the_good_reference() -> None:
    context = a_context(task=task(deferral_window_mins=120), price=[50, 50, -80, -80, 50, 50], carbon={13: [0] * 6})
    decision = decide(context)
    found = answer(decision)
    assert found is not None
    assert found.start == NOON + 2 * HALF_HOUR
    assert found.objective_gbp < 0
    assert 90 < decision.options[0].score < 100


def test_without_data_centres_there_is_no_answer_and_no_option() -> None:
    decision = decide(a_context(centres=[]))
    assert decision.options == ()
    assert decision.chosen is None
    assert decision.runner_up is None


@pytest.mark.parametrize(
    "clock_change",
    [datetime(2026, 3, 29, 0, 30, tzinfo=NOON.tzinfo), datetime(2026, 10, 25, 0, 30, tzinfo=NOON.tzinfo)],
)
def test_a_clock_change_moves_nothing(clock_change: datetime) -> None:
    job = task(required_gpu_mins=75, deferral_window_mins=150)
    figures = {"price": [90, 70, 20, 30, 80, 10, 60, 70], "carbon": {13: [5, 4, 9, 1, 7, 3, 2, 8]}}
    usual = answer(decide(a_context(task=job, as_of=NOON, **figures)))
    on_the_day = answer(decide(a_context(task=job, as_of=clock_change, **figures)))
    assert usual is not None
    assert on_the_day is not None
    assert on_the_day[:2] == usual[:2]
    assert on_the_day.start - clock_change == usual.start - NOON > timedelta(0)


def test_a_run_that_ends_on_a_half_hours_edge_does_not_touch_the_next_half_hour() -> None:
    job = task(carbon_cap_gco2=100)
    ends_on_the_edge = a_context(task=job, carbon={13: [100, 100, 500]}, price=[10] * 3)
    assert decide(ends_on_the_edge).chosen
    one_minute_on = a_context(task=job, carbon={13: [100, 100, 500]}, price=[10] * 3, as_of=NOON + MINUTE, start=NOON)
    assert decide(one_minute_on).chosen is None


def test_a_hole_in_the_forecast_is_gone_around_and_never_taken_for_zero() -> None:
    job = task(deferral_window_mins=150)
    decision = decide(a_context(task=job, price=[100, None, 90, 90, 80, 80]))
    assert place_and_start(decision) == ("DC-001", NOON + 4 * HALF_HOUR)
    assert decision.options[0].run_now is None


def test_a_negative_carbon_price_is_refused() -> None:
    with pytest.raises(ValueError, match="carbon price"):
        decide(a_context(), carbon_price_gbp_per_t=-1)
