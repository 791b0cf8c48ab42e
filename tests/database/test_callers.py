"""The database of requests: each caller's own, and nobody's where nobody is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from database.callers import SEES_EVERYTHING, Caller, CallersCalls, CallersDatabase, Viewer, viewer_of, viewer_through
from database.errors import AccessRefused, NobodyAsks, TenantRefused
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from tenancy.principals import Principal, platform_administrator
from tenancy.scopes import ROLE_SCOPES, Role
from two_operators import MEMBERS, A, B, claims_of, gate_of, make_operators

BY_ID = OrderBy(("operator_id",))


@dataclass
class Doors:
    """A database whose caller the test chooses."""

    service: PostgresDatabase
    gate: PostgresDatabase
    caller: Caller | None = None

    def database(self) -> CallersDatabase:
        return CallersDatabase(self.service, self.gate, lambda: self.caller)

    def calls(self) -> CallersCalls:
        return CallersCalls(self.service, self.gate, lambda: self.caller)


@pytest.fixture
def doors(postgres: PostgresDatabase, conninfo: str) -> Iterator[Doors]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    yield Doors(postgres, gate)
    gate.close()


def member(operator: str, role: Role = Role.MEMBER) -> Principal:
    return Principal(operator, MEMBERS[operator, str(role)], role, ROLE_SCOPES[role])


ASKING: list[Callable[[Database], object]] = [
    lambda database: database.select("operators", order=BY_ID),
    lambda database: database.insert("operators", [{"operator_id": "x", "name": "X"}]),
    lambda database: database.upsert("operators", [{"operator_id": "x", "name": "X"}], conflict=["operator_id"]),
    lambda database: database.update("operators", {"name": "X"}, where=[Where("operator_id", A)]),
    lambda database: database.delete("operators", where=[Where("operator_id", A)]),
    lambda database: database.call("tenancy_operators"),
    lambda database: database.listen(["broadcast"]),
]


@pytest.mark.parametrize("asking", ASKING)
def test_without_a_caller_nothing_is_reached(doors: Doors, asking: Callable[[Database], object]) -> None:
    before = doors.service.select("operators", order=BY_ID)
    with pytest.raises(NobodyAsks):
        asking(doors.database())
    assert doors.service.select("operators", order=BY_ID) == before
    with pytest.raises(NobodyAsks):
        doors.calls().call("own_access")
    with pytest.raises(NobodyAsks):
        viewer_through(doors.database())


def test_each_caller_acts_as_itself_and_the_platform_as_everybody(doors: Doors) -> None:
    for operator in (A, B):
        doors.caller = member(operator)
        for door in (doors.database(), doors.calls()):
            assert door.call("own_access") == {
                "operator_id": operator,
                "role": "member",
                "user_id": MEMBERS[operator, "member"],
            }
    doors.caller = platform_administrator()
    assert {row["operator_id"] for row in doors.database().call("tenancy_operators")} >= {A, B}


@pytest.mark.parametrize("asking", ASKING[1:6])
def test_a_tenant_has_no_tables_and_no_functions_of_the_platforms(
    doors: Doors, asking: Callable[[Database], object]
) -> None:
    doors.caller = member(A, Role.ADMIN)
    with pytest.raises(TenantRefused):
        asking(doors.database())
    assert doors.database().listen(["broadcast"]) is None


def test_a_member_that_is_removed_is_refused_at_once(doors: Doors) -> None:
    doors.caller = member(A)
    database = doors.database()
    assert database.call("own_access")["operator_id"] == A
    doors.service.call("tenancy_remove_member", {"p_operator": A, "p_user_id": MEMBERS[A, "member"]})
    for refused in ("own_access", "live_state"):
        with pytest.raises(TenantRefused):
            database.call(refused)


def test_a_database_that_was_taken_for_a_caller_stays_that_callers(doors: Doors) -> None:
    doors.caller = member(A)
    taken = doors.database().of_caller()
    doors.caller = member(B)
    assert taken.call("own_access")["operator_id"] == A
    doors.caller = None
    assert taken.call("own_access")["operator_id"] == A


def test_viewers_are_told_apart_by_operator_and_user(doors: Doors) -> None:
    seen = {viewer_of(member(operator, role)) for operator in (A, B) for role in (Role.READER, Role.MEMBER)}
    assert len(seen) == 4
    assert viewer_of(platform_administrator()) == SEES_EVERYTHING
    assert viewer_through(doors.service) == SEES_EVERYTHING
    doors.caller = member(A)
    assert viewer_through(doors.database()) == Viewer(A, MEMBERS[A, "member"])
    # What is read for a viewer is read as its user, who then only reads.
    assert doors.calls().of(Viewer(A, MEMBERS[A, "admin"])).call("own_access")["role"] == "reader"
    assert Viewer(A, MEMBERS[A, "admin"]).claims() == claims_of(MEMBERS[A, "admin"], A, role="reader")


def test_other_trouble_than_a_tenants_rights_is_not_a_tenants(doors: Doors) -> None:
    doors.caller = member(A)
    with pytest.raises(AccessRefused) as refused:
        doors.gate.select("compute_workloads", order=OrderBy(("job_id",)))
    assert not isinstance(refused.value, TenantRefused)
