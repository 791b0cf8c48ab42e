"""Who negotiates: a data centre's work, a battery, the buyer of a reduction. Each answers prices with its best plan.

An agent's data stay its own: the coordinator learns the plans that it proposes, and nothing else. Most can split: a
mixture of two of their plans is a plan, so what the coordinator mixes can be carried out. Work that may not pause
cannot, nor can a battery where a price is below 0.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

HOURS = 0.5
"""Of a half-hour."""

Found = TypeVar("Found")
Figures = NDArray[np.float64]
"""One a half-hour of the horizon."""


NEAR_ENOUGH = 1e-6
"""Of a plan's cost: how far from the least a plan with whole decisions in it may be."""
MOST_NODES = 20_000
"""Of a search over whole decisions, which then ends with the best plan it found: a count, so that it ends alike."""
LONGEST_SEARCH_S = 5.0
"""Of such a search: what one agent's work can take of everybody's processor, where its nodes are slow ones."""
SHORTEST_SEARCH_S = 0.05
"""Of one that begins after the time of all is used up."""
LONGEST_SEARCHES_S = 15.0
"""Of all the searches of one call, or of one step of a negotiation."""


DRAW_TOLERANCE_MW = 1e-6
"""How far above what it was awarded work may draw, for figures that a solver made."""


class NoFallback(Exception):
    """The agent cannot do what it must within its own endowment; the message says which agent, and what it lacks."""


