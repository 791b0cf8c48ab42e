"""The buyer's tool against providers that say one thing and mean another: it confirms what it showed, or nothing."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

import beckn.buyer as buyers_tool
from beckn.protocol.objects import Action
from beckn_network import ACKNOWLEDGED, Arrival, Party, Peer, peer, provider
from beckn_orders import a_workload
from clock import utc_now
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from new_database import as_url
from server_process import free_port

Json = dict[str, Any]
Change = Callable[[Json], Any]

ITEM = "DC-009:gpu-slot:20261122T1200Z"
PRICE = "0.5"


def at(document: Json, path: str) -> tuple[Any, Any]:
    """What holds the place of a path, and its key there."""
    *steps, last = path.split(".")
    node: Any = document
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node, int(last) if isinstance(node, list) else last


def put(path: str, value: Any) -> Change:
    def change(document: Json) -> None:
        node, key = at(document, path)
        node[key] = value

    return change


def both(*changes: Change) -> Change:
    def change(document: Json) -> None:
        for each in changes:
            each(document)

    return change


@dataclass
class Seller:
    """A provider of another make: what it answers is what a template says, changed by what a test gives."""

    party: Party
    here: Peer
    price: str = PRICE
    changes: dict[Action, Change] = field(default_factory=dict)
    heard: dict[str, Json] = field(default_factory=dict)
    wait_for: threading.Event | None = None
    """Before it answers a search."""
    sent: list[requests.Response] = field(default_factory=list)

    def take(self, arrival: Arrival) -> tuple[int, bytes]:
        """Acknowledge a request, and answer it."""
        asked = json.loads(arrival.body)
        self.heard[asked["context"]["action"]] = asked
        threading.Thread(target=self.answer, args=(asked,)).start()
        return 200, ACKNOWLEDGED

    def answer(self, asked: Json) -> None:
        action = Action(asked["context"]["action"])
        if action is Action.SEARCH and self.wait_for is not None:
            self.wait_for.wait(20)
        answer = self.fair(asked, action)
        if action in self.changes:
            self.changes[action](answer)
        self.send(answer, asked["context"]["bap_uri"])

    def send(self, answer: Json, url: str, *, signed_by: Party | None = None) -> None:
        body = json.dumps(answer).encode()
        headers = (signed_by or self.party).headers(body)
        action = answer["context"]["action"]
        self.sent.append(requests.post(f"{url}/{action}", data=body, headers=headers, timeout=30))

    def fair(self, asked: Json, action: Action) -> Json:
        """What an honest provider answers."""
        us = {"bpp_id": self.party.subscriber_id, "bpp_uri": self.party.url}
        context = asked["context"] | us | {"action": f"on_{action}", "timestamp": rfc3339(utc_now())}
        if action is Action.SEARCH:
            return {"context": context, "message": {"catalog": self.catalogue()}}
        order: Json = {
            "provider": {"id": "op-x"},
            "items": [{"id": ITEM, "quantity": {"selected": {"measure": {"unit": "GPU-min", "value": "1"}}}}],
            "fulfillments": [{"id": "ful-1", "type": "COMPUTE", "stops": self.stops()}],
            "quote": {
                "id": "0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b",
                "price": {"currency": "GBP", "value": self.price},
                "breakup": [{"title": "Electricity", "price": {"currency": "GBP", "value": self.price}}],
                "ttl": "PT10M",
            },
        }
        if action is not Action.SELECT:
            params = {"amount": self.price, "currency": "GBP"}
            order |= {
                "billing": {"name": "Pylon DEG buyer"},
                "payments": [{"type": "POST-FULFILLMENT", "params": params}],
                "cancellation_terms": [{"cancellation_fee": {"amount": {"currency": "GBP", "value": "0"}}}],
            }
        if action not in {Action.SELECT, Action.INIT}:
            state = {"descriptor": {"code": "COMPLETED"}, "updated_at": rfc3339(utc_now()), "updated_by": "x"}
            order |= {"id": "order-1", "status": "COMPLETE"}
            order["fulfillments"][0]["state"] = state
        return {"context": context, "message": {"order": order}}

    def catalogue(self) -> Json:
        range_ = {"start": rfc3339(utc_now()), "end": rfc3339(utc_now() + timedelta(minutes=1))}
        item = {
            "id": ITEM,
            "price": {"currency": "GBP", "value": self.price},
            "time": {"range": range_},
            "fulfillment_ids": ["ful-1"],
        }
        return {"descriptor": {"name": "slots"}, "providers": [{"id": "op-x", "items": [item]}]}

    @staticmethod
    def stops() -> list[Json]:
        """A run that starts whenever it is asked for."""
        return [
            {"type": "start", "time": {"timestamp": rfc3339(utc_now())}},
            {"type": "end", "time": {"timestamp": rfc3339(utc_now() + timedelta(minutes=1))}},
        ]


@dataclass
class Told:
    """How the tool ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass
