-- The grid as it is now and for the next 48 hours ----------------------------------------------------------------

create or replace function public.counted(words text[])
returns json
language sql
immutable parallel safe
set search_path = ''
as $$
    select coalesce(json_object_agg(word, n), '{}')
    from (select word, count(*) as n from unnest(words) as word where word is not null group by word order by word) as c
$$;
comment on function public.counted is 'How often each word occurs in a list: {"elexon": 80, "neso": 16}.';

-- Of each figure, when the oldest of those fetched was fetched: what is invented never was, whenever it was made.
-- Half-hours without a row are nulls in their place, so that a position in an array is always a time.
create or replace function public.national_forecast_series(p_start timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'start', p_start,
        'carbon_intensity_gco2_per_kwh', json_agg(g.carbon_intensity_forecast order by slot),
        'demand_mw', json_agg(g.demand_mw order by slot),
        'grid_stress_score', json_agg(g.grid_stress_score order by slot),
        'wholesale_price_gbp_mwh', json_agg(g.wholesale_price_gbp_mwh order by slot),
        'carbon_sources', public.counted(array_agg(g.carbon_source)),
        'demand_sources', public.counted(array_agg(g.demand_source)),
        'price_sources', public.counted(array_agg(g.price_source)),
        'oldest_carbon_fetched_at', min(g.carbon_fetched_at) filter (where g.carbon_source <> 'synthetic'),
        'oldest_demand_fetched_at', min(g.demand_fetched_at) filter (where g.demand_source <> 'synthetic'),
        'oldest_price_fetched_at', min(g.price_fetched_at) filter (where g.price_source <> 'synthetic'),
        'oldest_fetched_at', least(
            min(g.carbon_fetched_at) filter (where g.carbon_source <> 'synthetic'),
            min(g.demand_fetched_at) filter (where g.demand_source <> 'synthetic'),
            min(g.price_fetched_at) filter (where g.price_source <> 'synthetic')))
    from generate_series(p_start, p_start + interval '47 hours 30 minutes', interval '30 minutes') as slot
    left join public.grid_signals g on g.timestamp = slot
$$;

create or replace function public.regional_forecast_series(p_region_id integer, p_start timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'start', p_start,
        'carbon_intensity_gco2_per_kwh', json_agg(g.carbon_intensity_forecast order by slot),
        'carbon_sources', public.counted(array_agg(g.carbon_source)),
        'oldest_fetched_at', min(g.fetched_at) filter (where g.carbon_source <> 'synthetic'))
    from generate_series(p_start, p_start + interval '47 hours 30 minutes', interval '30 minutes') as slot
    left join public.regional_grid_signals g on g.region_id = p_region_id and g.timestamp = slot
$$;

