"""Endpoints for whoever runs the platform: how far behind its queues are, what was given up, and putting it back."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from database.interface import Database, OrderBy, Where
from decisions.work.notifications import WorkQueue
from ontology.types import Moment
from vocabulary import StrEnum
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Queues", description="For whoever runs the platform")
MOST_DEAD_SHOWN = 100
_WORKER = "api_server"
_LEASE_SECONDS = 60.0
"""It takes nothing from the queue, so it is never used."""


NotificationId = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]


class QueueName(StrEnum):
    """What waits in a queue."""

    DECISIONS = "decisions"
    INBOX = "beckn_inbox"
    OUTBOX = "beckn_outbox"
    WEBHOOKS = "openadr_webhooks"


class QueueDepth(BaseModel):
    """One queue, of every process on this database."""

    name: QueueName
    waiting: int = Field(description="What is to be done, retries that are not yet due included")
    oldest_waiting_seconds: float | None
    in_flight: int = Field(description="What somebody is working on")
    dead: int = Field(description="What was given up after its last attempt")


class DeadWork(BaseModel):
    """A workload's notification whose every attempt failed: it is not decided until it is put back."""

    notification_id: int
    job_id: str
    reason: str = Field(description="Why it was to be decided: submitted, or reconsidered")
    attempts: int
    last_error: str | None
    created_at: Moment


class Queues(BaseModel):
    """All queues, and the newest of what was given up in that of decisions."""

    queues: list[QueueDepth]
    dead: list[DeadWork]


class PutBack(BaseModel):
    """Which dead notifications to put back: all of them without `notification_ids`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"notification_ids": [17]}})

    notification_ids: list[NotificationId] | None = Field(None, max_length=1000)


class PutBackAnswer(BaseModel):
    """How many wait for a decision again, with all their attempts."""

    requeued: int


def queue_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/queues` and `/api/v1/queues/requeue`"""
    endpoints = APIBlueprint("queues", __name__, url_prefix="/api/v1/queues", abp_tags=[TAG])

    @endpoints.get("", summary="How far behind the queues are", responses={200: Queues})
    def queues(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(read_queues(database))

    @endpoints.post(
        "/requeue",
        summary="Put dead notifications back",
        description="For when the cause has been put right. Those that are not dead are left alone. As POST "
        "/queue/dead/requeue of the gateway.",
        responses={200: PutBackAnswer},
    )
    def requeue(body: PutBack) -> Response:
        return answer(PutBackAnswer(requeued=_queue(database).requeue_dead(body.notification_ids)))

    return endpoints


def read_queues(database: Database) -> Queues:
    """Every queue's depth and age.

    Raises:
        DatabaseError: the database does not answer.
    """
    decisions = _queue(database).health()
    network = database.call("beckn_health", repeatable=True)
    webhooks = database.call("openadr_webhooks_health", repeatable=True)
    dead = database.select(
        "workload_notifications",
        where=[Where("work_state", "discarded")],
        order=OrderBy(("created_at", "notification_id"), descending=True),
        limit=MOST_DEAD_SHOWN,
        columns=("notification_id", "job_id", "reason", "attempt", "last_error", "created_at"),
    )
    return Queues(
        queues=[
            QueueDepth(
                name=QueueName.DECISIONS,
                waiting=decisions.depth,
                oldest_waiting_seconds=decisions.oldest_waiting_seconds,
                in_flight=decisions.in_flight,
                dead=decisions.dead,
            ),
            QueueDepth.model_validate({**network["inbox"], "name": QueueName.INBOX}),
            QueueDepth.model_validate({**network["outbox"], "name": QueueName.OUTBOX}),
            QueueDepth.model_validate({**webhooks, "name": QueueName.WEBHOOKS}),
        ],
        dead=[DeadWork.model_validate({**row, "attempts": row["attempt"]}) for row in dead],
    )


def _queue(database: Database) -> WorkQueue:
    return WorkQueue(database, _WORKER, lease_seconds=_LEASE_SECONDS)
