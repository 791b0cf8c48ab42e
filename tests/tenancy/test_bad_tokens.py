"""Tokens that prove nothing are 401 on every server, and the good one beside them is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_tokens import bad_tokens
from beckn_orders import market
from database.postgres import PostgresDatabase
from running_gateway import running_gateway
from served import Client, served
from tenant_settings import api_with_tenants, bearer, wait_until_keys_are_read, with_tenants
from token_issuer import Issuer, es256_key, issuing, rs256_key, token
from two_operators import A, make_operators

ES, RS = es256_key(), rs256_key()
MEMBER = token(ES, sub="user-a-member", app_metadata={"operator_id": A})
PLATFORM = token(ES, sub="user-platform", app_metadata={"operator_id": "platform"})


@pytest.fixture
def issuer(postgres: PostgresDatabase) -> Iterator[Issuer]:
    make_operators(postgres)
    arguments = {"p_operator": "platform", "p_user_id": "user-platform", "p_role": "admin"}
    assert postgres.call("tenancy_set_member", arguments) == {"state": "set"}
    with issuing() as issuer:
        issuer.lists(ES, RS)
        yield issuer


def check(client: Client, path: str, good: str) -> None:
    wait_until_keys_are_read(client, good)
    assert client.get(path, headers=bearer(good)).status_code == 200
    for why, bad in bad_tokens(ES, RS).items():
        refused = client.get(path, headers=bearer(bad))
        assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json"), why
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert len(bad) < 5 or bad not in refused.text
    assert client.get(path).status_code == 401
    assert client.get(f"{path}?access_token={good}").status_code == 401
    assert client.get(path, headers={"Authorization": good}).status_code == 401
    assert client.get(path, headers={"Cookie": f"Authorization={good}"}).status_code == 401
    assert client.get(path, headers=bearer(good)).status_code == 200


def test_by_the_api_server(postgres: PostgresDatabase, issuer: Issuer) -> None:
    with api_with_tenants(postgres, postgres, issuer) as client:
        check(client, "/api/v1/grid/regional", MEMBER)


def test_by_the_gateway(postgres: PostgresDatabase, issuer: Issuer, tmp_path: Path) -> None:
    with running_gateway(postgres, environ=with_tenants(issuer), keys_dir=tmp_path) as gateway:
        check(gateway.client, "/queue/dead", PLATFORM)


def test_by_the_provider(postgres: PostgresDatabase, issuer: Issuer, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False, limits=None, **with_tenants(issuer)) as shop:
        shop.platform.access.start()
        try:
            with served(shop.platform.app) as client:
                check(client, "/beckn/dead-letters", PLATFORM)
        finally:
            shop.platform.access.stop()


def test_the_gateway_answers_nobody_from_memory(postgres: PostgresDatabase, issuer: Issuer, tmp_path: Path) -> None:
    platform = bearer(PLATFORM)
    with running_gateway(postgres, environ=with_tenants(issuer), keys_dir=tmp_path) as gateway:
        wait_until_keys_are_read(gateway.client, PLATFORM)
        for _ in range(3):
            known = gateway.get("/beckn/llm-output", headers=platform)
            assert known.status_code == 200
        etag = {"If-None-Match": known.headers["ETag"]}
        assert gateway.get("/beckn/llm-output", headers=platform | etag).status_code == 304
        for nobody in ({}, etag, bearer("nonsense"), bearer("nonsense") | etag):
            assert gateway.get("/beckn/llm-output", headers=nobody).status_code == 401
