-- The queue of notifications -------------------------------------------------------------------------------------------
--
-- ready → leased → done, or back to ready after a failure, or dead after the last attempt. A lease is short and its
-- token fences: whoever lost it can no longer extend, fail or publish. An attempt counts against a workload when its end
-- was told and was a failure (fail_notification). One that was given back never happened; one whose lease ran out may have
-- been the workload's doing, if it ends the process, or a database's that was away: for those the bound is
-- most_lost_leases, and the pauses between them grow. Locks are always taken in one order,
-- notifications by number, then workloads by job_id, then the sequence, so that no two workers wait for each other.

-- The statuses in which a workload still waits for a decision.
create or replace function public.awaits_decision(status text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
$$;

create or replace function public.most_lost_leases()
returns integer
language sql
immutable parallel safe
set search_path = ''
as $$
    select 20
$$;

-- How long what has lost its lease so often is left alone: at first not at all, then for 2, 4, 8 … seconds, at most five
-- minutes. So twenty take an hour and more.
create or replace function public.pause_after_lost_leases(p_lost integer)
returns interval
language sql
immutable parallel safe
set search_path = ''
as $$
    select case when p_lost < 3 then interval '0' else make_interval(secs => least(300, power(2, least(p_lost, 20) - 2))) end
$$;

-- Whether a moment that work waits for has come. No lease and no pause of this queue is as long as an hour: what is that far
-- ahead was reckoned by a clock that has been set back since.
create or replace function public.has_come(p_moment timestamptz, p_now timestamptz)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select p_moment <= p_now or p_moment > p_now + interval '1 hour'
$$;

-- Takes up to p_limit notifications that are due, or whose holder let the lease run out. Answers {"claimed":
-- [{notification_id, job_id, reason, attempt, lease_token, created_at}…], "withdrawn": [those whose workload no longer
-- waits, closed without a decision], "died": [those whose last lease ran out]}, the latter as {notification_id, job_id}.
create or replace function public.claim_notifications(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    died json;
    due bigint[];
    answer json;
begin
    with expired as materialized (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'leased' and public.has_come(n.lease_until, clock_timestamp())
            and n.lost_leases + 1 >= public.most_lost_leases()
        for update skip locked
    ),
    buried as (
        update public.workload_notifications n
        set state = 'dead',
            lease_token = null,
            lease_until = null,
            context = null,
            lost_leases = n.lost_leases + 1,
            last_error = format('its lease ran out %s times, the last held by %s', n.lost_leases + 1, n.leased_by)
                || coalesce('; before that: ' || n.last_error, '')
        from expired
        where n.notification_id = expired.notification_id
        returning n.notification_id, n.job_id
    )
    select coalesce(json_agg(buried), '[]') into died from buried;

    -- Locked in a statement of its own: inside the update the planner may lock, and update, more rows than the limit.
    select coalesce(array_agg(stale.notification_id), '{}') into due
    from (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'leased' and public.has_come(n.lease_until, clock_timestamp())
            and public.has_come(n.lease_until + public.pause_after_lost_leases(n.lost_leases), clock_timestamp())
        order by n.lease_until
        limit p_limit
        for update skip locked) as stale;
    select due || coalesce(array_agg(ready.notification_id), '{}') into due
    from (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'ready' and public.has_come(n.run_at, clock_timestamp())
        order by n.run_at, n.notification_id
        limit p_limit - cardinality(due)
        for update skip locked) as ready;

    with judged as materialized (
        select n.notification_id, w.status, public.awaits_decision(w.status) as waits
        from public.workload_notifications n
        join public.compute_workloads w on w.job_id = n.job_id
        where n.notification_id = any (due)
    ),
    withdrawn as (
        update public.workload_notifications n
        set state = 'done', lease_token = null, lease_until = null, finished_at = clock_timestamp(),
            last_error = 'withdrawn: the workload is ' || judged.status
        from judged
        where n.notification_id = judged.notification_id and not judged.waits
        returning n.notification_id, n.job_id
    ),
    claimed as (
        update public.workload_notifications n
        set state = 'leased',
            attempts = n.attempts + 1,
            lost_leases = n.lost_leases + case when n.state = 'leased' then 1 else 0 end,
            leased_by = p_worker,
            lease_token = nextval('public.lease_tokens'),
            lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
            context = null
        from judged
        where n.notification_id = judged.notification_id and judged.waits
        returning n.notification_id, n.job_id, n.reason, n.attempts as attempt, n.lease_token, n.created_at
    )
    select json_build_object(
        'claimed', (select coalesce(json_agg(claimed order by claimed.notification_id), '[]') from claimed),
        'withdrawn', (select coalesce(json_agg(withdrawn), '[]') from withdrawn),
        'died', died)
    into answer;
    return answer;
end
$$;

-- p_leases: [{notification_id, lease_token}…]. Answers {"held": [notification_id…]}: those still held, now for longer.
create or replace function public.heartbeat_notifications(p_leases jsonb, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    with locked as materialized (
        select n.notification_id
        from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = lease.notification_id and n.lease_token = lease.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n
    ),
    held as (
        update public.workload_notifications n
        set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
        from locked
        where n.notification_id = locked.notification_id
        returning n.notification_id
    )
    select json_build_object('held', coalesce(json_agg(notification_id order by notification_id), '[]')) from held
$$;

-- Gives unfinished work back at once and uncounted, as a worker that stops does. Answers {"released": n}.
create or replace function public.release_notifications(p_leases jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select n.notification_id
        from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = lease.notification_id and n.lease_token = lease.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n
    )
    update public.workload_notifications n
    set state = 'ready', attempts = n.attempts - 1, lease_token = null, lease_until = null, context = null
    from locked
    where n.notification_id = locked.notification_id;
    get diagnostics released = row_count;
    if released > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('released', released);
end
$$;

-- Gives back what the database's own trouble kept from being finished: uncounted, and due again after p_pause_seconds, so
-- that others come first. Answers {"given_back": n}.
create or replace function public.give_back_notifications(p_leases jsonb, p_pause_seconds double precision, p_reason text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given_back bigint;
begin
    with locked as materialized (
        select n.notification_id
        from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = lease.notification_id and n.lease_token = lease.lease_token and n.state = 'leased'
        order by n.notification_id
        for update of n
    )
    update public.workload_notifications n
    set state = 'ready',
        attempts = n.attempts - 1,
        run_at = clock_timestamp() + make_interval(secs => p_pause_seconds),
        lease_token = null,
        lease_until = null,
        context = null,
        last_error = left(p_reason, 2000)
    from locked
    where n.notification_id = locked.notification_id;
    get diagnostics given_back = row_count;
    return json_build_object('given_back', given_back);
end
$$;

-- Tried again after 2, 4, 8, 16 … seconds, at most five minutes, give or take a quarter so that failures that came
-- together do not come back together; dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced",
-- "run_at"}.
create or replace function public.fail_notification(
    p_notification_id bigint, p_lease_token bigint, p_error text, p_retry_seconds double precision default null)
returns json
language sql
set search_path = ''
as $$
    with failed as (
        update public.workload_notifications n
        set state = case when n.attempts - n.lost_leases >= n.max_attempts then 'dead' else 'ready' end,
            run_at = clock_timestamp() + make_interval(
                secs => coalesce(
                    p_retry_seconds,
                    least(300, power(2, least(n.attempts - n.lost_leases, 20))) * (0.75 + random() / 2))),
            lease_token = null,
            lease_until = null,
            context = null,
            last_error = left(p_error, 2000)
        where n.notification_id = p_notification_id and n.lease_token = p_lease_token and n.state = 'leased'
        returning n.state, n.run_at
    )
    select coalesce(
        (
            select json_build_object(
                'state', case when state = 'dead' then 'dead' else 'retry' end,
                'run_at', case when state = 'ready' then run_at end)
            from failed),
        '{"state": "fenced", "run_at": null}')
$$;

-- An operator's call: dead notifications, all or the given ones, get all their attempts again. Answers {"requeued": n}.
create or replace function public.requeue_dead(p_notification_ids jsonb default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    requeued bigint;
begin
    update public.workload_notifications n
    set state = 'ready', attempts = 0, lost_leases = 0, run_at = clock_timestamp()
    where n.state = 'dead'
        and (p_notification_ids is null
            or n.notification_id in (select id::bigint from jsonb_array_elements_text(p_notification_ids) as id));
    get diagnostics requeued = row_count;
    if requeued > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('requeued', requeued);
end
$$;

-- What a waiting workload waits for, by its status: the lowest figure of the present half-hour and of the 48 hours from it,
-- over the places that could take it. The less, the easier: a carbon intensity where data centres are, a price, a stress,
-- and for PENDING, taken negative, the greatest free power of a data centre in MW, and how many of the half-hours' figures
-- are known. "centres" tells one set of data centres from another; their load, which moves all the time, is no part of it.
create or replace function public.waiting_prospects(p_now timestamptz)
returns table (status text, lowest_now double precision, lowest_ahead double precision, centres text)
language sql
stable
set search_path = ''
as $$
    with active as materialized (
        select d.* from public.data_centres d where d.status = 'ACTIVE'
    ),
    fleet as (
        select coalesce(encode(sha256(convert_to(json_agg(json_build_array(
            d.dc_id, d.region_id, d.pue, d.total_capacity_mw, d.total_capacity_teraflops, d.flexibility_rating)
            order by d.dc_id)::text, 'UTF8')), 'hex'), '') as centres
        from active d
    ),
    slots as (
        select public.half_hour_of(p_now) as first, public.half_hour_of(p_now) + interval '48 hours' as after_last
    ),
    national as (
        select
            min(g.wholesale_price_gbp_mwh) filter (where g.timestamp = slots.first) as price_now,
            min(g.wholesale_price_gbp_mwh) as price_ahead,
            min(g.grid_stress_score) filter (where g.timestamp = slots.first) as stress_now,
            min(g.grid_stress_score) as stress_ahead,
            count(g.wholesale_price_gbp_mwh) as known
        from slots
        join public.grid_signals g on g.timestamp >= slots.first and g.timestamp < slots.after_last
    ),
    regional as (
        select
            min(s.carbon_intensity_forecast) filter (where s.timestamp = slots.first) as carbon_now,
            min(s.carbon_intensity_forecast) as carbon_ahead,
            count(s.carbon_intensity_forecast) as known
        from slots
        join (select distinct region_id from active) as sited on true
        join public.regional_grid_signals s
            on s.region_id = sited.region_id and s.timestamp >= slots.first and s.timestamp < slots.after_last
    ),
    room as (
        select -max(d.total_capacity_mw * (100 - d.current_load_percentage) / 100) as taken_negative from active d
    )
    select prospect.status, prospect.lowest_now, prospect.lowest_ahead, fleet.centres
    from national, regional, room, fleet
    cross join lateral (values
        ('DEFERRED_CARBON', regional.carbon_now, regional.carbon_ahead),
        ('DEFERRED_PRICE', national.price_now, national.price_ahead),
        ('DEFERRED_GRID_STRESS', national.stress_now, national.stress_ahead),
        ('PENDING', room.taken_negative, -(national.known + regional.known))) as prospect (status, lowest_now, lowest_ahead)
$$;

-- After a pipeline run: the workloads that were decided and found no place ask again, each after a pause that doubles from
-- half an hour to a day. One asks at once where something is better than at any of its questions before: other data
-- centres, or less of what it waits for (waiting_prospects). It ends at its deadline or, without one, when it has waited
-- for a week, or for its deferral window if that is longer: then it has failed. A workload with an open notification
-- (dead ones count: they wait for an operator) is left alone. Answers {"reconsidered": [job_id…], "failed": [job_id…]}.
create or replace function public.reconsider_deferred(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    longest_wait constant interval := interval '7 days';
    longest_pause constant interval := interval '1 day';
    -- A run is not on the minute: a question that is due within a few minutes is due.
    leeway constant interval := interval '5 minutes';
    overdue json;
    renewed json;
begin
    delete from public.workload_reconsiderations r
    using public.compute_workloads w
    where w.job_id = r.job_id and not public.awaits_decision(w.status);
    -- One that waits for something else since its last question has met nothing easier of that yet.
    update public.workload_reconsiderations r
    set status = w.status, lowest_now = p.lowest_now, lowest_ahead = p.lowest_ahead
    from public.compute_workloads w, public.waiting_prospects(p_now) as p
    where w.job_id = r.job_id and r.status <> w.status and p.status = w.status;

    with waiting as materialized (
        select
            w.job_id, w.deadline,
            trim_scale(round(extract(epoch from patience.longest) / 86400, 1)) as longest_days
        from public.compute_workloads w
        cross join lateral (
            select greatest(longest_wait, make_interval(mins => coalesce(w.deferral_window_mins, 0))) as longest
        ) as patience
        left join public.workload_reconsiderations r on r.job_id = w.job_id
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and case
                when w.deadline is not null then w.deadline <= p_now
                else r.waiting_since + patience.longest <= p_now
            end
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
            and not exists (select from public.beckn_orders o where o.job_id = w.job_id) -- it has its place
        order by w.job_id
        for update of w skip locked
    ),
    failed as (
        update public.compute_workloads w
        set status = 'FAILED',
            status_reason = case
                when waiting.deadline is not null then 'No data centre could take it before its deadline.'
                else 'No data centre could take it in the ' || waiting.longest_days || ' days that it may wait.'
            end || coalesce(' ' || w.status_reason, '')
        from waiting
        where w.job_id = waiting.job_id
        returning w.job_id
    )
    select coalesce(json_agg(failed.job_id order by failed.job_id), '[]') into overdue from failed;

    with waiting as materialized (
        select
            w.job_id, w.status, p.centres, p.lowest_now, p.lowest_ahead,
            r.lowest_now as lowest_before, r.lowest_ahead as lowest_ahead_before, r.centres as centres_before,
            r.ask_again_at
        from public.compute_workloads w
        join public.waiting_prospects(p_now) as p on p.status = w.status
        left join public.workload_reconsiderations r on r.job_id = w.job_id
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and (w.deadline is null or w.deadline > p_now)
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
            and not exists (select from public.beckn_orders o where o.job_id = w.job_id) -- it has its place
    ),
    due as (
        select waiting.*
        from waiting
        where ask_again_at is null
            or ask_again_at <= p_now + leeway
            or ask_again_at > p_now + longest_pause -- written by a clock that was ahead
            or centres is distinct from centres_before
            or lowest_now < coalesce(lowest_before, 'infinity')
            or lowest_ahead < coalesce(lowest_ahead_before, 'infinity')
        order by job_id
    ),
    asked as (
        -- Two runs at once meet in the unique index on open notifications, and one of them asks.
        insert into public.workload_notifications (job_id, reason)
        select due.job_id, 'reconsidered' from due
        on conflict (job_id) where state <> 'done' do nothing
        returning job_id
    ),
    noted as (
        insert into public.workload_reconsiderations as r (
            job_id, status, asked, waiting_since, ask_again_at, centres, lowest_now, lowest_ahead)
        select
            due.job_id, due.status, 1, p_now, p_now + interval '30 minutes', due.centres, due.lowest_now, due.lowest_ahead
        from due
        join asked on asked.job_id = due.job_id
        order by due.job_id
        on conflict (job_id) do update set
            status = excluded.status,
            asked = r.asked + 1,
            ask_again_at = p_now + least(longest_pause, interval '30 minutes' * power(2, least(r.asked, 10))),
            centres = excluded.centres,
            lowest_now = least(r.lowest_now, excluded.lowest_now),
            lowest_ahead = least(r.lowest_ahead, excluded.lowest_ahead)
    )
    select coalesce(json_agg(asked.job_id order by asked.job_id), '[]') into renewed from asked;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('reconsidered', renewed, 'failed', overdue);
end
$$;

-- depth: notifications that wait, retries not yet due and expired leases included. overdue_seconds: for how long the one
-- that is due first has been due, with nobody on it.
create or replace function public.queue_health()
returns json
language sql
stable
set search_path = ''
as $$
    with lease as (
        select
            count(*) filter (where n.lease_until >= clock_timestamp()) as live,
            count(*) filter (where n.lease_until < clock_timestamp()) as expired,
            min(n.created_at) filter (where n.lease_until < clock_timestamp()) as oldest_expired,
            min(n.lease_until + public.pause_after_lost_leases(n.lost_leases)) as first_due
        from public.workload_notifications n
        where n.state = 'leased'
    ),
    ready as (
        select count(*) as n, min(n.created_at) as oldest, min(n.run_at) as first_due
        from public.workload_notifications n
        where n.state = 'ready'
    )
    select json_build_object(
        'depth', ready.n + lease.expired,
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - least(ready.oldest, lease.oldest_expired)),
        'overdue_seconds',
            greatest(0, extract(epoch from clock_timestamp() - least(ready.first_due, lease.first_due))),
        'in_flight', lease.live,
        'dead', (select count(*) from public.workload_notifications n where n.state = 'dead'))
    from ready, lease
$$;

-- Writes a row, for health pages. What the database says when it cannot is the answer; else {"state": "written"}.
create or replace function public.probe_write()
returns json
language plpgsql
set search_path = ''
as $$
begin
    insert into public.write_probe as p (written_at) values (clock_timestamp())
    on conflict (only_row) do update set written_at = excluded.written_at
    where p.written_at < excluded.written_at - interval '2 seconds' or p.written_at > excluded.written_at;
    return json_build_object('state', 'written');
end
$$;

