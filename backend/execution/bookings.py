"""Bookings of decisions as work for the executor: every step is one transaction with its workload.

Nothing really runs: what is booked in a data centre without runners is simulated, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from pydantic import BaseModel, ConfigDict

from database.interface import Database, Row
from decisions.scoring.capacity import least_free_kw
from decisions.scoring.context import Capacity, Task
from decisions.scoring.grid_context import GridContext
from decisions.work.notifications import UNSTATED_OPERATOR
from execution.executor import Executor
from execution.metering import Reading
from execution.prospects import DEFERRED_STATUS
from execution.usage import NOTHING_USED, Actuals
from execution.work import Begin, Complete, Defer, DueRuns, FreePower, GiveUp, Step, Stored
from grid.half_hours import from_rfc3339, rfc3339
from printable import LONGEST_REASON, printable
from vocabulary import StrEnum, WorkloadStatus
from workloads.model import UtcDatetime

CHANNEL = "capacity_bookings"
SIMULATION, RUNNER = "simulation", "runner"


class BookingState(StrEnum):
    """HELD and RUNNING hold power."""

    HELD = "HELD"
    RUNNING = "RUNNING"
    ENDED = "ENDED"
    RELEASED = "RELEASED"


@dataclass(frozen=True)
class BookingLease:
    """The right to take a booking's next step, for as long as nobody else got a newer token for it."""

    booking_id: int
    token: int


