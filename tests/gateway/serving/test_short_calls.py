"""Short calls without a thread: the same answers, whatever becomes of their connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import psycopg
import pytest

from database.errors import DatabaseUnreachable, SchemaMissing
from database.interface import Calls
from database.postgres import PostgresDatabase
from gateway.serving.threads import ThreadedDatabase

pytestmark = pytest.mark.own_database  # with a function of these tests

SLEEP = """create function public.sleep_and_say(p_seconds double precision, p_word text) returns json
language sql as $$ select json_build_object('word', p_word) from pg_sleep(p_seconds) $$"""
END_THE_OTHERS = """select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and query like '%sleep_and_say%' and pid <> pg_backend_pid()"""


@pytest.fixture
def threaded(postgres: PostgresDatabase) -> Iterator[ThreadedDatabase]:
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute(SLEEP)
    database = ThreadedDatabase(postgres, patience_s=0.5)
    yield database
    database.close()


def say(calls: Calls, word: str, *, after_s: float = 0) -> Any:
    arguments = {"p_seconds": after_s, "p_word": word}
    return calls.call("sleep_and_say", arguments, repeatable=True)


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.01)


def has_a_connection(calls: Calls) -> bool:
    """Whether the next call will go over it; the first that is made asks for one."""
    say(calls, "anything")
    return getattr(calls, "_connection", None) is not None


def test_answers_are_the_databases_and_nobody_waits_for_them(threaded: ThreadedDatabase) -> None:
    calls = threaded.short_calls()
    until(lambda: has_a_connection(calls))
    slow = gevent.spawn(say, calls, "slow", after_s=0.2)
    moments = 0
    while not slow.ready():
        gevent.sleep(0.01)
        moments += 1
    assert slow.get() == {"word": "slow"}
    assert moments > 3
    many = [gevent.spawn(say, calls, str(number)) for number in range(20)]
    assert [each.get(timeout=20)["word"] for each in many] == [str(number) for number in range(20)]


def test_a_call_that_is_given_up_leaves_its_answer_to_nobody(threaded: ThreadedDatabase) -> None:
    calls = threaded.short_calls()
    until(lambda: has_a_connection(calls))
    with pytest.raises(DatabaseUnreachable, match="not answered within"):
        say(calls, "late", after_s=2)
    assert say(calls, "next") == {"word": "next"}
    until(lambda: has_a_connection(calls))


def test_a_connection_that_is_lost_is_replaced(threaded: ThreadedDatabase, postgres: PostgresDatabase) -> None:
    calls = threaded.short_calls()
    until(lambda: has_a_connection(calls))
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(END_THE_OTHERS)
    assert say(calls, "still") == {"word": "still"}
    until(lambda: has_a_connection(calls))


def test_a_refusal_is_the_databases(threaded: ThreadedDatabase) -> None:
    calls = threaded.short_calls()
    until(lambda: has_a_connection(calls))
    with pytest.raises(SchemaMissing):
        calls.call("no_such_function", repeatable=True)
    assert say(calls, "well") == {"word": "well"}
