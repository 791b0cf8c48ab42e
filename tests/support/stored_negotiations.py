"""The negotiation of the reference, kept in the database, with agents inside and outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from capacity_oracle import check_capacity
from database.interface import Calls, Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from grid_world import NOW
from negotiation.agents import Agent
from negotiation.declared import Declared, DeclaredCompute, DeclaredJob, DeclaredStorage, made_agent
from negotiation.life import CoordinatorThread
from negotiation.model import (
    Confirmation,
    Fallback,
    Kind,
    NegotiationLife,
    NewAgent,
    NewNegotiation,
    OfferedPlan,
    Proposal,
    StoredNegotiation,
)
from negotiation.talk import Said, Saying, open_negotiation, read_negotiation, read_part, say

STARTS_AT = datetime(2026, 11, 22, 10, tzinfo=NOW.tzinfo)
ENDS_AT = STARTS_AT + timedelta(hours=1)
ROUND_SECONDS = 60


def hall(agent: str, second_gbp: float) -> DeclaredCompute:
    """1 MWh at up to 2 MW, at £80 in the first half-hour and more in the second."""
    job = DeclaredJob(job_id=agent.lower(), energy_mwh=1, max_power_mw=2, first=0, end=2)
    return DeclaredCompute(cost_gbp_per_mwh=[80, second_gbp], jobs=[job])


BATTERY = DeclaredStorage(
    cost_gbp_per_mwh=[80, 100],
    power_mw=0.8,
    capacity_mwh=1,
    charge_mwh=0.5,
    round_trip_efficiency=1,
    wear_gbp_per_mwh=4,
)
DECLARED: dict[str, DeclaredCompute | DeclaredStorage] = {"A": hall("A", 120), "B": hall("B", 130), "S": BATTERY}
ENDOWMENT = {"A": [1.5, 1.5], "B": [1.5, 1.5], "S": [0.0, 0.0]}


def new_agent(name: str, *, outside: bool = False, **changes: Any) -> NewAgent:
    declared: Declared | None = None if outside else DECLARED[name]
    facts: dict[str, Any] = {
        "agent": name,
        "kind": Kind.OUTSIDE if outside else DECLARED[name].kind,
        "endowment_mw": ENDOWMENT[name],
        "least_mw": [-0.8, -0.8] if name == "S" else [0.0, 0.0],
        "most_mw": [0.8, 0.8] if name == "S" else [2.0, 2.0],
        "declared": declared,
    }
    return NewAgent.model_validate(facts | changes)


def new_negotiation(outside: Sequence[str] = (), now: datetime = NOW, **changes: Any) -> NewNegotiation:
    """A and B at data centres of their own, and a battery."""
    places = {"A": "DC-001", "B": "DC-002"}
    facts: dict[str, Any] = {
        "name": "vector",
        "starts_at": STARTS_AT,
        "half_hours": 2,
        "round_seconds": ROUND_SECONDS,
        "most_rounds": 40,
        "closes_at": now + timedelta(minutes=10),
        "agents": [new_agent(name, outside=name in outside, dc_id=places.get(name)) for name in DECLARED],
    }
    return NewNegotiation.model_validate(facts | changes)


def opened(database: Calls, outside: Sequence[str] = (), now: datetime = NOW, **changes: Any) -> StoredNegotiation:
    negotiation = open_negotiation(database, new_negotiation(outside, now, **changes), now).negotiation
    assert negotiation is not None
    return negotiation


def coordinator(database: Database, worker: str = "worker-1") -> CoordinatorThread:
    """Whoever carries negotiations on, with nothing started."""
    return CoordinatorThread(database, worker=worker, clock=lambda: NOW)


def carry_on(database: Database, now: datetime = NOW, worker: str = "worker-1") -> None:
    """Make every step that is due at `now`, and those that become due by them."""
    one = coordinator(database, worker)
    while one.run_due(now).taken:
        pass


def life_of(database: Calls, negotiation: StoredNegotiation) -> NegotiationLife:
    life = read_negotiation(database, negotiation.negotiation_id)
    assert life is not None
    return life


class OutsideAgent:
    """An agent of somebody's, which answers what it is asked over `talk`."""

    def __init__(self, database: Calls, negotiation_id: UUID, name: str, cost_factor: float = 1.0) -> None:
        self.name = name
        self._database = database
        self._negotiation_id = negotiation_id
        self._agent: Agent = made_agent(name, ENDOWMENT[name], DECLARED[name])
        self._cost_factor = cost_factor

    def answer(self, now: datetime = NOW) -> Said | None:
        """One message, if one is wanted."""
        part = read_part(self._database, self._negotiation_id, self.name)
        assert part is not None
        if part.call is not None and not part.answered:
            return self._say(self.reply_to(part.call), now)
        if part.award is not None and part.award.confirm_by is not None and not part.answered:
            award_id = part.award.award_id
            return self._say(Confirmation(message_id=f"confirm-{award_id}", award_id=award_id), now)
        return None

    def reply_to(self, call: Any) -> Fallback | Proposal:
        """What it answers to a call for proposals."""
        if call.kind == "fallback":
            plan = self._agent.fallback()
            return Fallback(message_id="alone", plan=self._offered(plan))
        plans = [self._offered(self._agent.answer(np.array(vector))) for vector in call.prices_gbp_per_mwh]
        return Proposal(message_id=f"round-{call.round}", round=call.round, plans=plans)

    def _offered(self, plan: Any) -> OfferedPlan:
        return OfferedPlan(cost_gbp=plan.cost_gbp * self._cost_factor, draw_mw=plan.draw_mw.tolist())

    def _say(self, message: Any, now: datetime) -> Said:
        return say(self._database, self._negotiation_id, self.name, message, now)


