"""Threads that take what is due from a queue in the database, until they are stopped."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from database.interface import Database
from queueing.notices import Notices
from queueing.supervised import Rest, SupervisedLoop, troubles


@dataclass(frozen=True)
class Round:
    """What one look at a queue found: how many messages, and when the next is due (seconds from now), if any is."""

    taken: int
    next_due_s: float | None


class QueueThreads(ABC):
    """`threads` threads that look at one queue, and one that listens for what other processes put into it.

    A thread that found work looks again at once; one that found none sleeps until a message is due, until it is
    woken, or for `poll_seconds`. The database wakes it over a direct connection. Plain threads, so they run under
    gevent too.
    """

    def __init__(self, name: str, database: Database, channel: str, *, threads: int, poll_seconds: float) -> None:
        """Nothing runs before `start`."""
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._wakes = 0
        self._notices = Notices(database, channel)
        self._loops = [
            SupervisedLoop(f"{name} {number}", self._take_a_turn, self._stopping) for number in range(1, threads + 1)
        ]
        self._listening = SupervisedLoop(f"the listener of {name}", self._listen, self._stopping)

    @abstractmethod
    def work_once(self) -> Round:
        """Take what is due, if anything is, and finish it, in this thread.

        Raises:
            DatabaseError: nothing can be had, or an end not be stored; then it will be tried again.
        """

    def start(self) -> None:
        """Begin to work."""
        for loop in (self._listening, *self._loops):
            loop.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let every thread finish what it has in hand, and end. What is left waits in the database."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        give_up_at = time.monotonic() + timeout_s
        for loop in self._loops:
            loop.join(give_up_at - time.monotonic())
        if self._listening.join(give_up_at - time.monotonic()):
            self._notices.close()

    def troubles(self) -> list[str]:
        """What is wrong with the threads, in words; empty when nothing is."""
        return troubles([*self._loops, self._listening])

    def wake(self) -> None:
        """Let one thread look at once: something was put into the queue."""
        with self._changed:
            self._wakes = min(self._wakes + 1, len(self._loops))
            self._changed.notify()

    def _take_a_turn(self) -> Rest | None:
        found = self.work_once()
        if found.taken:
            self.wake()  # where one was, there may be more
            return None
        return lambda: self._sleep(found.next_due_s)

    def _sleep(self, next_due_s: float | None) -> None:
        longest_s = self._poll_seconds if next_due_s is None else min(self._poll_seconds, max(0.0, next_due_s))
        with self._changed:
            self._changed.wait_for(lambda: self._wakes > 0 or self._stopping.is_set(), longest_s)
            self._wakes = max(0, self._wakes - 1)

    def _listen(self) -> Rest | None:
        if not self._notices.are_heard():
            # The threads look at the queue as often as this without being woken.
            return lambda: self._stopping.wait(self._poll_seconds)
        if self._notices.wait(self._poll_seconds):
            self.wake()
        return None
