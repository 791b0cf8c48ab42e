-- {queue}: an operator's call: discarded rows, all or those of p_keys, get all their attempts again. Answers how many.
create or replace function public.queue_{queue}_requeue(p_keys {key_type}[] default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    requeued bigint;
begin
    update public.{table} q
    set work_state = 'available', attempt = 0, lost_leases = 0, scheduled_at = clock_timestamp(), finished_at = null
    where q.work_state = 'discarded' and (p_keys is null or q.{key} = any (p_keys));
    get diagnostics requeued = row_count;
    if requeued > 0 then
        perform pg_notify('{channel}', '');
    end if;
    return requeued;
end
$$;

