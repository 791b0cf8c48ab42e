"""The gateway over real HTTP, with real keys: what it takes, what it refuses and why, and that it loses nothing."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from beckn.network.gateway_search import OPEN_ENDPOINTS, gateway_endpoints
from beckn.network.message_body import LONGEST_BYTES, LONGEST_CATALOGUE_BYTES
from beckn.network.participant import Participant
from beckn.network.reception import Reception
from beckn.network.subscribers import Place, Registry, Role, Territory
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action, Subscriber
from beckn.protocol.signing import SignatureHeader, verify
from beckn_network import (
    NACKED,
    Party,
    Peer,
    a_catalogue,
    a_message,
    buyer,
    eventually,
    gateway,
    in_bytes,
    let_leases_end,
    peer,
    provider,
)
from BG import gateway_access
from clock import utc_now
from database.interface import Database, OrderBy, Row
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from hypothesis_profile import SHARES_A_FIXTURE
from served import Client, served
from server_process import free_port
from settings import load_settings
from web.application import make_application

OWN = Subscriber("gateway.example", "http://127.0.0.1:5050/beckn")
CHALLENGE = 'Signature realm="gateway.example",headers="(created) (expires) digest"'


@dataclass
class Gateway:
    """A gateway that listens, and a buyer and a provider that are registered."""

    client: Client
    database: Database
    buyer: Party
    provider: Party
    provider_peer: Peer
    buyer_peer: Peer

    def post(self, document: Any, *, action: Action = Action.SEARCH, by: Party | None = None) -> requests.Response:
        """A message, signed by its sender unless it is by somebody else."""
        body = document if isinstance(document, bytes) else in_bytes(document)
        sender = by or (self.provider if action.startswith("on_") else self.buyer)
        return self.send(body, sender.headers(body), action)

    def send(self, body: bytes, headers: dict[str, str], action: Action = Action.SEARCH) -> requests.Response:
        return self.client.post(f"/beckn/{action}", data=body, headers=headers)

    def search(self, **changes: Any) -> dict[str, Any]:
        return a_message(Action.SEARCH, self.buyer, **changes)

    def rows(self, table: str) -> list[Row]:
        return self.database.select(table, order=OrderBy(("inbox_id" if table == "beckn_inbox" else "outbox_id",)))


@contextmanager
def running(
    database: Database, folder: Path, *, authenticates: bool = True, key: str | None = None
) -> Iterator[Gateway]:
    joined = Participant.join(database, OWN, Role.BG, data_dir=folder, authenticates=authenticates)
    access = gateway_access(database, load_settings({"PYLON_API_KEY": key or ""}), [])
    app = make_application("gateway", "", "0", asks_for=access.asks_for(), open_endpoints=OPEN_ENDPOINTS)
    app.register_api(gateway_endpoints(database, joined))
    access.guard(app)
    joined.deliverer.start()
    try:
        with served(app) as client, peer() as provider_peer, peer() as buyer_peer:
            parties = buyer(buyer_peer.url), provider(provider_peer.url)
            for party in parties:
                party.register(database)
            yield Gateway(client, database, *parties, provider_peer, buyer_peer)
    finally:
        joined.deliverer.stop()


@pytest.fixture
def network(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Gateway]:
    with running(postgres, tmp_path) as made:
        yield made


def is_nack(answer: requests.Response, status: int) -> dict[str, Any]:
    """The error of an answer that refuses as Beckn does."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json()
    assert document["message"] == {"ack": {"status": "NACK"}}
    assert document["error"]["message"]
    error: dict[str, Any] = document["error"]
    return error


def is_ack(answer: requests.Response) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"message": {"ack": {"status": "ACK"}}}


def nothing_is_stored(network: Gateway) -> bool:
    return network.rows("beckn_inbox") == network.rows("beckn_outbox") == []


# What it passes on ------------------------------------------------------------------------------------------------


