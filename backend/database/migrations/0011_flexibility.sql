-- Compatible from: 1

-- Flexibility that is sold to the grid: units, events and their life, what was moved, committed, notified and settled.
alter table public.capacity_bookings alter column job_id drop not null;
alter table public.capacity_bookings add column flexibility_event_id uuid;
alter table public.capacity_bookings drop constraint capacity_bookings_carried_out_by_check;
alter table public.capacity_bookings add constraint capacity_bookings_carried_out_by_check
    check (carried_out_by in ('simulation', 'runner', 'order', 'flexibility'));
alter table public.capacity_bookings add constraint capacity_bookings_job check (job_id is not null or source = 'flexibility');
create index capacity_bookings_flexibility on public.capacity_bookings (flexibility_event_id)
    where flexibility_event_id is not null;

create table public.flexibility_units (
    unit_id text primary key check (unit_id ~ '^V__[A-Z0-9]{1,8}$'),
    tenant text not null,
    gsp_group text not null check (gsp_group ~ '^_[A-P]$'),
    region_id integer not null references public.regions,
    created_at timestamptz not null default clock_timestamp(),
    unique (tenant, gsp_group)
);
create index flexibility_units_region on public.flexibility_units (region_id);

create table public.flexibility_events (
    event_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    -- How it came in, and what the source calls it.
    door text not null check (door in ('dfs', 'beckn', 'openadr', 'manual')),
    source_id text not null check (length(source_id) between 1 and 200),
    -- The rule that it is paid by.
    programme text not null check (programme in ('P415', 'DFS', 'DEG')),
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    ends_at timestamptz not null,
    -- An hour before its first half-hour: from then on nothing about it changes.
    gate_closes_at timestamptz not null,
    -- By half-hour: how much less is to be drawn, and what is paid for it.
    need_mw numeric[] not null,
    price_gbp_per_mwh numeric[] not null,
    penalty_gbp_per_mwh numeric[],
    compensation text not null check (compensation in ('mutualised', 'bilateral')),
    in_day text not null check (in_day in ('additive', 'none')),
    document jsonb not null default '{}',
    state text not null default 'ANNOUNCED'
        check (state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED', 'DECLINED', 'MISSED', 'CANCELLED')),
    state_reason text,
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
    announced_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp(),
    unique (tenant, door, source_id),
    check (cardinality(need_mw) between 1 and 96 and cardinality(price_gbp_per_mwh) = cardinality(need_mw)),
    check (penalty_gbp_per_mwh is null or cardinality(penalty_gbp_per_mwh) = cardinality(need_mw)),
    check (ends_at = starts_at + cardinality(need_mw) * interval '30 minutes')
) with (fillfactor = 70);
create index flexibility_events_tenant on public.flexibility_events (tenant, starts_at desc, event_id desc);
create index flexibility_events_newest on public.flexibility_events (starts_at desc, event_id desc);
create index flexibility_events_due on public.flexibility_events (scheduled_at)
    where work_state in ('available', 'running', 'retryable');

create table public.flexibility_decisions (
    decision_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    event_id uuid not null references public.flexibility_events,
    from_state text,
    to_state text not null,
    reason text,
    content jsonb not null default '{}',
    decided_at timestamptz not null,
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null,
    unique (tenant, chain_position)
);
create index flexibility_decisions_event on public.flexibility_decisions (event_id, chain_position);

create table public.flexibility_moves (
    event_id uuid not null references public.flexibility_events,
    tenant text not null,
    job_id text not null,
    unit_id text not null references public.flexibility_units,
    from_dc_id text not null references public.data_centres,
    from_starts_at timestamptz not null,
    to_dc_id text not null references public.data_centres,
    to_starts_at timestamptz not null,
    it_power_kw numeric(16, 6) not null,
    keep_gbp numeric not null,
    delta_gbp numeric not null,
    freed_mwh numeric[] not null,
    -- No foreign key: a notification is pruned in time. The decision that moved it has its number.
    notification_id bigint not null,
    primary key (event_id, tenant, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index flexibility_moves_workload on public.flexibility_moves (tenant, job_id);
create index flexibility_moves_job on public.flexibility_moves (job_id);
create index flexibility_moves_unit on public.flexibility_moves (unit_id);
create index flexibility_moves_from on public.flexibility_moves (from_dc_id);
create index flexibility_moves_to on public.flexibility_moves (to_dc_id);

create table public.flexibility_commitments (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    committed_mwh numeric not null check (committed_mwh >= 0),
    primary key (event_id, unit_id, half_hour)
);
create index flexibility_commitments_unit on public.flexibility_commitments (unit_id, half_hour);

create table public.flexibility_baselines (
    event_id uuid not null references public.flexibility_events,
    dc_id text not null references public.data_centres,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    -- BL01 from history; SEV, a submitted expected volume (what was booked), where there is no history.
    method text not null check (method in ('BL01', 'SEV')),
    version text not null,
    days date[] not null,
    wanted_days integer not null,
    unadjusted_mwh numeric not null,
    adjustment_mwh numeric not null,
    baseline_mwh numeric not null,
    in_day text not null,
    primary key (event_id, dc_id, half_hour)
);
create index flexibility_baselines_data_centre on public.flexibility_baselines (dc_id, half_hour);
create index flexibility_baselines_unit on public.flexibility_baselines (unit_id);

create table public.flexibility_notifications (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    kind text not null check (kind in ('WMAN', 'ECVN', 'SEV')),
    tenant text not null,
    volume_mwh numeric,
    sent_at timestamptz not null,
    is_simulated boolean not null default true,
    primary key (event_id, unit_id, half_hour, kind)
);
create index flexibility_notifications_unit on public.flexibility_notifications (unit_id);

create table public.flexibility_settlements (
    event_id uuid not null references public.flexibility_events,
    run integer not null check (run > 0),
    tenant text not null,
    settled_at timestamptz not null,
    received_gbp numeric not null,
    -- By half-hour and site: all that the amounts are worked out from.
    inputs jsonb not null,
    primary key (event_id, run)
);

create table public.flexibility_cashflows (
    event_id uuid not null,
    run integer not null,
    place integer not null check (place > 0),
    tenant text not null,
    kind text not null
        check (kind in ('trade', 'imbalance', 'compensation', 'utilisation', 'delivery', 'penalty')),
    half_hour timestamptz not null,
    payer text not null,
    payee text not null check (payee <> payer),
    amount_gbp numeric not null check (amount_gbp >= 0),
    primary key (event_id, run, place),
    foreign key (event_id, run) references public.flexibility_settlements (event_id, run)
);

