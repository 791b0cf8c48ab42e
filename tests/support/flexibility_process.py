"""A process that carries flexibility events on, and asks before and after it stores a step: there it can be killed.

python flexibility_process.py CONNINFO NOW

It writes `storing STATE` and `stored STATE` lines, and goes on after each when it reads a line.
"""

from __future__ import annotations

import sys
from datetime import datetime

import flexibility.life
from database.postgres import PostgresDatabase
from flexibility.book import EventBook, Step, Stepped
from flexibility.event_model import ClaimedEvent
from flexibility_world import carry_on
from grid.half_hours import from_rfc3339
from killed_steps import ask


class AskingBook(EventBook):
    """Stores nothing, and goes on from nothing that it stored, before it is told to."""

    def store(self, event: ClaimedEvent, step: Step, now: datetime, *, worked_s: float = 0.0) -> Stepped:
        ask(f"storing {step.state}")
        outcome = super().store(event, step, now, worked_s=worked_s)
        ask(f"stored {step.state}")
        return outcome


def main(conninfo: str, now: str) -> None:
    setattr(flexibility.life, "EventBook", AskingBook)  # noqa: B010 - a name that the module only uses
    carry_on(PostgresDatabase(conninfo, max_connections=1), from_rfc3339(now))


if __name__ == "__main__":
    main(*sys.argv[1:])
