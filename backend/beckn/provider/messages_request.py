"""The requests that a provider's platform takes, search to cancel, each as a whole message.

A missing or mistyped field is refused with its path; what these models do not name is let through unread, so that a
buyer of another make may say more.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from beckn.context_rules import MessageContext, OrderContext, Text
from beckn.messages import Action, Price, TagGroup, Time
from beckn.provider.messages_order import (
    Billing,
    OrderDescriptor,
    OrderFulfillment,
    OrderItem,
    OrderObject,
    OrderPayment,
    OrderStop,
    ProviderReference,
    SelectedQuantity,
)
from beckn.values import Decimals, Identity, Omittable, Uuid
from vocabulary import WorkloadType


class Intended(OrderObject):
    """The type of the workload, in the place of the item's code."""

    code: WorkloadType


class IntentItem(OrderObject):
    descriptor: Omittable[Intended] = None
    quantity: Omittable[SelectedQuantity] = None
    price: Omittable[Price] = None


class IntentFulfillment(OrderObject):
    type: Omittable[Identity] = None
    stops: Omittable[tuple[OrderStop, ...]] = None


class IntentCategory(OrderObject):
    id: Omittable[Identity] = None
    descriptor: Omittable[OrderDescriptor] = None


class Intent(OrderObject):
    """What is sought: a workload, when it may run, and what it needs."""

    descriptor: Omittable[OrderDescriptor] = None
    category: Omittable[IntentCategory] = None
    item: Omittable[IntentItem] = None
    fulfillment: IntentFulfillment
    tags: Omittable[tuple[TagGroup, ...]] = None

    @model_validator(mode="after")
    def _seeks_something(self) -> Intent:
        if self.descriptor is None and self.category is None and self.item is None:
            raise ValueError("an intent has an item, a category or a descriptor")
        return self


class AcceptedPrice(OrderObject):
    currency: Literal["GBP"]
    value: Decimals


class AcceptedQuote(OrderObject):
    """The quote that a buyer confirms."""

    id: Uuid
    price: AcceptedPrice


OneItem = Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=1)]
OneFulfillment = Annotated[tuple[OrderFulfillment, ...], Field(min_length=1, max_length=1)]


class SelectedOrder(OrderObject):
    provider: ProviderReference
    items: OneItem
    fulfillments: Omittable[tuple[OrderFulfillment, ...]] = None
    tags: Omittable[tuple[TagGroup, ...]] = None


class InitiatedOrder(OrderObject):
    provider: ProviderReference
    items: OneItem
    billing: Billing
    fulfillments: OneFulfillment
    tags: Omittable[tuple[TagGroup, ...]] = None


class ConfirmedOrder(InitiatedOrder):
    quote: AcceptedQuote
    payments: Annotated[tuple[OrderPayment, ...], Field(min_length=1)]


class MovedStop(OrderObject):
    type: Identity
    time: Time


class MovedFulfillment(OrderObject):
    id: Omittable[Identity] = None
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


class CancelMessage(OrderObject):
    order_id: Identity
    cancellation_reason_id: Omittable[Text] = None
    descriptor: Omittable[OrderDescriptor] = None


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
