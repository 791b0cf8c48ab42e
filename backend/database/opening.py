"""Opens the database that the settings choose."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from database.errors import DatabaseError
from database.interface import Database
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
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


def _installed(database: PostgresDatabase) -> PostgresDatabase:
    try:
        if install_schema(database):
            log.info("database: tables and functions brought to schema version %d", newest().version)
    except DatabaseError:
        database.close()
        raise
    return database
