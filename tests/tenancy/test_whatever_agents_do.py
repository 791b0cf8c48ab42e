"""Three tenants' agents in any order of doings, over HTTP, against a model of what each should find.

What they do beside workloads: keys, events of flexibility, negotiations, runners and programs of OpenADR. They name
everything alike. Each finds its own, and an id of another's is one that there is not, whatever is done with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from clock import utc_now
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of, rfc3339
from grid_world import data_centre, store_data_centres, store_grid
from openadr.endpoints.parameters import ROOT as OPENADR
from served import Client
from tenancy.scopes import Role
from tenant_settings import api_with_tenants, bearer, is_problem, made_key
from two_operators import door_of

pytestmark = pytest.mark.timeout(300)

TENANTS = ("x", "y", "z")
PLACES = {"x": "DC-001", "y": "DC-002", "z": "DC-003"}
"""The data centre of each."""

KEYS, EVENTS, NEGOTIATIONS, RUNNERS, WORKLOADS = (
    f"/api/v1/{place}" for place in ("tenancy/keys", "flexibility/events", "negotiations", "runners", "workloads")
)
JOB = {"job_id": "j", "energy_mwh": 1, "max_power_mw": 2}
HALLS = [
    {"kind": "compute", "agent": name, "endowment_mw": 1.5, "cost_gbp_per_mwh": [80, 120], "jobs": [JOB]}
    for name in ("a", "b")
]
SAYING = {"message_id": "m", "performative": "refuse"}
NEVER = str(uuid4())

_examples = itertools.count(1)

tenants = st.sampled_from(TENANTS)
numbers = st.integers(0, 2)


@dataclass
class Owned:
    """What one tenant should find, each thing by the number in its name."""

    operator: str
    place: str
    headers: dict[str, str]
    administrator: dict[str, str]
    keys: dict[str, bool]
    events: dict[int, tuple[str, str]] = field(default_factory=dict)
    negotiations: dict[int, tuple[str, str]] = field(default_factory=dict)
    programs: dict[int, str] = field(default_factory=dict)
    runners: set[str] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)


class Asks(Protocol):
    """A request with an id in it."""

    def __call__(self, object_id: str) -> Any: ...


def machine(service: Database, api: Client) -> type[RuleBasedStateMachine]:
    """Agents at work on one database, which keeps what earlier examples left: of other operators, that is."""

    class Doings(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            example = next(_examples)
            self.ahead = half_hour_of(utc_now()) + timedelta(hours=12)
            self.owned = {name: self._grown(f"op-{example}-{name}", PLACES[name]) for name in TENANTS}

        def _grown(self, operator: str, place: str) -> Owned:
            service.call("tenancy_set_operator", {"p_operator": {"operator_id": operator}})
            service.update("data_centres", {"operator": operator}, where=[Where("dc_id", place)])
            admin, member = (made_key(service, operator, role)[0] for role in (Role.ADMIN, Role.MEMBER))
            known = {admin.key_id: True, member.key_id: True}
            return Owned(operator, place, bearer(member.text), bearer(admin.text), known)

        def _not_there(self, asks: Asks, object_id: str) -> None:
            """Another's is answered as what there is not, but for its id."""
            theirs, nobodys = asks(object_id), asks(NEVER)
            is_problem(theirs, 404)
            assert theirs.text.replace(object_id, NEVER) == nobodys.text

        @rule(name=tenants, number=numbers)
        def announce(self, name: str, number: int) -> None:
            owned = self.owned[name]
            event_id, state = owned.events.get(number, (None, "ANNOUNCED"))
            if state == "CANCELLED":
                return
            starts_at = rfc3339(self.ahead + timedelta(hours=number))
            event = {"name": f"event-{number}", "programme": "DFS", "starts_at": starts_at}
            prices = {"need_mw": [1, 1], "price_gbp_per_mwh": [200, 200]}
            answer = api.post(EVENTS, event | prices, headers=owned.headers)
            assert answer.status_code == (201 if event_id is None else 200), answer.text
            assert event_id in {None, answer.json()["event_id"]}
            owned.events[number] = answer.json()["event_id"], answer.json()["state"]

        @rule(name=tenants, of=tenants, number=numbers)
        def cancel_event(self, name: str, of: str, number: int) -> None:
            if number not in self.owned[of].events:
                return
            owned, (event_id, _) = self.owned[name], self.owned[of].events[number]

            def cancel(object_id: str) -> Any:
                return api.post(f"{EVENTS}/{object_id}/cancel", {}, headers=owned.headers)

            if name != of:
                self._not_there(cancel, event_id)
                return
            answer = cancel(event_id)
            assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
            owned.events[number] = event_id, "CANCELLED"

        @rule(name=tenants, number=numbers)
        def open_negotiation(self, name: str, number: int) -> None:
            owned = self.owned[name]
            negotiation_id, state = owned.negotiations.get(number, (None, "OPEN"))
            if state == "CANCELLED":
                return
            starts_at = rfc3339(self.ahead + timedelta(hours=number))
            wanted = {"name": f"about-{number}", "starts_at": starts_at, "half_hours": 2, "agents": HALLS}
            answer = api.post(NEGOTIATIONS, wanted, headers=owned.headers)
            assert answer.status_code == (201 if negotiation_id is None else 200), answer.text
            assert negotiation_id in {None, answer.json()["negotiation_id"]}
            owned.negotiations[number] = answer.json()["negotiation_id"], answer.json()["state"]

        @rule(name=tenants, of=tenants, number=numbers)
        def cancel_negotiation(self, name: str, of: str, number: int) -> None:
            if number not in self.owned[of].negotiations:
                return
            owned, (negotiation_id, _) = self.owned[name], self.owned[of].negotiations[number]

            def cancel(object_id: str) -> Any:
                return api.post(f"{NEGOTIATIONS}/{object_id}/cancel", {}, headers=owned.headers)

            def say(object_id: str) -> Any:
                return api.post(f"{NEGOTIATIONS}/{object_id}/agents/a/messages", SAYING, headers=owned.headers)

            if name != of:
                self._not_there(cancel, negotiation_id)
                self._not_there(say, negotiation_id)
                return
            answer = cancel(negotiation_id)
            assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED"), answer.text
            owned.negotiations[number] = negotiation_id, "CANCELLED"

        @rule(name=tenants, of=tenants, number=numbers)
        def register_runner(self, name: str, of: str, number: int) -> None:
            owned = self.owned[name]
            asking = {
                "runner_id": f"runner-{number}",
                "dc_id": PLACES[of],
                "capacity_kw": 1,
                "templates": {"t": {"power_kw": 1, "longest_s": 1, "parameters": {}}},
                "take_over": True,
            }
            answer = api.post(RUNNERS, asking, headers=owned.headers)
            if name != of:
                is_problem(answer, 422)
                return
            assert answer.status_code == 200, answer.text
            owned.runners.add(f"runner-{number}")

        @rule(name=tenants, number=numbers)
        def take(self, name: str, number: int) -> None:
            """By a runner's name, which others have too, and a session that nobody has."""
            asking = {"session": NEVER, "templates": ["t"], "holding": [], "wait_s": 0}
            answer = api.post(f"{RUNNERS}/runner-{number}/take", asking, headers=self.owned[name].headers)
            is_problem(answer, 409 if f"runner-{number}" in self.owned[name].runners else 404)

        @rule(name=tenants, number=numbers)
        def make_program(self, name: str, number: int) -> None:
            owned = self.owned[name]
            program = {"programName": f"program-{number}"}
            answer = api.post(f"{OPENADR}/programs", program, headers=owned.headers)
            if number in owned.programs:
                is_problem(answer, 409)
                return
            assert answer.status_code == 201, answer.text
            owned.programs[number] = answer.json()["id"]

        @rule(name=tenants, of=tenants, number=numbers)
        def delete_program(self, name: str, of: str, number: int) -> None:
            if number not in self.owned[of].programs:
                return
            owned, program_id = self.owned[name], self.owned[of].programs[number]

            def delete(object_id: str) -> Any:
                return api.request("DELETE", f"{OPENADR}/programs/{object_id}", headers=owned.headers)

            if name != of:
                self._not_there(delete, program_id)
                return
            assert delete(program_id).status_code == 200
            del owned.programs[number]

        @rule(name=tenants, number=numbers)
        def submit(self, name: str, number: int) -> None:
            owned, job = self.owned[name], f"job-{number}"
            document = {"job_id": job, "workload_type": "OTHER", "required_gpu_mins": 60}
            answer = api.post(WORKLOADS, document, headers=owned.headers)
            assert answer.status_code == (200 if job in owned.jobs else 201), answer.text
            owned.jobs.setdefault(job, "PENDING")

        @rule(name=tenants, number=numbers)
        def cancel_job(self, name: str, number: int) -> None:
            """By a name that others have too."""
            owned, job = self.owned[name], f"job-{number}"
            answer = api.post(f"{WORKLOADS}/{job}/cancel", {"reason": "x"}, headers=owned.headers)
            if job not in owned.jobs:
                is_problem(answer, 404)
                return
            assert answer.status_code == 200, answer.text
            owned.jobs[job] = "CANCELLED"

        @rule(name=tenants)
        def make_key(self, name: str) -> None:
            owned = self.owned[name]
            is_problem(api.post(KEYS, {"name": "another"}, headers=owned.headers), 403)
            answer = api.post(KEYS, {"name": "another", "role": "reader"}, headers=owned.administrator)
            assert answer.status_code == 201, answer.text
            owned.keys[answer.json()["entry"]["key_id"]] = True

        @rule(name=tenants, of=tenants, pick=st.integers(0, 9), deed=st.sampled_from(["roll", "revoke"]))
        def end_key(self, name: str, of: str, pick: int, deed: str) -> None:
            made = list(self.owned[of].keys)[2:]
            if not made:
                return
            owned, key_id = self.owned[name], made[pick % len(made)]

            def end(object_id: str) -> Any:
                return api.post(f"{KEYS}/{object_id}/{deed}", {}, headers=owned.administrator)

            if name != of:
                is_problem(end(key_id), 404)
                return
            answer = end(key_id)
            if deed == "roll" and not owned.keys[key_id]:
                is_problem(answer, 404)
                return
            assert answer.status_code in {200, 201}, answer.text
            owned.keys[key_id] = False
            if deed == "roll":
                owned.keys[answer.json()["entry"]["key_id"]] = True

        @rule(name=tenants)
        def look(self, name: str) -> None:
            self._look(self.owned[name])

        def _look(self, owned: Owned) -> None:
            def listed(path: str, of: str, *named: str) -> set[tuple[str, ...]]:
                answer = api.get(path, headers=owned.headers)
                assert answer.status_code == 200, answer.text
                return {tuple(each[field] for field in named) for each in answer.json()[of]}

            assert listed(EVENTS, "events", "event_id", "state") == set(owned.events.values())
            assert listed(NEGOTIATIONS, "negotiations", "negotiation_id", "state") == set(owned.negotiations.values())
            assert listed(RUNNERS, "runners", "runner_id", "dc_id") == {(each, owned.place) for each in owned.runners}
            assert listed(WORKLOADS, "workloads", "job_id", "status", "operator") == {
                (job, status, owned.operator) for job, status in owned.jobs.items()
            }
            programs = api.get(f"{OPENADR}/programs", headers=owned.headers).json()
            assert {each["id"] for each in programs} == set(owned.programs.values())
            keys = api.get(KEYS, headers=owned.administrator).json()["keys"]
            assert {each["key_id"]: each["usable"] for each in keys} == owned.keys
            for other in self.owned.values():
                if other is not owned:
                    self._others_are_not_there(owned, other)

        def _others_are_not_there(self, owned: Owned, other: Owned) -> None:
            def get(path: str) -> Asks:
                return lambda object_id: api.get(f"{path}/{object_id}", headers=owned.headers)

            for path, ids in (
                (EVENTS, [event_id for event_id, _ in other.events.values()]),
                (NEGOTIATIONS, [negotiation_id for negotiation_id, _ in other.negotiations.values()]),
                (f"{OPENADR}/programs", list(other.programs.values())),
            ):
                for object_id in ids[:1]:
                    self._not_there(get(path), object_id)

        def teardown(self) -> None:
            for owned in getattr(self, "owned", {}).values():
                self._look(owned)

    return Doings


@pytest.fixture
def api(database: Database, conninfo: str) -> Iterator[Client]:
    now = utc_now()
    store_grid(database, now)
    store_data_centres(database, [data_centre(number) for number in range(1, len(TENANTS) + 1)], now)
    with door_of(database, conninfo) as door, api_with_tenants(database, door) as client:
        yield client


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("postgrest", marks=pytest.mark.thorough)], indirect=True
)
def test_each_tenant_s_agents_are_as_if_alone_whatever_the_others_do(database: Database, api: Client) -> None:
    examples = 8 if isinstance(database, PostgresDatabase) else 3
    doings = machine(database, api)

    def begun() -> RuleBasedStateMachine:
        # As in test_whatever_they_do: Hypothesis reads no source while the server's threads may.
        return doings()

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        begun, settings=settings(max_examples=examples, stateful_step_count=25)
    )
