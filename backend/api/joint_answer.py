"""A joint plan as it is answered: the models, and the way from a plan to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from decisions.joint.plan import Comparison, JointPlan, LeftOutJob, PlacedJob, Preferred, SiteCapacity
from decisions.joint.solver import Method
from decisions.publishing import schema as output
from decisions.publishing.schema import tidy
from decisions.scoring.capacity import displaced_gbp
from decisions.scoring.context import Capacity
from decisions.scoring.energy import compute_load
from decisions.scoring.freshness import SignalState
from decisions.scoring.run_totals import Totals
from ontology.types import Moment
from vocabulary import Policy

Placed = Literal["placed"]
LeftOut = Literal["left_out"]


class StretchAnswer(BaseModel):
    """A stretch of time without a pause."""

    start: Moment
    end: Moment


class WishAnswer(BaseModel):
    """Where the workload would run if it were alone."""

    dc_id: str = Field(examples=["DC-007"])
    start: Moment
    objective_gbp: float = Field(description="Its J there, £")
    capacity_price_gbp: float = Field(description="What the capacity there is worth to the other workloads, £")


class JobAnswer(BaseModel):
    """What becomes of one workload. A workload that is left out has violations and no place."""

    job_id: str
    interruptible: bool
    status: Placed | LeftOut
    dc_id: str | None = Field(description="Where it runs; for a workload left out, where the least stands in its way")
    start: Moment | None
    end: Moment | None
    stretches: list[StretchAnswer] = Field(description="When it runs: several spans if it pauses")
    energy_kwh: float | None = Field(description="Site energy: IT energy x PUE, kWh")
    cost_gbp: float | None = Field(description="Electricity at the wholesale price, £")
    carbon_gco2: float | None = Field(description="Emissions, gCO2")
    objective_gbp: float | None = Field(description="J, £")
    score_breakdown: output.ScoreBreakdown | None = Field(description="The parts that add up to J")
    capacity_price_gbp: float | None = Field(description="What the capacity it takes is worth, £; not part of J")
    displaced_gbp: float | None = Field(
        description="The price of the place: what work outside this plan would save by having that capacity, £, "
        "by the platform's prices; null where they are not known"
    )
    wish: WishAnswer | None = Field(
        description="Where it would be better off; null when it is there already, or left out"
    )
    violations: list[output.ConstraintViolation] = Field(
        description="What stands in its way; only for a workload left out"
    )
    for_capacity: bool | None = Field(
        description="When it is left out: whether the other workloads stand in its way; else its own constraints do"
    )


class TotalsAnswer(BaseModel):
    """Sums over workloads."""

    workloads: int
    energy_kwh: float
    cost_gbp: float
    carbon_gco2: float
    objective_gbp: float


class ComparisonAnswer(BaseModel):
    """What would happen without a plan, beside the plan's own sums over the same workloads."""

    without_plan: TotalsAnswer
    plan: TotalsAnswer
    breaking_constraints: int = Field(description="How many workloads would break a constraint of their own")
    overfull_half_hours: int = Field(
        description="In how many half-hours, counted over the data centres, they would take more power than is free"
    )
    not_run: int = Field(description="How many would run nowhere: no room, or an unknown signal")


class CapacityAnswer(BaseModel):
    """One data centre's IT power by half-hour, from `half_hours_from` on."""

    dc_id: str
    free_kw: float = Field(description="Free before the plan in every half-hour: the least of them, kW")
    used_kw: list[float] = Field(description="Used by the plan, kW")
    price_gbp_per_kw: list[float] = Field(
        description="What one more kW in a half-hour would be worth to the plan, £: what keeps workloads out"
    )
    free_by_half_hour_kw: list[float] = Field(description="Free before the plan, kW")


class JointPlanAnswer(BaseModel):
    """A joint plan, how good it is, and what would happen without it."""

    as_of: Moment
    policy: Policy
    carbon_price_gbp_per_t: float
    method: Method = Field(
        description="`each_alone`: there is room for all where they are best. `exact`: no plan is better. `search`: "
        "the best plan found; `gap` says how much better another could be, at most."
    )
    totals: TotalsAnswer
    bound_gbp: float = Field(description="No plan that leaves out as little has a smaller J, £")
    gap_gbp: float = Field(description="How much smaller J could be, at most, £")
    gap: float | None = Field(description="The same as a share of the bound; null where the bound is not above 0")
    left_out_weight: int = Field(
        description="Weight of the workloads left out for lack of capacity: LOW 1, MEDIUM 2, HIGH 4, CRITICAL 8"
    )
    least_left_out_weight: int = Field(description="No plan leaves out less weight than this")
    cut_short: bool = Field(description="Whether the time limit ended the search")
    elapsed_s: float
    jobs: list[JobAnswer] = Field(description="In the order of the request")
    run_now_at_home: ComparisonAnswer = Field(
        description="Each workload runs now, at its host_dc_id or, without one, where most power is free; "
        "constraints and capacity are ignored"
    )
    run_now_at_greenest: ComparisonAnswer = Field(
        description="Each workload runs now, where its carbon is least and there is room; the biggest come first"
    )
    half_hours_from: Moment = Field(description="Start of the first half-hour of `capacity`")
    capacity: list[CapacityAnswer]
    warnings: list[str] = Field(description="Stale, undated or missing signals")


