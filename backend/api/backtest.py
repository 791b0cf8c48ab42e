"""The endpoint that replays workloads over stored history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.what_if import BUSY, ConcurrencyLimit, check_deadlines, check_hosts, read_context, refuse, task_of
from api.workloads import WorkloadSubmission, WrittenTime
from database.interface import Database
from decisions.backtest.history import SignalHistory, history_of, read_history
from decisions.backtest.replay import (
    HISTORY_AFTER,
    HISTORY_BEFORE,
    PolicyReplay,
    ReplayedWorkload,
    WorkloadReplay,
    replay,
)
from decisions.publishing.schema import tidy
from decisions.scoring.context import SourceCounts
from decisions.scoring.run_totals import Totals
from decisions.work.present_grid import PresentGrid
from grid.half_hours import half_hour_of, rfc3339
from ontology.types import Moment
from vocabulary import Policy
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Back-tests", description="Decisions replayed over stored history")

MOST_WORKLOADS = 20
MOST_DECISIONS = 5_000
"""Moments x workloads x policies: some seconds of work."""
LONGEST_PERIOD = timedelta(days=366)
"""With every region that is some 20,000 half-hours of 20 figures, which are read at once."""

USUAL_PERIOD = timedelta(days=7)
A_DAY_MINS = 1440

ACCOUNTING = [
    "Predicted carbon is the last forecast stored for each half-hour of a region. Earlier revisions are not kept, so "
    "predictions look better here than they were at the time.",
    "Realised carbon is an estimate: that forecast x national actual / national forecast. No regional actual is "
    "published. Where either national figure is unknown, the forecast itself is used.",
    "The predicted price is that of the same half-hour on the last day that has one; the realised price is the "
    "stored one. Grid stress is as stored in both.",
    "Data centres are as they are now, with their present load.",
]
POWER_HELD = (
    "What runs holds its power, in a world of its own for the decisions and for each rule they are compared with: "
    "nothing is credited with power that is not there. Workloads of one moment come in their order."
)
POWER_NOT_HELD = (
    "No power is held: each workload is alone at each moment, so the savings of several moments or workloads may "
    "need power that is not there and do not add up."
)


class BacktestBody(BaseModel):
    """What to replay, and when it is submitted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "workloads": [
                    {"workload_type": "TRAINING_RUN", "required_gpu_mins": 1920, "deferral_window_mins": 720}
                ],
                "from": "2026-11-01T09:00:00Z",
                "to": "2026-11-15T09:00:00Z",
                "every_minutes": A_DAY_MINS,
                "policies": ["balanced", "carbon"],
            }
        },
    )

    workloads: list[WorkloadSubmission] = Field(min_length=1, max_length=MOST_WORKLOADS)
    from_: Annotated[
        WrittenTime | None,
        Field(
            alias="from",
            description="The first moment of decision, at most 366 days before `to`; by default a week before it",
        ),
    ] = None
    to: WrittenTime | None = Field(
        None, description="All moments are before this time, which may not be in the future; by default now"
    )
    every_minutes: int = Field(
        A_DAY_MINS,
        ge=30,
        le=7 * A_DAY_MINS,
        multiple_of=30,
        strict=True,
        description="Minutes from one moment to the next",
    )
    policies: list[Policy] = Field(list(Policy), min_length=1, max_length=len(Policy))
    hold_power: bool = Field(
        True,
        strict=True,
        description="Whether what runs holds its power, so that nothing is credited with power that is not there; "
        "without, each workload is alone at each moment",
    )


class SumsAnswer(BaseModel):
    """Sums over the compared moments."""

    energy_kwh: float
    cost_gbp: float
    carbon_gco2: float
    objective_gbp: float


class SavingAnswer(BaseModel):
    """Per cent less than running now at home; null where running now is not above 0."""

    carbon_pct: float | None
    cost_pct: float | None
    objective_pct: float | None


