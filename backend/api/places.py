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


def place_of(moment: datetime, identity: UUID) -> Place:
    """The place of what is of this moment."""
    return f"{(moment - _EPOCH) // _MICROSECOND}-{identity}"


def read_place(place: Place | None) -> tuple[datetime | None, UUID | None]:
    """The moment and the identity of a place; of None, which is before the newest, neither."""
    if place is None:
        return None, None
    microseconds, _, identity = place.partition("-")
    return _EPOCH + int(microseconds) * _MICROSECOND, UUID(identity)
