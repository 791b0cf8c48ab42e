"""Quotes and orders in the database: the one place where capacity is taken, moved and given back.

Every change is one call of an SQL function (`backend/deprecated/supabase_triggers.sql`, "The provider's platform"),
so it is atomic over psycopg and PostgREST alike, and callbacks go into the outbox in the same transaction.

All methods raise `database.errors.DatabaseError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from beckn.network.outbox import OutgoingMessage
from beckn.provider.messages_order import FulfillmentStateCode
from beckn.provider.order_limits import BuyerLimits
from beckn.provider.stored_orders import (
    CancellationRecord,
    Deferral,
    OrderTerms,
    StoredOrder,
    StoredQuote,
    read_stored,
)
from database.interface import Database, OrderBy, Row, Where
from decisions.scoring.context import Capacity
from decisions.scoring.grid_context import GridContext
from execution.metering import Reading
from execution.simulated_run import simulated_run
from execution.usage import NOTHING_USED, Actuals
from execution.work import Complete
from grid.half_hours import from_rfc3339
from printable import LONGEST_REASON, printable
from vocabulary import StrEnum, WorkloadStatus
from workloads.model import WorkloadNeeds


class Placing(StrEnum):
    """How a confirm ended."""

    PLACED = "placed"
    REPEATED = "repeated"
    OTHER_ORDER = "other_order"
    UNKNOWN_QUOTE = "unknown_quote"
    QUOTE_EXPIRED = "quote_expired"
    NOT_ACTIVE = "not_active"
    NO_CAPACITY = "no_capacity"
    TOO_MANY_ORDERS = "too_many_orders"
    TOO_MANY_CANCELLED = "too_many_cancelled"
    SHARE_HELD = "share_held"


class Changing(StrEnum):
    """How a step of an order ended. `FENCED`: another process has it, nothing is stored."""

    CHANGED = "changed"
    FENCED = "fenced"
    WRONG_STATE = "wrong_state"
    NO_CAPACITY = "no_capacity"


@dataclass(frozen=True)
class Placed:
    """The outcome of a confirm: the order, if there is one, and the IT power that was free, if too little."""

    state: Placing
    order: StoredOrder | None
    free_kw: float | None


@dataclass(frozen=True)
class Changed:
    state: Changing
    order: StoredOrder | None
    free_kw: float | None


@dataclass(frozen=True)
class OrderChange:
    """One step of an order from `order` as it was seen to `state`; None leaves a field as it is."""

    order: StoredOrder
    state: FulfillmentStateCode
    status: WorkloadStatus
    at: datetime
    due_at: datetime | None
    status_reason: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    deferral: Deferral | None = None
    cancellation: CancellationRecord | None = None
    actuals: Actuals = NOTHING_USED
    readings: tuple[Reading, ...] = ()

    def after(self) -> StoredOrder:
        """The order as it will be, for the callback that is stored with the change."""
        changes: dict[str, Any] = {
            "state": self.state,
            "status": self.status,
            "updated_at": self.at,
            "revision": self.order.revision + 1,
            "status_reason": self.status_reason or self.order.status_reason,
            "starts_at": self.starts_at or self.order.starts_at,
            "ends_at": self.ends_at or self.order.ends_at,
            "deferral": self.deferral or self.order.deferral,
            "cancellation": self.cancellation or self.order.cancellation,
            "actual_start": self.actuals.start or self.order.actual_start,
            "actual_end": self.actuals.end or self.order.actual_end,
            "actual_energy_kwh": self.actuals.energy_kwh,
            "actual_carbon_gco2": self.actuals.carbon_gco2,
            "actual_cost_gbp": self.actuals.cost_gbp,
        }
        return self.order.model_copy(update=changes)


@dataclass(frozen=True)
class DueOrders:
    """Orders that this process holds on a lease, and when the next one is due, None when none is."""

    claimed: tuple[StoredOrder, ...]
    next_due_at: datetime | None


@dataclass(frozen=True)
class OrderLease:
    """The right to make an order's next step, for as long as nobody else got a newer token for it."""

    order_id: UUID
    token: int | None


