"""Callbacks as other providers write them, for the buyer's tool: what it reads of them, and no more.

A catalogue of another make need have no more than items with an id and a price. Orders are read by the models that
write ours; what those do not name is let through by `read_message`.
"""

from __future__ import annotations

from beckn.protocol.acknowledgement import Error
from beckn.protocol.context import OrderContext
from beckn.protocol.objects import Location
from beckn.protocol.values import Identity, Omittable, Written
from beckn.provider.messages_order import (
    Order,
    OrderCallback,
    OrderDescriptor,
    OrderFulfillment,
    OrderMessage,
    OrderObject,
    OrderStop,
    ProviderReference,
)
from beckn.provider.messages_request import Moments, SaidTags


class HeardDescriptor(OrderObject):
    short_desc: Omittable[str] = None


class HeardPrice(OrderObject):
    currency: Omittable[str] = None
    value: Omittable[str] = None


class HeardItem(OrderObject):
    """A slot that is offered. Its price is that of a GPU-minute."""

    id: Identity
    price: HeardPrice
    fulfillment_ids: tuple[str, ...] = ()
    """An empty one names nothing."""
    time: Omittable[Moments] = None
    tags: tuple[SaidTags, ...] = ()


class HeardProvider(OrderObject):
    id: Identity
    items: tuple[HeardItem, ...] = ()


class HeardCatalog(OrderObject):
    descriptor: Omittable[HeardDescriptor] = None
    providers: tuple[HeardProvider, ...] = ()


class HeardCatalogMessage(OrderObject):
    catalog: HeardCatalog


class HeardOnSearch(OrderObject):
    """`on_search`: a catalogue, or an error."""

    context: OrderContext
    message: Omittable[HeardCatalogMessage] = None
    error: Omittable[Error] = None


class HeardBilling(OrderObject):
    name: Omittable[str] = None
    email: Omittable[str] = None
    phone: Omittable[str] = None
    address: Omittable[str] = None
    tax_id: Omittable[str] = None


class HeardFee(OrderObject):
    amount: Omittable[HeardPrice] = None


class HeardTerm(OrderObject):
    """When a cancellation costs something."""

    cancellation_fee: Omittable[HeardFee] = None


class HeardProviderReference(ProviderReference):
    descriptor: Written[OrderDescriptor] = None
    locations: Written[tuple[Location, ...]] = None


class HeardStop(OrderStop):
    location: Written[Location] = None


class HeardFulfillment(OrderFulfillment):
    stops: Omittable[tuple[HeardStop, ...]] = None


class HeardOrder(Order):
    provider: HeardProviderReference
    fulfillments: tuple[HeardFulfillment, ...]
    billing: Omittable[HeardBilling] = None  # type: ignore[assignment]
    cancellation_terms: Omittable[tuple[HeardTerm, ...]] = None  # type: ignore[assignment]


class HeardOrderMessage(OrderMessage):
    order: HeardOrder


class HeardOrderCallback(OrderCallback):
    """`on_select` to `on_cancel`: the order, or an error."""

    context: OrderContext
    message: Omittable[HeardOrderMessage] = None
