-- Bookings: what is held is the sum of them --------------------------------------------------------------------------------
--
-- One order of locks everywhere: data centres by dc_id ("for no key update"), then notifications, workloads, bookings, the
-- sums of held power, and last the publishing lock. Whoever takes, moves or gives back power holds its data centre's lock.

-- Brings held_power up to date with what a statement did to the bookings: what is given back is, in numeric, exactly what
-- was taken. A statement that changes no power (a claim, a heartbeat) comes to sums of nothing.
create or replace function public.sum_held_power()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    given_back public.capacity_bookings[] := '{}';
    taken public.capacity_bookings[] := '{}';
begin
    if tg_op <> 'INSERT' then
        given_back := array(select b from before_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    if tg_op <> 'DELETE' then
        taken := array(select b from after_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    insert into public.held_power as h (dc_id, half_hour, held_kw)
    select change.dc_id, touched.half_hour, sum(change.kw)
    from (
        select b.dc_id, b.starts_at, b.ends_at, -b.it_power_kw as kw from unnest(given_back) as b
        union all
        select b.dc_id, b.starts_at, b.ends_at, b.it_power_kw from unnest(taken) as b) as change
    cross join lateral generate_series(
        public.half_hour_of(change.starts_at), change.ends_at - interval '1 microsecond', interval '30 minutes')
        as touched (half_hour)
    group by change.dc_id, touched.half_hour
    having sum(change.kw) <> 0
    order by change.dc_id, touched.half_hour -- locked in one order by all
    on conflict (dc_id, half_hour) do update set held_kw = h.held_kw + excluded.held_kw;
    return null;
end
$$;

create or replace trigger sum_held_power_insert
    after insert on public.capacity_bookings
    referencing new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_update
    after update on public.capacity_bookings
    referencing old table as before_change new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_delete
    after delete on public.capacity_bookings
    referencing old table as before_change
    for each statement execute function public.sum_held_power();


-- IT power in kW that a data centre has for bookings: what its base load, or where none is stated its present load, leaves.
-- Down to the milliwatt, as bookings are, so that what is said to be free can be taken.
create or replace function public.capacity_kw(d public.data_centres)
returns numeric
language sql
immutable
set search_path = ''
as $$
    select trunc(
        d.total_capacity_mw::numeric * 1000 * (100 - coalesce(d.base_load_percentage, d.current_load_percentage)::numeric) / 100,
        6)
$$;

-- The most IT power in kW that bookings hold of a data centre in any half-hour that [p_from, p_until) touches; p_without is
-- a booking that is not counted, as it is to be moved.
create or replace function public.most_held_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without bigint default null)
returns numeric
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select greatest(0, max(h.held_kw - case
            when own.dc_id = h.dc_id and h.half_hour >= public.half_hour_of(own.starts_at) and h.half_hour < own.ends_at
                then own.it_power_kw
            else 0 end))
        from public.held_power h
        left join public.capacity_bookings own on own.booking_id = p_without and own.state in ('HELD', 'RUNNING')
        where h.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(p_from) and h.half_hour < p_until);
end
$$;

-- IT power in kW that a data centre has free throughout [p_from, p_until): below 0 where more is held than there is, since its
-- base load has grown. Null where there is no such data centre.
create or replace function public.free_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without bigint default null)
returns numeric
language sql
stable
set search_path = ''
as $$
    select public.capacity_kw(d) - public.most_held_kw(p_dc_id, p_from, p_until, p_without)
    from public.data_centres d
    where d.dc_id = p_dc_id
$$;

-- IT power in kW that is free at p_dc_id for a booking that moves to [p_from, p_until): at its least in those half-hours that
-- the booking does not hold already, since what it holds it keeps. Null where it holds them all: then there is room.
create or replace function public.free_to_move_kw(
    p_booking_id bigint, p_dc_id text, p_from timestamptz, p_until timestamptz)
returns numeric
language plpgsql
stable
set search_path = ''
as $$
declare
    own public.capacity_bookings;
