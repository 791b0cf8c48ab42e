"""What the executor runs, the steps it takes, and the book that it takes the work from: promises of power.

Orders bought over Beckn and bookings of decisions are two kinds of such work; each has a book of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from decisions.scoring.context import Task
from decisions.scoring.grid_context import GridContext
from execution.metering import Reading
from execution.prospects import Prospect, Spike
from execution.usage import Actuals
from vocabulary import StrEnum


class PromisedRun(Protocol):
    """A run that somebody was promised the power for, held on a lease."""

    @property
    def name(self) -> str:
        """What it is called in log lines."""
        ...

    @property
    def operator(self) -> str | None:
        """Whose it is, where it says so."""
        ...

    @property
    def lease(self) -> Hashable:
        """Which work, and the token it is held by."""
        ...

    @property
    def task(self) -> Task: ...
    @property
    def dc_id(self) -> str: ...
    @property
    def it_power_kw(self) -> float: ...
    @property
    def starts_at(self) -> datetime:
        """When it is to start; once it runs, when it did."""
        ...

    @property
    def ends_at(self) -> datetime: ...
    @property
    def duration(self) -> timedelta: ...
    @property
    def is_running(self) -> bool: ...
    @property
    def was_broken_off(self) -> bool:
        """Whether its owner cancelled it while it ran: what it used is yet to be written down."""
        ...

    @property
    def promised_gco2(self) -> float | None:
        """What it was promised to emit."""
        ...

    def may_cost(self, cost_gbp: float) -> bool:
        """Whether a later run of this cost is within what was agreed."""
        ...


@dataclass(frozen=True)
class Begin:
    """It runs from `starts_at` on, and will end at `ends_at`."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Defer:
    """It waits for a better time, because of a spike."""

    spike: Spike
    to: Prospect


@dataclass(frozen=True)
class Complete:
    """It has run."""

    actuals: Actuals
    remark: str
    """What of its figures no source gave, as a sentence to add; else nothing."""
    readings: tuple[Reading, ...] = ()
    """What it used by the half-hour, as it is metered: what its figures are worked out from as it is stored."""


@dataclass(frozen=True)
class GiveUp:
    """It can no longer be run as promised, wherever."""

    reason: str


@dataclass(frozen=True)
class GiveBack:
    """It cannot be run in its place any more, but may be elsewhere or later."""

    reason: str


Step = Begin | Defer | Complete | GiveUp | GiveBack


class Stored(StrEnum):
    """What became of a step. Unless it is `CHANGED` nothing is stored; `FENCED`: another process has the work."""

    CHANGED = "changed"
    FENCED = "fenced"
    WRONG_STATE = "wrong_state"
    NO_CAPACITY = "no_capacity"


Run = TypeVar("Run", bound=PromisedRun)


@dataclass(frozen=True)
class DueRuns(Generic[Run]):
    """What this process holds on a lease, and when the next is due, None when none is."""

    claimed: tuple[Run, ...]
    next_due_at: datetime | None


class Book(Protocol[Run]):
    """Promises of power of one kind, in the database. Its methods raise `DatabaseError` and its kinds."""

    def claim_due(self, worker: str, now: datetime, *, lease_seconds: float, limit: int) -> DueRuns[Run]:
        """Take up to `limit` that are to start or to end by `now`, lost leases included."""
        ...

    def extend(self, runs: Sequence[Hashable], now: datetime, *, lease_seconds: float) -> None:
        """Hold the work of these leases for another lease time, as far as it is still held."""
        ...

    def store(self, run: Run, step: Step, now: datetime) -> Stored:
        """Take one step, all of it or nothing, while its lease is held."""
        ...

    def fail(self, run: Run, error: str, now: datetime, *, again_after_s: float) -> None:
        """Put work back whose step failed; nothing happens when its lease was lost."""
        ...

    def grid(self, now: datetime) -> GridContext:
        """The grid and the data centres at `now`."""
        ...

    def free_power(self, run: Run, now: datetime) -> FreePower:
        """The power that its data centre has beside all other promises, from `now` on."""
        ...


class FreePower(Protocol):
    def __call__(self, start: datetime, end: datetime) -> float:
        """IT power in kW that is free throughout [start, end)."""
        ...
