"""Twelve ways in which tenants of other systems have seen each other's, each tried here.

| # | what happened elsewhere | held here by |
|---|---|---|
| 1 | a table without Row Level Security | test_tenants: every table has policies …; test_supabase_linter |
| 2 | a view with its owner's rights | test_every_view_runs_as_whoever_asks… |
| 3 | policies that do not apply to the session | test_isolation; test_every_answer_to_a_tenant_comes_through… |
| 4 | "allowed when nothing is set" | test_claims_that_say_nothing_open_no_table |
| 5 | a setting left behind in a pool | test_one_session_that_serves_all_is_each_ones_in_turn |
| 6 | members who promote themselves | test_nobody_makes_himself_more_than_he_is |
| 7 | a helper that answers about others | test_tenants: no function that passes over policies … |
| 8 | a cache without the tenant, or before authentication | test_what_was_ready_for_a_is_not_for_b |
| 9 | one event bus for all | test_streams_hear_their_own… |
| 10 | metadata: counts, unique keys | test_no_count_is_planned_for_a_user…; test_a_job_id_may_be_everybodys |
| 11 | the token library | test_bad_tokens, on every server |
| 12 | a key that outlives its revocation | test_access; test_a_revoked_key_ends_everywhere_and_its_stream_too |
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import requests
from psycopg import sql
from psycopg.types.json import Jsonb

from database.embedded import EmbeddedPostgres
from database.errors import AccessRefused, DatabaseError
from database.schema import install_schema
from planted import GPU_MINUTES, SECRETS, SHARED_JOB, Ids, grow_tenants, plant
from postgrest_server import PostgrestServer
from sse_reader import SseReader
from tenancy.scopes import ENDPOINTS, ROLE_SCOPES, Role, Server
from tenancy_matrix import ROWS
from tenant_purchases import buying_for
from tenant_servers import TenantServers, tenant_servers
from tenant_settings import bearer, made_key
from two_operators import MEMBERS, A, B, as_tenant, claims, claims_of, gate_of

pytestmark = pytest.mark.timeout(300)

SHARED_TABLES = {
    *("operators", "regions", "grid_signals", "regional_grid_signals", "generation_mix", "data_centres"),
    *("schema_version", "pipeline_runs"),
    "decision_grids",  # figures of the grid, by their digest
    "grid_changes",  # numbers of transactions, and when
    "held_power",  # what is left of what is offered
    "capacity_prices",  # and what that is worth
}
# The first and the third say the same to everybody. The second is fed by the gateway's own reader, and is looked at
# by another test.
WITHOUT_THE_DOOR = {"GET /api/v1/ontology", "GET /beckn/broadcast", "GET /openadr3/3.1.0/notifiers"}


@dataclass
class World:
    servers: TenantServers
    headers: dict[str, dict[str, str]]
    ids: dict[str, Ids]

    def port(self, server: Server) -> int:
        return self.servers.ports[server]

    @property
    def gateway(self) -> Any:
        return self.servers.client(Server.GATEWAY)

    @property
    def api(self) -> Any:
        return self.servers.client(Server.API)


@pytest.fixture(scope="module")
def world(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("servers")
    with tenant_servers("postgres", postgres_server, folder) as servers, ExitStack() as stack:
        headers = grow_tenants(servers)
        ids: dict[str, Ids] = {}
        for operator, who, jobs in ((B, "B", 2), (A, "A", 3)):
            buyer = stack.enter_context(buying_for(servers.service, operator))
            ids[operator] = plant(servers, operator, headers[who], buyer, jobs=jobs)
        yield World(servers, headers, ids)


@pytest.fixture(scope="module")
def owner(world: World) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(world.servers.conninfo, autocommit=True) as session:
        yield session


def names(session: psycopg.Connection[Any], kinds: str) -> list[str]:
    found = session.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = any (%s)"
        " order by relname",
        [list(kinds)],
    )
    return [name for (name,) in found]


@pytest.mark.thorough
def test_every_view_runs_as_whoever_asks_also_when_everything_is_installed_again(
    world: World, owner: psycopg.Connection[Any]
) -> None:
    """2: `create or replace view` forgets it where it is not said again."""
    install_schema(world.servers.service)
    views = names(owner, "v")
    assert len(views) >= 4
    options = owner.execute("select relname, reloptions from pg_class where relname = any (%s)", [views]).fetchall()
    assert {name: "security_invoker=true" in (of_it or []) for name, of_it in options} == dict.fromkeys(views, True)
    for view in views:
        assert SECRETS[A] not in seen_as_tenant(owner, view, claims(B, "admin"))


def rows_seen(session: psycopg.Connection[Any], relation: str, document: Any) -> list[str]:
    """What a tenant with these claims could read there, if it had every right to: policies alone are between."""
    with session.transaction(force_rollback=True):
        session.execute(sql.SQL("grant select on public.{} to pylon_tenant").format(sql.Identifier(relation)))
        if document is not None:
            text = document if isinstance(document, str) else json.dumps(document)
            session.execute("select set_config('request.jwt.claims', %s, true)", [text])
        session.execute("set local role pylon_tenant")
        try:
            rows = session.execute(
                sql.SQL("select to_jsonb(t)::text from public.{} t").format(sql.Identifier(relation))
            ).fetchall()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.DataError):
            return []
    return [row for (row,) in rows]


def seen_as_tenant(session: psycopg.Connection[Any], relation: str, document: Any) -> str:
    """The same in one text."""
    return "\n".join(rows_seen(session, relation, document))


NOTHING_SAID = {
    "no claims": None,
    "empty": "",
    "null": "null",
    "an empty object": "{}",
    "a list": "[]",
    "no operator": {"sub": MEMBERS[A, "admin"], "role": "authenticated"},
    "no user": {"role": "authenticated", "app_metadata": {"operator_id": A}},
    "an operator of others": claims_of(MEMBERS[B, "admin"], A),
    "a user of others": claims_of(MEMBERS[A, "admin"], B),
    "nobody": claims_of("nobody", A),
    "the service": {**claims(A, "admin"), "role": "service_role", "app_metadata": {}},
}


@pytest.mark.parametrize("said", NOTHING_SAID)
def test_claims_that_say_nothing_open_no_table(owner: psycopg.Connection[Any], said: str) -> None:
    """4: what is not known for sure is nobody's."""
    opened = {
        table: rows
        for table in names(owner, "rp")
        if table not in SHARED_TABLES
        # Which gateways there are is for all to know.
        and (
            rows := [row for row in rows_seen(owner, table, NOTHING_SAID[said]) if '"tenant": "platform"' not in row]
        )
    }
    assert opened == {}


