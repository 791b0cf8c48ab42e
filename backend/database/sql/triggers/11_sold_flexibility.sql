
-- Flexibility: written once ------------------------------------------------------------------------------------------------

do $once$
declare
    written text;
begin
    foreach written in array array[
        'flexibility_decisions', 'flexibility_moves', 'flexibility_commitments', 'flexibility_baselines',
        'flexibility_storage', 'flexibility_notifications', 'flexibility_settlements', 'flexibility_cashflows']
    loop
        execute format(
            'create or replace trigger refuse_row_change before update or delete on public.%I '
            'for each row execute function public.refuse_audit_change()', written);
        execute format(
            'create or replace trigger refuse_truncate before truncate on public.%I '
            'for each statement execute function public.refuse_audit_change()', written);
        execute format('alter table public.%I enable always trigger refuse_row_change', written);
        execute format('alter table public.%I enable always trigger refuse_truncate', written);
    end loop;
end
$once$;

-- What is hashed of an event's decision, as text: every column but chain_hash, in the order of the names below. See
-- decision_texts.
create or replace function public.flexibility_decision_texts(d public.flexibility_decisions)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
    return array[
        d.chain_position::text, d.previous_hash, d.tenant, d.decision_id::text, d.event_id::text, d.from_state, d.to_state,
        d.reason, d.content::text, extract(epoch from d.decided_at)::text];
end
$$;

-- The SHA-256 of an event's decision, which names the hash of the one before it among its tenant's: see decision_hash. The
-- bytes are lines of UTF-8: "pylon flexibility decision 1", then each column's name, "=", the number of bytes, ":" and the
-- text, or "-" for null.
create or replace function public.flexibility_decision_hash(d public.flexibility_decisions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    names constant text[] := array[
        'chain_position', 'previous_hash', 'tenant', 'decision_id', 'event_id', 'from_state', 'to_state', 'reason',
        'content', 'decided_at'];
begin
    return (
        select encode(sha256(convert_to(
            E'pylon flexibility decision 1\n' || string_agg(
                one.name || coalesce('=' || octet_length(convert_to(one.text, 'UTF8')) || ':' || one.text, '=-') || E'\n',
                '' order by one.place), 'UTF8')), 'hex')
        from unnest(names, public.flexibility_decision_texts(d)) with ordinality as one (name, text, place));
end
$$;

create or replace function public.chain_flexibility_decision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- The publishing lock, as for the chains of decisions: whoever has published has it already.
    perform pg_advisory_xact_lock(7263812);
    select d.chain_position + 1, d.chain_hash into new.chain_position, new.previous_hash
    from public.flexibility_decisions d
    where d.tenant = new.tenant
    order by d.chain_position desc
    limit 1;
    new.chain_position := coalesce(new.chain_position, 1);
    new.chain_hash := public.flexibility_decision_hash(new);
    return new;
end
$$;

create or replace trigger hash_into_chain
    before insert on public.flexibility_decisions
    for each row execute function public.chain_flexibility_decision();
alter table public.flexibility_decisions enable always trigger hash_into_chain;

-- Whether a tenant's chain is whole: {"decisions", "broken_at": the first position that does not follow from the one before,
-- or null}.
create or replace function public.flexibility_chain_check(p_operator text)
returns json
language sql
stable
set search_path = ''
as $$
    with followed as (
        select
            d.chain_position,
            d.chain_hash = public.flexibility_decision_hash(d)
                and d.previous_hash is not distinct from lag(d.chain_hash) over in_order
                and d.chain_position = row_number() over in_order as holds
        from public.flexibility_decisions d
        where d.tenant = p_operator
        window in_order as (order by d.chain_position)
    )
    select json_build_object(
        'decisions', count(*), 'broken_at', min(f.chain_position) filter (where not f.holds))
    from followed f
$$;

-- An owner's decisions on events in the order of its chain: see decision_chain.
create or replace function public.flexibility_decision_chain(
    p_operator text, p_after_position bigint default null, p_after_decision uuid default null, p_limit integer default 200)
returns json
language sql
stable
set search_path = ''
as $$
    with page as (
        select d as decision, d.chain_position, d.decision_id, pg_column_size(d.content) as bytes
        from public.flexibility_decisions d
        where d.tenant = p_operator
            and d.chain_position >= coalesce(p_after_position, -9223372036854775808)
            and (p_after_decision is null or (d.chain_position, d.decision_id) > (p_after_position, p_after_decision))
        order by d.chain_position, d.decision_id
        limit p_limit
    ),
    ahead as (
        select page.decision, row_number() over in_order as place, sum(page.bytes) over in_order as bytes
        from page
        window in_order as (order by page.chain_position, page.decision_id)
    )
    select coalesce(json_agg(
        json_build_object(
            'texts', public.flexibility_decision_texts(ahead.decision), 'hash', (ahead.decision).chain_hash)
        order by ahead.place), '[]')
    from ahead
    where ahead.place = 1 or ahead.bytes < 1048576
$$;

-- Where the chains of decisions on events end, as decision_heads tells it.
create or replace function public.flexibility_decision_heads()
returns json
language sql
stable
set search_path = ''
as $$
    with recursive tenants as (
        (select d.tenant from public.flexibility_decisions d order by d.tenant limit 1)
        union all
        select (
            select d.tenant from public.flexibility_decisions d where d.tenant > t.tenant order by d.tenant limit 1)
        from tenants t
        where t.tenant is not null
    )
    select json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_object(
                'operator', t.tenant, 'position', head.chain_position, 'hash', head.chain_hash,
                'decision_id', head.decision_id) order by t.tenant), '[]')
            from tenants t
            cross join lateral (
                select d.chain_position, d.chain_hash, d.decision_id
                from public.flexibility_decisions d
                where d.tenant = t.tenant and d.chain_position is not null
                order by d.chain_position desc
                limit 1) as head),
        'unchained', (
            select coalesce(json_agg(outside.decision_id), '[]')
            from (
                select (
                    select d.decision_id from public.flexibility_decisions d
                    where d.tenant = t.tenant and d.chain_position is null
                    limit 1) as decision_id
                from tenants t
                union all
                (select d.decision_id from public.flexibility_decisions d where d.tenant is null limit 1)) as outside
            where outside.decision_id is not null))
