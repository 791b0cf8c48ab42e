"""Builds the two files a Supabase user pastes from their sources by subject, in `backend/database/sql/`.

    python backend/database/build_sql.py      after any change of the sources

`sql/schema/` becomes `backend/deprecated/supabase_schema.sql`, `sql/triggers/` becomes `supabase_triggers.sql`: the
parts one after the other, in the order of their names. Words in braces stand for what is known only of the whole:
the version, the migrations that lead to it, the functions of the queues (`database/queues.py`), what the file makes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

if __name__ == "__main__":  # run as a command, its folder is on the path instead of the one above
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from database.queues import QUEUES
from database.versions import Migration, migrations, newest

SOURCES = Path(__file__).resolve().parent / "sql"
BUILT = Path(__file__).resolve().parent.parent / "deprecated"
FILES = {"schema": BUILT / "supabase_schema.sql", "triggers": BUILT / "supabase_triggers.sql"}

_FUNCTION = re.compile(r"^create or replace function public\.(\w+)", re.MULTILINE)
_RELATION = re.compile(r"^create (?:table if not exists|or replace view) public\.(\w+)", re.MULTILINE)
_LINE_LENGTH = 118


def build(name: str) -> str:
    """The text of one file, "schema" or "triggers", as it is pasted: one transaction of its own."""
    return f"begin;\n\n{statements(name)}\ncommit;\n"


def statements(name: str) -> str:
    """The same without its transaction, for whoever runs both files in one."""
    text = _source(name)
    filled = {
        "version": str(newest().version),
        "compatible_from": str(newest().compatible_from),
        "fingerprint": fingerprint(),
        "migrations": "\n".join(map(_guarded, migrations())),
        "functions": _in_lines(f"'{line}'" for line in _lines(_FUNCTION.findall(text), " ", keep=True)),
        "relations": _in_lines(
            _lines([f"'{made}'" for made in _RELATION.findall(_source("schema"))], ", ", keep=False)
        ),
    }
    return re.sub(r"\{(" + "|".join(filled) + r")\}", lambda found: filled[found[1]], text)


def fingerprint() -> str:
    """What tells two states of the sources apart that bear the same version, as two checkouts may."""
    text = "".join([*map(_source, FILES), *(step.statements for step in migrations())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source(name: str) -> str:
    text = "".join(part.read_text(encoding="utf-8") for part in sorted((SOURCES / name).glob("*.sql")))
    return text.replace("{queues}\n", "".join(queue.statements() for queue in QUEUES))


def _guarded(step: Migration) -> str:
    """A migration as a statement that does nothing on a database that is new or has had it."""
    # The text of our own files, so nothing of a stranger's is put into it.
    return f"""do $migration$
begin
    if (select max(version) from public.schema_version) = {step.version - 1} then
        execute $statements$
{step.statements}
$statements$;
        insert into public.schema_version (version, compatible_from) values ({step.version}, {step.compatible_from});
    end if;
end
$migration$;
"""  # noqa: S608


def _lines(words: list[str], separator: str, *, keep: bool) -> list[str]:
    """The words in lines; `keep` the separator at the end of those that are followed by another."""
    lines = [""]
    for word in dict.fromkeys(words):
        if len(lines[-1]) + len(word) > _LINE_LENGTH - 12:
            lines.append("")
        lines[-1] += word + separator
    lines[-1] = lines[-1].removesuffix(separator)
    return lines if keep else [line.rstrip() for line in lines]


def _in_lines(lines: Iterable[str]) -> str:
    return "\n    ".join(["", *lines])


def main() -> None:
    """Write both files."""
    for name, file in FILES.items():
        file.write_text(build(name), encoding="utf-8")


if __name__ == "__main__":
    main()
