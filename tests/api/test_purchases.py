"""Orders and quotes: both sides see each, whoever sees everything sees all, and pages leave nothing out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from api_application import create_app
from database.interface import Where
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from grid_world import NOW, data_centre, store_world, workload
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

ORDERS, QUOTES = "/api/v1/market/orders", "/api/v1/market/quotes"
PLATFORM = bearer(PLATFORM_KEY)
LISTS = [(ORDERS, "orders", "order_id"), (QUOTES, "quotes", "quote_id")]


@pytest.fixture
def of_operators(postgres: PostgresDatabase) -> PostgresDatabase:
    """Seven purchases: A buys of B, B of A, A of itself, a stranger of A; some at the same moment."""
    make_operators(postgres)
    store_world(postgres, NOW)
    postgres.call("tenancy_set_operator", {"p_operator": {"operator_id": "platform", "name": "The platform"}})
    centres = [data_centre(1, operator=A), data_centre(2, operator=B)]
    postgres.upsert("data_centres", centres, conflict=["dc_id"])
    sides = [(A, B), (B, A), (A, A), ("platform", A), (A, B), (A, B), (B, A)]
    for number, (buyer, seller) in enumerate(sides):
        plant_purchase(postgres, number, buyer, seller)
    return postgres


def plant_purchase(database: PostgresDatabase, number: int, buyer: str, seller: str) -> None:
    """A quote and its order, two and two at a time."""
    at = NOW + timedelta(minutes=number // 2)
    job_id = f"order:{number}"
    database.insert("compute_workloads", [workload(job_id, operator=buyer, status="QUEUED")])
    quote: dict[str, Any] = {
        "quote_id": str(UUID(int=number)),
        "bpp_id": "bpp.example",
        "bap_id": f"bap.{buyer}.example",
        "transaction_id": str(UUID(int=100 + number)),
        "dc_id": "DC-001" if seller == A else "DC-002",
        "item_id": "slot",
        "starts_at": NOW,
        "ends_at": NOW + timedelta(hours=1),
        "it_power_kw": 12.5,
        "price_gbp": 3.25,
        "terms": {"lines": []},
        "created_at": at,
        "buyer_operator": buyer,
        "seller_operator": seller,
    }
    database.insert("beckn_quotes", [{**quote, "expires_at": NOW + timedelta(hours=1)}])
    order = {
        **quote,
        "order_id": str(UUID(int=number)),
        "job_id": job_id,
        "state": "SCHEDULED",
        "scheduled_at": NOW,
        "updated_at": at,
    }
    database.insert("beckn_orders", [order])


@pytest.fixture
def api(of_operators: PostgresDatabase, conninfo: str) -> Iterator[Client]:
    gate = gate_of(conninfo)
    with api_with_tenants(of_operators, gate) as client:
        yield client
    gate.close()


def pages(client: Client, path: str, name: str, headers: dict[str, str], limit: int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    asked = {"limit": str(limit)}
    while True:
        answer = client.get(path, params=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()[name])
        if answer.json()["next"] is None:
            return found
        asked["after"] = answer.json()["next"]


def number_of(purchase: dict[str, Any], key: str) -> int:
    return UUID(purchase[key]).int


@pytest.mark.parametrize(("path", "name", "key"), LISTS)
def test_each_side_sees_what_it_bought_and_sold_and_nobody_else_does(
    of_operators: PostgresDatabase, api: Client, path: str, name: str, key: str
) -> None:
    seen: dict[str, dict[int, Any]] = {}
    for operator in (A, B):
        reader = bearer(made_key(of_operators, operator, Role.READER)[0].text)
        (page,) = pages(api, path, name, reader, 100)
        seen[operator] = {number_of(each, key): each["side"] for each in page}
    assert seen[A] == {0: "buyer", 1: "seller", 2: "both", 3: "seller", 4: "buyer", 5: "buyer", 6: "seller"}
    assert seen[B] == {0: "seller", 1: "buyer", 4: "seller", 5: "seller", 6: "buyer"}
    (everything,) = pages(api, path, name, PLATFORM, 100)
    assert {number_of(each, key): each["side"] for each in everything} == dict.fromkeys(range(7))
    is_problem(api.get(path), 401)


@pytest.mark.parametrize(("path", "name", "key"), LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_go_on_from_the_newest_to_the_oldest_and_leave_nothing_out(
    of_operators: PostgresDatabase, api: Client, path: str, name: str, key: str, limit: int
) -> None:
    of_b = bearer(made_key(of_operators, B, Role.READER)[0].text)
    for headers, expected in ((PLATFORM, [6, 5, 4, 3, 2, 1, 0]), (of_b, [6, 5, 4, 1, 0])):
        found = pages(api, path, name, headers, limit)
        assert [number_of(each, key) for page in found for each in page] == expected
        assert {len(page) for page in found[:-1]} <= {limit}


def test_a_page_goes_on_after_a_quote_that_is_gone(of_operators: PostgresDatabase, api: Client) -> None:
    of_a = bearer(made_key(of_operators, A, Role.READER)[0].text)
    of_operators.delete("beckn_orders", where=[Where("order_id", str(UUID(int=5)))])
    first = api.get(QUOTES, params={"limit": "2"}, headers=of_a).json()
    assert [number_of(each, "quote_id") for each in first["quotes"]] == [6, 5]
    of_operators.delete("beckn_quotes", where=[Where("quote_id", str(UUID(int=5)))])
    following = api.get(QUOTES, params={"limit": "2", "after": first["next"]}, headers=of_a).json()
    assert [number_of(each, "quote_id") for each in following["quotes"]] == [4, 3]


@pytest.mark.parametrize("path", [ORDERS, QUOTES])
@pytest.mark.parametrize(
    "after", ["7", "9999-99-99T99:99:99Z/" + str(UUID(int=1)), "2026-11-22T18:00:00Z/", "2026/x"]
)
def test_a_place_that_no_page_named_is_refused(api: Client, path: str, after: str) -> None:
    assert "after" in is_problem(api.get(path, params={"after": after}, headers=PLATFORM), 422)["detail"]


@pytest.mark.parametrize(("path", "name", "key"), LISTS)
def test_without_tenants_the_one_operator_sees_all_of_them(
    of_operators: PostgresDatabase, path: str, name: str, key: str
) -> None:
    with served(create_app(of_operators, load_settings({}), clock=lambda: NOW)) as client:
        found = pages(client, path, name, {}, 3)
    assert [number_of(each, key) for page in found for each in page] == [6, 5, 4, 3, 2, 1, 0]
    newest = found[0][0]
    assert (newest["buyer_operator"], newest["seller_operator"], newest["side"]) == (B, A, None)
    assert (newest["price_gbp"], newest["starts_at"]) == (3.25, rfc3339(NOW))
    assert not {"lease_token", "leased_by", "last_error"} & set(newest)
