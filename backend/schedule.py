"""Runs the pipeline at start and then some minutes into every half-hour."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from half_hours import UTC, half_hour_of
from pipeline import RunReport
from supabase_client import DatabaseError

log = logging.getLogger(__name__)

# The sources publish a half-hour's figures just after it begins; on the dot they are still the old ones.
MINUTES_PAST = timedelta(minutes=4)
RETRY_AFTER = timedelta(minutes=1)
MISFIRE_GRACE_S = 600  # a run that could not start on time starts late rather than never


class PipelineSchedule:
    """The pipeline's timetable in one process. Several processes share the work: each half-hour is claimed once."""

    def __init__(self, run: Callable[[], RunReport], *, interval_minutes: int, clock: Callable[[], datetime]) -> None:
        self._run = run
        self._clock = clock
        self._interval = timedelta(minutes=interval_minutes)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": MISFIRE_GRACE_S, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Run now, in the background, and from then on by the timetable."""
        now = self._clock()
        aligned = IntervalTrigger(
            seconds=int(self._interval.total_seconds()),
            start_date=first_run_after(now, self._interval),
            timezone=UTC,
        )
        self._scheduler.add_job(self._run_and_log, aligned, id="pipeline")
        self._scheduler.add_job(self._run_and_log, id="first")
        self._scheduler.start()

    def stop(self) -> None:
        """No further runs; one that is going on is waited for by nobody, and its slot can be claimed again."""
        self._scheduler.shutdown(wait=False)

    def next_run_at(self) -> datetime | None:
        times = [job.next_run_time for job in self._scheduler.get_jobs() if job.next_run_time is not None]
        return min(times).astimezone(UTC) if times else None

    def is_running(self) -> bool:
        return bool(self._scheduler.running)

    def _run_and_log(self) -> None:
        try:
            report = self._run()
        except DatabaseError as error:
            log.error("pipeline run failed, again in %d s: %s", RETRY_AFTER.total_seconds(), error)  # noqa: TRY400
            self._again_at(self._clock() + RETRY_AFTER)
        except Exception:
            log.exception("pipeline run failed")
        else:
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
