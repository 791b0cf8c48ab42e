"""The events over real HTTP: streams and polling."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid_world import store_world, submit, workload
from running_gateway import RunningGateway, running_gateway, workers_on
from sse_reader import SseReader

POLL = "/beckn/broadcast/poll"
STREAM = "/beckn/broadcast"


@pytest.fixture
def gateway(postgres: PostgresDatabase) -> Iterator[RunningGateway]:
    with running_gateway(postgres) as running:
        yield running


def publish(database: Database, *job_ids: str) -> None:
    """Have workloads decided, all together."""
    submit(database, *(workload(job_id) for job_id in job_ids))
    workers_on(database).work_once()


def append(conninfo: str, count: int, *, size: int = 100) -> None:
    """Events of some size, appended to the log as publishing does."""
    with psycopg.connect(conninfo) as connection:
        connection.execute(
            """
            insert into broadcast_log (sequence, event_type, event)
            select coalesce((select max(sequence) from broadcast_log), 0) + n, 'test',
                jsonb_build_object('n', n, 'padding', repeat('x', %s))
            from generate_series(1, %s) as n
            """,
            [size, count],
        )
        connection.execute("select pg_notify('broadcast', '')")


def raw_stream(port: int, query: str = "") -> socket.socket:
    """A client that has asked for the stream and read its first bytes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.connect(("127.0.0.1", port))
    connection.settimeout(20)
    connection.sendall(f"GET {STREAM}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(256).startswith(b"HTTP/1.1 200")
    return connection


def test_every_client_gets_every_event_in_order_by_stream_and_by_poll(database: Database) -> None:
    store_world(database)
    with running_gateway(database, poll_seconds=0.1) as gateway, ExitStack() as stack:
        publish(database, "before")
        from_now_on = stack.enter_context(SseReader(gateway.port, path=f"{STREAM}?after=1"))
        from_the_start = [stack.enter_context(SseReader(gateway.port, path=f"{STREAM}?after=0")) for _ in range(3)]
        publish(database, "first", "second")
        publish(database, "third")
        for reader in from_the_start:
            assert [event.id for event in reader.wait_for(4)] == [1, 2, 3, 4]
        assert [event.id for event in from_now_on.wait_for(3)] == [2, 3, 4]
        polled = gateway.get(POLL).json()
        outputs = gateway.get("/beckn/llm-output/history").json()["outputs"]
    streamed = from_the_start[0].events
    assert {event.type for event in streamed} == {"decision"}
    assert [event.data["_metadata"]["sequence"] for event in streamed] == [1, 2, 3, 4]
    assert [event.data for event in streamed] == outputs[::-1]
    assert [(event["sequence"], event["type"], event["data"]) for event in polled["events"]] == [
        (event.id, event.type, event.data) for event in streamed
    ]
    assert polled["events"][0]["job_id"] == "before"
    assert (polled["next"], polled["oldest"], polled["newest"]) == (4, 1, 4)


def test_a_client_that_comes_back_gets_what_it_missed_from_memory_or_from_the_database(
    gateway: RunningGateway, conninfo: str
) -> None:
    append(conninfo, 30)
    with SseReader(gateway.port, path=f"{STREAM}?after=0", last_event_id=10) as reader:  # the header goes before
        assert [event.id for event in reader.wait_for(20)] == list(range(11, 31))
    append(conninfo, 5)
    # A process that has just started knows only the latest events, and reads the rest for who asks.
    append(conninfo, 100)
    with running_gateway(PostgresDatabase(conninfo)) as restarted:
        with SseReader(restarted.port, last_event_id=30) as reader:
            append(conninfo, 1)
            assert [event.id for event in reader.wait_for(106)] == list(range(31, 137))
        with SseReader(restarted.port) as reader:  # without a place: from now on
            append(conninfo, 1)
            assert [event.id for event in reader.wait_for(1)] == [137]


def test_an_idle_stream_says_that_it_is_alive(postgres: PostgresDatabase) -> None:
    with running_gateway(postgres, heartbeat_s=0.05) as gateway, SseReader(gateway.port) as reader:
        reader.wait_until(lambda: reader.comments >= 4)
        assert reader.events == []
        health = gateway.get("/health").json()
        assert health["streams"]["clients"] == 1
    assert reader.ended  # with the gateway


def test_a_place_that_does_not_exist_is_refused(gateway: RunningGateway, conninfo: str) -> None:
    append(conninfo, 3)
    for headers, query in (({"Last-Event-ID": "4"}, ""), ({}, "?after=4")):
        answer = gateway.get(STREAM + query, headers=headers)
        assert answer.status_code == 409
        assert answer.json()["newest"] == 3
        assert "after=0" in answer.json()["detail"]
    assert gateway.get(f"{POLL}?after=4").status_code == 409
    for headers, query in (
        ({"Last-Event-ID": "abc"}, ""),
        ({"Last-Event-ID": "-1"}, ""),
        ({}, "?after=1.5"),
        ({}, "?lastEventId=-1"),
    ):
        answer = gateway.get(STREAM + query, headers=headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    for query in ("?after=x", "?limit=0", "?limit=1001", f"?after={2**63}", "?from=1"):
        assert gateway.get(POLL + query).status_code == 422
    assert gateway.client.request("HEAD", STREAM).status_code == 200


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [
        ("?lastEventId=3", None, 4),
        ("?lastEventId=3&after=1", None, 4),
        ("?lastEventId=3", "1", 2),
        ("?after=2&_=1764220000", None, 3),
        ("?after=2&lastEventId=&r=0.36&nocache", "", 3),
        ("", "", 6),
        ("?lastEventId=", None, 6),
        ("?_=1764220000", None, 6),
    ],
)
def test_clients_that_cannot_set_a_header_or_mistrust_caches_are_served(
    gateway: RunningGateway, conninfo: str, query: str, header: str | None, first: int
) -> None:
    append(conninfo, 5)
    _wait_until(lambda: gateway.feed.newest == 5)
    headers = "" if header is None else f"Last-Event-ID: {header}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(f"GET {STREAM}{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        received = connection.recv(256)
        assert received.startswith(b"HTTP/1.1 200")
        append(conninfo, 1)
        while b"id: 6\n" not in received:
            received += connection.recv(65536)
    assert received.partition(b"\nid: ")[2].startswith(b"%d\n" % first)


def test_polls_may_carry_the_usual_cache_buster(gateway: RunningGateway) -> None:
    assert gateway.get(f"{POLL}?after=0&_=1764220000").status_code == 200
    assert gateway.get(f"{POLL}?after=0&__=1764220000").status_code == 422


def test_polling_page_by_page_takes_nothing_from_anyone(gateway: RunningGateway, conninfo: str) -> None:
    assert gateway.get(POLL).json() == {"events": [], "next": 0, "oldest": None, "newest": None}
    append(conninfo, 25)
    for _ in range(2):
        numbers: list[int] = []
        while page := gateway.get(f"{POLL}?after={numbers[-1] if numbers else 0}&limit=10").json()["events"]:
            numbers += [event["sequence"] for event in page]
        assert numbers == list(range(1, 26))


def test_a_page_of_large_events_is_short_and_says_where_to_go_on(gateway: RunningGateway, conninfo: str) -> None:
    append(conninfo, 40, size=1_000_000)
    page = gateway.get(f"{POLL}?limit=40").json()
    assert 4 <= len(page["events"]) < 20
    assert page["next"] == len(page["events"])


def test_a_slow_client_is_dropped_while_the_others_are_served(postgres: PostgresDatabase, conninfo: str) -> None:
    with running_gateway(postgres, backlog_events=20, heartbeat_s=0.1) as gateway:
        slow = raw_stream(gateway.port)
        with slow, SseReader(gateway.port) as reader:
            for batch in range(1, 11):
                append(conninfo, 10, size=100_000)
                began = time.monotonic()
                reader.wait_for(10 * batch)
                assert time.monotonic() - began < 25  # the slow one is waited for for 30
            assert reader.ids == list(range(1, 101))
            received = _read_to_the_end(slow)
        last = int(received.rpartition(b"\nid: ")[2].partition(b"\n")[0])
        assert 0 < last < 100
        _wait_until(lambda: gateway.feed.streams == 0)
        # Whoever comes back gets the rest from the database.
        with SseReader(gateway.port, last_event_id=last - 1) as reader:
            assert [event.id for event in reader.wait_for(101 - last)] == list(range(last, 101))


def test_a_client_that_reads_nothing_is_dropped(postgres: PostgresDatabase, conninfo: str) -> None:
    with running_gateway(postgres, patience_s=0.5) as gateway, raw_stream(gateway.port) as dead:
        append(conninfo, 100, size=100_000)
        _wait_until(lambda: gateway.feed.newest == 100 and gateway.feed.streams == 0)
        with pytest.raises(ConnectionError):
            _read_to_the_end(dead)


def test_many_that_read_nothing_share_what_is_read_and_hold_up_nobody(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    append(conninfo, 400, size=20_000)
    readings: list[str] = []
    read = postgres.call

    def counting(function: str, *arguments: Any, **options: Any) -> Any:
        readings.append(function)
        return read(function, *arguments, **options)

    postgres.call = counting  # type: ignore[method-assign]
    with running_gateway(postgres) as gateway, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(raw_stream(gateway.port, "?after=0"))
        readings.clear()
        with SseReader(gateway.port, path=f"{STREAM}?after=0") as reader:
            assert [event.id for event in reader.wait_for(400)] == list(range(1, 401))
        assert gateway.get("/").status_code == 200
        assert readings.count("events_after") < 100


def test_a_place_is_taken_before_the_first_byte_and_let_go_whatever_becomes_of_the_answer(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.endpoints.broadcast.MOST_STREAMS", 2)
    # Who has gone is found by the second thing that is sent to it.
    with running_gateway(postgres, heartbeat_s=0.2) as gateway:
        assert gateway.client.request("HEAD", STREAM).status_code == 200
        places = [gateway.feed.take_place(2), gateway.feed.take_place(2)]
        assert None not in places
        assert gateway.feed.take_place(2) is None
        assert gateway.get(STREAM).status_code == 503
        for place in places * 2:  # a second time is nothing
            assert place is not None
            place.let_go()
        for _ in range(3):
            with SseReader(gateway.port, path=STREAM), SseReader(gateway.port, path=STREAM):
                wait_until(lambda: gateway.feed.streams == 2)
                assert gateway.get(STREAM).status_code == 503
            publish(postgres, f"told-{_}")
            wait_until(lambda: gateway.feed.streams == 0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_clients_share_one_reading_of_the_database(postgres: PostgresDatabase, conninfo: str) -> None:
    readings: list[int] = []
    read = postgres.call

    def counting(function: str, *arguments: Any, **options: Any) -> Any:
        if function == "events_after":
            readings.append(1)
        return read(function, *arguments, **options)

    postgres.call = counting  # type: ignore[method-assign]
    with running_gateway(postgres, poll_seconds=5) as gateway, ExitStack() as stack:
        readers = [stack.enter_context(SseReader(gateway.port)) for _ in range(20)]
        before = len(readings)
        append(conninfo, 5)
        for reader in readers:
            assert [event.id for event in reader.wait_for(5)] == [1, 2, 3, 4, 5]
        assert len(readings) - before < 10


def test_events_are_read_while_somebody_listens_and_nobody_misses_one_that_was_passed_over(
    postgres: PostgresDatabase, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.feed.UNATTENDED_AFTER_S", -1)
    wanted: list[int] = []
    read = postgres.call

    def noting(function: str, arguments: Any = None, **options: Any) -> Any:
        if function == "events_after":
            wanted.append(arguments["p_limit"])
        return read(function, arguments, **options)

    with running_gateway(postgres, poll_seconds=0.1) as gateway:
        postgres.call = noting  # type: ignore[method-assign]
        append(conninfo, 5)
        wait_until(lambda: gateway.feed.newest == 5)
        assert set(wanted) == {0}
        with SseReader(gateway.port) as from_now, SseReader(gateway.port, path=f"{STREAM}?after=2") as missed_some:
            wait_until(lambda: gateway.feed.streams == 2)
            append(conninfo, 3)
            assert [event.id for event in from_now.wait_for(3)] == [6, 7, 8]
            assert [event.id for event in missed_some.wait_for(6)] == [3, 4, 5, 6, 7, 8]


def test_streams_end_when_the_database_is_replaced_by_another(gateway: RunningGateway, conninfo: str) -> None:
    append(conninfo, 5)
    with SseReader(gateway.port, path=f"{STREAM}?after=0") as reader:
        reader.wait_for(5)
        with psycopg.connect(conninfo) as connection:
            connection.execute("delete from broadcast_log where sequence > 2")
        reader.wait_until(lambda: reader.ended)
    assert gateway.get(STREAM, headers={"Last-Event-ID": "5"}).status_code == 409
    with SseReader(gateway.port, path=f"{STREAM}?after=2") as reader:
        append(conninfo, 1)
        assert [event.id for event in reader.wait_for(1)] == [3]


def test_an_emptied_log_ends_no_stream_and_gives_no_number_again(database: Database) -> None:
    store_world(database)
    with running_gateway(database, poll_seconds=0.1) as gateway:
        publish(database, "first", "second", "third")
        with SseReader(gateway.port, path=f"{STREAM}?after=0") as reader:
            reader.wait_for(3)
            database.delete("broadcast_log", where=[Where("sequence", 0, "gt")])
            with (
                SseReader(gateway.port, path=f"{STREAM}?after=3") as up_to_date,
                SseReader(gateway.port, path=f"{STREAM}?after=1") as behind,
            ):
                assert gateway.get(f"{POLL}?after=0").json() == {"events": [], "next": 3, "oldest": None, "newest": 3}
                publish(database, "fourth")
                assert [event.id for event in up_to_date.wait_for(1)] == [4]
                assert [event.id for event in behind.wait_for(3)] == [2, 3, 4]
            assert [event.id for event in reader.wait_for(4)] == [1, 2, 3, 4]
    # A gateway that starts on the emptied log has none of the former events.
    database.delete("broadcast_log", where=[Where("sequence", 0, "gt")])
    with running_gateway(database, poll_seconds=0.1) as gateway:
        assert gateway.get(STREAM, headers={"Last-Event-ID": "5"}).status_code == 409
        with SseReader(gateway.port, path=f"{STREAM}?after=1") as behind:
            publish(database, "fifth")
            assert [event.id for event in behind.wait_for(1)] == [5]


def _read_to_the_end(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        part = connection.recv(1 << 20)
        if not part:
            raise ConnectionError("the stream was cut off")
        received += part
    return received


def _wait_until(condition: Any, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
