"""One client of the WebSocket `/stream`: it says who it is and what it wants, and hears it.

The connection's own greenlet receives. What is wanted is sent by another, which a new subscription replaces; each
frame goes out whole, whoever sends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from typing import NoReturn

import gevent
from pydantic import BaseModel, ValidationError

from database.errors import DatabaseError
from decisions.publishing.topics import Detail
from gateway.serving.audience import Handed
from gateway.serving.feed import BroadcastFeed, Ending, Heard, Place, What
from gateway.serving.ready_events import ReadyEvent
from gateway.serving.visits import Visit, Visits
from gateway.streaming_messages import (
    CLIENT_MESSAGE,
    Auth,
    CaughtUp,
    Heartbeat,
    Mistake,
    Subscribe,
    Subscribed,
    Welcome,
)
from tenancy.principals import Principal
from web.http_answer import ClientGone
from web.problems import Problem
from web.websocket import Sent, WebSocket, WebSocketClosed, text_frame

AUTH_WITHIN_S = 5.0
SUBSCRIBE_WITHIN_S = 10.0
PING_EVERY_S = 20.0
GONE_AFTER_S = 40.0
MOST_MISTAKES = 5

SignIn = Callable[[Auth], Principal]
"""Who shows a credential, and acts for an operator if it names one; or who has a ticket.

