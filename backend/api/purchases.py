"""Endpoints for what was bought and sold on the Beckn network: an operator's orders and quotes, from both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.places import Place, place_of, read_place
from beckn.provider.messages_order import FulfillmentStateCode
from database.interface import Database
from ontology.types import Moment
from vocabulary import StrEnum
from web.application import answer
from web.parameters import Paged

TAG = Tag(name="Purchases", description="What was bought and sold on the Beckn network")


class Side(StrEnum):
    """Which side of a purchase somebody is on."""

    BUYER = "buyer"
    SELLER = "seller"
    BOTH = "both"


class Purchase(BaseModel):
    """What a quote and an order have in common. `terms` are as the provider's platform wrote them."""

    quote_id: UUID
    transaction_id: UUID
    bap_id: str = Field(description="The buyer's platform")
    bpp_id: str = Field(description="The provider's platform")
    buyer_operator: str = Field(description="Whom the buyer's platform speaks for; a stranger's speaks for platform")
    seller_operator: str = Field(description="Whose data centre it is")
    side: Side | None = Field(description="Which of the two the caller is; null where the caller sees everybody's")
    dc_id: str
    item_id: str
    starts_at: Moment
    ends_at: Moment
    it_power_kw: float
    price_gbp: float
    terms: dict[str, Any]
    created_at: Moment


class Quote(Purchase):
    """A price that holds until `expires_at`. One that nobody took is kept for an hour more."""

    expires_at: Moment


class Order(Purchase):
    """A slot that was ordered; its workload is the buyer's, `job_id`."""

    order_id: UUID
    job_id: str
    state: FulfillmentStateCode
    deferral: dict[str, Any] | None
    cancellation: dict[str, Any] | None
    revision: int
    updated_at: Moment


_NEXT = Field(description="Pass this as after= to go on; null at the end")


class OrderPage(BaseModel):
    """Orders, newest first."""

    orders: list[Order]
    next: str | None = _NEXT


class QuotePage(BaseModel):
    """Quotes, newest first."""

    quotes: list[Quote]
    next: str | None = _NEXT


class PurchasesQuery(Paged):
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")


def purchase_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/market/orders` and `/api/v1/market/quotes`; both sides of a purchase see the whole of it."""
    endpoints = APIBlueprint("purchases", __name__, url_prefix="/api/v1/market", abp_tags=[TAG])

    def newest(function: str, query: PurchasesQuery) -> list[Any]:
        """One more than was asked for, where there are more."""
        before, before_id = read_place(query.after)
        arguments = {"p_before": before, "p_before_id": before_id, "p_limit": query.limit + 1}
        rows: list[Any] = database.call(function, arguments, repeatable=True)
        return rows

    @endpoints.get("/orders", summary="Orders that one placed or is to serve", responses={200: OrderPage})
    def orders(query: PurchasesQuery) -> Response:
        rows = newest("purchased_orders", query)
        found = [Order.model_validate(row) for row in rows[: query.limit]]
        return answer({"orders": found, "next": _next([(each, each.order_id) for each in found], len(rows))})

    @endpoints.get("/quotes", summary="Quotes that one was given or gave", responses={200: QuotePage})
    def quotes(query: PurchasesQuery) -> Response:
        rows = newest("purchased_quotes", query)
        found = [Quote.model_validate(row) for row in rows[: query.limit]]
        return answer({"quotes": found, "next": _next([(each, each.quote_id) for each in found], len(rows))})

    return endpoints


def _next(shown: Sequence[tuple[Purchase, UUID]], count: int) -> str | None:
    """A place that stays one when what stands there is gone, as quotes are after a while."""
    if count <= len(shown):
        return None
    last, identity = shown[-1]
    return place_of(last.created_at, identity)
