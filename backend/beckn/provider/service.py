"""Endpoints about the provider's platform itself: what it is, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from beckn.network.dead_letters import DeadLetters, dead_letters
from beckn.network.health import NetworkHealth, network_health, overdue
from beckn.network.settings import NetworkSettings
from database.interface import Database
from database.write_probe import write_trouble
from ontology.types import Moment
from version import VERSION
from web.api_blueprint import APIBlueprint
from web.application import answer, endpoint_list
from web.parameters import NoParameters, StrictQuery

TAG = Tag(name="Service", description="The platform itself")


class ProviderService(BaseModel):
    """What this platform is."""

    service: str
    version: str
    as_of: Moment
    subscriber_id: str
    url: str = Field(description="Where the network sends its messages")
    endpoints: list[str]
    documentation: str


class ProviderHealth(BaseModel):
    """What the platform has in hand; that it answers at all means that the database does.

    `degraded`: something it should do is not getting done."""

    state: Literal["ok", "degraded"]
    as_of: Moment
    version: str
    reasons: list[str] = Field(description="Why it is not ok")
    network: NetworkHealth


class DeadLettersQuery(StrictQuery):
    limit: int = Field(100, ge=1, le=1000, description="How many to return at most, of each kind")


def provider_service_endpoints(
    database: Database,
    network: NetworkSettings,
    clock: Callable[[], datetime],
    troubles: Callable[[], list[str]] = list,
) -> APIBlueprint:
    """`/`, `/health` and `/beckn/dead-letters`; `troubles` tells what is wrong with the platform's own threads."""
    endpoints = APIBlueprint("service", __name__, abp_tags=[TAG])

    @endpoints.get("/", summary="What this platform is", responses={200: ProviderService})
    def service(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(
            ProviderService(
                service="pylon-deg provider platform",
                version=VERSION,
                as_of=clock(),
                subscriber_id=network.beckn_bpp_id,
                url=network.beckn_bpp_url,
                endpoints=endpoint_list(),
                documentation="/docs",
            )
        )

    @endpoints.get("/health", summary="How it is doing", responses={200: ProviderHealth})
    def health(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        now = clock()
        found = network_health(database, network)
        unwritten = write_trouble(database)
        reasons = [
            *troubles(),
            *overdue(database, network.beckn_bpp_id, now).reasons(),
            *([] if unwritten is None else [unwritten]),
        ]
        state: Literal["ok", "degraded"] = "degraded" if reasons else "ok"
        return answer(ProviderHealth(state=state, as_of=now, version=VERSION, reasons=reasons, network=found))

    @endpoints.get("/beckn/dead-letters", summary="Messages that were given up on", responses={200: DeadLetters})
    def dead(query: DeadLettersQuery) -> Response:
        return answer(dead_letters(database, query.limit))

    return endpoints
