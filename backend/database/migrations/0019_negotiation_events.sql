-- Compatible from: 1

-- Events of negotiations have a topic of their own. What a column is generated from cannot be changed: it is made anew, of
-- what is logged as well.
alter table public.broadcast_log drop column topic;
alter table public.broadcast_log
    add column topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            when event_type like 'negotiation.%' then 'negotiations'
            else 'decisions' end) stored;
