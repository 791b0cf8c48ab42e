"""Joint plans: a place and a start for each of up to 500 workloads under the data centres' capacity. Pure.

`docs/joint_plans.md` says what is planned, how, and what the answer certifies. `problem` poses the problem,
`solver` solves it, and here the solution becomes an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from decisions.joint.baselines import Baseline, run_now_at_greenest, run_now_at_home
from decisions.joint.local_search import WorkingPlan
from decisions.joint.milp import load_solver
from decisions.joint.options import Placement
from decisions.joint.problem import Job, JointProblem, PlanInputs, PosedJob, pose_problem
from decisions.joint.solver import Method, Solved, solve
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.feasibility import Constraint, Violation
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Terms
from decisions.scoring.run_totals import Outcome, Totals
from decisions.scoring.runs import Floats
from vocabulary import Policy

DEFAULT_TIME_LIMIT_S = 10.0
# What the solver may use of the time; the rest is for posing the problem and writing the answer.
SOLVER_SHARE = 0.9


@dataclass(frozen=True)
class Preferred:
    """Where and when a job would run if it were alone, and what the capacity there is worth to the others."""

    dc_id: str
    start: datetime
    objective_gbp: float
    capacity_price_gbp: float


@dataclass(frozen=True)
class PlacedJob:
    """A job with its place and time."""

    job: Job
    dc_id: str
    outcome: Outcome
    capacity_price_gbp: float
    """What the capacity that it takes is worth by the prices of capacity; no part of its J."""
    wish: Preferred | None
    """Where it would rather be; None where it is there."""

    @property
    def start(self) -> datetime:
        return self.outcome.stretches[0].start

    @property
    def end(self) -> datetime:
        return self.outcome.stretches[-1].end


@dataclass(frozen=True)
class LeftOutJob:
    """A job without a place, and what stands in its way where that is least."""

    job: Job
    dc_id: str | None
    """None where there is no data centre at all."""
    violations: tuple[Violation, ...]
    for_capacity: bool
    """Whether it is the other jobs that take its place, and not its own constraints."""


@dataclass(frozen=True, eq=False)
class SiteCapacity:
    """One data centre's IT power by half-hour, from `JointPlan.origin` on."""

    dc_id: str
    free_kw: Floats
    """Before the plan."""
    used_kw: Floats
    price_gbp_per_kw: Floats
    """What one more kilowatt in a half-hour would be worth to the plan, £."""


@dataclass(frozen=True)
class Comparison:
    """A baseline, and the plan over the same jobs."""

    baseline: Totals
    plan: Totals
    breaking: int
    """How many of all the baseline's runs break a constraint of their own job."""
    overfull: int
    """In how many half-hours of data centres they take more power than is free: the price of not planning."""
    not_run: int
    """How many jobs of all the baseline runs nowhere: no data centre, no room, or an unknown signal."""


@dataclass(frozen=True, eq=False)
class JointPlan:
    """The plan, how good it is, and what would happen without it."""

    as_of: datetime
    origin: datetime
    """Start of the first half-hour."""
    jobs: tuple[PlacedJob | LeftOutJob, ...]
    """In the order in which they were given."""
    totals: Totals
    method: Method
    bound_gbp: float
    """No plan that leaves out as little has a smaller J."""
    left_out_weight: int
    """Of the jobs left out for capacity."""
    least_left_out_weight: int
    """No plan leaves out less."""
    cut_short: bool
    """Whether the time limit ended the search, so that the same question may be answered otherwise another time."""
    elapsed_s: float
    capacity: tuple[SiteCapacity, ...]
    run_now_at_home: Comparison
    run_now_at_greenest: Comparison

    @property
    def gap_gbp(self) -> float:
        """How much J could be less at most."""
        return max(0.0, self.totals.objective_gbp - self.bound_gbp)

    @property
    def gap(self) -> float | None:
        """The same as a share of the bound; None where the bound is not above 0 and the gap is."""
        if self.method is not Method.SEARCH or not self.gap_gbp:
            return 0.0
        return self.gap_gbp / self.bound_gbp if self.bound_gbp > 0 else None


