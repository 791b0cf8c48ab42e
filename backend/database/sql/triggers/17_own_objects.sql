-- Tenants: their own objects -----------------------------------------------------------------------------------------------

-- What bears numbers that count everybody's, with the tenant's own in their place.
create or replace view tenant.agent_states with (security_invoker = true) as
select s.tenant_state_id as state_id, s.agent_id, s.state, s.detail, s.observed_at, s.tenant
from public.agent_states s;

create or replace view tenant.orchestration_decisions with (security_invoker = true) as
select
    d.decision_id,
    null::bigint as notification_id,
    d.tenant_sequence as sequence,
    d.job_id,
    d.agent_id,
    d.chosen_dc_id,
    d.recommended_start,
    d.scorer,
    d.model,
    d.scorer_version,
    d.fallback_reason,
    d.reasoning,
    d.constraints_evaluated,
    d.alternatives_considered,
    d.context,
    tenancy.seen_output(d.output, d.tenant_sequence) as output,
    d.token_usage,
    d.decided_at,
    d.grid_digest,
    d.tenant
from public.audited_decisions d;

-- Rows of a table that tenants may read, as the program reads them: p_where [{column, comparison: eq | gt | gte | lt | lte |
-- in | is_null, value}…], p_order [column…], p_after: the values of the p_order columns of the last row seen.
--
-- Raises 42501 for any other table, and 42703 for a column that there is not.
create or replace function tenant.select_rows(
    p_table text, p_where jsonb default '[]', p_order jsonb default '[]', p_descending boolean default false,
    p_after jsonb default null, p_limit integer default null, p_columns jsonb default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    direction constant text := case when p_descending then 'desc' else 'asc' end;
    -- Written into the statement, for the planner: the policies say the same, where it does not see it.
    own constant text := case
        when p_table in ('compute_workloads', 'capacity_bookings', 'run_accounts', 'storage_assets', 'agent_states', 'orchestration_decisions', 'flexibility_moves')
            then format('tenant = %L', tenancy.operator_id())
        when p_table = 'meter_readings' then format(
            '(tenant = %1$L or dc_id in (select d.dc_id from public.data_centres d where d.tenant = %1$L))',
            tenancy.operator_id())
        else 'true' end;
    source text;
    listed text;
    conditions text;
    position text;
    sorted text;
    answer json;
begin
    source := case
        when p_table in (
            'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix', 'system_prices', 'data_centres',
            'compute_workloads', 'capacity_bookings', 'run_accounts', 'meter_readings', 'agents', 'storage_assets',
            'flexibility_units', 'flexibility_events', 'flexibility_moves') then format('public.%I', p_table)
        when p_table in ('agent_states', 'orchestration_decisions') then format('tenant.%I', p_table)
    end;
    -- All columns but those that are for us.
    listed := case p_table
        when 'capacity_bookings' then
            'booking_key, dc_id, job_id, source, order_id, state, starts_at, ends_at, it_power_kw, reason, run_now, '
            'carried_out_by, started_at, ended_at, cancel_requested_at, flexibility_event_id, negotiation_id, created_at, '
            'updated_at'
        when 'run_accounts' then
            'booking_key, job_id, dc_id, started_at, ended_at, it_energy_wh, site_energy_wh, carbon_gco2, cost_gbp, '
            'run_now_dc_id, run_now_starts_at, run_now_pue, run_now_fits, run_now_site_energy_wh, run_now_carbon_gco2, '
            'run_now_cost_gbp, predicted_carbon_gco2, predicted_cost_gbp, predicted_run_now_carbon_gco2, '
            'predicted_run_now_cost_gbp, basis, revision, accounted_at, settled_at'
        when 'agent_states' then 'state_id, agent_id, state, detail, observed_at'
        when 'meter_readings' then
            'reading_id, dc_id, job_id, half_hour, it_energy_wh, site_energy_wh, source, revision, recorded_at'
        when 'orchestration_decisions' then
            'decision_id, notification_id, sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer, model, '
            'scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, context, output, '
            'token_usage, decided_at, grid_digest'
        when 'flexibility_units' then 'unit_id, gsp_group, region_id, created_at'
        when 'flexibility_events' then
            'event_id, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh, '
            'penalty_gbp_per_mwh, compensation, in_day, document, state, state_reason, announced_at, updated_at'
        when 'flexibility_moves' then
            'event_id, job_id, unit_id, from_dc_id, from_starts_at, to_dc_id, to_starts_at, it_power_kw, keep_gbp, delta_gbp, '
            'freed_mwh'
        else '*' end;
    if source is null then
        raise exception 'tenants may not read %', p_table using errcode = 'insufficient_privilege';
    end if;
    if p_columns is not null then
        select string_agg(format('%I', name), ', ') into listed from jsonb_array_elements_text(p_columns) as name;
    end if;
    select string_agg(format('%I %s', name, direction), ', ') into sorted from jsonb_array_elements_text(p_order) as name;
    select string_agg(
        case condition ->> 'comparison'
            when 'is_null' then format(
                '%I is %s null', condition ->> 'column', case when condition ->> 'value' = 'true' then '' else 'not' end)
            when 'in' then format('%I in (%s)', condition ->> 'column', coalesce((
                select string_agg(format('%L', one), ', ') from jsonb_array_elements_text(condition -> 'value') as one), 'null'))
            else format(
                '%I %s %L', condition ->> 'column',
                (jsonb '{"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}') ->> (condition ->> 'comparison'),
                condition ->> 'value')
        end, ' and ')
    into conditions
    from jsonb_array_elements(p_where) as condition;
    if jsonb_array_length(p_after) > 0 then
        select format(
            '(%s) %s (%s)', string_agg(format('%I', p_order ->> (place::integer - 1)), ', '),
            case when p_descending then '<' else '>' end, string_agg(format('%L', value), ', '))
        into position
        from jsonb_array_elements_text(p_after) with ordinality as seen (value, place);
    end if;
    execute format(
        'select coalesce(json_agg(r), ''[]'') from (select %s from %s where %s and %s and %s %s %s) as r',
        listed, source, own, coalesce(conditions, 'true'), coalesce(position, 'true'),
        coalesce('order by ' || sorted, ''), coalesce('limit ' || p_limit, ''))
    into answer;
    return answer;
end
$$;

-- The next are the public functions of these names, with the tenant written into their conditions: behind a policy the
-- planner does not know whose rows are meant, and for a tenant of few and old rows it may read everybody's newer ones first.

create or replace function tenant.workloads_page(p_status text, p_after text, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
    seen public.compute_workloads;
begin
    select * into seen from public.compute_workloads w where (w.tenant, w.job_id) = (own, p_after);
    return json_build_object(
        'known_after', p_after is null or seen.job_id is not null,
        'workloads', (
            select coalesce(json_agg(json_build_object('workload', page.row, 'decision', newest.decision)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.created_at, w.job_id
                from public.compute_workloads w
                where w.tenant = own
                    and (p_status is null or w.status = p_status)
                    and (p_after is null or (w.created_at, w.job_id) < (seen.created_at, seen.job_id))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page
            left join lateral (
                select json_build_object(
                    'decision_id', d.decision_id, 'sequence', d.tenant_sequence, 'chosen_dc_id', d.chosen_dc_id,
                    'recommended_start', d.recommended_start, 'scorer', d.scorer, 'reasoning', d.reasoning,
                    'decided_at', d.decided_at, 'output', null) as decision
                from public.orchestration_decisions d
                where (d.tenant, d.job_id) = (own, page.job_id)
                order by d.decided_at desc
                limit 1) as newest on true));
end
$$;

create or replace function tenant.workload_list(p_filter jsonb, p_after text, p_limit integer, p_counted boolean default false)
returns json language sql stable security definer set search_path = ''
as $$ select public.workload_list(p_filter, p_after, p_limit, p_counted, tenancy.operator_id()) $$;

create or replace function tenant.decision_list(p_before timestamptz, p_before_id uuid, p_limit integer, p_filter jsonb)
returns json language sql stable security definer set search_path = ''
as $$ select public.decision_list(p_before, p_before_id, p_limit, p_filter, tenancy.operator_id()) $$;

create or replace function tenant.workload_detail(p_job_id text)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select json_build_object('workload', w, 'decision', (
            select json_build_object(
                'decision_id', d.decision_id, 'sequence', d.tenant_sequence, 'chosen_dc_id', d.chosen_dc_id,
                'recommended_start', d.recommended_start, 'scorer', d.scorer, 'reasoning', d.reasoning,
                'decided_at', d.decided_at, 'output', tenancy.seen_output(d.output, d.tenant_sequence))
            from public.orchestration_decisions d
            where (d.tenant, d.job_id) = (own, w.job_id)
            order by d.decided_at desc
            limit 1))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (own, p_job_id));
end
$$;

create or replace function tenant.live_state(p_now timestamptz, p_types jsonb)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
    private constant text[] := array['ComputeWorkload', 'CapacityBooking', 'Agent', 'AgentState', 'OrchestrationDecision', 'StorageAsset'];
begin
    return (public.live_state(p_now, p_types - private)::jsonb || jsonb_build_object(
        'ComputeWorkload', case when p_types ? 'ComputeWorkload' then (
            select coalesce(json_agg(w order by w.created_at desc, w.job_id desc), '[]')
            from (
                select * from public.compute_workloads
                where tenant = own and status not in ('COMPLETED', 'FAILED', 'CANCELLED')
                order by created_at desc, job_id desc
                limit 100) as w) end,
        'CapacityBooking', case when p_types ? 'CapacityBooking' then (
            select coalesce(json_agg(to_jsonb(b) - '{booking_id,notification_id}'::text[] order by b.starts_at, b.booking_id), '[]')
            from (
                select * from public.capacity_bookings
                where tenant = own and state in ('HELD', 'RUNNING')
                order by starts_at, booking_id
                limit 100) as b) end,
        'Agent', case when p_types ? 'Agent' then (
            select coalesce(json_agg(a order by a.agent_id), '[]')
            from (
                select * from public.agents
                where tenant in (own, 'platform') and status = 'ACTIVE'
                order by updated_at desc, agent_id
                limit 100) as a) end,
        'AgentState', case when p_types ? 'AgentState' then (
            select coalesce(json_agg(s order by s.observed_at desc, s.state_id desc), '[]')
            from (
                select a.tenant_state_id as state_id, a.agent_id, a.state, a.detail, a.observed_at
                from public.agent_states a
                where a.tenant = own
                order by a.observed_at desc, a.state_id desc
                limit 100) as s) end,
        'OrchestrationDecision', case when p_types ? 'OrchestrationDecision' then (
            select coalesce(json_agg(d order by d.decided_at desc, d.decision_id), '[]')
            from (
                select
                    decision_id, null::bigint as notification_id, tenant_sequence as sequence, job_id, agent_id, chosen_dc_id,
                    recommended_start, scorer, model, scorer_version, fallback_reason, reasoning, token_usage, decided_at
                from public.orchestration_decisions
                where tenant = own
                order by decided_at desc
                limit 100) as d) end,
        'StorageAsset', case when p_types ? 'StorageAsset' then (
            select coalesce(json_agg(s order by s.asset_id), '[]')
            from (
                select * from public.storage_assets where tenant = own and status <> 'OFFLINE' order by asset_id limit 1000) as s)
            end))::json;
end
$$;

-- As public.submit_workloads, for the caller's own operator whatever a row says; one that names another is told that there is
-- no such operator. Also answers {"over_limit": {"limit", "allowed", "open"}} with nothing stored, where the operator would
-- have more open jobs than it may.
create or replace function tenant.submit_workloads(p_rows jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    own constant text := tenancy.must_write();
    others json;
    unknown_places json;
    most constant integer := tenancy.own_capacity('open_jobs');
    already_open bigint;
    created_ids text[];
    conflicting text[];
begin
    select json_agg(distinct r.operator) into others
    from jsonb_to_recordset(p_rows) as r (operator text)
    where r.operator <> own;
    if others is not null then
        return json_build_object('unknown_operators', others, 'known_operators', json_build_array(own));
    end if;
    select json_agg(distinct r.host_dc_id) into unknown_places
    from jsonb_to_recordset(p_rows) as r (host_dc_id text)
    where r.host_dc_id is not null and not exists (select from public.data_centres d where d.dc_id = r.host_dc_id);
    if unknown_places is not null then
        return json_build_object('unknown_data_centres', unknown_places, 'known_data_centres', (
            select coalesce(json_agg(known.dc_id), '[]')
            from (select dc_id from public.data_centres order by dc_id limit 50) as known));
    end if;

    -- As in the public function: a savepoint, and the checks in statements of their own.
    begin
        with inserted as (
            insert into public.compute_workloads (
                job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores,
                required_memory_gb, estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins,
                submission_digest, run)
            select
                r.job_id, own, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest, r.run
            from jsonb_populate_recordset(null::public.compute_workloads, p_rows) as r
            order by r.job_id
            on conflict (tenant, job_id) do nothing
            returning job_id
        )
        select coalesce(array_agg(inserted.job_id), '{}') into created_ids from inserted;

        select array_agg(r.job_id) into conflicting
        from jsonb_to_recordset(p_rows) as r (job_id text, submission_digest text)
        join public.compute_workloads w on (w.tenant, w.job_id) = (own, r.job_id)
        where w.submission_digest is distinct from r.submission_digest;
        if conflicting is not null then
            raise exception using errcode = 'PY409';
        end if;
        -- Counted no further than matters. Requests at the same moment may each count without the other's.
        select count(*) into already_open
        from (
            select from public.compute_workloads w
            where w.tenant = own and w.status not in ('COMPLETED', 'FAILED', 'CANCELLED')
            limit most + 1) as open;
        if cardinality(created_ids) > 0 and already_open > most then
            raise exception using errcode = 'PY429';
        end if;
    exception
        when sqlstate 'PY409' then
            return json_build_object('conflicts', conflicting);
        when sqlstate 'PY429' then
            return json_build_object('over_limit', json_build_object(
                'limit', 'open_jobs', 'allowed', most, 'open', (
                    select count(*) from public.compute_workloads w
                    where w.tenant = own and w.status not in ('COMPLETED', 'FAILED', 'CANCELLED'))));
    end;

    return json_build_object('created', created_ids, 'rows', (
        select json_agg(w order by r.position)
        from jsonb_array_elements(p_rows) with ordinality as r (submitted, position)
        join public.compute_workloads w on (w.tenant, w.job_id) = (own, r.submitted ->> 'job_id')));
end
$$;

-- As the public functions, for the caller's own workloads. They run as their owner: what is locked and given back is not the
-- tenant's alone.
create or replace function tenant.cancel_workload(p_job_id text, p_reason text, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.cancel_workload(p_job_id, p_reason, p_now, tenancy.must_write()) $$;

create or replace function tenant.move_workload(p_job_id text, p_booking jsonb, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.move_workload(p_job_id, p_booking, p_now, tenancy.must_write()) $$;

create or replace function tenant.capacity_timeline(p_dc_id text, p_now timestamptz)
returns json language sql stable security definer set search_path = ''
as $$ select public.capacity_timeline(p_dc_id, p_now, tenancy.operator_id()) $$;
