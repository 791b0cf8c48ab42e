"""Everybody else in the soak: garbage on every port, slow clients, peers that hang, a buyer who floods.

They come from addresses of their own (on Linux all of 127.0.0.0/8 is this machine), each at a bounded rate, and end
when they are told to.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from beckn.buying.messages import intent_of
from beckn.protocol.objects import Action
from beckn_network import Party, a_message, in_bytes
from beckn_orders import a_workload
from clock import utc_now
from soak_tally import Tally

STRANGER, SLOW, FLOOD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
HANDS_OFF_S = 3.0
MOST_READ_BYTES = 65_536
GARBAGE_PER_S = 5
LARGE_EVERY_S = 10
LARGE_BYTES = 2_000_000
SLOW_CONNECTIONS = 120
DRIP_EVERY_S = 2.0
TAKES = {"api": b"/api/v1/workloads", "gateway": b"/beckn/search", "provider": b"/beckn/select"}
"""Where each server reads a body."""
SEARCHES_PER_S = 20

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connected(port: int, source: str) -> socket.socket:
    """A connection from an address of loopback."""
    own = (source, 0) if sys.platform == "linux" else None
    return socket.create_connection(("127.0.0.1", port), timeout=HANDS_OFF_S, source_address=own)


def answer_of(sent: bytes) -> tuple[int, dict[str, str]] | None:
    """Status and headers, when it is an answer in HTTP/1."""
    head, _, _ = sent.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    words = first.split(b" ")
    if not first.startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        return None
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return int(words[1]), {name: value.strip() for name, _, value in pairs}


def _http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def bodiless_streams() -> bytes:
    """One HTTP/2 connection with sixteen POSTs whose bodies never come."""
    headers = b"\x83\x86\x84\x41\x09127.0.0.1"
    streams = [_http2_frame(1, 4, 2 * number + 1, headers) for number in range(16)]
    return HTTP2_PREFACE + _http2_frame(4, 0, 0, b"") + b"".join(streams)


def garbage(chance: random.Random) -> bytes:
    """Something that a server on the internet gets to see."""
    host = b"Host: 127.0.0.1\r\n"
    post = b"POST %s HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    path = chance.choice([b"/beckn/search", b"/api/v1/workloads", b"/beckn/llm-output/acknowledge", b"/beckn/select"])
    body = bytes(chance.randrange(256) for _ in range(chance.randrange(400)))
    number = b"%d" % chance.randrange(10**6)
    return chance.choice(
        [
            body,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + body,
            b"GET /" + b"%2e/" * 300 + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
            b"GET /wp-login.php?x=\x1b[31m" + number + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"GET /api/v1/grid/forecast?region_id=" + number + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /beckn/broadcast?after=-" + number + b" HTTP/1.0\r\n" + host + b"\r\n",
            post % path + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post % path + b"Content-Length: +%d\r\n\r\n" % len(body) + body,
            post % path + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            post % path + b'Content-Length: 13\r\n\r\n{"job_id": 1}',
            post % path + b"Content-Length: 50000\r\n\r\n" + b"[" * 50_000,
            post % b"/api/v1/backtest" + b'Content-Length: 23\r\n\r\n{"start": "0001-01-01"}',
            bodiless_streams(),
        ]
    )


@dataclass
class Strangers:
    """Threads that trouble these ports until `stopping`."""

    ports: dict[str, int]
    tally: Tally
    stopping: threading.Event
    chance: random.Random = field(default_factory=lambda: random.Random(20))
    credential: bytes = b""
    """Somebody's, whose clients never read."""

    def loops(self) -> list[Callable[[], None]]:
        loops: list[Callable[[], None]] = []
        for name, port in self.ports.items():
            loops.append(lambda name=name, port=port: self._throw_garbage(name, port))  # type: ignore[misc]
            loops.append(SlowClients(name, port, self.tally, self.stopping, self.credential).run)
        return [*loops, self._throw_large_bodies]

    def _throw_garbage(self, name: str, port: int) -> None:
        while not self.stopping.wait(1 / GARBAGE_PER_S):
            self._throw(f"garbage at the {name}", port, garbage(self.chance))

    def _throw_large_bodies(self) -> None:
        """Unsigned and large, at the platforms that take messages."""
        body = b'{"context": {"action": "on_search"}, "message": {"x": "' + b"x" * LARGE_BYTES + b'"}}'
        head = b"POST /beckn/on_search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        while not self.stopping.wait(LARGE_EVERY_S):
            for name in ("gateway", "provider"):
                whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
                self._throw(f"a large body at the {name}", self.ports[name], whole)

    def _throw(self, what: str, port: int, sent: bytes) -> None:
        with suppress(OSError), connected(port, STRANGER) as connection:
            connection.sendall(sent)
            answer = answer_of(connection.recv(MOST_READ_BYTES))
            if answer is not None:
                self.tally.answered("strangers", f"{what} {sent[:60]!r}", *answer)


