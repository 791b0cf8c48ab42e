"""How soon does a provider see a decision? From the insertion of a workload to its event on the stream.

    make bench NAME=gateway_latency [ARGS="--workloads 500"]

One workload at a time, over the embedded database, with the deterministic scorer and eight data centres.
"""

from __future__ import annotations

import argparse
import socket
import time

from gateways import gateway, percentile, workload, world
from machine import machine
from sse_clients import EVENT, REQUEST

WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=500)
    workloads = parser.parse_args().workloads
    with world() as database, gateway() as running:
        stream = _stream(running.port)
        times_ms: list[float] = []
        for number in range(WARM_UP + workloads):
            began = time.perf_counter()
            database.insert("compute_workloads", [workload(f"job-{number}")])
            _read_one_event(stream)
            times_ms.append(1000 * (time.perf_counter() - began))
        stream.close()
    print(f"{machine()}; {workloads} workloads one at a time, insertion included\n")
    print("| insert → visible on SSE | median | p90 | p99 | worst |")
    print("|---|---|---|---|---|")
    measured = times_ms[WARM_UP:]
    cells = " | ".join(f"{percentile(measured, share):.1f}" for share in (0.5, 0.9, 0.99, 1))
    print(f"| ms | {cells} |")


def _stream(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(REQUEST % b"")
    connection.recv(4096)
    return connection


def _read_one_event(stream: socket.socket) -> None:
    """Read to the end of the next event."""
    text = b""
    while (found := EVENT.search(text)) is None or b"\n\n" not in text[found.end() :]:
        text += stream.recv(256 * 1024)


if __name__ == "__main__":
    main()
