"""Runs what was promised: a simulation in real time, over the half-hours of the real grid.

A run starts at its time, draws its power for as long as its workload takes, and ends. What it used is worked out from
the half-hours it really ran in.

Just before a start the grid is looked at once more: when a run now would meet grid stress, its carbon cap, or
CARBON_SPIKE times the carbon it was promised to emit, and it may wait and something better is to come, it is
deferred. Every step is stored in one transaction, under a lease: several processes never run one promise twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Generic

from database.errors import DatabaseError, DataRefused
from database.interface import Database
from decisions.scoring.grid_context import GridContext
from execution.deferral import deferral
from execution.simulated_run import simulated_run
from execution.work import Begin, Book, Complete, Defer, GiveBack, GiveUp, PromisedRun, Run, Step, Stored
from grid.half_hours import rfc3339
from queueing.consumer import Consumer, Round
from queueing.failing import Failing
from queueing.heartbeat import Heartbeat

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LEASE_SECONDS = 20.0
LONGEST_HOLD_S = 120.0
AGAIN_AFTER_S = 20.0
"""A step that failed is tried again after about so long."""
BATCH = 20

ON_TIME = timedelta(minutes=1)
"""A run that is started this soon after its time counts as started at it."""


class Executor(Consumer, Generic[Run]):
    """Starts, defers and ends the runs of one book, in a thread of its own.

    The promises outlive it: whoever runs next takes them up.
    """

    def __init__(
        self,
        database: Database,
        book: Book[Run],
        *,
        channel: str,
        called: str,
        worker: str,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
        stored: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            channel: where the database says that there is new work.
            called: what the runs are called, several of them.
            stored: called when steps were taken.
        """
        self._heartbeat: Heartbeat[Hashable] = Heartbeat(
            f"the keeper of the leases of {called}",
            lambda leases: book.extend(leases, clock(), lease_seconds=LEASE_SECONDS),
            lease_seconds=LEASE_SECONDS,
            longest_hold_s=LONGEST_HOLD_S,
        )
        super().__init__(
            "executor",
            self.work_once,
            database,
            channel,
            threads=1,
            poll_seconds=poll_seconds,
            heartbeat=self._heartbeat,
        )
        self._database = database
        self._book = book
        self._called = called
        self._worker = worker
        self._carbon_price = carbon_price_gbp_per_t
        self._clock = clock
        self._stored = stored
        self._failing = Failing(AGAIN_AFTER_S)
        self._grid: tuple[datetime, GridContext] | None = None

    def work_once(self) -> Round:
        """Start or end everything that is due now."""
        return self.run_due(self._clock())

    def run_due(self, now: datetime) -> Round:
        """Start or end everything that is due at `now`, in this thread.

        Raises:
            DatabaseError: the work cannot be had.
        """
        due = self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)
        if due.claimed:
            self.found(more_likely=False)
        with self._heartbeat.holding([run.lease for run in due.claimed]):
            for run in due.claimed:
                self._try_step(run, now)
        if due.claimed:
            self._stored()
        next_due_s = (due.next_due_at - now).total_seconds() if due.next_due_at else None
        return Round(len(due.claimed), next_due_s)

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there are runs it cannot go on with, in words."""
        failing = len(self._failing)
        told = f"{failing} {self._called} cannot be started or ended: the log says why"
        return [*super().troubles(), *([told] if failing else [])]

    def _try_step(self, run: Run, now: datetime) -> None:
        """One step of one run; a fault in it does not hold up the others."""
        try:
            self._step(run, now)
            self._failing.worked(run.name)
        except DataRefused as error:
            _log.error("%s: this step was refused: %s", run.name, error)
            self._fail(run, now, error)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            _log.exception("%s: this step failed", run.name)
            self._fail(run, now, error)

    def _fail(self, run: Run, now: datetime, error: Exception) -> None:
        self._failing.failed(run.name)
        self._book.fail(run, f"{type(error).__name__}: {error}", now, again_after_s=AGAIN_AFTER_S)

    def _step(self, run: Run, now: datetime) -> None:
        if run.is_running:
            self._store(run, self._completion(run), now)
            return
        if self._too_late(run, now):
            self._store(run, GiveUp("It was not started in time to end by its deadline."), now)
            return
        better = deferral(run, now, self._grid_at(now), self._book, carbon_price_gbp_per_t=self._carbon_price)
        if better is not None and self._store(run, better, now) is not Stored.NO_CAPACITY:
            return
        if self._store(run, self._beginning(run, now), now) is Stored.NO_CAPACITY:
            reason = "Nobody started it in time, and its place has no power left for a later run."
            self._store(run, GiveBack(reason), now)

    def _beginning(self, run: Run, now: datetime) -> Begin:
        start = run.starts_at if now - run.starts_at <= ON_TIME else now
        return Begin(start, start + run.duration)

    def _completion(self, run: Run) -> Complete:
        return simulated_run(self._database, run.dc_id, run.starts_at, run.ends_at, run.it_power_kw)

    def _grid_at(self, now: datetime) -> GridContext:
        """The grid, read once for everything that is due at a moment."""
        if self._grid is None or self._grid[0] != now:
            self._grid = now, self._book.grid(now)
        return self._grid[1]

    def _too_late(self, run: Run, now: datetime) -> bool:
        deadline = run.task.deadline
        late = now - run.starts_at > ON_TIME
        return late and deadline is not None and now + run.duration > deadline

    def _store(self, run: Run, step: Step, now: datetime) -> Stored:
        outcome = self._book.store(run, step, now)
        extra = {"operator": run.operator}
        if outcome is Stored.CHANGED:
            _log.info("%s: %s", run.name, _told(run, step), extra=extra)
        else:
            _log.info("%s: could not be %s, as %s", run.name, _told(run, step), _REFUSED[outcome], extra=extra)
        return outcome


_REFUSED = {
    Stored.FENCED: "somebody else has it",
    Stored.WRONG_STATE: "it has changed meanwhile",
    Stored.NO_CAPACITY: "there is no power for it",
}


def _told(run: PromisedRun, step: Step) -> str:
    """What a step did, for the log."""
    if isinstance(step, Begin):
        return f"started at {run.dc_id}, simulated, until {rfc3339(step.ends_at)}"
    if isinstance(step, Defer):
        return f"deferred at {run.dc_id} to {rfc3339(step.to.start)}: {step.spike.explanation}"
    if isinstance(step, Complete):
        how = "metered" if run.was_broken_off else "completed"
        return f"{how} at {run.dc_id}, simulated, with {step.actuals.energy_kwh:.6g} kWh"
    return f"given up at {run.dc_id}: {step.reason}"
