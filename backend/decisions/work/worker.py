"""The gateway's engine: threads that claim notifications, decide them and publish, until they are stopped.

    claim → context → score → (model) → publish

Power that has gone between the reading of the context and the publication is not promised twice: the database answers
`displaced`, and the notification is claimed and decided again. Nor is a decision published that rests on an older
grid than the database holds by then: it answers `outdated`, and the worker decides again at once.

No transaction is held across a model call. As many workers as are set may wait for the model at once; there is always
one more, which decides without it what they would keep waiting. A worker that loses its lease drops its result: the
database refuses it. Plain threads, so it runs in any process, with gevent's patched ones too, and needs no web
server.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar

from database.errors import NO_FAULT_OF_THE_WORK, DatabaseError, DatabaseUnreachable, DataRefused
from database.interface import Database, Row
from decisions.model.gemini import GeminiJudge, ModelState, ModelUnavailable, judge_from
from decisions.model.seats import ModelSeats
from decisions.publishing.schema import Scorer
from decisions.work.agent import AgentState, GatewayAgent, gateway_agent_id
from decisions.work.counts import DecisionCounter
from decisions.work.decider import Decided, Decider, NothingToDecideFrom
from decisions.work.grid_keeper import GridKeeper
from decisions.work.notifications import (
    Claim,
    DecisionRecord,
    FailureState,
    Lease,
    OwnedJob,
    PublishResult,
    PublishState,
    WorkQueue,
)
from grid.half_hours import rfc3339
from printable import printable
from queueing.backoff import Backoff
from queueing.consumer import Consumer, Round
from queueing.heartbeat import Heartbeat
from queueing.supervised import TROUBLE_AFTER_S, troubles
from settings import Settings
from version import VERSION

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CHANNEL = "workload_ready"
LEASE_SECONDS = 15.0
# Claimed together where no model is asked: one context, one transaction and one flush to disk for all of them.
BATCH = 24
# Published in one call: some six megabytes. Of a longer one libpq moves what is not sent yet to the front again and
# again, and where the database is slow too little of its deadline is left.
MOST_OPTIONS_AT_ONCE = 4000
# For so long work is kept for the model while every seat at it is taken; then it is decided without.
SEAT_WITHIN_S = 3.0

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# Where the grid changes faster than somebody decides, as it may while a model thinks, the last decision counts.
MOST_OUTDATED = 2
GRID_KEEPER_ENDS_WITHIN_S = 2.0
LONGEST_TURN_S = 60.0  # what a turn may take beside a model's thinking and a database's outage
# Results are kept that long for a database that is away; then their leases are long lost to somebody else.
LONGEST_OUTAGE_S = 120.0


class DecisionWorkers:
    """`workers` threads that decide, one more beside a model, one that looks out for work, one that keeps the leases.

    `queue`, `judge` and `counter` are there to be looked at, for `/health` and `/metrics`.
    """

    def __init__(
        self,
        database: Database,
        *,
        agent_id: str,
        clock: Callable[[], datetime],
        carbon_price_gbp_per_t: float,
        judge: GeminiJudge | None,
        workers: int,
        poll_seconds: float,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.queue = WorkQueue(database, agent_id, lease_seconds=lease_seconds)
        self.judge = judge
        self.counter = DecisionCounter()
        self._clock = clock
        self._has_begun = False
        self._awaited: str | None = None
        self._agent = GatewayAgent(database, agent_id, VERSION)
        self._decider = Decider(self.queue, carbon_price_gbp_per_t=carbon_price_gbp_per_t, clock=clock, judge=judge)
        self._outage = _Outage()
        self._seats = ModelSeats(workers)
        threads = workers + 1 if judge else workers
        thinking_s = judge.longest_answer_s if judge else 0.0
        self._heartbeat = Heartbeat(
            "the keeper of leases",
            self.queue.extend,
            lease_seconds=lease_seconds,
            longest_hold_s=thinking_s + LONGEST_OUTAGE_S,
        )
        self._consumer = Consumer(
            "decider",
            self._look,
            database,
            CHANNEL,
            threads=threads,
            poll_seconds=poll_seconds,
            longest_turn_s=thinking_s + LONGEST_OUTAGE_S + LONGEST_TURN_S,
        )
        self._stopping = self._consumer.stopping
        self._grid_keeper = GridKeeper(database, self.queue, clock=clock, stopping=self._stopping)

    @classmethod
    def of(cls, settings: Settings, database: Database, *, clock: Callable[[], datetime]) -> DecisionWorkers:
        """The engine that the settings ask for; its agent is named after this machine and BG_PORT."""
        return cls(
            database,
            agent_id=gateway_agent_id(settings.bg_port),
            clock=clock,
            carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t,
            judge=judge_from(settings),
            workers=settings.bg_workers,
            poll_seconds=settings.bg_poll_seconds,
        )

    def start(self) -> None:
        """Register the gateway among the agents and begin to decide.

        Raises:
            DatabaseError: the database cannot be reached.
        """
        self._agent.register(f"{self._consumer.threads} workers")
        self._record_state()
        self._heartbeat.start()
        self._grid_keeper.start()
        self._consumer.start()

    def troubles(self) -> list[str]:
        """What is wrong with the threads, and with the database as they meet it, in words; empty when nothing is."""
        found = [*self._consumer.troubles(), *troubles([self._heartbeat.loop, self._grid_keeper.loop])]
        outage = self._outage.trouble()
        return found if outage is None else [outage, *found]

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish or give back what is in hand, and end. Another gateway can take what was given back at once."""
        self._consumer.ask_to_stop()
        self._seats.close()
        if self.judge:
            self.judge.stop()
        self._consumer.stop(timeout_s)
        if leases := self._heartbeat.in_hand():
            try:
                _log.info("%d unfinished notifications were given back", self.queue.release(leases))
            except DatabaseError as error:
                _log.warning("unfinished notifications will be picked up when their leases end: %s", error)
        self._heartbeat.stop()
        self._grid_keeper.stop(GRID_KEEPER_ENDS_WITHIN_S)
        if self.judge:
            self.judge.close()
        self._agent.record(AgentState.STOPPED)

    def work_once(self) -> int:
        """Claim, decide and publish one batch in this thread; how many notifications it took from the queue.

        Raises:
            DatabaseError: the claim failed.
        """
        if not self._can_begin():
            return 0
        with self._seat_at_model() as why_unasked:
            return 0 if self._stopping.is_set() else self._claim_and_decide(why_unasked)

    @contextmanager
    def _seat_at_model(self) -> Iterator[ModelUnavailable | None]:
        """None where the model, if there is one, may be asked within the block; else why it is not."""
        if self.judge is None:
            yield None
        elif self.judge.is_resting:
            yield self.judge.why_resting()
        elif not self._seats.take(SEAT_WITHIN_S):
            yield self.judge.why_busy(self._seats.number)
        else:
            try:
                yield None
            finally:
                self._seats.give_back()

    def _claim_and_decide(self, why_unasked: ModelUnavailable | None) -> int:
        with_model = self.judge is not None and why_unasked is None
        # A model takes seconds: one at a time, so that what waits is left to other workers.
        limit = 1 if with_model else BATCH
        claims = self.queue.claim(limit)
        self._outage.ends()
        for closed in claims.withdrawn:
            _log.info("job %s: not decided, because it no longer waits for a decision", closed.job_id)
        for closed in claims.died:
            _log.error(
                "job %s: notification %d failed for good: its last lease ran out",
                closed.job_id,
                closed.notification_id,
            )
        taken = len(claims.claimed) + len(claims.withdrawn)
        if taken:
            self._consumer.found(more_likely=taken == limit)
        if claims.claimed:
            with self._heartbeat.holding([claim.lease for claim in claims.claimed]):
                try:
                    self._decide_and_publish(claims.claimed, why_unasked)
                except NothingToDecideFrom:
                    self._has_begun = False
                    self.queue.release([claim.lease for claim in claims.claimed])
                    return 0
                except NO_FAULT_OF_THE_WORK as trouble:
                    self._give_back(claims.claimed, trouble)
                    raise
        return taken

    def _give_back(self, claims: Sequence[Claim], trouble: DatabaseError) -> None:
        """No workload is to blame for the database's trouble: give back what is not published, uncounted."""
        try:
            self.queue.give_back([claim.lease for claim in claims], pause_s=LONGEST_PAUSE_S, reason=str(trouble))
        except DatabaseError as error:
            _log.debug("unfinished notifications will be picked up when their leases end: %s", error)

    def _can_begin(self) -> bool:
        """Whether there is anything to decide from: asked until there is, and again once there was nothing left."""
        if not self._has_begun:
            awaited = self.queue.readiness(self._clock()).awaited
            if awaited is not None and awaited != self._awaited:
                _log.info("workloads are waiting for %s", awaited)
            self._awaited = awaited
            self._has_begun = awaited is None
        return self._has_begun

    def scorer_in_use(self) -> tuple[AgentState, str]:
        """Who sets the scores at present, and why or how, for `/health` and the agent's state."""
        if self.judge is None:
            return AgentState.DETERMINISTIC, "no GEMINI_API_KEY"
        status = self.judge.status()
        if status.state in {ModelState.RESTING, ModelState.REFUSING}:
            return AgentState.DETERMINISTIC, status.detail or str(status.state)
        return AgentState.MODEL, f"{status.model}, role {status.role}"

    def _look(self) -> Round:
        try:
            return Round(self.work_once())
        except DatabaseError as error:
            if not self._stopping.is_set():
                self._outage.begins(error)
            raise

    def _decide_and_publish(self, claims: Sequence[Claim], why_unasked: ModelUnavailable | None) -> None:
        began = time.monotonic()
        for outdated in range(MOST_OUTDATED + 1):
            decided = self._patiently(partial(self._decider.decide, claims, why_unasked=why_unasked))
            if self.judge is not None and why_unasked is None:
                self._record_state()
                if self._stopping.is_set() and any(record.fallback_reason for record in decided.records):
                    # The model was interrupted, not at fault: another gateway may ask it again.
                    self.queue.release([claim.lease for claim in claims])
                    return
            for undecided in decided.undecided:
                self._fail(undecided.claim.lease, undecided.claim.job, undecided.error)
            again = self._publish(decided, began, whatever_the_grid=outdated == MOST_OUTDATED)
            claims = [claim for claim in claims if claim.notification_id in again]
            if not claims:
                return

    def _publish(self, decided: Decided, began: float, *, whatever_the_grid: bool) -> frozenset[int]:
        """Publish what was decided; the notifications that are to be decided again on a newer grid."""
        records = {record.lease.notification_id: record for record in decided.records}
        again = set[int]()
        for result in self._published(decided, None if whatever_the_grid else decided.grid_version):
            record, took_s = records[result.notification_id], time.monotonic() - began
            _log_result(result, record, 1000 * took_s)
            if result.state is PublishState.PUBLISHED:
                fallback = record.fallback_reason is not None
                self.counter.published(Scorer(record.scorer), took_s, fallback=fallback)
            elif result.state is PublishState.OUTDATED:
                again.add(result.notification_id)
        return frozenset(again)

    def _published(self, decided: Decided, grid_version: str | None) -> Iterator[PublishResult]:
        """Publish as many together as make no call of many megabytes; the results as they come."""
        for records in _by_size(decided.records):
            yield from self._published_together(decided.grid, records, grid_version)

    def _published_together(
        self, grid: Row, records: Sequence[DecisionRecord], grid_version: str | None
    ) -> list[PublishResult]:
        try:
            return list(self._patiently(lambda: self.queue.publish(grid, records, grid_version=grid_version)))
        except DatabaseError as error:
            if len(records) == 1:
                if not isinstance(error, DataRefused):
                    raise
                # A data centre deleted since the context was read, say: decided again on a new one.
                self._fail(records[0].lease, records[0].job, str(error))
                return []
        return self._published_alone(grid, records)

    def _published_alone(self, grid: Row, records: Sequence[DecisionRecord]) -> list[PublishResult]:
        """Publish one after the other what the database did not take together.

        What it refuses for its data, or refuses while it takes the others, has failed. When it takes none, the
        trouble is its own.
        """
        results: list[PublishResult] = []
        in_doubt: list[DecisionRecord] = []
        for record in records:
            outcome = self._tried(grid, record)
            if isinstance(outcome, DataRefused):
                self._fail(record.lease, record.job, str(outcome))
            elif isinstance(outcome, DatabaseError):
                if in_doubt and not results:
                    raise outcome
                in_doubt.append(record)
            else:
                results += outcome
        for record in in_doubt:
            outcome = self._tried(grid, record)
            if not isinstance(outcome, DatabaseError):
                results += outcome
            elif results:
                self._fail(record.lease, record.job, str(outcome))
            else:
                raise outcome
        return results

    def _tried(self, grid: Row, record: DecisionRecord) -> Sequence[PublishResult] | DatabaseError:
        try:
            return self.queue.publish(grid, [record])
        except DatabaseError as error:
            return error

    def _fail(self, lease: Lease, job: OwnedJob, error: str) -> None:
        self.counter.failed()
        job_id, extra = job.job_id, job.for_the_log
        result = self._patiently(lambda: self.queue.fail(lease, error))
        if result.state is FailureState.DEAD:
            number = lease.notification_id
            _log.error("job %s: notification %d failed for good: %s", job_id, number, error, extra=extra)
        else:
            _log.warning("job %s: not decided (%s): %s", job_id, result.state, error, extra=extra)

    def _patiently(self, work: Callable[[], Answer]) -> Answer:
        """Repeat database work that may be repeated while the database is away, so that no result is lost."""
        give_up_at = time.monotonic() + LONGEST_OUTAGE_S
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                answer = work()
                self._outage.ends()
                return answer
            except DatabaseUnreachable as error:  # noqa: PERF203
                self._outage.begins(error)
                pause_s = pauses.next_s()
                if time.monotonic() + pause_s > give_up_at or self._stopping.wait(pause_s):
                    raise

    def _record_state(self) -> None:
        """Store who decides, when it has changed. A failure that may pass with the next question is no change."""
        if self.judge is None or self.judge.status().state is not ModelState.FAILING:
            self._agent.record(*self.scorer_in_use())


