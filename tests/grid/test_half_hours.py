"""Half-hours and settlement periods, with the vectors of the market's clock-change days."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import (
    HALF_HOUR,
    UTC,
    as_utc,
    from_rfc3339,
    half_hour_of,
    half_hours,
    is_half_hour,
    rfc3339,
    settlement_date,
    settlement_period,
    settlement_period_start,
    settlement_periods_in,
)

DAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 31))
MOMENTS = st.builds(datetime.combine, DAYS, st.times(), st.just(UTC))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "periods", "starts"),
    [
        ("2026-03-29", 46, {1: "2026-03-29T00:00", 3: "2026-03-29T01:00", 46: "2026-03-29T22:30"}),
        (
            "2026-10-25",
            50,
            {
                1: "2026-10-24T23:00",
                3: "2026-10-25T00:00",
                5: "2026-10-25T01:00",
                50: "2026-10-25T23:30",
            },
        ),
        ("2026-08-01", 48, {1: "2026-07-31T23:00", 48: "2026-08-01T22:30"}),
        ("2026-12-01", 48, {1: "2026-12-01T00:00", 48: "2026-12-01T23:30"}),
    ],
)
def test_settlement_periods_of_clock_change_and_ordinary_days(day: str, periods: int, starts: dict[int, str]) -> None:
    settlement_day = date.fromisoformat(day)
    assert settlement_periods_in(settlement_day) == periods
    for period, start in starts.items():
        assert settlement_period_start(settlement_day, period) == utc(start)
        assert settlement_period(utc(start)) == period
        assert settlement_date(utc(start)) == settlement_day


@pytest.mark.parametrize("period", [0, 47, -1])
def test_a_day_has_no_other_periods(period: int) -> None:
    with pytest.raises(ValueError, match="has settlement periods 1 to 46, not"):
        settlement_period_start(date(2026, 3, 29), period)


@given(DAYS)
def test_the_periods_of_a_day_are_its_half_hours_in_order(day: date) -> None:
    starts = [settlement_period_start(day, period) for period in range(1, settlement_periods_in(day) + 1)]
    assert {later - earlier for earlier, later in pairwise(starts)} == {HALF_HOUR}
    assert [settlement_period(start) for start in starts] == list(range(1, len(starts) + 1))
    assert {settlement_date(start) for start in starts} == {day}
    assert settlement_period_start(day + timedelta(days=1), 1) == starts[-1] + HALF_HOUR


@given(MOMENTS)
def test_every_moment_is_in_its_half_hour(moment: datetime) -> None:
    start = half_hour_of(moment)
    assert start <= moment < start + HALF_HOUR
    assert is_half_hour(start)
    assert (start.minute in (0, 30), start.second, start.microsecond) == (True, 0, 0)


def test_half_hours_begin_with_the_one_that_contains_the_start_and_leave_out_the_end() -> None:
    found = list(half_hours(utc("2026-11-22T08:14"), utc("2026-11-22T09:30")))
    assert found == [utc("2026-11-22T08:00"), utc("2026-11-22T08:30"), utc("2026-11-22T09:00")]
    assert list(half_hours(utc("2026-11-22T08:00"), utc("2026-11-22T08:00"))) == []


def test_times_of_other_zones_are_the_same_moment_in_utc() -> None:
    in_delhi = datetime(2026, 11, 22, 13, 44, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert as_utc(in_delhi) == utc("2026-11-22T08:14")
    assert as_utc(in_delhi).tzinfo is UTC
    assert half_hour_of(in_delhi) == utc("2026-11-22T08:00")
    assert rfc3339(in_delhi) == "2026-11-22T08:14:00Z"


def test_a_time_without_a_zone_is_refused() -> None:
    for function in (as_utc, half_hour_of, rfc3339, settlement_period):
        with pytest.raises(ValueError, match="has no timezone"):
            function(datetime.fromisoformat("2026-11-22T08:14:00"))


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-00:01"])
def test_a_time_that_utc_has_no_year_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        as_utc(datetime.fromisoformat(text))


def test_rfc3339_shows_fractions_of_a_second_only_where_there_are_any() -> None:
    assert rfc3339(utc("2026-11-22T08:14:05")) == "2026-11-22T08:14:05Z"
    assert rfc3339(utc("2026-11-22T08:14:05.250000")) == "2026-11-22T08:14:05.250000Z"


@given(MOMENTS)
def test_rfc3339_loses_nothing(moment: datetime) -> None:
    assert from_rfc3339(rfc3339(moment)) == moment


@pytest.mark.parametrize("decimals", ["", ".2", ".25", ".250", ".2500", ".25000", ".250000"])
@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30"])
def test_rfc3339_is_read_with_any_number_of_decimals(decimals: str, zone: str) -> None:
    moment = from_rfc3339(f"2026-11-22T08:14:05{decimals}{zone}")
    assert moment.tzinfo is UTC
    assert moment.microsecond == {"": 0, ".2": 200_000}.get(decimals, 250_000)
    assert moment.hour == (2 if zone == "+05:30" else 8)


@pytest.mark.parametrize("text", ["", "today", "2026-11-22T08:14:05", "0001-01-01T00:00:00+14:00"])
def test_other_text_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        from_rfc3339(text)
