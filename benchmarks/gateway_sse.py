"""Many streams and short requests together: is either held up?

    make bench NAME=gateway_sse [ARGS="--clients 1000 --seconds 30 --doors sse websocket"]

A workload is inserted every second; its decision goes to every client. Meanwhile `/beckn/llm-output` is polled.
Delivery is measured from the publishing transaction, and from before the insertion, to each client's socket. The
clients share the machine with the gateway and the database.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from datetime import datetime

import psutil
from gateways import gateway, percentile, sequences, workload, world
from machine import machine
from sse_clients import WEBSOCKET, sse_clients

from database.interface import Database, OrderBy

POLL_EVERY_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[100, 1000, 2000])
    parser.add_argument("--seconds", type=int, default=30, help="for each row; one event a second")
    parser.add_argument("--doors", choices=["sse", WEBSOCKET], nargs="+", default=["sse", WEBSOCKET])
    options = parser.parse_args()
    print(f"{machine()}; one decision of eight data centres a second for {options.seconds} s\n")
    print(
        "| clients | door | published → delivered p50 | p99 | inserted → delivered p50 | p99 "
        "| polling p50 | p99 | worst | memory, MB | more for each client, kB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for clients in options.clients:
        for door in options.doors:
            print(f"| {clients} | {door} | {_measure(clients, options.seconds, door)} |", flush=True)


def _measure(clients: int, seconds: int, door: str) -> str:
    with world() as database, gateway() as running:
        database.insert("compute_workloads", [workload("warm-up")])
        while not sequences(database):
            time.sleep(0.1)
        empty = psutil.Process(running.pid).memory_info().rss
        with sse_clients(running.port, clients, seconds + 4, None if door == "sse" else door) as streams:
            done = threading.Event()
            polls: list[float] = []
            polling = threading.Thread(target=_poll, args=(running.port, done, polls))
            polling.start()
            inserted = _insert_every_second(database, seconds)
            done.set()
            polling.join()
            memory = psutil.Process(running.pid).memory_info().rss
            arrivals = streams.arrivals()
        published = _published(database)
        numbers = {inserted_at: sequences(database)[job_id] for job_id, inserted_at in inserted.items()}
    missing = [number for number in numbers.values() if len(arrivals.get(number, ())) != clients]
    if missing:
        raise RuntimeError(f"events {missing} did not arrive at every client once")
    since_published = [moment - published[number] for number in numbers.values() for moment in arrivals[number]]
    since_inserted = [moment - began for began, number in numbers.items() for moment in arrivals[number]]
    return " | ".join(
        [
            *(f"{1000 * percentile(since_published, share):.0f} ms" for share in (0.5, 0.99)),
            *(f"{1000 * percentile(since_inserted, share):.0f} ms" for share in (0.5, 0.99)),
            *(f"{1000 * percentile(polls, share):.1f} ms" for share in (0.5, 0.99, 1)),
            f"{memory / 1e6:.0f}",
            f"{(memory - empty) / 1e3 / clients:.0f}",
        ]
    )


def _insert_every_second(database: Database, seconds: int) -> dict[str, float]:
    """When each job was inserted, in seconds since 1970."""
    inserted = {}
    for number in range(seconds):
        inserted[f"job-{number}"] = time.time()
        database.insert("compute_workloads", [workload(f"job-{number}")])
        time.sleep(1)
    return inserted


def _published(database: Database) -> dict[int, float]:
    rows = database.select("broadcast_log", order=OrderBy(("sequence",)), columns=["sequence", "created_at"])
    return {row["sequence"]: datetime.fromisoformat(row["created_at"]).timestamp() for row in rows}


def _poll(port: int, done: threading.Event, times: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not done.wait(POLL_EVERY_S):
        began = time.perf_counter()
        connection.request("GET", "/beckn/llm-output")
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()


if __name__ == "__main__":
    main()
