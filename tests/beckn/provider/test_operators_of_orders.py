"""Orders are their buyer's and their seller's operator's, workloads the buyer's; a stranger's are the platform's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer
from beckn.network.keys import own_key
from beckn.network.subscribers import Registry, Role
from beckn.protocol.objects import DOMAIN
from beckn_orders import Market, a_workload, market, market_time, store_market
from clock import utc_now
from database.errors import AccessRefused
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from database.tenant_door import TenantDatabase
from grid_world import data_centre
from tenants_work import submission, submit
from two_operators import A, B, as_tenant, claims, claims_of, door_of, make_operators

SELLER, BUYER, THIRD = A, B, "op-c"
SECRET = "buyers-other-job"
PURCHASES = ("purchased_orders", "purchased_quotes")
NEWEST = {"p_before": None, "p_before_id": None, "p_limit": 100}


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Market]:
    """Data centres of operator A."""
    make_operators(database)
    database.call("tenancy_set_operator", {"p_operator": {"operator_id": THIRD, "name": "Operator C"}})
    database.call("tenancy_set_member", {"p_operator": THIRD, "p_user_id": "user-c", "p_role": "admin"})
    store_market(database, market_time(), centres=[data_centre(number, operator=SELLER) for number in (1, 2)])
    with market(database, tmp_path) as opened:
        yield opened


@pytest.fixture
def door(database: Database, conninfo: str) -> Iterator[Database]:
    with door_of(database, conninfo) as door:
        yield door


def tenants(door: Database) -> dict[str, TenantDatabase]:
    return {
        SELLER: as_tenant(door, claims(SELLER)),
        BUYER: as_tenant(door, claims(BUYER)),
        THIRD: as_tenant(door, claims_of("user-c", THIRD)),
    }


def speaks_for(shop: Market, buyer: Buyer, operator: str | None) -> None:
    registry = Registry(shop.database)
    registered = registry.current(buyer.own.subscriber_id, Role.BAP, utc_now())
    assert registered is not None
    registry.add(registered.model_copy(update={"operator": operator}))


def order_row(database: Database) -> dict[str, Any]:
    (row,) = database.select("beckn_orders", order=OrderBy(("order_id",)))
    return row


def test_an_order_is_the_buyer_s_and_the_seller_s_and_its_workload_the_buyer_s(shop: Market, door: Database) -> None:
    of = tenants(door)
    submit(of[BUYER], submission(SECRET))
    buyer = shop.buyer("bap.op-b.example")
    speaks_for(shop, buyer, BUYER)
    _, order = shop.ordered(buyer, Transaction(a_workload()))
    row = order_row(shop.database)
    assert (row["buyer_operator"], row["seller_operator"]) == (BUYER, SELLER)
    (workload,) = shop.database.select(
        "compute_workloads", where=[Where("job_id", row["job_id"])], order=OrderBy(("job_id",))
    )
    assert workload["operator"] == BUYER

    for operator, side in ((BUYER, "buyer"), (SELLER, "seller")):
        (seen,) = of[operator].call("purchased_orders", NEWEST)
        assert (seen["order_id"], seen["side"], seen["state"]) == (order.id, side, "SCHEDULED")
        assert not {"lease_token", "leased_by", "last_error"} & set(seen)
        (quote,) = of[operator].call("purchased_quotes", NEWEST)
        assert (quote["quote_id"], quote["side"]) == (row["quote_id"], side)
    assert [of[THIRD].call(function, NEWEST) for function in PURCHASES] == [[], []]

    # The job is the buyer's: the seller sees the order, what runs at its data centre, and no other job.
    detail = {"p_job_id": row["job_id"]}
    assert of[BUYER].call("workload_detail", detail)["workload"]["job_id"] == row["job_id"]
    for operator in (SELLER, THIRD):
        assert of[operator].call("workload_detail", detail) is None
        assert of[operator].select("compute_workloads", order=OrderBy(("job_id",))) == []
        told = [of[operator].call(name, NEWEST) for name in PURCHASES]
        told.append(of[operator].call("own_hosted_workloads", {}))
        assert SECRET not in json.dumps(told)
    assert [job["job_id"] for job in of[SELLER].call("own_hosted_workloads", {})] == [row["job_id"]]


def test_what_a_stranger_buys_is_the_platform_s_and_the_seller_sees_the_order(shop: Market, door: Database) -> None:
    of = tenants(door)
    _, order = shop.ordered(shop.buyer("stranger.example"), Transaction(a_workload()))
    row = order_row(shop.database)
    assert (row["buyer_operator"], row["seller_operator"]) == ("platform", SELLER)
    assert [seen["order_id"] for seen in of[SELLER].call("purchased_orders", NEWEST)] == [order.id]
    assert of[SELLER].call("workload_detail", {"p_job_id": row["job_id"]}) is None
    assert of[BUYER].call("purchased_orders", NEWEST) == []


def test_an_operator_that_buys_from_itself_is_both_sides(shop: Market, door: Database) -> None:
    buyer = shop.buyer("bap.op-a.example")
    speaks_for(shop, buyer, SELLER)
    shop.ordered(buyer, Transaction(a_workload()))
    of = tenants(door)
    assert [seen["side"] for seen in of[SELLER].call("purchased_orders", NEWEST)] == ["both"]
    assert of[BUYER].call("purchased_orders", NEWEST) == []


def test_an_operator_that_a_workload_names_is_not_believed(shop: Market) -> None:
    """The registry says whom a buyer's platform speaks for, and not its messages."""
    buyer = shop.buyer("bap.op-b.example")
    speaks_for(shop, buyer, BUYER)
    deal = Transaction(a_workload())
    buyer.select(deal, shop.options(buyer, deal)[0])
    (quote,) = shop.database.select("beckn_quotes", order=OrderBy(("quote_id",)))
    taken = ("quote_id", "bpp_id", "bap_id", "transaction_id", "starts_at", "ends_at", "terms")
    order = {
        **{name: quote[name] for name in taken},
        "order_id": "00000000-0000-4000-8000-000000000001",
        "workload": {
            "job_id": "order:1",
            "operator": THIRD,
            "workload_type": "OTHER",
            "urgency": "LOW",
            "required_gpu_mins": 1,
        },
        "limits": {"open_orders": 9, "cancelled_a_day": 9, "share": 1},
    }
    placed = shop.database.call("beckn_place_order", {"p_order": order, "p_now": utc_now()})
    assert (placed["state"], placed["order"]["buyer_operator"]) == ("placed", BUYER)
    (workload,) = shop.database.select("compute_workloads", order=OrderBy(("job_id",)))
    assert workload["operator"] == BUYER


