"""The time that a joint plan may take."""

from __future__ import annotations

from collections.abc import Callable


class TimeBudget:
    """Counts from when it is made, on a clock that never goes back (`time.monotonic`, or a test's).

    It remembers whether anybody had to stop because the time was up.
    """

    def __init__(self, monotonic: Callable[[], float], limit_s: float) -> None:
        self._monotonic = monotonic
        self._limit_s = limit_s
        self._began = monotonic()
        self._parts: list[TimeBudget] = []
        self._stopped_somebody = False

    @property
    def elapsed_s(self) -> float:
        return self._monotonic() - self._began

    @property
    def left_s(self) -> float:
        return self._limit_s - self.elapsed_s

    @property
    def cut_short(self) -> bool:
        """Whether work was stopped by this stopwatch or a part of it."""
        return self._stopped_somebody or any(part.cut_short for part in self._parts)

    def is_over(self) -> bool:
        """Whether to stop: asked by work that would go on."""
        if self.left_s > 0:
            return False
        self.note_stop()
        return True

    def note_stop(self) -> None:
        """Remember that work was stopped, by a clock of its own."""
        self._stopped_somebody = True

    def part(self, share: float) -> TimeBudget:
        """A stopwatch for a share of the time left."""
        part = TimeBudget(self._monotonic, max(0.0, share * self.left_s))
        self._parts.append(part)
        return part
