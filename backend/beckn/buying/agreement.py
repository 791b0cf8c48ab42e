"""What a buyer agrees to: what it was shown, within its workload's limits, and nothing that came in between. Pure.

A provider's messages are the other side's word. Each is held against the one before it: the quote against the offer,
the draft against the quote, the order and its news against what was confirmed. What is confirmed is made of the
buyer's own words and of the quote it was shown, never of the draft.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from beckn.buying.messages import (
    TO_BE_PAID,
    Option,
    Transaction,
    ordered_fulfillment,
    ordered_item,
    pounds,
    selected_order,
)
from beckn.protocol.objects import CURRENCY, GPU_MINUTE, Price
from beckn.provider.messages_order import Billing, Order
from beckn.provider.messages_request import (
    AcceptedParams,
    AcceptedPayment,
    AcceptedPrice,
    AcceptedQuote,
    ConfirmedMessage,
    ConfirmedOrder,
)
from beckn.provider.quotes import PRICE_TOLERANCE, SMALLEST_GBP, amount_text
from grid.half_hours import rfc3339
from printable import printable

SAME_TIME = timedelta(minutes=5)
"""How far apart two messages may have a run's times: one in the present half-hour starts when it is asked for."""

BREAKUP_SHOWN = 20
"""Lines of a quote: more than that are no explanation."""


class NotAsShown(Exception):
    """A provider says something else than it showed, or more than the workload allows; the message says what."""


@dataclass(frozen=True)
class ShownQuote:
    """A quote that may be confirmed: it is for what was asked for, and within the limits."""

    deal: Transaction
    option: Option
    quote_id: str
    price_gbp: Decimal
    lines: tuple[tuple[str, Decimal], ...]
    starts_at: datetime | None
    ends_at: datetime | None


def quoted(deal: Transaction, option: Option, answer: Order) -> ShownQuote:
    """The quote that an `on_select` brings.

    Raises:
        NotAsShown: it is for something else than the offer, at a greater price, beyond the workload's limit or
            deadline, or its lines do not add up to it.
    """
    _check_item("on_select", deal, option, answer)
    price_gbp = _gbp("on_select", answer.quote.price)
    offered_gbp, most_gbp = option.cost_gbp(deal.workload), deal.workload.max_price_gbp
    if most_gbp is not None and price_gbp > Decimal(str(most_gbp)):
        raise NotAsShown(f"on_select asks for £{amount_text(price_gbp)}, but the workload's limit is £{most_gbp:g}")
    if offered_gbp is None and most_gbp is None:
        raise NotAsShown("the slot was offered without a price in pounds: give the workload a max_price_gbp")
    if offered_gbp is not None and price_gbp - offered_gbp > abs(offered_gbp) * PRICE_TOLERANCE + SMALLEST_GBP:
        raise NotAsShown(
            f"on_select asks for £{amount_text(price_gbp)}, but £{amount_text(offered_gbp)} was offered: search again"
        )
    if len(answer.quote.breakup) > BREAKUP_SHOWN:
        raise NotAsShown(f"on_select's quote has more than {BREAKUP_SHOWN} lines")
    lines = tuple((line.title, _gbp("on_select", line.price)) for line in answer.quote.breakup)
    if lines and sum(amount for _, amount in lines) != price_gbp:
        raise NotAsShown("the lines of on_select's quote do not add up to its price")
    starts_at, ends_at = _window(answer)
    _check_window(deal, option, starts_at, ends_at)
    return ShownQuote(deal, option, answer.quote.id, price_gbp, lines, starts_at, ends_at)


def check_draft(shown: ShownQuote, billing: Billing, draft: Order) -> None:
    """Hold an `on_init` against the quote that was shown.

    Raises:
        NotAsShown: it is for something else, or paid for in another way.
    """
    _check_same("on_init", shown, draft)
    starts_at, ends_at = _window(draft)
    for said, agreed, name in ((starts_at, shown.starts_at, "start"), (ends_at, shown.ends_at, "end")):
        if not _is_near(said, agreed):
            raise NotAsShown(f"on_init's {name} is {_moment(said)}, but {_moment(agreed)} was shown")
    told = draft.billing.model_dump() if draft.billing else {}
    for name, value in told.items():
        if value is not None and value != getattr(billing, name):
            raise NotAsShown(f"on_init bills somebody else: {name} is {printable(value)}")


def confirmation(shown: ShownQuote, billing: Billing) -> ConfirmedMessage:
    """The confirm: what was asked for, at the quote that was shown."""
    price = amount_text(shown.price_gbp)
    selected = selected_order(shown.deal, shown.option)
    return ConfirmedMessage(
        order=ConfirmedOrder(
            provider=selected.provider,
            items=(ordered_item(shown.deal.workload, shown.option),),
            billing=billing,
            fulfillments=(ordered_fulfillment(shown.option),),
            quote=AcceptedQuote(id=shown.quote_id, price=AcceptedPrice(currency="GBP", value=price)),
            payments=(AcceptedPayment(type=TO_BE_PAID, params=AcceptedParams(amount=price, currency=CURRENCY)),),
            tags=selected.tags,
        )
    )


