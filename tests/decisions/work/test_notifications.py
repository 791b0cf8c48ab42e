"""The queue through both doors: claims, leases, fencing, dead letters, and publishing exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

from database.errors import AccessRefused, DatabaseError, RowRefused
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.publishing.store import ContextState, PublishedDecisions
from decisions.scoring.context import Capacity
from decisions.scoring.signals import read_signals
from decisions.work.notifications import (
    Claim,
    DecisionRecord,
    FailureState,
    Lease,
    NotificationReason,
    PublishState,
    WorkQueue,
)
from grid.half_hours import half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_world, submit, workload
from ingest.reconsidering import reconsider_deferred
from vocabulary import WorkloadStatus

BY_ID = OrderBy(("notification_id",))
BY_SEQUENCE = OrderBy(("sequence",))
GRID: Row = {"as_of": "2026-11-22T08:04:11Z", "data_centres": []}


def queue_of(database: Database, agent: str = "gateway-1", *, lease_seconds: float = 60) -> WorkQueue:
    return WorkQueue(database, agent, lease_seconds=lease_seconds)


def record(claim: Claim | Lease, job_id: str = "", **changes: Any) -> DecisionRecord:
    """A decision that places a workload nowhere in particular."""
    lease = claim.lease if isinstance(claim, Claim) else claim
    job_id = claim.job_id if isinstance(claim, Claim) else job_id
    fields: dict[str, Any] = {
        "lease": lease,
        "context": {"context_id": f"context of {job_id}", "task": {"job_id": job_id}},
        "output": {"task": {"job_id": job_id}, "_metadata": {"task_id": job_id, "sequence": None}},
        "chosen_dc_id": None,
        "recommended_start": None,
        "workload_status": WorkloadStatus.QUEUED,
        "status_reason": None,
        "scorer": "deterministic",
        "model": None,
        "scorer_version": "1.0.0",
        "fallback_reason": None,
        "reasoning": "Because.",
        "constraints_evaluated": [],
        "alternatives_considered": [],
        "token_usage": None,
    }
    return DecisionRecord(**(fields | changes))


def submit_jobs(database: Database, count: int, **changes: Any) -> None:
    submit(database, *(workload(f"job-{number}", **changes) for number in range(count)))


def claim_one(queue: WorkQueue) -> Claim:
    (claim,) = queue.claim(1).claimed
    return claim


def notification(database: Database, notification_id: int) -> Row:
    (row,) = database.select("workload_notifications", where=[Where("notification_id", notification_id)], order=BY_ID)
    return row


def job(database: Database, job_id: str = "job-0") -> Row:
    (row,) = database.select("compute_workloads", where=[Where("job_id", job_id)], order=OrderBy(("job_id",)))
    return row


def decisions(database: Database) -> list[Row]:
    return database.select("orchestration_decisions", order=BY_SEQUENCE)


def run_out(database: Database, claim: Claim) -> None:
    """Let a lease's time pass, and whatever pause comes after it."""
    past = datetime.now(NOW.tzinfo) - timedelta(hours=1)
    database.update(
        "workload_notifications",
        {"leased_until": past},
        where=[Where("notification_id", claim.notification_id)],
    )


def make_due(database: Database, claim: Claim) -> None:
    past = datetime.now(NOW.tzinfo) - timedelta(seconds=1)
    database.update(
        "workload_notifications", {"scheduled_at": past}, where=[Where("notification_id", claim.notification_id)]
    )


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_every_inserted_workload_is_claimed_once_oldest_first(database: Database) -> None:
    submit_jobs(database, 3)
    queue = queue_of(database)
    first = queue.claim(2).claimed
    assert [claim.job_id for claim in first] == ["job-0", "job-1"]
    assert [claim.job_id for claim in queue.claim(10).claimed] == ["job-2"]
    assert queue.claim(10).claimed == ()
    assert {claim.attempt for claim in first} == {1}
    assert {claim.reason for claim in first} == {NotificationReason.SUBMITTED}


def test_a_workload_that_is_not_pending_asks_for_nothing(database: Database) -> None:
    submit(database, workload("job-0") | {"status": "RUNNING"})
    assert queue_of(database).claim(10).claimed == ()


HELD_UP = """
alter function public.queue_notifications_claim(text, bigint[], text, integer, timestamptz, double precision)
    rename to claim_at_last;
create function public.queue_notifications_claim(text, bigint[], text, integer, timestamptz, double precision)
returns setof public.workload_notifications language plpgsql as $$
begin
    perform pg_advisory_lock(1);
    return query select * from public.claim_at_last($1, $2, $3, $4, $5, $6);
end $$
"""


