"""A limit on calls over a sliding stretch of time, kept by the caller."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class CallLimit:
    """At most `calls` calls in any `per_seconds` seconds. Thread-safe."""

    def __init__(self, calls: int, per_seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.calls = calls
        self.per_seconds = per_seconds
        self._monotonic = monotonic
        self._made: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take one call: 0 when it may be made now, else the seconds until one may be (and none is taken)."""
        with self._lock:
            now = self._monotonic()
            while self._made and now - self._made[0] >= self.per_seconds:
                self._made.popleft()
            if len(self._made) < self.calls:
                self._made.append(now)
                return 0.0
            return self._made[0] + self.per_seconds - now
