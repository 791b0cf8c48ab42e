"""Every endpoint of the three servers has its line in the table of scopes, and every line an endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_application import create_app
from beckn_orders import market
from database.postgres import PostgresDatabase
from openapi_description import operations
from running_gateway import running_gateway
from served import served
from settings import load_settings
from tenancy.scopes import ENDPOINTS, ROLE_SCOPES, Role, Scope, Server, Without, role_within

# What is in no description: the description itself, and what programs read.
UNDESCRIBED = {
    "GET /docs",
    "GET /docs/page.js",
    "GET /docs/page.css",
    "GET /docs/<path:file>",
    "GET /openapi.json",
    "GET /metrics",
}
# A form, with errors of OAuth's own.
BY_OAUTH = {"POST /openadr3/3.1.0/auth/token"}
# The WebSocket has a description of its own.
BY_WEBSOCKET = {"GET /stream", "GET /asyncapi.json"}

# Pages for people, whose description they are themselves.
PAGES = {endpoint for endpoint in ENDPOINTS[Server.API] if " /dashboard/" in endpoint}
# These change nothing but the browser's own cookie.
OWN_COOKIE = {"POST /dashboard/sign-in", "POST /dashboard/sign-out"}
PUBLIC_PAGES = {"GET /dashboard/static/<digest>/<name>", "GET /dashboard/sign-in"} | OWN_COOKIE
AGENT_CARD = {"GET /.well-known/agent-card.json"}
PUBLIC_OPENADR = {"GET /openadr3/3.1.0/auth/server"}


def described(document: dict[str, Any]) -> set[str]:
    return {f"{method.upper()} {_as_rule(path)}" for method, path, _ in operations(document)}


def _as_rule(path: str) -> str:
    return re.sub(r"{(\w+)}", r"<\1>", path)


def check(server: Server, document: dict[str, Any]) -> None:
    assert set(ENDPOINTS[server]) - UNDESCRIBED - BY_WEBSOCKET - BY_OAUTH - PAGES == described(document)


def test_the_api_server_s(postgres: PostgresDatabase) -> None:
    app = create_app(postgres, load_settings({}))
    with served(app) as client:
        check(Server.API, client.get("/openapi.json").json())
    assert routes(app) == set(ENDPOINTS[Server.API])


def test_the_gateway_s(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with running_gateway(postgres, keys_dir=tmp_path) as gateway:
        check(Server.GATEWAY, gateway.get("/openapi.json").json())


def test_the_provider_s(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False) as shop, served(shop.platform.app) as client:
        check(Server.PROVIDER, client.get("/openapi.json").json())
        assert routes(shop.platform.app) == set(ENDPOINTS[Server.PROVIDER])


def routes(app: Any) -> set[str]:
    return {
        f"{method} {rule.rule}" for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def test_nothing_that_changes_is_public_and_nothing_private_is_a_reader_s() -> None:
    for endpoints in ENDPOINTS.values():
        for endpoint, need in endpoints.items():
            if not endpoint.startswith("GET ") and endpoint not in OWN_COOKIE:
                assert need is not Without.PUBLIC
                # A ticket lets its holder listen as whoever asked for it, and changes nothing of anybody's.
                assert need not in ROLE_SCOPES[Role.READER] or endpoint.endswith("/ticket")


def test_each_role_may_what_the_one_before_may() -> None:
    for less, more in zip(list(Role)[:-1], list(Role)[1:], strict=True):
        assert ROLE_SCOPES[less] < ROLE_SCOPES[more]
    assert ROLE_SCOPES[Role.PLATFORM] == set(Scope)


@given(st.sampled_from(Role), st.sets(st.sampled_from(Scope)))
def test_the_role_of_a_credential_is_never_more_than_its_holder_s_nor_less_than_it_needs(
    role: Role, scopes: set[Scope]
) -> None:
    found = role_within(role, frozenset(scopes))
    assert list(Role).index(found) <= list(Role).index(role)
    assert scopes & ROLE_SCOPES[role] <= ROLE_SCOPES[found]


@pytest.mark.parametrize("server", Server)
def test_what_others_may_read_without_asking_tells_nothing_of_anybody(server: Server) -> None:
    public = {endpoint for endpoint, need in ENDPOINTS[server].items() if need is Without.PUBLIC}
    more = (
        PUBLIC_PAGES | PUBLIC_OPENADR | AGENT_CARD
        if server is Server.API
        else BY_WEBSOCKET
        if server is Server.GATEWAY
        else set()
    )
    assert public == (UNDESCRIBED - {"GET /metrics"}) | {"GET /", "GET /health"} | more
