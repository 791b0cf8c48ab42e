"""Signed messages with whatever in them: those of other makes are taken, and nothing makes a 5xx or a traceback.

Bodies are drawn from the official schema where it is, from our rules and from our models, and changed in hostile
ways; they go over real HTTP to a gateway and a provider, with signatures on, and what is acknowledged is worked on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.protocol.objects import Action
from beckn.provider.messages_request import REQUESTS
from beckn_shelf import Json, Shelf, no_trace_logged, stocked
from beckn_specification import specifications
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from new_database import new_database
from schema_values import AMOUNTS, filled, spoiled, values

SPECIFICATIONS = specifications()

# What is read of a request beside what it must have: only there may a valid message be refused.
READ = {
    Action.SEARCH: (
        "message.intent.fulfillment.stops",
        "message.intent.item.price",
        "message.intent.item.quantity.selected.measure",
        "message.intent.tags",
    ),
    Action.SELECT: ("message.order.tags",),
    Action.INIT: ("message.order.tags", "message.order.billing", "message.order.fulfillments[0].customer"),
    Action.CONFIRM: (
        "message.order.tags",
        "message.order.billing",
        "message.order.fulfillments[0].customer",
        "message.order.payments",
    ),
}


@pytest.fixture(scope="module")
def shelf(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with stocked(database, tmp_path_factory.mktemp("bodies")) as shelf:
            yield shelf
        database.close()


@pytest.fixture(scope="module")
def gateway_url(shelf: Shelf) -> str:
    return shelf.shop.gateway_url()


def send(shelf: Shelf, action: Action, document: Json, *, url: str | None = None) -> tuple[int, str]:
    """The answer to a message: its status, and the paths it names. What is acknowledged is answered."""
    with no_trace_logged():
        answer = shelf.post_bytes(action, json.dumps(document).encode("utf-8", "surrogatepass"), url=url)
        assert answer.status_code in {200, 400, 401, 413, 429}, answer.text
        said = answer.json()
        assert said["message"]["ack"]["status"] == ("ACK" if answer.status_code == 200 else "NACK")
        shelf.answer_everything()
    return answer.status_code, said.get("error", {}).get("paths") or ""


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_valid_search_of_another_make_is_taken(shelf: Shelf, specification: str, data: st.DataObject) -> None:
    named = SPECIFICATIONS[specification]
    document = shelf.fresh(Action.SEARCH)
    intent = data.draw(values(named["Intent"], named))
    fulfillment = data.draw(values(named["Fulfillment"], named))
    document["message"] = {"intent": {"descriptor": {}, "fulfillment": fulfillment, **intent}}
    status, paths = send(shelf, Action.SEARCH, document)
    assert status == 200 or paths.startswith(READ[Action.SEARCH]), paths


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize("action", [Action.SELECT, Action.INIT, Action.CONFIRM])
@given(data=st.data())
@settings(max_examples=25)
def test_whatever_else_an_order_has_is_not_looked_at(
    shelf: Shelf, action: Action, specification: str, data: st.DataObject
) -> None:
    named = SPECIFICATIONS[specification]
    document = shelf.fresh(action)
    theirs = data.draw(values(named["Order"], named))
    theirs |= {
        name: data.draw(st.lists(values(named[kind], named), min_size=1, max_size=1))
        for name, kind in (("items", "Item"), ("fulfillments", "Fulfillment"), ("payments", "Payment"))
    }
    document["message"]["order"] = filled(document["message"]["order"], theirs)
    status, paths = send(shelf, action, document)
    assert status == 200 or paths.startswith(READ[action]), paths


@cache
def messages_of(action: Action) -> st.SearchStrategy[Json]:
    """What our model of a request describes, context aside."""
    schema = REQUESTS[action].model_json_schema()
    return values(schema["properties"]["message"], schema["$defs"])


@given(data=st.data())
@settings(max_examples=80)
def test_whatever_our_models_describe_is_answered(shelf: Shelf, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(REQUESTS)))
    document = shelf.fresh(action)
    document["message"] = data.draw(messages_of(action))
    send(shelf, action, document)


@given(data=st.data())
@settings(max_examples=150)
def test_nothing_in_a_message_makes_a_5xx_or_a_traceback(shelf: Shelf, gateway_url: str, data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(shelf.messages)))
    document = data.draw(spoiled(shelf.fresh(action)))
    through_gateway = action is Action.SEARCH and data.draw(st.booleans())
    send(shelf, action, document, url=gateway_url if through_gateway else None)


@pytest.mark.parametrize("value", AMOUNTS)
@pytest.mark.parametrize("where", ["price", "quantity", "tag"])
def test_an_amount_at_the_edge_of_its_form_is_taken_or_named(shelf: Shelf, where: str, value: str) -> None:
    document = shelf.fresh(Action.SEARCH)
    intent = document["message"]["intent"]
    if where == "price":
        intent["item"]["price"] = {"currency": "GBP", "maximum_value": value}
        path = "message.intent.item.price.maximum_value"
    elif where == "quantity":
        intent["item"]["quantity"]["selected"]["measure"]["value"] = value
        path = "message.intent.item.quantity.selected.measure.value"
    else:
        codes = ["memory-gb", "cpu-cores", "estimated-energy-kwh", "max-price-gbp"]
        tags = [{"descriptor": {"code": code}, "value": value} for code in codes]
        intent["tags"] = [{"descriptor": {"code": "workload-requirements"}, "list": tags}]
        path = "message.intent.tags[0].list["
    status, paths = send(shelf, Action.SEARCH, document)
    assert status == 200 or paths.startswith(path)
    if value.startswith("-") or len(value) > 100:
        assert status == 400


def test_a_slot_that_cannot_be_is_answered(shelf: Shelf) -> None:
    for item in ("DC-001:gpu-slot:99991231T2330Z", "DC-001:gpu-slot:00010101T0000Z", "x" * 10_000):
        document = shelf.fresh(Action.SELECT)
        document["message"]["order"]["items"][0]["id"] = item
        assert send(shelf, Action.SELECT, document)[0] == 200
