"""Who pays whom how much: each cashflow has a payer and a payee, so all parties together always come to nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from flexibility.rules.exact import exactly
from vocabulary import StrEnum


class CashflowKind(StrEnum):
    TRADE = "trade"
    """What was sold, at the price agreed."""
    IMBALANCE = "imbalance"
    """What was delivered beyond or short of it, at the system price."""
    COMPENSATION = "compensation"
    """To the supplier whose customer drew less than it had bought for them."""
    UTILISATION = "utilisation"
    """Of the Demand Flexibility Service."""
    DELIVERY = "delivery"
    """Of a demand-flexibility contract over Beckn."""
    PENALTY = "penalty"
    """For what such a contract was short of."""


@dataclass(frozen=True)
class Cashflow:
    """`amount_gbp` is 0 or more: what is negative flows the other way. `half_hour` is what it is for."""

    kind: CashflowKind
    half_hour: datetime
    payer: str
    payee: str
    amount_gbp: Decimal

    @classmethod
    def of(cls, kind: CashflowKind, half_hour: datetime, payer: str, payee: str, amount_gbp: Decimal) -> Cashflow:
        """A negative amount is one that the payee pays."""
        if amount_gbp < 0:
            payer, payee, amount_gbp = payee, payer, amount_gbp.copy_abs()
        return cls(kind, half_hour, payer, payee, amount_gbp)


@exactly
def balances(cashflows: Iterable[Cashflow]) -> dict[str, Decimal]:
    """What each party has in the end, £: received less paid. They sum to 0."""
    balance: dict[str, Decimal] = defaultdict(Decimal)
    for flow in cashflows:
        balance[flow.payer] -= flow.amount_gbp
        balance[flow.payee] += flow.amount_gbp
    return dict(balance)


@exactly
def received_by(party: str, cashflows: Iterable[Cashflow], *kinds: CashflowKind) -> Decimal:
    """What one party has in the end, £, of cashflows of some kinds; of all without any."""
    wanted = (flow for flow in cashflows if not kinds or flow.kind in kinds)
    return balances(wanted).get(party, Decimal(0))
