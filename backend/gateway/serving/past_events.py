"""Events that the backlog no longer holds, read once for all the streams that come back for them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gevent.lock import BoundedSemaphore

from decisions.publishing.store import PublishedDecisions
from decisions.publishing.topics import DECISIONS_ALONE, Selection
from gateway.serving.backlog import CHUNK_BYTES
from gateway.serving.ready_events import ReadyEvent

PAGE_EVENTS = 16
MOST_BYTES = 16 * 1024 * 1024
# However many streams come back, the database is asked so many times at once, and others get through.
READINGS_AT_ONCE = 2


@dataclass(frozen=True)
class _Page:
    """The events that follow a number. `next` is the cursor to go on from."""

    events: tuple[ReadyEvent, ...]
    next: int

    @property
    def bytes_held(self) -> int:
        return sum(event.held_bytes for event in self.events)

    def chunk_after(self, cursor: int) -> list[ReadyEvent]:
        chunk: list[ReadyEvent] = []
        room = CHUNK_BYTES
        for event in self.events:
            if event.sequence > cursor:
                room -= event.size_bytes
                if chunk and room < 0:
                    break
                chunk.append(event)
        return chunk


class PastEvents:
    """The selected events in pages that begin at multiples of `PAGE_EVENTS`, as many as there is room for.

    For greenlets of one thread. An event never changes, so a page is good as long as there is a later event in it.
    """

    def __init__(
        self,
        published: PublishedDecisions,
        *,
        most_bytes: int = MOST_BYTES,
        turns: BoundedSemaphore | None = None,
    ) -> None:
        """`turns`: who reads the same database takes turns; on its own without."""
        self._published = published
        self._most_bytes = most_bytes
        self._pages: OrderedDict[tuple[Selection, int], _Page] = OrderedDict()
        self._bytes = 0
        self._turns = turns or BoundedSemaphore(READINGS_AT_ONCE)

    def chunk_after(
        self,
        cursor: int,
        published: PublishedDecisions | None = None,
        selection: Selection = DECISIONS_ALONE,
    ) -> tuple[list[ReadyEvent], int]:
        """The next few events after `cursor`, oldest first, and the cursor to go on from; of none, what comes next.

        Args:
            published: the same events in the name of who wants them, should they have to be read.

        Raises:
            DatabaseError: the database does not answer.
        """
        place = (selection, cursor - cursor % PAGE_EVENTS)
        chunk = self._known(place, cursor)
        if not chunk:
            with self._turns:
                chunk = self._known(place, cursor)  # by whose turn was before
                if not chunk:
                    page = self._read(place, published or self._published)
                    chunk = page.chunk_after(cursor)
                    if not chunk:
                        return [], max(cursor, page.next)
        return chunk, chunk[-1].sequence

    def forget(self) -> None:
        """The log is another one now."""
        self._pages.clear()
        self._bytes = 0

    def _known(self, place: tuple[Selection, int], cursor: int) -> list[ReadyEvent]:
        page = self._pages.get(place)
        if page is None:
            return []
        self._pages.move_to_end(place)
        return page.chunk_after(cursor)

    def _read(self, place: tuple[Selection, int], published: PublishedDecisions) -> _Page:
        selection, start = place
        found = published.events_after(start, PAGE_EVENTS, selection)
        page = _Page(tuple(map(ReadyEvent.of, found.events)), found.next)
        before = self._pages.pop(place, None)
        self._pages[place] = page
        self._bytes += page.bytes_held - (before.bytes_held if before else 0)
        while self._bytes > self._most_bytes and len(self._pages) > 1:
            self._bytes -= self._pages.popitem(last=False)[1].bytes_held
        return page
