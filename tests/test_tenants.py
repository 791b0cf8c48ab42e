"""The command for operators, members, keys and limits: what it shows, changes and refuses."""

from __future__ import annotations

import re

import pytest

import settings
import tenants
from clock import utc_now
from database.postgres import PostgresDatabase
from new_database import as_url
from tenancy.administration import ChangeRefused
from tenancy.keys import read_key


def run(database: PostgresDatabase, *arguments: str) -> str:
    return tenants.answer(tenants.parser().parse_args(arguments), database, utc_now())


def columns(shown: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in shown.splitlines()]


@pytest.fixture
def acme(postgres: PostgresDatabase) -> PostgresDatabase:
    """A database with one operator."""
    assert run(postgres, "operators", "set", "acme", "--name", "Acme Compute") == "acme: Acme Compute"
    return postgres


def test_operators_are_made_changed_and_shown(acme: PostgresDatabase) -> None:
    run(acme, "operators", "set", "acme", "--country", "IE")
    run(acme, "members", "set", "acme", "user-1", "admin")
    run(acme, "keys", "make", "acme", "agent")
    header, row, *_ = columns(run(acme, "operators", "list"))
    assert header == ["OPERATOR", "NAME", "TYPE", "COUNTRY", "MEMBERS", "KEYS"]
    assert row == ["acme", "Acme Compute", "OTHER", "IE", "2", "1"]


def test_the_two_operators_that_always_are_are_shown_before_and_after_they_are_needed(
    postgres: PostgresDatabase,
) -> None:
    names = [["local", "This installation", "OTHER", "GB"], ["platform", "The platform", "OTHER", "GB"]]
    assert [row[:4] for row in columns(run(postgres, "operators", "list"))[1:]] == names
    run(postgres, "keys", "make", "local", "agent")
    run(postgres, "operators", "set", "platform", "--name", "We")
    shown = columns(run(postgres, "operators", "list"))[1:]
    assert shown == [[*names[0], "1", "1"], ["platform", "We", "OTHER", "GB", "0", "0"]]


def test_members_come_change_and_go_and_the_last_administrator_stays(acme: PostgresDatabase) -> None:
    run(acme, "members", "set", "acme", "user-1", "admin")
    run(acme, "members", "set", "acme", "user-2", "reader")
    assert [row[:2] for row in columns(run(acme, "members", "list", "acme"))[1:]] == [
        ["user-1", "admin"],
        ["user-2", "reader"],
    ]
    for arguments in (("remove", "acme", "user-1"), ("set", "acme", "user-1", "member")):
        with pytest.raises(ChangeRefused, match="keeps its last administrator"):
            run(acme, "members", *arguments)
    run(acme, "members", "remove", "acme", "user-2")
    assert len(columns(run(acme, "members", "list", "acme"))) == 2


def test_a_key_is_shown_once_listed_without_what_opens_rolled_and_revoked(acme: PostgresDatabase) -> None:
    shown = run(acme, "keys", "make", "acme", "training agent", "--role", "reader", "--days", "3")
    key = read_key(shown.splitlines()[0])
    assert "only time" in shown
    header, row = columns(run(acme, "keys", "list", "acme"))
    assert header == ["KEY", "NAME", "ROLE", "SCOPES", "MADE", "EXPIRES", "LAST USED", "STATE"]
    assert (row[0], row[1], row[2], row[-1]) == (key.key_id, "training agent", "reader", "usable")
    assert key.text not in run(acme, "keys", "list", "acme")

    rolled = run(acme, "keys", "roll", "acme", key.key_id, "--overlap-hours", "2")
    newer = read_key(rolled.splitlines()[0])
    assert f"The old one, {key.key_id}, ends at" in rolled
    assert {row[0] for row in columns(run(acme, "keys", "list", "acme"))[1:]} == {key.key_id, newer.key_id}

    for key_id in (key.key_id, newer.key_id):
        assert "opens nothing anywhere" in run(acme, "keys", "revoke", "acme", key_id)
    assert columns(run(acme, "keys", "list", "acme"))[1:] == []
    states = {row[0]: row[-1] for row in columns(run(acme, "keys", "list", "acme", "--all"))[1:]}
    assert states == {key.key_id: "revoked", newer.key_id: "revoked"}


