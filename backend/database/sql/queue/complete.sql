-- {queue}: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_{queue}_complete(p_keys {key_type}[], p_tokens bigint[], p_notes text[] default null)
returns {key_type}[]
language plpgsql
set search_path = ''
as $$
declare
    done {key_type}[];
begin
    with completed as (
        update public.{table} q
        set work_state = 'completed',
            leased_until = null,{forget}
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.{key} = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.{key}
    )
    select coalesce(array_agg(completed.{key}), '{}') into done from completed;
    return done;
end
$$;

