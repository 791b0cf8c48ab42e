"""The one small interface behind which every database stands.

Rows go in and come out as JSON objects: times are RFC 3339 text, numbers are numbers, a null is None.
Typed objects are made of them above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Row = dict[str, Any]
Comparison = Literal["eq", "gt", "gte", "lt", "lte", "in", "is_null"]


# Tables that are read through a view, which has the same columns and puts together what is stored in pieces.
READ_THROUGH = {"orchestration_decisions": "audited_decisions"}


@dataclass(frozen=True)
class Where:
    """One condition on one column. `in` takes a sequence, `is_null` takes True or False."""

    column: str
    value: Any
    comparison: Comparison = "eq"


@dataclass(frozen=True)
class OrderBy:
    """The columns rows are sorted by, all in one direction; together they must tell rows apart."""

    columns: tuple[str, ...]
    descending: bool = False


Order = OrderBy  # the name it had, which scripts of others import


class Calls(Protocol):
    """As much of a `Database` as is needed where only functions are called."""

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any: ...


class Listener(Protocol):
    """A connection that hears the database's notifications."""

    def wait(self, timeout_s: float) -> list[str]:
        """Channels that were notified, waiting up to `timeout_s`; empty when there was nothing.

        Raises:
            DatabaseUnreachable: the connection is lost; open a new listener.
        """

    def close(self) -> None: ...


class Database(Protocol):
    """Create, read, update, delete and call functions. Every method is safe to use from many threads.

    All methods raise `database.errors.DatabaseError` or one of its kinds. Reads, upserts, updates and deletes
    are repeated by themselves after a lost connection; inserts and calls are not, unless the caller says that
    a call may be (`repeatable`).
    """

    def select(
        self,
        table: str,
        *,
        where: Sequence[Where] = (),
        order: OrderBy,
        after: Sequence[Any] | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[Row]:
        """Rows of a table or view that meet every condition, whole however many there are.

        `after` is the position to go on from: the values of the `order` columns of the last row seen.
        """

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        """Store new rows, all or none, and return them as stored. All rows name the same columns."""

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        """Store rows; one with the `conflict` columns of a stored row replaces its other named columns."""

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        """Set columns of the rows that meet every condition; at least one condition is needed."""

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        """Delete the rows that meet every condition (at least one is needed); returns how many there were."""

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        """Call an SQL function by name, as one transaction, and return its JSON document."""

    def listen(self, channels: Sequence[str]) -> Listener | None:
        """A listener for these channels, or None where the connection cannot carry notifications."""

    def close(self) -> None:
        """Close every connection; an embedded database stops when its last user leaves."""


def check_write(rows: Sequence[Row]) -> list[str]:
    """The columns that all `rows` name.

    Raises:
        ValueError: the rows do not all name the same columns, so a column would be nulled by accident.
    """
    columns = list(rows[0])
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("all rows of one write must name the same columns")
    return columns


def need_condition(where: Sequence[Where]) -> None:
    """Refuse a change without a condition.

    Raises:
        ValueError: there is none, so every row of the table would change.
    """
    if not where:
        raise ValueError("refused to change every row of a table: give at least one condition")