class SearchTime:
    """How long the searches over whole decisions of several agents may take together. Not for several threads."""

    def __init__(self, seconds: float = LONGEST_SEARCHES_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._left_s = seconds
        self._monotonic = monotonic

    def search(self, find: Callable[[float], Found]) -> Found:
        """What is found in the time there is for it, in seconds."""
        begun = self._monotonic()
        try:
            return find(min(LONGEST_SEARCH_S, max(SHORTEST_SEARCH_S, self._left_s)))
        finally:
            self._left_s -= self._monotonic() - begun


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
        self.searches = SearchTime()
        """Agents that are asked in one go share one."""

    @property
    def can_split(self) -> bool:
        """Whether it can run a mixture of two of its plans."""
        return True

    @abstractmethod
    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        """The plan that costs it least where drawing costs these prices on top."""

    @abstractmethod
    def within(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> Plan | None:
        """The same, drawing no more than this room (which may be below 0); None where no plan fits."""

    def fallback(self) -> Plan:
        """Its best plan within its own endowment.

        Raises:
            NoFallback: there is none.
        """
        found = self.within(self.endowment_mw, np.zeros(len(self.endowment_mw)))
        if found is None:
            raise NoFallback(f"{self.name}: {self._why_no_fallback}")
        return found

    _why_no_fallback = "it has no plan within its own share of the limit"


@dataclass(frozen=True)
class InterruptibleJob:
    """Work that may pause: its energy, at most at this power, in the half-hours from `first` up to before `end`."""

    job_id: str
    energy_mwh: float
    max_power_mw: float
    first: int
    end: int


@dataclass(frozen=True)
class RigidJob:
    """Work that may not pause: this power through so many half-hours in a row, from `first` up to before `end`."""

    job_id: str
    power_mw: float
    half_hours: int
    first: int
    end: int


@dataclass(frozen=True)
class BookedJob:
    """Work that has a place and may have another: this power through so many half-hours, from one of these starts.

    Attributes:
        starts: the half-hours in which it may begin.
        costs_gbp: of the whole run, by start: J, which its agent's cost of a MWh has no part of.
    """

    job_id: str
    power_mw: float
    half_hours: int
    starts: tuple[int, ...]
    costs_gbp: tuple[float, ...]


@dataclass(frozen=True)
class _Runs:
    """Work that may not pause, by its starts and what each costs beside its energy."""

    job_id: str
    power_mw: float
    half_hours: int
    starts: tuple[int, ...]
    costs_gbp: tuple[float, ...]

    @classmethod
    def of(cls, job: RigidJob | BookedJob) -> _Runs:
        if isinstance(job, BookedJob):
            return cls(job.job_id, job.power_mw, job.half_hours, job.starts, job.costs_gbp)
        starts = tuple(range(job.first, job.end - job.half_hours + 1))
        return cls(job.job_id, job.power_mw, job.half_hours, starts, (0.0,) * len(starts))


@dataclass(frozen=True)
class _Choices:
    """Columns of a program of an agent's work: a half-hour of a job that may pause, or a start of one that may not.

    Attributes:
        drawn_mw: shape (half-hours, columns).
        found: how much of each column is taken.
    """

    drawn_mw: NDArray[np.float64]
    costs_gbp: Figures
    jobs: NDArray[np.int64]
    places: NDArray[np.int64]
    found: Figures


class ComputeAgent(Agent):
    """A data centre's work that waits, or that is booked and may move.

    Args:
        cost_gbp_per_mwh: what a MWh costs in each half-hour: price, carbon and stress as its objective has them.
        room_mw: what its data centre has for it in each half-hour, whatever the limit; None: as much as it can use.
    """

    _why_no_fallback = "its work does not fit within its own share of the limit, or no way was found in time"

    def __init__(
        self,
        name: str,
        endowment_mw: Figures,
        cost_gbp_per_mwh: Figures,
        jobs: Sequence[InterruptibleJob | RigidJob | BookedJob],
        room_mw: Figures | None = None,
    ) -> None:
        super().__init__(name, endowment_mw)
        self._cost = cost_gbp_per_mwh
        self._room_mw = np.full(len(cost_gbp_per_mwh), np.inf) if room_mw is None else room_mw
        self._jobs = [job for job in jobs if isinstance(job, InterruptibleJob)]
        self._rigid = [_Runs.of(job) for job in jobs if not isinstance(job, InterruptibleJob)]

    @property
    def can_split(self) -> bool:
        return not self._rigid

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        """Each job takes its cheapest half-hours or its cheapest start, as its data centre has room for all."""
        draw = np.zeros(len(self._cost))
        whole_cost = self._cost + price_gbp_per_mwh
        for job in self._jobs:
            self._fill(job, whole_cost, draw)
        runs_gbp = sum(self._place(rigid, whole_cost, draw) for rigid in self._rigid)
        if (draw > self._room_mw + DRAW_TOLERANCE_MW).any():
            return self.within(self._room_mw, price_gbp_per_mwh) or self.fallback()
        return self._plan(draw, runs_gbp)

    def _plan(self, draw_mw: Figures, runs_gbp: float = 0.0) -> Plan:
        return Plan(float(HOURS * self._cost @ draw_mw) + runs_gbp, draw_mw)

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

    def _place(self, job: _Runs, whole_cost: Figures, draw: Figures) -> float:
        """Put it at its cheapest start; what that costs beside its energy."""
        if not job.starts:
            raise NoFallback(f"{self.name}: {job.job_id} is longer than its window")
        energy_gbp = HOURS * job.power_mw * np.convolve(whole_cost, np.ones(job.half_hours), "valid")
        best = int(np.argmin(energy_gbp[list(job.starts)] + np.array(job.costs_gbp)))
        draw[job.starts[best] : job.starts[best] + job.half_hours] += job.power_mw
        return job.costs_gbp[best]

    def within(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> Plan | None:
        if not self._jobs and not self._rigid:
            return self._plan(np.zeros(len(self._cost))) if (room_mw >= 0).all() else None
        room_mw = np.minimum(room_mw, self._room_mw)
        chosen = self._choose(room_mw, price_gbp_per_mwh)
        if chosen is None:
            return None
        # What the solver lets through above the room, by its tolerance, is not the agent's.
        draw = np.minimum(chosen.drawn_mw @ chosen.found, room_mw)
        return self._plan(draw, float(chosen.costs_gbp @ chosen.found))

    def starts_in(self, draw_mw: Figures) -> dict[str, int]:
        """In which half-hour each job that may not pause begins, where all of them draw no more than this.

        Raises:
            NoFallback: they do not fit in it.
        """
        chosen = self._choose(draw_mw + DRAW_TOLERANCE_MW, np.zeros(len(self._cost)))
        if chosen is None:
            raise NoFallback(f"{self.name}: its work does not fit in what it was awarded")
        return {
            self._rigid[job - len(self._jobs)].job_id: int(place)
            for job, place, taken in zip(chosen.jobs, chosen.places, chosen.found, strict=True)
            if job >= len(self._jobs) and taken > 0.5
        }

    def _choose(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> _Choices | None:
        """A column for each half-hour of a job that may pause (MW), and one for each start of one that may not."""
        size = len(self._cost)
        # Of each: the job, the half-hours it draws in, how much it does of the job, what it draws, its most, its £.
        runs = [
            (number, place, 1, HOURS, 1.0, job.max_power_mw, 0.0)
            for number, job in enumerate(self._jobs)
            for place in range(job.first, job.end)
        ]
        runs += [
            (len(self._jobs) + number, start, rigid.half_hours, 1.0, rigid.power_mw, 1.0, cost)
            for number, rigid in enumerate(self._rigid)
            for start, cost in zip(rigid.starts, rigid.costs_gbp, strict=True)
        ]
        needs = [*(job.energy_mwh for job in self._jobs), *(1.0 for _ in self._rigid)]
        if not runs:
            return None
        drawn, done = np.zeros((size, len(runs))), np.zeros((len(needs), len(runs)))
        for column, (number, place, length, amount, power, *_) in enumerate(runs):
            drawn[place : place + length, column] = power
            done[number, column] = amount
        jobs = np.array([number for number, *_ in runs])
        costs = np.array([cost for *_, cost in runs])
        found = _least(
            HOURS * (drawn.T @ (self._cost + price_gbp_per_mwh)) + costs,
            [(drawn, -np.inf, room_mw), (done, np.array(needs), np.array(needs))],
            self.searches,
            most=np.array([most for *_, most, _ in runs]),
            whole=jobs >= len(self._jobs),
        )
        if found is None:
            return None
        return _Choices(drawn, costs, jobs, np.array([place for _, place, *_ in runs]), found)


class StorageAgent(Agent):
    """A battery, whose plans are a linear program: `s[t] = s[t-1] + h (η c - d / η)`, at the end no less than before.

    Where the price of a half-hour is not above 0 a linear program may charge and discharge at once, to burn what it
    is paid to take: there a whole decision says which of the two, and the battery cannot split.
    """

    _why_no_fallback = "the battery has no plan within its share of the limit"

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
        self._cost = cost_gbp_per_mwh
        self._power_mw = power_mw
        self._capacity_mwh = capacity_mwh
        self._charge_mwh = charge_mwh
        self._efficiency = sqrt(round_trip_efficiency)
        self._wear = wear_gbp_per_mwh

    @property
    def can_split(self) -> bool:
        return not (self._cost < 0).any()

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        found = self.within(np.full(len(self._cost), np.inf), price_gbp_per_mwh)
        if found is None:
            raise NoFallback(f"{self.name}: the battery has no plan")
        return found

    def within(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> Plan | None:
        size = len(self._cost)
        whole_cost = self._cost + price_gbp_per_mwh
        either = np.flatnonzero(whole_cost <= 0)
        # Columns: charging, discharging, and whether it charges, where that is a decision.
        reached = HOURS * np.tril(np.ones((size, size)))
        none, each = np.zeros((size, len(either))), np.eye(size)
        stored = np.hstack([self._efficiency * reached, -reached / self._efficiency, none])
        rows: list[_Rows] = [
            (stored[:-1], -self._charge_mwh, self._capacity_mwh - self._charge_mwh),
            (stored[-1:], 0.0, self._capacity_mwh - self._charge_mwh),
            (np.hstack([each, -each, none]), -np.inf, room_mw),
        ]
        if len(either):
            chosen, power = each[either], self._power_mw * np.eye(len(either))
            rows.append((np.hstack([chosen, 0 * chosen, -power]), -np.inf, 0.0))
            rows.append((np.hstack([0 * chosen, chosen, power]), -np.inf, self._power_mw))
        found = _least(
            HOURS * np.concatenate([whole_cost + self._wear, self._wear - whole_cost, np.zeros(len(either))]),
            rows,
            self.searches,
            most=np.concatenate([np.full(2 * size, self._power_mw), np.ones(len(either))]),
            whole=np.concatenate([np.zeros(2 * size, bool), np.ones(len(either), bool)]),
        )
        if found is None:
            return None
        charging, discharging = found[:size], found[size : 2 * size]
        draw = np.minimum(charging - discharging, room_mw)
        cost = HOURS * (self._cost @ draw + self._wear * (charging + discharging).sum())
        return Plan(float(cost), draw)


class ReductionBuyer(Agent):
    """Who pays for power that the others leave unused, up to a need: it draws room, and has none of its own."""

    def __init__(self, name: str, pays_gbp_per_mwh: Figures, need_mw: Figures) -> None:
        super().__init__(name, np.zeros(len(need_mw)))
        self._pays = pays_gbp_per_mwh
        self._need_mw = need_mw

    def answer(self, price_gbp_per_mwh: Figures) -> Plan:
        return self._taking(self._need_mw, price_gbp_per_mwh)

    def within(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> Plan | None:
        if (room_mw < -1e-9).any():
            return None
        return self._taking(np.clip(room_mw, 0, self._need_mw), price_gbp_per_mwh)

    def _taking(self, most_mw: Figures, price_gbp_per_mwh: Figures) -> Plan:
        draw = np.where(price_gbp_per_mwh < self._pays, most_mw, 0.0)
        return Plan(float(-HOURS * self._pays @ draw), draw)


_Rows = tuple[NDArray[np.float64], "Figures | float", "Figures | float"]
"""A matrix, and what each row of it is at least and at most."""


def _least(
    cost: Figures,
    rows: Sequence[_Rows],
    searches: SearchTime,
    *,
    most: Figures,
    whole: NDArray[np.bool_],
) -> Figures | None:
    """The columns, 0 to `most`, of the least cost where each row lies between its two figures; None without any."""
    from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

    low = np.concatenate([np.broadcast_to(least, matrix.shape[0]) for matrix, least, _ in rows])
    high = np.concatenate([np.broadcast_to(top, matrix.shape[0]) for matrix, _, top in rows])

    def solve(seconds: float) -> OptimizeResult:
        return milp(
            cost,
            integrality=whole.astype(int),
            bounds=Bounds(0, most),
            constraints=LinearConstraint(np.vstack([matrix for matrix, *_ in rows]), low, high),
            options={"mip_rel_gap": NEAR_ENOUGH, "node_limit": MOST_NODES, "time_limit": seconds},
        )

    found = searches.search(solve) if whole.any() else solve(LONGEST_SEARCH_S)
    if found.x is None:
        return None
    columns: Figures = np.where(whole, np.round(found.x), found.x)
    return columns
