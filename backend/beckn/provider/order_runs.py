"""Orders as work for the executor: each step tells the buyer, in the transaction that stores it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from beckn.protocol.objects import Action, Subscriber
from beckn.provider.messages_order import CancelledBy, FulfillmentStateCode
from beckn.provider.order_book import OrderBook, OrderChange, OrderLease, lease_of
from beckn.provider.order_document import unsolicited
from beckn.provider.quotes import has_moved
from beckn.provider.slots import as_sold, sold_cost_gbp
from beckn.provider.stored_orders import CancellationRecord, Deferral, DeferralReason, RequestedBy, StoredOrder
from database.interface import Database
from decisions.scoring.capacity import least_free_kw
from decisions.scoring.context import Task
from decisions.scoring.grid_context import GridContext
from execution.executor import Executor
from execution.prospects import DEFERRED_STATUS
from execution.usage import Actuals
from execution.work import Begin, Complete, Defer, DueRuns, FreePower, GiveBack, GiveUp, Step, Stored
from grid.half_hours import rfc3339
from vocabulary import WorkloadStatus

CHANNEL = "beckn_orders"

_TOLD_BY = {
    Begin: Action.ON_STATUS,
    Complete: Action.ON_STATUS,
    Defer: Action.ON_UPDATE,
    GiveUp: Action.ON_CANCEL,
    GiveBack: Action.ON_CANCEL,
}


@dataclass(frozen=True)
class OrderRun:
    """An order as the executor sees it."""

    order: StoredOrder

    @property
    def name(self) -> str:
        return f"order {self.order.order_id}"

    @property
    def operator(self) -> str | None:
        return None

    @property
    def lease(self) -> OrderLease:
        return lease_of(self.order)

    @property
    def task(self) -> Task:
        return as_sold(self.order.terms.task)

    @property
    def dc_id(self) -> str:
        return self.order.dc_id

    @property
    def it_power_kw(self) -> float:
        return self.order.it_power_kw

    @property
    def starts_at(self) -> datetime:
        return self.order.starts_at

    @property
    def ends_at(self) -> datetime:
        return self.order.ends_at

    @property
    def duration(self) -> timedelta:
        return self.order.terms.duration

    @property
    def is_running(self) -> bool:
        return self.order.state is FulfillmentStateCode.RUNNING

    @property
    def was_broken_off(self) -> bool:
        return False

    @property
    def promised_gco2(self) -> float | None:
        return self.order.terms.estimated_carbon_gco2

    def may_cost(self, cost_gbp: float) -> bool:
        """Whether a later run costs no more than was agreed, or so little more that the quote would still hold."""
        terms = self.order.terms
        return not has_moved(terms.price_gbp, sold_cost_gbp(terms.task, cost_gbp))


class OrderRuns:
    """The orders of one provider's platform as a book of promised runs."""

    def __init__(self, database: Database, own: Subscriber) -> None:
        self._book = OrderBook(database, own.subscriber_id)
        self._own = own

    def claim_due(self, worker: str, now: datetime, *, lease_seconds: float, limit: int) -> DueRuns[OrderRun]:
        due = self._book.claim_due(worker, now, lease_seconds=lease_seconds, limit=limit)
        return DueRuns(tuple(OrderRun(order) for order in due.claimed), due.next_due_at)

    def extend(self, runs: Sequence[Hashable], now: datetime, *, lease_seconds: float) -> None:
        self._book.extend(cast(Sequence[OrderLease], runs), now, lease_seconds=lease_seconds)

    def store(self, run: OrderRun, step: Step, now: datetime) -> Stored:
        change = _change(run.order, step, now)
        told = unsolicited(change.after(), _TOLD_BY[type(step)], self._own, now)
        return Stored(self._book.change(change, outgoing=[told], by_executor=True).state)

    def fail(self, run: OrderRun, error: str, now: datetime, *, again_after_s: float) -> None:
        self._book.fail(run.order, error, now, again_after_s=again_after_s)

    def grid(self, now: datetime) -> GridContext:
        return self._book.grid(now)

    def free_power(self, run: OrderRun, now: datetime) -> FreePower:
        capacity = self._book.capacity(now, without=run.order)
        return lambda start, end: least_free_kw(capacity, run.dc_id, start, end)


def executor_of_orders(
    database: Database,
    own: Subscriber,
    *,
    worker: str,
    carbon_price_gbp_per_t: float,
    clock: Callable[[], datetime],
    stored: Callable[[], None] = lambda: None,
) -> Executor[OrderRun]:
    """The executor of one platform's orders; `stored` is called when there are callbacks in the outbox."""
    return Executor(
        database,
        OrderRuns(database, own),
        channel=CHANNEL,
        called="Beckn orders",
        worker=worker,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        clock=clock,
        stored=stored,
    )


def _change(order: StoredOrder, step: Step, now: datetime) -> OrderChange:
    if isinstance(step, Begin):
        return _begun(order, step, now)
    if isinstance(step, Defer):
        return _deferred(order, step, now)
    if isinstance(step, Complete):
        return _completed(order, step, now)
    return _given_up(order, step, now)


def _begun(order: StoredOrder, step: Begin, now: datetime) -> OrderChange:
    return OrderChange(
        order=order,
        state=FulfillmentStateCode.RUNNING,
        status=WorkloadStatus.RUNNING,
        status_reason=f"Runs at {order.dc_id}.",
        at=now,
        due_at=step.ends_at,
        starts_at=step.starts_at,
        ends_at=step.ends_at,
        actuals=Actuals(start=step.starts_at),
    )


def _deferred(order: StoredOrder, step: Defer, now: datetime) -> OrderChange:
    return OrderChange(
        order=order,
        state=FulfillmentStateCode.DEFERRED,
        status=DEFERRED_STATUS[step.spike.reason],
        status_reason=f"{step.spike.explanation} It starts at {rfc3339(step.to.start)}.",
        at=now,
        due_at=step.to.start,
        starts_at=step.to.start,
        ends_at=step.to.end,
        deferral=Deferral(
            reason=DeferralReason(step.spike.reason),
            requested_by=RequestedBy.BPP,
            moved_from=order.starts_at,
            shifted_s=(step.to.start - order.starts_at).total_seconds(),
            explanation=step.spike.explanation,
        ),
    )


def _completed(order: StoredOrder, step: Complete, now: datetime) -> OrderChange:
    return OrderChange(
        order=order,
        state=FulfillmentStateCode.COMPLETED,
        status=WorkloadStatus.COMPLETED,
        status_reason=f"Ran at {order.dc_id}.{step.remark}",
        at=now,
        due_at=None,
        actuals=step.actuals,
        readings=step.readings,
    )


def _given_up(order: StoredOrder, step: GiveUp | GiveBack, now: datetime) -> OrderChange:
    return OrderChange(
        order=order,
        state=FulfillmentStateCode.CANCELLED,
        status=WorkloadStatus.FAILED,
        status_reason=step.reason,
        at=now,
        due_at=None,
        cancellation=CancellationRecord(time=now, cancelled_by=CancelledBy.PROVIDER, reason=step.reason),
    )
