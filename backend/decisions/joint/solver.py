"""How a joint plan is found: exactly while the problem is small, else well and with proof of how well.

In this order, each step only as far as the one before leaves something open and there is time:

1. every job where it is best alone, if there is room for all: then no plan is better;
2. the biggest jobs first, each to its best place with room;
3. if that leaves jobs out, a bound on how little can be left out, and the exact solution or a search for it;
4. the bound on J and the prices of capacity, and another plan in which jobs mind those prices;
5. the exact solution, among the options that the bound leaves in question, if those are very few;
6. a local search, and then the exact solution if the better plan leaves few enough in question;
7. without it, the rest of the local search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from decisions.joint.lagrangian import ROUNDING, Bound, bound_left_out, bound_plan
from decisions.joint.local_search import LocalSearch, each_alone, greedy
from decisions.joint.milp import FEW_VARIABLES, MOST_VARIABLES, best_plan, fewest_left_out
from decisions.joint.problem import Assignment, JointProblem
from decisions.joint.time_budget import TimeBudget
from vocabulary import StrEnum

# Shares of the time left that each step may take.
LEFT_OUT_SHARE = 0.2
BOUND_SHARE = 0.4
QUICK_EXACT_SHARE = 0.3
SEARCH_SHARE = 0.5


class Method(StrEnum):
    """How the plan was found, and thereby what is known of it."""

    ALONE = "each_alone"
    EXACT = "exact"
    SEARCH = "search"


@dataclass(frozen=True, eq=False)
class Solved:
    """A plan, and what no plan can beat."""

    plan: Assignment
    bound: Bound
    least_left_out: int
    """A weight that every plan leaves out at least."""
    method: Method


def solve(problem: JointProblem, stopwatch: TimeBudget) -> Solved:
    """The best plan that is found in the time there is."""
    alone = each_alone(problem)
    if alone is not None:
        no_prices = np.zeros((len(problem.sites), problem.half_hours))
        return Solved(alone, Bound(alone.objective_gbp, no_prices, np.inf), 0, Method.ALONE)
    plan, least_left_out = _leave_out_little(problem, greedy(problem), stopwatch)
    bound = bound_plan(problem, plan, stopwatch.part(BOUND_SHARE))
    solved = Solved(plan, bound, least_left_out, Method.SEARCH)
    solved = _with(solved, greedy(problem, bound.prices_gbp_per_kw))
    solved = _exactly(problem, solved, stopwatch.part(QUICK_EXACT_SHARE), FEW_VARIABLES)
    if solved.method is not Method.EXACT:
        search = LocalSearch(problem, solved.plan)
        solved = _searched(problem, solved, search, stopwatch, SEARCH_SHARE)
        solved = _exactly(problem, solved, stopwatch, MOST_VARIABLES)
        if solved.method is not Method.EXACT:
            solved = _searched(problem, solved, search, stopwatch, 1.0)
    return solved


def _searched(
    problem: JointProblem, solved: Solved, search: LocalSearch, stopwatch: TimeBudget, share: float
) -> Solved:
    """With the plan that the search has come to, if that is better."""
    better = search.run(stopwatch.part(share), partial(_is_the_best, solved))
    if better.left_out_weight < solved.plan.left_out_weight:
        # The bound was one on plans that leave out as much as before.
        part = stopwatch.part(BOUND_SHARE)
        solved = replace(solved, bound=bound_plan(problem, better, part, start=solved.bound))
    return _with(solved, better)


def _leave_out_little(problem: JointProblem, plan: Assignment, stopwatch: TimeBudget) -> tuple[Assignment, int]:
    """A plan that leaves out little, and the weight that every plan leaves out at least."""
    least = bound_left_out(problem, plan, stopwatch.part(LEFT_OUT_SHARE))
    if least == plan.left_out_weight:
        return plan, least
    solution = fewest_left_out(problem, stopwatch.part(LEFT_OUT_SHARE))
    if solution is not None:
        least = max(least, int(solution.least))
        plan = solution.plan if solution.plan is not None and solution.plan.better_than(plan) else plan
    if least < plan.left_out_weight:
        part = stopwatch.part(LEFT_OUT_SHARE)
        plan = LocalSearch(problem, plan).run(part, lambda found: found.left_out_weight == least)
    return plan, least


def _exactly(problem: JointProblem, solved: Solved, stopwatch: TimeBudget, most_variables: int) -> Solved:
    """The exact solution where it is to be had. It is one only of plans that leave out the least there can be."""
    if _closes(solved.plan, solved.bound):
        return _proven(solved)
    if stopwatch.is_over():
        return solved
    solution = best_plan(problem, solved.plan, solved.bound, stopwatch, most_variables)
    if solution is None:
        return solved
    solved = _with(solved, solution.plan) if solution.plan is not None else solved
    if solution.finished:
        return _proven(solved)
    return replace(solved, bound=replace(solved.bound, objective_gbp=solution.least))


def _with(solved: Solved, plan: Assignment) -> Solved:
    return replace(solved, plan=plan) if plan.better_than(solved.plan) else solved


def _closes(plan: Assignment, bound: Bound) -> bool:
    return plan.objective_gbp - bound.objective_gbp <= ROUNDING * max(1.0, abs(plan.objective_gbp))


def _is_the_best(solved: Solved, plan: Assignment) -> bool:
    return plan.left_out_weight == solved.least_left_out and _closes(plan, solved.bound)


def _proven(solved: Solved) -> Solved:
    """Nothing is better at this weight left out; that this weight is the least must be known too."""
    exact = solved.plan.left_out_weight == solved.least_left_out
    bound = replace(solved.bound, objective_gbp=solved.plan.objective_gbp)
    return replace(solved, bound=bound, method=Method.EXACT if exact else solved.method)
