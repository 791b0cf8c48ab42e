"""Does one operator's flood delay another's job? Ten thousand of A's wait, and then B submits one.

    make bench NAME=tenant_flood [ARGS="--jobs 10000 --times 20"]

One gateway, the deterministic scorer, eight data centres, the embedded database. B submits one job after the other,
each when the one before is decided; counted from before the insertion to when its event is in the log. The same is
done while nobody else has anything, for comparison.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import psutil
from gateways import gateway, workload, world
from machine import machine

from database.interface import Database, OrderBy, Where

BATCH = 500
LOOKED_EVERY_S = 0.005
GIVE_UP_AFTER_S = 120.0
PAUSE_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    print(f"{machine()}; one gateway with 4 workers, {options.times} jobs of B\n")
    print("| of A's wait, first and last | B's decided after: median, s | longest, s |")
    print("|---|---|---|")
    with world() as database, gateway() as running:
        for operator in ("op-a", "op-b"):
            database.call("tenancy_set_operator", {"p_operator": {"operator_id": operator}})
        _print("nobody's", database, "alone", options.times)
        (deciding,) = psutil.Process(running.pid).children()
        deciding.suspend()
        try:
            for first in range(0, options.jobs, BATCH):
                numbers = range(first, min(first + BATCH, options.jobs))
                rows = [workload(f"flood-{number}") | {"operator": "op-a"} for number in numbers]
                database.insert("compute_workloads", rows)
        finally:
            deciding.resume()
        _print(None, database, "beside", options.times)


def _print(wait: str | None, database: Database, name: str, times: int) -> None:
    before = _waiting(database)
    taken = []
    for number in range(times):
        taken.append(_decided_after(database, f"{name}-{number}"))
        time.sleep(PAUSE_S)
    shown = wait or f"{before:,}, {_waiting(database):,}"
    print(f"| {shown} | {median(taken):.3f} | {max(taken):.3f} |", flush=True)


def _decided_after(database: Database, job_id: str) -> float:
    began = time.perf_counter()
    database.insert("compute_workloads", [workload(job_id) | {"operator": "op-b"}])
    where, order = [Where("job_id", job_id)], OrderBy(("decision_id",))
    # Stored by the transaction that publishes its event.
    while not database.select("orchestration_decisions", where=where, order=order, columns=["decision_id"]):
        if time.perf_counter() - began > GIVE_UP_AFTER_S:
            raise TimeoutError(f"{job_id} was not decided in {GIVE_UP_AFTER_S} s")
        time.sleep(LOOKED_EVERY_S)
    return time.perf_counter() - began


def _waiting(database: Database) -> int:
    queue = database.call("queue_health")
    return int(queue["depth"] + queue["in_flight"])


if __name__ == "__main__":
    main()
