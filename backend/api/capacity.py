"""The endpoint that says what power a data centre has, by the half-hour: base load, promised, running, free."""

from __future__ import annotations

from datetime import datetime

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from database.interface import Database, OrderBy
from ontology.types import Moment
from vocabulary import DataCentreStatus
from web.api_blueprint import APIBlueprint
from web.kept_answers import UNCHANGED, KeptAnswers
from web.parameters import NoParameters
from web.problems import Problem

TAG = Tag(name="Data centres", description="Where workloads run")

MOST_KNOWN = 10


class DataCentrePath(BaseModel):
    dc_id: str = Field(description="The data centre's id", json_schema_extra={"example": "DC-001"})


class CapacityTimeline(BaseModel):
    """IT power of a data centre in the 96 half-hours from the present one, in columns of kW.

    In each half-hour total_kw is base_kw + booked_kw + free_kw, but where more is promised than there is.
    """

    as_of: Moment
    dc_id: str
    name: str
    status: DataCentreStatus = Field(description="Only an ACTIVE one takes bookings, whatever is free")
    start: Moment = Field(description="Start of the first half-hour")
    half_hours: int
    total_kw: float
    base_kw: list[float] = Field(
        description="What others than the bookings here draw: as at present, in all half-hours"
    )
    booked_kw: list[float] = Field(description="What is promised, running or not")
    running_kw: list[float] | None = Field(
        description="Of booked_kw, what runs now, until it is to end; null for others than the data centre's operator"
    )
    free_kw: list[float]


def capacity_endpoints(database: Database, answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/data-centres/<dc_id>/capacity`"""
    endpoints = APIBlueprint("capacity", __name__, url_prefix="/api/v1/data-centres", abp_tags=[TAG])

    @endpoints.get(
        "/<dc_id>/capacity",
        summary="A data centre's power in the next 48 hours",
        responses={200: CapacityTimeline, **UNCHANGED},
    )
    def capacity(path: DataCentrePath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        def read(now: datetime) -> CapacityTimeline:
            timeline = read_capacity(database, path.dc_id, now)
            if timeline is None:
                known = database.select(
                    "data_centres", order=OrderBy(("dc_id",)), limit=MOST_KNOWN, columns=["dc_id"]
                )
                some_ids = [centre["dc_id"] for centre in known]
                raise Problem(404, f"there is no data centre {path.dc_id!r}", some_ids=some_ids)
            return timeline

        return answers.answer(read)

    return endpoints


def read_capacity(database: Database, dc_id: str, now: datetime) -> CapacityTimeline | None:
    """The power of a data centre from the half-hour of `now` on, None where there is no such data centre.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = None
    if "\x00" not in dc_id:
        found = database.call("capacity_timeline", {"p_dc_id": dc_id, "p_now": now}, repeatable=True)
    if found is None:
        return None
    return CapacityTimeline.model_validate({**found, "as_of": now, "half_hours": len(found["booked_kw"])})
