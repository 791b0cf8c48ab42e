"""Joint plans and back-tests as forms over real HTTP: figures are those of the endpoints, and faults are told."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest

from api.joint_answer import JointPlanAnswer
from api.what_if import ConcurrencyLimit
from dashboard.gantt import draw_gantt, in_order, plan_axis, power_panels
from dashboard.plans import EXAMPLE
from dashboard.words import grams, pounds
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, store_grid, store_world
from served import Client

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
JOBS: list[dict[str, Any]] = [
    {"job_id": "first", "workload_type": "TRAINING_RUN", "estimated_energy_kwh": 8000, "deferral_window_mins": 600},
    {"job_id": "second", "workload_type": "TRAINING_RUN", "estimated_energy_kwh": 9000, "deferral_window_mins": 600},
    {"job_id": "never", "workload_type": "OTHER", "carbon_cap_gco2": 1},
]


def plan_page(api: Client, workloads: object, **more: str) -> str:
    asked = {"workloads": workloads if isinstance(workloads, str) else json.dumps(workloads), **more}
    page = api.get(f"/dashboard/plan?{urlencode(asked)}")
    assert page.status_code == 200
    return page.text


def test_the_form_begins_with_an_example_that_can_be_planned(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = api.get("/dashboard/plan").text
    assert "&#34;train-1&#34;" in page
    assert "POST /api/v1/plan/batch" in page
    assert f"of {len(EXAMPLE)}</small>" in plan_page(api, list(EXAMPLE))


def test_a_joint_plan_is_that_of_its_endpoint(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = plan_page(api, JOBS, policy="cost")
    found = api.post("/api/v1/plan/batch", {"workloads": JOBS, "policy": "cost"}).json()
    assert grams(found["totals"]["carbon_gco2"]) in page
    assert pounds(found["totals"]["cost_gbp"]) in page
    assert "left out: its own constraints stand in the way" in page
    assert found["jobs"][2]["violations"][0]["message"] in page
    assert page.count('<rect class="run" x=') == sum(len(job["stretches"]) for job in found["jobs"])


def test_the_picture_has_every_stretch_where_it_is(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    found = JointPlanAnswer.model_validate(api.post("/api/v1/plan/batch", {"workloads": JOBS}).json())
    axis = plan_axis(found)
    assert axis.start == half_hour_of(NOW)
    assert all(job.end is None or job.end <= axis.end for job in found.jobs)
    drawn = ElementTree.fromstring(draw_gantt(found, axis, {}))
    names = [text.text for text in drawn.iter("text") if text.get("class") == "job-name"]
    assert [name.strip() for name in names if name] == [job.job_id for job in in_order(found)]
    assert names[-1] == "never "
    run = next(rect for rect in drawn.iter("rect") if rect.get("class") == "run")
    first = in_order(found)[0].stretches[0]
    share = (first.end - first.start) / (axis.half_hours * HALF_HOUR)
    assert float((run.get("width") or "").rstrip("%")) == pytest.approx(100 * share, abs=0.01)
    assert power_panels(found, axis, {"DC-001": "One"})[0].title == "One"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"workloads": "[{"}, "is no JSON"),
        ({"workloads": "[]"}, "workloads"),
        ({"workloads": '[{"workload_type": "MOON"}]'}, "0.workload_type"),
        ({"workloads": '[{"workload_type": "OTHER", "host_dc_id": "nowhere"}]'}, "nowhere"),
        ({"workloads": json.dumps(HOSTILE)}, "workloads"),
        ({"workloads": "[1]", "time_limit_s": "soon"}, "time_limit_s"),
        ({"workloads": "[" * 2000}, "is no JSON"),
    ],
)
def test_a_fault_of_a_joint_plan_is_told(
    api: Client, postgres: PostgresDatabase, asked: dict[str, str], told: str
) -> None:
    store_world(postgres)
    page = plan_page(api, **asked)
    assert "Not answered" in page
    assert told in page
    assert "<script>" not in page
    assert "The plan</h2>" not in page


def test_while_another_is_worked_out_it_says_so(
    api: Client, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_world(postgres)
    monkeypatch.setattr(ConcurrencyLimit, "take", ConcurrencyLimit(0, 0.0).take)
    page = api.get(f"/dashboard/plan?{urlencode({'workloads': json.dumps(JOBS)})}")
    assert page.status_code == 503
    assert "try again in a few seconds" in page.text


def test_a_back_test_is_that_of_its_endpoint(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    store_grid(postgres, NOW - timedelta(hours=48))
    workload: dict[str, Any] = {"workload_type": "TRAINING_RUN", "required_gpu_mins": 60, "deferral_window_mins": 120}
    asked = {"from": "2026-11-21T08:00:00Z", "to": "2026-11-21T20:00:00Z", "every_minutes": 120}
    found = api.post("/api/v1/backtest", {"workloads": [workload], **asked}).json()
    page = api.get(f"/dashboard/backtest?{urlencode({**workload, **asked})}").text
    assert "6 moments, each decided on what was known then" in page
    for policy in found["workloads"][0]["policies"]:
        assert policy["compared"] > 0
        assert grams(policy["realised"]["carbon_gco2"]) in page
        assert f'<th scope="row">{policy["policy"]}</th>' in page
    assert found["accounting"][0][:60] in page


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("from=2026-11-23T08:00", "from"),
        ("to=2027-11-23T08:00", "to"),
        ("every_minutes=7", "every_minutes"),
        ("required_gpu_mins=-1", "required_gpu_mins"),
        ("host_dc_id=nowhere", "host_dc_id"),
    ],
)
def test_a_fault_of_a_back_test_is_told_at_its_field(
    api: Client, postgres: PostgresDatabase, asked: str, field: str
) -> None:
    store_world(postgres)
    page = api.get(f"/dashboard/backtest?workload_type=OTHER&{asked}")
    assert page.status_code == 200
    assert re.search(rf'id="{field}-fault"', page.text)
