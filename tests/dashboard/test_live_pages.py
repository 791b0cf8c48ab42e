"""Pages that follow the gateway's events, in Debian's Chromium, through losses and outages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from api_application import api_access, create_app
from closed_database import without_database
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world, submit, workload
from running_gateway import RunningGateway, running_gateway, workers_on
from served import Client, served
from server_process import free_port
from settings import load_settings
from tenant_settings import made_key, with_tenants
from two_operators import A, B, gate_of, make_operators

WORKLOADS = "/dashboard/workloads"
LIVE = re.compile("^live")


@dataclass
class Site:
    """An API server whose pages follow a gateway at `gateway_port`, which need not be there."""

    api: Client
    database: PostgresDatabase
    gateway_port: int

    def gateway(self) -> AbstractContextManager[RunningGateway]:
        origins = {"DASHBOARD_ORIGINS": self.api.url}
        return running_gateway(self.database, environ=origins, port=self.gateway_port, poll_seconds=0.05)


@pytest.fixture
def site(postgres: PostgresDatabase) -> Iterator[Site]:
    store_world(postgres)
    port = free_port()
    app = create_app(postgres, load_settings({"BG_PORT": str(port)}), clock=lambda: NOW)
    with served(app) as client:
        yield Site(client, postgres, port)


@pytest.fixture
def gateway(site: Site) -> Iterator[RunningGateway]:
    with site.gateway() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.clock.install()  # for tests to go on to what comes after a while
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def decide(database: PostgresDatabase) -> None:
    workers_on(database).work_once()


def status_of(page: Page, job_id: str) -> Locator:
    return page.locator(f"[data-row='{job_id}'] [data-cell=status]")


def wait_until_live(page: Page, words: re.Pattern[str] | str = LIVE) -> None:
    expect(page.locator("#connection")).to_have_text(words, timeout=15_000)


def test_a_row_changes_in_its_place_by_its_event_even_while_the_server_is_away(
    page: Page, site: Site, gateway: RunningGateway
) -> None:
    submit(site.database, workload("job-1"), workload("job-2"))
    page.goto(site.api.url + WORKLOADS)
    wait_until_live(page)
    row = page.locator("[data-row=job-1]")
    row.evaluate("row => { row.isTheSame = true; row.querySelector('a').focus(); }")
    page.route("**/dashboard/workloads", lambda route: route.abort())
    decide(site.database)
    expect(status_of(page, "job-1")).to_have_text("queued")
    expect(row.locator("[data-cell=place]")).to_have_text("Data centre 1 DC-001")
    expect(page.locator("#away")).to_contain_text("The server does not answer")
    expect(page.locator("#away")).to_contain_text("Trying again in")
    page.unroute("**/dashboard/workloads")
    page.clock.run_for(6_000)
    expect(page.locator("#away")).to_have_count(0)
    expect(row.locator("[data-cell=start]")).to_contain_text("planned")
    assert row.evaluate("row => row.isTheSame && row.contains(document.activeElement)")


def test_a_workloads_page_becomes_whole_as_its_work_goes_on(page: Page, site: Site, gateway: RunningGateway) -> None:
    submit(site.database, workload("job-1"))
    page.goto(f"{site.api.url}{WORKLOADS}/job-1")
    wait_until_live(page)
    page.locator("#reason").fill("in two minds")
    decide(site.database)
    page.clock.run_for(6_000)
    expect(page.locator(".page-head .status")).to_have_text("queued")
    expect(page.get_by_role("heading", name="Considered and chosen")).to_be_visible()
    expect(page.locator("#reason")).to_have_value("in two minds")
    assert site.api.post("/api/v1/workloads/job-1/cancel", json={}).status_code == 200
    page.clock.run_for(70_000)  # it looks now and then whatever it hears, but rests after a look
    expect(page.locator(".page-head .status")).to_have_text("cancelled")
    expect(page.get_by_role("heading", name="Cancel it")).to_have_count(0)


def test_new_rows_wait_behind_a_button_while_somebody_reads(page: Page, site: Site, gateway: RunningGateway) -> None:
    submit(site.database, workload("job-1"))
    page.goto(site.api.url + WORKLOADS)
    wait_until_live(page)
    page.get_by_role("link", name="job-1").focus()
    submit(site.database, workload("job-2"), workload("job-3"))
    decide(site.database)
    button = page.get_by_role("button", name="Show 2 new")
    expect(button).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(status_of(page, "job-1")).to_have_text("queued")
    expect(page.get_by_role("link", name="job-1")).to_be_focused()
    button.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator("tbody tr").first.locator("a")).to_be_focused()
    expect(button).to_have_count(0)
    # Nobody reads any more: what is new comes by itself.
    page.evaluate("document.activeElement.blur()")
    submit(site.database, workload("job-4"))
    decide(site.database)
    page.clock.run_for(30_000)
    expect(page.locator("tbody tr")).to_have_count(4)


@pytest.mark.parametrize(("closed", "words"), [(1, "live"), (2, "polling every 5 s")])
def test_where_one_door_is_closed_the_page_takes_the_next(
    page: Page, site: Site, gateway: RunningGateway, closed: int, words: str
) -> None:
    submit(site.database, workload("job-1"))
    page.route_web_socket("**/stream", lambda socket: socket.close())
    if closed > 1:
        page.route("**/beckn/broadcast?*", lambda route: route.abort())
    page.goto(site.api.url + WORKLOADS)
    go_on_until(page, f"^{words}$")
    assert gateway.feed.streams == (1 if closed == 1 else 0)
    decide(site.database)
    page.clock.run_for(6_000)
    expect(status_of(page, "job-1")).to_have_text("queued")


def go_on_until(page: Page, words: str, steps: int = 120) -> None:
    """Let the page's time go by until its connection says so; `words` is a pattern."""
    for _ in range(steps):
        if re.search(words, page.locator("#connection").text_content() or ""):
            return
        page.clock.run_for(1_000)
        page.wait_for_timeout(50)
    expect(page.locator("#connection")).to_have_text(re.compile(words))


