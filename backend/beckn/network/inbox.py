"""What arrived and was acknowledged: stored first, then worked on by whoever takes it, once.

Every method is one call of an SQL function (`backend/deprecated/supabase_triggers.sql`, "The Beckn network"), so it
is atomic over psycopg and PostgREST alike. A claim is a lease with a fencing token. Messages of one transaction from
one sender are worked on in the order in which they came.

All methods raise `database.errors.DatabaseError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from beckn.network.outbox import OutgoingMessage
from beckn.network.reception import IncomingMessage
from beckn.network.sender_limits import StoredLimits
from beckn.network.subscribers import Role
from beckn.protocol.acknowledgement import ACK, AckAnswer, ErrorCode, Refused
from beckn.protocol.context import is_callback
from beckn.protocol.objects import Action
from beckn.protocol.values import UtcDatetime
from database.interface import Database, Row
from printable import LONGEST_REASON, printable


@dataclass(frozen=True)
class InboxLease:
    """The right to work on one message, for as long as nobody else got a newer token for it."""

    inbox_id: int
    token: int


class InboxClaim(BaseModel):
    """A message that this worker holds. `attempt` counts from 1; `expires_at` is None where no time limit holds."""

    model_config = ConfigDict(frozen=True)

    inbox_id: int
    lease_token: int
    sender: str
    action: Action
    transaction_id: UUID
    message_id: UUID
    body: bytes
    attempt: int
    expires_at: UtcDatetime | None
    received_at: UtcDatetime

    @property
    def lease(self) -> InboxLease:
        return InboxLease(self.inbox_id, self.lease_token)


class DeadMessage(BaseModel):
    """A message that was given up."""

    model_config = ConfigDict(frozen=True)

    inbox_id: int
    sender: str
    action: Action
    message_id: UUID
    last_error: str


class InboxClaims(BaseModel):
    """What one claim found; `next_due_seconds` is when to look again, None when nothing is to come."""

    model_config = ConfigDict(frozen=True)

    claimed: tuple[InboxClaim, ...]
    died: tuple[DeadMessage, ...]
    next_due_seconds: float | None


class Inbox:
    """The inbox of one of this machine's platforms. Safe to use from many threads and processes."""

    def __init__(
        self,
        database: Database,
        recipient: str,
        *,
        worker: str = "worker",
        lease_seconds: float = 10.0,
        first_retry_seconds: float = 0.5,
        most_at_once_per_sender: int = 1_000_000,
        limits: StoredLimits | None = None,
    ) -> None:
        """`recipient` is the platform's subscriber id; `worker` names this process among those that share it."""
        self._database = database
        self._recipient = recipient
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._first_retry_seconds = first_retry_seconds
        self._most_at_once_per_sender = most_at_once_per_sender
        self._limits = limits or StoredLimits()

    @property
    def lease_seconds(self) -> float:
        """For how long a claim holds a message, unless it is extended."""
        return self._lease_seconds

    def store(self, message: IncomingMessage, *, work: bool = True) -> AckAnswer:
        """Store a checked message and acknowledge it. The same one again gets the same answer, and no work is done.

        Args:
            work: whether a worker is to take it from here.

        Raises:
            Refused: another body had this message id before; the sender's key was revoked a moment ago; nothing can
                be delivered to the sender's URL; or 429, the sender is over a limit.
        """
        arguments = {"p_message": self._row(message), "p_key_id": message.key_id, "p_work": work}
        return self._answer(message, self._database.call("beckn_receive", arguments, repeatable=True))

    def relay(self, message: IncomingMessage) -> AckAnswer:
        """Store a checked message and, in the same transaction, its copies for those it is for: a gateway's work.

        A search goes to every provider of its domain and place, or to the one that its context names; a callback to
        its buyer.

        Raises:
            Refused: as `store` does; or there is nobody to send it to.
        """
        context = message.context
        callback = is_callback(message.action)
        arguments = {
            "p_message": self._row(message)
            | {
                "domain": context.domain,
                "location": context.location.model_dump(mode="json", include={"country", "city"}),
                "authorization": message.authorization,
                "expires_at": message.expires_at,
            },
            "p_key_id": message.key_id,
            "p_role": str(Role.BAP if callback else Role.BPP),
            "p_recipient": context.bap_id if callback else context.bpp_id,
        }
        answer = self._database.call("beckn_relay", arguments, repeatable=True)
        if answer["state"] == "nobody" and callback:
            raise Refused.invalid(f"context.bap_id: {context.bap_id} is not registered as BAP", "context.bap_id")
        if answer["state"] == "nobody":
            raise Refused.business(
                ErrorCode.PROVIDER_NOT_FOUND,
                f"no provider is registered for {context.domain} in that place: POST /registry/lookup says who is",
            )
        return self._answer(message, answer)

    def claim(self, limit: int) -> InboxClaims:
        """Take up to `limit` messages to work on, lost leases included."""
        arguments = {
            "p_recipient": self._recipient,
            "p_worker": self._worker,
            "p_limit": limit,
            "p_lease_seconds": self._lease_seconds,
            "p_busiest": self._most_at_once_per_sender,
        }
        return InboxClaims.model_validate(self._database.call("beckn_claim_inbox", arguments))

    def finish(self, lease: InboxLease, outgoing: Sequence[OutgoingMessage] = ()) -> bool:
        """End the work on a message, and in the same transaction put what it led to into the outbox.

        False when the lease was lost, and nothing is stored. Repeating it changes nothing.
        """
        arguments = {
            "p_inbox_id": lease.inbox_id,
            "p_lease_token": lease.token,
            "p_outgoing": [message.row() for message in outgoing],
        }
        answer = self._database.call("beckn_finish_inbox", arguments, repeatable=True)
        return bool(answer["state"] == "finished")

    def extend(self, leases: Sequence[InboxLease]) -> None:
        """Hold the messages for another lease time, as far as they are still held."""
        for lease in leases:
            arguments = {
                "p_inbox_id": lease.inbox_id,
                "p_lease_token": lease.token,
                "p_lease_seconds": self._lease_seconds,
            }
            self._database.call("beckn_heartbeat_inbox", arguments, repeatable=True)

    def give_back(self, lease: InboxLease, *, pause_s: float) -> None:
        """Put a message back that the database's own trouble kept from being worked on: uncounted."""
        arguments = {"p_inbox_id": lease.inbox_id, "p_lease_token": lease.token, "p_pause_seconds": pause_s}
        self._database.call("beckn_give_back_inbox", arguments, repeatable=True)

    def fail(self, lease: InboxLease, error: str) -> bool:
        """Put a message back for another attempt; True when that was its last, and it is given up."""
        arguments = {
            "p_inbox_id": lease.inbox_id,
            "p_lease_token": lease.token,
            "p_error": printable(error, LONGEST_REASON),
            "p_first_retry_seconds": self._first_retry_seconds,
        }
        return bool(self._database.call("beckn_fail_inbox", arguments, repeatable=True)["state"] == "dead")

    def _row(self, message: IncomingMessage) -> Row:
        return {
            "recipient": self._recipient,
            "sender": message.sender,
            "action": str(message.action),
            "transaction_id": message.context.transaction_id,
            "message_id": message.context.message_id,
            "body": message.body.decode(),
            "answer": ACK.model_dump(mode="json"),
            "limits": asdict(self._limits),
            # Whoever asked waits no longer than that; what answers us is of use however late we get to it.
            "expires_at": None if is_callback(message.action) else message.expires_at,
        }

    def _answer(self, message: IncomingMessage, answer: Any) -> AckAnswer:
        if answer["state"] == "revoked":
            raise Refused.unauthorized(f"the key {message.key_id} of {message.sender} was revoked", self._recipient)
        if answer["state"] == "unreachable":
            raise Refused.invalid(
                f"context.bap_uri: the URL that is registered for {message.sender} leads to a private address, and "
                "nothing would be delivered there: an operator may allow it with registry.py add --private-address",
                "context.bap_uri",
            )
        if answer["state"] == "busy":
            raise self._limits.refusal(answer["reason"])
        if answer["state"] == "conflict":
            raise Refused.invalid(
                f"context.message_id {message.context.message_id} was used for another message: use a new one",
                "context.message_id",
            )
        return AckAnswer.model_validate(answer["answer"])
