"""Carries negotiations on: a thread that takes what is due and makes one step of each, under a lease.

Any number of processes may have one. A step is one transaction under a fencing token: whatever dies when, none is
lost or made twice, and an award is made once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from database.errors import DatabaseError
from database.interface import Database
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T
from negotiation.book import ClaimedNegotiation, NegotiationBook, NegotiationLease, Step, StepOutcome, Stepped
from negotiation.model import NegotiationState
from negotiation.moving import AwardMover
from negotiation.steps import next_step, work_has_changed
from negotiation.watch import LOOK_EVERY, LimitWatch
from queueing.consumer import Consumer, Round
from queueing.failing import Failing
from queueing.heartbeat import Heartbeat

_log = logging.getLogger(__name__)

CHANNEL = "negotiations"
LEASE_SECONDS = 30.0
LONGEST_HOLD_S = 300.0
LONGEST_PLANNING_S = 60.0
"""After it agents plan no more to make an award better: others wait for this thread, and a lease has an end."""
BATCH = 4
AGAIN_AFTER_S = 15.0
POLL_SECONDS = 5.0
WATCH = "limits"


class CoordinatorThread(Consumer):
    """The coordinator of this process."""

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        clock: Callable[[], datetime],
        carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T,
        watch: LimitWatch | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            watch: opens negotiations by itself; without one they are opened by hand alone.
        """
        book = NegotiationBook(database)
        self._heartbeat: Heartbeat[NegotiationLease] = Heartbeat(
            "the heartbeat of negotiations",
            lambda leases: book.extend(leases, clock(), lease_seconds=LEASE_SECONDS),
            lease_seconds=LEASE_SECONDS,
            longest_hold_s=LONGEST_HOLD_S,
        )
        super().__init__(
            "negotiations",
            self.work_once,
            database,
            CHANNEL,
            threads=1,
            poll_seconds=poll_seconds,
            heartbeat=self._heartbeat,
        )
        self._book = book
        self._mover = AwardMover(database, carbon_price_gbp_per_t)
        self._watch = watch
        self._worker = worker
        self._clock = clock
        self._failing = Failing(AGAIN_AFTER_S)
        self._failing_looks = Failing(LOOK_EVERY.total_seconds())

    def work_once(self) -> Round:
        """Make a step of everything that is due now."""
        return self.run_due(self._clock())

    def run_due(self, now: datetime) -> Round:
        """Make a step of everything that is due at `now`, in this thread.

        Raises:
            DatabaseError: the work cannot be had.
        """
        self._look_at_limits(now)
        claimed, next_due_at = self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)
        if claimed:
            self.found(more_likely=False)
        with self._heartbeat.holding([_lease(one) for one in claimed]):
            for negotiation in claimed:
                # Those before it may have taken a minute, and agents have as long to answer as they were promised.
                self._try_step(negotiation, max(now, self._clock()))
        return Round(len(claimed), (next_due_at - now).total_seconds() if next_due_at else None)

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there are negotiations it cannot carry on, in words."""
        failing = len(self._failing)
        told = f"{failing} negotiations cannot be carried on: the log says why"
        unseen = "what exceeds a limit cannot be looked at: the log says why"
        return [*super().troubles(), *([told] if failing else []), *([unseen] if len(self._failing_looks) else [])]

    def _look_at_limits(self, now: datetime) -> None:
        """What was opened already goes on, even where what is booked cannot be looked at."""
        if self._watch is None:
            return
        try:
            looked = self._watch.look_sometimes(now)
        except Exception:  # noqa: BLE001 - told, and tried again after a while
            self._failing_looks.failed(WATCH)
            _log.exception("the limits could not be looked at")
        else:
            if looked:
                self._failing_looks.worked(WATCH)

    def _try_step(self, negotiation: ClaimedNegotiation, now: datetime) -> None:
        """One step of one negotiation; a fault in it does not hold up the others."""
        name = str(negotiation.negotiation_id)
        try:
            step, stepped = self._step(negotiation, now)
        except DatabaseError as error:
            # Its lease is given back; what the database could not do now it may do later.
            self._fail(negotiation, now, error)
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            _log.exception("negotiation %s: this step failed", name)
            self._fail(negotiation, now, error)
        else:
            self._failing.worked(name)
            if stepped is Stepped.OUTDATED:
                self._book.fail(negotiation, "something was said meanwhile", now, again_after_s=0.0)
            told = (
                f"{negotiation.state} to {step.state}"
                if stepped is Stepped.CHANGED
                else f"not {step.state}: {stepped}"
            )
            _log.info("negotiation %s: %s: %s", name, told, step.reason)

    def _step(self, negotiation: ClaimedNegotiation, now: datetime) -> tuple[Step, Stepped]:
        """Where power has gone, the agents there stand at their fallbacks, and nothing is held.

        Where work that it would move has changed, it ends.
        """
        without_room: set[str] = set()
        until = time.monotonic() + LONGEST_PLANNING_S
        is_done = negotiation.state is NegotiationState.CONFIRMED and now >= negotiation.ends_at
        metered = self._book.metered(negotiation) if is_done else None
        while True:
            step = next_step(
                negotiation,
                now,
                metered=metered,
                without_room=without_room,
                is_over=lambda: time.monotonic() >= until,
            )
            decided = self._mover.decided(negotiation, step, now)
            stored = (
                StepOutcome(Stepped.WORK_CHANGED) if decided is None else self._book.store(negotiation, decided, now)
            )
            if stored.state is Stepped.WORK_CHANGED:
                ended = work_has_changed(negotiation)
                return ended, self._book.store(negotiation, ended, now).state
            if stored.dc_id is None or stored.dc_id in without_room:
                return step, stored.state
            without_room.add(stored.dc_id)

    def _fail(self, negotiation: ClaimedNegotiation, now: datetime, error: Exception) -> None:
        _log.warning("negotiation %s: tried again later: %s", negotiation.negotiation_id, error)
        self._failing.failed(str(negotiation.negotiation_id))
        self._book.fail(negotiation, f"{type(error).__name__}: {error}", now, again_after_s=AGAIN_AFTER_S)


def _lease(negotiation: ClaimedNegotiation) -> NegotiationLease:
    return NegotiationLease(negotiation.negotiation_id, negotiation.lease_token)
