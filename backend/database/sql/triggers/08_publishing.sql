-- Publishing -------------------------------------------------------------------------------------------------------------

-- The decisions of p_agent_id on one grid, each whole or not at all: the audit row, the next sequence number, the
-- event, the workload's new status and the end of the notification, in this one transaction.
--
-- p_grid: the grid the decisions were made on. p_decisions: [{notification_id, lease_token, context (what the grid
-- lacks: context_id, task, settings), output, chosen_dc_id, recommended_start, workload_status, status_reason, scorer,
-- model, scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, token_usage}…].
-- output is the document's text, as a JSON string, and is stored as it is written (a document itself is taken as well).
-- p_skip_unchanged: what was asked again and is answered as before (no place, the same status, the same constraints
-- broken at the same data centres) is no new decision: the notification ends with a note, and the workload's reason is
-- brought up to date. A decision that places its workload may carry "booking": {starts_at, ends_at, it_power_kw, run_now}:
-- its power is taken in this transaction, one decision after the other in the order given. One without comes from a program
-- that books nothing: what it takes is read from its output. Answers {"results": [{notification_id, job_id, state,
-- sequence}…], "grid_digest": of the grid, where something was published}; state is published, unchanged, already (a repeated call), fenced (the lease was lost: nothing is stored),
-- withdrawn (the workload no longer waits, or has its place: closed without a decision) or displaced (its power has gone
-- meanwhile: nothing is stored, and the notification can be claimed again at once, uncounted). A program that books nothing
-- knows no displaced: it is told fenced, and the notification waits for a minute.
-- p_grid_version: the version of that grid, as it was read. Where the database holds another one by now, nothing is stored,
-- the leases stay, and the state is outdated: the decisions are to be made again. Without it nobody looks.
-- p_grid_digest: what an earlier call with this grid answered as "grid_digest". Then p_grid needs to hold no more than as_of: a
-- grid is a hundred times as long as a decision. Where no grid of this digest is stored nothing is done, and "results" is null:
-- call again with the grid.
create or replace function public.publish_decisions(
    p_agent_id text, p_grid jsonb, p_decisions jsonb, p_skip_unchanged boolean default false,
    p_grid_version text default null, p_grid_digest text default null)
returns json
language plpgsql
set search_path = ''
-- Everything here is found by its key, however large the tables are and whatever is known of their size. So each statement is
-- planned once a session: planned at every call, the plans would take longer than the rest of a single decision.
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    offered_ids bigint[];
    outdated bigint[] := '{}';
    publishable bigint[];
    withdrawn bigint[];
    unchanged bigint[] := '{}';
    asked jsonb;
    displaced bigint[] := '{}';
    displaced_unaware bigint[] := '{}';
    shared_grid jsonb; -- null where it is stored already
    shared_digest text := p_grid_digest;
    own_moment jsonb := case when p_grid ? 'as_of' then jsonb_build_object('as_of', p_grid -> 'as_of') else '{}' end;
    head bigint;
    everybodys_head bigint;
    tenant_heads jsonb;
    results json;
