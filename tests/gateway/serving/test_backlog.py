"""The law of the backlog: whoever keeps up sees every event once and in order, and nobody else is told so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clock import utc_now
from decisions.publishing.store import Event
from decisions.publishing.topics import Selection, Topic
from gateway.serving.backlog import CHUNK_BYTES, Backlog
from gateway.serving.ready_events import DOORS, ReadyEvent


def events(first: int, sizes: list[int]) -> list[ReadyEvent]:
    return [ReadyEvent(first + place, b"x" * size) for place, size in enumerate(sizes)]


Batches = st.lists(st.lists(st.integers(1, 40_000), min_size=1, max_size=6), max_size=8)


@given(newest=st.integers(0, 5), batches=Batches, start=st.integers(0, 8), reads=st.lists(st.integers(0, 4)))
def test_a_reader_sees_every_event_once_in_order_or_is_told_that_it_fell_out(
    newest: int, batches: list[list[int]], start: int, reads: list[int]
) -> None:
    backlog = Backlog(newest, most_events=5, most_bytes=100_000)
    cursor = newest + start
    seen: list[int] = []
    for sizes, times in zip(batches, [*reads, *[1] * len(batches)], strict=False):
        backlog.add(events(backlog.newest + 1, sizes))
        for _ in range(times):
            if not backlog.reaches_back_to(cursor):
                return
            chunk, following = backlog.chunk_after(cursor)
            assert sum(event.size_bytes for event in chunk[:-1]) <= CHUNK_BYTES
            assert bool(chunk) == (backlog.newest > cursor)
            assert following == (chunk[-1].sequence if chunk else cursor)
            seen += [event.sequence for event in chunk]
            cursor = following
        assert seen == list(range(newest + start + 1, newest + start + 1 + len(seen)))


@given(batches=Batches)
def test_it_keeps_the_latest_for_which_there_is_room(batches: list[list[int]]) -> None:
    backlog = Backlog(0, most_events=5, most_bytes=100_000)
    for sizes in batches:
        backlog.add(events(backlog.newest + 1, sizes))
    sizes = [size for batch in batches for size in batch]
    assert backlog.newest == len(sizes)
    kept = 0
    while kept < len(sizes) and (kept == 0 or (kept < 5 and DOORS * sum(sizes[-kept - 1 :]) <= 100_000)):
        kept += 1
    assert backlog.reaches_back_to(len(sizes) - kept)
    assert kept == len(sizes) or not backlog.reaches_back_to(len(sizes) - kept - 1)


def test_a_reader_is_not_dropped_for_numbers_that_are_not_brought() -> None:
    backlog = Backlog(3, most_events=2)
    backlog.add(events(6, [1]))  # 4 and 5 are of another kind
    assert backlog.reaches_back_to(3)
    assert [event.sequence for event in backlog.chunk_after(3)[0]] == [6]
    backlog.add(events(9, [1, 1]))
    assert not backlog.reaches_back_to(3)
    assert backlog.reaches_back_to(6)
    assert [event.sequence for event in backlog.chunk_after(7)[0]] == [9, 10]


def test_an_event_is_one_block_of_lines_whatever_its_text() -> None:
    text = "two\nlines, a carriage\rreturn, \u2028 and a \x00"
    frame = ReadyEvent.of(
        Event(sequence=7, event_type="decision", job_id="a", created_at=utc_now(), event={"text": text})
    ).server_sent()
    lines = frame.split(b"\n")
    assert lines[:2] == [b"id: 7", b"event: decision"]
    assert (len(lines), lines[3:]) == (5, [b"", b""])
    assert b"\r" not in frame


def test_who_wants_one_topic_is_not_dropped_for_what_others_want() -> None:
    def told(number: int, topic: Topic) -> ReadyEvent:
        return ReadyEvent(number, b"x", topic=topic)

    backlog = Backlog(0, most_events=2)
    backlog.add([told(1, Topic.GRID), *(told(number, Topic.WORKLOADS) for number in range(2, 7))])
    decisions, grid = Selection(), Selection(frozenset({Topic.GRID, Topic.DECISIONS}))
    assert backlog.reaches_back_to(0, decisions.topics)
    assert not backlog.reaches_back_to(0, grid.topics)
    assert backlog.chunk_after(0, decisions) == ([], 6)
    backlog.add([told(7, Topic.DECISIONS)])
    chunk, following = backlog.chunk_after(0, decisions)
    assert ([event.sequence for event in chunk], following) == ([7], 7)


def test_a_selection_of_one_workload_leaves_out_the_others() -> None:
    backlog = Backlog(0)
    backlog.add([ReadyEvent(1, b"x", job_id="a"), ReadyEvent(2, b"x", job_id="b"), ReadyEvent(3, b"x")])
    chunk, following = backlog.chunk_after(0, Selection(job_id="b"))
    assert ([event.sequence for event in chunk], following) == ([2], 3)
