"""P415: a Virtual Trading Party sells the deviation from the baseline, and what it misses it buys back.

    deviation    = baseline - metered import [MWh]; nothing in a half-hour without WMAN
    VTP          = contracted x trade price + (deviation - contracted) x system price
    compensation = deviation x SCRP, to the supplier for a reduction

WMAN is the notification before gate closure that says that the unit trades. Without it no deviation is measured, so
the whole contract is imbalance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from flexibility.rules.cashflows import Cashflow, CashflowKind
from flexibility.rules.delivery import SiteVolumes, delivered_mwh
from flexibility.rules.exact import exactly
from vocabulary import StrEnum

MARKET = "wholesale market"
IMBALANCE_SETTLEMENT = "imbalance settlement"
MUTUALISED_POT = "all suppliers"


class Compensation(StrEnum):
    """Who pays the suppliers: all of them in proportion to their demand (P415), or the VTP (P510's proposal)."""

    MUTUALISED = "mutualised"
    BILATERAL = "bilateral"


@dataclass(frozen=True)
class TradedHalfHour:
    """What was sold and what happened in one half-hour; prices in £/MWh."""

    half_hour: datetime
    contracted_mwh: Decimal
    trade_price: Decimal
    system_price: Decimal
    sites: tuple[SiteVolumes, ...]
    supplier_price: Decimal | None = None
    """The Supplier Compensation Reference Price of the quarter; None where it is not known."""
    has_wman: bool = True

    @property
    def deviation_mwh(self) -> Decimal:
        return delivered_mwh(self.sites) if self.has_wman else Decimal(0)


@exactly
def settle_trade(
    half_hours: Iterable[TradedHalfHour], *, trader: str, compensation: Compensation = Compensation.MUTUALISED
) -> tuple[Cashflow, ...]:
    """All cashflows of some half-hours. `trader` is the name of the VTP."""
    payer = trader if compensation is Compensation.BILATERAL else MUTUALISED_POT
    flows: list[Cashflow] = []
    for one in half_hours:
        sold_gbp = one.contracted_mwh * one.trade_price
        missed_gbp = (one.deviation_mwh - one.contracted_mwh) * one.system_price
        flows.append(Cashflow.of(CashflowKind.TRADE, one.half_hour, MARKET, trader, sold_gbp))
        flows.append(Cashflow.of(CashflowKind.IMBALANCE, one.half_hour, IMBALANCE_SETTLEMENT, trader, missed_gbp))
        if one.has_wman and one.supplier_price is not None:
            flows += [
                Cashflow.of(
                    CashflowKind.COMPENSATION,
                    one.half_hour,
                    payer,
                    supplier_of(site.dc_id),
                    site.delivered_mwh * one.supplier_price,
                )
                for site in one.sites
            ]
    return tuple(flows)


def supplier_of(dc_id: str) -> str:
    """The party that sells a data centre its power. Simulated: who it is, is not known here."""
    return f"supplier of {dc_id}"
