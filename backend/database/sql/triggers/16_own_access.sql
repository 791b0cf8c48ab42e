-- Tenants: what an operator's own administrator does ----------------------------------------------------------------------
--
-- Each takes the operator from the claims: none has a parameter that could name another. They run as their owner, since no
-- tenant reaches the tables of schema tenancy.

create or replace function tenant.own_access()
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'operator_id', tenancy.operator_id(),
        'role', case
            when tenancy.administers() is not null then 'admin'
            when tenancy.writes_for() is not null then 'member'
            when tenancy.operator_id() is not null then 'reader' end,
        'user_id', tenancy.claimed('sub'))
$$;

create or replace function tenant.own_members()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_members(tenancy.must_administer()) $$;

create or replace function tenant.own_set_member(p_user_id text, p_role text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_set_member(tenancy.must_administer(), p_user_id, p_role) $$;

create or replace function tenant.own_remove_member(p_user_id text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_remove_member(tenancy.must_administer(), p_user_id) $$;

create or replace function tenant.own_service_accounts()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_service_accounts(tenancy.must_administer()) $$;

create or replace function tenant.own_create_service_account(p_name text, p_role text default 'member')
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_create_service_account(tenancy.must_administer(), p_name, p_role) $$;

create or replace function tenant.own_disable_service_account(p_service_account_id uuid)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_disable_service_account(tenancy.must_administer(), p_service_account_id) $$;

create or replace function tenant.own_keys()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_keys(tenancy.must_administer()) $$;

create or replace function tenant.own_create_key(p_key jsonb)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_create_key(tenancy.must_administer(), p_key) $$;

create or replace function tenant.own_roll_key(p_key_id text, p_key jsonb, p_overlap_seconds double precision default 0)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_roll_key(tenancy.must_administer(), p_key_id, p_key, p_overlap_seconds) $$;

create or replace function tenant.own_revoke_key(p_key_id text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_revoke_key(tenancy.must_administer(), p_key_id) $$;

-- What may be had is no secret of the administrator's.
create or replace function tenant.own_limits()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_limits(tenancy.operator_id()) $$;

-- Without the events' numbers, which count everybody's: the next page is asked for by a number of the operator's own events
-- behind this one.
create or replace function tenant.own_audit_events(p_after integer default 0, p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with page as materialized (
        select e.at, e.principal, e.credential_id, e.action, e.object, e.outcome, e.request_id, e.detail, e.event_id
        from tenancy.audit_events e
        where e.operator_id = (select tenancy.must_administer())
        order by e.event_id desc
        offset greatest(p_after, 0)
        limit p_limit
    )
    select json_build_object(
        'events', coalesce((
            select json_agg(to_jsonb(page) - 'event_id' order by page.event_id desc) from page), '[]'),
        'next', case when (select count(*) from page) = p_limit then greatest(p_after, 0) + p_limit end)
$$;

create or replace function tenant.own_set_operator(p_operator jsonb)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.tenancy_set_operator(
        p_operator || jsonb_build_object('operator_id', tenancy.must_administer()))
$$;
