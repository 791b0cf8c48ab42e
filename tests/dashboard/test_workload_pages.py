"""The pages of workloads and data centres over real HTTP."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboard.data_centres import cleanest
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from linked_world import store_linked_world
from served import Client

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}'


def test_without_a_workload_the_list_says_how_to_submit_one(api: Client) -> None:
    page = api.get("/dashboard/workloads")
    assert "No workload yet" in page.text
    assert "/api/v1/workloads" in page.text
    assert "<tbody>" not in page.text


def test_the_list_is_paged_and_filtered_in_the_address(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, *(workload(f"job-{n:03d}") for n in range(70)), workload("other", workload_type="OTHER"))
    first = api.get("/dashboard/workloads?workload_type=INFERENCE_BATCH")
    assert "70 workloads match, newest first" in first.text
    assert first.text.count("<tr data-row=") == 50
    (older,) = re.findall(r'href="([^"]+after=[^"]+)"', first.text)
    second = api.get(older.replace("&amp;", "&"))
    assert second.text.count("<tr data-row=") == 20
    jobs = [set(re.findall(r"/dashboard/workloads/(job-\d+)", page.text)) for page in (first, second)]
    assert len(jobs[0] | jobs[1]) == 70
    assert "other" in api.get("/dashboard/workloads?workload_type=OTHER").text
    assert "None matches" in api.get("/dashboard/workloads?status=FAILED").text


def test_a_filter_that_cannot_be_is_told_and_the_list_is_shown(api: Client) -> None:
    page = api.get("/dashboard/workloads?status=NONSENSE")
    assert page.status_code == 200
    assert "These filters cannot be: status" in page.text


def test_the_endpoint_filters_and_counts_as_the_page_does(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("job-1", host_dc_id="DC-001"), workload("job-2", workload_type="OTHER"))
    found = api.get("/api/v1/workloads?host_dc_id=DC-001&count=true").json()
    assert ([row["job_id"] for row in found["workloads"]], found["matching"]) == (["job-1"], 1)
    assert [row["job_id"] for row in api.get("/api/v1/workloads?workload_type=OTHER").json()["workloads"]] == [
        "job-2"
    ]
    assert "matching" not in api.get("/api/v1/workloads").json()


def test_what_if_answers_beside_the_form_and_stores_nothing(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = api.get("/dashboard/workloads/new?workload_type=TRAINING_RUN&required_gpu_mins=120&urgency=LOW")
    assert "Considered and chosen" in page.text
    assert page.text.count('<tr class="chosen">') == 1
    assert page.text.count("more, all told") == 2
    assert 'value="120"' in page.text
    assert api.get("/api/v1/workloads").json()["workloads"] == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("required_gpu_mins=-4", "required_gpu_mins"),
        ("required_gpu_mins=abc", "required_gpu_mins"),
        ("deadline=2020-01-01T00:00", "deadline"),
        ("job_id=%3Cscript%3E", "job_id"),
        ("host_dc_id=nowhere", "host_dc_id"),
    ],
)
def test_a_fault_of_a_what_if_is_told_at_its_field(
    api: Client, postgres: PostgresDatabase, asked: str, field: str
) -> None:
    store_world(postgres)
    page = api.get(f"/dashboard/workloads/new?workload_type=OTHER&{asked}")
    assert page.status_code == 200
    assert f'id="{field}-fault"' in page.text or f'<span class="field-error">{field}:' in page.text
    assert "Considered and chosen" not in page.text


def test_one_workload_shows_its_life_and_its_unknown_is_404(api: Client, postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    page = api.get("/dashboard/workloads/job-1")
    for step in ("Submitted", "Decided", "Starts", "Ends", "Metered", "Accounted"):
        assert f'<span class="step">{step}' in page.text
    assert "0.576 kWh in 1 half-hour, simulated" in page.text
    assert '>Sun 22 Nov 08:04 UTC</time> <span class="soft small">08:04 GMT</span>' in page.text
    assert "It is the greenest." in page.text
    assert api.get("/dashboard/workloads/nothing").status_code == 404


def test_hostile_texts_stay_text(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    postgres.insert("operators", [{"operator_id": "OP-X", "name": HOSTILE, "operator_type": "OTHER"}])
    submit(postgres, workload("job-1", operator="OP-X", host_dc_id="DC-001"))
    postgres.call("cancel_workload", {"p_job_id": "job-1", "p_reason": HOSTILE, "p_now": NOW})
    for path in (
        "/dashboard/workloads",
        f"/dashboard/workloads?operator={HOSTILE}",
        "/dashboard/workloads/job-1",
        "/dashboard/data-centres/DC-001",
        f"/dashboard/workloads/new?workload_type=OTHER&job_id={HOSTILE}",
    ):
        page = api.get(path)
        assert "<img" not in page.text, path
        assert "<script>" not in page.text, path
        assert "49" not in re.findall(r"&lt;/script&gt;(\w*)", page.text), path


def test_data_centres_are_listed_with_their_good_windows(api: Client, postgres: PostgresDatabase) -> None:
    assert "There is no data centre yet" in api.get("/dashboard/data-centres").text
    store_world(postgres)
    page = api.get("/dashboard/data-centres")
    assert page.text.count('href="/dashboard/data-centres/DC-') == 3
    assert "10.00" in page.text  # MW free of 20
    assert "Sun 22 Nov 08:00, 10" in page.text  # starting earlier is always greener here


def test_a_data_centre_shows_its_power_by_the_half_hour(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    page = api.get("/dashboard/data-centres/DC-001")
    assert "IT power of Data centre 1: 10.00 MW free now" in page.text
    assert page.text.count('<svg class="chart"') == 3
    assert api.get("/dashboard/data-centres/nowhere").status_code == 404


@pytest.mark.parametrize(
    ("values", "length", "found"),
    [
        ([3.0, 1.0, 2.0, 0.5], 2, (2, 1.25)),
        ([1.0, 1.0, 1.0], 2, (0, 1.0)),
        ([None, 1.0, None], 2, None),
        ([1.0], 2, None),
        ([0.0, 0.0, None], 2, (0, 0.0)),
    ],
)
def test_the_cleanest_window(values: list[Any], length: int, found: tuple[int, float] | None) -> None:
    assert cleanest(values, length) == found
