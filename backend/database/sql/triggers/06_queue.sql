-- The queue of notifications -------------------------------------------------------------------------------------------
--
-- ready → leased → done, or back to ready after a failure, or dead after the last attempt. A lease is short and its
-- token fences: whoever lost it can no longer extend, fail or publish. Locks are always taken in one order,
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
        where n.state = 'leased' and n.lease_until < clock_timestamp() and n.attempts >= n.max_attempts
        for update skip locked
    ),
    buried as (
        update public.workload_notifications n
        set state = 'dead',
            lease_token = null,
            lease_until = null,
            context = null,
            last_error = 'the lease of the last attempt ran out, held by ' || n.leased_by
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
        where n.state = 'leased' and n.lease_until < clock_timestamp() and n.attempts < n.max_attempts
        order by n.lease_until
        limit p_limit
        for update skip locked) as stale;
    select due || coalesce(array_agg(ready.notification_id), '{}') into due
    from (
        select n.notification_id
        from public.workload_notifications n
        where n.state = 'ready' and n.run_at <= clock_timestamp()
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
        set state = case when n.attempts >= n.max_attempts then 'dead' else 'ready' end,
            run_at = clock_timestamp()
                + make_interval(secs => coalesce(p_retry_seconds, least(300, power(2, n.attempts)) * (0.75 + random() / 2))),
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
    set state = 'ready', attempts = 0, run_at = clock_timestamp()
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

-- After a pipeline run the grid may answer differently: every workload that was decided and found no place asks again,
-- until its deadline; then it has failed. One with an open notification (dead ones count: they wait for an operator) is
-- left alone. Answers {"reconsidered": [job_id…], "failed": [job_id…]}.
create or replace function public.reconsider_deferred(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    overdue json;
    renewed json;
begin
    with waiting as materialized (
        select w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and w.deadline <= p_now
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
            and not exists (select from public.beckn_orders o where o.job_id = w.job_id) -- it has its place
        order by w.job_id
        for update skip locked
    ),
    failed as (
        update public.compute_workloads w
        set status = 'FAILED',
            status_reason = 'No data centre could take it before its deadline.' || coalesce(' ' || w.status_reason, '')
        from waiting
        where w.job_id = waiting.job_id
        returning w.job_id
    )
    select coalesce(json_agg(failed.job_id order by failed.job_id), '[]') into overdue from failed;

    with waiting as materialized (
        select w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and (w.deadline is null or w.deadline > p_now)
            and not exists (
                select from public.workload_notifications n where n.job_id = w.job_id and n.state <> 'done')
            and not exists (select from public.beckn_orders o where o.job_id = w.job_id) -- it has its place
        order by w.job_id
    ),
    asked as (
        -- Two runs at once meet in the unique index on open notifications, and one of them asks.
        insert into public.workload_notifications (job_id, reason)
        select waiting.job_id, 'reconsidered' from waiting
        on conflict (job_id) where state <> 'done' do nothing
        returning job_id
    )
    select coalesce(json_agg(asked.job_id order by asked.job_id), '[]') into renewed from asked;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('reconsidered', renewed, 'failed', overdue);
end
$$;

-- depth: notifications that wait, retries not yet due and expired leases included.
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
            min(n.created_at) filter (where n.lease_until < clock_timestamp()) as oldest_expired
        from public.workload_notifications n
        where n.state = 'leased'
    ),
    ready as (
        select count(*) as n, min(n.created_at) as oldest from public.workload_notifications n where n.state = 'ready'
    )
    select json_build_object(
        'depth', ready.n + lease.expired,
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - least(ready.oldest, lease.oldest_expired)),
        'in_flight', lease.live,
        'dead', (select count(*) from public.workload_notifications n where n.state = 'dead'))
    from ready, lease
$$;


