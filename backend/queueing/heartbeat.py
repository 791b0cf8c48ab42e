"""Keeps the leases of work in hand alive while somebody is at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from queueing.supervised import Rest, SupervisedLoop

EXTENSIONS_PER_LEASE = 3

Lease = TypeVar("Lease", bound=Hashable)


class Heartbeat(Generic[Lease]):
    """A thread that extends every lease in hand, three times a lease time.

    No lease is kept for longer than `longest_hold_s`: a worker that never comes back to it must lose it.
    """

    def __init__(
        self,
        name: str,
        extend: Callable[[Sequence[Lease]], object],
        *,
        lease_seconds: float,
        longest_hold_s: float,
    ) -> None:
        """`extend` holds leases for another lease time; one that is lost already is its holder's to find out."""
        self._extend_in_database = extend
        self._period_s = lease_seconds / EXTENSIONS_PER_LEASE
        self._longest_hold_s = longest_hold_s
        self._lock = threading.Lock()
        self._held_since: dict[Lease, float] = {}
        self._stopping = threading.Event()
        self.loop = SupervisedLoop(name, self._extend, self._stopping)

    def start(self) -> None:
        self.loop.start()

    def stop(self) -> None:
        self._stopping.set()
        self.loop.join(self._period_s + 5)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Run in a thread until the block ends."""
        self.start()
        try:
            yield
        finally:
            self.stop()

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
            self._extend_in_database(leases)
        return lambda: self._stopping.wait(self._period_s)
