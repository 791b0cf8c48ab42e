"""In which order an event's transactions take their locks: none of two that meet waits for the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from beckn_network import eventually
from database.postgres import PostgresDatabase
from flexibility.book import EventBook, Stepped
from flexibility.events import Cancelling, cancel
from flexibility.steps import Steps
from flexibility_world import ENDS_AT, SUPPLIER_PRICES, announced, store_flexible_world
from grid_world import NOW

PUBLISHING = 7263812
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest.fixture
def other(conninfo: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo) as session:
        yield session


def test_a_step_that_moves_work_lets_an_announcement_go_first(
    postgres: PostgresDatabase, other: psycopg.Connection
) -> None:
    store_flexible_world(postgres)
    announced(postgres)
    book = EventBook(postgres)
    steps = Steps(book, 100, SUPPLIER_PRICES)
    (claimed,), _ = book.claim_due("one", NOW, lease_seconds=60, limit=1)
    assert book.store(claimed, steps.next_step(claimed, NOW), NOW) is Stepped.CHANGED
    (claimed,), _ = book.claim_due("one", NOW, lease_seconds=60, limit=1)
    sale = steps.next_step(claimed, NOW)
    assert sale.with_it["moves"]
    other.execute("lock table flexibility_events in share row exclusive mode")  # as an announcement begins
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(book.store, claimed, sale, NOW)
        eventually(lambda: postgres.scalar(WAITING) == 1)
        is_free = other.execute("select pg_try_advisory_xact_lock(%s)", [PUBLISHING]).fetchone()
        other.commit()
        assert stored.result(timeout=30) is Stepped.CHANGED
    assert is_free == (True,), "the announcement gets the publishing lock, which it takes last"


def test_whoever_has_published_decides_on_an_event_while_another_waits(
    postgres: PostgresDatabase, other: psycopg.Connection
) -> None:
    event = announced(postgres)
    later = announced(postgres, source_id="later", starts_at=ENDS_AT)
    other.execute("select pg_advisory_xact_lock(%s)", [PUBLISHING])  # as moving work does, before its step is decided
    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(cancel, postgres, event.event_id, "not wanted", NOW)
        eventually(lambda: postgres.scalar(WAITING) == 1)
        insert = "insert into flexibility_decisions (tenant, event_id, to_state, decided_at) values (%s, %s, 'X', %s)"
        other.execute(insert, ["platform", later.event_id, NOW])
        other.rollback()
        assert cancelled.result(timeout=30).state is Cancelling.CANCELLED
