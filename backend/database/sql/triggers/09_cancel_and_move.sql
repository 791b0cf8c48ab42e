-- Workloads that are cancelled, moved, or never started --------------------------------------------------------------------
--
-- Each gives its power back, tells it in the log of events, and lets those ask again that found no place.

-- Power has come free: workloads that were decided and found no place ask again, those that have waited longest first and a
-- few hundred at a time. Answers how many.
create or replace function public.let_waiting_ask_again()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    asked bigint;
begin
    insert into public.workload_notifications (tenant, job_id, reason)
    select longest.tenant, longest.job_id, 'reconsidered'
    from (
        select w.tenant, w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
        order by w.created_at
        limit 200) as longest
    order by longest.job_id, longest.tenant -- as reconsider_deferred, which may insert the same
    on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
    get diagnostics asked = row_count;
    if asked > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return asked;
end
$$;

-- A workload under the locks that whoever changes its place needs: the data centre of the booking that holds its power and,
-- where it is to go elsewhere, that one as well, in their order, then its notifications, itself and the booking. Null where
-- there is none of this name: of p_operator, or (null) of whoever's the newest of it is.
create or replace function public.lock_placed_workload(p_operator text, p_job_id text, p_other_dc_id text default null)
returns public.compute_workloads
language plpgsql
set search_path = ''
as $$
declare
    workload public.compute_workloads;
    held_at text;
    locked_at text;
begin
    select * into workload
    from public.compute_workloads w
    where w.job_id = p_job_id and (p_operator is null or w.tenant = p_operator)
    order by w.created_at desc
    limit 1;
    if workload.job_id is null then
        return null;
    end if;
    -- A booking may move to another data centre until that one is locked; a lock too many does no harm.
    loop
        select b.dc_id into held_at
        from public.capacity_bookings b
        where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING');
        exit when locked_at is not distinct from coalesce(held_at, '');
        perform from public.data_centres d where d.dc_id in (held_at, p_other_dc_id) order by d.dc_id for no key update;
        locked_at := coalesce(held_at, '');
        perform from public.workload_notifications n
        where (n.tenant, n.job_id) = (workload.tenant, workload.job_id) and n.work_state <> 'completed'
        order by n.notification_id
        for update;
        select * into workload
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)
        for no key update;
    end loop;
    perform from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING')
    for update;
    return workload;
end
$$;

-- Why a workload is not its owner's to cancel or move: {"state": "unknown" | "ordered" (it was bought over Beckn, and is changed
-- there), "workload"}; null where it is.
create or replace function public.not_its_owners(workload public.compute_workloads)
returns json
language sql
stable
set search_path = ''
as $$
    select case
        when workload.job_id is null then json_build_object('state', 'unknown')
        when exists (
            select from public.beckn_orders o where (o.buyer_operator, o.job_id) = (workload.tenant, workload.job_id))
            then json_build_object('state', 'ordered', 'workload', to_json(workload)) end
$$;

-- Cancels a workload. What waits for a decision or for its start is cancelled at once; what runs in simulation ends now; what
-- a runner runs is cancelled once its runner has stopped it. One that is cancelled already is answered like the first time.
-- Answers {"state": "cancelled" | "requested" | "unknown" | "ordered" (it was bought over Beckn, and is cancelled there) |
-- "over" (it has ended), "workload"}.
create or replace function public.cancel_workload(
    p_job_id text, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    workload constant public.compute_workloads := public.lock_placed_workload(p_operator, p_job_id);
    refusal constant json := public.not_its_owners(workload);
    booking public.capacity_bookings;
    why constant text := coalesce(nullif(left(p_reason, 500), ''), 'no reason given');
    outcome text := 'cancelled';
begin
    if refusal is not null then
        return refusal;
    end if;
    if workload.status = 'CANCELLED' then
        return json_build_object('state', 'cancelled', 'workload', to_json(workload));
    end if;
    if workload.status in ('COMPLETED', 'FAILED') then
        return json_build_object('state', 'over', 'workload', to_json(workload));
    end if;

    select * into booking
    from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING');
    if booking.state = 'RUNNING' and booking.carried_out_by = 'runner' then
        update public.capacity_bookings b
        set cancel_requested_at = coalesce(b.cancel_requested_at, p_now), reason = coalesce(b.reason, why)
        where b.booking_id = booking.booking_id;
        perform pg_notify('capacity_bookings', '');
        outcome := 'requested';
    else
        update public.compute_workloads w
        set status = 'CANCELLED',
            status_reason = 'Cancelled: ' || why,
            actual_end = case when booking.state = 'RUNNING' then p_now else w.actual_end end
        where (w.tenant, w.job_id) = (workload.tenant, workload.job_id);
        perform public.give_power_back(booking.booking_id, why, p_now);
        update public.workload_notifications n
        set work_state = 'completed',
            leased_until = null,
            context = null,
            finished_at = clock_timestamp(),
            last_error = 'withdrawn: the workload is CANCELLED'
        where (n.tenant, n.job_id) = (workload.tenant, workload.job_id) and n.work_state <> 'completed';
        if booking.booking_id is not null then
            perform public.let_waiting_ask_again();
        end if;
        perform public.log_event(
            workload.tenant, 'workload.cancelled', workload.job_id,
            jsonb_build_object('job_id', workload.job_id, 'operator', workload.operator, 'reason', why, 'at', p_now)
                || public.place_of(booking));
    end if;
    return json_build_object('state', outcome, 'workload', (
        select to_json(w) from public.compute_workloads w where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)));
