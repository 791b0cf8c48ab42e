"""docs/tenancy.md is followed as it stands: from an empty database to two operators, in each of the ways it tells."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api_servers import first_run_done
from database.isolation import check_isolation
from database.postgres import PostgresDatabase
from database.schema import install_schema
from faulty_upstream import FaultyUpstream, Reply
from postgres_servers import postgres_of_version
from server_process import ServerProcess, data_directory, free_port, inherited
from two_operators import A, B, gate_of, make_operators

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "tenancy.md").read_text(encoding="utf-8")
WALK = PAGE[PAGE.index("## From an empty database") : PAGE.index("### On your own PostgreSQL")]
ON_POSTGRESQL = PAGE[PAGE.index("### On your own PostgreSQL") : PAGE.index("### On Supabase")]
ON_SUPABASE = PAGE[PAGE.index("### On Supabase") : PAGE.index("## Who sees what")]
PROGRAMS = {"API_PORT": ("api_server.py", 5000), "BG_PORT": ("BG.py", 5050), "BPP_PORT": ("BPP.py", 5053)}
BETWEEN = "---- the next block ----"
A_KEY = re.compile(r"pyl_[0-9A-Za-z]{12}_[0-9A-Za-z]+")


def blocks(text: str, language: str) -> list[str]:
    """What is to be pasted; in a list it is indented, and SQL and shells do not mind."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Walked:
    """What the walk's blocks wrote, one after the other, and what the programs logged meanwhile."""

    shown: list[str]
    log: str
    platform_key: str


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """The walk in a clone of its own. Only the ports and the upstream APIs are others than a reader's."""
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "backend", clone / "backend", ignore=shutil.ignore_patterns(".env"))
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    settings_made, *steps = blocks(WALK, "sh")
    settings_made, _, started = settings_made.strip().rpartition("\n")
    assert started == "make run"
    with (
        data_directory() as data_dir,
        FaultyUpstream(Reply(b"gone", status=404)) as refusing,
        ExitStack() as stack,
    ):
        ports = {name: free_port() for name in PROGRAMS}
        environment = {
            "PYLON_DATA_DIR": str(data_dir),
            **dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), refusing.url),
            **{name: str(port) for name, port in ports.items()},
        }

        def pasted(script: str) -> str:
            # All at once: the port of one may begin with the usual one of another.
            usual = {str(port): str(ports[name]) for name, (_, port) in PROGRAMS.items()}
            script = re.sub(rf"(?<=127\.0\.0\.1:)({'|'.join(usual)})\b", lambda found: usual[found[0]], script)
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=clone,
                env={**inherited(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            return done.stdout

        assert pasted(settings_made) == ""
        programs = []
        for name, (program, _) in PROGRAMS.items():
            log_file = clone / f"{program}.log"
            backend = clone / "backend"
            server = ServerProcess(program, log_file, environment, port=ports[name], backend=backend)
            stack.callback(server.end)
            programs.append(server)
        for server in programs:
            stack.callback(server.process.terminate)  # all of them before the first is waited for
        for server in programs:
            server.wait_until_serving()
        programs[0].wait_for(lambda: first_run_done(programs[0]))
        shown = pasted(f"\necho '{BETWEEN}'\n".join(steps)).split(f"{BETWEEN}\n")
        env_file = clone / ".env"
        assert env_file.stat().st_mode & 0o077 == 0
        platform_key = re.findall(r"^PYLON_API_KEY=(.+)$", env_file.read_text(), re.MULTILINE)[0]
        yield Walked(shown, "".join(server.log for server in programs), platform_key)


def answers(shown: str) -> list[Any]:
    return [json.loads(line) for line in shown.splitlines() if line.startswith("{")]


@pytest.mark.thorough
def test_two_operators_submit_watch_and_read_and_see_nothing_of_each_other(walked: Walked) -> None:
    made, watched, read, of_bolt, by_ticket, rolled, administered, by_platform, told = walked.shown
    assert made == "acme: Acme Compute\nbolt: Bolt Cloud\n"

    assert answers(watched)[0]["created"] == ["train-1"]
    assert "id: 1\nevent: decision\ndata: {" in watched
    assert watched.endswith("\n0\n")

    stored, newest, acknowledged, nothing = answers(read)
    assert (stored["job_id"], stored["operator"]) == ("train-1", "acme")
    assert newest["output"]["task"]["job_id"] == "train-1"
    assert acknowledged["cleared"]
    assert nothing["status"] == "empty"

    listed, not_there, output, history, polled = answers(of_bolt)
    assert listed["workloads"] == []
    assert not_there["status"] == 404
    assert (output["status"], output["output"]) == ("empty", None)
    assert (history["count"], history["outputs"]) == (0, [])
    assert polled["events"] == []

    assert "id: 1\nevent: decision\ndata: {" in by_ticket
    refused = answers(by_ticket)[-1]
    assert (refused["status"], refused["detail"].split(":")[0]) == (401, "this ticket does not open a stream")

    assert "opens nothing anywhere" in rolled
    assert answers(rolled)[-1]["status"] == 401
    assert rolled.endswith("\n200\n")

    let_in, members, let_go, account, entry, limits, audit, hosted, letters, refused = answers(administered)
    assert (let_in["role"], let_go["removed"]) == ("reader", True)
    assert let_in["user_id"] in [each["user_id"] for each in members["members"]]
    assert (account["name"], entry["operator_type"]) == ("night agent", "AI_LAB")
    assert "workloads_per_hour" in [each["name"] for each in limits["limits"]]
    assert [each["action"] for each in audit["events"]] == ["operator.set", "service_account.create"]
    assert hosted["next"] is None
    assert letters == {"inbox": [], "outbox": []}
    assert refused["status"] == 403

    coil, limits, let_in, audit = answers(by_platform)
    assert (coil["operator_id"], let_in["operator_id"]) == ("coil", "coil")
    assert {"name": "workloads_per_hour", "capacity": 500, "per_seconds": 3600, "is_default": False} in limits[
        "limits"
    ]
    assert {"member.set", "limit.set", "operator.set"} <= {each["action"] for each in audit["events"]}

    for action in ("operator.set", "key.create", "key.roll", "key.revoke"):
        assert f" {action} " in told
    assert "acme: 1 decision holds" in told


def test_no_key_is_shown_or_logged_on_the_way(walked: Walked) -> None:
    assert "a stream of acme ends" in walked.log
    assert "[acme] job train-1: decision " in walked.log
    assert "Traceback" not in walked.log
    for written in (walked.log, *walked.shown):
        assert A_KEY.search(written) is None
        assert walked.platform_key not in written


def test_on_postgresql_an_owner_who_may_make_no_roles_is_enough() -> None:
    (as_administrator,) = blocks(ON_POSTGRESQL, "sql")
    with postgres_of_version(15) as administrator:
        with psycopg.connect(administrator, autocommit=True) as connection:
            for statement in as_administrator.split(";")[:-1]:
                connection.execute(statement.encode())
        conninfo = make_conninfo(administrator, user="pylon", dbname="pylon")
        owner, gate = PostgresDatabase(conninfo), gate_of(conninfo)
        try:
            install_schema(owner)
            found = check_isolation(gate)
        finally:
            owner.close()
            gate.close()
    assert (found.holds, found.reasons, found.session) == (True, (), "pylon_gate")


def test_supabase_s_hook_puts_a_member_s_operator_into_the_token(conninfo: str, postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    for operator, user in ((B, "in both"), (A, "in both"), (A, "in one")):
        postgres.call("tenancy_set_member", {"p_operator": operator, "p_user_id": user, "p_role": "member"})
    (hook,) = blocks(ON_SUPABASE, "sql")
    with psycopg.connect(conninfo) as connection:
        connection.execute("create role supabase_auth_admin")
        connection.execute(hook.encode())

        def claims(user: str, operator: str | None = None) -> dict[str, Any]:
            chosen = {} if operator is None else {"operator_id": operator}
            event = {"user_id": user, "claims": {"sub": user, "app_metadata": {"provider": "email", **chosen}}}
            row = connection.execute("select public.pylon_access_token(%s::jsonb)", [json.dumps(event)]).fetchone()
            assert row is not None
            assert row[0]["user_id"] == user
            found: dict[str, Any] = row[0]["claims"]["app_metadata"]
            return found

        connection.execute("set local role supabase_auth_admin")
        assert claims("in one") == {"provider": "email", "operator_id": A}
        assert claims("in both") == {"provider": "email", "operator_id": B}
        assert claims("in both", A) == {"provider": "email", "operator_id": A}
        assert claims("in one", B) == {"provider": "email", "operator_id": A}
        assert claims("in none") == {"provider": "email"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("select * from tenancy.memberships")
        connection.execute("reset role")
        for role in ("anon", "authenticated", "service_role", "pylon_tenant", "pylon_gate"):
            assert connection.execute(
                "select has_function_privilege(%s, 'public.pylon_access_token(jsonb)', 'execute')", [role]
            ).fetchone() == (False,)
        connection.rollback()
