"""Published decisions of two operators, and what the owner of a database can do to them with the triggers off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from database.interface import Database
from decisions.chain.stored import StoredChains
from decisions.chain.verification import Finding, Verified, verify_chain
from decisions.work.notifications import Claim, DecisionRecord, PublishState, WorkQueue
from grid_world import submit, workload
from vocabulary import WorkloadStatus

OPERATORS = ("op-a", "op-b")
GRID = {"as_of": "2026-11-22T08:04:11Z", "data_centres": [], "national": {"carbon": 150.50}}

# The triggers that fire for a replica too.
GUARDS = {
    "orchestration_decisions": ("refuse_row_change", "refuse_truncate", "hash_into_chain"),
    "decision_grids": ("refuse_row_change", "refuse_truncate"),
    "flexibility_decisions": ("refuse_row_change", "refuse_truncate", "hash_into_chain"),
}

Session = psycopg.Connection[tuple[Any, ...]]


def make_operators(database: Database) -> None:
    database.insert("operators", [{"operator_id": each, "name": each} for each in OPERATORS])


def publish(database: Database, operator: str | None, *job_ids: str, grid: Mapping[str, Any] = GRID) -> None:
    """Submit workloads and publish a decision for each, all in one call."""
    submit(database, *(workload(job_id, operator=operator) for job_id in job_ids))
    queue = WorkQueue(database, "gateway-1", lease_seconds=60)
    claims = queue.claim(len(job_ids)).claimed
    assert len(claims) == len(job_ids)
    results = queue.publish(dict(grid), [record(claim) for claim in claims])
    assert {result.state for result in results} == {PublishState.PUBLISHED}


def record(claim: Claim) -> DecisionRecord:
    task = {"job_id": claim.job_id, "note": "Cheaper by £3 — “later”\n", "figure": 12.50}
    return DecisionRecord(
        lease=claim.lease,
        context={"context_id": f"context of {claim.job_id}", "task": task},
        output={"task": task, "_metadata": {"task_id": claim.job_id, "sequence": None}},
        chosen_dc_id=None,
        recommended_start=None,
        workload_status=WorkloadStatus.QUEUED,
        status_reason=None,
        scorer="deterministic",
        model=None,
        scorer_version="1.0.0",
        fallback_reason=None,
        reasoning="Because it is the greenest — and the cheapest.",
        constraints_evaluated=[],
        alternatives_considered=[],
        token_usage=None,
    )


def verified(database: Database, operator: str, exported: Mapping[int, str] | None = None) -> Verified | Finding:
    chains = StoredChains(database, page_rows=3)
    return verify_chain(
        operator, chains.decisions(operator), grid_hash_of=chains.grid_hash_of, exported=exported or {}
    )


def heads(database: Database) -> dict[str, dict[int, str]]:
    """What was exported: operator → position → hash."""
    return {head.operator: {head.position: head.hash or ""} for head in StoredChains(database).heads().heads}


@contextmanager
def owner(conninfo: str) -> Iterator[Session]:
    """A session of the owner in one transaction, without the audit log's triggers, or any foreign key, in its way."""
    with psycopg.connect(conninfo) as session:
        session.execute("set local session_replication_role = replica")
        _take_off_guards(session)
        yield session
        _put_guards_back(session)


@contextmanager
def owner_for_long(conninfo: str) -> Iterator[Session]:
    """The same for many transactions, each of them the caller's: the triggers are back at the end of the block."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute("set session_replication_role = replica")
        _take_off_guards(session)
        try:
            yield session
        finally:
            _put_guards_back(session)


def _take_off_guards(session: Session) -> None:
    for table in GUARDS:
        session.execute(f"alter table {table} disable trigger user".encode())


def _put_guards_back(session: Session) -> None:
    for table, triggers in GUARDS.items():
        session.execute(f"alter table {table} enable trigger user".encode())
        for trigger in triggers:
            session.execute(f"alter table {table} enable always trigger {trigger}".encode())


def change(session: Session, position: int, assignment: str, *values: Any, operator: str = "op-a") -> None:
    session.execute(
        f"update orchestration_decisions set {assignment} where tenant = %s and chain_position = %s".encode(),
        (*values, operator, position),
    )


def remove(session: Session, first: int, last: int, operator: str = "op-a") -> None:
    session.execute(
        "delete from orchestration_decisions where tenant = %s and chain_position between %s and %s",
        (operator, first, last),
    )


def move(session: Session, places: Mapping[int, int], operator: str = "op-a") -> None:
    """Give decisions other positions: out of the way first, since no two may have one."""
    for position, place in places.items():
        change(session, position, "chain_position = %s", -place, operator=operator)
    session.execute(
        "update orchestration_decisions set chain_position = -chain_position "
        "where tenant = %s and chain_position < 0",
        (operator,),
    )


def hash_anew(session: Session, first: int, last: int | None = None, operator: str = "op-a") -> None:
    """What a careful forger does: make the hashes from this position on those of what is stored."""
    found = session.execute(
        "select chain_position from orchestration_decisions where tenant = %s and chain_position >= %s "
        "and chain_position <= coalesce(%s, 1000000) order by 1",
        (operator, first, last),
    ).fetchall()
    for (position,) in found:
        change(
            session,
            position,
            "previous_hash = (select b.chain_hash from orchestration_decisions b "
            "where b.tenant = %s and b.chain_position = %s)",
            operator,
            position - 1,
            operator=operator,
        )
        change(session, position, "chain_hash = decision_hash(orchestration_decisions.*)", operator=operator)


def insert_copy(session: Session, of: int, position: int, operator: str = "op-a") -> None:
    """A decision like a stored one, under another id and number, at a position that is free."""
    session.execute(
        "insert into orchestration_decisions select (jsonb_populate_record(d, jsonb_build_object("
        "'decision_id', gen_random_uuid(), 'sequence', null, 'tenant_sequence', null, 'notification_id', null, "
        "'chain_position', %s::bigint))).* "
        "from orchestration_decisions d where d.tenant = %s and d.chain_position = %s",
        (position, operator, of),
    )
