"""Every pound leads back to a workload: the shares of all come to what was received, to the last digit."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flexibility.event_model import Programme
from flexibility.rules.cashflows import received_by
from flexibility.rules.delivery import SiteVolumes
from flexibility.rules.exact import exactly
from flexibility.rules.p415 import Compensation
from flexibility.settling import TRADER, SoldUnit, cashflows_of
from flexibility.tracing import Freed, shares_of
from flexibility_world import STARTS_AT
from grid.half_hours import HALF_HOUR

UNITS = ("V__PYLONP", "V__PYLONC")
MWH = st.decimals(0, 50, places=6)
PRICE = st.decimals(0, 5000, places=9)


@st.composite
def sold(draw: st.DrawFn) -> list[SoldUnit]:
    return [
        SoldUnit(
            half_hour=STARTS_AT + place * HALF_HOUR,
            unit_id=unit_id,
            contracted_mwh=draw(MWH),
            trade_price=draw(PRICE),
            penalty=draw(PRICE),
            system_price=draw(st.decimals(-500, 5000, places=18)),
            supplier_price=draw(PRICE),
            has_wman=draw(st.booleans()),
            sites=(SiteVolumes("DC-001", draw(MWH), draw(MWH)),),
        )
        for place in range(draw(st.integers(1, 3)))
        for unit_id in UNITS
    ]


freed_by = st.lists(
    st.builds(
        Freed,
        workload=st.integers(0, 3),
        unit_id=st.sampled_from(UNITS),
        half_hour=st.integers(0, 2).map(lambda place: STARTS_AT + place * HALF_HOUR),
        mwh=MWH,
    ),
    max_size=8,
)


def inputs(units: list[SoldUnit], programme: Programme, compensation: Compensation) -> dict[str, Any]:
    return {
        "programme": str(programme),
        "compensation": str(compensation),
        "half_hours": [unit.to_row() for unit in units],
    }


@given(sold(), freed_by, st.sampled_from(Programme), st.sampled_from(Compensation))
@exactly
def test_the_shares_come_to_what_was_received(
    units: list[SoldUnit], freed: list[Freed], programme: Programme, compensation: Compensation
) -> None:
    received = received_by(TRADER, cashflows_of(programme, compensation, units))
    shares = shares_of(inputs(units, programme, compensation), freed)
    assert sum((share.received_gbp for share in shares), Decimal(0)) == received
    assert {share.workload for share in shares} <= {one.workload for one in freed if one.mwh} | {None}


def test_what_a_unit_received_goes_to_those_that_gave_way_by_what_they_freed() -> None:
    sites = (SiteVolumes("DC-001", Decimal(5), Decimal(4)),)
    unit = SoldUnit(STARTS_AT, UNITS[0], Decimal(1), Decimal(100), None, None, None, True, sites)
    freed = [Freed(number, UNITS[0], STARTS_AT, Decimal(mwh)) for number, mwh in enumerate(("1", "2", "0"))]
    freed.append(Freed(3, UNITS[0], STARTS_AT + timedelta(hours=1), Decimal(7)))
    shares = shares_of(inputs([unit], Programme.DFS, Compensation.MUTUALISED), freed)
    assert [(share.workload, str(share.received_gbp)) for share in shares] == [(0, "33.333333"), (1, "66.666667")]


def test_a_battery_has_its_share_beside_the_work_of_its_unit() -> None:
    sites = (
        SiteVolumes("DC-001", Decimal(5), Decimal(4)),
        SiteVolumes("SA-1", Decimal(0), Decimal(-2)),
        SiteVolumes("SA-2", Decimal(0), Decimal(-1)),
    )
    unit = SoldUnit(STARTS_AT, UNITS[0], Decimal(4), Decimal(100), None, None, None, True, sites, Decimal(3))
    freed = [Freed(0, UNITS[0], STARTS_AT, Decimal(1))]
    shares = shares_of(inputs([unit], Programme.DFS, Compensation.MUTUALISED), freed)
    assert [(share.workload, share.battery, str(share.received_gbp)) for share in shares] == [
        (0, None, "100.000000"),
        (None, "SA-1", "200.000000"),
        (None, "SA-2", "100.000000"),
    ]


def test_what_comes_without_anything_that_gave_way_is_nobodys() -> None:
    sites = (SiteVolumes("DC-001", Decimal(5), Decimal(4)),)
    unit = SoldUnit(STARTS_AT, UNITS[0], Decimal(1), Decimal(100), None, None, None, True, sites)
    (share,) = shares_of(inputs([unit], Programme.DFS, Compensation.MUTUALISED), [])
    assert (share.workload, str(share.received_gbp)) == (None, "100")
