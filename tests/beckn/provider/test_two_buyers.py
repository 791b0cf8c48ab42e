"""Two buyers never meet: whatever one does with the other's ids, each has its own quotes and orders only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from beckn.buying.messages import Option, Transaction, selected_order
from beckn.buying.platform import Buyer, NotAnswered
from beckn.protocol.objects import Action
from beckn.provider.messages_order import OrderCallback, OrderStatus
from beckn.provider.messages_request import SelectedMessage
from beckn_orders import BILLING, Market, a_workload, market, market_time, store_market
from database.interface import OrderBy as By
from database.interface import Row, Where
from database.postgres import PostgresDatabase


@pytest.fixture
def shop(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Market]:
    store_market(postgres, market_time())
    with market(postgres, tmp_path) as opened:
        yield opened


def select(shop: Market, buyer: Buyer, deal: Transaction, option: Option, message_id: str) -> OrderCallback:
    """The answer to a select whose message id is chosen by hand."""
    context = buyer.context(deal, Action.SELECT, shop.provider).model_copy(update={"message_id": message_id})
    message = SelectedMessage(order=selected_order(deal, option))
    body = f'{{"context":{context.model_dump_json()},"message":{message.model_dump_json()}}}'
    buyer.post(shop.provider.url, Action.SELECT, body.encode())
    answer = buyer.answer(Action.SELECT, message_id)
    assert isinstance(answer, OrderCallback)
    return answer


def test_a_select_under_anothers_ids_gets_a_quote_of_its_own(shop: Market) -> None:
    alice, mallory = shop.buyer("alice.example"), shop.buyer("mallory.example")
    deal = Transaction(a_workload(job_id="alices-secret", required_gpu_mins=3))
    copied = Transaction(a_workload(job_id="mine"), deal.transaction_id)
    option, message_id = shop.options(alice, deal)[-1], str(uuid4())
    hers, his = (select(shop, *of, option, message_id) for of in ((alice, deal), (mallory, copied)))
    assert hers.message is not None
    assert his.message is not None
    assert "alices-secret" in hers.model_dump_json()
    assert "alices-secret" not in his.model_dump_json()
    assert hers.message.order.quote.id != his.message.order.quote.id
    # Each goes on to an order of its own, in a transaction that both call by one name.
    orders = [
        buyer.confirm(mine, option, buyer.init(mine, option, BILLING))
        for buyer, mine in ((alice, deal), (mallory, copied))
    ]
    assert [order.status for order in orders] == [OrderStatus.ACTIVE] * 2
    assert orders[0].id != orders[1].id
    jobs = [row["job_id"] for row in shop.database.select("beckn_orders", order=By(("order_id",)))]
    assert sorted(jobs) == sorted(f"order:{order.id}" for order in orders)


def test_anothers_quote_is_not_confirmed_and_anothers_order_not_touched(shop: Market) -> None:
    alice, mallory = shop.buyer("alice.example"), shop.buyer("mallory.example")
    deal = Transaction(a_workload())
    option = shop.options(alice, deal)[-1]
    alice.select(deal, option)
    draft = alice.init(deal, option, BILLING)
    with pytest.raises(NotAnswered, match="40003"):
        mallory.confirm(Transaction(a_workload(), deal.transaction_id), option, draft)
    order = alice.confirm(deal, option, draft)
    assert order.id
    wishes: list[Any] = [
        lambda: mallory.status(deal, shop.provider, order.id or ""),
        lambda: mallory.cancel(deal, shop.provider, order.id or "", "MINE"),
        lambda: mallory.update(deal, shop.provider, order.id or "", shop.clock()),
    ]
    for wish in wishes:
        with pytest.raises(NotAnswered, match="30010"):
            wish()
    assert alice.status(deal, shop.provider, order.id).status is OrderStatus.ACTIVE


def a_quote(shop: Market, **changes: Any) -> Row:
    (row,) = shop.database.select("beckn_quotes", order=By(("created_at",)), limit=1)
    return {name: value for name, value in row.items() if name != "created_at"} | changes


def test_a_quote_id_that_stands_for_something_else_is_not_given_away(shop: Market) -> None:
    buyer, deal = shop.buyer("alice.example"), Transaction(a_workload())
    buyer.select(deal, shop.options(buyer, deal)[-1])
    first = a_quote(shop)
    assert shop.database.call("beckn_store_quote", {"p_quote": first})["quote_id"] == first["quote_id"]
    others: list[Row] = [
        {"bap_id": "mallory.example"},
        {"bpp_id": "other.example"},
        {"transaction_id": str(uuid4())},
        {"item_id": "DC-001:gpu-slot:20300101T0000Z"},
        {"terms": first["terms"] | {"item": first["terms"]["item"] | {"quantity": {}}}},
    ]
    for change in others:
        stored = shop.database.call("beckn_store_quote", {"p_quote": first | change})
        assert stored["quote_id"] != first["quote_id"]
        assert {name: stored[name] for name in change} == change
    assert a_quote(shop) == first


def test_an_order_is_placed_although_its_workloads_name_is_taken(shop: Market) -> None:
    buyer, deal = shop.buyer("alice.example"), Transaction(a_workload())
    option, order = shop.ordered(buyer, deal, choose=-1)
    shop.database.delete("beckn_orders", where=[Where("order_id", order.id)])
    # Its workload is still there, as one that somebody submitted under this name would be.
    placed = buyer.confirm(deal, option, buyer.init(deal, option, BILLING))
    assert placed.id == order.id
    (row,) = shop.database.select("beckn_orders", order=By(("order_id",)))
    assert row["job_id"] not in {f"order:{order.id}", None}
    assert buyer.status(deal, shop.provider, placed.id or "").status is OrderStatus.ACTIVE
