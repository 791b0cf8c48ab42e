"""Endpoints for OAuth 2.0: where tokens are given, and a token for a client's secret (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import binascii
import secrets
from urllib.parse import unquote_plus

from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field

from openadr.endpoints.parameters import ROOT, TAG
from tenancy.access import Access
from tenancy.access_tokens import GOOD_FOR_S, PREFIX
from tenancy.identification import NotIdentified
from tenancy.principals import PLATFORM_CREDENTIAL, Principal
from tenancy.scopes import Scope
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.problems import Problem

FORM_ENDPOINTS = ("openadr_auth.token",)
"""What takes a form: whoever asks proves by the secret in it who it is."""

LONGEST_SECRET = 500


class AuthServer(BaseModel):
    """Where a client gets its token."""

    model_config = ConfigDict(extra="forbid")

    token_url: str = Field(alias="tokenURL", description="POST client credentials here, as OAuth 2.0 has them")


class Refused(Exception):
    """OAuth's own word for why there is no token."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error


def authorization_endpoints(access: Access, public_url: str | None = None) -> APIBlueprint:
    """`/openadr3/3.1.0/auth`"""
    endpoints = APIBlueprint("openadr_auth", __name__, url_prefix=f"{ROOT}/auth", abp_tags=[TAG])

    @endpoints.get("/server", summary="Where a client gets its token", responses={200: AuthServer})
    def auth_server() -> Response:
        return answer({"tokenURL": f"{public_url or request.host_url.rstrip('/')}{ROOT}/auth/token"})

    # In OAuth's words, not in OpenAPI's: a form, and errors of its own.
    @endpoints.route("/token", methods=["POST"])
    def token() -> Response:
        try:
            found = answer({"access_token": _token(access), "token_type": "Bearer", "expires_in": GOOD_FOR_S})
        except Refused as refused:
            found = answer({"error": refused.error, "error_description": str(refused)}, refused.status)
            if refused.status == 401:
                found.headers["WWW-Authenticate"] = 'Basic realm="Pylon"'
        found.headers["Cache-Control"] = "no-store"
        return found

    return endpoints


def _token(access: Access) -> str:
    if request.form.get("grant_type") != "client_credentials":
        raise Refused(400, "unsupported_grant_type", "ask with grant_type=client_credentials")
    client_id, secret = _credentials()
    if secret.startswith(PREFIX):
        # Or whoever came by a token would have another every hour, for as long as the key lives.
        raise Refused(401, "invalid_client", "an access token is no client_secret: send the key itself")
    if access.rules.everyone is not None:
        return secrets.token_urlsafe()  # nobody is asked for one here
    try:
        principal = access.signed_in(
            secret,
            request.headers.get("Pylon-Operator"),
            Scope.OPENADR_USE,
            f"{request.method} {request.url_rule}",
            request.remote_addr or "",
        )
    except Problem as error:
        if error.status in {401, 403}:
            raise Refused(401, "invalid_client", error.detail) from None
        raise
    if client_id not in _names(principal):
        raise Refused(401, "invalid_client", "client_id is the key's id, or that of its service account")
    try:
        return access.identification.access_token(principal)
    except NotIdentified as error:
        raise Refused(401, "invalid_client", str(error)) from None


def _names(principal: Principal) -> set[str]:
    """What a client may call itself; whoever has the platform's key, as it likes."""
    if principal.credential_id == PLATFORM_CREDENTIAL:
        return {request.form.get("client_id", ""), _credentials()[0]}
    return {principal.credential_id or "", principal.subject, principal.subject.removeprefix("svc:")}


def _credentials() -> tuple[str, str]:
    """client_id and client_secret, from the header (RFC 6749, 2.3.1) or else from the form."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise Refused(401, "invalid_client", "the header Authorization: Basic … cannot be read") from None
        client_id, _, secret = text.partition(":")
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    else:
        client_id, secret = request.form.get("client_id", ""), request.form.get("client_secret", "")
    if not client_id or not secret or len(secret) > LONGEST_SECRET:
        raise Refused(401, "invalid_client", "send client_id and client_secret, by HTTP Basic or in the form")
    return client_id, secret