$$;


-- Flexibility: units and events ----------------------------------------------------------------------------------------------
--
-- Locks: the programs of OpenADR that what is sold is told in, the event, then batteries, then as everywhere: data centres, notifications, workloads, bookings, and last the publishing lock.

-- The GSP group of a region; null for an aggregate.
create or replace function public.gsp_group(p_region_id integer)
returns text
language sql
immutable
set search_path = ''
as $$
    select (array['_P', '_N', '_G', '_F', '_M', '_D', '_K', '_E', '_B', '_A', '_L', '_H', '_C', '_J'])[p_region_id]
$$;

-- Makes the units that an owner's data centres and batteries are in, where there are none yet. 'platform' owns what everybody has.
create or replace function public.ensure_flexibility_units(p_tenant text)
returns void
language sql
set search_path = ''
as $$
    insert into public.flexibility_units (unit_id, tenant, gsp_group, region_id)
    select distinct
        'V__' || case p_tenant when 'platform' then 'PYLON' else upper(left(md5(p_tenant), 7)) end
            || substr(public.gsp_group(d.region_id), 2),
        p_tenant, public.gsp_group(d.region_id), d.region_id
    from (
        select c.region_id, c.tenant from public.data_centres c
        union
        select s.region_id, s.tenant from public.storage_assets s) as d
    where (p_tenant = 'platform' or d.tenant = p_tenant) and public.gsp_group(d.region_id) is not null
    on conflict do nothing
$$;

-- An event as programs read it: numbers that are money or volumes as text, which keeps every digit.
create or replace function public.flexibility_event_row(e public.flexibility_events)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'event_id', e.event_id, 'tenant', e.tenant, 'door', e.door, 'source_id', e.source_id, 'programme', e.programme,
        'starts_at', e.starts_at, 'ends_at', e.ends_at, 'gate_closes_at', e.gate_closes_at,
        'need_mw', e.need_mw::text[], 'price_gbp_per_mwh', e.price_gbp_per_mwh::text[],
        'penalty_gbp_per_mwh', e.penalty_gbp_per_mwh::text[], 'compensation', e.compensation, 'in_day', e.in_day,
        'state', e.state, 'state_reason', e.state_reason, 'announced_at', e.announced_at, 'updated_at', e.updated_at)
$$;

-- Tells an event's new state in the log of events. Takes the publishing lock: call it last.
create or replace function public.log_flexibility_event(p_event_id uuid)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(
        nullif(e.tenant, 'platform'), 'grid.flexibility', null,
        public.flexibility_event_row(e) - 'tenant' - 'updated_at', e.event_id::text)
    from public.flexibility_events e
    where e.event_id = p_event_id;
    -- Whoever tells those that bought it over Beckn.
    select pg_notify('flexibility_contracts', '')
    from public.flexibility_events e
    where e.event_id = p_event_id and e.door = 'beckn'
$$;

