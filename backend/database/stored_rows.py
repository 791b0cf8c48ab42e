"""Stored rows as typed objects, each by itself: one that cannot be read is named and left out, without the others.

The tables refuse what cannot be read (`database/sql/schema/08_values.sql`); an old row of the audit log, or one
stored past the checks, may hold it all the same.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from printable import printable

Read = TypeVar("Read")
Row = dict[str, Any]

LEFT_OUT = "Stored rows that cannot be read, and are left out of this answer; absent when there are none"
MOST_REMEMBERED = 1000
LONGEST_NAME = 200

_log = logging.getLogger(__name__)
_told: OrderedDict[tuple[str, str], None] = OrderedDict()
_lock = Lock()


class UnreadableRow(BaseModel):
    """A stored row that is left out of an answer."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {"row": "ComputeWorkload/train-1", "reason": "deadline: Input should be a valid datetime"}
        },
    )

    row: str = Field(description="Which it is: Type/id")
    reason: str = Field(description="What in it cannot be read, and why")


class RowUnreadable(Exception):
    """The one row that was asked for cannot be read; `found` names it."""

    def __init__(self, found: UnreadableRow) -> None:
        super().__init__(f"the stored {found.row} cannot be read ({found.reason}): correct it in the database")
        self.found = found


def read_each(
    read: Callable[[Row], Read], rows: Iterable[Row], name: Callable[[Row], str]
) -> tuple[list[Read], list[UnreadableRow]]:
    """The rows that `read` takes, and those that it does not. `name` gives a row's Type/id; each is logged once."""
    objects: list[Read] = []
    unreadable: list[UnreadableRow] = []
    for row in rows:
        try:
            objects.append(read(row))
        except ValidationError as error:  # noqa: PERF203 - to leave out one row is the purpose
            unreadable.append(unreadable_row(name(row), error))
    return objects, unreadable


def read_alone(read: Callable[[Row], Read], row: Row, name: str) -> Read:
    """The row as `read` takes it.

    Raises:
        RowUnreadable: it does not.
    """
    try:
        return read(row)
    except ValidationError as error:
        raise RowUnreadable(unreadable_row(name, error)) from None


def left_out(unreadable: Sequence[UnreadableRow]) -> dict[str, Sequence[UnreadableRow]]:
    """The member of an answer that names them, if there are any."""
    return {"unreadable": unreadable} if unreadable else {}


def unreadable_row(name: str, error: ValidationError) -> UnreadableRow:
    """The row of this name, which `read` refused with `error`; said once in the log."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    reason = printable(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
    found = UnreadableRow(row=printable(name, LONGEST_NAME), reason=reason)
    if _is_new(found):
        _log.error("the stored %s cannot be read and is left out: %s", found.row, found.reason)
    return found


def _is_new(found: UnreadableRow) -> bool:
    with _lock:
        known = (found.row, found.reason) in _told
        _told[found.row, found.reason] = None
        _told.move_to_end((found.row, found.reason))
        if len(_told) > MOST_REMEMBERED:
            _told.popitem(last=False)
        return not known
