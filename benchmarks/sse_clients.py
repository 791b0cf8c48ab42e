"""Many clients of an event stream in one process, which note when each event arrives.

    python benchmarks/sse_clients.py PORT CLIENTS SECONDS

Prints "connected", and in the end one JSON document: for every event, when it arrived at each client.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

REQUEST = b"GET /beckn/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
EVENT = re.compile(rb"\nid: (\d+)\nevent: ")
LONGEST_MARK = 64


class SseClients:
    """The handle on a process of clients."""

    def __init__(self, port: int, clients: int, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(clients), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == "connected\n"

    def arrivals(self) -> dict[int, list[float]]:
        """Waits for the end: for each event's number, the moments (seconds since 1970) it arrived."""
        document = json.loads(self._output.read())
        return {int(sequence): moments for sequence, moments in document.items()}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._output.close()


@contextmanager
def sse_clients(port: int, clients: int, seconds: float) -> Iterator[SseClients]:
    """So many connected clients, which read for so long."""
    running = SseClients(port, clients, seconds)
    try:
        yield running
    finally:
        running.close()


def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    selector = selectors.DefaultSelector()
    tails: dict[int, bytes] = {}
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.sendall(REQUEST)
        connection.recv(4096)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, connection)
        tails[connection.fileno()] = b""
    print("connected", flush=True)
    arrivals: defaultdict[int, list[float]] = defaultdict(list)
    until = time.monotonic() + seconds
    while (remaining_s := until - time.monotonic()) > 0:
        for key, _ in selector.select(remaining_s):
            _read(key.fileobj, tails, arrivals)  # type: ignore[arg-type]
    print(json.dumps(arrivals))


def _read(connection: socket.socket, tails: dict[int, bytes], arrivals: defaultdict[int, list[float]]) -> None:
    received = connection.recv(256 * 1024)
    if not received:
        raise ConnectionError("the gateway closed a stream")
    now = time.time()
    text = tails[connection.fileno()] + received
    end = 0
    for found in EVENT.finditer(text):
        arrivals[int(found[1])].append(now)
        end = found.end()
    tails[connection.fileno()] = text[max(end, len(text) - LONGEST_MARK) :]


if __name__ == "__main__":
    main()
