"""The pages in Debian's Chromium: by keyboard, on a narrow screen, in both themes, with hostile texts, offline."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from api_server import create_app
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from metered_runs import metered_run, run_now
from new_database import new_database
from running_gateway import workers_on
from served import Client, served
from settings import load_settings
from stored_order import ORDER, store_order

HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=1</script>'
PAGES = (
    "/dashboard/",
    "/dashboard/regions/13",
    "/dashboard/data-centres",
    "/dashboard/data-centres/DC-001",
    "/dashboard/workloads",
    "/dashboard/workloads/new?workload_type=TRAINING_RUN&required_gpu_mins=120",
    "/dashboard/workloads/job-1",
    "/dashboard/decisions",
    "/dashboard/decisions/{decision}",
    "/dashboard/orders",
    f"/dashboard/orders/{ORDER}",
    '/dashboard/plan?workloads=[{"job_id":"a","workload_type":"OTHER"},{"workload_type":"OTHER","carbon_cap_gco2":1}]',
    "/dashboard/plan?workloads=x",
    "/dashboard/backtest?workload_type=OTHER&from=2026-11-22T00:00",
    "/dashboard/operations",
    "/dashboard/keys",
    "/dashboard/audit",
    "/dashboard/savings?to=2026-11-23T08:00",
    "/dashboard/sign-in",
    "/dashboard/nowhere",
)
NARROW: ViewportSize = {"width": 320, "height": 640}
WIDE: ViewportSize = {"width": 1280, "height": 800}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres) -> Iterator[Client]:
    """A world with three data centres, a workload of a hostile reason and one that ran. No gateway is there."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_world(database)
        submit(database, workload("job-1", host_dc_id="DC-001"), workload("job-2"))
        database.call("cancel_workload", {"p_job_id": "job-1", "p_reason": HOSTILE, "p_now": NOW})
        metered_run(database, "ran-1", dc_id="DC-002", run_now=run_now(dc_id="DC-003"))
        store_order(database, terms={"lines": HOSTILE})
        submit(database, workload("decided-1", deferral_window_mins=600))
        workers_on(database).work_once()
        with served(create_app(database, load_settings({"BG_PORT": "9"}), clock=lambda: NOW)) as client:
            yield client
        database.close()


def address(site: Client, path: str) -> str:
    """Where a page is: `{decision}` is the newest one's."""
    if "{decision}" in path:
        path = path.format(decision=site.get("/api/v1/decisions?limit=1").json()["decisions"][0]["decision_id"])
    return site.url + path


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    errors: list[str] = []
    hosts: set[str | None] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    yield page
    context.close()
    assert errors == []
    assert hosts <= {"127.0.0.1", None}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(browser: Browser, site: Client, path: str, theme: str) -> None:
    context = browser.new_context(
        viewport=WIDE, color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address(site, path))
    found = Axe().run(page, options=RULES)
    context.close()
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_scrolls_sideways_at_320_pixels(page: Page, site: Client, path: str) -> None:
    page.set_viewport_size(NARROW)
    page.goto(address(site, path))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_slider_goes_by_keyboard_and_takes_map_list_and_cursor_along(page: Page, site: Client) -> None:
    page.goto(site.url + "/dashboard/")
    slider = page.get_by_label("Half-hour shown on the map")
    london = page.locator(".area[data-region='13'] .area-figure")
    expect(london).to_have_text("130")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(london).to_have_text("131")
    page.keyboard.press("PageUp")
    expect(london).to_have_text("133")
    assert slider.get_attribute("aria-valuetext") == "Sun 22 Nov 09:30 UTC, in 1 h 26 min"
    expect(page.locator("#charts.has-cursor")).to_have_count(1)
    expect(page.locator("#ranked li[data-region='13'] .figure")).to_have_text("133")
    page.keyboard.press("End")
    expect(london).to_have_text("225")
    page.keyboard.press("Home")
    expect(london).to_have_text("130")


def test_playing_stops_when_it_is_told_to(page: Page, site: Client) -> None:
    page.goto(site.url + "/dashboard/")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".area[data-region='13'] .area-figure")).not_to_have_text("130")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_without_a_script_every_page_is_readable(browser: Browser, site: Client) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for path in PAGES:
        page.goto(address(site, path))
        expect(page.locator("h1")).to_be_visible()
    page.goto(site.url + "/dashboard/")
    expect(page.locator(".area[data-region='13'] .area-figure")).to_have_text("130")
    expect(page.locator("[data-map-slider]")).to_be_hidden()
    context.close()


def test_hostile_texts_run_nothing(page: Page, site: Client) -> None:
    page.goto(site.url + "/dashboard/workloads/job-1")
    assert page.title() == "job-1 · Pylon DEG"
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    assert page.locator("img").count() == 0


def test_a_job_is_submitted_by_keyboard_and_cancelled(page: Page, site: Client) -> None:
    page.goto(site.url + "/dashboard/workloads/new")
    page.get_by_label("Job id").focus()
    page.keyboard.type("typed-1")
    page.get_by_role("button", name="Submit").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/workloads/typed-1")
    page.get_by_label("Why, in a few words").fill("a mistake")
    page.get_by_role("button", name="Cancel this workload").press("Enter")
    expect(page.get_by_text("Cancelled", exact=False).first).to_be_visible()
    assert site.get("/api/v1/workloads/typed-1").json()["status"] == "CANCELLED"


def test_a_fault_is_told_at_its_field(page: Page, site: Client) -> None:
    page.goto(site.url + "/dashboard/workloads/new")
    page.get_by_label("Deadline, UTC").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Submit").press("Enter")
    expect(page.locator("#deadline-fault")).to_contain_text("is not in the future")
    expect(page.get_by_label("Deadline, UTC")).to_be_focused()
