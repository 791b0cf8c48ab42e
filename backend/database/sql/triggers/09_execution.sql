-- Carrying out what is booked --------------------------------------------------------------------------------------------

-- A data centre's load is its base load, what others draw, and what runs of ours. Whoever writes another load than it has
-- states the base load. Reads every tenant's bookings, whoever writes.
create or replace function public.load_data_centre()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and new.current_load_percentage is distinct from old.current_load_percentage
        and new.base_load_percentage is not distinct from old.base_load_percentage
    then
        new.base_load_percentage := new.current_load_percentage;
    end if;
    -- Where nothing of ours ever ran, the load that is stated is all there is.
    if new.base_load_percentage is not null then
        new.current_load_percentage := least(100, new.base_load_percentage + coalesce((
            select sum(b.it_power_kw)::double precision / nullif(new.total_capacity_mw * 10, 0) -- kW as a share of MW, in %
            from public.capacity_bookings b
            where b.dc_id = new.dc_id and b.state = 'RUNNING'), 0));
    end if;
    return new;
end
$$;

create or replace trigger load_data_centre
    before insert or update of current_load_percentage, base_load_percentage, total_capacity_mw on public.data_centres
    for each row execute function public.load_data_centre();

-- When a run begins or ends its data centre's load follows. Whoever changes a booking's state holds the data centre's lock.
create or replace function public.load_what_runs()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    stopped public.capacity_bookings[] := '{}';
    running public.capacity_bookings[] := '{}';
begin
    if tg_op <> 'INSERT' then
        stopped := array(select b from before_change b where b.state = 'RUNNING');
    end if;
    if tg_op <> 'DELETE' then
        running := array(select b from after_change b where b.state = 'RUNNING');
    end if;
    if cardinality(stopped) + cardinality(running) > 0 then
        update public.data_centres d
        set base_load_percentage = coalesce(d.base_load_percentage, d.current_load_percentage)
        where d.dc_id in (
            select change.dc_id
            from (
                select b.dc_id, -b.it_power_kw as kw from unnest(stopped) as b
                union all
                select b.dc_id, b.it_power_kw from unnest(running) as b) as change
            group by change.dc_id
            having sum(change.kw) <> 0);
    end if;
    return null;
end
$$;

create or replace trigger load_what_runs_insert
    after insert on public.capacity_bookings
    referencing new table as after_change
    for each statement execute function public.load_what_runs();
create or replace trigger load_what_runs_update
    after update on public.capacity_bookings
    referencing old table as before_change new table as after_change
    for each statement execute function public.load_what_runs();
create or replace trigger load_what_runs_delete
    after delete on public.capacity_bookings
    referencing old table as before_change
    for each statement execute function public.load_what_runs();

-- Bookings as whoever carries them out knows them, in this order: [{booking_id, lease_token, tenant, job_id, dc_id, state,
-- starts_at, ends_at, it_power_kw, task (the workload), promised_gco2 (what its decision said it would emit there; null where
-- none did)}…].
create or replace function public.promised_runs(p_booking_ids bigint[])
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(
        json_agg(json_build_object(
            'booking_id', b.booking_id, 'lease_token', b.lease_token, 'tenant', b.tenant, 'job_id', b.job_id,
            'dc_id', b.dc_id, 'state', b.state, 'starts_at', b.starts_at, 'ends_at', coalesce(b.ended_at, b.ends_at),
            'it_power_kw', b.it_power_kw, 'task', to_jsonb(w), 'promised_gco2', promise.carbon_gco2)
            order by one.position),
        '[]')
    from unnest(p_booking_ids) with ordinality as one (booking_id, position)
    join public.capacity_bookings b on b.booking_id = one.booking_id
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    left join lateral (
        -- The best option comes first, and is the one that was chosen. An owner who moved its workload took the place as it
        -- is; an executor that deferred it did not ask.
        select d.output #>> '{data_centre_options,0,estimates,recommended,carbon_gco2}' as carbon_gco2
        from public.orchestration_decisions d
        where d.notification_id = b.notification_id and d.chosen_dc_id = b.dc_id
            and (d.recommended_start = b.starts_at or w.status <> 'QUEUED')
            and b.state = 'HELD') as promise on true
$$;

