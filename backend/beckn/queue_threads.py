"""Threads that take what is due from a queue in the database, until they are stopped."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from supabase_client import Database, DatabaseError, Listener

_log = logging.getLogger(__name__)

LONGEST_UNINTERRUPTED_S = 0.5
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


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
        self._name = name
        self._database = database
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._wakes = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]
        self._listener = threading.Thread(target=self._listen, name=f"{name}-listener", daemon=True)

    @abstractmethod
    def work_once(self) -> Round:
        """Take what is due, if anything is, and finish it, in this thread.

        Raises:
            DatabaseError: nothing can be had, or an end not be stored; then it will be tried again.
        """

    def start(self) -> None:
        """Begin to work."""
        self._listener.start()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let every thread finish what it has in hand, and end. What is left waits in the database."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        give_up_at = time.monotonic() + timeout_s
        for thread in (*self._threads, self._listener):
            if thread.is_alive():
                thread.join(max(0.0, give_up_at - time.monotonic()))

    def wake(self) -> None:
        """Let one thread look at once: something was put into the queue."""
        with self._changed:
            self._wakes = min(self._wakes + 1, len(self._threads))
            self._changed.notify()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                found = self.work_once()
            except DatabaseError as error:
                if not self._stopping.is_set():
                    _log.warning("%s: the database does not serve, trying again: %s", self._name, error)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            except Exception:  # noqa: BLE001 - the top of a thread: a bug must not end it
                _log.exception("%s failed, and goes on", self._name)
                self._stopping.wait(pause_s)
                continue
            pause_s = FIRST_PAUSE_S
            if found.taken:
                self.wake()  # where one was, there may be more
            else:
                self._sleep(found.next_due_s)

    def _sleep(self, next_due_s: float | None) -> None:
        longest_s = self._poll_seconds if next_due_s is None else min(self._poll_seconds, max(0.0, next_due_s))
        with self._changed:
            self._changed.wait_for(lambda: self._wakes > 0 or self._stopping.is_set(), longest_s)
            self._wakes = max(0, self._wakes - 1)

    def _listen(self) -> None:
        listener: Listener | None = None
        while not self._stopping.is_set():
            try:
                if listener is None:
                    listener = self._database.listen([self._channel])
                    if listener is None:
                        return  # this database carries no notifications: the threads poll
                    self.wake()  # for what came before there was anyone to hear of it
                if listener.wait(LONGEST_UNINTERRUPTED_S):
                    self.wake()
            except DatabaseError as error:  # noqa: PERF203 - it goes on after a lost connection
                _log.debug("%s: no listening connection: %s", self._name, error)
                if listener is not None:
                    listener.close()
                listener = None
                self._stopping.wait(self._poll_seconds)
        if listener is not None:
            listener.close()
