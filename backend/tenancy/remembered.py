"""Answers of the database, remembered for seconds: quick for who asks again, and never wrong for long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

LONGEST_S = 5.0
"""Revocation is to hold everywhere within ten seconds, where no notice tells of it too."""

MOST = 10_000


class Remembered(Generic[Question, Answer]):
    """Answers, each as old as `longest_s` at most, and none from before the last `forget`. For many threads.

    An answer's age counts from before it was asked for. What raises is not remembered.
    """

    def __init__(
        self,
        *,
        longest_s: float = LONGEST_S,
        most: int = MOST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest_s = longest_s
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._answers: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()
        self._forgotten = 0

    def answer(self, question: Question, find: Callable[[], Answer]) -> Answer:
        """What is remembered, or else what `find` says, which is called outside of any lock."""
        now = self._monotonic()
        known = self._answers.get(question)
        if known is not None and now - known[0] < self._longest_s:
            return known[1]
        forgotten = self._forgotten
        found = find()
        with self._lock:
            # What was forgotten meanwhile may be what was found.
            if self._forgotten == forgotten:
                self._answers.pop(question, None)
                self._answers[question] = now, found
                if len(self._answers) > self._most:
                    self._answers.popitem(last=False)
        return found

    def forget(self) -> None:
        """Ask anew for everything."""
        with self._lock:
            self._forgotten += 1
            self._answers.clear()
