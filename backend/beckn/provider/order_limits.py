"""What one buyer may hold of a provider, since holding costs nothing before a run."""

from __future__ import annotations

from dataclasses import dataclass

MOST_OPEN_ORDERS = 50
MOST_CANCELLED_A_DAY = 10
LARGEST_SHARE = 0.5
"""Of the power that a data centre has for orders: what one buyer's may hold at a time, but for a single one."""

MOST_LIVE_QUOTES = 500

LONGEST_ORDER_BYTES = 64 * 1024
"""Of a message about an order: much of it is kept with the quote and the order."""


@dataclass(frozen=True)
class BuyerLimits:
    """What the database lets one buyer have with one provider."""

    open_orders: int = MOST_OPEN_ORDERS
    cancelled_a_day: int = MOST_CANCELLED_A_DAY
    share: float = LARGEST_SHARE
    live_quotes: int = MOST_LIVE_QUOTES
