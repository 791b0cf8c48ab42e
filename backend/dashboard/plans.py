"""The pages that ask what would be, or would have been: a joint plan and a back-test. Answers have an address."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from flask import Blueprint, Response, request
from pydantic import ValidationError

from api.backtest import BacktestAnswer, BacktestBody, PolicyAnswer, replay_past
from api.joint_answer import JointPlanAnswer
from api.plan import LEAST_TIME_LIMIT_S, MOST_TIME_LIMIT_S, JointPlanBody, plan_together
from api.what_if import ConcurrencyLimit
from dashboard.gantt import draw_gantt, in_order, plan_axis, power_panels
from dashboard.page import JsonLink, Pages
from dashboard.paging import given_values
from dashboard.workloads import centre_names, faults_told, fields_of
from database.interface import Database
from decisions.work.present_grid import PresentGrid
from vocabulary import Policy, Urgency, WorkloadType
from web.problems import Problem

USUAL_TIME_LIMIT_S = 5
EXAMPLE: tuple[dict[str, Any], ...] = (
    {"job_id": "train-1", "workload_type": "TRAINING_RUN", "required_gpu_mins": 9600, "deferral_window_mins": 1440},
    {"job_id": "train-2", "workload_type": "TRAINING_RUN", "required_gpu_mins": 4800, "deferral_window_mins": 1440},
    {"job_id": "tune-1", "workload_type": "FINE_TUNING", "required_gpu_mins": 2400, "deferral_window_mins": 720},
    {"job_id": "etl-1", "workload_type": "DATA_PROCESSING", "estimated_energy_kwh": 40, "interruptible": True},
    {"job_id": "serve-1", "workload_type": "INFERENCE_BATCH", "required_gpu_mins": 1200, "urgency": "HIGH"},
)
"""What the form of joint plans begins with."""

TURN_FAULT = "this server"
"""Whose fault it is that somebody has to wait for a turn."""

Found = TypeVar("Found")


def plan_pages(
    dashboard: Blueprint,
    pages: Pages,
    database: Database,
    clock: Callable[[], datetime],
    turns: ConcurrencyLimit,
    carbon_price_gbp_per_t: float,
) -> None:
    """`/dashboard/plan` and `/dashboard/backtest`"""
    present = PresentGrid(database)

    @dashboard.get("/plan")
    def joint_plan() -> Response:
        given = given_values()
        plan: JointPlanAnswer | None = None
        faults: dict[str, str] = {}
        if "workloads" in given:
            now = clock()
            plan, faults = _answered(
                lambda: plan_together(present, plan_asked(given), now, time.monotonic, turns, carbon_price_gbp_per_t),
                _whole_field,
            )
        centres = centre_names(database)
        axis = None if plan is None else plan_axis(plan)
        return pages.page(
            "plan.html",
            "plans",
            "Joint plan",
            json=JsonLink("/api/v1/plan/batch", "The same by POST"),
            is_posted=True,
            status=_status(faults),
            given={"workloads": example(), "time_limit_s": str(USUAL_TIME_LIMIT_S), **given},
            faults=faults,
            plan=plan,
            jobs=[] if plan is None else in_order(plan),
            gantt=None if plan is None or axis is None else draw_gantt(plan, axis, centres),
            panels=[] if plan is None or axis is None else power_panels(plan, axis, centres),
            policies=list(Policy),
            limits=(LEAST_TIME_LIMIT_S, MOST_TIME_LIMIT_S),
            centres=centres,
        )

    @dashboard.get("/backtest")
    def backtest() -> Response:
        given = given_values()
        found: BacktestAnswer | None = None
        faults: dict[str, str] = {}
        if "workload_type" in given:
            now = clock()
            policies = [value for value in request.args.getlist("policies") if value]
            found, faults = _answered(
                lambda: replay_past(
                    database, present, backtest_asked(given, policies), now, turns, carbon_price_gbp_per_t
                ),
                _inner_field,
            )
        return pages.page(
            "backtest.html",
            "plans",
            "Back-test",
            json=JsonLink("/api/v1/backtest", "The same by POST"),
            is_posted=True,
            status=_status(faults),
            given=given,
            faults=faults,
            found=found,
            replays=[] if found is None else found.workloads[0].policies,
            longest_gbp=0.0 if found is None else longest_gbp(found.workloads[0].policies),
            types=list(WorkloadType),
            urgencies=list(Urgency),
            centres=centre_names(database),
        )


def example() -> str:
    """The text that the form of joint plans begins with: one workload a line."""
    return "[" + ",\n ".join(json.dumps(workload) for workload in EXAMPLE) + "]"


def plan_asked(given: Mapping[str, str]) -> JointPlanBody:
    """The question of a joint plan's form.

    Raises:
        ValidationError: a field is at fault.
        Problem: 422, the workloads are no JSON.
    """
    try:
        workloads = json.loads(given["workloads"])
    except (ValueError, RecursionError) as error:
        message = f"is no JSON: {error}"
        raise Problem(422, message, errors=[{"field": "workloads", "message": message}]) from None
    asked: dict[str, Any] = {"workloads": workloads if isinstance(workloads, list) else [workloads]}
    if "policy" in given:
        asked["policy"] = given["policy"]
    if "time_limit_s" in given:
        asked["time_limit_s"] = _number(given["time_limit_s"], float)
    return JointPlanBody.model_validate(asked)


def backtest_asked(given: Mapping[str, str], policies: list[str]) -> BacktestBody:
    """The question of a back-test's form, about one workload.

    Raises:
        ValidationError: a field is at fault.
    """
    asked: dict[str, Any] = {"workloads": [fields_of(given)]}
    for name in ("from", "to"):
        if name in given:
            # A browser's field for a time has no zone; it is UTC here.
            asked[name] = given[name] if given[name].upper().endswith("Z") else given[name] + "Z"
    if "every_minutes" in given:
        asked["every_minutes"] = _number(given["every_minutes"], int)
    if policies:
        asked["policies"] = policies
    return BacktestBody.model_validate(asked)


def longest_gbp(policies: list[PolicyAnswer]) -> float:
    """The longest of the bars that compare what a back-test's ways of deciding came to, in £ of J."""
    sums = [
        each.objective_gbp
        for one in policies
        for each in (one.run_now, one.yesterdays_best, one.predicted, one.realised, one.perfect_foresight)
    ]
    return max([0.0, *sums])


