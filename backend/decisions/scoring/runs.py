"""The runs a workload could make: one duration, many starts, and the half-hours each run covers.

Prices and intensities are step functions over half-hours, so a run takes each half-hour's figure for exactly
the time it overlaps that half-hour; nothing is interpolated. Times are whole microseconds since the first
half-hour, so that a run which ends on a half-hour's edge does not touch the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grid.half_hours import HALF_HOUR, half_hour_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

Number = TypeVar("Number", np.float64, np.int64)

MICROSECOND = timedelta(microseconds=1)
HALF_HOUR_US = HALF_HOUR // MICROSECOND
HOUR_US = 2 * HALF_HOUR_US


@dataclass(frozen=True, eq=False)
class HourlyRates:
    """Rates by half-hour, shape (…, half_hours), with what integrals over runs are taken from. NaN counts as 0."""

    known: Floats
    up_to: Floats
    """Running totals."""

    @classmethod
    def of(cls, rates: Floats) -> HourlyRates:
        known = np.where(np.isnan(rates), 0.0, rates)
        return cls(known, _running_totals(known))


@dataclass(frozen=True, eq=False)
class Flags:
    """Flagged half-hours, shape (…, half_hours), by their running totals."""

    up_to: Integers

    @classmethod
    def of(cls, flags: Booleans) -> Flags:
        return cls(_running_totals(flags.astype(np.int64)))


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of one duration over half-hours 0 … `half_hours` - 1, the first of which starts at `origin`.

    Arrays have one element per start, in the order of `starts_us`.
    """

    origin: datetime
    half_hours: int
    duration: timedelta
    starts_us: Integers
    ends_us: Integers
    first: Integers
    """Half-hour in which the run starts."""
    last: Integers
    """Half-hour in which the run ends, or the last one there is."""
    head_h: Floats
    """Hours run in half-hour `first`."""
    tail_h: Floats
    """Hours run in half-hour `last`, 0 where that is `first`."""
    beyond: Booleans
    """Whether the run goes on after the last half-hour."""

    @classmethod
    def starting_at(cls, origin: datetime, half_hours: int, starts_us: Integers, duration: timedelta) -> Runs:
        """Runs from given starts, in microseconds since `origin`, each within one of the half-hours."""
        ends_us = starts_us + duration // MICROSECOND
        first = starts_us // HALF_HOUR_US
        beyond = ends_us > half_hours * HALF_HOUR_US
        last = np.minimum((ends_us - 1) // HALF_HOUR_US, half_hours - 1)
        head_h = (np.minimum(ends_us, (first + 1) * HALF_HOUR_US) - starts_us) / HOUR_US
        tail_us = np.minimum(ends_us, (last + 1) * HALF_HOUR_US) - last * HALF_HOUR_US
        tail_h = np.where(last > first, tail_us / HOUR_US, 0.0)
        return cls(origin, half_hours, duration, starts_us, ends_us, first, last, head_h, tail_h, beyond)

    @classmethod
    def possible(cls, as_of: datetime, half_hours: int, duration: timedelta) -> Runs:
        """The start grid: at `as_of` itself, then at each later half-hour. Half-hour 0 contains `as_of`."""
        origin = half_hour_of(as_of)
        return _possible(origin, (as_of - origin) // MICROSECOND, half_hours, duration)

    def __len__(self) -> int:
        return len(self.starts_us)

    @cached_property
    def _starts(self) -> dict[int, datetime]:
        return {}

    def start(self, run: int) -> datetime:
        found = self._starts.get(run)
        if found is None:
            found = self._starts[run] = self.origin + int(self.starts_us[run]) * MICROSECOND
        return found

    def overlap_h(self, run: int) -> Floats:
        """Hours one run spends in each half-hour, shape (half_hours,); times site power it is e_t [kWh]."""
        edges_us = np.arange(self.half_hours + 1, dtype=np.int64) * HALF_HOUR_US
        inside_us = np.clip(edges_us, self.starts_us[run], self.ends_us[run])
        return np.diff(inside_us) / HOUR_US

    @cached_property
    def _after_first(self) -> Integers:
        return self.first + 1

    @cached_property
    def _after_last(self) -> Integers:
        return self.last + 1

    @cached_property
    def _last_or_next(self) -> Integers:
        return np.maximum(self.last, self._after_first)

    def integrals(self, rates: Floats | HourlyRates) -> Floats:
        """Each hourly rate integrated over each run: shape (…, half_hours) → (…, starts). NaN counts as 0."""
        rates = rates if isinstance(rates, HourlyRates) else HourlyRates.of(rates)
        known, up_to = rates.known, rates.up_to
        whole = up_to.take(self._last_or_next, axis=-1) - up_to.take(self._after_first, axis=-1)
        head = known.take(self.first, axis=-1) * self.head_h
        tail = known.take(self.last, axis=-1) * self.tail_h
        return head + whole * 0.5 + tail

    def touch(self, flags: Booleans | Flags) -> Booleans:
        """Whether each run spends time in a flagged half-hour: shape (…, half_hours) → (…, starts)."""
        up_to = flags.up_to if isinstance(flags, Flags) else Flags.of(flags).up_to
        touched: Booleans = up_to.take(self._after_last, axis=-1) > up_to.take(self.first, axis=-1)
        return touched

    @cached_property
    def _covered(self) -> dict[int, slice]:
        return {}

    def covered(self, run: int) -> slice:
        """The half-hours that one run spends time in."""
        found = self._covered.get(run)
        if found is None:
            found = self._covered[run] = slice(int(self.first[run]), int(self.last[run]) + 1)
        return found


@lru_cache(64)
def _possible(origin: datetime, first_us: int, half_hours: int, duration: timedelta) -> Runs:
    # Kept: many workloads that are decided together take the same time.
    starts_us = np.arange(half_hours, dtype=np.int64) * HALF_HOUR_US
    starts_us[0] = first_us
    return Runs.starting_at(origin, half_hours, starts_us, duration)


def _running_totals(values: NDArray[Number]) -> NDArray[Number]:
    """Element i is the sum of the first i values along the last axis."""
    totals = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=-1, out=totals[..., 1:])
    return totals
