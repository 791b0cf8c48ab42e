from __future__ import annotations

from upstreams.call_limit import CallLimit


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def test_calls_beyond_the_limit_wait_for_the_oldest_to_age() -> None:
    clock = Clock()
    limit = CallLimit(2, 60.0, monotonic=clock)
    assert limit.take() == 0
    clock.seconds += 20
    assert limit.take() == 0
    clock.seconds += 15
    assert limit.take() == 25
    clock.seconds += 25
    assert limit.take() == 0
    assert limit.take() == 20


def test_a_call_that_was_not_made_does_not_count() -> None:
    clock = Clock()
    limit = CallLimit(1, 10.0, monotonic=clock)
    limit.take()
    for _ in range(5):
        clock.seconds += 1
        assert limit.take() > 0
    clock.seconds += 5
    assert limit.take() == 0
