"""A buyer's platform: which callbacks it takes, over real HTTP, and what it makes of them."""

from __future__ import annotations

import copy
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from beckn.buying.messages import Transaction
from beckn.buying.platform import CALLBACKS, Buyer, NotAnswered
from beckn.network.message_body import LONGEST_CATALOGUE_BYTES
from beckn.network.outgoing_calls import Caller
from beckn.network.registry_client import LookupRegistry
from beckn.network.subscribers import Registry
from beckn.protocol.objects import Action, Subscriber
from beckn.provider.messages_order import OrderStatus
from beckn_network import Party, a_catalogue, a_message, buyer, in_bytes, provider
from beckn_orders import a_workload
from beckn_shelf import no_trace_logged
from beckn_specification import specifications
from clock import utc_now
from database.postgres import PostgresDatabase
from hypothesis_profile import SHARES_A_FIXTURE
from schema_values import filled, spoiled, values
from server_process import free_port


@dataclass
class Desk:
    """A buyer that listens, and a provider of another make."""

    buyer: Buyer
    party: Party
    provider: Party

    def post(self, body: bytes, *, by: Party | None = None, action: Action = Action.ON_SEARCH) -> requests.Response:
        headers = (by or self.provider).headers(body)
        return requests.post(f"{self.party.url}/{action}", data=body, headers=headers, timeout=30)

    def on_search(self, message: dict[str, Any], **context: Any) -> bytes:
        return in_bytes(a_message(Action.ON_SEARCH, self.party, self.provider, message=message, **context))

    def arrived(self) -> int:
        return len(self.buyer.mailbox.matching(lambda _: True))


@pytest.fixture
def desk(postgres: PostgresDatabase) -> Iterator[Desk]:
    port = free_port()
    party, seller = buyer(f"http://127.0.0.1:{port}/beckn"), provider()
    for each in (party, seller):
        each.register(postgres)
    platform = Buyer(party.subscriber, party.signer, Registry(postgres))
    with platform.listening("127.0.0.1", port):
        yield Desk(platform, party, seller)


