-- Imbalance, margin and the Demand Flexibility Service: stored ----------------------------------------------------------

-- System prices as they were just read: [{half_hour, system_price_gbp_mwh, …, published_at, fetched_at}], figures as text.
-- A price that a later settlement run states anew is a further revision, whether or not it differs; what an earlier run said
-- comes too late. Answers how many revisions there are more. Writers wait for each other: revisions are numbered.
create or replace function public.store_system_prices(p_rows jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    revisions bigint;
begin
    lock table public.system_price_revisions in share row exclusive mode;
    insert into public.system_price_revisions (
        half_hour, revision, system_price_gbp_mwh, net_imbalance_volume_mwh, reserve_scarcity_price_gbp_mwh, derivation_code,
        bsad_defaulted, published_at, fetched_at)
    select
        r.half_hour, coalesce(newest.revision, 0) + 1, r.system_price_gbp_mwh, r.net_imbalance_volume_mwh,
        r.reserve_scarcity_price_gbp_mwh, r.derivation_code, r.bsad_defaulted, r.published_at, r.fetched_at
    from jsonb_to_recordset(p_rows) as r (
        half_hour timestamptz, system_price_gbp_mwh numeric, net_imbalance_volume_mwh numeric,
        reserve_scarcity_price_gbp_mwh numeric, derivation_code text, bsad_defaulted boolean, published_at timestamptz,
        fetched_at timestamptz)
    left join lateral (
        select s.* from public.system_price_revisions s
        where s.half_hour = r.half_hour
        order by s.revision desc
        limit 1) as newest on true
    where newest.revision is null
        or (r.published_at >= newest.published_at
            and (
                r.published_at, r.system_price_gbp_mwh, r.net_imbalance_volume_mwh, r.reserve_scarcity_price_gbp_mwh,
                r.derivation_code, r.bsad_defaulted
            ) is distinct from (
                newest.published_at, newest.system_price_gbp_mwh, newest.net_imbalance_volume_mwh,
                newest.reserve_scarcity_price_gbp_mwh, newest.derivation_code, newest.bsad_defaulted));
    get diagnostics revisions = row_count;

    -- The newest of each, beside the grid's signals: of half-hours too that a back-fill has only now made known.
    insert into public.system_prices as p
    select newest.*
    from (
        select distinct on (s.half_hour)
            s.half_hour, s.revision, s.system_price_gbp_mwh, s.net_imbalance_volume_mwh, s.reserve_scarcity_price_gbp_mwh,
            s.derivation_code, s.bsad_defaulted, s.published_at, s.fetched_at
        from public.system_price_revisions s
        where s.half_hour >= (select min(g.timestamp) from public.grid_signals g)
        order by s.half_hour, s.revision desc
    ) as newest
    join public.grid_signals g on g.timestamp = newest.half_hour
    where not exists (
        select from public.system_prices known
        where known.half_hour = newest.half_hour and known.revision = newest.revision)
    on conflict (half_hour) do update set
        revision = excluded.revision,
        system_price_gbp_mwh = excluded.system_price_gbp_mwh,
        net_imbalance_volume_mwh = excluded.net_imbalance_volume_mwh,
        reserve_scarcity_price_gbp_mwh = excluded.reserve_scarcity_price_gbp_mwh,
        derivation_code = excluded.derivation_code,
        bsad_defaulted = excluded.bsad_defaulted,
        published_at = excluded.published_at,
        fetched_at = excluded.fetched_at;
    return revisions;
end
$$;

-- The margin of half-hours ahead: [{half_hour, probability, derated_margin_mw, horizon_hours, published_at, fetched_at}]. An
-- earlier forecast never replaces a later one.
create or replace function public.store_loss_of_load(p_rows jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.loss_of_load_forecasts as l (
        half_hour, probability, derated_margin_mw, horizon_hours, published_at, fetched_at)
    select r.half_hour, r.probability, r.derated_margin_mw, r.horizon_hours, r.published_at, r.fetched_at
    from jsonb_to_recordset(p_rows) as r (
        half_hour timestamptz, probability numeric, derated_margin_mw numeric, horizon_hours integer,
        published_at timestamptz, fetched_at timestamptz)
    order by r.half_hour
    on conflict (half_hour) do update set
        probability = excluded.probability,
        derated_margin_mw = excluded.derated_margin_mw,
        horizon_hours = excluded.horizon_hours,
        published_at = excluded.published_at,
        fetched_at = excluded.fetched_at
    where excluded.published_at >= l.published_at;
    get diagnostics stored = row_count;
    return stored;
end
$$;

-- Events of the Demand Flexibility Service, each with those of its three parts that changed (known_dfs_events tells what is
-- known): [{event_ref, event_id, direction, …, fetched_at, requirements_digest?, requirements?: [{half_hour, …}],
-- bids_digest?, bids?: […], summaries_digest?, summaries?: […]}]. A part replaces what was known of it; an event that was
-- read earlier than what is stored changes nothing.
create or replace function public.store_dfs_events(p_events jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    event jsonb;
    stored bigint := 0;
begin
    for event in select * from jsonb_array_elements(p_events) as e order by e ->> 'event_ref' loop
        insert into public.dfs_events as d (
            event_ref, event_id, direction, tag, requirement_type, delivery_date, starts_at, ends_at, submitted_at,
            dispatch_type, participants, requirements_digest, bids_digest, summaries_digest, fetched_at)
        select
            r.event_ref, r.event_id, r.direction, r.tag, r.requirement_type, r.delivery_date, r.starts_at, r.ends_at,
            r.submitted_at, r.dispatch_type, r.participants, r.requirements_digest, r.bids_digest, r.summaries_digest,
            r.fetched_at
        from jsonb_populate_record(null::public.dfs_events, event) as r
        on conflict (event_ref) do update set
            direction = excluded.direction,
            tag = excluded.tag,
            requirement_type = excluded.requirement_type,
            delivery_date = excluded.delivery_date,
            -- Bids may be known of some half-hours only.
            starts_at = case when event ? 'requirements' then excluded.starts_at else least(d.starts_at, excluded.starts_at) end,
            ends_at = case when event ? 'requirements' then excluded.ends_at else greatest(d.ends_at, excluded.ends_at) end,
            submitted_at = coalesce(excluded.submitted_at, d.submitted_at),
            dispatch_type = coalesce(excluded.dispatch_type, d.dispatch_type),
            participants = coalesce(excluded.participants, d.participants),
            requirements_digest = coalesce(excluded.requirements_digest, d.requirements_digest),
            bids_digest = coalesce(excluded.bids_digest, d.bids_digest),
            summaries_digest = coalesce(excluded.summaries_digest, d.summaries_digest),
            fetched_at = excluded.fetched_at
        where d.fetched_at <= excluded.fetched_at;
        continue when not found;
        stored := stored + 1;
        if event ? 'requirements' then
            update public.dfs_periods p
            set requirement_mw = null, guaranteed_price_gbp_mwh = null, zonal_caps_mw = null
            where p.event_ref = event ->> 'event_ref'
                and p.half_hour not in (
                    select r.half_hour from jsonb_to_recordset(event -> 'requirements') as r (half_hour timestamptz));
            insert into public.dfs_periods (event_ref, half_hour, requirement_mw, guaranteed_price_gbp_mwh, zonal_caps_mw)
            select event ->> 'event_ref', r.half_hour, r.requirement_mw, r.guaranteed_price_gbp_mwh, r.zonal_caps_mw
            from jsonb_populate_recordset(null::public.dfs_periods, event -> 'requirements') as r
            on conflict (event_ref, half_hour) do update set
                requirement_mw = excluded.requirement_mw,
                guaranteed_price_gbp_mwh = excluded.guaranteed_price_gbp_mwh,
                zonal_caps_mw = excluded.zonal_caps_mw;
        end if;
        if event ? 'summaries' then
            insert into public.dfs_periods as p (
                event_ref, half_hour, requirement_mw, procured_mw, accepted_cost_gbp, settled_mw, settled_cost_gbp)
            select
                event ->> 'event_ref', r.half_hour, r.requirement_mw, r.procured_mw, r.accepted_cost_gbp, r.settled_mw,
                r.settled_cost_gbp
            from jsonb_populate_recordset(null::public.dfs_periods, event -> 'summaries') as r
            on conflict (event_ref, half_hour) do update set
                requirement_mw = coalesce(p.requirement_mw, excluded.requirement_mw),
                procured_mw = excluded.procured_mw,
                accepted_cost_gbp = excluded.accepted_cost_gbp,
                settled_mw = excluded.settled_mw,
                settled_cost_gbp = excluded.settled_cost_gbp;
        end if;
        if event ? 'bids' then
            delete from public.dfs_bids b where b.event_ref = event ->> 'event_ref';
            insert into public.dfs_bids (
                event_ref, half_hour, unit_id, bid_number, participant, zone, bid_mw, price_gbp_mwh, status)
            select
                event ->> 'event_ref', r.half_hour, r.unit_id,
                row_number() over (
                    partition by r.half_hour, r.unit_id order by r.price_gbp_mwh, r.bid_mw, r.status, r.participant, r.zone),
                r.participant, r.zone, r.bid_mw, r.price_gbp_mwh, r.status
            from jsonb_populate_recordset(null::public.dfs_bids, event -> 'bids') as r;
        end if;
    end loop;
    return stored;
end
$$;

