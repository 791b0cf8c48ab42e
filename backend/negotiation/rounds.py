"""An iterated contract net over half-hour prices: Dantzig-Wolfe's column generation, with Wentges' smoothed prices.

Each round the coordinator mixes all proposals so far at the least cost within the limit (a small linear program),
which gives a plan, an upper bound and the prices of the limit. The agents answer three vectors of prices, and their
answers give a lower bound. Every stop is a valid award.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
from scipy.optimize import linprog

from negotiation.agents import HOURS, Agent, Figures, Plan

TOLERANCE = 0.001
"""Of the upper bound: how far from the best plan a negotiation may end."""
MOST_ROUNDS = 40
SHARES_OF_BEST = (0.0, 0.5, 0.8)
"""How much of the prices that gave the best lower bound is in each vector, the rest being the newest prices."""

EXPLORING = 7
"""Vectors of made-up prices in the first round, so that the first mixtures have plans to choose from."""

Stop = Literal["gap", "rounds", "time"]


@dataclass(frozen=True)
class Round:
    """One round: what the best mixture costs, what no plan can be below, and the prices."""

    upper_bound_gbp: float
    lower_bound_gbp: float
    price_gbp_per_mwh: Figures


@dataclass(frozen=True)
class Award:
    """What one agent runs, what that costs it, and what it pays (below 0: is paid).

    Attributes:
        fallback_gbp: what it would have had alone, within its endowment.
    """

    agent: str
    draw_mw: Figures
    endowment_mw: Figures
    cost_gbp: float
    pays_gbp: float
    fallback_gbp: float

    @property
    def net_gbp(self) -> float:
        return self.cost_gbp + self.pays_gbp


@dataclass(frozen=True)
class Settlement:
    """The end of a negotiation, awards in the order of the agents' names."""

    awards: tuple[Award, ...]
    rounds: tuple[Round, ...]
    stop: Stop

    @property
    def price_gbp_per_mwh(self) -> Figures:
        return self.rounds[-1].price_gbp_per_mwh

    @property
    def cost_gbp(self) -> float:
        return self.rounds[-1].upper_bound_gbp

    @property
    def bound_gbp(self) -> float:
        return self.rounds[-1].lower_bound_gbp

    @property
    def gap_gbp(self) -> float:
        return max(0.0, self.cost_gbp - self.bound_gbp)


@dataclass(frozen=True)
class _Mixture:
    cost_gbp: float
    price: Figures
    weights: Mapping[str, Figures]


def negotiate(
    agents: Sequence[Agent],
    *,
    tolerance: float = TOLERANCE,
    most_rounds: int = MOST_ROUNDS,
    is_over: Callable[[], bool] = lambda: False,
) -> Settlement:
    """Negotiate until the gap is small enough, the rounds are over, or `is_over` says that the time is.

    The order of the agents and of their proposals changes nothing.

    Raises:
        NoFallback: an agent cannot do what it must within its own endowment, or at all.
    """
    by_name = {agent.name: agent for agent in sorted(agents, key=lambda agent: agent.name)}
    limit = np.sum([agent.endowment_mw for agent in by_name.values()], axis=0)
    proposals = {name: [agent.fallback()] for name, agent in by_name.items()}
    fallbacks = {name: plans[0].cost_gbp for name, plans in proposals.items()}
    exploring = _made_up(list(proposals.values()), len(limit))
    rounds: list[Round] = []
    best_bound, best_price = -np.inf, np.zeros(len(limit))
    stop: Stop | None = None
    while stop is None:
        mixture = _cheapest_mixture(proposals, limit)
        vectors = _vectors(mixture.price, best_price) if rounds else [mixture.price, *exploring]
        for price in vectors:
            answers = {name: agent.answer(price) for name, agent in by_name.items()}
            bound = sum(plan.cost_gbp + HOURS * float(price @ plan.draw_mw) for plan in answers.values())
            bound -= HOURS * float(price @ limit)
            if bound > best_bound:
                best_bound, best_price = bound, price
            for name, plan in answers.items():
                _add(proposals[name], plan)
        rounds.append(Round(mixture.cost_gbp, min(best_bound, mixture.cost_gbp), mixture.price))
        stop = _stop(rounds, tolerance, most_rounds, is_over)
    return Settlement(_awards(by_name, proposals, fallbacks, mixture), tuple(rounds), stop)


