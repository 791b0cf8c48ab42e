
-- Tenants: OpenADR -------------------------------------------------------------------------------------------------------------

create or replace function tenant.openadr_create(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.openadr_create(p_object, p_client, p_client_id, p_flexibility, p_now, tenancy.must_write())
$$;

create or replace function tenant.openadr_replace(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.openadr_replace(p_object, p_client, p_client_id, p_flexibility, p_now, tenancy.must_write())
$$;

create or replace function tenant.openadr_delete(p_type text, p_id text, p_client text, p_now timestamptz)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.openadr_delete(p_type, p_id, p_client, p_now, tenancy.must_write())
$$;
