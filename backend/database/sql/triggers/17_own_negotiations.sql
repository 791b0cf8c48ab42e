-- Tenants: negotiations --------------------------------------------------------------------------------------------------------
--
-- A negotiation is known to who opened it and to whose agents take part. What is said between the coordinator and an agent
-- is known to the agent's own; what an agent is awarded, to it and to who opened the negotiation.

create or replace function tenant.open_negotiation(p_negotiation jsonb, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.open_negotiation(p_negotiation, p_now, tenancy.must_write())
$$;

create or replace function tenant.say_in_negotiation(
    p_negotiation_id uuid, p_agent text, p_message jsonb, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.say_in_negotiation(p_negotiation_id, p_agent, p_message, p_now, tenancy.must_write())
$$;

create or replace function tenant.cancel_negotiation(p_negotiation_id uuid, p_reason text, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.cancel_negotiation(p_negotiation_id, p_reason, p_now, tenancy.must_write())
$$;

-- Read with the caller's own rights, so that the policies say what is in them.
create or replace function tenant.negotiations_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.negotiations_page(p_before, p_before_id, p_limit)
$$;

create or replace function tenant.negotiation_life(p_negotiation_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select public.negotiation_life(p_negotiation_id)
$$;

create or replace function tenant.negotiation_part(p_negotiation_id uuid, p_agent text)
returns json
language sql
stable
set search_path = ''
as $$
    select public.negotiation_part(p_negotiation_id, p_agent)
$$;

create or replace function tenant.negotiation_parts(p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select public.negotiation_parts(p_limit, tenancy.operator_id())
$$;

