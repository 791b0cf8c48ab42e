-- What a kilowatt is worth ------------------------------------------------------------------------------------------------

-- The work that prices of capacity are planned from, where they are to be planned: after a pipeline run, and at most every five
-- minutes where something has been decided or changed since. Null where nothing is to be planned, else {"slot", "newest_event",
-- "held": [{operator, job_id, dc_id, starts_at, ends_at, it_power_kw}…] (promised by a decision and not begun: it could be
-- elsewhere), "contexts": decision_contexts of that work and of what waits for a place}. What waits comes first, then what holds
-- most power, as many as are planned within seconds.
create or replace function public.work_to_price(p_now timestamptz)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    run timestamptz;
    known public.capacity_prices;
    event bigint;
    most integer;
    waiting jsonb;
    held jsonb;
begin
    select max(r.slot) into run
    from public.pipeline_runs r
    where r.slot between public.half_hour_of(p_now) - interval '30 minutes' and public.half_hour_of(p_now)
        and r.state in ('succeeded', 'partial');
    if run is null then
        return null;
    end if;
    select * into known from public.capacity_prices p where p.slot = run;
    select coalesce(max(e.newest), 0) into event from public.event_numbers e;
    if known.slot is not null and (known.newest_event = event or known.planned_at > p_now - interval '5 minutes') then
        return null;
    end if;

    select least(200, 20000 / greatest(1, count(*))) into most from public.data_centres d where d.status <> 'OFFLINE';
    select coalesce(jsonb_agg(jsonb_build_object('operator', one.tenant, 'job_id', one.job_id)), '[]') into waiting
    from (
        select w.tenant, w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE') and not public.has_place(w)
        order by w.created_at, w.tenant, w.job_id
        limit most) as one;
    select coalesce(jsonb_agg(one), '[]') into held
    from (
        select
            b.tenant as operator, b.job_id, b.dc_id, b.starts_at, b.ends_at, b.it_power_kw::double precision as it_power_kw
        from public.capacity_bookings b
        where b.state = 'HELD' and b.source = 'decision' and b.carried_out_by in ('simulation', 'runner') and b.starts_at > p_now
        order by b.it_power_kw desc, b.booking_id
        limit most - jsonb_array_length(waiting)) as one;
    return json_build_object(
        'slot', run,
        'newest_event', event,
        'held', held,
        'contexts', public.decision_contexts(
            waiting || coalesce((
                select jsonb_agg(jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(held) as one), '[]'),
            p_now));
end
$$;

-- Keeps the prices of a run in place of those it had, if they are not older, and forgets those of the day before. Answers
-- {"state": "stored" | "late"}.
create or replace function public.store_capacity_prices(p_prices jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.capacity_prices as p (
        slot, planned_at, newest_event, starts_at, half_hours, workloads, left_out, method, gbp_per_kw)
    select
        r.slot, r.planned_at, r.newest_event, r.starts_at, r.half_hours, r.workloads, r.left_out, r.method, r.gbp_per_kw
    from jsonb_to_record(p_prices) as r (
        slot timestamptz, planned_at timestamptz, newest_event bigint, starts_at timestamptz, half_hours integer,
        workloads integer, left_out integer, method text, gbp_per_kw jsonb)
    where exists (select from public.pipeline_runs run where run.slot = r.slot)
    on conflict (slot) do update
    set planned_at = excluded.planned_at, newest_event = excluded.newest_event, starts_at = excluded.starts_at,
        half_hours = excluded.half_hours, workloads = excluded.workloads, left_out = excluded.left_out,
        method = excluded.method, gbp_per_kw = excluded.gbp_per_kw
    where p.planned_at <= excluded.planned_at;
    get diagnostics stored = row_count;
    delete from public.capacity_prices p where p.slot < (p_prices ->> 'slot')::timestamptz - interval '1 day';
    return json_build_object('state', case stored when 0 then 'late' else 'stored' end);
end
$$;

