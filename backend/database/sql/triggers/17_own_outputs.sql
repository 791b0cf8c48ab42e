-- Tenants: their own events and outputs ------------------------------------------------------------------------------------
--
-- As the public functions of these names, in the tenant's own numbers: 1, 2, 3 …, whatever happens at others. What is read is
-- what the policies show.

-- How many of everybody's events there have been, for tenants, who do not see how many there were of all.
create or replace function tenancy.everybodys_events()
returns bigint
language sql
stable
security definer
set search_path = ''
as $$
    select public.everybodys_events()
$$;

-- The number that one of everybody's events has in the tenant's count: with what it was written down by next, or by last.
create or replace function tenancy.own_number(p_sequence bigint, p_everybodys bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select own.tenant_sequence - 1 - (own.everybodys - p_everybodys)
            from public.broadcast_log own
            where own.tenant = (select tenancy.operator_id()) and own.sequence > p_sequence
            order by own.sequence
            limit 1),
        (select t.newest - t.everybodys + p_everybodys from public.tenant_numbers t),
        p_everybodys)
$$;

-- Everybody's events are told from the tenant's own by their number: between two of its own there are everybody's alone, so
-- the first that follows p_after is counted back from the own event that follows it, or on from the last.
create or replace function tenant.events_after(
    p_after bigint, p_limit integer, p_topics jsonb default null, p_job_id text default null, p_detail text default 'full')
returns json
language sql
stable
set search_path = ''
as $$
    with numbers as materialized (
        select coalesce(max(t.newest), 0) as newest, coalesce(max(t.everybodys), 0) as everybodys from public.tenant_numbers t
    ),
    ever as materialized (
        select
            numbers.newest + tenancy.everybodys_events() - numbers.everybodys as newest,
            tenancy.everybodys_events() as everybodys
        from numbers
    ),
    own as materialized (
        select b.tenant_sequence as number, b.*
        from public.broadcast_log b
        where b.tenant = (select tenancy.operator_id()) and b.tenant_sequence > p_after
            and b.topic = any (public.chosen_topics(p_topics)) and (p_job_id is null or b.job_id = p_job_id)
        order by b.tenant_sequence
        limit p_limit
    ),
    known as materialized (
        -- Up to so many of everybody's were before what follows p_after.
        select coalesce(
            (
                select b.everybodys - (b.tenant_sequence - 1 - p_after)
                from public.broadcast_log b
                where b.tenant = (select tenancy.operator_id()) and b.tenant_sequence > p_after
                order by b.tenant_sequence
                limit 1),
            numbers.everybodys + p_after - numbers.newest) as everybodys
        from numbers
    ),
    everybodys as materialized (
        select numbered.number, b.*
        from public.broadcast_log b
        cross join lateral (select tenancy.own_number(b.sequence, b.everybodys) as number offset 0) as numbered
        where b.is_everybodys and b.everybodys > (select known.everybodys from known)
            and b.topic = any (public.chosen_topics(p_topics)) and p_job_id is null and numbered.number > p_after
        order by b.everybodys
        limit p_limit
    ),
    page as materialized (
        select
            b.number as sequence, b.event_type, b.topic, coalesce(b.subject, b.job_id) as subject, b.job_id, b.created_at,
            case when p_detail = 'full'
                then coalesce(tenancy.seen_output(d.output, b.tenant_sequence), b.event::json) else '{}' end as event,
            coalesce(b.summary, public.event_summary(jsonb_build_object('job_id', b.job_id) || b.event)) as summary,
            b.is_everybodys
        from (
            select * from (select * from own union all select * from everybodys) as found
            order by found.number
            limit p_limit) as b
        left join public.orchestration_decisions d
            on p_detail = 'full' and b.event_type = 'decision'
                and (d.tenant, d.tenant_sequence) = (b.tenant, b.tenant_sequence)
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.sequence) from page), '[]'),
        'next', coalesce(
            (select max(page.sequence) from page),
            case when p_limit > 0 then greatest(p_after, ever.newest) end,
            p_after),
        'oldest', least(
            (
                select min(b.tenant_sequence) from public.broadcast_log b
                where b.tenant = (select tenancy.operator_id())),
            (
                select tenancy.own_number(b.sequence, b.everybodys) from public.broadcast_log b
                where b.is_everybodys order by b.everybodys limit 1)),
        'newest', nullif(ever.newest, 0),
        'everybodys', ever.everybodys)
    from ever
