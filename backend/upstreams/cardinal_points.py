"""NESO's cardinal points turned into half-hours.

NESO forecasts a day's demand at about twelve cardinal points. A point is fixed (the demand of one
half-hour), a trough (the minimum of a window) or a peak (the maximum of one). Windows are given by two clock
labels, each the local time at which a half-hour ENDS (30 … 2400).

The curve through them:

- A fixed point stands at its half-hour. A peak above (a trough below) both neighbouring points stands in the
  middle of its window. One on a slope stands at the edge towards the more extreme neighbour: a peak passed on
  the way up is its window's last half-hour, one passed on the way down its first.
- Between points the curve is straight, rounded to whole MW.
- Inside a window the curve never rises above its peak or falls below its trough; so each window's extreme is
  the published figure, and is reached.

A settlement day has 46 or 50 half-hours when the clocks change. A half-hour's label is its local start plus
30 minutes; in spring no half-hour carries 130 or 200, and in autumn, when two carry each, the label means the
first.

Source: NESO data portal, "1 Day Ahead National Demand Forecast", column descriptions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from grid.half_hours import LONDON, settlement_period_start, settlement_periods_in
from upstreams.demand import NationalDemand
from vocabulary import StrEnum


class CardinalKind(StrEnum):
    FIXED = "F"
    TROUGH = "T"
    PEAK = "P"


@dataclass(frozen=True)
class CardinalPoint:
    """A point of one day, its window as settlement periods `first` to `last`, both included."""

    kind: CardinalKind
    first: int
    last: int
    demand_mw: float


def periods_between(day: date, start_label: int, end_label: int) -> tuple[int, int] | None:
    """The first and last settlement period of a window of clock labels; None if the day has none of them."""
    labels = _labels(day)
    first = next((period for label, period in labels.items() if label >= start_label), None)
    last = next((period for label, period in reversed(labels.items()) if label <= end_label), None)
    if first is None or last is None or first > last:
        return None
    return first, last


def half_hourly(day: date, points: Sequence[CardinalPoint]) -> list[NationalDemand]:
    """The curve through a day's points, from the first window to the last.

    Args:
        points: at least one, in order of time, whose windows do not overlap.
    """
    anchors = _anchors(points)
    demand_mw: dict[int, float] = {}
    for period in range(points[0].first, points[-1].last + 1):
        demand_mw[period] = anchors[period] if period in anchors else round(_straight(anchors, period))
    for point in points:
        for period in range(point.first, point.last + 1):
            demand_mw[period] = _bounded(demand_mw[period], point)
    return [
        NationalDemand(settlement_period_start(day, period), mw, is_interpolated=period not in anchors)
        for period, mw in demand_mw.items()
    ]


def _labels(day: date) -> dict[int, int]:
    """Clock label → settlement period, in order; a label that occurs twice means its first half-hour."""
    labels: dict[int, int] = {}
    for period in range(1, settlement_periods_in(day) + 1):
        local = settlement_period_start(day, period).astimezone(LONDON)
        minutes = local.hour * 60 + local.minute + 30
        labels.setdefault(minutes // 60 * 100 + minutes % 60, period)
    return labels


def _anchors(points: Sequence[CardinalPoint]) -> dict[int, float]:
    """Settlement period → demand, at the half-hour where each point stands."""
    anchors: dict[int, float] = {}
    for number, point in enumerate(points):
        before = points[number - 1] if number > 0 else None
        after = points[number + 1] if number + 1 < len(points) else None
        anchors[_position(point, before, after)] = point.demand_mw
    return anchors


def _position(point: CardinalPoint, before: CardinalPoint | None, after: CardinalPoint | None) -> int:
    tops_before = before is None or _beyond(point, before)
    tops_after = after is None or _beyond(point, after)
    if tops_before == tops_after:
        return (point.first + point.last) // 2
    return point.last if tops_before else point.first


def _beyond(point: CardinalPoint, other: CardinalPoint) -> bool:
    """Whether `point` is the more extreme of the two, in its own direction."""
    if point.kind is CardinalKind.TROUGH:
        return point.demand_mw <= other.demand_mw
    return point.demand_mw >= other.demand_mw


def _straight(anchors: dict[int, float], period: int) -> float:
    """The straight line between the nearest anchors on either side; level beyond the outermost."""
    positions = sorted(anchors)
    next_one = bisect_left(positions, period)
    if next_one == 0:
        return anchors[positions[0]]
    if next_one == len(positions):
        return anchors[positions[-1]]
    before, after = positions[next_one - 1], positions[next_one]
    share = (period - before) / (after - before)
    return anchors[before] + share * (anchors[after] - anchors[before])


def _bounded(mw: float, point: CardinalPoint) -> float:
    if point.kind is CardinalKind.PEAK:
        return min(mw, point.demand_mw)
    if point.kind is CardinalKind.TROUGH:
        return max(mw, point.demand_mw)
    return point.demand_mw
