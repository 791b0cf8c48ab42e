"""The one top of every long-lived thread and greenlet: it outlives every error, and says how it is doing.

A loop that ends on an error that nobody thought of leaves a process that looks well and does nothing. So what is to
go on for as long as the process is written as turns, and this makes them one after the other: an error is logged (in
full once, then in a line), the next turn comes after a pause that grows, and until one succeeds the health pages say
what is wrong.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from database.errors import DatabaseError
from printable import LONGEST_REASON, printable
from queueing.backoff import Backoff

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
REMIND_EVERY_S = 300.0
TROUBLE_AFTER_S = 5.0  # a failure that is over by then is not worth a word


Rest = Callable[[], object]


class Stopping(Protocol):
    """An event, of threads or of greenlets: it ends a pause, and the loop."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> object: ...


class SupervisedLoop:
    """Makes turn after turn until `stopping` is set.

    `turn` does one piece of work, and returns how to wait for the next, if there is anything to wait for. A turn or a
    rest that takes longer than `longest_turn_s` counts as stuck.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], Rest | None],
        stopping: Stopping,
        *,
        longest_turn_s: float = 120.0,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Nothing runs before `start`, or `run` in a thread or greenlet of the caller's."""
        self.name = name
        self._turn = turn
        self._stopping = stopping
        self._longest_turn_s = longest_turn_s
        self._pauses = Backoff(first_pause_s, longest_pause_s)
        self._thread: threading.Thread | None = None
        self._started = False
        self._ended = False
        self._turn_began = 0.0
        self._failing_since: float | None = None
        self._failure = ""
        self._logged_at = 0.0

    def start(self) -> None:
        """Run in a thread."""
        self._started, self._turn_began = True, time.monotonic()
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended, once `stopping` is set; whether it has."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def run(self) -> None:
        """Make turns in this thread or greenlet."""
        self._started = True
        try:
            while not self._stopping.is_set():
                if self._made_turn():
                    self._pauses.reset()
                else:
                    self._stopping.wait(self._pauses.next_s())
        finally:
            self._ended = True

    def trouble(self) -> str | None:
        """What is wrong with it, in words for a health page; None when nothing is, or it was not started."""
        if not self._started or self._stopping.is_set():
            return None
        now = time.monotonic()
        if self._ended:
            return f"{self.name} has ended"
        since = self._failing_since
        if since is not None and now - since >= TROUBLE_AFTER_S:
            return f"{self.name} has failed for {now - since:.0f} s: {self._failure}"
        if now - self._turn_began > self._longest_turn_s:
            return f"{self.name} is stuck: it has been doing one thing for {now - self._turn_began:.0f} s"
        return None

    def _made_turn(self) -> bool:
        self._turn_began = time.monotonic()
        try:
            rest = self._turn()
            self._succeeded()
            if rest is not None:
                self._turn_began = time.monotonic()
                rest()
        except DatabaseError as error:
            self._failed(error, foreseen=True)
            return False
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the top of a thread: a bug must not end it
            self._failed(error, foreseen=False)
            return False
        return True

    def _failed(self, error: BaseException, *, foreseen: bool) -> None:
        if self._stopping.is_set():
            return  # what it waited for was taken from under it
        now = time.monotonic()
        failure = printable(error if foreseen else f"{type(error).__name__}: {error}", LONGEST_REASON)
        is_new = self._failing_since is None or failure != self._failure
        if self._failing_since is None:
            self._failing_since = now
        self._failure = failure
        if is_new and not foreseen:
            _log.error("%s failed and carries on", self.name, exc_info=error)
        elif self._failing_since == now or now - self._logged_at >= REMIND_EVERY_S:
            _log.warning("%s is failing and keeps trying: %s", self.name, failure)
        else:
            return
        self._logged_at = now

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            _log.info("%s works again, after %.1f s", self.name, time.monotonic() - self._failing_since)
            self._failing_since = None


def troubles(loops: Iterable[SupervisedLoop]) -> list[str]:
    """What is wrong with these loops, in words; empty when nothing is."""
    return [trouble for loop in loops if (trouble := loop.trouble()) is not None]
