-- Meters and accounts -----------------------------------------------------------------------------------------------------

-- Readings are written once ----------------------------------------------------------------------------------

create or replace function public.refuse_reading_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'meter readings are written once: % is not allowed', tg_op
        using errcode = 'insufficient_privilege', hint = 'Record a revision of them with record_readings instead.';
end
$$;

create or replace trigger refuse_row_change
    before update or delete on public.meter_readings
    for each row execute function public.refuse_reading_change();
create or replace trigger refuse_truncate
    before truncate on public.meter_readings
    for each statement execute function public.refuse_reading_change();
alter table public.meter_readings enable always trigger refuse_row_change;
alter table public.meter_readings enable always trigger refuse_truncate;

-- The newest revision of every half-hour of a run. All readings of a run end with zeros where a revision took a half-hour
-- back, so that the sum over the newest is the run's.
create or replace function public.newest_readings(p_booking_ids bigint[])
returns setof public.meter_readings
language sql
stable
set search_path = ''
as $$
    select distinct on (r.booking_id, r.half_hour) r.*
    from public.meter_readings r
    where r.booking_id = any (p_booking_ids)
    order by r.booking_id, r.half_hour, r.revision desc
$$;

-- What ran in a data centre follows its readings: a revision counts for what it differs from the one before.
create or replace function public.sum_data_centre_loads()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    insert into public.data_centre_loads as l (dc_id, half_hour, it_energy_wh, site_energy_wh)
    select
        r.dc_id, r.half_hour,
        sum(r.it_energy_wh - coalesce(before.it_energy_wh, 0)),
        sum(r.site_energy_wh - coalesce(before.site_energy_wh, 0))
    from recorded r
    left join public.meter_readings before
        on (before.booking_id, before.half_hour, before.revision) = (r.booking_id, r.half_hour, r.revision - 1)
    group by r.dc_id, r.half_hour
    order by r.dc_id, r.half_hour -- locked in one order by all
    on conflict (dc_id, half_hour) do update
    set it_energy_wh = l.it_energy_wh + excluded.it_energy_wh, site_energy_wh = l.site_energy_wh + excluded.site_energy_wh;
    return null;
end
$$;

create or replace trigger sum_data_centre_loads
    after insert on public.meter_readings
    referencing new table as recorded
    for each statement execute function public.sum_data_centre_loads();

-- Notes what others draw of every data centre in the half-hour of p_now: the history of what is otherwise only known of the
-- present. Answers how many data centres.
create or replace function public.sample_loads(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    sampled bigint;
begin
    insert into public.data_centre_loads as l (dc_id, half_hour, total_capacity_mw, base_load_percentage)
    select
        d.dc_id, public.half_hour_of(p_now), d.total_capacity_mw, coalesce(d.base_load_percentage, d.current_load_percentage)
    from public.data_centres d
    order by d.dc_id
    on conflict (dc_id, half_hour) do update
    set total_capacity_mw = excluded.total_capacity_mw, base_load_percentage = excluded.base_load_percentage;
    get diagnostics sampled = row_count;
    return json_build_object('data_centres', sampled);
end
$$;

-- What a run used ------------------------------------------------------------------------------------------------

-- The readings of a run that has ended, all of them: p_readings [{half_hour, it_energy_wh, site_energy_wh, source}…]. In the
-- transaction that ends the run its workload has its actual figures. May be called again: what is as it was adds nothing,
-- what differs is a revision, and a half-hour that is no longer named is revised to nothing. Answers {"state": "recorded" |
-- "repeated" | "not_ended" | "unknown_booking", "readings": how many were added}.
create or replace function public.record_readings(
    p_booking_id bigint, p_readings jsonb, p_now timestamptz default clock_timestamp())
returns json
language plpgsql
set search_path = ''
as $$
declare
    booking public.capacity_bookings;
    added bigint;
begin
    -- The workload first: the one order of locks.
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = p_booking_id)
    for no key update;
    select * into booking from public.capacity_bookings b where b.booking_id = p_booking_id for no key update;
    if booking.booking_id is null then
        return json_build_object('state', 'unknown_booking', 'readings', 0);
    end if;
    -- A run that was broken off has used what it used.
    if booking.state not in ('ENDED', 'RELEASED') then
        return json_build_object('state', 'not_ended', 'readings', 0);
    end if;
    insert into public.meter_readings (
        booking_id, dc_id, tenant, job_id, half_hour, it_energy_wh, site_energy_wh, source, revision, recorded_at)
    select
        p_booking_id, booking.dc_id, booking.tenant, booking.job_id, half_hour,
        coalesce(given.it_energy_wh, 0), coalesce(given.site_energy_wh, 0), coalesce(given.source, newest.source),
        coalesce(newest.revision, 0) + 1, p_now
    from jsonb_to_recordset(p_readings) as given (
        half_hour timestamptz, it_energy_wh numeric(18, 3), site_energy_wh numeric(18, 3), source text)
    full join public.newest_readings(array[p_booking_id]) as newest using (half_hour)
    where (coalesce(given.it_energy_wh, 0), coalesce(given.site_energy_wh, 0), coalesce(given.source, newest.source))
        is distinct from (newest.it_energy_wh, newest.site_energy_wh, newest.source);
    get diagnostics added = row_count;
    if added = 0 then
        return json_build_object('state', 'repeated', 'readings', 0);
    end if;
    perform public.open_account(booking, p_now);
    perform public.account_runs(array[p_booking_id], p_now);
    return json_build_object('state', 'recorded', 'readings', added);
