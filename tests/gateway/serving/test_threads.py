"""The database of the greenlets: same answers, and nobody waits for another's call."""

from __future__ import annotations

import time

import gevent
import psycopg
import pytest

from database.errors import DatabaseUnreachable, RowRefused
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from gateway.serving.threads import ThreadedDatabase

BY_KEY = OrderBy(("operator_id",))


def operator(operator_id: str) -> dict[str, str]:
    return {"operator_id": operator_id, "name": operator_id, "operator_type": "CLOUD"}


def test_every_kind_of_call_and_its_errors_pass_through(postgres: PostgresDatabase) -> None:
    database = ThreadedDatabase(postgres)
    database.insert("operators", [operator("one"), operator("two")])
    database.upsert("operators", [operator("one") | {"name": "first"}], conflict=["operator_id"])
    database.update("operators", {"name": "second"}, where=[Where("operator_id", "two")])
    rows = database.select("operators", order=BY_KEY, after=["a"], limit=5, columns=["name"])
    assert rows == [{"name": "first"}, {"name": "second"}]
    assert database.delete("operators", where=[Where("operator_id", "one")]) == 1
    assert database.call("queue_health")["depth"] == 0
    with pytest.raises(RowRefused):
        database.insert("operators", [{"operator_id": "three", "name": None, "operator_type": "CLOUD"}])
    listener = database.listen(["broadcast"])
    assert listener is not None
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute("select pg_notify('broadcast', '')")
    assert listener.wait(30) == ["broadcast"]
    listener.close()
    database.close()


def test_a_call_that_takes_too_long_is_given_up_and_holds_nobody_up(postgres: PostgresDatabase) -> None:
    database = ThreadedDatabase(postgres, patience_s=0.5)
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute("lock table operators in access exclusive mode")
        began = time.monotonic()
        stuck = gevent.spawn(database.select, "operators", order=BY_KEY)
        assert gevent.spawn(database.call, "queue_health").get(timeout=20)["dead"] == 0
        with pytest.raises(DatabaseUnreachable, match="not answered within"):
            stuck.get(timeout=20)
        assert time.monotonic() - began >= 0.5
    assert database.select("operators", order=BY_KEY) == []
    database.close()


def test_waiting_for_a_free_thread_counts_and_a_silent_database_does_not_keep_it_from_closing(
    postgres: PostgresDatabase,
) -> None:
    database = ThreadedDatabase(postgres, threads=2, patience_s=0.5)
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute("lock table operators in access exclusive mode")
        stuck = [gevent.spawn(database.select, "operators", order=BY_KEY) for _ in range(8)]
        gevent.joinall(stuck, timeout=20)
        assert [type(call.exception) for call in stuck] == [DatabaseUnreachable] * 8
        with gevent.Timeout(20):
            database.close()
