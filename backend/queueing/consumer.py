"""Threads that take what is due from a queue in the database, until they are stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from database.interface import Database
from queueing.heartbeat import Heartbeat
from queueing.notices import LONGEST_UNINTERRUPTED_S
from queueing.supervised import Rest, SupervisedLoop, troubles
from queueing.wakeups import Wakeups

LONGEST_SLEEP_S = 30.0


@dataclass(frozen=True)
class Round:
    """What one look at a queue found: how much, and when the next is due (seconds from now), if that is known."""

    taken: int
    next_due_s: float | None = None


class Consumer:
    """`threads` threads that look at one queue, and one that looks out for what others put into it.

    A thread that found work looks again at once; one that found none sleeps until something is due or it is woken.
    The one that looks out wakes one of them at a notice of the database, and now and then without any (`Wakeups`);
    one that finds much wakes another. Plain threads, so they run under gevent too.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Round],
        database: Database,
        channel: str,
        *,
        threads: int,
        poll_seconds: float,
        longest_turn_s: float = 120.0,
        heartbeat: Heartbeat[Any] | None = None,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            look: takes what is due, if anything is, and finishes it, in the thread that calls it. It says by `found`
                that it took some, as soon as it has.
            heartbeat: keeps the leases of what the threads have in hand; it starts before them, and ends after them.
        """
        self._look = look
        self._changed = threading.Condition()
        self._looks_due = 0
        self.stopping = threading.Event()
        self._wakeups = Wakeups(database, channel, poll_seconds=poll_seconds, stopping=self.stopping)
        self._loops = [
            SupervisedLoop(f"{name} {number}", self._take_a_turn, self.stopping, longest_turn_s=longest_turn_s)
            for number in range(1, threads + 1)
        ]
        self._looking_out = SupervisedLoop(f"the lookout of {name}s", self._look_out, self.stopping)
        self._beating = heartbeat

    @property
    def threads(self) -> int:
        return len(self._loops)

    def start(self) -> None:
        """Begin to work."""
        if self._beating is not None:
            self._beating.start()
        for loop in (self._looking_out, *self._loops):
            loop.start()

    def ask_to_stop(self) -> None:
        """Let no thread begin anything more; nothing is waited for."""
        self.stopping.set()
        with self._changed:
            self._changed.notify_all()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let every thread finish what it has in hand, and end. What is left waits in the database."""
        self.ask_to_stop()
        give_up_at = time.monotonic() + timeout_s
        for loop in self._loops:
            loop.join(give_up_at - time.monotonic())
        # Whatever the threads took of the time: an open connection is not to outlive them.
        if self._looking_out.join(max(give_up_at - time.monotonic(), LONGEST_UNINTERRUPTED_S + 5)):
            self._wakeups.close()
        if self._beating is not None:
            self._beating.stop()

    def troubles(self) -> list[str]:
        """What is wrong with the threads, in words; empty when nothing is."""
        beating = [] if self._beating is None else [self._beating.loop]
        return troubles([*self._loops, self._looking_out, *beating])

    def found(self, *, more_likely: bool = True) -> None:
        """A look found work; `more_likely` wakes another thread to look for more."""
        self._wakeups.found()
        if more_likely:
            self.wake()

    def wake(self) -> None:
        """Let one thread look at once: something was put into the queue."""
        with self._changed:
            # More looks than threads would only be looks at an empty queue, later.
            self._looks_due = min(self._looks_due + 1, len(self._loops))
            self._changed.notify()

    def _take_a_turn(self) -> Rest | None:
        found = self._look()
        return None if found.taken else lambda: self._sleep(found.next_due_s)

    def _sleep(self, next_due_s: float | None) -> None:
        longest_s = LONGEST_SLEEP_S if next_due_s is None else min(LONGEST_SLEEP_S, max(0.0, next_due_s))
        with self._changed:
            self._changed.wait_for(lambda: self._looks_due > 0 or self.stopping.is_set(), longest_s)
            self._looks_due = max(0, self._looks_due - 1)

    def _look_out(self) -> Rest:
        """Wake a thread; the rest lasts until a notice, or until it is time to look without one."""
        self.wake()
        return self._wakeups.wait
