"""The order of Beckn 1.1 and the callbacks that carry it, as this network takes them.

What these models do not name is let through unread. Callbacks carry a message or an error, never both.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from beckn.protocol.acknowledgement import Error
from beckn.protocol.context import Text
from beckn.protocol.objects import (
    GPU_MINUTE,
    BecknObject,
    Catalog,
    Context,
    Location,
    PaymentType,
    Price,
    Scalar,
    TagGroup,
    Time,
)
from beckn.protocol.values import Decimals, Duration, Identity, Omittable, Timestamp, Uuid
from vocabulary import StrEnum

LEAST_GPU_MINUTES = Decimal("0.001")
MOST_GPU_MINUTES = 10_000_000
LONGEST_AMOUNT = 40
"""Characters of an amount: more than any that is paid or measured here has."""


class OrderStatus(StrEnum):
    ACTIVE = "ACTIVE"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"


class FulfillmentStateCode(StrEnum):
    """What becomes of an order; docs/beckn_provider.md has the way through."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    DEFERRED = "DEFERRED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class CancelledBy(StrEnum):
    CONSUMER = "CONSUMER"
    PROVIDER = "PROVIDER"


class PaymentStatus(StrEnum):
    PAID = "PAID"
    NOT_PAID = "NOT-PAID"


class OrderObject(BecknObject):
    """Part of an order: fields that are not named are not read."""

    model_config = ConfigDict(extra="ignore")


def _gpu_minutes(measure: Scalar) -> Scalar:
    if measure.unit != GPU_MINUTE:
        raise PydanticCustomError("unit", "Input should be in " + GPU_MINUTE)
    if not are_gpu_minutes(measure.value):
        raise PydanticCustomError("quantity", GPU_MINUTES_TAKEN)
    return measure


def are_gpu_minutes(amount: str) -> bool:
    """Whether a decimal number is a quantity that can be ordered."""
    return len(amount) <= LONGEST_AMOUNT and LEAST_GPU_MINUTES <= Decimal(amount) <= MOST_GPU_MINUTES


GPU_MINUTES_TAKEN = f"Input should be from {LEAST_GPU_MINUTES} to {MOST_GPU_MINUTES} {GPU_MINUTE}"

GpuMinutes = Annotated[Scalar, AfterValidator(_gpu_minutes)]
Money = Annotated[Decimals, Field(max_length=LONGEST_AMOUNT)]
"""An amount of money that is compared, to the last digit."""


class SelectedMeasure(OrderObject):
    measure: GpuMinutes


class SelectedQuantity(OrderObject):
    """How many GPU-minutes of an item are wanted."""

    selected: SelectedMeasure


class OrderDescriptor(OrderObject):
    name: Omittable[str] = None
    code: Omittable[str] = None
    short_desc: Omittable[str] = None


