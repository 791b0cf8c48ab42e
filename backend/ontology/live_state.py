"""The live state: every object of the present world by type, and the links that begin at them.

Agents ask for it all the time and most of it changes once in a half-hour. Every question is one call to the
database; what that answers as it did before is not validated, linked and written out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import orjson

from database.interface import Database, Row
from database.stored_rows import UnreadableRow
from grid.half_hours import from_rfc3339
from ontology.objects import read_what_can_be, write_objects
from ontology.types import LINK_TYPES, OBJECT_TYPES, ObjectType


@dataclass(frozen=True)
class LiveObjects:
    """The live objects of one type, the rows they were read from, and those of them that cannot be read."""

    object_type: type[ObjectType]
    rows: list[Row]
    objects: list[ObjectType]
    unreadable: list[UnreadableRow]

    @cached_property
    def links(self) -> list[dict[str, str]]:
        """Every link that begins at one of them: `{"source", "target", "rel"}`, ends as Type/id."""
        return list(self._links())

    @cached_property
    def json(self) -> bytes:
        """The objects as a JSON list."""
        return write_objects(self.object_type, self.objects)

    @cached_property
    def links_json(self) -> bytes:
        """The links as the items of a JSON list, without its brackets."""
        return orjson.dumps(self.links)[1:-1]

    def _links(self) -> Iterator[dict[str, str]]:
        name = self.object_type.__name__
        for link in LINK_TYPES:
            if link.source is not self.object_type:
                continue
            for source in self.objects:
                target = link.target_id(source)
                if target is not None:
                    yield {
                        "source": f"{name}/{source.id}",
                        "target": f"{link.target.__name__}/{target}",
                        "rel": link.rel,
                    }


@dataclass(frozen=True)
class LiveState:
    """The present world, and when the pipeline last finished and whether it runs now."""

    as_of: datetime
    last_updated: datetime | None
    pipeline_running: bool
    is_settled: bool
    """Whether it stays so until the database is changed or the half-hour is over: no lease of a run is to end."""
    parts: dict[str, LiveObjects]

    @property
    def unreadable(self) -> list[UnreadableRow]:
        """The rows that are left out."""
        return [row for part in self.parts.values() for row in part.unreadable]

    def links_json(self) -> bytes:
        """All links as a JSON list."""
        return b"[" + b",".join(part.links_json for part in self.parts.values() if part.links) + b"]"


class LiveStateReader:
    """Reads the live state from one database. Safe to use from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: dict[str, LiveObjects] = {}

    def read(self, now: datetime, type_names: list[str]) -> LiveState:
        """The present state of the named object types."""
        document = self._database.call("live_state", {"p_now": now, "p_types": type_names}, repeatable=True)
        updated = document["last_updated"]
        return LiveState(
            as_of=now,
            last_updated=None if updated is None else from_rfc3339(updated),
            pipeline_running=document["pipeline_running"],
            is_settled=document["settled"],
            parts={name: self._part(name, document[name]) for name in type_names},
        )

    def _part(self, name: str, rows: list[Row]) -> LiveObjects:
        last = self._last.get(name)
        if last is None or last.rows != rows:
            object_type = OBJECT_TYPES[name]
            last = self._last[name] = LiveObjects(object_type, rows, *read_what_can_be(object_type, rows))
        return last
