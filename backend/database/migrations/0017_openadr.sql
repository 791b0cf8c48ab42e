-- Compatible from: 1

-- OpenADR 3.1: what a virtual top node keeps.
create table public.openadr_objects (
    object_id text primary key check (object_id ~ '^[A-Za-z0-9_-]{1,128}$'),
    tenant text not null,
    object_type text not null check (object_type in ('PROGRAM', 'EVENT', 'REPORT', 'VEN', 'RESOURCE', 'SUBSCRIPTION')),
    program_id text references public.openadr_objects on delete cascade,
    event_id text references public.openadr_objects on delete cascade,
    ven_id text references public.openadr_objects on delete cascade,
    -- What is its own in its kind: a program's, a VEN's, and a resource's among those of its VEN.
    name text,
    -- The service account ("svc:…") that a VEN is, and whose its resources, reports and subscriptions are.
    client text,
    targets text[] not null default '{}',
    flexibility_event_id uuid references public.flexibility_events,
    -- As OpenADR writes it, without what the columns below say.
    content jsonb not null check (jsonb_typeof(content) = 'object'),
    created_at timestamptz not null,
    modified_at timestamptz not null,
    place bigint generated always as identity
);
create unique index openadr_objects_name on public.openadr_objects (tenant, object_type, coalesce(ven_id, ''), name);
create unique index openadr_objects_ven_client on public.openadr_objects (client) where object_type = 'VEN';
create index openadr_objects_newest on public.openadr_objects (tenant, object_type, place desc);
create index openadr_objects_program on public.openadr_objects (program_id, place desc);
create index openadr_objects_event on public.openadr_objects (event_id, place desc);
create index openadr_objects_ven on public.openadr_objects (ven_id);
create index openadr_objects_client on public.openadr_objects (client, object_type);
create index openadr_objects_flexibility on public.openadr_objects (flexibility_event_id);

-- A key that had all of a member's rights had them because nothing less was asked for (see 0010): it gains OpenADR.
do $keys$
begin
    if to_regclass('tenancy.api_keys') is null then
        return; -- a database from before keys
    end if;
    with whole as (
        update tenancy.api_keys k
        set scopes = array(select distinct named from unnest(k.scopes || array['openadr:use']) as named order by named)
        where k.revoked_at is null and k.expires_at > clock_timestamp()
            and k.scopes @> array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge', 'runners:run']
            and not k.scopes @> array['openadr:use']
            and k.created_at < coalesce((
                select min(v.applied_at) from public.schema_version v where v.version >= 17), 'infinity')
        returning k.operator_id, k.key_id
    )
    insert into tenancy.audit_events (operator_id, principal, action, object, outcome, detail)
    select w.operator_id, 'upgrade', 'key.extend', w.key_id, 'allowed', '{"gained": ["openadr:use"]}'
    from whole as w;
end
$keys$;
