"""Endpoints about the published outputs: the newest, acknowledging, the history, and an output's parts."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from database.interface import Row
from decisions.publishing.schema import DataCentreOption, DecisionOutput, PublishedTask
from decisions.publishing.store import PublishedDecisions
from gateway.endpoints.parameters import DEFAULT_CONSUMER, Consumer, JsonSequence, Sequence, TaskId
from gateway.serving.pages import bounded_pages
from gateway.serving.ready_responses import Asked, NewestOutputs, ReadyAnswers
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters, StrictQuery
from web.problems import Problem

TAG = Tag(name="Outputs", description="The published decisions")


class NewestQuery(StrictQuery):
    consumer: Consumer = Field(DEFAULT_CONSUMER, description="Whose acknowledgements count")
    task_id: TaskId | None = Field(None, description="The newest output for this task, acknowledged or not")


class NewestOutput(BaseModel):
    """The newest output that the consumer has not acknowledged, or why there is none."""

    status: Literal["success", "empty"]
    message: str | None = Field(None, description="Why there is none; only when it is empty")
    output: DecisionOutput | None


class Acknowledged(BaseModel):
    """A consumer has seen a task's outputs."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"task_id": "train-1", "consumer": "bpp", "sequence": 17}}
    )

    task_id: TaskId
    consumer: Consumer = DEFAULT_CONSUMER
    sequence: JsonSequence | None = Field(
        None, description="Only outputs up to this number: one that is published meanwhile stays unacknowledged"
    )


class Cleared(BaseModel):
    """`cleared` is whether anything was unacknowledged until now."""

    status: Literal["success"] = "success"
    cleared: bool


class HistoryQuery(StrictQuery):
    limit: int = Field(20, ge=1, le=100, description="How many to return at most")
    after: Sequence | None = Field(None, description="Go on after this: `next` of the previous answer")


class History(BaseModel):
    """Outputs, newest first."""

    status: Literal["success"] = "success"
    count: int = Field(description="How many are in this answer; fewer at a time when they are large")
    outputs: list[DecisionOutput]
    next: int | None = Field(description="Pass this as after= to go on; null at the end")


class TaskPath(BaseModel):
    task_id: str = Field(description="The workload's job_id", json_schema_extra={"example": "train-1"})


class OptionPath(TaskPath):
    dc_id: str = Field(description="A data centre of the output", json_schema_extra={"example": "DC-001"})


def output_endpoints(published: PublishedDecisions, outputs: NewestOutputs, ready: ReadyAnswers) -> APIBlueprint:
    """`/beckn/llm-output…`"""
    endpoints = APIBlueprint("outputs", __name__, url_prefix="/beckn/llm-output", abp_tags=[TAG])

    @endpoints.get(
        "",
        summary="The newest output to act on",
        description="Send the ETag of the last answer as If-None-Match: 304 means that there is none newer.",
        responses={200: NewestOutput, 304: {"description": "The output with this ETag is still the newest"}},
    )
    def newest(query: NewestQuery) -> Response:
        asked = Asked(query.consumer, query.task_id)
        found = outputs.answer(asked, ready.caller_of(request.environ))
        ready.remember(request.environ, asked)
        if found.is_what_they_have(request.headers.get("If-None-Match")):
            unchanged = Response(status=304)
        else:
            unchanged = Response(found.body, mimetype="application/json")
        unchanged.headers["ETag"] = found.etag
        unchanged.headers["Cache-Control"] = "no-cache"
        unchanged.vary.add("Accept-Encoding")
        return unchanged

    @endpoints.post(
        "/acknowledge",
        summary="Acknowledge a task's output for one consumer",
        description="Each consumer acknowledges for itself; repeating it changes nothing.",
        responses={200: Cleared},
    )
    def acknowledge(body: Acknowledged) -> Response:
        result = published.acknowledge(body.consumer, body.task_id, up_to_sequence=body.sequence)
        return answer(Cleared(cleared=result.cleared))

    @endpoints.get("/history", summary="All outputs, newest first", responses={200: History})
    def history(query: HistoryQuery) -> Response:
        def read(before: int | None, limit: int) -> tuple[tuple[Row, ...], int | None]:
            page = published.history(limit, before=before)
            return page.outputs, page.next

        documents, following = bounded_pages(read, query.after, query.limit)
        return answer({"status": "success", "count": len(documents), "outputs": documents, "next": following})

    @endpoints.get("/<task_id>/task", summary="An output's task", responses={200: PublishedTask})
    def task(path: TaskPath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(_newest_of(published, path.task_id)["task"])

    @endpoints.get("/<task_id>/data-centres/<dc_id>", summary="An output's option", responses={200: DataCentreOption})
    def option(path: OptionPath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        options: dict[str, Any] = {
            option["dc_id"]: option for option in _newest_of(published, path.task_id)["data_centre_options"]
        }
        if path.dc_id not in options:
            raise Problem(
                404,
                f"the output for the task {path.task_id!r} has no data centre {path.dc_id!r}",
                known_data_centres=list(options),
            )
        return answer(options[path.dc_id])

    return endpoints


def _newest_of(published: PublishedDecisions, task_id: str) -> Row:
    output = None if "\x00" in task_id else published.output_of(task_id).output
    if output is None:
        raise Problem(
            404,
            f"there is no output for the task {task_id!r}: GET /beckn/llm-output/history lists those that have one",
        )
    return output
