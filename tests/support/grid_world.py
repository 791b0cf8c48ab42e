"""A small grid for tests: signals, data centres and workloads, stored the way the pipeline stores them.

Figures are made up but regular: the intensity of region r in the k-th half-hour is `10 x r + k`, so that the region
with the least number is always the greenest and starting earlier is always greener.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from database.interface import Database, Row
from grid.half_hours import half_hour_of, half_hours, settlement_period

NOW = datetime(2026, 11, 22, 8, 4, 11, tzinfo=timezone.utc)
FORECAST = timedelta(hours=48)
REGIONS = tuple(range(1, 18))


def carbon_intensity_gco2_per_kwh(region_id: int, half_hours_ahead: int) -> float:
    """The stored intensity of a region, `half_hours_ahead` of the first half-hour."""
    return 10.0 * region_id + half_hours_ahead


def store_grid(
    database: Database,
    now: datetime = NOW,
    *,
    regions: Sequence[int] = REGIONS,
    carbon_added: float = 0,
    price_gbp_mwh: float | None = 80,
    grid_stress_score: float | None = 0.3,
    fetched_at: datetime | None = None,
) -> None:
    """Store the half-hour of `now` and the 48 hours from it on, all fetched at `now` unless told otherwise."""
    fetched_at = fetched_at or now
    slots = list(half_hours(half_hour_of(now), half_hour_of(now) + FORECAST))
    national = [
        {
            "timestamp": slot,
            "settlement_period": settlement_period(slot),
            "carbon_intensity_forecast": 150 + carbon_added,
            "carbon_intensity_actual": None,
            "carbon_index": "moderate",
            "demand_mw": None if grid_stress_score is None else 28_000,
            "grid_stress_score": grid_stress_score,
            "wholesale_price_gbp_mwh": price_gbp_mwh,
            "carbon_source": "carbon_intensity_api",
            "demand_source": "neso",
            "price_source": "elexon",
            "carbon_fetched_at": fetched_at,
            "demand_fetched_at": fetched_at,
            "price_fetched_at": fetched_at,
        }
        for slot in slots
    ]
    mix = {"wind": 40, "gas": 30, "nuclear": 15, "solar": 5, "biomass": 5, "imports": 5}
    regional = [
        {
            "region_id": region,
            "timestamp": slot,
            "carbon_intensity_forecast": carbon_intensity_gco2_per_kwh(region, ahead) + carbon_added,
            "carbon_index": "moderate",
            "carbon_source": "carbon_intensity_api",
            "fetched_at": fetched_at,
            "mix": mix if ahead == 0 else {},
        }
        for region in regions
        for ahead, slot in enumerate(slots)
    ]
    national_mix = [{"timestamp": slots[0], "mix_source": "carbon_intensity_api", "mix": mix}]
    batch = {"national": national, "regional": regional, "national_mix": national_mix}
    database.call("store_signals", {"p_batch": batch})


def data_centre(number: int, **changes: Any) -> Row:
    """An active data centre of 20 MW, half full, in one of the 14 regions."""
    return {
        "dc_id": f"DC-{number:03d}",
        "name": f"Data centre {number}",
        "operator": None,
        "region_id": (number - 1) % 14 + 1,
        "location_region": f"Place {number}",
        "latitude": 51.5,
        "longitude": -0.1,
        "pue": 1.2,
        "total_capacity_teraflops": 40_000,
        "total_capacity_mw": 20,
        "current_load_percentage": 50,
        "flexibility_rating": 0.6,
        "min_load_percentage": 20,
        "ramp_rate_mw_per_min": 0.5,
        "status": "ACTIVE",
        "is_synthetic": False,
        **changes,
    }


def workload(job_id: str, **changes: Any) -> Row:
    """An hour of one GPU that any of the data centres can take."""
    return {
        "job_id": job_id,
        "operator": None,
        "host_dc_id": None,
        "workload_type": "INFERENCE_BATCH",
        "urgency": "MEDIUM",
        "required_gpu_mins": 60,
        "required_cpu_cores": 8,
        "required_memory_gb": 32,
        "estimated_energy_kwh": None,
        "carbon_cap_gco2": None,
        "max_price_gbp": None,
        "deadline": None,
        "deferral_window_mins": None,
        **changes,
    }


def store_data_centres(database: Database, data_centres: Sequence[Row], now: datetime = NOW) -> None:
    """Store data centres as the pipeline does; a stored one stays as it is."""
    database.call("store_world", {"p_batch": {"data_centres": list(data_centres)}, "p_slot": half_hour_of(now)})


def submit(database: Database, *workloads: Row) -> None:
    """Insert workloads, each of which asks for a decision."""
    database.insert("compute_workloads", workloads)


def store_world(database: Database, now: datetime = NOW, *, data_centres: int = 3) -> None:
    """A grid and some data centres: enough to decide any workload."""
    store_grid(database, now)
    store_data_centres(database, [data_centre(number) for number in range(1, data_centres + 1)], now)
