"""Calls over HTTP: each ends by its deadline, and with a whole answer of bounded size or with a `CallFailed`.

Redirects are not followed. What an answer unpacks to is bounded while it is unpacked, not afterwards.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection

from outgoing.addresses import AddressPolicy
from outgoing.connections import POOLS, PlainConnection, SecureConnection, Watch, watched_tls, watching
from outgoing.environment import proxy_credentials, proxy_for, tls_trusting, trusted_certificates
from outgoing.failures import (
    AddressRefused,
    AnswerTooLong,
    CallFailed,
    CallImpossible,
    CallTimedOut,
    NoConnection,
)

_READ_BYTES = 64 * 1024
_KEPT_CONNECTIONS_PER_HOST = 8
# How urllib3's messages begin: HTTPSConnectionPool(host='…', port=443): …
_CONNECTION_NAME = re.compile(r"^\w+\(host=[^)]*\): ")
_USER = re.compile(r"//[^/]*@")


@dataclass(frozen=True)
class Limits:
    """Of one call.

    Attributes:
        connect_s: for a connection to be made.
        silence_s: for the headers as a whole, and then for each next piece of the body; None: as long as there is.
        whole_s: for the whole call, from looking up the name to the last byte.
        answer_bytes: of the body, after decompression.
    """

    connect_s: float
    whole_s: float
    answer_bytes: int
    silence_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """An answer, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Calls other machines directly: no proxy of this machine's settings has a say. Keeps no connection.

    Safe to use from many threads.

    Args:
        tls: what https trusts; asked at each call.
        whole_answers: whether an answer that breaks off is a failure, or is given as far as it came.
    """

    def __init__(self, *, tls: Callable[[], ssl.SSLContext], whole_answers: bool = True) -> None:
        self._tls = tls
        self._whole_answers = whole_answers

    def call(
        self,
        method: str,
        url: str,
        *,
        limits: Limits,
        headers: Mapping[str, str],
        body: bytes | None = None,
        reach: AddressPolicy = AddressPolicy.ANYWHERE,
    ) -> Answer:
        """Make one request and read its answer.

        Raises:
            CallFailed: there is no whole answer; its kind says why not.
        """
        _check_url(url)
        with watching(limits.whole_s, limits.silence_s, reach) as watch:
            try:
                return self._answer(method, url, limits, headers, body, watch)
            except CallFailed:
                raise
            except Exception as error:  # of whatever family urllib3, ssl or the machine's settings raise
                watch.check()
                raise _failure_of(error) from error

    def close(self) -> None:
        """Close what is kept."""

    def _answer(
        self, method: str, url: str, limits: Limits, headers: Mapping[str, str], body: bytes | None, watch: Watch
    ) -> Answer:
        parts = urlsplit(url)
        host = parts.hostname or ""
        timeout_s = min(limits.connect_s, watch.left_s)
        if parts.scheme == "https":
            tls = watched_tls(self._tls())
            connection: HTTPConnection = SecureConnection(host, parts.port, timeout=timeout_s, ssl_context=tls)
        else:
            connection = PlainConnection(host, parts.port, timeout=timeout_s)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(connection):
            connection.request(
                method,
                path,
                body=body,
                headers=headers,
                preload_content=False,
                enforce_content_length=self._whole_answers,
            )
            with closing(connection.getresponse()) as response:
                return Answer(response.status, response.headers, _read(response, limits, watch))


class KeptCaller(Caller):
    """Calls as this machine's settings say: by their proxies, trusting their certificates. Keeps connections."""

    def __init__(self) -> None:
        super().__init__(tls=lambda: tls_trusting(trusted_certificates()))
        self._kept: dict[tuple[str | None, str | None], urllib3.PoolManager] = {}

    def close(self) -> None:
        for pools in self._kept.values():
            pools.clear()

    def _answer(
        self, method: str, url: str, limits: Limits, headers: Mapping[str, str], body: bytes | None, watch: Watch
    ) -> Answer:
        silence_s = watch.left_s if limits.silence_s is None else min(limits.silence_s, watch.left_s)
        response = self._pools(url).urlopen(
            method,
            url,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=min(limits.connect_s, watch.left_s), read=silence_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        with closing(response):
            return Answer(response.status, response.headers, _read(response, limits, watch))

    def _pools(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url)
        # Certificates that cannot be read are no reason to ask nothing of those who have none.
        is_secure = url.startswith("https:") or (proxy or "").startswith("https:")
        certificates = trusted_certificates() if is_secure else None
        pools = self._kept.get((proxy, certificates))
        if pools is None:
            tls = watched_tls(tls_trusting(certificates)) if certificates else None
            pools = self._kept.setdefault((proxy, certificates), _pools(proxy, tls))
        return pools


def _pools(proxy: str | None, tls: ssl.SSLContext | None) -> urllib3.PoolManager:
    pools: urllib3.PoolManager
    if proxy is None:
        pools = urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS_PER_HOST, ssl_context=tls)
    else:
        credentials = proxy_credentials(proxy)
        pools = urllib3.ProxyManager(
            proxy,
            maxsize=_KEPT_CONNECTIONS_PER_HOST,
            ssl_context=tls,
            proxy_ssl_context=tls,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=credentials) if credentials else None,
        )
    pools.pool_classes_by_scheme = POOLS
    return pools


def _read(response: urllib3.BaseHTTPResponse, limits: Limits, watch: Watch) -> bytes:
    body = bytearray()
    # read1 returns with what has arrived: a slow drip comes back here after each piece.
    while piece := response.read1(_READ_BYTES, decode_content=True):
        body += piece
        if len(body) > limits.answer_bytes:
            raise AnswerTooLong(f"the answer is longer than {limits.answer_bytes:,} bytes")
        watch.arrived_bytes = len(body)
        watch.check()
    return bytes(body)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_called = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        is_called = False
    if not is_called:
        shown = _USER.sub("//…@", url)
        raise AddressRefused(f"{shown} is not an http or https URL without a user name in it")


def _failure_of(error: Exception) -> CallFailed:
    cause = _innermost(error)
    words = _CONNECTION_NAME.sub("", str(cause)) or type(cause).__name__
    if isinstance(error, urllib3.exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        return CallTimedOut(words, cause)
    if isinstance(error, (OSError, HTTPException, urllib3.exceptions.HTTPError)):
        return NoConnection(words, cause)
    return CallImpossible(f"{type(error).__name__}: {words}", cause)


def _innermost(error: BaseException) -> BaseException:
    """The plainest of the errors that urllib3 has wrapped in one another."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(inner, "reason", None) or next(
            (arg for arg in inner.args if isinstance(arg, BaseException)), None
        )
    return error