def check_order(shown: ShownQuote, order: Order) -> None:
    """Hold an order, as `on_confirm` brings it or as later news has it, against what was confirmed.

    Raises:
        NotAsShown: it is another order.
    """
    _check_same("the order", shown, order)
    if not order.id or order.status is None:
        raise NotAsShown("the order has no id or no status")


def check_news(shown: ShownQuote, confirmed: Order, news: Order) -> None:
    """Hold news of an order against what was confirmed.

    Raises:
        NotAsShown: it is of another order, or what was agreed has become something else.
    """
    check_order(shown, news)
    if news.id != confirmed.id:
        raise NotAsShown(f"the order's id was {printable(confirmed.id)} and is now {printable(news.id)}")


def _check_same(what: str, shown: ShownQuote, order: Order) -> None:
    _check_item(what, shown.deal, shown.option, order)
    if order.quote.id.lower() != shown.quote_id.lower():
        raise NotAsShown(f"{what} has the quote {printable(order.quote.id)}, but {shown.quote_id} was shown")
    price_gbp = _gbp(what, order.quote.price)
    if price_gbp != shown.price_gbp:
        raise NotAsShown(
            f"{what} has a price of £{amount_text(price_gbp)}, but £{amount_text(shown.price_gbp)} was shown"
        )
    for payment in order.payments or ():
        if payment.type is not TO_BE_PAID:
            raise NotAsShown(f"{what} is to be paid {payment.type}, not {TO_BE_PAID}")
        params = payment.params
        if params and (params.currency != CURRENCY or pounds(params.amount) != shown.price_gbp):
            raise NotAsShown(
                f"{what} is to be paid with {printable(params.amount, 40)} {printable(params.currency, 10)}, "
                f"but £{amount_text(shown.price_gbp)} was shown"
            )
    for term in order.cancellation_terms or ():
        fee: Any = term.cancellation_fee and term.cancellation_fee.amount
        if fee and (fee.currency != CURRENCY or (pounds(fee.value) or 0) > max(shown.price_gbp, Decimal(0))):
            raise NotAsShown(
                f"cancelling would cost {printable(fee.value, 40)} {printable(fee.currency, 10)} according to "
                f"{what}, which is more than the price"
            )


def _check_item(what: str, deal: Transaction, option: Option, order: Order) -> None:
    """Check that an order is of this provider, item and quantity, and of nothing beside."""
    if order.provider.id != option.operator_id:
        raise NotAsShown(
            f"{what} is from the provider {printable(order.provider.id)}, not from {printable(option.operator_id)}"
        )
    if len(order.items) != 1:
        raise NotAsShown(f"{what} has {len(order.items)} items, but one was asked for")
    item, asked = order.items[0], ordered_item(deal.workload, option)
    if item.id != asked.id:
        raise NotAsShown(f"{what} is for {printable(item.id)}, not for {printable(asked.id)}")
    said, wanted = item.quantity.selected.measure, asked.quantity.selected.measure
    if said.unit != GPU_MINUTE or Decimal(said.value) != Decimal(wanted.value):
        raise NotAsShown(f"{what} is for {said.value} {said.unit}, but {wanted.value} {wanted.unit} were asked for")


def _check_window(deal: Transaction, option: Option, start: datetime | None, end: datetime | None) -> None:
    """Check that a run is quoted for when it was offered, and ends by the workload's deadline."""
    offered = option.item.time.range if option.item.time else None
    earliest = offered.start if offered else None
    latest_end = offered.end if offered else None
    if not _is_near(start, earliest):
        raise NotAsShown(f"on_select's run starts at {_moment(start)}, but {_moment(earliest)} was offered")
    if end and latest_end and end - latest_end > SAME_TIME:
        raise NotAsShown(f"on_select's run ends at {_moment(end)}, but {_moment(latest_end)} was offered")
    if end and deal.workload.deadline and end > deal.workload.deadline:
        raise NotAsShown(f"on_select's run ends at {_moment(end)}, after the workload's deadline")


def _is_near(one: datetime | None, other: datetime | None) -> bool:
    return one is None or other is None or abs(one - other) <= SAME_TIME


def _window(order: Order) -> tuple[datetime | None, datetime | None]:
    """When a run starts and ends, where the order says so."""
    moments: dict[str, datetime] = {}
    for fulfillment in order.fulfillments:
        for stop in fulfillment.stops or ():
            if stop.time and stop.time.timestamp:
                moments.setdefault(stop.type, stop.time.timestamp)
    return moments.get("start"), moments.get("end")


def _gbp(what: str, price: Price) -> Decimal:
    amount = pounds(price.value)
    if price.currency != CURRENCY or amount is None:
        raise NotAsShown(
            f"{what} is not priced in pounds: {printable(price.value, 40)} {printable(price.currency, 10)}"
        )
    return amount


def _moment(moment: datetime | None) -> str:
    return rfc3339(moment) if moment else "no time"
