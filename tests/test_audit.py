"""The command that verifies the audit log and exports its heads, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import audit
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from flexibility.events import cancel
from flexibility_world import ENDS_AT, announced
from grid_world import NOW
from new_database import as_url
from postgrest_server import PostgrestServer
from rewritten_history import change, make_operators, owner, publish, remove

BACKEND = Path(__file__).resolve().parent.parent / "backend"
SETTINGS = ("SUPABASE_URL", "SUPABASE_KEY", "DATABASE_URL", "PYLON_DATA_DIR")


@pytest.fixture
def published(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> PostgresDatabase:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", as_url(postgres.conninfo))
    make_operators(postgres)
    publish(postgres, "op-a", "a-1", "a-2", "a-3")
    publish(postgres, "op-b", "b-1")
    return postgres


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = audit.main(arguments)
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_log_that_holds_is_told_for_each_operator(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = answer(capsys, "verify")
    assert status == 0
    assert [line.split(";")[0] for line in out.splitlines()] == ["op-a: 3 decisions hold", "op-b: 1 decision holds"]


def test_what_does_not_hold_is_named_and_the_others_are_told_all_the_same(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    with owner(published.conninfo) as session:
        change(session, 2, "reasoning = %s", "Another.")
    status, out, _ = answer(capsys, "verify")
    assert status == 1
    first, second = out.splitlines()
    assert first.startswith("op-a: does not hold at position 2, decision ")
    assert " of a-2 (changed): " in first
    assert second.startswith("op-b: 1 decision")
    assert answer(capsys, "verify", "--operator", "op-b")[0] == 0
    assert answer(capsys, "verify", "--operator", "op-a")[0] == 1


def test_an_exported_head_tells_a_log_that_was_cut_off(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = answer(capsys, "head")
    assert status == 0
    assert {head["operator"]: head["position"] for head in json.loads(out)["heads"]} == {"op-a": 3, "op-b": 1}
    kept = tmp_path / "heads.json"
    kept.write_text(out)
    publish(published, "op-a", "a-4")
    assert answer(capsys, "verify", "--head", str(kept))[0] == 0
    with owner(published.conninfo) as session:
        remove(session, 3, 4)
        remove(session, 1, 1, operator="op-b")
    assert answer(capsys, "verify")[0] == 0
    status, out, _ = answer(capsys, "verify", "--head", str(kept))
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["op-a", "op-b"]
    assert out.count("(truncated)") == 2


def test_the_heads_of_one_operator_are_exported_alone(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = answer(capsys, "head", "--operator", "op-b")
    assert status == 0
    assert [head["operator"] for head in json.loads(out)["heads"]] == ["op-b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not what audit.py head prints"),
        ('{"form": "another", "taken_at": "2026-01-01T00:00:00Z", "heads": []}', "form: "),
        ("\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_heads_is_refused_in_a_line(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "heads.json"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    status, out, err = answer(capsys, "verify", "--head", str(file))
    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_exports_that_disagree_are_refused(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    document = json.loads(answer(capsys, "head")[1])
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    files[0].write_text(json.dumps(document))
    document["heads"][0]["hash"] = "0" * 64
    files[1].write_text(json.dumps(document))
    status, _, err = answer(capsys, "verify", "--head", str(files[0]), "--head", str(files[1]))
    assert status == 2
    assert "disagree on position 3 of op-a" in err


def test_an_operator_without_decisions_is_told(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "verify", "--operator", "op-c") == (2, "", "verify: op-c has no decisions\n")
    assert answer(capsys, "head", "--operator", "op-c") == (2, "", "head: op-c has no decisions\n")


def test_what_was_decided_on_flexibility_events_is_verified_with_it(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    event = announced(published, tenant="op-a")
    cancel(published, event.event_id, "no longer needed", NOW)
    announced(published, source_id="event-2", tenant="op-a", starts_at=ENDS_AT)
    announced(published)
    status, out, _ = answer(capsys, "verify")
    assert status == 0
    assert [line.split(";")[0] for line in out.splitlines()] == [
        "op-a: 3 decisions hold",
        "op-b: 1 decision holds",
        "op-a, flexibility: 3 decisions hold",
        "platform, flexibility: 1 decision holds",
    ]
    kept = tmp_path / "heads.json"
    kept.write_text(answer(capsys, "head")[1])
    positions = {head["operator"]: head["position"] for head in json.loads(kept.read_text())["flexibility_heads"]}
    assert positions == {"op-a": 3, "platform": 1}
    with owner(published.conninfo) as session:
        session.execute("update flexibility_decisions set reason = 'Another.' where to_state = 'CANCELLED'")
        session.execute("delete from flexibility_decisions where tenant = 'platform'")
    status, out, _ = answer(capsys, "verify", "--head", str(kept))
    assert status == 1
    assert f"op-a, flexibility: does not hold at position 2, decision {_of_cancelling(published)}" in out
    assert f" of {event.event_id} (changed): " in out
    assert "platform, flexibility: does not hold at position 1 (truncated)" in out
    assert answer(capsys, "verify", "--operator", "op-a")[0] == 1
    assert answer(capsys, "verify", "--operator", "op-b")[0] == 0
    assert answer(capsys, "verify", "--operator", "platform")[0] == 2, "of it there is nothing now"
    assert answer(capsys, "verify", "--operator", "platform", "--head", str(kept))[0] == 1


def _of_cancelling(database: PostgresDatabase) -> str:
    rows = database.select(
        "flexibility_decisions", where=[Where("to_state", "CANCELLED")], order=OrderBy(("decision_id",))
    )
    return str(rows[0]["decision_id"])


def test_what_an_earlier_program_exported_is_still_read(
    published: PostgresDatabase, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    document = json.loads(answer(capsys, "head")[1])
    assert document.pop("flexibility_heads") == []
    kept = tmp_path / "heads.json"
    kept.write_text(json.dumps(document))
    assert answer(capsys, "verify", "--head", str(kept))[0] == 0


def test_it_works_over_supabase_s_door(
    conninfo: str,
    postgrest: PostgrestServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUPABASE_URL", postgrest.url)
    monkeypatch.setenv("SUPABASE_KEY", postgrest.key)
    database = PostgresDatabase(conninfo, max_connections=1)
    make_operators(database)
    publish(database, "op-a", "a-1", "a-2")
    announced(database)
    database.close()
    status, out, _ = answer(capsys, "verify")
    assert (status, out.count(" hold")) == (0, 2)
    with owner(conninfo) as session:
        change(session, 1, "model = %s", "another")
    status, out, _ = answer(capsys, "verify")
    assert status == 1
    assert "op-a: does not hold at position 1" in out


def test_it_works_on_the_embedded_database_by_its_path(data_dir: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    run = subprocess.run(
        [sys.executable, str(BACKEND / "audit.py"), "verify"],
        env={**environment, "PYLON_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "There are no decisions yet.\n"), run.stderr