def lease_of(order: StoredOrder) -> OrderLease:
    """The lease that an order was claimed on."""
    return OrderLease(order.order_id, order.lease_token)


class OrderBook:
    """The quotes and orders of one provider's platform. Safe to use from many threads and processes."""

    def __init__(self, database: Database, bpp_id: str, *, limits: BuyerLimits | None = None) -> None:
        """`limits` are each buyer's."""
        self._database = database
        self._bpp_id = bpp_id
        self.limits = limits or BuyerLimits()

    def grid(self, now: datetime) -> GridContext:
        """The grid and the data centres at `now`."""
        return GridContext.model_validate(self._database.call("grid_context", {"p_now": now}, repeatable=True))

    def capacity(self, now: datetime, *, without: StoredOrder | None = None) -> Capacity:
        """The IT power that each data centre has free from `now` on; `without` is an order that is to be moved."""
        arguments: Row = {"p_now": now, "p_without": self._booking_of(without) if without else None}
        return Capacity.model_validate(self._database.call("capacity_at", arguments, repeatable=True))

    def _booking_of(self, order: StoredOrder) -> int | None:
        rows = self._database.select(
            "capacity_bookings",
            where=[Where("order_id", str(order.order_id))],
            order=OrderBy(("booking_id",)),
            columns=("booking_id",),
        )
        return int(rows[0]["booking_id"]) if rows else None

    def store_quote(self, quote: StoredQuote) -> StoredQuote | None:
        """Store a quote; the stored one where it is there already, None where its buyer has too many that hold."""
        row = quote.model_dump(mode="json") | {
            "price_gbp": str(quote.terms.price_gbp),
            "limits": asdict(self.limits),
        }
        stored = self._database.call("beckn_store_quote", {"p_quote": row}, repeatable=True)
        return read_stored(StoredQuote, stored) if stored else None

    def quote(self, bap_id: str, transaction_id: str, quote_id: str) -> StoredQuote | None:
        rows = self._quotes(bap_id, transaction_id, Where("quote_id", quote_id))
        return read_stored(StoredQuote, rows[0]) if rows else None

    def newest_quote(self, bap_id: str, transaction_id: str, item_id: str) -> StoredQuote | None:
        """The quote of a transaction's last select of an item."""
        rows = self._quotes(bap_id, transaction_id, Where("item_id", item_id))
        return read_stored(StoredQuote, rows[0]) if rows else None

    def place(self, order_id: str, quote: StoredQuote, terms: OrderTerms, start: datetime, now: datetime) -> Placed:
        """Make a quote an order, if there is capacity still; the transaction's order where it has one."""
        task = terms.task
        workload: Row = {
            "job_id": f"order:{order_id}",
            **{name: getattr(task, name) for name in WorkloadNeeds.model_fields},
            "deferral_window_mins": None if task.deferral_window_mins is None else int(task.deferral_window_mins),
        }
        row: Row = {
            "order_id": order_id,
            "quote_id": str(quote.quote_id),
            "bpp_id": self._bpp_id,
            "bap_id": quote.bap_id,
            "transaction_id": str(quote.transaction_id),
            "starts_at": start,
            "ends_at": start + terms.duration,
            "terms": terms.model_dump(mode="json"),
            "workload": workload,
            "limits": asdict(self.limits),
        }
        answer = self._database.call("beckn_place_order", {"p_order": row, "p_now": now}, repeatable=True)
        return Placed(Placing(answer["state"]), _order(answer), answer.get("free_kw"))

    def order(self, bap_id: str, order_id: str) -> StoredOrder | None:
        """An order of this buyer."""
        try:
            identity = str(UUID(order_id))
        except ValueError:
            return None
        arguments = {"p_bpp_id": self._bpp_id, "p_bap_id": bap_id, "p_order_id": identity}
        row = self._database.call("beckn_order", arguments, repeatable=True)
        return read_stored(StoredOrder, row) if row else None

    def order_of_transaction(self, bap_id: str, transaction_id: str) -> StoredOrder | None:
        rows = self._database.select(
            "beckn_orders",
            where=self._of_transaction(bap_id, transaction_id),
            order=OrderBy(("order_id",)),
            columns=("order_id",),
        )
        return self.order(bap_id, rows[0]["order_id"]) if rows else None

    def change(
        self, change: OrderChange, *, outgoing: Sequence[OutgoingMessage] = (), by_executor: bool = False
    ) -> Changed:
        """One step of an order. An executor's is stored only while it holds the order's lease."""
        used = change.actuals
        row: Row = {
            "order_id": str(change.order.order_id),
            "lease_token": change.order.lease_token if by_executor else None,
            "from_states": [str(change.order.state)],
            "state": str(change.state),
            "starts_at": change.starts_at,
            "ends_at": change.ends_at,
            "deferral": change.deferral.model_dump(mode="json") if change.deferral else None,
            "cancellation": change.cancellation.model_dump(mode="json") if change.cancellation else None,
            "due_at": change.due_at,
            "updated_at": change.at,
            "readings": [reading.row() for reading in change.readings],
            "workload": {
                "status": str(change.status),
                "status_reason": change.status_reason,
                "scheduled_start": change.starts_at,
                "actual_start": used.start,
                "actual_end": used.end,
                "actual_energy_kwh": used.energy_kwh,
                "actual_carbon_gco2": used.carbon_gco2,
                "actual_cost_gbp": used.cost_gbp,
            },
            "share": None if by_executor else self.limits.share,
        }
        arguments = {"p_change": row, "p_outgoing": [message.row() for message in outgoing]}
        answer = self._database.call("beckn_change_order", arguments)
        return Changed(Changing(answer["state"]), _order(answer), answer.get("free_kw"))

    def broken_off(self, order: StoredOrder, end: datetime) -> Complete:
        """What a running order came to that ends at `end`, before its time."""
        return simulated_run(self._database, order.dc_id, order.starts_at, end, order.it_power_kw)

    def claim_due(self, worker: str, now: datetime, *, lease_seconds: float, limit: int) -> DueOrders:
        """Take up to `limit` orders that are to start or to end by `now`, lost leases included."""
        arguments = {
            "p_bpp_id": self._bpp_id,
            "p_worker": worker,
            "p_now": now,
            "p_lease_seconds": lease_seconds,
            "p_limit": limit,
        }
        answer = self._database.call("beckn_claim_orders", arguments)
        next_due = answer["next_due_at"]
        return DueOrders(
            tuple(read_stored(StoredOrder, row) for row in answer["claimed"]),
            from_rfc3339(next_due) if next_due else None,
        )

    def extend(self, leases: Sequence[OrderLease], now: datetime, *, lease_seconds: float) -> None:
        """Hold orders for another lease time, as far as they are still held."""
        rows: list[Row] = [{"order_id": str(lease.order_id), "lease_token": lease.token} for lease in leases]
        arguments = {"p_leases": rows, "p_now": now, "p_lease_seconds": lease_seconds}
        self._database.call("beckn_heartbeat_orders", arguments, repeatable=True)

    def fail(self, order: StoredOrder, error: str, now: datetime, *, again_after_s: float) -> None:
        """Put an order back whose step failed; nothing happens when its lease was lost."""
        arguments = {
            "p_order_id": str(order.order_id),
            "p_lease_token": order.lease_token,
            "p_error": printable(error, LONGEST_REASON),
            "p_now": now,
            "p_retry_seconds": again_after_s,
        }
        self._database.call("beckn_fail_order", arguments, repeatable=True)

    def _quotes(self, bap_id: str, transaction_id: str, condition: Where) -> list[Row]:
        return self._database.select(
            "beckn_quotes",
            where=[*self._of_transaction(bap_id, transaction_id), condition],
            order=OrderBy(("created_at", "quote_id"), descending=True),
            limit=1,
        )

    def _of_transaction(self, bap_id: str, transaction_id: str) -> list[Where]:
        return [Where("bpp_id", self._bpp_id), Where("bap_id", bap_id), Where("transaction_id", transaction_id)]


def _order(answer: Any) -> StoredOrder | None:
    row = answer.get("order")
    return read_stored(StoredOrder, row) if row else None
