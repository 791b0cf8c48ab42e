"""An operator's entry in the directory, its limits, and what was changed and refused in its name."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from database.interface import Calls
from tenancy.administration import Functions, checked


class OperatorEntry(BaseModel):
    """What everybody sees of an operator."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    operator_id: str
    name: str
    operator_type: str = Field(description="CLOUD, COLOCATION, AI_LAB, GRID, STORAGE or OTHER")
    country: str = Field(description="Where it is registered, ISO 3166")


class OperatorListed(OperatorEntry):
    """An operator as whoever runs the installation sees it."""

    members: int
    keys: int = Field(description="How many are usable")
    created_at: datetime | None = Field(description="Null for local and platform until they are first needed")


class LimitEntry(BaseModel):
    """How much of the platform an operator may use."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    capacity: int
    per_seconds: int | None = Field(description="In which time so many come back; null: how many at a time")
    is_default: bool = Field(description="Whether it is the usual one")


class AuditEvent(BaseModel):
    """What somebody did, or was refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    operator_id: str | None = Field(None, description="Left out where an operator reads its own")
    principal: str | None = Field(description="Who: a user's sub, svc:<uuid>, or a word of ours")
    credential_id: str | None = Field(description="The key's id or the session's, which are no secrets")
    action: str
    object: str | None
    outcome: Literal["allowed", "refused", "failed"]
    request_id: str | None
    detail: dict[str, Any]


def all_operators(database: Calls) -> tuple[OperatorListed, ...]:
    """Every operator, by its id; for whoever runs the installation.

    Raises:
        DatabaseError: the database does not answer.
    """
    return _OPERATORS.validate_python(database.call("tenancy_operators", repeatable=True))


def limits_of(functions: Functions) -> tuple[LimitEntry, ...]:
    """An operator's limits, by their names.

    Raises:
        DatabaseError: the database does not answer.
    """
    return _LIMITS.validate_python(functions.read("limits"))


def set_limit(functions: Functions, name: str, capacity: int | None) -> None:
    """Change a limit; None takes it back to the usual one.

    Raises:
        ChangeRefused: there is no such limit, or no such operator.
        DatabaseError: the database does not answer.
    """
    checked(functions.change("set_limit", {"p_name": name, "p_capacity": capacity}), "set")


_OPERATORS = TypeAdapter(tuple[OperatorListed, ...])
_LIMITS = TypeAdapter(tuple[LimitEntry, ...])
