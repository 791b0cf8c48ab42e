"""Baselines: which days are history, by the calendar of England and Wales, and what they come to."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from flexibility.rules.bank_holidays import bank_holidays, is_working_day
from flexibility.rules.baseline import (
    InDay,
    NoBaseline,
    baseline_days,
    baseline_of,
    in_day_half_hours,
    place_in_day,
)
from flexibility.rules.exact import mean
from grid.half_hours import HALF_HOUR, settlement_period, settlement_period_start, settlement_periods_in

TUESDAY = date(2026, 11, 24)

# As gov.uk lists them.
BANK_HOLIDAYS = {
    2020: "01-01 04-10 04-13 05-08 05-25 08-31 12-25 12-28",
    2021: "01-01 04-02 04-05 05-03 05-31 08-30 12-27 12-28",
    2022: "01-03 04-15 04-18 05-02 06-02 06-03 08-29 09-19 12-26 12-27",
    2023: "01-02 04-07 04-10 05-01 05-08 05-29 08-28 12-25 12-26",
    2026: "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28",
    2027: "01-01 03-26 03-29 05-03 05-31 08-30 12-27 12-28",
    2028: "01-03 04-14 04-17 05-01 05-29 08-28 12-25 12-26",
}


@pytest.mark.parametrize("year", BANK_HOLIDAYS)
def test_bank_holidays_are_those_of_england_and_wales(year: int) -> None:
    expected = {date.fromisoformat(f"{year}-{day}") for day in BANK_HOLIDAYS[year].split()}
    assert bank_holidays(year) == expected


def days(day: date, event_days: Collection[date] = ()) -> list[date]:
    return list(baseline_days(day, is_metered=bool, event_days=event_days))


def november(*numbers: int) -> list[date]:
    return [date(2026, 11, number) for number in numbers]


def test_a_working_day_has_the_ten_before_it_without_the_day_of_an_event() -> None:
    assert days(TUESDAY, november(19)) == november(23, 20, 18, 17, 16, 13, 12, 11, 10, 9)


def test_a_saturday_has_the_four_before_it_without_the_day_the_clocks_go_back() -> None:
    assert settlement_periods_in(date(2026, 10, 25)) == 50
    assert days(date(2026, 10, 31)) == [date(2026, 10, day) for day in (24, 18, 17, 11)]


def test_the_day_after_a_bank_holiday_skips_it() -> None:
    assert days(date(2026, 9, 1))[0] == date(2026, 8, 28)
    assert not is_working_day(date(2026, 8, 31))


def test_a_bank_holiday_is_no_working_day_and_has_weekends_and_holidays_for_history() -> None:
    assert days(date(2026, 8, 31)) == [date(2026, 8, day) for day in (30, 29, 23, 22)]


def test_history_goes_back_sixty_days_and_no_further() -> None:
    first, before = TUESDAY - timedelta(days=60), TUESDAY - timedelta(days=61)
    metered = {first, before, TUESDAY}
    assert baseline_days(TUESDAY, is_metered=metered.__contains__, event_days=()) == (first,)


def decimals(text: str) -> list[Decimal]:
    return [Decimal(word) for word in text.split()]


def test_the_mean_of_ten_days() -> None:
    assert mean(decimals("4.9 5.1 5.0 5.0 4.8 5.2 5.0 5.0 4.9 5.1")) == Decimal("5.00")


def flat(mwh: str) -> list[Decimal]:
    return [Decimal(mwh)] * 48


def event_half_hours(day: date = TUESDAY, first: int = 25, count: int = 4) -> list[datetime]:
    return [settlement_period_start(day, first) + place * HALF_HOUR for place in range(count)]


def test_a_half_hour_is_the_mean_of_the_same_half_hour_of_its_days() -> None:
    profiles = decimals("4.9 5.1 5.0 5.0 4.8 5.2 5.0 5.0 4.9 5.1")
    history = {day: flat("1") for day in days(TUESDAY)}
    for past, mwh in zip(days(TUESDAY), profiles, strict=True):
        history[past][24] = mwh
    baseline = baseline_of(event_half_hours(), history)
    assert baseline.mwh == (Decimal("5.00"), Decimal(1), Decimal(1), Decimal(1))
    assert (baseline.in_day, baseline.is_short) == (InDay.NONE, False)
    assert baseline.adjustment_mwh == 0


def test_the_in_day_adjustment_is_the_mean_error_before_gate_closure() -> None:
    before = in_day_half_hours(event_half_hours()[0])
    assert [settlement_period(start) for start in before] == [17, 18, 19, 20, 21, 22]
    unadjusted = decimals("4.8 4.9 5.0 5.0 4.9 5.0")
    profile = flat("5")
    for start, mwh in zip(before, unadjusted, strict=True):
        profile[place_in_day(start)] = mwh
    metered = dict(zip(before, decimals("4.9 5.0 5.1 5.1 5.0 5.1"), strict=True))
    history = dict.fromkeys(days(TUESDAY), profile)
    baseline = baseline_of(event_half_hours(), history, in_day=InDay.ADDITIVE, metered_today=metered)
    assert baseline.adjustment_mwh == Decimal("0.10")
    assert baseline.mwh == (Decimal("5.10"),) * 4


def test_an_adjustment_without_readings_is_refused() -> None:
    history = dict.fromkeys(days(TUESDAY), flat("5"))
    with pytest.raises(NoBaseline, match="before gate closure"):
        baseline_of(event_half_hours(), history, in_day=InDay.ADDITIVE)


def test_too_few_days_are_used_and_said_and_none_are_refused() -> None:
    two = dict.fromkeys(days(TUESDAY)[:2], flat("3"))
    baseline = baseline_of(event_half_hours(), two)
    assert (baseline.is_short, baseline.days, baseline.wanted_days) == (True, tuple(days(TUESDAY)[:2]), 10)
    with pytest.raises(NoBaseline, match="none of the 60 days"):
        baseline_of(event_half_hours(), {})


def test_the_day_of_a_clock_change_is_matched_by_the_clock() -> None:
    autumn = date(2026, 10, 25)
    starts = [datetime(2026, 10, 25, hour, tzinfo=timezone.utc) for hour in (0, 1)]
    assert [place_in_day(start) for start in starts] == [2, 2], "01:00 comes twice"
    profile = flat("1")
    profile[2] = Decimal(7)
    history = dict.fromkeys(days(autumn), profile)
    assert baseline_of(starts, history).mwh == (Decimal(7), Decimal(7))


def test_a_baseline_is_of_one_day() -> None:
    two_days = [settlement_period_start(TUESDAY, 48), settlement_period_start(TUESDAY, 48) + HALF_HOUR]
    with pytest.raises(ValueError, match="one day"):
        baseline_of(two_days, {})
