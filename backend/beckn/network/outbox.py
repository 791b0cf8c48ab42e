"""What is to be sent: stored first, then delivered until it is acknowledged, refused, or its time is over.

Every method is one call of an SQL function (`backend/deprecated/supabase_triggers.sql`, "The Beckn network").
Messages of one transaction to one recipient are delivered in the order in which they were put here.

All methods raise `database.errors.DatabaseError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from beckn.network.subscribers import Role
from beckn.protocol.context import expiry_of
from beckn.protocol.objects import Action, Context
from beckn.protocol.values import UtcDatetime
from database.interface import Database, Row
from vocabulary import StrEnum

# Longer than a call may take (outgoing_calls.WHOLE_CALL_S), and much shorter than a message's usual ttl: what a
# killed process had in hand is delivered by another in time.
LEASE_SECONDS = 7.0

# They leave threads (delivery.DELIVERERS) for those that answer.
MOST_AT_ONCE_PER_RECIPIENT = 2
MOST_TROUBLED_AT_ONCE = 3
"""Of messages to recipients that did not answer the last time."""


@dataclass(frozen=True)
class OutgoingMessage:
    """A message for another platform: its bytes, and their context once more as an object."""

    recipient: str
    role: Role
    context: Context
    body: bytes

    def row(self) -> Row:
        """What the outbox stores."""
        return {
            "recipient": self.recipient,
            "recipient_type": str(self.role),
            "action": str(self.context.action),
            "domain": self.context.domain,
            "transaction_id": self.context.transaction_id,
            "message_id": self.context.message_id,
            "body": self.body.decode(),
            "expires_at": expiry_of(self.context),
        }


class OutboxClaim(BaseModel):
    """A message that this process is to deliver. `url` is None when the recipient is not subscribed any more.

    `authorization` is the signature header that a message came with, where a gateway passes it on.
    """

    model_config = ConfigDict(frozen=True)

    outbox_id: int
    lease_token: int
    recipient: str
    recipient_type: Role
    action: Action
    transaction_id: UUID
    message_id: UUID
    body: bytes
    authorization: str | None
    attempt: int
    expires_at: UtcDatetime
    url: str | None
    private_address: bool | None


class UndeliveredMessage(BaseModel):
    """A message whose time was over before it was delivered."""

    model_config = ConfigDict(frozen=True)

    outbox_id: int
    recipient: str
    action: Action
    message_id: UUID
    last_error: str


class OutboxClaims(BaseModel):
    """What one claim found; `next_due_seconds` is when to look again, None when nothing is to come."""

    model_config = ConfigDict(frozen=True)

    claimed: tuple[OutboxClaim, ...]
    died: tuple[UndeliveredMessage, ...]
    next_due_seconds: float | None


class Outcome(StrEnum):
    """How an attempt ended: taken; to be tried again; the same, and its recipient was not reached; given up."""

    DELIVERED = "delivered"
    RETRY = "retry"
    UNREACHABLE = "unreachable"
    DEAD = "dead"


class Settled(StrEnum):
    """What became of a message after an attempt. `FENCED`: somebody else has it now."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    FENCED = "fenced"


class Outbox:
    """The outbox of one of this machine's platforms. Safe to use from many threads and processes."""

    def __init__(
        self,
        database: Database,
        sender: str,
        *,
        worker: str = "worker",
        lease_seconds: float = LEASE_SECONDS,
        first_retry_seconds: float = 0.5,
        most_at_once_per_recipient: int = MOST_AT_ONCE_PER_RECIPIENT,
        most_troubled_at_once: int = MOST_TROUBLED_AT_ONCE,
    ) -> None:
        """`sender` is the platform's subscriber id; `worker` names this process among those that share its outbox."""
        self._database = database
        self._sender = sender
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._first_retry_seconds = first_retry_seconds
        self._most_at_once_per_recipient = most_at_once_per_recipient
        self._most_troubled_at_once = most_troubled_at_once

    def put(self, messages: Sequence[OutgoingMessage]) -> int:
        """Store messages to be sent, such as an unsolicited `on_status`; how many were not there before."""
        arguments = {"p_sender": self._sender, "p_outgoing": [message.row() for message in messages]}
        return int(self._database.call("beckn_put_outbox", arguments, repeatable=True)["stored"])

    def claim(self, limit: int) -> OutboxClaims:
        """Take up to `limit` messages that are due, lost leases included."""
        arguments = {
            "p_sender": self._sender,
            "p_worker": self._worker,
            "p_limit": limit,
            "p_lease_seconds": self._lease_seconds,
            "p_busiest": self._most_at_once_per_recipient,
            "p_troubled": self._most_troubled_at_once,
        }
        return OutboxClaims.model_validate(self._database.call("beckn_claim_outbox", arguments))

    def settle(self, claim: OutboxClaim, outcome: Outcome, error: str | None) -> Settled:
        """Say how an attempt ended. A retry comes after twice as long each time, until the message's time is over.

        A recipient that was not reached is left alone for a while with all its messages, and is then tried with one.
        """
        arguments = {
            "p_outbox_id": claim.outbox_id,
            "p_lease_token": claim.lease_token,
            "p_outcome": str(outcome),
            "p_error": error,
            "p_first_retry_seconds": self._first_retry_seconds,
        }
        return Settled(self._database.call("beckn_settle_outbox", arguments, repeatable=True)["state"])
