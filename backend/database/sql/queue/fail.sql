-- {queue}: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_{queue}_fail(
    p_key {key_type}, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.{table}
language plpgsql
set search_path = ''
as $$
declare
    failed public.{table};
begin
    update public.{table} q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,{forget}
        last_error = left(p_error, 2000)
    where q.{key} = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

