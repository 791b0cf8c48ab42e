"""The network's subscribers: stored, looked up as Beckn's registry answers, and managed from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from beckn.network.keys import own_key
from beckn.network.outgoing_calls import AddressPolicy, Caller
from beckn.network.reception import Reception
from beckn.network.registry_client import LookupRegistry, RegistryUnavailable
from beckn.network.registry_lookup import registry_endpoints
from beckn.network.subscribers import (
    Place,
    Registry,
    Role,
    SubscriptionQuery,
    SubscriptionRefused,
    SubscriptionStatus,
    Territory,
)
from beckn.protocol.objects import DOMAIN, Subscriber
from beckn.registry import WrongArgument, answer, parser
from beckn_network import Party, buyer, gateway, provider
from beckn_specification import subscription_faults
from clock import utc_now
from database.interface import Database
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from new_database import as_url
from served import Client, served
from server_process import inherited
from web.application import make_application

BACKEND = Path(__file__).resolve().parent.parent.parent / "backend"


def lookup(registry: Registry, **query: Any) -> list[str]:
    """The ids that a lookup answers."""
    found = registry.lookup(SubscriptionQuery.model_validate(query, strict=False), utc_now())
    return [each.subscriber_id for each in found]


def test_what_was_added_is_found_by_its_key(database: Database) -> None:
    party = provider()
    party.register(database)
    found = Registry(database).find(party.subscriber_id, party.signer.key.key_id.upper())
    assert found is not None
    assert (found.url, found.type, found.signing_public_key) == (
        party.url,
        Role.BPP,
        party.signer.key.signing.public_key,
    )
    assert found.holds(utc_now())
    assert found.private_address
    current = Registry(database).current(party.subscriber_id, Role.BPP, utc_now())
    assert current is not None
    assert current.key_id == party.signer.key.key_id


@pytest.mark.parametrize("key_id", ["", "no uuid", "\x00", "5e0f4f2a-4d36-4a3b-9d53-0d2b1c6a7e11"])
def test_an_unknown_key_is_nobodys(postgres: PostgresDatabase, key_id: str) -> None:
    provider().register(postgres)
    assert Registry(postgres).find("provider.example", key_id) is None
    assert Registry(postgres).find("\x00", key_id) is None
    assert Registry(postgres).current("\x00", Role.BPP, utc_now()) is None
    assert Registry(postgres).current("provider.example", Role.BAP, utc_now()) is None


@pytest.mark.parametrize("key_id", ["76EU9rKtDmjCgQJcY1HUmnMrQtPMkYS9", "1", "ae 3/47#é", "k" * 200])
def test_any_text_names_a_key(database: Database, key_id: str) -> None:
    registry, party = Registry(database), provider()
    party.register(database, key_id=key_id)
    found = registry.find(party.subscriber_id, key_id)
    assert found is not None
    assert found.key_id == key_id
    assert lookup(registry, key_id=key_id) == [party.subscriber_id]
    assert registry.find(party.subscriber_id, key_id.swapcase() + "x"[: 200 - len(key_id)]) is None
    assert registry.revoke(party.subscriber_id, key_id, utc_now()) == 1
    assert lookup(registry) == []


def test_two_platforms_may_name_their_keys_alike(database: Database) -> None:
    registry, one, other = Registry(database), provider(), buyer()
    for party in (one, other):
        party.register(database, key_id="1")
    keys = {}
    for party in (one, other):
        found = registry.find(party.subscriber_id, "1")
        assert found is not None
        keys[party.subscriber_id] = (found.type, found.signing_public_key)
    assert keys == {each.subscriber_id: (each.role, each.signer.key.signing.public_key) for each in (one, other)}
    registry.revoke(one.subscriber_id, "1", utc_now())
    assert lookup(registry) == [other.subscriber_id]
    with pytest.raises(SubscriptionRefused, match="was revoked"):
        one.register(database, key_id="1")


def test_a_lookup_matches_what_it_names(database: Database) -> None:
    registry = Registry(database)
    for party in (buyer(), provider(), gateway()):
        party.register(database)
    scottish = provider("http://127.0.0.1:5063/beckn", "scottish.example")
    scottish.register(database, location=Territory(country=Place(code="GBR"), city=Place(code="std:0131")))
    everywhere = provider("http://127.0.0.1:5064/beckn", "everywhere.example")
    everywhere.register(database, location=None, domain="another:domain")

    assert lookup(registry) == [
        "buyer.example", "everywhere.example", "gateway.example", "provider.example", "scottish.example",
    ]  # fmt: skip
    assert lookup(registry, type="BPP", domain=DOMAIN) == ["provider.example", "scottish.example"]
    assert lookup(registry, subscriber_id="buyer.example") == ["buyer.example"]
    assert lookup(registry, url=scottish.url) == ["scottish.example"]
    assert lookup(registry, key_id=scottish.signer.key.key_id) == ["scottish.example"]
    leeds = {"country": {"code": "GBR"}, "city": {"code": "std:0113"}}
    assert lookup(registry, type="BPP", location=leeds) == ["everywhere.example", "provider.example"]
    france = {"country": {"code": "FRA"}}
    assert lookup(registry, type="BPP", location=france) == ["everywhere.example"]


def test_only_what_holds_is_answered_unless_a_status_is_asked_for(database: Database) -> None:
    registry = Registry(database)
    now = utc_now()
    buyer(subscriber_id="expired.example").register(database, valid_until=now - timedelta(seconds=1))
    buyer(subscriber_id="coming.example").register(database, valid_from=now + timedelta(hours=1))
    buyer(subscriber_id="revoked.example").register(database)
    buyer().register(database)
    assert registry.revoke("revoked.example", None, now) == 1
    assert registry.revoke("revoked.example", None, now) == 0
    assert lookup(registry) == ["buyer.example"]
    assert lookup(registry, status="EXPIRED") == ["expired.example"]
    assert lookup(registry, status="UNSUBSCRIBED") == ["revoked.example"]
    assert registry.current("expired.example", Role.BAP, now) is None
    assert registry.current("coming.example", Role.BAP, now) is None
    assert registry.current("revoked.example", Role.BAP, now) is None


def test_what_was_found_is_remembered_until_it_is_asked_for_anew(postgres: PostgresDatabase) -> None:
    party = buyer()
    party.register(postgres)
    registry = Registry(postgres)
    key_id = party.signer.key.key_id
    assert registry.find("buyer.example", key_id)
    party.url = "http://127.0.0.1:9999/beckn"
    party.register(postgres)
    remembered, anew = registry.find("buyer.example", key_id), registry.find("buyer.example", key_id, fresh=True)
    assert remembered is not None
    assert anew is not None
    assert (remembered.url, anew.url) == ("http://127.0.0.1:5052/beckn", party.url)


def test_a_revoked_key_stays_revoked_and_its_successor_is_taken(database: Database) -> None:
    registry = Registry(database)
    party = buyer()
    party.register(database)
    registry.revoke("buyer.example", party.signer.key.key_id, utc_now())
    with pytest.raises(SubscriptionRefused, match="was revoked"):
        party.register(database)
    buyer().register(database)
    assert lookup(registry) == ["buyer.example"]


def test_a_key_is_one_platforms_alone(database: Database) -> None:
    party = buyer()
    party.register(database)
    with pytest.raises(SubscriptionRefused, match="already registered"):
        party.register(database, subscriber_id="other.example")
    with pytest.raises(SubscriptionRefused, match="already registered"):
        party.register(database, signing_public_key=provider().signer.key.signing.public_key)


def test_a_platform_of_this_machine_registers_itself_again_and_again(database: Database, tmp_path: Path) -> None:
    registry = Registry(database)
    key = own_key(tmp_path, "gateway.example")
    for url in ("http://127.0.0.1:5050/beckn", "http://127.0.0.1:6050/beckn"):
        registry.add_own(Subscriber("gateway.example", url), Role.BG, key, domain=DOMAIN, now=utc_now())
    found = registry.find("gateway.example", key.key_id)
    assert found is not None
    assert (found.url, found.private_address) == ("http://127.0.0.1:6050/beckn", True)
    assert found.holds(utc_now())


# Over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry_server(postgres: PostgresDatabase) -> Iterator[Client]:
    """POST /registry/lookup, with a buyer, a provider and a gateway in the registry."""
    registry = Registry(postgres)
    own = gateway()
    own.register(postgres)
    reception = Reception(registry, own=own.subscriber, role=Role.BG, authenticates=True, clock=utc_now)
    app = make_application("registry", "", "0")
    app.register_api(registry_endpoints(registry, reception, authenticates=True, clock=utc_now))
    with served(app) as client:
        yield client


def ask(client: Client, party: Party, query: Any) -> Any:
    body = json.dumps(query).encode()
    return client.post("/registry/lookup", data=body, headers=party.headers(body))


def test_the_answer_is_what_the_registry_api_says(postgres: PostgresDatabase, registry_server: Client) -> None:
    party = provider()
    party.register(postgres)
    answer = ask(registry_server, party, {"type": "BPP", "domain": DOMAIN})
    assert answer.status_code == 200
    (found,) = answer.json()
    assert subscription_faults([found]) == []
    assert found["subscriber_id"] == "provider.example"
    assert found["status"] == "SUBSCRIBED"
    assert found["location"] == {"country": {"code": "GBR"}, "city": {"code": "*"}}
    assert set(found) == {
        "subscriber_id", "url", "type", "domain", "location", "key_id", "signing_public_key", "valid_from",
        "valid_until", "status", "created", "updated",
    }  # fmt: skip


def test_only_subscribers_may_look_up(postgres: PostgresDatabase, registry_server: Client) -> None:
    stranger = provider()
    answer = ask(registry_server, stranger, {})
    assert answer.status_code == 401
    assert answer.json()["message"]["ack"]["status"] == "NACK"
    assert answer.headers["WWW-Authenticate"] == (
        'Signature realm="gateway.example",headers="(created) (expires) digest"'
    )
    assert registry_server.post("/registry/lookup", {}).status_code == 401
    stranger.register(postgres)
    assert ask(registry_server, stranger, {}).status_code == 200
    Registry(postgres).revoke(stranger.subscriber_id, None, utc_now())  # by another process
    assert ask(registry_server, stranger, {}).status_code == 401


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"typ": "BPP"}, "typ"),
        ({"type": "SHOP"}, "type"),
        ({"key_id": "a|b"}, "key_id"),
        ({"domain": "\x00"}, "domain"),
    ],
)
def test_a_faulty_query_is_refused_by_the_field(
    postgres: PostgresDatabase, registry_server: Client, query: Any, path: str
) -> None:
    party = buyer()
    party.register(postgres)
    answer = ask(registry_server, party, query)
    assert answer.status_code == 400
    assert answer.json()["error"]["paths"] == path


def test_a_platform_without_the_database_finds_the_others_keys(
    postgres: PostgresDatabase, registry_server: Client
) -> None:
    party, other = buyer(), provider()
    for each in (party, other):
        each.register(postgres)
    registry = LookupRegistry(f"{registry_server.url}/registry", party.signer, clock=utc_now)
    found = registry.find("provider.example", other.signer.key.key_id)
    assert found is not None
    assert found.signing_public_key == other.signer.key.signing.public_key
    assert registry.find("provider.example", str(uuid4())) is None
    assert registry.find("provider.example", "no uuid") is None
    assert registry.current("provider.example", Role.BPP, utc_now()) == found
    assert registry.current("provider.example", Role.BAP, utc_now()) is None
    Registry(postgres).revoke("provider.example", None, utc_now())
    assert registry.find("provider.example", other.signer.key.key_id) is None


def test_a_registry_that_cannot_be_had_is_told_from_one_that_knows_nobody(registry_server: Client) -> None:
    stranger = buyer()
    registry = LookupRegistry(f"{registry_server.url}/registry", stranger.signer, clock=utc_now)
    with pytest.raises(RegistryUnavailable, match="HTTP 401"):
        registry.find("provider.example", str(uuid4()))
    nowhere = LookupRegistry(
        "http://127.0.0.1:9/registry", stranger.signer, clock=utc_now, caller=Caller(connect_timeout_s=1)
    )
    with pytest.raises(RegistryUnavailable, match="ConnectionRefused"):
        nowhere.find("provider.example", str(uuid4()))
    public_only = LookupRegistry(
        f"{registry_server.url}/registry", stranger.signer, clock=utc_now, reach=AddressPolicy.PUBLIC
    )
    with pytest.raises(RegistryUnavailable, match="private"):
        public_only.find("provider.example", str(uuid4()))


# From the command line ------------------------------------------------------------------------------------------


def command(database: Database, *arguments: str) -> str:
    return answer(parser().parse_args(arguments), Registry(database), utc_now())


def test_a_platform_is_added_for_an_operator_that_there_is(database: Database) -> None:
    public_key = buyer().signer.key.signing.public_key
    described = ("add", "--type", "BAP", "--id", "bap.acme.example", "--public-key", public_key, "--key-id", "1")
    for_acme = (*described, "--url", "https://bap.acme.example/beckn", "--operator", "acme")
    with pytest.raises(SubscriptionRefused, match="there is no operator acme"):
        command(database, *for_acme)
    assert Registry(database).everyone() == []
    database.insert("operators", [{"operator_id": "acme", "name": "Acme"}])
    assert command(database, *for_acme).endswith("\n    speaks for acme")
    assert "    speaks for acme" in command(database, "list")
    # Brought up to date without it, it goes on speaking for the same; whoever looks it up is not told.
    command(database, *described, "--url", "https://bap.acme.example/elsewhere")
    (found,) = Registry(database).everyone()
    assert (found.operator, found.url) == ("acme", "https://bap.acme.example/elsewhere")
    assert "operator" not in found.model_dump(mode="json")


def test_an_operator_lists_adds_and_revokes(postgres: PostgresDatabase) -> None:
    assert "There are no subscribers" in command(postgres, "list")

    public_key = provider().signer.key.signing.public_key
    described = ("add", "--type", "BPP", "--id", "provider.example.org", "--public-key", public_key)
    command(postgres, *described, "--url", "https://provider.example.org/beckn", "--city", "std:020")
    listed = command(postgres, "list")
    assert "provider.example.org  BPP  SUBSCRIBED" in listed
    assert "https://provider.example.org/beckn" in listed
    assert "private" not in listed
    (found,) = Registry(postgres).everyone()
    assert found.location == Territory(country=Place(code="GBR"), city=Place(code="std:020"))
    assert not found.private_address
    assert found.valid_until > utc_now() + timedelta(days=364)
    assert rfc3339(found.valid_until) in listed

    command(postgres, *described, "--url", "http://10.0.0.7/beckn", "--key-id", found.key_id, "--private-address")
    assert "http://10.0.0.7/beckn, may be a private address" in command(postgres, "list")

    assert command(postgres, "revoke", "provider.example.org") == (
        "revoked 1 of provider.example.org: its messages are refused from now on"
    )
    assert "There are no subscribers" in command(postgres, "list")
    assert "provider.example.org  BPP  UNSUBSCRIBED" in command(postgres, "list", "--all")
    assert Registry(postgres).everyone()[0].status is SubscriptionStatus.UNSUBSCRIBED


PUBLIC_KEY = provider().signer.key.signing.public_key


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--public-key", "c2hvcnQ=", "--url", "https://a.example/b"), "32 bytes in base64"),
        (("--public-key", PUBLIC_KEY, "--url", "ftp://a.example"), "url='ftp://"),
        (("--public-key", PUBLIC_KEY, "--url", "https://a.b", "--key-id", "a|b"), "key_id='a|b'"),
        (("--public-key", PUBLIC_KEY, "--url", "https://a.b", "--country", ""), "code=''"),
        (("--public-key", PUBLIC_KEY, "--url", "https://a.b", "--valid-days", "0"), "valid-days"),
        (("--public-key", PUBLIC_KEY, "--url", "https://a.b", "--valid-days", "9999999999"), "valid-days"),
    ],
)
def test_a_wrong_argument_is_named(postgres: PostgresDatabase, arguments: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(WrongArgument, match=re.escape(complaint)):
        command(postgres, "add", "--type", "BAP", "--id", "a.example", *arguments)
    with pytest.raises(WrongArgument, match="id='\\$'"):
        command(postgres, "add", "--type", "BAP", "--id", "$", "--public-key", PUBLIC_KEY, "--url", "https://a.b")


def test_revoking_nobody_is_told(postgres: PostgresDatabase) -> None:
    with pytest.raises(WrongArgument, match="list shows which there are"):
        command(postgres, "revoke", "nobody.example")
    with pytest.raises(WrongArgument, match="list shows which there are"):
        command(postgres, "revoke", "nobody.example", "--key-id", "no uuid")


def test_it_is_run_by_its_path_from_anywhere(conninfo: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BACKEND / "beckn" / "registry.py"), "revoke", "nobody.example"],
        cwd=tmp_path,
        env={
            **inherited(),
            "SUPABASE_URL": "",
            "SUPABASE_KEY": "",
            "DATABASE_URL": as_url(conninfo),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == "revoke: nobody.example has no such subscription: list shows which there are\n"
    assert done.returncode == 1
