"""How many decisions were made, by whom and how quickly, since the process began."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter

from pydantic import BaseModel, ConfigDict

from decisions.publishing.schema import Scorer

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DecisionCounts(BaseModel):
    """`within` counts the decisions that took at most each of BUCKETS_S, and last those that took longer.

    Attributes:
        by_scorer: published decisions by who set the scores.
        fallbacks: those of them where the model was to judge and did not.
        failures: attempts that did not lead to a decision.
        total_s: how long all published decisions took together, from the claim to the publication.
    """

    model_config = ConfigDict(frozen=True)

    by_scorer: dict[Scorer, int]
    fallbacks: int
    failures: int
    within: tuple[int, ...]
    total_s: float


class DecisionCounter:
    """Counts, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_scorer: Counter[Scorer] = Counter()
        self._fallbacks = 0
        self._failures = 0
        self._within = [0] * (len(BUCKETS_S) + 1)
        self._total_s = 0.0

    def published(self, scorer: Scorer, took_s: float, *, fallback: bool) -> None:
        """A decision was published, `took_s` after its notification was claimed."""
        with self._lock:
            self._by_scorer[scorer] += 1
            self._fallbacks += fallback
            self._within[bisect_left(BUCKETS_S, took_s)] += 1
            self._total_s += took_s

    def failed(self) -> None:
        """An attempt led to no decision."""
        with self._lock:
            self._failures += 1

    def counts(self) -> DecisionCounts:
        """All of it, as of now."""
        with self._lock:
            return DecisionCounts(
                by_scorer=dict(self._by_scorer),
                fallbacks=self._fallbacks,
                failures=self._failures,
                within=tuple(self._within),
                total_s=self._total_s,
            )