def _stop(rounds: Sequence[Round], tolerance: float, most_rounds: int, is_over: Callable[[], bool]) -> Stop | None:
    newest = rounds[-1]
    if newest.upper_bound_gbp - newest.lower_bound_gbp <= tolerance * abs(newest.upper_bound_gbp) + 1e-9:
        return "gap"
    if len(rounds) >= most_rounds:
        return "rounds"
    return "time" if is_over() else None


def _made_up(fallbacks: Sequence[Sequence[Plan]], half_hours: int) -> list[Figures]:
    """The same ones for the same agents: between 0 and what a MWh costs in their fallbacks."""
    energy_mwh = sum(HOURS * float(np.abs(plans[0].draw_mw).sum()) for plans in fallbacks)
    cost_gbp = sum(abs(plans[0].cost_gbp) for plans in fallbacks)
    chance = Random(half_hours)  # noqa: S311 - nothing of it is secret
    most = cost_gbp / energy_mwh if energy_mwh > 0 else 0.0
    return [np.array([chance.uniform(0, most) for _ in range(half_hours)]) for _ in range(EXPLORING)]


def _vectors(newest: Figures, best: Figures) -> list[Figures]:
    vectors: list[Figures] = []
    for share in SHARES_OF_BEST:
        vector = (1 - share) * newest + share * best
        if not any(np.array_equal(vector, known) for known in vectors):
            vectors.append(vector)
    return vectors


def _add(known: list[Plan], plan: Plan) -> None:
    """A plan that is known already, or dearer than one that draws the same, changes nothing."""
    for place, other in enumerate(known):
        if np.allclose(other.draw_mw, plan.draw_mw, rtol=0, atol=1e-9):
            if plan.cost_gbp < other.cost_gbp - 1e-9 and place > 0:
                known[place] = plan
            return
    known.append(plan)


def _cheapest_mixture(proposals: Mapping[str, Sequence[Plan]], limit: Figures) -> _Mixture:
    """Weights of each agent's proposals, 0 or more and 1 together, of the least cost within the limit."""
    columns = [(number, plan) for number, plans in enumerate(proposals.values()) for plan in plans]
    whole = np.zeros((len(proposals), len(columns)))
    whole[[number for number, _ in columns], range(len(columns))] = 1.0
    found = linprog(
        [plan.cost_gbp for _, plan in columns],
        A_ub=np.column_stack([plan.draw_mw for _, plan in columns]),
        b_ub=limit,
        A_eq=whole,
        b_eq=np.ones(len(proposals)),
        bounds=(0, None),
        method="highs-ds",
    )
    if found.x is None or found.fun is None:  # the fallbacks are a mixture, so there is one
        raise RuntimeError(f"the coordinator's program has no answer: {found.message}")
    weights, start = {}, 0
    for name, plans in proposals.items():
        weights[name] = np.maximum(found.x[start : start + len(plans)], 0.0)
        weights[name] /= weights[name].sum()
        start += len(plans)
    price = np.maximum(-found.ineqlin.marginals, 0.0) / HOURS
    return _Mixture(float(found.fun), price, weights)


def _awards(
    agents: Mapping[str, Agent],
    proposals: Mapping[str, Sequence[Plan]],
    fallbacks: Mapping[str, float],
    mixture: _Mixture,
) -> tuple[Award, ...]:
    awards = []
    for name, agent in agents.items():
        weights = mixture.weights[name]
        mixed = list(zip(weights, proposals[name], strict=False))  # proposals of the last round are in no mixture
        draw = sum((weight * plan.draw_mw for weight, plan in mixed), np.zeros(len(agent.endowment_mw)))
        cost = sum(float(weight) * plan.cost_gbp for weight, plan in mixed)
        pays = HOURS * float(mixture.price @ (draw - agent.endowment_mw))
        awards.append(Award(name, draw, agent.endowment_mw, cost, pays, fallbacks[name]))
    return _balanced(awards)


def _balanced(awards: Sequence[Award]) -> tuple[Award, ...]:
    """Payments that sum to 0 to the last digit: what rounding leaves goes to whoever gains most."""
    left = sum(award.pays_gbp for award in awards)
    most = max(range(len(awards)), key=lambda place: (awards[place].fallback_gbp - awards[place].net_gbp, -place))
    return tuple(
        Award(
            award.agent,
            award.draw_mw,
            award.endowment_mw,
            award.cost_gbp,
            award.pays_gbp - (left if place == most else 0.0),
            award.fallback_gbp,
        )
        for place, award in enumerate(awards)
    )
