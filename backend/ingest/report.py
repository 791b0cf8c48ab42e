"""What one pipeline run did."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from grid.half_hours import rfc3339
from ingest.sources import SourceState


@dataclass
class RunReport:
    """What one run did.

    `taken`: another process has done this slot, or is doing it (its lease then ends at `taken_until`), so nothing
    was done here. `fenced`: another process took the slot over meanwhile, so nothing was stored.
    """

    slot: datetime
    state: Literal["succeeded", "partial", "taken", "fenced"]
    taken_until: datetime | None = None
    sources: dict[str, SourceState] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for a log."""
        stages = " ".join(f"{name}={ms:.0f}ms" for name, ms in self.stages_ms.items())
        counts = " ".join(f"{name}={count}" for name, count in self.counts.items())
        return f"run slot={rfc3339(self.slot)} state={self.state} {counts} {stages}".rstrip()
