"""A revocation reaches every process, limits hold, refusals are written down, and log lines say who asked."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from api_application import api_access, create_app
from api_servers import api_servers
from database.postgres import PostgresDatabase
from log_lines import JsonLines, LogLines
from new_database import as_url
from served import served
from server_process import ServerProcess
from settings import load_settings
from tenancy.administration import Keys
from tenancy.audit import MOST_UNWRITTEN, AuditTrail, Refusal
from tenancy.limits import Limit, OperatorLimits, OverLimit
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, keys_of, made_key, with_tenants
from two_operators import A, B, gate_of, make_operators

GRID = "/api/v1/grid/regional"


@pytest.fixture
def door(postgres: PostgresDatabase, conninfo: str) -> Iterator[PostgresDatabase]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    yield gate
    gate.close()


def test_what_one_process_revokes_no_other_takes(
    postgres: PostgresDatabase, door: PostgresDatabase, conninfo: str, tmp_path: Path
) -> None:
    key, _ = made_key(postgres, A)
    admin, _ = made_key(postgres, A, Role.ADMIN)
    database = {
        "DATABASE_URL": as_url(conninfo),
        "DATABASE_GATE_URL": as_url(conninfo).replace("postgres@", "pylon_gate@"),
    }
    with api_servers(tmp_path, {**database, **with_tenants()}) as start:
        one, other = start(), start()
        for server in (one, other):
            server.wait_until_serving()
            assert status(server, key.text) == 200
        answer = requests.post(
            f"{one.url}/api/v1/tenancy/keys/{key.key_id}/revoke", json={}, headers=bearer(admin.text), timeout=10
        )
        revoked_at = time.monotonic()
        assert answer.status_code == 200
        for server in (one, other):
            server.wait_for(lambda server=server: status(server, key.text) == 401, 10)
        assert time.monotonic() - revoked_at < 10
        for server in (one, other):
            assert key.text not in server.log
            assert key.digest.hex() not in server.log


def status(server: ServerProcess, credential: str) -> int:
    return requests.get(f"{server.url}{GRID}", headers=bearer(credential), timeout=10).status_code


def test_an_operator_that_asks_too_often_is_told_when_to_come_back_and_no_other_is(
    postgres: PostgresDatabase, door: PostgresDatabase
) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "requests_per_minute", "p_capacity": 25})
    often, seldom = (bearer(made_key(postgres, operator, Role.READER)[0].text) for operator in (A, B))
    with api_with_tenants(postgres, door) as client:
        answers = [client.get(GRID, headers=often) for _ in range(40)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert [answer.status_code for answer in answers].count(200) >= 25
        assert is_problem(refused, 429)["limit"] == "requests_per_minute"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert client.get(GRID, headers=seldom).status_code == 200
        assert client.get("/health", headers=often).status_code != 429


def test_what_is_promised_by_the_hour_is_taken_whole_or_not_at_all(
    postgres: PostgresDatabase, door: PostgresDatabase
) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "workloads_per_hour", "p_capacity": 10})
    one, other = OperatorLimits(door), OperatorLimits(door)
    one.take(A, Limit.WORKLOADS_PER_HOUR, 6)
    with pytest.raises(OverLimit) as over:
        other.take(A, Limit.WORKLOADS_PER_HOUR, 5)
    assert 0 < int(over.value.headers["Retry-After"]) <= 3600
    other.take(A, Limit.WORKLOADS_PER_HOUR, 4)
    with pytest.raises(OverLimit) as never:
        one.take(B, Limit.WORKLOADS_PER_HOUR, 1_000_000)
    assert "Retry-After" not in never.value.headers


def test_workloads_are_counted_as_they_come_in_and_the_refusal_is_written_down(
    postgres: PostgresDatabase, door: PostgresDatabase
) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "workloads_per_hour", "p_capacity": 3})
    member, _ = made_key(postgres, A, Role.MEMBER)
    job = {"workload_type": "RAG_QUERY", "urgency": "LOW", "required_gpu_mins": 1}
    with api_with_tenants(postgres, door) as client:

        def post(*names: str) -> requests.Response:
            return client.post(
                "/api/v1/workloads", [{**job, "job_id": name} for name in names], headers=bearer(member.text)
            )

        assert post("a", "b").status_code == 201
        refused = post("c", "d")
        assert is_problem(refused, 429)["limit"] == "workloads_per_hour"
        assert int(refused.headers["Retry-After"]) >= 1
        assert post("c").status_code == 201
        found = events_until(postgres, lambda events: 429 in [event["detail"]["status"] for event in events])
        (event,) = [event for event in found if event["detail"]["status"] == 429]
    assert (event["operator_id"], event["credential_id"]) == (A, member.key_id)
    assert (event["object"], event["detail"]["status"]) == ("POST /api/v1/workloads", 429)


def test_no_more_workloads_are_open_than_may_be(postgres: PostgresDatabase, door: PostgresDatabase) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "open_jobs", "p_capacity": 1})
    member, _ = made_key(postgres, A, Role.MEMBER)
    job = {"workload_type": "RAG_QUERY", "urgency": "LOW", "required_gpu_mins": 1}
    with api_with_tenants(postgres, door) as client:
        assert client.post("/api/v1/workloads", job, headers=bearer(member.text)).status_code == 201
        refused = client.post("/api/v1/workloads", job, headers=bearer(member.text))
        assert is_problem(refused, 429)["limit"] == "open_jobs"
        named = client.post("/api/v1/workloads", {**job, "operator": B}, headers=bearer(member.text))
        assert B in is_problem(named, 422)["detail"]
        assert named.json()["known_operators"] == [A]


def test_places_are_held_kept_and_given_back(postgres: PostgresDatabase, door: PostgresDatabase) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "streams", "p_capacity": 2})
    limits = OperatorLimits(door)
    for holder in ("one", "two", "one"):
        limits.hold_place(A, Limit.STREAMS, holder, 60)
    with pytest.raises(OverLimit):
        limits.hold_place(A, Limit.STREAMS, "three", 60)
    limits.let_go(A, Limit.STREAMS, "one")
    limits.hold_place(A, Limit.STREAMS, "three", 60)


def events_until(
    service: PostgresDatabase, condition: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """The audit's refusals, once they meet the condition."""
    give_up_at = time.monotonic() + 60
    while True:
        found = service.call("tenancy_audit_events", {"p_limit": 1000})["events"]
        refused = [event for event in found if event["outcome"] == "refused"]
        if condition(refused):
            return refused
        assert time.monotonic() < give_up_at, refused
        time.sleep(0.05)


