"""Notices are heard while the database carries them; a lost or deaf listener is replaced."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import psycopg
import pytest

from database.errors import DatabaseUnreachable
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from queueing.notices import Notices


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"


def notify(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("select pg_notify('broadcast', '')")


def test_a_notice_ends_the_wait_and_silence_does_not(postgres: PostgresDatabase, conninfo: str) -> None:
    notices = Notices(postgres, "broadcast")
    assert notices.are_heard()
    assert notices.wait(0.01)  # nobody knows what came before it listened
    assert not notices.wait(0.01)
    notify(conninfo)
    eventually(lambda: notices.wait(1))
    notices.close()


def test_a_listener_that_is_lost_is_replaced(
    postgres: PostgresDatabase, conninfo: str, caplog: pytest.LogCaptureFixture
) -> None:
    notices = Notices(postgres, "broadcast")
    assert notices.are_heard()
    assert notices.wait(0.01)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and query ilike '%listen%' and pid <> pg_backend_pid()"
        )
    eventually(lambda: notices.wait(1))
    assert not notices.are_heard()  # for a moment
    assert "notices on broadcast do not arrive, polling until they do" in caplog.text
    eventually(notices.are_heard)
    assert notices.wait(0.01)
    notify(conninfo)
    eventually(lambda: notices.wait(1))
    notices.close()


def test_a_deaf_database_is_asked_again_with_growing_pauses(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def deaf(_: object) -> None:
        asked.append(time.monotonic())
        raise DatabaseUnreachable("the listening connection is deaf")

    monkeypatch.setattr(postgres, "listen", deaf)
    monkeypatch.setattr("queueing.notices.FIRST_PAUSE_S", 0.02)
    notices = Notices(postgres, "broadcast")
    eventually(lambda: not notices.are_heard() and len(asked) > 4)
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(pause >= 0.75 * 0.02 * 2**number for number, pause in enumerate(pauses))


def test_where_there_are_none_nobody_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    supabase = SupabaseDatabase("http://127.0.0.1:9", "a-key")
    notices = Notices(supabase, "broadcast")
    assert not notices.are_heard()
    monkeypatch.delattr(SupabaseDatabase, "listen")
    assert not notices.are_heard()
    supabase.close()
