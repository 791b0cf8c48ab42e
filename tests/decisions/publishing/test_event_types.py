"""The list of the types of events: what writes them, and what the documents say of them.

That summaries are as described is seen where events happen (`described_events`).
"""

from __future__ import annotations

import re
from pathlib import Path

from decisions.publishing.event_types import EVENT_TYPES

ROOT = Path(__file__).resolve().parents[3]
BACKEND = ROOT / "backend"
NAMES = {event.name for event in EVENT_TYPES}
WRITERS = (*(BACKEND / "database" / "sql" / "triggers").glob("*.sql"), BACKEND / "execution" / "bookings.py")
# The status that a run on a runner ends with names its event (`end_run` in 10_runners.sql).
OF_RUNNERS = {"workload.completed", "workload.failed", "workload.cancelled"}


def test_every_type_that_is_written_is_in_the_list_and_no_other() -> None:
    texts = [path.read_text(encoding="utf-8") for path in WRITERS]
    beginnings = "|".join(sorted({name.partition(".")[0] for name in NAMES if "." in name}))
    literals = {name for text in texts for name in re.findall(rf"['\"]((?:{beginnings})\.[a-z_]+)['\"]", text)}
    logged = {
        name for text in texts for name in re.findall(r"log_event\(\s*(?:nullif\([^)]*\)|[^,(]+),\s*'([^']+)'", text)
    }
    assert literals | logged | OF_RUNNERS | {"decision"} == NAMES


def test_every_type_is_in_the_document_of_events() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    assert sorted(name for name in NAMES if f"`{name}`" not in page) == []


def test_pages_listen_for_every_type_where_they_have_server_sent_events() -> None:
    script = (BACKEND / "dashboard" / "static" / "doors.js").read_text(encoding="utf-8")
    (states,) = re.findall(r"const STATES = \{(.*?)\};", script, flags=re.DOTALL)
    listened = {
        f"{about}.{state}"
        for about, listed in re.findall(r"(\w+): \[(.*?)\]", states)
        for state in re.findall(r'"(\w+)"', listed)
    }
    assert listened | {"decision"} == NAMES
