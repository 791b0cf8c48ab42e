"""Endpoints for OpenADR's programs."""

from __future__ import annotations

from flask import Response

from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, TargetQuery, answers, blueprint
from openadr.objects import ObjectType, ProgramList, ProgramObject, ProgramRequest
from web.api_blueprint import APIBlueprint
from web.application import answer


def program_endpoints(book: ObjectBook) -> APIBlueprint:
    """`/openadr3/3.1.0/programs`"""
    endpoints = blueprint("programs")

    @endpoints.get("", summary="Programs", responses={200: ProgramList})
    def programs(query: TargetQuery) -> Response:
        return answer(book.page(query.skip, query.limit, targets=query.targets))

    @endpoints.post("", summary="Add a program", responses=answers(ProgramObject, 201))
    def create(body: ProgramRequest) -> Response:
        return answer(book.create(_draft(body)), 201)

    @endpoints.get("/<object_id>", summary="A program", responses={200: ProgramObject})
    def program(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write a program anew", responses=answers(ProgramObject))
    def replace(path: IdentityPath, body: ProgramRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(body)))

    @endpoints.delete("/<object_id>", summary="Delete a program, and its events", responses=answers(ProgramObject))
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def _draft(body: ProgramRequest) -> Draft:
    return Draft(ObjectType.PROGRAM, body.written(), name=body.program_name)
