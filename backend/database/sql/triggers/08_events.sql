-- What happens to workloads -----------------------------------------------------------------------------------------------

-- Writes an event beside the decisions, with the next number of all and the next of its tenant. It takes the publishing lock,
-- which is held until the transaction ends: call it last. Answers the event's number.
create or replace function public.log_event(p_tenant text, p_event_type text, p_job_id text, p_event jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    number bigint;
    number_of_tenant bigint;
begin
    -- One publisher at a time from here to its commit, so that numbers have no gap (see publish_decisions, which counts alike).
    perform pg_advisory_xact_lock(7263812);
    number := 1 + coalesce(greatest(
        (select max(b.sequence) from public.broadcast_log b),
        (select max(o.sequence) from public.orchestration_decisions o),
        (select e.newest from public.event_numbers e)), 0);
    insert into public.event_numbers as e (newest) values (number)
    on conflict (only_row) do update set newest = excluded.newest;
    number_of_tenant := 1 + coalesce(greatest(
        (select max(b.tenant_sequence) from public.broadcast_log b where b.tenant = p_tenant),
        (select max(o.tenant_sequence) from public.orchestration_decisions o where o.tenant = p_tenant),
        (select t.newest from public.tenant_numbers t where t.tenant = p_tenant)), 0);
    insert into public.tenant_numbers (tenant, newest) values (p_tenant, number_of_tenant)
    on conflict (tenant) do update set newest = excluded.newest;
    insert into public.broadcast_log (sequence, tenant, tenant_sequence, event_type, job_id, event)
    values (number, p_tenant, number_of_tenant, p_event_type, p_job_id, p_event);
    perform pg_notify('broadcast', number::text);
    return number;
end
$$;


