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

-- Of two real figures the one fetched later counts. An hour later it cannot have been: then the clock was set back between
-- them, and the one that is offered now is the newer.
create or replace function public.stored_is_newer(source text, stored_at timestamptz, offered_at timestamptz)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select public.source_rank(source) = 2 and stored_at is not null
        and (offered_at is null or (stored_at > offered_at and stored_at < offered_at + interval '1 hour'))
$$;


