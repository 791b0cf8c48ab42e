"""Builds the two files a Supabase user pastes from their sources by subject, in `backend/database/sql/`.

    python backend/database/build_sql.py      after any change of the sources

`sql/schema/` becomes `backend/deprecated/supabase_schema.sql`, `sql/triggers/` becomes `supabase_triggers.sql`: the
parts one after the other, in the order of their numbers. In the first part `{functions}` stands for the names of all
functions that the file makes.
"""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "sql"
BUILT = Path(__file__).resolve().parent.parent / "deprecated"
FILES = {"schema": BUILT / "supabase_schema.sql", "triggers": BUILT / "supabase_triggers.sql"}

_FUNCTION = re.compile(r"^create or replace function public\.(\w+)", re.MULTILINE)
_LINE_LENGTH = 118


def build(name: str) -> str:
    """The text of one file, "schema" or "triggers", from its sources."""
    text = "".join(part.read_text(encoding="utf-8") for part in sorted((SOURCES / name).glob("*.sql")))
    return text.replace("{functions}", _literal(dict.fromkeys(_FUNCTION.findall(text))), 1)


def _literal(names: dict[str, None]) -> str:
    """The names as one string of SQL over several lines."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > _LINE_LENGTH - 8:
            lines.append("")
        lines[-1] += name + " "
    lines[-1] = lines[-1].rstrip()
    return "\n    ".join(["", *(f"'{line}'" for line in lines)])


def main() -> None:
    """Write both files."""
    for name, file in FILES.items():
        file.write_text(build(name), encoding="utf-8")


if __name__ == "__main__":
    main()
