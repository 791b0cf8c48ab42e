-- Pipeline runs --------------------------------------------------------------------------------------------------------

-- One run a slot, however many servers ask: the row is the claim. A lost lease may be taken over, and so may that of
-- p_dead_owner, whom the caller knows to have died; p_again repeats a slot that is done. The token fences off a run
-- that lost its lease.
create or replace function public.claim_pipeline_slot(
    p_slot timestamptz, p_owner text, p_lease_seconds double precision, p_again boolean default false,
    p_dead_owner text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    moment timestamptz := clock_timestamp();
    claimed public.pipeline_runs;
begin
    insert into public.pipeline_runs (slot, state) values (p_slot, 'running') on conflict (slot) do nothing;
    -- Of two who ask at once the second waits here, and finds what the first has made of it.
    perform from public.pipeline_runs r where r.slot = p_slot for update;
    update public.pipeline_runs r
    set work_state = 'available'
    where r.slot = p_slot
        and (
            (r.work_state = 'completed' and p_again)
            or (r.work_state = 'running' and r.leased_by = p_dead_owner));
    perform public.queue_runs_sweep(p_slot, moment);
    select * into claimed
    from public.queue_runs_claim(p_slot, array[p_slot], p_owner, 1, moment, p_lease_seconds);
    if claimed.slot is null then
        return (
            select json_build_object(
                'claimed', false, 'state', r.state, 'owner', r.leased_by, 'lease_until', r.leased_until)
            from public.pipeline_runs r where r.slot = p_slot);
    end if;
    update public.pipeline_runs r
    set state = 'running', started_at = moment, finished_at = null, last_error = null
    where r.slot = p_slot;
    return json_build_object('claimed', true, 'lease_token', claimed.lease_token);
end
$$;

-- A run that is going on keeps its slot. Answers {"held": whether it had it still}.
create or replace function public.heartbeat_pipeline_slot(
    p_slot timestamptz, p_lease_token bigint, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', cardinality(public.queue_runs_heartbeat(
        array[p_slot], array[p_lease_token], clock_timestamp() + make_interval(secs => p_lease_seconds))) > 0)
$$;

