"""Booked workloads are run: started at their time, ended, deferred or given up, each step once whoever takes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from booked_work import HOUR, ONE_GPU_KW, book, the_booking, the_load, the_workload
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.work.worker import DecisionWorkers
from described_events import assert_as_described
from execution.bookings import BookedRun, BookedRuns, executor_of_bookings
from execution.executor import Executor
from execution.work import Begin, GiveUp, Stored
from grid.half_hours import HALF_HOUR, UTC, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from ingest.reconsidering import reconsider_deferred, settle_unbooked

EIGHT = datetime(2026, 11, 22, 8, tzinfo=UTC)


def an_executor(database: Database, worker: str = "one") -> Executor[BookedRun]:
    return executor_of_bookings(database, worker=worker, carbon_price_gbp_per_t=100, clock=lambda: NOW)


def store_place(database: Database, **facts: Any) -> None:
    """48 hours of grid, and one data centre of 20 MW, half full, in region 1."""
    store_grid(database)
    store_data_centres(database, [data_centre(1, **facts)])


@pytest.fixture
def place(database: Database) -> Database:
    store_place(database)
    return database


def set_stress(database: Database, *half_hours: datetime) -> None:
    for slot in half_hours:
        database.update("grid_signals", {"grid_stress_score": 0.97}, where=[Where("timestamp", slot)])


def claim(database: Database, now: datetime = NOW, *, lease_seconds: float = 10) -> BookedRun:
    (run,) = BookedRuns(database).claim_due("slow", now, lease_seconds=lease_seconds, limit=1).claimed
    return run


def fault(run: BookedRun) -> Row:
    return {
        "p_booking_id": run.booking_id,
        "p_lease_token": run.lease_token,
        "p_error": "a fault",
        "p_now": NOW,
        "p_retry_seconds": 1,
    }


def decide(database: Database) -> int:
    gateway = DecisionWorkers(
        database,
        agent_id="gateway:test:5050",
        clock=lambda: NOW,
        carbon_price_gbp_per_t=100,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
    return gateway.work_once()


def test_a_booked_workload_runs_from_its_start_to_its_end_and_has_its_actuals(place: Database) -> None:
    book(place, "job-1", starts_at=EIGHT + HALF_HOUR)
    executor = an_executor(place)
    waits = executor.run_due(NOW)
    assert waits.taken == 0
    assert waits.next_due_s == pytest.approx((EIGHT + HALF_HOUR - NOW).total_seconds())
    assert executor.run_due(EIGHT + HALF_HOUR).taken == 1
    begun = the_workload(place, "job-1")
    assert (begun["status"], begun["status_reason"]) == ("RUNNING", "Runs at DC-001, simulated.")
    assert begun["actual_start"] == (EIGHT + HALF_HOUR).isoformat()
    assert executor.run_due(EIGHT + HALF_HOUR + HOUR - timedelta(seconds=1)).taken == 0
    assert executor.run_due(EIGHT + HALF_HOUR + HOUR).taken == 1
    done, booking = the_workload(place, "job-1"), the_booking(place, "job-1")
    assert (done["status"], done["status_reason"]) == ("COMPLETED", "Ran at DC-001, simulated.")
    assert (booking["state"], booking["work_state"], booking["lease_token"]) == ("ENDED", "completed", None)
    # 0.96 kW x 1.2 for half an hour at 11 g/kWh and half an hour at 12 g/kWh, all at £80/MWh.
    assert done["actual_energy_kwh"] == pytest.approx(1.152)
    assert done["actual_carbon_gco2"] == pytest.approx(0.576 * 11 + 0.576 * 12)
    assert done["actual_cost_gbp"] == pytest.approx(1.152 * 0.08)
    assert (done["actual_start"], done["actual_end"]) == (
        (EIGHT + HALF_HOUR).isoformat(),
        (EIGHT + 3 * HALF_HOUR).isoformat(),
    )
    assert executor.run_due(NOW + 48 * HOUR).taken == 0


def test_the_log_says_in_a_line_what_became_of_a_workload(place: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="execution")
    book(place, "job-1")
    book(place, "job-2", deadline=NOW + HOUR, starts_at=NOW + HALF_HOUR)
    set_stress(place, EIGHT)
    executor = an_executor(place)
    for moment in (NOW, EIGHT + HALF_HOUR, EIGHT + 4 * HALF_HOUR):
        executor.run_due(moment)
    assert caplog.messages == [
        "job job-1: deferred at DC-001 to 2026-11-22T08:30:00Z: The grid would be under stress while it runs.",
        "job job-1: started at DC-001, simulated, until 2026-11-22T09:30:00Z",
        "job job-2: given up at DC-001: It was not started in time to end by its deadline.",
        "job job-1: completed at DC-001, simulated, with 1.152 kWh",
    ]


def test_every_step_is_an_event_of_its_tenant_in_the_log(place: Database) -> None:
    book(place, "job-1", starts_at=EIGHT + HALF_HOUR)
    book(place, "job-2", deadline=NOW + HOUR)
    set_stress(place, EIGHT + HALF_HOUR)
    executor = an_executor(place)
    for moment in (EIGHT + HALF_HOUR, EIGHT + 2 * HALF_HOUR, EIGHT + 4 * HALF_HOUR):
        executor.run_due(moment)
    events = place.select("broadcast_log", order=OrderBy(("sequence",)))
    assert_as_described(events)
    assert [(each["sequence"], each["tenant_sequence"], each["event_type"], each["job_id"]) for each in events] == [
        (1, 1, "workload.expired", "job-2"),
        (2, 2, "workload.deferred", "job-1"),
        (3, 3, "workload.started", "job-1"),
        (4, 4, "workload.completed", "job-1"),
    ]
    assert events[-1]["event"]["actual_energy_kwh"] == pytest.approx(1.152)
    assert events[0]["event"]["status"] == "FAILED"


def test_a_data_centres_load_is_its_base_load_and_what_runs(place: Database) -> None:
    book(place, "job-1", it_power_kw=2000)
    executor = an_executor(place)
    assert the_load(place) == (None, 50)
    executor.run_due(NOW)
    assert the_load(place) == (50, 60)
    place.update("data_centres", {"current_load_percentage": 30}, where=[Where("dc_id", "DC-001")])
    assert the_load(place) == (30, 40)
    place.update("data_centres", {"total_capacity_mw": 40}, where=[Where("dc_id", "DC-001")])
    assert the_load(place) == (30, 35)
    place.update("data_centres", {"base_load_percentage": 99}, where=[Where("dc_id", "DC-001")])
    assert the_load(place) == (99, 100)
    executor.run_due(NOW + HOUR)
    assert the_load(place) == (99, 99)


def test_what_runs_changes_nothing_of_the_grid_that_decisions_are_made_on(place: Database) -> None:
    def grid() -> Any:
        return place.call("grid_context", {"p_now": NOW})["data_centres"]

    before = grid()
    book(place, "job-1", it_power_kw=2000)
    an_executor(place).run_due(NOW)
    assert grid() == before


def test_grid_stress_defers_to_a_time_without_and_moves_the_power(place: Database) -> None:
    book(place, "job-1")
    set_stress(place, EIGHT, EIGHT + HALF_HOUR, EIGHT + 2 * HALF_HOUR)
    executor = an_executor(place)
    executor.run_due(NOW)
    deferred, booking = the_workload(place, "job-1"), the_booking(place, "job-1")
    start = EIGHT + 3 * HALF_HOUR
    assert deferred["status"] == "DEFERRED_GRID_STRESS"
    reason = "The grid would be under stress while it runs. It starts at 2026-11-22T09:30:00Z."
    assert deferred["status_reason"] == reason
    assert (deferred["scheduled_start"], booking["starts_at"]) == (start.isoformat(), start.isoformat())
    held = {row["half_hour"]: row["held_kw"] for row in place.select("held_power", order=OrderBy(("half_hour",)))}
    assert {slot for slot, kw in held.items() if float(kw)} == {start.isoformat(), (start + HALF_HOUR).isoformat()}
    assert not reconsider_deferred(place, NOW).reconsidered  # it has its place
    executor.run_due(start)
    assert the_workload(place, "job-1")["status"] == "RUNNING"


def test_it_is_deferred_only_to_where_there_is_power(database: Database) -> None:
    store_place(database, total_capacity_mw=0.004)  # 2 kW of them free
    book(database, "job-1")
    for number in range(2):
        book(database, f"other-{number}", starts_at=EIGHT + 3 * HALF_HOUR, it_power_kw=0.9)
    set_stress(database, EIGHT, EIGHT + HALF_HOUR, EIGHT + 2 * HALF_HOUR)
    an_executor(database).run_due(NOW)
    assert the_booking(database, "job-1")["starts_at"] == (EIGHT + 5 * HALF_HOUR).isoformat()


@pytest.mark.parametrize(
    "facts", [{"deferral_window_mins": 0}, {"urgency": "CRITICAL"}], ids=["no window", "critical"]
)
def test_what_cannot_wait_runs_in_spite_of_a_spike(place: Database, facts: Row) -> None:
    book(place, "job-1", **facts)
    set_stress(place, EIGHT)
    an_executor(place).run_due(NOW)
    assert the_workload(place, "job-1")["status"] == "RUNNING"


def test_a_workload_that_can_no_longer_meet_its_deadline_fails_and_gives_its_power_back(place: Database) -> None:
    book(place, "job-1", deadline=NOW + 2 * HOUR)
    an_executor(place).run_due(NOW + HOUR + timedelta(minutes=5))
    failed, booking = the_workload(place, "job-1"), the_booking(place, "job-1")
    reason = "It was not started in time to end by its deadline."
    assert (failed["status"], failed["status_reason"], failed["scheduled_start"]) == ("FAILED", reason, None)
    assert (booking["state"], booking["reason"], booking["work_state"]) == ("RELEASED", reason, "completed")
    assert not [row for row in place.select("held_power", order=OrderBy(("half_hour",))) if float(row["held_kw"])]


def test_a_workload_that_nobody_started_in_time_runs_late_while_there_is_power(place: Database) -> None:
    book(place, "job-1")
    an_executor(place).run_due(NOW + 3 * HOUR)
    booking = the_booking(place, "job-1")
    assert (booking["state"], booking["starts_at"]) == ("RUNNING", (NOW + 3 * HOUR).isoformat())
    assert booking["ends_at"] == (NOW + 4 * HOUR).isoformat()


def test_a_late_start_without_power_left_asks_for_another_decision(database: Database) -> None:
    store_place(database, total_capacity_mw=0.004)
    book(database, "job-1")
    book(database, "other", starts_at=NOW + 3 * HOUR, it_power_kw=1.5)
    executor = an_executor(database)
    executor.run_due(NOW + 3 * HOUR)
    again, booking = the_workload(database, "job-1"), the_booking(database, "job-1")
    assert (again["status"], booking["state"]) == ("PENDING", "RELEASED")
    assert again["status_reason"].endswith("It is decided again.")
    (asked,) = database.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert (asked["job_id"], asked["reason"], asked["work_state"]) == ("job-1", "reconsidered", "available")
    assert the_workload(database, "other")["status"] == "RUNNING"


@pytest.mark.parametrize("how", ["given up", "deferred"])
def test_power_that_comes_free_lets_workloads_without_a_place_ask_again(place: Database, how: str) -> None:
    book(place, "job-1", deadline=NOW + 6 * HOUR)
    place.insert("compute_workloads", [workload("waiting", status="DEFERRED_CARBON")])
    if how == "deferred":
        set_stress(place, EIGHT)
    an_executor(place).run_due(NOW if how == "deferred" else NOW + 6 * HOUR)
    (asked,) = place.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert (asked["job_id"], asked["reason"]) == ("waiting", "reconsidered")


def test_what_its_owner_moved_is_not_measured_by_its_decision(postgres: PostgresDatabase) -> None:
    """The decision promised the carbon of another time; grid stress counts all the same."""
    store_place(postgres)
    submit(postgres, workload("job-1", deferral_window_mins=360))
    assert decide(postgres) == 1
    held = claim(postgres)
    assert held.promised_gco2 == pytest.approx(1.152 * 10, rel=0.2)
    postgres.call("fail_booking", fault(held))
    moved = postgres.call(
        "move_workload", {"p_job_id": "job-1", "p_booking": {"starts_at": NOW + HOUR}, "p_now": NOW}
    )
    assert moved["state"] == "moved"
    assert claim(postgres, NOW + HOUR).promised_gco2 is None


def test_what_its_owner_moved_is_metered_and_compared_with_nothing(postgres: PostgresDatabase) -> None:
    store_place(postgres)
    submit(postgres, workload("moved", deferral_window_mins=360), workload("left", deferral_window_mins=360))
    while decide(postgres):
        pass
    assert the_booking(postgres, "moved")["run_now"]["starts_at"]
    there = {"starts_at": NOW + 2 * HOUR}
    postgres.call("move_workload", {"p_job_id": "moved", "p_booking": there, "p_now": NOW})
    executor = an_executor(postgres)
    for hours in range(8):
        executor.run_due(NOW + hours * HOUR)
    assert {the_workload(postgres, job_id)["status"] for job_id in ("moved", "left")} == {"COMPLETED"}
    assert the_workload(postgres, "moved")["actual_carbon_gco2"] > 0
    period = {"p_from": NOW, "p_until": NOW + 8 * HOUR, "p_by": "day", "p_carbon_price_gbp_per_t": 100}
    total = postgres.call("savings", period)[-1]
    assert (total["runs"], total["compared_runs"], total["runs_without_counterfactual"]) == (2, 1, 1)


def test_a_run_that_is_cancelled_has_the_actuals_of_what_it_ran(place: Database) -> None:
    book(place, "job-1", starts_at=EIGHT + HALF_HOUR, it_power_kw=2000)
    executor = an_executor(place)
    executor.run_due(EIGHT + HALF_HOUR)
    cancelled_at = EIGHT + HALF_HOUR + timedelta(minutes=15)
    place.call("cancel_workload", {"p_job_id": "job-1", "p_reason": "not needed", "p_now": cancelled_at})
    assert the_load(place) == (50, 50)
    assert executor.run_due(cancelled_at + timedelta(seconds=1)).taken == 1
    cancelled, booking = the_workload(place, "job-1"), the_booking(place, "job-1")
    assert (cancelled["status"], cancelled["status_reason"]) == ("CANCELLED", "Cancelled: not needed")
    assert (booking["state"], booking["work_state"]) == ("ENDED", "completed")
    assert cancelled["actual_end"] == booking["ended_at"] == cancelled_at.isoformat()
    assert cancelled["actual_energy_kwh"] == pytest.approx(2000 * 1.2 / 4)
    assert cancelled["actual_carbon_gco2"] == pytest.approx(2000 * 1.2 / 4 * 11)
    events = place.select("broadcast_log", order=OrderBy(("sequence",)))
    assert_as_described(events)
    assert [each["event_type"] for each in events] == ["workload.started", "workload.cancelled"]
    assert executor.run_due(NOW + 9 * HOUR).taken == 0


def test_several_executors_run_each_booking_once(place: Database) -> None:
    for number in range(12):
        book(place, f"job-{number}")
    executors = [an_executor(place, f"worker-{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = sum(done.taken for done in pool.map(lambda each: each.run_due(NOW), executors))
    assert taken == 12
    assert {the_workload(place, f"job-{number}")["status"] for number in range(12)} == {"RUNNING"}
    assert the_load(place)[1] == pytest.approx(50 + 12 * ONE_GPU_KW / 200)


def test_a_holder_that_died_is_taken_over_from_and_its_late_step_stores_nothing(place: Database) -> None:
    book(place, "job-1")
    held = claim(place)
    quick = an_executor(place, "quick")
    assert quick.run_due(NOW + timedelta(seconds=9)).taken == 0
    assert quick.run_due(NOW + timedelta(seconds=11)).taken == 1
    book_of_the_dead = BookedRuns(place)
    assert book_of_the_dead.store(held, Begin(NOW, NOW + HOUR), NOW) is Stored.FENCED
    assert book_of_the_dead.store(held, GiveUp("too slow"), NOW) is Stored.FENCED
    assert the_workload(place, "job-1")["status"] == "RUNNING"


def test_bookings_are_held_for_as_long_as_their_steps_take(place: Database) -> None:
    book(place, "job-1")
    run = claim(place)
    BookedRuns(place).extend([run.lease], NOW + timedelta(seconds=9), lease_seconds=10)
    executor = an_executor(place, "two")
    assert executor.run_due(NOW + timedelta(seconds=11)).taken == 0
    assert executor.run_due(NOW + timedelta(seconds=20)).taken == 1


def test_a_step_that_fails_is_told_and_tried_again_after_a_while(
    place: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(place, "job-1")
    executor = an_executor(place)

    def fail(*_: Any) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(executor, "_beginning", fail)
        assert executor.run_due(NOW).taken == 1
    booking = the_booking(place, "job-1")
    assert (booking["work_state"], booking["last_error"]) == ("retryable", "ValueError: a bug")
    assert executor.troubles() == ["1 booked workloads cannot be started or ended: the log says why"]
    assert executor.run_due(NOW + timedelta(seconds=26)).taken == 1
    assert the_workload(place, "job-1")["status"] == "RUNNING"
    assert executor.troubles() == []


def test_every_tenants_first_comes_before_the_second_of_anybody(place: Database) -> None:
    place.insert("operators", [{"operator_id": name, "name": name} for name in ("many", "few")])
    for number in range(5):
        book(place, f"many-{number}", operator="many")
    book(place, "few-0", operator="few")
    taken = BookedRuns(place).claim_due("one", NOW, lease_seconds=10, limit=2).claimed
    assert {run.tenant for run in taken} == {"many", "few"}


def test_the_health_of_bookings_counts_what_waits_runs_and_is_overdue(place: Database) -> None:
    def health(now: datetime) -> Any:
        return place.call("bookings_health", {"p_now": now})["simulation"]

    book(place, "job-1")
    book(place, "job-2", starts_at=NOW + HOUR)
    assert health(NOW - HOUR) == {"held": 2, "running": 0, "due": 0, "overdue_seconds": None}
    late = health(NOW + timedelta(seconds=30))
    assert (late["held"], late["due"], float(late["overdue_seconds"])) == (2, 1, 30)
    an_executor(place).run_due(NOW)
    assert health(NOW) == {"held": 1, "running": 1, "due": 0, "overdue_seconds": None}


def test_decided_workloads_without_power_are_decided_again_or_fail(place: Database) -> None:
    book(place, "booked")
    for job_id, start in (("past", NOW - HOUR), ("ahead", NOW + HOUR), ("nowhere", None)):
        book(place, job_id, starts_at=NOW)
        place.delete("capacity_bookings", where=[Where("job_id", job_id)])
        place.update("compute_workloads", {"scheduled_start": start}, where=[Where("job_id", job_id)])
    settled = settle_unbooked(place, NOW)
    assert settled.failed == ("nowhere", "past")
    assert settled.reconsidered == ("ahead",)
    assert the_workload(place, "past")["status_reason"] == (
        "It was decided without power being held for it, and was not run by its start: submit it again if it is "
        "still to run."
    )
    assert {each: the_workload(place, each)["status"] for each in ("past", "ahead", "booked")} == {
        "past": "FAILED",
        "ahead": "PENDING",
        "booked": "QUEUED",
    }
    (asked,) = place.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert (asked["job_id"], asked["reason"]) == ("ahead", "reconsidered")
    assert settle_unbooked(place, NOW).failed == ()


def test_a_window_within_the_half_hours_that_it_holds_needs_no_more_power(database: Database) -> None:
    """Where the base load has grown since, what is promised is kept."""
    store_place(database, total_capacity_mw=0.004)
    book(database, "job-1", starts_at=half_hour_of(NOW), hours=0.25)
    database.update("data_centres", {"current_load_percentage": 90}, where=[Where("dc_id", "DC-001")])
    an_executor(database).run_due(NOW + timedelta(minutes=5))
    assert the_workload(database, "job-1")["status"] == "RUNNING"
