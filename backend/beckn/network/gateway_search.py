"""The gateway's part in a search: take it, and pass it on, byte for byte, to whoever may answer.

A gateway reads a message's context and never what the message says. The providers answer the buyer directly; one that
cannot may send its `on_search` here, and it is passed on to the buyer that is registered.
"""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import Field

from beckn.network.dead_letters import DeadLetters, OwnDeadLetters, dead_letters, own_dead_letters
from beckn.network.endpoint_description import takes_message
from beckn.network.message_body import signed_body
from beckn.network.participant import Participant
from beckn.network.responses import answered
from beckn.protocol.acknowledgement import AckAnswer
from beckn.protocol.objects import Action
from database.interface import Database
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import StrictQuery

TAG = Tag(name="Network", description="Beckn 1.1: messages between buyers' and providers' platforms")
OPEN_ENDPOINTS = ("beckn_network.search", "beckn_network.on_search")
"""Endpoints whose signatures are their proof: they need no PYLON_API_KEY."""

_RESPONSES: dict[Any, Any] = {200: AckAnswer, 400: AckAnswer, 401: AckAnswer, 413: AckAnswer, 429: AckAnswer}


class DeadLettersQuery(StrictQuery):
    limit: int = Field(100, ge=1, le=1000, description="How many to return at most, of each kind")


def gateway_endpoints(database: Database, gateway: Participant) -> APIBlueprint:
    """`/beckn/search`, `/beckn/on_search` and `/beckn/dead-letters…`"""
    endpoints = APIBlueprint("beckn_network", __name__, url_prefix="/beckn", abp_tags=[TAG])

    @endpoints.post(
        "/search",
        summary="Search for compute",
        description="A signed Beckn 1.1 search. It is acknowledged when it is stored, and goes to every provider of "
        "its domain; they answer with on_search to the buyer's registered URL.",
        responses=_RESPONSES,
        openapi_extensions=takes_message(Action.SEARCH),
    )
    def search() -> Response:
        return answered(lambda: _relay(Action.SEARCH))

    @endpoints.post(
        "/on_search",
        summary="Answer a search through the gateway",
        description="A signed Beckn 1.1 on_search, passed on to the registered URL of the buyer it names.",
        responses=_RESPONSES,
        openapi_extensions=takes_message(Action.ON_SEARCH),
    )
    def on_search() -> Response:
        return answered(lambda: _relay(Action.ON_SEARCH))

    @endpoints.get("/dead-letters", summary="Messages that were given up on, and why", responses={200: DeadLetters})
    def dead(query: DeadLettersQuery) -> Response:
        return answer(dead_letters(database, query.limit))

    @endpoints.get(
        "/dead-letters/own",
        summary="Messages of one's own platforms that were given up on",
        description="What platforms that speak for the operator sent or were to get. Whoever sees everything sees "
        "everybody's here too.",
        responses={200: OwnDeadLetters},
    )
    def own_dead(query: DeadLettersQuery) -> Response:
        return answer(own_dead_letters(database, query.limit))

    def _relay(action: Action) -> AckAnswer:
        message = gateway.reception.check(action, signed_body(gateway.reception, action), request.headers)
        acknowledged = gateway.inbox.relay(message)
        gateway.deliverer.wake()
        return acknowledged

    return endpoints
