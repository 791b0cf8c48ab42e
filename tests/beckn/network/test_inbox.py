"""The inbox through both doors: stored once, worked on once, in order, and ended together with what it led to."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from beckn.network.dead_letters import dead_letters
from beckn.network.health import network_health
from beckn.network.inbox import Inbox, InboxClaim
from beckn.network.inbox_workers import InboxWorkers
from beckn.network.outbox import Outbox, OutgoingMessage
from beckn.network.reception import IncomingMessage
from beckn.network.settings import load_network_settings
from beckn.network.subscribers import Registry, Role
from beckn.protocol.acknowledgement import ACK, Refused
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action
from beckn_network import Party, a_message, buyer, eventually, in_bytes, provider
from clock import utc_now
from database.errors import DatabaseError, DatabaseUnreachable
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from settings import load_settings

PROVIDER, BUYER = provider(), buyer()


def inbox_of(database: Database, *, lease_seconds: float = 60, worker: str = "one") -> Inbox:
    return Inbox(
        database, PROVIDER.subscriber_id, worker=worker, lease_seconds=lease_seconds, first_retry_seconds=0.02
    )


def incoming(action: Action = Action.SELECT, *, key_id: str | None = None, **changes: Any) -> IncomingMessage:
    """A message that passed its checks."""
    sender: Party = PROVIDER if action.startswith("on_") else BUYER
    body = in_bytes(a_message(action, BUYER, PROVIDER, message={"order": {"id": "Zoë"}}, **changes))
    context = read_context(body, action, now=utc_now())
    return IncomingMessage(action, context, body, sender.subscriber_id, key_id, None)


def outgoing(message: IncomingMessage, action: Action = Action.ON_SELECT) -> OutgoingMessage:
    """The callback that answers a message."""
    body = in_bytes(a_message(action, BUYER, PROVIDER))
    context = message.context.model_copy(update={"action": action})
    return OutgoingMessage(BUYER.subscriber_id, Role.BAP, context, body)


def rows(database: Database, table: str = "beckn_inbox") -> list[Row]:
    return database.select(table, order=OrderBy(("inbox_id" if table == "beckn_inbox" else "outbox_id",)))


def claim_one(inbox: Inbox) -> InboxClaim:
    (claim,) = inbox.claim(1).claimed
    return claim


def run_out(database: Database, claim: InboxClaim) -> None:
    """Let a lease's time pass, and whatever pause comes after it."""
    past = utc_now() - timedelta(hours=1)
    database.update(
        "beckn_inbox", {"scheduled_at": past, "leased_until": past}, where=[Where("inbox_id", claim.inbox_id)]
    )


def test_a_stored_message_is_handed_out_as_it_came(database: Database) -> None:
    message = incoming()
    inbox = inbox_of(database)
    assert inbox.store(message) == ACK
    claim = claim_one(inbox)
    assert (claim.sender, claim.action, claim.attempt) == (BUYER.subscriber_id, Action.SELECT, 1)
    assert claim.body == message.body
    assert str(claim.message_id) == message.context.message_id
    assert claim.expires_at == message.expires_at
    assert inbox.claim(10).claimed == ()


def test_the_same_message_again_is_acknowledged_again_and_stored_once(database: Database) -> None:
    message = incoming()
    inbox = inbox_of(database)
    assert [inbox.store(message) for _ in range(3)] == [ACK] * 3
    assert len(rows(database)) == 1
    assert inbox.finish(claim_one(inbox).lease)
    assert inbox.store(message) == ACK
    assert inbox.claim(10).claimed == ()


