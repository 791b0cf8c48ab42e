-- Tenants: operators, members, service accounts and keys ------------------------------------------------------------------
--
-- For those who look after an installation, and for finding out who is calling. The functions own_… further on are the same for
-- an operator's own administrator. Each change leaves its event in the audit log, in the same transaction.

create or replace function tenancy.note(p_operator text, p_by text, p_action text, p_object text, p_detail jsonb default '{}')
returns void
language sql
set search_path = ''
as $$
    insert into tenancy.audit_events (operator_id, principal, credential_id, action, object, outcome, request_id, detail)
    values (
        p_operator, coalesce(tenancy.claimed('sub'), p_by), tenancy.claimed('credential_id'), p_action, p_object, 'allowed',
        tenancy.claimed('request_id'), jsonb_strip_nulls(p_detail))
$$;

-- Whoever remembers a credential looks it up again. Says nothing: who listens may be anybody.
create or replace function tenancy.access_changed()
returns void
language sql
set search_path = ''
as $$
    select pg_notify('access_changed', '')
$$;

-- Two operators there always are, made when they are first needed: "local", which owns what names nobody, all there is
-- while nothing is configured; and "platform", whoever runs this installation: its gateways' agents, and what strangers
-- buy through it.
create or replace function tenancy.lasting_operators()
returns table (operator_id text, name text)
language sql
immutable
set search_path = ''
as $$
    values ('local', 'This installation'), ('platform', 'The platform')
$$;

-- Whether there is such an operator. A known one is held until the transaction ends, so that its members and keys, which
-- are counted, change one after the other.
create or replace function tenancy.held_operator(p_operator text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    insert into public.operators (operator_id, name)
    select made.operator_id, made.name
    from tenancy.lasting_operators() as made
    where made.operator_id = p_operator
        and not exists (select from public.operators o where o.operator_id = p_operator)
    on conflict (operator_id) do nothing;
    perform from public.operators o where o.operator_id = p_operator for no key update;
    return found;
end
$$;

-- Every operator; also those of the two that were not needed yet, with the columns of their rows as they would be made.
create or replace function public.tenancy_operators()
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'operator_id', o.operator_id,
        'name', o.name,
        'operator_type', o.operator_type,
        'country', o.country,
        'members', (select count(*) from tenancy.memberships m where m.operator_id = o.operator_id),
        'keys', (
            select count(*) from tenancy.api_keys k
            where k.operator_id = o.operator_id and k.revoked_at is null and k.expires_at > clock_timestamp()),
        'created_at', o.created_at) order by o.operator_id), '[]')
    from (
        select operator_id, name, operator_type, country, created_at from public.operators
        union all
        select lasting.operator_id, lasting.name, 'OTHER', 'GB', null
        from tenancy.lasting_operators() as lasting
        where not exists (select from public.operators made where made.operator_id = lasting.operator_id)) as o
$$;

-- Makes an operator, or changes its entry: {operator_id, name, operator_type, country}; what is left out stays.
create or replace function public.tenancy_set_operator(p_operator jsonb, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    given constant public.operators := jsonb_populate_record(null::public.operators, p_operator);
    stored public.operators;
begin
    insert into public.operators as o (operator_id, name, operator_type, country)
    values (
        given.operator_id, coalesce(given.name, given.operator_id), coalesce(given.operator_type, 'OTHER'),
        coalesce(given.country, 'GB'))
    on conflict (operator_id) do update set
        name = coalesce(given.name, o.name),
        operator_type = coalesce(given.operator_type, o.operator_type),
        country = coalesce(given.country, o.country)
    returning * into stored;
    perform tenancy.note(stored.operator_id, p_by, 'operator.set', stored.operator_id, p_operator);
    return to_json(stored);
end
$$;

create or replace function public.tenancy_members(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'user_id', m.user_id, 'role', m.role, 'created_at', m.created_at, 'created_by', m.created_by, 'name', a.name)
        order by m.user_id), '[]')
    from tenancy.memberships m
    left join tenancy.service_accounts a on m.user_id = 'svc:' || a.service_account_id
    where m.operator_id = p_operator
$$;

-- Answers whether p_user_id is the only administrator that an operator has.
create or replace function tenancy.is_last_administrator(p_operator text, p_user_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
            select from tenancy.memberships m
            where (m.operator_id, m.user_id, m.role) = (p_operator, p_user_id, 'admin'))
        and not exists (
            select from tenancy.memberships m
            where m.operator_id = p_operator and m.role = 'admin' and m.user_id <> p_user_id)
$$;

