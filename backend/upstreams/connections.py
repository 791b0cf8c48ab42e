"""Connections whose response headers arrive in time as a whole.

A socket timeout bounds each packet, so a server that sends its headers a byte at a time could hold a request
for ever. The body is bounded by `session.UpstreamSession`, which reads it piece by piece.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


class HeadersInTimeAdapter(HTTPAdapter):
    """A `requests` adapter that cuts a connection whose headers take longer than the read timeout."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 declares it itself
        with _cut_after(self.timeout, self.sock):
            return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 declares it itself
        with _cut_after(self.timeout, self.sock):
            return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


@contextmanager
def _cut_after(seconds: object, connected: socket.socket | None) -> Iterator[None]:
    # urllib3 sets the connection's timeout to the read timeout before it waits for the headers.
    if connected is None or not isinstance(seconds, (int, float)):
        yield
        return
    too_late = threading.Event()

    def cut() -> None:
        too_late.set()
        with suppress(OSError):  # the connection ended by itself in the same moment
            connected.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(seconds, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except (OSError, HTTPException):
        if not too_late.is_set():
            raise
    finally:
        watchdog.cancel()
    # Headers that were cut between two fields look complete to http.client, and raise nothing.
    if too_late.is_set():
        raise TimeoutError
