"""Joint plans equal exhaustive search while they are small, and prove how good they are when they are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON, a_context, random_context
from decisions.joint.lagrangian import Relaxation, bound_left_out, bound_plan
from decisions.joint.local_search import WorkingPlan, greedy
from decisions.joint.milp import MOST_VARIABLES, best_plan
from decisions.joint.options import RunOptions
from decisions.joint.plan import JointPlan, LeftOutJob, PlacedJob, plan_jointly
from decisions.joint.problem import (
    MOST_CANDIDATES,
    MOST_JOBS,
    Job,
    PlanInputs,
    ProblemTooLarge,
    pose_problem,
    whole_watts,
)
from decisions.joint.solver import Method
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.capacity import free_kw_of
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from decisions.scoring.feasibility import NO_RUN_STRESS
from decisions.scoring.objective import Terms
from joint_cases import WEIGHTS, Case, a_job, a_site, exhaustive_best, random_case, surroundings
from vocabulary import Policy, Urgency

seeds = st.integers(min_value=0, max_value=2**32)


def no_time_passes() -> float:
    return 0.0


def planned(jobs: list[Job], where: PlanInputs, **options: Any) -> JointPlan:
    """A plan with more time than anything here takes, on a machine however slow."""
    return plan_jointly(jobs, where, **{"monotonic": no_time_passes, "time_limit_s": 10_000, **options})


def placed(plan: JointPlan, job_id: str) -> PlacedJob:
    (found,) = (one for one in plan.jobs if one.job.task.job_id == job_id)
    assert isinstance(found, PlacedJob), found
    return found


def left_out(plan: JointPlan, job_id: str) -> LeftOutJob:
    (found,) = (one for one in plan.jobs if one.job.task.job_id == job_id)
    assert isinstance(found, LeftOutJob), found
    return found


def places(plan: JointPlan) -> dict[str, object]:
    return {
        one.job.task.job_id: (one.dc_id, one.outcome.stretches) if isinstance(one, PlacedJob) else None
        for one in plan.jobs
    }


def crowded(jobs: int, seed: int = 0, *, interruptible: float = 0.0) -> tuple[list[Job], PlanInputs]:
    """Many jobs that want the same cheap hours of the next day in three places."""
    rng = random.Random(seed)
    hours = [100 + 80 * ((number // 8) % 3) + rng.randint(0, 20) for number in range(48)]
    context = a_context(
        price=hours,
        carbon={region: [rng.randint(0, 300) for _ in range(48)] for region in (1, 2, 3)},
        centres=[a_site(f"DC-{region}", kw=jobs / 3, region_id=region) for region in (1, 2, 3)],
    )
    made = [
        a_job(
            f"job-{number:03d}",
            minutes=30 * rng.randint(1, 10),
            kw=rng.choice([0.5, 1, 2, 4]),
            deferral_window_mins=60 * rng.randint(4, 20),
            interruptible=rng.random() < interruptible,
        )
        for number in range(jobs)
    ]
    return made, surroundings(context)


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_plans_of_up_to_six_jobs_equal_exhaustive_search(seed: int) -> None:
    equals_exhaustive_search(random_case(seed, most_jobs=6, half_hours=6))


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_plans_with_interruptible_jobs_equal_exhaustive_search(seed: int) -> None:
    equals_exhaustive_search(random_case(seed, most_jobs=4, half_hours=7, interruptible=0.6))


def equals_exhaustive_search(case: Case) -> None:
    weight, objective_gbp = exhaustive_best(case)
    plan = planned(case.jobs, case.surroundings())
    assert plan.left_out_weight == plan.least_left_out_weight == weight
    assert plan.totals.objective_gbp == pytest.approx(objective_gbp, abs=1e-9)
    assert plan.method in (Method.ALONE, Method.EXACT)
    assert plan.gap == 0
    assert not plan.cut_short
    keeps_all_constraints(plan, case.context.data_centres, case.surroundings())


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_no_prices_whatever_bound_more_than_the_best_plan(seed: int) -> None:
    case = random_case(seed, most_jobs=5, half_hours=6, interruptible=0.3)
    weight, objective_gbp = exhaustive_best(case)
    problem = pose_problem(case.jobs, case.surroundings(), Terms.of(Policy.BALANCED))
    if not problem.placeable:
        return
    rng = np.random.default_rng(seed)
    for scale in (0.0, 0.01, 0.1, 1.0):
        prices = scale * rng.exponential(size=(len(problem.sites), problem.half_hours)) * rng.integers(0, 2)
        leaving_price = float(rng.exponential()) if weight else np.inf
        reply = Relaxation(problem).reply(prices, leaving_price, weight)
        assert reply.value <= objective_gbp + 1e-9


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_the_bounds_never_exceed_an_exact_answer(seed: int) -> None:
    case = random_case(seed, most_jobs=5, half_hours=6, interruptible=0.3)
    weight, objective_gbp = exhaustive_best(case)
    problem = pose_problem(case.jobs, case.surroundings(), Terms.of(Policy.BALANCED))
    if not problem.placeable:
        return
    plan = greedy(problem)
    assert bound_left_out(problem, plan, TimeBudget(no_time_passes, 1)) <= weight
    if plan.left_out_weight == weight:
        assert bound_plan(problem, plan, TimeBudget(no_time_passes, 1)).objective_gbp <= objective_gbp + 1e-9


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_exact_plans_are_the_best_of_all_however_much_the_bound_was_raised_meanwhile(seed: int) -> None:
    """What the prices rule out is ruled out by what they prove, not by a bound that was found otherwise."""
    case = random_case(seed, most_jobs=6, half_hours=6, interruptible=0.3)
    weight, objective_gbp = exhaustive_best(case)
    problem = pose_problem(case.jobs, case.surroundings(), Terms.of(Policy.BALANCED))
    plan = greedy(problem) if problem.placeable else None
    if plan is None or plan.left_out_weight != weight:
        return
    raised = replace(bound_plan(problem, plan, TimeBudget(no_time_passes, 1)), objective_gbp=objective_gbp)
    solution = best_plan(problem, plan, raised, TimeBudget(no_time_passes, 10_000), MOST_VARIABLES)
    assert solution is not None
    assert solution.finished
    assert solution.plan is not None
    assert solution.plan.objective_gbp == pytest.approx(objective_gbp, abs=1e-9)


@given(seed=seeds, factor=st.sampled_from([1.5, 2.0, 4.0]))
@settings(max_examples=25, deadline=None)
def test_more_capacity_is_never_worse(seed: int, factor: float) -> None:
    case = random_case(seed, most_jobs=5, half_hours=6, interruptible=0.3)
    before = planned(case.jobs, case.surroundings())
    larger = [
        centre.model_copy(update={"total_capacity_mw": centre.total_capacity_mw * factor})
        for centre in case.context.data_centres
    ]
    after = planned(case.jobs, replace(case.surroundings(), centres=tuple(larger)))
    assert not_placed(after) <= not_placed(before)
    if not_placed(after) == not_placed(before):
        # A job that was too large for every data centre may now be placed for a dearer one of its weight.
        large = any(isinstance(one, LeftOutJob) and not one.for_capacity for one in before.jobs)
        assert large or after.totals.objective_gbp <= before.totals.objective_gbp + 1e-9


def not_placed(plan: JointPlan) -> int:
    """The weight of all jobs without a place, whatever the reason."""
    return sum(WEIGHTS[one.job.task.urgency.value] for one in plan.jobs if isinstance(one, LeftOutJob))


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_order_of_jobs_and_data_centres_changes_nothing(seed: int) -> None:
    case = random_case(seed, most_jobs=6, half_hours=6, interruptible=0.3)
    rng = random.Random(seed)
    centres, jobs = list(case.context.data_centres), list(case.jobs)
    rng.shuffle(centres)
    rng.shuffle(jobs)
    plan = planned(case.jobs, case.surroundings())
    other = planned(jobs, replace(case.surroundings(), centres=tuple(centres)))
    assert places(other) == places(plan)
    assert [one.job for one in other.jobs] == jobs
    assert other.run_now_at_greenest == plan.run_now_at_greenest


@pytest.mark.parametrize("policy", list(Policy))
def test_one_job_goes_where_the_scorer_of_single_workloads_sends_it(policy: Policy) -> None:
    for seed in range(150):
        context = random_context(seed)
        decision = decide(context, policy=policy)
        plan = planned([Job(context.task)], surroundings(context), policy=policy)
        (job,) = plan.jobs
        if decision.chosen is None or decision.chosen.recommended is None:
            assert isinstance(job, LeftOutJob)
            assert not job.for_capacity
            assert bool(job.violations) == bool(context.data_centres)
        else:
            assert isinstance(job, PlacedJob)
            run = decision.chosen.recommended
            assert (job.dc_id, job.start, job.end) == (decision.chosen.centre.dc_id, run.start, run.end)
            assert (job.outcome.cost_gbp, job.outcome.carbon_gco2) == (run.cost_gbp, run.carbon_gco2)
            assert job.outcome.parts == run.parts


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_pausing_never_costs_more_where_everything_keeps_to_half_hours(seed: int) -> None:
    case = random_case(seed, most_jobs=1, half_hours=7)
    (job,) = case.jobs
    if case.context.as_of.minute % 30 or (job.task.required_gpu_mins or 0) % 30:
        return
    whole = planned([job], case.surroundings())
    pausing = planned([replace(job, interruptible=True)], case.surroundings())
    if isinstance(whole.jobs[0], PlacedJob):
        assert isinstance(pausing.jobs[0], PlacedJob)
        assert pausing.totals.objective_gbp <= whole.totals.objective_gbp + 1e-9


@pytest.fixture
def too_large_to_be_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that how fast the machine solves the rest exactly changes no answer."""
    for limit in ("joint.solver.FEW_VARIABLES", "joint.solver.MOST_VARIABLES", "joint.milp.MOST_VARIABLES"):
        monkeypatch.setattr(f"decisions.{limit}", 0)


