-- Compatible from: 1

-- The log holds more than decisions: each event has a topic, which follows from its type, what it is about, and a summary.
alter table public.broadcast_log
    add column topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            else 'decisions' end) stored,
    add column subject text,
    add column summary jsonb,
    -- For everybody, and how many such events there had been, itself included: they have a number in every tenant's count.
    add column is_everybodys boolean not null default false,
    add column everybodys bigint not null default 0 check (everybodys >= 0),
    add check (not is_everybodys or tenant is null);
create index broadcast_log_tenant on public.broadcast_log (tenant, sequence);
create index broadcast_log_job on public.broadcast_log (job_id, sequence) where job_id is not null;
create unique index broadcast_log_everybodys on public.broadcast_log (everybodys) where is_everybodys;
alter table public.event_numbers add column everybodys bigint not null default 0 check (everybodys >= 0);
-- How many of everybody's events there had been when "newest" was given.
alter table public.tenant_numbers add column everybodys bigint not null default 0 check (everybodys >= 0);
