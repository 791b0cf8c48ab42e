from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from database.interface import Row
from decision_contexts import HALF_HOUR, NOON, a_context, capacity, centre, context_json, task
from decisions.publishing.output import Judgement, published_form
from decisions.scoring.decide import decide
from decisions.work.booking import booking_of, run_now_of
from decisions.work.decider import Decider
from decisions.work.known_grid import KnownGrid
from decisions.work.notifications import (
    Claim,
    ContextBatch,
    DecisionRecord,
    NotificationReason,
    WorkQueue,
)
from decisions.work.record import replay
from grid.half_hours import rfc3339

HOUR = timedelta(hours=1)
THREE = [centre("DC-003"), centre("DC-001"), centre("DC-002")]


def a_job(**facts: Any) -> dict[str, Any]:
    """5 kW for an hour."""
    return task(estimated_energy_kwh=5, **facts)


def run_now(**parts: Any) -> Row | None:
    return run_now_of(decide(a_context(**{"task": a_job(), "centres": THREE, **parts})))


def booked(judgements: dict[str, Judgement] | None = None, **parts: Any) -> Row | None:
    decision = decide(a_context(**{"task": a_job(), "centres": THREE, **parts}))
    return booking_of(decision, published_form(decision, generated_at=NOON, judgements=judgements).chosen)


def test_a_placed_workload_books_its_power_from_start_to_end() -> None:
    booking = booked(task=a_job(deferral_window_mins=60), price=[100, 100, 10, 10, 100, 100])
    assert booking is not None
    assert (booking["starts_at"], booking["ends_at"]) == (NOON + HOUR, NOON + 2 * HOUR)
    assert booking["it_power_kw"] == 5


def test_what_a_model_chose_is_what_is_booked() -> None:
    cheap_later = {"task": a_job(deferral_window_mins=60), "carbon": {13: [200] * 6, 14: [0] * 6}}
    centres = [centre("DC-001"), centre("DC-002", region_id=14, pue=1)]
    judged = {"DC-001": Judgement(90, "Near."), "DC-002": Judgement(10, "Far.")}
    decision = decide(a_context(**cheap_later, centres=centres))
    form = published_form(decision, generated_at=NOON, judgements=judged)
    answer = form.document["decision"]
    assert answer["dc_id"] == "DC-001" != answer["least_objective_dc_id"]
    booking = booking_of(decision, form.chosen)
    assert booking is not None
    assert rfc3339(booking["starts_at"]) == answer["start"]


def test_a_workload_without_a_place_books_nothing() -> None:
    assert booked(task=a_job(carbon_cap_gco2=1)) is None


def test_without_a_decision_a_workload_runs_at_once_at_its_home_whatever_the_room_there() -> None:
    as_of = NOON + timedelta(minutes=7)
    found = run_now(
        task=a_job(host_dc_id="DC-002", deferral_window_mins=120),
        as_of=as_of,
        capacity=capacity({"DC-001": [(0, 100)], "DC-002": [(0, 0)], "DC-003": [(0, 100)]}),
    )
    assert found == {
        "dc_id": "DC-002",
        "starts_at": as_of,
        "ends_at": as_of + HOUR,
        "it_power_kw": 5,
        "basis": "home",
    }


@pytest.mark.parametrize("host", [None, "DC-009"])
def test_without_a_home_it_runs_at_the_first_active_data_centre_that_has_room_now(host: str | None) -> None:
    centres = [*THREE, centre("DC-000", status="MAINTENANCE")]
    free = {"DC-000": [(0, 9.0)], "DC-001": [(0, 9.0), (1, 4.0)], "DC-002": [(0, 5.0)], "DC-003": [(0, 9.0)]}
    found = run_now(task=a_job(host_dc_id=host), centres=centres, capacity=capacity(free))
    assert found is not None
    assert (found["dc_id"], found["basis"]) == ("DC-002", "first_come")


def test_where_nobody_has_room_now_there_is_nothing_to_compare_with() -> None:
    free = {dc_id: [(0, 0.0), (1, 9.0)] for dc_id in ("DC-001", "DC-002", "DC-003")}
    later = {"task": a_job(deferral_window_mins=60), "capacity": capacity(free)}
    assert run_now(**later) is None
    booking = booked(**later)
    assert booking is not None
    assert booking["starts_at"] == NOON + HALF_HOUR


# A batch


