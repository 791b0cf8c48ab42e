"""The two demand-flexibility contracts of the Digital Energy Grid: a fixed price, and pay-as-clear.

    delivered = Σ over meters max(0, baseline - usage) [kW]
    net       = min(delivered, offered) x h x price - max(0, offered - delivered) x h x penalty

Under pay-as-clear what is cleared stands for what is offered and the clearing price for the price. What is not
delivered is not paid and costs the penalty; what is delivered beyond it is not paid either. Prices are by the
kilowatt-hour, in the contract's own currency. A performance whose methodology is RESOURCE_TELEMETRY never settles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from flexibility.rules.cashflows import Cashflow, CashflowKind
from flexibility.rules.exact import exactly

BUYER = "buyer"

NEVER_SETTLED = "RESOURCE_TELEMETRY"
"""The methodology of readings that are for reconciliation alone."""


@dataclass(frozen=True)
class MeterPower:
    """One meter in one interval, kW."""

    baseline_kw: Decimal
    usage_kw: Decimal


@dataclass(frozen=True)
class ContractInterval:
    """One interval of a contract. `bound_kw` is what was offered at a fixed price, or what was cleared."""

    start: datetime
    hours: Decimal
    bound_kw: Decimal
    price_per_kwh: Decimal
    penalty_per_kwh: Decimal
    meters: Sequence[MeterPower]

    @property
    def delivered_kw(self) -> Decimal:
        """What was drawn too much by one meter is not counted against another's."""
        spared = (meter.baseline_kw - meter.usage_kw for meter in self.meters)
        return sum((max(Decimal(0), kw) for kw in spared), Decimal(0))


@exactly
def settle_contract(intervals: Iterable[ContractInterval], *, seller: str) -> tuple[Cashflow, ...]:
    """The cashflows of a contract, in its currency."""
    flows = []
    for one in intervals:
        delivered = one.delivered_kw
        paid = min(delivered, one.bound_kw) * one.hours * one.price_per_kwh
        penalty = max(Decimal(0), one.bound_kw - delivered) * one.hours * one.penalty_per_kwh
        flows.append(Cashflow.of(CashflowKind.DELIVERY, one.start, BUYER, seller, paid))
        flows.append(Cashflow.of(CashflowKind.PENALTY, one.start, seller, BUYER, penalty))
    return tuple(flows)
