"""The database's notices, for whoever wants to know at once that something is new, and polls where there are none."""

from __future__ import annotations

import logging
import time

from database.errors import DatabaseError
from database.interface import Database, Listener
from queueing.backoff import Backoff

_log = logging.getLogger(__name__)

LONGEST_UNINTERRUPTED_S = 0.5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Notices:
    """Listens to one channel while the database lets it; a lost or deaf listener is replaced, with growing pauses.

    For one thread or greenlet at a time.
    """

    def __init__(self, database: Database, channel: str) -> None:
        """Connects to nothing yet."""
        self._database = database
        self._channel = channel
        self._listener: Listener | None = None
        self._never = False
        self._has_just_begun = False
        self._try_at = 0.0
        self._pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def are_heard(self) -> bool:
        """Whether `wait` may be relied on. Where not, it is for the caller to poll, and to ask again."""
        if self._listener is None and not self._never and time.monotonic() >= self._try_at:
            self._listen()
        return self._listener is not None

    def wait(self, timeout_s: float) -> bool:
        """Whether there may be something new, waiting for it for about half a second or `timeout_s`, if that is less.

        True at once after it has begun to listen, or has lost its listener: nobody knows what came before.
        """
        if self._has_just_begun or self._listener is None:
            self._has_just_begun = False
            return True
        try:
            return bool(self._listener.wait(min(timeout_s, LONGEST_UNINTERRUPTED_S)))
        except DatabaseError as error:
            self._lost(error)
            return True

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _listen(self) -> None:
        try:
            self._listener = self._database.listen([self._channel])
        except DatabaseError as error:
            self._lost(error)
            return
        self._never = self._listener is None
        self._has_just_begun = True
        if self._listener is not None and self._pauses.failures:
            _log.info("notices on %s are arriving again", self._channel)
        self._pauses.reset()

    def _lost(self, error: DatabaseError) -> None:
        if not self._pauses.failures:
            _log.warning("notices on %s do not arrive, polling until they do: %s", self._channel, error)
        self.close()
        self._try_at = time.monotonic() + self._pauses.next_s()
