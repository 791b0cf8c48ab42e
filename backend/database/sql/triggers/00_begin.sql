-- Pylon DEG: triggers and the functions that write. Run it after supabase_schema.sql; idempotent like that file.
--
-- Everything that must happen together is one function here, so that it is one transaction over psycopg and one
-- HTTP call over PostgREST alike.

set local client_min_messages = warning;
set local timezone = 'UTC';
select pg_advisory_xact_lock(7263811);

do $version$
declare
    newest integer := (select max(version) from public.schema_version);
begin
    if newest is distinct from {version} then
        raise exception 'this database has the tables of schema version %, but this file is of version {version}: '
            'first run the supabase_schema.sql from the same directory', newest;
    end if;
end
$version$;

-- This file's functions, for the blocks that drop them, below, and grant them, at the end.
set local pylon.functions ={functions};

-- A replaced function cannot change its parameters' names or its answer's type, and one with other parameters would
-- stand beside the new one: so each is dropped before it is made again. Those that something depends on stay.
do $drop$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        begin
            execute format('drop function %s', routine.signature);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$drop$;

