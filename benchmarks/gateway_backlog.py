"""How fast does a backlog become decisions? Beside a queue library that drains jobs which do nothing.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install 'procrastinate[psycopg]'        (only to compare)
    make bench NAME=gateway_backlog [ARGS="--jobs 5000 --peer /tmp/peer/bin/python"]

One gateway, the deterministic scorer, the embedded database, all on this machine. Each of our decisions reads the
grid, scores every data centre, and writes an audit row, an event, the workload and the notification in one
transaction; the peer's handler is empty.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

from gateways import cpu_seconds, gateway, workload, world
from machine import machine

from supabase_client import Database, Order

BATCH = 500
FEWEST_JOBS = 96  # some batches for every worker
PEER = Path(__file__).with_name("empty_jobs.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--peer", help="a Python with procrastinate; nothing is compared without")
    parser.add_argument("--data-centres", type=int, nargs="*", default=[8, 100, 1000], help="for the second table")
    options = parser.parse_args()
    print(f"{machine()}; {options.jobs} jobs, one process of each kind with 4 workers\n")
    print("| queue | jobs/s | CPU of the process per job, ms |")
    print("|---|---|---|")
    with world() as database:
        rate, cpu_ms = _drain(database, options.jobs)
        print(f"| ours: 8 data centres scored, 4 rows written | {rate:.0f} | {cpu_ms:.2f} |", flush=True)
        if options.peer:
            found = _drain_peer(options.peer, options.jobs)
            print(f"| {found['library']}: an empty handler | {found['rate']:.0f} | {found['cpu_ms']:.2f} |")
            print(f"\nOurs is {rate / found['rate']:.2f} of it.")
    print("\n| data centres | decisions/s | ms per decision | µs per decision and data centre |")
    print("|---|---|---|---|")
    for data_centres in options.data_centres:
        with world(data_centres=data_centres) as database:
            rate, _ = _drain(database, max(FEWEST_JOBS, min(options.jobs, 40_000 // data_centres)))
        print(f"| {data_centres} | {rate:.1f} | {1000 / rate:.2f} | {1e6 / rate / data_centres:.0f} |", flush=True)


def _drain(database: Database, jobs: int) -> tuple[float, float]:
    """Decisions a second and CPU milliseconds a decision of a gateway that finds a backlog."""
    with gateway() as running:
        database.insert("compute_workloads", [workload("warm-up")])
        _wait_for(database, 1)
        before, began = cpu_seconds(running.pid), time.perf_counter()
        for first in range(0, jobs, BATCH):
            last = min(first + BATCH, jobs)
            database.insert("compute_workloads", [workload(f"job-{number}") for number in range(first, last)])
        _wait_for(database, jobs + 1)
        elapsed = time.perf_counter() - began
        return jobs / elapsed, 1000 * (cpu_seconds(running.pid) - before) / jobs


def _wait_for(database: Database, sequence: int) -> None:
    newest = Order(("sequence",), descending=True)
    while True:
        rows = database.select("broadcast_log", order=newest, limit=1, columns=["sequence"])
        if rows and rows[0]["sequence"] >= sequence:
            return
        time.sleep(0.05)


def _drain_peer(python: str, jobs: int) -> dict[str, float]:
    socket_dir = Path(os.environ["PYLON_DATA_DIR"]) / "postgres"
    run = subprocess.run(
        [python, str(PEER), str(socket_dir), str(jobs)], stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    main()
