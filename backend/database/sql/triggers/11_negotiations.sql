
-- Negotiations -----------------------------------------------------------------------------------------------------------
--
-- Locks: the table where one is opened or stepped, the negotiation, then as everywhere: data centres, notifications, workloads,
-- bookings, and last the publishing lock.

do $once$
declare
    written text;
begin
    foreach written in array array['negotiation_messages', 'negotiation_awards', 'negotiation_payments'] loop
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

-- A negotiation as programs read it.
create or replace function public.negotiation_row(n public.negotiations)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'negotiation_id', n.negotiation_id, 'tenant', n.tenant, 'name', n.name, 'started_by', n.started_by,
        'limit_key', n.limit_key, 'starts_at', n.starts_at, 'half_hours', n.half_hours, 'round_seconds', n.round_seconds,
        'most_rounds', n.most_rounds, 'closes_at', n.closes_at, 'state', n.state, 'state_reason', n.state_reason,
        'round', n.round, 'award_number', n.award_number, 'answer_by', n.answer_by, 'outcome', n.outcome,
        'version', n.version, 'opened_at', n.opened_at, 'updated_at', n.updated_at)
$$;

-- Tells how far a negotiation has come in the log of events, to whoever opened it and to every operator whose agents take part:
-- what they know in common, and nothing that was proposed, awarded or paid. Takes the publishing lock: call it last.
create or replace function public.log_negotiation(p_negotiation_id uuid, p_event_type text)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(
        nullif(knows.tenant, 'platform'), p_event_type, null, jsonb_strip_nulls(jsonb_build_object(
            'negotiation_id', n.negotiation_id, 'name', n.name, 'started_by', n.started_by, 'limit_key', n.limit_key,
            'starts_at', n.starts_at, 'half_hours', n.half_hours, 'state', n.state, 'state_reason', n.state_reason,
            'round', n.round, 'award_number', n.award_number, 'cost_gbp', n.outcome -> 'cost_gbp',
            'alone_gbp', n.outcome -> 'alone_gbp', 'bound_gbp', n.outcome -> 'bound_gbp')),
        n.negotiation_id::text)
    from public.negotiations n
    cross join lateral (
        select n.tenant
        union
        select a.tenant from public.negotiation_agents a where a.negotiation_id = n.negotiation_id
        order by 1) as knows
    where n.negotiation_id = p_negotiation_id
$$;

