"""How far are decisions made one after the other from the best plan of them all? A herd that power is short for.

    make bench NAME=herd [ARGS="--big 400 --data-centres 4 --time-limit 30"]

The gateway's workers decide the herd on a database, each workload on the power that those before it left, and book
it. The same workloads are then planned jointly on the grid and the free power of before: no way to place as many of
them has a smaller J than the plan's certified bound, so the distance to it is the most that planning could save.
"""

from __future__ import annotations

import argparse
import random
import time
from datetime import datetime, timezone

from gateways import world
from machine import machine

from database.interface import Database, OrderBy, Row
from decisions.joint.plan import plan_jointly
from decisions.joint.problem import Job, PlanInputs
from decisions.scoring.context import DecisionContext, Task
from decisions.scoring.signals import read_signals
from decisions.work.present_grid import PresentGrid
from decisions.work.worker import DecisionWorkers

CARBON_PRICE_GBP_PER_T = 100.0
BIG_KW = 250.0
COLUMNS = (
    "may wait, h",
    "placed",
    "left out by the plan",
    "J decided, £",
    "J planned, £",
    "bound, £",
    "decided above it",
    "planned above it",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--big", type=int, default=400, help="workloads of 250 kW for an hour")
    parser.add_argument("--small", type=int, default=100, help="of one GPU for an hour")
    parser.add_argument("--data-centres", type=int, default=4)
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[360, 720, 1440], help="how long they may wait, minutes"
    )
    parser.add_argument("--time-limit", type=float, default=30.0, help="of the joint plan, seconds")
    options = parser.parse_args()
    herd = f"{options.big} of {BIG_KW:g} kW and {options.small} small ones"
    print(f"{machine()}; {herd}, {options.data_centres} data centres\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for window in options.windows:
        with world(data_centres=options.data_centres) as database:
            print(f"| {_row(database, options, window)} |", flush=True)


def _row(database: Database, options: argparse.Namespace, window: int) -> str:
    now = datetime.now(timezone.utc)
    herd = _herd(options.big, options.small, window)
    context = _context(database, now)
    decided_gbp, placed = _decide(database, herd, now)
    tasks = [Task.model_validate({**row, "created_at": now}) for row in herd if row["job_id"] in placed]
    plan = plan_jointly(
        [Job(task, interruptible=False) for task in tasks],
        PlanInputs(now, read_signals(context), context.data_centres, context.capacity),
        monotonic=time.monotonic,
        carbon_price_gbp_per_t=CARBON_PRICE_GBP_PER_T,
        time_limit_s=options.time_limit,
    )
    planned_gbp, bound_gbp = plan.totals.objective_gbp, plan.bound_gbp
    return " | ".join(
        [
            f"{window / 60:g}",
            f"{len(placed)} of {len(herd)}",
            str(plan.left_out_weight),
            f"{decided_gbp:.2f}",
            f"{planned_gbp:.2f}",
            f"{bound_gbp:.2f}",
            f"{decided_gbp / bound_gbp - 1:.2%}",
            f"{planned_gbp / bound_gbp - 1:.2%}",
        ]
    )


def _herd(big: int, small: int, window: int) -> list[Row]:
    """Mixed, as they might come."""
    one: Row = {
        "workload_type": "RAG_QUERY",
        "urgency": "LOW",
        "required_gpu_mins": 60,
        "required_cpu_cores": 8,
        "required_memory_gb": 32,
        "deferral_window_mins": window,
    }
    herd = [{**one, "job_id": f"big-{n:03d}", "estimated_energy_kwh": BIG_KW} for n in range(big)]
    herd += [{**one, "job_id": f"small-{n:03d}", "estimated_energy_kwh": None} for n in range(small)]
    random.Random(1).shuffle(herd)
    return herd


def _context(database: Database, now: datetime) -> DecisionContext:
    """The grid and what is free before anything is decided."""
    task = Task.model_validate({**_herd(1, 0, 0)[0]})
    return PresentGrid(database).context(task, "before", now)


def _decide(database: Database, herd: list[Row], now: datetime) -> tuple[float, set[str]]:
    """The sum of J of those that found a place, in pounds, and which they are."""
    database.insert("compute_workloads", herd)
    workers = DecisionWorkers(
        database,
        agent_id="herd",
        clock=lambda: now,
        carbon_price_gbp_per_t=CARBON_PRICE_GBP_PER_T,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
    while workers.work_once():
        pass
    decisions = database.select("orchestration_decisions", order=OrderBy(("sequence",)))
    placed = {row["job_id"]: row["output"]["data_centre_options"][0] for row in decisions if row["chosen_dc_id"]}
    return sum(sum(option["score_breakdown"].values()) for option in placed.values()), set(placed)


if __name__ == "__main__":
    main()
