"""Keeps the leases of work in hand alive while somebody thinks about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from decisions.work.notifications import Lease, WorkQueue
from queueing.supervised import Rest, SupervisedLoop

EXTENSIONS_PER_LEASE = 3


class LeaseKeeper:
    """A thread that extends every lease in hand, three times a lease time.

    No lease is kept for longer than `longest_hold_s`: a worker that never comes back to it must lose it.
    """

    def __init__(self, queue: WorkQueue, *, lease_seconds: float, longest_hold_s: float) -> None:
        self._queue = queue
        self._period_s = lease_seconds / EXTENSIONS_PER_LEASE
        self._longest_hold_s = longest_hold_s
        self._lock = threading.Lock()
        self._held_since: dict[Lease, float] = {}
        self._stopping = threading.Event()
        self.loop = SupervisedLoop("the keeper of leases", self._extend, self._stopping)

    def start(self) -> None:
        self.loop.start()

    def stop(self) -> None:
        self._stopping.set()
        self.loop.join(self._period_s + 5)

    @contextmanager
    def holding(self, leases: Sequence[Lease]) -> Iterator[None]:
        """Keep these leases until the block ends."""
        now = time.monotonic()
        with self._lock:
            self._held_since.update(dict.fromkeys(leases, now))
        try:
            yield
        finally:
            with self._lock:
                for lease in leases:
                    self._held_since.pop(lease, None)

    def in_hand(self) -> list[Lease]:
        with self._lock:
            return list(self._held_since)

    def _extend(self) -> Rest:
        since = time.monotonic() - self._longest_hold_s
        with self._lock:
            leases = [lease for lease, held in self._held_since.items() if held > since]
        if leases:
            # One that is lost already needs nothing done: its token is refused when the result comes.
            self._queue.extend(leases)
        return lambda: self._stopping.wait(self._period_s)