def test_every_refusal_is_written_down_and_no_credential_is(
    postgres: PostgresDatabase, door: PostgresDatabase
) -> None:
    reader, _ = made_key(postgres, A, Role.READER)
    gone, _ = made_key(postgres, A)
    keys_of(postgres, A).revoke(gone.key_id)
    with api_with_tenants(postgres, door) as client:
        client.post("/api/v1/workloads", {}, headers=bearer(reader.text) | {"X-Request-ID": "r-scope"})
        client.get(GRID, headers=bearer(gone.text) | {"X-Request-ID": "r-gone"})
        for _ in range(7):
            client.get(GRID, headers={"X-Request-ID": "r-nobody"})
        client.get(GRID, headers=bearer("made-up-secret"))
        found = events_until(
            postgres, lambda events: sum(event["detail"]["times"] for event in events if event["detail"]) >= 10
        )
    by_request = {event["request_id"]: event for event in found}
    scope = by_request["r-scope"]
    assert (scope["operator_id"], scope["credential_id"]) == (A, reader.key_id)
    assert (scope["object"], scope["detail"]["status"]) == ("POST /api/v1/workloads", 403)
    assert by_request["r-gone"]["credential_id"] == gone.key_id
    assert by_request["r-nobody"]["detail"]["address"] == "127.0.0.1"
    assert sum(event["detail"]["times"] for event in found if event["detail"]["status"] == 401) == 9
    text = json.dumps(found)
    for secret in (reader.text, gone.text, "made-up-secret"):
        assert secret not in text


def test_a_flood_of_refusals_is_a_bounded_number_of_events(postgres: PostgresDatabase) -> None:
    trail = AuditTrail(postgres)
    for number in range(MOST_UNWRITTEN + 300):
        for _ in range(2):
            trail.refused(Refusal(f"GET /{number}", 401, "nobody"), "r-1")
    trail.write()
    found = events_until(postgres, lambda _: True)
    assert len(found) == MOST_UNWRITTEN + 1
    assert sum(event["detail"]["times"] for event in found) == 2 * (MOST_UNWRITTEN + 300)
    trail.write()
    assert len(events_until(postgres, lambda _: True)) == MOST_UNWRITTEN + 1


