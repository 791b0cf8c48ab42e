"""Whatever the owner of a database does to the log, it does not hold, and where it first differs is what is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from database.postgres import PostgresDatabase
from decisions.chain.verification import Fault, Finding, Verified
from new_database import empty
from rewritten_history import (
    Session,
    change,
    hash_anew,
    heads,
    insert_copy,
    make_operators,
    move,
    owner_for_long,
    publish,
    remove,
    verified,
)

LENGTH = 7
PLACES = st.integers(1, LENGTH)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
DOCUMENT = st.dictionaries(TEXT, st.none() | st.integers(-9, 9) | TEXT, max_size=3).map(json.dumps)

# A column, and what its owner may write there.
CHANGES = st.one_of(
    *(
        st.tuples(st.just(f"{column} = %s"), values)
        for column, values in {
            "job_id": TEXT,
            "agent_id": st.none() | TEXT,
            "chosen_dc_id": st.none() | TEXT,
            "scorer": st.just("gemini"),
            "model": TEXT,
            "scorer_version": TEXT,
            "fallback_reason": TEXT,
            "reasoning": st.none() | TEXT,
            "previous_hash": st.none() | TEXT,
            "chain_hash": TEXT,
            "grid_digest": st.none() | TEXT,
            "context": DOCUMENT,
            "constraints_evaluated": DOCUMENT,
            "alternatives_considered": DOCUMENT,
            "output": DOCUMENT,
            "token_usage": DOCUMENT,
            "sequence": st.integers(1000, 2**40),
            "tenant_sequence": st.none() | st.integers(1000, 2**40),
            "notification_id": st.none() | st.integers(1000, 2**40),
            "decision_id": st.uuids(),
        }.items()
    ),
    st.tuples(
        st.sampled_from(["decided_at = decided_at + %s", "recommended_start = decided_at + %s"]), st.timedeltas()
    ).filter(lambda change: abs(change[1].days) < 10_000),
)


@dataclass(frozen=True)
class World:
    owner: Session
    database: PostgresDatabase
    exported: dict[int, str]
    published: list[Any]


@pytest.fixture(scope="module")
def world(lent_database: str) -> Iterator[World]:
    """Seven decisions of op-a and two of op-b, and a copy of all to go back to."""
    empty(lent_database)
    database = PostgresDatabase(lent_database, max_connections=2)
    make_operators(database)
    for number in range(1, LENGTH + 1):
        publish(database, "op-a", f"a-{number}")
    publish(database, "op-b", "b-1", "b-2")
    with psycopg.connect(lent_database) as session:
        session.execute("create table kept as select * from orchestration_decisions")
        published = rows(session)
    with owner_for_long(lent_database) as session:
        yield World(session, database, heads(database)["op-a"], published)
    with psycopg.connect(lent_database) as session:
        session.execute("drop table kept")
    database.close()


def rows(session: Session) -> list[Any]:
    """Of op-a, as what is hashed and the hash."""
    return session.execute(
        "select decision_texts(d), d.chain_hash from orchestration_decisions d "
        "where tenant = 'op-a' order by chain_position"
    ).fetchall()


def first_difference(before: list[Any], after: list[Any]) -> int | None:
    """The position from which on two logs are not the same."""
    for place, (one, other) in enumerate(zip(before, after, strict=False), start=1):
        if one != other:
            return place
    return None if len(before) == len(after) else min(len(before), len(after)) + 1


@contextmanager
def rewriting(world: World) -> Iterator[Session]:
    """One transaction of the owner's, in which the log is at first as it was published."""
    with world.owner.transaction():
        world.owner.execute("delete from orchestration_decisions")
        world.owner.execute("insert into orchestration_decisions select * from kept")
        yield world.owner


def after(world: World, session: Session) -> int:
    place = first_difference(world.published, rows(session))
    assume(place is not None)
    assert place is not None
    return place


@given(position=PLACES, change_of=CHANGES)
def test_a_changed_column_is_named_where_it_stands(world: World, position: int, change_of: tuple[str, Any]) -> None:
    with rewriting(world) as session:
        change(session, position, *change_of)
        place = after(world, session)
    found = verified(world.database, "op-a")
    assert isinstance(found, Finding), found
    assert (found.position, found.fault) == (place, Fault.CHANGED)


@given(position=PLACES, change_of=CHANGES.filter(lambda change: "hash" not in change[0] and "grid" not in change[0]))
def test_a_change_that_is_hashed_anew_up_to_the_end_fails_against_the_head(
    world: World, position: int, change_of: tuple[str, Any]
) -> None:
    with rewriting(world) as session:
        change(session, position, *change_of)
        after(world, session)
        hash_anew(session, position)
    assert isinstance(verified(world.database, "op-a"), Verified)
    found = verified(world.database, "op-a", world.exported)
    assert isinstance(found, Finding), found
    assert (found.position, found.fault) == (LENGTH, Fault.REWRITTEN)


@given(first=PLACES, last=PLACES, closed=st.booleans())
def test_what_is_removed_is_named_where_it_stood(world: World, first: int, last: int, closed: bool) -> None:
    first, last = sorted((first, last))
    with rewriting(world) as session:
        remove(session, first, last)
        if closed:
            move(session, {place: place - (last - first + 1) for place in range(last + 1, LENGTH + 1)})
    found = verified(world.database, "op-a", world.exported)
    assert isinstance(found, Finding), found
    at_the_end = Fault.TRUNCATED if last == LENGTH else Fault.MOVED if closed else Fault.MISSING
    assert (found.position, found.fault) == (first, at_the_end)


@given(order=st.permutations(range(1, LENGTH + 1)))
def test_another_order_is_named_where_it_begins(world: World, order: list[int]) -> None:
    with rewriting(world) as session:
        move(session, {position: place for place, position in enumerate(order, start=1) if place != position})
        place = after(world, session)
    found = verified(world.database, "op-a")
    assert isinstance(found, Finding), found
    assert (found.position, found.fault) == (place, Fault.MOVED)


@given(copied=PLACES, position=PLACES, hashed=st.booleans())
def test_what_is_inserted_is_named_or_what_follows_it(world: World, copied: int, position: int, hashed: bool) -> None:
    with rewriting(world) as session:
        insert_copy(session, copied, 1000)
        move(session, {place: place + 1 for place in range(position, LENGTH + 1)})
        move(session, {1000: position})
        if hashed:
            hash_anew(session, position, position)
    found = verified(world.database, "op-a")
    assert isinstance(found, Finding), found
    assert found.position == (position + 1 if hashed else position)
    assert found.fault is (Fault.MOVED if hashed else Fault.CHANGED)
