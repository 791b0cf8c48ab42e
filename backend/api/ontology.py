"""Endpoints about the ontology: its types, the objects, the links, and the live state of everything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, request
from flask_openapi3.models.tag import Tag
from orjson import Fragment
from pydantic import BaseModel, ConfigDict, Field

from database.interface import Database
from database.stored_rows import LEFT_OUT, UnreadableRow, left_out
from ontology.document import OntologyDocument, ontology_document
from ontology.live_state import LiveStateReader
from ontology.objects import ObjectNotFound, WrongCursor, follow_link, read_one, read_page
from ontology.types import LINK_TYPES, LIVE_TYPES, OBJECT_TYPES, Moment, ObjectType, links_of, parse_property
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.kept_answers import UNCHANGED, KeptAnswers, Passing
from web.parameters import CACHE_BUSTER, NoParameters, Paged, PlainText, StrictQuery
from web.problems import Problem

TAG = Tag(name="World", description="Objects and links: what the agents see")
_ANY_TYPE = "|".join(LIVE_TYPES)


class LiveStateQuery(StrictQuery):
    objects: PlainText | None = Field(
        None,
        description="Only these object types",
        json_schema_extra={"example": "DataCentre,Region", "pattern": rf"^({_ANY_TYPE})(,({_ANY_TYPE}))*$"},
    )


class Link(BaseModel):
    """A link between two objects, each named Type/id."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"source": "DataCentre/DC-001", "target": "Region/13", "rel": "LOCATED_IN"}}
    )

    source: str
    target: str
    rel: str


class LiveStateAnswer(BaseModel):
    """Every object of the present world, and the links that begin at them."""

    as_of: Moment
    last_updated: Moment | None = Field(description="When the pipeline last finished; null before the first time")
    pipeline_running: bool = Field(description="Whether a pipeline run is updating this at the moment")
    objects: dict[str, list[dict[str, Any]]] = Field(description="Objects by type; /api/v1/ontology describes them")
    links: list[Link]
    unreadable: list[UnreadableRow] = Field([], description=LEFT_OUT)


class TypePath(BaseModel):
    object_type: str = Field(description="An object type", json_schema_extra={"example": "DataCentre"})


class ObjectPath(TypePath):
    object_id: str = Field(description="The object's id", json_schema_extra={"example": "DC-001"})


class LinkPath(ObjectPath):
    link_type: str = Field(description="A link type", json_schema_extra={"example": "LOCATED_IN"})


