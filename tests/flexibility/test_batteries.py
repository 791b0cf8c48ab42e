"""Batteries in the offer: what each gives and takes for an event, and that nobody sells one twice."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.interface import OrderBy, Row, Where
from database.postgres import PostgresDatabase
from flexibility.book import EventBook, Stepped
from flexibility.choosing.battery_sale import BatteryForSale, BatterySale, sell_batteries, sell_battery
from flexibility.choosing.choice import Event
from flexibility.choosing.storage import Battery
from flexibility.event_model import StoredEvent
from flexibility.events import cancel
from flexibility.steps import Steps
from flexibility.tracing import shares_of
from flexibility_world import (
    ENDS_AT,
    HALF_HOURS,
    STARTS_AT,
    SUPPLIER_PRICES,
    announced,
    book_movable,
    carry_on,
)
from grid.half_hours import HALF_HOUR, from_rfc3339
from grid_world import NOW, store_world

BEFORE = STARTS_AT - 2 * HALF_HOUR
FIFTY = (50.0,) * 8
"""£50 a MWh in the hour before an hour's event, in it, and in the two hours after it."""


def an_event(need_mw: str = "1", price: str = "200") -> Event:
    return Event(STARTS_AT, (Decimal(need_mw),) * 2, (Decimal(price),) * 2)


def a_battery(
    *, charge: float = 1, efficiency: float = 1, prices: tuple[float, ...] = FIFTY, **more: Any
) -> BatteryForSale:
    battery = Battery(
        **{"power_mw": 1.0, "capacity_mwh": 2.0} | more, charge_mwh=charge, round_trip_efficiency=efficiency
    )
    return BatteryForSale("SA-1", "V__PYLON001", battery, BEFORE, prices)


def sold(event: Event, of: BatteryForSale) -> BatterySale:
    sale = sell_battery(event, event.need_mwh, of)
    assert sale is not None
    return sale


def test_what_a_battery_gives_it_takes_back_and_the_difference_is_its_cost() -> None:
    sale = sold(an_event(), a_battery())
    assert list(sale.freed_mwh) == [Decimal("0.5")] * 2
    assert sale.revenue_gbp == 200
    assert sale.cost_gbp == 0, "1 MWh at £200; taken back at what it was given at"
    lossy = sold(an_event(), a_battery(charge=2, efficiency=0.81))
    taken_mwh = 1 / Decimal("0.81")
    assert abs(lossy.cost_gbp - 50 * (taken_mwh - 1)) < Decimal("0.001")
    assert float(sum(lossy.charge_mw)) / 2 == pytest.approx(float(taken_mwh), abs=1e-5)


def test_an_empty_battery_takes_first_where_that_is_cheap() -> None:
    sale = sold(an_event(), a_battery(charge=0, prices=(20, 90, 50, 50, 50, 50, 50, 50)))
    assert list(map(float, sale.charge_mw[:2])) == [1, 1]
    assert sale.cost_gbp == 10 + 45 - 50
    assert sale.start == BEFORE


@pytest.mark.parametrize(
    ("event", "battery"),
    [
        (an_event(price="0"), a_battery(efficiency=0.81)),
        (an_event(price="0"), a_battery(prices=(50, 50, 90, 90, 50, 50, 50, 50))),
        (an_event(need_mw="0"), a_battery()),
        (an_event(), a_battery(prices=FIFTY[:3])),
        (an_event(), a_battery(charge=0, prices=(300.0, 300.0, 50.0, 50.0))),
    ],
    ids=[
        "nothing is paid",
        "nothing is paid, but energy is dear",
        "nothing is needed",
        "energy has no price",
        "it is dearer than it brings",
    ],
)
def test_where_nothing_is_gained_it_rests(event: Event, battery: BatteryForSale) -> None:
    assert sell_battery(event, event.need_mwh, battery) is None


def test_no_more_is_sold_than_is_needed_by_all_together() -> None:
    event = an_event(need_mw="1.5")
    sales = sell_batteries(event, event.need_mwh, [a_battery(), a_battery(), a_battery()])
    assert [list(map(float, sale.freed_mwh)) for sale in sales] == [[0.5, 0.5], [0.25, 0.25]]


@given(
    prices=st.lists(st.integers(-100, 300), min_size=8, max_size=8),
    charge=st.floats(0, 2),
    efficiency=st.floats(0.5, 1),
    need=st.integers(0, 2000),
)
def test_it_keeps_within_itself_and_ends_no_emptier(
    prices: list[int], charge: float, efficiency: float, need: int
) -> None:
    event = an_event(need_mw=str(Decimal(need) / 1000))
    sale = sell_battery(event, event.need_mwh, a_battery(charge=charge, efficiency=efficiency, prices=tuple(prices)))
    if sale is None:
        return
    stored, one_way = charge, efficiency**0.5
    for taken, given_back in zip(sale.charge_mw, sale.discharge_mw, strict=True):
        stored += float(taken) / 2 * one_way - float(given_back) / 2 / one_way
        assert -1e-4 <= stored <= 2 + 1e-4
    assert stored >= charge - 1e-4
    assert all(freed <= wanted for freed, wanted in zip(sale.freed_mwh, event.need_mwh, strict=True))
    assert sale.gain_gbp > 0


def store_battery(database: PostgresDatabase, asset_id: str = "SA-1", **changes: Any) -> None:
    """1 MW and 4 MWh, half full, in the region of DC-001."""
    row: Row = {
        "asset_id": asset_id,
        "name": asset_id,
        "region_id": 1,
        "capacity_mwh": 4,
        "power_mw": 1,
        "state_of_charge_percentage": 60,
        "round_trip_efficiency": 0.9,
    }
    database.insert("storage_assets", [row | changes])


