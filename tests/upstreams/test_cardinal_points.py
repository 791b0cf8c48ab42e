from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import HALF_HOUR, UTC, settlement_period_start, settlement_periods_in
from upstreams.cardinal_points import CardinalKind, CardinalPoint, half_hourly, periods_between

WINTER = date(2026, 12, 1)
SUMMER = date(2026, 8, 1)
SPRING = date(2026, 3, 29)
AUTUMN = date(2026, 10, 25)
FIXED, TROUGH, PEAK = CardinalKind.FIXED, CardinalKind.TROUGH, CardinalKind.PEAK


@pytest.mark.parametrize(
    ("day", "labels", "periods"),
    [
        (WINTER, (30, 30), (1, 1)),
        (WINTER, (100, 130), (2, 3)),
        (WINTER, (830, 1200), (17, 24)),
        (WINTER, (2400, 2400), (48, 48)),
        (SUMMER, (30, 2400), (1, 48)),
        # The clocks go forward: half-hours end 0:30, 1:00, 2:30, 3:00 …
        (SPRING, (30, 30), (1, 1)),
        (SPRING, (100, 130), (2, 2)),
        (SPRING, (200, 230), (3, 3)),
        (SPRING, (130, 200), None),
        (SPRING, (400, 400), (6, 6)),
        (SPRING, (2400, 2400), (46, 46)),
        # The clocks go back: half-hours end 0:30, 1:00, 1:30, 2:00, 1:30, 2:00, 2:30 …
        (AUTUMN, (100, 130), (2, 3)),
        (AUTUMN, (200, 230), (4, 7)),
        (AUTUMN, (130, 130), (3, 3)),
        (AUTUMN, (400, 400), (10, 10)),
        (AUTUMN, (2400, 2400), (50, 50)),
    ],
)
def test_clock_labels_name_settlement_periods(
    day: date, labels: tuple[int, int], periods: tuple[int, int] | None
) -> None:
    assert periods_between(day, *labels) == periods


@pytest.mark.parametrize(
    ("day", "label", "start"),
    [
        (SPRING, 30, datetime(2026, 3, 29, 0, 0, tzinfo=UTC)),
        (SPRING, 230, datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        (SPRING, 800, datetime(2026, 3, 29, 6, 30, tzinfo=UTC)),
        (SPRING, 2400, datetime(2026, 3, 29, 22, 30, tzinfo=UTC)),
        (AUTUMN, 30, datetime(2026, 10, 24, 23, 0, tzinfo=UTC)),
        (AUTUMN, 130, datetime(2026, 10, 25, 0, 0, tzinfo=UTC)),
        (AUTUMN, 230, datetime(2026, 10, 25, 2, 0, tzinfo=UTC)),
        (AUTUMN, 2400, datetime(2026, 10, 25, 23, 30, tzinfo=UTC)),
        (SUMMER, 30, datetime(2026, 7, 31, 23, 0, tzinfo=UTC)),
        (WINTER, 800, datetime(2026, 12, 1, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_fixed_point_stands_at_its_utc_half_hour(day: date, label: int, start: datetime) -> None:
    periods = periods_between(day, label, label)
    assert periods is not None
    (row,) = half_hourly(day, [CardinalPoint(FIXED, *periods, 25_000)])
    assert (row.start, row.demand_mw, row.is_interpolated) == (start, 25_000, False)


def curve(*points: CardinalPoint) -> dict[int, float]:
    rows = half_hourly(WINTER, points)
    starts = [settlement_period_start(WINTER, period) for period in range(points[0].first, points[-1].last + 1)]
    assert [row.start for row in rows] == starts
    return {points[0].first + n: row.demand_mw for n, row in enumerate(rows)}


def test_between_two_points_the_curve_is_straight() -> None:
    assert curve(CardinalPoint(FIXED, 1, 1, 20_000), CardinalPoint(FIXED, 5, 5, 24_000)) == {
        1: 20_000,
        2: 21_000,
        3: 22_000,
        4: 23_000,
        5: 24_000,
    }


def test_a_peak_above_its_neighbours_stands_in_the_middle_of_its_window() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 30_000),
        CardinalPoint(PEAK, 2, 6, 33_000),
        CardinalPoint(FIXED, 7, 7, 30_000),
    )
    assert values == {1: 30_000, 2: 31_000, 3: 32_000, 4: 33_000, 5: 32_000, 6: 31_000, 7: 30_000}


def test_a_trough_below_its_neighbours_stands_in_the_middle_of_its_window() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 30_000),
        CardinalPoint(TROUGH, 2, 4, 28_000),
        CardinalPoint(FIXED, 5, 5, 30_000),
    )
    assert values == {1: 30_000, 2: 29_000, 3: 28_000, 4: 29_000, 5: 30_000}


def test_a_peak_passed_on_the_way_up_is_the_last_half_hour_of_its_window() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 30_000),
        CardinalPoint(PEAK, 2, 4, 33_000),
        CardinalPoint(FIXED, 5, 5, 36_000),
    )
    assert values == {1: 30_000, 2: 31_000, 3: 32_000, 4: 33_000, 5: 36_000}