class BookedRun(BaseModel):
    """A booking as it was claimed, with its workload. `starts_at` and `ends_at` are actual once it runs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    booking_id: int
    lease_token: int
    tenant: str
    job_id: str
    dc_id: str
    state: BookingState
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: float
    task: Task
    promised_gco2: float | None
    """What its decision said that it would emit; None where no decision of this place did."""

    @property
    def name(self) -> str:
        return f"job {self.job_id}"

    @property
    def operator(self) -> str | None:
        return None if self.tenant == UNSTATED_OPERATOR else self.tenant

    @property
    def lease(self) -> BookingLease:
        return BookingLease(self.booking_id, self.lease_token)

    @property
    def duration(self) -> timedelta:
        return self.ends_at - self.starts_at

    @property
    def is_running(self) -> bool:
        return self.state in {BookingState.RUNNING, BookingState.ENDED}

    @property
    def was_broken_off(self) -> bool:
        """Whether its owner cancelled it while it ran: what it used is yet to be written down."""
        return self.state is BookingState.ENDED

    def may_cost(self, cost_gbp: float) -> bool:  # noqa: ARG002 - no price was agreed; its price limit is a constraint
        """Whether a later run of this cost is within what was agreed."""
        return True


@dataclass(frozen=True)
class _Change:
    """What a step makes of a booking and its workload; None leaves a field as it is."""

    event: str | None
    state: BookingState
    status: WorkloadStatus | None
    status_reason: str | None
    due_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    actuals: Actuals = NOTHING_USED
    readings: tuple[Reading, ...] = ()
    """Of a run that has ended."""
    decide_again: bool = False


class BookedRuns:
    """The bookings that are carried out here, as a book of promised runs. Many processes may use it at once."""

    def __init__(self, database: Database, *, carried_out_by: str = SIMULATION) -> None:
        self._database = database
        self._carried_out_by = carried_out_by

    def claim_due(self, worker: str, now: datetime, *, lease_seconds: float, limit: int) -> DueRuns[BookedRun]:
        arguments = {
            "p_carried_out_by": self._carried_out_by,
            "p_worker": worker,
            "p_now": now,
            "p_lease_seconds": lease_seconds,
            "p_limit": limit,
        }
        answer = self._database.call("claim_due_bookings", arguments)
        next_due = answer["next_due_at"]
        return DueRuns(
            tuple(BookedRun.model_validate(row) for row in answer["claimed"]),
            from_rfc3339(next_due) if next_due else None,
        )

    def extend(self, runs: Sequence[Hashable], now: datetime, *, lease_seconds: float) -> None:
        leases = cast(Sequence[BookingLease], runs)
        rows: list[Row] = [{"booking_id": lease.booking_id, "lease_token": lease.token} for lease in leases]
        arguments = {"p_leases": rows, "p_now": now, "p_lease_seconds": lease_seconds}
        self._database.call("heartbeat_bookings", arguments, repeatable=True)

    def store(self, run: BookedRun, step: Step, now: datetime) -> Stored:
        change = _change(run, step)
        used = change.actuals
        row: Row = {
            "booking_id": run.booking_id,
            "lease_token": run.lease_token,
            "from_state": str(run.state),
            "state": str(change.state),
            "starts_at": change.starts_at,
            "ends_at": change.ends_at,
            "reason": change.status_reason if change.state is BookingState.RELEASED else None,
            "due_at": change.due_at,
            "updated_at": now,
            "decide_again": change.decide_again,
            "event_type": change.event,
            "readings": [reading.row() for reading in change.readings],
            "workload": {
                "status": change.status and str(change.status),
                "status_reason": change.status_reason,
                "actual_start": used.start,
                "actual_end": used.end,
                "actual_energy_kwh": used.energy_kwh,
                "actual_carbon_gco2": used.carbon_gco2,
                "actual_cost_gbp": used.cost_gbp,
            },
        }
        return Stored(self._database.call("change_booking", {"p_change": row})["state"])

    def fail(self, run: BookedRun, error: str, now: datetime, *, again_after_s: float) -> None:
        arguments = {
            "p_booking_id": run.booking_id,
            "p_lease_token": run.lease_token,
            "p_error": printable(error, LONGEST_REASON),
            "p_now": now,
            "p_retry_seconds": again_after_s,
        }
        self._database.call("fail_booking", arguments, repeatable=True)

    def grid(self, now: datetime) -> GridContext:
        return GridContext.model_validate(self._database.call("grid_context", {"p_now": now}, repeatable=True))

    def free_power(self, run: BookedRun, now: datetime) -> FreePower:
        arguments = {"p_now": now, "p_without": run.booking_id}
        capacity = Capacity.model_validate(self._database.call("capacity_at", arguments, repeatable=True))
        return lambda start, end: least_free_kw(capacity, run.dc_id, start, end)


def executor_of_bookings(
    database: Database, *, worker: str, carbon_price_gbp_per_t: float, clock: Callable[[], datetime]
) -> Executor[BookedRun]:
    """The executor of everything that is booked where no runner runs it."""
    return Executor(
        database,
        BookedRuns(database),
        channel=CHANNEL,
        called="booked workloads",
        worker=worker,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        clock=clock,
    )


def _change(run: BookedRun, step: Step) -> _Change:
    if isinstance(step, Begin):
        return _Change(
            event="workload.started",
            state=BookingState.RUNNING,
            status=WorkloadStatus.RUNNING,
            status_reason=f"Runs at {run.dc_id}, simulated.",
            due_at=step.ends_at,
            starts_at=step.starts_at,
            ends_at=step.ends_at,
            actuals=Actuals(start=step.starts_at),
        )
    if isinstance(step, Defer):
        return _Change(
            event="workload.deferred",
            state=BookingState.HELD,
            status=DEFERRED_STATUS[step.spike.reason],
            status_reason=f"{step.spike.explanation} It starts at {rfc3339(step.to.start)}.",
            due_at=step.to.start,
            starts_at=step.to.start,
            ends_at=step.to.start + run.duration,
        )
    if isinstance(step, Complete) and run.was_broken_off:
        return _Change(None, BookingState.ENDED, None, None, actuals=step.actuals, readings=step.readings)
    if isinstance(step, Complete):
        return _Change(
            event="workload.completed",
            state=BookingState.ENDED,
            status=WorkloadStatus.COMPLETED,
            status_reason=f"Ran at {run.dc_id}, simulated.{step.remark}",
            actuals=step.actuals,
            readings=step.readings,
        )
    if isinstance(step, GiveUp):
        return _Change("workload.expired", BookingState.RELEASED, WorkloadStatus.FAILED, step.reason)
    reason = f"{step.reason} It is decided again."
    return _Change("workload.displaced", BookingState.RELEASED, WorkloadStatus.PENDING, reason, decide_again=True)
