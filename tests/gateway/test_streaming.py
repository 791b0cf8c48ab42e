"""A client's session: a subscription takes another's place without cutting a frame, and lets go of its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import orjson
import pytest
from gevent.queue import Empty, Queue
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from database.postgres import PostgresDatabase
from decisions.publishing.topics import EVERY_TOPIC
from gateway.serving.feed import BroadcastFeed
from gateway.serving.ready_events import ReadyEvent
from gateway.serving.visits import OpenHouse
from gateway.streaming import StreamSession
from tenancy.principals import LOCAL_READER
from web.websocket import WebSocket

SUBSCRIBE = '{"type": "subscribe"}'


class Line:
    """A client that sends what it is told to; of what is handed to it, it takes so many bytes at once."""

    def __init__(self) -> None:
        self.sent = b""
        self.takes_at_once = 10**6
        self._client = Connection(ConnectionType.CLIENT)
        self._coming: Queue[bytes] = Queue()

    def says(self, *messages: str) -> None:
        """All in one piece."""
        self._coming.put(b"".join(self._client.send(TextMessage(message)) for message in messages))

    def receive(self, deadline: float) -> bytes:
        try:
            return bytes(self._coming.get(timeout=max(0.0, deadline - time.monotonic())))
        except Empty:
            raise TimeoutError from None

    def write(self, data: bytes, *, before: float | None = None) -> None:  # noqa: ARG002 - as a line has it
        if self.takes_at_once < len(data):
            gevent.sleep(0)  # its buffer is full
            gevent.sleep(0)
        self.sent += data

    def write_now(self, data: bytes) -> int:
        taken = data[: self.takes_at_once]
        self.sent += taken
        return len(taken)

    def heard(self) -> list[str]:
        """The types of the messages that have come whole, which all must have."""
        self._client.receive_data(self.sent)
        self.sent = b""
        parts = [event.data for event in self._client.events() if isinstance(event, TextMessage)]
        return [orjson.loads(part)["type"] for part in parts]


@pytest.fixture
def feed(postgres: PostgresDatabase) -> BroadcastFeed:
    return BroadcastFeed(postgres, poll_seconds=60)


@contextmanager
def session(feed: BroadcastFeed) -> Iterator[Line]:
    """One whose client has subscribed, and been told everything."""
    line = Line()
    web_socket = WebSocket(
        line, Connection(ConnectionType.SERVER), compresses=False, longest_bytes=10**4, takes_binary=False
    )
    one = StreamSession(
        web_socket,
        feed,
        OpenHouse(feed),
        lambda _: LOCAL_READER,
        lambda _visit, _after: None,
        principal=LOCAL_READER,
        most_streams=2,
    )
    serving = gevent.spawn(one.serve)
    line.says(SUBSCRIBE)
    have_turns()
    assert line.heard() == ["welcome", "subscribed", "caught_up"]
    try:
        yield line
    finally:
        serving.kill()


def have_turns() -> None:
    for _ in range(20):
        gevent.sleep(0)


def test_a_frame_that_is_begun_when_another_subscription_comes_is_sent_whole_before_it(feed: BroadcastFeed) -> None:
    with session(feed) as line:
        line.takes_at_once = 5
        line.says(SUBSCRIBE)
        gevent.sleep(0)  # it is there, and about to be read
        channel = feed.seat().channel
        channel.backlog.add([ReadyEvent(1, b"{}")])
        channel.audience.tell(channel.backlog, EVERY_TOPIC)
        have_turns()
        assert line.heard() == ["event", "subscribed", "caught_up"]


def test_subscriptions_that_come_together_hold_one_place_and_none_at_the_end(feed: BroadcastFeed) -> None:
    with session(feed) as line:
        for _ in range(3):
            line.says(SUBSCRIBE, SUBSCRIBE)
            have_turns()
            assert line.heard() == ["subscribed", "subscribed", "caught_up"]
        assert feed.streams == 1
    places = [feed.take_place(2) for _ in range(3)]
    assert [place is None for place in places] == [False, False, True]
