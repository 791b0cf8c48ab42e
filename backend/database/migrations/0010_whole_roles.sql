-- Compatible from: 1

-- A key that had all that its role may had it because nothing less was asked for, so it has what the role has gained since.
-- Whoever made a key when there was more to give, and left something out, meant it: only keys from before are looked at.
do $keys$
declare
    gain record;
begin
    if to_regclass('tenancy.api_keys') is null then
        return; -- a database from before keys
    end if;
    for gain in
        select had, gained, version
        from (values
            (array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge'], array['runners:run'], 6),
            (array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge', 'runners:run', 'keys:manage'],
                array['members:manage', 'operator:manage', 'audit:read'], 9)
        ) as gains (had, gained, version)
        order by version -- an administrator's key of version 3 gains both
    loop
        with whole as (
            update tenancy.api_keys k
            set scopes = array(select distinct named from unnest(k.scopes || gain.gained) as named order by named)
            where k.revoked_at is null and k.expires_at > clock_timestamp()
                and k.scopes @> gain.had and not k.scopes @> gain.gained
                -- applied_at is null of a version that is only passed through on the way to this one
                and k.created_at < coalesce((
                    select min(v.applied_at) from public.schema_version v where v.version >= gain.version), 'infinity')
            returning k.operator_id, k.key_id
        )
        insert into tenancy.audit_events (operator_id, principal, action, object, outcome, detail)
        select w.operator_id, 'upgrade', 'key.extend', w.key_id, 'allowed', jsonb_build_object('gained', gain.gained)
        from whole as w;
    end loop;
end
$keys$;
