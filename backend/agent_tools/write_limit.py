"""How often one credential may change something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent_tools.platform_calls import whose
from agent_tools.refusals import ToolRefused

WITHIN_S = 60.0
_MOST_CREDENTIALS = 10_000


class WriteLimit:
    """At most `per_minute` changes of one credential within any minute.

    Args:
        monotonic: seconds that only ever go up.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._made: dict[bytes, deque[float]] = {}

    def count(self, credential: str | None) -> None:
        """Count one change.

        Raises:
            ToolRefused: it is one too many.
        """
        now = self._monotonic()
        caller = whose(credential)
        made = self._made.pop(caller, deque())
        while made and now - made[0] >= WITHIN_S:
            made.popleft()
        self._made[caller] = made  # the last one to write comes last
        while len(self._made) > _MOST_CREDENTIALS:
            del self._made[next(iter(self._made))]
        if len(made) >= self._per_minute:
            wait_s = int(WITHIN_S - (now - made[0])) + 1
            raise ToolRefused(f"{self._per_minute} changes a minute are allowed here: try again in {wait_s} seconds")
        made.append(now)