def test_when_a_key_was_used_is_written_down(postgres: PostgresDatabase, door: PostgresDatabase) -> None:
    key, _ = made_key(postgres, A, Role.READER)
    with api_with_tenants(postgres, door) as client:
        assert client.get(GRID, headers=bearer(key.text)).status_code == 200
        give_up_at = time.monotonic() + 60
        while entry_of(keys_of(postgres, A), key.key_id).last_used_at is None:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)


def entry_of(keys: Keys, key_id: str) -> Any:
    return next(each for each in keys.all() if each.key_id == key_id)


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("api.of_a_test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("formatter", [JsonLines(), LogLines()], ids=["json", "text"])
def test_each_line_of_a_request_says_who_asked_for_whom(
    postgres: PostgresDatabase, door: PostgresDatabase, formatter: logging.Formatter
) -> None:
    key, entry = made_key(postgres, A, Role.READER)
    log = logging.getLogger("api.of_a_test")
    access = api_access(postgres, load_settings(with_tenants()), door)
    app = create_app(postgres, load_settings(with_tenants()), access=access)
    app.before_request(lambda: log.info("asked"))
    with served(app) as client, logged(formatter) as stream:
        client.get(GRID, headers=bearer(key.text) | {"X-Request-ID": "r-7"})
        client.get("/", headers={"X-Request-ID": "r-8"})
    known, unknown = stream.getvalue().splitlines()
    if isinstance(formatter, JsonLines):
        event = json.loads(known)
        assert (event["operator"], event["principal"], event["request_id"]) == (A, entry.user_id, "r-7")
        assert "principal" not in json.loads(unknown)
    else:
        assert f"[{A} {entry.user_id} r-7] asked" in known
        assert unknown.endswith("api.of_a_test: asked")
    assert key.text not in stream.getvalue()


def test_strangers_hear_whether_it_serves_and_no_counts(postgres: PostgresDatabase, door: PostgresDatabase) -> None:
    key, _ = made_key(postgres, A, Role.READER)
    with api_with_tenants(postgres, door) as client:
        # An operator's own people are strangers to what counts everybody's work.
        for nobody in ({}, bearer("made-up"), bearer(key.text[:-1]), bearer(key.text)):
            found = client.get("/health", headers=nobody)
            assert set(found.json()) <= {"type", "title", "status", "state", "as_of", "version"}
            assert "state" in found.json()
        known = client.get("/health", headers=bearer(PLATFORM_KEY))
        assert known.status_code == found.status_code
        assert len(known.json()) > 6


def test_what_the_database_refuses_a_caller_is_written_down_and_its_right_forgotten(
    postgres: PostgresDatabase, door: PostgresDatabase, conninfo: str
) -> None:
    admin, entry = made_key(postgres, A, Role.ADMIN)
    access = api_access(postgres, load_settings(with_tenants()), door)  # not started: it hears of no change
    app = create_app(postgres, load_settings(with_tenants()), access=access)
    with served(app) as client, psycopg.connect(conninfo, autocommit=True) as session:
        for _ in range(20):  # a machine that pauses for as long as a key is remembered has us try again
            assert client.get("/api/v1/tenancy/keys", headers=bearer(admin.text)).status_code == 200
            session.execute("delete from tenancy.memberships where user_id = %s", (entry.user_id,))
            refused = client.get("/api/v1/tenancy/keys", headers=bearer(admin.text) | {"X-Request-ID": "r-ended"})
            if refused.status_code == 403:
                break
            session.execute("insert into tenancy.memberships values (%s, %s, 'admin')", (entry.user_id, A))
        assert refused.status_code == 403
        assert client.get("/api/v1/tenancy/keys", headers=bearer(admin.text)).status_code == 401
    access.audit.write()
    found = events_until(postgres, lambda _: True)
    (event,) = [event for event in found if event["request_id"] == "r-ended" and event["detail"]["status"] == 403]
    assert (event["operator_id"], event["credential_id"]) == (A, admin.key_id)