class Stall:
    """A market of hostile sellers, and the tool that goes there."""

    database: PostgresDatabase
    folder: Path
    capsys: pytest.CaptureFixture[str]
    stack: ExitStack

    def seller(self, name: str = "greedy.example", **how: Any) -> Seller:
        here = self.stack.enter_context(peer())
        seller = Seller(provider(here.url, name), here, **how)
        seller.party.register(self.database)
        here.answer = seller.take
        return seller

    def buy(self, seller: Seller | str, *arguments: str, **workload: Any) -> Told:
        """Run the tool to its end."""
        file = self.folder / "workload.json"
        file.write_text(a_workload(**{"max_price_gbp": 1.0, **workload}).model_dump_json())
        url = seller if isinstance(seller, str) else seller.party.url
        status = buyers_tool.main([str(file), "--provider", url, *arguments])
        said = self.capsys.readouterr()
        return Told(status, said.out, said.err)


@pytest.fixture
def stall(
    postgres: PostgresDatabase,
    conninfo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Stall]:
    monkeypatch.setenv("DATABASE_URL", as_url(conninfo))
    monkeypatch.setenv("PYLON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BECKN_BAP_URL", f"http://127.0.0.1:{free_port()}/beckn")
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with ExitStack() as stack:
        yield Stall(postgres, tmp_path, capsys, stack)


def test_an_honest_provider_of_another_make_gets_the_order_that_was_shown(stall: Stall) -> None:
    seller = stall.seller()
    told = stall.buy(seller)
    assert (told.status, told.err) == (0, "")
    assert "£0.5, to be paid POST-FULFILLMENT" in told.out
    order = seller.heard["confirm"]["message"]["order"]
    assert order["quote"]["price"] == {"currency": "GBP", "value": "0.5"}
    assert order["items"][0]["quantity"]["selected"]["measure"]["value"] == "1"
    assert [payment["type"] for payment in order["payments"]] == ["POST-FULFILLMENT"]


ORDER = "message.order"
QUOTE = f"{ORDER}.quote"
QUANTITY = f"{ORDER}.items.0.quantity.selected.measure"
MILLIONS = {"currency": "GBP", "value": "9999999.99"}
LINES = [{"title": "Handling", "price": MILLIONS}]
LATER = rfc3339(utc_now() + timedelta(days=3))
LAST = "9999-12-31T23:59:59Z"

