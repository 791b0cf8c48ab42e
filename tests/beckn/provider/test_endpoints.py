"""Whatever the provider's platform is sent: a faulty message is refused with the path of its fault, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.protocol.objects import Action
from beckn_shelf import Json, Shelf, stocked
from database.embedded import EmbeddedPostgres
from database.interface import OrderBy as By
from database.interface import Where
from database.postgres import PostgresDatabase
from new_database import new_database

_CONTEXT = (
    "context.domain",
    "context.location",
    "context.location.country",
    "context.location.country.code",
    "context.action",
    "context.version",
    "context.bap_id",
    "context.bap_uri",
    "context.transaction_id",
    "context.message_id",
    "context.timestamp",
    "context.ttl",
)
_PROVIDER = ("context.bpp_id", "context.bpp_uri")
_ITEM = (
    "message.order",
    "message.order.provider",
    "message.order.provider.id",
    "message.order.items",
    "message.order.items[0].id",
    "message.order.items[0].quantity",
    "message.order.items[0].quantity.selected",
    "message.order.items[0].quantity.selected.measure",
    "message.order.items[0].quantity.selected.measure.unit",
    "message.order.items[0].quantity.selected.measure.value",
)
_INIT = (*_ITEM, "message.order.billing", "message.order.billing.name", "message.order.fulfillments")
REQUIRED: dict[Action, tuple[str, ...]] = {
    Action.SEARCH: (*_CONTEXT, "message", "message.intent", "message.intent.fulfillment"),
    Action.SELECT: (*_CONTEXT, *_PROVIDER, "message", *_ITEM),
    Action.INIT: (*_CONTEXT, *_PROVIDER, "message", *_INIT),
    Action.CONFIRM: (
        *_CONTEXT,
        *_PROVIDER,
        "message",
        *_INIT,
        "message.order.quote",
        "message.order.quote.id",
        "message.order.quote.price",
        "message.order.quote.price.currency",
        "message.order.quote.price.value",
        "message.order.payments",
        "message.order.payments[0].type",
    ),
    Action.STATUS: (*_CONTEXT, *_PROVIDER, "message", "message.order_id"),
    Action.UPDATE: (
        *_CONTEXT,
        *_PROVIDER,
        "message",
        "message.update_target",
        "message.order",
        "message.order.id",
        "message.order.fulfillments",
        "message.order.fulfillments[0].stops",
        "message.order.fulfillments[0].stops[0].type",
        "message.order.fulfillments[0].stops[0].time",
    ),
    Action.CANCEL: (*_CONTEXT, *_PROVIDER, "message", "message.order_id"),
}
MAY_BE_EMPTY = {"message.intent.fulfillment"}
MAY_BE_ABSENT = {"context.ttl"}
WRONG_VALUES: tuple[Any, ...] = (None, 7, True, [], {}, [[]], "")


@pytest.fixture(scope="module")
def shelf(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with stocked(database, tmp_path_factory.mktemp("shelf")) as shelf:
            yield shelf
        database.close()


def steps(path: str) -> list[str | int]:
    """A path as the keys and places it leads through."""
    parts: list[str | int] = []
    for name in path.split("."):
        key, _, place = name.partition("[")
        parts.append(key)
        if place:
            parts.append(int(place.rstrip("]")))
    return parts


def changed(document: Json, path: list[str | int], change: Any) -> Json:
    """The document without what is at `path`, or with `change` there."""
    node: Any = document
    for part in path[:-1]:
        node = node[part]
    if change is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = change
    return document


def places(node: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where everything in a document is."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*before, key)
        yield from places(child, (*before, key))


@pytest.mark.parametrize("action", REQUIRED, ids=str)
def test_any_required_field_removed_or_mistyped_is_refused_with_its_path(shelf: Shelf, action: Action) -> None:
    for path in REQUIRED[action]:
        for wrong in (..., *WRONG_VALUES):
            if (wrong == {} and path in MAY_BE_EMPTY) or (wrong is ... and path in MAY_BE_ABSENT):
                continue
            answer = shelf.post(action, changed(shelf.fresh(action), steps(path), wrong))
            assert answer.status_code == 400, (path, wrong, answer.text)
            document = answer.json()
            assert document["message"]["ack"]["status"] == "NACK"
            named = document["error"]["paths"].split("; ")
            assert any(each.startswith(path) for each in named), (path, wrong, document)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
telling = st.sampled_from(
    [
        "\x00",
        "0",
        "-1",
        "1e9",
        "9" * 400,
        "P99999999999D",
        "PT1S",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "é",
    ]
)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_message_is_refused_or_answered_and_never_a_5xx(shelf: Shelf, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(shelf.messages)))
    document = shelf.fresh(action)
    place = data.draw(st.sampled_from(sorted(places(document), key=str)))
    answer = shelf.post(action, changed(document, list(place), data.draw(anything | telling)))
    assert answer.status_code in {200, 400, 401}, answer.text
    assert answer.json()["message"]["ack"]["status"] == ("ACK" if answer.status_code == 200 else "NACK")
    shelf.answer_everything()


ANOTHER_TRADE: Json = {
    "category": {"descriptor": {"code": "EV-CHARGING"}},
    "item": {"quantity": {"selected": {"measure": {"unit": "kWh", "value": "20", "type": "CONSTANT"}}}},
    "fulfillment": {"type": "CHARGING", "stops": [{"location": {"circle": {"gps": "12.4,77.3"}}}], "tags": [{}]},
}


@pytest.mark.parametrize("domain", ["beckn.one:DEG:compute-energy:1.0", "beckn.one:DEG:ev-charging:1.0"])
def test_a_search_of_another_trade_is_answered_with_an_empty_catalogue(shelf: Shelf, domain: str) -> None:
    document = shelf.fresh(Action.SEARCH)
    document["context"] |= {"domain": domain}
    del document["context"]["ttl"]
    document["message"]["intent"] = ANOTHER_TRADE
    assert shelf.post(Action.SEARCH, document).status_code == 200
    shelf.answer_everything()
    (row,) = shelf.shop.database.select(
        "beckn_outbox", where=[Where("message_id", document["context"]["message_id"])], order=By(("outbox_id",))
    )
    catalog = json.loads(row["body"])["message"]["catalog"]
    assert catalog["providers"] == []
    assert catalog["descriptor"]["short_desc"]
    elsewhere = shelf.fresh(Action.SELECT)
    elsewhere["context"]["domain"] = "beckn.one:DEG:ev-charging:1.0"
    assert shelf.post(Action.SELECT, elsewhere).json()["error"]["paths"] == "context.domain"


@pytest.mark.parametrize("start", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-11-22T08:00:00.000001Z"])
def test_an_update_to_any_time_is_answered(shelf: Shelf, start: str) -> None:
    document = shelf.fresh(Action.UPDATE)
    document["message"]["order"]["fulfillments"][0]["stops"][0]["time"] = {"timestamp": start}
    assert shelf.post(Action.UPDATE, document).status_code == 200
    shelf.answer_everything()


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("urgency", "SOMETIMES"),
        ("cpu-cores", "many"),
        ("memory-gb", "-1"),
        ("deferral-window", "4 hours"),
        ("deadline", "tomorrow"),
        ("estimated-energy-kwh", "nan"),
    ],
)
def test_a_wrong_tag_is_named(shelf: Shelf, code: str, value: str) -> None:
    document = shelf.fresh(Action.SELECT)
    document["message"]["order"]["tags"] = [
        {"descriptor": {"code": "workload-requirements"}, "list": [{"descriptor": {"code": code}, "value": value}]}
    ]
    answer = shelf.post(Action.SELECT, document)
    assert answer.status_code == 400
    assert answer.json()["error"]["paths"] == "message.order.tags[0].list[0].value"


def test_the_same_message_again_gets_the_same_answer_and_another_body_a_nack(shelf: Shelf) -> None:
    document = shelf.fresh(Action.STATUS)
    assert [shelf.post(Action.STATUS, document).status_code for _ in range(3)] == [200] * 3
    document["message"]["order_id"] = "another"
    answer = shelf.post(Action.STATUS, document)
    assert (answer.status_code, answer.json()["error"]["paths"]) == (400, "context.message_id")


def test_what_is_not_signed_is_not_taken(shelf: Shelf) -> None:
    body = json.dumps(shelf.fresh(Action.CANCEL)).encode()
    answer = requests.post(f"{shelf.shop.provider.url}/cancel", data=body, timeout=30)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Signature realm="')


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"context": 1}', b"[" * 100_000])
def test_what_is_no_message_is_refused(shelf: Shelf, body: bytes) -> None:
    answer = shelf.post_bytes(Action.SELECT, body)
    assert answer.status_code == 400
    assert answer.json()["message"]["ack"]["status"] == "NACK"
    unsigned = requests.post(f"{shelf.shop.provider.url}/select", data=body, timeout=30)
    assert unsigned.status_code == 400
