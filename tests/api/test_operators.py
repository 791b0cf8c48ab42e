"""The endpoints for an operator's entry, its limits and its audit: who sees and changes which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_application import create_app
from database.postgres import PostgresDatabase
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B

OPERATOR, OPERATORS, LIMITS, AUDIT = (
    f"/api/v1/tenancy/{name}" for name in ("operator", "operators", "limits", "audit-events")
)
PLATFORM = bearer(PLATFORM_KEY)


@pytest.fixture
def api(postgres: PostgresDatabase, door: PostgresDatabase) -> Iterator[Client]:
    with api_with_tenants(postgres, door) as client:
        yield client


@pytest.fixture
def headers(postgres: PostgresDatabase, api: Client) -> dict[Role, dict[str, str]]:
    """Of A's."""
    return {role: bearer(made_key(postgres, A, role)[0].text) for role in list(Role)[:3]}


def test_all_of_an_operator_see_its_entry_and_an_administrator_changes_it(
    api: Client, headers: dict[Role, dict[str, str]]
) -> None:
    usual = {"operator_id": A, "name": "Operator op-a", "operator_type": "OTHER", "country": "GB"}
    for role in headers:
        assert api.get(OPERATOR, headers=headers[role]).json() == usual
    done = api.post(OPERATOR, {"name": "Acme", "operator_type": "AI_LAB"}, headers=headers[Role.ADMIN])
    assert (done.status_code, done.json()) == (200, {**usual, "name": "Acme", "operator_type": "AI_LAB"})
    assert api.get(OPERATOR, headers=headers[Role.READER]).json() == done.json()
    for role in (Role.READER, Role.MEMBER):
        assert is_problem(api.post(OPERATOR, {"name": "x"}, headers=headers[role]), 403)
    assert api.get(OPERATOR, headers=bearer(PLATFORM_KEY, B)).json()["name"] == "Operator op-b"


def test_the_platform_makes_operators_and_changes_any_entry(api: Client) -> None:
    for name, status in (("Coil", 201), ("Coil Compute", 200)):
        made = api.post(OPERATORS, {"operator_id": "coil", "name": name}, headers=PLATFORM)
        assert (made.status_code, made.json()["name"]) == (status, name)
    assert api.post(OPERATOR, {"country": "IE"}, headers=bearer(PLATFORM_KEY, "coil")).json()["country"] == "IE"
    listed = {each["operator_id"]: each for each in api.get(OPERATORS, headers=PLATFORM).json()["operators"]}
    assert set(listed) == {A, B, "coil", "local", "platform"}
    assert (listed[A]["members"], listed["coil"]["members"], listed["local"]["created_at"]) == (3, 0, None)
    for change in (api.get(OPERATOR, headers=bearer(PLATFORM_KEY, "no-such")), change_of_none(api)):
        assert "there is no operator" in is_problem(change, 404)["detail"]


def change_of_none(api: Client) -> Any:
    return api.post(OPERATOR, {"name": "x"}, headers=bearer(PLATFORM_KEY, "no-such"))


def test_only_the_platform_lists_operators_makes_them_and_sets_limits(
    api: Client, headers: dict[Role, dict[str, str]]
) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("GET", OPERATORS, None),
        ("POST", OPERATORS, {"operator_id": "mine"}),
        ("POST", LIMITS, {"name": "keys", "capacity": 1000}),
    ]
    for method, path, document in asked:
        for role in headers:
            assert (
                "platform:"
                in is_problem(api.request(method, path, json=document, headers=headers[role]), 403)["detail"]
            )


def test_all_of_an_operator_see_its_limits_and_the_platform_sets_them(
    api: Client, headers: dict[Role, dict[str, str]]
) -> None:
    def limits(of: dict[str, str]) -> dict[str, tuple[int, bool]]:
        listed = api.get(LIMITS, headers=of).json()["limits"]
        return {each["name"]: (each["capacity"], each["is_default"]) for each in listed}

    before = limits(headers[Role.READER])
    assert before["keys"] == (50, True)
    for_a = bearer(PLATFORM_KEY, A)
    changed = api.post(LIMITS, {"name": "keys", "capacity": 7}, headers=for_a)
    assert (changed.status_code, changed.json()["operator_id"]) == (200, A)
    assert limits(headers[Role.READER]) == {**before, "keys": (7, False)}
    assert limits(bearer(PLATFORM_KEY, B)) == before
    assert api.post(LIMITS, {"name": "keys", "capacity": None}, headers=for_a).status_code == 200
    assert limits(headers[Role.ADMIN]) == before
    assert "no such limit" in is_problem(api.post(LIMITS, {"name": "x", "capacity": 1}, headers=for_a), 422)["detail"]
    of_none = bearer(PLATFORM_KEY, "no-such")
    assert is_problem(api.post(LIMITS, {"name": "keys", "capacity": 1}, headers=of_none), 404)


