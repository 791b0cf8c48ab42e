"""What one buyer may have of flexibility at a time: what is too much is named and not stored."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from beckn.demand_flex.contract_book import Confirming, ContractBook
from beckn.demand_flex.contract_limits import ContractLimits
from beckn.protocol.context import OrderContext
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from demand_needs import CONTEXT, read
from flexibility.events import Cancelling, cancel
from flexibility_buyer import wanted_contract
from flexibility_world import STARTS_AT
from grid.half_hours import HALF_HOUR
from grid_world import NOW, store_world

FEW = ContractLimits(open_contracts=3, cancelled_a_day=2, strangers_half_hours=8, strangers_mwh=10)


def confirm(book: ContractBook, place: int, *, half_hours: int = 1, kw: float = 1000, **context: str) -> Confirming:
    """A contract for half-hours from the `place`-th on, in a transaction of its own unless it is named."""
    start = STARTS_AT + place * HALF_HOUR
    values: dict[str, list[float]] = {
        "CAPACITY_REQUESTED": [kw] * half_hours,
        "PRICE": [0.2] * half_hours,
        "SHORTFALL_PENALTY": [0.1] * half_hours,
    }
    need = read(wanted_contract(start, **values))
    given = {"action": "confirm", "transaction_id": str(uuid4()), **context}
    asked = OrderContext.model_validate_json(json.dumps({**CONTEXT, **given}))
    return book.confirm(asked, need, need.to_event(str(book.contract_id(asked))), NOW)


@pytest.fixture
def book(postgres: PostgresDatabase) -> ContractBook:
    store_world(postgres, data_centres=1)
    return ContractBook(postgres, "bpp.example", FEW)


def events(database: PostgresDatabase) -> list[dict[str, Any]]:
    return [dict(row) for row in database.select("flexibility_events", order=OrderBy(("starts_at",)))]


def test_a_stranger_s_open_contracts_are_bounded_in_number_length_and_power(
    book: ContractBook, postgres: PostgresDatabase
) -> None:
    assert confirm(book, 0, half_hours=9) is Confirming.TOO_LONG
    assert confirm(book, 0, kw=20_001) is Confirming.TOO_MUCH
    assert events(postgres) == [], "what is refused is not stored"
    transaction = str(uuid4())
    assert confirm(book, 0, half_hours=6, transaction_id=transaction) is Confirming.ANNOUNCED
    assert confirm(book, 6, half_hours=3) is Confirming.TOO_LONG
    assert confirm(book, 6, kw=14_001) is Confirming.TOO_MUCH
    assert confirm(book, 6, kw=14_000) is Confirming.ANNOUNCED
    assert confirm(book, 7, kw=0) is Confirming.ANNOUNCED
    assert confirm(book, 8) is Confirming.TOO_MANY
    assert confirm(book, 0, half_hours=6, transaction_id=transaction) is Confirming.ALREADY, "however full it is"
    assert confirm(book, 8, bap_id="another.example") is Confirming.ANNOUNCED, "each buyer is counted alone"
    assert len(events(postgres)) == 4


def test_what_is_over_counts_no_more_and_what_is_taken_back_for_a_day(
    book: ContractBook, postgres: PostgresDatabase
) -> None:
    for place in (0, 1):
        assert confirm(book, place, half_hours=1) is Confirming.ANNOUNCED
        event = events(postgres)[-1]
        assert cancel(postgres, event["event_id"], "not wanted", NOW).state is Cancelling.CANCELLED
    assert confirm(book, 2) is Confirming.TOO_MANY_CANCELLED
    assert confirm(book, 2, bap_id="another.example") is Confirming.ANNOUNCED
    long_ago = {"finished_at": NOW - timedelta(days=1, seconds=1)}
    postgres.update("flexibility_events", long_ago, where=[Where("state", "CANCELLED")])
    assert confirm(book, 3) is Confirming.ANNOUNCED
