"""Endpoints for OpenADR's reports."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, ListQuery, answers, blueprint
from openadr.objects import ObjectType, ReportList, ReportObject, ReportRequest
from openadr.values import MOST_INTERVALS, Name, ObjectId
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.problems import Problem


class ReportQuery(ListQuery):
    program_id: ObjectId | None = Field(None, alias="programID", description="Only of this program")
    event_id: ObjectId | None = Field(None, alias="eventID", description="Only about this event")
    client_name: Name | None = Field(None, alias="clientName", description="Only of this client")


def report_endpoints(book: ObjectBook) -> APIBlueprint:
    """`/openadr3/3.1.0/reports`"""
    endpoints = blueprint("reports")

    @endpoints.get("", summary="Reports", responses={200: ReportList})
    def reports(query: ReportQuery) -> Response:
        return answer(
            book.page(
                query.skip,
                query.limit,
                program_id=query.program_id,
                event_id=query.event_id,
                client_name=query.client_name,
            )
        )

    @endpoints.post("", summary="Add a report about an event", responses=answers(ReportObject, 201))
    def create(body: ReportRequest) -> Response:
        return answer(book.create(_draft(book, body)), 201)

    @endpoints.get("/<object_id>", summary="A report", responses={200: ReportObject})
    def report(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write a report anew", responses=answers(ReportObject))
    def replace(path: IdentityPath, body: ReportRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(book, body)))

    @endpoints.delete("/<object_id>", summary="Delete a report", responses=answers(ReportObject))
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def _draft(book: ObjectBook, body: ReportRequest) -> Draft:
    if sum(len(resource.intervals) for resource in body.resources) > MOST_INTERVALS:
        raise Problem(422, f"a report has {MOST_INTERVALS:,} intervals at most, of all resources together")
    content = {**body.written(), "clientID": book.client().name}
    return Draft(ObjectType.REPORT, content, program_id=body.program_id, event_id=body.event_id)
