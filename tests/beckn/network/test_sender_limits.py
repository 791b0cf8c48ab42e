"""What one sender may ask of a platform: told before anything is acknowledged, and nobody else's loss."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beckn.network.inbox import Inbox
from beckn.network.outbox import Outbox, Outcome, OutgoingMessage
from beckn.network.reception import IncomingMessage
from beckn.network.sender_limits import MOST_SENDERS_COUNTED, SenderRates, StoredLimits, UnknownKeys
from beckn.network.subscribers import Role
from beckn.protocol.acknowledgement import ACK, Refused
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action
from beckn_network import Party, a_message, buyer, in_bytes, provider
from clock import utc_now
from database.interface import Database, OrderBy

PROVIDER = provider()
ONE, TWO = buyer(subscriber_id="one.example"), buyer(subscriber_id="two.example")


def incoming(party: Party, action: Action = Action.SEARCH, **changes: Any) -> IncomingMessage:
    body = in_bytes(a_message(action, party, PROVIDER if action is not Action.SEARCH else None, **changes))
    context = read_context(body, action, now=utc_now())
    return IncomingMessage(action, context, body, party.subscriber_id, None, None)


def inbox_of(database: Database, **limits: int) -> Inbox:
    return Inbox(database, PROVIDER.subscriber_id, lease_seconds=60, limits=StoredLimits(**limits))


def refused(inbox: Inbox, message: IncomingMessage) -> Refused:
    with pytest.raises(Refused) as told:
        inbox.store(message)
    assert told.value.status == 429
    assert int(told.value.headers["Retry-After"]) > 0
    return told.value


def answer_to(message: IncomingMessage) -> OutgoingMessage:
    party = buyer(subscriber_id=message.sender)
    body = in_bytes(a_message(Action.ON_SEARCH, party, PROVIDER, message_id=message.context.message_id))
    context = read_context(body, Action.ON_SEARCH, now=utc_now())
    return OutgoingMessage(party.subscriber_id, Role.BAP, context, body)


def test_a_sender_with_too_much_unfinished_is_refused_and_no_other(database: Database) -> None:
    inbox = inbox_of(database, unfinished_messages=2)
    first = incoming(ONE)
    assert [inbox.store(first), inbox.store(incoming(ONE))] == [ACK] * 2
    assert "2 of your messages are not finished" in str(refused(inbox, incoming(ONE)))
    assert inbox.store(first) == ACK  # what was acknowledged is again
    assert inbox.store(incoming(TWO)) == ACK
    assert len(database.select("beckn_inbox", order=OrderBy(("inbox_id",)))) == 3


def test_a_message_is_unfinished_until_its_callback_is_delivered(database: Database) -> None:
    inbox, outbox = inbox_of(database, unfinished_messages=1), Outbox(database, PROVIDER.subscriber_id)
    message = incoming(ONE)
    inbox.store(message)
    (claim,) = inbox.claim(1).claimed
    inbox.finish(claim.lease, [answer_to(message)])
    refused(inbox, incoming(ONE))
    (sent,) = outbox.claim(1).claimed
    outbox.settle(sent, Outcome.DELIVERED, None)
    assert inbox.store(incoming(ONE)) == ACK


def test_the_bytes_that_lie_here_are_bounded(database: Database) -> None:
    inbox = inbox_of(database, unfinished_bytes=1000)
    assert inbox.store(incoming(ONE, message={"intent": {"filler": "x" * 1000}})) == ACK
    assert "1,000 bytes" in str(refused(inbox, incoming(ONE)))


@pytest.mark.parametrize(("limit", "most"), [("messages_a_day", 1), ("bytes_a_day", 100)])
def test_a_day_has_an_end_whatever_became_of_the_messages(database: Database, limit: str, most: int) -> None:
    inbox = inbox_of(database, **{limit: most})
    inbox.store(incoming(ONE))
    (claim,) = inbox.claim(1).claimed
    inbox.finish(claim.lease)
    assert "today" in str(refused(inbox, incoming(ONE)))
    assert inbox.store(incoming(TWO)) == ACK


def relayed(inbox: Inbox, message: IncomingMessage) -> bool:
    """Whether a gateway takes a message to pass it on, and not refuses it with 429."""
    try:
        return inbox.relay(message).is_ack
    except Refused as told:
        return told.status != 429


def test_a_gateway_leaves_out_a_provider_for_which_too_much_of_one_buyers_waits(database: Database) -> None:
    gateway = Inbox(database, "gateway.example", limits=StoredLimits(waiting_for_one=1))
    full, free = provider(subscriber_id="full.example"), provider(subscriber_id="free.example")
    full.register(database)
    assert relayed(gateway, incoming(ONE))
    assert not relayed(gateway, incoming(ONE))
    free.register(database)
    assert relayed(gateway, incoming(ONE))
    assert relayed(gateway, incoming(TWO))
    rows = database.select("beckn_outbox", order=OrderBy(("outbox_id",)))
    assert [(row["origin"], row["recipient"]) for row in rows] == [
        ("one.example", "full.example"),
        ("one.example", "free.example"),
        ("two.example", "free.example"),
        ("two.example", "full.example"),
    ]
    assert len(database.select("beckn_inbox", order=OrderBy(("inbox_id",)))) == 3


@pytest.mark.parametrize(
    ("url", "leads_inside"),
    [
        ("http://127.0.0.1:5052/beckn", True),
        ("http://10.1.2.3/beckn", True),
        ("http://172.16.0.1/", True),
        ("https://192.168.7.7:8443/x", True),
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://[::1]:80/beckn", True),
        ("http://[fd00::5]/beckn", True),
        ("http://localhost:5052/beckn", True),
        ("http://LOCALHOST?x", True),
        ("http://0.0.0.0#", True),
        ("https://8.8.8.8/beckn", False),
        ("https://[2001:4860:4860::8888]/beckn", False),
        ("https://buyer.example.org/beckn", False),
        ("https://127.0.0.1.example.org/", False),
        ("https://999.1.1.1/", False),
    ],
)
def test_urls_that_are_called_only_with_the_operators_word(database: Database, url: str, leads_inside: bool) -> None:
    assert database.call("beckn_leads_inside", {"p_url": url}) is leads_inside


def test_a_buyer_that_cannot_be_called_back_hears_it_in_the_place_of_an_ack(database: Database) -> None:
    ONE.register(database, private_address=False)
    message = incoming(ONE)
    signed = IncomingMessage(
        message.action, message.context, message.body, message.sender, ONE.signer.key.key_id, "signature"
    )
    with pytest.raises(Refused, match="private address") as told:
        inbox_of(database).store(signed)
    assert (told.value.status, told.value.error.paths) == (400, "context.bap_uri")
    assert database.select("beckn_inbox", order=OrderBy(("inbox_id",))) == []
    ONE.register(database, private_address=True)
    assert inbox_of(database).store(signed) == ACK


# How fast they may come ------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_taken(rates: SenderRates, sender: str, size_bytes: int = 0) -> bool:
    try:
        rates.take(sender, size_bytes)
    except Refused as told:
        return told.status != 429
    return True


@given(
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 300)), max_size=50),
    per_s=st.floats(0.5, 20),
    at_once=st.integers(1, 30),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_the_burst(
    steps: list[tuple[float, int]], per_s: float, at_once: int
) -> None:
    clock = Clock()
    rates = SenderRates(
        messages_per_s=per_s, messages_at_once=at_once, bytes_per_s=100, bytes_at_once=500, clock=clock
    )
    taken: list[tuple[float, int]] = []
    for number, (pause_s, size_bytes) in enumerate(steps):
        clock.now += pause_s
        if is_taken(rates, "one.example", size_bytes):
            taken.append((clock.now, size_bytes))
        assert is_taken(rates, f"other-{number}.example", size_bytes)
    # A token is taken where a millionth of it is missing; floating point adds its own.
    for begin in range(len(taken)):
        for end in range(begin, len(taken)):
            stretch_s = taken[end][0] - taken[begin][0]
            assert end - begin + 1 <= at_once + per_s * stretch_s + 2e-6
            assert sum(size for _, size in taken[begin : end + 1]) <= 500 + 100 * stretch_s + 2e-6


def test_a_sender_that_waits_as_long_as_it_is_told_is_served() -> None:
    clock = Clock()
    rates = SenderRates(messages_per_s=0.7, messages_at_once=1, clock=clock)
    rates.take("one.example", 10)
    with pytest.raises(Refused) as told:
        rates.take("one.example", 10)
    clock.now += int(told.value.headers["Retry-After"])
    rates.take("one.example", 10)


def test_a_message_longer_than_all_bytes_at_once_is_taken_in_its_time() -> None:
    clock = Clock()
    rates = SenderRates(bytes_per_s=10, bytes_at_once=100, clock=clock)
    assert is_taken(rates, "one.example", 1000)
    clock.now += 50
    assert not is_taken(rates, "one.example", 1)
    clock.now += 60
    assert is_taken(rates, "one.example", 1)


def test_the_memory_of_senders_is_bounded() -> None:
    rates = SenderRates()
    for number in range(MOST_SENDERS_COUNTED + 10):
        rates.take(f"{number}.example", 1)
    assert len(rates._buckets) == MOST_SENDERS_COUNTED


def test_keys_that_nobody_knows_are_looked_up_so_many_times_a_second() -> None:
    clock = Clock()
    unknown = UnknownKeys(per_s=1, at_once=2, clock=clock)
    unknown.take()
    unknown.take()
    with pytest.raises(Refused) as told:
        unknown.take()
    assert told.value.status == 429
    clock.now += 1
    unknown.take()
