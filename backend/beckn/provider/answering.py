"""What a provider's platform answers: each request is worked out and becomes one callback.

Working on a request again, after a crash or a lost lease, comes to the same: quotes and orders have ids that follow
from their request, and the database has one order a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from beckn.answers import ErrorCode, Refused
from beckn.compute_offers import UNSTATED_OPERATOR, compute_offers
from beckn.context_rules import read_message
from beckn.grid_reading import GridContext
from beckn.inbox import InboxClaim
from beckn.messages import Action, Subscriber
from beckn.outbox import OutgoingMessage
from beckn.provider.messages_order import (
    QUOTE_TTL,
    REQUESTS,
    CancelledBy,
    CancelRequest,
    CatalogMessage,
    ConfirmRequest,
    FulfillmentStateCode,
    InitRequest,
    OnSearch,
    Order,
    OrderCallback,
    OrderDescriptor,
    OrderItem,
    OrderMessage,
    OrderRequest,
    SearchRequest,
    SelectRequest,
    StatusRequest,
    UpdateRequest,
)
from beckn.provider.order_book import Changing, OrderBook, OrderChange, Placing
from beckn.provider.order_document import (
    answer_to,
    initiated_order,
    order_document,
    quoted_order,
    reply_context,
)
from beckn.provider.quotes import amount_text, has_moved, quote_id_of, quoted_lines
from beckn.provider.requirements import paging_of, wanted_by_intent, wanted_by_order
from beckn.provider.search import estimate_tags, price_per_gpu_minute, search_catalogue
from beckn.provider.slots import Slot, SlotRun, first_moment, run_at
from beckn.provider.stored_orders import (
    WAITING,
    CancellationRecord,
    Deferral,
    DeferralReason,
    OrderTerms,
    QuoteTerms,
    RequestedBy,
    StoredOrder,
    StoredQuote,
)
from decisions.context import DataCentre, Task
from decisions.feasibility import Constraint, Violation, latest_start
from half_hours import HALF_HOUR, half_hour_of, rfc3339
from supabase_client import Database
from vocabulary import WorkloadStatus

_log = logging.getLogger(__name__)

_ORDERS = UUID("0f3cf3ab-3dd2-5a37-8a0e-6b8f7a3a2a55")
_ITEM = "message.order.items[0].id"
_QUANTITY = "message.order.items[0].quantity.selected"
_QUOTE = "message.order.quote"
_STOPS = "message.order.fulfillments[0].stops"


def checked_request(action: Action, body: bytes, now: datetime) -> OrderRequest:
    """A request in full, before it is acknowledged.

    Raises:
        Refused: a field, or the value of a tag, is missing or wrong; it is named.
    """
    request: OrderRequest = read_message(REQUESTS[action], body)
    if isinstance(request, SearchRequest):
        wanted_by_intent(request.message.intent, now)
        paging_of(request.message.intent)
    elif isinstance(request, SelectRequest | InitRequest | ConfirmRequest):
        wanted_by_order(request.message.order, now)
    elif isinstance(request, UpdateRequest):
        _new_start(request)
    return request


class Provider:
    """A provider's platform at work: takes requests from the inbox, answers with callbacks for the outbox."""

    def __init__(
        self,
        database: Database,
        own: Subscriber,
        *,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._own = own
        self._book = OrderBook(database, own.subscriber_id)
        self._carbon_price = carbon_price_gbp_per_t
        self._clock = clock

    def handle(self, claim: InboxClaim) -> Sequence[OutgoingMessage]:
        """The callback that answers a request; one that cannot be met is answered with an error."""
        now = self._clock()
        request = checked_request(claim.action, claim.body, claim.received_at)
        context = reply_context(request.context, now=now, provider=self._own)
        if isinstance(request, SearchRequest):
            return [answer_to(request.context, self._search(request, now))]
        try:
            order = self._order(request, now)
            callback = OrderCallback(context=context, message=OrderMessage(order=order))
        except Refused as refused:
            _log.info("%s %s: %s", claim.action, claim.message_id, refused)
            callback = OrderCallback(context=context, error=refused.error)
        return [answer_to(request.context, callback)]

    def _order(self, request: OrderRequest, now: datetime) -> Order:
        if isinstance(request, SelectRequest):
            return self._select(request, now)
        if isinstance(request, InitRequest):
            return self._init(request, now)
        if isinstance(request, ConfirmRequest):
            return self._confirm(request, now)
        if isinstance(request, UpdateRequest):
            return self._update(request, now)
        if isinstance(request, CancelRequest):
            return self._cancel(request, now)
        if isinstance(request, StatusRequest):
            return order_document(self._known_order(request.context.bap_id, request.message.order_id))
        raise TypeError(f"a {type(request).__name__} is not answered with an order")

    def _search(self, request: SearchRequest, now: datetime) -> OnSearch:
        catalog = search_catalogue(
            wanted_by_intent(request.message.intent, now),
            paging_of(request.message.intent),
            self._book.grid(now),
            self._book.bookings(now),
            now=now,
            carbon_price_gbp_per_t=self._carbon_price,
        )
        context = reply_context(request.context, now=now, provider=self._own)
        return OnSearch(context=context, message=CatalogMessage(catalog=catalog))

    def _select(self, request: SelectRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        wanted = wanted_by_order(order, now)
        slot = _slot(order.items[0].id, now)
        grid = self._book.grid(now)
        centre = _centre(grid, slot)
        if order.provider.id != (centre.operator or UNSTATED_OPERATOR):
            raise Refused.business(
                ErrorCode.PROVIDER_NOT_FOUND,
                f"{centre.dc_id} is not of the provider {order.provider.id}",
                "message.order.provider.id",
            )
        run = self._run(wanted.task, grid, centre, first_moment(slot, now))
        if not self._book.bookings(now).leave_room(centre, run.start, run.end, run.load.it_power_kw):
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                f"{slot.item_id} has not {run.load.it_power_kw:.4g} kW free for the whole run: it is ordered already",
                _QUANTITY,
            )
        quote = StoredQuote(
            quote_id=UUID(quote_id_of(context.transaction_id, context.message_id)),
            bpp_id=self._own.subscriber_id,
            bap_id=context.bap_id,
            transaction_id=UUID(context.transaction_id),
            dc_id=centre.dc_id,
            item_id=slot.item_id,
            starts_at=run.start,
            ends_at=run.end,
            it_power_kw=run.load.it_power_kw,
            terms=_terms(order.items[0], slot, run, wanted.task, grid, now).model_copy(update={"tags": wanted.tags}),
            expires_at=now + QUOTE_TTL,
        )
        return quoted_order(self._book.store_quote(quote), now)

    def _init(self, request: InitRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        item = order.items[0]
        quote = self._book.newest_quote(context.bap_id, context.transaction_id, item.id)
        if quote is None:
            raise _no_quote(f"this transaction has no quote for {item.id}: select it first", _ITEM)
        quoted = quote.terms.item.quantity.selected.measure
        if Decimal(item.quantity.selected.measure.value) != Decimal(quoted.value):
            raise _no_quote(f"the quote is for {quoted.value} {quoted.unit}: select this quantity first", _QUANTITY)
        self._check_quote(quote, now)
        return initiated_order(quote, order.billing, order.fulfillments[0].customer, now)

    def _confirm(self, request: ConfirmRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        quote = self._book.quote(context.bap_id, context.transaction_id, order.quote.id)
        if quote is None:
            raise _no_quote("there is no such quote in this transaction: select first", f"{_QUOTE}.id")
        placed = self._book.order_of_transaction(context.bap_id, context.transaction_id)
        if placed is None or placed.quote_id != quote.quote_id:
            if order.items[0].id != quote.item_id:
                raise _no_quote(f"the quote is for {quote.item_id}: select this item first", _ITEM)
            if Decimal(order.quote.price.value) != quote.terms.price_gbp:
                raise _no_quote(
                    f"the quote is £{amount_text(quote.terms.price_gbp)}, not £{order.quote.price.value}",
                    f"{_QUOTE}.price.value",
                )
        if placed is None:
            self._check_quote(quote, now)
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
                f"{quote.item_id} needs {quote.it_power_kw:.4g} kW and {placed.free_kw or 0:.4g} kW are free: "
                "search again",
                _QUANTITY,
            )
        if placed.state is Placing.NOT_ACTIVE:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE, f"{quote.dc_id} takes no work any more: search again", _ITEM
            )
        if placed.state is Placing.OTHER_ORDER:
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR,
                "this transaction has an order by another quote: start a new transaction for another order",
                "context.transaction_id",
            )
        raise _no_quote("the quote has expired: select again", f"{_QUOTE}.id")

    def _update(self, request: UpdateRequest, now: datetime) -> Order:
        order = self._known_order(request.context.bap_id, request.message.order.id, "message.order.id")
        start = _new_start(request)
        if order.starts_at == start:
            return order_document(order)
        if order.state not in WAITING:
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"the order is {order.state} and cannot be moved")
        if start < now:
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"{rfc3339(start)} is over", _STOPS)
        grid = self._book.grid(now)
        run, violations = run_at(
            order.terms.task,
            grid,
            _centre(grid, Slot.parse(order.item_id)),
            start,
            carbon_price_gbp_per_t=self._carbon_price,
        )
        if run is None or violations:
            why = "; ".join(violation.message for violation in violations) or "its price is not known yet"
            raise Refused.business(ErrorCode.CANNOT_UPDATE, f"it cannot start then: {why}", _STOPS)
        if has_moved(order.terms.price_gbp, run.cost_gbp):
            raise Refused.business(
                ErrorCode.CANNOT_UPDATE,
                f"then it would cost £{run.cost_gbp:.6f}, more than the £{amount_text(order.terms.price_gbp)} "
                "agreed: cancel it and order anew",
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

    def _cancel(self, request: CancelRequest, now: datetime) -> Order:
        message = request.message
        order = self._known_order(request.context.bap_id, message.order_id)
        if order.state is FulfillmentStateCode.CANCELLED:
            return order_document(order)
        if order.state not in WAITING:
            raise Refused.business(ErrorCode.CANNOT_CANCEL, f"the order is {order.state} and cannot be cancelled")
        told = message.descriptor.short_desc if message.descriptor else None
        reason = message.cancellation_reason_id or told or "no reason given"
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.CANCELLED,
            status=WorkloadStatus.CANCELLED,
            status_reason=f"Cancelled by its buyer: {reason}",
            at=now,
            due_at=None,
            cancellation=CancellationRecord(time=now, cancelled_by=CancelledBy.CONSUMER, reason=reason),
        )
        return order_document(self._changed(change, ErrorCode.CANNOT_CANCEL))

    def _changed(self, change: OrderChange, refusal: ErrorCode) -> StoredOrder:
        changed = self._book.change(change)
        if changed.state is Changing.NO_CAPACITY:
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                f"it needs {change.order.it_power_kw:.4g} kW and {changed.free_kw or 0:.4g} kW are free then",
                _STOPS,
            )
        if changed.order is None:
            raise Refused.business(refusal, "the order has just changed: ask for its status")
        return changed.order

    def _known_order(self, bap_id: str, order_id: str, path: str = "message.order_id") -> StoredOrder:
        order = self._book.order(bap_id, order_id)
        if order is None:
            raise Refused.business(ErrorCode.ORDER_NOT_FOUND, f"{bap_id} has no order {order_id} here", path)
        return order

    def _check_quote(self, quote: StoredQuote, now: datetime) -> None:
        """Refuse a quote that has expired, or whose run has come to cost more."""
        if quote.expires_at <= now:
            raise _no_quote(
                f"the quote expired at {rfc3339(quote.expires_at)}: select again to get another", f"{_QUOTE}.id"
            )
        grid = self._book.grid(now)
        centre = _centre(grid, Slot.parse(quote.item_id))
        run, _ = run_at(
            quote.terms.task, grid, centre, max(quote.starts_at, now), carbon_price_gbp_per_t=self._carbon_price
        )
        if run is None:
            raise _no_quote("the price of its electricity is not known any more: search again", f"{_QUOTE}.id")
        if has_moved(quote.terms.price_gbp, run.cost_gbp):
            raise _no_quote(
                f"the price moved from £{amount_text(quote.terms.price_gbp)} to £{run.cost_gbp:.6f}: select again",
                f"{_QUOTE}.price.value",
            )

    def _run(self, task: Task, grid: GridContext, centre: DataCentre, start: datetime) -> SlotRun:
        run, violations = run_at(task, grid, centre, start, carbon_price_gbp_per_t=self._carbon_price)
        if any(violation.constraint is Constraint.FREE_CAPACITY for violation in violations):
            raise Refused.business(ErrorCode.QUANTITY_UNAVAILABLE, _told(violations), _QUANTITY)
        if run is None:
            raise _no_quote(f"there is no price for it: {_told(violations)}", _ITEM)
        if violations:
            raise Refused.business(ErrorCode.BUSINESS_ERROR, _told(violations), _ITEM)
        return run


