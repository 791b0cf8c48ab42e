"""An OAuth 2 authorization server on loopback that gives everybody one token, and a client's side of meeting it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from flask import Flask, Response, jsonify, redirect, request
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from served import served

CALLBACK = "http://127.0.0.1:9/callback"  # nobody listens: the test follows no further than here


@dataclass
class AuthorizationServer:
    """Where it is, and for which resources it was asked for tokens."""

    url: str = ""
    resources: list[str | None] = field(default_factory=list)


@contextmanager
def authorization_server(token: str) -> Iterator[AuthorizationServer]:
    """It registers any client and asks nobody anything, until the end of the block."""
    server = AuthorizationServer()
    app = Flask("authorization_server")

    @app.get("/.well-known/oauth-authorization-server")
    def metadata() -> Response:
        return jsonify(
            issuer=server.url,
            authorization_endpoint=f"{server.url}/authorize",
            token_endpoint=f"{server.url}/token",
            registration_endpoint=f"{server.url}/register",
            code_challenge_methods_supported=["S256"],
        )

    @app.post("/register")
    def register() -> tuple[Response, int]:
        return jsonify({**request.get_json(), "client_id": "a-client", "token_endpoint_auth_method": "none"}), 201

    @app.get("/authorize")
    def authorize() -> Any:
        return redirect(f"{CALLBACK}?{urlencode({'code': 'a-code', 'state': request.args['state']})}")

    @app.post("/token")
    def give() -> Response:
        assert request.form["code"] == "a-code"
        assert request.form["code_verifier"]
        server.resources.append(request.form.get("resource"))
        return jsonify(access_token=token, token_type="Bearer", expires_in=3600)

    with served(app) as client:
        server.url = client.url
        yield server


class _Kept:
    """What a client keeps between its calls."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


def client_that_authorizes(url: str) -> OAuthClientProvider:
    """The SDK's own client for authorization, whose user agrees to everything."""
    addresses: list[str] = []

    async def open_page(address: str) -> None:
        addresses.append(address)

    async def what_came_back() -> AuthorizationCodeResult:
        sent_on = requests.get(addresses[-1], allow_redirects=False, timeout=10).headers["Location"]
        answer = parse_qs(urlsplit(sent_on).query)
        return AuthorizationCodeResult(code=answer["code"][0], state=answer["state"][0])

    about = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="a test", token_endpoint_auth_method="none")
    return OAuthClientProvider(url, about, _Kept(), open_page, what_came_back)
