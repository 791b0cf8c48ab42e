"""Chance that repeats: random numbers and slow drifts that depend only on the words they are seeded with.

Python's `hash()` differs between processes, so every seed here is text: `random.Random` turns text into the
same sequence on every machine and Python version.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from random import Random

from grid.half_hours import as_utc

_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)


def seeded_random(*parts: object) -> Random:
    """A generator of its own for these words: the same words, the same numbers."""
    return Random("|".join(str(part) for part in parts))  # noqa: S311 - invents a world, guards no secret


def smooth_noise(moment: datetime, knot_spacing: timedelta, *parts: object) -> float:
    """A drift between -1 and 1 that has no jumps, as a function of time.

    Every `knot_spacing` the drift takes a fresh random value, and eases from one to the next (value noise).
    Any moment can be asked for by itself, in any order.
    """
    position = (as_utc(moment) - _EPOCH) / knot_spacing
    knot = int(position // 1)
    before, after = _knot_value(knot, parts), _knot_value(knot + 1, parts)
    return before + (after - before) * smooth_step(position - knot)


def smooth_step(fraction: float) -> float:
    """Eases from 0 to 1 as `fraction` goes from 0 to 1, level at both ends, and stays there outside."""
    clamped = min(max(fraction, 0.0), 1.0)
    return clamped * clamped * (3 - 2 * clamped)


@lru_cache(maxsize=65_536)
def _knot_value(knot: int, parts: tuple[object, ...]) -> float:
    return seeded_random(*parts, knot).uniform(-1, 1)