def test_a_search_reaches_the_provider_byte_for_byte_with_both_signatures(database: Database, tmp_path: Path) -> None:
    with running(database, tmp_path) as network:
        body = in_bytes(network.search(message={"intent": {"item": {"descriptor": {"name": "Zoë  "}}}}))
        headers = network.buyer.headers(body)
        is_ack(network.send(body, headers))
        (arrival,) = network.provider_peer.wait_for(1)
        assert (arrival.path, arrival.body) == ("/beckn/search", body)
        assert arrival.headers["Authorization"] == headers["Authorization"]
        by_gateway = SignatureHeader.parse(arrival.headers["X-Gateway-Authorization"])
        assert by_gateway.subscriber_id == "gateway.example"
        registered = Registry(database).find("gateway.example", by_gateway.key_id)
        assert registered is not None
        verify(by_gateway, body, public_key=registered.signing_public_key, now=utc_now())
        # And the provider's own checks take it so.
        reception = Reception(
            Registry(database), own=network.provider.subscriber, role=Role.BPP, authenticates=True, clock=utc_now
        )
        assert reception.check(Action.SEARCH, arrival.body, arrival.headers).sender == "buyer.example"
        eventually(lambda: network.rows("beckn_outbox")[0]["work_state"] == "completed")


def test_a_search_reaches_every_provider_of_its_domain_and_place_and_nobody_else(network: Gateway) -> None:
    with peer() as second, peer() as other_domain, peer() as french, peer() as revoked, peer() as future:
        provider(second.url, "second.example").register(network.database, location=None)
        provider(other_domain.url, "other.example").register(network.database, domain="retail")
        france = Territory(country=Place(code="FRA"))
        provider(french.url, "french.example").register(network.database, location=france)
        provider(revoked.url, "revoked.example").register(network.database)
        Registry(network.database).revoke("revoked.example", None, utc_now())
        later = utc_now() + timedelta(hours=1)
        provider(future.url, "future.example").register(network.database, valid_from=later)
        is_ack(network.post(network.search()))
        network.provider_peer.wait_for(1)
        second.wait_for(1)
        assert {row["recipient"] for row in network.rows("beckn_outbox")} == {"provider.example", "second.example"}


def test_a_search_for_one_provider_goes_to_that_one(network: Gateway) -> None:
    with peer() as second:
        chosen = provider(second.url, "second.example")
        chosen.register(network.database)
        is_ack(network.post(network.search(bpp_id=chosen.subscriber_id, bpp_uri=chosen.url)))
        second.wait_for(1)
    assert [row["recipient"] for row in network.rows("beckn_outbox")] == ["second.example"]


def test_an_on_search_is_passed_on_to_the_buyer_it_answers(network: Gateway) -> None:
    document = a_message(Action.ON_SEARCH, network.buyer, network.provider, message={"catalog": {}})
    body = in_bytes(document)
    headers = network.provider.headers(body)
    is_ack(network.send(body, headers, Action.ON_SEARCH))
    (arrival,) = network.buyer_peer.wait_for(1)
    assert (arrival.path, arrival.body) == ("/beckn/on_search", body)
    assert arrival.headers["Authorization"] == headers["Authorization"]
    assert "X-Gateway-Authorization" in arrival.headers


def test_an_on_search_of_a_thousand_items_is_passed_on_whole(database: Database, tmp_path: Path) -> None:
    with running(database, tmp_path) as network:
        catalogue = a_catalogue(1000)
        body = in_bytes(a_message(Action.ON_SEARCH, network.buyer, network.provider, message=catalogue))
        assert 1024 * 1024 < len(body) < LONGEST_CATALOGUE_BYTES
        is_ack(network.send(body, network.provider.headers(body), Action.ON_SEARCH))
        (arrival,) = network.buyer_peer.wait_for(1)
        assert arrival.body == body


def test_what_the_message_says_is_never_read(network: Gateway) -> None:
    for message in ({}, {"intent": None}, {"intent": {"fulfillment": 7, "tags": "no list"}}, {"nonsense": [1e400]}):
        is_ack(network.post(network.search(message=message)))
    network.provider_peer.wait_for(4)


