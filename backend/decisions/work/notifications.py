"""The queue of notifications: who decides which workload, and the one transaction that publishes the decision.

Every method is one call of an SQL function (`backend/deprecated/supabase_triggers.sql`, "The queue of
notifications" and "Publishing"), so it is atomic over psycopg and PostgREST alike. A claim is a lease with a
fencing token: a worker that lost its lease can no longer extend it, fail it or publish.

All methods raise `database.errors.DatabaseError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

from database.interface import Database, Row
from decisions.publishing.output import WrittenOption
from decisions.scoring.capacity import less
from decisions.scoring.context import Capacity, DecisionContext
from decisions.work.known_grid import KnownGrid
from grid.half_hours import as_utc, rfc3339
from printable import LONGEST_REASON, printable
from vocabulary import StrEnum, WorkloadStatus

UtcDatetime = Annotated[AwareDatetime, AfterValidator(as_utc)]


UNSTATED_OPERATOR = "local"
"""Whose a workload is whose operator nobody stated, as the tables have it."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


Answer = TypeVar("Answer", bound=_Answer)


class NotificationReason(StrEnum):
    SUBMITTED = "submitted"
    RECONSIDERED = "reconsidered"


@dataclass(frozen=True)
class Lease:
    """The right to decide one notification, for as long as nobody else got a newer token for it."""

    notification_id: int
    token: int


@dataclass(frozen=True)
class OwnedJob:
    """A workload by its full name: each tenant names its own."""

    operator: str
    job_id: str

    @property
    def for_the_log(self) -> dict[str, str]:
        """The `extra` of an event about it: its operator, where one was stated."""
        return {} if self.operator == UNSTATED_OPERATOR else {"operator": self.operator}


class Claim(_Answer):
    """A notification that this worker holds. `attempt` counts from 1; `operator` is whose workload it is."""

    notification_id: int
    job_id: str
    operator: str = UNSTATED_OPERATOR
    reason: NotificationReason
    attempt: int
    lease_token: int
    created_at: UtcDatetime

    @property
    def job(self) -> OwnedJob:
        return OwnedJob(self.operator, self.job_id)

    @property
    def lease(self) -> Lease:
        return Lease(self.notification_id, self.lease_token)


class ClosedNotification(_Answer):
    notification_id: int
    job_id: str


class Claims(_Answer):
    """What one claim found.

    `withdrawn` are closed without a decision, because their workload no longer waits for one; `died` lost one lease
    after another.
    """

    claimed: tuple[Claim, ...]
    withdrawn: tuple[ClosedNotification, ...]
    died: tuple[ClosedNotification, ...]


class PublishState(StrEnum):
    """`ALREADY`: by an earlier call with the same lease. `FENCED`: the lease was lost and nothing is stored.
    `DISPLACED`: the power it takes has gone since it was decided; nothing is stored, and the notification can be
    claimed again at once, its attempt not counted.
    `WITHDRAWN`: the workload no longer waits, so the notification is closed without a decision. `UNCHANGED`: asked
    again, the answer is that of the newest decision, so it is no new one."""

    PUBLISHED = "published"
    ALREADY = "already"
    FENCED = "fenced"
    DISPLACED = "displaced"
    OUTDATED = "outdated"
    WITHDRAWN = "withdrawn"
    UNCHANGED = "unchanged"


class PublishResult(_Answer):
    """`sequence` is the decision's number, if it has one; `job_id` is None when the notification is gone."""

    notification_id: int
    job_id: str | None
    state: PublishState
    sequence: int | None


class FailureState(StrEnum):
    RETRY = "retry"
    DEAD = "dead"
    FENCED = "fenced"


class FailureResult(_Answer):
    """`run_at` is when a retry is due."""

    state: FailureState
    run_at: UtcDatetime | None


class Readiness(_Answer):
    """What there is to decide from: a data centre that is not OFFLINE, a signal for the present half-hour."""

    data_centres: bool
    signals: bool

    @property
    def awaited(self) -> str | None:
        """What decisions wait for, in words; None when there is something to decide from."""
        if not self.signals:
            return "the grid's figures for the present half-hour, which the API server's pipeline stores"
        return None if self.data_centres else "a data centre that is not OFFLINE"


class QueueHealth(_Answer):
    """`depth` counts what waits, retries not yet due included; `in_flight` what a worker holds.

    `overdue_seconds` is for how long the one due first has been due with nobody on it.
    """

    depth: int
    oldest_waiting_seconds: float | None
    overdue_seconds: float | None
    in_flight: int
    dead: int