def test_a_peak_passed_on_the_way_down_is_the_first_half_hour_of_its_window() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 36_000),
        CardinalPoint(PEAK, 2, 4, 33_000),
        CardinalPoint(FIXED, 5, 5, 30_000),
    )
    assert values == {1: 36_000, 2: 33_000, 3: 32_000, 4: 31_000, 5: 30_000}


def test_a_trough_passed_on_the_way_down_is_the_last_half_hour_of_its_window() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 36_000),
        CardinalPoint(TROUGH, 2, 4, 33_000),
        CardinalPoint(FIXED, 5, 5, 30_000),
    )
    assert values == {1: 36_000, 2: 35_000, 3: 34_000, 4: 33_000, 5: 30_000}


def test_a_peak_between_higher_points_is_level() -> None:
    values = curve(
        CardinalPoint(FIXED, 1, 1, 36_000),
        CardinalPoint(PEAK, 2, 4, 30_000),
        CardinalPoint(FIXED, 5, 5, 36_000),
    )
    assert values == {1: 36_000, 2: 30_000, 3: 30_000, 4: 30_000, 5: 36_000}


def test_half_hours_on_the_curve_say_so() -> None:
    rows = half_hourly(WINTER, [CardinalPoint(FIXED, 1, 1, 20_000), CardinalPoint(FIXED, 4, 4, 23_000)])
    assert [row.is_interpolated for row in rows] == [False, True, True, False]


@st.composite
def days_of_points(draw: st.DrawFn) -> tuple[date, list[CardinalPoint]]:
    day = draw(st.sampled_from([WINTER, SUMMER, SPRING, AUTUMN]))
    edges = draw(
        st.lists(st.integers(1, settlement_periods_in(day)), min_size=2, max_size=16, unique=True).map(sorted)
    )
    points = []
    for first, last in zip(edges[::2], edges[1::2], strict=False):
        kind = draw(st.sampled_from(list(CardinalKind)))
        demand_mw = draw(st.integers(16_000, 45_000))
        points.append(CardinalPoint(kind, first, first if kind is FIXED else last, demand_mw))
    return day, points


@given(days_of_points())
def test_every_point_is_the_extreme_of_its_window(drawn: tuple[date, list[CardinalPoint]]) -> None:
    day, points = drawn
    rows = half_hourly(day, points)
    assert all(after.start - before.start == HALF_HOUR for before, after in pairwise(rows))
    demand_mw = {points[0].first + n: row.demand_mw for n, row in enumerate(rows)}
    assert max(demand_mw) == points[-1].last
    for point in points:
        window = [demand_mw[period] for period in range(point.first, point.last + 1)]
        assert (min if point.kind is TROUGH else max)(window) == point.demand_mw
    lowest, highest = min(p.demand_mw for p in points), max(p.demand_mw for p in points)
    assert all(lowest <= mw <= highest for mw in demand_mw.values())
