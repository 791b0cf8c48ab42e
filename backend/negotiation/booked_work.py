"""Work that holds power and could be elsewhere in time: which starts it may have, and what each costs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from uuid import UUID

import numpy as np

from decisions.scoring.capacity import counted_kw, only_at
from decisions.scoring.context import DecisionContext
from decisions.scoring.evaluation import evaluate
from decisions.scoring.feasibility import finish
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import HALF_HOUR_US
from decisions.scoring.signals import read_signals
from decisions.work.notifications import ContextBatch
from decisions.work.placed_work import PlacedWork
from grid.half_hours import HALF_HOUR, half_hour_of
from negotiation.agents import Figures
from vocabulary import Urgency

KW_PER_MW = 1000.0


class BookedWork(PlacedWork):
    """A workload that holds power and has not begun."""

    booking_key: UUID

    @property
    def agent(self) -> tuple[str, str]:
        """Whoever speaks for it: its owner at its data centre."""
        return self.dc_id, self.operator


@dataclass(frozen=True)
class MovableWork:
    """Booked work, in half-hours of the negotiation, with J of each start that it may have."""

    work: BookedWork
    pue: float
    half_hours: int
    booked: int
    costs_gbp: dict[int, float]

    @property
    def power_mw(self) -> float:
        """Of site power."""
        return self.work.it_power_kw * self.pue / KW_PER_MW

    @property
    def wished(self) -> int:
        """Where it would be if nobody else were: at its cheapest start, and where it is if none is cheaper."""
        least = min(self.costs_gbp.values())
        return self.booked if self.costs_gbp[self.booked] <= least else min(self.costs_gbp, key=self._cost_and_start)

    def _cost_and_start(self, start: int) -> tuple[float, int]:
        return self.costs_gbp[start], start

    def cheapest_first(self) -> list[int]:
        return sorted(self.costs_gbp, key=self._cost_and_start)

    def touched(self, start: int) -> slice:
        return slice(start, start + self.half_hours)

    def draw(self, start: int, size: int) -> Figures:
        found = np.zeros(size)
        found[self.touched(start)] = self.power_mw
        return found


def rooms_kw(
    booked: Sequence[BookedWork], free_kw: Mapping[str, Sequence[float]], starts_at: datetime
) -> dict[str, Figures]:
    """IT power of each data centre, by half-hour, for booked work that could make room for each other.

    Args:
        free_kw: what is free beside it, below 0 where more is promised than there is.
    """
    rooms = {dc_id: np.array(free, dtype=float) for dc_id, free in free_kw.items()}
    for work in booked:
        first, end = (work.starts_at - starts_at) // HALF_HOUR, -((starts_at - work.ends_at) // HALF_HOUR)
        rooms[work.dc_id][first:end] += work.it_power_kw
    return rooms


def movable_work(
    booked: Sequence[BookedWork],
    rooms: Mapping[str, Figures],
    contexts: ContextBatch,
    starts_at: datetime,
    terms: Terms,
) -> list[MovableWork]:
    """What of booked work may move, in its order, where nothing but these rooms (kW) bounds each alone."""
    known = [work for work in booked if work.job in contexts]
    found = (_movable(work, contexts.context(work.job), rooms[work.dc_id], starts_at, terms) for work in known)
    return [one for one in found if one is not None]


def _movable(
    work: BookedWork, context: DecisionContext, room_kw: Figures, starts_at: datetime, terms: Terms
) -> MovableWork | None:
    """None where it may not move, or what it is decided from is not what it was booked by.

    Where it is it may stay, whatever is forecast by now.
    """
    size = len(room_kw)
    centre = next((one for one in context.data_centres if one.dc_id == work.dc_id), None)
    if context.task.urgency is Urgency.CRITICAL or centre is None or context.capacity is None:
        return None
    ahead = (starts_at - half_hour_of(context.as_of)) // HALF_HOUR
    capacity = only_at(context.capacity, centre.dc_id, starts_at, room_kw.tolist())
    signals = read_signals(context)
    found = evaluate(context.task, context.as_of, signals, Sites.of([centre], signals, capacity), terms)
    is_as_booked = isclose(counted_kw(found.load.it_power_kw), work.it_power_kw, abs_tol=1e-6)
    if not is_as_booked or finish(work.starts_at, found.load.duration) != work.ends_at:
        return None
    booked = (work.starts_at - starts_at) // HALF_HOUR
    length = -((work.starts_at - work.ends_at) // HALF_HOUR)
    costs: dict[int, float] = {}
    for run in range(len(found.runs)):
        start = int(found.runs.first[run]) - ahead
        if found.runs.starts_us[run] % HALF_HOUR_US or not 0 <= start <= size - length:
            continue
        if found.feasible[0, run] or (start == booked and found.known[0, run]):
            costs[start] = float(found.objective_gbp[0, run])
    if booked not in costs or work.starts_at != starts_at + booked * HALF_HOUR or len(costs) == 1:
        return None
    return MovableWork(work, centre.pue, length, booked, costs)
