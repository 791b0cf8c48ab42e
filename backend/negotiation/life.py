"""Carries negotiations on, step by step, each in one transaction: an award is made once.

It also looks now and then whether what is booked exceeds a limit, and opens a negotiation where it does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from database.errors import DatabaseError
from database.interface import Database
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T
from negotiation.book import ClaimedNegotiation, NegotiationBook, NegotiationLease, Step, StepOutcome, Stepped
from negotiation.model import NegotiationState
from negotiation.moving import AwardMover
from negotiation.steps import next_step, work_has_changed
from negotiation.watch import LOOK_EVERY, LimitWatch
from queueing.failing import Failing
from queueing.heartbeat import Heartbeat
from queueing.stepping import Made, StepThread

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


class CoordinatorThread(StepThread[ClaimedNegotiation]):
    """The coordinator of this process."""

    thing = "negotiation"

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
            database,
            CHANNEL,
            clock=clock,
            poll_seconds=poll_seconds,
            again_after_s=AGAIN_AFTER_S,
            heartbeat=self._heartbeat,
        )
        self._book = book
        self._mover = AwardMover(database, carbon_price_gbp_per_t)
        self._watch = watch
        self._worker = worker
        self._failing_looks = Failing(LOOK_EVERY.total_seconds())

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there are negotiations it cannot carry on, in words."""
        unseen = "what exceeds a limit cannot be looked at: the log says why"
        return [*super().troubles(), *([unseen] if len(self._failing_looks) else [])]

    def _claim_due(self, now: datetime) -> tuple[list[ClaimedNegotiation], datetime | None]:
        self._look_at_limits(now)
        return self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)

    def _holding(self, claimed: Sequence[ClaimedNegotiation]) -> AbstractContextManager[object]:
        return self._heartbeat.holding([NegotiationLease(one.negotiation_id, one.lease_token) for one in claimed])

    def _name(self, claimed: ClaimedNegotiation) -> str:
        return str(claimed.negotiation_id)

    def _look_at_limits(self, now: datetime) -> None:
        """What was opened already goes on, even where what is booked cannot be looked at."""
        if self._watch is None:
            return
        try:
            looked = self._watch.look_sometimes(now)
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            self._tell_of_failing_look(error)
            self._failing_looks.failed(WATCH)
        else:
            if looked:
                self._failing_looks.worked(WATCH)

    def _tell_of_failing_look(self, error: Exception) -> None:
        """In full where nobody foresaw it, and once for as long as it goes on."""
        if len(self._failing_looks):
            return
        if isinstance(error, DatabaseError):
            _log.warning("the limits cannot be looked at, and are again in a while: %s", error)
        else:
            _log.error("the limits cannot be looked at, and are again in a while", exc_info=error)

    def _make_step(self, claimed: ClaimedNegotiation, now: datetime) -> Made:
        # Those before it may have taken a minute, and agents have as long to answer as they were promised.
        step, stepped = self._step(claimed, max(now, self._clock()))
        told = f"{claimed.state} to {step.state}" if stepped is Stepped.CHANGED else f"not {step.state}: {stepped}"
        again = "something was said meanwhile" if stepped is Stepped.OUTDATED else None
        return Made(f"{told}: {step.reason}", again)

    def _give_back(self, claimed: ClaimedNegotiation, reason: str, now: datetime, *, again_after_s: float) -> None:
        self._book.fail(claimed, reason, max(now, self._clock()), again_after_s=again_after_s)

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
