"""One workload's life, from its submission to its account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from api.workload_life import life_of, read_life, read_told
from api.workloads import read_workload
from api_application import create_app
from booked_work import book
from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from linked_world import decision
from metered_runs import metered_run, run_now
from running_gateway import workers_on
from served import Client, served
from settings import load_settings
from tenant_settings import is_problem
from two_operators import A, B, as_tenant, claims, door_of, make_operators


@pytest.fixture
def api(postgres: PostgresDatabase) -> Iterator[Client]:
    store_world(postgres)
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


def steps(api: Client, job_id: str) -> list[dict[str, Any]]:
    answer = api.get(f"/api/v1/workloads/{job_id}/life")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["steps"]
    return found


def names(found: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(step["step"], step["is_done"]) for step in found]


def to_come(*kinds: str) -> list[tuple[str, bool]]:
    return [(kind, False) for kind in kinds]


def test_what_waits_for_a_decision_has_its_whole_life_before_it(api: Client, postgres: PostgresDatabase) -> None:
    submit(postgres, workload("job-1"))
    found = steps(api, "job-1")
    assert names(found) == [
        ("submitted", True),
        *to_come("decided", "held", "started", "ended", "metered", "accounted"),
    ]
    assert all(step["at"] is None for step in found[1:])


def test_a_decision_and_the_power_that_it_holds_are_told_with_what_is_to_come(
    api: Client, postgres: PostgresDatabase
) -> None:
    submit(postgres, workload("job-1", deferral_window_mins=600))
    workers_on(postgres).work_once()
    found = steps(api, "job-1")
    of_kind = {step["step"]: step for step in found}
    assert names(found)[:3] == [("submitted", True), ("decided", True), ("held", True)]
    assert names(found)[3:] == to_come("started", "ended", "metered", "accounted")
    assert of_kind["decided"]["reason"]
    assert of_kind["decided"]["event"] == 1
    assert of_kind["held"]["source"] == "decision"
    assert of_kind["held"]["it_power_kw"] > 0
    assert of_kind["held"]["starts_at"] == of_kind["started"]["at"] == of_kind["decided"]["starts_at"]
    assert of_kind["held"]["ends_at"] == of_kind["ended"]["at"]


def test_what_starts_at_once_is_told_after_the_decision_that_says_so(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("job-1", urgency="CRITICAL"))
    workers_on(postgres).work_once()
    told = read_told(postgres, "job-1")
    (one,), (booking,) = told.decisions, told.bookings
    at_once = one.decided_at - timedelta(milliseconds=100)  # the moment it was decided for
    of_run = booking.model_copy(update={"created_at": at_once, "started_at": at_once, "state": "RUNNING"})
    life = life_of(read_workload(postgres, "job-1"), replace(told, bookings=[of_run]))
    assert [step.step for step in life if step.is_done] == ["submitted", "decided", "held", "started"]


def test_a_run_that_is_over_is_told_to_its_account_beside_the_run_at_once(
    api: Client, postgres: PostgresDatabase
) -> None:
    metered_run(postgres, "ran-1", dc_id="DC-002", run_now=run_now(dc_id="DC-003"), created_at=NOW)
    found = steps(api, "ran-1")
    assert all(step["is_done"] for step in found)
    of_kind = {step["step"]: step for step in found}
    assert list(of_kind) == ["submitted", "held", "started", "ended", "metered", "accounted"]
    assert of_kind["metered"]["source"] == "simulated"
    assert of_kind["metered"]["energy_kwh"] == of_kind["accounted"]["energy_kwh"] > 0
    assert of_kind["accounted"]["carbon_gco2"] < of_kind["accounted"]["run_now_carbon_gco2"]
    assert of_kind["accounted"]["is_final"] is False


def test_what_was_moved_and_cancelled_is_told_by_the_log_of_events(api: Client, postgres: PostgresDatabase) -> None:
    book(postgres, "job-1", starts_at=NOW.replace(hour=12, minute=0, second=0))
    moved = {"start": "2026-11-22T14:00:00Z"}
    assert api.post("/api/v1/workloads/job-1/move", moved).status_code == 200
    assert api.post("/api/v1/workloads/job-1/cancel", {"reason": "a mistake"}).status_code == 200
    found = steps(api, "job-1")
    (change,) = [step for step in found if step["step"] == "changed"]
    assert (change["event_type"], change["event"], change["told_by"]) == ("workload.moved", 1, "event log")
    assert change["starts_at"].startswith("2026-11-22T14:00:00")
    (end,) = [step for step in found if step["step"] == "ended"]
    assert (end["event"], end["reason"]) == (2, "Cancelled: a mistake")
    (given_back,) = [step for step in found if step["step"] == "released"]
    assert given_back["reason"] == "a mistake"
    assert all(step["is_done"] for step in found)


def test_every_decision_is_told_and_not_the_newest_alone(api: Client, postgres: PostgresDatabase) -> None:
    submit(postgres, workload("job-1"))
    agent = {"agent_id": "AGENT-1", "name": "Gateway", "agent_type": "gateway"}
    postgres.insert("agents", [agent])
    postgres.insert("orchestration_decisions", [decision("job-1", 1, chosen_dc_id=None), decision("job-1", 2)])
    told = [step["dc_id"] for step in steps(api, "job-1") if step["step"] == "decided"]
    assert sorted(told, key=str) == ["DC-001", None]


def test_there_is_no_life_of_what_there_is_not(api: Client) -> None:
    is_problem(api.get("/api/v1/workloads/nothing/life"), 404)
    is_problem(api.get("/api/v1/workloads/nothing/life?x=1"), 422)


def test_an_operator_reads_the_life_of_its_own_run_and_nothing_of_anothers_of_that_name(
    database: Database, conninfo: str
) -> None:
    make_operators(database)
    store_world(database)
    for operator in (A, B):
        metered_run(database, "ran-1", run_now=run_now(), operator=operator)
    with door_of(database, conninfo) as door:
        of_a = as_tenant(door, claims(A))
        told = read_told(of_a, "ran-1")
        steps_of_a = read_life(of_a, read_workload(of_a, "ran-1")).steps
    own = [row for row in database.select("meter_readings", order=OrderBy(("reading_id",))) if row["tenant"] == A]
    assert {reading.reading_id for reading in told.readings} == {UUID(row["reading_id"]) for row in own}
    assert {"held", "metered", "accounted"} <= {step.step for step in steps_of_a if step.is_done}
    assert "booking_id" not in str(steps_of_a)
