-- Tenants: keys ------------------------------------------------------------------------------------------------------------
--
-- The program makes a key and keeps nothing of it but its id and its SHA-256, which is all that comes here.

-- A key as it is shown in lists: without its digest.
create or replace function tenancy.key_entry(k tenancy.api_keys)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'key_id', k.key_id,
        'operator_id', k.operator_id,
        'service_account_id', k.service_account_id,
        'user_id', 'svc:' || k.service_account_id,
        'role', m.role,
        'name', k.name,
        'scopes', k.scopes,
        'created_by', k.created_by,
        'created_at', k.created_at,
        'expires_at', k.expires_at,
        'last_used_at', k.last_used_at,
        'revoked_at', k.revoked_at,
        'replaces', k.replaces,
        'usable', m.role is not null and k.expires_at > clock_timestamp()
            and (k.revoked_at is null or k.revoked_at > clock_timestamp()))
    from (select 1) as always
    left join tenancy.memberships m on (m.operator_id, m.user_id) = (k.operator_id, 'svc:' || k.service_account_id)
$$;

-- The key with this id and its digest, to compare with the digest of what was presented; null where there is none.
create or replace function public.tenancy_api_key(p_key_id text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select (tenancy.key_entry(k)::jsonb || jsonb_build_object('digest', k.digest))::json
    from tenancy.api_keys k
    where k.key_id = p_key_id
$$;

-- Notes that a key was used, at most once a minute. Answers {"noted": whether it was now}.
create or replace function public.tenancy_key_used(p_key_id text)
returns json
language sql
security definer
set search_path = ''
as $$
    with noted as (
        update tenancy.api_keys k
        set last_used_at = clock_timestamp()
        where k.key_id = p_key_id
            and (k.last_used_at is null or k.last_used_at not between clock_timestamp() - interval '1 minute'
                and clock_timestamp())
        returning k.key_id
    )
    select json_build_object('noted', exists (select from noted))
$$;

create or replace function public.tenancy_keys(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(tenancy.key_entry(k) order by k.created_at desc, k.key_id), '[]')
    from tenancy.api_keys k
    where k.operator_id = p_operator
$$;

-- p_key: {key_id, digest, name, scopes, expires_at (in 90 days where it is left out, at most in 366), service_account_id
-- (where it is left out, one is made with p_key.role)}. Answers {"state": "created" | "unknown_operator" |
-- "unknown_account" | "too_many_keys" | "taken", "key", "limit"}.
create or replace function public.tenancy_create_key(p_operator text, p_key jsonb, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    given tenancy.api_keys := jsonb_populate_record(null::tenancy.api_keys, p_key - 'scopes');
    most constant integer := tenancy.capacity(p_operator, 'keys');
    stored tenancy.api_keys;
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    if (
        select count(*) from tenancy.api_keys k
        where k.operator_id = p_operator and k.revoked_at is null and k.expires_at > clock_timestamp()) >= most
    then
        return json_build_object('state', 'too_many_keys', 'limit', most);
    end if;
    if exists (select from tenancy.api_keys k where k.key_id = given.key_id or k.digest = given.digest) then
        return json_build_object('state', 'taken');
    end if;
    if given.service_account_id is null then
        given.service_account_id := (public.tenancy_create_service_account(
            p_operator, given.name, coalesce(p_key ->> 'role', 'member'), p_by) ->> 'service_account_id')::uuid;
    elsif not exists (
        select from tenancy.service_accounts a
        where (a.operator_id, a.service_account_id) = (p_operator, given.service_account_id) and a.disabled_at is null)
    then
        return json_build_object('state', 'unknown_account');
    end if;
    insert into tenancy.api_keys (
        key_id, digest, operator_id, service_account_id, scopes, name, created_by, expires_at, replaces)
    values (
        given.key_id, given.digest, p_operator, given.service_account_id,
        array(select jsonb_array_elements_text(coalesce(p_key -> 'scopes', '[]'))), given.name,
        coalesce(tenancy.claimed('sub'), p_by),
        least(
            coalesce(given.expires_at, clock_timestamp() + interval '90 days'), clock_timestamp() + interval '366 days'),
        given.replaces)
    returning * into stored;
    perform tenancy.note(
        p_operator, p_by, 'key.create', stored.key_id,
        jsonb_build_object('name', stored.name, 'scopes', stored.scopes, 'replaces', stored.replaces));
    return json_build_object('state', 'created', 'key', tenancy.key_entry(stored));
end
$$;

-- A new key in the place of another, of the same account, name and scopes; the old one ends after the overlap. p_key:
-- {key_id, digest, expires_at}. Answers {"state": "rolled" | "unknown" | "taken", "key", "old_key_ends_at"}.
create or replace function public.tenancy_roll_key(
    p_operator text, p_key_id text, p_key jsonb, p_overlap_seconds double precision default 0, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    old tenancy.api_keys;
    stored tenancy.api_keys;
begin
    select * into old
    from tenancy.api_keys k
    where (k.operator_id, k.key_id) = (p_operator, p_key_id)
        and k.revoked_at is null and k.expires_at > clock_timestamp()
    for update;
    if old.key_id is null then
        return json_build_object('state', 'unknown');
    end if;
    if exists (
        select from tenancy.api_keys k where k.key_id = p_key ->> 'key_id' or k.digest = p_key ->> 'digest')
    then
        return json_build_object('state', 'taken');
    end if;
    insert into tenancy.api_keys (
        key_id, digest, operator_id, service_account_id, scopes, name, created_by, expires_at, replaces)
    values (
        p_key ->> 'key_id', p_key ->> 'digest', p_operator, old.service_account_id, old.scopes, old.name,
        coalesce(tenancy.claimed('sub'), p_by),
        least(
            coalesce((p_key ->> 'expires_at')::timestamptz, clock_timestamp() + (old.expires_at - old.created_at)),
            clock_timestamp() + interval '366 days'),
        old.key_id)
    returning * into stored;
    update tenancy.api_keys k
    set revoked_at = case when p_overlap_seconds > 0 then k.revoked_at else clock_timestamp() end,
        expires_at = least(k.expires_at, clock_timestamp() + make_interval(secs => least(p_overlap_seconds, 31 * 86400)))
    where k.key_id = old.key_id
    returning * into old;
    perform tenancy.note(
        p_operator, p_by, 'key.roll', old.key_id,
        jsonb_build_object('new_key_id', stored.key_id, 'old_key_ends_at', old.expires_at));
    perform tenancy.access_changed();
    return json_build_object('state', 'rolled', 'key', tenancy.key_entry(stored), 'old_key_ends_at', old.expires_at);
end
$$;

-- Answers {"state": "revoked" | "unknown" | "already"}.
create or replace function public.tenancy_revoke_key(p_operator text, p_key_id text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    update tenancy.api_keys k
    set revoked_at = clock_timestamp()
    where (k.operator_id, k.key_id) = (p_operator, p_key_id) and k.revoked_at is null;
    if not found then
        return json_build_object('state', case
            when exists (
                select from tenancy.api_keys k where (k.operator_id, k.key_id) = (p_operator, p_key_id)) then 'already'
            else 'unknown' end);
    end if;
    perform tenancy.note(p_operator, p_by, 'key.revoke', p_key_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'revoked');
end
$$;
