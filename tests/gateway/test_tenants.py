"""Two operators, the platform and nobody at the gateway: each gets its own, and nothing of another's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from database.interface import Database, Row
from database.postgres import PostgresDatabase
from decisions.work.notifications import WorkQueue
from grid_world import store_world, submit, workload
from running_gateway import RunningGateway, running_gateway, workers_on
from sse_reader import SseReader
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from tenant_settings import PLATFORM_KEY, bearer, keys_of, made_key, with_tenants
from two_operators import A, B, door_of, gate_of, make_operators

STREAM = "/beckn/broadcast"
POLL = "/beckn/broadcast/poll"
NEWEST = "/beckn/llm-output"
PLATFORM = bearer(PLATFORM_KEY)


def publish(database: Database, *jobs: tuple[str | None, str]) -> None:
    """Have workloads decided, each by itself and in this order: the operator and the job_id."""
    workers = workers_on(database)
    for operator, job_id in jobs:
        submit(database, workload(job_id, operator=operator))
        workers.work_once()


@pytest.fixture
def gate(postgres: PostgresDatabase, conninfo: str) -> Iterator[PostgresDatabase]:
    make_operators(postgres)
    store_world(postgres)
    gate = gate_of(conninfo)
    yield gate
    gate.close()


@pytest.fixture
def gateway(postgres: PostgresDatabase, gate: PostgresDatabase) -> Iterator[RunningGateway]:
    with running_gateway(postgres, gate=gate, environ=with_tenants(), look_every_s=0.1, heartbeat_s=0.5) as running:
        yield running


@pytest.fixture
def any_gateway(database: Database, conninfo: str) -> Iterator[RunningGateway]:
    """The same through each door; over REST there is one key for all, and nothing but `call_as` is asked with it."""
    make_operators(database)
    store_world(database)
    with (
        door_of(database, conninfo) as gate,
        running_gateway(database, gate=gate, environ=with_tenants(), look_every_s=0.1, poll_seconds=0.1) as running,
    ):
        yield running


@pytest.fixture
def key_a(postgres: PostgresDatabase, gate: PostgresDatabase) -> Key:
    return made_key(postgres, A)[0]


@pytest.fixture
def key_b(postgres: PostgresDatabase, gate: PostgresDatabase) -> Key:
    return made_key(postgres, B)[0]


def reader(
    gateway: RunningGateway, credential: str | None, path: str = f"{STREAM}?after=0", **options: Any
) -> SseReader:
    headers = {} if credential is None else bearer(credential)
    return SseReader(gateway.port, path=path, headers=headers, **options)


def jobs_of(stream: SseReader) -> list[tuple[int, str]]:
    return [(event.id, event.data["task"]["job_id"]) for event in stream.events]


def test_two_streams_and_a_third_without_a_credential(any_gateway: RunningGateway, database: Database) -> None:
    gateway, postgres = any_gateway, database
    key_a, key_b = made_key(database, A)[0], made_key(database, B)[0]
    with ExitStack() as stack:
        of_a, of_b, of_platform, of_nobody = (
            stack.enter_context(reader(gateway, credential))
            for credential in (key_a.text, key_b.text, PLATFORM_KEY, None)
        )
        publish(postgres, (A, "a-1"), (B, "b-1"), (None, "nobody-1"), (A, "a-2"), (A, "a-3"), (B, "b-2"))
        of_platform.wait_for(6)
        of_a.wait_for(3)
        of_b.wait_for(2)
        # One more of each, so that whatever was wrongly on its way has come.
        publish(postgres, (B, "b-3"), (A, "a-4"))
        of_a.wait_for(4)
        of_b.wait_for(3)
        of_platform.wait_for(8)
    assert jobs_of(of_a) == [(1, "a-1"), (2, "a-2"), (3, "a-3"), (4, "a-4")]
    assert jobs_of(of_b) == [(1, "b-1"), (2, "b-2"), (3, "b-3")]
    assert [number for number, _ in jobs_of(of_platform)] == list(range(1, 9))
    assert (of_nobody.status, of_nobody.events) == (401, [])
    for stream in (of_a, of_b, of_platform):
        assert [event.data["_metadata"]["sequence"] for event in stream.events] == [
            event.id for event in stream.events
        ]


def test_replay_passes_the_same_filter_from_memory_and_from_the_database(
    postgres: PostgresDatabase, gate: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    jobs = [(operator, f"{operator}-{number}") for number in range(1, 5) for operator in (A, B)]
    publish(postgres, *jobs)
    with running_gateway(postgres, gate=gate, environ=with_tenants()) as restarted:
        for last, key, operator in ((0, key_a, A), (2, key_a, A), (1, key_b, B)):
            expected = [(number, f"{operator}-{number}") for number in range(last + 1, 5)]
            for _ in range(2):
                with reader(restarted, key.text, STREAM, last_event_id=last) as stream:
                    stream.wait_for(len(expected))
                assert jobs_of(stream) == expected
            polled = restarted.get(f"{POLL}?after={last}", headers=bearer(key.text)).json()
            assert [(event["sequence"], event["job_id"]) for event in polled["events"]] == expected
            assert (polled["next"], polled["oldest"], polled["newest"]) == (4, 1, 4)
        # A number of the whole log is no place in anybody's.
        for place in ({"Last-Event-ID": "5"}, {"Last-Event-ID": "8"}):
            assert restarted.get(STREAM, headers=bearer(key_a.text) | place).status_code == 409
        assert restarted.get(f"{POLL}?after=8", headers=bearer(key_b.text)).status_code == 409
        assert restarted.get(f"{POLL}?after=8", headers=PLATFORM).status_code == 200


def test_an_event_without_an_operator_is_the_platforms_alone(
    gateway: RunningGateway, postgres: PostgresDatabase, conninfo: str, key_a: Key
) -> None:
    with reader(gateway, key_a.text) as of_a, reader(gateway, PLATFORM_KEY) as of_platform:
        with psycopg.connect(conninfo) as connection:
            connection.execute(
                "insert into broadcast_log (sequence, event_type, event) values (1, 'secret', '{\"of\": \"nobody\"}')"
            )
            connection.execute("select pg_notify('broadcast', '')")
        of_platform.wait_for(1)
        publish(postgres, (A, "a-1"))
        of_a.wait_for(1)
        of_platform.wait_for(2)
    assert [event.type for event in of_platform.events] == ["secret", "decision"]
    assert jobs_of(of_a) == [(1, "a-1")]
    assert "secret" not in gateway.get(POLL, headers=bearer(key_a.text)).text


def test_nobody_gets_another_s_ready_answer_with_the_same_query_and_the_other_s_etag(
    any_gateway: RunningGateway, database: Database
) -> None:
    gateway, postgres = any_gateway, database
    key_a, key_b = made_key(database, A)[0], made_key(database, B)[0]
    publish(postgres, (A, "the-job"))
    empty_to_b = gateway.get(NEWEST, headers=bearer(key_b.text))
    for query in ("", "?consumer=bpp", "?task_id=the-job"):
        path = NEWEST + query
        for _ in range(3):
            to_a = gateway.get(path, headers=bearer(key_a.text))
            assert to_a.json()["output"]["task"]["job_id"] == "the-job"
        tag = {"If-None-Match": to_a.headers["ETag"]}
        assert gateway.get(path, headers=bearer(key_a.text) | tag).status_code == 304
        for _ in range(2):
            to_b = gateway.get(path, headers=bearer(key_b.text) | tag)
            assert (to_b.status_code, to_b.json()["status"]) == (200, "empty")
            assert gateway.get(path, headers=tag).status_code == 401
    # Nor is there being nothing the same for two.
    publish(postgres, (B, "the-job"))
    tag = {"If-None-Match": empty_to_b.headers["ETag"]}
    assert gateway.get(NEWEST, headers=bearer(key_b.text) | tag).status_code == 200
    assert (
        gateway.get(f"{NEWEST}?consumer=other", headers=bearer(key_a.text)).json()["output"]["_metadata"]["sequence"]
        == 1
    )


def test_a_key_without_the_scope_is_told_nothing_that_its_account_has_been_told(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key
) -> None:
    publish(postgres, (A, "a-1"))
    for _ in range(3):
        assert gateway.get(NEWEST, headers=bearer(key_a.text)).status_code == 200
    grid_only, _ = made_key(postgres, A, scopes=frozenset({Scope.GRID_READ}))
    for path in (NEWEST, POLL, STREAM, f"{NEWEST}/history"):
        assert gateway.get(path, headers=bearer(grid_only.text)).status_code == 403


def test_consumers_and_acknowledgements_are_each_operator_s(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    publish(postgres, (A, "the-job"), (B, "the-job"), (A, "of-a"))
    acknowledge = f"{NEWEST}/acknowledge"
    for job_id in ("the-job", "of-a"):
        cleared = gateway.post(acknowledge, {"task_id": job_id}, headers=bearer(key_a.text))
        assert cleared.json() == {"status": "success", "cleared": True}
    assert gateway.get(NEWEST, headers=bearer(key_a.text)).json()["status"] == "empty"
    assert gateway.get(NEWEST, headers=bearer(key_b.text)).json()["output"]["task"]["job_id"] == "the-job"
    # B's own of the same name is B's; A's is not there.
    assert gateway.post(acknowledge, {"task_id": "of-a"}, headers=bearer(key_b.text)).json()["cleared"] is False
    history = gateway.get(f"{NEWEST}/history", headers=bearer(key_b.text)).json()
    assert [output["_metadata"]["sequence"] for output in history["outputs"]] == [1]


def test_not_yours_and_not_there_are_answered_alike(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    publish(postgres, (A, "of-a-1"), (B, "of-b-1"))
    (option,) = {
        option["dc_id"]
        for option in gateway.get(f"{NEWEST}?task_id=of-a-1", headers=bearer(key_a.text)).json()["output"][
            "data_centre_options"
        ][:1]
    }
    own = bearer(key_b.text)
    for path in (f"{NEWEST}/JOB/task", f"{NEWEST}/JOB/data-centres/{option}", f"{NEWEST}?task_id=JOB"):
        theirs, nothing = (gateway.get(path.replace("JOB", job_id), headers=own) for job_id in ("of-a-1", "none-1"))
        assert theirs.status_code == nothing.status_code
        assert theirs.text.replace("of-a-1", "JOB") == nothing.text.replace("none-1", "JOB")
    answers = [
        gateway.post("/beckn/context/processed", {"task_id": job_id}, headers=own) for job_id in ("of-a-1", "none-1")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace("of-a-1", "none-1") == answers[1].text
    assert gateway.get("/beckn/context?task_id=of-a-1", headers=own).json()["status"] == "empty"


def test_the_catalogue_and_the_context_are_each_operator_s(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    submit(postgres, workload("open-of-a", operator=A), workload("open-of-b", operator=B))
    for _ in range(2):
        for key, own, other in ((key_a, "open-of-a", "open-of-b"), (key_b, "open-of-b", "open-of-a")):
            text = gateway.get("/beckn/catalog", headers=bearer(key.text)).text
            assert own in text
            assert other not in text
    assert {"open-of-a", "open-of-b"} <= set(_items(gateway.get("/beckn/catalog", headers=PLATFORM).json()))
    workers_on(postgres).work_once()
    for key, own in ((key_a, "open-of-a"), (key_b, "open-of-b")):
        assert gateway.get("/beckn/context", headers=bearer(key.text)).json()["task_id"] == own


def _items(catalogue: Any) -> list[str]:
    return [item["id"] for item in catalogue["message"]["catalog"]["providers"][0]["items"]]


def test_the_queue_is_the_platform_s(gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key) -> None:
    admin, _ = made_key(postgres, A, Role.ADMIN)
    for key in (key_a, admin):
        assert gateway.get("/queue/dead", headers=bearer(key.text)).status_code == 403
        assert gateway.post("/queue/dead/requeue", {}, headers=bearer(key.text)).status_code == 403
    assert gateway.get("/queue/dead").status_code == 401
    assert gateway.get("/queue/dead", headers=PLATFORM).json()["notifications"] == []
    assert gateway.post("/queue/dead/requeue", {}, headers=PLATFORM).json() == {"requeued": 0}
    kill(postgres, workload("dead-of-a", operator=A), workload("dead-of-b", operator=B))
    (own,) = gateway.get("/queue/dead/own", headers=bearer(key_a.text)).json()["notifications"]
    assert (own["job_id"], own["attempts"], own["last_error"]) == ("dead-of-a", 5, "dead-of-a is poisonous")
    assert gateway.get("/queue/dead/own").status_code == 401
    for path in ("/queue/dead", "/queue/dead/own"):
        everybodys = gateway.get(path, headers=PLATFORM).json()["notifications"]
        assert {each["job_id"] for each in everybodys} == {"dead-of-a", "dead-of-b"}


def kill(database: Database, *workloads: Row) -> None:
    """Workloads whose every attempt fails."""
    submit(database, *workloads)
    queue = WorkQueue(database, "gateway:test:2", lease_seconds=60)
    for _ in range(5):
        for claim in queue.claim(100).claimed:
            database.call(
                "fail_notification",
                {
                    "p_notification_id": claim.notification_id,
                    "p_lease_token": claim.lease_token,
                    "p_error": f"{claim.job_id} is poisonous",
                    "p_retry_seconds": 0,
                },
            )


def test_what_counts_everybody_s_work_is_not_for_an_operator(gateway: RunningGateway, key_a: Key) -> None:
    for headers in ({}, bearer(key_a.text)):
        assert set(gateway.get("/health", headers=headers).json()) <= {
            "type",
            "title",
            "status",
            "state",
            "as_of",
            "version",
        }
    assert gateway.get("/health", headers=PLATFORM).json()["queue"]["depth"] == 0
    for path in ("/metrics", "/beckn/dead-letters"):
        assert gateway.get(path, headers=bearer(key_a.text)).status_code in {403, 404}
    assert gateway.get("/metrics", headers=PLATFORM).status_code == 200


def test_a_reader_acknowledges_nothing(gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key) -> None:
    publish(postgres, (A, "a-1"))
    only_reads, _ = made_key(postgres, A, Role.READER)
    document = {"task_id": "a-1"}
    assert gateway.post(f"{NEWEST}/acknowledge", document, headers=bearer(only_reads.text)).status_code == 403
    assert gateway.get(NEWEST, headers=bearer(key_a.text)).json()["output"]["task"]["job_id"] == "a-1"


def test_a_stream_ends_when_its_key_is_revoked_and_the_others_go_on(
    any_gateway: RunningGateway, database: Database
) -> None:
    gateway, postgres = any_gateway, database
    key_a, _ = made_key(database, A)
    other, _ = made_key(postgres, A)
    with reader(gateway, key_a.text) as revoked, reader(gateway, other.text) as stays:
        publish(postgres, (A, "a-1"))
        for stream in (revoked, stays):
            stream.wait_for(1)
        keys_of(postgres, A).revoke(key_a.key_id)
        revoked.wait_until(lambda: revoked.ended)
        publish(postgres, (A, "a-2"))
        stays.wait_for(2)
        assert not stays.ended
    assert jobs_of(revoked) == [(1, "a-1")]
    # Where no notice tells of it, the door remembers a key for seconds; a stream that it lets in meanwhile ends soon.
    while (answer := gateway.get(STREAM, headers=bearer(key_a.text))).status_code == 200:
        assert b"\nid: " not in answer.content
    assert answer.status_code == 401


def test_a_stream_ends_when_its_member_is_removed_or_its_key_expires(
    gateway: RunningGateway, postgres: PostgresDatabase, gate: PostgresDatabase, key_a: Key
) -> None:
    (account,) = [
        member["user_id"]
        for member in postgres.call("tenancy_members", {"p_operator": A})
        if member["user_id"].startswith("svc:")
    ]
    short_lived, _ = made_key(postgres, B, days=2 / 86_400)
    with reader(gateway, key_a.text) as removed, reader(gateway, short_lived.text) as expired:
        assert removed.status == expired.status == 200
        postgres.call("tenancy_remove_member", {"p_operator": A, "p_user_id": account})
        removed.wait_until(lambda: removed.ended)
        expired.wait_until(lambda: expired.ended)


def test_a_stream_says_nothing_while_nobody_can_tell_whether_it_may(
    postgres: PostgresDatabase, gate: PostgresDatabase, conninfo: str, key_a: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.visits.BELIEVED_S", 0.3)
    with (
        running_gateway(postgres, gate=gate, environ=with_tenants(), look_every_s=0.1, heartbeat_s=0.1) as gateway,
        reader(gateway, key_a.text) as stream,
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        publish(postgres, (A, "a-1"))
        stream.wait_for(1)
        connection.execute("revoke execute on function tenancy_api_key from pylon_gate")
        heard = stream.comments
        stream.wait_until(lambda: stream.comments > heard + 6)  # silent heartbeats, with nobody looking
        publish(postgres, (A, "a-2"))
        heard = stream.comments
        stream.wait_until(lambda: stream.comments > heard + 3)
        assert jobs_of(stream) == [(1, "a-1")]
        connection.execute("grant execute on function tenancy_api_key to pylon_gate")
        stream.wait_for(2)
        assert not stream.ended


def test_an_operator_has_so_many_streams_at_a_time(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "streams", "p_capacity": 2})
    with ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(reader(gateway, key_a.text)).status == 200
        refused = gateway.get(STREAM, headers=bearer(key_a.text))
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert stack.enter_context(reader(gateway, key_b.text)).status == 200
        assert stack.enter_context(reader(gateway, PLATFORM_KEY)).status == 200
    # Those that have ended leave their places to others.
    with reader(gateway, key_a.text, retries=True) as again:
        again.wait_until(lambda: again.status == 200, 60)


def ticket_of(gateway: RunningGateway, credential: str) -> str:
    answer = gateway.post(f"{STREAM}/ticket", {}, headers=bearer(credential))
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert answer.json()["good_for_s"] == 30
    ticket: str = answer.json()["ticket"]
    return ticket


def test_a_ticket_opens_one_stream_as_whoever_asked_for_it(
    gateway: RunningGateway, postgres: PostgresDatabase, conninfo: str, key_a: Key
) -> None:
    publish(postgres, (A, "a-1"), (B, "b-1"), (A, "a-2"))
    ticket = ticket_of(gateway, key_a.text)
    path = f"{STREAM}?ticket={ticket}&after=0"
    with reader(gateway, None, path) as stream:
        stream.wait_for(2)
        # Used once: neither again, nor anywhere else, nor twice at once.
        assert gateway.get(path).status_code == 401
        keys_of(postgres, A).revoke(key_a.key_id)
        stream.wait_until(lambda: stream.ended)
    assert jobs_of(stream) == [(1, "a-1"), (2, "a-2")]
    with psycopg.connect(conninfo) as connection:
        kept = json.dumps(connection.execute("select holder, digest from tenancy.tickets").fetchall())
    assert ticket not in kept


def test_a_ticket_is_good_for_nothing_else_and_not_for_long(
    gateway: RunningGateway, postgres: PostgresDatabase, conninfo: str, key_a: Key
) -> None:
    ticket = ticket_of(gateway, key_a.text)
    for path in (POLL, NEWEST, "/beckn/catalog"):
        assert gateway.get(f"{path}?ticket={ticket}").status_code == 401
    for wrong in ("", "x", "é", ticket + "x", ticket[:-1], f"{ticket}&ticket={ticket}", "x" * 5000):
        assert gateway.get(f"{STREAM}?ticket={wrong}").status_code in {401, 414, 431}
    assert gateway.post(f"{STREAM}/ticket", {}).status_code == 401
    with psycopg.connect(conninfo) as connection:
        connection.execute("update tenancy.tickets set good_until = clock_timestamp() - interval '1 second'")
    assert gateway.get(f"{STREAM}?ticket={ticket}").status_code == 401
    # Of a key that was revoked meanwhile.
    ticket = ticket_of(gateway, key_a.text)
    keys_of(postgres, A).revoke(key_a.key_id)
    assert gateway.get(f"{STREAM}?ticket={ticket}").status_code == 401


def heard_by(gateway: RunningGateway, credential: str, **choice: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a page of this holder is welcomed with, and the events it has missed."""
    with connect(f"ws://127.0.0.1:{gateway.port}/stream", max_size=None) as connection:
        assert json.loads(connection.recv(timeout=20))["newest"] is None
        connection.send(json.dumps({"type": "auth", "token": credential}))
        welcome = json.loads(connection.recv(timeout=20))
        connection.send(json.dumps({"type": "subscribe", "after": 0, **choice}))
        messages = [json.loads(connection.recv(timeout=20))]
        while messages[-1]["type"] != "caught_up":
            messages.append(json.loads(connection.recv(timeout=20)))
        return welcome, [message for message in messages if message["type"] == "event"]