def _coded(value: Any, validated: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if info.mode == "json" and isinstance(value, list):
        value = tuple(group for group in map(_coded_group, value) if group is not None)
    return validated(value)


def _coded_group(group: Any) -> Any:
    """A group with those of its tags that have a code and text; None where the group itself has no code."""
    if not isinstance(group, dict) or not isinstance(group.get("list"), list) or not _code_of(group):
        return None
    tags = tuple(
        {"descriptor": {"code": code}, "value": tag["value"], **_display_of(tag)}
        for tag in group["list"]
        if (code := _code_of(tag)) and isinstance(tag.get("value"), str)
    )
    return {"descriptor": {"code": _code_of(group)}, "list": tags, **_display_of(group)}


def _display_of(tagged: dict[str, Any]) -> dict[str, bool]:
    return {"display": tagged["display"]} if isinstance(tagged.get("display"), bool) else {}


def _code_of(labelled: Any) -> str | None:
    descriptor = labelled.get("descriptor") if isinstance(labelled, dict) else None
    code = descriptor.get("code") if isinstance(descriptor, dict) else None
    return code if isinstance(code, str) else None


Tags = Annotated[tuple[TagGroup, ...], WrapValidator(_coded)]
"""Of groups as others write them, what has a code."""


class OrderStop(OrderObject):
    type: Identity
    location: Omittable[Location] = None
    time: Omittable[Time] = None


class ProviderReference(OrderObject):
    id: Identity
    descriptor: Omittable[OrderDescriptor] = None
    locations: Omittable[tuple[Location, ...]] = None


class OrderItem(OrderObject):
    """A slot and how much of it is ordered."""

    id: Identity
    descriptor: Omittable[OrderDescriptor] = None
    price: Omittable[Price] = None
    quantity: SelectedQuantity
    location_ids: Omittable[tuple[Identity, ...]] = None
    fulfillment_ids: Omittable[tuple[Identity, ...]] = None
    tags: Omittable[Tags] = None


class StateDescriptor(OrderObject):
    """Where a fulfilment stands, in this network's words or in another's."""

    code: Annotated[FulfillmentStateCode | Identity, Field(union_mode="left_to_right")]


class FulfillmentState(OrderObject):
    descriptor: StateDescriptor
    updated_at: Timestamp
    updated_by: Identity


class Person(OrderObject):
    name: Omittable[Text] = None


class Contact(OrderObject):
    email: Omittable[Text] = None
    phone: Omittable[Text] = None


class Customer(OrderObject):
    person: Omittable[Person] = None
    contact: Omittable[Contact] = None


class OrderFulfillment(OrderObject):
    id: Omittable[Identity] = None
    type: Omittable[Identity] = None
    stops: Omittable[tuple[OrderStop, ...]] = None
    customer: Omittable[Customer] = None
    state: Omittable[FulfillmentState] = None
    tags: Omittable[Tags] = None


class BillingCity(OrderObject):
    name: Omittable[Text] = None
    code: Omittable[Text] = None


class Billing(OrderObject):
    """Who pays. It reaches the provider's platform only, never a gateway."""

    name: Text
    email: Omittable[Annotated[Text, Field(pattern=r"^[^@ ]+@[^@ ]+$")]] = None
    phone: Omittable[Text] = None
    address: Omittable[Text] = None
    city: Omittable[BillingCity] = None
    tax_id: Omittable[Text] = None


class ItemReference(OrderObject):
    id: Identity


class QuoteLine(OrderObject):
    title: Identity
    item: Omittable[ItemReference] = None
    price: Price


class Quotation(OrderObject):
    """An offer that holds for `ttl` from the message that brings it; the breakup adds up to the price exactly."""

    id: Uuid
    price: Price
    breakup: tuple[QuoteLine, ...]
    ttl: Duration


class PaymentParams(OrderObject):
    amount: Decimals
    currency: str


class OrderPayment(OrderObject):
    id: Omittable[Identity] = None
    type: PaymentType
    collected_by: Omittable[str] = None
    status: Omittable[PaymentStatus] = None
    params: Omittable[PaymentParams] = None


class Fee(OrderObject):
    amount: Price


class TermState(OrderObject):
    descriptor: StateDescriptor


class CancellationTerm(OrderObject):
    fulfillment_state: TermState
    reason_required: bool
    cancel_by: Omittable[Time] = None
    cancellation_fee: Fee


class CancellationReason(OrderObject):
    id: Omittable[Identity] = None
    descriptor: OrderDescriptor


class Cancellation(OrderObject):
    time: Timestamp
    cancelled_by: CancelledBy
    reason: CancellationReason


class Order(OrderObject):
    """An order as callbacks show it, from the quote (`on_select`) to its end."""

    id: Omittable[Identity] = None
    status: Omittable[OrderStatus] = None
    provider: ProviderReference
    items: tuple[OrderItem, ...]
    billing: Omittable[Billing] = None
    fulfillments: tuple[OrderFulfillment, ...]
    quote: Quotation
    payments: Omittable[tuple[OrderPayment, ...]] = None
    cancellation_terms: Omittable[tuple[CancellationTerm, ...]] = None
    cancellation: Omittable[Cancellation] = None
    created_at: Omittable[Timestamp] = None
    updated_at: Omittable[Timestamp] = None
    tags: Omittable[Tags] = None


class CatalogMessage(OrderObject):
    catalog: Catalog


class OrderMessage(OrderObject):
    order: Order


class OnSearch(OrderObject):
    """`on_search`: a catalogue, or an error."""

    context: Context
    message: Omittable[CatalogMessage] = None
    error: Omittable[Error] = None


class OrderCallback(OrderObject):
    """`on_select` to `on_cancel`: the order, or an error."""

    context: Context
    message: Omittable[OrderMessage] = None
    error: Omittable[Error] = None


QUOTE_TTL = timedelta(minutes=10)
"""How long a quote holds."""