$$;

create or replace function tenant.outputs_history(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select d.tenant_sequence as sequence, tenancy.seen_output(d.output, d.tenant_sequence) as output
        from public.orchestration_decisions d
        where d.tenant_sequence < coalesce(p_after, 9223372036854775807)
        order by d.tenant_sequence desc
        limit p_limit
    ),
    ending as (
        select min(page.sequence) as sequence from page
    )
    select json_build_object(
        'outputs', coalesce((select json_agg(page.output order by page.sequence desc) from page), '[]'),
        'next', (
            select ending.sequence from ending
            where exists (select from public.orchestration_decisions d where d.tenant_sequence < ending.sequence)))
$$;

create or replace function tenant.task_output(p_task_id text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select
            d.tenant_sequence as sequence,
            case when d.tenant_sequence is distinct from p_known then tenancy.seen_output(d.output, d.tenant_sequence) end
                as output
        from public.orchestration_decisions d
        where d.job_id = p_task_id
        order by d.decided_at desc, d.tenant_sequence desc
        limit 1) as newest on true
$$;

create or replace function tenant.newest_unacknowledged_output(p_consumer text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        from unnest(int8multirange(int8range(1, null)) - coalesce(
            (select c.tenant_acknowledged from public.output_consumers c where c.consumer = p_consumer), '{}')) as missing
        cross join lateral (
            select
                candidate.tenant_sequence as sequence,
                case when candidate.tenant_sequence is distinct from p_known
                    then tenancy.seen_output(candidate.output, candidate.tenant_sequence) end as output
            from public.orchestration_decisions candidate
            where candidate.tenant_sequence >= lower(missing)
                and candidate.tenant_sequence < coalesce(upper(missing), 9223372036854775807)
            order by candidate.tenant_sequence desc
            limit 1) as d
        order by d.sequence desc
        limit 1) as newest on true
$$;

