-- Pylon DEG: triggers and the functions that write. Run it after supabase_schema.sql; idempotent like that file.
--
-- Everything that must happen together is one function here, so that it is one transaction over psycopg and one
-- HTTP call over PostgREST alike.

set client_min_messages = warning;

-- This file's functions, for the blocks that drop them, below, and grant them, at the end.
set pylon.functions ={functions};

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

