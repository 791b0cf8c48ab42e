"""Endpoints for an operator's keys: make, list, roll, revoke."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api.administration import PREFIX, TAG, Administration, Name, NoDocument, unstored
from api.members import AccountId
from ontology.types import Moment
from tenancy.administration import (
    LONGEST_KEY_DAYS,
    LONGEST_OVERLAP,
    USUAL_KEY_DAYS,
    KeyEntry,
    Keys,
    NewKey,
)
from tenancy.guard import calling
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import NoParameters


class KeyWanted(BaseModel):
    """What a key is to be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "training agent", "role": "member", "expires_in_days": 90}},
    )

    name: Name = Field(description="What it is for")
    role: Role = Field(Role.MEMBER, description="What its service account is made; platform: only of that operator")
    scopes: list[Scope] | None = Field(
        None, max_length=100, description="What it is good for; by default all that its role has, and its maker"
    )
    expires_in_days: int = Field(USUAL_KEY_DAYS, ge=1, le=LONGEST_KEY_DAYS)
    service_account_id: AccountId | None = Field(
        None, description="Whose it is, with the role that it has; by default a new service account's"
    )


class Rolling(BaseModel):
    """How a key is rolled."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap_hours": 24}})

    overlap_hours: float = Field(
        0,
        ge=0,
        le=LONGEST_OVERLAP.total_seconds() / 3600,
        allow_inf_nan=False,
        description="How long the old one goes on opening what it opened",
    )


class KeyPath(BaseModel):
    key_id: str = Field(
        description="What names the key in lists",
        pattern=r"^[0-9A-Za-z]{12}$",
        json_schema_extra={"example": "a" * 12},
    )


class KeyList(BaseModel):
    """An operator's keys, newest first; revoked and expired ones too."""

    operator_id: str
    keys: list[KeyEntry]


class KeyMade(BaseModel):
    """A new key. `key` is shown here, this once, and kept nowhere."""

    key: str = Field(description="Send it as Authorization: Bearer <key>", json_schema_extra={"example": "pyl_…"})
    entry: KeyEntry
    old_key_ends_at: Moment | None = Field(None, description="When the key that it takes the place of ends")


class KeyRevoked(BaseModel):
    """The key is revoked: servers that still remember it refuse it within ten seconds."""

    key_id: str
    revoked: bool = True


def key_endpoints(administration: Administration, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/api/v1/tenancy/keys…`"""
    endpoints = APIBlueprint("keys", __name__, url_prefix=PREFIX, abp_tags=[TAG])
    refusals: dict[Any, Any] = {
        403: problem_answer("The credential is not an administrator's, or has fewer scopes than the key"),
        409: problem_answer("The operator has as many keys as it may, or the server takes none"),
    }

    def keys() -> Keys:
        return _keys_of(administration)

    @endpoints.get("/keys", summary="The operator's keys", responses={200: KeyList, **refusals})
    def listed(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return unstored(answer(read_keys(administration)))

    @endpoints.post(
        "/keys",
        summary="Make a key",
        description="The answer holds the key, which is shown this once. It never has more scopes than its maker.",
        responses={201: KeyMade, **refusals},
    )
    def made(body: KeyWanted) -> Response:
        wanted = NewKey(
            name=body.name,
            role=body.role,
            scopes=None if body.scopes is None else frozenset(body.scopes),
            expires_at=clock() + timedelta(days=body.expires_in_days),
            service_account_id=body.service_account_id,
        )
        with administration.told():
            key, entry = keys().make(wanted)
        return _shown(key, entry, 201)

    @endpoints.post(
        "/keys/<key_id>/roll",
        summary="Put a new key in the place of one",
        description="It has the same scopes and account. The old one ends at once, or after the overlap.",
        responses={201: KeyMade, **refusals},
    )
    def rolled(path: KeyPath, body: Rolling) -> Response:
        with administration.told():
            key, entry, ends_at = keys().roll(path.key_id, overlap=timedelta(hours=body.overlap_hours))
        return _shown(key, entry, 201, ends_at)

    @endpoints.post(
        "/keys/<key_id>/revoke",
        summary="Revoke a key",
        description="Everywhere within ten seconds. Repeating it changes nothing.",
        responses={200: KeyRevoked, **refusals},
    )
    def revoked(path: KeyPath, body: NoDocument) -> Response:  # noqa: ARG001 - refuses what is not empty
        with administration.told():
            keys().revoke(path.key_id)
        return answer(KeyRevoked(key_id=path.key_id))

    return endpoints


def read_keys(administration: Administration) -> KeyList:
    """The keys of the caller's operator, newest first; none where the server tells nobody apart.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = list(_keys_of(administration).all()) if administration.has_tenants else []
    return KeyList(operator_id=calling().operator, keys=found)


def _keys_of(administration: Administration) -> Keys:
    principal, functions = administration.changing()
    return Keys(functions, principal.operator, principal.scopes)


def _shown(key: Key, entry: KeyEntry, status: int, old_key_ends_at: datetime | None = None) -> Response:
    return unstored(answer(KeyMade(key=key.text, entry=entry, old_key_ends_at=old_key_ends_at), status))
