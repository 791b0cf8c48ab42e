"""Calls that PostgreSQL answers at once, without a thread: for the question that every poll asks.

Handing a call to a thread and its answer back costs more than such a call itself. A greenlet can wait for a socket as
well, so these go over one connection in the server's own thread, one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gevent
import psycopg
from gevent.lock import BoundedSemaphore
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from database.errors import DatabaseError, DatabaseUnreachable
from database.interface import Calls
from database.postgres import call_over

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class GreenletConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that suspends the greenlet that waits for it, and no other. For one at a time."""

    def wait(self, gen: PQGen[Answer], interval: float = 0, timeout: float | None = None) -> Answer:  # noqa: ARG002
        """Run `gen` to its end; how long that may take is for the greenlet that waits to say."""
        descriptor = self.pgconn.socket
        try:
            wanted = next(gen)
            while True:
                if wanted == Wait.R:
                    wait_read(descriptor)
                    ready = Ready.R
                elif wanted == Wait.W:
                    wait_write(descriptor)
                    ready = Ready.W
                else:
                    wait_readwrite(descriptor)
                    ready = Ready.RW
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


class ShortCalls:
    """Calls functions over a connection of its own while it has one, and through `otherwise` while it has none.

    Args:
        connect: opens the connection without holding up other greenlets, or raises `DatabaseError`.
        otherwise: also takes a call over when the connection fails; so these calls must be repeatable.
        patience_s: after so long a call raises `DatabaseUnreachable`.
    """

    def __init__(self, connect: Callable[[], GreenletConnection], otherwise: Calls, *, patience_s: float) -> None:
        self._connect = connect
        self._otherwise = otherwise
        self._patience_s = patience_s
        self._connection: GreenletConnection | None = None
        self._connecting: gevent.Greenlet | None = None
        self._one_at_a_time = BoundedSemaphore()
        self._closed = False

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        too_late = DatabaseUnreachable(f"the database has not answered within {self._patience_s:g} s")
        with gevent.Timeout(self._patience_s, too_late):
            with self._one_at_a_time:
                if self._connection is not None:
                    try:
                        return call_over(self._connection, function, arguments or {})
                    except psycopg.Error:
                        self._hang_up()
                    except BaseException:
                        self._hang_up()  # given up: what arrives on it next would be this call's answer
                        raise
            self._connect_soon()
            return self._otherwise.call(function, arguments, repeatable=repeatable)

    def close(self) -> None:
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect_soon(self) -> None:
        if not self._closed and (self._connecting is None or self._connecting.ready()):
            self._connecting = gevent.spawn(self._open)

    def _open(self) -> None:
        try:
            self._connection = self._connect()
        except DatabaseError as error:
            log.debug("no connection for short calls: %s", error)
        if self._closed:
            self._hang_up()
