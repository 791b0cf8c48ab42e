"""What the database knows of keys and memberships, read through the functions that requests may call."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from database.interface import Calls
from tenancy.scopes import Role, Scope

_SCOPES = {str(scope): scope for scope in Scope}


class StoredKey(BaseModel):
    """A key as it is stored, with the role that its service account has now, if it has one.

    `usable`: not revoked, not expired, and its account is a member still.
    """

    model_config = ConfigDict(frozen=True)

    key_id: str
    digest: str = Field(repr=False)
    operator_id: str
    user_id: str
    role: Role | None
    scopes: tuple[str, ...]
    expires_at: datetime
    usable: bool

    def known_scopes(self) -> frozenset[Scope]:
        """Those of its scopes that this program knows; a newer one may have given it others."""
        return frozenset(_SCOPES[name] for name in self.scopes if name in _SCOPES)


class Membership(BaseModel):
    """What somebody is in an operator."""

    model_config = ConfigDict(frozen=True)

    operator_id: str
    role: Role


class _Memberships(BaseModel):
    memberships: tuple[Membership, ...]


class AccessRecords:
    """Reads keys and memberships. Every method raises `DatabaseError` when the database does not answer."""

    def __init__(self, database: Calls) -> None:
        self._database = database

    def key(self, key_id: str) -> StoredKey | None:
        """The key with this id, whatever state it is in."""
        found = self._database.call("tenancy_api_key", {"p_key_id": key_id}, repeatable=True)
        return None if found is None else StoredKey.model_validate(found)

    def memberships(self, user_id: str) -> tuple[Membership, ...]:
        """Where somebody is a member, by operator."""
        found = self._database.call("tenancy_principal", {"p_user_id": user_id}, repeatable=True)
        return _Memberships.model_validate(found).memberships
