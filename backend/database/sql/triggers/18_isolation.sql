-- Tenants: whether they are kept apart -------------------------------------------------------------------------------------

-- Whether what is said above holds on this server, for this session: {"holds", "reasons": [one line each…],
-- "server_version", "session"}. To be asked before the first tenant is served.
create or replace function public.tenancy_check()
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    reasons text[] := '{}';
    server constant integer := current_setting('server_version_num')::integer;
    -- The first minor version of each major one in which a change of role replans a statement (CVE-2023-2455) and the
    -- planner's statistics keep to the policies (CVE-2025-8713).
    oldest constant integer := case server / 10000 when 15 then 150014 when 16 then 160010 when 17 then 170006 else 0 end;
    through_postgrest constant boolean := current_setting('request.method', true) is not null;
    found text;
begin
    if server < 150000 then
        reasons := reasons || 'PostgreSQL is older than 15'::text;
    elsif server < oldest then
        reasons := reasons || format(
            'PostgreSQL %s shows tenants the statistics of others (CVE-2025-8713): update it to %s.%s or later',
            current_setting('server_version'), oldest / 10000, oldest % 10000);
    end if;
    if to_regrole('pylon_tenant') is null then
        return json_build_object(
            'holds', false,
            'reasons', reasons || 'the role pylon_tenant is missing: have an administrator of the server run '
                '"create role pylon_tenant nologin noinherit; create role pylon_gate login noinherit; '
                'grant pylon_tenant to pylon_gate"'::text,
            'server_version', current_setting('server_version'), 'session', session_user);
    end if;
    select string_agg(r.rolname, ', ' order by r.rolname) into found
    from pg_catalog.pg_roles r
    where r.rolname in ('pylon_tenant', case when not through_postgrest then session_user end)
        and (r.rolsuper or r.rolbypassrls);
    if found is not null then
        reasons := reasons || format('Row Level Security does not hold for the role %s: requests must log in as pylon_gate', found);
    end if;
    if not through_postgrest and to_regrole('service_role') is not null
        and pg_has_role(session_user, 'service_role', 'member')
    then
        reasons := reasons || format('the role %s may become service_role: requests must log in as pylon_gate', session_user);
    end if;
    if not pg_has_role(session_user, 'pylon_tenant', 'member') then
        reasons := reasons || format('the role %s may not become pylon_tenant: grant pylon_tenant to %1$I', session_user);
    end if;
    select string_agg(r.rolname, ', ' order by r.rolname) into found
    from pg_catalog.pg_auth_members m
    join pg_catalog.pg_roles r on r.oid = m.roleid
    where m.member = to_regrole('pylon_tenant');
    if found is not null then
        reasons := reasons || format('the role pylon_tenant is a member of %s', found);
    end if;
    if current_setting('row_security') <> 'on' then
        reasons := reasons || 'the setting row_security is off'::text;
    end if;
    -- Its policies would not hold for whoever owns a table.
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
        and has_table_privilege('pylon_tenant', c.oid, 'select, insert, update, delete')
        and (not c.relrowsecurity or pg_has_role('pylon_tenant', c.relowner, 'member')
            or not exists (
                select from pg_catalog.pg_policy p
                where p.polrelid = c.oid and p.polroles = array[to_regrole('pylon_tenant')::oid]));
    if found is not null then
        reasons := reasons || format('tenants reach tables without a policy: %s', found);
    end if;
    -- One more policy lets in what ours keep out.
    select string_agg(format('%I on %s', p.polname, c.relname), ', ' order by c.relname) into found
    from pg_catalog.pg_policy p
    join pg_catalog.pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'public'::regnamespace and p.polpermissive
        and p.polroles && array[0::oid, to_regrole('pylon_tenant')::oid]
        and p.polname not in ('tenant_select', 'tenant_insert', 'tenant_update')
        and has_table_privilege('pylon_tenant', c.oid, 'select, insert, update, delete');
    if found is not null then
        reasons := reasons || format('policies that are not ours let tenants in: %s', found);
    end if;
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    where c.relnamespace in ('public'::regnamespace, 'tenant'::regnamespace) and c.relkind = 'v'
        and has_table_privilege('pylon_tenant', c.oid, 'select')
        and not coalesce('security_invoker=true' = any (c.reloptions), false);
    if found is not null then
        reasons := reasons || format('views show tenants what their owner sees: %s', found);
    end if;
    if not has_table_privilege('pylon_tenant', 'public.compute_workloads', 'select') then
        reasons := reasons || 'the policies of tenants are missing: let an owner of the tables call tenancy.let_tenants_in()'::text;
    end if;
    -- Nobody reaches our tables but through our functions.
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    cross join (values ('anon'), ('authenticated')) as outsider (name)
    where c.relnamespace in ('public'::regnamespace, 'tenancy'::regnamespace)
        and c.relname in ({relations}, 'memberships', 'api_keys', 'service_accounts', 'audit_events')
        and to_regrole(outsider.name) is not null
        and has_table_privilege(outsider.name, c.oid, 'select, insert, update, delete');
    if found is not null then
        reasons := reasons || format('the roles anon or authenticated reach tables: %s', found);
    end if;
    return json_build_object(
        'holds', cardinality(reasons) = 0, 'reasons', reasons, 'server_version', current_setting('server_version'),
        'session', session_user);
end
$$;
