"""How quick are the API's answers, beside an earlier version's: what-ifs, the live state, and "not modified" (304)?

    git worktree add --detach /tmp/before 64b5247        (the last version that made every answer anew)
    make bench NAME=api_answers ARGS="--before /tmp/before [--rounds 5]"

Each version's API server over its own embedded database: the synthetic grid, eight data centres, a hundred workloads
that hold power. They are asked in turns. A 304 is compared with a bare Flask hello of the same server in the same
turn; the ratios are medians of those of the turns. `beside writes`: something is written fifty times a second
meanwhile, so that nothing stays ready for longer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from flask import Flask
from gateways import free_port, percentile, workload, world
from machine import machine

from api_application import create_app
from database.interface import Database
from database.opening import open_database
from settings import load_settings

HERE = Path(__file__).resolve().parent
BOOKED = 100
READY_WITHIN_S = 60.0
WRITES_PER_S = 50
DOCUMENTS = (
    "/api/v1/live-state",
    "/api/v1/grid/regional",
    "/api/v1/grid/forecast",
    "/api/v1/objects/DataCentre",
    "/api/v1/ontology",
)
CLIENTS = (1, 4, 16)


@contextmanager
def application() -> Iterator[Flask]:
    """The API over the benchmark's database, with a bare hello beside it, and without the pipeline's schedule."""
    settings = load_settings()
    with closing(open_database(settings)) as database:
        app = create_app(database, settings)
        app.add_url_rule("/hello", view_func=lambda: {"hello": "world"})
        yield app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="where an earlier version is checked out; else it is left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--requests", type=int, default=400, help="of each kind and turn; of the live state a quarter"
    )
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        _serve_world(options.serve)
        return
    trees = {"earlier": options.before, "this": HERE.parent}
    versions: list[Version] = []
    try:
        for name, tree in trees.items():
            if tree is not None:
                versions.append(Version(name, tree.resolve()))
                versions[-1].wait_until_ready()  # one after the other: a start takes a processor to itself
        for number in range(options.rounds):
            for version in versions if number % 2 else versions[::-1]:
                version.take_turn(options.requests)
    finally:
        for version in versions:
            version.stop()
    print(f"{machine()}; 8 data centres, {BOOKED} workloads hold power, {options.rounds} turns of each version\n")
    for version in versions:
        version.print()


@dataclass
class Version:
    """A version's server, and what was measured of it: by name, one value a turn."""

    name: str
    tree: Path
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.port = free_port()
        # Its own modules, and this benchmark's.
        modules = os.pathsep.join([str(self.tree / "backend"), str(HERE)])
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - for as long as the process runs
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(self.port)],
            env=os.environ | {"PYTHONPATH": modules, "API_PORT": str(self.port)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )

    def wait_until_ready(self) -> None:
        self.tell("")  # answered when its world is there
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the {self.name} version's server did not become ready")
            time.sleep(0.1)

    def tell(self, line: str) -> None:
        """Tell the process that holds its world something, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            done = self._process.stdout.readline()
        except BrokenPipeError:
            done = ""
        if not done:
            raise RuntimeError(f"the {self.name} version's process has ended: {self._last_words()}")

    def _last_words(self) -> str:
        self._process.wait(timeout=30)
        self._complaints.seek(0)
        return "".join(self._complaints.readlines()[-5:]).strip()

    def stop(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, and that was told
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def take_turn(self, requests: int) -> None:
        body = json.dumps(workload("what-if"))
        times_ms = self._drive(1, requests, lambda client: client.post("/api/v1/plan", body))
        self._note("POST /api/v1/plan: p50, ms", percentile(times_ms, 0.5))
        self._note("POST /api/v1/plan: p99, ms", percentile(times_ms, 0.99))
        numbers = count(1)

        def ask_of_another(client: _Client) -> object:
            return client.post("/api/v1/plan", json.dumps(workload("what-if") | {"required_gpu_mins": next(numbers)}))

        times_ms = self._drive(1, requests, ask_of_another)
        self._note("POST /api/v1/plan, another workload each time: p50, ms", percentile(times_ms, 0.5))
        self._note("GET /api/v1/live-state: a second", self._rate(4, requests // 4, "/api/v1/live-state"))
        for clients in CLIENTS:
            hello = self._rate(clients, requests, "/hello")
            self._note(f"bare hello, {clients} clients: a second", hello)
            for path in DOCUMENTS:
                etag = _Client(self.port).get(path).getheader("ETag")
                if etag is not None:
                    rate = self._rate(clients, requests, path, etag)
                    self._note(f"304 of {path}, {clients} clients: of hello", rate / hello)
        self.tell("write")
        times_ms = self._drive(1, requests // 4, lambda client: client.post("/api/v1/plan", body))
        self._note("beside writes, POST /api/v1/plan: p50, ms", percentile(times_ms, 0.5))
        rate = self._rate(4, requests // 10, "/api/v1/live-state")
        self._note("beside writes, GET /api/v1/live-state: a second", rate)
        self.tell("rest")

    def print(self) -> None:
        print(f"| {self.name} version | median | worst turn |\n|---|---|---|")
        for name, values in self.values.items():
            worst = max(values) if name.endswith("ms") else min(values)
            print(f"| {name} | {median(values):.2f} | {worst:.2f} |")
        print()

    def _answers(self) -> bool:
        try:
            _Client(self.port).get("/hello")
        except OSError:
            return False
        return True

    def _note(self, name: str, value: float) -> None:
        self.values[name].append(value)

    def _rate(self, clients: int, requests: int, path: str, etag: str | None = None) -> float:
        """Requests a second; each is answered 304 where the client has something, else 200."""
        headers = {} if etag is None else {"If-None-Match": etag}
        expected = 200 if etag is None else 304

        def ask(client: _Client) -> None:
            client.get(path, headers, expected)

        began = time.perf_counter()
        times_ms = self._drive(clients, requests, ask)
        return len(times_ms) / (time.perf_counter() - began)

    def _drive(self, clients: int, requests: int, ask: Callable[[_Client], object]) -> list[float]:
        """How long each request took, in ms."""
        times_ms: list[float] = []
        failures: list[BaseException] = []

        def drive() -> None:
            client = _Client(self.port)
            try:
                for _ in range(max(1, requests // clients)):
                    began = time.perf_counter()
                    ask(client)
                    times_ms.append(1000 * (time.perf_counter() - began))
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                failures.append(error)

        threads = [threading.Thread(target=drive) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return times_ms


class _Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str, headers: dict[str, str] | None = None, expected: int = 200) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers=headers or {})
        return self._answer(path, expected)

    def post(self, path: str, body: str) -> http.client.HTTPResponse:
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        return self._answer(path, 200)

    def _answer(self, path: str, expected: int) -> http.client.HTTPResponse:
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{path} answered {answer.status}: {text[:300]!r}")
        return answer


def _serve_world(port: int) -> None:
    """A world of this version, and its server, until nobody tells this process anything any more."""
    with world(data_centres=8) as database:
        _book(database)
        command = f"from web.serving_process import serve; serve('api_answers:application', '127.0.0.1', {port})"
        server = subprocess.Popen([sys.executable, "-c", command], stdout=sys.stderr)
        writing = threading.Event()
        ended = threading.Event()
        writer = threading.Thread(target=_write, args=(database, writing, ended))
        writer.start()
        try:
            for line in sys.stdin:
                if line.strip() == "write":
                    writing.set()
                elif line.strip() == "rest":
                    writing.clear()
                print("done", flush=True)
        finally:
            ended.set()
            writer.join()
            server.terminate()
            server.wait(timeout=30)


def _book(database: Database) -> None:
    """Workloads that hold power at all data centres, in the next day."""
    now = datetime.now(timezone.utc)
    jobs = [{**workload(f"job-{number}"), "status": "QUEUED"} for number in range(BOOKED)]
    stored = database.insert("compute_workloads", jobs)
    bookings: list[dict[str, Any]] = []
    for number, row in enumerate(stored):
        starts_at = now + timedelta(minutes=13 * number)
        bookings.append(
            {
                "dc_id": f"DC-{number % 8 + 1:03d}",
                "tenant": row["tenant"],
                "job_id": row["job_id"],
                "source": "decision",
                "starts_at": starts_at,
                "ends_at": starts_at + timedelta(hours=2),
                "it_power_kw": 10 + number,
                "carried_out_by": "simulation",
                "scheduled_at": starts_at,
            }
        )
    database.insert("capacity_bookings", bookings)


def _write(database: Database, writing: threading.Event, ended: threading.Event) -> None:
    while not ended.wait(1 / WRITES_PER_S):
        if writing.is_set():
            now = datetime.now(timezone.utc)
            database.upsert("write_probe", [{"only_row": True, "written_at": now}], conflict=["only_row"])


if __name__ == "__main__":
    main()
