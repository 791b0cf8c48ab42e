"""Direct PostgreSQL (psycopg): any server from version 15, and the embedded one."""

from __future__ import annotations

import errno
import logging
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from database.connections import ANSWER_WITHIN_S, KEEPALIVES, ConnectionSilent, DeadlineConnection
from database.errors import DatabaseClosed, DatabaseError, DatabaseUnreachable, RowRefused, error_of_sqlstate
from database.interface import READ_THROUGH, Listener, OrderBy, Row, Where, check_write, need_condition
from database.listener import PostgresListener, SharedSession
from grid.half_hours import rfc3339

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
Answer = TypeVar("Answer")
OwnConnection = TypeVar("OwnConnection", bound=Connection)

CONNECT_TIMEOUT_S = 5
PROBE_TIMEOUT_S = 2
# A call, repetitions included, ends soon after this; it may begin no attempt with less than the second time left.
CALL_WITHIN_S = 16.0
SHORTEST_ATTEMPT_S = 2.0
SCRIPT_WITHIN_S = 120.0
IDLE_IS_SUSPECT_S = 30.0
IDLE_ANSWER_WITHIN_S = 2.0
# Only in sessions that are surely our own: behind a pooler they would be other clients' too.
OWN_SESSION: dict[str, Any] = {"prepare_threshold": 5, "options": "-c statement_timeout=30s"}
SHARED_SESSION: dict[str, Any] = {"prepare_threshold": None}
# In every statement, and for it alone: how the server writes times is a setting of the session otherwise.
_IN_UTC = sql.SQL("set_config('timezone', 'UTC', true)")
# What a unix socket says to whoever comes when as many wait already as may.
_TOO_MANY_KNOCK = os.strerror(errno.EAGAIN)
_REPEAT_AFTER_S = (0.1, 0.5, 2.0)
_SHORT_BYTES = 4096
_OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class PostgresDatabase:
    """The `Database` interface over a pool of psycopg connections: a call is one statement and transaction.

    Nothing is kept in a session, since behind a pooler in transaction mode every statement may run in another one,
    which other clients use as well; and no call waits longer than `CALL_WITHIN_S`, give or take a few seconds.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        own_sessions: bool = False,
        revive: Callable[[], None] | None = None,
        max_connections: int = 16,
    ) -> None:
        """Connects in the background.

        Args:
            own_sessions: there is surely no pooler in between, so sessions may hold prepared statements.
            revive: called when the server is gone, not when it is only silent: brings the embedded server back.

        Raises:
            DatabaseError: `conninfo` cannot be read.
        """
        self.conninfo = conninfo
        self._revive = revive
        try:
            given = conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as error:
            raise DatabaseError(f"this is not the address of a PostgreSQL server: {_brief(error)}") from error
        self._options: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "pylon-deg",
            **{name: value for name, value in KEEPALIVES.items() if name not in given},
            **(OWN_SESSION if own_sessions else SHARED_SESSION),
        }
        # Connections that are older than this may have gone silent with one of them, and are being replaced.
        self._trusted_since = 0.0
        self._told_of_polling = False
        self._pool: ConnectionPool[DeadlineConnection] = ConnectionPool(
            conninfo,
            connection_class=DeadlineConnection,
            kwargs=self._options,
            check=self._refuse_if_useless,
            min_size=1,
            max_size=max_connections,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            open=False,
        )
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._pool.open(wait=False)

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
        conditions, parameters = _conditions(where)
        if after is not None:
            conditions.append(_past(order, len(after)))
            parameters.extend(_parameter(value) for value in after)
        direction = sql.SQL(" desc" if order.descending else " asc")
        query = sql.SQL(
            "select coalesce(json_agg(r), '[]')::text from {}, (select {} from {} {} order by {} {}) as r"
        ).format(
            _IN_UTC,
            sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*"),
            sql.Identifier("public", READ_THROUGH.get(table, table)),
            _where(conditions),
            sql.SQL(", ").join(sql.Identifier(column) + direction for column in order.columns),
            sql.SQL("limit %s") if limit is not None else sql.SQL(""),
        )
        if limit is not None:
            parameters.append(limit)
        return _rows(self._json(query, parameters, repeatable=True))

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        return self._write(table, rows, sql.SQL(""), repeatable=False)

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        if not rows:
            return []
        replaced = [column for column in check_write(rows) if column not in conflict]
        settings = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in replaced)
        clause = sql.SQL("on conflict ({}) do {}").format(
            sql.SQL(", ").join(map(sql.Identifier, conflict)),
            sql.SQL("update set {}").format(settings) if replaced else sql.SQL("nothing"),
        )
        return self._write(table, rows, clause, repeatable=True)

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        need_condition(where)
        conditions, parameters = _conditions(where)
        target = sql.Identifier("public", table)
        query = sql.SQL(
            "with source as (select * from jsonb_populate_record(null::{table}, %s::jsonb)), "
            "changed as (update {table} set ({columns}) = (select {columns} from source) {where} "
            "returning {table}.*) "
            "select coalesce(json_agg(changed), '[]')::text from {in_utc}, changed"
        ).format(
            in_utc=_IN_UTC,
            table=target,
            columns=sql.SQL(", ").join(map(sql.Identifier, values)),
            where=_where(conditions),
        )
        return _rows(self._json(query, [_dumps(values), *parameters], repeatable=True))

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        need_condition(where)
        conditions, parameters = _conditions(where)
        query = sql.SQL("delete from {} {}").format(sql.Identifier("public", table), _where(conditions))
        return self._run(lambda connection: connection.execute(query, parameters).rowcount, repeatable=True)

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        return self._run(lambda connection: call_over(connection, function, arguments or {}), repeatable=repeatable)

    def listen(self, channels: Sequence[str]) -> Listener | None:
        try:
            return PostgresListener(self._connect(DeadlineConnection), channels, self._notify)
        except SharedSession as shared:
            if not self._told_of_polling:
                self._told_of_polling = True
                log.info("%s: news is found by polling", shared)
            return None
        except psycopg.Error as error:
            raise _translated(error) from error

    def connect(self, kind: type[OwnConnection]) -> OwnConnection:
        """A connection outside the pool, the caller's to close; `kind` is how it waits."""
        try:
            return self._connect(kind)
        except psycopg.Error as error:
            raise _translated(error) from error

    def run_script(self, script: str) -> None:
        """Run a whole SQL file in one transaction."""

        def execute(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(script.encode(), prepare=False)

        self._run(execute, repeatable=False, answer_within_s=SCRIPT_WITHIN_S)

    def scalar(self, query: str) -> Any:
        """The first value of the first row of a constant query."""

        def fetch(connection: Connection) -> Any:
            row = connection.execute(query.encode()).fetchone()
            return None if row is None else row[0]

        return self._run(fetch, repeatable=True)

    def close(self) -> None:
        self._pool.close(timeout=2)

    def _write(self, table: str, rows: Sequence[Row], clause: sql.Composable, *, repeatable: bool) -> list[Row]:
        if not rows:
            return []
        columns = sql.SQL(", ").join(map(sql.Identifier, check_write(rows)))
        query = sql.SQL(
            "with stored as (insert into {table} ({columns}) "
            "select {columns} from jsonb_populate_recordset(null::{table}, %s::jsonb) {clause} returning *) "
            "select coalesce(json_agg(stored), '[]')::text from {in_utc}, stored"
        ).format(table=sql.Identifier("public", table), columns=columns, clause=clause, in_utc=_IN_UTC)
        return _rows(self._json(query, [_dumps(list(rows))], repeatable=repeatable))

    def _json(self, query: sql.Composed, parameters: Sequence[Any], *, repeatable: bool) -> Any:
        return self._run(lambda connection: _document(connection, query, parameters), repeatable=repeatable)

    def _connect(self, kind: type[OwnConnection]) -> OwnConnection:
        return kind.connect(self.conninfo, **self._options)

    def _notify(self, channel: str) -> None:
        self._run(lambda connection: connection.execute("select pg_notify(%s, '')", [channel]), repeatable=True)

    def _run(
        self,
        work: Callable[[Connection], Answer],
        *,
        repeatable: bool,
        answer_within_s: float | None = None,
    ) -> Answer:
        delays = iter(_REPEAT_AFTER_S)
        longest_answer_s = answer_within_s or ANSWER_WITHIN_S
        give_up_at = time.monotonic() + max(CALL_WITHIN_S, longest_answer_s)
        while True:
            left_s = max(SHORTEST_ATTEMPT_S, give_up_at - time.monotonic())
            try:
                with self._pool.connection(timeout=min(CONNECT_TIMEOUT_S, left_s)) as connection:
                    connection.answer_within(min(longest_answer_s, left_s))
                    return work(connection)
            except UnicodeEncodeError as error:
                raise RowRefused(f"this cannot be stored as text: {error.reason}") from error
            except PoolClosed as error:
                raise DatabaseClosed("the database is closed here: this process is stopping") from error
            except PoolTimeout as error:
                # No connection was had, so nothing was sent: asking again is safe.
                revived = self._revived()
                if not revived or (delay := _next_delay(delays, give_up_at)) is None:
                    raise DatabaseUnreachable(f"no connection to PostgreSQL within {CONNECT_TIMEOUT_S} s") from error
            except psycopg.Error as error:
                if isinstance(error, ConnectionSilent):
                    self._distrust_others(error)
                elif _is_lost(error):
                    self._revived()
                if not _may_repeat(error, repeatable) or (delay := _next_delay(delays, give_up_at)) is None:
                    raise _translated(error) from error
            time.sleep(delay)

    def _distrust_others(self, silent: ConnectionSilent) -> None:
        if silent.opened_at >= self._trusted_since:
            log.warning("a connection to PostgreSQL went silent: it and those opened before now are replaced")
            self._trusted_since = time.monotonic()
            self._pool.drain()

    def _refuse_if_useless(self, connection: DeadlineConnection) -> None:
        """Close and refuse a connection that the server closed, or that went silent, while it was idle."""
        try:
            self._check(connection)
        except psycopg.Error:
            connection.close()  # or the pool would take it back and offer it again
            raise

    def _check(self, connection: DeadlineConnection) -> None:
        # An idle connection has nothing to read, unless the server has hung up: seen here without a round trip.
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            connection.close()
            self._revived()
            raise psycopg.OperationalError("the server closed this connection while it was idle")
        if time.monotonic() - connection.heard_at > IDLE_IS_SUSPECT_S:
            connection.answer_within(IDLE_ANSWER_WITHIN_S)
            try:
                connection.execute("select 1")
            except ConnectionSilent as silent:
                self._distrust_others(silent)
                raise

    def _revived(self) -> bool:
        """Whether there is a server again, or still, that takes connections."""
        if self._revive is None:
            return False
        try:
            psycopg.connect(self.conninfo, connect_timeout=PROBE_TIMEOUT_S).close()
        except psycopg.errors.ConnectionTimeout:
            # It is there, and can only be waited for. Looking closer, with libpq's ping, would hold up every thread.
            return False
        except psycopg.OperationalError as error:
            if _TOO_MANY_KNOCK in str(error):
                return False  # as above: it is there, and takes nobody in
            self._revive()
        return True


def call_over(connection: Connection, function: str, arguments: Mapping[str, Any]) -> Any:
    """What `PostgresDatabase.call` does, over one connection; raises what psycopg raises."""
    query = _call_of(function, tuple(arguments))
    return _document(connection, query, [_parameter(value) for value in arguments.values()])


def _document(connection: Connection, query: sql.Composed | bytes, parameters: Sequence[Any]) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return None if row is None or row[0] is None else orjson.loads(row[0])


@lru_cache
def _call_of(function: str, arguments: tuple[str, ...]) -> bytes:
    """The statement that calls a function; kept, since composing it takes as long as a short call."""
    return (
        sql.SQL("select {}({})::text from {}")
        .format(
            sql.Identifier("public", function),
            sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(name)) for name in arguments),
            _IN_UTC,
        )
        .as_bytes(None)
    )


