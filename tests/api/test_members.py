"""The endpoints for members and service accounts: who lets whom in, and that nobody gives more than he has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_application import create_app
from beckn_network import eventually
from database.postgres import PostgresDatabase
from served import Client, served
from settings import load_settings
from tenancy.principals import PLATFORM_OPERATOR
from tenancy.scopes import Role, Scope
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import MEMBERS, A, B

MEMBERS_PATH = "/api/v1/tenancy/members"
ACCOUNTS = "/api/v1/tenancy/service-accounts"
NOBODY = "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"


@pytest.fixture
def api(postgres: PostgresDatabase, door: PostgresDatabase) -> Iterator[Client]:
    with api_with_tenants(postgres, door) as client:
        yield client


@pytest.fixture
def admin(postgres: PostgresDatabase, api: Client) -> dict[str, str]:
    return bearer(made_key(postgres, A, Role.ADMIN)[0].text)


def roles(api: Client, headers: dict[str, str]) -> dict[str, str]:
    """The people's; service accounts are listed apart."""
    listed = api.get(MEMBERS_PATH, headers=headers).json()["members"]
    return {each["user_id"]: each["role"] for each in listed if not each["user_id"].startswith("svc:")}


def test_an_administrator_lets_somebody_in_changes_the_role_and_ends_it(api: Client, admin: dict[str, str]) -> None:
    before = roles(api, admin)
    assert set(before) == {MEMBERS[A, role] for role in ("admin", "member", "reader")}
    for role in ("reader", "admin", "member"):
        done = api.post(MEMBERS_PATH, {"user_id": "auth0|a/b é", "role": role}, headers=admin)
        assert (done.status_code, done.json()) == (200, {"operator_id": A, "user_id": "auth0|a/b é", "role": role})
    assert roles(api, admin) == {**before, "auth0|a/b é": "member"}
    gone = {"user_id": "auth0|a/b é"}
    assert api.post(f"{MEMBERS_PATH}/remove", gone, headers=admin).json()["removed"]
    assert roles(api, admin) == before
    assert is_problem(api.post(f"{MEMBERS_PATH}/remove", gone, headers=admin), 422)


def test_an_operator_keeps_its_last_administrator(postgres: PostgresDatabase, api: Client) -> None:
    for_b = bearer(PLATFORM_KEY, B)
    last = {"user_id": MEMBERS[B, "admin"]}
    assert "last administrator" in is_problem(api.post(f"{MEMBERS_PATH}/remove", last, headers=for_b), 409)["detail"]
    assert is_problem(api.post(MEMBERS_PATH, {**last, "role": "reader"}, headers=for_b), 409)


def test_a_service_account_is_made_given_a_key_and_disabled(api: Client, admin: dict[str, str]) -> None:
    made = api.post(ACCOUNTS, {"name": "night agent", "role": "reader"}, headers=admin)
    assert made.status_code == 201
    account = made.json()
    assert (account["name"], account["role"], account["disabled_at"]) == ("night agent", "reader", None)
    wanted = {"name": "its key", "role": "reader", "service_account_id": account["service_account_id"]}
    key = api.post("/api/v1/tenancy/keys", wanted, headers=admin).json()["key"]
    assert api.get("/api/v1/grid/regional", headers=bearer(key)).status_code == 200
    path = f"{ACCOUNTS}/{account['service_account_id']}/disable"
    assert api.post(path, {}, headers=admin).json()["disabled"]
    assert is_problem(api.post(path, {}, headers=admin), 404)
    assert is_problem(api.get("/api/v1/grid/regional", headers=bearer(key)), 401)
    listed = api.get(ACCOUNTS, headers=admin).json()["service_accounts"]
    (now,) = [each for each in listed if each["service_account_id"] == account["service_account_id"]]
    assert (now["role"], now["disabled_at"] is None) == (None, False)


