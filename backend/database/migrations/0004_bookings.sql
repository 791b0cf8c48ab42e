-- Compatible from: 1

-- Every promise of power is a booking, and what bookings hold of a data centre in a half-hour is summed up as they come and
-- go. The orders that are open hold theirs from now on.
create table public.capacity_bookings (
    booking_id bigint generated always as identity primary key,
    dc_id text not null references public.data_centres,
    tenant text not null,
    job_id text not null,
    source text not null check (source in ('decision', 'beckn_order', 'flexibility', 'negotiation')),
    notification_id bigint,
    order_id uuid references public.beckn_orders on delete cascade,
    state text not null default 'HELD' check (state in ('HELD', 'RUNNING', 'ENDED', 'RELEASED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw numeric(16, 6) not null check (it_power_kw >= 0),
    reason text,
    run_now jsonb,
    carried_out_by text not null check (carried_out_by in ('simulation', 'runner', 'order')),
    started_at timestamptz,
    ended_at timestamptz,
    cancel_requested_at timestamptz,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    check (starts_at < ends_at),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create unique index capacity_bookings_open on public.capacity_bookings (tenant, job_id)
    where state in ('HELD', 'RUNNING');
create unique index capacity_bookings_order on public.capacity_bookings (order_id) where order_id is not null;

create table public.held_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    held_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- Orders of years that no booking can be of were never to be carried out.
insert into public.capacity_bookings (
    dc_id, tenant, job_id, source, order_id, state, starts_at, ends_at, it_power_kw, carried_out_by, started_at,
    work_state, scheduled_at, created_at, updated_at)
select
    o.dc_id, o.buyer_operator, o.job_id, 'beckn_order', o.order_id,
    case o.state when 'RUNNING' then 'RUNNING' else 'HELD' end,
    o.starts_at, o.ends_at, o.it_power_kw, 'order', w.actual_start, 'completed', o.starts_at, o.created_at, o.updated_at
from public.beckn_orders o
join public.compute_workloads w on (w.tenant, w.job_id) = (o.buyer_operator, o.job_id)
where o.state in ('SCHEDULED', 'DEFERRED', 'RUNNING')
    and o.starts_at >= timestamptz '2000-01-01 00:00:00+00' and o.ends_at < timestamptz '2200-01-01 00:00:00+00'
    and o.ends_at < o.starts_at + interval '1 year';
insert into public.held_power (dc_id, half_hour, held_kw)
select b.dc_id, touched.half_hour, sum(b.it_power_kw)
from public.capacity_bookings b
cross join lateral generate_series(
    date_bin('30 minutes', b.starts_at, '2000-01-01 00:00:00+00'), b.ends_at - interval '1 microsecond',
    interval '30 minutes') as touched (half_hour)
group by b.dc_id, touched.half_hour;

-- What others than its bookings draw of a data centre, and who runs what is booked there.
alter table public.data_centres
    add column base_load_percentage double precision check (base_load_percentage between 0 and 100),
    add column execution text not null default 'simulated' check (execution in ('simulated', 'runner'));
-- What a runner is to run: {"template", "parameters"}.
alter table public.compute_workloads add column run jsonb;
