"""Leases in hand are extended for as long as somebody is at the work, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from queueing.heartbeat import Heartbeat

WITHIN_S = 30


class Extended:
    """Remembers what was extended, and lets a test wait for it."""

    def __init__(self, *, failures: int = 0) -> None:
        self.calls: list[frozenset[str]] = []
        self._failures = failures
        self._changed = threading.Condition()

    def __call__(self, leases: Sequence[str]) -> None:
        with self._changed:
            self.calls.append(frozenset(leases))
            self._changed.notify_all()
            failing = len(self.calls) <= self._failures
        if failing:
            raise RuntimeError("the database is away")

    def wait_for(self, leases: set[str], times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls.count(frozenset(leases)) >= times, WITHIN_S)


def a_heartbeat(extend: Extended, *, longest_hold_s: float = 60) -> Heartbeat[str]:
    return Heartbeat("the keeper", extend, lease_seconds=0.03, longest_hold_s=longest_hold_s)


def test_what_is_held_is_extended_again_and_again_and_what_is_let_go_is_not() -> None:
    extend = Extended()
    heartbeat = a_heartbeat(extend)
    with heartbeat.beating():
        with heartbeat.holding(["a"]):
            with heartbeat.holding(["b"]):
                extend.wait_for({"a", "b"}, times=2)
                assert set(heartbeat.in_hand()) == {"a", "b"}
            seen = extend.calls.count(frozenset({"a"}))
            extend.wait_for({"a"}, times=seen + 2)
        assert heartbeat.in_hand() == []
    after = len(extend.calls)
    assert heartbeat.loop.join(0)
    assert len(extend.calls) == after


def test_a_worker_that_never_comes_back_loses_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("queueing.heartbeat.time", SimpleNamespace(monotonic=lambda: now_s))
    extend = Extended()
    heartbeat = a_heartbeat(extend, longest_hold_s=60)
    with heartbeat.beating(), heartbeat.holding(["stuck"]):
        extend.wait_for({"stuck"})
        now_s = 61.0
        with heartbeat.holding(["quick"]):
            extend.wait_for({"quick"}, times=2)


def test_a_failure_is_outlived() -> None:
    extend = Extended(failures=2)
    heartbeat = a_heartbeat(extend)
    with heartbeat.beating(), heartbeat.holding(["a"]):
        extend.wait_for({"a"}, times=4)
