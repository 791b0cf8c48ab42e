"""From a limit that binds to the negotiation over it: who takes part, with which work, and what each has of it. Pure.

Who was promised power first has it first: an agent's share is what its work draws where bookings are gone through in
their order, each left where it is if it fits, or at its cheapest start that does; what is left is everybody's alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict

from decisions.scoring.capacity import counted_kw, less
from decisions.scoring.context import DecisionContext
from decisions.scoring.evaluation import evaluate
from decisions.scoring.feasibility import finish
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import HALF_HOUR_US
from decisions.scoring.signals import read_signals
from decisions.work.notifications import ContextBatch, OwnedJob
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from negotiation.agents import Figures
from negotiation.coordination import MOST_ROUNDS
from negotiation.declared import DeclaredBookedJob, DeclaredCompute
from negotiation.model import LONGEST_NEGOTIATION, Kind, NewAgent, NewNegotiation, StartedBy
from vocabulary import Policy, Urgency
from workloads.model import UtcDatetime

LEAST_AGENTS, MOST_AGENTS = 2, 10
"""One alone has nobody to negotiate with."""
MOST_JOBS = 60
"""Of one negotiation: those in the half-hours that are over the limit first, then those that draw most."""
KW_PER_MW = 1000.0
ROUND_SECONDS = 60
SLACK_MW = 1e-9


class BookedWork(BaseModel):
    """A workload that holds power and has not begun."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    booking_key: UUID
    operator: str
    job_id: str
    dc_id: str
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: float

    @property
    def job(self) -> OwnedJob:
        return OwnedJob(self.operator, self.job_id)


