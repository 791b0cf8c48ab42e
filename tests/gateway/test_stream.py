"""The WebSocket `/stream` over real HTTP: who may listen, what comes, and how it ends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from database.interface import Database
from database.postgres import PostgresDatabase
from grid_world import store_world, submit, workload
from running_gateway import RunningGateway, running_gateway, workers_on
from sse_reader import SseReader

EVERY = ["decisions", "workloads", "orders", "grid", "sources", "data_centres", "agents", "negotiations"]
WITHIN_S = 20


@pytest.fixture
def gateway(postgres: PostgresDatabase) -> Iterator[RunningGateway]:
    store_world(postgres)
    with running_gateway(postgres, poll_seconds=0.1) as running:
        yield running


def opened(gateway: RunningGateway, **options: Any) -> Connection:
    return connect(
        f"ws://127.0.0.1:{gateway.port}/stream", subprotocols=[Subprotocol("pylon.v1")], max_size=None, **options
    )


def heard(connection: Connection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(connection.recv(timeout=WITHIN_S))
    return message


def until(connection: Connection, kind: str) -> list[dict[str, Any]]:
    """What comes up to and with the first message of this type, but for heartbeats before it."""
    messages = [heard(connection)]
    while messages[-1]["type"] != kind:
        messages.append(heard(connection))
    return [message for message in messages if message["type"] in {kind, "event"}]


def subscribed(connection: Connection, **choice: Any) -> dict[str, Any]:
    connection.send(json.dumps({"type": "subscribe", **choice}))
    return until(connection, "subscribed")[-1]


def to_the_end(connection: Connection) -> tuple[list[dict[str, Any]], int]:
    """Whatever still comes, and the code of the close."""
    messages: list[dict[str, Any]] = []
    try:
        while True:
            messages.append(heard(connection))
    except ConnectionClosed as closed:
        return messages, int(closed.rcvd.code) if closed.rcvd else 1006


def closed_with(connection: Connection) -> int:
    return to_the_end(connection)[1]


def publish(database: Database, *job_ids: str) -> None:
    submit(database, *(workload(job_id) for job_id in job_ids))
    workers_on(database).work_once()


def tell(database: Database, event_type: str, job_id: str | None = None, **document: Any) -> None:
    arguments = {"p_tenant": None, "p_event_type": event_type, "p_job_id": job_id, "p_event": document}
    database.call("log_event", arguments)


def wait_until_read(gateway: RunningGateway, newest: int) -> None:
    """Until the gateway knows of the event with this number."""
    deadline = time.monotonic() + WITHIN_S
    while gateway.feed.newest < newest:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_what_was_missed_comes_first_and_then_what_happens(
    gateway: RunningGateway, postgres: PostgresDatabase, compression: str | None
) -> None:
    publish(postgres, "a", "b")
    tell(postgres, "grid.updated", half_hour="now")
    wait_until_read(gateway, 3)
    with opened(gateway, compression=compression) as connection:
        welcome = heard(connection)
        assert (welcome["type"], welcome["protocol"], welcome["oldest"]) == ("welcome", "pylon.v1", 1)
        assert connection.subprotocol == "pylon.v1"
        assert subscribed(connection, topics=["grid", "decisions"], after=1)["from"] == 1
        *missed, caught_up = until(connection, "caught_up")
        assert [(event["sequence"], event["event"]) for event in missed] == [(2, "decision"), (3, "grid.updated")]
        assert caught_up["sequence"] == 3
        assert missed[0]["data"]["task"]["job_id"] == missed[0]["job_id"] == "b"
        publish(postgres, "c")
        assert until(connection, "event")[-1]["job_id"] == "c"


def test_the_three_doors_bring_the_same(gateway: RunningGateway, postgres: PostgresDatabase) -> None:
    publish(postgres, "a")
    tell(postgres, "grid.updated", n=1)
    tell(postgres, "order.confirmed", "a", n=2)
    publish(postgres, "b")
    wait_until_read(gateway, 4)
    for topics in (EVERY, ["decisions"], ["grid", "orders"]):
        for detail in ("full", "summary"):
            choice = f"topics={','.join(topics)}&detail={detail}"
            polled = gateway.get(f"/beckn/broadcast/poll?{choice}").json()["events"]
            with opened(gateway) as connection:
                subscribed(connection, topics=topics, after=0, detail=detail)
                *streamed, _ = until(connection, "caught_up")
            with SseReader(gateway.port, path=f"/beckn/broadcast?after=0&{choice}") as reader:
                server_sent = reader.wait_for(len(polled))
            assert [(event["sequence"], event["event"], event["data"]) for event in streamed] == [
                (event["sequence"], event["type"], event["data"]) for event in polled
            ]
            assert [event["created_at"] for event in streamed] == [event["created_at"] for event in polled]
            assert [(event.id, event.data) for event in server_sent] == [
                (event["sequence"], event["data"]) for event in polled
            ]


def test_a_filter_leaves_out_other_workloads_and_a_new_subscription_replaces_the_old(
    gateway: RunningGateway, postgres: PostgresDatabase
) -> None:
    publish(postgres, "a", "b", "c")
    wait_until_read(gateway, 3)
    with opened(gateway) as connection:
        subscribed(connection, after=0, filter={"job_id": "b"})
        (event, caught_up) = until(connection, "caught_up")
        assert (event["job_id"], caught_up["sequence"]) == ("b", 3)
        assert subscribed(connection, topics=["grid"])["from"] == 3
        publish(postgres, "d")
        tell(postgres, "grid.updated")
        assert until(connection, "event")[-1]["event"] == "grid.updated"


def test_a_quiet_subscription_is_told_how_far_it_is(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    with running_gateway(postgres, poll_seconds=0.1, heartbeat_s=0.3) as gateway, opened(gateway) as connection:
        subscribed(connection, topics=["grid"])
        publish(postgres, "a")
        while until(connection, "heartbeat")[-1]["newest"] != 1:
            pass


def test_what_is_not_understood_is_said_and_after_five_it_is_over(gateway: RunningGateway) -> None:
    with opened(gateway) as connection:
        heard(connection)
        connection.send(json.dumps({"type": "subscribe", "topics": ["weather"]}))
        mistake = heard(connection)
        assert mistake["type"] == "error"
        assert all(topic in mistake["detail"] for topic in EVERY)
        for text in ("no JSON", "[]", '{"type": "subscribe", "after": "1"}'):
            connection.send(text)
            assert heard(connection)["type"] == "error"
        subscribed(connection)
        connection.send("{}")
        assert closed_with(connection) == 4400


@pytest.mark.parametrize(
    ("message", "code"), [(b"binary", 1003), ("x" * 20_000, 1009), ('{"type": "subscribe", "after": 7}', 4409)]
)
def test_what_cannot_be_taken_ends_it_with_its_reason(gateway: RunningGateway, message: Any, code: int) -> None:
    with opened(gateway) as connection:
        heard(connection)
        connection.send(message)
        assert closed_with(connection) == code


def test_text_that_is_no_utf_8_ends_it(gateway: RunningGateway) -> None:
    with opened(gateway) as connection:
        heard(connection)
        connection.send(b"\xff\xfe", text=True)
        assert closed_with(connection) == 1007


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://localhost:5000", True),
        ("http://127.0.0.1:5000", True),
        ("its own", True),
        ("https://dashboard.example", False),
        ("http://localhost:5001", False),
        ("null", False),
        ("http://localhost:5000.evil.example", False),
    ],
)
def test_pages_of_strangers_may_neither_listen_nor_read(gateway: RunningGateway, origin: str, may: bool) -> None:
    origin = f"http://127.0.0.1:{gateway.port}" if origin == "its own" else origin
    if may:
        with opened(gateway, origin=origin) as connection:
            assert heard(connection)["type"] == "welcome"
    else:
        with pytest.raises(InvalidStatus) as refused:
            opened(gateway, origin=origin)
        assert refused.value.response.status_code == 403
    answer = gateway.get("/beckn/broadcast/poll", headers={"Origin": origin})
    shared = answer.headers.get("Access-Control-Allow-Origin")
    assert shared == (origin if may and "5000" in origin else None)
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_whoever_wants_nothing_in_time_is_sent_away(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.streaming.SUBSCRIBE_WITHIN_S", 0.2)
    with opened(gateway) as connection:
        assert closed_with(connection) == 4408


def test_with_a_key_a_page_says_it_in_a_message(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.streaming.AUTH_WITHIN_S", 0.5)
    environ = {"PYLON_API_KEY": "a-long-key", "BG_HOST": "0.0.0.0"}
    with running_gateway(postgres, environ=environ) as gateway:
        with opened(gateway) as connection:
            assert heard(connection)["auth"] == "required"
            connection.send(json.dumps({"type": "auth", "token": "a-long-key"}))
            assert heard(connection)["auth"] == "done"
            assert subscribed(connection)["topics"] == ["decisions"]
        with opened(gateway, additional_headers={"Authorization": "Bearer a-long-key"}) as connection:
            assert heard(connection)["auth"] == "done"
        for wrong in ({"type": "auth", "token": "another"}, {"type": "subscribe"}):
            with opened(gateway) as connection:
                assert heard(connection)["newest"] is None
                connection.send(json.dumps(wrong))
                assert closed_with(connection) == 4401


def test_a_client_that_does_not_keep_up_is_sent_away_and_resumes_whole(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    with running_gateway(postgres, backlog_events=20, heartbeat_s=0.1) as gateway:
        connection = opened(gateway, compression=None, max_queue=1)
        heard(connection)
        subscribed(connection, after=0)
        _append(conninfo, 200, size=100_000)
        wait_until_read(gateway, 200)
        messages, code = to_the_end(connection)
        assert code == 4429
        seen = [message["sequence"] for message in messages if message["type"] == "event"]
        assert seen == list(range(1, len(seen) + 1))
        with opened(gateway) as again:
            subscribed(again, after=seen[-1], detail="summary")
            *rest, caught_up = until(again, "caught_up")
        assert [event["sequence"] for event in rest] == list(range(seen[-1] + 1, caught_up["sequence"] + 1))


def _append(conninfo: str, count: int, *, size: int) -> None:
    with psycopg.connect(conninfo) as session:
        session.execute(
            "insert into broadcast_log (sequence, event_type, event) "
            "select coalesce((select max(sequence) from broadcast_log), 0) + n, 'test', "
            "jsonb_build_object('n', n, 'padding', repeat('x', %s)) from generate_series(1, %s) as n",
            [size, count],
        )
        session.execute("select pg_notify('broadcast', '')")


def test_a_gateway_that_stops_says_so(postgres: PostgresDatabase) -> None:
    with running_gateway(postgres) as gateway:
        connection = opened(gateway)
        heard(connection)
        subscribed(connection)
    assert closed_with(connection) == 1001


def test_a_client_that_vanishes_leaves_nothing_behind(gateway: RunningGateway) -> None:
    connection = opened(gateway)
    heard(connection)
    subscribed(connection)
    until(connection, "caught_up")
    assert gateway.feed.streams == 1
    connection.socket.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + WITHIN_S
    while gateway.feed.streams and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gateway.feed.streams == 0


def test_a_subscription_that_comes_together_with_the_request_is_taken(
    gateway: RunningGateway, postgres: PostgresDatabase
) -> None:
    publish(postgres, "a")
    wait_until_read(gateway, 1)
    payload = b'{"type":"subscribe","after":0,"detail":"summary"}'
    request = (
        b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WITHIN_S) as connection:
        connection.sendall(request + bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        answer = b""
        while b'"type":"caught_up","sequence":1}' not in answer:
            part = connection.recv(65536)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b'"event":"decision","sequence":1,' in answer


def test_a_plain_request_hears_what_it_lacks(gateway: RunningGateway) -> None:
    answer = gateway.get("/stream")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    described = gateway.get("/asyncapi.json").json()
    assert described["asyncapi"] == "3.1.0"
    assert described["servers"]["gateway"]["host"] == f"127.0.0.1:{gateway.port}"
