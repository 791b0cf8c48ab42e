"""History that a database's owner rewrites, the triggers off: the first decision that does not hold is named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.conninfo import make_conninfo

from database.errors import AccessRefused
from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from decisions.chain.stored import StoredChains
from decisions.chain.verification import Fault, Finding, Verified
from decisions.work.notifications import PublishState, WorkQueue
from grid_world import store_world, submit, workload
from rewritten_history import (
    GRID,
    OPERATORS,
    Session,
    change,
    hash_anew,
    heads,
    insert_copy,
    make_operators,
    move,
    owner,
    publish,
    record,
    remove,
    verified,
)

LENGTH = 8  # of the chain of op-a


@pytest.fixture
def published(database: Database) -> Database:
    """Eight decisions of op-a in two calls, three of op-b, one of nobody's."""
    make_operators(database)
    publish(database, "op-a", *(f"a-{number}" for number in range(1, 6)))
    publish(database, "op-b", *(f"b-{number}" for number in range(1, 4)))
    publish(database, "op-a", *(f"a-{number}" for number in range(6, LENGTH + 1)), grid={"data_centres": [1]})
    publish(database, None, "nobody-1")
    return database


def finding(found: Verified | Finding) -> Finding:
    assert isinstance(found, Finding), found
    return found


def length(found: Verified | Finding) -> int:
    assert isinstance(found, Verified), found
    return found.position


def test_what_is_published_holds_for_each_operator_by_itself(published: Database) -> None:
    assert [length(verified(published, each)) for each in (*OPERATORS, "local")] == [LENGTH, 3, 1]
    ends = heads(published)
    for operator, exported in ends.items():
        assert length(verified(published, operator, exported)) == max(exported)
    publish(published, "op-a", "a-9")
    assert length(verified(published, "op-a", ends["op-a"])) == LENGTH + 1


Rewriting = Callable[[Session], None]


def renumbered(session: Session, first: int, by: int) -> None:
    places = range(first, LENGTH + 1)
    move(session, {place: place + by for place in places})


def removed_and_closed(session: Session) -> None:
    remove(session, 4, 4)
    renumbered(session, 5, -1)


def removed_closed_and_linked(session: Session) -> None:
    removed_and_closed(session)
    hash_anew(session, 4, 4)


def inserted_between(session: Session) -> None:
    renumbered(session, 4, 1)
    insert_copy(session, 2, 4)


def changed_and_hashed_anew(session: Session) -> None:
    change(session, 3, "reasoning = 'Another.'")
    hash_anew(session, 3, 3)


def inserted_with_its_hash(session: Session) -> None:
    inserted_between(session)
    hash_anew(session, 4, 4)


REWRITINGS: dict[str, tuple[Rewriting, int, Fault]] = {
    "reasoning changed": (lambda s: change(s, 3, "reasoning = 'Another.'"), 3, Fault.CHANGED),
    "output changed": (
        lambda s: change(s, 3, "output = replace(output::text, '12.5', '12.6')::json"),
        3,
        Fault.CHANGED,
    ),
    "output spaced otherwise": (lambda s: change(s, 1, "output = (output::text || ' ')::json"), 1, Fault.CHANGED),
    "context changed": (lambda s: change(s, 8, "context = context || '{\"more\": 1}'"), 8, Fault.CHANGED),
    "a moment later": (
        lambda s: change(s, 2, "decided_at = decided_at + interval '1 microsecond'"),
        2,
        Fault.CHANGED,
    ),
    "chosen otherwise": (lambda s: change(s, 2, "chosen_dc_id = 'DC-009'"), 2, Fault.CHANGED),
    "another grid": (lambda s: change(s, 2, "grid_digest = repeat('0', 64)"), 2, Fault.CHANGED),
    "no hash": (lambda s: change(s, 5, "chain_hash = ''"), 5, Fault.CHANGED),
    "changed and hashed anew": (changed_and_hashed_anew, 4, Fault.UNLINKED),
    "filed under another": (
        lambda s: change(s, 3, "tenant = 'op-b', chain_position = 4, tenant_sequence = 4"),
        3,
        Fault.MISSING,
    ),
    "the first removed": (lambda s: remove(s, 1, 1), 1, Fault.MISSING),
    "one removed": (lambda s: remove(s, 4, 4), 4, Fault.MISSING),
    "several removed": (lambda s: remove(s, 4, 6), 4, Fault.MISSING),
    "one removed, the rest moved up": (removed_and_closed, 4, Fault.MOVED),
    "one removed, the rest moved up and the next hashed anew": (removed_closed_and_linked, 5, Fault.MOVED),
    "one inserted": (inserted_between, 4, Fault.CHANGED),
    "one inserted with its hash": (inserted_with_its_hash, 5, Fault.MOVED),
    "one inserted before the first": (lambda s: insert_copy(s, 2, 0), 0, Fault.INSERTED),
    "two exchanged": (lambda s: move(s, {3: 6, 6: 3}), 3, Fault.MOVED),
    "all in the other order": (lambda s: move(s, {n: LENGTH + 1 - n for n in range(1, LENGTH + 1)}), 1, Fault.MOVED),
}


