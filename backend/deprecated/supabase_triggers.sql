-- Pylon DEG: triggers and the functions that write. Run it after supabase_schema.sql; idempotent like that file.
--
-- Everything that must happen together is one function here, so that it is one transaction over psycopg and one
-- HTTP call over PostgREST alike.

set client_min_messages = warning;

-- This file's functions, for the blocks that drop them, below, and grant them, at the end.
set pylon.functions = 'touch_updated_at refuse_audit_change notify_new_workload submit_workloads claim_pipeline_slot store_signals '
    'store_world store_run finish_pipeline_run prune_history awaits_decision claim_notifications '
    'heartbeat_notifications release_notifications fail_notification requeue_dead reconsider_deferred '
    'queue_health decision_contexts decision_context note_context publish_decisions events_after outputs_history '
    'task_output newest_unacknowledged_output acknowledge_output current_context mark_context_processed '
    'register_agent record_agent_state';

-- A replaced function cannot change its parameters' names or its answer's type, and one with other parameters would
-- stand beside the new one: so each is dropped before it is made again. Those that something depends on stay.
do $drop$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        begin
            execute format('drop function %s', routine.signature);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$drop$;

-- updated_at -----------------------------------------------------------------------------------------------------

create or replace function public.touch_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;

do $touch$
declare
    touched text;
begin
    foreach touched in array array['operators', 'data_centres', 'compute_workloads', 'agents', 'storage_assets'] loop
        execute format(
            'create or replace trigger touch_updated_at before update on public.%I '
            'for each row when (old.* is distinct from new.*) execute function public.touch_updated_at()', touched);
    end loop;
end
$touch$;


-- The audit log is written once ------------------------------------------------------------------------------------

create or replace function public.refuse_audit_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'orchestration_decisions is an audit log: % is not allowed', tg_op
        using errcode = 'insufficient_privilege', hint = 'Publish a new decision instead.';
end
$$;

create or replace trigger refuse_row_change
    before update or delete on public.orchestration_decisions
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on public.orchestration_decisions
    for each statement execute function public.refuse_audit_change();
-- "always": not even a session that calls itself a replica may pass.
alter table public.orchestration_decisions enable always trigger refuse_row_change;
alter table public.orchestration_decisions enable always trigger refuse_truncate;


-- A new workload asks for a decision, whoever inserted it ------------------------------------------------------------

create or replace function public.notify_new_workload()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'PENDING' then
        insert into public.workload_notifications (job_id) values (new.job_id);
        perform pg_notify('workload_ready', '');
    end if;
    return new;
end
$$;

create or replace trigger notify_new_workload
    after insert on public.compute_workloads
    for each row execute function public.notify_new_workload();


-- Workloads arrive all or none ---------------------------------------------------------------------------------------

