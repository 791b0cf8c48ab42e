"""The latest events, kept ready to send, so that one reading of the database serves every stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from decisions.publishing.store import Event

MOST_EVENTS = 1000
MOST_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class ReadyEvent:
    """An event as it goes over the wire."""

    sequence: int
    frame: bytes

    @classmethod
    def of(cls, event: Event) -> ReadyEvent:
        data = orjson.dumps(event.event)
        return cls(
            event.sequence, b"id: %d\nevent: %b\ndata: %b\n\n" % (event.sequence, event.event_type.encode(), data)
        )


class Backlog:
    """The events up to `newest`, as far back as there is room.

    Numbers have gaps where there are events that streams do not bring, and where the log was emptied: a place follows
    from them but for that.
    """

    def __init__(self, newest: int, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self.newest = newest
        self._whole_after = newest
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._events: deque[ReadyEvent] = deque()
        self._bytes = 0

    def add(self, events: Sequence[ReadyEvent]) -> None:
        """Append the events that follow `newest`, and forget the oldest for which there is no more room."""
        self._events.extend(events)
        self._bytes += sum(len(event.frame) for event in events)
        while len(self._events) > 1 and (len(self._events) > self._most_events or self._bytes > self._most_bytes):
            forgotten = self._events.popleft()
            self._bytes -= len(forgotten.frame)
            self._whole_after = forgotten.sequence
        self.newest = self._events[-1].sequence

    def skip_to(self, sequence: int) -> None:
        """Take the events up to `sequence` for gone: the log no longer holds them."""
        self.newest = max(self.newest, sequence)

    def reaches_back_to(self, sequence: int) -> bool:
        """Whether every event after `sequence` that is known here is kept."""
        return sequence >= self._whole_after

    def known_after(self, sequence: int) -> list[ReadyEvent]:
        """Whatever is kept of the events after `sequence`."""
        return [event for event in self._events if event.sequence > sequence]

    def chunk_after(self, sequence: int) -> list[ReadyEvent]:
        """The next events after `sequence`, to which it reaches back: one, or as many as make a small chunk."""
        chunk: list[ReadyEvent] = []
        room = CHUNK_BYTES
        for place in range(max(0, len(self._events) - max(0, self.newest - sequence)), len(self._events)):
            event = self._events[place]
            if event.sequence <= sequence:
                continue
            room -= len(event.frame)
            if chunk and room < 0:
                break
            chunk.append(event)
        return chunk
