"""What no joint plan can beat, and what a place in a half-hour is worth: the Lagrangian dual of the plan.

Give capacity a price in every half-hour and let each job choose alone, paying its J and for the capacity it takes.
What the jobs pay together, less what all capacity is worth, is no more than the J of any plan that keeps the
capacities, whatever the prices (weak duality):

    bound(prices) = Σ_jobs min_options (J + Σ power x price) - Σ free capacity x price

So every evaluation is a certificate by itself, and no solver's tolerance enters it. The greatest such bound is that
of the linear programme in which jobs may be split between their options, and its prices are the capacity duals of
that programme. It is climbed by subgradients: where more is taken than is free, the price rises (Held and Karp 1971,
with Polyak's step).

Leaving out is priced in the same way: a job may pay its weight x the price of leaving out instead, and the weight
that the plan leaves out is given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from decisions.joint.interruptible import PieceOptions
from decisions.joint.option_tables import PieceRows, Rows, RunRows
from decisions.joint.options import RunOptions
from decisions.joint.problem import Assignment, JointProblem
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.runs import Booleans, Floats, Integers

MOST_ROUNDS = 600
LEFT_OUT_ROUNDS = 100
UNIFORM_PRICES = np.linspace(0, 1, 17)
# After this many rounds without progress (a share of what is missing) the steps get shorter, by this factor, down to
# this length.
PATIENCE = 15
LEAST_PROGRESS = 1e-5
SHORTENING = 0.6
SHORTEST_STEP = 0.003
# How much of the last direction is kept: it damps the zigzag.
MOMENTUM = 0.7

# How far beyond its best option a job looks at least.
LEAST_REACH_GBP = 1e-9

# A bound this close to the plan, relatively, is the rounding of floating point.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Bound:
    """No plan that leaves out as little has a smaller J; and the prices that prove it."""

    objective_gbp: float
    prices_gbp_per_kw: Floats
    """Price of a kilowatt of IT power in each half-hour, shape (data centres, half-hours)."""
    leaving_price: float
    """Price of leaving out a weight of 1; infinite where nothing is left out."""


@dataclass(frozen=True, eq=False)
class Reply:
    """What the jobs choose at some prices."""

    value: float
    taken_kw: Floats
    left_out: float
    """The weight that stays away."""


class Relaxation:
    """The jobs of a problem, each choosing alone."""

    def __init__(self, problem: JointProblem, *, counting_money: bool = True) -> None:
        """Without money every option's J is 0: what is left is how much must be left out."""
        self.free_kw: Floats = problem.free_w / 1000
        self._weights = np.array(problem.weights, dtype=np.float64)
        options = problem.options
        runs = [(number, one) for number, one in enumerate(options) if isinstance(one, RunOptions)]
        pieces = [(number, one) for number, one in enumerate(options) if isinstance(one, PieceOptions)]
        no_prices = np.zeros_like(self.free_kw)
        self._tables: list[_Table] = []
        if runs:
            run_rows = RunRows.of([one for _, one in runs], counting_money)
            counts = [one.count for _, one in runs]
            self._tables.append(_Table([number for number, _ in runs], counts, run_rows, no_prices))
        if pieces:
            piece_rows = PieceRows.of([one for _, one in pieces], counting_money)
            counts = [len(one.sites) for _, one in pieces]
            self._tables.append(_Table([number for number, _ in pieces], counts, piece_rows, no_prices))

    def reply(self, prices_gbp_per_kw: Floats, leaving_price: float = np.inf, left_out_weight: int = 0) -> Reply:
        """The bound at these prices, which are 0 or more, on plans that leave out no more weight than this.

        An infinite price of leaving out forbids it.
        """
        least = np.empty(len(self._weights))
        for table in self._tables:
            least[table.jobs] = table.least(prices_gbp_per_kw)
        leaving = self._weights * leaving_price
        stays_away = leaving < least
        taken_kw = np.zeros_like(self.free_kw)
        for table in self._tables:
            table.take(taken_kw, ~stays_away[table.jobs], prices_gbp_per_kw)
        worth = float((prices_gbp_per_kw * self.free_kw).sum())
        given_back = leaving_price * left_out_weight if left_out_weight else 0.0
        value = float(np.minimum(least, leaving).sum()) - given_back - worth
        return Reply(value, taken_kw, float(self._weights[stays_away].sum()))

    def regrets(self, prices_gbp_per_kw: Floats, leaving_price: float) -> list[Floats]:
        """How much more each option of each job pays at these prices than the job has to."""
        regrets: list[Floats] = [np.zeros(0)] * len(self._weights)
        for table in self._tables:
            for number, paid in table.paid_by_job(prices_gbp_per_kw):
                regrets[number] = paid - min(float(paid.min()), float(self._weights[number]) * leaving_price)
        return regrets


