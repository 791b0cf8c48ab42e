"""Tools over the ontology: objects of a type, and a step along a link."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agent_tools.answers import without_long_members
from agent_tools.definitions import Asked, Call, Given, ToolDefinition
from agent_tools.platform_calls import path_part
from agent_tools.refusals import ToolRefused

MOST = 20

TypeName = Annotated[str, Field(pattern=r"^[A-Za-z]{1,40}$", description="From pylon://ontology")]
Cursor = Annotated[str, Field(min_length=1, max_length=200)]
Value = Annotated[str, Field(max_length=200)]


class ObjectsAsked(Asked):
    object_type: TypeName
    filters: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], Value] = Field(
        default_factory=dict,
        max_length=5,
        description='{"status": "ACTIVE"}; null as "null"',
    )
    after: Cursor | None = None
    limit: int = Field(10, ge=1, le=MOST)


class Objects(Given):
    object_type: str
    objects: list[dict[str, Any]]
    left_out: list[str] = Field(description="Members too long to be told")
    next: str | None
    truncated: bool = False


async def find_objects(asked: ObjectsAsked, call: Call) -> Objects:
    if reserved := asked.filters.keys() & {"after", "limit"}:
        raise ToolRefused(f"filters takes properties of the type, and {min(reserved)} is none: it is an argument")
    page = await call.platform.get_if_there(
        f"/api/v1/objects/{asked.object_type}", {**asked.filters, "limit": asked.limit, "after": asked.after}
    )
    if page is None:
        raise ToolRefused("there is no such object type: pylon://ontology lists them")
    objects, left_out = _short(page["objects"])
    return Objects(object_type=asked.object_type, objects=objects, left_out=left_out, next=page["next"])


class LinkAsked(Asked):
    object_type: TypeName
    object_id: str = Field(min_length=1, max_length=200)
    link_type: Annotated[str, Field(pattern=r"^[A-Z_]{1,40}$")]
    after: Cursor | None = None
    limit: int = Field(10, ge=1, le=MOST)


class Linked(Given):
    object_type: str
    object: dict[str, Any]


class LinkedObjects(Given):
    link_type: str
    objects: list[Linked]
    left_out: list[str]
    next: str | None
    truncated: bool = False


async def follow_link(asked: LinkAsked, call: Call) -> LinkedObjects:
    path = f"/api/v1/objects/{asked.object_type}/{path_part(asked.object_id)}/links/{asked.link_type}"
    page = await call.platform.get_if_there(path, {"limit": asked.limit, "after": asked.after})
    if page is None:
        raise ToolRefused("there is no such object, or its type has no such link: pylon://ontology/{type} lists them")
    objects, left_out = _short([each["object"] for each in page["objects"]])
    names = [each["object_type"] for each in page["objects"]]
    return LinkedObjects(
        link_type=asked.link_type,
        objects=[Linked(object_type=name, object=each) for name, each in zip(names, objects, strict=True)],
        left_out=left_out,
        next=page["next"],
    )


def _short(objects: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    short = [without_long_members(each) for each in objects]
    names = dict.fromkeys(name for _, left_out in short for name in left_out)
    return [kept for kept, _ in short], list(names)


FIND_OBJECTS = ToolDefinition(
    name="find_objects",
    description="Objects of one type of the ontology, filtered by its filterable properties. For grid figures, "
    "places and decisions the other tools are shorter.",
    takes=ObjectsAsked,
    gives=Objects,
    run=find_objects,
    rows="objects",
    cursor=lambda row: str(row["id"]),
)
FOLLOW_LINK = ToolDefinition(
    name="follow_link",
    description="What an object is linked to, either way, such as the workloads HOSTED_BY a data centre. Types "
    "and links: pylon://ontology.",
    takes=LinkAsked,
    gives=LinkedObjects,
    run=follow_link,
    rows="objects",
    cursor=lambda row: f"{row['object_type']}/{row['object']['id']}",
)
