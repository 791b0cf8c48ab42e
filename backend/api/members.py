"""Endpoints for an operator's members: people, and service accounts."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.administration import PREFIX, READ_REFUSALS, REFUSALS, TAG, Administration, Name, NoDocument, unstored
from tenancy.members import Member, MemberRole, Members, ServiceAccount
from tenancy.scopes import Role
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

AccountId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class MemberWanted(BaseModel):
    """Who is to be what."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"user_id": "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11", "role": "member"}},
    )

    user_id: Name = Field(description="The sub of a user's tokens, or svc:<uuid> of a service account")
    role: MemberRole = Field(description="No more than whoever gives it may")


class MemberGone(BaseModel):
    """Who is to be a member no longer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"}}
    )

    user_id: Name


class MemberList(BaseModel):
    """An operator's members, by their ids."""

    operator_id: str
    members: list[Member]


class MemberSet(BaseModel):
    """What somebody is now."""

    operator_id: str
    user_id: str
    role: MemberRole


class MemberRemoved(BaseModel):
    """Somebody is no longer a member: what was opened with it is refused within ten seconds."""

    operator_id: str
    user_id: str
    removed: bool = True


class AccountWanted(BaseModel):
    """What a service account is to be."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "training agent", "role": "member"}}
    )

    name: Name = Field(description="What it is for")
    role: MemberRole = Field(Role.MEMBER, description="No more than whoever gives it may")


class AccountList(BaseModel):
    """An operator's service accounts, the oldest first; disabled ones too."""

    operator_id: str
    service_accounts: list[ServiceAccount]


class AccountPath(BaseModel):
    service_account_id: AccountId = Field(json_schema_extra={"example": "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"})


class AccountDisabled(BaseModel):
    """A service account is disabled for good, and its keys are revoked: refused within ten seconds."""

    service_account_id: str
    disabled: bool = True


def member_endpoints(administration: Administration) -> APIBlueprint:
    """`/api/v1/tenancy/members…` and `/api/v1/tenancy/service-accounts…`"""
    endpoints = APIBlueprint("members", __name__, url_prefix=PREFIX, abp_tags=[TAG])

    def looked_at() -> tuple[str, Members]:
        principal, functions = administration.reading()
        return principal.operator, Members(functions, principal.operator, principal.scopes)

    def changed() -> tuple[str, Members]:
        principal, functions = administration.changing()
        return principal.operator, Members(functions, principal.operator, principal.scopes)

    @endpoints.get("/members", summary="The operator's members", responses={200: MemberList, **READ_REFUSALS})
    def members(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        operator, found = looked_at()
        return unstored(answer({"operator_id": operator, "members": found.all()}))

    @endpoints.post(
        "/members",
        summary="Make somebody a member, or change the role",
        description="Nobody gives a role that may more than the giver, and an operator keeps its last administrator.",
        responses={200: MemberSet, **REFUSALS},
    )
    def set_member(body: MemberWanted) -> Response:
        operator, members_ = changed()
        with administration.told(named_in_body=True):
            members_.set(body.user_id, body.role)
        return answer(MemberSet(operator_id=operator, user_id=body.user_id, role=body.role))

    @endpoints.post(
        "/members/remove",
        summary="End a membership",
        description="The user's name stands in the body, since an issuer's may hold anything.",
        responses={200: MemberRemoved, **REFUSALS},
    )
    def removed(body: MemberGone) -> Response:
        operator, members_ = changed()
        with administration.told(named_in_body=True):
            members_.remove(body.user_id)
        return answer(MemberRemoved(operator_id=operator, user_id=body.user_id))

    @endpoints.get(
        "/service-accounts", summary="The operator's service accounts", responses={200: AccountList, **READ_REFUSALS}
    )
    def accounts(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        operator, found = looked_at()
        return unstored(answer({"operator_id": operator, "service_accounts": found.service_accounts()}))

    @endpoints.post(
        "/service-accounts",
        summary="Make a service account",
        description="It has no key yet. Making a key makes an account too, where none is named.",
        responses={201: ServiceAccount, **REFUSALS},
    )
    def account_made(body: AccountWanted) -> Response:
        _, members_ = changed()
        with administration.told():
            made = members_.make_service_account(body.name, body.role)
        return answer(made, 201)

    @endpoints.post(
        "/service-accounts/<service_account_id>/disable",
        summary="End a service account, and its keys with it",
        responses={200: AccountDisabled, **REFUSALS},
    )
    def disabled(path: AccountPath, body: NoDocument) -> Response:  # noqa: ARG001 - refuses what is not empty
        _, members_ = changed()
        with administration.told():
            members_.disable_service_account(path.service_account_id)
        return answer(AccountDisabled(service_account_id=path.service_account_id))

    return endpoints
