"""The one door of tenants: who may go through it, as whom, and what stays behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from database.errors import AccessRefused, DatabaseError, SchemaMissing
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from database.tenant_door import TenantDatabase
from two_operators import A, B, as_tenant, claims, claims_of, door_of, make_operators

BY_ID = OrderBy(("operator_id",))


@pytest.fixture
def service(database: Database) -> Database:
    """What looks after an installation, over each door."""
    make_operators(database)
    return database


@pytest.fixture
def door(service: Database, conninfo: str) -> Iterator[Database]:
    with door_of(service, conninfo) as door:
        yield door


@pytest.fixture
def gate(conninfo: str, postgres: PostgresDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A bare session of pylon_gate, for what nobody should try."""
    make_operators(postgres)
    with psycopg.connect(make_conninfo(conninfo, user="pylon_gate"), autocommit=True) as session:
        yield session


@pytest.mark.parametrize("role", ["admin", "member", "reader"])
def test_a_member_is_who_its_claims_say_and_the_table_confirms(door: Database, role: str) -> None:
    access = as_tenant(door, claims(A, role)).call("own_access")
    assert access == {"operator_id": A, "role": role, "user_id": f"user-a-{role}"}


def test_claims_can_lower_a_role_and_never_raise_it(door: Database) -> None:
    assert as_tenant(door, claims(A, "admin")).call("own_access")["role"] == "admin"
    for claimed, stored, effective in [
        ("reader", "admin", "reader"),
        ("member", "admin", "member"),
        ("admin", "member", "member"),
        ("admin", "reader", "reader"),
        ("owner", "admin", "reader"),
    ]:
        found = as_tenant(door, claims_of(f"user-a-{stored}", A, role=claimed)).call("own_access")
        assert found["role"] == effective, (claimed, stored)


REFUSED_CLAIMS = {
    "of another operator": claims_of("user-a-admin", B),
    "of nobody": claims_of("nobody", A),
    "of no operator": claims_of("user-a-admin", "no-such-operator"),
    "of an empty user": claims_of("", A),
    "of an empty operator": claims_of("user-a-admin", ""),
    "of the service": {**claims(A, "admin"), "role": "service_role"},
    "of a superuser": {**claims(A, "admin"), "role": "postgres"},
    "of nobody in particular": {**claims(A, "admin"), "role": "anon"},
    "without a role": {"sub": "user-a-admin", "app_metadata": {"operator_id": A}},
    "with what users write of themselves": {
        "sub": "user-a-admin",
        "role": "authenticated",
        "app_metadata": {"operator_id": "no-such-operator"},
        "user_metadata": {"operator_id": A},
    },
}
MALFORMED_CLAIMS: dict[str, Any] = {
    "empty": {},
    "a list": [],
    "a number of a user": {**claims(A), "sub": 17},
    "a list of users": {**claims(A), "sub": ["user-a-admin"]},
    "no user": {"role": "authenticated", "app_metadata": {"operator_id": A}},
    "no metadata": {"sub": "user-a-admin", "role": "authenticated"},
    "metadata of another kind": {"sub": "user-a-admin", "role": "authenticated", "app_metadata": A},
    "a list of operators": {**claims(A), "app_metadata": {"operator_id": [A]}},
}


@pytest.mark.parametrize("kind", REFUSED_CLAIMS)
def test_claims_that_nobody_confirms_are_refused(door: Database, kind: str) -> None:
    with pytest.raises(AccessRefused):
        as_tenant(door, REFUSED_CLAIMS[kind]).call("own_access")


@pytest.mark.parametrize("kind", MALFORMED_CLAIMS)
def test_claims_that_are_none_are_refused(door: Database, kind: str) -> None:
    document = {"p_claims": MALFORMED_CLAIMS[kind], "p_function": "own_access"}
    with pytest.raises(DatabaseError):
        door.call("call_as", document)


def test_a_membership_that_ends_ends_at_once(service: Database, door: Database) -> None:
    member = as_tenant(door, claims(A))
    assert member.call("own_access")["role"] == "member"
    answer = service.call("tenancy_remove_member", {"p_operator": A, "p_user_id": "user-a-member"})
    assert answer == {"state": "removed"}
    with pytest.raises(AccessRefused, match="not a member"):
        member.call("own_access")


