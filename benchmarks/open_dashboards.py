"""Do open dashboards hold up the gateway?

    make bench NAME=open_dashboards [ARGS="--dashboards 100 --decisions 100 --turns 2"]

Workloads are inserted four a second, and decided; one client waits for each decision on an event stream, and
`/beckn/llm-output` is polled. In turns with nobody else, and with so many dashboards open: each listens by WebSocket
as the page of decisions does, in short, and after an event asks the API server for the page anew, a quarter of a
second later, then not before two seconds and a hundred times as long as that took
(backend/dashboard/static/refresh.js). The dashboards are one process on the same machine, without a
browser's own work.
"""

from __future__ import annotations

import argparse
import http.client
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from gateways import percentile, sequences, workload, world
from machine import machine
from pages_server import dashboard
from sse_clients import PING, PONG, UPGRADE, sse_clients

from database.interface import Database

EVERY_S = 0.25
POLL_EVERY_S = 0.05
SOON_S = 0.25
LEAST_REST_S = 2.0
REST_FOR_EACH = 100
LONGEST_REST_S = 30.0
ASKING_AT_ONCE = 6
PAGE = "/dashboard/decisions"
SUBSCRIPTION = b'{"type":"subscribe","topics":["decisions"],"detail":"summary"}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dashboards", type=int, default=100)
    parser.add_argument("--decisions", type=int, default=100, help="in each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--open", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        _keep_open(*options.open)
        return
    delivered: dict[int, list[float]] = {0: [], options.dashboards: []}
    polled: dict[int, list[float]] = {0: [], options.dashboards: []}
    with world() as database, dashboard() as (_, gateway_port, port):
        for turn in range(options.turns):
            for opened in delivered:
                with _dashboards(gateway_port, port, opened):
                    names = [f"{turn}-{opened}-{number}" for number in range(options.decisions)]
                    _measure(database, gateway_port, names, delivered[opened], polled[opened])
    print(f"{machine()}; {options.turns} turns of {options.decisions} decisions, four a second\n")
    print("| open dashboards | inserted → delivered p50 | p99 | polling p50 | p99 |\n|---|---|---|---|---|")
    for opened, waits in delivered.items():
        figures = [percentile(values, share) for values in (waits, polled[opened]) for share in (0.5, 0.99)]
        print(f"| {opened} | " + " | ".join(f"{1000 * figure:.1f} ms" for figure in figures) + " |")


def _measure(database: Database, port: int, job_ids: list[str], delivered: list[float], polls: list[float]) -> None:
    done = threading.Event()
    polling = threading.Thread(target=_poll, args=(port, done, polls))
    inserted = {}
    with sse_clients(port, 1, len(job_ids) * EVERY_S + 5, None) as stream:
        polling.start()
        for job_id in job_ids:
            inserted[job_id] = time.time()
            database.insert("compute_workloads", [workload(job_id)])
            time.sleep(EVERY_S)
        done.set()
        polling.join()
        arrivals = stream.arrivals()
    numbers = sequences(database)
    delivered += [arrivals[numbers[job_id]][0] - began for job_id, began in inserted.items()]


def _poll(port: int, done: threading.Event, times: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not done.wait(POLL_EVERY_S):
        began = time.perf_counter()
        connection.request("GET", "/beckn/llm-output")
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()


@contextmanager
def _dashboards(gateway_port: int, port: int, count: int) -> Iterator[None]:
    arguments = [str(gateway_port), str(port), str(count)]
    process = subprocess.Popen([sys.executable, __file__, "--open", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


class _Dashboard:
    """One page: what it hears makes it ask for itself anew, with rests."""

    def __init__(self, gateway_port: int, port: int) -> None:
        frame = bytes((0x81, 0x80 | len(SUBSCRIPTION), 0, 0, 0, 0)) + SUBSCRIPTION
        self.connection = socket.create_connection(("127.0.0.1", gateway_port), timeout=30)
        self.connection.sendall(UPGRADE % b"" + frame)
        if not self.connection.recv(4096).startswith(b"HTTP/1.1 101"):
            raise ConnectionError("the gateway refused a stream")
        self.connection.setblocking(False)
        self.due_at: float | None = None
        self._page = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._not_before = 0.0

    def hear(self) -> None:
        heard = self.connection.recv(65536)
        if not heard:
            raise ConnectionError("the gateway closed a stream")
        if PING in heard:
            self.connection.sendall(PONG)
        if b'"type":"event"' in heard and self.due_at is None:
            self.due_at = max(time.monotonic() + SOON_S, self._not_before)

    def refresh(self) -> None:
        began = time.monotonic()
        self._page.request("GET", PAGE, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
        answer = self._page.getresponse()
        answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{PAGE} was answered {answer.status}")
        ended = time.monotonic()
        self._not_before = ended + min(LONGEST_REST_S, LEAST_REST_S + REST_FOR_EACH * (ended - began))


def _keep_open(gateway_port: int, port: int, count: int) -> None:
    """Until this process is ended."""
    pages = [_Dashboard(gateway_port, port) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for page in pages:
        selector.register(page.connection, selectors.EVENT_READ, page)
    print("open", flush=True)
    with ThreadPoolExecutor(ASKING_AT_ONCE) as asking:
        while True:
            for key, _ in selector.select(0.05):
                key.data.hear()
            now = time.monotonic()
            for page in pages:
                if page.due_at is not None and page.due_at <= now:
                    page.due_at = None
                    asking.submit(page.refresh)


if __name__ == "__main__":
    main()
