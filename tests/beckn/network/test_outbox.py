"""The outbox through both doors: put once, taken in order, settled; and its delivery over real HTTP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from beckn.network.dead_letters import dead_letters
from beckn.network.delivery import Deliverer
from beckn.network.outbox import Outbox, OutboxClaim, Outcome, OutgoingMessage, Settled
from beckn.network.outgoing_calls import Caller
from beckn.network.subscribers import Registry, Role
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action
from beckn.protocol.signing import SignatureHeader, verify
from beckn_network import (
    ACKNOWLEDGED,
    NACKED,
    Arrival,
    Party,
    Peer,
    a_message,
    buyer,
    eventually,
    in_bytes,
    peer,
    provider,
)
from clock import utc_now
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339

PROVIDER, BUYER = provider(), buyer()


def outbox_of(database: Database, *, lease_seconds: float = 60, worker: str = "one", **options: Any) -> Outbox:
    return Outbox(
        database,
        PROVIDER.subscriber_id,
        worker=worker,
        lease_seconds=lease_seconds,
        first_retry_seconds=0.02,
        **options,
    )


def outgoing(action: Action = Action.ON_SELECT, *, to: Party = BUYER, **changes: Any) -> OutgoingMessage:
    body = in_bytes(a_message(action, to, PROVIDER, message={"order": {"id": "Zoë"}}, **changes))
    return OutgoingMessage(to.subscriber_id, Role.BAP, read_context(body, action, now=utc_now()), body)


def rows(database: Database) -> list[Row]:
    return database.select("beckn_outbox", order=OrderBy(("outbox_id",)))


def claim_one(outbox: Outbox) -> OutboxClaim:
    (claim,) = outbox.claim(1).claimed
    return claim


def make_due(database: Database, claim: OutboxClaim) -> None:
    past = utc_now() - timedelta(seconds=1)
    database.update(
        "beckn_outbox", {"scheduled_at": past, "leased_until": past}, where=[Where("outbox_id", claim.outbox_id)]
    )


def test_a_message_is_handed_out_as_it_was_put_with_its_recipients_url(database: Database) -> None:
    BUYER.register(database)
    message = outgoing()
    outbox = outbox_of(database)
    assert outbox.put([message]) == 1
    claim = claim_one(outbox)
    assert (claim.recipient, claim.recipient_type, claim.action) == ("buyer.example", Role.BAP, Action.ON_SELECT)
    assert (claim.url, claim.private_address, claim.attempt) == (BUYER.url, True, 1)
    assert claim.body == message.body
    assert claim.authorization is None
    assert outbox.claim(10).claimed == ()


def test_a_message_that_is_put_twice_is_sent_once(database: Database) -> None:
    message = outgoing()
    outbox = outbox_of(database)
    assert [outbox.put([message, message]), outbox.put([message])] == [1, 0]
    assert len(rows(database)) == 1


def test_each_platform_sends_only_its_own(postgres: PostgresDatabase) -> None:
    outbox_of(postgres).put([outgoing()])
    assert Outbox(postgres, "another.example").claim(10).claimed == ()


def test_messages_of_one_transaction_go_one_after_the_other(database: Database) -> None:
    first = outgoing()
    transaction_id = first.context.transaction_id
    second = outgoing(Action.ON_STATUS, transaction_id=transaction_id)
    elsewhere = outgoing(Action.ON_STATUS, to=buyer(subscriber_id="other.example"), transaction_id=transaction_id)
    outbox = outbox_of(database)
    outbox.put([first, second, elsewhere])
    claimed = outbox.claim(10).claimed
    assert [claim.recipient for claim in claimed] == ["buyer.example", "other.example"]
    assert outbox.settle(claimed[0], Outcome.RETRY, "down") is Settled.RETRY
    again = eventually(lambda: outbox.claim(10).claimed)
    assert [str(claim.message_id) for claim in again] == [first.context.message_id]
    assert outbox.settle(again[0], Outcome.DEAD, "refused") is Settled.DEAD
    assert str(claim_one(outbox).message_id) == second.context.message_id


def test_one_recipient_that_hangs_does_not_hold_up_the_others(database: Database) -> None:
    outbox = outbox_of(database, most_at_once_per_recipient=2)
    outbox.put([outgoing() for _ in range(4)])
    in_hand = [claim_one(outbox) for _ in range(2)]
    assert outbox.claim(10).claimed == ()
    outbox.put([outgoing(to=buyer(subscriber_id="other.example"))])
    assert claim_one(outbox).recipient == "other.example"
    outbox.settle(in_hand[0], Outcome.DELIVERED, None)
    assert claim_one(outbox).recipient == "buyer.example"


def test_a_process_that_lost_its_lease_settles_nothing(database: Database) -> None:
    slow, quick = outbox_of(database, worker="slow"), outbox_of(database, worker="quick")
    slow.put([outgoing()])
    lost = claim_one(slow)
    make_due(database, lost)
    taken = claim_one(quick)
    assert taken.attempt == 2
    assert slow.settle(lost, Outcome.DEAD, "too late") is Settled.FENCED
    assert quick.settle(taken, Outcome.DELIVERED, None) is Settled.DELIVERED
    assert quick.settle(taken, Outcome.DELIVERED, None) is Settled.FENCED
    assert rows(database)[0]["work_state"] == "completed"


def test_pauses_double_and_the_last_attempt_is_made_before_the_time_is_over(postgres: PostgresDatabase) -> None:
    outbox = Outbox(postgres, PROVIDER.subscriber_id, first_retry_seconds=1.0)
    message = outgoing()
    outbox.put([message])
    for attempt in range(1, 9):
        claim = claim_one(outbox)
        assert outbox.settle(claim, Outcome.RETRY, "down") is Settled.RETRY
        due_at = TypeAdapter(datetime).validate_python(rows(postgres)[0]["scheduled_at"])
        due_in_s = (due_at - utc_now()).total_seconds()
        left_s = (claim.expires_at - utc_now()).total_seconds()
        pause_s = 2.0 ** (attempt - 1)
        assert min(0.7 * pause_s, left_s - 1.1) <= due_in_s <= min(1.3 * pause_s, left_s - 0.9)
        make_due(postgres, claim)


def test_an_attempt_that_fails_in_the_last_second_is_the_last(database: Database) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing(timestamp=rfc3339(utc_now() - timedelta(seconds=29.2)))])
    assert outbox.settle(claim_one(outbox), Outcome.RETRY, "HTTP 503") is Settled.DEAD
    (dead,) = dead_letters(database, 10).outbox
    assert dead.last_error == "its ttl ended after 1 attempts; the last: HTTP 503"
    assert (dead.recipient, dead.sender, dead.attempts) == ("buyer.example", "provider.example", 1)


def test_a_message_whose_time_is_over_is_not_sent(database: Database) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing(timestamp=rfc3339(utc_now() - timedelta(seconds=29.8)))])
    (dead,) = eventually(lambda: outbox.claim(0).died)
    assert dead.last_error == "its ttl ended after 0 attempts"
    assert outbox.claim(1).claimed == ()


def test_the_outbox_says_when_to_look_again(database: Database) -> None:
    outbox = outbox_of(database, lease_seconds=5)
    assert outbox.claim(1).next_due_seconds is None
    outbox.put([outgoing()])
    due_s = outbox.claim(1).next_due_seconds
    assert due_s is not None
    assert 4 < due_s <= 5


def test_old_messages_are_forgotten_and_open_ones_only_when_their_time_is_over(database: Database) -> None:
    outbox = outbox_of(database)
    outbox.put([outgoing() for _ in range(3)])
    outbox.settle(claim_one(outbox), Outcome.DELIVERED, None)
    outbox.settle(claim_one(outbox), Outcome.DEAD, "refused")

    def prune(seconds_from_now: float) -> Any:
        return database.call("beckn_prune", {"p_before": utc_now() + timedelta(seconds=seconds_from_now)})

    assert prune(-60) == {"inbox": 0, "outbox": 0}
    assert prune(10) == {"inbox": 0, "outbox": 2}
    assert [row["work_state"] for row in rows(database)] == ["available"]
    assert prune(60) == {"inbox": 0, "outbox": 1}


# Delivery -------------------------------------------------------------------------------------------------------


@contextmanager
def delivering(
    database: Database,
    *,
    authenticates: bool = True,
    whole_call_s: float = 1,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[Deliverer]:
    deliverer = Deliverer(
        database,
        outbox_of(database, lease_seconds=2),
        PROVIDER.signer,
        authenticates=authenticates,
        threads=4,
        poll_seconds=0.2,
        caller=Caller(connect_timeout_s=0.5, whole_call_s=whole_call_s),
        clock=clock,
    )
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def a_buyer(database: Database, other: Peer, subscriber_id: str = "buyer.example", **changes: Any) -> Party:
    party = buyer(other.url, subscriber_id)
    party.register(database, **changes)
    return party


def settled_state(database: Database) -> str:
    """What became of the one message, once that is known."""
    row: Row = eventually(lambda: next((row for row in rows(database) if row["finished_at"]), None))
    return str(row["work_state"])


def test_a_message_is_delivered_signed_to_the_registered_url(database: Database) -> None:
    with peer() as other, delivering(database):
        party = a_buyer(database, other)
        message = outgoing(to=party)
        outbox_of(database).put([message])
        (arrival,) = other.wait_for(1)
        assert settled_state(database) == "completed"
    assert (arrival.path, arrival.body) == ("/beckn/on_select", message.body)
    header = SignatureHeader.parse(arrival.headers["Authorization"])
    assert header.subscriber_id == "provider.example"
    verify(header, arrival.body, public_key=PROVIDER.signer.key.signing.public_key, now=utc_now())
    assert "X-Gateway-Authorization" not in arrival.headers


def test_a_buyer_that_is_down_for_three_tries_gets_the_message_once(postgres: PostgresDatabase) -> None:
    with peer(listening=False) as other:
        outbox = outbox_of(postgres)
        outbox.put([outgoing(Action.ON_SEARCH, to=a_buyer(postgres, other))])
        with delivering(postgres):
            eventually(lambda: rows(postgres)[0]["attempt"] >= 3)
            assert "ConnectionRefused" in rows(postgres)[0]["last_error"]
            other.up()
            other.wait_for(1)
            assert settled_state(postgres) == "completed"
        assert len(other.arrivals) == 1
    assert rows(postgres)[0]["attempt"] >= 4


def test_every_attempt_is_signed_anew_over_the_same_bytes(postgres: PostgresDatabase) -> None:
    answers = [(503, b""), (200, b"not JSON"), (200, b'{"message": {"ack": {"status": "ACK", "tags": []}}, "x": 1}')]
    with peer() as other:
        other.answer = lambda _: answers[min(len(other.arrivals), 2)]
        message = outgoing(to=a_buyer(postgres, other))
        outbox_of(postgres).put([message])
        seconds = itertools.count()  # a signature is of a whole second, so each attempt is in another
        with delivering(postgres, clock=lambda: utc_now() + timedelta(seconds=next(seconds))):
            arrivals = other.wait_for(3)
            assert settled_state(postgres) == "completed"
    assert {arrival.body for arrival in arrivals} == {message.body}
    headers = [SignatureHeader.parse(arrival.headers["Authorization"]) for arrival in arrivals]
    assert headers[0].created < headers[-1].created
    assert {header.expires for header in headers} == {int(-(-claimed_end(message) // 1))}


def claimed_end(message: OutgoingMessage) -> float:
    return (message.context.timestamp + message.context.ttl).timestamp()


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (200, NACKED, "refused with HTTP 200: 40001 not now"),
        (400, NACKED, "refused with HTTP 400: 40001 not now"),
        (400, b"<h1>Bad Request</h1>", "refused with HTTP 400: <h1>Bad Request</h1>"),
        (401, b"", "refused with HTTP 401: an empty body"),
        (409, NACKED, "refused with HTTP 409: 40001 not now"),
    ],
)
def test_a_refusal_ends_it_at_once_and_an_operator_sees_why(
    postgres: PostgresDatabase, status: int, answer: bytes, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with peer() as other, delivering(postgres):
        other.answer = lambda _: (status, answer)
        outbox_of(postgres).put([outgoing(to=a_buyer(postgres, other))])
        assert settled_state(postgres) == "discarded"
    assert len(other.arrivals) == 1
    assert dead_letters(postgres, 10).outbox[0].last_error == told
    assert told in caplog.text


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_what_may_pass_is_tried_again(postgres: PostgresDatabase, status: int) -> None:
    with peer() as other, delivering(postgres):
        other.answer = lambda _: (
            (status, NACKED if status >= 500 else b"") if len(other.arrivals) < 2 else (200, ACKNOWLEDGED)
        )
        outbox_of(postgres).put([outgoing(to=a_buyer(postgres, other))])
        assert settled_state(postgres) == "completed"
    assert len(other.arrivals) == 3


def test_a_platform_that_never_answers_is_given_up_when_the_messages_time_is_over(postgres: PostgresDatabase) -> None:
    done = threading.Event()

    def say_nothing(_: Arrival) -> tuple[int, bytes]:
        done.wait(30)
        return 200, b""

    with peer() as silent, peer() as other, delivering(postgres, whole_call_s=0.3):
        silent.answer = say_nothing
        outbox = outbox_of(postgres)
        soon = rfc3339(utc_now() - timedelta(seconds=27.5))
        outbox.put([outgoing(to=a_buyer(postgres, silent), timestamp=soon)])
        outbox.put([outgoing(to=a_buyer(postgres, other, "other.example"))])
        other.wait_for(1)  # which is not held up
        (dead,) = eventually(lambda: dead_letters(postgres, 1).outbox)
        done.set()
    assert "no whole answer within 0.3 s" in dead.last_error
    assert dead.last_error.startswith("its ttl ended after ")
    assert dead.attempts >= 2


def test_a_private_address_is_called_only_where_an_operator_allowed_it(postgres: PostgresDatabase) -> None:
    with peer() as other, delivering(postgres):
        party = a_buyer(postgres, other, private_address=False)
        outbox_of(postgres).put([outgoing(to=party)])
        assert settled_state(postgres) == "discarded"
        assert "--private-address" in dead_letters(postgres, 1).outbox[0].last_error
        assert other.arrivals == []


def test_a_platform_that_left_the_network_is_not_called(postgres: PostgresDatabase) -> None:
    with peer() as other, delivering(postgres):
        party = a_buyer(postgres, other)
        Registry(postgres).revoke(party.subscriber_id, None, utc_now())
        outbox_of(postgres).put([outgoing(to=party)])
        assert settled_state(postgres) == "discarded"
        assert dead_letters(postgres, 1).outbox[0].last_error == "buyer.example is not subscribed as BAP"
        assert other.arrivals == []


def test_the_url_is_the_one_that_is_registered_now(postgres: PostgresDatabase) -> None:
    with peer(listening=False) as old, peer() as new:
        party = a_buyer(postgres, old)
        outbox_of(postgres).put([outgoing(to=party)])
        with delivering(postgres):
            eventually(lambda: rows(postgres)[0]["attempt"] >= 1)
            party.url = new.url
            party.register(postgres)
            new.wait_for(1)


def test_without_signatures_there_is_none_and_only_this_machine_is_called(postgres: PostgresDatabase) -> None:
    with peer() as other, delivering(postgres, authenticates=False):
        outbox = outbox_of(postgres)
        outbox.put([outgoing(to=a_buyer(postgres, other))])
        (arrival,) = other.wait_for(1)
        assert "Authorization" not in arrival.headers
        far = buyer("http://10.1.2.3/beckn", "far.example")
        far.register(postgres)
        outbox.put([outgoing(to=far)])
        eventually(lambda: dead_letters(postgres, 1).outbox)
        assert "BECKN_AUTH=off" in dead_letters(postgres, 1).outbox[0].last_error


def test_several_processes_deliver_everything_and_nothing_twice(postgres: PostgresDatabase) -> None:
    with peer() as other, delivering(postgres), delivering(postgres):
        party = a_buyer(postgres, other)
        messages = [outgoing(to=party) for _ in range(40)]
        outbox_of(postgres).put(messages)
        arrivals = other.wait_for(40)
        eventually(lambda: all(row["work_state"] == "completed" for row in rows(postgres)))
    assert sorted(arrival.body for arrival in arrivals) == sorted(message.body for message in messages)
    assert len(other.arrivals) == 40