@dataclass(frozen=True)
class DecisionRecord:
    """One decision as it is stored.

    `context` is what the grid lacks to be the whole decision context (context_id, task, capacity) and the settings it
    was decided with. `output` is the published JSON document, and `options` are its options as they were written, or
    nothing. `booking` is the power that it takes.
    """

    lease: Lease
    context: Row
    output: Row
    chosen_dc_id: str | None
    recommended_start: datetime | None
    workload_status: WorkloadStatus
    status_reason: str | None
    scorer: str
    model: str | None
    scorer_version: str
    fallback_reason: str | None
    reasoning: str
    constraints_evaluated: Sequence[Row]
    alternatives_considered: Sequence[Row]
    token_usage: Row | None
    booking: Row | None = None
    summary: Row | None = None
    options: Sequence[WrittenOption] = ()

    @property
    def job(self) -> OwnedJob:
        return _owned(self.context["task"])

    def to_row(self) -> Row:
        """As `publish_decisions` takes it: the output as text, which keeps the order of its keys."""
        row: Row = {name: value for name, value in self.__dict__.items() if name not in {"lease", "options"}}
        output = self.output
        if self.options:  # which decisions of like workloads share, so that they are not written again
            output = {**output, "data_centre_options": [option.json for option in self.options]}
        return row | {
            "output": orjson.dumps(output).decode(),
            "notification_id": self.lease.notification_id,
            "lease_token": self.lease.token,
        }


def _owned(task: Row) -> OwnedJob:
    return OwnedJob(task.get("operator") or UNSTATED_OPERATOR, task["job_id"])


class ContextBatch:
    """The decision contexts of several workloads on one grid.

    A workload is asked for by its full name; a bare job_id is that of the tenant that states no operator, or of the
    only one in the batch. The free power of the data centres is not the grid's: it changes with every decision, and
    `take` tells the contexts that are asked for after it of one.
    """

    def __init__(
        self, grid: KnownGrid, tasks: Iterable[Row], capacity: Row | None = None, *, now: datetime | None = None
    ) -> None:
        """`now` is the moment of a grid that was read before; without one it is the grid's own."""
        self.grid = grid.at(now)
        self.grid_version = grid.version
        self.is_whole = grid.is_whole
        self._known = grid
        self._now = now
        self._tasks = {_owned(task["task"]): task for task in tasks}
        self._capacity = None if capacity is None else Capacity.model_validate(capacity)

    @classmethod
    def of(cls, contexts: Row) -> ContextBatch:
        """What `decision_contexts` answers whoever knows no grid."""
        grid = KnownGrid(contexts["grid"], contexts["grid_version"])
        return cls(grid, contexts["tasks"], contexts["capacity"])

    def __contains__(self, job: OwnedJob | str) -> bool:
        return self._full(job) in self._tasks

    def _full(self, job: OwnedJob | str) -> OwnedJob:
        if isinstance(job, OwnedJob):
            return job
        owners = [known for known in self._tasks if known.job_id == job]
        return owners[0] if len(owners) == 1 else OwnedJob(UNSTATED_OPERATOR, job)

    def task_row(self, job: OwnedJob | str) -> Row:
        """What the grid lacks to be the workload's context as it is now: `context_id`, `task` and `capacity`."""
        row = self._tasks[self._full(job)]
        return row if self._capacity is None else {**row, "capacity": _as_stored(self._capacity)}

    def context(self, job: OwnedJob | str) -> DecisionContext:
        """A workload's decision context.

        Raises:
            KeyError: the workload does not exist.
            pydantic.ValidationError: the database holds what the scorer does not understand.
        """
        return self._known.context(self._tasks[self._full(job)], self._now, self._capacity)

    def take(self, dc_id: str, starts_at: datetime, ends_at: datetime, it_power_kw: float) -> None:
        """Note that a decision of this batch takes power."""
        if self._capacity is not None:
            self._capacity = less(self._capacity, dc_id, starts_at, ends_at, it_power_kw)


@dataclass(frozen=True)
class _StoredGrid:
    """A grid that is stored with the decisions made on it: it is named from then on, and not sent again."""

    version: str
    digest: str


