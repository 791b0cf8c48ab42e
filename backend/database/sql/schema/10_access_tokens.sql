-- Access tokens: what /auth/token gives for a key, good for an hour at most. Only their digests, and not worth a write to the
-- log: after a crash everybody asks for another.
create unlogged table if not exists tenancy.access_tokens (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    credential_id text not null,
    good_until timestamptz not null check (isfinite(good_until))
);
create index if not exists access_tokens_good_until on tenancy.access_tokens (good_until);
revoke all on tenancy.access_tokens from public;
alter table tenancy.access_tokens enable row level security;
