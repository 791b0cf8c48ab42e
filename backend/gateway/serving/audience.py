"""Streams that have been told everything, and are handed what is new by whoever reads it.

To wake a thousand greenlets, for each to find the same bytes and send them, takes several times as long as to send
them. So those that wait sit here by what they want, and one greenlet hands each its piece, made once for all with the
same. Who cannot take it whole at once is woken, and goes on in its own greenlet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import gevent
from gevent.event import Event as Signal

from decisions.publishing.topics import EVERY_TOPIC, Selection, Topic
from gateway.serving.backlog import Backlog
from gateway.serving.ready_events import ReadyEvent
from vocabulary import StrEnum

HANDED_AT_ONCE = 16
"""To so many clients; then short requests have their turn."""


class Handed(StrEnum):
    """What became of a piece that was handed to a client."""

    WHOLE = "whole"
    BEGUN = "begun"
    NOT_NOW = "not now"


class Hand(Protocol):
    """A client that may be given something by another greenlet than its own."""

    @property
    def form(self) -> Hashable:
        """Clients of the same form are sent the same bytes."""
        ...

    def events(self, events: Sequence[ReadyEvent]) -> bytes:
        """As they are sent."""
        ...

    def quiet(self, cursor: int) -> bytes:
        """What tells that nothing has happened up to here."""
        ...

    def take(self, piece: bytes) -> Handed:
        """Send it without waiting; of one that is begun the client's own greenlet sends the rest."""
        ...


class Waiting:
    """A stream while it waits. `cursor` moves on with what it is handed; `has_begun`: the rest of a piece is due."""

    __slots__ = ("_woken", "cursor", "hand", "has_begun", "may_be_told")

    def __init__(self, cursor: int, hand: Hand, may_be_told: Callable[[], bool]) -> None:
        self.cursor = cursor
        self.hand = hand
        self.may_be_told = may_be_told
        self.has_begun = False
        self._woken = Signal()

    def sleep(self) -> None:
        self.has_begun = False
        self._woken.clear()
        self._woken.wait()

    def wake(self) -> None:
        self._woken.set()

    @property
    def is_awake(self) -> bool:
        return bool(self._woken.is_set())


Row = dict[Waiting, None]
"""Those who are told the same, in the order in which they sat down."""


class _Pieces:
    """What a row's members are handed, by where they are: each piece is made once."""

    def __init__(self, backlog: Backlog, selection: Selection, hand: Hand) -> None:
        self._backlog = backlog
        self._selection = selection
        self._hand = hand
        self._known: dict[int, tuple[bytes, int] | None] = {}

    def after(self, cursor: int) -> tuple[bytes, int] | None:
        """The piece, empty where nothing is new, and the cursor to go on from; None where too much is."""
        if cursor not in self._known:
            self._known[cursor] = self._made(cursor)
        return self._known[cursor]

    def _made(self, cursor: int) -> tuple[bytes, int] | None:
        if not self._backlog.reaches_back_to(cursor, self._selection.topics):
            return None
        events, following = self._backlog.chunk_after(cursor, self._selection)
        return self._hand.events(events) if events else b"", following


class Audience:
    """The streams of one channel that wait. For greenlets of one thread."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Selection, Hashable], Row] = {}

    def wait(self, selection: Selection, waiting: Waiting) -> None:
        """Until it has to do something itself."""
        place = (selection, waiting.hand.form)
        row = self._rows.setdefault(place, {})
        row[waiting] = None
        try:
            waiting.sleep()
        finally:
            del row[waiting]
            if not row and self._rows.get(place) is row:
                del self._rows[place]

    def wake(self) -> None:
        """Everybody."""
        for row in self._rows.values():
            for waiting in row:
                waiting.wake()

    def tell(self, backlog: Backlog, topics: frozenset[Topic]) -> None:
        """Hand those who want one of these topics what is new; those first for whom it is short."""
        self._tell(backlog, topics, says_quiet=False)

    def beat(self, backlog: Backlog) -> None:
        """Tell everybody that there is nothing new, or what is."""
        self._tell(backlog, EVERY_TOPIC, says_quiet=True)

    def _tell(self, backlog: Backlog, topics: frozenset[Topic], *, says_quiet: bool) -> None:
        told: list[tuple[int, Row, _Pieces]] = []
        for (selection, _), row in self._rows.items():
            if selection.topics & topics:
                first = next(iter(row))
                pieces = _Pieces(backlog, selection, first.hand)
                piece = pieces.after(first.cursor)
                told.append((0 if piece is None else len(piece[0]), row, pieces))
        told.sort(key=lambda one: one[0])
        turn = 0
        for _, row, pieces in told:
            for waiting in list(row):
                if waiting not in row or waiting.is_awake:
                    continue  # it went meanwhile
                _hand_to(waiting, pieces, backlog, says_quiet=says_quiet)
                turn += 1
                if turn % HANDED_AT_ONCE == 0:
                    gevent.sleep(0)


def _hand_to(waiting: Waiting, pieces: _Pieces, backlog: Backlog, *, says_quiet: bool) -> None:
    found = pieces.after(waiting.cursor) if waiting.may_be_told() else None
    if found is None:
        waiting.wake()
        return
    piece, following = found
    if not piece and says_quiet:
        piece = waiting.hand.quiet(following)
    handed = waiting.hand.take(piece) if piece else Handed.WHOLE
    if handed is Handed.NOT_NOW:
        waiting.wake()
        return
    waiting.cursor = following
    waiting.has_begun = handed is Handed.BEGUN
    if waiting.has_begun or following < backlog.newest:
        waiting.wake()
