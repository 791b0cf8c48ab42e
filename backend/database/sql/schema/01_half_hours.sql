-- Half-hours and sources ---------------------------------------------------------------------------------------

create or replace function public.half_hour_of(moment timestamptz)
returns timestamptz
language sql
immutable strict parallel safe
set search_path = ''
as $$
    select date_bin(interval '30 minutes', moment, timestamptz '2000-01-01 00:00:00+00')
$$;
comment on function public.half_hour_of is 'Start of the half-hour that contains a moment.';

-- A real figure is never overwritten by a modelled one, nor a modelled one by an invented one.
create or replace function public.source_rank(source text)
returns integer
language sql
immutable parallel safe
set search_path = ''
as $$
    select case when source is null then -1 when source = 'synthetic' then 0 when source = 'modelled' then 1 else 2 end
$$;
comment on function public.source_rank is 'How much a figure of this source counts: synthetic 0, modelled 1, real 2.';


