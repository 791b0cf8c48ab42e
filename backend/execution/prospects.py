"""What a run would emit and cost now or later, and what speaks against it now. Pure.

A grid that has turned is met where it can still be avoided: just before a start the run is priced once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from decisions.scoring.context import DataCentre, Task
from decisions.scoring.evaluation import Evaluation, evaluate
from decisions.scoring.feasibility import Constraint, finish
from decisions.scoring.grid_context import GridContext
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import MICROSECOND
from decisions.scoring.signals import line_up
from grid.half_hours import HALF_HOUR, half_hour_of
from vocabulary import Policy, StrEnum, Urgency, WorkloadStatus

CARBON_SPIKE = 1.25
"""A run that would emit this many times what it was promised to is a spike."""

_POLICY = Policy.BALANCED


class SpikeReason(StrEnum):
    GRID_STRESS = "GRID_STRESS"
    CARBON = "CARBON"


DEFERRED_STATUS = {
    SpikeReason.GRID_STRESS: WorkloadStatus.DEFERRED_GRID_STRESS,
    SpikeReason.CARBON: WorkloadStatus.DEFERRED_CARBON,
}
"""What a workload is while it waits for a spike to pass."""


@dataclass(frozen=True)
class Prospect:
    """One run in one place. Carbon and cost are the whole site's, PUE included."""

    start: datetime
    end: datetime
    carbon_gco2: float
    cost_gbp: float


@dataclass(frozen=True)
class Spike:
    """What speaks against a run now."""

    reason: SpikeReason
    explanation: str


@dataclass(frozen=True)
class Look:
    """A workload in its data centre, looked at on one grid at `now`: what a run would be at any moment from then on.

    Whether there is power for it is not looked at: that is known to whoever keeps the promises.
    """

    now: datetime
    evaluation: Evaluation

    @classmethod
    def at(
        cls, now: datetime, task: Task, centre: DataCentre, grid: GridContext, *, carbon_price_gbp_per_t: float
    ) -> Look:
        unloaded = centre.model_copy(update={"current_load_percentage": 0.0})
        signals = line_up(now, grid.national, grid.regional)
        terms = Terms.of(_POLICY, carbon_price_gbp_per_t)
        return cls(now, evaluate(task, now, signals, Sites.of([unloaded], signals), terms))

    def run_now(self) -> Prospect | None:
        """The run that starts at once; None where a signal that it needs is unknown."""
        return self._prospect(0) if self.evaluation.known[0, 0] else None

    def broken_now(self) -> frozenset[Constraint]:
        """The constraints that a run breaks which starts at once."""
        if self.evaluation.feasible[0, 0]:
            return frozenset()
        return frozenset(violation.constraint for violation in self.evaluation.feasibility.violations(0, 0))

    def spike(self, promised_gco2: float | None) -> Spike | None:
        """Why the run should not begin now, if the grid gives a reason; CRITICAL work always runs."""
        if self.evaluation.task.urgency is Urgency.CRITICAL:
            return None
        broken = self.broken_now()
        if Constraint.GRID_STRESS in broken:
            return Spike(SpikeReason.GRID_STRESS, "The grid would be under stress while it runs.")
        if Constraint.CARBON_CAP in broken:
            return Spike(SpikeReason.CARBON, "The carbon intensity would rise above its cap while it runs.")
        run = self.run_now()
        if run is not None and promised_gco2 is not None and run.carbon_gco2 > CARBON_SPIKE * promised_gco2:
            return Spike(
                SpikeReason.CARBON,
                f"It would emit {run.carbon_gco2:.0f} gCO2 now, but {promised_gco2:.0f} gCO2 were promised.",
            )
        return None

    def later_runs(self) -> Iterator[Prospect]:
        """Runs from the next half-hour on that break nothing, best first: least J, then carbon, then earliest."""
        evaluation = self.evaluation
        starts_us = evaluation.runs.starts_us
        next_us = (half_hour_of(self.now) + HALF_HOUR - evaluation.runs.origin) // MICROSECOND
        (starts,) = np.nonzero(evaluation.feasible[0] & (starts_us >= next_us))
        ranked = np.lexsort((starts_us[starts], evaluation.carbon_share[0, starts], evaluation.position[0, starts]))
        return (self._prospect(int(run)) for run in starts[ranked])

    def _prospect(self, run: int) -> Prospect:
        evaluation, start = self.evaluation, self.evaluation.runs.start(run)
        return Prospect(
            start=start,
            end=finish(start, evaluation.load.duration),
            carbon_gco2=float(evaluation.carbon_gco2[0, run]),
            cost_gbp=evaluation.candidates.cost_gbp_of(0, run),
        )
