"""Endpoints about the gateway itself: what it is, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from gateway.decision_process import DecidingStatus
from gateway.endpoints.health import GatewayHealth
from ontology.types import Moment
from version import VERSION
from web.api_blueprint import APIBlueprint
from web.application import answer, endpoint_list
from web.parameters import NoParameters
from web.problems import problem

TAG = Tag(name="Service", description="The gateway itself")


class Service(BaseModel):
    """What this server is."""

    service: str
    version: str
    as_of: Moment
    deciding: DecidingStatus
    endpoints: list[str]
    documentation: str


def service_endpoints(
    clock: Callable[[], datetime],
    deciding: Callable[[], DecidingStatus],
    read_health: Callable[[], GatewayHealth],
) -> APIBlueprint:
    """`/` and `/health`"""
    endpoints = APIBlueprint("service", __name__, abp_tags=[TAG])

    @endpoints.get("/", summary="What this server offers", responses={200: Service})
    def service(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(
            Service(
                service="pylon-deg gateway",
                version=VERSION,
                as_of=clock(),
                deciding=deciding(),
                endpoints=endpoint_list(),
                documentation="/docs",
            )
        )

    @endpoints.get("/health", summary="How it is doing", responses={200: GatewayHealth})
    def health(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        found = read_health()
        if found.state != "stopped":
            return answer(found)
        return problem(503, found.reasons[0], **found.model_dump(mode="json"))

    return endpoints
