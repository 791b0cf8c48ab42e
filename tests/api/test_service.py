from __future__ import annotations

from datetime import timedelta

import pytest

from api_application import create_app
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from grid_world import NOW, store_grid
from new_database import only_reads
from served import Client, served
from settings import load_settings
from version import VERSION


def test_the_root_says_what_there_is(world: Client) -> None:
    document = world.get("/").json()
    assert (document["service"], document["version"], document["as_of"]) == (
        "pylon-deg api server",
        VERSION,
        "2026-11-22T08:04:11Z",
    )
    assert document["scheduler"] == {"state": "stopped", "next_run_at": None}
    for endpoint in (
        "GET /health",
        "GET /api/v1/live-state",
        "GET /api/v1/ontology",
        "GET /api/v1/objects/<object_type>/<object_id>/links/<link_type>",
        "GET /api/v1/grid/regional",
        "GET /api/v1/grid/forecast",
        "POST /api/v1/workloads",
        "GET /api/v1/workloads/<job_id>",
        "GET /openapi.json",
        "GET /docs",
    ):
        assert endpoint in document["endpoints"]


def test_every_get_endpoint_without_a_variable_answers(world: Client) -> None:
    for endpoint in world.get("/").json()["endpoints"]:
        method, path = endpoint.split(" ")
        if method == "GET" and "<" not in path:
            assert world.get(path).status_code == 200, path


def test_health_is_503_until_there_are_signals_and_200_from_then_on(
    api_through: Client, request: pytest.FixtureRequest
) -> None:
    before = api_through.get("/health")
    assert (before.status_code, before.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(before.headers["Retry-After"]) > 0
    assert (before.json()["state"], before.json()["detail"]) == (
        "starting",
        "the first pipeline run has not finished yet",
    )
    store_grid(request.getfixturevalue("database"), NOW)
    after = api_through.get("/health")
    assert (after.status_code, after.headers["Content-Type"]) == (200, "application/json")
    assert (after.json()["state"], after.json()["newest_signal_age_seconds"]) == ("ok", 0)


@pytest.mark.parametrize(("interval_minutes", "status"), [("30", 503), ("1440", 200)])
def test_signals_are_not_stale_before_the_next_run_is_due(
    postgres: PostgresDatabase, interval_minutes: str, status: int
) -> None:
    store_grid(postgres, NOW - timedelta(hours=24))
    settings = load_settings({"PIPELINE_INTERVAL_MINUTES": interval_minutes})
    with served(create_app(postgres, settings, clock=lambda: NOW)) as api:
        assert api.get("/health").status_code == status


@pytest.mark.own_database
def test_a_database_that_takes_no_writes_is_not_ok(postgres: PostgresDatabase, conninfo: str) -> None:
    store_grid(postgres, NOW)
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as api:
        assert api.get("/health").json()["state"] == "ok"
        only_reads(conninfo, True)
        found = api.get("/health")
        assert (found.status_code, found.json()["state"]) == (200, "degraded")
        assert "takes no writes" in found.json()["reasons"][0]


def test_a_disk_that_is_nearly_full_is_not_ok(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_application.data_disk_troubles", lambda _: ["the disk has 3 MB left"])
    store_grid(postgres, NOW)
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as api:
        found = api.get("/health").json()
        assert (found["state"], found["reasons"]) == ("degraded", ["the disk has 3 MB left"])


def test_a_database_that_is_away_is_503_and_the_rest_goes_on() -> None:
    away = SupabaseDatabase("http://127.0.0.1:9", "a-key")
    with served(create_app(away, load_settings({}), clock=lambda: NOW)) as api:
        health = api.get("/health")
        assert (health.status_code, health.headers["Content-Type"]) == (503, "application/problem+json")
        assert (health.json()["state"], health.json()["database"]) == ("stale", "unreachable")
        assert "the database cannot be reached" in health.json()["detail"]
        assert [api.get(path).status_code for path in ("/", "/docs", "/openapi.json")] == [200, 200, 200]
    away.close()


def test_the_documentation_page_and_its_files_come_from_here(world: Client) -> None:
    page = world.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "http" not in page.text.replace("http-equiv", "")
    for file in ("docs/css/swagger-ui.css", "docs/js/swagger-ui-bundle.js"):
        assert file in page.text
        found = world.get(f"/{file}")
        assert (found.status_code, len(found.content) > 10_000) == (200, True)
    assert world.get("/docs/../api_server.py").status_code == 404
    assert world.get("/docs/%2e%2e/%2e%2e/__init__.py").status_code == 404


def test_head_and_options_answer_and_other_methods_are_405_with_what_is_allowed(world: Client) -> None:
    for path, others in (("/", ""), ("/health", ""), ("/api/v1/live-state", ""), ("/api/v1/workloads", "POST")):
        read = world.get(path)
        head = world.request("HEAD", path)
        assert (head.status_code, head.content, head.headers["Content-Type"]) == (
            read.status_code,
            b"",
            read.headers["Content-Type"],
        )
        allowed = {"GET", "HEAD", "OPTIONS"} | ({others} if others else set())
        options = world.request("OPTIONS", path)
        assert (options.status_code, set(options.headers["Allow"].split(", "))) == (200, allowed)
        refused = world.request("DELETE", path)
        assert (refused.status_code, set(refused.headers["Allow"].split(", "))) == (405, allowed)
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["detail"] == f"DELETE is not allowed at {path}"


@pytest.mark.parametrize("path", ["/nothing", "/api/v1", "/api//v1/workloads", "/health/", "/%00", "/%F0%9F%8F%AD"])
def test_an_unknown_address_is_404(world: Client, path: str) -> None:
    answer = world.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert "GET / lists the endpoints" in answer.json()["detail"]
