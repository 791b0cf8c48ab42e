-- The queue of notifications -------------------------------------------------------------------------------------------
--
-- A queue of the engine above, whose turns are the operators'. Locks are always taken in one order, notifications by number,
-- then workloads by tenant and job_id, then the sequence, so that no two workers wait for each other.

-- The statuses in which a workload still waits for a decision.
create or replace function public.awaits_decision(status text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
$$;

-- Whether a workload has its place: it holds power, or was ordered with it. Then it waits for its start, and not for a decision.
create or replace function public.has_place(w public.compute_workloads)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
            select from public.capacity_bookings b
            where (b.tenant, b.job_id) = (w.tenant, w.job_id) and b.state in ('HELD', 'RUNNING'))
        or exists (select from public.beckn_orders o where (o.buyer_operator, o.job_id) = (w.tenant, w.job_id))
$$;

-- A new notification takes its turn among those of its tenant.
create or replace function public.place_notification()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.fairness_key := new.tenant;
    new.turn := public.queue_notifications_turn(null, new.fairness_key);
    return new;
end
$$;

create or replace trigger place_notification
    before insert on public.workload_notifications
    for each row execute function public.place_notification();

-- Takes up to p_limit notifications that are due, each operator's oldest in turn, or whose holder let the lease run out.
-- Answers {"claimed": [{notification_id, job_id, operator (the tenant), reason, attempt, lease_token, created_at}…], "withdrawn": [those whose
-- workload no longer waits, closed without a decision], "died": [those whose last lease ran out]}, the latter as
-- {notification_id, job_id}.
create or replace function public.claim_notifications(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
set plan_cache_mode = 'force_generic_plan' -- found by keys alone: planning anew would take longer than the claim
as $$
declare
    moment timestamptz := clock_timestamp();
    died json;
    taken bigint[];
    claimed json;
    withdrawn json;
    withdrawn_ids bigint[];
    tokens bigint[];
    notes text[];
begin
    -- Nobody waits for the disk here: a claim that a crash of the server takes back is one that was never made. Whoever made
    -- it is fenced, or publishes what the next one then finds published: a notification is decided once, whoever does it.
    perform set_config('synchronous_commit', 'off', true);
    select coalesce(json_agg(json_build_object('notification_id', n.notification_id, 'job_id', n.job_id)), '[]')
    into died
    from public.queue_notifications_sweep(null, moment) as n;

    -- In a statement of its own. The claim sees what was committed since its statement began, and a join within it does not: a
    -- workload submitted just then would be missing beside its notification, which stayed claimed and told to nobody.
    select array_agg(n.notification_id) into taken
    from public.queue_notifications_claim(null, null, p_worker, p_limit, moment, p_lease_seconds) as n;
    select
        coalesce(
            json_agg(
                json_build_object(
                    'notification_id', n.notification_id, 'job_id', n.job_id, 'operator', n.tenant, 'reason', n.reason,
                    'attempt', n.attempt, 'lease_token', n.lease_token, 'created_at', n.created_at)
                order by n.notification_id) filter (where public.awaits_decision(w.status)), '[]'),
        coalesce(
            json_agg(json_build_object('notification_id', n.notification_id, 'job_id', n.job_id))
                filter (where not public.awaits_decision(w.status)), '[]'),
        array_agg(n.notification_id) filter (where not public.awaits_decision(w.status)),
        array_agg(n.lease_token) filter (where not public.awaits_decision(w.status)),
        array_agg('withdrawn: the workload is ' || w.status) filter (where not public.awaits_decision(w.status))
    into claimed, withdrawn, withdrawn_ids, tokens, notes
    from public.workload_notifications n
    join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
    where n.notification_id = any (taken);
    if withdrawn_ids is not null then
        perform public.queue_notifications_complete(withdrawn_ids, tokens, notes);
    end if;
    return json_build_object('claimed', claimed, 'withdrawn', withdrawn, 'died', died);
end
$$;

-- p_leases: [{notification_id, lease_token}…]. Answers {"held": [notification_id…]}: those still held, now for longer.
create or replace function public.heartbeat_notifications(p_leases jsonb, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', public.queue_notifications_heartbeat(
        array_agg(lease.notification_id), array_agg(lease.lease_token),
        clock_timestamp() + make_interval(secs => p_lease_seconds)))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Gives unfinished work back at once and uncounted, as a worker that stops does. Answers {"released": n}.
create or replace function public.release_notifications(p_leases jsonb)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('released', public.queue_notifications_release(
        array_agg(lease.notification_id), array_agg(lease.lease_token)))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Gives back what the database's own trouble kept from being finished: uncounted, and due again after p_pause_seconds, so
-- that others come first. Answers {"given_back": n}.
create or replace function public.give_back_notifications(p_leases jsonb, p_pause_seconds double precision, p_reason text)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('given_back', public.queue_notifications_release(
        array_agg(lease.notification_id), array_agg(lease.lease_token), p_pause_seconds, p_reason))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Tried again after 2, 4, 8, 16 … seconds, at most five minutes, or after p_retry_seconds, always give or take a quarter;
-- dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced", "run_at"}.
create or replace function public.fail_notification(
    p_notification_id bigint, p_lease_token bigint, p_error text, p_retry_seconds double precision default null)
returns json
language sql
set search_path = ''
as $$
    select json_build_object(
        'state', case failed.work_state when 'discarded' then 'dead' when 'retryable' then 'retry' else 'fenced' end,
        'run_at', case when failed.work_state = 'retryable' then failed.scheduled_at end)
    from public.queue_notifications_fail(
        p_notification_id, p_lease_token, p_error, coalesce(p_retry_seconds, 2), coalesce(p_retry_seconds, 300)) as failed
$$;

-- An operator's call: dead notifications, all or the given ones, get all their attempts again. Answers {"requeued": n}.
create or replace function public.requeue_dead(p_notification_ids jsonb default null)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('requeued', public.queue_notifications_requeue(
        case
            when p_notification_ids is not null
                then array(select id::bigint from jsonb_array_elements_text(p_notification_ids) as id) end))
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
    perform public.expire_bookings(p_now);
    delete from public.workload_reconsiderations r
    using public.compute_workloads w
    where (w.tenant, w.job_id) = (r.tenant, r.job_id) and not public.awaits_decision(w.status);
    -- One that waits for something else since its last question has met nothing easier of that yet.
    update public.workload_reconsiderations r
    set status = w.status, lowest_now = p.lowest_now, lowest_ahead = p.lowest_ahead
    from public.compute_workloads w, public.waiting_prospects(p_now) as p
    where (w.tenant, w.job_id) = (r.tenant, r.job_id) and r.status <> w.status and p.status = w.status;

    with waiting as materialized (
        select
            w.tenant, w.job_id, w.deadline,
            trim_scale(round(extract(epoch from patience.longest) / 86400, 1)) as longest_days
        from public.compute_workloads w
        cross join lateral (
            select greatest(longest_wait, make_interval(mins => coalesce(w.deferral_window_mins, 0))) as longest
        ) as patience
        left join public.workload_reconsiderations r on (r.tenant, r.job_id) = (w.tenant, w.job_id)
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and case
                when w.deadline is not null then w.deadline <= p_now
                else r.waiting_since + patience.longest <= p_now
            end
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
        order by w.tenant, w.job_id
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
        where (w.tenant, w.job_id) = (waiting.tenant, waiting.job_id)
        returning w.job_id
    )
    select coalesce(json_agg(failed.job_id order by failed.job_id), '[]') into overdue from failed;

    with waiting as materialized (
        select
            w.tenant, w.job_id, w.status, p.centres, p.lowest_now, p.lowest_ahead,
            r.lowest_now as lowest_before, r.lowest_ahead as lowest_ahead_before, r.centres as centres_before,
            r.ask_again_at
        from public.compute_workloads w
        join public.waiting_prospects(p_now) as p on p.status = w.status
        left join public.workload_reconsiderations r on (r.tenant, r.job_id) = (w.tenant, w.job_id)
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and (w.deadline is null or w.deadline > p_now)
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
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
        insert into public.workload_notifications (tenant, job_id, reason)
        select due.tenant, due.job_id, 'reconsidered' from due
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing
        returning tenant, job_id
    ),
    noted as (
        insert into public.workload_reconsiderations as r (
            tenant, job_id, status, asked, waiting_since, ask_again_at, centres, lowest_now, lowest_ahead)
        select
            due.tenant, due.job_id, due.status, 1, p_now, p_now + interval '30 minutes', due.centres, due.lowest_now, due.lowest_ahead
        from due
        join asked on (asked.tenant, asked.job_id) = (due.tenant, due.job_id)
        order by due.tenant, due.job_id
        on conflict (tenant, job_id) do update set
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
            count(*) filter (where n.leased_until >= clock_timestamp()) as live,
            count(*) filter (where n.leased_until < clock_timestamp()) as expired,
            min(n.created_at) filter (where n.leased_until < clock_timestamp()) as oldest_expired,
            min(n.leased_until + public.pause_after_lost_leases(n.lost_leases)) as first_due
        from public.workload_notifications n
        where n.work_state = 'running'
    ),
    waiting as (
        select count(*) as n, min(n.created_at) as oldest, min(n.scheduled_at) as first_due
        from public.workload_notifications n
        where n.work_state in ('available', 'retryable')
    )
    select json_build_object(
        'depth', waiting.n + lease.expired,
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - least(waiting.oldest, lease.oldest_expired)),
        'overdue_seconds',
            greatest(0, extract(epoch from clock_timestamp() - least(waiting.first_due, lease.first_due))),
        'in_flight', lease.live,
        'dead', (select count(*) from public.workload_notifications n where n.work_state = 'discarded'))
    from waiting, lease
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

