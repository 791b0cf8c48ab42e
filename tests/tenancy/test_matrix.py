"""Every operation of the three servers, asked by everybody for everything that is somebody else's.

The operations come from the servers' own descriptions; what each is asked with, from `tenancy_matrix.ROWS`. What A
has is planted with words and numbers that occur nowhere else. Nobody but A and the platform may be told any of them,
nor whether there is such a thing: an answer about what is not theirs is that about what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer
from beckn.protocol.objects import Subscriber
from beckn_network import eventually
from beckn_orders import a_workload
from clock import utc_now
from database.embedded import EmbeddedPostgres
from grid.half_hours import half_hour_of, rfc3339
from matrix_answers import Answer, ask, found_in, is_problem, private_words, without_moment
from planted import NEVER_PLACED, PATIENCE_S, SECRETS, Ids, grow_tenants, plant
from sse_reader import SseReader
from tenancy.scopes import ENDPOINTS, ROLE_SCOPES, Role, Scope, Server, Without
from tenancy_matrix import ROWS, Filled, Row, check_complete
from tenant_purchases import PROVIDER, Asker, asking_for, buying_for, requests_about
from tenant_servers import DATABASES, TenantServers, tenant_servers
from tenant_settings import wait_until_keys_are_read
from two_operators import A, B

pytestmark = pytest.mark.timeout(300)

KNOWN = {"A": Role.ADMIN, "B": Role.ADMIN, "B with a token": Role.ADMIN, "reader of B": Role.READER}
MEMBERS_OF_B = ("B", "B with a token", "reader of B")
STRANGERS = ("nobody", "a revoked key of A", "an expired key of A", "an expired token of A")
ELSEWHERE = ("B for A", "B with a token for A")

# They tell of the grid, which all share, of how full a data centre is, which all see, and of the present; and what
# somebody is refused is in its audit from then on.
OF_THE_MOMENT = {
    (Server.API, name)
    for name in (
        "GET /health",
        "GET /api/v1/grid/regional",
        "GET /api/v1/grid/forecast",
        "GET /api/v1/market/catalog",
        "GET /api/v1/data-centres/{dc_id}/capacity",
        "GET /dashboard/data-centres/{dc_id}",
        "GET /api/v1/tenancy/audit-events",
        "GET /dashboard/audit",
    )
}
PRIVATE_OBJECTS = "ComputeWorkload,Agent,AgentState,OrchestrationDecision,StorageAsset,Operator,DataCentre"

Snapshot = dict[str, tuple[int, dict[str, str], str]]

MOST_TRIES = 3
"""So often something is compared until neither a half-hour nor a pipeline run came in between: it takes a minute."""


@dataclass
class World:
    """Two tenants on running servers. `alone` is what B and strangers were told before A had anything.

    `is_of_one_grid`: nothing went on between that and `with_a` but what A was given.
    """

    servers: TenantServers
    headers: dict[str, dict[str, str]]
    moment: str
    ids: dict[str, Ids] = field(default_factory=dict)
    alone: dict[str, Snapshot] = field(default_factory=dict)
    with_a: dict[str, Snapshot] = field(default_factory=dict)
    is_of_one_grid: bool = False
    buyers: dict[str, Buyer] = field(default_factory=dict)

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.servers.ports[Server.PROVIDER]}/beckn"

    def ask(self, server: Server, name: str, who: str, filled: Filled) -> Answer:
        row = ROWS[server][name]
        if row.moment is not None:
            filled = {row.moment: self.moment, **filled}
        newest = self.newest_decision(who) if row.streams and self._replays(who, filled) else None
        return ask(self.servers.client(server), name, row, self.headers[who], filled, newest=newest)

    def wait_until_all_is_decided(self) -> None:
        """Or else one of two workloads alike may be decided and the other not yet."""
        waiting = "select count(*) from workload_notifications where work_state not in ('completed', 'discarded')"
        eventually(lambda: self.servers.service.scalar(waiting) == 0, PATIENCE_S)

    def wait_until_the_pipeline_has_run(self) -> None:
        """Or else what is said of it, to everybody, changes meanwhile."""
        ended = "select count(*) from pipeline_runs where finished_at is not null"
        eventually(lambda: self.servers.service.scalar(ended) > 0, PATIENCE_S)

    def grid(self) -> tuple[str, str]:
        """The half-hour that it is, and what the pipeline has stored: another grid is another answer to everybody."""
        runs = "select coalesce(jsonb_agg(to_jsonb(r) order by r.slot), '[]')::text from pipeline_runs r"
        return rfc3339(half_hour_of(utc_now())), self.servers.service.scalar(runs)

    def faults_and_changes(self, deed: Callable[[], list[str]]) -> list[str]:
        """What a deed found, and what it changed in all that A is told."""
        for _ in range(MOST_TRIES):
            grid, before = self.grid(), self.snapshot("A", self.ids[A])
            found, after = deed(), self.snapshot("A", self.ids[A])
            if found or self.grid() == grid:
                break
        changed = {name: difference(told[2], after[name][2]) for name, told in before.items() if after[name] != told}
        return found + [f"{name} has changed: {how}" for name, how in changed.items()]

    def newest(self, who: str) -> int:
        polled = self.servers.client(Server.GATEWAY).get("/beckn/broadcast/poll?limit=1", headers=self.headers[who])
        return polled.json()["newest"] or 0 if polled.status_code == 200 else 0

    def newest_decision(self, who: str) -> int:
        """The number of the last event that a stream without topics brings."""
        path = "/beckn/llm-output/history?limit=1"
        told = self.servers.client(Server.GATEWAY).get(path, headers=self.headers[who])
        outputs = told.json()["outputs"] if told.status_code == 200 else []
        return outputs[0]["_metadata"]["sequence"] if outputs else 0

    def _replays(self, who: str, filled: Filled) -> bool:
        places = [value for (_, name), value in filled.items() if name in {"after", "lastEventId", "Last-Event-ID"}]
        return bool(places) and int(places[0]) < self.newest_decision(who)

    def snapshot(self, who: str, ids: Ids) -> Snapshot:
        """What somebody is told of what is its own, and of everything that is no particular thing."""
        told: Snapshot = {}
        for server, name, row in every_row():
            if row.streams or not name.startswith("GET") or (server, name) in OF_THE_MOMENT:
                continue
            usual: Filled = {("query", "objects"): PRIVATE_OBJECTS} if name.endswith("live-state") else {}
            for filled in [usual] if row.is_whole(name) else []:
                told[f"{server} {name}"] = self.ask(server, name, who, filled).likeness
            for filled in row.names(ids):
                told[f"{server} {name} {filled}"] = self.ask(server, name, who, filled).likeness
        return told


def every_row() -> Iterator[tuple[Server, str, Row]]:
    """What only reads goes first: what B makes with a name that A has is B's own from then on."""
    rows = [(server, name, row) for server, by_name in ROWS.items() for name, row in by_name.items()]
    return iter(sorted(rows, key=lambda row: (not row[1].startswith("GET"), row[1] == "POST /api/v1/workloads")))