def test_a_key_for_figures_alone(acme: PostgresDatabase) -> None:
    shown = run(acme, "keys", "make", "platform", "prometheus", "--role", "platform", "--scopes", "metrics:scrape")
    assert "good for metrics:scrape until" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("keys", "make", "nobody", "x"), "no such operator"),
        (("keys", "make", "acme", "x", "--scopes", "everything"), "no scope everything: there are grid:read"),
        (("keys", "make", "acme", "x", "--role", "reader", "--scopes", "keys:manage"), "does not have keys:manage"),
        (("keys", "make", "acme", "x", "--role", "platform"), "only keys of the operator platform"),
        (
            ("keys", "make", "acme", "x", "--account", "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"),
            "no such service account",
        ),
        (("keys", "roll", "acme", "a" * 12), "no such key, member or service account"),
        (("keys", "revoke", "acme", "a" * 12), "no such key, member or service account"),
        (("members", "set", "nobody", "user-1", "admin"), "no such operator"),
        (("members", "remove", "acme", "user-1"), "no such key, member or service account"),
        (("limits", "set", "acme", "cars", "1"), "no such limit"),
        (("limits", "set", "acme", "streams", "many"), "neither a number nor usual"),
    ],
)
def test_what_cannot_be_is_refused_in_words(acme: PostgresDatabase, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ChangeRefused, match=says):
        run(acme, *arguments)


def test_limits_are_shown_set_and_taken_back(acme: PostgresDatabase) -> None:
    before = columns(run(acme, "limits", "list", "acme"))
    assert before[0] == ["LIMIT", "CAPACITY", "PER SECONDS"]
    assert {row[0] for row in before[1:]} == {
        "requests_per_minute",
        "workloads_per_hour",
        "open_jobs",
        "streams",
        "keys",
    }
    assert run(acme, "limits", "set", "acme", "streams", "3") == "streams of acme is 3"
    assert ["streams", "3", "-", "set"] in columns(run(acme, "limits", "list", "acme"))
    run(acme, "limits", "set", "acme", "streams", "usual")
    assert columns(run(acme, "limits", "list", "acme")) == before


def test_what_was_done_is_in_the_audit_with_who_did_it(acme: PostgresDatabase) -> None:
    run(acme, "members", "set", "acme", "user-1", "admin")
    run(acme, "operators", "set", "other")
    newest = columns(run(acme, "audit", "acme"))[1]
    assert newest[1] == "acme"
    assert newest[2].startswith("command")
    assert newest[4:7] == ["member.set", "user-1", "allowed"]
    assert len(columns(run(acme, "audit", "--limit", "1"))) == 2


def test_what_others_wrote_cannot_disturb_a_table(acme: PostgresDatabase) -> None:
    event = {"action": "request", "object": "GET /\u202e\u001b[31mx", "outcome": "refused", "principal": "x" * 500}
    acme.call("tenancy_audit", {"p_events": [event]})
    shown = run(acme, "audit")
    assert all(line.isprintable() for line in shown.splitlines())


def test_it_runs_on_the_database_of_the_settings_and_tells_its_troubles_in_one_line(
    conninfo: str, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "DOTENV_FILES", ())
    monkeypatch.setenv("DATABASE_URL", as_url(conninfo))
    assert tenants.main(["operators", "set", "acme"]) == 0
    assert tenants.main(["keys", "make", "acme", "agent"]) == 0
    key = capsys.readouterr().out.splitlines()[1]
    assert read_key(key)
    assert tenants.main(["keys", "make", "nobody", "agent"]) == 1
    refused = capsys.readouterr()
    assert (refused.out, refused.err) == ("", "keys: there is no such operator\n")
    for wrong in (["keys", "make", "acme", "x", "--days", "367"], ["audit", "--limit", "0"], ["keys"], []):
        with pytest.raises(SystemExit):
            tenants.main(wrong)
