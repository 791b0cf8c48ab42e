-- Tenants: their own runners -----------------------------------------------------------------------------------------------
--
-- A tenant's runners carry out what is booked at its data centres, whoever's workload it is. So these run as their owner, for
-- the runners of the operator that the claims name, and for no other.

create or replace function tenant.register_runner(p_message jsonb, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.register_runner(p_message, p_now, tenancy.must_write()) $$;

create or replace function tenant.take_runs(
    p_runner_id text, p_session text, p_templates jsonb, p_holding jsonb, p_now timestamptz, p_lease_seconds double precision)
returns json language sql security definer set search_path = ''
as $$
    select public.take_runs(p_runner_id, p_session, p_templates, p_holding, p_now, p_lease_seconds, tenancy.must_write())
$$;

create or replace function tenant.run_to_begin(p_run_id bigint, p_runner_id text, p_fence text)
returns json language sql stable security definer set search_path = ''
as $$ select public.run_to_begin(p_run_id, p_runner_id, p_fence, tenancy.must_write()) $$;

create or replace function tenant.begin_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_now timestamptz, p_lease_seconds double precision)
returns json language sql security definer set search_path = ''
as $$ select public.begin_run(p_run_id, p_runner_id, p_fence, p_now, p_lease_seconds, tenancy.must_write()) $$;

create or replace function tenant.heartbeat_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_energy jsonb, p_now timestamptz, p_lease_seconds double precision)
returns json language sql security definer set search_path = ''
as $$
    select public.heartbeat_run(p_run_id, p_runner_id, p_fence, p_energy, p_now, p_lease_seconds, tenancy.must_write())
$$;

create or replace function tenant.give_back_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_reason text, p_final boolean, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.give_back_run(p_run_id, p_runner_id, p_fence, p_reason, p_final, p_now, tenancy.must_write()) $$;

create or replace function tenant.finish_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_outcome jsonb, p_account jsonb, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.finish_run(p_run_id, p_runner_id, p_fence, p_outcome, p_account, p_now, tenancy.must_write()) $$;

create or replace function tenant.list_runners()
returns json language sql stable security definer set search_path = ''
as $$ select public.list_runners(tenancy.operator_id()) $$;

create or replace function tenant.workload_run(p_job_id text)
returns json language sql stable security definer set search_path = ''
as $$ select public.workload_run(p_job_id, tenancy.operator_id()) $$;

create or replace function tenant.offered_templates()
returns json language sql stable security definer set search_path = ''
as $$ select public.offered_templates() $$;

