"""Negotiations in the database, as whoever carries them on reads and steps them. Each step is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from database.interface import Database, Row
from grid.half_hours import from_rfc3339
from negotiation.model import AgentState, KnownAgent, KnownMessage, NegotiationState, Performative, StoredNegotiation
from printable import LONGEST_REASON, printable
from vocabulary import StrEnum
from workloads.model import UtcDatetime


class ClaimedNegotiation(StoredNegotiation):
    """A negotiation whose next step is in hand, with all that was said."""

    lease_token: int
    agents: tuple[KnownAgent, ...]
    messages: tuple[KnownMessage, ...]


class SystemPrice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    half_hour: UtcDatetime
    system_price_gbp_mwh: Decimal


class Metered(BaseModel):
    """What booked work of a negotiation drew by its meters, once it is over.

    Attributes:
        is_metered: nothing of it runs still, or is yet to be metered.
        metered_mwh: site energy by half-hour, of each agent with booked work.
        system_prices: those that are known, of half-hours of the negotiation.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    is_metered: bool
    metered_mwh: dict[str, list[Decimal]]
    system_prices: tuple[SystemPrice, ...]


@dataclass(frozen=True)
class NegotiationLease:
    """The right to make a negotiation's next step, for as long as nobody else got a newer token for it."""

    negotiation_id: UUID
    token: int


@dataclass(frozen=True)
class Message:
    """What is said in a step, by the coordinator or by an agent that this program answers for."""

    agent: str
    round: int
    sender: str
    performative: Performative
    message_id: str
    body: Row

    def to_row(self) -> Row:
        return {
            "agent": self.agent,
            "round": self.round,
            "sender": self.sender,
            "performative": str(self.performative),
            "message_id": self.message_id,
            "body": self.body,
        }


@dataclass(frozen=True)
class Step:
    """What becomes of a negotiation next. `due_at` None: nothing more is to be done.

    Attributes:
        award: {award_id, awards, payments, holds, moves}, as `step_negotiation` takes it; None: nothing is awarded.
    """

    state: NegotiationState
    reason: str
    round: int
    award_number: int
    answer_by: datetime | None
    due_at: datetime | None
    outcome: Row | None = None
    agents: dict[str, AgentState] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    award: Row | None = None


class Stepped(StrEnum):
    """`FENCED`: somebody else has it. `OUTDATED`: something was said meanwhile, or the grid is another. `NO_ROOM`:
    power has gone. `WORK_CHANGED`: what it would move is no longer as it was."""

    CHANGED = "changed"
    FENCED = "fenced"
    OUTDATED = "outdated"
    NO_ROOM = "no_room"
    WORK_CHANGED = "work_changed"


@dataclass(frozen=True)
class StepOutcome:
    """`dc_id`: the data centre that has not the power which the award would hold."""

    state: Stepped
    dc_id: str | None = None


class NegotiationBook:
    """Safe to use from many threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim_due(
        self, worker: str, now: datetime, *, lease_seconds: float, limit: int
    ) -> tuple[list[ClaimedNegotiation], datetime | None]:
        """Negotiations whose next step is due, on a lease; and when the next one after them is."""
        arguments = {"p_worker": worker, "p_now": now, "p_lease_seconds": lease_seconds, "p_limit": limit}
        answer = self._database.call("claim_negotiations", arguments)
        due = answer["next_due_at"]
        claimed = [ClaimedNegotiation.model_validate(row) for row in answer["claimed"]]
        return claimed, from_rfc3339(due) if due else None

    def metered(self, negotiation: ClaimedNegotiation) -> Metered:
        """What its agents' booked work drew, as far as that is known."""
        arguments = {"p_negotiation_id": str(negotiation.negotiation_id)}
        return Metered.model_validate(self._database.call("negotiation_metered", arguments, repeatable=True))

    def extend(self, leases: Sequence[NegotiationLease], now: datetime, *, lease_seconds: float) -> None:
        """Hold leases for another lease time."""
        for lease in leases:
            arguments = {
                "p_negotiation_id": str(lease.negotiation_id),
                "p_lease_token": lease.token,
                "p_now": now,
                "p_lease_seconds": lease_seconds,
            }
            self._database.call("heartbeat_negotiation", arguments, repeatable=True)

    def store(self, negotiation: ClaimedNegotiation, step: Step, now: datetime) -> StepOutcome:
        """Make a step, whole or not at all."""
        row: Row = {
            "negotiation_id": str(negotiation.negotiation_id),
            "lease_token": negotiation.lease_token,
            "version": negotiation.version,
            "state": str(step.state),
            "reason": printable(step.reason, LONGEST_REASON),
            "round": step.round,
            "award_number": step.award_number,
            "answer_by": step.answer_by,
            "outcome": step.outcome,
            "due_at": step.due_at,
            "now": now,
            "agents": [{"agent": agent, "state": str(state)} for agent, state in step.agents.items()],
            "messages": [message.to_row() for message in step.messages],
            "award": step.award,
        }
        answer: dict[str, Any] = self._database.call("step_negotiation", {"p_step": row})
        return StepOutcome(Stepped(answer["state"]), answer.get("dc_id"))

    def fail(self, negotiation: ClaimedNegotiation, error: str, now: datetime, *, again_after_s: float) -> None:
        """Look again after a while."""
        arguments = {
            "p_negotiation_id": str(negotiation.negotiation_id),
            "p_lease_token": negotiation.lease_token,
            "p_error": printable(error, LONGEST_REASON),
            "p_now": now,
            "p_retry_seconds": again_after_s,
        }
        self._database.call("fail_negotiation", arguments, repeatable=True)
