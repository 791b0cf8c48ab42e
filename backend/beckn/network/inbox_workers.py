"""Works on what a platform acknowledged, until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from beckn.network.inbox import Inbox, InboxClaim
from beckn.network.outbox import OutgoingMessage
from database.errors import DatabaseError, DatabaseUnreachable
from database.interface import Database
from queueing.consumer import Consumer, Round
from queueing.heartbeat import Heartbeat

_log = logging.getLogger(__name__)

CHANNEL = "beckn_inbox"
WORKERS = 4
MOST_AT_ONCE_PER_SENDER = 2
"""Fewer than there are workers, so that no sender has them all."""
POLL_SECONDS = 2.0
GIVE_BACK_PAUSE_S = 2.0
LONGEST_WORK_S = 60.0
"""A message whose worker has not come back to it by then goes to another."""

Handler = Callable[[InboxClaim], Sequence[OutgoingMessage]]


class InboxWorkers(Consumer):
    """Threads that hand messages of one inbox to `handle`, and store the end of the work with what it led to.

    A crash or a lost lease hands a message over again, so what `handle` does must come out the same when it is
    repeated. If it raises, it is tried again, a few times; while the database is away, until it is back.
    """

    def __init__(
        self,
        database: Database,
        inbox: Inbox,
        handle: Handler,
        *,
        finished: Callable[[], None] = lambda: None,
        threads: int = WORKERS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`finished` is called after work whose messages are in the outbox, to have them delivered at once."""
        self._heartbeat = Heartbeat(
            "the keeper of messages' leases",
            inbox.extend,
            lease_seconds=inbox.lease_seconds,
            longest_hold_s=LONGEST_WORK_S,
        )
        super().__init__(
            "inbox-worker",
            self.work_once,
            database,
            CHANNEL,
            threads=threads,
            poll_seconds=poll_seconds,
            heartbeat=self._heartbeat,
        )
        self._inbox = inbox
        self._handle = handle
        self._finished = finished

    def work_once(self) -> Round:
        """Take the message that is due first, if any, and work on it, in this thread.

        Raises:
            DatabaseError: nothing can be had, or an end not be stored; then it will be tried again.
        """
        claims = self._inbox.claim(1)
        for dead in claims.died:
            _log.error("%s %s from %s was abandoned: %s", dead.action, dead.message_id, dead.sender, dead.last_error)
        if claims.claimed:
            self.found()
        for claim in claims.claimed:
            with self._heartbeat.holding([claim.lease]):
                self._work(claim)
        return Round(len(claims.claimed), claims.next_due_seconds)

    def _work(self, claim: InboxClaim) -> None:
        try:
            self._finish(claim, self._handle(claim))
        except DatabaseUnreachable:
            # The message is not to blame for the database's trouble, and goes back uncounted; if even that cannot be
            # stored, its lease runs out.
            with suppress(DatabaseError):
                self._inbox.give_back(claim.lease, pause_s=GIVE_BACK_PAUSE_S)
            raise
        except Exception as error:  # noqa: BLE001 - told, counted and tried again
            self._fail(claim, error)

    def _finish(self, claim: InboxClaim, outgoing: Sequence[OutgoingMessage]) -> None:
        if not self._inbox.finish(claim.lease, outgoing):
            _log.warning(
                "%s %s from %s: result dropped, the lease was lost", claim.action, claim.message_id, claim.sender
            )
        elif outgoing:
            self._finished()

    def _fail(self, claim: InboxClaim, error: Exception) -> None:
        _log.error("%s %s from %s failed", claim.action, claim.message_id, claim.sender, exc_info=error)
        if self._inbox.fail(claim.lease, f"{type(error).__name__}: {error}"):
            _log.error("%s %s from %s was abandoned", claim.action, claim.message_id, claim.sender)
