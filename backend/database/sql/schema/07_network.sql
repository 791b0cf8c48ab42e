-- The Beckn network: who is on it, what arrived from it, what goes out to it ---------------------------------------

create table if not exists public.beckn_subscribers (
    -- A subscription is one platform in one role and domain, with one key. Networks name keys as they like, so a key_id is
    -- its platform's own; one that is a UUID is written in lower case.
    key_id text not null,
    subscriber_id text not null check (subscriber_id ~ '^[A-Za-z0-9._:/-]{1,200}$'),
    type text not null check (type in ('BAP', 'BPP', 'BG')),
    domain text not null check (length(domain) between 1 and 200),
    url text not null check (url ~ '^https?://'),
    -- {"country": {"code"}, "city": {"code"}}; null, and the code *, mean everywhere.
    location jsonb,
    signing_public_key text not null,
    encr_public_key text,
    valid_from timestamptz not null,
    valid_until timestamptz not null,
    status text not null default 'SUBSCRIBED'
        check (status in ('INITIATED', 'UNDER_SUBSCRIPTION', 'SUBSCRIBED', 'EXPIRED', 'UNSUBSCRIBED', 'INVALID_SSL')),
    -- The operator's word that the URL may lead to this machine or into a private network.
    private_address boolean not null default false,
    -- Of a platform that tells from time to time that it runs: until when that holds. Null: an operator looks after it.
    present_until timestamptz,
    -- The tenant that this platform speaks for; null: a stranger's.
    operator text references public.operators,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
    constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$'),
    check (valid_from < valid_until)
);
create index if not exists beckn_subscribers_platform on public.beckn_subscribers (subscriber_id, type, updated desc);
create index if not exists beckn_subscribers_operator on public.beckn_subscribers (operator) where operator is not null;
create index if not exists beckn_subscribers_providers on public.beckn_subscribers (domain, type) where status = 'SUBSCRIBED';

-- The processes of a platform that tells that it runs: it is present for as long as one of them is.
create table if not exists public.beckn_presences (
    subscriber_id text not null,
    type text not null check (type in ('BAP', 'BPP', 'BG')),
    worker text not null check (length(worker) between 1 and 300),
    present_until timestamptz not null check (isfinite(present_until)),
    primary key (subscriber_id, type, worker)
);

-- How much a sender has had stored by one of our platforms in a day (UTC).
create table if not exists public.beckn_usage (
    platform text not null,
    sender text not null,
    day date not null,
    messages bigint not null check (messages >= 0),
    bytes bigint not null check (bytes >= 0),
    primary key (platform, sender, day)
);

-- Recipients that did not answer one of our platforms at the last attempt. Nothing is sent to them before open_until, and
-- then one message at a time; the row goes when one answers.
create table if not exists public.beckn_circuits (
    sender text not null,
    recipient text not null,
    failures integer not null check (failures > 0),
    open_until timestamptz not null check (isfinite(open_until)),
    primary key (sender, recipient)
);

