"""What a buyer says and hears: a workload as requests, and offers as options to choose from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from beckn.messages import (
    COMPUTE,
    COMPUTE_SLOT,
    CURRENCY,
    GPU_MINUTE,
    Item,
    PaymentType,
    Price,
    Scalar,
    Subscriber,
    TagGroup,
    Time,
    TimeRange,
)
from beckn.provider.messages_order import (
    Billing,
    Order,
    OrderDescriptor,
    OrderItem,
    OrderPayment,
    OrderStop,
    ProviderReference,
    SelectedMeasure,
    SelectedQuantity,
)
from beckn.provider.messages_request import (
    AcceptedPrice,
    AcceptedQuote,
    ConfirmedMessage,
    ConfirmedOrder,
    Intended,
    Intent,
    IntentCategory,
    IntentFulfillment,
    IntentItem,
    SelectedOrder,
)
from beckn.values import decimal_text
from decisions.context import UtcDatetime
from vocabulary import Urgency, WorkloadType


class BuyerWorkload(BaseModel):
    """A workload as its file says; what is unknown in it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    job_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    workload_type: WorkloadType
    urgency: Urgency = Urgency.MEDIUM
    required_gpu_mins: float = Field(gt=0)
    required_cpu_cores: int | None = Field(None, ge=0)
    required_memory_gb: float | None = Field(None, ge=0)
    estimated_energy_kwh: float | None = Field(None, ge=0)
    carbon_cap_gco2: float | None = Field(None, ge=0)
    max_price_gbp: float | None = Field(None, ge=0)
    deadline: UtcDatetime | None = None
    deferral_window_mins: int | None = Field(None, ge=0)


UNRANKED = 10**6


@dataclass(frozen=True)
class Option:
    """A slot that a provider offers: which item, of whom, and where to order it."""

    provider: Subscriber
    operator_id: str
    item: Item

    def tag(self, group: str, code: str) -> str | None:
        """The value of a tag."""
        return next(
            (
                tag.value
                for tags in self.item.tags
                if tags.descriptor.code == group
                for tag in tags.list
                if tag.descriptor.code == code
            ),
            None,
        )

    @property
    def rank(self) -> int:
        """Its place among what its provider offers; last where the provider does not say."""
        rank = self.tag("suitability", "rank")
        return int(rank) if rank is not None and rank.isdecimal() else UNRANKED


@dataclass
class Transaction:
    """One deal: a workload, and the id that all its messages share."""

    workload: BuyerWorkload
    transaction_id: str = field(default_factory=lambda: str(uuid4()))


def confirm_message(draft: Order) -> ConfirmedMessage:
    """What confirms a draft: the draft itself."""
    price = draft.quote.price
    return ConfirmedMessage(
        order=ConfirmedOrder(
            provider=draft.provider,
            items=draft.items,
            billing=draft.billing or Billing(name="not stated"),
            fulfillments=draft.fulfillments,
            quote=AcceptedQuote(id=draft.quote.id, price=AcceptedPrice(currency="GBP", value=price.value or "0")),
            payments=draft.payments or (OrderPayment(type=PaymentType.POST_FULFILLMENT),),
            tags=draft.tags,
        )
    )


def intent_of(workload: BuyerWorkload, now: datetime, page: int | None) -> Intent:
    window = workload.deferral_window_mins
    latest = None if window is None else now + timedelta(minutes=window)
    stops = [OrderStop(type="start", time=Time(range=TimeRange(start=now, end=latest)))]
    if workload.deadline:
        stops.append(OrderStop(type="end", time=Time(timestamp=workload.deadline)))
    paging = TagGroup.known("paging", {"page": page})
    most = workload.max_price_gbp
    return Intent(
        category=IntentCategory(descriptor=OrderDescriptor(code=COMPUTE_SLOT)),
        item=IntentItem(
            descriptor=Intended(code=workload.workload_type),
            quantity=_quantity(workload),
            price=None if most is None else Price(currency=CURRENCY, maximum_value=decimal_text(most)),
        ),
        fulfillment=IntentFulfillment(type=COMPUTE, stops=tuple(stops)),
        tags=(*_requirements(workload), *((paging,) if paging else ())) or None,
    )


def _requirements(workload: BuyerWorkload) -> tuple[TagGroup, ...]:
    window = workload.deferral_window_mins
    groups = (
        TagGroup.known(
            "workload-requirements",
            {
                "job-id": workload.job_id,
                "workload-type": workload.workload_type,
                "urgency": workload.urgency,
                "cpu-cores": workload.required_cpu_cores,
                "memory-gb": workload.required_memory_gb,
                "estimated-energy-kwh": workload.estimated_energy_kwh,
                "max-price-gbp": workload.max_price_gbp,
                "deadline": workload.deadline,
                "deferral-window": None if window is None else f"PT{window}M",
            },
        ),
        TagGroup.known("energy-constraints", {"max-carbon-intensity-gco2-per-kwh": workload.carbon_cap_gco2}),
    )
    return tuple(group for group in groups if group)


def _quantity(workload: BuyerWorkload) -> SelectedQuantity:
    measure = Scalar(unit=GPU_MINUTE, value=decimal_text(workload.required_gpu_mins))
    return SelectedQuantity(selected=SelectedMeasure(measure=measure))


def selected_order(deal: Transaction, option: Option) -> SelectedOrder:
    return SelectedOrder(
        provider=ProviderReference(id=option.operator_id),
        items=(OrderItem(id=option.item.id, quantity=_quantity(deal.workload)),),
        tags=_requirements(deal.workload) or None,
    )
