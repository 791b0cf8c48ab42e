"""What the owner of a workload may do with it after submitting it: take it back, or move it before it starts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, submit, workload
from served import Client

SLOT = half_hour_of(NOW)
LATER = SLOT + 4 * HALF_HOUR


def placed(database: Database, job_id: str, dc_id: str = "DC-001", *, kw: float = 6000, **facts: Any) -> None:
    """A workload that holds power for an hour from `LATER` on. Each data centre has 10 MW free."""
    submit(database, workload(job_id, **facts))
    booking = {
        "p_dc_id": dc_id,
        "p_tenant": "local",
        "p_job_id": job_id,
        "p_source": "decision",
        "p_starts_at": LATER,
        "p_ends_at": LATER + 2 * HALF_HOUR,
        "p_it_power_kw": kw,
        "p_carried_out_by": "simulation",
    }
    assert database.call("take_power", booking) is not None
    queued = {"status": "QUEUED", "host_dc_id": dc_id, "scheduled_start": LATER}
    database.update("compute_workloads", queued, where=[Where("job_id", job_id)])


def is_problem(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text[:500]
    document: dict[str, Any] = answer.json()
    assert document["detail"]
    return document


def states(database: Database) -> list[str]:
    return [row["state"] for row in database.select("capacity_bookings", order=OrderBy(("booking_id",)))]


def test_a_cancelled_workload_gives_its_power_back_and_a_repetition_is_answered_alike(
    api_through: Client, database: Database
) -> None:
    store_data_centres(database, [data_centre(1)])
    placed(database, "job-1")
    for _ in range(2):
        answer = api_through.post("/api/v1/workloads/job-1/cancel", {"reason": "wrong data"})
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["state"], document["workload"]["status"]) == ("cancelled", "CANCELLED")
        assert document["workload"]["status_reason"] == "Cancelled: wrong data"
    assert states(database) == ["RELEASED"]


def test_what_waits_for_a_decision_is_cancelled_without_a_reason(api: Client, postgres: PostgresDatabase) -> None:
    submit(postgres, workload("job-1"))
    assert api.post("/api/v1/workloads/job-1/cancel", {}).json()["workload"]["status"] == "CANCELLED"
    assert api.get("/api/v1/workloads/job-1").json()["status"] == "CANCELLED"


def test_what_has_ended_cannot_be_cancelled(api: Client, postgres: PostgresDatabase) -> None:
    postgres.insert("compute_workloads", [workload("job-1") | {"status": "COMPLETED"}])
    assert "COMPLETED" in is_problem(api.post("/api/v1/workloads/job-1/cancel", {}), 409)["detail"]
    moved = api.post("/api/v1/workloads/job-1/move", {"start": rfc3339(LATER)})
    assert "COMPLETED" in is_problem(moved, 409)["detail"]


@pytest.mark.parametrize("change", ["cancel", "move"])
def test_what_nobody_knows_is_not_found(api: Client, change: str) -> None:
    body: Row = {} if change == "cancel" else {"dc_id": "DC-001"}
    for job_id in ("job-404", "a%00b"):
        is_problem(api.post(f"/api/v1/workloads/{job_id}/{change}", body), 404)


@pytest.mark.parametrize(
    ("change", "body", "field"),
    [
        ("cancel", {"why": "x"}, "why"),
        ("cancel", {"reason": 7}, "reason"),
        ("cancel", {"reason": "x" * 501}, "reason"),
        ("move", {"dc_id": "DC 1"}, "dc_id"),
        ("move", {"start": "tomorrow"}, "start"),
        ("move", {"start": 1_800_000_000}, "start"),
        ("move", {"start": rfc3339(LATER), "end": rfc3339(LATER)}, "end"),
        ("move", {"start": rfc3339(NOW - timedelta(minutes=1))}, "start"),
        ("move", {"start": rfc3339(NOW + timedelta(days=8))}, "start"),
        ("move", {"dc_id": "DC-404"}, "dc_id"),
    ],
)
def test_a_wish_that_cannot_be_meant_is_told_the_field(
    api: Client, postgres: PostgresDatabase, change: str, body: Row, field: str
) -> None:
    store_data_centres(postgres, [data_centre(1)])
    placed(postgres, "job-1")
    problem = is_problem(api.post(f"/api/v1/workloads/job-1/{change}", body), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert states(postgres) == ["HELD"]


def test_a_move_that_says_nothing_is_told_what_it_may_say(api: Client) -> None:
    assert "dc_id" in is_problem(api.post("/api/v1/workloads/job-1/move", {}), 422)["detail"]


def test_a_workload_moves_in_place_and_time(api_through: Client, database: Database) -> None:
    store_data_centres(database, [data_centre(1), data_centre(2)])
    placed(database, "job-1")
    start = rfc3339(LATER + HALF_HOUR)
    answer = api_through.post("/api/v1/workloads/job-1/move", {"dc_id": "DC-002", "start": start})
    assert answer.status_code == 200, answer.text
    row = answer.json()["workload"]
    assert (row["host_dc_id"], row["scheduled_start"], row["status"]) == ("DC-002", start, "QUEUED")


def test_where_there_is_no_room_it_says_from_when_there_is(api: Client, postgres: PostgresDatabase) -> None:
    store_data_centres(postgres, [data_centre(1), data_centre(2), data_centre(3, total_capacity_mw=1)])
    placed(postgres, "job-1")
    placed(postgres, "job-2", "DC-002")
    problem = is_problem(api.post("/api/v1/workloads/job-1/move", {"dc_id": "DC-002"}), 409)
    assert problem["room_from"] == rfc3339(LATER + 2 * HALF_HOUR)
    assert problem["room_from"] in problem["detail"]
    assert is_problem(api.post("/api/v1/workloads/job-1/move", {"dc_id": "DC-003"}), 409)["room_from"] is None


def test_a_move_past_the_deadline_or_to_where_no_work_is_taken_is_refused(
    api: Client, postgres: PostgresDatabase
) -> None:
    store_data_centres(postgres, [data_centre(1), data_centre(2, status="MAINTENANCE")])
    placed(postgres, "job-1", deadline=LATER + 4 * HALF_HOUR)
    problem = is_problem(api.post("/api/v1/workloads/job-1/move", {"start": rfc3339(LATER + 3 * HALF_HOUR)}), 409)
    assert problem["latest_start"] == rfc3339(LATER + 2 * HALF_HOUR)
    elsewhere = is_problem(api.post("/api/v1/workloads/job-1/move", {"dc_id": "DC-002"}), 409)
    assert "takes no work" in elsewhere["detail"]


def test_what_was_bought_over_beckn_is_cancelled_and_moved_there(api: Client, postgres: PostgresDatabase) -> None:
    store_data_centres(postgres, [data_centre(1)])
    postgres.insert("compute_workloads", [workload("job-1") | {"status": "QUEUED"}])
    sold = {
        "bpp_id": "b",
        "bap_id": "a",
        "transaction_id": str(uuid4()),
        "quote_id": str(uuid4()),
        "dc_id": "DC-001",
        "item_id": "i",
        "starts_at": LATER,
        "ends_at": LATER + HALF_HOUR,
        "it_power_kw": 1,
        "price_gbp": 1,
        "terms": {},
        "buyer_operator": "local",
        "seller_operator": "local",
    }
    moments = {"scheduled_at": LATER, "created_at": NOW, "updated_at": NOW}
    postgres.insert("beckn_quotes", [{**sold, "expires_at": LATER}])
    order = {**sold, **moments, "order_id": str(uuid4()), "job_id": "job-1", "state": "SCHEDULED"}
    postgres.insert("beckn_orders", [order])
    for change, body in (("cancel", {}), ("move", {"dc_id": "DC-001"})):
        problem = is_problem(api.post(f"/api/v1/workloads/job-1/{change}", body), 409)
        assert "Beckn" in problem["detail"]