class _Outage:
    """Says once that the database is away, and once that it is back, however many threads notice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._error = ""

    def trouble(self) -> str | None:
        """What is wrong, once it has lasted; None when nothing is."""
        with self._lock:
            if self._since is None or (lasted_s := time.monotonic() - self._since) < TROUBLE_AFTER_S:
                return None
            return f"the database has not served the deciding process for {lasted_s:.0f} s: {printable(self._error)}"

    def begins(self, error: DatabaseError) -> None:
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                _log.warning("the database is not working, trying again until it is: %s", error)
            self._error = str(error)

    def ends(self) -> None:
        with self._lock:
            if self._since is not None:
                _log.info("the database works again, after %.1f s", time.monotonic() - self._since)
                self._since = None


def _by_size(records: Sequence[DecisionRecord]) -> Iterator[Sequence[DecisionRecord]]:
    """Decisions of one grid, in their order, with no more than MOST_OPTIONS_AT_ONCE in each part."""
    options = max((len(record.output["data_centre_options"]) for record in records), default=0)
    at_once = max(1, MOST_OPTIONS_AT_ONCE // max(1, options))
    for first in range(0, len(records), at_once):
        yield records[first : first + at_once]


def _log_result(result: PublishResult, record: DecisionRecord, took_ms: float) -> None:
    job_id, extra = record.job.job_id, record.job.for_the_log
    if result.state is PublishState.UNCHANGED:
        _log.info("job %s: asked again, and the newest decision still stands", job_id, extra=extra)
        return
    if result.state is PublishState.OUTDATED:
        _log.info("job %s: decided again, the grid has changed meanwhile", job_id, extra=extra)
        return
    if result.state is PublishState.DISPLACED:
        # It can be claimed again by now, and whoever published a batch looks for the next at once.
        _log.info(
            "job %s: decided again, the power at %s has gone meanwhile", job_id, record.chosen_dc_id, extra=extra
        )
        return
    if result.state not in {PublishState.PUBLISHED, PublishState.ALREADY}:
        _log.info("job %s: result dropped, the notification is %s", job_id, result.state, extra=extra)
        return
    _log.info(
        "job %s: decision %d, %s at %s from %s, by %s in %.0f ms",
        job_id,
        result.sequence,
        record.workload_status,
        record.chosen_dc_id or "no data centre",
        rfc3339(record.recommended_start) if record.recommended_start else "-",
        record.model or record.scorer,
        took_ms,
        extra=extra,
    )
