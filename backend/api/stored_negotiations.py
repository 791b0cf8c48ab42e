"""Endpoints for negotiations that are stored: opened by hand, answered by agents outside, awarded and explained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.negotiation_answers import NegotiationDetail, NegotiationPage, NegotiationSummary, detail, summary
from api.negotiations import (
    MOST_AGENTS,
    BuyerBody,
    ComputeBody,
    Costs,
    Megawatts,
    MegawattsEach,
    StorageBody,
    job_of,
)
from api.places import Place, place_of, read_place
from api.what_if import BUSY, ConcurrencyLimit, refuse
from api.workloads import Key, WrittenTime
from database.interface import Calls, Database
from grid.half_hours import HALF_HOUR, half_hour_of, is_half_hour, rfc3339
from negotiation.agents import InterruptibleJob, NoFallback, RigidJob, SearchTime
from negotiation.coordination import MOST_ROUNDS
from negotiation.declared import (
    Declared,
    DeclaredBuyer,
    DeclaredCompute,
    DeclaredJob,
    DeclaredRigidJob,
    DeclaredStorage,
    made_agent,
)
from negotiation.model import (
    LARGEST_MW,
    LONGEST_NEGOTIATION,
    LONGEST_REASON,
    AgentName,
    AgentPart,
    Confirmation,
    Fallback,
    Kind,
    Leaving,
    NewAgent,
    NewNegotiation,
    OfferedPlan,
    Proposal,
)
from negotiation.talk import (
    Opening,
    Said,
    Saying,
    cancel_negotiation,
    open_negotiation,
    read_negotiation,
    read_negotiations,
    read_part,
    say,
)
from printable import printable
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import Paged
from web.problems import Problem

TAG = Tag(
    name="Stored negotiations", description="Agents that settle who draws when; power is held and payments kept"
)
MOST_HALF_HOURS = 96
FURTHEST = timedelta(hours=48)
STARTS_AFTER = timedelta(minutes=15)
"""How long there is at least, where no first half-hour is asked for."""


def _on_a_half_hour(moment: datetime) -> datetime:
    if not is_half_hour(moment):
        raise ValueError("a negotiation begins on the hour or at half past")
    return moment


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _AtDataCentre(_Strict):
    dc_id: Key | None = Field(None, description="Where its award holds power: a data centre of its own")


class HeldComputeBody(ComputeBody, _AtDataCentre):
    """A data centre with waiting work, which this program answers for."""


class OutsideBody(_AtDataCentre):
    """An agent of somebody's own, which answers over REST or A2A. A mixture of its plans must be a plan."""

    kind: Literal["outside"]
    agent: Key
    operator: Key | None = Field(None, description="Whose agent it is; by default the caller's")
    endowment_mw: Megawatts | MegawattsEach = Field(description="Its own share of the limit, MW")
    least_mw: Annotated[float, Field(ge=-LARGEST_MW, le=0, allow_inf_nan=False, strict=True)] = Field(
        0.0, description="What it proposes is never below; below 0 it may give"
    )
    most_mw: Megawatts = Field(description="What it proposes is never above")


StoredAgentBody = Annotated[HeldComputeBody | StorageBody | BuyerBody | OutsideBody, Field(discriminator="kind")]


class OpenBody(_Strict):
    """Agents that share a limit of power in half-hours to come."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "evening",
                "half_hours": 2,
                "agents": [
                    {
                        "kind": "compute",
                        "agent": "hall-a",
                        "endowment_mw": 1.5,
                        "cost_gbp_per_mwh": [80, 120],
                        "jobs": [{"job_id": "train", "energy_mwh": 1, "max_power_mw": 2}],
                    },
                    {"kind": "outside", "agent": "hall-b", "endowment_mw": 1.5, "most_mw": 2},
                ],
            }
        },
    )

    name: Key = Field(
        description="The caller's own name for it: the same sent again under it is the same negotiation"
    )
    starts_at: Annotated[WrittenTime, AfterValidator(_on_a_half_hour)] | None = Field(
        None, description="Start of its first half-hour; by default the first that is a quarter of an hour ahead"
    )
    half_hours: int = Field(48, ge=2, le=MOST_HALF_HOURS, strict=True)
    round_seconds: int = Field(60, ge=1, le=600, strict=True, description="How long agents outside have to answer")
    most_rounds: int = Field(MOST_ROUNDS, ge=1, le=MOST_ROUNDS, strict=True)
    agents: list[StoredAgentBody] = Field(min_length=2, max_length=MOST_AGENTS)


class CancelNegotiationBody(_Strict):
    """Why a negotiation is taken back."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": {"reason": "no longer"}})

    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] | None = Field(
        None, description="It is kept"
    )