class BindingLimit(BaseModel):
    """A limit that is exceeded by what is booked, MW of site power by half-hour.

    Attributes:
        drawn_mw: by all that is booked.
        booked: of it what could be elsewhere, in the order in which it was promised its power.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    limit_key: str
    started_by: StartedBy
    limit_mw: list[float]
    drawn_mw: list[float]
    booked: tuple[BookedWork, ...]


@dataclass(frozen=True)
class _Movable:
    """Booked work, in half-hours of the negotiation, with J of each start that it may have."""

    work: BookedWork
    power_mw: float
    half_hours: int
    booked: int
    costs_gbp: dict[int, float]

    def draw(self, start: int, size: int) -> Figures:
        found = np.zeros(size)
        found[start : start + self.half_hours] = self.power_mw
        return found


def negotiation_over(
    limit: BindingLimit,
    contexts: ContextBatch,
    starts_at: datetime,
    now: datetime,
    *,
    carbon_price_gbp_per_t: float,
) -> NewNegotiation | None:
    """The negotiation over a limit, from the half-hour of `starts_at` on.

    None where nothing would come of it: fewer than two could move something, or no move would bring it nearer.
    """
    size = len(limit.limit_mw)
    terms = Terms.of(Policy.BALANCED, carbon_price_gbp_per_t)
    known = [
        found
        for work in limit.booked
        if work.job in contexts and (found := _movable(work, contexts.context(work.job), starts_at, size, terms))
    ]
    movable = _chosen(known, np.array(limit.drawn_mw) > np.array(limit.limit_mw) + SLACK_MW)
    kept = {one.work.booking_key for one in movable}
    movable = [one for one in known if one.work.booking_key in kept]
    fixed = np.array(limit.drawn_mw) - sum((one.draw(one.booked, size) for one in movable), np.zeros(size))
    most_mw = sum(one.power_mw for one in movable)
    room = np.clip(np.array(limit.limit_mw) - fixed, 0.0, most_mw)
    placed, left = _first_come(movable, room)
    if not any(start != one.booked for one, start in placed):
        return None
    agents = _agents(placed, left, size)
    if len(agents) < LEAST_AGENTS:
        return None
    return NewNegotiation(
        name=f"{limit.limit_key} from {rfc3339(starts_at)}",
        started_by=limit.started_by,
        limit_key=limit.limit_key,
        starts_at=starts_at,
        half_hours=size,
        round_seconds=ROUND_SECONDS,
        most_rounds=MOST_ROUNDS,
        closes_at=min(now + LONGEST_NEGOTIATION, starts_at),
        document={"limit_mw": limit.limit_mw, "drawn_mw": limit.drawn_mw},
        agents=agents,
    )


def _movable(
    work: BookedWork, context: DecisionContext, starts_at: datetime, size: int, terms: Terms
) -> _Movable | None:
    """None where it may not move, or what it is decided from is not what it was booked by.

    Where it is it may stay, whatever is forecast by now; its own power counts as free.
    """
    centre = next((one for one in context.data_centres if one.dc_id == work.dc_id), None)
    if context.task.urgency is Urgency.CRITICAL or centre is None or context.capacity is None:
        return None
    capacity = less(context.capacity, work.dc_id, work.starts_at, work.ends_at, -work.it_power_kw)
    signals = read_signals(context)
    found = evaluate(context.task, context.as_of, signals, Sites.of([centre], signals, capacity), terms)
    is_as_booked = isclose(counted_kw(found.load.it_power_kw), work.it_power_kw, abs_tol=1e-6)
    if not is_as_booked or finish(work.starts_at, found.load.duration) != work.ends_at:
        return None
    ahead = (starts_at - half_hour_of(context.as_of)) // HALF_HOUR
    booked = (work.starts_at - starts_at) // HALF_HOUR
    length = -((work.starts_at - work.ends_at) // HALF_HOUR)
    costs: dict[int, float] = {}
    for run in range(len(found.runs)):
        start = int(found.runs.first[run]) - ahead
        if found.runs.starts_us[run] % HALF_HOUR_US or not 0 <= start <= size - length:
            continue
        if found.feasible[0, run] or (start == booked and found.known[0, run]):
            costs[start] = float(found.objective_gbp[0, run])
    if booked not in costs or work.starts_at != starts_at + booked * HALF_HOUR or len(costs) == 1:
        return None
    return _Movable(work, work.it_power_kw * centre.pue / KW_PER_MW, length, booked, costs)


def _chosen(movable: Sequence[_Movable], is_over: np.ndarray) -> list[_Movable]:
    """As many as one negotiation takes, of as many agents."""

    def soonest(one: _Movable) -> tuple[bool, float, str]:
        is_in_it = bool(is_over[one.booked : one.booked + one.half_hours].any())
        return not is_in_it, -one.power_mw * one.half_hours, str(one.work.booking_key)

    chosen: list[_Movable] = []
    agents: set[tuple[str, str]] = set()
    for one in sorted(movable, key=soonest):
        agent = (one.work.dc_id, one.work.operator)
        if len(chosen) < MOST_JOBS and (agent in agents or len(agents) < MOST_AGENTS):
            agents.add(agent)
            chosen.append(one)
    return chosen


def _first_come(movable: Sequence[_Movable], room: Figures) -> tuple[list[tuple[_Movable, int]], Figures]:
    """Where each would be, first come, first served, and the room that is left; what fits nowhere takes no part."""
    left = room.copy()
    placed: list[tuple[_Movable, int]] = []
    for one in movable:
        starts = [one.booked, *sorted(one.costs_gbp, key=lambda start: (one.costs_gbp[start], start))]
        fits = (start for start in starts if (left[start : start + one.half_hours] >= one.power_mw - SLACK_MW).all())
        start = next(fits, None)
        if start is None:
            left = np.maximum(left - one.draw(one.booked, len(left)), 0.0)
        else:
            placed.append((one, start))
            left = np.maximum(left - one.draw(start, len(left)), 0.0)
    return placed, left


def _agents(placed: Sequence[tuple[_Movable, int]], left: Figures, size: int) -> list[NewAgent]:
    """One for each owner and data centre; where there are several, by numbers, which do not say whose they are."""
    owners = sorted({(one.work.dc_id, one.work.operator) for one, _ in placed})
    agents: list[NewAgent] = []
    for dc_id, operator in owners:
        own = [(one, start) for one, start in placed if (one.work.dc_id, one.work.operator) == (dc_id, operator)]
        endowment = sum((one.draw(start, size) for one, start in own), left / len(owners))
        before = sum(agent.dc_id == dc_id for agent in agents)
        agents.append(
            NewAgent(
                agent=f"{dc_id[:58]}.{before + 1}" if before else dc_id,
                tenant=operator,
                kind=Kind.COMPUTE,
                dc_id=dc_id,
                endowment_mw=endowment.tolist(),
                least_mw=[0.0] * size,
                most_mw=[sum(one.power_mw for one, _ in own)] * size,
                declared=DeclaredCompute(cost_gbp_per_mwh=[0.0] * size, jobs=[_declared(one) for one, _ in own]),
            )
        )
    return agents


def _declared(one: _Movable) -> DeclaredBookedJob:
    starts = sorted(one.costs_gbp)
    return DeclaredBookedJob(
        job_id=one.work.job_id,
        booking_key=one.work.booking_key,
        booked=one.booked,
        power_mw=one.power_mw,
        half_hours=one.half_hours,
        starts=starts,
        costs_gbp=[one.costs_gbp[start] for start in starts],
    )