-- Answers {"state": "set" | "unknown_operator" | "last_admin"}: an operator that has an administrator keeps one.
create or replace function public.tenancy_set_member(p_operator text, p_user_id text, p_role text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    -- A service account is one operator's.
    if p_user_id like 'svc:%' and not exists (
        select from tenancy.service_accounts a
        where a.operator_id = p_operator and p_user_id = 'svc:' || a.service_account_id)
    then
        return json_build_object('state', 'unknown_account');
    end if;
    if p_role <> 'admin' and tenancy.is_last_administrator(p_operator, p_user_id) then
        return json_build_object('state', 'last_admin');
    end if;
    insert into tenancy.memberships (user_id, operator_id, role, created_by)
    values (p_user_id, p_operator, p_role, coalesce(tenancy.claimed('sub'), p_by))
    on conflict (user_id, operator_id) do update set role = excluded.role;
    perform tenancy.note(p_operator, p_by, 'member.set', p_user_id, jsonb_build_object('role', p_role));
    perform tenancy.access_changed();
    return json_build_object('state', 'set');
end
$$;

-- Answers {"state": "removed" | "unknown" | "last_admin"}.
create or replace function public.tenancy_remove_member(p_operator text, p_user_id text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform tenancy.held_operator(p_operator); -- or two administrators could each remove the other
    if tenancy.is_last_administrator(p_operator, p_user_id) then
        return json_build_object('state', 'last_admin');
    end if;
    delete from tenancy.memberships m where (m.operator_id, m.user_id) = (p_operator, p_user_id);
    if not found then
        return json_build_object('state', 'unknown');
    end if;
    perform tenancy.note(p_operator, p_by, 'member.remove', p_user_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'removed');
end
$$;

create or replace function public.tenancy_service_accounts(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'service_account_id', a.service_account_id, 'user_id', 'svc:' || a.service_account_id, 'name', a.name,
        'role', m.role, 'created_by', a.created_by, 'created_at', a.created_at, 'disabled_at', a.disabled_at)
        order by a.created_at, a.service_account_id), '[]')
    from tenancy.service_accounts a
    left join tenancy.memberships m
        on m.operator_id = a.operator_id and m.user_id = 'svc:' || a.service_account_id
    where a.operator_id = p_operator
$$;

-- Answers {"state": "created" | "unknown_operator", "service_account_id", "user_id"}.
create or replace function public.tenancy_create_service_account(
    p_operator text, p_name text, p_role text default 'member', p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    account_id uuid;
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    insert into tenancy.service_accounts (operator_id, name, created_by)
    values (p_operator, p_name, coalesce(tenancy.claimed('sub'), p_by))
    returning service_account_id into account_id;
    insert into tenancy.memberships (user_id, operator_id, role, created_by)
    values ('svc:' || account_id, p_operator, p_role, coalesce(tenancy.claimed('sub'), p_by));
    perform tenancy.note(
        p_operator, p_by, 'service_account.create', 'svc:' || account_id,
        jsonb_build_object('name', p_name, 'role', p_role));
    return json_build_object('state', 'created', 'service_account_id', account_id, 'user_id', 'svc:' || account_id);
end
$$;

-- Its keys end with it. Answers {"state": "disabled" | "unknown" | "last_admin"}.
create or replace function public.tenancy_disable_service_account(
    p_operator text, p_service_account_id uuid, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform tenancy.held_operator(p_operator); -- or two administrators could each remove the other
    if tenancy.is_last_administrator(p_operator, 'svc:' || p_service_account_id) then
        return json_build_object('state', 'last_admin');
    end if;
    update tenancy.service_accounts a
    set disabled_at = clock_timestamp()
    where (a.operator_id, a.service_account_id) = (p_operator, p_service_account_id) and a.disabled_at is null;
    if not found then
        return json_build_object('state', 'unknown');
    end if;
    update tenancy.api_keys k
    set revoked_at = clock_timestamp()
    where (k.operator_id, k.service_account_id) = (p_operator, p_service_account_id) and k.revoked_at is null;
    delete from tenancy.memberships m
    where (m.operator_id, m.user_id) = (p_operator, 'svc:' || p_service_account_id);
    perform tenancy.note(p_operator, p_by, 'service_account.disable', 'svc:' || p_service_account_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'disabled');
end
$$;

-- The operators that a user belongs to: {"memberships": [{operator_id, role}…]}.
create or replace function public.tenancy_principal(p_user_id text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_build_object('memberships', coalesce(
        json_agg(json_build_object('operator_id', m.operator_id, 'role', m.role) order by m.operator_id), '[]'))
    from tenancy.memberships m
    where m.user_id = p_user_id
$$;