def joint_plan_answer(
    plan: JointPlan,
    *,
    policy: Policy,
    carbon_price_gbp_per_t: float,
    capacity: Capacity | None,
    signal_states: Sequence[SignalState],
) -> JointPlanAnswer:
    """The answer for a plan that was made under a capacity."""
    return JointPlanAnswer(
        as_of=plan.as_of,
        policy=policy,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        method=plan.method,
        totals=_totals(plan.totals),
        bound_gbp=tidy(plan.bound_gbp),
        gap_gbp=tidy(plan.gap_gbp),
        gap=None if plan.gap is None else tidy(plan.gap),
        left_out_weight=plan.left_out_weight,
        least_left_out_weight=plan.least_left_out_weight,
        cut_short=plan.cut_short,
        elapsed_s=round(plan.elapsed_s, 3),
        jobs=[_placed(job, capacity) if isinstance(job, PlacedJob) else _left_out(job) for job in plan.jobs],
        run_now_at_home=_comparison(plan.run_now_at_home),
        run_now_at_greenest=_comparison(plan.run_now_at_greenest),
        half_hours_from=plan.origin,
        capacity=[_capacity(site) for site in plan.capacity],
        warnings=[state.warning for state in signal_states if state.warning],
    )


def _placed(placed: PlacedJob, capacity: Capacity | None) -> JobAnswer:
    outcome, parts = placed.outcome, placed.outcome.parts
    return JobAnswer(
        job_id=placed.job.task.job_id,
        interruptible=placed.job.interruptible,
        status="placed",
        dc_id=placed.dc_id,
        start=placed.start,
        end=placed.end,
        stretches=[StretchAnswer(start=stretch.start, end=stretch.end) for stretch in outcome.stretches],
        energy_kwh=tidy(outcome.energy_kwh),
        cost_gbp=tidy(outcome.cost_gbp),
        carbon_gco2=tidy(outcome.carbon_gco2),
        objective_gbp=tidy(parts.total_gbp),
        score_breakdown=output.ScoreBreakdown.model_validate(parts),
        capacity_price_gbp=tidy(placed.capacity_price_gbp),
        displaced_gbp=_displaced_gbp(placed, capacity),
        wish=_wish(placed.wish) if placed.wish else None,
        violations=[],
        for_capacity=None,
    )


def _displaced_gbp(placed: PlacedJob, capacity: Capacity | None) -> float | None:
    it_power_kw = compute_load(placed.job.task).it_power_kw
    of_stretches = [
        displaced_gbp(capacity, placed.dc_id, stretch.start, stretch.end, it_power_kw)
        for stretch in placed.outcome.stretches
    ]
    known = [gbp for gbp in of_stretches if gbp is not None]
    return tidy(sum(known)) if len(known) == len(of_stretches) else None


def _left_out(job: LeftOutJob) -> JobAnswer:
    return JobAnswer(
        job_id=job.job.task.job_id,
        interruptible=job.job.interruptible,
        status="left_out",
        dc_id=job.dc_id,
        start=None,
        end=None,
        stretches=[],
        energy_kwh=None,
        cost_gbp=None,
        carbon_gco2=None,
        objective_gbp=None,
        score_breakdown=None,
        capacity_price_gbp=None,
        displaced_gbp=None,
        wish=None,
        violations=list(map(output.ConstraintViolation.model_validate, job.violations)),
        for_capacity=job.for_capacity,
    )


def _wish(wish: Preferred) -> WishAnswer:
    return WishAnswer(
        dc_id=wish.dc_id,
        start=wish.start,
        objective_gbp=tidy(wish.objective_gbp),
        capacity_price_gbp=tidy(wish.capacity_price_gbp),
    )


def _totals(totals: Totals) -> TotalsAnswer:
    return TotalsAnswer(
        workloads=totals.runs,
        energy_kwh=tidy(totals.energy_kwh),
        cost_gbp=tidy(totals.cost_gbp),
        carbon_gco2=tidy(totals.carbon_gco2),
        objective_gbp=tidy(totals.objective_gbp),
    )


def _comparison(comparison: Comparison) -> ComparisonAnswer:
    return ComparisonAnswer(
        without_plan=_totals(comparison.baseline),
        plan=_totals(comparison.plan),
        breaking_constraints=comparison.breaking,
        overfull_half_hours=comparison.overfull,
        not_run=comparison.not_run,
    )


def _capacity(site: SiteCapacity) -> CapacityAnswer:
    return CapacityAnswer(
        dc_id=site.dc_id,
        free_kw=tidy(float(site.free_kw.min())),
        used_kw=[tidy(kw) for kw in site.used_kw.tolist()],
        price_gbp_per_kw=[tidy(price) for price in site.price_gbp_per_kw.tolist()],
        free_by_half_hour_kw=[tidy(kw) for kw in site.free_kw.tolist()],
    )
