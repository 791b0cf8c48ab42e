
-- Flexibility that is sold ---------------------------------------------------------------------------------------------
--
-- Whoever needs less load announces an event; what can give way is offered, committed, notified before gate closure,
-- delivered, measured against a baseline and settled. tenant is whose event it is: 'platform' of whoever sees everything,
-- whose events all may read; an operator's are its own, and move its own work at its own data centres. Volumes are MWh,
-- money is numeric: nothing here is a floating-point number. All but the events is written once.

-- What is sold together: the data centres of one owner in one GSP group.
create table if not exists public.flexibility_units (
    unit_id text primary key check (unit_id ~ '^V__[A-Z0-9]{1,8}$'),
    tenant text not null,
    gsp_group text not null check (gsp_group ~ '^_[A-P]$'),
    region_id integer not null references public.regions,
    created_at timestamptz not null default clock_timestamp(),
    unique (tenant, gsp_group)
);
create index if not exists flexibility_units_region on public.flexibility_units (region_id);

-- A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when the next step is due.
create table if not exists public.flexibility_events (
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
create index if not exists flexibility_events_tenant on public.flexibility_events (tenant, starts_at desc, event_id desc);
create index if not exists flexibility_events_newest on public.flexibility_events (starts_at desc, event_id desc);
create index if not exists flexibility_events_due on public.flexibility_events (scheduled_at)
    where work_state in ('available', 'running', 'retryable');

-- Why each event went from one state to the next, and on what figures: an audit log like the decisions', with a chain of its
-- own for each tenant.
create table if not exists public.flexibility_decisions (
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
create index if not exists flexibility_decisions_event on public.flexibility_decisions (event_id, chain_position);

-- Workloads that gave way. J is in pounds; freed_mwh is by half-hour of the event. tenant is whose workload it is.
create table if not exists public.flexibility_moves (
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
create index if not exists flexibility_moves_workload on public.flexibility_moves (tenant, job_id);
create index if not exists flexibility_moves_job on public.flexibility_moves (job_id);
create index if not exists flexibility_moves_unit on public.flexibility_moves (unit_id);
create index if not exists flexibility_moves_from on public.flexibility_moves (from_dc_id);
create index if not exists flexibility_moves_to on public.flexibility_moves (to_dc_id);

-- What was sold, by unit and half-hour.
create table if not exists public.flexibility_commitments (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    committed_mwh numeric not null check (committed_mwh >= 0),
    primary key (event_id, unit_id, half_hour)
);
create index if not exists flexibility_commitments_unit on public.flexibility_commitments (unit_id, half_hour);

-- What would be drawn without the event, and the days that say so.
create table if not exists public.flexibility_baselines (
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
create index if not exists flexibility_baselines_data_centre on public.flexibility_baselines (dc_id, half_hour);
create index if not exists flexibility_baselines_unit on public.flexibility_baselines (unit_id);

-- What batteries do for an event, half-hour by half-hour, until they have back what they gave: so long nobody else has them.
create table if not exists public.flexibility_storage (
    event_id uuid not null references public.flexibility_events,
    asset_id text not null references public.storage_assets,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    charge_mw numeric not null check (charge_mw >= 0),
    discharge_mw numeric not null check (discharge_mw >= 0),
    primary key (event_id, asset_id, half_hour)
);
create index if not exists flexibility_storage_asset on public.flexibility_storage (asset_id, half_hour);
create index if not exists flexibility_storage_unit on public.flexibility_storage (unit_id);

-- What was told before gate closure, by unit and half-hour: that the unit trades (WMAN), the contracted volume (ECVN) and,
-- for a submitted expected volume, that (SEV, negative: import). Simulated: nobody receives it.
create table if not exists public.flexibility_notifications (
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
create index if not exists flexibility_notifications_unit on public.flexibility_notifications (unit_id);

-- What an event came to, run by run: a later run has the later prices and readings, and changes no earlier one.
create table if not exists public.flexibility_settlements (
    event_id uuid not null references public.flexibility_events,
    run integer not null check (run > 0),
    tenant text not null,
    settled_at timestamptz not null,
    received_gbp numeric not null,
    -- By half-hour and site: all that the amounts are worked out from.
    inputs jsonb not null,
    primary key (event_id, run)
);

create table if not exists public.flexibility_cashflows (
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

