"""How long does the server take for the dashboard's pages, with ten thousand workloads?

    make bench NAME=dashboard_pages [ARGS="--workloads 10000 --decided 500 --requests 40"]

One process, no network: each page is asked of the application itself, database and all, one request at a time.
Workloads are of all types and states; some hundreds are decided. The aim is 50 ms for a page and a filter.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta, timezone
from statistics import median

from flask import Flask
from gateways import percentile, workload, world
from machine import machine

from api_application import create_app
from database.interface import Database, Row
from decisions.work.worker import DecisionWorkers
from settings import load_settings
from vocabulary import WorkloadStatus, WorkloadType

AIM_MS = 50
AT_ONCE = 1000
WAITING = WorkloadStatus.PENDING
PAGES = (
    "/dashboard/workloads",
    "/dashboard/workloads?status=COMPLETED",
    "/dashboard/workloads?status=FAILED&workload_type=RAG_QUERY",
    "/dashboard/workloads?operator=nobody",
    "/dashboard/workloads?after=job-5000",
    "/dashboard/decisions",
    "/dashboard/decisions?scorer=deterministic&dc_id=DC-001",
    "/dashboard/orders",
    "/dashboard/operations",
    "/dashboard/savings",
    "/dashboard/",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--decided", type=int, default=500)
    parser.add_argument("--requests", type=int, default=40, help="of each page")
    options = parser.parse_args()
    with world(data_centres=8) as database:
        fill(database, options.workloads, options.decided)
        app = create_app(database, load_settings())
        print(f"{machine()}; {options.workloads} workloads, {options.decided} decided, {options.requests} requests\n")
        print(f"{'page':<62} {'p50':>7} {'p95':>7} {'kB':>6}")
        for path in PAGES:
            taken_ms, size = measured(app, path, options.requests)
            mark = "" if median(taken_ms) <= AIM_MS else "  over the aim"
            print(f"{path:<62} {median(taken_ms):7.1f} {percentile(taken_ms, 0.95):7.1f} {size / 1000:6.0f}{mark}")


def fill(database: Database, workloads: int, decided: int) -> None:
    """Workloads that ended or wait, an eighth of a minute apart, and the newest of them decided."""
    ended = [status for status in WorkloadStatus if status is not WAITING]
    kinds = list(WorkloadType)
    first = datetime.now(timezone.utc) - timedelta(days=2)
    rows: list[Row] = [
        {
            **workload(f"job-{number}"),
            "workload_type": kinds[number % len(kinds)],
            "status": WAITING if number >= workloads - decided else ended[number % len(ended)],
            "created_at": first + timedelta(seconds=8 * number),
        }
        for number in range(workloads)
    ]
    for begun in range(0, workloads, AT_ONCE):
        database.insert("compute_workloads", rows[begun : begun + AT_ONCE])
    workers = DecisionWorkers(
        database,
        agent_id="gateway:bench:1",
        clock=lambda: datetime.now(timezone.utc),
        carbon_price_gbp_per_t=100,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
    done = 0
    while done < decided and (taken := workers.work_once()):
        done += taken


def measured(app: Flask, path: str, requests: int) -> tuple[list[float], int]:
    """How long each request took, in milliseconds, after one to warm up; and how long the page is, in bytes."""
    client = app.test_client()
    size = 0
    taken_ms = []
    for number in range(requests + 1):
        begun = time.perf_counter()
        answer = client.get(path, base_url="http://127.0.0.1:5000")
        if number:
            taken_ms.append(1000 * (time.perf_counter() - begun))
        assert answer.status_code == 200, (path, answer.status_code)
        size = len(answer.data)
    return taken_ms, size


if __name__ == "__main__":
    main()
