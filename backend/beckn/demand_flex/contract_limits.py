"""What one buyer may have of flexibility at a time: to ask costs nothing, and what gave way has moved already."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ContractLimits:
    """What the database lets one buyer have with one provider.

    Attributes:
        open_contracts: whose events are still ahead.
        cancelled_a_day: of them that it took back, within a day.
        strangers_half_hours: that the open contracts of a buyer last together for whom no operator answers: it has
            the half-hours of the whole platform, and nobody else can ask for these.
        strangers_mwh: that such a buyer's open contracts need together.
    """

    open_contracts: int = 20
    cancelled_a_day: int = 10
    strangers_half_hours: int = 96
    strangers_mwh: int = 100

    def to_row(self) -> dict[str, Any]:
        return asdict(self)
