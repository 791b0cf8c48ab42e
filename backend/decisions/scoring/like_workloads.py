"""Workloads that differ in their names alone are priced and checked once while grid and moment are the same.

Only the free power changes from one decision to the next, as each takes some at one place: there the option is found
anew, and the others stand. What is found is what is found alone, to the last bit; a law in the tests says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from decisions.scoring.assessment import Assessed, Assessment, assess
from decisions.scoring.capacity import NOTHING_FREE, free_kw_of
from decisions.scoring.context import Capacity, DataCentre, FreePowerSteps, Task
from decisions.scoring.evaluation import NO_RUN, Evaluation, evaluate
from decisions.scoring.explanation import (
    BindingConstraint,
    Candidate,
    CarbonPriceSwitches,
    binding_between,
    carbon_price_switches,
)
from decisions.scoring.feasibility import Violation
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import Booleans
from decisions.scoring.shared import Shared
from decisions.scoring.signals import GridSignals

# So many places and starts are kept, of as many kinds of workloads as they come to.
MOST_CANDIDATES = 100_000
MOST_KINDS = 64
FEWEST_KINDS = 4


class Kind(NamedTuple):
    """All that a workload's places and starts follow from, beside the grid and what is free."""

    amounts: str
    """As text, which tells -0 from 0."""
    workload_type: str
    urgency: str
    deadline: datetime | None
    latest_start: datetime | None
    runs_at: tuple[str, ...] | None
    as_of: datetime
    free_from: datetime | None
    """The half-hour that the steps of the free power count from; None where the present load says what is free."""

    @classmethod
    def of(cls, task: Task, as_of: datetime, latest_start: datetime | None, capacity: Capacity | None) -> Kind:
        amounts = (
            task.required_gpu_mins,
            task.required_cpu_cores,
            task.required_memory_gb,
            task.estimated_energy_kwh,
            task.carbon_cap_gco2,
            task.max_price_gbp,
        )
        return cls(
            repr(amounts),
            task.workload_type,
            task.urgency,
            task.deadline,
            latest_start,
            task.runs_at,
            as_of,
            capacity.start if capacity else None,
        )


@dataclass(frozen=True, eq=False)
class _Place:
    """A site's option, found when `steps` were free there."""

    steps: FreePowerSteps | None
    assessed: Assessed
    evaluation: Evaluation
    site: int
    """Its place in the evaluation."""
    feasible: Booleans
    """By start."""

    @property
    def option(self) -> Assessment:
        return self.assessed.option

    def candidate(self, run: int) -> Candidate:
        return Candidate(self.evaluation, self.site, run)

    @cached_property
    def wished_violations(self) -> tuple[Violation, ...]:
        """What stands in the way of the start that would be the best."""
        return self.evaluation.feasibility.violations(self.site, self.assessed.wished_run)

    def with_other_power(self, steps: FreePowerSteps | None, capacity: Capacity) -> _Place | None:
        """The same on other free power, where that is short at none but the same starts; else None.

        Then nothing but the amount that is free is different, unless a start that the option speaks of is short.
        """
        evaluation, (option, _, shown, wished) = self.evaluation, self.assessed
        no_room, sites, runs = evaluation.feasibility.no_room[self.site], evaluation.candidates.sites, evaluation.runs
        if no_room[shown] or (wished != NO_RUN and no_room[wished]):
            return None
        free_kw = free_kw_of(capacity, (option.centre,), runs.origin, runs.half_hours)
        full = sites.needed_kw(evaluation.load) > free_kw
        short = runs.touch(full)[0] if full.shape[1] > 1 else full[0]
        if (short != no_room).any():
            return None
        least_kw = float((free_kw[0, runs.covered(shown)] if free_kw.shape[1] > 1 else free_kw[0]).min())
        found = replace(option, free_it_power_kw=least_kw)
        return replace(self, steps=steps, assessed=self.assessed._replace(option=found))


