"""From a limit that binds to the negotiation over it: who takes part, with which work, and what each has of it. Pure.

Who was promised power first has it first. Where a limit is exceeded, an agent's share is what its work draws where
bookings are gone through in their order, each left where it is if it fits, or at its cheapest start that does. Where
it is not, but more are after the same half-hours than fit in them, each has what it draws where it is. What is left
is everybody's alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from decisions.scoring.objective import Terms
from decisions.work.notifications import ContextBatch
from grid.half_hours import rfc3339
from negotiation.agents import Figures
from negotiation.booked_work import KW_PER_MW, BookedWork, MovableWork, movable_work, rooms_kw
from negotiation.coordination import MOST_ROUNDS
from negotiation.declared import DeclaredBookedJob, DeclaredCompute
from negotiation.model import LONGEST_NEGOTIATION, Kind, NewAgent, NewNegotiation, StartedBy
from vocabulary import Policy

LEAST_AGENTS, MOST_AGENTS = 2, 10
"""One alone has nobody to negotiate with."""
MOST_JOBS = 60
"""Of one negotiation: those in the half-hours that are over the limit first, then those that draw most."""
ROUND_SECONDS = 60
SLACK_MW = 1e-9
WORTH_ASKING_GBP = 1.0
"""What all would save were each where it would rather be: for less nobody is asked about a limit that is kept."""


class BindingLimit(BaseModel):
    """A limit that binds, MW of site power by half-hour.

    Attributes:
        is_over: what is booked exceeds it; else somebody's work may only find no room under it.
        drawn_mw: by all that is booked.
        booked: of it what could be elsewhere, in the order in which it was promised its power.
        free_kw: IT power that each of its data centres has free, below 0 where more is promised than there is.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    limit_key: str
    started_by: StartedBy
    is_over: bool
    limit_mw: list[float]
    drawn_mw: list[float]
    booked: tuple[BookedWork, ...]
    free_kw: dict[str, list[float]]

    @property
    def is_of_one_place(self) -> bool:
        """Whether it is what a data centre has itself: then there is no other bound on what is drawn there."""
        return self.limit_key.startswith("data_centre:")


@dataclass(frozen=True)
class _Shares:
    """Where each piece of work would be without any negotiation, and what is left of the limit and of each place."""

    placed: list[tuple[MovableWork, int]]
    left: Figures
    left_of: Mapping[str, Figures]

    @property
    def moves(self) -> bool:
        return any(start != one.booked for one, start in self.placed)


def negotiation_over(
    limit: BindingLimit,
    contexts: ContextBatch,
    starts_at: datetime,
    now: datetime,
    *,
    carbon_price_gbp_per_t: float,
) -> NewNegotiation | None:
    """The negotiation over a limit, from the half-hour of `starts_at` on.

    None where nothing would come of it: fewer than two could move something, no move would bring what exceeds it
    nearer, or hardly anybody would rather be elsewhere.
    """
    size = len(limit.limit_mw)
    terms = Terms.of(Policy.BALANCED, carbon_price_gbp_per_t)
    known = movable_work(limit.booked, _rooms_kw(limit, starts_at), contexts, starts_at, terms)
    wanted = _wanted(limit, known)
    if not limit.is_over and (wanted is None or _worth_gbp(known) < WORTH_ASKING_GBP):
        return None
    movable = _chosen(known, np.array(limit.drawn_mw) > np.array(limit.limit_mw) + SLACK_MW, wanted)
    fixed = np.array(limit.drawn_mw) - sum((one.draw(one.booked, size) for one in movable), np.zeros(size))
    most_mw = sum(one.power_mw for one in movable)
    room = np.clip(np.array(limit.limit_mw) - fixed, 0.0, most_mw)
    shares = (_first_come if limit.is_over else _as_booked)(movable, room, _free_mw(limit, movable))
    if limit.is_over and not shares.moves:
        return None
    agents = _agents(shares, size)
    if len(agents) < LEAST_AGENTS:
        return None
    document: dict[str, Any] = {"limit_mw": limit.limit_mw, "drawn_mw": limit.drawn_mw}
    if not limit.is_over and wanted is not None:
        document["wanted_mw"] = wanted.tolist()
    return NewNegotiation(
        name=f"{limit.limit_key} from {rfc3339(starts_at)}",
        started_by=limit.started_by if limit.is_over else StartedBy.CONTENTION,
        limit_key=limit.limit_key,
        starts_at=starts_at,
        half_hours=size,
        round_seconds=ROUND_SECONDS,
        most_rounds=MOST_ROUNDS,
        closes_at=min(now + LONGEST_NEGOTIATION, starts_at),
        document=document,
        agents=agents,
    )


def _rooms_kw(limit: BindingLimit, starts_at: datetime) -> Mapping[str, Figures]:
    """What each data centre has for the work that could move; into half-hours of which it promised too much none can.

    But where that is what is negotiated over, which says itself what fits.
    """
    rooms = rooms_kw(limit.booked, limit.free_kw, starts_at)
    if limit.is_of_one_place:
        return rooms
    return {dc_id: np.where(np.array(limit.free_kw[dc_id]) < 0, 0.0, room) for dc_id, room in rooms.items()}