def test_a_page_says_that_the_gateway_is_away_and_then_what_it_has_missed(page: Page, site: Site) -> None:
    submit(site.database, workload("job-1"), workload("job-2"))
    with site.gateway():
        page.goto(site.api.url + WORKLOADS)
        wait_until_live(page)
    expect(page.locator("#connection")).to_have_text("reconnecting")
    go_on_until(page, "no live updates: the gateway does not answer")
    # A page that nobody tells anything looks by itself.
    decide(site.database)
    page.clock.run_for(61_000)
    expect(status_of(page, "job-1")).to_have_text("queued")
    with site.gateway():
        # By whichever door it came back, it goes on by the best.
        go_on_until(page, "with 2 missed events$")
        go_on_until(page, "^live$")


@pytest.mark.thorough
def test_while_the_database_is_away_what_is_shown_stays_and_a_new_page_says_so(
    page: Page, site: Site, gateway: RunningGateway, conninfo: str
) -> None:
    page.goto(site.api.url + "/dashboard/")
    wait_until_live(page)
    london = page.locator(".area[data-region='13'] .area-figure")
    with without_database(conninfo):
        page.clock.run_for(61_000)
        expect(page.locator("#away")).to_contain_text(
            "The database is away: what is shown is the last that was known.", timeout=30_000
        )
        expect(london).to_have_text("130")
        other = page.context.new_page()
        other.goto(site.api.url + "/dashboard/")
        expect(other.get_by_role("heading", level=1)).to_have_text("The database is away")
        expect(other.locator("[data-countdown]")).to_contain_text("Trying again in")
    page.clock.run_for(6_000)
    expect(page.locator("#away")).to_have_count(0, timeout=30_000)
    expect(other.get_by_role("heading", level=1)).to_have_text("Great Britain's grid, now", timeout=15_000)


@pytest.mark.thorough
def test_twenty_tabs_of_one_browser_are_live_and_another_loads(
    page: Page, site: Site, gateway: RunningGateway
) -> None:
    tabs = [page.context.new_page() for _ in range(20)]
    for tab in tabs:
        tab.goto(site.api.url + "/dashboard/savings")
    for tab in tabs:
        wait_until_live(tab)
    assert gateway.feed.streams == 20
    page.goto(site.api.url + "/dashboard/")
    wait_until_live(page)


def note_frames(page: Page, heard: list[str]) -> None:
    """Write down whatever comes by WebSocket."""

    def note(frame: str | bytes) -> None:
        heard.append(str(frame))

    page.on("websocket", lambda socket: socket.on("framereceived", note))


def test_with_several_tenants_a_page_hears_its_own_operators_events_alone(
    browser: Browser, postgres: PostgresDatabase, conninfo: str
) -> None:
    make_operators(postgres)
    store_world(postgres)
    submit(postgres, workload("of-a", operator=A), workload("of-b", operator=B))
    port = free_port()
    with ExitStack() as stack:
        gate = gate_of(conninfo)
        stack.callback(gate.close)
        settings = load_settings(with_tenants(BG_PORT=str(port)))
        access = api_access(postgres, settings, gate)
        api = stack.enter_context(served(create_app(postgres, settings, clock=lambda: NOW, access=access)))
        origins = with_tenants(DASHBOARD_ORIGINS=api.url)
        stack.enter_context(
            running_gateway(postgres, gate=gate, environ=origins, port=port, poll_seconds=0.05, look_every_s=0.1)
        )
        heard: dict[str, list[str]] = {A: [], B: []}
        pages = {}
        for operator in (A, B):
            page = pages[operator] = stack.enter_context(opened(browser))
            note_frames(page, heard[operator])
            page.goto(f"{api.url}/dashboard/sign-in?next={WORKLOADS}")
            page.locator("#credential").fill(made_key(postgres, operator)[0].text)
            page.get_by_role("button", name="Sign in").click()
            wait_until_live(page)
        decide(postgres)
        for operator, job, other in ((A, "of-a", "of-b"), (B, "of-b", "of-a")):
            expect(status_of(pages[operator], job)).to_have_text("queued")
            assert other not in "".join(heard[operator])
            assert job in "".join(heard[operator])
        # Whoever is no longer signed in is led to the form.
        pages[A].context.clear_cookies()
        pages[A].clock.run_for(61_000)
        pages[A].wait_for_url(re.compile("/dashboard/sign-in[?]next="))
