"""What one buyer may hold of a provider: a bound that is told before capacity is taken, and is nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer, NotAnswered
from beckn.network.subscribers import Role
from beckn.protocol.objects import Action
from beckn.provider.messages_order import Order
from beckn.provider.order_limits import LONGEST_ORDER_BYTES, BuyerLimits
from beckn_network import Party, a_message, in_bytes
from beckn_orders import BILLING, Market, a_workload, market, market_time, store_market
from clock import utc_now
from database.interface import OrderBy as By
from database.postgres import PostgresDatabase
from grid_world import data_centre

Ordered = Callable[[Buyer, str], Order]


@contextmanager
def limited(database: PostgresDatabase, folder: Path, limits: BuyerLimits) -> Iterator[tuple[Market, Ordered]]:
    """A market of one small data centre, and how a buyer orders one GPU there: 0.96 kW of 4."""
    store_market(
        database,
        market_time(),
        centres=[data_centre(1, operator="op-a", total_capacity_mw=0.004, current_load_percentage=0)],
    )
    with market(database, folder, limits=limits) as shop:

        def ordered(buyer: Buyer, job_id: str) -> Order:
            _, order = shop.ordered(buyer, Transaction(a_workload(job_id=job_id, required_gpu_mins=60)))
            return order

        yield shop, ordered


def held_kw(shop: Market) -> float:
    rows = shop.database.select("beckn_orders", order=By(("order_id",)))
    return sum(float(row["it_power_kw"]) for row in rows if row["state"] != "CANCELLED")


def test_a_buyer_has_so_many_open_orders_and_no_more_and_others_theirs(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with limited(postgres, tmp_path, BuyerLimits(open_orders=1)) as (shop, ordered):
        one, two = shop.buyer("one.example"), shop.buyer("two.example")
        first = ordered(one, "one-1")
        before = held_kw(shop)
        with pytest.raises(NotAnswered, match="1 of your orders are open"):
            ordered(one, "one-2")
        assert held_kw(shop) == before
        ordered(two, "two-1")
        one.cancel(Transaction(a_workload()), shop.provider, first.id or "", "ROOM")
        ordered(one, "one-3")


def test_a_buyer_that_orders_and_cancels_again_and_again_is_told_to_wait(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with limited(postgres, tmp_path, BuyerLimits(cancelled_a_day=2)) as (shop, ordered):
        one, two = shop.buyer("one.example"), shop.buyer("two.example")
        for number in range(2):
            order = ordered(one, f"one-{number}")
            one.cancel(Transaction(a_workload()), shop.provider, order.id or "", "AGAIN")
        with pytest.raises(NotAnswered, match="you cancelled 2 orders within a day"):
            ordered(one, "one-more")
        assert held_kw(shop) == 0
        ordered(two, "two")


def test_a_buyer_holds_its_share_of_a_data_centre_and_leaves_the_rest(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with limited(postgres, tmp_path, BuyerLimits(share=0.5)) as (shop, _):
        one, two = shop.buyer("one.example"), shop.buyer("two.example")
        option = shop.options(one, Transaction(a_workload(required_gpu_mins=60)))[0]

        def order_there(buyer: Buyer, job_id: str) -> Order:
            deal = Transaction(a_workload(job_id=job_id, required_gpu_mins=60))
            buyer.select(deal, option)
            return buyer.confirm(deal, option, buyer.init(deal, option, BILLING))

        for number in range(2):
            order_there(one, f"one-{number}")
        with pytest.raises(NotAnswered, match="40002 .*50% of"):
            order_there(one, "one-more")
        for number in range(2):
            order_there(two, f"two-{number}")


def test_a_first_order_may_be_as_large_as_there_is_room(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with limited(postgres, tmp_path, BuyerLimits(share=0.1)) as (shop, ordered):
        ordered(shop.buyer(), "large")
        assert held_kw(shop) > 0.1 * 4


def test_a_buyer_has_so_many_quotes_that_hold(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with limited(postgres, tmp_path, BuyerLimits(live_quotes=2)) as (shop, _):
        one, two = shop.buyer("one.example"), shop.buyer("two.example")
        option = shop.options(one, Transaction(a_workload()))[0]
        for _ in range(2):
            one.select(Transaction(a_workload()), option)
        with pytest.raises(NotAnswered, match="2 of your quotes are still open"):
            one.select(Transaction(a_workload()), option)
        two.select(Transaction(a_workload()), option)
        assert len(postgres.select("beckn_quotes", order=By(("quote_id",)))) == 3


def test_a_long_message_about_an_order_is_refused_before_it_is_stored(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with market(postgres, tmp_path) as shop:
        buyer = shop.buyer()
        filler = {"order_id": "x", "filler": "x" * LONGEST_ORDER_BYTES}
        party = Party(Role.BAP, buyer.own.subscriber_id, buyer.own.url)
        provider = Party(Role.BPP, shop.provider.subscriber_id, shop.provider.url)
        body = in_bytes(a_message(Action.CANCEL, party, provider, message=filler))
        now = utc_now()
        headers = {"Authorization": buyer._signer.authorization(body, now=now, expires=now.replace(year=2100))}
        answer = requests.post(f"{shop.provider.url}/cancel", data=body, headers=headers, timeout=30)
        assert answer.status_code == 413
        assert "65,536 bytes" in answer.json()["error"]["message"]
        assert postgres.select("beckn_inbox", order=By(("inbox_id",))) == []