@pytest.mark.parametrize("name", REWRITINGS)
def test_the_first_that_does_not_hold_is_named(published: Database, conninfo: str, name: str) -> None:
    rewrite, position, fault = REWRITINGS[name]
    with owner(conninfo) as session:
        rewrite(session)
    found = finding(verified(published, "op-a"))
    assert (found.operator, found.position, found.fault) == ("op-a", position, fault), found
    if fault is not Fault.MISSING:
        (stored,) = [
            row
            for row in published.select("orchestration_decisions", order=OrderBy(("decision_id",)))
            if row["decision_id"] == found.decision_id
        ]
        assert stored["job_id"] == found.subject
    assert length(verified(published, "local")) == 1


def test_a_second_decision_at_a_position_is_named(published: Database, conninfo: str) -> None:
    unique = "orchestration_decisions_tenant_chain_position_key"
    with owner(conninfo) as session:
        session.execute(f"alter table orchestration_decisions drop constraint {unique}".encode())
        insert_copy(session, 3, 3)
    found = finding(verified(published, "op-a"))
    with owner(conninfo) as session:
        session.execute("delete from orchestration_decisions where tenant_sequence is null")
        session.execute(
            f"alter table orchestration_decisions add constraint {unique} unique (tenant, chain_position)".encode()
        )
    assert found.position in (3, 4)
    assert found.fault in (Fault.CHANGED, Fault.INSERTED)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (
            "update decision_grids set grid = '{\"data_centres\": [2]}' where grid @> '{\"data_centres\": [1]}'",
            "changed",
        ),
        ("delete from decision_grids where grid @> '{\"data_centres\": [1]}'", "missing"),
    ],
)
def test_a_changed_grid_is_named_at_the_first_decision_on_it(
    published: Database, conninfo: str, statement: str, reason: str
) -> None:
    with owner(conninfo) as session:
        assert session.execute(statement.encode()).rowcount == 1
    found = finding(verified(published, "op-a"))
    assert (found.position, found.fault) == (6, Fault.GRID)
    assert reason in found.reason
    assert length(verified(published, "op-b")) == 3


def test_a_log_that_was_cut_off_holds_but_not_against_its_head(published: Database, conninfo: str) -> None:
    exported = heads(published)
    with owner(conninfo) as session:
        remove(session, 7, LENGTH)
        remove(session, 1, 3, operator="op-b")
    assert length(verified(published, "op-a")) == 6
    found = finding(verified(published, "op-a", exported["op-a"]))
    assert (found.position, found.fault) == (7, Fault.TRUNCATED)
    found = finding(verified(published, "op-b", exported["op-b"]))
    assert (found.position, found.fault) == (1, Fault.TRUNCATED)


def test_a_log_that_was_cut_off_and_went_on_does_not_hold_against_its_head(
    published: Database, conninfo: str
) -> None:
    exported = heads(published)
    with owner(conninfo) as session:
        remove(session, 7, LENGTH)
    publish(published, "op-a", "a-10", "a-11", "a-12")
    assert length(verified(published, "op-a")) == LENGTH + 1
    found = finding(verified(published, "op-a", exported["op-a"]))
    assert (found.position, found.fault) == (LENGTH, Fault.REWRITTEN)


