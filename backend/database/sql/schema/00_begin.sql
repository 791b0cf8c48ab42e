-- Pylon DEG: tables, views and read functions.
--
-- Run this file first and supabase_triggers.sql second: in Supabase's SQL editor, with psql, or by letting the
-- program do it (it does so by itself on a direct or embedded PostgreSQL). Both are idempotent: running them
-- again upgrades and loses nothing. PostgreSQL 15 to 18, no extension.
--
-- Conventions: times are timestamptz and mean UTC; a signal's "timestamp" is the START of its half-hour; zero is
-- a value and NULL is missing; functions return one json document, so that they read alike over psycopg and
-- PostgREST.

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

-- Supabase has these roles already. Elsewhere they are made here when the installing role may; a database whose
-- owner may not create roles does without them and is reached as the owner.
do $roles$
declare
    wanted record;
begin
    for wanted in
        select *
        from (values
            ('anon', 'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role', 'nologin noinherit bypassrls')
        ) as roles (name, options)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            begin
                execute format('create role %I %s', wanted.name, wanted.options);
            exception
                when insufficient_privilege or duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;
end
$roles$;


