"""What a buyer asks for becomes the workload that the scorer reckons with."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from beckn.buying.messages import BuyerWorkload, intent_of
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.objects import TagGroup
from beckn.provider.messages_request import Intent
from beckn.provider.requirements import Paging, paging_of, wanted_by_intent
from beckn_orders import a_workload
from decision_contexts import NOON
from vocabulary import Urgency, WorkloadType

HOUR = timedelta(hours=1)


def intent(document: str) -> Intent:
    return Intent.model_validate_json(document)


def test_a_whole_workload_arrives_as_it_was_sent() -> None:
    sent = BuyerWorkload(
        job_id="job-1",
        workload_type=WorkloadType.TRAINING_RUN,
        urgency=Urgency.HIGH,
        required_gpu_mins=1200,
        required_cpu_cores=8,
        required_memory_gb=32,
        estimated_energy_kwh=5,
        carbon_cap_gco2=100,
        max_price_gbp=50,
        deadline=NOON + 8 * HOUR,
        deferral_window_mins=240,
    )
    wanted = wanted_by_intent(intent_of(sent, NOON, None), NOON)
    task = wanted.task.model_dump(exclude={"operator", "host_dc_id", "status", "created_at", "runs_at"})
    assert task == sent.model_dump()
    assert wanted.earliest == NOON


def test_without_an_item_the_usual_workload_is_meant() -> None:
    wanted = wanted_by_intent(intent('{"category": {"id": "cat"}, "fulfillment": {}}'), NOON)
    assert (wanted.task.workload_type, wanted.task.required_gpu_mins) == (WorkloadType.OTHER, None)


def test_the_range_of_the_start_is_the_deferral_window() -> None:
    wanted = wanted_by_intent(
        intent(
            """{"category": {"id": "cat"}, "fulfillment": {"stops": [
                {"type": "start", "time": {"range":
                    {"start": "2026-11-22T13:00:00Z", "end": "2026-11-22T15:00:00Z"}}},
                {"type": "end", "time": {"timestamp": "2026-11-22T18:00:00Z"}}]}}"""
        ),
        NOON,
    )
    assert wanted.earliest == NOON + HOUR
    assert wanted.task.deferral_window_mins == 180
    assert wanted.task.deadline == NOON + 6 * HOUR


def test_paging_is_the_first_page_of_twenty_unless_asked() -> None:
    asked = intent_of(a_workload(), NOON, 3)
    assert paging_of(asked) == Paging(page=3, page_size=20)
    assert paging_of(intent_of(a_workload(), NOON, None)) == Paging()


@pytest.mark.parametrize(("code", "value"), [("page", 0), ("page-size", 51), ("page", "two")])
def test_a_page_that_cannot_be_is_refused(code: str, value: int | str) -> None:
    group = TagGroup.known("paging", {code: value})
    assert group is not None
    asked = intent_of(a_workload(), NOON, None).model_copy(update={"tags": (group,)})
    with pytest.raises(Refused) as refused:
        paging_of(asked)
    assert refused.value.error.paths == "message.intent.tags[0].list[0].value"


def an_intent(**parts: Any) -> Intent:
    return intent(json.dumps({"fulfillment": {}, **parts}))


# A search as a network of charging points has it: a circle, a connector, kilowatt-hours, and no word of compute.
CHARGING: dict[str, Any] = {
    "descriptor": {"name": "a charger near me"},
    "category": {"descriptor": {"code": "EV-CHARGING"}},
    "item": {"descriptor": {"code": "energy"}, "quantity": {"selected": {"measure": {"unit": "kWh", "value": "20"}}}},
    "fulfillment": {
        "type": "CHARGING",
        "stops": [
            {
                "location": {
                    "circle": {"gps": "12.42,77.32", "radius": {"type": "CONSTANT", "value": "5", "unit": "km"}}
                },
                "time": {"timestamp": "2026-11-22T13:00:00Z", "days": "1,2"},
            }
        ],
        "tags": [{"list": [{"descriptor": {"code": "connector-type"}, "value": "CCS2"}]}],
        "agent": {"person": {"name": None}},
    },
    "payment": {"type": "PRE-ORDER", "params": {"amount": 5}},
    "tags": [{"list": [{"value": 7}, {}]}, {"descriptor": {"name": "terms"}}, {}],
}


@pytest.mark.parametrize("absent", [(), ("item",), ("category",), ("category", "descriptor")])
def test_a_search_of_another_trade_is_understood_and_there_is_nothing_for_it(absent: tuple[str, ...]) -> None:
    sought = {name: part for name, part in CHARGING.items() if name not in absent}
    wanted = wanted_by_intent(intent(json.dumps(sought)), NOON)
    assert wanted.unsold is not None
    assert "ompute" in wanted.unsold


@pytest.mark.parametrize(
    "parts",
    [
        {"item": {"descriptor": {"code": "energy"}}},
        {"item": {"quantity": {"selected": {"measure": {"unit": "kWh", "value": "-20"}}}}},
        {"item": {"price": {"currency": "INR", "maximum_value": "100"}}},
        {"category": {"descriptor": {"code": "EV-CHARGING"}}},
    ],
)
def test_each_sign_of_another_trade_is_enough(parts: dict[str, Any]) -> None:
    assert wanted_by_intent(an_intent(**parts), NOON).unsold


@pytest.mark.parametrize(
    "parts",
    [
        {"item": {"descriptor": {"code": "RAG_QUERY"}}, "category": {"descriptor": {"code": "GPU"}}},
        {"item": {"quantity": {"selected": {"count": 3}}}},
        {"item": {"descriptor": {"name": "anything"}, "price": {"currency": "INR"}}},
        {"descriptor": {"name": "compute, please", "images": [None]}},
    ],
)
def test_what_says_nothing_of_another_trade_is_for_compute(parts: dict[str, Any]) -> None:
    assert wanted_by_intent(an_intent(**parts), NOON).unsold is None


QUANTITY = "message.intent.item.quantity.selected.measure.value"


@pytest.mark.parametrize(
    "value", ["0", "-1", "0.0009", "10000001", "9" * 400, "0." + "0" * 320 + "1", "1e3", "NaN", "", "1 "]
)
def test_a_quantity_beyond_its_bounds_is_named(value: str) -> None:
    quantity = {"selected": {"measure": {"unit": "GPU-min", "value": value}}}
    with pytest.raises(Refused) as refused:
        wanted_by_intent(an_intent(item={"quantity": quantity}), NOON)
    assert refused.value.error.paths == QUANTITY


@pytest.mark.parametrize("value", ["-5", "-0.01", "9" * 400, "1000000000001", "1e3", ""])
def test_a_limit_that_no_price_can_have_is_named(value: str) -> None:
    with pytest.raises(Refused) as refused:
        wanted_by_intent(an_intent(item={"price": {"currency": "GBP", "maximum_value": value}}), NOON)
    assert refused.value.error.paths == "message.intent.item.price.maximum_value"
    with pytest.raises(Refused) as refused:
        wanted_by_intent(an_intent(item={"price": {"maximum_value": "1"}}), NOON)
    assert refused.value.error.paths == "message.intent.item.price.currency"


@pytest.mark.parametrize(
    ("start", "end", "deadline"),
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_window_is_a_year_at_most_wherever_in_time_it_is(start: str, end: str, deadline: str) -> None:
    stops = [
        {"type": "start", "time": {"range": {"start": start, "end": end}}},
        {"type": "end", "time": {"timestamp": deadline}},
    ]
    wanted = wanted_by_intent(an_intent(descriptor={}, fulfillment={"stops": stops}), NOON)
    assert wanted.task.deferral_window_mins is not None
    assert 0 <= wanted.task.deferral_window_mins <= 365 * 24 * 60
    assert wanted.earliest >= NOON


def tags_of(*groups: dict[str, Any]) -> Intent:
    return an_intent(descriptor={}, tags=list(groups))


def test_tags_that_are_not_known_are_not_looked_at_and_those_that_are_must_be_text() -> None:
    label = {"code": "workload-requirements", "images": [{"url": "https://buyer.example/logo.png"}]}
    urgency = {"descriptor": {"code": "urgency", "name": "How urgent"}, "value": "HIGH", "display": "maybe"}
    odd = [{"descriptor": {"name": "Contract"}, "value": 7}, {"value": None}, {"descriptor": {"code": "contract"}}]
    sought = tags_of({"list": [{}]}, {"descriptor": label, "list": [*odd, urgency]})
    wanted = wanted_by_intent(sought, NOON)
    assert wanted.task.urgency is Urgency.HIGH
    assert [[(tag.descriptor.code, tag.value) for tag in group.list] for group in wanted.tags] == [
        [("urgency", "HIGH")]
    ]
    with pytest.raises(Refused) as refused:
        wanted_by_intent(tags_of({}, {"descriptor": label, "list": [{}, urgency | {"value": 7}]}), NOON)
    assert refused.value.error.paths == "message.intent.tags[1].list[1].value"
