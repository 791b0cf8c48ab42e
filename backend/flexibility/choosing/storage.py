"""What a battery does at given prices: a linear programme, with a binary a half-hour where a price is below zero.

    s_t = s_(t-1) + h (η c_t - d_t / η),  0 <= c, d <= power,  0 <= s <= capacity,  s_T >= s_0
    cost = h Σ (price_t (c_t - d_t) + wear (c_t + d_t)),  η = √(round-trip efficiency)

Where a price is below zero the programme would charge and discharge at once, to burn energy for money; the binary
forbids it. A battery whose efficiency or state of charge is unknown does not take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALF_HOUR_H = 0.5
OPTIMAL = 0
"""A status of `scipy.optimize.milp`."""


@dataclass(frozen=True)
class Battery:
    """`charge_mwh` is what is in it now, `wear_gbp_per_mwh` what a MWh either way costs it."""

    power_mw: float
    capacity_mwh: float
    charge_mwh: float
    round_trip_efficiency: float
    wear_gbp_per_mwh: float = 0.0

    @classmethod
    def known(
        cls,
        *,
        power_mw: float,
        capacity_mwh: float,
        state_of_charge_percentage: float | None,
        round_trip_efficiency: float | None,
        wear_gbp_per_mwh: float = 0.0,
    ) -> Battery | None:
        """None where its state of charge or its efficiency is not known, or nothing comes back out of it."""
        if state_of_charge_percentage is None or not round_trip_efficiency:
            return None
        charge_mwh = capacity_mwh * state_of_charge_percentage / 100
        return cls(power_mw, capacity_mwh, charge_mwh, round_trip_efficiency, wear_gbp_per_mwh)


@dataclass(frozen=True, eq=False)
class StoragePlan:
    """By half-hour, MW; the cost in £."""

    charge_mw: Floats
    discharge_mw: Floats
    cost_gbp: float

    @property
    def draw_mw(self) -> Floats:
        return self.charge_mw - self.discharge_mw


def plan_storage(
    battery: Battery,
    price_gbp_per_mwh: Sequence[float],
    *,
    most_charge_mw: Sequence[float] | None = None,
    most_discharge_mw: Sequence[float] | None = None,
    exclusive: bool = True,
) -> StoragePlan:
    """The plan that costs least; it ends with no less in it than it began with.

    Args:
        most_charge_mw: by half-hour, where it may take less than its power.
        most_discharge_mw: by half-hour, where it may give less than its power.
        exclusive: whether charging and discharging at once is forbidden where the price is below zero.

    Raises:
        RuntimeError: the solver failed, which for a battery within its own limits it does not: resting is a plan.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    prices = np.asarray(price_gbp_per_mwh, dtype=np.float64)
    many = len(prices)
    if not many:
        return StoragePlan(np.zeros(0), np.zeros(0), 0.0)
    efficiency = sqrt(battery.round_trip_efficiency)
    one_way = np.tril(np.ones((many, many))) * HALF_HOUR_H
    # Variables: charge, discharge, and whether it charges.
    stored = np.hstack((one_way * efficiency, -one_way / efficiency, np.zeros((many, many))))
    least, most = np.full(many, -battery.charge_mwh), np.full(many, battery.capacity_mwh - battery.charge_mwh)
    least[-1] = 0.0
    each, none, whole = np.eye(many), np.zeros((many, many)), battery.power_mw * np.eye(many)
    either = exclusive & (prices < 0)
    one_at_a_time = np.vstack((np.hstack((each, none, -whole))[either], np.hstack((none, each, whole))[either]))
    limits = np.concatenate((np.zeros(either.sum()), np.full(either.sum(), battery.power_mw)))
    wear = battery.wear_gbp_per_mwh
    result = milp(
        HALF_HOUR_H * np.concatenate((prices + wear, wear - prices, np.zeros(many))),
        integrality=np.concatenate((np.zeros(2 * many), either.astype(np.float64))),
        bounds=Bounds(
            0.0,
            np.concatenate(
                (_limited(most_charge_mw, battery, many), _limited(most_discharge_mw, battery, many), np.ones(many))
            ),
        ),
        constraints=[
            LinearConstraint(stored, least, most),
            *([LinearConstraint(one_at_a_time, -np.inf, limits)] if either.any() else []),
        ],
    )
    if result.status != OPTIMAL or result.x is None:
        raise RuntimeError(f"the solver found no plan for a battery: {result.message}")
    return StoragePlan(result.x[:many], result.x[many : 2 * many], float(result.fun))


def _limited(most_mw: Sequence[float] | None, battery: Battery, many: int) -> Floats:
    return np.full(many, battery.power_mw) if most_mw is None else np.minimum(most_mw, battery.power_mw)
