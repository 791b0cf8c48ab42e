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
