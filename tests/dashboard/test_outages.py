"""Every page, open in one browser, through an outage of the gateway, the provider's platform and the database."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from api_application import create_app
from clock import utc_now
from closed_database import without_database
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from every_page import PAGES, address, store_every_page
from grid_world import NOW
from new_database import as_url, new_database
from running_gateway import running_gateway
from served import Client, served
from server_process import ServerProcess, free_port
from settings import load_settings
from stored_order import sent

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LIVE = re.compile("^live")
GATEWAY_AWAY = "no live updates: the gateway does not answer"
DATABASE_AWAY = "The database is away: what is shown is the last that was known."
WITHOUT_THE_DATABASE = ("/dashboard/keys", "/dashboard/sign-in", "/dashboard/nowhere")
"""Pages that need nothing of it here, where there are no tenants, so no keys."""
SOME = (
    "/dashboard/",
    "/dashboard/data-centres/DC-001",
    "/dashboard/workloads/job-1",
    "/dashboard/plan?workloads=x",
    "/dashboard/savings?to=2026-11-23T08:00",
)
"""What is looked at every day: pages that change while they are open, and one that does not."""
A_LOOK_MS = 61_000
"""Within so long every page that is live looks at the server, whatever it hears."""


@dataclass
class World:
    """The servers behind the pages; whoever `gateway` is opened by has a gateway until the end of its block."""

    api: Client
    database: PostgresDatabase
    gateway: ExitStack
    gateway_port: int
    folder: Path

    def start_gateway(self) -> None:
        origins = {"DASHBOARD_ORIGINS": self.api.url}
        self.gateway.enter_context(
            running_gateway(self.database, environ=origins, port=self.gateway_port, poll_seconds=0.2)
        )

    def start_provider(self, port: int) -> ServerProcess:
        settings = {"DATABASE_URL": as_url(self.database.conninfo), "PYLON_DATA_DIR": str(self.folder)}
        process = ServerProcess("BPP.py", self.folder / "bpp.log", {**settings, "BPP_PORT": str(port)}, port=port)
        process.wait_until_serving()
        return process


@dataclass
class Tabs:
    """Every page in a tab of its own, by its path."""

    context: BrowserContext
    by_path: dict[str, Page]
    headings: dict[str, str | None]

    def following(self) -> Iterator[tuple[str, Page]]:
        """Those that follow the gateway's events: all but what is no page of a section."""
        return (
            (path, tab) for path, tab in self.by_path.items() if tab.locator("body[data-section='']").count() == 0
        )

    def live(self) -> Iterator[tuple[str, Page]]:
        """Those with parts that change while they are open."""
        return ((path, tab) for path, tab in self.following() if tab.locator("[data-live][id]").count())

    def all_say(self, words: re.Pattern[str] | str) -> None:
        for _, tab in self.following():
            expect(tab.locator("#connection")).to_have_text(words, timeout=15_000)

    def go_on_until_all_say(self, words: str, steps: int = 120) -> None:
        """Let the pages' time go by until each connection says so; `words` is a pattern."""
        for _ in range(steps):
            told = [tab.locator("#connection").text_content() or "" for _, tab in self.following()]
            if all(re.search(words, each) for each in told):
                return
            self.context.clock.run_for(2_000)
        self.all_say(re.compile(words))

    def check_as_before(self) -> None:
        """Each shows what it is about, and no trouble."""
        for path, tab in self.by_path.items():
            assert tab.locator("h1").text_content() == self.headings[path], path
            expect(tab.locator("#away")).to_have_count(0)


