"""The versions of the schema, and the numbered migrations that lead from each to the next.

A migration is `migrations/NNNN_subject.sql`: what changes the tables of version NNNN - 1 into those of version NNNN,
as plain statements. Its first line says which programs may go on using the database:

    -- Compatible from: 1

Functions, views, triggers and grants need no migration, only a number: they are all made anew from the sources in
`sql/`. What a program of an earlier version calls stays, under its name and with its parameters, for as long as
"Compatible from" names that version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
FIRST_VERSION = 1  # had no number: a database that has tables but no `schema_version`

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_FIRST_LINE = re.compile(r"-- Compatible from: (\d+)\n")


class MigrationMistake(Exception):
    """The files in `migrations/` do not make a row of versions; the message names the file and the mistake."""


@dataclass(frozen=True)
class Migration:
    """One step. `compatible_from` is the oldest version whose programs can use the database after it."""

    version: int
    compatible_from: int
    statements: str


@lru_cache
def migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """All migrations, oldest first: versions 2, 3, 4 … without a gap.

    Raises:
        MigrationMistake: a file's name or first line is wrong, or a number is missing or used twice.
    """
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        name, text = _FILE_NAME.fullmatch(file.name), file.read_text(encoding="utf-8")
        if name is None or (first := _FIRST_LINE.match(text)) is None:
            raise MigrationMistake(f"{file.name}: name it NNNN_subject.sql and begin it with -- Compatible from: N")
        step = Migration(int(name[1]), int(first[1]), text[first.end() :].strip())
        earlier = found[-1] if found else Migration(FIRST_VERSION, FIRST_VERSION, "")
        if step.version != earlier.version + 1:
            raise MigrationMistake(f"{file.name}: after version {earlier.version} comes {earlier.version + 1}")
        if not earlier.compatible_from <= step.compatible_from <= step.version:
            raise MigrationMistake(f"{file.name}: compatible from {step.compatible_from} is impossible")
        found.append(step)
    return tuple(found)


def newest() -> Migration:
    """The version that this program brings a database to."""
    return migrations()[-1]
