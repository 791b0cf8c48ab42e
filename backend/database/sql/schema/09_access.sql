-- Access: only the service role reads and writes; Row Level Security shuts out everyone else -----------------------

do $access$
declare
    object record;
begin
    for object in
        select c.relname, c.relkind
        from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace
            and c.relname in (
                'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix', 'data_centres',
                'compute_workloads', 'agents', 'agent_states', 'orchestration_decisions', 'storage_assets',
                'workload_notifications', 'pipeline_runs', 'broadcast_log', 'output_consumers', 'processed_contexts',
                'beckn_subscribers', 'beckn_inbox', 'beckn_outbox', 'beckn_quotes', 'beckn_orders',
                'current_system_state', 'regional_carbon_ranking', 'recent_decisions')
    loop
        if object.relkind = 'r' then
            execute format('alter table public.%I enable row level security', object.relname);
        end if;
        execute format('revoke all on public.%I from public', object.relname);
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            execute format('revoke all on public.%I from anon', object.relname);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
            execute format('revoke all on public.%I from authenticated', object.relname);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format(
                'grant %s on public.%I to service_role',
                case when object.relkind = 'r' then 'select, insert, update, delete' else 'select' end, object.relname);
        end if;
    end loop;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant usage on schema public to service_role;
        grant usage on all sequences in schema public to service_role;
    end if;
end
$access$;

do $access$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        execute format('revoke all on function %s from public', routine.signature);
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            execute format('revoke all on function %s from anon, authenticated', routine.signature);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format('grant execute on function %s to service_role', routine.signature);
        end if;
    end loop;
end
$access$;

notify pgrst, 'reload schema';
