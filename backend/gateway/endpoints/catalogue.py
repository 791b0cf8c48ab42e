"""The endpoint of the open workloads, as a Beckn catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import orjson
from flask import Response
from flask_openapi3.models.tag import Tag
from gevent.lock import BoundedSemaphore
from pydantic import BaseModel, Field

from beckn.catalogue.catalogue import workload_catalogue
from beckn.catalogue.open_workloads import OPEN_STATUSES
from beckn.protocol.objects import CatalogueDocument
from database.callers import Viewer, viewer_through
from database.interface import Database, OrderBy, Row, Where
from database.stored_rows import read_each
from gateway.serving.threads import RequestDatabase
from ontology.types import ComputeWorkload
from web.api_blueprint import APIBlueprint
from web.parameters import StrictQuery
from web.shared_question import SharedQuestions

TAG = Tag(name="Catalogue", description="The workloads waiting for compute")
LEFT_OUT = "One that is stored but cannot be read is left out, and named in the header `Pylon-Unreadable`."

MOST_NAMED = 10
MOST_LISTED = 1000
USUAL_LIMIT = 100
MOST_QUESTIONS = 64


class CatalogueQuery(StrictQuery):
    limit: int = Field(
        USUAL_LIMIT, ge=1, le=MOST_LISTED, description="How many workloads to list at most, the newest"
    )


@dataclass(frozen=True)
class ReadyCatalogue:
    """The newest open workloads in Beckn's words, each written by itself, so that fewer of them can be cut out."""

    document: Row
    """The catalogue of none."""
    newest_first: tuple[str, ...]
    items: dict[str, bytes]
    """By item id, oldest first; so are the fulfilments."""
    fulfillments: dict[str, bytes]
    unreadable: tuple[str, ...]

    @classmethod
    def read(cls, database: Database, most: int, now: datetime) -> ReadyCatalogue:
        """The `most` newest at `now`. Takes a quarter of a second for a thousand."""
        rows = database.select(
            ComputeWorkload.table,
            where=[Where("status", sorted(map(str, OPEN_STATUSES)), "in")],
            order=OrderBy(("created_at", "job_id"), descending=True),
            limit=most,
        )
        workloads, unreadable = read_each(
            ComputeWorkload.model_validate, rows, lambda row: f"ComputeWorkload/{row['job_id']}"
        )
        (provider,) = workload_catalogue(workloads, now=now).message.catalog.providers
        item_ids = [item.id for item in provider.items or ()]  # oldest first
        return cls(
            document=orjson.loads(workload_catalogue([], now=now).model_dump_json()),
            newest_first=tuple(reversed(item_ids)),
            items=dict(zip(item_ids, map(_written, provider.items or ()), strict=True)),
            fulfillments=dict(zip(item_ids, map(_written, provider.fulfillments or ()), strict=True)),
            unreadable=tuple(row.row for row in unreadable),
        )

    def newest(self, limit: int) -> bytes:
        """The document with so many of them."""
        listed = set(self.newest_first[:limit])
        context, catalog = self.document["context"], self.document["message"]["catalog"]
        (provider,) = catalog["providers"]
        parts = {"fulfillments": self.fulfillments, "items": self.items} if listed else {}
        written = {
            name: orjson.Fragment(b"[%b]" % b",".join(part for item_id, part in all_.items() if item_id in listed))
            for name, all_ in parts.items()
        }
        return orjson.dumps(
            {"context": context, "message": {"catalog": {**catalog, "providers": [{**provider, **written}]}}}
        )


@dataclass(frozen=True)
class _Question:
    viewer: Viewer
    most: int


def catalogue_endpoints(database: RequestDatabase, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/beckn/catalog`"""
    endpoints = APIBlueprint("catalogue", __name__, url_prefix="/beckn", abp_tags=[TAG])

    def read(question: _Question, _: ReadyCatalogue | None) -> ReadyCatalogue:
        return database.run_apart(lambda database: ReadyCatalogue.read(database, question.most, clock()))

    catalogues = SharedQuestions(read, BoundedSemaphore, most=MOST_QUESTIONS)

    @endpoints.get(
        "/catalog",
        summary="The open workloads, in Beckn's words",
        description=LEFT_OUT,
        responses={200: CatalogueDocument},
    )
    def catalog(query: CatalogueQuery) -> Response:
        most = USUAL_LIMIT if query.limit <= USUAL_LIMIT else MOST_LISTED
        catalogue = catalogues.answer(_Question(viewer_through(database), most))
        document = Response(catalogue.newest(query.limit), mimetype="application/json")
        if catalogue.unreadable:  # a Beckn catalogue has no place for them
            document.headers["Pylon-Unreadable"] = ", ".join(catalogue.unreadable[:MOST_NAMED])
        return document

    return endpoints


def _written(part: BaseModel) -> bytes:
    return part.model_dump_json().encode()
