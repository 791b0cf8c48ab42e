"""How much IT power each data centre has free in each half-hour, and what a run takes of it.

Power is reckoned by the half-hour: a run needs its whole IT power in every half-hour that it touches, and holds it
there. After the last half-hour of a capacity its last step goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from decisions.scoring.context import Capacity, DataCentre, FreePowerSteps
from decisions.scoring.runs import Floats
from grid.half_hours import HALF_HOUR

# Power is booked to the milliwatt, as the database counts it.
KW_DECIMALS = 6

NOTHING_FREE: FreePowerSteps = ((0, 0.0),)


def counted_kw(it_power_kw: float) -> float:
    """IT power as it is booked, to the milliwatt."""
    return round(it_power_kw, KW_DECIMALS)


def free_power_kw(centre: DataCentre) -> float:
    """IT power that a data centre's present load leaves free."""
    return centre.total_capacity_mw * 1000 * (100 - centre.current_load_percentage) / 100


def free_kw_of(capacity: Capacity | None, centres: Sequence[DataCentre], origin: datetime, half_hours: int) -> Floats:
    """IT power that is free, never below 0: shape (data centres, half-hours from `origin` on).

    One column stands for all half-hours where no data centre's free power changes; without a capacity it is what the
    present load leaves. A data centre that the capacity does not name has nothing free.
    """
    if capacity is None:
        return np.array([[free_power_kw(centre)] for centre in centres], dtype=np.float64).reshape(-1, 1)
    steps_of = [capacity.free_it_kw.get(centre.dc_id, NOTHING_FREE) for centre in centres]
    changes = any(len(steps) > 1 for steps in steps_of)
    free_kw = np.empty((len(centres), half_hours if changes else 1))
    passed = (origin - capacity.start) // HALF_HOUR
    for site, steps in enumerate(steps_of):
        free_kw[site] = steps[0][1] if len(steps) == 1 else _ROWS.of(steps, passed, half_hours)
    return np.maximum(free_kw, 0.0)


class _Rows:
    """Steps drawn out to rows, kept by the very steps: from one decision to the next those of one place change."""

    MOST = 4096

    def __init__(self) -> None:
        self._rows: dict[int, tuple[FreePowerSteps, int, Floats]] = {}

    def of(self, steps: FreePowerSteps, passed: int, half_hours: int) -> Floats:
        """What is free in half-hours from the `passed`-th of the steps on."""
        # An id is of these steps for as long as they are kept.
        known = self._rows.get(id(steps))
        if known is not None and known[0] is steps and known[1] == passed and len(known[2]) == half_hours:
            return known[2]
        row = np.full(half_hours, steps[0][1])
        for half_hour, kw in steps[1:]:
            row[max(0, half_hour - passed) :] = kw
        if len(self._rows) >= self.MOST:
            self._rows = {}
        self._rows[id(steps)] = steps, passed, row
        return row


_ROWS = _Rows()


def less(capacity: Capacity, dc_id: str, start: datetime, end: datetime, it_power_kw: float) -> Capacity:
    """What a run of a data centre leaves of a capacity; one that is over before the capacity begins takes nothing."""
    steps = capacity.free_it_kw.get(dc_id)
    if steps is None or end <= capacity.start:
        return capacity
    last = capacity.half_hours - 1
    first = min(max((start - capacity.start) // HALF_HOUR, 0), last)
    after = max(-((capacity.start - end) // HALF_HOUR), first + 1)
    begins = [half_hour for half_hour, _ in steps]
    # The steps that hold at the run's beginning, at its end, and those that begin within it.
    at_first, at_after = bisect_right(begins, first) - 1, bisect_right(begins, after) - 1
    during = [(first, steps[at_first][1]), *(step for step in steps[at_first + 1 : at_after + 1] if step[0] < after)]
    then = [(after, steps[at_after][1]), *steps[at_after + 1 :]] if after <= last else []
    before = steps[: at_first if begins[at_first] == first else at_first + 1]
    left = _changes((*before, *((each, counted_kw(kw - it_power_kw)) for each, kw in during), *then))
    return capacity.model_copy(update={"free_it_kw": {**capacity.free_it_kw, dc_id: left}})


def only_at(capacity: Capacity, dc_id: str, starts_at: datetime, free_kw: Sequence[float]) -> Capacity:
    """A capacity of this alone: what a data centre has free, by half-hour from `starts_at` on."""
    first = (starts_at - capacity.start) // HALF_HOUR
    before = [(0, 0.0)] if first > 0 else []
    has = [(first + place, counted_kw(float(kw))) for place, kw in enumerate(free_kw)]
    levels = (*before, *has, (first + len(has), 0.0))
    steps = _changes([level for level in levels if level[0] < capacity.half_hours])
    others = dict.fromkeys(capacity.free_it_kw, NOTHING_FREE)
    return capacity.model_copy(update={"free_it_kw": {**others, dc_id: steps}})


def _changes(levels: Sequence[tuple[int, float]]) -> FreePowerSteps:
    """Of levels in their order, those that differ from the one before."""
    changes: list[tuple[int, float]] = []
    for half_hour, kw in levels:
        if not changes or changes[-1][1] != kw:
            changes.append((half_hour, kw))
    return tuple(changes)


def least_free_kw(capacity: Capacity, dc_id: str, start: datetime, end: datetime) -> float:
    """The IT power that a data centre has free throughout [start, end): the least of the half-hours it touches."""
    steps = capacity.free_it_kw.get(dc_id, NOTHING_FREE)
    first, until = (start - capacity.start) / HALF_HOUR, (end - capacity.start) / HALF_HOUR
    begins = max([half_hour for half_hour, _ in steps if half_hour <= first], default=0)
    return max(0.0, min(kw for half_hour, kw in steps if begins <= half_hour < max(until, begins + 1)))


def displaced_gbp(
    capacity: Capacity | None, dc_id: str, start: datetime, end: datetime, it_power_kw: float
) -> float | None:
    """What others would save by having the power that a run in [start, end) takes, £.

    That is its whole power in every half-hour it touches, at the price of that half-hour. None where one is unknown.
    """
    prices = capacity.prices if capacity else None
    if prices is None:
        return None
    first = (start - prices.start) // HALF_HOUR
    after = max(-((prices.start - end) // HALF_HOUR), first + 1)
    if first < 0 or after > prices.half_hours:
        return None
    steps = prices.gbp_per_kw.get(dc_id, ())
    ends = (*(half_hour for half_hour, _ in steps[1:]), prices.half_hours)
    gbp_per_kw = 0.0
    for (begins, price), until in zip(steps, ends, strict=False):
        gbp_per_kw += price * max(0, min(until, after) - max(begins, first))
    return gbp_per_kw * counted_kw(it_power_kw)
