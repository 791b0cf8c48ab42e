-- The provider's platform: quotes and orders ------------------------------------------------------------------------

create table if not exists public.beckn_quotes (
    quote_id uuid primary key,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    dc_id text not null references public.data_centres,
    item_id text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw double precision not null check (it_power_kw >= 0 and it_power_kw < 'infinity'),
    price_gbp numeric not null,
    -- The workload, the lines of the quote and the estimates, as the platform wrote them.
    terms jsonb not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    -- The tenants on both sides; a stranger's purchase is the platform's.
    buyer_operator text not null,
    seller_operator text not null,
    check (starts_at < ends_at)
);
create index if not exists beckn_quotes_buyer_operator on public.beckn_quotes (buyer_operator, created_at desc);
create index if not exists beckn_quotes_seller_operator on public.beckn_quotes (seller_operator, created_at desc);
create index if not exists beckn_quotes_data_centre on public.beckn_quotes (dc_id);
create index if not exists beckn_quotes_expired on public.beckn_quotes (expires_at);
create index if not exists beckn_quotes_buyer on public.beckn_quotes (bpp_id, bap_id, expires_at);

-- A queue of work, with the columns of all of them (see workload_notifications); "state" is what the buyer is told. scheduled_at
-- is when the executor has something to do with an order: its start, or its end once it runs. It is completed when nothing
-- is left to be done.
create table if not exists public.beckn_orders (
    order_id uuid primary key,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    quote_id uuid not null references public.beckn_quotes,
    job_id text not null,
    dc_id text not null references public.data_centres,
    item_id text not null,
    state text not null check (state in ('SCHEDULED', 'RUNNING', 'DEFERRED', 'COMPLETED', 'CANCELLED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw double precision not null check (it_power_kw >= 0 and it_power_kw < 'infinity'),
    price_gbp numeric not null,
    -- The quote's terms with billing, customer and the context of the confirm.
    terms jsonb not null,
    deferral jsonb,
    cancellation jsonb,
    revision integer not null default 1,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The order's workload is the buyer's; its data centre is the seller's.
    buyer_operator text not null,
    seller_operator text not null,
    check (starts_at < ends_at),
    unique (buyer_operator, job_id),
    foreign key (buyer_operator, job_id) references public.compute_workloads (tenant, job_id),
    -- One order a transaction: a confirm that is repeated finds the first one's order.
    unique (bpp_id, bap_id, transaction_id)
);
create index if not exists beckn_orders_capacity on public.beckn_orders (dc_id, starts_at)
    where state in ('SCHEDULED', 'DEFERRED', 'RUNNING');
create index if not exists beckn_orders_due on public.beckn_orders (bpp_id, scheduled_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_orders_buyer_operator on public.beckn_orders (buyer_operator, created_at desc);
create index if not exists beckn_orders_seller_operator on public.beckn_orders (seller_operator, created_at desc);
create index if not exists beckn_orders_quote on public.beckn_orders (quote_id);
create index if not exists beckn_orders_open on public.beckn_orders (bpp_id, bap_id)
    where state in ('SCHEDULED', 'DEFERRED', 'RUNNING');
create index if not exists beckn_orders_cancelled on public.beckn_orders (bpp_id, bap_id, updated_at)
    where state = 'CANCELLED';

-- An order with what its workload has recorded, or null; p_bap_id null means of any buyer.
create or replace function public.beckn_order(p_bpp_id text, p_bap_id text, p_order_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select to_jsonb(o) || jsonb_build_object(
        'status', w.status,
        'status_reason', w.status_reason,
        'actual_start', w.actual_start,
        'actual_end', w.actual_end,
        'actual_energy_kwh', w.actual_energy_kwh,
        'actual_carbon_gco2', w.actual_carbon_gco2,
        'actual_cost_gbp', w.actual_cost_gbp)
    from public.beckn_orders o
    join public.compute_workloads w on (w.tenant, w.job_id) = (o.buyer_operator, o.job_id)
    where o.order_id = p_order_id and o.bpp_id = p_bpp_id and (p_bap_id is null or o.bap_id = p_bap_id)
$$;