begin
    if p_grid_digest is null then
        shared_grid := p_grid - 'as_of';
        shared_digest := encode(sha256(convert_to(shared_grid::text, 'UTF8')), 'hex');
    elsif not exists (select from public.decision_grids g where g.digest = p_grid_digest) then
        return json_build_object('results', null, 'grid_digest', null);
    end if;
    -- The data centres first, as whoever takes power: two transactions take their locks in one order.
    perform from public.data_centres d
    where d.dc_id in (
        select r.chosen_dc_id
        from jsonb_to_recordset(p_decisions) as r (chosen_dc_id text, workload_status text)
        where r.workload_status = 'QUEUED')
    order by d.dc_id
    for no key update;
    select array_agg(locked.notification_id) into offered_ids
    from (
        select n.notification_id
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = d.notification_id and n.lease_token = d.lease_token and n.work_state = 'running'
        order by n.notification_id
        for update of n) as locked;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select n.tenant, n.job_id from public.workload_notifications n where n.notification_id = any (offered_ids))
    order by w.tenant, w.job_id
    for no key update;

    -- After every wait but that of the publishers for each other, so that no decision rests on less than what is known.
    if p_grid_version is not null and p_grid_version <> public.grid_version((p_grid ->> 'as_of')::timestamptz) then
        outdated := offered_ids;
        offered_ids := '{}';
    end if;

    -- Now that nobody can change them: which of the workloads still wait. One that holds power waits for its start.
    select
        coalesce(array_agg(offered.notification_id) filter (where offered.waits), '{}'),
        coalesce(array_agg(offered.notification_id) filter (where not offered.waits), '{}')
    into publishable, withdrawn
    from (
        select
            n.notification_id,
            public.awaits_decision(w.status) and not exists (
                select
                from public.capacity_bookings b
                where (b.tenant, b.job_id) = (n.tenant, n.job_id) and b.state in ('HELD', 'RUNNING')) as waits
        from public.workload_notifications n
        join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
        where n.notification_id = any (offered_ids)) as offered;

    if p_skip_unchanged then
        select coalesce(array_agg(d.notification_id), '{}') into unchanged
        from jsonb_to_recordset(p_decisions) as d (
            notification_id bigint, chosen_dc_id text, workload_status text, scorer_version text,
            constraints_evaluated jsonb)
        join public.workload_notifications n on n.notification_id = d.notification_id and n.reason = 'reconsidered'
        join public.compute_workloads w
            on (w.tenant, w.job_id) = (n.tenant, n.job_id) and w.status = d.workload_status
        cross join lateral (
            select o.*
            from public.orchestration_decisions o
            where (o.tenant, o.job_id) = (n.tenant, n.job_id)
            order by o.decided_at desc, o.sequence desc
            limit 1) as last
        where d.notification_id = any (publishable)
            and d.chosen_dc_id is null and last.chosen_dc_id is null
            and d.scorer_version = last.scorer_version
            and coalesce(d.constraints_evaluated, '[]') @> last.constraints_evaluated
            and last.constraints_evaluated @> coalesce(d.constraints_evaluated, '[]');

        update public.compute_workloads w
        set status_reason = d.status_reason
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, status_reason text)
        join public.workload_notifications n on n.notification_id = d.notification_id
        where d.notification_id = any (unchanged) and (w.tenant, w.job_id) = (n.tenant, n.job_id)
            and w.status_reason is distinct from d.status_reason;
        publishable := array(select id from unnest(publishable) as id where id <> all (unchanged));
    end if;

    select jsonb_agg(
        wanted.booking || jsonb_build_object(
            'notification_id', n.notification_id, 'tenant', n.tenant, 'job_id', n.job_id, 'dc_id', c.dc_id,
            'carried_out_by', public.carried_out_by(c), 'books_itself', d.booking is not null)
        order by d.place)
    into asked
    from rows from (jsonb_to_recordset(p_decisions) as (
        notification_id bigint, chosen_dc_id text, workload_status text, booking jsonb)) with ordinality
        as d (notification_id, chosen_dc_id, workload_status, booking, place)
    join public.workload_notifications n on n.notification_id = d.notification_id
    join public.data_centres c on c.dc_id = d.chosen_dc_id
    cross join lateral (select coalesce(
            d.booking, public.booking_of_output(p_decisions -> (d.place - 1)::integer -> 'output')) as booking) as wanted
    where d.notification_id = any (publishable) and d.workload_status = 'QUEUED' and wanted.booking is not null;
    if asked is not null then
        displaced := public.book_decisions(asked);
    end if;
    if cardinality(displaced) > 0 then
        select coalesce(array_agg(a.notification_id), '{}') into displaced_unaware
        from jsonb_to_recordset(asked) as a (notification_id bigint, books_itself boolean)
        where a.notification_id = any (displaced) and not a.books_itself;
        publishable := array(select id from unnest(publishable) as id where id <> all (displaced));
        offered_ids := array(select id from unnest(offered_ids) as id where id <> all (displaced));
        perform public.queue_notifications_release(
            array_agg(d.notification_id), array_agg(d.lease_token), paused.seconds, 'the power it was given has gone')
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
        cross join lateral (
            select case when d.notification_id = any (displaced_unaware) then 60 else 0 end as seconds) as paused
        where d.notification_id = any (displaced)
        group by paused.seconds;
    end if;

    if cardinality(publishable) > 0 then
        if shared_grid is not null then
            insert into public.decision_grids (digest, grid) values (shared_digest, shared_grid)
            on conflict (digest) do nothing;
        end if;

        -- One publisher at a time from here to its commit, so that numbers have no gap and a reader never sees a
        -- higher one before a lower. Read in a statement of its own, which sees what the one before committed.
        perform pg_advisory_xact_lock(7263812);
        -- Counted on from the greatest number that was ever given: the log may have been pruned, emptied or restored.
        select coalesce(greatest(
            (select max(b.sequence) from public.broadcast_log b),
            (select max(o.sequence) from public.orchestration_decisions o),
            (select e.newest from public.event_numbers e)), 0)
        into head;
        everybodys_head := public.everybodys_events();
        insert into public.event_numbers as e (newest) values (head + cardinality(publishable))
        on conflict (only_row) do update set newest = excluded.newest;
        -- And so for each tenant, under the same lock.
        with heads as materialized (
            select of_tenant.tenant, of_tenant.amount, public.newest_of_tenant(of_tenant.tenant, everybodys_head) as head
            from (
                select n.tenant, count(*) as amount
                from public.workload_notifications n
                where n.notification_id = any (publishable)
                group by n.tenant) as of_tenant
        ),
        counted as (
            insert into public.tenant_numbers (tenant, newest, everybodys)
            select h.tenant, h.head + h.amount, everybodys_head from heads h order by h.tenant
            on conflict (tenant) do update set newest = excluded.newest, everybodys = excluded.everybodys
        )
        select jsonb_object_agg(h.tenant, h.head) into tenant_heads from heads h;

        -- The documents are in no row that is read twice: they are most of the bytes.
        with told as materialized (
            select d.*
            from jsonb_to_recordset(p_decisions) as d (
                notification_id bigint, workload_status text, status_reason text, summary jsonb)
            where d.notification_id = any (publishable)
        ),
        audited as (
            insert into public.orchestration_decisions (
                notification_id, sequence, tenant, tenant_sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer,
                model, scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, context,
                output, token_usage, grid_digest)
            select
                d.notification_id, d.sequence, d.tenant, d.tenant_sequence, d.job_id, a.agent_id, d.chosen_dc_id,
                d.recommended_start, d.scorer, d.model, d.scorer_version, d.fallback_reason, d.reasoning, coalesce(d.constraints_evaluated, '[]'),
                coalesce(d.alternatives_considered, '[]'), own_moment || d.context,
                public.numbered_output(d.output, d.sequence), d.token_usage, shared_digest
            from (
                select
                    head + row_number() over (order by d.notification_id) as sequence,
                    (tenant_heads ->> n.tenant)::bigint
                        + row_number() over (partition by n.tenant order by d.notification_id) as tenant_sequence,
                    n.tenant,
                    n.job_id,
                    d.*
                from jsonb_to_recordset(p_decisions) as d (
                    notification_id bigint, context jsonb, output jsonb, chosen_dc_id text, recommended_start timestamptz,
                    scorer text, model text, scorer_version text, fallback_reason text, reasoning text,
                    constraints_evaluated jsonb, alternatives_considered jsonb, token_usage jsonb)
                join public.workload_notifications n on n.notification_id = d.notification_id
                where d.notification_id = any (publishable)) as d
            left join public.agents a on a.agent_id = p_agent_id
            returning
                decision_id, notification_id, sequence, tenant, tenant_sequence, job_id, chosen_dc_id, recommended_start, scorer
        ),
        logged as (
            -- The output is stored once, in the audit log; events_after joins the two.
            insert into public.broadcast_log (
                sequence, tenant, tenant_sequence, event_type, job_id, notification_id, event, summary, everybodys)
            select
                a.sequence, a.tenant, a.tenant_sequence, 'decision', a.job_id, a.notification_id,
                json_build_object('decision_id', a.decision_id),
                -- Almost always short enough as it is, which takes a tenth of the time that cutting does.
                case
                    when d.status_reason is null and octet_length(summary.document::text) <= 480
                        and greatest(length(a.job_id), length(a.chosen_dc_id)) <= 120
                        then summary.document
                    else public.event_summary(summary.document) end,
                everybodys_head
            from audited a
            join told d on d.notification_id = a.notification_id
            cross join lateral (
                select jsonb_strip_nulls(jsonb_build_object(
                    'job_id', a.job_id, 'decision_id', a.decision_id, 'status', d.workload_status, 'dc_id', a.chosen_dc_id,
                    'starts_at', a.recommended_start, 'scorer', a.scorer, 'reason', d.status_reason)
                    || coalesce(d.summary, '{}')) as document) as summary
        )
        update public.compute_workloads w
        set status = d.workload_status,
            status_reason = d.status_reason,
            host_dc_id = case when d.workload_status = 'QUEUED' then a.chosen_dc_id else w.host_dc_id end,
            scheduled_start = case when d.workload_status = 'QUEUED' then a.recommended_start end
        from audited a
        join told d on d.notification_id = a.notification_id
        where (w.tenant, w.job_id) = (a.tenant, a.job_id);

        perform pg_notify('broadcast', (head + cardinality(publishable))::text);
    end if;

    perform public.queue_notifications_complete(
        array_agg(n.notification_id), array_agg(n.lease_token),
        array_agg(case
            when n.notification_id = any (withdrawn) then 'withdrawn: the workload is ' || w.status
            when n.notification_id = any (unchanged) then 'unchanged: the newest decision still stands' end))
    from public.workload_notifications n
    join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
    where n.notification_id = any (offered_ids);

    select coalesce(json_agg(json_build_object(
        'notification_id', d.notification_id,
        'job_id', n.job_id,
        'state', case
            when d.notification_id = any (publishable) then 'published'
            when d.notification_id = any (outdated) then 'outdated'
            when d.notification_id = any (displaced_unaware) then 'fenced'
            when d.notification_id = any (displaced) then 'displaced'
            when n.lease_token = d.lease_token and n.work_state = 'completed' and o.sequence is not null then 'already'
            when n.lease_token = d.lease_token and n.work_state = 'completed' and n.last_error like 'unchanged:%' then 'unchanged'
            when n.lease_token = d.lease_token and n.work_state = 'completed' then 'withdrawn'
            else 'fenced' end,
        'sequence', case when n.lease_token = d.lease_token then o.sequence end) order by d.notification_id), '[]')
    into results
    from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
    left join public.workload_notifications n on n.notification_id = d.notification_id
    left join public.orchestration_decisions o on o.notification_id = d.notification_id;
    -- Told to whoever has stored it: one that published nothing has not.
    return json_build_object(
        'results', results, 'grid_digest', case when cardinality(publishable) > 0 then shared_digest end);
