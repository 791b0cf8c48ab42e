"""Who a bearer is: by a key or a token, in which operator, and for how long after that has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import utc_now
from database.interface import Calls
from database.postgres import PostgresDatabase
from tenancy.identification import Identification, NoMember, NotIdentified, PlatformKey
from tenancy.keys import mint_key
from tenancy.records import AccessRecords
from tenancy.remembered import LONGEST_S, Remembered
from tenancy.scopes import ROLE_SCOPES, Role, Scope
from tenancy.signing_keys import read_key_set
from tenancy.tokens import Tokens
from tenant_settings import PLATFORM_KEY, keys_of, made_key
from token_issuer import AUDIENCE, ISSUER, es256_key, token
from two_operators import A, B, gate_of, make_operators

ES = es256_key()


class Counted:
    """A database that counts the calls of its functions."""

    def __init__(self, database: Calls) -> None:
        self._database = database
        self.calls: list[str] = []

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        self.calls.append(function)
        return self._database.call(function, arguments, repeatable=repeatable)


class Listed:
    def __init__(self) -> None:
        self._keys = read_key_set(json.dumps({"keys": [ES.listed()]}).encode())

    def find(self, key_id: str) -> Any:
        return self._keys.get(key_id)


@pytest.fixture
def gate(postgres: PostgresDatabase, conninfo: str) -> Iterator[Counted]:
    """The database as requests reach it."""
    make_operators(postgres)
    database = gate_of(conninfo)
    yield Counted(database)
    database.close()


def identification(database: Calls, used: list[str] | None = None) -> Identification:
    return Identification(
        AccessRecords(database),
        utc_now,
        platform_key=PlatformKey(PLATFORM_KEY),
        tokens=Tokens(ISSUER, AUDIENCE, Listed()),
        takes_keys=True,
        used=(used if used is not None else []).append,
    )


def user(name: str, operator: str | None, **changes: Any) -> str:
    metadata = {} if operator is None else {"operator_id": operator}
    return token(ES, sub=name, app_metadata=metadata, **changes)


def test_the_platforms_key_is_its_administrator_for_whom_it_says(gate: Counted) -> None:
    known = identification(gate)
    for operator in (None, A, B):
        found = known.principal(PLATFORM_KEY, operator)
        assert (found.is_platform, found.operator) == (True, operator or "platform")
    assert gate.calls == []


@pytest.mark.parametrize("role", [Role.READER, Role.MEMBER, Role.ADMIN])
def test_a_key_is_its_service_account_with_its_role(postgres: PostgresDatabase, gate: Counted, role: Role) -> None:
    used: list[str] = []
    key, entry = made_key(postgres, A, role)
    found = identification(gate, used).principal(key.text, None)
    assert (found.operator, found.subject, found.role) == (A, entry.user_id, role)
    assert found.scopes == ROLE_SCOPES[role]
    assert (found.credential_id, used) == (key.key_id, [key.key_id])
    assert found.expires_at == entry.expires_at


def test_a_key_has_the_scopes_it_was_made_with_and_only_lowers_its_role(
    postgres: PostgresDatabase, gate: Counted
) -> None:
    key, _ = made_key(postgres, A, Role.ADMIN, frozenset({Scope.WORKLOADS_READ}))
    found = identification(gate).principal(key.text, None)
    assert found.scopes == {Scope.WORKLOADS_READ}
    assert found.claims()["app_metadata"] == {"operator_id": A, "role": "reader"}


def test_a_key_is_asked_for_once_and_a_mistyped_one_never(postgres: PostgresDatabase, gate: Counted) -> None:
    known = identification(gate)
    key, _ = made_key(postgres, A)
    for _ in range(5):
        known.principal(key.text, None)
    assert gate.calls == ["tenancy_api_key"]
    last = "0" if key.text[-1] != "0" else "1"
    for wrong in (key.text[:-1] + last, key.text[:-1], "pyl_", "pyl_" + "x" * 62):
        with pytest.raises(NotIdentified):
            known.principal(wrong, None)
    assert gate.calls == ["tenancy_api_key"]


def test_a_key_that_was_never_made_is_nobody_and_its_id_tells_nothing(
    postgres: PostgresDatabase, gate: Counted
) -> None:
    key, _ = made_key(postgres, A)
    messages = set()
    for wrong in (mint_key().text, mint_key(key.key_id).text):
        with pytest.raises(NotIdentified) as refused:
            identification(gate).principal(wrong, None)
        messages.add((str(refused.value), refused.value.credential_id))
    assert messages == {("there is no such key", None)}


def test_a_header_never_moves_a_key_to_another_operator(postgres: PostgresDatabase, gate: Counted) -> None:
    key, _ = made_key(postgres, A, Role.ADMIN)
    known = identification(gate)
    assert known.principal(key.text, A).operator == A
    with pytest.raises(NoMember):
        known.principal(key.text, B)
    assert known.principal(key.text, None).operator == A


def test_a_key_of_the_platform_is_the_platforms_within_its_scopes(postgres: PostgresDatabase, gate: Counted) -> None:
    key, _ = made_key(postgres, "platform", Role.PLATFORM, frozenset({Scope.METRICS_READ}))
    found = identification(gate).principal(key.text, None)
    assert found.is_platform
    assert found.scopes == {Scope.METRICS_READ}


def test_a_revoked_and_an_expired_key_are_nobodys_once_they_are_asked_for_again(
    postgres: PostgresDatabase, gate: Counted
) -> None:
    known = identification(gate)
    key, _ = made_key(postgres, A)
    known.principal(key.text, None)
    keys_of(postgres, A).revoke(key.key_id)
    known.forget()
    with pytest.raises(NotIdentified) as refused:
        known.principal(key.text, None)
    assert refused.value.credential_id == key.key_id


def test_a_key_ends_at_its_time_though_it_is_remembered(postgres: PostgresDatabase, gate: Counted) -> None:
    ahead = [timedelta(0)]
    known = Identification(
        AccessRecords(gate), lambda: utc_now() + ahead[0], platform_key=None, tokens=None, takes_keys=True
    )
    key, _ = made_key(postgres, A, days=1)
    known.principal(key.text, None)
    ahead[0] = timedelta(days=1)
    with pytest.raises(NotIdentified, match="expired"):
        known.principal(key.text, None)
    assert gate.calls == ["tenancy_api_key"]


def test_a_removed_account_takes_its_keys_along(postgres: PostgresDatabase, gate: Counted) -> None:
    known = identification(gate)
    key, entry = made_key(postgres, A)
    known.principal(key.text, None)
    postgres.call("tenancy_remove_member", {"p_operator": A, "p_user_id": entry.user_id})
    known.forget()
    with pytest.raises(NotIdentified):
        known.principal(key.text, None)


def test_a_user_is_what_the_membership_says(gate: Counted) -> None:
    known = identification(gate)
    for role in (Role.READER, Role.MEMBER, Role.ADMIN):
        found = known.principal(user(f"user-a-{role}", A), None)
        assert (found.operator, found.role, found.scopes) == (A, role, ROLE_SCOPES[role])
        assert found.claims()["app_metadata"] == {"operator_id": A, "role": str(role)}


def test_of_several_operators_the_header_chooses_before_the_claim_and_one_alone_needs_neither(
    postgres: PostgresDatabase, gate: Counted
) -> None:
    known = identification(gate)
    assert known.principal(user("user-a-member", None), None).operator == A
    arguments = {"p_operator": B, "p_user_id": "user-a-member", "p_role": "reader"}
    assert postgres.call("tenancy_set_member", arguments) == {"state": "set"}
    known.forget()
    assert known.principal(user("user-a-member", B), None).operator == B
    assert known.principal(user("user-a-member", B), A).role is Role.MEMBER
    with pytest.raises(NoMember, match=f"one of {A}, {B}"):
        known.principal(user("user-a-member", None), None)


@pytest.mark.parametrize(
    ("name", "claim", "header"), [("user-a-admin", B, None), ("user-a-admin", A, B), ("nobody", A, None)]
)
def test_neither_a_claim_nor_a_header_makes_a_member(
    gate: Counted, name: str, claim: str | None, header: str | None
) -> None:
    with pytest.raises(NoMember):
        identification(gate).principal(user(name, claim), header)


def test_an_administrator_of_the_platform_acts_for_whom_it_says(postgres: PostgresDatabase, gate: Counted) -> None:
    for name, role in (("user-platform", "admin"), ("user-guest", "reader")):
        arguments = {"p_operator": "platform", "p_user_id": name, "p_role": role}
        assert postgres.call("tenancy_set_member", arguments) == {"state": "set"}
    known = identification(gate)
    assert known.principal(user("user-platform", None), None).is_platform
    acting = known.principal(user("user-platform", None), A)
    assert (acting.operator, acting.is_platform) == (A, True)
    assert not known.principal(user("user-guest", None), None).is_platform
    with pytest.raises(NoMember):
        known.principal(user("user-guest", None), A)


def test_what_is_forgotten_while_it_is_looked_up_is_not_remembered() -> None:
    remembered: Remembered[str, int] = Remembered()
    asked: list[int] = []

    def find() -> int:
        asked.append(0)
        if len(asked) == 1:
            remembered.forget()
        return len(asked)

    assert [remembered.answer("a", find) for _ in range(3)] == [1, 2, 2]


@given(st.lists(st.floats(0, 3), max_size=20))
def test_no_answer_is_older_than_it_may_be(pauses: list[float]) -> None:
    now = [0.0]
    remembered: Remembered[str, float] = Remembered(monotonic=lambda: now[0])
    for pause in pauses:
        now[0] += pause
        assert now[0] - remembered.answer("a", lambda: now[0]) < LONGEST_S


def test_no_more_is_remembered_than_may_be_and_what_raises_is_not() -> None:
    remembered: Remembered[int, int] = Remembered(most=2)
    for number in (1, 2, 3):
        assert remembered.answer(number, partial(abs, number)) == number
    assert remembered.answer(1, lambda: 10) == 10
    assert remembered.answer(3, lambda: 30) == 3

    def fail() -> int:
        raise NotIdentified("no")

    with pytest.raises(NotIdentified):
        remembered.answer(4, fail)
    assert remembered.answer(4, lambda: 4) == 4
