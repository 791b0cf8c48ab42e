"""A process that carries negotiations on, and asks before and after it stores a step: there it can be killed.

python negotiation_process.py CONNINFO NOW

It writes `storing STATE` and `stored STATE` lines, and goes on after each when it reads a line.
"""

from __future__ import annotations

import sys
from datetime import datetime

import negotiation.life
from database.postgres import PostgresDatabase
from grid.half_hours import from_rfc3339
from killed_steps import ask
from negotiation.book import ClaimedNegotiation, NegotiationBook, Step, StepOutcome
from stored_negotiations import carry_on


class AskingBook(NegotiationBook):
    """Stores nothing, and goes on from nothing that it stored, before it is told to."""

    def store(self, negotiation: ClaimedNegotiation, step: Step, now: datetime) -> StepOutcome:
        ask(f"storing {step.state}")
        outcome = super().store(negotiation, step, now)
        ask(f"stored {step.state}")
        return outcome


def main(conninfo: str, now: str) -> None:
    setattr(negotiation.life, "NegotiationBook", AskingBook)  # noqa: B010 - a name that the module only uses
    carry_on(PostgresDatabase(conninfo, max_connections=1), from_rfc3339(now), "to be killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
