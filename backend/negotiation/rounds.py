"""Agents that live in this process negotiate, round by round, until they are near enough to the best plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from negotiation.agents import Agent, Figures
from negotiation.coordination import MOST_ROUNDS, TOLERANCE, Coordinator, Round, Stop
from negotiation.settling import Award


@dataclass(frozen=True)
class Settlement:
    """The end of a negotiation, awards in the order of the agents' names.

    Attributes:
        cost_gbp: of what is awarded. It is the last round's upper bound, or less where somebody cannot split.
    """

    awards: tuple[Award, ...]
    rounds: tuple[Round, ...]
    stop: Stop
    cost_gbp: float
    shares_gain: bool

    @property
    def price_gbp_per_mwh(self) -> Figures:
        return self.rounds[-1].price_gbp_per_mwh

    @property
    def bound_gbp(self) -> float:
        return min(self.rounds[-1].lower_bound_gbp, self.cost_gbp)

    @property
    def gap_gbp(self) -> float:
        return self.cost_gbp - self.bound_gbp


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
    by_name = {agent.name: agent for agent in agents}
    coordinator = Coordinator(
        {name: agent.endowment_mw for name, agent in by_name.items()},
        {name: agent.fallback() for name, agent in by_name.items()},
        cannot_split=[name for name, agent in by_name.items() if not agent.can_split],
    )
    stop: Stop | None = None
    while stop is None:
        vectors = coordinator.call()
        coordinator.hear(
            vectors, {name: [agent.answer(price) for price in vectors] for name, agent in by_name.items()}
        )
        stop = coordinator.stop(tolerance, most_rounds) or ("time" if is_over() else None)
    outcome = coordinator.settle(by_name, tolerance=tolerance, is_over=is_over)
    return Settlement(outcome.awards, tuple(coordinator.rounds), stop, outcome.cost_gbp, outcome.shares_gain)
