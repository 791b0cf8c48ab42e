"""What becomes of a workload that no data centre can take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from decisions.scoring.assessment import Assessment
from decisions.scoring.decide import Decision
from decisions.scoring.feasibility import Constraint, finish
from grid.half_hours import rfc3339
from vocabulary import WorkloadStatus

# No grid forecast reaches further, so a longer run can never be judged.
FORECAST_REACH = timedelta(hours=48)

# The constraints that waiting for the grid may lift, in the order in which they name the status.
DEFERRED_STATUS: dict[Constraint, WorkloadStatus] = {
    Constraint.GRID_STRESS: WorkloadStatus.DEFERRED_GRID_STRESS,
    Constraint.CARBON_CAP: WorkloadStatus.DEFERRED_CARBON,
    Constraint.MAX_PRICE: WorkloadStatus.DEFERRED_PRICE,
}


@dataclass(frozen=True)
class WaitingStatus:
    """The status of a workload that is not placed, and why in a sentence."""

    status: WorkloadStatus
    reason: str


def waiting_status(decision: Decision) -> WaitingStatus | None:
    """The status of a workload that no data centre can take; None when one can.

    FAILED when time has made it hopeless: it can no longer end by its deadline, or runs longer than any
    forecast. DEFERRED_* when the grid alone stands in the way somewhere: the option with the fewest
    violations names it. PENDING when something else does everywhere: no room, no active data centre, no
    signal.
    """
    if decision.chosen:
        return None
    deadline = decision.context.task.deadline
    duration, duration_h = decision.load.duration, decision.load.duration_h
    if deadline and finish(decision.context.as_of, duration) > deadline:
        return WaitingStatus(
            WorkloadStatus.FAILED,
            f"It runs for {duration_h:.4g} h and cannot end by its deadline {rfc3339(deadline)}.",
        )
    if duration > FORECAST_REACH:
        reach_h = FORECAST_REACH / timedelta(hours=1)
        return WaitingStatus(
            WorkloadStatus.FAILED,
            f"It runs for {duration_h:.4g} h and no forecast reaches more than {reach_h:.0f} h ahead.",
        )
    if not decision.options:
        return WaitingStatus(WorkloadStatus.PENDING, "There is no data centre.")
    option = min(decision.options, key=lambda one: (not _waits_for_the_grid(one), len(one.violations), one.rank))
    status = WorkloadStatus.PENDING
    if _waits_for_the_grid(option):
        broken = {violation.constraint for violation in option.violations}
        status = next(DEFERRED_STATUS[constraint] for constraint in DEFERRED_STATUS if constraint in broken)
    messages = "; ".join(violation.message for violation in option.violations)
    return WaitingStatus(status, f"At {option.centre.dc_id}, which comes closest to taking it: {messages}.")


def _waits_for_the_grid(option: Assessment) -> bool:
    return all(violation.constraint in DEFERRED_STATUS for violation in option.violations)