def plan_jointly(
    jobs: Sequence[Job],
    surroundings: PlanInputs,
    *,
    monotonic: Callable[[], float],
    policy: Policy = Policy.BALANCED,
    carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> JointPlan:
    """Place jobs so that as little as possible is left out and the sum of their J is as small as can be found.

    The same jobs and surroundings get the same plan, in whatever order they come, unless time cut the search short.

    Args:
        jobs: up to 500, each with a job_id of its own.
        surroundings: the moment, the grid's signals from it on, and the data centres.
        monotonic: a clock in seconds that never goes back; only the time limit is read from it.
        policy: the weights of the parts of J.
        carbon_price_gbp_per_t: what a tonne of CO2 counts for, £/tCO2, 0 or more.
        time_limit_s: when the answer is due.

    Raises:
        ValueError: two jobs share a job_id, or the carbon price is negative or not a number.
        ProblemTooLarge: there are too many jobs, or too many for so many data centres.
    """
    load_solver()
    stopwatch = TimeBudget(monotonic, time_limit_s)
    problem = pose_problem(jobs, surroundings, Terms.of(policy, carbon_price_gbp_per_t))
    solver_stopwatch = stopwatch.part(SOLVER_SHARE)
    solved = solve(problem, solver_stopwatch)
    answers = _answers(problem, solved)
    placed = {number: one.outcome for number, one in enumerate(answers) if isinstance(one, PlacedJob)}
    by_job_id = {one.job.task.job_id: one for one in answers}
    return JointPlan(
        as_of=surroundings.as_of,
        origin=surroundings.signals.origin,
        jobs=tuple(by_job_id[job.task.job_id] for job in jobs),
        totals=Totals.of(placed.values()),
        method=solved.method,
        bound_gbp=solved.bound.objective_gbp,
        left_out_weight=solved.plan.left_out_weight,
        least_left_out_weight=solved.least_left_out,
        cut_short=stopwatch.cut_short,
        capacity=_capacity(problem, solved),
        run_now_at_home=_compare(placed, run_now_at_home(problem), len(jobs)),
        run_now_at_greenest=_compare(placed, run_now_at_greenest(problem), len(jobs)),
        elapsed_s=stopwatch.elapsed_s,
    )


def _answers(problem: JointProblem, solved: Solved) -> list[PlacedJob | LeftOutJob]:
    """What became of each job, in the problem's order."""
    plan = WorkingPlan(problem, solved.plan.placements)
    unused_w = problem.free_w
    numbers = iter(range(len(problem.placeable)))
    answers: list[PlacedJob | LeftOutJob] = []
    for posed in problem.posed:
        if posed.options is None:
            dc_id = None if posed.nearest_site is None else _dc_id(problem, posed.nearest_site)
            answers.append(LeftOutJob(posed.job, dc_id, posed.violations, for_capacity=False))
            continue
        placement = solved.plan.placements[next(numbers)]
        alone = posed.options.cheapest(unused_w)
        if alone is None:
            raise AssertionError("a job with options fits somewhere when it is alone")
        if placement is None:
            answers.append(_crowded_out(problem, posed, alone, plan))
        else:
            answers.append(_placed(problem, solved, posed, placement, alone))
    return answers


def _placed(
    problem: JointProblem, solved: Solved, posed: PosedJob, placement: Placement, alone: Placement
) -> PlacedJob:
    options = posed.options
    if options is None:
        raise AssertionError("only a job with options is placed")

    def priced_gbp(at: Placement) -> float:
        prices = solved.bound.prices_gbp_per_kw[at.site, at.half_hours]
        return float(prices.sum()) * options.power_w / 1000

    wish = None
    if alone.objective_gbp < placement.objective_gbp:
        start = options.outcome(alone).stretches[0].start
        wish = Preferred(_dc_id(problem, alone.site), start, alone.objective_gbp, priced_gbp(alone))
    outcome = options.outcome(placement)
    return PlacedJob(posed.job, _dc_id(problem, placement.site), outcome, priced_gbp(placement), wish)


def _crowded_out(problem: JointProblem, posed: PosedJob, alone: Placement, plan: WorkingPlan) -> LeftOutJob:
    """What is missing where the job would be best alone."""
    options = posed.options
    if options is None:
        raise AssertionError("only a job with options is crowded out")
    dc_id, start = _dc_id(problem, alone.site), options.outcome(alone).stretches[0].start
    needed_mw = options.power_w / 1e6
    left_mw = float(plan.free_w[alone.site, alone.half_hours].min()) / 1e6
    message = (
        f"it needs {needed_mw:.3g} MW of IT power, but where it would be best off on its own the other jobs of the "
        f"plan leave only {left_mw:.3g} MW"
    )
    violation = Violation(Constraint.FREE_CAPACITY, needed_mw, left_mw, "MW", message, start)
    return LeftOutJob(posed.job, dc_id, (violation,), for_capacity=True)


def _capacity(problem: JointProblem, solved: Solved) -> tuple[SiteCapacity, ...]:
    plan = WorkingPlan(problem, solved.plan.placements)
    used_kw = (problem.free_w - plan.free_w) / 1000
    return tuple(
        SiteCapacity(centre.dc_id, problem.free_w[site] / 1000, used_kw[site], solved.bound.prices_gbp_per_kw[site])
        for site, centre in enumerate(problem.sites.centres)
    )


def _compare(placed: dict[int, Outcome], baseline: Baseline, jobs: int) -> Comparison:
    """Both over the jobs that run in both, so that leaving out saves nothing."""
    both = sorted(placed.keys() & baseline.outcomes.keys())
    return Comparison(
        baseline=Totals.of(baseline.outcomes[number] for number in both),
        plan=Totals.of(placed[number] for number in both),
        breaking=baseline.breaking,
        overfull=baseline.overfull,
        not_run=jobs - len(baseline.outcomes),
    )


def _dc_id(problem: JointProblem, site: int) -> str:
    return problem.sites.centres[site].dc_id