def test_by_websocket_too_each_operator_hears_its_own_events_and_everybodys(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key, key_b: Key
) -> None:
    publish(postgres, (A, "a-1"), (B, "b-1"))
    grid: dict[str, Any] = {"p_tenant": None, "p_event_type": "grid.updated", "p_job_id": None, "p_event": {}}
    postgres.call("log_event", grid)
    publish(postgres, (A, "a-2"))
    while gateway.feed.newest < 4:
        time.sleep(0.02)
    topics = ["decisions", "grid"]
    for credential, jobs in (
        (key_a.text, ["a-1", None, "a-2"]),
        (key_b.text, ["b-1", None]),
        (PLATFORM_KEY, ["a-1", "b-1", None, "a-2"]),
    ):
        welcome, events = heard_by(gateway, credential, topics=topics)
        assert (welcome["oldest"], welcome["newest"]) == (1, len(jobs))
        assert [(event["sequence"], event["job_id"]) for event in events] == list(enumerate(jobs, 1))
        polled = gateway.get(f"{POLL}?topics={','.join(topics)}", headers=bearer(credential)).json()["events"]
        assert [event["data"] for event in polled] == [event["data"] for event in events]
        with reader(gateway, credential, f"{STREAM}?after=0&topics={','.join(topics)}") as stream:
            assert [event.id for event in stream.wait_for(len(jobs))] == [event["sequence"] for event in events]