class WorkQueue:
    """The queue as one gateway sees it. Safe to use from many threads."""

    def __init__(self, database: Database, agent_id: str, *, lease_seconds: float) -> None:
        self._database = database
        self._agent_id = agent_id
        self._lease_seconds = float(lease_seconds)
        self._grid: KnownGrid | None = None
        self._stored_grid: _StoredGrid | None = None

    def claim(self, limit: int) -> Claims:
        """Take up to `limit` notifications that are due, oldest first, lost leases included."""
        arguments = {
            "p_worker": self._agent_id,
            "p_limit": limit,
            "p_lease_seconds": self._lease_seconds,
        }
        return self._call(Claims, "claim_notifications", arguments)

    def readiness(self, now: datetime) -> Readiness:
        """Whether there is anything to decide from at `now`: claim nothing while there is not."""
        return self._call(Readiness, "decision_readiness", {"p_now": now}, repeatable=True)

    def contexts(self, jobs: Sequence[OwnedJob | str], now: datetime) -> ContextBatch:
        """What the workloads are decided from at `now`; a bare job_id that several tenants have is left out."""
        asked = [job if isinstance(job, str) else {"operator": job.operator, "job_id": job.job_id} for job in jobs]
        known = self._grid
        arguments = {"p_job_ids": asked, "p_now": now, "p_known_grid": known.version if known else None}
        answer = self._database.call("decision_contexts", arguments, repeatable=True)
        if known is None or answer["grid"] is not None:
            grid = self._grid = KnownGrid(answer["grid"], answer["grid_version"])
            return ContextBatch(grid, answer["tasks"], answer["capacity"])
        return ContextBatch(known, answer["tasks"], answer["capacity"], now=now)

    def keep_grid(self, now: datetime) -> None:
        """Read the grid, and parse it, if the database has another one than is known here.

        Raises:
            pydantic.ValidationError: the database holds what the scorer does not understand.
        """
        self.contexts([], now)
        if self._grid is not None and self._grid.is_whole:
            self._grid.parse()

    def extend(self, leases: Sequence[Lease]) -> frozenset[Lease]:
        """Hold the leases for another lease time; those that are still held."""
        arguments = {"p_leases": _leases(leases), "p_lease_seconds": self._lease_seconds}
        answer = self._database.call("heartbeat_notifications", arguments, repeatable=True)
        held = set(answer["held"])
        return frozenset(lease for lease in leases if lease.notification_id in held)

    def release(self, leases: Sequence[Lease]) -> int:
        """Give work back undone, at once and without counting the attempt; how many were still held."""
        answer = self._database.call("release_notifications", {"p_leases": _leases(leases)}, repeatable=True)
        return int(answer["released"])

    def give_back(self, leases: Sequence[Lease], *, pause_s: float, reason: str) -> int:
        """Give work back that the database's own trouble kept from being finished: uncounted, and due after a pause.

        How many were still held. `reason` is kept, for whoever asks why something waits.
        """
        arguments = {
            "p_leases": _leases(leases),
            "p_pause_seconds": pause_s,
            "p_reason": printable(reason, LONGEST_REASON),
        }
        answer = self._database.call("give_back_notifications", arguments, repeatable=True)
        return int(answer["given_back"])

    def note_context(self, lease: Lease, context: Row) -> bool:
        """Show the context a model is about to think about; False when the lease is lost."""
        arguments = {
            "p_notification_id": lease.notification_id,
            "p_lease_token": lease.token,
            "p_context": context,
        }
        answer = self._database.call("note_context", arguments, repeatable=True)
        return bool(answer["state"] == "noted")

    def publish(
        self, grid: Row, records: Sequence[DecisionRecord], *, grid_version: str | None = None
    ) -> tuple[PublishResult, ...]:
        """Store and announce decisions made on one grid, in one transaction; repeating it changes nothing.

        With the grid's version they are stored only while the database holds no newer one, and the grid itself is
        sent only the first time.
        """
        arguments = {
            "p_agent_id": self._agent_id,
            "p_grid": grid,
            "p_decisions": [record.to_row() for record in records],
            "p_skip_unchanged": True,
            "p_grid_version": grid_version,
        }
        stored, answer = self._stored_grid, None
        if stored is not None and stored.version == grid_version:
            by_name = {"p_grid": {"as_of": grid["as_of"]}, "p_grid_digest": stored.digest}
            answer = self._database.call("publish_decisions", arguments | by_name, repeatable=True)
        if answer is None or answer["results"] is None:  # or the database has been replaced by one without it
            answer = self._database.call("publish_decisions", arguments, repeatable=True)
            if grid_version is not None and answer["grid_digest"] is not None:
                self._stored_grid = _StoredGrid(grid_version, answer["grid_digest"])
        return tuple(PublishResult.model_validate(result) for result in answer["results"])

    def fail(self, lease: Lease, error: str) -> FailureResult:
        """Put a notification back for later, or among the dead after its last attempt."""
        arguments = {
            "p_notification_id": lease.notification_id,
            "p_lease_token": lease.token,
            "p_error": printable(error, LONGEST_REASON),
        }
        return self._call(FailureResult, "fail_notification", arguments)

    def requeue_dead(self, notification_ids: Sequence[int] | None = None) -> int:
        """Give dead notifications, all or these, all their attempts again; how many."""
        arguments = {"p_notification_ids": None if notification_ids is None else list(notification_ids)}
        return int(self._database.call("requeue_dead", arguments)["requeued"])

    def health(self) -> QueueHealth:
        return self._call(QueueHealth, "queue_health", {}, repeatable=True)

    def _call(self, answer: type[Answer], function: str, arguments: Row, *, repeatable: bool = False) -> Answer:
        return answer.model_validate(self._database.call(function, arguments, repeatable=repeatable))


def _as_stored(capacity: Capacity) -> Row:
    """As the model itself would write it, without a copy of every step; what is unknown is left out."""
    stored = {
        "start": rfc3339(capacity.start),
        "half_hours": capacity.half_hours,
        "free_it_kw": capacity.free_it_kw,
    }
    if (prices := capacity.prices) is None:
        return stored
    moments = {"planned_at": rfc3339(prices.planned_at), "start": rfc3339(prices.start)}
    return {**stored, "prices": {**dict(prices), **moments}}


def _leases(leases: Sequence[Lease]) -> list[Row]:
    return [{"notification_id": lease.notification_id, "lease_token": lease.token} for lease in leases]