def _terms(item: OrderItem, slot: Slot, run: SlotRun, task: Task, grid: GridContext, now: datetime) -> QuoteTerms:
    ahead = (half_hour_of(run.start) - half_hour_of(now)) // HALF_HOUR
    offer = compute_offers(grid.model_copy(update={"data_centres": (run.centre,)}), now=now, slots=ahead + 1)
    (provider,) = offer.providers
    offered = provider.items[-1]
    gpu_minutes = float(item.quantity.selected.measure.value)
    estimate = estimate_tags(run)
    return QuoteTerms(
        task=task,
        provider_id=provider.id,
        location=provider.locations[0],
        item=OrderItem(
            id=slot.item_id,
            descriptor=OrderDescriptor(code=offered.descriptor.code, name=offered.descriptor.name),
            price=price_per_gpu_minute(run, gpu_minutes),
            quantity=item.quantity,
            location_ids=(slot.dc_id,),
            fulfillment_ids=(slot.fulfillment_id,),
            tags=(*offered.tags, *((estimate,) if estimate else ())),
        ),
        fulfillment_id=slot.fulfillment_id,
        lines=quoted_lines(run),
        estimated_carbon_gco2=run.carbon_gco2,
        duration_s=run.load.duration / timedelta(seconds=1),
        latest_start=latest_start(task, now),
        tags=(),
    )


