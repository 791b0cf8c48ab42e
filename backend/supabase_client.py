"""The one door to the database: Supabase over REST, any PostgreSQL, or the embedded one by default."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from database.errors import (
    AccessRefused,
    DatabaseError,
    DatabaseUnreachable,
    RowRefused,
    SchemaMissing,
    UniqueConflict,
)
from database.interface import Database, Listener, Order, Row, Where
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from database.schema import install_schema
from settings import Settings

__all__ = [
    "AccessRefused",
    "Database",
    "DatabaseError",
    "DatabaseUnreachable",
    "Listener",
    "Order",
    "Row",
    "RowRefused",
    "SchemaMissing",
    "UniqueConflict",
    "Where",
    "open_database",
]

log = logging.getLogger(__name__)


class EmbeddedDatabase(PostgresDatabase):
    """The embedded PostgreSQL: brought back when it is killed, stopped when its last user leaves."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        super().__init__(server.conninfo, revive=self._bring_back)

    def close(self) -> None:
        super().close()
        try:
            self._server.stop()
        except EmbeddedPostgresError as error:
            log.warning("the embedded database was left running: %s", error)

    def _bring_back(self) -> None:
        try:
            self._server.ensure_running()
        except EmbeddedPostgresError as error:
            raise DatabaseUnreachable(str(error)) from error


def open_database(settings: Settings) -> Database:
    """The database that the settings choose, with its tables: SUPABASE_URL, else DATABASE_URL, else embedded.

    On Supabase the SQL files are run by hand, in its SQL editor; elsewhere they are installed here.

    Raises:
        DatabaseError: it cannot be reached, refuses the key or user, or its tables are missing.
    """
    if settings.supabase_url and settings.supabase_key:
        supabase = SupabaseDatabase(settings.supabase_url, settings.supabase_key.get_secret_value())
        try:
            supabase.select("regions", order=Order(("region_id",)), limit=1)
        except DatabaseError:
            supabase.close()
            raise
        log.info("database: Supabase at %s", settings.supabase_url)
        return supabase
    if settings.database_url:
        url = settings.database_url.get_secret_value()
        log.info("database: PostgreSQL at %s", urlsplit(url).hostname or "a local socket")
        return _installed(PostgresDatabase(url))
    server = EmbeddedPostgres(settings.pylon_data_dir)
    try:
        server.start()
    except EmbeddedPostgresError as error:
        raise DatabaseUnreachable(str(error)) from error
    log.info("database: embedded PostgreSQL in %s", settings.pylon_data_dir)
    return _installed(EmbeddedDatabase(server))


def _installed(database: PostgresDatabase) -> PostgresDatabase:
    try:
        if install_schema(database):
            log.info("database: tables and functions installed")
    except DatabaseError:
        database.close()
        raise
    return database
