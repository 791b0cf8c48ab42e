"""Candidates are compared as the document says: J, then carbon, then the earliest, then the first dc_id."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import a_context, centre, random_context, task
from decisions.scoring.context import DecisionContext
from decisions.scoring.evaluation import NO_RUN, NOW, Evaluation, evaluate
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.signals import read_signals
from vocabulary import Policy

seeds = st.integers(min_value=0, max_value=2**32)


def evaluated(context: DecisionContext, policy: Policy = Policy.BALANCED) -> Evaluation:
    signals = read_signals(context)
    return evaluate(context.task, context.as_of, signals, Sites.of(context.data_centres, signals), Terms.of(policy))


def test_each_site_has_its_best_start_and_none_where_none_is_allowed() -> None:
    sites = [centre("DC-1"), centre("DC-2", status="OFFLINE")]
    evaluation = evaluated(
        a_context(task=task(deferral_window_mins=120), price=[90, 80, 10, 10, 50, 60], centres=sites)
    )
    assert evaluation.best_runs(evaluation.feasible) == [2, NO_RUN]
    assert evaluation.best_runs(evaluation.known) == [2, 2]
    assert evaluation.answer() == (0, 2)


def test_equal_money_goes_to_the_least_carbon_then_the_earliest_then_the_first_dc_id() -> None:
    sites = [centre("DC-3", region_id=14), centre("DC-2", region_id=14), centre("DC-1")]
    figures = {"carbon": {13: [200] * 6, 14: [300, 300, 100, 100, 100, 100]}, "centres": sites}
    evaluation = evaluated(a_context(task=task(deferral_window_mins=120), **figures), Policy.COST)
    assert evaluation.best_runs(evaluation.feasible) == [2, 2, NOW]
    assert evaluation.answer() == (1, 2)
    assert evaluation.best_of([NOW, NOW, NOW]) == (2, NOW)


def test_a_site_without_a_run_comes_last_and_without_any_there_is_no_answer() -> None:
    evaluation = evaluated(a_context(centres=[centre("DC-1"), centre("DC-2")]))
    assert evaluation.best_of([NO_RUN, NOW]) == (1, NOW)
    assert evaluation.best_of([NO_RUN, NO_RUN]) is None
    nowhere = evaluated(a_context(centres=[]))
    assert nowhere.best_runs(nowhere.feasible) == []
    assert nowhere.answer() is None


@given(seed=seeds, policy=st.sampled_from(Policy))
@settings(max_examples=100, deadline=None)
def test_what_a_run_comes_to_is_what_it_was_compared_by(seed: int, policy: Policy) -> None:
    evaluation = evaluated(random_context(seed), policy)
    sites, runs = evaluation.known.nonzero()
    for site, run, figures in zip(sites, runs, evaluation.candidates.figures(sites, runs), strict=True):
        assert figures.parts.total_gbp == pytest.approx(evaluation.objective_gbp[site, run], abs=1e-12)
        assert figures.carbon_gco2 == evaluation.carbon_gco2[site, run]
        assert figures.cost_gbp == evaluation.candidates.cost_gbp()[site, run]