def test_a_log_that_was_written_anew_as_a_whole_does_not_hold_against_its_head(
    published: Database, conninfo: str
) -> None:
    exported = heads(published)["op-a"]
    with owner(conninfo) as session:
        change(session, 2, "reasoning = 'Another.'")
        hash_anew(session, 2)
    assert length(verified(published, "op-a")) == LENGTH
    found = finding(verified(published, "op-a", exported))
    assert (found.position, found.fault) == (LENGTH, Fault.REWRITTEN)


def test_of_several_exports_the_first_that_does_not_fit_tells_where(published: Database, conninfo: str) -> None:
    exported = heads(published)["op-a"]
    publish(published, "op-a", "a-9", "a-10")
    exported |= heads(published)["op-a"]
    publish(published, "op-a", "a-11")
    with owner(conninfo) as session:
        change(session, 9, "reasoning = 'Another.'")
        hash_anew(session, 9)
    found = finding(verified(published, "op-a", exported))
    assert (found.position, found.fault) == (10, Fault.REWRITTEN)
    assert f"after position {LENGTH}" in found.reason


def test_a_decision_in_no_chain_is_named(published: Database, conninfo: str) -> None:
    with owner(conninfo) as session:
        session.execute("alter table orchestration_decisions alter column chain_position drop not null")
        insert_copy(session, 3, 100)
        change(session, 100, "chain_position = null")
    unchained = StoredChains(published).heads().unchained
    with owner(conninfo) as session:
        session.execute("delete from orchestration_decisions where chain_position is null")
        session.execute("alter table orchestration_decisions alter column chain_position set not null")
    assert len(unchained) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "update orchestration_decisions set reasoning = 'Another.'",
        "update orchestration_decisions set chain_hash = chain_hash",
        "delete from orchestration_decisions",
        "update decision_grids set grid = '{}'",
    ],
)
def test_whoever_leaves_the_triggers_on_is_refused(postgres: PostgresDatabase, statement: str) -> None:
    make_operators(postgres)
    publish(postgres, "op-a", "a-1")
    with pytest.raises(AccessRefused):
        postgres.run_script(statement)


def test_hashes_that_somebody_brings_along_are_not_believed(published: Database) -> None:
    row = {"job_id": "a-1", "scorer": "deterministic", "scorer_version": "1", "context": {}, "output": {}}
    published.insert(
        "orchestration_decisions",
        [{**row, "chain_position": 77, "chain_hash": "0" * 64, "previous_hash": "0" * 64}],
    )
    assert length(verified(published, "op-a")) == LENGTH + 1


def test_many_who_publish_at_once_make_one_chain(conninfo: str, postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    store_world(postgres)
    submit(postgres, *(workload(f"job-{number}", operator=OPERATORS[number % 2]) for number in range(80)))

    def drain(number: int) -> int:
        database = PostgresDatabase(make_conninfo(conninfo), max_connections=1)
        queue, done = WorkQueue(database, f"gateway-{number}", lease_seconds=60), 0
        while claims := queue.claim(3).claimed:
            results = queue.publish(GRID, [record(claim) for claim in claims])
            done += sum(result.state is PublishState.PUBLISHED for result in results)
        database.close()
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(drain, range(4))) == 80
    assert [length(verified(postgres, each)) for each in OPERATORS] == [40, 40]
    rows = postgres.select("orchestration_decisions", order=OrderBy(("sequence",)))
    assert [row["sequence"] for row in rows] == list(range(1, 81))


def test_a_long_log_needs_no_more_memory_than_a_short_one(postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    submit(postgres, workload("a-1", operator="op-a"))
    rows, bytes_each = 600, 100_000
    postgres.run_script(
        "insert into orchestration_decisions (job_id, scorer, scorer_version, context, output) "
        "select 'a-1', 'deterministic', '1', '{}', to_json(repeat(n || ' ', 30000)) "
        "from generate_series(1001, 1600) as n"
    )
    chains = StoredChains(postgres)
    tracemalloc.start()
    try:
        assert sum(len(each.texts["output"] or "") > bytes_each for each in chains.decisions("op-a")) == rows
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length(verified(postgres, "op-a")) == rows
    assert most < rows * bytes_each / 2
