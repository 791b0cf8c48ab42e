-- Compatible from: 1

-- What a kilowatt is worth in each half-hour by the joint plan of the work that can still be placed: one row for a pipeline run,
-- made anew as decisions are made. gbp_per_kw: {dc_id: [[i, £]…]}, from the i-th half-hour on; one that is not named is worth 0.
create table public.capacity_prices (
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