def _wanted(limit: BindingLimit, movable: Sequence[MovableWork]) -> Figures | None:
    """What all would draw were each at its cheapest start; None where that fits, or one alone is after it."""
    size = len(limit.limit_mw)
    drawn = np.array(limit.drawn_mw)
    wishes: dict[tuple[str, str], Figures] = {}
    for one in movable:
        drawn += one.draw(one.wished, size) - one.draw(one.booked, size)
        wishes[one.work.agent] = wishes.get(one.work.agent, np.zeros(size)) + one.draw(one.wished, size)
    after_it = sum((wish > 0 for wish in wishes.values()), np.zeros(size, int))
    is_short = (drawn > np.array(limit.limit_mw) + SLACK_MW) & (after_it >= LEAST_AGENTS)
    return drawn if is_short.any() else None


def _worth_gbp(movable: Sequence[MovableWork]) -> float:
    """No agreement saves more."""
    return sum(one.costs_gbp[one.booked] - one.costs_gbp[one.wished] for one in movable)


def _chosen(movable: Sequence[MovableWork], is_over: np.ndarray, wanted: Figures | None) -> list[MovableWork]:
    """As many as one negotiation takes, of as many agents, in their order."""

    def soonest(one: MovableWork) -> tuple[bool, bool, float, str]:
        is_in_it = bool(is_over[one.touched(one.booked)].any())
        would_move = wanted is not None and one.wished != one.booked
        return not is_in_it, not would_move, -one.power_mw * one.half_hours, str(one.work.booking_key)

    chosen: set[int] = set()
    agents: set[tuple[str, str]] = set()
    for place in sorted(range(len(movable)), key=lambda place: soonest(movable[place])):
        agent = movable[place].work.agent
        if len(chosen) < MOST_JOBS and (agent in agents or len(agents) < MOST_AGENTS):
            agents.add(agent)
            chosen.add(place)
    return [movable[place] for place in sorted(chosen)]


def _free_mw(limit: BindingLimit, movable: Sequence[MovableWork]) -> dict[str, Figures]:
    """What each data centre has left beside all that is booked there, of site power."""
    if limit.is_of_one_place:
        return {}
    return {one.work.dc_id: np.array(limit.free_kw[one.work.dc_id]) * one.pue / KW_PER_MW for one in movable}


def _first_come(movable: Sequence[MovableWork], room: Figures, free_mw: Mapping[str, Figures]) -> _Shares:
    """First come, first served; what fits nowhere takes no part and stays.

    Of its data centre's power work has what is free and what it held itself: what others hold there is theirs.
    """
    left, left_of = room.copy(), {dc_id: free.copy() for dc_id, free in free_mw.items()}
    placed: list[tuple[MovableWork, int]] = []
    for one in movable:
        own = one.draw(one.booked, len(left))
        at_place = left_of[one.work.dc_id] + own if one.work.dc_id in left_of else None
        starts = [one.booked, *one.cheapest_first()]
        start = next((start for start in starts if _fits(one, start, left, at_place)), None)
        if start is None:
            left = np.maximum(left - own, 0.0)
            continue
        placed.append((one, start))
        left = np.maximum(left - one.draw(start, len(left)), 0.0)
        if at_place is not None:
            left_of[one.work.dc_id] = at_place - one.draw(start, len(left))
    return _Shares(placed, left, left_of)


def _fits(one: MovableWork, start: int, left: Figures, at_place: Figures | None) -> bool:
    least = one.power_mw - SLACK_MW
    run = one.touched(start)
    has_place = start == one.booked or at_place is None or bool((at_place[run] >= least).all())
    return has_place and bool((left[run] >= least).all())


def _as_booked(movable: Sequence[MovableWork], room: Figures, free_mw: Mapping[str, Figures]) -> _Shares:
    left = room - sum((one.draw(one.booked, len(room)) for one in movable), np.zeros(len(room)))
    return _Shares([(one, one.booked) for one in movable], np.maximum(left, 0.0), free_mw)


def _agents(shares: _Shares, size: int) -> list[NewAgent]:
    """One for each owner and data centre; where there are several, by numbers, which do not say whose they are.

    What a data centre has left is its agents' alike, and bounds what each proposes: so that whatever is awarded has
    its power there.
    """
    owners = sorted({one.work.agent for one, _ in shares.placed})
    agents: list[NewAgent] = []
    for dc_id, operator in owners:
        own = [(one, start) for one, start in shares.placed if one.work.agent == (dc_id, operator)]
        alone = sum((one.draw(start, size) for one, start in own), np.zeros(size))
        before = sum(agent.dc_id == dc_id for agent in agents)
        most = np.full(size, sum(one.power_mw for one, _ in own))
        if dc_id in shares.left_of:
            here = sum(known == dc_id for known, _ in owners)
            most = np.minimum(most, alone + np.maximum(shares.left_of[dc_id], 0.0) / here)
        agents.append(
            NewAgent(
                agent=f"{dc_id[:58]}.{before + 1}" if before else dc_id,
                tenant=operator,
                kind=Kind.COMPUTE,
                dc_id=dc_id,
                endowment_mw=(alone + shares.left / len(owners)).tolist(),
                least_mw=[0.0] * size,
                most_mw=most.tolist(),
                declared=DeclaredCompute(cost_gbp_per_mwh=[0.0] * size, jobs=[_declared(one) for one, _ in own]),
            )
        )
    return agents


def _declared(one: MovableWork) -> DeclaredBookedJob:
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
