"""How the network side is doing, for the health pages."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from beckn.network.settings import NetworkSettings
from database.interface import Database

OVERDUE_S = 60.0
# A recipient that hangs lets its own messages wait for a while, by intention.
OUTBOX_OVERDUE_S = 300.0


class QueueState(BaseModel):
    """An inbox or outbox, of all platforms on this database."""

    waiting: int = Field(description="Messages to be worked on or delivered, retries included")
    in_flight: int = Field(description="Messages being worked on")
    dead: int = Field(description="Messages that were given up on: GET /beckn/dead-letters says why")
    oldest_waiting_seconds: float | None


class NetworkHealth(BaseModel):
    """Whether messages are signed, and what is under way."""

    authentication: Literal["on", "off"] = Field(description="off: BECKN_AUTH=off, for trying things out on loopback")
    inbox: QueueState
    outbox: QueueState


class Overdue(BaseModel):
    """For how long what is due first has been due with nobody on it, in seconds; null where nothing is."""

    inbox: float | None
    outbox: float | None
    orders: float | None

    def reasons(self) -> list[str]:
        """What of it nobody can be working on, in words."""
        waiting = {
            "Beckn messages that came in": (self.inbox, OVERDUE_S),
            "Beckn messages to be sent": (self.outbox, OUTBOX_OVERDUE_S),
            "Beckn orders due to start or end": (self.orders, OVERDUE_S),
        }
        return [
            f"{what} have waited for {seconds:.0f} s with nothing working on them: is the platform they are for up?"
            for what, (seconds, longest_s) in waiting.items()
            if seconds is not None and seconds > longest_s
        ]


def overdue(database: Database, platform: str | None, now: datetime) -> Overdue:
    """What waits at `platform`, a subscriber id, or at all platforms on this database.

    Raises:
        DatabaseError: the database does not answer.
    """
    arguments = {"p_platform": platform, "p_now": now}
    return Overdue.model_validate(database.call("beckn_overdue", arguments, repeatable=True))


def network_health(database: Database, network: NetworkSettings) -> NetworkHealth:
    """The state of the network side, in one call.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("beckn_health", repeatable=True)
    return NetworkHealth.model_validate({"authentication": network.beckn_auth, **found})
