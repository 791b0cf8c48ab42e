"""What must hold of bookings at every moment, reckoned anew from the bookings and not from what is kept of them."""

from __future__ import annotations

from database.postgres import PostgresDatabase

_HOLDS = """
    with holds as (
        select b.dc_id, half_hour, sum(b.it_power_kw) as kw
        from public.capacity_bookings b
        cross join generate_series(
            date_bin('30 minutes', b.starts_at, '2000-01-01 00:00:00+00'), b.ends_at - interval '1 microsecond',
            interval '30 minutes') as half_hour
        where b.state in ('HELD', 'RUNNING')
        group by b.dc_id, half_hour
    )
"""
_OVERBOOKED = f"""{_HOLDS}
    select json_agg(json_build_array(h.dc_id, h.half_hour, h.kw) order by h.dc_id, h.half_hour)
    from holds h
    join public.data_centres d using (dc_id)
    where h.kw > d.total_capacity_mw::numeric * 1000
        * (100 - coalesce(d.base_load_percentage, d.current_load_percentage)::numeric) / 100
"""
_MISRECKONED = f"""{_HOLDS}
    select json_agg(json_build_array(dc_id, half_hour, h.kw, kept.held_kw) order by dc_id, half_hour)
    from holds h
    full join public.held_power kept using (dc_id, half_hour)
    where coalesce(h.kw, 0) <> coalesce(kept.held_kw, 0)
"""
_UNPLACED = """
    select json_agg(w.job_id order by w.job_id)
    from public.compute_workloads w
    where w.status in ('QUEUED', 'RUNNING') and not exists (
        select
        from public.capacity_bookings b
        where (b.tenant, b.job_id) = (w.tenant, w.job_id) and b.state in ('HELD', 'RUNNING'))
"""
_HELD_IN_ALL = "select coalesce(sum(held_kw), 0)::double precision from public.held_power"


def check_capacity(database: PostgresDatabase) -> None:
    """No half-hour of a data centre holds more than it has, what is kept is the sum of the bookings to the last
    digit, and whatever is QUEUED or RUNNING holds its power. It holds while nobody changes a base load."""
    found = {
        "more is held than there is": database.scalar(_OVERBOOKED),
        "held_power is not the sum of the bookings": database.scalar(_MISRECKONED),
        "QUEUED or RUNNING without power": database.scalar(_UNPLACED),
    }
    assert not any(found.values()), found


def held_kw_in_all(database: PostgresDatabase) -> float:
    """What is held, summed over all data centres and half-hours: 0 once everything is given back."""
    return float(database.scalar(_HELD_IN_ALL))


_OVERUSED = """
    select json_agg(json_build_array(used.dc_id, used.half_hour, used.wh) order by used.dc_id, used.half_hour)
    from (
        select newest.dc_id, newest.half_hour, sum(newest.it_energy_wh) as wh
        from (
            select distinct on (r.booking_id, r.half_hour) r.*
            from public.meter_readings r
            order by r.booking_id, r.half_hour, r.revision desc) as newest
        group by newest.dc_id, newest.half_hour) as used
    join public.data_centres d using (dc_id)
    where used.wh > 500 * d.total_capacity_mw::numeric * 1000
        * (100 - coalesce(d.base_load_percentage, d.current_load_percentage)::numeric) / 100
"""
_UNBOOKED = """
    select json_agg(json_build_array(r.booking_id, r.half_hour, r.it_energy_wh) order by r.booking_id, r.half_hour)
    from public.meter_readings r
    join public.capacity_bookings b using (booking_id)
    where r.it_energy_wh > b.it_power_kw * 500 + 0.001
        or r.half_hour < date_bin('30 minutes', b.started_at, '2000-01-01 00:00:00+00')
        or r.half_hour >= b.ended_at
"""


def check_meters(database: PostgresDatabase) -> None:
    """No data centre used more IT energy in a half-hour than it has power for, and no run more than was booked."""
    found = {
        "more was used than there is": database.scalar(_OVERUSED),
        "a run used what was not booked for it": database.scalar(_UNBOOKED),
    }
    assert not any(found.values()), found