begin
    select * into own from public.capacity_bookings b where b.booking_id = p_booking_id and b.state in ('HELD', 'RUNNING');
    return (
        select public.capacity_kw(d) - (
            select max(coalesce(h.held_kw, 0))
            from generate_series(
                public.half_hour_of(p_from), p_until - interval '1 microsecond', interval '30 minutes') as wanted (half_hour)
            left join public.held_power h on (h.dc_id, h.half_hour) = (p_dc_id, wanted.half_hour)
            where not coalesce(
                own.dc_id = p_dc_id and wanted.half_hour >= public.half_hour_of(own.starts_at)
                    and wanted.half_hour < own.ends_at,
                false))
        from public.data_centres d
        where d.dc_id = p_dc_id);
end
$$;

-- The IT power that is free in each of the 96 half-hours from that of p_now: {"start", "half_hours": 96, "free_it_kw":
-- {dc_id: [[i, kw]…]}}. From the i-th half-hour on kw are free; only changes are listed, and the first is the 0th. Nothing is
-- free where more is held than there is. Data centres that are OFFLINE are left out, as in grid_context. p_without is a
-- booking whose power counts as free, as it is to be moved. "prices": what a kilowatt is worth by the joint plan of this half-hour
-- or the one before, {planned_at, workloads, left_out, method, start, half_hours, gbp_per_kw}; null where there is none.
create or replace function public.capacity_at(p_now timestamptz, p_without bigint default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        with centres as materialized (
            select d.dc_id, public.capacity_kw(d) as capacity_kw from public.data_centres d where d.status <> 'OFFLINE'
        ),
        held as materialized (
            select
                h.dc_id,
                (extract(epoch from h.half_hour - first) / 1800)::integer as i,
                h.held_kw - case
                    when own.dc_id = h.dc_id and h.half_hour >= public.half_hour_of(own.starts_at) and h.half_hour < own.ends_at
                        then own.it_power_kw
                    else 0 end as kw
            from public.held_power h
            left join public.capacity_bookings own on own.booking_id = p_without and own.state in ('HELD', 'RUNNING')
            where h.half_hour >= first and h.half_hour < first + interval '48 hours' and h.held_kw <> 0
        ),
        -- What is free may change where something is held, and after it. Summed up and not joined: a planner that does not
        -- know how much is held would join each with each.
        places as (
            select c.dc_id, 0 as i, 0::numeric as kw from centres c
            union all
            select h.dc_id, h.i, h.kw from held h
            union all
            select h.dc_id, h.i + 1, 0 from held h where h.i < 95
        ),
        levels as (
            select p.dc_id, p.i, greatest(0, c.capacity_kw - sum(p.kw)) as kw
            from places p
            join centres c on c.dc_id = p.dc_id
            group by p.dc_id, p.i, c.capacity_kw
        ),
        changes as (
            select l.*, lag(l.kw) over (partition by l.dc_id order by l.i) as before from levels l
        ),
        steps as (
            select c.dc_id, json_agg(json_build_array(c.i, c.kw::double precision) order by c.i) as steps
            from changes c
            where c.before is distinct from c.kw
            group by c.dc_id
        )
        select json_build_object(
            'start', first,
            'half_hours', 96,
            'free_it_kw', coalesce((select json_object_agg(s.dc_id, s.steps order by s.dc_id) from steps s), '{}'),
            'prices', (
                select json_build_object(
                    'planned_at', p.planned_at, 'workloads', p.workloads, 'left_out', p.left_out, 'method', p.method,
                    'start', p.starts_at, 'half_hours', p.half_hours, 'gbp_per_kw', p.gbp_per_kw)
                from public.capacity_prices p
                where p.slot between first - interval '30 minutes' and first
                order by p.slot desc
                limit 1)));
end
$$;

-- Who runs what is booked at a data centre.
create or replace function public.carried_out_by(d public.data_centres)
returns text
language sql
immutable
set search_path = ''
as $$
    select case d.execution when 'runner' then 'runner' else 'simulation' end
$$;

-- Takes power: the number of the booking, or null where there is no room or the data centre takes no work. The caller holds
-- the data centre's lock already, in its order; it is taken here once more, so that nobody can forget it.
create or replace function public.take_power(
    p_dc_id text, p_tenant text, p_job_id text, p_source text, p_starts_at timestamptz, p_ends_at timestamptz,
    p_it_power_kw numeric, p_carried_out_by text, p_notification_id bigint default null, p_order_id uuid default null,
    p_run_now jsonb default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    centre public.data_centres;
    power_kw constant numeric := round(p_it_power_kw, 6);
    taken bigint;
begin
    select * into centre from public.data_centres d where d.dc_id = p_dc_id for no key update;
    if centre.status is distinct from 'ACTIVE'
        or power_kw > greatest(0, public.capacity_kw(centre) - public.most_held_kw(p_dc_id, p_starts_at, p_ends_at))
    then
        return null;
    end if;
    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, notification_id, order_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by,
        work_state, scheduled_at)
    values (
        p_dc_id, p_tenant, p_job_id, p_source, p_notification_id, p_order_id, p_starts_at, p_ends_at, power_kw, p_run_now,
        p_carried_out_by, case p_carried_out_by when 'order' then 'completed' else 'available' end, p_starts_at)
    returning booking_id into taken;
    return taken;
