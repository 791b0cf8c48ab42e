"""The database as one request has it: whole for the platform, and for anybody else as one tenant reaches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from database.errors import NobodyAsks
from database.interface import Calls, Database, Listener, OrderBy, Row, Where
from database.tenant_door import TenantDatabase

Service = TypeVar("Service")


class Caller(Protocol):
    """Who is asking.

    `is_platform`: sees every operator's. `claims`: what `call_as` is told of anybody else.
    """

    @property
    def is_platform(self) -> bool: ...

    def claims(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Viewer:
    """A `Caller` in whose name something is only read: what is found may be told the same one again, and nobody else.

    `operator` and `subject` are None for whoever sees everything.
    """

    operator: str | None = None
    subject: str | None = None

    @property
    def is_platform(self) -> bool:
        return self.operator is None

    def claims(self) -> Mapping[str, Any]:
        app_metadata = {"operator_id": self.operator, "role": "reader"}
        return {"sub": self.subject, "role": "authenticated", "app_metadata": app_metadata}


SEES_EVERYTHING = Viewer()


def viewer_of(caller: Caller | None) -> Viewer:
    """Whose eyes the answers to this caller are for.

    Raises:
        NobodyAsks: there is none.
    """
    known = _known(caller)
    if known.is_platform:
        return SEES_EVERYTHING
    claims = known.claims()
    return Viewer(claims["app_metadata"]["operator_id"], claims["sub"])


class CallersCalls:
    """Calls functions for requests, each as its caller may: as a tenant, or the platform."""

    def __init__(self, service: Calls, gate: Calls, caller: Callable[[], Caller | None]) -> None:
        """
        Args:
            service: the whole database, for the platform.
            gate: where `call_as` may be called, for tenants.
            caller: who makes the request that is being answered; None where nobody is known.
        """
        self._service = service
        self._gate = gate
        self._caller = caller

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        """As `Database.call`; raises `NobodyAsks` where there is no caller."""
        return self.of(self._caller()).call(function, arguments, repeatable=repeatable)

    def of(self, caller: Caller | None) -> Calls:
        """The same for this caller, also after its request.

        Raises:
            NobodyAsks: there is none.
        """
        return _as_reached_by(_known(caller), self._service, self._gate)


class CallersDatabase:
    """The `Database` interface for requests: each goes to the database as its caller has it.

    Every method raises `NobodyAsks` where there is no caller.
    """

    def __init__(self, service: Database, gate: Calls, caller: Callable[[], Caller | None]) -> None:
        """The arguments are those of `CallersCalls`."""
        self._service = service
        self._gate = gate
        self._caller = caller

    def of_caller(self) -> Database:
        """The database as the present caller has it, also after its request."""
        return _as_reached_by(self.known_caller(), self._service, self._gate)

    def known_caller(self) -> Caller:
        """Who makes the request that is being answered."""
        return _known(self._caller())

    def viewer(self) -> Viewer:
        """Whose eyes the answers are for just now."""
        return viewer_of(self._caller())

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
        return self.of_caller().select(table, where=where, order=order, after=after, limit=limit, columns=columns)

    def insert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        return self.of_caller().insert(table, rows)

    def upsert(self, table: str, rows: Sequence[Row], *, conflict: Sequence[str]) -> list[Row]:
        return self.of_caller().upsert(table, rows, conflict=conflict)

    def update(self, table: str, values: Row, *, where: Sequence[Where]) -> list[Row]:
        return self.of_caller().update(table, values, where=where)

    def delete(self, table: str, *, where: Sequence[Where]) -> int:
        return self.of_caller().delete(table, where=where)

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        return self.of_caller().call(function, arguments, repeatable=repeatable)

    def listen(self, channels: Sequence[str]) -> Listener | None:
        return self.of_caller().listen(channels)

    def close(self) -> None:
        """Nothing: both databases are their owners' to close."""


def viewer_through(database: object) -> Viewer:
    """Whose eyes the answers of a database are for just now: of one that all see whole, everybody's.

    Raises:
        NobodyAsks: it is one for requests, and this one has no caller.
    """
    return database.viewer() if isinstance(database, CallersDatabase) else SEES_EVERYTHING


def _as_reached_by(caller: Caller, service: Service, gate: Calls) -> Service | TenantDatabase:
    return service if caller.is_platform else TenantDatabase(gate, caller.claims())


def _known(caller: Caller | None) -> Caller:
    if caller is None:
        raise NobodyAsks("this request has no caller, so it reaches no data")
    return caller
