"""What a buyer says and hears: a workload as requests, and offers as options to choose from. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo

from beckn.buying.heard_messages import HeardItem
from beckn.catalogue.workload_tags import energy_constraints, machine_tags, window_tag
from beckn.protocol.objects import (
    COMPUTE,
    COMPUTE_SLOT,
    CURRENCY,
    GPU_MINUTE,
    PaymentType,
    Scalar,
    Subscriber,
    TagGroup,
    TimeRange,
)
from beckn.protocol.values import decimal_text
from beckn.provider.messages_order import (
    LEAST_GPU_MINUTES,
    LONGEST_AMOUNT,
    MOST_GPU_MINUTES,
    Billing,
    Order,
    OrderPayment,
    SelectedMeasure,
    SelectedQuantity,
)
from beckn.provider.messages_request import (
    AcceptedParams,
    AcceptedPayment,
    AcceptedPrice,
    AcceptedQuote,
    ConfirmedMessage,
    ConfirmedOrder,
    Intended,
    Intent,
    IntentCategory,
    IntentFulfillment,
    IntentItem,
    IntentMeasure,
    IntentPrice,
    IntentQuantity,
    IntentSelected,
    IntentStop,
    Moments,
    OrderedFulfillment,
    OrderedItem,
    OrderedProvider,
    SaidTag,
    SaidTags,
    SelectedOrder,
)
from workloads.model import About, AmountOf, JobName, WorkloadNeeds
from workloads.reshaping import reshaped

TO_BE_PAID = PaymentType.POST_FULFILLMENT
"""How compute is paid on this network."""


def _as_stated(_field: FieldInfo, about: About) -> tuple[Any, Any] | None:
    if not isinstance(about, AmountOf):
        return None
    return about.number | None, Field(None, ge=0, le=about.most_stored)


@reshaped(_as_stated)
class BuyerWorkload(WorkloadNeeds, JobName):
    """A workload as its file says; what is unknown in it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    job_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    required_gpu_mins: float = Field(ge=float(LEAST_GPU_MINUTES), le=MOST_GPU_MINUTES)


@dataclass(frozen=True)
class Option:
    """A slot that a provider offers: which item, of whom, and where to order it."""

    provider: Subscriber
    operator_id: str
    item: HeardItem

    def tag(self, group: str, code: str) -> str | None:
        """The value of a tag."""
        return next(
            (
                tag.value
                for tags in self.item.tags
                if _is_called(tags, group)
                for tag in tags.list
                if _is_called(tag, code) and isinstance(tag.value, str)
            ),
            None,
        )

    @property
    def rank(self) -> int | None:
        """Its place among what its provider offers, where the provider says."""
        rank = self.tag("suitability", "rank")
        return int(rank) if rank is not None and re.fullmatch("[0-9]{1,9}", rank) else None

    def cost_gbp(self, workload: BuyerWorkload) -> Decimal | None:
        """What the workload would cost there: what is said of the whole, or what the price of a GPU-minute comes to.

        The greater of both where it says both; None where it says neither, or not in pounds.
        """
        price = self.item.price
        if price.currency not in {None, CURRENCY}:
            return None
        whole, each = pounds(self.tag("estimate", "cost-gbp")), pounds(price.value)
        minutes = Decimal(decimal_text(workload.required_gpu_mins))
        return max(
            (cost for cost in (whole, None if each is None else each * minutes) if cost is not None), default=None
        )


def pounds(text: str | None) -> Decimal | None:
    """An amount as another platform writes it; None where it is none."""
    if text is None or len(text) > LONGEST_AMOUNT or not re.fullmatch("[+-]?([0-9]+([.][0-9]+)?|[.][0-9]+)", text):
        return None
    return Decimal(text)


def best_first(options: Sequence[Option], workload: BuyerWorkload) -> list[Option]:
    """The slots of several providers as one list.

    Each provider's stay in its own order: by its rank, and those without one after those and by cost. Of slots that
    stand in the same place with their providers the cheaper comes first, so the first of all is the cheapest of what
    each provider offers first.
    """
    of_provider: defaultdict[str, list[Option]] = defaultdict(list)
    for option in options:
        of_provider[option.provider.subscriber_id].append(option)

    def cost(option: Option) -> Decimal:
        known = option.cost_gbp(workload)
        return Decimal("Infinity") if known is None else known

    placed: list[tuple[int, Decimal, str, Option]] = []
    for provider, offered in of_provider.items():
        offered.sort(key=lambda option: (_UNRANKED if option.rank is None else option.rank, cost(option)))
        placed += [(place, cost(option), provider, option) for place, option in enumerate(offered)]
    return [option for *_, option in sorted(placed, key=lambda each: each[:3])]


