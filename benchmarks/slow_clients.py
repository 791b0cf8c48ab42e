"""How long do others wait for the gateway beside clients that never read, or many that ask for the catalogue at once?

make bench NAME=slow_clients ARGS="--streams 500 --catalogues 50"
"""

from __future__ import annotations

import argparse
import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import psutil
import psycopg
from gateways import Gateway, gateway, percentile, workload, world
from machine import machine

from database.interface import Database

EVENTS = 2000
EVENT_BYTES = 20_000
WORKLOADS = 2000
WATCH_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--catalogues", type=int, default=50)
    options = parser.parse_args()
    with world() as database:
        _fill(database)
        with gateway() as running:
            print(f"{machine()}; {EVENTS} events of {EVENT_BYTES} bytes, {WORKLOADS} open workloads\n")
            print("| beside | /health, p50 ms | p99 ms | worst ms | the gateway's memory, MB |")
            print("|---|---|---|---|---|")
            _report("nobody", running, _nobody)
            _report(
                f"{options.catalogues} requests for 1,000 workloads of the catalogue",
                running,
                partial(_ask_for_catalogues, running.port, options.catalogues),
            )
            for after in (0, EVENTS - 60):
                _report(
                    f"{options.streams} streams after event {after} that never read",
                    running,
                    partial(_open_streams, running.port, options.streams, after),
                )


def _fill(database: Database) -> None:
    database.insert("compute_workloads", [workload(f"open-{number}") for number in range(WORKLOADS)])
    with psycopg.connect(database.conninfo, autocommit=True) as connection:  # type: ignore[attr-defined]
        connection.execute(
            """
            insert into broadcast_log (sequence, event_type, event)
            select coalesce((select max(sequence) from broadcast_log), 0) + n, 'test',
                jsonb_build_object('n', n, 'padding', repeat('x', %s))
            from generate_series(1, %s) as n
            """,
            [EVENT_BYTES, EVENTS],
        )


def _report(beside: str, running: Gateway, begin: Callable[[ExitStack], object]) -> None:
    times_ms: list[float] = []
    memory_mb = 0.0
    process = psutil.Process(running.pid)
    with ExitStack() as stack:
        starting = threading.Thread(target=begin, args=(stack,))
        starting.start()
        end = time.monotonic() + WATCH_S
        while time.monotonic() < end:
            began = time.perf_counter()
            running.get("/health")
            times_ms.append(1000 * (time.perf_counter() - began))
            memory_mb = max(memory_mb, process.memory_info().rss / 1e6)
            time.sleep(0.02)
        starting.join()
    figures = (percentile(times_ms, 0.5), percentile(times_ms, 0.99), max(times_ms), memory_mb)
    print(f"| {beside} | {' | '.join(f'{figure:.0f}' for figure in figures)} |", flush=True)
    time.sleep(2)


def _nobody(_: ExitStack) -> None:
    """Others are not there."""


def _ask_for_catalogues(port: int, count: int, _: ExitStack) -> None:
    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/beckn/catalog?limit=1000")
        connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _open_streams(port: int, count: int, after: int, stack: ExitStack) -> None:
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        connection.sendall(f"GET /beckn/broadcast?after={after} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


if __name__ == "__main__":
    main()
