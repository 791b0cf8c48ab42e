"""Those who listen to streams, one visit each: admitted, looked at again and again while they listen, and let out.

A stream outlasts the look at its credential. So every few seconds each one is looked at anew: who has lost its right
hears no more, and its stream ends. While nobody can tell, because the database does not answer, a stream stays open
and says nothing.
"""

from __future__ import annotations

import inspect
import logging
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import gevent
from gevent.event import Event as Signal
from gevent.pool import Pool

from database.callers import CallersCalls, viewer_of
from database.errors import DatabaseError
from decisions.publishing.store import PublishedDecisions
from gateway.serving.feed import BroadcastFeed, Hearing, Seat
from queueing.supervised import Rest, SupervisedLoop, troubles
from tenancy.limits import Limit, OperatorLimits
from tenancy.principals import Principal
from tenancy.scopes import Scope
from tenancy.standing import Standing
from web.problems import Problem

log = logging.getLogger(__name__)

Told = TypeVar("Told")
Outcome = TypeVar("Outcome")

LOOK_EVERY_S = 4.0
BELIEVED_S = 10.0
"""How long a look is believed. With the next one, and with the seconds for which the door of requests remembers a
credential, a revocation is heeded within a quarter of a minute."""

PLACE_FOR_S = 90.0
RENEW_EVERY_S = 30.0
LOOKS_AT_ONCE = 8


@dataclass(eq=False)
class Listener:
    """Who listens at one stream. Moments are of the monotonic clock."""

    principal: Principal
    believed_until: float
    place_renewed_at: float
    has_ended: bool = False
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, eq=False)
class Visit:
    """A seat, and who has it; nobody in particular where all hear the same."""

    seat: Seat
    listener: Listener | None = None


class _Attended(Generator[Told, None, Outcome]):
    """Events of a visit that ends also where nobody has asked for the first of them, as after HEAD."""

    def __init__(self, events: Generator[Told, None, Outcome], leave: Callable[[], None]) -> None:
        self._events = events
        self._leave = leave

    def send(self, value: None, /) -> Told:
        return self._events.send(value)

    def throw(self, *problem: Any) -> Told:
        return self._events.throw(*problem)

    def close(self) -> None:
        if inspect.getgeneratorstate(self._events) == inspect.GEN_CREATED:
            self._leave()
        self._events.close()


class Visits(Protocol):
    """Lets listeners in."""

    def arrival(self, principal: Principal | None = None) -> Visit:
        """The visit of `principal`; without one, of the present request's caller.

        Raises:
            Problem: there is no caller.
            DatabaseError: the database does not answer.
        """

    def attended(self, visit: Visit, events: Generator[Told, None, Outcome]) -> Generator[Told, None, Outcome]:
        """The events, for as long as the visit lasts.

        Raises:
            Problem: the operator has as many streams as it may (429).
            DatabaseError: the database does not answer.
        """


class OpenHouse:
    """Everybody hears everything: where there is one tenant."""

    def __init__(self, feed: BroadcastFeed) -> None:
        self._feed = feed

    def arrival(self, principal: Principal | None = None) -> Visit:  # noqa: ARG002
        return Visit(self._feed.seat())

    def attended(
        self,
        visit: Visit,  # noqa: ARG002
        events: Generator[Told, None, Outcome],
    ) -> Generator[Told, None, Outcome]:
        return events