-- p_rows: submissions with job_id and submission_digest. Answers {"created": [job_id…], "rows": [stored rows…]}, or,
-- with nothing stored, {"conflicts": […]}, {"unknown_operators": […], "known_operators": […]} or the same for data
-- centres.
create or replace function public.submit_workloads(p_rows jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    unknown_words json;
    created_ids text[];
    conflicting text[];
begin
    select json_agg(distinct r.operator) into unknown_words
    from jsonb_to_recordset(p_rows) as r (operator text)
    where r.operator is not null and not exists (select from public.operators o where o.operator_id = r.operator);
    if unknown_words is not null then
        return json_build_object('unknown_operators', unknown_words, 'known_operators', (
            select coalesce(json_agg(known.operator_id), '[]')
            from (select operator_id from public.operators order by operator_id limit 50) as known));
    end if;

    select json_agg(distinct r.host_dc_id) into unknown_words
    from jsonb_to_recordset(p_rows) as r (host_dc_id text)
    where r.host_dc_id is not null and not exists (select from public.data_centres d where d.dc_id = r.host_dc_id);
    if unknown_words is not null then
        return json_build_object('unknown_data_centres', unknown_words, 'known_data_centres', (
            select coalesce(json_agg(known.dc_id), '[]')
            from (select dc_id from public.data_centres order by dc_id limit 50) as known));
    end if;

    -- The inner block is a savepoint: a conflict found after the insert takes the whole request back. The check comes
    -- after, in a statement of its own, because only then does it see a row another request committed meanwhile.
    begin
        with inserted as (
            insert into public.compute_workloads (
                job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores,
                required_memory_gb, estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins,
                submission_digest)
            select
                r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest
            from jsonb_populate_recordset(null::public.compute_workloads, p_rows) as r
            order by r.job_id -- two overlapping requests take their locks in one order
            on conflict (job_id) do nothing
            returning job_id
        )
        select coalesce(array_agg(inserted.job_id), '{}') into created_ids from inserted;

        select array_agg(r.job_id) into conflicting
        from jsonb_to_recordset(p_rows) as r (job_id text, submission_digest text)
        join public.compute_workloads w on w.job_id = r.job_id
        where w.submission_digest is distinct from r.submission_digest;
        if conflicting is not null then
            raise exception using errcode = 'PY409';
        end if;
    exception
        when sqlstate 'PY409' then
            return json_build_object('conflicts', conflicting);
    end;

    return json_build_object('created', created_ids, 'rows', (
        select json_agg(w order by r.position)
        from jsonb_array_elements(p_rows) with ordinality as r (submitted, position)
        join public.compute_workloads w on w.job_id = r.submitted ->> 'job_id'));
end
$$;


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
    claimed public.pipeline_runs;
begin
    insert into public.pipeline_runs as r (slot, state, owner, lease_token, lease_until)
    values (
        p_slot, 'running', p_owner, nextval('public.lease_tokens'),
        clock_timestamp() + make_interval(secs => p_lease_seconds))
    on conflict (slot) do update set
        state = 'running',
        owner = excluded.owner,
        lease_token = excluded.lease_token,
        lease_until = excluded.lease_until,
        attempts = r.attempts + 1,
        started_at = clock_timestamp(),
        finished_at = null,
        error = null
    where (r.state = 'running' and (r.lease_until < clock_timestamp() or r.owner = p_dead_owner))
        or r.state = 'failed'
        or (p_again and r.state in ('succeeded', 'partial'))
    returning * into claimed;
    if claimed.slot is null then
        return (
            select json_build_object('claimed', false, 'state', r.state, 'owner', r.owner, 'lease_until', r.lease_until)
            from public.pipeline_runs r where r.slot = p_slot);
    end if;
    return json_build_object('claimed', true, 'lease_token', claimed.lease_token);
end
$$;

-- Half-hour figures into grid_signals, regional_grid_signals and generation_mix. p_batch:
--   national: [{timestamp, settlement_period, carbon_…, demand_…, price_…, fetched_at}], regional: [{region_id,
--   timestamp, carbon_intensity_forecast, carbon_index, carbon_source, fetched_at, mix: {fuel: per cent}}],
--   national_mix: [{timestamp, mix_source, mix}].
-- A figure gives way only to one of the same or a better source; a null never replaces a value.
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
        demand_fetched_at, price_fetched_at)
    select
        r.timestamp, r.settlement_period, r.carbon_intensity_forecast, r.carbon_intensity_actual, r.carbon_index,
        r.demand_mw, r.grid_stress_score, r.wholesale_price_gbp_mwh, r.carbon_source, r.demand_source, r.price_source,
        r.carbon_fetched_at, r.demand_fetched_at, r.price_fetched_at
    from jsonb_to_recordset(p_batch -> 'national') as r (
        timestamp timestamptz, settlement_period integer, carbon_intensity_forecast double precision,
        carbon_intensity_actual double precision, carbon_index text, demand_mw double precision,
        grid_stress_score double precision, wholesale_price_gbp_mwh double precision, carbon_source text,
        demand_source text, price_source text, carbon_fetched_at timestamptz, demand_fetched_at timestamptz,
        price_fetched_at timestamptz)
    order by r.timestamp
    on conflict (timestamp) do update set
        (carbon_intensity_forecast, carbon_index, carbon_source, carbon_fetched_at) = (
            select * from (values
                (excluded.carbon_intensity_forecast, excluded.carbon_index, excluded.carbon_source, excluded.carbon_fetched_at),
                (g.carbon_intensity_forecast, g.carbon_index, g.carbon_source, g.carbon_fetched_at)
            ) as either (forecast, index, source, fetched_at)
            order by either.forecast is null, public.source_rank(either.source) desc, either.fetched_at desc nulls last
            limit 1),
        carbon_intensity_actual = coalesce(excluded.carbon_intensity_actual, g.carbon_intensity_actual),
        (demand_mw, grid_stress_score, demand_source, demand_fetched_at) = (
            select * from (values
                (excluded.demand_mw, excluded.grid_stress_score, excluded.demand_source, excluded.demand_fetched_at),
                (g.demand_mw, g.grid_stress_score, g.demand_source, g.demand_fetched_at)
            ) as either (demand, stress, source, fetched_at)
            order by either.demand is null, public.source_rank(either.source) desc, either.fetched_at desc nulls last
            limit 1),
        (wholesale_price_gbp_mwh, price_source, price_fetched_at) = (
            select * from (values
                (excluded.wholesale_price_gbp_mwh, excluded.price_source, excluded.price_fetched_at),
                (g.wholesale_price_gbp_mwh, g.price_source, g.price_fetched_at)
            ) as either (price, source, fetched_at)
            order by either.price is null, public.source_rank(either.source) desc, either.fetched_at desc nulls last
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
    on conflict (dc_id) do update set current_load_percentage = excluded.current_load_percentage
    where d.is_synthetic and d.current_load_percentage is distinct from excluded.current_load_percentage;

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
    set current_carbon_intensity_gco2 = g.carbon_intensity_forecast, carbon_intensity_timestamp = g.timestamp
    from public.regional_grid_signals g
    where g.region_id = d.region_id
        and g.timestamp = p_slot
        and (d.current_carbon_intensity_gco2, d.carbon_intensity_timestamp)
            is distinct from (g.carbon_intensity_forecast, g.timestamp);

    insert into public.compute_workloads (
        job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores, required_memory_gb,
        estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins, status, is_synthetic)
    select
        r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
        r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
        r.deferral_window_mins, 'PENDING', r.is_synthetic
    from jsonb_populate_recordset(null::public.compute_workloads, coalesce(p_batch -> 'workloads', '[]')) as r
    order by r.job_id
    on conflict (job_id) do nothing;
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
    where r.slot = p_slot and r.lease_token = p_lease_token and r.state = 'running'
    for update;
    if not found then
        return json_build_object('state', 'fenced');
    end if;
    signals := public.store_signals(p_batch);
    return (signals::jsonb || public.store_world(p_batch, p_slot)::jsonb || '{"state": "stored"}')::json;
end
$$;

create or replace function public.finish_pipeline_run(
    p_slot timestamptz, p_lease_token bigint, p_state text, p_sources jsonb, p_counts jsonb, p_stages_ms jsonb,
    p_error text default null)
returns json
language sql
set search_path = ''
as $$
    with finished as (
        update public.pipeline_runs r
        set state = p_state, finished_at = clock_timestamp(), sources = p_sources, counts = p_counts,
            stages_ms = p_stages_ms, error = p_error
        where r.slot = p_slot and r.lease_token = p_lease_token and r.state = 'running'
        returning r.slot
    )
    select json_build_object('state', case when exists (select from finished) then 'finished' else 'fenced' end)
$$;

-- Time series, processed notifications, events and run records from before p_before. The newest event stays, whatever
-- its age: the next sequence number is counted on from it. The audit log is never pruned.
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
    delete from public.workload_notifications n where n.state = 'done' and n.finished_at < p_before;
    get diagnostics notifications = row_count;
    delete from public.broadcast_log b
    where b.created_at < p_before and b.sequence < (select max(newest.sequence) from public.broadcast_log newest);
    get diagnostics events = row_count;
    delete from public.agent_states s
    where s.observed_at < p_before
        and exists (
            select from public.agent_states later where later.agent_id = s.agent_id and later.observed_at > s.observed_at);
    delete from public.processed_contexts p where p.processed_at < p_before;
    delete from public.pipeline_runs r where r.slot < p_before and r.state <> 'running';
    return json_build_object(
        'grid_signals', signals, 'regional_grid_signals', regional, 'notifications', notifications, 'events', events);
end
$$;


-- The queue of notifications -------------------------------------------------------------------------------------------
--
-- ready → leased → done, or back to ready after a failure, or dead after the last attempt. A lease is short and its
-- token fences: whoever lost it can no longer extend, fail or publish. Locks are always taken in one order,
-- notifications by number, then workloads by job_id, then the sequence, so that no two workers wait for each other.

-- The statuses in which a workload still waits for a decision.
create or replace function public.awaits_decision(status text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
$$;

-- Takes up to p_limit notifications that are due, or whose holder let the lease run out. Answers {"claimed":
-- [{notification_id, job_id, reason, attempt, lease_token, created_at}…], "withdrawn": [those whose workload no longer
-- waits, closed without a decision], "died": [those whose last lease ran out]}, the latter as {notification_id, job_id}.
create or replace function public.claim_notifications(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    died json;
    due bigint[];
    answer json;
begin
    with expired as materialized (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'leased' and n.lease_until < clock_timestamp() and n.attempts >= n.max_attempts
        for update skip locked
    ),
    buried as (
        update public.workload_notifications n
        set state = 'dead',
            lease_token = null,
            lease_until = null,
            context = null,
            last_error = 'the lease of the last attempt ran out, held by ' || n.leased_by
                || coalesce('; before that: ' || n.last_error, '')
        from expired
        where n.notification_id = expired.notification_id
        returning n.notification_id, n.job_id
    )
    select coalesce(json_agg(buried), '[]') into died from buried;

    -- Locked in a statement of its own: inside the update the planner may lock, and update, more rows than the limit.
    select coalesce(array_agg(stale.notification_id), '{}') into due
    from (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'leased' and n.lease_until < clock_timestamp() and n.attempts < n.max_attempts
        order by n.lease_until
        limit p_limit
        for update skip locked) as stale;
    select due || coalesce(array_agg(ready.notification_id), '{}') into due
    from (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'ready' and n.run_at <= clock_timestamp()
        order by n.run_at, n.notification_id
        limit p_limit - cardinality(due)
        for update skip locked) as ready;

    with judged as materialized (
        select n.notification_id, w.status, public.awaits_decision(w.status) as waits
        from public.workload_notifications n
        join public.compute_workloads w on w.job_id = n.job_id
        where n.notification_id = any (due)
    ),
    withdrawn as (
        update public.workload_notifications n
        set state = 'done', lease_token = null, lease_until = null, finished_at = clock_timestamp(),
            last_error = 'withdrawn: the workload is ' || judged.status
        from judged
        where n.notification_id = judged.notification_id and not judged.waits
        returning n.notification_id, n.job_id
    ),
    claimed as (
        update public.workload_notifications n
        set state = 'leased',
            attempts = n.attempts + 1,
            leased_by = p_worker,
            lease_token = nextval('public.lease_tokens'),
            lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
            context = null
        from judged
        where n.notification_id = judged.notification_id and judged.waits
        returning n.notification_id, n.job_id, n.reason, n.attempts as attempt, n.lease_token, n.created_at
    )
    select json_build_object(
        'claimed', (select coalesce(json_agg(claimed order by claimed.notification_id), '[]') from claimed),
        'withdrawn', (select coalesce(json_agg(withdrawn), '[]') from withdrawn),
        'died', died)
    into answer;
    return answer;
end
$$;

-- p_leases: [{notification_id, lease_token}…]. Answers {"held": [notification_id…]}: those still held, now for longer.
create or replace function public.heartbeat_notifications(p_leases jsonb, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    with locked as materialized (
        select n.notification_id
        from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = lease.notification_id and n.lease_token = lease.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n
    ),
    held as (
        update public.workload_notifications n
        set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
        from locked
        where n.notification_id = locked.notification_id
        returning n.notification_id
    )
    select json_build_object('held', coalesce(json_agg(notification_id order by notification_id), '[]')) from held
$$;

-- Gives unfinished work back at once and uncounted, as a worker that stops does. Answers {"released": n}.
create or replace function public.release_notifications(p_leases jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select n.notification_id
        from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = lease.notification_id and n.lease_token = lease.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n
    )
    update public.workload_notifications n
    set state = 'ready', attempts = n.attempts - 1, lease_token = null, lease_until = null, context = null
    from locked
    where n.notification_id = locked.notification_id;
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('released', released);
end
$$;

-- Tried again after 2, 4, 8, 16 … seconds, at most five minutes, give or take a quarter so that failures that came
-- together do not come back together; dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced",
-- "run_at"}.
create or replace function public.fail_notification(
    p_notification_id bigint, p_lease_token bigint, p_error text, p_retry_seconds double precision default null)
returns json
language sql
set search_path = ''
as $$
    with failed as (
        update public.workload_notifications n
        set state = case when n.attempts >= n.max_attempts then 'dead' else 'ready' end,
            run_at = clock_timestamp()
                + make_interval(secs => coalesce(p_retry_seconds, least(300, power(2, n.attempts)) * (0.75 + random() / 2))),
            lease_token = null,
            lease_until = null,
            context = null,
            last_error = left(p_error, 2000)
        where n.notification_id = p_notification_id and n.lease_token = p_lease_token and n.state = 'leased'
        returning n.state, n.run_at
    )
    select coalesce(
        (
            select json_build_object(
                'state', case when state = 'dead' then 'dead' else 'retry' end,
                'run_at', case when state = 'ready' then run_at end)
            from failed),
        '{"state": "fenced", "run_at": null}')
$$;

-- An operator's call: dead notifications, all or the given ones, get all their attempts again. Answers {"requeued": n}.
create or replace function public.requeue_dead(p_notification_ids jsonb default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    requeued bigint;
begin
    update public.workload_notifications n
    set state = 'ready', attempts = 0, run_at = clock_timestamp()
    where n.state = 'dead'
        and (p_notification_ids is null
            or n.notification_id in (select id::bigint from jsonb_array_elements_text(p_notification_ids) as id));
    get diagnostics requeued = row_count;
    if requeued > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('requeued', requeued);
end
$$;

-- After a pipeline run the grid may answer differently: every workload that was decided and found no place asks again,
-- until its deadline; then it has failed. One with an open notification (dead ones count: they wait for an operator) is
-- left alone. Answers {"reconsidered": [job_id…], "failed": [job_id…]}.
create or replace function public.reconsider_deferred(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    overdue json;
    renewed json;
begin
    with waiting as materialized (
        select w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and w.deadline <= p_now
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
        order by w.job_id
        for update skip locked
    ),
    failed as (
        update public.compute_workloads w
        set status = 'FAILED',
            status_reason = 'No data centre could take it before its deadline.' || coalesce(' ' || w.status_reason, '')
        from waiting
        where w.job_id = waiting.job_id
        returning w.job_id
    )
    select coalesce(json_agg(failed.job_id order by failed.job_id), '[]') into overdue from failed;

    with waiting as materialized (
        select w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and (w.deadline is null or w.deadline > p_now)
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
        order by w.job_id
    ),
    asked as (
        -- Two runs at once meet in the unique index on open notifications, and one of them asks.
        insert into public.workload_notifications (job_id, reason)
        select waiting.job_id, 'reconsidered' from waiting
        on conflict (job_id) where state <> 'done' do nothing
        returning job_id
    )
    select coalesce(json_agg(asked.job_id order by asked.job_id), '[]') into renewed from asked;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('reconsidered', renewed, 'failed', overdue);
end
$$;

-- depth: notifications that wait, retries not yet due and expired leases included.
create or replace function public.queue_health()
returns json
language sql
stable
set search_path = ''
as $$
    with lease as (
        select
            count(*) filter (where n.lease_until >= clock_timestamp()) as live,
            count(*) filter (where n.lease_until < clock_timestamp()) as expired,
            min(n.created_at) filter (where n.lease_until < clock_timestamp()) as oldest_expired
        from public.workload_notifications n
        where n.state = 'leased'
    ),
    ready as (
        select count(*) as n, min(n.created_at) as oldest from public.workload_notifications n where n.state = 'ready'
    )
    select json_build_object(
        'depth', ready.n + lease.expired,
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - least(ready.oldest, lease.oldest_expired)),
        'in_flight', lease.live,
        'dead', (select count(*) from public.workload_notifications n where n.state = 'dead'))
    from ready, lease
$$;


-- The decision context ---------------------------------------------------------------------------------------------------

-- Several workloads and the one grid they are decided on: {"grid": {as_of, national, regional, data_centres,
-- generation_mix, summary}, "tasks": [{context_id, task}…]} in the order asked for. A decision context is the grid and
-- one task's two keys.
create or replace function public.decision_contexts(p_job_ids jsonb, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select json_build_object(
        'grid', public.grid_context(p_now),
        'tasks', coalesce((
            select json_agg(json_build_object(
                'context_id', gen_random_uuid(),
                'task', json_build_object(
                    'job_id', w.job_id, 'operator', w.operator, 'host_dc_id', w.host_dc_id, 'workload_type', w.workload_type,
                    'urgency', w.urgency, 'required_gpu_mins', w.required_gpu_mins,
                    'required_cpu_cores', w.required_cpu_cores, 'required_memory_gb', w.required_memory_gb,
                    'estimated_energy_kwh', w.estimated_energy_kwh, 'carbon_cap_gco2', w.carbon_cap_gco2,
                    'max_price_gbp', w.max_price_gbp, 'deadline', w.deadline,
                    'deferral_window_mins', w.deferral_window_mins, 'status', w.status, 'created_at', w.created_at))
                order by asked.position)
            from jsonb_array_elements_text(p_job_ids) with ordinality as asked (job_id, position)
            join public.compute_workloads w on w.job_id = asked.job_id), '[]'))
$$;

-- The context of one workload, whole: what a decision made at p_now would be made from. Null for an unknown job_id.
create or replace function public.decision_context(p_job_id text, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select ((contexts.document -> 'grid')::jsonb || (contexts.document -> 'tasks' -> 0)::jsonb)::json
    from (select public.decision_contexts(jsonb_build_array(p_job_id), p_now) as document) as contexts
$$;

-- Shows the context that a model is thinking about. Answers {"state": "noted" | "fenced"}.
create or replace function public.note_context(p_notification_id bigint, p_lease_token bigint, p_context jsonb)
returns json
language sql
set search_path = ''
as $$
    with noted as (
        update public.workload_notifications n
        set context = p_context
        where n.notification_id = p_notification_id and n.lease_token = p_lease_token and n.state = 'leased'
        returning n.notification_id
    )
    select json_build_object('state', case when exists (select from noted) then 'noted' else 'fenced' end)
$$;


-- Publishing -------------------------------------------------------------------------------------------------------------

-- The decisions of p_agent_id on one grid, each whole or not at all: the audit row, the next sequence number, the
-- event, the workload's new status and the end of the notification, in this one transaction.
--
-- p_grid: the grid the decisions were made on. p_decisions: [{notification_id, lease_token, context (what the grid
-- lacks: context_id, task, settings), output, chosen_dc_id, recommended_start, workload_status, status_reason, scorer,
-- model, scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, token_usage}…].
-- Answers {"results": [{notification_id, job_id, state, sequence}…]}; state is published, already (a repeated call),
-- fenced (the lease was lost: nothing is stored) or withdrawn (the workload no longer waits: closed without a decision).
create or replace function public.publish_decisions(p_agent_id text, p_grid jsonb, p_decisions jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    offered_ids bigint[];
    publishable bigint[];
    withdrawn bigint[];
    head bigint;
    results json;
begin
    select array_agg(locked.notification_id) into offered_ids
    from (
        select n.notification_id
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = d.notification_id and n.lease_token = d.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n) as locked;
    perform from public.compute_workloads w
    where w.job_id in (
        select n.job_id from public.workload_notifications n where n.notification_id = any (offered_ids))
    order by w.job_id
    for no key update;

    -- Now that nobody can change them: which of the workloads still wait.
    select
        coalesce(array_agg(n.notification_id) filter (where public.awaits_decision(w.status)), '{}'),
        coalesce(array_agg(n.notification_id) filter (where not public.awaits_decision(w.status)), '{}')
    into publishable, withdrawn
    from public.workload_notifications n
    join public.compute_workloads w on w.job_id = n.job_id
    where n.notification_id = any (offered_ids);

    update public.workload_notifications n
    set state = 'done', lease_until = null, context = null, finished_at = clock_timestamp(),
        last_error = 'withdrawn: the workload is ' || w.status
    from public.compute_workloads w
    where n.notification_id = any (withdrawn) and w.job_id = n.job_id;

    if cardinality(publishable) > 0 then
        -- One publisher at a time from here to its commit, so that numbers have no gap and a reader never sees a
        -- higher one before a lower. Read in a statement of its own, which sees what the one before committed.
        perform pg_advisory_xact_lock(7263812);
        select coalesce(max(b.sequence), 0) into head from public.broadcast_log b;

        with decided as materialized (
            select
                head + row_number() over (order by d.notification_id) as sequence,
                n.job_id,
                d.*
            from jsonb_to_recordset(p_decisions) as d (
                notification_id bigint, context jsonb, output jsonb, chosen_dc_id text, recommended_start timestamptz,
                workload_status text, status_reason text, scorer text, model text, scorer_version text,
                fallback_reason text, reasoning text, constraints_evaluated jsonb, alternatives_considered jsonb,
                token_usage jsonb)
            join public.workload_notifications n on n.notification_id = d.notification_id
            where d.notification_id = any (publishable)
        ),
        audited as (
            insert into public.orchestration_decisions (
                notification_id, sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer, model, scorer_version,
                fallback_reason, reasoning, constraints_evaluated, alternatives_considered, context, output, token_usage)
            select
                d.notification_id, d.sequence, d.job_id, a.agent_id, d.chosen_dc_id, d.recommended_start, d.scorer, d.model,
                d.scorer_version, d.fallback_reason, d.reasoning, coalesce(d.constraints_evaluated, '[]'),
                coalesce(d.alternatives_considered, '[]'), p_grid || d.context,
                jsonb_set(d.output, '{_metadata,sequence}', to_jsonb(d.sequence)), d.token_usage
            from decided d
            left join public.agents a on a.agent_id = p_agent_id
            returning decision_id, notification_id, sequence, job_id
        ),
        logged as (
            -- The output is stored once, in the audit log; events_after joins the two.
            insert into public.broadcast_log (sequence, event_type, job_id, notification_id, event)
            select a.sequence, 'decision', a.job_id, a.notification_id, json_build_object('decision_id', a.decision_id)
            from audited a
        ),
        placed as (
            update public.compute_workloads w
            set status = d.workload_status,
                status_reason = d.status_reason,
                host_dc_id = case when d.workload_status = 'QUEUED' then d.chosen_dc_id else w.host_dc_id end,
                scheduled_start = case when d.workload_status = 'QUEUED' then d.recommended_start end
            from decided d
            where w.job_id = d.job_id
        )
        update public.workload_notifications n
        set state = 'done', lease_until = null, context = null, finished_at = clock_timestamp()
        from decided d
        where n.notification_id = d.notification_id;

        perform pg_notify('broadcast', (head + cardinality(publishable))::text);
    end if;

    select coalesce(json_agg(json_build_object(
        'notification_id', d.notification_id,
        'job_id', n.job_id,
        'state', case
            when d.notification_id = any (publishable) then 'published'
            when n.lease_token = d.lease_token and n.state = 'done' and o.sequence is not null then 'already'
            when n.lease_token = d.lease_token and n.state = 'done' then 'withdrawn'
            else 'fenced' end,
        'sequence', case when n.lease_token = d.lease_token then o.sequence end) order by d.notification_id), '[]')
    into results
    from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
    left join public.workload_notifications n on n.notification_id = d.notification_id
    left join public.orchestration_decisions o on o.notification_id = d.notification_id;
    return json_build_object('results', results);
end
$$;

-- Events by cursor, oldest first: {"events": [{sequence, event_type, job_id, created_at, event}…], "next" (the cursor to
-- go on from), "oldest", "newest" (what the log holds)}. Reading takes nothing from anyone else.
create or replace function public.events_after(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select b.sequence, b.event_type, b.job_id, b.created_at, coalesce(d.output, b.event) as event
        from (
            select * from public.broadcast_log where sequence > p_after order by sequence limit p_limit) as b
        left join public.orchestration_decisions d on d.notification_id = b.notification_id
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.sequence) from page), '[]'),
        'next', coalesce((select max(page.sequence) from page), p_after),
        'oldest', (select min(b.sequence) from public.broadcast_log b),
        'newest', (select max(b.sequence) from public.broadcast_log b))
$$;

-- Outputs by cursor, newest first: {"outputs": […], "next"}; "next" is null at the end.
create or replace function public.outputs_history(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select d.sequence, d.output
        from public.orchestration_decisions d
        where d.sequence < coalesce(p_after, 9223372036854775807)
        order by d.sequence desc
        limit p_limit
    ),
    ending as (
        select min(page.sequence) as sequence from page
    )
    select json_build_object(
        'outputs', coalesce((select json_agg(page.output order by page.sequence desc) from page), '[]'),
        'next', (
            select ending.sequence from ending
            where exists (select from public.orchestration_decisions d where d.sequence < ending.sequence)))
$$;

-- A task's newest output: {"sequence", "output"}, both null where there is none.
create or replace function public.task_output(p_task_id text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        from public.orchestration_decisions d
        where d.job_id = p_task_id
        order by d.decided_at desc, d.sequence desc
        limit 1) as newest on true
$$;

-- The newest output that a consumer has not acknowledged: {"sequence", "output"}, both null where there is none.
create or replace function public.newest_unacknowledged_output(p_consumer text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        -- What is not acknowledged is a few ranges of numbers, however many outputs there are.
        from unnest(int8multirange(int8range(1, null)) - coalesce(
            (select c.acknowledged from public.output_consumers c where c.consumer = p_consumer), '{}')) as missing
        cross join lateral (
            select candidate.sequence, candidate.output
            from public.orchestration_decisions candidate
            where candidate.sequence >= lower(missing)
                and candidate.sequence < coalesce(upper(missing), 9223372036854775807)
            order by candidate.sequence desc
            limit 1) as d
        order by d.sequence desc
        limit 1) as newest on true
$$;

-- Acknowledges a task's outputs, up to p_sequence where it is given, so that one published meanwhile is not lost.
-- Answers {"known": whether the task has such an output, "cleared": whether one was unacknowledged until now}.
create or replace function public.acknowledge_output(p_consumer text, p_task_id text, p_sequence bigint default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    sequences int8multirange;
    changed text;
begin
    select range_agg(int8range(d.sequence, d.sequence, '[]')) into sequences
    from public.orchestration_decisions d
    where d.job_id = p_task_id and d.sequence <= coalesce(p_sequence, 9223372036854775807);
    if sequences is null then
        return json_build_object('known', false, 'cleared', false);
    end if;
    insert into public.output_consumers as c (consumer, acknowledged)
    values (p_consumer, sequences)
    on conflict (consumer) do update set acknowledged = c.acknowledged + excluded.acknowledged
    where not c.acknowledged @> excluded.acknowledged
    returning c.consumer into changed;
    if changed is not null then
        perform pg_notify('acknowledged', p_consumer);
    end if;
    return json_build_object('known', true, 'cleared', changed is not null);
end
$$;

-- The context a model is thinking about, else the one of the newest decision; of one task where p_task_id is given.
-- {"state": "in_work" | "decided" | "none", "task_id", "context", "processed_by": [consumer…]}
create or replace function public.current_context(p_task_id text default null)
returns json
language sql
stable
set search_path = ''
as $$
    with thinking as materialized (
        select 'in_work' as state, n.job_id, n.context
        from public.workload_notifications n
        where n.state = 'leased' and n.context is not null and n.lease_until >= clock_timestamp()
            and (p_task_id is null or n.job_id = p_task_id)
        order by n.notification_id desc
        limit 1
    ),
    newest as (
        -- The two arms keep each search on its own index.
        (
            select 'decided' as state, d.job_id, d.context
            from public.orchestration_decisions d
            where p_task_id is null and d.sequence is not null
            order by d.sequence desc
            limit 1)
        union all
        (
            select 'decided', d.job_id, d.context
            from public.orchestration_decisions d
            where d.job_id = p_task_id
            order by d.decided_at desc, d.sequence desc
            limit 1)
    ),
    chosen as (
        select * from thinking
        union all
        select * from newest where not exists (select from thinking)
    )
    select json_build_object(
        'state', coalesce(chosen.state, 'none'),
        'task_id', chosen.job_id,
        'context', chosen.context,
        'processed_by', coalesce((
            select json_agg(p.consumer order by p.consumer)
            from public.processed_contexts p where p.job_id = chosen.job_id), '[]'))
    from (select 1) as always
    left join chosen on true
$$;

-- Notes that a consumer is done with the context of a task, or with the current one. Answers {"task_id"}, null where
-- there is no such context.
create or replace function public.mark_context_processed(p_consumer text, p_task_id text default null)
returns json
language sql
set search_path = ''
as $$
    with marked as (
        insert into public.processed_contexts (consumer, job_id)
        select p_consumer, current.document ->> 'task_id'
        from (select public.current_context(p_task_id) as document) as current
        where current.document ->> 'task_id' is not null
        on conflict (consumer, job_id) do update set processed_at = clock_timestamp()
        returning job_id
    )
    select json_build_object('task_id', (select job_id from marked))
$$;


-- The agents that decide -------------------------------------------------------------------------------------------------

-- An agent that starts: made, or made active again, with its state.
create or replace function public.register_agent(
    p_agent_id text, p_name text, p_agent_type text, p_version text, p_detail text)
returns json
language sql
set search_path = ''
as $$
    with registered as (
        insert into public.agents as a (agent_id, name, agent_type, version)
        values (p_agent_id, p_name, p_agent_type, p_version)
        on conflict (agent_id) do update set
            name = excluded.name, agent_type = excluded.agent_type, version = excluded.version, status = 'ACTIVE'
        returning a.agent_id
    ),
    noted as (
        insert into public.agent_states (agent_id, state, detail)
        select registered.agent_id, 'STARTED', p_detail from registered
    )
    select json_build_object('agent_id', (select agent_id from registered))
$$;

-- A state that differs from the agent's last one; STOPPED also takes it off the list of active agents. Answers
-- {"recorded": whether it differed}.
create or replace function public.record_agent_state(p_agent_id text, p_state text, p_detail text default null)
returns json
language sql
set search_path = ''
as $$
    with noted as (
        insert into public.agent_states (agent_id, state, detail)
        select a.agent_id, p_state, p_detail
        from public.agents a
        where a.agent_id = p_agent_id
            and not exists (
                select
                from (
                    select s.state, s.detail
                    from public.agent_states s
                    where s.agent_id = p_agent_id
                    order by s.observed_at desc, s.state_id desc
                    limit 1) as last
                where (last.state, last.detail) is not distinct from (p_state, p_detail))
        returning agent_id
    ),
    activity as (
        update public.agents a
        set status = case when p_state = 'STOPPED' then 'STOPPED' else 'ACTIVE' end
        from noted
        where a.agent_id = noted.agent_id
    )
    select json_build_object('recorded', exists (select from noted))
$$;


-- Access -----------------------------------------------------------------------------------------------------------------

do $access$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        execute format('revoke all on function %s from public', routine.signature);
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            execute format('revoke all on function %s from anon, authenticated', routine.signature);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format('grant execute on function %s to service_role', routine.signature);
        end if;
    end loop;
end
$access$;

notify pgrst, 'reload schema';