def _next_delay(delays: Iterator[float], give_up_at: float) -> float | None:
    """How long to pause before another attempt; None when there is to be none."""
    delay = next(delays, None)
    if delay is None or time.monotonic() + delay + SHORTEST_ATTEMPT_S > give_up_at:
        return None
    return delay


def _is_lost(error: psycopg.Error) -> bool:
    if isinstance(error, psycopg.errors.QueryCanceled) or not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate[:2] in {"08", "57"}


def _may_repeat(error: psycopg.Error, repeatable: bool) -> bool:
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return True  # rolled back by the server: it has not happened
    return repeatable and _is_lost(error)


def _translated(error: psycopg.Error) -> DatabaseError:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return DatabaseUnreachable(
            "the statement took too long and was stopped: the database is busy, or a lock is held"
        )
    if error.sqlstate is None:
        if isinstance(error, psycopg.OperationalError):
            return DatabaseUnreachable(f"PostgreSQL does not answer: {_brief(error)}")
        return RowRefused(_brief(error)) if isinstance(error, psycopg.DataError) else DatabaseError(_brief(error))
    return error_of_sqlstate(error.sqlstate, _brief(error))


def _brief(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())


def _conditions(where: Sequence[Where]) -> tuple[list[sql.Composable], list[Any]]:
    conditions: list[sql.Composable] = []
    parameters: list[Any] = []
    for condition in where:
        column = sql.Identifier(condition.column)
        if condition.comparison == "is_null":
            conditions.append(column + sql.SQL(" is null" if condition.value else " is not null"))
        elif condition.comparison == "in":
            conditions.append(column + sql.SQL(" = any(%s)"))
            parameters.append([_parameter(value) for value in condition.value])
        else:
            conditions.append(column + sql.SQL(f" {_OPERATORS[condition.comparison]} %s"))
            parameters.append(_parameter(condition.value))
    return conditions, parameters


