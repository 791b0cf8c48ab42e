-- Meters and accounts ---------------------------------------------------------------------------------------------------

-- What a run used in one half-hour, to the thousandth of a watt-hour. Written once, like the decisions: a correction is a further revision
-- of the same half-hour, and the newest counts. Only record_readings writes here. None is ever pruned.
create table if not exists public.meter_readings (
    -- No number: that would tell every tenant how much the others run.
    reading_id uuid primary key default gen_random_uuid(),
    -- No foreign key: it stays for as long as its workload, and that for as long as it has readings.
    booking_id bigint not null,
    dc_id text not null references public.data_centres,
    tenant text not null,
    job_id text not null,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    it_energy_wh numeric(18, 3) not null check (it_energy_wh >= 0),
    site_energy_wh numeric(18, 3) not null,
    source text not null check (source in ('simulated', 'rapl', 'power_x_time', 'reported')),
    revision integer not null check (revision > 0),
    recorded_at timestamptz not null default clock_timestamp(),
    check (site_energy_wh >= it_energy_wh),
    unique (booking_id, half_hour, revision),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index if not exists meter_readings_data_centre on public.meter_readings (dc_id, half_hour);
create index if not exists meter_readings_workload on public.meter_readings (tenant, job_id);
create index if not exists meter_readings_tenant_id on public.meter_readings (tenant, reading_id);
create index if not exists meter_readings_job on public.meter_readings (job_id);

-- The history of a data centre's load: what others drew, as the pipeline's run of the half-hour found it (null: there was
-- none), and what runs of ours used, which a trigger sums up from the readings.
create table if not exists public.data_centre_loads (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    total_capacity_mw double precision,
    base_load_percentage double precision check (base_load_percentage between 0 and 100),
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index if not exists data_centre_loads_half_hour on public.data_centre_loads (half_hour);

-- What each run came to, and what it would have come to without a decision. account_runs works it out, at the end of the
-- run and again as the grid's actual figures come, until settled_at.
create table if not exists public.run_accounts (
    booking_id bigint primary key references public.capacity_bookings on delete cascade,
    booking_key uuid not null references public.capacity_bookings (booking_key) on delete cascade,
    tenant text not null,
    job_id text not null,
    dc_id text not null references public.data_centres,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    -- Null: unknown for one of its half-hours. So are the others below.
    carbon_gco2 double precision,
    cost_gbp double precision,
    -- The counterfactual: the same run moved to run_now_starts_at at run_now_dc_id. Null: the decision fixed none.
    run_now_dc_id text,
    run_now_starts_at timestamptz,
    run_now_pue double precision,
    -- Whether there would have been power for it there, beside all counterfactuals that are credited already.
    run_now_fits boolean,
    run_now_site_energy_wh double precision,
    run_now_carbon_gco2 double precision,
    run_now_cost_gbp double precision,
    -- What the decision said of both.
    predicted_carbon_gco2 double precision,
    predicted_cost_gbp double precision,
    predicted_run_now_carbon_gco2 double precision,
    predicted_run_now_cost_gbp double precision,
    basis jsonb not null default '{}',
    revision integer not null default 0,
    accounted_at timestamptz not null,
    settled_at timestamptz,
    check (started_at < ended_at),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70);
create index if not exists run_accounts_started on public.run_accounts (started_at);
create index if not exists run_accounts_tenant_started on public.run_accounts (tenant, started_at);
create unique index if not exists run_accounts_key on public.run_accounts (booking_key);
create index if not exists run_accounts_job on public.run_accounts (job_id, tenant);
create index if not exists run_accounts_data_centre on public.run_accounts (dc_id);
create index if not exists run_accounts_unsettled on public.run_accounts (booking_id) where settled_at is null;

-- The power that all credited counterfactuals together would have held: never more than a data centre has, since savings
-- against runs that could not have been all at once would be counted against nothing.
create table if not exists public.run_now_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    power_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index if not exists run_now_power_half_hour on public.run_now_power (half_hour);

