"""Quotes and orders as the database keeps them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict

from beckn.protocol.context import MessageContext
from beckn.protocol.objects import Location, TagGroup
from beckn.protocol.values import UtcDatetime
from beckn.provider.messages_order import (
    Billing,
    CancelledBy,
    Customer,
    FulfillmentStateCode,
    OrderItem,
)
from beckn.provider.quotes import QuotedLine, total_gbp
from database.interface import Row
from decisions.scoring.context import Task
from vocabulary import StrEnum, WorkloadStatus

WAITING = frozenset({FulfillmentStateCode.SCHEDULED, FulfillmentStateCode.DEFERRED})
"""States in which an order can still be moved and cancelled."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class QuoteTerms(_Stored):
    """What was quoted: the workload, the item with its estimates, and the lines of the price."""

    task: Task
    provider_id: str
    location: Location
    item: OrderItem
    fulfillment_id: str
    lines: tuple[QuotedLine, ...]
    estimated_carbon_gco2: float
    duration_s: float
    latest_start: UtcDatetime | None
    """How late it may start; None where only its deadline says."""
    tags: tuple[TagGroup, ...]

    @property
    def price_gbp(self) -> Decimal:
        return total_gbp(self.lines)

    @property
    def duration(self) -> timedelta:
        return timedelta(seconds=self.duration_s)


class StoredQuote(_Stored):
    quote_id: UUID
    bpp_id: str
    bap_id: str
    transaction_id: UUID
    dc_id: str
    item_id: str
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: float
    terms: QuoteTerms
    expires_at: UtcDatetime


class OrderTerms(QuoteTerms):
    """A quote's terms, and with whom and how it was agreed."""

    billing: Billing
    customer: Customer | None = None
    context: MessageContext
    """Of the confirm: what unsolicited callbacks are part of."""


class DeferralReason(StrEnum):
    GRID_STRESS = "GRID_STRESS"
    CARBON = "CARBON"
    BUYER = "BUYER"


class RequestedBy(StrEnum):
    BAP = "BAP"
    BPP = "BPP"


class Deferral(_Stored):
    """Why and by how much an order was moved, for the last time it was."""

    reason: DeferralReason
    requested_by: RequestedBy
    moved_from: UtcDatetime
    shifted_s: float
    explanation: str


class CancellationRecord(_Stored):
    time: UtcDatetime
    cancelled_by: CancelledBy
    reason: str


class StoredOrder(_Stored):
    """An order, with what its workload has recorded. `starts_at` and `ends_at` are actual once it runs."""

    order_id: UUID
    bpp_id: str
    bap_id: str
    transaction_id: UUID
    quote_id: UUID
    job_id: str
    dc_id: str
    item_id: str
    state: FulfillmentStateCode
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: float
    terms: OrderTerms
    deferral: Deferral | None
    cancellation: CancellationRecord | None
    revision: int
    lease_token: int | None
    created_at: UtcDatetime
    updated_at: UtcDatetime
    status: WorkloadStatus
    status_reason: str | None
    actual_start: UtcDatetime | None
    actual_end: UtcDatetime | None
    actual_energy_kwh: float | None
    actual_carbon_gco2: float | None
    actual_cost_gbp: float | None


Stored = TypeVar("Stored", bound=_Stored)


def read_stored(model: type[Stored], row: Row) -> Stored:
    """A row as the database answers it, typed."""
    return model.model_validate_json(orjson.dumps(row))