def _is_called(labelled: SaidTags | SaidTag, code: str) -> bool:
    return labelled.descriptor is not None and labelled.descriptor.code == code


_UNRANKED = 10**9


@dataclass
class Transaction:
    """One deal: a workload, and the id that all its messages share."""

    workload: BuyerWorkload
    transaction_id: str = field(default_factory=lambda: str(uuid4()))
    provider_id: str | None = None
    """Whom an order was confirmed to: only its news counts."""


def confirm_message(draft: Order) -> ConfirmedMessage:
    """What confirms a draft: the draft itself."""
    price = draft.quote.price
    billing = draft.billing.model_dump(mode="json") if draft.billing else {}
    return ConfirmedMessage(
        order=ConfirmedOrder(
            provider=OrderedProvider(id=draft.provider.id),
            items=tuple(OrderedItem(id=item.id, quantity=item.quantity) for item in draft.items),
            billing=Billing.model_validate({"name": "not stated", **billing}),
            fulfillments=tuple(
                OrderedFulfillment(id=each.id, type=each.type, stops=each.stops, customer=each.customer)
                for each in draft.fulfillments
            ),
            quote=AcceptedQuote(id=draft.quote.id, price=AcceptedPrice(currency="GBP", value=price.value or "0")),
            payments=tuple(map(_accepted, draft.payments or ())) or (AcceptedPayment(type=TO_BE_PAID),),
            tags=tuple(map(SaidTags.of, draft.tags or ())) or None,
        )
    )


def _accepted(payment: OrderPayment) -> AcceptedPayment:
    params = payment.params
    return AcceptedPayment(
        id=payment.id,
        type=payment.type,
        collected_by=payment.collected_by,
        status=payment.status,
        params=AcceptedParams(amount=params.amount, currency=params.currency) if params else None,
    )


def intent_of(workload: BuyerWorkload, now: datetime, page: int | None) -> Intent:
    window = workload.deferral_window_mins
    latest = None if window is None else now + timedelta(minutes=window)
    stops = [IntentStop(type="start", time=Moments(range=TimeRange(start=now, end=latest)))]
    if workload.deadline:
        stops.append(IntentStop(type="end", time=Moments(timestamp=workload.deadline)))
    paging = TagGroup.known("paging", {"page": page})
    most = workload.max_price_gbp
    gpu_minutes = decimal_text(workload.required_gpu_mins)
    return Intent(
        category=IntentCategory(descriptor=Intended(code=COMPUTE_SLOT)),
        item=IntentItem(
            descriptor=Intended(code=workload.workload_type),
            quantity=IntentQuantity(
                selected=IntentSelected(measure=IntentMeasure(unit=GPU_MINUTE, value=gpu_minutes))
            ),
            price=None if most is None else IntentPrice(currency=CURRENCY, maximum_value=_pounds(most)),
        ),
        fulfillment=IntentFulfillment(type=COMPUTE, stops=tuple(stops)),
        tags=(*_requirements(workload), *((SaidTags.of(paging),) if paging else ())) or None,
    )


def _pounds(gbp: float) -> str:
    """A limit in millionths of a pound, which prices are of; down, as it is a limit."""
    return decimal_text(math.floor(Decimal(str(gbp)) * 1_000_000) / 1_000_000)


def _requirements(workload: BuyerWorkload) -> tuple[SaidTags, ...]:
    groups = (
        TagGroup.known(
            "workload-requirements",
            {
                "job-id": workload.job_id,
                "workload-type": workload.workload_type,
                "urgency": workload.urgency,
                **machine_tags(workload),
                "max-price-gbp": workload.max_price_gbp,
                "deadline": workload.deadline,
                "deferral-window": window_tag(workload),
            },
        ),
        energy_constraints(workload),
    )
    return tuple(SaidTags.of(group) for group in groups if group)


def _quantity(workload: BuyerWorkload) -> SelectedQuantity:
    measure = Scalar(unit=GPU_MINUTE, value=decimal_text(workload.required_gpu_mins))
    return SelectedQuantity(selected=SelectedMeasure(measure=measure))


def ordered_item(workload: BuyerWorkload, option: Option) -> OrderedItem:
    return OrderedItem(id=option.item.id, quantity=_quantity(workload))


def ordered_fulfillment(option: Option) -> OrderedFulfillment:
    return OrderedFulfillment(id=next(filter(None, option.item.fulfillment_ids), None), type=COMPUTE)


def selected_order(deal: Transaction, option: Option) -> SelectedOrder:
    return SelectedOrder(
        provider=OrderedProvider(id=option.operator_id),
        items=(ordered_item(deal.workload, option),),
        tags=_requirements(deal.workload) or None,
    )
