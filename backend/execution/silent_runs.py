"""Ends what no runner will any more: runs that nothing is heard of, and bookings that no runner took."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from database.errors import DatabaseError
from database.interface import Database
from execution.silence import Silence
from grid.half_hours import rfc3339
from queueing.supervised import Rest, SupervisedLoop, troubles

_log = logging.getLogger(__name__)

MOST_AT_ONCE = 100


class SilentRuns:
    """Looks from time to time, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        silence: Silence,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing runs before `start`."""
        self._database = database
        self._clock = clock
        self._silence = silence
        self._monotonic = monotonic
        self._can_be_heard_since = monotonic()
        self._stopping = threading.Event()
        self._loop = SupervisedLoop("the watch over runners", self._turn, self._stopping)

    def start(self) -> None:
        self._can_be_heard_since = self._monotonic()
        self._loop.start()

    def stop(self) -> None:
        self._stopping.set()
        self._loop.join(10.0)

    def troubles(self) -> list[str]:
        """What is wrong with it, in words."""
        return troubles([self._loop])

    def settle(self) -> list[str]:
        """Settle what is silent, unless runners could not be heard lately; the workloads that were.

        Raises:
            DatabaseError: the database does not answer.
        """
        settled: list[str] = []
        while len(settled) < MOST_AT_ONCE and (one := self._settle_one()):
            settled += one
        for job_id in settled:
            _log.warning("job %s: no runner carries it out any more", job_id)
        return settled

    def _settle_one(self) -> list[str]:
        lately = self._monotonic() - self._can_be_heard_since < self._silence.patience_s
        arguments = {"p_now": rfc3339(self._clock()), "p_lost_too": not lately}
        try:
            settled: list[str] = self._database.call("settle_silent_runs", arguments)["settled"]
        except DatabaseError:
            self._can_be_heard_since = self._monotonic()
            raise
        return settled

    def _turn(self) -> Rest | None:
        self.settle()
        return lambda: self._stopping.wait(self._silence.look_every_s)
