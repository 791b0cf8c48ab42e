"""Endpoints that decide about workloads without storing them: one alone, or up to 500 together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.joint_answer import JointPlanAnswer, joint_plan_answer
from api.what_if import (
    BUSY,
    ConcurrencyLimit,
    WhatIfQuery,
    check_deadlines,
    check_hosts,
    read_context,
    refuse,
    task_of,
)
from api.workloads import WorkloadSubmission, WrittenTime
from database.interface import Database, Row
from decisions.joint.plan import DEFAULT_TIME_LIMIT_S, plan_jointly
from decisions.joint.problem import MOST_JOBS, Job, PlanInputs, ProblemTooLarge
from decisions.publishing.output import published_form
from decisions.publishing.schema import DecisionOutput
from decisions.scoring.decide import decide
from decisions.scoring.freshness import signal_states
from decisions.scoring.signals import read_signals
from decisions.work.present_grid import PresentGrid
from vocabulary import Policy
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Plans", description="What-if decisions: nothing is stored")
LEAST_TIME_LIMIT_S = 0.1
MOST_TIME_LIMIT_S = 30.0


class PlannedWorkload(WorkloadSubmission):
    """A workload of a joint plan."""

    interruptible: bool = Field(False, strict=True, description="Whether it may pause between half-hours")


class JointPlanBody(BaseModel):
    """Workloads to plan together."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "workloads": [
                    {"job_id": "train-1", "workload_type": "TRAINING_RUN", "deferral_window_mins": 720},
                    {"job_id": "etl-1", "workload_type": "DATA_PROCESSING", "urgency": "LOW", "interruptible": True},
                ],
                "policy": "balanced",
                "time_limit_s": 10,
            }
        },
    )

    workloads: list[PlannedWorkload] = Field(min_length=1, max_length=MOST_JOBS)
    policy: Policy = Policy.BALANCED
    at: WrittenTime | None = Field(
        None, description="Plan as of this moment, which must be within the forecast; by default now"
    )
    time_limit_s: float = Field(
        DEFAULT_TIME_LIMIT_S,
        ge=LEAST_TIME_LIMIT_S,
        le=MOST_TIME_LIMIT_S,
        allow_inf_nan=False,
        strict=True,
        description="How long the whole answer may take, seconds",
    )


def plan_endpoints(
    database: Database,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    turns: ConcurrencyLimit,
    carbon_price_gbp_per_t: float,
) -> APIBlueprint:
    """`/api/v1/plan…`. Joint plans wait for their turn: they keep a processor busy for as long as they may."""
    present = PresentGrid(database)
    endpoints = APIBlueprint("plan", __name__, url_prefix="/api/v1/plan", abp_tags=[TAG])

    @endpoints.post(
        "",
        summary="What would be decided about a workload",
        description="The output as it would be published; nothing is stored.",
        responses={200: DecisionOutput},
    )
    def plan(query: WhatIfQuery, body: WorkloadSubmission) -> Response:
        return answer(_plan_alone(present, body, query, clock(), carbon_price_gbp_per_t))

    @endpoints.post(
        "/batch",
        summary="Where and when workloads would run together",
        description="A joint plan under every data centre's capacity in every half-hour, with proof of how good it "
        "is. Only one is worked out at a time: 503 with Retry-After while another is.",
        responses={200: JointPlanAnswer, 503: BUSY},
    )
    def batch(query: NoParameters, body: JointPlanBody) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(plan_together(present, body, clock(), monotonic, turns, carbon_price_gbp_per_t))

    return endpoints


def plan_alone(
    present: PresentGrid,
    workload: WorkloadSubmission,
    query: WhatIfQuery,
    now: datetime,
    carbon_price_gbp_per_t: float,
) -> DecisionOutput:
    """What would be decided about one workload, as a model; nothing is stored.

    Raises:
        Problem: 422, a deadline or a data centre is none, or `at` is not within the forecast.
        DatabaseError: the database does not answer.
    """
    return DecisionOutput.model_validate(_plan_alone(present, workload, query, now, carbon_price_gbp_per_t))


def _plan_alone(
    present: PresentGrid,
    workload: WorkloadSubmission,
    query: WhatIfQuery,
    now: datetime,
    carbon_price_gbp_per_t: float,
) -> Row:
    """The same as the document that is answered."""
    check_deadlines([workload], query.at or now)
    # As of the whole second: those who ask within one share what is reckoned of the grid and of like workloads.
    moment = now.replace(microsecond=0)
    context = read_context(present, task_of(workload), now=moment, at=query.at)
    check_hosts([workload], context)
    decision = decide(context, policy=query.policy, carbon_price_gbp_per_t=carbon_price_gbp_per_t, observed_at=moment)
    return published_form(decision, generated_at=now).document


def plan_together(
    present: PresentGrid,
    asked: JointPlanBody,
    now: datetime,
    monotonic: Callable[[], float],
    turns: ConcurrencyLimit,
    carbon_price_gbp_per_t: float,
) -> JointPlanAnswer:
    """Where and when workloads would run together; nothing is stored.

    Raises:
        Problem: 422, a deadline or a data centre is none, `at` is not within the forecast, or it is too much at once;
            503, others are being worked out.
        DatabaseError: the database does not answer.
    """
    jobs = _jobs(asked.workloads)
    check_deadlines(asked.workloads, asked.at or now, "workloads")
    with turns.take():
        context = read_context(present, jobs[0].task, now=now, at=asked.at)
        check_hosts(asked.workloads, context, "workloads")
        signals = read_signals(context)
        try:
            plan = plan_jointly(
                jobs,
                PlanInputs(context.as_of, signals, context.data_centres, context.capacity),
                monotonic=monotonic,
                policy=asked.policy,
                carbon_price_gbp_per_t=carbon_price_gbp_per_t,
                time_limit_s=asked.time_limit_s,
            )
        except ProblemTooLarge as error:
            raise refuse("workloads", str(error)) from None
    return joint_plan_answer(
        plan,
        policy=asked.policy,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        capacity=context.capacity,
        signal_states=signal_states(context, signals, now),
    )


def _jobs(workloads: Sequence[PlannedWorkload]) -> list[Job]:
    """The workloads with a job_id each: `job-3` is the third one's, if it has none and no other is called so."""
    first: dict[str, int] = {}
    for number, workload in enumerate(workloads):
        if workload.job_id is not None and first.setdefault(workload.job_id, number) != number:
            earlier = f"workloads.{first[workload.job_id]}.job_id"
            raise refuse(f"workloads.{number}.job_id", f"is the same as {earlier}")
    jobs = []
    for number, workload in enumerate(workloads, 1):
        made_up = f"job-{number}"
        while workload.job_id is None and made_up in first:
            made_up += "-"
        jobs.append(Job(task_of(workload, made_up), workload.interruptible))
    return jobs
