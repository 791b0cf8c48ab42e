"""From a settlement to what is stored of it: who is awarded what, who pays whom, and the power that is held. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from uuid import UUID, uuid5

import numpy as np

from database.interface import Row
from decimal_text import decimal_text as text
from grid.half_hours import HALF_HOUR, rfc3339
from negotiation.agents import Agent, ComputeAgent, Figures, SearchTime
from negotiation.declared import booked_jobs_of
from negotiation.model import KnownAgent
from negotiation.settling import Award, Outcome

MONEY_PLACES = Decimal("1e-9")
POWER_PLACES = Decimal("1e-6")
LEAST_HELD_KW = Decimal("0.001")
KW_PER_MW = 1000


def award_id(negotiation_id: UUID, number: int) -> UUID:
    """The same award has the same identity, whoever makes it."""
    return uuid5(negotiation_id, f"award {number}")


def award_row(
    settled: Outcome,
    agents: Mapping[str, KnownAgent],
    starts_at: datetime,
    identity: UUID,
    *,
    moves: Sequence[Row] = (),
    without_room: Collection[str] = (),
) -> Row:
    """What `step_negotiation` makes of an award.

    Args:
        moves: of work that is booked; its agents' power is held by it already.
        without_room: data centres that have not the power: there nothing is held.
    """
    pays = exact_payments({award.agent: award.pays_gbp for award in settled.awards})
    return {
        "award_id": str(identity),
        "awards": [
            {
                "agent": award.agent,
                "draw_mw": _tidy(award.draw_mw),
                "cost_gbp": award.cost_gbp,
                "fallback_gbp": award.fallback_gbp,
                "pays_gbp": text(pays[award.agent]),
            }
            for award in settled.awards
        ],
        "moves": list(moves),
        "payments": [
            {"payer": payer, "payee": payee, "amount_gbp": text(amount)}
            for payer, payee, amount in who_pays_whom(pays)
        ],
        "holds": [
            hold
            for award in settled.awards
            if agents[award.agent].dc_id not in without_room and not booked_jobs_of(agents[award.agent].declared)
            for hold in _holds(award, agents[award.agent], starts_at)
        ],
    }


def moves_of(
    settled: Outcome, agents: Mapping[str, KnownAgent], own: Mapping[str, Agent], starts_at: datetime
) -> list[Row]:
    """Where booked work is to begin that does not stay: {agent, operator, job_id, booking_key, dc_id, times…}.

    Raises:
        NoFallback: the work of an agent does not fit in what it is awarded.
    """
    moves: list[Row] = []
    searches = SearchTime()  # what planning has left of its own may be nothing, and then no award could ever be made
    for award in settled.awards:
        agent, planner = agents[award.agent], own.get(award.agent)
        jobs = booked_jobs_of(agent.declared)
        if not jobs or not isinstance(planner, ComputeAgent):
            continue
        planner.searches = searches
        places = planner.starts_in(award.draw_mw)
        for job in jobs:
            place = places[job.job_id]
            if place != job.booked:
                begins = starts_at + place * HALF_HOUR
                moves.append(
                    {
                        "agent": award.agent,
                        "operator": agent.operator,
                        "job_id": job.job_id,
                        "booking_key": str(job.booking_key),
                        "dc_id": agent.dc_id,
                        "from_starts_at": rfc3339(starts_at + job.booked * HALF_HOUR),
                        "starts_at": rfc3339(begins),
                        "ends_at": rfc3339(begins + job.half_hours * HALF_HOUR),
                    }
                )
    return moves


def exact_payments(pays_gbp: Mapping[str, float]) -> dict[str, Decimal]:
    """Payments with nine decimals, which sum to exactly 0: what rounding leaves goes to the largest."""
    exact = {name: Decimal(repr(amount)).quantize(MONEY_PLACES) for name, amount in sorted(pays_gbp.items())}
    if exact:
        largest = max(exact, key=lambda name: (abs(exact[name]), name))
        exact[largest] -= sum(exact.values(), Decimal(0))
    return exact


def who_pays_whom(pays_gbp: Mapping[str, Decimal]) -> list[tuple[str, str, Decimal]]:
    """Transfers from payers to those who are paid, by name: as few as it takes to go through both once."""
    owing = [(name, amount) for name, amount in sorted(pays_gbp.items()) if amount > 0]
    due = [(name, -amount) for name, amount in sorted(pays_gbp.items()) if amount < 0]
    transfers = []
    while owing and due:
        (payer, owed), (payee, wanted) = owing.pop(0), due.pop(0)
        amount = min(owed, wanted)
        transfers.append((payer, payee, amount))
        if owed > amount:
            owing.insert(0, (payer, owed - amount))
        if wanted > amount:
            due.insert(0, (payee, wanted - amount))
    return transfers


def _holds(award: Award, agent: KnownAgent, starts_at: datetime) -> Sequence[Row]:
    """IT power by stretches of half-hours that draw the same; what an agent gives holds nothing."""
    if agent.dc_id is None:
        return []
    pue = agent.pue or 1.0
    levels = [
        (Decimal(repr(max(0.0, float(mw)))) * KW_PER_MW / Decimal(repr(pue))).quantize(POWER_PLACES, ROUND_DOWN)
        for mw in _tidy(award.draw_mw)
    ]
    holds = []
    first = 0
    for place in range(1, len(levels) + 1):
        if place < len(levels) and levels[place] == levels[first]:
            continue
        if levels[first] >= LEAST_HELD_KW:
            holds.append(
                {
                    "agent": award.agent,
                    "starts_at": rfc3339(starts_at + first * HALF_HOUR),
                    "ends_at": rfc3339(starts_at + place * HALF_HOUR),
                    "it_power_kw": text(levels[first]),
                }
            )
        first = place
    return holds


def _tidy(figures: Figures) -> list[float]:
    """Without what a solver leaves in the last digits."""
    return [float(one) for one in np.round(figures, 9) + 0.0]
