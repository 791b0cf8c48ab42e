-- Tables -------------------------------------------------------------------------------------------------------

create table if not exists public.operators (
    operator_id text primary key check (operator_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator_type text not null default 'OTHER'
        check (operator_type in ('CLOUD', 'COLOCATION', 'AI_LAB', 'GRID', 'STORAGE', 'OTHER')),
    country text not null default 'GB',
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists public.regions (
    region_id integer primary key check (region_id between 1 and 17),
    short_name text not null unique,
    dno_region text not null,
    country text not null,
    is_aggregate boolean not null default false,
    latitude double precision not null,
    longitude double precision not null
);

create table if not exists public.grid_signals (
    timestamp timestamptz primary key check (timestamp = date_bin('30 minutes', timestamp, '2000-01-01 00:00:00+00')),
    settlement_period integer not null check (settlement_period between 1 and 50),
    carbon_intensity_forecast double precision check (carbon_intensity_forecast >= 0 and carbon_intensity_forecast < 'infinity'),
    carbon_intensity_actual double precision check (carbon_intensity_actual >= 0 and carbon_intensity_actual < 'infinity'),
    carbon_index text check (carbon_index in ('very low', 'low', 'moderate', 'high', 'very high')),
    demand_mw double precision check (demand_mw > 0 and demand_mw < 'infinity'),
    grid_stress_score double precision check (grid_stress_score between 0 and 1),
    wholesale_price_gbp_mwh double precision
        check (wholesale_price_gbp_mwh > '-infinity' and wholesale_price_gbp_mwh < 'infinity'),
    carbon_source text check (carbon_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    demand_source text check (demand_source in ('neso', 'elexon', 'modelled', 'synthetic')),
    price_source text check (price_source in ('elexon', 'modelled', 'synthetic')),
    carbon_fetched_at timestamptz,
    demand_fetched_at timestamptz,
    price_fetched_at timestamptz,
    -- The age of a row is the age of its oldest figure.
    fetched_at timestamptz generated always as (least(carbon_fetched_at, demand_fetched_at, price_fetched_at)) stored,
    -- A modelled demand that lies on the curve between NESO's cardinal points: nearer to a published one than a model.
    demand_interpolated boolean not null default false,
    check ((carbon_intensity_forecast is null and carbon_intensity_actual is null) or carbon_source is not null),
    check (demand_mw is null or demand_source is not null),
    check (wholesale_price_gbp_mwh is null or price_source is not null)
) with (fillfactor = 80);

create table if not exists public.regional_grid_signals (
    region_id integer not null references public.regions,
    timestamp timestamptz not null check (timestamp = date_bin('30 minutes', timestamp, '2000-01-01 00:00:00+00')),
    carbon_intensity_forecast double precision check (carbon_intensity_forecast >= 0 and carbon_intensity_forecast < 'infinity'),
    carbon_index text check (carbon_index in ('very low', 'low', 'moderate', 'high', 'very high')),
    carbon_source text not null check (carbon_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    fetched_at timestamptz not null,
    -- Region first: the latest row of each region is then one short descent of the index, however long the history.
    primary key (region_id, timestamp)
) with (fillfactor = 80);

create table if not exists public.generation_mix (
    mix_id bigint generated always as identity primary key,
    region_id integer references public.regions,
    timestamp timestamptz not null,
    fuel text not null
        check (fuel in ('biomass', 'coal', 'imports', 'gas', 'nuclear', 'other', 'hydro', 'solar', 'wind')),
    percentage double precision not null check (percentage between 0 and 100.5),
    mix_source text not null check (mix_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    -- A mix belongs to one signal: the region's, or the national one where there is no region.
    national_timestamp timestamptz generated always as (case when region_id is null then timestamp end) stored
        references public.grid_signals (timestamp) on delete cascade,
    unique nulls not distinct (region_id, timestamp, fuel),
    foreign key (region_id, timestamp) references public.regional_grid_signals (region_id, timestamp) on delete cascade
);
create index if not exists generation_mix_national on public.generation_mix (national_timestamp)
    where national_timestamp is not null;

create table if not exists public.data_centres (
    dc_id text primary key check (dc_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator text references public.operators,
    -- Whose row it is: "local" where no operator is stated. What is private is keyed by it, in every table of that kind.
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    region_id integer not null references public.regions,
    location_region text not null,
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180),
    pue double precision not null check (pue >= 1 and pue < 'infinity'),
    total_capacity_teraflops double precision not null check (total_capacity_teraflops >= 0 and total_capacity_teraflops < 'infinity'),
    total_capacity_mw double precision not null check (total_capacity_mw >= 0 and total_capacity_mw < 'infinity'),
    current_load_percentage double precision not null check (current_load_percentage between 0 and 100),
    -- What others than our bookings draw; null: what it draws at present.
    base_load_percentage double precision check (base_load_percentage between 0 and 100),
    flexibility_rating double precision not null check (flexibility_rating between 0 and 1),
    min_load_percentage double precision not null default 0 check (min_load_percentage between 0 and 100),
    ramp_rate_mw_per_min double precision check (ramp_rate_mw_per_min >= 0 and ramp_rate_mw_per_min < 'infinity'),
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'MAINTENANCE', 'OFFLINE', 'CONSTRAINED')),
    -- Who runs what is booked there: nobody, which is simulated, or its owner's runners.
    execution text not null default 'simulated' check (execution in ('simulated', 'runner')),
    -- Taken from the region's signal by the pipeline, with the half-hour it is true for.
    current_carbon_intensity_gco2 double precision check (current_carbon_intensity_gco2 >= 0 and current_carbon_intensity_gco2 < 'infinity'),
    carbon_intensity_timestamp timestamptz,
    carbon_intensity_source text check (carbon_intensity_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index if not exists data_centres_region on public.data_centres (region_id);
create index if not exists data_centres_operator on public.data_centres (operator);
create index if not exists data_centres_tenant on public.data_centres (tenant, dc_id);
create index if not exists data_centres_status on public.data_centres (status);

create table if not exists public.compute_workloads (
    job_id text not null check (job_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    host_dc_id text references public.data_centres,
    workload_type text not null
        check (workload_type in ('TRAINING_RUN', 'INFERENCE_BATCH', 'RAG_QUERY', 'FINE_TUNING', 'DATA_PROCESSING', 'OTHER')),
    urgency text not null default 'MEDIUM' check (urgency in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    required_gpu_mins double precision check (required_gpu_mins >= 0 and required_gpu_mins < 'infinity'),
    required_cpu_cores integer check (required_cpu_cores >= 0),
    required_memory_gb double precision check (required_memory_gb >= 0 and required_memory_gb < 'infinity'),
    estimated_energy_kwh double precision check (estimated_energy_kwh >= 0 and estimated_energy_kwh < 'infinity'),
    carbon_cap_gco2 double precision check (carbon_cap_gco2 >= 0 and carbon_cap_gco2 < 'infinity'),
    max_price_gbp double precision check (max_price_gbp >= 0 and max_price_gbp < 'infinity'),
    deadline timestamptz,
    deferral_window_mins integer check (deferral_window_mins >= 0),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'DEFERRED_GRID_STRESS',
                          'DEFERRED_CARBON', 'DEFERRED_PRICE', 'CANCELLED')),
    status_reason text,
    scheduled_start timestamptz,
    actual_start timestamptz,
    actual_end timestamptz,
    actual_energy_kwh double precision check (actual_energy_kwh >= 0 and actual_energy_kwh < 'infinity'),
    actual_carbon_gco2 double precision check (actual_carbon_gco2 >= 0 and actual_carbon_gco2 < 'infinity'),
    actual_cost_gbp double precision check (actual_cost_gbp > '-infinity' and actual_cost_gbp < 'infinity'),
    -- What these rest on: see run_accounts.
    actuals_basis jsonb,
    -- What a runner is to run: {"template", "parameters"}, of a template that the runner's owner has configured.
    run jsonb,
    -- Of the request as it was sent: tells a repeated submission from a different one with the same job_id.
    submission_digest text,
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Each tenant names its own: what names another has taken is nobody's business.
    primary key (tenant, job_id)
);
create index if not exists compute_workloads_job on public.compute_workloads (job_id);
create index if not exists compute_workloads_tenant_newest on public.compute_workloads (
    tenant, created_at desc, job_id desc);
create index if not exists compute_workloads_tenant_open on public.compute_workloads (
    tenant, created_at desc, job_id desc)
    where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index if not exists compute_workloads_tenant_status on public.compute_workloads (
    tenant, status, created_at desc, job_id desc);
create index if not exists compute_workloads_newest on public.compute_workloads (created_at desc, job_id desc);
create index if not exists compute_workloads_by_status on public.compute_workloads (status, created_at desc, job_id desc);
create index if not exists compute_workloads_open on public.compute_workloads (created_at desc)
    where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index if not exists compute_workloads_operator on public.compute_workloads (operator) where operator is not null;
create index if not exists compute_workloads_host on public.compute_workloads (host_dc_id) where host_dc_id is not null;

create table if not exists public.agents (
    agent_id text primary key check (agent_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    agent_type text not null,
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'platform')) stored, -- our gateways state none
    version text,
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'STOPPED')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant, agent_id)
);
create index if not exists agents_operator on public.agents (operator) where operator is not null;

create table if not exists public.agent_states (
    state_id bigint generated always as identity primary key,
    tenant text not null,
    agent_id text not null,
    state text not null,
    detail text,
    observed_at timestamptz not null default now(),
    tenant_state_id bigint, -- counts its tenant's alone
    foreign key (tenant, agent_id) references public.agents (tenant, agent_id) on delete cascade,
    unique (tenant, tenant_state_id)
);
create index if not exists agent_states_latest on public.agent_states (agent_id, observed_at desc);
create index if not exists agent_states_tenant on public.agent_states (tenant, observed_at desc, state_id desc);
create index if not exists agent_states_observed on public.agent_states (observed_at);

create table if not exists public.storage_assets (
    asset_id text primary key check (asset_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    region_id integer not null references public.regions,
    asset_type text not null default 'BATTERY' check (asset_type in ('BATTERY', 'PUMPED_HYDRO', 'OTHER')),
    capacity_mwh double precision not null check (capacity_mwh >= 0 and capacity_mwh < 'infinity'),
    power_mw double precision not null check (power_mw >= 0 and power_mw < 'infinity'),
    state_of_charge_percentage double precision check (state_of_charge_percentage between 0 and 100),
    round_trip_efficiency double precision check (round_trip_efficiency between 0 and 1),
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'MAINTENANCE', 'OFFLINE')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index if not exists storage_assets_region on public.storage_assets (region_id);
create index if not exists storage_assets_tenant on public.storage_assets (tenant, asset_id);
create index if not exists storage_assets_operator on public.storage_assets (operator);

-- The queues of work (here, beckn_inbox, beckn_outbox, beckn_orders, capacity_bookings and pipeline_runs) have the same
-- columns for it: work_state, scheduled_at (when it may be taken), attempt, max_attempts (null: no bound), lost_leases (of
-- the attempts, those whose holder never said how they ended: a killed process, or a database that was away), lease_token,
-- leased_until, leased_by, last_error and finished_at; and where senders take turns, turn.
create table if not exists public.workload_notifications (
    notification_id bigint generated always as identity primary key,
    tenant text not null,
    job_id text not null,
    reason text not null default 'submitted' check (reason in ('submitted', 'reconsidered')),
    -- Whose turn it takes: its tenant's.
    fairness_key text not null default '',
    turn bigint not null default 0,
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
    -- While a model thinks about it: what it was given.
    context jsonb,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- Whether nothing is left to do. What is discarded was never decided and may be queued again, so it is not processed.
    processed boolean generated always as (work_state = 'completed') stored,
    -- By these names and words programs of version 1 read it.
    state text generated always as (
        case work_state
            when 'running' then 'leased' when 'completed' then 'done' when 'discarded' then 'dead' else 'ready' end) stored,
    attempts integer generated always as (attempt) stored,
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists workload_notifications_due on public.workload_notifications (turn, notification_id)
    where work_state = 'available';
create index if not exists workload_notifications_retryable on public.workload_notifications (scheduled_at)
    where work_state = 'retryable';
create index if not exists workload_notifications_running on public.workload_notifications (turn)
    where work_state = 'running';
create index if not exists workload_notifications_turns on public.workload_notifications (fairness_key, turn)
    where work_state in ('available', 'running', 'retryable');
create index if not exists workload_notifications_discarded on public.workload_notifications (notification_id)
    where work_state = 'discarded';
create index if not exists workload_notifications_finished on public.workload_notifications (finished_at)
    where work_state = 'completed';
create index if not exists workload_notifications_job on public.workload_notifications (tenant, job_id);
-- At most one that is not completed for each workload: it is decided by one worker at a time.
create unique index if not exists workload_notifications_open on public.workload_notifications (tenant, job_id)
    where work_state <> 'completed';
create sequence if not exists public.lease_tokens;

-- Written to by whoever wants to know whether the database takes writes: a full disk and a standby answer reads all the same.
create table if not exists public.write_probe (
    only_row boolean primary key default true check (only_row),
    written_at timestamptz not null check (isfinite(written_at))
) with (fillfactor = 10);

-- The transactions that wrote what decisions are made from, of the last hours: triggers write them, and grid_version tells
-- one grid from another by them.
create table if not exists public.grid_changes (
    transaction xid8 primary key default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp()
);

-- The grids that decisions were made on, each once: all decisions of a half-hour share one. Like the audit log they are
-- written once, and none is ever pruned.
create table if not exists public.decision_grids (
    -- SHA-256 of the document as PostgreSQL writes a jsonb, in hexadecimal.
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    grid jsonb not null
);

-- "context" is the whole of the inputs where grid_digest is null; else what is the decision's own of them (task, as_of,
-- settings), and the rest is the grid. The view audited_decisions puts them together.
create table if not exists public.orchestration_decisions (
    decision_id uuid primary key default gen_random_uuid(),
    -- No foreign key: a notification is pruned in time, the decision stays.
    notification_id bigint unique,
    sequence bigint unique,
    tenant text not null,
    tenant_sequence bigint check (tenant_sequence > 0), -- counts its tenant's events alone: 1, 2, 3 …
    job_id text not null,
    agent_id text references public.agents,
    chosen_dc_id text references public.data_centres,
    recommended_start timestamptz,
    scorer text not null check (scorer in ('gemini', 'deterministic')),
    model text,
    scorer_version text not null,
    fallback_reason text,
    reasoning text,
    constraints_evaluated jsonb not null default '[]',
    alternatives_considered jsonb not null default '[]',
    context jsonb not null,
    output json not null, -- as text: served as it was published, its keys in their order
    token_usage jsonb,
    decided_at timestamptz not null default clock_timestamp(),
    -- No foreign key, which would lock the grid at every decision: no grid is ever changed or deleted.
    grid_digest text,
    -- The hash of all of this and of the decision before it among the tenant's: a trigger fills them.
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null,
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id),
    unique (tenant, tenant_sequence),
    unique (tenant, chain_position)
);
create index if not exists orchestration_decisions_tenant_newest on public.orchestration_decisions (
    tenant, decided_at desc);
create index if not exists orchestration_decisions_tenant_job on public.orchestration_decisions (
    tenant, job_id, decided_at desc);
create index if not exists orchestration_decisions_tenant_id on public.orchestration_decisions (tenant, decision_id);
create index if not exists orchestration_decisions_newest on public.orchestration_decisions (decided_at desc);
create index if not exists orchestration_decisions_job on public.orchestration_decisions (job_id, decided_at desc);
create index if not exists orchestration_decisions_agent on public.orchestration_decisions (agent_id, decided_at desc);
create index if not exists orchestration_decisions_choice on public.orchestration_decisions (chosen_dc_id, decided_at desc);

-- A queue of work, with the columns of all of them (see workload_notifications); "state" is how a run ended, or running.
create table if not exists public.pipeline_runs (
    slot timestamptz primary key check (slot = date_bin('30 minutes', slot, '2000-01-01 00:00:00+00')),
    state text not null check (state in ('running', 'succeeded', 'partial', 'failed')),
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer, -- null: as often as it is asked for
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    sources jsonb not null default '{}',
    counts jsonb not null default '{}',
    stages_ms jsonb not null default '{}'
);
create index if not exists pipeline_runs_finished on public.pipeline_runs (finished_at desc) where finished_at is not null;

create table if not exists public.broadcast_log (
    sequence bigint primary key check (sequence > 0),
    event_type text not null,
    job_id text,
    notification_id bigint unique,
    event jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    -- An event of nobody's is the platform's, unless it is everybody's: no tenant sees it.
    tenant text,
    tenant_sequence bigint check (tenant_sequence > 0),
    topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            when event_type like 'negotiation.%' then 'negotiations'
            else 'decisions' end) stored,
    subject text,
    summary jsonb,
    -- For everybody, and how many such events there had been, itself included: they have a number in every tenant's count.
    is_everybodys boolean not null default false,
    everybodys bigint not null default 0 check (everybodys >= 0),
    unique (tenant, tenant_sequence),
    check (not is_everybodys or tenant is null)
);
create index if not exists broadcast_log_created on public.broadcast_log (created_at);
create index if not exists broadcast_log_tenant on public.broadcast_log (tenant, sequence);
create index if not exists broadcast_log_job on public.broadcast_log (job_id, sequence) where job_id is not null;
create unique index if not exists broadcast_log_everybodys on public.broadcast_log (everybodys) where is_everybodys;

-- The number of the newest event there has ever been, in one row: the log itself may be pruned or emptied.
create table if not exists public.event_numbers (
    only_row boolean primary key default true check (only_row),
    newest bigint not null check (newest >= 0),
    everybodys bigint not null default 0 check (everybodys >= 0)
) with (fillfactor = 10);

-- The same for each tenant: of its events, and of its agents' states.
create table if not exists public.tenant_numbers (
    tenant text primary key,
    newest bigint not null default 0 check (newest >= 0),
    newest_state bigint not null default 0 check (newest_state >= 0),
    -- How many of everybody's events there had been when "newest" was given.
    everybodys bigint not null default 0 check (everybodys >= 0)
) with (fillfactor = 10);

-- How often a workload that found no place has been asked about again, and when it is next. "lowest_now" and
-- "lowest_ahead" are the easiest of what it waits for, in the present half-hour and in the 48 hours ahead, that any of
-- these questions met; "centres" tells the data centres then from others.
create table if not exists public.workload_reconsiderations (
    tenant text not null,
    job_id text not null,
    status text not null,
    asked integer not null default 0,
    waiting_since timestamptz not null,
    ask_again_at timestamptz not null,
    centres text,
    lowest_now double precision,
    lowest_ahead double precision,
    primary key (tenant, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70);

create table if not exists public.output_consumers (
    -- Whose consumer it is; "local": of whoever sees everything.
    tenant text not null default 'local',
    consumer text not null check (consumer ~ '^[A-Za-z0-9._:-]{1,64}$'),
    -- The sequences of acknowledged outputs. Neighbours merge, so it stays small however many there are.
    acknowledged int8multirange not null default '{}',
    -- The same in the tenant's own numbers, which it acknowledges by where there are several.
    tenant_acknowledged int8multirange not null default '{}',
    primary key (tenant, consumer)
);

create table if not exists public.processed_contexts (
    tenant text not null,
    consumer text not null check (consumer ~ '^[A-Za-z0-9._:-]{1,64}$'),
    job_id text not null,
    processed_at timestamptz not null default clock_timestamp(),
    primary key (tenant, consumer, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
);
create index if not exists processed_contexts_job on public.processed_contexts (tenant, job_id);
create index if not exists processed_contexts_processed on public.processed_contexts (processed_at);