create or replace function tenant.acknowledge_output(p_consumer text, p_task_id text, p_sequence bigint default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    own constant text := tenancy.must_write();
    sequences int8multirange;
    changed text;
begin
    select range_agg(int8range(d.tenant_sequence, d.tenant_sequence, '[]')) into sequences
    from public.orchestration_decisions d
    where d.job_id = p_task_id and d.tenant_sequence <= coalesce(p_sequence, 9223372036854775807);
    if sequences is null then
        return json_build_object('known', false, 'cleared', false);
    end if;
    insert into public.output_consumers as c (tenant, consumer, tenant_acknowledged)
    values (own, p_consumer, sequences)
    on conflict (tenant, consumer) do update set tenant_acknowledged = c.tenant_acknowledged + excluded.tenant_acknowledged
    where not c.tenant_acknowledged @> excluded.tenant_acknowledged
    returning c.consumer into changed;
    if changed is not null then
        perform pg_notify('acknowledged', p_consumer);
    end if;
    return json_build_object('known', true, 'cleared', changed is not null);
end
$$;

create or replace function tenant.current_context(p_task_id text default null)
returns json
language sql
stable
set search_path = ''
as $$
    with thinking as materialized (
        select 'in_work' as state, n.job_id, n.context
        from public.workload_notifications n
        where n.work_state = 'running' and n.context is not null and n.leased_until >= clock_timestamp()
            and (p_task_id is null or n.job_id = p_task_id)
        order by n.notification_id desc
        limit 1
    ),
    newest as (
        (
            select 'decided' as state, d.job_id, d.context
            from public.audited_decisions d
            where p_task_id is null and d.tenant_sequence is not null
            order by d.tenant_sequence desc
            limit 1)
        union all
        (
            select 'decided', d.job_id, d.context
            from public.audited_decisions d
            where d.job_id = p_task_id
            order by d.decided_at desc, d.tenant_sequence desc
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
        'context', chosen.context,
        'processed_by', coalesce((
            select json_agg(p.consumer order by p.consumer)
            from public.processed_contexts p where p.job_id = chosen.job_id), '[]'))
    from (select 1) as always
    left join chosen on true
$$;

create or replace function tenant.mark_context_processed(p_consumer text, p_task_id text default null)
returns json
language sql
set search_path = ''
as $$
    with marked as (
        insert into public.processed_contexts (tenant, consumer, job_id)
        select tenancy.must_write(), p_consumer, current.document ->> 'task_id'
        from (select tenant.current_context(p_task_id) as document) as current
        where current.document ->> 'task_id' is not null
        on conflict (tenant, consumer, job_id) do update set processed_at = clock_timestamp()
        returning job_id
    )
    select json_build_object('task_id', (select job_id from marked))
$$;

-- What waits or runs at an operator's data centres, or at all without one, whoever's it is, by the names of the jobs from behind
-- p_after: the host sees what is placed with it while it is, as far as it must to serve and to bill it, and no more of its
-- owner than the name. Jobs of one name, which several owners may have, stand on one page.
create or replace function public.hosted_workloads(
    p_after text default null, p_limit integer default 100, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(hosted order by hosted.job_id, hosted.operator), '[]')
    from (
        select
            w.job_id, w.tenant as operator, w.host_dc_id, w.required_gpu_mins, w.required_cpu_cores, w.required_memory_gb,
            w.estimated_energy_kwh, w.status, w.scheduled_start, w.actual_start
        from public.data_centres d
        join public.compute_workloads w on w.host_dc_id = d.dc_id
        where (p_operator is null or d.tenant = p_operator) and w.status in ('QUEUED', 'RUNNING')
            and (p_after is null or w.job_id > p_after)
        order by w.job_id
        fetch first (p_limit) rows with ties) as hosted
$$;

create or replace function tenant.own_hosted_workloads(p_after text default null, p_limit integer default 100)
returns json language sql stable security definer set search_path = ''
as $$ select public.hosted_workloads(p_after, p_limit, tenancy.operator_id()) $$;

-- What of the caller's own work was given up: notifications, and messages without bodies that platforms which speak for it
-- sent or were to get. What went wrong is told of its own platforms' queues alone: of others' it is their business.
create or replace function tenant.own_dead_letters(p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with own as materialized (
        select distinct s.subscriber_id as name
        from public.beckn_subscribers s
        where s.operator = (select tenancy.operator_id())
    )
    select json_build_object(
        'notifications', coalesce((
            select json_agg(dead order by dead.created_at desc)
            from (
                select n.job_id, n.reason, n.attempt as attempts, n.last_error, n.created_at
                from public.workload_notifications n
                where n.tenant = (select tenancy.operator_id()) and n.work_state = 'discarded'
                order by n.created_at desc
                limit p_limit) as dead), '[]'),
        'inbox', coalesce((
            select json_agg(dead order by dead.received_at desc)
            from (
                select i.recipient, i.sender, i.action, i.transaction_id, i.message_id, i.attempt as attempts,
                    case when i.recipient in (select name from own) then i.last_error end as last_error,
                    i.received_at
                from public.beckn_inbox i
                where i.work_state = 'discarded' and (i.recipient in (select name from own) or i.sender in (select name from own))
                order by i.received_at desc
                limit p_limit) as dead), '[]'),
        'outbox', coalesce((
            select json_agg(dead order by dead.created_at desc)
            from (
                select o.sender, o.recipient, o.action, o.transaction_id, o.message_id, o.attempt as attempts,
                    case when o.sender in (select name from own) then o.last_error end as last_error,
                    o.created_at
                from public.beckn_outbox o
                where o.work_state = 'discarded' and (o.sender in (select name from own) or o.recipient in (select name from own))
                order by o.created_at desc
                limit p_limit) as dead), '[]'))
$$;
