"""How much IT power each data centre has free in each half-hour, and what a run takes of it.

Power is reckoned by the half-hour: a run needs its whole IT power in every half-hour that it touches, and holds it
there. After the last half-hour of a capacity its last step goes on.
"""

from __future__ import annotations

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
        free_kw[site] = steps[0][1]
        for half_hour, kw in steps[1:]:
            free_kw[site, max(0, half_hour - passed) :] = kw
    return np.maximum(free_kw, 0.0)


def less(capacity: Capacity, dc_id: str, start: datetime, end: datetime, it_power_kw: float) -> Capacity:
    """What a run of a data centre leaves of a capacity; one that is over before the capacity begins takes nothing."""
    steps = capacity.free_it_kw.get(dc_id)
    if steps is None or end <= capacity.start:
        return capacity
    last = capacity.half_hours - 1
    first = min(max((start - capacity.start) // HALF_HOUR, 0), last)
    after = max(-((capacity.start - end) // HALF_HOUR), first + 1)
    edges = sorted({half_hour for half_hour, _ in steps} | {first} | ({after} if after <= last else set()))
    left: list[tuple[int, float]] = []
    for half_hour in edges:
        free_kw = next(kw for begins, kw in reversed(steps) if begins <= half_hour)
        if first <= half_hour < after:
            free_kw = counted_kw(free_kw - it_power_kw)
        if not left or left[-1][1] != free_kw:
            left.append((half_hour, free_kw))
    return capacity.model_copy(update={"free_it_kw": {**capacity.free_it_kw, dc_id: tuple(left)}})


def least_free_kw(capacity: Capacity, dc_id: str, start: datetime, end: datetime) -> float:
    """The IT power that a data centre has free throughout [start, end): the least of the half-hours it touches."""
    steps = capacity.free_it_kw.get(dc_id, NOTHING_FREE)
    first, until = (start - capacity.start) / HALF_HOUR, (end - capacity.start) / HALF_HOUR
    begins = max([half_hour for half_hour, _ in steps if half_hour <= first], default=0)
    return max(0.0, min(kw for half_hour, kw in steps if begins <= half_hour < max(until, begins + 1)))
