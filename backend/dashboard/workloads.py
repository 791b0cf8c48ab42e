"""The pages of workloads: all of them, one of them, and the form for a new one with a what-if beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response
from pydantic import ValidationError

from api.plan import plan_alone
from api.what_if import WhatIfQuery
from api.workload_life import read_life
from api.workloads import WorkloadsQuery, WorkloadSubmission, read_workload, read_workloads
from dashboard.decision_view import DecisionView, decision_view, readable_output
from dashboard.newest_work import EXAMPLE
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.workload_life import OPEN_STATUSES, account_of, steps_of
from database.interface import Database, OrderBy
from decisions.publishing.schema import PublishedTask
from decisions.work.present_grid import PresentGrid
from grid.half_hours import rfc3339
from ontology.types import DataCentre
from vocabulary import Policy, Urgency, WorkloadStatus, WorkloadType
from web.problems import Problem

ROWS_A_PAGE = 50
MOST_COUNTED = 10_000
MOST_DATA_CENTRES = 1000
FILTERS = ("status", "workload_type", "host_dc_id", "operator")
NUMBERS = {
    "required_gpu_mins": float,
    "required_cpu_cores": int,
    "required_memory_gb": float,
    "estimated_energy_kwh": float,
    "carbon_cap_gco2": float,
    "max_price_gbp": float,
    "deferral_window_mins": int,
}
"""The fields of the form that are numbers, and of which kind."""

TEXTS = ("job_id", "workload_type", "urgency", "deadline", "host_dc_id")


def workload_pages(
    dashboard: Blueprint,
    pages: Pages,
    database: Database,
    clock: Callable[[], datetime],
    carbon_price_gbp_per_t: float,
) -> None:
    """`/dashboard/workloads`, `/dashboard/workloads/new` and `/dashboard/workloads/<job_id>`"""
    present = PresentGrid(database)

    @dashboard.get("/workloads")
    def workloads() -> Response:
        given = given_values()
        faults: dict[str, str] = {}
        try:
            query = WorkloadsQuery.model_validate({"limit": ROWS_A_PAGE, "count": True, **given})
        except ValidationError as error:
            faults = faults_of(error)
            query = WorkloadsQuery(limit=ROWS_A_PAGE, count=True)
        page = read_workloads(database, query)
        filters = {name: given[name] for name in FILTERS if name in given and not faults}
        return pages.page(
            "workloads.html",
            "workloads",
            "Workloads",
            json=JsonLink(f"/api/v1/workloads?{urlencode({**filters, 'limit': query.limit})}"),
            page=page,
            faults=faults,
            filters=filters,
            statuses=list(WorkloadStatus),
            types=list(WorkloadType),
            centres=centre_names(database),
            is_later_page=query.after is not None,
            following=following("dashboard.workloads", page.next, filters),
            most_counted=MOST_COUNTED,
        )

    @dashboard.get("/workloads/new")
    def new_workload() -> Response:
        given = given_values()
        faults: dict[str, str] = {}
        view: DecisionView | None = None
        if "workload_type" in given:
            now = clock()
            try:
                query = WhatIfQuery(policy=Policy(given.get("policy", Policy.BALANCED)))
                submission = WorkloadSubmission.model_validate(fields_of(given))
                view = decision_view(plan_alone(present, submission, query, now, carbon_price_gbp_per_t), now)
            except ValidationError as error:
                faults = faults_of(error)
            except Problem as problem:
                faults = faults_told(problem)
            except ValueError:
                faults = {"policy": "choose one of the list"}
        return pages.page(
            "new_workload.html",
            "workloads",
            "A new workload",
            json=JsonLink("/api/v1/plan", "The same by POST"),
            is_posted=True,
            given=given,
            faults=faults,
            view=view,
            types=list(WorkloadType),
            urgencies=list(Urgency),
            policies=list(Policy),
            example=EXAMPLE,
            centres=centre_names(database),
        )

    @dashboard.get("/workloads/<job_id>")
    def workload(job_id: str) -> Response:
        now = clock()
        row = read_workload(database, job_id)
        centres = centre_names(database)
        life = read_life(database, row)
        output = None if row.decision is None else readable_output(row.decision.output)
        return pages.page(
            "workload.html",
            "workloads",
            job_id,
            json=JsonLink(f"/api/v1/workloads/{quote(job_id, safe='')}"),
            row=row,
            steps=steps_of(life, row.operator, centres, reason=row.status_reason),
            account=account_of(life),
            view=None if output is None else decision_view(output, now),
            is_open=row.status in OPEN_STATUSES,
            centres=centres,
        )


def fields_of(given: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a submission as a form sends them: texts, of which some are numbers and one is a time of UTC."""
    found: dict[str, Any] = {name: given[name] for name in TEXTS if name in given}
    for name, kind in NUMBERS.items():
        if name in given:
            try:
                found[name] = kind(given[name])
            except ValueError:
                found[name] = given[name]  # whose fault the model tells
    if "deadline" in found and not found["deadline"].upper().endswith("Z"):
        found["deadline"] += "Z"  # a browser's field for a time has no zone
    return found


def faults_of(error: ValidationError) -> dict[str, str]:
    """Of each field at fault, what is wrong with it."""
    return {
        str(fault["loc"][0]) if fault["loc"] else "": fault["msg"]
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    }


def faults_told(problem: Problem) -> dict[str, str]:
    """Of each field at fault, what a 422 says of it; any other problem is raised again."""
    if problem.status != 422:
        raise problem
    return {fault["field"]: fault["message"] for fault in problem.members.get("errors", ())}


def question_of(task: PublishedTask, now: datetime) -> dict[str, str]:
    """The fields of the form that ask the same of a workload again, without its name or a deadline that is over."""
    asked = {name: getattr(task, name) for name in ("workload_type", "urgency", "host_dc_id", *NUMBERS)}
    found = {name: str(value) for name, value in asked.items() if value is not None}
    if task.deferral_window_mins is not None:
        found["deferral_window_mins"] = str(int(task.deferral_window_mins))
    if task.deadline is not None and task.deadline > now:
        found["deadline"] = rfc3339(task.deadline)[:16]
    return found


def centre_names(database: Database) -> dict[str, str]:
    """What every data centre is called, by its dc_id."""
    rows = database.select(
        DataCentre.table, order=OrderBy(("dc_id",)), columns=["dc_id", "name"], limit=MOST_DATA_CENTRES
    )
    return {row["dc_id"]: row["name"] for row in rows}