def test_an_administrator_reads_its_own_operators_audit_page_by_page(
    api: Client, headers: dict[Role, dict[str, str]]
) -> None:
    for name in ("one", "two", "three"):
        assert api.post(OPERATOR, {"name": name}, headers=headers[Role.ADMIN]).status_code == 200
    api.post(OPERATOR, {"name": "theirs"}, headers=bearer(PLATFORM_KEY, B))
    whole = api.get(AUDIT, headers=headers[Role.ADMIN])
    assert (whole.json()["operator_id"], whole.json()["next"], whole.headers["Cache-Control"]) == (
        A,
        None,
        "no-store",
    )
    events = whole.json()["events"]
    assert [event["detail"]["name"] for event in events[:3]] == ["three", "two", "one"]
    assert "theirs" not in whole.text
    assert {event["operator_id"] for event in events} == {None}
    assert events[0]["principal"].startswith("svc:")

    read: list[Any] = []
    after = ""
    while after is not None:
        page = api.get(f"{AUDIT}?limit=2{after and f'&after={after}'}", headers=headers[Role.ADMIN]).json()
        read += page["events"]
        after = page["next"]
    assert read == events
    for role in (Role.READER, Role.MEMBER):
        assert "audit:read" in is_problem(api.get(AUDIT, headers=headers[role]), 403)["detail"]


def test_the_platform_reads_everybodys_audit_or_one_operators(
    api: Client, headers: dict[Role, dict[str, str]]
) -> None:
    api.post(OPERATOR, {"name": "of-a"}, headers=headers[Role.ADMIN])
    api.post(OPERATOR, {"name": "of-b"}, headers=bearer(PLATFORM_KEY, B))
    whole = api.get(f"{AUDIT}?limit=1000", headers=PLATFORM).json()
    assert (whole["operator_id"], [event["operator_id"] for event in whole["events"][:2]]) == (None, [B, A])
    of_b = api.get(AUDIT, headers=bearer(PLATFORM_KEY, B)).json()
    assert {event["operator_id"] for event in of_b["events"]} == {B}
    assert of_b["events"][0]["principal"] == "platform"
    first = api.get(f"{AUDIT}?limit=1", headers=PLATFORM).json()
    second = api.get(f"{AUDIT}?limit=1&after={first['next']}", headers=PLATFORM).json()
    assert first["events"] + second["events"] == whole["events"][:2]
    # A place in everybody's is none in an operator's own, and the other way round.
    assert is_problem(api.get(f"{AUDIT}?after={first['next']}", headers=headers[Role.ADMIN]), 422)
    assert is_problem(api.get(f"{AUDIT}?after=1", headers=PLATFORM), 422)


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    (OPERATOR, {}),
    (OPERATOR, {"name": ""}),
    (OPERATOR, {"name": "a\x85b"}),
    (OPERATOR, {"name": "x", "operator_id": B}),
    (OPERATOR, {"operator_type": "BANK"}),
    (OPERATOR, {"country": "Britain"}),
    (OPERATORS, {"name": "x"}),
    (OPERATORS, {"operator_id": "a b"}),
    (OPERATORS, {"operator_id": "x" * 65}),
    (LIMITS, {"name": "keys"}),
    (LIMITS, {"name": "keys", "capacity": -1}),
    (LIMITS, {"name": "keys", "capacity": 1.5}),
    (LIMITS, {"name": "keys", "capacity": 2**31}),
]


def test_what_cannot_be_is_422(api: Client) -> None:
    for path, wrong in IMPOSSIBLE:
        assert is_problem(api.post(path, wrong, headers=bearer(PLATFORM_KEY, A)), 422), wrong


def test_a_server_of_one_tenant_shows_its_own_and_changes_nothing(postgres: PostgresDatabase) -> None:
    both: list[tuple[dict[str, str], dict[str, str], str | None]] = [
        ({}, {}, "local"),
        ({"PYLON_API_KEY": PLATFORM_KEY}, PLATFORM, None),
    ]
    for settings, credential, whose in both:
        with served(create_app(postgres, load_settings(settings))) as client:
            assert client.get(OPERATOR).json()["operator_id"] == "local"
            assert len(client.get(LIMITS).json()["limits"]) == 5
            assert client.get(AUDIT, headers=credential).json()["operator_id"] == whose
            for path, document in (
                (OPERATOR, {"name": "x"}),
                (OPERATORS, {"operator_id": "x"}),
                (LIMITS, {"name": "keys", "capacity": 1}),
            ):
                told = client.post(path, document, headers=credential)
                assert "TENANCY=multi" in is_problem(told, 409)["detail"]
