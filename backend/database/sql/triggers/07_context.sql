-- The decision context ---------------------------------------------------------------------------------------------------

-- The data centres whose runners offer a template: [dc_id…]. One that no runner offers any more is run nowhere.
create or replace function public.places_that_run(p_template text)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(distinct d.dc_id), '[]')
    from public.runners r
    join public.data_centres d on d.dc_id = r.dc_id and d.execution = 'runner'
    where r.templates ? p_template
$$;

-- Several workloads, by job_id or as {"operator", "job_id"}, and the one grid they are decided on: {"grid": {as_of, national,
-- regional, data_centres, generation_mix, summary}, "grid_version", "capacity": what is free at each data centre
-- (capacity_at), "tasks": [{context_id, task}…]} in the order asked for. A decision context is the grid, the capacity and one
-- task's two keys. The grid is null where its version is p_known_grid: whoever asks has it, but for as_of, which is p_now.
create or replace function public.decision_contexts(
    p_job_ids jsonb, p_now timestamptz, p_known_grid text default null)
returns json
language plpgsql -- which plans it once a session, and not once a call
volatile
set search_path = ''
set plan_cache_mode = 'force_generic_plan'
as $$
begin
    return (
        with present as materialized (
            select public.grid_version(p_now) as version
        )
        select json_build_object(
            'grid_version', present.version,
            'grid', case when present.version is distinct from p_known_grid then public.grid_context(p_now) end,
            'capacity', public.capacity_at(p_now),
            'tasks', coalesce((
                select json_agg(json_build_object(
                    'context_id', gen_random_uuid(),
                    'task', json_build_object(
                        'job_id', w.job_id, 'operator', w.operator, 'host_dc_id', w.host_dc_id, 'workload_type', w.workload_type,
                        'urgency', w.urgency, 'required_gpu_mins', w.required_gpu_mins,
                        'required_cpu_cores', w.required_cpu_cores, 'required_memory_gb', w.required_memory_gb,
                        'estimated_energy_kwh', w.estimated_energy_kwh, 'carbon_cap_gco2', w.carbon_cap_gco2,
                        'max_price_gbp', w.max_price_gbp, 'deadline', w.deadline,
                        'deferral_window_mins', w.deferral_window_mins, 'status', w.status, 'created_at', w.created_at,
                        'runs_at', case
                            when w.run is not null then public.places_that_run(w.run ->> 'template')
                            -- Asked once: it is the same for all that are simulated. Null where nothing is run by runners.
                            else (
                                select case when bool_or(d.execution = 'runner')
                                    then json_agg(d.dc_id order by d.dc_id) filter (where d.execution <> 'runner') end
                                from public.data_centres d) end))
                    order by asked.position)
                from jsonb_array_elements(p_job_ids) with ordinality as asked (workload, position)
                -- In two halves, each of which an index answers: a condition of either kind would have every workload read.
                cross join lateral (
                    select named.*
                    from public.compute_workloads named
                    where jsonb_typeof(asked.workload) = 'object'
                        and (named.tenant, named.job_id) = (asked.workload ->> 'operator', asked.workload ->> 'job_id')
                    union all
                    -- A bare name that several tenants have is nobody's.
                    select bare.*
                    from public.compute_workloads bare
                    where jsonb_typeof(asked.workload) <> 'object' and bare.job_id = asked.workload #>> '{}'
                        and not exists (
                            select from public.compute_workloads other
                            where other.job_id = bare.job_id and other.tenant <> bare.tenant)
                ) as w), '[]'))
        from present);
end
$$;

-- The grid and what is free, without a workload: {"grid_version", "grid" (null where its version is p_known_grid), "capacity"}.
create or replace function public.present_grid(p_now timestamptz, p_known_grid text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        with present as materialized (
            select public.grid_version(p_now) as version
        )
        select json_build_object(
            'grid_version', present.version,
            'grid', case when present.version is distinct from p_known_grid then public.grid_context(p_now) end,
            'capacity', public.capacity_at(p_now))
        from present);
end
$$;

-- Whether there is anything to decide from at p_now: {"data_centres": one at least that is not OFFLINE, "signals": the
-- present half-hour is stored}. Before the first pipeline run there is neither, and a decision would have no options.
create or replace function public.decision_readiness(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'data_centres', exists (select from public.data_centres d where d.status <> 'OFFLINE'),
        'signals', exists (select from public.grid_signals g where g.timestamp = public.half_hour_of(p_now)))
$$;

-- The context of one workload, whole: what a decision made at p_now would be made from. Null for an unknown job_id.
create or replace function public.decision_context(p_job_id text, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select (
        (contexts.document -> 'grid')::jsonb || jsonb_build_object('capacity', contexts.document -> 'capacity')
        || (contexts.document -> 'tasks' -> 0)::jsonb)::json
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
        where n.notification_id = p_notification_id and n.lease_token = p_lease_token and n.work_state = 'running'
        returning n.notification_id
    )
    select json_build_object('state', case when exists (select from noted) then 'noted' else 'fenced' end)
$$;


