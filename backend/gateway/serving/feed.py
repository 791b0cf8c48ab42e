"""The broadcast events on their way from the database to every stream of this process.

One reader follows the log for all clients: woken by the database's notices, or polling where there are none. Every
stream has its own place in its channel's backlog and moves on as fast as its client reads. A client that falls behind
what is kept is dropped, and gets the rest from the database when it comes back with `Last-Event-ID`. A stream is
woken for events of its own channel alone: it costs nothing, and shows nothing, of what goes on in others.

Everything here runs in the server's one thread, in greenlets, on a database that does not block it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import gevent
from gevent.event import Event as Signal

from database.errors import DatabaseError, DatabaseUnreachable, TenantRefused
from database.interface import Database
from decisions.publishing.store import PublishedDecisions
from decisions.publishing.topics import DECISIONS_ALONE, EVERYTHING, Detail, Selection, Topic
from gateway.serving.audience import Hand, Waiting
from gateway.serving.backlog import MOST_EVENTS, Backlog
from gateway.serving.channels import BELLS, Channel, TenantChannels
from gateway.serving.past_events import PAGE_EVENTS, PastEvents
from gateway.serving.ready_events import ReadyEvent
from queueing.supervised import Rest, SupervisedLoop, troubles
from queueing.wakeups import Wakeups
from vocabulary import StrEnum

log = logging.getLogger(__name__)

CHANNEL = "broadcast"
HEARTBEAT_S = 10.0
RECONNECT_AFTER_MS = 1000
NOTHING_NEW = b": nothing new\n\n"

# Read at the start, so that the clients of a restarted process find what they missed.
EVENTS_AT_START = 64
# For so long events are read although nobody listens: clients that lost their connection are back by then.
UNATTENDED_AFTER_S = 5.0

LONGEST_TURN_S = 60.0
PAUSE_AFTER_FAILURE_S = 1.0


class Hearing(StrEnum):
    """Whether a listener may be told something: `NOT_NOW` is while nobody knows whether it still may."""

    YES = "yes"
    NOT_NOW = "not now"
    NO_MORE = "no more"


class What(StrEnum):
    """What a listener is told at a time."""

    EVENTS = "events"
    CAUGHT_UP = "caught up"
    QUIET = "quiet"
    BEGUN = "begun"


class Heard(NamedTuple):
    """Some events, or none: that there are no more of before, that nothing has happened for a while, or that the rest
    of what was handed to the client is due.

    `cursor`: every event up to this number has been told, or is none that was wanted.
    """

    what: What
    events: list[ReadyEvent]
    cursor: int


class Ending(StrEnum):
    """Why a listener hears no more."""

    STOPPING = "this gateway stops"
    TOO_SLOW = "the client has fallen behind what is kept"
    OTHER_LOG = "the event log has been replaced by another"
    NO_MORE = "the credential no longer holds"


def _always() -> Hearing:
    return Hearing.YES


@dataclass(frozen=True)
class Seat:
    """Where a stream gets its events from.

    Attributes:
        published: the channel's events, read in the name of who listens.
        hearing: whether they may be told something now.
    """

    channel: Channel
    published: PublishedDecisions
    hearing: Callable[[], Hearing] = _always


class Place:
    """One of the streams that may be open at a time: from before anything is sent until `let_go`."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._is_held = True
        count(1)

    def let_go(self) -> None:
        """Leave it to another; a second time is nothing."""
        if self._is_held:
            self._is_held = False
            self._count(-1)