def negotiate_with(database: Database, agents: Sequence[OutsideAgent], now: datetime = NOW) -> None:
    """Let the coordinator and agents outside take turns at `now`, until nobody has anything to say."""
    while True:
        carry_on(database, now)
        said = [agent.answer(now) for agent in agents]
        if not any(said):
            return
        assert all(one is None or one.state is Saying.STORED for one in said), said


def held(database: PostgresDatabase, state: str = "HELD") -> list[Row]:
    where = [Where("source", "negotiation"), Where("state", state)]
    return database.select("capacity_bookings", where=where, order=OrderBy(("booking_id",)))


def newest(life: NegotiationLife) -> dict[str, tuple[float, float, float]]:
    """What each pays, its cost, and what it had alone, by the newest award."""
    number = life.negotiation.award_number
    return {
        one.agent: (round(float(one.pays_gbp), 6), round(one.cost_gbp, 6), round(one.fallback_gbp, 6))
        for one in life.awards
        if one.award_number == number
    }


def check_award(database: PostgresDatabase, negotiation: StoredNegotiation) -> NegotiationLife:
    """Payments sum to 0, nobody is worse off than alone, and power is held once and within what there is."""
    life = life_of(database, negotiation)
    awards = [one for one in life.awards if one.award_number == life.negotiation.award_number]
    assert sum(Decimal(one.pays_gbp) for one in awards) == 0
    for one in awards:
        assert one.cost_gbp + float(one.pays_gbp) <= one.fallback_gbp + 1e-6, one
    outcome = life.negotiation.outcome
    assert outcome is not None
    drawn = [sum(one.draw_mw[place] for one in awards) for place in range(life.negotiation.half_hours)]
    assert all(mw <= limit + 1e-6 for mw, limit in zip(drawn, outcome["limit_mw"], strict=True))
    paid = {one.agent: Decimal(0) for one in awards}
    for payment in life.payments:
        if payment.award_number == life.negotiation.award_number:
            paid[payment.payer] += Decimal(payment.amount_gbp)
            paid[payment.payee] -= Decimal(payment.amount_gbp)
    assert paid == {one.agent: Decimal(one.pays_gbp) for one in awards}
    check_capacity(database)
    return life


def is_the_vector(life: NegotiationLife) -> None:
    outcome = life.negotiation.outcome
    assert outcome is not None
    assert (round(outcome["cost_gbp"], 6), round(outcome["bound_gbp"], 6)) == (175.2, 175.2)
    assert [round(price, 6) for price in outcome["price_gbp_per_mwh"]] == [40, 0]
    assert newest(life) == {"A": (6, 84, 90), "B": (10, 80, 92.5), "S": (-16, 11.2, 0)}
