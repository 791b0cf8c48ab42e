from __future__ import annotations

from decisions.scoring.shared import KEPT, Shared


def test_the_same_facts_at_the_same_moment_are_made_once() -> None:
    shared, facts = Shared[list[int]](), (object(), object())
    made = shared.of(facts, 1, lambda: [1])
    assert shared.of(facts, 1, lambda: [2]) is made
    assert shared.of(facts, 2, lambda: [3]) == [3]
    assert shared.of((facts[0], object()), 1, lambda: [4]) == [4]


def test_facts_that_are_only_equal_are_made_anew() -> None:
    shared = Shared[int]()
    assert shared.of(([1],), None, lambda: 1) == 1
    assert shared.of(([1],), None, lambda: 2) == 2


def test_only_the_newest_are_kept() -> None:
    shared, facts = Shared[int](), (object(),)
    for moment in range(KEPT + 1):
        shared.of(facts, moment, lambda: 1)
    assert shared.of(facts, KEPT, lambda: 2) == 1
    assert shared.of(facts, 0, lambda: 2) == 2
