"""The endpoints of a provider's platform: a message is checked and stored before it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Response, request
from flask_openapi3.models.tag import Tag

from beckn.network.endpoint_description import takes_message
from beckn.network.message_body import signed_body
from beckn.network.participant import Participant
from beckn.network.responses import answered
from beckn.protocol.acknowledgement import AckAnswer
from beckn.protocol.objects import Action
from beckn.provider.answering import check_request
from beckn.provider.messages_request import REQUESTS
from web.api_blueprint import APIBlueprint

TAG = Tag(name="Orders", description="Beckn 1.1: search, order, follow and cancel compute slots; buy flexibility")

_SUMMARIES = {
    Action.SEARCH: "Which slots can take a workload",
    Action.SELECT: "What a slot would cost",
    Action.INIT: "Agree on billing",
    Action.CONFIRM: "Order a slot",
    Action.STATUS: "How an order is doing",
    Action.UPDATE: "Move an order to another time",
    Action.CANCEL: "Cancel an order that has not started",
}

_RESPONSES: dict[Any, Any] = {200: AckAnswer, 400: AckAnswer, 401: AckAnswer, 413: AckAnswer, 429: AckAnswer}


def provider_endpoints(
    platform: Participant, clock: Callable[[], datetime], stored: Callable[[], None] = lambda: None
) -> APIBlueprint:
    """`/beckn/search` to `/beckn/cancel`; `stored` is called when there is something to work on."""
    endpoints = APIBlueprint("provider", __name__, url_prefix="/beckn", abp_tags=[TAG])

    def take(action: Action) -> AckAnswer:
        message = platform.reception.check(action, signed_body(platform.reception, action), request.headers)
        check_request(action, message.body, clock())
        acknowledged = platform.inbox.store(message)
        stored()
        return acknowledged

    def add(action: Action) -> None:
        def endpoint() -> Response:
            return answered(lambda: take(action))

        endpoint.__name__ = str(action)
        endpoints.post(
            f"/{action}",
            summary=_SUMMARIES[action],
            description=f"A signed Beckn 1.1 {action}; on_{action} goes to the buyer's registered URL.",
            responses=_RESPONSES,
            openapi_extensions=takes_message(action),
        )(endpoint)

    for action in REQUESTS:
        add(action)
    return endpoints


def provider_endpoint_names() -> tuple[str, ...]:
    """The endpoints whose messages carry their own proof, and need no key of the operator's."""
    return tuple(f"provider.{action}" for action in REQUESTS)