@pytest.mark.usefixtures("too_large_to_be_exact")
def test_a_larger_plan_keeps_every_constraint_and_certifies_its_gap() -> None:
    jobs, where = crowded(60, interruptible=0.3)
    plan = planned(jobs, where, time_limit_s=3, monotonic=ticking(0.002))
    assert plan.method is Method.SEARCH
    assert plan.gap is not None
    assert 0 < plan.gap < 0.1
    assert plan.gap_gbp == pytest.approx(plan.totals.objective_gbp - plan.bound_gbp)
    keeps_all_constraints(plan, where.centres, where)


def keeps_all_constraints(plan: JointPlan, centres: Any, where: PlanInputs) -> None:
    """Every placed job keeps its own constraints, and together they keep the capacity of every half-hour."""
    used_w: dict[tuple[str, datetime], int] = {}
    by_id = {centre.dc_id: centre for centre in centres}
    for one in plan.jobs:
        if isinstance(one, LeftOutJob):
            continue
        task, centre = one.job.task, by_id[one.dc_id]
        hours = sum(((s.end - s.start) for s in one.outcome.stretches), timedelta()) / timedelta(hours=1)
        assert hours == pytest.approx((task.required_gpu_mins or 0) / 60)
        assert len(one.outcome.stretches) == 1 or one.job.interruptible
        assert one.start >= where.as_of
        assert task.deadline is None or one.end <= task.deadline
        assert task.urgency is not Urgency.CRITICAL or one.start == where.as_of
        if task.deferral_window_mins is not None:
            assert one.start <= where.as_of + timedelta(minutes=task.deferral_window_mins)
        assert task.max_price_gbp is None or one.outcome.cost_gbp <= task.max_price_gbp + 1e-9
        power_w = whole_watts((task.estimated_energy_kwh or 0) / hours)
        for half_hour in half_hours_of(one):
            position = (half_hour - where.signals.origin) // HALF_HOUR
            intensity = where.signals.carbon_intensity_gco2_per_kwh[where.signals.row_of(centre.region_id), position]
            assert task.carbon_cap_gco2 is None or intensity <= task.carbon_cap_gco2
            stress = where.signals.grid_stress_score[position]
            assert stress <= NO_RUN_STRESS or task.urgency is Urgency.CRITICAL
            used_w[one.dc_id, half_hour] = used_w.get((one.dc_id, half_hour), 0) + power_w
    for (dc_id, half_hour), taken_w in used_w.items():
        (free_kw,) = free_kw_of(where.capacity, [by_id[dc_id]], half_hour, 1)[:, 0]
        assert taken_w <= whole_watts(free_kw)
    for site in plan.capacity:
        for position, used_kw in enumerate(site.used_kw):
            half_hour = plan.origin + position * HALF_HOUR
            assert used_kw * 1000 == pytest.approx(used_w.get((site.dc_id, half_hour), 0))


