"""What does a poll cost? `/beckn/llm-output` with its ETag beside a bare Flask hello, on the same server.

    make bench NAME=gateway_polling [ARGS="--seconds 3 --clients 1 4 16"]

Keep-alive clients in a process of their own. Every poll is answered as of a moment after it was asked: the database
says each time which output is the newest.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time

from gateways import BACKEND, cpu_seconds, gateway, percentile, workload, world
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
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
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
    print(f"{machine()}; {options.seconds:g} s a row\n")
    print("| clients | request | requests/s | of hello | CPU per request, µs | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    with world() as database, gateway(__file__, "--serve") as running:
        database.insert("compute_workloads", [workload("job-1")])
        while (etag := _etag(running.port)) is None:
            time.sleep(0.1)
        rows = {
            "bare Flask hello": (HELLO, ""),
            "304 with its ETag": (NEWEST, etag),
            "200 with the output": (NEWEST, ""),
        }
        for clients in options.clients:
            hello_rate = 0.0
            for label, (path, known) in rows.items():
                before = cpu_seconds(running.pid)
                command = [sys.executable, __file__, "--drive", str(running.port), str(clients), str(options.seconds)]
                times = json.loads(subprocess.check_output([*command, path, known]))
                cpu_us = 1e6 * (cpu_seconds(running.pid) - before) / len(times)
                rate = len(times) / options.seconds
                hello_rate = hello_rate or rate
                print(
                    f"| {clients} | {label} | {rate:.0f} | {rate / hello_rate:.2f} | {cpu_us:.0f} "
                    f"| {1000 * percentile(times, 0.5):.2f} | {1000 * percentile(times, 0.99):.2f} |",
                    flush=True,
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
