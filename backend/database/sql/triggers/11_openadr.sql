
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

-- What a VEN with p_targets is shown of something that it may see: of the targets those that are its own, as OpenADR wants it.
create or replace function public.openadr_seen_row(o public.openadr_objects, p_client text, p_targets text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case
        when p_client is null or o.client = p_client or o.targets = '{}' or o.object_type not in ('PROGRAM', 'EVENT')
            then public.openadr_object_row(o)
        else jsonb_set(public.openadr_object_row(o), '{content,targets}', to_jsonb(array(
            select each.target
            from unnest(o.targets) with ordinality as each (target, place)
            where each.target = any (p_targets)
            order by each.place))) end
$$;

-- A page of what the caller sees of one kind, newest first: [row…]. p_filter: {program_id, event_id, ven_id, name, client_name,
-- targets (all of them are to be there), objects (what a subscription is about), not_over_at, over_at (of events)}, each optional.
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
        select coalesce(json_agg(public.openadr_seen_row(page, p_client, own) order by page.place desc), '[]')
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
                -- Nor does a VEN find out by asking what else something is for.
                and (p_client is null or p_type not in ('PROGRAM', 'EVENT') or wanted <@ own)
                and (
                    p_filter ->> 'not_over_at' is null or o.ends_at is null
                    or o.ends_at > (p_filter ->> 'not_over_at')::timestamptz)
                and (p_filter ->> 'over_at' is null or o.ends_at <= (p_filter ->> 'over_at')::timestamptz)
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
    select public.openadr_seen_row(o, p_client, own.targets)::json
    from public.openadr_objects o
    cross join (select public.openadr_targets_of(p_client) as targets) as own
    where o.object_id = p_id and o.object_type = p_type and public.openadr_is_seen(o, p_client, own.targets)
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

-- Locks what an object hangs on, and what it hung on before: first, as whoever deletes that does, and before flexibility's
-- events. Then nobody deletes it meanwhile, nor waits for an event here that waits for it.
create or replace function public.openadr_hold_parents(given public.openadr_objects)
returns void
language sql
volatile
set search_path = ''
as $$
    with above as (
        select unnest(array[given.program_id, given.event_id, given.ven_id]) as id
        union
        select unnest(array[o.program_id, o.event_id, o.ven_id])
        from public.openadr_objects o
        where o.object_id = given.object_id
    )
    select
    from public.openadr_objects o
    where o.object_id in (select above.id from above)
    order by o.place
    for key share
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

-- Whether a subscription's client may still be told: business logic (null), or a VEN that has a key which is good.
create or replace function public.openadr_is_served(p_client text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_client is null or exists (
        select
        from tenancy.api_keys k
        where 'svc:' || k.service_account_id = p_client and k.revoked_at is null and k.expires_at > clock_timestamp()
            and 'openadr:use' = any (k.scopes))
$$;

-- Puts into the queue of webhooks what subscriptions are to hear of a change of o: "CREATE", "UPDATE" or "DELETE". Each hears it
-- in the word that it used itself, once at each of its callbacks, and only of what its client sees at this moment. Of one
-- with too much waiting nothing more is kept: that is a row which is discarded at once. Bearer tokens of others are in none.
create or replace function public.openadr_tell(o public.openadr_objects, p_operation text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    most_waiting constant integer := 1000; -- of a subscription
    words constant text[] := case p_operation
        when 'CREATE' then '{CREATE,POST}' when 'UPDATE' then '{UPDATE,PUT}' else '{DELETE}' end;
    program constant text := case
        when o.object_type = 'PROGRAM' then o.object_id
        else coalesce(
            o.program_id, (select e.program_id from public.openadr_objects e where e.object_id = o.event_id)) end;
    told jsonb := public.openadr_object_row(o);
begin
    if o.object_type = 'SUBSCRIPTION' then
        told := jsonb_set(told, '{content,objectOperations}', (
            select jsonb_agg(one - 'bearerToken') from jsonb_array_elements(o.content -> 'objectOperations') as one));
    end if;
    insert into public.openadr_webhooks (subscription_id, callback_url, body, work_state, finished_at, last_error)
    select
        s.object_id,
        wanted.callback_url,
        case when not crowded.too_much then jsonb_build_object(
            'token', wanted.token, 'operation', wanted.word, 'object', shown.object,
            'targets', coalesce(shown.object #> '{content,targets}', '[]')) end,
        case when crowded.too_much then 'discarded' else 'available' end,
        case when crowded.too_much then clock_timestamp() end,
        case when crowded.too_much then format('%s webhooks of its subscription were waiting already', most_waiting) end
    from public.openadr_objects s
    cross join lateral (
        select distinct on (one ->> 'callbackUrl')
            one ->> 'callbackUrl' as callback_url, one ->> 'bearerToken' as token, named.word
        from jsonb_array_elements(s.content -> 'objectOperations') as one
        cross join lateral jsonb_array_elements_text(one -> 'operations') as named (word)
        where one -> 'objects' ? o.object_type and named.word = any (words)
        order by one ->> 'callbackUrl') as wanted
    cross join lateral (
        select count(*) >= most_waiting as too_much
        from public.openadr_webhooks w
        where w.subscription_id = s.object_id and w.work_state in ('available', 'running', 'retryable')) as crowded
    cross join lateral (
        select case
            when o.object_type in ('PROGRAM', 'EVENT')
                then public.openadr_seen_row(o, s.client, public.openadr_targets_of(s.client))
            else told end as object) as shown
    where s.object_type = 'SUBSCRIPTION' and s.object_id <> o.object_id
        and (
            s.tenant = o.tenant
            or (o.tenant = 'platform' and o.object_type in ('PROGRAM', 'EVENT') and o.dispatches is null)
            or (s.tenant = 'platform' and s.client is null)) -- whoever sees everything
        and (s.program_id is null or s.program_id = program)
        and (s.targets = '{}' or s.targets && o.targets)
        and public.openadr_is_seen(o, s.client, public.openadr_targets_of(s.client))
        and public.openadr_is_served(s.client)
    order by s.place;
    if found then
        perform pg_notify('openadr_webhooks', '');
    end if;
end
$$;

-- Takes up to p_limit webhooks on a lease: of each subscription the first that is not finished, so that none overtakes another.
-- Who does not answer holds up few others: what was never tried comes first, operators take turns, and only so much is in hand
-- of one operator, and for one host. Answers {"claimed": [{webhook_id, subscription_id, callback_url, body, attempt, lease_token,
-- is_served (whether its client may still be told)}…], "next_due_seconds"}. What was delivered goes after an hour, what was given up
-- after a week.
create or replace function public.openadr_claim_webhooks(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    moment timestamptz := clock_timestamp();
    most_of_tenant constant integer := 3; -- in hand, where one process has four that deliver
    most_for_host constant integer := 2;
    due bigint[];
    claimed json;
begin
    perform public.queue_webhooks_shed(null, moment);
    delete from public.openadr_webhooks w
    where w.webhook_id in (
        select old.webhook_id
        from public.openadr_webhooks old
        where (old.work_state = 'completed' and old.finished_at < moment - interval '1 hour')
            or (old.work_state = 'discarded' and old.finished_at < moment - interval '7 days')
        limit 1000
        for update skip locked);
    perform public.queue_webhooks_sweep(null, moment);
    with recursive waiting as (
        -- However much waits of a subscription, it costs a look at an index.
        (
            select w.subscription_id
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable')
            order by w.subscription_id
            limit 1)
        union all
        select (
            select w.subscription_id
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable') and w.subscription_id > waiting.subscription_id
            order by w.subscription_id
            limit 1)
        from waiting
        where waiting.subscription_id is not null
    ),
    firsts as (
        select
            first.webhook_id, first.attempt, coalesce(s.tenant, '') as tenant,
            substring(first.callback_url from '^https?://([^/?#]*)') as host,
            first.work_state = 'running' and not public.has_come(first.leased_until, moment) as in_hand
        from waiting
        cross join lateral (
            select w.*
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable') and w.subscription_id = waiting.subscription_id
            order by w.webhook_id
            limit 1) as first
        left join public.openadr_objects s on s.object_id = waiting.subscription_id
        where first.work_state <> 'retryable' -- it pauses
    ),
    for_hosts as (
        select
            firsts.*,
            count(*) filter (where firsts.in_hand) over (partition by firsts.host)
                + row_number() over (partition by firsts.host, firsts.in_hand order by firsts.attempt > 0, firsts.webhook_id)
                as place
        from firsts
    ),
    of_tenants as (
        -- After the hosts' own limit: what may not be called now takes nobody's place.
        select
            f.webhook_id, f.attempt, f.in_hand,
            count(*) filter (where f.in_hand) over (partition by f.tenant)
                + row_number() over (partition by f.tenant, f.in_hand order by f.attempt > 0, f.webhook_id) as place
        from for_hosts f
        where f.in_hand or f.place <= most_for_host
    )
    select coalesce(array_agg(t.webhook_id order by t.attempt > 0, t.place, t.webhook_id), '{}') into due
    from of_tenants t
    where not t.in_hand and t.place <= most_of_tenant;
    select coalesce(json_agg(json_build_object(
        'webhook_id', w.webhook_id, 'subscription_id', w.subscription_id, 'callback_url', w.callback_url, 'body', w.body,
        'attempt', w.attempt, 'lease_token', w.lease_token, 'is_served', coalesce(
            (select public.openadr_is_served(s.client) from public.openadr_objects s where s.object_id = w.subscription_id),
            true)) order by w.webhook_id), '[]')
    into claimed
    from public.queue_webhooks_claim(null, due, p_worker, p_limit, moment, p_lease_seconds) as w;
    return json_build_object(
        'claimed', claimed,
        'next_due_seconds', extract(epoch from public.queue_webhooks_next_due(null, moment) - moment));
end
$$;

-- How an attempt ended: "delivered", "retry" or "dead". Answers {"state": "delivered" | "retry" | "dead" | "fenced"}.
create or replace function public.openadr_settle_webhook(
    p_webhook_id bigint, p_lease_token bigint, p_outcome text, p_error text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    failed public.openadr_webhooks;
    state text;
begin
    if p_outcome = 'delivered' then
        if public.queue_webhooks_complete(array[p_webhook_id], array[p_lease_token]) <> '{}' then
            return json_build_object('state', 'delivered');
        end if;
    else
        failed := public.queue_webhooks_fail(p_webhook_id, p_lease_token, p_error, 1, 300, null, p_outcome = 'dead');
        if failed.webhook_id is not null then
            return json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'dead' end);
        end if;
    end if;
    -- Told already, and the answer lost: whoever asks again hears the same.
    select w.work_state into state
    from public.openadr_webhooks w
    where w.webhook_id = p_webhook_id and w.lease_token = p_lease_token;
    return json_build_object('state', case state
        when 'completed' then 'delivered' when 'retryable' then 'retry' when 'discarded' then 'dead' else 'fenced' end);
end
$$;

-- How the queue of webhooks is, as beckn_health tells of a queue.
create or replace function public.openadr_webhooks_health()
returns json
language sql
stable
set search_path = ''
as $$
    with open as (
        select work_state = 'running' and leased_until >= clock_timestamp() as in_hand, created_at
        from public.openadr_webhooks
        where work_state in ('available', 'running', 'retryable')
    )
    select json_build_object(
        'waiting', count(*) filter (where not in_hand),
        'in_flight', count(*) filter (where in_hand),
        'dead', (select count(*) from public.openadr_webhooks where work_state = 'discarded'),
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - min(created_at)))
    from open
$$;

-- Stores something new. p_object: {object_id, object_type, program_id, event_id, ven_id, name, targets, content}. p_client_id is
-- what a business logic says a VEN's client is. p_flexibility is what an event asks of flexibility (announce_flexibility_event).
-- Answers {"state": "created" | "taken" (its name, or its client's VEN) | "full" | "no_program" | "no_event" | "no_ven" |
-- "no_client" | "closed" | "overlapping" | "too_many" | "subscribed" (its client has as many subscriptions as there may be), "object"};
-- nothing is stored but where it is created. Subscriptions are told of it in the same transaction.
create or replace function public.openadr_create(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    most constant integer := 10000; -- of a kind, of a tenant
    most_subscriptions constant integer := 100; -- of a VEN, or of business logic
    given public.openadr_objects := jsonb_populate_record(null::public.openadr_objects, p_object);
    missing text;
    announced jsonb;
begin
    given.tenant := coalesce(p_operator, 'platform');
    perform public.openadr_hold_parents(given);
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
            where o.tenant = given.tenant and o.object_type = given.object_type and o.dispatches is null
            limit most) as one) >= most
    then
        return json_build_object('state', 'full', 'object', null);
    end if;
    if given.object_type = 'SUBSCRIPTION' and (
        select count(*)
        from public.openadr_objects o
        where o.tenant = given.tenant and o.object_type = 'SUBSCRIPTION' and o.client is not distinct from given.client
    ) >= most_subscriptions then
        return json_build_object('state', 'subscribed', 'object', null);
    end if;
    if p_flexibility is not null then
        announced := public.announce_flexibility_event(p_flexibility, p_now, p_operator);
        if announced ->> 'state' <> 'announced' then
            return json_build_object('state', announced ->> 'state', 'object', null);
        end if;
    end if;
    insert into public.openadr_objects (
        object_id, tenant, object_type, program_id, event_id, ven_id, name, client, targets, flexibility_event_id, content,
        created_at, modified_at, ends_at)
    values (
        given.object_id, given.tenant, given.object_type, given.program_id, given.event_id, given.ven_id, given.name,
        given.client, given.targets, (announced #>> '{event,event_id}')::uuid, given.content, p_now, p_now,
        given.ends_at)
    on conflict do nothing
    returning * into given;
    if not found then
        return json_build_object('state', 'taken', 'object', null);
    end if;
    perform public.openadr_tell(given, 'CREATE');
    return json_build_object('state', 'created', 'object', public.openadr_object_row(given));
end
$$;

-- Writes something anew. A VEN changes neither its targets nor its client. What an event asks of flexibility stays as it is:
-- "different" where it would not. Answers as openadr_create, with "replaced" for "created", "unknown", and "dispatched": it is what
-- flexibility has sold, and nobody else's to write.
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
    perform public.openadr_hold_parents(given);
    select * into old
    from public.openadr_objects o
    where o.object_id = given.object_id and o.object_type = given.object_type
        and (p_operator is null or o.tenant = p_operator) and (p_client is null or o.client = p_client)
    for update;
    if old.object_id is null then
        return json_build_object('state', 'unknown', 'object', null);
    end if;
    if old.dispatches is not null then
        return json_build_object('state', 'dispatched', 'object', null);
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
        if given.client is null and given.tenant <> 'platform' then
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
        announced := public.announce_flexibility_event(p_flexibility, p_now, old.tenant);
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
        client = given.client, targets = given.targets, content = given.content, modified_at = p_now, ends_at = given.ends_at,
        flexibility_event_id = coalesce((announced #>> '{event,event_id}')::uuid, old.flexibility_event_id)
    where o.object_id = old.object_id
    returning * into given;
    if given.object_type = 'VEN' and given.client is distinct from old.client then
        update public.openadr_objects o set client = given.client where o.ven_id = given.object_id;
    end if;
    perform public.openadr_tell(given, 'UPDATE');
    return json_build_object('state', 'replaced', 'object', public.openadr_object_row(given));
end
$$;

-- Takes something away, and what hangs on it; what an event asked of flexibility is cancelled with it. Answers {"state":
-- "deleted" | "unknown" | "closed" (its gate has closed) | "dispatched" (flexibility has sold it, and it is to be delivered),
-- "object"}.
create or replace function public.openadr_delete(
    p_type text, p_id text, p_client text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    old public.openadr_objects;
    asked uuid[];
    cancelled uuid;
    gone public.openadr_objects;
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
    if exists (
        select
        from public.openadr_objects o
        join public.flexibility_events f on f.event_id = o.dispatches
        where p_id in (o.object_id, o.program_id) and f.state in ('COMMITTED', 'NOTIFIED'))
    then
        return json_build_object('state', 'dispatched', 'object', null);
    end if;
    asked := array(
        select o.flexibility_event_id
        from public.openadr_objects o
        where p_id in (o.object_id, o.program_id) and o.flexibility_event_id is not null
        order by o.place);
    -- The locks of all of them, and their power given back, before the first that is cancelled takes the publishing lock.
    perform from public.flexibility_events e where e.event_id = any (asked) order by e.event_id for update;
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.flexibility_event_id = any (asked) and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    perform public.release_flexibility(e.event_id, 'RELEASED', 'the event was cancelled')
    from public.flexibility_events e
    where e.event_id = any (asked) and e.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and e.gate_closes_at > p_now;
    foreach cancelled in array asked loop
        perform public.cancel_flexibility_event(cancelled, 'its OpenADR event was deleted', p_now, p_operator);
    end loop;
    -- Told of while it is still there to be seen; what hangs on it before what it hangs on.
    for gone in
        select o.*
        from public.openadr_objects o
        where p_id in (o.object_id, o.program_id, o.event_id, o.ven_id)
            or o.event_id in (select e.object_id from public.openadr_objects e where e.program_id = p_id)
        order by o.place desc
    loop
        perform public.openadr_tell(gone, 'DELETE');
    end loop;
    delete from public.openadr_objects o where o.object_id = p_id;
    -- Whoever ends a subscription wants to hear nothing more.
    delete from public.openadr_webhooks w
    where w.subscription_id = p_id and w.work_state in ('available', 'retryable');
    return json_build_object('state', 'deleted', 'object', public.openadr_object_row(old));
end
$$;
