"""The requests that a provider's platform takes, search to cancel, each as a whole message.

A missing or mistyped field is refused with its path, where it is read; what is not read, named here or not, is let
through, so that a buyer of another make may say more. A search that seeks something else than compute is a whole
message too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from beckn.protocol.context import MessageContext, OrderContext, Text
from beckn.protocol.objects import Action, PaymentType, Price, TagGroup, TimeRange
from beckn.protocol.values import Identity, Omittable, Timestamp, Uuid, Written
from beckn.provider.messages_order import (
    Billing,
    Customer,
    Money,
    OrderObject,
    OrderStop,
    PaymentStatus,
    SelectedQuantity,
)


class SaidLabel(OrderObject):
    code: Omittable[str] = None


class SaidTag(OrderObject):
    """A tag as others write it: only of one that is known here the value must be text."""

    descriptor: Omittable[SaidLabel] = None
    value: Any = None


class SaidTags(OrderObject):
    """A group of tags as others write it: it may be named and not coded, and so may its tags."""

    descriptor: Omittable[SaidLabel] = None
    list: tuple[SaidTag, ...] = ()

    @classmethod
    def of(cls, group: TagGroup) -> SaidTags:
        """A group of ours."""
        return cls.model_validate_json(group.model_dump_json())


class Moments(OrderObject):
    """When something is to be: at a moment, or within a range."""

    timestamp: Omittable[Timestamp] = None
    range: Omittable[TimeRange] = None


class Intended(OrderObject):
    """The type of the workload, in the place of the item's code."""

    code: Omittable[str] = None


class IntentMeasure(OrderObject):
    unit: Omittable[str] = None
    value: Omittable[str] = None


class IntentSelected(OrderObject):
    measure: Omittable[IntentMeasure] = None


class IntentQuantity(OrderObject):
    selected: Omittable[IntentSelected] = None


class IntentPrice(OrderObject):
    currency: Omittable[str] = None
    maximum_value: Omittable[str] = None


class IntentItem(OrderObject):
    descriptor: Omittable[Intended] = None
    quantity: Omittable[IntentQuantity] = None
    price: Omittable[IntentPrice] = None


class IntentStop(OrderObject):
    type: Omittable[Identity] = None
    time: Omittable[Moments] = None


class IntentFulfillment(OrderObject):
    type: Written[str] = None
    stops: Omittable[tuple[IntentStop, ...]] = None


class IntentCategory(OrderObject):
    descriptor: Omittable[Intended] = None


class IntentDescriptor(OrderObject):
    """Words about what is sought, which no program reads."""


class Intent(OrderObject):
    """What is sought: a workload, when it may run, and what it needs."""

    descriptor: Omittable[IntentDescriptor] = None
    category: Omittable[IntentCategory] = None
    item: Omittable[IntentItem] = None
    fulfillment: IntentFulfillment
    tags: Omittable[tuple[SaidTags, ...]] = None

    @model_validator(mode="after")
    def _seeks_something(self) -> Intent:
        if self.descriptor is None and self.category is None and self.item is None:
            raise ValueError("an intent has an item, a category or a descriptor")
        return self


class AcceptedPrice(OrderObject):
    currency: Literal["GBP"]
    value: Money


class AcceptedQuote(OrderObject):
    """The quote that a buyer confirms."""

    id: Uuid
    price: AcceptedPrice


class AcceptedParams(OrderObject):
    """How much is paid, where the buyer says it once more."""

    amount: Omittable[Money] = None
    currency: Omittable[str] = None


class AcceptedPayment(OrderObject):
    id: Written[str] = None
    type: PaymentType
    collected_by: Written[str] = None
    status: Written[PaymentStatus] = None
    params: Omittable[AcceptedParams] = None


class OrderedProvider(OrderObject):
    id: Identity


class OrderedItem(OrderObject):
    """A slot and how much of it is wanted."""

    id: Identity
    quantity: SelectedQuantity
    price: Written[Price] = None


class OrderedFulfillment(OrderObject):
    """For whom an order is; when it runs is the slot's to say."""

    id: Written[str] = None
    type: Written[str] = None
    stops: Written[tuple[OrderStop, ...]] = None
    customer: Omittable[Customer] = None


OneItem = Annotated[tuple[OrderedItem, ...], Field(min_length=1, max_length=1)]
OneFulfillment = Annotated[tuple[OrderedFulfillment, ...], Field(min_length=1, max_length=1)]


class SelectedOrder(OrderObject):
    provider: OrderedProvider
    items: OneItem
    tags: Omittable[tuple[SaidTags, ...]] = None


class InitiatedOrder(OrderObject):
    provider: OrderedProvider
    items: OneItem
    billing: Billing
    fulfillments: OneFulfillment
    tags: Omittable[tuple[SaidTags, ...]] = None


class ConfirmedOrder(InitiatedOrder):
    quote: AcceptedQuote
    payments: Annotated[tuple[AcceptedPayment, ...], Field(min_length=1)]


class MovedStop(OrderObject):
    type: Identity
    time: Moments


class MovedFulfillment(OrderObject):
    id: Written[str] = None
    stops: Annotated[tuple[MovedStop, ...], Field(min_length=1)]


class UpdatedOrder(OrderObject):
    id: Identity
    fulfillments: Annotated[tuple[MovedFulfillment, ...], Field(min_length=1, max_length=1)]


class IntentMessage(OrderObject):
    intent: Intent


class SelectedMessage(OrderObject):
    order: SelectedOrder


class InitiatedMessage(OrderObject):
    order: InitiatedOrder


class ConfirmedMessage(OrderObject):
    order: ConfirmedOrder


class OrderIdMessage(OrderObject):
    order_id: Identity


class CancelDescriptor(OrderObject):
    short_desc: Omittable[str] = None


class CancelMessage(OrderObject):
    order_id: Identity
    cancellation_reason_id: Omittable[Text] = None
    descriptor: Omittable[CancelDescriptor] = None


class UpdateMessage(OrderObject):
    update_target: Literal["fulfillments"]
    order: UpdatedOrder


class SearchRequest(OrderObject):
    context: MessageContext
    message: IntentMessage


class SelectRequest(OrderObject):
    context: OrderContext
    message: SelectedMessage


class InitRequest(OrderObject):
    context: OrderContext
    message: InitiatedMessage


class ConfirmRequest(OrderObject):
    context: OrderContext
    message: ConfirmedMessage


class StatusRequest(OrderObject):
    context: OrderContext
    message: OrderIdMessage


class UpdateRequest(OrderObject):
    context: OrderContext
    message: UpdateMessage


class CancelRequest(OrderObject):
    context: OrderContext
    message: CancelMessage


OrderRequest = (
    SearchRequest | SelectRequest | InitRequest | ConfirmRequest | StatusRequest | UpdateRequest | CancelRequest
)

REQUESTS: dict[Action, type[OrderRequest]] = {
    Action.SEARCH: SearchRequest,
    Action.SELECT: SelectRequest,
    Action.INIT: InitRequest,
    Action.CONFIRM: ConfirmRequest,
    Action.STATUS: StatusRequest,
    Action.UPDATE: UpdateRequest,
    Action.CANCEL: CancelRequest,
}
"""The requests that a provider's platform takes, each with its model."""
