"""The HTTP server: gevent's, one greenlet a connection, all in one thread.

Streams and short requests together: two thousand open streams cost a greenlet each, not a thread.
"""

from __future__ import annotations

import errno
import logging
import resource
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gevent.pywsgi import LoggingLogAdapter, WSGIHandler, WSGIServer

from web.serving import CannotListen

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

WAITING_CONNECTIONS = 1024
MOST_DESCRIPTORS = 8192
# A client that does not take what is sent for so long, or asks nothing on an open connection, is gone.
PATIENCE_S = 30.0
END_WITHIN_S = 1.0


class _Handler(WSGIHandler):  # type: ignore[misc] # gevent has no types
    def __init__(self, connection: Any, *arguments: Any) -> None:
        # Headers and body are sent apart: waiting for an acknowledgement between them would take 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(connection, *arguments)
        connection.settimeout(self.server.patience_s)

    def _sendall(self, data: bytes) -> None:
        try:
            super()._sendall(data)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None


class GatewayServer:
    """Serves `application` on a listening socket, which is the server's from then on, from `start` to `stop`."""

    def __init__(
        self, application: WSGIApplication, listener: gevent.socket.socket, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._server = WSGIServer(
            listener,
            application,
            log=None,
            error_log=LoggingLogAdapter(log, logging.WARNING),
            handler_class=_Handler,
        )
        self._server.patience_s = patience_s

    def start(self) -> None:
        # gevent's own way is to print, with all that the client sent.
        gevent.get_hub().print_exception = _log_failure
        self._server.start()

    def stop(self) -> None:
        """Take no more connections; requests that are being answered get a second."""
        self._server.stop(END_WITHIN_S)


def _log_failure(
    _: object, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    found = (kind, error, trace) if error is not None else None
    log.error("a greenlet failed: %s", kind.__name__, exc_info=found)


def listen(host: str, port: int) -> gevent.socket.socket:
    """A socket on which connections may wait for a server.

    Raises:
        CannotListen: the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=WAITING_CONNECTIONS)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return gevent.socket.socket(family, socket.SOCK_STREAM, fileno=listener.detach())


def allow_many_connections() -> None:
    """Raise this process's limit of open files, which is often 1,024, towards what many streams take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
