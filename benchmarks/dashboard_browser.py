"""What a browser has of the dashboard: its first page, an hour of events, and how soon an event is drawn.

    make bench NAME=dashboard_browser [ARGS="--parts first hour drawn --events 3600 --clients 1000"]

Debian's Chromium on this machine, over loopback, beside the servers and the other clients.

- first: `/dashboard/` in a browser that has never been here: what comes over the wire, in how many requests, how much
  of it is script, and when something is there to see.
- hour: as many events as an hour at one a second brings, but faster, to a page of fifty workloads: the script's heap
  after a collection, nodes and listeners, before and after.
- drawn: from the moment that an event is written into the log to the frame that shows it in its row, while other
  clients get the same events, whole, by WebSocket.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from statistics import median
from typing import Any

from gateways import percentile, workload, world
from machine import machine
from pages_server import dashboard
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sse_clients import WEBSOCKET, sse_clients

from database.interface import Database, OrderBy, Where

ROWS = 50
LOADS = 10
EVENT_BYTES = 13_000  # of a whole decision of eight data centres
LIVE_WITHIN_MS = 30_000
STATUSES = ("RUNNING", "QUEUED")
WATCH = """() => {
  globalThis.drawn = [];
  new MutationObserver((changes) => {
    const now = performance.timeOrigin + performance.now();
    const rows = changes.map((change) => change.target).filter((row) => row.dataset.drawn === "");
    for (const row of rows) globalThis.drawn.push([row.dataset.row, now]);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-drawn"] });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["first", "hour", "drawn"], default=["first", "hour", "drawn"])
    parser.add_argument("--events", type=int, default=3600, help="of the hour")
    parser.add_argument("--a-second", type=float, default=60, help="so many of them")
    parser.add_argument("--draw", type=int, default=200, help="events to be drawn, five a second")
    parser.add_argument("--clients", type=int, default=1000, help="that hear them too")
    options = parser.parse_args()
    print(f"{machine()}\n")
    with world() as database, dashboard() as (_, gateway_port, port), chromium() as browser:
        address = f"http://127.0.0.1:{port}/dashboard/"
        database.insert("compute_workloads", [_ended(number) for number in range(ROWS)])
        if "first" in options.parts:
            _first(browser, address)
        if "hour" in options.parts:
            _hour(browser, address + "workloads", database, options.events, options.a_second)
        if "drawn" in options.parts:
            _drawn(browser, address + "workloads", database, gateway_port, options.draw, options.clients)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def _ended(number: int) -> dict[str, Any]:
    """A workload that nobody decides any more, so that its row is changed by what is told here alone."""
    return {**workload(f"job-{number:02}"), "status": "COMPLETED"}


def _first(browser: Browser, address: str) -> None:
    loads = [_load(browser, address) for _ in range(LOADS)]
    figures = {name: [load[name] for load in loads] for name in loads[0]}
    print("| the first page, of ten loads | median | most |\n|---|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {median(values):.1f} | {max(values):.1f} |")
    print(flush=True)


def _load(browser: Browser, address: str) -> dict[str, float]:
    with _new_page(browser) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        wire: list[float] = []
        session.on("Network.loadingFinished", lambda event: wire.append(event["encodedDataLength"]))
        scripts, plain, hosts = [0], [0], set()

        def note(answer: Any) -> None:
            hosts.add(answer.url.split("/")[2])
            body = answer.body()
            plain[0] += len(body)
            if "javascript" in answer.headers.get("content-type", ""):
                scripts[0] += len(body)

        page.on("response", note)
        page.goto(address)
        _wait_until_live(page)
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert len(hosts) == 1, hosts
        return {
            "over the wire, kB": sum(wire) / 1000,
            "plain, kB": plain[0] / 1000,
            "requests, beside the stream": len(wire),
            "script, plain, kB": scripts[0] / 1000,
            "first contentful paint, ms": painted,
        }


def _hour(browser: Browser, address: str, database: Database, events: int, a_second: float) -> None:
    with _new_page(browser) as page:
        page.goto(address)
        _wait_until_live(page)
        _tell(database, 0)  # whatever is made once is there before the count
        page.wait_for_timeout(2_000)
        before = _metrics(page)
        began = time.monotonic()
        for number in range(events):
            _tell(database, number)
            time.sleep(max(0.0, began + number / a_second - time.monotonic()))
        taken_s = time.monotonic() - began
        page.wait_for_timeout(3_000)
        after = _metrics(page)
    print(f"| {events} events in {taken_s:.0f} s | before | after | ratio |\n|---|---|---|---|")
    for name, start in before.items():
        print(f"| {name} | {start:.2f} | {after[name]:.2f} | {after[name] / start:.2f} |")
    print(flush=True)


def _metrics(page: Page) -> dict[str, float]:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    found = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return {
        "heap, MB": found["JSHeapUsedSize"] / 1e6,
        "nodes": found["Nodes"],
        "listeners": found["JSEventListeners"],
    }


def _drawn(browser: Browser, address: str, database: Database, gateway_port: int, events: int, clients: int) -> None:
    seconds = events / 5
    with _new_page(browser) as page, sse_clients(gateway_port, clients, seconds + 5, WEBSOCKET):
        page.goto(address)
        _wait_until_live(page)
        page.evaluate(WATCH)
        first = _tell(database, 0)
        for number in range(1, events):
            time.sleep(0.2)
            _tell(database, number)
        page.wait_for_timeout(2_000)
        shown: defaultdict[str, list[float]] = defaultdict(list)
        for job_id, moment_ms in page.evaluate("globalThis.drawn"):
            shown[job_id].append(moment_ms)
    rows = database.select(
        "broadcast_log",
        where=[Where("sequence", first, "gte")],
        order=OrderBy(("sequence",)),
        columns=["job_id", "created_at"],
    )
    told: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        told[row["job_id"]].append(1000 * datetime.fromisoformat(row["created_at"]).timestamp())
    unequal = [job_id for job_id, moments in told.items() if len(shown[job_id]) != len(moments)]
    if unequal:
        raise RuntimeError(f"not every event was drawn once: {unequal}")
    taken_ms = [
        drawn - written
        for job_id, moments in told.items()
        for written, drawn in zip(moments, shown[job_id], strict=True)
    ]
    print("| written → drawn, with other clients | events | p50, ms | p95, ms | p99, ms | worst, ms |")
    print("|---|---|---|---|---|---|")
    figures = " | ".join(f"{percentile(taken_ms, share):.0f}" for share in (0.5, 0.95, 0.99, 1))
    print(f"| {clients} | {len(taken_ms)} | {figures} |", flush=True)


def _tell(database: Database, number: int) -> int:
    """Write a decision about one of the rows into the log; its number there."""
    job_id = f"job-{number % ROWS:02}"
    now = datetime.now(timezone.utc).isoformat()
    arguments = {
        "p_tenant": None,
        "p_event_type": "decision",
        "p_job_id": job_id,
        "p_event": {"job_id": job_id, "number": number, "padding": "x" * EVENT_BYTES},
        "p_summary": {"job_id": job_id, "status": STATUSES[number // ROWS % 2], "dc_id": "DC-001", "starts_at": now},
    }
    told: int = database.call("log_event", arguments)
    return told


@contextmanager
def _new_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        yield context.new_page()
    finally:
        context.close()


def _wait_until_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("live", timeout=LIVE_WITHIN_MS)


if __name__ == "__main__":
    main()
