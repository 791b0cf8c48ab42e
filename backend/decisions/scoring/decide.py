"""The decision for one workload: where it should run, when, and why. Pure: facts and times are arguments.

docs/scoring.md is the formula with units, sources and an example worked by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from decisions.scoring.capacity import displaced_gbp
from decisions.scoring.context import Capacity, DataCentre, DecisionContext
from decisions.scoring.energy import ComputeLoad
from decisions.scoring.evaluation import NO_RUN, NOW, Evaluation, Rank, evaluate
from decisions.scoring.explanation import (
    BindingConstraint,
    CarbonPriceSwitches,
    binding_at,
    binding_overall,
    carbon_price_switches,
)
from decisions.scoring.feasibility import Violation, finish, latest_start
from decisions.scoring.freshness import SignalState, signal_states
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Parts, PricedRun, Sites, Terms
from decisions.scoring.shared import Shared
from decisions.scoring.signals import read_signals
from decisions.scoring.suitability import suitability_score
from vocabulary import Policy

# Stored with every decision. Raise it with any change that alters an output; see docs/scoring.md.
SCORER_VERSION = "1.4.0"


class RunEstimate(NamedTuple):
    """What one run at one data centre is predicted to use, cost and emit."""

    start: datetime
    end: datetime
    energy_kwh: float
    """Site energy: IT energy x PUE."""
    cost_gbp: float
    carbon_gco2: float
    parts: Parts
    """The weighted parts of its J."""

    @property
    def objective_gbp(self) -> float:
        return self.parts.total_gbp


@dataclass(frozen=True)
class Assessment:
    """One data centre's option."""

    centre: DataCentre
    feasible: bool
    has_room: bool
    """ACTIVE, with free capacity for the workload at a start that it may have."""
    has_room_now: bool
    """The same for a run from now on."""
    free_it_power_kw: float
    """The least that is free in any half-hour of the evaluated run, or of a run now where nothing was evaluated."""
    score: float
    """0 to 100; 0 is infeasible."""
    site_energy_kwh: float
    run_now: RunEstimate | None
    """None where the signals of such a run are not all known."""
    evaluated: RunEstimate | None
    """The best feasible run; without one the permitted run that breaks fewest constraints, if any."""
    displaced_gbp: float | None
    """What others would save by having the power of that run: the price of the place. None where it is unknown."""
    violations: tuple[Violation, ...]
    """What `evaluated` breaks, or a run now where nothing could be evaluated. Empty when feasible."""
    binding: BindingConstraint | None
    rank: Rank
    """What options are ordered by, best first: J, carbon, start, dc_id."""

    @property
    def recommended(self) -> RunEstimate | None:
        """The best feasible run."""
        return self.evaluated if self.feasible else None


@dataclass(frozen=True)
class Decision:
    """Every data centre's option, best first, and the explanation of the first."""

    context: DecisionContext
    policy: Policy
    carbon_price_gbp_per_t: float
    load: ComputeLoad
    options: tuple[Assessment, ...]
    binding: BindingConstraint | None
    carbon_price_switches: CarbonPriceSwitches
    signal_states: tuple[SignalState, ...]
    latest_start: datetime | None
    """The last start the deferral window allows; None without a window."""

    @property
    def chosen(self) -> Assessment | None:
        """The answer: the best feasible option."""
        return self.options[0] if self.options and self.options[0].feasible else None

    @property
    def runner_up(self) -> Assessment | None:
        """The best feasible option at another data centre."""
        return self.options[1] if len(self.options) > 1 and self.options[1].feasible else None


def decide(
    context: DecisionContext,
    *,
    carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T,
    policy: Policy = Policy.BALANCED,
    observed_at: datetime | None = None,
) -> Decision:
    """Find the feasible place and start of least J, and assess every data centre.

    Args:
        context: everything the decision is made from.
        carbon_price_gbp_per_t: what a tonne of CO2 counts for, £/tCO2, 0 or more.
        policy: the weights of the parts of J.
        observed_at: when the age of the signals is judged; `as_of` unless the context is for another moment.

    Raises:
        ValueError: the carbon price is negative or not a number.
    """
    terms = Terms.of(policy, carbon_price_gbp_per_t)
    signals = read_signals(context)
    # In the order of dc_id, so that the order in which the data centres arrive changes nothing.
    centres = _IN_ORDER.of((context.data_centres,), None, lambda: _in_order(context.data_centres))
    evaluation = evaluate(context.task, context.as_of, signals, Sites.of(centres, signals, context.capacity), terms)

    best_runs = evaluation.best_runs(evaluation.feasible)
    wished_runs = evaluation.best_runs(evaluation.known)
    options = _assess(evaluation, context.capacity, best_runs, wished_runs)
    answer = evaluation.best_of(best_runs)
    return Decision(
        context=context,
        policy=policy,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        load=evaluation.load,
        options=tuple(sorted(options, key=lambda option: (not option.feasible, option.rank))),
        binding=binding_overall(evaluation, *answer, wished_runs) if answer else None,
        carbon_price_switches=(
            carbon_price_switches(evaluation, *answer) if answer else CarbonPriceSwitches(None, None)
        ),
        signal_states=signal_states(context, signals, observed_at or context.as_of),
        latest_start=latest_start(context.task, context.as_of),
    )


