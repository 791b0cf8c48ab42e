"""What does it cost that tenants are kept apart? The newest of a million rows, and one call through the door.

    make bench NAME=tenant_isolation ARGS="--rows 1000000 --repeats 300"

Builds a database on an embedded PostgreSQL of its own in a temporary folder; takes a few minutes and about 1 GB. One
tenant has nearly all of the rows, one has twenty of the oldest. "without policies" is the same statement by the
owner.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from machine import machine
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from database.schema import install_schema

TENANTS = {"huge": "op-huge", "tiny": "op-tiny"}
TINY_ROWS = 20
NEWEST = "order by created_at desc, job_id desc limit 50"
PAGE = {"p_status": None, "p_after": None, "p_limit": 50}

Session = psycopg.Connection[tuple[Any, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            _fill(server.conninfo, options.rows)
            rows = _measured(server.conninfo, options.repeats)
        finally:
            server.stop()
    print(f"{machine()}; {options.rows:,} workloads, medians of {options.repeats}\n")
    print("| what is asked | ms |")
    print("|---|---|")
    for name, milliseconds in rows.items():
        print(f"| {name} | {milliseconds:.3f} |")


def _fill(conninfo: str, rows: int) -> None:
    owner = PostgresDatabase(conninfo, max_connections=1)
    install_schema(owner)
    for operator in TENANTS.values():
        owner.call("tenancy_set_operator", {"p_operator": {"operator_id": operator}})
        member = {"p_operator": operator, "p_user_id": f"user of {operator}", "p_role": "member"}
        owner.call("tenancy_set_member", member)
    owner.close()
    with psycopg.connect(conninfo, autocommit=True) as session, session.transaction():
        session.execute("set local session_replication_role = replica")
        session.execute(
            "insert into compute_workloads (job_id, operator, workload_type, status, created_at) "
            "select 'job-' || n, case when n <= %s then 'op-tiny' else 'op-huge' end, 'RAG_QUERY', "
            "(array['COMPLETED', 'QUEUED', 'CANCELLED'])[1 + n %% 3], "
            "timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second' from generate_series(1, %s) as n",
            (TINY_ROWS, rows),
        )
    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute("vacuum analyze compute_workloads")


def _claims(operator: str) -> str:
    return json.dumps(
        {"sub": f"user of {operator}", "role": "authenticated", "app_metadata": {"operator_id": operator}}
    )


def _measured(conninfo: str, repeats: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with (
        psycopg.connect(conninfo, autocommit=True) as owner,
        psycopg.connect(make_conninfo(conninfo, user="pylon_gate"), autocommit=True) as gate,
        psycopg.connect(conninfo) as tenant,
    ):
        for size, operator in TENANTS.items():
            bare = f"select * from compute_workloads where tenant = '{operator}' {NEWEST}"
            found[f"the newest fifty, {size} tenant, without policies"] = _median(owner, bare, (), repeats)
            tenant.execute("select set_config('request.jwt.claims', %s, false)", (_claims(operator),))
            tenant.execute("set role pylon_tenant")
            own = f"select * from compute_workloads where tenant = '{operator}' {NEWEST}"
            found[f"the newest fifty, {size} tenant, behind the policies"] = _median(tenant, own, (), repeats)
            tenant.execute("reset role")
            page = "select public.call_as(%s, 'workloads_page', %s)"
            arguments = (_claims(operator), json.dumps(PAGE))
            found[f"workloads_page of fifty, {size} tenant, through call_as"] = _median(
                gate, page, arguments, repeats
            )
        found["workloads_page of fifty of everybody's, by the owner"] = _median(
            owner, "select public.workloads_page(null, null, 50)", (), repeats
        )
        plain = "select public.decision_readiness(now())"
        found["a short call by the owner"] = _median(owner, plain, (), repeats)
        called = "select public.call_as(%s, 'decision_readiness', %s)"
        moment = json.dumps({"p_now": "2026-11-22T08:00:00Z"})
        found["the same through call_as"] = _median(gate, called, (_claims("op-huge"), moment), repeats)
    return found


def _median(session: Session, query: str, parameters: tuple[str, ...], repeats: int) -> float:
    def ask() -> None:
        session.execute(query.encode(), parameters).fetchall()

    return statistics.median(_milliseconds(ask) for _ in range(repeats))


def _milliseconds(ask: Callable[[], None]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