@pytest.mark.own_database
def test_a_workload_that_is_submitted_in_the_midst_of_a_claim_is_claimed_and_told(postgres: PostgresDatabase) -> None:
    """Whoever claims has begun to look when it comes, and finds it all the same: then it must be in the answer."""
    postgres.run_script(HELD_UP)
    claimed: list[Claim] = []
    with psycopg.connect(postgres.conninfo, autocommit=True) as holding:
        holding.execute("select pg_advisory_lock(1)")
        claiming = threading.Thread(target=lambda: claimed.extend(queue_of(postgres).claim(10).claimed))
        claiming.start()
        while not postgres.scalar("select count(*) from pg_locks where locktype = 'advisory' and not granted"):
            assert claiming.is_alive()
        submit(postgres, workload("job-0") | {"created_at": "2026-01-01T00:00:00Z"})
        postgres.run_script("update workload_notifications set scheduled_at = '2026-01-01'")
    claiming.join()
    assert [claim.job_id for claim in claimed] == ["job-0"]


@pytest.mark.own_database
def test_an_output_is_stored_as_the_text_it_is_but_for_its_number(postgres: PostgresDatabase) -> None:
    submit_jobs(postgres, 1)
    queue = queue_of(postgres)
    output = {
        "b": [1.50, {"z": None, "a": 'é\\"\n{}'}],
        "_metadata": {"z": 1e-7, "sequence": None, "a": {}},
        "aa": "",
    }
    queue.publish(GRID, [record(claim_one(queue), output=output)])
    stored = postgres.scalar("select output::text from orchestration_decisions")
    assert stored == orjson.dumps(output).decode().replace('"sequence":null', '"sequence":1')


def test_what_is_not_processed_is_what_still_has_to_be_decided(database: Database) -> None:
    """As programs written for the reference ask: where processed = false."""
    submit_jobs(database, 3)
    queue = queue_of(database)
    done, dead = queue.claim(2).claimed
    queue.publish(GRID, [record(done)])
    database.update("workload_notifications", {"max_attempts": 1}, where=[Where("job_id", dead.job_id)])
    assert queue.fail(dead.lease, "no").state is FailureState.DEAD
    rows = database.select("workload_notifications", where=[Where("processed", False)], order=BY_ID)
    assert {row["job_id"]: row["work_state"] for row in rows} == {"job-1": "discarded", "job-2": "available"}
    assert notification(database, done.notification_id)["processed"] is True


def test_the_names_and_words_by_which_programs_of_version_1_read_the_queue_are_kept(database: Database) -> None:
    submit_jobs(database, 4)
    queue = queue_of(database)
    done, dead, _ = queue.claim(3).claimed
    queue.publish(GRID, [record(done)])
    database.update("workload_notifications", {"max_attempts": 1}, where=[Where("job_id", dead.job_id)])
    queue.fail(dead.lease, "no")
    rows = database.select("workload_notifications", order=BY_ID)
    assert [(row["state"], row["attempts"]) for row in rows] == [
        ("done", 1),
        ("dead", 1),
        ("leased", 1),
        ("ready", 0),
    ]


def submit_for(database: Database, operator: str | None, *job_ids: str) -> None:
    if operator is not None:
        database.insert("operators", [{"operator_id": operator, "name": operator}])
    submit(database, *(workload(job_id, operator=operator) for job_id in job_ids))


def test_the_oldest_of_every_operator_is_claimed_before_the_second_of_anybody(database: Database) -> None:
    submit_for(database, "flood", *(f"flood-{number}" for number in range(20)))
    submit_for(database, "late", "late-0", "late-1")
    submit_for(database, None, "nobody-0", "nobody-1")
    queue = queue_of(database)
    assert {claim.job_id for claim in queue.claim(3).claimed} == {"flood-0", "late-0", "nobody-0"}
    assert {claim.job_id for claim in queue.claim(3).claimed} == {"flood-1", "late-1", "nobody-1"}
    assert {claim.job_id for claim in queue.claim(3).claimed} == {"flood-2", "flood-3", "flood-4"}


def test_who_comes_while_a_flood_is_worked_on_waits_for_one_of_its_work_only(database: Database) -> None:
    submit_for(database, "flood", *(f"flood-{number}" for number in range(30)))
    queue = queue_of(database)
    for _ in range(10):
        queue.publish(GRID, [record(claim_one(queue))])
    in_work = claim_one(queue)
    submit_for(database, "late", "late-0", "late-1")
    assert {claim.job_id for claim in queue.claim(2).claimed} == {"flood-11", "late-0"}
    queue.publish(GRID, [record(in_work)])
    assert {claim.job_id for claim in queue.claim(2).claimed} == {"flood-12", "late-1"}


def test_a_flood_of_retries_holds_up_no_other_operator(database: Database) -> None:
    submit_for(database, "flood", *(f"flood-{number}" for number in range(20)))
    queue = queue_of(database)
    for claim in queue.claim(20).claimed:
        queue.fail(claim.lease, "not now")
    database.update(
        "workload_notifications",
        {"scheduled_at": datetime.now(NOW.tzinfo) - timedelta(minutes=1)},
        where=[Where("work_state", "retryable")],
    )
    submit_for(database, "late", "late-0")
    assert {claim.job_id for claim in queue.claim(2).claimed} == {"flood-0", "late-0"}


