-- Compatible from: 1

-- What subscriptions are told of: one row for each change, subscription and callback. A queue of work, with the columns of all of
-- them (see workload_notifications). A subscription's rows are delivered in their order, one at a time.
create table public.openadr_webhooks (
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
create index openadr_webhooks_unfinished on public.openadr_webhooks (subscription_id, webhook_id)
    where work_state in ('available', 'running', 'retryable');
create index openadr_webhooks_finished on public.openadr_webhooks (finished_at)
    where work_state in ('completed', 'discarded');
create index openadr_objects_subscriptions on public.openadr_objects (tenant, place) where object_type = 'SUBSCRIPTION';
