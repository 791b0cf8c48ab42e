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

from database.errors import AccessRefused, DatabaseError, DatabaseUnreachable, RowRefused, error_of_sqlstate
from database.interface import READ_THROUGH, Listener, OrderBy, Row, Where, check_write, need_condition
from database.rest_connection import rest_client
from grid.half_hours import rfc3339
from printable import LONGEST_REASON, printable

Answer = TypeVar("Answer")
Rows = list[Row]

CALL_WITHIN_S = 16.0  # repetitions included; the last of them may go on for as long as an exchange may take
PAGE_ROWS = 1000  # Supabase answers at most this many rows, and says nothing when it cut
_SMALLEST_ROW_LIMIT = 100  # a project's own limit is a number of rows at least this large
_REPEAT_AFTER_S = (0.1, 0.5, 2.0)


class SupabaseDatabase:
    """The `Database` interface over HTTP/1.1: HTTP/2 on one shared client loses requests under threads."""

    def __init__(self, url: str, key: str) -> None:
        """Sends nothing yet.

        Raises:
            DatabaseError: no client can be made of the URL, the key, and what the environment says of proxies.
        """
        self.url = url
        self._http = rest_client(url)
        options = ClientOptions(
            httpx_client=self._http,
            auto_refresh_token=False,
            persist_session=False,
        )
        try:
            self._client: Client = create_client(url, key, options)
        except Exception as error:
            self._http.close()
            raise DatabaseError(
                f"no Supabase client can be made ({type(error).__name__}: {printable(error)}): "
                "check SUPABASE_URL and SUPABASE_KEY"
            ) from error
        # Built now, since building it later is not thread-safe. One policy of retries for every kind of call: ours.
        self._client.postgrest.retry_enabled = False

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
            return _rows(self._client.table(table).insert(_plain(rows)).execute().data)

        return self._run(request, repeatable=False)

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        if not rows:
            return []
        only_keys = set(check_write(rows)) <= set(conflict)

        def request() -> Rows:
            upsertion = self._client.table(table).upsert(
                _plain(rows), on_conflict=",".join(conflict), ignore_duplicates=only_keys
            )
            return _rows(upsertion.execute().data)

        return self._run(request, repeatable=True)

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        need_condition(where)

        def request() -> Rows:
            return _rows(_filtered(self._client.table(table).update(_plain(values)), where).execute().data)

        return self._run(request, repeatable=True)

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        need_condition(where)

        def request() -> int:
            deletion = self._client.table(table).delete(count=CountMethod("exact"), returning=ReturnMethod("minimal"))
            count: int | None = _filtered(deletion, where).execute().count
            if count is None:
                raise DatabaseUnreachable("a deletion was answered without the number of rows")
            return count

        return self._run(request, repeatable=True)

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        def request() -> Any:
            return self._client.rpc(function, _plain(dict(arguments or {}))).execute().data

        return self._run(request, repeatable=repeatable)

    def listen(self, channels: Sequence[str]) -> Listener | None:  # noqa: ARG002 - REST carries no notifications
        return None

    def close(self) -> None:
        self._http.close()

    def _page(
        self,
        table: str,
        where: Sequence[Where],
        order: OrderBy,
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
            return _rows(query.range(offset, offset + rows - 1).execute().data)

        return self._run(request, repeatable=True)

    def _run(self, request: Callable[[], Answer], *, repeatable: bool) -> Answer:
        delays = iter(_REPEAT_AFTER_S)
        give_up_at = time.monotonic() + CALL_WITHIN_S
        failure: DatabaseError
        cause: Exception
        while True:
            try:
                return request()
            except APIError as error:
                failure, cause = _translated(error, self.url), error
                may_repeat = _rolled_back(error) or (repeatable and isinstance(failure, DatabaseUnreachable))
            except DatabaseUnreachable as error:
                failure, cause, may_repeat = error, error, repeatable
            except httpx.ConnectError as error:  # nothing was sent
                failure, cause = DatabaseUnreachable(f"Supabase at {self.url} cannot be reached: {error}"), error
                may_repeat = True
            except (httpx.HTTPError, httpx.StreamError) as error:
                told = f"Supabase at {self.url} did not answer ({type(error).__name__}): {printable(error)}"
                failure, cause, may_repeat = DatabaseUnreachable(told), error, repeatable
            except (UnicodeError, RecursionError) as error:
                raise RowRefused(f"this cannot be stored as JSON: {printable(error)}") from error
            except ValueError as error:
                told = f"Supabase at {self.url} gave an answer that cannot be read: {printable(error)}"
                failure, cause, may_repeat = DatabaseUnreachable(told), error, repeatable
            delay = next(delays, None)
            if not may_repeat or delay is None or time.monotonic() + delay > give_up_at:
                raise failure from cause
            time.sleep(delay)


def _rows(data: Any) -> Rows:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise DatabaseUnreachable(f"{printable(data, 80)} came instead of rows")
    return cast(Rows, data)


def _translated(error: APIError, url: str) -> DatabaseError:
    code = str(error.code or "")
    message = printable(" ".join(str(error.message or error.details or error).split()), LONGEST_REASON)
    if code == "404":
        return DatabaseUnreachable(f"no Supabase data API at {url}: check SUPABASE_URL")
    translated = error_of_sqlstate(code, f"Supabase at {url} answered: {message}" if code.isdigit() else message)
    if isinstance(translated, DatabaseUnreachable) and ("api key" in message.lower() or "jwt" in message.lower()):
        return AccessRefused(f"Supabase refused the key ({message}): SUPABASE_KEY takes the project's secret key")
    return translated


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


def _past(order: OrderBy, after: Sequence[Any]) -> str:
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
