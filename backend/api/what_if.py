"""What the endpoints about workloads that are not stored share: the moment, the tasks, and turns at computing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import BoundedSemaphore
from uuid import uuid4

import numpy as np
from pydantic import Field

from api.workloads import WorkloadSubmission, WrittenTime
from decisions.scoring.context import DecisionContext, NationalSignal, RegionalSignal, Task
from decisions.scoring.signals import GridSignals, read_signals
from decisions.work.present_grid import PresentGrid
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid.model import carbon_index
from vocabulary import Policy
from web.application import problem_answer
from web.parameters import StrictQuery
from web.problems import Problem

WHAT_IF_JOB_ID = "what-if"

BUSY = problem_answer("Another joint plan or back-test is being worked out, or the database cannot be reached")


class WhatIfQuery(StrictQuery):
    at: WrittenTime | None = Field(
        None, description="Decide as of this moment, which must be within the forecast; by default now"
    )
    policy: Policy = Field(Policy.BALANCED, description="What to favour")


class ConcurrencyLimit:
    """Lets a few requests compute at length at once, so that the others are answered meanwhile."""

    def __init__(self, at_once: int, patience_s: float) -> None:
        self._free = BoundedSemaphore(at_once)
        self._patience_s = patience_s

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a turn in the block.

        Raises:
            Problem: 503, with Retry-After: none became free within the patience.
        """
        if not self._free.acquire(timeout=self._patience_s):
            raise Problem(503, "joint plans and back-tests are already being worked out: try again in a few seconds")
        try:
            yield
        finally:
            self._free.release()


def refuse(field: str, message: str) -> Problem:
    """The 422 problem for one field."""
    return Problem(422, f"invalid: {field} {message}", errors=[{"field": field, "message": message}])


def task_of(submission: WorkloadSubmission, job_id: str = WHAT_IF_JOB_ID) -> Task:
    """The workload as the scorer sees it, submitted at the moment of the decision."""
    return Task.model_validate(submission.model_dump(warnings=False) | {"job_id": submission.job_id or job_id})


def read_context(grid: PresentGrid, task: Task, *, now: datetime, at: datetime | None) -> DecisionContext:
    """The decision context of a task, as of `at` if that is given.

    Raises:
        Problem: 422, `at` is not within the forecast.
    """
    context = grid.context(task, str(uuid4()), now)
    return context if at is None else _as_of(context, at)


def check_deadlines(submissions: Sequence[WorkloadSubmission], at: datetime, path: str = "") -> None:
    """Refuse a deadline that is over. `path` names the list that the submissions are in."""
    for number, submission in enumerate(submissions):
        if submission.deadline is not None and submission.deadline <= at:
            raise refuse(_field(path, number, "deadline"), f"is not after {rfc3339(at)}, the moment of the decision")


def check_hosts(submissions: Sequence[WorkloadSubmission], context: DecisionContext, path: str = "") -> None:
    """Refuse a host that is no data centre here, or is OFFLINE."""
    known = {centre.dc_id for centre in context.data_centres}
    for number, submission in enumerate(submissions):
        if submission.host_dc_id is not None and submission.host_dc_id not in known:
            message = (
                f"{submission.host_dc_id!r} is not a data centre here, or is OFFLINE; leave it out or choose another"
            )
            raise refuse(_field(path, number, "host_dc_id"), message)


def _field(path: str, number: int, name: str) -> str:
    return f"{path}.{number}.{name}" if path else name


def _as_of(context: DecisionContext, at: datetime) -> DecisionContext:
    """The context at another moment; its present signals are then the forecast's."""
    now = context.as_of
    signals = read_signals(context)
    until = signals.origin + _known_half_hours(signals) * HALF_HOUR
    if not half_hour_of(now) <= at < until:
        raise refuse("at", f"is not within the forecast, which reaches from {rfc3339(now)} to {rfc3339(until)}")
    if half_hour_of(at) == signals.origin:
        return context.model_copy(update={"as_of": at})
    position = (half_hour_of(at) - signals.origin) // HALF_HOUR
    national = NationalSignal(
        timestamp=half_hour_of(at),
        grid_stress_score=_figure(signals.grid_stress_score[position]),
        wholesale_price_gbp_mwh=_figure(signals.price_gbp_per_mwh[position]),
    )
    regional = []
    for region in context.regional:
        intensity = _figure(signals.carbon_intensity_gco2_per_kwh[signals.row_of(region.region_id), position])
        present = RegionalSignal(
            timestamp=half_hour_of(at),
            carbon_intensity_gco2_per_kwh=intensity,
            carbon_index=None if intensity is None else carbon_index(intensity, at.year),
            fetched_at=region.forecast.oldest_fetched_at,
        )
        regional.append(region.model_copy(update={"current": present}))
    return context.model_copy(
        update={
            "as_of": at,
            "national": context.national.model_copy(update={"current": national}),
            "regional": tuple(regional),
            # The mix is known for the present only.
            "generation_mix": (),
        }
    )


def _known_half_hours(signals: GridSignals) -> int:
    """How far any region's signals are all known."""
    known = np.flatnonzero(signals.known.any(axis=0))
    return int(known[-1]) + 1 if len(known) else 0


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
