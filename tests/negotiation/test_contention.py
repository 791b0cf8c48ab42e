"""Work that is after the same half-hours under a limit that is kept, and what its data centres have room for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from capacity_oracle import check_capacity
from database.interface import Row, Where
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of
from grid_world import NOW
from limited_world import (
    HALF_HOUR,
    REGION,
    SITE_MW,
    STARTS_AT,
    begins,
    book_movable,
    carry_on,
    drawn_mw,
    store_region,
    the_negotiation,
    watch,
)
from negotiation.model import NegotiationState, StartedBy
from negotiation.watch import LimitsUnseen

FIRST = NOW.replace(hour=8, minute=30, second=0)
"""The first half-hour that work may move to, and the cheapest: carbon rises all day."""
TWO_HOURS = timedelta(hours=2)
ONE_AT_A_TIME_MW = SITE_MW + 0.1


@pytest.fixture
def region(postgres: PostgresDatabase) -> PostgresDatabase:
    store_region(postgres)
    return postgres


def everybody_gains(database: PostgresDatabase) -> None:
    life = the_negotiation(database)
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    assert sum(float(one.pays_gbp) for one in life.awards) == 0
    assert all(one.cost_gbp + float(one.pays_gbp) <= one.fallback_gbp + 1e-6 for one in life.awards)
    check_capacity(database)


def price_power(database: PostgresDatabase, dc_id: str) -> None:
    """As after a joint plan in which a kilowatt more there would have saved somebody something."""
    slot = half_hour_of(NOW)
    database.insert("pipeline_runs", [{"slot": slot, "state": "succeeded"}])
    priced: Row = {
        "slot": slot,
        "planned_at": NOW,
        "newest_event": 0,
        "starts_at": slot,
        "half_hours": 96,
        "workloads": 2,
        "left_out": 0,
        "method": "exact",
        "gbp_per_kw": {dc_id: [[0, 0.01]]},
    }
    database.insert("capacity_prices", [priced])


def test_several_data_centres_after_the_same_half_hours_negotiate_who_has_them(region: PostgresDatabase) -> None:
    """Both would rather begin at once, and what they draw together is one at a time."""
    book_movable(region, "job-1", dc_id="DC-001", starts_at=STARTS_AT)
    book_movable(region, "job-2", dc_id="DC-002", starts_at=STARTS_AT + TWO_HOURS)
    carry_on(region, ONE_AT_A_TIME_MW)
    life = the_negotiation(region)
    assert (life.negotiation.started_by, life.negotiation.limit_key) == (StartedBy.CONTENTION, f"region:{REGION}")
    assert {agent.dc_id for agent in life.agents} == {"DC-001", "DC-002"}
    everybody_gains(region)
    assert sorted(begins(region, name) for name in ("job-1", "job-2")) == [FIRST, FIRST + TWO_HOURS]
    assert drawn_mw(region) == pytest.approx(SITE_MW)
    in_half_an_hour = NOW + HALF_HOUR
    assert watch(region, ONE_AT_A_TIME_MW).look(in_half_an_hour) == [], "nothing new would come of the same work"
    book_movable(region, "job-3", dc_id="DC-002", starts_at=FIRST + 2 * TWO_HOURS)
    assert len(watch(region, ONE_AT_A_TIME_MW).look(in_half_an_hour)) == 1


@pytest.mark.parametrize("limit_mw", [None, 2 * SITE_MW + 0.1], ids=["no limit is shared", "all fit where they like"])
def test_who_stands_in_nobodys_way_does_not_negotiate(region: PostgresDatabase, limit_mw: float | None) -> None:
    book_movable(region, "job-1", dc_id="DC-001", starts_at=STARTS_AT)
    book_movable(region, "job-2", dc_id="DC-002", starts_at=STARTS_AT + TWO_HOURS)
    assert watch(region, limit_mw).look(NOW) == []


def test_where_hardly_anything_would_be_saved_nobody_is_asked(region: PostgresDatabase) -> None:
    book_movable(region, "job-1", dc_id="DC-001", starts_at=FIRST)
    book_movable(
        region, "job-2", dc_id="DC-002", starts_at=FIRST + TWO_HOURS, it_power_kw=120, estimated_energy_kwh=240
    )
    assert watch(region, SITE_MW + 0.01).look(NOW) == []


def test_the_owners_at_one_data_centre_negotiate_once_its_power_is_worth_something(region: PostgresDatabase) -> None:
    region.insert("operators", [{"operator_id": "op-b", "name": "B"}])
    region.update("data_centres", {"base_load_percentage": 93}, where=[Where("dc_id", "DC-001")])
    book_movable(region, "job-1", starts_at=STARTS_AT)
    book_movable(region, "job-2", starts_at=STARTS_AT + TWO_HOURS, operator="op-b")
    assert watch(region, None).look(NOW) == [], "no plan says that anybody else would have its power"
    price_power(region, "DC-001")
    carry_on(region, None)
    life = the_negotiation(region)
    assert (life.negotiation.started_by, life.negotiation.limit_key) == (StartedBy.CONTENTION, "data_centre:DC-001")
    everybody_gains(region)
    assert sorted(begins(region, name) for name in ("job-1", "job-2")) == [FIRST, FIRST + TWO_HOURS]


def test_what_a_region_awards_has_its_power_at_each_data_centre(region: PostgresDatabase) -> None:
    """Each of two could begin at once at DC-001, and not both: what is held there beside them leaves room for one."""
    at = FIRST + TWO_HOURS
    for number in (1, 2):
        region.update("data_centres", {"base_load_percentage": 88}, where=[Where("dc_id", f"DC-{number:03d}")])
    book_movable(region, "large", dc_id="DC-002", starts_at=at, it_power_kw=2400, estimated_energy_kwh=4800)
    for name in ("one", "two"):
        book_movable(region, name, dc_id="DC-001", starts_at=at)
    book_movable(region, "beside", dc_id="DC-001", starts_at=FIRST, urgency="CRITICAL", it_power_kw=100)
    base_mw = 2 * 20 * 0.88 * 1.2
    carry_on(region, base_mw + 2 * SITE_MW + 0.22)
    everybody_gains(region)
    assert the_negotiation(region).negotiation.started_by is StartedBy.REGION_LIMIT
    assert drawn_mw(region) <= 2 * SITE_MW + 0.22
    assert {begins(region, name) for name in ("one", "two")} != {FIRST}


def test_a_limit_that_cannot_be_looked_at_holds_up_no_other(
    region: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("job-1", "job-2"):
        book_movable(region, name, dc_id=f"DC-00{name[-1]}")
    call = PostgresDatabase.call

    def with_an_odd_one_first(database: PostgresDatabase, function: str, *given: object, **named: object) -> object:
        answer = call(database, function, *given, **named)  # type: ignore[arg-type]
        if function == "binding_limits":
            answer["limits"].insert(0, {**answer["limits"][0], "limit_key": "odd", "limit_mw": "much"})
        return answer

    monkeypatch.setattr(PostgresDatabase, "call", with_an_odd_one_first)
    with pytest.raises(LimitsUnseen, match="odd"):
        watch(region).look(NOW)
    assert the_negotiation(region).negotiation.limit_key == f"region:{REGION}"
