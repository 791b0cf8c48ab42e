"""Workloads that find no place: how often they are asked about again, when at once, and when no longer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.publishing.store import PublishedDecisions
from decisions.work.notifications import DecisionRecord, PublishState, WorkQueue
from decisions.work.record import replay
from decisions.work.worker import DecisionWorkers
from grid.half_hours import HALF_HOUR
from grid_world import NOW, data_centre, store_data_centres, store_grid, store_world, submit, workload
from ingest.reconsidering import reconsider_deferred
from vocabulary import WorkloadStatus


def decide(database: Database) -> int:
    engine = DecisionWorkers(
        database,
        agent_id="gateway:test:5050",
        clock=lambda: NOW,
        carbon_price_gbp_per_t=100,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
    return engine.work_once()


def decisions(database: Database) -> list[Row]:
    return database.select("orchestration_decisions", order=OrderBy(("sequence",)))


def job(database: Database, job_id: str = "job-1") -> Row:
    (row,) = database.select("compute_workloads", where=[Where("job_id", job_id)], order=OrderBy(("job_id",)))
    return row


def store_impossible(database: Database, **limits: Any) -> None:
    """A workload that has been decided and that no data centre can take."""
    store_world(database)
    submit(database, workload("job-1", **({"carbon_cap_gco2": 1} | limits)))
    assert decide(database) == 1


def asked_at(database: Database, runs: int) -> list[int]:
    """The runs of the pipeline, one every half-hour from NOW, after which the workload was asked about."""
    asked = []
    for run in range(runs):
        if reconsider_deferred(database, NOW + run * HALF_HOUR).reconsidered:
            asked.append(run)
            assert decide(database) == 1
    return asked


def test_the_pauses_between_questions_double_from_half_an_hour_to_a_day(database: Database) -> None:
    store_impossible(database)
    assert asked_at(database, 200) == [0, 1, 3, 7, 15, 31, 63, 111, 159]


def test_an_answer_as_before_is_no_new_decision_and_no_event(database: Database) -> None:
    store_impossible(database)
    asked_at(database, 4)
    (decision,) = decisions(database)
    assert job(database)["status_reason"] == decision["output"]["decision"]["waiting"]["reason"]
    assert PublishedDecisions(database).events_after(0, 10).newest == 1
    notes = database.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert [(note["work_state"], note["last_error"]) for note in notes] == [
        ("completed", None),
        *[("completed", "unchanged: the newest decision still stands")] * 3,
    ]


def test_the_reason_of_a_waiting_workload_is_kept_up_to_date(postgres: PostgresDatabase) -> None:
    store_impossible(postgres)
    before = job(postgres)["status_reason"]
    store_grid(postgres, carbon_added=7)
    assert reconsider_deferred(postgres, NOW).reconsidered == ("job-1",)
    decide(postgres)
    assert job(postgres)["status_reason"] != before
    assert len(decisions(postgres)) == 1


def test_a_repeated_publication_of_an_unchanged_answer_says_so_again(postgres: PostgresDatabase) -> None:
    store_impossible(postgres)
    reconsider_deferred(postgres, NOW)
    queue = WorkQueue(postgres, "gateway-1", lease_seconds=60)
    (claim,) = queue.claim(1).claimed
    (stored,) = decisions(postgres)
    again = DecisionRecord(
        lease=claim.lease,
        context={"context_id": "another", "task": {"job_id": "job-1"}},
        output=stored["output"],
        chosen_dc_id=None,
        recommended_start=None,
        workload_status=WorkloadStatus.DEFERRED_CARBON,
        status_reason="As before.",
        scorer="deterministic",
        model=None,
        scorer_version=stored["scorer_version"],
        fallback_reason=None,
        reasoning="Because.",
        constraints_evaluated=list(reversed(stored["constraints_evaluated"])),
        alternatives_considered=[],
        token_usage=None,
    )
    states = [queue.publish({}, [again])[0] for _ in range(2)]
    assert [(result.state, result.sequence) for result in states] == [(PublishState.UNCHANGED, None)] * 2


def test_a_new_data_centre_is_asked_about_at_once(postgres: PostgresDatabase) -> None:
    store_impossible(postgres)
    assert asked_at(postgres, 5) == [0, 1, 3]
    store_data_centres(postgres, [data_centre(9)])
    assert reconsider_deferred(postgres, NOW + 5 * HALF_HOUR).reconsidered == ("job-1",)
    decide(postgres)
    assert len(decisions(postgres)) == 2  # another data centre, so another answer
    postgres.update("data_centres", {"status": "OFFLINE"}, where=[Where("dc_id", "DC-009")])
    assert reconsider_deferred(postgres, NOW + 6 * HALF_HOUR).reconsidered == ("job-1",)
    postgres.update("data_centres", {"current_load_percentage": 51}, where=[Where("dc_id", "DC-001")])
    assert reconsider_deferred(postgres, NOW + 7 * HALF_HOUR).reconsidered == ()


def test_an_easier_grid_than_any_before_is_asked_about_at_once(postgres: PostgresDatabase) -> None:
    store_grid(postgres, carbon_added=100)
    store_data_centres(postgres, [data_centre(1)])
    submit(postgres, workload("job-1", carbon_cap_gco2=50))
    decide(postgres)
    assert asked_at(postgres, 5) == [0, 1, 3]
    store_grid(postgres, carbon_added=110)
    assert reconsider_deferred(postgres, NOW + 5 * HALF_HOUR).reconsidered == ()
    store_grid(postgres, carbon_added=0)
    assert reconsider_deferred(postgres, NOW + 6 * HALF_HOUR).reconsidered == ("job-1",)
    decide(postgres)
    assert job(postgres)["status"] == "QUEUED"


def test_more_room_than_ever_is_asked_about_at_once(postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(1, current_load_percentage=100)])
    submit(postgres, workload("job-1"))
    decide(postgres)
    assert job(postgres)["status"] == "PENDING"
    assert asked_at(postgres, 5) == [0, 1, 3]
    postgres.update("data_centres", {"current_load_percentage": 10}, where=[Where("dc_id", "DC-001")])
    assert reconsider_deferred(postgres, NOW + 5 * HALF_HOUR).reconsidered == ("job-1",)
    decide(postgres)
    assert job(postgres)["status"] == "QUEUED"


def test_a_pause_that_a_wrong_clock_wrote_is_not_kept(postgres: PostgresDatabase) -> None:
    store_impossible(postgres)
    reconsider_deferred(postgres, NOW + timedelta(hours=50))
    decide(postgres)
    assert reconsider_deferred(postgres, NOW).reconsidered == ("job-1",)


def test_without_a_deadline_it_fails_after_a_week_and_says_so(database: Database) -> None:
    store_impossible(database)
    submit(database, workload("job-2", carbon_cap_gco2=1, deferral_window_mins=14 * 24 * 60))
    decide(database)
    assert reconsider_deferred(database, NOW).reconsidered == ("job-1", "job-2")
    assert decide(database) == 2
    before = reconsider_deferred(database, NOW + timedelta(days=7) - HALF_HOUR)
    assert before.failed == ()
    while decide(database):
        pass
    assert reconsider_deferred(database, NOW + timedelta(days=7)).failed == ("job-1",)
    stored = job(database)
    assert stored["status"] == "FAILED"
    assert stored["status_reason"].startswith("No data centre could take it in the 7 days that it may wait. At DC-")
    while decide(database):
        pass
    assert reconsider_deferred(database, NOW + timedelta(days=14)).failed == ("job-2",)
    assert "14 days" in job(database, "job-2")["status_reason"]


def test_decisions_of_a_half_hour_share_the_stored_grid_and_have_whole_contexts(database: Database) -> None:
    store_world(database)
    submit(database, *(workload(f"job-{number}") for number in range(5)))
    assert decide(database) == 5
    submit(database, workload("job-5"))
    assert decide(database) == 1
    (grid,) = database.select("decision_grids", order=OrderBy(("digest",)))
    assert "as_of" not in grid["grid"]
    stored = decisions(database)
    assert {row["grid_digest"] for row in stored} == {grid["digest"]}
    for row in stored:
        assert replay(row["context"], sequence=row["sequence"]).model_dump(mode="json") == row["output"]
    shown = PublishedDecisions(database).current_context("job-5").context
    assert shown is not None
    assert shown == stored[-1]["context"]
    assert shown["task"]["job_id"] == "job-5"


CHANGES = ("update decision_grids set grid = '{}'", "delete from decision_grids", "truncate decision_grids")


def test_a_stored_grid_cannot_be_changed(postgres: PostgresDatabase) -> None:
    store_impossible(postgres)
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        for change in (
            "update decision_grids set grid = '{}'",
            "delete from decision_grids",
            "truncate decision_grids",
        ):
            for role in ("origin", "replica"):
                connection.execute(f"set session_replication_role = {role}".encode())
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="decision_grids is an audit log"):
                    connection.execute(change.encode())
