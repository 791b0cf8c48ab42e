"""Decimal arithmetic that keeps every digit: products and sums of volumes and prices are never rounded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from grid.half_hours import HALF_HOUR

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

# Elexon publishes up to 18 decimals; a volume has 9, a price at most a few digits before the point.
DIGITS = 60
_EXACT = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)

HOURS = Decimal(HALF_HOUR.seconds) / 3600
"""A half-hour."""
MEAN_PLACES = Decimal("1e-9")
"""A mean is rounded to the thousandth of a watt-hour, in MWh: as meters count here."""
PENNY = Decimal("0.01")


def exactly(worked_out: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """The same function, with enough digits for nothing to be rounded on the way."""

    @wraps(worked_out)
    def with_all_digits(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        with localcontext(_EXACT):
            return worked_out(*args, **kwargs)

    return with_all_digits


@exactly
def mean(values: Sequence[Decimal]) -> Decimal:
    """The mean, rounded to MEAN_PLACES, half to even; there is at least one value."""
    return (sum(values, Decimal(0)) / len(values)).quantize(MEAN_PLACES)


def to_the_penny(gbp: Decimal) -> Decimal:
    """An amount as it is paid, half to even."""
    return gbp.quantize(PENNY, rounding=ROUND_HALF_EVEN)
