"""Threads look at a queue when there is something, however they hear of it, and when something is due."""

from __future__ import annotations

import threading

import psycopg
import pytest

from database.errors import DatabaseUnreachable
from database.interface import Database
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from postgrest_server import PostgrestServer
from queueing.consumer import Consumer, Round
from queueing.heartbeat import Heartbeat

WITHIN_S = 30
CHANNEL = "something_to_do"


class Pile:
    """Work in memory, and who took it."""

    def __init__(self, *, next_due_s: float | None = None) -> None:
        self._changed = threading.Condition()
        self._next_due_s = next_due_s
        self.left = 0
        self.looks = 0
        self.fails = 0

    def put(self, number: int) -> None:
        with self._changed:
            self.left += number

    def look(self) -> Round:
        with self._changed:
            self.looks += 1
            self._changed.notify_all()
            if self.fails > 0:
                self.fails -= 1
                raise DatabaseUnreachable("restarting")
            if not self.left:
                return Round(0, self._next_due_s)
            self.left -= 1
        return Round(1)

    def wait_for_looks(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.looks >= number, WITHIN_S)

    def wait_until_done(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.left == 0, WITHIN_S)


def a_consumer(database: Database, pile: Pile, *, threads: int = 2, poll_seconds: float = 3600) -> Consumer:
    return Consumer("worker", pile.look, database, CHANNEL, threads=threads, poll_seconds=poll_seconds)


def test_a_notice_of_the_database_brings_a_look(postgres: PostgresDatabase, conninfo: str) -> None:
    pile = Pile()
    consumer = a_consumer(postgres, pile)
    consumer.start()
    try:
        pile.wait_for_looks(3)  # each thread at its start, and one when the notices are heard
        with psycopg.connect(conninfo, autocommit=True) as session:
            for _ in range(5):
                seen = pile.looks
                pile.put(3)
                session.execute("select pg_notify(%s, '')", (CHANNEL,))
                pile.wait_until_done()
                pile.wait_for_looks(seen + 3)
    finally:
        consumer.stop()
    assert consumer.troubles() == []


def test_without_notices_it_looks_from_time_to_time(postgrest: PostgrestServer) -> None:
    pile = Pile()
    supabase = SupabaseDatabase(postgrest.url, postgrest.key)
    consumer = a_consumer(supabase, pile, poll_seconds=0.02)
    consumer.start()
    try:
        for _ in range(3):
            pile.put(4)
            pile.wait_until_done()
            pile.wait_for_looks(pile.looks + 2)
        assert consumer.troubles() == []
    finally:
        consumer.stop()
        supabase.close()


def test_who_puts_something_in_wakes_a_thread_of_its_own_process(postgres: PostgresDatabase) -> None:
    pile = Pile()
    consumer = a_consumer(postgres, pile, threads=1)
    consumer.start()
    try:
        pile.wait_for_looks(2)
        pile.put(2)
        consumer.wake()
        pile.wait_until_done()
    finally:
        consumer.stop()


def test_it_looks_again_when_something_is_due(postgres: PostgresDatabase) -> None:
    pile = Pile(next_due_s=0.01)
    consumer = a_consumer(postgres, pile, threads=1)
    consumer.start()
    try:
        pile.wait_for_looks(20)
    finally:
        consumer.stop()


def test_a_failed_look_is_followed_by_another(postgres: PostgresDatabase, caplog: pytest.LogCaptureFixture) -> None:
    pile = Pile()
    pile.fails = 2
    pile.put(1)
    consumer = a_consumer(postgres, pile, threads=1)
    consumer.start()
    try:
        pile.wait_until_done()
    finally:
        consumer.stop()
    assert "worker 1 is failing and keeps trying: restarting" in caplog.text


def test_nothing_more_is_begun_once_it_is_to_stop(postgres: PostgresDatabase) -> None:
    pile = Pile()
    consumer = a_consumer(postgres, pile)
    consumer.start()
    pile.wait_for_looks(2)
    consumer.stop()
    seen = pile.looks
    pile.put(1)
    consumer.wake()
    assert (pile.looks, pile.left) == (seen, 1)
    assert consumer.troubles() == []


def test_leases_are_kept_while_its_threads_work_and_trouble_with_that_is_told(
    postgres: PostgresDatabase,
) -> None:
    extended, taken, done = threading.Event(), threading.Event(), threading.Event()
    refuses = threading.Event()

    def extend(leases: object) -> None:
        if refuses.is_set():
            raise ValueError("no more")
        extended.set()

    heartbeat: Heartbeat[str] = Heartbeat("the keeper", extend, lease_seconds=0.03, longest_hold_s=3600)

    def look() -> Round:
        if taken.is_set():
            return Round(0)
        with heartbeat.holding(["a lease"]):
            taken.set()
            assert done.wait(WITHIN_S)
        return Round(1)

    consumer = Consumer("w", look, postgres, CHANNEL, threads=1, poll_seconds=3600, heartbeat=heartbeat)
    consumer.start()
    try:
        assert extended.wait(WITHIN_S)
        refuses.set()
        while not any("the keeper" in told for told in consumer.troubles()):
            done.wait(0.01)
    finally:
        done.set()
        consumer.stop()
    assert heartbeat.loop.join(0)
