-- Tenants: flexibility ---------------------------------------------------------------------------------------------------------
--
-- An operator's own events, and the platform's, which all may read: what these moved of others' they do not see.

create or replace function tenant.announce_flexibility_event(p_event jsonb, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.announce_flexibility_event(p_event, p_now, tenancy.must_write())
$$;

create or replace function tenant.cancel_flexibility_event(p_event_id uuid, p_reason text, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.cancel_flexibility_event(p_event_id, p_reason, p_now, tenancy.must_write())
$$;

-- Read with the caller's own rights, so that the policies say what is in them.
create or replace function tenant.flexibility_events_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_events_page(p_before, p_before_id, p_limit)
$$;

create or replace function tenant.flexibility_event_life(p_event_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_event_life(p_event_id)
$$;

create or replace function tenant.flexibility_baselines_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_baselines_page(p_event_id, p_unit_id, p_before, p_before_id, p_before_name, p_limit)
$$;

create or replace function tenant.flexibility_commitments_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_commitments_page(p_event_id, p_unit_id, p_before, p_before_id, p_before_name, p_limit)
$$;

create or replace function tenant.flexibility_settlements_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_run integer, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_settlements_page(p_event_id, p_unit_id, p_before, p_before_id, p_before_run, p_limit)
$$;

create or replace function tenant.flexibility_units_of()
returns json
language sql
stable
set search_path = ''
as $$
    select public.flexibility_units_of(tenancy.operator_id())
$$;