# Whatever is asked goes through all of the program; which database is below it matters to a few lines of it.
ON_EACH_DATABASE = [DATABASES[0], *(pytest.param(database, marks=pytest.mark.thorough) for database in DATABASES[1:])]


@pytest.fixture(scope="module", params=ON_EACH_DATABASE)
def world(
    request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    for tried in range(1, MOST_TRIES + 1):
        with a_world(request.param, postgres_server, tmp_path_factory.mktemp("servers")) as made:
            if made.is_of_one_grid or tried == MOST_TRIES:
                yield made
                assert "Traceback" not in made.servers.logs
                return


def measured_once(database: str) -> dict[str, str]:
    """Coverage follows the servers over one database alone: over the others they answer alike, in half the time."""
    return {} if database == "embedded" else {"COVERAGE_PROCESS_CONFIG": ""}


@contextmanager
def a_world(database: str, postgres_server: EmbeddedPostgres, log_dir: Path) -> Iterator[World]:
    with ExitStack() as stack:
        servers = stack.enter_context(tenant_servers(database, postgres_server, log_dir, **measured_once(database)))
        world = World(servers, grow_tenants(servers), rfc3339(utc_now() + timedelta(hours=1)))
        for server in Server:
            token = world.headers["B with a token"]["Authorization"].removeprefix("Bearer ")
            wait_until_keys_are_read(servers.client(server), token)
        world.wait_until_the_pipeline_has_run()
        for operator in SECRETS:
            world.buyers[operator] = stack.enter_context(buying_for(servers.service, operator))
        of_b = plant(servers, B, world.headers["B"], world.buyers[B], jobs=2)
        watchers = (*MEMBERS_OF_B, "nobody")
        grid = world.grid()
        world.alone = {who: world.snapshot(who, of_b) for who in watchers}
        of_a = plant(servers, A, world.headers["A"], world.buyers[A], jobs=12)
        world.with_a = {who: world.snapshot(who, of_b) for who in watchers}
        world.is_of_one_grid = world.grid() == grid
        world.ids = {A: of_a, B: of_b}
        yield world


def test_every_operation_and_every_parameter_has_its_place_in_the_matrix(world: World) -> None:
    for server in Server:
        check_complete(server, world.servers.client(server).get("/openapi.json").json())


def test_whatever_a_has_changes_no_answer_to_anybody_else(world: World) -> None:
    """Counts, numbers, cursors and ETags included."""
    for who, alone in world.alone.items():
        for name, told in alone.items():
            assert world.with_a[who][name] == told, (who, name, difference(world.with_a[who][name][2], told[2]))


def test_a_and_the_platform_find_what_is_as(world: World) -> None:
    """Or else nothing else here would prove anything."""
    words = private_words(A, world.ids[A])
    for server, name, row in every_row():
        ways = [*([{}] if row.is_whole(name) else []), *row.names(world.ids[A])]
        shows_platform = row.shows_own if row.shows_platform is None else row.shows_platform
        if row.shows_own:
            assert any(found_in(words, world.ask(server, name, "A", filled)) for filled in ways), name
        if shows_platform and "tenancy" not in name:
            assert any(found_in(words, world.ask(server, name, "platform", filled)) for filled in ways), name


def test_nobody_else_is_told_anything_of_as_nor_whether_it_is_there(world: World) -> None:
    asked = 0

    def ask_for_everything() -> list[str]:
        nonlocal asked
        faults: list[str] = []
        for server, name, row in every_row():
            for who in (*STRANGERS, *ELSEWHERE, *MEMBERS_OF_B):
                for fault, requests in faults_of(world, server, name, row, who):
                    asked += requests
                    faults += [] if fault is None else [f"{server} {name} by {who}: {fault}"]
        return faults

    faults = world.faults_and_changes(ask_for_everything)
    assert not faults, "\n".join(faults)
    assert asked > 1000, asked


def test_signed_messages_tell_a_platform_nothing_of_anothers_purchases_and_change_none(world: World) -> None:
    words = private_words(A, world.ids[A])

    def ask_with_signatures() -> list[str]:
        faults: list[str] = []
        with ExitStack() as stack:
            for operator, name in ((B, "another-bap.op-b.example"), (None, "stranger.example")):
                asker = stack.enter_context(asking_for(world.servers.service, operator, name))
                faults += [f"{name}: {fault}" for fault in signed_faults_of(world, asker, words)]
                faults += [f"{name}: {fault}" for fault in network_faults_of(world, asker, words)]
        return faults

    faults = world.faults_and_changes(ask_with_signatures)
    assert not faults, "\n".join(faults)
    # It is there all the while, for whom it is.
    bought, own = world.ids[A].bought, world.buyers[A]
    deal = Transaction(a_workload(), bought.transaction_id)
    order = own.status(deal, Subscriber(PROVIDER, world.provider_url), bought.order_id)
    assert (order.id, order.quote.id) == (bought.order_id, bought.quote_id)
    assert any(word in order.model_dump_json() for word in words)


def signed_faults_of(world: World, asker: Asker, words: list[str]) -> Iterator[str]:
    bought = world.ids[A].bought
    for theirs, absent in zip(requests_about(bought), requests_about(bought.absent()), strict=True):
        named, action, message, transaction_id = theirs
        told = asker.ask(world.provider_url, action, message, transaction_id).text
        yield from (f"{named}: it tells {word}: {told}" for word in words_of(words, told, theirs))
        nothing = asker.ask(world.provider_url, *absent[1:]).text
        if without_moment(told) != without_moment(nothing):
            yield f"{named}: {told} is not {nothing}"
        # In its owner's name, but with the own key.
        own = world.buyers[A].own
        claimed = asker.ask(
            world.provider_url, action, message, transaction_id, bap_id=own.subscriber_id, bap_uri=own.url
        )
        if (claimed.status, claimed.callback) != (401, None):
            yield f"{named} in its name: {claimed.text}"


def network_faults_of(world: World, asker: Asker, words: list[str]) -> Iterator[str]:
    """Of the gateway's part: searches, answers to them, and the registry."""
    gateway = f"http://127.0.0.1:{world.servers.ports[Server.GATEWAY]}"
    own, bought = world.buyers[A].own, world.ids[A].bought
    found = asker.search(f"{gateway}/beckn", bought.transaction_id)
    nothing = asker.search(f"{gateway}/beckn", bought.absent().transaction_id)
    answered = asker.answer_search(f"{gateway}/beckn", own, bought.transaction_id)
    unasked = asker.answer_search(f"{gateway}/beckn", own, bought.absent().transaction_id)
    for named, told in (("search", found), ("on_search", answered)):
        yield from (
            f"{named}: it tells {word}: {told.text}" for word in words_of(words, told.text, bought.transaction_id)
        )
    # Of two catalogues, each of its moment, what is on offer.
    if (found.acknowledged, found.offered()) != (nothing.acknowledged, nothing.offered()):
        yield f"search: {found.text} is not {nothing.text}"
    if answered != unasked:
        yield f"on_search: {answered.text} is not {unasked.text}"
    claimed = asker.search(f"{gateway}/beckn", bought.transaction_id, bap_id=own.subscriber_id, bap_uri=own.url)
    if (claimed.status, claimed.callback) != (401, None):
        yield f"search in its name: {claimed.text}"
    # The registry is public, but for whom a platform speaks and where it may lead.
    for query in ({}, {"subscriber_id": own.subscriber_id}):
        status, listed = asker.look_up(f"{gateway}/registry/lookup", query)
        if status != 200 or own.subscriber_id not in [each["subscriber_id"] for each in listed]:
            yield f"lookup {query}: {status} {listed}"
        told_too_much = {name for each in listed for name in each} & {"operator", "private_address", "present_until"}
        if told_too_much or words_of(words, str(listed), query):
            yield f"lookup {query}: it tells {told_too_much}: {listed}"
    if asker.look_up(f"{gateway}/registry/lookup", {"operator": A})[0] != 400:
        yield "lookup: it can be asked for whom a platform speaks"


def difference(one: str, other: str) -> tuple[str, str]:
    """Both from a little before where they part."""
    parted = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return one[max(parted - 60, 0) : parted + 140], other[max(parted - 60, 0) : parted + 140]


def words_of(words: list[str], told: str, asked: object) -> list[str]:
    return [word for word in words if word in told and word not in str(asked)]


def test_live_streams_bring_each_its_own_and_a_ticket_opens_them_once(world: World) -> None:
    gateway, api = world.servers.client(Server.GATEWAY), world.servers.client(Server.API)
    port = world.servers.ports[Server.GATEWAY]
    issued = gateway.post("/beckn/broadcast/ticket", {}, headers=world.headers["B"]).json()["ticket"]
    by_ticket = f"/beckn/broadcast?ticket={issued}"
    newest = {who: world.newest(who) for who in ("A", "B", "platform")}
    with ExitStack() as stack:
        streams = {
            who: stack.enter_context(SseReader(port, headers=world.headers[who]))
            for who in ("A", *MEMBERS_OF_B, "platform", *STRANGERS)
        }
        streams["B with a ticket"] = stack.enter_context(SseReader(port, path=by_ticket))
        for number, who in enumerate(("A", "A", "B", "A", "B")):
            job = {"job_id": f"live-{number}", "workload_type": "RAG_QUERY", **NEVER_PLACED}
            assert api.post("/api/v1/workloads", job, headers=world.headers[who]).status_code == 201
            streams["platform"].wait_for(number + 1)
        # B's last event is the last of all: what went astray came before it.
        for who in (*MEMBERS_OF_B, "B with a ticket"):
            streams[who].wait_for(2)
        streams["A"].wait_for(3)
        again = gateway.get(by_ticket), gateway.get("/beckn/broadcast?ticket=nothing-there")
    first = newest["B"] + 1
    for who in (*MEMBERS_OF_B, "B with a ticket"):
        assert live_jobs(streams[who]) == [(first, "live-2"), (first + 1, "live-4")], who
    first = newest["A"] + 1
    assert live_jobs(streams["A"]) == [(first, "live-0"), (first + 1, "live-1"), (first + 2, "live-3")]
    assert [job for _, job in live_jobs(streams["platform"])] == [f"live-{number}" for number in range(5)]
    for who in STRANGERS:
        assert (streams[who].status, streams[who].events) == (401, []), who
    assert [answer.status_code for answer in again] == [401, 401]
    assert again[0].text == again[1].text


def live_jobs(stream: SseReader) -> list[tuple[int, str]]:
    return [(event.id, event.data["task"]["job_id"]) for event in stream.events]


def faults_of(world: World, server: Server, name: str, row: Row, who: str) -> Iterator[tuple[str | None, int]]:
    of_a, of_nobody = world.ids[A], world.ids[A].absent()
    if not name.startswith("GET"):
        world.wait_until_all_is_decided()  # what somebody before has submitted, and this one would submit again
    words = private_words(A, of_a) + ([] if who in MEMBERS_OF_B else private_words(B, world.ids[B]))
    if row.is_whole(name):
        answer = world.ask(server, name, who, {})
        yield tells(answer, words) or is_wrongly(server, name, who, answer), 1
    for not_theirs, not_there in zip(row.names(of_a), row.names(of_nobody), strict=True):
        first = world.ask(server, name, who, not_there)
        answer = world.ask(server, name, who, not_theirs)
        fault = tells(answer, words) or tells(first, words) or is_wrongly(server, name, who, answer)
        requests = 2
        if fault is None and answer.likeness != first.likeness:
            # Asked again, for what the first one changed.
            again, requests = world.ask(server, name, who, not_there), 3
            if answer.likeness != again.likeness:
                fault = f"{not_theirs}: {answer.likeness} is not {again.likeness}"
        yield fault, requests


def tells(answer: Answer, words: list[str]) -> str | None:
    found = found_in(words, answer)
    return f"it tells {found}: {answer.asked} {answer.body[:300]}" if found else None


OWN_COOKIE = {"POST /dashboard/sign-in", "POST /dashboard/sign-out"}
"""They change nothing but the browser's own cookie."""


def is_wrongly(server: Server, name: str, who: str, answer: Answer) -> str | None:
    """What is wrong with the status, for somebody with these rights, if anything is."""
    need = ENDPOINTS[server][name.replace("{", "<").replace("}", ">")]
    if name in OWN_COOKIE:
        return None if answer.status < 500 else f"{answer.status}"
    if name == "GET /stream":  # who is asking is said when it is open, and these requests open none
        return None if answer.status == 400 else f"{answer.status} though it opens no WebSocket"
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
