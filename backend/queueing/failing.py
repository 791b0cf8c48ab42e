"""Which pieces of work fail again and again, so that whoever asks after a thread hears of them."""

from __future__ import annotations

import time


class Failing:
    """The names of what failed of late. Safe to read from many threads while one writes.

    Args:
        again_after_s: how soon what failed is tried again; what has not failed in twice that is forgotten.
    """

    def __init__(self, again_after_s: float) -> None:
        self._lately_s = 2 * again_after_s
        self._failed_at: dict[str, float] = {}

    def failed(self, name: str) -> None:
        self._failed_at[name] = time.monotonic()

    def worked(self, name: str) -> None:
        self._failed_at.pop(name, None)

    def __len__(self) -> int:
        since = time.monotonic() - self._lately_s
        return sum(at > since for at in list(self._failed_at.values()))
