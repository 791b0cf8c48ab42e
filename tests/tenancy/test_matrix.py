"""Every operation of the three servers, asked by everybody for everything that is somebody else's.

The operations come from the servers' own descriptions; what each is asked with, from `tenancy_matrix.ROWS`. What A
has is planted with words and numbers that occur nowhere else. Nobody but A and the platform may be told any of them,
nor whether there is such a thing: an answer about what is not theirs is that about what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from clock import utc_now
from database.embedded import EmbeddedPostgres
from grid.half_hours import rfc3339
from matrix_answers import Answer, ask, found_in, is_problem, private_words
from planted import Ids, grow_tenants, plant
from tenancy.scopes import ENDPOINTS, ROLE_SCOPES, Role, Scope, Server, Without
from tenancy_matrix import ROWS, Filled, Row, check_complete
from tenant_servers import DATABASES, TenantServers, tenant_servers
from tenant_settings import wait_until_keys_are_read
from two_operators import A, B

pytestmark = pytest.mark.timeout(300)

KNOWN = {"A": Role.ADMIN, "B": Role.ADMIN, "B with a token": Role.ADMIN, "reader of B": Role.READER}
MEMBERS_OF_B = ("B", "B with a token", "reader of B")
STRANGERS = ("nobody", "a revoked key of A", "an expired key of A", "an expired token of A")
ELSEWHERE = ("B for A", "B with a token for A")

# They tell of the grid, which all share, and of the present.
OF_THE_MOMENT = {"GET /api/v1/grid/regional", "GET /api/v1/grid/forecast", "GET /api/v1/market/catalog"}
PRIVATE_OBJECTS = "ComputeWorkload,Agent,AgentState,OrchestrationDecision,StorageAsset,Operator,DataCentre"

Snapshot = dict[str, tuple[int, dict[str, str], str]]


@dataclass
class World:
    """Two tenants on running servers. `alone` is what B and strangers were told before A had anything."""

    servers: TenantServers
    headers: dict[str, dict[str, str]]
    moment: str
    ids: dict[str, Ids] = field(default_factory=dict)
    alone: dict[str, Snapshot] = field(default_factory=dict)
    with_a: dict[str, Snapshot] = field(default_factory=dict)

    def ask(self, server: Server, name: str, who: str, filled: Filled) -> Answer:
        row = ROWS[server][name]
        if row.moment is not None:
            filled = {row.moment: self.moment, **filled}
        newest = self.newest(who) if row.streams and self._replays(who, filled) else None
        return ask(self.servers.client(server), name, row, self.headers[who], filled, newest=newest)

    def newest(self, who: str) -> int:
        polled = self.servers.client(Server.GATEWAY).get("/beckn/broadcast/poll?limit=1", headers=self.headers[who])
        return polled.json()["newest"] or 0 if polled.status_code == 200 else 0

    def _replays(self, who: str, filled: Filled) -> bool:
        places = [value for (_, name), value in filled.items() if name in {"after", "lastEventId", "Last-Event-ID"}]
        return bool(places) and int(places[0]) < self.newest(who)

    def snapshot(self, who: str, ids: Ids) -> Snapshot:
        """What somebody is told of what is its own, and of everything that is no particular thing."""
        told: Snapshot = {}
        for server, name, row in every_row():
            if row.streams or not name.startswith("GET") or name in OF_THE_MOMENT:
                continue
            usual: Filled = {("query", "objects"): PRIVATE_OBJECTS} if name.endswith("live-state") else {}
            for filled in [usual] if "{" not in name else []:
                told[f"{server} {name}"] = self.ask(server, name, who, filled).likeness
            for filled in row.names(ids):
                told[f"{server} {name} {filled}"] = self.ask(server, name, who, filled).likeness
        return told


def every_row() -> Iterator[tuple[Server, str, Row]]:
    """What only reads goes first: what B makes with a name that A has is B's own from then on."""
    rows = [(server, name, row) for server, by_name in ROWS.items() for name, row in by_name.items()]
    return iter(sorted(rows, key=lambda row: (not row[1].startswith("GET"), row[1] == "POST /api/v1/workloads")))


