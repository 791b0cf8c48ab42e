"""Tells idle workers when to look at the queue: at once where the database can say so, else by polling."""

from __future__ import annotations

import threading
import time

from database.interface import Database
from queueing.notices import LONGEST_UNINTERRUPTED_S, Notices
from queueing.supervised import Rest, SupervisedLoop

CHANNEL = "workload_ready"
FASTEST_POLL_S = 0.05
LONGEST_SLEEP_S = 30.0


class Lookout:
    """A thread that wakes one waiting worker when work may be ready; a worker that finds much wakes another.

    A direct PostgreSQL connection is woken by NOTIFY, and every `poll_seconds` in case a notice was lost or a
    retry is due. Elsewhere the queue is polled: fast while there is work, then less and less, down to once in
    `poll_seconds`.
    """

    def __init__(self, database: Database, *, poll_seconds: float, workers: int) -> None:
        self._poll_seconds = poll_seconds
        self._workers = workers
        self._stopping = threading.Event()
        self._work_found = threading.Event()
        self._changed = threading.Condition()
        self._looks_due = 0
        self._notices = Notices(database, CHANNEL)
        self._poll_pause_s = FASTEST_POLL_S
        self.loop = SupervisedLoop("the lookout for work", self._look_out, self._stopping)

    def start(self) -> None:
        self.loop.start()

    def stop(self) -> None:
        """Let every waiting worker return, and end."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self.loop.join(LONGEST_UNINTERRUPTED_S + 5):
            self._notices.close()

    def wait(self) -> None:
        """Sleep until it is worth looking at the queue, or the lookout stops; for half a minute at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._looks_due > 0 or self._stopping.is_set(), LONGEST_SLEEP_S)
            self._looks_due = max(0, self._looks_due - 1)

    def found_work(self, *, more_likely: bool) -> None:
        """A worker found work; `more_likely` wakes another to look for more."""
        self._work_found.set()
        if more_likely:
            self._wake_one()

    def _wake_one(self) -> None:
        with self._changed:
            # More looks than workers would only be looks at an empty queue, later.
            self._looks_due = min(self._looks_due + 1, self._workers)
            self._changed.notify()

    def _look_out(self) -> Rest:
        """Wake a worker; the rest lasts until a notice, or until it is time to look without one."""
        self._wake_one()
        return self._await_notice

    def _await_notice(self) -> None:
        if self._notices.are_heard():
            look_at = time.monotonic() + self._poll_seconds
            while not self._stopping.is_set() and (remaining_s := look_at - time.monotonic()) > 0:
                if self._notices.wait(remaining_s):
                    break
        else:
            found = self._work_found.is_set()
            self._poll_pause_s = FASTEST_POLL_S if found else min(2 * self._poll_pause_s, self._poll_seconds)
            self._work_found.clear()
            self._stopping.wait(min(self._poll_pause_s, self._poll_seconds))
