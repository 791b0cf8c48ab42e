"""What an event comes to under each rule: the worked figures, and what holds whatever the figures are."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexibility.rules import deg, dfs
from flexibility.rules.cashflows import Cashflow, CashflowKind, balances, received_by
from flexibility.rules.delivery import SiteVolumes
from flexibility.rules.exact import to_the_penny
from flexibility.rules.p415 import Compensation, TradedHalfHour, settle_trade, supplier_of
from flexibility.rules.supplier_prices import SupplierPrices
from grid.half_hours import HALF_HOUR

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
VTP = "Pylon"
SCRP = Decimal("98.53")

BASELINE_1, METERED_1 = "5.00 5.00 5.20 5.20", "4.40 4.55 4.60 4.50"
BASELINE_2, METERED_2 = "3.00 3.00 3.10 3.10", "2.60 2.65 2.70 2.60"
TRADE_PRICES, SYSTEM_PRICES = "180 220 240 160", "150 260 300 140"


def decimals(text: str) -> list[Decimal]:
    return [Decimal(word) for word in text.split()]


def worked_example() -> list[TradedHalfHour]:
    rows = zip(
        *map(decimals, (TRADE_PRICES, SYSTEM_PRICES, BASELINE_1, METERED_1, BASELINE_2, METERED_2)), strict=True
    )
    return [
        TradedHalfHour(
            half_hour=NOON + place * HALF_HOUR,
            contracted_mwh=Decimal(1),
            trade_price=trade,
            system_price=system,
            sites=(SiteVolumes("DC-001", base_1, metered_1), SiteVolumes("DC-002", base_2, metered_2)),
            supplier_price=SCRP,
        )
        for place, (trade, system, base_1, metered_1, base_2, metered_2) in enumerate(rows)
    ]


def test_the_worked_example_settles_to_the_penny() -> None:
    flows = settle_trade(worked_example(), trader=VTP)
    assert [one.deviation_mwh for one in worked_example()] == decimals("1.0 0.8 1.0 1.2")
    assert received_by(VTP, flows, CashflowKind.TRADE) == 800
    assert received_by(VTP, flows, CashflowKind.IMBALANCE) == -24
    assert received_by(VTP, flows) == 776
    assert received_by(supplier_of("DC-001"), flows) == Decimal("231.5455")
    assert received_by(supplier_of("DC-002"), flows) == Decimal("162.5745")
    compensation = received_by(supplier_of("DC-001"), flows) + received_by(supplier_of("DC-002"), flows)
    assert to_the_penny(compensation) == Decimal("394.12")


def test_bilateral_compensation_is_the_traders() -> None:
    flows = settle_trade(worked_example(), trader=VTP, compensation=Compensation.BILATERAL)
    assert to_the_penny(received_by(VTP, flows)) == Decimal("381.88")


def test_without_one_notification_the_whole_contract_is_bought_back() -> None:
    half_hours = worked_example()
    half_hours[1] = replace(half_hours[1], has_wman=False)
    assert received_by(VTP, settle_trade(half_hours, trader=VTP)) == 568


def test_an_unknown_supplier_price_settles_without_compensation() -> None:
    flows = settle_trade([replace(one, supplier_price=None) for one in worked_example()], trader=VTP)
    assert received_by(VTP, flows) == 776
    assert not [flow for flow in flows if flow.kind is CashflowKind.COMPENSATION]


def test_the_same_readings_under_the_fixed_price_of_deg() -> None:
    intervals = [
        deg.ContractInterval(
            start=one.half_hour,
            hours=Decimal("0.5"),
            bound_kw=one.contracted_mwh * 2000,
            price_per_kwh=one.trade_price / 1000,
            penalty_per_kwh=one.system_price / 1000,
            meters=[deg.MeterPower(site.baseline_mwh * 2000, site.metered_mwh * 2000) for site in one.sites],
        )
        for one in worked_example()
    ]
    flows = deg.settle_contract(intervals, seller=VTP)
    by_half_hour = [
        received_by(VTP, [flow for flow in flows if flow.half_hour == one.half_hour]) for one in worked_example()
    ]
    assert by_half_hour == decimals("180 124 240 160")
    assert received_by(VTP, flows) == 704


def contract(hours: str, bound: str, price: str, penalty: str, meters: list[list[str]]) -> Decimal:
    """What the seller of a contract receives; of each meter, "baseline/usage" by interval."""
    intervals = [
        deg.ContractInterval(
            NOON + place * HALF_HOUR,
            Decimal(hours),
            bound_kw,
            price_per_kwh,
            Decimal(penalty),
            [deg.MeterPower(*map(Decimal, meter[place].split("/"))) for meter in meters],
        )
        for place, (bound_kw, price_per_kwh) in enumerate(zip(decimals(bound), decimals(price), strict=True))
    ]
    return received_by("seller", deg.settle_contract(intervals, seller="seller"))


def test_deg_at_a_fixed_price() -> None:
    assert contract("0.5", "150 120", "3.5 4", "1.5", [["75/5", "100/50"], ["75/5", "100/45"]]) == Decimal("436.25")


def test_deg_pay_as_clear() -> None:
    assert contract("1", "50 45", "3.5 3.5", "0.5", [["55/30", "50/27.5"], ["50/25", "45/22.5"]]) == Decimal("332.5")


def test_deg_counts_each_meter_alone_and_pays_nothing_beyond_the_offer() -> None:
    assert contract("1", "10", "2", "1", [["30/10"], ["10/25"]]) == 20


@pytest.mark.parametrize(
    ("delivered", "factor"),
    [("0", "0"), ("0.49", "0"), ("0.5", "0.5"), ("1", "1"), ("1.19", "1.19"), ("1.2", "1.2"), ("2", "1.2")],
)
def test_dfs_scales_by_what_came(delivered: str, factor: str) -> None:
    assert dfs.delivery_factor(Decimal(delivered), Decimal(1)) == Decimal(factor)


def test_dfs_pays_as_bid_times_the_factor() -> None:
    sites = (SiteVolumes("DC-001", Decimal(5), Decimal("4.2")),)
    flows = dfs.settle_utilisation([dfs.ProcuredHalfHour(NOON, Decimal(2), Decimal(250), sites)], seller=VTP)
    assert balances(flows) == {VTP: 200, dfs.BUYER: -200}
    assert dfs.cost_gbp(Decimal("-7.94"), Decimal("124.9")) < 0, "settled volumes may be negative"


def test_a_supplier_price_is_of_its_quarter_or_unknown() -> None:
    prices = SupplierPrices.read("2026Q1=87.21, 2026Q3=98.53")
    assert prices.on(date(2026, 2, 17)) == Decimal("87.21")
    assert prices.on(date(2026, 8, 28)) == Decimal("98.53")
    assert prices.on(date(2026, 11, 24)) is None
    assert SupplierPrices.read("").on(date(2026, 2, 17)) is None


@pytest.mark.parametrize("text", ["2026Q5=1", "98.53", "2026Q1=much", "2026Q1=NaN", "2026Q1=1,2026Q1=2"])
def test_a_table_of_supplier_prices_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2026Q1|price"):
        SupplierPrices.read(text)


VOLUMES = st.integers(0, 50_000_000_000).map(lambda wh: Decimal(wh).scaleb(-9))
PRICES = st.integers(-6 * 10**21, 6 * 10**21).map(lambda digits: Decimal(digits).scaleb(-18))
a_few = settings(max_examples=30)
SITES = st.lists(st.tuples(VOLUMES, VOLUMES), min_size=1, max_size=4)


@st.composite
def traded(draw: st.DrawFn) -> list[TradedHalfHour]:
    return [
        TradedHalfHour(
            half_hour=NOON + place * HALF_HOUR,
            contracted_mwh=draw(VOLUMES),
            trade_price=draw(PRICES),
            system_price=draw(PRICES),
            sites=tuple(SiteVolumes(f"DC-{n}", *pair) for n, pair in enumerate(draw(SITES))),
            supplier_price=draw(st.none() | PRICES),
            has_wman=draw(st.booleans()),
        )
        for place in range(draw(st.integers(1, 3)))
    ]


def of_the_trader(half_hours: list[TradedHalfHour], compensation: Compensation) -> Decimal:
    return received_by(VTP, settle_trade(half_hours, trader=VTP, compensation=compensation))


@a_few
@given(traded(), st.sampled_from(Compensation))
def test_all_parties_together_come_to_nothing(half_hours: list[TradedHalfHour], compensation: Compensation) -> None:
    flows = settle_trade(half_hours, trader=VTP, compensation=compensation)
    assert sum(map(Fraction, balances(flows).values())) == 0
    assert all(flow.amount_gbp >= 0 for flow in flows)


@a_few
@given(
    traded(),
    st.sampled_from(Compensation),
    st.sampled_from(["trade_price", "system_price", "supplier_price"]),
    PRICES,
)
def test_settlement_is_linear_in_each_price(
    half_hours: list[TradedHalfHour], compensation: Compensation, name: str, more: Decimal
) -> None:
    first = replace(half_hours[0], supplier_price=half_hours[0].supplier_price or Decimal(0))

    def at(price: Decimal) -> Fraction:
        changed: dict[str, Any] = {name: price}
        return Fraction(of_the_trader([replace(first, **changed), *half_hours[1:]], compensation))

    price = getattr(first, name)
    assert at(price) - at(Decimal(0)) + at(more) == at(Context(prec=60).add(price, more))


@a_few
@given(traded())
def test_what_draws_its_baseline_buys_its_whole_contract_back(half_hours: list[TradedHalfHour]) -> None:
    idle = [
        replace(one, sites=tuple(replace(site, metered_mwh=site.baseline_mwh) for site in one.sites))
        for one in half_hours
    ]
    expected = sum(
        Fraction(one.contracted_mwh) * (Fraction(one.trade_price) - Fraction(one.system_price)) for one in idle
    )
    assert Fraction(of_the_trader(idle, Compensation.MUTUALISED)) == expected


@a_few
@given(traded(), st.sampled_from(Compensation))
def test_exchanging_the_sites_readings_changes_no_total(
    half_hours: list[TradedHalfHour], compensation: Compensation
) -> None:
    def exchanged(one: TradedHalfHour) -> TradedHalfHour:
        readings = [site.metered_mwh for site in one.sites]
        readings.reverse()
        sites = tuple(replace(site, metered_mwh=mwh) for site, mwh in zip(one.sites, readings, strict=True))
        return replace(one, sites=sites)

    other = [exchanged(one) for one in half_hours]
    assert of_the_trader(other, compensation) == of_the_trader(half_hours, compensation)
    total = [compensated(settle_trade(some, trader=VTP, compensation=compensation)) for some in (half_hours, other)]
    assert total[0] == total[1]


def compensated(flows: tuple[Cashflow, ...]) -> Fraction:
    """What all suppliers receive."""
    found = balances(flow for flow in flows if flow.kind is CashflowKind.COMPENSATION)
    return sum((Fraction(gbp) for party, gbp in found.items() if party.startswith("supplier")), Fraction(0))
