"""Events settled by what the pipeline stored: imbalance prices, their revisions, and what the service requires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api_servers import StartServer, api_servers, first_run_done
from balancing_payloads import csv_file, dfs_requirement, dfs_summary
from booked_work import book
from clock import utc_now
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from flexibility.book import EventBook
from flexibility.event_model import EventState, StoredEvent
from flexibility.rules.p415 import Compensation
from flexibility.rules.supplier_prices import SupplierPrices
from flexibility.steps import Steps
from flexibility_world import ENDS_AT, HALF_HOURS, SITE_MWH, STARTS_AT, announced, carry_on, store_flexible_world
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, store_world
from ingest.market import MarketData, store_market
from new_database import as_url
from upstreams.dfs import CSV, REQUIREMENTS, SUMMARIES, parse_file
from upstreams.system_prices import SystemPrice

PUBLISHED_AFTER = timedelta(hours=24, minutes=44)
TRADE_GBP = 400
"""0.5 MWh in each of four half-hours, at £200 a MWh."""
BEYOND_MWH = Decimal("0.22")
"""The site's 0.72 MWh do not come, and 0.5 of them were sold."""


def prices(start: datetime, *gbp_per_mwh: str, published_at: datetime | None = None) -> MarketData:
    """One half-hour's price after the other."""
    rows = tuple(
        SystemPrice(
            start + place * HALF_HOUR,
            published_at or start + place * HALF_HOUR + PUBLISHED_AFTER,
            Decimal(price),
            None,
            None,
            "N",
            False,
        )
        for place, price in enumerate(gbp_per_mwh)
    )
    return MarketData(system_prices=rows)


def life_of(database: PostgresDatabase, event: StoredEvent) -> dict[str, Any]:
    life: dict[str, Any] = database.call("flexibility_event_life", {"p_event_id": str(event.event_id)})
    return life


@pytest.fixture
def traded(postgres: PostgresDatabase) -> StoredEvent:
    store_flexible_world(postgres)
    event = announced(postgres, programme="P415")
    carry_on(postgres, NOW)
    return event


def test_a_trade_waits_for_its_prices_and_a_revised_one_makes_a_further_run(
    postgres: PostgresDatabase, traded: StoredEvent
) -> None:
    carry_on(postgres, ENDS_AT)
    life = life_of(postgres, traded)
    assert (life["event"]["state"], life["settlements"]) == ("DELIVERED", [])
    assert "system price of 2026-11-22T10:00:00Z is not known yet" in life["event"]["state_reason"]

    store_market(postgres, prices(STARTS_AT, "100", "80", "-20"), ENDS_AT + timedelta(days=1))
    carry_on(postgres, ENDS_AT + timedelta(days=1))
    assert life_of(postgres, traded)["event"]["state"] == "DELIVERED", "the last price is yet to come"

    store_market(postgres, prices(STARTS_AT, "100", "80", "-20", "40.123456789"), ENDS_AT + timedelta(days=2))
    carry_on(postgres, ENDS_AT + timedelta(days=2))
    first = life_of(postgres, traded)["settlements"]
    (run,) = first
    assert Decimal(run["received_gbp"]) == TRADE_GBP + BEYOND_MWH * Decimal("200.123456789")

    revised = prices(STARTS_AT, "300", published_at=ENDS_AT + timedelta(days=20))
    store_market(postgres, revised, ENDS_AT + timedelta(days=20))
    carry_on(postgres, ENDS_AT + timedelta(days=21))
    later = life_of(postgres, traded)["settlements"]
    assert later[:1] == first, "no row of the first run has changed"
    assert [one["run"] for one in later] == [1, 2]
    assert Decimal(later[1]["received_gbp"]) - Decimal(run["received_gbp"]) == BEYOND_MWH * 200
    for one in later:
        received = sum(Decimal(flow["amount_gbp"]) for flow in one["cashflows"] if flow["payee"] == "Pylon")
        paid = sum(Decimal(flow["amount_gbp"]) for flow in one["cashflows"] if flow["payer"] == "Pylon")
        assert received - paid == Decimal(one["received_gbp"])

    carry_on(postgres, ENDS_AT + timedelta(days=22, hours=1))
    assert life_of(postgres, traded)["settlements"] == later, "the same prices again settle nothing anew"


@pytest.mark.parametrize("compensation", list(Compensation))
def test_suppliers_are_compensated_by_whoever_is_to(postgres: PostgresDatabase, compensation: Compensation) -> None:
    store_flexible_world(postgres)
    event = announced(postgres, programme="P415", compensation=compensation)
    carry_on(postgres, NOW)
    store_market(postgres, prices(STARTS_AT, *["100"] * HALF_HOURS), ENDS_AT + timedelta(days=1))
    carry_on(postgres, ENDS_AT)
    (run,) = life_of(postgres, event)["settlements"]
    compensated = [flow for flow in run["cashflows"] if flow["kind"] == "compensation"]
    pays = {Compensation.MUTUALISED: "all suppliers", Compensation.BILATERAL: "Pylon"}[compensation]
    assert {(flow["payer"], flow["payee"]) for flow in compensated} == {(pays, "supplier of DC-001")}
    scrp_gbp = Decimal("98.53") * SITE_MWH * HALF_HOURS
    assert sum(Decimal(flow["amount_gbp"]) for flow in compensated) == scrp_gbp
    owed_gbp = scrp_gbp if compensation is Compensation.BILATERAL else 0
    assert Decimal(run["received_gbp"]) == TRADE_GBP + BEYOND_MWH * 400 - owed_gbp


