"""Announcing events and taking them back: the one way in, whichever door an event comes by."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from database.interface import Calls
from flexibility.event_model import NewEvent, StoredEvent
from vocabulary import StrEnum


class Announcing(StrEnum):
    """`ALREADY`: the same again. `DIFFERENT`: another has its name. `CLOSED`: its gate has closed. `OVERLAPPING`:
    another event of the owner's is open in these half-hours. `TOO_MANY` of the owner's are ahead. Only ANNOUNCED
    stores anything."""

    ANNOUNCED = "announced"
    ALREADY = "already"
    DIFFERENT = "different"
    CLOSED = "closed"
    OVERLAPPING = "overlapping"
    TOO_MANY = "too_many"


class Cancelling(StrEnum):
    """`CLOSED`: its gate has closed, so that nothing about it changes. `OVER`: it has ended, however."""

    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    CLOSED = "closed"
    OVER = "over"


class Announced(BaseModel):
    """What became of an announcement; the event is the one that is kept, or the one in the way."""

    model_config = ConfigDict(frozen=True)

    state: Announcing
    event: StoredEvent | None


class Cancelled(BaseModel):
    """What became of the wish to take an event back."""

    model_config = ConfigDict(frozen=True)

    state: Cancelling
    event: StoredEvent | None


def announce(database: Calls, event: NewEvent, now: datetime) -> Announced:
    """Announce an event; what it leads to is worked out by whoever carries events on."""
    answer: Any = database.call(
        "announce_flexibility_event", {"p_event": event.to_row(), "p_now": now}, repeatable=True
    )
    return Announced.model_validate(answer)


def cancel(database: Calls, event_id: UUID, reason: str, now: datetime) -> Cancelled:
    """Take an event back, before its gate closes."""
    arguments = {"p_event_id": str(event_id), "p_reason": reason, "p_now": now}
    return Cancelled.model_validate(database.call("cancel_flexibility_event", arguments, repeatable=True))
