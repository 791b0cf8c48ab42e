"""Tells figures that a source sends and cannot mean: a lone figure far from both its neighbours.

The limits are wide: what the grid really does, however rare, is kept. `docs/modelled_data.md` lists every rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from grid.half_hours import HALF_HOUR


def is_lone_outlier(figures: Mapping[datetime, float], start: datetime, furthest: float) -> bool:
    """Whether the figure at `start` is more than `furthest` above, or below, both that before it and that after it.

    One that lacks a neighbour is not judged: a step may be real.
    """
    before, after = figures.get(start - HALF_HOUR), figures.get(start + HALF_HOUR)
    if before is None or after is None:
        return False
    above = figures[start] - max(before, after) > furthest
    below = min(before, after) - figures[start] > furthest
    return above or below


def nearest_that_is_not_zero(figures: Mapping[datetime, float], start: datetime) -> list[float]:
    """The figures at either end of the run of zeros that `start` stands in, as far as there are any."""
    found = []
    for step in (-HALF_HOUR, HALF_HOUR):
        at = start + step
        while figures.get(at) == 0:
            at += step
        if at in figures:
            found.append(figures[at])
    return found
