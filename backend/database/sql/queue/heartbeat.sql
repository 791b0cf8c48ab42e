-- {queue}: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_{queue}_heartbeat(p_keys {key_type}[], p_tokens bigint[], p_until timestamptz)
returns {key_type}[]
language plpgsql
set search_path = ''
as $$
declare
    held {key_type}[];
begin
    with locked as materialized (
        select q.{key}
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.{table} q on q.{key} = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.{key}
        for update of q
    ),
    extended as (
        update public.{table} q
        set leased_until = p_until
        from locked
        where q.{key} = locked.{key}
        returning q.{key}
    )
    select coalesce(array_agg(extended.{key} order by extended.{key}), '{}') into held from extended;
    return held;
end
$$;

