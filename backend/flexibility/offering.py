"""What is offered in a situation, be the event announced or asked about: work that moves, and batteries. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import numpy as np

from decisions.scoring.freshness import SignalState, signal_states
from decisions.scoring.grid_context import GridContext
from decisions.scoring.objective import Terms
from decisions.scoring.signals import line_up
from flexibility.book import Situation
from flexibility.choosing.battery_sale import BatteryForSale, BatterySale, sell_batteries
from flexibility.choosing.choice import Choice, Event, committed_mwh
from flexibility.choosing.moves import Move, Mover
from flexibility.choosing.offer import Offer, make_offer
from flexibility.choosing.storage import Battery
from flexibility.rules.exact import HOURS
from grid.half_hours import HALF_HOUR
from vocabulary import Policy

TAKES_BACK_WITHIN = timedelta(hours=12)
"""After an event, that a battery has to take its energy back."""
_G_PER_MWH = 1000.0
"""Of one gram a kilowatt-hour."""


@dataclass(frozen=True)
class WholeOffer:
    """What work frees of `left`, what batteries leave of the event or all of it, and what batteries free."""

    workloads: Offer
    left: Event
    batteries: tuple[BatterySale, ...] = ()

    @property
    def moves(self) -> tuple[Move, ...]:
        return self.workloads.moves

    @property
    def choice(self) -> Choice:
        return self.workloads.choice

    @property
    def considered(self) -> int:
        return self.workloads.considered

    @property
    def sells(self) -> bool:
        return bool(self.moves or self.batteries)

    @property
    def moved_mwh(self) -> tuple[Decimal, ...]:
        """What is sold of what workloads free, by half-hour."""
        return committed_mwh(self.left, self.choice.freed_mwh)

    @property
    def committed_mwh(self) -> tuple[Decimal, ...]:
        freed = [sale.freed_mwh for sale in self.batteries]
        return tuple(sum(column, Decimal(0)) for column in zip(self.moved_mwh, *freed, strict=True))

    @property
    def revenue_gbp(self) -> Decimal:
        return self.choice.revenue_gbp + sum((sale.revenue_gbp for sale in self.batteries), Decimal(0))

    @property
    def cost_gbp(self) -> Decimal:
        return self.choice.cost_gbp + sum((sale.cost_gbp for sale in self.batteries), Decimal(0))

    @property
    def gain_gbp(self) -> Decimal:
        return self.revenue_gbp - self.cost_gbp


def offer_in(situation: Situation, wanted: Event, carbon_price_gbp_per_t: float) -> WholeOffer:
    """The better of two offers: work first and batteries for what it leaves of the need, or batteries first."""
    work_first = _work(situation, wanted, carbon_price_gbp_per_t)
    batteries = batteries_for(situation, wanted, carbon_price_gbp_per_t)
    if not batteries:
        return WholeOffer(work_first, wanted)
    freed = committed_mwh(wanted, work_first.choice.freed_mwh)
    rest = _less(wanted, freed)
    one = WholeOffer(work_first, wanted, sell_batteries(wanted, rest.need_mwh, batteries))
    sales = sell_batteries(wanted, wanted.need_mwh, batteries)
    if not sales:
        return one
    left = wanted
    for sale in sales:
        left = _less(left, sale.freed_mwh)
    other = WholeOffer(_work(situation, left, carbon_price_gbp_per_t), left, sales)
    return max(one, other, key=lambda offer: offer.gain_gbp)


def signals_behind(situation: Situation) -> tuple[SignalState, ...]:
    """How real, how old and how complete the signals are that an offer is made from."""
    grid = GridContext.model_validate(situation.contexts.grid)
    return signal_states(grid, line_up(grid.as_of, grid.national, grid.regional), grid.as_of)


def _work(situation: Situation, wanted: Event, carbon_price_gbp_per_t: float) -> Offer:
    mover = Mover(wanted, frozenset(situation.unit_of), carbon_price_gbp_per_t)
    # A workload that is booked twice is looked at where it runs first.
    known = {one.job: (context, one.place) for one, context in reversed(situation.known)}
    return make_offer(mover, list(known.values()))


def _less(event: Event, freed_mwh: Sequence[Decimal]) -> Event:
    need = tuple(max(mw - mwh / HOURS, Decimal(0)) for mw, mwh in zip(event.need_mw, freed_mwh, strict=True))
    return Event(event.starts_at, need, event.price_gbp_per_mwh)


def batteries_for(situation: Situation, wanted: Event, carbon_price_gbp_per_t: float) -> list[BatteryForSale]:
    """The batteries, and what energy costs at each by J, from the next half-hour on until some hours after the event.

    Where a signal is missing before, until then.
    """
    if not situation.batteries:
        return []
    grid = GridContext.model_validate(situation.contexts.grid)
    signals = line_up(grid.as_of, grid.national, grid.regional)
    terms = Terms.of(Policy.BALANCED, carbon_price_gbp_per_t)
    last = (wanted.ends_at + TAKES_BACK_WITHIN - signals.origin) // HALF_HOUR
    found = []
    for one in situation.batteries:
        price = (
            terms.weights.energy * signals.price_gbp_per_mwh
            + terms.gbp_per_g * _G_PER_MWH * signals.carbon_intensity_gco2_per_kwh[signals.row_of(one.region_id)]
            + terms.weights.grid_stress * terms.stress_gbp_per_mwh * signals.grid_stress_score**2
        )[1:last]
        unknown = np.flatnonzero(np.isnan(price))
        known = price[: unknown[0]] if len(unknown) else price
        battery = Battery.known(
            power_mw=one.power_mw,
            capacity_mwh=one.capacity_mwh,
            state_of_charge_percentage=one.state_of_charge_percentage,
            round_trip_efficiency=one.round_trip_efficiency,
        )
        if battery is not None:
            start = signals.origin + HALF_HOUR
            found.append(BatteryForSale(one.asset_id, one.unit_id, battery, start, tuple(map(float, known))))
    return found
