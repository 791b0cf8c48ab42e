-- {queue}: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out{after_a_pause}; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_{queue}_claim(
    p_scope {scope_type}, p_keys {key_type}[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.{table}
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed {key_type}[];
    due {key_type}[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.{key}) into due
        from (
            select q.{key}
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.{table} q on q.{key} = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until{pause}, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.{key}), '{}') into lapsed
        from (
            select q.{key}
            from public.{table} q
            where {mine} and q.work_state = 'running' and public.has_come(q.leased_until{pause}, p_moment)
            order by {order}, q.{key}
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.{key}) into due
        from (
            select q.{key}
            from public.{table} q
            where {mine} and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by {order}, q.{key}
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.{table} q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds){forget_last}
    where q.{key} = any (due)
    returning q.*;
end
$$;

