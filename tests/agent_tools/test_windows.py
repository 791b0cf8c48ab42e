"""The best windows of a forecast, beside all that there are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.windows import Columns, best_windows, extreme
from grid.half_hours import HALF_HOUR

START = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
figures = st.lists(st.one_of(st.none(), st.integers(min_value=-50, max_value=400)), min_size=1, max_size=20)


@given(
    figures,
    figures,
    st.integers(min_value=1, max_value=240),
    st.integers(min_value=0, max_value=29),
    st.one_of(st.none(), st.integers(min_value=0, max_value=600)),
    st.booleans(),
)
def test_the_first_is_the_best_that_ends_in_time_and_none_overlap(
    carbon: list[float | None],
    prices: list[float | None],
    minutes: int,
    into: int,
    deadline_minutes: int | None,
    by_price: bool,
) -> None:
    now, duration = START + timedelta(minutes=into), timedelta(minutes=minutes)
    deadline = None if deadline_minutes is None else START + timedelta(minutes=deadline_minutes)
    columns, costs = Columns(START, carbon), Columns(START, prices)
    found = best_windows(
        {7: columns}, costs, now=now, duration=duration, earliest=None, deadline=deadline, by_price=by_price, most=3
    )
    judged = costs if by_price else columns
    starts = [now, *(START + place * HALF_HOUR for place in range(1, len(carbon)))]
    means = [
        mean
        for start in starts
        if (mean := judged.mean(start, start + duration)) is not None
        and (deadline is None or start + duration <= deadline)
    ]
    assert bool(found) is bool(means)
    if found:
        assert (found[0].price if by_price else found[0].carbon) == pytest.approx(min(means))
    for number, window in enumerate(found):
        assert all(window.end <= other.start or other.end <= window.start for other in found[:number])


def test_a_mean_weighs_each_half_hour_by_how_much_of_it_is_taken() -> None:
    columns = Columns(START, [100, 200, None])
    assert columns.mean(START + timedelta(minutes=15), START + timedelta(minutes=45)) == 150
    assert columns.mean(START, START + timedelta(minutes=45)) == pytest.approx(400 / 3)
    assert columns.mean(START, START + timedelta(minutes=61)) is None
    assert columns.mean(START - HALF_HOUR, START) is None


def test_extremes_are_the_first_of_their_kind() -> None:
    assert extreme(Columns(START, [None, 5, 3, 3]), min) == (START + 2 * HALF_HOUR, 3)
    assert extreme(Columns(START, [None]), max) is None


def test_a_column_is_of_the_half_hours_even_where_a_row_is_missing() -> None:
    rows = [{"timestamp": "2026-11-22T08:00:00Z", "x": 1}, {"timestamp": "2026-11-22T09:00:00Z", "x": 3}]
    assert Columns.of("2026-11-22T08:00:00Z", rows, "x").figures == [1, None, 3]
