"""Endpoints for OpenADR's events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Response
from pydantic import Field

from flexibility.event_model import NewEvent
from grid.half_hours import rfc3339
from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, TargetQuery, answers, blueprint
from openadr.flexibility_door import NotToBeAsked, asked_of_flexibility, ends_at
from openadr.objects import EventList, EventObject, EventRequest, ObjectType
from openadr.values import ObjectId
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.problems import Problem


class EventQuery(TargetQuery):
    program_id: ObjectId | None = Field(None, alias="programID", description="Only of this program")
    active: bool | None = Field(None, description="true: only events that are not over; false: only those that are")


def event_endpoints(book: ObjectBook, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/openadr3/3.1.0/events`"""
    endpoints = blueprint("events")

    @endpoints.get("", summary="Events", responses={200: EventList})
    def events(query: EventQuery) -> Response:
        now = rfc3339(clock())
        return answer(
            book.page(
                query.skip,
                query.limit,
                targets=query.targets,
                program_id=query.program_id,
                not_over_at=now if query.active is True else None,
                over_at=now if query.active is False else None,
            )
        )

    @endpoints.post(
        "", summary="Add an event; reductions are announced to flexibility", responses=answers(EventObject, 201)
    )
    def create(body: EventRequest) -> Response:
        return answer(book.create(_draft(body), lambda event_id: _asked(body, event_id, clock())), 201)

    @endpoints.get("/<object_id>", summary="An event", responses={200: EventObject})
    def event(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write an event anew", responses=answers(EventObject))
    def replace(path: IdentityPath, body: EventRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(body), lambda event_id: _asked(body, event_id, clock())))

    @endpoints.delete(
        "/<object_id>",
        summary="Delete an event; what it asked of flexibility is cancelled",
        responses=answers(EventObject),
    )
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def _draft(body: EventRequest) -> Draft:
    return Draft(ObjectType.EVENT, body.written(), program_id=body.program_id, ends_at=ends_at(body))


def _asked(body: EventRequest, event_id: str, now: datetime) -> NewEvent | None:
    end = ends_at(body)
    if end is not None and end <= now:
        raise Problem(422, "the event is over: its last interval ends in the past")
    try:
        return asked_of_flexibility(body, event_id)
    except NotToBeAsked as error:
        raise Problem(422, str(error)) from error
