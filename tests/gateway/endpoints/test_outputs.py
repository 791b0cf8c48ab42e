"""The published outputs over real HTTP: the newest, acknowledging, the history, the parts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from api_application import create_app
from database.interface import Database, Row
from database.postgres import PostgresDatabase
from decisions.publishing.schema import DecisionOutput
from decisions.work.notifications import DecisionRecord
from grid_world import (
    NOW,
    carbon_intensity_gco2_per_kwh,
    data_centre,
    store_data_centres,
    store_grid,
    store_world,
    submit,
    workload,
)
from running_gateway import RunningGateway, running_gateway, workers_on
from served import served
from settings import load_settings
from sse_reader import SseReader

NEWEST = "/beckn/llm-output"
ACKNOWLEDGE = "/beckn/llm-output/acknowledge"
HISTORY = "/beckn/llm-output/history"


@pytest.fixture
def gateway(postgres: PostgresDatabase) -> Iterator[RunningGateway]:
    with running_gateway(postgres) as running:
        yield running


def decide(database: Database, *job_ids: str, clock: datetime = NOW, **changes: Any) -> None:
    """Submit workloads and have each decided in turn."""
    workers = workers_on(database, clock=lambda: clock)
    for job_id in job_ids:
        submit(database, workload(job_id, **changes))
        assert workers.work_once() == 1


def newest_task(gateway: RunningGateway, query: str = "") -> str | None:
    output = gateway.get(NEWEST + query).json()["output"]
    return None if output is None else output["_metadata"]["task_id"]


def test_the_newest_output_is_what_the_database_knows_best_option_first(database: Database) -> None:
    store_world(database, data_centres=3)
    with running_gateway(database) as gateway:
        empty = gateway.get(NEWEST)
        assert empty.status_code == 200
        assert empty.json() == {
            "status": "empty",
            "message": "there is no output that has not been acknowledged",
            "output": None,
        }
        decide(database, "train-1", required_gpu_mins=90)
        answer = gateway.get(NEWEST).json()
    assert answer["status"] == "success"
    output = DecisionOutput.model_validate(answer["output"])
    assert output.metadata.sequence == 1
    assert output.metadata.dc_count == 3
    assert (output.task.job_id, output.task.required_gpu_mins) == ("train-1", 90)
    scores = [option.suitability_score for option in output.data_centre_options]
    assert scores == sorted(scores, reverse=True)
    # In this world the region with the least number is the greenest, and each data centre has its own region.
    assert [option.dc_id for option in output.data_centre_options] == ["DC-001", "DC-002", "DC-003"]
    for number, option in enumerate(output.data_centre_options, start=1):
        profile = option.energy_profile
        assert profile.current_carbon_intensity_gco2 == carbon_intensity_gco2_per_kwh(number, 0)
        assert (profile.wholesale_price_gbp_mwh, profile.grid_stress_score) == (80, 0.3)
        assert profile.generation_mix.wind_pct == 40
        assert (option.compute_profile.pue, option.compute_profile.current_load_percentage) == (1.2, 50)


@pytest.mark.parametrize("by_a_program_of_version_1", [False, True])
def test_every_answer_has_the_bytes_that_were_stored_with_their_keys_in_order(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, by_a_program_of_version_1: bool
) -> None:
    store_world(postgres, data_centres=2)
    if by_a_program_of_version_1:
        monkeypatch.setattr(DecisionRecord, "to_row", as_version_1_did)
    api = create_app(postgres, load_settings({}), clock=lambda: NOW)
    with running_gateway(postgres) as gateway, served(api) as client:
        decide(postgres, "train-1", required_gpu_mins=90)
        stored = postgres.scalar("select output::text from orchestration_decisions")
        decision_id = postgres.scalar("select decision_id::text from orchestration_decisions")
        with SseReader(gateway.port, path="/beckn/broadcast?after=0") as reader:
            (event,) = reader.wait_for(1)
        answers = [
            gateway.get(NEWEST),
            gateway.get(f"{NEWEST}?task_id=train-1"),
            gateway.get(HISTORY),
            gateway.get("/beckn/broadcast/poll"),
            client.get("/api/v1/workloads/train-1"),
            client.get(f"/api/v1/objects/OrchestrationDecision/{decision_id}"),
        ]
        task = gateway.get(f"{NEWEST}/train-1/task")
        option = gateway.get(f"{NEWEST}/train-1/data-centres/DC-001")
    output = json.loads(stored)
    assert list(output) == ["data_centre_options", "task", "decision", "_metadata"]
    assert output["_metadata"]["sequence"] == 1
    assert json.dumps(event.data) == json.dumps(output)
    for answer in answers:
        assert answer.status_code == 200
        assert without_spaces(stored) in answer.text
    assert task.text == without_spaces(json.dumps(output["task"]))
    assert option.text == without_spaces(json.dumps(output["data_centre_options"][0]))
    if not by_a_program_of_version_1:
        as_declared = DecisionOutput.model_validate(output).model_dump(mode="json")
        assert json.dumps(output) == json.dumps(as_declared)
        assert stored == without_spaces(stored)


def as_version_1_did(record: DecisionRecord) -> Row:
    row: Row = {name: value for name, value in record.__dict__.items() if name not in {"lease", "options"}}
    return row | {"notification_id": record.lease.notification_id, "lease_token": record.lease.token}


def without_spaces(document: str) -> str:
    """A JSON document as it is served, its keys in the order they are in."""
    return json.dumps(json.loads(document), separators=(",", ":"), ensure_ascii=False)


def test_an_unchanged_answer_is_not_sent_again(gateway: RunningGateway, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    tags: set[str] = set()
    for before in ("nothing", "first", "second"):
        if before != "nothing":
            decide(postgres, before)
        for _ in range(2):  # validated the first time, remembered the second
            answer = gateway.get(NEWEST)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "no-cache"
            tag = answer.headers["ETag"]
            for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
                unchanged = gateway.get(NEWEST, headers={"If-None-Match": known})
                assert (unchanged.status_code, unchanged.content) == (304, b"")
                assert unchanged.headers["ETag"] == tag
            assert all(gateway.get(NEWEST, headers={"If-None-Match": old}).status_code == 200 for old in tags)
        tags.add(tag)
    assert len(tags) == 3


def test_an_answer_is_never_older_than_what_another_gateway_has_done(postgres: PostgresDatabase) -> None:
    """Acknowledged at one gateway, it is gone at the next request to the other: no notice has to arrive first."""
    store_world(postgres)
    decide(postgres, *(f"job-{number}" for number in range(10)))
    with running_gateway(postgres) as one, running_gateway(postgres) as other:
        for number in reversed(range(10)):
            assert newest_task(one) == newest_task(other) == f"job-{number}"
            one.post(ACKNOWLEDGE, {"task_id": f"job-{number}"})
            one, other = other, one
        assert newest_task(one) is newest_task(other) is None


def test_polls_during_publishing_never_go_back(gateway: RunningGateway, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    seen: list[list[int]] = [[] for _ in range(4)]
    done = threading.Event()

    def poll(numbers: list[int]) -> None:
        while not done.is_set():
            output = gateway.get(NEWEST).json()["output"]
            numbers.append(output["_metadata"]["sequence"] if output else 0)

    threads = [threading.Thread(target=poll, args=(numbers,)) for numbers in seen]
    for thread in threads:
        thread.start()
    decide(postgres, *(f"job-{number}" for number in range(8)))
    last = gateway.get(NEWEST).json()["output"]["_metadata"]["sequence"]
    done.set()
    for thread in threads:
        thread.join()
    assert last == 8
    assert all(numbers == sorted(numbers) for numbers in seen)


def test_each_consumer_acknowledges_for_itself(database: Database) -> None:
    store_world(database)
    decide(database, "first", "second")
    with running_gateway(database) as gateway:
        assert newest_task(gateway) == "second"
        cleared = gateway.post(ACKNOWLEDGE, {"task_id": "second"})
        assert (cleared.status_code, cleared.json()) == (200, {"status": "success", "cleared": True})
        assert gateway.post(ACKNOWLEDGE, {"task_id": "second"}).json()["cleared"] is False
        assert newest_task(gateway) == newest_task(gateway, "?consumer=bpp") == "first"
        assert newest_task(gateway, "?consumer=auditor") == "second"
        assert newest_task(gateway, "?task_id=second") == "second"
        gateway.post(ACKNOWLEDGE, {"task_id": "second", "consumer": "auditor"})
        gateway.post(ACKNOWLEDGE, {"task_id": "first", "consumer": "auditor"})
        assert newest_task(gateway, "?consumer=auditor") is None
        assert newest_task(gateway) == "first"


def test_an_output_published_meanwhile_stays_unacknowledged(
    gateway: RunningGateway, postgres: PostgresDatabase
) -> None:
    store_world(postgres)
    # No data centre takes it at this price, so it asks again after the next run of the pipeline.
    decide(postgres, "train-1", max_price_gbp=0)
    seen = gateway.get(NEWEST).json()["output"]["_metadata"]["sequence"]
    store_data_centres(postgres, [data_centre(9)])  # or the answer would be the same, and not published
    postgres.call("reconsider_deferred", {"p_now": NOW + timedelta(minutes=30)})
    assert workers_on(postgres).work_once() == 1
    gateway.post(ACKNOWLEDGE, {"task_id": "train-1", "sequence": seen})
    assert gateway.get(NEWEST).json()["output"]["_metadata"]["sequence"] == seen + 1


WRONG_ACKNOWLEDGEMENTS = [
    ({}, "task_id"),
    ({"task_id": "no spaces"}, "task_id"),
    ({"task_id": "a", "consumer": "x" * 65}, "consumer"),
    ({"task_id": "a", "sequence": -1}, "sequence"),
    ({"task_id": "a", "surprise": 1}, "surprise"),
    ([], "body"),
]
WRONG_QUERIES = ["consumer=no+spaces", "consumer=", "task_id=%00", "limit=3", "Consumer=a"]


def test_what_is_wrong_is_refused_by_its_name(gateway: RunningGateway) -> None:
    for body, field in WRONG_ACKNOWLEDGEMENTS:
        answer = gateway.post(ACKNOWLEDGE, body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    for query in WRONG_QUERIES * 2:  # a wrong query is not remembered as a known one
        answer = gateway.get(f"{NEWEST}?{query}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
        assert answer.json()["errors"][0]["field"] == query.partition("=")[0]
    assert gateway.post(ACKNOWLEDGE, {"task_id": "unknown"}).json() == {"status": "success", "cleared": False}
    assert gateway.get(HISTORY).json() == {"status": "success", "count": 0, "outputs": [], "next": None}


def test_the_history_is_the_same_after_a_restart_page_by_page(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    decide(postgres, *(f"job-{number}" for number in range(12)))
    with running_gateway(postgres) as gateway:
        whole = gateway.get(f"{HISTORY}?limit=100").json()
    with running_gateway(postgres) as restarted:
        pages: list[Any] = []
        query = "?limit=5"
        while query:
            page = restarted.get(HISTORY + query).json()
            assert page["count"] == len(page["outputs"]) <= 5
            pages += page["outputs"]
            query = f"?limit=5&after={page['next']}" if page["next"] else ""
    assert pages == whole["outputs"]
    assert whole["next"] is None
    assert [output["_metadata"]["sequence"] for output in pages] == list(range(12, 0, -1))
    assert [output["_metadata"]["task_id"] for output in pages] == [f"job-{number}" for number in range(11, -1, -1)]


def test_an_output_is_one_task_and_an_option_for_each_data_centre(
    gateway: RunningGateway, postgres: PostgresDatabase
) -> None:
    store_world(postgres, data_centres=3)
    decide(postgres, "train:1")
    output = gateway.get(NEWEST).json()["output"]
    assert gateway.get(f"{NEWEST}/train:1/task").json() == output["task"]
    for option in output["data_centre_options"]:
        assert gateway.get(f"{NEWEST}/train:1/data-centres/{option['dc_id']}").json() == option
    unknown = gateway.get(f"{NEWEST}/train:1/data-centres/DC-999")
    assert unknown.status_code == 404
    assert sorted(unknown.json()["known_data_centres"]) == ["DC-001", "DC-002", "DC-003"]
    for path in ("unknown/task", "unknown/data-centres/DC-001", "%00/task", "history/task"):
        missing = gateway.get(f"{NEWEST}/{path}")
        assert missing.status_code == 404
        assert "history" in missing.json()["detail"]


def test_no_output_is_published_without_options(gateway: RunningGateway, postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    submit(postgres, workload("train-1"))
    workers = workers_on(postgres)
    assert workers.work_once() == 0
    assert gateway.get(NEWEST).json()["output"] is None
    store_data_centres(postgres, [data_centre(1)])
    assert workers.work_once() == 1
    output = DecisionOutput.model_validate(gateway.get(NEWEST).json()["output"])
    assert [option.dc_id for option in output.data_centre_options] == ["DC-001"]


def test_an_output_made_from_a_stale_grid_says_so(gateway: RunningGateway, postgres: PostgresDatabase) -> None:
    store_grid(postgres, fetched_at=NOW - timedelta(hours=3))
    store_data_centres(postgres, [data_centre(1), data_centre(2)])
    decide(postgres, "train-1")
    output = DecisionOutput.model_validate(gateway.get(NEWEST).json()["output"])
    assert any("stale" in warning for warning in output.metadata.warnings)
    assert {signal.freshness for signal in output.decision.signals} == {"stale"}


def test_writing_needs_the_key_and_reading_does_not(postgres: PostgresDatabase) -> None:
    with running_gateway(postgres, environ={"PYLON_API_KEY": "correct-horse"}) as gateway:
        refused = gateway.post(ACKNOWLEDGE, {"task_id": "a"})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        allowed = gateway.post(ACKNOWLEDGE, {"task_id": "a"}, headers={"Authorization": "Bearer correct-horse"})
        assert allowed.status_code == 200
        assert gateway.get(NEWEST).status_code == 200
