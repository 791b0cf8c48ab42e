"""Imbalance prices, the margin ahead and the Demand Flexibility Service over HTTP."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from balancing_payloads import csv_file, dfs_bid, dfs_requirement
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, store_grid
from ingest.market import MarketData, store_market
from served import Client
from upstreams.dfs import BIDS, CSV, REQUIREMENTS, parse_file
from upstreams.loss_of_load import LossOfLoad
from upstreams.system_prices import SystemPrice

SLOT = half_hour_of(NOW)
PAST = SLOT - timedelta(hours=26)
PRICE = SystemPrice(
    PAST, NOW - timedelta(hours=1), Decimal("96.790000000000000001"), Decimal("-37.5"), None, "N", False
)
REVISED = SystemPrice(PAST, NOW, Decimal("-5.25"), None, None, "P", None)
MARGIN = LossOfLoad(SLOT, NOW, Decimal("0.125"), Decimal("2500.5"), 1)


@pytest.fixture
def balanced(postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    postgres.insert("grid_signals", [{"timestamp": rfc3339(PAST), "settlement_period": 1}])
    requirement = parse_file(REQUIREMENTS, CSV.read(csv_file([dfs_requirement(SLOT + HALF_HOUR)])), NOW).rows
    bid = parse_file(BIDS, CSV.read(csv_file([dfs_bid(SLOT + HALF_HOUR, "A-1", "5.8", "193.958")])), NOW).rows
    for price in (PRICE, REVISED):
        store_market(
            postgres,
            MarketData(system_prices=(price,), loss_of_load=(MARGIN,), dfs_requirements=requirement, dfs_bids=bid),
            NOW,
        )


@pytest.mark.usefixtures("balanced")
def test_the_newest_price_is_answered_or_every_one(api: Client) -> None:
    (newest,) = api.get("/api/v1/grid/system-prices").json()["system_prices"]
    assert (newest["half_hour"], newest["revision"], newest["system_price_gbp_per_mwh"]) == (
        rfc3339(PAST),
        2,
        "-5.25",
    )
    every = api.get("/api/v1/grid/system-prices?revisions=all").json()["system_prices"]
    assert [price["system_price_gbp_per_mwh"] for price in every] == ["96.790000000000000001", "-5.25"]
    until = api.get(f"/api/v1/grid/system-prices?to={rfc3339(PAST)}").json()
    assert until["system_prices"] == []


@pytest.mark.usefixtures("balanced")
def test_prices_and_margin_stand_in_the_history_and_a_price_is_an_object(api: Client) -> None:
    found = api.get(f"/api/v1/grid/history?from={rfc3339(PAST)}&to={rfc3339(SLOT + HALF_HOUR)}").json()
    assert (found["system_price_gbp_mwh"][0], found["system_price_gbp_mwh"][1]) == (-5.25, None)
    assert (found["derated_margin_mw"][-1], found["margin_stress_score"][-1]) == (2500.5, 0.75)
    links = api.get(f"/api/v1/objects/SystemPrice/{rfc3339(PAST)}/links/PRICE_OF").json()["objects"]
    assert [link["object"]["timestamp"] for link in links] == [rfc3339(PAST)]


@pytest.mark.usefixtures("balanced")
def test_the_margin_ahead_has_a_second_opinion_on_stress(api: Client) -> None:
    (ahead,) = api.get("/api/v1/grid/margin").json()["margin"]
    assert (ahead["half_hour"], ahead["derated_margin_mw"], ahead["loss_of_load_probability"]) == (
        rfc3339(SLOT),
        "2500.5",
        "0.125",
    )
    assert (ahead["margin_stress_score"], ahead["source"]) == (0.75, "elexon")


@pytest.mark.usefixtures("balanced")
def test_events_are_listed_and_one_is_answered_with_every_bid(api: Client) -> None:
    (event,) = api.get("/api/v1/grid/dfs-events").json()["events"]
    (half_hour,) = event["half_hours"]
    assert (half_hour["half_hour"], half_hour["requirement_mw"]) == (rfc3339(SLOT + HALF_HOUR), "500")
    one = api.get(f"/api/v1/grid/dfs-events/{event['event_ref']}").json()
    assert [bid["cost_gbp"] for bid in one["bids"]] == ["562.47820"]
    assert one["event"] == event


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("system-prices?revisions=some", 422),
        ("system-prices?from=yesterday", 422),
        ("system-prices?from=2026-01-01T00:00:00Z", 422),
        ("dfs-events?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", 422),
        ("dfs-events?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
        ("dfs-events/2026-999", 404),
        ("dfs-events/%00", 404),
        ("margin?region_id=1", 422),
    ],
)
def test_what_cannot_be_answered_is_refused(world: Client, path: str, status: int) -> None:
    assert world.get(f"/api/v1/grid/{path}").status_code == status