end
$$;

-- What a decision of a program that books nothing itself takes, by its output: {starts_at, ends_at, it_power_kw}, or null
-- where the output does not say it.
create or replace function public.booking_of_output(p_output jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    decision jsonb := case jsonb_typeof(p_output) when 'string' then (p_output #>> '{}')::jsonb else p_output end -> 'decision';
    starts_at timestamptz := decision ->> 'start';
    ends_at timestamptz := decision ->> 'end';
    it_power_kw numeric := decision #>> '{workload,it_power_kw}';
begin
    if starts_at < ends_at and it_power_kw >= 0 then
        return jsonb_build_object('starts_at', starts_at, 'ends_at', ends_at, 'it_power_kw', it_power_kw);
    end if;
    return null;
exception
    when data_exception then
        return null;
end
$$;

-- Takes power for decisions, one after the other in the order given, under the locks of their data centres, which the caller
-- holds. p_asked: [{notification_id, tenant, job_id, dc_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by}…].
-- Answers the notifications of those that found no room. All that share a data centre are summed up half-hour by half-hour
-- and booked in one statement where they all fit, as they do unless another process was quicker; only then one by one.
create or replace function public.book_decisions(p_asked jsonb)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    short text[]; -- data centres where not all find room
    one record;
    displaced bigint[] := '{}';
begin
    with asked as materialized (
        select a.dc_id, a.starts_at, a.ends_at, round(a.it_power_kw, 6) as kw, a.place
        from rows from (jsonb_to_recordset(p_asked) as (
            dc_id text, starts_at timestamptz, ends_at timestamptz, it_power_kw numeric)) with ordinality
            as a (dc_id, starts_at, ends_at, it_power_kw, place)
    ),
    needed as (
        select a.dc_id, touched.half_hour, sum(a.kw) as kw
        from asked a
        cross join lateral generate_series(
            public.half_hour_of(a.starts_at), a.ends_at - interval '1 microsecond', interval '30 minutes')
            as touched (half_hour)
        group by a.dc_id, touched.half_hour
    )
    select coalesce(array_agg(distinct n.dc_id), '{}') into short
    from needed n
    join public.data_centres d on d.dc_id = n.dc_id
    left join public.held_power h on (h.dc_id, h.half_hour) = (n.dc_id, n.half_hour)
    where d.status <> 'ACTIVE' or n.kw + coalesce(h.held_kw, 0) > public.capacity_kw(d);

    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, notification_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by, scheduled_at)
    select
        a.dc_id, a.tenant, a.job_id, 'decision', a.notification_id, a.starts_at, a.ends_at, round(a.it_power_kw, 6), a.run_now,
        a.carried_out_by, a.starts_at
    from jsonb_to_recordset(p_asked) as a (
        notification_id bigint, tenant text, job_id text, dc_id text, starts_at timestamptz, ends_at timestamptz,
        it_power_kw numeric, run_now jsonb, carried_out_by text)
    where a.dc_id <> all (short);

    for one in
        select a.*
        from rows from (jsonb_to_recordset(p_asked) as (
            notification_id bigint, tenant text, job_id text, dc_id text, starts_at timestamptz, ends_at timestamptz,
            it_power_kw numeric, run_now jsonb, carried_out_by text)) with ordinality
            as a (notification_id, tenant, job_id, dc_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by, place)
        where a.dc_id = any (short)
        order by a.place
    loop
        if public.take_power(
            one.dc_id, one.tenant, one.job_id, 'decision', one.starts_at, one.ends_at, one.it_power_kw, one.carried_out_by,
            one.notification_id, null, one.run_now) is null
        then
            displaced := displaced || one.notification_id;
        end if;
    end loop;
    return displaced;
end
$$;


