"""Decision contexts for tests, with a figure for everything and small enough to think through."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from decisions.scoring.capacity import free_power_kw
from decisions.scoring.context import Capacity, DecisionContext
from grid.half_hours import half_hour_of
from vocabulary import Urgency, WorkloadType

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
HALF_HOUR = timedelta(minutes=30)

Series = Sequence[float | None]
Json = dict[str, Any]


def centre(dc_id: str = "DC-001", **facts: Any) -> Json:
    return {
        "dc_id": dc_id,
        "name": f"Site {dc_id}",
        "region_id": 13,
        "location_region": "London",
        "pue": 1.2,
        "total_capacity_teraflops": 40_000,
        "total_capacity_mw": 20,
        "current_load_percentage": 60,
        "flexibility_rating": 0.5,
        "status": "ACTIVE",
        **facts,
    }


def task(**facts: Any) -> Json:
    """One GPU for an hour: 0.96 kWh."""
    return {"job_id": "job-1", "workload_type": "RAG_QUERY", "urgency": "LOW", "required_gpu_mins": 60, **facts}


def context_json(
    *,
    task: Json,
    price: Series,
    carbon: dict[int, Series],
    stress: Series | None = None,
    centres: Sequence[Json] = (),
    as_of: datetime = NOON,
    start: datetime | None = None,
    fetched_at: datetime | None = None,
    **others: Any,
) -> Json:
    """The JSON a database would answer; series begin at the half-hour of `as_of`, or at `start`."""
    begins = (start or as_of.replace(minute=30 * (as_of.minute // 30), second=0, microsecond=0)).isoformat()
    fetched = (fetched_at or as_of).isoformat()
    return {
        "context_id": "00000000-0000-4000-8000-000000000001",
        "as_of": as_of.isoformat(),
        "task": task,
        "national": {
            "current": None,
            "forecast": {
                "start": begins,
                "wholesale_price_gbp_mwh": list(price),
                "grid_stress_score": [0.0] * len(price) if stress is None else list(stress),
                "price_sources": {"modelled": len(price)},
                "demand_sources": {"neso": len(price)},
                "oldest_fetched_at": fetched,
            },
        },
        "regional": [
            {
                "region_id": region_id,
                "short_name": f"Region {region_id}",
                "current": None,
                "forecast": {
                    "start": begins,
                    "carbon_intensity_gco2_per_kwh": list(series),
                    "carbon_sources": {"carbon_intensity_api": len(series)},
                    "oldest_fetched_at": fetched,
                },
            }
            for region_id, series in carbon.items()
        ],
        "data_centres": list(centres),
        "generation_mix": [],
        **others,
    }


def capacity(free_it_kw: dict[str, list[tuple[int, float]]], *, start: datetime = NOON, half_hours: int = 96) -> Json:
    """Free power as the database answers it: by data centre, from the i-th half-hour on so many kilowatts."""
    return {"start": start.isoformat(), "half_hours": half_hours, "free_it_kw": free_it_kw}


def a_context(**parts: Any) -> DecisionContext:
    """One data centre in London, six half-hours at £100/MWh and 200 g/kWh, unless told otherwise."""
    defaults = {"task": task(), "price": [100.0] * 6, "carbon": {13: [200.0] * 6}, "centres": [centre()]}
    return DecisionContext.model_validate(context_json(**{**defaults, **parts}))


def random_context_json(rng: random.Random) -> Json:
    """A small random case: few data centres and half-hours, every kind of constraint, holes in the series.

    Figures are whole or have one decimal and times are whole minutes, so that ties and exact edges are
    common.
    """
    half_hours = rng.randint(1, 10)
    regions = rng.sample(range(1, 18), rng.randint(1, 3))
    as_of = NOON + timedelta(minutes=rng.choice([0, 0, 30, rng.randint(1, 59)]))
    flat = rng.random() < 0.2

    def series(low: int, high: int, scale: float = 1.0) -> list[float | None]:
        if flat:
            return [scale * ((low + high) // 2)] * half_hours
        length = half_hours if rng.random() < 0.9 else rng.randint(0, half_hours)
        return [None if rng.random() < 0.02 else rng.randint(low, high) * scale for _ in range(length)]

    return context_json(
        task=_random_task(rng, as_of),
        price=series(-40, 200),
        stress=series(0, 10, 0.1),
        carbon={region: series(0, 300) for region in regions},
        centres=[
            centre(
                f"DC-{number:03d}",
                region_id=rng.choice(regions) if rng.random() < 0.97 else 99,
                pue=rng.choice([1, 1.1, 1.25, 1.5]),
                status=rng.choice(["ACTIVE"] * 8 + ["MAINTENANCE", "CONSTRAINED"]),
                total_capacity_mw=rng.choice([0.005, 1, 20]),
                current_load_percentage=rng.choice([0, 50, 100] if rng.random() < 0.2 else [20, 60]),
            )
            for number in rng.sample(range(1, 100), rng.randint(0, 4))
        ],
        as_of=as_of,
    )


def random_context(seed: int) -> DecisionContext:
    return DecisionContext.model_validate(random_context_json(random.Random(seed)))


def with_random_capacity(context: DecisionContext, seed: int) -> DecisionContext:
    """The same with power that comes and goes: some that is free now is not later, and the other way round.

    Figures are whole or have one decimal, about what a random workload needs.
    """
    rng = random.Random(seed)
    half_hours = rng.randint(1, 12)

    def steps() -> tuple[tuple[int, float], ...]:
        changes = sorted(rng.sample(range(1, half_hours), rng.randint(0, min(3, half_hours - 1))))
        return tuple((half_hour, rng.choice([-1, 0, 0.9, 1, 2, 5, 7.6, 8, 1000])) for half_hour in (0, *changes))

    start = half_hour_of(context.as_of) - rng.choice([0, 0, 0, 1, -1]) * HALF_HOUR
    free_it_kw = {site.dc_id: steps() for site in context.data_centres if rng.random() < 0.95}
    free = Capacity(start=start, half_hours=half_hours, free_it_kw=free_it_kw)
    return context.model_copy(update={"capacity": free})


def with_idle_capacity(context: DecisionContext) -> DecisionContext:
    """The same with the free power of an empty platform: what the present load leaves, in every half-hour."""
    free_it_kw = {site.dc_id: ((0, free_power_kw(site)),) for site in context.data_centres}
    free = Capacity(start=half_hour_of(context.as_of), half_hours=96, free_it_kw=free_it_kw)
    return context.model_copy(update={"capacity": free})


def _random_task(rng: random.Random, as_of: datetime) -> Json:
    workload_type = rng.choice(list(WorkloadType))
    minutes = rng.choice([30, 60, 90, rng.randint(1, 150)])
    # Every type's number of GPUs divides 8, so that durations are whole minutes.
    gpus = {"TRAINING_RUN": 8, "FINE_TUNING": 8, "INFERENCE_BATCH": 4, "DATA_PROCESSING": 2, "OTHER": 2}
    chosen: Json = {
        "workload_type": workload_type.value,
        "urgency": rng.choice(list(Urgency)).value,
        "required_gpu_mins": minutes * gpus.get(workload_type.value, 1),
        "estimated_energy_kwh": rng.choice([None, None, None, 0, 5]),
        "deferral_window_mins": rng.choice([None, 0, 30, 60, 95, 240, 600]),
        "deadline": None,
        "created_at": None,
    }
    if rng.random() < 0.5:
        chosen["deadline"] = (as_of + timedelta(minutes=rng.randint(-5, 300))).isoformat()
    if rng.random() < 0.3:
        chosen["created_at"] = (as_of - timedelta(minutes=rng.randint(-5, 60))).isoformat()
    if rng.random() < 0.4:
        chosen["carbon_cap_gco2"] = rng.randint(50, 300)
    if rng.random() < 0.3:
        chosen["max_price_gbp"] = rng.choice([0, 0.05, 0.2, 1])
    return task(**chosen)