@dataclass
class SlowClients:
    """Connections that say little, never finish, or never read. One that the server ends is opened again.

    `credential` is a header line that opens them a stream, where one is needed.
    """

    name: str
    port: int
    tally: Tally
    stopping: threading.Event
    credential: bytes = b""

    @property
    def beginnings(self) -> list[bytes]:
        head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" % TAKES[self.name]
        stream = b"GET /beckn/broadcast?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + self.credential + b"\r\n"
        return [b"GET /hea", head, head + b"Content-Length: 100000\r\n\r\n{", stream]

    def run(self) -> None:
        connections: dict[int, socket.socket] = {}
        try:
            while not self.stopping.wait(DRIP_EVERY_S):
                for number in range(SLOW_CONNECTIONS):
                    self._go_on(number, connections)
        finally:
            for connection in connections.values():
                connection.close()

    def _go_on(self, number: int, connections: dict[int, socket.socket]) -> None:
        beginning = self.beginnings[number % len(self.beginnings)]
        reads = not beginning.startswith(b"GET /beckn/broadcast")
        try:
            if number not in connections:
                connections[number] = connected(self.port, SLOW)
                if not reads:
                    connections[number].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connections[number].sendall(beginning)
                connections[number].setblocking(False)
                return
            if reads:
                connections[number].send(b"a")
                self._read(connections[number])
        except BlockingIOError:
            return
        except OSError:
            connection = connections.pop(number, None)
            if connection is not None:
                connection.close()

    def _read(self, connection: socket.socket) -> None:
        sent = connection.recv(MOST_READ_BYTES)  # raises BlockingIOError when there is nothing yet
        answer = answer_of(sent)
        if answer is not None:
            self.tally.answered("slow clients", f"a slow client of the {self.name}", *answer)
        if not sent:
            raise ConnectionResetError


@contextmanager
def hanging_server() -> Iterator[str]:
    """The URL of a platform that takes every connection and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(0.2)
    ended = threading.Event()
    held: list[socket.socket] = []

    def accept() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                held.append(listener.accept()[0])
            if len(held) > 2000:
                held.pop(0).close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/beckn"
    finally:
        ended.set()
        thread.join()
        for connection in (listener, *held):
            connection.close()


@dataclass
class FloodingBuyer:
    """A registered buyer who searches as fast as a machine can, and whose own platform hangs."""

    party: Party
    urls: list[str]
    tally: Tally
    stopping: threading.Event

    def run(self) -> None:
        intent = {"intent": intent_of(a_workload(), utc_now(), None).model_dump(mode="json")}
        while not self.stopping.wait(1 / SEARCHES_PER_S):
            for url in self.urls:
                self._search(url, in_bytes(a_message(Action.SEARCH, self.party, message=intent)))

    def _search(self, url: str, body: bytes) -> None:
        port = urlsplit(url).port
        assert port is not None
        lines = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), "Connection": "close"}
        lines |= self.party.headers(body)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        with suppress(OSError), connected(port, FLOOD) as connection:
            connection.sendall(f"POST /beckn/search HTTP/1.1\r\n{head}\r\n".encode() + body)
            answer = answer_of(connection.recv(MOST_READ_BYTES))
            if answer is not None:
                self.tally.answered("flooding buyer", "a search", *answer)