def test_a_message_that_arrives_many_times_at_once_is_stored_once(postgres: PostgresDatabase) -> None:
    message = incoming()
    inbox = inbox_of(postgres)
    answers: list[Any] = []
    together = threading.Barrier(8)

    def arrive() -> None:
        together.wait()
        answers.append(inbox.store(message))

    threads = [threading.Thread(target=arrive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ACK] * 8
    assert len(rows(postgres)) == 1


def test_another_body_under_the_same_message_id_is_refused(database: Database) -> None:
    message = incoming()
    inbox = inbox_of(database)
    inbox.store(message)
    other = IncomingMessage(message.action, message.context, message.body + b" ", message.sender, None, None)
    with pytest.raises(Refused) as refused:
        inbox.store(other)
    assert refused.value.status == 400
    assert refused.value.error.paths == "context.message_id"
    assert len(rows(database)) == 1


@pytest.mark.parametrize("same", ["action", "sender", "recipient"])
def test_a_message_id_counts_for_one_sender_recipient_and_action(postgres: PostgresDatabase, same: str) -> None:
    message = incoming()
    inbox_of(postgres).store(message)
    action = Action.INIT if same == "action" else message.action
    sender = "other.example" if same == "sender" else message.sender
    inbox = Inbox(postgres, "another.example") if same == "recipient" else inbox_of(postgres)
    inbox.store(IncomingMessage(action, message.context, b"{}", sender, None, None))
    assert len(rows(postgres)) == 2


def test_a_uuid_in_capitals_is_the_same_uuid(postgres: PostgresDatabase) -> None:
    message = incoming()
    shouted = incoming(message_id=message.context.message_id.upper())
    inbox_of(postgres).store(message)
    with pytest.raises(Refused):
        inbox_of(postgres).store(shouted)


def test_a_key_that_was_revoked_since_the_check_is_refused_when_the_message_is_stored(database: Database) -> None:
    party = buyer()
    party.register(database)
    key_id = party.signer.key.key_id
    inbox_of(database).store(incoming(key_id=key_id))
    Registry(database).revoke(party.subscriber_id, key_id, utc_now())
    with pytest.raises(Refused) as refused:
        inbox_of(database).store(incoming(key_id=key_id))
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith('Signature realm="provider.example"')
    assert len(rows(database)) == 1


def test_messages_of_one_transaction_are_worked_on_one_after_the_other(database: Database) -> None:
    first, other = incoming(Action.SELECT), incoming(Action.SELECT)
    second = incoming(Action.INIT, transaction_id=first.context.transaction_id)
    inbox = inbox_of(database)
    for message in (first, second, other):
        inbox.store(message)
    claimed = inbox.claim(10).claimed
    assert [str(claim.message_id) for claim in claimed] == [first.context.message_id, other.context.message_id]
    assert inbox.claim(10).claimed == ()
    assert inbox.finish(claimed[0].lease)
    assert str(claim_one(inbox).message_id) == second.context.message_id


def test_the_end_of_the_work_and_what_it_led_to_are_stored_together_once(database: Database) -> None:
    message = incoming()
    inbox = inbox_of(database)
    inbox.store(message)
    claim = claim_one(inbox)
    callback = outgoing(message)
    assert inbox.finish(claim.lease, [callback])
    assert inbox.finish(claim.lease, [callback])
    (stored,) = rows(database, "beckn_outbox")
    assert (stored["sender"], stored["recipient"], stored["recipient_type"]) == (
        "provider.example",
        "buyer.example",
        "BAP",
    )
    assert (stored["action"], stored["body"].encode()) == ("on_select", callback.body)
    assert rows(database)[0]["work_state"] == "completed"


def test_a_worker_that_lost_its_lease_stores_nothing(database: Database) -> None:
    message = incoming()
    slow, quick = inbox_of(database, worker="slow"), inbox_of(database, worker="quick")
    slow.store(message)
    lost = claim_one(slow)
    run_out(database, lost)
    taken = claim_one(quick)
    assert (taken.inbox_id, taken.attempt) == (lost.inbox_id, 2)
    assert taken.lease_token > lost.lease_token
    assert slow.finish(lost.lease, [outgoing(message)]) is False
    assert slow.fail(lost.lease, "too slow") is False
    assert rows(database, "beckn_outbox") == []
    assert quick.finish(taken.lease, [outgoing(message)])
    assert slow.finish(lost.lease, [outgoing(message)]) is False
    assert len(rows(database, "beckn_outbox")) == 1


def test_work_that_fails_is_tried_again_until_it_is_given_up(database: Database) -> None:
    inbox = inbox_of(database)
    inbox.store(incoming())
    for attempt in range(1, 6):
        claim = eventually(lambda: inbox.claim(1).claimed)[0]
        assert claim.attempt == attempt
        assert inbox.fail(claim.lease, f"error {attempt}") is (attempt == 5)
    assert inbox.claim(1).claimed == ()
    (dead,) = dead_letters(database, 10).inbox
    assert (dead.attempts, dead.last_error, dead.recipient) == (5, "error 5", "provider.example")


def test_a_lease_that_runs_out_again_and_again_ends_among_the_dead(database: Database) -> None:
    inbox = inbox_of(database)
    inbox.store(incoming())
    for _ in range(20):
        run_out(database, claim_one(inbox))
    found = inbox.claim(1)
    assert found.claimed == ()
    (dead,) = found.died
    assert dead.last_error == "its lease ran out 20 times, last held by one"


def test_lost_leases_do_not_count_as_failures_of_the_work(database: Database) -> None:
    inbox = inbox_of(database)
    inbox.store(incoming())
    for _ in range(6):
        run_out(database, claim_one(inbox))
    for attempt in range(1, 6):
        claim = eventually(lambda: inbox.claim(1).claimed)[0]
        assert inbox.fail(claim.lease, f"error {attempt}") is (attempt == 5)


def test_a_request_whose_time_is_over_is_not_worked_on(database: Database) -> None:
    inbox = inbox_of(database)
    inbox.store(incoming(timestamp=rfc3339(utc_now() - timedelta(seconds=29.8))))
    (dead,) = eventually(lambda: inbox.claim(0).died)
    assert dead.last_error == "its ttl ended before it was worked on"
    assert inbox.claim(1).claimed == ()


def test_a_callback_is_worked_on_however_late(database: Database) -> None:
    inbox = inbox_of(database)
    inbox.store(incoming(Action.ON_STATUS, ttl="PT1S"))
    assert claim_one(inbox).expires_at is None


def test_the_inbox_says_when_to_look_again(database: Database) -> None:
    inbox = inbox_of(database, lease_seconds=5)
    assert inbox.claim(1).next_due_seconds is None
    inbox.store(incoming())
    due_s = inbox.claim(1).next_due_seconds
    assert due_s is not None
    assert 4 < due_s <= 5


def test_the_health_page_counts_what_waits_what_is_in_hand_and_what_is_dead(database: Database) -> None:
    inbox = inbox_of(database)
    network = load_network_settings(load_settings({}), {})
    assert network_health(database, network).model_dump() == {
        "authentication": "on",
        "inbox": {"waiting": 0, "in_flight": 0, "dead": 0, "oldest_waiting_seconds": None},
        "outbox": {"waiting": 0, "in_flight": 0, "dead": 0, "oldest_waiting_seconds": None},
    }
    for _ in range(3):
        inbox.store(incoming())
    claim_one(inbox)
    message = incoming(timestamp=rfc3339(utc_now() - timedelta(seconds=29.9)))
    inbox.store(message)
    Outbox(database, "provider.example").put([outgoing(message)])
    eventually(lambda: inbox.claim(0).died)
    health = network_health(database, network)
    assert (health.inbox.waiting, health.inbox.in_flight, health.inbox.dead) == (2, 1, 1)
    assert (health.outbox.waiting, health.outbox.in_flight, health.outbox.dead) == (1, 0, 0)
    assert health.inbox.oldest_waiting_seconds is not None
    assert health.inbox.oldest_waiting_seconds >= 0


def test_old_messages_are_forgotten_by_the_pipeline(postgres: PostgresDatabase) -> None:
    inbox = inbox_of(postgres)
    for message in (incoming(), incoming(), incoming(Action.ON_STATUS)):
        inbox.store(message)
    inbox.finish(claim_one(inbox).lease)
    postgres.call("prune_history", {"p_before": utc_now() - timedelta(seconds=60)})
    assert len(rows(postgres)) == 3
    postgres.call("prune_history", {"p_before": utc_now() + timedelta(seconds=10)})
    assert [row["work_state"] for row in rows(postgres)] == ["available"]
    assert rows(postgres)[0]["action"] == "select"


# Workers --------------------------------------------------------------------------------------------------------


def test_a_message_is_held_for_as_long_as_the_work_on_it_takes(database: Database) -> None:
    inbox, other = inbox_of(database), inbox_of(database)
    inbox.store(incoming())
    held = claim_one(inbox)
    run_out(database, held)
    inbox.extend([replace(held.lease, token=0)])
    inbox.extend([held.lease])
    assert other.claim(1).claimed == ()
    assert inbox.finish(held.lease)


def test_workers_take_what_is_stored_and_store_what_it_leads_to(database: Database) -> None:
    inbox = inbox_of(database)
    messages = [incoming() for _ in range(5)]
    by_id = {message.context.message_id: message for message in messages}
    finished = threading.Event()
    workers = InboxWorkers(
        database,
        inbox,
        lambda claim: [outgoing(by_id[str(claim.message_id)])],
        finished=finished.set,
        poll_seconds=0.2,
    )
    workers.start()
    try:
        for message in messages:
            inbox.store(message)
        eventually(lambda: len(rows(database, "beckn_outbox")) == 5)
    finally:
        workers.stop()
    assert finished.is_set()
    assert {row["work_state"] for row in rows(database)} == {"completed"}


def test_a_worker_that_raises_tries_again_and_goes_on(
    postgres: PostgresDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = inbox_of(postgres)
    seen: list[int] = []

    def handle(claim: InboxClaim) -> list[OutgoingMessage]:
        seen.append(claim.attempt)
        if claim.attempt < 3:
            raise ValueError("a bug")
        return []

    workers = InboxWorkers(postgres, inbox, handle, threads=1)
    inbox.store(incoming())
    workers.start()
    try:
        eventually(lambda: rows(postgres)[0]["work_state"] == "completed")
    finally:
        workers.stop()
    assert seen == [1, 2, 3]
    assert "a bug" in caplog.text


def test_a_database_that_is_away_costs_no_attempt(postgres: PostgresDatabase) -> None:
    inbox = inbox_of(postgres, lease_seconds=0.1)
    away = [True]

    def handle(_: InboxClaim) -> list[OutgoingMessage]:
        if away.pop() if away else False:
            raise DatabaseUnreachable("restarting")
        return []

    workers = InboxWorkers(postgres, inbox, handle, threads=1)
    inbox.store(incoming())
    workers.start()
    try:
        eventually(lambda: rows(postgres)[0]["work_state"] == "completed")
    finally:
        workers.stop()
    (row,) = rows(postgres)
    assert row["last_error"] is None
    assert (row["attempt"], row["lost_leases"]) == (1, 0)


def test_nothing_is_stored_under_a_wrong_action(postgres: PostgresDatabase) -> None:
    """The outbox's own rules hold whatever a caller passes."""
    message = incoming()
    inbox = inbox_of(postgres)
    inbox.store(message)
    claim = claim_one(inbox)
    broken = outgoing(message)
    row = broken.row() | {"recipient_type": "SHOP"}
    with pytest.raises(DatabaseError):
        postgres.call(
            "beckn_finish_inbox",
            {"p_inbox_id": claim.inbox_id, "p_lease_token": claim.lease_token, "p_outgoing": [row]},
        )
    assert rows(postgres)[0]["work_state"] == "running"
