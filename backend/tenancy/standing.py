"""Whether somebody who was let in may still be here: for streams, which outlast the look at their credential."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tenancy.principals import (
    LOCAL_ADMINISTRATOR,
    LOCAL_READER,
    PLATFORM_CREDENTIAL,
    PLATFORM_OPERATOR,
    Principal,
)
from tenancy.records import AccessRecords
from tenancy.scopes import ROLE_SCOPES, Role, Scope
from tenancy.tokens import SERVICE_ACCOUNT_PREFIX


class Standing:
    """Looks at the database anew each time, and remembers nothing."""

    def __init__(self, records: AccessRecords, clock: Callable[[], datetime]) -> None:
        self._records = records
        self._clock = clock

    def has_expired(self, principal: Principal) -> bool:
        """Whether the credential has ended by the clock, which takes no database to say."""
        return principal.expires_at is not None and principal.expires_at <= self._clock()

    def holds(self, principal: Principal, need: Scope) -> bool:
        """Whether the credential still stands, for the same operator, and is still good for `need`.

        Raises:
            DatabaseError: nobody can tell.
        """
        if principal.credential_id == PLATFORM_CREDENTIAL or principal in {LOCAL_ADMINISTRATOR, LOCAL_READER}:
            return need in principal.scopes  # by the settings, which a running process keeps
        if self.has_expired(principal):
            return False
        if principal.subject.startswith(SERVICE_ACCOUNT_PREFIX):
            return self._key_holds(principal, need)
        return any(
            _acts_for(principal, membership.operator_id, membership.role) and need in ROLE_SCOPES[membership.role]
            for membership in self._records.memberships(principal.subject)
        )

    def _key_holds(self, principal: Principal, need: Scope) -> bool:
        key = self._records.key(principal.credential_id or "")
        return (
            key is not None
            and key.role is not None
            and key.usable
            and key.user_id == principal.subject
            and _acts_for(principal, key.operator_id, key.role)
            and need in key.known_scopes() & ROLE_SCOPES[key.role]
        )


def _acts_for(principal: Principal, operator_id: str, role: Role) -> bool:
    """Whether a membership lets the principal act as it does: for its operator, or as the platform for any."""
    if principal.is_platform:
        return operator_id == PLATFORM_OPERATOR and role is Role.ADMIN
    return operator_id == principal.operator
