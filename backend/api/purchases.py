"""Endpoints for what was bought and sold on the Beckn network: an operator's orders and quotes, from both sides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.places import Place, place_of, read_place
from beckn.provider.messages_order import FulfillmentStateCode
from database.interface import Database
from ontology.types import Moment
from vocabulary import StrEnum
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import Paged
from web.problems import Problem

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


class MessageState(StrEnum):
    """How far a message has come where we have it: at its recipient, or else at its sender."""

    WAITING = "waiting"
    IN_WORK = "in_work"
    DONE = "done"
    GIVEN_UP = "given_up"


_MESSAGE_STATES = {
    "available": MessageState.WAITING,
    "retryable": MessageState.WAITING,
    "running": MessageState.IN_WORK,
    "completed": MessageState.DONE,
    "discarded": MessageState.GIVEN_UP,
}


class StoredMessage(BaseModel):
    """A message as one of our platforms has it."""

    sender: str
    recipient: str
    action: str
    message_id: UUID
    sent_at: datetime | None
    received_at: datetime | None
    work_state: str
    attempts: int
    answered: str | None
    body_digest: str


class TransactionMessage(BaseModel):
    """A message of a transaction, without its body."""

    sender: str
    recipient: str
    action: str = Field(json_schema_extra={"example": "on_select"})
    message_id: UUID
    sent_at: Moment | None = Field(description="When it was written; null where its sender is not on this database")
    received_at: Moment | None = Field(description="When it came in; null where its recipient is elsewhere")
    state: MessageState = Field(
        description="done: it was worked on or, where its recipient is elsewhere, taken by it"
    )
    attempts: int
    answered: str | None = Field(description="ACK or NACK, which it was answered with at once")
    body_sha256: str | None = Field(description="The SHA-256 of its bytes")


class OrderStory(BaseModel):
    """An order, and what was said about it."""

    order: Order
    quoted_at: Moment | None = Field(description="When its quote was made")
    messages: list[TransactionMessage] = Field(description="Those that are still kept, the first one first")


class OrderPath(BaseModel):
    order_id: UUID = Field(
        description="Identity of the order", json_schema_extra={"example": "6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69"}
    )


class PurchasesQuery(Paged):
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")


def purchase_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/market/orders` and `/api/v1/market/quotes`; both sides of a purchase see the whole of it."""
    endpoints = APIBlueprint("purchases", __name__, url_prefix="/api/v1/market", abp_tags=[TAG])

    @endpoints.get("/orders", summary="Orders that one placed or is to serve", responses={200: OrderPage})
    def orders(query: PurchasesQuery) -> Response:
        return answer(read_orders(database, query))

    @endpoints.get(
        "/orders/<order_id>",
        summary="One order, and the messages of its transaction",
        description="Messages are kept for about an hour after they are done with, those given up on for a week.",
        responses={200: OrderStory},
    )
    def order(path: OrderPath) -> Response:
        return answer(read_order(database, path.order_id))

    @endpoints.get("/quotes", summary="Quotes that one was given or gave", responses={200: QuotePage})
    def quotes(query: PurchasesQuery) -> Response:
        rows = _newest(database, "purchased_quotes", query)
        found = [Quote.model_validate(row) for row in rows[: query.limit]]
        return answer({"quotes": found, "next": _next([(each, each.quote_id) for each in found], len(rows))})

    return endpoints


def read_orders(database: Database, query: PurchasesQuery) -> OrderPage:
    """A page of orders, the newest first.

    Raises:
        DatabaseError: the database does not answer.
    """
    rows = _newest(database, "purchased_orders", query)
    found = [Order.model_validate(row) for row in rows[: query.limit]]
    return OrderPage(orders=found, next=_next([(each, each.order_id) for each in found], len(rows)))


def read_order(database: Database, order_id: UUID) -> OrderStory:
    """One order with the messages of its transaction, the first one first.

    Raises:
        Problem: 404, there is none that the caller is a side of.
        DatabaseError: the database does not answer.
    """
    found = database.call("purchase_story", {"p_order_id": order_id}, repeatable=True)
    if found is None:
        raise Problem(404, f"there is no order {str(order_id)!r}: GET /api/v1/market/orders lists them")
    return OrderStory(
        order=Order.model_validate(found["order"]),
        quoted_at=found["quoted_at"],
        messages=_paired([StoredMessage.model_validate(row) for row in found["messages"]]),
    )


def _paired(stored: Sequence[StoredMessage]) -> list[TransactionMessage]:
    """Each message once, whether one of the two platforms has it here or both."""
    together: dict[tuple[str, str, str, UUID], list[StoredMessage]] = {}
    for one in stored:
        together.setdefault((one.sender, one.recipient, one.action, one.message_id), []).append(one)
    return [_message(halves) for halves in together.values()]


def _message(halves: Sequence[StoredMessage]) -> TransactionMessage:
    first = halves[0]
    received = next((half for half in halves if half.received_at is not None), None)
    sent = next((half for half in halves if half.sent_at is not None), None)
    shown = received or first
    return TransactionMessage(
        sender=first.sender,
        recipient=first.recipient,
        action=first.action,
        message_id=first.message_id,
        sent_at=None if sent is None else sent.sent_at,
        received_at=None if received is None else received.received_at,
        state=_MESSAGE_STATES[shown.work_state],
        attempts=shown.attempts,
        answered=shown.answered,
        body_sha256=shown.body_digest or None,
    )


def _newest(database: Database, function: str, query: PurchasesQuery) -> list[Any]:
    """One more than was asked for, where there are more."""
    before, before_id = read_place(query.after)
    arguments = {"p_before": before, "p_before_id": before_id, "p_limit": query.limit + 1}
    rows: list[Any] = database.call(function, arguments, repeatable=True)
    return rows


def _next(shown: Sequence[tuple[Purchase, UUID]], count: int) -> str | None:
    """A place that stays one when what stands there is gone, as quotes are after a while."""
    if count <= len(shown):
        return None
    last, identity = shown[-1]
    return place_of(last.created_at, identity)
