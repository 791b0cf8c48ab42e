-- Power that is promised ---------------------------------------------------------------------------------------------

-- Every promise of power, whoever made it: a decision of the gateway, an order bought over Beckn, a commitment to be
-- flexible, an award of a negotiation. While it is HELD or RUNNING it holds its IT power in every half-hour that its window
-- touches. A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when whoever
-- carries it out has something to do, its start or its end. An order's is completed from the start: beckn_orders is the
-- queue of orders.
create table if not exists public.capacity_bookings (
    booking_id bigint generated always as identity primary key,
    -- What readers know it by: the number would tell every tenant how much the others book.
    booking_key uuid not null default gen_random_uuid(),
    dc_id text not null references public.data_centres,
    -- Whose workload it is for. What an event of flexibility holds is for none, as it keeps power free, and what an award of
    -- a negotiation holds is for whatever its agent runs there.
    tenant text not null,
    job_id text,
    source text not null check (source in ('decision', 'beckn_order', 'flexibility', 'negotiation')),
    -- No foreign key: a notification is pruned in time, the booking stays.
    notification_id bigint,
    order_id uuid references public.beckn_orders on delete cascade,
    state text not null default 'HELD' check (state in ('HELD', 'RUNNING', 'ENDED', 'RELEASED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw numeric(16, 6) not null check (it_power_kw >= 0),
    reason text, -- why it was released
    -- What the workload would have had without a decision, fixed when it was decided: {dc_id, starts_at, ends_at, it_power_kw,
    -- basis: "home" | "first_come"}. Null where no decision chose the place: an order, or what its owner moved.
    run_now jsonb,
    carried_out_by text not null
        check (carried_out_by in ('simulation', 'runner', 'order', 'flexibility', 'negotiation')),
    started_at timestamptz,
    ended_at timestamptz,
    -- The owner no longer wants what a runner runs: its runner stops it.
    cancel_requested_at timestamptz,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    flexibility_event_id uuid, -- no foreign key: events are made further down, and none is ever deleted
    negotiation_id uuid, -- likewise
    check (starts_at < ends_at),
    constraint capacity_bookings_job check (job_id is not null or source in ('flexibility', 'negotiation')),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
-- A workload has one place at a time.
create unique index if not exists capacity_bookings_open on public.capacity_bookings (tenant, job_id)
    where state in ('HELD', 'RUNNING');
create unique index if not exists capacity_bookings_order on public.capacity_bookings (order_id) where order_id is not null;
create index if not exists capacity_bookings_flexibility on public.capacity_bookings (flexibility_event_id)
    where flexibility_event_id is not null;
create index if not exists capacity_bookings_negotiation on public.capacity_bookings (negotiation_id)
    where negotiation_id is not null;
create unique index if not exists capacity_bookings_key on public.capacity_bookings (booking_key);
create index if not exists capacity_bookings_job on public.capacity_bookings (job_id, tenant, created_at desc);
create index if not exists capacity_bookings_data_centre on public.capacity_bookings (dc_id);
create index if not exists capacity_bookings_active on public.capacity_bookings (dc_id, starts_at)
    where state in ('HELD', 'RUNNING');
create index if not exists capacity_bookings_due on public.capacity_bookings (carried_out_by, scheduled_at)
    where work_state in ('available', 'running', 'retryable');

-- The sum of what the bookings that are HELD or RUNNING hold of a data centre, half-hour by half-hour: a trigger keeps it,
-- so that what was taken is given back exactly. A half-hour without a row holds nothing.
create table if not exists public.held_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    held_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists held_power_half_hour on public.held_power (half_hour);

-- What a kilowatt is worth in each half-hour by the joint plan of the work that can still be placed: one row for a pipeline run,
-- made anew as decisions are made. gbp_per_kw: {dc_id: [[i, £]…]}, from the i-th half-hour on; one that is not named is worth 0.
create table if not exists public.capacity_prices (
    slot timestamptz primary key references public.pipeline_runs on delete cascade,
    planned_at timestamptz not null,
    newest_event bigint not null, -- when it was planned: with another there may be other work
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    half_hours integer not null check (half_hours between 1 and 1000),
    workloads integer not null check (workloads >= 0),
    left_out integer not null check (left_out between 0 and workloads),
    method text not null check (method in ('each_alone', 'exact', 'search')),
    gbp_per_kw jsonb not null
);


