"""Many clients of an event stream in one process, which note when each event arrives.

    python benchmarks/sse_clients.py PORT CLIENTS SECONDS [CREDENTIALS | websocket]

Prints "connected", and in the end one JSON document: for every event, when it arrived at each client. CREDENTIALS is
a file with a JSON list of them, which the clients have one after the other; an event's name is then the place of the
credential in the list and the event's number, as in "7/12". With `websocket` the clients come in by that door, and
take frames that are not compressed.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

REQUEST = b"GET /beckn/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%b\r\n"
EVENT = re.compile(rb"\nid: (\d+)\nevent: ")
UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
SUBSCRIBE = b'{"type":"subscribe"}'
SUBSCRIBE_FRAME = bytes((0x81, 0x80 | len(SUBSCRIBE), 0, 0, 0, 0)) + SUBSCRIBE
EVENT_MESSAGE = re.compile(rb'{"type":"event",[^{]*"event":"decision","sequence":(\d+),')
PING, PONG = b"\x89\x00", bytes((0x8A, 0x80, 0, 0, 0, 0))
WEBSOCKET = "websocket"
LONGEST_MARK = 160
# More would be taken from the system and given back each time, which takes longer than all the rest.
READ_AT_ONCE_BYTES = 64 * 1024


class SseClients:
    """The handle on a process of clients."""

    def __init__(self, port: int, clients: int, seconds: float, credentials: Path | str | None) -> None:
        arguments = [str(port), str(clients), str(seconds), *([] if credentials is None else [str(credentials)])]
        self._process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == "connected\n"

    def arrivals(self) -> dict[int, list[float]]:
        """Waits for the end: for each event's number, the moments (seconds since 1970) it arrived."""
        return {int(sequence): moments for sequence, moments in self.arrivals_by_name().items()}

    def arrivals_by_name(self) -> dict[str, list[float]]:
        """The same by the events' names, where the clients have credentials."""
        document: dict[str, list[float]] = json.loads(self._output.read())
        return document

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._output.close()


@contextmanager
def sse_clients(
    port: int, clients: int, seconds: float, credentials: Path | str | None = None
) -> Iterator[SseClients]:
    """So many connected clients, which read for so long; `credentials` may be WEBSOCKET."""
    running = SseClients(port, clients, seconds, credentials)
    try:
        yield running
    finally:
        running.close()


def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    by_websocket = sys.argv[4:] == [WEBSOCKET]
    credentials: list[str] = (
        json.loads(Path(sys.argv[4]).read_text()) if len(sys.argv) > 4 and not by_websocket else []
    )
    selector = selectors.DefaultSelector()
    arrivals: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(clients):
        place = number % len(credentials) if credentials else 0
        header = f"Authorization: Bearer {credentials[place]}\r\n".encode() if credentials else b""
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.sendall(UPGRADE % header + SUBSCRIBE_FRAME if by_websocket else REQUEST % header)
        answer = connection.recv(4096)
        if not answer.startswith(b"HTTP/1.1 101" if by_websocket else b"HTTP/1.1 200"):
            raise ConnectionError("the gateway refused a stream")
        connection.setblocking(False)
        if by_websocket:
            client: Client = WebSocketClient(connection, answer.partition(b"\r\n\r\n")[2])
        else:
            client = SseClient(connection, f"{place}/" if credentials else "")
        selector.register(connection, selectors.EVENT_READ, client)
        for key, _ in selector.select(0):  # the first are asked whether they are there before the last are in
            key.data.read(arrivals)
    print("connected", flush=True)
    until = time.monotonic() + seconds
    while (remaining_s := until - time.monotonic()) > 0:
        for key, _ in selector.select(remaining_s):
            key.data.read(arrivals)
    print(json.dumps(arrivals))


Arrivals = defaultdict[str, list[float]]


class Client(Protocol):
    """One stream."""

    def read(self, arrivals: Arrivals) -> None:
        """Take what has come, and note the moment under the names of the events that begin in it."""


@dataclass
class SseClient:
    """Server-sent events. `tail` may hold the beginning of one."""

    connection: socket.socket
    prefix: str
    tail: bytes = b""

    def read(self, arrivals: Arrivals) -> None:
        received, now = _received(self.connection)
        text = self.tail + received
        end = 0
        for found in EVENT.finditer(text):
            arrivals[self.prefix + found[1].decode()].append(now)
            end = found.end()
        self.tail = text[max(end, len(text) - LONGEST_MARK) :]


@dataclass
class WebSocketClient:
    """A WebSocket, whose frames tell how long they are. `tail` may hold the beginning of one; `left` so many bytes of
    the present one are to come."""

    connection: socket.socket
    tail: bytes = b""
    left: int = 0

    def read(self, arrivals: Arrivals) -> None:
        received, now = _received(self.connection)
        text = self.tail + received
        place = min(self.left, len(text))
        self.left -= place
        while place < len(text):
            payload = 2 + {126: 2, 127: 8}.get(text[place + 1], 0) if place + 1 < len(text) else LONGEST_MARK
            if len(text) - place < payload:
                break
            size = text[place + 1] if payload == 2 else int.from_bytes(text[place + 2 : place + payload], "big")
            if len(text) - place < payload + min(size, LONGEST_MARK):
                break
            if text[place : place + payload] == PING:
                self.connection.sendall(PONG)
            elif found := EVENT_MESSAGE.match(text, place + payload):
                arrivals[found[1].decode()].append(now)
            end = place + payload + size
            place, self.left = min(end, len(text)), max(0, end - len(text))
        self.tail = text[place:]


def _received(connection: socket.socket) -> tuple[bytes, float]:
    received = connection.recv(READ_AT_ONCE_BYTES)
    if not received:
        raise ConnectionError("the gateway closed a stream")
    return received, time.time()


if __name__ == "__main__":
    main()
