-- Imbalance, margin and the Demand Flexibility Service: read ------------------------------------------------------------

-- System prices of the half-hours that begin in [p_from, p_until): the newest revision of each, or every one. Figures are
-- text, so that no reader makes floats of them.
create or replace function public.system_prices_between(
    p_from timestamptz, p_until timestamptz, p_every boolean default false)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'half_hour', s.half_hour,
        'revision', s.revision,
        'system_price_gbp_mwh', s.system_price_gbp_mwh::text,
        'net_imbalance_volume_mwh', s.net_imbalance_volume_mwh::text,
        'reserve_scarcity_price_gbp_mwh', s.reserve_scarcity_price_gbp_mwh::text,
        'derivation_code', s.derivation_code,
        'bsad_defaulted', s.bsad_defaulted,
        'created_at', s.published_at,
        'fetched_at', s.fetched_at) order by s.half_hour, s.revision), '[]')
    from (
        select r.*, max(r.revision) over (partition by r.half_hour) as newest
        from public.system_price_revisions r
        where r.half_hour >= p_from and r.half_hour < p_until) as s
    where p_every or s.revision = s.newest
$$;

-- What is forecast of the margin in the half-hours that begin in [p_from, p_until).
create or replace function public.loss_of_load_between(p_from timestamptz, p_until timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'half_hour', l.half_hour,
        'probability', l.probability::text,
        'derated_margin_mw', l.derated_margin_mw::text,
        'horizon_hours', l.horizon_hours,
        'published_at', l.published_at,
        'fetched_at', l.fetched_at) order by l.half_hour), '[]')
    from public.loss_of_load_forecasts l
    where l.half_hour >= p_from and l.half_hour < p_until
$$;

-- One event of the Demand Flexibility Service with its half-hours, as text where it is money or power.
create or replace function public.dfs_event_document(p_event public.dfs_events)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event_ref', p_event.event_ref,
        'event_id', p_event.event_id,
        'direction', p_event.direction,
        'tag', p_event.tag,
        'requirement_type', p_event.requirement_type,
        'delivery_date', p_event.delivery_date,
        'starts_at', p_event.starts_at,
        'ends_at', p_event.ends_at,
        'submitted_at', p_event.submitted_at,
        'dispatch_type', p_event.dispatch_type,
        'participants', coalesce(p_event.participants, '[]'),
        'fetched_at', p_event.fetched_at,
        'half_hours', (
            select coalesce(json_agg(json_build_object(
                'half_hour', p.half_hour,
                'requirement_mw', p.requirement_mw::text,
                'guaranteed_price_gbp_per_mwh', p.guaranteed_price_gbp_mwh::text,
                'zonal_caps_mw', coalesce(p.zonal_caps_mw, '{}'),
                'procured_mw', p.procured_mw::text,
                'accepted_cost_gbp', p.accepted_cost_gbp::text,
                'settled_mw', p.settled_mw::text,
                'settled_cost_gbp', p.settled_cost_gbp::text,
                'bids', (
                    select count(*) from public.dfs_bids b
                    where (b.event_ref, b.half_hour) = (p.event_ref, p.half_hour))) order by p.half_hour), '[]')
            from public.dfs_periods p
            where p.event_ref = p_event.event_ref))
$$;

-- Events that take place between p_from and p_until, the latest first.
create or replace function public.dfs_events_between(p_from timestamptz, p_until timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.dfs_event_document(e) order by e.starts_at desc, e.event_ref desc), '[]')
    from public.dfs_events e
    where e.ends_at > p_from and e.starts_at < p_until
$$;

-- One event with every bid; null where there is none of that name.
create or replace function public.dfs_event(p_event_ref text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event', public.dfs_event_document(e),
        'bids', (
            select coalesce(json_agg(json_build_object(
                'half_hour', b.half_hour,
                'participant', b.participant,
                'unit_id', b.unit_id,
                'zone', b.zone,
                'bid_mw', b.bid_mw::text,
                'price_gbp_per_mwh', b.price_gbp_mwh::text,
                'status', b.status,
                'cost_gbp', case when b.status = 'Accepted' then b.bid_mw * 0.5 * b.price_gbp_mwh else 0 end::text
            ) order by b.half_hour, b.price_gbp_mwh, b.unit_id, b.bid_number), '[]')
            from public.dfs_bids b
            where b.event_ref = e.event_ref))
    from public.dfs_events e
    where e.event_ref = p_event_ref
$$;

-- What is required after p_from, one row an event: for those who make something of the need. The service pays as bid, and
-- what others were paid is the best guide to a bid: the mean price of what was accepted in the newest earlier event.
create or replace function public.dfs_requirements_from(p_from timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', e.event_ref,
        'event_type', e.direction,
        'event_tag', e.tag,
        'requirement_type', e.requirement_type,
        'from_utc', e.starts_at,
        'to_utc', e.ends_at,
        'requirement_mw', needed.most::text,
        'guaranteed_price_gbp_per_mwh', needed.guaranteed::text,
        'accepted_price_gbp_per_mwh', earlier.mean_price::text,
        'accepted_in', earlier.event_ref,
        'submitted_at', e.submitted_at,
        'fetched_at', e.fetched_at,
        'half_hours', needed.half_hours) order by e.starts_at, e.event_ref), '[]')
    from public.dfs_events e
    cross join lateral (
        select
            max(p.requirement_mw) as most,
            min(p.guaranteed_price_gbp_mwh) as guaranteed,
            json_agg(json_build_object(
                'half_hour', p.half_hour,
                'requirement_mw', p.requirement_mw::text,
                'guaranteed_price_gbp_per_mwh', p.guaranteed_price_gbp_mwh::text) order by p.half_hour) as half_hours
        from public.dfs_periods p
        where p.event_ref = e.event_ref and p.requirement_mw is not null) as needed
    left join lateral (
        select
            b.event_ref,
            round(sum(p.accepted_cost_gbp) / (sum(p.procured_mw) * 0.5), 2) as mean_price
        from public.dfs_events b
        join public.dfs_periods p on p.event_ref = b.event_ref
        where b.ends_at <= e.starts_at and b.direction = e.direction and p.procured_mw > 0 and p.accepted_cost_gbp is not null
        group by b.event_ref, b.ends_at
        order by b.ends_at desc, b.event_ref desc
        limit 1) as earlier on true
    where e.ends_at > p_from and needed.most is not null
$$;

-- By event, the digests of the three parts as they are stored.
create or replace function public.known_dfs_events()
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_object_agg(e.event_ref, json_build_object(
        'requirements', e.requirements_digest, 'bids', e.bids_digest, 'summaries', e.summaries_digest)), '{}')
    from public.dfs_events e
$$;

