"""Delivers a platform's outbox: signs anew for every attempt, and stops when the recipient says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from beckn.network.keys import MessageSigner
from beckn.network.outbox import Outbox, OutboxClaim, Outcome, Settled
from beckn.network.outgoing_calls import AddressPolicy, AddressRefused, Caller, CallFailed, Reply
from beckn.network.reception import AUTHORIZATION, GATEWAY_AUTHORIZATION
from clock import utc_now
from database.interface import Database
from queueing.consumer import Consumer, Round

_log = logging.getLogger(__name__)

CHANNEL = "beckn_outbox"
DELIVERERS = 8
POLL_SECONDS = 2.0

# A recipient that says this understood the message and will not take it, however often it is sent.
_FINAL_STATUSES = {400, 401}
# As good as no answer: something before the recipient speaks, or it cannot work at all.
_AWAY_STATUSES = {502, 503, 504}
# This message's writer is too fast for it; others' messages are none the worse for it.
_TOO_MANY = 429


class Deliverer(Consumer):
    """Threads that deliver the outbox of one platform until they are stopped.

    A message goes to the URL that is registered for its recipient. It is tried again, after pauses that double,
    until it is acknowledged or its time is over; a NACK, 400 or 401 ends it at once. What could not be delivered
    stays in the outbox among the dead.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        signer: MessageSigner,
        *,
        authenticates: bool,
        threads: int = DELIVERERS,
        poll_seconds: float = POLL_SECONDS,
        caller: Caller | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__("deliverer", self.work_once, database, CHANNEL, threads=threads, poll_seconds=poll_seconds)
        self._outbox = outbox
        self._signer = signer
        self._authenticates = authenticates
        self._caller = caller or Caller()
        self._clock = clock

    def work_once(self) -> Round:
        """Take the message that is due first, if any, and try to deliver it."""
        claims = self._outbox.claim(1)
        for lost in claims.died:
            _log.error(
                "%s %s for %s was not delivered: %s", lost.action, lost.message_id, lost.recipient, lost.last_error
            )
        if claims.claimed:
            self.found()
        for claim in claims.claimed:  # in hand for less than a lease lasts, as no call takes so long
            self._deliver(claim)
        return Round(len(claims.claimed), claims.next_due_seconds)

    def _deliver(self, claim: OutboxClaim) -> None:
        outcome, error = self._attempt(claim)
        settled = self._outbox.settle(claim, outcome, error)
        told = (claim.action, claim.message_id, claim.recipient, claim.attempt)
        if settled is Settled.DELIVERED:
            _log.info("%s %s: delivered to %s, attempt %d", *told)
        elif settled is Settled.DEAD:
            _log.error("%s %s for %s was not delivered, after attempt %d: %s", *told, error)
        else:
            _log.warning("%s %s for %s: attempt %d (%s): %s", *told, settled, error)

    def _attempt(self, claim: OutboxClaim) -> tuple[Outcome, str | None]:
        if claim.url is None:
            return Outcome.DEAD, f"{claim.recipient} is not subscribed as {claim.recipient_type}"
        now = self._clock()
        headers = {}
        if self._authenticates:
            signature = self._signer.authorization(claim.body, now=now, expires=max(now, claim.expires_at))
            if claim.authorization is None:
                headers[AUTHORIZATION] = signature
            else:
                headers = {AUTHORIZATION: claim.authorization, GATEWAY_AUTHORIZATION: signature}
        url = f"{claim.url.rstrip('/')}/{claim.action}"
        try:
            return _outcome(self._caller.post(url, claim.body, headers, reach=self._reach(claim)))
        except AddressRefused as refused:
            return Outcome.DEAD, str(refused)
        except CallFailed as failed:
            return Outcome.UNREACHABLE, f"{url}: {failed}"

    def _reach(self, claim: OutboxClaim) -> AddressPolicy:
        if not self._authenticates:
            return AddressPolicy.LOOPBACK
        return AddressPolicy.ANYWHERE if claim.private_address else AddressPolicy.PUBLIC


class _Lenient(BaseModel):
    """Other platforms' answers are read for what matters, whatever else stands in them."""


class _Status(_Lenient):
    status: str


class _Acknowledgement(_Lenient):
    ack: _Status


class _Fault(_Lenient):
    code: Any = None
    message: Any = None
    paths: Any = None


class _Answer(_Lenient):
    message: _Acknowledgement
    error: _Fault | None = None


def _outcome(reply: Reply) -> tuple[Outcome, str | None]:
    """What an answer means: only an ACK is one, and what is neither ACK nor final may pass."""
    answer = _read(reply.body)
    status = answer.message.ack.status if answer else None
    if status == "ACK" and 200 <= reply.status < 300:
        return Outcome.DELIVERED, None
    if reply.status in _AWAY_STATUSES:
        return Outcome.UNREACHABLE, f"HTTP {reply.status} without an ACK: {_told(answer, reply)}"
    if reply.status in _FINAL_STATUSES or (status == "NACK" and reply.status < 500 and reply.status != _TOO_MANY):
        return Outcome.DEAD, f"refused with HTTP {reply.status}: {_told(answer, reply)}"
    return Outcome.RETRY, f"HTTP {reply.status} without an ACK: {_told(answer, reply)}"


def _read(body: bytes) -> _Answer | None:
    try:
        return _Answer.model_validate_json(body)
    except ValidationError:
        return None


def _told(answer: _Answer | None, reply: Reply) -> str:
    if answer is not None and answer.error is not None:
        told = " ".join(str(said) for said in (answer.error.code, answer.error.message, answer.error.paths) if said)
    else:
        told = reply.body.decode("utf-8", "replace")
    readable = "".join(character if character.isprintable() else " " for character in told[:300])
    return " ".join(readable.split()) or "an empty body"
