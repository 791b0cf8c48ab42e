"""How long to wait before trying again: longer each time, and never for all at once."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_FURTHEST_DOUBLING = 20
# Of its own: threads draw from it at any time, and whoever seeds the process's counts on what comes after.
_CHANCE = Random()  # noqa: S311 - nothing is kept secret by it


def pause_s(
    failures: int, *, first_s: float, longest_s: float, chance: Callable[[], float] = _CHANCE.random
) -> float:
    """How long what failed for the `failures`-th time waits, in seconds.

    `first_s`, and then twice as long each time, at most `longest_s`, give or take a quarter by `chance` (0 to 1), so
    that those who failed together do not come back together. The database reckons in the same way (`retry_pause`).
    """
    doubled_s: float = first_s * 2 ** min(max(failures, 1) - 1, _FURTHEST_DOUBLING)
    return min(longest_s, doubled_s) * (0.75 + chance() / 2)


class Backoff:
    """The pauses of somebody who tries again and again. For one thread or greenlet."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often it has failed since it last went well."""
        return self._failures

    def next_s(self) -> float:
        """It has failed again: how long to wait now, in seconds."""
        self._failures += 1
        return pause_s(self._failures, first_s=self._first_s, longest_s=self._longest_s)

    def reset(self) -> None:
        """It went well: the next failure is a first one."""
        self._failures = 0
