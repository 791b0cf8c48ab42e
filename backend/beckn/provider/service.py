"""Endpoints about the provider's platform itself: what it is, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.parameters import NoParameters
from beckn.dead_letters import DeadLetters, dead_letters
from beckn.network_health import NetworkHealth, network_health
from beckn.network_settings import NetworkSettings
from ontology import Moment
from supabase_client import Database
from version import VERSION
from web.application import answer, endpoint_list

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
    """It answers, so the database does; what it has in hand."""

    state: str
    as_of: Moment
    version: str
    network: NetworkHealth


class DeadLettersQuery(NoParameters):
    limit: int = Field(100, ge=1, le=1000, description="How many to answer at most, of each kind")


def provider_service_endpoints(
    database: Database, network: NetworkSettings, clock: Callable[[], datetime]
) -> APIBlueprint:
    """`/`, `/health` and `/beckn/dead-letters`"""
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
        state = network_health(database, network)
        return answer(ProviderHealth(state="ok", as_of=clock(), version=VERSION, network=state))

    @endpoints.get("/beckn/dead-letters", summary="Messages that were given up", responses={200: DeadLetters})
    def dead(query: DeadLettersQuery) -> Response:
        return answer(dead_letters(database, query.limit))

    return endpoints
