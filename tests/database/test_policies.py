"""The policies themselves: with claims that hold and others, one session after the other, on every major version."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from database.errors import AccessRefused
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from database.schema import install_schema
from grid_world import NOW, data_centre, store_data_centres, store_grid
from postgres_servers import postgres_of_version
from tenants_work import decide_all, everything_seen, submission, submit
from two_operators import A, B, as_tenant, claims, claims_of, gate_of, make_operators

CLAIMS_THAT_SHOW_NOTHING = {
    "none": None,
    "empty": "",
    "of nobody": json.dumps(claims_of("nobody", A)),
    "forged": json.dumps(claims_of("user-b-admin", A)),
    "without an operator": json.dumps({"sub": "user-a-admin", "role": "authenticated"}),
    "without a user": json.dumps({"app_metadata": {"operator_id": A}}),
    "a number": "17",
    "null": "null",
}


@pytest.mark.parametrize("kind", CLAIMS_THAT_SHOW_NOTHING)
def test_the_policies_show_nothing_private_without_claims_that_hold(postgres: PostgresDatabase, kind: str) -> None:
    """Were the door left open: the role of tenants, with whatever is in the setting, straight at the tables."""
    make_operators(postgres)
    postgres.insert("agents", [{"agent_id": "x", "name": "x", "agent_type": "t", "operator": A}])
    postgres.call("submit_workloads", {"p_rows": [submission("job-1", operator=A)]})
    shared = {
        *(
            "regions",
            "grid_signals",
            "regional_grid_signals",
            "generation_mix",
            "pipeline_runs",
            "decision_grids",
            "grid_changes",
        ),
        *("operators", "data_centres"),
    }
    with psycopg.connect(postgres.conninfo) as session:
        tables = session.execute(
            "select tablename from pg_policies where 'pylon_tenant' = any (roles) and cmd = 'SELECT'"
        ).fetchall()
        session.execute("set local role pylon_tenant")
        if (document := CLAIMS_THAT_SHOW_NOTHING[kind]) is not None:
            session.execute("select set_config('request.jwt.claims', %s, true)", (document,))
        assert len(tables) > len(shared)
        for (table,) in tables:
            if table not in shared:
                assert session.execute(f"select count(*) from public.{table}".encode()).fetchone() == (0,), table
        for statement in (
            "insert into compute_workloads (job_id, operator, workload_type) values ('x', 'op-a', 'RAG_QUERY')",
            "insert into compute_workloads (job_id, workload_type) values ('x', 'RAG_QUERY')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(statement.encode())


def test_claims_that_are_no_document_are_an_error(postgres: PostgresDatabase) -> None:
    postgres.call("submit_workloads", {"p_rows": [submission("job-1")]})
    with psycopg.connect(postgres.conninfo) as session:
        session.execute("set local role pylon_tenant")
        session.execute("select set_config('request.jwt.claims', 'no document', true)")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            session.execute("select count(*) from public.compute_workloads")


def test_one_session_serves_one_tenant_after_the_other(postgres: PostgresDatabase) -> None:
    """A pool of one: A, an error, nobody, B, with a cancelled statement between."""
    make_operators(postgres)
    for operator in (A, B):
        postgres.call("submit_workloads", {"p_rows": [submission(f"of-{operator}", operator=operator)]})
    with psycopg.connect(make_conninfo(postgres.conninfo, user="pylon_gate"), autocommit=True) as session:

        def page(document: Any) -> str:
            query = "select public.call_as(%s, 'workloads_page', %s)::text"
            arguments = {"p_status": None, "p_after": None, "p_limit": 10}
            (answer,) = session.execute(query, (Jsonb(document), Jsonb(arguments))).fetchone() or ("",)
            return str(answer)

        for _ in range(3):
            assert f"of-{A}" in page(claims(A))
            assert f"of-{B}" not in page(claims(A))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                page(claims_of("nobody", A))
            with pytest.raises(psycopg.errors.QueryCanceled):
                session.execute("set statement_timeout = '1ms'; select pg_sleep(1)")
            session.execute("set statement_timeout = 0")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("select * from public.compute_workloads")
            assert f"of-{B}" in page(claims(B))
            assert f"of-{A}" not in page(claims(B))


@pytest.mark.parametrize("major", [15, 16])
def test_tenants_are_kept_apart_on_every_major_version(major: int) -> None:
    """The others run on the embedded 18, and on what PostgREST is in front of."""
    with postgres_of_version(major) as server:
        owner = PostgresDatabase(server, max_connections=2)
        install_schema(owner)
        make_operators(owner)
        store_grid(owner, NOW)
        store_data_centres(owner, [data_centre(1, operator=A)], NOW)
        gate = gate_of(server, max_connections=1)
        of_a, of_b = as_tenant(gate, claims(A)), as_tenant(gate, claims(B))
        for tenant in (of_a, of_b):
            assert submit(tenant, submission("job-1"))["created"] == ["job-1"]
        submit(of_a, submission("of-a"))
        assert decide_all(owner) == 3
        for tenant, own, other, numbers in ((of_a, A, B, [1, 2]), (of_b, B, A, [1])):
            seen = everything_seen(tenant)
            assert f"decided for {own}" in seen
            assert f"decided for {other}" not in seen
            events = tenant.call("events_after", {"p_after": 0, "p_limit": 10})["events"]
            assert [event["sequence"] for event in events] == numbers
        with pytest.raises(AccessRefused):
            as_tenant(gate, claims_of("user-a-admin", B)).call("own_access")
        with pytest.raises(AccessRefused):
            submit(as_tenant(gate, claims(A, "reader")), submission("x"))
        with pytest.raises(AccessRefused):
            gate.select("compute_workloads", order=OrderBy(("job_id",)))
        gate.close()
        owner.close()
