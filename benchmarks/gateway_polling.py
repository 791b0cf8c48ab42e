"""What does a poll cost? `/beckn/llm-output` with its ETag beside a bare Flask hello, on the same server.

    make bench NAME=gateway_polling [ARGS="--rounds 15 --seconds 1 --clients 1 4 16"]

Keep-alive clients in a process of their own. Every poll is answered as of a moment after it was asked: the database
says each time which output is the newest. The requests take turns in short rounds, and every figure is the median of
the rounds (the ratios too: each round's poll beside its own hello), so that what else runs on the machine meets all
alike.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from statistics import median

from gateways import BACKEND, Gateway, cpu_seconds, gateway, percentile, workload, world
from machine import machine

NEWEST = "/beckn/llm-output"
HELLO = "/hello"


def serve() -> int:
    """A gateway with a bare Flask hello beside its endpoints."""
    import BG

    make = BG.create_app

    def with_hello(*arguments, **options):  # type: ignore[no-untyped-def]
        app = make(*arguments, **options)
        app.add_url_rule(HELLO, view_func=lambda: {"hello": "world"})
        return app

    BG.create_app = with_hello
    return BG.main()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each request in each round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--drive", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.exit(serve())
    if options.drive:
        port, clients, seconds, path, etag = options.drive
        print(json.dumps(_drive(int(port), int(clients), float(seconds), path, etag)))
        return
    print(f"{machine()}; median of {options.rounds} rounds of {options.seconds:g} s each\n")
    print("| clients | request | requests/s | of hello | CPU per request, µs | of hello | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|---|")
    with world() as database, gateway(__file__, "--serve") as running:
        database.insert("compute_workloads", [workload("job-1")])
        while (etag := _etag(running.port)) is None:
            time.sleep(0.1)
        requests = {
            "bare Flask hello": (HELLO, ""),
            "304 with its ETag": (NEWEST, etag),
            "200 with the output": (NEWEST, ""),
        }
        for clients in options.clients:
            rounds = [
                {label: _measure(running, clients, options.seconds, *request) for label, request in requests.items()}
                for _ in range(options.rounds)
            ]
            for label in requests:
                print(f"| {clients} | {label} | {_medians(label, rounds)} |", flush=True)


@dataclass(frozen=True)
class Measured:
    """One request in one round: requests a second, and seconds."""

    rate: float
    cpu_s: float
    p50_s: float
    p99_s: float


def _measure(running: Gateway, clients: int, seconds: float, path: str, etag: str) -> Measured:
    before = cpu_seconds(running.pid)
    command = [sys.executable, __file__, "--drive", str(running.port), str(clients), str(seconds), path, etag]
    times = json.loads(subprocess.check_output(command))
    return Measured(
        rate=len(times) / seconds,
        cpu_s=(cpu_seconds(running.pid) - before) / len(times),
        p50_s=percentile(times, 0.5),
        p99_s=percentile(times, 0.99),
    )


def _medians(label: str, rounds: list[dict[str, Measured]]) -> str:
    measured = [(each[label], each["bare Flask hello"]) for each in rounds]
    return " | ".join(
        [
            f"{median(own.rate for own, _ in measured):.0f}",
            f"{median(own.rate / hello.rate for own, hello in measured):.2f}",
            f"{1e6 * median(own.cpu_s for own, _ in measured):.0f}",
            f"{median(own.cpu_s / hello.cpu_s for own, hello in measured):.2f}",
            f"{1000 * median(own.p50_s for own, _ in measured):.2f}",
            f"{1000 * median(own.p99_s for own, _ in measured):.2f}",
        ]
    )


def _etag(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", NEWEST)
    answer = connection.getresponse()
    found = json.loads(answer.read())["status"] == "success"
    connection.close()
    return answer.headers["ETag"] if found else None


def _drive(port: int, clients: int, seconds: float, path: str, etag: str) -> list[float]:
    """The time of every request that so many clients made in so long."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    headers = {"If-None-Match": etag} if etag else {}

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while (began := time.perf_counter()) < until:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != (304 if etag else 200):
                raise RuntimeError(f"{path} answered {answer.status}")
            times.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


if __name__ == "__main__":
    sys.path.insert(0, str(BACKEND))
    main()
