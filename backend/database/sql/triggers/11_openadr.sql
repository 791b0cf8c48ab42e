
-- OpenADR 3.1 --------------------------------------------------------------------------------------------------------------
--
-- p_client is the VEN's service account that asks; null: business logic, which sees and changes all of its operator's. p_operator
-- is whose everything is; null: the platform's.

create or replace function public.openadr_object_row(o public.openadr_objects)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'object_id', o.object_id, 'object_type', o.object_type, 'created_at', o.created_at, 'modified_at', o.modified_at,
        'content', o.content)
$$;

-- The targets of a client's VEN and of its resources.
create or replace function public.openadr_targets_of(p_client text)
returns text[]
language sql
stable
set search_path = ''
as $$
    select coalesce(array_agg(distinct one.target), '{}')
    from public.openadr_objects o
    cross join lateral unnest(o.targets) as one (target)
    where o.client = p_client and o.object_type in ('VEN', 'RESOURCE')
$$;

-- Whether a VEN with p_targets may see something: its own; and programs and events that are for all, or have a target of its.
create or replace function public.openadr_is_seen(o public.openadr_objects, p_client text, p_targets text[])
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_client is null
        or o.client = p_client
        or (
            o.object_type in ('PROGRAM', 'EVENT')
            and (o.targets = '{}' or o.targets && p_targets)
            and not exists (
                select
                from public.openadr_objects program
                where program.object_id = o.program_id and program.targets <> '{}' and not program.targets && p_targets))
$$;

