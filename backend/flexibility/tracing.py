"""From what an event came to back to what gave way: each pound is some workload's or battery's in some half-hour.

What a unit received in a half-hour is shared among what gave way in it then, in proportion to the energy that each
freed; of a contract of the Digital Energy Grid, which knows no units, what all received together. Shares are
rounded down to millionths of a pound, and the last has the rest, so that they come to what was received to the last
digit. What came where nothing freed anything is nobody's, and told as that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from database.interface import Row
from flexibility.event_model import Programme
from flexibility.rules.cashflows import received_by
from flexibility.rules.exact import exactly
from flexibility.rules.p415 import Compensation
from flexibility.settling import TRADER, SoldUnit, cashflows_of

_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True)
class Freed:
    """What one workload freed in a half-hour of an event, or one battery. `workload` names it to the caller."""

    workload: int | None
    unit_id: str
    half_hour: datetime
    mwh: Decimal
    battery: str | None = None


@dataclass(frozen=True)
class Share:
    """What one workload brought in a half-hour, or one battery; without either what nothing that gave way did."""

    workload: int | None
    half_hour: datetime
    freed_mwh: Decimal
    received_gbp: Decimal
    battery: str | None = None

    @property
    def giver(self) -> int | str | None:
        """Whichever of the two it was."""
        return self.workload if self.battery is None else self.battery


def shares_of(inputs: Row, freed: Iterable[Freed]) -> list[Share]:
    """What each brought of one run of a settlement, by half-hour. Together they are what the run received.

    Args:
        inputs: what the run was worked out from, as it is kept; it names the batteries.
        freed: of all workloads that the event moved.
    """
    programme, compensation = Programme(inputs["programme"]), Compensation(inputs["compensation"])

    def settled_with(unit_id: str, half_hour: datetime) -> tuple[str | None, datetime]:
        return None if programme is Programme.DEG else unit_id, half_hour

    units: dict[tuple[str | None, datetime], list[SoldUnit]] = defaultdict(list)
    sold = [SoldUnit.read(row) for row in inputs["half_hours"]]
    for unit in sold:
        units[settled_with(unit.unit_id, unit.half_hour)].append(unit)
    gave_way: dict[tuple[str | None, datetime], list[Freed]] = defaultdict(list)
    by_batteries = [
        Freed(None, unit.unit_id, unit.half_hour, mwh, asset_id)
        for unit in sold
        for asset_id, mwh in unit.by_batteries().items()
    ]
    for one in (*freed, *by_batteries):
        if one.mwh > 0:
            gave_way[settled_with(one.unit_id, one.half_hour)].append(one)
    shares: list[Share] = []
    for key, together in units.items():
        received_gbp = received_by(TRADER, cashflows_of(programme, compensation, together))
        shares += _shared(together[0].half_hour, received_gbp, gave_way[key])
    return shares


@exactly
def _shared(half_hour: datetime, received_gbp: Decimal, freed: Sequence[Freed]) -> list[Share]:
    if not freed:
        nobodys = Share(None, half_hour, Decimal(0), received_gbp)
        return [nobodys] if received_gbp else []
    total_mwh = sum((one.mwh for one in freed), Decimal(0))
    left_gbp, shares = received_gbp, []
    for place, one in enumerate(freed):
        is_last = place == len(freed) - 1
        gbp = left_gbp if is_last else _part(received_gbp, one.mwh, total_mwh)
        shares.append(Share(one.workload, half_hour, one.mwh, gbp, one.battery))
        left_gbp -= gbp
    return shares


def _part(received_gbp: Decimal, mwh: Decimal, total_mwh: Decimal) -> Decimal:
    """Rounded towards nothing, to millionths."""
    return (received_gbp * mwh / total_mwh).quantize(_MILLIONTH, rounding=ROUND_DOWN)
