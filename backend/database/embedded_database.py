"""The embedded PostgreSQL as a database: brought back when it is killed, stopped when its last user leaves."""

from __future__ import annotations

import logging
from pathlib import Path

from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from database.errors import DatabaseUnreachable
from database.postgres import PostgresDatabase

log = logging.getLogger(__name__)

GATE_USER = "pylon_gate"
REVIVED_WITHIN_S = 8.0
"""A server that was killed is mostly there again sooner. Whoever asks while it recovers for longer is told so."""


class EmbeddedDatabase(PostgresDatabase):
    """The `Database` interface over the embedded server of one data directory, started or joined here.

    Raises:
        DatabaseUnreachable: it cannot be started; the message says what to do.
    """

    def __init__(self, data_dir: Path) -> None:
        self._server = EmbeddedPostgres(data_dir)
        try:
            self._server.start()
        except EmbeddedPostgresError as error:
            raise DatabaseUnreachable(str(error)) from error
        super().__init__(self._server.conninfo, own_sessions=True, revive=self._bring_back)

    def gate(self) -> PostgresDatabase:
        """The same database as requests of tenants log in. To be closed before this one."""
        return PostgresDatabase(
            make_conninfo(self._server.conninfo, user=GATE_USER), own_sessions=True, revive=self._bring_back
        )

    def close(self) -> None:
        super().close()
        try:
            self._server.stop()
        except EmbeddedPostgresError as error:
            log.warning("the embedded database was left running: %s", error)

    def _bring_back(self) -> None:
        try:
            self._server.ensure_running(REVIVED_WITHIN_S)
        except EmbeddedPostgresError as error:
            raise DatabaseUnreachable(str(error)) from error
