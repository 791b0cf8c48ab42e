"""Who may wait for the model: as many at once as there are seats, first come first served."""

from __future__ import annotations

import threading
from collections import deque


class ModelSeats:
    """Seats that are taken and given back. Safe to use from many threads."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._free = number
        self._closed = False
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def is_waited_for(self) -> bool:
        with self._changed:
            return bool(self._waiting)

    def take(self, patience_s: float) -> bool:
        """Whether a seat came free within `patience_s`; who gets one gives it back."""
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._closed or self._is_up(turn), patience_s)
            got_one = not self._closed and self._is_up(turn)
            if got_one:
                self._free -= 1
            self._waiting.remove(turn)
            self._changed.notify_all()
        return got_one

    def give_back(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody gets a seat any more, or waits for one."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_up(self, turn: object) -> bool:
        return self._free > 0 and self._waiting[0] is turn
