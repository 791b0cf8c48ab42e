"""The ontology as a document, for agents to read and for `docs/ontology.md`."""

from __future__ import annotations

from enum import Enum
from typing import Any, get_args, get_type_hints
from uuid import UUID

from pydantic import BaseModel, Field

from ontology import LINK_TYPES, OBJECT_TYPES, Moment, ObjectType


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
    bool: "boolean",
    UUID: "uuid",
    Moment: "time",
}
