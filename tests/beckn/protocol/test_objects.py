"""The models take whole messages, give them back unchanged, and say where a faulty one is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import beckn.protocol.objects as messages
from beckn.protocol.objects import (
    BecknObject,
    Catalog,
    CatalogueDocument,
    Context,
    Descriptor,
    Location,
    Provider,
    TagGroup,
)
from beckn_specification import on_search_faults, specifications, worked_messages
from grid.half_hours import UTC

WORKED = worked_messages()

Key = str | int
At = tuple[Key, ...]


def a_document() -> dict[str, Any]:
    """A catalogue of one item that uses nearly every field."""
    return {
        "context": {
            "domain": "beckn.one:DEG:compute-energy:1.0",
            "location": {"country": {"code": "GBR"}, "city": {"code": "*"}},
            "action": "on_search",
            "version": "1.1.0",
            "bap_id": "buyer.example",
            "bap_uri": "http://127.0.0.1:5060/beckn",
            "bpp_id": "seller.example",
            "bpp_uri": "http://127.0.0.1:5061/beckn",
            "transaction_id": "0b53ee65-6b8b-4b27-8f0b-0d1f4a5c9a11",
            "message_id": "8e4d3c1e-6a52-4fb5-9d93-4f3a1f0b7c22",
            "timestamp": "2026-11-22T08:04:11Z",
            "ttl": "PT30S",
        },
        "message": {
            "catalog": {
                "descriptor": {"name": "Compute"},
                "exp": "2026-11-22T08:30:00Z",
                "providers": [
                    {
                        "id": "op-1",
                        "descriptor": {"name": "Operator one", "long_desc": "It has machines"},
                        "categories": [{"id": "cat-1", "descriptor": {"code": "COMPUTE_SLOT"}}],
                        "fulfillments": [
                            {
                                "id": "ful-1",
                                "type": "COMPUTE",
                                "tracking": False,
                                "stops": [
                                    {
                                        "type": "start",
                                        "location": {"id": "DC-001"},
                                        "time": {"timestamp": "2026-11-22T08:00:00Z"},
                                    }
                                ],
                            }
                        ],
                        "payments": [{"id": "pay-1", "type": "POST-FULFILLMENT", "collected_by": "BPP"}],
                        "locations": [
                            {
                                "id": "DC-001",
                                "gps": "51.5, -0.1",
                                "address": "London",
                                "state": {"name": "London", "code": "GB-CI-REGION-13"},
                            }
                        ],
                        "items": [
                            {
                                "id": "DC-001:gpu-slot:20261122T0800Z",
                                "descriptor": {"code": "COMPUTE_SLOT", "name": "A slot"},
                                "price": {"currency": "GBP", "value": "-0.0016", "maximum_value": "3"},
                                "quantity": {
                                    "unitized": {"count": 1, "measure": {"unit": "GPU-min", "value": "1"}},
                                    "available": {"measure": {"unit": "GPU-min", "value": "240"}},
                                },
                                "category_ids": ["cat-1"],
                                "location_ids": ["DC-001"],
                                "fulfillment_ids": ["ful-1"],
                                "payment_ids": ["pay-1"],
                                "time": {
                                    "range": {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T08:30:00Z"},
                                },
                                "matched": True,
                                "ttl": "1800",
                                "tags": [
                                    {
                                        "descriptor": {"code": "facility"},
                                        "display": True,
                                        "list": [{"descriptor": {"code": "pue"}, "value": "1.2"}],
                                    }
                                ],
                            }
                        ],
                        "exp": "2026-11-22T08:30:00Z",
                        "ttl": 1549,
                    }
                ],
            }
        },
    }


PROVIDER: At = ("message", "catalog", "providers", 0)
ITEM: At = (*PROVIDER, "items", 0)
REQUIRED: list[At] = [
    *(("context", field) for field in ("domain", "location", "action", "version", "transaction_id", "message_id")),
    *(("context", field) for field in ("timestamp", "ttl")),
    ("context", "location", "country"),
    ("context", "location", "country", "code"),
    ("message",),
    ("message", "catalog"),
    ("message", "catalog", "providers"),
    *((*PROVIDER, field) for field in ("id", "descriptor", "locations", "items")),
    *(
        (*ITEM, field)
        for field in ("id", "descriptor", "price", "quantity", "location_ids", "fulfillment_ids", "tags")
    ),
    (*ITEM, "price", "currency"),
    (*ITEM, "quantity", "unitized", "measure", "unit"),
    (*ITEM, "quantity", "unitized", "measure", "value"),
    (*ITEM, "tags", 0, "descriptor", "code"),
    (*ITEM, "tags", 0, "list"),
    (*ITEM, "tags", 0, "list", 0, "value"),
]


def places(node: Any, at: At = ()) -> Iterator[At]:
    """Every place in a document."""
    if at:
        yield at
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


def value_at(document: Any, at: At) -> Any:
    for key in at:
        document = document[key]
    return document


def with_value(document: Any, at: At, value: Any) -> Any:
    changed = copy.deepcopy(document)
    value_at(changed, at[:-1])[at[-1]] = value
    return changed


def without(document: Any, at: At) -> Any:
    changed = copy.deepcopy(document)
    del value_at(changed, at[:-1])[at[-1]]
    return changed


def faults(document: Any, model: type[BaseModel] = CatalogueDocument) -> list[At]:
    """Where the model finds a document wrong."""
    try:
        model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        return [fault["loc"] for fault in error.errors()]
    return []


def complaint(document: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        CatalogueDocument.model_validate_json(json.dumps(document))
    return str(caught.value)


every_place = st.sampled_from(list(places(a_document())))
every_object = st.sampled_from([at for at in places(a_document()) if isinstance(value_at(a_document(), at), dict)])


def test_a_message_is_given_back_as_it_came() -> None:
    read = CatalogueDocument.model_validate_json(json.dumps(a_document()))
    assert json.loads(read.model_dump_json()) == a_document()
    assert read.model_dump(mode="json") == a_document()


@pytest.mark.parametrize("at", REQUIRED, ids=lambda at: ".".join(map(str, at)))
def test_a_required_field_that_is_missing_is_named(at: At) -> None:
    assert faults(without(a_document(), at)) == [at]


@given(every_place)
@settings(deadline=None)
def test_null_is_refused_anywhere(at: At) -> None:
    assert faults(with_value(a_document(), at, None)) == [at]


@given(every_place, st.sampled_from([3.5, 7, True, "\n", [[]], {"x": "y"}]))
@example((*ITEM, "quantity", "unitized", "count"), True)
@settings(deadline=None)
def test_a_value_of_another_type_is_refused_where_it_stands(at: At, value: Any) -> None:
    present = value_at(a_document(), at)
    if type(value) is type(present):
        return
    found = faults(with_value(a_document(), at, value))
    assert found
    assert all(fault[: len(at)] == at for fault in found)


@given(every_object)
@settings(deadline=None)
def test_a_field_that_beckn_does_not_know_is_refused(at: At) -> None:
    assert faults(with_value(a_document(), (*at, "colour"), "blue")) == [(*at, "colour")]


@pytest.mark.parametrize(
    ("field", "missing"),
    [
        ("location_ids", "location"),
        ("category_ids", "category"),
        ("fulfillment_ids", "fulfillment"),
        ("payment_ids", "payment"),
    ],
)
def test_what_an_item_refers_to_must_be_in_the_catalogue(field: str, missing: str) -> None:
    document = with_value(a_document(), (*ITEM, field), ["elsewhere"])
    assert f"refers to {missing} elsewhere, which is not in the catalogue" in complaint(document)


def test_an_item_may_refer_to_what_stands_at_the_head_of_the_catalogue() -> None:
    document = a_document()
    catalog, provider = document["message"]["catalog"], value_at(document, PROVIDER)
    catalog["fulfillments"], catalog["payments"] = provider.pop("fulfillments"), provider.pop("payments")
    assert faults(document) == []


@pytest.mark.parametrize("listed", ["locations", "categories", "fulfillments", "payments", "items"])
def test_nothing_is_listed_twice_by_a_provider(listed: str) -> None:
    document = a_document()
    value_at(document, PROVIDER)[listed] *= 2
    assert "is listed twice" in complaint(document)


def test_a_provider_is_listed_once() -> None:
    document = a_document()
    document["message"]["catalog"]["providers"] *= 2
    assert "provider op-1 is listed twice" in complaint(document)


def test_a_range_does_not_end_before_it_starts() -> None:
    end = (*ITEM, "time", "range", "end")
    assert faults(with_value(a_document(), end, "2026-11-22T07:59:59Z")) == [end[:-1]]


@pytest.mark.parametrize("field", ["bap_id", "bap_uri", "bpp_id", "bpp_uri"])
def test_a_platform_is_named_with_its_address_or_not_at_all(field: str) -> None:
    document = a_document()
    assert faults(without(document, ("context", field))) == [("context",)]
    whole = without(without(document, ("context", "bap_id")), ("context", "bap_uri"))
    assert faults(whole) == []


def test_a_catalogue_is_no_other_action() -> None:
    assert faults(with_value(a_document(), ("context", "action"), "search")) == [("context", "action")]


def test_a_version_that_we_do_not_speak_is_refused() -> None:
    assert faults(with_value(a_document(), ("context", "version"), "1.1.1")) == []
    assert faults(with_value(a_document(), ("context", "version"), "2.0.0")) == [("context", "version")]


def test_a_group_of_tags_holds_what_is_known() -> None:
    group = TagGroup.known(
        "facility",
        {
            "pue": 1.20,
            "capacity-mw": 0.0,
            "ramp-rate-mw-per-min": None,
            "status": "ACTIVE",
            "synthetic": False,
            "observed-at": datetime(2026, 11, 22, 8, tzinfo=UTC),
        },
    )
    assert group is not None
    assert {tag.descriptor.code: tag.value for tag in group.list} == {
        "pue": "1.2",
        "capacity-mw": "0",
        "status": "ACTIVE",
        "synthetic": "false",
        "observed-at": "2026-11-22T08:00:00Z",
    }


def test_a_group_of_which_nothing_is_known_is_no_group() -> None:
    assert TagGroup.known("grid-signal", {"grid-stress-score": None}) is None


def test_what_is_left_out_in_python_is_left_out_in_json() -> None:
    assert (
        Location(id="DC-001", gps=None, descriptor=Descriptor()).model_dump_json()
        == '{"id":"DC-001","descriptor":{}}'
    )


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_published_json_schema_knows_no_null(mode: Any) -> None:
    schema = CatalogueDocument.model_json_schema(mode=mode)
    assert "null" not in json.dumps(schema)
    assert schema["$defs"]["Location"]["properties"]["state"] == {"$ref": "#/$defs/State"}


def test_an_empty_catalogue_is_a_catalogue() -> None:
    assert json.loads(Catalog(providers=()).model_dump_json()) == {"providers": []}
    assert Provider(id="op-1", descriptor=Descriptor(name="One"), locations=(), items=()).items == ()


# The classes here that Beckn does not name, with where its schema says the same.
OTHER_NAMES = {
    "Label": ("Descriptor",),
    "ContextLocation": ("Location",),
    "CatalogueContext": ("Context",),
    "TimeRange": ("Time", "properties", "range"),
    "Quantity": ("ItemQuantity", "properties", "available"),
    "UnitQuantity": ("ItemQuantity", "properties", "unitized"),
}
OUR_DOCUMENTS = {"BecknObject", "CatalogMessage", "CatalogueDocument"}
MODELS = [
    model
    for model in vars(messages).values()
    if isinstance(model, type) and issubclass(model, BecknObject) and model.__name__ not in OUR_DOCUMENTS
]


@pytest.mark.parametrize("specification", specifications())
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_one_of_beckns_own(model: type[BecknObject], specification: str) -> None:
    place = OTHER_NAMES.get(model.__name__, (model.__name__,))
    known = value_at(specifications()[specification], place)
    assert set(model.model_fields) <= set(known["properties"])


def test_the_example_of_these_tests_is_valid() -> None:
    assert on_search_faults(a_document()) == []


@pytest.mark.parametrize("name", [name for name in WORKED if name.endswith("on_search")])
def test_the_worked_catalogue_is_read_and_given_back(name: str) -> None:
    worked = copy.deepcopy(WORKED[name])
    read = json.loads(CatalogueDocument.model_validate_json(json.dumps(worked)).model_dump_json())
    assert on_search_faults(worked) == []
    assert datetime.fromisoformat(read["context"].pop("timestamp").replace("Z", "+00:00")) == datetime.fromisoformat(
        worked["context"].pop("timestamp").replace("Z", "+00:00")
    )
    assert read == worked


@pytest.mark.parametrize("name", WORKED)
def test_the_context_of_every_worked_message_is_read(name: str) -> None:
    assert faults(WORKED[name]["context"], Context) == []