class PolicyAnswer(BaseModel):
    """A workload's replay under one policy."""

    policy: Policy
    moments: int
    compared: int = Field(description="Moments that the sums cover")
    not_placed: int = Field(description="Moments at which no data centre could take the workload")
    unknown: int = Field(description="Moments for which a figure that the comparison needs is not stored")
    without_room: int = Field(
        description="Moments at which running now, yesterday's hour or foresight finds no power free in its world"
    )
    predicted: SumsAnswer = Field(description="The decisions, by what could be known at the time")
    predicted_run_now: SumsAnswer = Field(description="Running now at home, by what could be known at the time")
    realised: SumsAnswer = Field(description="The decisions, by what actually happened")
    run_now: SumsAnswer = Field(description="Running now at home, by what actually happened")
    yesterdays_best: SumsAnswer = Field(description="The place and hour that were best on the day before")
    perfect_foresight: SumsAnswer = Field(description="What could have been decided if everything had been known")
    predicted_saving: SavingAnswer
    realised_saving: SavingAnswer
    yesterdays_best_saving: SavingAnswer
    perfect_foresight_saving: SavingAnswer
    captured_pct: float | None = Field(
        description="The share of perfect foresight's saving in J that was realised, %"
    )
    worse_than_run_now: int = Field(
        description="Decisions whose J turned out higher than that of running now at home"
    )
    constraints_broken: int = Field(
        description="Decisions that in the event broke a constraint, such as the carbon cap"
    )


class ReplayAnswer(BaseModel):
    """One workload's replay."""

    job_id: str
    policies: list[PolicyAnswer]


class SourcesAnswer(BaseModel):
    """What the history was made of: half-hours by source."""

    half_hours: int
    with_actual_carbon: int = Field(description="Half-hours whose national actual intensity is stored")
    carbon_sources: SourceCounts
    demand_sources: SourceCounts
    price_sources: SourceCounts


class BacktestAnswer(BaseModel):
    """Replays, and what they rest on."""

    as_of: Moment
    carbon_price_gbp_per_t: float
    moments: int
    workloads: list[ReplayAnswer]
    accounting: list[str] = Field(description="How predicted and realised figures are calculated")
    history: SourcesAnswer


def backtest_endpoints(
    database: Database, clock: Callable[[], datetime], turns: ConcurrencyLimit, carbon_price_gbp_per_t: float
) -> APIBlueprint:
    """`/api/v1/backtest`. Replays wait for their turn with the joint plans."""
    present = PresentGrid(database)
    endpoints = APIBlueprint("backtest", __name__, url_prefix="/api/v1/backtest", abp_tags=[TAG])

    @endpoints.post(
        "",
        summary="What decisions would have achieved",
        description="Each workload is submitted anew at every moment, decided on what could be known then and "
        "settled by what actually happened; a deadline keeps its distance from the moment. 503 with Retry-After "
        "while a joint plan or another back-test is being worked out.",
        responses={200: BacktestAnswer, 503: BUSY},
    )
    def backtest(query: NoParameters, body: BacktestBody) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(replay_past(database, present, body, clock(), turns, carbon_price_gbp_per_t))

    return endpoints


def replay_past(
    database: Database,
    present: PresentGrid,
    asked: BacktestBody,
    now: datetime,
    turns: ConcurrencyLimit,
    carbon_price_gbp_per_t: float,
) -> BacktestAnswer:
    """What decisions would have achieved over stored history; nothing is stored.

    Raises:
        Problem: 422, a period, deadline or data centre is none, or it is too much at once; 503, others are being
            worked out.
        DatabaseError: the database does not answer.
    """
    moments = _moments(asked, now)
    workloads = [
        ReplayedWorkload(
            task_of(submission, f"workload-{number}"),
            None if submission.deadline is None else submission.deadline - now,
        )
        for number, submission in enumerate(asked.workloads, 1)
    ]
    check_deadlines(asked.workloads, now, "workloads")
    # The running half-hour is not over, so what is stored of it is no history yet.
    end = min(moments[-1] + HISTORY_AFTER, half_hour_of(now))
    with turns.take():
        context = read_context(present, workloads[0].task, now=now, at=None)
        check_hosts(asked.workloads, context, "workloads")
        stored = read_history(database, moments[0] - HISTORY_BEFORE, end)
        replays = replay(
            workloads,
            context.data_centres,
            history_of(stored),
            moments,
            policies=list(dict.fromkeys(asked.policies)),
            carbon_price_gbp_per_t=carbon_price_gbp_per_t,
            hold_power=asked.hold_power,
        )
    return BacktestAnswer(
        as_of=now,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        moments=len(moments),
        workloads=[_replay(one) for one in replays],
        accounting=[*ACCOUNTING, POWER_HELD if asked.hold_power else POWER_NOT_HELD],
        history=_sources(stored),
    )


