"""The one door to the database: Supabase over REST, any PostgreSQL, or the embedded one by default."""

from __future__ import annotations

from database.errors import (
    NO_FAULT_OF_THE_WORK,
    AccessRefused,
    DatabaseError,
    DatabaseUnreachable,
    DataRefused,
    RowRefused,
    SchemaMissing,
    SchemaTooNew,
    UniqueConflict,
)
from database.interface import Database, Listener, OrderBy, Row, Where
from database.opening import open_database

__all__ = [
    "NO_FAULT_OF_THE_WORK",
    "AccessRefused",
    "DataRefused",
    "Database",
    "DatabaseError",
    "DatabaseUnreachable",
    "Listener",
    "OrderBy",
    "Row",
    "RowRefused",
    "SchemaMissing",
    "SchemaTooNew",
    "UniqueConflict",
    "Where",
    "open_database",
]
