"""The endpoints for keys: who makes, sees, rolls and revokes whose, and that nothing shows a key a second time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from api_application import create_app
from clock import utc_now
from database.postgres import PostgresDatabase
from grid.half_hours import from_rfc3339
from served import Client, served
from settings import load_settings
from tenancy.keys import read_key
from tenancy.scopes import ROLE_SCOPES, Role, Scope
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B

KEYS = "/api/v1/tenancy/keys"


@pytest.fixture
def api(postgres: PostgresDatabase, door: PostgresDatabase) -> Iterator[Client]:
    with api_with_tenants(postgres, door) as client:
        yield client


@pytest.fixture
def admin(postgres: PostgresDatabase, door: PostgresDatabase) -> dict[str, str]:
    key, _ = made_key(postgres, A, Role.ADMIN)
    return bearer(key.text)


def test_a_key_is_made_shown_once_used_rolled_and_revoked(api: Client, admin: dict[str, str]) -> None:
    made = api.post(KEYS, {"name": "agent", "role": "reader", "expires_in_days": 7}, headers=admin)
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    text, entry = made.json()["key"], made.json()["entry"]
    assert read_key(text).key_id == entry["key_id"]
    assert (entry["name"], entry["operator_id"], entry["role"], entry["usable"]) == ("agent", A, "reader", True)
    assert set(entry["scopes"]) == set(map(str, ROLE_SCOPES[Role.READER]))
    assert abs(from_rfc3339(entry["expires_at"]) - utc_now() - timedelta(days=7)) < timedelta(minutes=5)

    listed = api.get(KEYS, headers=admin)
    assert listed.json()["operator_id"] == A
    assert entry["key_id"] in [each["key_id"] for each in listed.json()["keys"]]
    assert text not in listed.text
    assert read_key(text).digest.hex() not in listed.text

    assert api.get("/api/v1/grid/regional", headers=bearer(text)).status_code == 200
    rolled = api.post(f"{KEYS}/{entry['key_id']}/roll", {"overlap_hours": 1}, headers=admin)
    newer = rolled.json()["key"]
    assert rolled.status_code == 201
    assert rolled.json()["entry"]["replaces"] == entry["key_id"]
    assert rolled.json()["entry"]["scopes"] == entry["scopes"]
    for good in (text, newer):
        assert api.get("/api/v1/grid/regional", headers=bearer(good)).status_code == 200

    for key_id in (entry["key_id"], read_key(newer).key_id):
        for _ in range(2):
            assert api.post(f"{KEYS}/{key_id}/revoke", {}, headers=admin).json()["revoked"]
    assert api.get("/api/v1/grid/regional", headers=admin).status_code == 200


def test_a_key_that_is_rolled_without_overlap_ends(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    key, _ = made_key(postgres, A)
    assert api.post(f"{KEYS}/{key.key_id}/roll", {}, headers=admin).status_code == 201
    assert api.post(f"{KEYS}/{key.key_id}/roll", {}, headers=admin).status_code == 404
    assert api.get("/api/v1/grid/regional", headers=bearer(key.text)).status_code == 401


@pytest.mark.parametrize("role", [Role.READER, Role.MEMBER])
def test_who_is_no_administrator_has_nothing_to_do_with_keys(
    postgres: PostgresDatabase, api: Client, role: Role
) -> None:
    key, _ = made_key(postgres, A, role)
    for method, path in (("GET", KEYS), ("POST", KEYS), ("POST", f"{KEYS}/{key.key_id}/revoke")):
        refused = api.request(method, path, json={}, headers=bearer(key.text))
        assert "keys:manage" in is_problem(refused, 403)["detail"]


def test_an_administrator_reaches_no_other_operators_keys_and_hears_nothing_of_them(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    others, _ = made_key(postgres, B)
    assert others.key_id not in api.get(KEYS, headers=admin).text
    for action in ("roll", "revoke"):
        theirs = api.post(f"{KEYS}/{others.key_id}/{action}", {}, headers=admin)
        nobodys = api.post(f"{KEYS}/{'z' * 12}/{action}", {}, headers=admin)
        assert is_problem(theirs, 404) == is_problem(nobodys, 404)
    assert api.get("/api/v1/grid/regional", headers=bearer(others.text)).status_code == 200
    assert api.get(KEYS, headers=admin | {"Pylon-Operator": B}).status_code == 403


def test_a_key_never_has_more_scopes_than_its_maker(postgres: PostgresDatabase, api: Client) -> None:
    few, _ = made_key(postgres, A, Role.ADMIN, frozenset({Scope.KEYS_MANAGE, Scope.WORKLOADS_READ}))
    more, _ = made_key(postgres, A, Role.ADMIN)
    maker = bearer(few.text)
    refused = api.post(KEYS, {"name": "x", "scopes": ["workloads:write"]}, headers=maker)
    assert "no more scopes than its maker" in is_problem(refused, 403)["detail"]
    assert is_problem(api.post(f"{KEYS}/{more.key_id}/roll", {}, headers=maker), 403)
    made = api.post(KEYS, {"name": "x", "role": "member"}, headers=maker)
    assert made.json()["entry"]["scopes"] == ["workloads:read"]
    beyond = api.post(KEYS, {"name": "x", "role": "reader", "scopes": ["keys:manage"]}, headers=maker)
    assert "does not have" in is_problem(beyond, 403)["detail"]
    platforms = api.post(KEYS, {"name": "x", "role": "platform"}, headers=maker)
    assert is_problem(platforms, 403)


def test_the_platforms_administrator_looks_after_the_operator_that_it_names(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    for_b = bearer(PLATFORM_KEY, B)
    made = api.post(KEYS, {"name": "first"}, headers=for_b).json()
    assert made["entry"]["operator_id"] == B
    assert [each["key_id"] for each in api.get(KEYS, headers=for_b).json()["keys"]] == [made["entry"]["key_id"]]
    assert is_problem(api.post(KEYS, {"name": "x"}, headers=bearer(PLATFORM_KEY, "no-such")), 404)
    assert api.post(f"{KEYS}/{made['entry']['key_id']}/revoke", {}, headers=for_b).status_code == 200


def test_no_more_keys_than_the_operator_may_have(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "keys", "p_capacity": 1})
    assert "revoke one" in is_problem(api.post(KEYS, {"name": "x"}, headers=admin), 409)["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x", "role": "owner"},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "expires_in_days": 367},
        {"name": "x", "expires_in_days": 0},
        {"name": "x", "service_account_id": "svc:1"},
        {"name": "x", "operator": B},
    ],
)
def test_a_key_that_cannot_be_is_422(api: Client, admin: dict[str, str], wrong: dict[str, object]) -> None:
    assert is_problem(api.post(KEYS, wrong, headers=admin), 422)


def test_every_change_is_in_the_audit_with_its_request(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    made = api.post(KEYS, {"name": "x"}, headers=admin | {"X-Request-ID": "r-made"}).json()["entry"]
    api.post(f"{KEYS}/{made['key_id']}/revoke", {}, headers=bearer(PLATFORM_KEY, A) | {"X-Request-ID": "r-gone"})
    events = postgres.call("tenancy_audit_events", {"p_operator": A, "p_limit": 10})["events"]
    found = {event["action"]: event for event in events if event["object"] == made["key_id"]}
    assert found["key.create"]["principal"].startswith("svc:")
    assert found["key.create"]["request_id"] == "r-made"
    assert found["key.create"]["credential_id"] == read_key(admin["Authorization"].split()[1]).key_id
    assert found["key.revoke"]["principal"] == "platform"


def test_a_server_of_one_tenant_takes_no_keys_and_says_so(postgres: PostgresDatabase) -> None:
    with served(create_app(postgres, load_settings({}))) as client:
        assert client.get(KEYS).json() == {"operator_id": "local", "keys": []}
        for path, document in ((KEYS, {"name": "x"}), (f"{KEYS}/{'a' * 12}/revoke", {})):
            assert "TENANCY=multi" in is_problem(client.post(path, document), 409)["detail"]
