"""The endpoint of the open workloads, as a Beckn catalogue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import Field

from api.parameters import NoParameters
from beckn.catalogue import workload_catalogue
from beckn.messages import CatalogueDocument
from beckn.open_workloads import OPEN_STATUSES
from ontology import ComputeWorkload
from stored_rows import read_each
from supabase_client import Database, Order, Where
from web.application import answer

TAG = Tag(name="Catalogue", description="The workloads that wait for compute")
LEFT_OUT = "One that is stored but cannot be read is left out, and named in the header `Pylon-Unreadable`."


MOST_NAMED = 10


class CatalogueQuery(NoParameters):
    limit: int = Field(100, ge=1, le=1000, description="How many workloads to list at most, the newest")


def catalogue_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/beckn/catalog`"""
    endpoints = APIBlueprint("catalogue", __name__, url_prefix="/beckn", abp_tags=[TAG])

    @endpoints.get(
        "/catalog",
        summary="The open workloads, in Beckn's words",
        description=LEFT_OUT,
        responses={200: CatalogueDocument},
    )
    def catalog(query: CatalogueQuery) -> Response:
        rows = database.select(
            ComputeWorkload.table,
            where=[Where("status", sorted(map(str, OPEN_STATUSES)), "in")],
            order=Order(("created_at", "job_id"), descending=True),
            limit=query.limit,
        )
        workloads, unreadable = read_each(
            ComputeWorkload.model_validate, rows, lambda row: f"ComputeWorkload/{row['job_id']}"
        )
        document = answer(workload_catalogue(workloads, now=clock()))
        if unreadable:  # a Beckn catalogue has no place for them
            document.headers["Pylon-Unreadable"] = ", ".join(row.row for row in unreadable[:MOST_NAMED])
        return document

    return endpoints
