-- Tenants: who may act for which operator ------------------------------------------------------------------------------

-- user_id: the "sub" of a user's token, or svc:<uuid> of a service account.
create table if not exists tenancy.memberships (
    user_id text not null check (length(user_id) between 1 and 200 and user_id !~ '[[:cntrl:]]'),
    operator_id text not null references public.operators on delete cascade,
    role text not null check (role in ('admin', 'member', 'reader')),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    primary key (user_id, operator_id)
);
create index if not exists memberships_operator on tenancy.memberships (operator_id, user_id);

create table if not exists tenancy.service_accounts (
    service_account_id uuid primary key default gen_random_uuid(),
    operator_id text not null references public.operators on delete cascade,
    name text not null check (length(name) between 1 and 200 and name !~ '[[:cntrl:]]'),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    disabled_at timestamptz,
    unique (operator_id, service_account_id)
);

-- Of a key only its SHA-256 is kept: the key itself is shown once, to whoever made it.
create table if not exists tenancy.api_keys (
    key_id text primary key check (key_id ~ '^[A-Za-z0-9]{12}$'),
    digest text not null unique check (digest ~ '^[0-9a-f]{64}$'),
    operator_id text not null,
    service_account_id uuid not null,
    scopes text[] not null default '{}' check (cardinality(scopes) <= 100),
    name text not null check (length(name) between 1 and 200 and name !~ '[[:cntrl:]]'),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null check (isfinite(expires_at)),
    last_used_at timestamptz,
    revoked_at timestamptz,
    replaces text,
    -- A key is filed under its account's operator, and under no other.
    foreign key (operator_id, service_account_id) references tenancy.service_accounts (operator_id, service_account_id)
        on delete cascade
);
create index if not exists api_keys_operator on tenancy.api_keys (operator_id, created_at desc);
create index if not exists api_keys_account on tenancy.api_keys (operator_id, service_account_id);

-- Who did what, and who was refused what. Written once, like the decisions.
create table if not exists tenancy.audit_events (
    event_id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp() check (isfinite(at)),
    operator_id text,
    principal text,
    credential_id text,
    action text not null check (length(action) between 1 and 100),
    object text,
    outcome text not null check (outcome in ('allowed', 'refused', 'failed')),
    request_id text,
    detail jsonb not null default '{}'
);
create index if not exists audit_events_operator on tenancy.audit_events (operator_id, event_id desc);

-- What an operator may do other than the usual. per_seconds is null for a limit on how many there are at a time.
create table if not exists tenancy.limits (
    operator_id text not null references public.operators on delete cascade,
    name text not null,
    capacity integer not null check (capacity >= 0),
    primary key (operator_id, name)
);

-- How much of its limits each operator has left. Not worth a write to the log: after a crash everybody begins full.
create unlogged table if not exists tenancy.buckets (
    operator_id text not null,
    name text not null,
    tokens double precision not null,
    taken boolean not null, -- whether the last who asked got what it asked for
    filled_at timestamptz not null,
    primary key (operator_id, name)
) with (fillfactor = 50);

create unlogged table if not exists tenancy.holds (
    operator_id text not null,
    name text not null,
    holder text not null check (length(holder) between 1 and 200),
    held_until timestamptz not null check (isfinite(held_until)),
    primary key (operator_id, name, holder)
) with (fillfactor = 70);

do $access$
declare
    outsider text;
begin
    for outsider in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated')
    loop
        execute format('revoke all on schema tenancy, tenant from %I', outsider);
        execute format('revoke all on all tables in schema tenancy from %I', outsider);
    end loop;
    revoke all on schema tenancy, tenant from public;
    revoke all on all tables in schema tenancy from public;
end
$access$;

-- Behind no door at all, and all the same: on, so that a grant by mistake shows nothing.
alter table tenancy.memberships enable row level security;
alter table tenancy.service_accounts enable row level security;
alter table tenancy.api_keys enable row level security;
alter table tenancy.audit_events enable row level security;
alter table tenancy.limits enable row level security;
alter table tenancy.buckets enable row level security;
alter table tenancy.holds enable row level security;