def _moments(body: BacktestBody, now: datetime) -> Sequence[datetime]:
    end = body.to or now
    first = body.from_ or end - USUAL_PERIOD
    if end > now:
        raise refuse("to", f"is after now ({rfc3339(now)}): only the past can be replayed")
    if first >= end:
        raise refuse("from", "is not earlier than to")
    if end - first > LONGEST_PERIOD:
        raise refuse(
            "from",
            f"is more than {LONGEST_PERIOD.days} days before to ({rfc3339(end)}): replay a longer period in pieces",
        )
    step = timedelta(minutes=body.every_minutes)
    count = -((first - end) // step)
    decisions = count * len(body.workloads) * len(set(body.policies))
    if decisions > MOST_DECISIONS:
        raise refuse(
            "every_minutes",
            f"makes {decisions} decisions (moments x workloads x policies), more than the {MOST_DECISIONS} allowed: "
            "take fewer moments, workloads or policies",
        )
    return [first + number * step for number in range(count)]


def _replay(found: WorkloadReplay) -> ReplayAnswer:
    return ReplayAnswer(job_id=found.task.job_id, policies=[_policy(one) for one in found.policies])


def _policy(found: PolicyReplay) -> PolicyAnswer:
    return PolicyAnswer(
        policy=found.policy,
        moments=found.moments,
        compared=found.compared,
        not_placed=found.not_placed,
        unknown=found.unknown,
        without_room=found.without_room,
        predicted=_sums(found.predicted),
        predicted_run_now=_sums(found.predicted_run_now),
        realised=_sums(found.realised),
        run_now=_sums(found.run_now),
        yesterdays_best=_sums(found.yesterdays_best),
        perfect_foresight=_sums(found.perfect_foresight),
        predicted_saving=_saving(found.predicted, found.predicted_run_now),
        realised_saving=_saving(found.realised, found.run_now),
        yesterdays_best_saving=_saving(found.yesterdays_best, found.run_now),
        perfect_foresight_saving=_saving(found.perfect_foresight, found.run_now),
        captured_pct=None if found.captured is None else tidy(100 * found.captured),
        worse_than_run_now=found.worse_than_run_now,
        constraints_broken=found.constraints_broken,
    )


def _sums(totals: Totals) -> SumsAnswer:
    return SumsAnswer(
        energy_kwh=tidy(totals.energy_kwh),
        cost_gbp=tidy(totals.cost_gbp),
        carbon_gco2=tidy(totals.carbon_gco2),
        objective_gbp=tidy(totals.objective_gbp),
    )


def _saving(totals: Totals, run_now: Totals) -> SavingAnswer:
    return SavingAnswer(
        carbon_pct=_less_pct(totals.carbon_gco2, run_now.carbon_gco2),
        cost_pct=_less_pct(totals.cost_gbp, run_now.cost_gbp),
        objective_pct=_less_pct(totals.objective_gbp, run_now.objective_gbp),
    )


def _less_pct(value: float, reference: float) -> float | None:
    return tidy(100 * (1 - value / reference)) if reference > 0 else None


def _sources(stored: SignalHistory) -> SourcesAnswer:
    national = stored.national
    return SourcesAnswer(
        half_hours=len(national.wholesale_price_gbp_mwh),
        with_actual_carbon=sum(value is not None for value in national.actual_carbon_intensity_gco2_per_kwh),
        carbon_sources=national.carbon_sources,
        demand_sources=national.demand_sources,
        price_sources=national.price_sources,
    )