@dataclass(frozen=True, eq=False)
class Appraisal:
    """One kind of workload at every site, on the power that is free there."""

    whole: Evaluation
    """On the power that was free at first."""
    places: tuple[_Place, ...]
    feasible: Booleans
    """Shape (sites, starts)."""
    wished: tuple[int, int] | None
    """The best site and start if nothing were in the way; None where no run's signals are known."""

    @cached_property
    def options(self) -> tuple[Assessment, ...]:
        """Best first."""
        return tuple(
            sorted((place.option for place in self.places), key=lambda option: (not option.feasible, option.rank))
        )

    @cached_property
    def _answer(self) -> tuple[int, int] | None:
        """The best feasible site and start."""
        feasible = (site for site, place in enumerate(self.places) if place.option.feasible)
        site = min(feasible, key=lambda site: self.places[site].option.rank, default=None)
        return None if site is None else (site, self.places[site].assessed.best_run)

    @cached_property
    def binding(self) -> BindingConstraint | None:
        """What keeps the answer from the best of every site's best starts."""
        if self._answer is None or self.wished is None:
            return None
        (site, run), (wished_site, wished_run) = self._answer, self.wished
        if site == wished_site:
            return self.places[site].option.binding
        wished = self.places[wished_site]
        return binding_between(
            self.places[site].candidate(run), wished.candidate(wished_run), lambda: wished.wished_violations
        )

    @cached_property
    def _switches(self) -> dict[tuple[int, int], CarbonPriceSwitches]:
        return {}

    @property
    def carbon_price_switches(self) -> CarbonPriceSwitches:
        """At which carbon prices the answer would change; at none without an answer."""
        if self._answer is None:
            return CarbonPriceSwitches(None, None)
        known = self._switches
        if self._answer not in known:
            known[self._answer] = carbon_price_switches(self.whole, self.feasible, *self._answer)
        return known[self._answer]

    def on_other_power(self, steps_of: Sequence[FreePowerSteps | None], capacity: Capacity | None) -> Appraisal:
        """The same where other power is free: `steps_of` has it by site."""
        places, anew = list(self.places), list[int]()
        for site, (place, steps) in enumerate(zip(self.places, steps_of, strict=True)):
            if place.steps is not steps:
                same = capacity and place.with_other_power(steps, capacity)
                if same:
                    places[site] = same
                else:
                    anew.append(site)
        feasible = self.feasible
        if anew:
            fresh = _places(_evaluated_at(self.whole, anew, capacity), [steps_of[site] for site in anew], capacity)
            for site, place in zip(anew, fresh, strict=True):
                places[site] = place
            changed = [site for site in anew if (places[site].feasible != feasible[site]).any()]
            if changed:
                feasible = feasible.copy()
                feasible[changed] = [places[site].feasible for site in changed]
        appraisal = Appraisal(self.whole, tuple(places), feasible, self.wished)
        if feasible is self.feasible:
            appraisal.__dict__["_switches"] = self._switches  # what is made once, handed on
        return appraisal


class LikeWorkloads:
    """One kind of workload on one grid. Safe to use from many threads."""

    def __init__(
        self, task: Task, as_of: datetime, signals: GridSignals, centres: Sequence[DataCentre], terms: Terms
    ) -> None:
        self._task = task
        self._as_of = as_of
        self._signals = signals
        self._centres = centres
        self._terms = terms
        self._last: Appraisal | None = None

    def appraise(self, capacity: Capacity | None) -> Appraisal:
        """Every site's option on a capacity; its prices are always the same, as is its start."""
        steps_of = _steps_of(self._centres, capacity)
        last = self._last
        self._last = found = (
            self._first(steps_of, capacity) if last is None else last.on_other_power(steps_of, capacity)
        )
        return found

    def _first(self, steps_of: Sequence[FreePowerSteps | None], capacity: Capacity | None) -> Appraisal:
        sites = Sites.of(self._centres, self._signals, capacity)
        whole = evaluate(self._task, self._as_of, self._signals, sites, self._terms)
        places = _places(whole, steps_of, capacity)
        wished = whole.best_of([place.assessed.wished_run for place in places])
        return Appraisal(whole, tuple(places), whole.feasible, wished)


_ALIKE = Shared[LikeWorkloads]()


def appraise(
    task: Task,
    as_of: datetime,
    signals: GridSignals,
    centres: tuple[DataCentre, ...],
    terms: Terms,
    capacity: Capacity | None,
    *,
    latest_start: datetime | None,
) -> Appraisal:
    """Every site's option for a workload; what was found for those like it stands where nothing has changed."""
    alike = _ALIKE.of(
        (signals, centres, terms, capacity.prices if capacity else None),
        Kind.of(task, as_of, latest_start, capacity),
        lambda: LikeWorkloads(task, as_of, signals, centres, terms),
        kept=min(MOST_KINDS, max(FEWEST_KINDS, MOST_CANDIDATES // max(1, len(centres) * signals.half_hours))),
    )
    return alike.appraise(capacity)


def _steps_of(centres: Sequence[DataCentre], capacity: Capacity | None) -> list[FreePowerSteps | None]:
    if capacity is None:
        return [None] * len(centres)
    free_it_kw = capacity.free_it_kw
    return [free_it_kw.get(centre.dc_id, NOTHING_FREE) for centre in centres]


def _evaluated_at(whole: Evaluation, sites: Sequence[int], capacity: Capacity | None) -> Evaluation:
    """Some of the sites alone, on the power that is free there now."""
    signals, terms = whole.feasibility.signals, whole.candidates.priced.terms
    these = whole.candidates.sites.only(sites, signals, capacity)
    return evaluate(whole.task, whole.runs.start(0), signals, these, terms)


def _places(
    evaluation: Evaluation, steps_of: Sequence[FreePowerSteps | None], capacity: Capacity | None
) -> list[_Place]:
    return [
        _Place(steps, assessed, evaluation, site, evaluation.feasible[site])
        for site, (steps, assessed) in enumerate(zip(steps_of, assess(evaluation, capacity), strict=True))
    ]
