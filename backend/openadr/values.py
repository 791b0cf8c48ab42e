"""The pieces that OpenADR's objects are made of, as they are on the wire. Every length is bounded."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from grid.half_hours import UTC, as_utc

MOST_INTERVALS = 2016
"""A week of five minutes."""
MOST_VALUES = 1000
MOST_LISTED = 100
MOST_CALLBACKS = 10
"""Of a subscription."""
LARGEST_WHOLE = 2**53
"""Beyond it JSON's numbers are not exact everywhere."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_DURATION = re.compile(
    r"^P(?=[0-9T])(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})W)?(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,6})H)?(?:([0-9]{1,7})M)?(?:([0-9]{1,9})(?:\.[0-9]{1,6})?S)?)?$"
)
_PARTS = (timedelta(365), timedelta(30), timedelta(7), timedelta(1), timedelta(hours=1), timedelta(minutes=1))

Name = Annotated[str, StringConstraints(pattern=_PRINTABLE, min_length=1, max_length=128)]
Text = Annotated[str, StringConstraints(pattern=_PRINTABLE, max_length=1000)]
ObjectId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Targets = Annotated[list[Name], Field(max_length=MOST_LISTED)]


def _is_duration(text: str) -> str:
    if not _DURATION.match(text):
        raise ValueError("write the time it lasts as ISO 8601 does, such as PT30M")
    return text


def _is_written_out(value: object) -> object:
    # Pydantic would also take a number of seconds since 1970, and a date.
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("write the time as text, such as 2026-11-22T18:00:00Z")
    return value


def _is_callable(url: str) -> str:
    wrong = ValueError("write the whole URL of the callback, without a user name and a fragment")
    try:
        parts = urlsplit(url)
        whole = parts.hostname and parts.port != 0 and parts.username is None and not parts.fragment
    except ValueError:
        raise wrong from None
    if not whole:
        raise wrong
    return url


def _is_within_reach(moment: datetime) -> datetime:
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"write a time from {EARLIEST.year} to {LATEST.year - 1}")
    return moment


Duration = Annotated[
    str,
    Field(max_length=60),
    AfterValidator(_is_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "maxLength": 60}),
]
CallbackUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=1000), AfterValidator(_is_callable)
]
BearerToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~+/=-]+$", max_length=1000)]
When = Annotated[
    AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(as_utc), AfterValidator(_is_within_reach)
]


def length_of(duration: str) -> timedelta:
    """How long a duration is; a year is taken for 365 days, and a month for 30.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.match(duration)
    if found is None:
        raise ValueError(f"{duration} is no duration")
    *parts, seconds = found.groups()
    longest = sum((int(part or 0) * unit for part, unit in zip(parts, _PARTS, strict=True)), timedelta())
    return longest + timedelta(seconds=int(seconds or 0))


class Wire(BaseModel):
    """Written in camelCase, and nothing in it that is not known. Null is as good as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    def written(self) -> dict[str, Any]:
        """As it is kept: what is null is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Point(Wire):
    """A point of a curve."""

    x: Annotated[float, Field(allow_inf_nan=False, strict=True)]
    y: Annotated[float, Field(allow_inf_nan=False, strict=True)]


Value = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | Text
    | Point
)


class ValuesMap(Wire):
    """Values of one kind: a payload of an interval, or an attribute."""

    type: Name = Field(
        description="What it is, such as PRICE, DISPATCH_SETPOINT_RELATIVE, USAGE, or a word of one's own"
    )
    values: Annotated[list[Value], Field(max_length=MOST_VALUES)]


class IntervalPeriod(Wire):
    """When something begins, and how long it lasts."""

    start: When
    duration: Duration | None = None
    randomize_start: Duration | None = None


class Interval(Wire):
    """A piece of time with its payloads."""

    id: Annotated[int, Field(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE, strict=True)]
    interval_period: IntervalPeriod | None = None
    payloads: Annotated[list[ValuesMap], Field(min_length=1, max_length=MOST_LISTED)]


Intervals = Annotated[list[Interval], Field(max_length=MOST_INTERVALS)]
Attributes = Annotated[list[ValuesMap], Field(max_length=MOST_LISTED)]


class PayloadDescriptor(Wire):
    """What a kind of payload is measured in."""

    payload_type: Name
    object_type: Name | None = None
    reading_type: Name | None = None
    units: Name | None = None
    currency: Name | None = None
    accuracy: Annotated[float, Field(allow_inf_nan=False)] | None = None
    confidence: Annotated[int, Field(ge=0, le=100)] | None = None


PayloadDescriptors = Annotated[list[PayloadDescriptor], Field(max_length=MOST_LISTED)]


class ReportDescriptor(Wire):
    """A report that is asked for."""

    payload_type: Name
    reading_type: Name | None = None
    units: Name | None = None
    targets: Targets | None = None
    aggregate: bool | None = None
    start_interval: Annotated[int, Field(ge=-1, le=LARGEST_WHOLE)] | None = None
    num_intervals: Annotated[int, Field(ge=-1, le=LARGEST_WHOLE)] | None = None
    historical: bool | None = None
    frequency: Annotated[int, Field(ge=-1, le=LARGEST_WHOLE)] | None = None
    repeat: Annotated[int, Field(ge=-1, le=LARGEST_WHOLE)] | None = None
    report_intervals: Name | None = None


ReportDescriptors = Annotated[list[ReportDescriptor], Field(max_length=MOST_LISTED)]
