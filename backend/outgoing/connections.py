"""urllib3's connections, led to addresses that may be called, and with sockets that know when their call must end.

A socket's own timeout begins anew with each packet, so a server that sends a byte now and then could hold a call for
ever, in the headers or the body. Here each wait lasts at most as long as the call under way has left. What sends, and
what shakes hands for TLS, is bounded as a whole by Python itself.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError
from urllib3.response import HTTPResponse

from outgoing.addresses import AddressPolicy, addresses_of, check_address
from outgoing.failures import CallTimedOut


class Watch:
    """Over one call, made in one thread: when it must end, and where it may go."""

    def __init__(self, whole_s: float, silence_s: float | None, reach: AddressPolicy) -> None:
        self.reach = reach
        self.arrived_bytes = 0
        self._whole_s = whole_s
        self._silence_s = math.inf if silence_s is None else silence_s
        self._ends_at = time.monotonic() + whole_s
        self._headers_end_at = math.inf

    @property
    def left_s(self) -> float:
        """What is left of the call's time, never quite nothing: a timeout of zero means another thing."""
        return max(0.001, self._ends_at - time.monotonic())

    def check(self) -> None:
        """Raise CallTimedOut if the call's time is over."""
        if time.monotonic() >= self._ends_at:
            arrived = f", only {self.arrived_bytes:,} bytes of an unfinished answer" if self.arrived_bytes else ""
            raise CallTimedOut(f"no whole answer within {self._whole_s:.3g} s{arrived}")

    def wait_s(self) -> float:
        """How long the next wait for a packet may last.

        Raises:
            TimeoutError: it may not.
        """
        left_s = min(self._ends_at, self._headers_end_at) - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return min(left_s, self._silence_s)

    @contextmanager
    def reading_headers(self) -> Iterator[None]:
        """Until they are read, the other side may be silent only once."""
        self._headers_end_at = time.monotonic() + self._silence_s
        try:
            yield
        finally:
            self._headers_end_at = math.inf


_under_way: ContextVar[Watch] = ContextVar("watch")


@contextmanager
def watching(whole_s: float, silence_s: float | None, reach: AddressPolicy) -> Iterator[Watch]:
    """A call of this thread, which the connections of this module keep to."""
    watch = Watch(whole_s, silence_s, reach)
    token = _under_way.set(watch)
    try:
        yield watch
    finally:
        _under_way.reset(token)


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_under_way.get().wait_s())
        return super().recv_into(*args, **kwargs)


class _SecureSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_under_way.get().wait_s())
        return super().recv_into(*args, **kwargs)


def watched_tls(tls: ssl.SSLContext) -> ssl.SSLContext:
    """The same, whose sockets keep to the call under way."""
    tls.sslsocket_class = _SecureSocket
    return tls


class PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 declares it itself
        with _under_way.get().reading_headers():
            return super().getresponse()


class SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 declares it itself
        with _under_way.get().reading_headers():
            return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}


def _connected(connection: HTTPConnection) -> socket.socket:
    """A socket to the first address of the connection's host that takes it, in the time to connect."""
    watch, host, port = _under_way.get(), connection.host, connection.port
    connect_s = connection.timeout if isinstance(connection.timeout, (int, float)) else math.inf
    failure: OSError = OSError(f"{host} has no address")
    try:
        for address in addresses_of(host, port, within_s=watch.left_s):
            check_address(address, host, watch.reach)
            try:
                found = socket.create_connection((address, port), timeout=min(connect_s, watch.left_s))
            except OSError as error:
                failure = error
                continue
            connected = _Socket(found.family, found.type, found.proto, fileno=found.detach())
            connected.settimeout(min(connect_s, watch.left_s))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
    except TimeoutError as error:  # of looking up the name
        failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"Connection to {host} timed out.") from failure
    raise failure
