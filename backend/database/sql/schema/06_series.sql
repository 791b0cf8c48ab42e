-- The grid in columns ------------------------------------------------------------------------------------------------------
--
-- Half-hours one after the other, one array a figure: a position is a time, and what is not known is null in its place.

create or replace function public.changes(words text[])
returns json
language sql
immutable parallel safe
set search_path = ''
as $$
    select coalesce(json_agg(json_build_array(s.i, s.word) order by s.i), '[]')
    from (
        select place - 1 as i, word, lag(word) over (order by place) as before
        from unnest(words) with ordinality as u (word, place)) as s
    where s.i = 0 or s.word is distinct from s.before
$$;
comment on function public.changes is
    'A list of words as where it changes: [[0, "elexon"], [12, "modelled"]] is elexon from position 0 on and modelled from 12 on.';

-- Every region in the 96 half-hours from that of p_now.
create or replace function public.regional_forecasts(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select json_build_object('start', slot, 'regions', json_agg(
            json_build_object(
                'region_id', r.region_id,
                'carbon_intensity', series.carbon_intensity,
                'carbon_index', series.carbon_index,
                'carbon_sources', series.carbon_sources,
                'oldest_fetched_at', series.oldest_fetched_at)
            order by r.region_id))
        from public.regions r
        cross join lateral (
            select
                json_agg(g.carbon_intensity_forecast order by ahead.i) as carbon_intensity,
                public.changes(array_agg(g.carbon_index order by ahead.i)) as carbon_index,
                public.changes(array_agg(g.carbon_source order by ahead.i)) as carbon_sources,
                min(g.fetched_at) filter (where g.carbon_source <> 'synthetic') as oldest_fetched_at
            from generate_series(0, 95) as ahead (i)
            left join public.regional_grid_signals g
                on g.region_id = r.region_id and g.timestamp = slot + ahead.i * interval '30 minutes') as series);
end
$$;

-- The half-hours that begin in [p_from, p_until), of the nation or (p_region_id) of a region: what was forecast, what came,
-- and what it was made of. No region's actual is published: it is estimated as in accounts and back-tests, from the region's
-- last forecast and how the nation's turned out, where both are of the Carbon Intensity API.
create or replace function public.grid_history(p_from timestamptz, p_until timestamptz, p_region_id integer default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_from);
begin
    return (
        with slots as materialized (
            select slot, row_number() over (order by slot) as place
            from generate_series(first, p_until - interval '1 microsecond', interval '30 minutes') as slot
        ),
        series as materialized (
            select
                s.place,
                case when p_region_id is null then n.carbon_intensity_forecast else r.carbon_intensity_forecast end as forecast,
                case
                    when p_region_id is null then n.carbon_intensity_actual
                    when n.carbon_intensity_actual > 0 and n.carbon_intensity_forecast > 0
                        and (r.carbon_source, n.carbon_source) = ('carbon_intensity_api', 'carbon_intensity_api')
                        then round((r.carbon_intensity_forecast * n.carbon_intensity_actual / n.carbon_intensity_forecast)::numeric, 1)
                end as actual,
                case when p_region_id is null then n.carbon_index else r.carbon_index end as carbon_index,
                case when p_region_id is null then n.carbon_source else r.carbon_source end as carbon_source,
                case when p_region_id is null then n.demand_mw end as demand_mw,
                case when p_region_id is null then n.demand_source end as demand_source,
                case when p_region_id is null then n.grid_stress_score end as grid_stress_score,
                case when p_region_id is null then n.wholesale_price_gbp_mwh end as wholesale_price_gbp_mwh,
                case when p_region_id is null then n.price_source end as price_source,
                case when p_region_id is null then i.system_price_gbp_mwh end as system_price_gbp_mwh,
                case when p_region_id is null then l.derated_margin_mw end as derated_margin_mw,
                case when p_region_id is null then l.probability end as loss_of_load_probability
            from slots s
            left join public.grid_signals n on n.timestamp = s.slot
            left join public.system_prices i on i.half_hour = s.slot
            left join public.loss_of_load_forecasts l on l.half_hour = s.slot
            left join public.regional_grid_signals r on r.region_id = p_region_id and r.timestamp = s.slot
        ),
        -- Two searches, each on its own index.
        mixes as materialized (
            select s.place, m.fuel, m.percentage, m.mix_source
            from slots s
            join public.generation_mix m on m.national_timestamp = s.slot
            where p_region_id is null
            union all
            select s.place, m.fuel, m.percentage, m.mix_source
            from slots s
            join public.generation_mix m on m.region_id = p_region_id and m.timestamp = s.slot
        ),
        fuels as (
            select f.fuel, json_agg(m.percentage order by s.place) as percentages
            from (select distinct fuel from mixes) as f
            cross join slots s
            left join mixes m on (m.fuel, m.place) = (f.fuel, s.place)
            group by f.fuel
        )
        select json_build_object(
            'start', first,
            'half_hours', count(*),
            'carbon_intensity_forecast', json_agg(s.forecast order by s.place),
            'carbon_intensity_actual', json_agg(s.actual order by s.place),
            'carbon_index', public.changes(array_agg(s.carbon_index order by s.place)),
            'carbon_sources', public.changes(array_agg(s.carbon_source order by s.place)),
            'demand_mw', json_agg(s.demand_mw order by s.place),
            'demand_sources', public.changes(array_agg(s.demand_source order by s.place)),
            'grid_stress_score', json_agg(s.grid_stress_score order by s.place),
            'wholesale_price_gbp_mwh', json_agg(s.wholesale_price_gbp_mwh order by s.place),
            'price_sources', public.changes(array_agg(s.price_source order by s.place)),
            'system_price_gbp_mwh', json_agg(s.system_price_gbp_mwh order by s.place),
            'derated_margin_mw', json_agg(s.derated_margin_mw order by s.place),
            'loss_of_load_probability', json_agg(s.loss_of_load_probability order by s.place),
            'generation_mix', (select coalesce(json_object_agg(f.fuel, f.percentages order by f.fuel), '{}') from fuels f),
            'mix_sources', (
                select public.changes(array_agg(m.mix_source order by slots.place))
                from slots
                left join (
                    select mixes.place, (array_agg(mixes.mix_source order by public.source_rank(mixes.mix_source)))[1] as mix_source
                    from mixes
                    group by mixes.place) as m on m.place = slots.place))
        from series s);
end
$$;

-- Runs of the pipeline, the newest first, before that of the half-hour p_after.
create or replace function public.pipeline_runs_page(p_limit integer, p_after timestamptz default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select coalesce(json_agg(page order by page.slot desc), '[]')
        from (
            select
                r.slot, r.state, r.started_at, r.finished_at, r.attempt, r.sources, r.counts, r.stages_ms, r.last_error as error
            from public.pipeline_runs r
            where r.slot < coalesce(p_after, 'infinity')
            order by r.slot desc
            limit p_limit) as page);
end
$$;

