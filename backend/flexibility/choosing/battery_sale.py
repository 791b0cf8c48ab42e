"""What a battery is sold to do for an event: it gives in the event's half-hours, takes in others, and else rests.

Without the event it would rest, for nothing else drives it: so what it gives is what it frees, and the energy that it
takes and gives, at its J by the half-hour, is what that costs. Its wear is not known and counts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from flexibility.choosing.choice import Event
from flexibility.choosing.storage import HALF_HOUR_H, Battery, plan_storage
from flexibility.rules.exact import HOURS, exactly
from grid.half_hours import HALF_HOUR

MW_PLACES = Decimal("1e-6")
J_PLACES = Decimal("1e-9")
LEAST_GAIN_GBP = Decimal("0.01")


@dataclass(frozen=True)
class BatteryForSale:
    """A battery, and what energy costs at its place, £/MWh by J, from `start` on: then it takes its energy back."""

    asset_id: str
    unit_id: str
    battery: Battery
    start: datetime
    price_gbp_per_mwh: tuple[float, ...]


@dataclass(frozen=True)
class BatterySale:
    """What one battery does, by half-hour from `start` on, MW; `freed_mwh` is by half-hour of the event."""

    asset_id: str
    unit_id: str
    start: datetime
    charge_mw: tuple[Decimal, ...]
    discharge_mw: tuple[Decimal, ...]
    freed_mwh: tuple[Decimal, ...]
    cost_gbp: Decimal
    revenue_gbp: Decimal

    @property
    def gain_gbp(self) -> Decimal:
        return self.revenue_gbp - self.cost_gbp


def sell_batteries(
    event: Event, need_mwh: Sequence[Decimal], batteries: Sequence[BatteryForSale]
) -> tuple[BatterySale, ...]:
    """One after the other, each for what those before it leave of the need."""
    left, sales = list(need_mwh), []
    for one in batteries:
        if not any(left):
            break
        sale = sell_battery(event, left, one)
        if sale is not None:
            sales.append(sale)
            left = [need - freed for need, freed in zip(left, sale.freed_mwh, strict=True)]
    return tuple(sales)


def sell_battery(event: Event, need_mwh: Sequence[Decimal], of: BatteryForSale) -> BatterySale | None:
    """What the battery gains most by; None where that is nothing, nothing is paid, or energy has no price then."""
    prices = list(of.price_gbp_per_mwh)
    first = (event.starts_at - of.start) // HALF_HOUR
    until = first + len(event.half_hours)
    if first < 0 or until > len(prices):
        return None
    most_charge, most_discharge = [of.battery.power_mw] * len(prices), [0.0] * len(prices)
    for place, need in enumerate(need_mwh, first):
        prices[place] += float(event.price_gbp_per_mwh[place - first])
        most_charge[place], most_discharge[place] = 0.0, float(need) / HALF_HOUR_H
    plan = plan_storage(of.battery, prices, most_charge_mw=most_charge, most_discharge_mw=most_discharge)
    charge = tuple(_mw(value, ROUND_HALF_EVEN) for value in plan.charge_mw)
    discharge = tuple(_mw(value, ROUND_DOWN) for value in plan.discharge_mw)
    sale = _sale(event, of, charge, discharge, first)
    # For nothing it promises nothing, even where energy is dearer during the event than after it.
    return sale if sale.gain_gbp >= LEAST_GAIN_GBP and sale.revenue_gbp > 0 else None


@exactly
def _sale(
    event: Event, of: BatteryForSale, charge: tuple[Decimal, ...], discharge: tuple[Decimal, ...], first: int
) -> BatterySale:
    freed = tuple(mw * HOURS for mw in discharge[first : first + len(event.half_hours)])
    drawn = zip(of.price_gbp_per_mwh, charge, discharge, strict=True)
    cost = sum((Decimal(repr(price)) * (taken - given) * HOURS for price, taken, given in drawn), Decimal(0))
    paid = zip(event.price_gbp_per_mwh, freed, strict=True)
    last = max((place for place, mw in enumerate(zip(charge, discharge, strict=True)) if any(mw)), default=-1)
    return BatterySale(
        asset_id=of.asset_id,
        unit_id=of.unit_id,
        start=of.start,
        charge_mw=charge[: last + 1],
        discharge_mw=discharge[: last + 1],
        freed_mwh=freed,
        cost_gbp=cost.quantize(J_PLACES),
        revenue_gbp=sum((price * mwh for price, mwh in paid), Decimal(0)),
    )


def _mw(value: float, rounding: str) -> Decimal:
    return max(Decimal(repr(float(value))), Decimal(0)).quantize(MW_PLACES, rounding=rounding)
