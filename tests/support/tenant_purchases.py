"""Buyers' platforms that speak for operators: what they buy of a running provider, and ask it that is not theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import requests

from beckn.buying.messages import Transaction, confirm_message, intent_of
from beckn.buying.platform import Buyer
from beckn.network.subscribers import Registry
from beckn.protocol.objects import Action, Subscriber
from beckn.provider.messages_order import Billing
from beckn_network import Party, Peer, a_message, buyer, in_bytes, peer, provider
from beckn_orders import a_workload
from clock import utc_now
from database.interface import Database
from server_process import free_port

PROVIDER = "bpp.pylon.localhost"


@dataclass(frozen=True)
class Bought:
    """An order, and the messages that came before it."""

    order_id: str
    quote_id: str
    transaction_id: str
    confirmed: dict[str, Any]
    selected: dict[str, Any]

    def absent(self) -> Bought:
        """The same of which there is nothing."""
        order_id, quote_id, transaction_id = (str(uuid4()) for _ in range(3))
        confirmed = json.loads(json.dumps(self.confirmed).replace(self.quote_id, quote_id))
        return replace(self, order_id=order_id, quote_id=quote_id, transaction_id=transaction_id, confirmed=confirmed)


@contextmanager
def buying_for(service: Database, operator: str) -> Iterator[Buyer]:
    """A registered platform that speaks for an operator, and takes callbacks until the end of the block."""
    party = buyer(f"http://127.0.0.1:{free_port()}/beckn", f"bap.{operator}.example")
    party.register(service, operator=operator)
    platform = Buyer(party.subscriber, party.signer, Registry(service))
    with platform.listening("127.0.0.1", int(party.url.rpartition(":")[2].partition("/")[0])):
        yield platform


def buy(platform: Buyer, provider_url: str, seller: str, *, secret: str, gpu_minutes: float) -> Bought:
    """Order the slot of a seller that starts last, so that it stays as it is for a while."""
    deal = Transaction(a_workload(required_gpu_mins=gpu_minutes))
    options, why = platform.options(platform.search(deal, provider_url))
    offered = [each for each in options if each.operator_id == seller]
    assert offered, (why, [each.operator_id for each in options])
    option = max(offered, key=lambda each: each.item.id)
    selected = platform.select(deal, option)
    draft = platform.init(deal, option, Billing(name=f"{secret} accounts", email=f"accounts@{secret}.example"))
    order = platform.confirm(deal, option, draft)
    assert order.id is not None
    assert order.quote.id is not None
    return Bought(
        order.id,
        order.quote.id,
        deal.transaction_id,
        confirm_message(draft).model_dump(mode="json", exclude_none=True),
        {"order": {"provider": {"id": seller}, "items": [{"id": selected.items[0].id}]}},
    )


@dataclass(frozen=True)
class Heard:
    """What a signed request was answered at once, and then by its callback, if one came."""

    status: int
    acknowledged: str
    callback: str | None

    @property
    def text(self) -> str:
        return f"{self.status} {self.acknowledged} {self.callback}"

    def offered(self) -> list[str]:
        """The items of the catalogue that came, by their ids."""
        catalogue = json.loads(self.callback or "{}")["message"]["catalog"]
        return sorted(item["id"] for each in catalogue["providers"] for item in each["items"])


@dataclass(frozen=True)
class Asker:
    """A platform that signs whatever it asks, and keeps the callbacks as they come."""

    party: Party
    seller: Party
    heard: Peer

    def ask(self, url: str, action: Action, message: Any, transaction_id: str, **context: Any) -> Heard:
        """One request of the provider's platform."""
        document = a_message(
            action,
            self.party,
            provider(url, PROVIDER),
            message=message,
            transaction_id=transaction_id,
            **context,
        )
        return self._asked(f"{url}/{action}", document)

    def _asked(self, url: str, document: dict[str, Any]) -> Heard:
        body = in_bytes(document)
        answer = requests.post(url, body, headers=self.party.headers(body), timeout=20)
        is_taken = answer.json().get("message", {}).get("ack", {}).get("status") == "ACK"
        came = self._callback(document["context"]["message_id"]) if is_taken else None
        return Heard(answer.status_code, answer.text, came)

    def search(self, url: str, transaction_id: str, **context: Any) -> Heard:
        """A search through the gateway, with one of the answers to it."""
        intent = intent_of(a_workload(), utc_now(), None).model_dump(mode="json", exclude_none=True)
        document = a_message(
            Action.SEARCH, self.party, message={"intent": intent}, transaction_id=transaction_id, **context
        )
        return self._asked(f"{url}/search", document)

    def answer_search(self, url: str, to: Subscriber, transaction_id: str) -> Heard:
        """An answer through the gateway to a search of another platform's, by a provider of the same operator."""
        document = a_message(
            Action.ON_SEARCH,
            buyer(to.url, to.subscriber_id),
            self.seller,
            message={"catalog": {"descriptor": {"name": "x"}, "providers": []}},
            transaction_id=transaction_id,
        )
        body = in_bytes(document)
        answer = requests.post(f"{url}/on_search", body, headers=self.seller.headers(body), timeout=20)
        return Heard(answer.status_code, answer.text, None)

    def look_up(self, url: str, query: dict[str, Any]) -> tuple[int, Any]:
        """What the registry knows: the status, and the subscriptions."""
        body = in_bytes(query)
        answer = requests.post(url, body, headers=self.party.headers(body), timeout=20)
        return answer.status_code, answer.json()

    def _callback(self, message_id: str) -> str:
        count = 1
        while True:
            for arrival in self.heard.wait_for(count):
                # Its provider is here too, and hears of every search.
                if "/on_" in arrival.path and message_id.encode() in arrival.body:
                    return arrival.body.decode()
            count = len(self.heard.arrivals) + 1


@contextmanager
def asking_for(service: Database, operator: str | None, name: str) -> Iterator[Asker]:
    """Another platform, which speaks for an operator, or for nobody here."""
    with peer() as heard:
        party = buyer(heard.url, name)
        party.register(service, operator=operator)
        seller = provider(heard.url, f"bpp.{name}")
        seller.register(service, operator=operator)
        yield Asker(party, seller, heard)


def requests_about(bought: Bought) -> Iterator[tuple[str, Action, dict[str, Any], str]]:
    """Every request that names an order, a quote or a transaction: what it names, and the request."""
    order, own = bought.order_id, str(uuid4())
    by_order: list[tuple[Action, dict[str, Any]]] = [
        (Action.STATUS, {"order_id": order}),
        (Action.CANCEL, {"order_id": order, "cancellation_reason_id": "CHANGED_MIND"}),
        (
            Action.UPDATE,
            {
                "update_target": "fulfillments",
                "order": {
                    "id": order,
                    "fulfillments": [{"stops": [{"type": "start", "time": {"timestamp": "2199-01-01T00:00:00Z"}}]}],
                },
            },
        ),
    ]
    for transaction_id in (own, bought.transaction_id):
        for action, message in by_order:
            yield f"{action} of the order", action, message, transaction_id
        yield "confirm of the quote", Action.CONFIRM, bought.confirmed, transaction_id
    yield "select in the transaction", Action.SELECT, bought.selected, bought.transaction_id
