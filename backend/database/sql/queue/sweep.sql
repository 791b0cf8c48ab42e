-- {queue}: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_{queue}_sweep(p_scope {scope_type}, p_moment timestamptz)
returns setof public.{table}
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.{table} waiting
    set work_state = 'available'
    where waiting.{key} in (
        select q.{key}
        from public.{table} q
        where {mine} and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.{key}
        from public.{table} q
        where {mine} and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.{table} q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,{forget}
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.{key} = lapsed.{key}
    returning q.*;
end
$$;

