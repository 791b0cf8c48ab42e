"""The best stretches of a forecast in columns. Pure: times come in as arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any

from grid.half_hours import HALF_HOUR, from_rfc3339


@dataclass(frozen=True)
class Columns:
    """One figure a half-hour from `start` on, None where nothing is known."""

    start: datetime | None
    figures: list[float | None]

    @classmethod
    def of(cls, first: str | None, rows: Sequence[Mapping[str, Any]], name: str) -> Columns:
        """Of rows with a `timestamp` each, in a column from `first` on; a half-hour without a row is unknown."""
        if first is None:
            return cls(None, [])
        start = from_rfc3339(first)
        found = {(from_rfc3339(row["timestamp"]) - start) // HALF_HOUR: row.get(name) for row in rows}
        return cls(start, [found.get(place) for place in range(max(found, default=-1) + 1)])

    def mean(self, start: datetime, end: datetime) -> float | None:
        """Over the time from start to end, each half-hour by how much of it that takes; None where one is unknown."""
        if self.start is None or start < self.start or end <= start:
            return None
        total = 0.0
        place = (start - self.start) // HALF_HOUR
        while (begins := self.start + place * HALF_HOUR) < end:
            figure = self.figures[place] if place < len(self.figures) else None
            if figure is None:
                return None
            within = min(end, begins + HALF_HOUR) - max(start, begins)
            total += figure * (within / (end - start))
            place += 1
        return total


@dataclass(frozen=True)
class Window:
    """A stretch in a region (None: the nation), with its means and those of the same stretch begun now."""

    region_id: int | None
    start: datetime
    end: datetime
    carbon: float | None
    price: float | None
    carbon_now: float | None
    price_now: float | None


def best_windows(
    carbon: Mapping[int | None, Columns],
    prices: Columns,
    *,
    now: datetime,
    duration: timedelta,
    earliest: datetime | None,
    deadline: datetime | None,
    by_price: bool,
    most: int,
) -> list[Window]:
    """The best windows, best first; two of one region do not overlap.

    A tie goes to what is better in the other figure, then to the earlier, then to the lesser id.

    They begin now, at `earliest`, or with a half-hour, and end by the deadline.
    """
    found: list[tuple[tuple[float, float], Window]] = []
    for region_id, columns in carbon.items():
        now_means = columns.mean(now, now + duration), prices.mean(now, now + duration)
        for start in _starts(columns, max(now, earliest or now)):
            end = start + duration
            means = columns.mean(start, end), prices.mean(start, end)
            first, second = reversed(means) if by_price else means
            if first is not None and (deadline is None or end <= deadline):
                value = first, inf if second is None else second
                found.append((value, Window(region_id, start, end, *means, *now_means)))
    found.sort(key=lambda each: (each[0], each[1].start, each[1].region_id or 0))
    chosen: list[Window] = []
    for _, window in found:
        if len(chosen) == most:
            break
        if not any(_overlap(window, other) for other in chosen):
            chosen.append(window)
    return chosen


def extreme(columns: Columns, which: Callable[[Iterable[float]], float]) -> tuple[datetime, float] | None:
    """The first half-hour that has the least or greatest figure."""
    known = [figure for figure in columns.figures if figure is not None]
    if not known or columns.start is None:
        return None
    value = which(known)
    return columns.start + columns.figures.index(value) * HALF_HOUR, value


def _starts(columns: Columns, first: datetime) -> list[datetime]:
    if columns.start is None:
        return []
    half_hours = [columns.start + place * HALF_HOUR for place in range(len(columns.figures))]
    return [first, *(start for start in half_hours if start > first)]


def _overlap(one: Window, other: Window) -> bool:
    return one.region_id == other.region_id and one.start < other.end and other.start < one.end
