-- Tenants: their own objects -----------------------------------------------------------------------------------------------

-- What bears numbers that count everybody's, with the tenant's own in their place.
create or replace view tenant.agent_states with (security_invoker = true) as
select s.tenant_state_id as state_id, s.agent_id, s.state, s.detail, s.observed_at
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
    d.grid_digest
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
    source text;
    listed text;
    conditions text;
    position text;
    sorted text;
    answer json;
begin
    source := case
        when p_table in (
            'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix', 'data_centres',
            'compute_workloads', 'agents', 'storage_assets') then format('public.%I', p_table)
        when p_table in ('agent_states', 'orchestration_decisions') then format('tenant.%I', p_table)
    end;
    if source is null then
        raise exception 'tenants may not read %', p_table using errcode = 'insufficient_privilege';
    end if;
    select string_agg(format('%I', name), ', ') into listed from jsonb_array_elements_text(p_columns) as name;
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
        'select coalesce(json_agg(r), ''[]'') from (select %s from %s where %s and %s %s %s) as r',
        coalesce(listed, '*'), source, coalesce(conditions, 'true'), coalesce(position, 'true'),
        coalesce('order by ' || sorted, ''), coalesce('limit ' || p_limit, ''))
    into answer;
    return answer;
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
                submission_digest)
            select
                r.job_id, own, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest
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