class PageQuery(Paged):
    """A page, and conditions: any filterable property of the type may be named, with the value it must have."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": True})


class ObjectPage(BaseModel):
    """Objects in the order of their ids."""

    object_type: str
    objects: list[dict[str, Any]]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")
    unreadable: list[UnreadableRow] = Field([], description=LEFT_OUT)


class LinkOffer(BaseModel):
    """A link that the object may have, and where to follow it."""

    rel: str
    direction: str = Field(description="out: from this object; in: to this object")
    object_type: str = Field(description="The type at the other end")
    target: str | None = Field(description="The one object at the other end of an outgoing link, as Type/id")
    href: str = Field(description="Where to read the objects at the other end")


class OneObject(BaseModel):
    """An object with all its properties and its links."""

    object_type: str
    id: str
    title: str
    object: dict[str, Any]
    links: list[LinkOffer]


class LinkedObject(BaseModel):
    object_type: str
    object: dict[str, Any]


class LinkedPage(BaseModel):
    """The objects one step along a link."""

    rel: str
    objects: list[LinkedObject]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


def ontology_endpoints(database: Database, answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/live-state`, `/api/v1/ontology` and `/api/v1/objects/…`"""
    endpoints = APIBlueprint("world", __name__, url_prefix="/api/v1", abp_tags=[TAG])
    live_states = LiveStateReader(database)

    @endpoints.get("/live-state", summary="The present world", responses={200: LiveStateAnswer, **UNCHANGED})
    def live_state(query: LiveStateQuery) -> Response:
        type_names = _named_types(query.objects)

        def read(now: datetime) -> dict[str, Any] | Passing:
            state = live_states.read(now, type_names)
            document = {
                "as_of": state.as_of,
                "last_updated": state.last_updated,
                "pipeline_running": state.pipeline_running,
                "objects": {name: Fragment(part.json) for name, part in state.parts.items()},
                "links": Fragment(state.links_json()),
                **left_out(state.unreadable),
            }
            return document if state.is_settled else Passing(document)

        return answers.answer(read)

    @endpoints.get(
        "/ontology", summary="The object types and link types", responses={200: OntologyDocument, **UNCHANGED}
    )
    def ontology(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answers.answer(lambda _: ontology_document())

    @endpoints.get(
        "/objects/<object_type>",
        summary="Objects of a type",
        description="In the order of their ids. Any filterable property of the type is a parameter too, with the "
        "value it must have, or null for objects that have none: ?status=ACTIVE&operator=null",
        responses={200: ObjectPage, **UNCHANGED},
    )
    def objects(path: TypePath, query: PageQuery) -> Response:
        object_type = _known_type(path.object_type)
        equal = _conditions(object_type)

        def read(_: datetime) -> dict[str, Any]:
            try:
                page = read_page(database, object_type, equal=equal, limit=query.limit, after=query.after)
            except WrongCursor as error:
                raise Problem(422, f"after is not an id of {path.object_type}: {error}") from None
            return {
                "object_type": path.object_type,
                "objects": page.objects,
                "next": page.next,
                **left_out(page.unreadable),
            }

        return answers.answer(read)

    @endpoints.get(
        "/objects/<object_type>/<object_id>", summary="One object", responses={200: OneObject, **UNCHANGED}
    )
    def one_object(path: ObjectPath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        def read(_: datetime) -> dict[str, Any]:
            found = _read(database, path)
            return {
                "object_type": path.object_type,
                "id": found.id,
                "title": str(getattr(found, found.title_property)),
                "object": found,
                "links": _link_offers(found),
            }

        return answers.answer(read)

    @endpoints.get(
        "/objects/<object_type>/<object_id>/links/<link_type>",
        summary="A step along a link, either way",
        responses={200: LinkedPage},
    )
    def linked_objects(path: LinkPath, query: Paged) -> Response:
        object_type = _known_type(path.object_type)
        rels = sorted({link.rel for link in links_of(object_type)})
        if path.link_type not in rels:
            raise Problem(404, f"{path.object_type} has no link {path.link_type!r}", known_link_types=rels)
        start = _read(database, path)
        try:
            found, following = follow_link(database, start, path.link_type, limit=query.limit, after=query.after)
        except WrongCursor as error:
            raise Problem(422, f"after: {error}") from None
        objects = [{"object_type": name, "object": far_end} for name, far_end in found]
        return answer({"rel": path.link_type, "objects": objects, "next": following})

    return endpoints


def _named_types(text: str | None) -> list[str]:
    if text is None:
        return LIVE_TYPES
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in LIVE_TYPES]
    if unknown or not names:
        raise Problem(
            422,
            f"objects names unknown object types: {', '.join(unknown) or text!r}",
            known_types=LIVE_TYPES,
        )
    return list(dict.fromkeys(names))


def _known_type(name: str) -> type[ObjectType]:
    if name not in OBJECT_TYPES:
        raise Problem(404, f"there is no object type {name!r}", known_types=list(OBJECT_TYPES))
    return OBJECT_TYPES[name]


def _conditions(object_type: type[ObjectType]) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    for name, text in request.args.items():
        if name in Paged.model_fields or name == CACHE_BUSTER:
            continue
        if name not in object_type.filterable():
            raise Problem(
                422,
                f"{object_type.__name__} cannot be filtered by {name!r}",
                filterable_properties=object_type.filterable(),
            )
        try:
            conditions[name] = parse_property(object_type, name, text)
        except ValueError as error:
            raise Problem(
                422,
                f"{name}={text!r} is not a value of {name}: {_first_line(error)}",
                errors=[{"field": name, "message": _first_line(error)}],
            ) from None
    return conditions


def _read(database: Database, path: ObjectPath) -> ObjectType:
    try:
        return read_one(database, _known_type(path.object_type), path.object_id)
    except ObjectNotFound as error:
        raise Problem(404, str(error), some_ids=error.some_ids) from None


def _link_offers(found: ObjectType) -> list[LinkOffer]:
    name = type(found).__name__
    offers = []
    for link in LINK_TYPES:
        href = f"/api/v1/objects/{name}/{found.id}/links/{link.rel}"
        if isinstance(found, link.source) and (target := link.target_id(found)) is not None:
            far_end = link.target.__name__
            offers.append(
                LinkOffer(
                    rel=link.rel,
                    direction="out",
                    object_type=far_end,
                    target=f"{far_end}/{target}",
                    href=href,
                )
            )
        elif isinstance(found, link.target):
            far_end = link.source.__name__
            offers.append(LinkOffer(rel=link.rel, direction="in", object_type=far_end, target=None, href=href))
    return offers


def _first_line(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors is not None else str(error)
