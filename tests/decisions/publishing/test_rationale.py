from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from decision_contexts import NOON, a_context, centre, task
from decisions.publishing.rationale import decision_rationale, mass, option_rationale, pounds
from decisions.scoring.assessment import Assessment, RunEstimate
from decisions.scoring.decide import Decision, decide


def rationale_of(**parts: Any) -> str:
    return option_rationale(decide(a_context(**parts)).options[0])


def test_a_start_now_says_what_it_costs_and_emits() -> None:
    assert rationale_of() == "Start now for £0.12 and 230 g of CO2 (1.15 kWh at 200 gCO2/kWh)."


def test_a_later_start_is_set_beside_the_start_now() -> None:
    job = task(deferral_window_mins=60)
    assert rationale_of(task=job, price=[100, 100, 20, 20, 20, 20], carbon={13: [200, 200, 90, 90, 90, 90]}) == (
        "Start at 13:00 UTC on 2026-11-22 for £0.02 and 104 g of CO2 (1.15 kWh at 90 gCO2/kWh), "
        "against £0.12 and 230 g of CO2 if started here now."
    )


def test_a_start_now_that_is_unknown_is_called_unknown() -> None:
    job = task(deferral_window_mins=60)
    assert rationale_of(task=job, price=[None, 100, 100, 100, 100, 100]).endswith(
        "(1.15 kWh at 200 gCO2/kWh); what it would cost now is unknown."
    )


def test_an_impossible_option_says_why() -> None:
    assert rationale_of(task=task(carbon_cap_gco2=150), centres=[centre(status="MAINTENANCE")]) == (
        "Not possible: the data centre is MAINTENANCE and takes no new work; "
        "carbon intensity reaches 200 gCO2/kWh, above its cap of 150."
    )


def placed(decision: Decision) -> list[tuple[Assessment, RunEstimate]]:
    return [(option, option.recommended) for option in decision.options if option.recommended]


def test_the_decision_names_the_next_best_and_what_it_counts_more() -> None:
    sites = [centre("DC-1"), centre("DC-2", pue=1.5)]
    options = placed(decide(a_context(centres=sites, as_of=NOON + timedelta(minutes=1))))
    assert decision_rationale(options) == (
        "Site DC-1 (London), starting now: Site DC-2 (London), the next best, is £0.03 worse."
    )
    assert decision_rationale(options[::-1]) == (
        "Site DC-2 (London), starting now, preferred to Site DC-1 (London) although that is £0.03 better."
    )
    assert decision_rationale(options[:1]) == "Site DC-1 (London), starting now: no other data centre can take it."


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "£0.00"), (1234.5, "£1,234.50"), (-0.1, "-£0.10"), (0.00312, "£0.00312"), (1e-9, "£0"), (-0.004, "-£0.004")],
)
def test_pounds(amount: float, text: str) -> None:
    assert pounds(amount) == text


@pytest.mark.parametrize(
    ("grams", "text"), [(0, "0 g"), (12.34, "12.3 g"), (999, "999 g"), (1605, "1.6 kg"), (2_500_000, "2.500 t")]
)
def test_mass(grams: float, text: str) -> None:
    assert mass(grams) == text
