"""When to look for something new: at once where the database can say so, else by polling."""

from __future__ import annotations

import time

from database.interface import Database
from queueing.backoff import Backoff
from queueing.notices import Notices
from queueing.supervised import Stopping

FASTEST_POLL_S = 0.05


class Wakeups:
    """The waits between looks at what one channel of notices is about.

    A direct PostgreSQL connection is woken by NOTIFY, and every `poll_seconds` in case a notice was lost or a moment
    has come. Elsewhere it is polled: fast while something is found, then less and less, down to once in
    `poll_seconds`.
    `wait` and `close` are for one thread or greenlet, `found` for any.
    """

    def __init__(self, database: Database, channel: str, *, poll_seconds: float, stopping: Stopping) -> None:
        """Connects to nothing yet. A wait ends when `stopping` is set."""
        self._poll_seconds = poll_seconds
        self._stopping = stopping
        self._notices = Notices(database, channel)
        self._polls = Backoff(FASTEST_POLL_S, poll_seconds)
        self._has_found = False

    def found(self) -> None:
        """Something was there: where it is polled, look again soon."""
        self._has_found = True

    def wait(self) -> None:
        """Return when it is worth a look."""
        if self._notices.are_heard():
            look_at = time.monotonic() + self._poll_seconds
            while not self._stopping.is_set() and (remaining_s := look_at - time.monotonic()) > 0:
                if self._notices.wait(remaining_s):
                    return
            return
        if self._has_found:
            self._polls.reset()
        self._has_found = False
        self._stopping.wait(min(self._polls.next_s(), self._poll_seconds))

    def close(self) -> None:
        """Listen no more."""
        self._notices.close()