-- Opens a negotiation. p_operator: who opens it, whatever p_negotiation says. p_negotiation: {tenant (null: the platform),
-- name, started_by, limit_key, starts_at, half_hours, round_seconds, most_rounds, closes_at, document (what tells a repeat
-- from a change), agents: [{agent, tenant (null: whoever opens it), kind, dc_id, endowment_mw, least_mw, most_mw,
-- declared}…]}, checked by whoever calls. Answers {"state": "opened" | "already" (the same, again) | "different" (another of
-- this name) | "past" (its first half-hour has begun) | "limit_in_use" (another about this limit is open) | "too_many" (of this
-- tenant are open) | "too_often" (it opened as many as it may within the last hour) | "unknown_operator" | "unknown_data_centre"
-- (there is none, or it is not its agent's), "negotiation", "detail": the agent at fault}. Nothing is
-- stored but where it is opened.
create or replace function public.open_negotiation(p_negotiation jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.negotiations := jsonb_populate_record(null::public.negotiations, p_negotiation);
    most constant integer := 10; -- open at a time, of a tenant: one coordinator carries on everybody's
    most_an_hour constant integer := 200; -- by hand
    found public.negotiations;
    at_fault text;
begin
    lock table public.negotiations in share row exclusive mode; -- one at a time, so that a limit is not opened twice unseen
    given.tenant := coalesce(p_operator, given.tenant, 'platform');
    select * into found from public.negotiations n where (n.tenant, n.name) = (given.tenant, given.name);
    if found.negotiation_id is not null then
        return json_build_object(
            'state', case when found.document = coalesce(given.document, '{}') then 'already' else 'different' end,
            'negotiation', public.negotiation_row(found));
    end if;
    if given.starts_at <= p_now then
        return json_build_object('state', 'past', 'negotiation', null);
    end if;
    select * into found
    from public.negotiations n
    where n.limit_key = given.limit_key and n.state in ('OPEN', 'ROUND', 'AWARDED');
    if found.negotiation_id is not null then
        return json_build_object('state', 'limit_in_use', 'negotiation', public.negotiation_row(found));
    end if;
    if (
        select count(*)
        from public.negotiations n
        where n.tenant = given.tenant and n.state in ('OPEN', 'ROUND', 'AWARDED')) >= most
    then
        return json_build_object('state', 'too_many', 'negotiation', null);
    end if;
    -- What is said in one is kept for good.
    if given.started_by = 'hand' and (
        select count(*)
        from public.negotiations n
        where n.tenant = given.tenant and n.started_by = 'hand' and n.opened_at > p_now - interval '1 hour'
            and n.opened_at <= p_now) >= most_an_hour
    then
        return json_build_object('state', 'too_often', 'negotiation', null);
    end if;
    select a ->> 'agent' into at_fault
    from jsonb_array_elements(p_negotiation -> 'agents') as a
    -- Whoever has booked work is known, with an operator or without.
    where given.started_by = 'hand' and coalesce(a ->> 'tenant', given.tenant) not in (given.tenant, 'platform')
        and not exists (select from public.operators o where o.operator_id = a ->> 'tenant')
    limit 1;
    if at_fault is not null then
        return json_build_object('state', 'unknown_operator', 'negotiation', null, 'detail', at_fault);
    end if;
    select a ->> 'agent' into at_fault
    from jsonb_array_elements(p_negotiation -> 'agents') as a
    where a ->> 'dc_id' is not null
        and not exists (
            select
            from public.data_centres d
            where d.dc_id = a ->> 'dc_id'
                and (given.tenant = 'platform' or d.tenant = coalesce(a ->> 'tenant', given.tenant)))
    limit 1;
    if at_fault is not null then
        return json_build_object('state', 'unknown_data_centre', 'negotiation', null, 'detail', at_fault);
    end if;
    insert into public.negotiations (
        tenant, name, started_by, limit_key, starts_at, half_hours, round_seconds, most_rounds, closes_at, document,
        scheduled_at, opened_at)
    values (
        given.tenant, given.name, given.started_by, given.limit_key, given.starts_at, given.half_hours, given.round_seconds,
        given.most_rounds, given.closes_at, coalesce(given.document, '{}'), p_now, p_now)
    returning * into found;
    insert into public.negotiation_agents (
        negotiation_id, agent, tenant, opened_by, kind, dc_id, endowment_mw, least_mw, most_mw, declared)
    select
        found.negotiation_id, a.agent, coalesce(a.tenant, found.tenant), found.tenant, a.kind, a.dc_id, a.endowment_mw,
        a.least_mw, a.most_mw, coalesce(a.declared, '{}')
    from jsonb_to_recordset(p_negotiation -> 'agents') as a (
        agent text, tenant text, kind text, dc_id text, endowment_mw double precision[], least_mw double precision[],
        most_mw double precision[], declared jsonb);
    perform pg_notify('negotiations', '');
    perform public.log_negotiation(found.negotiation_id, 'negotiation.opened');
    return json_build_object('state', 'opened', 'negotiation', public.negotiation_row(found));
end
$$;

-- Which limits bind in the p_half_hours from p_starts_at on, that nobody negotiates over yet: what is booked exceeds them, or
-- ("is_over": false) leaves no room for the least of the work that two agents or more have under them and could move, some of it
-- booked since they negotiated over it last, or that was six hours ago. Limits are:
-- "region_limit", what the data centres of a region may draw together, all they draw counted (p_region_limits: [{region_id,
-- limit_mw}…]); "flexibility_need", what those of an event may draw for runs after what was sold of them; "contention", what one
-- data centre has for bookings, of several owners, where it has promised more, or its power is worth something by the prices of
-- the joint plan. Null where none binds, else {"limits": [{limit_key, started_by, is_over, limit_mw, drawn_mw (of site power by
-- half-hour, in bookings), booked: [{booking_key, operator, job_id, dc_id, starts_at, ends_at, it_power_kw}…] (what a decision has
-- placed there and has not begun, in the order of the promises), free_kw: {dc_id: [kW…]} (IT power that its data centres have free,
-- below 0 where more is promised than there is)}…], "contexts": decision_contexts of all of it}. As many limits as are negotiated
-- over at a time, of both kinds, by the moment in another order: of some nothing may come, and those hold up no other. As much
-- work as is planned in seconds.
create or replace function public.binding_limits(
    p_now timestamptz, p_starts_at timestamptz, p_half_hours integer, p_region_limits jsonb)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    until constant timestamptz := p_starts_at + p_half_hours * interval '30 minutes';
    worth jsonb;
    limits jsonb;
begin
    select p.gbp_per_kw into worth
    from public.capacity_prices p
    where p.slot between public.half_hour_of(p_now) - interval '30 minutes' and public.half_hour_of(p_now)
    order by p.slot desc
    limit 1;
    with places as materialized (
        select 'region:' || d.region_id as limit_key, 'region_limit' as started_by, d.dc_id, r.limit_mw, null::uuid as event_id,
            null::text as unit_id
        from jsonb_to_recordset(p_region_limits) as r (region_id integer, limit_mw double precision)
        join public.data_centres d on d.region_id = r.region_id and d.status <> 'OFFLINE'
        union all
        -- Whose work is booked there is told the limit's key, and no event or unit that may be another operator's.
        select distinct 'flexibility:' || md5(b.event_id || ':' || b.unit_id), 'flexibility_need', b.dc_id,
            null::double precision, b.event_id, b.unit_id
        from public.flexibility_events e
        join public.flexibility_baselines b on b.event_id = e.event_id
        where e.state in ('COMMITTED', 'NOTIFIED') and e.ends_at > p_starts_at and e.starts_at < until
        union all
        select 'data_centre:' || d.dc_id, 'contention', d.dc_id, public.capacity_kw(d)::double precision * d.pue / 1000, null, null
        from public.data_centres d
        where d.status <> 'OFFLINE' and (
            coalesce(worth ? d.dc_id, false)
            or exists (
                select from public.held_power h
                where h.dc_id = d.dc_id and h.half_hour >= p_starts_at and h.half_hour < until
                    and h.held_kw > public.capacity_kw(d)))
    ),
    asked as materialized (
        select
            p.*, d.pue, public.capacity_kw(d) as capacity_kw,
            d.total_capacity_mw * coalesce(d.base_load_percentage, d.current_load_percentage) / 100 * d.pue as base_mw
        from places p
        join public.data_centres d on d.dc_id = p.dc_id
        where not exists (
            select from public.negotiations n
            where n.limit_key = p.limit_key and (n.starts_at = p_starts_at or n.state in ('OPEN', 'ROUND', 'AWARDED')))
    ),
    slots as (
        select i, p_starts_at + i * interval '30 minutes' as half_hour from generate_series(0, p_half_hours - 1) as i
    ),
    drawn as (
        select a.limit_key, touched.half_hour, sum(b.it_power_kw::double precision * a.pue / 1000) as mw
        from asked a
        join public.capacity_bookings b
            on b.dc_id = a.dc_id and b.state in ('HELD', 'RUNNING') and b.starts_at < until and b.ends_at > p_starts_at
            -- What keeps power free draws none.
            and (b.source <> 'flexibility' or a.started_by = 'contention')
        cross join lateral generate_series(
            greatest(p_starts_at, public.half_hour_of(b.starts_at)), least(b.ends_at, until) - interval '1 microsecond',
            interval '30 minutes') as touched (half_hour)
        group by a.limit_key, touched.half_hour
    ),
    movable as materialized (
        select
            a.limit_key, a.pue, c.booking_id, c.booking_key, c.tenant as operator, c.job_id, c.dc_id, c.starts_at, c.ends_at,
            c.it_power_kw::double precision as it_power_kw, c.created_at
        from asked a
        join public.capacity_bookings c on c.dc_id = a.dc_id
        where c.state = 'HELD' and c.source = 'decision' and c.work_state = 'available'
            and c.carried_out_by in ('simulation', 'runner') and c.starts_at >= p_starts_at and c.ends_at <= until
    ),
    wanting as (
        select m.limit_key, min(m.it_power_kw * m.pue / 1000) as least_mw
        from movable m
        group by m.limit_key
        -- Nothing new comes of the same work: until other is booked there too, or figures have changed in hours.
        having count(distinct (m.dc_id, m.operator)) > 1 and coalesce(
            max(m.created_at) > (
                select max(n.updated_at)
                from public.negotiations n
                where n.limit_key = m.limit_key and n.opened_at between p_now - interval '6 hours' and p_now),
            true)
    ),
    limited as (
        select
            a.limit_key, a.started_by, s.i, s.half_hour,
            case a.started_by
                when 'region_limit' then min(a.limit_mw) - sum(a.base_mw)
                when 'contention' then min(a.limit_mw)
                else coalesce(2 * (
                    (
                        select sum(b.baseline_mwh) from public.flexibility_baselines b
                        where (b.event_id, b.unit_id, b.half_hour) = (a.event_id, a.unit_id, s.half_hour))
                    - coalesce((
                        select sum(c.committed_mwh) from public.flexibility_commitments c
                        where (c.event_id, c.unit_id, c.half_hour) = (a.event_id, a.unit_id, s.half_hour)), 0)
                    + coalesce((
                        select sum(f.discharge_mw) / 2 from public.flexibility_storage f
                        where (f.event_id, f.unit_id, f.half_hour) = (a.event_id, a.unit_id, s.half_hour)), 0))::double precision,
                    10000) end as mw -- without an event there is no limit
        from asked a
        cross join slots s
        group by a.limit_key, a.started_by, a.event_id, a.unit_id, s.i, s.half_hour
    ),
    binding as (
        select
            l.limit_key, l.started_by, bool_or(coalesce(d.mw, 0) > l.mw + 1e-6) as is_over,
            jsonb_agg(l.mw order by l.i) as limit_mw, jsonb_agg(coalesce(d.mw, 0) order by l.i) as drawn_mw
        from limited l
        left join drawn d on (d.limit_key, d.half_hour) = (l.limit_key, l.half_hour)
        left join wanting w on w.limit_key = l.limit_key
        group by l.limit_key, l.started_by
        having bool_or(coalesce(d.mw, 0) > l.mw + 1e-6 or coalesce(d.mw, 0) + w.least_mw > l.mw + 1e-6)
    ),
    in_turn as (
        select b.*, row_number() over (partition by b.is_over order by md5(b.limit_key || p_now), b.limit_key) as turn
        from binding b
        order by turn, b.is_over desc
        limit 5
    )
    select jsonb_agg(to_jsonb(b) - 'turn' || jsonb_build_object(
        'booked', (
            select coalesce(jsonb_agg(to_jsonb(one) - '{booking_id,limit_key,pue,created_at}'::text[] order by one.booking_id), '[]')
            from (
                select * from movable m where m.limit_key = b.limit_key order by m.it_power_kw desc, m.booking_id limit 100) as one),
        'free_kw', (
            select jsonb_object_agg(a.dc_id, (
                select jsonb_agg((a.capacity_kw - coalesce(h.held_kw, 0))::double precision order by s.i)
                from slots s
                left join public.held_power h on (h.dc_id, h.half_hour) = (a.dc_id, s.half_hour)))
            from asked a
            where a.limit_key = b.limit_key and exists (
                select from movable m where (m.limit_key, m.dc_id) = (a.limit_key, a.dc_id)))) order by b.limit_key)
    into limits
    from in_turn b;
    if limits is null then
        return null;
    end if;
    return json_build_object(
        'limits', limits,
        'contexts', public.decision_contexts(
            coalesce((
                select jsonb_agg(distinct jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(limits) as l
                cross join lateral jsonb_array_elements(l -> 'booked') as one), '[]'),
            p_now));
end
$$;

-- Takes up to p_limit negotiations whose next step is due on a lease. Answers {"claimed": [negotiation with its lease_token,
-- its agents and all that was said…], "next_due_at"}.
create or replace function public.claim_negotiations(
    p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due uuid[];
    claimed json;
begin
    perform public.queue_negotiations_sweep(null, p_now);
    -- Named one by one: a step may be due in hours and days, which to the engine would be a clock that was set back.
    -- One that is due later than any is put off to (see negotiation.steps) was put off by a clock that has been set back since.
    select coalesce(array_agg(ready.negotiation_id order by ready.scheduled_at, ready.negotiation_id), '{}') into due
    from public.negotiations ready
    where (
            ready.work_state = 'available'
            and (
                ready.scheduled_at <= p_now
                or ready.scheduled_at > case
                    when ready.state in ('OPEN', 'ROUND', 'AWARDED') then p_now + interval '15 minutes'
                    else greatest(p_now, ready.starts_at + ready.half_hours * interval '30 minutes') + interval '1 hour' end))
        or (ready.work_state = 'running' and public.has_come(ready.leased_until, p_now));
    select coalesce(json_agg(
        public.negotiation_row(n) || jsonb_build_object(
            'lease_token', n.lease_token,
            'agents', (
                select jsonb_agg(jsonb_build_object(
                    'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'pue', d.pue,
                    'endowment_mw', a.endowment_mw, 'least_mw', a.least_mw, 'most_mw', a.most_mw, 'declared', a.declared,
                    'state', a.state) order by a.agent)
                from public.negotiation_agents a
                left join public.data_centres d on d.dc_id = a.dc_id
                where a.negotiation_id = n.negotiation_id),
            'messages', (
                select coalesce(jsonb_agg(jsonb_build_object(
                    'agent', m.agent, 'round', m.round, 'sender', m.sender, 'performative', m.performative,
                    'body', m.body) order by m.message_number), '[]')
                from public.negotiation_messages m
                where m.negotiation_id = n.negotiation_id)) order by n.opened_at, n.negotiation_id), '[]')
    into claimed
    from public.queue_negotiations_claim(null, due, p_worker, p_limit, p_now, p_lease_seconds) as n;
    return json_build_object(
        'claimed', claimed,
        'next_due_at', least(
            public.queue_negotiations_next_due(null, p_now),
            (
                select min(n.scheduled_at) from public.negotiations n
                where n.work_state = 'available' and n.scheduled_at > p_now)));
end
$$;

-- Holds a lease until p_now + p_lease_seconds. Answers whether it was still held.
create or replace function public.heartbeat_negotiation(
    p_negotiation_id uuid, p_lease_token bigint, p_now timestamptz, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select to_json(cardinality(public.queue_negotiations_heartbeat(
        array[p_negotiation_id], array[p_lease_token], p_now + make_interval(secs => p_lease_seconds))) = 1)
$$;

-- What the booked work of a negotiation's agents drew in its half-hours, by its meters: {"is_metered" (nothing of it runs still,
-- or is yet to be metered), "metered_mwh": {agent: [text by half-hour]}, "system_prices"}. Agents without such work are left out.
create or replace function public.negotiation_metered(p_negotiation_id uuid)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    until timestamptz;
    runs bigint[];
begin
    select * into negotiation from public.negotiations n where n.negotiation_id = p_negotiation_id;
    until := negotiation.starts_at + negotiation.half_hours * interval '30 minutes';
    select coalesce(array_agg(b.booking_id), '{}') into runs
    from public.negotiation_agents a
    cross join lateral jsonb_array_elements(a.declared -> 'jobs') as job
    join public.capacity_bookings b on (b.tenant, b.job_id, b.dc_id) = (a.tenant, job ->> 'job_id', a.dc_id)
    where a.negotiation_id = p_negotiation_id and job ? 'booking_key' and b.state <> 'RELEASED'
        and b.starts_at < until and b.ends_at > negotiation.starts_at;
    return json_build_object(
        'is_metered', not exists (
            select from public.capacity_bookings b
            where b.booking_id = any (runs)
                and (b.state in ('HELD', 'RUNNING') or (b.state = 'ENDED' and b.work_state <> 'completed'))),
        'metered_mwh', (
            select coalesce(json_object_agg(a.agent, (
                select json_agg(trim_scale(coalesce(drawn.wh, 0) / 1000000)::text order by slot.half_hour)
                from generate_series(
                    negotiation.starts_at, until - interval '1 second', interval '30 minutes') as slot (half_hour)
                left join (
                    select r.half_hour, sum(r.site_energy_wh) as wh
                    from public.newest_readings(runs) as r
                    join public.capacity_bookings b on b.booking_id = r.booking_id
                    where (b.tenant, b.dc_id) = (a.tenant, a.dc_id)
                    group by r.half_hour) as drawn on drawn.half_hour = slot.half_hour)), '{}')
            from public.negotiation_agents a
            where a.negotiation_id = p_negotiation_id and a.declared @? '$.jobs[*].booking_key'),
        'system_prices', public.system_prices_between(negotiation.starts_at, until));
end
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter. Answers {"state": "retry" | "fenced"}.
create or replace function public.fail_negotiation(
    p_negotiation_id uuid, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_negotiations_fail(
        p_negotiation_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- Gives back the power that a negotiation holds, for whoever has its lock.
create or replace function public.release_negotiation(p_negotiation_id uuid, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.negotiation_id = p_negotiation_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = p_state, reason = p_reason, ended_at = clock_timestamp()
    where b.negotiation_id = p_negotiation_id and b.state = 'HELD';
    if found then
        perform public.let_waiting_ask_again();
    end if;
end
$$;

-- Holds the power of an award in place of what the negotiation held before. p_holds: [{tenant, dc_id, starts_at, ends_at,
-- it_power_kw}…]. Answers a data centre that has not the power, and then nothing has changed; null where all is held.
create or replace function public.hold_for_negotiation(p_negotiation_id uuid, p_holds jsonb)
returns text
language plpgsql
set search_path = ''
as $$
declare
    hold record;
    short text;
begin
    perform from public.data_centres d
    where d.dc_id in (
        select h ->> 'dc_id' from jsonb_array_elements(p_holds) as h
        union
        select b.dc_id from public.capacity_bookings b where b.negotiation_id = p_negotiation_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = 'RELEASED', reason = 'a newer award takes its place', ended_at = clock_timestamp()
    where b.negotiation_id = p_negotiation_id and b.state = 'HELD';
    for hold in
        select *
        from jsonb_to_recordset(p_holds) as h (
            tenant text, dc_id text, starts_at timestamptz, ends_at timestamptz, it_power_kw numeric)
        order by h.dc_id, h.starts_at
    loop
        select d.dc_id into short
        from public.data_centres d
        where d.dc_id = hold.dc_id
            and (d.status <> 'ACTIVE' or hold.it_power_kw > greatest(
                0, public.capacity_kw(d) - public.most_held_kw(d.dc_id, hold.starts_at, hold.ends_at)));
        if short is not null then
            raise exception '%', short using errcode = 'PYN01';
        end if;
        insert into public.capacity_bookings (
            dc_id, tenant, job_id, source, starts_at, ends_at, it_power_kw, carried_out_by, work_state, scheduled_at,
            negotiation_id)
        values (
            hold.dc_id, hold.tenant, null, 'negotiation', hold.starts_at, hold.ends_at, hold.it_power_kw, 'negotiation',
            'completed', hold.starts_at, p_negotiation_id);
    end loop;
    return null;
exception
    when sqlstate 'PYN01' then
        return sqlerrm; -- and nothing of the above has happened
end
$$;

-- Moves the booked work of an award: each gives its place back and its new decision is published, all in this transaction or
-- not at all. p_award: {moves: [{operator, job_id, booking_key, dc_id, from_starts_at, starts_at, record}…], grid,
-- grid_version}. Answers why nothing has happened: "work_changed" where one of them is no longer as it was looked at, or the
-- power it was to have has gone; "outdated" where the grid is another; null where all is done.
create or replace function public.move_for_negotiation(p_award jsonb, p_now timestamptz)
returns text
language plpgsql
set search_path = ''
as $$
declare
    moves jsonb;
begin
    select jsonb_agg(m || jsonb_build_object(
        'tenant', m ->> 'operator', 'booking_id', b.booking_id, 'from_dc_id', m ->> 'dc_id', 'to_dc_id', m ->> 'dc_id',
        -- What its run would have been without a decision is as it was: savings are counted against it.
        'record', jsonb_set(m -> 'record', '{booking,run_now}', coalesce(b.run_now, 'null'))))
    into moves
    from jsonb_array_elements(p_award -> 'moves') as m
    left join public.capacity_bookings b on b.booking_key = (m ->> 'booking_key')::uuid;
    if not public.take_places_back(
        moves, 'negotiation', 'it moves by a negotiation', 'It moves by a negotiation and is decided again.', p_now)
    then
        return 'work_changed';
    end if;
    -- Before the publishing lock: whoever lets the same ask again at this moment wants that lock next.
    perform public.let_waiting_ask_again();
    perform public.publish_moves(moves, null, p_award -> 'grid', p_award ->> 'grid_version');
    perform public.log_event(
        m ->> 'operator', 'workload.moved', m ->> 'job_id',
        jsonb_build_object(
            'job_id', m ->> 'job_id', 'operator', m ->> 'operator', 'reason', 'by a negotiation', 'at', p_now,
            'from', public.place_of(before), 'to', public.place_of(after)))
    from jsonb_array_elements(moves) as m
    join public.capacity_bookings before on before.booking_id = (m ->> 'booking_id')::bigint
    join public.capacity_bookings after
        on (after.tenant, after.job_id) = (before.tenant, before.job_id) and after.state = 'HELD';
    return null;
exception
    when sqlstate 'PYM01' then
        return sqlerrm; -- and nothing of the above has happened
end
$$;

-- One step of a negotiation, under its lease, in one transaction: what is said, what becomes of its agents and, where it is
-- awarded, the awards, the payments and the power that they hold. p_step: {negotiation_id, lease_token, version, state, reason,
-- round, award_number, answer_by, outcome, due_at (of the next step; null: there is none), now, agents: [{agent, state}…],
-- messages: [{agent, round, performative, sender, message_id, body}…], and where it is awarded: award: {award_id, awards:
-- [{agent, draw_mw, cost_gbp, fallback_gbp, pays_gbp}…], payments: [{payer, payee, amount_gbp}…], holds: [{agent, starts_at,
-- ends_at, it_power_kw}…], moves, grid, grid_version (see move_for_negotiation)}}. Answers {"state": "changed" | "fenced" (the
-- lease was lost) | "outdated" (something was said meanwhile, or the grid is another: look again) | "work_changed" (what would
-- move is no longer as it was) | "no_room" (a data centre no longer has the power that the award would hold), "dc_id"}.
create or replace function public.step_negotiation(p_step jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    moment constant timestamptz := (p_step ->> 'now')::timestamptz;
    next_step_at constant timestamptz := (p_step ->> 'due_at')::timestamptz;
    to_state constant text := p_step ->> 'state';
    award constant jsonb := nullif(p_step -> 'award', 'null');
    number constant integer := (p_step ->> 'award_number')::integer;
    short text;
    unmoved text;
begin
    -- Before any other lock: whoever opens a negotiation has the table to itself, and then wants the publishing lock, which a
    -- step that moves work has before it writes here.
    lock table public.negotiations in row exclusive mode;
    select * into negotiation
    from public.negotiations n
    where n.negotiation_id = (p_step ->> 'negotiation_id')::uuid
    for update;
    if negotiation.negotiation_id is null or negotiation.work_state <> 'running'
        or negotiation.lease_token is distinct from (p_step ->> 'lease_token')::bigint
    then
        return json_build_object('state', 'fenced');
    end if;
    if negotiation.version is distinct from (p_step ->> 'version')::bigint then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(award -> 'moves', 'null')) > 0 then
        if jsonb_array_length(award -> 'holds') > 0 then
            raise exception 'an award either moves work that holds its power, or holds power'; -- one of them may fail alone
        end if;
        unmoved := public.move_for_negotiation(award, moment);
        if unmoved is not null then
            return json_build_object('state', unmoved);
        end if;
    end if;
    if award is not null then
        short := public.hold_for_negotiation(negotiation.negotiation_id, (
            select coalesce(jsonb_agg(h || jsonb_build_object('tenant', a.tenant, 'dc_id', a.dc_id)), '[]')
            from jsonb_array_elements(award -> 'holds') as h
            join public.negotiation_agents a
                on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, h ->> 'agent')));
        if short is not null then
            return json_build_object('state', 'no_room', 'dc_id', short);
        end if;
        insert into public.negotiation_awards (
            negotiation_id, award_number, agent, tenant, opened_by, award_id, draw_mw, cost_gbp, fallback_gbp, pays_gbp,
            awarded_at)
        select
            negotiation.negotiation_id, number, a.agent, a.tenant, a.opened_by, (award ->> 'award_id')::uuid, w.draw_mw,
            w.cost_gbp, w.fallback_gbp, w.pays_gbp, moment
        from jsonb_to_recordset(award -> 'awards') as w (
            agent text, draw_mw double precision[], cost_gbp double precision, fallback_gbp double precision,
            pays_gbp numeric)
        join public.negotiation_agents a on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, w.agent);
        insert into public.negotiation_payments (
            negotiation_id, award_number, payer, payee, payer_tenant, payee_tenant, opened_by, amount_gbp)
        select
            negotiation.negotiation_id, number, p.payer, p.payee, payer.tenant, payee.tenant, negotiation.tenant, p.amount_gbp
        from jsonb_to_recordset(award -> 'payments') as p (payer text, payee text, amount_gbp numeric)
        join public.negotiation_agents payer
            on (payer.negotiation_id, payer.agent) = (negotiation.negotiation_id, p.payer)
        join public.negotiation_agents payee
            on (payee.negotiation_id, payee.agent) = (negotiation.negotiation_id, p.payee);
    end if;
    update public.negotiation_agents a
    set state = changed.state
    from jsonb_to_recordset(nullif(p_step -> 'agents', 'null')) as changed (agent text, state text)
    where (a.negotiation_id, a.agent) = (negotiation.negotiation_id, changed.agent);
    insert into public.negotiation_messages (
        negotiation_id, agent, tenant, round, sender, performative, message_id, body, received_at)
    select negotiation.negotiation_id, a.agent, a.tenant, m.round, m.sender, m.performative, m.message_id, m.body, moment
    from rows from (jsonb_to_recordset(nullif(p_step -> 'messages', 'null')) as (
        agent text, round integer, sender text, performative text, message_id text, body jsonb)) with ordinality
        as m (agent, round, sender, performative, message_id, body, place)
    join public.negotiation_agents a on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, m.agent)
    order by m.place;
    update public.negotiations n
    set state = to_state,
        state_reason = p_step ->> 'reason',
        round = (p_step ->> 'round')::integer,
        award_number = number,
        answer_by = (p_step ->> 'answer_by')::timestamptz,
        outcome = nullif(p_step -> 'outcome', 'null'),
        version = n.version + 1,
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, n.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then moment end
    where n.negotiation_id = negotiation.negotiation_id;
    if to_state in ('SETTLED', 'EXPIRED', 'FALLBACK') then
        perform public.release_negotiation(
            negotiation.negotiation_id, case to_state when 'SETTLED' then 'ENDED' else 'RELEASED' end, p_step ->> 'reason');
    end if;
    if next_step_at <= moment then
        perform pg_notify('negotiations', '');
    end if;
    if award is not null then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.awarded');
    elsif to_state <> negotiation.state and to_state = 'SETTLED' then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.settled');
    elsif to_state in ('EXPIRED', 'FALLBACK') then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.failed');
    end if;
    return json_build_object('state', 'changed');
end
$$;

-- What an agent outside says. p_message: {message_id, performative: "propose" | "refuse" | "confirm", round, award_id, body:
-- {plans: [{cost_gbp, draw_mw}…]} or {reason}}, of finite numbers. p_operator: whose agent it must be; null for the platform, which
-- may speak for any. Answers {"state": "stored" | "repeated" (the same is known, or the award is confirmed: nothing changes) |
-- "different" (another of this message_id is known) | "unknown" | "not_open" | "wrong_round" (not the present one, or already answered) | "out_of_bounds" |
-- "wrong_award", "detail"}.
create or replace function public.say_in_negotiation(
    p_negotiation_id uuid, p_agent text, p_message jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    me public.negotiation_agents;
    performative_said constant text := p_message ->> 'performative';
    round_said constant integer := coalesce((p_message ->> 'round')::integer, -1);
    known public.negotiation_messages;
    asked jsonb;
    at_fault text;
begin
    select * into negotiation from public.negotiations n where n.negotiation_id = p_negotiation_id for update;
    select * into me
    from public.negotiation_agents a
    where a.negotiation_id = p_negotiation_id and a.agent = p_agent and a.kind = 'outside'
        and (p_operator is null or a.tenant = p_operator);
    if me.agent is null then
        return json_build_object('state', 'unknown', 'detail', 'there is no such agent of yours in this negotiation');
    end if;
    select * into known
    from public.negotiation_messages m
    where (m.negotiation_id, m.agent, m.sender, m.message_id) = (p_negotiation_id, p_agent, 'agent', p_message ->> 'message_id');
    if known.message_id is not null then
        if (known.performative, known.body) = (performative_said, p_message -> 'body')
            and (performative_said <> 'propose' or known.round = round_said)
        then
            return json_build_object('state', 'repeated', 'detail', 'it was heard before');
        end if;
        return json_build_object(
            'state', 'different',
            'detail', 'another message of this message_id was heard before: give each message a name of its own');
    end if;
    if negotiation.state not in ('OPEN', 'ROUND', 'AWARDED') or me.state in ('LEFT', 'BREACHED')
        or (performative_said = 'propose' and negotiation.state = 'AWARDED')
        or (performative_said = 'confirm' and negotiation.state <> 'AWARDED')
    then
        return json_build_object(
            'state', 'not_open',
            'detail', format('the negotiation is %s and the agent %s', negotiation.state, me.state));
    end if;
    if performative_said = 'propose' then
        select m.body into asked
        from public.negotiation_messages m
        where (m.negotiation_id, m.agent, m.round, m.performative) = (p_negotiation_id, p_agent, negotiation.round, 'cfp');
        if asked is null or round_said <> negotiation.round then
            return json_build_object(
                'state', 'wrong_round', 'detail', format('the present round is %s, not %s', negotiation.round, round_said));
        end if;
        if exists (
            select from public.negotiation_messages m
            where (m.negotiation_id, m.agent, m.round, m.performative) = (p_negotiation_id, p_agent, round_said, 'propose'))
        then
            return json_build_object('state', 'wrong_round', 'detail', format('round %s is answered already', round_said));
        end if;
        if jsonb_array_length(p_message #> '{body,plans}') <> jsonb_array_length(asked -> 'prices_gbp_per_mwh') then
            return json_build_object('state', 'out_of_bounds', 'detail', format(
                'one plan is wanted for each of the %s vectors of prices', jsonb_array_length(asked -> 'prices_gbp_per_mwh')));
        end if;
        select format('plan %s draws %s MW in half-hour %s, where %s to %s is within its bounds', plan.place, draw.mw::text,
            draw.place, me.least_mw[draw.place], case negotiation.round when 0
                then least(me.most_mw[draw.place], me.endowment_mw[draw.place]) else me.most_mw[draw.place] end)
        into at_fault
        from jsonb_array_elements(p_message #> '{body,plans}') with ordinality as plan (of, place)
        cross join lateral jsonb_array_elements(plan.of -> 'draw_mw') with ordinality as draw (mw, place)
        where draw.place > negotiation.half_hours
            or draw.mw::double precision < me.least_mw[draw.place] - 1e-9
            or draw.mw::double precision > me.most_mw[draw.place] + 1e-9
            -- Round 0 asks for what it would do alone.
            or (negotiation.round = 0 and draw.mw::double precision > me.endowment_mw[draw.place] + 1e-9)
        limit 1;
        select coalesce(at_fault, format('plan %s has %s half-hours, not %s', plan.place,
            jsonb_array_length(plan.of -> 'draw_mw'), negotiation.half_hours))
        into at_fault
        from jsonb_array_elements(p_message #> '{body,plans}') with ordinality as plan (of, place)
        where at_fault is not null or jsonb_array_length(plan.of -> 'draw_mw') <> negotiation.half_hours
        limit 1;
        if at_fault is not null then
            return json_build_object('state', 'out_of_bounds', 'detail', at_fault);
        end if;
    elsif performative_said = 'confirm' and not exists (
        select from public.negotiation_awards w
        where (w.negotiation_id, w.award_number, w.agent) = (p_negotiation_id, negotiation.award_number, p_agent)
            and w.award_id::text = p_message ->> 'award_id')
    then
        return json_build_object('state', 'wrong_award', 'detail', 'that is not the newest award');
    elsif performative_said = 'confirm' and me.state = 'CONFIRMED' then
        -- By another message_id: kept, any number of them would be, and each would outdate the step in hand.
        return json_build_object('state', 'repeated', 'detail', 'it has confirmed this award');
    end if;
    insert into public.negotiation_messages (
        negotiation_id, agent, tenant, round, sender, performative, message_id, body, received_at)
    values (
        p_negotiation_id, p_agent, me.tenant, negotiation.round, 'agent', performative_said, p_message ->> 'message_id',
        p_message -> 'body', p_now);
    update public.negotiation_agents a
    set state = case performative_said
        when 'refuse' then 'LEFT'
        when 'confirm' then 'CONFIRMED'
        else case negotiation.round when 0 then 'JOINED' else 'PROPOSED' end end
    where (a.negotiation_id, a.agent) = (p_negotiation_id, p_agent);
    update public.negotiations n
    set version = n.version + 1,
        scheduled_at = case n.work_state when 'running' then n.scheduled_at else least(n.scheduled_at, p_now) end
    where n.negotiation_id = p_negotiation_id;
    perform pg_notify('negotiations', '');
    return json_build_object('state', 'stored', 'detail', null);
end
$$;

-- Takes a negotiation back that is not awarded yet. Answers {"state": "cancelled" | "unknown" | "ended" (it is awarded, or over),
-- "negotiation"}. p_operator: who must have opened it; null for the platform, which may take back any.
create or replace function public.cancel_negotiation(
    p_negotiation_id uuid, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
begin
    select * into negotiation
    from public.negotiations n
    where n.negotiation_id = p_negotiation_id and (p_operator is null or n.tenant = p_operator)
    for update;
    if negotiation.negotiation_id is null then
        return json_build_object('state', 'unknown', 'negotiation', null);
    end if;
    if negotiation.state in ('OPEN', 'ROUND') then
        update public.negotiations n
        set state = 'CANCELLED', state_reason = p_reason, version = n.version + 1, work_state = 'completed',
            lease_token = null, leased_until = null, leased_by = null, finished_at = p_now
        where n.negotiation_id = p_negotiation_id
        returning * into negotiation;
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.failed');
    end if;
    return json_build_object(
        'state', case negotiation.state when 'CANCELLED' then 'cancelled' else 'ended' end,
        'negotiation', public.negotiation_row(negotiation));
end
$$;

-- Negotiations, those opened last first; go on after (p_before, p_before_id).
create or replace function public.negotiations_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.negotiation_row(page) order by page.opened_at desc, page.negotiation_id desc), '[]')
    from (
        select *
        from public.negotiations n
        where p_before is null or (n.opened_at, n.negotiation_id) < (p_before, p_before_id)
        order by n.opened_at desc, n.negotiation_id desc
        limit p_limit) as page
$$;

-- A negotiation's whole life, as much of it as the caller may see: {"negotiation", "agents", "messages", "awards" and
-- "payments" (of every award), "bookings"}; null where there is none. Payments are text, which keeps every digit.
create or replace function public.negotiation_life(p_negotiation_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'negotiation', public.negotiation_row(n),
        'agents', (
            select coalesce(json_agg(json_build_object(
                'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'endowment_mw', a.endowment_mw,
                'least_mw', a.least_mw, 'most_mw', a.most_mw, 'state', a.state) order by a.agent), '[]')
            from public.negotiation_agents a
            where a.negotiation_id = n.negotiation_id),
        'messages', (
            select coalesce(json_agg(json_build_object(
                'message_number', m.message_number, 'agent', m.agent, 'round', m.round, 'sender', m.sender,
                'performative', m.performative, 'message_id', m.message_id, 'body', m.body, 'received_at', m.received_at)
                order by m.message_number), '[]')
            from public.negotiation_messages m
            where m.negotiation_id = n.negotiation_id),
        'awards', (
            select coalesce(json_agg(json_build_object(
                'award_number', w.award_number, 'award_id', w.award_id, 'agent', w.agent, 'draw_mw', w.draw_mw,
                'cost_gbp', w.cost_gbp, 'fallback_gbp', w.fallback_gbp, 'pays_gbp', w.pays_gbp::text,
                'awarded_at', w.awarded_at) order by w.award_number, w.agent), '[]')
            from public.negotiation_awards w
            where w.negotiation_id = n.negotiation_id),
        'payments', (
            select coalesce(json_agg(json_build_object(
                'award_number', p.award_number, 'payer', p.payer, 'payee', p.payee, 'amount_gbp', p.amount_gbp::text)
                order by p.award_number, p.payer, p.payee), '[]')
            from public.negotiation_payments p
            where p.negotiation_id = n.negotiation_id),
        'bookings', (
            select coalesce(json_agg(json_build_object(
                'booking_key', b.booking_key, 'dc_id', b.dc_id, 'state', b.state, 'starts_at', b.starts_at,
                'ends_at', b.ends_at, 'it_power_kw', b.it_power_kw::text) order by b.dc_id, b.starts_at, b.created_at), '[]')
            from public.capacity_bookings b
            where b.negotiation_id = n.negotiation_id))
    from public.negotiations n
    where n.negotiation_id = p_negotiation_id
$$;

-- As much of negotiation_life as one agent is asked and awarded now: what passed between it and the coordinator in the present
-- round, and the newest award of it; null where there is no such agent that the caller may see.
create or replace function public.negotiation_part(p_negotiation_id uuid, p_agent text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'negotiation', public.negotiation_row(n) - 'outcome' || jsonb_build_object(
            'outcome', case when n.outcome ? 'price_gbp_per_mwh'
                then jsonb_build_object('price_gbp_per_mwh', n.outcome -> 'price_gbp_per_mwh') end),
        'agents', json_build_array(json_build_object(
            'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'endowment_mw', a.endowment_mw,
            'least_mw', a.least_mw, 'most_mw', a.most_mw, 'state', a.state)),
        'messages', (
            select coalesce(json_agg(json_build_object(
                'message_number', m.message_number, 'agent', m.agent, 'round', m.round, 'sender', m.sender,
                'performative', m.performative, 'message_id', m.message_id, 'body',
                case m.sender when 'coordinator' then m.body else '{}' end, 'received_at', m.received_at)
                order by m.message_number), '[]')
            from public.negotiation_messages m
            where (m.negotiation_id, m.agent, m.round) = (n.negotiation_id, a.agent, n.round)),
        'awards', (
            select coalesce(json_agg(json_build_object(
                'award_number', w.award_number, 'award_id', w.award_id, 'agent', w.agent, 'draw_mw', w.draw_mw,
                'cost_gbp', w.cost_gbp, 'fallback_gbp', w.fallback_gbp, 'pays_gbp', w.pays_gbp::text,
                'awarded_at', w.awarded_at)), '[]')
            from public.negotiation_awards w
            where (w.negotiation_id, w.award_number, w.agent) = (n.negotiation_id, n.award_number, a.agent)),
        'payments', json_build_array(),
        'bookings', json_build_array())
    from public.negotiations n
    join public.negotiation_agents a on (a.negotiation_id, a.agent) = (n.negotiation_id, p_agent)
    where n.negotiation_id = p_negotiation_id
$$;

-- The newest negotiations that agents outside take part in, as many as p_limit parts, with the agents' names: [{negotiation_id, agent}…]. Of
-- p_operator's agents, or (null) of all.
create or replace function public.negotiation_parts(p_limit integer, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object('negotiation_id', part.negotiation_id, 'agent', part.agent)
        order by part.opened_at desc, part.negotiation_id, part.agent), '[]')
    from (
        select n.opened_at, a.negotiation_id, a.agent
        from public.negotiation_agents a
        join public.negotiations n on n.negotiation_id = a.negotiation_id
        where a.kind = 'outside' and (p_operator is null or a.tenant = p_operator)
        order by n.opened_at desc, a.negotiation_id, a.agent
        limit p_limit) as part
$$;

