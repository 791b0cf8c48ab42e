
-- OpenADR 3.1 --------------------------------------------------------------------------------------------------------------

-- What a virtual top node keeps: programs, events, reports, virtual end nodes (VENs), their resources, subscriptions. tenant is
-- whose it is; 'platform' of whoever sees everything, whose programs and events all may read. Whatever hangs on something goes
-- with it.
create table if not exists public.openadr_objects (
    object_id text primary key check (object_id ~ '^[A-Za-z0-9_-]{1,128}$'),
    tenant text not null,
    object_type text not null check (object_type in ('PROGRAM', 'EVENT', 'REPORT', 'VEN', 'RESOURCE', 'SUBSCRIPTION')),
    program_id text references public.openadr_objects on delete cascade,
    event_id text references public.openadr_objects on delete cascade,
    ven_id text references public.openadr_objects on delete cascade,
    -- What is its own in its kind: a program's, a VEN's, and a resource's among those of its VEN.
    name text,
    -- The service account ("svc:…") that a VEN is, and whose its resources, reports and subscriptions are.
    client text,
    targets text[] not null default '{}',
    flexibility_event_id uuid references public.flexibility_events,
    -- As OpenADR writes it, without what the columns below say.
    content jsonb not null check (jsonb_typeof(content) = 'object'),
    created_at timestamptz not null,
    modified_at timestamptz not null,
    place bigint generated always as identity,
    -- The event of flexibility that this one tells VENs to deliver; null of what clients put here.
    dispatches uuid references public.flexibility_events,
    -- When the last interval of an event ends; null where that is open.
    ends_at timestamptz
);
create unique index if not exists openadr_objects_name on public.openadr_objects (tenant, object_type, coalesce(ven_id, ''), name);
create unique index if not exists openadr_objects_ven_client on public.openadr_objects (client) where object_type = 'VEN';
create index if not exists openadr_objects_newest on public.openadr_objects (tenant, object_type, place desc);
create index if not exists openadr_objects_program on public.openadr_objects (program_id, place desc);
create index if not exists openadr_objects_event on public.openadr_objects (event_id, place desc);
create index if not exists openadr_objects_ven on public.openadr_objects (ven_id);
create index if not exists openadr_objects_client on public.openadr_objects (client, object_type);
create index if not exists openadr_objects_flexibility on public.openadr_objects (flexibility_event_id);
create index if not exists openadr_objects_dispatches on public.openadr_objects (dispatches) where dispatches is not null;
create index if not exists openadr_objects_ended on public.openadr_objects (ends_at) where ends_at is not null;

-- What subscriptions are told of: one row for each change, subscription and callback. A queue of work, with the columns of all of
-- them (see workload_notifications). A subscription's rows are delivered in their order, one at a time.
create table if not exists public.openadr_webhooks (
    webhook_id bigint generated always as identity primary key,
    subscription_id text not null,
    callback_url text not null check (length(callback_url) between 1 and 1000),
    -- What is sent: {token, operation, object, targets}. Gone a minute after the end of the work.
    body jsonb,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer default 10,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
create index if not exists openadr_webhooks_unfinished on public.openadr_webhooks (subscription_id, webhook_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists openadr_webhooks_finished on public.openadr_webhooks (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists openadr_objects_subscriptions on public.openadr_objects (tenant, place) where object_type = 'SUBSCRIPTION';
