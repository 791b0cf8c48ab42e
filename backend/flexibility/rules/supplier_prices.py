"""The Supplier Compensation Reference Price (SCRP): what an average supplier paid for its power, set by the quarter.

It follows Ofgem's method for the price cap and has one value for every half-hour of a quarter. It is not a market's
price. A quarter that nobody has stated has none: there is no default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

_ENTRY = re.compile(r"(?P<year>\d{4})Q(?P<quarter>[1-4])=(?P<price>\S+)")


@dataclass(frozen=True)
class SupplierPrices:
    """£/MWh by (year, quarter)."""

    by_quarter: Mapping[tuple[int, int], Decimal]

    @classmethod
    def read(cls, text: str) -> SupplierPrices:
        """From `2026Q1=87.21,2026Q3=98.53`; an empty text names no quarter.

        Raises:
            ValueError: it is not of this form, or names a quarter twice.
        """
        prices: dict[tuple[int, int], Decimal] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            named = _ENTRY.fullmatch(entry)
            if named is None:
                raise ValueError(f"{entry!r} is not like 2026Q1=87.21")
            quarter = int(named["year"]), int(named["quarter"])
            try:
                price = Decimal(named["price"])
            except InvalidOperation:
                raise ValueError(f"{named['price']!r} is not a price in £/MWh") from None
            if not price.is_finite() or quarter in prices:
                raise ValueError(f"{entry!r} is no price, or its quarter is named twice")
            prices[quarter] = price
        return cls(prices)

    def on(self, day: date) -> Decimal | None:
        """The price of the quarter that a settlement day lies in, if it is known."""
        return self.by_quarter.get((day.year, (day.month - 1) // 3 + 1))
