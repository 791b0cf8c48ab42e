"""The HTTP server of all three processes: gevent's sockets, one greenlet a connection, all in one thread.

Requests are read whole and strictly, within deadlines, before the application sees them; streams and short requests
go together: two thousand open streams cost a greenlet each, not a thread. The application runs in the connection's
greenlet. One that blocks goes behind `web.worker_threads`.
"""

from __future__ import annotations

import logging
import resource
import socket
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gevent.event import Event
from gevent.server import StreamServer

from web.http_answer import problem_answer
from web.http_connection import Connection
from web.http_limits import Limits

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

HEALTH_PATH = "/health"
HEALTH_REQUESTS = 16
"""So many more are answered when the server is full, if they ask how it is."""

MOST_DESCRIPTORS = 8192
# Files, the database's connections, and those of calls to others.
DESCRIPTORS_FOR_OTHERS = 128
# Connections that are closed for others take a moment to end.
MOST_CLOSING = 64
# Those that come meanwhile wait for it, so many of them and so long; a burst is accepted quicker than others end.
MOST_ARRIVING = 32
ROOM_WITHIN_S = 1.0


class HttpServer:
    """Serves `application` on a listening socket, which is the server's from then on, from `start` to `stop`."""

    def __init__(
        self,
        application: WSGIApplication,
        listener: gevent.socket.socket,
        limits: Limits,
        *,
        multithreaded: bool = False,
    ) -> None:
        self.limits = limits
        self.application = application
        self.is_stopping = False
        self._server = StreamServer(listener, self._serve)
        self._connections: dict[Connection, gevent.Greenlet] = {}
        self._closing: set[Connection] = set()
        self._arriving = 0
        self._one_has_ended = Event()
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._held_bytes = 0
        self._requests = 0
        host, port = listener.getsockname()[:2]
        self._environment: WSGIEnvironment = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": multithreaded,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def start(self) -> None:
        # gevent's own way is to print, with all that the client sent.
        gevent.get_hub().print_exception = _log_failure
        self._server.start()

    def stop(self) -> None:
        """Take no more connections; requests that are being answered get the time that the limits give them."""
        self.is_stopping = True
        self._server.stop(0)
        for connection in list(self._connections):
            if not connection.is_answering:
                connection.hang_up()
        greenlets = list(self._connections.values())
        gevent.joinall(greenlets, timeout=self.limits.end_s)
        gevent.killall(greenlets, timeout=self.limits.end_s)

    def environment(self) -> WSGIEnvironment:
        return self._environment.copy()

    def waits(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def waits_no_more(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)

    def holds(self, connection: Connection, held_bytes: int) -> None:
        self._held_bytes += held_bytes - connection.held_bytes
        connection.held_bytes = held_bytes
        if self._held_bytes > self.limits.held_bytes:
            holding = next((waiting for waiting in self._waiting if waiting.held_bytes), None)
            if holding is not None:
                self._shed(holding)

    def begins(self, path: str) -> bool:
        most = self.limits.requests + (HEALTH_REQUESTS if path == HEALTH_PATH else 0)
        if self._requests >= most:
            return False
        self._requests += 1
        return True

    def ends(self) -> None:
        self._requests -= 1

    def _serve(self, connection: gevent.socket.socket, address: Any) -> None:
        if not self._has_room():
            _refuse(connection)
            return
        serving = Connection(connection, address, self)
        self._connections[serving] = gevent.getcurrent()
        try:
            serving.serve()
        finally:
            self.holds(serving, 0)
            del self._connections[serving]
            self._closing.discard(serving)
            self._one_has_ended.set()

    def _has_room(self) -> bool:
        """Whether one more connection may be served, in the place of another if need be."""
        if not self._is_full():
            return True
        if len(self._closing) >= MOST_CLOSING and not self._others_have_ended():
            return False
        if not self._is_full():
            return True
        slowest = next(iter(self._waiting), None) or next(filter(_is_open_stream, self._connections), None)
        if slowest is None:
            return False
        self._shed(slowest)
        return True

    def _is_full(self) -> bool:
        return len(self._connections) - len(self._closing) >= self.limits.connections

    def _others_have_ended(self) -> bool:
        """Wait until fewer are closing than may be; whether it came to that."""
        if self._arriving >= MOST_ARRIVING:
            return False
        give_up_at = time.monotonic() + ROOM_WITHIN_S
        self._arriving += 1
        try:
            while len(self._closing) >= MOST_CLOSING:
                self._one_has_ended.clear()
                if not self._one_has_ended.wait(max(0.0, give_up_at - time.monotonic())):
                    return False
            return True
        finally:
            self._arriving -= 1

    def _shed(self, connection: Connection) -> None:
        self.waits_no_more(connection)
        self._held_bytes -= connection.held_bytes
        connection.held_bytes = 0
        self._closing.add(connection)
        connection.is_closing = True
        connection.hang_up()


def _log_failure(
    _: object, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    found = (kind, error, trace) if error is not None else None
    log.error("a greenlet failed: %s", kind.__name__, exc_info=found)


def for_greenlets(listener: socket.socket) -> gevent.socket.socket:
    """The same socket for this thread's greenlets; `listener` is closed."""
    return gevent.socket.socket(listener.family, listener.type, fileno=listener.detach())


def most_connections(wanted: int) -> int:
    """How many of the wanted connections this process may open; its limit, often 1,024, is raised for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - DESCRIPTORS_FOR_OTHERS))


def _is_open_stream(connection: Connection) -> bool:
    return connection.is_streaming and not connection.is_closing


def _refuse(connection: gevent.socket.socket) -> None:
    answer = problem_answer(503, "too many connections are open: try again shortly", without_body=False)
    with suppress(OSError):  # then it goes without an answer
        connection.send(answer, timeout=0.0)
    connection.close()