end
$$;

-- Ends a booking that holds power, for whoever has its data centre's lock: what runs has ENDED, and is yet to be metered by
-- whoever ran it; what waits is RELEASED.
create or replace function public.give_power_back(p_booking_id bigint, p_reason text, p_now timestamptz)
returns void
language sql
set search_path = ''
as $$
    update public.capacity_bookings b
    set state = case b.state when 'RUNNING' then 'ENDED' else 'RELEASED' end,
        reason = p_reason,
        ended_at = p_now,
        work_state = case b.state when 'RUNNING' then 'available' else 'completed' end,
        scheduled_at = p_now,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        finished_at = case when b.state <> 'RUNNING' then clock_timestamp() end
    where b.booking_id = p_booking_id and b.state in ('HELD', 'RUNNING')
$$;

-- Where and when a booking is, for an event; {} where there is none.
create or replace function public.place_of(b public.capacity_bookings)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case
        when b.booking_id is null then '{}'
        else jsonb_build_object(
            'dc_id', b.dc_id, 'starts_at', b.starts_at, 'ends_at', b.ends_at,
            'it_power_kw', b.it_power_kw::double precision) end
$$;

-- From when a booking would find room at p_dc_id for its whole length: at p_from, or else at the start of a half-hour within
-- a week of it; null where there is none.
create or replace function public.room_from(p_booking_id bigint, p_dc_id text, p_from timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
declare
    booking public.capacity_bookings;
    lasts interval;
begin
    select * into booking from public.capacity_bookings b where b.booking_id = p_booking_id;
    lasts := booking.ends_at - booking.starts_at;
    return (
        with full_half_hours as materialized (
            select h.half_hour
            from public.held_power h
            join public.data_centres d on d.dc_id = h.dc_id
            where h.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(p_from)
                and h.half_hour < p_from + interval '7 days' + lasts
                and h.held_kw + booking.it_power_kw > public.capacity_kw(d)
                -- What it holds already it keeps.
                and not (
                    booking.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(booking.starts_at)
                    and h.half_hour < booking.ends_at)
        )
        select min(candidate.start)
        from (
            select p_from as start
            union all
            select public.half_hour_of(p_from) + n * interval '30 minutes' from generate_series(1, 336) as n) as candidate
        where exists (
                select from public.data_centres d where d.dc_id = p_dc_id and booking.it_power_kw <= public.capacity_kw(d))
            and not exists (
                select from full_half_hours f
                where f.half_hour >= public.half_hour_of(candidate.start) and f.half_hour < candidate.start + lasts));
end
$$;

-- Moves a workload that holds power and has not started: p_booking {"dc_id", "starts_at"}, of which what is left out stays.
-- It keeps its length and its power, and takes the half-hours that are new to it at once or not at all. It may not end after
-- its deadline; its other wishes were its owner's, who moves it. Answers {"state": "moved" | "unknown" | "ordered" |
-- "not_waiting" (it has no place yet, runs, or has ended) | "past" | "too_far" (more than a week ahead) | "too_late" (for its
-- deadline) | "unknown_data_centre" | "not_active" | "no_room", "workload", "room_from", "latest_start"}.
create or replace function public.move_workload(
    p_job_id text, p_booking jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    workload constant public.compute_workloads := public.lock_placed_workload(p_operator, p_job_id, p_booking ->> 'dc_id');
    refusal constant json := public.not_its_owners(workload);
    booking public.capacity_bookings;
    moved public.capacity_bookings;
    centre public.data_centres;
    new_start timestamptz := p_booking ->> 'starts_at';
    new_end timestamptz;
begin
    if refusal is not null then
        return refusal;
    end if;
    select * into booking
    from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state = 'HELD';
    if booking.booking_id is null then
        return json_build_object('state', 'not_waiting', 'workload', to_json(workload));
    end if;
    select * into centre from public.data_centres d where d.dc_id = coalesce(p_booking ->> 'dc_id', booking.dc_id);
    if centre.dc_id is null then
        return json_build_object('state', 'unknown_data_centre', 'workload', to_json(workload));
    end if;
    if new_start < p_now then
        return json_build_object('state', 'past', 'workload', to_json(workload));
    end if;
    if new_start > p_now + interval '7 days' then
        return json_build_object('state', 'too_far', 'workload', to_json(workload));
    end if;
    new_start := coalesce(new_start, greatest(booking.starts_at, p_now));
    new_end := new_start + (booking.ends_at - booking.starts_at);
    if new_end > workload.deadline then
        return json_build_object(
            'state', 'too_late', 'workload', to_json(workload),
            'latest_start', workload.deadline - (booking.ends_at - booking.starts_at));
    end if;
    if centre.status <> 'ACTIVE' and centre.dc_id <> booking.dc_id then
        return json_build_object('state', 'not_active', 'workload', to_json(workload));
    end if;
    if booking.it_power_kw > greatest(0, coalesce(
        public.free_to_move_kw(booking.booking_id, centre.dc_id, new_start, new_end), booking.it_power_kw))
    then
        return json_build_object(
            'state', 'no_room', 'workload', to_json(workload),
            'room_from', public.room_from(booking.booking_id, centre.dc_id, new_start));
    end if;

    update public.compute_workloads w
    set status = 'QUEUED', status_reason = 'Moved by its owner.', host_dc_id = centre.dc_id,
        scheduled_start = new_start
    where (w.tenant, w.job_id) = (workload.tenant, workload.job_id);
    update public.capacity_bookings b
    set dc_id = centre.dc_id,
        starts_at = new_start,
        ends_at = new_end,
        run_now = null, -- its owner has chosen: what comes of it is not the decision's doing
        carried_out_by = public.carried_out_by(centre),
        work_state = 'available',
        scheduled_at = new_start,
        attempt = 0,
        lost_leases = 0,
        lease_token = null, -- whoever was about to start it is too late
        leased_until = null,
        leased_by = null
    where b.booking_id = booking.booking_id
    returning * into moved;
    perform pg_notify('capacity_bookings', '');
    perform public.let_waiting_ask_again();
    perform public.log_event(
        workload.tenant, 'workload.moved', workload.job_id,
        jsonb_build_object(
            'job_id', workload.job_id, 'operator', workload.operator, 'from', public.place_of(booking),
            'to', public.place_of(moved), 'at', p_now));
    return json_build_object('state', 'moved', 'workload', (
        select to_json(w) from public.compute_workloads w where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)));