def half_hours_of(one: PlacedJob) -> set[datetime]:
    found = set()
    for stretch in one.outcome.stretches:
        moment = stretch.start.replace(minute=30 * (stretch.start.minute // 30), second=0, microsecond=0)
        while moment < stretch.end:
            found.add(moment)
            moment += HALF_HOUR
    return found


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by a step whenever it is read."""
    readings = iter(range(10**9))
    return lambda: next(readings) * step_s


@pytest.mark.usefixtures("too_large_to_be_exact")
@pytest.mark.parametrize("limit_s", [0.05, 1.0, 5.0])
def test_the_time_limit_ends_the_search_wherever_it_is(limit_s: float) -> None:
    jobs, where = crowded(40, interruptible=0.2)
    plan = planned(jobs, where, time_limit_s=limit_s, monotonic=ticking(0.05))
    assert plan.cut_short
    # The steps that end nothing are few.
    assert plan.elapsed_s < limit_s + 1.5
    assert plan.bound_gbp <= plan.totals.objective_gbp + 1e-9
    keeps_all_constraints(plan, where.centres, where)


def test_the_same_question_gets_the_same_answer() -> None:
    jobs, where = crowded(8, interruptible=0.2)
    first, second = (planned(jobs, where) for _ in range(2))
    assert not first.cut_short
    assert places(first) == places(second)
    assert (first.bound_gbp, first.method) == (second.bound_gbp, second.method)


def test_jobs_that_fit_where_they_are_best_are_all_put_there() -> None:
    jobs = [a_job(f"job-{number}", deferral_window_mins=90) for number in range(3)]
    context = a_context(centres=[a_site(kw=3)], carbon={13: [200, 50, 50, 200, 200, 200]})
    plan = planned(jobs, surroundings(context))
    assert plan.method is Method.ALONE
    assert {one.start for one in plan.jobs if isinstance(one, PlacedJob)} == {NOON + HALF_HOUR}
    assert all(one.wish is None for one in plan.jobs if isinstance(one, PlacedJob))
    assert not any(site.price_gbp_per_kw.any() for site in plan.capacity)


def test_a_scarce_half_hour_goes_to_the_job_that_gains_most_and_has_a_price() -> None:
    # One kilowatt: an hour from 12:30 is cheap, and both want it; the larger urgency pays more for waiting.
    jobs = [
        a_job("patient", minutes=60, deferral_window_mins=120, urgency="LOW"),
        a_job("hasty", minutes=60, deferral_window_mins=120, urgency="HIGH"),
    ]
    context = a_context(centres=[a_site(kw=1)], price=[500, 10, 10, 20, 20, 400], carbon={13: [0] * 6})
    plan = planned(jobs, surroundings(context))
    assert placed(plan, "hasty").start == NOON + HALF_HOUR
    patient = placed(plan, "patient")
    assert patient.start == NOON + 3 * HALF_HOUR
    assert patient.wish is not None
    assert (patient.wish.dc_id, patient.wish.start) == ("DC-1", NOON + HALF_HOUR)
    assert patient.wish.capacity_price_gbp > 0
    (site,) = plan.capacity
    assert site.used_kw.tolist() == [0, 1, 1, 1, 1, 0]
    assert site.price_gbp_per_kw[1:3].sum() > 0


def test_what_jobs_regret_and_idle_capacity_is_worth_at_its_prices_is_what_separates_plan_and_bound() -> None:
    """So all regrets together are no more than that: hardly any job would rather be elsewhere."""
    jobs, where = crowded(40)
    problem = pose_problem(jobs, where, Terms.of(Policy.BALANCED))
    plan = greedy(problem)
    bound = bound_plan(problem, plan, TimeBudget(no_time_passes, 1))
    regrets = Relaxation(problem).regrets(bound.prices_gbp_per_kw, bound.leaving_price)
    regretted_gbp = 0.0
    for options, placement, regret in zip(problem.options, plan.placements, regrets, strict=True):
        assert isinstance(options, RunOptions)
        assert placement is not None
        (row,) = np.flatnonzero((options.site == placement.site) & (options.run == placement.run))
        regretted_gbp += regret[row]
    idle_kw = WorkingPlan(problem, plan.placements).free_w / 1000
    idle_gbp = float((bound.prices_gbp_per_kw * idle_kw).sum())
    assert regretted_gbp > 0
    assert idle_gbp > 0
    assert plan.objective_gbp - bound.objective_gbp == pytest.approx(regretted_gbp + idle_gbp, abs=1e-9)


def test_an_interruptible_job_pauses_through_dear_half_hours_at_one_place() -> None:
    job = a_job(minutes=75, interruptible=True, deferral_window_mins=90)
    context = a_context(
        centres=[a_site("DC-1"), a_site("DC-2", region_id=14)],
        price=[10, 500, 20, 500, 30, 500],
        carbon={13: [0] * 6, 14: [100] * 6},
    )
    one = placed(planned([job], surroundings(context)), "job-1")
    assert one.dc_id == "DC-1"
    assert [(s.start, s.end) for s in one.outcome.stretches] == [
        (NOON, NOON + HALF_HOUR),
        (NOON + 2 * HALF_HOUR, NOON + 3 * HALF_HOUR),
        (NOON + 4 * HALF_HOUR, NOON + 4.5 * HALF_HOUR),
    ]
    kwh = 1.25 * 1.2
    assert one.outcome.energy_kwh == pytest.approx(kwh)
    assert one.outcome.cost_gbp == pytest.approx(1.2 * (0.5 * 10 + 0.5 * 20 + 0.25 * 30) / 1000)
    # On average the work is done later than in a run from noon: middles of half-hours, weighed by work.
    done_h = (0.5 * 0.25 + 0.5 * 1.25 + 0.25 * 2.25) / 1.25
    now_h = (0.5 * 0.25 + 0.5 * 0.75 + 0.25 * 1.25) / 1.25
    assert one.outcome.parts.delay_gbp == pytest.approx(0.01 * (done_h - now_h))


def test_the_part_of_a_half_hour_joins_the_next_one() -> None:
    job = a_job(minutes=45, interruptible=True, deferral_window_mins=60)
    context = a_context(price=[500, 20, 10, 500, 500, 500])
    one = placed(planned([job], surroundings(context)), "job-1")
    assert [(s.start, s.end) for s in one.outcome.stretches] == [(NOON + 1.5 * HALF_HOUR, NOON + 3 * HALF_HOUR)]


def test_an_interruptible_job_keeps_its_price_limit_at_the_least_carbon_that_it_pays_for() -> None:
    job = a_job(minutes=60, interruptible=True, deferral_window_mins=90, max_price_gbp=0.09)
    context = a_context(
        centres=[a_site(pue=1)], price=[20, 140, 20, 140, 20, 140], carbon={13: [300, 0, 300, 0, 300, 0]}
    )
    one = placed(planned([job], surroundings(context), policy=Policy.CARBON), "job-1")
    assert one.outcome.cost_gbp == pytest.approx(0.09, abs=1e-6)
    # £0.09 pays for 35 minutes at £140/MWh and 25 at £20/MWh.
    assert one.outcome.carbon_gco2 == pytest.approx(25 / 60 * 300, rel=1e-4)


def test_a_job_that_nothing_allows_is_reported_with_what_stands_in_its_way() -> None:
    jobs = [a_job("greedy", kw=5), a_job("capped", carbon_cap_gco2=100), a_job("fine")]
    plan = planned(jobs, surroundings(a_context(centres=[a_site()])))
    for job_id, constraint in (("greedy", "free_capacity"), ("capped", "carbon_cap")):
        job = left_out(plan, job_id)
        assert [str(violation.constraint) for violation in job.violations] == [constraint]
        assert (job.dc_id, job.for_capacity) == ("DC-1", False)
    assert placed(plan, "fine").start == NOON
    assert (plan.left_out_weight, plan.totals.runs) == (0, 1)


def test_a_job_that_the_others_leave_no_room_is_reported_with_what_is_left() -> None:
    jobs = [a_job(f"job-{number}", kw=1.5, urgency="HIGH" if number else "LOW") for number in range(2)]
    plan = planned(jobs, surroundings(a_context(centres=[a_site()])))
    job = left_out(plan, "job-0")
    assert job.for_capacity
    (violation,) = job.violations
    assert str(violation.constraint) == "free_capacity"
    assert (violation.value, violation.limit, violation.unit) == (0.0015, 0.0005, "MW")
    assert (plan.left_out_weight, plan.least_left_out_weight) == (1, 1)


def test_a_critical_job_gives_way_to_more_than_eight_low_ones_only() -> None:
    def of_low_jobs(number: int) -> JointPlan:
        low = [a_job(f"low-{one}", kw=1, urgency="LOW") for one in range(number)]
        jobs = [*low, a_job("critical", kw=10, urgency="CRITICAL")]
        return planned(jobs, surroundings(a_context(centres=[a_site(kw=10)])))

    assert placed(of_low_jobs(7), "critical").start == NOON
    assert left_out(of_low_jobs(9), "critical").for_capacity


def test_power_is_counted_in_whole_watts_so_that_thirds_fit() -> None:
    jobs = [a_job(f"job-{number}", kw=1 / 3) for number in range(3)]
    plan = planned(jobs, surroundings(a_context(centres=[a_site(kw=1)])))
    assert plan.totals.runs == 3
    assert plan.capacity[0].used_kw.max() == pytest.approx(0.999)


def test_baselines_run_at_home_or_where_most_is_free_and_at_the_greenest_place_with_room() -> None:
    context = a_context(
        centres=[a_site("DC-1", kw=4), a_site("DC-2", kw=1, region_id=14)],
        carbon={13: [300] * 6, 14: [100] * 6},
    )
    jobs = [a_job("at-home", host_dc_id="DC-2"), a_job("homeless", kw=0.5), a_job("capped", carbon_cap_gco2=200)]
    plan = planned(jobs, surroundings(context))
    home, greenest = plan.run_now_at_home, plan.run_now_at_greenest
    assert home.baseline.runs == 3
    assert home.baseline.carbon_gco2 == pytest.approx(1.2 * (100 + 0.5 * 300 + 300))
    # At DC-1 half a kilowatt and one, of four; at DC-2 the one there is.
    assert (home.breaking, home.overfull) == (1, 0)
    # The kilowatt of DC-2 goes to the first of the largest jobs, by job_id.
    assert greenest.baseline.carbon_gco2 == pytest.approx(1.2 * (100 + 0.5 * 300 + 300))
    assert (greenest.not_run, greenest.breaking, greenest.overfull) == (0, 1, 0)
    assert greenest.plan.runs == 3


def test_running_at_home_may_take_more_than_there_is() -> None:
    jobs = [a_job(f"job-{number}", kw=1.5, minutes=90, deferral_window_mins=90) for number in range(2)]
    plan = planned(jobs, surroundings(a_context(centres=[a_site(kw=2)])))
    assert plan.totals.runs == 2
    assert plan.run_now_at_home.overfull == 3
    assert (plan.run_now_at_greenest.overfull, plan.run_now_at_greenest.not_run) == (0, 1)


def test_baselines_are_compared_over_the_jobs_that_run_in_both() -> None:
    jobs = [a_job("fine"), a_job("impossible", carbon_cap_gco2=1)]
    plan = planned(jobs, surroundings(a_context(centres=[a_site(kw=5)])))
    assert plan.run_now_at_home.baseline == plan.run_now_at_home.plan == plan.totals
    nowhere = planned(jobs, surroundings(a_context(centres=[])))
    assert nowhere.run_now_at_home.not_run == 2
    assert nowhere.totals.runs == 0
    assert (nowhere.gap, nowhere.method) == (0, Method.ALONE)
    assert all(isinstance(one, LeftOutJob) and one.dc_id is None for one in nowhere.jobs)


@pytest.mark.usefixtures("too_large_to_be_exact")
def test_negative_prices_have_no_relative_gap_but_one_in_pounds() -> None:
    jobs, where = crowded(30)
    signals = replace(where.signals, price_gbp_per_mwh=where.signals.price_gbp_per_mwh - 1000)
    plan = planned(jobs, replace(where, signals=signals), time_limit_s=1, monotonic=ticking(0.002))
    assert plan.bound_gbp <= plan.totals.objective_gbp < 0
    assert plan.gap is None
    assert plan.gap_gbp > 0


def test_totals_are_the_sums_of_the_jobs() -> None:
    jobs, where = crowded(6)
    plan = planned(jobs, where)
    outcomes = [one.outcome for one in plan.jobs if isinstance(one, PlacedJob)]
    assert plan.totals.runs == len(outcomes)
    assert plan.totals.carbon_gco2 == pytest.approx(sum(outcome.carbon_gco2 for outcome in outcomes))
    assert plan.totals.objective_gbp == pytest.approx(sum(outcome.parts.total_gbp for outcome in outcomes))


def test_questions_that_cannot_be_answered_are_refused() -> None:
    where = surroundings(a_context(centres=[a_site()]))
    with pytest.raises(ValueError, match="job_id 'job-1' appears more than once in this list"):
        planned([a_job(), a_job()], where)
    with pytest.raises(ProblemTooLarge, match="up to 500 jobs, not 501"):
        planned([a_job(f"job-{number}") for number in range(MOST_JOBS + 1)], where)
    centres = [a_site(f"DC-{number}") for number in range(MOST_CANDIDATES // 60 + 1)]
    many = DecisionContext.model_validate({**a_context().model_dump(), "data_centres": centres})
    with pytest.raises(ProblemTooLarge, match="with 33334 data centres and 6 half-hours it takes up to 9 jobs"):
        planned([a_job(f"job-{number}") for number in range(10)], surroundings(many))
    with pytest.raises(ValueError, match="carbon price"):
        planned([a_job()], where, carbon_price_gbp_per_t=-1)
