"""After how many rounds is a negotiation how close to the best plan, and what does it save?

    make bench NAME=sharing_a_limit [ARGS="--compute 8 --storage 2 --rigid 0 --half-hours 48 --draws 4"]

Data centres with one to four interruptible jobs each in windows, and batteries, all drawn at random. A data
centre's endowment is a tenth above what its work needs when it is spread evenly. How far a negotiation is from the
best plan at most is what it certifies itself. With --rigid there are data centres with 5 to 12 jobs that may not
pause, whose endowment is the peak where each job in turn begins where the others leave most room.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import numpy as np
from machine import machine

from negotiation.agents import HOURS, Agent, ComputeAgent, Figures, InterruptibleJob, RigidJob, StorageAgent
from negotiation.coordination import TOLERANCE
from negotiation.rounds import Settlement, negotiate

GAPS = (0.01, 0.001, 0.0001)


def figures(chance: Random, size: int) -> Figures:
    return np.array([chance.uniform(40, 160) for _ in range(size)])


def compute(name: str, chance: Random, half_hours: int) -> ComputeAgent:
    jobs, even = [], np.zeros(half_hours)
    for number in range(chance.randint(1, 4)):
        first = chance.randrange(half_hours - 8)
        end = chance.randint(first + 4, half_hours)
        power = chance.uniform(0.5, 2)
        energy = HOURS * power * (end - first) * chance.uniform(0.2, 0.8)
        jobs.append(InterruptibleJob(f"{name}-{number}", energy, power, first, end))
        even[first:end] += energy / (HOURS * (end - first))
    return ComputeAgent(name, 1.1 * even, figures(chance, half_hours), jobs)


def rigid(name: str, chance: Random, half_hours: int) -> ComputeAgent:
    jobs, drawn = [], np.zeros(half_hours)
    for number in range(chance.randint(5, 12)):
        length, power = chance.randint(2, 12), chance.uniform(0.2, 1)
        first = chance.randrange(half_hours - length)
        end = chance.randint(first + length, half_hours)
        jobs.append(RigidJob(f"{name}-{number}", power, length, first, end))
        start = min(range(first, end - length + 1), key=lambda start: float(drawn[start : start + length].max()))
        drawn[start : start + length] += power
    return ComputeAgent(name, np.full(half_hours, drawn.max()), figures(chance, half_hours), jobs)


def storage(name: str, chance: Random, half_hours: int) -> StorageAgent:
    capacity = chance.uniform(1, 4)
    return StorageAgent(
        name,
        np.zeros(half_hours),
        figures(chance, half_hours),
        power_mw=chance.uniform(0.5, 2),
        capacity_mwh=capacity,
        charge_mwh=capacity * chance.random(),
        round_trip_efficiency=chance.uniform(0.8, 1),
        wear_gbp_per_mwh=chance.uniform(0, 5),
    )


def rounds_to(found: Settlement, gap: float) -> str:
    for number, each in enumerate(found.rounds, 1):
        if each.mixture_gbp - each.lower_bound_gbp <= gap * abs(each.mixture_gbp):
            return str(number)
    return "–"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compute", type=int, default=8)
    parser.add_argument("--storage", type=int, default=2)
    parser.add_argument("--rigid", type=int, default=0)
    parser.add_argument("--half-hours", type=int, default=48)
    parser.add_argument("--draws", type=int, default=4)
    options = parser.parse_args()
    print(machine())
    print("| draw | rounds to 1 / 0.1 / 0.01 % | s | saving | certified gap | Σ payments, £ | worst net − alone, £ |")
    print("|---|---|---|---|---|---|---|")
    for draw in range(options.draws):
        chance = Random(draw)
        agents: list[Agent] = [compute(f"c-{n}", chance, options.half_hours) for n in range(options.compute)]
        agents += [rigid(f"r-{n}", chance, options.half_hours) for n in range(options.rigid)]
        agents += [storage(f"s-{n}", chance, options.half_hours) for n in range(options.storage)]
        began = time.monotonic()
        found = negotiate(agents, tolerance=TOLERANCE if options.rigid else GAPS[-1])
        took_s = time.monotonic() - began
        alone = sum(award.fallback_gbp for award in found.awards)
        print(
            f"| {draw} | {' / '.join(rounds_to(found, gap) for gap in GAPS)} | {took_s:.1f} "
            f"| {100 * (alone - found.cost_gbp) / abs(alone):.1f} % "
            f"| {100 * found.gap_gbp / abs(found.cost_gbp):.2f} % | {sum(a.pays_gbp for a in found.awards):.0e} "
            f"| {max(a.net_gbp - a.fallback_gbp for a in found.awards):.2g} |"
        )


if __name__ == "__main__":
    main()
