"""The decision for one workload: where it should run, when, and why. Pure: facts and times are arguments.

docs/scoring.md is the formula with units, sources and an example worked by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from decisions.context import DataCentre, DecisionContext
from decisions.energy import ComputeLoad
from decisions.evaluation import NO_RUN, Evaluation, evaluate
from decisions.explanation import (
    BindingConstraint,
    CarbonPriceSwitches,
    binding_at,
    binding_overall,
    carbon_price_switches,
)
from decisions.feasibility import Violation, finish, latest_start
from decisions.freshness import SignalState, signal_states
from decisions.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Parts, Sites, Terms
from decisions.signals import read_signals
from decisions.suitability import suitability_score
from vocabulary import Policy

# Stored with every decision. Raise it with any change that alters an output; see docs/scoring.md.
SCORER_VERSION = "1.0.0"


@dataclass(frozen=True)
class RunEstimate:
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
    """ACTIVE, with free capacity for the workload."""
    score: float
    """0 to 100; 0 is infeasible."""
    site_energy_kwh: float
    run_now: RunEstimate | None
    """None where the signals of such a run are not all known."""
    evaluated: RunEstimate | None
    """The best feasible run; without one the permitted run that breaks fewest constraints, if any."""
    violations: tuple[Violation, ...]
    """What `evaluated` breaks, or a run now where nothing could be evaluated. Empty when feasible."""
    binding: BindingConstraint | None
    rank: tuple[float, float, int, str]
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
    centres = sorted(context.data_centres, key=lambda centre: centre.dc_id)
    evaluation = evaluate(context.task, context.as_of, signals, Sites.of(centres, signals), terms)

    best_runs = evaluation.best_runs(evaluation.feasible)
    nearest_runs = evaluation.nearest_runs() if NO_RUN in best_runs else best_runs
    wished_runs = evaluation.best_runs(evaluation.known)
    options = [
        _assess(evaluation, site, best_runs[site], nearest_runs[site], wished_runs[site])
        for site in range(len(centres))
    ]

    answer = min(
        ((site, run) for site, run in enumerate(best_runs) if run != NO_RUN),
        key=lambda candidate: evaluation.rank(*candidate),
        default=None,
    )
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


def _assess(evaluation: Evaluation, site: int, best_run: int, nearest_run: int, wished_run: int) -> Assessment:
    feasible = best_run != NO_RUN
    run = best_run if feasible else nearest_run
    candidates, feasibility = evaluation.candidates, evaluation.feasibility
    centre = candidates.sites.centres[site]
    known = run != NO_RUN
    return Assessment(
        centre=centre,
        feasible=feasible,
        has_room=not (feasibility.no_room[site] or feasibility.not_active[site]),
        score=suitability_score(float(evaluation.position[site, run])) if feasible else 0.0,
        site_energy_kwh=evaluation.load.it_energy_kwh * centre.pue,
        run_now=_estimate(evaluation, site, 0) if evaluation.known[site, 0] else None,
        evaluated=_estimate(evaluation, site, run) if known else None,
        violations=() if feasible else feasibility.violations(site, run if known else 0),
        binding=binding_at(evaluation, site, run, wished_run) if feasible else None,
        rank=evaluation.rank(site, run) if known else (float("inf"), float("inf"), 0, centre.dc_id),
    )


def _estimate(evaluation: Evaluation, site: int, run: int) -> RunEstimate:
    candidates, start = evaluation.candidates, evaluation.runs.start(run)
    return RunEstimate(
        start=start,
        end=finish(start, evaluation.runs.duration),
        energy_kwh=evaluation.load.it_energy_kwh * candidates.sites.centres[site].pue,
        cost_gbp=candidates.cost_gbp_of(site, run),
        carbon_gco2=float(evaluation.carbon_gco2[site, run]),
        parts=candidates.parts(site, run),
    )
