"""Half-hours in UTC and the settlement periods of the British market.

A half-hour is named by its start, a timezone-aware UTC datetime on :00 or :30. A settlement period is the
market's name for it: period 1 starts at midnight in London, so a settlement day has 46, 48 or 50 periods
(Elexon, Balancing and Settlement Code).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, TypeAdapter

UTC = timezone.utc
HALF_HOUR = timedelta(minutes=30)
LONDON = ZoneInfo("Europe/London")

_RFC3339: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: `moment` has no timezone, so it could be any of several moments; or it is in no year from 1
            to 9999 of UTC.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no timezone: write it in UTC with a trailing Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is out of range") from None


def half_hour_of(moment: datetime) -> datetime:
    """Start of the half-hour that contains `moment`."""
    utc = as_utc(moment)
    return utc.replace(minute=30 * (utc.minute // 30), second=0, microsecond=0)


def is_half_hour(moment: datetime) -> bool:
    """Whether `moment` is itself the start of a half-hour."""
    return half_hour_of(moment) == moment


def half_hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """Every half-hour start in [start, end), beginning with the half-hour that contains `start`."""
    slot = half_hour_of(start)
    while slot < end:
        yield slot
        slot += HALF_HOUR


def rfc3339(moment: datetime) -> str:
    """`moment` as RFC 3339 in UTC with `Z`, with fractions of a second only when there are any."""
    return _text_of_utc(moment if moment.tzinfo is UTC else as_utc(moment))


@lru_cache(4096)
def _text_of_utc(moment: datetime) -> str:
    # Kept, since a decision writes the same few half-hours again and again. Only of UTC: elsewhere the two moments
    # that bear one name when clocks go back are equal.
    return moment.isoformat().replace("+00:00", "Z")


def from_rfc3339(text: str) -> datetime:
    """The moment that a database or an API wrote as RFC 3339, in UTC.

    Python 3.10's `fromisoformat` takes no `Z`, and three or six decimals of a second only; PostgreSQL leaves out
    zeros at the end.

    Raises:
        ValueError: `text` is no such time.
    """
    return as_utc(_RFC3339.validate_python(text))


def settlement_date(start: datetime) -> date:
    """The London calendar day a half-hour belongs to."""
    return as_utc(start).astimezone(LONDON).date()


def settlement_period(start: datetime) -> int:
    """Settlement period (1 to 50) of the half-hour that starts at `start`."""
    midnight = _london_midnight(settlement_date(start))
    return int((half_hour_of(start) - midnight) / HALF_HOUR) + 1


def settlement_periods_in(day: date) -> int:
    """How many settlement periods `day` has: 46 when the clocks go forward, 50 when back, else 48."""
    return int((_london_midnight(day + timedelta(days=1)) - _london_midnight(day)) / HALF_HOUR)


def settlement_period_start(day: date, period: int) -> datetime:
    """UTC start of settlement period `period` of `day`.

    Raises:
        ValueError: the day has no such period.
    """
    if not 1 <= period <= settlement_periods_in(day):
        raise ValueError(f"{day} has settlement periods 1 to {settlement_periods_in(day)}, not {period}")
    return _london_midnight(day) + (period - 1) * HALF_HOUR


def _london_midnight(day: date) -> datetime:
    # To UTC before any arithmetic: adding inside the London zone would ignore a clock change.
    return datetime(day.year, day.month, day.day, tzinfo=LONDON).astimezone(UTC)
