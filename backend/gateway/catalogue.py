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
from supabase_client import Database, Order, Where
from web.application import answer

TAG = Tag(name="Catalogue", description="The workloads that wait for compute")


class CatalogueQuery(NoParameters):
    limit: int = Field(100, ge=1, le=1000, description="How many workloads to list at most, the newest")


def catalogue_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/beckn/catalog`"""
    endpoints = APIBlueprint("catalogue", __name__, url_prefix="/beckn", abp_tags=[TAG])

    @endpoints.get("/catalog", summary="The open workloads, in Beckn's words", responses={200: CatalogueDocument})
    def catalog(query: CatalogueQuery) -> Response:
        rows = database.select(
            ComputeWorkload.table,
            where=[Where("status", sorted(map(str, OPEN_STATUSES)), "in")],
            order=Order(("created_at", "job_id"), descending=True),
            limit=query.limit,
        )
        workloads = map(ComputeWorkload.model_validate, rows)
        return answer(workload_catalogue(workloads, now=clock()))

    return endpoints
