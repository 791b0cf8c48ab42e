"""Looking after operators, their members, keys and limits: the same for an operator's own administrator, whom the
database holds to that operator, and for the platform's, who says which one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from database.interface import Calls, Database
from database.tenant_door import TenantDatabase
from grid.half_hours import rfc3339
from tenancy.keys import Key, mint_key
from tenancy.principals import PLATFORM_OPERATOR, Principal
from tenancy.scopes import ROLE_SCOPES, Role, Scope, role_within

USUAL_KEY_DAYS = 90
LONGEST_KEY_DAYS = 366
LONGEST_OVERLAP = timedelta(days=31)


class ChangeRefused(Exception):
    """Nothing was changed; the message says why. `state` is the database's word for it."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state


class KeyEntry(BaseModel):
    """A key as its administrator sees it: never the key itself, nor its digest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: str = Field(description="Names it in lists and logs; it is its first part, after pyl_")
    name: str
    operator_id: str
    user_id: str = Field(description="The service account whose key it is: svc:<uuid>")
    service_account_id: str
    role: Role | None = Field(description="What its service account is; null when that is no longer a member")
    scopes: tuple[str, ...]
    created_by: str | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None
    replaces: str | None = Field(None, description="The key that was rolled into this one")
    usable: bool = Field(description="Whether it opens anything now")


class NewKey(BaseModel):
    """What a key is to be. Without scopes it has those of its role."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role = Role.MEMBER
    scopes: frozenset[Scope] | None = None
    expires_at: datetime
    service_account_id: str | None = None


class Functions(Protocol):
    """The functions of administration, for one operator."""

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any: ...

    def change(self, name: str, arguments: Mapping[str, Any]) -> Any: ...


class PlatformFunctions:
    """The administration of any operator, by the platform's administrator `by`."""

    def __init__(self, database: Calls, operator: str, by: str) -> None:
        self._database = database
        self._operator = operator
        self._by = by

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        asked = {"p_operator": self._operator, **(arguments or {})}
        return self._database.call(f"tenancy_{name}", asked, repeatable=True)

    def change(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._database.call(f"tenancy_{name}", {"p_operator": self._operator, **arguments, "p_by": self._by})


class OwnFunctions:
    """The administration of the operator of a tenant, as that tenant."""

    def __init__(self, tenant: Calls) -> None:
        self._tenant = tenant

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        return self._tenant.call(f"own_{name}", arguments or {}, repeatable=True)

    def change(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._tenant.call(f"own_{name}", arguments)


def functions_for(principal: Principal, service: Database, door: Database, request_id: str | None) -> Functions:
    """What the principal administers its operator with."""
    if principal.is_platform:
        return PlatformFunctions(service, principal.operator, principal.subject)
    return OwnFunctions(TenantDatabase(door, principal.claims(request_id)))


class Keys:
    """The keys of one operator, looked after by somebody whose own scopes are `allowed`.

    Every method raises `DatabaseError` when the database does not answer, and `ChangeRefused`.
    """

    def __init__(self, functions: Functions, operator: str, allowed: frozenset[Scope]) -> None:
        self._functions = functions
        self._operator = operator
        self._allowed = allowed

    def all(self) -> tuple[KeyEntry, ...]:
        """Every key there has been, newest first."""
        return _ENTRIES.validate_python(self._functions.read("keys"))

    def make(self, wanted: NewKey) -> tuple[Key, KeyEntry]:
        """A new key, which is to be shown to who asked for it, and is kept nowhere."""
        if wanted.role is Role.PLATFORM and self._operator != PLATFORM_OPERATOR:
            raise ChangeRefused("role", f"only keys of the operator {PLATFORM_OPERATOR} are the platform's")
        scopes = ROLE_SCOPES[wanted.role] & self._allowed if wanted.scopes is None else wanted.scopes
        self._check_scopes(scopes)
        if not scopes <= ROLE_SCOPES[wanted.role]:
            raise ChangeRefused("scopes", f"the role {wanted.role} does not have {_named(scopes, wanted.role)}")
        key = mint_key()
        made = self._functions.change(
            "create_key",
            {
                "p_key": {
                    "key_id": key.key_id,
                    "digest": key.digest.hex(),
                    "name": wanted.name,
                    "role": str(_membership_role(wanted.role, scopes)),
                    "scopes": sorted(map(str, scopes)),
                    "expires_at": rfc3339(wanted.expires_at),
                    "service_account_id": wanted.service_account_id,
                }
            },
        )
        return key, _done(made, "created")

    def roll(self, key_id: str, *, overlap: timedelta) -> tuple[Key, KeyEntry, datetime]:
        """A new key in the place of another, and when the old one ends."""
        self._check_scopes(frozenset(Scope(name) for name in self._entry(key_id).scopes if name in _SCOPE_NAMES))
        key = mint_key()
        rolled = self._functions.change(
            "roll_key",
            {
                "p_key_id": key_id,
                "p_key": {"key_id": key.key_id, "digest": key.digest.hex()},
                "p_overlap_seconds": overlap.total_seconds(),
            },
        )
        return key, _done(rolled, "rolled"), _MOMENT.validate_python(rolled["old_key_ends_at"])

    def revoke(self, key_id: str) -> None:
        """End a key, everywhere within ten seconds. Repeating it changes nothing."""
        checked(self._functions.change("revoke_key", {"p_key_id": key_id}), "revoked", "already")

    def _entry(self, key_id: str) -> KeyEntry:
        found = next((each for each in self.all() if each.key_id == key_id and each.usable), None)
        if found is None:
            raise ChangeRefused("unknown", _WORDS["unknown"])
        return found

    def _check_scopes(self, scopes: frozenset[Scope]) -> None:
        lacking = sorted(map(str, scopes - self._allowed))
        if lacking:
            raise ChangeRefused("scopes", f"a key has no more scopes than its maker, who lacks {', '.join(lacking)}")


_ENTRIES = TypeAdapter(tuple[KeyEntry, ...])
_MOMENT = TypeAdapter(datetime)
_SCOPE_NAMES = frozenset(map(str, Scope))

_WORDS = {
    "unknown_operator": "there is no such operator",
    "unknown_account": "the operator has no such service account",
    "unknown_limit": "there is no such limit",
    "unknown": "the operator has no such key, member or service account, or has it no longer",
    "last_admin": "an operator keeps its last administrator",
    "taken": "the key is taken: try again",
}


def checked(answer: Mapping[str, Any], *good: str) -> str:
    """The state that a change was answered with.

    Raises:
        ChangeRefused: it is not one of the good ones.
    """
    state = str(answer["state"])
    if state not in good:
        if state == "too_many_keys":
            raise ChangeRefused(
                state, f"the operator has {answer['limit']} usable keys, as many as it may have: revoke one"
            )
        raise ChangeRefused(state, _WORDS.get(state, state))
    return state


def _done(answer: Mapping[str, Any], good: str) -> KeyEntry:
    checked(answer, good)
    return KeyEntry.model_validate(answer["key"])


def _membership_role(role: Role, scopes: frozenset[Scope]) -> Role:
    """What the new key's service account is to be: no more than the scopes need, and never more than an admin."""
    least = role_within(role, scopes)
    return Role.ADMIN if least is Role.PLATFORM else least


def _named(scopes: frozenset[Scope], role: Role) -> str:
    return ", ".join(sorted(map(str, scopes - ROLE_SCOPES[role])))
