"""Small joint problems at random, and their best plan by trying everything.

The exhaustive search works minute by minute from the series of the context and shares no code with the planner.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, NamedTuple

from decision_contexts import HALF_HOUR, NOON, centre, context_json, task
from decisions.joint.problem import Job, PlanInputs
from decisions.scoring.context import Capacity, DataCentre, DecisionContext, Task
from decisions.scoring.signals import read_signals

MINUTE = timedelta(minutes=1)
WEIGHTS = {"LOW": 1, "MEDIUM": 2, "HIGH": 4, "CRITICAL": 8}
DELAY_GBP_PER_H = {"LOW": 0.01, "MEDIUM": 0.05, "HIGH": 0.5, "CRITICAL": 0.0}


class Way(NamedTuple):
    """One way to place a job."""

    objective_gbp: float
    dc_id: str
    half_hours: frozenset[datetime]
    """The half-hours it runs in."""


class Case(NamedTuple):
    context: DecisionContext
    jobs: list[Job]

    def surroundings(self) -> PlanInputs:
        return surroundings(self.context)


def surroundings(context: DecisionContext) -> PlanInputs:
    return PlanInputs(context.as_of, read_signals(context), context.data_centres, context.capacity)


def a_job(
    job_id: str = "job-1", *, interruptible: bool = False, minutes: int = 60, kw: float = 1, **facts: Any
) -> Job:
    """A job of one GPU that draws `kw` for some minutes."""
    stated = {"required_gpu_mins": minutes, "estimated_energy_kwh": kw * minutes / 60, **facts}
    return Job(Task.model_validate(task(job_id=job_id, **stated)), interruptible)


def a_site(dc_id: str = "DC-1", *, kw: float = 2, **facts: Any) -> dict[str, Any]:
    """A data centre with `kw` of free IT power."""
    return centre(dc_id, total_capacity_mw=kw / 1000, current_load_percentage=0, **facts)


def random_case(seed: int, *, most_jobs: int, half_hours: int, sites: int = 2, interruptible: float = 0.0) -> Case:
    """Few data centres with room for two or three jobs at once, and jobs that want the same half-hours.

    Half of the cases say what is free in each half-hour.
    """
    rng = random.Random(seed)
    as_of = NOON + timedelta(minutes=rng.choice([0, 0, 11, 30]))
    regions = [1, 2, 3][:sites]
    length = half_hours if rng.random() < 0.8 else half_hours - 1
    context = DecisionContext.model_validate(
        context_json(
            task=task(),
            price=[rng.randint(-20, 200) for _ in range(length)],
            stress=[rng.choice([0, 0.2, 0.5, 0.97 if rng.random() < 0.1 else 0.3]) for _ in range(half_hours)],
            carbon={region: [rng.randint(0, 300) for _ in range(half_hours)] for region in regions},
            centres=[
                a_site(
                    f"DC-{number}",
                    kw=rng.choice([1, 2, 2.5, 4]),
                    region_id=region,
                    pue=rng.choice([1, 1.2, 1.5]),
                    status="ACTIVE" if rng.random() < 0.95 else "MAINTENANCE",
                )
                for number, region in enumerate(regions)
            ],
            as_of=as_of,
        )
    )
    jobs = [_random_job(rng, number, as_of, interruptible) for number in range(rng.randint(1, most_jobs))]
    return Case(_with_promises(context, rng, half_hours) if rng.random() < 0.5 else context, jobs)


def _with_promises(context: DecisionContext, rng: random.Random, half_hours: int) -> DecisionContext:
    """The same with some of each data centre's power promised in some half-hours."""
    free_it_kw: dict[str, tuple[tuple[int, float], ...]] = {}
    for site in context.data_centres:
        whole_kw = site.total_capacity_mw * 1000
        changes = sorted(rng.sample(range(1, half_hours), rng.randint(0, 3)))
        free_it_kw[site.dc_id] = tuple((at, rng.choice([0, whole_kw / 2, whole_kw])) for at in (0, *changes))
    start = half_hour(context.as_of)
    capacity = Capacity(start=start, half_hours=half_hours, free_it_kw=free_it_kw)
    return context.model_copy(update={"capacity": capacity})


