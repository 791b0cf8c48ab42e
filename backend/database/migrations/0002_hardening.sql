-- Compatible from: 1

-- The table schema_version is made by the first lines of supabase_schema.sql: version 1 had none.

-- Any text names a key, and a key_id is its platform's own: it was a UUID, and one platform's alone.
alter table public.beckn_subscribers
    drop constraint beckn_subscribers_pkey,
    alter column key_id type text using key_id::text,
    add constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
    add constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$');

-- Grids that decisions share, the greatest event number, and the pauses of workloads that found no place.
create table public.decision_grids (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    grid jsonb not null
);

alter table public.orchestration_decisions add column grid_digest text;

create table public.event_numbers (
    only_row boolean primary key default true check (only_row),
    newest bigint not null check (newest >= 0)
) with (fillfactor = 10);

create table public.workload_reconsiderations (
    job_id text primary key references public.compute_workloads on delete cascade,
    status text not null,
    asked integer not null default 0,
    waiting_since timestamptz not null,
    ask_again_at timestamptz not null,
    centres text,
    lowest_now double precision,
    lowest_ahead double precision
) with (fillfactor = 70);
