from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import utc_now
from database.errors import DatabaseClosed, DatabaseUnreachable
from grid.half_hours import UTC, half_hour_of
from ingest.report import RunReport
from ingest.schedule import MINUTES_PAST, RETRY_AFTER, PipelineSchedule, first_run_after

HALF_AN_HOUR = timedelta(minutes=30)
MOMENTS = st.builds(
    datetime.combine,
    st.dates(min_value=datetime(2026, 1, 1, tzinfo=UTC).date(), max_value=datetime(2027, 12, 31, tzinfo=UTC).date()),
    st.times(),
    st.just(UTC),
)


@pytest.mark.parametrize(
    ("now", "minutes", "then"),
    [
        ("2026-11-22T08:14:00", 30, "2026-11-22T08:34:00"),
        ("2026-11-22T08:04:00", 30, "2026-11-22T08:34:00"),
        ("2026-11-22T08:03:59", 30, "2026-11-22T08:04:00"),
        ("2026-11-22T23:50:00", 30, "2026-11-23T00:04:00"),
        ("2026-11-22T00:00:00", 1440, "2026-11-22T00:04:00"),
        ("2026-11-22T08:14:00", 120, "2026-11-22T10:04:00"),
    ],
)
def test_runs_are_some_minutes_into_a_half_hour(now: str, minutes: int, then: str) -> None:
    found = first_run_after(datetime.fromisoformat(now).replace(tzinfo=UTC), timedelta(minutes=minutes))
    assert found == datetime.fromisoformat(then).replace(tzinfo=UTC)


@given(MOMENTS, st.integers(1, 48))
def test_the_next_run_is_ahead_within_one_interval_and_early_in_its_half_hour(now: datetime, slots: int) -> None:
    then = first_run_after(now, slots * HALF_AN_HOUR)
    assert now < then <= now + slots * HALF_AN_HOUR
    assert then - half_hour_of(then) == MINUTES_PAST


class Runs:
    """A pipeline of which the test decides how each run ends."""

    def __init__(self, *outcomes: RunReport | Exception) -> None:
        self._outcomes = list(outcomes)
        self.count = 0
        self.happened = threading.Semaphore(0)

    def __call__(self) -> RunReport:
        outcome = self._outcomes[min(self.count, len(self._outcomes) - 1)]
        self.count += 1
        self.happened.release()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class SettableClock:
    """A clock that the test sets while time passes as it does."""

    def __init__(self, ahead: timedelta = timedelta(0)) -> None:
        self.ahead = ahead

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@contextmanager
def started(
    run: Callable[[], RunReport], *, clock: Callable[[], datetime] = utc_now, watch_s: float = 10.0
) -> Iterator[PipelineSchedule]:
    schedule = PipelineSchedule(run, interval_minutes=30, clock=clock, watch_s=watch_s)
    schedule.start()
    try:
        yield schedule
    finally:
        schedule.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it did not happen within five seconds")


def done() -> RunReport:
    return RunReport(half_hour_of(utc_now()), "succeeded")


def test_it_runs_at_once_and_then_by_the_timetable() -> None:
    runs = Runs(done())
    with started(runs) as schedule:
        assert runs.happened.acquire(timeout=30)
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at - half_hour_of(at) == MINUTES_PAST)
        assert schedule.is_running()
    assert not schedule.is_running()
    assert runs.count == 1


def test_a_run_that_the_database_refused_is_made_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    with started(Runs(DatabaseUnreachable("it is down"))) as schedule:
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at <= utc_now() + RETRY_AFTER)
        wait_for(lambda: "pipeline run failed, trying again in 60 s: it is down" in caplog.text)
    assert "Traceback" not in caplog.text


def test_a_process_that_stops_amid_a_run_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(DatabaseClosed("it is stopping"))
    with started(runs) as schedule:
        assert runs.happened.acquire(timeout=30)
        assert schedule.troubles() == []
    assert caplog.text == ""


