-- Access: only the service role reads and writes; Row Level Security shuts out everyone else -----------------------

do $access$
declare
    object record;
begin
    for object in
        select c.relname, c.relkind
        from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace
            and c.relname in ({relations})
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
