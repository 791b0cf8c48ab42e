-- Tenants: who is acting, and the one door of their requests ---------------------------------------------------------
--
-- A request of a tenant runs as the role pylon_tenant with its claims in request.jwt.claims, both for its transaction
-- alone, and sees what the policies (19_policies.sql) let it. The claims choose an operator; the table of memberships
-- confirms it, so that a revocation holds at once.

-- The operator that the claims name, if their user belongs to it. None of these three takes an argument: with one it
-- would answer about others.
create or replace function tenancy.operator_id()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
$$;

-- The same where it may be written for: a claimed role can only lower the one that the membership gives.
create or replace function tenancy.writes_for()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
    where m.role in ('admin', 'member')
        and coalesce(claims.document -> 'app_metadata' ->> 'role', m.role) in ('admin', 'member')
$$;

-- The same where its members, keys and directory entry may be changed.
create or replace function tenancy.administers()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
    where m.role = 'admin' and coalesce(claims.document -> 'app_metadata' ->> 'role', 'admin') = 'admin'
$$;

-- What is in the claims by this name, or null.
create or replace function tenancy.claimed(p_name text)
returns text
language sql
stable
set search_path = ''
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> p_name
$$;

-- The operator whose administrator the caller is.
--
-- Raises 42501 where it is none.
create or replace function tenancy.must_administer()
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    administered constant text := tenancy.administers();
begin
    if administered is null then
        raise exception 'only an administrator of the operator may do this' using errcode = 'insufficient_privilege';
    end if;
    return administered;
end
$$;

-- The operator that the caller may write for.
--
-- Raises 42501 where it may not.
create or replace function tenancy.must_write()
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    written_for constant text := tenancy.writes_for();
begin
    if written_for is null then
        raise exception 'a reader changes nothing' using errcode = 'insufficient_privilege';
    end if;
    return written_for;
end
$$;

-- What call_as needs to know before it is a tenant, by one query instead of two: the operator of the claims, if their user
-- belongs to it; the function to call, a tenant's own version (schema "tenant") before the public one; and its arguments,
-- spelled out. Each is null where there is none. It takes who is asking as an argument, so it is not for tenants.
create or replace function tenancy.opened(
    p_claims jsonb, p_function text, p_arguments jsonb, out operator text, out target regproc, out given text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- A scalar is a literal whose type the function's declaration gives; documents go as they are.
    select m.operator_id, called.target, called.given
    into operator, target, given
    from (
        select
            coalesce(to_regproc(format('tenant.%I', p_function)), to_regproc(format('public.%I', p_function))) as target,
            string_agg(
                case jsonb_typeof(argument.value)
                    when 'null' then format('%I => null', argument.key)
                    when 'object' then format('%I => ($1 -> %L)', argument.key, argument.key)
                    when 'array' then format('%I => ($1 -> %L)', argument.key, argument.key)
                    else format('%I => %L', argument.key, argument.value #>> '{}')
                end, ', ') as given
        from jsonb_each(p_arguments) as argument) as called
    left join tenancy.memberships m
        on m.user_id = p_claims ->> 'sub' and m.operator_id = p_claims -> 'app_metadata' ->> 'operator_id';
end
$$;

-- Calls a function for the user that p_claims name: {"sub", "role": "authenticated", "app_metadata": {"operator_id",
-- "role": optional, can only lower the membership's}, "request_id", "credential_id": optional, for the audit log}.
-- p_arguments by name; a tenant's own version of a function (schema "tenant") comes before the public one. The answer is
-- the function's. Works wherever the session's user may become pylon_tenant: SET ROLE looks at the session's user, and
-- what runs as pylon_tenant may not call this again. Claims and role are put back at the end, by hand: only a superuser may
-- make request.jwt.claims a setting of a function, and on Supabase nobody is one.
--
-- Written for few steps, as each begins anew in every transaction: assignments, which are no queries as "perform" is.
--
-- Raises 42501 where the user is no member of the operator or tenants may not call the function, 42883 where there is no
-- such function or its arguments are others, 22023 where the claims are none.
create or replace function public.call_as(p_claims jsonb, p_function text, p_arguments jsonb default '{}')
returns json
language plpgsql
set search_path = ''
as $$
declare
    role_before constant text := current_setting('role');
    claims_before constant text := coalesce(current_setting('request.jwt.claims', true), '');
    opened record;
    set_to text;
    answer json;
begin
    if (jsonb_typeof(p_arguments) = 'object' and jsonb_typeof(p_claims -> 'sub') = 'string'
        and jsonb_typeof(p_claims #> '{app_metadata,operator_id}') = 'string') is not true
    then
        raise exception 'the claims need a sub and an app_metadata.operator_id' using errcode = 'invalid_parameter_value';
    end if;
    if p_claims ->> 'role' is distinct from 'authenticated' then
        raise exception 'the claims are not those of a user' using errcode = 'insufficient_privilege';
    end if;
    opened := tenancy.opened(p_claims, p_function, p_arguments);
    if opened.operator is null then
        raise exception 'this principal is not a member of that operator' using errcode = 'insufficient_privilege';
    end if;
    if opened.target is null then
        raise exception 'there is no function %', p_function using errcode = 'undefined_function';
    end if;
    set_to := set_config('request.jwt.claims', p_claims::text, true);
    set_to := set_config('role', 'pylon_tenant', true);
    if not has_function_privilege(opened.target, 'execute') then
        raise exception 'tenants may not call %', p_function using errcode = 'insufficient_privilege';
    end if;

    execute format('select %s(%s)', opened.target, opened.given) -- a regproc is written with its schema
    into answer
    using p_arguments;

    set_to := set_config('role', role_before, true);
    set_to := set_config('request.jwt.claims', claims_before, true);
    return answer;
end
$$;
