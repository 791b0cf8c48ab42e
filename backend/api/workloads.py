"""Endpoints about workloads: submitting them, and seeing what became of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    StringConstraints,
    ValidationError,
)
from pydantic import Tag as Branch
from pydantic.fields import FieldInfo

from database.interface import Database
from database.stored_rows import LEFT_OUT, UnreadableRow, left_out, read_alone, read_each, unreadable_row
from execution.runner.parameters import LONGEST_VALUE, MOST_PARAMETERS
from execution.runner.protocol import Ended, HalfHourEnergy, ParameterName, TemplateName
from grid.half_hours import UTC, rfc3339
from ontology.types import ComputeWorkload, Moment
from vocabulary import WorkloadStatus, WorkloadType
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import Paged, PlainText
from web.problems import Problem
from workloads.model import About, AmountOf, Workload
from workloads.reshaping import reshaped

TAG = Tag(name="Workloads", description="Jobs that wait for a place and a time")
MOST_AT_ONCE = 1000
EARLIEST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_TIME = datetime(2200, 1, 1, tzinfo=UTC)

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


def _written_out(value: object) -> object:
    # Pydantic would also take a number of seconds since 1970, and a date.
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("write the time as text, such as 2026-11-22T18:00:00Z")
    return value


def _within_reach(moment: datetime) -> datetime:
    # As the tables have it: what is further away can neither be stored nor reckoned with.
    if not EARLIEST_TIME <= moment < LATEST_TIME:
        raise ValueError(f"write a time from {EARLIEST_TIME.year} to {LATEST_TIME.year - 1}")
    return moment


WrittenTime = Annotated[Moment, BeforeValidator(_written_out), AfterValidator(_within_reach)]


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]  # null, which the type does not take


def absent(meaning: str) -> Any:
    """A value that may be left out, but not null."""
    return Field(None, description=meaning, json_schema_extra=_without_default)


def _as_submitted(_field: FieldInfo, about: About) -> tuple[Any, Any] | None:
    """A finite amount that may be left out, but not null."""
    if not isinstance(about, AmountOf):
        return None
    field = Field(
        None,
        ge=0,
        le=about.most_submitted,
        allow_inf_nan=False,
        strict=True,
        description=about.question,
        json_schema_extra=_without_default,
    )
    return about.number, field


def _takes_part_in_text(value: str) -> str:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("holds a character that no command can be given")
    return value


ParameterValue = Annotated[
    str, StringConstraints(strict=True, max_length=LONGEST_VALUE), AfterValidator(_takes_part_in_text)
]


class RunRequest(BaseModel):
    """What a runner is to run: a template that its owner has configured, and values for its parameters."""

    model_config = ConfigDict(extra="forbid")

    template: TemplateName = Field(description="The template's name, which a registered runner offers")
    parameters: dict[ParameterName, ParameterValue] = Field(
        default_factory=dict,
        max_length=MOST_PARAMETERS,
        description="Texts, each of which must match the template's pattern from end to end",
    )


@reshaped(_as_submitted)
class WorkloadSubmission(Workload):
    """A workload as a client sends it. Leave out what does not apply; null is refused."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "job_id": "train-llm-7",
                "workload_type": "TRAINING_RUN",
                "urgency": "LOW",
                "required_gpu_mins": 4800,
                "carbon_cap_gco2": 200,
                "max_price_gbp": 60,
                "deferral_window_mins": 720,
            }
        },
    )

    job_id: Key = absent("Identity of the job; one is generated when it is left out")
    operator: Key = absent("Who owns it: an operator_id that is known here")
    host_dc_id: Key = absent("Where it would run without us: a dc_id that is known here")
    deadline: WrittenTime = absent("When it must have finished; in the future")
    run: RunRequest = absent("What a runner is to run for it; left out, its run is simulated")

    def digest(self) -> str:
        """What tells a repeated submission from a changed one."""
        content = self.model_dump(mode="json", exclude={"job_id"}, exclude_none=True, warnings=False)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def row(self) -> dict[str, Any]:
        """The columns it sets."""
        return self.model_dump(mode="json", warnings=False) | {
            "job_id": self.job_id or f"JOB-{uuid4()}",
            "submission_digest": self.digest(),
        }


