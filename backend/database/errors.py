"""What can go wrong with the database, in the few kinds a caller can act on."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database refused or failed; the message says what to do. The kinds below are more exact."""


class DatabaseUnreachable(DatabaseError):
    """Trouble that may pass, whoever says it: no answer, restarting, full, busy, read-only. Worth trying again."""


class DatabaseClosed(DatabaseUnreachable):
    """This process has closed it, since it is stopping: what it still has under way ends, and that is no news."""


class AccessRefused(DatabaseError):
    """The key, the user or the password is wrong, or lacks rights: `lacks_right` is whether it is the latter."""

    def __init__(self, message: str, *, lacks_right: bool = False) -> None:
        super().__init__(message)
        self.lacks_right = lacks_right


class TenantRefused(AccessRefused):
    """A tenant asked for what is not for tenants, or is no member of its operator any more."""


class NobodyAsks(DatabaseError):
    """A request came to the database, and nobody knows whose it is."""


class SchemaMissing(DatabaseError):
    """Tables or functions are missing: the SQL files have not been run, or are older than the program."""


class SchemaTooNew(DatabaseError):
    """The database has a schema version that refuses programs as old as this one."""


class DataRefused(DatabaseError):
    """What was sent is at fault, and will be refused again: the only kind that may count against what it was for."""


class UniqueConflict(DataRefused):
    """A row with this key exists already."""


class RowRefused(DataRefused):
    """A value breaks a rule of the table: a check, a foreign key, a type, a missing value."""


NO_FAULT_OF_THE_WORK = (DatabaseUnreachable, AccessRefused, SchemaMissing, SchemaTooNew)
"""What must not count against the work that met it: it would have met anything else as well."""

PASTE_THE_SQL = (
    "run backend/deprecated/supabase_schema.sql and then supabase_triggers.sql in the database's SQL editor"
)


_SCHEMA_MISSING = {"42P01", "42883", "42703", "3F000", "PGRST202", "PGRST204", "PGRST205"}
_LACKS_RIGHT = "42501"
_ACCESS_REFUSED = {_LACKS_RIGHT, "28000", "28P01", "PGRST301", "PGRST302", "PGRST303", "401", "403"}
# PostgreSQL's classes for values, constraints and limits of size, and what functions raise about their arguments.
_BLAMES_THE_DATA = ("21", "22", "23", "44", "54", "P0001", "PT4", "PY")
# A statement or request that is itself wrong: neither the data's fault nor a trouble that passes.
_BLAMES_THE_PROGRAM = ("0A", "42", "P0", "PGRST1", "PGRST2")
# Of these, but of a session that changed under a statement: its tables were altered, or its pooler gave another.
_MAY_PASS = {"0A000", "42P05"}

_CONTENT_TOO_LARGE = "413"
_STATUSES_THAT_PASS = {"408", "425", "429"}


def error_of_sqlstate(code: str, message: str) -> DatabaseError:
    """The error for a PostgreSQL SQLSTATE, a PostgREST code (`PGRST…`) or an HTTP status, with advice in its text.

    The codes that blame the data are listed; all that nobody has thought of may pass.
    """
    if code in _SCHEMA_MISSING:
        return SchemaMissing(f"{message}: {PASTE_THE_SQL}")
    if code in _ACCESS_REFUSED:
        return AccessRefused(
            f"{message}: this key or user is not allowed to do this; SUPABASE_KEY takes the project's secret "
            "(service) key",
            lacks_right=code == _LACKS_RIGHT,
        )
    if code == "23505":
        return UniqueConflict(message)
    if _is_status(code):
        return _error_of_status(code, message)
    if code.startswith(_BLAMES_THE_DATA):
        return RowRefused(message)
    if code.startswith(_BLAMES_THE_PROGRAM) and code not in _MAY_PASS:
        return DatabaseError(f"{message} ({code})")
    return _may_pass(code, message)


def _is_status(code: str) -> bool:
    return len(code) == 3 and code.isdigit()


def _error_of_status(code: str, message: str) -> DatabaseError:
    if code == _CONTENT_TOO_LARGE:
        return RowRefused(message)
    if code.startswith("4") and code not in _STATUSES_THAT_PASS:
        return DatabaseError(f"{message} ({code})")
    return _may_pass(code, message)


def _may_pass(code: str, message: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"{message} ({code}): the database is down, restarting, busy or full")
