"""Exact decimals as they are stored and shown: every digit kept, without zeros at the end."""

from __future__ import annotations

from decimal import Decimal


def decimal_text(value: Decimal) -> str:
    """`1.50` as 1.5, never with an exponent, so that 2 and 2.0 are one figure."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