end
$$;

-- Events by cursor, oldest first, of some topics (without p_topics: decisions, as ever), of one workload where p_job_id is
-- given: {"events": [{sequence, event_type, topic, subject, job_id, created_at, event (whole; {} where p_detail is
-- 'summary'), summary, operator (the tenant), tenant_sequence (its number there), is_everybodys, everybodys (how many of
-- everybody's there had been)}…], "next" (the cursor to go on from), "oldest" (that the log holds), "newest" (that there
-- has ever been)}. Reading takes nothing from anyone else. Where the log no longer holds what follows p_after, "next" is
-- beyond it.
create or replace function public.events_after(
    p_after bigint, p_limit integer, p_topics jsonb default null, p_job_id text default null, p_detail text default 'full')
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select
            b.sequence, b.event_type, b.topic, coalesce(b.subject, b.job_id) as subject, b.job_id, b.created_at,
            case when p_detail = 'full' then coalesce(d.output, b.event::json) else '{}' end as event,
            coalesce(b.summary, public.event_summary(jsonb_build_object('job_id', b.job_id) || b.event)) as summary,
            b.tenant as operator, b.tenant_sequence, b.is_everybodys, b.everybodys
        from (
            select *
            from public.broadcast_log
            where sequence > p_after and topic = any (public.chosen_topics(p_topics))
                and (p_job_id is null or job_id = p_job_id)
            order by sequence
            limit p_limit) as b
        left join public.orchestration_decisions d on p_detail = 'full' and d.notification_id = b.notification_id
    ),
    ever as (
        select greatest(
            (select max(b.sequence) from public.broadcast_log b),
            (select max(o.sequence) from public.orchestration_decisions o),
            (select e.newest from public.event_numbers e)) as newest
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.sequence) from page), '[]'),
        'next', coalesce(
            (select max(page.sequence) from page),
            case when p_limit > 0 then greatest(p_after, ever.newest) end,
            p_after),
        'oldest', (select min(b.sequence) from public.broadcast_log b),
        'newest', ever.newest)
    from ever
