"""The ontology as a document, for agents to read and for `docs/ontology.md`."""

from __future__ import annotations

import sys
from enum import Enum
from functools import cache
from typing import Any, get_args, get_type_hints
from uuid import UUID

from pydantic import BaseModel, Field

from ontology.types import LINK_TYPES, OBJECT_TYPES, Moment, ObjectType, RegionId


class PropertyDocument(BaseModel):
    """A property of an object type."""

    name: str
    type: str = Field(description="text, number, integer, boolean, time, uuid, document, or one of the words")
    values: list[str] | None = Field(description="The words it takes, where they are a closed set")
    unit: str | None
    description: str
    nullable: bool
    filterable: bool = Field(description="Whether objects can be asked for by its value")


class ObjectTypeDocument(BaseModel):
    """An object type."""

    name: str
    description: str
    primary_key: list[str]
    title_property: str
    properties: list[PropertyDocument]


class LinkTypeDocument(BaseModel):
    """A link type."""

    rel: str
    source: str
    target: str
    description: str
    source_properties: list[str] = Field(description="The properties of the source that hold the target's key")


class OntologyDocument(BaseModel):
    """The object types and the link types."""

    object_types: list[ObjectTypeDocument]
    link_types: list[LinkTypeDocument]


@cache
def ontology_document() -> OntologyDocument:
    """The declarations of `ontology`, as a document."""
    return OntologyDocument(
        object_types=[_object_type(object_type) for object_type in OBJECT_TYPES.values()],
        link_types=[
            LinkTypeDocument(
                rel=link.rel,
                source=link.source.__name__,
                target=link.target.__name__,
                description=link.meaning,
                source_properties=list(link.columns),
            )
            for link in LINK_TYPES
        ],
    )


def _object_type(object_type: type[ObjectType]) -> ObjectTypeDocument:
    annotations = get_type_hints(object_type, include_extras=True)
    return ObjectTypeDocument(
        name=object_type.__name__,
        description=(object_type.__doc__ or "").strip(),
        primary_key=list(object_type.key),
        title_property=object_type.title_property,
        properties=[
            _property(name, annotations[name], about, object_type.model_fields[name].description or "")
            for name, about in object_type.properties().items()
        ],
    )


def _property(name: str, annotation: Any, about: dict[str, Any], meaning: str) -> PropertyDocument:
    nullable = type(None) in get_args(annotation)
    inner = (
        next((arg for arg in get_args(annotation) if arg is not type(None)), annotation) if nullable else annotation
    )
    words = [str(member) for member in inner] if isinstance(inner, type) and issubclass(inner, Enum) else None
    return PropertyDocument(
        name=name,
        type="word" if words else _TYPE_NAMES.get(inner, "document"),
        values=words,
        unit=about["unit"],
        description=meaning,
        nullable=nullable or inner is Any,
        filterable=about["filterable"],
    )


_TYPE_NAMES: dict[Any, str] = {
    str: "text",
    float: "number",
    int: "integer",
    RegionId: "integer",
    bool: "boolean",
    UUID: "uuid",
    Moment: "time",
}


def ontology_markdown() -> str:
    """The same as a page: `make docs`."""
    document = ontology_document()
    lines = [
        "# The ontology",
        "",
        "Made from the declarations in `backend/ontology/types.py`; `GET /api/v1/ontology` answers the same as JSON.",
        "An object's `id` is its key; where the key has several parts they are joined by `~`.",
    ]
    for object_type in document.object_types:
        keys = ", ".join(f"`{name}`" for name in object_type.primary_key)
        lines += [
            "",
            f"## {object_type.name}",
            "",
            object_type.description,
            "",
            f"Key: {keys}. Title: `{object_type.title_property}`.",
            "",
            "| property | type | unit | meaning |",
            "|---|---|---|---|",
            *map(_property_line, object_type.properties),
        ]
    lines += ["", "## Links", "", "| link | from | to | by | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| {link.rel} | {link.source} | {link.target} | {', '.join(link.source_properties)} | {link.description} |"
        for link in document.link_types
    ]
    return "\n".join([*lines, ""])


def _property_line(about: PropertyDocument) -> str:
    kind = ", ".join(about.values) if about.values else about.type
    marks = "".join((", may be null" if about.nullable else "", ", filterable" if about.filterable else ""))
    return f"| `{about.name}` | {kind}{marks} | {about.unit or ''} | {about.description} |"


if __name__ == "__main__":
    sys.stdout.write(ontology_markdown())