def test_and_true_claims_open_ones_own(owner: psycopg.Connection[Any]) -> None:
    """Or else the test before would prove nothing."""
    opened = {table for table in names(owner, "rp") if SECRETS[A] in seen_as_tenant(owner, table, claims(A, "admin"))}
    assert opened >= {"compute_workloads", "orchestration_decisions", "agents", "agent_states", "storage_assets"}
    assert not any(SECRETS[B] in seen_as_tenant(owner, table, claims(A, "admin")) for table in opened)


def test_one_session_that_serves_all_is_each_ones_in_turn(world: World, owner: psycopg.Connection[Any]) -> None:
    """5: A, an error, nobody, a statement that is cancelled half-way, then B: on one connection."""
    gate = gate_of(world.servers.conninfo, max_connections=1)
    a, b = (as_tenant(gate, claims(operator, "admin")) for operator in (A, B))
    listed = {"p_status": None, "p_after": None, "p_limit": 100}
    try:
        assert SECRETS[A] in str(a.call("workloads_page", listed))
        with pytest.raises(DatabaseError):
            a.call("workload_detail", {"p_no_such_argument": 1})
        with pytest.raises(AccessRefused):
            as_tenant(gate, claims_of("nobody", A)).call("workloads_page", listed)
        with pytest.raises(DatabaseError):
            gate.call("workloads_page", listed)  # nobody in particular
        refused: list[DatabaseError] = []
        with owner.transaction():
            owner.execute("lock table compute_workloads in access exclusive mode")
            waiting = threading.Thread(target=lambda: refused.append(error_of(a, listed)))
            waiting.start()
            cancel_who_waits(world.servers.conninfo)
            waiting.join(20)
        assert refused
        answer = str(b.call("workloads_page", listed))
        assert SECRETS[B] in answer
        assert SECRETS[A] not in answer
        with pytest.raises(DatabaseError):
            gate.call("workloads_page", listed)
    finally:
        gate.close()


def error_of(tenant: Any, arguments: dict[str, Any]) -> DatabaseError:
    try:
        tenant.call("workloads_page", arguments)
    except DatabaseError as error:
        return error
    raise AssertionError("it was not cancelled")


