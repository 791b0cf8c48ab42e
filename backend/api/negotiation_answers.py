"""What the endpoints answer of negotiations that are stored."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from decisions.publishing.schema import tidy
from negotiation.agents import HOURS
from negotiation.model import (
    AgentState,
    Kind,
    NegotiationLife,
    NegotiationState,
    Performative,
    StartedBy,
    StoredAward,
    StoredMessage,
    StoredNegotiation,
)
from ontology.types import Moment


class NegotiationSummary(BaseModel):
    """A negotiation, and how far it has come."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    negotiation_id: UUID
    tenant: str = Field(description="Who opened it: an operator, or the platform")
    name: str
    started_by: StartedBy
    limit_key: str | None = Field(description="The limit that it is about, of which one at a time is open")
    starts_at: Moment = Field(description="Start of its first half-hour")
    half_hours: int
    state: NegotiationState
    state_reason: str | None
    round: int
    closes_at: Moment = Field(description="By then it is awarded, or over")
    answer_by: Moment | None = Field(description="By then agents outside are to answer")
    opened_at: Moment


class NegotiationPage(BaseModel):
    """Negotiations, those opened last first."""

    negotiations: list[NegotiationSummary]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


class ParticipantAnswer(BaseModel):
    """Who takes part."""

    agent: str
    operator: str
    kind: Kind
    dc_id: str | None
    endowment_mw: list[float]
    state: AgentState


class MessageAnswer(BaseModel):
    """What was said between the coordinator and one agent. Calls leave out the prices, which are their round's."""

    message_number: int
    agent: str
    sender: Literal["agent", "coordinator"]
    performative: Performative
    message_id: str
    body: dict[str, Any]
    received_at: Moment


class HeardRound(BaseModel):
    """A round: the prices that were called, what was answered, and how far apart the bounds were after it."""

    number: int = Field(description="0: what each would do alone")
    called_gbp_per_mwh: list[list[float]] = Field(description="Vectors of prices, each by half-hour")
    price_gbp_per_mwh: list[float] | None = Field(
        description="Of the best mixture after it; null before it has ended"
    )
    upper_bound_gbp: float | None
    lower_bound_gbp: float | None = Field(description="Null before all have answered a round")
    messages: list[MessageAnswer] = Field(description="Those of the caller's own agents")


class GivenAward(BaseModel):
    """What one agent draws, and what it comes to beside having stayed alone."""

    agent: str
    draw_mw: list[float] = Field(description="MW by half-hour; below 0 it gives")
    moved_mwh: float = Field(description="How much it took from or left to the others, MWh")
    cost_gbp: float
    pays_gbp: str = Field(description="To the others, £, every digit; below 0 it is paid")
    net_gbp: float
    alone_gbp: float = Field(description="What it would have had alone, £")
    gains_gbp: float = Field(description="Never below 0")


class PaymentAnswer(BaseModel):
    payer: str
    payee: str
    amount_gbp: str


class HeldAnswer(BaseModel):
    """Power that an award holds, which nobody else can have."""

    booking_key: UUID
    dc_id: str
    state: str
    starts_at: Moment
    ends_at: Moment
    it_power_kw: str


class NegotiationDetail(BaseModel):
    """A negotiation from its opening on, as much of it as the caller may see."""

    negotiation: NegotiationSummary
    agents: list[ParticipantAnswer]
    limit_mw: list[float] | None = Field(description="The endowments together; null before it is awarded")
    price_gbp_per_mwh: list[float] | None = Field(
        description="Of drawing one more MWh; 0 where the limit does not bind"
    )
    cost_gbp: float | None
    bound_gbp: float | None = Field(description="No plan within the limit costs less, by the costs declared")
    gap_gbp: float | None
    alone_gbp: float | None
    saving_gbp: float | None
    stop: Literal["gap", "rounds", "time"] | None = Field(description="Why the rounds ended")
    award_number: int = Field(description="How often it was awarded: again where somebody did not confirm")
    award_id: UUID | None
    awards: list[GivenAward] = Field(
        description="The newest, by name; all payments sum to 0. None where it came to nothing after all"
    )
    payments: list[PaymentAnswer]
    bookings: list[HeldAnswer]
    rounds: list[HeardRound]
    explanation: list[str]


def summary(negotiation: StoredNegotiation) -> NegotiationSummary:
    """A negotiation in a list."""
    return NegotiationSummary.model_validate(negotiation.model_dump())


