"""Endpoints about the server itself: what it is, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from database.errors import DatabaseUnreachable
from database.interface import Database
from database.write_probe import write_trouble
from ingest.health import OVERDUE, Health, read_health
from ontology.types import Moment
from version import VERSION
from web.api_blueprint import APIBlueprint
from web.application import answer, endpoint_list
from web.parameters import NoParameters
from web.problems import problem

TAG = Tag(name="Service", description="The server itself")


class SchedulerState(BaseModel):
    """When the pipeline runs."""

    state: str = Field(description="running, or stopped")
    next_run_at: Moment | None


class Service(BaseModel):
    """What this server is."""

    service: str
    version: str
    as_of: Moment
    scheduler: SchedulerState
    endpoints: list[str]
    documentation: str


def service_endpoints(
    database: Database,
    clock: Callable[[], datetime],
    scheduler: Callable[[], SchedulerState],
    *,
    interval: timedelta,
    troubles: Callable[[], list[str]] = list,
) -> APIBlueprint:
    """`/` and `/health`; `interval` is how often the pipeline runs, `troubles` what is wrong with its schedule."""
    endpoints = APIBlueprint("service", __name__, abp_tags=[TAG])

    @endpoints.get("/", summary="What this server offers", responses={200: Service})
    def service(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(
            Service(
                service="pylon-deg api server",
                version=VERSION,
                as_of=clock(),
                scheduler=scheduler(),
                endpoints=endpoint_list(),
                documentation="/docs",
            )
        )

    @endpoints.get("/health", summary="How it is doing", responses={200: Health})
    def health(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        try:
            found = read_health(database, now=clock(), version=VERSION, stale_after=interval + OVERDUE)
        except DatabaseUnreachable as error:
            return problem(503, f"the database cannot be reached: {error}", state="stale", database="unreachable")
        unwritten = write_trouble(database)
        found = found.with_troubles([*troubles(), *([] if unwritten is None else [unwritten])])
        if found.serves():
            return answer(found)
        return problem(503, found.explanation(), **found.model_dump(mode="json"))

    return endpoints