def test_the_same_search_again_is_acknowledged_again_and_passed_on_once(network: Gateway) -> None:
    body = in_bytes(network.search())
    headers = network.buyer.headers(body)
    for _ in range(3):  # a replay, to the byte
        is_ack(network.send(body, headers))
    is_ack(network.send(body, network.buyer.headers(body, lasts_s=20)))  # and a retry, signed anew
    network.provider_peer.wait_for(1)
    assert len(network.rows("beckn_outbox")) == len(network.rows("beckn_inbox")) == 1
    eventually(lambda: network.rows("beckn_outbox")[0]["work_state"] == "completed")
    assert len(network.provider_peer.arrivals) == 1


def test_another_search_under_the_same_message_id_is_refused(network: Gateway) -> None:
    document = network.search()
    is_ack(network.post(document))
    error = is_nack(network.post(document | {"message": {"intent": {"item": {}}}}), 400)
    assert (error["code"], error["paths"]) == ("30000", "context.message_id")
    assert len(network.rows("beckn_inbox")) == 1


def test_a_search_that_no_provider_serves_is_refused_and_may_be_sent_again(network: Gateway) -> None:
    body = in_bytes(network.search(domain="beckn.one:another"))
    assert is_nack(network.send(body, network.buyer.headers(body)), 400)["code"] == "30001"
    assert nothing_is_stored(network)
    provider(network.provider_peer.url, "new.example").register(network.database, domain="beckn.one:another")
    is_ack(network.send(body, network.buyer.headers(body)))
    assert [row["recipient"] for row in network.rows("beckn_outbox")] == ["new.example"]


def test_a_provider_that_refuses_is_asked_once_and_shown_to_the_operator(network: Gateway) -> None:
    network.provider_peer.answer = lambda _: (400, NACKED)
    is_ack(network.post(network.search()))
    dead = eventually(lambda: network.client.get("/beckn/dead-letters").json()["outbox"])[0]
    assert dead["last_error"] == "refused with HTTP 400: 40001 not now"
    assert (dead["recipient"], dead["action"], dead["attempts"]) == ("provider.example", "search", 1)
    assert len(network.provider_peer.arrivals) == 1


def test_a_provider_that_is_down_gets_the_search_when_it_is_back(network: Gateway) -> None:
    network.provider_peer.down()
    is_ack(network.post(network.search()))
    eventually(lambda: network.rows("beckn_outbox")[0]["last_error"])
    network.provider_peer.up()
    network.provider_peer.wait_for(1)
    eventually(lambda: network.rows("beckn_outbox")[0]["work_state"] == "completed")
    assert len(network.provider_peer.arrivals) == 1


# What it refuses --------------------------------------------------------------------------------------------------


def unauthorized(answer: requests.Response) -> str:
    error = is_nack(answer, 401)
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    return str(error["message"])


def test_an_unsigned_message_is_refused(network: Gateway) -> None:
    body = in_bytes(network.search())
    assert "must be signed" in unauthorized(network.send(body, {}))
    assert "cannot be read" in unauthorized(network.send(body, {"Authorization": "Bearer x"}))
    assert nothing_is_stored(network)


def test_a_signature_of_the_future_or_the_past_is_refused(network: Gateway) -> None:
    body = in_bytes(network.search())
    now = utc_now()
    future = network.buyer.headers(body, now=now + timedelta(seconds=30))
    past = network.buyer.headers(body, now=now - timedelta(seconds=40), lasts_s=30)
    assert "in the future" in unauthorized(network.send(body, future))
    assert "expired" in unauthorized(network.send(body, past))
    assert nothing_is_stored(network)


def test_a_body_that_is_not_the_signed_one_is_refused(network: Gateway) -> None:
    document = network.search()
    headers = network.buyer.headers(in_bytes(document))
    written_again = json.dumps(document).encode()
    assert "does not match this body" in unauthorized(network.send(written_again, headers))
    changed = in_bytes(document | {"message": {"intent": {"item": {"price": {"maximum_value": "1"}}}}})
    assert "does not match this body" in unauthorized(network.send(changed, headers))
    assert nothing_is_stored(network)


