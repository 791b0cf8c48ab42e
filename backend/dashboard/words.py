"""Figures, ages and times as a page writes them. Unknown is a word, never a zero."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

from grid.half_hours import LONDON, as_utc
from vocabulary import SignalSource

UNKNOWN = "unknown"
STALE_AFTER = timedelta(minutes=45)
"""How old a figure may be before a page says that it is."""

SOURCE_WORDS = {
    SignalSource.CARBON_INTENSITY_API: "Carbon Intensity API",
    SignalSource.NESO: "NESO",
    SignalSource.ELEXON: "Elexon",
    SignalSource.MODELLED: "modelled",
    SignalSource.SYNTHETIC: "synthetic",
}

_LEAST_DIGITS, _MOST_DECIMALS = 2, 6
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)")
_MINUS = "\u2212"
_THIN_SPACE = "\u202f"


def number(value: float | None, decimals: int = 0) -> str:
    """`12 345.6`; `unknown` for None. A true minus sign, a narrow space between thousands."""
    if value is None:
        return UNKNOWN
    text = f"{value:,.{decimals}f}".replace(",", _THIN_SPACE)
    if text.lstrip("-").strip("0.") == "":
        text = text.lstrip("-")  # no negative zero
    return text.replace("-", _MINUS)


def figure(value: float | None, unit: str, decimals: int = 0) -> str:
    """A number and its unit, or `unknown`."""
    return UNKNOWN if value is None else f"{number(value, decimals)} {unit}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number of which so many digits tell something, also far below 1: `172`, `43.0`, `0.00217`."""
    return number(value, _decimals_of(value, digits))


def pounds(value: float | None, decimals: int = 2) -> str:
    """`£1.20`, `−£0.35`, or `unknown`; with more decimals where those would show nearly nothing: `£0.00047`."""
    if value is None:
        return UNKNOWN
    text = number(abs(value), decimals if decimals == 0 else max(decimals, _decimals_of(value, _LEAST_DIGITS)))
    is_zero = text.strip("0.") == ""
    if is_zero:
        text = number(0.0, decimals)
    return f"{_MINUS if value < 0 and not is_zero else ''}£{text}"


def grams(value: float | None) -> str:
    """An amount of carbon: grams below a kilogram, kilograms below a tonne, tonnes above."""
    if value is None:
        return UNKNOWN
    for unit, size in (("t", 1e6), ("kg", 1e3)):
        if abs(value) >= size:
            return f"{number(value / size, 2 if abs(value) < 10 * size else 1)} {unit}"
    text = number(value, _decimals_of(value, _LEAST_DIGITS))
    return f"{number(0.0) if text.strip('0.') == '' else text} g"


def kilowatt_hours(value: float | None) -> str:
    """An amount of energy: kilowatt-hours below a thousand, megawatt-hours above."""
    if value is None:
        return UNKNOWN
    return f"{significant(value / 1000)} MWh" if abs(value) >= 1000 else f"{significant(value)} kWh"


def _decimals_of(value: float | None, digits: int) -> int:
    """How many decimals show so many digits that tell something; a number of whole ones needs none."""
    if not value:
        return 0
    return min(_MOST_DECIMALS, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def duration(span: timedelta) -> str:
    """`4 min`, `2 h 10 min`, `3 days`."""
    minutes = round(abs(span).total_seconds() / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / 24)} days"


def span(length: timedelta) -> str:
    """How long something takes: `30 s`, and from a minute on as `duration`."""
    return f"{round(length.total_seconds())} s" if length < timedelta(minutes=1) else duration(length)


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago `moment` was: `4 min old`, `unknown age`."""
    return "unknown age" if moment is None else f"{duration(now - moment)} old"


def from_now(moment: datetime, now: datetime) -> str:
    """`now`, `in 2 h`, `30 min ago`."""
    span = moment - now
    if abs(span) < timedelta(minutes=1):
        return "now"
    return f"in {duration(span)}" if span > timedelta(0) else f"{duration(span)} ago"


def is_stale(moment: datetime | None, now: datetime) -> bool:
    """Whether a figure fetched at `moment` is too old to pass for the present one."""
    return moment is not None and now - moment > STALE_AFTER


def utc_time(moment: datetime) -> str:
    """`08:30`."""
    return as_utc(moment).strftime("%H:%M")


def utc_seconds(moment: datetime) -> str:
    """`Sat 28 Nov 08:30:05 UTC`."""
    return f"{utc_day(moment)} {as_utc(moment):%H:%M:%S} UTC"


def utc_day(moment: datetime) -> str:
    """`Sat 28 Nov`."""
    utc = as_utc(moment)
    return f"{utc:%a} {utc.day} {utc:%b}"


def utc_words(moment: datetime | None) -> str:
    """`Sat 28 Nov 08:30 UTC`, or a dash."""
    return "–" if moment is None else f"{utc_day(moment)} {utc_time(moment)} UTC"


def span_words(start: datetime, end: datetime) -> str:
    """`Sat 28 Nov 08:30 to 09:30 UTC`; the day again where it is another one."""
    ends = utc_time(end) if utc_day(start) == utc_day(end) else f"{utc_day(end)} {utc_time(end)}"
    return f"{utc_day(start)} {utc_time(start)} to {ends} UTC"


def london_day(moment: datetime) -> str:
    """`Sat 28`: the day of the British calendar."""
    local = as_utc(moment).astimezone(LONDON)
    return f"{local:%a} {local.day}"


def british_words(moment: datetime) -> str:
    """The British clock: `08:30 GMT`, `09:30 BST`; right on the days the clocks change."""
    local = as_utc(moment).astimezone(LONDON)
    return f"{local:%H:%M} {local.tzname()}"


def source_words(source: str | None) -> str:
    """Where a figure comes from, in words."""
    if source is None:
        return "no source"
    try:
        return SOURCE_WORDS[SignalSource(source)]
    except ValueError:
        return source


def status_words(status: str) -> str:
    """A constant of the database as a person writes it: `DEFERRED_GRID_STRESS` is `deferred: grid stress`."""
    words = re.sub(r"\brag\b", "RAG", status.lower().replace("_", " "))
    return words.replace("deferred ", "deferred: ", 1)


def sentence(words: str) -> str:
    """With a capital at its beginning; names in it keep theirs."""
    return words[:1].upper() + words[1:]


def told(text: str | None) -> str:
    """What a program wrote, for people: `2026-11-29T02:11:01.05Z` in it becomes `Sun 29 Nov 02:11 UTC`."""
    return _MOMENT.sub(lambda found: _moment_told(found[0]), text or "")


def short_name(name: str) -> str:
    """Of a data centre's name its first part: the second says whose it is."""
    return name.split(", ", 1)[0]


def _moment_told(text: str) -> str:
    try:
        return utc_words(datetime.fromisoformat(f"{text[:16]}+00:00"))
    except ValueError:  # 2026-99-99T99:99Z
        return text
