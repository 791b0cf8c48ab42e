-- Reads for the API server ---------------------------------------------------------------------------------------

create or replace function public.regional_overview(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_agg(json_build_object(
        'region_id', r.region_id,
        'short_name', r.short_name,
        'dno_region', r.dno_region,
        'country', r.country,
        'is_aggregate', r.is_aggregate,
        'timestamp', g.timestamp,
        'carbon_intensity_gco2', g.carbon_intensity_forecast,
        'carbon_index', g.carbon_index,
        'generation_mix', coalesce((
            select json_object_agg(m.fuel, m.percentage order by m.fuel)
            from public.generation_mix m
            where m.region_id = r.region_id and m.timestamp = g.timestamp), '{}'),
        'data_source', g.carbon_source,
        'fetched_at', case when g.carbon_source <> 'synthetic' then g.fetched_at end) order by r.region_id)
    from public.regions r
    left join public.regional_grid_signals g
        on g.region_id = r.region_id and g.timestamp = public.half_hour_of(p_now)
$$;

-- A workload with its newest decision, in a few words or (p_whole) with the published output.
create or replace function public.workload_with_decision(w public.compute_workloads, p_whole boolean)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('workload', to_json(w), 'decision', (
        select json_build_object(
            'decision_id', d.decision_id,
            'sequence', d.sequence,
            'chosen_dc_id', d.chosen_dc_id,
            'recommended_start', d.recommended_start,
            'scorer', d.scorer,
            'reasoning', d.reasoning,
            'decided_at', d.decided_at,
            'output', case when p_whole then d.output end)
        from public.orchestration_decisions d
        where (d.tenant, d.job_id) = (w.tenant, w.job_id)
        order by d.decided_at desc
        limit 1))
$$;

-- Of p_operator, or (null) of whoever's the newest of this name is.
create or replace function public.workload_detail(p_job_id text, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select public.workload_with_decision(w, true)
    from public.compute_workloads w
    where w.job_id = p_job_id and (p_operator is null or w.tenant = p_operator)
    order by w.created_at desc
    limit 1
$$;

-- Newest first, after the workload p_after.
create or replace function public.workloads_page(p_status text, p_after text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'known_after', p_after is null or exists (select from public.compute_workloads w where w.job_id = p_after),
        'workloads', (
            select coalesce(json_agg(public.workload_with_decision(page.row, false)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.created_at, w.job_id
                from public.compute_workloads w
                where (p_status is null or w.status = p_status)
                    and (p_after is null or (w.created_at, w.job_id) < (
                        select seen.created_at, seen.job_id
                        from public.compute_workloads seen
                        where seen.job_id = p_after
                        order by seen.created_at desc
                        limit 1))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page))
$$;

-- As workloads_page, of those that p_filter wants: {status, operator, host_dc_id, workload_type}, each by its exact value.
-- `matching` is how many they are, counted to 10,001. Of p_operator alone, or (null) of everybody.
create or replace function public.workload_list(
    p_filter jsonb,
    p_after text,
    p_limit integer,
    p_counted boolean default false,
    p_operator text default null
)
returns json
language plpgsql
stable
set search_path = ''
-- What is not asked for is then no condition at all, and the order comes from an index.
set plan_cache_mode = force_custom_plan
as $$
declare
    wanted_status constant text := p_filter ->> 'status';
    wanted_operator constant text := p_filter ->> 'operator';
    wanted_host constant text := p_filter ->> 'host_dc_id';
    wanted_type constant text := p_filter ->> 'workload_type';
    seen public.compute_workloads;
begin
    if p_after is not null then
        select * into seen
        from public.compute_workloads w
        where w.job_id = p_after and (p_operator is null or w.tenant = p_operator)
        order by w.created_at desc
        limit 1;
    end if;
    return json_build_object(
        'known_after', p_after is null or seen.job_id is not null,
        'matching', case when p_counted then (
            select count(*)
            from (
                select
                from public.compute_workloads w
                where (p_operator is null or w.tenant = p_operator)
                    and (wanted_status is null or w.status = wanted_status)
                    and (wanted_operator is null or w.operator = wanted_operator)
                    and (wanted_host is null or w.host_dc_id = wanted_host)
                    and (wanted_type is null or w.workload_type = wanted_type)
                limit 10001) as counted) end,
        'workloads', (
            select coalesce(json_agg(json_build_object('workload', page.row, 'decision', newest.decision)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.tenant, w.created_at, w.job_id
                from public.compute_workloads w
                where (p_operator is null or w.tenant = p_operator)
                    and (wanted_status is null or w.status = wanted_status)
                    and (wanted_operator is null or w.operator = wanted_operator)
                    and (wanted_host is null or w.host_dc_id = wanted_host)
                    and (wanted_type is null or w.workload_type = wanted_type)
                    and (p_after is null or (w.created_at, w.job_id) < (seen.created_at, seen.job_id))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page
            left join lateral (
                select json_build_object(
                    'decision_id', d.decision_id,
                    'sequence', case when p_operator is null then d.sequence else d.tenant_sequence end,
                    'chosen_dc_id', d.chosen_dc_id,
                    'recommended_start', d.recommended_start,
                    'scorer', d.scorer,
                    'reasoning', d.reasoning,
                    'decided_at', d.decided_at,
                    'output', null) as decision
                from public.orchestration_decisions d
                where (d.tenant, d.job_id) = (page.tenant, page.job_id)
                order by d.decided_at desc
                limit 1) as newest on true));
end
$$;

-- Decisions in a few words, the newest first, after the place (p_before, p_before_id) of the last one seen or from the newest,
-- of those that p_filter wants: {job_id, dc_id, scorer}, each by its exact value. Of p_operator alone, or (null) of everybody.
-- What the published output says is read from it once; of an output in another shape it is null.
create or replace function public.decision_list(
    p_before timestamptz,
    p_before_id uuid,
    p_limit integer,
    p_filter jsonb,
    p_operator text default null
)
returns json
language plpgsql
stable
set search_path = ''
-- What is not asked for is then no condition at all, and the order comes from an index.
set plan_cache_mode = force_custom_plan
as $$
declare
    wanted_job constant text := p_filter ->> 'job_id';
    wanted_choice constant text := p_filter ->> 'dc_id';
    wanted_scorer constant text := p_filter ->> 'scorer';
begin
    return (
        select coalesce(json_agg(json_build_object(
            'decision_id', page.decision_id,
            'sequence', case when p_operator is null then page.sequence else page.tenant_sequence end,
            'job_id', page.job_id,
            'chosen_dc_id', page.chosen_dc_id,
            'recommended_start', page.recommended_start,
            'scorer', page.scorer,
            'model', page.model,
            'fallback_reason', page.fallback_reason,
            'reasoning', page.reasoning,
            'decided_at', page.decided_at,
            'operator', published.task -> 'operator',
            'workload_type', published.task -> 'workload_type',
            'considered', considered.amount,
            'score', case when page.chosen_dc_id is not null then considered.first -> 'suitability_score' end,
            'estimates', case when page.chosen_dc_id is not null then considered.first -> 'estimates' end,
            'objective_gbp', published.decision -> 'objective_gbp',
            'runner_up', published.decision -> 'runner_up',
            'waiting', published.decision -> 'waiting')
            order by page.decided_at desc, page.decision_id desc), '[]')
        from (
            select d.*
            from public.orchestration_decisions d
            where (p_operator is null or d.tenant = p_operator)
                and (wanted_job is null or d.job_id = wanted_job)
                and (wanted_choice is null or d.chosen_dc_id = wanted_choice)
                and (wanted_scorer is null or d.scorer = wanted_scorer)
                and (p_before is null or (d.decided_at, d.decision_id) < (p_before, p_before_id))
            order by d.decided_at desc, d.decision_id desc
            limit p_limit) as page
        cross join lateral json_to_record(
            case when json_typeof(page.output) = 'object' then page.output else '{}' end)
            as published (data_centre_options json, decision json, task json)
        -- The options are most of an output: read once, and not for each thing that is asked of them.
        left join lateral (
            select count(*) as amount, (array_agg(option.value order by option.place))[1] as first
            from json_array_elements(
                case when json_typeof(published.data_centre_options) = 'array' then published.data_centre_options else '[]' end)
                with ordinality as option (value, place)
            ) as considered on json_typeof(published.data_centre_options) = 'array');
end
$$;

-- In plpgsql, whose plans are kept: planning would take longer than the reads, and the longer the history the more.
create or replace function public.system_health(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return json_build_object(
        'last_run', (
            -- Not one that ended in what was the future: its clock was set back since.
            select to_jsonb(r) || jsonb_build_object('error', r.last_error) from public.pipeline_runs r
            where r.finished_at <= clock_timestamp() + interval '1 minute' order by r.finished_at desc limit 1),
        'running', (
            select to_json(r) from public.pipeline_runs r
            where r.work_state = 'running' and r.leased_until > clock_timestamp() order by r.slot desc limit 1),
        'current_signal', (
            select to_json(g) from public.grid_signals g where g.timestamp = public.half_hour_of(p_now)),
        -- The limit takes no row away. It tells the planner how few there are, or it would plan anew for every call.
        'newest_fetch', (
            select max(greatest(
                case when ahead.carbon_source <> 'synthetic' then ahead.carbon_fetched_at end,
                case when ahead.demand_source <> 'synthetic' then ahead.demand_fetched_at end,
                case when ahead.price_source <> 'synthetic' then ahead.price_fetched_at end))
            from (
                select g.* from public.grid_signals g
                where g.timestamp >= public.half_hour_of(p_now)
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours'
                order by g.timestamp
                limit 96) as ahead),
        'figures', public.figure_origins(p_now));
end
$$;

-- Where the figures that decisions are made from come from, in the 48 hours from the half-hour of p_now: the nation's
-- price and stress, and the intensity of every region with a data centre that is not OFFLINE. [{signal, region_id,
-- short_name, sources: {source: half-hours}, present_source, oldest_fetched_at: of what was fetched}…].
create or replace function public.figure_origins(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        with ahead as materialized (
            select g.* from public.grid_signals g
            where g.timestamp >= slot and g.timestamp < slot + interval '48 hours'
            order by g.timestamp
            limit 96
        ),
        figures as (
            select
                'wholesale_price' as signal, null::integer as region_id, null::text as short_name,
                public.counted(array_agg(a.price_source)) as sources,
                max(a.price_source) filter (where a.timestamp = slot) as present_source,
                min(a.price_fetched_at) filter (where a.price_source <> 'synthetic') as oldest_fetched_at
            from ahead a
            union all
            select
                'grid_stress', null, null,
                public.counted(array_agg(a.demand_source)),
                max(a.demand_source) filter (where a.timestamp = slot),
                min(a.demand_fetched_at) filter (where a.demand_source <> 'synthetic')
            from ahead a
            union all
            select 'carbon_intensity', r.region_id, r.short_name, of_region.sources, of_region.present, of_region.oldest
            from public.regions r
            cross join lateral (
                select
                    public.counted(array_agg(s.carbon_source)) as sources,
                    max(s.carbon_source) filter (where s.timestamp = slot) as present,
                    min(s.fetched_at) filter (where s.carbon_source <> 'synthetic') as oldest
                from (
                    select g.timestamp, g.carbon_source, g.fetched_at
                    from public.regional_grid_signals g
                    where g.region_id = r.region_id and g.timestamp >= slot and g.timestamp < slot + interval '48 hours'
                    order by g.timestamp
                    limit 96) as s) as of_region
            where r.region_id in (select d.region_id from public.data_centres d where d.status <> 'OFFLINE')
        )
        select json_agg(f order by f.signal desc, f.region_id) from figures f);
end
$$;

-- What is already known around the present, for filling the gaps the sources leave: national figures of the last
-- week and every region's last day, with the 48 hours ahead.
create or replace function public.known_signals(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'national', coalesce((
            select json_agg(g order by g.timestamp)
            from public.grid_signals g
            where g.timestamp >= public.half_hour_of(p_now) - interval '7 days'
                and g.timestamp < public.half_hour_of(p_now) + interval '48 hours'), '[]'),
        'regional', coalesce((
            select json_agg(s order by s.region_id, s.timestamp)
            from public.regions r
            cross join lateral (
                select g.region_id, g.timestamp, g.carbon_intensity_forecast, g.carbon_source, g.fetched_at
                from public.regional_grid_signals g
                where g.region_id = r.region_id
                    and g.timestamp >= public.half_hour_of(p_now) - interval '1 day'
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') as s), '[]'),
        'has_recent_mix', exists (
            select from public.generation_mix m
            where m.national_timestamp between p_now - interval '2 hours' and p_now and m.mix_source <> 'synthetic'),
        'last_sources', coalesce((
            -- By the token and not by the slot: tokens only ever grow, and a clock may be set back.
            select r.sources from public.pipeline_runs r where r.sources <> '{}' order by r.lease_token desc limit 1), '{}'))
$$;

-- What is stored of the half-hours that begin in [p_from, p_to), for replays: of the nation, and of every region with a
-- data centre. Half-hours without a row are nulls in their place.
create or replace function public.signal_history(p_from timestamptz, p_to timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    with slots as materialized (
        select slot
        from generate_series(public.half_hour_of(p_from), p_to - interval '1 microsecond', interval '30 minutes') as slot
    )
    select json_build_object(
        'start', public.half_hour_of(p_from),
        'national', (
            select json_build_object(
                'carbon_intensity_forecast', coalesce(json_agg(g.carbon_intensity_forecast order by slot), '[]'),
                'carbon_intensity_actual', coalesce(json_agg(g.carbon_intensity_actual order by slot), '[]'),
                'grid_stress_score', coalesce(json_agg(g.grid_stress_score order by slot), '[]'),
                'wholesale_price_gbp_mwh', coalesce(json_agg(g.wholesale_price_gbp_mwh order by slot), '[]'),
                'carbon_sources', public.counted(array_agg(g.carbon_source)),
                'demand_sources', public.counted(array_agg(g.demand_source)),
                'price_sources', public.counted(array_agg(g.price_source)))
            from slots
            left join public.grid_signals g on g.timestamp = slot),
        'regional', coalesce((
            select json_agg(
                json_build_object('region_id', sited.region_id, 'carbon_intensity_forecast', coalesce(series.forecast, '[]'))
                order by sited.region_id)
            from (select distinct d.region_id from public.data_centres d where d.status <> 'OFFLINE') as sited
            cross join lateral (
                select json_agg(g.carbon_intensity_forecast order by slot) as forecast
                from slots
                left join public.regional_grid_signals g on g.region_id = sited.region_id and g.timestamp = slot
            ) as series), '[]'))
$$;


