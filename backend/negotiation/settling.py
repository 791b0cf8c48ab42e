"""What each agent runs and pays at the end of a negotiation, at whatever point it ends.

Where all can split, each runs its mixture and pays the prices of the limit for what it draws above its endowment.
Where somebody cannot, a mixture is no plan and no prices need support the plans that are one: whole plans are chosen,
the agents that can be asked plan again in the room that the others leave, and the gain is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from negotiation.agents import HOURS, LONGEST_SEARCH_S, MOST_NODES, Agent, Figures, Plan

ORDERS = 3
"""In how many orders the agents plan again, until what they come to is near enough to the bound."""
PASSES = 4
"""How often each plans again at most, in one order."""
MOST_CHOICES = 60
"""Of each agent's proposals: those that could be in the best choice soonest."""

LARGEST_LOSS_GBP = 0.005
"""Where somebody would lose more than this, all stay alone: among figures that are far enough apart, as a stranger's
may be, what a solver lets through comes to money."""


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
class Outcome:
    """The awards in the order of the agents' names, and the prices that the payments are of.

    Attributes:
        shares_gain: payments share the gain, for somebody cannot split; else each pays the prices.
    """

    awards: tuple[Award, ...]
    price_gbp_per_mwh: Figures
    shares_gain: bool

    @property
    def cost_gbp(self) -> float:
        return sum(award.cost_gbp for award in self.awards)


def settle(
    endowment_mw: Mapping[str, Figures],
    proposals: Mapping[str, Sequence[Plan]],
    fallbacks: Mapping[str, Plan],
    weights: Mapping[str, Figures],
    price_gbp_per_mwh: Figures,
    cannot_split: Collection[str],
    agents: Mapping[str, Agent],
    is_enough: Callable[[float], bool],
    is_over: Callable[[], bool],
) -> Outcome:
    """The awards for these proposals, of which `weights` are the cheapest mixture, at its prices.

    Args:
        agents: those who can be asked to plan again.
        is_enough: whether plans of this cost (£) need not be made better.
        is_over: whether the time for making them better is over.
    """
    if not cannot_split:
        plans: Mapping[str, Plan] = {name: _mixed(proposals[name], weights[name]) for name in proposals}
        pays = {
            name: HOURS * float(price_gbp_per_mwh @ (plan.draw_mw - endowment_mw[name]))
            for name, plan in plans.items()
        }
    else:
        limit = np.sum(list(endowment_mw.values()), axis=0)
        chosen = _chosen(proposals, fallbacks, limit, price_gbp_per_mwh, cannot_split)
        plans = _replanned(agents, [chosen, fallbacks], limit, price_gbp_per_mwh, is_enough, is_over)
        pays = _shares(plans, fallbacks, endowment_mw, price_gbp_per_mwh)
    awards = [
        Award(name, plan.draw_mw, endowment_mw[name], plan.cost_gbp, pays[name], fallbacks[name].cost_gbp)
        for name, plan in plans.items()
    ]
    if any(award.net_gbp > award.fallback_gbp + LARGEST_LOSS_GBP for award in awards):
        alone = [
            Award(name, plan.draw_mw, endowment_mw[name], plan.cost_gbp, 0.0, plan.cost_gbp)
            for name, plan in fallbacks.items()
        ]
        return Outcome(tuple(alone), np.zeros(len(price_gbp_per_mwh)), bool(cannot_split))
    return Outcome(_balanced(awards), price_gbp_per_mwh, bool(cannot_split))


def _mixed(plans: Sequence[Plan], weights: Figures) -> Plan:
    draw = sum((weight * plan.draw_mw for weight, plan in zip(weights, plans, strict=True)), np.zeros(1))
    return Plan(sum(float(weight) * plan.cost_gbp for weight, plan in zip(weights, plans, strict=True)), draw)


def _total(plans: Mapping[str, Plan]) -> float:
    return sum(plan.cost_gbp for plan in plans.values())


