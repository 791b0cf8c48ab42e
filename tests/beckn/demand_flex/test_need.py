"""A buyer's need as it is read: what is refused says why, and what is taken is an event of the same figures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beckn.demand_flex.answering import checked_demand_flex
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.objects import Action
from demand_needs import START, body_of, decimals, read, the_need
from flexibility.event_model import Door, Programme
from flexibility_buyer import Json, wanted_contract
from grid_world import NOW


def inputs(contract: Json) -> Json:
    found: Json = contract["commitments"][0]["offer"]["offerAttributes"]["inputs"][0]["inputs"]
    return found


def test_a_need_becomes_an_event_of_its_figures() -> None:
    event = read(wanted_contract(START, PRICE=[3.5, 4, 0, 0.125])).to_event("contract-1")
    assert (event.door, event.programme, event.starts_at) == (Door.BECKN, Programme.DEG, START)
    assert event.need_mw == [Decimal(1)] * 4
    assert event.price_gbp_per_mwh == [3500, 4000, 0, 125]
    assert event.penalty_gbp_per_mwh == decimals(*[100] * 4)
    assert event.tenant is None, "whose it is, no message says"


def test_no_more_is_sold_than_the_buyer_takes_of_an_offer() -> None:
    contract = wanted_contract(START, offered=[150, 2000, 0, 999.5])
    assert list(read(contract).bound_kw) == decimals(150, 1000, 0, "999.5")
    assert list(read(contract, Action.SELECT).bound_kw) == decimals(*[1000] * 4), (
        "before it confirms, all that it requests"
    )


def changed(change: Callable[[Json], object]) -> Json:
    contract = wanted_contract(START)
    change(contract)
    return contract


def interval(contract: Json, place: int = 0) -> Json:
    found: Json = the_need(contract)["intervals"][place]
    return found


BAD: dict[str, tuple[Json, str]] = {
    "past": (wanted_contract(START - timedelta(days=1)), "gate closed"),
    "after gate closure": (wanted_contract(datetime(2026, 11, 22, 9, tzinfo=NOW.tzinfo)), "gate closed"),
    "at the beginning of time": (wanted_contract(datetime(1, 1, 1, tzinfo=NOW.tzinfo)), "gate closed"),
    "of 400 digits": (wanted_contract(START, CAPACITY_REQUESTED=[10**400] * 4), "at most"),
    "of 400 digits below 0": (wanted_contract(START, PRICE=[-(10**400)] * 4), "only reductions"),
    "years ahead": (wanted_contract(START + timedelta(days=400)), "days ahead"),
    "between half-hours": (wanted_contract(START + timedelta(minutes=10)), "half past"),
    "negative": (wanted_contract(START, CAPACITY_REQUESTED=[1, -1, 1, 1]), "only reductions"),
    "paid for drawing more": (wanted_contract(START, PRICE=[1, 1, -0.01, 1]), "only reductions"),
    "not a number": (wanted_contract(START, PRICE=[float("nan")] * 4), "is a number"),
    "without end": (wanted_contract(START, CAPACITY_REQUESTED=[float("inf")] * 4), "at most"),
    "too much": (wanted_contract(START, CAPACITY_REQUESTED=[1e9] * 4), "at most"),
    "hours": (changed(lambda c: the_need(c)["intervalPeriod"].update(duration="PT1H")), "PT30M"),
    "a text": (changed(lambda c: interval(c)["payloads"][0].update(values=["1"])), "is a number"),
    "true": (changed(lambda c: interval(c)["payloads"][0].update(values=[True])), "is a number"),
    "two values": (changed(lambda c: interval(c)["payloads"][0].update(values=[1, 2])), "one value"),
    "no value": (changed(lambda c: interval(c, 3)["payloads"].pop(0)), "one value"),
    "twice": (changed(lambda c: interval(c)["payloads"].append(interval(c)["payloads"][0])), "one value"),
    "numbered otherwise": (changed(lambda c: interval(c, 1).update(id=7)), "numbered"),
    "other units": (changed(lambda c: the_need(c)["payloadDescriptors"][0].update(units="MW")), "is in KW"),
    "rupees": (changed(lambda c: inputs(c).update(currency="INR")), "GBP"),
    "to be cleared": (changed(lambda c: inputs(c).update(clearingMethod="PAY-AS-CLEAR")), "what was cleared"),
    "other intervals": (
        changed(
            lambda c: c["commitments"][0].update(
                commitmentAttributes=the_need(wanted_contract(START + timedelta(hours=1)))
            )
        ),
        "those of the need",
    ),
    "none": (changed(lambda c: the_need(c).update(intervals=[])), "intervals"),
    "two needs": (changed(lambda c: c["commitments"][0]["resources"].append({})), "resources"),
    "nothing": ({}, "commitments"),
}


@pytest.mark.parametrize(("contract", "told"), BAD.values(), ids=list(BAD))
def test_what_is_no_need_is_refused_before_it_is_acknowledged(contract: Json, told: str) -> None:
    with pytest.raises(Refused, match=told) as refused:
        checked_demand_flex(Action.CONFIRM, body_of(contract, Action.CONFIRM), NOW)
    assert refused.value.status == 400


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=10), of, max_size=3),
    max_leaves=10,
)


@given(place=st.integers(0, 3), odd=ODD, key=st.sampled_from(["id", "payloads"]))
def test_whatever_stands_in_an_interval_is_read_or_refused(place: int, odd: Any, key: str) -> None:
    contract = wanted_contract(START)
    interval(contract, place)[key] = odd
    with suppress(Refused):
        read(contract).to_event("contract-1")
