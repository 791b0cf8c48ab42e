"""Carries events on, step by step, each in one transaction; and lets in what the sources have published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from database.interface import Database
from flexibility.book import EventBook, Stepped
from flexibility.dfs_door import announce_published
from flexibility.event_model import ClaimedEvent
from flexibility.rules.supplier_prices import SupplierPrices
from flexibility.steps import Steps
from queueing.stepping import Made, StepThread

CHANNEL = "flexibility"
LEASE_SECONDS = 60.0
BATCH = 4
AGAIN_AFTER_S = 30.0
POLL_SECONDS = 5.0
LOOK_AT_WHAT_IS_PUBLISHED = timedelta(seconds=30)


class FlexibilityLife(StepThread[ClaimedEvent]):
    """The one who carries events on in this process."""

    thing = "flexibility event"

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
        super().__init__(database, CHANNEL, clock=clock, poll_seconds=poll_seconds, again_after_s=AGAIN_AFTER_S)
        self._database = database
        self._book = EventBook(database)
        self._steps = Steps(self._book, carbon_price_gbp_per_t, supplier_prices)
        self._worker = worker
        self._looked_at: datetime | None = None
        self._claimed_at_s = 0.0

    def _claim_due(self, now: datetime) -> tuple[list[ClaimedEvent], datetime | None]:
        self._let_in(now)
        self._claimed_at_s = monotonic()
        return self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)

    def _let_in(self, now: datetime) -> None:
        """What was published since the last look becomes events."""
        last = self._looked_at
        if last is None or not last <= now < last + LOOK_AT_WHAT_IS_PUBLISHED:
            announce_published(self._database, now)
            self._looked_at = now

    def _name(self, claimed: ClaimedEvent) -> str:
        return str(claimed.event_id)

    def _make_step(self, claimed: ClaimedEvent, now: datetime) -> Made:
        step = self._steps.next_step(claimed, now)
        outcome = self._book.store(claimed, step, now, worked_s=monotonic() - self._claimed_at_s)
        return Made(
            f"{_told(claimed, step.state, outcome)}: {step.reason}",
            "what was to move has changed: it is looked at again" if outcome is Stepped.OUTDATED else None,
        )

    def _give_back(self, claimed: ClaimedEvent, reason: str, now: datetime, *, again_after_s: float) -> None:
        self._book.fail(claimed, reason, now, again_after_s=again_after_s)


def _told(event: ClaimedEvent, state: str, outcome: Stepped) -> str:
    if outcome is not Stepped.CHANGED:
        return f"not {state}, as it was {outcome}"
    return str(state) if event.state == state else f"{event.state} to {state}"
