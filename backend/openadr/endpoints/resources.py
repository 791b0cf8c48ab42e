"""Endpoints for OpenADR's resources."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, TargetQuery, answers, blueprint
from openadr.objects import ObjectType, ResourceList, ResourceObject, ResourceRequest
from openadr.values import Name, ObjectId
from web.api_blueprint import APIBlueprint
from web.application import answer


class ResourceQuery(TargetQuery):
    ven_id: ObjectId | None = Field(None, alias="venID", description="Only of this VEN")
    resource_name: Name | None = Field(None, alias="resourceName", description="Only those of this name")


def resource_endpoints(book: ObjectBook) -> APIBlueprint:
    """`/openadr3/3.1.0/resources`"""
    endpoints = blueprint("resources")

    @endpoints.get("", summary="Resources", responses={200: ResourceList})
    def resources(query: ResourceQuery) -> Response:
        return answer(
            book.page(
                query.skip,
                query.limit,
                targets=query.targets,
                ven_id=query.ven_id,
                name=query.resource_name,
            )
        )

    @endpoints.post("", summary="Add a resource of a VEN", responses=answers(ResourceObject, 201))
    def create(body: ResourceRequest) -> Response:
        return answer(book.create(_draft(book, body)), 201)

    @endpoints.get("/<object_id>", summary="A resource", responses={200: ResourceObject})
    def resource(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write a resource anew", responses=answers(ResourceObject))
    def replace(path: IdentityPath, body: ResourceRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(book, body)))

    @endpoints.delete("/<object_id>", summary="Delete a resource", responses=answers(ResourceObject))
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def _draft(book: ObjectBook, body: ResourceRequest) -> Draft:
    content = body.written()
    if book.client().is_ven:
        content.pop("targets", None)
    return Draft(ObjectType.RESOURCE, content, name=body.resource_name, ven_id=body.ven_id)