$$;

-- Outputs by cursor, newest first: {"outputs": […], "next"}; "next" is null at the end.
create or replace function public.outputs_history(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select d.sequence, d.output
        from public.orchestration_decisions d
        where d.sequence < coalesce(p_after, 9223372036854775807)
        order by d.sequence desc
        limit p_limit
    ),
    ending as (
        select min(page.sequence) as sequence from page
    )
    select json_build_object(
        'outputs', coalesce((select json_agg(page.output order by page.sequence desc) from page), '[]'),
        'next', (
            select ending.sequence from ending
            where exists (select from public.orchestration_decisions d where d.sequence < ending.sequence)))
$$;

-- A task's newest output: {"sequence", "output"}, both null where there is none. The output alone is null where its
-- number is p_known: whoever asks again and again need not be sent again what it has.
create or replace function public.task_output(
    p_task_id text, p_known bigint default null, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, case when d.sequence is distinct from p_known then d.output end as output
        from public.orchestration_decisions d
        where d.job_id = p_task_id and (p_operator is null or d.tenant = p_operator)
        order by d.decided_at desc, d.sequence desc
        limit 1) as newest on true
$$;

-- The newest output that a consumer has not acknowledged: {"sequence", "output"}, both null where there is none. The
-- output alone is null where its number is p_known, as above.
create or replace function public.newest_unacknowledged_output(p_consumer text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        -- What is not acknowledged is a few ranges of numbers, however many outputs there are.
        from unnest(int8multirange(int8range(1, null)) - coalesce(
            (select c.acknowledged from public.output_consumers c where (c.tenant, c.consumer) = ('local', p_consumer)),
            '{}')) as missing
        cross join lateral (
            select
                candidate.sequence,
                case when candidate.sequence is distinct from p_known then candidate.output end as output
            from public.orchestration_decisions candidate
            where candidate.sequence >= lower(missing)
                and candidate.sequence < coalesce(upper(missing), 9223372036854775807)
            order by candidate.sequence desc
            limit 1) as d
        order by d.sequence desc
        limit 1) as newest on true
