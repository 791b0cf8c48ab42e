"""Has the grid read and parsed as soon as there is another, so that no workload waits for that when it comes.

Told by the database's notices, and looking now and then where there are none, and for the next half-hour. That it is
late, or stops, is no harm: whoever decides asks the database whether the kept grid is the newest, and so does the
publication.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from database.interface import Database
from decisions.work.notifications import WorkQueue
from queueing.supervised import Rest, SupervisedLoop
from queueing.wakeups import Wakeups

CHANNEL = "grid_changed"
LOOK_EVERY_S = 20.0


class GridKeeper:
    """One thread that keeps a queue's grid up to date."""

    def __init__(
        self, database: Database, queue: WorkQueue, *, clock: Callable[[], datetime], stopping: threading.Event
    ) -> None:
        """Nothing runs before `start`. It ends when `stopping` is set."""
        self._queue = queue
        self._clock = clock
        self._wakeups = Wakeups(database, CHANNEL, poll_seconds=LOOK_EVERY_S, stopping=stopping)
        self.loop = SupervisedLoop("the keeper of the grid", self._turn, stopping)

    def start(self) -> None:
        self.loop.start()

    def stop(self, timeout_s: float) -> None:
        """Listen no more, once the thread has ended."""
        if self.loop.join(timeout_s):
            self._wakeups.close()

    def _turn(self) -> Rest:
        self._queue.keep_grid(self._clock())
        return self._wakeups.wait