-- A new event. p_operator: whose it is, whatever p_event says. p_event: {tenant (null: the platform's), door, source_id, programme, starts_at, need_mw, price_gbp_per_mwh,
-- penalty_gbp_per_mwh, compensation, in_day, document}, checked by whoever calls. Answers {"state": "announced" | "already"
-- (the same, again) | "different" (another of this name) | "closed" (its gate has closed) | "overlapping" (another event of
-- the owner's is open in these half-hours; one that NESO publishes may overlap) | "too_many" (of the owner's are ahead, by hand
-- and by OpenADR), "event"}. Nothing is stored but where it is announced.
create or replace function public.announce_flexibility_event(
    p_event jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.flexibility_events := jsonb_populate_record(null::public.flexibility_events, p_event);
    most constant integer := 100; -- ahead at a time, of a tenant, by hand and by OpenADR together
    found public.flexibility_events;
begin
    -- One announcement at a time, so that no two of them overlap unseen.
    lock table public.flexibility_events in share row exclusive mode;
    given.tenant := coalesce(p_operator, given.tenant, 'platform');
    given.ends_at := given.starts_at + cardinality(given.need_mw) * interval '30 minutes';
    given.gate_closes_at := given.starts_at - interval '1 hour';
    select * into found
    from public.flexibility_events e
    where (e.tenant, e.door, e.source_id) = (given.tenant, given.door, given.source_id);
    if found.event_id is not null then
        return json_build_object(
            'state', case
                when (found.programme, found.starts_at, found.need_mw, found.price_gbp_per_mwh, found.compensation, found.in_day)
                    = (given.programme, given.starts_at, given.need_mw, given.price_gbp_per_mwh, given.compensation, given.in_day)
                    and found.penalty_gbp_per_mwh is not distinct from given.penalty_gbp_per_mwh
                    then 'already' else 'different' end,
            'event', public.flexibility_event_row(found));
    end if;
    if given.gate_closes_at <= p_now then
        return json_build_object('state', 'closed', 'event', null);
    end if;
    select * into found
    from public.flexibility_events e
    where e.tenant = given.tenant and e.state not in ('DECLINED', 'MISSED', 'CANCELLED')
        and e.starts_at < given.ends_at and e.ends_at > given.starts_at
    order by e.starts_at
    limit 1;
    if found.event_id is not null and given.door <> 'dfs' then
        return json_build_object('state', 'overlapping', 'event', public.flexibility_event_row(found));
    end if;
    -- One thread carries on everybody's: those that are ahead are looked at every quarter of an hour.
    if given.door in ('manual', 'openadr') and (
        select count(*)
        from public.flexibility_events e
        where e.tenant = given.tenant and e.door in ('manual', 'openadr')
            and e.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED')
            and e.ends_at > p_now and e.starts_at > p_now - interval '2 days') >= most -- none lasts longer
    then
        return json_build_object('state', 'too_many', 'event', null);
    end if;
    insert into public.flexibility_events (
        tenant, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh,
        penalty_gbp_per_mwh, compensation, in_day, document, scheduled_at, announced_at)
    values (
        given.tenant, given.door, given.source_id, given.programme, given.starts_at, given.ends_at, given.gate_closes_at,
        given.need_mw, given.price_gbp_per_mwh, given.penalty_gbp_per_mwh, given.compensation, given.in_day,
        coalesce(given.document, '{}'), p_now, p_now)
    returning * into found;
    perform public.ensure_flexibility_units(found.tenant);
    insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, content, decided_at)
    values (
        found.tenant, found.event_id, null, 'ANNOUNCED', 'It was announced.',
        public.flexibility_event_row(found) - '{event_id,tenant,state,state_reason,updated_at}'::text[], p_now);
    perform public.log_flexibility_event(found.event_id);
    perform pg_notify('flexibility', '');
    return json_build_object('state', 'announced', 'event', public.flexibility_event_row(found));
end
$$;

-- Takes up to p_limit events whose next step is due on a lease. Answers {"claimed": [event with its lease_token…],
-- "next_due_at"}.
create or replace function public.claim_flexibility_events(
    p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due uuid[];
    claimed json;
begin
    perform public.queue_flexibility_sweep(null, p_now);
    -- Named one by one: a step may be due in hours and days, which to the engine would be a clock that was set back. One that
    -- is due later than any is put off to (see flexibility.steps) was put off by a clock that has been set back since.
    select coalesce(array_agg(ready.event_id order by ready.scheduled_at, ready.event_id), '{}') into due
    from public.flexibility_events ready
    where (
            ready.work_state = 'available'
            and (
                ready.scheduled_at <= p_now
                or ready.scheduled_at > case
                    when ready.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED') then p_now + interval '30 minutes'
                    else greatest(p_now, ready.ends_at) + interval '25 hours' end))
        or (ready.work_state = 'running' and public.has_come(ready.leased_until, p_now));
    select coalesce(json_agg(
        public.flexibility_event_row(e) || jsonb_build_object('lease_token', e.lease_token) order by e.starts_at, e.event_id),
        '[]')
    into claimed
    from public.queue_flexibility_claim(null, due, p_worker, p_limit, p_now, p_lease_seconds) as e;
    return json_build_object(
        'claimed', claimed,
        'next_due_at', least(
            public.queue_flexibility_next_due(null, p_now),
            (
                select min(e.scheduled_at) from public.flexibility_events e
                where e.work_state = 'available' and e.scheduled_at > p_now)));
end
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter. Answers {"state": "retry" | "fenced"}.
create or replace function public.fail_flexibility_event(
    p_event_id uuid, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_flexibility_fail(
        p_event_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- What an in-day adjustment adds to a baseline, which is known, and told, when its event is over: it is in the decision that
-- says so. The row itself was written before.
create or replace function public.flexibility_adjustment_mwh(b public.flexibility_baselines)
returns numeric
language sql
stable
set search_path = ''
as $$
    select case b.in_day
        when 'additive' then coalesce(
            (
                select (d.content -> 'in_day_mwh' ->> b.dc_id)::numeric
                from public.flexibility_decisions d
                where d.event_id = b.event_id and d.to_state = 'DELIVERED'
                limit 1),
            0)
        else b.adjustment_mwh end
$$;

-- The data centres that may give way for an event: its owner's, but those that another event has sold in its half-hours.
create or replace function public.flexibility_sites(p_event public.flexibility_events)
returns table (dc_id text, unit_id text)
language sql
stable
set search_path = ''
as $$
    select d.dc_id, u.unit_id
    from public.data_centres d
    join public.flexibility_units u on (u.tenant, u.gsp_group) = ((p_event).tenant, public.gsp_group(d.region_id))
    where ((p_event).tenant = 'platform' or d.tenant = (p_event).tenant)
        and not exists (
            select
            from public.flexibility_baselines b
            join public.flexibility_events other on other.event_id = b.event_id
            where b.dc_id = d.dc_id and b.event_id is distinct from (p_event).event_id
                and other.state in ('COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED')
                and b.half_hour >= (p_event).starts_at and b.half_hour < (p_event).ends_at)
$$;

-- The batteries that may discharge for an event: those of its owner that run, whose charge and efficiency are known, and that
-- no event has until they have back what they gave.
create or replace function public.flexibility_batteries(p_event public.flexibility_events, p_now timestamptz)
returns table (
    asset_id text, unit_id text, region_id integer, power_mw double precision, capacity_mwh double precision,
    state_of_charge_percentage double precision, round_trip_efficiency double precision)
language sql
stable
set search_path = ''
as $$
    select
        s.asset_id, u.unit_id, s.region_id, s.power_mw, s.capacity_mwh, s.state_of_charge_percentage, s.round_trip_efficiency
    from public.storage_assets s
    join public.flexibility_units u on (u.tenant, u.gsp_group) = ((p_event).tenant, public.gsp_group(s.region_id))
    where ((p_event).tenant = 'platform' or s.tenant = (p_event).tenant)
        and s.status = 'ACTIVE' and s.asset_type = 'BATTERY' and s.power_mw > 0
        and s.state_of_charge_percentage is not null and s.round_trip_efficiency > 0
        and not exists (
            select
            from public.flexibility_storage sold
            join public.flexibility_events other on other.event_id = sold.event_id
            where sold.asset_id = s.asset_id and sold.event_id is distinct from (p_event).event_id
                and other.state in ('COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED')
                and sold.half_hour > p_now - interval '30 minutes')
$$;

-- All that an offer is made from: {"sites": [{dc_id, unit_id}…], "booked": [{booking_id, operator, job_id, dc_id, starts_at,
-- ends_at, it_power_kw}…] (what a decision has placed at them in the event's half-hours and has not begun; of the event's
-- owner, or of everybody where that is the platform), "batteries", "contexts": decision_contexts of those workloads}.
create or replace function public.flexibility_situation_of(p_event public.flexibility_events, p_now timestamptz)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    sites json;
    booked jsonb;
begin
    select coalesce(json_agg(s order by s.dc_id), '[]') into sites from public.flexibility_sites(p_event) s;
    select coalesce(jsonb_agg(one order by one.starts_at, one.booking_id), '[]') into booked
    from (
        select
            b.booking_id, b.tenant as operator, b.job_id, b.dc_id, b.starts_at, b.ends_at,
            b.it_power_kw::double precision as it_power_kw
        from public.capacity_bookings b
        where b.dc_id in (select s ->> 'dc_id' from json_array_elements(sites) as s)
            and b.state = 'HELD' and b.source = 'decision' and b.starts_at > p_now
            and b.starts_at < p_event.ends_at and b.ends_at > p_event.starts_at
            and (p_event.tenant = 'platform' or b.tenant = p_event.tenant)
        order by b.starts_at, b.booking_id
        limit 500) as one;
    return json_build_object(
        'sites', sites,
        'booked', booked,
        'batteries', (
            select coalesce(json_agg(b order by b.asset_id), '[]')
            from (
                select * from public.flexibility_batteries(p_event, p_now) most order by most.power_mw desc, most.asset_id
                limit 100) as b), -- each is planned, and whoever buys over Beckn may ask as often as it likes
        'contexts', public.decision_contexts(
            coalesce((
                select jsonb_agg(jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(booked) as one), '[]'),
            p_now));
end
$$;

create or replace function public.flexibility_situation(p_event_id uuid, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select public.flexibility_situation_of(e, p_now) from public.flexibility_events e where e.event_id = p_event_id
$$;

-- What data centres drew for runs, for a baseline: {dc_id: {"days": {day: [48 texts, MWh]} (of the 60 days before the event's
-- that are known throughout), "event_days": [days on which it gave way before], "expected_mwh": [texts: what is booked there,
-- by half-hour of the event]}}.
create or replace function public.flexibility_history(p_event_id uuid, p_dc_ids jsonb)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    event public.flexibility_events;
    event_day date;
begin
    select * into event from public.flexibility_events e where e.event_id = p_event_id;
    event_day := (event.starts_at at time zone 'Europe/London')::date;
    return (
        select coalesce(json_object_agg(asked.dc_id, json_build_object(
            'days', coalesce((
                select json_object_agg(whole.day, whole.mwh)
                from (
                    select
                        (l.half_hour at time zone 'Europe/London')::date as day,
                        json_agg(trim_scale(l.site_energy_wh / 1000000)::text order by l.half_hour) as mwh
                    from public.data_centre_loads l
                    where l.dc_id = asked.dc_id
                        and l.half_hour >= (event_day - 60)::timestamp at time zone 'Europe/London'
                        and l.half_hour < event_day::timestamp at time zone 'Europe/London'
                    group by 1
                    having count(*) = 48) as whole), '{}'),
            'event_days', coalesce((
                select json_agg(distinct (b.half_hour at time zone 'Europe/London')::date)
                from public.flexibility_baselines b
                join public.flexibility_events other on other.event_id = b.event_id
                where b.dc_id = asked.dc_id and b.event_id <> p_event_id and other.state <> 'CANCELLED'
                    and b.half_hour >= event.starts_at - interval '61 days'), '[]'),
            'expected_mwh', (
                select json_agg(expected.mwh::text order by expected.half_hour)
                from (
                    select
                        slot.half_hour,
                        coalesce(sum(
                            b.it_power_kw * d.pue::numeric * extract(epoch from
                                least(b.ends_at, slot.half_hour + interval '30 minutes')
                                - greatest(b.starts_at, slot.half_hour)) / 3600000), 0) as mwh
                    from generate_series(
                        event.starts_at, event.ends_at - interval '1 second', interval '30 minutes') as slot (half_hour)
                    join public.data_centres d on d.dc_id = asked.dc_id
                    left join public.capacity_bookings b
                        on b.dc_id = asked.dc_id and b.state in ('HELD', 'RUNNING') and b.job_id is not null
                        and b.starts_at < slot.half_hour + interval '30 minutes' and b.ends_at > slot.half_hour
                    group by slot.half_hour) as expected))), '{}')
        from jsonb_array_elements_text(p_dc_ids) as asked (dc_id));
end
$$;

-- What data centres drew for runs in the six half-hours before an event's gate closure: {dc_id: {half_hour: MWh}}, those that
-- are known.
create or replace function public.flexibility_in_day_readings(p_event_id uuid, p_dc_ids jsonb)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_object_agg(known.dc_id, known.readings), '{}')
    from (
        select
            l.dc_id,
            json_object_agg(
                to_char(l.half_hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                trim_scale(l.site_energy_wh / 1000000)::text) as readings
        from public.flexibility_events e
        join public.data_centre_loads l
            on l.half_hour >= e.gate_closes_at - interval '3 hours' and l.half_hour < e.gate_closes_at
        where e.event_id = p_event_id
            and l.dc_id in (select asked.dc_id from jsonb_array_elements_text(p_dc_ids) as asked (dc_id))
        group by l.dc_id) as known
$$;


-- What an event is settled from: {"is_metered" (nothing that ran at its data centres in its half-hours is yet to be metered),
-- "run": the newest, 0 without any, "inputs": the newest run's, "baselines": [{dc_id, unit_id, half_hour, baseline_mwh,
-- metered_mwh}…], "batteries": [{asset_id, unit_id, half_hour, discharge_mw}…], "commitments": [{unit_id, half_hour, committed_mwh,
-- has_wman}…], "system_prices"}.
create or replace function public.flexibility_outcome(p_event_id uuid)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    event public.flexibility_events;
    newest public.flexibility_settlements;
begin
    select * into event from public.flexibility_events e where e.event_id = p_event_id;
    select * into newest from public.flexibility_settlements s where s.event_id = p_event_id order by s.run desc limit 1;
    return json_build_object(
        'is_metered', not exists (
            select
            from public.capacity_bookings b
            where b.dc_id in (select w.dc_id from public.flexibility_baselines w where w.event_id = p_event_id)
                and b.job_id is not null and b.starts_at < event.ends_at and b.ends_at > event.starts_at
                and (b.state in ('HELD', 'RUNNING') or (b.state = 'ENDED' and b.work_state <> 'completed'))),
        'run', coalesce(newest.run, 0),
        'inputs', newest.inputs,
        'baselines', (
            select coalesce(json_agg(json_build_object(
                'dc_id', w.dc_id, 'unit_id', w.unit_id, 'half_hour', w.half_hour,
                'baseline_mwh', (w.unadjusted_mwh + public.flexibility_adjustment_mwh(w))::text,
                'metered_mwh', trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text) order by w.half_hour, w.dc_id), '[]')
            from public.flexibility_baselines w
            left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (w.dc_id, w.half_hour)
            where w.event_id = p_event_id),
        -- A battery rests but for the event, and does what it was sold to do: nothing meters it.
        'batteries', (
            select coalesce(json_agg(json_build_object(
                'asset_id', s.asset_id, 'unit_id', s.unit_id, 'half_hour', s.half_hour,
                'discharge_mw', s.discharge_mw::text) order by s.half_hour, s.asset_id), '[]')
            from public.flexibility_storage s
            where s.event_id = p_event_id and s.half_hour >= event.starts_at and s.half_hour < event.ends_at),
        'commitments', (
            select coalesce(json_agg(json_build_object(
                'unit_id', c.unit_id, 'half_hour', c.half_hour, 'committed_mwh', c.committed_mwh::text,
                'has_wman', exists (
                    select from public.flexibility_notifications n
                    where (n.event_id, n.unit_id, n.half_hour, n.kind) = (c.event_id, c.unit_id, c.half_hour, 'WMAN')))
                order by c.half_hour, c.unit_id), '[]')
            from public.flexibility_commitments c
            where c.event_id = p_event_id),
        'system_prices', public.system_prices_between(event.starts_at, event.ends_at));
end
$$;

-- Gives back the power that an event holds, for whoever has the event's lock.
create or replace function public.release_flexibility(p_event_id uuid, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.flexibility_event_id = p_event_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = p_state, reason = p_reason, ended_at = clock_timestamp()
    where b.flexibility_event_id = p_event_id and b.state = 'HELD';
    if found then
        perform public.let_waiting_ask_again();
    end if;
end
$$;

-- Moves the workloads of a commitment: each gives its place back, the power that it had in the event's half-hours is held by
-- the event, and its new decision is published, all in this transaction or not at all. Answers whether all of it was done: it is not
-- where one of them has changed since it was looked at, the grid has, or the power it was to have has gone.
create or replace function public.move_for_flexibility(p_event public.flexibility_events, p_step jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    moves constant jsonb := p_step -> 'moves';
begin
    if not public.take_places_back(
        moves, 'flexibility', 'it gives way for flexibility', 'It gives way for flexibility and is decided again.',
        (p_step ->> 'now')::timestamptz)
    then
        return false;
    end if;
    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, starts_at, ends_at, it_power_kw, carried_out_by, work_state, scheduled_at,
        flexibility_event_id, reason)
    select
        b.dc_id, p_event.tenant, null, 'flexibility', greatest(b.starts_at, p_event.starts_at), least(b.ends_at, p_event.ends_at),
        b.it_power_kw, 'flexibility', 'completed', p_event.starts_at, p_event.event_id, null
    from jsonb_array_elements(moves) as m
    join public.capacity_bookings b on b.booking_id = (m ->> 'booking_id')::bigint;
    insert into public.flexibility_moves (
        event_id, tenant, job_id, unit_id, from_dc_id, from_starts_at, to_dc_id, to_starts_at, it_power_kw, keep_gbp, delta_gbp,
        freed_mwh, notification_id)
    select
        p_event.event_id, m.tenant, m.job_id, m.unit_id, m.from_dc_id, m.from_starts_at, m.to_dc_id, m.to_starts_at,
        m.it_power_kw, m.keep_gbp, m.delta_gbp, m.freed_mwh, n.notification_id
    from jsonb_to_recordset(moves) as m (
        tenant text, job_id text, unit_id text, from_dc_id text, from_starts_at timestamptz, to_dc_id text,
        to_starts_at timestamptz, it_power_kw numeric, keep_gbp numeric, delta_gbp numeric, freed_mwh numeric[])
    join public.workload_notifications n on (n.tenant, n.job_id) = (m.tenant, m.job_id) and n.work_state = 'running';
    perform public.publish_moves(moves, p_step ->> 'agent_id', p_step -> 'grid', p_step ->> 'grid_version');
    return true;
exception
    when sqlstate 'PYM01' then
        return false; -- and nothing of the above has happened
end
$$;

-- Whether the batteries of a commitment are still there to be sold; they are locked, so that no other event takes them.
create or replace function public.storage_may_be_sold(p_event public.flexibility_events, p_step jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    wanted constant text[] := array(
        select distinct one ->> 'asset_id' from jsonb_array_elements(p_step -> 'storage') as one);
begin
    perform from public.storage_assets s where s.asset_id = any (wanted) order by s.asset_id for no key update;
    return cardinality(wanted) = (
        select count(*) from public.flexibility_batteries(p_event, (p_step ->> 'now')::timestamptz) b
        where b.asset_id = any (wanted));
end
$$;

-- One step of an event, under its lease, in one transaction. p_step: {event_id, lease_token, from_state, state, reason, content,
-- due_at (of the next step; null: there is none), now (when it was worked out), stored_at (when that was done; null: the same), and as
-- the step wants them: moves, grid, grid_version, agent_id (see
-- move_for_flexibility), storage, baselines, commitments, notifications, settlement: {run, received_gbp, inputs, cashflows}}. A step that
-- stays in its state and decides nothing (content null) only says when to look again. Answers {"state": "changed" | "fenced"
-- (the lease was lost) | "wrong_state" | "outdated" (what was to move has changed, or a gate has closed meanwhile: look again)}.
create or replace function public.step_flexibility_event(p_step jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    event public.flexibility_events;
    moment constant timestamptz := (p_step ->> 'now')::timestamptz;
    stored_at constant timestamptz := coalesce((p_step ->> 'stored_at')::timestamptz, moment);
    next_step_at constant timestamptz := (p_step ->> 'due_at')::timestamptz;
    to_state constant text := p_step ->> 'state';
    settlement constant jsonb := nullif(p_step -> 'settlement', 'null');
    decides constant boolean := jsonb_typeof(p_step -> 'content') = 'object';
begin
    if to_state = 'COMMITTED' then
        perform public.openadr_hold_dispatch_programs(
            (p_step ->> 'event_id')::uuid, nullif(p_step -> 'storage', 'null'), moment);
    end if;
    -- What the update below needs, before the publishing lock: an announcement has the table first, and that lock then.
    lock table public.flexibility_events in row exclusive mode;
    select * into event from public.flexibility_events e where e.event_id = (p_step ->> 'event_id')::uuid for update;
    if event.event_id is null or event.work_state <> 'running'
        or event.lease_token is distinct from (p_step ->> 'lease_token')::bigint
    then
        return json_build_object('state', 'fenced');
    end if;
    if event.state is distinct from p_step ->> 'from_state' then
        return json_build_object('state', 'wrong_state');
    end if;
    if stored_at > moment and (
        (to_state in ('OFFERED', 'COMMITTED') and event.gate_closes_at <= stored_at)
        or exists (
            select from jsonb_to_recordset(nullif(p_step -> 'notifications', 'null')) as n (half_hour timestamptz)
            where n.half_hour - interval '1 hour' <= stored_at))
    then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(p_step -> 'storage', 'null')) > 0 and not public.storage_may_be_sold(event, p_step) then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(p_step -> 'moves', 'null')) > 0 and not public.move_for_flexibility(event, p_step) then
        return json_build_object('state', 'outdated');
    end if;
    insert into public.flexibility_commitments (event_id, unit_id, half_hour, tenant, committed_mwh)
    select event.event_id, c.unit_id, c.half_hour, event.tenant, c.committed_mwh
    from jsonb_to_recordset(nullif(p_step -> 'commitments', 'null')) as c (
        unit_id text, half_hour timestamptz, committed_mwh numeric);
    insert into public.flexibility_baselines (
        event_id, dc_id, half_hour, tenant, unit_id, method, version, days, wanted_days, unadjusted_mwh, adjustment_mwh,
        baseline_mwh, in_day)
    select
        event.event_id, b.dc_id, b.half_hour, event.tenant, b.unit_id, b.method, b.version, b.days, b.wanted_days,
        b.unadjusted_mwh, b.adjustment_mwh, b.baseline_mwh, b.in_day
    from jsonb_to_recordset(nullif(p_step -> 'baselines', 'null')) as b (
        dc_id text, half_hour timestamptz, unit_id text, method text, version text, days date[], wanted_days integer,
        unadjusted_mwh numeric, adjustment_mwh numeric, baseline_mwh numeric, in_day text);
    insert into public.flexibility_storage (event_id, asset_id, half_hour, tenant, unit_id, charge_mw, discharge_mw)
    select event.event_id, s.asset_id, s.half_hour, event.tenant, s.unit_id, s.charge_mw, s.discharge_mw
    from jsonb_to_recordset(nullif(p_step -> 'storage', 'null')) as s (
        asset_id text, half_hour timestamptz, unit_id text, charge_mw numeric, discharge_mw numeric);
    insert into public.flexibility_notifications (event_id, unit_id, half_hour, kind, tenant, volume_mwh, sent_at)
    select event.event_id, n.unit_id, n.half_hour, n.kind, event.tenant, n.volume_mwh, moment
    from jsonb_to_recordset(nullif(p_step -> 'notifications', 'null')) as n (
        unit_id text, half_hour timestamptz, kind text, volume_mwh numeric);
    if settlement is not null then
        insert into public.flexibility_settlements (event_id, run, tenant, settled_at, received_gbp, inputs)
        values (
            event.event_id, (settlement ->> 'run')::integer, event.tenant, moment, (settlement ->> 'received_gbp')::numeric,
            settlement -> 'inputs');
        insert into public.flexibility_cashflows (
            event_id, run, place, tenant, kind, half_hour, payer, payee, amount_gbp)
        select
            event.event_id, (settlement ->> 'run')::integer, flow.place, event.tenant, flow.kind, flow.half_hour, flow.payer,
            flow.payee, flow.amount_gbp
        from rows from (jsonb_to_recordset(settlement -> 'cashflows') as (
            kind text, half_hour timestamptz, payer text, payee text, amount_gbp numeric)) with ordinality
            as flow (kind, half_hour, payer, payee, amount_gbp, place);
    end if;
    update public.flexibility_events e
    set state = to_state,
        state_reason = p_step ->> 'reason',
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, e.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then moment end
    where e.event_id = event.event_id;
    if to_state in ('DELIVERED', 'MISSED') and event.state <> to_state then
        perform public.release_flexibility(
            event.event_id, case to_state when 'DELIVERED' then 'ENDED' else 'RELEASED' end, 'the event is over');
    end if;
    if to_state = 'COMMITTED' and event.state <> to_state then
        perform public.openadr_dispatch(event, moment);
    elsif to_state = 'MISSED' then
        perform public.openadr_withdraw(event.event_id);
    end if;
    if decides then
        insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, content, decided_at)
        values (event.tenant, event.event_id, event.state, to_state, p_step ->> 'reason', p_step -> 'content', moment);
        perform public.log_flexibility_event(event.event_id);
    end if;
    return json_build_object('state', 'changed');
end
$$;

-- Takes an event back, before its gate closes: what it holds is free again; what was moved stays where it is. Answers {"state":
-- "cancelled" | "unknown" | "closed" (its gate has closed) | "over" (it has ended, however), "event"}. p_operator: whose it must
-- be; null for the platform, which may take back any.
create or replace function public.cancel_flexibility_event(
    p_event_id uuid, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    event public.flexibility_events;
begin
    select * into event
    from public.flexibility_events e
    where e.event_id = p_event_id and (p_operator is null or e.tenant = p_operator)
    for update;
    if event.event_id is null then
        return json_build_object('state', 'unknown', 'event', null);
    end if;
    if event.state = 'CANCELLED' then
        return json_build_object('state', 'cancelled', 'event', public.flexibility_event_row(event));
    end if;
    if event.state not in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') then
        return json_build_object('state', 'over', 'event', public.flexibility_event_row(event));
    end if;
    if event.gate_closes_at <= p_now then
        return json_build_object('state', 'closed', 'event', public.flexibility_event_row(event));
    end if;
    update public.flexibility_events e
    set state = 'CANCELLED', state_reason = p_reason, work_state = 'completed', lease_token = null, leased_until = null,
        leased_by = null, finished_at = p_now
    where e.event_id = p_event_id;
    perform public.release_flexibility(p_event_id, 'RELEASED', 'the event was cancelled');
    perform public.openadr_withdraw(p_event_id);
    insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, decided_at)
    values (event.tenant, p_event_id, event.state, 'CANCELLED', p_reason, p_now);
    perform public.log_flexibility_event(p_event_id);
    return json_build_object('state', 'cancelled', 'event', (
        select public.flexibility_event_row(e) from public.flexibility_events e where e.event_id = p_event_id));
end
$$;


-- Flexibility: reading --------------------------------------------------------------------------------------------------------

-- Events, those that begin last first, after the place (p_before, p_before_id) of the last one seen: [event…].
create or replace function public.flexibility_events_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.flexibility_event_row(page) order by page.starts_at desc, page.event_id desc), '[]')
    from (
        select *
        from public.flexibility_events e
        where p_before is null or (e.starts_at, e.event_id) < (p_before, p_before_id)
        order by e.starts_at desc, e.event_id desc
        limit p_limit) as page
$$;

-- An event's whole life: {"event", "decisions", "moves", "commitments", "baselines", "storage", "notifications", "settlements"}; null
-- where there is none.
create or replace function public.flexibility_event_life(p_event_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event', public.flexibility_event_row(e),
        'document', e.document,
        'decisions', (
            select coalesce(json_agg(json_build_object(
                'decision_id', d.decision_id, 'from_state', d.from_state, 'to_state', d.to_state, 'reason', d.reason,
                'content', d.content, 'decided_at', d.decided_at, 'chain_position', d.chain_position,
                'previous_hash', d.previous_hash, 'chain_hash', d.chain_hash) order by d.chain_position), '[]')
            from public.flexibility_decisions d
            where d.event_id = e.event_id),
        'moves', (
            select coalesce(json_agg(json_build_object(
                'operator', m.tenant, 'job_id', m.job_id, 'unit_id', m.unit_id, 'from_dc_id', m.from_dc_id,
                'from_starts_at', m.from_starts_at, 'to_dc_id', m.to_dc_id, 'to_starts_at', m.to_starts_at,
                'it_power_kw', m.it_power_kw::text, 'keep_gbp', m.keep_gbp::text, 'delta_gbp', m.delta_gbp::text,
                'freed_mwh', m.freed_mwh::text[]) order by m.job_id, m.tenant), '[]')
            from public.flexibility_moves m
            where m.event_id = e.event_id),
        'commitments', (
            select coalesce(json_agg(json_build_object(
                'unit_id', c.unit_id, 'half_hour', c.half_hour, 'committed_mwh', c.committed_mwh::text)
                order by c.half_hour, c.unit_id), '[]')
            from public.flexibility_commitments c
            where c.event_id = e.event_id),
        'baselines', (
            select coalesce(json_agg(json_build_object(
                'dc_id', b.dc_id, 'unit_id', b.unit_id, 'half_hour', b.half_hour, 'method', b.method, 'version', b.version,
                'days', b.days, 'wanted_days', b.wanted_days, 'unadjusted_mwh', b.unadjusted_mwh::text,
                'adjustment_mwh', public.flexibility_adjustment_mwh(b)::text,
                'baseline_mwh', (b.unadjusted_mwh + public.flexibility_adjustment_mwh(b))::text, 'in_day', b.in_day,
                'metered_mwh', case when e.state in ('DELIVERED', 'SETTLED')
                    then trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text end) order by b.half_hour, b.dc_id), '[]')
            from public.flexibility_baselines b
            left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (b.dc_id, b.half_hour)
            where b.event_id = e.event_id),
        'storage', (
            select coalesce(json_agg(json_build_object(
                'asset_id', s.asset_id, 'unit_id', s.unit_id, 'half_hour', s.half_hour, 'charge_mw', s.charge_mw::text,
                'discharge_mw', s.discharge_mw::text) order by s.half_hour, s.asset_id), '[]')
            from public.flexibility_storage s
            where s.event_id = e.event_id),
        'notifications', (
            select coalesce(json_agg(json_build_object(
                'unit_id', n.unit_id, 'half_hour', n.half_hour, 'kind', n.kind, 'volume_mwh', n.volume_mwh::text,
                'sent_at', n.sent_at, 'is_simulated', n.is_simulated) order by n.half_hour, n.unit_id, n.kind), '[]')
            from public.flexibility_notifications n
            where n.event_id = e.event_id),
        'settlements', (
            select coalesce(json_agg(json_build_object(
                'run', s.run, 'settled_at', s.settled_at, 'received_gbp', s.received_gbp::text, 'inputs', s.inputs,
                'cashflows', (
                    select coalesce(json_agg(json_build_object(
                        'kind', f.kind, 'half_hour', f.half_hour, 'payer', f.payer, 'payee', f.payee,
                        'amount_gbp', f.amount_gbp::text) order by f.place), '[]')
                    from public.flexibility_cashflows f
                    where (f.event_id, f.run) = (s.event_id, s.run))) order by s.run), '[]')
            from public.flexibility_settlements s
            where s.event_id = e.event_id))
    from public.flexibility_events e
    where e.event_id = p_event_id
$$;

-- Baselines, the newest half-hours first, behind the place (half-hour, event, data centre) of the last one seen: [baseline…].
-- p_event_id and p_unit_id: of these alone.
create or replace function public.flexibility_baselines_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', b.event_id, 'operator', b.tenant, 'dc_id', b.dc_id, 'unit_id', b.unit_id, 'half_hour', b.half_hour,
        'method', b.method, 'version', b.version, 'days', b.days, 'wanted_days', b.wanted_days,
        'unadjusted_mwh', b.unadjusted_mwh::text, 'adjustment_mwh', public.flexibility_adjustment_mwh(b.whole)::text,
        'baseline_mwh', (b.unadjusted_mwh + public.flexibility_adjustment_mwh(b.whole))::text, 'in_day', b.in_day,
        'metered_mwh', case when e.state in ('DELIVERED', 'SETTLED')
            then trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text end)
        order by b.half_hour desc, b.event_id desc, b.dc_id desc), '[]')
    from (
        select f.*, f as whole
        from public.flexibility_baselines f
        where (p_event_id is null or f.event_id = p_event_id) and (p_unit_id is null or f.unit_id = p_unit_id)
            and (p_before is null or (f.half_hour, f.event_id, f.dc_id) < (p_before, p_before_id, p_before_name))
        order by f.half_hour desc, f.event_id desc, f.dc_id desc
        limit p_limit) as b
    join public.flexibility_events e on e.event_id = b.event_id
    left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (b.dc_id, b.half_hour)