ONE, MANY = "<one>", "<many>"


class WorkloadsBody(
    RootModel[
        Annotated[
            Annotated[WorkloadSubmission, Branch(ONE)]
            | Annotated[
                Annotated[list[WorkloadSubmission], Field(min_length=1, max_length=MOST_AT_ONCE)],
                Branch(MANY),
            ],
            Discriminator(lambda body: MANY if isinstance(body, list) else ONE),
        ]
    ]
):
    """One workload, or a list of up to 1,000; either all are stored or none."""

    def submissions(self) -> list[WorkloadSubmission]:
        return self.root if isinstance(self.root, list) else [self.root]


class Stored(BaseModel):
    """The rows of a submission as they are stored, and which of them are new."""

    created: list[str] = Field(description="job_ids that were new")
    workloads: list[ComputeWorkload]


class DecisionBrief(BaseModel):
    """The newest decision about a workload."""

    decision_id: str
    sequence: int | None
    chosen_dc_id: str | None
    recommended_start: Moment | None
    scorer: str
    reasoning: str | None
    decided_at: Moment
    output: dict[str, Any] | None = Field(description="The published output; null in lists")


class WorkloadRow(ComputeWorkload):
    """A workload with its newest decision, once there is one."""

    decision: DecisionBrief | None


class WorkloadPage(BaseModel):
    """Workloads, newest first."""

    workloads: list[WorkloadRow]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")
    matching: int | None = Field(
        None, description="How many there are in all, with count=true; 10001 is that many or more"
    )
    unreadable: list[UnreadableRow] = Field([], description=LEFT_OUT)


class RunReport(BaseModel):
    """What a runner has said of a workload's newest run. Null is what is not known, or not yet."""

    run_id: int
    job_id: str
    dc_id: str
    runner_id: str
    taken_at: Moment
    began_at: Moment | None
    heard_at: Moment
    ended: Ended | None = Field(description="How it ended; null while it has not")
    exit_status: int | None
    signal: int | None
    cause: str | None = Field(description="Why its runner ended it, if it did")
    reason: str | None
    output_tail: str | None = Field(description="The end of its output")
    output_bytes: int | None = Field(description="How long its output was")
    run_s: float | None = Field(description="How long it ran, seconds")
    energy: list[HalfHourEnergy] = Field(description="IT energy by the half-hour, with its source")
    ended_at: Moment | None


class WorkloadsQuery(Paged):
    status: WorkloadStatus | None = Field(None, description="Only workloads in this status")
    operator: PlainText | None = Field(None, description="Only this operator's")
    host_dc_id: PlainText | None = Field(None, description="Only those placed in this data centre")
    workload_type: WorkloadType | None = Field(None, description="Only those of this type")
    count: bool = Field(False, description="Whether to count them all")

    def filter(self) -> dict[str, str]:
        """What is asked for, by column."""
        wanted = {
            "status": self.status,
            "operator": self.operator,
            "host_dc_id": self.host_dc_id,
            "workload_type": self.workload_type,
        }
        return {column: str(value) for column, value in wanted.items() if value is not None}


class JobPath(BaseModel):
    job_id: str = Field(description="Identity of the job", json_schema_extra={"example": "train-llm-7"})


