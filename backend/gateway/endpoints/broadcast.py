"""Endpoints about the broadcast: the events as a stream, and by polling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from database.interface import Row
from decisions.publishing.store import PublishedDecisions
from decisions.publishing.topics import Detail, Topic
from gateway.endpoints.parameters import EventChoice, Sequence
from gateway.serving.feed import BroadcastFeed, Seat
from gateway.serving.pages import bounded_pages
from gateway.serving.visits import Visits
from ontology.types import Moment
from tenancy.tickets import GOOD_FOR_S
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import StrictQuery
from web.problems import Problem

TAG = Tag(name="Broadcast", description="Every published event, in order")
MOST_STREAMS = 4000


# An empty one is none, to the standard of server-sent events as well.
Place = Annotated[Sequence | None, BeforeValidator(lambda value: None if value == "" else value)]


class StreamQuery(EventChoice):
    # What is beside these is a proxy's or a client's own, against caches: an EventSource that is refused for it would
    # never come back.
    model_config = ConfigDict(extra="ignore")

    after: Place = Field(
        None, description="Begin after this event; `Last-Event-ID` and `lastEventId` take precedence over it"
    )
    last_event_id: Place = Field(
        None, alias="lastEventId", description="The same as `Last-Event-ID`, for clients that cannot set a header"
    )


class StreamHeaders(StrictQuery):
    model_config = ConfigDict(extra="ignore")

    last_event_id: Place = Field(
        None, alias="Last-Event-ID", description="The last event seen: those after it are sent first"
    )


class PollQuery(EventChoice):
    after: Sequence = Field(0, description="Go on after this: `next` of the previous answer")
    limit: int = Field(100, ge=1, le=1000, description="How many to return at most")


class BroadcastEvent(BaseModel):
    """One event."""

    sequence: int = Field(
        description="Its number in the log of events: greater than those before it", json_schema_extra={"example": 17}
    )
    type: str = Field(description="What kind of event it is", json_schema_extra={"example": "decision"})
    topic: Topic = Field(description="What its type belongs to")
    subject: str | None = Field(
        description="What it is about: a workload, an order, a source, a run's half-hour",
        json_schema_extra={"example": "train-1"},
    )
    job_id: str | None = Field(description="The workload it is about", json_schema_extra={"example": "train-1"})
    created_at: Moment
    data: dict[str, Any] = Field(
        description="For a `decision`, the published output; a summary where that was asked for"
    )


class EventsPage(BaseModel):
    """Events in order."""

    events: list[BroadcastEvent] = Field(description="Fewer at a time are returned when they are large")
    next: int = Field(description="Pass this as after= to go on")
    oldest: int | None = Field(description="The oldest event that is kept; null when none is")
    newest: int | None = Field(description="The newest event there has been; null before the first")


class TicketAnswer(BaseModel):
    """What opens one stream, instead of a credential."""

    ticket: str = Field(description="Open /beckn/broadcast?ticket= this: once, and soon")
    good_for_s: int = Field(description="For how many seconds", json_schema_extra={"example": 30})


class NoDocument(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})


def broadcast_endpoints(
    published: PublishedDecisions, feed: BroadcastFeed, visits: Visits, issue_ticket: Callable[[], str]
) -> APIBlueprint:
    """`/beckn/broadcast…`; `issue_ticket` makes one for the present request's caller."""
    endpoints = APIBlueprint("broadcast", __name__, url_prefix="/beckn/broadcast", abp_tags=[TAG])

    @endpoints.get(
        "",
        summary="Every event, as it is published",
        description=(
            "Server-sent events: `id` is the event's number, `event` its type, `data` its JSON document. With "
            "`Last-Event-ID` or `after` the events that follow it are sent first; without, those published from "
            "now on. `topics` chooses: without it decisions come, and nothing else. A comment line comes at least "
            "every 15 seconds. A browser's EventSource sends no header: "
            "`ticket`, from POST /beckn/broadcast/ticket, takes the place of `Authorization`."
        ),
        responses={
            200: {
                "description": "A stream without an end",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            409: problem_answer("The events are from another database: start again"),
        },
    )
    def stream(header: StreamHeaders, query: StreamQuery) -> Response:
        places = (header.last_event_id, query.last_event_id, query.after)
        after = next((place for place in places if place is not None), None)
        visit = visits.arrival()
        if after is not None:
            check_not_ahead(visit.seat, after)
        events = Response(mimetype="text/event-stream")
        events.headers["Cache-Control"] = "no-cache, no-transform"
        events.headers["X-Accel-Buffering"] = "no"  # what a proxy of nginx's needs to hear
        if request.method == "HEAD":
            return events
        place = feed.take_place(MOST_STREAMS)
        if place is None:
            raise Problem(503, f"{MOST_STREAMS} streams are already open: poll, or use another gateway")
        # Whatever becomes of the answer, be it never begun, the place is let go.
        events.call_on_close(place.let_go)
        try:
            events.response = visits.attended(visit, feed.stream(after, visit.seat, query.selection, query.detail))
        except BaseException:
            place.let_go()
            raise
        return events

    @endpoints.post(
        "/ticket",
        summary="A ticket for one stream",
        description="For a page in a browser, whose EventSource cannot send a credential. It is good once, for half "
        "a minute, and listens as whoever asked for it; the stream ends when that credential does.",
        responses={201: TicketAnswer},
    )
    def ticket(body: NoDocument) -> Response:  # noqa: ARG001 - refuses members
        made = answer(TicketAnswer(ticket=issue_ticket(), good_for_s=GOOD_FOR_S), 201)
        made.headers["Cache-Control"] = "no-store"
        return made

    @endpoints.get(
        "/poll",
        summary="The same events, by cursor",
        responses={200: EventsPage, 409: problem_answer("The cursor belongs to another database: start again")},
    )
    def poll(query: PollQuery) -> Response:
        held: dict[str, int | None] = {}

        def read(after: int, limit: int) -> tuple[list[Row], int]:
            page = published.events_after(after, limit, query.selection, query.detail)
            held.update(oldest=page.oldest, newest=page.newest)
            events = [
                {
                    "sequence": event.sequence,
                    "type": event.event_type,
                    "topic": event.topic,
                    "subject": event.subject,
                    "job_id": event.job_id,
                    "created_at": event.created_at,
                    "data": event.event if query.detail is Detail.FULL else event.summary,
                }
                for event in page.events
            ]
            return events, page.next

        documents, following = bounded_pages(read, query.after, query.limit)
        if query.after > (held["newest"] or 0):
            raise _other_database(query.after, held["newest"])
        return answer({"events": documents, "next": following, **held})

    return endpoints


def check_not_ahead(seat: Seat, after: int) -> None:
    """Raises `Problem` (409) where no such event has been published."""
    if after <= seat.channel.newest:
        return
    newest = seat.published.events_after(after, 0).newest  # the feed may be a moment behind
    if after > (newest or 0):
        raise _other_database(after, newest)


def _other_database(after: int, newest: int | None) -> Problem:
    return Problem(
        409,
        f"event {after} does not exist yet (the newest is {newest or 0}): this cursor belongs to another database, "
        "so start again with after=0",
        newest=newest or 0,
    )
