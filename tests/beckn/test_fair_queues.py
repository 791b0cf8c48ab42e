"""Who is served next: everybody's first message before anybody's second, and nobody waits for one that hangs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.network.inbox import Inbox
from beckn.network.outbox import Outbox, OutboxClaim, Outcome, OutgoingMessage, Settled
from beckn.network.reception import IncomingMessage
from beckn.network.subscribers import Role
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action
from beckn_network import Party, a_message, buyer, in_bytes, provider
from clock import utc_now
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from hypothesis_profile import SHARES_A_FIXTURE

PROVIDER = provider()


def named(name: str) -> Party:
    return buyer(subscriber_id=f"{name}.example")


def inbox_of(database: Database, **options: Any) -> Inbox:
    return Inbox(database, PROVIDER.subscriber_id, lease_seconds=60, **options)


def outbox_of(database: Database, **options: Any) -> Outbox:
    return Outbox(database, PROVIDER.subscriber_id, lease_seconds=60, first_retry_seconds=0.02, **options)


def incoming(sender: str) -> IncomingMessage:
    party = named(sender)
    body = in_bytes(a_message(Action.SEARCH, party))
    context = read_context(body, Action.SEARCH, now=utc_now())
    return IncomingMessage(Action.SEARCH, context, body, party.subscriber_id, None, None)


def outgoing(recipient: str, **changes: Any) -> OutgoingMessage:
    party = named(recipient)
    body = in_bytes(a_message(Action.ON_SEARCH, party, PROVIDER, **changes))
    return OutgoingMessage(party.subscriber_id, Role.BAP, read_context(body, Action.ON_SEARCH, now=utc_now()), body)


def claimed(outbox: Outbox) -> list[str]:
    return [claim.recipient.removesuffix(".example") for claim in outbox.claim(10).claimed]


def open_again(database: Database) -> None:
    """Let the pause of every recipient that did not answer pass."""
    past = utc_now() - timedelta(seconds=1)
    database.update("beckn_circuits", {"open_until": past}, where=[Where("sender", PROVIDER.subscriber_id)])
    database.update("beckn_outbox", {"scheduled_at": past}, where=[Where("work_state", "retryable")])


def rows(database: Database) -> list[Row]:
    return database.select("beckn_outbox", order=OrderBy(("outbox_id",)))


# Turns ----------------------------------------------------------------------------------------------------------


def test_everybodys_first_message_is_worked_on_before_anybodys_second(database: Database) -> None:
    inbox = inbox_of(database)
    for sender in ("greedy", "greedy", "greedy", "modest", "quiet"):
        inbox.store(incoming(sender))
    order = []
    while found := inbox.claim(1).claimed:
        order.append(found[0].sender.removesuffix(".example"))
        assert inbox.finish(found[0].lease)
    assert order == ["greedy", "modest", "quiet", "greedy", "greedy"]


def test_one_sender_has_not_all_the_workers(database: Database) -> None:
    inbox = inbox_of(database, most_at_once_per_sender=2)
    for _ in range(4):
        inbox.store(incoming("greedy"))
    assert len(inbox.claim(10).claimed) == 2
    assert inbox.claim(10).claimed == ()
    inbox.store(incoming("modest"))
    assert [claim.sender for claim in inbox.claim(10).claimed] == ["modest.example"]


def test_everybodys_first_message_is_sent_before_anybodys_second(database: Database) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing(to) for to in ("greedy", "greedy", "greedy", "modest", "quiet")])
    order = []
    while found := outbox.claim(1).claimed:
        order.append(found[0].recipient.removesuffix(".example"))
        outbox.settle(found[0], Outcome.DELIVERED, None)
    assert order == ["greedy", "modest", "quiet", "greedy", "greedy"]


@given(arrivals=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=25))
@settings(max_examples=15, suppress_health_check=SHARES_A_FIXTURE, deadline=None)
def test_whoever_waits_is_overtaken_once_at_most_by_each_of_the_others(
    postgres: PostgresDatabase, arrivals: list[tuple[str, int]]
) -> None:
    """Messages arrive, and after each some are worked on: between two turns of one who waits nobody has three."""
    inbox = inbox_of(postgres)
    waiting: dict[str, int] = {}
    since_its_turn: dict[tuple[str, str], int] = {}

    def work() -> None:
        found = inbox.claim(1).claimed
        assert len(found) == (1 if sum(waiting.values()) else 0)
        for claim in found:
            served = claim.sender.removesuffix(".example")
            waiting[served] -= 1
            for other, left in waiting.items():
                if other != served and left:
                    since_its_turn[other, served] = since_its_turn.get((other, served), 0) + 1
                    assert since_its_turn[other, served] <= 2, (other, served)
                since_its_turn.pop((served, other), None)
            assert inbox.finish(claim.lease)

    for sender, finished in arrivals:
        inbox.store(incoming(sender))
        waiting[sender] = waiting.get(sender, 0) + 1
        for _ in range(finished):
            work()
    while sum(waiting.values()):
        work()


# Whose message it is --------------------------------------------------------------------------------------------


def test_messages_of_two_writers_with_one_id_are_both_sent_and_the_very_same_once(database: Database) -> None:
    one = outgoing("buyer")
    other = outgoing("buyer", message_id=one.context.message_id, message={"intent": {"n": 2}})
    arguments = {
        "p_sender": PROVIDER.subscriber_id,
        "p_outgoing": [one.row() | {"origin": "one.example"}, one.row() | {"origin": "two.example"}],
    }
    assert database.call("beckn_put_outbox", arguments) == {"stored": 2}
    assert database.call("beckn_put_outbox", arguments) == {"stored": 0}
    assert outbox_of(database).put([other, other]) == 1
    assert [row["origin"] for row in rows(database)] == ["one.example", "two.example", PROVIDER.subscriber_id]


# Recipients that do not answer ----------------------------------------------------------------------------------


def hang(outbox: Outbox, claims: tuple[OutboxClaim, ...]) -> None:
    for claim in claims:
        assert outbox.settle(claim, Outcome.UNREACHABLE, "no whole answer within 5 s") is Settled.RETRY


def test_one_that_did_not_answer_is_left_alone_then_tried_with_one_message_and_trusted_when_it_answers(
    database: Database,
) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing("stuck") for _ in range(4)])
    hang(outbox, outbox.claim(1).claimed)
    database.update(
        "beckn_circuits",
        {"open_until": utc_now() + timedelta(seconds=3)},
        where=[Where("sender", PROVIDER.subscriber_id)],
    )
    found = outbox.claim(10)
    assert found.claimed == ()
    assert found.next_due_seconds is not None
    open_again(database)
    (trial,) = outbox.claim(10).claimed
    assert outbox.claim(10).claimed == ()
    hang(outbox, (trial,))
    open_again(database)
    (trial,) = outbox.claim(10).claimed
    assert outbox.settle(trial, Outcome.DELIVERED, None) is Settled.DELIVERED
    assert len(outbox.claim(10).claimed) == 2


def test_those_that_did_not_answer_share_a_few_places_and_leave_the_rest_to_the_others(database: Database) -> None:
    outbox = outbox_of(database, most_troubled_at_once=2)
    stuck = [f"stuck-{number}" for number in range(5)]
    outbox.put([outgoing(to) for to in stuck])
    hang(outbox, outbox.claim(10).claimed)
    open_again(database)
    outbox.put([outgoing("well")])
    in_hand = [claim.recipient for _ in range(4) for claim in outbox.claim(1).claimed]
    assert len(in_hand) == 3
    assert "well.example" in in_hand


def test_a_lost_lease_says_nothing_about_its_recipient(database: Database) -> None:
    slow, quick = outbox_of(database), outbox_of(database)
    slow.put([outgoing("buyer"), outgoing("buyer")])
    (lost,) = slow.claim(1).claimed
    database.update(
        "beckn_outbox",
        {"leased_until": utc_now() - timedelta(seconds=1)},
        where=[Where("outbox_id", lost.outbox_id)],
    )
    assert len(quick.claim(10).claimed) == 2
    assert slow.settle(lost, Outcome.UNREACHABLE, "too late") is Settled.FENCED
    assert database.select("beckn_circuits", order=OrderBy(("recipient",))) == []


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.DEAD, Outcome.DELIVERED])
def test_one_that_answers_whatever_it_says_is_no_longer_left_alone(database: Database, outcome: Outcome) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing("stuck"), outgoing("stuck")])
    hang(outbox, outbox.claim(1).claimed)
    open_again(database)
    (trial,) = outbox.claim(10).claimed
    outbox.settle(trial, outcome, "HTTP 500")
    assert database.select("beckn_circuits", order=OrderBy(("recipient",))) == []


# What is left of finished work ----------------------------------------------------------------------------------


def test_a_minute_after_the_work_the_body_is_gone_and_a_repeat_is_known_all_the_same(database: Database) -> None:
    inbox, outbox = inbox_of(database), outbox_of(database)
    message = incoming("buyer")
    inbox.store(message)
    (claim,) = inbox.claim(1).claimed
    inbox.finish(claim.lease, [outgoing("buyer")])
    (sent,) = outbox.claim(1).claimed
    outbox.settle(sent, Outcome.DELIVERED, None)
    ages_ago = utc_now() - timedelta(minutes=2)
    for table, key, number in (
        ("beckn_inbox", "inbox_id", claim.inbox_id),
        ("beckn_outbox", "outbox_id", sent.outbox_id),
    ):
        assert database.select(table, order=OrderBy((key,)))[0]["body"]
        database.update(table, {"finished_at": ages_ago}, where=[Where(key, number)])
    inbox.claim(1)
    outbox.claim(1)
    assert rows(database)[0]["body"] is None
    (row,) = database.select("beckn_inbox", order=OrderBy(("inbox_id",)))
    assert row["body"] is None
    assert inbox.store(message).is_ack
    assert inbox.claim(1).claimed == ()


def test_what_was_answered_is_forgotten_an_hour_after_its_time_and_what_was_given_up_after_a_week(
    database: Database,
) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing(to) for to in ("answered", "dead", "long-dead")])
    by_recipient = {claim.recipient: claim for claim in outbox.claim(10).claimed}
    for recipient, outcome, hours in (
        ("answered.example", Outcome.DELIVERED, 2),
        ("dead.example", Outcome.DEAD, 24),
        ("long-dead.example", Outcome.DEAD, 24 * 8),
    ):
        claim = by_recipient[recipient]
        outbox.settle(claim, outcome, "refused")
        then = utc_now() - timedelta(hours=hours)
        values: Row = {"finished_at": then, "expires_at": then}
        database.update("beckn_outbox", values, where=[Where("outbox_id", claim.outbox_id)])
    assert database.call("beckn_prune", {"p_before": utc_now() - timedelta(days=90)}) == {"inbox": 0, "outbox": 2}
    assert [row["recipient"] for row in rows(database)] == ["dead.example"]
