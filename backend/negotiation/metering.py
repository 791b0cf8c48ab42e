"""What was drawn beside what was awarded, and what the difference is settled at. Pure; money and energy are exact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from database.interface import Row
from decimal_text import decimal_text as text
from grid.half_hours import HALF_HOUR
from negotiation.book import Metered

HOURS = Decimal("0.5")
MWH_PLACES = Decimal("1e-9")
MONEY_PLACES = Decimal("1e-9")


def drawn_above(metered_mwh: Sequence[Decimal], awarded_mw: Sequence[float]) -> list[Decimal]:
    """What was drawn above the award, MWh by half-hour; 0 where it was less, which wrongs nobody."""
    return [
        max(Decimal(0), mwh - (Decimal(repr(mw)) * HOURS).quantize(MWH_PLACES))
        for mwh, mw in zip(metered_mwh, awarded_mw, strict=True)
    ]


def prices_missing(metered: Metered, awarded_mw: dict[str, list[float]], starts_at: datetime) -> bool:
    """Whether a half-hour in which somebody drew above its award has no system price yet."""
    known = {price.half_hour for price in metered.system_prices}
    return any(
        above > 0 and starts_at + place * HALF_HOUR not in known
        for agent, mwh in metered.metered_mwh.items()
        if agent in awarded_mw
        for place, above in enumerate(drawn_above(mwh, awarded_mw[agent]))
    )


def metered_row(
    metered: Metered, agent: str, awarded_mw: Sequence[float], limit_gbp_per_mwh: Sequence[float], starts_at: datetime
) -> Row:
    """What an agent informs of: its draw by its meters, and what it owes for what it drew above its award.

    That is at the price of the limit or the system price, whichever is higher, as far as one is known.
    """
    mwh = metered.metered_mwh[agent]
    above = drawn_above(mwh, awarded_mw)
    system = {price.half_hour: price.system_price_gbp_mwh for price in metered.system_prices}
    prices = [
        max(Decimal(repr(limit)), system.get(starts_at + place * HALF_HOUR, Decimal(repr(limit))))
        for place, limit in enumerate(limit_gbp_per_mwh)
    ]
    owed = sum((energy * price for energy, price in zip(above, prices, strict=True)), Decimal(0))
    return {
        "metered_mwh": [text(one) for one in mwh],
        "above_award_mwh": text(sum(above, Decimal(0))),
        "owes_gbp": text(owed.quantize(MONEY_PLACES)),
        "system_prices_known": all(
            starts_at + place * HALF_HOUR in system for place, one in enumerate(above) if one > 0
        ),
    }
