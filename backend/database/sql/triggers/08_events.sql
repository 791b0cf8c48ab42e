-- The log of events --------------------------------------------------------------------------------------------------------
--
-- Every event has the next number of all. One of a tenant's has the next of its tenant as well. One of nobody's that is
-- everybody's (grid, sources, data centres) takes a number in every tenant's count without writing it down anywhere: such
-- events are counted, each row knows how many there had been, and a tenant's number of one is what its own events before
-- and everybody's up to there come to.

-- How many of everybody's events there have been.
create or replace function public.everybodys_events()
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(max(e.everybodys), 0) from public.event_numbers e
$$;

-- The newest number in a tenant's count, for whoever has the publishing lock. Counted on from the greatest that was ever
-- given: the log may have been pruned, emptied or restored. Who has had no event of its own has had everybody's.
create or replace function public.newest_of_tenant(p_tenant text, p_everybodys bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(greatest(
        (select max(b.tenant_sequence) from public.broadcast_log b where b.tenant = p_tenant),
        (select max(o.tenant_sequence) from public.orchestration_decisions o where o.tenant = p_tenant),
        (select t.newest + p_everybodys - t.everybodys from public.tenant_numbers t where t.tenant = p_tenant)), p_everybodys)
$$;

-- The topics that are asked for, a JSON list: decisions alone where nothing is.
create or replace function public.chosen_topics(p_topics jsonb)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select case
        when p_topics is null then '{decisions}'::text[]
        else array(select jsonb_array_elements_text(p_topics)) end
$$;

-- What fits into some four hundred bytes of an event: its plain members, the telling ones first, long texts cut.
create or replace function public.event_summary(p_event jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    with members as (
        select
            member.key,
            case jsonb_typeof(member.value)
                when 'string' then to_jsonb(left(member.value #>> '{}', 120)) else member.value end as value,
            coalesce(array_position(
                array[
                    'job_id', 'order_id', 'negotiation_id', 'slot', 'source', 'dc_id', 'status', 'state', 'starts_at', 'ends_at',
                    'reason', 'status_reason'],
                member.key), 99) as place
        from jsonb_each(p_event) as member
        where jsonb_typeof(member.value) not in ('object', 'array', 'null')
    ),
    counted as (
        select m.key, m.value, sum(octet_length(m.key) + octet_length(m.value::text) + 6) over (order by m.place, m.key) as bytes
        from members m
    )
    select coalesce(jsonb_object_agg(c.key, c.value), '{}') from counted c where c.bytes <= 480
$$;

-- Writes an event beside the decisions, with the next number of all and the next of its tenant. Without a tenant, one of the
-- grid, of sources or of data centres is everybody's. It takes the publishing lock, which is held until the transaction ends: call it last. p_subject: what it is
-- about, where that is no workload. p_summary: a few hundred bytes of it; made of the event's own members without one.
-- Answers the event's number.
create or replace function public.log_event(
    p_tenant text, p_event_type text, p_job_id text, p_event jsonb, p_subject text default null,
    p_summary jsonb default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    number bigint;
    number_of_tenant bigint;
    is_everybodys constant boolean := p_tenant is null and p_event_type ~ '^(grid|source|data_centre)\.';
    everybodys bigint;
begin
    -- One publisher at a time from here to its commit, so that numbers have no gap (see publish_decisions, which counts alike).
    perform pg_advisory_xact_lock(7263812);
    number := 1 + coalesce(greatest(
        (select max(b.sequence) from public.broadcast_log b),
        (select max(o.sequence) from public.orchestration_decisions o),
        (select e.newest from public.event_numbers e)), 0);
    everybodys := public.everybodys_events() + is_everybodys::integer;
    insert into public.event_numbers as e (newest, everybodys) values (number, everybodys)
    on conflict (only_row) do update set newest = excluded.newest, everybodys = excluded.everybodys;
    if p_tenant is not null then
        number_of_tenant := 1 + public.newest_of_tenant(p_tenant, everybodys);
        insert into public.tenant_numbers (tenant, newest, everybodys) values (p_tenant, number_of_tenant, everybodys)
        on conflict (tenant) do update set newest = excluded.newest, everybodys = excluded.everybodys;
    end if;
    insert into public.broadcast_log (
        sequence, tenant, tenant_sequence, event_type, job_id, subject, event, summary, is_everybodys, everybodys)
    values (
        number, p_tenant, number_of_tenant, p_event_type, p_job_id, coalesce(p_subject, p_job_id), p_event,
        coalesce(p_summary, public.event_summary(p_event)), is_everybodys, everybodys);
    perform pg_notify('broadcast', number::text);
    return number;
end
$$;