class CallersVisits:
    """Each caller hears its operator's events, and the platform all. For greenlets of one thread."""

    def __init__(
        self,
        feed: BroadcastFeed,
        calls: CallersCalls,
        caller: Callable[[], Principal],
        standing: Standing,
        limits: OperatorLimits,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """
        Args:
            calls: the database as callers have it.
            caller: who makes the present request; raises `Problem` where nobody is known.
            standing: whether somebody may still be here.
        """
        self._feed = feed
        self._calls = calls
        self._caller = caller
        self._standing = standing
        self._limits = limits
        self._look_every_s = look_every_s
        self._visits: dict[Listener, Seat] = {}
        self._looks = Pool(LOOKS_AT_ONCE)
        self._stopping = Signal()
        self._loop = SupervisedLoop("the look at who listens", self._look_at_all, self._stopping)
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to look."""
        self._greenlet = gevent.spawn(self._loop.run)

    def stop(self) -> None:
        """Look at nobody any more; nobody is believed for long then."""
        self._stopping.set()
        if self._greenlet is not None:
            self._greenlet.join()

    def troubles(self) -> list[str]:
        """What keeps it from looking, in words; empty when nothing does."""
        return troubles([self._loop])

    def arrival(self, principal: Principal | None = None) -> Visit:
        principal, now = principal or self._caller(), time.monotonic()
        listener = Listener(principal, believed_until=now + BELIEVED_S, place_renewed_at=now)

        def hearing() -> Hearing:
            return self._hearing(listener)

        if principal.is_platform:
            return Visit(self._feed.seat(hearing), listener)
        published = PublishedDecisions(self._calls.of(viewer_of(principal)))
        return Visit(self._feed.seat_of(principal.operator, published, hearing), listener)

    def attended(self, visit: Visit, events: Generator[Told, None, Outcome]) -> Generator[Told, None, Outcome]:
        if visit.listener is None:
            raise ValueError("nobody is known to have this seat")
        listener = visit.listener
        self._hold_place(listener)
        return _Attended(self._listening(listener, visit.seat, events), lambda: self._leave(listener))

    def _listening(
        self, listener: Listener, seat: Seat, events: Generator[Told, None, Outcome]
    ) -> Generator[Told, None, Outcome]:
        self._visits[listener] = seat
        try:
            return (yield from events)
        finally:
            del self._visits[listener]
            self._leave(listener)

    def _leave(self, listener: Listener) -> None:
        gevent.spawn(self._let_go, listener)  # nobody waits for it

    def _hearing(self, listener: Listener) -> Hearing:
        if listener.has_ended or self._standing.has_expired(listener.principal):
            return Hearing.NO_MORE
        return Hearing.YES if time.monotonic() < listener.believed_until else Hearing.NOT_NOW

    def _look_at_all(self) -> Rest:
        """Look at each principal once, however many streams it has."""
        listeners: dict[Principal, list[Listener]] = {}
        for listener in self._visits:
            listeners.setdefault(listener.principal, []).append(listener)
        for _ in self._looks.imap_unordered(self._look_at, listeners, listeners.values()):
            pass
        return lambda: self._stopping.wait(self._look_every_s)

    def _look_at(self, principal: Principal, listeners: list[Listener]) -> None:
        began = time.monotonic()
        try:
            holds = self._standing.holds(principal, Scope.DECISIONS_READ)
        except DatabaseError as error:
            log.debug("nobody can tell whether %s may still listen: %s", principal.subject, error)
            return
        for listener in listeners:
            if holds:
                self._believe(listener, began)
                self._keep_place(listener)
            else:
                log.info("a stream of %s ends: its credential no longer holds", principal.operator)
                listener.has_ended = True
                self._wake(listener)

    def _believe(self, listener: Listener, since: float) -> None:
        was_in_doubt = listener.believed_until <= time.monotonic()
        listener.believed_until = since + BELIEVED_S
        if was_in_doubt:
            self._wake(listener)

    def _wake(self, listener: Listener) -> None:
        seat = self._visits.get(listener)
        if seat is not None:
            self._feed.look_again(seat)

    def _keep_place(self, listener: Listener) -> None:
        now = time.monotonic()
        if now - listener.place_renewed_at < RENEW_EVERY_S:
            return
        listener.place_renewed_at = now
        try:
            self._hold_place(listener)
        except Problem:
            log.info("%s has more streams than it may now: those that are open stay", listener.principal.operator)
        except DatabaseError as error:
            log.debug("a stream's place is not renewed: %s", error)

    def _hold_place(self, listener: Listener) -> None:
        if not listener.principal.is_platform:
            self._limits.hold_place(listener.principal.operator, Limit.STREAMS, listener.holder, PLACE_FOR_S)

    def _let_go(self, listener: Listener) -> None:
        if listener.principal.is_platform:
            return
        try:
            self._limits.let_go(listener.principal.operator, Limit.STREAMS, listener.holder)
        except DatabaseError as error:
            log.debug("a stream's place is free only when its time is over: %s", error)
