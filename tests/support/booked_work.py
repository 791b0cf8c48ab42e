"""Booked workloads for tests: as decisions leave them, without the decision."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from database.interface import Database, OrderBy, Row, Where
from grid_world import NOW, workload

HOUR = timedelta(hours=1)
ONE_GPU_KW = 0.96
"""IT power of one GPU with what is around it."""


def book(
    database: Database,
    job_id: str,
    *,
    starts_at: datetime = NOW,
    hours: float = 1,
    it_power_kw: float = ONE_GPU_KW,
    dc_id: str = "DC-001",
    **facts: Any,
) -> Row:
    """Store a QUEUED workload with a booking; by default an hour of one GPU, which may be put off by six hours."""
    needs = {"required_gpu_mins": 60, "deferral_window_mins": 360, "created_at": NOW, **facts}
    row = workload(job_id, status="QUEUED", host_dc_id=dc_id, scheduled_start=starts_at, **needs)
    (stored,) = database.insert("compute_workloads", [row])
    booking = {
        "dc_id": dc_id,
        "tenant": stored["tenant"],
        "job_id": job_id,
        "source": "decision",
        "starts_at": starts_at,
        "ends_at": starts_at + timedelta(hours=hours),
        "it_power_kw": it_power_kw,
        "carried_out_by": "simulation",
        "scheduled_at": starts_at,
    }
    (booked,) = database.insert("capacity_bookings", [booking])
    return booked


def the_workload(database: Database, job_id: str) -> Row:
    (row,) = database.select("compute_workloads", where=[Where("job_id", job_id)], order=OrderBy(("job_id",)))
    return row


def the_booking(database: Database, job_id: str) -> Row:
    """The newest of a workload."""
    by_age = OrderBy(("booking_id",), descending=True)
    return database.select("capacity_bookings", where=[Where("job_id", job_id)], order=by_age, limit=1)[0]


def the_load(database: Database, dc_id: str = "DC-001") -> tuple[float | None, float]:
    """The base load and the present load of a data centre, in per cent."""
    (row,) = database.select("data_centres", where=[Where("dc_id", dc_id)], order=OrderBy(("dc_id",)))
    return row["base_load_percentage"], row["current_load_percentage"]
