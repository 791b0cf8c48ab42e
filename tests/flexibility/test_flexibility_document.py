"""Every number of the example in docs/flexibility.md, worked out again from the document's own figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from itertools import combinations
from pathlib import Path

from flexibility.choosing.choice import Candidate, Event, Method, choose, figures
from flexibility.rules import deg
from flexibility.rules.cashflows import CashflowKind, received_by
from flexibility.rules.delivery import SiteVolumes
from flexibility.rules.exact import to_the_penny
from flexibility.rules.p415 import Compensation, TradedHalfHour, settle_trade, supplier_of
from grid.half_hours import HALF_HOUR

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "flexibility.md"
EXAMPLE = DOCUMENT.read_text(encoding="utf-8").partition("## An example by hand")[2]
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HALF = Decimal("0.5")
DELAY_GBP_PER_H = {"MEDIUM": "0.05", "LOW": "0.01", "HIGH": "0.50"}
LONDON, SCOTLAND = "London", "South Scotland"
NOW, LATER = ("25", "26", "27", "28"), ("31", "32", "33", "34")


def table(first_heading: str) -> dict[str, list[str]]:
    """The rows of a table of the example by their first cell."""
    lines = EXAMPLE[EXAMPLE.index(f"| {first_heading} |") :].splitlines()
    rows: dict[str, list[str]] = {}
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


GRID = table("SP | £/MWh")
WORK = table("workload")
METERED = table("SP | trade £/MWh")
PRICES = tuple(Decimal(METERED[period][0]) for period in NOW)
EVENT = Event(NOON, (Decimal(2),) * 4, PRICES)


def objective_gbp(site: str, mw: Decimal, periods: tuple[str, ...]) -> Decimal:
    """J of running through some periods, without waiting."""
    total = Decimal(0)
    for period in periods:
        price, stress, london, scotland = map(Decimal, GRID[period])
        intensity = london if site == LONDON else scotland
        total += mw * HALF * (price + intensity / 10 + 50 * stress**2)
    return total


def candidates() -> list[Candidate]:
    found = []
    for name, (_, mw, _, _, _, delta) in WORK.items():
        found.append(Candidate(name, Decimal(delta), (Decimal(mw) * HALF,) * 4))
    return found


def test_j_of_staying_and_of_giving_way_is_as_stated() -> None:
    for site, mw, urgency, keep, later, delta in WORK.values():
        assert objective_gbp(site, Decimal(mw), NOW) == Decimal(keep)
        assert objective_gbp(site, Decimal(mw), LATER) == Decimal(later)
        assert Decimal(later) - Decimal(keep) + 3 * Decimal(DELAY_GBP_PER_H[urgency]) == Decimal(delta)


def test_every_set_gains_what_is_stated_and_the_best_is_chosen() -> None:
    stated = {name: Decimal(cells[0]) for name, cells in table("set").items()}
    some = candidates()
    for many in range(1, len(some) + 1):
        for chosen in combinations(some, many):
            gain = figures(EVENT, chosen, Method.ENUMERATED).gain_gbp
            assert gain == stated[" ".join(one.name for one in chosen)]
    assert " ".join(choose(EVENT, some).names) == max(stated, key=lambda name: stated[name])


def half_hours() -> list[TradedHalfHour]:
    found = []
    for place, period in enumerate(NOW):
        trade, system, *volumes = map(Decimal, METERED[period])
        sites = (SiteVolumes(LONDON, *volumes[:2]), SiteVolumes(SCOTLAND, *volumes[2:]))
        start = NOON + place * HALF_HOUR
        found.append(TradedHalfHour(start, Decimal(1), trade, system, sites, Decimal("98.53")))
    return found


def stated_gbp(figure: str) -> Decimal:
    return Decimal(table("figure")[figure][0])


def test_the_settlement_comes_to_what_is_stated() -> None:
    flows = settle_trade(half_hours(), trader="seller")
    assert received_by("seller", flows) == stated_gbp("P415, received")
    assert received_by("seller", flows, CashflowKind.TRADE) == 800
    suppliers = sum((received_by(supplier_of(site), flows) for site in (LONDON, SCOTLAND)), Decimal(0))
    assert to_the_penny(suppliers) == stated_gbp("compensation at an SCRP of 98.53")
    bilateral = settle_trade(half_hours(), trader="seller", compensation=Compensation.BILATERAL)
    assert to_the_penny(received_by("seller", bilateral)) == stated_gbp("received where the seller pays it")
    silent = half_hours()
    silent[1] = replace(silent[1], has_wman=False)
    without = received_by("seller", settle_trade(silent, trader="seller"))
    assert without == stated_gbp("received without the WMAN of SP 26")


def test_by_the_rule_of_deg_it_comes_to_what_is_stated() -> None:
    intervals = [
        deg.ContractInterval(
            one.half_hour,
            HALF,
            one.contracted_mwh * 2000,
            one.trade_price / 1000,
            one.system_price / 1000,
            [deg.MeterPower(site.baseline_mwh * 2000, site.metered_mwh * 2000) for site in one.sites],
        )
        for one in half_hours()
    ]
    received = received_by("seller", deg.settle_contract(intervals, seller="seller"))
    assert received == stated_gbp("the same readings by DEG's rule, the system price as penalty")