def detail(life: NegotiationLife) -> NegotiationDetail:
    """All of a negotiation that was read."""
    negotiation = life.negotiation
    outcome = negotiation.outcome or {}
    endowment = {agent.agent: agent.endowment_mw for agent in life.agents}
    standing = negotiation.award_number if negotiation.state.keeps_awards else None
    awards = [one for one in life.awards if one.award_number == standing]
    payments = [one for one in life.payments if one.award_number == standing]
    given = [_given(one, endowment.get(one.agent, [])) for one in awards]
    return NegotiationDetail(
        negotiation=summary(negotiation),
        agents=[ParticipantAnswer.model_validate(agent.model_dump()) for agent in life.agents],
        limit_mw=_tidied(outcome.get("limit_mw")),
        price_gbp_per_mwh=_tidied(outcome.get("price_gbp_per_mwh")),
        cost_gbp=_tidy(outcome.get("cost_gbp")),
        bound_gbp=_tidy(outcome.get("bound_gbp")),
        gap_gbp=_tidy(outcome.get("gap_gbp")),
        alone_gbp=_tidy(outcome.get("alone_gbp")),
        saving_gbp=_tidy(outcome.get("saving_gbp")),
        stop=outcome.get("stop"),
        award_number=negotiation.award_number,
        award_id=awards[0].award_id if awards else None,
        awards=given,
        payments=[PaymentAnswer.model_validate(one.model_dump()) for one in payments],
        bookings=[HeldAnswer.model_validate(one.model_dump()) for one in life.bookings],
        rounds=_rounds(life.messages, outcome.get("rounds", [])),
        explanation=_explanation(negotiation, outcome, given),
    )


def _given(award: StoredAward, endowment_mw: list[float]) -> GivenAward:
    net = award.cost_gbp + float(award.pays_gbp)
    moved = sum(abs(draw - own) for draw, own in zip(award.draw_mw, endowment_mw, strict=False))
    return GivenAward(
        agent=award.agent,
        draw_mw=[tidy(mw) for mw in award.draw_mw],
        moved_mwh=tidy(HOURS * moved),
        cost_gbp=tidy(award.cost_gbp),
        pays_gbp=award.pays_gbp,
        net_gbp=tidy(net),
        alone_gbp=tidy(award.fallback_gbp),
        gains_gbp=tidy(max(0.0, award.fallback_gbp - net)),
    )


def _rounds(messages: list[StoredMessage], ended: list[dict[str, Any]]) -> list[HeardRound]:
    numbers = sorted({message.round for message in messages} | set(range(1, len(ended) + 1)))
    return [_round(number, messages, ended) for number in numbers]


def _round(number: int, messages: list[StoredMessage], ended: list[dict[str, Any]]) -> HeardRound:
    here = [message for message in messages if message.round == number]
    calls = [message.body["prices_gbp_per_mwh"] for message in here if message.performative == Performative.CFP]
    after = ended[number - 1] if 0 < number <= len(ended) else {}
    return HeardRound(
        number=number,
        called_gbp_per_mwh=[[tidy(price) for price in vector] for vector in calls[0]] if calls else [],
        price_gbp_per_mwh=_tidied(after.get("price_gbp_per_mwh")),
        upper_bound_gbp=_tidy(after.get("upper_bound_gbp")),
        lower_bound_gbp=_tidy(after.get("lower_bound_gbp")),
        messages=[_message(message) for message in here],
    )


def _message(message: StoredMessage) -> MessageAnswer:
    body = message.body
    if message.performative == Performative.CFP:
        body = {"kind": body["kind"], "answer_by": body["answer_by"]}
    return MessageAnswer.model_validate({**message.model_dump(), "body": body})


def _explanation(negotiation: StoredNegotiation, outcome: dict[str, Any], awards: list[GivenAward]) -> list[str]:
    told = [negotiation.state_reason] if negotiation.state_reason else []
    if not awards:
        return told
    bound = outcome.get("bound_gbp")
    known = "" if bound is None else f"; no plan within the limit costs less than £{bound:.2f}, as costs are declared"
    told.append(f"Alone the agents would cost £{outcome['alone_gbp']:.2f}, so £{outcome['cost_gbp']:.2f}{known}.")
    prices = outcome["price_gbp_per_mwh"]
    binding = sum(price > 0 for price in prices)
    told.append(f"The limit binds in {binding} of {len(prices)} half-hours, at up to £{max(prices):.2f}/MWh.")
    if outcome.get("shares_gain"):
        told.append("Somebody's plans cannot be split: what is saved is shared, by what the prices would give each.")
    for award in sorted(awards, key=lambda award: -float(award.pays_gbp)):
        amount = float(award.pays_gbp)
        verb = "pays" if amount > 0 else "is paid"
        gains = f"is £{award.gains_gbp:.2f} better off than alone"
        told.append(f"{award.agent} moves {award.moved_mwh:g} MWh, {verb} £{abs(amount):.2f} and {gains}.")
    if outcome.get("at_fallback"):
        told.append(f"At their fallbacks, as they left or did not answer: {', '.join(outcome['at_fallback'])}.")
    return told


def _tidy(value: float | None) -> float | None:
    return None if value is None else tidy(value)


def _tidied(values: list[float] | None) -> list[float] | None:
    return None if values is None else [tidy(value) for value in values]