def _past(order: OrderBy, length: int) -> sql.Composable:
    return sql.SQL("({}) {} ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, order.columns[:length])),
        sql.SQL("<" if order.descending else ">"),
        sql.SQL(", ").join(sql.Placeholder() * length),
    )


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL("")


def _parameter(value: Any) -> Any:
    # Documents travel as text; the server gives them the type its function declares.
    return _dumps(value) if isinstance(value, dict | list | tuple) else value


class _Document:
    """A document on its way to the server: UTF-8, as it was written and as it is sent."""

    def __init__(self, text: bytes) -> None:
        self.text = text


class _DocumentDumper(Dumper):
    """Sends it as text, of whatever type is wanted there. A batch of decisions is megabytes, copied seldom."""

    def dump(self, obj: _Document) -> bytes:
        return obj.text


psycopg.adapters.register_dumper(_Document, _DocumentDumper)


def _dumps(value: Any) -> _Document | str:
    try:
        text = orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError as error:
        raise RowRefused(f"this cannot be stored as JSON: {error}") from error
    # To copy a short one costs less than to find the dumper, which psycopg does anew for each statement.
    return text.decode() if len(text) <= _SHORT_BYTES else _Document(text)


def _plain(value: Any) -> Any:
    if hasattr(value, "tzinfo"):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _rows(document: Any) -> list[Row]:
    if not isinstance(document, list):
        raise DatabaseUnreachable("PostgreSQL answered with something other than rows")
    return document
