"""The database as one tenant reaches it: its own rows, through the one function that is its door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from database.errors import AccessRefused, TenantRefused
from database.interface import Calls, Listener, OrderBy, Row, Where


class TenantDatabase:
    """A `Database` in which every call is `call_as` for one principal, and nothing else reaches the tables.

    `claims` are what `call_as` takes: `sub`, `role` and `app_metadata` with the `operator_id`. Whether they are true
    is the database's to say: a principal that is no member of that operator meets `TenantRefused`, always.
    """

    def __init__(self, door: Calls, claims: Mapping[str, Any]) -> None:
        self._door = door
        self._claims = dict(claims)

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        asked = {"p_claims": self._claims, "p_function": function, "p_arguments": dict(arguments or {})}
        try:
            return self._door.call("call_as", asked, repeatable=repeatable)
        except AccessRefused as error:
            if not error.lacks_right:
                raise
            raise TenantRefused(f"a tenant may not do this: {function} ({error})") from error

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
        rows: list[Row] = self.call(
            "select_rows",
            {
                "p_table": table,
                "p_where": [
                    {"column": one.column, "comparison": one.comparison, "value": _listed(one.value)} for one in where
                ],
                "p_order": list(order.columns),
                "p_descending": order.descending,
                "p_after": None if after is None else list(after),
                "p_limit": limit,
                "p_columns": None if columns is None else list(columns),
            },
            repeatable=True,
        )
        return rows

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        return _refused(table, rows)

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        return _refused(table, rows, conflict)

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        return _refused(table, values, where)

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        return _refused(table, where)

    def listen(self, channels: Sequence[str]) -> Listener | None:
        """None, whatever the channels: who listens hears of everybody."""
        del channels
        return None

    def close(self) -> None:
        """Nothing: the door is many tenants'."""


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, set | frozenset | tuple) else value


def _refused(table: str, *_: object) -> NoReturn:
    raise TenantRefused(f"a tenant may change {table} only through functions")
