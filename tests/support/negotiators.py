"""Agents at random, and the plan that one who knew all their data would make: a single program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from negotiation.agents import (
    HOURS,
    Agent,
    ComputeAgent,
    Figures,
    InterruptibleJob,
    ReductionBuyer,
    RigidJob,
    StorageAgent,
)


@dataclass
class Case:
    """Agents, and the least cost of all of them together within their limit."""

    agents: list[Agent]
    optimum_gbp: float


class _Program:
    """Columns with a cost, what they draw of the limit, and their own rows."""

    def __init__(self, half_hours: int) -> None:
        self.half_hours = half_hours
        self.costs: list[float] = []
        self.bounds: list[tuple[float, float]] = []
        self.whole: list[bool] = []
        self.draws: list[tuple[int, int, float]] = []
        self.equal: list[tuple[dict[int, float], float]] = []
        self.at_most: list[tuple[dict[int, float], float]] = []

    def column(self, cost: float, most: float, half_hour: int | None, draw: float, *, whole: bool = False) -> int:
        self.costs.append(cost)
        self.bounds.append((0.0, most))
        self.whole.append(whole)
        if half_hour is not None:
            self.draws.append((len(self.costs) - 1, half_hour, draw))
        return len(self.costs) - 1

    def least(self, limit: Figures) -> float:
        rows = np.zeros((self.half_hours, len(self.costs)))
        for column, half_hour, draw in self.draws:
            rows[half_hour, column] = draw
        more = [(_row(entries, len(self.costs)), most) for entries, most in self.at_most]
        equal = [(_row(entries, len(self.costs)), value) for entries, value in self.equal]
        high = np.concatenate([limit, [most for _, most in more], [value for _, value in equal]])
        low = np.concatenate([np.full(self.half_hours + len(more), -np.inf), [value for _, value in equal]])
        found = milp(
            self.costs,
            integrality=np.array(self.whole, dtype=int),
            bounds=Bounds([least for least, _ in self.bounds], [most for _, most in self.bounds]),
            constraints=LinearConstraint(np.vstack([rows, *(row for row, _ in [*more, *equal])]), low, high),
            options={"mip_rel_gap": 1e-7},
        )
        assert found.fun is not None
        return float(found.fun)


def _row(entries: dict[int, float], size: int) -> Figures:
    row = np.zeros(size)
    for column, value in entries.items():
        row[column] = value
    return row


def random_case(
    seed: int,
    *,
    compute: int,
    storage: int,
    half_hours: int,
    with_buyer: bool = False,
    rigid: int = 0,
    lowest_gbp_per_mwh: float = 40,
) -> Case:
    """Interruptible jobs with windows, whose endowment is a tenth above what their work needs at its flattest.

    Args:
        rigid: data centres that have only jobs that may not pause.
        lowest_gbp_per_mwh: below 0 batteries are paid for charging in some half-hours.
    """
    chance = Random(seed)
    program = _Program(half_hours)
    agents: list[Agent] = [_compute(f"compute-{number}", chance, program) for number in range(compute)]
    agents += [_rigid(f"rigid-{number}", chance, program) for number in range(rigid)]
    agents += [_storage(f"storage-{number}", chance, program, lowest_gbp_per_mwh) for number in range(storage)]
    if with_buyer:
        pays, need = _figures(chance, half_hours, 20, 200), _figures(chance, half_hours, 0, 2)
        agents.append(ReductionBuyer("buyer", pays, need))
        for place in range(half_hours):
            program.column(-HOURS * pays[place], float(need[place]), place, 1.0)
    limit = np.sum([agent.endowment_mw for agent in agents], axis=0)
    return Case(agents, program.least(limit))


def _figures(chance: Random, size: int, low: float, high: float) -> Figures:
    return np.array([chance.uniform(low, high) for _ in range(size)])


def _compute(name: str, chance: Random, program: _Program) -> ComputeAgent:
    size = program.half_hours
    cost = _figures(chance, size, 40, 160)
    jobs = []
    for number in range(chance.randint(1, 4)):
        first = chance.randrange(size - 1)
        end = chance.randint(first + 2, size) if first + 2 <= size else size
        power = chance.uniform(0.5, 2)
        energy = HOURS * power * (end - first) * chance.uniform(0.2, 0.8)
        jobs.append(InterruptibleJob(f"{name}-{number}", energy, power, first, end))
        columns = [program.column(HOURS * cost[place], power, place, 1.0) for place in range(first, end)]
        program.equal.append((dict.fromkeys(columns, HOURS), energy))
    return ComputeAgent(name, np.full(size, 1.1 * _least_ceiling_mw(jobs, size)), cost, jobs)


def _least_ceiling_mw(jobs: Sequence[InterruptibleJob], half_hours: int) -> float:
    """The least constant power within which all of the work fits."""
    places = [(number, place) for number, job in enumerate(jobs) for place in range(job.first, job.end)]
    energy, together = np.zeros((len(jobs), len(places) + 1)), np.zeros((half_hours, len(places) + 1))
    together[:, -1] = -1.0
    for column, (number, place) in enumerate(places):
        energy[number, column] = HOURS
        together[place, column] = 1.0
    found = linprog(
        [*([0.0] * len(places)), 1.0],
        A_ub=together,
        b_ub=np.zeros(half_hours),
        A_eq=energy,
        b_eq=[job.energy_mwh for job in jobs],
        bounds=[*((0, jobs[number].max_power_mw) for number, _ in places), (0, None)],
    )
    assert found.fun is not None
    return float(found.fun)


def _rigid(name: str, chance: Random, program: _Program) -> ComputeAgent:
    """Its endowment is what its jobs draw where each begins at a random time, and never below 0.6 of its most."""
    size = program.half_hours
    cost = _figures(chance, size, 40, 160)
    jobs, endowment = [], np.zeros(size)
    for number in range(chance.randint(2, 4)):
        length, power = chance.randint(1, max(1, size // 4)), chance.uniform(0.5, 2)
        first = chance.randrange(size - length + 1)
        end = chance.randint(first + length, size)
        jobs.append(RigidJob(f"{name}-{number}", power, length, first, end))
        starts = []
        for start in range(first, end - length + 1):
            column = program.column(HOURS * power * cost[start : start + length].sum(), 1.0, None, 0, whole=True)
            program.draws += [(column, place, power) for place in range(start, start + length)]
            starts.append(column)
        program.equal.append((dict.fromkeys(starts, 1.0), 1.0))
        at = chance.randint(first, end - length)
        endowment[at : at + length] += power
    return ComputeAgent(name, np.maximum(endowment, 0.6 * endowment.max()), cost, jobs)


def _storage(name: str, chance: Random, program: _Program, lowest_gbp_per_mwh: float) -> StorageAgent:
    size = program.half_hours
    cost = _figures(chance, size, lowest_gbp_per_mwh, 160)
    power, capacity, wear = chance.uniform(0.5, 2), chance.uniform(1, 4), chance.uniform(0, 5)
    efficiency = chance.uniform(0.8, 1.0)
    charge = capacity * chance.random()
    root = sqrt(efficiency)
    charging = [program.column(HOURS * (cost[place] + wear), power, place, 1.0) for place in range(size)]
    discharging = [program.column(HOURS * (wear - cost[place]), power, place, -1.0) for place in range(size)]
    for place in [place for place in range(size) if cost[place] < 0]:
        either = program.column(0.0, 1.0, None, 0, whole=True)
        program.at_most += [
            ({charging[place]: 1.0, either: -power}, 0.0),
            ({discharging[place]: 1.0, either: power}, power),
        ]
    for place in range(size):
        stored = {charging[each]: HOURS * root for each in range(place + 1)}
        stored |= {discharging[each]: -HOURS / root for each in range(place + 1)}
        drawn = {column: -value for column, value in stored.items()}
        program.at_most += [(stored, capacity - charge), (drawn, charge)]
        if place == size - 1:
            program.at_most.append((drawn, 0.0))
    return StorageAgent(
        name,
        np.zeros(size),
        cost,
        power_mw=power,
        capacity_mwh=capacity,
        charge_mwh=charge,
        round_trip_efficiency=efficiency,
        wear_gbp_per_mwh=wear,
    )


def tight_agents(seed: int, *, compute: int, storage: int, half_hours: int) -> list[Agent]:
    """As in benchmarks/sharing_a_limit.py: an endowment is a tenth above the work spread evenly over its windows."""
    chance = Random(seed)
    program = _Program(half_hours)
    halls: list[Agent] = [_tight(f"c-{number}", chance, half_hours) for number in range(compute)]
    return halls + [_storage(f"s-{number}", chance, program, 40) for number in range(storage)]


def _tight(name: str, chance: Random, half_hours: int) -> ComputeAgent:
    jobs, even = [], np.zeros(half_hours)
    for number in range(chance.randint(1, 4)):
        first = chance.randrange(half_hours - 8)
        end = chance.randint(first + 4, half_hours)
        power = chance.uniform(0.5, 2)
        energy = HOURS * power * (end - first) * chance.uniform(0.2, 0.8)
        jobs.append(InterruptibleJob(f"{name}-{number}", energy, power, first, end))
        even[first:end] += energy / (HOURS * (end - first))
    return ComputeAgent(name, 1.1 * even, _figures(chance, half_hours, 40, 160), jobs)


def three_agents() -> Sequence[Agent]:
    """Two halls and a battery over two half-hours, worked out by hand: the plan is 175.20 at a price of 40."""
    return [
        ComputeAgent("A", _f(1.5, 1.5), _f(80, 120), [InterruptibleJob("a", 1, 2, 0, 2)]),
        ComputeAgent("B", _f(1.5, 1.5), _f(80, 130), [InterruptibleJob("b", 1, 2, 0, 2)]),
        StorageAgent(
            "S",
            _f(0, 0),
            _f(80, 100),
            power_mw=0.8,
            capacity_mwh=1,
            charge_mwh=0.5,
            round_trip_efficiency=1,
            wear_gbp_per_mwh=4,
        ),
    ]


def _f(*figures: float) -> Figures:
    return np.array(figures, dtype=float)