def refusal(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document["message"]["ack"]["status"] == "NACK"
    error: dict[str, Any] = document["error"]
    return error


def test_a_catalogue_of_a_thousand_items_is_taken_and_kept_once(desk: Desk) -> None:
    body = desk.on_search(a_catalogue(1000), message_id="0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b")
    for _ in range(2):
        answer = desk.post(body)
        assert (answer.status_code, answer.json()) == (200, {"message": {"ack": {"status": "ACK"}}})
    assert desk.arrived() == 1
    options, _ = desk.buyer.options("0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b")
    assert len({option.item.id for option in options}) == 1000
    assert options[0].provider == Subscriber(desk.provider.subscriber_id, desk.provider.url)


def test_a_catalogue_that_is_longer_than_any_may_be_is_refused(desk: Desk) -> None:
    body = desk.on_search({"catalog": {}, "filler": "x" * LONGEST_CATALOGUE_BYTES})
    assert "longer than 4,194,304 bytes" in refusal(desk.post(body), 413)["message"]
    assert desk.arrived() == 0


def test_what_comes_in_chunks_is_measured_too(desk: Desk) -> None:
    body = desk.on_search({"catalog": {}, "filler": "x" * LONGEST_CATALOGUE_BYTES})
    connection = http.client.HTTPConnection(urlsplit(desk.party.url).netloc, timeout=30)
    chunks = (body[begin : begin + 65536] for begin in range(0, len(body), 65536))
    try:
        connection.request("POST", "/beckn/on_search", chunks, desk.provider.headers(body), encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # it was answered, and hung up on, before all was sent
    finally:
        connection.close()
    assert status in {400, 413}
    assert desk.arrived() == 0


def test_a_callback_is_its_providers_to_sign_and_this_buyers_to_have(desk: Desk, postgres: PostgresDatabase) -> None:
    body = desk.on_search(a_catalogue(1))
    unsigned = requests.post(f"{desk.party.url}/on_search", data=body, timeout=30)
    assert "must be signed" in refusal(unsigned, 401)["message"]
    stranger = provider(subscriber_id="stranger.example")
    assert "no key" in refusal(desk.post(body, by=stranger), 401)["message"]
    stranger.register(postgres)
    assert "signed a message of provider.example" in refusal(desk.post(body, by=stranger), 401)["message"]
    other = buyer(subscriber_id="other.example")
    other.register(postgres)
    for_another = in_bytes(a_message(Action.ON_SEARCH, other, desk.provider, message=a_catalogue(1)))
    assert refusal(desk.post(for_another), 400)["paths"] == "context.bap_id"
    assert desk.arrived() == 0


def test_a_revoked_key_is_refused_at_once_although_it_was_just_used(desk: Desk, postgres: PostgresDatabase) -> None:
    assert desk.post(desk.on_search(a_catalogue(1))).status_code == 200
    Registry(postgres).revoke("provider.example", None, utc_now())  # by another process
    answer = desk.post(desk.on_search(a_catalogue(1)))
    assert "revoked" in refusal(answer, 401)["message"]
    assert answer.headers["WWW-Authenticate"].startswith('Signature realm="buyer.example"')
    assert desk.arrived() == 1


def test_a_catalogue_that_is_none_is_refused_with_the_path_of_its_fault(desk: Desk) -> None:
    message = a_catalogue(2)
    del message["catalog"]["providers"][0]["items"][1]["price"]
    error = refusal(desk.post(desk.on_search(message)), 400)
    assert error["paths"] == "message.catalog.providers[0].items[1].price"


@pytest.mark.parametrize("specification", specifications())
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=SHARES_A_FIXTURE)
def test_a_catalogue_of_another_make_is_taken(desk: Desk, specification: str, data: st.DataObject) -> None:
    """It has an item with an id and a price, and anything beside that the schema allows."""
    named = specifications()[specification]
    theirs = data.draw(values(named["Catalog"], named))
    theirs["providers"] = [data.draw(values(named["Provider"], named))]
    theirs["providers"][0]["items"] = [data.draw(values(named["Item"], named))]
    ours = {
        "providers": [{"id": "op", "items": [{"id": "slot", "price": {"currency": "GBP", "value": "1"}, "time": {}}]}]
    }
    document = a_message(Action.ON_SEARCH, desk.party, desk.provider, message={"catalog": filled(ours, theirs)})
    with no_trace_logged():
        answer = desk.post(in_bytes(document))
    if answer.status_code != 200:
        assert refusal(answer, 400)["paths"].startswith("message.catalog.providers[0].items[0].time")
        return
    ((option, *_), _) = desk.buyer.options(document["context"]["message_id"])
    assert option.cost_gbp(a_workload()) == 1


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=SHARES_A_FIXTURE)
def test_nothing_in_a_callback_makes_a_5xx_or_a_traceback(desk: Desk, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(CALLBACKS))
    message = a_catalogue(1) if action is Action.ON_SEARCH else {"order": AN_ORDER}
    document = data.draw(spoiled(a_message(action, desk.party, desk.provider, message=message)))
    with no_trace_logged():
        answer = desk.post(json.dumps(document).encode(), action=action)
    assert answer.status_code in {200, 400, 401, 429}, answer.text
    assert answer.json()["message"]["ack"]["status"] == ("ACK" if answer.status_code == 200 else "NACK")


AN_ORDER: dict[str, Any] = {
    "id": "order-1",
    "status": "ACTIVE",
    "provider": {"id": "OP-A"},
    "items": [{"id": "DC-1:gpu-slot:1", "quantity": {"selected": {"measure": {"unit": "GPU-min", "value": "1"}}}}],
    "fulfillments": [
        {"state": {"descriptor": {"code": "SCHEDULED"}, "updated_at": "2026-11-22T08:00:00Z", "updated_by": "seller"}}
    ],
    "quote": {
        "id": "0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b",
        "price": {"currency": "GBP", "value": "1"},
        "breakup": [{"title": "Electricity", "price": {"currency": "GBP", "value": "1"}}],
        "ttl": "PT10M",
    },
}
CONTEXT = ("domain", "location", "action", "version", "bap_id", "bap_uri", "bpp_id", "bpp_uri")
CONTEXT_IDS = ("transaction_id", "message_id", "timestamp", "ttl")
REQUIRED: tuple[tuple[str | int, ...], ...] = (
    *(("context", name) for name in (*CONTEXT, *CONTEXT_IDS)),
    ("message",),
    ("message", "order"),
    *(("message", "order", name) for name in ("provider", "items", "fulfillments", "quote")),
    ("message", "order", "provider", "id"),
    ("message", "order", "items", 0, "id"),
    ("message", "order", "items", 0, "quantity", "selected", "measure", "unit"),
    ("message", "order", "items", 0, "quantity", "selected", "measure", "value"),
    ("message", "order", "fulfillments", 0, "state", "descriptor", "code"),
    ("message", "order", "fulfillments", 0, "state", "updated_at"),
    *(("message", "order", "quote", name) for name in ("id", "price", "breakup", "ttl")),
    ("message", "order", "quote", "price", "currency"),
    ("message", "order", "quote", "breakup", 0, "title"),
)
ORDER_CALLBACKS = sorted(action for action in CALLBACKS if action is not Action.ON_SEARCH)


