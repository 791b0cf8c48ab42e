-- Tenants: limits, and what was done and refused -----------------------------------------------------------------------------

-- What an operator may do where nothing else is said. per_seconds: the time in which so many come back, one after the
-- other; null for how many there may be at a time.
create or replace function tenancy.usual_limits()
returns table (name text, capacity integer, per_seconds integer)
language sql
immutable
set search_path = ''
as $$
    values
        ('requests_per_minute', 600, 60),
        ('workloads_per_hour', 3600, 3600),
        ('open_jobs', 10000, null),
        ('streams', 100, null),
        ('keys', 50, null)
$$;

create or replace function tenancy.capacity(p_operator text, p_limit text)
returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (select l.capacity from tenancy.limits l where (l.operator_id, l.name) = (p_operator, p_limit)),
        (select u.capacity from tenancy.usual_limits() as u where u.name = p_limit))
$$;

-- The same of the caller's own operator.
create or replace function tenancy.own_capacity(p_limit text)
returns integer
language sql
stable
security definer
set search_path = ''
as $$
    select tenancy.capacity(tenancy.operator_id(), p_limit)
$$;

create or replace function public.tenancy_limits(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_agg(json_build_object(
        'name', u.name, 'capacity', coalesce(l.capacity, u.capacity), 'per_seconds', u.per_seconds,
        'is_default', l.name is null) order by u.name)
    from tenancy.usual_limits() as u
    left join tenancy.limits l on (l.operator_id, l.name) = (p_operator, u.name)
$$;

-- Null takes the limit back to the usual one. Answers {"state": "set" | "unknown_limit" | "unknown_operator"}.
create or replace function public.tenancy_set_limit(
    p_operator text, p_name text, p_capacity integer, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (select from tenancy.usual_limits() as u where u.name = p_name) then
        return json_build_object('state', 'unknown_limit');
    end if;
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    if p_capacity is null then
        delete from tenancy.limits l where (l.operator_id, l.name) = (p_operator, p_name);
    else
        insert into tenancy.limits (operator_id, name, capacity)
        values (p_operator, p_name, p_capacity)
        on conflict (operator_id, name) do update set capacity = excluded.capacity;
    end if;
    perform tenancy.note(p_operator, p_by, 'limit.set', p_name, jsonb_build_object('capacity', p_capacity));
    perform tenancy.access_changed();
    return json_build_object('state', 'set');
end
$$;

-- Takes p_amount out of an operator's bucket, all or nothing; it fills at an even pace. Answers {"allowed", "remaining",
-- "limit", "retry_after_s": in how many seconds there is enough, null where there never is}.
create or replace function public.tenancy_take(p_operator text, p_limit text, p_amount integer default 1)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    moment constant timestamptz := clock_timestamp();
    most constant integer := tenancy.capacity(p_operator, p_limit);
    pace constant double precision := (
        select most::double precision / u.per_seconds from tenancy.usual_limits() as u where u.name = p_limit);
    left_over double precision;
    allowed boolean;
begin
    if pace is null then
        raise exception 'there is no limit % with a pace', p_limit using errcode = 'invalid_parameter_value';
    end if;
    -- One statement takes the row's lock and what has come back since. Whoever waited for the lock asks with a moment that
    -- is past; a clock that was set back begins anew.
    loop
        update tenancy.buckets b
        set tokens = refilled.tokens - case when refilled.tokens >= p_amount then p_amount else 0 end,
            taken = refilled.tokens >= p_amount,
            filled_at = case when b.filled_at > moment + interval '1 minute' then moment else greatest(b.filled_at, moment) end
        from tenancy.buckets same
        cross join lateral (
            select least(most, same.tokens + greatest(0, extract(epoch from moment - same.filled_at)) * pace) as tokens
        ) as refilled
        where (b.operator_id, b.name) = (p_operator, p_limit) and (same.operator_id, same.name) = (b.operator_id, b.name)
        returning b.tokens, b.taken into left_over, allowed;
        exit when found;
        insert into tenancy.buckets (operator_id, name, tokens, taken, filled_at)
        values (p_operator, p_limit, most, true, moment)
        on conflict (operator_id, name) do nothing;
    end loop;
    return json_build_object(
        'allowed', allowed,
        'remaining', floor(left_over),
        'limit', most,
        'retry_after_s', case when not allowed and p_amount <= most and pace > 0 then (p_amount - left_over) / pace end);
end
$$;

-- Takes, or keeps for longer, one of the places that an operator has at a time. Answers {"allowed", "held", "limit",
-- "retry_after_s": when the first place falls free if its holder does not come back}.
create or replace function public.tenancy_hold(
    p_operator text, p_limit text, p_holder text, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    moment constant timestamptz := clock_timestamp();
    most constant integer := tenancy.capacity(p_operator, p_limit);
    held integer;
    first_free timestamptz;
begin
    if most is null then
        raise exception 'there is no limit %', p_limit using errcode = 'invalid_parameter_value';
    end if;
    update tenancy.holds h
    set held_until = moment + make_interval(secs => p_seconds)
    where (h.operator_id, h.name, h.holder) = (p_operator, p_limit, p_holder) and h.held_until > moment;
    if found then
        return json_build_object('allowed', true, 'held', null, 'limit', most, 'retry_after_s', null);
    end if;
    -- New places are given one after the other, so that they can be counted.
    perform pg_advisory_xact_lock(hashtextextended('tenancy.holds ' || p_limit || ' ' || p_operator, 0));
    delete from tenancy.holds h
    where (h.operator_id, h.name) = (p_operator, p_limit) and h.held_until <= moment;
    select count(*), min(h.held_until) into held, first_free
    from tenancy.holds h
    where (h.operator_id, h.name) = (p_operator, p_limit);
    if held >= most then
        return json_build_object(
            'allowed', false, 'held', held, 'limit', most,
            'retry_after_s', extract(epoch from first_free - moment));
    end if;
    insert into tenancy.holds (operator_id, name, holder, held_until)
    values (p_operator, p_limit, p_holder, moment + make_interval(secs => p_seconds))
    on conflict (operator_id, name, holder) do update set held_until = excluded.held_until;
    return json_build_object('allowed', true, 'held', held + 1, 'limit', most, 'retry_after_s', null);
end
$$;

create or replace function public.tenancy_let_go(p_operator text, p_limit text, p_holder text)
returns json
language sql
security definer
set search_path = ''
as $$
    with gone as (
        delete from tenancy.holds h
        where (h.operator_id, h.name, h.holder) = (p_operator, p_limit, p_holder)
        returning h.holder
    )
    select json_build_object('let_go', exists (select from gone))
$$;


-- The audit log of access -----------------------------------------------------------------------------------------------

create or replace trigger refuse_row_change
    before update or delete on tenancy.audit_events
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on tenancy.audit_events
    for each statement execute function public.refuse_audit_change();
alter table tenancy.audit_events enable always trigger refuse_row_change;
alter table tenancy.audit_events enable always trigger refuse_truncate;

-- A stranger's words, cut to length and on one line.
create or replace function tenancy.one_line(p_words text)
returns text
language sql
immutable
set search_path = ''
as $$
    select left(regexp_replace(p_words, '[[:cntrl:]]', ' ', 'g'), 100)
$$;

-- p_events: [{at, operator_id, principal, credential_id, action, object, outcome, request_id, detail}…]; all but action and
-- outcome may be left out. Answers {"written": n}.
create or replace function public.tenancy_audit(p_events jsonb)
returns json
language sql
security definer
set search_path = ''
as $$
    with written as (
        insert into tenancy.audit_events (
            at, operator_id, principal, credential_id, action, object, outcome, request_id, detail)
        select
            coalesce(e.at, clock_timestamp()),
            (select o.operator_id from public.operators o where o.operator_id = e.operator_id),
            tenancy.one_line(e.principal), tenancy.one_line(e.credential_id), tenancy.one_line(e.action),
            tenancy.one_line(e.object), e.outcome, tenancy.one_line(e.request_id), coalesce(e.detail, '{}')
        from jsonb_to_recordset(p_events) as e (
            at timestamptz, operator_id text, principal text, credential_id text, action text, object text, outcome text,
            request_id text, detail jsonb)
        returning event_id
    )
    select json_build_object('written', (select count(*) from written))
$$;

-- Newest first, of one operator or (null) of all, before the event p_before. {"events": […], "next"}.
create or replace function public.tenancy_audit_events(
    p_operator text default null, p_before bigint default null, p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with page as materialized (
        select e.*
        from tenancy.audit_events e
        where (p_operator is null or e.operator_id = p_operator)
            and e.event_id < coalesce(p_before, 9223372036854775807)
        order by e.event_id desc
        limit p_limit
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.event_id desc) from page), '[]'),
        'next', case when (select count(*) from page) = p_limit then (select min(page.event_id) from page) end)
$$;
