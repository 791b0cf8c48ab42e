"""Bookings at a data centre that runners run, and an API server for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg

from described_events import assert_as_described
from served import Client

DC = "DC-001"
TEMPLATES: dict[str, Any] = {
    "count": {"power_kw": 1.0, "longest_s": 60.0, "parameters": {"up_to": {"pattern": "[0-9]+", "optional": True}}}
}


def register(
    api: Client, runner_id: str = "runner-1", *, headers: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    message = {"runner_id": runner_id, "dc_id": DC, "capacity_kw": 10, "templates": TEMPLATES, "take_over": True}
    answered = api.post("/api/v1/runners", {**message, **more}, headers=dict(headers or {}))
    assert answered.status_code == 200, answered.text
    registered: dict[str, Any] = answered.json()
    return registered


def book(
    conninfo: str,
    job_id: str,
    starts_at: datetime,
    *,
    lasts: timedelta = timedelta(minutes=10),
    run: Mapping[str, Any] | None = None,
    power_kw: float = 1.0,
    dc_id: str = DC,
    tenant: str = "local",
    deadline: datetime | None = None,
    deferral_window_mins: int | None = None,
) -> int:
    """A workload that is booked to be run by a runner; its run's id."""
    wanted = {"template": "count", "parameters": {}} if run is None else dict(run)
    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute(
            "insert into compute_workloads (job_id, operator, workload_type, urgency, required_gpu_mins, status, "
            "run, deadline, deferral_window_mins, scheduled_start) "
            "values (%s, %s, 'OTHER', 'LOW', 1, 'QUEUED', %s, %s, %s, %s)",
            (
                job_id,
                None if tenant == "local" else tenant,
                json.dumps(wanted) if wanted else None,
                deadline,
                deferral_window_mins,
                starts_at,
            ),
        )
        found = session.execute(
            "insert into capacity_bookings (dc_id, tenant, job_id, source, starts_at, ends_at, it_power_kw, "
            "carried_out_by, scheduled_at) values (%s, %s, %s, 'decision', %s, %s, %s, 'runner', %s) "
            "returning booking_id",
            (dc_id, tenant, job_id, starts_at, starts_at + lasts, power_kw, starts_at),
        ).fetchone()
    assert found is not None
    return int(found[0])


def booking(conninfo: str, run_id: int) -> dict[str, Any]:
    (found,) = _documents(conninfo, "select to_jsonb(b) from capacity_bookings b where booking_id = %s", run_id)
    return found


def readings(conninfo: str, run_id: int) -> list[dict[str, Any]]:
    return _documents(conninfo, "select to_jsonb(m) from meter_readings m where booking_id = %s", run_id)


def events(conninfo: str) -> list[dict[str, Any]]:
    rows = _documents(conninfo, "select to_jsonb(e) from broadcast_log e order by sequence")
    if rows:
        assert_as_described(rows)
    return rows


def _documents(conninfo: str, query: str, *arguments: Any) -> list[dict[str, Any]]:
    with psycopg.connect(conninfo, autocommit=True) as session:
        return [document for (document,) in session.execute(query.encode(), arguments).fetchall()]


def held_kw(conninfo: str) -> float:
    """What is held in all half-hours, summed up."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        found = session.execute("select coalesce(sum(held_kw), 0)::float from held_power").fetchone()
    assert found is not None
    return float(found[0])
