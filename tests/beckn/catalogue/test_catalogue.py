"""Any world makes catalogues that our models and the rules of Beckn and of the network take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.catalogue.catalogue import compute_catalogue, workload_catalogue
from beckn.protocol.objects import CatalogueDocument, Subscriber
from beckn_specification import message_faults, on_search_faults
from beckn_worlds import NOON, grids, moments, queues
from grid.half_hours import HALF_HOUR

PUBLISHER = Subscriber("seller.example", "http://127.0.0.1:5053/beckn")
BUYER = {"bap_id": "buyer.example", "bap_uri": "http://127.0.0.1:5052/beckn"}


@st.composite
def documents(draw: st.DrawFn) -> CatalogueDocument:
    """Catalogues of random worlds."""
    now = draw(moments)
    if draw(st.booleans()):
        return compute_catalogue(draw(grids(now)), now=now, slots=draw(st.integers(1, 6)), publisher=PUBLISHER)
    return workload_catalogue(draw(queues()), now=now, publisher=PUBLISHER)


def as_json(document: CatalogueDocument) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(document.model_dump_json())
    return read


def values(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from values(child)
    else:
        yield node


@given(documents())
@settings(max_examples=40, deadline=None)
def test_every_catalogue_is_read_back_by_the_strict_models(document: CatalogueDocument) -> None:
    assert CatalogueDocument.model_validate_json(document.model_dump_json()) == document


@given(documents())
@settings(max_examples=30, deadline=None)
def test_nothing_in_a_catalogue_is_null(document: CatalogueDocument) -> None:
    assert None not in list(values(as_json(document)))


@given(documents())
@settings(max_examples=40, deadline=None)
def test_every_catalogue_is_valid(document: CatalogueDocument) -> None:
    assert on_search_faults(as_json(document)) == []


@given(documents())
@settings(max_examples=40, deadline=None)
def test_every_catalogue_keeps_the_networks_rules_once_it_has_a_buyer(document: CatalogueDocument) -> None:
    sent = as_json(document)
    sent["context"].update(BUYER)
    assert message_faults(sent) == []


def test_without_a_platform_that_sells_a_catalogue_is_still_valid() -> None:
    assert on_search_faults(as_json(workload_catalogue([], now=NOON))) == []


@given(st.data(), moments)
@settings(max_examples=20, deadline=None)
def test_the_same_world_makes_the_same_document(data: st.DataObject, now: datetime) -> None:
    grid, queue = data.draw(grids(now)), data.draw(queues())
    assert (
        compute_catalogue(grid, now=now).model_dump_json()
        == compute_catalogue(grid.model_copy(deep=True), now=now).model_dump_json()
    )
    assert (
        workload_catalogue(queue, now=now).model_dump_json()
        == workload_catalogue(list(queue), now=now).model_dump_json()
    )


def test_the_context_names_who_sells_and_nobody_who_buys() -> None:
    context = as_json(workload_catalogue([], now=NOON, publisher=PUBLISHER))["context"]
    ids = {context.pop("transaction_id"), context.pop("message_id")}
    assert len(ids) == 2
    assert context == {
        "domain": "beckn.one:DEG:compute-energy:1.0",
        "location": {"country": {"code": "GBR"}, "city": {"code": "*"}},
        "action": "on_search",
        "version": "1.1.0",
        "bpp_id": "seller.example",
        "bpp_uri": "http://127.0.0.1:5053/beckn",
        "timestamp": "2026-11-22T12:00:00Z",
        "ttl": "PT30S",
    }


def test_each_moment_has_ids_of_its_own() -> None:
    first, second = (workload_catalogue([], now=now).context for now in (NOON, NOON + HALF_HOUR))
    assert len({first.transaction_id, first.message_id, second.transaction_id, second.message_id}) == 4
