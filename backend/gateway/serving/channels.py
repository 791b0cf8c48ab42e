"""Who hears which events: the platform every one, and each operator its own and nobody else's.

A channel is what all streams with the same events share. An event that is no operator's is the platform's alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import gevent
from gevent.event import Event as Signal
from gevent.lock import BoundedSemaphore

from decisions.publishing.store import Event, PublishedDecisions
from gateway.serving.backlog import Backlog, ReadyEvent
from gateway.serving.past_events import READINGS_AT_ONCE, PastEvents

BELLS = 128
BELLS_OF_TENANT = 8
MOST_EVENTS_OF_TENANT = 250
MOST_BYTES_OF_TENANT = 4 * 1024 * 1024
UNUSED_BEATS = 3
"""A channel that has had no stream for so many heartbeats is given up, and made anew for who comes back."""


class Channel:
    """Some streams' events: the latest in `backlog`, the others in `past`. For greenlets of one thread.

    `streams` counts those that are open, and all end once it is `closed`. `newest` is the number of the newest event
    known here.
    """

    def __init__(self, backlog: Backlog, past: PastEvents, bells: int) -> None:
        self.backlog = backlog
        self.past = past
        self.streams = 0
        self.closed = False
        # Rung one after the other, with short requests in between: one for all would hold them up.
        self._bells = [Signal() for _ in range(bells)]
        self._next_bell = itertools.cycle(range(bells))

    @property
    def newest(self) -> int:
        return self.backlog.newest

    def bell(self) -> int:
        """A bell for a new stream to wait for, so that each has as many as the others."""
        return next(self._next_bell)

    def wait(self, bell: int) -> None:
        """Until there is news, or a heartbeat is due."""
        self._bells[bell].wait()

    def ring(self) -> None:
        """Wake the streams."""
        if not self.streams:
            return
        for place, bell in enumerate(self._bells):
            self._bells[place] = Signal()
            bell.set()
            gevent.sleep(0)


class TenantChannel(Channel):
    """One operator's events, in its own numbers.

    It gathers what comes from its making on; how far the log had come by then is asked by `begin`.
    """

    def __init__(self, past: PastEvents) -> None:
        super().__init__(_backlog_of_tenant(0), past, BELLS_OF_TENANT)
        self.unused_beats = 0
        self._has_begun = False
        self._one_at_a_time = BoundedSemaphore()

    def begin(self, published: PublishedDecisions) -> None:
        """See how far the operator's events have come, unless that is known.

        Args:
            published: the operator's events and no others.

        Raises:
            DatabaseError: the database does not answer.
        """
        with self._one_at_a_time:
            if self._has_begun:
                return
            newest = published.events_after(0, 0).newest or 0
            # The reader of the log may be behind that, or have come further meanwhile: an event is taken once.
            gathered, self.backlog = self.backlog, _backlog_of_tenant(newest)
            self._has_begun = True
            self.add(gathered.known_after(newest))

    def add(self, events: Sequence[ReadyEvent]) -> bool:
        """Append events that are new here; whether any was."""
        new = [event for event in events if event.sequence > self.backlog.newest]
        if not new:
            return False
        self.backlog.skip_to(new[0].sequence - 1)  # what is between them was pruned before anybody read it
        self.backlog.add(new)
        return True


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
            published: that operator's events and no others.

        Raises:
            DatabaseError: the database does not answer.
        """
        channel = self._of.get(operator)
        if channel is None:
            past = PastEvents(published, most_bytes=MOST_BYTES_OF_TENANT, turns=self._turns)
            channel = self._of[operator] = TenantChannel(past)
        channel.unused_beats = 0
        channel.begin(published)
        return channel

    def feed(self, events: Iterable[Event]) -> list[TenantChannel]:
        """Give each event to its operator's channel, if it has one; the channels with news."""
        ready: dict[str, list[ReadyEvent]] = {}
        for event in events:
            if event.operator in self._of and (own := event.as_operators()) is not None:
                ready.setdefault(event.operator, []).append(ReadyEvent.of(own))
        return [self._of[operator] for operator, own in ready.items() if self._of[operator].add(own)]

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
