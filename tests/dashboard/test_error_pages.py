"""What goes wrong is a page of the dashboard for browsers, and a problem document for everybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.errors import DatabaseError, DatabaseUnreachable
from database.postgres import PostgresDatabase
from grid_world import NOW
from new_database import new_database
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, gate_of, make_operators
from web.problems import Problem

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HOSTILE = "<img src=x onerror=alert(1)>"
TROUBLES = {
    "refused": Problem(403, "pages from there may not"),
    "unknown": Problem(404, "there is no such workload", known=["a"]),
    "faulty": Problem(422, f"invalid: a ({HOSTILE})", errors=[{"field": HOSTILE, "message": "must be a number"}]),
    "often": Problem(429, "600 requests a minute are too many", headers={"Retry-After": "42"}),
    "broken": ZeroDivisionError("a secret"),
    "busy": Problem(503, "another plan is being worked out"),
    "away": DatabaseUnreachable("connection refused"),
    "not-done": DatabaseError("no"),
}


@pytest.fixture(scope="module")
def troubled(postgres_server: EmbeddedPostgres) -> Iterator[Client]:
    """A server with a page for each trouble."""

    def trouble(kind: str) -> str:
        raise TROUBLES[kind]

    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        app = create_app(database, load_settings({}), clock=lambda: NOW)
        app.add_url_rule("/dashboard/orders/trouble/<kind>", view_func=trouble)
        with served(app) as client:
            yield client
        database.close()


@pytest.mark.parametrize(
    ("kind", "status", "heading", "again_s"),
    [
        ("refused", 403, "Not yours to see", None),
        ("unknown", 404, "Nothing is here", None),
        ("faulty", 422, "This cannot be asked for", None),
        ("often", 429, "Too many requests", 42),
        ("broken", 500, "Something went wrong here", None),
        ("busy", 503, "Not at the moment", 5),
        ("away", 503, "The database is away", 5),
        ("not-done", 503, "Not at the moment", 5),
    ],
)
def test_a_browser_reads_what_went_wrong_and_where_to_go_on(
    troubled: Client, kind: str, status: int, heading: str, again_s: int | None
) -> None:
    path = f"/dashboard/orders/trouble/{kind}"
    page = troubled.get(path, headers=HTML)
    assert page.status_code == status
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"
    assert f"<h1>{heading}</h1>" in page.text
    assert 'href="/dashboard/orders">Back to Orders</a>' in page.text
    assert page.headers["X-Request-ID"] in page.text
    assert "a secret" not in page.text
    assert "<img" not in page.text
    # It asks again by itself, with a script and without, where that may help.
    assert (f'data-retry="{again_s}"' in page.text) == (again_s is not None)
    assert (f'http-equiv="refresh" content="{again_s}"' in page.text) == (again_s is not None)
    assert ("Retry-After" in page.headers) == (again_s is not None)
    for accepted in ("*/*", "application/json"):
        document = is_problem(troubled.get(path, headers={"Accept": accepted}), status)
        assert document["status"] == status


def test_every_fault_is_told_by_its_name(troubled: Client) -> None:
    page = troubled.get("/dashboard/orders/trouble/faulty", headers=HTML)
    assert "<strong>&lt;img src=x onerror=alert(1)&gt;</strong>: must be a number" in page.text


def test_an_unknown_path_is_a_page_with_a_way_back(api: Client) -> None:
    page = api.get("/dashboard/nowhere/%3Cb%3E", headers=HTML)
    assert page.status_code == 404
    assert "There is no page at /dashboard/nowhere/&lt;b&gt;." in page.text
    assert 'href="/dashboard/">Back to Now</a>' in page.text
    known = api.get("/dashboard/workloads/nothing", headers=HTML)
    assert known.status_code == 404
    assert 'href="/dashboard/workloads">Back to Workloads</a>' in known.text
    assert api.request("HEAD", "/dashboard/nowhere", headers=HTML).status_code == 404


def test_addresses_of_json_answer_json_even_to_a_browser(api: Client) -> None:
    for path in ("/dashboard/api/v1/workloads/nothing", "/api/v1/workloads/nothing", "/nowhere"):
        is_problem(api.get(path, headers=HTML), 404)


def test_the_dashboard_without_its_slash_leads_there(api: Client) -> None:
    led = api.get("/dashboard", headers=HTML, allow_redirects=False)
    assert (led.status_code, led.headers["Location"]) == (308, "/dashboard/")


def test_what_the_guard_refuses_is_a_page_too(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    gate = gate_of(conninfo)
    postgres.call("tenancy_set_limit", {"p_operator": A, "p_name": "requests_per_minute", "p_capacity": 3})
    with api_with_tenants(postgres, gate) as client:
        reader = bearer(made_key(postgres, A, Role.READER)[0].text)
        page = client.get("/dashboard/operations", headers=reader | HTML)
        assert page.status_code == 403
        assert "<h1>Not yours to see</h1>" in page.text
        assert "platform:read" in page.text
        assert 'href="/dashboard/sign-in">sign in with another</a>' in page.text
        is_problem(client.get("/dashboard/operations", headers=reader), 403)
        answers = [client.get("/dashboard/orders", headers=reader | HTML) for _ in range(20)]
        often = next(answer for answer in answers if answer.status_code == 429)
        assert "<h1>Too many requests</h1>" in often.text
        assert f'data-retry="{often.headers["Retry-After"]}"' in often.text or 'data-retry="5"' in often.text
        nowhere = client.get("/dashboard/nowhere", headers=HTML, allow_redirects=False)
        assert nowhere.status_code == 303  # strangers hear nothing of what there is
        assert client.get("/dashboard/nowhere", headers=bearer(PLATFORM_KEY) | HTML).status_code == 404
    gate.close()
