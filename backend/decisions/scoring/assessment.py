"""One workload's option at each of some sites: its best run there, what that comes to and what stands in its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

import numpy as np

from decisions.scoring.capacity import displaced_gbp
from decisions.scoring.context import Capacity, DataCentre
from decisions.scoring.energy import ComputeLoad
from decisions.scoring.evaluation import NO_RUN, NOW, Evaluation, Rank
from decisions.scoring.explanation import BindingConstraint, Candidate, binding_between
from decisions.scoring.feasibility import Violation, finish
from decisions.scoring.objective import Parts, PricedRun
from decisions.scoring.suitability import suitability_score


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


class Assessed(NamedTuple):
    """A site's option, and which of the workload's starts it speaks of."""

    option: Assessment
    best_run: int
    """The best feasible start; NO_RUN without one."""
    shown_run: int
    """What `option.free_it_power_kw` and its violations are of."""
    wished_run: int
    """The best start if nothing were in the way; NO_RUN where no run's signals are known."""


def assess(evaluation: Evaluation, capacity: Capacity | None) -> list[Assessed]:
    """Every site's option, in the order of the sites. Of `capacity` it takes the prices: what is free is known."""
    feasibility, sites, runs = evaluation.feasibility, evaluation.candidates.sites, evaluation.runs
    best_runs, wished_runs = evaluation.best_runs(evaluation.feasible), evaluation.best_runs(evaluation.known)
    nearest_runs = evaluation.nearest_runs() if NO_RUN in best_runs else best_runs
    evaluated_runs = [near if best == NO_RUN else best for best, near in zip(best_runs, nearest_runs, strict=True)]
    now_runs = [NOW if known else NO_RUN for known in evaluation.known[:, NOW].tolist()]
    evaluated, now = _estimates(evaluation, evaluated_runs, now_runs)
    has_room, has_room_now = feasibility.has_room().tolist(), feasibility.has_room_now().tolist()
    ranks, wished_ranks = evaluation.ranks(evaluated_runs), evaluation.ranks(wished_runs)
    shown_runs = [NOW if run == NO_RUN else run for run in evaluated_runs]
    free_kw_of = {run: sites.all_free_kw_during(runs.covered(run)) for run in set(shown_runs)}
    candidate = partial(Candidate, evaluation)

    def assessed(site: int, centre: DataCentre) -> Assessed:
        best, shown, wished = best_runs[site], shown_runs[site], wished_runs[site]
        feasible = best != NO_RUN
        is_bound = feasible and wished_ranks[site] < ranks[site]
        option = Assessment(
            centre=centre,
            feasible=feasible,
            has_room=has_room[site],
            has_room_now=has_room_now[site],
            free_it_power_kw=free_kw_of[shown][site],
            score=suitability_score(ranks[site][0]) if feasible else 0.0,
            site_energy_kwh=evaluation.load.it_energy_kwh * centre.pue,
            run_now=now[site],
            evaluated=evaluated[site],
            displaced_gbp=_displaced_gbp(capacity, centre, evaluated[site], evaluation.load),
            violations=() if feasible else feasibility.violations(site, shown),
            binding=binding_between(candidate(site, best), candidate(site, wished)) if is_bound else None,
            rank=ranks[site],
        )
        return Assessed(option, best, shown, wished)

    return [assessed(site, centre) for site, centre in enumerate(sites.centres)]


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
