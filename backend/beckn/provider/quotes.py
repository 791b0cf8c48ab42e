"""Quotes: what a run costs, in lines that add up to it exactly, and whether a quote still holds. Pure.

Amounts are decimals of a millionth of a pound, rounded up: a GPU-minute costs about a fifth of a penny, and the least
that can be ordered is a thousandth of one, which still costs something when electricity does. A quote holds for
QUOTE_TTL unless its price moves: when the same run has come to cost more than PRICE_TOLERANCE above it, a buyer must
select again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from uuid import UUID, uuid5

from beckn.protocol.objects import CURRENCY, Price
from beckn.provider.messages_order import QUOTE_TTL, ItemReference, Quotation, QuoteLine
from beckn.provider.slots import SlotRun

SMALLEST_GBP = Decimal("0.000001")
PRICE_TOLERANCE = Decimal("0.01")
"""How far above its quote a run may come to cost before the quote is void, as a share of the quote."""

_QUOTES = UUID("4b0f6a52-52c5-5b0e-9f6f-7b8d3c1f4e11")


@dataclass(frozen=True)
class QuotedLine:
    title: str
    amount_gbp: Decimal


def quote_id_of(bpp_id: str, bap_id: str, transaction_id: str, message_id: str) -> str:
    """The id of the quote that answers a buyer's select: the same however often the select is worked on."""
    return str(uuid5(_QUOTES, f"{bpp_id} {bap_id} {transaction_id.lower()} {message_id.lower()}"))


def quoted_lines(run: SlotRun) -> tuple[QuotedLine, ...]:
    """The electricity of the computers, and that of everything around them, which is the rest."""
    whole = price_gbp(run.cost_gbp)
    computers = price_gbp(run.cost_gbp / run.centre.pue)
    return (
        QuotedLine("Electricity of the computers", computers),
        QuotedLine(f"Cooling and power losses (PUE {run.centre.pue:g})", whole - computers),
    )


def total_gbp(lines: tuple[QuotedLine, ...]) -> Decimal:
    """What the lines add up to, exactly."""
    return sum((line.amount_gbp for line in lines), Decimal(0))


def quotation(quote_id: str, item_id: str, lines: tuple[QuotedLine, ...], *, ttl: timedelta = QUOTE_TTL) -> Quotation:
    """The quote as a message has it."""
    breakup = tuple(
        QuoteLine(title=line.title, item=ItemReference(id=item_id), price=_price(line.amount_gbp)) for line in lines
    )
    return Quotation(id=quote_id, price=_price(total_gbp(lines)), breakup=breakup, ttl=ttl)


def time_left(expires_at: datetime, now: datetime) -> timedelta:
    """How long a quote still holds, in whole seconds."""
    return max(timedelta(0), timedelta(seconds=(expires_at - now) // timedelta(seconds=1)))


def has_moved(quoted_gbp: Decimal, cost_gbp: float) -> bool:
    """Whether a run that was quoted at `quoted_gbp` has come to cost too much more."""
    return price_gbp(cost_gbp) - quoted_gbp > abs(quoted_gbp) * PRICE_TOLERANCE + SMALLEST_GBP


def amount_text(amount_gbp: Decimal) -> str:
    """An amount as Beckn writes it."""
    text = format(amount_gbp.normalize(), "f")
    return "0" if text == "-0" else text


def price_gbp(cost_gbp: float) -> Decimal:
    """What a cost is charged as: up to the next millionth of a pound, so that nothing that costs is free."""
    # Fifteen digits are what a float says; rounding its noise up would make 0.1152 pounds 0.115201.
    return Decimal(f"{cost_gbp:.15g}").quantize(SMALLEST_GBP, rounding=ROUND_CEILING)


def _price(amount_gbp: Decimal) -> Price:
    return Price(currency=CURRENCY, value=amount_text(amount_gbp))
