"""Endpoints for an operator's entry in the directory, its limits, and what was changed and refused in its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.administration import PREFIX, READ_REFUSALS, REFUSALS, TAG, Administration, Name, unstored
from database.interface import Database, OrderBy, Where
from tenancy.guard import calling
from tenancy.operators import (
    AuditEvent,
    LimitEntry,
    OperatorEntry,
    OperatorListed,
    all_operators,
    limits_of,
    set_limit,
)
from tenancy.principals import PLATFORM_OPERATOR
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters, StrictQuery
from web.problems import Problem

LARGEST_CAPACITY = 999_999_999
LONGEST_AUDIT_PAGE = 1000

OperatorId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
OperatorType = Literal["CLOUD", "COLOCATION", "AI_LAB", "GRID", "STORAGE", "OTHER"]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Place = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$|^e[0-9]{1,18}$")]
"""So many events on, or before the event with this number, which only the platform is told."""


class EntryChange(BaseModel):
    """What is to be changed of an operator's entry; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "Acme Compute", "country": "GB"}}
    )

    name: Name | None = None
    operator_type: OperatorType | None = None
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2")

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class OwnEntryChange(EntryChange):
    """What is to be changed of the operator's own entry; what is left out stays."""

    @model_validator(mode="after")
    def _changes_something(self) -> OwnEntryChange:
        if not self.given():
            raise ValueError("says nothing: name, operator_type or country")
        return self


class OperatorWanted(EntryChange):
    """An operator that is to be, or whose entry is to be changed; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"operator_id": "acme", "name": "Acme Compute"}}
    )

    operator_id: OperatorId


class OperatorList(BaseModel):
    """Every operator of the installation, by its id."""

    operators: list[OperatorListed]


class LimitList(BaseModel):
    """An operator's limits. Over one the answer is 429."""

    operator_id: str
    limits: list[LimitEntry]


class LimitWanted(BaseModel):
    """What a limit is to be: null takes it back to the usual one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "workloads_per_hour", "capacity": 500}}
    )

    name: Name = Field(description="As in the list")
    capacity: int | None = Field(ge=0, le=LARGEST_CAPACITY, strict=True)


class AuditQuery(StrictQuery):
    limit: int = Field(100, ge=1, le=LONGEST_AUDIT_PAGE, description="How many to return at most")
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")


class AuditPage(BaseModel):
    """Events, newest first. What happens meanwhile may bring one a second time on the next page, and hides none."""

    operator_id: str | None = Field(description="Whose they are; null: everybody's")
    events: list[AuditEvent]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


def operator_endpoints(administration: Administration, requests: Database) -> APIBlueprint:
    """`/api/v1/tenancy/operator`, `…/operators`, `…/limits` and `…/audit-events`

    Args:
        requests: the database as each request's caller has it.
    """
    endpoints = APIBlueprint("operators", __name__, url_prefix=PREFIX, abp_tags=[TAG])

    def entry_of(operator: str) -> OperatorEntry:
        if calling().is_platform or not administration.has_tenants:
            everyone = all_operators(administration.service)
            found: list[Any] = [each for each in everyone if each.operator_id == operator]
        else:
            found = requests.select(
                "operators", where=[Where("operator_id", operator)], order=OrderBy(("operator_id",))
            )
        if not found:
            raise Problem(404, f"there is no operator {operator!r}: POST {PREFIX}/operators makes one")
        return OperatorEntry.model_validate(found[0], from_attributes=True)

    @endpoints.get("/operator", summary="The operator's entry", responses={200: OperatorEntry, **READ_REFUSALS})
    def entry(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(entry_of(calling().operator))

    @endpoints.post(
        "/operator",
        summary="Change the operator's entry",
        description="All operators see it. The platform's administrator says whose in the header Pylon-Operator.",
        responses={200: OperatorEntry, **REFUSALS},
    )
    def entry_changed(body: OwnEntryChange) -> Response:
        principal, functions = administration.changing()
        entry_of(principal.operator)
        stored = functions.change("set_operator", {"p_operator": {**body.given(), "operator_id": principal.operator}})
        return answer(OperatorEntry.model_validate(stored))

    @endpoints.get(
        "/operators", summary="Every operator of the installation", responses={200: OperatorList, **READ_REFUSALS}
    )
    def operators(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer({"operators": all_operators(administration.service)})

    @endpoints.post(
        "/operators",
        summary="Make an operator, or change its entry",
        description="201 where it is made, and 200 where there was one of this id.",
        responses={200: OperatorEntry, 201: OperatorEntry, **REFUSALS},
    )
    def operator_made(body: OperatorWanted) -> Response:
        _, functions = administration.changing()
        known = any(each.operator_id == body.operator_id for each in all_operators(administration.service))
        stored = functions.change("set_operator", {"p_operator": body.given()})
        return answer(OperatorEntry.model_validate(stored), 200 if known else 201)

    @endpoints.get("/limits", summary="The operator's limits", responses={200: LimitList, **READ_REFUSALS})
    def limits(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        principal, functions = administration.reading()
        return answer({"operator_id": principal.operator, "limits": limits_of(functions)})

    @endpoints.post(
        "/limits",
        summary="Change a limit of an operator",
        description="For the platform's administrator, who says whose in the header Pylon-Operator.",
        responses={200: LimitList, **REFUSALS},
    )
    def limit_set(body: LimitWanted) -> Response:
        principal, functions = administration.changing()
        with administration.told():
            set_limit(functions, body.name, body.capacity)
        return answer({"operator_id": principal.operator, "limits": limits_of(functions)})

    @endpoints.get(
        "/audit-events",
        summary="What was changed and refused",
        description="Of the operator, newest first. The platform's administrator reads everybody's, or those of the "
        "operator in the header Pylon-Operator.",
        responses={200: AuditPage, **READ_REFUSALS},
    )
    def audit_events(query: AuditQuery) -> Response:
        return unstored(answer(read_audit_events(administration, query)))

    return endpoints


def read_audit_events(administration: Administration, query: AuditQuery) -> AuditPage:
    """What was changed and refused in the name of the caller's operator, or of everybody's, newest first.

    Raises:
        Problem: 422, `after` is of an answer to somebody else.
        DatabaseError: the database does not answer.
    """
    principal, functions = administration.reading()
    if principal.is_platform:
        whose = None if principal.operator == PLATFORM_OPERATOR else principal.operator
        page = _of_platform(functions.read, whose, query)
    else:
        whose = principal.operator
        page = _of_tenant(functions.read, query)
    return AuditPage.model_validate({**page, "operator_id": whose})


_Read = Callable[[str, dict[str, Any]], dict[str, Any]]


def _of_platform(read: _Read, whose: str | None, query: AuditQuery) -> dict[str, Any]:
    before = _number(query.after, "e")
    page = read("audit_events", {"p_operator": whose, "p_before": before, "p_limit": query.limit})
    return {**page, "next": None if page["next"] is None else f"e{page['next']}"}


def _of_tenant(read: _Read, query: AuditQuery) -> dict[str, Any]:
    """Told by how many events on it is: an event's own number counts everybody's."""
    page = read("audit_events", {"p_after": _number(query.after, "") or 0, "p_limit": query.limit})
    return {**page, "next": None if page["next"] is None else str(page["next"])}


def _number(place: str | None, kind: str) -> int | None:
    if place is None:
        return None
    if not place.startswith(kind) or not place[len(kind) :].isdigit():
        raise Problem(422, "after= takes the `next` of an answer to the same caller")
    return int(place[len(kind) :])