AFTER_SEARCH: dict[str, tuple[Change, str]] = {
    "more than the limit": (both(put(f"{QUOTE}.price", MILLIONS), put(f"{QUOTE}.breakup", LINES)), "limit is £1"),
    "more than was offered": (
        both(put(f"{QUOTE}.price.value", "0.9"), put(f"{QUOTE}.breakup.0.price.value", "0.9")),
        "£0.5 was offered",
    ),
    "lines that do not add up": (put(f"{QUOTE}.breakup.0.price.value", "0.1"), "add up"),
    "another currency": (put(f"{QUOTE}.price.currency", "KWD"), "not priced in pounds"),
    "a price of many digits": (put(f"{QUOTE}.price.value", "0." + "1" * 4000), "not priced in pounds"),
    "no price": (put(f"{QUOTE}.price", {"currency": "GBP", "minimum_value": "0.1"}), "not priced in pounds"),
}
IN_ANY: dict[str, tuple[Change, str]] = {
    "another quantity": (put(f"{QUANTITY}.value", "1000000"), "1 GPU-min were asked for"),
    "another item": (put(f"{ORDER}.items.0.id", "DC-666:gpu-slot:20261122T1200Z"), "is for DC-666"),
    "an item beside": (lambda d: d["message"]["order"]["items"].append(d["message"]["order"]["items"][0]), "2 items"),
    "another operator": (put(f"{ORDER}.provider.id", "op-y"), "from the provider op-y"),
}
IN_DRAFT: dict[str, tuple[Change, str]] = {
    "another price": (both(put(f"{QUOTE}.price.value", "0.6"), put(f"{QUOTE}.breakup", [])), "£0.5 was shown"),
    "another quote": (put(f"{QUOTE}.id", str(uuid4())), "was shown"),
    "payment in advance": (put(f"{ORDER}.payments.0.type", "PRE-ORDER"), "to be paid PRE-ORDER"),
    "a payment of more": (put(f"{ORDER}.payments.0.params.amount", "9999999.99"), "to be paid with 9999999.99"),
    "a second payment": (
        lambda d: d["message"]["order"]["payments"].append(
            {"type": "POST-FULFILLMENT", "params": {"amount": "5", "currency": "GBP"}}
        ),
        "to be paid with 5",
    ),
    "payment in another currency": (put(f"{ORDER}.payments.0.params.currency", "KWD"), "to be paid with 0.5 KWD"),
    "a fee": (put(f"{ORDER}.cancellation_terms.0.cancellation_fee.amount", MILLIONS), "would cost 9999999.99"),
    "another's bill": (put(f"{ORDER}.billing.name", "Somebody else"), "bills somebody else"),
}
ON_INIT_ONLY: dict[str, tuple[Change, str]] = {
    "another time": (put(f"{ORDER}.fulfillments.0.stops.0.time.timestamp", LATER), "on_init's start"),
}
ATTACKS = [
    *((Action.SELECT, name, *attack) for name, attack in {**AFTER_SEARCH, **IN_ANY}.items()),
    (Action.SELECT, "another time", put(f"{ORDER}.fulfillments.0.stops.0.time.timestamp", LATER), "run starts"),
    (Action.SELECT, "no end", put(f"{ORDER}.fulfillments.0.stops.1.time.timestamp", LAST), "run ends"),
    *((Action.INIT, name, *attack) for name, attack in {**IN_ANY, **IN_DRAFT, **ON_INIT_ONLY}.items()),
]


@pytest.mark.parametrize(
    ("action", "change", "complaint"),
    [pytest.param(action, change, said, id=f"on_{action}: {name}") for action, name, change, said in ATTACKS],
)
def test_whatever_was_not_shown_is_not_confirmed(
    stall: Stall, action: Action, change: Change, complaint: str
) -> None:
    seller = stall.seller(changes={action: change})
    told = stall.buy(seller)
    assert told.status == 1
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert "confirm" not in seller.heard


@pytest.mark.parametrize("name", ["another price", "another quantity", "payment in advance"])
def test_an_order_that_is_not_what_was_confirmed_is_told(stall: Stall, name: str) -> None:
    change, complaint = {**IN_ANY, **IN_DRAFT}[name]
    seller = stall.seller(changes={Action.CONFIRM: change})
    told = stall.buy(seller)
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert complaint in told.err
    assert seller.heard["confirm"]["message"]["order"]["quote"]["price"]["value"] == "0.5"


def test_without_a_limit_the_offer_is_one_and_without_both_nothing_is_ordered(stall: Stall) -> None:
    dear = stall.seller(changes={Action.SELECT: AFTER_SEARCH["more than was offered"][0]})
    told = stall.buy(dear, max_price_gbp=None)
    assert (told.status, "confirm" in dear.heard) == (1, False)
    silent = stall.seller("silent.example", changes={Action.SEARCH: put(f"{CATALOGUE_ITEM}.price", {})})
    told = stall.buy(silent, max_price_gbp=None)
    assert (told.status, "confirm" in silent.heard) == (1, False)
    assert "max_price_gbp" in told.err
    assert stall.buy(silent).status == 0


CATALOGUE_ITEM = "message.catalog.providers.0.items.0"
ESCAPE = "\x1b[2J\x1b]0;owned\x07\nforged line\u202e"


def hostile_texts(document: Json) -> None:
    """Escapes and line breaks wherever a catalogue has words."""
    item, _ = at(document, f"{CATALOGUE_ITEM}.id")
    item["tags"] = [
        {
            "descriptor": {"code": "suitability"},
            "list": [
                {"descriptor": {"code": "score"}, "value": ESCAPE},
                {"descriptor": {"code": "rank"}, "value": "9" * 5000},
            ],
        },
        {"descriptor": {"code": "estimate"}, "list": [{"descriptor": {"code": "energy-kwh"}, "value": "x" * 10**5}]},
    ]
    document["message"]["catalog"]["providers"].append({"id": ESCAPE, "items": [{"id": ESCAPE, "price": {}}]})


