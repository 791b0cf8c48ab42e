"""The latest events, kept ready to send, so that one reading of the database serves every stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from decisions.publishing.topics import EVERY_TOPIC, EVERYTHING, Selection, Topic
from gateway.serving.ready_events import ReadyEvent

MOST_EVENTS = 1000
MOST_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class Backlog:
    """The events up to `newest`, as far back as there is room.

    Numbers have gaps where the log was emptied: a place follows from them but for that.
    """

    def __init__(self, newest: int, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self.newest = newest
        # By topic, since nobody falls behind for an event that it did not want.
        self._whole_after = dict.fromkeys(Topic, newest)
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._events: deque[ReadyEvent] = deque()
        self._bytes = 0

    def add(self, events: Sequence[ReadyEvent]) -> None:
        """Append the events that follow `newest`, and forget the oldest for which there is no more room."""
        self._events.extend(events)
        self._bytes += sum(event.held_bytes for event in events)
        while len(self._events) > 1 and (len(self._events) > self._most_events or self._bytes > self._most_bytes):
            forgotten = self._events.popleft()
            self._bytes -= forgotten.held_bytes
            self._whole_after[forgotten.topic] = forgotten.sequence
        self.newest = self._events[-1].sequence

    def skip_to(self, sequence: int) -> None:
        """Take the events up to `sequence` for gone: the log no longer holds them."""
        self.newest = max(self.newest, sequence)

    def reaches_back_to(self, sequence: int, topics: frozenset[Topic] = EVERY_TOPIC) -> bool:
        """Whether every event of these topics after `sequence` that is known here is kept."""
        return all(sequence >= self._whole_after[topic] for topic in topics)

    def known_after(self, sequence: int) -> list[ReadyEvent]:
        """Whatever is kept of the events after `sequence`."""
        return [event for event in self._events if event.sequence > sequence]

    def chunk_after(self, sequence: int, selection: Selection = EVERYTHING) -> tuple[list[ReadyEvent], int]:
        """The next selected events after `sequence`, to which it reaches back, and the cursor to go on from.

        One, or as many as make a small chunk; none where none is left, and then the cursor is at the newest.
        """
        chunk: list[ReadyEvent] = []
        room = CHUNK_BYTES
        for place in range(max(0, len(self._events) - max(0, self.newest - sequence)), len(self._events)):
            event = self._events[place]
            if event.sequence <= sequence or not selection.takes(event.topic, event.job_id):
                continue
            room -= event.size_bytes
            if chunk and room < 0:
                return chunk, chunk[-1].sequence
            chunk.append(event)
        return chunk, max(sequence, self.newest)
