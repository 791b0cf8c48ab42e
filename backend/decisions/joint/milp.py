"""The best joint plan of all, by mixed-integer programming (SciPy's HiGHS), while the problem is small.

A job that does not pause has a binary variable for each of its options. An interruptible one has a binary variable
for each data centre and for each half-hour it may work in there, and the time it works in it, unless it works in
whole half-hours only. Options that the bound rules out are left away first: an option whose job would pay more at
the bound's prices than it has to, by more than the gap between plan and bound, is in no better plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from decisions.joint.interruptible import PieceOptions
from decisions.joint.lagrangian import ROUNDING, Bound, Relaxation
from decisions.joint.local_search import WorkingPlan
from decisions.joint.options import Options, Placement, RunOptions
from decisions.joint.problem import Assignment, JointProblem
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.runs import HOUR_US, Booleans, Floats

# As many variables as HiGHS usually settles within seconds, and within a fraction of one.
MOST_VARIABLES = 6_000
FEW_VARIABLES = 600
# HiGHS looks at the clock only now and then: its share of the time there is.
TIME_SHARE = 0.85
# The objective is brought to about this size, far above the solver's tolerances.
OBJECTIVE_SIZE = 1e5

# Two statuses of `scipy.optimize.milp`: the second is that its time was up.
OPTIMAL, STOPPED = 0, 1

Reader = Callable[[Floats], Placement | None]
"""Reads a job's placement out of the values of all variables."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver found."""

    plan: Assignment | None
    """The best plan it came by, if any."""
    least: float
    """No plan is below it: in J or, when that was asked for, in the weight left out."""
    finished: bool
    """Whether no plan is better than this one."""


def load_solver() -> None:
    """Import SciPy's solver, which takes a third as long as a server's start: no part of a plan's own time."""
    from scipy import optimize, sparse  # noqa: F401


def best_plan(
    problem: JointProblem, plan: Assignment, bound: Bound, stopwatch: TimeBudget, most_variables: int
) -> Solution | None:
    """The least J of all plans that leave out no more weight than `plan`; None if that takes too many variables."""
    relaxation = Relaxation(problem)
    # What the prices prove: the bound itself may have been raised by other means since, and then rules out too much.
    at_prices = relaxation.reply(bound.prices_gbp_per_kw, bound.leaving_price, plan.left_out_weight)
    gap_gbp = plan.objective_gbp - at_prices.value + ROUNDING * max(1.0, abs(plan.objective_gbp))
    regrets = relaxation.regrets(bound.prices_gbp_per_kw, bound.leaving_price)
    kept = [
        options.half_hours_within(gap_gbp - regret, bound.prices_gbp_per_kw)
        if isinstance(options, PieceOptions)
        else regret <= gap_gbp
        for options, regret in zip(problem.options, regrets, strict=True)
    ]
    if _variables(problem, kept) > most_variables:
        return None
    model = _Model(problem, kept, may_leave=plan.left_out_weight > 0)
    if plan.left_out_weight:
        model.limit_left_out(plan.left_out_weight)
    scale = OBJECTIVE_SIZE / max(abs(plan.objective_gbp), gap_gbp)
    found = model.least_objective(scale, stopwatch)
    least_gbp = max(bound.objective_gbp, min(found.least / scale, plan.objective_gbp))
    return Solution(found.plan, least_gbp, found.finished)


def fewest_left_out(problem: JointProblem, stopwatch: TimeBudget) -> Solution | None:
    """A plan that leaves out the least weight of all; None if that takes too many variables."""
    everything = [_all_kept(options) for options in problem.options]
    if _variables(problem, everything) > MOST_VARIABLES:
        return None
    found = _Model(problem, everything, may_leave=True).least_left_out(stopwatch)
    return Solution(found.plan, max(0.0, float(np.ceil(found.least - 1e-6))), found.finished)


