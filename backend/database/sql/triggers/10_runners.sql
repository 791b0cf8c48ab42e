-- Runners: take, begin, go on, end -----------------------------------------------------------------------------------------
--
-- A runner's run is a booking under a lease that lasts from its being taken to its end, and is extended whenever the runner is
-- heard of. Whoever changes a booking's state holds its data centre's lock first, then the workload's: the one order of all.
-- p_tenant is whose runners may be meant, null for the platform, which means anybody's.

-- A runner registers, at each of its starts. p_message: {runner_id, dc_id, capacity_kw, templates, take_over}. Answers
-- {"state": "registered", "session"}, or "unknown_data_centre" (or another's), or "simulated": it is not run by runners, and
-- the runner does not take it over.
create or replace function public.register_runner(p_message jsonb, p_now timestamptz, p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    centre public.data_centres;
    new_session constant uuid := gen_random_uuid();
begin
    select * into centre
    from public.data_centres d
    where d.dc_id = p_message ->> 'dc_id' and (p_tenant is null or d.tenant = p_tenant)
    for no key update;
    if centre.dc_id is null then
        return json_build_object('state', 'unknown_data_centre');
    end if;
    if centre.execution <> 'runner' then
        if not coalesce((p_message ->> 'take_over')::boolean, false) then
            return json_build_object('state', 'simulated');
        end if;
        -- What is booked there already is simulated as it was to be.
        update public.data_centres set execution = 'runner' where dc_id = centre.dc_id;
    end if;
    insert into public.runners (tenant, runner_id, dc_id, session, capacity_kw, templates, registered_at, seen_at)
    values (
        centre.tenant, p_message ->> 'runner_id', centre.dc_id, new_session, (p_message ->> 'capacity_kw')::double precision,
        p_message -> 'templates', p_now, p_now)
    on conflict (tenant, runner_id) do update
    set dc_id = excluded.dc_id, session = excluded.session, capacity_kw = excluded.capacity_kw,
        templates = excluded.templates, registered_at = excluded.registered_at, seen_at = excluded.seen_at;
    return json_build_object('state', 'registered', 'session', new_session);
end
$$;

-- What a runner's leases are called.
create or replace function public.runner_name(p_tenant text, p_runner_id text)
returns text
language sql
immutable
set search_path = ''
as $$ select format('runner %s of %s', p_runner_id, p_tenant) $$;

-- Leases one run that is due to a runner, of the templates that it names and none that it holds. What it was leased before, and
-- neither holds nor has begun, it never heard of: it has it again, under a new fence. Answers {"state": "ok" | "replaced"
-- (another process has registered by its name) | "unknown", "runs": [{run_id, fence, job_id, template, parameters, starts_at,
-- ends_at, it_power_kw}]}.
create or replace function public.take_runs(
    p_runner_id text, p_session text, p_templates jsonb, p_holding jsonb, p_now timestamptz,
    p_lease_seconds double precision, p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    me public.runners;
    mine text;
    due bigint;
    taken public.capacity_bookings;
begin
    update public.runners r
    set seen_at = p_now
    where r.runner_id = p_runner_id and r.session::text = p_session and (p_tenant is null or r.tenant = p_tenant)
    returning * into me;
    if me.runner_id is null then
        return json_build_object('state', case
            when exists (
                select from public.runners r
                where r.runner_id = p_runner_id and (p_tenant is null or r.tenant = p_tenant)) then 'replaced'
            else 'unknown' end);
    end if;
    mine := public.runner_name(me.tenant, me.runner_id);
    perform public.queue_bookings_sweep('runner', p_now);
    select b.booking_id into due
    from public.capacity_bookings b
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    where b.carried_out_by = 'runner' and b.dc_id = me.dc_id and b.state = 'HELD' and b.starts_at <= p_now
        and p_templates ? (w.run ->> 'template')
        and not (p_holding @> to_jsonb(b.booking_id))
        and (
            (b.work_state = 'available' and b.scheduled_at <= p_now)
            or (b.work_state = 'running' and (b.leased_by = mine or public.has_come(b.leased_until, p_now))))
    order by b.scheduled_at, b.booking_id
    limit 1
    for update of b skip locked;
    if due is null then
        return json_build_object('state', 'ok', 'runs', '[]'::json);
    end if;
    perform public.queue_bookings_release(array[b.booking_id], array[b.lease_token])
    from public.capacity_bookings b
    where b.booking_id = due and b.work_state = 'running';
    select * into taken
    from public.queue_bookings_claim('runner', array[due], mine, 1, p_now, p_lease_seconds);
    insert into public.runs (run_id, runner_tenant, runner_id, fence, taken_at, heard_at)
    values (taken.booking_id, me.tenant, me.runner_id, taken.lease_token, p_now, p_now)
    on conflict (run_id) do update
    set runner_tenant = excluded.runner_tenant, runner_id = excluded.runner_id, fence = excluded.fence,
        taken_at = excluded.taken_at, heard_at = excluded.heard_at;
    return json_build_object('state', 'ok', 'runs', (
        select json_build_array(json_build_object(
            'run_id', taken.booking_id, 'fence', taken.lease_token::text, 'job_id', taken.job_id,
            'template', w.run -> 'template', 'parameters', coalesce(w.run -> 'parameters', '{}'),
            'starts_at', taken.starts_at, 'ends_at', taken.ends_at, 'it_power_kw', taken.it_power_kw))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (taken.tenant, taken.job_id)));
end
$$;

-- The booking of a run, locked in the order of all, while this runner holds it under this fence; else null.
create or replace function public.held_run(p_run_id bigint, p_runner_id text, p_fence text, p_tenant text)
returns public.capacity_bookings
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings;
begin
    perform from public.data_centres d
    where d.dc_id = (select b.dc_id from public.capacity_bookings b where b.booking_id = p_run_id)
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = p_run_id)
    for no key update;
    select b.* into held
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.booking_id = p_run_id and b.work_state = 'running' and b.lease_token::text = p_fence
        and r.runner_id = p_runner_id and (p_tenant is null or r.runner_tenant = p_tenant)
    for update of b;
    return held;
end
$$;

-- A run that its runner is about to begin, as promised_runs has it; null where it is not its runner's, or has begun.
create or replace function public.run_to_begin(
    p_run_id bigint, p_runner_id text, p_fence text, p_tenant text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select public.promised_runs(array[b.booking_id]) -> 0
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.booking_id = p_run_id and b.state = 'HELD' and b.work_state = 'running' and b.lease_token::text = p_fence
        and r.runner_id = p_runner_id and (p_tenant is null or r.runner_tenant = p_tenant)
$$;

-- A runner is about to start a run's command. Its window begins now, and is as long as it was; where there is no power for
-- that, or no time before its deadline, it is given up or decided again. Answers {"standing": "held" | "cancelled" |
-- "deferred" | "fenced"}; only "held" lets it start.
create or replace function public.begin_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_now timestamptz, p_lease_seconds double precision,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    from_now constant timestamptz := case when p_now - held.starts_at <= interval '1 minute' then held.starts_at else p_now end;
    until constant timestamptz := from_now + (held.ends_at - held.starts_at);
begin
    if held.booking_id is null then
        return json_build_object('standing', 'fenced');
    end if;
    if held.state = 'RUNNING' then -- the answer was lost, and it is asked again
        return json_build_object('standing', case when held.cancel_requested_at is null then 'held' else 'cancelled' end);
    end if;
    if from_now > held.starts_at and until > (
        select w.deadline from public.compute_workloads w where (w.tenant, w.job_id) = (held.tenant, held.job_id))
    then
        perform public.end_run(held, 'RELEASED', null, null, 'FAILED', 'It was not started in time to end by its deadline.', p_now);
        return json_build_object('standing', 'deferred');
    end if;
    if held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, from_now, until) then
        perform public.give_run_back(held, 'Its runner was late, and there was no more power for it.', p_now);
        return json_build_object('standing', 'deferred');
    end if;
    update public.capacity_bookings b
    set state = 'RUNNING', starts_at = from_now, ends_at = until, started_at = p_now, lost_leases = 0,
        leased_until = p_now + make_interval(secs => p_lease_seconds)
    where b.booking_id = held.booking_id;
    update public.runs r set began_at = p_now, heard_at = p_now where r.run_id = held.booking_id;
    update public.compute_workloads w
    set status = 'RUNNING', scheduled_start = from_now, actual_start = p_now,
        status_reason = format('The runner %s runs it at %s.', p_runner_id, held.dc_id)
    where (w.tenant, w.job_id) = (held.tenant, held.job_id);
    perform public.log_run(held, 'workload.started');
    return json_build_object('standing', 'held');
end
$$;

-- A run goes on. One that does not end in its window holds the next half-hour too, where there is power for that; else it is to
-- end, and runs.cause says so ('window_over'). Answers {"standing": "held" | "cancelled" | "fenced"}.
create or replace function public.heartbeat_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_energy jsonb, p_now timestamptz, p_lease_seconds double precision,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    until timestamptz := held.ends_at;
    is_to_end boolean := held.cancel_requested_at is not null;
    has_run_out boolean := false;
begin
    if held.state is distinct from 'RUNNING' then
        return json_build_object('standing', 'fenced');
    end if;
    if held.ends_at <= p_now + interval '1 minute' and not is_to_end then
        until := greatest(held.ends_at, public.half_hour_of(p_now)) + interval '30 minutes';
        if held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, held.starts_at, until) then
            until := held.ends_at;
            has_run_out := held.ends_at <= p_now;
            is_to_end := has_run_out;
        end if;
    end if;
    update public.capacity_bookings b
    set ends_at = until,
        leased_until = p_now + make_interval(secs => p_lease_seconds),
        cancel_requested_at = case when is_to_end then coalesce(b.cancel_requested_at, p_now) end
    where b.booking_id = held.booking_id;
    update public.runs r
    set heard_at = p_now, energy = p_energy, cause = case when has_run_out then 'window_over' else r.cause end
    where r.run_id = held.booking_id;
    return json_build_object('standing', case when is_to_end then 'cancelled' else 'held' end);
end
$$;

-- A runner does not run what it took. Where no runner ever would, its workload fails; else another may take it. Answers
-- {"standing": "held" (until now) | "fenced"}.
create or replace function public.give_back_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_reason text, p_final boolean, p_now timestamptz,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
begin
    if held.state is distinct from 'HELD' then
        return json_build_object('standing', 'fenced');
    end if;
    if p_final then
        perform public.end_run(
            held, 'RELEASED', null, null, 'FAILED', format('The runner %s refused it: %s.', p_runner_id, p_reason), p_now);
    else
        perform public.queue_bookings_release(array[held.booking_id], array[held.lease_token], 5, p_reason);
    end if;
    return json_build_object('standing', 'held');
end
$$;

-- A run has ended. One that was ended because its owner cancelled it is CANCELLED; because its window was over, FAILED: nobody
-- asked for that, and it is not done. p_outcome: {ended, exit_status, signal, cause, reason, output_tail, output_bytes, run_s, energy}; p_account:
-- {status, status_reason, readings: its energy, as record_readings takes it}. Answers
-- {"standing": "held" (until now, or it was told before) | "fenced"}.
create or replace function public.finish_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_outcome jsonb, p_account jsonb, p_now timestamptz,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    outcome public.runs := jsonb_populate_record(null::public.runs, p_outcome);
    was_ended_by text;
begin
    if held.state is distinct from 'RUNNING' then
        return json_build_object('standing', case
            when exists (
                select from public.runs r
                where r.run_id = p_run_id and r.fence::text = p_fence and r.runner_id = p_runner_id
                    and (p_tenant is null or r.runner_tenant = p_tenant) and r.ended is not null and r.cause is distinct from 'silent')
                then 'held'
            else 'fenced' end);
    end if;
    if outcome.cause = 'cancelled' then
        select coalesce(r.cause, 'cancelled') into was_ended_by from public.runs r where r.run_id = held.booking_id;
    end if;
    update public.runs r
    set ended = outcome.ended, exit_status = outcome.exit_status, signal = outcome.signal,
        cause = coalesce(was_ended_by, outcome.cause),
        reason = outcome.reason, output_tail = outcome.output_tail, output_bytes = outcome.output_bytes,
        run_s = outcome.run_s, energy = outcome.energy, heard_at = p_now, ended_at = p_now
    where r.run_id = held.booking_id;
    perform public.end_run(
        held, 'ENDED', held.started_at, greatest(p_now, held.started_at + interval '1 millisecond'),
        case
            when was_ended_by = 'window_over' then 'FAILED'
            when was_ended_by = 'cancelled' and held.cancel_requested_at is not null then 'CANCELLED'
            else p_account ->> 'status' end,
        case
            when was_ended_by = 'window_over'
                then 'It was ended unfinished: its window was over, and there was no more power for it. '
                    || (p_account ->> 'status_reason')
            when was_ended_by = 'cancelled' and held.cancel_requested_at is not null
                then 'Cancelled: ' || coalesce(held.reason, 'no reason given')
            else p_account ->> 'status_reason' end,
        p_now, p_account -> 'readings');
    return json_build_object('standing', 'held');
end
$$;

-- Ends a booking whose locks are held: its power from p_ended_at on is free, its workload has a last status.
create or replace function public.end_run(
    p_held public.capacity_bookings, p_state text, p_started_at timestamptz, p_ended_at timestamptz, p_status text,
    p_reason text, p_now timestamptz, p_readings jsonb default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.capacity_bookings b
    set state = p_state,
        starts_at = coalesce(p_started_at, b.starts_at),
        ends_at = coalesce(p_ended_at, b.ends_at),
        started_at = coalesce(p_started_at, b.started_at),
        ended_at = p_ended_at,
        reason = case when p_state = 'RELEASED' then p_reason else b.reason end,
        work_state = 'completed', lease_token = null, leased_until = null, leased_by = null, finished_at = p_now
    where b.booking_id = p_held.booking_id;
    update public.compute_workloads w
    set status = p_status,
        status_reason = left(p_reason, 1000),
        scheduled_start = case when p_state <> 'RELEASED' then w.scheduled_start end,
        actual_start = coalesce(p_started_at, w.actual_start),
        actual_end = coalesce(p_ended_at, w.actual_end)
    where (w.tenant, w.job_id) = (p_held.tenant, p_held.job_id);
    if p_readings is not null then
        perform public.record_readings(p_held.booking_id, p_readings, p_now);
    end if;
    if p_status <> 'PENDING' then
        perform public.log_run(p_held, case p_state when 'RELEASED' then 'workload.expired' else 'workload.' || lower(p_status) end);
    end if;
end
$$;

-- Tells what has become of a booking's workload. It takes the publishing lock: call it last.
create or replace function public.log_run(p_held public.capacity_bookings, p_event_type text)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(p_held.tenant, p_event_type, p_held.job_id, jsonb_strip_nulls(jsonb_build_object(
        'job_id', w.job_id, 'booking_id', b.booking_id, 'dc_id', b.dc_id, 'carried_out_by', b.carried_out_by,
        'starts_at', b.starts_at, 'ends_at', b.ends_at, 'it_power_kw', b.it_power_kw, 'status', w.status,
        'status_reason', w.status_reason, 'actual_energy_kwh', w.actual_energy_kwh,
        'actual_carbon_gco2', w.actual_carbon_gco2, 'actual_cost_gbp', w.actual_cost_gbp)))
    from public.capacity_bookings b
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    where b.booking_id = p_held.booking_id
$$;

-- Gives a booking's power back, and has its workload decided again. Its locks are held.
create or replace function public.give_run_back(p_held public.capacity_bookings, p_reason text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform public.end_run(p_held, 'RELEASED', null, null, 'PENDING', p_reason, p_now);
    insert into public.workload_notifications (tenant, job_id, reason) values (p_held.tenant, p_held.job_id, 'reconsidered')
    on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
    perform pg_notify('workload_ready', '');
    perform public.log_run(p_held, 'workload.displaced');
end
$$;

-- What a run that is lost has used, as far as it was heard of, as record_readings takes it.
create or replace function public.readings_so_far(p_run_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_agg(jsonb_build_object(
        'half_hour', e.half_hour, 'it_energy_wh', round(e.energy_kwh::numeric * 1000, 3),
        'site_energy_wh', greatest(
            round(e.energy_kwh::numeric * 1000, 3), round((e.energy_kwh * 1000 * d.pue)::numeric, 3)), 'source', e.source))
    from public.runs r
    join public.capacity_bookings b on b.booking_id = r.run_id
    join public.data_centres d on d.dc_id = b.dc_id
    cross join lateral jsonb_to_recordset(r.energy) as e (half_hour timestamptz, energy_kwh double precision, source text)
    where r.run_id = p_run_id
$$;

-- Ends what no runner will: runs whose runner has not been heard of for so long that its lease ran out (they may have run, and
-- are never run again; only if p_lost_too, as runners could not be heard just before), what names nothing to run where runners
-- run, and what no runner took in its window. One at a call, in a transaction of its own, as each is told of. Answers
-- {"settled": [job_id…]}.
create or replace function public.settle_silent_runs(p_now timestamptz, p_lost_too boolean default true)
returns json
language plpgsql
set search_path = ''
as $$
declare
    one record;
    held public.capacity_bookings;
    settled text[] := '{}';
begin
    for one in
        select b.booking_id, b.dc_id, b.tenant, b.job_id
        from public.capacity_bookings b
        join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
        where b.carried_out_by = 'runner'
            and (
                (p_lost_too and b.state = 'RUNNING' and b.work_state = 'running' and b.leased_until <= p_now)
                or (b.state = 'HELD' and b.starts_at <= p_now and w.run is null)
                or (b.state = 'HELD' and b.ends_at <= p_now
                    and (b.work_state <> 'running' or b.leased_until <= p_now)))
        order by b.dc_id, b.tenant, b.job_id
        limit 1
    loop
        perform from public.data_centres d where d.dc_id = one.dc_id for no key update;
        perform from public.compute_workloads w where (w.tenant, w.job_id) = (one.tenant, one.job_id) for no key update;
        select * into held from public.capacity_bookings b where b.booking_id = one.booking_id for update;
        if held.state = 'RUNNING' and held.leased_until <= p_now then
            update public.runs r
            set ended = 'lost', cause = 'silent', ended_at = p_now
            where r.run_id = held.booking_id;
            perform public.end_run(
                held, 'ENDED', held.started_at, greatest(p_now, held.started_at + interval '1 millisecond'), 'FAILED',
                format('It was lost: nothing was heard of %s for too long. What it has done is not known, and it is not run again.',
                    held.leased_by), p_now, public.readings_so_far(held.booking_id));
        elsif held.state = 'HELD' then
            perform public.end_run(held, 'RELEASED', null, null, 'FAILED', case
                when exists (
                    select from public.compute_workloads w
                    where (w.tenant, w.job_id) = (held.tenant, held.job_id) and w.run is null)
                    then format('%s is run by runners, and it names nothing for them to run: submit it with "run".', held.dc_id)
                else format('No runner of %s took it in its window.', held.dc_id) end, p_now);
        else
            continue;
        end if;
        settled := settled || held.job_id;
    end loop;
    return json_build_object('settled', settled);
end
$$;

-- Where a run is: {dc_id, pue, region_id}, or null.
create or replace function public.run_place(p_run_id bigint)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('dc_id', d.dc_id, 'pue', d.pue, 'region_id', d.region_id)
    from public.capacity_bookings b
    join public.data_centres d on d.dc_id = b.dc_id
    where b.booking_id = p_run_id
$$;

-- Who is registered, by name: {"runners": [{runner_id, dc_id, capacity_kw, templates, seen_at, running}…]}.
create or replace function public.list_runners(p_tenant text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('runners', coalesce(json_agg(json_build_object(
        'runner_id', r.runner_id, 'dc_id', r.dc_id, 'capacity_kw', r.capacity_kw, 'templates', r.templates,
        'seen_at', r.seen_at, 'running', (
            select count(*)
            from public.runs n
            where (n.runner_tenant, n.runner_id) = (r.tenant, r.runner_id) and n.began_at is not null and n.ended is null))
        order by r.tenant, r.runner_id), '[]'))
    from (
        select * from public.runners r where p_tenant is null or r.tenant = p_tenant
        order by r.tenant, r.runner_id limit 1000) as r
$$;

-- What can be asked for by name, of every operator's runners: {"templates": [{name, dc_id, parameters: {name: {pattern,
-- optional}}}…]}.
create or replace function public.offered_templates()
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('templates', coalesce(json_agg(json_build_object(
        'name', t.name, 'dc_id', r.dc_id, 'parameters', t.template -> 'parameters') order by t.name, r.dc_id), '[]'))
    from public.runners r
    cross join lateral jsonb_each(r.templates) as t (name, template)
$$;

-- What the newest run of a workload has come to: {run_id, job_id, runner_id, began_at, heard_at, ended, …}; null where it was
-- never taken.
create or replace function public.workload_run(p_job_id text, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'run_id', r.run_id, 'job_id', b.job_id, 'dc_id', b.dc_id, 'runner_id', r.runner_id, 'taken_at', r.taken_at,
        'began_at', r.began_at, 'heard_at', r.heard_at, 'ended', r.ended, 'exit_status', r.exit_status, 'signal', r.signal,
        'cause', r.cause, 'reason', r.reason, 'output_tail', r.output_tail, 'output_bytes', r.output_bytes,
        'run_s', r.run_s, 'energy', r.energy, 'ended_at', r.ended_at)
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.job_id = p_job_id and (p_operator is null or b.tenant = p_operator)
    order by b.booking_id desc
    limit 1
$$;


