"""Places in a list sorted by moment and identity, the newest first: they last when what stood there goes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints

from grid.half_hours import UTC

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Place = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,16}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""Microseconds since 1970, and an id."""


NamedPlace = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,16}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[^\x00-\x1f\x7f]{1,200}$")
]
"""The same, and a name: where several are of one moment and one id."""

NumberedPlace = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,16}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{1,9}$")
]
"""The same with a number for a name."""

_UUID_LENGTH = 36


def place_of(moment: datetime, identity: UUID) -> Place:
    """The place of what is of this moment."""
    return f"{(moment - _EPOCH) // _MICROSECOND}-{identity}"


def read_place(place: Place | None) -> tuple[datetime | None, UUID | None]:
    """The moment and the identity of a place; of None, which is before the newest, neither."""
    if place is None:
        return None, None
    microseconds, _, identity = place.partition("-")
    return _EPOCH + int(microseconds) * _MICROSECOND, UUID(identity)


def named_place_of(moment: datetime, identity: UUID, name: str) -> NamedPlace:
    """The place of what is of this moment, this id and this name."""
    return f"{place_of(moment, identity)}-{name}"


def read_named_place(place: NamedPlace | None) -> tuple[datetime | None, UUID | None, str | None]:
    """The parts of a place; of None, which is before the newest, none."""
    if place is None:
        return None, None, None
    end = place.index("-") + 1 + _UUID_LENGTH
    return *read_place(place[:end]), place[end + 1 :]
