"""Behind a real PgBouncer in transaction mode: every answer is the asker's own, and nothing is left in a session."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from database.embedded import EmbeddedPostgres
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from pgbouncer import POOLED_SESSIONS, pgbouncer

BY_OPERATOR = OrderBy(("operator_id",))
CLIENTS = 3


@pytest.fixture(scope="module")
def pooler_port(postgres_server: EmbeddedPostgres) -> Iterator[int]:
    with pgbouncer(postgres_server.socket_dir) as port:
        yield port


@pytest.fixture
def pooled_url(pooler_port: int, conninfo: str) -> str:
    """The database of `conninfo` through the pooler, as a DATABASE_URL."""
    return f"postgresql://postgres@127.0.0.1:{pooler_port}/{conninfo_to_dict(conninfo)['dbname']}"


@pytest.fixture
def clients(pooled_url: str) -> Iterator[list[PostgresDatabase]]:
    """Several processes' doors, which share the pooler's few sessions."""
    doors = [PostgresDatabase(pooled_url) for _ in range(CLIENTS)]
    yield doors
    for door in doors:
        door.close()


def questions(door: PostgresDatabase, number: int) -> list[Any]:
    """Every kind of statement, several times each, so that a driver that prepares them by name would."""
    key = f"OP-{number:05d}"
    row = {"operator_id": key, "name": key, "operator_type": "CLOUD"}
    return [
        door.insert("operators", [row])[0]["operator_id"] == key,
        door.upsert("operators", [row | {"name": "again"}], conflict=["operator_id"])[0]["operator_id"] == key,
        door.update("operators", {"name": "changed"}, where=[Where("operator_id", key)])[0]["name"] == "changed",
        door.select("operators", where=[Where("operator_id", key)], order=BY_OPERATOR)[0]["operator_id"] == key,
        set(door.call("queue_health")) >= {"depth", "in_flight", "dead"},
        set(door.call("beckn_health")) >= {"inbox", "outbox"},
        door.delete("operators", where=[Where("operator_id", key)]) == 1,
    ]


def test_every_client_gets_the_answers_to_its_own_questions(clients: list[PostgresDatabase]) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda number: questions(clients[number % CLIENTS], number), range(240)))
    assert answers == [[True] * 7] * 240


def test_nothing_is_left_in_a_session(
    clients: list[PostgresDatabase], pooled_url: str, postgres: PostgresDatabase
) -> None:
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: questions(clients[number % CLIENTS], number), range(60)))
    assert [door.listen(["workload_ready"]) for door in clients] == [None] * CLIENTS
    sessions = [psycopg.connect(pooled_url, prepare_threshold=None) for _ in range(POOLED_SESSIONS)]
    usual = postgres.scalar("select reset_val from pg_settings where name = 'TimeZone'")
    left_behind = (
        "select (select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels()),"
        " current_setting('timezone'), current_setting('statement_timeout')"
    )
    # One transaction in each at the same time, and so each of the pooler's sessions once.
    found = [session.execute(left_behind).fetchone() for session in sessions]
    for session in sessions:
        session.close()
    assert set(found) == {(0, 0, usual, "0")}


def test_times_are_utc_whatever_the_sessions_time_zone_is(pooled_url: str, postgres: PostgresDatabase) -> None:
    """A neighbour behind the same pooler may have set another one."""
    name = conninfo_to_dict(pooled_url)["dbname"]
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"alter database \"{name}\" set timezone = 'Asia/Kolkata'".encode())
    try:
        elsewhere = PostgresDatabase(postgres.conninfo)
        try:
            row = {"operator_id": "OP-1", "name": "one", "operator_type": "CLOUD"}
            stored = elsewhere.insert("operators", [row])
            assert stored[0]["created_at"].endswith("+00:00")
            assert elsewhere.update("operators", {"name": "1"}, where=[Where("operator_id", "OP-1")])[0][
                "created_at"
            ].endswith("+00:00")
            assert elsewhere.select("operators", order=BY_OPERATOR)[0]["created_at"].endswith("+00:00")
            state = elsewhere.call("live_state", {"p_now": "2026-01-01T00:00:00Z", "p_types": ["Operator"]})
            assert state["Operator"][0]["created_at"].endswith("+00:00")
        finally:
            elsewhere.close()
    finally:
        with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
            connection.execute(f'alter database "{name}" reset timezone'.encode())


def test_a_direct_connection_listens_and_a_pooled_one_says_once_that_it_polls(
    clients: list[PostgresDatabase], postgres: PostgresDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    direct = postgres.listen(["workload_ready"])
    assert direct is not None
    direct.close()
    with caplog.at_level("INFO"):
        assert clients[0].listen(["workload_ready"]) is None
        assert clients[0].listen(["broadcast"]) is None
    assert [record.getMessage() for record in caplog.records if "pooler" in record.getMessage()] == [
        "PostgreSQL is behind a pooler, which carries no notices: news is found by polling"
    ]