class _Table:
    """Options of several jobs, those of a job together, and what each job chose last.

    Only the options near to each job's best are looked at: those that without prices would cost no more than some
    reach. Prices are 0 or more, so while the least that a job pays is within its reach, none further off costs less.
    """

    def __init__(self, jobs: Sequence[int], counts: Sequence[int], rows: Rows, no_prices: Floats) -> None:
        self.jobs = np.array(jobs, dtype=np.int64)
        self._rows = rows
        self._job: Integers = np.repeat(np.arange(len(counts)), counts)
        self._begins: Integers = np.cumsum(np.array(counts, dtype=np.int64)) - counts
        self._unpriced = rows.paid(no_prices)
        self._best_unpriced: Floats = np.minimum.reduceat(self._unpriced, self._begins)
        self._widen(self._best_unpriced)

    def least(self, prices_gbp_per_kw: Floats) -> Floats:
        """What each job pays at least; it chooses the first option for which it does."""
        while True:
            paid = self._near.paid(prices_gbp_per_kw)
            least: Floats = np.minimum.reduceat(paid, self._near_begins)
            if (least <= self._reach).all():
                break
            self._widen(least)
        rows = np.flatnonzero(paid == least[self._near_job])
        self._chosen = rows[np.concatenate(([True], np.diff(self._near_job[rows]) > 0))]
        return least

    def take(self, taken_kw: Floats, coming: Booleans, prices_gbp_per_kw: Floats) -> None:
        """Add the capacity that the coming jobs take with what they chose at these prices."""
        self._near.take(taken_kw, self._chosen[coming], prices_gbp_per_kw)

    def paid_by_job(self, prices_gbp_per_kw: Floats) -> Iterator[tuple[int, Floats]]:
        """Each job's number, and what it would pay for each of its options."""
        parts = np.split(self._rows.paid(prices_gbp_per_kw), self._begins[1:])
        yield from zip(self.jobs.tolist(), parts, strict=True)

    def _widen(self, least: Floats) -> None:
        self._reach = self._best_unpriced + 2 * (least - self._best_unpriced) + LEAST_REACH_GBP
        near = self._unpriced <= self._reach[self._job]
        self._near = self._rows.some(near)
        self._near_job = self._job[near]
        self._near_begins = np.flatnonzero(np.concatenate(([True], np.diff(self._near_job) > 0)))


def bound_plan(problem: JointProblem, plan: Assignment, stopwatch: TimeBudget, start: Bound | None = None) -> Bound:
    """The greatest bound on the J of plans that leave out no more weight than `plan`, found in the time there is.

    `start` is a bound that was found for another plan: its prices are where the search begins.
    """
    if start is None:
        dearest_gbp = max((placement.objective_gbp for placement in plan.placements if placement), default=0.0)
        leaving_price = max(0.0, dearest_gbp) if plan.left_out_weight else np.inf
        start = Bound(-np.inf, np.zeros((len(problem.sites), problem.half_hours)), leaving_price)
    bound = _climb(Relaxation(problem), plan.objective_gbp, plan.left_out_weight, start, stopwatch)
    return replace(bound, objective_gbp=min(bound.objective_gbp, plan.objective_gbp))


def bound_left_out(problem: JointProblem, plan: Assignment, stopwatch: TimeBudget) -> int:
    """A weight that every plan leaves out at least."""
    if plan.left_out_weight == 0:
        return 0
    relaxation = Relaxation(problem, counting_money=False)
    start = _best_uniform_price(problem, relaxation)
    upper = float(plan.left_out_weight)
    least = _climb(relaxation, upper, 0, start, stopwatch, LEFT_OUT_ROUNDS).objective_gbp
    # Weights are whole numbers.
    return min(plan.left_out_weight, max(0, int(np.ceil(least - 1e-6))))


def _best_uniform_price(problem: JointProblem, relaxation: Relaxation) -> Bound:
    """The best bound on the weight left out with one price for all capacity: a fractional knapsack's.

    The price is one at which some job is as well left out as it pays for its work.
    """
    work_kwh = np.array([options.work_kwh for options in problem.options])
    weight_per_kwh = np.array(problem.weights) / np.maximum(work_kwh, 1e-9)
    prices = [np.full(relaxation.free_kw.shape, price / 2) for price in np.quantile(weight_per_kwh, UNIFORM_PRICES)]
    values = [relaxation.reply(price, 1.0).value for price in prices]
    best = int(np.argmax(values))
    return Bound(values[best], prices[best], 1.0)


def _climb(
    relaxation: Relaxation,
    upper: float,
    left_out_weight: int,
    start: Bound,
    stopwatch: TimeBudget,
    most_rounds: int = MOST_ROUNDS,
) -> Bound:
    """Subgradient ascent towards `upper`: the greatest bound found.

    Capacity prices move in pounds for the whole of a data centre's free capacity, so that large and small ones move
    alike. With a weight to leave out its price moves too, as the last element.
    """
    free_kw = relaxation.free_kw
    scale = np.where(free_kw > 0, free_kw, 1.0)
    point = np.append((start.prices_gbp_per_kw * scale).ravel(), start.leaving_price)
    best, best_point = -np.inf, point
    direction, step, idle = np.zeros(0), 1.0, 0
    for _ in range(most_rounds):
        prices = point[:-1].reshape(free_kw.shape) / scale
        reply = relaxation.reply(prices, float(point[-1]), left_out_weight)
        idle = 0 if reply.value > best + LEAST_PROGRESS * (upper - best) else idle + 1
        if reply.value > best:
            best, best_point = reply.value, point
        if upper - best <= ROUNDING * max(1.0, abs(upper)) or step < SHORTEST_STEP or stopwatch.is_over():
            break
        if idle >= PATIENCE:
            point, direction, step, idle = best_point, np.zeros(0), step * SHORTENING, 0
            continue
        over = np.where(free_kw > 0, (reply.taken_kw - free_kw) / scale, 0.0)
        gradient = np.append(over.ravel(), reply.left_out - left_out_weight if left_out_weight else 0.0)
        gradient[(point <= 0) & (gradient < 0)] = 0.0
        direction = MOMENTUM * direction + (1 - MOMENTUM) * gradient if len(direction) else gradient
        length = float(direction @ direction)
        if length == 0:
            break
        point = np.maximum(0.0, point + step * (upper - reply.value) / length * direction)
    return Bound(best, best_point[:-1].reshape(free_kw.shape) / scale, float(best_point[-1]))
