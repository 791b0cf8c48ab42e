"""What is written down of refusals, and of when keys were used: gathered in memory, written by a thread.

A refusal costs whoever is refused as little as anybody else: no request waits for the database to note it. Equal ones
of a second are one event that says how many there were, and beyond a bound they are only counted, so that a flood of
refusals fills neither the memory nor the table. Changes note themselves, in the transaction that makes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from clock import utc_now
from database.errors import DatabaseError
from database.interface import Calls
from grid.half_hours import rfc3339
from queueing.supervised import Rest, SupervisedLoop
from tenancy.remembered import Remembered

WRITE_EVERY_S = 1.0
NOTED_EVERY_S = 60.0
"""The database notes a key's use once a minute and no more often: it need not be told either."""

MOST_UNWRITTEN = 500
"""Kinds of refusals, and keys, between two writes."""


@dataclass(frozen=True)
class Refusal:
    """What was refused, to whom, and why. `address` is where the request came from, as far as this server sees."""

    action: str
    status: int
    why: str
    operator: str | None = None
    subject: str | None = None
    credential_id: str | None = None
    address: str | None = None


@dataclass
class _Times:
    """How often, and of the first of them, when and by which request."""

    at: datetime
    request_id: str | None
    times: int = 0


class AuditTrail:
    """Gathers what requests have to note, and writes it from `start` to `stop`."""

    def __init__(self, database: Calls, *, clock: Callable[[], datetime] = utc_now) -> None:
        """`database` is called in the thread alone."""
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._refusals: dict[Refusal, _Times] = {}
        self._left_out = 0
        self._used: set[str] = set()
        self._noted: Remembered[str, object] = Remembered(longest_s=NOTED_EVERY_S)
        self._stopping = threading.Event()
        self._loop = SupervisedLoop("the audit's writer", self._take_a_turn, self._stopping)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what there is, and end."""
        self._stopping.set()
        if self._loop.join(timeout_s):
            try:
                self.write()
            except DatabaseError:
                return  # it said so each second before

    def troubles(self) -> list[str]:
        """What is wrong with it, in words; empty when nothing is."""
        trouble = self._loop.trouble()
        return [] if trouble is None else [trouble]

    def refused(self, refusal: Refusal, request_id: str | None) -> None:
        """Note a refusal."""
        with self._lock:
            self._note(refusal, _Times(self._clock(), request_id, 1))

    def used(self, key_id: str) -> None:
        """Note that a key was used."""
        if key_id not in self._used and len(self._used) < MOST_UNWRITTEN:
            with self._lock:
                self._used.add(key_id)

    def write(self) -> None:
        """Write down what there is. What cannot be written is kept for the next time.

        Raises:
            DatabaseError: the database does not take it.
        """
        with self._lock:
            refusals, self._refusals = self._refusals, {}
            left_out, self._left_out = self._left_out, 0
            used, self._used = self._used, set()
        events = [_event(refusal, times) for refusal, times in refusals.items()]
        if left_out:
            events.append(_event(Refusal("further requests, not listed one by one", 0, "many"), self._some(left_out)))
        try:
            if events:
                self._database.call("tenancy_audit", {"p_events": events})
            for key_id in sorted(used):
                self._noted.answer(key_id, partial(self._note_use, key_id))
        except DatabaseError:
            with self._lock:
                for refusal, times in refusals.items():
                    self._note(refusal, times)
                self._left_out += left_out
            raise

    def _note_use(self, key_id: str) -> object:
        return self._database.call("tenancy_key_used", {"p_key_id": key_id}, repeatable=True)

    def _note(self, refusal: Refusal, times: _Times) -> None:
        known = self._refusals.get(refusal)
        if known is not None:
            known.times += times.times
        elif len(self._refusals) < MOST_UNWRITTEN:
            self._refusals[refusal] = times
        else:
            self._left_out += times.times

    def _some(self, times: int) -> _Times:
        return _Times(self._clock(), None, times)

    def _take_a_turn(self) -> Rest:
        self.write()
        return lambda: self._stopping.wait(WRITE_EVERY_S)


def _event(refusal: Refusal, times: _Times) -> dict[str, Any]:
    detail = {"status": refusal.status, "why": refusal.why, "times": times.times, "address": refusal.address}
    return {
        "at": rfc3339(times.at),
        "operator_id": refusal.operator,
        "principal": refusal.subject,
        "credential_id": refusal.credential_id,
        "action": "request",
        "object": refusal.action,
        "outcome": "refused",
        "request_id": times.request_id,
        "detail": detail,
    }