class BroadcastFeed:
    """Follows the log and feeds the streams.

    `streams` counts those that are open.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_seconds: float,
        backlog_events: int = MOST_EVENTS,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._database = database
        self._published = PublishedDecisions(database)
        self._backlog_events = backlog_events
        self._heartbeat_s = heartbeat_s
        self._heartbeat_at = time.monotonic() + heartbeat_s
        self._whole = self._new_channel(0)
        self._tenants = TenantChannels()
        self._to_ring: dict[Channel, set[Topic] | None] = {}
        self._news = Signal()
        self._stopping = Signal()
        self._wakeups = Wakeups(database, CHANNEL, poll_seconds=poll_seconds, stopping=self._stopping)
        self._loops = [
            SupervisedLoop(
                "the reader of the event log", self._follow, self._stopping, longest_turn_s=LONGEST_TURN_S
            ),
            SupervisedLoop("the waker of streams", self._ring, self._stopping, longest_turn_s=LONGEST_TURN_S),
        ]
        self._greenlets: list[gevent.Greenlet] = []
        self._has_read = False
        self._places = 0
        self._attended_at = time.monotonic()
        self.streams = 0

    @property
    def following(self) -> bool:
        """Whether the log could be read last time, and somebody goes on reading it."""
        return self._has_read and not self.troubles()

    def troubles(self) -> list[str]:
        """What keeps streams from their events, in words; empty when nothing does."""
        return troubles(self._loops)

    @property
    def newest(self) -> int:
        """The sequence number of the newest event known here; 0 before the first."""
        return self._whole.newest

    def seat(self, hearing: Callable[[], Hearing] = _always) -> Seat:
        """Where every event is heard."""
        return Seat(self._whole, self._published, hearing)

    def seat_of(self, operator: str, published: PublishedDecisions, hearing: Callable[[], Hearing]) -> Seat:
        """Where one operator's events are heard, in its own numbers.

        Args:
            published: that operator's events and no others, in the name of who listens.

        Raises:
            DatabaseError: the database does not answer.
        """
        return Seat(self._tenants.open(operator, published), published, hearing)

    def start(self) -> None:
        """Read the latest events, and follow the log from then on.

        Raises:
            DatabaseError: the database does not answer.
        """
        newest = self._published.events_after(0, 0).newest or 0
        self._whole = self._new_channel(max(0, newest - EVENTS_AT_START))
        self._read_new()
        self._greenlets = [gevent.spawn(loop.run) for loop in self._loops]

    def stop(self) -> None:
        """End every stream, and stop following."""
        self._stopping.set()
        self._news.set()
        gevent.joinall(self._greenlets)
        for channel in [self._whole, *self._tenants]:
            channel.ring()
        self._wakeups.close()

    def take_place(self, most: int) -> Place | None:
        """A place among the `most` streams that may be open at a time; None where all are taken."""
        return Place(self._count_place) if self._places < most else None

    def look_again(self, seat: Seat) -> None:
        """Have the streams of this seat's channel see whether they may still hear."""
        self._tell([seat.channel], None)

    def stream(
        self,
        after: int | None,
        seat: Seat | None = None,
        selection: Selection = DECISIONS_ALONE,
        detail: Detail = Detail.FULL,
    ) -> Generator[bytes, None, None]:
        """Server-sent events that follow `after`, or that are published from now on when it is None.

        Every event goes to a stream without a seat.
        """
        seat = seat or self.seat()
        cursor = seat.channel.newest if after is None else after
        yield b"retry: %d\n: the events after %d\n\n" % (RECONNECT_AFTER_MS, cursor)
        for heard in self.follow(cursor, seat, selection):
            if heard.what is What.EVENTS:
                yield b"".join(event.server_sent(detail) for event in heard.events)
            elif heard.what is What.QUIET:
                yield NOTHING_NEW

    def follow(
        self, cursor: int, seat: Seat, selection: Selection, hand: Hand | None = None
    ) -> Generator[Heard, None, Ending]:
        """What happens after `cursor`, whichever door it goes out by; at last, why there is no more.

        Args:
            hand: the client, if it may be handed what is new; that is then not told here.
        """
        self.streams += 1
        seat.channel.streams += 1
        try:
            cursor = yield from self._catch_up(seat, selection, cursor)
            return (yield from self._keep_up(seat, selection, cursor, hand))
        finally:
            self.streams -= 1
            seat.channel.streams -= 1

    def _count_place(self, more: int) -> None:
        self._places += more

    def _catch_up(self, seat: Seat, selection: Selection, cursor: int) -> Generator[Heard, None, int]:
        """Events from the database, page by page, until the backlog takes over; how far that is."""
        while self._ending(seat) is None and not seat.channel.backlog.reaches_back_to(cursor, selection.topics):
            try:
                if seat.hearing() is not Hearing.YES:
                    raise DatabaseUnreachable("nobody knows whether this may be told")
                events, following = seat.channel.past.chunk_after(cursor, seat.published, selection)
            except TenantRefused:
                return cursor  # which ends the stream: its seat is about to be lost
            except DatabaseError:
                events, following = [], cursor
            if events:
                yield Heard(What.EVENTS, events, following)
            elif following == cursor:
                yield Heard(What.QUIET, [], cursor)
                self._stopping.wait(PAUSE_AFTER_FAILURE_S)
            cursor = following  # where there are none, beyond what the log no longer holds
        return cursor

    def _keep_up(
        self, seat: Seat, selection: Selection, cursor: int, hand: Hand | None
    ) -> Generator[Heard, None, Ending]:
        """Events from the backlog, as they come, until the client falls out of it."""
        channel, topics = seat.channel, selection.topics
        bell = channel.bell(topics)
        waiting = None if hand is None else Waiting(cursor, hand, lambda: self._may_be_told(seat))
        has_caught_up = False
        while (ending := self._ending(seat)) is None:
            backlog = channel.backlog
            if not backlog.reaches_back_to(cursor, topics):
                log.info("a stream is dropped: its client has read up to event %d of %d", cursor, backlog.newest)
                return Ending.TOO_SLOW
            if seat.hearing() is not Hearing.YES:
                channel.wait(topics, bell)
                yield Heard(What.QUIET, [], cursor)
                continue
            events, cursor = backlog.chunk_after(cursor, selection)
            if events:
                yield Heard(What.EVENTS, events, cursor)
                continue
            if not has_caught_up:
                has_caught_up = True
                yield Heard(What.CAUGHT_UP, [], cursor)
                continue  # there may be more meanwhile
            if waiting is not None:
                waiting.cursor = cursor
                channel.audience.wait(selection, waiting)
                cursor = waiting.cursor
                if waiting.has_begun:
                    yield Heard(What.BEGUN, [], cursor)
                continue
            beats = channel.beats
            channel.wait(topics, bell)
            if channel.beats != beats and self._ending(seat) is None:
                yield Heard(What.QUIET, [], cursor)
        return ending

    def _ending(self, seat: Seat) -> Ending | None:
        if self._stopping.is_set():
            return Ending.STOPPING
        if seat.channel.closed:
            return Ending.OTHER_LOG
        return Ending.NO_MORE if seat.hearing() is Hearing.NO_MORE else None

    def _may_be_told(self, seat: Seat) -> bool:
        return not self._stopping.is_set() and not seat.channel.closed and seat.hearing() is Hearing.YES

    def _ring(self) -> Rest:
        """Wake the streams for which there is news, and now and then all of them without any."""
        self._news.clear()
        to_ring, self._to_ring = self._to_ring, {}
        for channel, topics in to_ring.items():
            channel.ring(None if topics is None else frozenset(topics))
        if time.monotonic() >= self._heartbeat_at:
            self._heartbeat_at = time.monotonic() + self._heartbeat_s
            self._tenants.give_up_unused()
            for channel in [self._whole, *self._tenants]:
                channel.beat()
        return lambda: self._news.wait(max(0.0, self._heartbeat_at - time.monotonic()))

    def _follow(self) -> Rest:
        """Read what is new; the rest lasts until there may be more."""
        try:
            grown = self._read_new()
        except BaseException:
            self._has_read = False
            raise
        if grown:
            self._wakeups.found()
        return self._wakeups.wait

    def _read_new(self) -> bool:
        """Read what the log has grown by, page by page; whether it has grown."""
        grown = False
        while not self._stopping.is_set():
            if self._is_unattended():
                ends = self._published.events_after(0, 0)
                # Who has come meanwhile is to be told what is new since: then it is read after all.
                if (ends.newest or 0) >= self.newest and self._is_unattended():
                    grown = self._pass_over(ends.newest or 0) or grown
                    break
            page = self._published.events_after(self.newest, PAGE_EVENTS, EVERYTHING)
            self._note_reading(page.next)
            if (page.newest or 0) < self.newest:
                self._start_anew(page.newest or 0)
                break
            if not page.events:
                self._whole.backlog.skip_to(page.next)
                break
            self._whole.backlog.add([ReadyEvent.of(event) for event in page.events])
            self._tell([self._whole, *self._tenants.feed(page.events)], {event.topic for event in page.events})
            grown = True
        return grown

    def _is_unattended(self) -> bool:
        """Whether nobody listens, nor has for a while: then events are not worth reading."""
        if self.streams or self._places or any(True for _ in self._tenants):
            self._attended_at = time.monotonic()
            return False
        return time.monotonic() - self._attended_at > UNATTENDED_AFTER_S

    def _pass_over(self, newest: int) -> bool:
        """Leave what is new to be read by who asks for it; whether anything was."""
        self._note_reading(newest)
        if newest == self.newest:
            return False
        self._whole.backlog = Backlog(newest, most_events=self._backlog_events)
        return True

    def _note_reading(self, place: int) -> None:
        if not self._has_read:
            log.info("following the event log from %d", place)
            self._has_read = True

    def _start_anew(self, newest: int) -> None:
        # The database was replaced, by a backup say. Streams end, and their clients hear why when they come back.
        log.warning("the event log ends at %d, before %d: it has been replaced by another", newest, self.newest)
        self._whole.closed = True
        ended = [self._whole, *self._tenants.close()]
        self._whole = self._new_channel(newest)
        self._tell(ended, None)

    def _tell(self, channels: Iterable[Channel], topics: set[Topic] | None) -> None:
        """Have those streams of the channels woken that want one of these topics; all without."""
        for channel in channels:
            known = self._to_ring.get(channel, set())
            self._to_ring[channel] = None if topics is None or known is None else known | topics
        self._news.set()

    def _new_channel(self, newest: int) -> Channel:
        backlog = Backlog(newest, most_events=self._backlog_events)
        return Channel(backlog, PastEvents(self._published), BELLS)
