"""Stops asking a service that keeps failing or hanging, and after a rest tries it again with a single call."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

MOST_TIMEOUTS = 3
TIMEOUTS_COUNTED_IN = 10  # the latest calls


class CircuitBreaker:
    """Open, so that no call is made, after `threshold` failures in a row, or when 3 of the latest 10 calls timed out.

    Good answers between them do not make up for timeouts, each of which costs its caller the whole time limit.

    After `rest_s` one call is let through on trial. If it fails the rest doubles, up to `longest_rest_s`. Safe to
    use from many threads; the clock is an argument, so that tests own it.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        rest_s: float = 30,
        longest_rest_s: float = 600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_rest_s = rest_s
        self._longest_rest_s = longest_rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._timed_out: deque[bool] = deque(maxlen=TIMEOUTS_COUNTED_IN)
        self._rest_s = rest_s
        self._open_until: float | None = None
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        with self._lock:
            return self._open_until is not None

    @property
    def is_resting(self) -> bool:
        """Whether `allow` would say no."""
        with self._lock:
            return self._open_until is not None and self._clock() < self._open_until

    def allow(self) -> bool:
        """Whether a call may be made now. Who is told yes reports `succeeded` or `failed`."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._clock() < self._open_until:
                return False
            # Should nobody report how the trial went, the next one is due after another rest.
            self._open_until = self._clock() + self._rest_s
            self._on_trial = True
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            self._timed_out.append(False)
            self._rest_s = self._first_rest_s
            self._open_until = None
            self._on_trial = False

    def failed(self, *, timed_out: bool = False, rest_longest: bool = False) -> None:
        """Count a failure. `rest_longest` opens at once for the longest rest: soon would be too soon."""
        with self._lock:
            self._failures += 1
            # Calls that were under way when it opened tell nothing new.
            if self._open_until is not None and not self._on_trial:
                return
            self._timed_out.append(timed_out)
            is_trial, self._on_trial = self._on_trial, False
            if rest_longest:
                self._rest_s = self._longest_rest_s
            elif not is_trial and self._failures < self._threshold and sum(self._timed_out) < MOST_TIMEOUTS:
                return
            self._timed_out.clear()
            self._open_until = self._clock() + self._rest_s
            self._rest_s = min(self._longest_rest_s, 2 * self._rest_s)
