"""The Supabase door before a project, or what stands before it, that answers badly, slowly or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from database import postgrest as door
from database import rest_connection
from database.errors import DatabaseError, DatabaseUnreachable, RowRefused, UniqueConflict
from database.interface import OrderBy, Where
from database.postgrest import SupabaseDatabase
from odd_answers import PAGE, OddAnswers, odd_answers

BACKEND = Path(__file__).resolve().parents[2] / "backend"
BY_REGION = OrderBy(("region_id",))
CONDITION = [Where("region_id", 1)]
ODD_NO_PROXY = "localhost,127.0.0.1,::1,fd07:b51a:cc66:f0::/64"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_REPEAT_AFTER_S", (0.01, 0.01))


@pytest.fixture
def said() -> Iterator[OddAnswers]:
    with odd_answers() as answers:
        yield answers


@pytest.fixture
def supabase(said: OddAnswers) -> Iterator[SupabaseDatabase]:
    database = SupabaseDatabase(said.url, "a.b.c")
    yield database
    database.close()


def every_kind_of_call(database: SupabaseDatabase) -> dict[str, Any]:
    row = {"region_id": 1}
    return {
        "select": lambda: database.select("regions", order=BY_REGION, limit=1),
        "insert": lambda: database.insert("regions", [row]),
        "upsert": lambda: database.upsert("regions", [row], conflict=["region_id"]),
        "update": lambda: database.update("regions", row, where=CONDITION),
        "delete": lambda: database.delete("regions", where=CONDITION),
        "call": lambda: database.call("queue_health"),
    }


def kinds_of_failure(database: SupabaseDatabase) -> dict[str, str]:
    """The kind of error of every kind of call; what returned shows as what it returned."""
    return {name: _outcome(call) for name, call in every_kind_of_call(database).items()}


def _outcome(call: Callable[[], object]) -> str:
    try:
        return f"returned {call()!r}"
    except DatabaseError as error:
        return type(error).__name__


UNREACHABLE = dict.fromkeys(["select", "insert", "upsert", "update", "delete", "call"], "DatabaseUnreachable")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 523, 524, 527, 530, 540, 544])
def test_pages_of_what_stands_before_the_project_are_trouble_that_passes(
    said: OddAnswers, supabase: SupabaseDatabase, status: int
) -> None:
    said.status, said.content_type, said.body = status, "text/html", PAGE
    assert kinds_of_failure(supabase) == UNREACHABLE


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", PAGE),
        ("application/json", PAGE),
        ("application/json", b'[{"region_id": 1'),
        ("application/json", b""),
        ("application/json", b"\xff\xfe"),
    ],
)
def test_what_is_no_json_is_never_taken_for_an_answer(
    said: OddAnswers, supabase: SupabaseDatabase, content_type: str, body: bytes
) -> None:
    said.content_type, said.body = content_type, body
    assert kinds_of_failure(supabase) == UNREACHABLE


@pytest.mark.parametrize("body", [b'"rows"', b"7", b'{"region_id": 1}', b"[1, 2]", b"null"])
def test_other_json_is_never_taken_for_rows_or_for_their_number(
    said: OddAnswers, supabase: SupabaseDatabase, body: bytes
) -> None:
    said.body = body
    found = kinds_of_failure(supabase)
    assert {name: kind for name, kind in found.items() if name != "call"} == {
        name: kind for name, kind in UNREACHABLE.items() if name != "call"
    }
    assert found["call"].startswith("returned")  # a function may answer any document


def test_reads_are_repeated_and_inserts_are_not(said: OddAnswers, supabase: SupabaseDatabase) -> None:
    said.status, said.body = 524, PAGE
    with pytest.raises(DatabaseUnreachable):
        supabase.select("regions", order=BY_REGION)
    assert said.asked == 3
    with pytest.raises(DatabaseUnreachable):
        supabase.insert("regions", [{"region_id": 1}])
    assert said.asked == 4


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "23505", UniqueConflict),
        (400, "22P02", RowRefused),
        (400, "P0001", RowRefused),
        (500, "54001", RowRefused),
        (405, "25006", DatabaseUnreachable),
        (500, "57014", DatabaseUnreachable),
        (503, "53100", DatabaseUnreachable),
        (500, "55P03", DatabaseUnreachable),
        (504, "PGRST003", DatabaseUnreachable),
        (500, "XX000", DatabaseUnreachable),
    ],
)
def test_the_databases_own_codes_come_through(
    said: OddAnswers, supabase: SupabaseDatabase, status: int, code: str, kind: type[DatabaseError]
) -> None:
    said.status, said.body = status, json.dumps({"code": code, "message": "it said so"}).encode()
    with pytest.raises(kind, match="it said so") as caught:
        supabase.call("queue_health")
    assert type(caught.value) is kind


def test_an_answer_that_trickles_is_given_up(
    said: OddAnswers, supabase: SupabaseDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_connection, "ANSWER_WITHIN_S", 0.5)
    said.byte_every_s = 0.1
    for body in (b"[]", b"[" + b" " * 500 + b"]"):
        said.body = body
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match="did not answer"):
            supabase.insert("regions", [{"region_id": 1}])
        assert time.monotonic() - began < 20


def test_text_that_no_json_can_hold_is_the_datas_fault(supabase: SupabaseDatabase) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("half a pair: \ud800", deep):
        with pytest.raises(RowRefused):
            supabase.call("queue_health", {"p_value": value})


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"NO_PROXY": ODD_NO_PROXY, "HTTP_PROXY": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"HTTP_PROXY": "carrier-pigeon://127.0.0.1:9"}, "proxy"),
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "proxy"),
        ({"HTTP_PROXY": "http://127.0.0.1:9:9:9"}, "proxy"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE"),
    ],
)
def test_an_environment_it_cannot_use_is_told_in_one_line(environment: dict[str, str], told: str) -> None:
    usual = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    project = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_KEY": "sb_secret_x"}
    if "NO_PROXY" not in environment and "SSL_CERT_FILE" not in environment:
        project["SUPABASE_URL"] = "http://supabase.invalid"
    run = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=BACKEND,
        env={**usual, **project, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    lines = [line for line in run.stderr.splitlines() if line.startswith("pipeline:")]
    assert len(lines) == 1
    assert told in lines[0]
    assert "Traceback" not in run.stderr
