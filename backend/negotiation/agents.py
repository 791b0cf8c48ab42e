"""Who negotiates: interruptible work, a battery, the buyer of a reduction. Each answers prices with its best plan.

An agent's data stay its own: the coordinator learns the plans that it proposes, and nothing else. All of these can
split (a mixture of two plans is a plan), so what the coordinator mixes can be carried out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

HOURS = 0.5
"""Of a half-hour."""

Figures = NDArray[np.float64]
"""One a half-hour of the horizon."""


class NoFallback(Exception):
    """The agent cannot do what it must within its own endowment; the message says which agent, and what it lacks."""


@dataclass(frozen=True)
class Plan:
    """What an agent would do.

    Attributes:
        cost_gbp: what that costs it, by its own declaration.
        draw_mw: how much of the shared limit it takes; below 0 it gives.
    """

    cost_gbp: float
    draw_mw: Figures


class Agent(ABC):
    """One who negotiates.

    Args:
        endowment_mw: its share of the limit, which is its own without any negotiation.
    """

    def __init__(self, name: str, endowment_mw: Figures) -> None:
        self.name = name
        self.endowment_mw = endowment_mw

    @abstractmethod
    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        """The plan that costs it least where drawing costs these prices on top."""

    @abstractmethod
    def fallback(self) -> Plan:
        """Its best plan within its own endowment.

        Raises:
            NoFallback: there is none.
        """


@dataclass(frozen=True)
class InterruptibleJob:
    """Work that may pause: its energy, at most at this power, in the half-hours from `first` up to before `end`."""

    job_id: str
    energy_mwh: float
    max_power_mw: float
    first: int
    end: int


class ComputeAgent(Agent):
    """A data centre's waiting work.

    Args:
        cost_gbp_per_mwh: what a MWh costs in each half-hour: price, carbon and stress as its objective has them.
    """

    def __init__(
        self, name: str, endowment_mw: Figures, cost_gbp_per_mwh: Figures, jobs: Sequence[InterruptibleJob]
    ) -> None:
        super().__init__(name, endowment_mw)
        self._cost = cost_gbp_per_mwh
        self._jobs = jobs

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        """Each job fills its cheapest half-hours: nothing else couples them."""
        draw = np.zeros(len(self._cost))
        for job in self._jobs:
            self._fill(job, self._cost + price_gbp_per_mwh, draw)
        return Plan(float(HOURS * self._cost @ draw), draw)

    def _fill(self, job: InterruptibleJob, whole_cost: Figures, draw: Figures) -> None:
        left_mwh = job.energy_mwh
        window = np.arange(job.first, job.end)
        for place in window[np.argsort(whole_cost[window], kind="stable")]:
            taken_mwh = min(left_mwh, HOURS * job.max_power_mw)
            draw[place] += taken_mwh / HOURS
            left_mwh -= taken_mwh
            if left_mwh <= 0:
                return
        if left_mwh > 1e-9:
            raise NoFallback(f"{self.name}: {job.job_id} needs more than its window and power give it")

    def fallback(self) -> Plan:
        size = len(self._cost)
        places = [(number, place) for number, job in enumerate(self._jobs) for place in range(job.first, job.end)]
        if not places:
            return Plan(0.0, np.zeros(size))
        energy, limit = np.zeros((len(self._jobs), len(places))), np.zeros((size, len(places)))
        for column, (number, place) in enumerate(places):
            energy[number, column] = HOURS
            limit[place, column] = 1.0
        found = linprog(
            [HOURS * self._cost[place] for _, place in places],
            A_ub=limit,
            b_ub=self.endowment_mw,
            A_eq=energy,
            b_eq=[job.energy_mwh for job in self._jobs],
            bounds=[(0, self._jobs[number].max_power_mw) for number, _ in places],
            method="highs",
        )
        if found.x is None or found.fun is None:
            raise NoFallback(f"{self.name}: its work does not fit within its own share of the limit")
        # What the solver lets through above the share, by its tolerance, is not the agent's.
        draw = np.minimum(limit @ found.x, self.endowment_mw)
        return Plan(float(found.fun), draw)


class StorageAgent(Agent):
    """A battery, whose plans are a linear program: `s[t] = s[t-1] + h (η c - d / η)`, at the end no less than before.

    Where the price of a half-hour is below 0 a linear program would charge and discharge at once; such horizons are
    refused.
    """

    def __init__(
        self,
        name: str,
        endowment_mw: Figures,
        cost_gbp_per_mwh: Figures,
        *,
        power_mw: float,
        capacity_mwh: float,
        charge_mwh: float,
        round_trip_efficiency: float,
        wear_gbp_per_mwh: float = 0.0,
    ) -> None:
        super().__init__(name, endowment_mw)
        if (cost_gbp_per_mwh < 0).any():
            raise NoFallback(f"{name}: a battery does not take part where a half-hour's cost is below 0")
        self._cost = cost_gbp_per_mwh
        self._power_mw = power_mw
        self._capacity_mwh = capacity_mwh
        self._charge_mwh = charge_mwh
        self._efficiency = sqrt(round_trip_efficiency)
        self._wear = wear_gbp_per_mwh

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        return self._best(price_gbp_per_mwh, None)

    def fallback(self) -> Plan:
        return self._best(np.zeros(len(self._cost)), self.endowment_mw)

    def _best(self, price_gbp_per_mwh: Figures, most_mw: Figures | None) -> Plan:
        size = len(self._cost)
        whole = self._cost + price_gbp_per_mwh
        # Columns: charging, then discharging. Each row: the charge at the end of a half-hour.
        reached = HOURS * np.tril(np.ones((size, size)))
        stored = np.hstack([self._efficiency * reached, -reached / self._efficiency])
        rows = [stored, -stored, -stored[-1:]]
        most = [
            np.full(size, self._capacity_mwh - self._charge_mwh),
            np.full(size, self._charge_mwh),
            np.zeros(1),
        ]
        if most_mw is not None:
            rows.append(np.hstack([np.eye(size), -np.eye(size)]))
            most.append(most_mw)
        found = linprog(
            HOURS * np.concatenate([whole + self._wear, self._wear - whole]),
            A_ub=np.vstack(rows),
            b_ub=np.concatenate(most),
            bounds=(0, self._power_mw),
            method="highs",
        )
        if found.x is None:
            raise NoFallback(f"{self.name}: the battery has no plan within its share of the limit")
        charging, discharging = found.x[:size], found.x[size:]
        draw = charging - discharging
        if most_mw is not None:
            draw = np.minimum(draw, most_mw)
        cost = HOURS * (self._cost @ draw + self._wear * (charging + discharging).sum())
        return Plan(float(cost), draw)


class ReductionBuyer(Agent):
    """Who pays for power that the others leave unused, up to a need: it draws room, and has none of its own."""

    def __init__(self, name: str, pays_gbp_per_mwh: Figures, need_mw: Figures) -> None:
        super().__init__(name, np.zeros(len(need_mw)))
        self._pays = pays_gbp_per_mwh
        self._need_mw = need_mw

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        draw = np.where(price_gbp_per_mwh < self._pays, self._need_mw, 0.0)
        return Plan(float(-HOURS * self._pays @ draw), draw)

    def fallback(self) -> Plan:
        return Plan(0.0, np.zeros(len(self._need_mw)))