-- The national mix is published for the last complete half-hour: the newest one within two hours stands for now. The
-- two statements keep each search on its own index, which "is not distinct from" could not use, and have a plan each that
-- serves every call: one statement for both would be planned anew for each, which takes longer than the rest.
create or replace function public.current_mix(p_region_id integer, p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_region_id is null then
        return (
            select json_build_object(
                'region_id', null,
                'timestamp', m.national_timestamp,
                'source', (array_agg(m.mix_source order by public.source_rank(m.mix_source)))[1],
                'mix', json_object_agg(m.fuel, m.percentage order by m.fuel))
            from public.generation_mix m
            where m.national_timestamp = (
                select max(newest.national_timestamp)
                from public.generation_mix newest
                where newest.national_timestamp between p_now - interval '2 hours' and p_now)
            group by m.national_timestamp);
    end if;
    return (
        select json_build_object(
            'region_id', p_region_id,
            'timestamp', m.timestamp,
            'source', (array_agg(m.mix_source order by public.source_rank(m.mix_source)))[1],
            'mix', json_object_agg(m.fuel, m.percentage order by m.fuel))
        from public.generation_mix m
        where m.region_id = p_region_id
            and m.timestamp = (
                select max(newest.timestamp)
                from public.generation_mix newest
                where newest.region_id = p_region_id
                    and newest.timestamp between p_now - interval '2 hours' and p_now)
        group by m.timestamp);
end
$$;

-- What is forecast of the margin in the 48 hours from a half-hour on, up to the last that is known: {"start", "source",
-- "published_at" (of the oldest of it), "derated_margin_mw", "loss_of_load_probability"}. Null where nothing is.
create or replace function public.margin_series(p_slot timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select case when count(l.half_hour) > 0 then json_build_object(
        'start', p_slot,
        'source', 'elexon',
        'published_at', min(l.published_at),
        'derated_margin_mw', json_agg(l.derated_margin_mw order by s.slot),
        'loss_of_load_probability', json_agg(l.probability order by s.slot)) end
    from generate_series(
        p_slot,
        (
            select max(known.half_hour) from public.loss_of_load_forecasts known
            where known.half_hour >= p_slot and known.half_hour < p_slot + interval '48 hours'),
        interval '30 minutes') as s (slot)
    left join public.loss_of_load_forecasts l on l.half_hour = s.slot
$$;

create or replace function public.grid_context(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    with moment as materialized (
        select public.half_hour_of(p_now) as slot
    ),
    centres as materialized (
        select d.* from public.data_centres d where d.status <> 'OFFLINE'
    ),
    present as materialized (
        select g.* from public.grid_signals g, moment where g.timestamp = moment.slot
    ),
    sited as materialized (
        select r.region_id, r.short_name, g.timestamp, g.carbon_intensity_forecast, g.carbon_index, g.carbon_source, g.fetched_at
        from public.regions r
        cross join moment
        left join public.regional_grid_signals g on g.region_id = r.region_id and g.timestamp = moment.slot
    )
    select json_build_object(
        'as_of', p_now,
        'national', json_build_object(
            'current', (select to_json(p) from present p),
            'forecast', (select public.national_forecast_series(slot) from moment),
            'margin', (select public.margin_series(slot) from moment)),
        'regional', coalesce((
            select json_agg(json_build_object(
                'region_id', s.region_id,
                'short_name', s.short_name,
                'current', case when s.timestamp is not null then json_build_object(
                    'timestamp', s.timestamp,
                    'carbon_intensity_forecast', s.carbon_intensity_forecast,
                    'carbon_index', s.carbon_index,
                    'carbon_source', s.carbon_source,
                    'fetched_at', case when s.carbon_source <> 'synthetic' then s.fetched_at end) end,
                'forecast', public.regional_forecast_series(s.region_id, moment.slot)) order by s.region_id)
            from sited s, moment
            where s.region_id in (select region_id from centres)), '[]'),
        'data_centres', coalesce((
            select json_agg(json_build_object(
                'dc_id', c.dc_id, 'name', c.name, 'operator', c.operator, 'region_id', c.region_id,
                'location_region', c.location_region, 'latitude', c.latitude, 'longitude', c.longitude, 'pue', c.pue,
                'total_capacity_teraflops', c.total_capacity_teraflops, 'total_capacity_mw', c.total_capacity_mw,
                -- The base load: what runs of ours is promised power, which is reckoned with by the half-hour. So runs that
                -- begin and end make no new grid of decisions.
                'current_load_percentage', coalesce(c.base_load_percentage, c.current_load_percentage),
                'flexibility_rating', c.flexibility_rating,
                'min_load_percentage', c.min_load_percentage, 'ramp_rate_mw_per_min', c.ramp_rate_mw_per_min,
                'status', c.status, 'is_synthetic', c.is_synthetic) order by c.dc_id)
            from centres c), '[]'),
        'generation_mix', coalesce((
            select json_agg(mix)
            from (
                select public.current_mix(null, p_now) as mix
                union all
                select public.current_mix(r.region_id, p_now)
                from (select distinct region_id from centres order by region_id) as r
            ) as mixes
            where mix is not null), '[]'),
        'summary', (
            select json_build_object(
                'lowest_carbon_region_id', lowest.region_id,
                'lowest_carbon_region', lowest.short_name,
                'lowest_carbon_gco2_per_kwh', lowest.carbon_intensity_forecast,
                'lowest_carbon_dc_id', greenest.dc_id,
                'lowest_carbon_dc_gco2_per_kwh', greenest.carbon_intensity_forecast,
                'national_carbon_gco2_per_kwh', (select carbon_intensity_forecast from present),
                'grid_stress_score', (select grid_stress_score from present),
                'wholesale_price_gbp_mwh', (select wholesale_price_gbp_mwh from present),
                'data_centres', (select count(*) from centres),
                'data_centres_active', (select count(*) from centres where status = 'ACTIVE'))
            from (select 1) as always
            left join lateral (
                select s.* from sited s
                join public.regions r on r.region_id = s.region_id and not r.is_aggregate
                where s.carbon_intensity_forecast is not null
                order by s.carbon_intensity_forecast, s.region_id
                limit 1) as lowest on true
            left join lateral (
                select c.dc_id, s.carbon_intensity_forecast
                from centres c
                join sited s on s.region_id = c.region_id
                where c.status = 'ACTIVE' and s.carbon_intensity_forecast is not null
                order by s.carbon_intensity_forecast, c.dc_id
                limit 1) as greenest on true))
$$;
comment on function public.grid_context is 'The present and the next 48 hours of the grid, and the data centres: what a decision is made from.';

-- Tells one grid_context from another without making it: the half-hour, and the transactions of the last hours that changed
-- something in it (grid_changes). Whichever of them commits last, their number and sum are others than before, so the same
-- text means the same grid, but for its as_of. Both are to be read in one statement, on one snapshot. At the very start of
-- a half-hour a generation mix is still taken for present that is too old a moment later.
create or replace function public.grid_version(p_now timestamptz)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select concat_ws(
            '/', extract(epoch from slot)::bigint, case when p_now = slot then 'start' end, count(*),
            sum(c.transaction::text::bigint), max(c.transaction::text::bigint))
        from public.grid_changes c);
end
$$;
