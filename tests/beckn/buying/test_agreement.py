"""Whatever a provider's message says, it is held against what was shown, or is not: nothing else happens."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from beckn.buyer import options_table, order_news
from beckn.buying.agreement import NotAsShown, check_draft, check_news, check_order, confirmation, quoted
from beckn.buying.heard_messages import HeardCatalog, HeardItem, HeardOrder
from beckn.buying.messages import TO_BE_PAID, BuyerWorkload, Option, Transaction, best_first
from beckn.protocol.objects import Subscriber
from beckn.provider.messages_order import Billing
from beckn_orders import a_workload
from hypothesis_profile import FILTERS_MUCH
from schema_values import AMOUNTS, MOMENTS, filled, values

SELLER = Subscriber("seller.example", "https://seller.example/beckn")
BILLING = Billing(name="Tenant")
ITEM = {"id": "slot-1", "price": {"currency": "GBP", "value": "0.5"}, "fulfillment_ids": ["ful-1"]}
PRICE = {"currency": "GBP", "value": "0.5"}
ORDER: dict[str, Any] = {
    "id": "order-1",
    "status": "ACTIVE",
    "provider": {"id": "op-x"},
    "items": [{"id": "slot-1", "quantity": {"selected": {"measure": {"unit": "GPU-min", "value": "1"}}}}],
    "billing": {"name": "Tenant"},
    "fulfillments": [{"id": "ful-1", "stops": [{"type": "start", "time": {"timestamp": "2026-11-22T12:00:00Z"}}]}],
    "quote": {
        "id": "0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b",
        "price": PRICE,
        "breakup": [{"title": "Electricity", "price": PRICE}],
        "ttl": "PT10M",
    },
    "payments": [{"type": "POST-FULFILLMENT", "params": {"amount": "0.5", "currency": "GBP"}}],
    "cancellation_terms": [{"cancellation_fee": {"amount": {"currency": "GBP", "value": "0"}}}],
}


def option(item: Any = ITEM, seller: Subscriber = SELLER) -> Option:
    return Option(seller, "op-x", HeardItem.model_validate_json(json.dumps(item)))


def order(document: Any = ORDER) -> HeardOrder:
    return HeardOrder.model_validate_json(json.dumps(document), extra="ignore")


def deal(**workload: Any) -> Transaction:
    return Transaction(a_workload(**workload))


@cache
def orders() -> st.SearchStrategy[Any]:
    schema = HeardOrder.model_json_schema()
    return values(schema, schema["$defs"])


SOME_PRICE = st.sampled_from([*AMOUNTS, "0.5", "0.50", "0.505001", "0.6", "0." + "1" * 60])
SOME_CURRENCY = st.sampled_from(["GBP", "GBP", "INR"])
SOME_TEXT = st.sampled_from(["slot-1", "op-x", "Tenant", "\x1b[2J\n", "x" * 5000])
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "id": SOME_TEXT,
    "provider.id": SOME_TEXT,
    "billing.name": SOME_TEXT,
    "items.0.id": SOME_TEXT,
    "items.0.quantity.selected.measure.value": st.sampled_from(["1", "1.0", "2", "0.001", "10000000"]),
    "fulfillments.0.stops.0.type": st.sampled_from(["start", "end", "x"]),
    "fulfillments.0.stops.0.time.timestamp": st.sampled_from(MOMENTS),
    "quote.id": st.just(ORDER["quote"]["id"].upper()) | st.uuids().map(str),
    "quote.price.value": SOME_PRICE,
    "quote.price.currency": SOME_CURRENCY,
    "quote.breakup.0.price.value": SOME_PRICE,
    "quote.breakup.0.title": SOME_TEXT,
    "payments.0.type": st.sampled_from(["POST-FULFILLMENT", "PRE-ORDER"]),
    "payments.0.params.amount": SOME_PRICE,
    "payments.0.params.currency": SOME_CURRENCY,
    "cancellation_terms.0.cancellation_fee.amount.value": SOME_PRICE,
}


@st.composite
def answers(draw: st.DrawFn) -> HeardOrder:
    """An order as a provider may write it: much as it should be, or nothing of the kind."""
    document = filled(copy.deepcopy(ORDER), draw(orders())) if draw(st.booleans()) else copy.deepcopy(ORDER)
    for path in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3)):
        *steps, last = path.split(".")
        node: Any = document
        for step in steps:
            node = node[int(step)] if isinstance(node, list) else node[step]
        node[last] = draw(CHANGES[path])
    try:
        return order(document)
    except ValidationError:
        reject()


def refusal(check: Callable[[], Any]) -> str | None:
    """What a check says against a message, if anything."""
    try:
        check()
    except NotAsShown as refused:
        return str(refused)
    return None


@given(answers())
@settings(max_examples=300, suppress_health_check=FILTERS_MUCH)
def test_what_is_confirmed_is_what_was_asked_for_at_the_price_shown(answer: HeardOrder) -> None:
    asked, offer = deal(max_price_gbp=1), option()
    assert all(line.isprintable() for line in order_news(answer).split("\n"))
    if refusal(lambda: quoted(asked, offer, answer)) is None:
        shown = quoted(asked, offer, answer)
        assert shown.price_gbp <= Decimal("0.505001")
        confirmed = confirmation(shown, BILLING).order
        assert confirmed.items[0].quantity.selected.measure.value == "1"
        assert Decimal(confirmed.quote.price.value) == shown.price_gbp
    shown = quoted(asked, offer, order())
    checks: list[Callable[[], Any]] = [
        lambda: check_draft(shown, BILLING, answer),
        lambda: check_order(shown, answer),
        lambda: check_news(shown, order(), answer),
    ]
    for check in checks:
        if refusal(check) is None:
            assert Decimal(answer.quote.price.value or "") == Decimal("0.5")
            assert [item.id for item in answer.items] == ["slot-1"]
            assert Decimal(answer.items[0].quantity.selected.measure.value) == 1
            assert {payment.type for payment in answer.payments or ()} <= {TO_BE_PAID}


@cache
def catalogues() -> st.SearchStrategy[Any]:
    schema = HeardCatalog.model_json_schema()
    return values(schema, schema["$defs"])


@given(catalogues(), st.integers(1, 3))
def test_any_catalogue_becomes_a_printable_table(document: Any, sellers: int) -> None:
    try:
        catalog = HeardCatalog.model_validate_json(json.dumps(document))
    except ValidationError:
        assume(False)
    workload = a_workload()
    found = [
        Option(Subscriber(f"seller-{number}.example", "https://seller.example"), one.id, item)
        for number in range(sellers)
        for one in catalog.providers
        for item in one.items
    ]
    listed = best_first(found, workload)
    assert sorted(map(id, listed)) == sorted(map(id, found))
    assert all(line.isprintable() for line in options_table(listed, workload).split("\n"))


def offers(seller: str, *items: tuple[str, str | None, str]) -> list[Option]:
    """Items as id, rank and price."""
    made = []
    for name, rank, price in items:
        tags = [{"descriptor": {"code": "suitability"}, "list": [{"descriptor": {"code": "rank"}, "value": rank}]}]
        document = ITEM | {"id": name, "price": {"currency": "GBP", "value": price}, "tags": tags if rank else []}
        made.append(option(document, Subscriber(seller, "https://seller.example")))
    return made


def test_each_providers_slots_keep_their_order_and_the_cheapest_first_one_is_the_first() -> None:
    ours = offers("ours", ("a2", "2", "0.1"), ("a1", "1", "0.5"))
    theirs = offers("theirs", ("b2", None, "0.9"), ("b1", None, "0.4"))
    workload: BuyerWorkload = a_workload()
    assert [each.item.id for each in best_first([*ours, *theirs], workload)] == ["b1", "a1", "a2", "b2"]
    assert best_first([*theirs, *ours], workload) == best_first([*ours, *theirs], workload)


@pytest.mark.parametrize("rank", ["9" * 5000, "-1", "first", "٣", ""])
def test_a_rank_that_is_none_is_none(rank: str) -> None:
    (offered,) = offers("ours", ("a", rank or "x", "1"))
    assert offered.rank is None


def test_the_whole_costs_the_greater_of_what_is_said() -> None:
    def said(cost: str | None, each: str | None, currency: str = "GBP") -> Decimal | None:
        tags = [{"descriptor": {"code": "estimate"}, "list": [{"descriptor": {"code": "cost-gbp"}, "value": cost}]}]
        price = {"currency": currency} | ({"value": each} if each else {})
        return option(ITEM | {"price": price, "tags": tags if cost else []}).cost_gbp(a_workload(required_gpu_mins=2))

    assert said("0.1", "1") == 2
    assert said("3", "1") == 3
    assert said(None, "1") == 2
    assert said("3", None) == 3
    assert said("cheap", "9" * 400) is None
    assert said("3", "1", "INR") is None
