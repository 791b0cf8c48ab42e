"""What a buyer asks for becomes the workload that the scorer reckons with."""

from __future__ import annotations

from datetime import timedelta

import pytest

from beckn.answers import Refused
from beckn.buyer_messages import BuyerWorkload, intent_of
from beckn.messages import TagGroup
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
    task = wanted.task.model_dump(exclude={"operator", "host_dc_id", "status", "created_at"})
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