def test_a_revoked_platform_speaks_for_nobody_and_a_new_key_goes_on_for_the_same(
    shop: Market, tmp_path: Path
) -> None:
    database = shop.database

    def operator_of(name: str = "bap.op-b.example") -> str:
        sql = f"select beckn_operator('{name}')"
        if isinstance(database, PostgresDatabase):
            return str(database.scalar(sql))
        return str(database.call("beckn_operator", {"p_subscriber_id": name}))

    buyer = shop.buyer("bap.op-b.example")
    assert operator_of() == "platform"
    speaks_for(shop, buyer, BUYER)
    assert operator_of() == BUYER
    # It registers itself again whenever it starts, and says nothing of an operator.
    key = own_key(shop.settings.pylon_data_dir, buyer.own.subscriber_id)
    Registry(database).add_own(buyer.own, Role.BAP, key, domain=DOMAIN, now=utc_now())
    assert operator_of() == BUYER
    other = own_key(tmp_path / "other", buyer.own.subscriber_id)
    Registry(database).add_own(buyer.own, Role.BAP, other, domain=DOMAIN, now=utc_now())
    assert operator_of() == BUYER
    speaks_for(shop, buyer, THIRD)
    assert {
        row["operator"]
        for row in database.select(
            "beckn_subscribers", where=[Where("subscriber_id", buyer.own.subscriber_id)], order=OrderBy(("key_id",))
        )
    } == {THIRD}
    Registry(database).revoke(buyer.own.subscriber_id, None, utc_now() + timedelta(seconds=1))
    assert operator_of() == "platform"


@pytest.mark.parametrize(
    "table", ["beckn_orders", "beckn_quotes", "beckn_inbox", "beckn_outbox", "beckn_subscribers"]
)
def test_a_tenant_reads_no_table_of_the_network(shop: Market, door: Database, table: str) -> None:
    for tenant in tenants(door).values():
        with pytest.raises(AccessRefused):
            tenant.select(table, order=OrderBy(("created_at",)))
    with pytest.raises(AccessRefused):
        tenants(door)[BUYER].call("beckn_dead_letters", {"p_limit": 10})
