"""The bank holidays of England and Wales, worked out.

Eight a year by the Banking and Financial Dealings Act 1971 and the custom since: one that falls on a weekend is
kept on the next weekday that is none. Holidays that were moved or added by proclamation are listed by their dates.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

MONDAY, SATURDAY = 0, 5

_MOVED: dict[date, date] = {
    date(2020, 5, 4): date(2020, 5, 8),  # 75 years of VE day
    date(2022, 5, 30): date(2022, 6, 2),  # the Platinum Jubilee
}
_ADDED = (
    date(2022, 6, 3),  # the Platinum Jubilee
    date(2022, 9, 19),  # the state funeral of Queen Elizabeth II
    date(2023, 5, 8),  # the coronation of King Charles III
)


@lru_cache(maxsize=64)
def bank_holidays(year: int) -> frozenset[date]:
    """Those of a year, from 2019 on."""
    easter = _easter_sunday(year)
    days = [
        easter - timedelta(days=2),
        easter + timedelta(days=1),
        _first_monday(year, 5),
        _last_monday(year, 5),
        _last_monday(year, 8),
    ]
    days = [_MOVED.get(day, day) for day in days]
    for kept in (date(year, 1, 1), date(year, 12, 25), date(year, 12, 26)):
        # Christmas Day and Boxing Day both on a weekend: the first is kept on Monday, the second on Tuesday.
        while kept.weekday() >= SATURDAY or kept in days:
            kept += timedelta(days=1)
        days.append(kept)
    return frozenset(days) | {day for day in _ADDED if day.year == year}


def is_working_day(day: date) -> bool:
    """Neither a weekend nor a bank holiday of England and Wales."""
    return day.weekday() < SATURDAY and day not in bank_holidays(day.year)


def _easter_sunday(year: int) -> date:
    """The anonymous Gregorian computus (Meeus, Astronomical Algorithms, chapter 8)."""
    century, in_century = divmod(year, 100)
    leap_centuries, rest = divmod(century, 4)
    correction = (century + 8) // 25
    moon = (19 * (year % 19) + century - leap_centuries - (century - correction + 1) // 3 + 15) % 30
    quarters, odd = divmod(in_century, 4)
    weekday = (32 + 2 * rest + 2 * quarters - moon - odd) % 7
    late = (year % 19 + 11 * moon + 22 * weekday) // 451
    month, day = divmod(moon + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _first_monday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(MONDAY - first.weekday()) % 7)


def _last_monday(year: int, month: int) -> date:
    last = date(year, month + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - MONDAY) % 7)
