"""Exact decimals as text."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decimal_text import decimal_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.50", "1.5"),
        ("2.0", "2"),
        ("100", "100"),
        ("0.00", "0"),
        ("-7.940", "-7.94"),
        ("1E+3", "1000"),
        ("1E-7", "0.0000001"),
    ],
)
def test_every_digit_is_kept_and_no_zero_at_the_end(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=9))
def test_it_reads_back_as_the_same_and_equals_are_written_alike(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert decimal_text(value * Decimal("1.00")) == text
