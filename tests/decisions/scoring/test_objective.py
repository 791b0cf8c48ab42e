from __future__ import annotations

import dataclasses
import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON, a_context, centre, random_context, task
from decisions.scoring.context import DecisionContext
from decisions.scoring.evaluation import Evaluation, evaluate
from decisions.scoring.objective import DELAY_GBP_PER_H, Sites, Terms
from decisions.scoring.signals import read_signals
from vocabulary import Policy, Urgency

seeds = st.integers(min_value=0, max_value=2**32)


def evaluated(context: DecisionContext, terms: Terms | None = None) -> Evaluation:
    signals = read_signals(context)
    sites = Sites.of(context.data_centres, signals)
    return evaluate(context.task, context.as_of, signals, sites, terms or Terms.of(Policy.BALANCED, 100))


def test_200_grams_at_100_pounds_a_tonne_are_20_pounds_a_megawatt_hour() -> None:
    by_carbon = evaluated(a_context(price=[0] * 6, carbon={13: [200] * 6}))
    by_price = evaluated(a_context(price=[20] * 6, carbon={13: [0] * 6}))
    assert by_carbon.objective_gbp[0, 0] == pytest.approx(by_price.objective_gbp[0, 0])


def test_pue_multiplies_the_energy_and_so_cost_and_carbon_alike() -> None:
    evaluation = evaluated(a_context(centres=[centre("DC-1", pue=1), centre("DC-2", pue=1.5)]))
    assert evaluation.carbon_gco2[1, 0] == pytest.approx(1.5 * evaluation.carbon_gco2[0, 0])
    assert evaluation.carbon_gco2[0, 0] == pytest.approx(0.96 * 200)
    assert evaluation.candidates.cost_gbp()[1, 0] == pytest.approx(1.5 * 0.96 * 0.1)


def test_a_half_hour_counts_for_the_time_the_run_spends_in_it_and_nothing_is_interpolated() -> None:
    # 12:20 to 13:20: 10 minutes at 60, 30 at 120 and 20 at 300 £/MWh.
    context = a_context(price=[60, 120, 300, 0, 0, 0], as_of=NOON + timedelta(minutes=20))
    cost = evaluated(context).candidates.cost_gbp_of(0, 0)
    assert cost == pytest.approx(0.96 * 1.2 * (10 * 60 + 30 * 120 + 20 * 300) / 60 / 1000)


def test_the_energy_of_the_half_hours_adds_up_to_the_site_energy() -> None:
    evaluation = evaluated(a_context(as_of=NOON + timedelta(minutes=7, seconds=11)))
    slots = evaluation.candidates.slot_energy_kwh(0, 0)
    assert slots.sum() == pytest.approx(0.96 * 1.2)
    assert (slots > 0).tolist() == [True, True, True, False, False, False]


@given(seed=seeds, policy=st.sampled_from(Policy))
@settings(deadline=None)
def test_the_parts_add_up_to_the_objective_of_every_candidate(seed: int, policy: Policy) -> None:
    evaluation = evaluated(random_context(seed), Terms.of(policy, 70))
    for site, run in np.argwhere(evaluation.known):
        parts = evaluation.candidates.parts(int(site), int(run))
        assert parts.total_gbp == pytest.approx(evaluation.objective_gbp[site, run], rel=1e-12, abs=1e-15)
        assert sum(parts) == parts.total_gbp


@pytest.mark.parametrize(
    ("policy", "counted"),
    [
        (Policy.BALANCED, {"energy_gbp", "carbon_gbp", "grid_stress_gbp", "delay_gbp"}),
        (Policy.CARBON, {"carbon_gbp"}),
        (Policy.COST, {"energy_gbp"}),
    ],
)
def test_a_policy_counts_its_own_parts(policy: Policy, counted: set[str]) -> None:
    evaluation = evaluated(a_context(stress=[0.5] * 6), Terms.of(policy))
    parts = evaluation.candidates.parts(0, 2)._asdict()
    assert {name for name, value in parts.items() if value} == counted


