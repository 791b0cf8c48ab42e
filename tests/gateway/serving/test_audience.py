"""The law of an audience: whoever waits is told what it wants, each event once and in order, however it takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import gevent
from hypothesis import given
from hypothesis import strategies as st

from decisions.publishing.topics import EVERYTHING, Selection, Topic
from gateway.serving.audience import Audience, Handed, Waiting
from gateway.serving.backlog import CHUNK_BYTES, Backlog
from gateway.serving.ready_events import ReadyEvent

GRID_ALONE = Selection(frozenset({Topic.GRID}))


@dataclass
class Client:
    """Notes the numbers it hears; takes pieces as `habits` say, one after the other, and whole at last."""

    name: str = "client"
    form: str = "short"
    habits: list[Handed] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    quiet_at: list[int] = field(default_factory=list)
    rest: bytes = b""
    order: list[str] = field(default_factory=list)

    def events(self, events: Sequence[ReadyEvent]) -> bytes:
        return b"".join(b"%d " % event.sequence for event in events) + b" " * (self.form == "long")

    def quiet(self, cursor: int) -> bytes:
        return b"-%d" % cursor

    def take(self, piece: bytes) -> Handed:
        handed = self.habits.pop(0) if self.habits else Handed.WHOLE
        if handed is Handed.WHOLE:
            self.note(piece)
        elif handed is Handed.BEGUN:
            self.rest = piece
        self.order.append(self.name)
        return handed

    def note(self, piece: bytes) -> None:
        if piece.startswith(b"-"):
            self.quiet_at.append(int(piece[1:]))
        else:
            self.heard += map(int, piece.split())


def event(number: int, topic: Topic = Topic.GRID, size: int = 10) -> ReadyEvent:
    return ReadyEvent(number, b"x" * size, topic=topic)


def follow(audience: Audience, backlog: Backlog, selection: Selection, client: Client) -> None:
    """As a stream does (`BroadcastFeed.follow`), from the backlog's beginning on."""
    waiting = Waiting(0, client, lambda: True)
    while True:
        events, waiting.cursor = backlog.chunk_after(waiting.cursor, selection)
        if events:
            client.note(client.events(events))
            continue
        audience.wait(selection, waiting)
        if waiting.has_begun:
            client.note(client.rest)


@given(
    topics=st.lists(st.lists(st.sampled_from([Topic.GRID, Topic.ORDERS]), max_size=4), max_size=8),
    habits=st.lists(st.lists(st.sampled_from(Handed), max_size=6), min_size=1, max_size=20),
    beats=st.sets(st.integers(0, 7)),
    size=st.sampled_from([10, CHUNK_BYTES - 1]),
)
def test_everybody_hears_what_it_wants_once_and_in_order(
    topics: list[list[Topic]], habits: list[list[Handed]], beats: set[int], size: int
) -> None:
    audience, backlog = Audience(), Backlog(0)
    clients = [Client(form=("short", "long")[place % 2], habits=own) for place, own in enumerate(habits)]
    wanted = [(EVERYTHING, GRID_ALONE)[place % 3 == 0] for place in range(len(clients))]
    streams = [
        gevent.spawn(follow, audience, backlog, selection, client)
        for selection, client in zip(wanted, clients, strict=True)
    ]
    gevent.sleep(0)
    number = 0
    told: list[tuple[int, Topic]] = []
    for turn, page in enumerate(topics):
        new = [event(number + place, topic, size) for place, topic in enumerate(page, 1)]
        number += len(new)
        if new:
            told += [(one.sequence, one.topic) for one in new]
            backlog.add(new)
            audience.tell(backlog, frozenset(page))
        if turn in beats:
            audience.beat(backlog)
        gevent.sleep(0)
    for _ in range(4 + 4 * len(told)):
        gevent.sleep(0)
    gevent.killall(streams)
    for selection, client in zip(wanted, clients, strict=True):
        assert client.heard == [sequence for sequence, topic in told if topic in selection.topics]
        assert client.quiet_at == sorted(client.quiet_at)


def test_those_for_whom_it_is_short_are_told_first_and_the_rest_in_the_order_they_came() -> None:
    audience, backlog = Audience(), Backlog(0)
    order: list[str] = []
    clients = [Client(f"{form} {place}", form=form, order=order) for form in ("long", "short") for place in range(20)]
    streams = [gevent.spawn(follow, audience, backlog, EVERYTHING, client) for client in clients]
    gevent.sleep(0)
    backlog.add([event(1)])
    audience.tell(backlog, frozenset({Topic.GRID}))
    assert order == [f"{form} {place}" for form in ("short", "long") for place in range(20)]
    gevent.killall(streams)


def test_a_beat_tells_who_wants_nothing_of_it_how_far_it_is() -> None:
    audience, backlog = Audience(), Backlog(0)
    client = Client()
    stream = gevent.spawn(follow, audience, backlog, GRID_ALONE, client)
    gevent.sleep(0)
    backlog.add([event(1, Topic.ORDERS), event(2, Topic.ORDERS)])
    audience.tell(backlog, frozenset({Topic.ORDERS}))
    assert (client.heard, client.quiet_at) == ([], [])
    audience.beat(backlog)
    assert (client.heard, client.quiet_at) == ([], [2])
    stream.kill()


def test_who_may_not_be_told_or_has_fallen_behind_is_woken_without_a_word() -> None:
    audience, backlog = Audience(), Backlog(0, most_events=1)
    barred, behind = (Waiting(0, Client(), lambda: False), Waiting(0, Client(), lambda: True))
    for waiting, selection in ((barred, EVERYTHING), (behind, GRID_ALONE)):
        gevent.spawn(audience.wait, selection, waiting)
    gevent.sleep(0)
    backlog.add([event(1), event(2)])
    audience.tell(backlog, frozenset({Topic.GRID}))
    for waiting in (barred, behind):
        assert waiting.is_awake
        assert waiting.cursor == 0
        assert isinstance(waiting.hand, Client)
        assert waiting.hand.order == []
