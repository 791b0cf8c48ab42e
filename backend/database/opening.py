"""Opens the database that the settings choose."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from database.errors import AccessRefused, DatabaseError
from database.interface import Database
from database.isolation import refuse_unless_isolated
from database.postgres import PostgresDatabase
from database.schema import check_schema, install_schema
from database.versions import newest
from settings import Settings

log = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """The database that the settings choose, with its tables: SUPABASE_URL, else DATABASE_URL, else embedded.

    On Supabase the SQL files are run by hand, in its SQL editor; elsewhere they are installed here.

    Raises:
        DatabaseError: it cannot be reached, refuses the key or user, or its tables are missing.
    """
    if settings.supabase_url and settings.supabase_key:
        from database.postgrest import SupabaseDatabase  # here, since it takes longest of all to import

        supabase = SupabaseDatabase(settings.supabase_url, settings.supabase_key.get_secret_value())
        try:
            check_schema(supabase)
        except DatabaseError:
            supabase.close()
            raise
        log.info("database: Supabase at %s", settings.supabase_url)
        return supabase
    if settings.database_url:
        url = settings.database_url.get_secret_value()
        log.info("database: PostgreSQL at %s", urlsplit(url).hostname or "a local socket")
        return _installed(PostgresDatabase(url))
    from database.embedded_database import EmbeddedDatabase  # here, since it needs a Unix

    embedded = EmbeddedDatabase(settings.pylon_data_dir)
    log.info("database: embedded PostgreSQL in %s", settings.pylon_data_dir)
    return _installed(embedded)


def open_gate(settings: Settings, service: Database) -> Database:
    """The same database as tenants' requests reach it, which sees to it that they are kept apart.

    Args:
        service: what `open_database` opened. The gate is to be closed before it.

    Raises:
        IsolationMissing: they would not be.
        DatabaseError: it cannot be reached, or refuses the user.
    """
    gate = _gate(settings, service)
    try:
        refuse_unless_isolated(gate)
    except DatabaseError:
        gate.close()
        raise
    return gate


def _gate(settings: Settings, service: Database) -> Database:
    from database.embedded_database import EmbeddedDatabase  # here, since it needs a Unix

    if settings.supabase_url and settings.supabase_key:
        from database.postgrest import SupabaseDatabase

        return SupabaseDatabase(settings.supabase_url, settings.supabase_key.get_secret_value())
    if isinstance(service, EmbeddedDatabase):
        return service.gate()
    if settings.database_gate_url is None:
        raise AccessRefused("DATABASE_GATE_URL is not set: requests of tenants have no way in")
    return PostgresDatabase(settings.database_gate_url.get_secret_value())


def _installed(database: PostgresDatabase) -> PostgresDatabase:
    try:
        if install_schema(database):
            log.info("database: tables and functions brought to schema version %d", newest().version)
    except DatabaseError:
        database.close()
        raise
    return database
