"""What does it cost that tenants are kept apart? The newest of a million rows, and one call through the door.

    make bench NAME=tenant_isolation ARGS="--rows 1000000 --repeats 300"

Builds a database on an embedded PostgreSQL of its own in a temporary folder; takes a few minutes and about 1 GB. Of a
hundred operators one has half of the rows and one has twenty of the oldest. Each is asked with and without policies
in turns. `statement` is the newest fifty rows as written by hand: behind the policies, which say whose, or by the
owner, whom they do not hold, with the same said in a condition. `named` has that condition behind the policies too,
where it is asked twice. `page` is the function that answers GET /api/v1/workloads, through `call_as` or called by the
owner for that operator: it runs as its owner and names whose rows it wants, so that no policy is asked. Their times
are the database's, planning included, as EXPLAIN ANALYZE says; the calls' are round trips over the socket.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from machine import machine
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres
from database.interface import Calls
from database.postgres import PostgresDatabase
from database.schema import install_schema
from database.tenant_door import TenantDatabase

OPERATORS = 100
TENANTS = {"huge": "op-0", "tiny": "op-1"}
TINY_ROWS = 20
WARM_UP = 20
STATEMENT = "select * from public.compute_workloads {whose}order by created_at desc, job_id desc limit 50"
PAGE = "select public.workload_list('{{}}', null, 50, false, '{operator}')"
PAGE_AS = "select public.call_as('{claims}', 'workload_list', '{arguments}')"
PAGE_ARGUMENTS = json.dumps({"p_filter": {}, "p_after": None, "p_limit": 50, "p_counted": False})
EXPLAIN = "explain (analyze, timing off, serialize text, format json) "
CALLS = ("decision_readiness", "regional_overview")
FILL = """
insert into compute_workloads (job_id, operator, workload_type, status, created_at)
select 'job-' || n,
    'op-' || case when n <= %(tiny)s then 1 when n %% 2 = 0 then 0 else 2 + n / 2 %% (%(operators)s - 2) end,
    'RAG_QUERY', (array['COMPLETED', 'QUEUED', 'CANCELLED'])[1 + n %% 3],
    timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'
from generate_series(1, %(rows)s) as n
"""

Session = psycopg.Connection[tuple[Any, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "data")
        server.start()
        try:
            held = _fill(server.conninfo, options.rows)
            print(f"{machine()}; {options.rows:,} workloads of {OPERATORS} operators, medians of {options.repeats}\n")
            _print_reads(server.conninfo, held, options.repeats)
            _print_calls(server.conninfo, options.repeats)
        finally:
            server.stop()


def _fill(conninfo: str, rows: int) -> dict[str, int]:
    """How many rows each of `TENANTS` has."""
    with closing(PostgresDatabase(conninfo, max_connections=1)) as owner:
        install_schema(owner)
        for operator in (f"op-{number}" for number in range(OPERATORS)):
            owner.call("tenancy_set_operator", {"p_operator": {"operator_id": operator}})
            member = {"p_operator": operator, "p_user_id": f"user of {operator}", "p_role": "member"}
            owner.call("tenancy_set_member", member)
    with psycopg.connect(conninfo, autocommit=True) as session:
        with session.transaction():
            session.execute("set local session_replication_role = replica")  # no notifications
            session.execute(FILL, {"tiny": TINY_ROWS, "operators": OPERATORS, "rows": rows})
        session.execute("vacuum analyze")
        counted = session.execute("select tenant, count(*) from compute_workloads group by tenant").fetchall()
    numbers: dict[str, int] = dict(counted)
    return {size: numbers[operator] for size, operator in TENANTS.items()}


def _print_reads(conninfo: str, held: dict[str, int], repeats: int) -> None:
    print("| the newest fifty, database time | without policies, ms | with, ms | ratio |")
    print("|---|---|---|---|")
    with (
        psycopg.connect(conninfo, autocommit=True) as owner,
        psycopg.connect(make_conninfo(conninfo, user="pylon_gate"), autocommit=True) as gate,
        psycopg.connect(conninfo, autocommit=True) as tenant,
    ):
        for size, operator in TENANTS.items():
            claims = json.dumps(_claims(operator))
            statement = STATEMENT.format(whose="")
            named = STATEMENT.format(whose=f"where tenant = '{operator}' ")
            owner.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
            with _as_tenant(tenant, claims):
                times = _in_turns(partial(_of, owner, named), partial(_of, tenant, statement), repeats)
                _print_pair(f"statement, {size} tenant ({held[size]:,} rows)", *times)
                times = _in_turns(partial(_of, owner, named), partial(_of, tenant, named), repeats)
                _print_pair(f"named, {size} tenant", *times)
            through = PAGE_AS.format(claims=claims, arguments=PAGE_ARGUMENTS)
            plain = PAGE.format(operator=operator)
            times = _in_turns(partial(_of, owner, plain), partial(_of, gate, through), repeats)
            _print_pair(f"page, {size} tenant", *times)


@contextmanager
def _as_tenant(session: Session, claims: str) -> Iterator[None]:
    session.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
    session.execute("set role pylon_tenant")
    try:
        yield
    finally:
        session.execute("reset role")


def _print_calls(conninfo: str, repeats: int) -> None:
    print("\n| call over psycopg | by the owner, ms | a tenant's, ms | more, ms |")
    print("|---|---|---|---|")
    gate_conninfo = make_conninfo(conninfo, user="pylon_gate")
    with closing(PostgresDatabase(conninfo)) as owner, closing(PostgresDatabase(gate_conninfo)) as gate:
        tenant = TenantDatabase(gate, _claims(TENANTS["huge"]))
        now = datetime.now(timezone.utc)
        for name in CALLS:
            plainly, as_tenant = partial(_trip, owner, name, now), partial(_trip, tenant, name, now)
            plain, called = _in_turns(plainly, as_tenant, 5 * repeats)
            print(f"| {name} | {plain:.3f} | {called:.3f} | {called - plain:+.3f} |", flush=True)


def _print_pair(name: str, without: float, with_policies: float) -> None:
    print(f"| {name} | {without:.3f} | {with_policies:.3f} | {with_policies / without:.2f} |", flush=True)


def _claims(operator: str) -> dict[str, Any]:
    return {"sub": f"user of {operator}", "role": "authenticated", "app_metadata": {"operator_id": operator}}


def _in_turns(first: Callable[[], float], second: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The medians, in ms."""
    pairs = [(first(), second()) for _ in range(WARM_UP + repeats)][WARM_UP:]
    return median(one for one, _ in pairs), median(other for _, other in pairs)


def _of(session: Session, statement: str) -> float:
    """What the database takes for a statement, in ms."""
    row = session.execute((EXPLAIN + statement).encode()).fetchone()
    assert row is not None
    told = row[0][0]
    return float(told["Planning Time"] + told["Execution Time"])


def _trip(database: Calls, function: str, now: datetime) -> float:
    began = time.perf_counter()
    database.call(function, {"p_now": now}, repeatable=True)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
