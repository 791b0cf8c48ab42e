"""A thread that carries things on which have states: it takes what is due, and makes one step of each.

Any number of processes may have one. A step is stored whole or not at all, under a fencing token: whatever dies when,
none is lost or made twice. A step that fails holds up no other, and is made again after a while.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from database.errors import DatabaseError
from database.interface import Database
from queueing.consumer import Consumer, Round
from queueing.failing import Failing
from queueing.heartbeat import Heartbeat

Claimed = TypeVar("Claimed")


@dataclass(frozen=True)
class Made:
    """What became of a step, in words for the log; `again` says why it is due again at once, if it is."""

    told: str
    again: str | None = None


class StepThread(Consumer, ABC, Generic[Claimed]):
    """One kind of thing, in this process."""

    thing: ClassVar[str]
    """What one is called in the log, such as `negotiation`."""

    def __init__(
        self,
        database: Database,
        channel: str,
        *,
        clock: Callable[[], datetime],
        poll_seconds: float,
        again_after_s: float,
        heartbeat: Heartbeat[Any] | None = None,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            again_after_s: how soon what failed is tried again.
            heartbeat: keeps the leases of what is in hand (`_holding`), where a step may outlast one.
        """
        super().__init__(
            channel, self.work_once, database, channel, threads=1, poll_seconds=poll_seconds, heartbeat=heartbeat
        )
        self._log = logging.getLogger(type(self).__module__)
        self._clock = clock
        self._again_after_s = again_after_s
        self._failing = Failing(again_after_s)

    @abstractmethod
    def _claim_due(self, now: datetime) -> tuple[list[Claimed], datetime | None]:
        """What is due, on a lease; and when the next after it is. Raises DatabaseError."""

    @abstractmethod
    def _name(self, claimed: Claimed) -> str:
        """Which one it is, for the log."""

    @abstractmethod
    def _make_step(self, claimed: Claimed, now: datetime) -> Made:
        """Make its next step and store it."""

    @abstractmethod
    def _give_back(self, claimed: Claimed, reason: str, now: datetime, *, again_after_s: float) -> None:
        """End its lease; it is due again after so long."""

    def _holding(self, claimed: Sequence[Claimed]) -> AbstractContextManager[object]:
        """While they are in hand."""
        return nullcontext(claimed)

    def work_once(self) -> Round:
        """Make a step of everything that is due now."""
        return self.run_due(self._clock())

    def run_due(self, now: datetime) -> Round:
        """Make a step of everything that is due at `now`, in this thread.

        Raises:
            DatabaseError: the work cannot be had.
        """
        due, next_due_at = self._claim_due(now)
        if due:
            self.found(more_likely=False)
        with self._holding(due):
            for claimed in due:
                self._try_step(claimed, now)
        return Round(len(due), (next_due_at - now).total_seconds() if next_due_at else None)

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there is something it cannot carry on, in words."""
        failing = len(self._failing)
        told = f"{failing} {self.thing}s cannot be carried on: the log says why"
        return [*super().troubles(), *([told] if failing else [])]

    def _try_step(self, claimed: Claimed, now: datetime) -> None:
        name = self._name(claimed)
        try:
            made = self._make_step(claimed, now)
        except DatabaseError as error:
            # Its lease is given back; what the database could not do now it may do later.
            self._fail(claimed, now, error)
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            self._log.exception("%s %s: this step failed", self.thing, name)
            self._fail(claimed, now, error)
        else:
            self._failing.worked(name)
            if made.again is not None:
                self._give_back(claimed, made.again, now, again_after_s=0.0)
            self._log.info("%s %s: %s", self.thing, name, made.told)

    def _fail(self, claimed: Claimed, now: datetime, error: Exception) -> None:
        name = self._name(claimed)
        self._log.warning("%s %s: tried again later: %s", self.thing, name, error)
        self._failing.failed(name)
        self._give_back(claimed, f"{type(error).__name__}: {error}", now, again_after_s=self._again_after_s)
