"""The pages in Debian's Chromium: by keyboard, on a narrow screen, in both themes, with hostile texts, offline."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from every_page import HOSTILE, PAGES, address, store_every_page
from execution.bookings import executor_of_bookings
from grid_world import NOW, store_world
from new_database import new_database
from running_gateway import workers_on
from served import Client, served
from settings import load_settings
from stored_order import ORDER

NARROW: ViewportSize = {"width": 320, "height": 640}
WIDE: ViewportSize = {"width": 1280, "height": 800}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture(scope="module")
def site_database(postgres_server: EmbeddedPostgres) -> Iterator[PostgresDatabase]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_every_page(database)
        yield database
        database.close()


@pytest.fixture(scope="module")
def site(site_database: PostgresDatabase) -> Iterator[Client]:
    """The pages of that world. No gateway is there."""
    with served(create_app(site_database, load_settings({"BG_PORT": "9"}), clock=lambda: NOW)) as client:
        yield client


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


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_scrolls_sideways_at_320_pixels_and_axe_finds_nothing(
    browser: Browser, site: Client, path: str, theme: str
) -> None:
    context = browser.new_context(
        viewport=NARROW, color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address(site, path))
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size(WIDE)
    found = Axe().run(page, options=RULES)
    context.close()
    assert width <= 320
    assert found.violations_count == 0, found.generate_report()


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
    for path in PAGES:
        page.goto(address(site, path))
        assert page.title().endswith("Pylon DEG"), path
        assert page.locator("img").count() == 0, path
    page.goto(site.url + "/dashboard/workloads/job-1")
    expect(page.get_by_text(HOSTILE).first).to_be_visible()


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


@pytest.mark.thorough
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_documentation_is_as_readable_as_the_pages(browser: Browser, site: Client, theme: str) -> None:
    context = browser.new_context(viewport=WIDE, color_scheme="dark" if theme == "dark" else "light")
    page = context.new_page()
    page.goto(site.url + "/docs")
    operation = page.locator(".opblock-summary-control").first
    operation.wait_for()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    operation.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".opblock.is-open")).to_have_count(1)
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()


def test_a_job_goes_by_keyboard_alone_from_its_submission_to_its_account(
    page: Page, site: Client, site_database: PostgresDatabase
) -> None:
    page.goto(site.url + "/dashboard/workloads/new")
    tab_to(page, "#job_id")
    page.keyboard.type("by-keys")
    tab_to(page, "#required_gpu_mins")
    page.keyboard.type("60")
    tab_to(page, "button:has-text('Submit')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/workloads/by-keys")
    expect(page.locator(".life .done")).to_have_count(1)
    workers_on(site_database).work_once()
    page.reload()
    expect(page.locator(".life")).to_contain_text("Power held")
    expect(page.get_by_role("heading", name="Considered and chosen")).to_be_visible()
    runs = executor_of_bookings(site_database, worker="test", carbon_price_gbp_per_t=100, clock=lambda: NOW)
    for moment in (NOW, NOW + timedelta(hours=12)):
        while runs.run_due(moment).taken:
            pass
    page.reload()
    for step in ("Submitted", "Decided", "Power held", "Started", "Completed", "Metered", "Accounted"):
        expect(page.locator(".life .done .step", has_text=step)).to_have_count(1)
    expect(page.locator(".life .to-come")).to_have_count(0)
    tab_to(page, "a:has-text('what was considered')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/decisions/*")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until it has the focus."""
    wanted = page.locator(selector).first
    for _ in range(120):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {selector}")


LISTS = [path for path in PAGES if not any(named in path for named in ("job-1", "{", "DC-001", str(ORDER)))]


@pytest.mark.thorough
def test_every_page_is_whole_without_a_workload_and_with_ten_thousand(page: Page, postgres: PostgresDatabase) -> None:
    page.set_viewport_size(NARROW)
    with served(create_app(postgres, load_settings({"BG_PORT": "9"}), clock=lambda: NOW)) as client:
        # Before anything is there, once there is a grid, and with very many workloads.
        check_whole(page, client, LISTS)
        store_world(postgres)
        with psycopg.connect(postgres.conninfo) as session:
            session.execute("set session_replication_role = replica")  # no notification for each
            session.execute(
                "insert into compute_workloads (job_id, workload_type, urgency, status, is_synthetic, host_dc_id)"
                " select 'many-' || number, 'OTHER', 'LOW', 'COMPLETED', false, 'DC-001'"
                " from generate_series(1, 10000) as number"
            )
        check_whole(page, client, [*LISTS, "/dashboard/data-centres/DC-001", "/dashboard/workloads/many-1"])
        page.goto(client.url + "/dashboard/workloads")
        expect(page.locator("tbody tr")).to_have_count(50)
        expect(page.locator("main")).to_contain_text("10\u202f000")


def check_whole(page: Page, client: Client, paths: list[str]) -> None:
    """Each page answers, has its heading, and scrolls nowhere sideways."""
    for path in paths:
        answer = page.goto(client.url + path)
        assert answer is not None
        assert answer.status == (404 if path.endswith("/nowhere") else 200), path
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