Raises `Problem` (401, 403, 429) or `DatabaseError`.
"""

_ENDS_WITH = {Ending.STOPPING: 1001, Ending.TOO_SLOW: 4429, Ending.OTHER_LOG: 4409, Ending.NO_MORE: 4401}
_PROBLEMS = {401: 4401, 403: 4403, 409: 4409}
TRY_LATER = 1013
_HANDED = {Sent.ALL: Handed.WHOLE, Sent.SOME: Handed.BEGUN, Sent.NOTHING: Handed.NOT_NOW}


class _Hand:
    """Takes what is new for a client that waits for it."""

    def __init__(self, web_socket: WebSocket, detail: Detail) -> None:
        self._web_socket = web_socket
        self._detail = detail

    @property
    def form(self) -> tuple[Detail, bool]:
        return self._detail, self._web_socket.takes_compressed

    def events(self, events: Sequence[ReadyEvent]) -> bytes:
        detail, compressed = self.form
        frames = [event.frame(detail, compressed=compressed) for event in events]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def quiet(self, cursor: int) -> bytes:
        return _framed(Heartbeat(newest=cursor))

    def take(self, piece: bytes) -> Handed:
        return _HANDED[self._web_socket.send_now(piece)]


class StreamSession:
    """Serves one client until either ends it."""

    def __init__(
        self,
        web_socket: WebSocket,
        feed: BroadcastFeed,
        visits: Visits,
        sign_in: SignIn,
        check_place: Callable[[Visit, int], None],
        *,
        principal: Principal | None,
        most_streams: int,
    ) -> None:
        """
        Args:
            check_place: raises `Problem` (409) where an event's number is none of the visit's.
            principal: who asked for the connection, where that is known already.
        """
        self._web_socket = web_socket
        self._feed = feed
        self._visits = visits
        self._sign_in = sign_in
        self._check_place = check_place
        self._principal = principal
        self._most_streams = most_streams
        self._mistakes = 0
        self._telling: gevent.Greenlet | None = None
        self._subscription = 0
        self._is_waiting = False
        self._patience_until = 0.0

    def serve(self) -> None:
        """Until the end of the connection."""
        try:
            self._greet()
            while True:
                self._handle(self._next())
        except (WebSocketClosed, ClientGone, TimeoutError):
            pass
        finally:
            with suppress(ClientGone):
                self._stop_telling()

    def _greet(self) -> None:
        if self._principal is None:
            self._patience_until = time.monotonic() + AUTH_WITHIN_S
            self._send(Welcome(oldest=None, newest=None, auth="required"))
            return
        self._patience_until = time.monotonic() + SUBSCRIBE_WITHIN_S
        try:
            seat = self._visits.arrival(self._principal).seat
            page = seat.channel.ends(seat.published)
        except (Problem, DatabaseError) as error:
            self._refuse(error)
        self._send(Welcome(oldest=page.oldest, newest=max(page.newest or 0, seat.channel.newest)))

    def _next(self) -> str | bytes:
        """The next message; meanwhile the client shows that it is there."""
        ping_at = time.monotonic() + PING_EVERY_S
        while True:
            is_open = self._telling is not None
            deadline = ping_at if is_open else self._patience_until
            try:
                return self._web_socket.receive(deadline)
            except TimeoutError:
                if not is_open:
                    code = 4401 if self._principal is None else 4408
                    self._web_socket.end(code, "no auth in time" if code == 4401 else "no subscription in time")
                if self._web_socket.heard_at < time.monotonic() - GONE_AFTER_S:
                    raise ClientGone from None
                self._web_socket.ping()
                ping_at = time.monotonic() + PING_EVERY_S

    def _handle(self, text: str | bytes) -> None:
        try:
            message = CLIENT_MESSAGE.validate_json(text)
        except ValidationError as error:
            self._mistake(_in_words(error))
            return
        if isinstance(message, Auth):
            self._authenticate(message)
        elif self._principal is None:
            self._mistake("nobody is known yet: send auth first")
        else:
            self._subscribe(message, self._principal)

    def _authenticate(self, message: Auth) -> None:
        if self._telling is not None:
            self._mistake("there is a subscription already: open another connection to be somebody else")
            return
        try:
            self._principal = self._sign_in(message)
        except (Problem, DatabaseError) as error:
            self._refuse(error)
        self._greet()

    def _subscribe(self, message: Subscribe, principal: Principal) -> None:
        with ExitStack() as until_told:
            try:
                visit = self._visits.arrival(principal)
                if message.after is not None:
                    self._check_place(visit, message.after)
                self._stop_telling()
                place = self._feed.take_place(self._most_streams)
                if place is None:
                    self._web_socket.end(TRY_LATER, f"{self._most_streams} streams are already open")
                until_told.callback(place.let_go)
                cursor = visit.seat.channel.newest if message.after is None else message.after
                hand = _Hand(self._web_socket, message.detail)
                events = self._feed.follow(cursor, visit.seat, message.selection, hand)
                following = self._visits.attended(visit, events)
            except (Problem, DatabaseError) as error:
                self._refuse(error)
            told = Subscribed(
                topics=sorted(message.selection.topics), detail=message.detail, filter=message.filter, from_=cursor
            )
            self._send(told)
            self._telling = gevent.spawn(self._tell, self._subscription, following, hand, place)
            until_told.pop_all()  # from here on whoever tells lets go

    def _tell(self, number: int, following: Generator[Heard, None, Ending], hand: _Hand, place: Place) -> None:
        """Send what is heard, until it ends, or is no longer the subscription."""
        try:
            while True:
                self._is_waiting = True
                try:
                    heard = next(following)
                except StopIteration as stop:
                    self._is_waiting = False
                    ending: Ending = stop.value
                    if self._subscription == number:
                        self._web_socket.close(_ENDS_WITH[ending], ending)
                    return
                self._is_waiting = False
                if self._subscription != number:
                    return  # woken while it is stopped, and killed at once: whoever stops it sends what was begun
                if heard.what is What.EVENTS:
                    self._web_socket.send(hand.events(heard.events))
                elif heard.what is What.BEGUN:
                    self._web_socket.send_rest()
                elif heard.what is What.CAUGHT_UP:
                    self._send(CaughtUp(sequence=heard.cursor))
                else:
                    self._web_socket.send(hand.quiet(heard.cursor))
                if self._subscription != number:
                    return
        except ClientGone:
            pass
        finally:
            self._is_waiting = False  # or the next one would be killed before it has begun, and let go of nothing
            following.close()
            place.let_go()

    def _stop_telling(self) -> None:
        """End the present subscription, never in the middle of a frame."""
        self._subscription += 1
        telling, self._telling = self._telling, None
        if telling is None:
            return
        if self._is_waiting:
            telling.kill()
            self._web_socket.send_rest()
        else:
            telling.join()

    def _mistake(self, detail: str) -> None:
        self._mistakes += 1
        if self._mistakes >= MOST_MISTAKES:
            self._web_socket.end(4400, detail)
        self._send(Mistake(detail=detail))

    def _refuse(self, error: Problem | DatabaseError) -> NoReturn:
        if isinstance(error, Problem):
            self._web_socket.end(_PROBLEMS.get(error.status, TRY_LATER), error.detail)
        self._web_socket.end(TRY_LATER, "the database does not answer")

    def _send(self, message: BaseModel) -> None:
        self._web_socket.send(_framed(message))


def _framed(message: BaseModel) -> bytes:
    return text_frame(message.model_dump_json(by_alias=True).encode())


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
