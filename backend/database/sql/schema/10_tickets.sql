-- Tickets: what a browser shows for one stream, instead of a credential. Only their digests, and not worth a write to the
-- log: after a crash everybody asks for another.
create unlogged table if not exists tenancy.tickets (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    holder jsonb not null check (jsonb_typeof(holder) = 'object'),
    good_until timestamptz not null check (isfinite(good_until))
);
create index if not exists tickets_good_until on tenancy.tickets (good_until);
revoke all on tenancy.tickets from public;
alter table tenancy.tickets enable row level security;

