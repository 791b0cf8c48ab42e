"""Every candidate of one workload, priced, checked and compared: what decisions and plans are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from decisions.context import Task
from decisions.energy import ComputeLoad, compute_load
from decisions.feasibility import Feasibility
from decisions.objective import Candidates, PricedRuns, Sites, Terms
from decisions.runs import Booleans, Floats, Integers, Runs
from decisions.signals import GridSignals
from decisions.suitability import ReferenceScale

NO_RUN = -1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One workload at every site and start. Arrays have shape (sites, starts); unknown ones mean nothing."""

    task: Task
    load: ComputeLoad
    candidates: Candidates
    feasibility: Feasibility
    scale: ReferenceScale
    known: Booleans
    feasible: Booleans
    objective_gbp: Floats
    carbon_gco2: Floats
    position: Floats
    """J between the workload's reference sites: what candidates are compared by."""
    carbon_share: Floats
    """Carbon as a share of the bad reference: what breaks a tie of position."""

    @property
    def runs(self) -> Runs:
        return self.candidates.runs

    def best_runs(self, allowed: Booleans) -> list[int]:
        """Each site's best allowed start: least J, then least carbon, then earliest; NO_RUN where none is."""
        least = _least(self.position, allowed)
        greenest = _least(self.carbon_share, least)
        # Starts stand in order of time, so the first of the tied ones is the earliest.
        earliest = np.where(greenest.any(axis=1), greenest.argmax(axis=1), NO_RUN)
        return [int(run) for run in earliest]

    def nearest_runs(self) -> list[int]:
        """Each site's permitted start that breaks fewest constraints, or NO_RUN; ties as in best_runs."""
        allowed = self.known & self.feasibility.permitted()
        return self.best_runs(_least(self.feasibility.violation_counts(), allowed))

    def rank(self, site: int, run: int) -> tuple[float, float, int, str]:
        """What candidates are ordered by, best first: J, carbon, start, dc_id."""
        return (
            float(self.position[site, run]),
            float(self.carbon_share[site, run]),
            int(self.runs.starts_us[run]),
            self.candidates.sites.centres[site].dc_id,
        )


def evaluate(task: Task, as_of: datetime, signals: GridSignals, sites: Sites, terms: Terms) -> Evaluation:
    """Price and check every start of a workload at every site."""
    load = compute_load(task)
    runs = Runs.possible(as_of, signals.half_hours, load.duration)
    candidates = Candidates.of(load, sites, PricedRuns.of(runs, signals, terms, task.urgency))
    feasibility = Feasibility.of(task, candidates, signals)
    scale = ReferenceScale.of(load, terms)
    objective_gbp = candidates.objective_gbp()
    carbon_gco2 = candidates.carbon_gco2()
    return Evaluation(
        task=task,
        load=load,
        candidates=candidates,
        feasibility=feasibility,
        scale=scale,
        known=candidates.known(),
        feasible=feasibility.feasible(),
        objective_gbp=objective_gbp,
        carbon_gco2=carbon_gco2,
        position=scale.position(objective_gbp),
        carbon_share=scale.carbon_share(carbon_gco2),
    )


def _least(values: Floats | Integers, allowed: Booleans) -> Booleans:
    """The allowed elements of each row that equal the row's least allowed one."""
    masked = np.where(allowed, values, np.inf)
    least: Booleans = allowed & (masked == masked.min(axis=1, keepdims=True))
    return least
