-- Bookings: what is held is the sum of them --------------------------------------------------------------------------------
--
-- One order of locks everywhere: data centres by dc_id ("for no key update"), then notifications, workloads, bookings, the
-- sums of held power, and last the publishing lock. Whoever takes, moves or gives back power holds its data centre's lock.

-- Brings held_power up to date with what a statement did to the bookings: what is given back is, in numeric, exactly what
-- was taken. A statement that changes no power (a claim, a heartbeat) comes to sums of nothing.
create or replace function public.sum_held_power()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    given_back public.capacity_bookings[] := '{}';
    taken public.capacity_bookings[] := '{}';
begin
    if tg_op <> 'INSERT' then
        given_back := array(select b from before_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    if tg_op <> 'DELETE' then
        taken := array(select b from after_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    insert into public.held_power as h (dc_id, half_hour, held_kw)
    select change.dc_id, touched.half_hour, sum(change.kw)
    from (
        select b.dc_id, b.starts_at, b.ends_at, -b.it_power_kw as kw from unnest(given_back) as b
        union all
        select b.dc_id, b.starts_at, b.ends_at, b.it_power_kw from unnest(taken) as b) as change
    cross join lateral generate_series(
        public.half_hour_of(change.starts_at), change.ends_at - interval '1 microsecond', interval '30 minutes')
        as touched (half_hour)
    group by change.dc_id, touched.half_hour
    having sum(change.kw) <> 0
    order by change.dc_id, touched.half_hour -- locked in one order by all
    on conflict (dc_id, half_hour) do update set held_kw = h.held_kw + excluded.held_kw;
    return null;
end
$$;

create or replace trigger sum_held_power_insert
    after insert on public.capacity_bookings
    referencing new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_update
    after update on public.capacity_bookings
    referencing old table as before_change new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_delete
    after delete on public.capacity_bookings
    referencing old table as before_change
    for each statement execute function public.sum_held_power();


