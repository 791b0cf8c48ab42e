"""The members of an operator: people, and service accounts, which are agents and machines."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from tenancy.administration import ChangeRefused, Functions, checked
from tenancy.principals import PLATFORM_OPERATOR
from tenancy.scopes import ROLE_SCOPES, Role, Scope


def _of_members(role: Role) -> Role:
    if role is Role.PLATFORM:
        raise ValueError(f"a member is reader, member or admin; the platform's are admins of {PLATFORM_OPERATOR}")
    return role


_MEMBERS_ROLES = [str(role) for role in Role if role is not Role.PLATFORM]

MemberRole = Annotated[
    Role, AfterValidator(_of_members), WithJsonSchema({"type": "string", "enum": _MEMBERS_ROLES, "title": "Role"})
]
"""What a member can be: reader, member or admin."""


class Member(BaseModel):
    """Somebody who may act for the operator."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user_id: str = Field(description="The sub of a user's tokens, or svc:<uuid> of a service account")
    role: MemberRole
    name: str | None = Field(description="Of a service account")
    created_by: str | None
    created_at: datetime


class ServiceAccount(BaseModel):
    """Whose keys an agent or a machine has."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service_account_id: str
    user_id: str = Field(description="Its name among the members: svc:<uuid>")
    name: str
    role: MemberRole | None = Field(description="Null once it is no longer a member")
    created_by: str | None
    created_at: datetime
    disabled_at: datetime | None


class Members:
    """The members of one operator, looked after by somebody whose own scopes are `allowed`.

    Every method raises `DatabaseError` when the database does not answer, and those that change something
    `ChangeRefused`: an operator keeps its last administrator, and nobody gives a role that may more than the giver.
    """

    def __init__(self, functions: Functions, operator: str, allowed: frozenset[Scope]) -> None:
        self._functions = functions
        self._operator = operator
        self._allowed = allowed

    def all(self) -> tuple[Member, ...]:
        """By their ids."""
        return _MEMBERS.validate_python(self._functions.read("members"))

    def set(self, user_id: str, role: Role) -> None:
        """Make somebody a member, or change what a member is."""
        self._check_role(role)
        checked(self._functions.change("set_member", {"p_user_id": user_id, "p_role": str(role)}), "set")

    def remove(self, user_id: str) -> None:
        """End a membership, at once."""
        checked(self._functions.change("remove_member", {"p_user_id": user_id}), "removed")

    def service_accounts(self) -> tuple[ServiceAccount, ...]:
        """The oldest first; disabled ones too."""
        return _ACCOUNTS.validate_python(self._functions.read("service_accounts"))

    def make_service_account(self, name: str, role: Role) -> ServiceAccount:
        """A new one, with no key yet."""
        self._check_role(role)
        made = self._functions.change("create_service_account", {"p_name": name, "p_role": str(role)})
        checked(made, "created")
        account_id = made["service_account_id"]
        return next(each for each in self.service_accounts() if each.service_account_id == account_id)

    def disable_service_account(self, service_account_id: str) -> None:
        """End one for good, and its keys with it."""
        asked = {"p_service_account_id": service_account_id}
        checked(self._functions.change("disable_service_account", asked), "disabled")

    def _check_role(self, role: Role) -> None:
        # The administrators of the operator `platform` are the platform's.
        given = Role.PLATFORM if role is Role.ADMIN and self._operator == PLATFORM_OPERATOR else role
        lacking = sorted(map(str, ROLE_SCOPES[given] - self._allowed))
        if lacking:
            raise ChangeRefused(
                "scopes", f"nobody gives a role that may more than the giver, who lacks {', '.join(lacking)}"
            )


_MEMBERS = TypeAdapter(tuple[Member, ...])
_ACCOUNTS = TypeAdapter(tuple[ServiceAccount, ...])
