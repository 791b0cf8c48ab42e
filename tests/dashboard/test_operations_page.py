"""The page for whoever runs the platform: queues, what was given up, runs, sources, operators; and its endpoints."""

from __future__ import annotations

import re
from datetime import timedelta
from xml.etree import ElementTree

import psycopg
import pytest

from api.pipeline_runs import PipelineRun
from dashboard.operations import draw_strip, stages_of
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, store_world, submit, workload
from linked_world import decision
from running_gateway import workers_on
from served import Client
from tenant_settings import is_problem

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
QUEUES, REQUEUE = "/api/v1/queues", "/api/v1/queues/requeue"


def give_up(database: PostgresDatabase, error: str) -> None:
    """Every attempt at the one notification has failed."""
    with psycopg.connect(database.conninfo) as session:
        session.execute(
            "update workload_notifications set work_state = 'discarded', attempt = 5, last_error = %s,"
            " finished_at = now()",
            [error],
        )


def run(slots_ago: int, state: str) -> PipelineRun:
    slot = half_hour_of(NOW) - slots_ago * HALF_HOUR
    return PipelineRun.model_validate(
        {
            "slot": slot,
            "state": state,
            "started_at": slot,
            "finished_at": slot + timedelta(seconds=2),
            "attempt": 1,
            "sources": {},
            "counts": {},
            "stages_ms": {"fetch": 30.0, "store": 120.0},
            "error": None,
        }
    )


def test_before_anything_ran_nothing_is_made_up(api: Client) -> None:
    page = api.get("/dashboard/operations")
    assert page.status_code == 200
    assert "No run has ended yet" in page.text
    assert "48 none" in page.text
    assert "Workloads that were given up" not in page.text
    assert f'href="/dashboard{QUEUES}"' in page.text


def test_what_was_given_up_is_shown_with_its_error_and_put_back(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("dead-1"))
    give_up(postgres, HOSTILE)
    page = api.get("/dashboard/operations")
    assert "dead-1" in page.text
    assert "<img" not in page.text
    assert '<strong class="bad">1</strong>' in page.text
    found = api.get(QUEUES).json()
    assert [(one["name"], one["dead"]) for one in found["queues"]] == [
        ("decisions", 1),
        ("beckn_inbox", 0),
        ("beckn_outbox", 0),
        ("openadr_webhooks", 0),
    ]
    (dead,) = found["dead"]
    assert (dead["job_id"], dead["attempts"], dead["last_error"]) == ("dead-1", 5, HOSTILE)
    assert api.post(REQUEUE, {"notification_ids": [dead["notification_id"] + 7]}).json() == {"requeued": 0}
    (form,) = re.findall(r'data-json="/dashboard(/api/v1/queues/requeue)"', page.text)
    assert api.post(form, {}).json() == {"requeued": 1}
    assert api.get(QUEUES).json()["dead"] == []
    assert "Workloads that were given up" not in api.get("/dashboard/operations").text


@pytest.mark.parametrize("body", [{"notification_ids": ["1"]}, {"notification_ids": [-1]}, {"x": 1}, []])
def test_what_cannot_be_put_back_is_refused(api: Client, body: object) -> None:
    is_problem(api.post(REQUEUE, body), 422)


def test_the_strip_has_a_box_a_half_hour_and_tells_states_by_shape() -> None:
    drawn = ElementTree.fromstring(draw_strip([run(0, "running"), run(1, "partial"), run(5, "failed")], NOW))
    boxes = drawn.findall("rect")
    assert len(boxes) == 48
    assert [(box.get("class"), box.get("height")) for box in (boxes[47], boxes[46], boxes[45], boxes[42])] == [
        ("slot-running", "24"),
        ("slot-partial", "13"),
        ("slot-none", "2"),
        ("slot-failed", "6"),
    ]
    assert "45 none, 1 failed" in (drawn.get("aria-label") or "")


def test_stages_are_in_the_order_of_their_length() -> None:
    assert [(stage.name, stage.per_cent) for stage in stages_of(run(0, "succeeded"))] == [
        ("store", 100.0),
        ("fetch", 25.0),
    ]


def test_who_decides_with_which_model_and_tokens_is_told_and_what_the_streams_are_fed_from(
    api: Client, postgres: PostgresDatabase
) -> None:
    assert "No gateway has been started" in api.get("/dashboard/operations").text
    store_world(postgres)
    arguments = {"p_agent_id": "gateway:host:5050", "p_name": HOSTILE, "p_agent_type": "GATEWAY", "p_version": "1"}
    postgres.call("register_agent", {**arguments, "p_detail": "starts"})
    slow = {"p_agent_id": "gateway:host:5050", "p_state": "DETERMINISTIC", "p_detail": "the model is slow"}
    postgres.call("record_agent_state", slow)
    submit(postgres, workload("job-1"), workload("job-2"))
    workers_on(postgres).work_once()
    usage = {"calls": 2, "prompt_tokens": 1200, "thinking_tokens": 30, "answer_tokens": 70}
    asked = {"scorer": "gemini", "model": "a-model", "fallback_reason": "too slow", "token_usage": usage}
    postgres.insert("agents", [{"agent_id": "AGENT-1", "name": "Another", "agent_type": "OTHER"}])
    postgres.insert("orchestration_decisions", [decision("job-1", 100, decided_at=NOW, **asked)])
    told = api.get("/api/v1/operations").json()
    assert [(one["agent_id"], one["state"]) for one in told["gateways"]] == [("gateway:host:5050", "DETERMINISTIC")]
    deciding = told["deciding"]
    assert (deciding["decisions"], deciding["is_whole"]) == (3, True)
    assert deciding["by_scorer"] == {"deterministic": 2, "gemini": 1}
    assert (deciding["prompt_tokens"], deciding["answer_tokens"], deciding["model_calls"]) == (1200, 70, 2)
    assert told["events"]["newest"] >= 2
    assert told["events"]["last_hour"]["decisions"] == 2
    page = api.get("/dashboard/operations").text
    assert "the model is slow" in page
    assert "1\u202f200 read, 30 thought, 70 written, in 2 calls" in page
    assert "1 × too slow" in page
    assert "<img" not in page


def test_dead_messages_are_listed_with_what_was_wrong(api: Client, postgres: PostgresDatabase) -> None:
    with psycopg.connect(postgres.conninfo) as session:
        session.execute(
            "insert into beckn_outbox (sender, origin, recipient, recipient_type, action, domain, transaction_id,"
            " message_id, work_state, attempt, last_error, expires_at, finished_at)"
            " values ('bpp.example', 'bpp.example', 'bap.example', 'BAP', 'on_confirm', 'x', gen_random_uuid(),"
            " gen_random_uuid(), 'discarded', 7, %s, now(), now())",
            [HOSTILE],
        )
    page = api.get("/dashboard/operations").text
    assert "Messages that were given up" in page
    assert "on_confirm" in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert len(api.get("/api/v1/operations").json()["dead_letters"]["outbox"]) == 1
