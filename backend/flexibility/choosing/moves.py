"""What it costs to move one booked workload out of an event's way, by the J that decides everything else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from decisions.scoring.assessment import RunEstimate
from decisions.scoring.capacity import less
from decisions.scoring.context import Capacity, DecisionContext
from decisions.scoring.decide import Decision, decide
from decisions.scoring.energy import compute_load
from decisions.scoring.objective import Candidates, PricedRuns, Sites, Terms
from decisions.scoring.runs import MICROSECOND, Runs
from decisions.scoring.signals import read_signals
from flexibility.choosing.choice import Candidate, Event
from grid.half_hours import HALF_HOUR, half_hour_of
from vocabulary import Policy, Urgency

J_PLACES = Decimal("1e-9")
"""J is worked out in floating point; as money it has nine decimals."""
MWH_PLACES = Decimal("1e-9")
KWH_PER_MWH = 1000


@dataclass(frozen=True)
class Booked:
    """Where and when a workload is to run, and the IT power that is held for it."""

    dc_id: str
    starts_at: datetime
    ends_at: datetime
    it_power_kw: float
    operator: str = ""
    """Whose it is: two may have jobs of one name."""


@dataclass(frozen=True)
class Move:
    """A workload that can give way, and the decision that says where to."""

    booked: Booked
    decision: Decision
    to: RunEstimate
    keep_gbp: Decimal
    """J of staying."""
    candidate: Candidate

    @property
    def job_id(self) -> str:
        return self.decision.context.task.job_id

    @property
    def to_dc_id(self) -> str:
        chosen = self.decision.chosen
        if chosen is None:
            raise ValueError("a move has a place to go to")
        return chosen.centre.dc_id

    @property
    def delta_gbp(self) -> Decimal:
        return self.candidate.delta_gbp


@dataclass(frozen=True)
class Mover:
    """How workloads are moved for one event: what J weighs, and the sites where the event's half-hours are closed."""

    event: Event
    sites: frozenset[str]
    """The data centres whose import the event is measured by: all units' that take part."""
    carbon_price_gbp_per_t: float
    policy: Policy = Policy.BALANCED

    def move(self, context: DecisionContext, booked: Booked) -> Move | None:
        """How a workload would give way, if it may and can; its own power counts as free.

        None for CRITICAL work, for what has begun, for what would free nothing, and where a signal is missing that
        its J needs, so that nothing is moved on a guess.
        """
        task = context.task
        if task.urgency is Urgency.CRITICAL or booked.starts_at <= context.as_of or booked.dc_id not in self.sites:
            return None
        keep_gbp = self._keep_gbp(context, booked)
        centre = next((one for one in context.data_centres if one.dc_id == booked.dc_id), None)
        if keep_gbp is None or centre is None:
            return None
        freed = self._freed_mwh(booked, centre.pue)
        if not any(freed):
            return None
        decision = decide(
            self.context_without(context, booked),
            carbon_price_gbp_per_t=self.carbon_price_gbp_per_t,
            policy=self.policy,
        )
        run = decision.chosen.recommended if decision.chosen else None
        if run is None:
            return None
        delta_gbp = _decimal(run.objective_gbp, J_PLACES) - keep_gbp
        return Move(booked, decision, run, keep_gbp, Candidate(name_of(context, booked), delta_gbp, freed))

    def context_without(self, context: DecisionContext, booked: Booked) -> DecisionContext:
        """The context of deciding again: its own power is free again, and the event's half-hours are closed."""
        if context.capacity is None:
            raise ValueError("a move needs to know what power is free")
        capacity = less(context.capacity, booked.dc_id, booked.starts_at, booked.ends_at, -booked.it_power_kw)
        for dc_id in sorted(self.sites):
            capacity = closed(capacity, dc_id, self.event.starts_at, self.event.ends_at)
        return context.model_copy(update={"capacity": capacity})

    def _keep_gbp(self, context: DecisionContext, booked: Booked) -> Decimal | None:
        """J of running as booked; None where a signal that it needs is missing."""
        signals = read_signals(context)
        terms = Terms.of(self.policy, self.carbon_price_gbp_per_t)
        load = compute_load(context.task)
        origin = half_hour_of(context.as_of)
        starts = [(moment - origin) // MICROSECOND for moment in (context.as_of, booked.starts_at)]
        runs = Runs.starting_at(origin, signals.half_hours, np.array(starts, dtype=np.int64), load.duration)
        if runs.first[1] >= signals.half_hours:
            return None
        centres = [one for one in context.data_centres if one.dc_id == booked.dc_id]
        priced = PricedRuns.of(runs, signals, terms, context.task.urgency)
        candidates = Candidates.of(load, Sites.of(centres, signals, context.capacity), priced)
        if not centres or not candidates.known[0, 1]:
            return None
        return _decimal(float(candidates.objective_gbp()[0, 1]), J_PLACES)

    def _freed_mwh(self, booked: Booked, pue: float) -> tuple[Decimal, ...]:
        """Site energy that staying would take in each half-hour of the event."""
        site_kw = Decimal(repr(booked.it_power_kw)) * Decimal(repr(pue))
        return tuple(
            (site_kw * _hours_within(booked, start) / KWH_PER_MWH).quantize(MWH_PLACES)
            for start in self.event.half_hours
        )


def name_of(context: DecisionContext, booked: Booked) -> str:
    """What a workload is called among those of everybody."""
    return f"{booked.operator}/{context.task.job_id}" if booked.operator else context.task.job_id


def closed(capacity: Capacity, dc_id: str, start: datetime, end: datetime) -> Capacity:
    """A capacity in which a data centre has nothing free in [start, end)."""
    steps = capacity.free_it_kw.get(dc_id)
    if steps is None or end <= capacity.start:
        return capacity
    last = capacity.half_hours - 1
    first = min(max((start - capacity.start) // HALF_HOUR, 0), last)
    until = (end - capacity.start) // HALF_HOUR
    left: list[tuple[int, float]] = []
    for half_hour in sorted({begins for begins, _ in steps} | {first} | ({until} if until <= last else set())):
        free_kw = next(kw for begins, kw in reversed(steps) if begins <= half_hour)
        if first <= half_hour < until:
            free_kw = 0.0
        if not left or left[-1][1] != free_kw:
            left.append((half_hour, free_kw))
    return capacity.model_copy(update={"free_it_kw": {**capacity.free_it_kw, dc_id: tuple(left)}})


def _hours_within(booked: Booked, start: datetime) -> Decimal:
    overlap = min(booked.ends_at, start + HALF_HOUR) - max(booked.starts_at, start)
    return Decimal(max(overlap, timedelta(0)) // MICROSECOND) / Decimal(timedelta(hours=1) // MICROSECOND)


def _decimal(value: float, places: Decimal) -> Decimal:
    return Decimal(repr(value)).quantize(places)
