"""One answer for all who ask the same at the same time."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from database.errors import DatabaseError

Answer = TypeVar("Answer")
Question = TypeVar("Question", bound=Hashable)


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


class SharedQuestions(Generic[Question, Answer]):
    """Questions of one kind. Only who asks the same one shares its answer, so whatever an answer depends on, such as
    for whom it is, belongs into the question. The ones asked longest ago are forgotten."""

    def __init__(
        self,
        find: Callable[[Question, Answer | None], Answer],
        lock: Callable[[], AbstractContextManager[object]],
        *,
        most: int,
    ) -> None:
        """
        Args:
            find: works an answer out, as for `SingleFlight`; it is called by one of those who ask.
            lock: makes a lock of the kind that those who ask wait for.
        """
        self._find = find
        self._lock = lock
        self._most = most
        self._alone = lock()
        self._flights: OrderedDict[Question, SingleFlight[Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flights)

    def answer(self, question: Question) -> Answer:
        """The answer as of some moment after the call began.

        Raises:
            DatabaseError: as `find` did.
        """
        with self._alone:
            flight = self._flights.pop(question, None) or self._flight(question)
            self._flights[question] = flight
            if len(self._flights) > self._most:
                self._flights.popitem(last=False)
        return flight.answer()

    def _flight(self, question: Question) -> SingleFlight[Answer]:
        return SingleFlight(lambda before: self._find(question, before), self._lock())
