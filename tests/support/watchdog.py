"""No test holds up a run for ever: a process that stands still says where each of its threads stood, and ends.

pytest-timeout acts first. It raises in the test, once, and only when Python next runs there: not while C code keeps
the interpreter to itself, and not again in a teardown that waits for what the test left undone. This watchdog is a
thread that needs no interpreter. pytest's own `faulthandler_timeout` is the same timer, but it is called off as soon
as a test has failed, which is when teardowns hang.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Generator

import pytest

COLLECTION_S = 600.0
GRACE_S = 60.0  # for a test's teardowns, after pytest-timeout had its turn
FINISH_S = 300.0  # for coverage's data, and for threads that are still at work


class Watchdog:
    """Ends this process at a moment, unless told of a later one before."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)  # not what pytest captures
        self._ends_at = 0.0

    def allow(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        faulthandler.dump_traceback_later(seconds, file=self._stderr, exit=True)

    def rest(self) -> None:
        faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        self.allow(COLLECTION_S)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        self.rest()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.allow(_limit_s(item) + GRACE_S)
        try:
            return (yield)
        finally:
            self.rest()

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self, node: pytest.Item | pytest.Collector) -> None:
        """Goes on watching: pytest has just called off the timer."""
        if not node.config.getoption("usepdb"):
            self.allow(max(1.0, self._ends_at - time.monotonic()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.allow(FINISH_S)  # never called off: threads that do not end are met after this


def _limit_s(item: pytest.Item) -> float:
    """What pytest-timeout gives the test."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


def pytest_configure(config: pytest.Config) -> None:
    is_controller = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not is_controller:  # a controller only waits, for minutes
        config.pluginmanager.register(Watchdog())