-- Half-hour figures into grid_signals, regional_grid_signals and generation_mix. p_batch:
--   national: [{timestamp, settlement_period, carbon_…, demand_…, price_…, fetched_at}], regional: [{region_id,
--   timestamp, carbon_intensity_forecast, carbon_index, carbon_source, fetched_at, mix: {fuel: per cent}}],
--   national_mix: [{timestamp, mix_source, mix}].
-- A figure gives way only to one of the same or a better source: published before interpolated before modelled before
-- invented. A null never replaces a value.
create or replace function public.store_signals(p_batch jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    national_rows bigint;
    regional_rows bigint;
    mix_rows bigint;
begin
    insert into public.grid_signals as g (
        timestamp, settlement_period, carbon_intensity_forecast, carbon_intensity_actual, carbon_index, demand_mw,
        grid_stress_score, wholesale_price_gbp_mwh, carbon_source, demand_source, price_source, carbon_fetched_at,
        demand_fetched_at, price_fetched_at, demand_interpolated)
    select
        r.timestamp, r.settlement_period, r.carbon_intensity_forecast, r.carbon_intensity_actual, r.carbon_index,
        r.demand_mw, r.grid_stress_score, r.wholesale_price_gbp_mwh, r.carbon_source, r.demand_source, r.price_source,
        r.carbon_fetched_at, r.demand_fetched_at, r.price_fetched_at, coalesce(r.demand_interpolated, false)
    from jsonb_to_recordset(p_batch -> 'national') as r (
        timestamp timestamptz, settlement_period integer, carbon_intensity_forecast double precision,
        carbon_intensity_actual double precision, carbon_index text, demand_mw double precision,
        grid_stress_score double precision, wholesale_price_gbp_mwh double precision, carbon_source text,
        demand_source text, price_source text, carbon_fetched_at timestamptz, demand_fetched_at timestamptz,
        price_fetched_at timestamptz, demand_interpolated boolean)
    order by r.timestamp
    on conflict (timestamp) do update set
        (carbon_intensity_forecast, carbon_index, carbon_source, carbon_fetched_at) = (
            select either.forecast, either.index, either.source, either.fetched_at
            from (values
                (excluded.carbon_intensity_forecast, excluded.carbon_index, excluded.carbon_source, excluded.carbon_fetched_at, 1),
                (
                    g.carbon_intensity_forecast, g.carbon_index, g.carbon_source, g.carbon_fetched_at,
                    case when public.stored_is_newer(g.carbon_source, g.carbon_fetched_at, excluded.carbon_fetched_at) then 0 else 2 end)
            ) as either (forecast, index, source, fetched_at, turn)
            order by either.forecast is null, public.source_rank(either.source) desc, either.turn
            limit 1),
        carbon_intensity_actual = coalesce(excluded.carbon_intensity_actual, g.carbon_intensity_actual),
        (demand_mw, grid_stress_score, demand_source, demand_interpolated, demand_fetched_at) = (
            select either.demand, either.stress, either.source, either.interpolated, either.fetched_at
            from (values
                (
                    excluded.demand_mw, excluded.grid_stress_score, excluded.demand_source, excluded.demand_interpolated,
                    excluded.demand_fetched_at, 1),
                (
                    g.demand_mw, g.grid_stress_score, g.demand_source, g.demand_interpolated, g.demand_fetched_at,
                    case when public.stored_is_newer(g.demand_source, g.demand_fetched_at, excluded.demand_fetched_at) then 0 else 2 end)
            ) as either (demand, stress, source, interpolated, fetched_at, turn)
            order by
                either.demand is null, public.source_rank(either.source) desc, either.interpolated desc, either.turn
            limit 1),
        (wholesale_price_gbp_mwh, price_source, price_fetched_at) = (
            select either.price, either.source, either.fetched_at
            from (values
                (excluded.wholesale_price_gbp_mwh, excluded.price_source, excluded.price_fetched_at, 1),
                (
                    g.wholesale_price_gbp_mwh, g.price_source, g.price_fetched_at,
                    case when public.stored_is_newer(g.price_source, g.price_fetched_at, excluded.price_fetched_at) then 0 else 2 end)
            ) as either (price, source, fetched_at, turn)
            order by either.price is null, public.source_rank(either.source) desc, either.turn
            limit 1);
    get diagnostics national_rows = row_count;

    insert into public.regional_grid_signals as g (
        region_id, timestamp, carbon_intensity_forecast, carbon_index, carbon_source, fetched_at)
    select r.region_id, r.timestamp, r.carbon_intensity_forecast, r.carbon_index, r.carbon_source, r.fetched_at
    from jsonb_to_recordset(p_batch -> 'regional') as r (
        region_id integer, timestamp timestamptz, carbon_intensity_forecast double precision, carbon_index text,
        carbon_source text, fetched_at timestamptz)
    order by r.region_id, r.timestamp
    on conflict (region_id, timestamp) do update set
        carbon_intensity_forecast = excluded.carbon_intensity_forecast,
        carbon_index = excluded.carbon_index,
        carbon_source = excluded.carbon_source,
        fetched_at = excluded.fetched_at
    where excluded.carbon_intensity_forecast is not null
        and public.source_rank(excluded.carbon_source) >= public.source_rank(g.carbon_source);
    get diagnostics regional_rows = row_count;

    -- Unchanged percentages are left alone: most of the 14,000 rows of a run are.
    insert into public.generation_mix as g (region_id, timestamp, fuel, percentage, mix_source)
    select r.region_id, r.timestamp, share.fuel, share.percentage::double precision, r.mix_source
    from (
        select r.region_id, r.timestamp, r.carbon_source as mix_source, r.mix
        from jsonb_to_recordset(p_batch -> 'regional') as r (
            region_id integer, timestamp timestamptz, carbon_source text, mix jsonb)
        union all
        select null, n.timestamp, n.mix_source, n.mix
        from jsonb_to_recordset(p_batch -> 'national_mix') as n (timestamp timestamptz, mix_source text, mix jsonb)
        join public.grid_signals signal on signal.timestamp = n.timestamp
    ) as r
    cross join lateral jsonb_each_text(coalesce(r.mix, '{}')) as share (fuel, percentage)
    on conflict (region_id, timestamp, fuel) do update set
        percentage = excluded.percentage,
        mix_source = excluded.mix_source
    where public.source_rank(excluded.mix_source) >= public.source_rank(g.mix_source)
        and (g.percentage, g.mix_source) is distinct from (excluded.percentage, excluded.mix_source);
    get diagnostics mix_rows = row_count;

    return json_build_object('national', national_rows, 'regional', regional_rows, 'mix', mix_rows);
end
$$;

-- The synthetic side of the world: rows are made once and belong to whoever edits them afterwards; only what moves
-- with the time of day (load, state of charge) is kept moving, and only on rows that are synthetic.
create or replace function public.store_world(p_batch jsonb, p_slot timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    new_workloads bigint;
begin
    insert into public.operators (operator_id, name, operator_type, country, is_synthetic)
    select r.operator_id, r.name, r.operator_type, coalesce(r.country, 'GB'), r.is_synthetic
    from jsonb_populate_recordset(null::public.operators, coalesce(p_batch -> 'operators', '[]')) as r
    on conflict (operator_id) do nothing;

    insert into public.data_centres as d (
        dc_id, name, operator, region_id, location_region, latitude, longitude, pue, total_capacity_teraflops,
        total_capacity_mw, current_load_percentage, flexibility_rating, min_load_percentage, ramp_rate_mw_per_min,
        status, is_synthetic)
    select
        r.dc_id, r.name, r.operator, r.region_id, r.location_region, r.latitude, r.longitude, r.pue,
        r.total_capacity_teraflops, r.total_capacity_mw, r.current_load_percentage, r.flexibility_rating,
        r.min_load_percentage, r.ramp_rate_mw_per_min, r.status, r.is_synthetic
    from jsonb_populate_recordset(null::public.data_centres, coalesce(p_batch -> 'data_centres', '[]')) as r
    -- The invented load is what others draw: what runs of ours comes on top (load_data_centre).
    on conflict (dc_id) do update set base_load_percentage = excluded.current_load_percentage
    where d.is_synthetic
        and coalesce(d.base_load_percentage, d.current_load_percentage) is distinct from excluded.current_load_percentage;

    insert into public.storage_assets as s (
        asset_id, name, operator, region_id, asset_type, capacity_mwh, power_mw, state_of_charge_percentage,
        round_trip_efficiency, status, is_synthetic)
    select
        r.asset_id, r.name, r.operator, r.region_id, r.asset_type, r.capacity_mwh, r.power_mw,
        r.state_of_charge_percentage, r.round_trip_efficiency, r.status, r.is_synthetic
    from jsonb_populate_recordset(null::public.storage_assets, coalesce(p_batch -> 'storage_assets', '[]')) as r
    on conflict (asset_id) do update set state_of_charge_percentage = excluded.state_of_charge_percentage
    where s.is_synthetic and s.state_of_charge_percentage is distinct from excluded.state_of_charge_percentage;

    insert into public.agents as a (agent_id, name, agent_type, operator, version, status, is_synthetic)
    select r.agent_id, r.name, r.agent_type, r.operator, r.version, coalesce(r.status, 'ACTIVE'), r.is_synthetic
    from jsonb_populate_recordset(null::public.agents, coalesce(p_batch -> 'agents', '[]')) as r
    on conflict (agent_id) do update set version = excluded.version
    where a.version is distinct from excluded.version;

    -- Before the workloads: their decisions are to see the present intensity.
    update public.data_centres d
    set current_carbon_intensity_gco2 = g.carbon_intensity_forecast, carbon_intensity_timestamp = g.timestamp,
        carbon_intensity_source = g.carbon_source
    from public.regional_grid_signals g
    where g.region_id = d.region_id
        and g.timestamp = p_slot
        and (d.current_carbon_intensity_gco2, d.carbon_intensity_timestamp, d.carbon_intensity_source)
            is distinct from (g.carbon_intensity_forecast, g.timestamp, g.carbon_source);

    insert into public.compute_workloads (
        job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores, required_memory_gb,
        estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins, status, is_synthetic)
    select
        r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
        r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
        r.deferral_window_mins, 'PENDING', r.is_synthetic
    from jsonb_populate_recordset(null::public.compute_workloads, coalesce(p_batch -> 'workloads', '[]')) as r
    where not exists (select from public.compute_workloads w where w.job_id = r.job_id)
    order by r.job_id
    on conflict (tenant, job_id) do nothing;
    get diagnostics new_workloads = row_count;

    return json_build_object('workloads', new_workloads);
end
$$;

-- All that one run found, under its lease.
create or replace function public.store_run(p_slot timestamptz, p_lease_token bigint, p_batch jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    signals json;
begin
    -- The lock holds off a second run of the slot until this one has stored or rolled back.
    perform from public.pipeline_runs r
    where r.slot = p_slot and r.lease_token = p_lease_token and r.work_state = 'running'
    for update;
    if not found then
        return json_build_object('state', 'fenced');
    end if;
    signals := public.store_signals(p_batch);
    signals := (signals::jsonb || public.store_world(p_batch, p_slot)::jsonb || '{"state": "stored"}')::json;
    -- What was submitted before there was anything to decide from has waited for this.
    if exists (select from public.workload_notifications n where n.work_state in ('available', 'retryable')) then
        perform pg_notify('workload_ready', '');
    end if;
    return signals;
end
$$;

-- Tells everybody what a run that is finishing has come to: the sources that went away or came back, and, unless it failed, the
-- grid as it is now beside what the event before said of it. p_before: the sources as the run before left them, empty where
-- there was none: a database's first run tells nothing, since nobody knew anything else. It takes the publishing lock: call
-- it last.
create or replace function public.log_pipeline_run(p_run public.pipeline_runs, p_before jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    source record;
    present jsonb;
    last jsonb;
begin
    if p_before = '{}' then
        return;
    end if;
    for source in
        select
            now_.key as name, now_.value as told, now_.value ->> 'state' = 'fresh' as is_fresh
        from jsonb_each(p_run.sources) as now_
        where now_.value ->> 'state' in ('fresh', 'stale', 'failed')
            -- Of a source that nobody knew before it is told only if it is away.
            and (coalesce(p_before -> now_.key ->> 'state', 'fresh') in ('fresh', 'off')) <> (now_.value ->> 'state' = 'fresh')
        order by now_.key
    loop
        perform public.log_event(
            null, case when source.is_fresh then 'source.fresh' else 'source.stale' end, null,
            jsonb_build_object('source', source.name, 'slot', p_run.slot) || source.told, source.name);
    end loop;
    if p_run.state = 'failed' then
        return;
    end if;
    select jsonb_build_object(
        'half_hour', g.timestamp, 'carbon_intensity_gco2_per_kwh', g.carbon_intensity_forecast, 'carbon_index', g.carbon_index,
        'carbon_source', g.carbon_source, 'grid_stress_score', g.grid_stress_score, 'demand_mw', g.demand_mw,
        'demand_source', g.demand_source, 'wholesale_price_gbp_per_mwh', g.wholesale_price_gbp_mwh,
        'price_source', g.price_source)
    into present
    from public.grid_signals g
    where g.timestamp = public.half_hour_of(clock_timestamp());
    select b.event -> 'now' into last
    from public.broadcast_log b
    where b.is_everybodys and b.event_type = 'grid.updated'
    order by b.everybodys desc
    limit 1;
    perform public.log_event(
        null, 'grid.updated', null,
        jsonb_build_object(
            'slot', p_run.slot, 'state', p_run.state, 'finished_at', p_run.finished_at, 'rows', p_run.counts, 'now', present,
            'before', last,
            'changed', (
                select coalesce(jsonb_agg(figure.key order by figure.key), '[]')
                from jsonb_each(coalesce(present, '{}')) as figure
                where figure.key <> 'half_hour' and figure.value is distinct from last -> figure.key)),
        to_char(p_run.slot at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        public.event_summary(
            jsonb_build_object('slot', p_run.slot, 'state', p_run.state, 'finished_at', p_run.finished_at)
            || coalesce(present, '{}')));
end
$$;

-- The end of a run, under its lease. One that failed may be claimed again at once.
create or replace function public.finish_pipeline_run(
    p_slot timestamptz, p_lease_token bigint, p_state text, p_sources jsonb, p_counts jsonb, p_stages_ms jsonb,
    p_error text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    finished public.pipeline_runs;
    before jsonb;
begin
    if p_state = 'failed' then
        perform from public.queue_runs_fail(p_slot, p_lease_token, p_error, 0, 0) as failed where failed.slot is not null;
    else
        perform from unnest(public.queue_runs_complete(array[p_slot], array[p_lease_token], array[p_error]));
    end if;
    if not found then
        return json_build_object('state', 'fenced');
    end if;
    select r.sources into before
    from public.pipeline_runs r
    where r.sources <> '{}' -- this one's too, where it is repeated
    order by coalesce(r.finished_at, r.started_at) desc
    limit 1;
    update public.pipeline_runs r
    set state = p_state, finished_at = clock_timestamp(), sources = p_sources, counts = p_counts, stages_ms = p_stages_ms
    where r.slot = p_slot
    returning * into finished;
    perform public.log_pipeline_run(finished, coalesce(before, '{}'));
    return json_build_object('state', 'finished');
end
$$;

-- Time series, processed notifications, events, network messages and run records from before p_before. The newest event
-- stays, whatever its age. The audit log is never pruned.
create or replace function public.prune_history(p_before timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    signals bigint;
    regional bigint;
    notifications bigint;
    events bigint;
begin
    -- Named region by region, so that the index on (region_id, timestamp) finds the old rows. Mixes go with their signal.
    delete from public.regional_grid_signals g
    where g.region_id = any (array(select region_id from public.regions)) and g.timestamp < p_before;
    get diagnostics regional = row_count;
    delete from public.grid_signals g where g.timestamp < p_before;
    get diagnostics signals = row_count;
    delete from public.workload_notifications n where n.work_state = 'completed' and n.finished_at < p_before;
    get diagnostics notifications = row_count;
    delete from public.broadcast_log b
    where b.created_at < p_before and b.sequence < (select max(newest.sequence) from public.broadcast_log newest);
    get diagnostics events = row_count;
    delete from public.agent_states s
    where s.observed_at < p_before
        and exists (
            select from public.agent_states later where later.agent_id = s.agent_id and later.observed_at > s.observed_at);
    delete from public.processed_contexts p where p.processed_at < p_before;
    -- What an event of flexibility was measured by stays with it: without, its site would seem to have drawn nothing.
    delete from public.data_centre_loads l
    where l.half_hour < p_before
        and not exists (
            select from public.flexibility_baselines b where (b.dc_id, b.half_hour) = (l.dc_id, l.half_hour));
    -- What a virtual top node keeps of events that are over goes with their reports. Flexibility's own events stay, as the audit log
    -- does: each is named by what was decided and paid for it.
    delete from public.openadr_objects o where o.object_type = 'EVENT' and o.ends_at < p_before;
    -- Not the system prices' revisions, nor the events of the Demand Flexibility Service: they are settled by for years.
    delete from public.loss_of_load_forecasts l where l.half_hour < p_before;
    delete from public.run_now_power p where p.half_hour < p_before;
    perform public.beckn_prune(p_before);
    delete from public.pipeline_runs r where r.slot < p_before and r.work_state <> 'running';
    -- Half-hours are told apart anyhow, and no transaction is open for so long.
    delete from public.grid_changes c where c.changed_at < clock_timestamp() - interval '3 hours';
    return json_build_object(
        'grid_signals', signals, 'regional_grid_signals', regional, 'notifications', notifications, 'events', events);
end
$$;