def _answered(
    ask: Callable[[], Found], field_of: Callable[[Sequence[str]], str]
) -> tuple[Found | None, dict[str, str]]:
    """An answer, or of each field of the form at fault what is wrong with it."""
    try:
        return ask(), {}
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [([str(part) for part in fault["loc"]], fault["msg"]) for fault in told]
    except Problem as problem:
        if problem.status == 503:
            return None, {TURN_FAULT: problem.detail}
        faults = [(field.split("."), message) for field, message in faults_told(problem).items()]
    found: dict[str, str] = {}
    for place, message in faults:
        field = field_of(place)
        within = ".".join(place[1:]) if place[0] == field and len(place) > 1 else ""
        found.setdefault(field, f"{within}: {message}" if within else message)
    return None, found


def _whole_field(place: Sequence[str]) -> str:
    """A joint plan's form has all workloads in one field."""
    return place[0] if place else ""


def _inner_field(place: Sequence[str]) -> str:
    """A back-test's form has a field for each property of its one workload."""
    return place[-1] if place else ""


def _status(faults: Mapping[str, str]) -> int:
    return 503 if TURN_FAULT in faults else 200


def _number(text: str, kind: Callable[[str], float]) -> float | str:
    try:
        return kind(text)
    except ValueError:
        return text  # whose fault the model tells
