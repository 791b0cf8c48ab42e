"""The Digital Energy Grid's own examples: read as they are written, and settled to their figures by their rules.

Their licence keeps them out of the repository; PYLON_RECORDED_DIR names a folder of them where there is one.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from beckn.protocol.acknowledgement import Refused
from demand_flex_policy import seller_receives
from demand_needs import decimals, read, the_need
from flexibility.rules import deg
from flexibility.rules.cashflows import received_by
from grid.half_hours import from_rfc3339

FOLDER = Path(os.environ.get("PYLON_RECORDED_DIR", "")) / "deg_demand_flex"

pytestmark = pytest.mark.skipif(not (FOLDER / "uc1_confirm.json").is_file(), reason="no recordings here")


def recorded(name: str) -> dict[str, Any]:
    contract: dict[str, Any] = json.loads((FOLDER / name).read_text())["message"]["contract"]
    return contract


def before(contract: dict[str, Any]) -> datetime:
    return from_rfc3339(the_need(contract)["intervalPeriod"]["start"]) - timedelta(hours=2)


def in_pounds(contract: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(contract).replace("INR_PER_KWH", "GBP_PER_KWH").replace('"INR"', '"GBP"')
    read_again: dict[str, Any] = json.loads(text)
    return read_again


def test_a_recorded_confirm_is_read_as_it_is_written() -> None:
    contract = recorded("uc1_confirm.json")
    with pytest.raises(Refused, match="is in GBP_PER_KWH here"):
        read(contract, now=before(contract))
    need = read(in_pounds(contract), now=before(contract))
    assert list(need.requested_kw) == decimals(150, 200)
    assert list(need.bound_kw) == decimals(150, 120), "the seller's offer, which the buyer confirms"
    assert list(need.price_gbp_per_kwh) == decimals("3.5", 4)
    assert need.penalty_gbp_per_kwh == (Decimal("1.5"),) * 2
    assert need.buyer == "tpddl-north-delhi"


def exact(series: dict[str, Any], kind: str) -> list[Decimal]:
    return [
        Decimal(str(payload["values"][0]))
        for interval in series["intervals"]
        for payload in interval["payloads"]
        if payload["type"] == kind
    ]


def settled(contract: dict[str, Any], bound: list[Decimal], price: list[Decimal], penalty: list[Decimal]) -> Decimal:
    hours = Decimal({"PT30M": "0.5", "PT1H": "1"}[the_need(contract)["intervalPeriod"]["duration"]])
    meters = [one["telemetry"] for one in contract["performance"][0]["performanceAttributes"]["meters"]]
    intervals = [
        deg.ContractInterval(
            before(contract),
            hours,
            bound[place],
            price[place],
            penalty[place],
            [deg.MeterPower(exact(meter, "BASELINE")[place], exact(meter, "USAGE")[place]) for meter in meters],
        )
        for place in range(len(bound))
    ]
    return received_by("seller", deg.settle_contract(intervals, seller="seller"))


def test_the_recorded_fixed_price_settles_to_its_figure() -> None:
    contract = recorded("uc1_on_status_settled.json")
    offered = exact(contract["commitments"][0]["commitmentAttributes"], "CAPACITY_OFFERED")
    need = the_need(contract)
    paid = settled(contract, offered, exact(need, "PRICE"), exact(need, "SHORTFALL_PENALTY"))
    flows = {flow["role"]: Decimal(str(flow["value"])) for flow in contract["contractAttributes"]["revenueFlows"]}
    assert paid == flows["seller"] == -flows["buyer"] == Decimal("436.25")
    assert seller_receives({"message": {"contract": contract}}) == 436.25


def test_the_recorded_clearing_settles_to_its_figure() -> None:
    contract = recorded("uc2_on_status_settled.json")
    series = contract["commitments"][0]["commitmentAttributes"]
    cleared = exact(series, "CAPACITY_CLEARED")
    inputs = contract["commitments"][0]["offer"]["offerAttributes"]["inputs"][0]["inputs"]
    penalty = [Decimal(str(inputs["penaltyRate"]))] * len(cleared)
    paid = settled(contract, cleared, exact(series, "CLEARING_PRICE"), penalty)
    assert (
        paid == Decimal(str(contract["settlements"][0]["settlementAttributes"]["totalPayable"])) == Decimal("332.5")
    )
    assert seller_receives({"message": {"contract": contract}}) == 332.5
