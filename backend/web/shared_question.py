"""One answer for all who ask the same at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from database.errors import DatabaseError

Answer = TypeVar("Answer")


class SingleFlight(Generic[Answer]):
    """A question whose answer takes a while. Who asked before it was put shares its answer; before it failed, its
    failure. So an answer is never older than its question, and however many ask, one at a time is worked out."""

    def __init__(
        self, find: Callable[[Answer | None], Answer], one_at_a_time: AbstractContextManager[object]
    ) -> None:
        """
        Args:
            find: works the answer out; it is given the one before, if there is one. It may raise `DatabaseError`.
            one_at_a_time: a lock of the kind that those who ask wait for: threads or greenlets.
        """
        self._find = find
        self._one_at_a_time = one_at_a_time
        self._moments = itertools.count(1)
        self._as_of = 0
        self._outcome: Answer | DatabaseError | None = None

    def answer(self) -> Answer:
        """The answer as of some moment after the call began.

        Raises:
            DatabaseError: as `find` did.
        """
        asked_at = next(self._moments)
        with self._one_at_a_time:
            outcome = self._outcome
            if outcome is None or self._as_of < asked_at:
                self._as_of = next(self._moments)
                outcome = self._outcome = self._found()
                if isinstance(outcome, DatabaseError):
                    self._as_of = next(self._moments)  # or those who wait would wait as long once more
        if isinstance(outcome, DatabaseError):
            raise outcome
        return outcome

    def _found(self) -> Answer | DatabaseError:
        try:
            return self._find(None if isinstance(self._outcome, DatabaseError) else self._outcome)
        except DatabaseError as error:
            return error
