-- {queue}: bodies of messages go a minute after the end of the work, some at a time and never waited for.
create or replace function public.queue_{queue}_shed(p_scope {scope_type}, p_moment timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.{table} finished
    set body = null
    where finished.{key} in (
        select q.{key}
        from public.{table} q
        where {mine} and q.work_state in ('completed', 'discarded') and q.body is not null
            and q.finished_at < p_moment - interval '1 minute'
        order by q.finished_at
        limit 100
        for update skip locked);
end
$$;