@settings(max_examples=120, deadline=None, suppress_health_check=SHARES_A_FIXTURE)
@given(
    action=st.sampled_from(ORDER_CALLBACKS),
    path=st.sampled_from(REQUIRED),
    wrong=st.sampled_from([..., None, 7, True, "", [[]]]),
)
def test_any_required_field_of_a_callback_removed_or_mistyped_is_refused_with_its_path(
    desk: Desk, action: Action, path: tuple[str | int, ...], wrong: Any
) -> None:
    assume((path, wrong) != (("context", "ttl"), ...))  # it is thirty seconds then
    document = a_message(action, desk.party, desk.provider, message={"order": copy.deepcopy(AN_ORDER)})
    node: Any = document
    for part in path[:-1]:
        node = node[part]
    if wrong is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = wrong
    named = refusal(desk.post(in_bytes(document), action=action), 400)["paths"].split("; ")
    at_fault = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
    assert any(each.startswith(at_fault) for each in named), named
    assert desk.arrived() == 0


@pytest.mark.parametrize("action", ORDER_CALLBACKS)
def test_every_callback_of_an_order_is_taken(desk: Desk, action: Action) -> None:
    document = a_message(action, desk.party, desk.provider, message={"order": AN_ORDER})
    assert desk.post(in_bytes(document), action=action).status_code == 200
    deal = Transaction(a_workload(), document["context"]["transaction_id"])
    news = desk.buyer.next_news(deal, 1)
    assert news is not None
    assert (news.id, news.status) == ("order-1", OrderStatus.ACTIVE)


def test_an_on_search_with_an_error_is_told(desk: Desk) -> None:
    document = a_message(Action.ON_SEARCH, desk.party, desk.provider)
    del document["message"]
    document["error"] = {"code": "40000", "message": "the shop is shut"}
    assert desk.post(in_bytes(document)).status_code == 200
    with pytest.raises(NotAnswered, match="40000 the shop is shut"):
        desk.buyer.options(document["context"]["message_id"])


def test_what_is_no_callback_has_no_endpoint(desk: Desk) -> None:
    assert requests.post(f"{desk.party.url}/search", data=b"{}", timeout=30).status_code == 404


def test_a_registry_that_is_away_asks_the_sender_to_try_again() -> None:
    port = free_port()
    party, seller = buyer(f"http://127.0.0.1:{port}/beckn"), provider()
    away = LookupRegistry(
        "http://127.0.0.1:9/registry", party.signer, clock=utc_now, caller=Caller(connect_timeout_s=1)
    )
    platform = Buyer(party.subscriber, party.signer, away)
    with platform.listening("127.0.0.1", port):
        desk = Desk(platform, party, seller)
        answer = desk.post(desk.on_search(a_catalogue(1)))
    assert answer.status_code == 503
    assert "try again" in answer.text


def test_without_signatures_a_buyer_calls_this_machine_only(postgres: PostgresDatabase) -> None:
    party = buyer()
    platform = Buyer(party.subscriber, party.signer, Registry(postgres), authenticates=False)
    with pytest.raises(NotAnswered, match="not this machine"):
        platform.search(Transaction(a_workload()), "http://10.1.2.3/beckn")


def test_a_search_that_nobody_answers_is_told(desk: Desk) -> None:
    with pytest.raises(NotAnswered, match=r"no on_search came within 0\.1 s"):
        desk.buyer.options("0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b", timeout_s=0.1)
