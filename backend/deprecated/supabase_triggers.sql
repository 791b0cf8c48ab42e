begin;

-- Pylon DEG: triggers and the functions that write. Run it after supabase_schema.sql; idempotent like that file.
--
-- Everything that must happen together is one function here, so that it is one transaction over psycopg and one
-- HTTP call over PostgREST alike.

set local client_min_messages = warning;
set local timezone = 'UTC';
select pg_advisory_xact_lock(7263811);

do $version$
declare
    newest integer := (select max(version) from public.schema_version);
begin
    if newest is distinct from 22 then
        raise exception 'this database has the tables of schema version %, but this file is of version 22: '
            'first run the supabase_schema.sql from the same directory', newest;
    end if;
end
$version$;

-- This file's functions, for the blocks that drop them, below, and grant them, at the end.
set local pylon.functions =
    'touch_updated_at touch_tenants_row refuse_audit_change decision_texts decision_hash chain_decision '
    'decision_chain decision_heads decision_grid file_under_tenant notify_new_workload note_grid_change '
    'submit_workloads most_lost_leases pause_after_lost_leases retry_pause has_come queue_due_at '
    'queue_notifications_turn queue_notifications_sweep queue_notifications_claim queue_notifications_heartbeat '
    'queue_notifications_complete queue_notifications_fail queue_notifications_release '
    'queue_notifications_requeue queue_inbox_turn queue_inbox_expire queue_inbox_sweep queue_inbox_shed '
    'queue_inbox_senders queue_inbox_fronts queue_inbox_claim queue_inbox_heartbeat queue_inbox_complete '
    'queue_inbox_fail queue_inbox_release queue_inbox_next_due queue_outbox_expire queue_outbox_sweep '
    'queue_outbox_shed queue_outbox_senders queue_outbox_fronts queue_outbox_claim queue_outbox_complete '
    'queue_outbox_fail queue_outbox_next_due queue_orders_sweep queue_orders_claim queue_orders_heartbeat '
    'queue_orders_fail queue_orders_release queue_orders_next_due queue_bookings_sweep queue_bookings_claim '
    'queue_bookings_heartbeat queue_bookings_complete queue_bookings_fail queue_bookings_release '
    'queue_bookings_next_due queue_flexibility_sweep queue_flexibility_claim queue_flexibility_heartbeat '
    'queue_flexibility_fail queue_flexibility_next_due queue_negotiations_sweep queue_negotiations_claim '
    'queue_negotiations_heartbeat queue_negotiations_fail queue_negotiations_next_due queue_webhooks_sweep '
    'queue_webhooks_shed queue_webhooks_claim queue_webhooks_complete queue_webhooks_fail '
    'queue_webhooks_next_due queue_runs_sweep queue_runs_claim queue_runs_heartbeat queue_runs_complete '
    'queue_runs_fail store_system_prices store_loss_of_load store_dfs_events claim_pipeline_slot '
    'heartbeat_pipeline_slot store_signals store_world store_run log_pipeline_run finish_pipeline_run '
    'prune_history sum_held_power capacity_kw most_held_kw free_kw free_to_move_kw capacity_at carried_out_by '
    'take_power booking_of_output book_decisions capacity_timeline awaits_decision has_place place_notification '
    'claim_notifications heartbeat_notifications release_notifications give_back_notifications '
    'fail_notification requeue_dead waiting_prospects reconsider_deferred queue_health probe_write '
    'work_to_price store_capacity_prices places_that_run decision_contexts present_grid decision_readiness '
    'decision_context note_context data_version present_grid_unless everybodys_events newest_of_tenant '
    'chosen_topics event_summary log_event publish_decisions events_after outputs_history task_output '
    'newest_unacknowledged_output acknowledge_output current_context mark_context_processed number_agent_state '
    'register_agent record_agent_state let_waiting_ask_again lock_placed_workload not_its_owners '
    'cancel_workload give_power_back place_of room_from move_workload is_expired expire_bookings '
    'load_data_centre load_what_runs promised_runs claim_due_bookings heartbeat_bookings fail_booking '
    'change_booking settle_unbooked_workloads bookings_health refuse_reading_change newest_readings '
    'sum_data_centre_loads sample_loads record_readings open_account credit_run_now account_runs counted_words '
    'revise_accounts savings take_places_back publish_moves beckn_register beckn_key_holds beckn_stay '
    'beckn_leave beckn_known_message beckn_over_limit beckn_receive beckn_put_outbox beckn_relay '
    'beckn_claim_inbox beckn_finish_inbox beckn_heartbeat_inbox beckn_give_back_inbox beckn_fail_inbox '
    'beckn_claim_outbox beckn_settle_outbox beckn_prune register_runner runner_name take_runs held_run '
    'run_to_begin begin_run heartbeat_run give_back_run finish_run end_run log_run give_run_back '
    'readings_so_far settle_silent_runs run_place list_runners offered_templates workload_run negotiation_row '
    'log_negotiation open_negotiation binding_limits claim_negotiations heartbeat_negotiation '
    'negotiation_metered fail_negotiation release_negotiation hold_for_negotiation move_for_negotiation '
    'step_negotiation say_in_negotiation cancel_negotiation negotiations_page negotiation_life negotiation_part '
    'negotiation_parts openadr_object_row openadr_targets_of openadr_is_seen openadr_seen_row openadr_page '
    'openadr_one openadr_missing openadr_hold_parents openadr_client openadr_content openadr_is_served '
    'openadr_tell openadr_claim_webhooks openadr_settle_webhook openadr_webhooks_health openadr_create '
    'openadr_replace openadr_delete openadr_dispatched_tenant openadr_hold_dispatch_programs openadr_dispatch '
    'openadr_withdraw beckn_operator beckn_seller beckn_store_quote beckn_held_kw beckn_free_kw '
    'beckn_share_left_kw log_order beckn_place_order beckn_change_order beckn_claim_orders '
    'beckn_heartbeat_orders beckn_fail_order beckn_overdue flexibility_decision_texts flexibility_decision_hash '
    'chain_flexibility_decision flexibility_chain_check flexibility_decision_chain flexibility_decision_heads '
    'gsp_group ensure_flexibility_units flexibility_event_row log_flexibility_event announce_flexibility_event '
    'claim_flexibility_events fail_flexibility_event flexibility_adjustment_mwh flexibility_sites '
    'flexibility_batteries flexibility_situation_of flexibility_situation flexibility_history '
    'flexibility_in_day_readings flexibility_outcome release_flexibility move_for_flexibility '
    'storage_may_be_sold step_flexibility_event cancel_flexibility_event flexibility_events_page '
    'flexibility_event_life flexibility_baselines_page flexibility_commitments_page '
    'flexibility_settlements_page flexibility_units_of beckn_flexibility_prospect '
    'beckn_flexibility_contract_row beckn_flexibility_contract beckn_confirm_flexibility '
    'beckn_untold_flexibility beckn_tell_flexibility log_data_centre_change log_agent_state call_as '
    'tenancy_operators tenancy_set_operator tenancy_members tenancy_set_member tenancy_remove_member '
    'tenancy_service_accounts tenancy_create_service_account tenancy_disable_service_account tenancy_principal '
    'tenancy_api_key tenancy_key_used tenancy_keys tenancy_create_key tenancy_roll_key tenancy_revoke_key '
    'tenancy_issue_access_token tenancy_access_token tenancy_limits tenancy_set_limit tenancy_take tenancy_hold '
    'tenancy_let_go tenancy_audit tenancy_audit_events tenancy_issue_ticket tenancy_redeem_ticket '
    'hosted_workloads purchased_orders purchased_quotes purchase_story tenancy_check';

-- A replaced function cannot change its parameters' names or its answer's type, and one with other parameters would
-- stand beside the new one: so each is dropped before it is made again. Those that something depends on stay.
do $drop$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        begin
            execute format('drop function %s', routine.signature);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$drop$;

-- updated_at -----------------------------------------------------------------------------------------------------

create or replace function public.touch_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;

-- The same for tables whose rows say whose they are: that column is reckoned after this, and no condition of a trigger may
-- look at it.
create or replace function public.touch_tenants_row()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.tenant := old.tenant; -- for the comparison alone
    if old is distinct from new then
        new.updated_at := clock_timestamp();
    end if;
    return new;
end
$$;

create or replace trigger touch_updated_at before update on public.operators
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.capacity_bookings
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.flexibility_events
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();
create or replace trigger touch_updated_at before update on public.negotiations
    for each row when (old.* is distinct from new.*) execute function public.touch_updated_at();

do $touch$
declare
    touched text;
begin
    foreach touched in array array['data_centres', 'compute_workloads', 'agents', 'storage_assets'] loop
        execute format(
            'create or replace trigger touch_updated_at before update on public.%I '
            'for each row execute function public.touch_tenants_row()', touched);
    end loop;
end
$touch$;


-- The audit log is written once ------------------------------------------------------------------------------------

create or replace function public.refuse_audit_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception '% is an audit log: % is not allowed', tg_table_name, tg_op
        using errcode = 'insufficient_privilege', hint = 'Publish a new decision instead.';
end
$$;

create or replace trigger refuse_row_change
    before update or delete on public.orchestration_decisions
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on public.orchestration_decisions
    for each statement execute function public.refuse_audit_change();
-- "always": not even a session that calls itself a replica may pass.
alter table public.orchestration_decisions enable always trigger refuse_row_change;
alter table public.orchestration_decisions enable always trigger refuse_truncate;

-- The grids are the greater part of the decisions' inputs.
create or replace trigger refuse_row_change
    before update or delete on public.decision_grids
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on public.decision_grids
    for each statement execute function public.refuse_audit_change();
alter table public.decision_grids enable always trigger refuse_row_change;
alter table public.decision_grids enable always trigger refuse_truncate;


-- The audit log is a chain ---------------------------------------------------------------------------------------------
--
-- A trigger keeps others from changing a decision, but not whoever owns the database and may switch triggers off. So every
-- decision holds the SHA-256 of its own bytes, which name the hash of the one before it among its tenant's: who changes,
-- removes, inserts or moves one has to write all later ones anew, and is found out by whoever kept a later hash elsewhere
-- (`python backend/audit.py`).

-- What is hashed of a decision, as text: every column but chain_hash, in the order of the names below. A time is the seconds
-- since 1970 began, with six decimals, which no session's time zone or style changes. The grid is in by its digest, and
-- that is the hash of what is stored.
create or replace function public.decision_texts(d public.orchestration_decisions)
returns text[]
language plpgsql -- which plans it once a session, and not once a decision
stable
set search_path = ''
as $$
begin
    return array[
        d.chain_position::text, d.previous_hash, d.tenant, d.tenant_sequence::text, d.sequence::text, d.decision_id::text,
        d.notification_id::text, d.job_id, d.agent_id, d.chosen_dc_id, extract(epoch from d.recommended_start)::text,
        d.scorer, d.model, d.scorer_version, d.fallback_reason, d.reasoning, d.constraints_evaluated::text,
        d.alternatives_considered::text, d.context::text, d.output::text, d.token_usage::text,
        extract(epoch from d.decided_at)::text, d.grid_digest];
end
$$;

-- The SHA-256 of a decision's bytes, in hexadecimal. The bytes are lines of UTF-8, each ended by a line feed: first
-- "pylon decision 1", then one for each column: its name, "=", and the text's number of bytes, ":", and the text; or "-" for
-- null. The number keeps one text from passing for two.
create or replace function public.decision_hash(d public.orchestration_decisions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    names constant text[] := array[
        'chain_position', 'previous_hash', 'tenant', 'tenant_sequence', 'sequence', 'decision_id',
        'notification_id', 'job_id', 'agent_id', 'chosen_dc_id', 'recommended_start',
        'scorer', 'model', 'scorer_version', 'fallback_reason', 'reasoning', 'constraints_evaluated',
        'alternatives_considered', 'context', 'output', 'token_usage', 'decided_at', 'grid_digest'];
    texts constant text[] := public.decision_texts(d);
    written text := E'pylon decision 1\n';
begin
    -- Put together without a query, which would take as long as the hashing itself.
    for i in 1 .. cardinality(names) loop
        written := concat(
            written, names[i],
            coalesce(concat('=', octet_length(convert_to(texts[i], 'UTF8')), ':') || texts[i], '=-'), E'\n');
    end loop;
    return encode(sha256(convert_to(written, 'UTF8')), 'hex');
end
$$;

create or replace function public.chain_decision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- The lock that numbers are given under: whoever publishes has it already. The next statement sees what was committed
    -- before it, and the rows that the same statement has stored.
    perform pg_advisory_xact_lock(7263812);
    select d.chain_position + 1, d.chain_hash into new.chain_position, new.previous_hash
    from public.orchestration_decisions d
    where d.tenant = new.tenant and d.chain_position is not null
    order by d.chain_position desc
    limit 1;
    new.chain_position := coalesce(new.chain_position, 1);
    new.chain_hash := public.decision_hash(new);
    return new;
end
$$;

-- After "file_under_tenant": triggers fire in the order of their names. And for a replica's sessions too.
create or replace trigger hash_into_chain
    before insert on public.orchestration_decisions
    for each row execute function public.chain_decision();
alter table public.orchestration_decisions enable always trigger hash_into_chain;

-- Decisions of a tenant in the order of its chain, behind the one with p_after_position and p_after_decision, as what is to
-- be hashed: [{"texts": […], "hash"}…]. At most p_limit, and fewer where they are long.
create or replace function public.decision_chain(
    p_operator text, p_after_position bigint default null, p_after_decision uuid default null, p_limit integer default 200)
returns json
language sql
stable
set search_path = ''
as $$
    with page as (
        select d as decision, d.chain_position, d.decision_id, octet_length(d.output::text) + pg_column_size(d.context)
            + pg_column_size(d.alternatives_considered) as bytes
        from public.orchestration_decisions d
        where d.tenant = p_operator
            and d.chain_position >= coalesce(p_after_position, -9223372036854775808)
            and (p_after_decision is null or (d.chain_position, d.decision_id) > (p_after_position, p_after_decision))
        order by d.chain_position, d.decision_id
        limit p_limit
    ),
    ahead as (
        select page.decision, row_number() over in_order as place, sum(page.bytes) over in_order as bytes
        from page
        window in_order as (order by page.chain_position, page.decision_id)
    )
    select coalesce(json_agg(
        json_build_object('texts', public.decision_texts(ahead.decision), 'hash', (ahead.decision).chain_hash)
        order by ahead.place), '[]')
    from ahead
    where ahead.place = 1 or ahead.bytes < 1048576
$$;

-- Where the chains end: {"heads": [{"operator", "position", "hash", "decision_id"}…], "unchained": [decisions that are in no
-- chain, at most one for each tenant]}.
create or replace function public.decision_heads()
returns json
language sql
stable
set search_path = ''
as $$
    -- One step of an index for each tenant, however many decisions it has.
    with recursive tenants as (
        (select d.tenant from public.orchestration_decisions d order by d.tenant limit 1)
        union all
        select (
            select d.tenant from public.orchestration_decisions d where d.tenant > t.tenant order by d.tenant limit 1)
        from tenants t
        where t.tenant is not null
    )
    select json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_object(
                'operator', t.tenant, 'position', head.chain_position, 'hash', head.chain_hash,
                'decision_id', head.decision_id) order by t.tenant), '[]')
            from tenants t
            cross join lateral (
                select d.chain_position, d.chain_hash, d.decision_id
                from public.orchestration_decisions d
                where d.tenant = t.tenant and d.chain_position is not null
                order by d.chain_position desc
                limit 1) as head),
        -- The tables refuse such; but whoever owns them may let them in.
        'unchained', (
            select coalesce(json_agg(outside.decision_id), '[]')
            from (
                select (
                    select d.decision_id from public.orchestration_decisions d
                    where d.tenant = t.tenant and d.chain_position is null
                    limit 1) as decision_id
                from tenants t
                union all
                (select d.decision_id from public.orchestration_decisions d where d.tenant is null limit 1)) as outside
            where outside.decision_id is not null))
$$;

-- A grid as the text whose SHA-256 is its digest: {"grid"}, null where there is none.
create or replace function public.decision_grid(p_digest text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('grid', (select g.grid::text from public.decision_grids g where g.digest = p_digest))
$$;


-- Whoever files what belongs to a workload or an agent without saying whose it is means the one tenant that has it. -------

create or replace function public.file_under_tenant()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    tenants text[];
begin
    if tg_table_name = 'agent_states' then
        select array_agg(a.tenant) into tenants from public.agents a where a.agent_id = new.agent_id;
    else
        select array_agg(w.tenant) into tenants from public.compute_workloads w where w.job_id = new.job_id;
    end if;
    if cardinality(tenants) > 1 then
        raise exception 'several tenants have a workload of this name: say whose is meant'
            using errcode = 'not_null_violation', table = tg_table_name, column = 'tenant';
    end if;
    new.tenant := coalesce(tenants[1], 'local'); -- and the foreign key says that there is none
    return new;
end
$$;

do $file$
declare
    filed text;
begin
    foreach filed in array array[
        'agent_states', 'workload_notifications', 'orchestration_decisions', 'workload_reconsiderations', 'processed_contexts']
    loop
        execute format(
            'create or replace trigger file_under_tenant before insert on public.%I '
            'for each row when (new.tenant is null) execute function public.file_under_tenant()', filed);
    end loop;
end
$file$;


-- A new workload asks for a decision, whoever inserted it ------------------------------------------------------------

create or replace function public.notify_new_workload()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'PENDING' then
        insert into public.workload_notifications (tenant, job_id) values (new.tenant, new.job_id);
        perform pg_notify('workload_ready', '');
    end if;
    return new;
end
$$;

create or replace trigger notify_new_workload
    after insert on public.compute_workloads
    for each row execute function public.notify_new_workload();


-- What decisions are made from has changed --------------------------------------------------------------------------------

-- Notes the transaction once, however much it changes. Not by a lock or a counter, for which writers would wait for each
-- other: a reader sees the note as soon as it sees the change, and not before. Whoever keeps a grid is told at its commit.
create or replace function public.note_grid_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.grid_changes default values on conflict (transaction) do nothing;
    perform pg_notify('grid_changed', '');
    return null;
end
$$;

do $grid$
declare
    part text;
begin
    foreach part in array array['grid_signals', 'regional_grid_signals', 'generation_mix', 'loss_of_load_forecasts'] loop
        execute format(
            'create or replace trigger note_grid_change after insert or update or delete or truncate on public.%I '
            'for each statement execute function public.note_grid_change()', part);
    end loop;
end
$grid$;

-- Row by row, since these files state the regions anew whenever they are run.
create or replace trigger note_grid_change after insert or delete on public.regions
    for each row execute function public.note_grid_change();
create or replace trigger note_grid_change_of_region after update on public.regions
    for each row when (old.* is distinct from new.*) execute function public.note_grid_change();

create or replace trigger note_grid_change after insert or delete or truncate on public.data_centres
    for each statement execute function public.note_grid_change();
-- Not the load of what runs for us, nor what the pipeline copies from the region's signal: no decision is made from them.
create or replace trigger note_grid_change_of_centre after update on public.data_centres
    for each row
    when ((
        old.dc_id, old.name, old.operator, old.region_id, old.location_region, old.latitude, old.longitude, old.pue,
        old.total_capacity_teraflops, old.total_capacity_mw, coalesce(old.base_load_percentage, old.current_load_percentage),
        old.flexibility_rating, old.min_load_percentage, old.ramp_rate_mw_per_min, old.status, old.is_synthetic
    ) is distinct from (
        new.dc_id, new.name, new.operator, new.region_id, new.location_region, new.latitude, new.longitude, new.pue,
        new.total_capacity_teraflops, new.total_capacity_mw, coalesce(new.base_load_percentage, new.current_load_percentage),
        new.flexibility_rating, new.min_load_percentage, new.ramp_rate_mw_per_min, new.status, new.is_synthetic))
    execute function public.note_grid_change();


-- Workloads arrive all or none ---------------------------------------------------------------------------------------

-- p_rows: submissions with job_id and submission_digest. Answers {"created": [job_id…], "rows": [stored rows…]}, or,
-- with nothing stored, {"conflicts": […]}, {"unknown_operators": […], "known_operators": […]} or the same for data
-- centres.
create or replace function public.submit_workloads(p_rows jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    unknown_words json;
    created_ids text[];
    conflicting text[];
    bucket integer;
begin
    select json_agg(distinct r.operator) into unknown_words
    from jsonb_to_recordset(p_rows) as r (operator text)
    where r.operator is not null and not exists (select from public.operators o where o.operator_id = r.operator);
    if unknown_words is not null then
        return json_build_object('unknown_operators', unknown_words, 'known_operators', (
            select coalesce(json_agg(known.operator_id), '[]')
            from (select operator_id from public.operators order by operator_id limit 50) as known));
    end if;

    select json_agg(distinct r.host_dc_id) into unknown_words
    from jsonb_to_recordset(p_rows) as r (host_dc_id text)
    where r.host_dc_id is not null and not exists (select from public.data_centres d where d.dc_id = r.host_dc_id);
    if unknown_words is not null then
        return json_build_object('unknown_data_centres', unknown_words, 'known_data_centres', (
            select coalesce(json_agg(known.dc_id), '[]')
            from (select dc_id from public.data_centres order by dc_id limit 50) as known));
    end if;

    -- Tenants name their own jobs as they like. Whoever sees them all tells them by their names, so that one that is
    -- taken by anybody is taken here: requests that might take the same one go one after the other.
    for bucket in
        select distinct abs(hashtext(r.job_id) % 64)
        from jsonb_to_recordset(p_rows) as r (job_id text)
        order by 1
    loop
        perform pg_advisory_xact_lock(7263813, bucket);
    end loop;

    -- The inner block is a savepoint: a conflict found after the insert takes the whole request back. The check comes
    -- after, in a statement of its own, because only then does it see a row another request committed meanwhile.
    begin
        with inserted as (
            insert into public.compute_workloads (
                job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores,
                required_memory_gb, estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins,
                submission_digest, run)
            select
                r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest, r.run
            from jsonb_populate_recordset(null::public.compute_workloads, p_rows) as r
            order by r.job_id -- two overlapping requests take their locks in one order
            on conflict (tenant, job_id) do nothing
            returning job_id
        )
        select coalesce(array_agg(inserted.job_id), '{}') into created_ids from inserted;

        select array_agg(r.job_id) into conflicting
        from jsonb_to_recordset(p_rows) as r (job_id text, operator text, submission_digest text)
        join public.compute_workloads w on w.job_id = r.job_id
        where case
            when w.tenant = coalesce(r.operator, 'local') then w.submission_digest is distinct from r.submission_digest
            else r.job_id = any (created_ids) end;
        if conflicting is not null then
            raise exception using errcode = 'PY409';
        end if;
    exception
        when sqlstate 'PY409' then
            return json_build_object('conflicts', conflicting);
    end;

    return json_build_object('created', created_ids, 'rows', (
        select json_agg(w order by r.position)
        from jsonb_array_elements(p_rows) with ordinality as r (submitted, position)
        join public.compute_workloads w
            on (w.tenant, w.job_id) = (coalesce(r.submitted ->> 'operator', 'local'), r.submitted ->> 'job_id')));
end
$$;


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

-- notifications: the turn of a new row of p_sender, after what is being worked on and after the last that p_sender has waiting. So
-- the first of everybody comes before the second of anybody (start-time fair queueing). Volatile, so that rows of one
-- insert follow each other.
create or replace function public.queue_notifications_turn(p_scope text, p_sender text)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
    return 1 + greatest(
        (select max(q.turn) from public.workload_notifications q where true and q.work_state = 'running'),
        (
            select max(q.turn)
            from public.workload_notifications q
            where true and q.fairness_key = p_sender and q.work_state in ('available', 'running', 'retryable')),
        0);
end
$$;

-- notifications: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_notifications_sweep(p_scope text, p_moment timestamptz)
returns setof public.workload_notifications
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.workload_notifications waiting
    set work_state = 'available'
    where waiting.notification_id in (
        select q.notification_id
        from public.workload_notifications q
        where true and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.notification_id
        from public.workload_notifications q
        where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.workload_notifications q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
            context = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.notification_id = lapsed.notification_id
    returning q.*;
end
$$;

-- notifications: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out and a pause is over, which grows; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_notifications_claim(
    p_scope text, p_keys bigint[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.workload_notifications
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed bigint[];
    due bigint[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.notification_id) into due
        from (
            select q.notification_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.workload_notifications q on q.notification_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until + public.pause_after_lost_leases(q.lost_leases), p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.notification_id), '{}') into lapsed
        from (
            select q.notification_id
            from public.workload_notifications q
            where true and q.work_state = 'running' and public.has_come(q.leased_until + public.pause_after_lost_leases(q.lost_leases), p_moment)
            order by q.turn, q.notification_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.notification_id) into due
        from (
            select q.notification_id
            from public.workload_notifications q
            where true and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.turn, q.notification_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.workload_notifications q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds),
        context = null
    where q.notification_id = any (due)
    returning q.*;
end
$$;

-- notifications: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_notifications_heartbeat(p_keys bigint[], p_tokens bigint[], p_until timestamptz)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    held bigint[];
begin
    with locked as materialized (
        select q.notification_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.workload_notifications q on q.notification_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.notification_id
        for update of q
    ),
    extended as (
        update public.workload_notifications q
        set leased_until = p_until
        from locked
        where q.notification_id = locked.notification_id
        returning q.notification_id
    )
    select coalesce(array_agg(extended.notification_id order by extended.notification_id), '{}') into held from extended;
    return held;
end
$$;

-- notifications: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_notifications_complete(p_keys bigint[], p_tokens bigint[], p_notes text[] default null)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    done bigint[];
begin
    with completed as (
        update public.workload_notifications q
        set work_state = 'completed',
            leased_until = null,
            context = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.notification_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.notification_id
    )
    select coalesce(array_agg(completed.notification_id), '{}') into done from completed;
    return done;
end
$$;

-- notifications: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_notifications_fail(
    p_key bigint, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.workload_notifications
language plpgsql
set search_path = ''
as $$
declare
    failed public.workload_notifications;
begin
    update public.workload_notifications q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
            context = null,
        last_error = left(p_error, 2000)
    where q.notification_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- notifications: gives back what was not finished, uncounted: at once, as a worker that stops does, or due after p_pause_seconds, so
-- that others come first. Answers how many were still held.
create or replace function public.queue_notifications_release(
    p_keys bigint[], p_tokens bigint[], p_pause_seconds double precision default 0, p_reason text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select q.notification_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.workload_notifications q on q.notification_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.notification_id
        for update of q
    )
    update public.workload_notifications q
    set work_state = case when p_pause_seconds > 0 then 'retryable' else 'available' end,
        attempt = q.attempt - 1,
        scheduled_at = case
            when p_pause_seconds > 0 then clock_timestamp() + make_interval(secs => p_pause_seconds)
            else q.scheduled_at end,
        lease_token = null,
        leased_until = null,
            context = null,
        last_error = coalesce(left(p_reason, 2000), q.last_error)
    from locked
    where q.notification_id = locked.notification_id;
    get diagnostics released = row_count;
    if released > 0 and not p_pause_seconds > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return released;
end
$$;

-- notifications: an operator's call: discarded rows, all or those of p_keys, get all their attempts again. Answers how many.
create or replace function public.queue_notifications_requeue(p_keys bigint[] default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    requeued bigint;
begin
    update public.workload_notifications q
    set work_state = 'available', attempt = 0, lost_leases = 0, scheduled_at = clock_timestamp(), finished_at = null
    where q.work_state = 'discarded' and (p_keys is null or q.notification_id = any (p_keys));
    get diagnostics requeued = row_count;
    if requeued > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return requeued;
end
$$;

-- inbox: the turn of a new row of p_sender, after what is being worked on and after the last that p_sender has waiting. So
-- the first of everybody comes before the second of anybody (start-time fair queueing). Volatile, so that rows of one
-- insert follow each other.
create or replace function public.queue_inbox_turn(p_scope text, p_sender text)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
    return 1 + greatest(
        (select max(q.turn) from public.beckn_inbox q where q.recipient = p_scope and q.work_state = 'running'),
        (
            select max(q.turn)
            from public.beckn_inbox q
            where q.recipient = p_scope and q.sender = p_sender and q.work_state in ('available', 'running', 'retryable')),
        0);
end
$$;

-- inbox: discards what nobody waits for any more, and answers it. Call it before the sweep.
create or replace function public.queue_inbox_expire(p_scope text, p_moment timestamptz)
returns setof public.beckn_inbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    return query
    with over as materialized (
        select q.inbox_id
        from public.beckn_inbox q
        where q.recipient = p_scope and q.work_state in ('available', 'running', 'retryable') and q.expires_at <= p_moment
            and (q.work_state <> 'running' or public.has_come(q.leased_until, p_moment))
        order by q.expires_at
        limit 1000
        for update skip locked
    )
    update public.beckn_inbox q
    set work_state = 'discarded',
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = 'its ttl ended before it was worked on' || coalesce('; before that: ' || q.last_error, '')
    from over
    where q.inbox_id = over.inbox_id
    returning q.*;
end
$$;

-- inbox: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_inbox_sweep(p_scope text, p_moment timestamptz)
returns setof public.beckn_inbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.beckn_inbox waiting
    set work_state = 'available'
    where waiting.inbox_id in (
        select q.inbox_id
        from public.beckn_inbox q
        where q.recipient = p_scope and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.inbox_id
        from public.beckn_inbox q
        where q.recipient = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.beckn_inbox q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.inbox_id = lapsed.inbox_id
    returning q.*;
end
$$;

-- inbox: bodies of messages go a minute after the end of the work, some at a time and never waited for.
create or replace function public.queue_inbox_shed(p_scope text, p_moment timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.beckn_inbox finished
    set body = null
    where finished.inbox_id in (
        select q.inbox_id
        from public.beckn_inbox q
        where q.recipient = p_scope and q.work_state in ('completed', 'discarded') and q.body is not null
            and q.finished_at < p_moment - interval '1 minute'
        order by q.finished_at
        limit 100
        for update skip locked);
end
$$;

-- inbox: who has something open, and how much of it is being worked on. However much waits, each costs a look at an index.
create or replace function public.queue_inbox_senders(p_scope text, p_moment timestamptz)
returns table (sender text, in_hand integer)
language plpgsql
set search_path = ''
as $$
begin
    return query
    with recursive known as (
        (
            select q.sender as name
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state in ('available', 'running', 'retryable')
            order by q.sender
            limit 1)
        union all
        select (
            select q.sender
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state in ('available', 'running', 'retryable') and q.sender > known.name
            order by q.sender
            limit 1)
        from known
        where known.name is not null
    ),
    busy as materialized (
        select q.sender as name, count(*)::integer as in_hand
        from public.beckn_inbox q
        where q.recipient = p_scope and q.work_state = 'running' and q.leased_until > p_moment
        group by q.sender
    )
    select known.name, coalesce(busy.in_hand, 0)
    from known
    left join busy on busy.name = known.name
    where known.name is not null;
end
$$;

-- inbox: what may be taken of p_senders, at most as many of each as p_free says, by their turn. A message whose transaction
-- has an earlier one that is not finished waits for it.
create or replace function public.queue_inbox_fronts(
    p_scope text, p_senders text[], p_free integer[], p_limit integer, p_moment timestamptz)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    fronts bigint[];
begin
    select coalesce(array_agg(front.inbox_id order by front.turn, front.inbox_id), '{}') into fronts
    from unnest(p_senders, p_free) as places (sender, free)
    cross join lateral (
        select q.inbox_id, q.turn, row_number() over (order by q.turn, q.inbox_id) as place
        from public.beckn_inbox q
        where q.recipient = p_scope and q.sender = places.sender and q.work_state in ('available', 'running', 'retryable')
            and (
                q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment)))
            -- Not "not exists", which may be planned as a join of all that waits.
            and (
                select earlier.inbox_id
                from public.beckn_inbox earlier
                where earlier.transaction_id = q.transaction_id and earlier.inbox_id < q.inbox_id
                    and earlier.work_state in ('available', 'running', 'retryable')
                    and earlier.recipient = q.recipient and earlier.sender = q.sender
                limit 1) is null
        order by q.turn, q.inbox_id
        limit p_limit + 2) as front
    where front.place <= places.free;
    return fronts;
end
$$;

-- inbox: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_inbox_claim(
    p_scope text, p_keys bigint[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.beckn_inbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed bigint[];
    due bigint[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.inbox_id) into due
        from (
            select q.inbox_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.beckn_inbox q on q.inbox_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.inbox_id), '{}') into lapsed
        from (
            select q.inbox_id
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.turn, q.inbox_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.inbox_id) into due
        from (
            select q.inbox_id
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.turn, q.inbox_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.beckn_inbox q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.inbox_id = any (due)
    returning q.*;
end
$$;

-- inbox: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_inbox_heartbeat(p_keys bigint[], p_tokens bigint[], p_until timestamptz)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    held bigint[];
begin
    with locked as materialized (
        select q.inbox_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.beckn_inbox q on q.inbox_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.inbox_id
        for update of q
    ),
    extended as (
        update public.beckn_inbox q
        set leased_until = p_until
        from locked
        where q.inbox_id = locked.inbox_id
        returning q.inbox_id
    )
    select coalesce(array_agg(extended.inbox_id order by extended.inbox_id), '{}') into held from extended;
    return held;
end
$$;

-- inbox: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_inbox_complete(p_keys bigint[], p_tokens bigint[], p_notes text[] default null)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    done bigint[];
begin
    with completed as (
        update public.beckn_inbox q
        set work_state = 'completed',
            leased_until = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.inbox_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.inbox_id
    )
    select coalesce(array_agg(completed.inbox_id), '{}') into done from completed;
    return done;
end
$$;

-- inbox: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_inbox_fail(
    p_key bigint, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.beckn_inbox
language plpgsql
set search_path = ''
as $$
declare
    failed public.beckn_inbox;
begin
    update public.beckn_inbox q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.inbox_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- inbox: gives back what was not finished, uncounted: at once, as a worker that stops does, or due after p_pause_seconds, so
-- that others come first. Answers how many were still held.
create or replace function public.queue_inbox_release(
    p_keys bigint[], p_tokens bigint[], p_pause_seconds double precision default 0, p_reason text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select q.inbox_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.beckn_inbox q on q.inbox_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.inbox_id
        for update of q
    )
    update public.beckn_inbox q
    set work_state = case when p_pause_seconds > 0 then 'retryable' else 'available' end,
        attempt = q.attempt - 1,
        scheduled_at = case
            when p_pause_seconds > 0 then clock_timestamp() + make_interval(secs => p_pause_seconds)
            else q.scheduled_at end,
        lease_token = null,
        leased_until = null,
        last_error = coalesce(left(p_reason, 2000), q.last_error)
    from locked
    where q.inbox_id = locked.inbox_id;
    get diagnostics released = row_count;
    if released > 0 and not p_pause_seconds > 0 then
        perform pg_notify('beckn_inbox', '');
    end if;
    return released;
end
$$;

-- inbox: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_inbox_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.beckn_inbox q
            where q.recipient = p_scope and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- outbox: discards what nobody waits for any more, and answers it. Call it before the sweep.
create or replace function public.queue_outbox_expire(p_scope text, p_moment timestamptz)
returns setof public.beckn_outbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    return query
    with over as materialized (
        select q.outbox_id
        from public.beckn_outbox q
        where q.sender = p_scope and q.work_state in ('available', 'running', 'retryable') and q.expires_at <= p_moment
            and (q.work_state <> 'running' or public.has_come(q.leased_until, p_moment))
        order by q.expires_at
        limit 1000
        for update skip locked
    )
    update public.beckn_outbox q
    set work_state = 'discarded',
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its ttl ended after %s attempts', q.attempt) || coalesce('; the last: ' || q.last_error, '')
    from over
    where q.outbox_id = over.outbox_id
    returning q.*;
end
$$;

-- outbox: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_outbox_sweep(p_scope text, p_moment timestamptz)
returns setof public.beckn_outbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.beckn_outbox waiting
    set work_state = 'available'
    where waiting.outbox_id in (
        select q.outbox_id
        from public.beckn_outbox q
        where q.sender = p_scope and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.outbox_id
        from public.beckn_outbox q
        where q.sender = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.beckn_outbox q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.outbox_id = lapsed.outbox_id
    returning q.*;
end
$$;

-- outbox: bodies of messages go a minute after the end of the work, some at a time and never waited for.
create or replace function public.queue_outbox_shed(p_scope text, p_moment timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.beckn_outbox finished
    set body = null
    where finished.outbox_id in (
        select q.outbox_id
        from public.beckn_outbox q
        where q.sender = p_scope and q.work_state in ('completed', 'discarded') and q.body is not null
            and q.finished_at < p_moment - interval '1 minute'
        order by q.finished_at
        limit 100
        for update skip locked);
end
$$;

-- outbox: who has something open, and how much of it is being worked on. However much waits, each costs a look at an index.
create or replace function public.queue_outbox_senders(p_scope text, p_moment timestamptz)
returns table (sender text, in_hand integer)
language plpgsql
set search_path = ''
as $$
begin
    return query
    with recursive known as (
        (
            select q.recipient as name
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state in ('available', 'running', 'retryable')
            order by q.recipient
            limit 1)
        union all
        select (
            select q.recipient
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state in ('available', 'running', 'retryable') and q.recipient > known.name
            order by q.recipient
            limit 1)
        from known
        where known.name is not null
    ),
    busy as materialized (
        select q.recipient as name, count(*)::integer as in_hand
        from public.beckn_outbox q
        where q.sender = p_scope and q.work_state = 'running' and q.leased_until > p_moment
        group by q.recipient
    )
    select known.name, coalesce(busy.in_hand, 0)
    from known
    left join busy on busy.name = known.name
    where known.name is not null;
end
$$;

-- outbox: what may be taken of p_senders, at most as many of each as p_free says, by their turn. A message whose transaction
-- has an earlier one that is not finished waits for it.
create or replace function public.queue_outbox_fronts(
    p_scope text, p_senders text[], p_free integer[], p_limit integer, p_moment timestamptz)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    fronts bigint[];
begin
    select coalesce(array_agg(front.outbox_id order by front.turn, front.outbox_id), '{}') into fronts
    from unnest(p_senders, p_free) as places (sender, free)
    cross join lateral (
        select q.outbox_id, q.turn, row_number() over (order by q.turn, q.outbox_id) as place
        from public.beckn_outbox q
        where q.sender = p_scope and q.recipient = places.sender and q.work_state in ('available', 'running', 'retryable')
            and (
                q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment)))
            -- Not "not exists", which may be planned as a join of all that waits.
            and (
                select earlier.outbox_id
                from public.beckn_outbox earlier
                where earlier.transaction_id = q.transaction_id and earlier.outbox_id < q.outbox_id
                    and earlier.work_state in ('available', 'running', 'retryable')
                    and earlier.sender = q.sender and earlier.origin = q.origin and earlier.recipient = q.recipient
                limit 1) is null
        order by q.turn, q.outbox_id
        limit p_limit + 2) as front
    where front.place <= places.free;
    return fronts;
end
$$;

-- outbox: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_outbox_claim(
    p_scope text, p_keys bigint[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.beckn_outbox
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed bigint[];
    due bigint[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.outbox_id) into due
        from (
            select q.outbox_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.beckn_outbox q on q.outbox_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.outbox_id), '{}') into lapsed
        from (
            select q.outbox_id
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.turn, q.outbox_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.outbox_id) into due
        from (
            select q.outbox_id
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.turn, q.outbox_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.beckn_outbox q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.outbox_id = any (due)
    returning q.*;
end
$$;

-- outbox: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_outbox_complete(p_keys bigint[], p_tokens bigint[], p_notes text[] default null)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    done bigint[];
begin
    with completed as (
        update public.beckn_outbox q
        set work_state = 'completed',
            leased_until = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.outbox_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.outbox_id
    )
    select coalesce(array_agg(completed.outbox_id), '{}') into done from completed;
    return done;
end
$$;

-- outbox: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_outbox_fail(
    p_key bigint, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.beckn_outbox
language plpgsql
set search_path = ''
as $$
declare
    failed public.beckn_outbox;
begin
    update public.beckn_outbox q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.outbox_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- outbox: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_outbox_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.beckn_outbox q
            where q.sender = p_scope and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- orders: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_orders_sweep(p_scope text, p_moment timestamptz)
returns setof public.beckn_orders
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.beckn_orders waiting
    set work_state = 'available'
    where waiting.order_id in (
        select q.order_id
        from public.beckn_orders q
        where q.bpp_id = p_scope and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.order_id
        from public.beckn_orders q
        where q.bpp_id = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.beckn_orders q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.order_id = lapsed.order_id
    returning q.*;
end
$$;

-- orders: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_orders_claim(
    p_scope text, p_keys uuid[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.beckn_orders
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed uuid[];
    due uuid[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.order_id) into due
        from (
            select q.order_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.beckn_orders q on q.order_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.order_id), '{}') into lapsed
        from (
            select q.order_id
            from public.beckn_orders q
            where q.bpp_id = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.scheduled_at, q.order_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.order_id) into due
        from (
            select q.order_id
            from public.beckn_orders q
            where q.bpp_id = p_scope and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.scheduled_at, q.order_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.beckn_orders q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.order_id = any (due)
    returning q.*;
end
$$;

-- orders: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_orders_heartbeat(p_keys uuid[], p_tokens bigint[], p_until timestamptz)
returns uuid[]
language plpgsql
set search_path = ''
as $$
declare
    held uuid[];
begin
    with locked as materialized (
        select q.order_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.beckn_orders q on q.order_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.order_id
        for update of q
    ),
    extended as (
        update public.beckn_orders q
        set leased_until = p_until
        from locked
        where q.order_id = locked.order_id
        returning q.order_id
    )
    select coalesce(array_agg(extended.order_id order by extended.order_id), '{}') into held from extended;
    return held;
end
$$;

-- orders: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_orders_fail(
    p_key uuid, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.beckn_orders
language plpgsql
set search_path = ''
as $$
declare
    failed public.beckn_orders;
begin
    update public.beckn_orders q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.order_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- orders: gives back what was not finished, uncounted: at once, as a worker that stops does, or due after p_pause_seconds, so
-- that others come first. Answers how many were still held.
create or replace function public.queue_orders_release(
    p_keys uuid[], p_tokens bigint[], p_pause_seconds double precision default 0, p_reason text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select q.order_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.beckn_orders q on q.order_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.order_id
        for update of q
    )
    update public.beckn_orders q
    set work_state = case when p_pause_seconds > 0 then 'retryable' else 'available' end,
        attempt = q.attempt - 1,
        scheduled_at = case
            when p_pause_seconds > 0 then clock_timestamp() + make_interval(secs => p_pause_seconds)
            else q.scheduled_at end,
        lease_token = null,
        leased_until = null,
        last_error = coalesce(left(p_reason, 2000), q.last_error)
    from locked
    where q.order_id = locked.order_id;
    get diagnostics released = row_count;
    if released > 0 and not p_pause_seconds > 0 then
        perform pg_notify('beckn_orders', '');
    end if;
    return released;
end
$$;

-- orders: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_orders_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.beckn_orders q
            where q.bpp_id = p_scope and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.beckn_orders q
            where q.bpp_id = p_scope and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- bookings: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_bookings_sweep(p_scope text, p_moment timestamptz)
returns setof public.capacity_bookings
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.capacity_bookings waiting
    set work_state = 'available'
    where waiting.booking_id in (
        select q.booking_id
        from public.capacity_bookings q
        where q.carried_out_by = p_scope and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.booking_id
        from public.capacity_bookings q
        where q.carried_out_by = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.capacity_bookings q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.booking_id = lapsed.booking_id
    returning q.*;
end
$$;

-- bookings: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_bookings_claim(
    p_scope text, p_keys bigint[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.capacity_bookings
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed bigint[];
    due bigint[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.booking_id) into due
        from (
            select q.booking_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.capacity_bookings q on q.booking_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.booking_id), '{}') into lapsed
        from (
            select q.booking_id
            from public.capacity_bookings q
            where q.carried_out_by = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.scheduled_at, q.booking_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.booking_id) into due
        from (
            select q.booking_id
            from public.capacity_bookings q
            where q.carried_out_by = p_scope and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.scheduled_at, q.booking_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.capacity_bookings q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.booking_id = any (due)
    returning q.*;
end
$$;

-- bookings: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_bookings_heartbeat(p_keys bigint[], p_tokens bigint[], p_until timestamptz)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    held bigint[];
begin
    with locked as materialized (
        select q.booking_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.capacity_bookings q on q.booking_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.booking_id
        for update of q
    ),
    extended as (
        update public.capacity_bookings q
        set leased_until = p_until
        from locked
        where q.booking_id = locked.booking_id
        returning q.booking_id
    )
    select coalesce(array_agg(extended.booking_id order by extended.booking_id), '{}') into held from extended;
    return held;
end
$$;

-- bookings: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_bookings_complete(p_keys bigint[], p_tokens bigint[], p_notes text[] default null)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    done bigint[];
begin
    with completed as (
        update public.capacity_bookings q
        set work_state = 'completed',
            leased_until = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.booking_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.booking_id
    )
    select coalesce(array_agg(completed.booking_id), '{}') into done from completed;
    return done;
end
$$;

-- bookings: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_bookings_fail(
    p_key bigint, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.capacity_bookings
language plpgsql
set search_path = ''
as $$
declare
    failed public.capacity_bookings;
begin
    update public.capacity_bookings q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.booking_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- bookings: gives back what was not finished, uncounted: at once, as a worker that stops does, or due after p_pause_seconds, so
-- that others come first. Answers how many were still held.
create or replace function public.queue_bookings_release(
    p_keys bigint[], p_tokens bigint[], p_pause_seconds double precision default 0, p_reason text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    released bigint;
begin
    with locked as materialized (
        select q.booking_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.capacity_bookings q on q.booking_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.booking_id
        for update of q
    )
    update public.capacity_bookings q
    set work_state = case when p_pause_seconds > 0 then 'retryable' else 'available' end,
        attempt = q.attempt - 1,
        scheduled_at = case
            when p_pause_seconds > 0 then clock_timestamp() + make_interval(secs => p_pause_seconds)
            else q.scheduled_at end,
        lease_token = null,
        leased_until = null,
        last_error = coalesce(left(p_reason, 2000), q.last_error)
    from locked
    where q.booking_id = locked.booking_id;
    get diagnostics released = row_count;
    if released > 0 and not p_pause_seconds > 0 then
        perform pg_notify('capacity_bookings', '');
    end if;
    return released;
end
$$;

-- bookings: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_bookings_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.capacity_bookings q
            where q.carried_out_by = p_scope and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.capacity_bookings q
            where q.carried_out_by = p_scope and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- flexibility: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_flexibility_sweep(p_scope text, p_moment timestamptz)
returns setof public.flexibility_events
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.flexibility_events waiting
    set work_state = 'available'
    where waiting.event_id in (
        select q.event_id
        from public.flexibility_events q
        where true and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.event_id
        from public.flexibility_events q
        where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.flexibility_events q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.event_id = lapsed.event_id
    returning q.*;
end
$$;

-- flexibility: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_flexibility_claim(
    p_scope text, p_keys uuid[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.flexibility_events
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed uuid[];
    due uuid[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.event_id) into due
        from (
            select q.event_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.flexibility_events q on q.event_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.event_id), '{}') into lapsed
        from (
            select q.event_id
            from public.flexibility_events q
            where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.scheduled_at, q.event_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.event_id) into due
        from (
            select q.event_id
            from public.flexibility_events q
            where true and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.scheduled_at, q.event_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.flexibility_events q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.event_id = any (due)
    returning q.*;
end
$$;

-- flexibility: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_flexibility_heartbeat(p_keys uuid[], p_tokens bigint[], p_until timestamptz)
returns uuid[]
language plpgsql
set search_path = ''
as $$
declare
    held uuid[];
begin
    with locked as materialized (
        select q.event_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.flexibility_events q on q.event_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.event_id
        for update of q
    ),
    extended as (
        update public.flexibility_events q
        set leased_until = p_until
        from locked
        where q.event_id = locked.event_id
        returning q.event_id
    )
    select coalesce(array_agg(extended.event_id order by extended.event_id), '{}') into held from extended;
    return held;
end
$$;

-- flexibility: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_flexibility_fail(
    p_key uuid, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.flexibility_events
language plpgsql
set search_path = ''
as $$
declare
    failed public.flexibility_events;
begin
    update public.flexibility_events q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.event_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- flexibility: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_flexibility_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.flexibility_events q
            where true and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.flexibility_events q
            where true and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- negotiations: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_negotiations_sweep(p_scope text, p_moment timestamptz)
returns setof public.negotiations
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.negotiations waiting
    set work_state = 'available'
    where waiting.negotiation_id in (
        select q.negotiation_id
        from public.negotiations q
        where true and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.negotiation_id
        from public.negotiations q
        where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.negotiations q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.negotiation_id = lapsed.negotiation_id
    returning q.*;
end
$$;

-- negotiations: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_negotiations_claim(
    p_scope text, p_keys uuid[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.negotiations
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed uuid[];
    due uuid[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.negotiation_id) into due
        from (
            select q.negotiation_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.negotiations q on q.negotiation_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.negotiation_id), '{}') into lapsed
        from (
            select q.negotiation_id
            from public.negotiations q
            where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.scheduled_at, q.negotiation_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.negotiation_id) into due
        from (
            select q.negotiation_id
            from public.negotiations q
            where true and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.scheduled_at, q.negotiation_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.negotiations q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.negotiation_id = any (due)
    returning q.*;
end
$$;

-- negotiations: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_negotiations_heartbeat(p_keys uuid[], p_tokens bigint[], p_until timestamptz)
returns uuid[]
language plpgsql
set search_path = ''
as $$
declare
    held uuid[];
begin
    with locked as materialized (
        select q.negotiation_id
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.negotiations q on q.negotiation_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.negotiation_id
        for update of q
    ),
    extended as (
        update public.negotiations q
        set leased_until = p_until
        from locked
        where q.negotiation_id = locked.negotiation_id
        returning q.negotiation_id
    )
    select coalesce(array_agg(extended.negotiation_id order by extended.negotiation_id), '{}') into held from extended;
    return held;
end
$$;

-- negotiations: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_negotiations_fail(
    p_key uuid, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.negotiations
language plpgsql
set search_path = ''
as $$
declare
    failed public.negotiations;
begin
    update public.negotiations q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.negotiation_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- negotiations: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_negotiations_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.negotiations q
            where true and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.negotiations q
            where true and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- webhooks: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_webhooks_sweep(p_scope text, p_moment timestamptz)
returns setof public.openadr_webhooks
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.openadr_webhooks waiting
    set work_state = 'available'
    where waiting.webhook_id in (
        select q.webhook_id
        from public.openadr_webhooks q
        where true and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.webhook_id
        from public.openadr_webhooks q
        where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.openadr_webhooks q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.webhook_id = lapsed.webhook_id
    returning q.*;
end
$$;

-- webhooks: bodies of messages go a minute after the end of the work, some at a time and never waited for.
create or replace function public.queue_webhooks_shed(p_scope text, p_moment timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.openadr_webhooks finished
    set body = null
    where finished.webhook_id in (
        select q.webhook_id
        from public.openadr_webhooks q
        where true and q.work_state in ('completed', 'discarded') and q.body is not null
            and q.finished_at < p_moment - interval '1 minute'
        order by q.finished_at
        limit 100
        for update skip locked);
end
$$;

-- webhooks: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_webhooks_claim(
    p_scope text, p_keys bigint[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.openadr_webhooks
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed bigint[];
    due bigint[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.webhook_id) into due
        from (
            select q.webhook_id
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.openadr_webhooks q on q.webhook_id = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.webhook_id), '{}') into lapsed
        from (
            select q.webhook_id
            from public.openadr_webhooks q
            where true and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.webhook_id, q.webhook_id
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.webhook_id) into due
        from (
            select q.webhook_id
            from public.openadr_webhooks q
            where true and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.webhook_id, q.webhook_id
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.openadr_webhooks q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.webhook_id = any (due)
    returning q.*;
end
$$;

-- webhooks: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_webhooks_complete(p_keys bigint[], p_tokens bigint[], p_notes text[] default null)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    done bigint[];
begin
    with completed as (
        update public.openadr_webhooks q
        set work_state = 'completed',
            leased_until = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.webhook_id = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.webhook_id
    )
    select coalesce(array_agg(completed.webhook_id), '{}') into done from completed;
    return done;
end
$$;

-- webhooks: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_webhooks_fail(
    p_key bigint, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.openadr_webhooks
language plpgsql
set search_path = ''
as $$
declare
    failed public.openadr_webhooks;
begin
    update public.openadr_webhooks q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.webhook_id = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- webhooks: when to look again: the next moment at which a pause or a lease ends; null where none does.
create or replace function public.queue_webhooks_next_due(p_scope text, p_moment timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
begin
    return least(
        (
            select min(q.scheduled_at)
            from public.openadr_webhooks q
            where true and q.work_state = 'retryable' and q.scheduled_at > p_moment),
        (
            select min(q.leased_until)
            from public.openadr_webhooks q
            where true and q.work_state = 'running' and q.leased_until > p_moment));
end
$$;

-- runs: before a claim. What waits after a failure becomes available when its moment has come, and what has lost its lease
-- too often is discarded, and answered.
create or replace function public.queue_runs_sweep(p_scope timestamptz, p_moment timestamptz)
returns setof public.pipeline_runs
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
as $$
begin
    update public.pipeline_runs waiting
    set work_state = 'available'
    where waiting.slot in (
        select q.slot
        from public.pipeline_runs q
        where q.slot = p_scope and q.work_state = 'retryable' and public.has_come(q.scheduled_at, p_moment)
        order by q.scheduled_at
        limit 1000
        for update skip locked);
    return query
    with lapsed as materialized (
        select q.slot
        from public.pipeline_runs q
        where q.slot = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            and q.lost_leases + 1 >= public.most_lost_leases() and q.max_attempts is not null
        for update skip locked
    )
    update public.pipeline_runs q
    set work_state = 'discarded',
        lost_leases = q.lost_leases + 1,
        lease_token = null,
        leased_until = null,
        finished_at = clock_timestamp(),
        last_error = format('its lease ran out %s times, last held by %s', q.lost_leases + 1, q.leased_by)
            || coalesce('; before that: ' || q.last_error, '')
    from lapsed
    where q.slot = lapsed.slot
    returning q.*;
end
$$;

-- runs: takes up to p_limit rows on a lease: of p_keys in their order, or (null) whichever come first. They are available,
-- or their lease has run out; until then whoever lost it may still take it up again. Call it after the sweep.
-- Answers them as they are now.
create or replace function public.queue_runs_claim(
    p_scope timestamptz, p_keys timestamptz[], p_worker text, p_limit integer, p_moment timestamptz,
    p_lease_seconds double precision)
returns setof public.pipeline_runs
language plpgsql
rows 10 -- or what they are joined with would be read whole
set search_path = ''
-- In the order of its index, of which no more is read than is taken, whatever the table was like when the session planned
-- this: sorted, all that waits would be read at every claim.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    lapsed timestamptz[];
    due timestamptz[];
begin
    -- Locked in statements of their own: inside the update the planner may lock, and update, more rows than the limit.
    if p_keys is not null then
        select array_agg(first.slot) into due
        from (
            select q.slot
            from unnest(p_keys) with ordinality as wanted (key, place)
            join public.pipeline_runs q on q.slot = wanted.key
            where q.work_state = 'available'
                or (q.work_state = 'running' and public.has_come(q.leased_until, p_moment))
            order by wanted.place
            limit p_limit
            for update of q skip locked) as first;
    else
        select coalesce(array_agg(first.slot), '{}') into lapsed
        from (
            select q.slot
            from public.pipeline_runs q
            where q.slot = p_scope and q.work_state = 'running' and public.has_come(q.leased_until, p_moment)
            order by q.scheduled_at, q.slot
            limit p_limit
            for update skip locked) as first;
        select lapsed || array_agg(first.slot) into due
        from (
            select q.slot
            from public.pipeline_runs q
            where q.slot = p_scope and q.work_state = 'available' and public.has_come(q.scheduled_at, p_moment)
            order by q.scheduled_at, q.slot
            limit p_limit - cardinality(lapsed)
            for update skip locked) as first;
    end if;
    return query
    update public.pipeline_runs q
    set work_state = 'running',
        attempt = q.attempt + 1,
        lost_leases = q.lost_leases + case when q.work_state = 'running' then 1 else 0 end,
        leased_by = p_worker,
        lease_token = nextval('public.lease_tokens'),
        leased_until = p_moment + make_interval(secs => p_lease_seconds)
    where q.slot = any (due)
    returning q.*;
end
$$;

-- runs: holds leases until p_until. Answers the keys of those that are still held.
create or replace function public.queue_runs_heartbeat(p_keys timestamptz[], p_tokens bigint[], p_until timestamptz)
returns timestamptz[]
language plpgsql
set search_path = ''
as $$
declare
    held timestamptz[];
begin
    with locked as materialized (
        select q.slot
        from unnest(p_keys, p_tokens) as lease (key, token)
        join public.pipeline_runs q on q.slot = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        order by q.slot
        for update of q
    ),
    extended as (
        update public.pipeline_runs q
        set leased_until = p_until
        from locked
        where q.slot = locked.slot
        returning q.slot
    )
    select coalesce(array_agg(extended.slot order by extended.slot), '{}') into held from extended;
    return held;
end
$$;

-- runs: ends work that is done, with a note on each or (null) as it stands. The tokens stay, so that whoever tells it
-- again is known. Answers the keys of those whose lease was held.
create or replace function public.queue_runs_complete(p_keys timestamptz[], p_tokens bigint[], p_notes text[] default null)
returns timestamptz[]
language plpgsql
set search_path = ''
as $$
declare
    done timestamptz[];
begin
    with completed as (
        update public.pipeline_runs q
        set work_state = 'completed',
            leased_until = null,
            finished_at = clock_timestamp(),
            last_error = coalesce(lease.note, q.last_error)
        from unnest(p_keys, p_tokens, p_notes) as lease (key, token, note)
        where q.slot = lease.key and q.lease_token = lease.token and q.work_state = 'running'
        returning q.slot
    )
    select coalesce(array_agg(completed.slot), '{}') into done from completed;
    return done;
end
$$;

-- runs: an attempt that failed. It is tried again after a pause (retry_pause) but by p_latest, or discarded: when p_final
-- says so, or after the last attempt; those that a lost lease ended do not count. Answers the row; null: the lease was lost.
create or replace function public.queue_runs_fail(
    p_key timestamptz, p_token bigint, p_error text, p_first_seconds double precision, p_longest_seconds double precision,
    p_latest timestamptz default null, p_final boolean default false, p_moment timestamptz default clock_timestamp())
returns public.pipeline_runs
language plpgsql
set search_path = ''
as $$
declare
    failed public.pipeline_runs;
begin
    update public.pipeline_runs q
    set work_state = case
            when p_final or q.attempt - q.lost_leases >= q.max_attempts then 'discarded'
            else 'retryable' end,
        scheduled_at = least(
            p_latest,
            p_moment + public.retry_pause(q.attempt - q.lost_leases, p_first_seconds, p_longest_seconds)),
        finished_at = case when p_final or q.attempt - q.lost_leases >= q.max_attempts then clock_timestamp() end,
        leased_until = null,
        last_error = left(p_error, 2000)
    where q.slot = p_key and q.lease_token = p_token and q.work_state = 'running'
    returning * into failed;
    return failed;
end
$$;

-- Imbalance, margin and the Demand Flexibility Service: stored ----------------------------------------------------------

-- System prices as they were just read: [{half_hour, system_price_gbp_mwh, …, published_at, fetched_at}], figures as text.
-- A price that a later settlement run states anew is a further revision, whether or not it differs; what an earlier run said
-- comes too late. Answers how many revisions there are more. Writers wait for each other: revisions are numbered.
create or replace function public.store_system_prices(p_rows jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    revisions bigint;
begin
    lock table public.system_price_revisions in share row exclusive mode;
    insert into public.system_price_revisions (
        half_hour, revision, system_price_gbp_mwh, net_imbalance_volume_mwh, reserve_scarcity_price_gbp_mwh, derivation_code,
        bsad_defaulted, published_at, fetched_at)
    select
        r.half_hour, coalesce(newest.revision, 0) + 1, r.system_price_gbp_mwh, r.net_imbalance_volume_mwh,
        r.reserve_scarcity_price_gbp_mwh, r.derivation_code, r.bsad_defaulted, r.published_at, r.fetched_at
    from jsonb_to_recordset(p_rows) as r (
        half_hour timestamptz, system_price_gbp_mwh numeric, net_imbalance_volume_mwh numeric,
        reserve_scarcity_price_gbp_mwh numeric, derivation_code text, bsad_defaulted boolean, published_at timestamptz,
        fetched_at timestamptz)
    left join lateral (
        select s.* from public.system_price_revisions s
        where s.half_hour = r.half_hour
        order by s.revision desc
        limit 1) as newest on true
    where newest.revision is null
        or (r.published_at >= newest.published_at
            and (
                r.published_at, r.system_price_gbp_mwh, r.net_imbalance_volume_mwh, r.reserve_scarcity_price_gbp_mwh,
                r.derivation_code, r.bsad_defaulted
            ) is distinct from (
                newest.published_at, newest.system_price_gbp_mwh, newest.net_imbalance_volume_mwh,
                newest.reserve_scarcity_price_gbp_mwh, newest.derivation_code, newest.bsad_defaulted));
    get diagnostics revisions = row_count;

    -- The newest of each, beside the grid's signals: of half-hours too that a back-fill has only now made known.
    insert into public.system_prices as p
    select newest.*
    from (
        select distinct on (s.half_hour)
            s.half_hour, s.revision, s.system_price_gbp_mwh, s.net_imbalance_volume_mwh, s.reserve_scarcity_price_gbp_mwh,
            s.derivation_code, s.bsad_defaulted, s.published_at, s.fetched_at
        from public.system_price_revisions s
        where s.half_hour >= (select min(g.timestamp) from public.grid_signals g)
        order by s.half_hour, s.revision desc
    ) as newest
    join public.grid_signals g on g.timestamp = newest.half_hour
    where not exists (
        select from public.system_prices known
        where known.half_hour = newest.half_hour and known.revision = newest.revision)
    on conflict (half_hour) do update set
        revision = excluded.revision,
        system_price_gbp_mwh = excluded.system_price_gbp_mwh,
        net_imbalance_volume_mwh = excluded.net_imbalance_volume_mwh,
        reserve_scarcity_price_gbp_mwh = excluded.reserve_scarcity_price_gbp_mwh,
        derivation_code = excluded.derivation_code,
        bsad_defaulted = excluded.bsad_defaulted,
        published_at = excluded.published_at,
        fetched_at = excluded.fetched_at;
    return revisions;
end
$$;

-- The margin of half-hours ahead: [{half_hour, probability, derated_margin_mw, horizon_hours, published_at, fetched_at}]. An
-- earlier forecast never replaces a later one.
create or replace function public.store_loss_of_load(p_rows jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.loss_of_load_forecasts as l (
        half_hour, probability, derated_margin_mw, horizon_hours, published_at, fetched_at)
    select r.half_hour, r.probability, r.derated_margin_mw, r.horizon_hours, r.published_at, r.fetched_at
    from jsonb_to_recordset(p_rows) as r (
        half_hour timestamptz, probability numeric, derated_margin_mw numeric, horizon_hours integer,
        published_at timestamptz, fetched_at timestamptz)
    order by r.half_hour
    on conflict (half_hour) do update set
        probability = excluded.probability,
        derated_margin_mw = excluded.derated_margin_mw,
        horizon_hours = excluded.horizon_hours,
        published_at = excluded.published_at,
        fetched_at = excluded.fetched_at
    where excluded.published_at >= l.published_at;
    get diagnostics stored = row_count;
    return stored;
end
$$;

-- Events of the Demand Flexibility Service, each with those of its three parts that changed (known_dfs_events tells what is
-- known): [{event_ref, event_id, direction, …, fetched_at, requirements_digest?, requirements?: [{half_hour, …}],
-- bids_digest?, bids?: […], summaries_digest?, summaries?: […]}]. A part replaces what was known of it; an event that was
-- read earlier than what is stored changes nothing.
create or replace function public.store_dfs_events(p_events jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    event jsonb;
    stored bigint := 0;
begin
    for event in select * from jsonb_array_elements(p_events) as e order by e ->> 'event_ref' loop
        insert into public.dfs_events as d (
            event_ref, event_id, direction, tag, requirement_type, delivery_date, starts_at, ends_at, submitted_at,
            dispatch_type, participants, requirements_digest, bids_digest, summaries_digest, fetched_at)
        select
            r.event_ref, r.event_id, r.direction, r.tag, r.requirement_type, r.delivery_date, r.starts_at, r.ends_at,
            r.submitted_at, r.dispatch_type, r.participants, r.requirements_digest, r.bids_digest, r.summaries_digest,
            r.fetched_at
        from jsonb_populate_record(null::public.dfs_events, event) as r
        on conflict (event_ref) do update set
            direction = excluded.direction,
            tag = excluded.tag,
            requirement_type = excluded.requirement_type,
            delivery_date = excluded.delivery_date,
            -- Bids may be known of some half-hours only.
            starts_at = case when event ? 'requirements' then excluded.starts_at else least(d.starts_at, excluded.starts_at) end,
            ends_at = case when event ? 'requirements' then excluded.ends_at else greatest(d.ends_at, excluded.ends_at) end,
            submitted_at = coalesce(excluded.submitted_at, d.submitted_at),
            dispatch_type = coalesce(excluded.dispatch_type, d.dispatch_type),
            participants = coalesce(excluded.participants, d.participants),
            requirements_digest = coalesce(excluded.requirements_digest, d.requirements_digest),
            bids_digest = coalesce(excluded.bids_digest, d.bids_digest),
            summaries_digest = coalesce(excluded.summaries_digest, d.summaries_digest),
            fetched_at = excluded.fetched_at
        where d.fetched_at <= excluded.fetched_at;
        continue when not found;
        stored := stored + 1;
        if event ? 'requirements' then
            update public.dfs_periods p
            set requirement_mw = null, guaranteed_price_gbp_mwh = null, zonal_caps_mw = null
            where p.event_ref = event ->> 'event_ref'
                and p.half_hour not in (
                    select r.half_hour from jsonb_to_recordset(event -> 'requirements') as r (half_hour timestamptz));
            insert into public.dfs_periods (event_ref, half_hour, requirement_mw, guaranteed_price_gbp_mwh, zonal_caps_mw)
            select event ->> 'event_ref', r.half_hour, r.requirement_mw, r.guaranteed_price_gbp_mwh, r.zonal_caps_mw
            from jsonb_populate_recordset(null::public.dfs_periods, event -> 'requirements') as r
            on conflict (event_ref, half_hour) do update set
                requirement_mw = excluded.requirement_mw,
                guaranteed_price_gbp_mwh = excluded.guaranteed_price_gbp_mwh,
                zonal_caps_mw = excluded.zonal_caps_mw;
        end if;
        if event ? 'summaries' then
            insert into public.dfs_periods as p (
                event_ref, half_hour, requirement_mw, procured_mw, accepted_cost_gbp, settled_mw, settled_cost_gbp)
            select
                event ->> 'event_ref', r.half_hour, r.requirement_mw, r.procured_mw, r.accepted_cost_gbp, r.settled_mw,
                r.settled_cost_gbp
            from jsonb_populate_recordset(null::public.dfs_periods, event -> 'summaries') as r
            on conflict (event_ref, half_hour) do update set
                requirement_mw = coalesce(p.requirement_mw, excluded.requirement_mw),
                procured_mw = excluded.procured_mw,
                accepted_cost_gbp = excluded.accepted_cost_gbp,
                settled_mw = excluded.settled_mw,
                settled_cost_gbp = excluded.settled_cost_gbp;
        end if;
        if event ? 'bids' then
            delete from public.dfs_bids b where b.event_ref = event ->> 'event_ref';
            insert into public.dfs_bids (
                event_ref, half_hour, unit_id, bid_number, participant, zone, bid_mw, price_gbp_mwh, status)
            select
                event ->> 'event_ref', r.half_hour, r.unit_id,
                row_number() over (
                    partition by r.half_hour, r.unit_id order by r.price_gbp_mwh, r.bid_mw, r.status, r.participant, r.zone),
                r.participant, r.zone, r.bid_mw, r.price_gbp_mwh, r.status
            from jsonb_populate_recordset(null::public.dfs_bids, event -> 'bids') as r;
        end if;
    end loop;
    return stored;
end
$$;

-- Pipeline runs --------------------------------------------------------------------------------------------------------

-- One run a slot, however many servers ask: the row is the claim. A lost lease may be taken over, and so may that of
-- p_dead_owner, whom the caller knows to have died; p_again repeats a slot that is done. The token fences off a run
-- that lost its lease.
create or replace function public.claim_pipeline_slot(
    p_slot timestamptz, p_owner text, p_lease_seconds double precision, p_again boolean default false,
    p_dead_owner text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    moment timestamptz := clock_timestamp();
    claimed public.pipeline_runs;
begin
    insert into public.pipeline_runs (slot, state) values (p_slot, 'running') on conflict (slot) do nothing;
    -- Of two who ask at once the second waits here, and finds what the first has made of it.
    perform from public.pipeline_runs r where r.slot = p_slot for update;
    update public.pipeline_runs r
    set work_state = 'available'
    where r.slot = p_slot
        and (
            (r.work_state = 'completed' and p_again)
            or (r.work_state = 'running' and r.leased_by = p_dead_owner));
    perform public.queue_runs_sweep(p_slot, moment);
    select * into claimed
    from public.queue_runs_claim(p_slot, array[p_slot], p_owner, 1, moment, p_lease_seconds);
    if claimed.slot is null then
        return (
            select json_build_object(
                'claimed', false, 'state', r.state, 'owner', r.leased_by, 'lease_until', r.leased_until)
            from public.pipeline_runs r where r.slot = p_slot);
    end if;
    update public.pipeline_runs r
    set state = 'running', started_at = moment, finished_at = null, last_error = null
    where r.slot = p_slot;
    return json_build_object('claimed', true, 'lease_token', claimed.lease_token);
end
$$;

-- A run that is going on keeps its slot. Answers {"held": whether it had it still}.
create or replace function public.heartbeat_pipeline_slot(
    p_slot timestamptz, p_lease_token bigint, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', cardinality(public.queue_runs_heartbeat(
        array[p_slot], array[p_lease_token], clock_timestamp() + make_interval(secs => p_lease_seconds))) > 0)
$$;

-- Half-hour figures into grid_signals, regional_grid_signals and generation_mix. p_batch:
--   national: [{timestamp, settlement_period, carbon_…, demand_…, price_…, fetched_at}], regional: [{region_id,
--   timestamp, carbon_intensity_forecast, carbon_index, carbon_source, fetched_at, mix: {fuel: per cent}}],
--   national_mix: [{timestamp, mix_source, mix}].
-- A figure gives way only to one of the same or a better source: published before interpolated before modelled before
-- invented. A null never replaces a value.
create or replace function public.store_signals(p_batch jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    national_rows bigint;
    regional_rows bigint;
    mix_rows bigint;
begin
    insert into public.grid_signals as g (
        timestamp, settlement_period, carbon_intensity_forecast, carbon_intensity_actual, carbon_index, demand_mw,
        grid_stress_score, wholesale_price_gbp_mwh, carbon_source, demand_source, price_source, carbon_fetched_at,
        demand_fetched_at, price_fetched_at, demand_interpolated)
    select
        r.timestamp, r.settlement_period, r.carbon_intensity_forecast, r.carbon_intensity_actual, r.carbon_index,
        r.demand_mw, r.grid_stress_score, r.wholesale_price_gbp_mwh, r.carbon_source, r.demand_source, r.price_source,
        r.carbon_fetched_at, r.demand_fetched_at, r.price_fetched_at, coalesce(r.demand_interpolated, false)
    from jsonb_to_recordset(p_batch -> 'national') as r (
        timestamp timestamptz, settlement_period integer, carbon_intensity_forecast double precision,
        carbon_intensity_actual double precision, carbon_index text, demand_mw double precision,
        grid_stress_score double precision, wholesale_price_gbp_mwh double precision, carbon_source text,
        demand_source text, price_source text, carbon_fetched_at timestamptz, demand_fetched_at timestamptz,
        price_fetched_at timestamptz, demand_interpolated boolean)
    order by r.timestamp
    on conflict (timestamp) do update set
        (carbon_intensity_forecast, carbon_index, carbon_source, carbon_fetched_at) = (
            select either.forecast, either.index, either.source, either.fetched_at
            from (values
                (excluded.carbon_intensity_forecast, excluded.carbon_index, excluded.carbon_source, excluded.carbon_fetched_at, 1),
                (
                    g.carbon_intensity_forecast, g.carbon_index, g.carbon_source, g.carbon_fetched_at,
                    case when public.stored_is_newer(g.carbon_source, g.carbon_fetched_at, excluded.carbon_fetched_at) then 0 else 2 end)
            ) as either (forecast, index, source, fetched_at, turn)
            order by either.forecast is null, public.source_rank(either.source) desc, either.turn
            limit 1),
        carbon_intensity_actual = coalesce(excluded.carbon_intensity_actual, g.carbon_intensity_actual),
        (demand_mw, grid_stress_score, demand_source, demand_interpolated, demand_fetched_at) = (
            select either.demand, either.stress, either.source, either.interpolated, either.fetched_at
            from (values
                (
                    excluded.demand_mw, excluded.grid_stress_score, excluded.demand_source, excluded.demand_interpolated,
                    excluded.demand_fetched_at, 1),
                (
                    g.demand_mw, g.grid_stress_score, g.demand_source, g.demand_interpolated, g.demand_fetched_at,
                    case when public.stored_is_newer(g.demand_source, g.demand_fetched_at, excluded.demand_fetched_at) then 0 else 2 end)
            ) as either (demand, stress, source, interpolated, fetched_at, turn)
            order by
                either.demand is null, public.source_rank(either.source) desc, either.interpolated desc, either.turn
            limit 1),
        (wholesale_price_gbp_mwh, price_source, price_fetched_at) = (
            select either.price, either.source, either.fetched_at
            from (values
                (excluded.wholesale_price_gbp_mwh, excluded.price_source, excluded.price_fetched_at, 1),
                (
                    g.wholesale_price_gbp_mwh, g.price_source, g.price_fetched_at,
                    case when public.stored_is_newer(g.price_source, g.price_fetched_at, excluded.price_fetched_at) then 0 else 2 end)
            ) as either (price, source, fetched_at, turn)
            order by either.price is null, public.source_rank(either.source) desc, either.turn
            limit 1);
    get diagnostics national_rows = row_count;

    insert into public.regional_grid_signals as g (
        region_id, timestamp, carbon_intensity_forecast, carbon_index, carbon_source, fetched_at)
    select r.region_id, r.timestamp, r.carbon_intensity_forecast, r.carbon_index, r.carbon_source, r.fetched_at
    from jsonb_to_recordset(p_batch -> 'regional') as r (
        region_id integer, timestamp timestamptz, carbon_intensity_forecast double precision, carbon_index text,
        carbon_source text, fetched_at timestamptz)
    order by r.region_id, r.timestamp
    on conflict (region_id, timestamp) do update set
        carbon_intensity_forecast = excluded.carbon_intensity_forecast,
        carbon_index = excluded.carbon_index,
        carbon_source = excluded.carbon_source,
        fetched_at = excluded.fetched_at
    where excluded.carbon_intensity_forecast is not null
        and public.source_rank(excluded.carbon_source) >= public.source_rank(g.carbon_source);
    get diagnostics regional_rows = row_count;

    -- Unchanged percentages are left alone: most of the 14,000 rows of a run are.
    insert into public.generation_mix as g (region_id, timestamp, fuel, percentage, mix_source)
    select r.region_id, r.timestamp, share.fuel, share.percentage::double precision, r.mix_source
    from (
        select r.region_id, r.timestamp, r.carbon_source as mix_source, r.mix
        from jsonb_to_recordset(p_batch -> 'regional') as r (
            region_id integer, timestamp timestamptz, carbon_source text, mix jsonb)
        union all
        select null, n.timestamp, n.mix_source, n.mix
        from jsonb_to_recordset(p_batch -> 'national_mix') as n (timestamp timestamptz, mix_source text, mix jsonb)
        join public.grid_signals signal on signal.timestamp = n.timestamp
    ) as r
    cross join lateral jsonb_each_text(coalesce(r.mix, '{}')) as share (fuel, percentage)
    on conflict (region_id, timestamp, fuel) do update set
        percentage = excluded.percentage,
        mix_source = excluded.mix_source
    where public.source_rank(excluded.mix_source) >= public.source_rank(g.mix_source)
        and (g.percentage, g.mix_source) is distinct from (excluded.percentage, excluded.mix_source);
    get diagnostics mix_rows = row_count;

    return json_build_object('national', national_rows, 'regional', regional_rows, 'mix', mix_rows);
end
$$;

-- The synthetic side of the world: rows are made once and belong to whoever edits them afterwards; only what moves
-- with the time of day (load, state of charge) is kept moving, and only on rows that are synthetic.
create or replace function public.store_world(p_batch jsonb, p_slot timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    new_workloads bigint;
begin
    insert into public.operators (operator_id, name, operator_type, country, is_synthetic)
    select r.operator_id, r.name, r.operator_type, coalesce(r.country, 'GB'), r.is_synthetic
    from jsonb_populate_recordset(null::public.operators, coalesce(p_batch -> 'operators', '[]')) as r
    on conflict (operator_id) do nothing;

    insert into public.data_centres as d (
        dc_id, name, operator, region_id, location_region, latitude, longitude, pue, total_capacity_teraflops,
        total_capacity_mw, current_load_percentage, flexibility_rating, min_load_percentage, ramp_rate_mw_per_min,
        status, is_synthetic)
    select
        r.dc_id, r.name, r.operator, r.region_id, r.location_region, r.latitude, r.longitude, r.pue,
        r.total_capacity_teraflops, r.total_capacity_mw, r.current_load_percentage, r.flexibility_rating,
        r.min_load_percentage, r.ramp_rate_mw_per_min, r.status, r.is_synthetic
    from jsonb_populate_recordset(null::public.data_centres, coalesce(p_batch -> 'data_centres', '[]')) as r
    -- The invented load is what others draw: what runs of ours comes on top (load_data_centre).
    on conflict (dc_id) do update set base_load_percentage = excluded.current_load_percentage
    where d.is_synthetic
        and coalesce(d.base_load_percentage, d.current_load_percentage) is distinct from excluded.current_load_percentage;

    insert into public.storage_assets as s (
        asset_id, name, operator, region_id, asset_type, capacity_mwh, power_mw, state_of_charge_percentage,
        round_trip_efficiency, status, is_synthetic)
    select
        r.asset_id, r.name, r.operator, r.region_id, r.asset_type, r.capacity_mwh, r.power_mw,
        r.state_of_charge_percentage, r.round_trip_efficiency, r.status, r.is_synthetic
    from jsonb_populate_recordset(null::public.storage_assets, coalesce(p_batch -> 'storage_assets', '[]')) as r
    on conflict (asset_id) do update set state_of_charge_percentage = excluded.state_of_charge_percentage
    where s.is_synthetic and s.state_of_charge_percentage is distinct from excluded.state_of_charge_percentage;

    insert into public.agents as a (agent_id, name, agent_type, operator, version, status, is_synthetic)
    select r.agent_id, r.name, r.agent_type, r.operator, r.version, coalesce(r.status, 'ACTIVE'), r.is_synthetic
    from jsonb_populate_recordset(null::public.agents, coalesce(p_batch -> 'agents', '[]')) as r
    on conflict (agent_id) do update set version = excluded.version
    where a.version is distinct from excluded.version;

    -- Before the workloads: their decisions are to see the present intensity.
    update public.data_centres d
    set current_carbon_intensity_gco2 = g.carbon_intensity_forecast, carbon_intensity_timestamp = g.timestamp,
        carbon_intensity_source = g.carbon_source
    from public.regional_grid_signals g
    where g.region_id = d.region_id
        and g.timestamp = p_slot
        and (d.current_carbon_intensity_gco2, d.carbon_intensity_timestamp, d.carbon_intensity_source)
            is distinct from (g.carbon_intensity_forecast, g.timestamp, g.carbon_source);

    insert into public.compute_workloads (
        job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores, required_memory_gb,
        estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins, status, is_synthetic)
    select
        r.job_id, r.operator, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
        r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
        r.deferral_window_mins, 'PENDING', r.is_synthetic
    from jsonb_populate_recordset(null::public.compute_workloads, coalesce(p_batch -> 'workloads', '[]')) as r
    where not exists (select from public.compute_workloads w where w.job_id = r.job_id)
    order by r.job_id
    on conflict (tenant, job_id) do nothing;
    get diagnostics new_workloads = row_count;

    return json_build_object('workloads', new_workloads);
end
$$;

-- All that one run found, under its lease.
create or replace function public.store_run(p_slot timestamptz, p_lease_token bigint, p_batch jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    signals json;
begin
    -- The lock holds off a second run of the slot until this one has stored or rolled back.
    perform from public.pipeline_runs r
    where r.slot = p_slot and r.lease_token = p_lease_token and r.work_state = 'running'
    for update;
    if not found then
        return json_build_object('state', 'fenced');
    end if;
    signals := public.store_signals(p_batch);
    signals := (signals::jsonb || public.store_world(p_batch, p_slot)::jsonb || '{"state": "stored"}')::json;
    -- What was submitted before there was anything to decide from has waited for this.
    if exists (select from public.workload_notifications n where n.work_state in ('available', 'retryable')) then
        perform pg_notify('workload_ready', '');
    end if;
    return signals;
end
$$;

-- Tells everybody what a run that is finishing has come to: the sources that went away or came back, and, unless it failed, the
-- grid as it is now beside what the event before said of it. p_before: the sources as the run before left them, empty where
-- there was none: a database's first run tells nothing, since nobody knew anything else. It takes the publishing lock: call
-- it last.
create or replace function public.log_pipeline_run(p_run public.pipeline_runs, p_before jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    source record;
    present jsonb;
    last jsonb;
begin
    if p_before = '{}' then
        return;
    end if;
    for source in
        select
            now_.key as name, now_.value as told, now_.value ->> 'state' = 'fresh' as is_fresh
        from jsonb_each(p_run.sources) as now_
        where now_.value ->> 'state' in ('fresh', 'stale', 'failed')
            -- Of a source that nobody knew before it is told only if it is away.
            and (coalesce(p_before -> now_.key ->> 'state', 'fresh') in ('fresh', 'off')) <> (now_.value ->> 'state' = 'fresh')
        order by now_.key
    loop
        perform public.log_event(
            null, case when source.is_fresh then 'source.fresh' else 'source.stale' end, null,
            jsonb_build_object('source', source.name, 'slot', p_run.slot) || source.told, source.name);
    end loop;
    if p_run.state = 'failed' then
        return;
    end if;
    select jsonb_build_object(
        'half_hour', g.timestamp, 'carbon_intensity_gco2_per_kwh', g.carbon_intensity_forecast, 'carbon_index', g.carbon_index,
        'carbon_source', g.carbon_source, 'grid_stress_score', g.grid_stress_score, 'demand_mw', g.demand_mw,
        'demand_source', g.demand_source, 'wholesale_price_gbp_per_mwh', g.wholesale_price_gbp_mwh,
        'price_source', g.price_source)
    into present
    from public.grid_signals g
    where g.timestamp = public.half_hour_of(clock_timestamp());
    select b.event -> 'now' into last
    from public.broadcast_log b
    where b.is_everybodys and b.event_type = 'grid.updated'
    order by b.everybodys desc
    limit 1;
    perform public.log_event(
        null, 'grid.updated', null,
        jsonb_build_object(
            'slot', p_run.slot, 'state', p_run.state, 'finished_at', p_run.finished_at, 'rows', p_run.counts, 'now', present,
            'before', last,
            'changed', (
                select coalesce(jsonb_agg(figure.key order by figure.key), '[]')
                from jsonb_each(coalesce(present, '{}')) as figure
                where figure.key <> 'half_hour' and figure.value is distinct from last -> figure.key)),
        to_char(p_run.slot at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        public.event_summary(
            jsonb_build_object('slot', p_run.slot, 'state', p_run.state, 'finished_at', p_run.finished_at)
            || coalesce(present, '{}')));
end
$$;

-- The end of a run, under its lease. One that failed may be claimed again at once.
create or replace function public.finish_pipeline_run(
    p_slot timestamptz, p_lease_token bigint, p_state text, p_sources jsonb, p_counts jsonb, p_stages_ms jsonb,
    p_error text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    finished public.pipeline_runs;
    before jsonb;
begin
    if p_state = 'failed' then
        perform from public.queue_runs_fail(p_slot, p_lease_token, p_error, 0, 0) as failed where failed.slot is not null;
    else
        perform from unnest(public.queue_runs_complete(array[p_slot], array[p_lease_token], array[p_error]));
    end if;
    if not found then
        return json_build_object('state', 'fenced');
    end if;
    select r.sources into before
    from public.pipeline_runs r
    where r.sources <> '{}' -- this one's too, where it is repeated
    order by coalesce(r.finished_at, r.started_at) desc
    limit 1;
    update public.pipeline_runs r
    set state = p_state, finished_at = clock_timestamp(), sources = p_sources, counts = p_counts, stages_ms = p_stages_ms
    where r.slot = p_slot
    returning * into finished;
    perform public.log_pipeline_run(finished, coalesce(before, '{}'));
    return json_build_object('state', 'finished');
end
$$;

-- Time series, processed notifications, events, network messages and run records from before p_before. The newest event
-- stays, whatever its age. The audit log is never pruned.
create or replace function public.prune_history(p_before timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    signals bigint;
    regional bigint;
    notifications bigint;
    events bigint;
begin
    -- Named region by region, so that the index on (region_id, timestamp) finds the old rows. Mixes go with their signal.
    delete from public.regional_grid_signals g
    where g.region_id = any (array(select region_id from public.regions)) and g.timestamp < p_before;
    get diagnostics regional = row_count;
    delete from public.grid_signals g where g.timestamp < p_before;
    get diagnostics signals = row_count;
    delete from public.workload_notifications n where n.work_state = 'completed' and n.finished_at < p_before;
    get diagnostics notifications = row_count;
    delete from public.broadcast_log b
    where b.created_at < p_before and b.sequence < (select max(newest.sequence) from public.broadcast_log newest);
    get diagnostics events = row_count;
    delete from public.agent_states s
    where s.observed_at < p_before
        and exists (
            select from public.agent_states later where later.agent_id = s.agent_id and later.observed_at > s.observed_at);
    delete from public.processed_contexts p where p.processed_at < p_before;
    -- What an event of flexibility was measured by stays with it: without, its site would seem to have drawn nothing.
    delete from public.data_centre_loads l
    where l.half_hour < p_before
        and not exists (
            select from public.flexibility_baselines b where (b.dc_id, b.half_hour) = (l.dc_id, l.half_hour));
    -- What a virtual top node keeps of events that are over goes with their reports. Flexibility's own events stay, as the audit log
    -- does: each is named by what was decided and paid for it.
    delete from public.openadr_objects o where o.object_type = 'EVENT' and o.ends_at < p_before;
    -- Not the system prices' revisions, nor the events of the Demand Flexibility Service: they are settled by for years.
    delete from public.loss_of_load_forecasts l where l.half_hour < p_before;
    delete from public.run_now_power p where p.half_hour < p_before;
    perform public.beckn_prune(p_before);
    delete from public.pipeline_runs r where r.slot < p_before and r.work_state <> 'running';
    -- Half-hours are told apart anyhow, and no transaction is open for so long.
    delete from public.grid_changes c where c.changed_at < clock_timestamp() - interval '3 hours';
    return json_build_object(
        'grid_signals', signals, 'regional_grid_signals', regional, 'notifications', notifications, 'events', events);
end
$$;


-- Bookings: what is held is the sum of them --------------------------------------------------------------------------------
--
-- One order of locks everywhere: data centres by dc_id ("for no key update"), then notifications, workloads, bookings, the
-- sums of held power, and last the publishing lock. Whoever takes, moves or gives back power holds its data centre's lock.

-- Brings held_power up to date with what a statement did to the bookings: what is given back is, in numeric, exactly what
-- was taken. A statement that changes no power (a claim, a heartbeat) comes to sums of nothing.
create or replace function public.sum_held_power()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    given_back public.capacity_bookings[] := '{}';
    taken public.capacity_bookings[] := '{}';
begin
    if tg_op <> 'INSERT' then
        given_back := array(select b from before_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    if tg_op <> 'DELETE' then
        taken := array(select b from after_change b where b.state in ('HELD', 'RUNNING'));
    end if;
    insert into public.held_power as h (dc_id, half_hour, held_kw)
    select change.dc_id, touched.half_hour, sum(change.kw)
    from (
        select b.dc_id, b.starts_at, b.ends_at, -b.it_power_kw as kw from unnest(given_back) as b
        union all
        select b.dc_id, b.starts_at, b.ends_at, b.it_power_kw from unnest(taken) as b) as change
    cross join lateral generate_series(
        public.half_hour_of(change.starts_at), change.ends_at - interval '1 microsecond', interval '30 minutes')
        as touched (half_hour)
    group by change.dc_id, touched.half_hour
    having sum(change.kw) <> 0
    order by change.dc_id, touched.half_hour -- locked in one order by all
    on conflict (dc_id, half_hour) do update set held_kw = h.held_kw + excluded.held_kw;
    return null;
end
$$;

create or replace trigger sum_held_power_insert
    after insert on public.capacity_bookings
    referencing new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_update
    after update on public.capacity_bookings
    referencing old table as before_change new table as after_change
    for each statement execute function public.sum_held_power();
create or replace trigger sum_held_power_delete
    after delete on public.capacity_bookings
    referencing old table as before_change
    for each statement execute function public.sum_held_power();


-- IT power in kW that a data centre has for bookings: what its base load, or where none is stated its present load, leaves.
-- Down to the milliwatt, as bookings are, so that what is said to be free can be taken.
create or replace function public.capacity_kw(d public.data_centres)
returns numeric
language sql
immutable
set search_path = ''
as $$
    select trunc(
        d.total_capacity_mw::numeric * 1000 * (100 - coalesce(d.base_load_percentage, d.current_load_percentage)::numeric) / 100,
        6)
$$;

-- The most IT power in kW that bookings hold of a data centre in any half-hour that [p_from, p_until) touches; p_without is
-- a booking that is not counted, as it is to be moved.
create or replace function public.most_held_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without bigint default null)
returns numeric
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select greatest(0, max(h.held_kw - case
            when own.dc_id = h.dc_id and h.half_hour >= public.half_hour_of(own.starts_at) and h.half_hour < own.ends_at
                then own.it_power_kw
            else 0 end))
        from public.held_power h
        left join public.capacity_bookings own on own.booking_id = p_without and own.state in ('HELD', 'RUNNING')
        where h.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(p_from) and h.half_hour < p_until);
end
$$;

-- IT power in kW that a data centre has free throughout [p_from, p_until): below 0 where more is held than there is, since its
-- base load has grown. Null where there is no such data centre.
create or replace function public.free_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without bigint default null)
returns numeric
language sql
stable
set search_path = ''
as $$
    select public.capacity_kw(d) - public.most_held_kw(p_dc_id, p_from, p_until, p_without)
    from public.data_centres d
    where d.dc_id = p_dc_id
$$;

-- IT power in kW that is free at p_dc_id for a booking that moves to [p_from, p_until): at its least in those half-hours that
-- the booking does not hold already, since what it holds it keeps. Null where it holds them all: then there is room.
create or replace function public.free_to_move_kw(
    p_booking_id bigint, p_dc_id text, p_from timestamptz, p_until timestamptz)
returns numeric
language plpgsql
stable
set search_path = ''
as $$
declare
    own public.capacity_bookings;
begin
    select * into own from public.capacity_bookings b where b.booking_id = p_booking_id and b.state in ('HELD', 'RUNNING');
    return (
        select public.capacity_kw(d) - (
            select max(coalesce(h.held_kw, 0))
            from generate_series(
                public.half_hour_of(p_from), p_until - interval '1 microsecond', interval '30 minutes') as wanted (half_hour)
            left join public.held_power h on (h.dc_id, h.half_hour) = (p_dc_id, wanted.half_hour)
            where not coalesce(
                own.dc_id = p_dc_id and wanted.half_hour >= public.half_hour_of(own.starts_at)
                    and wanted.half_hour < own.ends_at,
                false))
        from public.data_centres d
        where d.dc_id = p_dc_id);
end
$$;

-- The IT power that is free in each of the 96 half-hours from that of p_now: {"start", "half_hours": 96, "free_it_kw":
-- {dc_id: [[i, kw]…]}}. From the i-th half-hour on kw are free; only changes are listed, and the first is the 0th. Nothing is
-- free where more is held than there is. Data centres that are OFFLINE are left out, as in grid_context. p_without is a
-- booking whose power counts as free, as it is to be moved. "prices": what a kilowatt is worth by the joint plan of this half-hour
-- or the one before, {planned_at, workloads, left_out, method, start, half_hours, gbp_per_kw}; null where there is none.
create or replace function public.capacity_at(p_now timestamptz, p_without bigint default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        with centres as materialized (
            select d.dc_id, public.capacity_kw(d) as capacity_kw from public.data_centres d where d.status <> 'OFFLINE'
        ),
        held as materialized (
            select
                h.dc_id,
                (extract(epoch from h.half_hour - first) / 1800)::integer as i,
                h.held_kw - case
                    when own.dc_id = h.dc_id and h.half_hour >= public.half_hour_of(own.starts_at) and h.half_hour < own.ends_at
                        then own.it_power_kw
                    else 0 end as kw
            from public.held_power h
            left join public.capacity_bookings own on own.booking_id = p_without and own.state in ('HELD', 'RUNNING')
            where h.half_hour >= first and h.half_hour < first + interval '48 hours' and h.held_kw <> 0
        ),
        -- What is free may change where something is held, and after it. Summed up and not joined: a planner that does not
        -- know how much is held would join each with each.
        places as (
            select c.dc_id, 0 as i, 0::numeric as kw from centres c
            union all
            select h.dc_id, h.i, h.kw from held h
            union all
            select h.dc_id, h.i + 1, 0 from held h where h.i < 95
        ),
        levels as (
            select p.dc_id, p.i, greatest(0, c.capacity_kw - sum(p.kw)) as kw
            from places p
            join centres c on c.dc_id = p.dc_id
            group by p.dc_id, p.i, c.capacity_kw
        ),
        changes as (
            select l.*, lag(l.kw) over (partition by l.dc_id order by l.i) as before from levels l
        ),
        steps as (
            select c.dc_id, json_agg(json_build_array(c.i, c.kw::double precision) order by c.i) as steps
            from changes c
            where c.before is distinct from c.kw
            group by c.dc_id
        )
        select json_build_object(
            'start', first,
            'half_hours', 96,
            'free_it_kw', coalesce((select json_object_agg(s.dc_id, s.steps order by s.dc_id) from steps s), '{}'),
            'prices', (
                select json_build_object(
                    'planned_at', p.planned_at, 'workloads', p.workloads, 'left_out', p.left_out, 'method', p.method,
                    'start', p.starts_at, 'half_hours', p.half_hours, 'gbp_per_kw', p.gbp_per_kw)
                from public.capacity_prices p
                where p.slot between first - interval '30 minutes' and first
                order by p.slot desc
                limit 1)));
end
$$;

-- Who runs what is booked at a data centre.
create or replace function public.carried_out_by(d public.data_centres)
returns text
language sql
immutable
set search_path = ''
as $$
    select case d.execution when 'runner' then 'runner' else 'simulation' end
$$;

-- Takes power: the number of the booking, or null where there is no room or the data centre takes no work. The caller holds
-- the data centre's lock already, in its order; it is taken here once more, so that nobody can forget it.
create or replace function public.take_power(
    p_dc_id text, p_tenant text, p_job_id text, p_source text, p_starts_at timestamptz, p_ends_at timestamptz,
    p_it_power_kw numeric, p_carried_out_by text, p_notification_id bigint default null, p_order_id uuid default null,
    p_run_now jsonb default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    centre public.data_centres;
    power_kw constant numeric := round(p_it_power_kw, 6);
    taken bigint;
begin
    select * into centre from public.data_centres d where d.dc_id = p_dc_id for no key update;
    if centre.status is distinct from 'ACTIVE'
        or power_kw > greatest(0, public.capacity_kw(centre) - public.most_held_kw(p_dc_id, p_starts_at, p_ends_at))
    then
        return null;
    end if;
    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, notification_id, order_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by,
        work_state, scheduled_at)
    values (
        p_dc_id, p_tenant, p_job_id, p_source, p_notification_id, p_order_id, p_starts_at, p_ends_at, power_kw, p_run_now,
        p_carried_out_by, case p_carried_out_by when 'order' then 'completed' else 'available' end, p_starts_at)
    returning booking_id into taken;
    return taken;
end
$$;

-- What a decision of a program that books nothing itself takes, by its output: {starts_at, ends_at, it_power_kw}, or null
-- where the output does not say it.
create or replace function public.booking_of_output(p_output jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    decision jsonb := case jsonb_typeof(p_output) when 'string' then (p_output #>> '{}')::jsonb else p_output end -> 'decision';
    starts_at timestamptz := decision ->> 'start';
    ends_at timestamptz := decision ->> 'end';
    it_power_kw numeric := decision #>> '{workload,it_power_kw}';
begin
    if starts_at < ends_at and it_power_kw >= 0 then
        return jsonb_build_object('starts_at', starts_at, 'ends_at', ends_at, 'it_power_kw', it_power_kw);
    end if;
    return null;
exception
    when data_exception then
        return null;
end
$$;

-- Takes power for decisions, one after the other in the order given, under the locks of their data centres, which the caller
-- holds. p_asked: [{notification_id, tenant, job_id, dc_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by}…].
-- Answers the notifications of those that found no room. All that share a data centre are summed up half-hour by half-hour
-- and booked in one statement where they all fit, as they do unless another process was quicker; only then one by one.
create or replace function public.book_decisions(p_asked jsonb)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    short text[]; -- data centres where not all find room
    one record;
    displaced bigint[] := '{}';
begin
    with asked as materialized (
        select a.dc_id, a.starts_at, a.ends_at, round(a.it_power_kw, 6) as kw, a.place
        from rows from (jsonb_to_recordset(p_asked) as (
            dc_id text, starts_at timestamptz, ends_at timestamptz, it_power_kw numeric)) with ordinality
            as a (dc_id, starts_at, ends_at, it_power_kw, place)
    ),
    needed as (
        select a.dc_id, touched.half_hour, sum(a.kw) as kw
        from asked a
        cross join lateral generate_series(
            public.half_hour_of(a.starts_at), a.ends_at - interval '1 microsecond', interval '30 minutes')
            as touched (half_hour)
        group by a.dc_id, touched.half_hour
    )
    select coalesce(array_agg(distinct n.dc_id), '{}') into short
    from needed n
    join public.data_centres d on d.dc_id = n.dc_id
    left join public.held_power h on (h.dc_id, h.half_hour) = (n.dc_id, n.half_hour)
    where d.status <> 'ACTIVE' or n.kw + coalesce(h.held_kw, 0) > public.capacity_kw(d);

    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, notification_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by, scheduled_at)
    select
        a.dc_id, a.tenant, a.job_id, 'decision', a.notification_id, a.starts_at, a.ends_at, round(a.it_power_kw, 6), a.run_now,
        a.carried_out_by, a.starts_at
    from jsonb_to_recordset(p_asked) as a (
        notification_id bigint, tenant text, job_id text, dc_id text, starts_at timestamptz, ends_at timestamptz,
        it_power_kw numeric, run_now jsonb, carried_out_by text)
    where a.dc_id <> all (short);

    for one in
        select a.*
        from rows from (jsonb_to_recordset(p_asked) as (
            notification_id bigint, tenant text, job_id text, dc_id text, starts_at timestamptz, ends_at timestamptz,
            it_power_kw numeric, run_now jsonb, carried_out_by text)) with ordinality
            as a (notification_id, tenant, job_id, dc_id, starts_at, ends_at, it_power_kw, run_now, carried_out_by, place)
        where a.dc_id = any (short)
        order by a.place
    loop
        if public.take_power(
            one.dc_id, one.tenant, one.job_id, 'decision', one.starts_at, one.ends_at, one.it_power_kw, one.carried_out_by,
            one.notification_id, null, one.run_now) is null
        then
            displaced := displaced || one.notification_id;
        end if;
    end loop;
    return displaced;
end
$$;


-- The power of one data centre, half-hour by half-hour -----------------------------------------------------------------------

-- IT power in kW in each of the 96 half-hours from that of p_now; null where there is no such data centre. Of what bookings
-- hold (booked_kw), running_kw is what runs; it is null where the data centre is not p_operator's, if one is named: what is
-- promised is no longer on offer, which all may know, but what runs is its operator's. The base load is known for the present
-- only, which stands for all.
create or replace function public.capacity_timeline(p_dc_id text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select json_build_object(
            'dc_id', d.dc_id,
            'name', d.name,
            'status', d.status,
            'start', first,
            'total_kw', own.total_kw,
            'base_kw', json_agg(own.total_kw - own.capacity_kw order by half_hour.i),
            'booked_kw', json_agg(half_hour.booked_kw order by half_hour.i),
            'running_kw', case
                when p_operator is null or d.tenant = p_operator then json_agg(half_hour.running_kw order by half_hour.i) end,
            'free_kw', json_agg(greatest(0, own.capacity_kw - half_hour.booked_kw) order by half_hour.i))
        from public.data_centres d
        cross join lateral (
            select d.total_capacity_mw::numeric * 1000 as total_kw, public.capacity_kw(d) as capacity_kw) as own
        cross join lateral (
            select ahead.i, coalesce(h.held_kw, 0) as booked_kw, coalesce(r.kw, 0) as running_kw
            from generate_series(0, 95) as ahead (i)
            cross join lateral (select first + ahead.i * interval '30 minutes' as slot) as at
            left join public.held_power h on (h.dc_id, h.half_hour) = (p_dc_id, at.slot)
            left join (
                select touched.slot, sum(b.it_power_kw) as kw
                from public.capacity_bookings b
                cross join lateral generate_series(
                    greatest(first, public.half_hour_of(b.starts_at)),
                    least(b.ends_at - interval '1 microsecond', first + interval '47 hours 30 minutes'),
                    interval '30 minutes') as touched (slot)
                where b.dc_id = p_dc_id and b.state = 'RUNNING'
                group by touched.slot) as r on r.slot = at.slot) as half_hour
        where d.dc_id = p_dc_id
        group by d.dc_id, d.name, d.status, d.tenant, own.total_kw);
end
$$;

-- The queue of notifications -------------------------------------------------------------------------------------------
--
-- A queue of the engine above, whose turns are the operators'. Locks are always taken in one order, notifications by number,
-- then workloads by tenant and job_id, then the sequence, so that no two workers wait for each other.

-- The statuses in which a workload still waits for a decision.
create or replace function public.awaits_decision(status text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
$$;

-- Whether a workload has its place: it holds power, or was ordered with it. Then it waits for its start, and not for a decision.
create or replace function public.has_place(w public.compute_workloads)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
            select from public.capacity_bookings b
            where (b.tenant, b.job_id) = (w.tenant, w.job_id) and b.state in ('HELD', 'RUNNING'))
        or exists (select from public.beckn_orders o where (o.buyer_operator, o.job_id) = (w.tenant, w.job_id))
$$;

-- A new notification takes its turn among those of its tenant.
create or replace function public.place_notification()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.fairness_key := new.tenant;
    new.turn := public.queue_notifications_turn(null, new.fairness_key);
    return new;
end
$$;

create or replace trigger place_notification
    before insert on public.workload_notifications
    for each row execute function public.place_notification();

-- Takes up to p_limit notifications that are due, each operator's oldest in turn, or whose holder let the lease run out.
-- Answers {"claimed": [{notification_id, job_id, operator (the tenant), reason, attempt, lease_token, created_at}…], "withdrawn": [those whose
-- workload no longer waits, closed without a decision], "died": [those whose last lease ran out]}, the latter as
-- {notification_id, job_id}.
create or replace function public.claim_notifications(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
set plan_cache_mode = 'force_generic_plan' -- found by keys alone: planning anew would take longer than the claim
as $$
declare
    moment timestamptz := clock_timestamp();
    died json;
    taken bigint[];
    claimed json;
    withdrawn json;
    withdrawn_ids bigint[];
    tokens bigint[];
    notes text[];
begin
    -- Nobody waits for the disk here: a claim that a crash of the server takes back is one that was never made. Whoever made
    -- it is fenced, or publishes what the next one then finds published: a notification is decided once, whoever does it.
    perform set_config('synchronous_commit', 'off', true);
    select coalesce(json_agg(json_build_object('notification_id', n.notification_id, 'job_id', n.job_id)), '[]')
    into died
    from public.queue_notifications_sweep(null, moment) as n;

    -- In a statement of its own. The claim sees what was committed since its statement began, and a join within it does not: a
    -- workload submitted just then would be missing beside its notification, which stayed claimed and told to nobody.
    select array_agg(n.notification_id) into taken
    from public.queue_notifications_claim(null, null, p_worker, p_limit, moment, p_lease_seconds) as n;
    select
        coalesce(
            json_agg(
                json_build_object(
                    'notification_id', n.notification_id, 'job_id', n.job_id, 'operator', n.tenant, 'reason', n.reason,
                    'attempt', n.attempt, 'lease_token', n.lease_token, 'created_at', n.created_at)
                order by n.notification_id) filter (where public.awaits_decision(w.status)), '[]'),
        coalesce(
            json_agg(json_build_object('notification_id', n.notification_id, 'job_id', n.job_id))
                filter (where not public.awaits_decision(w.status)), '[]'),
        array_agg(n.notification_id) filter (where not public.awaits_decision(w.status)),
        array_agg(n.lease_token) filter (where not public.awaits_decision(w.status)),
        array_agg('withdrawn: the workload is ' || w.status) filter (where not public.awaits_decision(w.status))
    into claimed, withdrawn, withdrawn_ids, tokens, notes
    from public.workload_notifications n
    join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
    where n.notification_id = any (taken);
    if withdrawn_ids is not null then
        perform public.queue_notifications_complete(withdrawn_ids, tokens, notes);
    end if;
    return json_build_object('claimed', claimed, 'withdrawn', withdrawn, 'died', died);
end
$$;

-- p_leases: [{notification_id, lease_token}…]. Answers {"held": [notification_id…]}: those still held, now for longer.
create or replace function public.heartbeat_notifications(p_leases jsonb, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', public.queue_notifications_heartbeat(
        array_agg(lease.notification_id), array_agg(lease.lease_token),
        clock_timestamp() + make_interval(secs => p_lease_seconds)))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Gives unfinished work back at once and uncounted, as a worker that stops does. Answers {"released": n}.
create or replace function public.release_notifications(p_leases jsonb)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('released', public.queue_notifications_release(
        array_agg(lease.notification_id), array_agg(lease.lease_token)))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Gives back what the database's own trouble kept from being finished: uncounted, and due again after p_pause_seconds, so
-- that others come first. Answers {"given_back": n}.
create or replace function public.give_back_notifications(p_leases jsonb, p_pause_seconds double precision, p_reason text)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('given_back', public.queue_notifications_release(
        array_agg(lease.notification_id), array_agg(lease.lease_token), p_pause_seconds, p_reason))
    from jsonb_to_recordset(p_leases) as lease (notification_id bigint, lease_token bigint)
$$;

-- Tried again after 2, 4, 8, 16 … seconds, at most five minutes, or after p_retry_seconds, always give or take a quarter;
-- dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced", "run_at"}.
create or replace function public.fail_notification(
    p_notification_id bigint, p_lease_token bigint, p_error text, p_retry_seconds double precision default null)
returns json
language sql
set search_path = ''
as $$
    select json_build_object(
        'state', case failed.work_state when 'discarded' then 'dead' when 'retryable' then 'retry' else 'fenced' end,
        'run_at', case when failed.work_state = 'retryable' then failed.scheduled_at end)
    from public.queue_notifications_fail(
        p_notification_id, p_lease_token, p_error, coalesce(p_retry_seconds, 2), coalesce(p_retry_seconds, 300)) as failed
$$;

-- An operator's call: dead notifications, all or the given ones, get all their attempts again. Answers {"requeued": n}.
create or replace function public.requeue_dead(p_notification_ids jsonb default null)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('requeued', public.queue_notifications_requeue(
        case
            when p_notification_ids is not null
                then array(select id::bigint from jsonb_array_elements_text(p_notification_ids) as id) end))
$$;

-- What a waiting workload waits for, by its status: the lowest figure of the present half-hour and of the 48 hours from it,
-- over the places that could take it. The less, the easier: a carbon intensity where data centres are, a price, a stress,
-- and for PENDING, taken negative, the greatest free power of a data centre in MW, and how many of the half-hours' figures
-- are known. "centres" tells one set of data centres from another; their load, which moves all the time, is no part of it.
create or replace function public.waiting_prospects(p_now timestamptz)
returns table (status text, lowest_now double precision, lowest_ahead double precision, centres text)
language sql
stable
set search_path = ''
as $$
    with active as materialized (
        select d.* from public.data_centres d where d.status = 'ACTIVE'
    ),
    fleet as (
        select coalesce(encode(sha256(convert_to(json_agg(json_build_array(
            d.dc_id, d.region_id, d.pue, d.total_capacity_mw, d.total_capacity_teraflops, d.flexibility_rating)
            order by d.dc_id)::text, 'UTF8')), 'hex'), '') as centres
        from active d
    ),
    slots as (
        select public.half_hour_of(p_now) as first, public.half_hour_of(p_now) + interval '48 hours' as after_last
    ),
    national as (
        select
            min(g.wholesale_price_gbp_mwh) filter (where g.timestamp = slots.first) as price_now,
            min(g.wholesale_price_gbp_mwh) as price_ahead,
            min(g.grid_stress_score) filter (where g.timestamp = slots.first) as stress_now,
            min(g.grid_stress_score) as stress_ahead,
            count(g.wholesale_price_gbp_mwh) as known
        from slots
        join public.grid_signals g on g.timestamp >= slots.first and g.timestamp < slots.after_last
    ),
    regional as (
        select
            min(s.carbon_intensity_forecast) filter (where s.timestamp = slots.first) as carbon_now,
            min(s.carbon_intensity_forecast) as carbon_ahead,
            count(s.carbon_intensity_forecast) as known
        from slots
        join (select distinct region_id from active) as sited on true
        join public.regional_grid_signals s
            on s.region_id = sited.region_id and s.timestamp >= slots.first and s.timestamp < slots.after_last
    ),
    room as (
        select -max(d.total_capacity_mw * (100 - d.current_load_percentage) / 100) as taken_negative from active d
    )
    select prospect.status, prospect.lowest_now, prospect.lowest_ahead, fleet.centres
    from national, regional, room, fleet
    cross join lateral (values
        ('DEFERRED_CARBON', regional.carbon_now, regional.carbon_ahead),
        ('DEFERRED_PRICE', national.price_now, national.price_ahead),
        ('DEFERRED_GRID_STRESS', national.stress_now, national.stress_ahead),
        ('PENDING', room.taken_negative, -(national.known + regional.known))) as prospect (status, lowest_now, lowest_ahead)
$$;

-- After a pipeline run: the workloads that were decided and found no place ask again, each after a pause that doubles from
-- half an hour to a day. One asks at once where something is better than at any of its questions before: other data
-- centres, or less of what it waits for (waiting_prospects). It ends at its deadline or, without one, when it has waited
-- for a week, or for its deferral window if that is longer: then it has failed. A workload with an open notification
-- (dead ones count: they wait for an operator) is left alone. Answers {"reconsidered": [job_id…], "failed": [job_id…]}.
create or replace function public.reconsider_deferred(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    longest_wait constant interval := interval '7 days';
    longest_pause constant interval := interval '1 day';
    -- A run is not on the minute: a question that is due within a few minutes is due.
    leeway constant interval := interval '5 minutes';
    overdue json;
    renewed json;
begin
    perform public.expire_bookings(p_now);
    delete from public.workload_reconsiderations r
    using public.compute_workloads w
    where (w.tenant, w.job_id) = (r.tenant, r.job_id) and not public.awaits_decision(w.status);
    -- One that waits for something else since its last question has met nothing easier of that yet.
    update public.workload_reconsiderations r
    set status = w.status, lowest_now = p.lowest_now, lowest_ahead = p.lowest_ahead
    from public.compute_workloads w, public.waiting_prospects(p_now) as p
    where (w.tenant, w.job_id) = (r.tenant, r.job_id) and r.status <> w.status and p.status = w.status;

    with waiting as materialized (
        select
            w.tenant, w.job_id, w.deadline,
            trim_scale(round(extract(epoch from patience.longest) / 86400, 1)) as longest_days
        from public.compute_workloads w
        cross join lateral (
            select greatest(longest_wait, make_interval(mins => coalesce(w.deferral_window_mins, 0))) as longest
        ) as patience
        left join public.workload_reconsiderations r on (r.tenant, r.job_id) = (w.tenant, w.job_id)
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and case
                when w.deadline is not null then w.deadline <= p_now
                else r.waiting_since + patience.longest <= p_now
            end
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
        order by w.tenant, w.job_id
        for update of w skip locked
    ),
    failed as (
        update public.compute_workloads w
        set status = 'FAILED',
            status_reason = case
                when waiting.deadline is not null then 'No data centre could take it before its deadline.'
                else 'No data centre could take it in the ' || waiting.longest_days || ' days that it may wait.'
            end || coalesce(' ' || w.status_reason, '')
        from waiting
        where (w.tenant, w.job_id) = (waiting.tenant, waiting.job_id)
        returning w.job_id
    )
    select coalesce(json_agg(failed.job_id order by failed.job_id), '[]') into overdue from failed;

    with waiting as materialized (
        select
            w.tenant, w.job_id, w.status, p.centres, p.lowest_now, p.lowest_ahead,
            r.lowest_now as lowest_before, r.lowest_ahead as lowest_ahead_before, r.centres as centres_before,
            r.ask_again_at
        from public.compute_workloads w
        join public.waiting_prospects(p_now) as p on p.status = w.status
        left join public.workload_reconsiderations r on (r.tenant, r.job_id) = (w.tenant, w.job_id)
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and (w.deadline is null or w.deadline > p_now)
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
    ),
    due as (
        select waiting.*
        from waiting
        where ask_again_at is null
            or ask_again_at <= p_now + leeway
            or ask_again_at > p_now + longest_pause -- written by a clock that was ahead
            or centres is distinct from centres_before
            or lowest_now < coalesce(lowest_before, 'infinity')
            or lowest_ahead < coalesce(lowest_ahead_before, 'infinity')
        order by job_id
    ),
    asked as (
        -- Two runs at once meet in the unique index on open notifications, and one of them asks.
        insert into public.workload_notifications (tenant, job_id, reason)
        select due.tenant, due.job_id, 'reconsidered' from due
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing
        returning tenant, job_id
    ),
    noted as (
        insert into public.workload_reconsiderations as r (
            tenant, job_id, status, asked, waiting_since, ask_again_at, centres, lowest_now, lowest_ahead)
        select
            due.tenant, due.job_id, due.status, 1, p_now, p_now + interval '30 minutes', due.centres, due.lowest_now, due.lowest_ahead
        from due
        join asked on (asked.tenant, asked.job_id) = (due.tenant, due.job_id)
        order by due.tenant, due.job_id
        on conflict (tenant, job_id) do update set
            status = excluded.status,
            asked = r.asked + 1,
            ask_again_at = p_now + least(longest_pause, interval '30 minutes' * power(2, least(r.asked, 10))),
            centres = excluded.centres,
            lowest_now = least(r.lowest_now, excluded.lowest_now),
            lowest_ahead = least(r.lowest_ahead, excluded.lowest_ahead)
    )
    select coalesce(json_agg(asked.job_id order by asked.job_id), '[]') into renewed from asked;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('reconsidered', renewed, 'failed', overdue);
end
$$;

-- depth: notifications that wait, retries not yet due and expired leases included. overdue_seconds: for how long the one
-- that is due first has been due, with nobody on it.
create or replace function public.queue_health()
returns json
language sql
stable
set search_path = ''
as $$
    with lease as (
        select
            count(*) filter (where n.leased_until >= clock_timestamp()) as live,
            count(*) filter (where n.leased_until < clock_timestamp()) as expired,
            min(n.created_at) filter (where n.leased_until < clock_timestamp()) as oldest_expired,
            min(n.leased_until + public.pause_after_lost_leases(n.lost_leases)) as first_due
        from public.workload_notifications n
        where n.work_state = 'running'
    ),
    waiting as (
        select count(*) as n, min(n.created_at) as oldest, min(n.scheduled_at) as first_due
        from public.workload_notifications n
        where n.work_state in ('available', 'retryable')
    )
    select json_build_object(
        'depth', waiting.n + lease.expired,
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - least(waiting.oldest, lease.oldest_expired)),
        'overdue_seconds',
            greatest(0, extract(epoch from clock_timestamp() - least(waiting.first_due, lease.first_due))),
        'in_flight', lease.live,
        'dead', (select count(*) from public.workload_notifications n where n.work_state = 'discarded'))
    from waiting, lease
$$;

-- Writes a row, for health pages. What the database says when it cannot is the answer; else {"state": "written"}.
create or replace function public.probe_write()
returns json
language plpgsql
set search_path = ''
as $$
begin
    insert into public.write_probe as p (written_at) values (clock_timestamp())
    on conflict (only_row) do update set written_at = excluded.written_at
    where p.written_at < excluded.written_at - interval '2 seconds' or p.written_at > excluded.written_at;
    return json_build_object('state', 'written');
end
$$;

-- What a kilowatt is worth ------------------------------------------------------------------------------------------------

-- The work that prices of capacity are planned from, where they are to be planned: after a pipeline run, and at most every five
-- minutes where something has been decided or changed since. Null where nothing is to be planned, else {"slot", "newest_event",
-- "held": [{operator, job_id, dc_id, starts_at, ends_at, it_power_kw}…] (promised by a decision and not begun: it could be
-- elsewhere), "contexts": decision_contexts of that work and of what waits for a place}. What waits comes first, then what holds
-- most power, as many as are planned within seconds.
create or replace function public.work_to_price(p_now timestamptz)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    run timestamptz;
    known public.capacity_prices;
    event bigint;
    most integer;
    waiting jsonb;
    held jsonb;
begin
    select max(r.slot) into run
    from public.pipeline_runs r
    where r.slot between public.half_hour_of(p_now) - interval '30 minutes' and public.half_hour_of(p_now)
        and r.state in ('succeeded', 'partial');
    if run is null then
        return null;
    end if;
    select * into known from public.capacity_prices p where p.slot = run;
    select coalesce(max(e.newest), 0) into event from public.event_numbers e;
    if known.slot is not null and (known.newest_event = event or known.planned_at > p_now - interval '5 minutes') then
        return null;
    end if;

    select least(200, 20000 / greatest(1, count(*))) into most from public.data_centres d where d.status <> 'OFFLINE';
    select coalesce(jsonb_agg(jsonb_build_object('operator', one.tenant, 'job_id', one.job_id)), '[]') into waiting
    from (
        select w.tenant, w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE') and not public.has_place(w)
        order by w.created_at, w.tenant, w.job_id
        limit most) as one;
    select coalesce(jsonb_agg(one), '[]') into held
    from (
        select
            b.tenant as operator, b.job_id, b.dc_id, b.starts_at, b.ends_at, b.it_power_kw::double precision as it_power_kw
        from public.capacity_bookings b
        where b.state = 'HELD' and b.source = 'decision' and b.carried_out_by in ('simulation', 'runner') and b.starts_at > p_now
        order by b.it_power_kw desc, b.booking_id
        limit most - jsonb_array_length(waiting)) as one;
    return json_build_object(
        'slot', run,
        'newest_event', event,
        'held', held,
        'contexts', public.decision_contexts(
            waiting || coalesce((
                select jsonb_agg(jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(held) as one), '[]'),
            p_now));
end
$$;

-- Keeps the prices of a run in place of those it had, if they are not older, and forgets those of the day before. Answers
-- {"state": "stored" | "late"}.
create or replace function public.store_capacity_prices(p_prices jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.capacity_prices as p (
        slot, planned_at, newest_event, starts_at, half_hours, workloads, left_out, method, gbp_per_kw)
    select
        r.slot, r.planned_at, r.newest_event, r.starts_at, r.half_hours, r.workloads, r.left_out, r.method, r.gbp_per_kw
    from jsonb_to_record(p_prices) as r (
        slot timestamptz, planned_at timestamptz, newest_event bigint, starts_at timestamptz, half_hours integer,
        workloads integer, left_out integer, method text, gbp_per_kw jsonb)
    where exists (select from public.pipeline_runs run where run.slot = r.slot)
    on conflict (slot) do update
    set planned_at = excluded.planned_at, newest_event = excluded.newest_event, starts_at = excluded.starts_at,
        half_hours = excluded.half_hours, workloads = excluded.workloads, left_out = excluded.left_out,
        method = excluded.method, gbp_per_kw = excluded.gbp_per_kw
    where p.planned_at <= excluded.planned_at;
    get diagnostics stored = row_count;
    delete from public.capacity_prices p where p.slot < (p_prices ->> 'slot')::timestamptz - interval '1 day';
    return json_build_object('state', case stored when 0 then 'late' else 'stored' end);
end
$$;

-- The decision context ---------------------------------------------------------------------------------------------------

-- The data centres whose runners offer a template: [dc_id…]. One that no runner offers any more is run nowhere.
create or replace function public.places_that_run(p_template text)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(distinct d.dc_id), '[]')
    from public.runners r
    join public.data_centres d on d.dc_id = r.dc_id and d.execution = 'runner'
    where r.templates ? p_template
$$;

-- Several workloads, by job_id or as {"operator", "job_id"}, and the one grid they are decided on: {"grid": {as_of, national,
-- regional, data_centres, generation_mix, summary}, "grid_version", "capacity": what is free at each data centre
-- (capacity_at), "tasks": [{context_id, task}…]} in the order asked for. A decision context is the grid, the capacity and one
-- task's two keys. The grid is null where its version is p_known_grid: whoever asks has it, but for as_of, which is p_now.
create or replace function public.decision_contexts(
    p_job_ids jsonb, p_now timestamptz, p_known_grid text default null)
returns json
language plpgsql -- which plans it once a session, and not once a call
volatile
set search_path = ''
set plan_cache_mode = 'force_generic_plan'
as $$
begin
    return (
        with present as materialized (
            select public.grid_version(p_now) as version
        )
        select json_build_object(
            'grid_version', present.version,
            'grid', case when present.version is distinct from p_known_grid then public.grid_context(p_now) end,
            'capacity', public.capacity_at(p_now),
            'tasks', coalesce((
                select json_agg(json_build_object(
                    'context_id', gen_random_uuid(),
                    'task', json_build_object(
                        'job_id', w.job_id, 'operator', w.operator, 'host_dc_id', w.host_dc_id, 'workload_type', w.workload_type,
                        'urgency', w.urgency, 'required_gpu_mins', w.required_gpu_mins,
                        'required_cpu_cores', w.required_cpu_cores, 'required_memory_gb', w.required_memory_gb,
                        'estimated_energy_kwh', w.estimated_energy_kwh, 'carbon_cap_gco2', w.carbon_cap_gco2,
                        'max_price_gbp', w.max_price_gbp, 'deadline', w.deadline,
                        'deferral_window_mins', w.deferral_window_mins, 'status', w.status, 'created_at', w.created_at,
                        'runs_at', case
                            when w.run is not null then public.places_that_run(w.run ->> 'template')
                            -- Asked once: it is the same for all that are simulated. Null where nothing is run by runners.
                            else (
                                select case when bool_or(d.execution = 'runner')
                                    then json_agg(d.dc_id order by d.dc_id) filter (where d.execution <> 'runner') end
                                from public.data_centres d) end))
                    order by asked.position)
                from jsonb_array_elements(p_job_ids) with ordinality as asked (workload, position)
                -- In two halves, each of which an index answers: a condition of either kind would have every workload read.
                cross join lateral (
                    select named.*
                    from public.compute_workloads named
                    where jsonb_typeof(asked.workload) = 'object'
                        and (named.tenant, named.job_id) = (asked.workload ->> 'operator', asked.workload ->> 'job_id')
                    union all
                    -- A bare name that several tenants have is nobody's.
                    select bare.*
                    from public.compute_workloads bare
                    where jsonb_typeof(asked.workload) <> 'object' and bare.job_id = asked.workload #>> '{}'
                        and not exists (
                            select from public.compute_workloads other
                            where other.job_id = bare.job_id and other.tenant <> bare.tenant)
                ) as w), '[]'))
        from present);
end
$$;

-- The grid and what is free, without a workload: {"grid_version", "grid" (null where its version is p_known_grid), "capacity"}.
create or replace function public.present_grid(p_now timestamptz, p_known_grid text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        with present as materialized (
            select public.grid_version(p_now) as version
        )
        select json_build_object(
            'grid_version', present.version,
            'grid', case when present.version is distinct from p_known_grid then public.grid_context(p_now) end,
            'capacity', public.capacity_at(p_now))
        from present);
end
$$;

-- Whether there is anything to decide from at p_now: {"data_centres": one at least that is not OFFLINE, "signals": the
-- present half-hour is stored}. Before the first pipeline run there is neither, and a decision would have no options.
create or replace function public.decision_readiness(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'data_centres', exists (select from public.data_centres d where d.status <> 'OFFLINE'),
        'signals', exists (select from public.grid_signals g where g.timestamp = public.half_hour_of(p_now)))
$$;

-- The context of one workload, whole: what a decision made at p_now would be made from. Null for an unknown job_id.
create or replace function public.decision_context(p_job_id text, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select (
        (contexts.document -> 'grid')::jsonb || jsonb_build_object('capacity', contexts.document -> 'capacity')
        || (contexts.document -> 'tasks' -> 0)::jsonb)::json
    from (select public.decision_contexts(jsonb_build_array(p_job_id), p_now) as document) as contexts
$$;

-- Shows the context that a model is thinking about. Answers {"state": "noted" | "fenced"}.
create or replace function public.note_context(p_notification_id bigint, p_lease_token bigint, p_context jsonb)
returns json
language sql
set search_path = ''
as $$
    with noted as (
        update public.workload_notifications n
        set context = p_context
        where n.notification_id = p_notification_id and n.lease_token = p_lease_token and n.work_state = 'running'
        returning n.notification_id
    )
    select json_build_object('state', case when exists (select from noted) then 'noted' else 'fenced' end)
$$;


-- Whether anything has changed -----------------------------------------------------------------------------------------------

-- Tells what the statement sees from what one before it saw, without reading a table: the same text means that no
-- transaction that writes anything anywhere has ended in between, so whatever is read is the same, row for row. Not the other
-- way round. Null where a snapshot does not say all: on a standby. The server's start tells one server from another.
create or replace function public.data_version()
returns json
language sql
stable
set search_path = ''
as $$
    select case when not pg_catalog.pg_is_in_recovery() then to_json(
        extract(epoch from pg_catalog.pg_postmaster_start_time())::text || '/' || pg_catalog.pg_current_snapshot()::text) end
$$;

-- As present_grid, of which nothing is read where the data are those of p_known_data: {"data_version", "present": null}. They
-- are to be of the same half-hour.
create or replace function public.present_grid_unless(
    p_now timestamptz, p_known_grid text default null, p_known_data text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    version constant text := public.data_version() #>> '{}';
begin
    return json_build_object('data_version', version, 'present', case
        when version is distinct from p_known_data or version is null then public.present_grid(p_now, p_known_grid) end);
end
$$;

-- The log of events --------------------------------------------------------------------------------------------------------
--
-- Every event has the next number of all. One of a tenant's has the next of its tenant as well. One of nobody's that is
-- everybody's (grid, sources, data centres) takes a number in every tenant's count without writing it down anywhere: such
-- events are counted, each row knows how many there had been, and a tenant's number of one is what its own events before
-- and everybody's up to there come to.

-- How many of everybody's events there have been.
create or replace function public.everybodys_events()
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(max(e.everybodys), 0) from public.event_numbers e
$$;

-- The newest number in a tenant's count, for whoever has the publishing lock. Counted on from the greatest that was ever
-- given: the log may have been pruned, emptied or restored. Who has had no event of its own has had everybody's.
create or replace function public.newest_of_tenant(p_tenant text, p_everybodys bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(greatest(
        (select max(b.tenant_sequence) from public.broadcast_log b where b.tenant = p_tenant),
        (select max(o.tenant_sequence) from public.orchestration_decisions o where o.tenant = p_tenant),
        (select t.newest + p_everybodys - t.everybodys from public.tenant_numbers t where t.tenant = p_tenant)), p_everybodys)
$$;

-- The topics that are asked for, a JSON list: decisions alone where nothing is.
create or replace function public.chosen_topics(p_topics jsonb)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select case
        when p_topics is null then '{decisions}'::text[]
        else array(select jsonb_array_elements_text(p_topics)) end
$$;

-- What fits into some four hundred bytes of an event: its plain members, the telling ones first, long texts cut.
create or replace function public.event_summary(p_event jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    with members as (
        select
            member.key,
            case jsonb_typeof(member.value)
                when 'string' then to_jsonb(left(member.value #>> '{}', 120)) else member.value end as value,
            coalesce(array_position(
                array[
                    'job_id', 'order_id', 'negotiation_id', 'slot', 'source', 'dc_id', 'status', 'state', 'starts_at', 'ends_at',
                    'reason', 'status_reason'],
                member.key), 99) as place
        from jsonb_each(p_event) as member
        where jsonb_typeof(member.value) not in ('object', 'array', 'null')
    ),
    counted as (
        select m.key, m.value, sum(octet_length(m.key) + octet_length(m.value::text) + 6) over (order by m.place, m.key) as bytes
        from members m
    )
    select coalesce(jsonb_object_agg(c.key, c.value), '{}') from counted c where c.bytes <= 480
$$;

-- Writes an event beside the decisions, with the next number of all and the next of its tenant. Without a tenant, one of the
-- grid, of sources or of data centres is everybody's. It takes the publishing lock, which is held until the transaction ends: call it last. p_subject: what it is
-- about, where that is no workload. p_summary: a few hundred bytes of it; made of the event's own members without one.
-- Answers the event's number.
create or replace function public.log_event(
    p_tenant text, p_event_type text, p_job_id text, p_event jsonb, p_subject text default null,
    p_summary jsonb default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    number bigint;
    number_of_tenant bigint;
    is_everybodys constant boolean := p_tenant is null and p_event_type ~ '^(grid|source|data_centre)\.';
    everybodys bigint;
begin
    -- One publisher at a time from here to its commit, so that numbers have no gap (see publish_decisions, which counts alike).
    perform pg_advisory_xact_lock(7263812);
    number := 1 + coalesce(greatest(
        (select max(b.sequence) from public.broadcast_log b),
        (select max(o.sequence) from public.orchestration_decisions o),
        (select e.newest from public.event_numbers e)), 0);
    everybodys := public.everybodys_events() + is_everybodys::integer;
    insert into public.event_numbers as e (newest, everybodys) values (number, everybodys)
    on conflict (only_row) do update set newest = excluded.newest, everybodys = excluded.everybodys;
    if p_tenant is not null then
        number_of_tenant := 1 + public.newest_of_tenant(p_tenant, everybodys);
        insert into public.tenant_numbers (tenant, newest, everybodys) values (p_tenant, number_of_tenant, everybodys)
        on conflict (tenant) do update set newest = excluded.newest, everybodys = excluded.everybodys;
    end if;
    insert into public.broadcast_log (
        sequence, tenant, tenant_sequence, event_type, job_id, subject, event, summary, is_everybodys, everybodys)
    values (
        number, p_tenant, number_of_tenant, p_event_type, p_job_id, coalesce(p_subject, p_job_id), p_event,
        coalesce(p_summary, public.event_summary(p_event)), is_everybodys, everybodys);
    perform pg_notify('broadcast', number::text);
    return number;
end
$$;


-- Publishing -------------------------------------------------------------------------------------------------------------

-- The decisions of p_agent_id on one grid, each whole or not at all: the audit row, the next sequence number, the
-- event, the workload's new status and the end of the notification, in this one transaction.
--
-- p_grid: the grid the decisions were made on. p_decisions: [{notification_id, lease_token, context (what the grid
-- lacks: context_id, task, settings), output, chosen_dc_id, recommended_start, workload_status, status_reason, scorer,
-- model, scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, token_usage}…].
-- output is the document's text, as a JSON string, and is stored as it is written (a document itself is taken as well).
-- p_skip_unchanged: what was asked again and is answered as before (no place, the same status, the same constraints
-- broken at the same data centres) is no new decision: the notification ends with a note, and the workload's reason is
-- brought up to date. A decision that places its workload may carry "booking": {starts_at, ends_at, it_power_kw, run_now}:
-- its power is taken in this transaction, one decision after the other in the order given. One without comes from a program
-- that books nothing: what it takes is read from its output. Answers {"results": [{notification_id, job_id, state,
-- sequence}…], "grid_digest": of the grid, where something was published}; state is published, unchanged, already (a repeated call), fenced (the lease was lost: nothing is stored),
-- withdrawn (the workload no longer waits, or has its place: closed without a decision) or displaced (its power has gone
-- meanwhile: nothing is stored, and the notification can be claimed again at once, uncounted). A program that books nothing
-- knows no displaced: it is told fenced, and the notification waits for a minute.
-- p_grid_version: the version of that grid, as it was read. Where the database holds another one by now, nothing is stored,
-- the leases stay, and the state is outdated: the decisions are to be made again. Without it nobody looks.
-- p_grid_digest: what an earlier call with this grid answered as "grid_digest". Then p_grid needs to hold no more than as_of: a
-- grid is a hundred times as long as a decision. Where no grid of this digest is stored nothing is done, and "results" is null:
-- call again with the grid.
create or replace function public.publish_decisions(
    p_agent_id text, p_grid jsonb, p_decisions jsonb, p_skip_unchanged boolean default false,
    p_grid_version text default null, p_grid_digest text default null)
returns json
language plpgsql
set search_path = ''
-- Everything here is found by its key, however large the tables are and whatever is known of their size. So each statement is
-- planned once a session: planned at every call, the plans would take longer than the rest of a single decision.
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    offered_ids bigint[];
    outdated bigint[] := '{}';
    publishable bigint[];
    withdrawn bigint[];
    unchanged bigint[] := '{}';
    asked jsonb;
    displaced bigint[] := '{}';
    displaced_unaware bigint[] := '{}';
    shared_grid jsonb; -- null where it is stored already
    shared_digest text := p_grid_digest;
    own_moment jsonb := case when p_grid ? 'as_of' then jsonb_build_object('as_of', p_grid -> 'as_of') else '{}' end;
    head bigint;
    everybodys_head bigint;
    tenant_heads jsonb;
    results json;
begin
    if p_grid_digest is null then
        shared_grid := p_grid - 'as_of';
        shared_digest := encode(sha256(convert_to(shared_grid::text, 'UTF8')), 'hex');
    elsif not exists (select from public.decision_grids g where g.digest = p_grid_digest) then
        return json_build_object('results', null, 'grid_digest', null);
    end if;
    -- The data centres first, as whoever takes power: two transactions take their locks in one order.
    perform from public.data_centres d
    where d.dc_id in (
        select r.chosen_dc_id
        from jsonb_to_recordset(p_decisions) as r (chosen_dc_id text, workload_status text)
        where r.workload_status = 'QUEUED')
    order by d.dc_id
    for no key update;
    select array_agg(locked.notification_id) into offered_ids
    from (
        select n.notification_id
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
        join public.workload_notifications n
            on n.notification_id = d.notification_id and n.lease_token = d.lease_token and n.work_state = 'running'
        order by n.notification_id
        for update of n) as locked;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select n.tenant, n.job_id from public.workload_notifications n where n.notification_id = any (offered_ids))
    order by w.tenant, w.job_id
    for no key update;

    -- After every wait but that of the publishers for each other, so that no decision rests on less than what is known.
    if p_grid_version is not null and p_grid_version <> public.grid_version((p_grid ->> 'as_of')::timestamptz) then
        outdated := offered_ids;
        offered_ids := '{}';
    end if;

    -- Now that nobody can change them: which of the workloads still wait. One that holds power waits for its start.
    select
        coalesce(array_agg(offered.notification_id) filter (where offered.waits), '{}'),
        coalesce(array_agg(offered.notification_id) filter (where not offered.waits), '{}')
    into publishable, withdrawn
    from (
        select
            n.notification_id,
            public.awaits_decision(w.status) and not exists (
                select
                from public.capacity_bookings b
                where (b.tenant, b.job_id) = (n.tenant, n.job_id) and b.state in ('HELD', 'RUNNING')) as waits
        from public.workload_notifications n
        join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
        where n.notification_id = any (offered_ids)) as offered;

    if p_skip_unchanged then
        select coalesce(array_agg(d.notification_id), '{}') into unchanged
        from jsonb_to_recordset(p_decisions) as d (
            notification_id bigint, chosen_dc_id text, workload_status text, scorer_version text,
            constraints_evaluated jsonb)
        join public.workload_notifications n on n.notification_id = d.notification_id and n.reason = 'reconsidered'
        join public.compute_workloads w
            on (w.tenant, w.job_id) = (n.tenant, n.job_id) and w.status = d.workload_status
        cross join lateral (
            select o.*
            from public.orchestration_decisions o
            where (o.tenant, o.job_id) = (n.tenant, n.job_id)
            order by o.decided_at desc, o.sequence desc
            limit 1) as last
        where d.notification_id = any (publishable)
            and d.chosen_dc_id is null and last.chosen_dc_id is null
            and d.scorer_version = last.scorer_version
            and coalesce(d.constraints_evaluated, '[]') @> last.constraints_evaluated
            and last.constraints_evaluated @> coalesce(d.constraints_evaluated, '[]');

        update public.compute_workloads w
        set status_reason = d.status_reason
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, status_reason text)
        join public.workload_notifications n on n.notification_id = d.notification_id
        where d.notification_id = any (unchanged) and (w.tenant, w.job_id) = (n.tenant, n.job_id)
            and w.status_reason is distinct from d.status_reason;
        publishable := array(select id from unnest(publishable) as id where id <> all (unchanged));
    end if;

    select jsonb_agg(
        wanted.booking || jsonb_build_object(
            'notification_id', n.notification_id, 'tenant', n.tenant, 'job_id', n.job_id, 'dc_id', c.dc_id,
            'carried_out_by', public.carried_out_by(c), 'books_itself', d.booking is not null)
        order by d.place)
    into asked
    from rows from (jsonb_to_recordset(p_decisions) as (
        notification_id bigint, chosen_dc_id text, workload_status text, booking jsonb)) with ordinality
        as d (notification_id, chosen_dc_id, workload_status, booking, place)
    join public.workload_notifications n on n.notification_id = d.notification_id
    join public.data_centres c on c.dc_id = d.chosen_dc_id
    cross join lateral (select coalesce(
            d.booking, public.booking_of_output(p_decisions -> (d.place - 1)::integer -> 'output')) as booking) as wanted
    where d.notification_id = any (publishable) and d.workload_status = 'QUEUED' and wanted.booking is not null;
    if asked is not null then
        displaced := public.book_decisions(asked);
    end if;
    if cardinality(displaced) > 0 then
        select coalesce(array_agg(a.notification_id), '{}') into displaced_unaware
        from jsonb_to_recordset(asked) as a (notification_id bigint, books_itself boolean)
        where a.notification_id = any (displaced) and not a.books_itself;
        publishable := array(select id from unnest(publishable) as id where id <> all (displaced));
        offered_ids := array(select id from unnest(offered_ids) as id where id <> all (displaced));
        perform public.queue_notifications_release(
            array_agg(d.notification_id), array_agg(d.lease_token), paused.seconds, 'the power it was given has gone')
        from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
        cross join lateral (
            select case when d.notification_id = any (displaced_unaware) then 60 else 0 end as seconds) as paused
        where d.notification_id = any (displaced)
        group by paused.seconds;
    end if;

    if cardinality(publishable) > 0 then
        if shared_grid is not null then
            insert into public.decision_grids (digest, grid) values (shared_digest, shared_grid)
            on conflict (digest) do nothing;
        end if;

        -- One publisher at a time from here to its commit, so that numbers have no gap and a reader never sees a
        -- higher one before a lower. Read in a statement of its own, which sees what the one before committed.
        perform pg_advisory_xact_lock(7263812);
        -- Counted on from the greatest number that was ever given: the log may have been pruned, emptied or restored.
        select coalesce(greatest(
            (select max(b.sequence) from public.broadcast_log b),
            (select max(o.sequence) from public.orchestration_decisions o),
            (select e.newest from public.event_numbers e)), 0)
        into head;
        everybodys_head := public.everybodys_events();
        insert into public.event_numbers as e (newest) values (head + cardinality(publishable))
        on conflict (only_row) do update set newest = excluded.newest;
        -- And so for each tenant, under the same lock.
        with heads as materialized (
            select of_tenant.tenant, of_tenant.amount, public.newest_of_tenant(of_tenant.tenant, everybodys_head) as head
            from (
                select n.tenant, count(*) as amount
                from public.workload_notifications n
                where n.notification_id = any (publishable)
                group by n.tenant) as of_tenant
        ),
        counted as (
            insert into public.tenant_numbers (tenant, newest, everybodys)
            select h.tenant, h.head + h.amount, everybodys_head from heads h order by h.tenant
            on conflict (tenant) do update set newest = excluded.newest, everybodys = excluded.everybodys
        )
        select jsonb_object_agg(h.tenant, h.head) into tenant_heads from heads h;

        -- The documents are in no row that is read twice: they are most of the bytes.
        with told as materialized (
            select d.*
            from jsonb_to_recordset(p_decisions) as d (
                notification_id bigint, workload_status text, status_reason text, summary jsonb)
            where d.notification_id = any (publishable)
        ),
        audited as (
            insert into public.orchestration_decisions (
                notification_id, sequence, tenant, tenant_sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer,
                model, scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, context,
                output, token_usage, grid_digest)
            select
                d.notification_id, d.sequence, d.tenant, d.tenant_sequence, d.job_id, a.agent_id, d.chosen_dc_id,
                d.recommended_start, d.scorer, d.model, d.scorer_version, d.fallback_reason, d.reasoning, coalesce(d.constraints_evaluated, '[]'),
                coalesce(d.alternatives_considered, '[]'), own_moment || d.context,
                public.numbered_output(d.output, d.sequence), d.token_usage, shared_digest
            from (
                select
                    head + row_number() over (order by d.notification_id) as sequence,
                    (tenant_heads ->> n.tenant)::bigint
                        + row_number() over (partition by n.tenant order by d.notification_id) as tenant_sequence,
                    n.tenant,
                    n.job_id,
                    d.*
                from jsonb_to_recordset(p_decisions) as d (
                    notification_id bigint, context jsonb, output jsonb, chosen_dc_id text, recommended_start timestamptz,
                    scorer text, model text, scorer_version text, fallback_reason text, reasoning text,
                    constraints_evaluated jsonb, alternatives_considered jsonb, token_usage jsonb)
                join public.workload_notifications n on n.notification_id = d.notification_id
                where d.notification_id = any (publishable)) as d
            left join public.agents a on a.agent_id = p_agent_id
            returning
                decision_id, notification_id, sequence, tenant, tenant_sequence, job_id, chosen_dc_id, recommended_start, scorer
        ),
        logged as (
            -- The output is stored once, in the audit log; events_after joins the two.
            insert into public.broadcast_log (
                sequence, tenant, tenant_sequence, event_type, job_id, notification_id, event, summary, everybodys)
            select
                a.sequence, a.tenant, a.tenant_sequence, 'decision', a.job_id, a.notification_id,
                json_build_object('decision_id', a.decision_id),
                -- Almost always short enough as it is, which takes a tenth of the time that cutting does.
                case
                    when d.status_reason is null and octet_length(summary.document::text) <= 480
                        and greatest(length(a.job_id), length(a.chosen_dc_id)) <= 120
                        then summary.document
                    else public.event_summary(summary.document) end,
                everybodys_head
            from audited a
            join told d on d.notification_id = a.notification_id
            cross join lateral (
                select jsonb_strip_nulls(jsonb_build_object(
                    'job_id', a.job_id, 'decision_id', a.decision_id, 'status', d.workload_status, 'dc_id', a.chosen_dc_id,
                    'starts_at', a.recommended_start, 'scorer', a.scorer, 'reason', d.status_reason)
                    || coalesce(d.summary, '{}')) as document) as summary
        )
        update public.compute_workloads w
        set status = d.workload_status,
            status_reason = d.status_reason,
            host_dc_id = case when d.workload_status = 'QUEUED' then a.chosen_dc_id else w.host_dc_id end,
            scheduled_start = case when d.workload_status = 'QUEUED' then a.recommended_start end
        from audited a
        join told d on d.notification_id = a.notification_id
        where (w.tenant, w.job_id) = (a.tenant, a.job_id);

        perform pg_notify('broadcast', (head + cardinality(publishable))::text);
    end if;

    perform public.queue_notifications_complete(
        array_agg(n.notification_id), array_agg(n.lease_token),
        array_agg(case
            when n.notification_id = any (withdrawn) then 'withdrawn: the workload is ' || w.status
            when n.notification_id = any (unchanged) then 'unchanged: the newest decision still stands' end))
    from public.workload_notifications n
    join public.compute_workloads w on (w.tenant, w.job_id) = (n.tenant, n.job_id)
    where n.notification_id = any (offered_ids);

    select coalesce(json_agg(json_build_object(
        'notification_id', d.notification_id,
        'job_id', n.job_id,
        'state', case
            when d.notification_id = any (publishable) then 'published'
            when d.notification_id = any (outdated) then 'outdated'
            when d.notification_id = any (displaced_unaware) then 'fenced'
            when d.notification_id = any (displaced) then 'displaced'
            when n.lease_token = d.lease_token and n.work_state = 'completed' and o.sequence is not null then 'already'
            when n.lease_token = d.lease_token and n.work_state = 'completed' and n.last_error like 'unchanged:%' then 'unchanged'
            when n.lease_token = d.lease_token and n.work_state = 'completed' then 'withdrawn'
            else 'fenced' end,
        'sequence', case when n.lease_token = d.lease_token then o.sequence end) order by d.notification_id), '[]')
    into results
    from jsonb_to_recordset(p_decisions) as d (notification_id bigint, lease_token bigint)
    left join public.workload_notifications n on n.notification_id = d.notification_id
    left join public.orchestration_decisions o on o.notification_id = d.notification_id;
    -- Told to whoever has stored it: one that published nothing has not.
    return json_build_object(
        'results', results, 'grid_digest', case when cardinality(publishable) > 0 then shared_digest end);
end
$$;

-- Events by cursor, oldest first, of some topics (without p_topics: decisions, as ever), of one workload where p_job_id is
-- given: {"events": [{sequence, event_type, topic, subject, job_id, created_at, event (whole; {} where p_detail is
-- 'summary'), summary, operator (the tenant), tenant_sequence (its number there), is_everybodys, everybodys (how many of
-- everybody's there had been)}…], "next" (the cursor to go on from), "oldest" (that the log holds), "newest" (that there
-- has ever been)}. Reading takes nothing from anyone else. Where the log no longer holds what follows p_after, "next" is
-- beyond it.
create or replace function public.events_after(
    p_after bigint, p_limit integer, p_topics jsonb default null, p_job_id text default null, p_detail text default 'full')
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select
            b.sequence, b.event_type, b.topic, coalesce(b.subject, b.job_id) as subject, b.job_id, b.created_at,
            case when p_detail = 'full' then coalesce(d.output, b.event::json) else '{}' end as event,
            coalesce(b.summary, public.event_summary(jsonb_build_object('job_id', b.job_id) || b.event)) as summary,
            b.tenant as operator, b.tenant_sequence, b.is_everybodys, b.everybodys
        from (
            select *
            from public.broadcast_log
            where sequence > p_after and topic = any (public.chosen_topics(p_topics))
                and (p_job_id is null or job_id = p_job_id)
            order by sequence
            limit p_limit) as b
        left join public.orchestration_decisions d on p_detail = 'full' and d.notification_id = b.notification_id
    ),
    ever as (
        select greatest(
            (select max(b.sequence) from public.broadcast_log b),
            (select max(o.sequence) from public.orchestration_decisions o),
            (select e.newest from public.event_numbers e)) as newest
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.sequence) from page), '[]'),
        'next', coalesce(
            (select max(page.sequence) from page),
            case when p_limit > 0 then greatest(p_after, ever.newest) end,
            p_after),
        'oldest', (select min(b.sequence) from public.broadcast_log b),
        'newest', ever.newest)
    from ever
$$;

-- Outputs by cursor, newest first: {"outputs": […], "next"}; "next" is null at the end.
create or replace function public.outputs_history(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select d.sequence, d.output
        from public.orchestration_decisions d
        where d.sequence < coalesce(p_after, 9223372036854775807)
        order by d.sequence desc
        limit p_limit
    ),
    ending as (
        select min(page.sequence) as sequence from page
    )
    select json_build_object(
        'outputs', coalesce((select json_agg(page.output order by page.sequence desc) from page), '[]'),
        'next', (
            select ending.sequence from ending
            where exists (select from public.orchestration_decisions d where d.sequence < ending.sequence)))
$$;

-- A task's newest output: {"sequence", "output"}, both null where there is none. The output alone is null where its
-- number is p_known: whoever asks again and again need not be sent again what it has.
create or replace function public.task_output(
    p_task_id text, p_known bigint default null, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, case when d.sequence is distinct from p_known then d.output end as output
        from public.orchestration_decisions d
        where d.job_id = p_task_id and (p_operator is null or d.tenant = p_operator)
        order by d.decided_at desc, d.sequence desc
        limit 1) as newest on true
$$;

-- The newest output that a consumer has not acknowledged: {"sequence", "output"}, both null where there is none. The
-- output alone is null where its number is p_known, as above.
create or replace function public.newest_unacknowledged_output(p_consumer text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        -- What is not acknowledged is a few ranges of numbers, however many outputs there are.
        from unnest(int8multirange(int8range(1, null)) - coalesce(
            (select c.acknowledged from public.output_consumers c where (c.tenant, c.consumer) = ('local', p_consumer)),
            '{}')) as missing
        cross join lateral (
            select
                candidate.sequence,
                case when candidate.sequence is distinct from p_known then candidate.output end as output
            from public.orchestration_decisions candidate
            where candidate.sequence >= lower(missing)
                and candidate.sequence < coalesce(upper(missing), 9223372036854775807)
            order by candidate.sequence desc
            limit 1) as d
        order by d.sequence desc
        limit 1) as newest on true
$$;

-- Acknowledges a task's outputs, up to p_sequence where it is given, so that one published meanwhile is not lost.
-- Answers {"known": whether the task has such an output, "cleared": whether one was unacknowledged until now}.
create or replace function public.acknowledge_output(
    p_consumer text, p_task_id text, p_sequence bigint default null, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    sequences int8multirange;
    changed text;
begin
    select range_agg(int8range(d.sequence, d.sequence, '[]')) into sequences
    from public.orchestration_decisions d
    where d.job_id = p_task_id and d.sequence <= coalesce(p_sequence, 9223372036854775807)
        and (p_operator is null or d.tenant = p_operator);
    if sequences is null then
        return json_build_object('known', false, 'cleared', false);
    end if;
    insert into public.output_consumers as c (tenant, consumer, acknowledged)
    values ('local', p_consumer, sequences)
    on conflict (tenant, consumer) do update set acknowledged = c.acknowledged + excluded.acknowledged
    where not c.acknowledged @> excluded.acknowledged
    returning c.consumer into changed;
    if changed is not null then
        perform pg_notify('acknowledged', p_consumer);
    end if;
    return json_build_object('known', true, 'cleared', changed is not null);
end
$$;

-- The context a model is thinking about, else the one of the newest decision; of one task where p_task_id is given.
-- {"state": "in_work" | "decided" | "none", "task_id", "context", "processed_by": [consumer…]}
create or replace function public.current_context(p_task_id text default null, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    with thinking as materialized (
        select 'in_work' as state, n.tenant, n.job_id, n.context
        from public.workload_notifications n
        where n.work_state = 'running' and n.context is not null and n.leased_until >= clock_timestamp()
            and (p_task_id is null or n.job_id = p_task_id) and (p_operator is null or n.tenant = p_operator)
        order by n.notification_id desc
        limit 1
    ),
    newest as (
        -- The two arms keep each search on its own index.
        (
            select 'decided' as state, d.tenant, d.job_id, d.context
            from public.audited_decisions d
            where p_task_id is null and d.sequence is not null and (p_operator is null or d.tenant = p_operator)
            order by d.sequence desc
            limit 1)
        union all
        (
            select 'decided', d.tenant, d.job_id, d.context
            from public.audited_decisions d
            where d.job_id = p_task_id and (p_operator is null or d.tenant = p_operator)
            order by d.decided_at desc, d.sequence desc
            limit 1)
    ),
    chosen as (
        select * from thinking
        union all
        select * from newest where not exists (select from thinking)
    )
    select json_build_object(
        'state', coalesce(chosen.state, 'none'),
        'task_id', chosen.job_id,
        'operator', chosen.tenant,
        'context', chosen.context,
        'processed_by', coalesce((
            select json_agg(p.consumer order by p.consumer)
            from public.processed_contexts p
            where (p.tenant, p.job_id) = (chosen.tenant, chosen.job_id)), '[]'))
    from (select 1) as always
    left join chosen on true
$$;

-- Notes that a consumer is done with the context of a task, or with the current one. Answers {"task_id"}, null where
-- there is no such context.
create or replace function public.mark_context_processed(
    p_consumer text, p_task_id text default null, p_operator text default null)
returns json
language sql
set search_path = ''
as $$
    with marked as (
        insert into public.processed_contexts (tenant, consumer, job_id)
        select current.document ->> 'operator', p_consumer, current.document ->> 'task_id'
        from (select public.current_context(p_task_id, p_operator) as document) as current
        where current.document ->> 'task_id' is not null
        on conflict (tenant, consumer, job_id) do update set processed_at = clock_timestamp()
        returning job_id
    )
    select json_build_object('task_id', (select job_id from marked))
$$;


-- The agents that decide -------------------------------------------------------------------------------------------------

-- Each state has the next number of its tenant's.
create or replace function public.number_agent_state()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    insert into public.tenant_numbers as t (tenant, newest_state) values (new.tenant, 1)
    on conflict (tenant) do update set newest_state = t.newest_state + 1
    returning t.newest_state into new.tenant_state_id;
    return new;
end
$$;

create or replace trigger number_agent_state -- after file_under_tenant: they are called in the order of their names
    before insert on public.agent_states
    for each row execute function public.number_agent_state();

-- An agent that starts: made, or made active again, with its state.
create or replace function public.register_agent(
    p_agent_id text, p_name text, p_agent_type text, p_version text, p_detail text)
returns json
language sql
set search_path = ''
as $$
    with registered as (
        insert into public.agents as a (agent_id, name, agent_type, version)
        values (p_agent_id, p_name, p_agent_type, p_version)
        on conflict (agent_id) do update set
            name = excluded.name, agent_type = excluded.agent_type, version = excluded.version, status = 'ACTIVE'
        returning a.tenant, a.agent_id
    ),
    noted as (
        insert into public.agent_states (tenant, agent_id, state, detail)
        select registered.tenant, registered.agent_id, 'STARTED', p_detail from registered
    )
    select json_build_object('agent_id', (select agent_id from registered))
$$;

-- A state that differs from the agent's last one; STOPPED also takes it off the list of active agents. Answers
-- {"recorded": whether it differed}.
create or replace function public.record_agent_state(p_agent_id text, p_state text, p_detail text default null)
returns json
language sql
set search_path = ''
as $$
    with noted as (
        insert into public.agent_states (tenant, agent_id, state, detail)
        select a.tenant, a.agent_id, p_state, p_detail
        from public.agents a
        where a.agent_id = p_agent_id
            and not exists (
                select
                from (
                    select s.state, s.detail
                    from public.agent_states s
                    where s.agent_id = p_agent_id
                    order by s.observed_at desc, s.state_id desc
                    limit 1) as last
                where (last.state, last.detail) is not distinct from (p_state, p_detail))
        returning agent_id
    ),
    activity as (
        update public.agents a
        set status = case when p_state = 'STOPPED' then 'STOPPED' else 'ACTIVE' end
        from noted
        where a.agent_id = noted.agent_id
    )
    select json_build_object('recorded', exists (select from noted))
$$;


-- Workloads that are cancelled, moved, or never started --------------------------------------------------------------------
--
-- Each gives its power back, tells it in the log of events, and lets those ask again that found no place.

-- Power has come free: workloads that were decided and found no place ask again, those that have waited longest first and a
-- few hundred at a time. Answers how many.
create or replace function public.let_waiting_ask_again()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    asked bigint;
begin
    insert into public.workload_notifications (tenant, job_id, reason)
    select longest.tenant, longest.job_id, 'reconsidered'
    from (
        select w.tenant, w.job_id
        from public.compute_workloads w
        where w.status in ('PENDING', 'DEFERRED_GRID_STRESS', 'DEFERRED_CARBON', 'DEFERRED_PRICE')
            and not exists (
                select from public.workload_notifications n
                where (n.tenant, n.job_id) = (w.tenant, w.job_id) and n.work_state <> 'completed')
            and not public.has_place(w)
        order by w.created_at
        limit 200) as longest
    order by longest.job_id, longest.tenant -- as reconsider_deferred, which may insert the same
    on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
    get diagnostics asked = row_count;
    if asked > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return asked;
end
$$;

-- A workload under the locks that whoever changes its place needs: the data centre of the booking that holds its power and,
-- where it is to go elsewhere, that one as well, in their order, then its notifications, itself and the booking. Null where
-- there is none of this name: of p_operator, or (null) of whoever's the newest of it is.
create or replace function public.lock_placed_workload(p_operator text, p_job_id text, p_other_dc_id text default null)
returns public.compute_workloads
language plpgsql
set search_path = ''
as $$
declare
    workload public.compute_workloads;
    held_at text;
    locked_at text;
begin
    select * into workload
    from public.compute_workloads w
    where w.job_id = p_job_id and (p_operator is null or w.tenant = p_operator)
    order by w.created_at desc
    limit 1;
    if workload.job_id is null then
        return null;
    end if;
    -- A booking may move to another data centre until that one is locked; a lock too many does no harm.
    loop
        select b.dc_id into held_at
        from public.capacity_bookings b
        where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING');
        exit when locked_at is not distinct from coalesce(held_at, '');
        perform from public.data_centres d where d.dc_id in (held_at, p_other_dc_id) order by d.dc_id for no key update;
        locked_at := coalesce(held_at, '');
        perform from public.workload_notifications n
        where (n.tenant, n.job_id) = (workload.tenant, workload.job_id) and n.work_state <> 'completed'
        order by n.notification_id
        for update;
        select * into workload
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)
        for no key update;
    end loop;
    perform from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING')
    for update;
    return workload;
end
$$;

-- Why a workload is not its owner's to cancel or move: {"state": "unknown" | "ordered" (it was bought over Beckn, and is changed
-- there), "workload"}; null where it is.
create or replace function public.not_its_owners(workload public.compute_workloads)
returns json
language sql
stable
set search_path = ''
as $$
    select case
        when workload.job_id is null then json_build_object('state', 'unknown')
        when exists (
            select from public.beckn_orders o where (o.buyer_operator, o.job_id) = (workload.tenant, workload.job_id))
            then json_build_object('state', 'ordered', 'workload', to_json(workload)) end
$$;

-- Cancels a workload. What waits for a decision or for its start is cancelled at once; what runs in simulation ends now; what
-- a runner runs is cancelled once its runner has stopped it. One that is cancelled already is answered like the first time.
-- Answers {"state": "cancelled" | "requested" | "unknown" | "ordered" (it was bought over Beckn, and is cancelled there) |
-- "over" (it has ended), "workload"}.
create or replace function public.cancel_workload(
    p_job_id text, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    workload constant public.compute_workloads := public.lock_placed_workload(p_operator, p_job_id);
    refusal constant json := public.not_its_owners(workload);
    booking public.capacity_bookings;
    why constant text := coalesce(nullif(left(p_reason, 500), ''), 'no reason given');
    outcome text := 'cancelled';
begin
    if refusal is not null then
        return refusal;
    end if;
    if workload.status = 'CANCELLED' then
        return json_build_object('state', 'cancelled', 'workload', to_json(workload));
    end if;
    if workload.status in ('COMPLETED', 'FAILED') then
        return json_build_object('state', 'over', 'workload', to_json(workload));
    end if;

    select * into booking
    from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state in ('HELD', 'RUNNING');
    if booking.state = 'RUNNING' and booking.carried_out_by = 'runner' then
        update public.capacity_bookings b
        set cancel_requested_at = coalesce(b.cancel_requested_at, p_now), reason = coalesce(b.reason, why)
        where b.booking_id = booking.booking_id;
        perform pg_notify('capacity_bookings', '');
        outcome := 'requested';
    else
        update public.compute_workloads w
        set status = 'CANCELLED',
            status_reason = 'Cancelled: ' || why,
            actual_end = case when booking.state = 'RUNNING' then p_now else w.actual_end end
        where (w.tenant, w.job_id) = (workload.tenant, workload.job_id);
        perform public.give_power_back(booking.booking_id, why, p_now);
        update public.workload_notifications n
        set work_state = 'completed',
            leased_until = null,
            context = null,
            finished_at = clock_timestamp(),
            last_error = 'withdrawn: the workload is CANCELLED'
        where (n.tenant, n.job_id) = (workload.tenant, workload.job_id) and n.work_state <> 'completed';
        if booking.booking_id is not null then
            perform public.let_waiting_ask_again();
        end if;
        perform public.log_event(
            workload.tenant, 'workload.cancelled', workload.job_id,
            jsonb_build_object('job_id', workload.job_id, 'operator', workload.operator, 'reason', why, 'at', p_now)
                || public.place_of(booking));
    end if;
    return json_build_object('state', outcome, 'workload', (
        select to_json(w) from public.compute_workloads w where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)));
end
$$;

-- Ends a booking that holds power, for whoever has its data centre's lock: what runs has ENDED, and is yet to be metered by
-- whoever ran it; what waits is RELEASED.
create or replace function public.give_power_back(p_booking_id bigint, p_reason text, p_now timestamptz)
returns void
language sql
set search_path = ''
as $$
    update public.capacity_bookings b
    set state = case b.state when 'RUNNING' then 'ENDED' else 'RELEASED' end,
        reason = p_reason,
        ended_at = p_now,
        work_state = case b.state when 'RUNNING' then 'available' else 'completed' end,
        scheduled_at = p_now,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        finished_at = case when b.state <> 'RUNNING' then clock_timestamp() end
    where b.booking_id = p_booking_id and b.state in ('HELD', 'RUNNING')
$$;

-- Where and when a booking is, for an event; {} where there is none.
create or replace function public.place_of(b public.capacity_bookings)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case
        when b.booking_id is null then '{}'
        else jsonb_build_object(
            'dc_id', b.dc_id, 'starts_at', b.starts_at, 'ends_at', b.ends_at,
            'it_power_kw', b.it_power_kw::double precision) end
$$;

-- From when a booking would find room at p_dc_id for its whole length: at p_from, or else at the start of a half-hour within
-- a week of it; null where there is none.
create or replace function public.room_from(p_booking_id bigint, p_dc_id text, p_from timestamptz)
returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
declare
    booking public.capacity_bookings;
    lasts interval;
begin
    select * into booking from public.capacity_bookings b where b.booking_id = p_booking_id;
    lasts := booking.ends_at - booking.starts_at;
    return (
        with full_half_hours as materialized (
            select h.half_hour
            from public.held_power h
            join public.data_centres d on d.dc_id = h.dc_id
            where h.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(p_from)
                and h.half_hour < p_from + interval '7 days' + lasts
                and h.held_kw + booking.it_power_kw > public.capacity_kw(d)
                -- What it holds already it keeps.
                and not (
                    booking.dc_id = p_dc_id and h.half_hour >= public.half_hour_of(booking.starts_at)
                    and h.half_hour < booking.ends_at)
        )
        select min(candidate.start)
        from (
            select p_from as start
            union all
            select public.half_hour_of(p_from) + n * interval '30 minutes' from generate_series(1, 336) as n) as candidate
        where exists (
                select from public.data_centres d where d.dc_id = p_dc_id and booking.it_power_kw <= public.capacity_kw(d))
            and not exists (
                select from full_half_hours f
                where f.half_hour >= public.half_hour_of(candidate.start) and f.half_hour < candidate.start + lasts));
end
$$;

-- Moves a workload that holds power and has not started: p_booking {"dc_id", "starts_at"}, of which what is left out stays.
-- It keeps its length and its power, and takes the half-hours that are new to it at once or not at all. It may not end after
-- its deadline; its other wishes were its owner's, who moves it. Answers {"state": "moved" | "unknown" | "ordered" |
-- "not_waiting" (it has no place yet, runs, or has ended) | "past" | "too_far" (more than a week ahead) | "too_late" (for its
-- deadline) | "unknown_data_centre" | "not_active" | "no_room", "workload", "room_from", "latest_start"}.
create or replace function public.move_workload(
    p_job_id text, p_booking jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    workload constant public.compute_workloads := public.lock_placed_workload(p_operator, p_job_id, p_booking ->> 'dc_id');
    refusal constant json := public.not_its_owners(workload);
    booking public.capacity_bookings;
    moved public.capacity_bookings;
    centre public.data_centres;
    new_start timestamptz := p_booking ->> 'starts_at';
    new_end timestamptz;
begin
    if refusal is not null then
        return refusal;
    end if;
    select * into booking
    from public.capacity_bookings b
    where (b.tenant, b.job_id) = (workload.tenant, workload.job_id) and b.state = 'HELD';
    if booking.booking_id is null then
        return json_build_object('state', 'not_waiting', 'workload', to_json(workload));
    end if;
    select * into centre from public.data_centres d where d.dc_id = coalesce(p_booking ->> 'dc_id', booking.dc_id);
    if centre.dc_id is null then
        return json_build_object('state', 'unknown_data_centre', 'workload', to_json(workload));
    end if;
    if new_start < p_now then
        return json_build_object('state', 'past', 'workload', to_json(workload));
    end if;
    if new_start > p_now + interval '7 days' then
        return json_build_object('state', 'too_far', 'workload', to_json(workload));
    end if;
    new_start := coalesce(new_start, greatest(booking.starts_at, p_now));
    new_end := new_start + (booking.ends_at - booking.starts_at);
    if new_end > workload.deadline then
        return json_build_object(
            'state', 'too_late', 'workload', to_json(workload),
            'latest_start', workload.deadline - (booking.ends_at - booking.starts_at));
    end if;
    if centre.status <> 'ACTIVE' and centre.dc_id <> booking.dc_id then
        return json_build_object('state', 'not_active', 'workload', to_json(workload));
    end if;
    if booking.it_power_kw > greatest(0, coalesce(
        public.free_to_move_kw(booking.booking_id, centre.dc_id, new_start, new_end), booking.it_power_kw))
    then
        return json_build_object(
            'state', 'no_room', 'workload', to_json(workload),
            'room_from', public.room_from(booking.booking_id, centre.dc_id, new_start));
    end if;

    update public.compute_workloads w
    set status = 'QUEUED', status_reason = 'Moved by its owner.', host_dc_id = centre.dc_id,
        scheduled_start = new_start
    where (w.tenant, w.job_id) = (workload.tenant, workload.job_id);
    update public.capacity_bookings b
    set dc_id = centre.dc_id,
        starts_at = new_start,
        ends_at = new_end,
        run_now = null, -- its owner has chosen: what comes of it is not the decision's doing
        carried_out_by = public.carried_out_by(centre),
        work_state = 'available',
        scheduled_at = new_start,
        attempt = 0,
        lost_leases = 0,
        lease_token = null, -- whoever was about to start it is too late
        leased_until = null,
        leased_by = null
    where b.booking_id = booking.booking_id
    returning * into moved;
    perform pg_notify('capacity_bookings', '');
    perform public.let_waiting_ask_again();
    perform public.log_event(
        workload.tenant, 'workload.moved', workload.job_id,
        jsonb_build_object(
            'job_id', workload.job_id, 'operator', workload.operator, 'from', public.place_of(booking),
            'to', public.place_of(moved), 'at', p_now));
    return json_build_object('state', 'moved', 'workload', (
        select to_json(w) from public.compute_workloads w where (w.tenant, w.job_id) = (workload.tenant, workload.job_id)));
end
$$;

-- Whether no runner has started a booking in its window, nor for half an hour after it, nor has it in hand. What is simulated
-- is started late, or decided again, by the executor (change_booking).
create or replace function public.is_expired(b public.capacity_bookings, p_now timestamptz)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select b.state = 'HELD' and b.carried_out_by = 'runner' and b.work_state <> 'running'
        and b.ends_at < p_now - interval '30 minutes'
$$;

-- What no runner started: a booking whose window is over for half an hour, and that none has in hand, gives its power back.
-- Its workload asks again, or has failed where its deadline has passed. Half-hours of the day before yesterday that hold
-- nothing are forgotten as well. Called after a pipeline run, before what waits is asked again. Answers the job_ids.
create or replace function public.expire_bookings(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    late record;
    booking public.capacity_bookings;
    expired text[] := '{}';
    events jsonb := '[]';
    one record;
begin
    -- All data centres before anything else, in their order.
    perform from public.data_centres d
    where d.dc_id in (select b.dc_id from public.capacity_bookings b where b.state = 'HELD' and public.is_expired(b, p_now))
    order by d.dc_id
    for no key update;
    for late in
        select b.booking_id, b.tenant, b.job_id
        from public.capacity_bookings b
        where b.state = 'HELD' and public.is_expired(b, p_now)
        order by b.tenant, b.job_id
    loop
        perform from public.compute_workloads w where (w.tenant, w.job_id) = (late.tenant, late.job_id) for no key update;
        select * into booking
        from public.capacity_bookings b
        where b.booking_id = late.booking_id and public.is_expired(b, p_now)
        for update;
        continue when booking.booking_id is null;
        update public.compute_workloads w
        set status = case when w.deadline <= p_now then 'FAILED' else 'PENDING' end,
            status_reason = 'No runner started it at ' || booking.dc_id || ' in its time.',
            scheduled_start = null
        where (w.tenant, w.job_id) = (late.tenant, late.job_id);
        perform public.give_power_back(booking.booking_id, 'no runner started it', p_now);
        expired := expired || late.job_id;
        events := events || jsonb_build_array(
            jsonb_build_object('tenant', late.tenant, 'job_id', late.job_id, 'at', p_now) || public.place_of(booking));
    end loop;
    delete from public.held_power h
    where (h.dc_id, h.half_hour) in (
        select old.dc_id, old.half_hour
        from public.held_power old
        where old.half_hour < public.half_hour_of(p_now) - interval '2 days' and old.held_kw = 0
        for update skip locked);
    if cardinality(expired) > 0 then
        perform public.let_waiting_ask_again();
        for one in select event.value as told from jsonb_array_elements(events) as event loop
            perform public.log_event(
                one.told ->> 'tenant', 'workload.expired', one.told ->> 'job_id', one.told - 'tenant');
        end loop;
    end if;
    return to_json(expired);
end
$$;


-- Carrying out what is booked --------------------------------------------------------------------------------------------

-- A data centre's load is its base load, what others draw, and what runs of ours. Whoever writes another load than it has
-- states the base load. Reads every tenant's bookings, whoever writes.
create or replace function public.load_data_centre()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and new.current_load_percentage is distinct from old.current_load_percentage
        and new.base_load_percentage is not distinct from old.base_load_percentage
    then
        new.base_load_percentage := new.current_load_percentage;
    end if;
    -- Where nothing of ours ever ran, the load that is stated is all there is.
    if new.base_load_percentage is not null then
        new.current_load_percentage := least(100, new.base_load_percentage + coalesce((
            select sum(b.it_power_kw)::double precision / nullif(new.total_capacity_mw * 10, 0) -- kW as a share of MW, in %
            from public.capacity_bookings b
            where b.dc_id = new.dc_id and b.state = 'RUNNING'), 0));
    end if;
    return new;
end
$$;

create or replace trigger load_data_centre
    before insert or update of current_load_percentage, base_load_percentage, total_capacity_mw on public.data_centres
    for each row execute function public.load_data_centre();

-- When a run begins or ends its data centre's load follows. Whoever changes a booking's state holds the data centre's lock.
create or replace function public.load_what_runs()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    stopped public.capacity_bookings[] := '{}';
    running public.capacity_bookings[] := '{}';
begin
    if tg_op <> 'INSERT' then
        stopped := array(select b from before_change b where b.state = 'RUNNING');
    end if;
    if tg_op <> 'DELETE' then
        running := array(select b from after_change b where b.state = 'RUNNING');
    end if;
    if cardinality(stopped) + cardinality(running) > 0 then
        update public.data_centres d
        set base_load_percentage = coalesce(d.base_load_percentage, d.current_load_percentage)
        where d.dc_id in (
            select change.dc_id
            from (
                select b.dc_id, -b.it_power_kw as kw from unnest(stopped) as b
                union all
                select b.dc_id, b.it_power_kw from unnest(running) as b) as change
            group by change.dc_id
            having sum(change.kw) <> 0);
    end if;
    return null;
end
$$;

create or replace trigger load_what_runs_insert
    after insert on public.capacity_bookings
    referencing new table as after_change
    for each statement execute function public.load_what_runs();
create or replace trigger load_what_runs_update
    after update on public.capacity_bookings
    referencing old table as before_change new table as after_change
    for each statement execute function public.load_what_runs();
create or replace trigger load_what_runs_delete
    after delete on public.capacity_bookings
    referencing old table as before_change
    for each statement execute function public.load_what_runs();

-- Bookings as whoever carries them out knows them, in this order: [{booking_id, lease_token, tenant, job_id, dc_id, state,
-- starts_at, ends_at, it_power_kw, task (the workload), promised_gco2 (what its decision said it would emit there; null where
-- none did)}…].
create or replace function public.promised_runs(p_booking_ids bigint[])
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(
        json_agg(json_build_object(
            'booking_id', b.booking_id, 'lease_token', b.lease_token, 'tenant', b.tenant, 'job_id', b.job_id,
            'dc_id', b.dc_id, 'state', b.state, 'starts_at', b.starts_at, 'ends_at', coalesce(b.ended_at, b.ends_at),
            'it_power_kw', b.it_power_kw, 'task', to_jsonb(w), 'promised_gco2', promise.carbon_gco2)
            order by one.position),
        '[]')
    from unnest(p_booking_ids) with ordinality as one (booking_id, position)
    join public.capacity_bookings b on b.booking_id = one.booking_id
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    left join lateral (
        -- The best option comes first, and is the one that was chosen. An owner who moved its workload took the place as it
        -- is; an executor that deferred it did not ask.
        select d.output #>> '{data_centre_options,0,estimates,recommended,carbon_gco2}' as carbon_gco2
        from public.orchestration_decisions d
        where d.notification_id = b.notification_id and d.chosen_dc_id = b.dc_id
            and (d.recommended_start = b.starts_at or w.status <> 'QUEUED')
            and b.state = 'HELD') as promise on true
$$;

-- Takes up to p_limit bookings that p_carried_out_by is to start, to end or, where they were broken off, to meter by p_now on a
-- lease, each tenant's first in turn. Answers {"claimed": promised_runs, "next_due_at"}.
create or replace function public.claim_due_bookings(
    p_carried_out_by text, p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due bigint[];
    taken bigint[];
begin
    perform public.queue_bookings_sweep(p_carried_out_by, p_now);
    select coalesce(array_agg(ready.booking_id order by ready.place, ready.scheduled_at, ready.booking_id), '{}') into due
    from (
        select
            b.booking_id, b.scheduled_at,
            row_number() over (partition by b.tenant order by b.scheduled_at, b.booking_id) as place
        from public.capacity_bookings b
        where b.carried_out_by = p_carried_out_by
            and (
                (b.work_state = 'available' and b.scheduled_at <= p_now)
                or (b.work_state = 'running' and public.has_come(b.leased_until, p_now)))) as ready;
    select coalesce(array_agg(b.booking_id order by array_position(due, b.booking_id)), '{}') into taken
    from public.queue_bookings_claim(p_carried_out_by, due, p_worker, p_limit, p_now, p_lease_seconds) as b;
    return json_build_object(
        'claimed', public.promised_runs(taken),
        'next_due_at', least(
            public.queue_bookings_next_due(p_carried_out_by, p_now),
            (
                select min(b.scheduled_at) from public.capacity_bookings b
                where b.carried_out_by = p_carried_out_by and b.work_state = 'available' and b.scheduled_at > p_now)));
end
$$;

-- Steps of bookings are being worked on still. p_leases: [{booking_id, lease_token}…]. Answers {"held": [booking_id…]}.
create or replace function public.heartbeat_bookings(p_leases jsonb, p_now timestamptz, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', public.queue_bookings_heartbeat(
        array_agg(lease.booking_id), array_agg(lease.lease_token), p_now + make_interval(secs => p_lease_seconds)))
    from jsonb_to_recordset(p_leases) as lease (booking_id bigint, lease_token bigint)
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter, for as long as it takes. Answers {"state":
-- "retry" | "fenced"}.
create or replace function public.fail_booking(
    p_booking_id bigint, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_bookings_fail(
        p_booking_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- One step of a booking, under its lease. p_change: {booking_id, lease_token, from_state, state, starts_at, ends_at, reason,
-- due_at (of the next step; null: there is none), updated_at, decide_again (the workload asks for a decision; else false),
-- event_type (what the log of events calls it; null: it knows already), readings (of a run that has ended: see record_readings), workload: {status,
-- status_reason, actual_…}}; what is left out of the window and the actuals stays. A window that moves
-- takes its new half-hours here, where they have room. Answers {"state": "changed" | "fenced" (the lease was lost) |
-- "wrong_state" | "no_capacity"}.
create or replace function public.change_booking(p_change jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.capacity_bookings := jsonb_populate_record(null::public.capacity_bookings, p_change);
    work public.compute_workloads := jsonb_populate_record(null::public.compute_workloads, p_change -> 'workload');
    next_step_at timestamptz := (p_change ->> 'due_at')::timestamptz;
    decide_again boolean := coalesce((p_change ->> 'decide_again')::boolean, false);
    held public.capacity_bookings;
begin
    -- The data centre first, then the workload, then the booking: the one order of locks.
    perform from public.data_centres d
    where d.dc_id = (select b.dc_id from public.capacity_bookings b where b.booking_id = given.booking_id)
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = given.booking_id)
    for no key update;
    select * into held from public.capacity_bookings b where b.booking_id = given.booking_id for update;
    if held.booking_id is null or held.work_state <> 'running' or held.lease_token is distinct from given.lease_token then
        return json_build_object('state', 'fenced');
    end if;
    if held.state is distinct from p_change ->> 'from_state' then
        return json_build_object('state', 'wrong_state');
    end if;
    given.starts_at := coalesce(given.starts_at, held.starts_at);
    given.ends_at := coalesce(given.ends_at, held.ends_at);
    if given.state in ('HELD', 'RUNNING')
        and held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, given.starts_at, given.ends_at)
    then
        return json_build_object('state', 'no_capacity');
    end if;
    update public.capacity_bookings b
    set state = given.state,
        starts_at = given.starts_at,
        ends_at = given.ends_at,
        reason = coalesce(given.reason, b.reason),
        started_at = case when given.state = 'RUNNING' then given.starts_at else b.started_at end,
        ended_at = case when given.state = 'ENDED' then coalesce(b.ended_at, given.ends_at) else b.ended_at end,
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, b.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then given.updated_at end
    where b.booking_id = held.booking_id;
    update public.compute_workloads w
    set status = case when decide_again then 'PENDING' else coalesce(work.status, w.status) end,
        status_reason = coalesce(work.status_reason, w.status_reason),
        scheduled_start = case when given.state <> 'RELEASED' then given.starts_at end,
        actual_start = coalesce(work.actual_start, w.actual_start),
        actual_end = coalesce(work.actual_end, w.actual_end),
        actual_energy_kwh = coalesce(work.actual_energy_kwh, w.actual_energy_kwh),
        actual_carbon_gco2 = coalesce(work.actual_carbon_gco2, w.actual_carbon_gco2),
        actual_cost_gbp = coalesce(work.actual_cost_gbp, w.actual_cost_gbp)
    where (w.tenant, w.job_id) = (held.tenant, held.job_id);
    if decide_again then
        insert into public.workload_notifications (tenant, job_id, reason) values (held.tenant, held.job_id, 'reconsidered')
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
        perform pg_notify('workload_ready', '');
    end if;
    if jsonb_array_length(p_change -> 'readings') > 0 then
        perform public.record_readings(held.booking_id, p_change -> 'readings', given.updated_at);
    end if;
    if given.state in ('HELD', 'RELEASED') then -- what it held until now has come free
        perform public.let_waiting_ask_again();
    end if;
    if p_change ->> 'event_type' is null then
        return json_build_object('state', 'changed');
    end if;
    perform public.log_event(held.tenant, p_change ->> 'event_type', held.job_id, (
        select jsonb_strip_nulls(jsonb_build_object(
            'job_id', w.job_id, 'booking_id', held.booking_id, 'dc_id', held.dc_id, 'carried_out_by', held.carried_out_by,
            'starts_at', given.starts_at, 'ends_at', given.ends_at, 'it_power_kw', held.it_power_kw, 'status', w.status,
            'status_reason', w.status_reason, 'actual_energy_kwh', w.actual_energy_kwh,
            'actual_carbon_gco2', w.actual_carbon_gco2, 'actual_cost_gbp', w.actual_cost_gbp))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (held.tenant, held.job_id)));
    return json_build_object('state', 'changed');
end
$$;

-- Workloads that were decided but hold no power, as decisions were before bookings were kept: nobody would ever run them.
-- Those that were to start by now FAIL: their owners were told where and when to run them, and may have. Those that are yet
-- to start are decided again, with power this time. Answers {"failed": [job_id…], "reconsidered": [job_id…]}.
create or replace function public.settle_unbooked_workloads(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    failed json;
    renewed json;
begin
    with unbooked as materialized (
        select w.tenant, w.job_id, coalesce(w.scheduled_start <= p_now, true) as is_past
        from public.compute_workloads w
        where w.status = 'QUEUED'
            and not public.has_place(w)
        order by w.tenant, w.job_id
        for no key update of w skip locked
    ),
    settled as (
        update public.compute_workloads w
        set status = case when unbooked.is_past then 'FAILED' else 'PENDING' end,
            status_reason = case
                when unbooked.is_past then 'It was decided without power being held for it, and was not run by its start: '
                    'submit it again if it is still to run.'
                else 'It was decided without power being held for it, and is decided again.' end,
            scheduled_start = null
        from unbooked
        where (w.tenant, w.job_id) = (unbooked.tenant, unbooked.job_id)
        returning w.tenant, w.job_id, w.status
    ),
    asked as (
        insert into public.workload_notifications (tenant, job_id, reason)
        select s.tenant, s.job_id, 'reconsidered' from settled s where s.status = 'PENDING' order by s.tenant, s.job_id
        on conflict (tenant, job_id) where work_state <> 'completed' do nothing
    )
    select
        coalesce(json_agg(s.job_id order by s.job_id) filter (where s.status = 'FAILED'), '[]'),
        coalesce(json_agg(s.job_id order by s.job_id) filter (where s.status = 'PENDING'), '[]')
    into failed, renewed
    from settled s;
    if json_array_length(renewed) > 0 then
        perform pg_notify('workload_ready', '');
    end if;
    return json_build_object('failed', failed, 'reconsidered', renewed);
end
$$;

-- How the bookings are doing that are carried out here or by runners, by who does: {"simulation": {held, running, due,
-- overdue_seconds (for how long the one that is due first has been due, with nobody on it; null where none is)}, "runner": …}.
create or replace function public.bookings_health(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_object_agg(by_whom.name, json_build_object(
        'held', open.held, 'running', open.running, 'due', open.due, 'overdue_seconds', open.overdue_seconds))
    from (values ('simulation'), ('runner')) as by_whom (name)
    cross join lateral (
        select
            count(*) filter (where b.state = 'HELD') as held,
            count(*) filter (where b.state = 'RUNNING') as running,
            count(*) filter (where public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until) <= p_now) as due,
            extract(epoch from p_now - min(public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until)) filter (
                where public.queue_due_at(b.work_state, b.scheduled_at, b.leased_until) <= p_now)) as overdue_seconds
        from public.capacity_bookings b
        where b.carried_out_by = by_whom.name and b.work_state in ('available', 'running', 'retryable')) as open
$$;


-- Meters and accounts -----------------------------------------------------------------------------------------------------

-- Readings are written once ----------------------------------------------------------------------------------

create or replace function public.refuse_reading_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'meter readings are written once: % is not allowed', tg_op
        using errcode = 'insufficient_privilege', hint = 'Record a revision of them with record_readings instead.';
end
$$;

create or replace trigger refuse_row_change
    before update or delete on public.meter_readings
    for each row execute function public.refuse_reading_change();
create or replace trigger refuse_truncate
    before truncate on public.meter_readings
    for each statement execute function public.refuse_reading_change();
alter table public.meter_readings enable always trigger refuse_row_change;
alter table public.meter_readings enable always trigger refuse_truncate;

-- The newest revision of every half-hour of a run. All readings of a run end with zeros where a revision took a half-hour
-- back, so that the sum over the newest is the run's.
create or replace function public.newest_readings(p_booking_ids bigint[])
returns setof public.meter_readings
language sql
stable
set search_path = ''
as $$
    select distinct on (r.booking_id, r.half_hour) r.*
    from public.meter_readings r
    where r.booking_id = any (p_booking_ids)
    order by r.booking_id, r.half_hour, r.revision desc
$$;

-- What ran in a data centre follows its readings: a revision counts for what it differs from the one before.
create or replace function public.sum_data_centre_loads()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    insert into public.data_centre_loads as l (dc_id, half_hour, it_energy_wh, site_energy_wh)
    select
        r.dc_id, r.half_hour,
        sum(r.it_energy_wh - coalesce(before.it_energy_wh, 0)),
        sum(r.site_energy_wh - coalesce(before.site_energy_wh, 0))
    from recorded r
    left join public.meter_readings before
        on (before.booking_id, before.half_hour, before.revision) = (r.booking_id, r.half_hour, r.revision - 1)
    group by r.dc_id, r.half_hour
    order by r.dc_id, r.half_hour -- locked in one order by all
    on conflict (dc_id, half_hour) do update
    set it_energy_wh = l.it_energy_wh + excluded.it_energy_wh, site_energy_wh = l.site_energy_wh + excluded.site_energy_wh;
    return null;
end
$$;

create or replace trigger sum_data_centre_loads
    after insert on public.meter_readings
    referencing new table as recorded
    for each statement execute function public.sum_data_centre_loads();

-- Notes what others draw of every data centre in the half-hour of p_now: the history of what is otherwise only known of the
-- present. Answers how many data centres.
create or replace function public.sample_loads(p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    sampled bigint;
begin
    insert into public.data_centre_loads as l (dc_id, half_hour, total_capacity_mw, base_load_percentage)
    select
        d.dc_id, public.half_hour_of(p_now), d.total_capacity_mw, coalesce(d.base_load_percentage, d.current_load_percentage)
    from public.data_centres d
    order by d.dc_id
    on conflict (dc_id, half_hour) do update
    set total_capacity_mw = excluded.total_capacity_mw, base_load_percentage = excluded.base_load_percentage;
    get diagnostics sampled = row_count;
    return json_build_object('data_centres', sampled);
end
$$;

-- What a run used ------------------------------------------------------------------------------------------------

-- The readings of a run that has ended, all of them: p_readings [{half_hour, it_energy_wh, site_energy_wh, source}…]. In the
-- transaction that ends the run its workload has its actual figures. May be called again: what is as it was adds nothing,
-- what differs is a revision, and a half-hour that is no longer named is revised to nothing. Answers {"state": "recorded" |
-- "repeated" | "not_ended" | "unknown_booking", "readings": how many were added}.
create or replace function public.record_readings(
    p_booking_id bigint, p_readings jsonb, p_now timestamptz default clock_timestamp())
returns json
language plpgsql
set search_path = ''
as $$
declare
    booking public.capacity_bookings;
    added bigint;
begin
    -- The workload first: the one order of locks.
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = p_booking_id)
    for no key update;
    select * into booking from public.capacity_bookings b where b.booking_id = p_booking_id for no key update;
    if booking.booking_id is null then
        return json_build_object('state', 'unknown_booking', 'readings', 0);
    end if;
    -- A run that was broken off has used what it used.
    if booking.state not in ('ENDED', 'RELEASED') then
        return json_build_object('state', 'not_ended', 'readings', 0);
    end if;
    insert into public.meter_readings (
        booking_id, dc_id, tenant, job_id, half_hour, it_energy_wh, site_energy_wh, source, revision, recorded_at)
    select
        p_booking_id, booking.dc_id, booking.tenant, booking.job_id, half_hour,
        coalesce(given.it_energy_wh, 0), coalesce(given.site_energy_wh, 0), coalesce(given.source, newest.source),
        coalesce(newest.revision, 0) + 1, p_now
    from jsonb_to_recordset(p_readings) as given (
        half_hour timestamptz, it_energy_wh numeric(18, 3), site_energy_wh numeric(18, 3), source text)
    full join public.newest_readings(array[p_booking_id]) as newest using (half_hour)
    where (coalesce(given.it_energy_wh, 0), coalesce(given.site_energy_wh, 0), coalesce(given.source, newest.source))
        is distinct from (newest.it_energy_wh, newest.site_energy_wh, newest.source);
    get diagnostics added = row_count;
    if added = 0 then
        return json_build_object('state', 'repeated', 'readings', 0);
    end if;
    perform public.open_account(booking, p_now);
    perform public.account_runs(array[p_booking_id], p_now);
    return json_build_object('state', 'recorded', 'readings', added);
end
$$;

-- What a run came to, and what it would have come to ------------------------------------------------------------------

-- Begins the account of a run, once: what of it is fixed. That is its counterfactual (the booking's run_now), whether that
-- is credited, and what the decision foretold of both.
create or replace function public.open_account(p_booking public.capacity_bookings, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    work public.compute_workloads;
    run_now_centre public.data_centres;
    options jsonb;
begin
    if exists (select from public.run_accounts a where a.booking_id = p_booking.booking_id) then
        return;
    end if;
    select * into work from public.compute_workloads w where (w.tenant, w.job_id) = (p_booking.tenant, p_booking.job_id);
    select * into run_now_centre from public.data_centres d where d.dc_id = p_booking.run_now ->> 'dc_id';
    select (d.output -> 'data_centre_options')::jsonb into options
    from public.orchestration_decisions d
    where d.notification_id = p_booking.notification_id;
    insert into public.run_accounts (
        booking_id, booking_key, tenant, job_id, dc_id, started_at, ended_at, run_now_dc_id, run_now_starts_at, run_now_pue,
        run_now_fits, predicted_carbon_gco2, predicted_cost_gbp, predicted_run_now_carbon_gco2, predicted_run_now_cost_gbp, accounted_at)
    select
        p_booking.booking_id, p_booking.booking_key, p_booking.tenant, p_booking.job_id, p_booking.dc_id,
        span.started_at, greatest(span.started_at + interval '1 microsecond', span.ended_at),
        run_now_centre.dc_id, (p_booking.run_now ->> 'starts_at')::timestamptz, run_now_centre.pue,
        case when run_now_centre.dc_id is not null then public.credit_run_now(run_now_centre, p_booking.run_now) end,
        (foretold.chosen #>> '{recommended,carbon_gco2}')::double precision,
        (foretold.chosen #>> '{recommended,cost_gbp}')::double precision,
        (foretold.run_now #>> '{run_now,carbon_gco2}')::double precision,
        (foretold.run_now #>> '{run_now,cost_gbp}')::double precision, p_now
    from (
        select
            coalesce(p_booking.started_at, work.actual_start, p_booking.starts_at) as started_at,
            coalesce(p_booking.ended_at, work.actual_end, p_booking.ends_at) as ended_at) as span
    cross join lateral (
        select
            jsonb_path_query_first(options, '$[*] ? (@.dc_id == $dc).estimates', jsonb_build_object('dc', p_booking.dc_id)),
            jsonb_path_query_first(
                options, '$[*] ? (@.dc_id == $dc).estimates', jsonb_build_object('dc', run_now_centre.dc_id))
    ) as foretold (chosen, run_now);
end
$$;

-- Whether a counterfactual would have had its power beside those that are credited already: then it is credited, and holds
-- its own. Each decision compares with a run at once on its own; that all of them could have run at once is not said by that.
create or replace function public.credit_run_now(p_centre public.data_centres, p_run_now jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    fits boolean;
begin
    with held as (
        insert into public.run_now_power as p (dc_id, half_hour, power_kw)
        select p_centre.dc_id, touched.half_hour, (p_run_now ->> 'it_power_kw')::numeric
        from generate_series(
            public.half_hour_of((p_run_now ->> 'starts_at')::timestamptz),
            (p_run_now ->> 'ends_at')::timestamptz - interval '1 microsecond', interval '30 minutes') as touched (half_hour)
        order by touched.half_hour -- locked in one order by all
        on conflict (dc_id, half_hour) do update set power_kw = p.power_kw + excluded.power_kw
        returning p.power_kw
    )
    select bool_and(held.power_kw <= public.capacity_kw(p_centre)) into fits from held;
    if not fits then
        raise exception using errcode = 'PY507'; -- takes back what was put in
    end if;
    return fits;
exception
    when sqlstate 'PY507' then
        return false;
end
$$;

-- Works out the accounts of these runs from their newest readings and the figures of the grid that are known now, and with
-- them the actual figures of their workloads. The caller holds the workloads' locks. Answers how many accounts changed.
--
-- Carbon of a half-hour: site energy x the region's intensity. No actual is published for regions: once the nation's is
-- known, the region's last forecast x national actual / national forecast is taken (as in back-tests), where both are of the
-- Carbon Intensity API. Cost: site energy x the stored price. The counterfactual is the run itself, moved: the energy of
-- each of its half-hours is moved by as much as its start, and shared out by time among the half-hours that it then touches;
-- elsewhere its IT energy counts with that place's PUE. In numeric, so that a run that was not moved equals itself.
create or replace function public.account_runs(p_booking_ids bigint[], p_now timestamptz)
returns integer
language plpgsql
set search_path = ''
as $$
declare
    changed bigint[];
begin
    with runs as materialized (
        select
            a.booking_id, a.dc_id, a.ended_at, a.started_at, d.region_id, a.run_now_dc_id, elsewhere.region_id as run_now_region_id,
            a.run_now_starts_at - a.started_at as moved_by,
            case when a.run_now_dc_id <> a.dc_id then a.run_now_pue::numeric end as run_now_pue
        from public.run_accounts a
        join public.data_centres d on d.dc_id = a.dc_id
        left join public.data_centres elsewhere on elsewhere.dc_id = a.run_now_dc_id
        where a.booking_id = any (p_booking_ids)
    ),
    readings as materialized (
        select
            r.booking_id, r.half_hour, r.it_energy_wh::numeric as it_wh, r.site_energy_wh::numeric as site_wh, r.source,
            -- The part of the half-hour that it ran in; the whole of one that its window does not touch.
            case when inside.it then greatest(r.half_hour, runs.started_at) else r.half_hour end as since,
            case when inside.it then least(r.half_hour + interval '30 minutes', runs.ended_at)
                else r.half_hour + interval '30 minutes' end as until
        from public.newest_readings(p_booking_ids) as r
        join runs using (booking_id)
        cross join lateral (
            select r.half_hour < runs.ended_at and r.half_hour + interval '30 minutes' > runs.started_at as it) as inside
    ),
    parts as (
        select r.booking_id, false as is_run_now, r.half_hour, runs.region_id, r.it_wh, r.site_wh, r.source
        from readings r
        join runs using (booking_id)
        union all
        select
            r.booking_id, true, touched.half_hour, runs.run_now_region_id, r.it_wh * share.of_it,
            coalesce(r.it_wh * runs.run_now_pue, r.site_wh) * share.of_it, r.source
        from readings r
        join runs using (booking_id)
        cross join lateral generate_series(
            public.half_hour_of(r.since + runs.moved_by), r.until + runs.moved_by - interval '1 microsecond',
            interval '30 minutes') as touched (half_hour)
        cross join lateral (
            select
                extract(epoch from least(touched.half_hour + interval '30 minutes', r.until + runs.moved_by)
                    - greatest(touched.half_hour, r.since + runs.moved_by))
                / extract(epoch from r.until - r.since)) as share (of_it)
        where runs.run_now_region_id is not null
    ),
    priced as (
        select
            p.*,
            case
                when actual.is_known
                    then regional.carbon_intensity_forecast::numeric * national.carbon_intensity_actual::numeric
                        / national.carbon_intensity_forecast::numeric
                else regional.carbon_intensity_forecast::numeric end as gco2_per_kwh,
            national.wholesale_price_gbp_mwh::numeric as gbp_per_mwh,
            case
                when regional.carbon_intensity_forecast is null then 'unknown'
                when regional.carbon_source <> 'carbon_intensity_api' then regional.carbon_source
                when actual.is_known then 'national_actual'
                else 'forecast' end as carbon_basis,
            coalesce(national.price_source, 'unknown') as price_basis
        from parts p
        left join public.regional_grid_signals regional
            on (regional.region_id, regional.timestamp) = (p.region_id, p.half_hour)
        left join public.grid_signals national on national.timestamp = p.half_hour
        cross join lateral (
            select coalesce(
                regional.carbon_source = 'carbon_intensity_api' and national.carbon_source = 'carbon_intensity_api'
                and national.carbon_intensity_actual > 0 and national.carbon_intensity_forecast > 0, false)) as actual (is_known)
        where p.site_wh > 0
    ),
    summed as (
        select
            p.booking_id, p.is_run_now,
            case when bool_and(p.gco2_per_kwh is not null)
                then round(sum(p.site_wh * p.gco2_per_kwh) / 1000, 6)::double precision end as carbon_gco2,
            case when bool_and(p.gbp_per_mwh is not null)
                then round(sum(p.site_wh * p.gbp_per_mwh) / 1000000, 9)::double precision end as cost_gbp,
            round(sum(p.site_wh), 6)::double precision as site_wh,
            bool_and(p.carbon_basis = 'national_actual' and p.price_basis = 'elexon') as is_whole
        from priced p
        group by p.booking_id, p.is_run_now
    ),
    bases as (
        select
            p.booking_id,
            jsonb_build_object(
                'half_hours', count(*),
                'energy', (select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.source)) as one),
                'carbon', (
                    select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.carbon_basis)) as one),
                'cost', (
                    select jsonb_object_agg(one.word, one.half_hours) from public.counted_words(array_agg(p.price_basis)) as one))
                as basis
        from priced p
        where not p.is_run_now
        group by p.booking_id
    ),
    worked_out as (
        select
            runs.booking_id, metered.it_wh, metered.site_wh,
            -- A run that used nothing emitted nothing.
            case when metered.site_wh = 0 then 0 else actual.carbon_gco2 end as carbon_gco2,
            case when metered.site_wh = 0 then 0 else actual.cost_gbp end as cost_gbp,
            case when nothing_moved.it then 0 else run_now.site_wh end as run_now_site_wh,
            case when nothing_moved.it then 0 else run_now.carbon_gco2 end as run_now_carbon_gco2,
            case when nothing_moved.it then 0 else run_now.cost_gbp end as run_now_cost_gbp,
            coalesce(bases.basis, jsonb '{"half_hours": 0}') as basis,
            -- The sources revise for a day; what has not come within a week is not coming.
            p_now >= runs.ended_at + interval '7 days'
                or (p_now >= runs.ended_at + interval '25 hours'
                    and coalesce(actual.is_whole, true) and coalesce(run_now.is_whole, true)) as is_settled
        from runs
        cross join lateral (
            select coalesce(sum(r.it_wh), 0) as it_wh, coalesce(sum(r.site_wh), 0) as site_wh
            from readings r
            where r.booking_id = runs.booking_id) as metered
        cross join lateral (
            select metered.site_wh = 0 and runs.run_now_region_id is not null as it) as nothing_moved
        left join summed actual on actual.booking_id = runs.booking_id and not actual.is_run_now
        left join summed run_now on run_now.booking_id = runs.booking_id and run_now.is_run_now
        left join bases on bases.booking_id = runs.booking_id
    ),
    written as (
        update public.run_accounts a
        set it_energy_wh = o.it_wh,
            site_energy_wh = o.site_wh,
            carbon_gco2 = o.carbon_gco2,
            cost_gbp = o.cost_gbp,
            run_now_site_energy_wh = o.run_now_site_wh,
            run_now_carbon_gco2 = o.run_now_carbon_gco2,
            run_now_cost_gbp = o.run_now_cost_gbp,
            basis = o.basis,
            revision = a.revision + case
                when (
                    a.it_energy_wh, a.site_energy_wh, a.carbon_gco2, a.cost_gbp, a.run_now_site_energy_wh, a.run_now_carbon_gco2,
                    a.run_now_cost_gbp, a.basis)
                    is distinct from (
                    o.it_wh, o.site_wh, o.carbon_gco2, o.cost_gbp, o.run_now_site_wh, o.run_now_carbon_gco2,
                    o.run_now_cost_gbp, o.basis) then 1
                else 0 end,
            accounted_at = p_now,
            settled_at = case when o.is_settled then p_now end
        from worked_out o
        where a.booking_id = o.booking_id
            and (
                a.it_energy_wh, a.site_energy_wh, a.carbon_gco2, a.cost_gbp, a.run_now_site_energy_wh, a.run_now_carbon_gco2,
                a.run_now_cost_gbp, a.basis, a.settled_at is not null)
                is distinct from (
                o.it_wh, o.site_wh, o.carbon_gco2, o.cost_gbp, o.run_now_site_wh, o.run_now_carbon_gco2, o.run_now_cost_gbp,
                o.basis, o.is_settled)
        returning a.booking_id
    )
    select coalesce(array_agg(w.booking_id), '{}') into changed from written w;

    -- A workload that ran more than once has used what all its runs used.
    update public.compute_workloads w
    set actual_energy_kwh = own.site_energy_wh / 1000.0,
        actual_carbon_gco2 = own.carbon_gco2,
        actual_cost_gbp = own.cost_gbp,
        actuals_basis = own.basis
    from (
        select
            a.tenant, a.job_id, sum(a.site_energy_wh) as site_energy_wh,
            case when bool_and(a.carbon_gco2 is not null) then sum(a.carbon_gco2) end as carbon_gco2,
            case when bool_and(a.cost_gbp is not null) then sum(a.cost_gbp) end as cost_gbp,
            case
                when count(*) = 1 then (array_agg(a.basis))[1]
                else jsonb_build_object('runs', jsonb_agg(a.basis order by a.started_at, a.booking_id)) end
            || jsonb_build_object('revision', max(a.revision), 'settled', bool_and(a.settled_at is not null)) as basis
        from public.run_accounts a
        where (a.tenant, a.job_id) in (
            select c.tenant, c.job_id from public.run_accounts c where c.booking_id = any (changed))
        group by a.tenant, a.job_id) as own
    where (w.tenant, w.job_id) = (own.tenant, own.job_id)
        and (w.actual_energy_kwh, w.actual_carbon_gco2, w.actual_cost_gbp, w.actuals_basis)
            is distinct from (own.site_energy_wh / 1000.0, own.carbon_gco2, own.cost_gbp, own.basis);
    return cardinality(changed);
end
$$;

-- How often each word is among these.
create or replace function public.counted_words(p_words text[])
returns table (word text, half_hours bigint)
language sql
immutable
set search_path = ''
as $$
    select one, count(*) from unnest(p_words) as one group by one
$$;

-- Works the accounts out again that may yet change, up to p_limit of them with numbers above p_after: as the grid's actual
-- figures have come. Answers {"revised": how many changed, "next": the number to go on after, null at the end}.
create or replace function public.revise_accounts(p_now timestamptz, p_after bigint, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    open bigint[];
    revised integer;
begin
    select coalesce(array_agg(page.booking_id order by page.booking_id), '{}') into open
    from (
        select a.booking_id
        from public.run_accounts a
        where a.settled_at is null and a.booking_id > p_after
        order by a.booking_id
        limit p_limit) as page;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (select a.tenant, a.job_id from public.run_accounts a where a.booking_id = any (open))
    order by w.tenant, w.job_id
    for no key update;
    revised := public.account_runs(open, p_now);
    return json_build_object(
        'revised', revised, 'next', case when cardinality(open) = p_limit then open[p_limit] end);
end
$$;

-- Savings ------------------------------------------------------------------------------------------------------------

-- What the runs that began in [p_from, p_until) came to, by 'day' (UTC, of the start), 'data_centre', 'operator' or
-- 'workload_type', and all together (key null): [{key, runs, …}…]. What is compared are the runs whose counterfactual is
-- credited and of which every figure is known; all figures with "compared" and "run_now" are of these, and "predicted" ones
-- of those of them whose decision foretold both. A tenant sees its own.
create or replace function public.savings(
    p_from timestamptz, p_until timestamptz, p_by text, p_carbon_price_gbp_per_t double precision)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        with runs as (
            select
                case p_by
                    when 'day' then to_char(a.started_at at time zone 'UTC', 'YYYY-MM-DD')
                    when 'data_centre' then a.dc_id
                    when 'operator' then a.tenant
                    when 'workload_type' then w.workload_type end as key,
                a.*,
                coalesce(a.run_now_fits, false)
                    and (a.carbon_gco2 + a.cost_gbp + a.run_now_carbon_gco2 + a.run_now_cost_gbp) is not null as is_compared,
                coalesce(a.run_now_fits, false)
                    and (
                        a.carbon_gco2 + a.cost_gbp + a.run_now_carbon_gco2 + a.run_now_cost_gbp + a.predicted_carbon_gco2
                        + a.predicted_cost_gbp + a.predicted_run_now_carbon_gco2 + a.predicted_run_now_cost_gbp)
                        is not null as is_predicted
            from public.run_accounts a
            join public.compute_workloads w on (w.tenant, w.job_id) = (a.tenant, a.job_id)
            where a.started_at >= p_from and a.started_at < p_until
        ),
        sums as (
            select
                r.key, grouping(r.key) = 1 as is_total,
                count(*) as runs,
                sum(r.it_energy_wh) as it_energy_wh,
                sum(r.site_energy_wh) as site_energy_wh,
                sum(r.carbon_gco2) as carbon_gco2,
                count(*) filter (where r.carbon_gco2 is null) as runs_of_unknown_carbon,
                sum(r.cost_gbp) as cost_gbp,
                count(*) filter (where r.cost_gbp is null) as runs_of_unknown_cost,
                count(*) filter (where r.settled_at is null) as runs_to_be_revised,
                count(*) filter (where r.run_now_dc_id is null) as runs_without_counterfactual,
                count(*) filter (where not r.run_now_fits) as runs_without_room_to_run_now,
                count(*) filter (where r.is_compared) as compared_runs,
                sum(r.site_energy_wh) filter (where r.is_compared) as compared_site_energy_wh,
                sum(r.carbon_gco2) filter (where r.is_compared) as compared_carbon_gco2,
                sum(r.cost_gbp) filter (where r.is_compared) as compared_cost_gbp,
                sum(r.run_now_site_energy_wh) filter (where r.is_compared) as run_now_site_energy_wh,
                sum(r.run_now_carbon_gco2) filter (where r.is_compared) as run_now_carbon_gco2,
                sum(r.run_now_cost_gbp) filter (where r.is_compared) as run_now_cost_gbp,
                count(*) filter (where r.is_compared and r.carbon_gco2 > r.run_now_carbon_gco2) as runs_worse_in_carbon,
                count(*) filter (where r.is_compared and r.cost_gbp > r.run_now_cost_gbp) as runs_worse_in_cost,
                count(*) filter (
                    where r.is_compared
                        and r.cost_gbp + r.carbon_gco2 * p_carbon_price_gbp_per_t / 1e6
                            > r.run_now_cost_gbp + r.run_now_carbon_gco2 * p_carbon_price_gbp_per_t / 1e6) as runs_worse,
                count(*) filter (where r.is_predicted) as predicted_runs,
                sum(r.predicted_run_now_carbon_gco2 - r.predicted_carbon_gco2)
                    filter (where r.is_predicted) as predicted_carbon_saving_gco2,
                sum(r.predicted_run_now_cost_gbp - r.predicted_cost_gbp)
                    filter (where r.is_predicted) as predicted_cost_saving_gbp,
                sum(r.run_now_carbon_gco2 - r.carbon_gco2) filter (where r.is_predicted) as realised_carbon_saving_gco2,
                sum(r.run_now_cost_gbp - r.cost_gbp) filter (where r.is_predicted) as realised_cost_saving_gbp
            from runs r
            group by grouping sets ((r.key), ())
        )
        select coalesce(json_agg(s order by s.is_total, s.key), '[]') from sums s);
end
$$;
-- Work that is moved by what it was sold or negotiated for ----------------------------------------------------------------
--
-- In two halves of one transaction: take_places_back, then whatever the mover writes that needs its locks, then publish_moves,
-- which takes the publishing lock and comes last. A mover is a function that does both, and answers for their exceptions.

-- Gives the places of booked work back and puts each into the mover's hands to be decided again. p_moves: [{tenant, job_id,
-- booking_id, from_dc_id, from_starts_at, to_dc_id}…]; p_mover: who has it in hand; p_reason: why its booking ends;
-- p_status_reason: why it is PENDING. Answers whether it was done: it is not where any of it is no longer as it was looked at.
create or replace function public.take_places_back(
    p_moves jsonb, p_mover text, p_reason text, p_status_reason text, p_now timestamptz)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select m ->> 'from_dc_id' from jsonb_array_elements(p_moves) as m
        union
        select m ->> 'to_dc_id' from jsonb_array_elements(p_moves) as m)
    order by d.dc_id
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (select m ->> 'tenant', m ->> 'job_id' from jsonb_array_elements(p_moves) as m)
    order by w.tenant, w.job_id
    for no key update;
    if exists (
        select
        from jsonb_to_recordset(p_moves) as m (
            booking_id bigint, tenant text, job_id text, from_dc_id text, from_starts_at timestamptz)
        where not exists (
                select
                from public.capacity_bookings b
                where b.booking_id = m.booking_id and b.state = 'HELD' and b.work_state <> 'running'
                    and b.cancel_requested_at is null
                    and (b.tenant, b.job_id, b.dc_id, b.starts_at)
                        = (m.tenant, m.job_id, m.from_dc_id, m.from_starts_at))
            or exists (
                select
                from public.workload_notifications n
                where (n.tenant, n.job_id) = (m.tenant, m.job_id) and n.work_state <> 'completed'))
    then
        return false;
    end if;
    perform public.give_power_back((m ->> 'booking_id')::bigint, p_reason, p_now)
    from jsonb_array_elements(p_moves) as m;
    update public.compute_workloads w
    set status = 'PENDING', status_reason = p_status_reason, scheduled_start = null
    from jsonb_array_elements(p_moves) as m
    where (w.tenant, w.job_id) = (m ->> 'tenant', m ->> 'job_id');
    -- Its own notification, in hand from the first moment: nobody else decides it meanwhile.
    insert into public.workload_notifications (
        tenant, job_id, reason, work_state, attempt, lease_token, leased_until, leased_by)
    select
        m ->> 'tenant', m ->> 'job_id', 'reconsidered', 'running', 1, nextval('public.lease_tokens'),
        p_now + interval '1 minute', p_mover
    from jsonb_array_elements(p_moves) as m
    order by m ->> 'job_id', m ->> 'tenant';
    return true;
end
$$;

-- Publishes the decisions of work whose places were taken back. p_moves: [{tenant, job_id, record}…]. Raises PYM01 where one of
-- them could not be, with the message "outdated" (the grid is another) or "work_changed": the mover's whole work is undone then.
create or replace function public.publish_moves(p_moves jsonb, p_agent_id text, p_grid jsonb, p_grid_version text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    results json;
begin
    results := public.publish_decisions(
        p_agent_id, p_grid, (
            select jsonb_agg(
                m -> 'record' || jsonb_build_object('notification_id', n.notification_id, 'lease_token', n.lease_token)
                order by m ->> 'job_id', m ->> 'tenant')
            from jsonb_array_elements(p_moves) as m
            join public.workload_notifications n
                on (n.tenant, n.job_id) = (m ->> 'tenant', m ->> 'job_id') and n.work_state = 'running'),
        false, p_grid_version) -> 'results';
    if exists (select from json_array_elements(results) as one where one ->> 'state' <> 'published') then
        raise exception '%', case
            when exists (select from json_array_elements(results) as one where one ->> 'state' = 'outdated')
                then 'outdated' else 'work_changed' end
            using errcode = 'PYM01';
    end if;
    perform pg_notify('capacity_bookings', '');
end
$$;
-- The Beckn network: subscribers, inbox, outbox ----------------------------------------------------------------------------
--
-- Two queues of the engine above, whose turns in the inbox are the senders', and in the outbox each recipient's own. Messages
-- of one transaction between the same two platforms are taken in the order in which they came, each when the one before is
-- finished.

-- A platform's own entry, or one that an operator adds: made, or brought up to date. What was revoked stays revoked, and a
-- key stays whose it is: another platform may have its id, and not the key itself with it. A platform speaks for one
-- operator, whichever key it signs with; where none is named, that of before stays. Answers {"state": "registered" |
-- "revoked" | "taken" | "unknown_operator"}.
create or replace function public.beckn_register(p_subscriber jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_subscribers := jsonb_populate_record(null::public.beckn_subscribers, p_subscriber);
    found public.beckn_subscribers;
begin
    given.key_id := public.beckn_key_id(given.key_id);
    if given.operator is not null and not exists (select from public.operators o where o.operator_id = given.operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    if exists (
        select
        from public.beckn_subscribers s
        where (s.key_id, s.signing_public_key) = (given.key_id, given.signing_public_key)
            and s.subscriber_id <> given.subscriber_id) then
        return json_build_object('state', 'taken');
    end if;
    insert into public.beckn_subscribers as s (
        key_id, subscriber_id, type, domain, url, location, signing_public_key, encr_public_key, valid_from, valid_until,
        private_address, operator)
    values (
        given.key_id, given.subscriber_id, given.type, given.domain, given.url, given.location, given.signing_public_key,
        given.encr_public_key, given.valid_from, given.valid_until, coalesce(given.private_address, false), given.operator)
    on conflict (subscriber_id, key_id) do update set
        domain = excluded.domain,
        url = excluded.url,
        location = excluded.location,
        encr_public_key = excluded.encr_public_key,
        valid_until = excluded.valid_until,
        private_address = excluded.private_address,
        operator = coalesce(excluded.operator, s.operator),
        present_until = null,
        updated = clock_timestamp()
    where s.status = 'SUBSCRIBED'
        and (s.subscriber_id, s.type, s.signing_public_key)
            = (excluded.subscriber_id, excluded.type, excluded.signing_public_key)
    returning * into found;
    if found.key_id is not null then
        update public.beckn_subscribers s
        set operator = found.operator
        where s.subscriber_id = found.subscriber_id and given.operator is not null
            and s.operator is distinct from found.operator;
        return json_build_object('state', 'registered');
    end if;
    select * into found
    from public.beckn_subscribers s
    where (s.subscriber_id, s.key_id) = (given.subscriber_id, given.key_id);
    return json_build_object('state', case
        when (found.type, found.signing_public_key) = (given.type, given.signing_public_key) then 'revoked'
        else 'taken' end);
end
$$;

-- Whether a key may sign for a platform now.
create or replace function public.beckn_key_holds(p_subscriber_id text, p_key_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select
        from public.beckn_subscribers s
        where s.key_id = public.beckn_key_id(p_key_id) and s.subscriber_id = p_subscriber_id and s.status = 'SUBSCRIBED'
            and clock_timestamp() between s.valid_from and s.valid_until)
$$;

-- A process of a platform tells that it runs, and will for p_seconds. The platform's subscriptions are present from then on
-- only while one of its processes tells so.
create or replace function public.beckn_stay(
    p_subscriber_id text, p_type text, p_worker text, p_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    lasts_until timestamptz := clock_timestamp() + make_interval(secs => p_seconds);
begin
    insert into public.beckn_presences as p (subscriber_id, type, worker, present_until)
    values (p_subscriber_id, p_type, p_worker, lasts_until)
    on conflict (subscriber_id, type, worker) do update set present_until = excluded.present_until;
    delete from public.beckn_presences p
    where (p.subscriber_id, p.type) = (p_subscriber_id, p_type) and p.present_until < clock_timestamp();
    update public.beckn_subscribers s
    set present_until = greatest(s.present_until, lasts_until)
    where (s.subscriber_id, s.type) = (p_subscriber_id, p_type) and s.status = 'SUBSCRIBED';
    return json_build_object('present_until', lasts_until);
end
$$;

-- A process of a platform ends; when it was the last that ran, the platform is not present any more.
create or replace function public.beckn_leave(p_subscriber_id text, p_type text, p_worker text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    others_until timestamptz;
begin
    delete from public.beckn_presences p
    where (p.subscriber_id, p.type, p.worker) = (p_subscriber_id, p_type, p_worker);
    select max(p.present_until) into others_until
    from public.beckn_presences p
    where (p.subscriber_id, p.type) = (p_subscriber_id, p_type);
    update public.beckn_subscribers s
    set present_until = coalesce(others_until, clock_timestamp())
    where (s.subscriber_id, s.type) = (p_subscriber_id, p_type);
    return json_build_object('present_until', others_until);
end
$$;

-- What is known of a message that came before, by its key; null when none came. Answers {"state": "repeated" (the very
-- same) | "conflict" (another body), "inbox_id", "answer"}.
create or replace function public.beckn_known_message(p_given public.beckn_inbox, p_digest text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'state', case when i.body_digest = p_digest then 'repeated' else 'conflict' end,
        'inbox_id', i.inbox_id,
        'answer', i.answer)
    from public.beckn_inbox i
    where (i.recipient, i.sender, i.action, i.message_id)
        = (p_given.recipient, p_given.sender, p_given.action, p_given.message_id)
$$;

-- Why p_sender may store no further message at p_platform now, or null. p_limits: {unfinished_messages, unfinished_bytes,
-- messages_a_day, bytes_a_day}; what is left out is without a bound. A message of its own is unfinished until it was
-- worked on and what it led to (its copies at a gateway, the callback to it) was delivered or given up.
create or replace function public.beckn_over_limit(p_platform text, p_sender text, p_limits jsonb)
returns text
language sql
stable
set search_path = ''
as $$
    with unfinished as (
        select i.message_id, octet_length(i.body) as bytes
        from public.beckn_inbox i
        where (i.recipient, i.sender) = (p_platform, p_sender) and i.work_state in ('available', 'running', 'retryable')
        union all
        select o.message_id, octet_length(o.body)
        from public.beckn_outbox o
        where (o.sender, o.origin) = (p_platform, p_sender) and o.work_state in ('available', 'running', 'retryable')
        union all
        select o.message_id, octet_length(o.body)
        from public.beckn_outbox o
        where (o.sender, o.origin, o.recipient) = (p_platform, p_platform, p_sender) and o.work_state in ('available', 'running', 'retryable')
    ),
    found as (
        select count(distinct unfinished.message_id) as messages, coalesce(sum(unfinished.bytes), 0) as bytes
        from unfinished
    ),
    today as (
        select u.messages, u.bytes
        from public.beckn_usage u
        where (u.platform, u.sender) = (p_platform, p_sender) and u.day = (clock_timestamp() at time zone 'UTC')::date
    )
    select case
        when found.messages >= (p_limits ->> 'unfinished_messages')::bigint then 'unfinished_messages'
        when found.bytes >= (p_limits ->> 'unfinished_bytes')::bigint then 'unfinished_bytes'
        when today.messages >= (p_limits ->> 'messages_a_day')::bigint then 'messages_a_day'
        when today.bytes >= (p_limits ->> 'bytes_a_day')::bigint then 'bytes_a_day' end
    from found
    left join today on true
$$;

-- Stores a message that passed its checks. p_message: {recipient, sender, action, transaction_id, message_id, body, answer,
-- expires_at, limits}, limits being those of beckn_over_limit. p_key_id: the key it was signed with, looked at once more
-- here, as whoever checked may have remembered it for a while; null where signatures are off. p_work: whether a worker is to
-- take it from the inbox, and its sender to be called back.
-- Answers {"state": "stored" | "repeated" (the same was stored before) | "conflict" (another with its message_id was) |
-- "revoked" | "unreachable" (its sender's URL leads inside, without the operator's word) | "busy" (the sender is over the
-- limit "reason"), "inbox_id", "answer"}.
create or replace function public.beckn_receive(p_message jsonb, p_key_id text, p_work boolean)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_inbox := jsonb_populate_record(null::public.beckn_inbox, p_message);
    digest text := encode(sha256(convert_to(given.body, 'UTF8')), 'hex');
    known json;
    over_limit text;
    stored public.beckn_inbox;
begin
    if p_key_id is not null and not public.beckn_key_holds(given.sender, p_key_id) then
        return json_build_object('state', 'revoked');
    end if;
    known := public.beckn_known_message(given, digest);
    if known is not null then
        return known;
    end if;
    if p_work and p_key_id is not null and exists (
        select
        from public.beckn_subscribers s
        where s.subscriber_id = given.sender and s.key_id = public.beckn_key_id(p_key_id) and not s.private_address and public.beckn_leads_inside(s.url)) then
        return json_build_object('state', 'unreachable');
    end if;
    over_limit := public.beckn_over_limit(given.recipient, given.sender, p_message -> 'limits');
    if over_limit is not null then
        return json_build_object('state', 'busy', 'reason', over_limit);
    end if;
    insert into public.beckn_inbox (
        recipient, sender, action, transaction_id, message_id, body, body_digest, turn, answer, work_state, expires_at,
        finished_at)
    values (
        given.recipient, given.sender, given.action, given.transaction_id, given.message_id,
        case when p_work then given.body end, digest,
        case when p_work then public.queue_inbox_turn(given.recipient, given.sender) else 0 end,
        given.answer, case when p_work then 'available' else 'completed' end, given.expires_at,
        case when not p_work then clock_timestamp() end)
    on conflict (recipient, sender, action, message_id) do nothing
    returning * into stored;
    if stored.inbox_id is null then
        -- Somebody else stored it in this moment.
        return public.beckn_known_message(given, digest);
    end if;
    if p_work then
        perform pg_notify('beckn_inbox', '');
    end if;
    -- Last, for it waits for the sender's other messages that are being stored.
    insert into public.beckn_usage as u (platform, sender, day, messages, bytes)
    values (
        given.recipient, given.sender, (clock_timestamp() at time zone 'UTC')::date, 1, octet_length(given.body))
    on conflict (platform, sender, day) do update
    set messages = u.messages + 1, bytes = u.bytes + excluded.bytes;
    return json_build_object('state', 'stored', 'inbox_id', stored.inbox_id, 'answer', stored.answer);
end
$$;

-- Puts messages of p_sender into the outbox; the very same that is there already is not put again. p_outgoing: [{origin
-- (null: p_sender), recipient, recipient_type, action, domain, transaction_id, message_id, body, authorization,
-- expires_at}…]. Answers {"stored": n}.
create or replace function public.beckn_put_outbox(p_sender text, p_outgoing jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.beckn_outbox (
        sender, origin, recipient, recipient_type, action, domain, transaction_id, message_id, body, body_digest, turn,
        "authorization", expires_at)
    select
        p_sender, coalesce(r.origin, p_sender), r.recipient, r.recipient_type, r.action, r.domain, r.transaction_id,
        r.message_id, r.body, encode(sha256(convert_to(r.body, 'UTF8')), 'hex'),
        greatest(in_hand.turn, lane.turn, 0) + row_number() over (
            partition by coalesce(r.origin, p_sender), r.recipient order by given.position),
        r."authorization", r.expires_at
    from jsonb_array_elements(p_outgoing) with ordinality as given (message, position)
    cross join lateral jsonb_populate_record(null::public.beckn_outbox, given.message) as r
    cross join (
        select max(o.turn) as turn from public.beckn_outbox o where o.sender = p_sender and o.work_state = 'running') as in_hand
    cross join lateral (
        select max(o.turn) as turn
        from public.beckn_outbox o
        where (o.sender, o.origin, o.recipient) = (p_sender, coalesce(r.origin, p_sender), r.recipient)
            and o.work_state in ('available', 'running', 'retryable')) as lane
    order by given.position
    on conflict on constraint beckn_outbox_message_key do nothing;
    get diagnostics stored = row_count;
    if stored > 0 then
        perform pg_notify('beckn_outbox', '');
    end if;
    return json_build_object('stored', stored);
end
$$;

-- A gateway's work: stores a message as beckn_receive does, and puts it into the outbox for every subscriber of the role
-- p_role, or for p_recipient alone, that serves its domain and location, is present, may be called, and for which not
-- limits.waiting_for_one messages of the sender wait already. p_message has, beside that, {domain, location, authorization}.
-- Answers as beckn_receive does, or {"state": "nobody"}, or "busy" for the reason "waiting_for_one", with nothing stored.
create or replace function public.beckn_relay(p_message jsonb, p_key_id text, p_role text, p_recipient text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    received json := public.beckn_receive(p_message, p_key_id, false);
    platform text := p_message ->> 'recipient';
    writer text := p_message ->> 'sender';
    known text[];
    outgoing jsonb;
begin
    if received ->> 'state' <> 'stored' then
        return received;
    end if;
    select array_agg(distinct s.subscriber_id)
    into known
    from public.beckn_subscribers s
    where s.type = p_role
        and s.domain = p_message ->> 'domain'
        and s.status = 'SUBSCRIBED'
        and clock_timestamp() between s.valid_from and s.valid_until
        and (s.present_until is null or s.present_until > clock_timestamp())
        and (p_key_id is null or s.private_address or not public.beckn_leads_inside(s.url))
        and s.subscriber_id = coalesce(p_recipient, s.subscriber_id)
        and public.beckn_same_place(s.location #>> '{country,code}', p_message #>> '{location,country,code}')
        and public.beckn_same_place(s.location #>> '{city,code}', p_message #>> '{location,city,code}');
    select jsonb_agg(p_message || jsonb_build_object('origin', writer, 'recipient', one.recipient, 'recipient_type', p_role))
    into outgoing
    from unnest(known) as one (recipient)
    where coalesce(
        (
            select count(*)
            from public.beckn_outbox o
            where (o.sender, o.origin, o.recipient) = (platform, writer, one.recipient) and o.work_state in ('available', 'running', 'retryable'))
            < (p_message #>> '{limits,waiting_for_one}')::bigint, true);
    if outgoing is null then
        delete from public.beckn_inbox i where i.inbox_id = (received ->> 'inbox_id')::bigint;
        return case
            when known is null then json_build_object('state', 'nobody')
            else json_build_object('state', 'busy', 'reason', 'waiting_for_one') end;
    end if;
    perform public.beckn_put_outbox(platform, outgoing);
    return received;
end
$$;

-- Takes up to p_limit messages that p_recipient has yet to work on, in their turn; at most p_busiest at a time are of one
-- sender. Answers {"claimed": [{inbox_id, lease_token, sender, action, transaction_id, message_id, body, attempt, expires_at,
-- received_at}…], "died": [{inbox_id, action, sender, message_id, last_error}…] (their time was over, or their last lease ran
-- out), "next_due_seconds": when to look again}.
create or replace function public.beckn_claim_inbox(
    p_recipient text, p_worker text, p_limit integer, p_lease_seconds double precision,
    p_busiest integer default 1000000)
returns json
language plpgsql
set search_path = ''
as $$
declare
    -- A value, and not the volatile function, so that an index finds what is due.
    moment timestamptz := clock_timestamp();
    died json;
    fronts bigint[];
    taken json;
begin
    with ended as (
        select * from public.queue_inbox_expire(p_recipient, moment)
        union all
        select * from public.queue_inbox_sweep(p_recipient, moment)
    )
    select coalesce(json_agg(json_build_object(
        'inbox_id', i.inbox_id, 'action', i.action, 'sender', i.sender, 'message_id', i.message_id,
        'last_error', i.last_error)), '[]')
    into died
    from ended as i;
    perform public.queue_inbox_shed(p_recipient, moment);

    select public.queue_inbox_fronts(
        p_recipient, array_agg(s.sender), array_agg(least(p_limit + 10, p_busiest - s.in_hand)), p_limit, moment)
    into fronts
    from public.queue_inbox_senders(p_recipient, moment) as s;

    select coalesce(
        json_agg(
            json_build_object(
                'inbox_id', i.inbox_id, 'lease_token', i.lease_token, 'sender', i.sender, 'action', i.action,
                'transaction_id', i.transaction_id, 'message_id', i.message_id, 'body', i.body, 'attempt', i.attempt,
                'expires_at', i.expires_at, 'received_at', i.received_at)
            order by i.turn, i.inbox_id), '[]')
    into taken
    from public.queue_inbox_claim(p_recipient, fronts, p_worker, p_limit, moment, p_lease_seconds) as i;
    moment := clock_timestamp();
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', extract(epoch from public.queue_inbox_next_due(p_recipient, moment) - moment));
end
$$;

-- The end of the work on a message: what it leads to goes into the outbox in the same transaction. Repeating it with the
-- same token changes nothing. Answers {"state": "finished" | "fenced"}; fenced: the lease was lost, nothing is stored.
create or replace function public.beckn_finish_inbox(p_inbox_id bigint, p_lease_token bigint, p_outgoing jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    finished public.beckn_inbox;
    is_news boolean := cardinality(public.queue_inbox_complete(array[p_inbox_id], array[p_lease_token])) > 0;
begin
    select * into finished
    from public.beckn_inbox i
    where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.work_state = 'completed';
    if finished.inbox_id is null then
        return json_build_object('state', 'fenced');
    end if;
    if is_news then
        perform public.beckn_put_outbox(finished.recipient, p_outgoing);
    end if;
    return json_build_object('state', 'finished');
end
$$;

-- A message is being worked on still. Answers {"held": whether the lease was}.
create or replace function public.beckn_heartbeat_inbox(
    p_inbox_id bigint, p_lease_token bigint, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', cardinality(public.queue_inbox_heartbeat(
        array[p_inbox_id], array[p_lease_token], clock_timestamp() + make_interval(secs => p_lease_seconds))) > 0)
$$;

-- Gives back a message that the database's own trouble kept from being worked on: uncounted, and due again after
-- p_pause_seconds. Answers {"state": "ready" | "fenced"}.
create or replace function public.beckn_give_back_inbox(
    p_inbox_id bigint, p_lease_token bigint, p_pause_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case
        when public.queue_inbox_release(array[p_inbox_id], array[p_lease_token], p_pause_seconds) > 0 then 'ready'
        else 'fenced' end)
$$;

-- Work that failed: tried again after p_first_retry_seconds and then after twice as long each time, give or take a quarter;
-- dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced"}.
create or replace function public.beckn_fail_inbox(
    p_inbox_id bigint, p_lease_token bigint, p_error text, p_first_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object(
        'state', case failed.work_state when 'discarded' then 'dead' when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_inbox_fail(p_inbox_id, p_lease_token, p_error, p_first_retry_seconds, 300) as failed
$$;

-- Takes up to p_limit messages that p_sender has to deliver now, in their turn, with the URL that is registered for their
-- recipient (null where it is not subscribed any more). At most p_busiest at a time go to one recipient; to one that did not
-- answer the last time none goes before its circuit is to be tried again, and then one, and p_troubled at a time to all of
-- that kind: so recipients that hang leave room for the others. Answers {"claimed": [{outbox_id, lease_token, recipient,
-- recipient_type, action, transaction_id, message_id, body, authorization, attempt, expires_at, url, private_address}…],
-- "died": [{outbox_id, recipient, action, message_id, last_error}…] (their time was over), "next_due_seconds": when to look
-- again}.
create or replace function public.beckn_claim_outbox(
    p_sender text, p_worker text, p_limit integer, p_lease_seconds double precision, p_busiest integer,
    p_troubled integer default 2)
returns json
language plpgsql
set search_path = ''
as $$
declare
    -- A value, and not the volatile function, so that an index finds what is due.
    moment timestamptz := clock_timestamp();
    died json;
    fronts bigint[];
    taken json;
begin
    with ended as (
        select * from public.queue_outbox_expire(p_sender, moment)
        union all
        select * from public.queue_outbox_sweep(p_sender, moment)
    )
    select coalesce(json_agg(json_build_object(
        'outbox_id', o.outbox_id, 'recipient', o.recipient, 'action', o.action, 'message_id', o.message_id,
        'last_error', o.last_error)), '[]')
    into died
    from ended as o;
    perform public.queue_outbox_shed(p_sender, moment);

    with recipients as materialized (
        select s.sender as name, s.in_hand, c.open_until
        from public.queue_outbox_senders(p_sender, moment) as s
        left join public.beckn_circuits c on (c.sender, c.recipient) = (p_sender, s.sender)
    ),
    troubled as materialized (
        select coalesce(sum(r.in_hand), 0) as in_hand from recipients r where r.open_until is not null
    )
    select public.queue_outbox_fronts(
        p_sender, array_agg(r.name),
        array_agg(case
            when r.open_until is null then least(p_limit + 10, p_busiest - r.in_hand)
            when r.open_until <= moment and r.in_hand = 0 and troubled.in_hand < p_troubled then 1
            else 0 end),
        p_limit, moment)
    into fronts
    from recipients r, troubled;

    select coalesce(
        json_agg(
            json_build_object(
                'outbox_id', o.outbox_id, 'lease_token', o.lease_token, 'recipient', o.recipient,
                'recipient_type', o.recipient_type, 'action', o.action, 'domain', o.domain,
                'transaction_id', o.transaction_id, 'message_id', o.message_id, 'body', o.body,
                'authorization', o."authorization", 'attempt', o.attempt, 'expires_at', o.expires_at,
                'url', subscribed.url, 'private_address', subscribed.private_address)
            order by o.turn, o.outbox_id), '[]')
    into taken
    from public.queue_outbox_claim(p_sender, fronts, p_worker, p_limit, moment, p_lease_seconds) as o
    left join lateral (
        select s.url, s.private_address
        from public.beckn_subscribers s
        where s.subscriber_id = o.recipient and s.type = o.recipient_type and s.status = 'SUBSCRIBED'
            and clock_timestamp() between s.valid_from and s.valid_until
        order by s.domain = o.domain desc, s.updated desc
        limit 1) as subscribed on true;
    moment := clock_timestamp();
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', extract(epoch from least(
            public.queue_outbox_next_due(p_sender, moment),
            (
                select min(c.open_until)
                from public.beckn_circuits c
                where c.sender = p_sender and c.open_until > moment)) - moment));
end
$$;

-- The end of an attempt at delivery. p_outcome: delivered, retry, unreachable (a retry, and nothing else goes to this
-- recipient for a while) or dead. A retry comes after p_first_retry_seconds and then after twice as long each time, at most a
-- minute, give or take a quarter; the last one a second before the message's time is over. A recipient that was not reached
-- is left alone for p_first_retry_seconds and then twice as long each time, at most five seconds; one that answers is as
-- any other at once. Answers {"state": "delivered" | "retry" | "dead" | "fenced" (the lease was lost), "due_at"}.
create or replace function public.beckn_settle_outbox(
    p_outbox_id bigint, p_lease_token bigint, p_outcome text, p_error text, p_first_retry_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.beckn_outbox;
    latest timestamptz;
    error text := p_error;
    failed public.beckn_outbox;
begin
    select * into held
    from public.beckn_outbox o
    where o.outbox_id = p_outbox_id and o.lease_token = p_lease_token and o.work_state = 'running'
    for update;
    if held.outbox_id is null then
        return json_build_object('state', 'fenced', 'due_at', null);
    end if;

    if p_outcome = 'unreachable' then
        insert into public.beckn_circuits as c (sender, recipient, failures, open_until)
        values (
            held.sender, held.recipient, 1, clock_timestamp() + make_interval(secs => least(5, p_first_retry_seconds)))
        on conflict (sender, recipient) do update set
            failures = least(c.failures + 1, 30),
            open_until = clock_timestamp() + public.retry_pause(c.failures + 1, p_first_retry_seconds, 5);
    else
        delete from public.beckn_circuits c where (c.sender, c.recipient) = (held.sender, held.recipient);
    end if;

    if p_outcome = 'delivered' then
        perform public.queue_outbox_complete(array[p_outbox_id], array[p_lease_token]);
        return json_build_object('state', 'delivered', 'due_at', null);
    end if;
    latest := held.expires_at - interval '1 second';
    if p_outcome <> 'dead' and latest <= clock_timestamp() then
        error := format('its ttl ended after %s attempts; the last: %s', held.attempt, p_error);
    end if;
    failed := public.queue_outbox_fail(
        p_outbox_id, p_lease_token, error, p_first_retry_seconds, 60, latest,
        p_outcome = 'dead' or latest <= clock_timestamp());
    return json_build_object(
        'state', case failed.work_state when 'retryable' then 'retry' else 'dead' end,
        'due_at', case when failed.work_state = 'retryable' then failed.scheduled_at end);
end
$$;

-- Messages that were finished before p_before, or whose time was over by then and nobody came for them. Those that were
-- answered or delivered go an hour after their time is over, when a replay is refused for its age; those that were given up
-- a week after that. Answers {"inbox": n, "outbox": n}.
create or replace function public.beckn_prune(p_before timestamptz)
returns json
language sql
set search_path = ''
as $$
    with received as (
        delete from public.beckn_inbox i
        where (
                i.work_state in ('completed', 'discarded') and i.finished_at < greatest(
                    p_before, clock_timestamp() - case when i.work_state = 'discarded' then interval '7 days' else interval '1 hour' end)
                and (
                    i.finished_at < p_before
                    or coalesce(i.expires_at, i.received_at + interval '1 day') < clock_timestamp() - interval '1 hour'))
            or (i.work_state in ('available', 'running', 'retryable') and coalesce(i.expires_at, i.received_at) < p_before)
        returning i.inbox_id
    ),
    sent as (
        delete from public.beckn_outbox o
        where (
                o.work_state in ('completed', 'discarded') and o.finished_at < greatest(
                    p_before, clock_timestamp() - case when o.work_state = 'discarded' then interval '7 days' else interval '1 hour' end)
                and (o.finished_at < p_before or o.expires_at < clock_timestamp() - interval '1 hour'))
            or (o.work_state in ('available', 'running', 'retryable') and o.expires_at < p_before)
        returning o.outbox_id
    ),
    counted as (
        delete from public.beckn_usage u where u.day < (clock_timestamp() at time zone 'UTC')::date - 1
    ),
    quiet as (
        delete from public.beckn_circuits c where c.open_until < clock_timestamp() - interval '1 hour'
    )
    select json_build_object(
        'inbox', (select count(*) from received), 'outbox', (select count(*) from sent))
$$;

-- Runners: take, begin, go on, end -----------------------------------------------------------------------------------------
--
-- A runner's run is a booking under a lease that lasts from its being taken to its end, and is extended whenever the runner is
-- heard of. Whoever changes a booking's state holds its data centre's lock first, then the workload's: the one order of all.
-- p_tenant is whose runners may be meant, null for the platform, which means anybody's.

-- A runner registers, at each of its starts. p_message: {runner_id, dc_id, capacity_kw, templates, take_over}. Answers
-- {"state": "registered", "session"}, or "unknown_data_centre" (or another's), or "simulated": it is not run by runners, and
-- the runner does not take it over.
create or replace function public.register_runner(p_message jsonb, p_now timestamptz, p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    centre public.data_centres;
    new_session constant uuid := gen_random_uuid();
begin
    select * into centre
    from public.data_centres d
    where d.dc_id = p_message ->> 'dc_id' and (p_tenant is null or d.tenant = p_tenant)
    for no key update;
    if centre.dc_id is null then
        return json_build_object('state', 'unknown_data_centre');
    end if;
    if centre.execution <> 'runner' then
        if not coalesce((p_message ->> 'take_over')::boolean, false) then
            return json_build_object('state', 'simulated');
        end if;
        -- What is booked there already is simulated as it was to be.
        update public.data_centres set execution = 'runner' where dc_id = centre.dc_id;
    end if;
    insert into public.runners (tenant, runner_id, dc_id, session, capacity_kw, templates, registered_at, seen_at)
    values (
        centre.tenant, p_message ->> 'runner_id', centre.dc_id, new_session, (p_message ->> 'capacity_kw')::double precision,
        p_message -> 'templates', p_now, p_now)
    on conflict (tenant, runner_id) do update
    set dc_id = excluded.dc_id, session = excluded.session, capacity_kw = excluded.capacity_kw,
        templates = excluded.templates, registered_at = excluded.registered_at, seen_at = excluded.seen_at;
    return json_build_object('state', 'registered', 'session', new_session);
end
$$;

-- What a runner's leases are called.
create or replace function public.runner_name(p_tenant text, p_runner_id text)
returns text
language sql
immutable
set search_path = ''
as $$ select format('runner %s of %s', p_runner_id, p_tenant) $$;

-- Leases one run that is due to a runner, of the templates that it names and none that it holds. What it was leased before, and
-- neither holds nor has begun, it never heard of: it has it again, under a new fence. Answers {"state": "ok" | "replaced"
-- (another process has registered by its name) | "unknown", "runs": [{run_id, fence, job_id, template, parameters, starts_at,
-- ends_at, it_power_kw}]}.
create or replace function public.take_runs(
    p_runner_id text, p_session text, p_templates jsonb, p_holding jsonb, p_now timestamptz,
    p_lease_seconds double precision, p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    me public.runners;
    mine text;
    due bigint;
    taken public.capacity_bookings;
begin
    update public.runners r
    set seen_at = p_now
    where r.runner_id = p_runner_id and r.session::text = p_session and (p_tenant is null or r.tenant = p_tenant)
    returning * into me;
    if me.runner_id is null then
        return json_build_object('state', case
            when exists (
                select from public.runners r
                where r.runner_id = p_runner_id and (p_tenant is null or r.tenant = p_tenant)) then 'replaced'
            else 'unknown' end);
    end if;
    mine := public.runner_name(me.tenant, me.runner_id);
    perform public.queue_bookings_sweep('runner', p_now);
    select b.booking_id into due
    from public.capacity_bookings b
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    where b.carried_out_by = 'runner' and b.dc_id = me.dc_id and b.state = 'HELD' and b.starts_at <= p_now
        and p_templates ? (w.run ->> 'template')
        and not (p_holding @> to_jsonb(b.booking_id))
        and (
            (b.work_state = 'available' and b.scheduled_at <= p_now)
            or (b.work_state = 'running' and (b.leased_by = mine or public.has_come(b.leased_until, p_now))))
    order by b.scheduled_at, b.booking_id
    limit 1
    for update of b skip locked;
    if due is null then
        return json_build_object('state', 'ok', 'runs', '[]'::json);
    end if;
    perform public.queue_bookings_release(array[b.booking_id], array[b.lease_token])
    from public.capacity_bookings b
    where b.booking_id = due and b.work_state = 'running';
    select * into taken
    from public.queue_bookings_claim('runner', array[due], mine, 1, p_now, p_lease_seconds);
    insert into public.runs (run_id, runner_tenant, runner_id, fence, taken_at, heard_at)
    values (taken.booking_id, me.tenant, me.runner_id, taken.lease_token, p_now, p_now)
    on conflict (run_id) do update
    set runner_tenant = excluded.runner_tenant, runner_id = excluded.runner_id, fence = excluded.fence,
        taken_at = excluded.taken_at, heard_at = excluded.heard_at;
    return json_build_object('state', 'ok', 'runs', (
        select json_build_array(json_build_object(
            'run_id', taken.booking_id, 'fence', taken.lease_token::text, 'job_id', taken.job_id,
            'template', w.run -> 'template', 'parameters', coalesce(w.run -> 'parameters', '{}'),
            'starts_at', taken.starts_at, 'ends_at', taken.ends_at, 'it_power_kw', taken.it_power_kw))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (taken.tenant, taken.job_id)));
end
$$;

-- The booking of a run, locked in the order of all, while this runner holds it under this fence; else null.
create or replace function public.held_run(p_run_id bigint, p_runner_id text, p_fence text, p_tenant text)
returns public.capacity_bookings
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings;
begin
    perform from public.data_centres d
    where d.dc_id = (select b.dc_id from public.capacity_bookings b where b.booking_id = p_run_id)
    for no key update;
    perform from public.compute_workloads w
    where (w.tenant, w.job_id) in (
        select b.tenant, b.job_id from public.capacity_bookings b where b.booking_id = p_run_id)
    for no key update;
    select b.* into held
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.booking_id = p_run_id and b.work_state = 'running' and b.lease_token::text = p_fence
        and r.runner_id = p_runner_id and (p_tenant is null or r.runner_tenant = p_tenant)
    for update of b;
    return held;
end
$$;

-- A run that its runner is about to begin, as promised_runs has it; null where it is not its runner's, or has begun.
create or replace function public.run_to_begin(
    p_run_id bigint, p_runner_id text, p_fence text, p_tenant text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select public.promised_runs(array[b.booking_id]) -> 0
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.booking_id = p_run_id and b.state = 'HELD' and b.work_state = 'running' and b.lease_token::text = p_fence
        and r.runner_id = p_runner_id and (p_tenant is null or r.runner_tenant = p_tenant)
$$;

-- A runner is about to start a run's command. Its window begins now, and is as long as it was; where there is no power for
-- that, or no time before its deadline, it is given up or decided again. Answers {"standing": "held" | "cancelled" |
-- "deferred" | "fenced"}; only "held" lets it start.
create or replace function public.begin_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_now timestamptz, p_lease_seconds double precision,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    from_now constant timestamptz := case when p_now - held.starts_at <= interval '1 minute' then held.starts_at else p_now end;
    until constant timestamptz := from_now + (held.ends_at - held.starts_at);
begin
    if held.booking_id is null then
        return json_build_object('standing', 'fenced');
    end if;
    if held.state = 'RUNNING' then -- the answer was lost, and it is asked again
        return json_build_object('standing', case when held.cancel_requested_at is null then 'held' else 'cancelled' end);
    end if;
    if from_now > held.starts_at and until > (
        select w.deadline from public.compute_workloads w where (w.tenant, w.job_id) = (held.tenant, held.job_id))
    then
        perform public.end_run(held, 'RELEASED', null, null, 'FAILED', 'It was not started in time to end by its deadline.', p_now);
        return json_build_object('standing', 'deferred');
    end if;
    if held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, from_now, until) then
        perform public.give_run_back(held, 'Its runner was late, and there was no more power for it.', p_now);
        return json_build_object('standing', 'deferred');
    end if;
    update public.capacity_bookings b
    set state = 'RUNNING', starts_at = from_now, ends_at = until, started_at = p_now, lost_leases = 0,
        leased_until = p_now + make_interval(secs => p_lease_seconds)
    where b.booking_id = held.booking_id;
    update public.runs r set began_at = p_now, heard_at = p_now where r.run_id = held.booking_id;
    update public.compute_workloads w
    set status = 'RUNNING', scheduled_start = from_now, actual_start = p_now,
        status_reason = format('The runner %s runs it at %s.', p_runner_id, held.dc_id)
    where (w.tenant, w.job_id) = (held.tenant, held.job_id);
    perform public.log_run(held, 'workload.started');
    return json_build_object('standing', 'held');
end
$$;

-- A run goes on. One that does not end in its window holds the next half-hour too, where there is power for that; else it is to
-- end, and runs.cause says so ('window_over'). Answers {"standing": "held" | "cancelled" | "fenced"}.
create or replace function public.heartbeat_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_energy jsonb, p_now timestamptz, p_lease_seconds double precision,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    until timestamptz := held.ends_at;
    is_to_end boolean := held.cancel_requested_at is not null;
    has_run_out boolean := false;
begin
    if held.state is distinct from 'RUNNING' then
        return json_build_object('standing', 'fenced');
    end if;
    if held.ends_at <= p_now + interval '1 minute' and not is_to_end then
        until := greatest(held.ends_at, public.half_hour_of(p_now)) + interval '30 minutes';
        if held.it_power_kw > public.free_to_move_kw(held.booking_id, held.dc_id, held.starts_at, until) then
            until := held.ends_at;
            has_run_out := held.ends_at <= p_now;
            is_to_end := has_run_out;
        end if;
    end if;
    update public.capacity_bookings b
    set ends_at = until,
        leased_until = p_now + make_interval(secs => p_lease_seconds),
        cancel_requested_at = case when is_to_end then coalesce(b.cancel_requested_at, p_now) end
    where b.booking_id = held.booking_id;
    update public.runs r
    set heard_at = p_now, energy = p_energy, cause = case when has_run_out then 'window_over' else r.cause end
    where r.run_id = held.booking_id;
    return json_build_object('standing', case when is_to_end then 'cancelled' else 'held' end);
end
$$;

-- A runner does not run what it took. Where no runner ever would, its workload fails; else another may take it. Answers
-- {"standing": "held" (until now) | "fenced"}.
create or replace function public.give_back_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_reason text, p_final boolean, p_now timestamptz,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
begin
    if held.state is distinct from 'HELD' then
        return json_build_object('standing', 'fenced');
    end if;
    if p_final then
        perform public.end_run(
            held, 'RELEASED', null, null, 'FAILED', format('The runner %s refused it: %s.', p_runner_id, p_reason), p_now);
    else
        perform public.queue_bookings_release(array[held.booking_id], array[held.lease_token], 5, p_reason);
    end if;
    return json_build_object('standing', 'held');
end
$$;

-- A run has ended. One that was ended because its owner cancelled it is CANCELLED; because its window was over, FAILED: nobody
-- asked for that, and it is not done. p_outcome: {ended, exit_status, signal, cause, reason, output_tail, output_bytes, run_s, energy}; p_account:
-- {status, status_reason, readings: its energy, as record_readings takes it}. Answers
-- {"standing": "held" (until now, or it was told before) | "fenced"}.
create or replace function public.finish_run(
    p_run_id bigint, p_runner_id text, p_fence text, p_outcome jsonb, p_account jsonb, p_now timestamptz,
    p_tenant text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    held public.capacity_bookings := public.held_run(p_run_id, p_runner_id, p_fence, p_tenant);
    outcome public.runs := jsonb_populate_record(null::public.runs, p_outcome);
    was_ended_by text;
begin
    if held.state is distinct from 'RUNNING' then
        return json_build_object('standing', case
            when exists (
                select from public.runs r
                where r.run_id = p_run_id and r.fence::text = p_fence and r.runner_id = p_runner_id
                    and (p_tenant is null or r.runner_tenant = p_tenant) and r.ended is not null and r.cause is distinct from 'silent')
                then 'held'
            else 'fenced' end);
    end if;
    if outcome.cause = 'cancelled' then
        select coalesce(r.cause, 'cancelled') into was_ended_by from public.runs r where r.run_id = held.booking_id;
    end if;
    update public.runs r
    set ended = outcome.ended, exit_status = outcome.exit_status, signal = outcome.signal,
        cause = coalesce(was_ended_by, outcome.cause),
        reason = outcome.reason, output_tail = outcome.output_tail, output_bytes = outcome.output_bytes,
        run_s = outcome.run_s, energy = outcome.energy, heard_at = p_now, ended_at = p_now
    where r.run_id = held.booking_id;
    perform public.end_run(
        held, 'ENDED', held.started_at, greatest(p_now, held.started_at + interval '1 millisecond'),
        case
            when was_ended_by = 'window_over' then 'FAILED'
            when was_ended_by = 'cancelled' and held.cancel_requested_at is not null then 'CANCELLED'
            else p_account ->> 'status' end,
        case
            when was_ended_by = 'window_over'
                then 'It was ended unfinished: its window was over, and there was no more power for it. '
                    || (p_account ->> 'status_reason')
            when was_ended_by = 'cancelled' and held.cancel_requested_at is not null
                then 'Cancelled: ' || coalesce(held.reason, 'no reason given')
            else p_account ->> 'status_reason' end,
        p_now, p_account -> 'readings');
    return json_build_object('standing', 'held');
end
$$;

-- Ends a booking whose locks are held: its power from p_ended_at on is free, its workload has a last status.
create or replace function public.end_run(
    p_held public.capacity_bookings, p_state text, p_started_at timestamptz, p_ended_at timestamptz, p_status text,
    p_reason text, p_now timestamptz, p_readings jsonb default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.capacity_bookings b
    set state = p_state,
        starts_at = coalesce(p_started_at, b.starts_at),
        ends_at = coalesce(p_ended_at, b.ends_at),
        started_at = coalesce(p_started_at, b.started_at),
        ended_at = p_ended_at,
        reason = case when p_state = 'RELEASED' then p_reason else b.reason end,
        work_state = 'completed', lease_token = null, leased_until = null, leased_by = null, finished_at = p_now
    where b.booking_id = p_held.booking_id;
    update public.compute_workloads w
    set status = p_status,
        status_reason = left(p_reason, 1000),
        scheduled_start = case when p_state <> 'RELEASED' then w.scheduled_start end,
        actual_start = coalesce(p_started_at, w.actual_start),
        actual_end = coalesce(p_ended_at, w.actual_end)
    where (w.tenant, w.job_id) = (p_held.tenant, p_held.job_id);
    if p_readings is not null then
        perform public.record_readings(p_held.booking_id, p_readings, p_now);
    end if;
    if p_status <> 'PENDING' then
        perform public.log_run(p_held, case p_state when 'RELEASED' then 'workload.expired' else 'workload.' || lower(p_status) end);
    end if;
end
$$;

-- Tells what has become of a booking's workload. It takes the publishing lock: call it last.
create or replace function public.log_run(p_held public.capacity_bookings, p_event_type text)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(p_held.tenant, p_event_type, p_held.job_id, jsonb_strip_nulls(jsonb_build_object(
        'job_id', w.job_id, 'booking_id', b.booking_id, 'dc_id', b.dc_id, 'carried_out_by', b.carried_out_by,
        'starts_at', b.starts_at, 'ends_at', b.ends_at, 'it_power_kw', b.it_power_kw, 'status', w.status,
        'status_reason', w.status_reason, 'actual_energy_kwh', w.actual_energy_kwh,
        'actual_carbon_gco2', w.actual_carbon_gco2, 'actual_cost_gbp', w.actual_cost_gbp)))
    from public.capacity_bookings b
    join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
    where b.booking_id = p_held.booking_id
$$;

-- Gives a booking's power back, and has its workload decided again. Its locks are held.
create or replace function public.give_run_back(p_held public.capacity_bookings, p_reason text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform public.end_run(p_held, 'RELEASED', null, null, 'PENDING', p_reason, p_now);
    insert into public.workload_notifications (tenant, job_id, reason) values (p_held.tenant, p_held.job_id, 'reconsidered')
    on conflict (tenant, job_id) where work_state <> 'completed' do nothing;
    perform pg_notify('workload_ready', '');
    perform public.log_run(p_held, 'workload.displaced');
end
$$;

-- What a run that is lost has used, as far as it was heard of, as record_readings takes it.
create or replace function public.readings_so_far(p_run_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_agg(jsonb_build_object(
        'half_hour', e.half_hour, 'it_energy_wh', round(e.energy_kwh::numeric * 1000, 3),
        'site_energy_wh', greatest(
            round(e.energy_kwh::numeric * 1000, 3), round((e.energy_kwh * 1000 * d.pue)::numeric, 3)), 'source', e.source))
    from public.runs r
    join public.capacity_bookings b on b.booking_id = r.run_id
    join public.data_centres d on d.dc_id = b.dc_id
    cross join lateral jsonb_to_recordset(r.energy) as e (half_hour timestamptz, energy_kwh double precision, source text)
    where r.run_id = p_run_id
$$;

-- Ends what no runner will: runs whose runner has not been heard of for so long that its lease ran out (they may have run, and
-- are never run again; only if p_lost_too, as runners could not be heard just before), what names nothing to run where runners
-- run, and what no runner took in its window. One at a call, in a transaction of its own, as each is told of. Answers
-- {"settled": [job_id…]}.
create or replace function public.settle_silent_runs(p_now timestamptz, p_lost_too boolean default true)
returns json
language plpgsql
set search_path = ''
as $$
declare
    one record;
    held public.capacity_bookings;
    settled text[] := '{}';
begin
    for one in
        select b.booking_id, b.dc_id, b.tenant, b.job_id
        from public.capacity_bookings b
        join public.compute_workloads w on (w.tenant, w.job_id) = (b.tenant, b.job_id)
        where b.carried_out_by = 'runner'
            and (
                (p_lost_too and b.state = 'RUNNING' and b.work_state = 'running' and b.leased_until <= p_now)
                or (b.state = 'HELD' and b.starts_at <= p_now and w.run is null)
                or (b.state = 'HELD' and b.ends_at <= p_now
                    and (b.work_state <> 'running' or b.leased_until <= p_now)))
        order by b.dc_id, b.tenant, b.job_id
        limit 1
    loop
        perform from public.data_centres d where d.dc_id = one.dc_id for no key update;
        perform from public.compute_workloads w where (w.tenant, w.job_id) = (one.tenant, one.job_id) for no key update;
        select * into held from public.capacity_bookings b where b.booking_id = one.booking_id for update;
        if held.state = 'RUNNING' and held.leased_until <= p_now then
            update public.runs r
            set ended = 'lost', cause = 'silent', ended_at = p_now
            where r.run_id = held.booking_id;
            perform public.end_run(
                held, 'ENDED', held.started_at, greatest(p_now, held.started_at + interval '1 millisecond'), 'FAILED',
                format('It was lost: nothing was heard of %s for too long. What it has done is not known, and it is not run again.',
                    held.leased_by), p_now, public.readings_so_far(held.booking_id));
        elsif held.state = 'HELD' then
            perform public.end_run(held, 'RELEASED', null, null, 'FAILED', case
                when exists (
                    select from public.compute_workloads w
                    where (w.tenant, w.job_id) = (held.tenant, held.job_id) and w.run is null)
                    then format('%s is run by runners, and it names nothing for them to run: submit it with "run".', held.dc_id)
                else format('No runner of %s took it in its window.', held.dc_id) end, p_now);
        else
            continue;
        end if;
        settled := settled || held.job_id;
    end loop;
    return json_build_object('settled', settled);
end
$$;

-- Where a run is: {dc_id, pue, region_id}, or null.
create or replace function public.run_place(p_run_id bigint)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('dc_id', d.dc_id, 'pue', d.pue, 'region_id', d.region_id)
    from public.capacity_bookings b
    join public.data_centres d on d.dc_id = b.dc_id
    where b.booking_id = p_run_id
$$;

-- Who is registered, by name: {"runners": [{runner_id, dc_id, capacity_kw, templates, seen_at, running}…]}.
create or replace function public.list_runners(p_tenant text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('runners', coalesce(json_agg(json_build_object(
        'runner_id', r.runner_id, 'dc_id', r.dc_id, 'capacity_kw', r.capacity_kw, 'templates', r.templates,
        'seen_at', r.seen_at, 'running', (
            select count(*)
            from public.runs n
            where (n.runner_tenant, n.runner_id) = (r.tenant, r.runner_id) and n.began_at is not null and n.ended is null))
        order by r.tenant, r.runner_id), '[]'))
    from (
        select * from public.runners r where p_tenant is null or r.tenant = p_tenant
        order by r.tenant, r.runner_id limit 1000) as r
$$;

-- What can be asked for by name, of every operator's runners: {"templates": [{name, dc_id, parameters: {name: {pattern,
-- optional}}}…]}.
create or replace function public.offered_templates()
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('templates', coalesce(json_agg(json_build_object(
        'name', t.name, 'dc_id', r.dc_id, 'parameters', t.template -> 'parameters') order by t.name, r.dc_id), '[]'))
    from public.runners r
    cross join lateral jsonb_each(r.templates) as t (name, template)
$$;

-- What the newest run of a workload has come to: {run_id, job_id, runner_id, began_at, heard_at, ended, …}; null where it was
-- never taken.
create or replace function public.workload_run(p_job_id text, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'run_id', r.run_id, 'job_id', b.job_id, 'dc_id', b.dc_id, 'runner_id', r.runner_id, 'taken_at', r.taken_at,
        'began_at', r.began_at, 'heard_at', r.heard_at, 'ended', r.ended, 'exit_status', r.exit_status, 'signal', r.signal,
        'cause', r.cause, 'reason', r.reason, 'output_tail', r.output_tail, 'output_bytes', r.output_bytes,
        'run_s', r.run_s, 'energy', r.energy, 'ended_at', r.ended_at)
    from public.capacity_bookings b
    join public.runs r on r.run_id = b.booking_id
    where b.job_id = p_job_id and (p_operator is null or b.tenant = p_operator)
    order by b.booking_id desc
    limit 1
$$;



-- Negotiations -----------------------------------------------------------------------------------------------------------
--
-- Locks: the table where one is opened or stepped, the negotiation, then as everywhere: data centres, notifications, workloads,
-- bookings, and last the publishing lock.

do $once$
declare
    written text;
begin
    foreach written in array array['negotiation_messages', 'negotiation_awards', 'negotiation_payments'] loop
        execute format(
            'create or replace trigger refuse_row_change before update or delete on public.%I '
            'for each row execute function public.refuse_audit_change()', written);
        execute format(
            'create or replace trigger refuse_truncate before truncate on public.%I '
            'for each statement execute function public.refuse_audit_change()', written);
        execute format('alter table public.%I enable always trigger refuse_row_change', written);
        execute format('alter table public.%I enable always trigger refuse_truncate', written);
    end loop;
end
$once$;

-- A negotiation as programs read it.
create or replace function public.negotiation_row(n public.negotiations)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'negotiation_id', n.negotiation_id, 'tenant', n.tenant, 'name', n.name, 'started_by', n.started_by,
        'limit_key', n.limit_key, 'starts_at', n.starts_at, 'half_hours', n.half_hours, 'round_seconds', n.round_seconds,
        'most_rounds', n.most_rounds, 'closes_at', n.closes_at, 'state', n.state, 'state_reason', n.state_reason,
        'round', n.round, 'award_number', n.award_number, 'answer_by', n.answer_by, 'outcome', n.outcome,
        'version', n.version, 'opened_at', n.opened_at, 'updated_at', n.updated_at)
$$;

-- Tells how far a negotiation has come in the log of events, to whoever opened it and to every operator whose agents take part:
-- what they know in common, and nothing that was proposed, awarded or paid. Takes the publishing lock: call it last.
create or replace function public.log_negotiation(p_negotiation_id uuid, p_event_type text)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(
        nullif(knows.tenant, 'platform'), p_event_type, null, jsonb_strip_nulls(jsonb_build_object(
            'negotiation_id', n.negotiation_id, 'name', n.name, 'started_by', n.started_by, 'limit_key', n.limit_key,
            'starts_at', n.starts_at, 'half_hours', n.half_hours, 'state', n.state, 'state_reason', n.state_reason,
            'round', n.round, 'award_number', n.award_number, 'cost_gbp', n.outcome -> 'cost_gbp',
            'alone_gbp', n.outcome -> 'alone_gbp', 'bound_gbp', n.outcome -> 'bound_gbp')),
        n.negotiation_id::text)
    from public.negotiations n
    cross join lateral (
        select n.tenant
        union
        select a.tenant from public.negotiation_agents a where a.negotiation_id = n.negotiation_id
        order by 1) as knows
    where n.negotiation_id = p_negotiation_id
$$;

-- Opens a negotiation. p_operator: who opens it, whatever p_negotiation says. p_negotiation: {tenant (null: the platform),
-- name, started_by, limit_key, starts_at, half_hours, round_seconds, most_rounds, closes_at, document (what tells a repeat
-- from a change), agents: [{agent, tenant (null: whoever opens it), kind, dc_id, endowment_mw, least_mw, most_mw,
-- declared}…]}, checked by whoever calls. Answers {"state": "opened" | "already" (the same, again) | "different" (another of
-- this name) | "past" (its first half-hour has begun) | "limit_in_use" (another about this limit is open) | "too_many" (of this
-- tenant are open) | "too_often" (it opened as many as it may within the last hour) | "unknown_operator" | "unknown_data_centre"
-- (there is none, or it is not its agent's), "negotiation", "detail": the agent at fault}. Nothing is
-- stored but where it is opened.
create or replace function public.open_negotiation(p_negotiation jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.negotiations := jsonb_populate_record(null::public.negotiations, p_negotiation);
    most constant integer := 10; -- open at a time, of a tenant: one coordinator carries on everybody's
    most_an_hour constant integer := 200; -- by hand
    found public.negotiations;
    at_fault text;
begin
    lock table public.negotiations in share row exclusive mode; -- one at a time, so that a limit is not opened twice unseen
    given.tenant := coalesce(p_operator, given.tenant, 'platform');
    select * into found from public.negotiations n where (n.tenant, n.name) = (given.tenant, given.name);
    if found.negotiation_id is not null then
        return json_build_object(
            'state', case when found.document = coalesce(given.document, '{}') then 'already' else 'different' end,
            'negotiation', public.negotiation_row(found));
    end if;
    if given.starts_at <= p_now then
        return json_build_object('state', 'past', 'negotiation', null);
    end if;
    select * into found
    from public.negotiations n
    where n.limit_key = given.limit_key and n.state in ('OPEN', 'ROUND', 'AWARDED');
    if found.negotiation_id is not null then
        return json_build_object('state', 'limit_in_use', 'negotiation', public.negotiation_row(found));
    end if;
    if (
        select count(*)
        from public.negotiations n
        where n.tenant = given.tenant and n.state in ('OPEN', 'ROUND', 'AWARDED')) >= most
    then
        return json_build_object('state', 'too_many', 'negotiation', null);
    end if;
    -- What is said in one is kept for good.
    if given.started_by = 'hand' and (
        select count(*)
        from public.negotiations n
        where n.tenant = given.tenant and n.started_by = 'hand' and n.opened_at > p_now - interval '1 hour'
            and n.opened_at <= p_now) >= most_an_hour
    then
        return json_build_object('state', 'too_often', 'negotiation', null);
    end if;
    select a ->> 'agent' into at_fault
    from jsonb_array_elements(p_negotiation -> 'agents') as a
    -- Whoever has booked work is known, with an operator or without.
    where given.started_by = 'hand' and coalesce(a ->> 'tenant', given.tenant) not in (given.tenant, 'platform')
        and not exists (select from public.operators o where o.operator_id = a ->> 'tenant')
    limit 1;
    if at_fault is not null then
        return json_build_object('state', 'unknown_operator', 'negotiation', null, 'detail', at_fault);
    end if;
    select a ->> 'agent' into at_fault
    from jsonb_array_elements(p_negotiation -> 'agents') as a
    where a ->> 'dc_id' is not null
        and not exists (
            select
            from public.data_centres d
            where d.dc_id = a ->> 'dc_id'
                and (given.tenant = 'platform' or d.tenant = coalesce(a ->> 'tenant', given.tenant)))
    limit 1;
    if at_fault is not null then
        return json_build_object('state', 'unknown_data_centre', 'negotiation', null, 'detail', at_fault);
    end if;
    insert into public.negotiations (
        tenant, name, started_by, limit_key, starts_at, half_hours, round_seconds, most_rounds, closes_at, document,
        scheduled_at, opened_at)
    values (
        given.tenant, given.name, given.started_by, given.limit_key, given.starts_at, given.half_hours, given.round_seconds,
        given.most_rounds, given.closes_at, coalesce(given.document, '{}'), p_now, p_now)
    returning * into found;
    insert into public.negotiation_agents (
        negotiation_id, agent, tenant, opened_by, kind, dc_id, endowment_mw, least_mw, most_mw, declared)
    select
        found.negotiation_id, a.agent, coalesce(a.tenant, found.tenant), found.tenant, a.kind, a.dc_id, a.endowment_mw,
        a.least_mw, a.most_mw, coalesce(a.declared, '{}')
    from jsonb_to_recordset(p_negotiation -> 'agents') as a (
        agent text, tenant text, kind text, dc_id text, endowment_mw double precision[], least_mw double precision[],
        most_mw double precision[], declared jsonb);
    perform pg_notify('negotiations', '');
    perform public.log_negotiation(found.negotiation_id, 'negotiation.opened');
    return json_build_object('state', 'opened', 'negotiation', public.negotiation_row(found));
end
$$;

-- Which limits bind in the p_half_hours from p_starts_at on, that nobody negotiates over yet: what is booked exceeds them, or
-- ("is_over": false) leaves no room for the least of the work that two agents or more have under them and could move, some of it
-- booked since they negotiated over it last, or that was six hours ago. Limits are:
-- "region_limit", what the data centres of a region may draw together, all they draw counted (p_region_limits: [{region_id,
-- limit_mw}…]); "flexibility_need", what those of an event may draw for runs after what was sold of them; "contention", what one
-- data centre has for bookings, of several owners, where it has promised more, or its power is worth something by the prices of
-- the joint plan. Null where none binds, else {"limits": [{limit_key, started_by, is_over, limit_mw, drawn_mw (of site power by
-- half-hour, in bookings), booked: [{booking_key, operator, job_id, dc_id, starts_at, ends_at, it_power_kw}…] (what a decision has
-- placed there and has not begun, in the order of the promises), free_kw: {dc_id: [kW…]} (IT power that its data centres have free,
-- below 0 where more is promised than there is)}…], "contexts": decision_contexts of all of it}. As many limits as are negotiated
-- over at a time, of both kinds, by the moment in another order: of some nothing may come, and those hold up no other. As much
-- work as is planned in seconds.
create or replace function public.binding_limits(
    p_now timestamptz, p_starts_at timestamptz, p_half_hours integer, p_region_limits jsonb)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    until constant timestamptz := p_starts_at + p_half_hours * interval '30 minutes';
    worth jsonb;
    limits jsonb;
begin
    select p.gbp_per_kw into worth
    from public.capacity_prices p
    where p.slot between public.half_hour_of(p_now) - interval '30 minutes' and public.half_hour_of(p_now)
    order by p.slot desc
    limit 1;
    with places as materialized (
        select 'region:' || d.region_id as limit_key, 'region_limit' as started_by, d.dc_id, r.limit_mw, null::uuid as event_id,
            null::text as unit_id
        from jsonb_to_recordset(p_region_limits) as r (region_id integer, limit_mw double precision)
        join public.data_centres d on d.region_id = r.region_id and d.status <> 'OFFLINE'
        union all
        -- Whose work is booked there is told the limit's key, and no event or unit that may be another operator's.
        select distinct 'flexibility:' || md5(b.event_id || ':' || b.unit_id), 'flexibility_need', b.dc_id,
            null::double precision, b.event_id, b.unit_id
        from public.flexibility_events e
        join public.flexibility_baselines b on b.event_id = e.event_id
        where e.state in ('COMMITTED', 'NOTIFIED') and e.ends_at > p_starts_at and e.starts_at < until
        union all
        select 'data_centre:' || d.dc_id, 'contention', d.dc_id, public.capacity_kw(d)::double precision * d.pue / 1000, null, null
        from public.data_centres d
        where d.status <> 'OFFLINE' and (
            coalesce(worth ? d.dc_id, false)
            or exists (
                select from public.held_power h
                where h.dc_id = d.dc_id and h.half_hour >= p_starts_at and h.half_hour < until
                    and h.held_kw > public.capacity_kw(d)))
    ),
    asked as materialized (
        select
            p.*, d.pue, public.capacity_kw(d) as capacity_kw,
            d.total_capacity_mw * coalesce(d.base_load_percentage, d.current_load_percentage) / 100 * d.pue as base_mw
        from places p
        join public.data_centres d on d.dc_id = p.dc_id
        where not exists (
            select from public.negotiations n
            where n.limit_key = p.limit_key and (n.starts_at = p_starts_at or n.state in ('OPEN', 'ROUND', 'AWARDED')))
    ),
    slots as (
        select i, p_starts_at + i * interval '30 minutes' as half_hour from generate_series(0, p_half_hours - 1) as i
    ),
    drawn as (
        select a.limit_key, touched.half_hour, sum(b.it_power_kw::double precision * a.pue / 1000) as mw
        from asked a
        join public.capacity_bookings b
            on b.dc_id = a.dc_id and b.state in ('HELD', 'RUNNING') and b.starts_at < until and b.ends_at > p_starts_at
            -- What keeps power free draws none.
            and (b.source <> 'flexibility' or a.started_by = 'contention')
        cross join lateral generate_series(
            greatest(p_starts_at, public.half_hour_of(b.starts_at)), least(b.ends_at, until) - interval '1 microsecond',
            interval '30 minutes') as touched (half_hour)
        group by a.limit_key, touched.half_hour
    ),
    movable as materialized (
        select
            a.limit_key, a.pue, c.booking_id, c.booking_key, c.tenant as operator, c.job_id, c.dc_id, c.starts_at, c.ends_at,
            c.it_power_kw::double precision as it_power_kw, c.created_at
        from asked a
        join public.capacity_bookings c on c.dc_id = a.dc_id
        where c.state = 'HELD' and c.source = 'decision' and c.work_state = 'available'
            and c.carried_out_by in ('simulation', 'runner') and c.starts_at >= p_starts_at and c.ends_at <= until
    ),
    wanting as (
        select m.limit_key, min(m.it_power_kw * m.pue / 1000) as least_mw
        from movable m
        group by m.limit_key
        -- Nothing new comes of the same work: until other is booked there too, or figures have changed in hours.
        having count(distinct (m.dc_id, m.operator)) > 1 and coalesce(
            max(m.created_at) > (
                select max(n.updated_at)
                from public.negotiations n
                where n.limit_key = m.limit_key and n.opened_at between p_now - interval '6 hours' and p_now),
            true)
    ),
    limited as (
        select
            a.limit_key, a.started_by, s.i, s.half_hour,
            case a.started_by
                when 'region_limit' then min(a.limit_mw) - sum(a.base_mw)
                when 'contention' then min(a.limit_mw)
                else coalesce(2 * (
                    (
                        select sum(b.baseline_mwh) from public.flexibility_baselines b
                        where (b.event_id, b.unit_id, b.half_hour) = (a.event_id, a.unit_id, s.half_hour))
                    - coalesce((
                        select sum(c.committed_mwh) from public.flexibility_commitments c
                        where (c.event_id, c.unit_id, c.half_hour) = (a.event_id, a.unit_id, s.half_hour)), 0)
                    + coalesce((
                        select sum(f.discharge_mw) / 2 from public.flexibility_storage f
                        where (f.event_id, f.unit_id, f.half_hour) = (a.event_id, a.unit_id, s.half_hour)), 0))::double precision,
                    10000) end as mw -- without an event there is no limit
        from asked a
        cross join slots s
        group by a.limit_key, a.started_by, a.event_id, a.unit_id, s.i, s.half_hour
    ),
    binding as (
        select
            l.limit_key, l.started_by, bool_or(coalesce(d.mw, 0) > l.mw + 1e-6) as is_over,
            jsonb_agg(l.mw order by l.i) as limit_mw, jsonb_agg(coalesce(d.mw, 0) order by l.i) as drawn_mw
        from limited l
        left join drawn d on (d.limit_key, d.half_hour) = (l.limit_key, l.half_hour)
        left join wanting w on w.limit_key = l.limit_key
        group by l.limit_key, l.started_by
        having bool_or(coalesce(d.mw, 0) > l.mw + 1e-6 or coalesce(d.mw, 0) + w.least_mw > l.mw + 1e-6)
    ),
    in_turn as (
        select b.*, row_number() over (partition by b.is_over order by md5(b.limit_key || p_now), b.limit_key) as turn
        from binding b
        order by turn, b.is_over desc
        limit 5
    )
    select jsonb_agg(to_jsonb(b) - 'turn' || jsonb_build_object(
        'booked', (
            select coalesce(jsonb_agg(to_jsonb(one) - '{booking_id,limit_key,pue,created_at}'::text[] order by one.booking_id), '[]')
            from (
                select * from movable m where m.limit_key = b.limit_key order by m.it_power_kw desc, m.booking_id limit 100) as one),
        'free_kw', (
            select jsonb_object_agg(a.dc_id, (
                select jsonb_agg((a.capacity_kw - coalesce(h.held_kw, 0))::double precision order by s.i)
                from slots s
                left join public.held_power h on (h.dc_id, h.half_hour) = (a.dc_id, s.half_hour)))
            from asked a
            where a.limit_key = b.limit_key and exists (
                select from movable m where (m.limit_key, m.dc_id) = (a.limit_key, a.dc_id)))) order by b.limit_key)
    into limits
    from in_turn b;
    if limits is null then
        return null;
    end if;
    return json_build_object(
        'limits', limits,
        'contexts', public.decision_contexts(
            coalesce((
                select jsonb_agg(distinct jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(limits) as l
                cross join lateral jsonb_array_elements(l -> 'booked') as one), '[]'),
            p_now));
end
$$;

-- Takes up to p_limit negotiations whose next step is due on a lease. Answers {"claimed": [negotiation with its lease_token,
-- its agents and all that was said…], "next_due_at"}.
create or replace function public.claim_negotiations(
    p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due uuid[];
    claimed json;
begin
    perform public.queue_negotiations_sweep(null, p_now);
    -- Named one by one: a step may be due in hours and days, which to the engine would be a clock that was set back.
    -- One that is due later than any is put off to (see negotiation.steps) was put off by a clock that has been set back since.
    select coalesce(array_agg(ready.negotiation_id order by ready.scheduled_at, ready.negotiation_id), '{}') into due
    from public.negotiations ready
    where (
            ready.work_state = 'available'
            and (
                ready.scheduled_at <= p_now
                or ready.scheduled_at > case
                    when ready.state in ('OPEN', 'ROUND', 'AWARDED') then p_now + interval '15 minutes'
                    else greatest(p_now, ready.starts_at + ready.half_hours * interval '30 minutes') + interval '1 hour' end))
        or (ready.work_state = 'running' and public.has_come(ready.leased_until, p_now));
    select coalesce(json_agg(
        public.negotiation_row(n) || jsonb_build_object(
            'lease_token', n.lease_token,
            'agents', (
                select jsonb_agg(jsonb_build_object(
                    'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'pue', d.pue,
                    'endowment_mw', a.endowment_mw, 'least_mw', a.least_mw, 'most_mw', a.most_mw, 'declared', a.declared,
                    'state', a.state) order by a.agent)
                from public.negotiation_agents a
                left join public.data_centres d on d.dc_id = a.dc_id
                where a.negotiation_id = n.negotiation_id),
            'messages', (
                select coalesce(jsonb_agg(jsonb_build_object(
                    'agent', m.agent, 'round', m.round, 'sender', m.sender, 'performative', m.performative,
                    'body', m.body) order by m.message_number), '[]')
                from public.negotiation_messages m
                where m.negotiation_id = n.negotiation_id)) order by n.opened_at, n.negotiation_id), '[]')
    into claimed
    from public.queue_negotiations_claim(null, due, p_worker, p_limit, p_now, p_lease_seconds) as n;
    return json_build_object(
        'claimed', claimed,
        'next_due_at', least(
            public.queue_negotiations_next_due(null, p_now),
            (
                select min(n.scheduled_at) from public.negotiations n
                where n.work_state = 'available' and n.scheduled_at > p_now)));
end
$$;

-- Holds a lease until p_now + p_lease_seconds. Answers whether it was still held.
create or replace function public.heartbeat_negotiation(
    p_negotiation_id uuid, p_lease_token bigint, p_now timestamptz, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select to_json(cardinality(public.queue_negotiations_heartbeat(
        array[p_negotiation_id], array[p_lease_token], p_now + make_interval(secs => p_lease_seconds))) = 1)
$$;

-- What the booked work of a negotiation's agents drew in its half-hours, by its meters: {"is_metered" (nothing of it runs still,
-- or is yet to be metered), "metered_mwh": {agent: [text by half-hour]}, "system_prices"}. Agents without such work are left out.
create or replace function public.negotiation_metered(p_negotiation_id uuid)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    until timestamptz;
    runs bigint[];
begin
    select * into negotiation from public.negotiations n where n.negotiation_id = p_negotiation_id;
    until := negotiation.starts_at + negotiation.half_hours * interval '30 minutes';
    select coalesce(array_agg(b.booking_id), '{}') into runs
    from public.negotiation_agents a
    cross join lateral jsonb_array_elements(a.declared -> 'jobs') as job
    join public.capacity_bookings b on (b.tenant, b.job_id, b.dc_id) = (a.tenant, job ->> 'job_id', a.dc_id)
    where a.negotiation_id = p_negotiation_id and job ? 'booking_key' and b.state <> 'RELEASED'
        and b.starts_at < until and b.ends_at > negotiation.starts_at;
    return json_build_object(
        'is_metered', not exists (
            select from public.capacity_bookings b
            where b.booking_id = any (runs)
                and (b.state in ('HELD', 'RUNNING') or (b.state = 'ENDED' and b.work_state <> 'completed'))),
        'metered_mwh', (
            select coalesce(json_object_agg(a.agent, (
                select json_agg(trim_scale(coalesce(drawn.wh, 0) / 1000000)::text order by slot.half_hour)
                from generate_series(
                    negotiation.starts_at, until - interval '1 second', interval '30 minutes') as slot (half_hour)
                left join (
                    select r.half_hour, sum(r.site_energy_wh) as wh
                    from public.newest_readings(runs) as r
                    join public.capacity_bookings b on b.booking_id = r.booking_id
                    where (b.tenant, b.dc_id) = (a.tenant, a.dc_id)
                    group by r.half_hour) as drawn on drawn.half_hour = slot.half_hour)), '{}')
            from public.negotiation_agents a
            where a.negotiation_id = p_negotiation_id and a.declared @? '$.jobs[*].booking_key'),
        'system_prices', public.system_prices_between(negotiation.starts_at, until));
end
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter. Answers {"state": "retry" | "fenced"}.
create or replace function public.fail_negotiation(
    p_negotiation_id uuid, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_negotiations_fail(
        p_negotiation_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- Gives back the power that a negotiation holds, for whoever has its lock.
create or replace function public.release_negotiation(p_negotiation_id uuid, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.negotiation_id = p_negotiation_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = p_state, reason = p_reason, ended_at = clock_timestamp()
    where b.negotiation_id = p_negotiation_id and b.state = 'HELD';
    if found then
        perform public.let_waiting_ask_again();
    end if;
end
$$;

-- Holds the power of an award in place of what the negotiation held before. p_holds: [{tenant, dc_id, starts_at, ends_at,
-- it_power_kw}…]. Answers a data centre that has not the power, and then nothing has changed; null where all is held.
create or replace function public.hold_for_negotiation(p_negotiation_id uuid, p_holds jsonb)
returns text
language plpgsql
set search_path = ''
as $$
declare
    hold record;
    short text;
begin
    perform from public.data_centres d
    where d.dc_id in (
        select h ->> 'dc_id' from jsonb_array_elements(p_holds) as h
        union
        select b.dc_id from public.capacity_bookings b where b.negotiation_id = p_negotiation_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = 'RELEASED', reason = 'a newer award takes its place', ended_at = clock_timestamp()
    where b.negotiation_id = p_negotiation_id and b.state = 'HELD';
    for hold in
        select *
        from jsonb_to_recordset(p_holds) as h (
            tenant text, dc_id text, starts_at timestamptz, ends_at timestamptz, it_power_kw numeric)
        order by h.dc_id, h.starts_at
    loop
        select d.dc_id into short
        from public.data_centres d
        where d.dc_id = hold.dc_id
            and (d.status <> 'ACTIVE' or hold.it_power_kw > greatest(
                0, public.capacity_kw(d) - public.most_held_kw(d.dc_id, hold.starts_at, hold.ends_at)));
        if short is not null then
            raise exception '%', short using errcode = 'PYN01';
        end if;
        insert into public.capacity_bookings (
            dc_id, tenant, job_id, source, starts_at, ends_at, it_power_kw, carried_out_by, work_state, scheduled_at,
            negotiation_id)
        values (
            hold.dc_id, hold.tenant, null, 'negotiation', hold.starts_at, hold.ends_at, hold.it_power_kw, 'negotiation',
            'completed', hold.starts_at, p_negotiation_id);
    end loop;
    return null;
exception
    when sqlstate 'PYN01' then
        return sqlerrm; -- and nothing of the above has happened
end
$$;

-- Moves the booked work of an award: each gives its place back and its new decision is published, all in this transaction or
-- not at all. p_award: {moves: [{operator, job_id, booking_key, dc_id, from_starts_at, starts_at, record}…], grid,
-- grid_version}. Answers why nothing has happened: "work_changed" where one of them is no longer as it was looked at, or the
-- power it was to have has gone; "outdated" where the grid is another; null where all is done.
create or replace function public.move_for_negotiation(p_award jsonb, p_now timestamptz)
returns text
language plpgsql
set search_path = ''
as $$
declare
    moves jsonb;
begin
    select jsonb_agg(m || jsonb_build_object(
        'tenant', m ->> 'operator', 'booking_id', b.booking_id, 'from_dc_id', m ->> 'dc_id', 'to_dc_id', m ->> 'dc_id',
        -- What its run would have been without a decision is as it was: savings are counted against it.
        'record', jsonb_set(m -> 'record', '{booking,run_now}', coalesce(b.run_now, 'null'))))
    into moves
    from jsonb_array_elements(p_award -> 'moves') as m
    left join public.capacity_bookings b on b.booking_key = (m ->> 'booking_key')::uuid;
    if not public.take_places_back(
        moves, 'negotiation', 'it moves by a negotiation', 'It moves by a negotiation and is decided again.', p_now)
    then
        return 'work_changed';
    end if;
    -- Before the publishing lock: whoever lets the same ask again at this moment wants that lock next.
    perform public.let_waiting_ask_again();
    perform public.publish_moves(moves, null, p_award -> 'grid', p_award ->> 'grid_version');
    perform public.log_event(
        m ->> 'operator', 'workload.moved', m ->> 'job_id',
        jsonb_build_object(
            'job_id', m ->> 'job_id', 'operator', m ->> 'operator', 'reason', 'by a negotiation', 'at', p_now,
            'from', public.place_of(before), 'to', public.place_of(after)))
    from jsonb_array_elements(moves) as m
    join public.capacity_bookings before on before.booking_id = (m ->> 'booking_id')::bigint
    join public.capacity_bookings after
        on (after.tenant, after.job_id) = (before.tenant, before.job_id) and after.state = 'HELD';
    return null;
exception
    when sqlstate 'PYM01' then
        return sqlerrm; -- and nothing of the above has happened
end
$$;

-- One step of a negotiation, under its lease, in one transaction: what is said, what becomes of its agents and, where it is
-- awarded, the awards, the payments and the power that they hold. p_step: {negotiation_id, lease_token, version, state, reason,
-- round, award_number, answer_by, outcome, due_at (of the next step; null: there is none), now, agents: [{agent, state}…],
-- messages: [{agent, round, performative, sender, message_id, body}…], and where it is awarded: award: {award_id, awards:
-- [{agent, draw_mw, cost_gbp, fallback_gbp, pays_gbp}…], payments: [{payer, payee, amount_gbp}…], holds: [{agent, starts_at,
-- ends_at, it_power_kw}…], moves, grid, grid_version (see move_for_negotiation)}}. Answers {"state": "changed" | "fenced" (the
-- lease was lost) | "outdated" (something was said meanwhile, or the grid is another: look again) | "work_changed" (what would
-- move is no longer as it was) | "no_room" (a data centre no longer has the power that the award would hold), "dc_id"}.
create or replace function public.step_negotiation(p_step jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    moment constant timestamptz := (p_step ->> 'now')::timestamptz;
    next_step_at constant timestamptz := (p_step ->> 'due_at')::timestamptz;
    to_state constant text := p_step ->> 'state';
    award constant jsonb := nullif(p_step -> 'award', 'null');
    number constant integer := (p_step ->> 'award_number')::integer;
    short text;
    unmoved text;
begin
    -- Before any other lock: whoever opens a negotiation has the table to itself, and then wants the publishing lock, which a
    -- step that moves work has before it writes here.
    lock table public.negotiations in row exclusive mode;
    select * into negotiation
    from public.negotiations n
    where n.negotiation_id = (p_step ->> 'negotiation_id')::uuid
    for update;
    if negotiation.negotiation_id is null or negotiation.work_state <> 'running'
        or negotiation.lease_token is distinct from (p_step ->> 'lease_token')::bigint
    then
        return json_build_object('state', 'fenced');
    end if;
    if negotiation.version is distinct from (p_step ->> 'version')::bigint then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(award -> 'moves', 'null')) > 0 then
        if jsonb_array_length(award -> 'holds') > 0 then
            raise exception 'an award either moves work that holds its power, or holds power'; -- one of them may fail alone
        end if;
        unmoved := public.move_for_negotiation(award, moment);
        if unmoved is not null then
            return json_build_object('state', unmoved);
        end if;
    end if;
    if award is not null then
        short := public.hold_for_negotiation(negotiation.negotiation_id, (
            select coalesce(jsonb_agg(h || jsonb_build_object('tenant', a.tenant, 'dc_id', a.dc_id)), '[]')
            from jsonb_array_elements(award -> 'holds') as h
            join public.negotiation_agents a
                on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, h ->> 'agent')));
        if short is not null then
            return json_build_object('state', 'no_room', 'dc_id', short);
        end if;
        insert into public.negotiation_awards (
            negotiation_id, award_number, agent, tenant, opened_by, award_id, draw_mw, cost_gbp, fallback_gbp, pays_gbp,
            awarded_at)
        select
            negotiation.negotiation_id, number, a.agent, a.tenant, a.opened_by, (award ->> 'award_id')::uuid, w.draw_mw,
            w.cost_gbp, w.fallback_gbp, w.pays_gbp, moment
        from jsonb_to_recordset(award -> 'awards') as w (
            agent text, draw_mw double precision[], cost_gbp double precision, fallback_gbp double precision,
            pays_gbp numeric)
        join public.negotiation_agents a on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, w.agent);
        insert into public.negotiation_payments (
            negotiation_id, award_number, payer, payee, payer_tenant, payee_tenant, opened_by, amount_gbp)
        select
            negotiation.negotiation_id, number, p.payer, p.payee, payer.tenant, payee.tenant, negotiation.tenant, p.amount_gbp
        from jsonb_to_recordset(award -> 'payments') as p (payer text, payee text, amount_gbp numeric)
        join public.negotiation_agents payer
            on (payer.negotiation_id, payer.agent) = (negotiation.negotiation_id, p.payer)
        join public.negotiation_agents payee
            on (payee.negotiation_id, payee.agent) = (negotiation.negotiation_id, p.payee);
    end if;
    update public.negotiation_agents a
    set state = changed.state
    from jsonb_to_recordset(nullif(p_step -> 'agents', 'null')) as changed (agent text, state text)
    where (a.negotiation_id, a.agent) = (negotiation.negotiation_id, changed.agent);
    insert into public.negotiation_messages (
        negotiation_id, agent, tenant, round, sender, performative, message_id, body, received_at)
    select negotiation.negotiation_id, a.agent, a.tenant, m.round, m.sender, m.performative, m.message_id, m.body, moment
    from rows from (jsonb_to_recordset(nullif(p_step -> 'messages', 'null')) as (
        agent text, round integer, sender text, performative text, message_id text, body jsonb)) with ordinality
        as m (agent, round, sender, performative, message_id, body, place)
    join public.negotiation_agents a on (a.negotiation_id, a.agent) = (negotiation.negotiation_id, m.agent)
    order by m.place;
    update public.negotiations n
    set state = to_state,
        state_reason = p_step ->> 'reason',
        round = (p_step ->> 'round')::integer,
        award_number = number,
        answer_by = (p_step ->> 'answer_by')::timestamptz,
        outcome = nullif(p_step -> 'outcome', 'null'),
        version = n.version + 1,
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, n.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then moment end
    where n.negotiation_id = negotiation.negotiation_id;
    if to_state in ('SETTLED', 'EXPIRED', 'FALLBACK') then
        perform public.release_negotiation(
            negotiation.negotiation_id, case to_state when 'SETTLED' then 'ENDED' else 'RELEASED' end, p_step ->> 'reason');
    end if;
    if next_step_at <= moment then
        perform pg_notify('negotiations', '');
    end if;
    if award is not null then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.awarded');
    elsif to_state <> negotiation.state and to_state = 'SETTLED' then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.settled');
    elsif to_state in ('EXPIRED', 'FALLBACK') then
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.failed');
    end if;
    return json_build_object('state', 'changed');
end
$$;

-- What an agent outside says. p_message: {message_id, performative: "propose" | "refuse" | "confirm", round, award_id, body:
-- {plans: [{cost_gbp, draw_mw}…]} or {reason}}, of finite numbers. p_operator: whose agent it must be; null for the platform, which
-- may speak for any. Answers {"state": "stored" | "repeated" (the same is known, or the award is confirmed: nothing changes) |
-- "different" (another of this message_id is known) | "unknown" | "not_open" | "wrong_round" (not the present one, or already answered) | "out_of_bounds" |
-- "wrong_award", "detail"}.
create or replace function public.say_in_negotiation(
    p_negotiation_id uuid, p_agent text, p_message jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
    me public.negotiation_agents;
    performative_said constant text := p_message ->> 'performative';
    round_said constant integer := coalesce((p_message ->> 'round')::integer, -1);
    known public.negotiation_messages;
    asked jsonb;
    at_fault text;
begin
    select * into negotiation from public.negotiations n where n.negotiation_id = p_negotiation_id for update;
    select * into me
    from public.negotiation_agents a
    where a.negotiation_id = p_negotiation_id and a.agent = p_agent and a.kind = 'outside'
        and (p_operator is null or a.tenant = p_operator);
    if me.agent is null then
        return json_build_object('state', 'unknown', 'detail', 'there is no such agent of yours in this negotiation');
    end if;
    select * into known
    from public.negotiation_messages m
    where (m.negotiation_id, m.agent, m.sender, m.message_id) = (p_negotiation_id, p_agent, 'agent', p_message ->> 'message_id');
    if known.message_id is not null then
        if (known.performative, known.body) = (performative_said, p_message -> 'body')
            and (performative_said <> 'propose' or known.round = round_said)
        then
            return json_build_object('state', 'repeated', 'detail', 'it was heard before');
        end if;
        return json_build_object(
            'state', 'different',
            'detail', 'another message of this message_id was heard before: give each message a name of its own');
    end if;
    if negotiation.state not in ('OPEN', 'ROUND', 'AWARDED') or me.state in ('LEFT', 'BREACHED')
        or (performative_said = 'propose' and negotiation.state = 'AWARDED')
        or (performative_said = 'confirm' and negotiation.state <> 'AWARDED')
    then
        return json_build_object(
            'state', 'not_open',
            'detail', format('the negotiation is %s and the agent %s', negotiation.state, me.state));
    end if;
    if performative_said = 'propose' then
        select m.body into asked
        from public.negotiation_messages m
        where (m.negotiation_id, m.agent, m.round, m.performative) = (p_negotiation_id, p_agent, negotiation.round, 'cfp');
        if asked is null or round_said <> negotiation.round then
            return json_build_object(
                'state', 'wrong_round', 'detail', format('the present round is %s, not %s', negotiation.round, round_said));
        end if;
        if exists (
            select from public.negotiation_messages m
            where (m.negotiation_id, m.agent, m.round, m.performative) = (p_negotiation_id, p_agent, round_said, 'propose'))
        then
            return json_build_object('state', 'wrong_round', 'detail', format('round %s is answered already', round_said));
        end if;
        if jsonb_array_length(p_message #> '{body,plans}') <> jsonb_array_length(asked -> 'prices_gbp_per_mwh') then
            return json_build_object('state', 'out_of_bounds', 'detail', format(
                'one plan is wanted for each of the %s vectors of prices', jsonb_array_length(asked -> 'prices_gbp_per_mwh')));
        end if;
        select format('plan %s draws %s MW in half-hour %s, where %s to %s is within its bounds', plan.place, draw.mw::text,
            draw.place, me.least_mw[draw.place], case negotiation.round when 0
                then least(me.most_mw[draw.place], me.endowment_mw[draw.place]) else me.most_mw[draw.place] end)
        into at_fault
        from jsonb_array_elements(p_message #> '{body,plans}') with ordinality as plan (of, place)
        cross join lateral jsonb_array_elements(plan.of -> 'draw_mw') with ordinality as draw (mw, place)
        where draw.place > negotiation.half_hours
            or draw.mw::double precision < me.least_mw[draw.place] - 1e-9
            or draw.mw::double precision > me.most_mw[draw.place] + 1e-9
            -- Round 0 asks for what it would do alone.
            or (negotiation.round = 0 and draw.mw::double precision > me.endowment_mw[draw.place] + 1e-9)
        limit 1;
        select coalesce(at_fault, format('plan %s has %s half-hours, not %s', plan.place,
            jsonb_array_length(plan.of -> 'draw_mw'), negotiation.half_hours))
        into at_fault
        from jsonb_array_elements(p_message #> '{body,plans}') with ordinality as plan (of, place)
        where at_fault is not null or jsonb_array_length(plan.of -> 'draw_mw') <> negotiation.half_hours
        limit 1;
        if at_fault is not null then
            return json_build_object('state', 'out_of_bounds', 'detail', at_fault);
        end if;
    elsif performative_said = 'confirm' and not exists (
        select from public.negotiation_awards w
        where (w.negotiation_id, w.award_number, w.agent) = (p_negotiation_id, negotiation.award_number, p_agent)
            and w.award_id::text = p_message ->> 'award_id')
    then
        return json_build_object('state', 'wrong_award', 'detail', 'that is not the newest award');
    elsif performative_said = 'confirm' and me.state = 'CONFIRMED' then
        -- By another message_id: kept, any number of them would be, and each would outdate the step in hand.
        return json_build_object('state', 'repeated', 'detail', 'it has confirmed this award');
    end if;
    insert into public.negotiation_messages (
        negotiation_id, agent, tenant, round, sender, performative, message_id, body, received_at)
    values (
        p_negotiation_id, p_agent, me.tenant, negotiation.round, 'agent', performative_said, p_message ->> 'message_id',
        p_message -> 'body', p_now);
    update public.negotiation_agents a
    set state = case performative_said
        when 'refuse' then 'LEFT'
        when 'confirm' then 'CONFIRMED'
        else case negotiation.round when 0 then 'JOINED' else 'PROPOSED' end end
    where (a.negotiation_id, a.agent) = (p_negotiation_id, p_agent);
    update public.negotiations n
    set version = n.version + 1,
        scheduled_at = case n.work_state when 'running' then n.scheduled_at else least(n.scheduled_at, p_now) end
    where n.negotiation_id = p_negotiation_id;
    perform pg_notify('negotiations', '');
    return json_build_object('state', 'stored', 'detail', null);
end
$$;

-- Takes a negotiation back that is not awarded yet. Answers {"state": "cancelled" | "unknown" | "ended" (it is awarded, or over),
-- "negotiation"}. p_operator: who must have opened it; null for the platform, which may take back any.
create or replace function public.cancel_negotiation(
    p_negotiation_id uuid, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    negotiation public.negotiations;
begin
    select * into negotiation
    from public.negotiations n
    where n.negotiation_id = p_negotiation_id and (p_operator is null or n.tenant = p_operator)
    for update;
    if negotiation.negotiation_id is null then
        return json_build_object('state', 'unknown', 'negotiation', null);
    end if;
    if negotiation.state in ('OPEN', 'ROUND') then
        update public.negotiations n
        set state = 'CANCELLED', state_reason = p_reason, version = n.version + 1, work_state = 'completed',
            lease_token = null, leased_until = null, leased_by = null, finished_at = p_now
        where n.negotiation_id = p_negotiation_id
        returning * into negotiation;
        perform public.log_negotiation(negotiation.negotiation_id, 'negotiation.failed');
    end if;
    return json_build_object(
        'state', case negotiation.state when 'CANCELLED' then 'cancelled' else 'ended' end,
        'negotiation', public.negotiation_row(negotiation));
end
$$;

-- Negotiations, those opened last first; go on after (p_before, p_before_id).
create or replace function public.negotiations_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.negotiation_row(page) order by page.opened_at desc, page.negotiation_id desc), '[]')
    from (
        select *
        from public.negotiations n
        where p_before is null or (n.opened_at, n.negotiation_id) < (p_before, p_before_id)
        order by n.opened_at desc, n.negotiation_id desc
        limit p_limit) as page
$$;

-- A negotiation's whole life, as much of it as the caller may see: {"negotiation", "agents", "messages", "awards" and
-- "payments" (of every award), "bookings"}; null where there is none. Payments are text, which keeps every digit.
create or replace function public.negotiation_life(p_negotiation_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'negotiation', public.negotiation_row(n),
        'agents', (
            select coalesce(json_agg(json_build_object(
                'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'endowment_mw', a.endowment_mw,
                'least_mw', a.least_mw, 'most_mw', a.most_mw, 'state', a.state) order by a.agent), '[]')
            from public.negotiation_agents a
            where a.negotiation_id = n.negotiation_id),
        'messages', (
            select coalesce(json_agg(json_build_object(
                'message_number', m.message_number, 'agent', m.agent, 'round', m.round, 'sender', m.sender,
                'performative', m.performative, 'message_id', m.message_id, 'body', m.body, 'received_at', m.received_at)
                order by m.message_number), '[]')
            from public.negotiation_messages m
            where m.negotiation_id = n.negotiation_id),
        'awards', (
            select coalesce(json_agg(json_build_object(
                'award_number', w.award_number, 'award_id', w.award_id, 'agent', w.agent, 'draw_mw', w.draw_mw,
                'cost_gbp', w.cost_gbp, 'fallback_gbp', w.fallback_gbp, 'pays_gbp', w.pays_gbp::text,
                'awarded_at', w.awarded_at) order by w.award_number, w.agent), '[]')
            from public.negotiation_awards w
            where w.negotiation_id = n.negotiation_id),
        'payments', (
            select coalesce(json_agg(json_build_object(
                'award_number', p.award_number, 'payer', p.payer, 'payee', p.payee, 'amount_gbp', p.amount_gbp::text)
                order by p.award_number, p.payer, p.payee), '[]')
            from public.negotiation_payments p
            where p.negotiation_id = n.negotiation_id),
        'bookings', (
            select coalesce(json_agg(json_build_object(
                'booking_key', b.booking_key, 'dc_id', b.dc_id, 'state', b.state, 'starts_at', b.starts_at,
                'ends_at', b.ends_at, 'it_power_kw', b.it_power_kw::text) order by b.dc_id, b.starts_at, b.created_at), '[]')
            from public.capacity_bookings b
            where b.negotiation_id = n.negotiation_id))
    from public.negotiations n
    where n.negotiation_id = p_negotiation_id
$$;

-- As much of negotiation_life as one agent is asked and awarded now: what passed between it and the coordinator in the present
-- round, and the newest award of it; null where there is no such agent that the caller may see.
create or replace function public.negotiation_part(p_negotiation_id uuid, p_agent text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'negotiation', public.negotiation_row(n) - 'outcome' || jsonb_build_object(
            'outcome', case when n.outcome ? 'price_gbp_per_mwh'
                then jsonb_build_object('price_gbp_per_mwh', n.outcome -> 'price_gbp_per_mwh') end),
        'agents', json_build_array(json_build_object(
            'agent', a.agent, 'operator', a.tenant, 'kind', a.kind, 'dc_id', a.dc_id, 'endowment_mw', a.endowment_mw,
            'least_mw', a.least_mw, 'most_mw', a.most_mw, 'state', a.state)),
        'messages', (
            select coalesce(json_agg(json_build_object(
                'message_number', m.message_number, 'agent', m.agent, 'round', m.round, 'sender', m.sender,
                'performative', m.performative, 'message_id', m.message_id, 'body',
                case m.sender when 'coordinator' then m.body else '{}' end, 'received_at', m.received_at)
                order by m.message_number), '[]')
            from public.negotiation_messages m
            where (m.negotiation_id, m.agent, m.round) = (n.negotiation_id, a.agent, n.round)),
        'awards', (
            select coalesce(json_agg(json_build_object(
                'award_number', w.award_number, 'award_id', w.award_id, 'agent', w.agent, 'draw_mw', w.draw_mw,
                'cost_gbp', w.cost_gbp, 'fallback_gbp', w.fallback_gbp, 'pays_gbp', w.pays_gbp::text,
                'awarded_at', w.awarded_at)), '[]')
            from public.negotiation_awards w
            where (w.negotiation_id, w.award_number, w.agent) = (n.negotiation_id, n.award_number, a.agent)),
        'payments', json_build_array(),
        'bookings', json_build_array())
    from public.negotiations n
    join public.negotiation_agents a on (a.negotiation_id, a.agent) = (n.negotiation_id, p_agent)
    where n.negotiation_id = p_negotiation_id
$$;

-- The newest negotiations that agents outside take part in, as many as p_limit parts, with the agents' names: [{negotiation_id, agent}…]. Of
-- p_operator's agents, or (null) of all.
create or replace function public.negotiation_parts(p_limit integer, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object('negotiation_id', part.negotiation_id, 'agent', part.agent)
        order by part.opened_at desc, part.negotiation_id, part.agent), '[]')
    from (
        select n.opened_at, a.negotiation_id, a.agent
        from public.negotiation_agents a
        join public.negotiations n on n.negotiation_id = a.negotiation_id
        where a.kind = 'outside' and (p_operator is null or a.tenant = p_operator)
        order by n.opened_at desc, a.negotiation_id, a.agent
        limit p_limit) as part
$$;


-- OpenADR 3.1 --------------------------------------------------------------------------------------------------------------
--
-- p_client is the VEN's service account that asks; null: business logic, which sees and changes all of its operator's. p_operator
-- is whose everything is; null: the platform's.

create or replace function public.openadr_object_row(o public.openadr_objects)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'object_id', o.object_id, 'object_type', o.object_type, 'created_at', o.created_at, 'modified_at', o.modified_at,
        'content', o.content)
$$;

-- The targets of a client's VEN and of its resources.
create or replace function public.openadr_targets_of(p_client text)
returns text[]
language sql
stable
set search_path = ''
as $$
    select coalesce(array_agg(distinct one.target), '{}')
    from public.openadr_objects o
    cross join lateral unnest(o.targets) as one (target)
    where o.client = p_client and o.object_type in ('VEN', 'RESOURCE')
$$;

-- Whether a VEN with p_targets may see something: its own; and programs and events that are for all, or have a target of its.
create or replace function public.openadr_is_seen(o public.openadr_objects, p_client text, p_targets text[])
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_client is null
        or o.client = p_client
        or (
            o.object_type in ('PROGRAM', 'EVENT')
            and (o.targets = '{}' or o.targets && p_targets)
            and not exists (
                select
                from public.openadr_objects program
                where program.object_id = o.program_id and program.targets <> '{}' and not program.targets && p_targets))
$$;

-- What a VEN with p_targets is shown of something that it may see: of the targets those that are its own, as OpenADR wants it.
create or replace function public.openadr_seen_row(o public.openadr_objects, p_client text, p_targets text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case
        when p_client is null or o.client = p_client or o.targets = '{}' or o.object_type not in ('PROGRAM', 'EVENT')
            then public.openadr_object_row(o)
        else jsonb_set(public.openadr_object_row(o), '{content,targets}', to_jsonb(array(
            select each.target
            from unnest(o.targets) with ordinality as each (target, place)
            where each.target = any (p_targets)
            order by each.place))) end
$$;

-- A page of what the caller sees of one kind, newest first: [row…]. p_filter: {program_id, event_id, ven_id, name, client_name,
-- targets (all of them are to be there), objects (what a subscription is about), not_over_at, over_at (of events)}, each optional.
create or replace function public.openadr_page(
    p_type text, p_filter jsonb, p_client text, p_skip integer, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    own constant text[] := public.openadr_targets_of(p_client);
    wanted constant text[] := array(select jsonb_array_elements_text(coalesce(p_filter -> 'targets', '[]')));
    about constant text[] := array(select jsonb_array_elements_text(coalesce(p_filter -> 'objects', '[]')));
begin
    return (
        select coalesce(json_agg(public.openadr_seen_row(page, p_client, own) order by page.place desc), '[]')
        from (
            select o.*
            from public.openadr_objects o
            where o.object_type = p_type
                and public.openadr_is_seen(o, p_client, own)
                and (p_filter ->> 'program_id' is null or o.program_id = p_filter ->> 'program_id')
                and (p_filter ->> 'event_id' is null or o.event_id = p_filter ->> 'event_id')
                and (p_filter ->> 'ven_id' is null or o.ven_id = p_filter ->> 'ven_id')
                and (p_filter ->> 'name' is null or o.name = p_filter ->> 'name')
                and (p_filter ->> 'client_name' is null or o.content ->> 'clientName' = p_filter ->> 'client_name')
                and o.targets @> wanted
                -- Nor does a VEN find out by asking what else something is for.
                and (p_client is null or p_type not in ('PROGRAM', 'EVENT') or wanted <@ own)
                and (
                    p_filter ->> 'not_over_at' is null or o.ends_at is null
                    or o.ends_at > (p_filter ->> 'not_over_at')::timestamptz)
                and (p_filter ->> 'over_at' is null or o.ends_at <= (p_filter ->> 'over_at')::timestamptz)
                and (about = '{}' or exists (
                    select
                    from jsonb_array_elements(o.content -> 'objectOperations') as one,
                        jsonb_array_elements_text(one -> 'objects') as named
                    where named = any (about)))
            order by o.place desc
            offset p_skip
            limit p_limit) as page);
end
$$;

-- One of them; null where there is none, or the caller does not see it.
create or replace function public.openadr_one(p_type text, p_id text, p_client text)
returns json
language sql
stable
set search_path = ''
as $$
    select public.openadr_seen_row(o, p_client, own.targets)::json
    from public.openadr_objects o
    cross join (select public.openadr_targets_of(p_client) as targets) as own
    where o.object_id = p_id and o.object_type = p_type and public.openadr_is_seen(o, p_client, own.targets)
$$;

-- Whether an object may hang on this one: null if so, else which parent there is not.
create or replace function public.openadr_missing(
    given public.openadr_objects, p_client text)
returns text
language sql
stable
set search_path = ''
as $$
    select parent.said
    from (values ('PROGRAM', given.program_id, 'program'), ('EVENT', given.event_id, 'event'), ('VEN', given.ven_id, 'ven'))
        as parent (kind, id, said)
    where parent.id is not null and not exists (
        select
        from public.openadr_objects o
        where o.object_id = parent.id and o.object_type = parent.kind
            and (o.tenant = given.tenant or (o.tenant = 'platform' and parent.kind <> 'VEN'))
            and public.openadr_is_seen(o, p_client, public.openadr_targets_of(p_client)))
    limit 1
$$;

-- Locks what an object hangs on, and what it hung on before: first, as whoever deletes that does, and before flexibility's
-- events. Then nobody deletes it meanwhile, nor waits for an event here that waits for it.
create or replace function public.openadr_hold_parents(given public.openadr_objects)
returns void
language sql
volatile
set search_path = ''
as $$
    with above as (
        select unnest(array[given.program_id, given.event_id, given.ven_id]) as id
        union
        select unnest(array[o.program_id, o.event_id, o.ven_id])
        from public.openadr_objects o
        where o.object_id = given.object_id
    )
    select
    from public.openadr_objects o
    where o.object_id in (select above.id from above)
    order by o.place
    for key share
$$;

-- The service account ("svc:…") of an operator that a clientID names: by its own id, or by one of its keys'.
create or replace function public.openadr_client(p_operator text, p_client_id text)
returns text
language sql
stable
set search_path = ''
as $$
    select 'svc:' || a.service_account_id
    from tenancy.service_accounts a
    where a.operator_id = p_operator
        and (
            p_client_id in (a.service_account_id::text, 'svc:' || a.service_account_id)
            or exists (
                select
                from tenancy.api_keys k
                where k.operator_id = p_operator and k.key_id = p_client_id
                    and k.service_account_id = a.service_account_id))
$$;

-- What is kept of an object on the wire: a resource has the clientID of its VEN, any other the one that is given.
create or replace function public.openadr_content(given public.openadr_objects, p_client_id jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select given.content || jsonb_strip_nulls(jsonb_build_object('clientID', case
        when given.object_type = 'RESOURCE' then (
            select v.content -> 'clientID' from public.openadr_objects v where v.object_id = given.ven_id)
        else p_client_id end))
$$;

-- Whether a subscription's client may still be told: business logic (null), or a VEN that has a key which is good.
create or replace function public.openadr_is_served(p_client text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_client is null or exists (
        select
        from tenancy.api_keys k
        where 'svc:' || k.service_account_id = p_client and k.revoked_at is null and k.expires_at > clock_timestamp()
            and 'openadr:use' = any (k.scopes))
$$;

-- Puts into the queue of webhooks what subscriptions are to hear of a change of o: "CREATE", "UPDATE" or "DELETE". Each hears it
-- in the word that it used itself, once at each of its callbacks, and only of what its client sees at this moment. Of one
-- with too much waiting nothing more is kept: that is a row which is discarded at once. Bearer tokens of others are in none.
create or replace function public.openadr_tell(o public.openadr_objects, p_operation text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    most_waiting constant integer := 1000; -- of a subscription
    words constant text[] := case p_operation
        when 'CREATE' then '{CREATE,POST}' when 'UPDATE' then '{UPDATE,PUT}' else '{DELETE}' end;
    program constant text := case
        when o.object_type = 'PROGRAM' then o.object_id
        else coalesce(
            o.program_id, (select e.program_id from public.openadr_objects e where e.object_id = o.event_id)) end;
    told jsonb := public.openadr_object_row(o);
begin
    if o.object_type = 'SUBSCRIPTION' then
        told := jsonb_set(told, '{content,objectOperations}', (
            select jsonb_agg(one - 'bearerToken') from jsonb_array_elements(o.content -> 'objectOperations') as one));
    end if;
    insert into public.openadr_webhooks (subscription_id, callback_url, body, work_state, finished_at, last_error)
    select
        s.object_id,
        wanted.callback_url,
        case when not crowded.too_much then jsonb_build_object(
            'token', wanted.token, 'operation', wanted.word, 'object', shown.object,
            'targets', coalesce(shown.object #> '{content,targets}', '[]')) end,
        case when crowded.too_much then 'discarded' else 'available' end,
        case when crowded.too_much then clock_timestamp() end,
        case when crowded.too_much then format('%s webhooks of its subscription were waiting already', most_waiting) end
    from public.openadr_objects s
    cross join lateral (
        select distinct on (one ->> 'callbackUrl')
            one ->> 'callbackUrl' as callback_url, one ->> 'bearerToken' as token, named.word
        from jsonb_array_elements(s.content -> 'objectOperations') as one
        cross join lateral jsonb_array_elements_text(one -> 'operations') as named (word)
        where one -> 'objects' ? o.object_type and named.word = any (words)
        order by one ->> 'callbackUrl') as wanted
    cross join lateral (
        select count(*) >= most_waiting as too_much
        from public.openadr_webhooks w
        where w.subscription_id = s.object_id and w.work_state in ('available', 'running', 'retryable')) as crowded
    cross join lateral (
        select case
            when o.object_type in ('PROGRAM', 'EVENT')
                then public.openadr_seen_row(o, s.client, public.openadr_targets_of(s.client))
            else told end as object) as shown
    where s.object_type = 'SUBSCRIPTION' and s.object_id <> o.object_id
        and (
            s.tenant = o.tenant
            or (o.tenant = 'platform' and o.object_type in ('PROGRAM', 'EVENT') and o.dispatches is null)
            or (s.tenant = 'platform' and s.client is null)) -- whoever sees everything
        and (s.program_id is null or s.program_id = program)
        and (s.targets = '{}' or s.targets && o.targets)
        and public.openadr_is_seen(o, s.client, public.openadr_targets_of(s.client))
        and public.openadr_is_served(s.client)
    order by s.place;
    if found then
        perform pg_notify('openadr_webhooks', '');
    end if;
end
$$;

-- Takes up to p_limit webhooks on a lease: of each subscription the first that is not finished, so that none overtakes another.
-- Who does not answer holds up few others: what was never tried comes first, operators take turns, and only so much is in hand
-- of one operator, and for one host. Answers {"claimed": [{webhook_id, subscription_id, callback_url, body, attempt, lease_token,
-- is_served (whether its client may still be told)}…], "next_due_seconds"}. What was delivered goes after an hour, what was given up
-- after a week.
create or replace function public.openadr_claim_webhooks(
    p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    moment timestamptz := clock_timestamp();
    most_of_tenant constant integer := 3; -- in hand, where one process has four that deliver
    most_for_host constant integer := 2;
    due bigint[];
    claimed json;
begin
    perform public.queue_webhooks_shed(null, moment);
    delete from public.openadr_webhooks w
    where w.webhook_id in (
        select old.webhook_id
        from public.openadr_webhooks old
        where (old.work_state = 'completed' and old.finished_at < moment - interval '1 hour')
            or (old.work_state = 'discarded' and old.finished_at < moment - interval '7 days')
        limit 1000
        for update skip locked);
    perform public.queue_webhooks_sweep(null, moment);
    with recursive waiting as (
        -- However much waits of a subscription, it costs a look at an index.
        (
            select w.subscription_id
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable')
            order by w.subscription_id
            limit 1)
        union all
        select (
            select w.subscription_id
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable') and w.subscription_id > waiting.subscription_id
            order by w.subscription_id
            limit 1)
        from waiting
        where waiting.subscription_id is not null
    ),
    firsts as (
        select
            first.webhook_id, first.attempt, coalesce(s.tenant, '') as tenant,
            substring(first.callback_url from '^https?://([^/?#]*)') as host,
            first.work_state = 'running' and not public.has_come(first.leased_until, moment) as in_hand
        from waiting
        cross join lateral (
            select w.*
            from public.openadr_webhooks w
            where w.work_state in ('available', 'running', 'retryable') and w.subscription_id = waiting.subscription_id
            order by w.webhook_id
            limit 1) as first
        left join public.openadr_objects s on s.object_id = waiting.subscription_id
        where first.work_state <> 'retryable' -- it pauses
    ),
    for_hosts as (
        select
            firsts.*,
            count(*) filter (where firsts.in_hand) over (partition by firsts.host)
                + row_number() over (partition by firsts.host, firsts.in_hand order by firsts.attempt > 0, firsts.webhook_id)
                as place
        from firsts
    ),
    of_tenants as (
        -- After the hosts' own limit: what may not be called now takes nobody's place.
        select
            f.webhook_id, f.attempt, f.in_hand,
            count(*) filter (where f.in_hand) over (partition by f.tenant)
                + row_number() over (partition by f.tenant, f.in_hand order by f.attempt > 0, f.webhook_id) as place
        from for_hosts f
        where f.in_hand or f.place <= most_for_host
    )
    select coalesce(array_agg(t.webhook_id order by t.attempt > 0, t.place, t.webhook_id), '{}') into due
    from of_tenants t
    where not t.in_hand and t.place <= most_of_tenant;
    select coalesce(json_agg(json_build_object(
        'webhook_id', w.webhook_id, 'subscription_id', w.subscription_id, 'callback_url', w.callback_url, 'body', w.body,
        'attempt', w.attempt, 'lease_token', w.lease_token, 'is_served', coalesce(
            (select public.openadr_is_served(s.client) from public.openadr_objects s where s.object_id = w.subscription_id),
            true)) order by w.webhook_id), '[]')
    into claimed
    from public.queue_webhooks_claim(null, due, p_worker, p_limit, moment, p_lease_seconds) as w;
    return json_build_object(
        'claimed', claimed,
        'next_due_seconds', extract(epoch from public.queue_webhooks_next_due(null, moment) - moment));
end
$$;

-- How an attempt ended: "delivered", "retry" or "dead". Answers {"state": "delivered" | "retry" | "dead" | "fenced"}.
create or replace function public.openadr_settle_webhook(
    p_webhook_id bigint, p_lease_token bigint, p_outcome text, p_error text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    failed public.openadr_webhooks;
    state text;
begin
    if p_outcome = 'delivered' then
        if public.queue_webhooks_complete(array[p_webhook_id], array[p_lease_token]) <> '{}' then
            return json_build_object('state', 'delivered');
        end if;
    else
        failed := public.queue_webhooks_fail(p_webhook_id, p_lease_token, p_error, 1, 300, null, p_outcome = 'dead');
        if failed.webhook_id is not null then
            return json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'dead' end);
        end if;
    end if;
    -- Told already, and the answer lost: whoever asks again hears the same.
    select w.work_state into state
    from public.openadr_webhooks w
    where w.webhook_id = p_webhook_id and w.lease_token = p_lease_token;
    return json_build_object('state', case state
        when 'completed' then 'delivered' when 'retryable' then 'retry' when 'discarded' then 'dead' else 'fenced' end);
end
$$;

-- How the queue of webhooks is, as beckn_health tells of a queue.
create or replace function public.openadr_webhooks_health()
returns json
language sql
stable
set search_path = ''
as $$
    with open as (
        select work_state = 'running' and leased_until >= clock_timestamp() as in_hand, created_at
        from public.openadr_webhooks
        where work_state in ('available', 'running', 'retryable')
    )
    select json_build_object(
        'waiting', count(*) filter (where not in_hand),
        'in_flight', count(*) filter (where in_hand),
        'dead', (select count(*) from public.openadr_webhooks where work_state = 'discarded'),
        'oldest_waiting_seconds', extract(epoch from clock_timestamp() - min(created_at)))
    from open
$$;

-- Stores something new. p_object: {object_id, object_type, program_id, event_id, ven_id, name, targets, content}. p_client_id is
-- what a business logic says a VEN's client is. p_flexibility is what an event asks of flexibility (announce_flexibility_event).
-- Answers {"state": "created" | "taken" (its name, or its client's VEN) | "full" | "no_program" | "no_event" | "no_ven" |
-- "no_client" | "closed" | "overlapping" | "too_many" | "subscribed" (its client has as many subscriptions as there may be), "object"};
-- nothing is stored but where it is created. Subscriptions are told of it in the same transaction.
create or replace function public.openadr_create(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    most constant integer := 10000; -- of a kind, of a tenant
    most_subscriptions constant integer := 100; -- of a VEN, or of business logic
    given public.openadr_objects := jsonb_populate_record(null::public.openadr_objects, p_object);
    missing text;
    announced jsonb;
begin
    given.tenant := coalesce(p_operator, 'platform');
    perform public.openadr_hold_parents(given);
    missing := public.openadr_missing(given, p_client);
    if missing is not null then
        return json_build_object('state', 'no_' || missing, 'object', null);
    end if;
    given.client := case
        when p_client is not null then p_client
        when given.object_type = 'VEN' then public.openadr_client(given.tenant, p_client_id)
        when given.object_type = 'RESOURCE' then (
            select v.client from public.openadr_objects v where v.object_id = given.ven_id)
    end;
    given.content := public.openadr_content(given, given.content -> 'clientID');
    if given.object_type = 'VEN' and given.client is null and p_operator is not null then
        return json_build_object('state', 'no_client', 'object', null);
    end if;
    if (
        select count(*)
        from (
            select
            from public.openadr_objects o
            where o.tenant = given.tenant and o.object_type = given.object_type and o.dispatches is null
            limit most) as one) >= most
    then
        return json_build_object('state', 'full', 'object', null);
    end if;
    if given.object_type = 'SUBSCRIPTION' and (
        select count(*)
        from public.openadr_objects o
        where o.tenant = given.tenant and o.object_type = 'SUBSCRIPTION' and o.client is not distinct from given.client
    ) >= most_subscriptions then
        return json_build_object('state', 'subscribed', 'object', null);
    end if;
    if p_flexibility is not null then
        announced := public.announce_flexibility_event(p_flexibility, p_now, p_operator);
        if announced ->> 'state' <> 'announced' then
            return json_build_object('state', announced ->> 'state', 'object', null);
        end if;
    end if;
    insert into public.openadr_objects (
        object_id, tenant, object_type, program_id, event_id, ven_id, name, client, targets, flexibility_event_id, content,
        created_at, modified_at, ends_at)
    values (
        given.object_id, given.tenant, given.object_type, given.program_id, given.event_id, given.ven_id, given.name,
        given.client, given.targets, (announced #>> '{event,event_id}')::uuid, given.content, p_now, p_now,
        given.ends_at)
    on conflict do nothing
    returning * into given;
    if not found then
        return json_build_object('state', 'taken', 'object', null);
    end if;
    perform public.openadr_tell(given, 'CREATE');
    return json_build_object('state', 'created', 'object', public.openadr_object_row(given));
end
$$;

-- Writes something anew. A VEN changes neither its targets nor its client. What an event asks of flexibility stays as it is:
-- "different" where it would not. Answers as openadr_create, with "replaced" for "created", "unknown", and "dispatched": it is what
-- flexibility has sold, and nobody else's to write.
create or replace function public.openadr_replace(
    p_object jsonb, p_client text, p_client_id text, p_flexibility jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.openadr_objects := jsonb_populate_record(null::public.openadr_objects, p_object);
    old public.openadr_objects;
    missing text;
    announced jsonb;
begin
    perform public.openadr_hold_parents(given);
    select * into old
    from public.openadr_objects o
    where o.object_id = given.object_id and o.object_type = given.object_type
        and (p_operator is null or o.tenant = p_operator) and (p_client is null or o.client = p_client)
    for update;
    if old.object_id is null then
        return json_build_object('state', 'unknown', 'object', null);
    end if;
    if old.dispatches is not null then
        return json_build_object('state', 'dispatched', 'object', null);
    end if;
    given.tenant := old.tenant;
    missing := public.openadr_missing(given, p_client);
    if missing is not null then
        return json_build_object('state', 'no_' || missing, 'object', null);
    end if;
    given.client := old.client;
    if p_client is not null and given.object_type in ('VEN', 'RESOURCE') then
        given.targets := old.targets;
        given.content := given.content - 'targets'
            || jsonb_strip_nulls(jsonb_build_object('targets', old.content -> 'targets'));
    elsif given.object_type = 'VEN' then
        given.client := public.openadr_client(given.tenant, p_client_id);
        if given.client is null and given.tenant <> 'platform' then
            return json_build_object('state', 'no_client', 'object', null);
        end if;
    elsif given.object_type = 'RESOURCE' then
        select v.client into given.client from public.openadr_objects v where v.object_id = given.ven_id;
    end if;
    given.content := public.openadr_content(
        given, case when given.object_type <> 'VEN' or p_client is not null then old.content -> 'clientID'
            else given.content -> 'clientID' end);
    if old.flexibility_event_id is not null and p_flexibility is null then
        return json_build_object('state', 'different', 'object', null);
    end if;
    if p_flexibility is not null then
        announced := public.announce_flexibility_event(p_flexibility, p_now, old.tenant);
        if announced ->> 'state' not in ('announced', 'already') then
            return json_build_object('state', announced ->> 'state', 'object', null);
        end if;
    end if;
    if exists (
        select
        from public.openadr_objects o
        where o.object_id <> old.object_id
            and (
                (o.tenant, o.object_type, coalesce(o.ven_id, ''), o.name)
                    = (old.tenant, old.object_type, coalesce(given.ven_id, ''), given.name)
                or (o.object_type = 'VEN' and old.object_type = 'VEN' and o.client = given.client)))
    then
        return json_build_object('state', 'taken', 'object', null);
    end if;
    update public.openadr_objects o
    set program_id = given.program_id, event_id = given.event_id, ven_id = given.ven_id, name = given.name,
        client = given.client, targets = given.targets, content = given.content, modified_at = p_now, ends_at = given.ends_at,
        flexibility_event_id = coalesce((announced #>> '{event,event_id}')::uuid, old.flexibility_event_id)
    where o.object_id = old.object_id
    returning * into given;
    if given.object_type = 'VEN' and given.client is distinct from old.client then
        update public.openadr_objects o set client = given.client where o.ven_id = given.object_id;
    end if;
    perform public.openadr_tell(given, 'UPDATE');
    return json_build_object('state', 'replaced', 'object', public.openadr_object_row(given));
end
$$;

-- Takes something away, and what hangs on it; what an event asked of flexibility is cancelled with it. Answers {"state":
-- "deleted" | "unknown" | "closed" (its gate has closed) | "dispatched" (flexibility has sold it, and it is to be delivered),
-- "object"}.
create or replace function public.openadr_delete(
    p_type text, p_id text, p_client text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    old public.openadr_objects;
    asked uuid[];
    cancelled uuid;
    gone public.openadr_objects;
begin
    select * into old
    from public.openadr_objects o
    where o.object_id = p_id and o.object_type = p_type
        and (p_operator is null or o.tenant = p_operator) and (p_client is null or o.client = p_client)
    for update;
    if old.object_id is null then
        return json_build_object('state', 'unknown', 'object', null);
    end if;
    -- All or none of a program's: one whose gate has closed is to be delivered, and stays.
    if exists (
        select
        from public.openadr_objects o
        join public.flexibility_events f on f.event_id = o.flexibility_event_id
        where p_id in (o.object_id, o.program_id)
            and f.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and f.gate_closes_at <= p_now)
    then
        return json_build_object('state', 'closed', 'object', null);
    end if;
    if exists (
        select
        from public.openadr_objects o
        join public.flexibility_events f on f.event_id = o.dispatches
        where p_id in (o.object_id, o.program_id) and f.state in ('COMMITTED', 'NOTIFIED'))
    then
        return json_build_object('state', 'dispatched', 'object', null);
    end if;
    asked := array(
        select o.flexibility_event_id
        from public.openadr_objects o
        where p_id in (o.object_id, o.program_id) and o.flexibility_event_id is not null
        order by o.place);
    -- The locks of all of them, and their power given back, before the first that is cancelled takes the publishing lock.
    perform from public.flexibility_events e where e.event_id = any (asked) order by e.event_id for update;
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.flexibility_event_id = any (asked) and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    perform public.release_flexibility(e.event_id, 'RELEASED', 'the event was cancelled')
    from public.flexibility_events e
    where e.event_id = any (asked) and e.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and e.gate_closes_at > p_now;
    foreach cancelled in array asked loop
        perform public.cancel_flexibility_event(cancelled, 'its OpenADR event was deleted', p_now, p_operator);
    end loop;
    -- Told of while it is still there to be seen; what hangs on it before what it hangs on.
    for gone in
        select o.*
        from public.openadr_objects o
        where p_id in (o.object_id, o.program_id, o.event_id, o.ven_id)
            or o.event_id in (select e.object_id from public.openadr_objects e where e.program_id = p_id)
        order by o.place desc
    loop
        perform public.openadr_tell(gone, 'DELETE');
    end loop;
    delete from public.openadr_objects o where o.object_id = p_id;
    -- Whoever ends a subscription wants to hear nothing more.
    delete from public.openadr_webhooks w
    where w.subscription_id = p_id and w.work_state in ('available', 'retryable');
    return json_build_object('state', 'deleted', 'object', public.openadr_object_row(old));
end
$$;

-- OpenADR: what flexibility has sold -----------------------------------------------------------------------------------------
--
-- What an event of flexibility has sold is told to the VENs that are to do it, by OpenADR events in the program 'Pylon flexibility':
-- one for each unit, its target the unit, with what it draws less; and one for each battery, its target the battery, with what
-- that does in every half-hour. A unit's is of the event's owner, a battery's of the battery's operator, whoever's the event is.
--
-- Locks: the programs before the event of flexibility, as openadr_hold_parents does, and its OpenADR events after it.

-- Whose a battery's dispatches are.
create or replace function public.openadr_dispatched_tenant(p_asset_id text, p_tenant text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce((select s.operator from public.storage_assets s where s.asset_id = p_asset_id), p_tenant)
$$;

-- Makes and holds the programs that an event's dispatches will be in, before it is locked. p_storage: as step_flexibility_event
-- takes it.
create or replace function public.openadr_hold_dispatch_programs(p_event_id uuid, p_storage jsonb, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    whose text;
    made public.openadr_objects;
begin
    for whose in
        select e.tenant from public.flexibility_events e where e.event_id = p_event_id
        union
        select public.openadr_dispatched_tenant(s.asset_id, e.tenant)
        from jsonb_to_recordset(p_storage) as s (asset_id text)
        join public.flexibility_events e on e.event_id = p_event_id
        order by 1
    loop
        loop
            perform
            from public.openadr_objects o
            where (o.tenant, o.object_type, coalesce(o.ven_id, ''), o.name) = (whose, 'PROGRAM', '', 'Pylon flexibility')
            for key share;
            exit when found;
            insert into public.openadr_objects (object_id, tenant, object_type, name, content, created_at, modified_at)
            values (
                gen_random_uuid()::text, whose, 'PROGRAM', 'Pylon flexibility',
                jsonb_build_object('programName', 'Pylon flexibility', 'bindingEvents', true), p_now, p_now)
            on conflict do nothing
            returning * into made;
            if found then
                perform public.openadr_tell(made, 'CREATE');
            end if;
        end loop;
    end loop;
end
$$;

-- Tells the VENs what an event has sold; see above.
create or replace function public.openadr_dispatch(p_event public.flexibility_events, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    told public.openadr_objects;
begin
    for told in
        insert into public.openadr_objects (
            object_id, tenant, object_type, program_id, targets, content, created_at, modified_at, ends_at, dispatches)
        select
            gen_random_uuid()::text, one.tenant, 'EVENT', program.object_id, array[one.target],
            jsonb_build_object(
                'programID', program.object_id,
                'eventName', left(p_event.source_id, 60) || ' ' || one.target,
                'targets', jsonb_build_array(one.target),
                'intervalPeriod', jsonb_build_object(
                    'start', to_char(one.starts_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'duration', 'PT30M'),
                'payloadDescriptors', jsonb_build_array(jsonb_build_object('payloadType', one.kind, 'units', 'KW')),
                'intervals', (
                    select jsonb_agg(jsonb_build_object(
                        'id', kw.place - 1,
                        'payloads', jsonb_build_array(
                            jsonb_build_object('type', one.kind, 'values', jsonb_build_array(kw.value)))) order by kw.place)
                    from jsonb_array_elements(one.kw) with ordinality as kw (value, place))),
            p_now, p_now, one.ends_at, p_event.event_id
        from (
            select
                p_event.tenant, c.unit_id as target, 'DISPATCH_SETPOINT_RELATIVE' as kind,
                min(c.half_hour) as starts_at, max(c.half_hour) + interval '30 minutes' as ends_at,
                jsonb_agg(trim_scale(c.committed_mwh * -2000) order by c.half_hour) as kw
            from public.flexibility_commitments c
            where c.event_id = p_event.event_id
            group by c.unit_id
            union all
            select
                public.openadr_dispatched_tenant(s.asset_id, p_event.tenant), s.asset_id, 'DISPATCH_SETPOINT',
                min(s.half_hour), max(s.half_hour) + interval '30 minutes',
                jsonb_agg(trim_scale((s.charge_mw - s.discharge_mw) * 1000) order by s.half_hour)
            from public.flexibility_storage s
            where s.event_id = p_event.event_id
            group by s.asset_id) as one
        join public.openadr_objects program
            on (program.tenant, program.object_type, coalesce(program.ven_id, ''), program.name)
                = (one.tenant, 'PROGRAM', '', 'Pylon flexibility')
        order by one.kind desc, one.target
        returning *
    loop
        perform public.openadr_tell(told, 'CREATE');
    end loop;
end
$$;

-- Takes back what an event that came to nothing was to have done, for whoever has the event's lock.
create or replace function public.openadr_withdraw(p_event_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
    dispatched text[];
    gone public.openadr_objects;
begin
    select array_agg(held.object_id) into dispatched
    from (
        select o.object_id from public.openadr_objects o where o.dispatches = p_event_id order by o.place for update) as held;
    for gone in
        select o.*
        from public.openadr_objects o
        where o.object_id = any (dispatched) or o.event_id = any (dispatched)
        order by o.place desc
    loop
        perform public.openadr_tell(gone, 'DELETE');
    end loop;
    delete from public.openadr_objects o where o.object_id = any (dispatched);
end
$$;
-- The provider's platform: orders --------------------------------------------------------------------------------------

-- The operator that a buyer's platform speaks for, by a subscription that holds; a stranger's purchases are the platform's.
create or replace function public.beckn_operator(p_subscriber_id text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select s.operator from public.beckn_subscribers s
            where s.subscriber_id = p_subscriber_id and s.operator is not null and s.type = 'BAP'
                and s.status = 'SUBSCRIBED' and clock_timestamp() between s.valid_from and s.valid_until
            order by s.updated desc
            limit 1),
        'platform')
$$;

-- The operator whose capacity is sold.
create or replace function public.beckn_seller(p_dc_id text)
returns text
language sql
stable
set search_path = ''
as $$
    select d.tenant from public.data_centres d where d.dc_id = p_dc_id
$$;

-- Stores a quote. One that the same request made before, when it was worked on, stays as it is. A quote_id that stands for
-- anything else, another buyer's quote or one for another item or quantity, is not taken: the quote gets an id of its own.
-- Answers the stored one, or null: its buyer has as many quotes that hold as p_quote.limits.live_quotes lets it have.
create or replace function public.beckn_store_quote(p_quote jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_quotes := jsonb_populate_record(null::public.beckn_quotes, p_quote);
    stored public.beckn_quotes;
begin
    if (
        select count(*)
        from public.beckn_quotes q
        where (q.bpp_id, q.bap_id) = (given.bpp_id, given.bap_id) and q.expires_at > clock_timestamp()
            and q.quote_id <> given.quote_id) >= (p_quote #>> '{limits,live_quotes}')::bigint then
        return null;
    end if;
    loop
        insert into public.beckn_quotes (
            quote_id, bpp_id, bap_id, transaction_id, dc_id, item_id, starts_at, ends_at, it_power_kw, price_gbp, terms,
            expires_at, buyer_operator, seller_operator)
        values (
            given.quote_id, given.bpp_id, given.bap_id, given.transaction_id, given.dc_id, given.item_id, given.starts_at,
            given.ends_at, given.it_power_kw, given.price_gbp, given.terms, given.expires_at,
            public.beckn_operator(given.bap_id), public.beckn_seller(given.dc_id))
        on conflict (quote_id) do nothing
        returning * into stored;
        exit when stored.quote_id is not null;
        select * into stored
        from public.beckn_quotes q
        where q.quote_id = given.quote_id
            and (q.bpp_id, q.bap_id, q.transaction_id, q.item_id)
                = (given.bpp_id, given.bap_id, given.transaction_id, given.item_id)
            and q.terms #> '{item,quantity}' is not distinct from given.terms #> '{item,quantity}';
        exit when stored.quote_id is not null;
        given.quote_id := gen_random_uuid();
    end loop;

    -- Quotes that nobody took go an hour after their end, a few at a time and never waited for.
    delete from public.beckn_quotes q
    where q.quote_id in (
        select old.quote_id
        from public.beckn_quotes old
        where old.expires_at < clock_timestamp() - interval '1 hour'
            and not exists (select from public.beckn_orders o where o.quote_id = old.quote_id)
        limit 20
        for update skip locked)
        and q.quote_id <> stored.quote_id;

    return to_json(stored);
end
$$;

-- The most IT power in kW that is held of a data centre in any half-hour that [p_from, p_until) touches: by the orders of one
-- buyer, or (null) by whatever is booked there. p_without_order is an order that is not counted.
create or replace function public.beckn_held_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without_order uuid, p_bap_id text)
returns double precision
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_bap_id is null then
        return public.most_held_kw(p_dc_id, p_from, p_until, (
            select b.booking_id from public.capacity_bookings b where b.order_id = p_without_order));
    end if;
    return (
        select coalesce(max(held.kw), 0)
        from (
            select sum(b.it_power_kw) as kw
            from public.capacity_bookings b
            join public.beckn_orders o on o.order_id = b.order_id and o.bap_id = p_bap_id
            cross join lateral generate_series(
                public.half_hour_of(greatest(b.starts_at, p_from)), least(b.ends_at, p_until) - interval '1 microsecond',
                interval '30 minutes') as touched (half_hour)
            where b.dc_id = p_dc_id and b.state in ('HELD', 'RUNNING')
                and public.half_hour_of(b.starts_at) < p_until and b.ends_at > public.half_hour_of(p_from)
                and b.order_id is distinct from p_without_order
            group by touched.half_hour) as held);
end
$$;

-- IT power in kW that a data centre has left throughout [p_from, p_until): what its base load leaves, less the most that is
-- booked in any half-hour.
create or replace function public.beckn_free_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without_order uuid)
returns double precision
language sql
stable
set search_path = ''
as $$
    select public.free_kw(p_dc_id, p_from, p_until, (
        select b.booking_id from public.capacity_bookings b where b.order_id = p_without_order))::double precision
$$;

-- IT power in kW that one buyer may take more of a data centre throughout [p_from, p_until): p_share of what its base load
-- leaves, less what the buyer holds. Null where it holds nothing then, or p_share is null: a first order may be as large as
-- there is room.
create or replace function public.beckn_share_left_kw(
    p_dc_id text, p_from timestamptz, p_until timestamptz, p_without_order uuid, p_bap_id text,
    p_share double precision)
returns double precision
language sql
stable
set search_path = ''
as $$
    select case when held.kw > 0 then greatest(0, p_share * public.capacity_kw(d)::double precision - held.kw) end
    from public.data_centres d
    cross join lateral (
        select public.beckn_held_kw(p_dc_id, p_from, p_until, p_without_order, p_bap_id) as kw) as held
    where d.dc_id = p_dc_id and p_share is not null
$$;

-- Writes what happened to an order into the log of events, for its buyer, as the order is now; nothing where p_event_type is
-- null. Call it last, as log_event.
create or replace function public.log_order(p_order_id uuid, p_event_type text)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(o.buyer_operator, p_event_type, o.job_id, jsonb_strip_nulls(jsonb_build_object(
        'order_id', o.order_id, 'job_id', o.job_id, 'dc_id', o.dc_id, 'bpp_id', o.bpp_id, 'bap_id', o.bap_id,
        'state', o.state, 'starts_at', o.starts_at, 'ends_at', o.ends_at, 'it_power_kw', o.it_power_kw,
        'price_gbp', o.price_gbp::double precision, 'status', w.status, 'status_reason', w.status_reason,
        'actual_start', w.actual_start, 'actual_end', w.actual_end, 'actual_energy_kwh', w.actual_energy_kwh,
        'actual_carbon_gco2', w.actual_carbon_gco2, 'actual_cost_gbp', w.actual_cost_gbp)), o.order_id::text)
    from public.beckn_orders o
    join public.compute_workloads w on (w.tenant, w.job_id) = (o.buyer_operator, o.job_id)
    where o.order_id = p_order_id and p_event_type is not null
$$;

-- Takes the capacity of a quote and makes it an order, with its row of compute_workloads, which is QUEUED: it has its place
-- and asks for no decision. p_order: {order_id, quote_id, bpp_id, bap_id, transaction_id, starts_at, ends_at, terms,
-- workload: {job_id, …}, limits: {open_orders, cancelled_a_day, share}}, what one buyer may have at a time, cancel in a day,
-- and hold of what a data centre has for orders. Answers {"state": "placed" | "repeated" (the transaction's order is of this
-- quote) | "other_order" (it is of another) | "unknown_quote" | "quote_expired" | "not_active" | "no_capacity" |
-- "too_many_orders" | "too_many_cancelled" | "share_held", "order", "free_kw"}.
create or replace function public.beckn_place_order(p_order jsonb, p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_orders := jsonb_populate_record(null::public.beckn_orders, p_order);
    work public.compute_workloads := jsonb_populate_record(null::public.compute_workloads, p_order -> 'workload');
    quote public.beckn_quotes;
    placed public.beckn_orders;
    centre_status text;
    free_kw double precision;
    limits jsonb := p_order -> 'limits';
begin
    -- What a buyer may have is counted for one of its orders after the other.
    perform pg_advisory_xact_lock(hashtextextended(given.bpp_id || ' ' || given.bap_id, 0));
    select * into quote
    from public.beckn_quotes q
    where q.quote_id = given.quote_id
        and (q.bpp_id, q.bap_id, q.transaction_id) = (given.bpp_id, given.bap_id, given.transaction_id);

    -- Orders of one data centre are placed one after the other; what follows sees those before it. The lock leaves alone
    -- whoever only refers to the data centre.
    if quote.quote_id is not null then
        select d.status into centre_status from public.data_centres d where d.dc_id = quote.dc_id for no key update;
    end if;

    select * into placed
    from public.beckn_orders o
    where (o.bpp_id, o.bap_id, o.transaction_id) = (given.bpp_id, given.bap_id, given.transaction_id);
    if placed.order_id is not null then
        return json_build_object(
            'state', case when placed.quote_id = given.quote_id then 'repeated' else 'other_order' end,
            'order', public.beckn_order(placed.bpp_id, placed.bap_id, placed.order_id));
    end if;
    if quote.quote_id is null then
        return json_build_object('state', 'unknown_quote');
    end if;
    if quote.expires_at <= p_now then
        return json_build_object('state', 'quote_expired');
    end if;
    if centre_status <> 'ACTIVE' then
        return json_build_object('state', 'not_active');
    end if;
    free_kw := public.beckn_free_kw(quote.dc_id, given.starts_at, given.ends_at, null);
    if quote.it_power_kw > free_kw then
        return json_build_object('state', 'no_capacity', 'free_kw', greatest(free_kw, 0));
    end if;
    if (
        select count(*)
        from public.beckn_orders o
        where (o.bpp_id, o.bap_id) = (given.bpp_id, given.bap_id) and o.state in ('SCHEDULED', 'DEFERRED', 'RUNNING'))
        >= (limits ->> 'open_orders')::bigint then
        return json_build_object('state', 'too_many_orders');
    end if;
    if (
        select count(*)
        from public.beckn_orders o
        where (o.bpp_id, o.bap_id) = (given.bpp_id, given.bap_id) and o.state = 'CANCELLED'
            and o.updated_at > p_now - interval '1 day')
        >= (limits ->> 'cancelled_a_day')::bigint then
        return json_build_object('state', 'too_many_cancelled');
    end if;
    free_kw := public.beckn_share_left_kw(
        quote.dc_id, given.starts_at, given.ends_at, null, given.bap_id, (limits ->> 'share')::double precision);
    if quote.it_power_kw > free_kw then
        return json_build_object('state', 'share_held', 'free_kw', free_kw);
    end if;

    -- Whose the workload is: the buyer's, where one of our operators speaks through it, else the platform's.
    work.operator := public.beckn_operator(given.bap_id);
    insert into public.operators (operator_id, name)
    select 'platform', 'The platform'
    where work.operator = 'platform' and not exists (select from public.operators o where o.operator_id = 'platform')
    on conflict (operator_id) do nothing;
    -- Anybody who may submit workloads may have taken the name first: then the order's has another.
    while exists (select from public.compute_workloads w where w.job_id = work.job_id) loop
        work.job_id := 'order:' || gen_random_uuid();
    end loop;
    insert into public.compute_workloads (
        job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores, required_memory_gb,
        estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins, status, status_reason,
        scheduled_start, created_at, updated_at)
    values (
        work.job_id, work.operator, quote.dc_id, work.workload_type, work.urgency, work.required_gpu_mins, work.required_cpu_cores,
        work.required_memory_gb, work.estimated_energy_kwh, work.carbon_cap_gco2, work.max_price_gbp,
        least(work.deadline, timestamptz '2199-12-31 00:00:00+00'), -- as late as the table has times
        work.deferral_window_mins, 'QUEUED', 'Ordered by ' || given.bap_id || ' through ' || given.bpp_id || '.',
        given.starts_at, p_now, p_now);
    insert into public.beckn_orders (
        order_id, bpp_id, bap_id, transaction_id, quote_id, job_id, dc_id, item_id, state, starts_at, ends_at,
        it_power_kw, price_gbp, terms, scheduled_at, created_at, updated_at, buyer_operator, seller_operator)
    values (
        given.order_id, given.bpp_id, given.bap_id, given.transaction_id, quote.quote_id, work.job_id, quote.dc_id,
        quote.item_id, 'SCHEDULED', given.starts_at, given.ends_at, quote.it_power_kw, quote.price_gbp, given.terms,
        given.starts_at, p_now, p_now, work.operator, public.beckn_seller(quote.dc_id));
    if public.take_power(
        quote.dc_id, work.operator, work.job_id, 'beckn_order', given.starts_at, given.ends_at, quote.it_power_kw::numeric,
        'order', null, given.order_id) is null
    then
        raise exception 'the power of order % has gone under the lock of its data centre', given.order_id;
    end if;
    perform public.log_order(given.order_id, 'order.confirmed');
    return json_build_object('state', 'placed', 'order', public.beckn_order(given.bpp_id, given.bap_id, given.order_id));
end
$$;

-- One step of an order. p_change: {order_id, lease_token (null: a buyer's wish, which takes the order out of an executor's
-- hands), from_states: […], state, starts_at, ends_at, deferral, cancellation, due_at (of the next step; null: there is none),
-- updated_at, share, workload: {status, status_reason, scheduled_start, actual_…}, readings (of a run that has ended: see
-- record_readings)}; of the order what is left out stays. A window that moves takes the power of the half-hours that are new
-- to it here, within the share that one buyer may hold; whatever ends gives its power back. p_outgoing goes into the outbox in
-- the same transaction.
-- Answers {"state": "changed" | "fenced" (lease lost) | "wrong_state" | "no_capacity", "order", "free_kw"}.
create or replace function public.beckn_change_order(p_change jsonb, p_outgoing jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_orders := jsonb_populate_record(null::public.beckn_orders, p_change);
    work public.compute_workloads := jsonb_populate_record(null::public.compute_workloads, p_change -> 'workload');
    held public.beckn_orders;
    next_step_at timestamptz := (p_change ->> 'due_at')::timestamptz;
    free_kw double precision;
begin
    -- The data centre first, as in placing: two transactions take their locks in one order.
    perform from public.data_centres d
    where d.dc_id = (select o.dc_id from public.beckn_orders o where o.order_id = given.order_id)
    for no key update;
    select * into held from public.beckn_orders o where o.order_id = given.order_id for update;
    if given.lease_token is not null and held.lease_token is distinct from given.lease_token then
        return json_build_object('state', 'fenced');
    end if;
    if held.order_id is null or not coalesce((p_change -> 'from_states') ? held.state, false) then
        return json_build_object('state', 'wrong_state');
    end if;
    given.starts_at := coalesce(given.starts_at, held.starts_at);
    given.ends_at := coalesce(given.ends_at, held.ends_at);
    if given.state in ('SCHEDULED', 'DEFERRED', 'RUNNING')
        and (given.starts_at, given.ends_at) <> (held.starts_at, held.ends_at)
    then
        free_kw := least(
            (
                select public.free_to_move_kw(b.booking_id, b.dc_id, given.starts_at, given.ends_at)::double precision
                from public.capacity_bookings b where b.order_id = held.order_id),
            public.beckn_share_left_kw(
                held.dc_id, given.starts_at, given.ends_at, held.order_id, held.bap_id,
                (p_change ->> 'share')::double precision));
        if held.it_power_kw > free_kw then
            return json_build_object('state', 'no_capacity', 'free_kw', greatest(free_kw, 0));
        end if;
    end if;
    update public.beckn_orders o
    set state = given.state,
        starts_at = given.starts_at,
        ends_at = given.ends_at,
        deferral = coalesce(given.deferral, o.deferral),
        cancellation = coalesce(given.cancellation, o.cancellation),
        revision = o.revision + 1,
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, o.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then given.updated_at end,
        updated_at = given.updated_at
    where o.order_id = given.order_id;
    update public.compute_workloads w
    set status = work.status,
        status_reason = coalesce(work.status_reason, w.status_reason),
        scheduled_start = coalesce(work.scheduled_start, w.scheduled_start),
        actual_start = coalesce(work.actual_start, w.actual_start),
        actual_end = coalesce(work.actual_end, w.actual_end),
        actual_energy_kwh = coalesce(work.actual_energy_kwh, w.actual_energy_kwh),
        actual_carbon_gco2 = coalesce(work.actual_carbon_gco2, w.actual_carbon_gco2),
        actual_cost_gbp = coalesce(work.actual_cost_gbp, w.actual_cost_gbp)
    where (w.tenant, w.job_id) = (held.buyer_operator, held.job_id);
    update public.capacity_bookings b
    set state = case
            when given.state = 'RUNNING' then 'RUNNING'
            when given.state = 'COMPLETED' then 'ENDED'
            when given.state = 'CANCELLED' then case b.state when 'RUNNING' then 'ENDED' else 'RELEASED' end
            else 'HELD' end,
        starts_at = given.starts_at,
        ends_at = given.ends_at,
        scheduled_at = given.starts_at,
        started_at = coalesce(work.actual_start, b.started_at),
        ended_at = case when given.state in ('COMPLETED', 'CANCELLED') then coalesce(work.actual_end, given.updated_at) end,
        reason = coalesce(given.cancellation ->> 'reason', b.reason)
    where b.order_id = held.order_id and b.state in ('HELD', 'RUNNING');
    if jsonb_array_length(p_change -> 'readings') > 0 then
        perform public.record_readings(b.booking_id, p_change -> 'readings', given.updated_at)
        from public.capacity_bookings b
        where b.order_id = held.order_id;
    end if;
    perform public.beckn_put_outbox(held.bpp_id, p_outgoing);
    if given.state = 'CANCELLED' then -- what it held until now has come free
        perform public.let_waiting_ask_again();
    end if;
    perform public.log_order(held.order_id, case
        when given.state = 'RUNNING' then 'order.running'
        when given.state = 'COMPLETED' then 'order.completed'
        when given.state = 'CANCELLED' and work.status = 'FAILED' then 'order.failed'
        when given.state = 'CANCELLED' then 'order.cancelled' end);
    return json_build_object('state', 'changed', 'order', public.beckn_order(held.bpp_id, held.bap_id, held.order_id));
end
$$;

-- Takes up to p_limit orders of p_bpp_id that are to start or to end by p_now, each buyer's first in turn, on a lease. An
-- order whose buyer has a message in the inbox waits until that is answered, so that callbacks keep their order. Answers
-- {"claimed": [orders…], "next_due_at"}.
create or replace function public.beckn_claim_orders(
    p_bpp_id text, p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due uuid[];
    taken uuid[];
begin
    perform public.queue_orders_sweep(p_bpp_id, p_now);
    select coalesce(array_agg(ready.order_id order by ready.place, ready.scheduled_at, ready.order_id), '{}') into due
    from (
        select
            o.order_id, o.scheduled_at,
            row_number() over (partition by o.bap_id order by o.scheduled_at, o.order_id) as place
        from public.beckn_orders o
        where o.bpp_id = p_bpp_id
            and (
                (o.work_state = 'available' and o.scheduled_at <= p_now)
                or (o.work_state = 'running' and public.has_come(o.leased_until, p_now)))
            and not exists (
                select
                from public.beckn_inbox i
                where i.transaction_id = o.transaction_id and i.work_state in ('available', 'running', 'retryable')
                    and (i.recipient, i.sender) = (o.bpp_id, o.bap_id))) as ready;
    select coalesce(array_agg(o.order_id order by array_position(due, o.order_id)), '{}') into taken
    from public.queue_orders_claim(p_bpp_id, due, p_worker, p_limit, p_now, p_lease_seconds) as o;
    return json_build_object(
        'claimed', coalesce((
            select json_agg(public.beckn_order(p_bpp_id, null, one.order_id) order by one.position)
            from unnest(taken) with ordinality as one (order_id, position)), '[]'),
        'next_due_at', least(
            public.queue_orders_next_due(p_bpp_id, p_now),
            (
                select min(o.scheduled_at) from public.beckn_orders o
                where o.bpp_id = p_bpp_id and o.work_state = 'available' and o.scheduled_at > p_now)));
end
$$;

-- Steps of orders are being worked on still. p_leases: [{order_id, lease_token}…]. Answers {"held": [order_id…]}.
create or replace function public.beckn_heartbeat_orders(
    p_leases jsonb, p_now timestamptz, p_lease_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('held', public.queue_orders_heartbeat(
        array_agg(lease.order_id), array_agg(lease.lease_token), p_now + make_interval(secs => p_lease_seconds)))
    from jsonb_to_recordset(p_leases) as lease (order_id uuid, lease_token bigint)
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter, for as long as it takes. Answers {"state":
-- "retry" | "fenced"}.
create or replace function public.beckn_fail_order(
    p_order_id uuid, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_orders_fail(
        p_order_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- For how long what is due first has been due with nobody on it, in seconds, at p_platform or (null) at all platforms:
-- {"inbox", "outbox", "orders"}, each null where nothing is. Not counted: messages that wait for others of their transaction,
-- and orders that wait for messages of their buyer.
create or replace function public.beckn_overdue(p_platform text, p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'inbox', (
            select extract(epoch from clock_timestamp() - min(public.queue_due_at(i.work_state, i.scheduled_at, i.leased_until)))
            from public.beckn_inbox i
            where i.work_state in ('available', 'running', 'retryable')
                and public.queue_due_at(i.work_state, i.scheduled_at, i.leased_until) <= clock_timestamp()
                and i.recipient = coalesce(p_platform, i.recipient)
                and not exists (
                    select
                    from public.beckn_inbox earlier
                    where earlier.transaction_id = i.transaction_id and earlier.inbox_id < i.inbox_id
                        and earlier.work_state in ('available', 'running', 'retryable')
                        and (earlier.recipient, earlier.sender) = (i.recipient, i.sender))),
        'outbox', (
            select extract(epoch from clock_timestamp() - min(public.queue_due_at(o.work_state, o.scheduled_at, o.leased_until)))
            from public.beckn_outbox o
            where o.work_state in ('available', 'running', 'retryable')
                and public.queue_due_at(o.work_state, o.scheduled_at, o.leased_until) <= clock_timestamp()
                and o.sender = coalesce(p_platform, o.sender)
                and not exists ( -- its recipient does not answer: it is left alone for a while
                    select
                    from public.beckn_circuits c
                    where (c.sender, c.recipient) = (o.sender, o.recipient) and c.open_until > clock_timestamp())
                and not exists (
                    select
                    from public.beckn_outbox earlier
                    where earlier.transaction_id = o.transaction_id and earlier.outbox_id < o.outbox_id
                        and earlier.work_state in ('available', 'running', 'retryable')
                        and (earlier.sender, earlier.recipient) = (o.sender, o.recipient))),
        'orders', (
            select extract(epoch from p_now - min(public.queue_due_at(o.work_state, o.scheduled_at, o.leased_until)))
            from public.beckn_orders o
            where o.work_state in ('available', 'running', 'retryable')
                and public.queue_due_at(o.work_state, o.scheduled_at, o.leased_until) <= p_now
                and o.bpp_id = coalesce(p_platform, o.bpp_id)
                and not exists (
                    select
                    from public.beckn_inbox i
                    where i.transaction_id = o.transaction_id and i.work_state in ('available', 'running', 'retryable')
                        and (i.recipient, i.sender) = (o.bpp_id, o.bap_id))))
$$;


-- Flexibility: written once ------------------------------------------------------------------------------------------------

do $once$
declare
    written text;
begin
    foreach written in array array[
        'flexibility_decisions', 'flexibility_moves', 'flexibility_commitments', 'flexibility_baselines',
        'flexibility_storage', 'flexibility_notifications', 'flexibility_settlements', 'flexibility_cashflows']
    loop
        execute format(
            'create or replace trigger refuse_row_change before update or delete on public.%I '
            'for each row execute function public.refuse_audit_change()', written);
        execute format(
            'create or replace trigger refuse_truncate before truncate on public.%I '
            'for each statement execute function public.refuse_audit_change()', written);
        execute format('alter table public.%I enable always trigger refuse_row_change', written);
        execute format('alter table public.%I enable always trigger refuse_truncate', written);
    end loop;
end
$once$;

-- What is hashed of an event's decision, as text: every column but chain_hash, in the order of the names below. See
-- decision_texts.
create or replace function public.flexibility_decision_texts(d public.flexibility_decisions)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
    return array[
        d.chain_position::text, d.previous_hash, d.tenant, d.decision_id::text, d.event_id::text, d.from_state, d.to_state,
        d.reason, d.content::text, extract(epoch from d.decided_at)::text];
end
$$;

-- The SHA-256 of an event's decision, which names the hash of the one before it among its tenant's: see decision_hash. The
-- bytes are lines of UTF-8: "pylon flexibility decision 1", then each column's name, "=", the number of bytes, ":" and the
-- text, or "-" for null.
create or replace function public.flexibility_decision_hash(d public.flexibility_decisions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    names constant text[] := array[
        'chain_position', 'previous_hash', 'tenant', 'decision_id', 'event_id', 'from_state', 'to_state', 'reason',
        'content', 'decided_at'];
begin
    return (
        select encode(sha256(convert_to(
            E'pylon flexibility decision 1\n' || string_agg(
                one.name || coalesce('=' || octet_length(convert_to(one.text, 'UTF8')) || ':' || one.text, '=-') || E'\n',
                '' order by one.place), 'UTF8')), 'hex')
        from unnest(names, public.flexibility_decision_texts(d)) with ordinality as one (name, text, place));
end
$$;

create or replace function public.chain_flexibility_decision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- The publishing lock, as for the chains of decisions: whoever has published has it already.
    perform pg_advisory_xact_lock(7263812);
    select d.chain_position + 1, d.chain_hash into new.chain_position, new.previous_hash
    from public.flexibility_decisions d
    where d.tenant = new.tenant
    order by d.chain_position desc
    limit 1;
    new.chain_position := coalesce(new.chain_position, 1);
    new.chain_hash := public.flexibility_decision_hash(new);
    return new;
end
$$;

create or replace trigger hash_into_chain
    before insert on public.flexibility_decisions
    for each row execute function public.chain_flexibility_decision();
alter table public.flexibility_decisions enable always trigger hash_into_chain;

-- Whether a tenant's chain is whole: {"decisions", "broken_at": the first position that does not follow from the one before,
-- or null}.
create or replace function public.flexibility_chain_check(p_operator text)
returns json
language sql
stable
set search_path = ''
as $$
    with followed as (
        select
            d.chain_position,
            d.chain_hash = public.flexibility_decision_hash(d)
                and d.previous_hash is not distinct from lag(d.chain_hash) over in_order
                and d.chain_position = row_number() over in_order as holds
        from public.flexibility_decisions d
        where d.tenant = p_operator
        window in_order as (order by d.chain_position)
    )
    select json_build_object(
        'decisions', count(*), 'broken_at', min(f.chain_position) filter (where not f.holds))
    from followed f
$$;

-- An owner's decisions on events in the order of its chain: see decision_chain.
create or replace function public.flexibility_decision_chain(
    p_operator text, p_after_position bigint default null, p_after_decision uuid default null, p_limit integer default 200)
returns json
language sql
stable
set search_path = ''
as $$
    with page as (
        select d as decision, d.chain_position, d.decision_id, pg_column_size(d.content) as bytes
        from public.flexibility_decisions d
        where d.tenant = p_operator
            and d.chain_position >= coalesce(p_after_position, -9223372036854775808)
            and (p_after_decision is null or (d.chain_position, d.decision_id) > (p_after_position, p_after_decision))
        order by d.chain_position, d.decision_id
        limit p_limit
    ),
    ahead as (
        select page.decision, row_number() over in_order as place, sum(page.bytes) over in_order as bytes
        from page
        window in_order as (order by page.chain_position, page.decision_id)
    )
    select coalesce(json_agg(
        json_build_object(
            'texts', public.flexibility_decision_texts(ahead.decision), 'hash', (ahead.decision).chain_hash)
        order by ahead.place), '[]')
    from ahead
    where ahead.place = 1 or ahead.bytes < 1048576
$$;

-- Where the chains of decisions on events end, as decision_heads tells it.
create or replace function public.flexibility_decision_heads()
returns json
language sql
stable
set search_path = ''
as $$
    with recursive tenants as (
        (select d.tenant from public.flexibility_decisions d order by d.tenant limit 1)
        union all
        select (
            select d.tenant from public.flexibility_decisions d where d.tenant > t.tenant order by d.tenant limit 1)
        from tenants t
        where t.tenant is not null
    )
    select json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_object(
                'operator', t.tenant, 'position', head.chain_position, 'hash', head.chain_hash,
                'decision_id', head.decision_id) order by t.tenant), '[]')
            from tenants t
            cross join lateral (
                select d.chain_position, d.chain_hash, d.decision_id
                from public.flexibility_decisions d
                where d.tenant = t.tenant and d.chain_position is not null
                order by d.chain_position desc
                limit 1) as head),
        'unchained', (
            select coalesce(json_agg(outside.decision_id), '[]')
            from (
                select (
                    select d.decision_id from public.flexibility_decisions d
                    where d.tenant = t.tenant and d.chain_position is null
                    limit 1) as decision_id
                from tenants t
                union all
                (select d.decision_id from public.flexibility_decisions d where d.tenant is null limit 1)) as outside
            where outside.decision_id is not null))
$$;


-- Flexibility: units and events ----------------------------------------------------------------------------------------------
--
-- Locks: the programs of OpenADR that what is sold is told in, the event, then batteries, then as everywhere: data centres, notifications, workloads, bookings, and last the publishing lock.

-- The GSP group of a region; null for an aggregate.
create or replace function public.gsp_group(p_region_id integer)
returns text
language sql
immutable
set search_path = ''
as $$
    select (array['_P', '_N', '_G', '_F', '_M', '_D', '_K', '_E', '_B', '_A', '_L', '_H', '_C', '_J'])[p_region_id]
$$;

-- Makes the units that an owner's data centres and batteries are in, where there are none yet. 'platform' owns what everybody has.
create or replace function public.ensure_flexibility_units(p_tenant text)
returns void
language sql
set search_path = ''
as $$
    insert into public.flexibility_units (unit_id, tenant, gsp_group, region_id)
    select distinct
        'V__' || case p_tenant when 'platform' then 'PYLON' else upper(left(md5(p_tenant), 7)) end
            || substr(public.gsp_group(d.region_id), 2),
        p_tenant, public.gsp_group(d.region_id), d.region_id
    from (
        select c.region_id, c.tenant from public.data_centres c
        union
        select s.region_id, s.tenant from public.storage_assets s) as d
    where (p_tenant = 'platform' or d.tenant = p_tenant) and public.gsp_group(d.region_id) is not null
    on conflict do nothing
$$;

-- An event as programs read it: numbers that are money or volumes as text, which keeps every digit.
create or replace function public.flexibility_event_row(e public.flexibility_events)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'event_id', e.event_id, 'tenant', e.tenant, 'door', e.door, 'source_id', e.source_id, 'programme', e.programme,
        'starts_at', e.starts_at, 'ends_at', e.ends_at, 'gate_closes_at', e.gate_closes_at,
        'need_mw', e.need_mw::text[], 'price_gbp_per_mwh', e.price_gbp_per_mwh::text[],
        'penalty_gbp_per_mwh', e.penalty_gbp_per_mwh::text[], 'compensation', e.compensation, 'in_day', e.in_day,
        'state', e.state, 'state_reason', e.state_reason, 'announced_at', e.announced_at, 'updated_at', e.updated_at)
$$;

-- Tells an event's new state in the log of events. Takes the publishing lock: call it last.
create or replace function public.log_flexibility_event(p_event_id uuid)
returns void
language sql
set search_path = ''
as $$
    select public.log_event(
        nullif(e.tenant, 'platform'), 'grid.flexibility', null,
        public.flexibility_event_row(e) - 'tenant' - 'updated_at', e.event_id::text)
    from public.flexibility_events e
    where e.event_id = p_event_id;
    -- Whoever tells those that bought it over Beckn.
    select pg_notify('flexibility_contracts', '')
    from public.flexibility_events e
    where e.event_id = p_event_id and e.door = 'beckn'
$$;

-- A new event. p_operator: whose it is, whatever p_event says. p_event: {tenant (null: the platform's), door, source_id, programme, starts_at, need_mw, price_gbp_per_mwh,
-- penalty_gbp_per_mwh, compensation, in_day, document}, checked by whoever calls. Answers {"state": "announced" | "already"
-- (the same, again) | "different" (another of this name) | "closed" (its gate has closed) | "overlapping" (another event of
-- the owner's is open in these half-hours; one that NESO publishes may overlap) | "too_many" (of the owner's are ahead, by hand
-- and by OpenADR), "event"}. Nothing is stored but where it is announced.
create or replace function public.announce_flexibility_event(
    p_event jsonb, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.flexibility_events := jsonb_populate_record(null::public.flexibility_events, p_event);
    most constant integer := 100; -- ahead at a time, of a tenant, by hand and by OpenADR together
    found public.flexibility_events;
begin
    -- One announcement at a time, so that no two of them overlap unseen.
    lock table public.flexibility_events in share row exclusive mode;
    given.tenant := coalesce(p_operator, given.tenant, 'platform');
    given.ends_at := given.starts_at + cardinality(given.need_mw) * interval '30 minutes';
    given.gate_closes_at := given.starts_at - interval '1 hour';
    select * into found
    from public.flexibility_events e
    where (e.tenant, e.door, e.source_id) = (given.tenant, given.door, given.source_id);
    if found.event_id is not null then
        return json_build_object(
            'state', case
                when (found.programme, found.starts_at, found.need_mw, found.price_gbp_per_mwh, found.compensation, found.in_day)
                    = (given.programme, given.starts_at, given.need_mw, given.price_gbp_per_mwh, given.compensation, given.in_day)
                    and found.penalty_gbp_per_mwh is not distinct from given.penalty_gbp_per_mwh
                    then 'already' else 'different' end,
            'event', public.flexibility_event_row(found));
    end if;
    if given.gate_closes_at <= p_now then
        return json_build_object('state', 'closed', 'event', null);
    end if;
    select * into found
    from public.flexibility_events e
    where e.tenant = given.tenant and e.state not in ('DECLINED', 'MISSED', 'CANCELLED')
        and e.starts_at < given.ends_at and e.ends_at > given.starts_at
    order by e.starts_at
    limit 1;
    if found.event_id is not null and given.door <> 'dfs' then
        return json_build_object('state', 'overlapping', 'event', public.flexibility_event_row(found));
    end if;
    -- One thread carries on everybody's: those that are ahead are looked at every quarter of an hour.
    if given.door in ('manual', 'openadr') and (
        select count(*)
        from public.flexibility_events e
        where e.tenant = given.tenant and e.door in ('manual', 'openadr')
            and e.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED')
            and e.ends_at > p_now and e.starts_at > p_now - interval '2 days') >= most -- none lasts longer
    then
        return json_build_object('state', 'too_many', 'event', null);
    end if;
    insert into public.flexibility_events (
        tenant, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh,
        penalty_gbp_per_mwh, compensation, in_day, document, scheduled_at, announced_at)
    values (
        given.tenant, given.door, given.source_id, given.programme, given.starts_at, given.ends_at, given.gate_closes_at,
        given.need_mw, given.price_gbp_per_mwh, given.penalty_gbp_per_mwh, given.compensation, given.in_day,
        coalesce(given.document, '{}'), p_now, p_now)
    returning * into found;
    perform public.ensure_flexibility_units(found.tenant);
    insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, content, decided_at)
    values (
        found.tenant, found.event_id, null, 'ANNOUNCED', 'It was announced.',
        public.flexibility_event_row(found) - '{event_id,tenant,state,state_reason,updated_at}'::text[], p_now);
    perform public.log_flexibility_event(found.event_id);
    perform pg_notify('flexibility', '');
    return json_build_object('state', 'announced', 'event', public.flexibility_event_row(found));
end
$$;

-- Takes up to p_limit events whose next step is due on a lease. Answers {"claimed": [event with its lease_token…],
-- "next_due_at"}.
create or replace function public.claim_flexibility_events(
    p_worker text, p_now timestamptz, p_lease_seconds double precision, p_limit integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    due uuid[];
    claimed json;
begin
    perform public.queue_flexibility_sweep(null, p_now);
    -- Named one by one: a step may be due in hours and days, which to the engine would be a clock that was set back. One that
    -- is due later than any is put off to (see flexibility.steps) was put off by a clock that has been set back since.
    select coalesce(array_agg(ready.event_id order by ready.scheduled_at, ready.event_id), '{}') into due
    from public.flexibility_events ready
    where (
            ready.work_state = 'available'
            and (
                ready.scheduled_at <= p_now
                or ready.scheduled_at > case
                    when ready.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED') then p_now + interval '30 minutes'
                    else greatest(p_now, ready.ends_at) + interval '25 hours' end))
        or (ready.work_state = 'running' and public.has_come(ready.leased_until, p_now));
    select coalesce(json_agg(
        public.flexibility_event_row(e) || jsonb_build_object('lease_token', e.lease_token) order by e.starts_at, e.event_id),
        '[]')
    into claimed
    from public.queue_flexibility_claim(null, due, p_worker, p_limit, p_now, p_lease_seconds) as e;
    return json_build_object(
        'claimed', claimed,
        'next_due_at', least(
            public.queue_flexibility_next_due(null, p_now),
            (
                select min(e.scheduled_at) from public.flexibility_events e
                where e.work_state = 'available' and e.scheduled_at > p_now)));
end
$$;

-- A step that failed is tried again after p_retry_seconds, give or take a quarter. Answers {"state": "retry" | "fenced"}.
create or replace function public.fail_flexibility_event(
    p_event_id uuid, p_lease_token bigint, p_error text, p_now timestamptz, p_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    select json_build_object('state', case failed.work_state when 'retryable' then 'retry' else 'fenced' end)
    from public.queue_flexibility_fail(
        p_event_id, p_lease_token, p_error, p_retry_seconds, p_retry_seconds, p_moment => p_now) as failed
$$;

-- What an in-day adjustment adds to a baseline, which is known, and told, when its event is over: it is in the decision that
-- says so. The row itself was written before.
create or replace function public.flexibility_adjustment_mwh(b public.flexibility_baselines)
returns numeric
language sql
stable
set search_path = ''
as $$
    select case b.in_day
        when 'additive' then coalesce(
            (
                select (d.content -> 'in_day_mwh' ->> b.dc_id)::numeric
                from public.flexibility_decisions d
                where d.event_id = b.event_id and d.to_state = 'DELIVERED'
                limit 1),
            0)
        else b.adjustment_mwh end
$$;

-- The data centres that may give way for an event: its owner's, but those that another event has sold in its half-hours.
create or replace function public.flexibility_sites(p_event public.flexibility_events)
returns table (dc_id text, unit_id text)
language sql
stable
set search_path = ''
as $$
    select d.dc_id, u.unit_id
    from public.data_centres d
    join public.flexibility_units u on (u.tenant, u.gsp_group) = ((p_event).tenant, public.gsp_group(d.region_id))
    where ((p_event).tenant = 'platform' or d.tenant = (p_event).tenant)
        and not exists (
            select
            from public.flexibility_baselines b
            join public.flexibility_events other on other.event_id = b.event_id
            where b.dc_id = d.dc_id and b.event_id is distinct from (p_event).event_id
                and other.state in ('COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED')
                and b.half_hour >= (p_event).starts_at and b.half_hour < (p_event).ends_at)
$$;

-- The batteries that may discharge for an event: those of its owner that run, whose charge and efficiency are known, and that
-- no event has until they have back what they gave.
create or replace function public.flexibility_batteries(p_event public.flexibility_events, p_now timestamptz)
returns table (
    asset_id text, unit_id text, region_id integer, power_mw double precision, capacity_mwh double precision,
    state_of_charge_percentage double precision, round_trip_efficiency double precision)
language sql
stable
set search_path = ''
as $$
    select
        s.asset_id, u.unit_id, s.region_id, s.power_mw, s.capacity_mwh, s.state_of_charge_percentage, s.round_trip_efficiency
    from public.storage_assets s
    join public.flexibility_units u on (u.tenant, u.gsp_group) = ((p_event).tenant, public.gsp_group(s.region_id))
    where ((p_event).tenant = 'platform' or s.tenant = (p_event).tenant)
        and s.status = 'ACTIVE' and s.asset_type = 'BATTERY' and s.power_mw > 0
        and s.state_of_charge_percentage is not null and s.round_trip_efficiency > 0
        and not exists (
            select
            from public.flexibility_storage sold
            join public.flexibility_events other on other.event_id = sold.event_id
            where sold.asset_id = s.asset_id and sold.event_id is distinct from (p_event).event_id
                and other.state in ('COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED')
                and sold.half_hour > p_now - interval '30 minutes')
$$;

-- All that an offer is made from: {"sites": [{dc_id, unit_id}…], "booked": [{booking_id, operator, job_id, dc_id, starts_at,
-- ends_at, it_power_kw}…] (what a decision has placed at them in the event's half-hours and has not begun; of the event's
-- owner, or of everybody where that is the platform), "batteries", "contexts": decision_contexts of those workloads}.
create or replace function public.flexibility_situation_of(p_event public.flexibility_events, p_now timestamptz)
returns json
language plpgsql
volatile
set search_path = ''
as $$
declare
    sites json;
    booked jsonb;
begin
    select coalesce(json_agg(s order by s.dc_id), '[]') into sites from public.flexibility_sites(p_event) s;
    select coalesce(jsonb_agg(one order by one.starts_at, one.booking_id), '[]') into booked
    from (
        select
            b.booking_id, b.tenant as operator, b.job_id, b.dc_id, b.starts_at, b.ends_at,
            b.it_power_kw::double precision as it_power_kw
        from public.capacity_bookings b
        where b.dc_id in (select s ->> 'dc_id' from json_array_elements(sites) as s)
            and b.state = 'HELD' and b.source = 'decision' and b.starts_at > p_now
            and b.starts_at < p_event.ends_at and b.ends_at > p_event.starts_at
            and (p_event.tenant = 'platform' or b.tenant = p_event.tenant)
        order by b.starts_at, b.booking_id
        limit 500) as one;
    return json_build_object(
        'sites', sites,
        'booked', booked,
        'batteries', (
            select coalesce(json_agg(b order by b.asset_id), '[]')
            from (
                select * from public.flexibility_batteries(p_event, p_now) most order by most.power_mw desc, most.asset_id
                limit 100) as b), -- each is planned, and whoever buys over Beckn may ask as often as it likes
        'contexts', public.decision_contexts(
            coalesce((
                select jsonb_agg(jsonb_build_object('operator', one ->> 'operator', 'job_id', one ->> 'job_id'))
                from jsonb_array_elements(booked) as one), '[]'),
            p_now));
end
$$;

create or replace function public.flexibility_situation(p_event_id uuid, p_now timestamptz)
returns json
language sql
volatile
set search_path = ''
as $$
    select public.flexibility_situation_of(e, p_now) from public.flexibility_events e where e.event_id = p_event_id
$$;

-- What data centres drew for runs, for a baseline: {dc_id: {"days": {day: [48 texts, MWh]} (of the 60 days before the event's
-- that are known throughout), "event_days": [days on which it gave way before], "expected_mwh": [texts: what is booked there,
-- by half-hour of the event]}}.
create or replace function public.flexibility_history(p_event_id uuid, p_dc_ids jsonb)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    event public.flexibility_events;
    event_day date;
begin
    select * into event from public.flexibility_events e where e.event_id = p_event_id;
    event_day := (event.starts_at at time zone 'Europe/London')::date;
    return (
        select coalesce(json_object_agg(asked.dc_id, json_build_object(
            'days', coalesce((
                select json_object_agg(whole.day, whole.mwh)
                from (
                    select
                        (l.half_hour at time zone 'Europe/London')::date as day,
                        json_agg(trim_scale(l.site_energy_wh / 1000000)::text order by l.half_hour) as mwh
                    from public.data_centre_loads l
                    where l.dc_id = asked.dc_id
                        and l.half_hour >= (event_day - 60)::timestamp at time zone 'Europe/London'
                        and l.half_hour < event_day::timestamp at time zone 'Europe/London'
                    group by 1
                    having count(*) = 48) as whole), '{}'),
            'event_days', coalesce((
                select json_agg(distinct (b.half_hour at time zone 'Europe/London')::date)
                from public.flexibility_baselines b
                join public.flexibility_events other on other.event_id = b.event_id
                where b.dc_id = asked.dc_id and b.event_id <> p_event_id and other.state <> 'CANCELLED'
                    and b.half_hour >= event.starts_at - interval '61 days'), '[]'),
            'expected_mwh', (
                select json_agg(expected.mwh::text order by expected.half_hour)
                from (
                    select
                        slot.half_hour,
                        coalesce(sum(
                            b.it_power_kw * d.pue::numeric * extract(epoch from
                                least(b.ends_at, slot.half_hour + interval '30 minutes')
                                - greatest(b.starts_at, slot.half_hour)) / 3600000), 0) as mwh
                    from generate_series(
                        event.starts_at, event.ends_at - interval '1 second', interval '30 minutes') as slot (half_hour)
                    join public.data_centres d on d.dc_id = asked.dc_id
                    left join public.capacity_bookings b
                        on b.dc_id = asked.dc_id and b.state in ('HELD', 'RUNNING') and b.job_id is not null
                        and b.starts_at < slot.half_hour + interval '30 minutes' and b.ends_at > slot.half_hour
                    group by slot.half_hour) as expected))), '{}')
        from jsonb_array_elements_text(p_dc_ids) as asked (dc_id));
end
$$;

-- What data centres drew for runs in the six half-hours before an event's gate closure: {dc_id: {half_hour: MWh}}, those that
-- are known.
create or replace function public.flexibility_in_day_readings(p_event_id uuid, p_dc_ids jsonb)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_object_agg(known.dc_id, known.readings), '{}')
    from (
        select
            l.dc_id,
            json_object_agg(
                to_char(l.half_hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                trim_scale(l.site_energy_wh / 1000000)::text) as readings
        from public.flexibility_events e
        join public.data_centre_loads l
            on l.half_hour >= e.gate_closes_at - interval '3 hours' and l.half_hour < e.gate_closes_at
        where e.event_id = p_event_id
            and l.dc_id in (select asked.dc_id from jsonb_array_elements_text(p_dc_ids) as asked (dc_id))
        group by l.dc_id) as known
$$;


-- What an event is settled from: {"is_metered" (nothing that ran at its data centres in its half-hours is yet to be metered),
-- "run": the newest, 0 without any, "inputs": the newest run's, "baselines": [{dc_id, unit_id, half_hour, baseline_mwh,
-- metered_mwh}…], "batteries": [{asset_id, unit_id, half_hour, discharge_mw}…], "commitments": [{unit_id, half_hour, committed_mwh,
-- has_wman}…], "system_prices"}.
create or replace function public.flexibility_outcome(p_event_id uuid)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    event public.flexibility_events;
    newest public.flexibility_settlements;
begin
    select * into event from public.flexibility_events e where e.event_id = p_event_id;
    select * into newest from public.flexibility_settlements s where s.event_id = p_event_id order by s.run desc limit 1;
    return json_build_object(
        'is_metered', not exists (
            select
            from public.capacity_bookings b
            where b.dc_id in (select w.dc_id from public.flexibility_baselines w where w.event_id = p_event_id)
                and b.job_id is not null and b.starts_at < event.ends_at and b.ends_at > event.starts_at
                and (b.state in ('HELD', 'RUNNING') or (b.state = 'ENDED' and b.work_state <> 'completed'))),
        'run', coalesce(newest.run, 0),
        'inputs', newest.inputs,
        'baselines', (
            select coalesce(json_agg(json_build_object(
                'dc_id', w.dc_id, 'unit_id', w.unit_id, 'half_hour', w.half_hour,
                'baseline_mwh', (w.unadjusted_mwh + public.flexibility_adjustment_mwh(w))::text,
                'metered_mwh', trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text) order by w.half_hour, w.dc_id), '[]')
            from public.flexibility_baselines w
            left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (w.dc_id, w.half_hour)
            where w.event_id = p_event_id),
        -- A battery rests but for the event, and does what it was sold to do: nothing meters it.
        'batteries', (
            select coalesce(json_agg(json_build_object(
                'asset_id', s.asset_id, 'unit_id', s.unit_id, 'half_hour', s.half_hour,
                'discharge_mw', s.discharge_mw::text) order by s.half_hour, s.asset_id), '[]')
            from public.flexibility_storage s
            where s.event_id = p_event_id and s.half_hour >= event.starts_at and s.half_hour < event.ends_at),
        'commitments', (
            select coalesce(json_agg(json_build_object(
                'unit_id', c.unit_id, 'half_hour', c.half_hour, 'committed_mwh', c.committed_mwh::text,
                'has_wman', exists (
                    select from public.flexibility_notifications n
                    where (n.event_id, n.unit_id, n.half_hour, n.kind) = (c.event_id, c.unit_id, c.half_hour, 'WMAN')))
                order by c.half_hour, c.unit_id), '[]')
            from public.flexibility_commitments c
            where c.event_id = p_event_id),
        'system_prices', public.system_prices_between(event.starts_at, event.ends_at));
end
$$;

-- Gives back the power that an event holds, for whoever has the event's lock.
create or replace function public.release_flexibility(p_event_id uuid, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.data_centres d
    where d.dc_id in (
        select b.dc_id from public.capacity_bookings b where b.flexibility_event_id = p_event_id and b.state = 'HELD')
    order by d.dc_id
    for no key update;
    update public.capacity_bookings b
    set state = p_state, reason = p_reason, ended_at = clock_timestamp()
    where b.flexibility_event_id = p_event_id and b.state = 'HELD';
    if found then
        perform public.let_waiting_ask_again();
    end if;
end
$$;

-- Moves the workloads of a commitment: each gives its place back, the power that it had in the event's half-hours is held by
-- the event, and its new decision is published, all in this transaction or not at all. Answers whether all of it was done: it is not
-- where one of them has changed since it was looked at, the grid has, or the power it was to have has gone.
create or replace function public.move_for_flexibility(p_event public.flexibility_events, p_step jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    moves constant jsonb := p_step -> 'moves';
begin
    if not public.take_places_back(
        moves, 'flexibility', 'it gives way for flexibility', 'It gives way for flexibility and is decided again.',
        (p_step ->> 'now')::timestamptz)
    then
        return false;
    end if;
    insert into public.capacity_bookings (
        dc_id, tenant, job_id, source, starts_at, ends_at, it_power_kw, carried_out_by, work_state, scheduled_at,
        flexibility_event_id, reason)
    select
        b.dc_id, p_event.tenant, null, 'flexibility', greatest(b.starts_at, p_event.starts_at), least(b.ends_at, p_event.ends_at),
        b.it_power_kw, 'flexibility', 'completed', p_event.starts_at, p_event.event_id, null
    from jsonb_array_elements(moves) as m
    join public.capacity_bookings b on b.booking_id = (m ->> 'booking_id')::bigint;
    insert into public.flexibility_moves (
        event_id, tenant, job_id, unit_id, from_dc_id, from_starts_at, to_dc_id, to_starts_at, it_power_kw, keep_gbp, delta_gbp,
        freed_mwh, notification_id)
    select
        p_event.event_id, m.tenant, m.job_id, m.unit_id, m.from_dc_id, m.from_starts_at, m.to_dc_id, m.to_starts_at,
        m.it_power_kw, m.keep_gbp, m.delta_gbp, m.freed_mwh, n.notification_id
    from jsonb_to_recordset(moves) as m (
        tenant text, job_id text, unit_id text, from_dc_id text, from_starts_at timestamptz, to_dc_id text,
        to_starts_at timestamptz, it_power_kw numeric, keep_gbp numeric, delta_gbp numeric, freed_mwh numeric[])
    join public.workload_notifications n on (n.tenant, n.job_id) = (m.tenant, m.job_id) and n.work_state = 'running';
    perform public.publish_moves(moves, p_step ->> 'agent_id', p_step -> 'grid', p_step ->> 'grid_version');
    return true;
exception
    when sqlstate 'PYM01' then
        return false; -- and nothing of the above has happened
end
$$;

-- Whether the batteries of a commitment are still there to be sold; they are locked, so that no other event takes them.
create or replace function public.storage_may_be_sold(p_event public.flexibility_events, p_step jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    wanted constant text[] := array(
        select distinct one ->> 'asset_id' from jsonb_array_elements(p_step -> 'storage') as one);
begin
    perform from public.storage_assets s where s.asset_id = any (wanted) order by s.asset_id for no key update;
    return cardinality(wanted) = (
        select count(*) from public.flexibility_batteries(p_event, (p_step ->> 'now')::timestamptz) b
        where b.asset_id = any (wanted));
end
$$;

-- One step of an event, under its lease, in one transaction. p_step: {event_id, lease_token, from_state, state, reason, content,
-- due_at (of the next step; null: there is none), now (when it was worked out), stored_at (when that was done; null: the same), and as
-- the step wants them: moves, grid, grid_version, agent_id (see
-- move_for_flexibility), storage, baselines, commitments, notifications, settlement: {run, received_gbp, inputs, cashflows}}. A step that
-- stays in its state and decides nothing (content null) only says when to look again. Answers {"state": "changed" | "fenced"
-- (the lease was lost) | "wrong_state" | "outdated" (what was to move has changed, or a gate has closed meanwhile: look again)}.
create or replace function public.step_flexibility_event(p_step jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    event public.flexibility_events;
    moment constant timestamptz := (p_step ->> 'now')::timestamptz;
    stored_at constant timestamptz := coalesce((p_step ->> 'stored_at')::timestamptz, moment);
    next_step_at constant timestamptz := (p_step ->> 'due_at')::timestamptz;
    to_state constant text := p_step ->> 'state';
    settlement constant jsonb := nullif(p_step -> 'settlement', 'null');
    decides constant boolean := jsonb_typeof(p_step -> 'content') = 'object';
begin
    if to_state = 'COMMITTED' then
        perform public.openadr_hold_dispatch_programs(
            (p_step ->> 'event_id')::uuid, nullif(p_step -> 'storage', 'null'), moment);
    end if;
    -- What the update below needs, before the publishing lock: an announcement has the table first, and that lock then.
    lock table public.flexibility_events in row exclusive mode;
    select * into event from public.flexibility_events e where e.event_id = (p_step ->> 'event_id')::uuid for update;
    if event.event_id is null or event.work_state <> 'running'
        or event.lease_token is distinct from (p_step ->> 'lease_token')::bigint
    then
        return json_build_object('state', 'fenced');
    end if;
    if event.state is distinct from p_step ->> 'from_state' then
        return json_build_object('state', 'wrong_state');
    end if;
    if stored_at > moment and (
        (to_state in ('OFFERED', 'COMMITTED') and event.gate_closes_at <= stored_at)
        or exists (
            select from jsonb_to_recordset(nullif(p_step -> 'notifications', 'null')) as n (half_hour timestamptz)
            where n.half_hour - interval '1 hour' <= stored_at))
    then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(p_step -> 'storage', 'null')) > 0 and not public.storage_may_be_sold(event, p_step) then
        return json_build_object('state', 'outdated');
    end if;
    if jsonb_array_length(nullif(p_step -> 'moves', 'null')) > 0 and not public.move_for_flexibility(event, p_step) then
        return json_build_object('state', 'outdated');
    end if;
    insert into public.flexibility_commitments (event_id, unit_id, half_hour, tenant, committed_mwh)
    select event.event_id, c.unit_id, c.half_hour, event.tenant, c.committed_mwh
    from jsonb_to_recordset(nullif(p_step -> 'commitments', 'null')) as c (
        unit_id text, half_hour timestamptz, committed_mwh numeric);
    insert into public.flexibility_baselines (
        event_id, dc_id, half_hour, tenant, unit_id, method, version, days, wanted_days, unadjusted_mwh, adjustment_mwh,
        baseline_mwh, in_day)
    select
        event.event_id, b.dc_id, b.half_hour, event.tenant, b.unit_id, b.method, b.version, b.days, b.wanted_days,
        b.unadjusted_mwh, b.adjustment_mwh, b.baseline_mwh, b.in_day
    from jsonb_to_recordset(nullif(p_step -> 'baselines', 'null')) as b (
        dc_id text, half_hour timestamptz, unit_id text, method text, version text, days date[], wanted_days integer,
        unadjusted_mwh numeric, adjustment_mwh numeric, baseline_mwh numeric, in_day text);
    insert into public.flexibility_storage (event_id, asset_id, half_hour, tenant, unit_id, charge_mw, discharge_mw)
    select event.event_id, s.asset_id, s.half_hour, event.tenant, s.unit_id, s.charge_mw, s.discharge_mw
    from jsonb_to_recordset(nullif(p_step -> 'storage', 'null')) as s (
        asset_id text, half_hour timestamptz, unit_id text, charge_mw numeric, discharge_mw numeric);
    insert into public.flexibility_notifications (event_id, unit_id, half_hour, kind, tenant, volume_mwh, sent_at)
    select event.event_id, n.unit_id, n.half_hour, n.kind, event.tenant, n.volume_mwh, moment
    from jsonb_to_recordset(nullif(p_step -> 'notifications', 'null')) as n (
        unit_id text, half_hour timestamptz, kind text, volume_mwh numeric);
    if settlement is not null then
        insert into public.flexibility_settlements (event_id, run, tenant, settled_at, received_gbp, inputs)
        values (
            event.event_id, (settlement ->> 'run')::integer, event.tenant, moment, (settlement ->> 'received_gbp')::numeric,
            settlement -> 'inputs');
        insert into public.flexibility_cashflows (
            event_id, run, place, tenant, kind, half_hour, payer, payee, amount_gbp)
        select
            event.event_id, (settlement ->> 'run')::integer, flow.place, event.tenant, flow.kind, flow.half_hour, flow.payer,
            flow.payee, flow.amount_gbp
        from rows from (jsonb_to_recordset(settlement -> 'cashflows') as (
            kind text, half_hour timestamptz, payer text, payee text, amount_gbp numeric)) with ordinality
            as flow (kind, half_hour, payer, payee, amount_gbp, place);
    end if;
    update public.flexibility_events e
    set state = to_state,
        state_reason = p_step ->> 'reason',
        work_state = case when next_step_at is null then 'completed' else 'available' end,
        scheduled_at = coalesce(next_step_at, e.scheduled_at),
        attempt = 0,
        lost_leases = 0,
        lease_token = null,
        leased_until = null,
        leased_by = null,
        last_error = null,
        finished_at = case when next_step_at is null then moment end
    where e.event_id = event.event_id;
    if to_state in ('DELIVERED', 'MISSED') and event.state <> to_state then
        perform public.release_flexibility(
            event.event_id, case to_state when 'DELIVERED' then 'ENDED' else 'RELEASED' end, 'the event is over');
    end if;
    if to_state = 'COMMITTED' and event.state <> to_state then
        perform public.openadr_dispatch(event, moment);
    elsif to_state = 'MISSED' then
        perform public.openadr_withdraw(event.event_id);
    end if;
    if decides then
        insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, content, decided_at)
        values (event.tenant, event.event_id, event.state, to_state, p_step ->> 'reason', p_step -> 'content', moment);
        perform public.log_flexibility_event(event.event_id);
    end if;
    return json_build_object('state', 'changed');
end
$$;

-- Takes an event back, before its gate closes: what it holds is free again; what was moved stays where it is. Answers {"state":
-- "cancelled" | "unknown" | "closed" (its gate has closed) | "over" (it has ended, however), "event"}. p_operator: whose it must
-- be; null for the platform, which may take back any.
create or replace function public.cancel_flexibility_event(
    p_event_id uuid, p_reason text, p_now timestamptz, p_operator text default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    event public.flexibility_events;
begin
    select * into event
    from public.flexibility_events e
    where e.event_id = p_event_id and (p_operator is null or e.tenant = p_operator)
    for update;
    if event.event_id is null then
        return json_build_object('state', 'unknown', 'event', null);
    end if;
    if event.state = 'CANCELLED' then
        return json_build_object('state', 'cancelled', 'event', public.flexibility_event_row(event));
    end if;
    if event.state not in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') then
        return json_build_object('state', 'over', 'event', public.flexibility_event_row(event));
    end if;
    if event.gate_closes_at <= p_now then
        return json_build_object('state', 'closed', 'event', public.flexibility_event_row(event));
    end if;
    update public.flexibility_events e
    set state = 'CANCELLED', state_reason = p_reason, work_state = 'completed', lease_token = null, leased_until = null,
        leased_by = null, finished_at = p_now
    where e.event_id = p_event_id;
    perform public.release_flexibility(p_event_id, 'RELEASED', 'the event was cancelled');
    perform public.openadr_withdraw(p_event_id);
    insert into public.flexibility_decisions (tenant, event_id, from_state, to_state, reason, decided_at)
    values (event.tenant, p_event_id, event.state, 'CANCELLED', p_reason, p_now);
    perform public.log_flexibility_event(p_event_id);
    return json_build_object('state', 'cancelled', 'event', (
        select public.flexibility_event_row(e) from public.flexibility_events e where e.event_id = p_event_id));
end
$$;


-- Flexibility: reading --------------------------------------------------------------------------------------------------------

-- Events, those that begin last first, after the place (p_before, p_before_id) of the last one seen: [event…].
create or replace function public.flexibility_events_page(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.flexibility_event_row(page) order by page.starts_at desc, page.event_id desc), '[]')
    from (
        select *
        from public.flexibility_events e
        where p_before is null or (e.starts_at, e.event_id) < (p_before, p_before_id)
        order by e.starts_at desc, e.event_id desc
        limit p_limit) as page
$$;

-- An event's whole life: {"event", "decisions", "moves", "commitments", "baselines", "storage", "notifications", "settlements"}; null
-- where there is none.
create or replace function public.flexibility_event_life(p_event_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event', public.flexibility_event_row(e),
        'document', e.document,
        'decisions', (
            select coalesce(json_agg(json_build_object(
                'decision_id', d.decision_id, 'from_state', d.from_state, 'to_state', d.to_state, 'reason', d.reason,
                'content', d.content, 'decided_at', d.decided_at, 'chain_position', d.chain_position,
                'previous_hash', d.previous_hash, 'chain_hash', d.chain_hash) order by d.chain_position), '[]')
            from public.flexibility_decisions d
            where d.event_id = e.event_id),
        'moves', (
            select coalesce(json_agg(json_build_object(
                'operator', m.tenant, 'job_id', m.job_id, 'unit_id', m.unit_id, 'from_dc_id', m.from_dc_id,
                'from_starts_at', m.from_starts_at, 'to_dc_id', m.to_dc_id, 'to_starts_at', m.to_starts_at,
                'it_power_kw', m.it_power_kw::text, 'keep_gbp', m.keep_gbp::text, 'delta_gbp', m.delta_gbp::text,
                'freed_mwh', m.freed_mwh::text[]) order by m.job_id, m.tenant), '[]')
            from public.flexibility_moves m
            where m.event_id = e.event_id),
        'commitments', (
            select coalesce(json_agg(json_build_object(
                'unit_id', c.unit_id, 'half_hour', c.half_hour, 'committed_mwh', c.committed_mwh::text)
                order by c.half_hour, c.unit_id), '[]')
            from public.flexibility_commitments c
            where c.event_id = e.event_id),
        'baselines', (
            select coalesce(json_agg(json_build_object(
                'dc_id', b.dc_id, 'unit_id', b.unit_id, 'half_hour', b.half_hour, 'method', b.method, 'version', b.version,
                'days', b.days, 'wanted_days', b.wanted_days, 'unadjusted_mwh', b.unadjusted_mwh::text,
                'adjustment_mwh', public.flexibility_adjustment_mwh(b)::text,
                'baseline_mwh', (b.unadjusted_mwh + public.flexibility_adjustment_mwh(b))::text, 'in_day', b.in_day,
                'metered_mwh', case when e.state in ('DELIVERED', 'SETTLED')
                    then trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text end) order by b.half_hour, b.dc_id), '[]')
            from public.flexibility_baselines b
            left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (b.dc_id, b.half_hour)
            where b.event_id = e.event_id),
        'storage', (
            select coalesce(json_agg(json_build_object(
                'asset_id', s.asset_id, 'unit_id', s.unit_id, 'half_hour', s.half_hour, 'charge_mw', s.charge_mw::text,
                'discharge_mw', s.discharge_mw::text) order by s.half_hour, s.asset_id), '[]')
            from public.flexibility_storage s
            where s.event_id = e.event_id),
        'notifications', (
            select coalesce(json_agg(json_build_object(
                'unit_id', n.unit_id, 'half_hour', n.half_hour, 'kind', n.kind, 'volume_mwh', n.volume_mwh::text,
                'sent_at', n.sent_at, 'is_simulated', n.is_simulated) order by n.half_hour, n.unit_id, n.kind), '[]')
            from public.flexibility_notifications n
            where n.event_id = e.event_id),
        'settlements', (
            select coalesce(json_agg(json_build_object(
                'run', s.run, 'settled_at', s.settled_at, 'received_gbp', s.received_gbp::text, 'inputs', s.inputs,
                'cashflows', (
                    select coalesce(json_agg(json_build_object(
                        'kind', f.kind, 'half_hour', f.half_hour, 'payer', f.payer, 'payee', f.payee,
                        'amount_gbp', f.amount_gbp::text) order by f.place), '[]')
                    from public.flexibility_cashflows f
                    where (f.event_id, f.run) = (s.event_id, s.run))) order by s.run), '[]')
            from public.flexibility_settlements s
            where s.event_id = e.event_id))
    from public.flexibility_events e
    where e.event_id = p_event_id
$$;

-- Baselines, the newest half-hours first, behind the place (half-hour, event, data centre) of the last one seen: [baseline…].
-- p_event_id and p_unit_id: of these alone.
create or replace function public.flexibility_baselines_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', b.event_id, 'operator', b.tenant, 'dc_id', b.dc_id, 'unit_id', b.unit_id, 'half_hour', b.half_hour,
        'method', b.method, 'version', b.version, 'days', b.days, 'wanted_days', b.wanted_days,
        'unadjusted_mwh', b.unadjusted_mwh::text, 'adjustment_mwh', public.flexibility_adjustment_mwh(b.whole)::text,
        'baseline_mwh', (b.unadjusted_mwh + public.flexibility_adjustment_mwh(b.whole))::text, 'in_day', b.in_day,
        'metered_mwh', case when e.state in ('DELIVERED', 'SETTLED')
            then trim_scale(coalesce(l.site_energy_wh, 0) / 1000000)::text end)
        order by b.half_hour desc, b.event_id desc, b.dc_id desc), '[]')
    from (
        select f.*, f as whole
        from public.flexibility_baselines f
        where (p_event_id is null or f.event_id = p_event_id) and (p_unit_id is null or f.unit_id = p_unit_id)
            and (p_before is null or (f.half_hour, f.event_id, f.dc_id) < (p_before, p_before_id, p_before_name))
        order by f.half_hour desc, f.event_id desc, f.dc_id desc
        limit p_limit) as b
    join public.flexibility_events e on e.event_id = b.event_id
    left join public.data_centre_loads l on (l.dc_id, l.half_hour) = (b.dc_id, b.half_hour)
$$;

-- What was sold, the newest half-hours first, behind the place (half-hour, event, unit) of the last one seen: [commitment…].
create or replace function public.flexibility_commitments_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_name text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', c.event_id, 'operator', c.tenant, 'unit_id', c.unit_id, 'half_hour', c.half_hour,
        'committed_mwh', c.committed_mwh::text, 'programme', e.programme, 'state', e.state,
        'price_gbp_per_mwh',
            e.price_gbp_per_mwh[1 + (extract(epoch from c.half_hour - e.starts_at) / 1800)::integer]::text,
        'is_notified', exists (
            select from public.flexibility_notifications n
            where (n.event_id, n.unit_id, n.half_hour, n.kind) = (c.event_id, c.unit_id, c.half_hour, 'WMAN')))
        order by c.half_hour desc, c.event_id desc, c.unit_id desc), '[]')
    from (
        select *
        from public.flexibility_commitments f
        where (p_event_id is null or f.event_id = p_event_id) and (p_unit_id is null or f.unit_id = p_unit_id)
            and (p_before is null or (f.half_hour, f.event_id, f.unit_id) < (p_before, p_before_id, p_before_name))
        order by f.half_hour desc, f.event_id desc, f.unit_id desc
        limit p_limit) as c
    join public.flexibility_events e on e.event_id = c.event_id
$$;

-- Runs of settlements, the newest first, behind the place (when, event, run) of the last one seen, each with its cashflows and
-- with what its event moved: [settlement…]. p_unit_id: of events that this unit sold something for.
create or replace function public.flexibility_settlements_page(
    p_event_id uuid, p_unit_id text, p_before timestamptz, p_before_id uuid, p_before_run integer, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', s.event_id, 'operator', s.tenant, 'programme', e.programme, 'starts_at', e.starts_at, 'run', s.run,
        'is_newest', not exists (
            select from public.flexibility_settlements later where later.event_id = s.event_id and later.run > s.run),
        'settled_at', s.settled_at, 'received_gbp', s.received_gbp::text, 'inputs', s.inputs,
        'cashflows', (
            select coalesce(json_agg(json_build_object(
                'kind', f.kind, 'half_hour', f.half_hour, 'payer', f.payer, 'payee', f.payee,
                'amount_gbp', f.amount_gbp::text) order by f.place), '[]')
            from public.flexibility_cashflows f
            where (f.event_id, f.run) = (s.event_id, s.run)),
        'moves', (
            select coalesce(json_agg(json_build_object(
                'operator', m.tenant, 'job_id', m.job_id, 'unit_id', m.unit_id, 'from_dc_id', m.from_dc_id,
                'from_starts_at', m.from_starts_at, 'to_dc_id', m.to_dc_id, 'to_starts_at', m.to_starts_at,
                'delta_gbp', m.delta_gbp::text, 'freed_mwh', m.freed_mwh::text[],
                'decision_id', (
                    select d.decision_id from public.orchestration_decisions d
                    where d.notification_id = m.notification_id)) order by m.job_id, m.tenant), '[]')
            from public.flexibility_moves m
            where m.event_id = s.event_id))
        order by s.settled_at desc, s.event_id desc, s.run desc), '[]')
    from (
        select *
        from public.flexibility_settlements f
        where (p_event_id is null or f.event_id = p_event_id)
            and (p_unit_id is null or exists (
                select from public.flexibility_commitments c where (c.event_id, c.unit_id) = (f.event_id, p_unit_id)))
            and (p_before is null or (f.settled_at, f.event_id, f.run) < (p_before, p_before_id, p_before_run))
        order by f.settled_at desc, f.event_id desc, f.run desc
        limit p_limit) as s
    join public.flexibility_events e on e.event_id = s.event_id
$$;

-- Units with their data centres and batteries: [{unit_id, operator, gsp_group, region_id, dc_ids, asset_ids}…]. Of p_operator, or
-- (null) of all.
create or replace function public.flexibility_units_of(p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'unit_id', u.unit_id, 'operator', u.tenant, 'gsp_group', u.gsp_group, 'region_id', u.region_id,
        'dc_ids', (
            select coalesce(json_agg(d.dc_id order by d.dc_id), '[]') from public.data_centres d
            where d.region_id = u.region_id and (u.tenant = 'platform' or d.tenant = u.tenant)),
        'asset_ids', (
            select coalesce(json_agg(s.asset_id order by s.asset_id), '[]') from public.storage_assets s
            where s.region_id = u.region_id and (u.tenant = 'platform' or s.tenant = u.tenant))) order by u.unit_id), '[]')
    from public.flexibility_units u
    where p_operator is null or u.tenant = p_operator
$$;


-- Flexibility over Beckn ------------------------------------------------------------------------------------------------------
--
-- A contract is made with its event in one transaction. Its buyer is told of the event's way by whoever serves the provider's
-- platform: what it was told is noted with the message's place in the outbox, so that each is told once.

-- What could be offered for an event that nobody announced, as flexibility_situation answers it; nothing is stored. p_event:
-- as announce_flexibility_event takes it. It is the event of whoever p_bap_id speaks for.
create or replace function public.beckn_flexibility_prospect(p_bap_id text, p_event jsonb, p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    event public.flexibility_events := jsonb_populate_record(null::public.flexibility_events, p_event);
begin
    event.tenant := public.beckn_operator(p_bap_id);
    event.ends_at := event.starts_at + cardinality(event.need_mw) * interval '30 minutes';
    perform public.ensure_flexibility_units(event.tenant);
    return public.flexibility_situation_of(event, p_now);
end
$$;

-- A contract with its event's whole life (see flexibility_event_life), as programs read it.
create or replace function public.beckn_flexibility_contract_row(c public.beckn_flexibility_contracts)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'contract_id', c.contract_id, 'event_id', c.event_id, 'bap_id', c.bap_id, 'transaction_id', c.transaction_id,
        'context', c.context, 'need', c.need, 'told', c.told, 'life', public.flexibility_event_life(c.event_id))
$$;

-- A buyer's contract, by its id; null where it has none of it.
create or replace function public.beckn_flexibility_contract(p_bpp_id text, p_bap_id text, p_contract_id uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select public.beckn_flexibility_contract_row(c)
    from public.beckn_flexibility_contracts c
    where (c.bpp_id, c.bap_id, c.contract_id) = (p_bpp_id, p_bap_id, p_contract_id)
$$;

-- Announces what a buyer confirmed. p_contract: {contract_id, bpp_id, bap_id, transaction_id, context, need}; p_event: as
-- announce_flexibility_event takes it, its source_id the contract's id. p_limits: {open_contracts, cancelled_a_day,
-- strangers_half_hours, strangers_mwh}, what one buyer may have ahead of it, cancel in a day, and have ahead where no operator
-- speaks through it. Answers as announce_flexibility_event does, or {"state": "too_many" | "too_many_cancelled" | "too_long" |
-- "too_much"}.
create or replace function public.beckn_confirm_flexibility(
    p_contract jsonb, p_event jsonb, p_limits jsonb, p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_flexibility_contracts := jsonb_populate_record(null::public.beckn_flexibility_contracts, p_contract);
    wanted constant public.flexibility_events := jsonb_populate_record(null::public.flexibility_events, p_event);
    over text;
    announced json;
begin
    -- As announcing does: one confirm at a time, so that none is counted too late.
    lock table public.flexibility_events in share row exclusive mode;
    given.tenant := public.beckn_operator(given.bap_id);
    select case
        when mine.open >= (p_limits ->> 'open_contracts')::bigint then 'too_many'
        when mine.cancelled >= (p_limits ->> 'cancelled_a_day')::bigint then 'too_many_cancelled'
        when given.tenant <> 'platform' then null
        when mine.half_hours + cardinality(wanted.need_mw) > (p_limits ->> 'strangers_half_hours')::bigint then 'too_long'
        when mine.mw + (select sum(one) from unnest(wanted.need_mw) as one) > (p_limits ->> 'strangers_mwh')::numeric * 2
            then 'too_much'
    end into over
    from (
        select
            count(*) filter (where e.is_open) as open,
            count(*) filter (where e.state = 'CANCELLED' and e.finished_at > p_now - interval '1 day') as cancelled,
            coalesce(sum(cardinality(e.need_mw)) filter (where e.is_open), 0) as half_hours,
            coalesce(sum((select sum(one) from unnest(e.need_mw) as one)) filter (where e.is_open), 0) as mw
        from public.beckn_flexibility_contracts c
        cross join lateral (
            select f.*, f.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and f.ends_at > p_now as is_open
            from public.flexibility_events f
            where f.event_id = c.event_id) as e
        where (c.bpp_id, c.bap_id) = (given.bpp_id, given.bap_id)) as mine
    where not exists (
        select from public.beckn_flexibility_contracts c where c.contract_id = given.contract_id);
    if over is not null then
        return json_build_object('state', over, 'event', null);
    end if;
    announced := public.announce_flexibility_event(p_event, p_now, given.tenant);
    if announced ->> 'state' = 'announced' then
        insert into public.beckn_flexibility_contracts (
            contract_id, tenant, event_id, bpp_id, bap_id, transaction_id, context, need)
        values (
            given.contract_id, given.tenant, (announced #>> '{event,event_id}')::uuid, given.bpp_id, given.bap_id,
            given.transaction_id, given.context, given.need);
    end if;
    return announced;
end
$$;

-- Up to p_limit contracts whose buyer is yet to be told of the newest of their events' decisions: [contract with "newest": the
-- decision's place…]. Not while what the buyer itself sent of a contract is yet to be answered: the answer comes first.
create or replace function public.beckn_untold_flexibility(p_bpp_id text, p_limit integer)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(
        jsonb_agg(
            public.beckn_flexibility_contract_row(untold.contract) || jsonb_build_object('newest', untold.newest)
            order by untold.newest),
        '[]')
    from (
        select c as contract, latest.newest
        from public.beckn_flexibility_contracts c
        cross join lateral (
            select max(d.chain_position) as newest from public.flexibility_decisions d where d.event_id = c.event_id) as latest
        where c.bpp_id = p_bpp_id and latest.newest > c.told
            and not exists (
                select
                from public.beckn_inbox i
                where i.recipient = p_bpp_id and i.sender = c.bap_id and i.transaction_id = c.transaction_id
                    and i.work_state in ('available', 'running', 'retryable'))
        order by latest.newest
        limit p_limit) as untold
$$;

-- Notes that a buyer was told up to the decision p_newest, and puts what it is told into the outbox (null: nothing). Answers
-- {"state": "told" | "already" (somebody else did)}.
create or replace function public.beckn_tell_flexibility(
    p_contract_id uuid, p_told bigint, p_newest bigint, p_outgoing jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    contract public.beckn_flexibility_contracts;
begin
    update public.beckn_flexibility_contracts c
    set told = p_newest
    where c.contract_id = p_contract_id and c.told = p_told
    returning * into contract;
    if contract.contract_id is null then
        return json_build_object('state', 'already');
    end if;
    if jsonb_array_length(p_outgoing) > 0 then
        perform public.beckn_put_outbox(contract.bpp_id, p_outgoing);
    end if;
    return json_build_object('state', 'told');
end
$$;
-- What the log of events tells of data centres and agents, whoever changes them -------------------------------------------------

-- A data centre that is another now: its status, its size, what it is good for. Not its load, which runs and the pipeline change
-- all the time. Everybody's, as data centres are.
create or replace function public.log_data_centre_change()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform public.log_event(
        null, 'data_centre.changed', null,
        jsonb_build_object(
            'dc_id', new.dc_id, 'name', new.name, 'status', new.status, 'region_id', new.region_id, 'pue', new.pue,
            'total_capacity_mw', new.total_capacity_mw, 'changed', (
                select coalesce(jsonb_agg(column_.key order by column_.key), '[]')
                from jsonb_each(to_jsonb(new)) as column_
                where column_.key in ('name', 'status', 'region_id', 'pue', 'total_capacity_mw')
                    and column_.value is distinct from to_jsonb(old) -> column_.key)),
        new.dc_id);
    return null;
end
$$;

-- Deferred: the publishing lock comes after every other lock of whoever changes it.
do $trigger$
begin
    if not exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = 'public.data_centres'::regclass and t.tgname = 'log_data_centre_change') then
        create constraint trigger log_data_centre_change
            after update on public.data_centres
            deferrable initially deferred
            for each row
            when ((old.name, old.status, old.region_id, old.pue, old.total_capacity_mw)
                is distinct from (new.name, new.status, new.region_id, new.pue, new.total_capacity_mw))
            execute function public.log_data_centre_change();
    end if;
end
$trigger$;

-- An agent that does otherwise than before. Not that it has gone or is back: every restart of a gateway would take a number
-- between two decisions. The publishing lock comes before the row in which its tenant's states are counted,
-- as it does for publishers: so this trigger comes before number_agent_state.
create or replace function public.log_agent_state()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    last text;
begin
    select s.state into last
    from public.agent_states s
    where s.tenant = new.tenant and s.agent_id = new.agent_id
    order by s.observed_at desc, s.state_id desc
    limit 1;
    if new.state <> last and not array[new.state, last] && array['STARTED', 'STOPPED'] then
        perform public.log_event(
            new.tenant, 'agent.changed', null,
            jsonb_strip_nulls(jsonb_build_object(
                'agent_id', new.agent_id, 'state', new.state, 'before', last, 'detail', new.detail,
                'observed_at', new.observed_at)),
            new.agent_id);
    end if;
    return new;
end
$$;

create or replace trigger log_agent_state -- after file_under_tenant
    before insert on public.agent_states
    for each row execute function public.log_agent_state();


-- Tenants: who is acting, and the one door of their requests ---------------------------------------------------------
--
-- A request of a tenant runs as the role pylon_tenant with its claims in request.jwt.claims, both for its transaction
-- alone, and sees what the policies (19_policies.sql) let it. The claims choose an operator; the table of memberships
-- confirms it, so that a revocation holds at once.

-- The operator that the claims name, if their user belongs to it. None of these three takes an argument: with one it
-- would answer about others.
create or replace function tenancy.operator_id()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
$$;

-- The same where it may be written for: a claimed role can only lower the one that the membership gives.
create or replace function tenancy.writes_for()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
    where m.role in ('admin', 'member')
        and coalesce(claims.document -> 'app_metadata' ->> 'role', m.role) in ('admin', 'member')
$$;

-- The same where its members, keys and directory entry may be changed.
create or replace function tenancy.administers()
returns text
language sql
stable
security definer
set search_path = ''
as $$
    select m.operator_id
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as document) as claims
    join tenancy.memberships m
        on m.user_id = claims.document ->> 'sub'
        and m.operator_id = claims.document -> 'app_metadata' ->> 'operator_id'
    where m.role = 'admin' and coalesce(claims.document -> 'app_metadata' ->> 'role', 'admin') = 'admin'
$$;

-- What is in the claims by this name, or null.
create or replace function tenancy.claimed(p_name text)
returns text
language sql
stable
set search_path = ''
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> p_name
$$;

-- The operator whose administrator the caller is.
--
-- Raises 42501 where it is none.
create or replace function tenancy.must_administer()
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    administered constant text := tenancy.administers();
begin
    if administered is null then
        raise exception 'only an administrator of the operator may do this' using errcode = 'insufficient_privilege';
    end if;
    return administered;
end
$$;

-- The operator that the caller may write for.
--
-- Raises 42501 where it may not.
create or replace function tenancy.must_write()
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    written_for constant text := tenancy.writes_for();
begin
    if written_for is null then
        raise exception 'a reader changes nothing' using errcode = 'insufficient_privilege';
    end if;
    return written_for;
end
$$;

-- What call_as needs to know before it is a tenant, by one query instead of two: the operator of the claims, if their user
-- belongs to it; the function to call, a tenant's own version (schema "tenant") before the public one; and its arguments,
-- spelled out. Each is null where there is none. It takes who is asking as an argument, so it is not for tenants.
create or replace function tenancy.opened(
    p_claims jsonb, p_function text, p_arguments jsonb, out operator text, out target regproc, out given text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- A scalar is a literal whose type the function's declaration gives; documents go as they are.
    select m.operator_id, called.target, called.given
    into operator, target, given
    from (
        select
            coalesce(to_regproc(format('tenant.%I', p_function)), to_regproc(format('public.%I', p_function))) as target,
            string_agg(
                case jsonb_typeof(argument.value)
                    when 'null' then format('%I => null', argument.key)
                    when 'object' then format('%I => ($1 -> %L)', argument.key, argument.key)
                    when 'array' then format('%I => ($1 -> %L)', argument.key, argument.key)
                    else format('%I => %L', argument.key, argument.value #>> '{}')
                end, ', ') as given
        from jsonb_each(p_arguments) as argument) as called
    left join tenancy.memberships m
        on m.user_id = p_claims ->> 'sub' and m.operator_id = p_claims -> 'app_metadata' ->> 'operator_id';
end
$$;

-- Calls a function for the user that p_claims name: {"sub", "role": "authenticated", "app_metadata": {"operator_id",
-- "role": optional, can only lower the membership's}, "request_id", "credential_id": optional, for the audit log}.
-- p_arguments by name; a tenant's own version of a function (schema "tenant") comes before the public one. The answer is
-- the function's. Works wherever the session's user may become pylon_tenant: SET ROLE looks at the session's user, and
-- what runs as pylon_tenant may not call this again. Claims and role are put back at the end, by hand: only a superuser may
-- make request.jwt.claims a setting of a function, and on Supabase nobody is one.
--
-- Written for few steps, as each begins anew in every transaction: assignments, which are no queries as "perform" is.
--
-- Raises 42501 where the user is no member of the operator or tenants may not call the function, 42883 where there is no
-- such function or its arguments are others, 22023 where the claims are none.
create or replace function public.call_as(p_claims jsonb, p_function text, p_arguments jsonb default '{}')
returns json
language plpgsql
set search_path = ''
as $$
declare
    role_before constant text := current_setting('role');
    claims_before constant text := coalesce(current_setting('request.jwt.claims', true), '');
    opened record;
    set_to text;
    answer json;
begin
    if (jsonb_typeof(p_arguments) = 'object' and jsonb_typeof(p_claims -> 'sub') = 'string'
        and jsonb_typeof(p_claims #> '{app_metadata,operator_id}') = 'string') is not true
    then
        raise exception 'the claims need a sub and an app_metadata.operator_id' using errcode = 'invalid_parameter_value';
    end if;
    if p_claims ->> 'role' is distinct from 'authenticated' then
        raise exception 'the claims are not those of a user' using errcode = 'insufficient_privilege';
    end if;
    opened := tenancy.opened(p_claims, p_function, p_arguments);
    if opened.operator is null then
        raise exception 'this principal is not a member of that operator' using errcode = 'insufficient_privilege';
    end if;
    if opened.target is null then
        raise exception 'there is no function %', p_function using errcode = 'undefined_function';
    end if;
    set_to := set_config('request.jwt.claims', p_claims::text, true);
    set_to := set_config('role', 'pylon_tenant', true);
    if not has_function_privilege(opened.target, 'execute') then
        raise exception 'tenants may not call %', p_function using errcode = 'insufficient_privilege';
    end if;

    execute format('select %s(%s)', opened.target, opened.given) -- a regproc is written with its schema
    into answer
    using p_arguments;

    set_to := set_config('role', role_before, true);
    set_to := set_config('request.jwt.claims', claims_before, true);
    return answer;
end
$$;
-- Tenants: operators, members, service accounts and keys ------------------------------------------------------------------
--
-- For those who look after an installation, and for finding out who is calling. The functions own_… further on are the same for
-- an operator's own administrator. Each change leaves its event in the audit log, in the same transaction.

create or replace function tenancy.note(p_operator text, p_by text, p_action text, p_object text, p_detail jsonb default '{}')
returns void
language sql
set search_path = ''
as $$
    insert into tenancy.audit_events (operator_id, principal, credential_id, action, object, outcome, request_id, detail)
    values (
        p_operator, coalesce(tenancy.claimed('sub'), p_by), tenancy.claimed('credential_id'), p_action, p_object, 'allowed',
        tenancy.claimed('request_id'), jsonb_strip_nulls(p_detail))
$$;

-- Whoever remembers a credential looks it up again. Says nothing: who listens may be anybody.
create or replace function tenancy.access_changed()
returns void
language sql
set search_path = ''
as $$
    select pg_notify('access_changed', '')
$$;

-- Two operators there always are, made when they are first needed: "local", which owns what names nobody, all there is
-- while nothing is configured; and "platform", whoever runs this installation: its gateways' agents, and what strangers
-- buy through it.
create or replace function tenancy.lasting_operators()
returns table (operator_id text, name text)
language sql
immutable
set search_path = ''
as $$
    values ('local', 'This installation'), ('platform', 'The platform')
$$;

-- Whether there is such an operator. A known one is held until the transaction ends, so that its members and keys, which
-- are counted, change one after the other.
create or replace function tenancy.held_operator(p_operator text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    insert into public.operators (operator_id, name)
    select made.operator_id, made.name
    from tenancy.lasting_operators() as made
    where made.operator_id = p_operator
        and not exists (select from public.operators o where o.operator_id = p_operator)
    on conflict (operator_id) do nothing;
    perform from public.operators o where o.operator_id = p_operator for no key update;
    return found;
end
$$;

-- Every operator; also those of the two that were not needed yet, with the columns of their rows as they would be made.
create or replace function public.tenancy_operators()
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'operator_id', o.operator_id,
        'name', o.name,
        'operator_type', o.operator_type,
        'country', o.country,
        'members', (select count(*) from tenancy.memberships m where m.operator_id = o.operator_id),
        'keys', (
            select count(*) from tenancy.api_keys k
            where k.operator_id = o.operator_id and k.revoked_at is null and k.expires_at > clock_timestamp()),
        'created_at', o.created_at) order by o.operator_id), '[]')
    from (
        select operator_id, name, operator_type, country, created_at from public.operators
        union all
        select lasting.operator_id, lasting.name, 'OTHER', 'GB', null
        from tenancy.lasting_operators() as lasting
        where not exists (select from public.operators made where made.operator_id = lasting.operator_id)) as o
$$;

-- Makes an operator, or changes its entry: {operator_id, name, operator_type, country}; what is left out stays.
create or replace function public.tenancy_set_operator(p_operator jsonb, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    given constant public.operators := jsonb_populate_record(null::public.operators, p_operator);
    stored public.operators;
begin
    insert into public.operators as o (operator_id, name, operator_type, country)
    values (
        given.operator_id, coalesce(given.name, given.operator_id), coalesce(given.operator_type, 'OTHER'),
        coalesce(given.country, 'GB'))
    on conflict (operator_id) do update set
        name = coalesce(given.name, o.name),
        operator_type = coalesce(given.operator_type, o.operator_type),
        country = coalesce(given.country, o.country)
    returning * into stored;
    perform tenancy.note(stored.operator_id, p_by, 'operator.set', stored.operator_id, p_operator);
    return to_json(stored);
end
$$;

create or replace function public.tenancy_members(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'user_id', m.user_id, 'role', m.role, 'created_at', m.created_at, 'created_by', m.created_by, 'name', a.name)
        order by m.user_id), '[]')
    from tenancy.memberships m
    left join tenancy.service_accounts a on m.user_id = 'svc:' || a.service_account_id
    where m.operator_id = p_operator
$$;

-- Answers whether p_user_id is the only administrator that an operator has.
create or replace function tenancy.is_last_administrator(p_operator text, p_user_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
            select from tenancy.memberships m
            where (m.operator_id, m.user_id, m.role) = (p_operator, p_user_id, 'admin'))
        and not exists (
            select from tenancy.memberships m
            where m.operator_id = p_operator and m.role = 'admin' and m.user_id <> p_user_id)
$$;

-- Answers {"state": "set" | "unknown_operator" | "last_admin"}: an operator that has an administrator keeps one.
create or replace function public.tenancy_set_member(p_operator text, p_user_id text, p_role text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    -- A service account is one operator's.
    if p_user_id like 'svc:%' and not exists (
        select from tenancy.service_accounts a
        where a.operator_id = p_operator and p_user_id = 'svc:' || a.service_account_id)
    then
        return json_build_object('state', 'unknown_account');
    end if;
    if p_role <> 'admin' and tenancy.is_last_administrator(p_operator, p_user_id) then
        return json_build_object('state', 'last_admin');
    end if;
    insert into tenancy.memberships (user_id, operator_id, role, created_by)
    values (p_user_id, p_operator, p_role, coalesce(tenancy.claimed('sub'), p_by))
    on conflict (user_id, operator_id) do update set role = excluded.role;
    perform tenancy.note(p_operator, p_by, 'member.set', p_user_id, jsonb_build_object('role', p_role));
    perform tenancy.access_changed();
    return json_build_object('state', 'set');
end
$$;

-- Answers {"state": "removed" | "unknown" | "last_admin"}.
create or replace function public.tenancy_remove_member(p_operator text, p_user_id text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform tenancy.held_operator(p_operator); -- or two administrators could each remove the other
    if tenancy.is_last_administrator(p_operator, p_user_id) then
        return json_build_object('state', 'last_admin');
    end if;
    delete from tenancy.memberships m where (m.operator_id, m.user_id) = (p_operator, p_user_id);
    if not found then
        return json_build_object('state', 'unknown');
    end if;
    perform tenancy.note(p_operator, p_by, 'member.remove', p_user_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'removed');
end
$$;

create or replace function public.tenancy_service_accounts(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'service_account_id', a.service_account_id, 'user_id', 'svc:' || a.service_account_id, 'name', a.name,
        'role', m.role, 'created_by', a.created_by, 'created_at', a.created_at, 'disabled_at', a.disabled_at)
        order by a.created_at, a.service_account_id), '[]')
    from tenancy.service_accounts a
    left join tenancy.memberships m
        on m.operator_id = a.operator_id and m.user_id = 'svc:' || a.service_account_id
    where a.operator_id = p_operator
$$;

-- Answers {"state": "created" | "unknown_operator", "service_account_id", "user_id"}.
create or replace function public.tenancy_create_service_account(
    p_operator text, p_name text, p_role text default 'member', p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    account_id uuid;
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    insert into tenancy.service_accounts (operator_id, name, created_by)
    values (p_operator, p_name, coalesce(tenancy.claimed('sub'), p_by))
    returning service_account_id into account_id;
    insert into tenancy.memberships (user_id, operator_id, role, created_by)
    values ('svc:' || account_id, p_operator, p_role, coalesce(tenancy.claimed('sub'), p_by));
    perform tenancy.note(
        p_operator, p_by, 'service_account.create', 'svc:' || account_id,
        jsonb_build_object('name', p_name, 'role', p_role));
    return json_build_object('state', 'created', 'service_account_id', account_id, 'user_id', 'svc:' || account_id);
end
$$;

-- Its keys end with it. Answers {"state": "disabled" | "unknown" | "last_admin"}.
create or replace function public.tenancy_disable_service_account(
    p_operator text, p_service_account_id uuid, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform tenancy.held_operator(p_operator); -- or two administrators could each remove the other
    if tenancy.is_last_administrator(p_operator, 'svc:' || p_service_account_id) then
        return json_build_object('state', 'last_admin');
    end if;
    update tenancy.service_accounts a
    set disabled_at = clock_timestamp()
    where (a.operator_id, a.service_account_id) = (p_operator, p_service_account_id) and a.disabled_at is null;
    if not found then
        return json_build_object('state', 'unknown');
    end if;
    update tenancy.api_keys k
    set revoked_at = clock_timestamp()
    where (k.operator_id, k.service_account_id) = (p_operator, p_service_account_id) and k.revoked_at is null;
    delete from tenancy.memberships m
    where (m.operator_id, m.user_id) = (p_operator, 'svc:' || p_service_account_id);
    perform tenancy.note(p_operator, p_by, 'service_account.disable', 'svc:' || p_service_account_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'disabled');
end
$$;

-- The operators that a user belongs to: {"memberships": [{operator_id, role}…]}.
create or replace function public.tenancy_principal(p_user_id text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_build_object('memberships', coalesce(
        json_agg(json_build_object('operator_id', m.operator_id, 'role', m.role) order by m.operator_id), '[]'))
    from tenancy.memberships m
    where m.user_id = p_user_id
$$;
-- Tenants: keys ------------------------------------------------------------------------------------------------------------
--
-- The program makes a key and keeps nothing of it but its id and its SHA-256, which is all that comes here.

-- A key as it is shown in lists: without its digest.
create or replace function tenancy.key_entry(k tenancy.api_keys)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'key_id', k.key_id,
        'operator_id', k.operator_id,
        'service_account_id', k.service_account_id,
        'user_id', 'svc:' || k.service_account_id,
        'role', m.role,
        'name', k.name,
        'scopes', k.scopes,
        'created_by', k.created_by,
        'created_at', k.created_at,
        'expires_at', k.expires_at,
        'last_used_at', k.last_used_at,
        'revoked_at', k.revoked_at,
        'replaces', k.replaces,
        'usable', m.role is not null and k.expires_at > clock_timestamp()
            and (k.revoked_at is null or k.revoked_at > clock_timestamp()))
    from (select 1) as always
    left join tenancy.memberships m on (m.operator_id, m.user_id) = (k.operator_id, 'svc:' || k.service_account_id)
$$;

-- The key with this id and its digest, to compare with the digest of what was presented; null where there is none.
create or replace function public.tenancy_api_key(p_key_id text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select (tenancy.key_entry(k)::jsonb || jsonb_build_object('digest', k.digest))::json
    from tenancy.api_keys k
    where k.key_id = p_key_id
$$;

-- Notes that a key was used, at most once a minute. Answers {"noted": whether it was now}.
create or replace function public.tenancy_key_used(p_key_id text)
returns json
language sql
security definer
set search_path = ''
as $$
    with noted as (
        update tenancy.api_keys k
        set last_used_at = clock_timestamp()
        where k.key_id = p_key_id
            and (k.last_used_at is null or k.last_used_at not between clock_timestamp() - interval '1 minute'
                and clock_timestamp())
        returning k.key_id
    )
    select json_build_object('noted', exists (select from noted))
$$;

create or replace function public.tenancy_keys(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(json_agg(tenancy.key_entry(k) order by k.created_at desc, k.key_id), '[]')
    from tenancy.api_keys k
    where k.operator_id = p_operator
$$;

-- p_key: {key_id, digest, name, scopes, expires_at (in 90 days where it is left out, at most in 366), service_account_id
-- (where it is left out, one is made with p_key.role)}. Answers {"state": "created" | "unknown_operator" |
-- "unknown_account" | "too_many_keys" | "taken", "key", "limit"}.
create or replace function public.tenancy_create_key(p_operator text, p_key jsonb, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    given tenancy.api_keys := jsonb_populate_record(null::tenancy.api_keys, p_key - 'scopes');
    most constant integer := tenancy.capacity(p_operator, 'keys');
    stored tenancy.api_keys;
begin
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    if (
        select count(*) from tenancy.api_keys k
        where k.operator_id = p_operator and k.revoked_at is null and k.expires_at > clock_timestamp()) >= most
    then
        return json_build_object('state', 'too_many_keys', 'limit', most);
    end if;
    if exists (select from tenancy.api_keys k where k.key_id = given.key_id or k.digest = given.digest) then
        return json_build_object('state', 'taken');
    end if;
    if given.service_account_id is null then
        given.service_account_id := (public.tenancy_create_service_account(
            p_operator, given.name, coalesce(p_key ->> 'role', 'member'), p_by) ->> 'service_account_id')::uuid;
    elsif not exists (
        select from tenancy.service_accounts a
        where (a.operator_id, a.service_account_id) = (p_operator, given.service_account_id) and a.disabled_at is null)
    then
        return json_build_object('state', 'unknown_account');
    end if;
    insert into tenancy.api_keys (
        key_id, digest, operator_id, service_account_id, scopes, name, created_by, expires_at, replaces)
    values (
        given.key_id, given.digest, p_operator, given.service_account_id,
        array(select jsonb_array_elements_text(coalesce(p_key -> 'scopes', '[]'))), given.name,
        coalesce(tenancy.claimed('sub'), p_by),
        least(
            coalesce(given.expires_at, clock_timestamp() + interval '90 days'), clock_timestamp() + interval '366 days'),
        given.replaces)
    returning * into stored;
    perform tenancy.note(
        p_operator, p_by, 'key.create', stored.key_id,
        jsonb_build_object('name', stored.name, 'scopes', stored.scopes, 'replaces', stored.replaces));
    return json_build_object('state', 'created', 'key', tenancy.key_entry(stored));
end
$$;

-- A new key in the place of another, of the same account, name and scopes; the old one ends after the overlap. p_key:
-- {key_id, digest, expires_at}. Answers {"state": "rolled" | "unknown" | "taken", "key", "old_key_ends_at"}.
create or replace function public.tenancy_roll_key(
    p_operator text, p_key_id text, p_key jsonb, p_overlap_seconds double precision default 0, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    old tenancy.api_keys;
    stored tenancy.api_keys;
begin
    select * into old
    from tenancy.api_keys k
    where (k.operator_id, k.key_id) = (p_operator, p_key_id)
        and k.revoked_at is null and k.expires_at > clock_timestamp()
    for update;
    if old.key_id is null then
        return json_build_object('state', 'unknown');
    end if;
    if exists (
        select from tenancy.api_keys k where k.key_id = p_key ->> 'key_id' or k.digest = p_key ->> 'digest')
    then
        return json_build_object('state', 'taken');
    end if;
    insert into tenancy.api_keys (
        key_id, digest, operator_id, service_account_id, scopes, name, created_by, expires_at, replaces)
    values (
        p_key ->> 'key_id', p_key ->> 'digest', p_operator, old.service_account_id, old.scopes, old.name,
        coalesce(tenancy.claimed('sub'), p_by),
        least(
            coalesce((p_key ->> 'expires_at')::timestamptz, clock_timestamp() + (old.expires_at - old.created_at)),
            clock_timestamp() + interval '366 days'),
        old.key_id)
    returning * into stored;
    update tenancy.api_keys k
    set revoked_at = case when p_overlap_seconds > 0 then k.revoked_at else clock_timestamp() end,
        expires_at = least(k.expires_at, clock_timestamp() + make_interval(secs => least(p_overlap_seconds, 31 * 86400)))
    where k.key_id = old.key_id
    returning * into old;
    perform tenancy.note(
        p_operator, p_by, 'key.roll', old.key_id,
        jsonb_build_object('new_key_id', stored.key_id, 'old_key_ends_at', old.expires_at));
    perform tenancy.access_changed();
    return json_build_object('state', 'rolled', 'key', tenancy.key_entry(stored), 'old_key_ends_at', old.expires_at);
end
$$;

-- Answers {"state": "revoked" | "unknown" | "already"}.
create or replace function public.tenancy_revoke_key(p_operator text, p_key_id text, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    update tenancy.api_keys k
    set revoked_at = clock_timestamp()
    where (k.operator_id, k.key_id) = (p_operator, p_key_id) and k.revoked_at is null;
    if not found then
        return json_build_object('state', case
            when exists (
                select from tenancy.api_keys k where (k.operator_id, k.key_id) = (p_operator, p_key_id)) then 'already'
            else 'unknown' end);
    end if;
    perform tenancy.note(p_operator, p_by, 'key.revoke', p_key_id);
    perform tenancy.access_changed();
    return json_build_object('state', 'revoked');
end
$$;
-- Tenants: access tokens -----------------------------------------------------------------------------------------------------

-- Notes a token by its SHA-256: whoever shows it within p_seconds, an hour at most, has the credential p_credential_id as it
-- then is. Answers {"good_until"}.
create or replace function public.tenancy_issue_access_token(p_digest text, p_credential_id text, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    until constant timestamptz := clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0), 3600));
begin
    -- Whoever comes for one takes away what has run out; a few at a time.
    delete from tenancy.access_tokens t
    where t.digest in (
        select old.digest from tenancy.access_tokens old
        where old.good_until < clock_timestamp()
        order by old.good_until
        limit 100
        for update skip locked);
    insert into tenancy.access_tokens (digest, credential_id, good_until) values (p_digest, p_credential_id, until);
    return json_build_object('good_until', until);
end
$$;

-- What the token with this digest stands for: {"credential_id", "good_until"}; null where there is none, or no more.
create or replace function public.tenancy_access_token(p_digest text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_build_object('credential_id', t.credential_id, 'good_until', t.good_until)
    from tenancy.access_tokens t
    where t.digest = p_digest and t.good_until >= clock_timestamp()
$$;

-- Tenants: limits, and what was done and refused -----------------------------------------------------------------------------

-- What an operator may do where nothing else is said. per_seconds: the time in which so many come back, one after the
-- other; null for how many there may be at a time.
create or replace function tenancy.usual_limits()
returns table (name text, capacity integer, per_seconds integer)
language sql
immutable
set search_path = ''
as $$
    values
        ('requests_per_minute', 600, 60),
        ('workloads_per_hour', 3600, 3600),
        ('open_jobs', 10000, null),
        ('streams', 100, null),
        ('keys', 50, null)
$$;

create or replace function tenancy.capacity(p_operator text, p_limit text)
returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (select l.capacity from tenancy.limits l where (l.operator_id, l.name) = (p_operator, p_limit)),
        (select u.capacity from tenancy.usual_limits() as u where u.name = p_limit))
$$;

-- The same of the caller's own operator.
create or replace function tenancy.own_capacity(p_limit text)
returns integer
language sql
stable
security definer
set search_path = ''
as $$
    select tenancy.capacity(tenancy.operator_id(), p_limit)
$$;

create or replace function public.tenancy_limits(p_operator text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_agg(json_build_object(
        'name', u.name, 'capacity', coalesce(l.capacity, u.capacity), 'per_seconds', u.per_seconds,
        'is_default', l.name is null) order by u.name)
    from tenancy.usual_limits() as u
    left join tenancy.limits l on (l.operator_id, l.name) = (p_operator, u.name)
$$;

-- Null takes the limit back to the usual one. Answers {"state": "set" | "unknown_limit" | "unknown_operator"}.
create or replace function public.tenancy_set_limit(
    p_operator text, p_name text, p_capacity integer, p_by text default null)
returns json
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (select from tenancy.usual_limits() as u where u.name = p_name) then
        return json_build_object('state', 'unknown_limit');
    end if;
    if not tenancy.held_operator(p_operator) then
        return json_build_object('state', 'unknown_operator');
    end if;
    if p_capacity is null then
        delete from tenancy.limits l where (l.operator_id, l.name) = (p_operator, p_name);
    else
        insert into tenancy.limits (operator_id, name, capacity)
        values (p_operator, p_name, p_capacity)
        on conflict (operator_id, name) do update set capacity = excluded.capacity;
    end if;
    perform tenancy.note(p_operator, p_by, 'limit.set', p_name, jsonb_build_object('capacity', p_capacity));
    perform tenancy.access_changed();
    return json_build_object('state', 'set');
end
$$;

-- Takes p_amount out of an operator's bucket, all or nothing; it fills at an even pace. Answers {"allowed", "remaining",
-- "limit", "retry_after_s": in how many seconds there is enough, null where there never is}.
create or replace function public.tenancy_take(p_operator text, p_limit text, p_amount integer default 1)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    moment constant timestamptz := clock_timestamp();
    most constant integer := tenancy.capacity(p_operator, p_limit);
    pace constant double precision := (
        select most::double precision / u.per_seconds from tenancy.usual_limits() as u where u.name = p_limit);
    left_over double precision;
    allowed boolean;
begin
    if pace is null then
        raise exception 'there is no limit % with a pace', p_limit using errcode = 'invalid_parameter_value';
    end if;
    -- One statement takes the row's lock and what has come back since. Whoever waited for the lock asks with a moment that
    -- is past; a clock that was set back begins anew.
    loop
        update tenancy.buckets b
        set tokens = refilled.tokens - case when refilled.tokens >= p_amount then p_amount else 0 end,
            taken = refilled.tokens >= p_amount,
            filled_at = case when b.filled_at > moment + interval '1 minute' then moment else greatest(b.filled_at, moment) end
        from tenancy.buckets same
        cross join lateral (
            select least(most, same.tokens + greatest(0, extract(epoch from moment - same.filled_at)) * pace) as tokens
        ) as refilled
        where (b.operator_id, b.name) = (p_operator, p_limit) and (same.operator_id, same.name) = (b.operator_id, b.name)
        returning b.tokens, b.taken into left_over, allowed;
        exit when found;
        insert into tenancy.buckets (operator_id, name, tokens, taken, filled_at)
        values (p_operator, p_limit, most, true, moment)
        on conflict (operator_id, name) do nothing;
    end loop;
    return json_build_object(
        'allowed', allowed,
        'remaining', floor(left_over),
        'limit', most,
        'retry_after_s', case when not allowed and p_amount <= most and pace > 0 then (p_amount - left_over) / pace end);
end
$$;

-- Takes, or keeps for longer, one of the places that an operator has at a time. Answers {"allowed", "held", "limit",
-- "retry_after_s": when the first place falls free if its holder does not come back}.
create or replace function public.tenancy_hold(
    p_operator text, p_limit text, p_holder text, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    moment constant timestamptz := clock_timestamp();
    most constant integer := tenancy.capacity(p_operator, p_limit);
    held integer;
    first_free timestamptz;
begin
    if most is null then
        raise exception 'there is no limit %', p_limit using errcode = 'invalid_parameter_value';
    end if;
    update tenancy.holds h
    set held_until = moment + make_interval(secs => p_seconds)
    where (h.operator_id, h.name, h.holder) = (p_operator, p_limit, p_holder) and h.held_until > moment;
    if found then
        return json_build_object('allowed', true, 'held', null, 'limit', most, 'retry_after_s', null);
    end if;
    -- New places are given one after the other, so that they can be counted.
    perform pg_advisory_xact_lock(hashtextextended('tenancy.holds ' || p_limit || ' ' || p_operator, 0));
    delete from tenancy.holds h
    where (h.operator_id, h.name) = (p_operator, p_limit) and h.held_until <= moment;
    select count(*), min(h.held_until) into held, first_free
    from tenancy.holds h
    where (h.operator_id, h.name) = (p_operator, p_limit);
    if held >= most then
        return json_build_object(
            'allowed', false, 'held', held, 'limit', most,
            'retry_after_s', extract(epoch from first_free - moment));
    end if;
    insert into tenancy.holds (operator_id, name, holder, held_until)
    values (p_operator, p_limit, p_holder, moment + make_interval(secs => p_seconds))
    on conflict (operator_id, name, holder) do update set held_until = excluded.held_until;
    return json_build_object('allowed', true, 'held', held + 1, 'limit', most, 'retry_after_s', null);
end
$$;

create or replace function public.tenancy_let_go(p_operator text, p_limit text, p_holder text)
returns json
language sql
security definer
set search_path = ''
as $$
    with gone as (
        delete from tenancy.holds h
        where (h.operator_id, h.name, h.holder) = (p_operator, p_limit, p_holder)
        returning h.holder
    )
    select json_build_object('let_go', exists (select from gone))
$$;


-- The audit log of access -----------------------------------------------------------------------------------------------

create or replace trigger refuse_row_change
    before update or delete on tenancy.audit_events
    for each row execute function public.refuse_audit_change();
create or replace trigger refuse_truncate
    before truncate on tenancy.audit_events
    for each statement execute function public.refuse_audit_change();
alter table tenancy.audit_events enable always trigger refuse_row_change;
alter table tenancy.audit_events enable always trigger refuse_truncate;

-- A stranger's words, cut to length and on one line.
create or replace function tenancy.one_line(p_words text)
returns text
language sql
immutable
set search_path = ''
as $$
    select left(regexp_replace(p_words, '[[:cntrl:]]', ' ', 'g'), 100)
$$;

-- p_events: [{at, operator_id, principal, credential_id, action, object, outcome, request_id, detail}…]; all but action and
-- outcome may be left out. Answers {"written": n}.
create or replace function public.tenancy_audit(p_events jsonb)
returns json
language sql
security definer
set search_path = ''
as $$
    with written as (
        insert into tenancy.audit_events (
            at, operator_id, principal, credential_id, action, object, outcome, request_id, detail)
        select
            coalesce(e.at, clock_timestamp()),
            (select o.operator_id from public.operators o where o.operator_id = e.operator_id),
            tenancy.one_line(e.principal), tenancy.one_line(e.credential_id), tenancy.one_line(e.action),
            tenancy.one_line(e.object), e.outcome, tenancy.one_line(e.request_id), coalesce(e.detail, '{}')
        from jsonb_to_recordset(p_events) as e (
            at timestamptz, operator_id text, principal text, credential_id text, action text, object text, outcome text,
            request_id text, detail jsonb)
        returning event_id
    )
    select json_build_object('written', (select count(*) from written))
$$;

-- Newest first, of one operator or (null) of all, before the event p_before. {"events": […], "next"}.
create or replace function public.tenancy_audit_events(
    p_operator text default null, p_before bigint default null, p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with page as materialized (
        select e.*
        from tenancy.audit_events e
        where (p_operator is null or e.operator_id = p_operator)
            and e.event_id < coalesce(p_before, 9223372036854775807)
        order by e.event_id desc
        limit p_limit
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.event_id desc) from page), '[]'),
        'next', case when (select count(*) from page) = p_limit then (select min(page.event_id) from page) end)
$$;
-- Tenants: tickets for streams -----------------------------------------------------------------------------------------------

-- Notes a ticket by its SHA-256: whoever shows it within p_seconds, a minute at most, is p_holder, once. Answers
-- {"good_until"}.
create or replace function public.tenancy_issue_ticket(p_digest text, p_holder jsonb, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    until constant timestamptz := clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0), 60));
begin
    -- Whoever comes for tickets takes away those that nobody came back with; a few at a time, and none that is in use.
    delete from tenancy.tickets t
    where t.digest in (
        select old.digest from tenancy.tickets old
        where old.good_until < clock_timestamp()
        order by old.good_until
        limit 100
        for update skip locked);
    insert into tenancy.tickets (digest, holder, good_until) values (p_digest, p_holder, until);
    return json_build_object('good_until', until);
end
$$;

-- Who shows the ticket with this digest; null where there is none, or no more. Of two who show it at once, one is answered.
create or replace function public.tenancy_redeem_ticket(p_digest text)
returns json
language sql
security definer
set search_path = ''
as $$
    with taken as (
        delete from tenancy.tickets t where t.digest = p_digest
        returning t.holder, t.good_until
    )
    select taken.holder::json from taken where taken.good_until >= clock_timestamp()
$$;

-- Tenants: what an operator's own administrator does ----------------------------------------------------------------------
--
-- Each takes the operator from the claims: none has a parameter that could name another. They run as their owner, since no
-- tenant reaches the tables of schema tenancy.

create or replace function tenant.own_access()
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'operator_id', tenancy.operator_id(),
        'role', case
            when tenancy.administers() is not null then 'admin'
            when tenancy.writes_for() is not null then 'member'
            when tenancy.operator_id() is not null then 'reader' end,
        'user_id', tenancy.claimed('sub'))
$$;

create or replace function tenant.own_members()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_members(tenancy.must_administer()) $$;

create or replace function tenant.own_set_member(p_user_id text, p_role text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_set_member(tenancy.must_administer(), p_user_id, p_role) $$;

create or replace function tenant.own_remove_member(p_user_id text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_remove_member(tenancy.must_administer(), p_user_id) $$;

create or replace function tenant.own_service_accounts()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_service_accounts(tenancy.must_administer()) $$;

create or replace function tenant.own_create_service_account(p_name text, p_role text default 'member')
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_create_service_account(tenancy.must_administer(), p_name, p_role) $$;

create or replace function tenant.own_disable_service_account(p_service_account_id uuid)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_disable_service_account(tenancy.must_administer(), p_service_account_id) $$;

create or replace function tenant.own_keys()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_keys(tenancy.must_administer()) $$;

create or replace function tenant.own_create_key(p_key jsonb)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_create_key(tenancy.must_administer(), p_key) $$;

create or replace function tenant.own_roll_key(p_key_id text, p_key jsonb, p_overlap_seconds double precision default 0)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_roll_key(tenancy.must_administer(), p_key_id, p_key, p_overlap_seconds) $$;

create or replace function tenant.own_revoke_key(p_key_id text)
returns json language sql security definer set search_path = ''
as $$ select public.tenancy_revoke_key(tenancy.must_administer(), p_key_id) $$;

-- What may be had is no secret of the administrator's.
create or replace function tenant.own_limits()
returns json language sql stable security definer set search_path = ''
as $$ select public.tenancy_limits(tenancy.operator_id()) $$;

-- Without the events' numbers, which count everybody's: the next page is asked for by a number of the operator's own events
-- behind this one.
create or replace function tenant.own_audit_events(p_after integer default 0, p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with page as materialized (
        select e.at, e.principal, e.credential_id, e.action, e.object, e.outcome, e.request_id, e.detail, e.event_id
        from tenancy.audit_events e
        where e.operator_id = (select tenancy.must_administer())
        order by e.event_id desc
        offset greatest(p_after, 0)
        limit p_limit
    )
    select json_build_object(
        'events', coalesce((
            select json_agg(to_jsonb(page) - 'event_id' order by page.event_id desc) from page), '[]'),
        'next', case when (select count(*) from page) = p_limit then greatest(p_after, 0) + p_limit end)
$$;

create or replace function tenant.own_set_operator(p_operator jsonb)
returns json
language sql
security definer
set search_path = ''
as $$
    select public.tenancy_set_operator(
        p_operator || jsonb_build_object('operator_id', tenancy.must_administer()))
$$;
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

-- Tenants: their own objects -----------------------------------------------------------------------------------------------

-- What bears numbers that count everybody's, with the tenant's own in their place.
create or replace view tenant.agent_states with (security_invoker = true) as
select s.tenant_state_id as state_id, s.agent_id, s.state, s.detail, s.observed_at, s.tenant
from public.agent_states s;

create or replace view tenant.orchestration_decisions with (security_invoker = true) as
select
    d.decision_id,
    null::bigint as notification_id,
    d.tenant_sequence as sequence,
    d.job_id,
    d.agent_id,
    d.chosen_dc_id,
    d.recommended_start,
    d.scorer,
    d.model,
    d.scorer_version,
    d.fallback_reason,
    d.reasoning,
    d.constraints_evaluated,
    d.alternatives_considered,
    d.context,
    tenancy.seen_output(d.output, d.tenant_sequence) as output,
    d.token_usage,
    d.decided_at,
    d.grid_digest,
    d.tenant
from public.audited_decisions d;

-- Rows of a table that tenants may read, as the program reads them: p_where [{column, comparison: eq | gt | gte | lt | lte |
-- in | is_null, value}…], p_order [column…], p_after: the values of the p_order columns of the last row seen.
--
-- Raises 42501 for any other table, and 42703 for a column that there is not.
create or replace function tenant.select_rows(
    p_table text, p_where jsonb default '[]', p_order jsonb default '[]', p_descending boolean default false,
    p_after jsonb default null, p_limit integer default null, p_columns jsonb default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    direction constant text := case when p_descending then 'desc' else 'asc' end;
    -- Written into the statement, for the planner: the policies say the same, where it does not see it.
    own constant text := case
        when p_table in ('compute_workloads', 'capacity_bookings', 'run_accounts', 'storage_assets', 'agent_states', 'orchestration_decisions', 'flexibility_moves')
            then format('tenant = %L', tenancy.operator_id())
        when p_table = 'meter_readings' then format(
            '(tenant = %1$L or dc_id in (select d.dc_id from public.data_centres d where d.tenant = %1$L))',
            tenancy.operator_id())
        else 'true' end;
    source text;
    listed text;
    conditions text;
    position text;
    sorted text;
    answer json;
begin
    source := case
        when p_table in (
            'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix', 'system_prices', 'data_centres',
            'compute_workloads', 'capacity_bookings', 'run_accounts', 'meter_readings', 'agents', 'storage_assets',
            'flexibility_units', 'flexibility_events', 'flexibility_moves') then format('public.%I', p_table)
        when p_table in ('agent_states', 'orchestration_decisions') then format('tenant.%I', p_table)
    end;
    -- All columns but those that are for us.
    listed := case p_table
        when 'capacity_bookings' then
            'booking_key, dc_id, job_id, source, order_id, state, starts_at, ends_at, it_power_kw, reason, run_now, '
            'carried_out_by, started_at, ended_at, cancel_requested_at, flexibility_event_id, negotiation_id, created_at, '
            'updated_at'
        when 'run_accounts' then
            'booking_key, job_id, dc_id, started_at, ended_at, it_energy_wh, site_energy_wh, carbon_gco2, cost_gbp, '
            'run_now_dc_id, run_now_starts_at, run_now_pue, run_now_fits, run_now_site_energy_wh, run_now_carbon_gco2, '
            'run_now_cost_gbp, predicted_carbon_gco2, predicted_cost_gbp, predicted_run_now_carbon_gco2, '
            'predicted_run_now_cost_gbp, basis, revision, accounted_at, settled_at'
        when 'agent_states' then 'state_id, agent_id, state, detail, observed_at'
        when 'meter_readings' then
            'reading_id, dc_id, job_id, half_hour, it_energy_wh, site_energy_wh, source, revision, recorded_at'
        when 'orchestration_decisions' then
            'decision_id, notification_id, sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer, model, '
            'scorer_version, fallback_reason, reasoning, constraints_evaluated, alternatives_considered, context, output, '
            'token_usage, decided_at, grid_digest'
        when 'flexibility_units' then 'unit_id, gsp_group, region_id, created_at'
        when 'flexibility_events' then
            'event_id, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh, '
            'penalty_gbp_per_mwh, compensation, in_day, document, state, state_reason, announced_at, updated_at'
        when 'flexibility_moves' then
            'event_id, job_id, unit_id, from_dc_id, from_starts_at, to_dc_id, to_starts_at, it_power_kw, keep_gbp, delta_gbp, '
            'freed_mwh'
        else '*' end;
    if source is null then
        raise exception 'tenants may not read %', p_table using errcode = 'insufficient_privilege';
    end if;
    if p_columns is not null then
        select string_agg(format('%I', name), ', ') into listed from jsonb_array_elements_text(p_columns) as name;
    end if;
    select string_agg(format('%I %s', name, direction), ', ') into sorted from jsonb_array_elements_text(p_order) as name;
    select string_agg(
        case condition ->> 'comparison'
            when 'is_null' then format(
                '%I is %s null', condition ->> 'column', case when condition ->> 'value' = 'true' then '' else 'not' end)
            when 'in' then format('%I in (%s)', condition ->> 'column', coalesce((
                select string_agg(format('%L', one), ', ') from jsonb_array_elements_text(condition -> 'value') as one), 'null'))
            else format(
                '%I %s %L', condition ->> 'column',
                (jsonb '{"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}') ->> (condition ->> 'comparison'),
                condition ->> 'value')
        end, ' and ')
    into conditions
    from jsonb_array_elements(p_where) as condition;
    if jsonb_array_length(p_after) > 0 then
        select format(
            '(%s) %s (%s)', string_agg(format('%I', p_order ->> (place::integer - 1)), ', '),
            case when p_descending then '<' else '>' end, string_agg(format('%L', value), ', '))
        into position
        from jsonb_array_elements_text(p_after) with ordinality as seen (value, place);
    end if;
    execute format(
        'select coalesce(json_agg(r), ''[]'') from (select %s from %s where %s and %s and %s %s %s) as r',
        listed, source, own, coalesce(conditions, 'true'), coalesce(position, 'true'),
        coalesce('order by ' || sorted, ''), coalesce('limit ' || p_limit, ''))
    into answer;
    return answer;
end
$$;

-- The next are the public functions of these names, with the tenant written into their conditions: behind a policy the
-- planner does not know whose rows are meant, and for a tenant of few and old rows it may read everybody's newer ones first.

create or replace function tenant.workloads_page(p_status text, p_after text, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
    seen public.compute_workloads;
begin
    select * into seen from public.compute_workloads w where (w.tenant, w.job_id) = (own, p_after);
    return json_build_object(
        'known_after', p_after is null or seen.job_id is not null,
        'workloads', (
            select coalesce(json_agg(json_build_object('workload', page.row, 'decision', newest.decision)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.created_at, w.job_id
                from public.compute_workloads w
                where w.tenant = own
                    and (p_status is null or w.status = p_status)
                    and (p_after is null or (w.created_at, w.job_id) < (seen.created_at, seen.job_id))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page
            left join lateral (
                select json_build_object(
                    'decision_id', d.decision_id, 'sequence', d.tenant_sequence, 'chosen_dc_id', d.chosen_dc_id,
                    'recommended_start', d.recommended_start, 'scorer', d.scorer, 'reasoning', d.reasoning,
                    'decided_at', d.decided_at, 'output', null) as decision
                from public.orchestration_decisions d
                where (d.tenant, d.job_id) = (own, page.job_id)
                order by d.decided_at desc
                limit 1) as newest on true));
end
$$;

create or replace function tenant.workload_list(p_filter jsonb, p_after text, p_limit integer, p_counted boolean default false)
returns json language sql stable security definer set search_path = ''
as $$ select public.workload_list(p_filter, p_after, p_limit, p_counted, tenancy.operator_id()) $$;

create or replace function tenant.decision_list(p_before timestamptz, p_before_id uuid, p_limit integer, p_filter jsonb)
returns json language sql stable security definer set search_path = ''
as $$ select public.decision_list(p_before, p_before_id, p_limit, p_filter, tenancy.operator_id()) $$;

create or replace function tenant.workload_detail(p_job_id text)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select json_build_object('workload', w, 'decision', (
            select json_build_object(
                'decision_id', d.decision_id, 'sequence', d.tenant_sequence, 'chosen_dc_id', d.chosen_dc_id,
                'recommended_start', d.recommended_start, 'scorer', d.scorer, 'reasoning', d.reasoning,
                'decided_at', d.decided_at, 'output', tenancy.seen_output(d.output, d.tenant_sequence))
            from public.orchestration_decisions d
            where (d.tenant, d.job_id) = (own, w.job_id)
            order by d.decided_at desc
            limit 1))
        from public.compute_workloads w
        where (w.tenant, w.job_id) = (own, p_job_id));
end
$$;

create or replace function tenant.live_state(p_now timestamptz, p_types jsonb)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
    private constant text[] := array['ComputeWorkload', 'CapacityBooking', 'Agent', 'AgentState', 'OrchestrationDecision', 'StorageAsset'];
begin
    return (public.live_state(p_now, p_types - private)::jsonb || jsonb_build_object(
        'ComputeWorkload', case when p_types ? 'ComputeWorkload' then (
            select coalesce(json_agg(w order by w.created_at desc, w.job_id desc), '[]')
            from (
                select * from public.compute_workloads
                where tenant = own and status not in ('COMPLETED', 'FAILED', 'CANCELLED')
                order by created_at desc, job_id desc
                limit 100) as w) end,
        'CapacityBooking', case when p_types ? 'CapacityBooking' then (
            select coalesce(json_agg(to_jsonb(b) - '{booking_id,notification_id}'::text[] order by b.starts_at, b.booking_id), '[]')
            from (
                select * from public.capacity_bookings
                where tenant = own and state in ('HELD', 'RUNNING')
                order by starts_at, booking_id
                limit 100) as b) end,
        'Agent', case when p_types ? 'Agent' then (
            select coalesce(json_agg(a order by a.agent_id), '[]')
            from (
                select * from public.agents
                where tenant in (own, 'platform') and status = 'ACTIVE'
                order by updated_at desc, agent_id
                limit 100) as a) end,
        'AgentState', case when p_types ? 'AgentState' then (
            select coalesce(json_agg(s order by s.observed_at desc, s.state_id desc), '[]')
            from (
                select a.tenant_state_id as state_id, a.agent_id, a.state, a.detail, a.observed_at
                from public.agent_states a
                where a.tenant = own
                order by a.observed_at desc, a.state_id desc
                limit 100) as s) end,
        'OrchestrationDecision', case when p_types ? 'OrchestrationDecision' then (
            select coalesce(json_agg(d order by d.decided_at desc, d.decision_id), '[]')
            from (
                select
                    decision_id, null::bigint as notification_id, tenant_sequence as sequence, job_id, agent_id, chosen_dc_id,
                    recommended_start, scorer, model, scorer_version, fallback_reason, reasoning, token_usage, decided_at
                from public.orchestration_decisions
                where tenant = own
                order by decided_at desc
                limit 100) as d) end,
        'StorageAsset', case when p_types ? 'StorageAsset' then (
            select coalesce(json_agg(s order by s.asset_id), '[]')
            from (
                select * from public.storage_assets where tenant = own and status <> 'OFFLINE' order by asset_id limit 1000) as s)
            end))::json;
end
$$;

-- As public.submit_workloads, for the caller's own operator whatever a row says; one that names another is told that there is
-- no such operator. Also answers {"over_limit": {"limit", "allowed", "open"}} with nothing stored, where the operator would
-- have more open jobs than it may.
create or replace function tenant.submit_workloads(p_rows jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    own constant text := tenancy.must_write();
    others json;
    unknown_places json;
    most constant integer := tenancy.own_capacity('open_jobs');
    already_open bigint;
    created_ids text[];
    conflicting text[];
begin
    select json_agg(distinct r.operator) into others
    from jsonb_to_recordset(p_rows) as r (operator text)
    where r.operator <> own;
    if others is not null then
        return json_build_object('unknown_operators', others, 'known_operators', json_build_array(own));
    end if;
    select json_agg(distinct r.host_dc_id) into unknown_places
    from jsonb_to_recordset(p_rows) as r (host_dc_id text)
    where r.host_dc_id is not null and not exists (select from public.data_centres d where d.dc_id = r.host_dc_id);
    if unknown_places is not null then
        return json_build_object('unknown_data_centres', unknown_places, 'known_data_centres', (
            select coalesce(json_agg(known.dc_id), '[]')
            from (select dc_id from public.data_centres order by dc_id limit 50) as known));
    end if;

    -- As in the public function: a savepoint, and the checks in statements of their own.
    begin
        with inserted as (
            insert into public.compute_workloads (
                job_id, operator, host_dc_id, workload_type, urgency, required_gpu_mins, required_cpu_cores,
                required_memory_gb, estimated_energy_kwh, carbon_cap_gco2, max_price_gbp, deadline, deferral_window_mins,
                submission_digest, run)
            select
                r.job_id, own, r.host_dc_id, r.workload_type, r.urgency, r.required_gpu_mins, r.required_cpu_cores,
                r.required_memory_gb, r.estimated_energy_kwh, r.carbon_cap_gco2, r.max_price_gbp, r.deadline,
                r.deferral_window_mins, r.submission_digest, r.run
            from jsonb_populate_recordset(null::public.compute_workloads, p_rows) as r
            order by r.job_id
            on conflict (tenant, job_id) do nothing
            returning job_id
        )
        select coalesce(array_agg(inserted.job_id), '{}') into created_ids from inserted;

        select array_agg(r.job_id) into conflicting
        from jsonb_to_recordset(p_rows) as r (job_id text, submission_digest text)
        join public.compute_workloads w on (w.tenant, w.job_id) = (own, r.job_id)
        where w.submission_digest is distinct from r.submission_digest;
        if conflicting is not null then
            raise exception using errcode = 'PY409';
        end if;
        -- Counted no further than matters. Requests at the same moment may each count without the other's.
        select count(*) into already_open
        from (
            select from public.compute_workloads w
            where w.tenant = own and w.status not in ('COMPLETED', 'FAILED', 'CANCELLED')
            limit most + 1) as open;
        if cardinality(created_ids) > 0 and already_open > most then
            raise exception using errcode = 'PY429';
        end if;
    exception
        when sqlstate 'PY409' then
            return json_build_object('conflicts', conflicting);
        when sqlstate 'PY429' then
            return json_build_object('over_limit', json_build_object(
                'limit', 'open_jobs', 'allowed', most, 'open', (
                    select count(*) from public.compute_workloads w
                    where w.tenant = own and w.status not in ('COMPLETED', 'FAILED', 'CANCELLED'))));
    end;

    return json_build_object('created', created_ids, 'rows', (
        select json_agg(w order by r.position)
        from jsonb_array_elements(p_rows) with ordinality as r (submitted, position)
        join public.compute_workloads w on (w.tenant, w.job_id) = (own, r.submitted ->> 'job_id')));
end
$$;

-- As the public functions, for the caller's own workloads. They run as their owner: what is locked and given back is not the
-- tenant's alone.
create or replace function tenant.cancel_workload(p_job_id text, p_reason text, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.cancel_workload(p_job_id, p_reason, p_now, tenancy.must_write()) $$;

create or replace function tenant.move_workload(p_job_id text, p_booking jsonb, p_now timestamptz)
returns json language sql security definer set search_path = ''
as $$ select public.move_workload(p_job_id, p_booking, p_now, tenancy.must_write()) $$;

create or replace function tenant.capacity_timeline(p_dc_id text, p_now timestamptz)
returns json language sql stable security definer set search_path = ''
as $$ select public.capacity_timeline(p_dc_id, p_now, tenancy.operator_id()) $$;

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
-- Tenants: their own events and outputs ------------------------------------------------------------------------------------
--
-- As the public functions of these names, in the tenant's own numbers: 1, 2, 3 …, whatever happens at others. What is read is
-- what the policies show.

-- How many of everybody's events there have been, for tenants, who do not see how many there were of all.
create or replace function tenancy.everybodys_events()
returns bigint
language sql
stable
security definer
set search_path = ''
as $$
    select public.everybodys_events()
$$;

-- The number that one of everybody's events has in the tenant's count: with what it was written down by next, or by last.
create or replace function tenancy.own_number(p_sequence bigint, p_everybodys bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select own.tenant_sequence - 1 - (own.everybodys - p_everybodys)
            from public.broadcast_log own
            where own.tenant = (select tenancy.operator_id()) and own.sequence > p_sequence
            order by own.sequence
            limit 1),
        (select t.newest - t.everybodys + p_everybodys from public.tenant_numbers t),
        p_everybodys)
$$;

-- Everybody's events are told from the tenant's own by their number: between two of its own there are everybody's alone, so
-- the first that follows p_after is counted back from the own event that follows it, or on from the last.
create or replace function tenant.events_after(
    p_after bigint, p_limit integer, p_topics jsonb default null, p_job_id text default null, p_detail text default 'full')
returns json
language sql
stable
set search_path = ''
as $$
    with numbers as materialized (
        select coalesce(max(t.newest), 0) as newest, coalesce(max(t.everybodys), 0) as everybodys from public.tenant_numbers t
    ),
    ever as materialized (
        select
            numbers.newest + tenancy.everybodys_events() - numbers.everybodys as newest,
            tenancy.everybodys_events() as everybodys
        from numbers
    ),
    own as materialized (
        select b.tenant_sequence as number, b.*
        from public.broadcast_log b
        where b.tenant = (select tenancy.operator_id()) and b.tenant_sequence > p_after
            and b.topic = any (public.chosen_topics(p_topics)) and (p_job_id is null or b.job_id = p_job_id)
        order by b.tenant_sequence
        limit p_limit
    ),
    known as materialized (
        -- Up to so many of everybody's were before what follows p_after.
        select coalesce(
            (
                select b.everybodys - (b.tenant_sequence - 1 - p_after)
                from public.broadcast_log b
                where b.tenant = (select tenancy.operator_id()) and b.tenant_sequence > p_after
                order by b.tenant_sequence
                limit 1),
            numbers.everybodys + p_after - numbers.newest) as everybodys
        from numbers
    ),
    everybodys as materialized (
        select numbered.number, b.*
        from public.broadcast_log b
        cross join lateral (select tenancy.own_number(b.sequence, b.everybodys) as number offset 0) as numbered
        where b.is_everybodys and b.everybodys > (select known.everybodys from known)
            and b.topic = any (public.chosen_topics(p_topics)) and p_job_id is null and numbered.number > p_after
        order by b.everybodys
        limit p_limit
    ),
    page as materialized (
        select
            b.number as sequence, b.event_type, b.topic, coalesce(b.subject, b.job_id) as subject, b.job_id, b.created_at,
            case when p_detail = 'full'
                then coalesce(tenancy.seen_output(d.output, b.tenant_sequence), b.event::json) else '{}' end as event,
            coalesce(b.summary, public.event_summary(jsonb_build_object('job_id', b.job_id) || b.event)) as summary,
            b.is_everybodys
        from (
            select * from (select * from own union all select * from everybodys) as found
            order by found.number
            limit p_limit) as b
        left join public.orchestration_decisions d
            on p_detail = 'full' and b.event_type = 'decision'
                and (d.tenant, d.tenant_sequence) = (b.tenant, b.tenant_sequence)
    )
    select json_build_object(
        'events', coalesce((select json_agg(page order by page.sequence) from page), '[]'),
        'next', coalesce(
            (select max(page.sequence) from page),
            case when p_limit > 0 then greatest(p_after, ever.newest) end,
            p_after),
        'oldest', least(
            (
                select min(b.tenant_sequence) from public.broadcast_log b
                where b.tenant = (select tenancy.operator_id())),
            (
                select tenancy.own_number(b.sequence, b.everybodys) from public.broadcast_log b
                where b.is_everybodys order by b.everybodys limit 1)),
        'newest', nullif(ever.newest, 0),
        'everybodys', ever.everybodys)
    from ever
$$;

create or replace function tenant.outputs_history(p_after bigint, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    with page as materialized (
        select d.tenant_sequence as sequence, tenancy.seen_output(d.output, d.tenant_sequence) as output
        from public.orchestration_decisions d
        where d.tenant_sequence < coalesce(p_after, 9223372036854775807)
        order by d.tenant_sequence desc
        limit p_limit
    ),
    ending as (
        select min(page.sequence) as sequence from page
    )
    select json_build_object(
        'outputs', coalesce((select json_agg(page.output order by page.sequence desc) from page), '[]'),
        'next', (
            select ending.sequence from ending
            where exists (select from public.orchestration_decisions d where d.tenant_sequence < ending.sequence)))
$$;

create or replace function tenant.task_output(p_task_id text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select
            d.tenant_sequence as sequence,
            case when d.tenant_sequence is distinct from p_known then tenancy.seen_output(d.output, d.tenant_sequence) end
                as output
        from public.orchestration_decisions d
        where d.job_id = p_task_id
        order by d.decided_at desc, d.tenant_sequence desc
        limit 1) as newest on true
$$;

create or replace function tenant.newest_unacknowledged_output(p_consumer text, p_known bigint default null)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('sequence', newest.sequence, 'output', newest.output)
    from (select 1) as always
    left join lateral (
        select d.sequence, d.output
        from unnest(int8multirange(int8range(1, null)) - coalesce(
            (select c.tenant_acknowledged from public.output_consumers c where c.consumer = p_consumer), '{}')) as missing
        cross join lateral (
            select
                candidate.tenant_sequence as sequence,
                case when candidate.tenant_sequence is distinct from p_known
                    then tenancy.seen_output(candidate.output, candidate.tenant_sequence) end as output
            from public.orchestration_decisions candidate
            where candidate.tenant_sequence >= lower(missing)
                and candidate.tenant_sequence < coalesce(upper(missing), 9223372036854775807)
            order by candidate.tenant_sequence desc
            limit 1) as d
        order by d.sequence desc
        limit 1) as newest on true
$$;

create or replace function tenant.acknowledge_output(p_consumer text, p_task_id text, p_sequence bigint default null)
returns json
language plpgsql
set search_path = ''
as $$
declare
    own constant text := tenancy.must_write();
    sequences int8multirange;
    changed text;
begin
    select range_agg(int8range(d.tenant_sequence, d.tenant_sequence, '[]')) into sequences
    from public.orchestration_decisions d
    where d.job_id = p_task_id and d.tenant_sequence <= coalesce(p_sequence, 9223372036854775807);
    if sequences is null then
        return json_build_object('known', false, 'cleared', false);
    end if;
    insert into public.output_consumers as c (tenant, consumer, tenant_acknowledged)
    values (own, p_consumer, sequences)
    on conflict (tenant, consumer) do update set tenant_acknowledged = c.tenant_acknowledged + excluded.tenant_acknowledged
    where not c.tenant_acknowledged @> excluded.tenant_acknowledged
    returning c.consumer into changed;
    if changed is not null then
        perform pg_notify('acknowledged', p_consumer);
    end if;
    return json_build_object('known', true, 'cleared', changed is not null);
end
$$;

create or replace function tenant.current_context(p_task_id text default null)
returns json
language sql
stable
set search_path = ''
as $$
    with thinking as materialized (
        select 'in_work' as state, n.job_id, n.context
        from public.workload_notifications n
        where n.work_state = 'running' and n.context is not null and n.leased_until >= clock_timestamp()
            and (p_task_id is null or n.job_id = p_task_id)
        order by n.notification_id desc
        limit 1
    ),
    newest as (
        (
            select 'decided' as state, d.job_id, d.context
            from public.audited_decisions d
            where p_task_id is null and d.tenant_sequence is not null
            order by d.tenant_sequence desc
            limit 1)
        union all
        (
            select 'decided', d.job_id, d.context
            from public.audited_decisions d
            where d.job_id = p_task_id
            order by d.decided_at desc, d.tenant_sequence desc
            limit 1)
    ),
    chosen as (
        select * from thinking
        union all
        select * from newest where not exists (select from thinking)
    )
    select json_build_object(
        'state', coalesce(chosen.state, 'none'),
        'task_id', chosen.job_id,
        'context', chosen.context,
        'processed_by', coalesce((
            select json_agg(p.consumer order by p.consumer)
            from public.processed_contexts p where p.job_id = chosen.job_id), '[]'))
    from (select 1) as always
    left join chosen on true
$$;

create or replace function tenant.mark_context_processed(p_consumer text, p_task_id text default null)
returns json
language sql
set search_path = ''
as $$
    with marked as (
        insert into public.processed_contexts (tenant, consumer, job_id)
        select tenancy.must_write(), p_consumer, current.document ->> 'task_id'
        from (select tenant.current_context(p_task_id) as document) as current
        where current.document ->> 'task_id' is not null
        on conflict (tenant, consumer, job_id) do update set processed_at = clock_timestamp()
        returning job_id
    )
    select json_build_object('task_id', (select job_id from marked))
$$;

-- What waits or runs at an operator's data centres, or at all without one, whoever's it is, by the names of the jobs from behind
-- p_after: the host sees what is placed with it while it is, as far as it must to serve and to bill it, and no more of its
-- owner than the name. Jobs of one name, which several owners may have, stand on one page.
create or replace function public.hosted_workloads(
    p_after text default null, p_limit integer default 100, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(hosted order by hosted.job_id, hosted.operator), '[]')
    from (
        select
            w.job_id, w.tenant as operator, w.host_dc_id, w.required_gpu_mins, w.required_cpu_cores, w.required_memory_gb,
            w.estimated_energy_kwh, w.status, w.scheduled_start, w.actual_start
        from public.data_centres d
        join public.compute_workloads w on w.host_dc_id = d.dc_id
        where (p_operator is null or d.tenant = p_operator) and w.status in ('QUEUED', 'RUNNING')
            and (p_after is null or w.job_id > p_after)
        order by w.job_id
        fetch first (p_limit) rows with ties) as hosted
$$;

create or replace function tenant.own_hosted_workloads(p_after text default null, p_limit integer default 100)
returns json language sql stable security definer set search_path = ''
as $$ select public.hosted_workloads(p_after, p_limit, tenancy.operator_id()) $$;

-- What of the caller's own work was given up: notifications, and messages without bodies that platforms which speak for it
-- sent or were to get. What went wrong is told of its own platforms' queues alone: of others' it is their business.
create or replace function tenant.own_dead_letters(p_limit integer default 100)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    with own as materialized (
        select distinct s.subscriber_id as name
        from public.beckn_subscribers s
        where s.operator = (select tenancy.operator_id())
    )
    select json_build_object(
        'notifications', coalesce((
            select json_agg(dead order by dead.created_at desc)
            from (
                select n.job_id, n.reason, n.attempt as attempts, n.last_error, n.created_at
                from public.workload_notifications n
                where n.tenant = (select tenancy.operator_id()) and n.work_state = 'discarded'
                order by n.created_at desc
                limit p_limit) as dead), '[]'),
        'inbox', coalesce((
            select json_agg(dead order by dead.received_at desc)
            from (
                select i.recipient, i.sender, i.action, i.transaction_id, i.message_id, i.attempt as attempts,
                    case when i.recipient in (select name from own) then i.last_error end as last_error,
                    i.received_at
                from public.beckn_inbox i
                where i.work_state = 'discarded' and (i.recipient in (select name from own) or i.sender in (select name from own))
                order by i.received_at desc
                limit p_limit) as dead), '[]'),
        'outbox', coalesce((
            select json_agg(dead order by dead.created_at desc)
            from (
                select o.sender, o.recipient, o.action, o.transaction_id, o.message_id, o.attempt as attempts,
                    case when o.sender in (select name from own) then o.last_error end as last_error,
                    o.created_at
                from public.beckn_outbox o
                where o.work_state = 'discarded' and (o.sender in (select name from own) or o.recipient in (select name from own))
                order by o.created_at desc
                limit p_limit) as dead), '[]'))
$$;
-- What was bought and sold on the network ----------------------------------------------------------------------------------
--
-- Orders and quotes, newest first, after the place (p_before, p_before_id) of the last one seen, or from the newest. Whoever
-- sees everything sees all of them, without a "side"; a tenant those that it placed and those of its data centres. Both sides
-- see the whole purchase, and neither anything else of the other's. "side" is buyer, seller or both.

create or replace function public.purchased_orders(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(page order by page.created_at desc, page.order_id desc), '[]')
    from (
        select
            o.order_id, o.bpp_id, o.bap_id, o.transaction_id, o.quote_id, o.job_id, o.dc_id, o.item_id, o.state,
            o.starts_at, o.ends_at, o.it_power_kw, o.price_gbp, o.terms, o.deferral, o.cancellation, o.revision,
            o.created_at, o.updated_at, o.buyer_operator, o.seller_operator, null::text as side
        from public.beckn_orders o
        where p_before is null or (o.created_at, o.order_id) < (p_before, p_before_id)
        order by o.created_at desc, o.order_id desc
        limit p_limit) as page
$$;

create or replace function public.purchased_quotes(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(page order by page.created_at desc, page.quote_id desc), '[]')
    from (
        select
            q.quote_id, q.bpp_id, q.bap_id, q.transaction_id, q.dc_id, q.item_id, q.starts_at, q.ends_at, q.it_power_kw,
            q.price_gbp, q.terms, q.expires_at, q.created_at, q.buyer_operator, q.seller_operator, null::text as side
        from public.beckn_quotes q
        where p_before is null or (q.created_at, q.quote_id) < (p_before, p_before_id)
        order by q.created_at desc, q.quote_id desc
        limit p_limit) as page
$$;

-- What was bought and what was sold are read apart, each by its index, and no further than the page.
create or replace function tenant.purchased_orders(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select coalesce(json_agg(page order by page.created_at desc, page.order_id desc), '[]')
        from (
            select
                o.order_id, o.bpp_id, o.bap_id, o.transaction_id, o.quote_id, o.job_id, o.dc_id, o.item_id, o.state,
                o.starts_at, o.ends_at, o.it_power_kw, o.price_gbp, o.terms, o.deferral, o.cancellation, o.revision,
                o.created_at, o.updated_at, o.buyer_operator, o.seller_operator, o.side
            from (
                (
                    select *, case when seller_operator = own then 'both' else 'buyer' end as side
                    from public.beckn_orders
                    where buyer_operator = own
                        and (p_before is null or (created_at, order_id) < (p_before, p_before_id))
                    order by created_at desc, order_id desc
                    limit p_limit)
                union all
                (
                    select *, 'seller'
                    from public.beckn_orders
                    where seller_operator = own and buyer_operator <> own
                        and (p_before is null or (created_at, order_id) < (p_before, p_before_id))
                    order by created_at desc, order_id desc
                    limit p_limit)) as o
            order by o.created_at desc, o.order_id desc
            limit p_limit) as page);
end
$$;

create or replace function tenant.purchased_quotes(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select coalesce(json_agg(page order by page.created_at desc, page.quote_id desc), '[]')
        from (
            select
                q.quote_id, q.bpp_id, q.bap_id, q.transaction_id, q.dc_id, q.item_id, q.starts_at, q.ends_at, q.it_power_kw,
                q.price_gbp, q.terms, q.expires_at, q.created_at, q.buyer_operator, q.seller_operator, q.side
            from (
                (
                    select *, case when seller_operator = own then 'both' else 'buyer' end as side
                    from public.beckn_quotes
                    where buyer_operator = own
                        and (p_before is null or (created_at, quote_id) < (p_before, p_before_id))
                    order by created_at desc, quote_id desc
                    limit p_limit)
                union all
                (
                    select *, 'seller'
                    from public.beckn_quotes
                    where seller_operator = own and buyer_operator <> own
                        and (p_before is null or (created_at, quote_id) < (p_before, p_before_id))
                    order by created_at desc, quote_id desc
                    limit p_limit)) as q
            order by q.created_at desc, q.quote_id desc
            limit p_limit) as page);
end
$$;

-- One order as in the lists, and the messages of its transaction that both sides sent each other, as far as they are kept: what
-- came in (received_at) and what went out (sent_at), without bodies. What both platforms have here stands in both. For
-- p_operator only where it is a side of the purchase; null where there is no such order.
create or replace function public.purchase_story(p_order_id uuid, p_operator text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    bought public.beckn_orders;
begin
    select * into bought
    from public.beckn_orders o
    where o.order_id = p_order_id and (p_operator is null or p_operator in (o.buyer_operator, o.seller_operator));
    if bought.order_id is null then
        return null;
    end if;
    return json_build_object(
        'order', (
            select to_json(shown)
            from (
                select
                    bought.order_id, bought.bpp_id, bought.bap_id, bought.transaction_id, bought.quote_id, bought.job_id,
                    bought.dc_id, bought.item_id, bought.state, bought.starts_at, bought.ends_at, bought.it_power_kw,
                    bought.price_gbp, bought.terms, bought.deferral, bought.cancellation, bought.revision, bought.created_at,
                    bought.updated_at, bought.buyer_operator, bought.seller_operator,
                    case
                        when p_operator is null then null
                        when bought.buyer_operator = bought.seller_operator then 'both'
                        when bought.buyer_operator = p_operator then 'buyer'
                        else 'seller' end as side) as shown),
        'quoted_at', (select q.created_at from public.beckn_quotes q where q.quote_id = bought.quote_id),
        'messages', (
            select coalesce(json_agg(message order by message.at, message.action), '[]')
            from (
                select
                    i.sender, i.recipient, i.action, i.message_id, i.received_at as at, null::timestamptz as sent_at,
                    i.received_at, i.work_state, i.attempt as attempts, i.finished_at,
                    i.answer #>> '{message,ack,status}' as answered, i.body_digest
                from (values (bought.bap_id, bought.bpp_id), (bought.bpp_id, bought.bap_id)) as way (sender, recipient)
                join public.beckn_inbox i on i.sender = way.sender and i.recipient = way.recipient
                where i.transaction_id = bought.transaction_id
                union all
                select
                    o.sender, o.recipient, o.action, o.message_id, o.created_at, o.created_at, null, o.work_state,
                    o.attempt, o.finished_at, null, o.body_digest
                from (values (bought.bap_id, bought.bpp_id), (bought.bpp_id, bought.bap_id)) as way (sender, recipient)
                join public.beckn_outbox o
                    on o.sender = way.sender and o.origin = way.sender and o.recipient = way.recipient
                where o.transaction_id = bought.transaction_id) as message));
end
$$;

create or replace function tenant.purchase_story(p_order_id uuid)
returns json language sql stable security definer set search_path = ''
as $$ select public.purchase_story(p_order_id, tenancy.operator_id()) $$;
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

-- Tenants: whether they are kept apart -------------------------------------------------------------------------------------

-- Whether what is said above holds on this server, for this session: {"holds", "reasons": [one line each…],
-- "server_version", "session"}. To be asked before the first tenant is served.
create or replace function public.tenancy_check()
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    reasons text[] := '{}';
    server constant integer := current_setting('server_version_num')::integer;
    -- The first minor version of each major one in which a change of role replans a statement (CVE-2023-2455) and the
    -- planner's statistics keep to the policies (CVE-2025-8713).
    oldest constant integer := case server / 10000 when 15 then 150014 when 16 then 160010 when 17 then 170006 else 0 end;
    through_postgrest constant boolean := current_setting('request.method', true) is not null;
    found text;
begin
    if server < 150000 then
        reasons := reasons || 'PostgreSQL is older than 15'::text;
    elsif server < oldest then
        reasons := reasons || format(
            'PostgreSQL %s shows tenants the statistics of others (CVE-2025-8713): update it to %s.%s or later',
            current_setting('server_version'), oldest / 10000, oldest % 10000);
    end if;
    if to_regrole('pylon_tenant') is null then
        return json_build_object(
            'holds', false,
            'reasons', reasons || 'the role pylon_tenant is missing: have an administrator of the server run '
                '"create role pylon_tenant nologin noinherit; create role pylon_gate login noinherit; '
                'grant pylon_tenant to pylon_gate"'::text,
            'server_version', current_setting('server_version'), 'session', session_user);
    end if;
    select string_agg(r.rolname, ', ' order by r.rolname) into found
    from pg_catalog.pg_roles r
    where r.rolname in ('pylon_tenant', case when not through_postgrest then session_user end)
        and (r.rolsuper or r.rolbypassrls);
    if found is not null then
        reasons := reasons || format('Row Level Security does not hold for the role %s: requests must log in as pylon_gate', found);
    end if;
    if not through_postgrest and to_regrole('service_role') is not null
        and pg_has_role(session_user, 'service_role', 'member')
    then
        reasons := reasons || format('the role %s may become service_role: requests must log in as pylon_gate', session_user);
    end if;
    if not pg_has_role(session_user, 'pylon_tenant', 'member') then
        reasons := reasons || format('the role %s may not become pylon_tenant: grant pylon_tenant to %1$I', session_user);
    end if;
    select string_agg(r.rolname, ', ' order by r.rolname) into found
    from pg_catalog.pg_auth_members m
    join pg_catalog.pg_roles r on r.oid = m.roleid
    where m.member = to_regrole('pylon_tenant');
    if found is not null then
        reasons := reasons || format('the role pylon_tenant is a member of %s', found);
    end if;
    if current_setting('row_security') <> 'on' then
        reasons := reasons || 'the setting row_security is off'::text;
    end if;
    -- Its policies would not hold for whoever owns a table.
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
        and has_table_privilege('pylon_tenant', c.oid, 'select, insert, update, delete')
        and (not c.relrowsecurity or pg_has_role('pylon_tenant', c.relowner, 'member')
            or not exists (
                select from pg_catalog.pg_policy p
                where p.polrelid = c.oid and p.polroles = array[to_regrole('pylon_tenant')::oid]));
    if found is not null then
        reasons := reasons || format('tenants reach tables without a policy: %s', found);
    end if;
    -- One more policy lets in what ours keep out.
    select string_agg(format('%I on %s', p.polname, c.relname), ', ' order by c.relname) into found
    from pg_catalog.pg_policy p
    join pg_catalog.pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'public'::regnamespace and p.polpermissive
        and p.polroles && array[0::oid, to_regrole('pylon_tenant')::oid]
        and p.polname not in ('tenant_select', 'tenant_insert', 'tenant_update')
        and has_table_privilege('pylon_tenant', c.oid, 'select, insert, update, delete');
    if found is not null then
        reasons := reasons || format('policies that are not ours let tenants in: %s', found);
    end if;
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    where c.relnamespace in ('public'::regnamespace, 'tenant'::regnamespace) and c.relkind = 'v'
        and has_table_privilege('pylon_tenant', c.oid, 'select')
        and not coalesce('security_invoker=true' = any (c.reloptions), false);
    if found is not null then
        reasons := reasons || format('views show tenants what their owner sees: %s', found);
    end if;
    if not has_table_privilege('pylon_tenant', 'public.compute_workloads', 'select') then
        reasons := reasons || 'the policies of tenants are missing: let an owner of the tables call tenancy.let_tenants_in()'::text;
    end if;
    -- Nobody reaches our tables but through our functions.
    select string_agg(c.relname, ', ' order by c.relname) into found
    from pg_catalog.pg_class c
    cross join (values ('anon'), ('authenticated')) as outsider (name)
    where c.relnamespace in ('public'::regnamespace, 'tenancy'::regnamespace)
        and c.relname in (
    'schema_version', 'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix',
    'data_centres', 'compute_workloads', 'agents', 'agent_states', 'storage_assets', 'workload_notifications',
    'write_probe', 'grid_changes', 'decision_grids', 'orchestration_decisions', 'pipeline_runs',
    'broadcast_log', 'event_numbers', 'tenant_numbers', 'workload_reconsiderations', 'output_consumers',
    'processed_contexts', 'system_price_revisions', 'system_prices', 'loss_of_load_forecasts', 'dfs_events',
    'dfs_periods', 'dfs_bids', 'current_system_state', 'regional_carbon_ranking', 'recent_decisions',
    'audited_decisions', 'beckn_subscribers', 'beckn_presences', 'beckn_usage', 'beckn_circuits',
    'beckn_inbox', 'beckn_outbox', 'negotiations', 'negotiation_agents', 'negotiation_messages',
    'negotiation_awards', 'negotiation_payments', 'beckn_quotes', 'beckn_orders', 'capacity_bookings',
    'held_power', 'capacity_prices', 'meter_readings', 'data_centre_loads', 'run_accounts', 'run_now_power',
    'runners', 'runs', 'flexibility_units', 'flexibility_events', 'flexibility_decisions', 'flexibility_moves',
    'flexibility_commitments', 'flexibility_baselines', 'flexibility_storage', 'flexibility_notifications',
    'flexibility_settlements', 'flexibility_cashflows', 'beckn_flexibility_contracts', 'openadr_objects',
    'openadr_webhooks', 'memberships', 'api_keys', 'service_accounts', 'audit_events')
        and to_regrole(outsider.name) is not null
        and has_table_privilege(outsider.name, c.oid, 'select, insert, update, delete');
    if found is not null then
        reasons := reasons || format('the roles anon or authenticated reach tables: %s', found);
    end if;
    return json_build_object(
        'holds', cardinality(reasons) = 0, 'reasons', reasons, 'server_version', current_setting('server_version'),
        'session', session_user);
end
$$;
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
            and p.tablename in (
    'schema_version', 'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix',
    'data_centres', 'compute_workloads', 'agents', 'agent_states', 'storage_assets', 'workload_notifications',
    'write_probe', 'grid_changes', 'decision_grids', 'orchestration_decisions', 'pipeline_runs',
    'broadcast_log', 'event_numbers', 'tenant_numbers', 'workload_reconsiderations', 'output_consumers',
    'processed_contexts', 'system_price_revisions', 'system_prices', 'loss_of_load_forecasts', 'dfs_events',
    'dfs_periods', 'dfs_bids', 'current_system_state', 'regional_carbon_ranking', 'recent_decisions',
    'audited_decisions', 'beckn_subscribers', 'beckn_presences', 'beckn_usage', 'beckn_circuits',
    'beckn_inbox', 'beckn_outbox', 'negotiations', 'negotiation_agents', 'negotiation_messages',
    'negotiation_awards', 'negotiation_payments', 'beckn_quotes', 'beckn_orders', 'capacity_bookings',
    'held_power', 'capacity_prices', 'meter_readings', 'data_centre_loads', 'run_accounts', 'run_now_power',
    'runners', 'runs', 'flexibility_units', 'flexibility_events', 'flexibility_decisions', 'flexibility_moves',
    'flexibility_commitments', 'flexibility_baselines', 'flexibility_storage', 'flexibility_notifications',
    'flexibility_settlements', 'flexibility_cashflows', 'beckn_flexibility_contracts', 'openadr_objects',
    'openadr_webhooks')
    loop
        execute format('drop policy %I on public.%I', rule.policyname, rule.tablename);
    end loop;
    if to_regrole('service_role') is not null then
        grant usage on schema tenancy to service_role;
        for named in
            select c.relname
            from pg_catalog.pg_class c
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname in (
    'schema_version', 'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix',
    'data_centres', 'compute_workloads', 'agents', 'agent_states', 'storage_assets', 'workload_notifications',
    'write_probe', 'grid_changes', 'decision_grids', 'orchestration_decisions', 'pipeline_runs',
    'broadcast_log', 'event_numbers', 'tenant_numbers', 'workload_reconsiderations', 'output_consumers',
    'processed_contexts', 'system_price_revisions', 'system_prices', 'loss_of_load_forecasts', 'dfs_events',
    'dfs_periods', 'dfs_bids', 'current_system_state', 'regional_carbon_ranking', 'recent_decisions',
    'audited_decisions', 'beckn_subscribers', 'beckn_presences', 'beckn_usage', 'beckn_circuits',
    'beckn_inbox', 'beckn_outbox', 'negotiations', 'negotiation_agents', 'negotiation_messages',
    'negotiation_awards', 'negotiation_payments', 'beckn_quotes', 'beckn_orders', 'capacity_bookings',
    'held_power', 'capacity_prices', 'meter_readings', 'data_centre_loads', 'run_accounts', 'run_now_power',
    'runners', 'runs', 'flexibility_units', 'flexibility_events', 'flexibility_decisions', 'flexibility_moves',
    'flexibility_commitments', 'flexibility_baselines', 'flexibility_storage', 'flexibility_notifications',
    'flexibility_settlements', 'flexibility_cashflows', 'beckn_flexibility_contracts', 'openadr_objects',
    'openadr_webhooks')
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

-- Access -----------------------------------------------------------------------------------------------------------------

do $access$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
            and p.proname = any (string_to_array(current_setting('pylon.functions'), ' '))
    loop
        execute format('revoke all on function %s from public', routine.signature);
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            execute format('revoke all on function %s from anon, authenticated', routine.signature);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format('grant execute on function %s to service_role', routine.signature);
        end if;
    end loop;
end
$access$;
-- The version is whole -------------------------------------------------------------------------------------------------

update public.schema_version
set applied_at = now(), program = coalesce(nullif(current_setting('pylon.program', true), ''), 'pasted'),
    fingerprint = '9b2f358c584a436e'
where version = 22;

-- A program of version 1 knows its schema by this comment, and leaves a database alone that bears it: started beside
-- newer ones, it must not put its functions back.
comment on table public.pipeline_runs is 'pylon-deg schema 9433b91718ae4681';

notify pgrst, 'reload schema';

commit;
