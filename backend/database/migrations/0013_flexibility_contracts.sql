-- Compatible from: 1

-- What a buyer's platform confirmed over Beckn of flexibility, the event that came of it, and how far its buyer was told.
create table public.beckn_flexibility_contracts (
    contract_id uuid primary key,
    tenant text not null,
    event_id uuid not null unique references public.flexibility_events,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    context jsonb not null,
    need jsonb not null,
    told bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    unique (bpp_id, bap_id, transaction_id)
);
