
-- OpenADR: what flexibility has sold -----------------------------------------------------------------------------------------
--
-- What an event of flexibility has sold is told to the VENs that are to do it, by OpenADR events in the program 'Pylon flexibility':
-- one for each unit, its target the unit, with what it draws less; and one for each battery, its target the battery, with what
-- that does in every half-hour. A unit's is of the event's owner, a battery's of the battery's operator, whoever's the event is.
--
-- Locks: the programs before the event of flexibility, as openadr_hold_parents does, and its OpenADR events after it.

-- Whose a battery's dispatches are.
create or replace function public.openadr_dispatched_tenant(p_asset_id text, p_tenant text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce((select s.operator from public.storage_assets s where s.asset_id = p_asset_id), p_tenant)
$$;

-- Makes and holds the programs that an event's dispatches will be in, before it is locked. p_storage: as step_flexibility_event
-- takes it.
create or replace function public.openadr_hold_dispatch_programs(p_event_id uuid, p_storage jsonb, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    whose text;
    made public.openadr_objects;
begin
    for whose in
        select e.tenant from public.flexibility_events e where e.event_id = p_event_id
        union
        select public.openadr_dispatched_tenant(s.asset_id, e.tenant)
        from jsonb_to_recordset(p_storage) as s (asset_id text)
        join public.flexibility_events e on e.event_id = p_event_id
        order by 1
    loop
        loop
            perform
            from public.openadr_objects o
            where (o.tenant, o.object_type, coalesce(o.ven_id, ''), o.name) = (whose, 'PROGRAM', '', 'Pylon flexibility')
            for key share;
            exit when found;
            insert into public.openadr_objects (object_id, tenant, object_type, name, content, created_at, modified_at)
            values (
                gen_random_uuid()::text, whose, 'PROGRAM', 'Pylon flexibility',
                jsonb_build_object('programName', 'Pylon flexibility', 'bindingEvents', true), p_now, p_now)
            on conflict do nothing
            returning * into made;
            if found then
                perform public.openadr_tell(made, 'CREATE');
            end if;
        end loop;
    end loop;
end
$$;

-- Tells the VENs what an event has sold; see above.
create or replace function public.openadr_dispatch(p_event public.flexibility_events, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    told public.openadr_objects;
begin
    for told in
        insert into public.openadr_objects (
            object_id, tenant, object_type, program_id, targets, content, created_at, modified_at, ends_at, dispatches)
        select
            gen_random_uuid()::text, one.tenant, 'EVENT', program.object_id, array[one.target],
            jsonb_build_object(
                'programID', program.object_id,
                'eventName', left(p_event.source_id, 60) || ' ' || one.target,
                'targets', jsonb_build_array(one.target),
                'intervalPeriod', jsonb_build_object(
                    'start', to_char(one.starts_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'duration', 'PT30M'),
                'payloadDescriptors', jsonb_build_array(jsonb_build_object('payloadType', one.kind, 'units', 'KW')),
                'intervals', (
                    select jsonb_agg(jsonb_build_object(
                        'id', kw.place - 1,
                        'payloads', jsonb_build_array(
                            jsonb_build_object('type', one.kind, 'values', jsonb_build_array(kw.value)))) order by kw.place)
                    from jsonb_array_elements(one.kw) with ordinality as kw (value, place))),
            p_now, p_now, one.ends_at, p_event.event_id
        from (
            select
                p_event.tenant, c.unit_id as target, 'DISPATCH_SETPOINT_RELATIVE' as kind,
                min(c.half_hour) as starts_at, max(c.half_hour) + interval '30 minutes' as ends_at,
                jsonb_agg(trim_scale(c.committed_mwh * -2000) order by c.half_hour) as kw
            from public.flexibility_commitments c
            where c.event_id = p_event.event_id
            group by c.unit_id
            union all
            select
                public.openadr_dispatched_tenant(s.asset_id, p_event.tenant), s.asset_id, 'DISPATCH_SETPOINT',
                min(s.half_hour), max(s.half_hour) + interval '30 minutes',
                jsonb_agg(trim_scale((s.charge_mw - s.discharge_mw) * 1000) order by s.half_hour)
            from public.flexibility_storage s
            where s.event_id = p_event.event_id
            group by s.asset_id) as one
        join public.openadr_objects program
            on (program.tenant, program.object_type, coalesce(program.ven_id, ''), program.name)
                = (one.tenant, 'PROGRAM', '', 'Pylon flexibility')
        order by one.kind desc, one.target
        returning *
    loop
        perform public.openadr_tell(told, 'CREATE');
    end loop;
end
$$;

-- Takes back what an event that came to nothing was to have done, for whoever has the event's lock.
create or replace function public.openadr_withdraw(p_event_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
    dispatched text[];
    gone public.openadr_objects;
begin
    select array_agg(held.object_id) into dispatched
    from (
        select o.object_id from public.openadr_objects o where o.dispatches = p_event_id order by o.place for update) as held;
    for gone in
        select o.*
        from public.openadr_objects o
        where o.object_id = any (dispatched) or o.event_id = any (dispatched)
        order by o.place desc
    loop
        perform public.openadr_tell(gone, 'DELETE');
    end loop;
    delete from public.openadr_objects o where o.object_id = any (dispatched);
end
$$;