@pytest.mark.parametrize("role", [Role.READER, Role.MEMBER])
def test_who_is_no_administrator_lets_nobody_in(postgres: PostgresDatabase, api: Client, role: Role) -> None:
    headers = bearer(made_key(postgres, A, role)[0].text)
    asked: list[tuple[str, str, Any]] = [
        ("GET", MEMBERS_PATH, None),
        ("POST", MEMBERS_PATH, {"user_id": MEMBERS[A, str(role)], "role": "admin"}),
        ("POST", f"{MEMBERS_PATH}/remove", {"user_id": MEMBERS[A, "admin"]}),
        ("GET", ACCOUNTS, None),
        ("POST", ACCOUNTS, {"name": "x", "role": "admin"}),
        ("POST", f"{ACCOUNTS}/{NOBODY}/disable", {}),
    ]
    for method, path, document in asked:
        refused = api.request(method, path, json=document, headers=headers)
        assert "members:manage" in is_problem(refused, 403)["detail"]


def test_nobody_gives_a_role_that_may_more_than_the_giver(postgres: PostgresDatabase, api: Client) -> None:
    few = made_key(postgres, A, Role.ADMIN, frozenset({Scope.MEMBERS_MANAGE, Scope.WORKLOADS_READ}))[0]
    for path, document in (
        (MEMBERS_PATH, {"user_id": "somebody", "role": "reader"}),
        (ACCOUNTS, {"name": "somebody", "role": "admin"}),
    ):
        refused = api.post(path, document, headers=bearer(few.text))
        assert "may more than the giver" in is_problem(refused, 403)["detail"]
    for_platform = made_key(postgres, PLATFORM_OPERATOR, Role.PLATFORM, frozenset(Scope) - {Scope.PLATFORM_WRITE})[0]
    wanted = {"user_id": "somebody", "role": "admin"}
    refused = api.post(MEMBERS_PATH, wanted, headers=bearer(for_platform.text))
    assert "platform:write" in is_problem(refused, 403)["detail"]


def test_an_administrator_reaches_no_other_operator_and_hears_nothing_of_it(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    made = postgres.call("tenancy_create_service_account", {"p_operator": B, "p_name": "theirs"})
    account = made["service_account_id"]
    for path in (MEMBERS_PATH, ACCOUNTS):
        told = api.get(path, headers=admin).text
        assert "user-b" not in told
        assert account not in told
        assert is_problem(api.get(path, headers=admin | {"Pylon-Operator": B}), 403)
    theirs = api.post(f"{ACCOUNTS}/{account}/disable", {}, headers=admin)
    nobodys = api.post(f"{ACCOUNTS}/{NOBODY}/disable", {}, headers=admin)
    assert is_problem(theirs, 404) == is_problem(nobodys, 404)
    for name in (f"svc:{account}", f"svc:{NOBODY}"):
        assert is_problem(api.post(MEMBERS_PATH, {"user_id": name, "role": "reader"}, headers=admin), 422)
    removed = [
        is_problem(api.post(f"{MEMBERS_PATH}/remove", {"user_id": name}, headers=admin), 422)
        for name in (MEMBERS[B, "member"], "nobody")
    ]
    assert removed[0] == removed[1]
    assert roles(api, bearer(PLATFORM_KEY, B)) == {MEMBERS[B, role]: role for role in ("admin", "member", "reader")}


def test_the_platform_looks_after_the_operator_that_it_names(api: Client) -> None:
    for_b = bearer(PLATFORM_KEY, B)
    assert api.post(MEMBERS_PATH, {"user_id": "new", "role": "reader"}, headers=for_b).json()["operator_id"] == B
    assert roles(api, for_b)["new"] == "reader"
    of_none = bearer(PLATFORM_KEY, "no-such")
    assert is_problem(api.post(MEMBERS_PATH, {"user_id": "new", "role": "reader"}, headers=of_none), 404)


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    (MEMBERS_PATH, {"user_id": "x"}),
    (MEMBERS_PATH, {"user_id": "", "role": "reader"}),
    (MEMBERS_PATH, {"user_id": "a\nb", "role": "reader"}),
    (MEMBERS_PATH, {"user_id": "a\x85b", "role": "reader"}),
    (MEMBERS_PATH, {"user_id": "a\u2028b", "role": "reader"}),
    (MEMBERS_PATH, {"user_id": "x" * 201, "role": "reader"}),
    (MEMBERS_PATH, {"user_id": "x", "role": "platform"}),
    (MEMBERS_PATH, {"user_id": "x", "role": "owner"}),
    (MEMBERS_PATH, {"user_id": "x", "role": "reader", "operator_id": B}),
    (f"{MEMBERS_PATH}/remove", {}),
    (ACCOUNTS, {"role": "reader"}),
    (ACCOUNTS, {"name": "x", "role": "platform"}),
    (ACCOUNTS, {"name": "a\x9fb"}),
    (f"{ACCOUNTS}/1/disable", {}),
    (f"{ACCOUNTS}/{NOBODY}/disable", {"operator_id": B}),
]


