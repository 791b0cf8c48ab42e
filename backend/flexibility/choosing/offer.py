"""The offer for an event: who moves where, so that all moves together find room.

What each workload's moving costs is worked out alone, so the set that is best by that is a bound on every offer. Then
the chosen ones are placed one after the other, each on what the ones before leave; where that costs more, whoever no
longer pays stays. The gap says how far the offer is from the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from decisions.scoring.capacity import counted_kw, less
from decisions.scoring.context import Capacity, DecisionContext
from flexibility.choosing.choice import Candidate, Choice, Event, Method, choose, figures
from flexibility.choosing.moves import Booked, Move, Mover, name_of


@dataclass(frozen=True)
class Offer:
    """What is offered: the workloads that move, and the figures of the choice."""

    moves: tuple[Move, ...]
    choice: Choice
    considered: int
    """How many workloads could have moved."""
    gains_alone: tuple[tuple[str, Decimal], ...]
    """Of each that could have moved: what moving it alone would gain, £."""


def make_offer(mover: Mover, booked: Sequence[tuple[DecisionContext, Booked]]) -> Offer:
    """The best offer of what is booked. All contexts are of one grid, and one capacity."""
    contexts = {name_of(context, place): (context, place) for context, place in booked}
    movable = [move for context, place in booked if (move := mover.move(context, place)) is not None]
    alone = choose(mover.event, [move.candidate for move in movable])
    moves = _placed_together(mover, contexts, [move for move in movable if move.candidate.name in alone.names])
    moves = _paying(mover.event, moves)
    choice = figures(mover.event, [move.candidate for move in moves], alone.method, alone.bound_gbp)
    gains = tuple((move.candidate.name, _gain_alone(mover.event, move.candidate)) for move in movable)
    return Offer(tuple(moves), choice, len(movable), gains)


def _placed_together(
    mover: Mover, contexts: dict[str, tuple[DecisionContext, Booked]], chosen: Sequence[Move]
) -> list[Move]:
    """The chosen in the order of their names, each where it is best on what those before it leave."""
    placed: list[Move] = []
    capacity: Capacity | None = None
    for move in chosen:
        context, booked = contexts[move.candidate.name]
        if capacity is not None:
            move_now = mover.move(context.model_copy(update={"capacity": capacity}), booked)
        else:
            move_now = move
        if move_now is None:
            continue
        placed.append(move_now)
        # What it leaves is closed to the others too, so only what it takes counts.
        left = context.capacity if capacity is None else capacity
        if left is not None:
            power_kw = counted_kw(move_now.decision.load.it_power_kw)
            capacity = less(left, move_now.to_dc_id, move_now.to.start, move_now.to.end, power_kw)
    return placed


def _paying(event: Event, moves: list[Move]) -> list[Move]:
    """Without those that the rest is better without, and none at all where nothing is gained."""
    while moves:
        now = figures(event, [move.candidate for move in moves], Method.ENUMERATED).objective_gbp
        fewer = [[move for move in moves if move is not one] for one in moves]
        least, best = min(
            (
                (figures(event, [m.candidate for m in some], Method.ENUMERATED).objective_gbp, place)
                for place, some in enumerate(fewer)
            ),
        )
        if least < now:
            moves = fewer[best]
        else:
            return moves if now < 0 else []
    return []


def _gain_alone(event: Event, candidate: Candidate) -> Decimal:
    return figures(event, [candidate], Method.ENUMERATED).gain_gbp
