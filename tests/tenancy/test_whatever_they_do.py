"""Three tenants in any order of doings, through both doors, against a model of who owns what.

They name their jobs, consumers and everything else alike. Each finds its own as if there were nobody else: numbers
from 1 without a gap, conflicts with nobody but itself; and who is no member any more finds nothing at all. What one
does to another's keys and service accounts is done to nothing; a key opens its own operator for as long as it and its
account last, and a stream that is open on it, or a WebSocket, brings that operator's decisions and ends when the key
does. What their administrators do besides: test_whatever_administrators_do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clock import utc_now
from database.errors import AccessRefused
from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from decisions.publishing.store import PublishedDecisions
from grid_world import NOW, store_world, workload
from running_gateway import RunningGateway, running_gateway, workers_on
from sse_reader import SseReader
from tenancy.identification import Identification, NoMember, NotIdentified
from tenancy.keys import Key, mint_key
from tenancy.records import AccessRecords
from tenancy.scopes import ROLE_SCOPES, Role
from tenant_settings import bearer, with_tenants
from two_operators import as_tenant, claims_of, door_of
from websocket_reader import WebSocketReader

pytestmark = pytest.mark.timeout(300)

TENANTS = ("x", "y", "z")
JOBS = ("job-1", "job-2", "job-3")
CONSUMERS = ("bpp", "other")
USER, KEEPER = "user", "keeper"
ROLES = ("admin", "member", "reader")
MOST_STREAMS = 3

_examples = itertools.count(1)

tenants = st.sampled_from(TENANTS)
jobs = st.sampled_from(JOBS)
consumers = st.sampled_from(CONSUMERS)
picks = st.integers(0, 9)


@dataclass
class Opener:
    """A key, and whose it is. It opens something while it and its account `lasts`."""

    owner: str
    account: str
    role: str
    key: Key
    lasts: bool = True
    streams: list[SseReader | WebSocketReader] = field(default_factory=list)


@dataclass
class Owned:
    """What one tenant has: `jobs` by their size, `decided` in the order of their numbers."""

    operator: str
    jobs: dict[str, int] = field(default_factory=dict)
    decided: list[str] = field(default_factory=list)
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: {each: set() for each in CONSUMERS})
    processed: dict[str, set[str]] = field(default_factory=lambda: {job: set() for job in JOBS})
    is_member: bool = True
    role: str = "member"


def machine(service: Database, door: Database, gateway: RunningGateway) -> type[RuleBasedStateMachine]:
    """Tenants at work on one database, which keeps what earlier examples left: of other operators, that is."""
    identification = Identification(AccessRecords(door), utc_now, platform_key=None, tokens=None, takes_keys=True)

    class Doings(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            example = next(_examples)
            self.owned = {name: Owned(f"op-{example}-{name}") for name in TENANTS}
            for owned in self.owned.values():
                operator = {"operator_id": owned.operator, "name": owned.operator}
                service.call("tenancy_set_operator", {"p_operator": operator})
                keeper = {"p_operator": owned.operator, "p_user_id": KEEPER, "p_role": "admin"}
                service.call("tenancy_set_member", keeper)  # so that the other may go
                self._set_role(owned, "admin")
            self.accounts: dict[str, str] = {}
            self.disabled: set[str] = set()
            self.openers: list[Opener] = []

        def _set_role(self, owned: Owned, role: str) -> None:
            # The same person everywhere: the operator that is asked for decides.
            member = {"p_operator": owned.operator, "p_user_id": USER, "p_role": role}
            assert service.call("tenancy_set_member", member) == {"state": "set"}
            owned.role, owned.is_member = role, True

        def _as(self, name: str) -> Database:
            return as_tenant(door, claims_of(USER, self.owned[name].operator))

        def _may(self, name: str, *, writes: bool) -> bool:
            owned = self.owned[name]
            return owned.is_member and (owned.role != "reader" or not writes)

        def _try(self, name: str, function: str, arguments: dict[str, Any], *, writes: bool) -> Any:
            """The answer, or None where the model says that there must be none."""
            return self._call_where(self._may(name, writes=writes), name, function, arguments)

        def _administer(self, name: str, function: str, arguments: dict[str, Any]) -> Any:
            """The same of what administrators do."""
            owned = self.owned[name]
            return self._call_where(owned.is_member and owned.role == "admin", name, function, arguments)

        def _call_where(self, may: bool, name: str, function: str, arguments: dict[str, Any]) -> Any:
            if may:
                return self._as(name).call(function, arguments)
            with pytest.raises(AccessRefused):
                self._as(name).call(function, arguments)
            return None

        @rule(name=tenants, job=jobs, size=st.integers(1, 2))
        def submit(self, name: str, job: str, size: int) -> None:
            owned = self.owned[name]
            row = workload(job, required_gpu_mins=size, submission_digest=str(size))
            answer = self._try(name, "submit_workloads", {"p_rows": [row]}, writes=True)
            if answer is None:
                return
            if owned.jobs.get(job, size) != size:
                assert answer["conflicts"] == [job]
                return
            assert answer["created"] == ([] if job in owned.jobs else [job])
            assert [(each["job_id"], each["operator"]) for each in answer["rows"]] == [(job, owned.operator)]
            owned.jobs[job] = size

        @rule(name=tenants, other=tenants)
        def submit_for(self, name: str, other: str) -> None:
            if name == other:
                return
            row = workload("for-others", operator=self.owned[other].operator)
            answer = self._try(name, "submit_workloads", {"p_rows": [row]}, writes=True)
            assert answer is None or answer.get("unknown_operators") == [self.owned[other].operator]

        @rule()
        def decide(self) -> None:
            workers = workers_on(service)
            while workers.work_once():
                pass
            for owned in self.owned.values():
                new = set(owned.jobs) - set(owned.decided)
                stored = service.call("events_after", {"p_after": 0, "p_limit": 100_000})["events"]
                own = [event for event in stored if event["operator"] == owned.operator]
                assert [event["tenant_sequence"] for event in own] == list(range(1, len(own) + 1))
                assert {event["job_id"] for event in own[len(owned.decided) :]} == new
                owned.decided = [event["job_id"] for event in own]
            self._hear()

        @rule(name=tenants, job=jobs, consumer=consumers)
        def acknowledge(self, name: str, job: str, consumer: str) -> None:
            owned = self.owned[name]
            arguments = {"p_consumer": consumer, "p_task_id": job, "p_sequence": None}
            answer = self._try(name, "acknowledge_output", arguments, writes=True)
            if answer is None:
                return
            known = job in owned.decided
            assert answer == {"known": known, "cleared": known and job not in owned.acknowledged[consumer]}
            if known:
                owned.acknowledged[consumer].add(job)

        @rule(name=tenants, job=jobs, consumer=consumers)
        def mark_processed(self, name: str, job: str, consumer: str) -> None:
            owned = self.owned[name]
            if job not in owned.decided and not self._may(name, writes=True):
                return  # there is nothing to mark, and nothing to refuse
            answer = self._try(
                name, "mark_context_processed", {"p_consumer": consumer, "p_task_id": job}, writes=True
            )
            if answer is not None:
                assert answer["task_id"] == (job if job in owned.decided else None)
                if job in owned.decided:
                    owned.processed[job].add(consumer)

        @rule(name=tenants, role=st.sampled_from(ROLES))
        def change_role(self, name: str, role: str) -> None:
            self._set_role(self.owned[name], role)

        @rule(name=tenants)
        def leave(self, name: str) -> None:
            answer = service.call(
                "tenancy_remove_member", {"p_operator": self.owned[name].operator, "p_user_id": USER}
            )
            assert answer["state"] == ("removed" if self.owned[name].is_member else "unknown")
            self.owned[name].is_member = False

        @rule(name=tenants, role=st.sampled_from(["member", "reader"]))
        def make_account(self, name: str, role: str) -> None:
            arguments = {"p_name": "agent", "p_role": role}
            answer = self._administer(name, "own_create_service_account", arguments)
            if answer is not None:
                assert answer["state"] == "created"
                self.accounts[answer["service_account_id"]] = name
                self._make_key(name, answer["service_account_id"], role)

        def _make_key(self, name: str, account: str, role: str) -> None:
            key = mint_key()
            answer = self._as(name).call("own_create_key", {"p_key": new_key(key, account)})
            assert (answer["state"], answer["key"]["operator_id"]) == ("created", self.owned[name].operator)
            self.openers.append(Opener(name, account, role, key))

        @rule(name=tenants, pick=picks)
        def make_key(self, name: str, pick: int) -> None:
            """Of one's own account, or of another's, which is no account then."""
            if not self.accounts:
                return
            account, owner = list(self.accounts.items())[pick % len(self.accounts)]
            key = mint_key()
            answer = self._administer(name, "own_create_key", {"p_key": new_key(key, account)})
            if answer is None:
                return
            of_account = [each for each in self.openers if each.account == account]
            is_there = owner == name and account not in self.disabled
            assert answer["state"] == ("created" if is_there else "unknown_account")
            if is_there:
                self.openers.append(Opener(name, account, of_account[0].role, key))

        @rule(name=tenants, pick=picks)
        def disable_account(self, name: str, pick: int) -> None:
            if not self.accounts:
                return
            account, owner = list(self.accounts.items())[pick % len(self.accounts)]
            answer = self._administer(name, "own_disable_service_account", {"p_service_account_id": account})
            if answer is None:
                return
            is_there = owner == name and account not in self.disabled
            assert answer["state"] == ("disabled" if is_there else "unknown")
            if is_there:
                self.disabled.add(account)
                self._end(each for each in self.openers if each.account == account)

        @rule(name=tenants, pick=picks)
        def revoke_key(self, name: str, pick: int) -> None:
            opener = self._picked(pick)
            if opener is None:
                return
            answer = self._administer(name, "own_revoke_key", {"p_key_id": opener.key.key_id})
            if answer is not None:
                own = "revoked" if opener.lasts else "already"
                assert answer["state"] == (own if opener.owner == name else "unknown")
                if opener.owner == name:
                    self._end([opener])

        @rule(name=tenants, pick=picks)
        def roll_key(self, name: str, pick: int) -> None:
            opener = self._picked(pick)
            if opener is None:
                return
            key = mint_key()
            rolled = {"p_key_id": opener.key.key_id, "p_key": {"key_id": key.key_id, "digest": key.digest.hex()}}
            answer = self._administer(name, "own_roll_key", rolled)
            if answer is not None:
                is_there = opener.owner == name and opener.lasts
                assert answer["state"] == ("rolled" if is_there else "unknown")
                if is_there:
                    self.openers.append(Opener(name, opener.account, opener.role, key))
                    self._end([opener])

        def _picked(self, pick: int) -> Opener | None:
            return self.openers[pick % len(self.openers)] if self.openers else None

        def _end(self, openers: Iterable[Opener]) -> None:
            for opener in openers:
                opener.lasts = False
                for stream in opener.streams:
                    stream.wait_until(lambda stream=stream: stream.ended)  # type: ignore[misc]

        @rule(name=tenants)
        def look_at_keys(self, name: str) -> None:
            keys = self._administer(name, "own_keys", {})
            accounts = self._administer(name, "own_service_accounts", {})
            if keys is None:
                return
            assert {each["key_id"]: each["usable"] for each in keys} == {
                each.key.key_id: each.lasts for each in self.openers if each.owner == name
            }
            assert {each["service_account_id"]: each["disabled_at"] is not None for each in accounts} == {
                account: account in self.disabled for account, owner in self.accounts.items() if owner == name
            }

        @rule(pick=picks, job=jobs)
        def use_key(self, pick: int, job: str) -> None:
            opener = self._picked(pick)
            if opener is None:
                return
            identification.forget()  # as servers do that hear of a change
            if not opener.lasts:
                with pytest.raises(NotIdentified):
                    identification.principal(opener.key.text, None)
                return
            owned = self.owned[opener.owner]
            principal = identification.principal(opener.key.text, None)
            assert (principal.operator, str(principal.role)) == (owned.operator, opener.role)
            for other in self.owned.values():
                if other is not owned:
                    with pytest.raises(NoMember):
                        identification.principal(opener.key.text, other.operator)
            holder = as_tenant(door, principal.claims())
            detail = holder.call("workload_detail", {"p_job_id": job})
            assert (detail is not None) == (job in owned.jobs)
            size = owned.jobs.get(job, 1)
            row = workload(job, required_gpu_mins=size, submission_digest=str(size))
            if opener.role == "reader":
                with pytest.raises(AccessRefused):
                    holder.call("submit_workloads", {"p_rows": [row]})
            else:
                holder.call("submit_workloads", {"p_rows": [row]})
                owned.jobs[job] = size

        @rule(pick=picks, by_websocket=st.booleans())
        def listen(self, pick: int, by_websocket: bool) -> None:
            opener = self._picked(pick)
            if opener is None or len(self.open_streams()) >= MOST_STREAMS:
                return
            port, headers = gateway.port, bearer(opener.key.text)
            path = "/beckn/broadcast?after=0"
            stream = WebSocketReader(port, headers) if by_websocket else SseReader(port, path=path, headers=headers)
            stream.__enter__()
            opener.streams.append(stream)
            if not opener.lasts:
                stream.wait_until(lambda: stream.ended)
                assert (stream.status, stream.events) == (401, [])
            self._hear()

        def open_streams(self) -> list[tuple[Opener, SseReader | WebSocketReader]]:
            return [(each, stream) for each in self.openers if each.lasts for stream in each.streams]

        def _hear(self) -> None:
            for opener, stream in self.open_streams():
                decided = self.owned[opener.owner].decided
                stream.wait_for(len(decided))
                assert [(event.id, event.data["task"]["job_id"]) for event in stream.events] == list(
                    enumerate(decided, 1)
                )

        def teardown(self) -> None:
            self._hear()
            for opener in self.openers:
                for stream in opener.streams:
                    stream.__exit__()
                    assert len(stream.events) <= len(self.owned[opener.owner].decided)

        @rule(name=tenants, job=jobs)
        def look_at(self, name: str, job: str) -> None:
            owned = self.owned[name]
            if not owned.is_member:
                with pytest.raises(AccessRefused):
                    self._as(name).call("workload_detail", {"p_job_id": job})
                return
            detail = self._as(name).call("workload_detail", {"p_job_id": job})
            if job not in owned.jobs:
                assert detail is None
            else:
                assert detail["workload"]["required_gpu_mins"] == owned.jobs[job]
                assert (detail["decision"] is not None) == (job in owned.decided)
            published = PublishedDecisions(self._as(name))
            output = published.output_of(job)
            number = owned.decided.index(job) + 1 if job in owned.decided else None
            assert output.sequence == number
            context = published.current_context(job)
            assert set(context.processed_by) == owned.processed[job]

        @invariant()
        def each_has_its_own_and_no_more(self) -> None:
            for name, owned in self.owned.items():
                tenant = self._as(name)
                if not owned.is_member:
                    with pytest.raises(AccessRefused):
                        tenant.call("workloads_page", {"p_status": None, "p_after": None, "p_limit": 10})
                    continue
                rows = tenant.select("compute_workloads", order=OrderBy(("job_id",)))
                assert {row["job_id"]: row["required_gpu_mins"] for row in rows} == owned.jobs
                assert {row["operator"] for row in rows} <= {owned.operator}
                published = PublishedDecisions(tenant)
                page = published.events_after(0, 100)
                assert [(event.sequence, event.job_id) for event in page.events] == list(enumerate(owned.decided, 1))
                assert (page.newest or 0) == len(owned.decided)
                numbers = list(range(len(owned.decided), 0, -1))
                assert [each["_metadata"]["sequence"] for each in published.history(100).outputs] == numbers
                for consumer in CONSUMERS:
                    waiting = [job for job in owned.decided if job not in owned.acknowledged[consumer]]
                    newest = published.newest_unacknowledged(consumer)
                    assert newest.sequence == (owned.decided.index(waiting[-1]) + 1 if waiting else None)

    return Doings


def new_key(key: Key, account: str) -> dict[str, Any]:
    scopes = sorted(map(str, ROLE_SCOPES[Role.MEMBER]))
    return {
        "key_id": key.key_id,
        "digest": key.digest.hex(),
        "name": "agent",
        "scopes": scopes,
        "service_account_id": account,
    }


@pytest.fixture
def door(database: Database, conninfo: str) -> Iterator[Database]:
    with door_of(database, conninfo) as door:
        yield door


@pytest.fixture
def gateway(database: Database, door: Database) -> Iterator[RunningGateway]:
    with running_gateway(
        database, gate=door, environ=with_tenants(), look_every_s=0.05, poll_seconds=0.05
    ) as running:
        yield running


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("postgrest", marks=pytest.mark.thorough)], indirect=True
)
def test_each_tenant_is_as_if_alone_whatever_the_others_do(
    database: Database, door: Database, gateway: RunningGateway
) -> None:
    store_world(database, NOW)
    # Through PostgREST a call takes ten times as long.
    examples = 20 if isinstance(database, PostgresDatabase) else 6
    doings = machine(database, door, gateway)

    def begun() -> RuleBasedStateMachine:
        # Hypothesis reads the source of what it is given, and of a class by `ast`, which some releases of CPython do
        # not let two threads do at a time: the gateway's may be about it, for a traceback.
        return doings()

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        begun, settings=settings(max_examples=examples, stateful_step_count=25)
    )