$$;

-- What was sold, the newest half-hours first, behind the place (half-hour, event, unit) of the last one seen: [commitment…].
create or replace function public.flexibility_commitments_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', c.event_id, 'operator', c.tenant, 'unit_id', c.unit_id, 'half_hour', c.half_hour,
        'committed_mwh', c.committed_mwh::text, 'programme', e.programme, 'state', e.state,
        'price_gbp_per_mwh',
            e.price_gbp_per_mwh[1 + (extract(epoch from c.half_hour - e.starts_at) / 1800)::integer]::text,
        'is_notified', exists (
            select from public.flexibility_notifications n
            where (n.event_id, n.unit_id, n.half_hour, n.kind) = (c.event_id, c.unit_id, c.half_hour, 'WMAN')))
        order by c.half_hour desc, c.event_id desc, c.unit_id desc), '[]')
    from (
        select *
        from public.flexibility_commitments f
        where (p_event_id is null or f.event_id = p_event_id) and (p_unit_id is null or f.unit_id = p_unit_id)
            and (p_before is null or (f.half_hour, f.event_id, f.unit_id) < (p_before, p_before_id, p_before_name))
        order by f.half_hour desc, f.event_id desc, f.unit_id desc
        limit p_limit) as c
    join public.flexibility_events e on e.event_id = c.event_id
