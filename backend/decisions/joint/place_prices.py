"""What a kilowatt is worth in each half-hour to the work that competes for it. Pure.

The prices are those of the joint plan of that work (`lagrangian`): what one more kilowatt would save. Where everybody
has room where it is best alone, nobody competes and every price is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from decisions.joint.local_search import each_alone
from decisions.joint.milp import load_solver
from decisions.joint.problem import Job, JointProblem, PlanInputs, pose_problem
from decisions.joint.solver import Method, solve
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.objective import Terms
from decisions.scoring.runs import Floats

# £ per kW are kept to so many decimals: far below a penny for the largest job.
PRICE_DECIMALS = 9


@dataclass(frozen=True)
class PlacePrices:
    """Prices of IT power by data centre and half-hour, £ per kW.

    `gbp_per_kw`: by dc_id, from the i-th half-hour from `start` on; only changes, and only data centres that are
    worth anything in some half-hour.
    """

    start: datetime
    half_hours: int
    workloads: int
    left_out: int
    """How many that have an option by themselves find no room beside the others."""
    method: Method
    gbp_per_kw: Mapping[str, tuple[tuple[int, float], ...]]


def price_places(
    jobs: Sequence[Job],
    surroundings: PlanInputs,
    terms: Terms,
    *,
    monotonic: Callable[[], float],
    time_limit_s: float,
) -> PlacePrices:
    """Plan jobs together and say what capacity is worth to them.

    Raises:
        ValueError: two jobs share a job_id.
        ProblemTooLarge: there are too many jobs, or too many for so many data centres.
    """
    problem = pose_problem(jobs, surroundings, terms)

    def priced(left_out: int, method: Method, gbp_per_kw: Mapping[str, tuple[tuple[int, float], ...]]) -> PlacePrices:
        return PlacePrices(surroundings.signals.origin, problem.half_hours, len(jobs), left_out, method, gbp_per_kw)

    if each_alone(problem) is not None:
        return priced(0, Method.ALONE, {})  # and the solver, which is large, is not even loaded
    load_solver()
    solved = solve(problem, TimeBudget(monotonic, time_limit_s))
    left_out = sum(placement is None for placement in solved.plan.placements)
    return priced(left_out, solved.method, _by_data_centre(problem, solved.bound.prices_gbp_per_kw))


def _by_data_centre(problem: JointProblem, prices_gbp_per_kw: Floats) -> dict[str, tuple[tuple[int, float], ...]]:
    rows = prices_gbp_per_kw.clip(min=0.0).round(PRICE_DECIMALS).tolist()
    steps = {centre.dc_id: _steps(row) for centre, row in zip(problem.sites.centres, rows, strict=True)}
    return {dc_id: changes for dc_id, changes in steps.items() if changes != ((0, 0.0),)}


def _steps(row: Sequence[float]) -> tuple[tuple[int, float], ...]:
    before = (None, *row[:-1])
    return tuple((at, price) for at, (price, last) in enumerate(zip(row, before, strict=True)) if price != last)
