"""What a joint plan is made of: jobs, each with its own options, and the capacity that they share.

Capacity is the IT power that a data centre has free in each half-hour (`decisions.scoring.capacity`). A job takes its
full power in every half-hour it runs in, however short its stay there. For jobs that do not pause this is exact: they
start at the beginning of a half-hour (or, at once, now), so all that run in a half-hour run together at its
beginning. Power is counted in whole watts.

A plan leaves out as little as it can before it looks at J: it makes first the weight of the jobs that it leaves out
the least (`LEFT_OUT_WEIGHT`), and only then the sum of J. Leaving a job out is never traded against money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from decisions.joint.interruptible import PieceOptions
from decisions.joint.options import Options, Placement, RunOptions
from decisions.scoring.context import Capacity, DataCentre, Task
from decisions.scoring.evaluation import NO_RUN, Evaluation, evaluate
from decisions.scoring.feasibility import Violation
from decisions.scoring.objective import Candidates, Sites, Terms
from decisions.scoring.runs import Booleans, Integers
from decisions.scoring.signals import GridSignals
from vocabulary import Urgency

MOST_JOBS = 500

# A CRITICAL job is left out only for more than eight LOW ones.
LEFT_OUT_WEIGHT: dict[Urgency, int] = {Urgency.LOW: 1, Urgency.MEDIUM: 2, Urgency.HIGH: 4, Urgency.CRITICAL: 8}

# Jobs x data centres x half-hours: what is planned within seconds and within some hundred megabytes.
MOST_CANDIDATES = 2_000_000


class ProblemTooLarge(ValueError):
    """There are more jobs, data centres and half-hours than a joint plan takes."""


@dataclass(frozen=True)
class Job:
    """A workload to plan, and whether it may pause."""

    task: Task
    interruptible: bool = False


@dataclass(frozen=True, eq=False)
class PlanInputs:
    """Where and when jobs may run."""

    as_of: datetime
    signals: GridSignals
    centres: tuple[DataCentre, ...]
    capacity: Capacity | None = None
    """Without one, what the present load leaves is free in every half-hour."""


@dataclass(frozen=True, eq=False)
class PosedJob:
    """A job, its runs at every place, and its options where it has any."""

    job: Job
    candidates: Candidates
    options: Options | None
    allowed_now: Booleans
    """Data centres at which its own constraints allow a run without a pause from now on."""
    nearest_site: int | None
    """Without options: the data centre where fewest constraints stand in its way."""
    violations: tuple[Violation, ...]
    """Without options: what stands in its way there."""

    @property
    def weight(self) -> int:
        return LEFT_OUT_WEIGHT[self.job.task.urgency]


@dataclass(frozen=True, eq=False)
class JointProblem:
    """All jobs in order of job_id; `options` and `weights` are of those that have options, in the same order."""

    sites: Sites
    half_hours: int
    free_w: Integers
    """Free IT power before any job is placed, shape (data centres, half-hours)."""
    posed: tuple[PosedJob, ...]
    placeable: tuple[int, ...]
    """Which of the posed jobs have options."""

    @property
    def options(self) -> list[Options]:
        return [options for number in self.placeable if (options := self.posed[number].options) is not None]

    @property
    def weights(self) -> list[int]:
        return [self.posed[number].weight for number in self.placeable]


@dataclass(frozen=True, eq=False)
class Assignment:
    """A plan: a placement for each placeable job, None where it is left out."""

    placements: tuple[Placement | None, ...]
    left_out_weight: int
    objective_gbp: float

    @classmethod
    def of(cls, placements: Sequence[Placement | None], weights: Sequence[int]) -> Assignment:
        left_out = sum(weight for weight, one in zip(weights, placements, strict=True) if one is None)
        objective_gbp = float(sum(one.objective_gbp for one in placements if one is not None))
        return cls(tuple(placements), left_out, objective_gbp)

    def better_than(self, other: Assignment) -> bool:
        return (self.left_out_weight, self.objective_gbp) < (other.left_out_weight, other.objective_gbp)


def pose_problem(jobs: Sequence[Job], surroundings: PlanInputs, terms: Terms) -> JointProblem:
    """Work out every job's options.

    The order of jobs and data centres changes nothing: they are put in the order of their ids.

    Raises:
        ValueError: two jobs have one job_id.
        ProblemTooLarge: see MOST_JOBS and MOST_CANDIDATES.
    """
    signals = surroundings.signals
    _check_size(jobs, len(surroundings.centres), signals.half_hours)
    centres = sorted(surroundings.centres, key=lambda centre: centre.dc_id)
    sites = Sites.of(centres, signals, surroundings.capacity)
    posed = [
        _pose(job, evaluate(job.task, surroundings.as_of, signals, sites, terms))
        for job in sorted(jobs, key=lambda job: job.task.job_id)
    ]
    return JointProblem(
        sites=sites,
        half_hours=signals.half_hours,
        free_w=_whole_watts_free(sites, signals.half_hours),
        posed=tuple(posed),
        placeable=tuple(number for number, job in enumerate(posed) if job.options is not None),
    )


def whole_watts(power_kw: float) -> int:
    """Power as it is counted: rounded, so that what fits alone fits, and sums are exact."""
    return round(power_kw * 1000)


def _whole_watts_free(sites: Sites, half_hours: int) -> Integers:
    free_w = np.rint(sites.free_kw * 1000).astype(np.int64)
    return np.ascontiguousarray(np.broadcast_to(free_w, (len(sites), half_hours)))


def _check_size(jobs: Sequence[Job], centres: int, half_hours: int) -> None:
    if len(jobs) > MOST_JOBS:
        raise ProblemTooLarge(f"a joint plan takes up to {MOST_JOBS} jobs, not {len(jobs)}")
    if len(jobs) * centres * half_hours > MOST_CANDIDATES:
        most = MOST_CANDIDATES // (centres * half_hours)
        raise ProblemTooLarge(f"with {centres} data centres and {half_hours} half-hours it takes up to {most} jobs")
    seen: set[str] = set()
    for job in jobs:
        if job.task.job_id in seen:
            raise ValueError(f"job_id {job.task.job_id!r} appears more than once in this list")
        seen.add(job.task.job_id)


def _pose(job: Job, evaluation: Evaluation) -> PosedJob:
    power_w = whole_watts(evaluation.candidates.sites.needed_kw(evaluation.load))
    options: Options | None = (
        PieceOptions.of(evaluation, power_w) if job.interruptible else RunOptions.of(evaluation, power_w)
    )
    nearest, violations = (None, ()) if options is not None else _obstacles(evaluation)
    return PosedJob(job, evaluation.candidates, options, evaluation.feasible[:, 0].copy(), nearest, violations)


def _obstacles(evaluation: Evaluation) -> tuple[int | None, tuple[Violation, ...]]:
    """Where fewest constraints stand in the way of a run without a pause, and which."""
    found = [
        (evaluation.feasibility.violations(site, max(run, 0)), run == NO_RUN, site)
        for site, run in enumerate(evaluation.nearest_runs())
    ]
    if not found:
        return None, ()
    violations, _, site = min(found, key=lambda one: (one[1], len(one[0]), one[2]))
    return site, violations