@pytest.fixture(scope="module", params=DATABASES)
def world(
    request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with tenant_servers(request.param, postgres_server, tmp_path_factory.mktemp("servers")) as servers:
        world = World(servers, grow_tenants(servers), rfc3339(utc_now() + timedelta(hours=1)))
        for server in Server:
            token = world.headers["B with a token"]["Authorization"].removeprefix("Bearer ")
            wait_until_keys_are_read(servers.client(server), token)
        of_b = plant(servers, B, world.headers["B"], jobs=2)
        watchers = (*MEMBERS_OF_B, "nobody")
        world.alone = {who: world.snapshot(who, of_b) for who in watchers}
        of_a = plant(servers, A, world.headers["A"], jobs=6)
        world.with_a = {who: world.snapshot(who, of_b) for who in watchers}
        world.ids = {A: of_a, B: of_b}
        yield world
        assert "Traceback" not in servers.logs


def test_every_operation_and_every_parameter_has_its_place_in_the_matrix(world: World) -> None:
    for server in Server:
        check_complete(server, world.servers.client(server).get("/openapi.json").json())


def test_whatever_a_has_changes_no_answer_to_anybody_else(world: World) -> None:
    """Counts, numbers, cursors and ETags included."""
    for who, alone in world.alone.items():
        for name, told in alone.items():
            assert world.with_a[who][name] == told, (who, name)


def test_a_and_the_platform_find_what_is_as(world: World) -> None:
    """Or else nothing else here would prove anything."""
    words = private_words(A, world.ids[A])
    for server, name, row in every_row():
        if row.shows_own:
            ways = [*([{}] if "{" not in name else []), *row.names(world.ids[A])]
            assert any(found_in(words, world.ask(server, name, "A", filled)) for filled in ways), name
            if "tenancy" not in name:
                assert any(found_in(words, world.ask(server, name, "platform", filled)) for filled in ways), name


def test_nobody_else_is_told_anything_of_as_nor_whether_it_is_there(world: World) -> None:
    before = world.snapshot("A", world.ids[A])
    faults: list[str] = []
    asked = 0
    for server, name, row in every_row():
        for who in (*STRANGERS, *ELSEWHERE, *MEMBERS_OF_B):
            for fault, requests in faults_of(world, server, name, row, who):
                asked += requests
                faults += [] if fault is None else [f"{server} {name} by {who}: {fault}"]
    assert not faults, "\n".join(faults)
    assert asked > 1000, asked
    assert world.snapshot("A", world.ids[A]) == before


def faults_of(world: World, server: Server, name: str, row: Row, who: str) -> Iterator[tuple[str | None, int]]:
    of_a, of_nobody = world.ids[A], world.ids[A].absent()
    words = private_words(A, of_a) + ([] if who in MEMBERS_OF_B else private_words(B, world.ids[B]))
    if "{" not in name:
        answer = world.ask(server, name, who, {})
        yield tells(answer, words) or is_wrongly(server, name, who, answer), 1
    for not_theirs, not_there in zip(row.names(of_a), row.names(of_nobody), strict=True):
        first = world.ask(server, name, who, not_there)
        answer = world.ask(server, name, who, not_theirs)
        # Again, for what the first one changed.
        again = world.ask(server, name, who, not_there)
        fault = tells(answer, words) or tells(first, words) or is_wrongly(server, name, who, answer)
        if fault is None and answer.likeness not in (first.likeness, again.likeness):
            fault = f"{not_theirs}: {answer.likeness} is not {again.likeness}"
        yield fault, 3


def tells(answer: Answer, words: list[str]) -> str | None:
    found = found_in(words, answer)
    return f"it tells {found}: {answer.asked} {answer.body[:300]}" if found else None


def is_wrongly(server: Server, name: str, who: str, answer: Answer) -> str | None:
    """What is wrong with the status, for somebody with these rights, if anything is."""
    need = ENDPOINTS[server][name.replace("{", "<").replace("}", ">")]
    if need is Without.PUBLIC:
        return None if answer.status in {200, 503} else f"{answer.status} though public"
    if answer.status >= 500:
        return f"{answer.status}: {answer.body}"
    if not isinstance(need, Scope):
        return None  # signed by those who send it
    if who in STRANGERS:
        expected = 401
    elif who in ELSEWHERE or need not in ROLE_SCOPES[KNOWN[who]]:
        expected = 403
    else:
        return f"{answer.status} though allowed" if answer.status in {401, 403} else None
    if answer.status != expected:
        return f"{answer.status} and not {expected}"
    return None if is_problem(answer) else f"no problem document: {answer.body}"
