"""Carries events on: a thread that takes what is due and makes one step of each, under a lease.

Any number of processes may have one. A step is one transaction under a fencing token: whatever dies when, none is
lost or made twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from database.errors import DatabaseError
from database.interface import Database
from flexibility.book import EventBook, Stepped
from flexibility.dfs_door import announce_published
from flexibility.event_model import ClaimedEvent
from flexibility.rules.supplier_prices import SupplierPrices
from flexibility.steps import Steps
from queueing.consumer import Consumer, Round
from queueing.failing import Failing

_log = logging.getLogger(__name__)

CHANNEL = "flexibility"
LEASE_SECONDS = 60.0
BATCH = 4
AGAIN_AFTER_S = 30.0
POLL_SECONDS = 5.0
LOOK_AT_WHAT_IS_PUBLISHED = timedelta(seconds=30)


class FlexibilityLife(Consumer):
    """The one who carries events on in this process."""

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        carbon_price_gbp_per_t: float,
        supplier_prices: SupplierPrices,
        clock: Callable[[], datetime],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Nothing runs before `start`."""
        super().__init__("flexibility", self.work_once, database, CHANNEL, threads=1, poll_seconds=poll_seconds)
        self._database = database
        self._book = EventBook(database)
        self._steps = Steps(self._book, carbon_price_gbp_per_t, supplier_prices)
        self._worker = worker
        self._clock = clock
        self._looked_at: datetime | None = None
        self._failing = Failing(AGAIN_AFTER_S)

    def work_once(self) -> Round:
        """Make a step of everything that is due now."""
        return self.run_due(self._clock())

    def run_due(self, now: datetime) -> Round:
        """Make a step of everything that is due at `now`, in this thread.

        Raises:
            DatabaseError: the work cannot be had.
        """
        self._let_in(now)
        since_s = monotonic()
        claimed, next_due_at = self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)
        if claimed:
            self.found(more_likely=False)
        for event in claimed:
            self._try_step(event, now, since_s)
        return Round(len(claimed), (next_due_at - now).total_seconds() if next_due_at else None)

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there are events it cannot carry on, in words."""
        failing = len(self._failing)
        told = f"{failing} flexibility events cannot be carried on: the log says why"
        return [*super().troubles(), *([told] if failing else [])]

    def _let_in(self, now: datetime) -> None:
        """What was published since the last look becomes events."""
        last = self._looked_at
        if last is None or not last <= now < last + LOOK_AT_WHAT_IS_PUBLISHED:
            announce_published(self._database, now)
            self._looked_at = now

    def _try_step(self, event: ClaimedEvent, now: datetime, since_s: float) -> None:
        """One step of one event, claimed at `now`; a fault in it does not hold up the others."""
        name = str(event.event_id)
        try:
            step = self._steps.next_step(event, now)
            outcome = self._book.store(event, step, now, worked_s=monotonic() - since_s)
        except DatabaseError as error:
            # Its lease is given back; what the database could not do now it may do later.
            self._fail(event, now, error)
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            _log.exception("flexibility event %s: this step failed", name)
            self._fail(event, now, error)
        else:
            self._failing.worked(name)
            if outcome is Stepped.OUTDATED:
                self._book.fail(event, "what was to move has changed: it is looked at again", now, again_after_s=0.0)
            _log.info("flexibility event %s: %s: %s", name, _told(event, step.state, outcome), step.reason)

    def _fail(self, event: ClaimedEvent, now: datetime, error: Exception) -> None:
        _log.warning("flexibility event %s: tried again later: %s", event.event_id, error)
        self._failing.failed(str(event.event_id))
        self._book.fail(event, f"{type(error).__name__}: {error}", now, again_after_s=AGAIN_AFTER_S)


def _told(event: ClaimedEvent, state: str, outcome: Stepped) -> str:
    if outcome is not Stepped.CHANGED:
        return f"not {state}, as it was {outcome}"
    return str(state) if event.state == state else f"{event.state} to {state}"
