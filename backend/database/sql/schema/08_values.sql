-- What every table refuses --------------------------------------------------------------------------------------------

-- PostgreSQL holds values that no program here can read or reckon with: the time "infinity", the years 0 and 20000, a
-- price of 400 digits. So every time, and every figure and word that others may write, has its bounds:
--   times from 2000 to 2200; those that other platforms of a network state, from 1970 to 9998;
--   figures far beyond anything real, and those of a workload as buyers may state them;
--   names in one printable line.
-- A table that holds such a value already is mended: the figure or time becomes the nearest within the bounds, a time
-- beyond them that may be left out is left out ("never" is no deadline), a name becomes one line, and a half-hour out of
-- time goes. The audit log is not touched: there the check is for new rows, and readers name a row that they cannot read.
do $values$
declare
    bound record;
    mended bigint;
    still name[];
    trigger_name name;
begin
    for bound in
        with times as (
            select
                c.table_name::text as relation,
                c.column_name::text as property,
                c.is_nullable = 'YES' as optional,
                case when c.table_name like 'beckn%' then '1970-01-01 00:00:00+00' else '2000-01-01 00:00:00+00' end as lowest,
                case when c.table_name like 'beckn%' then '9999-01-01 00:00:00+00' else '2200-01-01 00:00:00+00' end as highest
            from information_schema.columns c
            join information_schema.tables t using (table_schema, table_name)
            where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
                and c.data_type = 'timestamp with time zone' and c.is_generated = 'NEVER'
                and c.table_name in ({relations}) and c.table_name <> 'schema_version'
        ),
        figures (relation, property, lowest, highest) as (
            values
                ('regions', 'latitude', -90, 90),
                ('regions', 'longitude', -180, 180),
                ('grid_signals', 'carbon_intensity_forecast', 0, 1e5),
                ('grid_signals', 'carbon_intensity_actual', 0, 1e5),
                ('grid_signals', 'demand_mw', 0, 1e7),
                ('grid_signals', 'wholesale_price_gbp_mwh', -1e6, 1e6),
                ('regional_grid_signals', 'carbon_intensity_forecast', 0, 1e5),
                ('data_centres', 'pue', 1, 100),
                ('data_centres', 'total_capacity_teraflops', 0, 1e12),
                ('data_centres', 'total_capacity_mw', 0, 1e6),
                ('data_centres', 'ramp_rate_mw_per_min', 0, 1e6),
                ('data_centres', 'current_carbon_intensity_gco2', 0, 1e5),
                ('compute_workloads', 'required_gpu_mins', 0, 1e12),
                ('compute_workloads', 'required_cpu_cores', 0, 1e9),
                ('compute_workloads', 'required_memory_gb', 0, 1e12),
                ('compute_workloads', 'estimated_energy_kwh', 0, 1e12),
                ('compute_workloads', 'carbon_cap_gco2', 0, 1e12),
                ('compute_workloads', 'max_price_gbp', 0, 1e12),
                ('compute_workloads', 'deferral_window_mins', 0, 525600),
                ('compute_workloads', 'actual_energy_kwh', 0, 1e12),
                ('compute_workloads', 'actual_carbon_gco2', 0, 1e15),
                ('compute_workloads', 'actual_cost_gbp', -1e12, 1e12),
                ('storage_assets', 'capacity_mwh', 0, 1e9),
                ('storage_assets', 'power_mw', 0, 1e9),
                ('beckn_quotes', 'it_power_kw', 0, 1e9),
                ('beckn_quotes', 'price_gbp', -1e12, 1e12),
                ('beckn_orders', 'it_power_kw', 0, 1e9),
                ('beckn_orders', 'price_gbp', -1e12, 1e12)
        ),
        words (relation, property, longest) as (
            values
                ('operators', 'name', 200),
                ('operators', 'country', 64),
                ('data_centres', 'name', 200),
                ('data_centres', 'location_region', 200),
                ('agents', 'name', 200),
                ('agents', 'agent_type', 64),
                ('agents', 'version', 64),
                ('storage_assets', 'name', 200),
                ('compute_workloads', 'submission_digest', 128),
                ('broadcast_log', 'event_type', 64),
                ('broadcast_log', 'job_id', 64),
                ('broadcast_log', 'subject', 200)
        ),
        bounds as (
            select
                relation,
                property,
                format('%1$I >= %2$L and %1$I < %3$L', property, lowest, highest) as rule,
                case
                    when relation = 'orchestration_decisions' then null
                    when (relation, property) in (
                        ('grid_signals', 'timestamp'), ('regional_grid_signals', 'timestamp'),
                        ('generation_mix', 'timestamp'), ('pipeline_runs', 'slot'))
                        then format('delete from public.%1$I where not (%2$I >= %3$L and %2$I < %4$L)',
                            relation, property, lowest, highest)
                    else format(
                        'update public.%1$I set %2$I = case when %2$I < %3$L then timestamptz %3$L else %4$s end '
                        'where not (%2$I >= %3$L and %2$I < %5$L)',
                        relation, property, lowest,
                        case
                            when optional then 'null'
                            else format('timestamptz %L - interval ''1 second''', highest)
                        end,
                        highest)
                end as mend
            from times
            union all
            select
                relation,
                property,
                format('%1$I between %2$s and %3$s', property, lowest, highest),
                format('update public.%1$I set %2$I = greatest(%3$s, least(%4$s, %2$I)) where not (%2$I between %3$s and %4$s)',
                    relation, property, lowest, highest)
            from figures
            union all
            select
                relation,
                property,
                format('length(%1$I) <= %2$s and %1$I !~ %3$L', property, longest, '[[:cntrl:]]'),
                format(
                    'update public.%1$I set %2$I = left(regexp_replace(%2$I, %3$L, '' '', ''g''), %4$s) '
                    'where not (length(%2$I) <= %4$s and %2$I !~ %3$L)',
                    relation, property, '[[:cntrl:]]', longest)
            from words
        )
        select bounds.*, relation || '_' || property || '_bounds' as name
        from bounds
        where not exists (
            select
            from pg_catalog.pg_constraint c
            where c.conrelid = ('public.' || relation)::regclass and c.conname = relation || '_' || property || '_bounds')
        order by relation, property
    loop
        execute format('alter table public.%I add constraint %I check (%s) not valid', bound.relation, bound.name, bound.rule);
        begin
            execute format('alter table public.%I validate constraint %I', bound.relation, bound.name);
        exception
            when check_violation then
                if bound.mend is null then
                    raise warning '%.% holds values out of bounds: rows of the audit log are left as they are',
                        bound.relation, bound.property;
                else
                    -- Nobody has changed the row: updated_at stays, and the log of events tells of nothing.
                    still := array(
                        select t.tgname
                        from pg_catalog.pg_trigger t
                        where t.tgrelid = ('public.' || bound.relation)::regclass
                            and t.tgname in ('touch_updated_at', 'log_data_centre_change'));
                    foreach trigger_name in array still loop
                        execute format('alter table public.%I disable trigger %I', bound.relation, trigger_name);
                    end loop;
                    execute bound.mend;
                    get diagnostics mended = row_count;
                    foreach trigger_name in array still loop
                        execute format('alter table public.%I enable trigger %I', bound.relation, trigger_name);
                    end loop;
                    raise warning '%.%: % values out of bounds were corrected', bound.relation, bound.property, mended;
                    execute format('alter table public.%I validate constraint %I', bound.relation, bound.name);
                end if;
        end;
    end loop;
end
$values$;

