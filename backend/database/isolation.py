"""Whether this database keeps tenants apart, to be asked before the first of them is served."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from database.errors import DatabaseError
from database.interface import Database


class IsolationMissing(DatabaseError):
    """Tenants would not be kept apart here; the message says why, in one line."""


class Isolation(BaseModel):
    """What `tenancy_check` answers: `reasons` are why it does not hold, one line each."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    holds: bool
    reasons: tuple[str, ...]
    server_version: str
    session: str


def check_isolation(door: Database) -> Isolation:
    """Whether Row Level Security holds for what comes through the door.

    Raises:
        DatabaseError: it does not answer, or is of a schema version without tenants.
    """
    return Isolation.model_validate(door.call("tenancy_check", repeatable=True))


def refuse_unless_isolated(door: Database) -> None:
    """Let a process that serves several operators start only where they are kept apart.

    `door` is what tenants' requests come through: a session of `pylon_gate`, or PostgREST.

    Raises:
        IsolationMissing: they would not be.
        DatabaseError: it does not answer, or is of a schema version without tenants.
    """
    found = check_isolation(door)
    if not found.holds:
        raise IsolationMissing("several operators cannot be served from this database: " + "; ".join(found.reasons))
