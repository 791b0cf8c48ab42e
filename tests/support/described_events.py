"""Whether events say what is promised of them (`decisions.publishing.event_types`)."""

from __future__ import annotations

from collections.abc import Sequence

from database.interface import Row
from decisions.publishing.event_types import EVENT_TYPES

TYPES = {event.name: event for event in EVENT_TYPES}


def assert_as_described(rows: Sequence[Row]) -> None:
    """Rows of `broadcast_log`, written by the functions under test themselves: their topics and summaries."""
    assert rows
    for row in rows:
        described = TYPES[row["event_type"]]
        assert row["topic"] == described.topic
        described.summary.model_validate(row["summary"])