class MessageBody(_Strict):
    """What an agent outside says: a propose (of round 0 its one plan alone), a confirm, or a refuse, to leave."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "message_id": "alone",
                "performative": "propose",
                "round": 0,
                "plans": [{"cost_gbp": 92.5, "draw_mw": [1.5, 0.5]}],
            }
        },
    )

    message_id: str = Field(
        min_length=1,
        max_length=200,
        description="The agent's own name for it: the same again changes nothing, and another under it is refused",
    )
    performative: Literal["propose", "confirm", "refuse"]
    round: int | None = Field(None, ge=0, le=MOST_ROUNDS, strict=True, description="Of a propose: that of the call")
    plans: list[OfferedPlan] | None = Field(
        None, min_length=1, max_length=20, description="Of a propose: one for each vector of prices of the call"
    )
    award_id: UUID | None = Field(None, description="Of a confirm")
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] = Field("", description="Of a refuse")


class NegotiationsQuery(Paged):
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")


class NegotiationPath(BaseModel):
    negotiation_id: UUID = Field(
        description="Identity of the negotiation",
        json_schema_extra={"example": "6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69"},
    )


class AgentPath(NegotiationPath):
    agent: AgentName = Field(description="The agent's name in it", json_schema_extra={"example": "hall-b"})


def stored_negotiation_endpoints(
    database: Database, clock: Callable[[], datetime], turns: ConcurrencyLimit, carbon_price_gbp_per_t: float
) -> APIBlueprint:
    """`/api/v1/negotiations`, and what is below it of each.

    To open one that declares agents waits for its turn: whether they can do without the others may take a processor
    seconds to say.
    """
    endpoints = APIBlueprint("stored_negotiations", __name__, url_prefix="/api/v1/negotiations", abp_tags=[TAG])
    no_negotiation = problem_answer("There is no such negotiation")

    @endpoints.get("", summary="Negotiations, newest first", responses={200: NegotiationPage})
    def negotiations(query: NegotiationsQuery) -> Response:
        return answer(read_page(database, query.limit, query.after))

    @endpoints.post(
        "",
        summary="Open a negotiation by hand",
        description="It is carried on at once: agents of kind `outside` are asked over REST or A2A, the others are "
        "answered for here. The same negotiation under the same name is answered like the first time, with 200.",
        responses={
            201: NegotiationSummary,
            200: NegotiationSummary,
            409: problem_answer("Its first half-hour has begun, another negotiation has its name, or ten are open"),
            503: BUSY,
        },
    )
    def open_by_hand(body: OpenBody) -> Response:
        now = clock()
        declares = any(not isinstance(each, OutsideBody) for each in body.agents)
        with turns.take() if declares else nullcontext():
            negotiation = _new(body, now, database, carbon_price_gbp_per_t)
        outcome = open_negotiation(database, negotiation, now)
        if outcome.state is Opening.UNKNOWN_OPERATOR:
            raise refuse(f"agents.{_place(body, outcome.detail)}.operator", "is no operator that is known here")
        if outcome.state is Opening.UNKNOWN_DATA_CENTRE:
            raise refuse(f"agents.{_place(body, outcome.detail)}.dc_id", "is no data centre of this agent's operator")
        if outcome.state is Opening.PAST:
            began = rfc3339(negotiation.starts_at)
            raise Problem(409, f"its first half-hour began at {began}: a negotiation is about those to come")
        if outcome.state is Opening.TOO_OFTEN:
            raise Problem(
                409, "two hundred negotiations of yours were opened within an hour, the most there may be: wait"
            )
        if outcome.state is Opening.TOO_MANY:
            raise Problem(409, "ten negotiations of yours are open, the most there may be: cancel one, or wait")
        if outcome.negotiation is None or outcome.state in {Opening.DIFFERENT, Opening.LIMIT_IN_USE}:
            raise Problem(409, f"another negotiation is called {body.name}: give this one a name of its own")
        return answer(summary(outcome.negotiation), 201 if outcome.state is Opening.OPENED else 200)

    @endpoints.get(
        "/<negotiation_id>",
        summary="A negotiation, explained",
        responses={200: NegotiationDetail, 404: no_negotiation},
    )
    def negotiation(path: NegotiationPath) -> Response:
        found = read_detail(database, path.negotiation_id)
        if found is None:
            raise Problem(404, f"there is no negotiation {path.negotiation_id}")
        return answer(found)

    @endpoints.post(
        "/<negotiation_id>/cancel",
        summary="Take a negotiation back",
        description="By whoever opened it, before it is awarded.",
        responses={
            200: NegotiationSummary,
            404: no_negotiation,
            409: problem_answer("It is awarded, or has ended"),
        },
    )
    def cancel(path: NegotiationPath, body: CancelNegotiationBody) -> Response:
        reason = printable(body.reason or "by whoever opened it", LONGEST_REASON)
        outcome = cancel_negotiation(database, path.negotiation_id, reason, clock())
        if outcome.negotiation is None:
            raise Problem(404, f"there is no negotiation {path.negotiation_id} that may be taken back here")
        if outcome.state == "ended":
            raise Problem(409, f"it is {outcome.negotiation.state}: nothing of it can be taken back")
        return answer(summary(outcome.negotiation))

    @endpoints.get(
        "/<negotiation_id>/agents/<agent>",
        summary="What one agent is asked and awarded",
        responses={200: AgentPart, 404: problem_answer("There is no such agent of the caller's")},
    )
    def part(path: AgentPath) -> Response:
        found = read_part(database, path.negotiation_id, path.agent)
        if found is None:
            raise Problem(404, f"there is no agent {path.agent} in negotiation {path.negotiation_id}")
        return answer(found)

    @endpoints.post(
        "/<negotiation_id>/agents/<agent>/messages",
        summary="Answer for an agent outside",
        description="The answer to the agent's open call, the confirmation of its award, or that it leaves. A "
        "message that is known by its message_id is answered with 200 and changes nothing; another under a known "
        "message_id is refused.",
        responses={
            201: AgentPart,
            200: AgentPart,
            404: problem_answer("There is no such agent outside of the caller's"),
            409: problem_answer("It is not this agent's turn, or not about this round or award"),
        },
    )
    def message(path: AgentPath, body: MessageBody) -> Response:
        return _heard(say(database, path.negotiation_id, path.agent, _message(body), clock()))

    return endpoints


def read_page(database: Calls, limit: int, after: Place | None = None) -> NegotiationPage:
    """A page of negotiations, newest first."""
    before, before_id = read_place(after)
    rows = read_negotiations(database, limit + 1, before, before_id)
    found = rows[:limit]
    last = found[-1] if len(rows) > limit else None
    return NegotiationPage(
        negotiations=[summary(one) for one in found],
        next=None if last is None else place_of(last.opened_at, last.negotiation_id),
    )


def read_detail(database: Calls, negotiation_id: UUID) -> NegotiationDetail | None:
    """A negotiation with its rounds and its award; None where there is none."""
    life = read_negotiation(database, negotiation_id)
    return None if life is None else detail(life)


def _heard(said: Said) -> Response:
    if said.state is Saying.UNKNOWN or said.part is None:
        raise Problem(404, said.detail or "there is no such agent")
    if said.state is Saying.OUT_OF_BOUNDS:
        raise refuse("plans", said.detail or "is out of bounds")
    if said.state not in {Saying.STORED, Saying.REPEATED}:
        raise Problem(409, said.detail or str(said.state))
    return answer(said.part, 201 if said.state is Saying.STORED else 200)


def _message(body: MessageBody) -> Fallback | Proposal | Confirmation | Leaving:
    try:
        if body.performative == "refuse":
            return Leaving(message_id=body.message_id, reason=body.reason)
        if body.performative == "confirm":
            if body.award_id is None:
                raise refuse("award_id", "is wanted to confirm")
            return Confirmation(message_id=body.message_id, award_id=body.award_id)
        if body.plans is None or body.round is None:
            raise refuse("plans", "are wanted to propose, and the round that they answer")
        if body.round == 0:
            if len(body.plans) != 1:
                raise refuse("plans", "of round 0 are one: what the agent would do alone")
            return Fallback(message_id=body.message_id, plan=body.plans[0])
        return Proposal(message_id=body.message_id, round=body.round, plans=body.plans)
    except ValidationError as error:
        raise Problem(422, "; ".join(one["msg"] for one in error.errors())) from error


def _place(body: OpenBody, agent: str | None) -> int:
    return next((number for number, each in enumerate(body.agents) if each.agent == agent), 0)


def _new(body: OpenBody, now: datetime, database: Database, carbon_price_gbp_per_t: float) -> NewNegotiation:
    starts_at = body.starts_at or half_hour_of(now + STARTS_AFTER) + HALF_HOUR
    opened = NewNegotiation(
        name=body.name,
        starts_at=starts_at,
        half_hours=body.half_hours,
        round_seconds=body.round_seconds,
        most_rounds=body.most_rounds,
        closes_at=min(now + LONGEST_NEGOTIATION, starts_at),
        document=body.model_dump(mode="json"),
        agents=[],
    )
    if starts_at <= now:
        return opened  # it may have been opened in time: nothing is opened of it now
    if starts_at + body.half_hours * HALF_HOUR > now + FURTHEST + HALF_HOUR:
        raise refuse("half_hours", "reach further than two days ahead")
    names = [each.agent for each in body.agents]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise refuse(f"agents.{number}.agent", "is another agent's name")
    costs = Costs(database, starts_at, body.half_hours, carbon_price_gbp_per_t)
    searches = SearchTime()
    agents = [_new_agent(number, each, costs, searches) for number, each in enumerate(body.agents)]
    return opened.model_copy(update={"agents": agents})


def _new_agent(
    number: int,
    body: HeldComputeBody | StorageBody | BuyerBody | OutsideBody,
    costs: Costs,
    searches: SearchTime,
) -> NewAgent:
    if isinstance(body, BuyerBody):
        return _inside(number, body.agent, [0.0] * costs.half_hours, _buyer(number, body, costs), searches)
    endowment = costs.each(number, "endowment_mw", body.endowment_mw).tolist()
    if isinstance(body, OutsideBody):
        return NewAgent(
            agent=body.agent,
            tenant=body.operator,
            kind=Kind.OUTSIDE,
            dc_id=body.dc_id,
            endowment_mw=endowment,
            least_mw=[body.least_mw] * costs.half_hours,
            most_mw=[body.most_mw] * costs.half_hours,
        )
    if isinstance(body, StorageBody):
        return _inside(number, body.agent, endowment, _storage(number, body, costs), searches)
    return _inside(number, body.agent, endowment, _compute(number, body, costs), searches, body.dc_id)


def _inside(
    number: int,
    agent: str,
    endowment_mw: list[float],
    declared: Declared,
    searches: SearchTime,
    dc_id: str | None = None,
) -> NewAgent:
    """Of an agent that is answered for here: what it could draw bounds it, and that it can do without the others."""
    try:
        made = made_agent(agent, endowment_mw, declared)
        made.searches = searches
        made.fallback()
    except NoFallback as error:
        raise refuse(f"agents.{number}", f"cannot negotiate: {error}") from None
    most = _most_mw(declared)
    least = -most if isinstance(declared, DeclaredStorage) else 0.0
    return NewAgent(
        agent=agent,
        kind=Kind(declared.kind),
        dc_id=dc_id,
        endowment_mw=endowment_mw,
        least_mw=[least] * len(endowment_mw),
        most_mw=[most] * len(endowment_mw),
        declared=declared,
    )


def _most_mw(declared: Declared) -> float:
    if isinstance(declared, DeclaredStorage):
        return declared.power_mw
    if isinstance(declared, DeclaredBuyer):
        return max(declared.need_mw)
    return sum(job.max_power_mw if isinstance(job, DeclaredJob) else job.power_mw for job in declared.jobs)


def _buyer(number: int, body: BuyerBody, costs: Costs) -> DeclaredBuyer:
    return DeclaredBuyer(
        pays_gbp_per_mwh=costs.each(number, "pays_gbp_per_mwh", body.pays_gbp_per_mwh).tolist(),
        need_mw=costs.each(number, "need_mw", body.need_mw).tolist(),
    )


def _storage(number: int, body: StorageBody, costs: Costs) -> DeclaredStorage:
    if body.charge_mwh > body.capacity_mwh:
        raise refuse(f"agents.{number}.charge_mwh", "is more than capacity_mwh")
    return DeclaredStorage(
        cost_gbp_per_mwh=costs.of(number, body).tolist(),
        power_mw=body.power_mw,
        capacity_mwh=body.capacity_mwh,
        charge_mwh=body.charge_mwh,
        round_trip_efficiency=body.round_trip_efficiency,
        wear_gbp_per_mwh=body.wear_gbp_per_mwh,
    )


def _compute(number: int, body: ComputeBody, costs: Costs) -> DeclaredCompute:
    jobs = [job_of(f"agents.{number}.jobs.{place}", job, costs) for place, job in enumerate(body.jobs)]
    return DeclaredCompute(cost_gbp_per_mwh=costs.of(number, body).tolist(), jobs=[_declared(job) for job in jobs])


def _declared(job: InterruptibleJob | RigidJob) -> DeclaredJob | DeclaredRigidJob:
    if isinstance(job, RigidJob):
        return DeclaredRigidJob(
            job_id=job.job_id, power_mw=job.power_mw, half_hours=job.half_hours, first=job.first, end=job.end
        )
    return DeclaredJob(
        job_id=job.job_id, energy_mwh=job.energy_mwh, max_power_mw=job.max_power_mw, first=job.first, end=job.end
    )