-- Queues of work, with the columns of all of them (see workload_notifications). Rows are taken by their turn: the first message
-- of everybody comes before the second of anybody (start-time fair queueing).
create table if not exists public.beckn_inbox (
    inbox_id bigint generated always as identity primary key,
    -- Our platform that the message was sent to: several may share this database.
    recipient text not null,
    sender text not null,
    action text not null,
    transaction_id uuid not null,
    message_id uuid not null,
    -- The very bytes that arrived, which are UTF-8; they go a minute after the end of the work, their SHA-256 stays.
    body text,
    body_digest text not null default '',
    turn bigint not null default 0,
    -- What was answered at once, and is answered again to the same message.
    answer jsonb not null,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer not null default 5,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    -- timestamp + ttl: after it nobody waits for a callback. Null where the work must be done however late it is.
    expires_at timestamptz,
    received_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    unique (recipient, sender, action, message_id),
    check (body is not null or work_state in ('completed', 'discarded'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists beckn_inbox_retryable on public.beckn_inbox (recipient, scheduled_at) where work_state = 'retryable';
create index if not exists beckn_inbox_order on public.beckn_inbox (transaction_id, recipient, sender, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_discarded on public.beckn_inbox (inbox_id) where work_state = 'discarded';
create index if not exists beckn_inbox_finished on public.beckn_inbox (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists beckn_inbox_turns on public.beckn_inbox (recipient, sender, turn, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_running on public.beckn_inbox (recipient, turn) where work_state = 'running';
create index if not exists beckn_inbox_expiring on public.beckn_inbox (recipient, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_bodies on public.beckn_inbox (recipient, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

create table if not exists public.beckn_outbox (
    outbox_id bigint generated always as identity primary key,
    -- Our platform, which signs it.
    sender text not null,
    -- Who wrote it: another platform where a gateway passes it on, else the sender.
    origin text not null,
    recipient text not null,
    recipient_type text not null check (recipient_type in ('BAP', 'BPP', 'BG')),
    action text not null,
    domain text not null,
    transaction_id uuid not null,
    message_id uuid not null,
    -- It goes a minute after the delivery, its SHA-256 stays.
    body text,
    body_digest text not null default '',
    turn bigint not null default 0,
    -- Of a message that a gateway passes on: the signature header it came with.
    "authorization" text,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer, -- null: until its time is over
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- What is left out as known already is the very same message.
    constraint beckn_outbox_message_key unique (
        sender, origin, recipient, recipient_type, action, message_id, body_digest),
    check (body is not null or work_state in ('completed', 'discarded'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists beckn_outbox_retryable on public.beckn_outbox (sender, scheduled_at) where work_state = 'retryable';
create index if not exists beckn_outbox_order on public.beckn_outbox (transaction_id, sender, origin, recipient, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_discarded on public.beckn_outbox (outbox_id) where work_state = 'discarded';
create index if not exists beckn_outbox_finished on public.beckn_outbox (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists beckn_outbox_turns on public.beckn_outbox (sender, recipient, turn, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_origins on public.beckn_outbox (sender, origin, recipient, turn)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_running on public.beckn_outbox (sender, turn) where work_state = 'running';
create index if not exists beckn_outbox_expiring on public.beckn_outbox (sender, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_bodies on public.beckn_outbox (sender, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

-- Whether two codes of a country or city can mean the same place: nothing and * mean any.
create or replace function public.beckn_same_place(one text, other text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select one is null or other is null or one = '*' or other = '*' or one = other
$$;

-- A key's id as the registry keeps it: the case of a UUID's digits means nothing.
create or replace function public.beckn_key_id(p_key_id text)
returns text
language sql
immutable parallel safe
set search_path = ''
as $$
    select case
        when p_key_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(p_key_id)
        else p_key_id end
$$;

-- Whether a URL names an address that is called only with the operator's word: this machine, a private network. What a
-- name leads to is looked at when it is called (beckn/outgoing_calls.py), which is the one that decides.
create or replace function public.beckn_leads_inside(p_url text)
returns boolean
language plpgsql
immutable parallel safe
set search_path = ''
as $$
declare
    host text := lower(coalesce(
        substring(p_url from '^https?://\[([^]]*)\]'), substring(p_url from '^https?://([^/:?#]*)')));
begin
    if host = 'localhost' or host like '%.localhost' then
        return true;
    end if;
    return host::inet <<= any (array[
        '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16',
        '224.0.0.0/3', '::/127', 'fc00::/7', 'fe80::/10', 'ff00::/8']::inet[]);
exception
    when invalid_text_representation then
        return false;
end
$$;

-- The status that a subscription has at p_now: it expires by itself, and when the platform does not tell any more that it
-- runs.
create or replace function public.beckn_status_at(s public.beckn_subscribers, p_now timestamptz)
returns text
language sql
stable
set search_path = ''
as $$
    select case
        when s.status = 'SUBSCRIBED' and (p_now >= s.valid_until or clock_timestamp() >= s.present_until) then 'EXPIRED'
        else s.status end
$$;

-- Subscriptions that are like p_query, a subscription of which any field may be left out; without a status, only those
-- that hold at p_now. At most 1,000.
create or replace function public.beckn_lookup(p_query jsonb, p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(
        jsonb_strip_nulls(to_jsonb(found) - 'private_address' - 'present_until' - 'operator'
            || jsonb_build_object('status', public.beckn_status_at(found, p_now)))
        order by found.subscriber_id, found.key_id), '[]')
    from (
        select s.*
        from public.beckn_subscribers s
        where public.beckn_status_at(s, p_now) = coalesce(p_query ->> 'status', 'SUBSCRIBED')
            and (p_query ? 'status' or p_now >= s.valid_from)
            and s.key_id = coalesce(public.beckn_key_id(p_query ->> 'key_id'), s.key_id)
            and s.subscriber_id = coalesce(p_query ->> 'subscriber_id', s.subscriber_id)
            and s.type = coalesce(p_query ->> 'type', s.type)
            and s.domain = coalesce(p_query ->> 'domain', s.domain)
            and s.url = coalesce(p_query ->> 'url', s.url)
            and s.signing_public_key = coalesce(p_query ->> 'signing_public_key', s.signing_public_key)
            and public.beckn_same_place(s.location #>> '{country,code}', p_query #>> '{location,country,code}')
            and public.beckn_same_place(s.location #>> '{city,code}', p_query #>> '{location,city,code}')
        order by s.subscriber_id, s.key_id
        limit 1000) as found
$$;

-- How the queues are: rows that wait (retries not yet due and expired leases included), are in hand, and are dead.
create or replace function public.beckn_health()
returns json
language sql
stable
set search_path = ''
as $$
    with open as (
        select 'inbox' as queue, work_state = 'running' and leased_until >= clock_timestamp() as in_hand, received_at as since
        from public.beckn_inbox
        where work_state in ('available', 'running', 'retryable')
        union all
        select 'outbox', work_state = 'running' and leased_until >= clock_timestamp(), created_at
        from public.beckn_outbox
        where work_state in ('available', 'running', 'retryable')
    ),
    waiting as (
        select
            queue,
            count(*) filter (where not in_hand) as waiting,
            count(*) filter (where in_hand) as in_flight,
            extract(epoch from clock_timestamp() - min(since)) as oldest_seconds
        from open
        group by queue
    ),
    dead as (
        select 'inbox' as queue, count(*) as dead from public.beckn_inbox where work_state = 'discarded'
        union all
        select 'outbox', count(*) from public.beckn_outbox where work_state = 'discarded'
    )
    select json_object_agg(dead.queue, json_build_object(
        'waiting', coalesce(waiting.waiting, 0),
        'in_flight', coalesce(waiting.in_flight, 0),
        'dead', dead.dead,
        'oldest_waiting_seconds', waiting.oldest_seconds))
    from dead
    left join waiting on waiting.queue = dead.queue
$$;

-- What was given up in either queue, newest first and without the bodies: {"inbox": […], "outbox": […]}.
create or replace function public.beckn_dead_letters(p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'inbox', coalesce((
            select json_agg(dead) from (
                select inbox_id, recipient, sender, action, transaction_id, message_id, attempt as attempts, last_error, received_at,
                    finished_at
                from public.beckn_inbox where work_state = 'discarded' order by inbox_id desc limit p_limit) as dead), '[]'),
        'outbox', coalesce((
            select json_agg(dead) from (
                select outbox_id, sender, recipient, recipient_type, action, transaction_id, message_id,
                    attempt as attempts, last_error, created_at, expires_at, finished_at
                from public.beckn_outbox where work_state = 'discarded' order by outbox_id desc limit p_limit) as dead), '[]'))
$$;


