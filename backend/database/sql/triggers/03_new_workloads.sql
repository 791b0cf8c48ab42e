-- Whoever files what belongs to a workload or an agent without saying whose it is means the one tenant that has it. -------

create or replace function public.file_under_tenant()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    tenants text[];
begin
    if tg_table_name = 'agent_states' then
        select array_agg(a.tenant) into tenants from public.agents a where a.agent_id = new.agent_id;
    else
        select array_agg(w.tenant) into tenants from public.compute_workloads w where w.job_id = new.job_id;
    end if;
    if cardinality(tenants) > 1 then
        raise exception 'several tenants have a workload of this name: say whose is meant'
            using errcode = 'not_null_violation', table = tg_table_name, column = 'tenant';
    end if;
    new.tenant := coalesce(tenants[1], 'local'); -- and the foreign key says that there is none
    return new;
end
$$;

do $file$
declare
    filed text;
begin
    foreach filed in array array[
        'agent_states', 'workload_notifications', 'orchestration_decisions', 'workload_reconsiderations', 'processed_contexts']
    loop
        execute format(
            'create or replace trigger file_under_tenant before insert on public.%I '
            'for each row when (new.tenant is null) execute function public.file_under_tenant()', filed);
    end loop;
end
$file$;


-- A new workload asks for a decision, whoever inserted it ------------------------------------------------------------

create or replace function public.notify_new_workload()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'PENDING' then
        insert into public.workload_notifications (tenant, job_id) values (new.tenant, new.job_id);
        perform pg_notify('workload_ready', '');
    end if;
    return new;
end
$$;

create or replace trigger notify_new_workload
    after insert on public.compute_workloads
    for each row execute function public.notify_new_workload();


