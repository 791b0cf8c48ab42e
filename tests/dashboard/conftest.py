"""The dashboard over a real database and real HTTP, at a fixed time, and a browser that looks at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from api_application import create_app
from database.postgres import PostgresDatabase
from grid_world import NOW
from served import Client, served
from settings import load_settings

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def api(postgres: PostgresDatabase) -> Iterator[Client]:
    """Over a fresh database, with nothing in it but the regions."""
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Without one its tests are skipped, but for CI."""
    if not CHROMIUM.exists() and "CI" not in os.environ:
        pytest.skip(f"there is no {CHROMIUM} here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