def workload_endpoints(
    database: Database, clock: Callable[[], datetime], count: Callable[[int], None] = lambda _: None
) -> APIBlueprint:
    """`/api/v1/workloads…`; `count` is told how many workloads come in, and raises where that is too many."""
    endpoints = APIBlueprint("workloads", __name__, url_prefix="/api/v1/workloads", abp_tags=[TAG])

    @endpoints.post(
        "",
        summary="Submit workloads",
        description="A job_id that is stored already: 200 if the submission is the same, 409 if it differs.",
        responses={
            201: Stored,
            200: Stored,
            409: problem_answer("A job_id is already stored with different contents"),
            429: problem_answer("The operator has submitted, or has open, as many workloads as it may"),
        },
    )
    def submit(body: WorkloadsBody) -> Response:
        submissions = body.submissions()
        _check_deadlines(body, clock())
        _check_distinct(submissions)
        _check_templates(body, database)
        count(len(submissions))
        rows = [submission.row() for submission in submissions]
        # Repeated after a lost connection it finds its own rows: every one has its job_id by now.
        result = database.call("submit_workloads", {"p_rows": rows}, repeatable=True)
        _check_stored(result)
        stored = {"created": result["created"], "workloads": list(map(_workload, result["rows"]))}
        return answer(stored, 201 if result["created"] else 200)

    @endpoints.get("", summary="Workloads, newest first", responses={200: WorkloadPage})
    def workloads(query: WorkloadsQuery) -> Response:
        page = read_workloads(database, query)
        counted = {} if page.matching is None else {"matching": page.matching}
        return answer({"workloads": page.workloads, "next": page.next, **counted, **left_out(page.unreadable)})

    @endpoints.get("/<job_id>", summary="One workload and its decision", responses={200: WorkloadRow})
    def workload(path: JobPath) -> Response:
        return answer(read_workload(database, path.job_id))

    @endpoints.get("/<job_id>/run", summary="What a runner has run for it", responses={200: RunReport})
    def run(path: JobPath) -> Response:
        found = None
        if "\x00" not in path.job_id:
            found = database.call("workload_run", {"p_job_id": path.job_id}, repeatable=True)
        if found is None:
            raise Problem(404, f"no runner has taken the workload {path.job_id!r}: its status says how it stands")
        return answer(RunReport.model_validate(found))

    return endpoints


def read_workloads(database: Database, query: WorkloadsQuery) -> WorkloadPage:
    """A page of workloads, the newest first.

    Raises:
        Problem: 422, `after` is no workload's.
        DatabaseError: the database does not answer.
    """
    asked = {
        "p_filter": query.filter(),
        "p_after": query.after,
        "p_limit": query.limit + 1,
        "p_counted": query.count,
    }
    page = database.call("workload_list", asked, repeatable=True)
    if not page["known_after"]:
        raise Problem(422, f"after={query.after!r} is not the job_id of a workload")
    found = page["workloads"][: query.limit]
    rows, unreadable = read_each(_with_decision, found, _name)
    following = found[-1]["workload"]["job_id"] if len(page["workloads"]) > query.limit else None
    return WorkloadPage(workloads=rows, next=following, matching=page["matching"], unreadable=unreadable)


def read_workload(database: Database, job_id: str) -> WorkloadRow:
    """One workload with its newest decision.

    Raises:
        Problem: 404.
        RowUnreadable: it is stored, and cannot be read.
        DatabaseError: the database does not answer.
    """
    detail = None
    if "\x00" not in job_id:
        detail = database.call("workload_detail", {"p_job_id": job_id}, repeatable=True)
    if detail is None:
        raise Problem(404, f"there is no workload {job_id!r}: GET /api/v1/workloads lists them")
    return read_alone(_with_decision, detail, _name(detail))


def _check_templates(body: WorkloadsBody, database: Database) -> None:
    """Whether a runner offers what is to be run, with the parameters that are given."""
    if all(submission.run is None for submission in body.submissions()):
        return
    offered = database.call("offered_templates", {}, repeatable=True)["templates"]
    errors = [
        {"field": f"{number}.run" if isinstance(body.root, list) else "run", "message": fault}
        for number, submission in enumerate(body.submissions())
        if submission.run is not None and (fault := _fault_of_run(submission.run, offered)) is not None
    ]
    if errors:
        raise Problem(422, f"invalid: {errors[0]['field']} {errors[0]['message']}", errors=errors[:100])


