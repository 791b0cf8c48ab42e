-- {queue}: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_{queue}_next_due(p_scope {scope_type}, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.{table} q
            where {mine} and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.{table} q
            where {mine} and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

