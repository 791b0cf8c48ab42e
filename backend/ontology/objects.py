"""Reads objects of the ontology: one, a page, and a step along a link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from database.interface import Database, OrderBy, Row, Where
from database.stored_rows import RowUnreadable, UnreadableRow, read_alone, read_each
from ontology.types import KEY_SEPARATOR, LinkType, ObjectType, links_of, parse_key

MOST_LEFT_OUT = 1000
"""Rows that a page leaves out, at most: a table full of them is not read to its end for one page."""


class ObjectNotFound(LookupError):
    """There is no object with this id; `some_ids` are ids that there are."""

    def __init__(self, object_type: type[ObjectType], object_id: str, some_ids: list[str]) -> None:
        super().__init__(f"there is no {object_type.__name__} with the id {object_id!r}")
        self.some_ids = some_ids


class WrongCursor(ValueError):
    """The cursor that a client sent is none; the message says why."""


@dataclass(frozen=True)
class Page:
    """Some objects in the order of their keys, the cursor to go on from (None at the end), and what was left out."""

    objects: list[ObjectType]
    next: str | None
    unreadable: tuple[UnreadableRow, ...] = ()


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
        WrongCursor: `after` cannot be an id of this type.
    """
    position = None if after is None else _position(object_type, after)
    conditions = [
        Where(name, True, "is_null") if value is None else Where(name, value) for name, value in equal.items()
    ]
    objects: list[ObjectType] = []
    unreadable: list[UnreadableRow] = []
    while len(objects) <= limit:
        wanted = limit + 1 - len(objects)
        rows = database.select(
            object_type.table,
            where=conditions,
            order=OrderBy(object_type.key),
            after=position,
            limit=wanted,
            columns=object_type.listed(),
        )
        readable, left_out = read_what_can_be(object_type, rows)
        objects += readable
        unreadable += left_out
        if len(rows) < wanted or len(unreadable) > MOST_LEFT_OUT:
            break
        position = [rows[-1][name] for name in object_type.key]
    following = objects[limit - 1].id if len(objects) > limit else None
    return Page(objects[:limit], following, tuple(unreadable))


def read_one(database: Database, object_type: type[ObjectType], object_id: str) -> ObjectType:
    """The object with this id, with all its properties.

    Raises:
        ObjectNotFound: there is none.
        RowUnreadable: there is, and it cannot be read.
    """
    try:
        key = parse_key(object_type, object_id)
    except ValueError:
        key = None
    if key is not None:
        where = [Where(name, value) for name, value in key.items()]
        rows = database.select(object_type.table, where=where, order=OrderBy(object_type.key), limit=1)
        if rows:
            return read_alone(object_type.model_validate, rows[0], _name(object_type, rows[0]))
    some = read_page(database, object_type, equal={}, limit=10)
    raise ObjectNotFound(object_type, object_id, [known.id for known in some.objects])


def follow_link(
    database: Database, start: ObjectType, rel: str, *, limit: int, after: str | None = None
) -> tuple[list[tuple[str, ObjectType]], str | None]:
    """The objects one step along `rel` from `start`, either way: (type name, object), and the cursor.

    A cursor is Type/id of the last object seen, since a link may end at objects of several types.

    Raises:
        WrongCursor: `after` is not such a cursor.
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


def read_rows(object_type: type[ObjectType], rows: list[Row]) -> list[ObjectType]:
    """Typed objects of rows as the database answers them; one that cannot be read is logged and left out."""
    return read_what_can_be(object_type, rows)[0]


def read_what_can_be(object_type: type[ObjectType], rows: list[Row]) -> tuple[list[ObjectType], list[UnreadableRow]]:
    """Typed objects of rows, and the rows that cannot be read."""
    try:
        return _adapter(object_type).validate_python(rows), []
    except ValidationError:
        return read_each(object_type.model_validate, rows, lambda row: _name(object_type, row))


def write_objects(object_type: type[ObjectType], objects: list[ObjectType]) -> bytes:
    """Objects as a JSON list."""
    return _adapter(object_type).dump_json(objects)


def _position(object_type: type[ObjectType], after: str) -> list[Any]:
    try:
        return list(parse_key(object_type, after).values())
    except ValueError as error:
        raise WrongCursor(_first_line(error)) from None


def _first_line(error: ValueError) -> str:
    return str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)


def _name(object_type: type[ObjectType], row: Row) -> str:
    return f"{object_type.__name__}/" + KEY_SEPARATOR.join(str(row.get(name)) for name in object_type.key)


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
        except RowUnreadable as error:
            return Page([], None, (error.found,))
    equal = dict(zip(link.columns, (getattr(start, name) for name in link.target.key), strict=True))
    return read_page(database, link.source, equal=equal, limit=limit, after=after)


def _split_cursor(after: str | None, steps: list[LinkType], start: ObjectType) -> tuple[str | None, str | None]:
    if after is None:
        return None, None
    type_name, _, object_id = after.partition("/")
    ends = {(link.target if isinstance(start, link.source) else link.source).__name__ for link in steps}
    if type_name not in ends or not object_id:
        raise WrongCursor("it is not a cursor of this link: take next from the previous answer")
    return type_name, object_id
