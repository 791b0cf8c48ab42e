-- Runners: programs on machines of a data centre that run what is booked there -----------------------------------------

-- One by its name, as it last registered. session tells its present process from earlier ones; templates: {name: {power_kw,
-- longest_s, parameters: {name: {pattern, optional}}}}.
create table if not exists public.runners (
    tenant text not null, -- whose data centre it stands in
    runner_id text not null check (runner_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    dc_id text not null references public.data_centres on delete cascade,
    session uuid not null,
    capacity_kw double precision not null check (capacity_kw > 0 and capacity_kw < 'infinity'),
    templates jsonb not null,
    registered_at timestamptz not null,
    seen_at timestamptz not null,
    primary key (tenant, runner_id)
);
create index if not exists runners_data_centre on public.runners (dc_id);

-- What a runner has said of a booking that it took. The lease is the booking's; fence is its token, and stays here when the
-- booking is done, so that whoever tells the end again is known.
create table if not exists public.runs (
    run_id bigint primary key references public.capacity_bookings (booking_id) on delete cascade,
    runner_tenant text not null,
    runner_id text not null,
    fence bigint not null,
    taken_at timestamptz not null,
    began_at timestamptz,
    heard_at timestamptz not null,
    ended text check (ended in ('exited', 'signalled', 'not_started', 'lost')),
    exit_status integer,
    signal integer,
    cause text,
    reason text,
    output_tail text,
    output_bytes bigint,
    run_s double precision check (run_s >= 0 and run_s < 'infinity'),
    -- IT energy so far: [{half_hour, energy_kwh, source: "rapl" | "power_x_time"}…]
    energy jsonb not null default '[]',
    ended_at timestamptz
);