def _fault_of_run(run: RunRequest, offered: list[dict[str, Any]]) -> str | None:
    """What is wrong with it, by what runners have registered. They alone match values against patterns."""
    named = [template for template in offered if template["name"] == run.template]
    if not named:
        known = ", ".join(sorted({template["name"] for template in offered})[:20]) or "none yet"
        return f"names the template {run.template}, which no runner offers; there are: {known}"
    faults = [_fault_of_parameters(run, template["parameters"]) for template in named]
    return None if None in faults else faults[0]


def _fault_of_parameters(run: RunRequest, known: dict[str, Any]) -> str | None:
    if unknown := sorted(run.parameters.keys() - known.keys()):
        takes = ", ".join(sorted(known)) or "none"
        return f"has the parameter {unknown[0]}, which the template {run.template} does not take; it takes: {takes}"
    missing = sorted(name for name in known.keys() - run.parameters.keys() if not known[name]["optional"])
    return f"lacks the parameter {missing[0]} of the template {run.template}" if missing else None


def _check_deadlines(body: WorkloadsBody, now: datetime) -> None:
    errors = [
        {
            "field": f"{number}.deadline" if isinstance(body.root, list) else "deadline",
            "message": f"is not in the future: it is now {rfc3339(now)}",
        }
        for number, submission in enumerate(body.submissions())
        if submission.deadline is not None and submission.deadline <= now
    ]
    if errors:
        raise Problem(422, f"invalid: {errors[0]['field']} {errors[0]['message']}", errors=errors[:100])


def _check_distinct(submissions: list[WorkloadSubmission]) -> None:
    first: dict[str, int] = {}
    for number, submission in enumerate(submissions):
        earlier = first.setdefault(submission.job_id, number) if submission.job_id else number
        if earlier != number:
            field = f"{number}.job_id"
            message = f"is the same as {earlier}.job_id"
            raise Problem(422, f"invalid: {field} {message}", errors=[{"field": field, "message": message}])


def _check_stored(result: dict[str, Any]) -> None:
    if "conflicts" in result:
        raise Problem(
            409,
            f"job_id {', '.join(result['conflicts'][:10])} is already stored with different contents; "
            "nothing was stored: choose another job_id",
            conflicts=result["conflicts"],
        )
    if "over_limit" in result:
        over = result["over_limit"]
        raise Problem(
            429,
            f"the operator's limit is reached: {over['open']} workloads are open, and {over['limit']} is "
            f"{over['allowed']}; nothing was stored",
            limit=over["limit"],
        )
    for field, unknown, known in (
        ("operator", "unknown_operators", "known_operators"),
        ("host_dc_id", "unknown_data_centres", "known_data_centres"),
    ):
        if unknown in result:
            message = f"{', '.join(result[unknown][:10])} is not known here"
            raise Problem(
                422,
                f"invalid: {field} {message}; leave it out or use a known one",
                errors=[{"field": field, "message": message}],
                **{known: result[known]},
            )


def _workload(row: dict[str, Any]) -> ComputeWorkload:
    return ComputeWorkload.model_validate(row)


def _with_decision(found: dict[str, Any]) -> WorkloadRow:
    return WorkloadRow.model_validate(found["workload"] | {"decision": _decision(found["decision"])})


def _decision(row: dict[str, Any] | None) -> DecisionBrief | None:
    if row is None:
        return None
    try:
        return DecisionBrief.model_validate(row)
    except ValidationError as error:
        # Of the audit log, where nothing is mended: the workload is shown without it.
        unreadable_row(f"OrchestrationDecision/{row['decision_id']}", error)
        return None


def _name(found: dict[str, Any]) -> str:
    return f"ComputeWorkload/{found['workload']['job_id']}"