def life_of(database: PostgresDatabase, event: StoredEvent) -> dict[str, Any]:
    life: dict[str, Any] = database.call("flexibility_event_life", {"p_event_id": str(event.event_id)})
    return life


def freed_by(life: dict[str, Any]) -> dict[str, float]:
    """By battery, MWh."""
    freed: dict[str, float] = {}
    for row in life["storage"]:
        freed[row["asset_id"]] = freed.get(row["asset_id"], 0) + float(row["discharge_mw"]) / 2
    return freed


@pytest.fixture
def world(postgres: PostgresDatabase) -> PostgresDatabase:
    """A grid, two data centres that run nothing, and a battery."""
    store_world(postgres, data_centres=2)
    store_battery(postgres)
    return postgres


@pytest.mark.parametrize(("programme", "received"), [("DFS", 400), ("DEG", 400)])
def test_a_battery_alone_is_offered_sold_and_paid(world: PostgresDatabase, programme: str, received: int) -> None:
    penalty: dict[str, Any] = {"penalty_gbp_per_mwh": ["10"] * HALF_HOURS} if programme == "DEG" else {}
    event = announced(world, programme=programme, **penalty)
    carry_on(world, NOW)
    life = life_of(world, event)
    assert life["event"]["state"] == "NOTIFIED"
    assert [row["committed_mwh"] for row in life["commitments"]] == ["0.5"] * HALF_HOURS
    assert freed_by(life) == {"SA-1": 2}
    assert (life["moves"], life["baselines"]) == ([], [])
    carry_on(world, ENDS_AT)
    life = life_of(world, event)
    (run,) = life["settlements"]
    assert (life["event"]["state"], float(run["received_gbp"])) == ("SETTLED", received)
    shares = shares_of(run["inputs"], [])
    assert {(share.workload, share.battery) for share in shares} == {(None, "SA-1")}, "it is no workload's"
    assert sum(share.received_gbp for share in shares) == received


def test_work_and_batteries_give_way_together_and_the_better_of_both_first(world: PostgresDatabase) -> None:
    book_movable(world)
    event = announced(world, need_mw=["2"] * HALF_HOURS)
    carry_on(world, NOW)
    life = life_of(world, event)
    assert [move["job_id"] for move in life["moves"]] == ["job-1"]
    assert freed_by(life)["SA-1"] > 0
    assert [row["committed_mwh"] for row in life["commitments"]] == ["1"] * HALF_HOURS
    offer = next(one["content"] for one in life["decisions"] if one["to_state"] == "COMMITTED")
    assert [one["asset_id"] for one in offer["batteries"]] == ["SA-1"]
    assert Decimal(offer["gain_gbp"]) == Decimal(offer["revenue_gbp"]) - Decimal(offer["cost_gbp"])
    carry_on(world, ENDS_AT)
    assert life_of(world, event)["event"]["state"] == "SETTLED"


def test_nobody_sells_a_battery_twice(world: PostgresDatabase) -> None:
    first = announced(world)
    carry_on(world, NOW)
    second = announced(world, door="dfs", source_id="137")
    later = announced(world, source_id="later", starts_at=ENDS_AT, need_mw=["1"], price_gbp_per_mwh=["900"])
    carry_on(world, NOW)
    assert life_of(world, first)["event"]["state"] == "NOTIFIED"
    for other in (second, later):
        assert life_of(world, other)["event"]["state"] == "ANNOUNCED", "it has yet to take its energy back"
    assert cancel(world, first.event_id, "no longer", NOW).state == "cancelled"
    carry_on(world, NOW + timedelta(minutes=16))
    taken = [life_of(world, other)["event"]["state"] for other in (second, later)]
    assert taken.count("NOTIFIED") == 1, "whoever comes first has it"


def test_a_battery_that_went_meanwhile_is_not_sold(world: PostgresDatabase) -> None:
    event = announced(world)
    book, now = EventBook(world), NOW
    steps = Steps(book, 100, SUPPLIER_PRICES)
    (mine,), _ = book.claim_due("a", now, lease_seconds=60, limit=1)
    assert book.store(mine, steps.next_step(mine, now), now) is Stepped.CHANGED
    (mine,), _ = book.claim_due("a", now, lease_seconds=60, limit=1)
    step = steps.next_step(mine, now)
    world.update("storage_assets", {"status": "MAINTENANCE"}, where=[Where("asset_id", "SA-1")])
    assert book.store(mine, step, now) is Stepped.OUTDATED
    assert life_of(world, event)["event"]["state"] == "OFFERED"
    assert world.select("flexibility_storage", order=OrderBy(("half_hour",))) == []


@pytest.mark.parametrize(
    "facts",
    [{"state_of_charge_percentage": None}, {"round_trip_efficiency": None}, {"status": "OFFLINE"}, {"power_mw": 0}],
    ids=["charge unknown", "efficiency unknown", "offline", "no power"],
)
def test_what_is_not_known_or_does_not_run_takes_no_part(postgres: PostgresDatabase, facts: dict[str, Any]) -> None:
    store_world(postgres, data_centres=1)
    store_battery(postgres, **facts)
    event = announced(postgres)
    carry_on(postgres, NOW)
    assert life_of(postgres, event)["event"]["state"] == "ANNOUNCED"


def test_until_it_has_its_energy_back_its_half_hours_are_written(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    rows = life_of(world, event)["storage"]
    half_hours = [from_rfc3339(row["half_hour"]) for row in rows]
    assert half_hours == [half_hours[0] + place * HALF_HOUR for place in range(len(rows))]
    given = sum(Decimal(row["discharge_mw"]) for row in rows) / 2
    taken = sum(Decimal(row["charge_mw"]) for row in rows) / 2
    assert given == 2
    assert float(taken) == pytest.approx(2 / 0.9, abs=1e-4)
