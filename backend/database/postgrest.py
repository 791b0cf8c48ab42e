"""Supabase over its REST API: the `supabase` package, speaking to PostgREST."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import httpx
from postgrest.exceptions import APIError
from postgrest.types import CountMethod, ReturnMethod
from supabase import Client, ClientOptions, create_client

from database.errors import AccessRefused, DatabaseError, DatabaseUnreachable, error_of_sqlstate
from database.interface import READ_THROUGH, Listener, Order, Row, Where, check_write, need_condition
from half_hours import rfc3339

Answer = TypeVar("Answer")
Rows = list[Row]

REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
PAGE_ROWS = 1000  # Supabase answers at most this many rows, and says nothing when it cut
_SMALLEST_ROW_LIMIT = 100  # a project's own limit is a number of rows at least this large
_REPEAT_AFTER_S = (0.1, 0.5, 2.0)


class SupabaseDatabase:
    """The `Database` interface over HTTP/1.1: HTTP/2 on one shared client loses requests under threads."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._http = httpx.Client(
            http2=False,
            timeout=REQUEST_TIMEOUT,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=20),
        )
        options = ClientOptions(
            httpx_client=self._http,
            auto_refresh_token=False,
            persist_session=False,
        )
        self._client: Client = create_client(url, key, options)
        # Built now, since building it later is not thread-safe. One policy of retries for every kind of call: ours.
        self._client.postgrest.retry_enabled = False

    def select(
        self,
        table: str,
        *,
        where: Sequence[Where] = (),
        order: Order,
        after: Sequence[Any] | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> list[Row]:
        rows: list[Row] = []
        while limit is None or len(rows) < limit:
            wanted = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - len(rows))
            page = self._page(table, where, order, after, wanted, len(rows), columns)
            rows.extend(page)
            if not page or (len(page) < wanted and len(page) < _SMALLEST_ROW_LIMIT):
                break
        return rows

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        check_write(rows)

        def request() -> Rows:
            return cast(Rows, self._client.table(table).insert(_plain(rows)).execute().data)

        return self._run(request, repeatable=False)

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        if not rows:
            return []
        only_keys = set(check_write(rows)) <= set(conflict)

        def request() -> Rows:
            upsertion = self._client.table(table).upsert(
                _plain(rows), on_conflict=",".join(conflict), ignore_duplicates=only_keys
            )
            return cast(Rows, upsertion.execute().data)

        return self._run(request, repeatable=True)

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        need_condition(where)

        def request() -> Rows:
            return cast(Rows, _filtered(self._client.table(table).update(_plain(values)), where).execute().data)

        return self._run(request, repeatable=True)

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        need_condition(where)

        def request() -> int:
            deletion = self._client.table(table).delete(count=CountMethod("exact"), returning=ReturnMethod("minimal"))
            return _filtered(deletion, where).execute().count or 0

        return self._run(request, repeatable=True)

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        plain = _plain(dict(arguments or {}))
        return self._run(lambda: self._client.rpc(function, plain).execute().data, repeatable=repeatable)

    def listen(self, channels: Sequence[str]) -> Listener | None:  # noqa: ARG002 - REST carries no notifications
        return None

    def close(self) -> None:
        self._http.close()

    def _page(
        self,
        table: str,
        where: Sequence[Where],
        order: Order,
        after: Sequence[Any] | None,
        rows: int,
        offset: int,
        columns: Sequence[str] | None,
    ) -> list[Row]:
        def request() -> Rows:
            query = _filtered(self._client.table(READ_THROUGH.get(table, table)).select(*(columns or ["*"])), where)
            if after is not None:
                query = query.or_(_past(order, after))
            for column in order.columns:
                query = query.order(column, desc=order.descending)
            return cast(Rows, query.range(offset, offset + rows - 1).execute().data)

        return self._run(request, repeatable=True)

    def _run(self, request: Callable[[], Answer], *, repeatable: bool) -> Answer:
        delays = iter(_REPEAT_AFTER_S)
        while True:
            try:
                return request()
            except APIError as error:
                translated = _translated(error, self.url)
                lost = isinstance(translated, DatabaseUnreachable)
                if not ((lost and repeatable) or _rolled_back(error)) or (delay := next(delays, None)) is None:
                    raise translated from error
            except httpx.ConnectError as error:  # nothing was sent
                if (delay := next(delays, None)) is None:
                    raise DatabaseUnreachable(f"Supabase at {self.url} cannot be reached: {error}") from error
            except httpx.TransportError as error:
                if not repeatable or (delay := next(delays, None)) is None:
                    raise DatabaseUnreachable(
                        f"Supabase at {self.url} did not answer ({type(error).__name__}): {error}"
                    ) from error
            except ValueError as error:
                raise DatabaseError(f"Supabase at {self.url} did not answer JSON: {error}") from error
            time.sleep(delay)


def _translated(error: APIError, url: str) -> DatabaseError:
    code, message = str(error.code or ""), " ".join(str(error.message or error.details or error).split())
    if code in {"502", "503", "504", "520", "521", "522"}:
        return DatabaseUnreachable(f"Supabase at {url} answered {code}: {message}")
    if code == "404":
        return DatabaseUnreachable(f"no Supabase data API at {url}: check SUPABASE_URL")
    if "api key" in message.lower() or "jwt" in message.lower():
        return AccessRefused(f"Supabase refused the key ({message}): SUPABASE_KEY takes the project's secret key")
    return error_of_sqlstate(code, message)


def _rolled_back(error: APIError) -> bool:
    return error.code in {"40001", "40P01"}


def _filtered(query: Any, where: Sequence[Where]) -> Any:
    for condition in where:
        if condition.comparison == "is_null":
            query = (
                query.is_(condition.column, "null") if condition.value else query.not_.is_(condition.column, "null")
            )
        elif condition.comparison == "in":
            query = query.in_(condition.column, [_literal(value) for value in condition.value])
        else:
            query = query.filter(condition.column, condition.comparison, _literal(condition.value))
    return query


def _past(order: Order, after: Sequence[Any]) -> str:
    """(a, b) > (x, y) in PostgREST's words: a.gt.x, or a.eq.x and b.gt.y."""
    comparison = "lt" if order.descending else "gt"
    alternatives = []
    for position, column in enumerate(order.columns[: len(after)]):
        equal = [f"{c}.eq.{_quoted(v)}" for c, v in zip(order.columns[:position], after, strict=False)]
        alternatives.append(f"and({','.join([*equal, f'{column}.{comparison}.{_quoted(after[position])}'])})")
    return ",".join(alternatives)


def _quoted(value: Any) -> str:
    escaped = _literal(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return rfc3339(value) if isinstance(value, datetime) else value
