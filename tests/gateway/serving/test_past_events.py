"""Events of before the backlog: whoever comes back sees each once and in order, and many share one reading."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import utc_now
from database.errors import DatabaseUnreachable
from decisions.publishing.store import PublishedDecisions
from gateway.serving.backlog import CHUNK_BYTES
from gateway.serving.past_events import MOST_BYTES, PAGE_EVENTS, PastEvents


class Log:
    """A log in memory that answers as the SQL function `events_after` does, and counts how often it is asked."""

    def __init__(self, sequences: list[int], *, size: int = 10) -> None:
        self.sequences = sequences
        self.readings = 0
        self.at_once = 0
        self.most_at_once = 0
        self.is_away = False
        self._size = size

    def call(self, function: str, arguments: Any = None, *, repeatable: bool = False) -> Any:  # noqa: ARG002
        self.readings += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        gevent.sleep(0)
        self.at_once -= 1
        if self.is_away:
            raise DatabaseUnreachable("it is away")
        after = arguments["p_after"]
        found = [number for number in self.sequences if number > after][: arguments["p_limit"]]
        newest = self.sequences[-1] if self.sequences else 0
        events = [
            {
                "sequence": number,
                "event_type": "test",
                "job_id": None,
                "created_at": utc_now(),
                "event": {"padding": "x" * self._size},
            }
            for number in found
        ]
        return {"events": events, "next": found[-1] if found else newest, "oldest": None, "newest": newest}

    def past(self) -> PastEvents:
        return PastEvents(PublishedDecisions(self))


def read_all(past: PastEvents, cursor: int) -> list[int]:
    seen: list[int] = []
    while True:
        chunk, following = past.chunk_after(cursor)
        if not chunk and following == cursor:
            return seen
        assert following >= cursor
        assert sum(event.size_bytes for event in chunk[:-1]) <= CHUNK_BYTES
        seen += [event.sequence for event in chunk]
        cursor = following


@given(st.sets(st.integers(1, 80)), st.integers(0, 90), st.sampled_from([10, 30_000]))
def test_every_event_is_seen_once_in_order_from_anywhere_on(numbers: set[int], cursor: int, size: int) -> None:
    log = Log(sorted(numbers), size=size)
    past = log.past()
    for _ in range(2):  # read, and then known
        assert read_all(past, cursor) == [number for number in log.sequences if number > cursor]
    log.sequences = [*log.sequences, 100, 101]  # where the last page was short
    assert read_all(past, cursor) == [number for number in log.sequences if number > cursor]


def test_many_that_come_back_share_one_reading_of_a_page() -> None:
    log = Log(list(range(1, 5 * PAGE_EVENTS + 1)))
    past = log.past()
    readers = [gevent.spawn(read_all, past, number % 7) for number in range(500)]
    for number, reader in enumerate(readers):
        assert reader.get(timeout=20) == log.sequences[number % 7 :]
    assert log.readings < 5 + 2 * 500, "each finds the end for itself, and the pages only once"
    log.readings = 0
    past.chunk_after(3)
    assert log.readings == 0
    assert log.most_at_once <= 2


def test_its_memory_is_bounded() -> None:
    log = Log(list(range(1, 1001)), size=100_000)
    past = log.past()
    assert read_all(past, 0) == log.sequences
    held = {start: page.bytes_held for start, page in past._pages.items()}
    assert 0 < sum(held.values()) <= MOST_BYTES
    assert sum(held.values()) == past._bytes


def test_a_database_that_is_away_is_no_end_of_the_log() -> None:
    log = Log([1, 2, 3])
    past = log.past()
    log.is_away = True
    with pytest.raises(DatabaseUnreachable):
        past.chunk_after(0)
    log.is_away = False
    assert read_all(past, 0) == [1, 2, 3]
    log.sequences = [1]
    past.forget()
    assert read_all(past, 0) == [1]
