"""The database for a server of greenlets: its calls block, so they run in threads.

The server handles every connection in one thread, in greenlets, and none of them may block it. Nothing is
monkey-patched: the driver, and the recovery of the embedded server with its locks and subprocesses, run as they
do everywhere else. Whatever touches the server's own state runs in its one thread, and needs no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import gevent
from gevent.threadpool import ThreadPool

from database.callers import Caller, CallersCalls, CallersDatabase
from database.errors import DatabaseError, DatabaseUnreachable
from database.interface import Calls, Database, Listener, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from database.tenant_door import TenantDatabase
from gateway.serving.short_calls import GreenletConnection, ShortCalls

Answer = TypeVar("Answer")

THREADS = 16  # as many as the pool has connections
PATIENCE_S = 5.0
END_WITHIN_S = 2.0


class ThreadedDatabase:
    """A `Database` whose calls suspend the greenlet that makes them, and only that one.

    A call that has not answered within `patience_s`, the wait for a free thread included, raises
    `DatabaseUnreachable`: a client should hear it while it still listens. What it asked for may still be done.
    """

    def __init__(self, database: Database, *, threads: int = THREADS, patience_s: float = PATIENCE_S) -> None:
        self._database = database
        self._threads = ThreadPool(threads)
        self._patience_s = patience_s
        self._short_calls: ShortCalls | None = None

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
        return self._run(
            lambda: self._database.select(table, where=where, order=order, after=after, limit=limit, columns=columns)
        )

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        return self._run(lambda: self._database.insert(table, rows))

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        return self._run(lambda: self._database.upsert(table, rows, conflict=conflict))

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        return self._run(lambda: self._database.update(table, values, where=where))

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        return self._run(lambda: self._database.delete(table, where=where))

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        return self._run(lambda: self._database.call(function, arguments, repeatable=repeatable))

    def listen(self, channels: Sequence[str]) -> Listener | None:
        listener = self._run(lambda: self._database.listen(channels))
        return None if listener is None else _ThreadedListener(listener, self._threads)

    def run_apart(self, work: Callable[[Database], Answer]) -> Answer:
        """What `work` makes of the database, all of it in a thread: for what takes long to compute.

        Raises:
            DatabaseError: as `work` does.
        """
        return self._run(lambda: work(self._database))

    def short_calls(self) -> Calls:
        """For functions that read little, often: without a thread where the database is PostgreSQL itself."""
        database = self._database
        if not isinstance(database, PostgresDatabase):
            return self
        if self._short_calls is None:
            self._short_calls = ShortCalls(
                lambda: _apart(self._threads, lambda: database.connect(GreenletConnection)),
                otherwise=self,
                patience_s=self._patience_s,
            )
        return self._short_calls

    def close(self) -> None:
        """End the threads, but for those that a silent database holds; it is its owner's to close."""
        if self._short_calls is not None:
            self._short_calls.close()
        with gevent.Timeout(END_WITHIN_S, False):
            self._threads.kill()

    def _run(self, work: Callable[[], Answer]) -> Answer:
        too_late = DatabaseUnreachable(f"the database has not answered within {self._patience_s:g} s")
        with gevent.Timeout(self._patience_s, too_late):
            return _apart(self._threads, work)


class CallersThreadedDatabase(CallersDatabase):
    """The same for requests, each of which goes to the database as its caller has it."""

    def __init__(
        self, service: ThreadedDatabase, gate: ThreadedDatabase, caller: Callable[[], Caller | None]
    ) -> None:
        """`service` is for the platform, and `gate` for tenants, where `call_as` may be called."""
        super().__init__(service, gate, caller)
        self._threads = (service, gate)

    def run_apart(self, work: Callable[[Database], Answer]) -> Answer:
        """What `work` makes of the caller's database, in a thread; it raises `DatabaseError` as `work` does."""
        service, gate = self._threads
        caller = self.known_caller()
        if caller.is_platform:
            return service.run_apart(work)
        claims = caller.claims()  # the thread has no caller
        return gate.run_apart(lambda database: work(TenantDatabase(database, claims)))

    def short_calls(self) -> CallersCalls:
        service, gate = self._threads
        return CallersCalls(service.short_calls(), gate.short_calls(), self._caller)


RequestDatabase = ThreadedDatabase | CallersThreadedDatabase
"""What endpoints are given: the whole database, or where there are tenants, each caller's."""


class _ThreadedListener:
    def __init__(self, listener: Listener, threads: ThreadPool) -> None:
        self._listener = listener
        self._threads = threads

    def wait(self, timeout_s: float) -> list[str]:
        return _apart(self._threads, lambda: self._listener.wait(timeout_s))

    def close(self) -> None:
        self._listener.close()


def _apart(threads: ThreadPool, work: Callable[[], Answer]) -> Answer:
    """What `work` returns or raises, in one of the threads."""

    def outcome() -> tuple[Answer, None] | tuple[None, DatabaseError]:
        # Carried over as a value: one that is raised in a thread is also written to the log, trace and all.
        try:
            return work(), None
        except DatabaseError as error:
            return None, error

    answer, error = threads.apply(outcome)
    if error is not None:
        raise error
    return cast(Answer, answer)
