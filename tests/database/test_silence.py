"""Connections that stay open and never answer again: every call ends, and the next ones work."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from database import connections, listener
from database import postgres as postgres_door
from database.embedded import EmbeddedPostgres
from database.errors import DatabaseError, DatabaseUnreachable
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from freezing_proxy import FreezingProxy, freezing_proxy

ENDS_WITHIN_S = 20
BY_OPERATOR = OrderBy(("operator_id",))


@pytest.fixture(autouse=True)
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_door, "ANSWER_WITHIN_S", 1.0)
    monkeypatch.setattr(postgres_door, "CALL_WITHIN_S", 4.0)
    monkeypatch.setattr(postgres_door, "SHORTEST_ATTEMPT_S", 0.5)
    monkeypatch.setattr(connections, "CANCEL_WITHIN_S", 0.5)
    monkeypatch.setattr(listener, "HEARD_WITHIN_S", 1.0)
    monkeypatch.setattr(listener, "PROVE_EVERY_S", 0.5)


@pytest.fixture
def proxy(postgres_server: EmbeddedPostgres) -> Iterator[FreezingProxy]:
    with freezing_proxy(postgres_server.socket_dir / ".s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: FreezingProxy, conninfo: str) -> Iterator[PostgresDatabase]:
    name = conninfo_to_dict(conninfo)["dbname"]
    database = PostgresDatabase(f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}", max_connections=8)
    yield database
    database.close()


def fill_the_pool(database: PostgresDatabase, connections_wanted: int) -> None:
    with ThreadPoolExecutor(connections_wanted) as threads:
        list(threads.map(lambda _: database.scalar("select pg_sleep(0.2) is null"), range(2 * connections_wanted)))


def outcomes(calls: int, work: Callable[[], object]) -> list[object]:
    """What each of so many calls at once returned or raised; none of them may take longer than it should."""
    with ThreadPoolExecutor(calls) as threads:
        asked: list[Future[object]] = [threads.submit(work) for _ in range(calls)]
        done, late = wait(asked, ENDS_WITHIN_S)
        assert not late
        return [call.exception() or call.result() for call in asked if call in done]


def test_reads_are_answered_on_new_connections_when_all_pooled_ones_went_silent(
    behind: PostgresDatabase, proxy: FreezingProxy
) -> None:
    fill_the_pool(behind, 8)
    proxy.freeze()
    assert outcomes(8, lambda: behind.scalar("select 1")) == [1] * 8
    accepted = proxy.accepted
    assert behind.scalar("select 1") == 1
    assert proxy.accepted == accepted  # a pool of silent connections costs the wait once, not once a connection


def test_what_may_not_be_repeated_ends_as_unreachable_and_the_next_call_works(
    behind: PostgresDatabase, proxy: FreezingProxy
) -> None:
    fill_the_pool(behind, 1)
    proxy.freeze()
    with pytest.raises(DatabaseUnreachable, match="nothing answers"):
        behind.insert("operators", [{"operator_id": "OP-1", "name": "one", "operator_type": "CLOUD"}])
    assert behind.select("operators", order=BY_OPERATOR) == []


def test_calls_end_also_when_new_connections_are_silent_too_and_work_again_afterwards(
    behind: PostgresDatabase, proxy: FreezingProxy
) -> None:
    fill_the_pool(behind, 4)
    proxy.freeze_all_to_come()
    found = outcomes(12, lambda: behind.scalar("select 1"))
    assert {type(each) for each in found} == {DatabaseUnreachable}
    proxy.thaw()
    deadline = time.monotonic() + ENDS_WITHIN_S
    while True:
        try:
            assert behind.scalar("select 1") == 1
            break
        except DatabaseUnreachable:
            assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a socket refuses instead")
def test_a_server_that_takes_nobody_in_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_door, "CONNECT_TIMEOUT_S", 1)
    address = str(tmp_path / ".s.PGSQL.5432")
    with socket.socket(socket.AF_UNIX) as stopped, socket.socket(socket.AF_UNIX) as waiting:
        stopped.bind(address)
        stopped.listen(0)
        waiting.connect(address)
        revived: list[str] = []
        database = PostgresDatabase(
            f"host={tmp_path} user=postgres dbname=postgres",
            own_sessions=True,
            revive=lambda: revived.append("revived"),
        )
        with pytest.raises(DatabaseUnreachable, match="no connection"):
            database.scalar("select 1")
        database.close()
    assert revived == []


def test_a_connection_that_went_silent_while_idle_is_found_before_it_is_used(
    behind: PostgresDatabase, proxy: FreezingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_door, "IDLE_IS_SUSPECT_S", 0.0)
    monkeypatch.setattr(postgres_door, "IDLE_ANSWER_WITHIN_S", 0.5)
    fill_the_pool(behind, 2)
    proxy.freeze()
    row = {"operator_id": "OP-1", "name": "one", "operator_type": "CLOUD"}
    assert behind.insert("operators", [row])[0]["operator_id"] == "OP-1"


def test_a_statement_that_takes_too_long_is_stopped_at_the_server(postgres: PostgresDatabase, conninfo: str) -> None:
    with pytest.raises(DatabaseUnreachable, match="took too long"):
        postgres.scalar("select pg_sleep(600) is null")
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(600)%'"
            " and pid <> pg_backend_pid()"
        ).fetchone()
    assert row == (0,)
    assert postgres.scalar("select 1") == 1


def test_a_locked_table_is_trouble_that_passes(postgres: PostgresDatabase, conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        connection.execute("lock table operators in access exclusive mode")
        with pytest.raises(DatabaseUnreachable):
            postgres.select("operators", order=BY_OPERATOR)
    assert postgres.select("operators", order=BY_OPERATOR) == []


def test_a_listener_that_went_silent_finds_out_and_a_new_one_hears(
    behind: PostgresDatabase, proxy: FreezingProxy, conninfo: str
) -> None:
    listening = behind.listen(["broadcast"])
    assert listening is not None
    proxy.freeze()
    found: list[BaseException] = []

    def listen_on() -> None:
        try:
            while True:
                listening.wait(0.2)
        except DatabaseError as error:
            found.append(error)

    thread = threading.Thread(target=listen_on, daemon=True)
    thread.start()
    thread.join(ENDS_WITHIN_S)
    assert [type(error) for error in found] == [DatabaseUnreachable]
    listening.close()
    again = behind.listen(["broadcast"])
    assert again is not None
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("select pg_notify('broadcast', '')")
    deadline = time.monotonic() + ENDS_WITHIN_S
    while not (heard := again.wait(1)):
        assert time.monotonic() < deadline
    assert heard == ["broadcast"]
    again.close()


def test_a_listener_on_a_database_that_carries_no_notices_is_deaf_from_the_start(
    behind: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "_notify", lambda _: None)  # as when the notice is given in another server
    with pytest.raises(DatabaseUnreachable, match="deaf"):
        behind.listen(["broadcast"])
