"""Quotes: what a select is answered with, what an init adds, and whether a quote still holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from beckn.catalogue.compute_offers import UNSTATED_OPERATOR, slot_offers
from beckn.catalogue.slot import Slot
from beckn.protocol.acknowledgement import ErrorCode, Refused
from beckn.protocol.objects import Subscriber
from beckn.provider.messages_order import QUOTE_TTL, Order, OrderDescriptor, OrderItem
from beckn.provider.messages_request import InitRequest, OrderedItem, SelectRequest
from beckn.provider.order_book import OrderBook
from beckn.provider.order_document import initiated_order, quoted_order
from beckn.provider.quotes import amount_text, has_moved, price_gbp, quote_id_of, quoted_lines
from beckn.provider.requirements import wanted_by_order
from beckn.provider.search import estimate_tags, price_per_gpu_minute
from beckn.provider.slots import FURTHEST_AHEAD, SlotRun, first_moment, run_at
from beckn.provider.stored_orders import QuoteTerms, StoredQuote
from decisions.scoring.context import Capacity, DataCentre, Task
from decisions.scoring.feasibility import Constraint, Violation, latest_start
from decisions.scoring.grid_context import GridContext
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from printable import printable

ITEM = "message.order.items[0].id"
QUANTITY = "message.order.items[0].quantity.selected"
QUOTE = "message.order.quote"


class Quoting:
    """Makes quotes from the live grid, and checks them against it."""

    def __init__(self, book: OrderBook, own: Subscriber, *, carbon_price_gbp_per_t: float) -> None:
        self._book = book
        self._own = own
        self._carbon_price = carbon_price_gbp_per_t

    def select(self, request: SelectRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        wanted = wanted_by_order(order, now)
        slot = _slot(order.items[0].id, now)
        grid = self._book.grid(now)
        centre = centre_of(grid, slot)
        if order.provider.id != (centre.operator or UNSTATED_OPERATOR):
            raise Refused.business(
                ErrorCode.PROVIDER_NOT_FOUND,
                f"{centre.dc_id} does not belong to the provider {printable(order.provider.id)}",
                "message.order.provider.id",
            )
        run = self._run(wanted.task, grid, centre, first_moment(slot, now), self._book.capacity(now))
        price, most = price_gbp(run.cost_gbp), wanted.task.max_price_gbp
        if most is not None and price > Decimal(str(most)):
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR, f"it costs £{amount_text(price)}, above its limit of £{most:g}", ITEM
            )
        quote = StoredQuote(
            quote_id=UUID(
                quote_id_of(self._own.subscriber_id, context.bap_id, context.transaction_id, context.message_id)
            ),
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
        stored = self._book.store_quote(quote)
        if stored is None:
            raise Refused.business(
                ErrorCode.BUSINESS_ERROR,
                f"{self._book.limits.live_quotes} of your quotes are still open: confirm one, or wait until "
                "they expire",
            )
        return quoted_order(stored, now)

    def init(self, request: InitRequest, now: datetime) -> Order:
        context, order = request.context, request.message.order
        item = order.items[0]
        quote = self._book.newest_quote(context.bap_id, context.transaction_id, item.id)
        if quote is None:
            raise no_quote(f"this transaction has no quote for {printable(item.id)}: select it first", ITEM)
        check_quantity(quote, item)
        self.check_quote(quote, now)
        return initiated_order(quote, order.billing, order.fulfillments[0].customer, now)

    def check_quote(self, quote: StoredQuote, now: datetime) -> None:
        """Refuse a quote that has expired, or whose run has come to cost more."""
        if quote.expires_at <= now:
            raise no_quote(
                f"the quote expired at {rfc3339(quote.expires_at)}: select again to get another", f"{QUOTE}.id"
            )
        grid = self._book.grid(now)
        centre = centre_of(grid, Slot.parse(quote.item_id))
        run, _ = run_at(
            quote.terms.task, grid, centre, max(quote.starts_at, now), carbon_price_gbp_per_t=self._carbon_price
        )
        if run is None:
            raise no_quote("the price of its electricity is not known any more: search again", f"{QUOTE}.id")
        if has_moved(quote.terms.price_gbp, run.cost_gbp):
            raise no_quote(
                f"the price moved from £{amount_text(quote.terms.price_gbp)} to £{run.cost_gbp:.6f}: select again",
                f"{QUOTE}.price.value",
            )

    def _run(self, task: Task, grid: GridContext, centre: DataCentre, start: datetime, capacity: Capacity) -> SlotRun:
        run, violations = run_at(
            task, grid, centre, start, carbon_price_gbp_per_t=self._carbon_price, capacity=capacity
        )
        if any(violation.constraint is Constraint.FREE_CAPACITY for violation in violations):
            raise Refused.business(ErrorCode.QUANTITY_UNAVAILABLE, _told(violations), QUANTITY)
        if run is None:
            raise no_quote(f"there is no price for it: {_told(violations)}", ITEM)
        if violations:
            raise Refused.business(ErrorCode.BUSINESS_ERROR, _told(violations), ITEM)
        return run


def _terms(item: OrderedItem, slot: Slot, run: SlotRun, task: Task, grid: GridContext, now: datetime) -> QuoteTerms:
    ahead = (half_hour_of(run.start) - half_hour_of(now)) // HALF_HOUR
    (provider,) = slot_offers({slot.dc_id: (ahead,)}, grid, now=now).providers
    (offered,) = provider.items
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
        raise Refused.business(ErrorCode.ITEM_NOT_FOUND, str(error), ITEM) from None
    if slot.start > now + FURTHEST_AHEAD:
        raise Refused.business(
            ErrorCode.ITEM_NOT_FOUND,
            f"the slot {item_id} is more than {FURTHEST_AHEAD.days} days ahead, and slots are sold no further ahead",
            ITEM,
        )
    if slot.start + HALF_HOUR <= now:
        raise Refused.business(ErrorCode.ITEM_NOT_FOUND, f"the slot {item_id} is over: search again", ITEM)
    return slot


def centre_of(grid: GridContext, slot: Slot) -> DataCentre:
    centre = next((centre for centre in grid.data_centres if centre.dc_id == slot.dc_id), None)
    if centre is None:
        raise Refused.business(
            ErrorCode.ITEM_NOT_FOUND, f"there is no data centre {slot.dc_id} in operation here", ITEM
        )
    return centre


def check_quantity(quote: StoredQuote, item: OrderedItem) -> None:
    """Refuse a quantity that a quote is not for."""
    quoted = quote.terms.item.quantity.selected.measure
    if Decimal(item.quantity.selected.measure.value) != Decimal(quoted.value):
        raise no_quote(f"the quote is for {quoted.value} {quoted.unit}: select this quantity first", QUANTITY)


def no_quote(message: str, path: str) -> Refused:
    return Refused.business(ErrorCode.QUOTE_UNAVAILABLE, message, path)


def _told(violations: Sequence[Violation]) -> str:
    return "; ".join(violation.message for violation in violations)