-- A page of what the caller sees of one kind, newest first: [row…]. p_filter: {program_id, event_id, ven_id, name, client_name,
-- targets (all of them are to be there), objects (what a subscription is about)}, each optional.
create or replace function public.openadr_page(
    p_type text, p_filter jsonb, p_client text, p_skip integer, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    own constant text[] := public.openadr_targets_of(p_client);
    wanted constant text[] := array(select jsonb_array_elements_text(coalesce(p_filter -> 'targets', '[]')));
    about constant text[] := array(select jsonb_array_elements_text(coalesce(p_filter -> 'objects', '[]')));
begin
    return (
        select coalesce(json_agg(public.openadr_object_row(page) order by page.place desc), '[]')
        from (
            select o.*
            from public.openadr_objects o
            where o.object_type = p_type
                and public.openadr_is_seen(o, p_client, own)
                and (p_filter ->> 'program_id' is null or o.program_id = p_filter ->> 'program_id')
                and (p_filter ->> 'event_id' is null or o.event_id = p_filter ->> 'event_id')
                and (p_filter ->> 'ven_id' is null or o.ven_id = p_filter ->> 'ven_id')
                and (p_filter ->> 'name' is null or o.name = p_filter ->> 'name')
                and (p_filter ->> 'client_name' is null or o.content ->> 'clientName' = p_filter ->> 'client_name')
                and o.targets @> wanted
                and (about = '{}' or exists (
                    select
                    from jsonb_array_elements(o.content -> 'objectOperations') as one,
                        jsonb_array_elements_text(one -> 'objects') as named
                    where named = any (about)))
            order by o.place desc
            offset p_skip
            limit p_limit) as page);
end
$$;

-- One of them; null where there is none, or the caller does not see it.
create or replace function public.openadr_one(p_type text, p_id text, p_client text)
returns json
language sql
stable
set search_path = ''
as $$
    select public.openadr_object_row(o)::json
    from public.openadr_objects o
    where o.object_id = p_id and o.object_type = p_type
        and public.openadr_is_seen(o, p_client, public.openadr_targets_of(p_client))
$$;

-- Whether an object may hang on this one: null if so, else which parent there is not.
create or replace function public.openadr_missing(
    given public.openadr_objects, p_client text)
returns text
language sql
stable
set search_path = ''
as $$
    select parent.said
    from (values ('PROGRAM', given.program_id, 'program'), ('EVENT', given.event_id, 'event'), ('VEN', given.ven_id, 'ven'))
        as parent (kind, id, said)
    where parent.id is not null and not exists (
        select
        from public.openadr_objects o
        where o.object_id = parent.id and o.object_type = parent.kind
            and (o.tenant = given.tenant or (o.tenant = 'platform' and parent.kind <> 'VEN'))
            and public.openadr_is_seen(o, p_client, public.openadr_targets_of(p_client)))
    limit 1
$$;

-- The service account ("svc:…") of an operator that a clientID names: by its own id, or by one of its keys'.
create or replace function public.openadr_client(p_operator text, p_client_id text)
returns text
language sql
stable
set search_path = ''
as $$
    select 'svc:' || a.service_account_id
    from tenancy.service_accounts a
    where a.operator_id = p_operator
        and (
            p_client_id in (a.service_account_id::text, 'svc:' || a.service_account_id)
            or exists (
                select
                from tenancy.api_keys k
                where k.operator_id = p_operator and k.key_id = p_client_id
                    and k.service_account_id = a.service_account_id))
$$;

-- What is kept of an object on the wire: a resource has the clientID of its VEN, any other the one that is given.
create or replace function public.openadr_content(given public.openadr_objects, p_client_id jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select given.content || jsonb_strip_nulls(jsonb_build_object('clientID', case
        when given.object_type = 'RESOURCE' then (
            select v.content -> 'clientID' from public.openadr_objects v where v.object_id = given.ven_id)
        else p_client_id end))
$$;

-- Stores something new. p_object: {object_id, object_type, program_id, event_id, ven_id, name, targets, content}. p_client_id is
-- what a business logic says a VEN's client is. p_flexibility is what an event asks of flexibility (announce_flexibility_event).
-- Answers {"state": "created" | "taken" (its name, or its client's VEN) | "full" | "no_program" | "no_event" | "no_ven" |
-- "no_client" | "closed" | "overlapping", "object"}; nothing is stored but where it is created.
create or replace function public.openadr_create(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    most constant integer := 10000; -- of a kind, of a tenant
    given public.openadr_objects := jsonb_populate_record(null::public.openadr_objects, p_object);
    missing text;
    announced jsonb;
begin
    given.tenant := coalesce(p_operator, 'platform');
    missing := public.openadr_missing(given, p_client);
    if missing is not null then
        return json_build_object('state', 'no_' || missing, 'object', null);
    end if;
    given.client := case
        when p_client is not null then p_client
        when given.object_type = 'VEN' then public.openadr_client(given.tenant, p_client_id)
        when given.object_type = 'RESOURCE' then (
            select v.client from public.openadr_objects v where v.object_id = given.ven_id)
    end;
    given.content := public.openadr_content(given, given.content -> 'clientID');
    if given.object_type = 'VEN' and given.client is null and p_operator is not null then
        return json_build_object('state', 'no_client', 'object', null);
    end if;
    if (
        select count(*)
        from (
            select
            from public.openadr_objects o
            where o.tenant = given.tenant and o.object_type = given.object_type
            limit most) as one) >= most
    then
        return json_build_object('state', 'full', 'object', null);
    end if;
    if p_flexibility is not null then
        announced := public.announce_flexibility_event(p_flexibility, p_now, p_operator);
        if announced ->> 'state' <> 'announced' then
            return json_build_object('state', announced ->> 'state', 'object', null);
        end if;
    end if;
    insert into public.openadr_objects (
        object_id, tenant, object_type, program_id, event_id, ven_id, name, client, targets, flexibility_event_id, content,
        created_at, modified_at)
    values (
        given.object_id, given.tenant, given.object_type, given.program_id, given.event_id, given.ven_id, given.name,
        given.client, given.targets, (announced #>> '{event,event_id}')::uuid, given.content, p_now, p_now)
    on conflict do nothing
    returning * into given;
    if not found then
        return json_build_object('state', 'taken', 'object', null);
    end if;
    return json_build_object('state', 'created', 'object', public.openadr_object_row(given));
end
$$;

-- Writes something anew. A VEN changes neither its targets nor its client. What an event asks of flexibility stays as it is:
-- "different" where it would not. Answers as openadr_create, with "replaced" for "created", and "unknown".
create or replace function public.openadr_replace(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.openadr_objects := jsonb_populate_record(null::public.openadr_objects, p_object);
    old public.openadr_objects;
    missing text;
    announced jsonb;
begin
    select * into old
    from public.openadr_objects o
    where o.object_id = given.object_id and o.object_type = given.object_type
        and (p_operator is null or o.tenant = p_operator) and (p_client is null or o.client = p_client)
    for update;
    if old.object_id is null then
        return json_build_object('state', 'unknown', 'object', null);
    end if;
    given.tenant := old.tenant;
    missing := public.openadr_missing(given, p_client);
    if missing is not null then
        return json_build_object('state', 'no_' || missing, 'object', null);
    end if;
    given.client := old.client;
    if p_client is not null and given.object_type in ('VEN', 'RESOURCE') then
        given.targets := old.targets;
        given.content := given.content - 'targets'
            || jsonb_strip_nulls(jsonb_build_object('targets', old.content -> 'targets'));
    elsif given.object_type = 'VEN' then
        given.client := public.openadr_client(given.tenant, p_client_id);
        if given.client is null and p_operator is not null then
            return json_build_object('state', 'no_client', 'object', null);
        end if;
    elsif given.object_type = 'RESOURCE' then
        select v.client into given.client from public.openadr_objects v where v.object_id = given.ven_id;
    end if;
    given.content := public.openadr_content(
        given, case when given.object_type <> 'VEN' or p_client is not null then old.content -> 'clientID'
            else given.content -> 'clientID' end);
    if old.flexibility_event_id is not null and p_flexibility is null then
        return json_build_object('state', 'different', 'object', null);
    end if;
    if p_flexibility is not null then
        announced := public.announce_flexibility_event(p_flexibility, p_now, p_operator);
        if announced ->> 'state' not in ('announced', 'already') then
            return json_build_object('state', announced ->> 'state', 'object', null);
        end if;
    end if;
    if exists (
        select
        from public.openadr_objects o
        where o.object_id <> old.object_id
            and (
                (o.tenant, o.object_type, coalesce(o.ven_id, ''), o.name)
                    = (old.tenant, old.object_type, coalesce(given.ven_id, ''), given.name)
                or (o.object_type = 'VEN' and old.object_type = 'VEN' and o.client = given.client)))
    then
        return json_build_object('state', 'taken', 'object', null);
    end if;
    update public.openadr_objects o
    set program_id = given.program_id, event_id = given.event_id, ven_id = given.ven_id, name = given.name,
        client = given.client, targets = given.targets, content = given.content, modified_at = p_now,
        flexibility_event_id = coalesce((announced #>> '{event,event_id}')::uuid, old.flexibility_event_id)
    where o.object_id = old.object_id
    returning * into given;
    if given.object_type = 'VEN' and given.client is distinct from old.client then
        update public.openadr_objects o set client = given.client where o.ven_id = given.object_id;
    end if;
    return json_build_object('state', 'replaced', 'object', public.openadr_object_row(given));
end
$$;

-- Takes something away, and what hangs on it; what an event asked of flexibility is cancelled with it. Answers {"state":
-- "deleted" | "unknown" | "closed" (its gate has closed), "object"}.
create or replace function public.openadr_delete(
    p_type text, p_id text, p_client text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    old public.openadr_objects;
    asked public.openadr_objects;
begin
    select * into old
    from public.openadr_objects o
    where o.object_id = p_id and o.object_type = p_type
        and (p_operator is null or o.tenant = p_operator) and (p_client is null or o.client = p_client)
    for update;
    if old.object_id is null then
        return json_build_object('state', 'unknown', 'object', null);
    end if;
    -- All or none of a program's: one whose gate has closed is to be delivered, and stays.
    if exists (
        select
        from public.openadr_objects o
        join public.flexibility_events f on f.event_id = o.flexibility_event_id
        where p_id in (o.object_id, o.program_id)
            and f.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and f.gate_closes_at <= p_now)
    then
        return json_build_object('state', 'closed', 'object', null);
    end if;
    for asked in
        select o.*
        from public.openadr_objects o
        where p_id in (o.object_id, o.program_id) and o.flexibility_event_id is not null
        order by o.place
    loop
        perform public.cancel_flexibility_event(
            asked.flexibility_event_id, 'its OpenADR event was deleted', p_now, p_operator);
    end loop;
    delete from public.openadr_objects o where o.object_id = p_id;
    return json_build_object('state', 'deleted', 'object', public.openadr_object_row(old));
end
$$;
