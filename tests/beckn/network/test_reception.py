"""Proof before work: what no known key signed is neither parsed nor stored, and strangers cost next to nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from beckn.network.gateway_search import OPEN_ENDPOINTS, gateway_endpoints
from beckn.network.message_body import LONGEST_CATALOGUE_BYTES, LONGEST_UNSIGNED_BYTES
from beckn.network.participant import Participant
from beckn.network.reception import Reception
from beckn.network.sender_limits import MESSAGES_AT_ONCE, UNKNOWN_KEYS_AT_ONCE, SenderRates, UnknownKeys
from beckn.network.subscribers import Registry, Role
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.context import MOST_CATALOGUE_VALUES, MOST_VALUES
from beckn.protocol.objects import Action, Subscriber
from beckn.protocol.signing import LONGEST_HEADER
from beckn_network import Party, a_catalogue, a_message, buyer, gateway, in_bytes, provider
from clock import utc_now
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from served import Client, served
from web.application import make_application

OWN = Subscriber("gateway.example", "http://127.0.0.1:5050/beckn")
BUYER, PROVIDER, STRANGER = buyer(), provider(), buyer(subscriber_id="stranger.example")


@pytest.fixture
def reception(postgres: PostgresDatabase) -> Reception:
    for party in (BUYER, PROVIDER):
        party.register(postgres)
    return Reception(Registry(postgres), own=OWN, role=Role.BG, authenticates=True, clock=utc_now)


@pytest.fixture
def all_at_once(postgres: PostgresDatabase, reception: Reception) -> Reception:
    """A reception to which every message comes in the same moment."""
    registry = Registry(postgres, unknown=UnknownKeys(clock=lambda: 0.0))
    rates = SenderRates(clock=lambda: 0.0)
    return Reception(registry, own=OWN, role=Role.BG, authenticates=True, clock=utc_now, rates=rates)


def refused(reception: Reception, action: Action, body: bytes, headers: dict[str, str]) -> Refused:
    with pytest.raises(Refused) as told:
        reception.check(action, body, headers)
    return told.value


NO_MESSAGES = [b"", b"\xff", b"[" * 200_000, b'{"context":{"a":[' + b"[]," * 300_000 + b'1]},"message":{}}']


@pytest.mark.parametrize("body", NO_MESSAGES, ids=["nothing", "no text", "deep", "many"])
def test_what_no_known_key_signed_is_refused_for_that_whatever_it_is(reception: Reception, body: bytes) -> None:
    assert "must be signed" in str(refused(reception, Action.ON_SEARCH, body, {}))
    by_stranger = refused(reception, Action.ON_SEARCH, body, STRANGER.headers(body))
    assert (by_stranger.status, str(by_stranger)[:6]) == (401, "no key")
    forged = BUYER.headers(b"something else")
    assert "does not match this body" in str(refused(reception, Action.SEARCH, body, forged))


@pytest.mark.parametrize("body", NO_MESSAGES, ids=["nothing", "no text", "deep", "many"])
def test_what_a_known_key_signed_and_is_no_message_is_refused_in_few_words(reception: Reception, body: bytes) -> None:
    told = refused(reception, Action.ON_SEARCH, body, PROVIDER.headers(body))
    assert told.status == 400
    assert len(told.error.message) < 2100


@pytest.mark.parametrize(
    ("action", "most"), [(Action.SEARCH, MOST_VALUES), (Action.ON_SEARCH, MOST_CATALOGUE_VALUES)]
)
def test_a_message_has_so_many_values_at_most(reception: Reception, action: Action, most: int) -> None:
    sender = BUYER if action is Action.SEARCH else PROVIDER
    document = a_message(action, BUYER, None if action is Action.SEARCH else PROVIDER)
    usual = json.dumps(document).encode()
    room = most - usual.count(b",") - usual.count(b"{") - usual.count(b"[") - 10
    document["message"] = {"values": [1] * room}
    body = json.dumps(document).encode()
    assert reception.check(action, body, sender.headers(body)).sender == sender.subscriber_id
    document["message"] = {"values": [1] * (room + 20)}
    body = json.dumps(document).encode()
    assert f"{most:,} values" in str(refused(reception, action, body, sender.headers(body)))


def test_a_catalogue_of_fifteen_hundred_items_passes(reception: Reception) -> None:
    body = in_bytes(a_message(Action.ON_SEARCH, BUYER, PROVIDER, message=a_catalogue(1500)))
    assert len(body) < LONGEST_CATALOGUE_BYTES * 2
    assert reception.check(Action.ON_SEARCH, body, PROVIDER.headers(body)).sender == "provider.example"


def test_a_signature_header_has_a_length(reception: Reception) -> None:
    body = in_bytes(a_message(Action.SEARCH, BUYER))
    right = BUYER.headers(body)["Authorization"]
    long = right.replace("Signature ", "Signature " + " " * LONGEST_HEADER)
    told = refused(reception, Action.SEARCH, body, {"Authorization": long})
    assert (told.status, "longer than 2,000" in str(told)) == (401, True)


def test_a_sender_that_is_too_fast_is_told_so_before_its_message_is_read(all_at_once: Reception) -> None:
    body = b"no message"
    told = [
        refused(all_at_once, Action.SEARCH, body, BUYER.headers(body)) for _ in range(int(MESSAGES_AT_ONCE * 1.5))
    ]
    assert {each.status for each in told} == {400, 429}
    assert told[0].status == 400
    assert told[-1].status == 429
    other = in_bytes(a_message(Action.ON_SEARCH, BUYER, PROVIDER))
    assert all_at_once.check(Action.ON_SEARCH, other, PROVIDER.headers(other)).sender == "provider.example"


def test_keys_that_nobody_knows_are_looked_up_a_few_times_and_known_ones_serve_on(all_at_once: Reception) -> None:
    body = in_bytes(a_message(Action.SEARCH, BUYER))
    assert all_at_once.check(Action.SEARCH, body, BUYER.headers(body)).sender == "buyer.example"
    statuses = []
    for _ in range(int(UNKNOWN_KEYS_AT_ONCE * 2)):
        header = BUYER.headers(body)["Authorization"].replace(BUYER.signer.key.key_id, str(uuid4()))
        statuses.append(refused(all_at_once, Action.SEARCH, body, {"Authorization": header}).status)
    assert set(statuses) == {401, 429}
    another = in_bytes(a_message(Action.SEARCH, BUYER))
    assert all_at_once.check(Action.SEARCH, another, BUYER.headers(another)).sender == "buyer.example"


def test_a_key_that_a_gateway_registers_does_not_sign_for_a_buyer(
    reception: Reception, postgres: PostgresDatabase
) -> None:
    other = gateway(subscriber_id="buyer.example")
    other.register(postgres)
    body = in_bytes(a_message(Action.SEARCH, BUYER))
    told = refused(reception, Action.SEARCH, body, other.headers(body))
    assert (told.status, "as BAP" in str(told)) == (401, True)


# Over HTTP -------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    client: Client
    database: PostgresDatabase

    def post(self, action: Action, body: bytes, **headers: str) -> Any:
        return self.client.post(f"/beckn/{action}", data=body, headers=headers)


@pytest.fixture
def server(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Server]:
    joined = Participant.join(postgres, OWN, Role.BG, data_dir=tmp_path, authenticates=True)
    app = make_application("gateway", "", "0", open_endpoints=OPEN_ENDPOINTS)
    app.register_api(gateway_endpoints(postgres, joined))
    with served(app) as client:
        yield Server(client, postgres)


@pytest.mark.parametrize(
    "size", [0, 10, LONGEST_UNSIGNED_BYTES + 1, LONGEST_CATALOGUE_BYTES, LONGEST_CATALOGUE_BYTES + 1]
)
def test_an_unsigned_body_that_is_faulty_or_long_is_refused_and_nothing_kept(server: Server, size: int) -> None:
    answer = server.post(Action.ON_SEARCH, b"[" * size)
    assert answer.status_code in ({400} if size <= LONGEST_CATALOGUE_BYTES else {400, 413})
    assert answer.json()["message"] == {"ack": {"status": "NACK"}}
    usual = in_bytes(a_message(Action.SEARCH, BUYER))
    assert server.post(Action.SEARCH, usual).status_code == 401
    assert server.database.select("beckn_inbox", order=OrderBy(("inbox_id",))) == []


@pytest.mark.parametrize("name", ["x\n2026-11-27T00:00:00Z ERROR BG: forged", "\x1b[31mred", "k" * 60_000, "\x00"])
def test_an_unsigned_message_with_names_that_cannot_be_shown_is_refused_in_a_short_line(
    server: Server, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    document = json.loads(in_bytes(a_message(Action.SEARCH, BUYER)))
    document["context"]["location"]["country"][name] = 1
    answer = server.post(Action.SEARCH, json.dumps(document).encode())
    assert answer.status_code == 400
    assert len(answer.content) < 2_000
    assert all(record.getMessage().isprintable() and len(record.getMessage()) < 2_000 for record in caplog.records)


def test_over_a_limit_the_answer_is_429_with_when_to_come_again(server: Server) -> None:
    busy: Party = buyer(subscriber_id="busy.example")
    busy.register(server.database)
    provider("http://127.0.0.1:9/beckn").register(server.database)
    answers = []
    for _ in range(110):
        body = in_bytes(a_message(Action.SEARCH, busy))
        answers.append(server.post(Action.SEARCH, body, **busy.headers(body)))
    assert [answer.status_code for answer in answers] == [200] * 100 + [429] * 10
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert answers[-1].json()["message"] == {"ack": {"status": "NACK"}}
    assert len(server.database.select("beckn_outbox", order=OrderBy(("outbox_id",)))) == 100
