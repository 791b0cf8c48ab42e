-- The engine of every queue -----------------------------------------------------------------------------------------------
--
-- available → running → completed; after a failure retryable, and available again when its moment has come; discarded after
-- the last attempt. scheduled_at is when a row may be taken. A claim is a lease: it is short, and its token fences, so that
-- whoever lost it can no longer extend, fail, release or complete. An attempt counts against the work when its end was told
-- and was a failure. One that was released never happened; one whose lease ran out may have been the work's doing, if it
-- ends the process, or a database's that was away: for those the bound is most_lost_leases. Work without max_attempts is
-- tried for as long as it is of use. Rows that take turns are taken by their turn: the first of everybody comes before the
-- second of anybody. Several rows of a queue are locked by their key.

create or replace function public.most_lost_leases()
returns integer
language sql
immutable parallel safe
set search_path = ''
as $$
    select 20
$$;

-- How long what has lost its lease so often is left alone: at first not at all, then for 2, 4, 8 … seconds, at most five
-- minutes. So twenty take an hour and more.
create or replace function public.pause_after_lost_leases(p_lost integer)
returns interval
language sql
immutable parallel safe
set search_path = ''
as $$
    select case when p_lost < 3 then interval '0' else make_interval(secs => least(300, power(2, least(p_lost, 20) - 2))) end
$$;

-- How long what failed for the p_failures-th time waits: p_first_seconds and then twice as long each time, at most
-- p_longest_seconds, give or take a quarter so that failures that came together do not come back together.
create or replace function public.retry_pause(
    p_failures integer, p_first_seconds double precision, p_longest_seconds double precision)
returns interval
language sql
volatile parallel safe
set search_path = ''
as $$
    select make_interval(
        secs => least(p_longest_seconds, p_first_seconds * power(2, least(p_failures - 1, 20))) * (0.75 + random() / 2))
$$;

-- Whether a moment that work waits for has come. No lease and no pause of a queue is as long as an hour: what is that far
-- ahead was reckoned by a clock that has been set back since.
create or replace function public.has_come(p_moment timestamptz, p_now timestamptz)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select p_moment <= p_now or p_moment > p_now + interval '1 hour'
$$;

-- When a row may be taken: while somebody holds its lease, when that ends.
create or replace function public.queue_due_at(p_work_state text, p_scheduled_at timestamptz, p_leased_until timestamptz)
returns timestamptz
language sql
immutable parallel safe
set search_path = ''
as $$
    select case when p_work_state = 'running' then p_leased_until else p_scheduled_at end
$$;

{queues}
