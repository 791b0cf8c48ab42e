"""The pages of keys and of the audit trail: each operator's own, with the scopes of their endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from database.postgres import PostgresDatabase
from served import Client
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, made_key
from two_operators import A, B, gate_of, make_operators

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
KEYS, AUDIT = "/dashboard/keys", "/dashboard/audit"


@pytest.fixture
def tenants(postgres: PostgresDatabase, conninfo: str) -> Iterator[Client]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as client:
        yield client
    gate.close()


def test_a_server_of_one_tenant_says_that_it_makes_no_keys(api: Client) -> None:
    page = api.get(KEYS)
    assert "TENANCY=multi" in page.text
    assert "<form data-json" not in page.text
    assert "Nothing was changed or refused" in api.get(AUDIT).text


def test_administrators_see_their_own_keys_and_never_the_keys_themselves(
    tenants: Client, postgres: PostgresDatabase
) -> None:
    of = {operator: bearer(made_key(postgres, operator, Role.ADMIN)[0].text) for operator in (A, B)}
    made = tenants.post("/api/v1/tenancy/keys", {"name": HOSTILE}, headers=of[A]).json()
    key_id = made["entry"]["key_id"]
    page = tenants.get(KEYS, headers=of[A])
    assert key_id in page.text
    assert made["key"] not in page.text
    assert f'data-json="/dashboard/api/v1/tenancy/keys/{key_id}/revoke"' in page.text
    assert "<img" not in page.text
    assert "<script>" not in page.text
    assert key_id not in tenants.get(KEYS, headers=of[B]).text
    assert tenants.post(f"/api/v1/tenancy/keys/{key_id}/revoke", {}, headers=of[A]).status_code == 200
    page = tenants.get(KEYS, headers=of[A])
    assert '<span class="status cancelled">revoked</span>' in page.text
    assert f"{key_id}/revoke" not in page.text


def test_the_audit_trail_is_each_operators_own_and_whole_for_the_platform(
    tenants: Client, postgres: PostgresDatabase
) -> None:
    of = {operator: bearer(made_key(postgres, operator, Role.ADMIN)[0].text) for operator in (A, B)}
    key_id = tenants.post("/api/v1/tenancy/keys", {"name": "one"}, headers=of[A]).json()["entry"]["key_id"]
    assert key_id in tenants.get(AUDIT, headers=of[A]).text
    assert key_id not in tenants.get(AUDIT, headers=of[B]).text
    assert key_id in tenants.get(AUDIT, headers=bearer(PLATFORM_KEY)).text
    for place in ("e7", "x"):
        page = tenants.get(f"{AUDIT}?after={place}", headers=of[A])
        assert page.status_code == 200
        assert "This cannot be asked for" in page.text


def test_pages_ask_for_the_scopes_of_their_endpoints_and_the_header_leads_where_one_may(
    tenants: Client, postgres: PostgresDatabase
) -> None:
    reader, admin = (bearer(made_key(postgres, A, role)[0].text) for role in (Role.READER, Role.ADMIN))
    for path in (KEYS, AUDIT, "/dashboard/operations"):
        assert tenants.get(path, headers=reader).status_code == 403
    assert tenants.get("/dashboard/operations", headers=admin).status_code == 403
    assert "Operations" not in tenants.get("/dashboard/", headers=reader).text
    assert f'<a href="{KEYS}">Operations</a>' in tenants.get("/dashboard/", headers=admin).text
    platform = bearer(PLATFORM_KEY)
    assert '<a href="/dashboard/operations">Operations</a>' in tenants.get("/dashboard/", headers=platform).text
