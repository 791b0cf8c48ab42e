"""How fast does a backlog become decisions? Beside queue libraries that drain jobs which do nothing.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install 'procrastinate[psycopg]' pgqueuer    (only to compare)
    make bench NAME=gateway_backlog [ARGS="--jobs 5000 --peer /tmp/peer/bin/python"]

One gateway, the deterministic scorer, the embedded database, all on this machine; all queues are filled before they
are drained, and take turns. Each of our decisions scores every data centre, takes the power, and writes an audit row,
an event, the workload and the notification in one transaction; the peers' handlers are empty. Where other programs
run on the machine, CPU time says more than the rates; the database server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from gateways import cpu_seconds, gateway, workload, world
from machine import machine

from database.interface import Database

BATCH = 500
FEWEST_JOBS = 96  # some batches for every worker
PEER = Path(__file__).with_name("empty_jobs.py")


@dataclass(frozen=True)
class Drained:
    """A backlog's end: jobs a second, and CPU milliseconds of the process for each."""

    name: str
    rate: float
    cpu_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--peer", help="a Python with the other libraries; nothing is compared without")
    parser.add_argument("--libraries", nargs="*", default=["procrastinate", "pgqueuer"], help="which of them")
    parser.add_argument("--data-centres", type=int, nargs="*", default=[8, 100, 1000], help="for the second table")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}; {options.jobs} jobs, one process of each kind with 4 workers; median of {options.rounds}\n")
    with world() as database:
        ours: list[Drained] = []
        peers: dict[str, list[Drained]] = {library: [] for library in options.libraries if options.peer}
        for number in range(options.rounds):
            ours.append(_drain(database, options.jobs, f"round-{number}"))
            for library, drained in peers.items():
                drained.append(_drain_peer(options.peer, library, options.jobs))
    print("| queue | jobs/s | ours, of it | CPU of the process per job, ms |")
    print("|---|---|---|---|")
    print(f"| ours: 8 data centres scored, 5 rows written | {_medians(ours, '1')} |")
    for drained in peers.values():
        ratio = median(our.rate / peer.rate for our, peer in zip(ours, drained, strict=True))
        print(f"| {drained[0].name}: an empty handler | {_medians(drained, f'{ratio:.2f}')} |", flush=True)
    print("\n| data centres | decisions/s | ms per decision | µs per decision and data centre | CPU, ms |")
    print("|---|---|---|---|---|")
    for data_centres in options.data_centres:
        with world(data_centres=data_centres) as database:
            alone = _drain(database, max(FEWEST_JOBS, min(options.jobs, 40_000 // data_centres)), "job")
        print(
            f"| {data_centres} | {alone.rate:.1f} | {1000 / alone.rate:.2f} "
            f"| {1e6 / alone.rate / data_centres:.0f} | {alone.cpu_ms:.2f} |",
            flush=True,
        )


def _drain(database: Database, jobs: int, name: str) -> Drained:
    """A gateway that finds a backlog: its deciding half is held until the queue is full."""
    with gateway() as running:
        database.insert("compute_workloads", [workload(f"{name}-warm-up")])
        _wait_until_empty(database)
        (deciding,) = psutil.Process(running.pid).children()
        deciding.suspend()
        try:
            for first in range(0, jobs, BATCH):
                rows = [workload(f"{name}-{number}") for number in range(first, min(first + BATCH, jobs))]
                database.insert("compute_workloads", rows)
            before, began = cpu_seconds(running.pid), time.perf_counter()
        finally:
            deciding.resume()
        _wait_until_empty(database)
        elapsed = time.perf_counter() - began
        return Drained("ours", jobs / elapsed, 1000 * (cpu_seconds(running.pid) - before) / jobs)


def _wait_until_empty(database: Database) -> None:
    while True:
        queue = database.call("queue_health")
        if queue["dead"]:
            raise RuntimeError(f"{queue['dead']} notifications are dead")
        if queue["depth"] + queue["in_flight"] == 0:
            return
        time.sleep(0.05)


def _drain_peer(python: str, library: str, jobs: int) -> Drained:
    socket_dir = Path(os.environ["PYLON_DATA_DIR"]) / "postgres"
    command = [python, str(PEER), str(socket_dir), str(jobs), library]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    found = json.loads(run.stdout)
    return Drained(found["library"], found["rate"], found["cpu_ms"])


def _medians(drained: list[Drained], ratio: str) -> str:
    return f"{median(each.rate for each in drained):.0f} | {ratio} | {median(each.cpu_ms for each in drained):.2f}"


if __name__ == "__main__":
    main()