def cancel_who_waits(conninfo: str) -> None:
    """Cancel the one statement of pylon_gate that waits for a lock, once there is one."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        for _ in range(2000):
            cancelled = session.execute(
                "select pg_cancel_backend(pid), pg_sleep(0.01) from pg_stat_activity"
                " where usename = 'pylon_gate' and wait_event_type = 'Lock' and datname = current_database()"
            ).fetchall()
            if cancelled:
                return
            session.execute("select pg_sleep(0.01)")
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("role", ["reader", "member"])
def test_nobody_makes_himself_more_than_he_is(world: World, role: str) -> None:
    """6: by no function, with no word in the claims, by no endpoint."""
    gate = gate_of(world.servers.conninfo)
    changes: dict[str, dict[str, Any]] = {
        "own_set_member": {"p_user_id": MEMBERS[B, role], "p_role": "admin"},
        "own_remove_member": {"p_user_id": MEMBERS[B, "admin"]},
        "own_create_service_account": {"p_name": "more", "p_role": "admin"},
        "own_create_key": {
            "p_key": {"key_id": "a" * 12, "digest": "0" * 64, "name": "more", "scopes": [], "role": "admin"}
        },
        "own_revoke_key": {"p_key_id": world.ids[B].key},
        "own_set_operator": {"p_operator": {"name": "more"}},
        "tenancy_set_member": {"p_operator": B, "p_user_id": MEMBERS[B, role], "p_role": "admin"},
    }
    for document in (claims(B, role), claims_of(MEMBERS[B, role], B, role="admin")):
        for function, arguments in changes.items():
            with pytest.raises(AccessRefused):
                as_tenant(gate, document).call(function, arguments)
    gate.close()
    key = made_key(world.servers.service, B, Role(role))[0]
    for path, asked in (
        ("keys", {"name": "more", "role": "admin"}),
        ("members", {"user_id": MEMBERS[B, role], "role": "admin"}),
        ("members/remove", {"user_id": MEMBERS[B, "admin"]}),
        ("service-accounts", {"name": "more", "role": "admin"}),
        ("operator", {"name": "more"}),
        ("limits", {"name": "keys", "capacity": 1000}),
    ):
        assert world.api.post(f"/api/v1/tenancy/{path}", asked, headers=bearer(key.text)).status_code == 403, path
    roles = {
        each["user_id"]: each["role"] for each in world.servers.service.call("tenancy_members", {"p_operator": B})
    }
    assert roles[MEMBERS[B, role]] == role
    assert roles[MEMBERS[B, "admin"]] == "admin"


def test_what_was_ready_for_a_is_not_for_b(world: World) -> None:
    """8: the same poll, with A's ETag, by B and by nobody, while A's answer is ready."""
    for query in ("", f"?task_id={SHARED_JOB}", "?consumer=one-that-both-have"):
        path = f"/beckn/llm-output{query}"
        of_a = world.gateway.get(path, headers=world.headers["A"])
        assert of_a.status_code == 200
        tag = {"If-None-Match": of_a.headers["ETag"]}
        assert world.gateway.get(path, headers=world.headers["A"] | tag).status_code == 304
        of_b = world.gateway.get(path, headers=world.headers["B"] | tag)
        assert of_b.status_code == 200
        assert str(GPU_MINUTES[A]) not in of_b.text
        assert str(GPU_MINUTES[B]) in of_b.text
        assert world.gateway.get(path, headers=tag).status_code == 401
        assert world.gateway.get(path, headers=world.headers["a revoked key of A"] | tag).status_code == 401
        assert world.gateway.get(path, headers=world.headers["B for A"] | tag).status_code == 403


def test_streams_hear_their_own_and_nobody_hears_what_is_nobodys(
    world: World, owner: psycopg.Connection[Any]
) -> None:
    """9: two streams, one without a credential, a replay, and an event that names no operator."""
    port = world.port(Server.GATEWAY)
    before = {
        who: world.gateway.get("/beckn/broadcast/poll", headers=world.headers[who]).json() for who in ("A", "B")
    }
    with ExitStack() as stack:
        streams = {
            who: stack.enter_context(SseReader(port, path="/beckn/broadcast?after=0", headers=world.headers[who]))
            for who in ("A", "B", "platform")
        }
        stranger = stack.enter_context(SseReader(port, path="/beckn/broadcast?after=0"))
        stranger.wait_until(lambda: stranger.ended)
        assert (stranger.status, stranger.events) == (401, [])
        owner.execute(
            "insert into broadcast_log (sequence, event_type, event)"
            " select newest + 1, 'notice', %s from event_numbers",
            [Jsonb({"word": "of-nobody"})],
        )
        owner.execute("update event_numbers set newest = newest + 1")
        owner.execute("select pg_notify('broadcast', (select newest::text from event_numbers))")
        for who, job in (("A", "later-of-a"), ("B", "later-of-b")):
            sent = {"job_id": job, "workload_type": "RAG_QUERY", "required_gpu_mins": 2}
            assert world.api.post("/api/v1/workloads", sent, headers=world.headers[who]).status_code == 201
        for who in ("A", "B"):
            heard_before = [event["sequence"] for event in before[who]["events"]]
            streams[who].wait_for(len(heard_before) + 1)
            assert streams[who].ids[:-1] == heard_before
            assert streams[who].ids[-1] > before[who]["newest"]
        streams["platform"].wait_until(
            lambda: any("of-nobody" in str(event.data) for event in streams["platform"].events)
        )
        for who, other in (("A", B), ("B", A)):
            heard = str([event.data for event in streams[who].events])
            assert SECRETS[other] not in heard
            assert str(GPU_MINUTES[other]) not in heard
            assert "of-nobody" not in heard
            assert f"later-of-{who.lower()}" in heard


def test_a_job_id_may_be_everybodys(world: World) -> None:
    """10: a unique key tells nobody what others have; a taken one of one's own is still told."""
    submitted = {"job_id": "the-same", "workload_type": "RAG_QUERY"}
    for who in ("A", "B"):
        answer = world.api.post("/api/v1/workloads", submitted, headers=world.headers[who])
        assert (answer.status_code, answer.json()["created"]) == (201, ["the-same"])
    changed = {**submitted, "urgency": "HIGH"}
    assert world.api.post("/api/v1/workloads", changed, headers=world.headers["B"]).status_code == 409


