"""Runs of a workload in the slots of data centres: which ones can be had, and what each is worth. Pure.

A slot is a half-hour in one data centre in which a run starts, `DC-001:gpu-slot:20260115T1300Z`; the run goes on for
as long as the workload takes. In the slot of the present half-hour it starts at once. Price, carbon, feasibility and
score are those of `decisions/scoring/decide.py`, worked out over the half-hours that the run covers.

Its energy, from which its power, price and carbon follow, is not its buyer's to set: it is what the workload's
requirements need by `decisions/scoring/energy.py`, or what the buyer states where that is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import overload

import numpy as np

from beckn.catalogue.slot import Slot
from beckn.provider.requirements import Wanted
from decisions.scoring.context import Capacity, DataCentre, Task
from decisions.scoring.energy import ComputeLoad, compute_load
from decisions.scoring.evaluation import Evaluation, evaluate
from decisions.scoring.feasibility import Violation, finish
from decisions.scoring.grid_context import GridContext
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import MICROSECOND
from decisions.scoring.signals import line_up
from decisions.scoring.suitability import suitability_score
from grid.half_hours import half_hour_of
from vocabulary import Policy

FURTHEST_AHEAD = timedelta(days=7)
"""How far ahead a run may start: further than any forecast of the grid reaches."""

_POLICY = Policy.BALANCED


@dataclass(frozen=True)
class SlotRun:
    """One run in one slot. Energy, carbon and cost are the whole site's, PUE included."""

    centre: DataCentre
    slot: Slot
    start: datetime
    end: datetime
    load: ComputeLoad
    site_energy_kwh: float
    carbon_gco2: float
    cost_gbp: float
    score: float


@dataclass(frozen=True, eq=False)
class PossibleRuns(Sequence[SlotRun]):
    """Runs in their order, each worked out when it is looked at."""

    _evaluation: Evaluation
    _places: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SlotRun: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SlotRun]: ...
    def __getitem__(self, index: int | slice) -> SlotRun | Sequence[SlotRun]:
        if isinstance(index, slice):
            return [_slot_run(self._evaluation, *place) for place in self._places[index]]
        return _slot_run(self._evaluation, *self._places[index])


def as_sold(task: Task) -> Task:
    """The workload with the energy that it is sold with: what a buyer states counts only where it is more."""
    stated = task.estimated_energy_kwh
    if stated is None or stated > _needed_energy_kwh(task):
        return task
    return task.model_copy(update={"estimated_energy_kwh": None})


def sold_cost_gbp(task: Task, cost_gbp: float) -> float:
    """What a run of this cost is sold for: whoever is paid to take energy is so for what its workload needs, and not
    for what it says."""
    return cost_gbp if cost_gbp >= 0 else cost_gbp * _needed_energy_kwh(task) / _sold_energy_kwh(task)


def _sold_energy_kwh(task: Task) -> float:
    return compute_load(as_sold(task)).it_energy_kwh


def _needed_energy_kwh(task: Task) -> float:
    return compute_load(task.model_copy(update={"estimated_energy_kwh": None})).it_energy_kwh


def possible_runs(
    wanted: Wanted, grid: GridContext, capacity: Capacity | None, *, now: datetime, carbon_price_gbp_per_t: float
) -> Sequence[SlotRun]:
    """Every run that breaks no constraint and finds room, best first: least J, then carbon, then earliest."""
    centres = sorted(grid.data_centres, key=_dc_id)
    evaluation = _evaluation(wanted.task, grid, centres, now, carbon_price_gbp_per_t, capacity)
    starts_us = evaluation.runs.starts_us
    allowed = evaluation.feasible & (starts_us >= (wanted.earliest - evaluation.runs.origin) // MICROSECOND)
    sites, starts = np.nonzero(allowed)
    ranked = np.lexsort(
        (sites, starts_us[starts], evaluation.carbon_share[sites, starts], evaluation.position[sites, starts])
    )
    return PossibleRuns(evaluation, list(zip(sites[ranked].tolist(), starts[ranked].tolist(), strict=True)))


def run_at(
    task: Task,
    grid: GridContext,
    centre: DataCentre,
    start: datetime,
    *,
    carbon_price_gbp_per_t: float,
    capacity: Capacity | None = None,
) -> tuple[SlotRun | None, tuple[Violation, ...]]:
    """The run that starts at `start`, and the constraints it breaks; None where a signal it needs is unknown.

    Without a capacity, what the present load leaves is free.
    """
    evaluation = _evaluation(task, grid, [centre], start, carbon_price_gbp_per_t, capacity)
    violations = () if evaluation.feasible[0, 0] else evaluation.feasibility.violations(0, 0)
    return (_slot_run(evaluation, 0, 0) if evaluation.known[0, 0] else None), violations


def first_moment(slot: Slot, now: datetime) -> datetime:
    """When a run in a slot starts: with it or, in the present one, at once."""
    return max(slot.start, now)


def _evaluation(
    task: Task,
    grid: GridContext,
    centres: Sequence[DataCentre],
    as_of: datetime,
    carbon_price_gbp_per_t: float,
    capacity: Capacity | None,
) -> Evaluation:
    signals = line_up(as_of, grid.national, grid.regional)
    sites = Sites.of(centres, signals, capacity)
    return evaluate(as_sold(task), as_of, signals, sites, Terms.of(_POLICY, carbon_price_gbp_per_t))


def _slot_run(evaluation: Evaluation, site: int, run: int) -> SlotRun:
    candidates, load, start = evaluation.candidates, evaluation.load, evaluation.runs.start(run)
    centre = candidates.sites.centres[site]
    return SlotRun(
        centre=centre,
        slot=Slot(centre.dc_id, half_hour_of(start)),
        start=start,
        end=finish(start, load.duration),
        load=load,
        site_energy_kwh=load.it_energy_kwh * centre.pue,
        carbon_gco2=float(evaluation.carbon_gco2[site, run]),
        cost_gbp=sold_cost_gbp(evaluation.task, candidates.cost_gbp_of(site, run)),
        score=suitability_score(float(evaluation.position[site, run])),
    )


def _dc_id(centre: DataCentre) -> str:
    return centre.dc_id
