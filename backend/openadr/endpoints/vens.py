"""Endpoints for OpenADR's VENs."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, TargetQuery, answers, blueprint
from openadr.objects import ObjectType, VenList, VenObject, VenRequest
from openadr.values import Name
from web.api_blueprint import APIBlueprint
from web.application import answer


class VenQuery(TargetQuery):
    ven_name: Name | None = Field(None, alias="venName", description="Only the one of this name")


def ven_endpoints(book: ObjectBook) -> APIBlueprint:
    """`/openadr3/3.1.0/vens`"""
    endpoints = blueprint("vens")

    @endpoints.get("", summary="VENs", responses={200: VenList})
    def vens(query: VenQuery) -> Response:
        return answer(book.page(query.skip, query.limit, targets=query.targets, name=query.ven_name))

    @endpoints.post("", summary="Add a VEN", responses=answers(VenObject, 201))
    def create(body: VenRequest) -> Response:
        return answer(book.create(_draft(book, body)), 201)

    @endpoints.get("/<object_id>", summary="A VEN", responses={200: VenObject})
    def ven(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write a VEN anew", responses=answers(VenObject))
    def replace(path: IdentityPath, body: VenRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(book, body)))

    @endpoints.delete("/<object_id>", summary="Delete a VEN, and its resources", responses=answers(VenObject))
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def _draft(book: ObjectBook, body: VenRequest) -> Draft:
    content, client = body.written(), book.client()
    if client.is_ven:
        content.pop("targets", None)
    named = client.name if client.is_ven else body.client_id or client.name
    return Draft(ObjectType.VEN, {**content, "clientID": named}, name=body.ven_name, client_id=named)