@pytest.fixture
def world(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        database = PostgresDatabase(stack.enter_context(new_database(postgres_server)))
        stack.callback(database.close)
        store_every_page(database)
        port = free_port()
        app = create_app(database, load_settings({"BG_PORT": str(port)}), clock=lambda: NOW)
        api = stack.enter_context(served(app))
        world = World(api, database, stack.enter_context(ExitStack()), port, tmp_path)
        world.start_gateway()
        yield world


@pytest.fixture
def tabs(browser: Browser, world: World, paths: tuple[str, ...]) -> Iterator[Tabs]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.clock.install()
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    by_path: dict[str, Page] = {}
    for path in paths:
        by_path[path] = context.new_page()
        by_path[path].goto(address(world.api, path))
    opened = Tabs(context, by_path, {path: tab.locator("h1").text_content() for path, tab in by_path.items()})
    opened.all_say(LIVE)
    yield opened
    context.close()
    assert errors == []


def without_the_gateway(world: World, tabs: Tabs) -> None:
    world.gateway.close()
    tabs.go_on_until_all_say(f"^{GATEWAY_AWAY}$")
    tabs.check_as_before()
    world.start_gateway()


def without_the_database(world: World, tabs: Tabs) -> None:
    with without_database(world.database.conninfo):
        tabs.context.clock.run_for(A_LOOK_MS)
        for path, tab in tabs.live():
            expect(tab.locator("#away"), path).to_contain_text(DATABASE_AWAY, timeout=60_000)
            assert tab.locator("h1").text_content() == tabs.headings[path], path
        with ThreadPoolExecutor(8) as callers:
            answers = callers.map(
                lambda tab: world.api.get(tab.url.removeprefix(world.api.url), headers=HTML), tabs.by_path.values()
            )
        for path, answer in zip(tabs.by_path, answers, strict=True):
            assert "Traceback" not in answer.text
            if path not in WITHOUT_THE_DATABASE:
                assert answer.status_code == 503, path
                assert "<h1>The database is away</h1>" in answer.text, path
                assert "newest signal <strong>unknown</strong>" in answer.text, path
    for _ in range(60):
        if all(tab.locator("#away").count() == 0 for _, tab in tabs.live()):
            return
        tabs.context.clock.run_for(2_000)
        next(iter(tabs.by_path.values())).wait_for_timeout(200)


def without_the_provider(world: World, tabs: Tabs) -> None:
    port = free_port()
    provider = world.start_provider(port)
    provider.end(signal.SIGKILL)
    late = utc_now() - timedelta(minutes=1)
    own = "bpp.pylon.localhost"
    times = {"created_at": late, "expires_at": late}
    message = sent("on_status", 9, sender=own, origin=own, body="{}", work_state="available", **times)
    world.database.insert("beckn_outbox", [message])
    operations = tabs.by_path["/dashboard/operations"]
    to_be_sent = operations.locator("tr", has_text="Beckn messages to be sent").locator("td").first
    tabs.context.clock.run_for(A_LOOK_MS)
    # Nothing but what waits for it tells that it is away; all else is as it was.
    expect(to_be_sent).to_have_text("1", timeout=30_000)
    tabs.check_as_before()
    tabs.all_say(LIVE)
    provider = world.start_provider(port)
    try:
        for _ in range(60):
            if to_be_sent.text_content() == "0":
                break
            tabs.context.clock.run_for(A_LOOK_MS)
            operations.wait_for_timeout(500)
        expect(to_be_sent).to_have_text("0")
    finally:
        provider.end()


@pytest.mark.parametrize(
    ("outage", "paths"),
    [
        pytest.param(without_the_gateway, SOME, id="gateway, some pages"),
        pytest.param(without_the_gateway, PAGES, id="gateway", marks=pytest.mark.thorough),
        pytest.param(without_the_provider, PAGES, id="provider", marks=pytest.mark.thorough),
        pytest.param(without_the_database, PAGES, id="database", marks=pytest.mark.thorough),
    ],
)
def test_every_page_says_what_is_away_and_is_right_again_by_itself(
    world: World, tabs: Tabs, outage: Callable[[World, Tabs], None]
) -> None:
    outage(world, tabs)
    tabs.go_on_until_all_say("^live$")
    tabs.check_as_before()
