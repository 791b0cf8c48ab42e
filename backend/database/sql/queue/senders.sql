-- {queue}: who has something open, and how much of it is being worked on. However much waits, each costs a look at an index.
create or replace function public.queue_{queue}_senders(p_scope {scope_type}, p_moment timestamptz)
returns table (sender text, in_hand integer)
language plpgsql
set search_path = ''
as $$
begin
    return query
    with recursive known as (
        (
            select q.{sender} as name
            from public.{table} q
            where {mine} and q.work_state in ('available', 'running', 'retryable')
            order by q.{sender}
            limit 1)
        union all
        select (
            select q.{sender}
            from public.{table} q
            where {mine} and q.work_state in ('available', 'running', 'retryable') and q.{sender} > known.name
            order by q.{sender}
            limit 1)
        from known
        where known.name is not null
    ),
    busy as materialized (
        select q.{sender} as name, count(*)::integer as in_hand
        from public.{table} q
        where {mine} and q.work_state = 'running' and q.leased_until > p_moment
        group by q.{sender}
    )
    select known.name, coalesce(busy.in_hand, 0)
    from known
    left join busy on busy.name = known.name
    where known.name is not null;
end
$$;

-- {queue}: what may be taken of p_senders, at most as many of each as p_free says, by their turn. A message whose transaction
-- has an earlier one that is not finished waits for it.
create or replace function public.queue_{queue}_fronts(
    p_scope {scope_type}, p_senders text[], p_free integer[], p_limit integer, p_moment timestamptz)
returns {key_type}[]
language plpgsql
set search_path = ''
as $$
declare
    fronts {key_type}[];
begin
    select coalesce(array_agg(front.{key} order by front.turn, front.{key}), '{}') into fronts
    from unnest(p_senders, p_free) as places (sender, free)
    cross join lateral (
        select q.{key}, q.turn, row_number() over (order by q.turn, q.{key}) as place
        from public.{table} q
        where {mine} and q.{sender} = places.sender and q.work_state in ('available', 'running', 'retryable')
            and (
                q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment)))
            -- Not "not exists", which may be planned as a join of all that waits.
            and (
                select earlier.{key}
                from public.{table} earlier
                where earlier.transaction_id = q.transaction_id and earlier.{key} < q.{key}
                    and earlier.work_state in ('available', 'running', 'retryable')
                    and {one_conversation}
                limit 1) is null
        order by q.turn, q.{key}
        limit p_limit + 2) as front
    where front.place <= places.free;
    return fronts;
end
$$;