end
$$;

-- What a run came to, and what it would have come to ------------------------------------------------------------------

-- Begins the account of a run, once: what of it is fixed. That is its counterfactual (the booking's run_now), whether that
-- is credited, and what the decision foretold of both.
create or replace function public.open_account(p_booking public.capacity_bookings, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    work public.compute_workloads;
    run_now_centre public.data_centres;
    options jsonb;
begin
    if exists (select from public.run_accounts a where a.booking_id = p_booking.booking_id) then
        return;
    end if;
    select * into work from public.compute_workloads w where (w.tenant, w.job_id) = (p_booking.tenant, p_booking.job_id);
    select * into run_now_centre from public.data_centres d where d.dc_id = p_booking.run_now ->> 'dc_id';
    select (d.output -> 'data_centre_options')::jsonb into options
    from public.orchestration_decisions d
    where d.notification_id = p_booking.notification_id;
    insert into public.run_accounts (
        booking_id, booking_key, tenant, job_id, dc_id, started_at, ended_at, run_now_dc_id, run_now_starts_at, run_now_pue,
        run_now_fits, predicted_carbon_gco2, predicted_cost_gbp, predicted_run_now_carbon_gco2, predicted_run_now_cost_gbp, accounted_at)
    select
        p_booking.booking_id, p_booking.booking_key, p_booking.tenant, p_booking.job_id, p_booking.dc_id,
        span.started_at, greatest(span.started_at + interval '1 microsecond', span.ended_at),
        run_now_centre.dc_id, (p_booking.run_now ->> 'starts_at')::timestamptz, run_now_centre.pue,
        case when run_now_centre.dc_id is not null then public.credit_run_now(run_now_centre, p_booking.run_now) end,
        (foretold.chosen #>> '{recommended,carbon_gco2}')::double precision,
        (foretold.chosen #>> '{recommended,cost_gbp}')::double precision,
        (foretold.run_now #>> '{run_now,carbon_gco2}')::double precision,
        (foretold.run_now #>> '{run_now,cost_gbp}')::double precision, p_now
    from (
        select
            coalesce(p_booking.started_at, work.actual_start, p_booking.starts_at) as started_at,
            coalesce(p_booking.ended_at, work.actual_end, p_booking.ends_at) as ended_at) as span
    cross join lateral (
        select
            jsonb_path_query_first(options, '$[*] ? (@.dc_id == $dc).estimates', jsonb_build_object('dc', p_booking.dc_id)),
            jsonb_path_query_first(
                options, '$[*] ? (@.dc_id == $dc).estimates', jsonb_build_object('dc', run_now_centre.dc_id))
    ) as foretold (chosen, run_now);
end
$$;

-- Whether a counterfactual would have had its power beside those that are credited already: then it is credited, and holds
-- its own. Each decision compares with a run at once on its own; that all of them could have run at once is not said by that.
create or replace function public.credit_run_now(p_centre public.data_centres, p_run_now jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    fits boolean;
begin
    with held as (
        insert into public.run_now_power as p (dc_id, half_hour, power_kw)
        select p_centre.dc_id, touched.half_hour, (p_run_now ->> 'it_power_kw')::numeric
        from generate_series(
            public.half_hour_of((p_run_now ->> 'starts_at')::timestamptz),
            (p_run_now ->> 'ends_at')::timestamptz - interval '1 microsecond', interval '30 minutes') as touched (half_hour)
        order by touched.half_hour -- locked in one order by all
        on conflict (dc_id, half_hour) do update set power_kw = p.power_kw + excluded.power_kw
        returning p.power_kw
    )
    select bool_and(held.power_kw <= public.capacity_kw(p_centre)) into fits from held;
    if not fits then
        raise exception using errcode = 'PY507'; -- takes back what was put in
    end if;
    return fits;
exception
    when sqlstate 'PY507' then
        return false;
end
$$;

-- Works out the accounts of these runs from their newest readings and the figures of the grid that are known now, and with
-- them the actual figures of their workloads. The caller holds the workloads' locks. Answers how many accounts changed.
--
-- Carbon of a half-hour: site energy x the region's intensity. No actual is published for regions: once the nation's is
-- known, the region's last forecast x national actual / national forecast is taken (as in back-tests), where both are of the
-- Carbon Intensity API. Cost: site energy x the stored price. The counterfactual is the run itself, moved: the energy of
-- each of its half-hours is moved by as much as its start, and shared out by time among the half-hours that it then touches;
-- elsewhere its IT energy counts with that place's PUE. In numeric, so that a run that was not moved equals itself.
create or replace function public.account_runs(p_booking_ids bigint[], p_now timestamptz)
returns integer
language plpgsql
set search_path = ''
as $$
declare
    changed bigint[];
begin
    with runs as materialized (
        select
            a.booking_id, a.dc_id, a.ended_at, a.started_at, d.region_id, a.run_now_dc_id, elsewhere.region_id as run_now_region_id,
            a.run_now_starts_at - a.started_at as moved_by,
            case when a.run_now_dc_id <> a.dc_id then a.run_now_pue::numeric end as run_now_pue
        from public.run_accounts a
        join public.data_centres d on d.dc_id = a.dc_id
        left join public.data_centres elsewhere on elsewhere.dc_id = a.run_now_dc_id
        where a.booking_id = any (p_booking_ids)
    ),
    readings as materialized (
        select
            r.booking_id, r.half_hour, r.it_energy_wh::numeric as it_wh, r.site_energy_wh::numeric as site_wh, r.source,
            -- The part of the half-hour that it ran in; the whole of one that its window does not touch.
            case when inside.it then greatest(r.half_hour, runs.started_at) else r.half_hour end as since,
            case when inside.it then least(r.half_hour + interval '30 minutes', runs.ended_at)
                else r.half_hour + interval '30 minutes' end as until
        from public.newest_readings(p_booking_ids) as r
        join runs using (booking_id)
        cross join lateral (
            select r.half_hour < runs.ended_at and r.half_hour + interval '30 minutes' > runs.started_at as it) as inside
    ),
    parts as (
        select r.booking_id, false as is_run_now, r.half_hour, runs.region_id, r.it_wh, r.site_wh, r.source
        from readings r
        join runs using (booking_id)
        union all
        select
            r.booking_id, true, touched.half_hour, runs.run_now_region_id, r.it_wh * share.of_it,
            coalesce(r.it_wh * runs.run_now_pue, r.site_wh) * share.of_it, r.source
        from readings r
        join runs using (booking_id)
        cross join lateral generate_series(
            public.half_hour_of(r.since + runs.moved_by), r.until + runs.moved_by - interval '1 microsecond',
            interval '30 minutes') as touched (half_hour)
        cross join lateral (
            select
                extract(epoch from least(touched.half_hour + interval '30 minutes', r.until + runs.moved_by)
                    - greatest(touched.half_hour, r.since + runs.moved_by))
                / extract(epoch from r.until - r.since)) as share (of_it)
        where runs.run_now_region_id is not null
    ),
    priced as (
        select
            p.*,
            case
                when actual.is_known
                    then regional.carbon_intensity_forecast::numeric * national.carbon_intensity_actual::numeric
                        / national.carbon_intensity_forecast::numeric
                else regional.carbon_intensity_forecast::numeric end as gco2_per_kwh,
            national.wholesale_price_gbp_mwh::numeric as gbp_per_mwh,
            case
                when regional.carbon_intensity_forecast is null then 'unknown'
                when regional.carbon_source <> 'carbon_intensity_api' then regional.carbon_source
                when actual.is_known then 'national_actual'
                else 'forecast' end as carbon_basis,
            coalesce(national.price_source, 'unknown') as price_basis
        from parts p
        left join public.regional_grid_signals regional
            on (regional.region_id, regional.timestamp) = (p.region_id, p.half_hour)
        left join public.grid_signals national on national.timestamp = p.half_hour
        cross join lateral (
            select coalesce(
                regional.carbon_source = 'carbon_intensity_api' and national.carbon_source = 'carbon_intensity_api'
                and national.carbon_intensity_actual > 0 and national.carbon_intensity_forecast > 0, false)) as actual (is_known)
        where p.site_wh > 0
    ),
    summed as (
        select
            p.booking_id, p.is_run_now,
            case when bool_and(p.gco2_per_kwh is not null)
                then round(sum(p.site_wh * p.gco2_per_kwh) / 1000, 6)::double precision end as carbon_gco2,
            case when bool_and(p.gbp_per_mwh is not null)
                then round(sum(p.site_wh * p.gbp_per_mwh) / 1000000, 9)::double precision end as cost_gbp,
            round(sum(p.site_wh), 6)::double precision as site_wh,
            bool_and(p.carbon_basis = 'national_actual' and p.price_basis = 'elexon') as is_whole
        from priced p
        group by p.booking_id, p.is_run_now
    ),
    bases as (
        select
            p.booking_id,
            jsonb_build_object(
                'half_hours', count(*),
                'energy', (select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.source)) as one),
                'carbon', (
                    select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.carbon_basis)) as one),
                'cost', (
                    select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.price_basis)) as one))
                as basis
        from priced p
        where not p.is_run_now
        group by p.booking_id
    ),
    worked_out as (
        select
            runs.booking_id, metered.it_wh, metered.site_wh,
            -- A run that used nothing emitted nothing.
            case when metered.site_wh = 0 then 0 else actual.carbon_gco2 end as carbon_gco2,
            case when metered.site_wh = 0 then 0 else actual.cost_gbp end as cost_gbp,
            case when nothing_moved.it then 0 else run_now.site_wh end as run_now_site_wh,
            case when nothing_moved.it then 0 else run_now.carbon_gco2 end as run_now_carbon_gco2,
            case when nothing_moved.it then 0 else run_now.cost_gbp end as run_now_cost_gbp,
            coalesce(bases.basis, jsonb '{"half_hours": 0}') as basis,
            -- The sources revise for a day; what has not come within a week is not coming.
            p_now >= runs.ended_at + interval '7 days'
                or (p_now >= runs.ended_at + interval '25 hours'
                    and coalesce(actual.is_whole, true) and coalesce(run_now.is_whole, true)) as is_settled
        from runs
        cross join lateral (
            select coalesce(sum(r.it_wh), 0) as it_wh, coalesce(sum(r.site_wh), 0) as site_wh
            from readings r
            where r.booking_id = runs.booking_id) as metered
        cross join lateral (
            select metered.site_wh = 0 and runs.run_now_region_id is not null as it) as nothing_moved
        left join summed actual on actual.booking_id = runs.booking_id and not actual.is_run_now
        left join summed run_now on run_now.booking_id = runs.booking_id and run_now.is_run_now
        left join bases on bases.booking_id = runs.booking_id
    ),
    written as (
        update public.run_accounts a
        set it_energy_wh = o.it_wh,
            site_energy_wh = o.site_wh,
            carbon_gco2 = o.carbon_gco2,
            cost_gbp = o.cost_gbp,
            run_now_site_energy_wh = o.run_now_site_wh,
            run_now_carbon_gco2 = o.run_now_carbon_gco2,
            run_now_cost_gbp = o.run_now_cost_gbp,
            basis = o.basis,
            revision = a.revision + case
                when (
                    a.it_energy_wh, a.site_energy_wh, a.carbon_gco2, a.cost_gbp, a.run_now_site_energy_wh, a.run_now_carbon_gco2,
                    a.run_now_cost_gbp, a.basis)
                    is distinct from (
                    o.it_wh, o.site_wh, o.carbon_gco2, o.cost_gbp, o.run_now_site_wh, o.run_now_carbon_gco2,
                    o.run_now_cost_gbp, o.basis) then 1
                else 0 end,
            accounted_at = p_now,
            settled_at = case when o.is_settled then p_now end
        from worked_out o
        where a.booking_id = o.booking_id
            and (
                a.it_energy_wh, a.site_energy_wh, a.carbon_gco2, a.cost_gbp, a.run_now_site_energy_wh, a.run_now_carbon_gco2,
                a.run_now_cost_gbp, a.basis, a.settled_at is not null)
                is distinct from (
                o.it_wh, o.site_wh, o.carbon_gco2, o.cost_gbp, o.run_now_site_wh, o.run_now_carbon_gco2, o.run_now_cost_gbp,
                o.basis, o.is_settled)
        returning a.booking_id
    )
    select coalesce(array_agg(w.booking_id), '{}') into changed from written w;

    -- A workload that ran more than once has used what all its runs used.
    update public.compute_workloads w
    set actual_energy_kwh = own.site_energy_wh / 1000.0,
        actual_carbon_gco2 = own.carbon_gco2,
        actual_cost_gbp = own.cost_gbp,
        actuals_basis = own.basis
    from (
        select
            a.tenant, a.job_id, sum(a.site_energy_wh) as site_energy_wh,
            case when bool_and(a.carbon_gco2 is not null) then sum(a.carbon_gco2) end as carbon_gco2,
            case when bool_and(a.cost_gbp is not null) then sum(a.cost_gbp) end as cost_gbp,
            case
                when count(*) = 1 then (array_agg(a.basis))[1]
                else jsonb_build_object('runs', jsonb_agg(a.basis order by a.started_at, a.booking_id)) end
            || jsonb_build_object('revision', max(a.revision), 'settled', bool_and(a.settled_at is not null)) as basis
        from public.run_accounts a
        where (a.tenant, a.job_id) in (
            select c.tenant, c.job_id from public.run_accounts c where c.booking_id = any (changed))
        group by a.tenant, a.job_id) as own
    where (w.tenant, w.job_id) = (own.tenant, own.job_id)
        and (w.actual_energy_kwh, w.actual_carbon_gco2, w.actual_cost_gbp, w.actuals_basis)
            is distinct from (own.site_energy_wh / 1000.0, own.carbon_gco2, own.cost_gbp, own.basis);
    return cardinality(changed);
end
$$;

-- How often each word is among these.
create or replace function public.counted_words(p_words text[])
returns table (word text, half_hours bigint)
language sql
immutable
set search_path = ''
as $$
    select one, count(*) from unnest(p_words) as one group by one
$$;

-- Works the accounts out again that may yet change, up to p_limit of them with numbers above p_after: as the grid's actual
-- figures have come. Answers {"revised": how many changed, "next": the number to go on after, null at the end}.
create or replace function public.revise_accounts(p_now timestamptz, p_after bigint, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    open bigint[];
    revised integer;
begin
    select coalesce(array_agg(page.booking_id order by page.booking_id), '{}') into open
    from (
        select a.booking_id
        from public.run_accounts a
        where a.settled_at is null and a.booking_id > p_after
        order by a.booking_id
        limit p_limit) as page;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (select a.tenant, a.job_id from public.run_accounts a where a.booking_id = any (open))
    order by w.tenant, w.job_id
    for no key update;
    revised := public.account_runs(open, p_now);
    return json_build_object(
        'revised', revised, 'next', case when cardinality(open) = p_limit then open[p_limit] end);
end
$$;

-- Savings ------------------------------------------------------------------------------------------------------------

-- What the runs that began in [p_from, p_until) came to, by 'day' (UTC, of the start), 'data_centre', 'operator' or
-- 'workload_type', and all together (key null): [{key, runs, …}…]. What is compared are the runs whose counterfactual is
-- credited and of which every figure is known; all figures with "compared" and "run_now" are of these, and "predicted" ones
-- of those of them whose decision foretold both. A tenant sees its own.
create or replace function public.savings(
    p_from timestamptz, p_until timestamptz, p_by text, p_carbon_price_gbp_per_t double precision)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        with runs as (
            select
                case p_by
                    when 'day' then to_char(a.started_at at time zone 'UTC', 'YYYY-MM-DD')
                    when 'data_centre' then a.dc_id
                    when 'operator' then a.tenant
                    when 'workload_type' then w.workload_type end as key,
                a.*,
                coalesce(a.run_now_fits, false)
                    and (a.carbon_gco2 + a.cost_gbp + a.run_now_carbon_gco2 + a.run_now_cost_gbp) is not null as is_compared,
                coalesce(a.run_now_fits, false)
                    and (
                        a.carbon_gco2 + a.cost_gbp + a.run_now_carbon_gco2 + a.run_now_cost_gbp + a.predicted_carbon_gco2
                        + a.predicted_cost_gbp + a.predicted_run_now_carbon_gco2 + a.predicted_run_now_cost_gbp)
                        is not null as is_predicted
            from public.run_accounts a
            join public.compute_workloads w on (w.tenant, w.job_id) = (a.tenant, a.job_id)
            where a.started_at >= p_from and a.started_at < p_until
        ),
        sums as (
            select
                r.key, grouping(r.key) = 1 as is_total,
                count(*) as runs,
                sum(r.it_energy_wh) as it_energy_wh,
                sum(r.site_energy_wh) as site_energy_wh,
                sum(r.carbon_gco2) as carbon_gco2,
                count(*) filter (where r.carbon_gco2 is null) as runs_of_unknown_carbon,
                sum(r.cost_gbp) as cost_gbp,
                count(*) filter (where r.cost_gbp is null) as runs_of_unknown_cost,
                count(*) filter (where r.settled_at is null) as runs_to_be_revised,
                count(*) filter (where r.run_now_dc_id is null) as runs_without_counterfactual,
                count(*) filter (where not r.run_now_fits) as runs_without_room_to_run_now,
                count(*) filter (where r.is_compared) as compared_runs,
                sum(r.site_energy_wh) filter (where r.is_compared) as compared_site_energy_wh,
                sum(r.carbon_gco2) filter (where r.is_compared) as compared_carbon_gco2,
                sum(r.cost_gbp) filter (where r.is_compared) as compared_cost_gbp,
                sum(r.run_now_site_energy_wh) filter (where r.is_compared) as run_now_site_energy_wh,
                sum(r.run_now_carbon_gco2) filter (where r.is_compared) as run_now_carbon_gco2,
                sum(r.run_now_cost_gbp) filter (where r.is_compared) as run_now_cost_gbp,
                count(*) filter (where r.is_compared and r.carbon_gco2 > r.run_now_carbon_gco2) as runs_worse_in_carbon,
                count(*) filter (where r.is_compared and r.cost_gbp > r.run_now_cost_gbp) as runs_worse_in_cost,
                count(*) filter (
                    where r.is_compared
                        and r.cost_gbp + r.carbon_gco2 * p_carbon_price_gbp_per_t / 1e6
                            > r.run_now_cost_gbp + r.run_now_carbon_gco2 * p_carbon_price_gbp_per_t / 1e6) as runs_worse,
                count(*) filter (where r.is_predicted) as predicted_runs,
                sum(r.predicted_run_now_carbon_gco2 - r.predicted_carbon_gco2)
                    filter (where r.is_predicted) as predicted_carbon_saving_gco2,
                sum(r.predicted_run_now_cost_gbp - r.predicted_cost_gbp)
                    filter (where r.is_predicted) as predicted_cost_saving_gbp,
                sum(r.run_now_carbon_gco2 - r.carbon_gco2) filter (where r.is_predicted) as realised_carbon_saving_gco2,
                sum(r.run_now_cost_gbp - r.cost_gbp) filter (where r.is_predicted) as realised_cost_saving_gbp
            from runs r
            group by grouping sets ((r.key), ())
        )
        select coalesce(json_agg(s order by s.is_total, s.key), '[]') from sums s);
end
$$;
