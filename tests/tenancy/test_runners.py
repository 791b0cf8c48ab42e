"""Runners of operators who do not trust each other: a key takes the work of its own operator's data centres alone.

Over a PostgreSQL that is reached directly and over PostgREST, as Supabase is: a real server, runners and commands.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api_servers import api_servers
from clock import utc_now
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from grid_world import data_centre, store_data_centres, store_grid
from new_database import as_url, new_database
from postgrest_server import PostgrestServer, postgrest_required
from runner_process import RunnerProcess, eventually, running, shell, write_configuration
from runner_world import TEMPLATES, book, booking
from runners_at_work import NOTHING_INVENTED
from served import Client
from server_process import ServerProcess
from tenancy.administration import KeyEntry
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from tenant_settings import bearer, is_problem, keys_of, made_key, with_tenants
from two_operators import A, B, make_operators

OF_A, OF_B = "DC-001", "DC-002"
RUNNING_ONLY = frozenset({Scope.RUNNERS_RUN})


@dataclass
class TwoOperators:
    """A server for two operators, each with a data centre, and what their runners need."""

    conninfo: str
    service: PostgresDatabase
    server: ServerProcess
    client: Client
    folder: Path
    at_the_end: ExitStack

    def key(self, operator: str) -> tuple[Key, KeyEntry]:
        """A key that is good for runners and for nothing else."""
        return made_key(self.service, operator, Role.MEMBER, RUNNING_ONLY)

    def runner(self, name: str, dc_id: str, key: Key, templates: dict[str, Any]) -> RunnerProcess:
        folder = self.folder / name
        folder.mkdir()
        (folder / "key").write_text(f"{key.text}\n")
        (folder / "key").chmod(0o600)
        more = {"runner_id": name, "data_centre": dc_id, "key_file": "key", "take_over": True}
        file = write_configuration(folder, self.server.url, templates, **more)
        return self.at_the_end.enter_context(running(file))

    def status(self, job_id: str) -> str:
        with psycopg.connect(self.conninfo, autocommit=True) as session:
            found = session.execute("select status from compute_workloads where job_id = %s", (job_id,)).fetchone()
        assert found is not None
        return str(found[0])

    def due(self, job_id: str, dc_id: str, owner: str) -> int:
        run = {"template": "mark", "parameters": {}}
        return book(self.conninfo, job_id, utc_now(), run=run, dc_id=dc_id, tenant=owner)


@pytest.fixture(scope="module", params=["postgres", pytest.param("supabase", marks=pytest.mark.thorough)])
def house(
    request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoOperators]:
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        conninfo = stack.enter_context(new_database(postgres_server))
        service = stack.enter_context(closing(PostgresDatabase(conninfo)))
        store_grid(service, utc_now())
        make_operators(service)
        centres = [data_centre(1, operator=A), data_centre(2, operator=B)]
        store_data_centres(service, centres, utc_now())
        database = reached_by(request.param, conninfo, postgres_server, stack)
        start = stack.enter_context(api_servers(folder, database))
        server = start(**NOTHING_INVENTED, **with_tenants())
        server.wait_until_serving()
        client = stack.enter_context(closing(Client(server.url)))
        yield TwoOperators(conninfo, service, server, client, folder, stack)


@pytest.fixture
def two(house: TwoOperators, tmp_path: Path) -> Iterator[TwoOperators]:
    """For one test, which has runners of its own."""
    with ExitStack() as at_the_end:
        yield replace(house, folder=tmp_path, at_the_end=at_the_end)


def reached_by(kind: str, conninfo: str, postgres_server: EmbeddedPostgres, stack: ExitStack) -> dict[str, str]:
    if kind == "postgres":
        url = as_url(conninfo)
        return {"DATABASE_URL": url, "DATABASE_GATE_URL": url.replace("postgres@", "pylon_gate@")}
    name = conninfo_to_dict(conninfo)["dbname"]
    uri = f"postgres://authenticator@/{name}?host={postgres_server.socket_dir}"
    rest = PostgrestServer(postgrest_required(), uri)
    stack.callback(rest.stop)
    return {"SUPABASE_URL": rest.url, "SUPABASE_KEY": rest.key}


def test_a_key_takes_the_work_of_its_operators_data_centre_until_it_is_revoked(
    two: TwoOperators, tmp_path: Path
) -> None:
    (key_a, entry_a), (key_b, _) = two.key(A), two.key(B)
    at_a, at_b = (
        {"mark": shell(f'echo "$PYLON_RUN_ID" >> {tmp_path}/{name}; echo done')} for name in ("at-a", "at-b")
    )
    runner_a = two.runner("rack-of-a", OF_A, key_a, at_a)
    runner_b = two.runner("rack-of-b", OF_B, key_b, at_b)
    for runner, dc_id in ((runner_a, OF_A), (runner_b, OF_B)):
        eventually(lambda runner=runner, dc_id=dc_id: f"of {dc_id}" in runner.log)

    # What is booked at A's data centre is A's runner's, whoever's workload it is; and the other way round.
    ran_at_a = [two.due("a-at-a", OF_A, A), two.due("b-at-a", OF_A, B)]
    ran_at_b = [two.due("a-at-b", OF_B, A)]
    for job_id in ("a-at-a", "b-at-a", "a-at-b"):
        eventually(lambda job_id=job_id: two.status(job_id) == "COMPLETED")
    assert sorted(map(int, (tmp_path / "at-a").read_text().split())) == ran_at_a
    assert list(map(int, (tmp_path / "at-b").read_text().split())) == ran_at_b
    # Each sees its own runners, and the owner of a workload its run, wherever it was.
    assert {"rack-of-a", "rack-of-b"} & runners_seen(two, key_a) == {"rack-of-a"}
    assert {"rack-of-a", "rack-of-b"} & runners_seen(two, key_b) == {"rack-of-b"}
    owner_b, _ = made_key(two.service, B, Role.READER)
    report = two.client.get("/api/v1/workloads/b-at-a/run", headers=bearer(owner_b.text)).json()
    assert (report["output_tail"], report["runner_id"]) == ("done\n", "rack-of-a")

    # A key that is revoked stops its runner: it hears why, and takes nothing more.
    keys_of(two.service, A).revoke(entry_a.key_id)
    eventually(lambda: refused(two, key_a))
    two.due("afterwards", OF_A, A)
    eventually(lambda: "the server refuses this runner: 401" in runner_a.log)
    assert two.status("afterwards") == "QUEUED"
    assert key_a.text not in runner_a.log + two.server.log


def runners_seen(two: TwoOperators, key: Key) -> set[str]:
    listed = two.client.get("/api/v1/runners", headers=bearer(key.text)).json()["runners"]
    return {runner["runner_id"] for runner in listed}


def refused(two: TwoOperators, key: Key) -> bool:
    return two.client.get("/api/v1/runners", headers=bearer(key.text)).status_code == 401


def test_a_key_of_another_operator_can_do_nothing_to_a_data_centre_or_its_runs(two: TwoOperators) -> None:
    (key_a, _), (key_b, _) = two.key(A), two.key(B)
    asking = {"runner_id": "rack", "capacity_kw": 10, "templates": TEMPLATES, "take_over": True}
    registered = two.client.post("/api/v1/runners", {**asking, "dc_id": OF_A}, headers=bearer(key_a.text))
    session = registered.json()["session"]
    # B registers at A's data centre, and at one that is nowhere: the answer is the same.
    answers = [
        is_problem(two.client.post("/api/v1/runners", {**asking, "dc_id": dc_id}, headers=bearer(key_b.text)), 422)
        for dc_id in (OF_A, "DC-999")
    ]
    assert answers[0]["detail"].replace(OF_A, "DC-999") == answers[1]["detail"]
    # B names A's runner, with A's session.
    take = {"session": session, "templates": ["count"], "holding": [], "wait_s": 0}
    is_problem(two.client.post("/api/v1/runners/rack/take", take, headers=bearer(key_b.text)), 404)
    run_id = book(two.conninfo, "held", utc_now(), dc_id=OF_A, tenant=A)
    (run,) = two.client.post("/api/v1/runners/rack/take", take, headers=bearer(key_a.text)).json()["runs"]
    before = booking(two.conninfo, run_id)
    said: dict[str, dict[str, Any]] = {
        "begin": {},
        "heartbeat": {"energy": []},
        "give-back": {"reason": "x", "final": True},
        "finish": {"ended": "exited", "exit_status": 0, "energy": []},
    }
    for deed, more in said.items():
        answered = two.client.post(
            f"/api/v1/runners/rack/runs/{run_id}/{deed}", {"fence": run["fence"], **more}, headers=bearer(key_b.text)
        )
        assert (answered.status_code, answered.json()["standing"]) == (200, "fenced"), deed
    assert booking(two.conninfo, run_id) == before
    # A key for runners is good for nothing else, and one for everything but runners not for them.
    is_problem(two.client.get("/api/v1/workloads", headers=bearer(key_a.text)), 403)
    reader, _ = made_key(two.service, A, Role.READER)
    is_problem(two.client.post("/api/v1/runners/rack/take", take, headers=bearer(reader.text)), 403)


def test_who_waits_for_work_is_answered_when_its_window_comes(two: TwoOperators) -> None:
    key, _ = two.key(A)
    asking = {"runner_id": "patient", "dc_id": OF_A, "capacity_kw": 10, "templates": TEMPLATES, "take_over": True}
    session = two.client.post("/api/v1/runners", asking, headers=bearer(key.text)).json()["session"]
    heard: list[dict[str, Any]] = []

    def wait_for_work() -> None:
        take = {"session": session, "templates": ["count"], "holding": [], "wait_s": 30}
        heard.append(two.client.post("/api/v1/runners/patient/take", take, headers=bearer(key.text)).json())

    waiting = threading.Thread(target=wait_for_work)
    waiting.start()
    run_id = book(two.conninfo, "later", utc_now() + timedelta(seconds=4), dc_id=OF_A, tenant=A)
    waiting.join(60)
    (run,) = heard[0]["runs"]
    assert run["run_id"] == run_id
    assert datetime.fromisoformat(heard[0]["now"].replace("Z", "+00:00")) >= starts_at(run)


def starts_at(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["starts_at"].replace("Z", "+00:00"))
