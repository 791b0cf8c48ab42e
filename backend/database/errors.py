"""What can go wrong with the database, in the few kinds a caller can act on."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database refused or failed; the message says what to do. The kinds below are more exact."""


class DatabaseUnreachable(DatabaseError):
    """No answer: it is down, restarting, or the network is. Worth trying again later."""


class AccessRefused(DatabaseError):
    """The key, the user or the password is wrong, or lacks rights."""


class SchemaMissing(DatabaseError):
    """Tables or functions are missing: the SQL files have not been run, or are older than the program."""


class SchemaTooNew(DatabaseError):
    """The database has a schema version that refuses programs as old as this one."""


class UniqueConflict(DatabaseError):
    """A row with this key exists already."""


class RowRefused(DatabaseError):
    """A value breaks a rule of the table: a check, a foreign key, a type, a missing value."""


PASTE_THE_SQL = (
    "run backend/deprecated/supabase_schema.sql and then supabase_triggers.sql in the database's SQL editor"
)


def error_of_sqlstate(code: str, message: str) -> DatabaseError:
    """The error for a PostgreSQL SQLSTATE or a PostgREST code (`PGRST…`), with advice in its text."""
    if code in {"42P01", "42883", "42703", "3F000", "PGRST202", "PGRST204", "PGRST205"}:
        return SchemaMissing(f"{message}: {PASTE_THE_SQL}")
    if code == "23505":
        return UniqueConflict(message)
    if code[:2] in {"22", "23"}:
        return RowRefused(message)
    if code in {"42501", "28000", "28P01", "PGRST301", "PGRST302", "PGRST303", "401", "403"}:
        return AccessRefused(
            f"{message}: this key or user may not; SUPABASE_KEY takes the project's secret (service) key"
        )
    if code[:2] in {"08", "53", "57"} or code in {"PGRST000", "PGRST001", "PGRST002", "PGRST003"}:
        return DatabaseUnreachable(f"{message}: the database is down, restarting or full")
    return DatabaseError(f"{message} ({code})")