def _random_job(rng: random.Random, number: int, as_of: datetime, interruptible: float) -> Job:
    facts: dict[str, Any] = {
        "urgency": rng.choice(["LOW", "LOW", "MEDIUM", "HIGH", "CRITICAL"]),
        "deferral_window_mins": rng.choice([0, 30, 60, 90, 120, None]),
    }
    if rng.random() < 0.3:
        facts["deadline"] = (as_of + timedelta(minutes=rng.randint(20, 200))).isoformat()
    if rng.random() < 0.2:
        facts["carbon_cap_gco2"] = rng.randint(100, 300)
    may_pause = rng.random() < interruptible
    if rng.random() < 0.2 and not may_pause:
        facts["max_price_gbp"] = rng.choice([0.05, 0.1, 0.3])
    return a_job(
        f"job-{number}",
        interruptible=may_pause,
        minutes=rng.choice([20, 30, 45, 60, 90]),
        kw=rng.choice([0.5, 1, 1, 1.5, 2]),
        **facts,
    )


def exhaustive_best(case: Case) -> tuple[int, float]:
    """The least weight left out by any plan, and the least sum of J of those that leave out no more.

    A job that its own constraints leave no way does not count.
    """
    possible = [(job, found) for job in case.jobs if (found := list(ways_of(job, case.context)))]
    ways = [found for _, found in possible]
    weights = [WEIGHTS[job.task.urgency.value] for job, _ in possible]
    powers = [kw_of(job.task) for job, _ in possible]
    sites = {site.dc_id: site for site in case.context.data_centres}
    best = (sum(weights), 0.0)
    used: dict[tuple[str, datetime], float] = {}

    def place(number: int, left_out: int, objective_gbp: float) -> None:
        nonlocal best
        if left_out > best[0]:
            return
        if number == len(ways):
            best = min(best, (left_out, objective_gbp))
            return
        for way in ways[number]:
            slots = [(way.dc_id, half_hour) for half_hour in way.half_hours]
            if all(
                used.get(slot, 0.0) + powers[number] <= free_kw_at(case.context, sites[way.dc_id], slot[1])
                for slot in slots
            ):
                for slot in slots:
                    used[slot] = used.get(slot, 0.0) + powers[number]
                place(number + 1, left_out, objective_gbp + way.objective_gbp)
                for slot in slots:
                    used[slot] -= powers[number]
        place(number + 1, left_out + weights[number], objective_gbp)

    place(0, 0, 0.0)
    return best


def ways_of(job: Job, context: DecisionContext) -> Iterator[Way]:
    """Every way to place a job that its own constraints allow, at £100 for a tonne."""
    for site in context.data_centres:
        if site.status.value != "ACTIVE":
            continue
        runs = _in_pieces(job.task, site, context) if job.interruptible else _whole(job.task, context)
        for minutes, delay_h in runs:
            money = _money(job.task, site, context, minutes)
            slots = frozenset(half_hour(minute) for minute in minutes)
            if money is not None and all(kw_of(job.task) <= free_kw_at(context, site, slot) for slot in slots):
                cost_gbp, carbon_g, stress_gbp = money
                limit = job.task.max_price_gbp
                if limit is None or cost_gbp <= limit + 1e-9:
                    delay_gbp = delay_h * DELAY_GBP_PER_H[job.task.urgency.value]
                    objective_gbp = cost_gbp + stress_gbp + carbon_g * 100 / 1e6 + delay_gbp
                    yield Way(objective_gbp, site.dc_id, slots)


def free_kw_at(context: DecisionContext, site: DataCentre, moment: datetime) -> float:
    """The power free in the half-hour of `moment`, and a little for the rounding of sums."""
    if context.capacity is None:
        return site.total_capacity_mw * 1000 + 1e-6
    reached = [
        kw
        for begins, kw in context.capacity.free_it_kw.get(site.dc_id, ())
        if begins == 0 or context.capacity.start + begins * HALF_HOUR <= moment
    ]
    return (reached[-1] if reached else 0.0) + 1e-6


def kw_of(job: Task) -> float:
    return (job.estimated_energy_kwh or 0) / minutes_of(job) * 60


def minutes_of(job: Task) -> int:
    return int(job.required_gpu_mins or 0)


