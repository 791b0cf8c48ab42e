"""Random worlds for catalogues: grids with holes in them, data centres of every kind, and workloads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from decisions.scoring.grid_context import GridContext
from grid.half_hours import HALF_HOUR, UTC, half_hour_of
from ontology.types import ComputeWorkload
from vocabulary import CarbonIndex, DataCentreStatus, Fuel, SignalSource, Urgency, WorkloadStatus, WorkloadType

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

# What PostgreSQL can hold: any character but NUL and lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
identities = st.from_regex(r"[A-Za-z0-9._:-]{1,12}", fullmatch=True)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
sources = st.sampled_from([str(source) for source in SignalSource])
source_counts = st.dictionaries(sources, st.integers(1, 96), max_size=2)


def amounts(least: float = 0, most: float = 5_000) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False) | st.integers(int(least), int(most)).map(float)


def perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def series(strategy: st.SearchStrategy[float]) -> st.SearchStrategy[list[float | None]]:
    return st.lists(perhaps(strategy), max_size=7)


prices = amounts(-500, 6_000)
stresses = amounts(0, 1)
intensities = amounts(0, 900)


@st.composite
def data_centres(draw: st.DrawFn, dc_id: str) -> dict[str, Any]:
    return {
        "dc_id": dc_id,
        "name": draw(texts),
        "operator": draw(perhaps(st.sampled_from(["OP-A", "OP-B", "op.c"]))),
        "region_id": draw(st.integers(1, 17)),
        "location_region": draw(texts),
        "latitude": draw(perhaps(amounts(-90, 90))),
        "longitude": draw(perhaps(amounts(-180, 180))),
        "pue": draw(amounts(1, 3)),
        "total_capacity_teraflops": draw(amounts(0, 1e7)),
        "total_capacity_mw": draw(st.just(0.0) | amounts(0, 1_000)),
        "current_load_percentage": draw(st.just(100.0) | amounts(0, 100)),
        "flexibility_rating": draw(stresses),
        "min_load_percentage": draw(perhaps(amounts(0, 100))),
        "ramp_rate_mw_per_min": draw(perhaps(amounts())),
        "status": draw(st.sampled_from(["ACTIVE", "ACTIVE", "ACTIVE", *map(str, DataCentreStatus)])),
        "is_synthetic": draw(st.booleans()),
    }


@st.composite
def grids(draw: st.DrawFn, now: datetime) -> GridContext:
    """A grid near `now`: series begin up to an hour before or after it, and any figure may be missing."""
    slots = st.integers(-2, 2).map(lambda halves: half_hour_of(now) + halves * HALF_HOUR)
    fetched = perhaps(st.timedeltas(timedelta(0), timedelta(hours=4)).map(lambda age: now - age))
    national = {
        "current": draw(
            perhaps(
                st.fixed_dictionaries(
                    {
                        "timestamp": st.just(half_hour_of(now)) | slots,
                        "grid_stress_score": perhaps(stresses),
                        "wholesale_price_gbp_mwh": perhaps(prices),
                        "price_source": perhaps(sources),
                        "demand_source": perhaps(sources),
                        "fetched_at": fetched,
                    }
                )
            )
        ),
        "forecast": {
            "start": draw(slots),
            "grid_stress_score": draw(series(stresses)),
            "wholesale_price_gbp_mwh": draw(series(prices)),
            "price_sources": draw(source_counts),
            "demand_sources": draw(source_counts),
            "oldest_fetched_at": draw(fetched),
        },
    }
    regions = st.lists(st.integers(1, 17), max_size=6, unique=True)
    regional = [
        {
            "region_id": region_id,
            "current": draw(
                perhaps(
                    st.fixed_dictionaries(
                        {
                            "timestamp": st.just(half_hour_of(now)) | slots,
                            "carbon_intensity_forecast": perhaps(intensities),
                            "carbon_index": perhaps(st.sampled_from(CarbonIndex)),
                            "carbon_source": perhaps(sources),
                            "fetched_at": fetched,
                        }
                    )
                )
            ),
            "forecast": {
                "start": draw(slots),
                "carbon_intensity_gco2_per_kwh": draw(series(intensities)),
                "carbon_sources": draw(source_counts),
                "oldest_fetched_at": draw(fetched),
            },
        }
        for region_id in draw(regions)
    ]
    mixes = [
        {
            "region_id": region_id,
            "timestamp": draw(perhaps(slots)),
            "mix": draw(st.dictionaries(st.sampled_from([str(fuel) for fuel in Fuel]), perhaps(amounts(0, 100)))),
        }
        for region_id in draw(st.lists(perhaps(st.integers(1, 17)), max_size=6, unique=True))
    ]
    dc_ids = draw(st.lists(identities, max_size=draw(st.sampled_from([0, 1, 4, 20])), unique=True))
    return GridContext.model_validate(
        {
            "as_of": now,
            "national": national,
            "regional": regional,
            "generation_mix": mixes,
            "data_centres": [draw(data_centres(dc_id)) for dc_id in dc_ids],
        }
    )


@st.composite
def workloads(draw: st.DrawFn, job_id: str) -> ComputeWorkload:
    created_at = draw(moments)
    return ComputeWorkload.model_validate(
        {
            "job_id": job_id,
            "operator": draw(perhaps(identities)),
            "host_dc_id": draw(perhaps(identities)),
            "workload_type": draw(st.sampled_from(WorkloadType)),
            "urgency": draw(st.sampled_from(Urgency)),
            "required_gpu_mins": draw(perhaps(amounts(0, 1e9))),
            "required_cpu_cores": draw(perhaps(st.integers(0, 100_000))),
            "required_memory_gb": draw(perhaps(amounts())),
            "estimated_energy_kwh": draw(perhaps(amounts())),
            "carbon_cap_gco2": draw(perhaps(amounts())),
            "max_price_gbp": draw(perhaps(amounts())),
            "deadline": draw(perhaps(moments)),
            "deferral_window_mins": draw(perhaps(st.integers(0, 2**31 - 1))),
            "status": draw(st.sampled_from(WorkloadStatus)),
            "status_reason": draw(perhaps(texts)),
            "scheduled_start": None,
            "actual_start": None,
            "actual_end": None,
            "actual_energy_kwh": None,
            "actual_carbon_gco2": None,
            "actual_cost_gbp": None,
            "actuals_basis": None,
            "run": None,
            "submission_digest": None,
            "is_synthetic": draw(st.booleans()),
            "created_at": created_at,
            "updated_at": created_at,
        }
    )


def queues(most: int = 8) -> st.SearchStrategy[list[ComputeWorkload]]:
    """Workloads of every status."""
    job_ids = st.lists(identities, max_size=most, unique=True)
    return job_ids.flatmap(lambda ids: st.tuples(*map(workloads, ids)).map(list))
