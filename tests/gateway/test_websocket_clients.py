"""The clients of docs/websocket.md, as they are written there: in Python, and in a browser."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from database.interface import Database
from database.postgres import PostgresDatabase
from grid_world import store_world
from running_gateway import running_gateway

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "websocket.md").read_text(encoding="utf-8")


def example(language: str) -> str:
    """The block of code of that language in the document."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    return str(found)


def tell(database: Database, number: int) -> None:
    arguments = {"p_tenant": None, "p_event_type": "grid.updated", "p_job_id": None, "p_event": {"n": number}}
    database.call("log_event", arguments)


def test_the_python_client_hears_every_event_once(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    for number in range(3):
        tell(postgres, number)
    names: dict[str, Any] = {}
    exec(example("python"), names)
    with running_gateway(postgres, poll_seconds=0.1) as gateway:
        events = names["events"](f"ws://127.0.0.1:{gateway.port}/stream", ["grid"], after=1)
        assert [next(events)["data"]["n"] for _ in range(2)] == [1, 2]
        tell(postgres, 3)
        assert next(events)["sequence"] == 4
        events.close()


@contextmanager
def served(page: Callable[[], str]) -> Iterator[int]:
    """The port of a server whose only page this is."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("may_listen", [True, False])
def test_the_browsers_client_hears_events_where_its_origin_may_listen(
    postgres: PostgresDatabase, may_listen: bool
) -> None:
    ports: list[int] = []
    with served(lambda: example("html").replace("127.0.0.1:5050", f"127.0.0.1:{ports[0]}")) as page_port:
        origin = f"http://127.0.0.1:{page_port}"
        environ = {"DASHBOARD_ORIGINS": origin if may_listen else "https://other.example"}
        with running_gateway(postgres, environ=environ, poll_seconds=0.1) as gateway, sync_playwright() as playwright:
            ports.append(gateway.port)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page()
            if may_listen:
                page.goto(origin)
                wait_until(lambda: gateway.feed.streams == 1)
                tell(postgres, 7)
                page.wait_for_selector("#events li")
                assert page.text_content("#events li") == "1 grid.updated null"
            else:
                with page.expect_event("console", lambda message: "403" in message.text):
                    page.goto(origin)
                assert gateway.feed.streams == 0
            browser.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