def half_hour(moment: datetime) -> datetime:
    return moment.replace(minute=30 * (moment.minute // 30))


def last_start(job: Task, as_of: datetime) -> datetime:
    if job.urgency.value == "CRITICAL":
        return as_of
    if job.deferral_window_mins is not None:
        return as_of + timedelta(minutes=job.deferral_window_mins)
    return job.deadline or as_of


def _whole(job: Task, context: DecisionContext) -> Iterator[tuple[list[datetime], float]]:
    """The minutes of every run without a pause that begins and ends in time, and its delay in hours."""
    start, as_of = context.as_of, context.as_of
    while start <= min(last_start(job, as_of), as_of + timedelta(days=1)):
        minutes = [start + minute * MINUTE for minute in range(minutes_of(job))]
        if not job.deadline or minutes[-1] + MINUTE <= job.deadline:
            yield minutes, (start - as_of) / timedelta(hours=1)
        start = half_hour(start) + HALF_HOUR


def _in_pieces(job: Task, site: DataCentre, context: DecisionContext) -> Iterator[tuple[list[datetime], float]]:
    """The cheapest minutes within every set of half-hours, where they need all of the set."""
    as_of, needed = context.as_of, minutes_of(job)
    until = last_start(job, as_of) + needed * MINUTE
    until = min(until, job.deadline) if job.deadline else until
    open_to_it: dict[datetime, list[datetime]] = {}
    minute = as_of
    while minute + MINUTE <= min(until, as_of + timedelta(days=1)):
        has_room = kw_of(job) <= free_kw_at(context, site, half_hour(minute))
        if has_room and _money(job, site, context, [minute]) is not None:
            open_to_it.setdefault(half_hour(minute), []).append(minute)
        minute += MINUTE

    def lateness_h(minutes: list[datetime]) -> float:
        """The mean over the work of the hours to the middle of its half-hour, counted from now on."""
        middles = [
            (max(half_hour(one), as_of) + (half_hour(one) + HALF_HOUR - max(half_hour(one), as_of)) / 2) - as_of
            for one in minutes
        ]
        return sum(middles, timedelta()) / len(middles) / timedelta(hours=1)

    now_h = lateness_h([as_of + minute * MINUTE for minute in range(needed)])

    def rate(slot: datetime) -> float:
        cost_gbp, carbon_g, stress_gbp = _money(job, site, context, [open_to_it[slot][0]]) or (0.0, 0.0, 0.0)
        delay_gbp = DELAY_GBP_PER_H[job.urgency.value] * lateness_h([open_to_it[slot][0]]) / needed
        return cost_gbp + carbon_g * 100 / 1e6 + stress_gbp + delay_gbp

    for size in range(1, len(open_to_it) + 1):
        for chosen in combinations(open_to_it, size):
            by_rate = sorted(chosen, key=rate)
            minutes = [one for slot in by_rate for one in open_to_it[slot]][:needed]
            if len(minutes) == needed and len({half_hour(one) for one in minutes}) == size:
                yield minutes, lateness_h(minutes) - now_h


def _money(
    job: Task, site: DataCentre, context: DecisionContext, minutes: list[datetime]
) -> tuple[float, float, float] | None:
    """Cost, carbon and grid stress of running in these minutes; None where that is not known or not allowed."""
    national = context.national.forecast
    series = next(one.forecast for one in context.regional if one.region_id == site.region_id)
    kwh = kw_of(job) * site.pue / 60
    cost_gbp = carbon_g = stress_gbp = 0.0
    for minute in minutes:
        position = (minute - national.start) // HALF_HOUR
        if position >= min(len(national.wholesale_price_gbp_mwh), len(series.carbon_intensity_gco2_per_kwh)):
            return None
        price, stress = national.wholesale_price_gbp_mwh[position], national.grid_stress_score[position]
        intensity = series.carbon_intensity_gco2_per_kwh[position]
        if price is None or stress is None or intensity is None:
            return None
        if job.carbon_cap_gco2 is not None and intensity > job.carbon_cap_gco2:
            return None
        if stress > 0.95 and job.urgency.value != "CRITICAL":
            return None
        cost_gbp += kwh * price / 1000
        carbon_g += kwh * intensity
        stress_gbp += kwh * 50 * stress**2 / 1000
    return cost_gbp, carbon_g, stress_gbp
