"""The log of events by topic: who hears what, under which number, and what a pipeline run tells of the grid."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from database.interface import Database, OrderBy, Where
from database.tenant_door import TenantDatabase
from described_events import assert_as_described
from grid.half_hours import half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid
from tenants_work import decide_all, submission, submit
from two_operators import A, B, as_tenant, claims, door_of, make_operators

EVERY = ["agents", "data_centres", "decisions", "grid", "negotiations", "orders", "sources", "workloads"]


@pytest.fixture
def service(database: Database) -> Database:
    make_operators(database)
    store_grid(database, NOW)
    store_data_centres(database, [data_centre(1)], NOW)
    return database


@pytest.fixture
def door(service: Database, conninfo: str) -> Iterator[Database]:
    with door_of(service, conninfo) as door:
        yield door


@pytest.fixture
def of_a(door: Database) -> TenantDatabase:
    return as_tenant(door, claims(A))


def tell(service: Database, tenant: str | None, event_type: str, job_id: str | None = None, **document: Any) -> None:
    service.call(
        "log_event",
        {"p_tenant": tenant, "p_event_type": event_type, "p_job_id": job_id, "p_event": {"of": tenant, **document}},
    )


def events(reader: Any, after: int = 0, limit: int = 1000, **choice: Any) -> list[dict[str, Any]]:
    page = reader.call("events_after", {"p_after": after, "p_limit": limit, "p_topics": EVERY, **choice})
    found: list[dict[str, Any]] = page["events"]
    return found


def test_an_operator_counts_its_own_events_and_everybodys_without_a_gap(
    service: Database, door: Database, of_a: TenantDatabase
) -> None:
    chance = random.Random(7)
    told: list[tuple[str | None, int]] = []
    for n in range(40):
        tenant = chance.choice([A, A, B, None, None])
        tell(service, tenant, "grid.updated" if tenant is None else "order.confirmed", n=n)
        told.append((tenant, n))
    for operator in (A, B):
        reader = of_a if operator == A else as_tenant(door, claims(operator))
        heard = [n for tenant, n in told if tenant in {operator, None}]
        everything = events(reader)
        assert [event["event"]["n"] for event in everything] == heard
        assert [event["sequence"] for event in everything] == list(range(1, len(heard) + 1))
        for after, limit in itertools.product(range(len(heard) + 1), (1, 3, 50)):
            page = events(reader, after, limit)
            assert page == everything[after : after + limit]
        grid = [event for event in everything if event["topic"] == "grid"]
        for after in range(len(heard) + 1):
            assert events(reader, after, p_topics=["grid"]) == [each for each in grid if each["sequence"] > after]
        head = reader.call("events_after", {"p_after": 0, "p_limit": 0})
        assert (head["newest"], head["oldest"]) == (len(heard), 1)
    # What is left keeps its numbers when the beginning is pruned, and what comes goes on from there.
    before = events(of_a)
    service.delete("broadcast_log", where=[Where("sequence", 20, "lte")])
    left = events(of_a)
    assert left == before[len(before) - len(left) :]
    tell(service, None, "grid.updated")
    tell(service, A, "order.completed")
    assert [event["sequence"] for event in events(of_a, len(before))] == [len(before) + 1, len(before) + 2]


def test_decisions_count_on_from_everybodys_events(service: Database, of_a: TenantDatabase) -> None:
    tell(service, None, "grid.updated")
    submit(of_a, submission("one"))
    decide_all(service)
    tell(service, None, "source.stale")
    submit(of_a, submission("two"))
    decide_all(service)
    by_default = of_a.call("events_after", {"p_after": 0, "p_limit": 10})["events"]
    assert [(event["sequence"], event["job_id"]) for event in by_default] == [(2, "one"), (4, "two")]
    assert [event["event"]["_metadata"]["sequence"] for event in by_default] == [2, 4]
    assert [event["sequence"] for event in events(of_a)] == [1, 2, 3, 4]
    assert_as_described([event for event in events(service) if event["topic"] == "decisions"])


def test_without_topics_there_are_decisions_alone_and_topics_follow_from_types(service: Database) -> None:
    types = ["workload.running", "order.confirmed", "agent.state", "note"]
    for event_type in types:
        tell(service, A, event_type, "job-1")
    for event_type in ("grid.updated", "source.fresh", "data_centre.changed"):
        tell(service, None, event_type)
    topics = ["workloads", "orders", "agents", "decisions", "grid", "sources", "data_centres"]
    assert [event["topic"] for event in events(service)] == topics
    by_default = service.call("events_after", {"p_after": 0, "p_limit": 10})
    assert [event["event_type"] for event in by_default["events"]] == ["note"]
    assert [event["event_type"] for event in events(service, p_job_id="job-1")] == types
    assert events(service, p_job_id="job-2") == []


def test_a_summary_is_short_whatever_the_event_is(service: Database, of_a: TenantDatabase) -> None:
    tell(
        service,
        A,
        "workload.failed",
        "job-1",
        status="FAILED",
        reason="ä" * 4000,
        more={"a": 1},
        **{f"x{n}": n for n in range(200)},
    )
    submit(of_a, submission("one"))
    decide_all(service)
    for reader in (service, of_a):
        failed, decided = events(reader, p_detail="summary")
        assert failed["event"] == decided["event"] == {}
        assert failed["summary"]["status"] == "FAILED"
        assert decided["summary"]["job_id"] == "one"
        assert {"status", "decision_id", "scorer"} <= set(decided["summary"])
    rows = service.select("broadcast_log", order=OrderBy(("sequence",)))
    assert max(len(str(row["summary"]).encode()) for row in rows) <= 500


def finish_run(service: Database, half_hours: int, state: str = "succeeded", **sources: str) -> None:
    slot = half_hour_of(NOW) + half_hours * timedelta(minutes=30)
    claimed = service.call("claim_pipeline_slot", {"p_slot": slot, "p_owner": "me", "p_lease_seconds": 60})
    arguments: dict[str, Any] = {
        "p_slot": slot,
        "p_lease_token": claimed["lease_token"],
        "p_state": state,
        "p_sources": {name: {"state": told, "detail": "-", "rows": 0} for name, told in sources.items()},
        "p_counts": {"national": 96},
        "p_stages_ms": {},
    }
    assert service.call("finish_pipeline_run", arguments) == {"state": "finished"}


def test_a_finished_run_tells_everybody_of_the_grid_and_of_sources_that_went_and_came(
    service: Database, of_a: TenantDatabase
) -> None:
    finish_run(service, 0, carbon_intensity="fresh", neso="stale")
    assert events(of_a) == []  # there was nothing else before
    finish_run(service, 1, carbon_intensity="fresh", neso="failed", elexon="off")
    finish_run(service, 2, "partial", carbon_intensity="stale", neso="failed", elexon="fresh")
    finish_run(service, 3, "failed", carbon_intensity="fresh", neso="fresh")
    told = events(of_a)
    assert [(event["event_type"], event["subject"]) for event in told] == [
        ("grid.updated", told[0]["subject"]),
        ("source.stale", "carbon_intensity"),
        ("grid.updated", told[2]["subject"]),
        ("source.fresh", "carbon_intensity"),
        ("source.fresh", "neso"),
    ]
    assert told[0]["summary"]["state"] == "succeeded"
    assert told[0]["event"]["rows"] == {"national": 96}
    assert told == [{name: event[name] for name in told[0]} for event in events(service)]
    assert_as_described(told)


def test_a_changed_data_centre_is_everybodys_news_but_its_load_is_none(
    service: Database, of_a: TenantDatabase
) -> None:
    def change(**values: Any) -> None:
        service.update("data_centres", values, where=[Where("dc_id", "DC-001")])

    change(current_load_percentage=61)
    change(status="ACTIVE")
    assert events(service) == []
    change(status="MAINTENANCE", pue=1.4)
    (event,) = events(of_a)
    assert (event["event_type"], event["topic"], event["subject"]) == (
        "data_centre.changed",
        "data_centres",
        "DC-001",
    )
    assert_as_described([event])
    assert event["event"]["changed"] == ["pue", "status"]
    assert event["summary"]["status"] == "MAINTENANCE"
    assert event["event"] == events(service)[0]["event"]


def test_an_agent_is_told_of_when_it_decides_otherwise_and_not_when_it_goes_or_comes(service: Database) -> None:
    def record(state: str) -> None:
        service.call("record_agent_state", {"p_agent_id": "gateway:x:1", "p_state": state, "p_detail": None})

    def start() -> None:
        told = {"p_name": "x", "p_agent_type": "GATEWAY", "p_version": "1", "p_detail": "4 workers"}
        service.call("register_agent", {"p_agent_id": "gateway:x:1", **told})

    start()
    record("MODEL")  # what it begins with is no change
    record("DETERMINISTIC")
    record("DETERMINISTIC")
    record("STOPPED")
    start()
    start()  # killed meanwhile
    record("MODEL")
    told = [(event["event_type"], event["event"]["before"], event["event"]["state"]) for event in events(service)]
    assert told == [("agent.changed", "MODEL", "DETERMINISTIC")]
    assert_as_described(events(service))
    assert events(service)[0]["subject"] == "gateway:x:1"


def test_changes_of_data_centres_and_agents_at_once_wait_for_each_other_in_one_order(service: Database) -> None:
    """Whoever publishes takes the publishing lock before it counts: nobody may do it the other way round."""

    def stir(number: int) -> None:
        for turn in range(8):
            status = ("ACTIVE", "CONSTRAINED")[turn % 2]
            service.update("data_centres", {"status": status}, where=[Where("dc_id", "DC-001")])
            agent = {"p_agent_id": f"agent-{number}", "p_detail": None}
            if not turn:
                named = {"p_name": "x", "p_agent_type": "OTHER", "p_version": "1"}
                service.call("register_agent", {**agent, **named})
            service.call("record_agent_state", {**agent, "p_state": ("MODEL", "DETERMINISTIC")[turn % 2]})
            tell(service, "local", "order.confirmed")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(stir, range(4)))
    numbers = [event["sequence"] for event in events(service)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 4 * (8 + 7)
