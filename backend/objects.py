"""Reads objects of the ontology: one, a page, and a step along a link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from ontology import LinkType, ObjectType, links_of, parse_key
from supabase_client import Database, Order, Where


class ObjectNotFound(LookupError):
    """There is no object with this id; `some_ids` are ids that there are."""

    def __init__(self, object_type: type[ObjectType], object_id: str, some_ids: list[str]) -> None:
        super().__init__(f"there is no {object_type.__name__} with the id {object_id!r}")
        self.some_ids = some_ids


@dataclass(frozen=True)
class Page:
    """Some objects in the order of their keys, and the cursor to go on from (None at the end)."""

    objects: list[ObjectType]
    next: str | None


def read_page(
    database: Database,
    object_type: type[ObjectType],
    *,
    equal: Mapping[str, Any],
    limit: int,
    after: str | None = None,
) -> Page:
    """A page of objects whose properties equal the given values, after the object with the id `after`.

    Raises:
        ValueError: `after` cannot be an id of this type.
    """
    position = None if after is None else list(parse_key(object_type, after).values())
    conditions = [
        Where(name, True, "is_null") if value is None else Where(name, value) for name, value in equal.items()
    ]
    rows = database.select(
        object_type.table,
        where=conditions,
        order=Order(object_type.key),
        after=position,
        limit=limit + 1,
        columns=object_type.listed(),
    )
    objects = read_rows(object_type, rows[:limit])
    return Page(objects, objects[-1].id if len(rows) > limit else None)


def read_one(database: Database, object_type: type[ObjectType], object_id: str) -> ObjectType:
    """The object with this id, with all its properties.

    Raises:
        ObjectNotFound: there is none.
    """
    try:
        key = parse_key(object_type, object_id)
    except ValueError:
        key = None
    if key is not None:
        where = [Where(name, value) for name, value in key.items()]
        rows = database.select(object_type.table, where=where, order=Order(object_type.key), limit=1)
        if rows:
            return read_rows(object_type, rows)[0]
    some = read_page(database, object_type, equal={}, limit=10)
    raise ObjectNotFound(object_type, object_id, [known.id for known in some.objects])


def follow_link(
    database: Database, start: ObjectType, rel: str, *, limit: int, after: str | None = None
) -> tuple[list[tuple[str, ObjectType]], str | None]:
    """The objects one step along `rel` from `start`, either way: (type name, object), and the cursor.

    A cursor is Type/id of the last object seen, since a link may end at objects of several types.

    Raises:
        ValueError: `after` is not such a cursor.
    """
    steps = [link for link in links_of(type(start)) if link.rel == rel]
    after_type, after_id = _split_cursor(after, steps, start)
    found: list[tuple[str, ObjectType]] = []
    for link in steps:
        far_end = link.target if isinstance(start, link.source) else link.source
        if after_type is not None and far_end.__name__ != after_type:
            continue
        page = _step(database, start, link, limit - len(found), after_id)
        found += [(far_end.__name__, far) for far in page.objects]
        if page.next is not None:
            return found, f"{far_end.__name__}/{page.next}"
        after_type = after_id = None
        if len(found) == limit:
            return found, f"{far_end.__name__}/{found[-1][1].id}" if link is not steps[-1] else None
    return found, None


def read_rows(object_type: type[ObjectType], rows: list[dict[str, Any]]) -> list[ObjectType]:
    """Typed objects of rows as the database answers them."""
    return _adapter(object_type).validate_python(rows)


def write_objects(object_type: type[ObjectType], objects: list[ObjectType]) -> bytes:
    """Objects as a JSON list."""
    return _adapter(object_type).dump_json(objects)


@lru_cache
def _adapter(object_type: type[ObjectType]) -> TypeAdapter[list[ObjectType]]:
    return TypeAdapter(list[object_type])  # type: ignore[valid-type]


def _step(database: Database, start: ObjectType, link: LinkType, limit: int, after: str | None) -> Page:
    if isinstance(start, link.source):
        target = link.target_id(start)
        if target is None or after is not None:
            return Page([], None)
        try:
            return Page([read_one(database, link.target, target)], None)
        except ObjectNotFound:  # gone since `start` was read
            return Page([], None)
    equal = dict(zip(link.columns, (getattr(start, name) for name in link.target.key), strict=True))
    return read_page(database, link.source, equal=equal, limit=limit, after=after)


def _split_cursor(after: str | None, steps: list[LinkType], start: ObjectType) -> tuple[str | None, str | None]:
    if after is None:
        return None, None
    type_name, _, object_id = after.partition("/")
    ends = {(link.target if isinstance(start, link.source) else link.source).__name__ for link in steps}
    if type_name not in ends or not object_id:
        raise ValueError("it is not a cursor of this link: take the next of the answer before")
    return type_name, object_id
