-- The power of one data centre, half-hour by half-hour -----------------------------------------------------------------------

-- IT power in kW in each of the 96 half-hours from that of p_now; null where there is no such data centre. Of what bookings
-- hold (booked_kw), running_kw is what runs; it is null where the data centre is not p_operator's, if one is named: what is
-- promised is no longer on offer, which all may know, but what runs is its operator's. The base load is known for the present
-- only, which stands for all.
create or replace function public.capacity_timeline(p_dc_id text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select json_build_object(
            'dc_id', d.dc_id,
            'name', d.name,
            'status', d.status,
            'start', first,
            'total_kw', own.total_kw,
            'base_kw', json_agg(own.total_kw - own.capacity_kw order by half_hour.i),
            'booked_kw', json_agg(half_hour.booked_kw order by half_hour.i),
            'running_kw', case
                when p_operator is null or d.tenant = p_operator then json_agg(half_hour.running_kw order by half_hour.i) end,
            'free_kw', json_agg(greatest(0, own.capacity_kw - half_hour.booked_kw) order by half_hour.i))
        from public.data_centres d
        cross join lateral (
            select d.total_capacity_mw::numeric * 1000 as total_kw, public.capacity_kw(d) as capacity_kw) as own
        cross join lateral (
            select ahead.i, coalesce(h.held_kw, 0) as booked_kw, coalesce(r.kw, 0) as running_kw
            from generate_series(0, 95) as ahead (i)
            cross join lateral (select first + ahead.i * interval '30 minutes' as slot) as at
            left join public.held_power h on (h.dc_id, h.half_hour) = (p_dc_id, at.slot)
            left join (
                select touched.slot, sum(b.it_power_kw) as kw
                from public.capacity_bookings b
                cross join lateral generate_series(
                    greatest(first, public.half_hour_of(b.starts_at)),
                    least(b.ends_at - interval '1 microsecond', first + interval '47 hours 30 minutes'),
                    interval '30 minutes') as touched (slot)
                where b.dc_id = p_dc_id and b.state = 'RUNNING'
                group by touched.slot) as r on r.slot = at.slot) as half_hour
        where d.dc_id = p_dc_id
        group by d.dc_id, d.name, d.status, d.tenant, own.total_kw);
end
$$;

