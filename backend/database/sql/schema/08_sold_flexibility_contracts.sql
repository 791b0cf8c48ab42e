
-- Flexibility that is bought over Beckn: what a buyer's platform confirmed, and the event that came of it. tenant is the
-- event's. The platforms' own: no tenant reads it, for all may read of the platform's events, but not who bought them.
create table if not exists public.beckn_flexibility_contracts (
    contract_id uuid primary key,
    tenant text not null,
    event_id uuid not null unique references public.flexibility_events,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    -- The context of the confirm, which later messages answer, and what is needed as it was read from it.
    context jsonb not null,
    need jsonb not null,
    -- Up to which of the event's decisions its buyer was told (flexibility_decisions.chain_position).
    told bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    unique (bpp_id, bap_id, transaction_id)
);
