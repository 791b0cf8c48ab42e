"""Installs the SQL files on a PostgreSQL the program reaches directly."""

from __future__ import annotations

import hashlib
from pathlib import Path

from database.errors import DatabaseError
from database.postgres import PostgresDatabase

SQL_FOLDER = Path(__file__).resolve().parent.parent / "deprecated"
SQL_FILES = (SQL_FOLDER / "supabase_schema.sql", SQL_FOLDER / "supabase_triggers.sql")

_INSTALLED = "select coalesce(obj_description(to_regclass('public.pipeline_runs'), 'pg_class'), '')"
_LOCK = "select pg_advisory_xact_lock(7263811)"  # any fixed number: two processes must not install at once


def install_schema(database: PostgresDatabase) -> bool:
    """Run the SQL files unless this very version of them was run before; True when they were run.

    Raises:
        DatabaseError: a statement failed; nothing of the files has taken effect.
    """
    scripts = [file.read_text(encoding="utf-8") for file in SQL_FILES]
    mark = "pylon-deg schema " + hashlib.sha256("".join(scripts).encode()).hexdigest()[:16]
    if database.scalar(_INSTALLED) == mark:
        return False
    comment = f"comment on table public.pipeline_runs is '{mark}';"
    try:
        database.run_script("\n".join([_LOCK + ";", *scripts, comment]))
    except DatabaseError as error:
        raise type(error)(f"the SQL files could not be installed: {error}") from error
    return True
