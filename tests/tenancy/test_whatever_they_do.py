"""Three tenants in any order of doings, through both doors, against a model of who owns what.

They name their jobs, consumers and everything else alike. Each finds its own as if there were nobody else: numbers
from 1 without a gap, conflicts with nobody but itself; and who is no member any more finds nothing at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from database.errors import AccessRefused
from database.interface import Database, OrderBy
from decisions.publishing.store import PublishedDecisions
from grid_world import NOW, store_world, workload
from running_gateway import workers_on
from two_operators import as_tenant, claims_of, door_of

pytestmark = pytest.mark.timeout(300)

TENANTS = ("x", "y", "z")
JOBS = ("job-1", "job-2", "job-3")
CONSUMERS = ("bpp", "other")
USER = "user"

_examples = itertools.count(1)

tenants = st.sampled_from(TENANTS)
jobs = st.sampled_from(JOBS)
consumers = st.sampled_from(CONSUMERS)


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


def machine(service: Database, door: Database) -> type[RuleBasedStateMachine]:
    """Tenants at work on one database, which keeps what earlier examples left: of other operators, that is."""

    class Doings(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            example = next(_examples)
            self.owned = {name: Owned(f"op-{example}-{name}") for name in TENANTS}
            for owned in self.owned.values():
                operator = {"operator_id": owned.operator, "name": owned.operator}
                service.call("tenancy_set_operator", {"p_operator": operator})
                self._set_role(owned, "member")

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
            if self._may(name, writes=writes):
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

        @rule(name=tenants, role=st.sampled_from(["member", "reader"]))
        def change_role(self, name: str, role: str) -> None:
            self._set_role(self.owned[name], role)

        @rule(name=tenants)
        def leave(self, name: str) -> None:
            answer = service.call(
                "tenancy_remove_member", {"p_operator": self.owned[name].operator, "p_user_id": USER}
            )
            assert answer["state"] == ("removed" if self.owned[name].is_member else "unknown")
            self.owned[name].is_member = False

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


@pytest.fixture
def door(database: Database, conninfo: str) -> Iterator[Database]:
    with door_of(database, conninfo) as door:
        yield door


def test_each_tenant_is_as_if_alone_whatever_the_others_do(database: Database, door: Database) -> None:
    store_world(database, NOW)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(database, door), settings=settings(max_examples=20, stateful_step_count=25)
    )
