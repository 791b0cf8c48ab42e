"""Three tenants' administrators in any order of doings, over HTTP, against a model of what each should find.

They name their members and jobs alike. Each finds its own members, service accounts, entry, limits and audit, what
waits at its data centre, what died of its work and of its messages, and its own pages; and what it does with an id of
another's is done to nothing.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from beckn_network import buyer
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from grid_world import NOW, data_centre, store_data_centres, store_grid
from running_gateway import RunningGateway, running_gateway, workers_on
from served import Client
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key, with_tenants
from two_operators import door_of

pytestmark = pytest.mark.timeout(300)

TENANTS = ("x", "y", "z")
AT = "/api/v1/tenancy"
SLOTS = {"x": "DC-001", "y": "DC-002", "z": "DC-003"}
"""The data centre of each."""

LISTS = ("workloads", "decisions", "orders", "savings")
"""Pages of the dashboard."""

GIVE_UP_WORK = """
update workload_notifications set work_state = 'discarded', last_error = 'poison', attempt = 5, finished_at = now()
where (tenant, job_id) = (%s, %s) and work_state = 'available'
"""
GIVE_UP_MESSAGE = """
insert into beckn_outbox (sender, origin, recipient, recipient_type, action, domain, transaction_id, message_id,
    work_state, last_error, expires_at, finished_at)
values (%(sender)s, %(sender)s, %(recipient)s, 'BAP', 'on_status', 'domain', %(id)s, %(id)s, 'discarded',
    %(error)s, now(), now())
