"""Every page, open in one browser, through an outage of the gateway."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from every_page import PAGES, address, store_every_page
from grid_world import NOW
from new_database import new_database
from running_gateway import running_gateway
from served import Client, served
from server_process import free_port
from settings import load_settings

LIVE = re.compile("^live")
GATEWAY_AWAY = "no live updates: the gateway does not answer"
SOME = (
    "/dashboard/",
    "/dashboard/data-centres/DC-001",
    "/dashboard/workloads/job-1",
    "/dashboard/plan?workloads=x",
    "/dashboard/savings?to=2026-11-23T08:00",
)
"""What is looked at every day: pages that change while they are open, and one that does not."""


@dataclass
class World:
    """The servers behind the pages; whoever `gateway` is opened by has a gateway until the end of its block."""

    api: Client
    database: PostgresDatabase
    gateway: ExitStack
    gateway_port: int

    def start_gateway(self) -> None:
        origins = {"DASHBOARD_ORIGINS": self.api.url}
        self.gateway.enter_context(
            running_gateway(self.database, environ=origins, port=self.gateway_port, poll_seconds=0.2)
        )


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
def world(postgres_server: EmbeddedPostgres) -> Iterator[World]:
    with ExitStack() as stack:
        database = PostgresDatabase(stack.enter_context(new_database(postgres_server)))
        stack.callback(database.close)
        store_every_page(database)
        port = free_port()
        app = create_app(database, load_settings({"BG_PORT": str(port)}), clock=lambda: NOW)
        api = stack.enter_context(served(app))
        world = World(api, database, stack.enter_context(ExitStack()), port)
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


@pytest.mark.parametrize(
    ("outage", "paths"),
    [
        pytest.param(without_the_gateway, SOME, id="gateway, some pages"),
        pytest.param(without_the_gateway, PAGES, id="gateway", marks=pytest.mark.thorough),
    ],
)
def test_every_page_says_what_is_away_and_is_right_again_by_itself(
    world: World, tabs: Tabs, outage: Callable[[World, Tabs], None]
) -> None:
    outage(world, tabs)
    tabs.go_on_until_all_say("^live$")
    tabs.check_as_before()
