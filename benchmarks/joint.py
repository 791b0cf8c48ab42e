"""How good and how fast are joint plans? 8 data centres x 96 half-hours, whose free capacity the jobs fill by 60 %.

    make bench NAME=joint [ARGS="--jobs 20 50 100 200 500 --time-limit 10 --fill 0.6"]

`gap` is what the plan proves about itself: how far above the best possible sum of J it can be at most. Beside it
stand two simpler plans against the same bound: first come, first served, and the biggest jobs first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

import numpy as np
from machine import machine

from decisions.joint.local_search import WorkingPlan
from decisions.joint.plan import JointPlan, plan_jointly
from decisions.joint.problem import Assignment, Job, JointProblem, PlanInputs, pose_problem
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.objective import Terms
from decisions.scoring.signals import GridSignals
from vocabulary import DataCentreStatus, Policy, Urgency, WorkloadType

AS_OF = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
DATA_CENTRES = 8
HALF_HOURS = 96
KINDS: dict[str, float] = {"no pauses": 0.0, "half interruptible": 0.5, "all interruptible": 1.0}
"""The share of interruptible jobs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[20, 50, 100, 200, 500])
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--fill", type=float, default=0.6)
    options = parser.parse_args()
    print(f"{machine()}; time limit {options.time_limit:g} s\n")
    print("| jobs | kind | method | left out | gap | time, s | biggest first | first come, first served |")
    print("|---|---|---|---|---|---|---|---|")
    for count in options.jobs:
        for kind, interruptible in KINDS.items():
            jobs, surroundings = scenario(count, interruptible=interruptible, fill=options.fill)
            began = time.perf_counter()
            plan = plan_jointly(jobs, surroundings, monotonic=time.monotonic, time_limit_s=options.time_limit)
            took_s = time.perf_counter() - began
            problem = pose_problem(jobs, surroundings, Terms.of(Policy.BALANCED))
            numbers = range(len(problem.placeable))
            work_kwh = [choices.work_kwh for choices in problem.options]
            biggest = _in_turn(problem, np.argsort(np.negative(work_kwh), kind="stable").tolist())
            as_they_come = _in_turn(problem, numbers)
            cells = [
                f"{plan.method}{', out of time' if plan.cut_short else ''}",
                str(plan.left_out_weight),
                "-" if plan.gap is None else f"{plan.gap:.2%}",
                f"{took_s:.1f}",
                _above(plan, biggest),
                _above(plan, as_they_come),
            ]
            print(f"| {count} | {kind} | {' | '.join(cells)} |", flush=True)


def scenario(count: int, *, interruptible: float, fill: float, seed: int = 1) -> tuple[Sequence[Job], PlanInputs]:
    """Jobs of 8 to 256 GPUs for half an hour to twelve hours that may wait for six hours to two days."""
    rng = np.random.default_rng(seed)
    half_hours = np.arange(HALF_HOURS)
    day = 2 * np.pi * half_hours / 48
    level = rng.uniform(40, 260, DATA_CENTRES)[:, None]
    swing = 60 * np.sin(day + rng.uniform(0, 2 * np.pi, (DATA_CENTRES, 1)))
    carbon = np.maximum(0.0, level + swing + rng.normal(0, 15, (DATA_CENTRES, HALF_HOURS)))
    signals = GridSignals(
        origin=AS_OF,
        price_gbp_per_mwh=80 + 30 * np.sin(day) + rng.normal(0, 5, HALF_HOURS),
        grid_stress_score=0.4 + 0.3 * np.sin(day),
        carbon_intensity_gco2_per_kwh=np.vstack((carbon, np.full(HALF_HOURS, np.nan))),
        rows={region: region for region in range(DATA_CENTRES)},
    )
    hours = rng.integers(1, 25, count) / 2
    power_kw = rng.choice([8, 16, 32, 64, 128, 256], count) * 0.96
    waits_mins = rng.integers(12, 97, count) * 30
    urgencies = rng.choice([Urgency.LOW, Urgency.MEDIUM, Urgency.HIGH], count, p=[0.5, 0.4, 0.1])
    pauses = rng.random(count) < interruptible
    jobs = [
        Job(
            Task(
                job_id=f"job-{number:03d}",
                workload_type=WorkloadType.RAG_QUERY,
                urgency=Urgency(urgencies[number]),
                required_gpu_mins=60 * float(hours[number]),
                estimated_energy_kwh=float(power_kw[number] * hours[number]),
                deferral_window_mins=float(waits_mins[number]),
            ),
            bool(pauses[number]),
        )
        for number in range(count)
    ]
    needed_kwh = float((power_kw * hours).sum())
    mean_kw = needed_kwh / fill / (HALF_HOURS / 2) / DATA_CENTRES
    free_kw = np.maximum(mean_kw * rng.uniform(0.6, 1.4, DATA_CENTRES), power_kw.max())
    pue = rng.uniform(1.1, 1.6, DATA_CENTRES)
    centres = tuple(
        DataCentre(
            dc_id=f"DC-{region:03d}",
            name=f"Data centre {region}",
            region_id=region,
            location_region=f"Region {region}",
            pue=float(pue[region]),
            total_capacity_teraflops=1,
            total_capacity_mw=float(free_kw[region]) / 1000,
            current_load_percentage=0,
            flexibility_rating=0.5,
            status=DataCentreStatus.ACTIVE,
        )
        for region in range(DATA_CENTRES)
    )
    return jobs, PlanInputs(AS_OF, signals, centres)


def _in_turn(problem: JointProblem, order: Iterable[int]) -> Assignment:
    """Each job to its best place with room, in some order."""
    plan = WorkingPlan(problem)
    for number in order:
        plan.put_cheapest(number)
    return plan.assignment()


def _above(plan: JointPlan, other: Assignment) -> str:
    """How far a simpler plan is above the bound; plans that leave out more are not compared."""
    if other.left_out_weight > plan.left_out_weight:
        return f"leaves out {other.left_out_weight}"
    return f"+{other.objective_gbp / plan.bound_gbp - 1:.1%}"


if __name__ == "__main__":
    main()
