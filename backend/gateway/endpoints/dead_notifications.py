"""Endpoints for the operator: the notifications that failed for good, and putting them back."""

from __future__ import annotations

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from database.callers import viewer_through
from database.interface import Database, OrderBy, Row, Where
from database.stored_rows import LEFT_OUT, UnreadableRow, left_out, read_each
from decisions.work.notifications import WorkQueue
from gateway.endpoints.parameters import JsonSequence, Sequence
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import StrictQuery

TAG = Tag(name="Queue", description="For the operator")


class DeadQuery(StrictQuery):
    limit: int = Field(100, ge=1, le=1000, description="How many to return at most")
    after: Sequence = Field(0, description="Go on after this: `next` of the previous answer")


class OwnDeadQuery(StrictQuery):
    limit: int = Field(100, ge=1, le=1000, description="How many to answer at most")


class DeadNotification(BaseModel):
    """A workload's notification whose every attempt failed: the workload is not decided until it is put back."""

    notification_id: int
    job_id: str
    attempts: int
    last_error: str | None
    created_at: Moment


class DeadNotifications(BaseModel):
    """Dead notifications in the order of their numbers."""

    notifications: list[DeadNotification]
    next: int | None = Field(description="Pass this as after= to go on; null at the end")
    unreadable: list[UnreadableRow] = Field([], description=LEFT_OUT)


class OwnDeadNotification(BaseModel):
    """A workload of the caller's operator that is not decided, because every attempt failed."""

    job_id: str
    reason: str = Field(description="Why it was to be decided: submitted, or reconsidered")
    attempts: int
    last_error: str | None
    created_at: Moment


class OwnDeadNotifications(BaseModel):
    """The newest dead notifications. Whoever runs the platform can put them back."""

    notifications: list[OwnDeadNotification]


class Requeue(BaseModel):
    """Which dead notifications to put back: all of them without `notification_ids`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"notification_ids": [17]}})

    notification_ids: list[JsonSequence] | None = Field(None, max_length=1000)


class Requeued(BaseModel):
    requeued: int = Field(description="How many wait for a decision again, with all their attempts")


def dead_notification_endpoints(database: Database, queue: WorkQueue) -> APIBlueprint:
    """`/queue/dead…`"""
    endpoints = APIBlueprint("dead_notifications", __name__, url_prefix="/queue/dead", abp_tags=[TAG])

    @endpoints.get("", summary="The dead notifications", responses={200: DeadNotifications})
    def dead(query: DeadQuery) -> Response:
        rows = database.select(
            "workload_notifications",
            where=[Where("work_state", "discarded")],
            order=OrderBy(("notification_id",)),
            after=[query.after],
            limit=query.limit + 1,
            columns=("notification_id", "job_id", "attempt", "last_error", "created_at"),
        )
        found = rows[: query.limit]
        page, unreadable = read_each(
            lambda row: DeadNotification.model_validate({**row, "attempts": row["attempt"]}),
            found,
            lambda row: f"WorkloadNotification/{row['notification_id']}",
        )
        following = found[-1]["notification_id"] if len(rows) > query.limit else None
        return answer({"notifications": page, "next": following, **left_out(unreadable)})

    @endpoints.get(
        "/own",
        summary="The dead notifications of one's own workloads",
        description="Newest first. Whoever sees everything sees everybody's here too.",
        responses={200: OwnDeadNotifications},
    )
    def own(query: OwnDeadQuery) -> Response:
        if viewer_through(database).is_platform:
            found = [{**row, "attempts": row["attempt"]} for row in _newest_dead(database, query.limit)]
        else:
            found = database.call("own_dead_letters", {"p_limit": query.limit}, repeatable=True)["notifications"]
        return answer(OwnDeadNotifications.model_validate({"notifications": found}))

    @endpoints.post(
        "/requeue",
        summary="Put dead notifications back",
        description="For when the cause has been put right. Notifications that are not dead are left alone.",
        responses={200: Requeued},
    )
    def requeue(body: Requeue) -> Response:
        return answer(Requeued(requeued=queue.requeue_dead(body.notification_ids)))

    return endpoints


def _newest_dead(database: Database, limit: int) -> list[Row]:
    return database.select(
        "workload_notifications",
        where=[Where("work_state", "discarded")],
        order=OrderBy(("created_at", "notification_id"), descending=True),
        limit=limit,
        columns=("job_id", "reason", "attempt", "last_error", "created_at"),
    )
