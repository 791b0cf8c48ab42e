"""Reading values out of decoded JSON, believing nothing.

Python's JSON decoder lets `NaN` and `Infinity` through, which is wanted here: one such number then costs its
own row and not the whole answer. `bool` is an `int` to Python and never a number here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from grid.half_hours import HALF_HOUR, UTC, as_utc, is_half_hour, settlement_period_start
from upstreams.errors import UnusableAnswer
from upstreams.results import Findings, ProblemKind, RejectedRow

JsonObject = dict[str, object]
_Read = TypeVar("_Read")

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,7}))?)?(?:(Z)|([+-])(\d\d):(\d\d))?", re.ASCII
)
_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_NUMERAL = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?", re.ASCII)
# A time outside these years is a fault, and at the far ends arithmetic would overflow.
_YEARS = range(2000, 2100)


def list_at(answer: object, *path: str) -> list[object]:
    """The list at `path` inside an answer's objects.

    Raises:
        UnusableAnswer: there is none.
    """
    value = _at(answer, path)
    if not isinstance(value, list):
        raise UnusableAnswer(f"{'.'.join(path)} is {shown(value)}, not a list")
    return value


def object_at(answer: object, *path: str) -> JsonObject:
    """The object at `path` inside an answer's objects.

    Raises:
        UnusableAnswer: there is none.
    """
    value = _at(answer, path)
    if not isinstance(value, dict):
        raise UnusableAnswer(f"{'.'.join(path)} is {shown(value)}, not an object")
    return value


def read_rows(
    values: Sequence[object],
    read: Callable[[JsonObject], _Read | None],
    findings: Findings,
    *,
    named_by: str,
    within: str = "",
) -> list[_Read]:
    """What `read` makes of each row, without those it rejects; None means a row nobody asked for.

    Args:
        named_by: the field that tells a reader of the findings which row it was.
        within: what the rows are part of, for the same reader.
    """
    found = []
    for value in values:
        try:
            made = read(row_object(value, "the row"))
        except RejectedRow as verdict:  # noqa: PERF203 - a bad row must not cost the others
            name = f"{named_by} {shown(value.get(named_by))}" if isinstance(value, dict) else ""
            findings.reject(verdict, f"{within} {name}".strip())
        else:
            if made is not None:
                found.append(made)
    return found


def row_object(value: object, what: str) -> JsonObject:
    """A row, or part of one, as an object.

    Raises:
        RejectedRow: it is something else.
    """
    if not isinstance(value, dict):
        raise RejectedRow(ProblemKind.MALFORMED_ROW, f"{what} is {shown(value)}, not an object")
    return value


def row_list(value: object, what: str) -> list[object]:
    """Part of a row as a list.

    Raises:
        RejectedRow: it is something else.
    """
    if not isinstance(value, list):
        raise RejectedRow(ProblemKind.MALFORMED_ROW, f"{what} is {shown(value)}, not a list")
    return value


def number(value: object, what: str, lowest: float, highest: float) -> float:
    """A JSON number within [lowest, highest], as it was sent: an integer stays one.

    Raises:
        RejectedRow: null, a string, a boolean, NaN, an infinity, or beyond the limits.
    """
    if value is None:
        raise RejectedRow(ProblemKind.MISSING_VALUE, f"{what} is null")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RejectedRow(ProblemKind.NOT_A_NUMBER, f"{what} is {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RejectedRow(ProblemKind.NOT_A_NUMBER, f"{what} is {value}")
    if not lowest <= value <= highest:
        raise RejectedRow(ProblemKind.IMPLAUSIBLE, f"{what} is {shown(value)}, not within {lowest:g} to {highest:g}")
    return value


def number_or_numeral(value: object, what: str, lowest: float, highest: float) -> float:
    """As `number`, and a plain decimal numeral in a string counts too (NESO's columns arrive either way)."""
    if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    return number(value, what, lowest, highest)


def whole_number(value: object, what: str, lowest: int, highest: int) -> int:
    """As `number_or_numeral`, and without a fraction."""
    found = number_or_numeral(value, what, lowest, highest)
    if found != int(found):
        raise RejectedRow(ProblemKind.IMPLAUSIBLE, f"{what} is {found}, not a whole number")
    return int(found)


def moment(value: object, what: str, *, without_zone: timezone | None = None) -> datetime:
    """A time `YYYY-MM-DDThh:mm[:ss]` with `Z` or an offset, in UTC.

    Args:
        without_zone: the timezone of a route whose times carry none; by default such a time is malformed.

    Raises:
        RejectedRow: it is no such time.
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RejectedRow(ProblemKind.MALFORMED_TIME, f"{what} is {shown(value)}")
    year, month, day, hour, minute, second, fraction, zulu, sign, ahead_hours, ahead_minutes = match.groups()
    zone = UTC if zulu else without_zone
    try:
        if sign:
            ahead = timedelta(hours=int(ahead_hours), minutes=int(ahead_minutes))
            zone = timezone(-ahead if sign == "-" else ahead)
        if zone is None or int(year) not in _YEARS:
            raise RejectedRow(ProblemKind.MALFORMED_TIME, f"{what} is {shown(value)}")
        microsecond = int((fraction or "").ljust(6, "0")[:6])
        found = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, zone)
    except ValueError:
        raise RejectedRow(ProblemKind.MALFORMED_TIME, f"{what} is {shown(value)}") from None
    return as_utc(found)


def half_hour(value: object, what: str, *, without_zone: timezone | None = None) -> datetime:
    """As `moment`, and on :00 or :30.

    Raises:
        RejectedRow: it is not.
    """
    found = moment(value, what, without_zone=without_zone)
    if not is_half_hour(found):
        raise RejectedRow(ProblemKind.OFF_THE_HALF_HOUR, f"{what} is {shown(value)}")
    return found


def half_hour_from_to(row: JsonObject) -> datetime:
    """The start of a row whose `from` and `to` are half an hour apart.

    Raises:
        RejectedRow: they are not.
    """
    start = half_hour(row.get("from"), "from")
    if moment(row.get("to"), "to") != start + HALF_HOUR:
        raise RejectedRow(ProblemKind.WRONG_LENGTH, f"from {row['from']} to {row['to']}")
    return start


def settlement_period_contradiction(row: JsonObject, start: datetime) -> str | None:
    """Why a row's settlement date and period, where it has them, do not name the half-hour of `start`; else None.

    The two say again what the start time says, and where they differ the start time has been right in every known
    case: whoever asks keeps the row, and tells.
    """
    if "settlementDate" not in row and "settlementPeriod" not in row:
        return None
    text, period = row.get("settlementDate"), row.get("settlementPeriod")
    if _named_half_hour(text, period) == start:
        return None
    return f"settlement date {shown(text)} period {shown(period)} at {start:%Y-%m-%dT%H:%MZ}"


def _named_half_hour(text: object, period: object) -> datetime | None:
    match = _DAY.fullmatch(text) if isinstance(text, str) else None
    if match is None or isinstance(period, bool) or not isinstance(period, int):
        return None
    year, month, day = map(int, match.groups())
    try:
        return settlement_period_start(datetime(year, month, day, tzinfo=UTC).date(), period)
    except (ValueError, OverflowError):
        return None


def shown(value: object) -> str:
    """A value for a message: short, on one line, printable."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**15:
        return "a huge number"
    text = repr(value[:60]) if isinstance(value, str) else repr(value)
    return "null" if value is None else text


def _at(answer: object, path: tuple[str, ...]) -> object:
    value = answer
    for depth, name in enumerate(path):
        if not isinstance(value, dict):
            place = ".".join(path[:depth]) or "the answer"
            raise UnusableAnswer(f"{place} is {shown(value)}, not an object")
        if name not in value:
            raise UnusableAnswer(f"{'.'.join(path[: depth + 1])} is missing{_own_error(value)}")
        value = value[name]
    return value


def _own_error(answer: JsonObject) -> str:
    error = answer.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return f"; it says {shown(error)}" if isinstance(error, str) else ""
