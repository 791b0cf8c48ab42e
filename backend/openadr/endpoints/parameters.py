"""What all of OpenADR's endpoints take and answer."""

from __future__ import annotations

from typing import Any

from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from openadr.values import Name, ObjectId
from web.api_blueprint import APIBlueprint
from web.application import problem_answer
from web.parameters import StrictQuery

ROOT = "/openadr3/3.1.0"
TAG = Tag(name="OpenADR", description="OpenADR 3.1: Pylon as a virtual top node (VTN)")
MOST_AT_ONCE = 50
REFUSED = problem_answer("It is taken, too late, or in the way of another; the answer says which")


class IdentityPath(BaseModel):
    object_id: ObjectId = Field(
        description="Identity of the object",
        json_schema_extra={"example": "6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69"},
    )


class ListQuery(StrictQuery):
    """A page of a list, the newest first."""

    skip: int = Field(0, ge=0, le=1_000_000, description="How many to leave out first")
    limit: int = Field(MOST_AT_ONCE, ge=0, le=MOST_AT_ONCE, description="How many to return at most")


class TargetQuery(ListQuery):
    targets: list[Name] = Field([], max_length=MOST_AT_ONCE, description="Only what has all of these targets")


def blueprint(name: str) -> APIBlueprint:
    """For the endpoints of one kind."""
    return APIBlueprint(f"openadr_{name}", __name__, url_prefix=f"{ROOT}/{name}", abp_tags=[TAG])


def answers(document: type[BaseModel], status: int = 200) -> dict[Any, Any]:
    """The answers of an endpoint that changes something."""
    return {status: document, 409: REFUSED}
