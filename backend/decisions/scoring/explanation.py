"""Why this answer: what stood in the way of a better one, and what would change it."""

from __future__ import annotations

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


def binding_at(evaluation: Evaluation, site: int, run: int, wished_run: int) -> BindingConstraint | None:
    """What keeps one site from its best start, `wished_run`, given that its best feasible start is `run`."""
    return _binding(evaluation, (site, run), (site, wished_run))


def binding_overall(evaluation: Evaluation, site: int, run: int, wished_runs: list[int]) -> BindingConstraint | None:
    """What keeps the whole decision, which is `run` at `site`, from the best of every site's best starts."""
    wished = evaluation.best_of(wished_runs) or (site, run)
    return _binding(evaluation, (site, run), wished)


def carbon_price_switches(evaluation: Evaluation, site: int, run: int) -> CarbonPriceSwitches:
    """At which carbon prices the answer, `run` at `site`, would change.

    J is a straight line in the carbon price whose slope is the candidate's carbon: a greener candidate
    crosses the answer's line at a higher price, a dirtier one at a lower. The nearest crossing on each side
    counts.
    """
    terms = evaluation.candidates.priced.terms
    gbp_per_g_and_price = terms.weights.carbon / G_PER_T
    if not gbp_per_g_and_price:
        return CarbonPriceSwitches(None, None)
    share = evaluation.carbon_share
    greener = evaluation.feasible & (share < share[site, run])
    dirtier = evaluation.feasible & (share > share[site, run])
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


def _binding(evaluation: Evaluation, answer: tuple[int, int], wished: tuple[int, int]) -> BindingConstraint | None:
    if evaluation.position[wished] >= evaluation.position[answer]:
        return None
    wished_gbp = float(evaluation.objective_gbp[wished])
    return BindingConstraint(
        dc_id=evaluation.candidates.sites.centres[wished[0]].dc_id,
        start=evaluation.runs.start(wished[1]),
        objective_gbp=wished_gbp,
        saving_gbp=float(evaluation.objective_gbp[answer]) - wished_gbp,
        violations=evaluation.feasibility.violations(*wished),
    )
