"""Quotes add up exactly, and hold until they expire or the price moves."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beckn.provider.quotes import (
    amount_text,
    has_moved,
    price_gbp,
    quotation,
    quote_id_of,
    quoted_lines,
    time_left,
    total_gbp,
)
from beckn.provider.slots import SlotRun, run_at
from decision_contexts import NOON, centre, context_json, task
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.grid_context import GridContext

QUOTE_ID = quote_id_of(
    "bpp.example", "bap.example", "5a86a7be-9340-4000-9045-30c392a32d22", "b4f2095c-5f0e-4000-81c0-d75b61e2ea43"
)
# Subscriber ids are told apart by their case too.
OTHERS = (
    "bpp2.example",
    "BAP.example",
    "5a86a7be-9340-4000-9045-30c392a32d23",
    "b4f2095c-5f0e-4000-81c0-d75b61e2ea44",
)


def a_run(price: float = 100, pue: float = 1.2, minutes: float = 60) -> SlotRun:
    stored = centre(pue=pue)
    document = context_json(task=task(), price=[price] * 96, carbon={13: [200] * 96}, centres=[stored])
    run, _ = run_at(
        Task.model_validate(task(required_gpu_mins=minutes)),
        GridContext.model_validate(document),
        DataCentre.model_validate(stored),
        NOON,
        carbon_price_gbp_per_t=100,
    )
    assert run is not None
    return run


@given(st.floats(-500, 6000), st.floats(1, 3), st.floats(0.01, 2000))
def test_the_breakup_adds_up_to_the_price_exactly(price: float, pue: float, minutes: float) -> None:
    run = a_run(price, pue, minutes)
    quote = quotation(QUOTE_ID, "DC-001:gpu-slot:20261122T1200Z", quoted_lines(run))
    assert sum(Decimal(line.price.value or "") for line in quote.breakup) == Decimal(quote.price.value or "")
    assert float(quote.price.value or "") == pytest.approx(run.cost_gbp, abs=1e-6)


def test_an_hour_of_a_gpu_is_quoted_at_its_electricity() -> None:
    # 0.96 kWh at £100/MWh, and a fifth more for the site.
    lines = quoted_lines(a_run())
    assert [line.amount_gbp for line in lines] == [Decimal("0.096"), Decimal("0.0192")]
    assert amount_text(total_gbp(lines)) == "0.1152"


@given(st.floats(1e-13, 1e6))
def test_nothing_that_costs_is_free_and_nothing_is_charged_a_millionth_too_much(cost_gbp: float) -> None:
    price = price_gbp(cost_gbp)
    assert Decimal("0.000001") <= price
    assert Decimal(0) <= price - Decimal(f"{cost_gbp:.15g}") < Decimal("0.000001")


@pytest.mark.parametrize(
    ("cost", "price"),
    [(0.0, "0"), (4e-7, "0.000001"), (0.11520000000000001, "0.1152"), (-4e-7, "0"), (-0.0000014, "-0.000001")],
)
def test_a_price_is_its_cost_rounded_up(cost: float, price: str) -> None:
    assert amount_text(price_gbp(cost)) == price


def test_the_same_select_of_the_same_buyer_has_the_same_quote_id_and_no_other_has() -> None:
    transaction_id, message_id = "5a86a7be-9340-4000-9045-30c392a32d22", "b4f2095c-5f0e-4000-81c0-d75b61e2ea43"
    ids = ("bpp.example", "bap.example", transaction_id, message_id)
    assert quote_id_of(*ids) == QUOTE_ID
    assert quote_id_of(*ids[:2], transaction_id.upper(), message_id.upper()) == QUOTE_ID
    others = [(*ids[:place], other, *ids[place + 1 :]) for place, other in enumerate(OTHERS)]
    assert len({QUOTE_ID, *(quote_id_of(*other) for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("quoted", "cost", "moved"),
    [
        ("1", 1.01, False),
        ("1", 1.0101, True),
        ("1", 0.5, False),
        ("-1", -0.98, True),
        ("-1", -1.5, False),
        ("0", 0, False),
    ],
)
def test_a_price_has_moved_when_it_rose_by_more_than_a_hundredth(quoted: str, cost: float, moved: bool) -> None:
    assert has_moved(Decimal(quoted), cost) is moved


def test_the_time_left_of_a_quote_is_whole_seconds_and_never_negative() -> None:
    assert time_left(NOON + timedelta(seconds=9.9), NOON) == timedelta(seconds=9)
    assert time_left(NOON - timedelta(hours=1), NOON) == timedelta(0)


@pytest.mark.parametrize(("amount", "text"), [("100", "100"), ("0.000010", "0.00001"), ("-0", "0"), ("1E+3", "1000")])
def test_amounts_are_plain_decimals(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text