def test_by_websocket_too_a_ticket_is_good_once_and_in_nobodys_stead(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key
) -> None:
    publish(postgres, (A, "a-1"), (B, "b-1"))
    while gateway.feed.newest < 2:
        time.sleep(0.02)
    ticket = ticket_of(gateway, key_a.text)
    shown = {"type": "auth", "ticket": ticket}
    for attempt in (1, 2):
        with connect(f"ws://127.0.0.1:{gateway.port}/stream", max_size=None) as connection:
            assert json.loads(connection.recv(timeout=20))["auth"] == "required"
            for wrong in ({}, {"token": key_a.text, "ticket": ticket}):
                connection.send(json.dumps({"type": "auth", **wrong}))
                assert "either a token or a ticket" in json.loads(connection.recv(timeout=20))["detail"]
            connection.send(json.dumps(shown))
            if attempt == 1:
                assert json.loads(connection.recv(timeout=20))["newest"] == 1
                connection.send('{"type": "subscribe", "after": 0}')
                told = [json.loads(connection.recv(timeout=20)) for _ in range(3)]
                assert [message.get("job_id") for message in told] == [None, "a-1", None]
            else:
                with pytest.raises(ConnectionClosed) as closed:
                    connection.recv(timeout=20)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401


def test_a_websocket_of_a_credential_that_ends_is_closed(
    gateway: RunningGateway, postgres: PostgresDatabase, key_a: Key
) -> None:
    with connect(f"ws://127.0.0.1:{gateway.port}/stream", additional_headers=bearer(key_a.text)) as connection:
        connection.send('{"type": "subscribe"}')
        for kind in ("welcome", "subscribed", "caught_up"):
            assert json.loads(connection.recv(timeout=20))["type"] == kind
        keys_of(postgres, A).revoke(key_a.key_id)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
