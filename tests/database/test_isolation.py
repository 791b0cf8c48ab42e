"""Several operators are served only where Row Level Security holds; where it does not, one line says why."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres
from database.isolation import IsolationMissing, check_isolation, refuse_unless_isolated
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from database.schema import install_schema
from postgres_servers import postgres_of_version
from postgrest_server import PostgrestServer
from two_operators import gate_of


@pytest.fixture
def gate(conninfo: str) -> Iterator[PostgresDatabase]:
    database = gate_of(conninfo, max_connections=1)
    yield database
    database.close()


def told(database: PostgresDatabase) -> str:
    with pytest.raises(IsolationMissing) as refusal:
        refuse_unless_isolated(database)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_the_gate_of_a_new_database_is_isolated(gate: PostgresDatabase) -> None:
    refuse_unless_isolated(gate)
    assert check_isolation(gate).session == "pylon_gate"


def test_so_is_postgrest(postgrest: PostgrestServer) -> None:
    supabase = SupabaseDatabase(postgrest.url, postgrest.key)
    found = check_isolation(supabase)
    supabase.close()
    assert found.holds, found.reasons


def test_a_superuser_is_refused(postgres: PostgresDatabase) -> None:
    assert "does not hold for the role postgres" in told(postgres)


def test_who_may_become_the_service_is_refused(conninfo: str) -> None:
    worker = PostgresDatabase(make_conninfo(conninfo, user="pylon_worker"), max_connections=1)
    assert "may become service_role" in told(worker)
    worker.close()


@pytest.mark.own_database
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("alter table public.compute_workloads disable row level security", "without a policy: compute_workloads"),
        ("drop policy tenant_select on public.pipeline_runs", "without a policy: pipeline_runs"),
        ("create policy wide on public.compute_workloads using (true)", "not ours let tenants in: wide on compute_w"),
        ("grant select on public.beckn_inbox to pylon_tenant", "without a policy: beckn_inbox"),
        (
            "create or replace view public.audited_decisions as select * from public.audited_decisions",
            "views show tenants what their owner sees: audited_decisions",
        ),
        ("alter view public.audited_decisions reset (security_invoker)", "views show tenants"),
        ("grant select on public.operators to authenticated", "anon or authenticated reach tables: operators"),
        ("grant select on tenancy.api_keys to anon", "anon or authenticated reach tables: api_keys"),
        ("revoke select on public.compute_workloads from pylon_tenant", "policies of tenants are missing"),
    ],
)
def test_what_undoes_it_is_named(postgres: PostgresDatabase, gate: PostgresDatabase, fault: str, reason: str) -> None:
    if "create or replace view" in fault:
        definition = postgres.scalar("select pg_get_viewdef('public.audited_decisions'::regclass)")
        fault = f"create or replace view public.audited_decisions as {definition}"
    postgres.run_script(fault)
    assert reason in told(gate)


def test_session_settings_that_undo_it_are_named(conninfo: str) -> None:
    careless = PostgresDatabase(
        make_conninfo(conninfo, user="pylon_gate", options="-c row_security=off"), max_connections=1
    )
    assert "row_security is off" in told(careless)
    careless.close()


@pytest.mark.parametrize(("major", "holds"), [(15, True), (16, False)])
def test_old_minor_versions_are_refused(major: int, holds: bool) -> None:
    """Debian's 15 is up to date; the 16.2 of PyPI shows tenants the planner's statistics of others."""
    with postgres_of_version(major) as conninfo:
        owner = PostgresDatabase(conninfo, max_connections=1)
        install_schema(owner)
        owner.close()
        gate = gate_of(conninfo, max_connections=1)
        found = check_isolation(gate)
        gate.close()
    assert found.holds == holds, found.reasons
    if not holds:
        assert "update it to 16.10 or later" in "; ".join(found.reasons)


def test_an_owner_who_may_not_make_roles_is_told_what_to_run(postgres_server: EmbeddedPostgres) -> None:
    """On a server of its own: roles are a whole server's."""
    with postgres_of_version(15) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as administrator:
            administrator.execute("create role owner login")
            administrator.execute("create database theirs owner owner")
        theirs = make_conninfo(conninfo, dbname="theirs", user="owner")
        owner = PostgresDatabase(theirs, max_connections=1)
        install_schema(owner)
        message = told(owner)
        assert "create role pylon_tenant nologin noinherit" in message
        with psycopg.connect(conninfo, autocommit=True) as administrator:
            statements = message.split('"')[1]
            administrator.execute(statements.encode())
        owner.run_script("select tenancy.let_tenants_in()")
        gate = gate_of(theirs, max_connections=1)
        refuse_unless_isolated(gate)
        gate.close()
        owner.close()