@pytest.mark.parametrize(
    "function",
    [
        *("call_as", "tenancy_keys", "tenancy_api_key", "tenancy_audit", "tenancy_set_member", "tenancy_operators"),
        *("claim_notifications", "publish_decisions", "requeue_dead", "prune_history", "store_run", "beckn_receive"),
        *("beckn_place_order", "register_agent", "known_signals", "probe_write", "system_health", "queue_health"),
    ],
)
def test_what_is_not_for_tenants_is_refused(door: Database, function: str) -> None:
    with pytest.raises(AccessRefused, match="tenants may not call"):
        as_tenant(door, claims(A, "admin")).call(function)


@pytest.mark.parametrize(
    "function", ["no_such_function", "pg_sleep", "set_config", "operator_id", "let_tenants_in", ""]
)
def test_what_is_no_function_of_ours_is_not_found(door: Database, function: str) -> None:
    with pytest.raises(SchemaMissing):
        as_tenant(door, claims(A, "admin")).call(function)


def test_arguments_are_values_whatever_is_in_them(door: Database) -> None:
    odd = "x'); set role service_role; select ('\\"
    member = as_tenant(door, claims(A))
    assert member.select("operators", where=[Where("name", odd)], order=BY_ID) == []
    with pytest.raises(SchemaMissing):
        member.call("own_access", {'p_x" => 1); select (1': 1})
    with pytest.raises(SchemaMissing):
        member.select("operators", order=OrderBy(('name"; select 1; --',)))


def test_the_session_is_nobody_again_after_a_call_and_after_an_error(gate: psycopg.Connection[Any]) -> None:
    def state() -> Any:
        return gate.execute(
            "select current_user, current_setting('role'), "
            "coalesce(nullif(current_setting('request.jwt.claims', true), ''), 'none')"
        ).fetchone()

    nobody = ("pylon_gate", "none", "none")
    call = "select public.call_as(%s, %s)"
    assert state() == nobody
    gate.execute(call, (Jsonb(claims(A)), "own_access"))
    assert state() == nobody
    with pytest.raises(psycopg.Error):
        gate.execute(call, (Jsonb(claims(A)), "own_keys"))
    assert state() == nobody
    with gate.transaction():
        gate.execute(call, (Jsonb(claims(A)), "own_access"))
        assert state() == nobody  # in the same transaction too
        with pytest.raises(psycopg.Error), gate.transaction():
            gate.execute(call, (Jsonb(claims(A)), "own_keys"))
        assert state() == nobody