def test_a_key_that_nobody_knows_or_that_is_not_its_buyers_is_refused(network: Gateway) -> None:
    body = in_bytes(network.search())
    stranger = buyer(network.buyer.url)  # the same id, another key
    assert "no key" in unauthorized(network.send(body, stranger.headers(body)))
    other = buyer(subscriber_id="other.example")
    other.register(network.database)
    assert "other.example signed a message of buyer.example" in unauthorized(network.send(body, other.headers(body)))
    in_another_role = provider(network.buyer.url, "buyer.example")
    in_another_role.register(network.database)
    assert "as BAP" in unauthorized(network.send(body, in_another_role.headers(body)))
    assert nothing_is_stored(network)


def test_a_revoked_key_is_refused_at_once_although_it_was_just_used(network: Gateway) -> None:
    is_ack(network.post(network.search()))
    # By another process, such as the operator's command: this one still remembers the key.
    Registry(network.database).revoke("buyer.example", None, utc_now())
    assert "revoked" in unauthorized(network.post(network.search()))
    assert len(network.rows("beckn_inbox")) == 1


def test_a_key_that_has_expired_is_refused(network: Gateway) -> None:
    old = buyer(network.buyer.url, "old.example")
    old.register(network.database, valid_until=utc_now() - timedelta(seconds=1))
    document = network.search(bap_id="old.example")
    assert "is not valid" in unauthorized(network.post(document, by=old))


def test_a_replay_after_its_time_is_refused(network: Gateway) -> None:
    moment = utc_now() - timedelta(seconds=28)
    body = in_bytes(network.search(now=moment))
    headers = network.buyer.headers(body, now=moment, lasts_s=3600)
    is_ack(network.send(body, headers))
    (answer,) = eventually(lambda: [sent] if (sent := network.send(body, headers)).status_code == 400 else [])
    assert is_nack(answer, 400)["paths"] == "context.ttl"
    assert len(network.rows("beckn_inbox")) == 1


def test_answers_go_only_to_the_url_that_is_registered(network: Gateway) -> None:
    error = is_nack(network.post(network.search(bap_uri="http://127.0.0.1:9/elsewhere")), 400)
    assert error["paths"] == "context.bap_uri"
    assert nothing_is_stored(network)
    is_ack(network.post(network.search(bap_uri=network.buyer.url + "/")))


def test_a_buyer_that_moved_is_known_by_its_new_url_at_once(network: Gateway) -> None:
    is_ack(network.post(network.search()))
    network.buyer.url = "http://127.0.0.1:9/beckn"
    network.buyer.register(network.database)
    is_ack(network.post(network.search()))


def test_an_on_search_for_a_buyer_that_is_not_registered_is_refused(network: Gateway) -> None:
    nobody = buyer(subscriber_id="nobody.example")
    document = a_message(Action.ON_SEARCH, nobody, network.provider)
    assert is_nack(network.post(document, action=Action.ON_SEARCH), 400)["paths"] == "context.bap_id"
    assert nothing_is_stored(network)


def test_an_on_search_is_its_providers_to_sign(network: Gateway) -> None:
    document = a_message(Action.ON_SEARCH, network.buyer, network.provider)
    assert "buyer.example signed a message of provider.example" in unauthorized(
        network.post(document, action=Action.ON_SEARCH, by=network.buyer)
    )


REQUIRED = [
    "domain",
    "location",
    "action",
    "version",
    "bap_id",
    "bap_uri",
    "transaction_id",
    "message_id",
    "timestamp",
]


