"""Requests and callbacks: the worked messages are understood, and whatever the code sends is valid 1.1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from beckn.buying.messages import Transaction
from beckn.buying.platform import NotAnswered
from beckn.protocol.objects import Action
from beckn.provider.messages_order import OnSearch, OrderCallback
from beckn.provider.messages_request import REQUESTS
from beckn_orders import BILLING, Market, a_workload, market, market_time, store_market
from beckn_specification import message_faults, worked_messages
from clock import utc_now
from database.interface import OrderBy as By
from database.postgres import PostgresDatabase

WORKED = worked_messages()


@pytest.fixture
def shop(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Market]:
    store_market(postgres, market_time())
    with market(postgres, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("name", WORKED)
def test_every_worked_message_is_understood(name: str) -> None:
    body = json.dumps(WORKED[name])
    action = Action(WORKED[name]["context"]["action"])
    if action in REQUESTS:
        REQUESTS[action].model_validate_json(body)
    elif action is Action.ON_SEARCH:
        OnSearch.model_validate_json(body)
    else:
        OrderCallback.model_validate_json(body)


@pytest.mark.parametrize("name", WORKED)
def test_every_worked_message_is_valid(name: str) -> None:
    assert message_faults(WORKED[name]) == []


def live_through_everything(shop: Market) -> None:
    """One of every message: orders that complete, are moved, deferred and cancelled, and errors."""
    buyer = shop.buyer()
    deal = Transaction(a_workload(deadline=utc_now() + timedelta(hours=12), carbon_cap_gco2=400, max_price_gbp=5))
    option, order = shop.ordered(buyer, deal)
    buyer.status(deal, shop.provider, order.id or "")
    shop.platform.executor.run_due(shop.clock())
    shop.clock.ahead = timedelta(minutes=2)
    shop.platform.executor.run_due(shop.clock())
    assert buyer.next_news(deal, 10)
    assert buyer.next_news(deal, 10)
    shop.clock.ahead = timedelta(0)
    for ending in ("cancel", "update"):
        another = Transaction(a_workload())
        chosen, order = shop.ordered(buyer, another, choose=4)
        assert chosen.item.time
        assert chosen.item.time.range
        start = chosen.item.time.range.start
        assert start
        if ending == "cancel":
            buyer.cancel(another, shop.provider, order.id or "", "CHANGED_MIND")
        else:
            buyer.update(another, shop.provider, order.id or "", start + timedelta(minutes=30))
    hopeless = Transaction(a_workload(carbon_cap_gco2=1))
    assert buyer.options(buyer.search(hopeless, shop.provider.url))[0] == []
    with pytest.raises(NotAnswered):
        buyer.init(hopeless, option, BILLING)


def test_every_message_that_is_sent_is_valid(shop: Market) -> None:
    live_through_everything(shop)
    sent = shop.database.select("beckn_outbox", order=By(("outbox_id",)))
    received = shop.database.select("beckn_inbox", order=By(("inbox_id",)))
    documents = [json.loads(row["body"]) for row in (*sent, *received)]
    wanted = {"on_search", "on_select", "on_init", "on_confirm", "on_status", "on_update", "on_cancel"}
    assert {document["context"]["action"] for document in documents} == wanted | set(map(str, REQUESTS))
    assert [fault for document in documents for fault in message_faults(document)] == []
    assert all(row["work_state"] != "discarded" for row in sent)


def test_every_callback_is_read_back_by_the_strict_models(shop: Market) -> None:
    live_through_everything(shop)
    for row in shop.database.select("beckn_outbox", order=By(("outbox_id",))):
        model = OnSearch if row["action"] == "on_search" else OrderCallback
        callback = model.model_validate_json(row["body"])
        assert (callback.message is None) != (callback.error is None)
        assert json.loads(callback.model_dump_json()) == json.loads(row["body"])
