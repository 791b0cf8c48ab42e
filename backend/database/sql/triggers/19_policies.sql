-- Tenants: what each may see and change ------------------------------------------------------------------------------------
--
-- One policy for each table, command and role. The operator is asked for once a statement, "(select …)", and not once a row.
-- pylon_tenant is granted what our functions need when they run as it; outside of them nobody is pylon_tenant. A policy for
-- service_role serves those who are its members: to pass over policies is no privilege that members have.

create or replace function tenancy.tables_of_tenants()
returns table (name text, command text, visible text, written text)
language sql
immutable
set search_path = ''
as $$
    values
        -- The grid is everybody's.
        ('regions', 'select', 'true', null),
        ('grid_signals', 'select', 'true', null),
        ('regional_grid_signals', 'select', 'true', null),
        ('generation_mix', 'select', 'true', null),
        ('pipeline_runs', 'select', 'true', null),
        ('decision_grids', 'select', 'true', null),
        ('grid_changes', 'select', 'true', null),
        ('system_price_revisions', 'select', 'true', null),
        ('system_prices', 'select', 'true', null),
        ('loss_of_load_forecasts', 'select', 'true', null),
        ('dfs_events', 'select', 'true', null),
        ('dfs_periods', 'select', 'true', null),
        ('dfs_bids', 'select', 'true', null),
        -- A directory, and what is offered for hire: all read them, their owners write.
        ('operators', 'select', 'true', null),
        ('operators', 'update', 'operator_id = (select tenancy.administers())', 'operator_id = (select tenancy.administers())'),
        ('data_centres', 'select', 'true', null),
        ('held_power', 'select', 'true', null),
        ('capacity_prices', 'select', 'true', null),
        ('data_centres', 'insert', null, 'tenant = (select tenancy.writes_for())'),
        ('data_centres', 'update', 'tenant = (select tenancy.writes_for())', 'tenant = (select tenancy.writes_for())'),
        -- Each tenant's own.
        ('compute_workloads', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('capacity_bookings', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('storage_assets', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('orchestration_decisions', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('workload_notifications', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('processed_contexts', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('output_consumers', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('broadcast_log', 'select',
            'tenant = (select tenancy.operator_id()) or (is_everybodys and (select tenancy.operator_id()) is not null)', null),
        ('tenant_numbers', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('agent_states', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('compute_workloads', 'insert', null, 'tenant = (select tenancy.writes_for())'),
        ('storage_assets', 'insert', null, 'tenant = (select tenancy.writes_for())'),
        ('processed_contexts', 'insert', null, 'tenant = (select tenancy.writes_for())'),
        ('output_consumers', 'insert', null, 'tenant = (select tenancy.writes_for())'),
        ('storage_assets', 'update', 'tenant = (select tenancy.writes_for())', 'tenant = (select tenancy.writes_for())'),
        ('processed_contexts', 'update', 'tenant = (select tenancy.writes_for())', 'tenant = (select tenancy.writes_for())'),
        ('output_consumers', 'update', 'tenant = (select tenancy.writes_for())', 'tenant = (select tenancy.writes_for())'),
        -- The platform's own agents are known to all.
        ('agents', 'select', 'tenant = (select tenancy.operator_id()) or tenant = ''platform''', null),
        ('run_accounts', 'select', 'tenant = (select tenancy.operator_id())', null),
        -- What ran where, half-hour by half-hour, is the data centre's operator's.
        ('data_centre_loads', 'select',
            'dc_id in (select d.dc_id from public.data_centres d where d.tenant = (select tenancy.operator_id()))', null),
        -- What ran somewhere is known to whose it was, and to whose place it was.
        ('meter_readings', 'select',
            'tenant = (select tenancy.operator_id()) or dc_id in ('
            'select d.dc_id from public.data_centres d where d.tenant = (select tenancy.operator_id()))', null),
        -- The platform's events of flexibility and its units are known to all, and what it did for them to nobody.
        ('flexibility_units', 'select', 'tenant = (select tenancy.operator_id()) or tenant = ''platform''', null),
        ('flexibility_events', 'select', 'tenant = (select tenancy.operator_id()) or tenant = ''platform''', null),
        ('flexibility_decisions', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_moves', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_commitments', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_baselines', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_storage', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_notifications', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_settlements', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('flexibility_cashflows', 'select', 'tenant = (select tenancy.operator_id())', null),
        -- The platform's programs and events of OpenADR are known to all, but for what it has sold.
        ('openadr_objects', 'select',
            'tenant = (select tenancy.operator_id()) or (tenant = ''platform'' and object_type in (''PROGRAM'', ''EVENT'') '
            'and dispatches is null and (select tenancy.operator_id()) is not null)', null),
        -- A negotiation is its opener's and everybody's who takes part; what an agent said is its own alone.
        ('negotiations', 'select',
            'tenant = (select tenancy.operator_id()) or negotiation_id in ('
            'select a.negotiation_id from public.negotiation_agents a where a.tenant = (select tenancy.operator_id()))',
            null),
        ('negotiation_agents', 'select',
            'tenant = (select tenancy.operator_id()) or opened_by = (select tenancy.operator_id())', null),
        ('negotiation_messages', 'select', 'tenant = (select tenancy.operator_id())', null),
        ('negotiation_awards', 'select',
            'tenant = (select tenancy.operator_id()) or opened_by = (select tenancy.operator_id())', null),
        ('negotiation_payments', 'select',
            '(select tenancy.operator_id()) in (payer_tenant, payee_tenant, opened_by)', null),
        -- A purchase is both sides'.
        ('beckn_quotes', 'select',
            'buyer_operator = (select tenancy.operator_id()) or seller_operator = (select tenancy.operator_id())', null),
        ('beckn_orders', 'select',
            'buyer_operator = (select tenancy.operator_id()) or seller_operator = (select tenancy.operator_id())', null)
$$;

-- Makes the policies and grants of tenants. At the end of these files, and again by the program where the roles were made
-- later, by somebody who may.
create or replace function tenancy.let_tenants_in()
returns void
language plpgsql
set search_path = ''
as $$
declare
    -- What policies and our functions ask; of no use but to whoever is already a tenant or the service.
    asked constant text[] := array[
        'operator_id', 'writes_for', 'must_write', 'administers', 'claimed', 'seen_output', 'own_capacity', 'everybodys_events',
        'own_number'];
    rule record;
    routine record;
    named text;
begin
    for routine in
        select p.oid::regprocedure as signature, p.proname as name
        from pg_catalog.pg_proc p
        where p.pronamespace in ('tenancy'::regnamespace, 'tenant'::regnamespace)
    loop
        execute format('revoke all on function %s from public', routine.signature);
        if (routine.name = any (asked) or routine.name = 'opened') and to_regrole('service_role') is not null then
            execute format('grant execute on function %s to service_role', routine.signature);
        end if;
    end loop;
    for rule in
        select p.tablename, p.policyname
        from pg_catalog.pg_policies p
        where p.schemaname = 'public' and p.policyname in ('tenant_select', 'tenant_insert', 'tenant_update', 'service_all')
            and p.tablename in ({relations})
    loop
        execute format('drop policy %I on public.%I', rule.policyname, rule.tablename);
    end loop;
    if to_regrole('service_role') is not null then
        grant usage on schema tenancy to service_role;
        for named in
            select c.relname
            from pg_catalog.pg_class c
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname in ({relations})
        loop
            execute format(
                'create policy service_all on public.%I for all to service_role using (true) with check (true)', named);
        end loop;
    end if;
    if to_regrole('pylon_tenant') is null then
        return;
    end if;

    revoke all on all tables in schema public from pylon_tenant;
    revoke all on all functions in schema public from pylon_tenant;
    grant usage on schema public, tenancy, tenant to pylon_tenant;
    grant select on public.audited_decisions, tenant.agent_states, tenant.orchestration_decisions to pylon_tenant;
    for rule in select * from tenancy.tables_of_tenants() loop
        execute format(
            'create policy %I on public.%I for %s to pylon_tenant%s%s', 'tenant_' || rule.command, rule.name, rule.command,
            ' using (' || rule.visible || ')', ' with check (' || rule.written || ')');
        execute format('grant %s on public.%I to pylon_tenant', rule.command, rule.name);
    end loop;
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'tenant'::regnamespace
            or (p.pronamespace = 'tenancy'::regnamespace and p.proname = any (asked))
            or (p.pronamespace = 'public'::regnamespace and p.proname in (
                'half_hour_of', 'source_rank', 'counted', 'numbered_output', 'national_forecast_series', 'regional_forecast_series',
                'current_mix', 'grid_context', 'margin_series', 'grid_version', 'present_grid', 'capacity_at', 'capacity_kw', 'regional_overview',
                'live_state', 'signal_history', 'decision_readiness', 'savings', 'changes', 'regional_forecasts',
                'grid_history', 'pipeline_runs_page', 'data_version', 'present_grid_unless', 'chosen_topics',
                'event_summary', 'flexibility_event_row', 'flexibility_events_page', 'flexibility_event_life',
                'flexibility_units_of', 'flexibility_adjustment_mwh', 'flexibility_baselines_page', 'flexibility_commitments_page',
                'flexibility_settlements_page', 'system_prices_between', 'loss_of_load_between', 'dfs_event_document',
                'negotiation_row', 'negotiations_page', 'negotiation_life', 'negotiation_part', 'negotiation_parts',
                'dfs_events_between', 'dfs_event', 'dfs_requirements_from',
                'openadr_object_row', 'openadr_seen_row', 'openadr_targets_of', 'openadr_is_seen', 'openadr_page', 'openadr_one'))
    loop
        execute format('grant execute on function %s to pylon_tenant', routine.signature);
    end loop;

    if to_regrole('pylon_gate') is null then
        return;
    end if;
    grant usage on schema public, tenancy to pylon_gate;
    grant execute on function tenancy.opened(jsonb, text, jsonb) to pylon_gate;
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname in (
                'call_as', 'tenancy_api_key', 'tenancy_key_used', 'tenancy_principal', 'tenancy_audit', 'tenancy_take',
                'tenancy_hold', 'tenancy_let_go', 'tenancy_issue_ticket', 'tenancy_redeem_ticket',
                'tenancy_issue_access_token', 'tenancy_access_token', 'tenancy_check')
    loop
        execute format('grant execute on function %s to pylon_gate', routine.signature);
    end loop;
end
$$;

select tenancy.let_tenants_in();