class _Model:
    """The mixed-integer programme, built up job by job."""

    def __init__(self, problem: JointProblem, kept: Sequence[Booleans], *, may_leave: bool) -> None:
        self._problem = problem
        self._costs_gbp: list[float] = []
        self._upper: list[float] = []
        self._whole: list[bool] = []
        self._weights: list[float] = []
        """What each variable adds to the weight left out."""
        self._entries: list[tuple[int, int, float]] = []
        self._rows: list[tuple[float, float]] = []
        self._takers: dict[tuple[int, int], list[tuple[int, int]]] = {}
        """By data centre and half-hour, the variables that take capacity there, and how many watts."""
        self._choices: list[list[tuple[int, Reader]]] = []
        """Of each job, the variables that place it, and how to read where."""
        for options, keep, weight in zip(problem.options, kept, problem.weights, strict=True):
            add = self._add_runs if isinstance(options, RunOptions) else self._add_pieces
            choices = add(options, keep)  # type: ignore[arg-type]
            one_of = [column for column, _ in choices]
            if may_leave:
                one_of.append(self._column(0.0, weight=weight))
            self._row([(column, 1.0) for column in one_of], 1.0, 1.0)
            self._choices.append(choices)
        for (site, half_hour), takers in self._takers.items():
            free_w = int(problem.free_w[site, half_hour])
            if sum(power_w for _, power_w in takers) > free_w:
                free_kw = free_w / 1000
                self._row([(column, power_w / 1000) for column, power_w in takers], -np.inf, free_kw)

    def limit_left_out(self, weight: int) -> None:
        self._row([(column, added) for column, added in enumerate(self._weights) if added], 0.0, weight)

    def least_objective(self, scale: float, stopwatch: TimeBudget) -> Solution:
        return self._solve(np.array(self._costs_gbp) * scale, stopwatch)

    def least_left_out(self, stopwatch: TimeBudget) -> Solution:
        return self._solve(np.array(self._weights), stopwatch)

    def _solve(self, costs: Floats, stopwatch: TimeBudget) -> Solution:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        row, column, value = (np.array(part) for part in zip(*self._entries, strict=True))
        lows, highs = (np.array(part) for part in zip(*self._rows, strict=True))
        matrix = csr_array((value, (row, column)), shape=(len(lows), len(costs)))
        result = milp(
            costs,
            integrality=np.array(self._whole, dtype=np.int64),
            bounds=Bounds(0.0, np.array(self._upper)),
            constraints=LinearConstraint(matrix, lows, highs),
            options={"time_limit": max(0.01, TIME_SHARE * stopwatch.left_s), "mip_rel_gap": 0.0},
        )
        if result.status == STOPPED:
            stopwatch.note_stop()
        dual_bound = getattr(result, "mip_dual_bound", None)
        least = -np.inf if dual_bound is None else float(dual_bound)
        plan = None if result.x is None else self._read(result.x)
        return Solution(plan, least, result.status == OPTIMAL and plan is not None)

    def _read(self, values: Floats) -> Assignment | None:
        """The plan that the variables describe, unless the solver's tolerance let it overfill a place."""
        plan = WorkingPlan(self._problem)
        for number, choices in enumerate(self._choices):
            placement = next((read(values) for column, read in choices if values[column] > 0.5), None)
            if placement is not None:
                plan.put(number, placement)
        return plan.assignment() if (plan.free_w >= 0).all() else None

    def _add_runs(self, options: RunOptions, keep: Booleans) -> list[tuple[int, Reader]]:
        choices: list[tuple[int, Reader]] = []
        for row in np.flatnonzero(keep):
            placement = options.placement(int(row))
            column = self._column(placement.objective_gbp)
            covered = placement.half_hours
            for half_hour in range(covered.start, covered.stop) if isinstance(covered, slice) else covered:
                self._takers.setdefault((placement.site, half_hour), []).append((column, options.power_w))
            choices.append((column, partial(_the_placement, placement)))
        return choices

    def _add_pieces(self, options: PieceOptions, keep: Booleans) -> list[tuple[int, Reader]]:
        choices: list[tuple[int, Reader]] = []
        whole = options.in_whole_half_hours()
        for row in np.flatnonzero(keep.any(axis=1)):
            site = int(options.sites[row])
            chosen = self._column(options.constant_gbp)
            works, hours = [(chosen, -options.need_us / HOUR_US)], []
            costs = [(chosen, -(options.limit_gbp or 0.0))]
            for half_hour in np.flatnonzero(keep[row]):
                available_h = float(options.available_us[row, half_hour]) / HOUR_US
                rate_gbp_per_h = float(options.rate_gbp_per_h[row, half_hour])
                if whole[row]:
                    # The time in units of the half-hour, so that one variable is both.
                    runs = self._column(rate_gbp_per_h * available_h)
                    self._row([(runs, 1.0), (chosen, -1.0)], -np.inf, 0.0)
                    works.append((runs, available_h))
                else:
                    runs = self._column(0.0)
                    time = self._column(rate_gbp_per_h, upper=available_h, whole=False)
                    self._row([(time, 1.0), (runs, -available_h)], -np.inf, 0.0)
                    self._row([(time, 1.0), (chosen, -available_h)], -np.inf, 0.0)
                    works.append((time, 1.0))
                    costs.append((time, float(options.cost_gbp_per_h[row, half_hour])))
                self._takers.setdefault((site, int(half_hour)), []).append((runs, options.power_w))
                hours.append((int(half_hour), runs))
            self._row(works, 0.0, 0.0)
            if options.limit_gbp is not None:
                self._row(costs, -np.inf, 0.0)
            choices.append((chosen, partial(_in_these_half_hours, options, site, hours)))
        return choices

    def _column(self, cost_gbp: float, *, upper: float = 1.0, whole: bool = True, weight: float = 0.0) -> int:
        self._costs_gbp.append(cost_gbp)
        self._upper.append(upper)
        self._whole.append(whole)
        self._weights.append(weight)
        return len(self._costs_gbp) - 1

    def _row(self, terms: Iterable[tuple[int, float]], low: float, high: float) -> None:
        self._entries += [(len(self._rows), column, value) for column, value in terms]
        self._rows.append((low, high))


def _the_placement(placement: Placement, values: Floats) -> Placement:  # noqa: ARG001 - a Reader
    return placement


def _in_these_half_hours(
    options: PieceOptions, site: int, hours: Sequence[tuple[int, int]], values: Floats
) -> Placement | None:
    half_hours = np.zeros(options.available_us.shape[1], dtype=np.bool_)
    half_hours[[half_hour for half_hour, column in hours if values[column] > 0.5]] = True
    return options.cheapest_within(site, half_hours)


def _variables(problem: JointProblem, kept: Sequence[Booleans]) -> int:
    """How many variables the jobs take."""
    return sum(map(_variables_of_job, problem.options, kept))


def _variables_of_job(options: Options, keep: Booleans) -> int:
    if isinstance(options, PieceOptions):
        half_hours = np.count_nonzero(keep, axis=1)
        return int((half_hours * np.where(options.in_whole_half_hours(), 1, 2) + (half_hours > 0)).sum())
    return int(keep.sum())


def _all_kept(options: Options) -> Booleans:
    return options.available_us > 0 if isinstance(options, PieceOptions) else np.ones(options.count, dtype=np.bool_)