end
$$;

-- Whether no runner has started a booking in its window, nor for half an hour after it, nor has it in hand. What is simulated
-- is started late, or decided again, by the executor (change_booking).
create or replace function public.is_expired(b public.capacity_bookings, p_now timestamptz)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select b.state = 'HELD' and b.carried_out_by = 'runner' and b.work_state <> 'running'
        and b.ends_at < p_now - interval '30 minutes'
$$;

-- What no runner started: a booking whose window is over for half an hour, and that none has in hand, gives its power back.
-- Its workload asks again, or has failed where its deadline has passed. Half-hours of the day before yesterday that hold
-- nothing are forgotten as well. Called after a pipeline run, before what waits is asked again. Answers the job_ids.
create or replace function public.expire_bookings(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    late record;
    booking public.capacity_bookings;
    expired text[] := '{}';
    events jsonb := '[]';
    one record;
begin
    -- All data centres before anything else, in their order.
    perform from public.data_centres d
    where d.dc_id in (select b.dc_id from public.capacity_bookings b where b.state = 'HELD' and public.is_expired(b, p_now))
    order by d.dc_id
    for no key update;
    for late in
        select b.booking_id, b.tenant, b.job_id
        from public.capacity_bookings b
        where b.state = 'HELD' and public.is_expired(b, p_now)
        order by b.tenant, b.job_id
    loop
        perform from public.compute_workloads w where (w.tenant, w.job_id) = (late.tenant, late.job_id) for no key update;
        select * into booking
        from public.capacity_bookings b
        where b.booking_id = late.booking_id and public.is_expired(b, p_now)
        for update;
        continue when booking.booking_id is null;
        update public.compute_workloads w
        set status = case when w.deadline <= p_now then 'FAILED' else 'PENDING' end,
            status_reason = 'No runner started it at ' || booking.dc_id || ' in its time.',
            scheduled_start = null
        where (w.tenant, w.job_id) = (late.tenant, late.job_id);
        perform public.give_power_back(booking.booking_id, 'no runner started it', p_now);
        expired := expired || late.job_id;
        events := events || jsonb_build_array(
            jsonb_build_object('tenant', late.tenant, 'job_id', late.job_id, 'at', p_now) || public.place_of(booking));
    end loop;
    delete from public.held_power h
    where (h.dc_id, h.half_hour) in (
        select old.dc_id, old.half_hour
        from public.held_power old
        where old.half_hour < public.half_hour_of(p_now) - interval '2 days' and old.held_kw = 0
        for update skip locked);
    if cardinality(expired) > 0 then
        perform public.let_waiting_ask_again();
        for one in select event.value as told from jsonb_array_elements(events) as event loop
            perform public.log_event(
                one.told ->> 'tenant', 'workload.expired', one.told ->> 'job_id', one.told - 'tenant');
        end loop;
    end if;
    return to_json(expired);
end
$$;


