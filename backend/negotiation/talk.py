"""What callers do with stored negotiations, whichever door they come by: open, read, answer, leave, take back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from database.interface import Calls, Row
from negotiation.model import (
    AgentAward,
    AgentPart,
    AgentState,
    Call,
    Confirmation,
    Fallback,
    Leaving,
    NegotiationLife,
    NegotiationState,
    NewNegotiation,
    Performative,
    Proposal,
    StoredNegotiation,
)
from vocabulary import StrEnum


class Opening(StrEnum):
    """What became of the wish to open a negotiation."""

    OPENED = "opened"
    ALREADY = "already"
    DIFFERENT = "different"
    LIMIT_IN_USE = "limit_in_use"
    PAST = "past"
    TOO_MANY = "too_many"
    TOO_OFTEN = "too_often"
    UNKNOWN_OPERATOR = "unknown_operator"
    UNKNOWN_DATA_CENTRE = "unknown_data_centre"


class Saying(StrEnum):
    """What became of a message."""

    STORED = "stored"
    REPEATED = "repeated"
    DIFFERENT = "different"
    """Another message has its name."""
    UNKNOWN = "unknown"
    NOT_OPEN = "not_open"
    WRONG_ROUND = "wrong_round"
    OUT_OF_BOUNDS = "out_of_bounds"
    WRONG_AWARD = "wrong_award"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Opened(_Answer):
    """The negotiation is the one that is kept, or the one in the way; `detail` names the agent at fault."""

    state: Opening
    negotiation: StoredNegotiation | None
    detail: str | None = None


class Said(_Answer):
    """What became of a message, why (for people), and where its agent stands now."""

    state: Saying
    detail: str | None
    part: AgentPart | None = None


class CancelledNegotiation(_Answer):
    state: Literal["cancelled", "unknown", "ended"]
    negotiation: StoredNegotiation | None


def open_negotiation(database: Calls, negotiation: NewNegotiation, now: datetime) -> Opened:
    """Open a negotiation; whoever carries negotiations on does the rest."""
    arguments = {"p_negotiation": negotiation.model_dump(mode="json"), "p_now": now}
    return Opened.model_validate(database.call("open_negotiation", arguments, repeatable=True))


def read_negotiations(
    database: Calls, limit: int, before: datetime | None = None, before_id: UUID | str | None = None
) -> list[StoredNegotiation]:
    """The negotiations that the caller may see, those opened last first."""
    arguments = {"p_before": before, "p_before_id": before_id and str(before_id), "p_limit": limit}
    rows: list[Any] = database.call("negotiations_page", arguments, repeatable=True)
    return [StoredNegotiation.model_validate(row) for row in rows]


def read_negotiation(database: Calls, negotiation_id: UUID) -> NegotiationLife | None:
    """All of a negotiation that the caller may see; None where there is none."""
    row = database.call("negotiation_life", {"p_negotiation_id": str(negotiation_id)}, repeatable=True)
    return None if row is None else NegotiationLife.model_validate(row)


def read_part(database: Calls, negotiation_id: UUID, agent: str) -> AgentPart | None:
    """Where one agent of the caller's stands; None where there is none."""
    arguments = {"p_negotiation_id": str(negotiation_id), "p_agent": agent}
    row = database.call("negotiation_part", arguments, repeatable=True)
    return None if row is None else part_of(NegotiationLife.model_validate(row), agent)


def parts_of(database: Calls, limit: int = 100) -> list[AgentPart]:
    """Where each agent outside of the caller's stands, those of the newest negotiation first."""
    rows = cast(list[Row], database.call("negotiation_parts", {"p_limit": limit}, repeatable=True))
    parts = (read_part(database, UUID(row["negotiation_id"]), row["agent"]) for row in rows)
    return [part for part in parts if part is not None]


def say(
    database: Calls,
    negotiation_id: UUID,
    agent: str,
    message: Fallback | Proposal | Confirmation | Leaving,
    now: datetime,
) -> Said:
    """Say something for an agent outside. The same again, under its message_id, changes nothing."""
    arguments = {
        "p_negotiation_id": str(negotiation_id),
        "p_agent": agent,
        "p_message": _row(message),
        "p_now": now,
    }
    said = Said.model_validate(database.call("say_in_negotiation", arguments, repeatable=True))
    if said.state is Saying.UNKNOWN:
        return said
    return said.model_copy(update={"part": read_part(database, negotiation_id, agent)})


def cancel_negotiation(database: Calls, negotiation_id: UUID, reason: str, now: datetime) -> CancelledNegotiation:
    """Take a negotiation back that is not awarded yet."""
    arguments = {"p_negotiation_id": str(negotiation_id), "p_reason": reason, "p_now": now}
    return CancelledNegotiation.model_validate(database.call("cancel_negotiation", arguments, repeatable=True))


def part_of(life: NegotiationLife, agent: str) -> AgentPart | None:
    """An agent's part of a negotiation."""
    me = next((one for one in life.agents if one.agent == agent), None)
    if me is None:
        return None
    negotiation = life.negotiation
    said = [one for one in life.messages if one.agent == agent]
    call = _open_call(negotiation, me.state, said)
    answered = call is not None and any(
        one.sender == "agent" and one.performative == Performative.PROPOSE and one.round == negotiation.round
        for one in said
    )
    return AgentPart(
        negotiation_id=negotiation.negotiation_id,
        agent=agent,
        operator=me.operator,
        negotiation_state=negotiation.state,
        negotiation_reason=negotiation.state_reason,
        state=me.state,
        call=call,
        answered=answered or me.state is AgentState.CONFIRMED,
        award=_award(life, agent),
    )


def _open_call(negotiation: StoredNegotiation, state: AgentState, said: list[Any]) -> Call | None:
    if negotiation.state not in {NegotiationState.OPEN, NegotiationState.ROUND} or state is AgentState.LEFT:
        return None
    for one in said:
        if one.performative == Performative.CFP and one.round == negotiation.round:
            return Call.model_validate(one.body)
    return None


def _award(life: NegotiationLife, agent: str) -> AgentAward | None:
    negotiation = life.negotiation
    if not negotiation.state.keeps_awards:
        return None
    for one in life.awards:
        if one.agent == agent and one.award_number == negotiation.award_number and negotiation.outcome:
            is_open = negotiation.state is NegotiationState.AWARDED
            return AgentAward(
                award_id=one.award_id,
                draw_mw=one.draw_mw,
                cost_gbp=one.cost_gbp,
                pays_gbp=float(one.pays_gbp),
                fallback_gbp=one.fallback_gbp,
                price_gbp_per_mwh=negotiation.outcome["price_gbp_per_mwh"],
                confirm_by=negotiation.answer_by if is_open else None,
            )
    return None


def _row(message: Fallback | Proposal | Confirmation | Leaving) -> Row:
    if isinstance(message, Fallback):
        plans = [message.plan.model_dump(mode="json")]
        return {
            "message_id": message.message_id,
            "performative": str(Performative.PROPOSE),
            "round": 0,
            "body": {"plans": plans},
        }
    if isinstance(message, Proposal):
        return {
            "message_id": message.message_id,
            "performative": str(Performative.PROPOSE),
            "round": message.round,
            "body": {"plans": [plan.model_dump(mode="json") for plan in message.plans]},
        }
    if isinstance(message, Confirmation):
        return {
            "message_id": message.message_id,
            "performative": str(Performative.CONFIRM),
            "award_id": str(message.award_id),
            "body": {"award_id": str(message.award_id)},
        }
    return {
        "message_id": message.message_id,
        "performative": str(Performative.REFUSE),
        "body": {"reason": message.reason},
    }