$$;

-- Acknowledges a task's outputs, up to p_sequence where it is given, so that one published meanwhile is not lost.
-- Answers {"known": whether the task has such an output, "cleared": whether one was unacknowledged until now}.
create or replace function public.acknowledge_output(
    p_consumer text, p_task_id text, p_sequence bigint default null, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    sequences int8multirange;
    changed text;
begin
    select range_agg(int8range(d.sequence, d.sequence, '[]')) into sequences
    from public.orchestration_decisions d
    where d.job_id = p_task_id and d.sequence <= coalesce(p_sequence, 9223372036854775807)
        and (p_operator is null or d.tenant = p_operator);
    if sequences is null then
        return json_build_object('known', false, 'cleared', false);
    end if;
    insert into public.output_consumers as c (tenant, consumer, acknowledged)
    values ('local', p_consumer, sequences)
    on conflict (tenant, consumer) do update set acknowledged = c.acknowledged + excluded.acknowledged
    where not c.acknowledged @> excluded.acknowledged
    returning c.consumer into changed;
    if changed is not null then
        perform pg_notify('acknowledged', p_consumer);
    end if;
    return json_build_object('known', true, 'cleared', changed is not null);
end
$$;

-- The context a model is thinking about, else the one of the newest decision; of one task where p_task_id is given.
-- {"state": "in_work" | "decided" | "none", "task_id", "context", "processed_by": [consumer…]}
create or replace function public.current_context(p_task_id text default null, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    with thinking as materialized (
        select 'in_work' as state, n.tenant, n.job_id, n.context
        from public.workload_notifications n
        where n.work_state = 'running' and n.context is not null and n.leased_until >= clock_timestamp()
            and (p_task_id is null or n.job_id = p_task_id) and (p_operator is null or n.tenant = p_operator)
        order by n.notification_id desc
        limit 1
    ),
    newest as (
        -- The two arms keep each search on its own index.
        (
            select 'decided' as state, d.tenant, d.job_id, d.context
            from public.audited_decisions d
            where p_task_id is null and d.sequence is not null and (p_operator is null or d.tenant = p_operator)
            order by d.sequence desc
            limit 1)
        union all
        (
            select 'decided', d.tenant, d.job_id, d.context
            from public.audited_decisions d
            where d.job_id = p_task_id and (p_operator is null or d.tenant = p_operator)
            order by d.decided_at desc, d.sequence desc
            limit 1)
    ),
    chosen as (
        select * from thinking
        union all
        select * from newest where not exists (select from thinking)
    )
    select json_build_object(
        'state', coalesce(chosen.state, 'none'),
        'task_id', chosen.job_id,
        'operator', chosen.tenant,
        'context', chosen.context,
        'processed_by', coalesce((
            select json_agg(p.consumer order by p.consumer)
            from public.processed_contexts p
            where (p.tenant, p.job_id) = (chosen.tenant, chosen.job_id)), '[]'))
    from (select 1) as always
    left join chosen on true
$$;

-- Notes that a consumer is done with the context of a task, or with the current one. Answers {"task_id"}, null where
-- there is no such context.
create or replace function public.mark_context_processed(
    p_consumer text, p_task_id text default null, p_operator text default null)
returns json
language sql
set search_path = ''
as $$
    with marked as (
        insert into public.processed_contexts (tenant, consumer, job_id)
        select current.document ->> 'operator', p_consumer, current.document ->> 'task_id'
        from (select public.current_context(p_task_id, p_operator) as document) as current
        where current.document ->> 'task_id' is not null
        on conflict (tenant, consumer, job_id) do update set processed_at = clock_timestamp()
        returning job_id
    )
    select json_build_object('task_id', (select job_id from marked))
$$;


