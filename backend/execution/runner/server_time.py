"""The server's time, by this machine's monotonic clock: nothing that changes its wall clock changes a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from execution.runner.processes import boot_id


class Anchor(BaseModel):
    """One moment as the server told it, and what the monotonic clock of this boot said then."""

    model_config = ConfigDict(frozen=True)

    moment: AwareDatetime
    monotonic_s: float
    boot_id: str


class ServerTime:
    """What time it is for the server. Until it has told that, what this machine's wall clock said at the start."""

    def __init__(
        self, monotonic: Callable[[], float], wall_clock: Callable[[], datetime], kept: Anchor | None = None
    ) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._anchor = (
            kept
            if kept is not None and kept.boot_id == boot_id()
            else Anchor(moment=wall_clock(), monotonic_s=monotonic(), boot_id=boot_id())
        )

    def heard(self, moment: datetime) -> None:
        """The server has just said what time it is."""
        anchor = Anchor(moment=moment, monotonic_s=self._monotonic(), boot_id=boot_id())
        with self._lock:
            self._anchor = anchor

    @property
    def anchor(self) -> Anchor:
        """To be kept for the next start of this runner."""
        with self._lock:
            return self._anchor

    def at(self, monotonic_s: float) -> datetime:
        """What time it is, or was, for the server when the monotonic clock says, or said, so much."""
        anchor = self.anchor
        return anchor.moment + timedelta(seconds=monotonic_s - anchor.monotonic_s)