def test_what_cannot_be_is_422(api: Client, admin: dict[str, str]) -> None:
    for path, wrong in IMPOSSIBLE:
        assert is_problem(api.post(path, wrong, headers=admin), 422), wrong


def test_every_change_and_what_the_credential_does_not_allow_is_in_the_audit(
    postgres: PostgresDatabase, api: Client, admin: dict[str, str]
) -> None:
    few = made_key(postgres, A, Role.ADMIN, frozenset({Scope.MEMBERS_MANAGE}))[0]
    wanted = {"user_id": "somebody", "role": "reader"}
    api.post(MEMBERS_PATH, wanted, headers=admin | {"X-Request-ID": "r-set"})
    api.post(f"{MEMBERS_PATH}/remove", {"user_id": "somebody"}, headers=admin | {"X-Request-ID": "r-removed"})
    account = api.post(ACCOUNTS, {"name": "x"}, headers=admin | {"X-Request-ID": "r-account"}).json()
    path = f"{ACCOUNTS}/{account['service_account_id']}/disable"
    api.post(path, {}, headers=admin | {"X-Request-ID": "r-disabled"})
    refused = api.post(MEMBERS_PATH, wanted, headers=bearer(few.text) | {"X-Request-ID": "r-refused"})
    assert refused.status_code == 403

    def written() -> dict[str, dict[str, Any]]:
        page = api.get("/api/v1/tenancy/audit-events?limit=1000", headers=admin).json()
        return {event["request_id"]: event for event in page["events"]}

    eventually(lambda: "r-refused" in written())
    events = written()
    assert {name: event["action"] for name, event in events.items() if name} == {
        "r-set": "member.set",
        "r-removed": "member.remove",
        "r-account": "service_account.create",
        "r-disabled": "service_account.disable",
        "r-refused": "request",
    }
    assert events["r-set"]["detail"] == {"role": "reader"}
    assert (events["r-refused"]["outcome"], events["r-refused"]["credential_id"]) == ("refused", few.key_id)


def test_a_server_of_one_tenant_shows_who_is_in_and_changes_nothing(postgres: PostgresDatabase) -> None:
    with served(create_app(postgres, load_settings({}))) as client:
        assert client.get(MEMBERS_PATH).json() == {"operator_id": "local", "members": []}
        assert client.get(ACCOUNTS).json() == {"operator_id": "local", "service_accounts": []}
        for path, document in (
            (MEMBERS_PATH, {"user_id": "x", "role": "reader"}),
            (f"{MEMBERS_PATH}/remove", {"user_id": "x"}),
            (ACCOUNTS, {"name": "x"}),
            (f"{ACCOUNTS}/{NOBODY}/disable", {}),
        ):
            assert "TENANCY=multi" in is_problem(client.post(path, document), 409)["detail"]