def test_publishing_stores_decision_event_status_and_end_together(database: Database) -> None:
    store_world(database, data_centres=1)
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    placed = record(claim, chosen_dc_id="DC-001", recommended_start=NOW, token_usage={"prompt": 10})
    (result,) = queue.publish(GRID, [placed])
    assert (result.state, result.sequence, result.job_id) == (PublishState.PUBLISHED, 1, "job-0")

    (decision,) = decisions(database)
    assert decision["notification_id"] == claim.notification_id
    assert decision["context"] == GRID | placed.context
    assert decision["output"]["_metadata"]["sequence"] == 1
    assert decision["token_usage"] == {"prompt": 10}
    (event,) = PublishedDecisions(database).events_after(0, 10).events
    assert (event.sequence, event.event_type, event.event) == (1, "decision", decision["output"])
    stored = job(database)
    assert (stored["status"], stored["host_dc_id"]) == ("QUEUED", "DC-001")
    assert datetime.fromisoformat(stored["scheduled_start"]) == NOW
    assert notification(database, claim.notification_id)["work_state"] == "completed"


def test_publishing_again_with_the_same_lease_answers_already_and_changes_nothing(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    queue.publish(GRID, [record(claim)])
    (result,) = queue.publish(GRID, [record(claim, reasoning="Another.")])
    assert (result.state, result.sequence) == (PublishState.ALREADY, 1)
    assert [row["reasoning"] for row in decisions(database)] == ["Because."]


def test_a_worker_that_lost_its_lease_is_fenced_off(database: Database) -> None:
    submit_jobs(database, 1)
    slow, quick = queue_of(database, "slow"), queue_of(database, "quick")
    lost = claim_one(slow)
    run_out(database, lost)
    taken = claim_one(quick)
    assert (taken.notification_id, taken.attempt) == (lost.notification_id, 2)
    assert taken.lease_token > lost.lease_token

    assert slow.extend([lost.lease]) == frozenset()
    assert slow.release([lost.lease]) == 0
    assert slow.note_context(lost.lease, {}) is False
    assert slow.fail(lost.lease, "too slow").state is FailureState.FENCED
    (result,) = slow.publish(GRID, [record(lost)])
    assert (result.state, result.sequence) == (PublishState.FENCED, None)
    assert decisions(database) == []
    assert quick.publish(GRID, [record(taken)])[0].state is PublishState.PUBLISHED
    assert slow.publish(GRID, [record(lost)])[0].state is PublishState.FENCED
    assert len(decisions(database)) == 1


def test_a_lease_that_ran_out_but_was_not_taken_still_publishes(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    run_out(database, claim)
    assert queue.publish(GRID, [record(claim)])[0].state is PublishState.PUBLISHED


def test_a_heartbeat_keeps_the_lease_and_says_which_are_lost(database: Database) -> None:
    submit_jobs(database, 3)
    queue = queue_of(database)
    kept, lost, done = queue.claim(3).claimed
    queue.publish(GRID, [record(done)])
    for claim in (kept, lost):
        run_out(database, claim)
    assert claim_one(queue_of(database, "other")).notification_id == kept.notification_id
    assert queue.extend([kept.lease, lost.lease, done.lease]) == {lost.lease}
    assert queue_of(database, "other").claim(10).claimed == ()


@pytest.mark.parametrize("state", ["retryable", "running"])
def test_work_that_a_clock_of_the_future_put_off_is_due_when_the_clock_is_right(
    database: Database, state: str
) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    if state == "retryable":
        queue.fail(claim.lease, "not now")
    column = {"retryable": "scheduled_at", "running": "leased_until"}[state]
    tomorrow = datetime.now(NOW.tzinfo) + timedelta(hours=26)
    database.update(
        "workload_notifications", {column: tomorrow}, where=[Where("notification_id", claim.notification_id)]
    )
    assert claim_one(queue).notification_id == claim.notification_id


def test_released_work_is_ready_at_once_and_its_attempt_does_not_count(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    leases = [claim.lease for claim in queue.claim(2).claimed]
    assert queue.release(leases) == 2
    assert [claim.attempt for claim in queue.claim(2).claimed] == [1, 1]


def test_a_failed_notification_comes_back_later_and_dies_after_five_attempts(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    waits: list[float] = []
    for _ in range(4):
        claim = claim_one(queue)
        before = datetime.now(NOW.tzinfo)
        result = queue.fail(claim.lease, "the scorer broke")
        assert result.state is FailureState.RETRY
        assert result.run_at is not None
        waits.append((result.run_at - before).total_seconds())
        assert queue.claim(1).claimed == ()
        make_due(database, claim)
    for attempt, wait in enumerate(waits, start=1):
        assert 0.75 * 2**attempt <= wait <= 1.25 * 2**attempt + 5
    claim = claim_one(queue)
    assert queue.fail(claim.lease, "the scorer broke again").state is FailureState.DEAD
    assert queue.claim(1).claimed == ()
    assert queue.health().dead == 1
    assert notification(database, claim.notification_id)["last_error"] == "the scorer broke again"
    assert job(database)["status"] == "PENDING"


def test_a_notification_whose_workers_all_vanish_dies_in_the_end(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    for _ in range(20):
        claim = claim_one(queue)
        run_out(database, claim)
    answer = queue.claim(1)
    assert answer.claimed == ()
    assert [died.job_id for died in answer.died] == ["job-0"]
    assert notification(database, claim.notification_id)["last_error"] == (
        "its lease ran out 20 times, last held by gateway-1"
    )
    assert queue.requeue_dead() == 1
    run_out(database, claim_one(queue))
    assert claim_one(queue).attempt == 2


def test_lost_leases_do_not_count_as_failures_of_the_workload(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    for _ in range(6):
        run_out(database, claim_one(queue))
    for _ in range(4):
        claim = claim_one(queue)
        assert queue.fail(claim.lease, "the scorer broke").state is FailureState.RETRY
        make_due(database, claim)
    assert queue.fail(claim_one(queue).lease, "the scorer broke").state is FailureState.DEAD


def test_what_loses_its_lease_again_and_again_is_left_alone_for_longer_each_time(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    (first, second) = queue.claim(2).claimed
    database.update("workload_notifications", {"lost_leases": 3}, where=[Where("job_id", first.job_id)])
    just_now = datetime.now(NOW.tzinfo) - timedelta(milliseconds=1)
    database.update("workload_notifications", {"leased_until": just_now}, where=[Where("work_state", "running")])
    assert [claim.job_id for claim in queue.claim(2).claimed] == [second.job_id]
    a_while_ago = datetime.now(NOW.tzinfo) - timedelta(seconds=2.1)
    database.update("workload_notifications", {"leased_until": a_while_ago}, where=[Where("job_id", first.job_id)])
    assert [claim.job_id for claim in queue.claim(2).claimed] == [first.job_id]


def test_work_that_is_given_back_is_uncounted_and_comes_after_the_others(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    claim = claim_one(queue)
    assert queue.give_back([claim.lease], pause_s=600, reason="the disk\nis full") == 1
    assert queue.give_back([claim.lease], pause_s=600, reason="again") == 0
    row = notification(database, claim.notification_id)
    assert (row["work_state"], row["attempt"], row["lost_leases"]) == ("retryable", 0, 0)
    assert row["last_error"] == "the disk\\nis full"
    assert [other.job_id for other in queue.claim(2).claimed] == ["job-1"]


def test_health_says_for_how_long_nobody_is_on_what_is_due(database: Database) -> None:
    submit_jobs(database, 3)
    queue = queue_of(database)
    retried, leased, _ = queue.claim(3).claimed
    assert queue.health().overdue_seconds is None or queue.health().overdue_seconds == 0
    queue.fail(retried.lease, "later")
    assert queue.health().overdue_seconds == 0
    run_out(database, leased)
    overdue = queue.health().overdue_seconds
    assert overdue is not None
    assert 3590 < overdue < 3700


def test_an_operator_puts_dead_notifications_back(database: Database) -> None:
    submit_jobs(database, 3)
    queue = queue_of(database)
    claims = queue.claim(3).claimed
    ids = [claim.notification_id for claim in claims]
    database.update("workload_notifications", {"attempt": 5}, where=[Where("notification_id", ids, "in")])
    for claim in claims:
        assert queue.fail(claim.lease, "poison").state is FailureState.DEAD
    assert queue.requeue_dead([ids[0]]) == 1
    assert claim_one(queue).attempt == 1
    assert queue.requeue_dead() == 2
    assert len(queue.claim(10).claimed) == 2
    assert queue.requeue_dead() == 0


def test_a_cancelled_workload_is_not_decided(database: Database) -> None:
    submit_jobs(database, 2)
    database.update("compute_workloads", {"status": "CANCELLED"}, where=[Where("job_id", "job-0")])
    answer = queue_of(database).claim(1)
    assert answer.claimed == ()
    assert [closed.job_id for closed in answer.withdrawn] == ["job-0"]
    row = notification(database, answer.withdrawn[0].notification_id)
    assert (row["work_state"], row["last_error"]) == ("completed", "withdrawn: the workload is CANCELLED")
    assert [claim.job_id for claim in queue_of(database).claim(1).claimed] == ["job-1"]


def test_a_workload_cancelled_between_claim_and_publishing_keeps_its_status(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    cancelled, waiting = queue.claim(2).claimed
    database.update("compute_workloads", {"status": "CANCELLED"}, where=[Where("job_id", "job-0")])
    results = queue.publish(GRID, [record(cancelled), record(waiting)])
    assert [(r.job_id, r.state, r.sequence) for r in results] == [
        ("job-0", PublishState.WITHDRAWN, None),
        ("job-1", PublishState.PUBLISHED, 1),
    ]
    assert queue.publish(GRID, [record(cancelled)])[0].state is PublishState.WITHDRAWN
    assert job(database)["status"] == "CANCELLED"
    assert [row["job_id"] for row in decisions(database)] == ["job-1"]
    assert queue.health().in_flight == 0


def test_a_deleted_workload_leaves_nothing_to_publish(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    database.delete("compute_workloads", where=[Where("job_id", "job-0")])
    (result,) = queue.publish(GRID, [record(claim)])
    assert (result.state, result.job_id) == (PublishState.FENCED, None)


def test_one_bad_decision_stores_none_of_its_batch(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    good, bad = queue.claim(2).claimed
    with pytest.raises(RowRefused):
        queue.publish(GRID, [record(good), record(bad, chosen_dc_id="DC-404")])
    assert decisions(database) == []
    assert queue.publish(GRID, [record(good)])[0].sequence == 1


def test_sequences_have_no_gap_when_many_publish_at_once(database: Database) -> None:
    submit_jobs(database, 120)
    states: list[PublishState] = []

    def work(number: int) -> None:
        queue = queue_of(database, f"gateway-{number}")
        while claims := queue.claim(1 + number % 3).claimed:
            states.extend(result.state for result in queue.publish(GRID, [record(c) for c in claims]))

    in_threads(8, work)
    assert states == [PublishState.PUBLISHED] * 120
    assert [row["sequence"] for row in decisions(database)] == list(range(1, 121))
    assert len({row["job_id"] for row in decisions(database)}) == 120
    page = PublishedDecisions(database).events_after(0, 1000)
    assert [event.sequence for event in page.events] == list(range(1, 121))
    assert [event.event["_metadata"]["sequence"] for event in page.events] == list(range(1, 121))


def test_a_reader_never_sees_a_later_event_before_an_earlier_one(database: Database) -> None:
    submit_jobs(database, 60)
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        published, cursor = PublishedDecisions(database), 0
        while True:
            last_look = stop.is_set()
            page = published.events_after(cursor, 7)
            seen.extend(event.sequence for event in page.events)
            cursor = page.next
            if last_look and not page.events:
                return

    reader = threading.Thread(target=read)
    reader.start()

    def work(number: int) -> None:
        queue = queue_of(database, f"gateway-{number}")
        while claims := queue.claim(1).claimed:
            queue.publish(GRID, [record(claims[0])])

    in_threads(6, work)
    stop.set()
    reader.join()
    assert seen == list(range(1, 61))


def test_racing_repeats_of_one_publication_store_it_once(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    claim = claim_one(queue)
    states: list[PublishState] = []
    in_threads(6, lambda _: states.extend(r.state for r in queue.publish(GRID, [record(claim)])))
    assert sorted(states) == [PublishState.ALREADY] * 5 + [PublishState.PUBLISHED]
    assert len(decisions(database)) == 1


def test_sequences_go_on_from_the_greatest_after_pruning(database: Database) -> None:
    submit_jobs(database, 3)
    queue = queue_of(database)
    queue.publish(GRID, [record(claim) for claim in queue.claim(2).claimed])
    database.call("prune_history", {"p_before": datetime.now(NOW.tzinfo) + timedelta(hours=1)})
    page = PublishedDecisions(database).events_after(0, 10)
    assert (page.oldest, page.newest) == (2, 2)
    assert queue.publish(GRID, [record(claim_one(queue))])[0].sequence == 3


def test_sequences_go_on_from_the_decisions_when_the_log_is_emptied(database: Database) -> None:
    submit_jobs(database, 3)
    queue, published = queue_of(database), PublishedDecisions(database)
    queue.publish(GRID, [record(claim) for claim in queue.claim(2).claimed])
    assert database.delete("broadcast_log", where=[Where("sequence", 0, "gt")]) == 2
    for after in (0, 1, 2):
        page = published.events_after(after, 10)
        assert (page.events, page.next, page.oldest, page.newest) == ((), 2, None, 2)
    assert published.events_after(0, 0).next == 0
    assert published.events_after(7, 10).next == 7
    assert queue.publish(GRID, [record(claim_one(queue))])[0].sequence == 3
    page = published.events_after(0, 10)
    assert ([event.sequence for event in page.events], page.next, page.oldest, page.newest) == ([3], 3, 3, 3)


def test_sequences_go_on_after_events_that_no_decision_stands_for(database: Database) -> None:
    submit_jobs(database, 2)
    queue = queue_of(database)
    queue.publish(GRID, [record(claim_one(queue))])
    database.insert("broadcast_log", [{"sequence": 2, "event_type": "notice", "event": {}}])
    assert queue.publish(GRID, [record(claim_one(queue))])[0].sequence == 3
    database.delete("broadcast_log", where=[Where("sequence", 0, "gt")])
    submit(database, workload("job-9"))
    assert queue.publish(GRID, [record(claim_one(queue))])[0].sequence == 4


def test_a_deferred_workload_asks_again_after_the_next_run_and_only_once(database: Database) -> None:
    submit_jobs(database, 1, deadline=NOW + timedelta(hours=2))
    queue = queue_of(database)
    deferral = {"workload_status": WorkloadStatus.DEFERRED_CARBON, "status_reason": "Too much carbon."}
    queue.publish(GRID, [record(claim_one(queue), **deferral)])
    stored = job(database)
    assert (stored["status"], stored["status_reason"]) == ("DEFERRED_CARBON", "Too much carbon.")
    assert (stored["host_dc_id"], stored["scheduled_start"]) == (None, None)
    assert queue.claim(1).claimed == ()

    answer = reconsider_deferred(database, NOW)
    assert (answer.reconsidered, answer.failed) == (("job-0",), ())
    assert reconsider_deferred(database, NOW).reconsidered == ()
    again = claim_one(queue)
    assert (again.reason, again.attempt) == (NotificationReason.RECONSIDERED, 1)
    assert reconsider_deferred(database, NOW).reconsidered == ()
    assert queue.publish(GRID, [record(again)])[0].sequence == 2
    assert job(database)["status"] == "QUEUED"
    assert reconsider_deferred(database, NOW).reconsidered == ()


def test_a_deferred_workload_past_its_deadline_fails_with_the_reason(database: Database) -> None:
    submit_jobs(database, 1, deadline=NOW + timedelta(hours=2))
    queue = queue_of(database)
    deferral = {"workload_status": WorkloadStatus.DEFERRED_PRICE, "status_reason": "Too dear everywhere."}
    queue.publish(GRID, [record(claim_one(queue), **deferral)])
    answer = reconsider_deferred(database, NOW + timedelta(hours=2))
    assert (answer.reconsidered, answer.failed) == ((), ("job-0",))
    stored = job(database)
    assert stored["status"] == "FAILED"
    assert "deadline" in stored["status_reason"]
    assert "Too dear everywhere." in stored["status_reason"]
    assert reconsider_deferred(database, NOW + timedelta(hours=3)).failed == ()


def test_a_workload_that_found_no_place_but_is_not_deferred_asks_again_too(database: Database) -> None:
    submit_jobs(database, 1)
    queue = queue_of(database)
    waiting = {"workload_status": WorkloadStatus.PENDING, "status_reason": "There is no data centre."}
    queue.publish(GRID, [record(claim_one(queue), **waiting)])
    assert reconsider_deferred(database, NOW).reconsidered == ("job-0",)


def test_a_workload_that_has_never_been_decided_is_left_to_its_notification(database: Database) -> None:
    submit_jobs(database, 2, deadline=NOW + timedelta(hours=1))
    queue = queue_of(database)
    dead = claim_one(queue)
    database.update("workload_notifications", {"attempt": 5}, where=[Where("notification_id", dead.notification_id)])
    assert queue.fail(dead.lease, "poison").state is FailureState.DEAD
    answer = reconsider_deferred(database, NOW + timedelta(hours=2))
    assert (answer.reconsidered, answer.failed) == ((), ())


def test_two_pipelines_that_reconsider_at_once_ask_once(database: Database) -> None:
    submit_jobs(database, 20)
    queue = queue_of(database)
    deferral = {"workload_status": WorkloadStatus.DEFERRED_CARBON}
    queue.publish(GRID, [record(claim, **deferral) for claim in queue.claim(20).claimed])
    asked: list[str] = []
    in_threads(4, lambda _: asked.extend(reconsider_deferred(database, NOW).reconsidered))
    assert sorted(asked) == sorted(f"job-{number}" for number in range(20))
    assert len(queue.claim(100).claimed) == 20


def test_health_counts_waiting_in_flight_and_dead(database: Database) -> None:
    queue = queue_of(database)
    empty = queue.health()
    assert (empty.depth, empty.oldest_waiting_seconds, empty.in_flight, empty.dead) == (0, None, 0, 0)
    submit_jobs(database, 4)
    in_flight, lost, failed = queue.claim(3).claimed
    run_out(database, lost)
    queue.fail(failed.lease, "later")
    health = queue.health()
    assert (health.depth, health.in_flight, health.dead) == (3, 1, 0)
    assert health.oldest_waiting_seconds is not None
    assert health.oldest_waiting_seconds > 0
    assert in_flight.lease


def test_contexts_of_a_batch_share_one_grid_and_equal_the_whole_document(database: Database) -> None:
    store_world(database, data_centres=2)
    submit_jobs(database, 2, carbon_cap_gco2=100)
    queue = queue_of(database)
    batch = queue.contexts(["job-1", "job-0", "job-404"], NOW)
    assert "job-404" not in batch
    whole = database.call("decision_context", {"p_job_id": "job-1", "p_now": NOW})
    row = batch.task_row("job-1")
    own = {name: row[name] for name in ("context_id", "task")}
    assert batch.grid | own | {"capacity": whole["capacity"]} == whole | {"context_id": row["context_id"]}
    assert Capacity.model_validate(row["capacity"]) == Capacity.model_validate(whole["capacity"])
    context = batch.context("job-1")
    assert (context.task.job_id, context.task.carbon_cap_gco2) == ("job-1", 100)
    assert [centre.dc_id for centre in context.data_centres] == ["DC-001", "DC-002"]
    other = batch.context("job-0")
    assert other.task.job_id == "job-0"
    assert other.context_id != context.context_id
    assert other.national is context.national
    assert read_signals(other) is read_signals(context)
    later = queue.contexts(["job-0"], NOW + timedelta(minutes=30)).context("job-0")
    assert read_signals(later).origin > read_signals(context).origin
    assert database.call("decision_context", {"p_job_id": "job-404", "p_now": NOW}) is None


def test_what_was_decided_on_an_older_grid_is_not_published_while_somebody_looks(database: Database) -> None:
    store_world(database, data_centres=2)
    submit_jobs(database, 2)
    queue = queue_of(database)
    claims = queue.claim(2).claimed
    batch = queue.contexts([claim.job for claim in claims], NOW)
    published, late = (record(claim) for claim in claims)

    def states(one: DecisionRecord, grid_version: str | None = batch.grid_version) -> list[PublishState]:
        return [result.state for result in queue.publish(batch.grid, [one], grid_version=grid_version)]

    assert states(published) == [PublishState.PUBLISHED]
    slot = half_hour_of(NOW)
    database.update("grid_signals", {"wholesale_price_gbp_mwh": 1}, where=[Where("timestamp", slot)])
    assert states(late) == states(late) == [PublishState.OUTDATED]
    assert states(published) == [PublishState.ALREADY]
    assert len(decisions(database)) == 1
    assert notification(database, late.lease.notification_id)["work_state"] == "running"
    assert states(record(Lease(late.lease.notification_id, late.lease.token + 1000))) == [PublishState.FENCED]
    assert states(late, queue.contexts([], NOW).grid_version) == [PublishState.PUBLISHED]


def test_a_grid_is_sent_once_and_named_from_then_on(
    postgres: PostgresDatabase, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_world(postgres, data_centres=2)
    submit_jobs(postgres, 3)
    queue = queue_of(postgres)
    claims = queue.claim(3).claimed
    batch = queue.contexts([claim.job for claim in claims], NOW)
    sent: list[Row] = []
    call = postgres.call

    def noting(function: str, arguments: Row, **options: Any) -> Any:
        sent.append(arguments["p_grid"])
        return call(function, arguments, **options)

    monkeypatch.setattr(postgres, "call", noting)

    def publish(claim: Claim) -> None:
        (result,) = queue.publish(batch.grid, [record(claim)], grid_version=batch.grid_version)
        assert result.state is PublishState.PUBLISHED

    publish(claims[0])
    publish(claims[1])
    named = {"as_of": batch.grid["as_of"]}
    assert sent == [batch.grid, named]
    # The database is replaced by one that has not heard of it: then it is told the whole of it once more.
    with psycopg.connect(conninfo, autocommit=True) as owner:
        owner.execute("alter table decision_grids disable trigger user")
        owner.execute("delete from decision_grids")
        owner.execute("alter table decision_grids enable always trigger refuse_row_change")
    publish(claims[2])
    assert sent[2:] == [named, batch.grid]
    rows = decisions(postgres)
    assert len({row["grid_digest"] for row in rows}) == 1
    assert all(row["context"]["national"] == batch.grid["national"] for row in rows)


NUMBERS = {"sequence": None, "fallback_reason": '"_metadata":{"sequence":null'}


@pytest.mark.parametrize(
    "output",
    [
        {"task": {"job_id": "é"}, "_metadata": {"task_id": '"sequence":null', "sequence": None, "scorer": "x"}},
        {"task": NUMBERS, "_metadata": {"task_id": "{}", "sequence": None, "own": NUMBERS}},
        {"_metadata": {"_metadata": NUMBERS, "sequence": None}, "task": NUMBERS},
        {"_metadata": {"sequence": 7, "warnings": []}, "task": NUMBERS},
    ],
)
def test_an_output_is_numbered_in_its_metadata_and_nowhere_else(postgres: PostgresDatabase, output: Row) -> None:
    text = orjson.dumps(output).decode()
    answer = postgres.call("numbered_output", {"p_output": orjson.dumps(text).decode(), "p_sequence": 5})
    expected = {name: value | {"sequence": 5} if name == "_metadata" else value for name, value in output.items()}
    assert orjson.dumps(answer) == orjson.dumps(expected)


def test_the_context_in_work_is_shown_and_then_the_decided_one(database: Database) -> None:
    submit_jobs(database, 2)
    queue, published = queue_of(database), PublishedDecisions(database)
    assert published.current_context().state is ContextState.NONE
    first, second = queue.claim(2).claimed
    assert queue.note_context(first.lease, {"context_id": "c-1"})
    shown = published.current_context()
    assert (shown.state, shown.task_id, shown.context) == (ContextState.IN_WORK, "job-0", {"context_id": "c-1"})
    queue.publish(GRID, [record(second)])
    assert published.current_context().task_id == "job-0"
    queue.publish(GRID, [record(first)])
    shown = published.current_context()
    assert (shown.state, shown.task_id) == (ContextState.DECIDED, "job-0")
    assert shown.context == GRID | record(first).context
    assert published.current_context("job-1").task_id == "job-1"
    assert published.current_context("job-404").state is ContextState.NONE


def test_a_context_is_marked_processed_by_each_consumer_for_itself(database: Database) -> None:
    submit_jobs(database, 1)
    queue, published = queue_of(database), PublishedDecisions(database)
    assert published.mark_processed("bpp") is None
    queue.publish(GRID, [record(claim_one(queue))])
    assert published.mark_processed("bpp") == "job-0"
    assert published.mark_processed("bpp", "job-0") == "job-0"
    assert published.mark_processed("auditor", "job-0") == "job-0"
    assert published.mark_processed("bpp", "job-404") is None
    assert published.current_context().processed_by == ("auditor", "bpp")


def test_each_consumer_works_through_the_outputs_newest_first(database: Database) -> None:
    submit_jobs(database, 3)
    queue, published = queue_of(database), PublishedDecisions(database)
    assert published.newest_unacknowledged("bpp").output is None
    queue.publish(GRID, [record(claim) for claim in queue.claim(3).claimed])
    for sequence in (3, 2, 1):
        newest = published.newest_unacknowledged("bpp")
        assert newest.sequence == sequence
        assert newest.output == published.output_of(f"job-{sequence - 1}").output
        acknowledged = published.acknowledge("bpp", f"job-{sequence - 1}")
        assert (acknowledged.known, acknowledged.cleared) == (True, True)
    assert published.newest_unacknowledged("bpp").output is None
    assert published.newest_unacknowledged("auditor").sequence == 3
    again = published.acknowledge("bpp", "job-1")
    assert (again.known, again.cleared) == (True, False)
    unknown = published.acknowledge("bpp", "job-404")
    assert (unknown.known, unknown.cleared) == (False, False)


def test_an_output_published_after_the_one_acknowledged_is_not_lost(database: Database) -> None:
    submit_jobs(database, 1)
    queue, published = queue_of(database), PublishedDecisions(database)
    deferral = {"workload_status": WorkloadStatus.DEFERRED_CARBON}
    queue.publish(GRID, [record(claim_one(queue), **deferral)])
    read = published.newest_unacknowledged("bpp")
    reconsider_deferred(database, NOW)
    queue.publish(GRID, [record(claim_one(queue))])
    published.acknowledge("bpp", "job-0", up_to_sequence=read.sequence)
    assert published.newest_unacknowledged("bpp").sequence == 2
    published.acknowledge("bpp", "job-0")
    assert published.newest_unacknowledged("bpp").sequence is None


def test_acknowledging_at_once_loses_no_acknowledgement(database: Database) -> None:
    submit_jobs(database, 24)
    queue, published = queue_of(database), PublishedDecisions(database)
    queue.publish(GRID, [record(claim) for claim in queue.claim(24).claimed])

    def acknowledge(number: int) -> None:
        for job_number in range(number, 24, 6):
            assert published.acknowledge("bpp", f"job-{job_number}").cleared

    in_threads(6, acknowledge)
    assert published.newest_unacknowledged("bpp").output is None


def test_history_pages_back_through_all_outputs(database: Database) -> None:
    submit_jobs(database, 5)
    queue, published = queue_of(database), PublishedDecisions(database)
    queue.publish(GRID, [record(claim) for claim in queue.claim(5).claimed])
    seen: list[int] = []
    cursor: int | None = None
    while True:
        page = published.history(2, before=cursor)
        seen.extend(output["_metadata"]["sequence"] for output in page.outputs)
        cursor = page.next
        if cursor is None:
            break
    assert seen == [5, 4, 3, 2, 1]
    assert published.history(10, before=1).outputs == ()


def test_events_are_read_by_cursor_as_often_as_wanted(database: Database) -> None:
    submit_jobs(database, 5)
    queue, published = queue_of(database), PublishedDecisions(database)
    assert published.events_after(0, 10).events == ()
    queue.publish(GRID, [record(claim) for claim in queue.claim(5).claimed])
    page = published.events_after(2, 2)
    assert ([event.sequence for event in page.events], page.next) == ([3, 4], 4)
    assert published.events_after(2, 2) == page
    end = published.events_after(5, 2)
    assert (end.events, end.next, end.oldest, end.newest) == ((), 5, 1, 5)


def test_ready_work_and_events_wake_listeners(postgres: PostgresDatabase) -> None:
    listener = postgres.listen(["workload_ready", "broadcast", "acknowledged"])
    assert listener is not None
    queue = queue_of(postgres)
    submit_jobs(postgres, 1)
    assert listener.wait(30) == ["workload_ready"]
    claim = claim_one(queue)
    queue.release([claim.lease])
    assert listener.wait(30) == ["workload_ready"]
    claim = claim_one(queue)
    queue.publish(GRID, [record(claim, workload_status=WorkloadStatus.DEFERRED_CARBON)])
    assert listener.wait(30) == ["broadcast"]
    PublishedDecisions(postgres).acknowledge("bpp", "job-0")
    assert listener.wait(30) == ["acknowledged"]
    reconsider_deferred(postgres, NOW)
    assert listener.wait(30) == ["workload_ready"]
    claim = claim_one(queue)
    postgres.update("workload_notifications", {"attempt": 5}, where=[Where("work_state", "running")])
    queue.fail(claim.lease, "poison")
    queue.requeue_dead()
    assert listener.wait(30) == ["workload_ready"]
    listener.close()


def test_the_audit_log_holds_what_it_refers_to(database: Database) -> None:
    store_data_centres(database, [data_centre(1)])
    submit_jobs(database, 1)
    queue = queue_of(database, "gateway-unregistered")
    queue.publish(GRID, [record(claim_one(queue), chosen_dc_id="DC-001")])
    assert decisions(database)[0]["agent_id"] is None
    with pytest.raises((AccessRefused, DatabaseError)):
        database.update("orchestration_decisions", {"reasoning": "no"}, where=[Where("sequence", 1)])
