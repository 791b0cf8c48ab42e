"""Why this answer: what stood in the way of a better one, and what would change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from decisions.scoring.evaluation import Evaluation
from decisions.scoring.feasibility import Violation
from decisions.scoring.objective import G_PER_T
from decisions.scoring.runs import Booleans, Floats


@dataclass(frozen=True)
class BindingConstraint:
    """The cheapest run that the constraints rule out, where it would have been better than the answer."""

    dc_id: str
    start: datetime
    objective_gbp: float
    saving_gbp: float
    """How much less its J is than the answer's."""
    violations: tuple[Violation, ...]


@dataclass(frozen=True)
class CarbonPriceSwitch:
    """A carbon price at which another place or start becomes the answer, and which."""

    carbon_price_gbp_per_t: float
    dc_id: str
    start: datetime


@dataclass(frozen=True)
class CarbonPriceSwitches:
    """The nearest prices above and below the decision's own; None where none changes the answer."""

    above: CarbonPriceSwitch | None
    below: CarbonPriceSwitch | None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A start at a site, where it was evaluated."""

    evaluation: Evaluation
    site: int
    run: int

    @property
    def position(self) -> float:
        return float(self.evaluation.position[self.site, self.run])

    @property
    def objective_gbp(self) -> float:
        return float(self.evaluation.objective_gbp[self.site, self.run])


def binding_between(
    answer: Candidate, wished: Candidate, violations: Callable[[], tuple[Violation, ...]] | None = None
) -> BindingConstraint | None:
    """What keeps an answer from a start that would be better; None where that one would not.

    `violations` tells what that start breaks, where that is kept.
    """
    if wished.position >= answer.position:
        return None
    evaluation, site, run = wished.evaluation, wished.site, wished.run
    return BindingConstraint(
        dc_id=evaluation.candidates.sites.centres[site].dc_id,
        start=evaluation.runs.start(run),
        objective_gbp=wished.objective_gbp,
        saving_gbp=answer.objective_gbp - wished.objective_gbp,
        violations=violations() if violations else evaluation.feasibility.violations(site, run),
    )


def carbon_price_switches(evaluation: Evaluation, feasible: Booleans, site: int, run: int) -> CarbonPriceSwitches:
    """At which carbon prices the answer, `run` at `site`, would change.

    `feasible` says which of the evaluation's candidates are.
    J is a straight line in the carbon price whose slope is the candidate's carbon: a greener candidate
    crosses the answer's line at a higher price, a dirtier one at a lower. The nearest crossing on each side
    counts.
    """
    terms = evaluation.candidates.priced.terms
    gbp_per_g_and_price = terms.weights.carbon / G_PER_T
    if not gbp_per_g_and_price:
        return CarbonPriceSwitches(None, None)
    share = evaluation.carbon_share
    greener = feasible & (share < share[site, run])
    dirtier = feasible & (share > share[site, run])
    dearer_gbp = np.maximum(evaluation.objective_gbp - evaluation.objective_gbp[site, run], 0.0)
    carbon_apart_g = np.abs(evaluation.carbon_gco2 - evaluation.carbon_gco2[site, run])
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = dearer_gbp / (gbp_per_g_and_price * carbon_apart_g)
    price = terms.carbon_price_gbp_per_t
    below = dirtier & (distance <= price)
    return CarbonPriceSwitches(
        above=_nearest(evaluation, distance, greener, price, +1),
        below=_nearest(evaluation, distance, below, price, -1),
    )


def _nearest(
    evaluation: Evaluation, distance: Floats, among: Booleans, price: float, sign: int
) -> CarbonPriceSwitch | None:
    if not among.any():
        return None
    site, run = np.unravel_index(int(np.where(among, distance, np.inf).argmin()), distance.shape)
    return CarbonPriceSwitch(
        price + sign * float(distance[site, run]),
        evaluation.candidates.sites.centres[int(site)].dc_id,
        evaluation.runs.start(int(run)),
    )