class QueueOfOneBatch(WorkQueue):
    """Answers with one batch and asks no database."""

    def __init__(self, batch: ContextBatch) -> None:
        self._batch = batch

    def contexts(self, jobs: Any, now: datetime) -> ContextBatch:  # noqa: ARG002
        return self._batch


def decided(jobs: int, free: Row | None, **parts: Any) -> tuple[DecisionRecord, ...]:
    """Jobs of 5 kW, claimed together."""
    whole = context_json(
        task=a_job(), price=[100.0] * 8, carbon={13: [200.0] * 8}, centres=[centre("DC-001"), centre("DC-002")]
    )
    whole["national"]["current"] = {"timestamp": NOON.isoformat()}
    grid = {name: value for name, value in whole.items() if name not in {"task", "context_id"}}
    names = [f"job-{number}" for number in range(jobs)]
    tasks = [{"context_id": f"context of {name}", "task": a_job(**parts) | {"job_id": name}} for name in names]
    decider = Decider(
        QueueOfOneBatch(ContextBatch(KnownGrid(grid), tasks, free)), carbon_price_gbp_per_t=100, clock=lambda: NOON
    )
    claims = [
        Claim(
            notification_id=number,
            job_id=name,
            reason=NotificationReason.SUBMITTED,
            attempt=1,
            lease_token=1,
            created_at=NOON,
        )
        for number, name in enumerate(names)
    ]
    outcome = decider.decide(claims)
    assert outcome.undecided == ()
    for record in outcome.records:
        assert replay({**outcome.grid, **record.context}).model_dump(mode="json") == record.output
    return outcome.records


def test_decisions_of_one_batch_see_each_other_and_each_is_stored_with_what_it_saw() -> None:
    free = capacity({"DC-001": [(0, 5.0)], "DC-002": [(0, 10.0)]}, half_hours=8)
    records = decided(4, free, deferral_window_mins=60)
    places = [(record.chosen_dc_id, record.recommended_start) for record in records]
    assert places == [("DC-001", NOON), ("DC-002", NOON), ("DC-002", NOON), ("DC-001", NOON + HOUR)]
    assert [record.context["capacity"]["free_it_kw"]["DC-001"] for record in records] == [
        ((0, 5.0),),
        ((0, 0.0), (2, 5.0)),
        ((0, 0.0), (2, 5.0)),
        ((0, 0.0), (2, 5.0)),
    ]


def test_each_is_stored_with_the_prices_of_capacity_that_were_known_and_says_what_it_displaces() -> None:
    prices = {
        "planned_at": NOON.isoformat(),
        "workloads": 9,
        "left_out": 1,
        "method": "search",
        "start": NOON.isoformat(),
        "half_hours": 8,
        "gbp_per_kw": {"DC-001": [(0, 0.0), (1, 0.02)]},
    }
    free = {**capacity({"DC-001": [(0, 5.0)], "DC-002": [(0, 5.0)]}, half_hours=8), "prices": prices}
    first, second = decided(2, free)
    assert [first.output["data_centre_options"][0]["displaced_gbp"], first.chosen_dc_id] == [0.1, "DC-001"]
    assert [second.output["data_centre_options"][0]["displaced_gbp"], second.chosen_dc_id] == [0, "DC-002"]
    assert second.context["capacity"]["prices"]["gbp_per_kw"] == {"DC-001": ((0, 0.0), (1, 0.02))}
    assert first.output["decision"]["capacity_prices"] == {
        "source": "joint_plan",
        "planned_at": "2026-11-22T12:00:00Z",
        "workloads": 9,
        "left_out": 1,
        "method": "search",
    }


def test_what_finds_no_room_left_by_the_others_waits() -> None:
    free = capacity({"DC-001": [(0, 5.0)], "DC-002": [(0, 4.0)]}, half_hours=8)
    records = decided(2, free)
    assert [record.chosen_dc_id for record in records] == ["DC-001", None]
    assert records[1].booking is None
    (violation,) = records[1].output["data_centre_options"][0]["constraint_violations"]
    assert violation["room_from"] == "2026-11-22T13:00:00Z"


def test_a_database_that_tells_of_no_capacity_has_the_present_load_decide() -> None:
    records = decided(3, None)
    assert [record.chosen_dc_id for record in records] == ["DC-001"] * 3
    assert all("capacity" not in record.context for record in records)
