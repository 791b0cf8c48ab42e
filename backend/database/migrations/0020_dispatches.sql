-- Compatible from: 7

-- Which event of flexibility an OpenADR event tells VENs to deliver, and when an OpenADR event is over: it goes with the
-- history that is pruned.
--
-- Gateways of versions before 7 take the numbers of decisions for numbers without a gap, and repeat one where the log holds
-- anything else, such as an agent that decides otherwise.
alter table public.openadr_objects add column dispatches uuid references public.flexibility_events;
alter table public.openadr_objects add column ends_at timestamptz;
create index openadr_objects_dispatches on public.openadr_objects (dispatches) where dispatches is not null;
create index openadr_objects_ended on public.openadr_objects (ends_at) where ends_at is not null;

-- What one buyer may have has more than one bound.
drop function if exists public.beckn_confirm_flexibility(jsonb, jsonb, integer, timestamptz);
