"""HTTP without a client's help: bytes to a port, and the answers that come back."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event as Signal

from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets
from web.serving import listen

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class RawAnswer:
    """Everything that a connection brought: `status` of the first answer, None where there was none."""

    received: bytes
    was_closed: bool

    @property
    def status(self) -> int | None:
        return int(self.received.split(b" ", 2)[1]) if self.received.startswith(b"HTTP/1.1 ") else None

    @property
    def statuses(self) -> list[int]:
        """Of all answers; no body of ours has such a line."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.received)]

    @property
    def head(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[0].lower()

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


def exchange(port: int, *sent: bytes, hangs_up: bool = False, silence_s: float = 20.0) -> RawAnswer:
    """Send it piece by piece, and read until the server closes or says nothing more for so long.

    Args:
        hangs_up: whether to end the sending side at once, as some clients do.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=silence_s) as connection:
        try:
            for piece in sent:
                connection.sendall(piece)
            if hangs_up:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            return RawAnswer(received, was_closed=False)
        except ConnectionError:
            pass
    return RawAnswer(received, was_closed=True)


@contextmanager
def http_server(make: Callable[[], WSGIApplication], limits: Limits | None = None) -> Iterator[int]:
    """The port of a server of the application that `make` makes in the server's thread."""
    ready = threading.Event()
    ports: list[int] = []
    stop: list[Callable[[], None]] = []

    def run() -> None:
        hub = gevent.get_hub()
        stopping = Signal()
        stop.append(lambda: hub.loop.run_callback_threadsafe(stopping.set))
        listener = listen("127.0.0.1", 0)
        ports.append(listener.getsockname()[1])
        server = HttpServer(make(), for_greenlets(listener), limits or Limits(end_s=1))
        server.start()
        ready.set()
        stopping.wait()
        server.stop()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield ports[0]
    finally:
        stop[0]()
        thread.join(20)