def _chosen(
    proposals: Mapping[str, Sequence[Plan]],
    fallbacks: Mapping[str, Plan],
    limit: Figures,
    price: Figures,
    cannot_split: Collection[str],
) -> Mapping[str, Plan]:
    """The cheapest choice within the limit: one proposal of each who cannot split, a mixture of each who can."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    few = {name: _likely(plans, price) for name, plans in proposals.items()}
    columns = [(number, name, plan) for number, (name, plans) in enumerate(few.items()) for plan in plans]
    one = np.zeros((len(few), len(columns)))
    one[[number for number, *_ in columns], range(len(columns))] = 1.0
    found = milp(
        [plan.cost_gbp for *_, plan in columns],
        integrality=np.array([name in cannot_split for _, name, _ in columns], dtype=int),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(np.column_stack([plan.draw_mw for *_, plan in columns]), -np.inf, limit),
            LinearConstraint(one, 1, 1),
        ],
        options={"node_limit": MOST_NODES, "time_limit": LONGEST_SEARCH_S},
    )
    if found.x is None:
        return fallbacks
    chosen, start = {}, 0
    for name, plans in few.items():
        weights = np.maximum(found.x[start : start + len(plans)], 0.0)
        if name in cannot_split:
            weights = np.eye(len(plans))[int(np.argmax(weights))]
        chosen[name] = _mixed(plans, weights / weights.sum())
        start += len(plans)
    return chosen if _total(chosen) <= _total(fallbacks) else fallbacks


def _likely(plans: Sequence[Plan], price: Figures) -> list[Plan]:
    """The fallback, and the proposals that cost least at the prices."""
    whole = [plan.cost_gbp + HOURS * float(price @ plan.draw_mw) for plan in plans[1:]]
    return [plans[0], *(plans[1 + place] for place in np.argsort(whole, kind="stable")[: MOST_CHOICES - 1])]


def _replanned(
    agents: Mapping[str, Agent],
    starts: Sequence[Mapping[str, Plan]],
    limit: Figures,
    price: Figures,
    is_enough: Callable[[float], bool],
    is_over: Callable[[], bool],
) -> Mapping[str, Plan]:
    """The best that the agents come to from these plans, planning again in turn in the room that the others leave.

    Each plans for itself, as long as that helps; or first at the prices, which makes room where it is dear.
    """
    best = starts[0]
    ways = [
        (first, order, start) for order in _orders(sorted(agents)) for start in starts for first in (0 * price, price)
    ]
    for first, order, start in ways:
        if is_over() or is_enough(_total(best)):
            break
        found = _in_turn(order, agents, start, limit, first, is_over)
        if _total(found) < _total(best) - 1e-9:
            best = found
    return best


def _orders(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for number in range(ORDERS if len(names) > 1 else 1):
        order = list(names)
        Random(number).shuffle(order)  # noqa: S311 - nothing of it is secret
        yield order


def _in_turn(
    order: Sequence[str],
    agents: Mapping[str, Agent],
    start: Mapping[str, Plan],
    limit: Figures,
    first: Figures,
    is_over: Callable[[], bool],
) -> Mapping[str, Plan]:
    plans = dict(start)
    drawn = np.sum([plan.draw_mw for plan in plans.values()], axis=0)
    for number in range(PASSES):
        price = first if number == 0 else np.zeros(len(limit))
        before = _total(plans)
        for name in order:
            if is_over():
                return plans
            room = limit - drawn + plans[name].draw_mw
            found = agents[name].within(room, price)
            if found is None or (not price.any() and found.cost_gbp >= plans[name].cost_gbp - 1e-9):
                continue
            drawn = drawn - plans[name].draw_mw + found.draw_mw
            plans[name] = found
        if number > 0 and _total(plans) >= before - 1e-9:
            break
    return plans


def _shares(
    plans: Mapping[str, Plan], fallbacks: Mapping[str, Plan], endowment_mw: Mapping[str, Figures], price: Figures
) -> dict[str, float]:
    """Payments after which each has gained its share, by what the prices would give it; by none, all alike.

    Nobody is worse off than alone: shares are 0 or more, and so is the gain.
    """
    gain = max(0.0, _total(fallbacks) - _total(plans))
    at_prices = {
        name: max(
            0.0,
            fallbacks[name].cost_gbp - plan.cost_gbp - HOURS * float(price @ (plan.draw_mw - endowment_mw[name])),
        )
        for name, plan in plans.items()
    }
    together = sum(at_prices.values())
    return {
        name: fallbacks[name].cost_gbp
        - gain * (at_prices[name] / together if together > 1e-9 else 1 / len(plans))
        - plan.cost_gbp
        for name, plan in plans.items()
    }


def _balanced(awards: Sequence[Award]) -> tuple[Award, ...]:
    """Payments that sum to 0 to the last digit: what rounding leaves goes to whoever gains most."""
    left = sum(award.pays_gbp for award in awards)
    most = max(range(len(awards)), key=lambda place: (awards[place].fallback_gbp - awards[place].net_gbp, -place))
    return tuple(
        replace(award, pays_gbp=award.pays_gbp - (left if place == most else 0.0))
        for place, award in enumerate(awards)
    )
