"""HTTP to a Supabase project: every exchange ends by a deadline, and what is no JSON is no answer.

httpx bounds each read of a socket, so a peer that sends a byte now and then could hold a call for ever. Here the
streams under it know when the whole exchange is to end.
"""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx
import orjson

from database.errors import DatabaseError, DatabaseUnreachable
from printable import LONGEST_REASON, printable

ANSWER_WITHIN_S = 10.0
CONNECT_WITHIN_S = 5.0
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=20)

SocketOptions = Iterable[Any] | None


def rest_client(url: str) -> httpx.Client:
    """A client for the project at `url`, over the proxy that the environment names for it, if any.

    Raises:
        DatabaseError: it cannot be made: a proxy of an unknown kind, certificates that cannot be read.
    """
    try:
        transport = _Transport(limits=LIMITS, proxy=_proxy_for(httpx.URL(url)))
        return httpx.Client(transport=transport, timeout=httpx.Timeout(ANSWER_WITHIN_S, connect=CONNECT_WITHIN_S))
    except Exception as error:
        raise DatabaseError(
            f"no connection to Supabase can be prepared ({type(error).__name__}): "
            f"{printable(error, LONGEST_REASON)}; check SUPABASE_URL, the proxy variables and SSL_CERT_FILE"
        ) from error


def _proxy_for(url: httpx.URL) -> str | None:
    # httpx's own reading of NO_PROXY refuses what container runtimes write there, such as IPv6 networks.
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(url.netloc.decode()):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


class _Exchange(threading.local):
    """When the exchange of this thread is to end."""

    ends_at: float | None = None

    def left_s(self, timeout: float | None) -> float | None:
        """What remains of a timeout: never zero, which a socket takes for "do not wait"."""
        if self.ends_at is None:
            return timeout
        left = max(0.001, self.ends_at - time.monotonic())
        return left if timeout is None else min(left, timeout)


class _Transport(httpx.HTTPTransport):
    """HTTP/1.1: HTTP/2 on one shared client loses requests under threads."""

    def __init__(self, *, limits: httpx.Limits, proxy: str | None) -> None:
        super().__init__(http2=False, limits=limits, proxy=proxy)
        self._exchange = _Exchange()
        self._pool._network_backend = _Backend(self._exchange)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._exchange.ends_at = time.monotonic() + ANSWER_WITHIN_S
        try:
            response = super().handle_request(request)
            response.request = request
            response.read()
        finally:
            self._exchange.ends_at = None
        _refuse_what_is_no_answer(request, response)
        return response


class _Backend(httpcore.SyncBackend):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(host, port, self._exchange.left_s(timeout), local_address, socket_options)
        connected = stream.get_extra_info("socket")
        if isinstance(connected, socket.socket):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return _Stream(stream, self._exchange)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, exchange: _Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._refuse_if_over(httpcore.ReadTimeout)
        return self._stream.read(max_bytes, self._exchange.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._refuse_if_over(httpcore.WriteTimeout)
        self._stream.write(buffer, self._exchange.left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._exchange.left_s(timeout))
        return _Stream(secure, self._exchange)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _refuse_if_over(self, kind: type[Exception]) -> None:
        if self._exchange.ends_at is not None and time.monotonic() >= self._exchange.ends_at:
            raise kind(f"no whole answer within {ANSWER_WITHIN_S:g} s")


def _refuse_what_is_no_answer(request: httpx.Request, response: httpx.Response) -> None:
    """Raise for a page or a cut document in the place of rows: of a proxy, a paused project, a captive portal."""
    if response.is_error:
        return  # told by its code, if it has one, and else by its status
    if response.is_success and not response.content:
        if response.status_code == httpx.codes.NO_CONTENT or "return=minimal" in request.headers.get("Prefer", ""):
            return
    elif response.is_success and _is_json(response.content):
        return
    kind = response.headers.get("Content-Type", "no type")
    raise DatabaseUnreachable(
        f"{request.url.host} answered {response.status_code} with {printable(kind)} instead of JSON: "
        f"{printable(response.text, 80) or 'nothing'}"
    )


def _is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True
