"""Every candidate of one workload, priced, checked and compared: what decisions and plans are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from decisions.scoring.context import Task
from decisions.scoring.energy import ComputeLoad, compute_load
from decisions.scoring.feasibility import Feasibility
from decisions.scoring.objective import Candidates, PricedRuns, Sites, Terms
from decisions.scoring.runs import Booleans, Floats, Integers, Runs
from decisions.scoring.signals import GridSignals
from decisions.scoring.suitability import ReferenceScale

NOW = 0
"""The first of a workload's starts."""
NO_RUN = -1

Rank = tuple[float, float, int, str]
"""What candidates are ordered by, best first: J, carbon, start, dc_id."""


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
    position: Floats
    """J between the workload's reference sites: what candidates are compared by."""

    @cached_property
    def carbon_gco2(self) -> Floats:
        return self.candidates.carbon_gco2()

    @cached_property
    def carbon_share(self) -> Floats:
        """Carbon as a share of the bad reference: what breaks a tie of position."""
        return self.scale.carbon_share(self.carbon_gco2)

    @property
    def runs(self) -> Runs:
        return self.candidates.runs

    def best_runs(self, allowed: Booleans) -> list[int]:
        """Each site's best allowed start: least J, then least carbon, then earliest; NO_RUN where none is."""
        best = _least(self.position, allowed)
        possible = best.any(axis=1)
        if np.count_nonzero(best) > np.count_nonzero(possible):
            best = _least(self.carbon_share, best)
        # Starts stand in order of time, so the first of the tied ones is the earliest.
        earliest: list[int] = np.where(possible, best.argmax(axis=1), NO_RUN).tolist()
        return earliest

    def nearest_runs(self) -> list[int]:
        """Each site's permitted start that breaks fewest constraints, or NO_RUN; ties as in best_runs."""
        allowed = self.known & self.feasibility.permitted()
        return self.best_runs(_least(self.feasibility.violation_counts(), allowed))

    @cached_property
    def _known_ranks(self) -> dict[tuple[int, ...], list[Rank]]:
        return {}

    def ranks(self, runs: Sequence[int]) -> list[Rank]:
        """What one start at each site is ordered by; NO_RUN comes last."""
        asked = tuple(runs)
        if asked not in self._known_ranks:
            self._known_ranks[asked] = self._ranks(asked)
        return self._known_ranks[asked]

    def _ranks(self, runs: tuple[int, ...]) -> list[Rank]:
        sites, starts = np.arange(len(runs)), np.array(runs, dtype=np.int64)
        none = starts == NO_RUN
        carbon_share = self.scale.carbon_share(self.candidates.carbon_gco2_of(sites, starts))
        figures = zip(
            np.where(none, np.inf, self.position[sites, starts]).tolist(),
            np.where(none, np.inf, carbon_share).tolist(),
            np.where(none, 0, self.runs.starts_us[starts]).tolist(),
            self.candidates.sites.centres,
            strict=True,
        )
        return [(position, carbon, start_us, centre.dc_id) for position, carbon, start_us, centre in figures]

    def best_of(self, runs: Sequence[int]) -> tuple[int, int] | None:
        """The best of one start at each site, as site and start; None where all are NO_RUN."""
        ranks = self.ranks(runs)
        site = min(range(len(runs)), key=ranks.__getitem__, default=None)
        return None if site is None or runs[site] == NO_RUN else (site, runs[site])

    def answer(self) -> tuple[int, int] | None:
        """The feasible site and start that a decision chooses."""
        return self.best_of(self.best_runs(self.feasible))


def evaluate(task: Task, as_of: datetime, signals: GridSignals, sites: Sites, terms: Terms) -> Evaluation:
    """Price and check every start of a workload at every site."""
    load = compute_load(task)
    runs = Runs.possible(as_of, signals.half_hours, load.duration)
    candidates = Candidates.of(load, sites, PricedRuns.of(runs, signals, terms, task.urgency))
    feasibility = Feasibility.of(task, candidates, signals)
    scale = ReferenceScale.of(load, terms)
    objective_gbp = candidates.objective_gbp()
    return Evaluation(
        task=task,
        load=load,
        candidates=candidates,
        feasibility=feasibility,
        scale=scale,
        known=candidates.known,
        feasible=feasibility.feasible(),
        objective_gbp=objective_gbp,
        position=scale.position(objective_gbp),
    )


def _least(values: Floats | Integers, allowed: Booleans) -> Booleans:
    """The allowed elements of each row that equal the row's least allowed one."""
    masked = np.where(allowed, values, np.inf)
    least: Booleans = allowed & (masked == masked.min(axis=1, keepdims=True))
    return least
