"""How long a runner may be silent, and what follows from it: all in proportion, so that a test may shorten it."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_HEARTBEAT_S = 15.0
LONGEST_LOOK_S = 20.0


@dataclass(frozen=True)
class Silence:
    """Of a run's runner.

    Attributes:
        lost_after_s: a run that nothing is heard of for so long is lost, and its command is ended where it runs.
    """

    lost_after_s: float = 600.0

    @property
    def heartbeat_s(self) -> float:
        """How often a runner is to be heard of."""
        return min(LONGEST_HEARTBEAT_S, self.lost_after_s / 40)

    @property
    def patience_s(self) -> float:
        """How long a runner has to be heard again after it could not be, as the server or the database was away."""
        return self.lost_after_s / 5

    @property
    def look_every_s(self) -> float:
        """How often the server looks for what is lost."""
        return min(LONGEST_LOOK_S, self.lost_after_s / 30)