-- Takes up to p_limit bookings that p_carried_out_by is to start, to end or, where they were broken off, to meter by p_now on a
-- lease, each tenant's first in turn. Answers {"claimed": promised_runs, "next_due_at"}.
create or replace function public.claim_due_bookings(
    p_carried_out_by text, p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due bigint[];
    taken bigint[];
begin
    perform public.queue_bookings_sweep(p_carried_out_by, p_now);
    select coalesce(array_agg(ready.booking_id order by ready.place, ready.scheduled_at, ready.booking_id), '{}') into due
    from (
        select
            b.booking_id, b.scheduled_at,
            row_number() over (partition by b.tenant order by b.scheduled_at, b.booking_id) as place
        from public.capacity_bookings b
        where b.carried_out_by = p_carried_out_by
            and (
                (b.work_state = 'available' and b.scheduled_at <= p_now)
                or (b.work_state = 'running' and public.has_come(b.leased_until, p_now)))) as ready;
    select coalesce(array_agg(b.booking_id order by array_position(due, b.booking_id)), '{}') into taken
    from public.queue_bookings_claim(p_carried_out_by, due, p_worker, p_limit, p_now, p_lease_seconds) as b;
    return json_build_object(
        'claimed', public.promised_runs(taken),
        'next_due_at', least(
            public.queue_bookings_next_due(p_carried_out_by, p_now),
            (
                select min(b.scheduled_at) from public.capacity_bookings b
                where b.carried_out_by = p_carried_out_by and b.work_state = 'available' and b.scheduled_at > p_now)));
end
$$;

-- Steps of bookings are being worked on still. p_leases: [{booking_id, lease_token}…]. Answers {"held": [booking_id…]}.
create or replace function public.heartbeat_bookings(p_leases jsonb, p_now timestamptz, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', public.queue_bookings_heartbeat(
        array_agg(lease.booking_id), array_agg(lease.lease_token), p_now + make_interval(secs => p_lease_seconds)))
    from jsonb_to_recordset(p_leases) as lease (booking_id bigint, lease_token bigint)
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter, for as long as it takes. Answers {"state":
-- "retry" | "fenced"}.
create or replace function public.fail_booking(
    p_booking_id bigint, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_bookings_fail(
        p_booking_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- One step of a booking, under its lease. p_change: {booking_id, lease_token, from_state, state, starts_at, ends_at, reason,
-- due_at (of the next step; null: there is none), updated_at, decide_again (the workload asks for a decision; else false),
-- event_type (what the log of events calls it; null: it knows already), readings (of a run that has ended: see record_readings), workload: {status,
-- status_reason, actual_…}}; what is left out of the window and the actuals stays. A window that moves
-- takes its new half-hours here, where they have room. Answers {"state": "changed" | "fenced" (the lease was lost) |
-- "wrong_state" | "no_capacity"}.
create or replace function public.change_booking(p_change jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.capacity_bookings := jsonb_populate_record(null::public.capacity_bookings, p_change);
    work public.compute_workloads := jsonb_populate_record(null::public.compute_workloads, p_change -> 'workload');
    next_step_at timestamptz := (p_change ->> 'due_at')::timestamptz;
    decide_again boolean := coalesce((p_change ->> 'decide_again')::boolean, false);
    held public.capacity_bookings;
begin
    -- The data centre first, then the workload, then the booking: the one order of locks.
    perform from public.data_centres d
    where d.dc_id = (select b.dc_id from public.capacity_bookings b where b.booking_id = given.booking_id)
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = given.booking_id)
    for no key update;
    select * into held from public.capacity_bookings b where b.booking_id = given.booking_id for update;
    if held.booking_id is null or held.work_state <> 'running' or held.lease_token is distinct from given.lease_token then
        return json_build_object('state', 'fenced');
    end if;
    if held.state is distinct from p_change ->> 'from_state' then
        return json_build_object('state', 'wrong_state');
    end if;
    given.starts_at := coalesce(given.starts_at, held.starts_at);
    given.ends_at := coalesce(given.ends_at, held.ends_at);
    if given.state in ('HELD', 'RUNNING')
        and held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, given.starts_at, given.ends_at)
    then
        return json_build_object('state', 'no_capacity');
    end if;
    update public.capacity_bookings b
    set state = given.state,
        starts_at = given.starts_at,
        ends_at = given.ends_at,
        reason = coalesce(given.reason, b.reason),
        started_at = case when given.state = 'RUNNING' then given.starts_at else b.started_at end,
        ended_at = case when given.state = 'ENDED' then coalesce(b.ended_at, given.ends_at) else b.ended_at end,
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, b.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then given.updated_at end
    where b.booking_id = held.booking_id;
    update public.compute_workloads w
    set status = case when decide_again then 'PENDING' else coalesce(work.status, w.status) end,
        status_reason = coalesce(work.status_reason, w.status_reason),
        scheduled_start = case when given.state <> 'RELEASED' then given.starts_at end,
        actual_start = coalesce(work.actual_start, w.actual_start),
        actual_end = coalesce(work.actual_end, w.actual_end),
        actual_energy_kwh = coalesce(work.actual_energy_kwh, w.actual_energy_kwh),
        actual_carbon_gco2 = coalesce(work.actual_carbon_gco2, w.actual_carbon_gco2),
        actual_cost_gbp = coalesce(work.actual_cost_gbp, w.actual_cost_gbp)
    where (w.tenant, w.job_id) = (held.tenant, held.job_id);
    if decide_again then
        insert into public.workload_notifications (tenant, job_id, reason) values (held.tenant, held.job_id, 'reconsidered')
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
        perform pg_notify('workload_ready', '');
    end if;
    if jsonb_array_length(p_change -> 'readings') > 0 then
        perform public.record_readings(held.booking_id, p_change -> 'readings', given.updated_at);
    end if;
    if given.state in ('HELD', 'RELEASED') then -- what it held until now has come free
        perform public.let_waiting_ask_again();
    end if;
    if p_change ->> 'event_type' is null then
        return json_build_object('state', 'changed');
    end if;
    perform public.log_event(held.tenant, p_change ->> 'event_type', held.job_id, (
        select jsonb_strip_nulls(jsonb_build_object(
            'job_id', w.job_id, 'booking_id', held.booking_id, 'dc_id', held.dc_id, 'carried_out_by', held.carried_out_by,
            'starts_at', given.starts_at, 'ends_at', given.ends_at, 'it_power_kw', held.it_power_kw, 'status', w.status,
            'status_reason', w.status_reason, 'actual_energy_kwh', w.actual_energy_kwh,
            'actual_carbon_gco2', w.actual_carbon_gco2, 'actual_cost_gbp', w.actual_cost_gbp))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (held.tenant, held.job_id)));
    return json_build_object('state', 'changed');
end
$$;

-- Workloads that were decided but hold no power, as decisions were before bookings were kept: nobody would ever run them.
-- Those that were to start by now FAIL: their owners were told where and when to run them, and may have. Those that are yet
-- to start are decided again, with power this time. Answers {"failed": [job_id…], "reconsidered": [job_id…]}.
create or replace function public.settle_unbooked_workloads(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    failed json;
    renewed json;
begin
    with unbooked as materialized (
        select w.tenant, w.job_id, coalesce(w.scheduled_start <= p_now, true) as is_past
        from public.compute_workloads w
        where w.status = 'QUEUED'
            and not public.has_place(w)
        order by w.tenant, w.job_id
        for no key update of w skip locked
    ),
    settled as (
        update public.compute_workloads w
        set status = case when unbooked.is_past then 'FAILED' else 'PENDING' end,
            status_reason = case
                when unbooked.is_past then 'It was decided without power being held for it, and was not run by its start: '
                    'submit it again if it is still to run.'
                else 'It was decided without power being held for it, and is decided again.' end,
            scheduled_start = null
        from unbooked
        where (w.tenant, w.job_id) = (unbooked.tenant, unbooked.job_id)
        returning w.tenant, w.job_id, w.status
    ),
    asked as (
        insert into public.workload_notifications (tenant, job_id, reason)
        select s.tenant, s.job_id, 'reconsidered' from settled s where s.status = 'PENDING' order by s.tenant, s.job_id
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing
    )
    select
        coalesce(json_agg(s.job_id order by s.job_id) filter (where s.status = 'FAILED'), '[]'),
        coalesce(json_agg(s.job_id order by s.job_id) filter (where s.status = 'PENDING'), '[]')
    into failed, renewed
    from settled s;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('failed', failed, 'reconsidered', renewed);
end
$$;

-- How the bookings are doing that are carried out here or by runners, by who does: {"simulation": {held, running, due,
-- overdue_seconds (for how long the one that is due first has been due, with nobody on it; null where none is)}, "runner": …}.
create or replace function public.bookings_health(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_object_agg(by_whom.name, json_build_object(
        'held', open.held, 'running', open.running, 'due', open.due, 'overdue_seconds', open.overdue_seconds))
    from (values ('simulation'), ('runner')) as by_whom (name)
    cross join lateral (
        select
            count(*) filter (where b.state = 'HELD') as held,
            count(*) filter (where b.state = 'RUNNING') as running,
            count(*) filter (where public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until) <= p_now) as due,
            extract(epoch from p_now - min(public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until)) filter (
                where public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until) <= p_now)) as overdue_seconds
        from public.capacity_bookings b
        where b.carried_out_by = by_whom.name and b.work_state in ('available', 'running', 'retryable')) as open
$$;


