"""Two operators with their people, and doors to the database for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from psycopg.conninfo import make_conninfo

from database.interface import Database
from database.postgres import PostgresDatabase
from database.tenant_door import TenantDatabase

A, B = "op-a", "op-b"
MEMBERS = {
    (A, "admin"): "user-a-admin",
    (A, "member"): "user-a-member",
    (A, "reader"): "user-a-reader",
    (B, "admin"): "user-b-admin",
    (B, "member"): "user-b-member",
    (B, "reader"): "user-b-reader",
}


def make_operators(service: Database) -> None:
    """Operators A and B, each with an administrator, a member and a reader."""
    for operator in (A, B):
        service.call(
            "tenancy_set_operator", {"p_operator": {"operator_id": operator, "name": f"Operator {operator}"}}
        )
    for (operator, role), user_id in MEMBERS.items():
        answer = service.call(
            "tenancy_set_member", {"p_operator": operator, "p_user_id": user_id, "p_role": role, "p_by": "tests"}
        )
        assert answer == {"state": "set"}


def claims(operator: str, role: str = "member", **more: Any) -> dict[str, Any]:
    """Of the operator's user with this role."""
    return claims_of(MEMBERS[operator, role], operator, **more)


def claims_of(user_id: str, operator: str, **metadata: Any) -> dict[str, Any]:
    return {
        "sub": user_id,
        "role": "authenticated",
        "app_metadata": {"operator_id": operator, **metadata},
    }


def as_tenant(door: Database, document: Mapping[str, Any]) -> TenantDatabase:
    return TenantDatabase(door, document)


def gate_of(conninfo: str, max_connections: int = 4) -> PostgresDatabase:
    """The database as requests of tenants log in."""
    return PostgresDatabase(make_conninfo(conninfo, user="pylon_gate"), max_connections=max_connections)


@contextmanager
def door_of(database: Database, conninfo: str) -> Iterator[Database]:
    """What requests of tenants come through: a session of pylon_gate, or PostgREST with the secret key."""
    if not isinstance(database, PostgresDatabase):
        yield database
        return
    with closing(gate_of(conninfo)) as gate:
        yield gate
