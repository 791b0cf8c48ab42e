"""Access tokens that Supabase's own program signs with ES256 are taken by every server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beckn_orders import market
from database.postgres import PostgresDatabase
from running_gateway import running_gateway
from served import served
from supabase_cli import SupabaseCli, supabase_cli
from tenant_settings import api_with_tenants, bearer, wait_until_keys_are_read, with_tenants
from token_issuer import AUDIENCE, ISSUER, Issuer, issuing
from two_operators import A, B, make_operators

USER = "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"
OPERATOR_OF_THE_HOOK = {"iss": ISSUER, "aud": AUDIENCE, "app_metadata": {"operator_id": A}}


@pytest.fixture(scope="module")
def cli() -> Iterator[SupabaseCli]:
    with supabase_cli() as cli:
        yield cli


@pytest.fixture(scope="module")
def keys(cli: SupabaseCli) -> list[dict[str, Any]]:
    """The one in use, and a standby key, which is never listed here: as if it were revoked."""
    return [cli.new_signing_key(), cli.new_signing_key()]


@pytest.fixture(scope="module")
def tokens(cli: SupabaseCli, keys: list[dict[str, Any]]) -> list[str]:
    return [cli.access_token(USER, key["kid"], OPERATOR_OF_THE_HOOK) for key in keys]


@pytest.fixture
def issuer(postgres: PostgresDatabase, keys: list[dict[str, Any]]) -> Iterator[Issuer]:
    make_operators(postgres)
    for operator, role in ((A, "member"), ("platform", "admin")):
        member = {"p_operator": operator, "p_user_id": USER, "p_role": role}
        assert postgres.call("tenancy_set_member", member) == {"state": "set"}
    with issuing() as issuer:
        issuer.keys = [{name: value for name, value in keys[0].items() if name != "d"}]
        yield issuer


def test_they_are_taken_by_every_server_and_none_of_a_key_that_is_not_listed(
    postgres: PostgresDatabase, issuer: Issuer, tokens: list[str], tmp_path: Path
) -> None:
    taken, not_listed = tokens
    with (
        api_with_tenants(postgres, postgres, issuer) as api,
        running_gateway(postgres, environ=with_tenants(issuer), keys_dir=tmp_path / "gateway") as gateway,
        market(postgres, tmp_path, start=False, limits=None, **with_tenants(issuer)) as shop,
        served(shop.platform.app) as provider,
    ):
        shop.platform.access.start()
        try:
            for client, path in (
                (api, "/api/v1/workloads"),
                (gateway.client, "/queue/dead"),
                (provider, "/beckn/dead-letters"),
            ):
                operator = A if client is api else "platform"
                wait_until_keys_are_read(client, taken)
                assert client.get(path, headers=bearer(taken, operator)).status_code == 200
                assert client.get(path, headers=bearer(taken, B)).status_code != 401
                assert client.get(path, headers=bearer(not_listed, operator)).status_code == 401
                assert client.get(path, headers=bearer(taken[:-2] + "AA", operator)).status_code == 401
        finally:
            shop.platform.access.stop()