def test_what_the_seller_is_to_pay_the_suppliers_waits_for_the_quarters_price(postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    event = announced(postgres, programme="P415", compensation="bilateral")
    carry_on(postgres, NOW)
    store_market(postgres, prices(STARTS_AT, *["100"] * HALF_HOURS), ENDS_AT)
    book_of_events = EventBook(postgres)
    (delivered,), _ = book_of_events.claim_due("a", ENDS_AT, lease_seconds=60, limit=1)
    steps = Steps(book_of_events, 100, SupplierPrices.read("2026Q3=98.53"))
    book_of_events.store(delivered, steps.next_step(delivered, ENDS_AT), ENDS_AT)
    (waits,), _ = book_of_events.claim_due("a", ENDS_AT, lease_seconds=60, limit=1)
    step = steps.next_step(waits, ENDS_AT)
    assert (step.state, step.content) == (EventState.DELIVERED, None)
    assert "FLEX_SUPPLIER_PRICES does not name the quarter's price" in step.reason
    assert life_of(postgres, event)["settlements"] == []


def service(start: datetime) -> MarketData:
    """A requirement of 1 MW for two hours, and an earlier event in which 2 MW cost £500 a half-hour."""
    wanted = [dfs_requirement(start + place * HALF_HOUR, 1, 137) for place in range(HALF_HOURS)]
    earlier = start - timedelta(days=2)
    before = [dfs_requirement(earlier, 500, 136)]
    bought = [dfs_summary(earlier, "2", "500", event_id=136)]
    return MarketData(
        dfs_requirements=parse_file(REQUIREMENTS, CSV.read(csv_file([*before, *wanted])), NOW).rows,
        dfs_summaries=parse_file(SUMMARIES, CSV.read(csv_file(bought)), NOW).rows,
    )


def test_what_the_service_requires_becomes_an_event_that_is_bid_for_and_settled(postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    store_market(postgres, service(STARTS_AT), NOW)
    carry_on(postgres, NOW)
    (row,) = postgres.select("flexibility_events", order=OrderBy(("event_id",)))
    assert (row["door"], row["programme"], row["tenant"], row["state"]) == ("dfs", "DFS", "platform", "NOTIFIED")
    assert list(map(Decimal, row["price_gbp_per_mwh"])) == [500] * HALF_HOURS, "as was accepted in event 136"
    carry_on(postgres, ENDS_AT)
    (event,) = postgres.select("flexibility_events", order=OrderBy(("event_id",)))
    assert event["state"] == EventState.SETTLED
    (settlement,) = postgres.select("flexibility_settlements", order=OrderBy(("event_id",)))
    assert settlement["received_gbp"] == 1200, "2 MWh at £500, and K is 1.2 for what came beyond"
    flows = postgres.select("flexibility_cashflows", order=OrderBy(("place",)))
    assert {(flow["payer"], flow["payee"], flow["kind"]) for flow in flows} == {("NESO", "Pylon", "utilisation")}


@pytest.fixture
def start_server(conninfo: str, tmp_path: Path) -> Iterator[StartServer]:
    with api_servers(tmp_path, {"DATABASE_URL": as_url(conninfo)}) as start:
        yield start


@pytest.mark.thorough
def test_the_running_server_settles_a_trade_and_settles_it_anew(
    postgres: PostgresDatabase, start_server: StartServer
) -> None:
    announced_at = half_hour_of(utc_now()) - timedelta(hours=10)
    starts_at = announced_at + timedelta(hours=2)
    store_world(postgres, announced_at, data_centres=1)
    needs: dict[str, Any] = {"required_gpu_mins": 480, "estimated_energy_kwh": 2400, "deferral_window_mins": 720}
    book(postgres, "job-1", starts_at=starts_at, hours=2, it_power_kw=1200, created_at=announced_at, **needs)
    event = announced(postgres, announced_at, programme="P415", starts_at=starts_at)
    carry_on(postgres, announced_at)
    assert life_of(postgres, event)["event"]["state"] == "NOTIFIED"
    store_market(postgres, prices(starts_at, *["100"] * HALF_HOURS), utc_now())

    server = start_server(SYNTHETIC_DATA_CENTRES="0", SYNTHETIC_WORKLOADS_PER_RUN="0")

    def told() -> dict[str, Any]:
        answer: dict[str, Any] = server.get(f"/api/v1/flexibility/events/{event.event_id}").json()
        return answer

    server.wait_for(lambda: first_run_done(server) or True)
    server.wait_for(lambda: told()["event"]["state"] == "SETTLED")
    (run,) = told()["settlements"]
    assert Decimal(run["received_gbp"]) == TRADE_GBP + BEYOND_MWH * 400

    later = starts_at + timedelta(days=20)
    store_market(postgres, prices(starts_at, "-50", published_at=later), utc_now())
    # As if a day had gone by.
    postgres.update("flexibility_events", {"scheduled_at": utc_now()}, where=[Where("event_id", str(event.event_id))])
    server.wait_for(lambda: len(told()["settlements"]) == 2)
    again = told()["settlements"]
    assert again[0] == run
    assert Decimal(again[1]["received_gbp"]) == TRADE_GBP + BEYOND_MWH * 250
