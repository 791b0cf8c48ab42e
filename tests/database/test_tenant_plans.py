"""What a tenant lists is found by an index that begins with the tenant, has it twenty rows or most there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from new_database import new_database
from two_operators import A, B, claims, make_operators

# A tenant with nearly all of the rows, the newest among them, and one with a few of the oldest.
HUGE, TINY = A, B
_FILL = """
set local session_replication_role = replica;
insert into compute_workloads (job_id, operator, workload_type, status, created_at)
select
    'job-' || n, case when n <= 20 then 'op-b' else 'op-a' end, 'RAG_QUERY',
    (array['COMPLETED', 'QUEUED', 'CANCELLED', 'FAILED'])[1 + n % 4],
    timestamptz '2026-11-01 00:00:00+00' + n * interval '1 minute'
from generate_series(1, 20000) as n;
alter table orchestration_decisions disable trigger hash_into_chain; -- row by row, for longer than all else here
insert into orchestration_decisions (
    sequence, tenant, tenant_sequence, job_id, scorer, scorer_version, context, output, decided_at,
    chain_position, chain_hash)
select
    n, case when n <= 20 then 'op-b' else 'op-a' end, case when n <= 20 then n else n - 20 end, 'job-' || n,
    'deterministic', '1', '{}', '{}', timestamptz '2026-11-01 00:00:00+00' + n * interval '1 minute',
    case when n <= 20 then n else n - 20 end, n
from generate_series(1, 20000) as n;
insert into broadcast_log (sequence, tenant, tenant_sequence, event_type, job_id, event)
select
    n, case when n <= 20 then 'op-b' else 'op-a' end, case when n <= 20 then n else n - 20 end, 'decision',
    'job-' || n, '{}'
from generate_series(1, 20000) as n;
insert into agents (agent_id, name, agent_type, operator)
values ('big', 'x', 't', 'op-a'), ('small', 'x', 't', 'op-b');
insert into agent_states (tenant, agent_id, state, tenant_state_id, observed_at)
select
    case when n <= 20 then 'op-b' else 'op-a' end, case when n <= 20 then 'small' else 'big' end, 'x', n,
    timestamptz '2026-11-01 00:00:00+00' + n * interval '1 minute'
from generate_series(1, 20000) as n;
"""

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "newest workloads": ("workloads_page", {"p_status": None, "p_after": None, "p_limit": 50}),
    "workloads of a status": ("workloads_page", {"p_status": "QUEUED", "p_after": None, "p_limit": 50}),
    "a later page": ("workloads_page", {"p_status": None, "p_after": "job-15", "p_limit": 50}),
    "a workload": ("workload_detail", {"p_job_id": "job-7"}),
    "the live state": (
        "live_state",
        {
            "p_now": "2026-11-22T08:00:00Z",
            "p_types": ["ComputeWorkload", "Agent", "AgentState", "OrchestrationDecision", "StorageAsset"],
        },
    ),
    "events": ("events_after", {"p_after": 3, "p_limit": 50}),
    "no new events": ("events_after", {"p_after": 1_000_000, "p_limit": 50}),
    "outputs": ("outputs_history", {"p_after": None, "p_limit": 50}),
    "a task's output": ("task_output", {"p_task_id": "job-7"}),
    "the newest output": ("newest_unacknowledged_output", {"p_consumer": "bpp"}),
    "the context": ("current_context", {}),
    "a task's context": ("current_context", {"p_task_id": "job-7"}),
    "workloads as objects": ("select_rows", {"p_table": "compute_workloads", "p_order": ["job_id"], "p_limit": 50}),
    "decisions as objects": (
        "select_rows",
        {"p_table": "orchestration_decisions", "p_order": ["decision_id"], "p_limit": 50},
    ),
    "states as objects": ("select_rows", {"p_table": "agent_states", "p_order": ["state_id"], "p_limit": 50}),
}
TABLES = ["compute_workloads", "orchestration_decisions", "broadcast_log", "agent_states", "workload_notifications"]
MOST_ROWS_READ = 250


@pytest.fixture(scope="module")
def filled_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Filled once: the tests only read."""
    with new_database(postgres_server) as conninfo:
        postgres = PostgresDatabase(conninfo)
        make_operators(postgres)
        postgres.run_script(_FILL)
        postgres.close()
        with psycopg.connect(conninfo, autocommit=True) as session:
            session.execute("analyze compute_workloads, orchestration_decisions, broadcast_log, agent_states")
        yield conninfo


@pytest.fixture
def filled(filled_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(filled_database, autocommit=True) as session:
        yield session


def rows_read(session: psycopg.Connection[Any], query: bytes, *parameters: Any) -> dict[str, int]:
    """How many rows of each table a query looked at, shown or not."""

    def looked_at() -> dict[str, int]:
        found = session.execute(
            "select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables "
            "where schemaname = 'public' and relname = any (%s)",
            (TABLES,),
        ).fetchall()
        return {name: int(count) for name, count in found}

    with session.transaction():
        before = looked_at()
        session.execute(query, parameters)
        return {name: count - before[name] for name, count in looked_at().items() if count > before[name]}


@pytest.mark.parametrize("tenant", [HUGE, TINY], ids=["huge", "tiny"])
def test_no_call_reads_many_more_rows_than_it_shows(filled: psycopg.Connection[Any], tenant: str) -> None:
    for listing, (function, arguments) in CALLS.items():
        for _ in range(7):  # plans are kept after five
            call = b"select public.call_as(%s, %s, %s)"
            read = rows_read(filled, call, Jsonb(claims(tenant)), function, Jsonb(arguments))
        assert read or "no new" in listing, listing
        assert max(read.values(), default=0) <= MOST_ROWS_READ, (listing, read)


def test_what_is_decided_is_read_without_a_look_at_all_workloads(filled: psycopg.Connection[Any]) -> None:
    asked = [{"operator": HUGE, "job_id": "job-500"}, {"operator": TINY, "job_id": "job-7"}, "job-8"]
    for _ in range(7):
        read = rows_read(filled, b"select public.decision_contexts(%s, now())", Jsonb(asked))
    assert read["compute_workloads"] <= 2 * len(asked)
