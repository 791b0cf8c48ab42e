"""The baseline BL01: what a site would have drawn, from what it drew on the latest days of the same kind.

The rule is known second-hand only. What it leaves open is fixed here and nowhere else: half-hours are matched by the
London clock, so that the day of a clock change can have a baseline although it can be no history for one; with fewer
eligible days than wanted those there are count, at least one, and the baseline says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice

from flexibility.rules.bank_holidays import is_working_day
from flexibility.rules.exact import exactly, mean
from flexibility.rules.gate_closure import gate_closure
from grid.half_hours import HALF_HOUR, LONDON, as_utc, settlement_periods_in
from vocabulary import StrEnum

METHOD = "BL01"
VERSION = "1"
"""Of this reading of the method; stored with every baseline."""

DAYS_BACK = 60
WORKING_DAYS, NON_WORKING_DAYS = 10, 4
ORDINARY_PERIODS = 48
IN_DAY_PERIODS = 6

DayProfile = Sequence[Decimal]
"""What was metered in the 48 half-hours of a day, MWh, from London's midnight on."""


class InDay(StrEnum):
    """Whether the hours just before gate closure move the baseline of the active half-hours."""

    ADDITIVE = "additive"
    NONE = "none"


class NoBaseline(ValueError):
    """No eligible day: there is nothing to measure against."""


@dataclass(frozen=True)
class Baseline:
    """What a site is taken to have drawn without the event, MWh by half-hour."""

    days: tuple[date, ...]
    """The history, newest day first."""
    wanted_days: int
    unadjusted_mwh: tuple[Decimal, ...]
    adjustment_mwh: Decimal
    in_day: InDay

    @property
    def is_short(self) -> bool:
        """Whether fewer days were eligible than the method wants."""
        return len(self.days) < self.wanted_days

    @property
    def mwh(self) -> tuple[Decimal, ...]:
        return tuple(unadjusted + self.adjustment_mwh for unadjusted in self.unadjusted_mwh)


def wanted_days(day: date) -> int:
    """How many days of history a day's baseline takes."""
    return WORKING_DAYS if is_working_day(day) else NON_WORKING_DAYS


def baseline_days(day: date, *, is_metered: Callable[[date], bool], event_days: Collection[date]) -> tuple[date, ...]:
    """The days that a day's baseline is made of, newest first.

    Of the 60 days before it: those of the same kind (working or not), without a clock change, without an event, and
    metered throughout; the newest 10 or 4 of them.
    """
    working = is_working_day(day)
    candidates = (day - timedelta(days=back) for back in range(1, DAYS_BACK + 1))
    eligible = (
        past
        for past in candidates
        if is_working_day(past) is working
        and settlement_periods_in(past) == ORDINARY_PERIODS
        and past not in event_days
        and is_metered(past)
    )
    return tuple(islice(eligible, wanted_days(day)))


@exactly
def baseline_of(
    half_hours: Sequence[datetime],
    history: Mapping[date, DayProfile],
    *,
    event_days: Collection[date] = (),
    in_day: InDay = InDay.NONE,
    metered_today: Mapping[datetime, Decimal] | None = None,
) -> Baseline:
    """The baseline of an event's half-hours.

    Args:
        half_hours: the starts of the event's half-hours, in order, all of one London day.
        history: the days that are metered throughout.
        event_days: days that had an event, and so are no history.
        in_day: `none` where the only activity is a wholesale trade (P415).
        metered_today: for `additive`, what was metered in the six half-hours before gate closure.

    Raises:
        NoBaseline: no day is eligible, or an in-day adjustment has no readings.
    """
    day = _london_day(half_hours)
    days = baseline_days(day, is_metered=history.__contains__, event_days=event_days)
    if not days:
        raise NoBaseline(f"none of the {DAYS_BACK} days before {day} can be history for a baseline")

    def unadjusted_mwh(start: datetime) -> Decimal:
        return mean([history[past][place_in_day(start)] for past in days])

    adjustment_mwh = Decimal(0)
    if in_day is InDay.ADDITIVE:
        before = in_day_half_hours(half_hours[0])
        metered = metered_today or {}
        if not all(start in metered for start in before):
            raise NoBaseline("the half-hours before gate closure are not metered")
        adjustment_mwh = mean([metered[start] - unadjusted_mwh(start) for start in before])
    return Baseline(
        days=days,
        wanted_days=wanted_days(day),
        unadjusted_mwh=tuple(unadjusted_mwh(start) for start in half_hours),
        adjustment_mwh=adjustment_mwh,
        in_day=in_day,
    )


def in_day_half_hours(first_active: datetime) -> tuple[datetime, ...]:
    """The six half-hours before the gate closure of the first active one."""
    closes = gate_closure(first_active)
    return tuple(closes - back * HALF_HOUR for back in range(IN_DAY_PERIODS, 0, -1))


def place_in_day(start: datetime) -> int:
    """Which of a day's 48 half-hours by the London clock, from 0; those that an autumn day repeats share one."""
    local = as_utc(start).astimezone(LONDON)
    return 2 * local.hour + local.minute // 30


def _london_day(half_hours: Sequence[datetime]) -> date:
    days = {as_utc(start).astimezone(LONDON).date() for start in half_hours}
    if len(days) != 1:
        raise ValueError("the half-hours of a baseline must lie in one day of London")
    return days.pop()