def test_a_slot_that_another_process_has_is_looked_at_again_when_its_lease_ends() -> None:
    soon = utc_now() + timedelta(milliseconds=200)
    runs = Runs(RunReport(half_hour_of(utc_now()), "taken", taken_until=soon), done())
    with started(runs):
        assert runs.happened.acquire(timeout=30)
        assert runs.happened.acquire(timeout=30)


def test_a_slot_that_is_done_is_not_looked_at_again() -> None:
    runs = Runs(RunReport(half_hour_of(utc_now()), "taken"))
    with started(runs) as schedule:
        assert runs.happened.acquire(timeout=30)
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at - half_hour_of(at) == MINUTES_PAST)
    assert runs.count == 1


@pytest.mark.parametrize("set_by", [timedelta(hours=-26), timedelta(hours=-1), timedelta(hours=9)])
def test_when_the_clock_is_set_the_present_half_hour_is_run_and_the_timetable_made_anew(
    set_by: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    runs, clock = Runs(done()), SettableClock()
    with started(runs, clock=clock, watch_s=0.01) as schedule:
        assert runs.happened.acquire(timeout=30)
        clock.ahead = set_by
        assert runs.happened.acquire(timeout=30)
        # APScheduler goes by the machine's own clock, so of a time that is past for it only the first run is seen.
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at > utc_now())
        if set_by > timedelta(0):
            wait_for(lambda: schedule.next_run_at() == first_run_after(clock(), HALF_AN_HOUR))
    assert "the clock went " + ("forward" if set_by > timedelta(0) else "back") in caplog.text


def test_a_clock_that_was_ahead_at_the_start_leaves_no_run_due_in_its_future() -> None:
    runs, clock = Runs(done()), SettableClock(timedelta(hours=26))
    with started(runs, clock=clock, watch_s=0.01) as schedule:
        assert runs.happened.acquire(timeout=30)
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at > utc_now() + timedelta(hours=25))
        clock.ahead = timedelta(0)
        assert runs.happened.acquire(timeout=30)
        wait_for(lambda: (at := schedule.next_run_at()) is not None and at <= utc_now() + HALF_AN_HOUR)


def test_a_clock_that_is_put_right_by_seconds_changes_nothing() -> None:
    runs, clock = Runs(done()), SettableClock()
    with started(runs, clock=clock, watch_s=0.01):
        assert runs.happened.acquire(timeout=30)
        clock.ahead = timedelta(seconds=20)
        assert not runs.happened.acquire(timeout=0.3)


def test_a_run_that_is_hours_late_is_made_late_and_once() -> None:
    runs = Runs(done())
    with started(runs) as schedule:
        assert runs.happened.acquire(timeout=30)
        schedule._scheduler.modify_job("pipeline", next_run_time=utc_now() - timedelta(hours=5))
        assert runs.happened.acquire(timeout=30)
        assert not runs.happened.acquire(timeout=0.3)


def test_what_keeps_the_pipeline_from_running_is_told() -> None:
    failing = [True]

    def run() -> RunReport:
        if failing:
            raise RuntimeError("a bug")
        return done()

    with started(run) as schedule:
        wait_for(lambda: schedule.troubles() == ["the pipeline's last run failed here: RuntimeError: a bug"])
        failing.clear()
        schedule._run_and_log()
        assert schedule.troubles() == []
        schedule._scheduler.remove_all_jobs()
        assert schedule.troubles() == ["the pipeline's schedule has stopped: a run is due, but nothing starts it"]
    assert schedule.troubles() == []


def test_a_run_that_breaks_is_logged_and_the_timetable_stands(caplog: pytest.LogCaptureFixture) -> None:
    with started(Runs(ValueError("a fault of ours"))) as schedule:
        wait_for(lambda: "a fault of ours" in caplog.text)
        wait_for(lambda: schedule.next_run_at() is not None)