"""

_examples = itertools.count(1)

tenants = st.sampled_from(TENANTS)
people = st.sampled_from(["user-1", "user-2"])
jobs = st.sampled_from(["job-1", "job-2", "job-3"])
roles = st.sampled_from([Role.READER, Role.MEMBER, Role.ADMIN])
picks = st.integers(0, 9)


@dataclass
class Owned:
    """What one tenant should find. `changes`: (action, object), the oldest first."""

    operator: str
    administrator: dict[str, str]
    dc_id: str
    entry: dict[str, str]
    members: dict[str, str]
    accounts: dict[str, str | None]
    changes: list[tuple[str, str]]
    streams: int | None = None
    jobs: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    letters: dict[str, str | None] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        return f"bap.{self.operator}.example"


@dataclass(frozen=True)
class Surroundings:
    """The two servers, the database behind them, and what only its owner does."""

    service: Database
    conninfo: str
    api: Client
    gateway: RunningGateway

    def owner(self, statement: str, values: Any) -> None:
        with psycopg.connect(self.conninfo) as session:
            session.execute(statement.encode(), values)


def machine(around: Surroundings) -> type[RuleBasedStateMachine]:
    """Administrators at work on one database, which keeps what earlier examples left: of other operators, that is."""

    class Doings(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            example = next(_examples)
            self.owned = {name: self._grown(f"op-{example}-{name}", SLOTS[name]) for name in TENANTS}

        def _grown(self, operator: str, dc_id: str) -> Owned:
            entry = {"operator_id": operator, "name": operator, "operator_type": "OTHER", "country": "GB"}
            around.service.call("tenancy_set_operator", {"p_operator": entry})
            key, told = made_key(around.service, operator, Role.ADMIN)
            whose = [Where("dc_id", dc_id)]
            around.service.update("data_centres", {"operator": operator}, where=whose)
            owned = Owned(
                operator,
                bearer(key.text),
                dc_id,
                entry,
                {told.user_id: "admin"},
                {told.service_account_id: "admin"},
                [
                    ("operator.set", operator),
                    ("service_account.create", told.user_id),
                    ("key.create", key.key_id),
                ],
            )
            buyer(subscriber_id=owned.platform).register(around.service, operator=operator)
            return owned

        def _post(self, owned: Owned, path: str, document: Any) -> Any:
            return around.api.post(AT + path, document, headers=owned.administrator)

        def _get(self, owned: Owned, path: str) -> Any:
            client = around.gateway.client if path.startswith(("/beckn", "/queue")) else around.api
            answer = client.get(path, headers=owned.administrator)
            assert answer.status_code == 200, answer.text
            return answer

        @rule(name=tenants, person=people, role=roles)
        def let_in(self, name: str, person: str, role: Role) -> None:
            owned = self.owned[name]
            done = self._post(owned, "/members", {"user_id": person, "role": str(role)})
            assert done.json() == {"operator_id": owned.operator, "user_id": person, "role": str(role)}
            owned.members[person] = str(role)
            owned.changes.append(("member.set", person))

        @rule(name=tenants, person=people)
        def let_go(self, name: str, person: str) -> None:
            owned = self.owned[name]
            done = self._post(owned, "/members/remove", {"user_id": person})
            if owned.members.pop(person, None) is None:
                is_problem(done, 422)
                return
            assert done.status_code == 200
            owned.changes.append(("member.remove", person))

        @rule(name=tenants, role=roles)
        def make_account(self, name: str, role: Role) -> None:
            owned = self.owned[name]
            made = self._post(owned, "/service-accounts", {"name": "agent", "role": str(role)}).json()
            owned.accounts[made["service_account_id"]] = owned.members[made["user_id"]] = str(role)
            owned.changes.append(("service_account.create", made["user_id"]))

        @rule(name=tenants, of=tenants, pick=picks)
        def disable_account(self, name: str, of: str, pick: int) -> None:
            """Of one's own, but for one's own, or of another's, which is no account then."""
            owned, theirs = self.owned[name], list(self.owned[of].accounts)[1:]
            if not theirs:
                return
            account = theirs[pick % len(theirs)]
            done = self._post(owned, f"/service-accounts/{account}/disable", {})
            if name != of or owned.accounts[account] is None:
                is_problem(done, 404)
                return
            assert done.status_code == 200
            owned.accounts[account] = None
            del owned.members[f"svc:{account}"]
            owned.changes.append(("service_account.disable", f"svc:{account}"))

        @rule(name=tenants, country=st.sampled_from(["GB", "FR", "DE"]))
        def change_entry(self, name: str, country: str) -> None:
            owned = self.owned[name]
            owned.entry = {**owned.entry, "country": country}
            assert self._post(owned, "/operator", {"country": country}).json() == owned.entry
            owned.changes.append(("operator.set", owned.operator))

        @rule(name=tenants, capacity=st.integers(1, 9))
        def set_limit(self, name: str, capacity: int) -> None:
            owned = self.owned[name]
            wanted = {"name": "streams", "capacity": capacity}
            is_problem(self._post(owned, "/limits", wanted), 403)
            done = around.api.post(f"{AT}/limits", wanted, headers=bearer(PLATFORM_KEY, owned.operator))
            assert done.status_code == 200
            owned.streams = capacity
            owned.changes.append(("limit.set", "streams"))

        @rule(name=tenants, job=jobs)
        def submit(self, name: str, job: str) -> None:
            owned = self.owned[name]
            document = {"job_id": job, "workload_type": "OTHER", "required_gpu_mins": 60}
            done = around.api.post("/api/v1/workloads", document, headers=owned.administrator)
            assert done.status_code == (200 if job in owned.jobs else 201)
            owned.jobs.add(job)

        @rule(name=tenants, job=jobs)
        def submit_what_cannot_be_decided(self, name: str, job: str) -> None:
            owned = self.owned[name]
            if job not in owned.jobs:
                self.submit(name, job)
                around.owner(GIVE_UP_WORK, (owned.operator, job))
                owned.dead.add(job)

        @rule()
        def decide(self) -> None:
            workers = workers_on(around.service)
            while workers.work_once():
                pass
            for owned in self.owned.values():
                owned.decided = owned.jobs - owned.dead

        @rule(sender=tenants, recipient=tenants)
        def give_a_message_up(self, sender: str, recipient: str) -> None:
            """Of one's platform to another's, and both hear of it; only the sender had it in hand."""
            message_id, error = str(uuid4()), f"why, in the words of {sender}"
            parties = {"sender": self.owned[sender].platform, "recipient": self.owned[recipient].platform}
            around.owner(GIVE_UP_MESSAGE, {**parties, "id": message_id, "error": error})
            self.owned[recipient].letters[message_id] = None
            self.owned[sender].letters[message_id] = error

        @rule(name=tenants, pick=st.integers(0, 7))
        def look(self, name: str, pick: int) -> None:
            looks: tuple[Callable[[Owned], None], ...] = (
                self._look_at_members,
                self._look_at_entry,
                self._look_at_changes,
                self._look_at_hosted,
                self._look_at_dead,
                self._look_at_letters,
                self._look_at_decisions,
                self._look_at_pages,
            )
            looks[pick % len(looks)](self.owned[name])

        def _look_at_members(self, owned: Owned) -> None:
            members = self._get(owned, f"{AT}/members").json()["members"]
            assert {each["user_id"]: each["role"] for each in members} == owned.members
            accounts = self._get(owned, f"{AT}/service-accounts").json()["service_accounts"]
            assert {each["service_account_id"]: each["role"] for each in accounts} == owned.accounts

        def _look_at_entry(self, owned: Owned) -> None:
            assert self._get(owned, f"{AT}/operator").json() == owned.entry
            limits = {each["name"]: each for each in self._get(owned, f"{AT}/limits").json()["limits"]}
            assert limits["streams"]["is_default"] == (owned.streams is None)
            assert owned.streams in {None, limits["streams"]["capacity"]}

        def _look_at_changes(self, owned: Owned) -> None:
            page = self._get(owned, f"{AT}/audit-events?limit=1000").json()
            allowed = [each for each in page["events"] if each["outcome"] == "allowed"]
            assert [(each["action"], each["object"]) for each in reversed(allowed)] == owned.changes
            assert page["operator_id"] == owned.operator

        def _look_at_hosted(self, owned: Owned) -> None:
            here = [Where("host_dc_id", owned.dc_id), Where("status", "QUEUED")]
            placed = around.service.select("compute_workloads", where=here, order=OrderBy(("tenant", "job_id")))
            found = self._get(owned, "/api/v1/hosted-workloads?limit=1000").json()["workloads"]
            assert Counter((each["operator"], each["job_id"]) for each in found) == Counter(
                (each["operator"], each["job_id"]) for each in placed
            )

        def _look_at_dead(self, owned: Owned) -> None:
            found = self._get(owned, "/queue/dead/own").json()["notifications"]
            assert {each["job_id"] for each in found} == owned.dead

        def _look_at_letters(self, owned: Owned) -> None:
            found = self._get(owned, "/beckn/dead-letters/own?limit=1000").json()
            assert {each["message_id"]: each["last_error"] for each in found["outbox"]} == owned.letters
            assert found["inbox"] == []

        def _look_at_decisions(self, owned: Owned) -> None:
            found = self._get(owned, "/api/v1/decisions").json()["decisions"]
            assert {(each["operator"], each["job_id"]) for each in found} == {
                (owned.operator, job) for job in owned.decided
            }
            numbers = [each["sequence"] for each in found]
            assert numbers == list(range(len(found), 0, -1))

        def _look_at_pages(self, owned: Owned) -> None:
            others = [each.operator for each in self.owned.values() if each is not owned]
            pages = [self._get(owned, f"/dashboard/{page}").text for page in LISTS]
            for page, jobs_of_page in zip(pages, (owned.jobs, owned.decided), strict=False):
                assert set(re.findall(r"/dashboard/workloads/(job-\d)", page)) == jobs_of_page
            pages += [self._get(owned, f"/dashboard/workloads/{job}").text for job in sorted(owned.jobs)]
            for other in others:
                assert not any(other in page for page in pages)
            for job in {"job-1", "job-2", "job-3"} - owned.jobs:
                page = around.api.get(f"/dashboard/workloads/{job}", headers=owned.administrator)
                assert page.status_code == 404

        def teardown(self) -> None:
            for owned in getattr(self, "owned", {}).values():
                self._look_at_members(owned)
                self._look_at_changes(owned)
                self._look_at_hosted(owned)
                self._look_at_letters(owned)

    return Doings


@pytest.fixture
def around(database: Database, conninfo: str, tmp_path: Path) -> Iterator[Surroundings]:
    store_grid(database, NOW)
    store_data_centres(database, [data_centre(number) for number in range(1, len(TENANTS) + 1)])
    with (
        door_of(database, conninfo) as door,
        api_with_tenants(database, door) as api,
        running_gateway(database, gate=door, environ=with_tenants(), keys_dir=tmp_path) as gateway,
    ):
        yield Surroundings(database, conninfo, api, gateway)


def test_each_administrator_is_as_if_alone_whatever_the_others_do(around: Surroundings) -> None:
    # Through PostgREST a call takes ten times as long.
    examples = 12 if isinstance(around.service, PostgresDatabase) else 4
    doings = machine(around)

    def begun() -> RuleBasedStateMachine:
        # As in test_whatever_they_do: Hypothesis reads no source while the servers' threads may.
        return doings()

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        begun, settings=settings(max_examples=examples, stateful_step_count=25)
    )
