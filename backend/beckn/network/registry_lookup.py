"""The registry over HTTP: `POST /registry/lookup`, as Beckn's registry API 1.1.1 has it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import RootModel

from beckn.network.message_body import signed_body
from beckn.network.reception import AUTHORIZATION, Reception
from beckn.network.responses import refusal
from beckn.network.subscribers import Registry, Subscription, SubscriptionQuery
from beckn.protocol.acknowledgement import AckAnswer, Refused
from beckn.protocol.context import read_message
from beckn.protocol.objects import DOMAIN
from web.api_blueprint import APIBlueprint

TAG = Tag(name="Registry", description="The platforms of the network and their keys")
OPEN_ENDPOINTS = ("registry.lookup",)
"""Endpoints whose signatures are their proof: they need no PYLON_API_KEY."""

_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: {} for name in SubscriptionQuery.model_fields},
            },
            "example": {"type": "BPP", "domain": DOMAIN},
        }
    },
}


class Subscriptions(RootModel[list[Subscription]]):
    """Subscriptions, by their platforms' ids."""


def registry_endpoints(
    registry: Registry, reception: Reception, *, authenticates: bool, clock: Callable[[], datetime]
) -> APIBlueprint:
    """`/registry/lookup`"""
    endpoints = APIBlueprint("registry", __name__, url_prefix="/registry", abp_tags=[TAG])

    @endpoints.post(
        "/lookup",
        summary="The subscribers that match the one in the body",
        description="Signed like every message of the network, by any subscriber. A field that is left out matches "
        "anything; without a status, only valid subscriptions are returned.",
        responses={200: Subscriptions, 400: AckAnswer, 401: AckAnswer, 413: AckAnswer, 429: AckAnswer},
        openapi_extensions={"requestBody": _BODY},
    )
    def lookup() -> Response:
        try:
            body = signed_body(reception)
            if authenticates:
                reception.verified(request.headers.get(AUTHORIZATION), body)
            found = registry.lookup(read_message(SubscriptionQuery, body, closed=True), clock())
        except Refused as refused:
            return refusal(refused)
        return Response(Subscriptions(found).model_dump_json(), mimetype="application/json")

    return endpoints
