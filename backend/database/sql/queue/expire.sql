-- {queue}: discards what nobody waits for any more, and answers it. Call it before the sweep.
create or replace function public.queue_{queue}_expire(p_scope {scope_type}, p_moment timestamptz)
returns setof public.{table}
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    return query
    with over as materialized (
        select q.{key}
        from public.{table} q
        where {mine} and q.work_state in ('available', 'running', 'retryable') and q.expires_at <= p_moment
            and (q.work_state <> 'running' or public.has_come(q.leased_until, p_moment))
        order by q.expires_at
        limit 1000
        for update skip locked
    )
    update public.{table} q
    set work_state = 'discarded',
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = {expired}
    from over
    where q.{key} = over.{key}
    returning q.*;
end
$$;

