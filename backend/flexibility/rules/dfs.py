"""The Demand Flexibility Service of NESO: paid as bid, scaled by how much of it came (terms v4.0).

RV      = 100 x delivered / procured [MWh]
K       = 1.2 where RV >= 120; RV / 100 where 50 <= RV < 120; below 50 nothing (the last is inferred)
payment = procured MWh x price x K
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from flexibility.rules.cashflows import Cashflow, CashflowKind
from flexibility.rules.delivery import SiteVolumes, delivered_mwh
from flexibility.rules.exact import HOURS, exactly

BUYER = "NESO"

MOST_MW = Decimal(100)
"""Of one submission (rules v5.0)."""
MOST_K, FULL_RV, LEAST_RV = Decimal("1.2"), Decimal(120), Decimal(50)


@dataclass(frozen=True)
class ProcuredHalfHour:
    """What NESO bought in one half-hour and what came of it."""

    half_hour: datetime
    procured_mw: Decimal
    price_gbp_per_mwh: Decimal
    sites: tuple[SiteVolumes, ...]


@exactly
def delivery_factor(delivered: Decimal, procured: Decimal) -> Decimal:
    """K, of volumes in MWh; nothing procured is paid nothing."""
    if procured <= 0:
        return Decimal(0)
    relative_volume = 100 * delivered / procured
    if relative_volume >= FULL_RV:
        return MOST_K
    return relative_volume / 100 if relative_volume >= LEAST_RV else Decimal(0)


@exactly
def cost_gbp(mw: Decimal, price_gbp_per_mwh: Decimal) -> Decimal:
    """What a volume of one half-hour costs, as NESO's reports have it; negative for a negative volume."""
    return mw * HOURS * price_gbp_per_mwh


@exactly
def settle_utilisation(half_hours: Iterable[ProcuredHalfHour], *, seller: str) -> tuple[Cashflow, ...]:
    """The cashflows of some half-hours; what is K times procured is worked out without dividing where it can be."""
    flows = []
    for one in half_hours:
        procured_mwh, came_mwh = one.procured_mw * HOURS, delivered_mwh(one.sites)
        paid_mwh = _paid_mwh(came_mwh, procured_mwh)
        amount_gbp = paid_mwh * one.price_gbp_per_mwh
        flows.append(Cashflow.of(CashflowKind.UTILISATION, one.half_hour, BUYER, seller, amount_gbp))
    return tuple(flows)


def _paid_mwh(came: Decimal, procured: Decimal) -> Decimal:
    """K x procured: between the two limits of RV that is what came."""
    factor = delivery_factor(came, procured)
    return came if 0 < factor < MOST_K else factor * procured
