"""The addresses behind hosts' names, asked for with a deadline.

`getaddrinfo` has none: a name whose servers are silent holds its caller for half a minute, and whoever registers a
URL chooses its name. So each look-up has a thread of its own, which is left behind when it takes too long; a name is
looked up once at a time, and few names at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong

MOST_AT_ONCE = 16


class NameLookups:
    """Look-ups of one process. Safe to share by threads."""

    def __init__(
        self, *, most_at_once: int = MOST_AT_ONCE, look_up: Callable[[str, int], list[str]] | None = None
    ) -> None:
        """`look_up` answers the addresses of a host and port, or raises OSError."""
        self._most_at_once = most_at_once
        self._look_up = look_up or _addresses
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[str]]] = {}

    def addresses(self, host: str, port: int, *, within_s: float) -> list[str]:
        """The addresses of `host`, without repetition.

        Raises:
            TimeoutError: they were not told in time.
            OSError: it has none, or too many names are looked up already.
        """
        try:
            return self._asked(host, port).result(timeout=within_s)
        except TookTooLong:
            raise TimeoutError(f"the name {host} could not be looked up in time") from None

    def _asked(self, host: str, port: int) -> Future[list[str]]:
        with self._lock:
            if (under_way := self._under_way.get((host, port))) is not None:
                return under_way
            if len(self._under_way) >= self._most_at_once:
                raise OSError(
                    f"{self._most_at_once} names are already being looked up, and {host} is not one of them"
                )
            asked: Future[list[str]] = Future()
            self._under_way[host, port] = asked
        threading.Thread(target=self._answer, args=(host, port, asked), name=f"name-{host}", daemon=True).start()
        return asked

    def _answer(self, host: str, port: int, asked: Future[list[str]]) -> None:
        try:
            asked.set_result(self._look_up(host, port))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            asked.set_exception(error)
        finally:
            with self._lock:
                del self._under_way[host, port]


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
