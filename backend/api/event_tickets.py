"""The endpoint that gives a page of this server what opens the gateway's stream of events."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from tenancy.tickets import GOOD_FOR_S
from web.api_blueprint import APIBlueprint
from web.application import answer

TAG = Tag(name="Events", description="The way to the gateway's stream")


class EventTicket(BaseModel):
    """What opens one stream of the gateway's, instead of a credential."""

    ticket: str = Field(description="Say it to the gateway: once, and soon")
    good_for_s: int = Field(description="For how many seconds", json_schema_extra={"example": 30})


class NoDocument(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})


def event_ticket_endpoints(issue_ticket: Callable[[], str]) -> APIBlueprint:
    """`/api/v1/events/ticket`; `issue_ticket` makes one for the present request's caller."""
    endpoints = APIBlueprint("events", __name__, url_prefix="/api/v1/events", abp_tags=[TAG])

    @endpoints.post(
        "/ticket",
        summary="A ticket for one stream of the gateway's",
        description="The same as the gateway's own POST /beckn/broadcast/ticket, for a page of this server whose "
        "credential is in a cookie that the gateway is not sent. The gateway's WebSocket takes it in an `auth` "
        "message, its server-sent events as `ticket=`: once, within half a minute, as whoever asked for it.",
        responses={201: EventTicket},
    )
    def ticket(body: NoDocument) -> Response:  # noqa: ARG001 - refuses members
        made = answer(EventTicket(ticket=issue_ticket(), good_for_s=GOOD_FOR_S), 201)
        made.headers["Cache-Control"] = "no-store"
        return made

    return endpoints
