"""Who is calling: a user, a service account, the platform's administrator, or the one user of one's own machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tenancy.scopes import READ_SCOPES, ROLE_SCOPES, Role, Scope, role_within
from tenancy.tokens import USER_ROLE

LOCAL_OPERATOR = "local"
"""Whose everything is where there is one tenant."""

PLATFORM_OPERATOR = "platform"
"""Whose administrators administer the platform."""

PLATFORM_CREDENTIAL = "PYLON_API_KEY"
"""Names the administrator's key in logs and in the audit. No session and no key of ours can have this name."""


@dataclass(frozen=True)
class Principal:
    """Who a request is from.

    Attributes:
        operator: the tenant that it acts for.
        subject: an issuer's id of a user, `svc:<uuid>` of a service account, or a word of ours.
        credential_id: names the key or session in logs and in the audit; not a secret.
        expires_at: when the credential ends, if it does.
    """

    operator: str
    subject: str
    role: Role
    scopes: frozenset[Scope]
    credential_id: str | None = None
    expires_at: datetime | None = None

    @property
    def is_platform(self) -> bool:
        """Whether it sees every operator's."""
        return self.role is Role.PLATFORM

    def claims(self, request_id: str | None = None) -> dict[str, Any]:
        """What `call_as` is told. The table of memberships confirms it; the role only lowers what it gives.

        Args:
            request_id: for the audit, with the credential's.
        """
        role = role_within(self.role, self.scopes)
        return {
            "sub": self.subject,
            "role": USER_ROLE,
            "app_metadata": {"operator_id": self.operator, "role": str(role)},
            "credential_id": self.credential_id,
            "request_id": request_id,
        }


LOCAL_ADMINISTRATOR = Principal(LOCAL_OPERATOR, "local", Role.PLATFORM, ROLE_SCOPES[Role.PLATFORM])
"""Everybody who reaches a server of one tenant that asks nobody who they are."""

LOCAL_READER = Principal(LOCAL_OPERATOR, "local", Role.READER, READ_SCOPES)
"""Whoever gives no credential to such a server whose PYLON_API_KEY guards what changes things."""


def platform_administrator(operator: str = PLATFORM_OPERATOR) -> Principal:
    """Who has PYLON_API_KEY, acting for an operator."""
    return Principal(operator, "platform", Role.PLATFORM, ROLE_SCOPES[Role.PLATFORM], PLATFORM_CREDENTIAL)
