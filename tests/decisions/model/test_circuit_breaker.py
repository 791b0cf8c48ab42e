"""When a failing service is left alone, and when it is tried again."""

from __future__ import annotations

from decisions.model.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock, *, threshold: int = 3) -> CircuitBreaker:
    breaker = CircuitBreaker(threshold=threshold, rest_s=10, longest_rest_s=35, clock=clock)
    for _ in range(threshold):
        assert breaker.allow()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(threshold=3, clock=Clock())
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.allow()
    assert not breaker.is_open


def test_calls_that_time_out_again_and_again_open_it_whatever_good_answers_come_between() -> None:
    clock = Clock()
    breaker = CircuitBreaker(threshold=100, rest_s=10, clock=clock)
    for _ in range(2):
        breaker.failed(timed_out=True)
        breaker.succeeded()
        breaker.succeeded()
    assert breaker.allow()
    breaker.failed(timed_out=True)
    assert not breaker.allow()
    clock.now += 10
    assert breaker.allow()
    breaker.failed(timed_out=True)
    clock.now += 19
    assert not breaker.allow()
    clock.now += 1
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.allow()


def test_timeouts_few_and_far_between_do_not_open_it() -> None:
    breaker = CircuitBreaker(clock=Clock())
    for call in range(1, 200):
        if call % 5 == 0:
            breaker.failed(timed_out=True)
        else:
            breaker.succeeded()
        assert breaker.allow()


def test_it_lets_one_trial_through_after_the_rest() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert breaker.is_resting
    assert not breaker.allow()
    clock.now += 10
    assert not breaker.is_resting
    assert breaker.allow()
    assert not breaker.allow()
    breaker.succeeded()
    assert breaker.allow()
    assert breaker.allow()


def test_each_failed_trial_doubles_the_rest_up_to_the_longest() -> None:
    clock = Clock()
    breaker = broken(clock)
    for rest_s in (10, 20, 35, 35):
        clock.now += rest_s - 0.1
        assert not breaker.allow()
        clock.now += 0.1
        assert breaker.allow()
        breaker.failed()
    clock.now += 35
    assert breaker.allow()
    breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    clock.now += 10
    assert breaker.allow()


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_rest() -> None:
    clock = Clock()
    breaker = broken(clock)
    for _ in range(10):
        breaker.failed()
    clock.now += 10
    assert breaker.allow()


def test_a_hopeless_failure_opens_it_at_once_for_the_longest_rest() -> None:
    clock = Clock()
    breaker = CircuitBreaker(threshold=3, rest_s=10, longest_rest_s=35, clock=clock)
    breaker.failed(rest_longest=True)
    clock.now += 34
    assert not breaker.allow()
    clock.now += 1
    assert breaker.allow()


def test_a_trial_nobody_reports_on_is_followed_by_another() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 10
    assert breaker.allow()
    assert not breaker.allow()
    clock.now += 20
    assert breaker.allow()
