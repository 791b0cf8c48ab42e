"""An agent outside in a process of its own, which asks before and after it says something: there it can be killed.

python negotiating_process.py CONNINFO NOW NEGOTIATION AGENT

It answers once, where it is asked for something, writes `saying WHAT` and `said WHAT` lines, and goes on after each
when it reads a line. WHAT is `alone`, `round` or `confirm`.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any
from uuid import UUID

from database.postgres import PostgresDatabase
from grid.half_hours import from_rfc3339
from killed_steps import ask
from negotiation.talk import Said
from stored_negotiations import OutsideAgent


class AskingAgent(OutsideAgent):
    """Says nothing, and goes on from nothing that it said, before it is told to."""

    def _say(self, message: Any, now: datetime) -> Said:
        what = message.message_id.partition("-")[0]
        ask(f"saying {what}")
        said = super()._say(message, now)
        ask(f"said {what}")
        return said


def main(conninfo: str, now: str, negotiation_id: str, name: str) -> None:
    database = PostgresDatabase(conninfo, max_connections=1)
    AskingAgent(database, UUID(negotiation_id), name).answer(from_rfc3339(now))


if __name__ == "__main__":
    main(*sys.argv[1:])