def test_grid_stress_adds_fifty_pounds_a_megawatt_hour_at_its_highest_and_a_quarter_at_half() -> None:
    full = evaluated(a_context(stress=[1] * 6)).candidates.parts(0, 0).grid_stress_gbp
    half = evaluated(a_context(stress=[0.5] * 6)).candidates.parts(0, 0).grid_stress_gbp
    assert full == pytest.approx(0.96 * 1.2 * 50 / 1000)
    assert half == pytest.approx(full / 4)


def test_waiting_counts_by_the_hour_and_the_urgency() -> None:
    for urgency in (Urgency.LOW, Urgency.MEDIUM, Urgency.HIGH):
        context = a_context(task=task(urgency=urgency), as_of=NOON + timedelta(minutes=15))
        parts = evaluated(context).candidates.parts(0, 2)
        assert parts.delay_gbp == pytest.approx(0.75 * DELAY_GBP_PER_H[urgency])


@given(seed=seeds, factor=st.sampled_from([0.25, 4.0, 1024.0]), policy=st.sampled_from(Policy))
@settings(deadline=None)
def test_every_money_term_times_k_makes_the_objective_times_k(seed: int, factor: float, policy: Policy) -> None:
    context = random_context(seed)
    terms = Terms.of(policy, 100)
    scaled_terms = dataclasses.replace(
        terms,
        carbon_price_gbp_per_t=terms.carbon_price_gbp_per_t * factor,
        stress_gbp_per_mwh=terms.stress_gbp_per_mwh * factor,
        delay_gbp_per_h={urgency: price * factor for urgency, price in terms.delay_gbp_per_h.items()},
    )
    before = evaluated(context, terms).objective_gbp
    after = evaluated(with_prices_times(context, factor), scaled_terms).objective_gbp
    assert after == pytest.approx(before * factor)


def with_prices_times(context: DecisionContext, factor: float) -> DecisionContext:
    prices = [price and price * factor for price in context.national.forecast.wholesale_price_gbp_mwh]
    forecast = context.national.forecast.model_copy(update={"wholesale_price_gbp_mwh": tuple(prices)})
    return context.model_copy(update={"national": context.national.model_copy(update={"forecast": forecast})})


def test_the_ranking_of_three_sites_survives_a_dominated_fourth() -> None:
    """Sites by g/kWh and £/MWh on which weights over normalised columns change their winner."""
    figures = {13: (60, 95), 14: (150, 70), 15: (110, 100), 16: (400, 120)}

    def ranking(regions: list[int]) -> list[int]:
        # The price is national, so each site's goes into its intensity: £10/MWh are 100 g/kWh at £100/t.
        centres = [centre(f"DC-{region}", region_id=region, pue=1) for region in regions]
        carbon = {region: [figures[region][0] + 10 * figures[region][1]] * 6 for region in regions}
        objective = evaluated(a_context(price=[0] * 6, carbon=carbon, centres=centres)).objective_gbp[:, 0]
        return [regions[int(site)] for site in np.argsort(objective)]

    assert [region for region in ranking([13, 14, 15, 16]) if region != 16] == ranking([13, 14, 15])


@pytest.mark.parametrize("carbon_price", [-0.01, float("nan"), float("inf")])
def test_a_carbon_price_must_be_a_number_from_zero_up(carbon_price: float) -> None:
    with pytest.raises(ValueError, match="carbon price"):
        Terms.of(Policy.BALANCED, carbon_price)


def test_a_long_random_run_equals_its_sum_half_hour_by_half_hour() -> None:
    rng = random.Random(7)
    price: list[Any] = [rng.uniform(-50, 200) for _ in range(96)]
    carbon: list[Any] = [rng.uniform(0, 400) for _ in range(96)]
    job = task(required_gpu_mins=60 * 30 + 13)
    context = a_context(task=job, price=price, carbon={13: carbon}, as_of=NOON + timedelta(seconds=1234))
    evaluation = evaluated(context)
    for run in (0, 1, 30):
        energy = evaluation.candidates.slot_energy_kwh(0, run)
        assert evaluation.carbon_gco2[0, run] == pytest.approx(float(energy @ np.array(carbon)))
        cost = float(energy @ np.array(price)) / 1000
        assert evaluation.candidates.cost_gbp_of(0, run) == pytest.approx(cost)
    assert evaluation.runs.start(1) == NOON + HALF_HOUR
