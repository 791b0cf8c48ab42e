from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON, a_context, centre, random_context, task
from decisions.scoring.decide import Decision, decide
from vocabulary import Policy

seeds = st.integers(min_value=0, max_value=2**32)


def place_and_start(decision: Decision) -> tuple[str, object] | None:
    chosen = decision.chosen
    return (chosen.centre.dc_id, chosen.recommended.start) if chosen and chosen.recommended else None


@given(seed=seeds, price=st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_the_answer_changes_at_the_carbon_prices_named_and_nowhere_between(seed: int, price: int) -> None:
    context = random_context(seed)
    decision = decide(context, carbon_price_gbp_per_t=price)
    answer, switches = place_and_start(decision), decision.carbon_price_switches

    def answer_at(carbon_price: float) -> tuple[str, object] | None:
        return place_and_start(decide(context, carbon_price_gbp_per_t=carbon_price))

    lowest = switches.below.carbon_price_gbp_per_t if switches.below else 0.0
    highest = switches.above.carbon_price_gbp_per_t if switches.above else 10_000.0
    assert 0 <= lowest <= price <= highest
    for share in (0.02, 0.5, 0.98):
        if highest - lowest > 1e-3:
            assert answer_at(lowest + share * (highest - lowest)) == answer
    if switches.above:
        assert answer_at(highest * 1.001 + 0.01) != answer
    if switches.below and lowest > 0.02:
        assert answer_at(lowest * 0.999 - 0.01) != answer


def test_the_carbon_price_of_a_switch_is_where_the_two_lines_cross() -> None:
    # Now: £0.1152 and 288 g. At 13:00: £0.1728 and 115.2 g, and £0.01 of delay.
    context = a_context(
        task=task(deferral_window_mins=60),
        price=[100, 100, 150, 150, 150, 150],
        carbon={13: [250, 250, 100, 100, 100, 100]},
    )
    switches = decide(context).carbon_price_switches
    assert switches.below is None
    assert switches.above is not None
    crossing = (0.1728 + 0.01 - 0.1152) / (0.000288 - 0.0001152)
    assert switches.above.carbon_price_gbp_per_t == pytest.approx(crossing)
    assert (switches.above.dc_id, switches.above.start) == ("DC-001", NOON + 2 * HALF_HOUR)


def test_of_equal_switches_the_first_dc_id_is_named_in_whatever_order_they_come() -> None:
    dearer_but_greener = [centre(dc_id, region_id=14) for dc_id in ("DC-3", "DC-2")]
    figures = {"price": [-50] * 6, "carbon": {13: [200] * 6, 14: [50] * 6}}
    for others in (dearer_but_greener, dearer_but_greener[::-1]):
        # At a negative price the higher PUE earns more, so the answer is the dirtier DC-1 until carbon is
        # dear.
        decision = decide(a_context(centres=[*others, centre("DC-1", pue=1.9)], **figures), carbon_price_gbp_per_t=1)
        assert decision.carbon_price_switches.above is not None
        assert decision.carbon_price_switches.above.dc_id == "DC-2"


@pytest.mark.parametrize("policy", [Policy.COST, Policy.CARBON])
def test_a_policy_that_counts_one_thing_has_no_switch(policy: Policy) -> None:
    for seed in range(50):
        switches = decide(random_context(seed), policy=policy).carbon_price_switches
        if policy is Policy.COST:
            assert switches.above is None
            assert switches.below is None
        else:
            assert switches.above is None


def test_a_later_cheaper_start_outside_the_window_binds() -> None:
    context = a_context(task=task(deferral_window_mins=30), price=[100, 100, 100, 0, 0, 100])
    binding = decide(context).binding
    assert binding is not None
    assert binding.start == NOON + 3 * HALF_HOUR
    assert [str(violation.constraint) for violation in binding.violations] == ["deferral_window"]
    assert binding.saving_gbp > 0.05


def test_a_greener_data_centre_in_maintenance_binds_the_decision_but_not_the_other_option() -> None:
    centres = [centre("DC-1"), centre("DC-2", region_id=14, status="MAINTENANCE")]
    decision = decide(a_context(centres=centres, carbon={13: [200] * 6, 14: [10] * 6}))
    assert decision.binding is not None
    assert decision.binding.dc_id == "DC-2"
    assert [str(violation.constraint) for violation in decision.binding.violations] == ["status"]
    assert decision.options[0].binding is None


def test_nothing_binds_where_the_answer_is_the_best_there_is() -> None:
    decision = decide(a_context())
    assert decision.binding is None
    assert decision.options[0].binding is None


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_the_binding_run_would_be_better_and_really_breaks_something(seed: int) -> None:
    decision = decide(random_context(seed))
    for option in decision.options:
        if option.binding:
            assert option.evaluated is not None
            assert option.binding.violations
            assert option.binding.objective_gbp < option.evaluated.objective_gbp
            assert option.binding.saving_gbp == pytest.approx(
                option.evaluated.objective_gbp - option.binding.objective_gbp
            )


def test_the_runner_up_is_the_best_option_elsewhere() -> None:
    centres = [centre("DC-1", pue=1.5), centre("DC-2", pue=1.2), centre("DC-3", status="MAINTENANCE")]
    decision = decide(a_context(centres=centres, task=task(deferral_window_mins=90)))
    assert decision.chosen is not None
    assert decision.runner_up is not None
    assert (decision.chosen.centre.dc_id, decision.runner_up.centre.dc_id) == ("DC-2", "DC-1")
    alone = decide(a_context(centres=centres[1:]))
    assert alone.runner_up is None


def test_a_switch_may_lie_beyond_the_next_half_hour_edge() -> None:
    context = a_context(
        as_of=NOON + timedelta(minutes=29),
        task=task(deferral_window_mins=60),
        price=[10, 10, 10, 50, 50, 50],
        carbon={13: [300, 300, 300, 100, 100, 100]},
    )
    above = decide(context).carbon_price_switches.above
    assert above is not None
    assert above.start == NOON + 2 * HALF_HOUR
