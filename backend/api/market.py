"""The market endpoint: the compute on offer, as a Beckn catalogue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from flask import Response
from flask_openapi3.models.tag import Tag

from beckn.catalogue.catalogue import compute_catalogue
from beckn.protocol.objects import CatalogueDocument
from database.callers import Viewer, viewer_through
from database.interface import Database
from decisions.scoring.grid_context import GridContext
from decisions.work.present_grid import PresentGrid
from web.api_blueprint import APIBlueprint
from web.parameters import NoParameters
from web.shared_question import SharedQuestions

TAG = Tag(name="Market", description="The compute on offer")
MOST_VIEWERS = 1000


def market_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/api/v1/market/catalog`"""
    endpoints = APIBlueprint("market", __name__, url_prefix="/api/v1/market", abp_tags=[TAG])

    present = PresentGrid(database)

    def write(_: Viewer, __: bytes | None) -> bytes:
        now = clock()
        grid = GridContext.model_validate(present.document(now))
        return compute_catalogue(grid, now=now).model_dump_json().encode()

    written = SharedQuestions(write, threading.Lock, most=MOST_VIEWERS)

    @endpoints.get("/catalog", summary="The compute on offer, in Beckn's words", responses={200: CatalogueDocument})
    def catalog(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return Response(written.answer(viewer_through(database)), mimetype="application/json")

    return endpoints
