"""Whether the database takes writes: a full disk, or a standby after a failover, answers every read as before."""

from __future__ import annotations

from database.errors import DatabaseError
from database.interface import Database
from printable import printable


def write_trouble(database: Database) -> str | None:
    """Why the database takes no writes, in words; None when it took one just now."""
    try:
        database.call("probe_write", repeatable=True)
    except DatabaseError as error:
        return f"the database takes no writes: {printable(error)}"
    return None