$$;

-- Runs of settlements, the newest first, behind the place (when, event, run) of the last one seen, each with its cashflows and
-- with what its event moved: [settlement…]. p_unit_id: of events that this unit sold something for.
create or replace function public.flexibility_settlements_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_run integer, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', s.event_id, 'operator', s.tenant, 'programme', e.programme, 'starts_at', e.starts_at, 'run', s.run,
        'is_newest', not exists (
            select from public.flexibility_settlements later where later.event_id = s.event_id and later.run > s.run),
        'settled_at', s.settled_at, 'received_gbp', s.received_gbp::text, 'inputs', s.inputs,
        'cashflows', (
            select coalesce(json_agg(json_build_object(
                'kind', f.kind, 'half_hour', f.half_hour, 'payer', f.payer, 'payee', f.payee,
                'amount_gbp', f.amount_gbp::text) order by f.place), '[]')
            from public.flexibility_cashflows f
            where (f.event_id, f.run) = (s.event_id, s.run)),
        'moves', (
            select coalesce(json_agg(json_build_object(
                'operator', m.tenant, 'job_id', m.job_id, 'unit_id', m.unit_id, 'from_dc_id', m.from_dc_id,
                'from_starts_at', m.from_starts_at, 'to_dc_id', m.to_dc_id, 'to_starts_at', m.to_starts_at,
                'delta_gbp', m.delta_gbp::text, 'freed_mwh', m.freed_mwh::text[],
                'decision_id', (
                    select d.decision_id from public.orchestration_decisions d
                    where d.notification_id = m.notification_id)) order by m.job_id, m.tenant), '[]')
            from public.flexibility_moves m
            where m.event_id = s.event_id))
        order by s.settled_at desc, s.event_id desc, s.run desc), '[]')
    from (
        select *
        from public.flexibility_settlements f
        where (p_event_id is null or f.event_id = p_event_id)
            and (p_unit_id is null or exists (
                select from public.flexibility_commitments c where (c.event_id, c.unit_id) = (f.event_id, p_unit_id)))
            and (p_before is null or (f.settled_at, f.event_id, f.run) < (p_before, p_before_id, p_before_run))
        order by f.settled_at desc, f.event_id desc, f.run desc
        limit p_limit) as s
    join public.flexibility_events e on e.event_id = s.event_id
$$;

-- Units with their data centres and batteries: [{unit_id, operator, gsp_group, region_id, dc_ids, asset_ids}…]. Of p_operator, or
-- (null) of all.
create or replace function public.flexibility_units_of(p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'unit_id', u.unit_id, 'operator', u.tenant, 'gsp_group', u.gsp_group, 'region_id', u.region_id,
        'dc_ids', (
            select coalesce(json_agg(d.dc_id order by d.dc_id), '[]') from public.data_centres d
            where d.region_id = u.region_id and (u.tenant = 'platform' or d.tenant = u.tenant)),
        'asset_ids', (
            select coalesce(json_agg(s.asset_id order by s.asset_id), '[]') from public.storage_assets s
            where s.region_id = u.region_id and (u.tenant = 'platform' or s.tenant = u.tenant))) order by u.unit_id), '[]')
    from public.flexibility_units u
    where p_operator is null or u.tenant = p_operator
$$;