@pytest.mark.parametrize("counted", ["planned", "estimated", "exact"])
def test_no_count_is_planned_for_a_user_who_comes_past_us(postgrest: PostgrestServer, counted: str) -> None:
    """10: with a token of Supabase's own, straight to PostgREST: the planner knows how many rows all have."""
    token = postgrest.token({**claims(A, "admin"), "aud": "authenticated"})
    for table in ("compute_workloads", "orchestration_decisions", "operators", "recent_decisions"):
        answer = requests.get(
            f"{postgrest.url}/rest/v1/{table}?limit=1",
            headers={"Authorization": f"Bearer {token}", "Prefer": f"count={counted}"},
            timeout=20,
        )
        assert answer.status_code in {401, 403}
        assert "Content-Range" not in answer.headers or answer.headers["Content-Range"].endswith("/*")


def test_a_revoked_key_ends_everywhere_and_its_stream_too(world: World) -> None:
    """12: revoked at one server, refused by the others within ten seconds, and heard no more within fifteen."""
    key, entry = made_key(world.servers.service, A, Role.MEMBER)
    headers = bearer(key.text)
    for server in (Server.API, Server.GATEWAY):
        path = "/api/v1/workloads" if server is Server.API else "/beckn/catalog"
        assert world.servers.client(server).get(path, headers=headers).status_code == 200
    with SseReader(world.port(Server.GATEWAY), headers=headers, silence_s=60) as stream:
        revoked = world.api.post(f"/api/v1/tenancy/keys/{entry.key_id}/revoke", {}, headers=world.headers["A"])
        assert revoked.status_code == 200
        refused = threading.Event()

        def ask_until_refused() -> None:
            while world.gateway.get("/beckn/catalog", headers=headers).status_code != 401:
                refused.wait(0.05)
            refused.set()

        asking = threading.Thread(target=ask_until_refused)
        asking.start()
        asking.join(10)
        assert refused.is_set()
        stream.wait_until(lambda: stream.ended, timeout_s=15)
    assert world.api.get("/api/v1/workloads", headers=headers).status_code == 401


def test_every_answer_to_a_tenant_comes_through_the_door(world: World, owner: psycopg.Connection[Any]) -> None:
    """3: where the door is shut, no endpoint has anything to say to a tenant: none has another way in."""
    owner.execute("revoke execute on function public.call_as(jsonb, text, jsonb) from pylon_gate")
    try:
        answered = {
            f"{server} {name}": answer.status_code
            for server, rows in ROWS.items()
            for name, row in rows.items()
            if ENDPOINTS[server][name.replace("{", "<").replace("}", ">")] in ROLE_SCOPES[Role.ADMIN]
            and name.startswith("GET")
            and name not in WITHOUT_THE_DOOR
            for filled in [*([{}] if "{" not in name else []), *row.names(world.ids[B])]
            for answer in [asked(world, server, name, filled)]
            if answer.status_code < 400
        }
    finally:
        owner.execute("grant execute on function public.call_as(jsonb, text, jsonb) to pylon_gate")
    assert answered == {}
    assert world.api.get("/api/v1/workloads", headers=world.headers["B"]).status_code == 200


def asked(world: World, server: Server, name: str, filled: dict[tuple[str, str], Any]) -> requests.Response:
    path = name.split(" ", 1)[1]
    for (where, place), value in filled.items():
        if where == "path":
            path = path.replace("{" + place + "}", str(value))
    query = {place: str(value) for (where, place), value in filled.items() if where == "query"}
    answer: requests.Response
    with world.servers.client(server).request(
        "GET", path, params=query, headers=world.headers["B"], stream=True
    ) as answer:
        return answer
