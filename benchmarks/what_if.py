"""How soon is a what-if answered? POST /api/v1/plan over loopback: eight data centres, the embedded database.

    make bench NAME=what_if [ARGS="--requests 500 --data-centres 8"]

One client asks on one connection, one question after the other; the answer is the full output of a decision. `of it`
are the parts of the same work, done in this process: the read of what is free and, where it has changed, of the grid;
the decision, and its output as JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone

from flask import Flask
from gateways import gateway, percentile, workload, world
from machine import machine

from api.what_if import read_context
from api_application import create_app
from database.interface import Database
from database.opening import open_database
from decisions.publishing.output import build_output
from decisions.scoring.context import Task
from decisions.scoring.decide import decide
from decisions.work.present_grid import PresentGrid
from settings import load_settings
from web.serving_process import serve

WARM_UP = 30
WORKLOAD = workload("what-if")


@contextmanager
def application() -> Iterator[Flask]:
    """The API over the benchmark's database, without the pipeline's schedule."""
    settings = load_settings()
    with closing(open_database(settings)) as database:
        yield create_app(database, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--data-centres", type=int, default=8)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        # `gateway` chooses the port of what it starts, and gives it as the gateway's.
        serve("what_if:application", "127.0.0.1", load_settings().bg_port)
        return
    with world(data_centres=options.data_centres) as database:
        with gateway(__file__, "--serve") as running:
            times_ms = _ask(running.port, options.requests)
        parts_ms = _parts(database, options.requests)
    print(f"{machine()}; {options.data_centres} data centres, {options.requests} requests, one after the other\n")
    print("| POST /api/v1/plan | p50, ms | p90, ms | p99, ms |")
    print("|---|---|---|---|")
    for name, values in {"answered": times_ms, **parts_ms}.items():
        print(f"| {name} | {' | '.join(f'{percentile(values, share):.2f}' for share in (0.5, 0.9, 0.99))} |")


def _ask(port: int, requests: int) -> list[float]:
    """How long each answer takes, in ms."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps(WORKLOAD)

    def ask() -> None:
        connection.request("POST", "/api/v1/plan", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"POST /api/v1/plan answered {answer.status}: {text[:300]!r}")

    times_ms = _times_ms(ask, requests)
    connection.close()
    return times_ms


def _parts(database: Database, requests: int) -> dict[str, list[float]]:
    """The same work without HTTP, in ms."""
    now = datetime.now(timezone.utc)
    task = Task.model_validate(WORKLOAD)
    present = PresentGrid(database)
    context = read_context(present, task, now=now, at=None)

    def read() -> None:
        database.call("grid_context", {"p_now": now}, repeatable=True)

    def read_and_check() -> None:
        read_context(present, task, now=now, at=None)

    def write() -> None:
        build_output(decide(context), generated_at=now).model_dump_json()

    return {
        "the read of a grid that is not known yet": _times_ms(read, requests),
        "of it the read of what is free, and of the grid if it has changed": _times_ms(read_and_check, requests),
        "the decision and its output": _times_ms(write, requests),
    }


def _times_ms(act: Callable[[], None], times: int) -> list[float]:
    """How long each call takes, after a warm-up."""
    measured: list[float] = []
    for number in range(WARM_UP + times):
        began = time.perf_counter()
        act()
        if number >= WARM_UP:
            measured.append(1000 * (time.perf_counter() - began))
    return measured


if __name__ == "__main__":
    main()
