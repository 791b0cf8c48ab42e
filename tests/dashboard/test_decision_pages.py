"""The pages of decisions over real HTTP: as they come, one of them, and those that cannot be shown whole."""

from __future__ import annotations

import re

from dashboard.words import grams, pounds
from database.postgres import PostgresDatabase
from grid_world import store_world, submit, workload
from linked_world import decision, store_linked_world
from running_gateway import workers_on
from served import Client

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}'
ONE = re.compile(r'href="(/dashboard/decisions/[0-9a-f-]{36})"')


def test_without_a_decision_it_says_how_one_comes(api: Client) -> None:
    page = api.get("/dashboard/decisions")
    assert "No decision yet" in page.text
    assert "<tbody>" not in page.text


def test_the_figures_are_those_of_its_json(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("placed"), workload("waits", carbon_cap_gco2=1))
    workers_on(postgres).work_once()
    page = api.get("/dashboard/decisions")
    rows = {row["job_id"]: row for row in api.get("/api/v1/decisions?limit=50").json()["decisions"]}
    assert 'href="/dashboard/api/v1/decisions?limit=50"' in page.text
    placed = rows["placed"]
    for shown in (
        pounds(placed["runner_up"]["margin_gbp"], 4),
        grams(placed["estimates"]["run_now"]["carbon_gco2"]),
        grams(placed["estimates"]["recommended"]["carbon_gco2"]),
        "of 3 considered",
        "deferred: carbon",
        rows["waits"]["waiting"]["reason"],
    ):
        assert shown in page.text, shown
    assert page.text.count('<td class="number soft">–</td>') == 4  # nothing is 0 of what is not placed


def test_one_decision_shows_every_option_and_what_would_change_it(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("placed", deferral_window_mins=600))
    workers_on(postgres).work_once()
    (path,) = ONE.findall(api.get("/dashboard/decisions").text)
    page = api.get(path)
    assert "3 data centres considered, 1 chosen" in page.text
    assert page.text.count("more, all told") == 2
    assert "What would change the answer" in page.text
    assert f'href="/dashboard/api/v1/objects/OrchestrationDecision/{path.rsplit("/", 1)[1]}"' in page.text
    (again,) = re.findall(r'href="(/dashboard/workloads/new[?][^"]+)"', page.text)
    assert "Considered and chosen" in api.get(again.replace("&amp;", "&")).text


def test_filters_stand_in_the_address_and_impossible_ones_are_told(api: Client, postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    assert ">job-1<" in api.get("/dashboard/decisions?job_id=job-1").text
    assert "None matches" in api.get("/dashboard/decisions?job_id=job-9").text
    for asked in ("scorer=moon", "after=x"):
        page = api.get(f"/dashboard/decisions?{asked}")
        assert page.status_code == 200
        assert "These filters cannot be" in page.text


def test_an_output_of_an_earlier_shape_is_told_and_a_missing_decision_is_404(
    api: Client, postgres: PostgresDatabase
) -> None:
    store_linked_world(postgres)
    postgres.insert("orchestration_decisions", [decision("job-2", 2, reasoning=HOSTILE)])
    for path in ("/dashboard/decisions", *ONE.findall(api.get("/dashboard/decisions").text)):
        page = api.get(path)
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "<script>" not in page.text
    assert "of an earlier shape" in page.text
    for unknown in ("x", "00000000-0000-4000-8000-000000000000"):
        assert api.get(f"/dashboard/decisions/{unknown}").status_code == 404
