-- The present world ---------------------------------------------------------------------------------------------------

-- Asked for as ["DataCentre", "Region"]; a type that was not asked for costs nothing. Decisions come without their
-- stored inputs and outputs, which are read one by one.
create or replace function public.live_state(p_now timestamptz, p_types jsonb)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'Operator', case when p_types ? 'Operator' then (
            select coalesce(json_agg(o order by o.operator_id), '[]')
            from (select * from public.operators order by operator_id limit 1000) as o) end,
        'Region', case when p_types ? 'Region' then (
            select json_agg(r order by r.region_id) from public.regions r) end,
        'GridSignal', case when p_types ? 'GridSignal' then (
            select coalesce(json_agg(g order by g.timestamp), '[]')
            from public.grid_signals g
            where g.timestamp >= public.half_hour_of(p_now)
                and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') end,
        'RegionalGridSignal', case when p_types ? 'RegionalGridSignal' then (
            select coalesce(json_agg(s order by s.region_id, s.timestamp), '[]')
            from public.regions r
            cross join lateral (
                select g.*
                from public.regional_grid_signals g
                where g.region_id = r.region_id
                    and g.timestamp >= public.half_hour_of(p_now)
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') as s) end,
        'GenerationMix', case when p_types ? 'GenerationMix' then (
            select coalesce(json_agg(m order by m.region_id nulls first, m.fuel), '[]')
            from (
                select regional.*
                from public.regions r
                join public.generation_mix regional
                    on regional.region_id = r.region_id and regional.timestamp = public.half_hour_of(p_now)
                union all
                select national.*
                from public.generation_mix national
                where national.national_timestamp = (
                    select max(newest.national_timestamp)
                    from public.generation_mix newest
                    where newest.national_timestamp between p_now - interval '2 hours' and p_now)) as m) end,
        'DataCentre', case when p_types ? 'DataCentre' then (
            select coalesce(json_agg(d order by d.dc_id), '[]')
            from (select * from public.data_centres where status <> 'OFFLINE' order by dc_id limit 1000) as d) end,
        'ComputeWorkload', case when p_types ? 'ComputeWorkload' then (
            select coalesce(json_agg(w order by w.created_at desc, w.job_id desc), '[]')
            from (
                select * from public.compute_workloads
                where status not in ('COMPLETED', 'FAILED', 'CANCELLED')
                order by created_at desc, job_id desc
                limit 100) as w) end,
        'CapacityBooking', case when p_types ? 'CapacityBooking' then (
            select coalesce(json_agg(to_jsonb(b) - '{booking_id,notification_id}'::text[] order by b.starts_at, b.booking_id), '[]')
            from (
                select * from public.capacity_bookings
                where state in ('HELD', 'RUNNING')
                order by starts_at, booking_id
                limit 100) as b) end,
        'Agent', case when p_types ? 'Agent' then (
            select coalesce(json_agg(a order by a.agent_id), '[]')
            from (
                select * from public.agents where status = 'ACTIVE' order by updated_at desc, agent_id limit 100) as a) end,
        'AgentState', case when p_types ? 'AgentState' then (
            select coalesce(json_agg(s order by s.observed_at desc, s.state_id desc), '[]')
            from (
                select a.state_id, a.agent_id, a.state, a.detail, a.observed_at
                from public.agent_states a
                order by a.observed_at desc, a.state_id desc
                limit 100) as s) end,
        'OrchestrationDecision', case when p_types ? 'OrchestrationDecision' then (
            select coalesce(json_agg(d order by d.decided_at desc, d.decision_id), '[]')
            from (
                select
                    decision_id, notification_id, sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer, model,
                    scorer_version, fallback_reason, reasoning, token_usage, decided_at
                from public.orchestration_decisions
                order by decided_at desc
                limit 100) as d) end,
        'StorageAsset', case when p_types ? 'StorageAsset' then (
            select coalesce(json_agg(s order by s.asset_id), '[]')
            from (select * from public.storage_assets where status <> 'OFFLINE' order by asset_id limit 1000) as s) end,
        'FlexibilityUnit', case when p_types ? 'FlexibilityUnit' then (
            select coalesce(json_agg(u order by u.unit_id), '[]')
            from (
                select unit_id, gsp_group, region_id, created_at
                from public.flexibility_units order by unit_id limit 1000) as u) end,
        'FlexibilityEvent', case when p_types ? 'FlexibilityEvent' then (
            select coalesce(json_agg(e order by e.starts_at desc, e.event_id desc), '[]')
            from (
                select
                    event_id, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh,
                    penalty_gbp_per_mwh, compensation, in_day, state, state_reason, announced_at, updated_at
                from public.flexibility_events
                where state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED', 'DELIVERED')
                order by starts_at desc, event_id desc
                limit 100) as e) end,
        'last_updated', (
            select max(finished_at) from public.pipeline_runs
            where state in ('succeeded', 'partial') and finished_at <= clock_timestamp() + interval '1 minute'),
        'pipeline_running', exists (
            select from public.pipeline_runs where work_state = 'running' and leased_until > clock_timestamp()),
        -- Whether time alone changes neither of the two.
        'settled', not exists (
            select from public.pipeline_runs
            where (work_state = 'running' and leased_until > clock_timestamp())
                or finished_at > clock_timestamp() + interval '1 minute'))
$$;