@settings(max_examples=60, suppress_health_check=SHARES_A_FIXTURE, deadline=None)
@given(
    action=st.sampled_from([Action.SEARCH, Action.ON_SEARCH]),
    name=st.sampled_from(REQUIRED),
    replacement=st.sampled_from([..., None, 7, [], {}, "", "\x00", "\ud800", {"country": {"code": 1}}]),
)
def test_any_required_field_removed_or_mistyped_is_refused_by_its_name(
    network: Gateway, action: Action, name: str, replacement: Any
) -> None:
    document = copy.deepcopy(a_message(action, network.buyer, network.provider))
    if replacement is ...:
        del document["context"][name]
    else:
        document["context"][name] = replacement
    body = json.dumps(document).encode()
    sender = network.provider if action is Action.ON_SEARCH else network.buyer
    answer = network.send(body, sender.headers(body), action)
    error = is_nack(answer, 400)
    if replacement != "\ud800":  # half a surrogate pair is no text, so the body is no JSON
        assert f"context.{name}" in error["paths"]


@settings(max_examples=60, suppress_health_check=SHARES_A_FIXTURE, deadline=None)
@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(b"{" * 5000))
def test_any_bytes_are_answered_with_a_nack(network: Gateway, body: bytes) -> None:
    is_nack(network.send(body, network.buyer.headers(body)), 400)


@pytest.mark.parametrize(
    ("action", "longest"), [(Action.SEARCH, LONGEST_BYTES), (Action.ON_SEARCH, LONGEST_CATALOGUE_BYTES)]
)
def test_a_message_that_is_too_long_is_refused(network: Gateway, action: Action, longest: int) -> None:
    document = a_message(action, network.buyer, network.provider, message={"intent": {}, "filler": ""})
    body = in_bytes(document)
    fits = body.replace(b'"filler": ""', b'"filler": "%b"' % (b"x" * (longest - len(body))))
    sender = network.provider if action is Action.ON_SEARCH else network.buyer
    is_ack(network.send(fits, sender.headers(fits), action))
    too_long = fits + b" "
    refused = is_nack(network.send(too_long, sender.headers(too_long), action), 413)
    assert refused["message"] == f"the message is longer than {longest:,} bytes"
    assert len(network.rows("beckn_inbox")) == 1


