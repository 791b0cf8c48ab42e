-- {queue}: the turn of a new row of p_sender, after what is being worked on and after the last that p_sender has waiting. So
-- the first of everybody comes before the second of anybody (start-time fair queueing). Volatile, so that rows of one
-- insert follow each other.
create or replace function public.queue_{queue}_turn(p_scope {scope_type}, p_sender text)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
    return 1 + greatest(
        (select max(q.turn) from public.{table} q where {mine} and q.work_state = 'running'),
        (
            select max(q.turn)
            from public.{table} q
            where {mine} and q.{sender} = p_sender and q.work_state in ('available', 'running', 'retryable')),
        0);
end
$$;

