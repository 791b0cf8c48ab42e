"""A utility buys flexibility over Beckn: signed messages over real HTTP, from its need to what it pays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from beckn.network.subscribers import Registry, Role
from beckn.protocol.objects import Action
from beckn_orders import Market, market, market_time, store_market
from booked_work import book
from clock import utc_now
from database.interface import OrderBy, Row
from database.postgres import PostgresDatabase
from demand_flex_policy import seller_receives
from flexibility_buyer import FlexibilityBuyer, Json, flexibility_buyer, wanted_contract
from flexibility_world import carry_on
from grid.half_hours import half_hour_of

AHEAD = timedelta(hours=3)
LASTS = timedelta(hours=2)


@pytest.fixture
def shop(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Market]:
    """A platform whose data centre runs a job that may wait, in the third hour from now."""
    now = market_time()
    store_market(postgres, now)
    needs: dict[str, Any] = {
        "required_gpu_mins": 480,
        "estimated_energy_kwh": 2400,
        "deferral_window_mins": 1440,
        "created_at": now,
    }
    book(postgres, "job-1", starts_at=start_of_need(), hours=2, it_power_kw=1200, **needs)
    with market(postgres, tmp_path) as opened:
        opened.platform.teller.start()
        yield opened
        opened.platform.teller.stop()


@pytest.fixture
def utility(shop: Market) -> Iterator[FlexibilityBuyer]:
    with flexibility_buyer(shop) as buyer:
        yield buyer


def start_of_need() -> datetime:
    return half_hour_of(utc_now()) + AHEAD


def events(shop: Market) -> list[Row]:
    return shop.database.select("flexibility_events", order=OrderBy(("event_id",)))


def the_contract(told: Json) -> Json:
    assert "error" not in told, told["error"]
    contract: Json = told["message"]["contract"]
    return contract


def values(of: Json, kind: str) -> list[Any]:
    return [
        payload["values"][0]
        for interval in of["intervals"]
        for payload in interval["payloads"]
        if payload["type"] == kind
    ]


def offered(contract: Json) -> list[Any]:
    return values(contract["commitments"][0]["commitmentAttributes"], "CAPACITY_OFFERED")


def test_a_need_is_offered_for_sold_measured_and_paid(shop: Market, utility: FlexibilityBuyer) -> None:
    need = wanted_contract(start_of_need())
    for action in (Action.SELECT, Action.INIT):
        told = utility.ask(action, need)
        assert told["context"]["action"] == f"on_{action}"
        draft = the_contract(told)
        assert (draft["status"]["code"], offered(draft)) == ("DRAFT", [1000] * 4)
    assert events(shop) == [], "asking stores nothing"

    told = utility.ask(Action.CONFIRM, need)
    contract = the_contract(told)
    assert (told["context"]["action"], contract["status"]["code"]) == ("on_confirm", "ACTIVE")
    (event,) = events(shop)
    assert (event["door"], event["programme"], event["tenant"]) == ("beckn", "DEG", "platform")
    assert event["source_id"] == contract["id"]
    assert "utility" not in str(event["document"]), "who bought it is nobody else's business"

    again = utility.ask(Action.CONFIRM, need)
    assert the_contract(again)["id"] == contract["id"]
    assert len(events(shop)) == 1

    carry_on(shop.database, utc_now())
    told = utility.next_told()
    sold = the_contract(told)
    assert (told["context"]["action"], sold["commitments"][0]["status"]["descriptor"]["code"]) == (
        "on_status",
        "ACTIVE",
    )
    assert offered(sold) == [1000] * 4
    (meter,) = sold["performance"][0]["performanceAttributes"]["meters"]
    assert (meter["meterId"], values(meter["telemetry"], "BASELINE")) == ("DC-001", [1440] * 4)
    assert values(meter["telemetry"], "USAGE") == []

    shop.clock.ahead = AHEAD + LASTS
    carry_on(shop.database, start_of_need() + LASTS)
    while (paid := the_contract(utility.next_told()))["status"]["code"] != "COMPLETE":
        assert paid["status"]["code"] == "ACTIVE"
    flows = {flow["role"]: flow["value"] for flow in paid["contractAttributes"]["revenueFlows"]}
    assert flows == {"seller": 400, "buyer": -400}, "1,000 kW for two hours at £0.20; 440 kW beyond it unpaid"
    assert seller_receives({"message": {"contract": paid}}) == 400, "whoever has the message can reckon it"
    asked = the_contract(utility.ask(Action.STATUS, {"id": contract["id"]}))
    assert asked == paid


def test_a_battery_is_a_meter_of_its_own(shop: Market, utility: FlexibilityBuyer) -> None:
    battery = {"asset_id": "SA-1", "name": "A battery", "region_id": 1, "capacity_mwh": 4, "power_mw": 1}
    known = {"state_of_charge_percentage": 60, "round_trip_efficiency": 0.9}
    shop.database.insert("storage_assets", [battery | known])
    need = wanted_contract(start_of_need(), CAPACITY_REQUESTED=[2500] * 4)
    contract = the_contract(utility.ask(Action.CONFIRM, need))
    carry_on(shop.database, utc_now())
    shop.clock.ahead = AHEAD + LASTS
    carry_on(shop.database, start_of_need() + LASTS)
    paid = the_contract(utility.ask(Action.STATUS, {"id": contract["id"]}))
    while paid["contractAttributes"].get("revenueFlows") is None:
        paid = the_contract(utility.next_told())
    meters = {one["meterId"]: one["telemetry"] for one in paid["performance"][0]["performanceAttributes"]["meters"]}
    assert list(meters) == ["DC-001", "SA-1"]
    assert values(meters["SA-1"], "BASELINE") == [0] * 4
    assert values(meters["SA-1"], "USAGE") == [-1000] * 4
    (_, seller) = paid["contractAttributes"]["revenueFlows"]
    assert seller_receives({"message": {"contract": paid}}) == pytest.approx(seller["value"])


def test_less_may_be_taken_than_is_offered(shop: Market, utility: FlexibilityBuyer) -> None:
    need = wanted_contract(start_of_need(), offered=[600, 600, 0, 2000])
    the_contract(utility.ask(Action.CONFIRM, need))
    carry_on(shop.database, utc_now())
    assert offered(the_contract(utility.next_told())) == [600, 600, 0, 1000]


def test_a_market_that_cleared_pays_its_clearing_price_and_is_paid_for_what_is_missing(
    shop: Market, utility: FlexibilityBuyer
) -> None:
    start = start_of_need()
    need = wanted_contract(start, CAPACITY_REQUESTED=[2000] * 4)
    (commitment,) = need["commitments"]
    (inputs,) = commitment["offer"]["offerAttributes"]["inputs"]
    inputs["inputs"] |= {"clearingMethod": "PAY-AS-CLEAR", "penaltyRate": 0.05}
    cleared = wanted_contract(start, CAPACITY_CLEARED=[1000] * 4, CLEARING_PRICE=[0.25] * 4)
    commitment["commitmentAttributes"] = cleared["commitments"][0]["resources"][0]["resourceAttributes"]
    the_contract(utility.ask(Action.CONFIRM, need))
    (event,) = events(shop)
    assert list(map(Decimal, event["price_gbp_per_mwh"])) == [250] * 4
    assert list(map(Decimal, event["penalty_gbp_per_mwh"])) == [50] * 4
    carry_on(shop.database, utc_now())
    sold = the_contract(utility.next_told())
    series = sold["commitments"][0]["commitmentAttributes"]
    assert (values(series, "CAPACITY_CLEARED"), values(series, "CLEARING_PRICE")) == ([1000] * 4, [0.25] * 4)
    assert sold["contractAttributes"]["policy"]["queryPath"].endswith("_pac")

    drawn = {"dc_id": "DC-001", "half_hour": start, "it_energy_wh": 300_000, "site_energy_wh": 360_000}
    shop.database.insert("data_centre_loads", [drawn])
    shop.clock.ahead = AHEAD + LASTS
    carry_on(shop.database, start + LASTS)
    while (paid := the_contract(utility.next_told()))["status"]["code"] != "COMPLETE":
        pass
    flows = {flow["role"]: flow["value"] for flow in paid["contractAttributes"]["revenueFlows"]}
    assert flows == {"seller": 458, "buyer": -458}, "720 of 1,000 kW came at first: £90 less £7, then £125"
    assert seller_receives({"message": {"contract": paid}}) == 458


def test_what_is_refused_is_stored_nowhere(shop: Market, utility: FlexibilityBuyer) -> None:
    start = start_of_need()
    refused = {
        "negative": wanted_contract(start, CAPACITY_REQUESTED=[-5] * 4),
        "not a number": wanted_contract(start, PRICE=[float("nan")] * 4),
        "past": wanted_contract(start - timedelta(days=1)),
        "after gate closure": wanted_contract(half_hour_of(utc_now()) + timedelta(minutes=30)),
        "many": wanted_contract(start, CAPACITY_REQUESTED=[1] * 97, PRICE=[1] * 97, SHORTFALL_PENALTY=[0] * 97),
    }
    for why, need in refused.items():
        answer = utility.post(Action.CONFIRM, {"contract": need})
        assert (answer.status_code, answer.json()["message"]["ack"]["status"]) == (400, "NACK"), why
    million = '{"message": {"contract": {"commitments": [' + "[]," * 1_000_000 + "]}}}"
    answer = utility.post_document(Action.CONFIRM, million)
    assert answer.status_code == 413
    update = utility.post(Action.UPDATE, {"contract": {"id": str(uuid4())}})
    assert (update.status_code, update.json()["error"]["code"]) == (400, "40001")
    assert shop.database.select("beckn_inbox", order=OrderBy(("inbox_id",))) == []
    assert events(shop) == []


def test_where_nothing_gives_way_or_it_is_sold_already_nothing_is(shop: Market, utility: FlexibilityBuyer) -> None:
    idle = wanted_contract(start_of_need() + timedelta(hours=6))
    assert offered(the_contract(utility.ask(Action.SELECT, idle))) == [0] * 4
    assert utility.ask(Action.CONFIRM, idle)["error"]["code"] == "40002"
    assert events(shop) == []
    the_contract(utility.ask(Action.CONFIRM, wanted_contract(start_of_need())))
    other = utility.ask(Action.CONFIRM, wanted_contract(start_of_need(), PRICE=[0.3] * 4))
    assert "this transaction has a contract" in other["error"]["message"]
    utility.transaction = str(uuid4())
    overlapping = utility.ask(Action.CONFIRM, wanted_contract(start_of_need()))
    assert "choose others" in overlapping["error"]["message"]
    assert utility.ask(Action.STATUS, {"id": str(uuid4())})["error"]["code"] == "30010"
    assert len(events(shop)) == 1


def test_its_buyer_takes_it_back_and_nobody_else_does(shop: Market, utility: FlexibilityBuyer) -> None:
    contract = the_contract(utility.ask(Action.CONFIRM, wanted_contract(start_of_need())))
    named = {"id": contract["id"]}
    with flexibility_buyer(shop, "other.example") as other:
        for action in (Action.STATUS, Action.CANCEL):
            assert other.ask(action, named)["error"]["code"] == "30010"
    gone = the_contract(utility.ask(Action.CANCEL, named))
    assert gone["status"]["code"] == "CANCELLED"
    assert the_contract(utility.next_told())["status"]["code"] == "CANCELLED", "whoever cancels: it is told"
    assert the_contract(utility.ask(Action.CANCEL, named))["status"]["code"] == "CANCELLED"


def test_what_an_operator_s_platform_buys_is_the_operator_s(shop: Market, utility: FlexibilityBuyer) -> None:
    registry = Registry(shop.database)
    registered = registry.current(utility.own.subscriber_id, Role.BAP, utc_now())
    assert registered is not None
    registry.add(registered.model_copy(update={"operator": "op-a"}))
    nothing = the_contract(utility.ask(Action.SELECT, wanted_contract(start_of_need())))
    assert offered(nothing) == [0] * 4, "the job that could give way is not op-a's"
    (job,) = shop.database.select("compute_workloads", order=OrderBy(("job_id",)))
    assert job["tenant"] != "op-a"