def test_the_signature_is_the_proof_where_other_writes_need_the_api_key(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with running(postgres, tmp_path, key="a-secret-of-ours") as network:
        is_ack(network.post(network.search()))
        network.provider_peer.wait_for(1)


def test_without_signatures_a_registered_buyer_is_believed_and_nobody_else(
    postgres: PostgresDatabase, tmp_path: Path
) -> None:
    with running(postgres, tmp_path, authenticates=False) as network:
        body = in_bytes(network.search())
        is_ack(network.send(body, {}))
        (arrival,) = network.provider_peer.wait_for(1)
        assert arrival.body == body
        assert not {"Authorization", "X-Gateway-Authorization"} & set(arrival.headers)
        error = is_nack(network.send(in_bytes(network.search(bap_id="nobody.example")), {}), 400)
        assert error["paths"] == "context.bap_id"


def test_a_providers_checks_refuse_a_gateways_wrong_signature(network: Gateway) -> None:
    """The other side of what a gateway adds: 401 with Proxy-Authenticate."""
    from beckn.protocol.acknowledgement import Refused

    body = in_bytes(network.search())
    reception = Reception(
        Registry(network.database),
        own=network.provider.subscriber,
        role=Role.BPP,
        authenticates=True,
        clock=utc_now,
    )
    stranger = gateway()
    headers = network.buyer.headers(body)
    for wrong in ("nonsense", stranger.headers(body)["Authorization"], headers["Authorization"]):
        with pytest.raises(Refused) as refused:
            reception.check(Action.SEARCH, body, headers | {"X-Gateway-Authorization": wrong})
        assert refused.value.status == 401
        assert refused.value.headers == {
            "Proxy-Authenticate": 'Signature realm="provider.example",headers="(created) (expires) digest"'
        }
    stranger.register(network.database)
    right = {"X-Gateway-Authorization": stranger.headers(body)["Authorization"]}
    assert reception.check(Action.SEARCH, body, headers | right).sender == "buyer.example"
    Registry(network.database).revoke(stranger.subscriber_id, None, utc_now())
    with pytest.raises(Refused, match="revoked"):
        reception.check(Action.SEARCH, body, headers | right)


def test_the_endpoints_describe_what_they_take_and_answer(network: Gateway) -> None:
    document = network.client.get("/openapi.json").json()
    validate(document)
    for action in ("search", "on_search"):
        operation = document["paths"][f"/beckn/{action}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert set(REQUIRED) <= set(schema["properties"]["context"]["required"])
        assert {"200", "400", "401"} <= set(operation["responses"])
        example = operation["requestBody"]["content"]["application/json"]["example"]
        body = in_bytes(example | {"context": example["context"] | {"timestamp": rfc3339(utc_now())}})
        assert read_context(body, Action(action), now=utc_now()).action == action


# Crashes ------------------------------------------------------------------------------------------------------------


@contextmanager
def process(conninfo: str, folder: Path, port: int, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway process of a kind that beckn_gateway.py knows, killed at the end of the block."""
    script = Path(__file__).resolve().parents[2] / "support" / "beckn_gateway.py"
    child = subprocess.Popen([sys.executable, str(script), conninfo, str(folder), str(port), kind])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_until_it_answers(child: subprocess.Popen[bytes], port: int) -> None:
    def answers() -> bool:
        assert child.poll() is None, "the gateway process ended"
        try:
            return requests.get(f"http://127.0.0.1:{port}/beckn/dead-letters", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    eventually(answers, within_s=60)


def test_what_was_acknowledged_survives_the_gateways_death_and_is_delivered_once(
    conninfo: str, postgres: PostgresDatabase, tmp_path: Path
) -> None:
    port = free_port()
    with peer(listening=False) as provider_peer:
        bap, bpp = buyer(), provider(provider_peer.url)
        for party in (bap, bpp):
            party.register(postgres)
        body = in_bytes(a_message(Action.SEARCH, bap, ttl="PT2M"))
        with process(conninfo, tmp_path, port, "threaded") as first:
            wait_until_it_answers(first, port)
            answer = requests.post(
                f"http://127.0.0.1:{port}/beckn/search", data=body, headers=bap.headers(body), timeout=10
            )
            is_ack(answer)
            first.kill()  # the provider is down: it cannot have been delivered
            first.wait()
        let_leases_end(postgres)
        provider_peer.up()
        with process(conninfo, tmp_path, port, "threaded") as second:
            wait_until_it_answers(second, port)
            (arrival,) = provider_peer.wait_for(1, within_s=40)
            assert arrival.body == body
            eventually(
                lambda: postgres.select("beckn_outbox", order=OrderBy(("outbox_id",)))[0]["work_state"] == "completed"
            )
            again = requests.post(
                f"http://127.0.0.1:{port}/beckn/search", data=body, headers=bap.headers(body), timeout=10
            )
            is_ack(again)  # by its successor, which knows it
        assert len(provider_peer.arrivals) == 1


def test_two_gateways_on_one_database_pass_a_search_on_once(
    conninfo: str, postgres: PostgresDatabase, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    with (
        peer() as provider_peer,
        process(conninfo, tmp_path / "one", ports[0], "threaded") as threaded,
        process(conninfo, tmp_path / "two", ports[1], "patched") as patched,
    ):
        for child, port in zip((threaded, patched), ports, strict=True):
            wait_until_it_answers(child, port)
        bap, bpp = buyer(), provider(provider_peer.url)
        for party in (bap, bpp):
            party.register(postgres)
        bodies = [in_bytes(a_message(Action.SEARCH, bap)) for _ in range(10)]
        for body in bodies:
            for port in ports:
                is_ack(
                    requests.post(
                        f"http://127.0.0.1:{port}/beckn/search", data=body, headers=bap.headers(body), timeout=10
                    )
                )
        arrivals = provider_peer.wait_for(10)
        assert sorted(arrival.body for arrival in arrivals) == sorted(bodies)
        eventually(
            lambda: all(
                row["work_state"] == "completed"
                for row in postgres.select("beckn_outbox", order=OrderBy(("outbox_id",)))
            )
        )
        assert len(provider_peer.arrivals) == 10
