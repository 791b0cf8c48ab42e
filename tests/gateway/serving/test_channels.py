"""The law of channels: an operator hears its own events, each once and in its own numbers, and nothing of others'."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import utc_now
from database.errors import DatabaseUnreachable
from decisions.publishing.store import Event, PublishedDecisions
from gateway.serving.channels import UNUSED_BEATS, TenantChannels

EVERYBODYS = "everybody's"
Owners = st.lists(st.sampled_from(["a", "b", None, EVERYBODYS]), max_size=30)


def log_of(owners: list[str | None]) -> list[Event]:
    """A log whose events belong to these operators, numbered as the database numbers them."""
    counts: dict[str, int] = {}
    everybodys = 0
    events = []
    for number, told in enumerate(owners, 1):
        owner, own = (None if told == EVERYBODYS else told), None
        everybodys += told == EVERYBODYS
        if owner is not None:
            counts[owner] = counts.get(owner, 0) + 1
            own = counts[owner] + everybodys
        document = {"of": owner, "global": number, "_metadata": {"task_id": f"job-{number}", "sequence": number}}
        events.append(
            Event(
                sequence=number,
                event_type="decision",
                job_id=f"job-{number}",
                created_at=utc_now(),
                event=document,
                operator=owner,
                tenant_sequence=own,
                is_everybodys=told == EVERYBODYS,
                everybodys=everybodys,
            )
        )
    return events


class OwnEvents:
    """Says how many events of one operator the database has, as `events_after` does for that operator."""

    def __init__(self, newest: int, everybodys: int = 0) -> None:
        self.newest = newest
        self.everybodys = everybodys
        self.is_away = False

    def call(self, function: str, arguments: Any = None, *, repeatable: bool = False) -> Any:  # noqa: ARG002
        if self.is_away:
            raise DatabaseUnreachable("it is away")
        return {"events": [], "next": 0, "oldest": None, "newest": self.newest, "everybodys": self.everybodys}


def published(newest: int, everybodys: int = 0) -> PublishedDecisions:
    return PublishedDecisions(OwnEvents(newest, everybodys))


def own_of(events: list[Event], operator: str) -> list[Event]:
    """What an operator hears: its own, and everybody's."""
    return [event for event in events if event.operator == operator or event.is_everybodys]


@given(owners=Owners, data=st.data())
def test_an_operator_hears_its_own_events_from_the_moment_its_channel_is_open(
    owners: list[str | None], data: st.DataObject
) -> None:
    events = log_of(owners)
    # The reader has come as far as `read`; the database, which is asked for the newest, may be ahead of it.
    read = data.draw(st.integers(0, len(events)))
    ahead = data.draw(st.integers(read, len(events)))
    channels = TenantChannels()
    channels.feed(events[:read])
    newest = len(own_of(events[:ahead], "a"))
    everybodys = sum(event.is_everybodys for event in events[:ahead])
    channel = channels.open("a", published(newest, everybodys))
    assert channel.newest == newest
    start = read
    while start < len(events):
        size = data.draw(st.integers(1, 5))
        channels.feed(events[start : start + size])
        start += size
    total = len(own_of(events, "a"))
    assert channel.newest == total
    assert channel.backlog.reaches_back_to(newest)
    heard = channel.backlog.known_after(newest)
    assert [event.sequence for event in heard] == list(range(newest + 1, total + 1))
    for event, told in zip(heard, own_of(events, "a")[newest:], strict=True):
        assert b'"global":%d,' % told.sequence in event.server_sent()
        assert event.server_sent().startswith(b"id: %d\n" % event.sequence)
        assert told.is_everybodys or b'"sequence":%d}' % event.sequence in event.server_sent()


def test_an_event_without_an_operator_or_a_number_is_nobodys() -> None:
    channels = TenantChannels()
    channel = channels.open("a", published(0))
    (nobodys,) = log_of([None])
    unnumbered = nobodys.model_copy(update={"operator": "a"})
    assert channels.feed([nobodys, unnumbered]) == []
    assert channel.newest == 0
    assert channel.backlog.known_after(0) == []


def test_only_channels_with_news_are_rung() -> None:
    channels = TenantChannels()
    of_a, of_b = channels.open("a", published(0)), channels.open("b", published(0))
    events = log_of(["a", "b", None, "a"])
    assert channels.feed(events[:1]) == [of_a]
    assert channels.feed(events[1:3]) == [of_b]
    assert channels.feed(events[3:]) == [of_a]
    assert channels.feed(events[:1]) == []  # heard before


def test_what_was_pruned_before_anybody_read_it_is_passed_over() -> None:
    channels = TenantChannels()
    channel = channels.open("a", published(0))
    events = log_of(["a"] * 5)
    channels.feed(events[:1])
    channels.feed(events[3:])
    assert channel.newest == 5
    assert channel.backlog.reaches_back_to(1)
    assert [event.sequence for event in channel.backlog.chunk_after(1)[0]] == [4, 5]


def test_a_channel_that_could_not_begin_begins_with_the_next_who_asks() -> None:
    channels = TenantChannels()
    database = OwnEvents(1)
    database.is_away = True
    with pytest.raises(DatabaseUnreachable):
        channels.open("a", PublishedDecisions(database))
    events = log_of(["a", "a"])
    channels.feed(events)
    database.is_away = False
    channel = channels.open("a", PublishedDecisions(database))
    assert channel.newest == 2
    assert [event.sequence for event in channel.backlog.known_after(0)] == [2]
    assert channel.backlog.reaches_back_to(1)
    assert not channel.backlog.reaches_back_to(0)


def test_a_channel_without_streams_is_given_up_and_one_with_streams_is_not() -> None:
    channels = TenantChannels()
    unused, used = channels.open("a", published(3)), channels.open("b", published(0))
    used.streams = 1
    for _ in range(UNUSED_BEATS):
        assert not unused.closed
        channels.give_up_unused()
    assert unused.closed
    assert list(channels) == [used]
    again = channels.open("a", published(4))
    assert again is not unused
    assert again.newest == 4
    assert channels.close() == [used, again]
    assert used.closed
    assert list(channels) == []
