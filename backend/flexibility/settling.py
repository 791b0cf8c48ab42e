"""From what was committed and metered to what it comes to, by the event's rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from database.interface import Row
from decimal_text import decimal_text as text
from flexibility.book import Outcome
from flexibility.documents import cashflow_rows
from flexibility.event_model import Programme, StoredEvent
from flexibility.rules import deg, dfs
from flexibility.rules.cashflows import Cashflow, received_by
from flexibility.rules.delivery import SiteVolumes, delivered_mwh
from flexibility.rules.exact import HOURS
from flexibility.rules.p415 import Compensation, TradedHalfHour, settle_trade
from flexibility.rules.supplier_prices import SupplierPrices
from grid.half_hours import from_rfc3339, rfc3339, settlement_date

TRADER = "Pylon"
KW_PER_MW = 1000


class PricesMissing(Exception):
    """What it is settled by is not known yet; the message says what."""


@dataclass(frozen=True)
class Settlement:
    """All cashflows of one run, and what they are worked out from."""

    inputs: Row
    cashflows: tuple[Cashflow, ...]

    @property
    def received_gbp(self) -> Decimal:
        """By whoever sold."""
        return received_by(TRADER, self.cashflows)

    def to_row(self, run: int) -> Row:
        return {
            "run": run,
            "received_gbp": text(self.received_gbp),
            "inputs": self.inputs,
            "cashflows": cashflow_rows(self.cashflows),
        }


@dataclass(frozen=True)
class SoldUnit:
    """What one unit sold in one half-hour, and what its sites drew."""

    half_hour: datetime
    unit_id: str
    contracted_mwh: Decimal
    trade_price: Decimal
    penalty: Decimal | None
    system_price: Decimal | None
    supplier_price: Decimal | None
    has_wman: bool
    sites: tuple[SiteVolumes, ...]
    battery_mwh: Decimal = Decimal(0)
    """What batteries freed, which are among the sites: each by its own name, with a baseline of nothing."""

    @classmethod
    def read(cls, row: Row) -> SoldUnit:
        """Of what a run of the settlement was worked out from."""

        def price(name: str) -> Decimal | None:
            return None if row[name] is None else Decimal(row[name])

        return cls(
            half_hour=from_rfc3339(row["half_hour"]),
            unit_id=row["unit_id"],
            contracted_mwh=Decimal(row["contracted_mwh"]),
            trade_price=Decimal(row["trade_price"]),
            penalty=price("penalty"),
            system_price=price("system_price"),
            supplier_price=price("supplier_price"),
            has_wman=row["has_wman"],
            sites=tuple(
                SiteVolumes(site["dc_id"], Decimal(site["baseline_mwh"]), Decimal(site["metered_mwh"]))
                for site in row["sites"]
            ),
            battery_mwh=Decimal(row.get("battery_mwh", 0)),
        )

    def by_batteries(self) -> dict[str, Decimal]:
        """What each battery freed, by its name: of all that is metered they alone draw less than nothing."""
        return {site.dc_id: site.delivered_mwh for site in self.sites if self.battery_mwh and site.metered_mwh < 0}

    def to_row(self) -> Row:
        optional = {"system_price": self.system_price, "supplier_price": self.supplier_price, "penalty": self.penalty}
        return {
            "half_hour": rfc3339(self.half_hour),
            "unit_id": self.unit_id,
            "contracted_mwh": text(self.contracted_mwh),
            "delivered_mwh": text(delivered_mwh(self.sites)),
            "trade_price": text(self.trade_price),
            "has_wman": self.has_wman,
            "sites": [
                {"dc_id": site.dc_id, "baseline_mwh": text(site.baseline_mwh), "metered_mwh": text(site.metered_mwh)}
                for site in self.sites
            ],
            **{name: None if value is None else text(value) for name, value in optional.items()},
            **({"battery_mwh": text(self.battery_mwh)} if self.battery_mwh else {}),
        }


def settle(event: StoredEvent, outcome: Outcome, supplier_prices: SupplierPrices) -> Settlement:
    """What an event comes to with what is known now.

    Raises:
        PricesMissing: a system price, or the supplier's price where the seller pays it, is not known.
    """
    units = _units(event, outcome, supplier_prices)
    flows = cashflows_of(event.programme, event.compensation, units)
    inputs = {"programme": str(event.programme), "compensation": str(event.compensation)}
    return Settlement({**inputs, "half_hours": [unit.to_row() for unit in units]}, flows)


def cashflows_of(programme: Programme, compensation: Compensation, units: Sequence[SoldUnit]) -> tuple[Cashflow, ...]:
    """What some units' half-hours come to. They add up: an event's are those of each unit and half-hour together, and
    of a DEG contract those of each half-hour.

    Raises:
        PricesMissing: see `settle`.
    """
    if programme is Programme.P415:
        return settle_trade(_trades(compensation, units), trader=TRADER, compensation=compensation)
    if programme is Programme.DFS:
        procured = [
            dfs.ProcuredHalfHour(unit.half_hour, unit.contracted_mwh / HOURS, unit.trade_price, unit.sites)
            for unit in units
        ]
        return dfs.settle_utilisation(procured, seller=TRADER)
    return deg.settle_contract(_intervals(units), seller=TRADER)


def _units(event: StoredEvent, outcome: Outcome, supplier_prices: SupplierPrices) -> list[SoldUnit]:
    system_price: Mapping[datetime, Decimal] = {
        price.half_hour: price.system_price_gbp_mwh for price in outcome.system_prices
    }
    is_trade = event.programme is Programme.P415
    units = []
    for sold in outcome.commitments:
        place = event.half_hours.index(sold.half_hour)
        batteries = [
            one
            for one in outcome.batteries
            if (one.unit_id, one.half_hour) == (sold.unit_id, sold.half_hour) and one.freed_mwh
        ]
        units.append(
            SoldUnit(
                half_hour=sold.half_hour,
                unit_id=sold.unit_id,
                contracted_mwh=sold.committed_mwh,
                trade_price=event.price_gbp_per_mwh[place],
                penalty=event.penalty_gbp_per_mwh[place] if event.penalty_gbp_per_mwh else None,
                system_price=system_price.get(sold.half_hour) if is_trade else None,
                supplier_price=supplier_prices.on(settlement_date(sold.half_hour)) if is_trade else None,
                has_wman=sold.has_wman,
                sites=tuple(
                    SiteVolumes(one.dc_id, one.baseline_mwh, one.metered_mwh)
                    for one in outcome.baselines
                    if (one.unit_id, one.half_hour) == (sold.unit_id, sold.half_hour)
                )
                + tuple(SiteVolumes(one.asset_id, Decimal(0), -one.freed_mwh) for one in batteries),
                battery_mwh=sum((one.freed_mwh for one in batteries), Decimal(0)),
            )
        )
    return units


def _trades(compensation: Compensation, units: Sequence[SoldUnit]) -> list[TradedHalfHour]:
    trades = []
    for unit in units:
        if unit.system_price is None:
            raise PricesMissing(f"the system price of {rfc3339(unit.half_hour)} is not known yet")
        if unit.supplier_price is None and compensation is Compensation.BILATERAL:
            raise PricesMissing("FLEX_SUPPLIER_PRICES does not name the quarter's price, which the seller pays")
        trades.append(
            TradedHalfHour(
                unit.half_hour,
                unit.contracted_mwh,
                unit.trade_price,
                unit.system_price,
                unit.sites,
                unit.supplier_price,
                unit.has_wman,
            )
        )
    return trades


def _intervals(units: Sequence[SoldUnit]) -> list[deg.ContractInterval]:
    """One a half-hour: a contract knows meters, and no units, so what one delivers too much makes up for another."""

    def kw(mwh: Decimal) -> Decimal:
        return mwh / HOURS * KW_PER_MW

    together: dict[datetime, list[SoldUnit]] = {}
    for unit in units:
        together.setdefault(unit.half_hour, []).append(unit)
    return [
        deg.ContractInterval(
            half_hour,
            HOURS,
            kw(sum((unit.contracted_mwh for unit in some), Decimal(0))),
            some[0].trade_price / KW_PER_MW,
            (some[0].penalty or Decimal(0)) / KW_PER_MW,
            [deg.MeterPower(kw(site.baseline_mwh), kw(site.metered_mwh)) for unit in some for site in unit.sites],
        )
        for half_hour, some in together.items()
    ]
