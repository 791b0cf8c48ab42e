"""Endpoints for OpenADR's subscriptions, and for how this server tells of changes."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from openadr.book import Draft, ObjectBook
from openadr.endpoints.parameters import IdentityPath, TargetQuery, answers, blueprint
from openadr.objects import (
    Notifiers,
    ObjectType,
    SubscriptionList,
    SubscriptionObject,
    SubscriptionRequest,
)
from openadr.values import Name, ObjectId
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters


class SubscriptionQuery(TargetQuery):
    program_id: ObjectId | None = Field(None, alias="programID", description="Only of this program")
    client_name: Name | None = Field(None, alias="clientName", description="Only of this client")
    objects: list[ObjectType] = Field([], max_length=len(ObjectType), description="Only those about one of these")


def subscription_endpoints(book: ObjectBook) -> APIBlueprint:
    """`/openadr3/3.1.0/subscriptions`"""
    endpoints = blueprint("subscriptions")

    @endpoints.get("", summary="Subscriptions", responses={200: SubscriptionList})
    def subscriptions(query: SubscriptionQuery) -> Response:
        return answer(
            book.page(
                query.skip,
                query.limit,
                targets=query.targets,
                program_id=query.program_id,
                client_name=query.client_name,
                objects=[str(one) for one in query.objects],
            )
        )

    @endpoints.post("", summary="Be told of changes by webhooks", responses=answers(SubscriptionObject, 201))
    def create(body: SubscriptionRequest) -> Response:
        return answer(book.create(_draft(book, body)), 201)

    @endpoints.get("/<object_id>", summary="A subscription", responses={200: SubscriptionObject})
    def subscription(path: IdentityPath) -> Response:
        return answer(book.one(path.object_id))

    @endpoints.put("/<object_id>", summary="Write a subscription anew", responses=answers(SubscriptionObject))
    def replace(path: IdentityPath, body: SubscriptionRequest) -> Response:
        return answer(book.replace(path.object_id, _draft(book, body)))

    @endpoints.delete(
        "/<object_id>",
        summary="Delete a subscription, and what it has not heard yet",
        responses=answers(SubscriptionObject),
    )
    def delete(path: IdentityPath) -> Response:
        return answer(book.delete(path.object_id))

    return endpoints


def notifier_endpoints() -> APIBlueprint:
    """`/openadr3/3.1.0/notifiers`"""
    endpoints = blueprint("notifiers")

    @endpoints.get("", summary="How this server tells of changes", responses={200: Notifiers})
    def notifiers(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer({"WEBHOOK": True})

    return endpoints


def _draft(book: ObjectBook, body: SubscriptionRequest) -> Draft:
    content = {**body.written(), "clientID": book.client().name}
    for written, given in zip(content["objectOperations"], body.object_operations, strict=True):
        written["bearerToken"] = given.bearer_token  # which clients look for, null or not
    return Draft(ObjectType.SUBSCRIPTION, content, program_id=body.program_id)
