"""Brings the schema of a PostgreSQL that the program reaches directly to the program's version.

The program runs what a Supabase user pastes (`database/build_sql.py`), both files in one transaction, under a lock
and after a second look at the version once the lock is held. It never goes back: a database of a newer version is
used as it is, or refused where that version says so.
"""

from __future__ import annotations

from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from database.build_sql import FILES, fingerprint, statements
from database.connections import DeadlineConnection
from database.errors import PASTE_THE_SQL, DatabaseError, SchemaMissing, SchemaTooNew
from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from database.versions import FIRST_VERSION, newest
from version import VERSION

_LOCK = b"select pg_advisory_xact_lock(7263811)"  # the files take the same
_HAS_VERSIONS = b"select to_regclass('public.schema_version') is not null"
_NEWEST = b"select to_jsonb(v) from public.schema_version as v order by version desc limit 1"
# Whoever waits for a table's lock makes all who come after wait as well: rather give up, and try again at the next
# start. A check over long tables may take its time.
_PATIENCE = b"set local lock_timeout = '20s'; set local statement_timeout = 0"

INSTALLED_WITHIN_S = 900.0  # also where a check over long tables takes its time


class SchemaState(BaseModel):
    """The newest row of `schema_version`. `applied_at` is null while only the first of the two files has been run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    compatible_from: int
    applied_at: str | None
    fingerprint: str | None


def install_schema(database: PostgresDatabase) -> bool:
    """Install the tables and functions, or bring them to this program's version; True when there was something to do.

    Raises:
        SchemaTooNew: the database's version refuses programs as old as this one.
        DatabaseError: a statement failed; nothing of the files has taken effect.
    """
    with database.connect(DeadlineConnection) as connection:
        connection.answer_within(INSTALLED_WITHIN_S)
        try:
            return _installed(connection)
        except psycopg.Error as error:
            reason = " ".join((error.diag.message_primary or str(error)).split())
            raise DatabaseError(f"the schema could not be brought to version {newest().version}: {reason}") from error


def _installed(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    if not _is_behind(_state(connection)):
        return False
    with connection.transaction():
        connection.execute(_PATIENCE)
        connection.execute(_LOCK)
        if not _is_behind(_state(connection)):
            return False  # another process did it meanwhile
        connection.execute("select set_config('pylon.program', %s, true)", (f"pylon-deg {VERSION}",))
        for name in FILES:
            connection.execute(statements(name).encode(), prepare=False)
    return True


def check_schema(database: Database) -> None:
    """See that a database whose files are pasted by hand has what this program needs.

    Raises:
        SchemaMissing: it has no tables, or those of an older version, or only the first file was run.
        SchemaTooNew: its version refuses programs as old as this one.
        DatabaseError: it does not answer.
    """
    needed = newest().version
    try:
        rows = database.select("schema_version", order=OrderBy(("version",), descending=True), limit=1)
    except SchemaMissing:
        database.select("regions", order=OrderBy(("region_id",)), limit=1)
        rows = [{"version": FIRST_VERSION, "compatible_from": FIRST_VERSION, "applied_at": "", "fingerprint": None}]
    state = SchemaState.model_validate(rows[0]) if rows else None
    if state is None or state.version < needed:
        has = f"schema version {state.version}" if state else "no schema version"
        raise SchemaMissing(f"the database has {has}, but this program needs {needed}: {PASTE_THE_SQL}")
    if state.applied_at is None:
        raise SchemaMissing(
            f"the database has the tables of schema version {state.version} but not its functions: run "
            "backend/deprecated/supabase_triggers.sql in its SQL editor"
        )
    _refuse_if_too_new(state)


def _state(connection: psycopg.Connection[tuple[Any, ...]]) -> SchemaState | None:
    known = connection.execute(_HAS_VERSIONS).fetchone()
    row = connection.execute(_NEWEST).fetchone() if known and known[0] else None
    return None if row is None else SchemaState.model_validate(row[0])


def _is_behind(state: SchemaState | None) -> bool:
    """Whether the files are to be run. Two checkouts of one version differ by their fingerprint."""
    if state is None or state.applied_at is None or state.version < newest().version:
        return True
    _refuse_if_too_new(state)
    return state.version == newest().version and state.fingerprint != fingerprint()


def _refuse_if_too_new(state: SchemaState) -> None:
    if state.compatible_from > newest().version:
        raise SchemaTooNew(
            f"the database has schema version {state.version}, which programs before version "
            f"{state.compatible_from} cannot use, and this one has version {newest().version}: update the program"
        )
