"""Runs that have ended, for tests of meters and accounts: stored as the executor leaves them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from database.interface import Database, OrderBy, Row, Where
from execution.metering import simulated
from grid_world import NOW, data_centre, workload

HOUR = timedelta(hours=1)


def ended_run(
    database: Database,
    job_id: str,
    *,
    start: datetime = NOW,
    duration: timedelta = HOUR,
    it_power_kw: float = 4,
    dc_id: str = "DC-001",
    run_now: Row | None = None,
    state: str = "ENDED",
    notification_id: int | None = None,
    **facts: Any,
) -> int:
    """Store a workload and the booking of a run of it that is over; the booking's number."""
    end = start + duration
    row = {"required_gpu_mins": 60, "host_dc_id": dc_id, "status": "COMPLETED", **facts}
    (stored,) = database.insert("compute_workloads", [workload(job_id, **row)])
    booking = {
        "dc_id": dc_id,
        "tenant": stored["tenant"],
        "job_id": job_id,
        "source": "decision",
        "notification_id": notification_id,
        "starts_at": start,
        "ends_at": end,
        "it_power_kw": it_power_kw,
        "run_now": run_now,
        "carried_out_by": "simulation",
        "state": state,
        "started_at": start,
        "ended_at": end,
        "work_state": "completed",
        "scheduled_at": start,
    }
    (booked,) = database.insert("capacity_bookings", [booking])
    number: int = booked["booking_id"]
    return number


def run_now(start: datetime = NOW, duration: timedelta = HOUR, dc_id: str = "DC-001", it_power_kw: float = 4) -> Row:
    """A counterfactual as decisions fix it."""
    return {
        "dc_id": dc_id,
        "starts_at": start.isoformat(),
        "ends_at": (start + duration).isoformat(),
        "it_power_kw": it_power_kw,
        "basis": "home",
    }


def simulated_rows(start: datetime, duration: timedelta, it_power_kw: float, pue: float) -> list[Row]:
    """The readings of a simulated run, as `record_readings` takes them."""
    return [reading.row() for reading in simulated(start, start + duration, it_power_kw, pue)]


def record(database: Database, booking_id: int, readings: list[Row], now: datetime) -> Row:
    """Record a run's readings at a moment; what the database answers."""
    arguments = {"p_booking_id": booking_id, "p_readings": readings, "p_now": now}
    answer: Row = database.call("record_readings", arguments)
    return answer


def metered_run(database: Database, job_id: str, *, now: datetime | None = None, **facts: Any) -> int:
    """A run that has ended and has its readings, in a data centre of `grid_world`."""
    start, duration = facts.get("start", NOW), facts.get("duration", HOUR)
    number = ended_run(database, job_id, **facts)
    pue = data_centre(int(facts.get("dc_id", "DC-001")[-3:]))["pue"]
    readings = simulated_rows(start, duration, facts.get("it_power_kw", 4), pue)
    assert record(database, number, readings, now or start + duration)["state"] == "recorded"
    return number


def the_account(database: Database, booking_id: int) -> Row:
    (row,) = database.select("run_accounts", where=[Where("booking_id", booking_id)], order=OrderBy(("booking_id",)))
    return row


def the_workload(database: Database, job_id: str) -> Row:
    (row,) = database.select("compute_workloads", where=[Where("job_id", job_id)], order=OrderBy(("job_id",)))
    return row


def readings_of(database: Database, booking_id: int) -> list[Row]:
    """All revisions, by half-hour."""
    return database.select(
        "meter_readings", where=[Where("booking_id", booking_id)], order=OrderBy(("half_hour", "revision"))
    )


def assert_conserved(conninfo: str) -> None:
    """Σ workloads = Σ meters = Σ data centres, as a whole and for each data centre and half-hour."""
    with psycopg.connect(conninfo) as session:
        row = session.execute(
            """
            with newest as (
                select distinct on (booking_id, half_hour) *
                from meter_readings order by booking_id, half_hour, revision desc
            )
            select
                (select coalesce(sum(round(actual_energy_kwh::numeric * 1000, 3)), 0) from compute_workloads),
                (select coalesce(sum(site_energy_wh), 0) from run_accounts),
                (select coalesce(sum(site_energy_wh), 0) from newest),
                (select coalesce(sum(site_energy_wh), 0) from data_centre_loads),
                (select coalesce(sum(it_energy_wh), 0) from run_accounts),
                (select coalesce(sum(it_energy_wh), 0) from newest),
                (select coalesce(sum(it_energy_wh), 0) from data_centre_loads),
                (
                    select count(*)
                    from (
                        select dc_id, half_hour, sum(it_energy_wh) as it, sum(site_energy_wh) as site
                        from newest group by dc_id, half_hour) as metered
                    full join data_centre_loads l using (dc_id, half_hour)
                    where (coalesce(metered.it, 0), coalesce(metered.site, 0))
                        is distinct from (l.it_energy_wh, l.site_energy_wh))
            """
        ).fetchone()
    assert row is not None
    workloads, accounts, meters, centres, *it_energy, unlike = row
    assert workloads == accounts == meters == centres
    assert len(set(it_energy)) == 1
    assert unlike == 0
