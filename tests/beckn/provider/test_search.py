"""The answer to a search: a page of the slots at a time, best first, whatever their number."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from beckn.protocol.context import callback_context, read_context
from beckn.protocol.objects import Action, Catalog, Item
from beckn.provider.messages_order import CatalogMessage, OnSearch
from beckn.provider.requirements import MOST_ON_A_PAGE, Paging, Wanted
from beckn.provider.search import search_catalogue
from beckn_network import a_message, buyer, in_bytes, provider
from beckn_specification import message_faults
from decision_contexts import NOON, centre, context_json, task
from decisions.scoring.context import Capacity, Task
from decisions.scoring.grid_context import GridContext
from vocabulary import Fuel

CENTRES, STARTS = 40, 25
EVERY_ITEM = CENTRES * STARTS
LARGEST_PAGE_BYTES = 256 * 1024
"""As docs/beckn_provider.md says."""

A_CONTEXT = read_context(in_bytes(a_message(Action.SEARCH, buyer(), now=NOON)), Action.SEARCH, now=NOON)
GRID = GridContext.model_validate(
    context_json(
        task=task(),
        price=[90.0 + 7 * (ahead % 5) for ahead in range(STARTS + 4)],
        carbon={13: [200.0 - ahead for ahead in range(STARTS + 4)]},
        centres=[
            centre(f"DC-{number:03d}", operator=f"OP-{number % 7}", pue=1.1 + number / 100)
            for number in range(CENTRES)
        ],
    )
)
WANTED = Wanted(
    Task.model_validate(task(deferral_window_mins=30 * (STARTS - 1), created_at=NOON.isoformat())), NOON, ()
)


def a_page(page: int, page_size: int, *, grid: GridContext = GRID) -> Catalog:
    paging = Paging(page=page, page_size=page_size)
    return search_catalogue(WANTED, paging, grid, None, now=NOON, carbon_price_gbp_per_t=100)


@cache
def pages(page_size: int = MOST_ON_A_PAGE) -> tuple[Catalog, ...]:
    """Every page, each found by what the one before it says."""
    found = []
    page: str | None = "1"
    while page is not None:
        found.append(a_page(int(page), page_size))
        (page,) = {tags(one, "paging").get("next-page") for one in found[-1].providers}
    return tuple(found)


def items(catalog: Catalog) -> list[Item]:
    """The items of a page, best first."""
    found = [item for provider in catalog.providers for item in provider.items]
    return sorted(found, key=lambda item: int(tags(item, "suitability")["rank"]))


def tags(thing: Any, code: str) -> dict[str, str]:
    groups = [group for group in thing.tags or () if group.descriptor.code == code]
    return {tag.descriptor.code: tag.value for group in groups for tag in group.list}


def as_message(catalog: Catalog) -> bytes:
    context = callback_context(A_CONTEXT, now=NOON, provider=provider().subscriber)
    return OnSearch(context=context, message=CatalogMessage(catalog=catalog)).model_dump_json().encode()


@pytest.mark.parametrize("page_size", [MOST_ON_A_PAGE, 20])
def test_all_pages_together_have_every_slot_once_and_the_best_first(page_size: int) -> None:
    found = [items(catalog) for catalog in pages(page_size)]
    assert [len(page) for page in found[:-1]] == [page_size] * (len(found) - 1)
    listed = [item for page in found for item in page]
    assert len({item.id for item in listed}) == len(listed) == EVERY_ITEM
    assert [int(tags(item, "suitability")["rank"]) for item in listed] == list(range(1, EVERY_ITEM + 1))
    scores = [float(tags(item, "suitability")["score"]) for item in listed]
    assert scores == sorted(scores, reverse=True)
    assert [item.id for item in listed if item.recommended] == [listed[0].id]


def test_a_slot_says_what_other_work_would_save_by_having_it_where_that_is_known() -> None:
    prices = {
        "planned_at": NOON,
        "workloads": 3,
        "left_out": 0,
        "method": "exact",
        "start": NOON,
        "half_hours": 96,
        "gbp_per_kw": {GRID.data_centres[0].dc_id: [[0, 0.5]]},
    }
    free = {centre.dc_id: [[0, 1000]] for centre in GRID.data_centres}
    known = Capacity.model_validate({"start": NOON, "half_hours": 96, "free_it_kw": free, "prices": prices})
    paging = Paging(page=1, page_size=MOST_ON_A_PAGE)
    found = items(search_catalogue(WANTED, paging, GRID, known, now=NOON, carbon_price_gbp_per_t=100))
    displaced = {float(tags(item, "suitability")["displaced-gbp"]) for item in found}
    assert 0 in displaced
    assert max(displaced) > 0
    assert all("displaced-gbp" not in tags(item, "suitability") for item in items(a_page(1, 20)))


def test_every_page_says_where_it_stands() -> None:
    for one in pages()[1].providers:
        assert tags(one, "paging") == {
            "page": "2",
            "page-size": str(MOST_ON_A_PAGE),
            "total-items": str(EVERY_ITEM),
            "next-page": "3",
        }


def test_what_an_item_refers_to_is_on_its_page() -> None:
    for catalog in pages():
        for one in catalog.providers:
            fulfillments = {fulfillment.id for fulfillment in one.fulfillments or ()}
            places = {location.id for location in one.locations}
            for item in one.items:
                assert set(item.fulfillment_ids) <= fulfillments
                assert set(item.location_ids) <= places


def test_a_page_after_the_last_is_empty_and_says_so() -> None:
    catalog = a_page(21, MOST_ON_A_PAGE)
    assert catalog.providers == ()
    assert catalog.descriptor
    assert catalog.descriptor.short_desc == "There are 1000 slots, and page 21 is past the last of them."


def test_every_page_is_a_message_of_bounded_size_that_is_read_back() -> None:
    for catalog in pages():
        message = as_message(catalog)
        assert len(message) <= LARGEST_PAGE_BYTES
        read = OnSearch.model_validate_json(message)
        assert read.message
        assert read.message.catalog == catalog


def test_the_largest_page_is_of_bounded_size_too() -> None:
    """Every item of another operator with a long name, in the present half-hour, of which the most is known."""
    fuels = {str(fuel): 12.345 for fuel in Fuel}
    grid = context_json(
        task=task(),
        price=[90.0] + [400.0] * STARTS,
        carbon={13: [200.0] * (STARTS + 1)},
        centres=[
            centre(f"DC-{number:061d}", operator=f"OP-{number:061d}", name="N" * 100, latitude=51.5, longitude=-0.1)
            for number in range(MOST_ON_A_PAGE)
        ],
        generation_mix=[{"region_id": 13, "timestamp": NOON.isoformat(), "mix": fuels}],
    )
    catalog = a_page(1, MOST_ON_A_PAGE, grid=GridContext.model_validate(grid))
    assert len(catalog.providers) == MOST_ON_A_PAGE
    assert "mix-wind-percent" in tags(items(catalog)[0], "grid-signal")
    assert len(as_message(catalog)) <= LARGEST_PAGE_BYTES


def test_every_page_is_valid_beckn() -> None:
    for catalog in pages():
        document = json.loads(as_message(catalog))
        assert message_faults(document) == []


def test_a_page_of_later_slots_only_is_told_as_fully_as_the_first() -> None:
    """Its items are those that the catalogue of offers has far ahead."""
    for item in items(pages()[-1]):
        assert item.price.value
        assert tags(item, "grid-signal")["carbon-intensity-gco2-per-kwh"]
        assert item.time
        assert item.time.range
        assert item.time.range.start
        assert NOON <= item.time.range.start <= NOON + timedelta(minutes=30 * (STARTS - 1))