def _slot(item_id: str, now: datetime) -> Slot:
    try:
        slot = Slot.parse(item_id)
    except ValueError as error:
        raise Refused.business(ErrorCode.ITEM_NOT_FOUND, str(error), _ITEM) from None
    if slot.start + HALF_HOUR <= now:
        raise Refused.business(ErrorCode.ITEM_NOT_FOUND, f"the slot {item_id} is over: search again", _ITEM)
    return slot


def _centre(grid: GridContext, slot: Slot) -> DataCentre:
    centre = next((centre for centre in grid.data_centres if centre.dc_id == slot.dc_id), None)
    if centre is None:
        raise Refused.business(ErrorCode.ITEM_NOT_FOUND, f"there is no data centre {slot.dc_id} at work here", _ITEM)
    return centre


def _new_start(request: UpdateRequest) -> datetime:
    """The start that an update asks for."""
    for number, stop in enumerate(request.message.order.fulfillments[0].stops):
        if stop.type == "start":
            start = stop.time.timestamp or (stop.time.range.start if stop.time.range else None)
            if start is None:
                raise Refused.invalid("a moment is needed", f"{_STOPS}[{number}].time.timestamp")
            return start
    raise Refused.invalid('a stop of the type "start" is needed: the new window', _STOPS)


def _no_quote(message: str, path: str) -> Refused:
    return Refused.business(ErrorCode.QUOTE_UNAVAILABLE, message, path)


def _told(violations: Sequence[Violation]) -> str:
    return "; ".join(violation.message for violation in violations)
