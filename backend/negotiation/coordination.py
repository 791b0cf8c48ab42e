"""The coordinator's side of an iterated contract net over half-hour prices; it knows proposals, and no agent's data.

Dantzig-Wolfe's column generation with Wentges' smoothed prices: each round it calls for proposals at several vectors
of prices, hears them, and mixes all proposals so far at the least cost within the limit (a small linear program),
which gives a plan and the prices of the limit. What the agents answered gives a lower bound. Pure: the same proposals
give the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from negotiation.agents import HOURS, Agent, Figures, Plan
from negotiation.settling import Outcome, settle

TOLERANCE = 0.001
"""Of the upper bound: how far from the best plan a negotiation may end."""
MOST_ROUNDS = 40
SHARES_OF_BEST = (0.0, 0.3, 0.6, 0.8, 0.9)
"""How much of the prices that gave the best lower bound is in each vector, the rest being the newest prices."""

EXPLORING = 7
"""Vectors of made-up prices in the first round, so that the first mixtures have plans to choose from."""

Stop = Literal["gap", "rounds", "time"]


@dataclass(frozen=True)
class Round:
    """One round: what is known after it.

    Attributes:
        upper_bound_gbp: what the best mixture costs, or the fallbacks where somebody cannot split.
        lower_bound_gbp: what no plan can be below; minus infinity before all have answered once.
        mixture_gbp: what the best mixture costs, whether or not it can be run.
    """

    upper_bound_gbp: float
    lower_bound_gbp: float
    mixture_gbp: float
    price_gbp_per_mwh: Figures


@dataclass(frozen=True)
class Mixture:
    """Weights of each agent's proposals, 0 or more and 1 together, of the least cost within the limit; its prices."""

    cost_gbp: float
    price_gbp_per_mwh: Figures
    weights: Mapping[str, Figures]


