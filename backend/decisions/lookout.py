"""Tells idle workers when to look at the queue: at once where the database can say so, else by polling."""

from __future__ import annotations

import logging
import threading
import time

from supabase_client import Database, DatabaseError, Listener

_log = logging.getLogger(__name__)

CHANNEL = "workload_ready"
FASTEST_POLL_S = 0.05
LONGEST_UNINTERRUPTED_S = 0.5


class Lookout:
    """A thread that wakes one waiting worker when work may be ready; a worker that finds much wakes another.

    A direct PostgreSQL connection is woken by NOTIFY, and every `poll_seconds` in case a notice was lost or a
    retry is due. Elsewhere the queue is polled: fast while there is work, then less and less, down to once in
    `poll_seconds`.
    """

    def __init__(self, database: Database, *, poll_seconds: float, workers: int) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._workers = workers
        self._stopping = threading.Event()
        self._work_found = threading.Event()
        self._changed = threading.Condition()
        self._looks_due = 0
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let every waiting worker return, and end."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=LONGEST_UNINTERRUPTED_S + 5)

    def wait(self) -> None:
        """Sleep until it is worth looking at the queue, or the lookout stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._looks_due > 0 or self._stopping.is_set())
            self._looks_due = max(0, self._looks_due - 1)

    def found_work(self, *, more_likely: bool) -> None:
        """A worker found work; `more_likely` wakes another to look for more."""
        self._work_found.set()
        if more_likely:
            self._wake_one()

    def _wake_one(self) -> None:
        with self._changed:
            # More looks than workers would only be looks at an empty queue, later.
            self._looks_due = min(self._looks_due + 1, self._workers)
            self._changed.notify()

    def _run(self) -> None:
        listener: Listener | None = None
        pause_s = FASTEST_POLL_S
        while not self._stopping.is_set():
            if listener is None:
                listener = self._open_listener()
                self._wake_one()
            if listener is not None:
                listener = self._listen(listener)
                continue
            pause_s = FASTEST_POLL_S if self._work_found.is_set() else min(2 * pause_s, self._poll_seconds)
            self._work_found.clear()
            self._stopping.wait(min(pause_s, self._poll_seconds))
        if listener is not None:
            listener.close()

    def _open_listener(self) -> Listener | None:
        try:
            return self._database.listen([CHANNEL])
        except DatabaseError as error:
            _log.debug("no listening connection: %s", error)
            return None

    def _listen(self, listener: Listener) -> Listener | None:
        """Wait for a notice, or `poll_seconds` without one; None when the connection is lost."""
        look_at = time.monotonic() + self._poll_seconds
        try:
            while not self._stopping.is_set():
                remaining_s = look_at - time.monotonic()
                if remaining_s <= 0 or listener.wait(min(remaining_s, LONGEST_UNINTERRUPTED_S)):
                    self._wake_one()
                    return listener
        except DatabaseError as error:
            _log.warning("%s; polling until there is a new one", error)
            listener.close()
            return None
        return listener
