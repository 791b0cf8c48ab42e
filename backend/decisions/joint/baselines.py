"""What would happen to jobs without a plan: run now at home, and run now at the greenest place with room."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from decisions.joint.problem import JointProblem, PosedJob, whole_watts
from decisions.scoring.context import Task
from decisions.scoring.evaluation import NOW
from decisions.scoring.objective import Sites
from decisions.scoring.run_totals import Outcome, run_outcome


@dataclass(frozen=True)
class Baseline:
    """Runs without a plan, by the number of the job."""

    outcomes: dict[int, Outcome]
    breaking: int
    """How many of them break a constraint of their own."""
    overfull: int
    """In how many half-hours of data centres they take more power than is free."""


def home_of(task: Task, sites: Sites) -> int | None:
    """Where a workload runs when nobody decides; None where no data centre is active.

    Its host, or without one the active data centre with most power free now: where a scheduler that knows nothing of
    the grid would put it.
    """
    for site, centre in enumerate(sites.centres):
        if centre.dc_id == task.host_dc_id:
            return site
    if not sites.active.any():
        return None
    return int(np.where(sites.active, sites.free_kw[:, 0], -1.0).argmax())


def run_now_at_home(problem: JointProblem) -> Baseline:
    """Every job from now on at its home, whatever its constraints and the capacity there: nobody looks."""
    homes = ((number, home_of(posed.job.task, problem.sites)) for number, posed in enumerate(problem.posed))
    return _baseline(problem, ((number, home) for number, home in homes if home is not None))


def run_now_at_greenest(problem: JointProblem) -> Baseline:
    """Every job from now on at the active data centre of least carbon that has room left, the biggest first.

    Jobs that find no room run nowhere.
    """
    return _baseline(problem, _greenest_with_room(problem))


def _greenest_with_room(problem: JointProblem) -> Iterable[tuple[int, int]]:
    sites, free_w = problem.sites, problem.free_w.copy()
    biggest_first = sorted(
        range(len(problem.posed)), key=lambda number: -problem.posed[number].candidates.load.it_energy_kwh
    )
    for number in biggest_first:
        candidates = problem.posed[number].candidates
        power_w = whole_watts(candidates.sites.needed_kw(candidates.load))
        covered = candidates.runs.covered(NOW)
        has_room = (free_w[:, covered] >= power_w).all(axis=1) & sites.active & candidates.known[:, NOW]
        if has_room.any():
            carbon_g = candidates.site_kw * candidates.priced.carbon_g_per_kw[sites.rows, NOW]
            site = int(np.where(has_room, carbon_g, np.inf).argmin())
            free_w[site, covered] -= power_w
            yield number, site


def _baseline(problem: JointProblem, places: Iterable[tuple[int, int]]) -> Baseline:
    runs = [(number, site) for number, site in places if _is_known(problem.posed[number], site)]
    free_w = problem.free_w.copy()
    for number, site in runs:
        candidates = problem.posed[number].candidates
        free_w[site, candidates.runs.covered(NOW)] -= whole_watts(candidates.sites.needed_kw(candidates.load))
    return Baseline(
        outcomes={number: run_outcome(problem.posed[number].candidates, site, NOW) for number, site in runs},
        breaking=sum(not problem.posed[number].allowed_now[site] for number, site in runs),
        overfull=int((free_w < 0).sum()),
    )


def _is_known(posed: PosedJob, site: int) -> bool:
    row = posed.candidates.sites.rows[site]
    return bool(posed.candidates.priced.known[row, NOW])
