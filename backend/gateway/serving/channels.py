"""Who hears which events: the platform every one, and each operator its own and everybody's, but nobody else's.

A channel is what all streams with the same events share. An event that is neither an operator's nor everybody's is
the platform's alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import gevent
from gevent.event import Event as Signal
from gevent.lock import BoundedSemaphore

from decisions.publishing.store import Event, EventPage, PublishedDecisions
from decisions.publishing.topics import Topic
from gateway.serving.audience import Audience
from gateway.serving.backlog import Backlog
from gateway.serving.past_events import READINGS_AT_ONCE, PastEvents
from gateway.serving.ready_events import ReadyEvent

BELLS = 128
BELLS_OF_TENANT = 8
MOST_EVENTS_OF_TENANT = 250
MOST_BYTES_OF_TENANT = 8 * 1024 * 1024
ENDS_KNOWN_FOR_S = 10.0
UNUSED_BEATS = 3
"""A channel that has had no stream for so many heartbeats is given up, and made anew for who comes back."""


class _Bells:
    """What streams that want the same topics wait for. Rung one after the other, with short requests in between: one
    bell for all would hold them up. A bell is there for as long as somebody waits for it."""

    def __init__(self, amount: int) -> None:
        self._bells: dict[int, Signal] = {}
        self._next_bell = itertools.cycle(range(amount))

    def one(self) -> int:
        return next(self._next_bell)

    def wait(self, bell: int) -> None:
        self._bells.setdefault(bell, Signal()).wait()

    def ring(self) -> None:
        # Who waits anew from here on has seen what there is.
        waited_for, self._bells = self._bells, {}
        for bell in waited_for.values():
            bell.set()
            gevent.sleep(0)


class Channel:
    """Some streams' events: the latest in `backlog`, the others in `past`. For greenlets of one thread.

    `streams` counts those that are open, and all end once it is `closed`. `newest` is the number of the newest event
    known here. `beats` counts the heartbeats: who is woken in between is woken for news. Some streams wait for a
    bell; others sit in the `audience`, and what is new is handed to them.
    """

    def __init__(self, backlog: Backlog, past: PastEvents, bells: int) -> None:
        self.backlog = backlog
        self.past = past
        self.streams = 0
        self.closed = False
        self.beats = 0
        self.audience = Audience()
        self._ends: tuple[float, EventPage] | None = None
        self._bells_each = bells
        self._bells: dict[frozenset[Topic], _Bells] = {}

    @property
    def newest(self) -> int:
        return self.backlog.newest

    def ends(self, published: PublishedDecisions) -> EventPage:
        """The oldest and the newest number, as of a few seconds ago; no events.

        Raises:
            DatabaseError: the database does not answer.
        """
        now = time.monotonic()
        if self._ends is None or now - self._ends[0] > ENDS_KNOWN_FOR_S:
            self._ends = (now, published.events_after(0, 0))
        return self._ends[1]

    def bell(self, topics: frozenset[Topic]) -> int:
        """A bell for a new stream with these topics to wait for, so that each has as many as the others."""
        return self._bells_of(topics).one()

    def wait(self, topics: frozenset[Topic], bell: int) -> None:
        """Until there is news of these topics, or a heartbeat is due."""
        self._bells_of(topics).wait(bell)

    def ring(self, topics: frozenset[Topic] | None = None) -> None:
        """Tell the streams that want one of these topics what is new; without, have all look for themselves."""
        if not self.streams:
            return
        if topics is None:
            self.audience.wake()
        else:
            self.audience.tell(self.backlog, topics)
        self._ring_bells(topics)

    def beat(self) -> None:
        """Tell all streams that there is nothing new."""
        self.beats += 1
        if self.streams:
            self.audience.beat(self.backlog)
            self._ring_bells(None)

    def _ring_bells(self, topics: frozenset[Topic] | None) -> None:
        for wanted, bells in list(self._bells.items()):
            if topics is None or wanted & topics:
                bells.ring()

    def _bells_of(self, topics: frozenset[Topic]) -> _Bells:
        if topics not in self._bells:
            self._bells[topics] = _Bells(self._bells_each)
        return self._bells[topics]


class TenantChannel(Channel):
    """One operator's events and everybody's, in its own numbers.

    It gathers what comes from its making on; how far the log had come by then is asked by `begin`.
    """

    def __init__(self, operator: str, past: PastEvents) -> None:
        super().__init__(_backlog_of_tenant(0), past, BELLS_OF_TENANT)
        self.unused_beats = 0
        self._operator = operator
        self._has_begun = False
        self._gathered: list[Event] = []
        # A number in its count is that of everybody's events, and this.
        self._own_events = 0
        self._one_at_a_time = BoundedSemaphore()

    def begin(self, published: PublishedDecisions) -> None:
        """See how far the operator's events have come, unless that is known.

        Args:
            published: the operator's events and everybody's, and no others.

        Raises:
            DatabaseError: the database does not answer.
        """
        with self._one_at_a_time:
            if self._has_begun:
                return
            page = published.events_after(0, 0)
            newest = page.newest or 0
            self.backlog = _backlog_of_tenant(newest)
            self._own_events = newest - page.everybodys
            self._has_begun = True
            # The reader of the log may be behind that, or have come further meanwhile: an event is taken once.
            gathered, self._gathered = self._gathered, []
            self.take(gathered)

    def take(self, events: Iterable[Event]) -> bool:
        """Append those that the operator may hear and that are new here; whether any was."""
        if not self._has_begun:
            self._gathered.extend(event for event in events if self._may_hear(event))
            return False
        new: list[ReadyEvent] = []
        newest = self.backlog.newest
        for event in events:
            own = self._as_own(event) if self._may_hear(event) else None
            if own is None or own.sequence <= newest:
                continue
            newest = own.sequence
            self._own_events = newest - event.everybodys
            new.append(ReadyEvent.of(own))
        if not new:
            return False
        self.backlog.skip_to(new[0].sequence - 1)  # what is between them was pruned before anybody read it
        self.backlog.add(new)
        return True

    def _may_hear(self, event: Event) -> bool:
        return event.is_everybodys or event.operator == self._operator

    def _as_own(self, event: Event) -> Event | None:
        if event.is_everybodys:
            return event.model_copy(update={"sequence": self._own_events + event.everybodys})
        return event.as_operators()


class TenantChannels:
    """The channels of the operators that have streams."""

    def __init__(self) -> None:
        self._of: dict[str, TenantChannel] = {}
        self._turns = BoundedSemaphore(READINGS_AT_ONCE)

    def __iter__(self) -> Iterator[TenantChannel]:
        return iter(list(self._of.values()))

    def open(self, operator: str, published: PublishedDecisions) -> TenantChannel:
        """The operator's channel, which is fed from now on.

        Args:
            published: that operator's events and everybody's, and no others.

        Raises:
            DatabaseError: the database does not answer.
        """
        channel = self._of.get(operator)
        if channel is None:
            past = PastEvents(published, most_bytes=MOST_BYTES_OF_TENANT, turns=self._turns)
            channel = self._of[operator] = TenantChannel(operator, past)
        channel.unused_beats = 0
        channel.begin(published)
        return channel

    def feed(self, events: Iterable[Event]) -> list[TenantChannel]:
        """Give each event to whose it is, and everybody's to all that have a channel; the channels with news."""
        everybodys = list(events)
        if not any(event.is_everybodys for event in everybodys):
            concerned = {event.operator for event in everybodys}
            return [
                channel
                for operator, channel in self._of.items()
                if operator in concerned and channel.take(everybodys)
            ]
        return [channel for channel in self if channel.take(everybodys)]

    def give_up_unused(self) -> None:
        """Called at every heartbeat."""
        for operator, channel in list(self._of.items()):
            channel.unused_beats = 0 if channel.streams else channel.unused_beats + 1
            if channel.unused_beats >= UNUSED_BEATS:
                channel.closed = True
                del self._of[operator]

    def close(self) -> list[TenantChannel]:
        """The log is another one now. What there was, to be rung for the last time."""
        closed = list(self)
        for channel in closed:
            channel.closed = True
        self._of.clear()
        return closed


def _backlog_of_tenant(newest: int) -> Backlog:
    return Backlog(newest, most_events=MOST_EVENTS_OF_TENANT, most_bytes=MOST_BYTES_OF_TENANT)