class Coordinator:
    """One negotiation. Neither the order of the agents nor that of their messages changes anything.

    Args:
        endowment_mw: each agent's share of the limit, which is their sum.
        fallbacks: each agent's best plan within its share.
        cannot_split: agents of whom a mixture of plans is no plan.
    """

    def __init__(
        self,
        endowment_mw: Mapping[str, Figures],
        fallbacks: Mapping[str, Plan],
        *,
        cannot_split: Collection[str] = (),
    ) -> None:
        self.endowment_mw = {name: endowment_mw[name] for name in sorted(endowment_mw)}
        self.limit_mw: Figures = np.sum(list(self.endowment_mw.values()), axis=0)
        self.fallbacks = {name: fallbacks[name] for name in self.endowment_mw}
        self.cannot_split = frozenset(cannot_split)
        self.proposals = {name: [plan] for name, plan in self.fallbacks.items()}
        self.rounds: list[Round] = []
        self.mixture = cheapest_mixture(self.proposals, self.limit_mw)
        self._best_bound, self._best_price = -np.inf, np.zeros(len(self.limit_mw))

    def call(self) -> list[Figures]:
        """The prices of this round, £/MWh by half-hour; each agent answers each vector with its best plan."""
        newest = self.mixture.price_gbp_per_mwh
        if not self.rounds:
            return [newest, *_made_up(list(self.fallbacks.values()), len(self.limit_mw))]
        vectors: list[Figures] = []
        for share in SHARES_OF_BEST:
            vector = (1 - share) * newest + share * self._best_price
            if not any(np.array_equal(vector, known) for known in vectors):
                vectors.append(vector)
        return vectors

    def hear(self, vectors: Sequence[Figures], answers: Mapping[str, Sequence[Plan] | None]) -> Round:
        """End a round with what the agents answered to these vectors, a plan for each.

        An agent that is silent (None, or not there) keeps what it proposed before; a round with a silent one gives no
        lower bound.
        """
        heard = [answers.get(name) for name in self.proposals]
        for place, price in enumerate(vectors):
            plans = [each[place] for each in heard if each is not None]
            if len(plans) == len(heard):
                self._bound(price, plans)
            for known, each in zip(self.proposals.values(), heard, strict=True):
                if each is not None:
                    _add(known, each[place])
        return self._mix()

    def dismiss(self, name: str) -> None:
        """Of an agent that is gone only the fallback counts from now on; the next mixture may cost more."""
        self.proposals[name] = [self.fallbacks[name]]
        self.mixture = cheapest_mixture(self.proposals, self.limit_mw)

    def stop(self, tolerance: float = TOLERANCE, most_rounds: int = MOST_ROUNDS) -> Stop | None:
        """Why no further round is needed; None where one is."""
        if not self.rounds:
            return None
        gap = self.mixture.cost_gbp - self.rounds[-1].lower_bound_gbp
        if gap <= tolerance * abs(self.mixture.cost_gbp) + 1e-9:
            return "gap"
        return "rounds" if len(self.rounds) >= most_rounds else None

    def settle(
        self,
        agents: Mapping[str, Agent] | None = None,
        *,
        tolerance: float = TOLERANCE,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """The award at this point, which is valid at every point.

        Args:
            agents: of those who can be asked to plan again within the room that the others leave, by name. Only asked
                where somebody cannot split, until the plans are within the tolerance of the bound or time is over.
        """
        return settle(
            self.endowment_mw,
            self.proposals,
            self.fallbacks,
            self.mixture.weights,
            self.mixture.price_gbp_per_mwh,
            self.cannot_split,
            agents or {},
            lambda cost_gbp: cost_gbp - self._best_bound <= tolerance * abs(cost_gbp),
            is_over,
        )

    def _bound(self, price: Figures, plans: Sequence[Plan]) -> None:
        bound = sum(plan.cost_gbp + HOURS * float(price @ plan.draw_mw) for plan in plans)
        bound -= HOURS * float(price @ self.limit_mw)
        if bound > self._best_bound:
            self._best_bound, self._best_price = bound, price

    def _mix(self) -> Round:
        self.mixture = cheapest_mixture(self.proposals, self.limit_mw)
        cost = self.mixture.cost_gbp
        upper = sum(plan.cost_gbp for plan in self.fallbacks.values()) if self.cannot_split else cost
        found = Round(upper, min(self._best_bound, cost), cost, self.mixture.price_gbp_per_mwh)
        self.rounds.append(found)
        return found


def cheapest_mixture(proposals: Mapping[str, Sequence[Plan]], limit_mw: Figures) -> Mixture:
    """Mix each agent's proposals at the least cost within the limit, whose price is the program's dual.

    The first proposal of each is its fallback. Where figures are so far apart that the solver gives up, as those of a
    stranger may be, the fallbacks are the mixture, at no price.
    """
    from scipy.optimize import linprog

    columns = [(number, plan) for number, plans in enumerate(proposals.values()) for plan in plans]
    whole = np.zeros((len(proposals), len(columns)))
    whole[[number for number, _ in columns], range(len(columns))] = 1.0
    found = linprog(
        [plan.cost_gbp for _, plan in columns],
        A_ub=np.column_stack([plan.draw_mw for _, plan in columns]),
        b_ub=limit_mw,
        A_eq=whole,
        b_eq=np.ones(len(proposals)),
        bounds=(0, None),
        method="highs-ds",
    )
    if found.x is None or found.fun is None:
        alone = sum(plans[0].cost_gbp for plans in proposals.values())
        firsts = {name: np.eye(1, len(plans))[0] for name, plans in proposals.items()}
        return Mixture(alone, np.zeros(len(limit_mw)), firsts)
    weights, start = {}, 0
    for name, plans in proposals.items():
        weights[name] = np.maximum(found.x[start : start + len(plans)], 0.0)
        weights[name] /= weights[name].sum()
        start += len(plans)
    price = np.maximum(-found.ineqlin.marginals, 0.0) / HOURS
    return Mixture(float(found.fun), price, weights)


def _made_up(fallbacks: Sequence[Plan], half_hours: int) -> list[Figures]:
    """The same ones for the same agents: between 0 and what a MWh costs in their fallbacks."""
    energy_mwh = sum(HOURS * float(np.abs(plan.draw_mw).sum()) for plan in fallbacks)
    cost_gbp = sum(abs(plan.cost_gbp) for plan in fallbacks)
    chance = Random(half_hours)  # noqa: S311 - nothing of it is secret
    most = cost_gbp / energy_mwh if energy_mwh > 0 else 0.0
    return [np.array([chance.uniform(0, most) for _ in range(half_hours)]) for _ in range(EXPLORING)]


def _add(known: list[Plan], plan: Plan) -> None:
    """A plan that is known already, or dearer than one that draws the same, changes nothing."""
    for place, other in enumerate(known):
        if np.allclose(other.draw_mw, plan.draw_mw, rtol=0, atol=1e-9):
            if plan.cost_gbp < other.cost_gbp - 1e-9 and place > 0:
                known[place] = plan
            return
    known.append(plan)