_IN_ORDER = Shared[tuple[DataCentre, ...]]()


def _in_order(centres: Sequence[DataCentre]) -> tuple[DataCentre, ...]:
    return tuple(sorted(centres, key=lambda centre: centre.dc_id))


def _assess(
    evaluation: Evaluation, capacity: Capacity | None, best_runs: list[int], wished_runs: list[int]
) -> list[Assessment]:
    """Every data centre's option, in the order of the data centres."""
    feasibility, sites, runs = evaluation.feasibility, evaluation.candidates.sites, evaluation.runs
    nearest_runs = evaluation.nearest_runs() if NO_RUN in best_runs else best_runs
    evaluated_runs = [near if best == NO_RUN else best for best, near in zip(best_runs, nearest_runs, strict=True)]
    now_runs = [NOW if known else NO_RUN for known in evaluation.known[:, NOW].tolist()]
    evaluated, now = _estimates(evaluation, evaluated_runs, now_runs)
    has_room, has_room_now = feasibility.has_room().tolist(), feasibility.has_room_now().tolist()
    ranks = evaluation.ranks(evaluated_runs)
    shown_runs = [NOW if run == NO_RUN else run for run in evaluated_runs]
    free_kw_of = {run: sites.all_free_kw_during(runs.covered(run)) for run in set(shown_runs)}

    def assessment(site: int, centre: DataCentre) -> Assessment:
        run = evaluated_runs[site]
        feasible = best_runs[site] != NO_RUN
        return Assessment(
            centre=centre,
            feasible=feasible,
            has_room=has_room[site],
            has_room_now=has_room_now[site],
            free_it_power_kw=free_kw_of[shown_runs[site]][site],
            score=suitability_score(ranks[site][0]) if feasible else 0.0,
            site_energy_kwh=evaluation.load.it_energy_kwh * centre.pue,
            run_now=now[site],
            evaluated=evaluated[site],
            displaced_gbp=_displaced_gbp(capacity, centre, evaluated[site], evaluation.load),
            violations=() if feasible else feasibility.violations(site, shown_runs[site]),
            binding=binding_at(evaluation, site, run, wished_runs[site]) if feasible else None,
            rank=ranks[site],
        )

    return [assessment(site, centre) for site, centre in enumerate(sites.centres)]


def _displaced_gbp(
    capacity: Capacity | None, centre: DataCentre, run: RunEstimate | None, load: ComputeLoad
) -> float | None:
    if run is None:
        return None
    return displaced_gbp(capacity, centre.dc_id, run.start, run.end, load.it_power_kw)


def _estimates(evaluation: Evaluation, *choices: Sequence[int]) -> list[list[RunEstimate | None]]:
    """For each choice, its run at each data centre; None for NO_RUN."""
    candidates, load = evaluation.candidates, evaluation.load
    asked = [
        (choice, site, run) for choice, runs in enumerate(choices) for site, run in enumerate(runs) if run != NO_RUN
    ]
    starts = {run: candidates.runs.start(run) for run in {run for _, _, run in asked}}
    ends = {run: finish(start, load.duration) for run, start in starts.items()}
    figures = candidates.figures(
        np.array([site for _, site, _ in asked], dtype=np.int64),
        np.array([run for _, _, run in asked], dtype=np.int64),
    )
    energies_kwh = [load.it_energy_kwh * centre.pue for centre in candidates.sites.centres]
    estimates: list[list[RunEstimate | None]] = [[None] * len(runs) for runs in choices]
    for (choice, site, run), one in zip(asked, figures, strict=True):
        estimates[choice][site] = _estimate(starts[run], ends[run], energies_kwh[site], one)
    return estimates


def _estimate(start: datetime, end: datetime, energy_kwh: float, one: PricedRun) -> RunEstimate:
    return RunEstimate(start, end, energy_kwh, one.cost_gbp, one.carbon_gco2, one.parts)
