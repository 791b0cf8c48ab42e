"""Settings of a server with tenants, and callers of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests

from api_application import api_access, create_app
from clock import utc_now
from database.interface import Database
from served import Client, served
from settings import load_settings
from tenancy.administration import KeyEntry, Keys, NewKey, PlatformFunctions
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from token_issuer import AUDIENCE, ISSUER, Issuer

PLATFORM_KEY = "the-platform-administrators"


def with_tenants(issuer: Issuer | None = None, **more: str) -> dict[str, str]:
    """Variables of a server with tenants that takes an issuer's tokens, if there is one."""
    tokens = {}
    if issuer is not None:
        tokens = {"AUTH_ISSUER": ISSUER, "AUTH_AUDIENCE": AUDIENCE, "AUTH_JWKS_URL": issuer.url}
    return {"TENANCY": "multi", "PYLON_API_KEY": PLATFORM_KEY, **tokens, **more}


def bearer(credential: str, operator: str | None = None) -> dict[str, str]:
    """The headers of a caller."""
    chosen = {} if operator is None else {"Pylon-Operator": operator}
    return {"Authorization": f"Bearer {credential}", **chosen}


@contextmanager
def api_with_tenants(
    service: Database, door: Database, issuer: Issuer | None = None, **more: str
) -> Iterator[Client]:
    """An API server that tells its callers apart, its threads running, until the end of the block."""
    settings = load_settings(with_tenants(issuer, **more))
    access = api_access(service, settings, door)
    app = create_app(service, settings, access=access)
    access.start()
    try:
        with served(app) as client:
            yield client
    finally:
        access.stop()


def wait_until_keys_are_read(client: Client, token: str) -> None:
    """Until the server knows its issuer's keys; before that a token is answered 503."""
    give_up_at = time.monotonic() + 60
    while client.get("/metrics", headers=bearer(token)).status_code == 503:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def made_key(
    service: Database,
    operator: str,
    role: Role = Role.MEMBER,
    scopes: frozenset[Scope] | None = None,
    *,
    days: float = 1,
) -> tuple[Key, KeyEntry]:
    """A key of an operator."""
    keys = keys_of(service, operator)
    return keys.make(NewKey(name="of a test", role=role, scopes=scopes, expires_at=utc_now() + timedelta(days=days)))


def keys_of(service: Database, operator: str) -> Keys:
    """An operator's keys, as the platform's administrator looks after them."""
    return Keys(PlatformFunctions(service, operator, "tests"), operator, frozenset(Scope))


def is_problem(answer: requests.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["detail"]
    return document
