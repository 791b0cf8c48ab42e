"""Whether somebody may still be here, and tickets: each is good once, for half a minute, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import psycopg
import pytest

from clock import utc_now
from database.postgres import PostgresDatabase
from tenancy.principals import LOCAL_ADMINISTRATOR, LOCAL_READER, Principal, platform_administrator
from tenancy.records import AccessRecords
from tenancy.scopes import ROLE_SCOPES, Role, Scope
from tenancy.standing import Standing
from tenancy.tickets import Tickets
from tenant_settings import keys_of, made_key
from two_operators import MEMBERS, A, B, gate_of, make_operators

STREAM = "GET /beckn/broadcast"
READ = Scope.DECISIONS_READ


@pytest.fixture
def gate(postgres: PostgresDatabase, conninfo: str) -> Iterator[PostgresDatabase]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    yield gate
    gate.close()


@pytest.fixture
def standing(gate: PostgresDatabase) -> Standing:
    return Standing(AccessRecords(gate), utc_now)


@pytest.fixture
def tickets(gate: PostgresDatabase, standing: Standing) -> Tickets:
    return Tickets(gate, standing)


def user(operator: str, role: Role = Role.MEMBER) -> Principal:
    subject = MEMBERS[operator, str(role)]
    return Principal(operator, subject, role, ROLE_SCOPES[role], None, utc_now() + timedelta(hours=1))


def account(service: PostgresDatabase, operator: str, scopes: frozenset[Scope] | None = None) -> Principal:
    """The principal of a new key."""
    key, entry = made_key(service, operator, scopes=scopes)
    found = service.call("tenancy_api_key", {"p_key_id": key.key_id})
    granted = frozenset(Scope(name) for name in found["scopes"])
    return Principal(operator, found["user_id"], Role.MEMBER, granted, key.key_id, entry.expires_at)


def shown(ticket: str) -> dict[str, str]:
    return {"QUERY_STRING": f"after=3&ticket={quote(ticket)}"}


def test_a_key_stands_until_it_is_revoked(postgres: PostgresDatabase, standing: Standing) -> None:
    principal = account(postgres, A)
    assert standing.holds(principal, READ)
    assert not standing.holds(principal, Scope.KEYS_MANAGE)
    for changed in (
        replace(principal, operator=B),
        replace(principal, subject="svc:00000000-0000-0000-0000-000000000000"),
        replace(principal, credential_id="AAAAAAAAAAAA"),
        replace(principal, credential_id=None),
        replace(principal, role=Role.PLATFORM),
        replace(principal, expires_at=utc_now()),
    ):
        assert not standing.holds(changed, READ)
    keys_of(postgres, A).revoke(principal.credential_id or "")
    assert not standing.holds(principal, READ)


def test_a_key_stands_for_what_it_is_good_for(postgres: PostgresDatabase, standing: Standing) -> None:
    assert not standing.holds(account(postgres, A, frozenset({Scope.GRID_READ})), READ)


def test_a_member_stands_until_it_is_removed_or_its_token_ends(
    postgres: PostgresDatabase, standing: Standing
) -> None:
    principal = user(A)
    assert standing.holds(principal, READ)
    assert not standing.holds(replace(principal, operator=B), READ)
    assert not standing.holds(replace(principal, role=Role.PLATFORM), READ)
    assert not standing.holds(replace(principal, expires_at=utc_now()), READ)
    postgres.call("tenancy_remove_member", {"p_operator": A, "p_user_id": principal.subject})
    assert not standing.holds(principal, READ)


def test_the_platform_s_administrators_stand_for_every_operator(
    postgres: PostgresDatabase, standing: Standing
) -> None:
    postgres.call("tenancy_set_member", {"p_operator": "platform", "p_user_id": "somebody", "p_role": "admin"})
    administrator = replace(user(A), subject="somebody", role=Role.PLATFORM)
    assert standing.holds(administrator, READ)
    postgres.call("tenancy_set_member", {"p_operator": "platform", "p_user_id": "another", "p_role": "admin"})
    postgres.call("tenancy_set_member", {"p_operator": "platform", "p_user_id": "somebody", "p_role": "member"})
    assert not standing.holds(administrator, READ)
    for by_the_settings in (platform_administrator(), platform_administrator(A), LOCAL_ADMINISTRATOR, LOCAL_READER):
        assert standing.holds(by_the_settings, READ)


def test_a_ticket_is_its_holder_once(postgres: PostgresDatabase, tickets: Tickets) -> None:
    for holder in (account(postgres, A), user(B), platform_administrator(A), LOCAL_READER):
        ticket = tickets.issue(holder)
        assert tickets.redeemed(STREAM, shown(ticket)) == holder
        assert tickets.redeemed(STREAM, shown(ticket)) is None


def test_of_many_who_show_it_at_once_one_is_let_in(tickets: Tickets) -> None:
    ticket = tickets.issue(user(A))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: tickets.redeemed(STREAM, shown(ticket)), range(16)))
    assert sum(one is not None for one in found) == 1


@pytest.mark.parametrize("endpoint", ["GET /beckn/broadcast/poll", "POST /beckn/broadcast/ticket", "GET /", ""])
def test_a_ticket_shown_elsewhere_is_nothing_and_is_not_used_up(tickets: Tickets, endpoint: str) -> None:
    holder = user(A)
    ticket = tickets.issue(holder)
    assert tickets.redeemed(endpoint, shown(ticket)) is None
    assert tickets.redeemed(STREAM, shown(ticket)) == holder


@pytest.mark.parametrize(
    "query", ["", "ticket=", "ticket=x", "ticket=%00", "ticket=%ff", "ticket=" + "x" * 5000, "ticket[]=x", "&&=;"]
)
def test_what_is_no_ticket_opens_nothing(tickets: Tickets, query: str) -> None:
    assert tickets.redeemed(STREAM, {"QUERY_STRING": query}) is None
    assert tickets.redeemed(STREAM, {}) is None


def test_two_tickets_at_once_are_none(tickets: Tickets) -> None:
    both = "&".join(f"ticket={tickets.issue(user(operator))}" for operator in (A, B))
    assert tickets.redeemed(STREAM, {"QUERY_STRING": both}) is None


def test_a_ticket_ends_by_the_database_s_clock_and_is_cleared_away(
    postgres: PostgresDatabase, tickets: Tickets, conninfo: str
) -> None:
    old = tickets.issue(user(A))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        (left_s,) = connection.execute(
            "select extract(epoch from good_until - clock_timestamp())::float8 from tenancy.tickets"
        ).fetchone() or (0.0,)
        assert 0 < left_s <= 30
        connection.execute("update tenancy.tickets set good_until = clock_timestamp() - interval '1 second'")
        tickets.issue(user(A))
        assert connection.execute("select count(*) from tenancy.tickets").fetchone() == (1,)
    assert tickets.redeemed(STREAM, shown(old)) is None
    # However long one is asked for, it is good for a minute at most.
    postgres.call("tenancy_issue_ticket", {"p_digest": "0" * 64, "p_holder": {}, "p_seconds": 1e9})
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(
            "select max(good_until) < clock_timestamp() + interval '61 s' from tenancy.tickets"
        )
        assert found.fetchone() == (True,)


def test_a_ticket_is_worth_no_more_than_the_credential_it_was_asked_for_with(
    postgres: PostgresDatabase, tickets: Tickets
) -> None:
    principal = account(postgres, A)
    ticket = tickets.issue(principal)
    keys_of(postgres, A).revoke(principal.credential_id or "")
    assert tickets.redeemed(STREAM, shown(ticket)) is None
    # Nor does one that only reads the grid open a stream.
    ticket = tickets.issue(account(postgres, A, frozenset({Scope.GRID_READ})))
    assert tickets.redeemed(STREAM, shown(ticket)) is None


def test_only_its_digest_is_stored(tickets: Tickets, conninfo: str) -> None:
    ticket = tickets.issue(user(A))
    with psycopg.connect(conninfo) as connection:
        (stored,) = connection.execute("select t::text from tenancy.tickets t").fetchone() or ("",)
    assert MEMBERS[A, "member"] in stored
    assert ticket not in stored
