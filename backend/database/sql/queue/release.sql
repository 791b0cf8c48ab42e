-- {queue}: gives back what was not finished, uncounted: at once, as a worker that stops does, or due after p_pause_seconds, so
-- that others come first. Answers how many were still held.
create or replace function public.queue_{queue}_release(
    p_keys {key_type}[], p_tokens bigint[], p_pause_seconds double precision default 0, p_reason text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select q.{key}
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.{table} q on q.{key} = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.{key}
        for update of q
    )
    update public.{table} q
    set work_state = case when p_pause_seconds > 0 then 'retryable' else 'available' end,
        attempt = q.attempt - 1,
        scheduled_at = case
            when p_pause_seconds > 0 then clock_timestamp() + make_interval(secs => p_pause_seconds)
            else q.scheduled_at end,
        lease_token = null,
        leased_until = null,{forget}
        last_error = coalesce(left(p_reason, 2000), q.last_error)
    from locked
    where q.{key} = locked.{key};
    get diagnostics released = row_count;
    if released > 0 and not p_pause_seconds > 0 then
        perform pg_notify('{channel}', '');
    end if;
    return released;
end
$$;