@pytest.mark.parametrize(
    "statement",
    [
        "select * from public.operators",
        "select * from public.compute_workloads",
        "select * from tenancy.api_keys",
        "select public.workloads_page(null, null, 10)",
        "select public.tenancy_keys('op-a')",
        "select tenant.own_keys()",
        "set role service_role",
        "set role pylon_worker",
        "set session authorization postgres",
        "insert into public.operators (operator_id, name) values ('x', 'x')",
        "select tenancy.let_tenants_in()",
    ],
)
def test_the_login_of_requests_can_do_nothing_without_the_door(gate: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gate.execute(statement.encode())


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_who_is_not_let_in_by_call_as_reaches_nothing(postgres: PostgresDatabase, role: str) -> None:
    """Not even a user with a token of its own: no table, no function, in none of the schemas."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as session:
        reached = session.execute(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname in ('public', 'tenancy', 'tenant') and c.relkind in ('r', 'v', 'p') "
            "and has_table_privilege(%(role)s, c.oid, 'select, insert, update, delete, truncate') "
            "union all select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            "where n.nspname in ('public', 'tenancy', 'tenant') "
            "and has_function_privilege(%(role)s, p.oid, 'execute')",
            {"role": role},
        ).fetchall()
    assert reached == []


def test_no_function_that_passes_over_policies_asks_a_tenant_who_it_is_for(postgres: PostgresDatabase) -> None:
    """What tenants may call and runs as its owner takes the operator from the claims, never from a parameter."""
    with psycopg.connect(postgres.conninfo) as session:
        found = session.execute(
            "select p.proname, coalesce(p.proargnames, '{}'), p.prosrc from pg_proc p where p.prosecdef "
            "and p.pronamespace in ('public'::regnamespace, 'tenant'::regnamespace, 'tenancy'::regnamespace) "
            "and has_function_privilege('pylon_tenant', p.oid, 'execute')"
        ).fetchall()
    assert len(found) >= 10
    of_the_claims = re.compile(r"tenancy\.(must_write|operator_id)\(\)\)\s*$")
    for name, parameters, body in found:
        named = {"p_operator_id", "p_operator_name", "p_tenant", "p_claims", "p_by"}
        assert not named & set(parameters), name
        # A public function that is handed the operator of the claims is the caller's own as well.
        assert name.startswith("own_") or not parameters or of_the_claims.search(body), name


def test_every_table_has_policies_and_only_one_for_each_command_and_role(postgres: PostgresDatabase) -> None:
    with psycopg.connect(postgres.conninfo) as session:
        without = session.execute(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname in ('public', 'tenancy') and c.relkind in ('r', 'p') and not c.relrowsecurity"
        ).fetchall()
        open_to_the_service = {
            name
            for (name,) in session.execute("select tablename from pg_policies where 'service_role' = any (roles)")
        }
        tables = {
            name
            for (name,) in session.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            )
        }
        doubled = session.execute(
            "select tablename, cmd, roles from pg_policies where schemaname = 'public' "
            "group by 1, 2, 3 having count(*) > 1"
        ).fetchall()
        granted_without_policy = session.execute(
            "select c.relname, command "
            "from pg_class c, unnest(array['select', 'insert', 'update', 'delete']) command "
            "where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' "
            "and has_table_privilege('pylon_tenant', c.oid, command) and not exists (select from pg_policies p "
            "where p.tablename = c.relname and 'pylon_tenant' = any (p.roles) and lower(p.cmd) = command)"
        ).fetchall()
        reached_in_tenancy = session.execute(
            "select c.relname from pg_class c where c.relnamespace = 'tenancy'::regnamespace and c.relkind = 'r' "
            "and has_table_privilege('pylon_tenant', c.oid, 'select, insert, update, delete')"
        ).fetchall()
    assert without == doubled == granted_without_policy == reached_in_tenancy == []
    assert open_to_the_service == tables


def test_a_worker_that_inherits_the_service_sees_every_row(conninfo: str, postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    worker = PostgresDatabase(make_conninfo(conninfo, user="pylon_worker"), max_connections=1)
    rows = worker.select("operators", order=BY_ID)
    worker.close()
    assert [row["operator_id"] for row in rows] == [A, B]


def test_a_tenant_changes_nothing_but_through_functions(door: Database) -> None:
    member: TenantDatabase = as_tenant(door, claims(A, "admin"))
    row = {"operator_id": "x", "name": "x"}
    for attempt in (
        lambda: member.insert("operators", [row]),
        lambda: member.upsert("operators", [row], conflict=["operator_id"]),
        lambda: member.update("operators", {"name": "x"}, where=[Where("operator_id", A)]),
        lambda: member.delete("operators", where=[Where("operator_id", A)]),
    ):
        with pytest.raises(AccessRefused):
            attempt()
    assert member.listen(["broadcast"]) is None
    with pytest.raises(AccessRefused):
        member.select("api_keys", order=OrderBy(("key_id",)))


def test_the_directory_is_everybodys(door: Database) -> None:
    member = as_tenant(door, claims(A))
    assert [row["operator_id"] for row in member.select("operators", order=BY_ID)] == [A, B]
    assert member.select("operators", order=BY_ID, after=[A], columns=["name"]) == [{"name": "Operator op-b"}]
    assert (
        member.select("operators", order=OrderBy(("operator_id",), descending=True), limit=1)[0]["operator_id"] == B
    )
    found = member.select("operators", where=[Where("operator_id", (A, "x"), "in")], order=BY_ID)
    assert [row["operator_id"] for row in found] == [A]
    assert member.select("operators", where=[Where("country", True, "is_null")], order=BY_ID) == []
