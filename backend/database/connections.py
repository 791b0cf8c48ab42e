"""PostgreSQL connections on which no call waits for ever, whatever becomes of the network.

A connection can stay open and never answer again: after a failover behind a proxy, or when a firewall forgot it. The
kernel notices after a quarter of an hour, if at all. So every wait ends by a deadline of the client's own.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout

Answer = TypeVar("Answer")

ANSWER_WITHIN_S = 10.0
"""How long one statement may take. Supabase gives it eight seconds."""

CANCEL_WITHIN_S = 1.0
"""How long a server may take to hear that a statement is to end, and then to end it."""

WAIT_INTERVAL_S = 0.1

# The kernel's own means, where the connection is TCP. Parameters of the client: no pooler sees them.
KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class ConnectionSilent(psycopg.OperationalError):
    """A connection was open, and nobody answered on it. It is closed now; another may work."""

    def __init__(self, opened_at: float) -> None:
        super().__init__("the connection is open, but nothing answers on it")
        self.opened_at = opened_at


class DeadlineConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose calls end by `answer_by`.

    A statement that takes longer is cancelled at the server, and raises `QueryCanceled`: the server is there, and is
    slow. Where even the cancelling is not answered, `ConnectionSilent` is raised.

    `opened_at`, `answer_by` and `heard_at` (the last answer) are times of `time.monotonic`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened_at = self.heard_at = time.monotonic()
        self.answer_by = self.opened_at + ANSWER_WITHIN_S

    def answer_within(self, seconds: float) -> None:
        """Set the deadline of what is asked next."""
        self.answer_by = time.monotonic() + seconds

    def wait(self, gen: PQGen[Answer], interval: float = WAIT_INTERVAL_S, timeout: float | None = None) -> Answer:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            answer = super().wait(gen, interval, max(0.0, self.answer_by - time.monotonic()))
        except _WaitTimeout:
            answer = self._cancelled(gen, interval)
        self.heard_at = time.monotonic()
        return answer

    def _cancelled(self, gen: PQGen[Answer], interval: float) -> Answer:
        """What the server says to a cancellation: usually the error `QueryCanceled`, or the answer after all."""
        try:
            self.cancel_safe(timeout=CANCEL_WITHIN_S)
            return super().wait(gen, interval, CANCEL_WITHIN_S)
        except psycopg.errors.QueryCanceled:
            raise
        except psycopg.OperationalError as error:
            self.pgconn.finish()
            raise ConnectionSilent(self.opened_at) from error
