-- Imbalance, margin and the Demand Flexibility Service -----------------------------------------------------------------

-- Every settlement run's price. Written once: a later run is a further row. Exact decimals, for money is settled by them.
create table if not exists public.system_price_revisions (
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    revision integer not null check (revision > 0),
    system_price_gbp_mwh numeric not null check (system_price_gbp_mwh between -1e6 and 1e6),
    net_imbalance_volume_mwh numeric check (net_imbalance_volume_mwh between -1e6 and 1e6),
    reserve_scarcity_price_gbp_mwh numeric check (reserve_scarcity_price_gbp_mwh between -1e6 and 1e6),
    derivation_code text check (derivation_code ~ '^[A-Za-z0-9]{1,8}$'),
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null,
    primary key (half_hour, revision)
);
-- The newest of each half-hour that the grid is known of.
create table if not exists public.system_prices (
    half_hour timestamptz primary key references public.grid_signals (timestamp) on delete cascade,
    revision integer not null,
    system_price_gbp_mwh numeric not null,
    net_imbalance_volume_mwh numeric,
    reserve_scarcity_price_gbp_mwh numeric,
    derivation_code text,
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

create table if not exists public.loss_of_load_forecasts (
    half_hour timestamptz primary key check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    probability numeric not null check (probability between 0 and 1),
    derated_margin_mw numeric not null check (derated_margin_mw between -1e6 and 1e6),
    horizon_hours integer check (horizon_hours >= 0),
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

-- NESO's Demand Flexibility Service. An event's name begins with the delivery year, in which its number is its own.
create table if not exists public.dfs_events (
    event_ref text primary key check (event_ref ~ '^[0-9]{4}-[0-9]{1,7}$'),
    event_id integer not null check (event_id > 0),
    direction text not null check (direction in ('Downwards', 'Upwards')),
    tag text not null check (tag in ('Energy', 'System')),
    requirement_type text not null check (requirement_type in ('Live', 'Test')),
    delivery_date date not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    submitted_at timestamptz,
    dispatch_type text,
    participants jsonb,
    requirements_digest text,
    bids_digest text,
    summaries_digest text,
    fetched_at timestamptz not null
);
create index if not exists dfs_events_ends on public.dfs_events (ends_at);

create table if not exists public.dfs_periods (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    requirement_mw numeric check (requirement_mw between 0 and 1e6),
    guaranteed_price_gbp_mwh numeric check (guaranteed_price_gbp_mwh between -1e6 and 1e6),
    zonal_caps_mw jsonb,
    procured_mw numeric check (procured_mw between 0 and 1e6),
    accepted_cost_gbp numeric check (accepted_cost_gbp between -1e10 and 1e10),
    settled_mw numeric check (settled_mw between -1e6 and 1e6),
    settled_cost_gbp numeric check (settled_cost_gbp between -1e10 and 1e10),
    primary key (event_ref, half_hour)
);

create table if not exists public.dfs_bids (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null,
    unit_id text not null,
    bid_number integer not null check (bid_number > 0),
    participant text not null,
    zone integer not null,
    bid_mw numeric not null check (bid_mw between 0 and 1e6),
    price_gbp_mwh numeric not null check (price_gbp_mwh between -1e6 and 1e6),
    status text not null check (status in ('Accepted', 'Rejected')),
    primary key (event_ref, half_hour, unit_id, bid_number)
);

