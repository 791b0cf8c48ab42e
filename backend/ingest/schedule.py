"""Runs the pipeline at start and then some minutes into every half-hour.

Due times are moments of the clock, and a clock may be put right by hours, or jump while the machine sleeps. So the
clock is held against the time that has passed since the timetable was made: when the two disagree, the timetable is
made anew and the present half-hour is run at once. A run that is late is made late.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from database.errors import DatabaseClosed, DatabaseError
from grid.half_hours import UTC, half_hour_of
from ingest.report import RunReport
from printable import printable
from queueing.supervised import Rest, SupervisedLoop, troubles

log = logging.getLogger(__name__)

# The sources publish a half-hour's figures just after it begins; on the dot they are still the old ones.
MINUTES_PAST = timedelta(minutes=4)
RETRY_AFTER = timedelta(minutes=1)
CLOCK_WATCH_S = 10.0
OVERDUE = timedelta(minutes=2)
CLOCK_TOLERANCE = timedelta(minutes=1)  # what a timetable of half-hours need not care about


class PipelineSchedule:
    """The pipeline's timetable in one process. Several processes share the work: each half-hour is claimed once."""

    def __init__(
        self,
        run: Callable[[], RunReport],
        *,
        interval_minutes: int,
        clock: Callable[[], datetime],
        passed_s: Callable[[], float] = time.monotonic,
        watch_s: float = CLOCK_WATCH_S,
    ) -> None:
        """`passed_s` counts seconds whatever the clock does; every `watch_s` of them the clock is held against it."""
        self._run = run
        self._clock = clock
        self._passed_s = passed_s
        self._watch_s = watch_s
        self._interval = timedelta(minutes=interval_minutes)
        self._zero = self._clock_zero()
        self._stopping = threading.Event()
        self._has_started = False
        self._failure: str | None = None
        self._clock_watch = SupervisedLoop("the watch over the clock", self._watch_clock, self._stopping)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            # Without a grace time a late run, as after a sleep, is never dropped; several late ones are one.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Run now, in the background, and from then on by the timetable."""
        self._make_timetable()
        self._scheduler.start()
        self._clock_watch.start()
        self._has_started = True

    def stop(self) -> None:
        """No further runs; one that is going on is waited for by nobody, and its slot can be claimed again."""
        self._stopping.set()
        self._scheduler.shutdown(wait=False)

    def next_run_at(self) -> datetime | None:
        times = [job.next_run_time for job in self._scheduler.get_jobs() if job.next_run_time is not None]
        return min(times).astimezone(UTC) if times else None

    def is_running(self) -> bool:
        return bool(self._scheduler.running)

    def troubles(self) -> list[str]:
        """What keeps the pipeline from running, in words; empty when nothing does."""
        if self._stopping.is_set() or not self._has_started:
            return []
        found = troubles([self._clock_watch])
        if self._failure is not None:
            found.append(f"the pipeline's last run failed here: {self._failure}")
        due = self.next_run_at()
        if due is None or self._clock() - due > OVERDUE:
            found.append("the pipeline's schedule has stopped: a run is due, but nothing starts it")
        return found

    def _make_timetable(self) -> None:
        """A run now, and the next ones by the clock as it stands; what was due before is forgotten."""
        zero = self._clock_zero()
        aligned = IntervalTrigger(
            seconds=int(self._interval.total_seconds()),
            start_date=first_run_after(self._clock(), self._interval),
            timezone=UTC,
        )
        self._scheduler.remove_all_jobs()
        self._scheduler.add_job(self._run_and_log, aligned, id="pipeline")
        self._scheduler.add_job(self._run_and_log, id="now")
        self._zero = zero

    def _clock_zero(self) -> datetime:
        """What the clock would have said when `passed_s` was 0: it stays the same until the clock is set."""
        return self._clock() - timedelta(seconds=self._passed_s())

    def _watch_clock(self) -> Rest:
        self._follow_clock()
        return lambda: self._stopping.wait(self._watch_s)

    def _follow_clock(self) -> None:
        jump = self._clock_zero() - self._zero
        if abs(jump) <= CLOCK_TOLERANCE:
            return
        way = "back" if jump < timedelta(0) else "forward"
        log.warning(
            "the clock went %s by %.0f s: running the present half-hour now and rebuilding the timetable",
            way,
            abs(jump.total_seconds()),
        )
        self._make_timetable()

    def _run_and_log(self) -> None:
        try:
            report = self._run()
        except DatabaseClosed:
            log.debug("the run was left to whoever starts next: this process is stopping")
        except DatabaseError as error:
            self._failure = printable(error)
            log.error("pipeline run failed, trying again in %d s: %s", RETRY_AFTER.total_seconds(), error)  # noqa: TRY400
            self._again_at(self._clock() + RETRY_AFTER)
        except Exception as error:
            self._failure = printable(f"{type(error).__name__}: {error}")
            log.exception("pipeline run failed")
        else:
            self._failure = None
            log.info("%s", report.summary())
            if report.taken_until is not None:
                # Should the process that has the slot die, its lease ends and the run is made here.
                self._again_at(report.taken_until + timedelta(seconds=1))

    def _again_at(self, at: datetime) -> None:
        if self._scheduler.running:
            self._scheduler.add_job(self._run_and_log, "date", run_date=at, id="retry", replace_existing=True)


def first_run_after(now: datetime, interval: timedelta) -> datetime:
    """The next moment of the timetable: multiples of `interval` since midnight UTC, plus four minutes."""
    midnight = half_hour_of(now).replace(hour=0, minute=0)
    moment = midnight + MINUTES_PAST
    while moment <= now:
        moment += interval
    return moment
