"""What an operator may have of the platform, counted in the database, so that it holds over all processes."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any

from pydantic import BaseModel

from database.interface import Calls
from vocabulary import StrEnum
from web.problems import Problem

REQUESTS_AT_ONCE = 10
"""So many requests are taken from the database's count at a time: most cost no call."""
MOST_OPERATORS = 10_000


class Limit(StrEnum):
    """The limits that are counted as things happen."""

    WORKLOADS_PER_HOUR = "workloads_per_hour"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    STREAMS = "streams"


class OverLimit(Problem):
    """An operator has had what it may have (429)."""

    def __init__(self, limit: Limit, most: int, retry_after_s: float | None) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(
            429,
            f"the operator's limit is reached: {limit} is {most}"
            + ("" if retry_after_s is None else f"; try again in {retry_after_s:.0f} s"),
            headers=headers,
            limit=str(limit),
        )


class _Taken(BaseModel):
    allowed: bool
    remaining: float = 0
    limit: int
    retry_after_s: float | None = None


class OperatorLimits:
    """Counts against an operator's limits. Every method raises `OverLimit`, or `DatabaseError`."""

    def __init__(self, database: Calls) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._requests: OrderedDict[str, int] = OrderedDict()

    def take(self, operator: str, limit: Limit, amount: int = 1) -> None:
        """Count `amount` of what the operator may have in a while, all of it or nothing."""
        taken = self._take(operator, limit, amount)
        if not taken.allowed:
            raise OverLimit(limit, taken.limit, taken.retry_after_s)

    def take_request(self, operator: str) -> None:
        """Count a request."""
        with self._lock:
            left = self._requests.get(operator, 0)
            if left > 0:
                self._requests[operator] = left - 1
                return
        limit = Limit.REQUESTS_PER_MINUTE
        taken = self._take(operator, limit, REQUESTS_AT_ONCE)
        if not taken.allowed:
            self.take(operator, limit)
            return
        with self._lock:
            self._requests[operator] = self._requests.pop(operator, 0) + REQUESTS_AT_ONCE - 1
            if len(self._requests) > MOST_OPERATORS:
                self._requests.popitem(last=False)

    def hold_place(self, operator: str, limit: Limit, holder: str, for_s: float) -> None:
        """Have one of the operator's places for the next `for_s` seconds, or keep the one that `holder` has."""
        arguments = {"p_operator": operator, "p_limit": str(limit), "p_holder": holder, "p_seconds": for_s}
        taken = _Taken.model_validate(self._database.call("tenancy_hold", arguments, repeatable=True))
        if not taken.allowed:
            raise OverLimit(limit, taken.limit, taken.retry_after_s)

    def let_go(self, operator: str, limit: Limit, holder: str) -> None:
        """Give a place back."""
        arguments = {"p_operator": operator, "p_limit": str(limit), "p_holder": holder}
        self._database.call("tenancy_let_go", arguments, repeatable=True)

    def _take(self, operator: str, limit: Limit, amount: int) -> _Taken:
        arguments: dict[str, Any] = {"p_operator": operator, "p_limit": str(limit), "p_amount": amount}
        return _Taken.model_validate(self._database.call("tenancy_take", arguments))