def test_nobodys_terminal_escapes_are_printed(stall: Stall) -> None:
    def in_quote(document: Json) -> None:
        document["message"]["order"]["quote"]["breakup"][0]["title"] = ESCAPE

    def in_order(document: Json) -> None:
        order = document["message"]["order"]
        order["fulfillments"][0]["tags"] = [
            {"descriptor": {"code": ESCAPE}, "list": [{"descriptor": {"code": ESCAPE}, "value": ESCAPE * 1000}]}
        ]
        order["fulfillments"][0]["state"]["descriptor"]["code"] = ESCAPE

    seller = stall.seller(changes={Action.SEARCH: hostile_texts, Action.SELECT: in_quote, Action.CONFIRM: in_order})
    told = stall.buy(seller)
    assert (told.status, told.err) == (0, "")
    assert all(line.isprintable() for line in told.out.split("\n"))
    assert not any(line.startswith("forged") for line in told.out.split("\n"))
    assert max(map(len, told.out.split("\n"))) < 1000


@pytest.mark.parametrize("action", [Action.SEARCH, Action.SELECT, Action.INIT])
def test_an_error_is_one_printable_line(stall: Stall, action: Action) -> None:
    def fail(document: Json) -> None:
        del document["message"]
        document["error"] = {"code": "49999", "message": ESCAPE * 10_000, "paths": ESCAPE, "fault": None}

    told = stall.buy(stall.seller(changes={action: fail}))
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert told.err.rstrip("\n").isprintable()
    assert len(told.err) < 3000


def test_why_there_is_nothing_is_one_printable_line(stall: Stall) -> None:
    nothing = {"descriptor": {"short_desc": ESCAPE * 10_000}}
    told = stall.buy(stall.seller(changes={Action.SEARCH: put("message.catalog", nothing)}))
    assert (told.status, told.err, told.out.count("\n")) == (0, "", 2)
    assert told.out.replace("\n", "").isprintable()


def test_nobody_but_the_provider_that_was_asked_answers(stall: Stall) -> None:
    """Another registered provider, that came to know the ids of a deal, sends a draft of its own first."""
    stranger = stall.seller("stranger.example")
    seller = stall.seller()

    def overtaken(document: Json) -> None:
        forged = copy.deepcopy(document)
        forged["context"] |= {"bpp_id": "stranger.example", "bpp_uri": stranger.party.url}
        put(f"{QUOTE}.id", str(uuid4()))(forged)
        stranger.send(forged, document["context"]["bap_uri"])
        forged["context"] |= {"bpp_id": seller.party.subscriber_id, "bpp_uri": seller.party.url}
        stranger.send(forged, document["context"]["bap_uri"])

    seller.changes = dict.fromkeys([Action.SELECT, Action.INIT, Action.CONFIRM], overtaken)
    told = stall.buy(seller)
    assert (told.status, told.err) == (0, "")
    assert [sent.status_code for sent in stranger.sent] == [200, 401] * 3
    assert seller.heard["confirm"]["message"]["order"]["quote"]["id"] == "0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b"


@contextmanager
def crowd(stall: Stall, *sellers: Seller) -> Iterator[str]:
    """Where a search goes to all of these, as a gateway passes it on."""
    with peer() as everyone:

        def pass_on(arrival: Arrival) -> tuple[int, bytes]:
            for seller in sellers:
                seller.take(arrival)
            return 200, ACKNOWLEDGED

        everyone.answer = pass_on
        yield everyone.url


def test_the_quickest_provider_does_not_silence_the_others(stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_has_answered = threading.Event()
    quick, slow = stall.seller("quick.example"), stall.seller("slow.example", price="0.1")
    slow.wait_for = quick_has_answered
    quick_answer = quick.answer

    def answer(asked: Json) -> None:
        quick_answer(asked)
        quick_has_answered.set()

    monkeypatch.setattr(quick, "answer", answer)
    with crowd(stall, quick, slow) as url:
        monkeypatch.setenv("BECKN_BG_URL", url)
        file = stall.folder / "workload.json"
        file.write_text(a_workload(max_price_gbp=1).model_dump_json())
        assert buyers_tool.main([str(file), "--wait", "3"]) == 0
    told = stall.capsys.readouterr()
    assert "2 slots" in told.out
    assert "slow.example" in told.out
    assert "confirm" in slow.heard
    assert "confirm" not in quick.heard
