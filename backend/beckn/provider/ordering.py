"""Orders: what confirm, status, update and cancel do."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from beckn.catalogue.slot import Slot
from beckn.protocol.acknowledgement import ErrorCode, Refused
from beckn.protocol.objects import CURRENCY, PaymentType
from beckn.provider.messages_order import CancelledBy, FulfillmentStateCode, Order
from beckn.provider.messages_request import (
    CancelRequest,
    ConfirmedOrder,
    ConfirmRequest,
    StatusRequest,
    UpdateRequest,
)
from beckn.provider.order_book import Changing, OrderBook, OrderChange, Placing
from beckn.provider.order_document import order_document
from beckn.provider.quotes import amount_text, has_moved
from beckn.provider.quoting import ITEM, QUANTITY, QUOTE, Quoting, centre_of, check_quantity, no_quote
from beckn.provider.slots import FURTHEST_AHEAD, run_at
from beckn.provider.stored_orders import (
    WAITING,
    CancellationRecord,
    Deferral,
    DeferralReason,
    OrderTerms,
    RequestedBy,
    StoredOrder,
    StoredQuote,
)
from execution.usage import NOTHING_USED
from grid.half_hours import rfc3339
from printable import printable
from vocabulary import WorkloadStatus

_log = logging.getLogger(__name__)

_ORDERS = UUID("0f3cf3ab-3dd2-5a37-8a0e-6b8f7a3a2a55")
_PAYMENTS = "message.order.payments"
_STOPS = "message.order.fulfillments[0].stops"


class Ordering:
    """Places orders, shows, moves and cancels them."""

    def __init__(self, book: OrderBook, quoting: Quoting, *, carbon_price_gbp_per_t: float) -> None:
        self._book = book
        self._quoting = quoting
        self._carbon_price = carbon_price_gbp_per_t

    def status(self, request: StatusRequest) -> Order:
        """How an order is doing."""
        return order_document(self._known_order(request.context.bap_id, request.message.order_id))

    def confirm(self, request: ConfirmRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        quote = self._book.quote(context.bap_id, context.transaction_id, order.quote.id)
        if quote is None:
            raise no_quote("there is no such quote in this transaction: select first", f"{QUOTE}.id")
        _check_accepted(order, quote)
        placed = self._book.order_of_transaction(context.bap_id, context.transaction_id)
        if placed is None:
            self._quoting.check_quote(quote, now)
        return order_document(self._place(request, quote, now))

    def _place(self, request: ConfirmRequest, quote: StoredQuote, now: datetime) -> StoredOrder:
        context, order = request.context, request.message.order
        terms = OrderTerms(
            **dict(quote.terms),
            billing=order.billing,
            customer=order.fulfillments[0].customer,
            context=context,
        )
        order_id = str(uuid5(_ORDERS, f"{quote.bpp_id} {quote.bap_id} {quote.transaction_id}"))
        placed = self._book.place(order_id, quote, terms, max(quote.starts_at, now), now)
        if placed.order is not None and placed.state is not Placing.OTHER_ORDER:
            _log.info("order %s of %s: %s", placed.order.order_id, placed.order.item_id, placed.state)
            return placed.order
        if placed.state is Placing.NO_CAPACITY:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                f"{quote.item_id} needs {quote.it_power_kw:.4g} kW, but only {placed.free_kw or 0:.4g} kW are free: "
                "search again",
                QUANTITY,
            )
        if placed.state is Placing.SHARE_HELD:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                f"{quote.item_id} needs {quote.it_power_kw:.4g} kW, but only {placed.free_kw or 0:.4g} kW are left "
                f"of the {self._book.limits.share:.0%} of {quote.dc_id} that one buyer's orders may hold at a time",
                QUANTITY,
            )
        if placed.state is Placing.TOO_MANY_ORDERS:
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR,
                f"{self._book.limits.open_orders} of your orders are open: wait until one has run, or cancel one",
            )
        if placed.state is Placing.TOO_MANY_CANCELLED:
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR,
                f"you cancelled {self._book.limits.cancelled_a_day} orders within a day: order again when the first "
                "of these cancellations is a day old",
            )
        if placed.state is Placing.NOT_ACTIVE:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE, f"{quote.dc_id} no longer takes work: search again", ITEM
            )
        if placed.state is Placing.OTHER_ORDER:
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR,
                "this transaction already has an order from another quote: start a new transaction for another order",
                "context.transaction_id",
            )
        raise no_quote("the quote has expired: select again", f"{QUOTE}.id")

    def update(self, request: UpdateRequest, now: datetime) -> Order:
        order = self._known_order(request.context.bap_id, request.message.order.id, "message.order.id")
        start = new_start(request)
        if order.starts_at == start:
            return order_document(order)
        if order.state not in WAITING:
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"the order is {order.state} and cannot be moved")
        if start < now:
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"{rfc3339(start)} is in the past", _STOPS)
        if start > now + FURTHEST_AHEAD:
            raise Refused.business(
                ErrorCode.CANNOT_UPDATE, f"{rfc3339(start)} is more than {FURTHEST_AHEAD.days} days ahead", _STOPS
            )
        grid = self._book.grid(now)
        run, violations = run_at(
            order.terms.task,
            grid,
            centre_of(grid, Slot.parse(order.item_id)),
            start,
            carbon_price_gbp_per_t=self._carbon_price,
            capacity=self._book.capacity(now, without=order),
        )
        if run is None or violations:
            why = "; ".join(violation.message for violation in violations) or "its price is not known yet"
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"it cannot start then: {why}", _STOPS)
        if has_moved(order.terms.price_gbp, run.cost_gbp):
            raise Refused.business(
                ErrorCode.CANNOT_UPDATE,
                f"it would then cost £{run.cost_gbp:.6f}, more than the £{amount_text(order.terms.price_gbp)} "
                "agreed: cancel it and order again",
                _STOPS,
            )
        deferral = Deferral(
            reason=DeferralReason.BUYER,
            requested_by=RequestedBy.BAP,
            moved_from=order.starts_at,
            shifted_s=(start - order.starts_at).total_seconds(),
            explanation="The buyer moved it.",
        )
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.SCHEDULED,
            status=WorkloadStatus.QUEUED,
            status_reason="Moved by its buyer.",
            at=now,
            due_at=start,
            starts_at=start,
            ends_at=start + order.terms.duration,
            deferral=deferral,
        )
        return order_document(self._changed(change, ErrorCode.CANNOT_UPDATE))

    def cancel(self, request: CancelRequest, now: datetime) -> Order:
        message = request.message
        order = self._known_order(request.context.bap_id, message.order_id)
        if order.state is FulfillmentStateCode.CANCELLED:
            return order_document(order)
        runs = order.state is FulfillmentStateCode.RUNNING and now < order.ends_at
        if not runs and order.state not in WAITING:
            state = "over" if order.state is FulfillmentStateCode.RUNNING else str(order.state)
            raise Refused.business(ErrorCode.CANNOT_CANCEL, f"the order is {state} and cannot be cancelled")
        ran = self._book.broken_off(order, now) if runs else None
        told = message.descriptor.short_desc if message.descriptor else None
        reason = printable(message.cancellation_reason_id or told or "no reason given")
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.CANCELLED,
            status=WorkloadStatus.CANCELLED,
            status_reason=f"Cancelled by its buyer: {reason}{ran.remark if ran else ''}",
            at=now,
            due_at=None,
            cancellation=CancellationRecord(time=now, cancelled_by=CancelledBy.CONSUMER, reason=reason),
            actuals=ran.actuals if ran else NOTHING_USED,
            readings=ran.readings if ran else (),
        )
        return order_document(self._changed(change, ErrorCode.CANNOT_CANCEL))

    def _changed(self, change: OrderChange, refusal: ErrorCode) -> StoredOrder:
        changed = self._book.change(change)
        if changed.state is Changing.NO_CAPACITY:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                f"it needs {change.order.it_power_kw:.4g} kW, but only {changed.free_kw or 0:.4g} kW are free for "
                "you then",
                _STOPS,
            )
        if changed.order is None:
            raise Refused.business(refusal, "the order has just changed: ask for its status")
        return changed.order

    def _known_order(self, bap_id: str, order_id: str, path: str = "message.order_id") -> StoredOrder:
        order = self._book.order(bap_id, order_id)
        if order is None:
            raise Refused.business(
                ErrorCode.ORDER_NOT_FOUND, f"{bap_id} has no order {printable(order_id)} here", path
            )
        return order


def _check_accepted(order: ConfirmedOrder, quote: StoredQuote) -> None:
    """Refuse a confirm of anything but what was quoted: this item, quantity and price, to be paid as it was said."""
    quoted_gbp = quote.terms.price_gbp
    if order.items[0].id != quote.item_id:
        raise no_quote(f"the quote is for {quote.item_id}: select this item first", ITEM)
    check_quantity(quote, order.items[0])
    if order.provider.id != quote.terms.provider_id:
        raise no_quote(f"the quote is from the provider {quote.terms.provider_id}", "message.order.provider.id")
    if Decimal(order.quote.price.value) != quoted_gbp:
        raise no_quote(
            f"the quote is £{amount_text(quoted_gbp)}, not £{order.quote.price.value}", f"{QUOTE}.price.value"
        )
    for number, payment in enumerate(order.payments):
        path = f"{_PAYMENTS}[{number}]"
        if payment.type is not PaymentType.POST_FULFILLMENT:
            raise no_quote(f"it is paid {PaymentType.POST_FULFILLMENT}, as on_init says", f"{path}.type")
        params = payment.params
        if params and params.currency not in {None, CURRENCY}:
            raise no_quote(f"it is paid in {CURRENCY}", f"{path}.params.currency")
        if params and params.amount is not None and Decimal(params.amount) != quoted_gbp:
            raise no_quote(f"the quote is £{amount_text(quoted_gbp)}, not £{params.amount}", f"{path}.params.amount")


def new_start(request: UpdateRequest) -> datetime:
    """The start that an update asks for."""
    for number, stop in enumerate(request.message.order.fulfillments[0].stops):
        if stop.type == "start":
            start = stop.time.timestamp or (stop.time.range.start if stop.time.range else None)
            if start is None:
                raise Refused.invalid("a time is needed", f"{_STOPS}[{number}].time.timestamp")
            return start
    raise Refused.invalid('a stop of type "start" is needed, with the new window', _STOPS)
