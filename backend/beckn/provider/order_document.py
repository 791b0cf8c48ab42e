"""Quotes and orders as Beckn's messages show them. Pure: the time is an argument."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from beckn.catalogue.compute_offers import PAYMENT_ID
from beckn.network.outbox import OutgoingMessage
from beckn.network.subscribers import Role
from beckn.protocol.context import MessageContext, callback_context
from beckn.protocol.objects import (
    COMPUTE,
    CURRENCY,
    VERSION,
    Action,
    Context,
    ContextLocation,
    Location,
    PaymentType,
    Price,
    Subscriber,
    TagGroup,
    Time,
)
from beckn.provider.messages_order import (
    Billing,
    Cancellation,
    CancellationReason,
    CancellationTerm,
    Customer,
    Fee,
    FulfillmentState,
    FulfillmentStateCode,
    OnSearch,
    Order,
    OrderCallback,
    OrderDescriptor,
    OrderFulfillment,
    OrderMessage,
    OrderPayment,
    OrderStatus,
    OrderStop,
    PaymentParams,
    PaymentStatus,
    ProviderReference,
    StateDescriptor,
    TermState,
)
from beckn.provider.quotes import amount_text, quotation, time_left
from beckn.provider.stored_orders import Deferral, QuoteTerms, StoredOrder, StoredQuote

UNSOLICITED_TTL = timedelta(hours=1)
"""How long a callback that nobody asked for is tried to be delivered."""

_STATUS_OF = {
    FulfillmentStateCode.SCHEDULED: OrderStatus.ACTIVE,
    FulfillmentStateCode.DEFERRED: OrderStatus.ACTIVE,
    FulfillmentStateCode.RUNNING: OrderStatus.ACTIVE,
    FulfillmentStateCode.COMPLETED: OrderStatus.COMPLETE,
    FulfillmentStateCode.CANCELLED: OrderStatus.CANCELLED,
}


def quoted_order(quote: StoredQuote, now: datetime) -> Order:
    """The answer to a select: what would be ordered, and its quote."""
    terms = quote.terms
    return Order(
        provider=_provider(terms),
        items=(terms.item,),
        fulfillments=(_fulfillment(terms, quote.starts_at, quote.ends_at),),
        quote=quotation(str(quote.quote_id), quote.item_id, terms.lines, ttl=time_left(quote.expires_at, now)),
        tags=terms.tags or None,
    )


def initiated_order(quote: StoredQuote, billing: Billing, customer: Customer | None, now: datetime) -> Order:
    """The answer to an init: the quote with the terms of payment and cancellation."""
    fulfillment = _fulfillment(quote.terms, quote.starts_at, quote.ends_at)
    return quoted_order(quote, now).model_copy(
        update={
            "billing": billing,
            "fulfillments": (fulfillment.model_copy(update={"customer": customer}),),
            "payments": (_payment(quote.terms),),
            "cancellation_terms": _cancellation_terms(quote.terms.price_gbp, quote.starts_at, quote.ends_at),
        }
    )


def order_document(order: StoredOrder) -> Order:
    """An order as it is."""
    terms = order.terms
    fulfillment = _fulfillment(terms, order.starts_at, order.ends_at).model_copy(
        update={
            "customer": terms.customer,
            "state": FulfillmentState(
                descriptor=StateDescriptor(code=order.state), updated_at=order.updated_at, updated_by=order.bpp_id
            ),
            "tags": _known(_deferral_tags(order.deferral), _actuals_tags(order)),
        }
    )
    cancelled = order.cancellation
    return Order(
        id=str(order.order_id),
        status=_STATUS_OF[order.state],
        provider=_provider(terms),
        items=(terms.item,),
        billing=terms.billing,
        fulfillments=(fulfillment,),
        quote=quotation(str(order.quote_id), order.item_id, terms.lines),
        payments=(_payment(terms),),
        cancellation_terms=_cancellation_terms(terms.price_gbp, order.starts_at, order.ends_at),
        cancellation=Cancellation(
            time=cancelled.time,
            cancelled_by=cancelled.cancelled_by,
            reason=CancellationReason(descriptor=OrderDescriptor(short_desc=cancelled.reason)),
        )
        if cancelled
        else None,
        created_at=order.created_at,
        updated_at=order.updated_at,
        tags=terms.tags or None,
    )


def answer_to(request: MessageContext, callback: OnSearch | OrderCallback) -> OutgoingMessage:
    """A callback on its way to the buyer that asked."""
    return OutgoingMessage(request.bap_id, Role.BAP, callback.context, callback.model_dump_json().encode())


def unsolicited(order: StoredOrder, action: Action, provider: Subscriber, now: datetime) -> OutgoingMessage:
    """`on_status` or `on_update` of an order, without a request: each revision has one message id, for ever."""
    asked = order.terms.context
    context = Context(
        domain=asked.domain,
        location=ContextLocation.model_validate(asked.location.model_dump()),
        action=action,
        version=VERSION,
        bap_id=asked.bap_id,
        bap_uri=asked.bap_uri,
        bpp_id=provider.subscriber_id,
        bpp_uri=provider.url,
        transaction_id=asked.transaction_id,
        message_id=str(uuid5(UUID(str(order.order_id)), f"{action} {order.revision}")),
        timestamp=now,
        ttl=UNSOLICITED_TTL,
    )
    return answer_to(asked, OrderCallback(context=context, message=OrderMessage(order=order_document(order))))


def reply_context(request: MessageContext, *, now: datetime, provider: Subscriber) -> Context:
    """The context of the callback to a request."""
    return callback_context(request, now=now, provider=provider)


def _provider(terms: QuoteTerms) -> ProviderReference:
    return ProviderReference(
        id=terms.provider_id, descriptor=OrderDescriptor(name=terms.provider_id), locations=(terms.location,)
    )


def _fulfillment(terms: QuoteTerms, start: datetime, end: datetime) -> OrderFulfillment:
    place = Location(id=terms.location.id)
    return OrderFulfillment(
        id=terms.fulfillment_id,
        type=COMPUTE,
        stops=(
            OrderStop(type="start", location=place, time=Time(timestamp=start)),
            OrderStop(type="end", location=place, time=Time(timestamp=end)),
        ),
    )


def _payment(terms: QuoteTerms) -> OrderPayment:
    return OrderPayment(
        id=PAYMENT_ID,
        type=PaymentType.POST_FULFILLMENT,
        collected_by="BPP",
        status=PaymentStatus.NOT_PAID,
        params=PaymentParams(amount=amount_text(terms.price_gbp), currency=CURRENCY),
    )


def _cancellation_terms(price_gbp: Decimal, start: datetime, end: datetime) -> tuple[CancellationTerm, ...]:
    """Free until it starts; a run that has started can be ended, but its power was kept for it and is owed."""
    free_until = (Decimal(0), start)
    terms = {
        FulfillmentStateCode.SCHEDULED: free_until,
        FulfillmentStateCode.DEFERRED: free_until,
        FulfillmentStateCode.RUNNING: (max(price_gbp, Decimal(0)), end),
    }
    return tuple(
        CancellationTerm(
            fulfillment_state=TermState(descriptor=StateDescriptor(code=state)),
            reason_required=False,
            cancel_by=Time(timestamp=until),
            cancellation_fee=Fee(amount=Price(currency=CURRENCY, value=amount_text(fee_gbp))),
        )
        for state, (fee_gbp, until) in terms.items()
    )


def _deferral_tags(deferral: Deferral | None) -> TagGroup | None:
    if deferral is None:
        return None
    return TagGroup.known(
        "deferral",
        {
            "reason": deferral.reason,
            "requested-by": deferral.requested_by,
            "moved-from": deferral.moved_from,
            "shifted-by": f"{'-' if deferral.shifted_s < 0 else ''}PT{abs(round(deferral.shifted_s))}S",
            "explanation": deferral.explanation,
        },
    )


def _actuals_tags(order: StoredOrder) -> TagGroup | None:
    mean = None
    if order.actual_energy_kwh and order.actual_carbon_gco2 is not None:
        mean = round(order.actual_carbon_gco2 / order.actual_energy_kwh, 3)
    done = order.actual_end is not None
    return TagGroup.known(
        "actuals",
        {
            "started-at": order.actual_start,
            "completed-at": order.actual_end,
            "energy-kwh": order.actual_energy_kwh,
            "energy-basis": "power x time, simulated" if done else None,
            "carbon-gco2": order.actual_carbon_gco2,
            "mean-carbon-intensity-gco2-per-kwh": mean,
            "cost-gbp": order.actual_cost_gbp,
            # Says which of these figures rest on modelled or invented ones.
            "remark": order.status_reason if done else None,
        },
    )


def _known(*groups: TagGroup | None) -> tuple[TagGroup, ...] | None:
    return tuple(group for group in groups if group) or None
