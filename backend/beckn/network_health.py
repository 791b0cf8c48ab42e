"""How the network side is doing, for the health pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from beckn.network_settings import NetworkSettings
from supabase_client import Database


class QueueState(BaseModel):
    """An inbox or outbox, of all platforms on this database."""

    waiting: int = Field(description="Messages to be worked on or delivered, retries included")
    in_flight: int = Field(description="Messages in hand")
    dead: int = Field(description="Messages that were given up: GET /beckn/dead-letters tells why")
    oldest_waiting_seconds: float | None


class NetworkHealth(BaseModel):
    """Whether messages are signed, and what is under way."""

    authentication: Literal["on", "off"] = Field(description="off: BECKN_AUTH=off, for trying things out on loopback")
    inbox: QueueState
    outbox: QueueState


def network_health(database: Database, network: NetworkSettings) -> NetworkHealth:
    """The state of the network side, in one call.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("beckn_health", repeatable=True)
    return NetworkHealth.model_validate({"authentication": network.beckn_auth, **found})
