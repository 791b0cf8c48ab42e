"""Calls to other platforms, made so that no message can turn them against us.

A call goes to the URL that is registered for a platform, and to nothing else: redirects are not followed, and no
proxy or password file of this machine has a say. The address behind the host's name is looked at before anything is
sent, and is the one that is connected to, so a name that changes its address in between deceives nobody: an address
in a private network or on this machine needs the operator's word. The whole call has a deadline, and the answer a
size.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urlsplit

from version import VERSION
from vocabulary import Word

CONNECT_TIMEOUT_S = 2.0
WHOLE_CALL_S = 5.0
LONGEST_ANSWER_BYTES = 64 * 1024

USER_AGENT = f"PylonDEG/{VERSION} (Beckn 1.1)"

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


class Reach(Word):
    """Which addresses may be called."""

    PUBLIC = "public"
    ANYWHERE = "anywhere"
    LOOPBACK = "loopback"


class CallFailed(Exception):
    """There was no answer; the message says why. Another attempt may have one."""


class AddressRefused(CallFailed):
    """The URL leads where it may not; nothing was sent."""


@dataclass(frozen=True)
class Reply:
    """An answer, whatever it says."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Caller:
    """Makes calls within these limits. Holds nothing: every call is a connection of its own."""

    connect_timeout_s: float = CONNECT_TIMEOUT_S
    whole_call_s: float = WHOLE_CALL_S
    longest_answer_bytes: int = LONGEST_ANSWER_BYTES

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, reach: Reach) -> Reply:
        """POST `body`, the very bytes, as JSON.

        Raises:
            AddressRefused: an address of the host is not within `reach`.
            CallFailed: no whole answer in time.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise AddressRefused(f"{url} is not an http or https URL without a user name in it")
        kind = _SecureConnection if parts.scheme == "https" else _Connection
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        connection = kind(parts.hostname, _port(parts), self, reach)
        try:
            connection.request("POST", path, body=body, headers=sent)
            response = connection.getresponse()
            answer = response.read(self.longest_answer_bytes + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.check_time()
            raise CallFailed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        finally:
            connection.close()
        connection.check_time()  # an answer that was cut may look whole
        if len(answer) > self.longest_answer_bytes:
            raise CallFailed(f"the answer is longer than {self.longest_answer_bytes:,} bytes")
        return Reply(response.status, answer)


class _Connection(http.client.HTTPConnection):
    """One call's connection: to an address that was looked at, and cut off when the call's time is over."""

    def __init__(self, host: str, port: int, caller: Caller, reach: Reach) -> None:
        super().__init__(host, port)
        self._caller = caller
        self._reach = reach
        self._deadline = time.monotonic() + caller.whole_call_s
        self._watchdog: threading.Timer | None = None
        self._cut = False

    def connect(self) -> None:
        self.sock = self._connected()
        self._watch()

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        super().close()

    def check_time(self) -> None:
        """Raise CallFailed if the call was cut off, or its time is over."""
        if self._cut or time.monotonic() >= self._deadline:
            raise CallFailed(f"no whole answer within {self._caller.whole_call_s:g} s")

    def _connected(self) -> socket.socket:
        failure = OSError(f"{self.host} has no address")
        for address in _addresses(self.host, self.port):
            _check(address, self.host, self._reach)
            left_s = max(0.001, self._deadline - time.monotonic())
            try:
                connected = socket.create_connection(
                    (address, self.port), timeout=min(left_s, self._caller.connect_timeout_s)
                )
            except OSError as error:
                failure = error
                continue
            connected.settimeout(left_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
        raise failure

    def _watch(self) -> None:
        # A socket's timeout bounds each packet: a peer that sends a byte at a time could hold the call for ever.
        self._watchdog = threading.Timer(max(0.001, self._deadline - time.monotonic()), self._cut_off)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _cut_off(self) -> None:
        self._cut = True
        if self.sock is not None:
            with suppress(OSError):  # it ended by itself in the same moment
                self.sock.shutdown(socket.SHUT_RDWR)


class _SecureConnection(_Connection):
    def connect(self) -> None:
        # The handshake comes when the watchdog can reach the socket, for a peer may never finish it.
        secure = _tls().wrap_socket(self._connected(), server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure
        self._watch()
        secure.do_handshake()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _port(parts: SplitResult) -> int:
    usual = http.client.HTTPS_PORT if parts.scheme == "https" else http.client.HTTP_PORT
    return parts.port or usual


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _check(address: str, host: str, reach: Reach) -> None:
    ip = _destination(address.partition("%")[0])
    if reach is Reach.LOOPBACK and not ip.is_loopback:
        raise AddressRefused(f"{host} is {ip}, which is not this machine: with BECKN_AUTH=off nothing else is called")
    if reach is Reach.PUBLIC and (not ip.is_global or ip.is_multicast):
        raise AddressRefused(
            f"{host} is {ip}, which is private: an operator may allow it with registry.py add --private-address"
        )


def _destination(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Where an address leads: an IPv6 one that carries an IPv4 one leads there."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or translated or ip
