"""What was given up: messages that could not be delivered, or not be worked on. For an operator to look at."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, Field

from beckn.network.subscribers import Role
from beckn.protocol.objects import Action
from database.callers import viewer_through
from database.interface import Database
from ontology.types import Moment


class DeadLetter(BaseModel):
    """A message, without its body."""

    sender: str
    recipient: str
    action: Action
    transaction_id: UUID
    message_id: UUID
    attempts: int
    last_error: str
    finished_at: Moment = Field(description="When it was given up on")


class Unprocessed(DeadLetter):
    """One that was acknowledged, and could not be worked on."""

    inbox_id: int
    received_at: Moment


class Undelivered(DeadLetter):
    """One that its recipient refused, or did not take in time."""

    outbox_id: int
    recipient_type: Role
    created_at: Moment
    expires_at: Moment


class DeadLetters(BaseModel):
    """Both kinds, newest first."""

    inbox: list[Unprocessed]
    outbox: list[Undelivered]


class OwnDeadLetter(BaseModel):
    """A message that a platform of the caller's operator sent or was to get, without its body."""

    sender: str
    recipient: str
    action: Action
    transaction_id: UUID
    message_id: UUID
    attempts: int
    last_error: str | None = Field(
        description="Why it was given up; null where another operator's platform had it in hand: it is its business"
    )


class OwnUnprocessed(OwnDeadLetter):
    """One that was acknowledged, and could not be worked on."""

    received_at: Moment


class OwnUndelivered(OwnDeadLetter):
    """One that its recipient refused, or did not take in time."""

    created_at: Moment


class OwnDeadLetters(BaseModel):
    """Both kinds, newest first."""

    inbox: list[OwnUnprocessed]
    outbox: list[OwnUndelivered]


def dead_letters(database: Database, limit: int) -> DeadLetters:
    """The newest `limit` of each kind, of every platform on this database.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("beckn_dead_letters", {"p_limit": limit}, repeatable=True)
    return DeadLetters.model_validate(found)


def own_dead_letters(database: Database, limit: int) -> OwnDeadLetters:
    """The newest `limit` of each kind, of the platforms that speak for the caller's operator.

    Of all platforms, where the caller sees everything.

    Raises:
        DatabaseError: the database does not answer.
    """
    function = "beckn_dead_letters" if viewer_through(database).is_platform else "own_dead_letters"
    return OwnDeadLetters.model_validate(database.call(function, {"p_limit": limit}, repeatable=True))
