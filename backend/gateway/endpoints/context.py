"""Endpoints about the decision context: what is being decided from, or the newest was."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decisions.publishing.store import ContextState, PublishedDecisions
from gateway.endpoints.parameters import DEFAULT_CONSUMER, Consumer, TaskId
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import StrictQuery
from web.problems import Problem, invalid

TAG = Tag(name="Context", description="What decisions are made from")


class ContextQuery(StrictQuery):
    task_id: TaskId | None = Field(None, description="The context of this task")


class ContextAnswer(BaseModel):
    """A decision context."""

    status: Literal["success", "empty"]
    state: ContextState = Field(description="`in_work` while a model thinks about it, else `decided`, or `none`")
    task_id: str | None
    context: dict[str, Any] | None = Field(
        description="The task, national and regional signals now and ahead, data centres, generation mix, summary"
    )
    processed_by: list[str] = Field(description="The consumers that have marked the task processed")


class Processed(BaseModel):
    """A consumer is done with the context of a task, or with the current one. The body may be empty."""

    model_config = ConfigDict(extra="forbid")

    task_id: TaskId | None = Field(None, description="The task; by default the current one")
    consumer: Consumer = DEFAULT_CONSUMER


class Marked(BaseModel):
    status: Literal["success"] = "success"
    task_id: str = Field(description="The task to mark")


def context_endpoints(published: PublishedDecisions) -> APIBlueprint:
    """`/beckn/context…`"""
    endpoints = APIBlueprint("context", __name__, url_prefix="/beckn/context", abp_tags=[TAG])

    @endpoints.get(
        "", summary="The context being worked on, or else the newest decision's", responses={200: ContextAnswer}
    )
    def context(query: ContextQuery) -> Response:
        current = published.current_context(query.task_id)
        return answer(
            {
                "status": "empty" if current.context is None else "success",
                "state": current.state,
                "task_id": current.task_id,
                "context": current.context,
                "processed_by": current.processed_by,
            }
        )

    @endpoints.post(
        "/processed",
        summary="Mark a task's context processed",
        responses={200: Marked, 404: problem_answer("There is no such context")},
        openapi_extensions={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": Processed.model_json_schema()}},
            }
        },
    )
    def processed() -> Response:
        try:
            # Not declared as the body: an empty one means the usual consumer and the current task.
            body = Processed.model_validate(request.get_json() if request.get_data() else {})
        except ValidationError as error:
            return invalid(error)
        task_id = published.mark_processed(body.consumer, body.task_id)
        if task_id is None:
            of_what = "no decision yet" if body.task_id is None else f"no context for the task {body.task_id!r}"
            raise Problem(404, f"there is {of_what}: GET /beckn/context shows the current one")
        return answer(Marked(task_id=task_id))

    return endpoints
