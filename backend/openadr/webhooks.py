"""Delivers what subscriptions are to hear: posts each change to its callback until that takes it, or gives it up."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from database.interface import Database
from openadr.objects import on_the_wire
from outgoing.addresses import AddressPolicy
from outgoing.calls import Caller, Limits
from outgoing.failures import AddressRefused, CallFailed
from printable import LONGEST_REASON, printable
from queueing.consumer import Consumer, Round
from version import VERSION
from vocabulary import StrEnum
from web.application import json_of

_log = logging.getLogger(__name__)

CHANNEL = "openadr_webhooks"
SENDERS = 4
POLL_SECONDS = 5.0
CALL = Limits(connect_s=2.0, whole_s=5.0, answer_bytes=64 * 1024)
LEASE_SECONDS = 4 * CALL.whole_s
"""Longer than a call may last: what a killed process had in hand is delivered by another."""
USER_AGENT = f"PylonDEG/{VERSION} (OpenADR 3.1)"
_GONE = 410


class Outcome(StrEnum):
    """How an attempt ended: taken; to be tried again; given up."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


class Told(BaseModel):
    """What is to be said, and by which token."""

    model_config = ConfigDict(frozen=True)

    token: str | None
    operation: str
    object: dict[str, Any]
    targets: list[str]


class ClaimedWebhook(BaseModel):
    """A webhook that this process is to deliver."""

    model_config = ConfigDict(frozen=True)

    webhook_id: int
    subscription_id: str
    callback_url: str
    body: Told
    attempt: int
    lease_token: int
    is_served: bool = True
    """Whether its client still has a key that is good."""


class WebhookClaims(BaseModel):
    """What one claim found; `next_due_seconds` is when to look again, None when nothing is to come."""

    claimed: tuple[ClaimedWebhook, ...]
    next_due_seconds: float | None


class WebhookSender(Consumer):
    """Threads that deliver webhooks until they are stopped. Any number of processes may have them.

    A subscription hears of changes in their order: what follows waits while one is tried again, after pauses that
    double. Operators take turns, and neither an operator nor a host has all the threads. An answer of 2xx takes it;
    410 or an address that may not be called ends it at once, and ten failures do.

    Args:
        private_hosts: hosts that may be called wherever their names lead; others only at public addresses.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        private_hosts: Collection[str],
        threads: int = SENDERS,
        poll_seconds: float = POLL_SECONDS,
        limits: Limits = CALL,
    ) -> None:
        """Nothing runs before `start`."""
        super().__init__(
            "webhook sender", self.work_once, database, CHANNEL, threads=threads, poll_seconds=poll_seconds
        )
        self._database = database
        self._worker = worker
        self._private_hosts = frozenset(private_hosts)
        self._limits = limits
        self._caller = Caller(tls=_tls, whole_answers=False)

    def work_once(self) -> Round:
        """Take one that is due, of a subscription its first, and try to deliver it."""
        # One alone: what another takes meanwhile does not wait for a receiver that is silent.
        arguments = {"p_worker": self._worker, "p_limit": 1, "p_lease_seconds": LEASE_SECONDS}
        claims = WebhookClaims.model_validate(self._database.call("openadr_claim_webhooks", arguments))
        if claims.claimed:
            self.found()
        for claim in claims.claimed:
            self._deliver(claim)
        return Round(len(claims.claimed), claims.next_due_seconds)

    def _deliver(self, claim: ClaimedWebhook) -> None:
        outcome, error = self._attempt(claim)
        arguments = {
            "p_webhook_id": claim.webhook_id,
            "p_lease_token": claim.lease_token,
            "p_outcome": str(outcome),
            "p_error": error,
        }
        state = self._database.call("openadr_settle_webhook", arguments, repeatable=True)["state"]
        told = (claim.webhook_id, claim.subscription_id, claim.attempt)
        if state == Outcome.DELIVERED:
            _log.info("webhook %d of subscription %s: delivered, attempt %d", *told)
        elif state == Outcome.DEAD:
            _log.error("webhook %d of subscription %s was given up after attempt %d: %s", *told, error)
        else:
            _log.warning("webhook %d of subscription %s: attempt %d (%s): %s", *told, state, error)

    def _attempt(self, claim: ClaimedWebhook) -> tuple[Outcome, str | None]:
        if not claim.is_served:
            return Outcome.DEAD, "its client has no key any more that is good"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT}
        if claim.body.token is not None:
            headers["Authorization"] = f"Bearer {claim.body.token}"
        host = urlsplit(claim.callback_url).hostname or ""
        reach = AddressPolicy.ANYWHERE if host in self._private_hosts else AddressPolicy.PUBLIC
        try:
            answer = self._caller.call(
                "POST",
                claim.callback_url,
                limits=self._limits,
                headers=headers,
                body=_notice(claim.body),
                reach=reach,
            )
        except AddressRefused:
            return Outcome.DEAD, f"{host} is no public address: OPENADR_PRIVATE_CALLBACKS may allow it"
        except CallFailed as failed:
            return Outcome.RETRY, printable(f"{type(failed).__name__}: {failed}", LONGEST_REASON)
        if 200 <= answer.status < 300:
            return Outcome.DELIVERED, None
        return Outcome.DEAD if answer.status == _GONE else Outcome.RETRY, f"HTTP {answer.status}"


def _notice(told: Told) -> bytes:
    """OpenADR's notification."""
    changed = on_the_wire(told.object)
    document = {"objectType": changed["objectType"], "operation": told.operation, "object": changed}
    if told.targets:
        document["targets"] = told.targets
    return json_of(document)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
