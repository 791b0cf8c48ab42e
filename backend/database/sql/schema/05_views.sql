-- Views ----------------------------------------------------------------------------------------------------------

create or replace view public.current_system_state with (security_invoker = true) as
select
    now() as as_of,
    g.timestamp,
    g.settlement_period,
    g.carbon_intensity_forecast,
    g.carbon_intensity_actual,
    g.carbon_index,
    g.demand_mw,
    g.grid_stress_score,
    g.wholesale_price_gbp_mwh,
    g.carbon_source,
    g.demand_source,
    g.price_source,
    g.fetched_at,
    (select count(*) from public.data_centres where status = 'ACTIVE') as data_centres_active,
    (select count(*) from public.compute_workloads where status in ('PENDING', 'QUEUED')) as workloads_waiting
from (select public.half_hour_of(now()) as slot) as moment
left join public.grid_signals g on g.timestamp = moment.slot;

create or replace view public.regional_carbon_ranking with (security_invoker = true) as
select
    rank() over (order by g.carbon_intensity_forecast nulls last) as rank,
    r.region_id,
    r.short_name,
    r.country,
    g.timestamp,
    g.carbon_intensity_forecast,
    g.carbon_index,
    g.carbon_source,
    g.fetched_at
from public.regions r
-- One look-up a region, by the limit: as a plain join the planner may prefer to read more the longer the history is.
left join lateral (
    select s.*
    from public.regional_grid_signals s
    where s.region_id = r.region_id and s.timestamp = public.half_hour_of(now())
    limit 1) as g on true
where not r.is_aggregate
order by rank, r.region_id;

create or replace view public.recent_decisions with (security_invoker = true) as
select
    d.decision_id,
    d.sequence,
    d.job_id,
    w.workload_type,
    w.urgency,
    d.chosen_dc_id,
    c.name as chosen_dc_name,
    d.recommended_start,
    d.scorer,
    d.model,
    d.scorer_version,
    d.fallback_reason,
    d.reasoning,
    d.decided_at
from public.orchestration_decisions d
join public.compute_workloads w on (w.tenant, w.job_id) = (d.tenant, d.job_id)
left join public.data_centres c on c.dc_id = d.chosen_dc_id
order by d.decided_at desc
limit 100;


-- The audit log with every decision's context whole: what reads of orchestration_decisions by the program are made from.
create or replace view public.audited_decisions with (security_invoker = true) as
select
    d.decision_id,
    d.notification_id,
    d.sequence,
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
    coalesce(g.grid || d.context, d.context) as context,
    d.output,
    d.token_usage,
    d.decided_at,
    d.grid_digest,
    d.tenant,
    d.tenant_sequence
from public.orchestration_decisions d
left join public.decision_grids g on g.digest = d.grid_digest;

