-- Work that is moved by what it was sold or negotiated for ----------------------------------------------------------------
--
-- In two halves of one transaction: take_places_back, then whatever the mover writes that needs its locks, then publish_moves,
-- which takes the publishing lock and comes last. A mover is a function that does both, and answers for their exceptions.

-- Gives the places of booked work back and puts each into the mover's hands to be decided again. p_moves: [{tenant, job_id,
-- booking_id, from_dc_id, from_starts_at, to_dc_id}…]; p_mover: who has it in hand; p_reason: why its booking ends;
-- p_status_reason: why it is PENDING. Answers whether it was done: it is not where any of it is no longer as it was looked at.
create or replace function public.take_places_back(
    p_moves jsonb, p_mover text, p_reason text, p_status_reason text, p_now timestamptz)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select m ->> 'from_dc_id' from jsonb_array_elements(p_moves) as m
        union
        select m ->> 'to_dc_id' from jsonb_array_elements(p_moves) as m)
    order by d.dc_id
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (select m ->> 'tenant', m ->> 'job_id' from jsonb_array_elements(p_moves) as m)
    order by w.tenant, w.job_id
    for no key update;
    if exists (
        select
        from jsonb_to_recordset(p_moves) as m (
            booking_id bigint, tenant text, job_id text, from_dc_id text, from_starts_at timestamptz)
        where not exists (
                select
                from public.capacity_bookings b
                where b.booking_id = m.booking_id and b.state = 'HELD' and b.work_state <> 'running'
                    and b.cancel_requested_at is null
                    and (b.tenant, b.job_id, b.dc_id, b.starts_at)
                        = (m.tenant, m.job_id, m.from_dc_id, m.from_starts_at))
            or exists (
                select
                from public.workload_notifications n
                where (n.tenant, n.job_id) = (m.tenant, m.job_id) and n.work_state <> 'completed'))
    then
        return false;
    end if;
    perform public.give_power_back((m ->> 'booking_id')::bigint, p_reason, p_now)
    from jsonb_array_elements(p_moves) as m;
    update public.compute_workloads w
    set status = 'PENDING', status_reason = p_status_reason, scheduled_start = null
    from jsonb_array_elements(p_moves) as m
    where (w.tenant, w.job_id) = (m ->> 'tenant', m ->> 'job_id');
    -- Its own notification, in hand from the first moment: nobody else decides it meanwhile.
    insert into public.workload_notifications (
        tenant, job_id, reason, work_state, attempt, lease_token, leased_until, leased_by)
    select
        m ->> 'tenant', m ->> 'job_id', 'reconsidered', 'running', 1, nextval('public.lease_tokens'),
        p_now + interval '1 minute', p_mover
    from jsonb_array_elements(p_moves) as m
    order by m ->> 'job_id', m ->> 'tenant';
    return true;
end
$$;

-- Publishes the decisions of work whose places were taken back. p_moves: [{tenant, job_id, record}…]. Raises PYM01 where one of
-- them could not be, with the message "outdated" (the grid is another) or "work_changed": the mover's whole work is undone then.
create or replace function public.publish_moves(p_moves jsonb, p_agent_id text, p_grid jsonb, p_grid_version text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    results json;
begin
    results := public.publish_decisions(
        p_agent_id, p_grid, (
            select jsonb_agg(
                m -> 'record' || jsonb_build_object('notification_id', n.notification_id, 'lease_token', n.lease_token)
                order by m ->> 'job_id', m ->> 'tenant')
            from jsonb_array_elements(p_moves) as m
            join public.workload_notifications n
                on (n.tenant, n.job_id) = (m ->> 'tenant', m ->> 'job_id') and n.work_state = 'running'),
        false, p_grid_version) -> 'results';
    if exists (select from json_array_elements(results) as one where one ->> 'state' <> 'published') then
        raise exception '%', case
            when exists (select from json_array_elements(results) as one where one ->> 'state' = 'outdated')
                then 'outdated' else 'work_changed' end
            using errcode = 'PYM01';
    end if;
    perform pg_notify('capacity_bookings', '');
end
$$;
