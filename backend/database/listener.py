"""A connection on which PostgreSQL's notices arrive, and which finds out when they no longer do."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from database.connections import DeadlineConnection
from database.errors import DatabaseUnreachable

PROVE_EVERY_S = 10.0
HEARD_WITHIN_S = 5.0


class SharedSession(Exception):
    """The connection leads to a pooler, where a LISTEN would be left in a session that other clients use."""


class PostgresListener:
    """Listens on a connection of its own.

    A listener can be deaf and not know it: its connection went silent, or a pooler gave its session away. So it has a
    private channel, on which it is notified now and then over another connection, and must hear it.
    """

    def __init__(
        self, connection: DeadlineConnection, channels: Sequence[str], notify: Callable[[str], object]
    ) -> None:
        """Takes `connection` over; `notify` sends a notice to a channel, over another one.

        Raises:
            SharedSession: the connection is a pooler's.
            DatabaseUnreachable: notices do not arrive.
            psycopg.Error: the server refused or failed.
        """
        self._connection = connection
        self._notify = notify
        self._private = f"pylon_hearing_{secrets.token_hex(8)}"
        self._prove_at = time.monotonic()
        self._hear_by: float | None = None
        try:
            _refuse_shared(connection)
            for channel in (*channels, self._private):
                connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            self._ask_for_proof()
            # A notice for the caller that comes before the proof is no loss: nobody has looked at anything yet.
            while self._hear_by is not None:
                self.wait(HEARD_WITHIN_S)
        except BaseException:
            connection.close()
            raise

    def wait(self, timeout_s: float) -> list[str]:
        if self._hear_by is None and time.monotonic() >= self._prove_at:
            self._ask_for_proof()
        try:
            heard = [notice.channel for notice in self._connection.notifies(timeout=timeout_s, stop_after=1)]
        except psycopg.Error as error:
            raise DatabaseUnreachable(f"the listening connection is lost: {' '.join(str(error).split())}") from error
        if self._private in heard:
            self._hear_by = None
        elif self._hear_by is not None and time.monotonic() > self._hear_by:
            raise DatabaseUnreachable("the listening connection is deaf: notices do not arrive on it")
        return [channel for channel in heard if channel != self._private]

    def close(self) -> None:
        self._connection.close()

    def _ask_for_proof(self) -> None:
        self._notify(self._private)
        now = time.monotonic()
        self._hear_by, self._prove_at = now + HEARD_WITHIN_S, now + PROVE_EVERY_S


def _refuse_shared(connection: DeadlineConnection) -> None:
    # A pooler gives its clients numbers of its own: a session that has its client's number is nobody else's.
    row = connection.execute("select pg_backend_pid()").fetchone()
    if row is None or row[0] != connection.pgconn.backend_pid:
        raise SharedSession("PostgreSQL is behind a pooler, which carries no notices")
