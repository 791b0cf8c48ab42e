"""Decisions are counted by who made them and by how long they took, and the counts are told as they are."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from decisions.publishing.schema import Scorer
from decisions.work.counts import BUCKETS_S, DecisionCounter, DecisionCounts

decisions = st.lists(st.tuples(st.sampled_from(Scorer), st.floats(0, 100), st.booleans()))


@given(decisions, st.integers(0, 5))
def test_what_is_counted_is_what_happened(published: list[tuple[Scorer, float, bool]], failures: int) -> None:
    counter = DecisionCounter()
    for scorer, took_s, fallback in published:
        counter.published(scorer, took_s, fallback=fallback)
    for _ in range(failures):
        counter.failed()
    counts = counter.counts()
    assert DecisionCounts.model_validate_json(counts.model_dump_json()) == counts
    assert sum(counts.by_scorer.values()) == len(published)
    assert (counts.fallbacks, counts.failures) == (sum(fallback for *_, fallback in published), failures)
    for bound, within in zip(BUCKETS_S, accumulate(counts.within), strict=False):
        assert within == sum(took_s <= bound for _, took_s, _ in published)
    assert sum(counts.within) == len(published)
