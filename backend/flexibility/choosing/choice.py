"""Which work to move for an event: the set that costs least, what the event pays taken off.

    minimise  Σ over the moved ΔJ - Σ over half-hours price_t x min(need_t, Σ over the moved freed_t)

where ΔJ is what moving one costs in J and freed_t the site energy that it frees in a half-hour of the event. What is
freed beyond the need earns nothing. Where the least is not below zero nothing is moved.

A few candidates are enumerated, set by set. More go to HiGHS as a mixed-integer programme, whose bound is the
certificate: no set is better than the answer by more than the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from flexibility.rules.exact import HOURS, exactly
from grid.half_hours import HALF_HOUR
from vocabulary import StrEnum

Floats = NDArray[np.float64]

MOST_ENUMERATED = 20
# Sets x half-hours that are held at once: some tens of megabytes.
MOST_CELLS = 1 << 22
TIME_LIMIT_S = 10.0
OPTIMAL = 0
"""A status of `scipy.optimize.milp`."""

SAME_GBP = 1e-9
"""Sets whose costs differ by less are equal: the rounding of floating point."""


@dataclass(frozen=True)
class Event:
    """What is needed and paid: reductions of import by half-hour from `starts_at` on, prices of 0 or more."""

    starts_at: datetime
    need_mw: tuple[Decimal, ...]
    price_gbp_per_mwh: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        if not self.need_mw or len(self.need_mw) != len(self.price_gbp_per_mwh):
            raise ValueError("an event needs as many prices as half-hours, and at least one")
        if min(self.need_mw) < 0 or min(self.price_gbp_per_mwh) < 0:
            raise ValueError("an event needs reductions, of 0 MW or more at 0 £/MWh or more")

    @property
    def half_hours(self) -> tuple[datetime, ...]:
        return tuple(self.starts_at + place * HALF_HOUR for place in range(len(self.need_mw)))

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + len(self.need_mw) * HALF_HOUR

    @property
    def need_mwh(self) -> tuple[Decimal, ...]:
        return tuple(mw * HOURS for mw in self.need_mw)


@dataclass(frozen=True)
class Candidate:
    """Something that can give way: a workload that moves, or a battery's plan.

    `freed_mwh` is by half-hour of the event and never negative; `delta_gbp` is what giving way costs, in J.
    """

    name: str
    delta_gbp: Decimal
    freed_mwh: tuple[Decimal, ...]


class Method(StrEnum):
    ENUMERATED = "enumerated"
    EXACT = "exact"
    """By the solver, proven."""
    BOUNDED = "bounded"
    """By the solver, cut short: the gap says how good."""


@dataclass(frozen=True)
class Choice:
    """The chosen candidates by name, and the figures they were chosen by."""

    names: tuple[str, ...]
    freed_mwh: tuple[Decimal, ...]
    revenue_gbp: Decimal
    cost_gbp: Decimal
    """Σ ΔJ."""
    method: Method
    bound_gbp: Decimal
    """No set comes below it; 0 at most, since nothing can be moved."""

    @property
    def objective_gbp(self) -> Decimal:
        return self.cost_gbp - self.revenue_gbp

    @property
    def gain_gbp(self) -> Decimal:
        return -self.objective_gbp

    @property
    def gap_gbp(self) -> Decimal:
        return max(Decimal(0), self.objective_gbp - self.bound_gbp)


def committed_mwh(event: Event, freed_mwh: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """What can be sold of what is freed, by half-hour: never more than is needed."""
    return tuple(map(min, event.need_mwh, freed_mwh))


@exactly
def revenue_gbp(event: Event, freed_mwh: Sequence[Decimal]) -> Decimal:
    """What the event pays for it."""
    sold = zip(event.price_gbp_per_mwh, committed_mwh(event, freed_mwh), strict=True)
    return sum((price * mwh for price, mwh in sold), Decimal(0))


def choose(event: Event, candidates: Sequence[Candidate], *, time_limit_s: float = TIME_LIMIT_S) -> Choice:
    """The set to move: the smallest of the best, and of those the first by name."""
    ordered = sorted(candidates, key=lambda one: one.name)
    useful = [one for one in ordered if any(one.freed_mwh)]
    if _can_be_enumerated(len(useful), len(event.need_mw)):
        chosen = _best_set(event, useful)
        choice = figures(event, [one for place, one in enumerate(useful) if chosen >> place & 1], Method.ENUMERATED)
    else:
        choice = _solved(event, useful, time_limit_s)
    return choice if choice.objective_gbp < 0 else _nothing(event, choice)


@exactly
def figures(event: Event, chosen: Sequence[Candidate], method: Method, bound_gbp: Decimal | None = None) -> Choice:
    """What a set comes to; without a bound it is the best there is."""
    freed = tuple(sum((one.freed_mwh[place] for one in chosen), Decimal(0)) for place in range(len(event.need_mw)))
    revenue = revenue_gbp(event, freed)
    cost = sum((one.delta_gbp for one in chosen), Decimal(0))
    bound = cost - revenue if bound_gbp is None else min(bound_gbp, cost - revenue)
    return Choice(tuple(one.name for one in chosen), freed, revenue, cost, method, min(bound, Decimal(0)))


def _nothing(event: Event, choice: Choice) -> Choice:
    return figures(event, [], choice.method, choice.bound_gbp)


def _can_be_enumerated(candidates: int, half_hours: int) -> bool:
    return candidates <= MOST_ENUMERATED and half_hours << candidates <= MOST_CELLS


def _best_set(event: Event, candidates: Sequence[Candidate]) -> int:
    """The best set as bits, the first candidate the lowest."""
    freed, cost = np.zeros((1, len(event.need_mw))), np.zeros(1)
    for one in candidates:
        freed = np.concatenate((freed, freed + _floats(one.freed_mwh)))
        cost = np.concatenate((cost, cost + float(one.delta_gbp)))
    objective = cost - np.minimum(freed, _floats(event.need_mwh)) @ _floats(event.price_gbp_per_mwh)
    best = np.flatnonzero(objective <= objective.min() + SAME_GBP).tolist()
    chosen: int = min(best, key=lambda bits: (bits.bit_count(), _reversed(bits, len(candidates))))
    return chosen


def _reversed(bits: int, width: int) -> int:
    """Least for sets with the first candidates in them."""
    return -int(format(bits, f"0{width}b")[::-1], 2) if width else 0


def _solved(event: Event, candidates: Sequence[Candidate], time_limit_s: float) -> Choice:
    """By HiGHS: a binary variable for each candidate, and what is sold in each half-hour."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, hstack, identity

    half_hours, many = len(event.need_mw), len(candidates)
    freed = np.array([_floats(one.freed_mwh) for one in candidates])
    costs = np.concatenate(([float(one.delta_gbp) for one in candidates], -_floats(event.price_gbp_per_mwh)))
    no_more_than_freed = hstack([csr_array(-freed.T), identity(half_hours, format="csr")])
    result = milp(
        costs,
        integrality=np.concatenate((np.ones(many), np.zeros(half_hours))),
        bounds=Bounds(0.0, np.concatenate((np.ones(many), _floats(event.need_mwh)))),
        constraints=LinearConstraint(no_more_than_freed, -np.inf, 0.0),
        options={"time_limit": time_limit_s, "mip_rel_gap": 0.0},
    )
    values = np.zeros(many) if result.x is None else result.x[:many]
    chosen = [one for one, value in zip(candidates, values.tolist(), strict=True) if value > 0.5]
    if result.status == OPTIMAL:
        return figures(event, chosen, Method.EXACT)
    least = getattr(result, "mip_dual_bound", None)
    bound = _no_better(event, candidates) if least is None else Decimal(repr(float(least)))
    return figures(event, chosen, Method.BOUNDED, bound)


def _no_better(event: Event, candidates: Sequence[Candidate]) -> Decimal:
    """A bound without a solver: everything that is needed is sold, and whatever gains by moving moves."""
    gains = sum((min(Decimal(0), one.delta_gbp) for one in candidates), Decimal(0))
    return gains - revenue_gbp(event, event.need_mwh)


def _floats(values: Sequence[Decimal]) -> Floats:
    return np.array([float(value) for value in values])
