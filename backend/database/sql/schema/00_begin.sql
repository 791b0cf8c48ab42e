-- Pylon DEG: tables, views and read functions.
--
-- Run this file first and supabase_triggers.sql second: in Supabase's SQL editor, with psql, or by letting the
-- program do it (it does so by itself on a direct or embedded PostgreSQL). Both are idempotent: running them
-- again upgrades and loses nothing. PostgreSQL 15 to 18, no extension.
--
-- Conventions: times are timestamptz and mean UTC; a signal's "timestamp" is the START of its half-hour; zero is
-- a value and NULL is missing; functions return one json document, so that they read alike over psycopg and
-- PostgREST.

set local client_min_messages = warning;
set local timezone = 'UTC';

-- One installation at a time: whoever waited here looks again at what the other has done.
select pg_advisory_xact_lock(7263811);

-- Versions of the schema: one row for each that this database has had. Programs of a version before compatible_from
-- cannot use it. applied_at is null from the first file's end to the second's.
create table if not exists public.schema_version (
    version integer primary key check (version > 0),
    compatible_from integer not null check (compatible_from between 1 and version),
    applied_at timestamptz check (isfinite(applied_at)),
    program text,
    fingerprint text -- of the sources the functions were made from, for checkouts of one version
);

do $version$
declare
    newest integer := (select max(version) from public.schema_version);
begin
    if newest > {version} then
        raise exception 'this database has schema version %, but these files are of version {version} and would put older '
            'functions back: use the files of the newer program', newest;
    end if;
    -- Version 1 kept no versions.
    if newest is null and to_regclass('public.pipeline_runs') is not null then
        insert into public.schema_version (version, compatible_from, applied_at) values (1, 1, now());
    end if;
end
$version$;

{migrations}
insert into public.schema_version (version, compatible_from)
select {version}, {compatible_from}
where not exists (select from public.schema_version);

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

-- Supabase has the first three already. Elsewhere all are made here when the installing role may; a database whose owner
-- may not create roles does without them, is reached as the owner, and takes no tenants. "pylon_tenant" is what a request
-- of a tenant runs as: only call_as turns to it. "pylon_gate" and "pylon_worker" are what our processes log in as where
-- there are tenants: they have no password until somebody gives them one.
do $roles$
declare
    wanted record;
begin
    for wanted in
        select *
        from (values
            ('anon', 'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role', 'nologin noinherit bypassrls'),
            ('pylon_tenant', 'nologin noinherit'),
            ('pylon_gate', 'login noinherit'),
            ('pylon_worker', 'login')
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

    for wanted in
        select *
        from (values
            ('pylon_tenant', 'pylon_gate'),
            ('pylon_tenant', 'authenticator'),
            ('service_role', 'pylon_worker')
        ) as memberships (role, member)
        where exists (select from pg_catalog.pg_roles r where r.rolname = memberships.role)
            and exists (select from pg_catalog.pg_roles r where r.rolname = memberships.member)
    loop
        if not exists (
            select from pg_catalog.pg_auth_members m
            where m.roleid = wanted.role::regrole and m.member = wanted.member::regrole)
        then
            begin
                execute format('grant %I to %I', wanted.role, wanted.member);
            exception
                -- internal_error: another database of this server is being installed at the same moment.
                when insufficient_privilege or unique_violation or internal_error then null;
            end;
        end if;
    end loop;
end
$roles$;


