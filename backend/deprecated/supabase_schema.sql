begin;

-- Pylon DEG: tables, views and read functions.
--
-- Run this file first and supabase_triggers.sql second: in Supabase's SQL editor, with psql, or by letting the
-- program do it (it does so by itself on a direct or embedded PostgreSQL). Both are idempotent: running them
-- again upgrades and loses nothing. PostgreSQL 15 to 18, no extension.
--
-- Conventions: times are timestamptz and mean UTC; a signal's "timestamp" is the START of its half-hour; zero is
-- a value and NULL is missing; functions return one json document, so that they read alike over psycopg and
-- PostgREST.

set local client_min_messages = warning;
set local timezone = 'UTC';

-- One installation at a time: whoever waited here looks again at what the other has done.
select pg_advisory_xact_lock(7263811);

-- Versions of the schema: one row for each that this database has had. Programs of a version before compatible_from
-- cannot use it. applied_at is null from the first file's end to the second's.
create table if not exists public.schema_version (
    version integer primary key check (version > 0),
    compatible_from integer not null check (compatible_from between 1 and version),
    applied_at timestamptz check (isfinite(applied_at)),
    program text,
    fingerprint text -- of the sources the functions were made from, for checkouts of one version
);

do $version$
declare
    newest integer := (select max(version) from public.schema_version);
begin
    if newest > 22 then
        raise exception 'this database has schema version %, but these files are of version 22 and would put older '
            'functions back: use the files of the newer program', newest;
    end if;
    -- Version 1 kept no versions.
    if newest is null and to_regclass('public.pipeline_runs') is not null then
        insert into public.schema_version (version, compatible_from, applied_at) values (1, 1, now());
    end if;
end
$version$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 1 then
        execute $statements$
-- The table schema_version is made by the first lines of supabase_schema.sql: version 1 had none.

-- Any text names a key, and a key_id is its platform's own: it was a UUID, and one platform's alone.
alter table public.beckn_subscribers
    drop constraint beckn_subscribers_pkey,
    alter column key_id type text using key_id::text,
    add constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
    add constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$');

-- Grids that decisions share, the greatest event number, and the pauses of workloads that found no place.
create table public.decision_grids (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    grid jsonb not null
);

alter table public.orchestration_decisions add column grid_digest text;

create table public.event_numbers (
    only_row boolean primary key default true check (only_row),
    newest bigint not null check (newest >= 0)
) with (fillfactor = 10);

create table public.workload_reconsiderations (
    job_id text primary key references public.compute_workloads on delete cascade,
    status text not null,
    asked integer not null default 0,
    waiting_since timestamptz not null,
    ask_again_at timestamptz not null,
    centres text,
    lowest_now double precision,
    lowest_ahead double precision
) with (fillfactor = 70);

-- The Beckn queues: fair turns, whose message it is, bodies that go when the work is done, bounds of each sender, recipients
-- that do not answer, and platforms that tell that they run.

alter table public.beckn_subscribers add column present_until timestamptz;

alter table public.beckn_inbox
    alter column body drop not null,
    add column body_digest text not null default '',
    add column turn bigint not null default 0;
update public.beckn_inbox set body_digest = encode(sha256(convert_to(body, 'UTF8')), 'hex');

alter table public.beckn_outbox
    alter column body drop not null,
    add column origin text,
    add column body_digest text not null default '',
    add column turn bigint not null default 0;
update public.beckn_outbox
set origin = sender, body_digest = encode(sha256(convert_to(body, 'UTF8')), 'hex');
alter table public.beckn_outbox alter column origin set not null;
alter table public.beckn_outbox
    drop constraint beckn_outbox_sender_recipient_recipient_type_action_message_key,
    add constraint beckn_outbox_message_key unique (
        sender, origin, recipient, recipient_type, action, message_id, body_digest);

create table public.beckn_presences (
    subscriber_id text not null,
    type text not null check (type in ('BAP', 'BPP', 'BG')),
    worker text not null check (length(worker) between 1 and 300),
    present_until timestamptz not null check (isfinite(present_until)),
    primary key (subscriber_id, type, worker)
);
create table public.beckn_usage (
    platform text not null,
    sender text not null,
    day date not null,
    messages bigint not null check (messages >= 0),
    bytes bigint not null check (bytes >= 0),
    primary key (platform, sender, day)
);
create table public.beckn_circuits (
    sender text not null,
    recipient text not null,
    failures integer not null check (failures > 0),
    open_until timestamptz not null check (isfinite(open_until)),
    primary key (sender, recipient)
);

-- For whoever wants to know whether the database takes writes.
create table public.write_probe (
    only_row boolean primary key default true check (only_row),
    written_at timestamptz not null check (isfinite(written_at))
) with (fillfactor = 10);

-- A figure never says it is of a source that did not give it. Stored NESO demand was nearly all our own curve between
-- NESO's twelve daily points, and nothing tells those rows from the few published ones: all of it is called modelled,
-- and what is still ahead is fetched anew by the next run.
alter table public.grid_signals add column demand_interpolated boolean not null default false;
update public.grid_signals set demand_source = 'modelled', demand_interpolated = true where demand_source = 'neso';
-- A national actual of 0 beside a forecast of another order was never measured.
update public.grid_signals
set carbon_intensity_actual = null
where carbon_intensity_actual = 0 and carbon_intensity_forecast > 50 and carbon_source = 'carbon_intensity_api';
alter table public.data_centres
    add column carbon_intensity_source text
        check (carbon_intensity_source in ('carbon_intensity_api', 'modelled', 'synthetic'));

-- What one buyer may hold is counted when it orders.
create index beckn_orders_open on public.beckn_orders (bpp_id, bap_id) where state in ('SCHEDULED', 'DEFERRED', 'RUNNING');
create index beckn_orders_cancelled on public.beckn_orders (bpp_id, bap_id, updated_at) where state = 'CANCELLED';
create index beckn_quotes_buyer on public.beckn_quotes (bpp_id, bap_id, expires_at);

-- One set of columns and words for all queues of work, and attempts that a lost lease ended told apart from those that the
-- work itself made fail. The notifications keep what programs of version 1 read of them, and say under the name that others
-- ask for whether nothing is left to do.
drop index public.workload_notifications_due, public.workload_notifications_leased, public.workload_notifications_dead,
    public.workload_notifications_finished, public.workload_notifications_open;
alter table public.workload_notifications drop constraint workload_notifications_state_check;
alter table public.workload_notifications rename column state to work_state;
alter table public.workload_notifications rename column run_at to scheduled_at;
alter table public.workload_notifications rename column attempts to attempt;
alter table public.workload_notifications rename column lease_until to leased_until;
alter table public.workload_notifications
    alter column work_state set default 'available',
    add column lost_leases integer not null default 0,
    add column fairness_key text not null default '',
    add column turn bigint not null default 0;
update public.workload_notifications n
set work_state = case n.work_state
        when 'leased' then 'running'
        when 'done' then 'completed'
        when 'dead' then 'discarded'
        else case when n.scheduled_at > clock_timestamp() then 'retryable' else 'available' end end,
    fairness_key = coalesce(w.operator, '')
from public.compute_workloads w
where w.job_id = n.job_id;
update public.workload_notifications n
set turn = placed.turn
from (
    select o.notification_id, row_number() over (partition by o.fairness_key order by o.notification_id) as turn
    from public.workload_notifications o
    where o.work_state in ('available', 'running', 'retryable')) as placed
where n.notification_id = placed.notification_id;
alter table public.workload_notifications
    add constraint workload_notifications_work_state_check
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    add column processed boolean generated always as (work_state = 'completed') stored,
    add column state text generated always as (
        case work_state
            when 'running' then 'leased' when 'completed' then 'done' when 'discarded' then 'dead' else 'ready' end) stored,
    add column attempts integer generated always as (attempt) stored;
create index workload_notifications_due on public.workload_notifications (turn, notification_id)
    where work_state = 'available';
create index workload_notifications_retryable on public.workload_notifications (scheduled_at)
    where work_state = 'retryable';
create index workload_notifications_running on public.workload_notifications (turn) where work_state = 'running';
create index workload_notifications_turns on public.workload_notifications (fairness_key, turn)
    where work_state in ('available', 'running', 'retryable');
create index workload_notifications_discarded on public.workload_notifications (notification_id)
    where work_state = 'discarded';
create index workload_notifications_finished on public.workload_notifications (finished_at)
    where work_state = 'completed';
create unique index workload_notifications_open on public.workload_notifications (job_id)
    where work_state <> 'completed';

drop index public.beckn_inbox_open, public.beckn_inbox_order, public.beckn_inbox_dead, public.beckn_inbox_finished;
alter table public.beckn_inbox drop constraint beckn_inbox_state_check;
alter table public.beckn_inbox rename column state to work_state;
alter table public.beckn_inbox rename column due_at to scheduled_at;
alter table public.beckn_inbox rename column attempts to attempt;
alter table public.beckn_inbox
    alter column work_state set default 'available',
    add column lost_leases integer not null default 0,
    add column leased_until timestamptz;
update public.beckn_inbox
set leased_until = case when work_state = 'leased' then scheduled_at end,
    work_state = case work_state
        when 'leased' then 'running'
        when 'done' then 'completed'
        when 'dead' then 'discarded'
        else case when scheduled_at > clock_timestamp() then 'retryable' else 'available' end end;
alter table public.beckn_inbox
    add constraint beckn_inbox_work_state_check
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    add constraint beckn_inbox_check check (body is not null or work_state in ('completed', 'discarded'));
create index beckn_inbox_retryable on public.beckn_inbox (recipient, scheduled_at) where work_state = 'retryable';
create index beckn_inbox_order on public.beckn_inbox (transaction_id, recipient, sender, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index beckn_inbox_discarded on public.beckn_inbox (inbox_id) where work_state = 'discarded';
create index beckn_inbox_finished on public.beckn_inbox (finished_at)
    where work_state in ('completed', 'discarded');
create index beckn_inbox_turns on public.beckn_inbox (recipient, sender, turn, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index beckn_inbox_running on public.beckn_inbox (recipient, turn) where work_state = 'running';
create index beckn_inbox_expiring on public.beckn_inbox (recipient, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index beckn_inbox_bodies on public.beckn_inbox (recipient, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

drop index public.beckn_outbox_open, public.beckn_outbox_order, public.beckn_outbox_busy, public.beckn_outbox_dead,
    public.beckn_outbox_finished;
alter table public.beckn_outbox drop constraint beckn_outbox_state_check;
alter table public.beckn_outbox rename column state to work_state;
alter table public.beckn_outbox rename column due_at to scheduled_at;
alter table public.beckn_outbox rename column attempts to attempt;
alter table public.beckn_outbox
    alter column work_state set default 'available',
    add column max_attempts integer,
    add column lost_leases integer not null default 0,
    add column leased_until timestamptz;
update public.beckn_outbox
set leased_until = case when work_state = 'leased' then scheduled_at end,
    work_state = case work_state
        when 'leased' then 'running'
        when 'delivered' then 'completed'
        when 'dead' then 'discarded'
        else case when scheduled_at > clock_timestamp() then 'retryable' else 'available' end end;
alter table public.beckn_outbox
    add constraint beckn_outbox_work_state_check
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    add constraint beckn_outbox_check check (body is not null or work_state in ('completed', 'discarded'));
create index beckn_outbox_retryable on public.beckn_outbox (sender, scheduled_at) where work_state = 'retryable';
create index beckn_outbox_order on public.beckn_outbox (transaction_id, sender, origin, recipient, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index beckn_outbox_discarded on public.beckn_outbox (outbox_id) where work_state = 'discarded';
create index beckn_outbox_finished on public.beckn_outbox (finished_at)
    where work_state in ('completed', 'discarded');
create index beckn_outbox_turns on public.beckn_outbox (sender, recipient, turn, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index beckn_outbox_origins on public.beckn_outbox (sender, origin, recipient, turn)
    where work_state in ('available', 'running', 'retryable');
create index beckn_outbox_running on public.beckn_outbox (sender, turn) where work_state = 'running';
create index beckn_outbox_expiring on public.beckn_outbox (sender, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index beckn_outbox_bodies on public.beckn_outbox (sender, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

drop index public.beckn_orders_due;
alter table public.beckn_orders rename column due_at to scheduled_at;
alter table public.beckn_orders
    add column work_state text not null default 'available',
    add column attempt integer not null default 0,
    add column max_attempts integer,
    add column lost_leases integer not null default 0,
    add column leased_until timestamptz,
    add column last_error text,
    add column finished_at timestamptz;
update public.beckn_orders
set work_state = case
        when scheduled_at is null then 'completed'
        when lease_token is not null then 'running'
        else 'available' end,
    leased_until = case when lease_token is not null then scheduled_at end,
    finished_at = case when scheduled_at is null then updated_at end,
    scheduled_at = coalesce(scheduled_at, updated_at);
alter table public.beckn_orders
    alter column scheduled_at set not null,
    add constraint beckn_orders_work_state_check
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded'));
create index beckn_orders_due on public.beckn_orders (bpp_id, scheduled_at)
    where work_state in ('available', 'running', 'retryable');

alter table public.pipeline_runs rename column owner to leased_by;
alter table public.pipeline_runs rename column lease_until to leased_until;
alter table public.pipeline_runs rename column attempts to attempt;
alter table public.pipeline_runs rename column error to last_error;
alter table public.pipeline_runs
    alter column leased_by drop not null,
    alter column lease_token drop not null,
    alter column leased_until drop not null,
    alter column attempt set default 0,
    add column work_state text not null default 'available',
    add column scheduled_at timestamptz not null default clock_timestamp(),
    add column max_attempts integer,
    add column lost_leases integer not null default 0;
update public.pipeline_runs
set work_state = case state when 'running' then 'running' when 'failed' then 'retryable' else 'completed' end,
    scheduled_at = started_at;
alter table public.pipeline_runs
    add constraint pipeline_runs_work_state_check
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded'));

-- An output is kept as the text that was published, its keys in their order. Those of before have lost it; what they
-- begin with is put in order. A change of type takes no subquery, hence the function.
create function pg_temp.output_in_order(p_output jsonb)
returns json
language sql
immutable
as $$
    select coalesce(
        ('{' || string_agg(
            to_json(part.key)::text || ':' || part.value::text,
            ',' order by
                array_position(array['data_centre_options', 'task', 'decision', '_metadata'], part.key), part.place)
            || '}')::json,
        p_output::json)
    from jsonb_each(case jsonb_typeof(p_output) when 'object' then p_output else '{}' end)
        with ordinality as part (key, value, place)
$$;
alter table public.orchestration_decisions
    alter column output type json using pg_temp.output_in_order(output);
drop function pg_temp.output_in_order(jsonb);
$statements$;
        insert into public.schema_version (version, compatible_from) values (2, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 2 then
        execute $statements$
-- Every private row says whose it is: "tenant", the stated operator, else "local"; of what the platform itself runs or a
-- stranger bought, "platform". A child has the tenant of its workload or agent, and the keys that bind them hold both.
-- Columns are filled by a change of type, which rewrites a table and fires no trigger: no row looks changed, and the audit
-- log, which refuses changes, takes it. A change of type takes no subquery, hence the functions.

-- Policies are made anew at the end of the second file; until then nothing may depend on the columns that change.
do $policies$
declare
    policy record;
begin
    for policy in
        select p.tablename, p.policyname
        from pg_catalog.pg_policies p
        where p.schemaname = 'public' and p.policyname in ('tenant_select', 'tenant_insert', 'tenant_update', 'service_all')
    loop
        execute format('drop policy %I on public.%I', policy.policyname, policy.tablename);
    end loop;
end
$policies$;

-- What strangers bought through the platform is the platform's.
create function pg_temp.stated_operator(p_job_id text, p_operator text)
returns text
language sql
stable
as $$
    select case
        when p_operator is null and exists (select from public.beckn_orders o where o.job_id = p_job_id) then 'platform'
        else p_operator end
$$;
do $bought$
begin
    if exists (
        select from public.beckn_orders o join public.compute_workloads w on w.job_id = o.job_id where w.operator is null)
    then
        insert into public.operators (operator_id, name) values ('platform', 'The platform')
        on conflict (operator_id) do nothing;
        alter table public.compute_workloads
            alter column operator type text using pg_temp.stated_operator(job_id, operator);
    end if;
end
$bought$;
drop function pg_temp.stated_operator(text, text);

alter table public.data_centres
    add column tenant text not null generated always as (coalesce(operator, 'local')) stored;
create index data_centres_tenant on public.data_centres (tenant, dc_id);
alter table public.storage_assets
    add column tenant text not null generated always as (coalesce(operator, 'local')) stored;
create index storage_assets_tenant on public.storage_assets (tenant, asset_id);
alter table public.agents
    add column tenant text not null generated always as (coalesce(operator, 'platform')) stored,
    add constraint agents_tenant_agent_id_key unique (tenant, agent_id);

-- With the primary key of workloads go the foreign keys that lead to it, and come back with the tenant.
alter table public.compute_workloads
    add column tenant text not null generated always as (coalesce(operator, 'local')) stored;
alter table public.compute_workloads
    drop constraint compute_workloads_pkey cascade,
    add constraint compute_workloads_pkey primary key (tenant, job_id);
create index compute_workloads_job on public.compute_workloads (job_id);
create index compute_workloads_tenant_newest on public.compute_workloads (tenant, created_at desc, job_id desc);
create index compute_workloads_tenant_open on public.compute_workloads (tenant, created_at desc, job_id desc)
    where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index compute_workloads_tenant_status on public.compute_workloads (tenant, status, created_at desc, job_id desc);

create function pg_temp.tenant_of_workload(p_job_id text)
returns text
language sql
stable
as $$
    select w.tenant from public.compute_workloads w where w.job_id = p_job_id
$$;

alter table public.workload_notifications add column tenant text;
alter table public.workload_notifications alter column tenant type text using pg_temp.tenant_of_workload(job_id);
alter table public.workload_notifications
    alter column tenant set not null,
    add constraint workload_notifications_tenant_job_id_fkey
        foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade;
alter table public.workload_notifications alter column fairness_key type text using tenant;
drop index public.workload_notifications_job;
create index workload_notifications_job on public.workload_notifications (tenant, job_id);
drop index public.workload_notifications_open;
create unique index workload_notifications_open on public.workload_notifications (tenant, job_id)
    where work_state <> 'completed';

alter table public.workload_reconsiderations add column tenant text;
alter table public.workload_reconsiderations alter column tenant type text using pg_temp.tenant_of_workload(job_id);
alter table public.workload_reconsiderations
    alter column tenant set not null,
    drop constraint workload_reconsiderations_pkey,
    add constraint workload_reconsiderations_pkey primary key (tenant, job_id),
    add constraint workload_reconsiderations_tenant_job_id_fkey
        foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade;

alter table public.processed_contexts add column tenant text;
alter table public.processed_contexts alter column tenant type text using pg_temp.tenant_of_workload(job_id);
alter table public.processed_contexts
    alter column tenant set not null,
    drop constraint processed_contexts_pkey,
    add constraint processed_contexts_pkey primary key (tenant, consumer, job_id),
    add constraint processed_contexts_tenant_job_id_fkey
        foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade;
drop index public.processed_contexts_job;
create index processed_contexts_job on public.processed_contexts (tenant, job_id);

alter table public.output_consumers
    add column tenant text not null default 'local',
    add column tenant_acknowledged int8multirange not null default '{}',
    drop constraint output_consumers_pkey,
    add constraint output_consumers_pkey primary key (tenant, consumer);

-- Decisions and events are numbered anew for each tenant, in the order of the numbers that they have.
create temporary table pylon_numbers on commit drop as
select
    numbered.sequence, w.tenant,
    row_number() over (partition by w.tenant order by numbered.sequence) as tenant_sequence
from (
    select d.sequence, d.job_id from public.orchestration_decisions d where d.sequence is not null
    union
    select b.sequence, b.job_id from public.broadcast_log b) as numbered
join public.compute_workloads w on w.job_id = numbered.job_id;
create index pylon_numbers_sequence on pg_temp.pylon_numbers (sequence);
analyze pg_temp.pylon_numbers;

create function pg_temp.tenant_sequence_of(p_sequence bigint)
returns bigint
language sql
stable
as $$
    select n.tenant_sequence from pg_temp.pylon_numbers n where n.sequence = p_sequence
$$;
create function pg_temp.tenant_of_event(p_sequence bigint)
returns text
language sql
stable
as $$
    select n.tenant from pg_temp.pylon_numbers n where n.sequence = p_sequence
$$;

alter table public.orchestration_decisions add column tenant text, add column tenant_sequence bigint;
alter table public.orchestration_decisions
    alter column tenant type text using pg_temp.tenant_of_workload(job_id),
    alter column tenant_sequence type bigint using pg_temp.tenant_sequence_of(sequence);
alter table public.orchestration_decisions
    alter column tenant set not null,
    add constraint orchestration_decisions_tenant_sequence_check check (tenant_sequence > 0),
    add constraint orchestration_decisions_tenant_tenant_sequence_key unique (tenant, tenant_sequence),
    add constraint orchestration_decisions_tenant_job_id_fkey
        foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id);
create index orchestration_decisions_tenant_newest on public.orchestration_decisions (tenant, decided_at desc);
create index orchestration_decisions_tenant_job on public.orchestration_decisions (tenant, job_id, decided_at desc);
create index orchestration_decisions_tenant_id on public.orchestration_decisions (tenant, decision_id);

alter table public.broadcast_log add column tenant text, add column tenant_sequence bigint;
alter table public.broadcast_log
    alter column tenant type text using pg_temp.tenant_of_event(sequence),
    alter column tenant_sequence type bigint using pg_temp.tenant_sequence_of(sequence);
alter table public.broadcast_log
    add constraint broadcast_log_tenant_sequence_check check (tenant_sequence > 0),
    add constraint broadcast_log_tenant_tenant_sequence_key unique (tenant, tenant_sequence);

alter table public.agent_states
    drop constraint agent_states_agent_id_fkey,
    add column tenant text,
    add column tenant_state_id bigint;
create function pg_temp.tenant_of_agent(p_agent_id text)
returns text
language sql
stable
as $$
    select a.tenant from public.agents a where a.agent_id = p_agent_id
$$;
create temporary table pylon_states on commit drop as
select s.state_id, row_number() over (partition by a.tenant order by s.state_id) as tenant_state_id
from public.agent_states s
join public.agents a on a.agent_id = s.agent_id;
create index pylon_states_state_id on pg_temp.pylon_states (state_id);
create function pg_temp.tenant_state_of(p_state_id bigint)
returns bigint
language sql
stable
as $$
    select s.tenant_state_id from pg_temp.pylon_states s where s.state_id = p_state_id
$$;
alter table public.agent_states
    alter column tenant type text using pg_temp.tenant_of_agent(agent_id),
    alter column tenant_state_id type bigint using pg_temp.tenant_state_of(state_id);
alter table public.agent_states
    alter column tenant set not null,
    add constraint agent_states_tenant_tenant_state_id_key unique (tenant, tenant_state_id),
    add constraint agent_states_tenant_agent_id_fkey
        foreign key (tenant, agent_id) references public.agents (tenant, agent_id) on delete cascade;
create index agent_states_tenant on public.agent_states (tenant, observed_at desc, state_id desc);

create table public.tenant_numbers (
    tenant text primary key,
    newest bigint not null default 0 check (newest >= 0),
    newest_state bigint not null default 0 check (newest_state >= 0)
) with (fillfactor = 10);
insert into public.tenant_numbers (tenant, newest, newest_state)
select
    tenants.tenant,
    coalesce((select max(n.tenant_sequence) from pg_temp.pylon_numbers n where n.tenant = tenants.tenant), 0),
    coalesce((select max(s.tenant_state_id) from public.agent_states s where s.tenant = tenants.tenant), 0)
from (
    select n.tenant from pg_temp.pylon_numbers n
    union
    select s.tenant from public.agent_states s) as tenants;

-- A purchase has two sides.
create function pg_temp.tenant_of_data_centre(p_dc_id text)
returns text
language sql
stable
as $$
    select d.tenant from public.data_centres d where d.dc_id = p_dc_id
$$;
alter table public.beckn_quotes
    add column buyer_operator text not null default 'platform',
    add column seller_operator text;
alter table public.beckn_quotes
    alter column buyer_operator drop default,
    alter column seller_operator type text using pg_temp.tenant_of_data_centre(dc_id);
alter table public.beckn_quotes alter column seller_operator set not null;
create index beckn_quotes_buyer_operator on public.beckn_quotes (buyer_operator, created_at desc);
create index beckn_quotes_seller_operator on public.beckn_quotes (seller_operator, created_at desc);
alter table public.beckn_orders
    add column buyer_operator text,
    add column seller_operator text;
alter table public.beckn_orders
    alter column buyer_operator type text using pg_temp.tenant_of_workload(job_id),
    alter column seller_operator type text using pg_temp.tenant_of_data_centre(dc_id);
alter table public.beckn_orders
    alter column buyer_operator set not null,
    alter column seller_operator set not null,
    drop constraint beckn_orders_job_id_key,
    add constraint beckn_orders_buyer_operator_job_id_key unique (buyer_operator, job_id),
    add constraint beckn_orders_buyer_operator_job_id_fkey
        foreign key (buyer_operator, job_id) references public.compute_workloads (tenant, job_id);
create index beckn_orders_buyer_operator on public.beckn_orders (buyer_operator, created_at desc);
create index beckn_orders_seller_operator on public.beckn_orders (seller_operator, created_at desc);
alter table public.beckn_subscribers add column operator text references public.operators;
create index beckn_subscribers_operator on public.beckn_subscribers (operator) where operator is not null;

drop function pg_temp.tenant_of_workload(text);
drop function pg_temp.tenant_sequence_of(bigint);
drop function pg_temp.tenant_of_event(bigint);
drop function pg_temp.tenant_of_agent(text);
drop function pg_temp.tenant_state_of(bigint);
drop function pg_temp.tenant_of_data_centre(text);

-- The decisions of before are chained in the order they were published in, like new ones (`decision_hash`): by these
-- statements of its kind at this version. Nothing after this may change what is hashed.
alter table public.orchestration_decisions
    add column chain_position bigint,
    add column previous_hash text,
    add column chain_hash text;
create function pg_temp.decision_hash(d public.orchestration_decisions)
returns text
language sql
stable
as $$
    select encode(sha256(convert_to(
        E'pylon decision 1\n' || string_agg(
            named.name || '=' || coalesce(octet_length(convert_to(named.value, 'UTF8')) || ':' || named.value, '-') || E'\n',
            '' order by named.place),
        'UTF8')), 'hex')
    from unnest(
        array[
            'chain_position', 'previous_hash', 'tenant', 'tenant_sequence', 'sequence', 'decision_id',
            'notification_id', 'job_id', 'agent_id', 'chosen_dc_id', 'recommended_start',
            'scorer', 'model', 'scorer_version', 'fallback_reason', 'reasoning', 'constraints_evaluated',
            'alternatives_considered', 'context', 'output', 'token_usage', 'decided_at', 'grid_digest'],
        array[
            d.chain_position::text, d.previous_hash, d.tenant, d.tenant_sequence::text, d.sequence::text, d.decision_id::text,
            d.notification_id::text, d.job_id, d.agent_id, d.chosen_dc_id, extract(epoch from d.recommended_start)::text,
            d.scorer, d.model, d.scorer_version, d.fallback_reason, d.reasoning, d.constraints_evaluated::text,
            d.alternatives_considered::text, d.context::text, d.output::text, d.token_usage::text,
            extract(epoch from d.decided_at)::text, d.grid_digest]) with ordinality as named (name, value, place)
$$;
create temporary table pylon_chain (
    decision_id uuid primary key,
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null
) on commit drop;
do $chain$
declare
    link record;
    decision public.orchestration_decisions;
    hash text;
begin
    for link in
        select
            d.decision_id,
            row_number() over (
                partition by d.tenant order by d.sequence nulls first, d.decided_at, d.decision_id) as place
        from public.orchestration_decisions d
        order by d.tenant, place
    loop
        select * into strict decision from public.orchestration_decisions d where d.decision_id = link.decision_id;
        decision.chain_position := link.place;
        decision.previous_hash := case when link.place > 1 then hash end;
        hash := pg_temp.decision_hash(decision);
        insert into pg_temp.pylon_chain
        values (decision.decision_id, decision.chain_position, decision.previous_hash, hash);
    end loop;
end
$chain$;
create function pg_temp.chain_position_of(p_decision_id uuid)
returns bigint
language sql
stable
as $$
    select c.chain_position from pg_temp.pylon_chain c where c.decision_id = p_decision_id
$$;
create function pg_temp.previous_hash_of(p_decision_id uuid)
returns text
language sql
stable
as $$
    select c.previous_hash from pg_temp.pylon_chain c where c.decision_id = p_decision_id
$$;
create function pg_temp.chain_hash_of(p_decision_id uuid)
returns text
language sql
stable
as $$
    select c.chain_hash from pg_temp.pylon_chain c where c.decision_id = p_decision_id
$$;
alter table public.orchestration_decisions
    alter column chain_position type bigint using pg_temp.chain_position_of(decision_id),
    alter column previous_hash type text using pg_temp.previous_hash_of(decision_id),
    alter column chain_hash type text using pg_temp.chain_hash_of(decision_id);
alter table public.orchestration_decisions
    alter column chain_position set not null,
    alter column chain_hash set not null,
    add constraint orchestration_decisions_tenant_chain_position_key unique (tenant, chain_position);
drop function pg_temp.decision_hash(public.orchestration_decisions);
drop function pg_temp.chain_position_of(uuid);
drop function pg_temp.previous_hash_of(uuid);
drop function pg_temp.chain_hash_of(uuid);
$statements$;
        insert into public.schema_version (version, compatible_from) values (3, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 3 then
        execute $statements$
-- Every promise of power is a booking, and what bookings hold of a data centre in a half-hour is summed up as they come and
-- go. The orders that are open hold theirs from now on.
create table public.capacity_bookings (
    booking_id bigint generated always as identity primary key,
    dc_id text not null references public.data_centres,
    tenant text not null,
    job_id text not null,
    source text not null check (source in ('decision', 'beckn_order', 'flexibility', 'negotiation')),
    notification_id bigint,
    order_id uuid references public.beckn_orders on delete cascade,
    state text not null default 'HELD' check (state in ('HELD', 'RUNNING', 'ENDED', 'RELEASED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw numeric(16, 6) not null check (it_power_kw >= 0),
    reason text,
    run_now jsonb,
    carried_out_by text not null check (carried_out_by in ('simulation', 'runner', 'order')),
    started_at timestamptz,
    ended_at timestamptz,
    cancel_requested_at timestamptz,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    check (starts_at < ends_at),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create unique index capacity_bookings_open on public.capacity_bookings (tenant, job_id)
    where state in ('HELD', 'RUNNING');
create unique index capacity_bookings_order on public.capacity_bookings (order_id) where order_id is not null;

create table public.held_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    held_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- Orders of years that no booking can be of were never to be carried out.
insert into public.capacity_bookings (
    dc_id, tenant, job_id, source, order_id, state, starts_at, ends_at, it_power_kw, carried_out_by, started_at,
    work_state, scheduled_at, created_at, updated_at)
select
    o.dc_id, o.buyer_operator, o.job_id, 'beckn_order', o.order_id,
    case o.state when 'RUNNING' then 'RUNNING' else 'HELD' end,
    o.starts_at, o.ends_at, o.it_power_kw, 'order', w.actual_start, 'completed', o.starts_at, o.created_at, o.updated_at
from public.beckn_orders o
join public.compute_workloads w on (w.tenant, w.job_id) = (o.buyer_operator, o.job_id)
where o.state in ('SCHEDULED', 'DEFERRED', 'RUNNING')
    and o.starts_at >= timestamptz '2000-01-01 00:00:00+00' and o.ends_at < timestamptz '2200-01-01 00:00:00+00'
    and o.ends_at < o.starts_at + interval '1 year';
insert into public.held_power (dc_id, half_hour, held_kw)
select b.dc_id, touched.half_hour, sum(b.it_power_kw)
from public.capacity_bookings b
cross join lateral generate_series(
    date_bin('30 minutes', b.starts_at, '2000-01-01 00:00:00+00'), b.ends_at - interval '1 microsecond',
    interval '30 minutes') as touched (half_hour)
group by b.dc_id, touched.half_hour;

-- What others than its bookings draw of a data centre, and who runs what is booked there.
alter table public.data_centres
    add column base_load_percentage double precision check (base_load_percentage between 0 and 100),
    add column execution text not null default 'simulated' check (execution in ('simulated', 'runner'));
-- What a runner is to run: {"template", "parameters"}.
alter table public.compute_workloads add column run jsonb;
$statements$;
        insert into public.schema_version (version, compatible_from) values (4, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 4 then
        execute $statements$
-- What each run used by the half-hour, what it came to and what it would have come to without a decision, and the history
-- of the data centres' loads. What ran before is not metered.
-- What a run used in one half-hour, to the thousandth of a watt-hour. Written once, like the decisions: a correction is a further revision
-- of the same half-hour, and the newest counts. Only record_readings writes here. None is ever pruned.
create table public.meter_readings (
    -- No number: that would tell every tenant how much the others run.
    reading_id uuid primary key default gen_random_uuid(),
    -- No foreign key: it stays for as long as its workload, and that for as long as it has readings.
    booking_id bigint not null,
    dc_id text not null references public.data_centres,
    tenant text not null,
    job_id text not null,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    it_energy_wh numeric(18, 3) not null check (it_energy_wh >= 0),
    site_energy_wh numeric(18, 3) not null,
    source text not null check (source in ('simulated', 'rapl', 'power_x_time', 'reported')),
    revision integer not null check (revision > 0),
    recorded_at timestamptz not null default clock_timestamp(),
    check (site_energy_wh >= it_energy_wh),
    unique (booking_id, half_hour, revision),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index meter_readings_data_centre on public.meter_readings (dc_id, half_hour);
create index meter_readings_workload on public.meter_readings (tenant, job_id);
create index meter_readings_tenant_id on public.meter_readings (tenant, reading_id);
create index meter_readings_job on public.meter_readings (job_id);

-- The history of a data centre's load: what others drew, as the pipeline's run of the half-hour found it (null: there was
-- none), and what runs of ours used, which a trigger sums up from the readings.
create table public.data_centre_loads (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    total_capacity_mw double precision,
    base_load_percentage double precision check (base_load_percentage between 0 and 100),
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index data_centre_loads_half_hour on public.data_centre_loads (half_hour);

-- What each run came to, and what it would have come to without a decision. account_runs works it out, at the end of the
-- run and again as the grid's actual figures come, until settled_at.
create table public.run_accounts (
    booking_id bigint primary key references public.capacity_bookings on delete cascade,
    tenant text not null,
    job_id text not null,
    dc_id text not null references public.data_centres,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    -- Null: unknown for one of its half-hours. So are the others below.
    carbon_gco2 double precision,
    cost_gbp double precision,
    -- The counterfactual: the same run moved to run_now_starts_at at run_now_dc_id. Null: the decision fixed none.
    run_now_dc_id text,
    run_now_starts_at timestamptz,
    run_now_pue double precision,
    -- Whether there would have been power for it there, beside all counterfactuals that are credited already.
    run_now_fits boolean,
    run_now_site_energy_wh double precision,
    run_now_carbon_gco2 double precision,
    run_now_cost_gbp double precision,
    -- What the decision said of both.
    predicted_carbon_gco2 double precision,
    predicted_cost_gbp double precision,
    predicted_run_now_carbon_gco2 double precision,
    predicted_run_now_cost_gbp double precision,
    basis jsonb not null default '{}',
    revision integer not null default 0,
    accounted_at timestamptz not null,
    settled_at timestamptz,
    check (started_at < ended_at),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70);
create index run_accounts_started on public.run_accounts (started_at);
create index run_accounts_tenant_started on public.run_accounts (tenant, started_at);
create index run_accounts_workload on public.run_accounts (tenant, job_id);
create index run_accounts_data_centre on public.run_accounts (dc_id);
create index run_accounts_unsettled on public.run_accounts (booking_id) where settled_at is null;

-- The power that all credited counterfactuals together would have held: never more than a data centre has, since savings
-- against runs that could not have been all at once would be counted against nothing.
create table public.run_now_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    power_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index run_now_power_half_hour on public.run_now_power (half_hour);

-- What the actual figures rest on, and how often they were revised.
alter table public.compute_workloads add column actuals_basis jsonb;
$statements$;
        insert into public.schema_version (version, compatible_from) values (5, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 5 then
        execute $statements$
-- Machines that run what is booked at a data centre, and what they say of it.
create table public.runners (
    tenant text not null,
    runner_id text not null check (runner_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    dc_id text not null references public.data_centres on delete cascade,
    session uuid not null,
    capacity_kw double precision not null check (capacity_kw > 0 and capacity_kw < 'infinity'),
    templates jsonb not null,
    registered_at timestamptz not null,
    seen_at timestamptz not null,
    primary key (tenant, runner_id)
);
create table public.runs (
    run_id bigint primary key references public.capacity_bookings (booking_id) on delete cascade,
    runner_tenant text not null,
    runner_id text not null,
    fence bigint not null,
    taken_at timestamptz not null,
    began_at timestamptz,
    heard_at timestamptz not null,
    ended text check (ended in ('exited', 'signalled', 'not_started', 'lost')),
    exit_status integer,
    signal integer,
    cause text,
    reason text,
    output_tail text,
    output_bytes bigint,
    run_s double precision check (run_s >= 0 and run_s < 'infinity'),
    energy jsonb not null default '[]',
    ended_at timestamptz
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (6, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 6 then
        execute $statements$
-- The log holds more than decisions: each event has a topic, which follows from its type, what it is about, and a summary.
alter table public.broadcast_log
    add column topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            else 'decisions' end) stored,
    add column subject text,
    add column summary jsonb,
    -- For everybody, and how many such events there had been, itself included: they have a number in every tenant's count.
    add column is_everybodys boolean not null default false,
    add column everybodys bigint not null default 0 check (everybodys >= 0),
    add check (not is_everybodys or tenant is null);
create index broadcast_log_tenant on public.broadcast_log (tenant, sequence);
create index broadcast_log_job on public.broadcast_log (job_id, sequence) where job_id is not null;
create unique index broadcast_log_everybodys on public.broadcast_log (everybodys) where is_everybodys;
alter table public.event_numbers add column everybodys bigint not null default 0 check (everybodys >= 0);
-- How many of everybody's events there had been when "newest" was given.
alter table public.tenant_numbers add column everybodys bigint not null default 0 check (everybodys >= 0);
$statements$;
        insert into public.schema_version (version, compatible_from) values (7, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 7 then
        execute $statements$
-- Bookings and runs are objects that their owners may read, by an identity that does not tell how many others there are.
alter table public.capacity_bookings add column booking_key uuid not null default gen_random_uuid();
create unique index capacity_bookings_key on public.capacity_bookings (booking_key);
alter table public.run_accounts add column booking_key uuid;
update public.run_accounts a set booking_key = b.booking_key
from public.capacity_bookings b where b.booking_id = a.booking_id;
alter table public.run_accounts alter column booking_key set not null;
alter table public.run_accounts add foreign key (booking_key) references public.capacity_bookings (booking_key) on delete cascade;
create unique index run_accounts_key on public.run_accounts (booking_key);
-- What found a workload's bookings now finds them for whoever names only the job as well.
drop index if exists public.capacity_bookings_workload;
drop index if exists public.run_accounts_workload;
$statements$;
        insert into public.schema_version (version, compatible_from) values (8, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 8 then
        execute $statements$
-- The transactions that wrote what decisions are made from. A program that remembers a grid is told by them, without the
-- grid being read, whether it still is the newest.
create table public.grid_changes (
    transaction xid8 primary key default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp()
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (9, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 9 then
        execute $statements$
-- A key that had all that its role may had it because nothing less was asked for, so it has what the role has gained since.
-- Whoever made a key when there was more to give, and left something out, meant it: only keys from before are looked at.
do $keys$
declare
    gain record;
begin
    if to_regclass('tenancy.api_keys') is null then
        return; -- a database from before keys
    end if;
    for gain in
        select had, gained, version
        from (values
            (array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge'], array['runners:run'], 6),
            (array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge', 'runners:run', 'keys:manage'],
                array['members:manage', 'operator:manage', 'audit:read'], 9)
        ) as gains (had, gained, version)
        order by version -- an administrator's key of version 3 gains both
    loop
        with whole as (
            update tenancy.api_keys k
            set scopes = array(select distinct named from unnest(k.scopes || gain.gained) as named order by named)
            where k.revoked_at is null and k.expires_at > clock_timestamp()
                and k.scopes @> gain.had and not k.scopes @> gain.gained
                -- applied_at is null of a version that is only passed through on the way to this one
                and k.created_at < coalesce((
                    select min(v.applied_at) from public.schema_version v where v.version >= gain.version), 'infinity')
            returning k.operator_id, k.key_id
        )
        insert into tenancy.audit_events (operator_id, principal, action, object, outcome, detail)
        select w.operator_id, 'upgrade', 'key.extend', w.key_id, 'allowed', jsonb_build_object('gained', gain.gained)
        from whole as w;
    end loop;
end
$keys$;
$statements$;
        insert into public.schema_version (version, compatible_from) values (10, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 10 then
        execute $statements$
-- Flexibility that is sold to the grid: units, events and their life, what was moved, committed, notified and settled.
alter table public.capacity_bookings alter column job_id drop not null;
alter table public.capacity_bookings add column flexibility_event_id uuid;
alter table public.capacity_bookings drop constraint capacity_bookings_carried_out_by_check;
alter table public.capacity_bookings add constraint capacity_bookings_carried_out_by_check
    check (carried_out_by in ('simulation', 'runner', 'order', 'flexibility'));
alter table public.capacity_bookings add constraint capacity_bookings_job check (job_id is not null or source = 'flexibility');
create index capacity_bookings_flexibility on public.capacity_bookings (flexibility_event_id)
    where flexibility_event_id is not null;

create table public.flexibility_units (
    unit_id text primary key check (unit_id ~ '^V__[A-Z0-9]{1,8}$'),
    tenant text not null,
    gsp_group text not null check (gsp_group ~ '^_[A-P]$'),
    region_id integer not null references public.regions,
    created_at timestamptz not null default clock_timestamp(),
    unique (tenant, gsp_group)
);
create index flexibility_units_region on public.flexibility_units (region_id);

create table public.flexibility_events (
    event_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    -- How it came in, and what the source calls it.
    door text not null check (door in ('dfs', 'beckn', 'openadr', 'manual')),
    source_id text not null check (length(source_id) between 1 and 200),
    -- The rule that it is paid by.
    programme text not null check (programme in ('P415', 'DFS', 'DEG')),
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    ends_at timestamptz not null,
    -- An hour before its first half-hour: from then on nothing about it changes.
    gate_closes_at timestamptz not null,
    -- By half-hour: how much less is to be drawn, and what is paid for it.
    need_mw numeric[] not null,
    price_gbp_per_mwh numeric[] not null,
    penalty_gbp_per_mwh numeric[],
    compensation text not null check (compensation in ('mutualised', 'bilateral')),
    in_day text not null check (in_day in ('additive', 'none')),
    document jsonb not null default '{}',
    state text not null default 'ANNOUNCED'
        check (state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED', 'DECLINED', 'MISSED', 'CANCELLED')),
    state_reason text,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    announced_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp(),
    unique (tenant, door, source_id),
    check (cardinality(need_mw) between 1 and 96 and cardinality(price_gbp_per_mwh) = cardinality(need_mw)),
    check (penalty_gbp_per_mwh is null or cardinality(penalty_gbp_per_mwh) = cardinality(need_mw)),
    check (ends_at = starts_at + cardinality(need_mw) * interval '30 minutes')
) with (fillfactor = 70);
create index flexibility_events_tenant on public.flexibility_events (tenant, starts_at desc, event_id desc);
create index flexibility_events_newest on public.flexibility_events (starts_at desc, event_id desc);
create index flexibility_events_due on public.flexibility_events (scheduled_at)
    where work_state in ('available', 'running', 'retryable');

create table public.flexibility_decisions (
    decision_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    event_id uuid not null references public.flexibility_events,
    from_state text,
    to_state text not null,
    reason text,
    content jsonb not null default '{}',
    decided_at timestamptz not null,
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null,
    unique (tenant, chain_position)
);
create index flexibility_decisions_event on public.flexibility_decisions (event_id, chain_position);

create table public.flexibility_moves (
    event_id uuid not null references public.flexibility_events,
    tenant text not null,
    job_id text not null,
    unit_id text not null references public.flexibility_units,
    from_dc_id text not null references public.data_centres,
    from_starts_at timestamptz not null,
    to_dc_id text not null references public.data_centres,
    to_starts_at timestamptz not null,
    it_power_kw numeric(16, 6) not null,
    keep_gbp numeric not null,
    delta_gbp numeric not null,
    freed_mwh numeric[] not null,
    -- No foreign key: a notification is pruned in time. The decision that moved it has its number.
    notification_id bigint not null,
    primary key (event_id, tenant, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index flexibility_moves_workload on public.flexibility_moves (tenant, job_id);
create index flexibility_moves_job on public.flexibility_moves (job_id);
create index flexibility_moves_unit on public.flexibility_moves (unit_id);
create index flexibility_moves_from on public.flexibility_moves (from_dc_id);
create index flexibility_moves_to on public.flexibility_moves (to_dc_id);

create table public.flexibility_commitments (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    committed_mwh numeric not null check (committed_mwh >= 0),
    primary key (event_id, unit_id, half_hour)
);
create index flexibility_commitments_unit on public.flexibility_commitments (unit_id, half_hour);

create table public.flexibility_baselines (
    event_id uuid not null references public.flexibility_events,
    dc_id text not null references public.data_centres,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    -- BL01 from history; SEV, a submitted expected volume (what was booked), where there is no history.
    method text not null check (method in ('BL01', 'SEV')),
    version text not null,
    days date[] not null,
    wanted_days integer not null,
    unadjusted_mwh numeric not null,
    adjustment_mwh numeric not null,
    baseline_mwh numeric not null,
    in_day text not null,
    primary key (event_id, dc_id, half_hour)
);
create index flexibility_baselines_data_centre on public.flexibility_baselines (dc_id, half_hour);
create index flexibility_baselines_unit on public.flexibility_baselines (unit_id);

create table public.flexibility_notifications (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    kind text not null check (kind in ('WMAN', 'ECVN', 'SEV')),
    tenant text not null,
    volume_mwh numeric,
    sent_at timestamptz not null,
    is_simulated boolean not null default true,
    primary key (event_id, unit_id, half_hour, kind)
);
create index flexibility_notifications_unit on public.flexibility_notifications (unit_id);

create table public.flexibility_settlements (
    event_id uuid not null references public.flexibility_events,
    run integer not null check (run > 0),
    tenant text not null,
    settled_at timestamptz not null,
    received_gbp numeric not null,
    -- By half-hour and site: all that the amounts are worked out from.
    inputs jsonb not null,
    primary key (event_id, run)
);

create table public.flexibility_cashflows (
    event_id uuid not null,
    run integer not null,
    place integer not null check (place > 0),
    tenant text not null,
    kind text not null
        check (kind in ('trade', 'imbalance', 'compensation', 'utilisation', 'delivery', 'penalty')),
    half_hour timestamptz not null,
    payer text not null,
    payee text not null check (payee <> payer),
    amount_gbp numeric not null check (amount_gbp >= 0),
    primary key (event_id, run, place),
    foreign key (event_id, run) references public.flexibility_settlements (event_id, run)
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (11, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 11 then
        execute $statements$
-- What the system price was in every settlement run, how safe the half-hours ahead look, and the Demand Flexibility Service.
create table public.system_price_revisions (
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    revision integer not null check (revision > 0),
    system_price_gbp_mwh numeric not null check (system_price_gbp_mwh between -1e6 and 1e6),
    net_imbalance_volume_mwh numeric check (net_imbalance_volume_mwh between -1e6 and 1e6),
    reserve_scarcity_price_gbp_mwh numeric check (reserve_scarcity_price_gbp_mwh between -1e6 and 1e6),
    derivation_code text check (derivation_code ~ '^[A-Za-z0-9]{1,8}$'),
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null,
    primary key (half_hour, revision)
);
-- The newest of each half-hour that the grid is known of.
create table public.system_prices (
    half_hour timestamptz primary key references public.grid_signals (timestamp) on delete cascade,
    revision integer not null,
    system_price_gbp_mwh numeric not null,
    net_imbalance_volume_mwh numeric,
    reserve_scarcity_price_gbp_mwh numeric,
    derivation_code text,
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

create table public.loss_of_load_forecasts (
    half_hour timestamptz primary key check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    probability numeric not null check (probability between 0 and 1),
    derated_margin_mw numeric not null check (derated_margin_mw between -1e6 and 1e6),
    horizon_hours integer check (horizon_hours >= 0),
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

-- NESO's Demand Flexibility Service. An event's name begins with the delivery year, in which its number is its own.
create table public.dfs_events (
    event_ref text primary key check (event_ref ~ '^[0-9]{4}-[0-9]{1,7}$'),
    event_id integer not null check (event_id > 0),
    direction text not null check (direction in ('Downwards', 'Upwards')),
    tag text not null check (tag in ('Energy', 'System')),
    requirement_type text not null check (requirement_type in ('Live', 'Test')),
    delivery_date date not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    submitted_at timestamptz,
    dispatch_type text,
    participants jsonb,
    requirements_digest text,
    bids_digest text,
    summaries_digest text,
    fetched_at timestamptz not null
);
create index dfs_events_ends on public.dfs_events (ends_at);

create table public.dfs_periods (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    requirement_mw numeric check (requirement_mw between 0 and 1e6),
    guaranteed_price_gbp_mwh numeric check (guaranteed_price_gbp_mwh between -1e6 and 1e6),
    zonal_caps_mw jsonb,
    procured_mw numeric check (procured_mw between 0 and 1e6),
    accepted_cost_gbp numeric check (accepted_cost_gbp between -1e10 and 1e10),
    settled_mw numeric check (settled_mw between -1e6 and 1e6),
    settled_cost_gbp numeric check (settled_cost_gbp between -1e10 and 1e10),
    primary key (event_ref, half_hour)
);

create table public.dfs_bids (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null,
    unit_id text not null,
    bid_number integer not null check (bid_number > 0),
    participant text not null,
    zone integer not null,
    bid_mw numeric not null check (bid_mw between 0 and 1e6),
    price_gbp_mwh numeric not null check (price_gbp_mwh between -1e6 and 1e6),
    status text not null check (status in ('Accepted', 'Rejected')),
    primary key (event_ref, half_hour, unit_id, bid_number)
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (12, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 12 then
        execute $statements$
-- What a buyer's platform confirmed over Beckn of flexibility, the event that came of it, and how far its buyer was told.
create table public.beckn_flexibility_contracts (
    contract_id uuid primary key,
    tenant text not null,
    event_id uuid not null unique references public.flexibility_events,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    context jsonb not null,
    need jsonb not null,
    told bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    unique (bpp_id, bap_id, transaction_id)
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (13, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 13 then
        execute $statements$
-- What a kilowatt is worth in each half-hour by the joint plan of the work that can still be placed: one row for a pipeline run,
-- made anew as decisions are made. gbp_per_kw: {dc_id: [[i, £]…]}, from the i-th half-hour on; one that is not named is worth 0.
create table public.capacity_prices (
    slot timestamptz primary key references public.pipeline_runs on delete cascade,
    planned_at timestamptz not null,
    newest_event bigint not null, -- when it was planned: with another there may be other work
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    half_hours integer not null check (half_hours between 1 and 1000),
    workloads integer not null check (workloads >= 0),
    left_out integer not null check (left_out between 0 and workloads),
    method text not null check (method in ('each_alone', 'exact', 'search')),
    gbp_per_kw jsonb not null
);
$statements$;
        insert into public.schema_version (version, compatible_from) values (14, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 14 then
        execute $statements$
-- Negotiations over a shared limit of power: who takes part, what was said, awarded and paid, and the power held for it.
alter table public.capacity_bookings add column negotiation_id uuid;
alter table public.capacity_bookings drop constraint capacity_bookings_carried_out_by_check;
alter table public.capacity_bookings add constraint capacity_bookings_carried_out_by_check
    check (carried_out_by in ('simulation', 'runner', 'order', 'flexibility', 'negotiation'));
alter table public.capacity_bookings drop constraint capacity_bookings_job;
alter table public.capacity_bookings add constraint capacity_bookings_job
    check (job_id is not null or source in ('flexibility', 'negotiation'));
create index capacity_bookings_negotiation on public.capacity_bookings (negotiation_id)
    where negotiation_id is not null;

-- A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when the next step is due.
create table public.negotiations (
    negotiation_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    name text not null check (length(name) between 1 and 200),
    started_by text not null check (started_by in ('hand', 'region_limit', 'flexibility_need', 'contention')),
    -- The limit that it is about, of which one negotiation at a time is open; null of one by hand.
    limit_key text check (length(limit_key) between 1 and 200),
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    half_hours integer not null check (half_hours between 1 and 96),
    -- How long an agent outside has to answer.
    round_seconds integer not null check (round_seconds between 1 and 600),
    most_rounds integer not null check (most_rounds between 1 and 40),
    -- By then it is awarded, or over.
    closes_at timestamptz not null,
    document jsonb not null default '{}',
    state text not null default 'OPEN'
        check (state in ('OPEN', 'ROUND', 'AWARDED', 'CONFIRMED', 'SETTLED', 'FALLBACK', 'EXPIRED', 'CANCELLED')),
    state_reason text,
    round integer not null default 0 check (round >= 0),
    award_number integer not null default 0 check (award_number >= 0),
    answer_by timestamptz,
    outcome jsonb,
    -- Counts every step and every message, so that no step is made without knowing what was said before it.
    version bigint not null default 0,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    opened_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp(),
    unique (tenant, name)
) with (fillfactor = 70);
create index negotiations_tenant on public.negotiations (tenant, opened_at desc, negotiation_id desc);
create index negotiations_newest on public.negotiations (opened_at desc, negotiation_id desc);
create index negotiations_due on public.negotiations (scheduled_at)
    where work_state in ('available', 'running', 'retryable');
create unique index negotiations_limit on public.negotiations (limit_key)
    where limit_key is not null and state in ('OPEN', 'ROUND', 'AWARDED');

-- Who takes part, with what it has of the limit, and within what its proposals must stay. What an agent of the platform's own
-- program is to do is declared; an agent outside says it itself.
create table public.negotiation_agents (
    negotiation_id uuid not null references public.negotiations,
    agent text not null check (agent ~ '^[A-Za-z0-9._:-]{1,64}$'),
    tenant text not null,
    opened_by text not null,
    kind text not null check (kind in ('compute', 'storage', 'buyer', 'outside')),
    -- Where its award holds power; null: nowhere.
    dc_id text references public.data_centres,
    endowment_mw double precision[] not null,
    least_mw double precision[] not null,
    most_mw double precision[] not null,
    declared jsonb not null default '{}',
    state text not null default 'INVITED'
        check (state in ('INVITED', 'JOINED', 'PROPOSED', 'SILENT', 'AWARDED', 'CONFIRMED', 'BREACHED', 'LEFT')),
    primary key (negotiation_id, agent)
) with (fillfactor = 80);
create index negotiation_agents_tenant on public.negotiation_agents (tenant, negotiation_id);
create index negotiation_agents_opened_by on public.negotiation_agents (opened_by);
create index negotiation_agents_data_centre on public.negotiation_agents (dc_id);

-- What was said, by FIPA's words. A call for proposals is the coordinator's to one agent.
create table public.negotiation_messages (
    message_number bigint generated always as identity primary key,
    negotiation_id uuid not null,
    agent text not null,
    tenant text not null,
    round integer not null check (round >= 0),
    sender text not null check (sender in ('agent', 'coordinator')),
    performative text not null check (performative in (
        'cfp', 'propose', 'refuse', 'accept-proposal', 'reject-proposal', 'confirm', 'failure', 'cancel', 'inform')),
    -- The sender's own name for it: what bears one that is known changes nothing.
    message_id text not null check (length(message_id) between 1 and 200),
    body jsonb not null,
    received_at timestamptz not null,
    unique (negotiation_id, agent, sender, message_id),
    foreign key (negotiation_id, agent) references public.negotiation_agents (negotiation_id, agent)
);
create index negotiation_messages_tenant on public.negotiation_messages (tenant, negotiation_id);

-- What each agent is to draw, what that costs it, and what it pays (below 0: is paid). The newest award counts.
create table public.negotiation_awards (
    negotiation_id uuid not null,
    award_number integer not null check (award_number > 0),
    agent text not null,
    tenant text not null,
    opened_by text not null,
    award_id uuid not null,
    draw_mw double precision[] not null,
    cost_gbp double precision not null,
    fallback_gbp double precision not null,
    pays_gbp numeric not null,
    awarded_at timestamptz not null,
    primary key (negotiation_id, award_number, agent),
    foreign key (negotiation_id, agent) references public.negotiation_agents (negotiation_id, agent)
);
create index negotiation_awards_agent on public.negotiation_awards (negotiation_id, agent);
create index negotiation_awards_tenant on public.negotiation_awards (tenant);
create index negotiation_awards_opened_by on public.negotiation_awards (opened_by);

-- Who pays whom for an award.
create table public.negotiation_payments (
    negotiation_id uuid not null,
    award_number integer not null check (award_number > 0),
    payer text not null,
    payee text not null check (payee <> payer),
    payer_tenant text not null,
    payee_tenant text not null,
    opened_by text not null,
    amount_gbp numeric not null check (amount_gbp > 0),
    primary key (negotiation_id, award_number, payer, payee),
    foreign key (negotiation_id, payer) references public.negotiation_agents (negotiation_id, agent),
    foreign key (negotiation_id, payee) references public.negotiation_agents (negotiation_id, agent)
);
create index negotiation_payments_payer on public.negotiation_payments (negotiation_id, payer);
create index negotiation_payments_payee on public.negotiation_payments (negotiation_id, payee);
create index negotiation_payments_payer_tenant on public.negotiation_payments (payer_tenant);
create index negotiation_payments_payee_tenant on public.negotiation_payments (payee_tenant);
create index negotiation_payments_opened_by on public.negotiation_payments (opened_by);
$statements$;
        insert into public.schema_version (version, compatible_from) values (15, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 15 then
        execute $statements$
-- What batteries were sold to do for an event, half-hour by half-hour, until they have back what they gave.
create table public.flexibility_storage (
    event_id uuid not null references public.flexibility_events,
    asset_id text not null references public.storage_assets,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    charge_mw numeric not null check (charge_mw >= 0),
    discharge_mw numeric not null check (discharge_mw >= 0),
    primary key (event_id, asset_id, half_hour)
);
create index flexibility_storage_asset on public.flexibility_storage (asset_id, half_hour);
create index flexibility_storage_unit on public.flexibility_storage (unit_id);
$statements$;
        insert into public.schema_version (version, compatible_from) values (16, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 16 then
        execute $statements$
-- OpenADR 3.1: what a virtual top node keeps.
create table public.openadr_objects (
    object_id text primary key check (object_id ~ '^[A-Za-z0-9_-]{1,128}$'),
    tenant text not null,
    object_type text not null check (object_type in ('PROGRAM', 'EVENT', 'REPORT', 'VEN', 'RESOURCE', 'SUBSCRIPTION')),
    program_id text references public.openadr_objects on delete cascade,
    event_id text references public.openadr_objects on delete cascade,
    ven_id text references public.openadr_objects on delete cascade,
    -- What is its own in its kind: a program's, a VEN's, and a resource's among those of its VEN.
    name text,
    -- The service account ("svc:…") that a VEN is, and whose its resources, reports and subscriptions are.
    client text,
    targets text[] not null default '{}',
    flexibility_event_id uuid references public.flexibility_events,
    -- As OpenADR writes it, without what the columns below say.
    content jsonb not null check (jsonb_typeof(content) = 'object'),
    created_at timestamptz not null,
    modified_at timestamptz not null,
    place bigint generated always as identity
);
create unique index openadr_objects_name on public.openadr_objects (tenant, object_type, coalesce(ven_id, ''), name);
create unique index openadr_objects_ven_client on public.openadr_objects (client) where object_type = 'VEN';
create index openadr_objects_newest on public.openadr_objects (tenant, object_type, place desc);
create index openadr_objects_program on public.openadr_objects (program_id, place desc);
create index openadr_objects_event on public.openadr_objects (event_id, place desc);
create index openadr_objects_ven on public.openadr_objects (ven_id);
create index openadr_objects_client on public.openadr_objects (client, object_type);
create index openadr_objects_flexibility on public.openadr_objects (flexibility_event_id);

-- A key that had all of a member's rights had them because nothing less was asked for (see 0010): it gains OpenADR.
do $keys$
begin
    if to_regclass('tenancy.api_keys') is null then
        return; -- a database from before keys
    end if;
    with whole as (
        update tenancy.api_keys k
        set scopes = array(select distinct named from unnest(k.scopes || array['openadr:use']) as named order by named)
        where k.revoked_at is null and k.expires_at > clock_timestamp()
            and k.scopes @> array['grid:read', 'world:read', 'workloads:read', 'workloads:write', 'plans:run', 'decisions:read',
                'decisions:acknowledge', 'runners:run']
            and not k.scopes @> array['openadr:use']
            and k.created_at < coalesce((
                select min(v.applied_at) from public.schema_version v where v.version >= 17), 'infinity')
        returning k.operator_id, k.key_id
    )
    insert into tenancy.audit_events (operator_id, principal, action, object, outcome, detail)
    select w.operator_id, 'upgrade', 'key.extend', w.key_id, 'allowed', '{"gained": ["openadr:use"]}'
    from whole as w;
end
$keys$;
$statements$;
        insert into public.schema_version (version, compatible_from) values (17, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 17 then
        execute $statements$
-- What subscriptions are told of: one row for each change, subscription and callback. A queue of work, with the columns of all of
-- them (see workload_notifications). A subscription's rows are delivered in their order, one at a time.
create table public.openadr_webhooks (
    webhook_id bigint generated always as identity primary key,
    subscription_id text not null,
    callback_url text not null check (length(callback_url) between 1 and 1000),
    -- What is sent: {token, operation, object, targets}. Gone a minute after the end of the work.
    body jsonb,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer default 10,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
create index openadr_webhooks_unfinished on public.openadr_webhooks (subscription_id, webhook_id)
    where work_state in ('available', 'running', 'retryable');
create index openadr_webhooks_finished on public.openadr_webhooks (finished_at)
    where work_state in ('completed', 'discarded');
create index openadr_objects_subscriptions on public.openadr_objects (tenant, place) where object_type = 'SUBSCRIPTION';
$statements$;
        insert into public.schema_version (version, compatible_from) values (18, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 18 then
        execute $statements$
-- Events of negotiations have a topic of their own. What a column is generated from cannot be changed: it is made anew, of
-- what is logged as well.
alter table public.broadcast_log drop column topic;
alter table public.broadcast_log
    add column topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            when event_type like 'negotiation.%' then 'negotiations'
            else 'decisions' end) stored;
$statements$;
        insert into public.schema_version (version, compatible_from) values (19, 1);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 19 then
        execute $statements$
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
$statements$;
        insert into public.schema_version (version, compatible_from) values (20, 7);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 20 then
        execute $statements$
-- Baselines that are adjusted by the hours before gate closure: what is added stands in the decision that an event is over. Tables
-- stay as they are; the functions that read baselines add it.
$statements$;
        insert into public.schema_version (version, compatible_from) values (21, 7);
    end if;
end
$migration$;

do $migration$
begin
    if (select max(version) from public.schema_version) = 21 then
        execute $statements$
-- No table changes: limits that bind without being exceeded are told too, with what each data centre has free.
$statements$;
        insert into public.schema_version (version, compatible_from) values (22, 7);
    end if;
end
$migration$;

insert into public.schema_version (version, compatible_from)
select 22, 7
where not exists (select from public.schema_version);

-- This file's functions, for the blocks that drop them, below, and grant them, at the end.
set local pylon.functions =
    'half_hour_of source_rank stored_is_newer counted national_forecast_series regional_forecast_series '
    'current_mix margin_series grid_context grid_version numbered_output system_prices_between '
    'loss_of_load_between dfs_event_document dfs_events_between dfs_event dfs_requirements_from '
    'known_dfs_events regional_overview workload_with_decision workload_detail workloads_page workload_list '
    'decision_list system_health figure_origins known_signals signal_history changes regional_forecasts '
    'grid_history pipeline_runs_page beckn_same_place beckn_key_id beckn_leads_inside beckn_status_at '
    'beckn_lookup beckn_health beckn_dead_letters beckn_order live_state';

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

-- Supabase has the first three already. Elsewhere all are made here when the installing role may; a database whose owner
-- may not create roles does without them, is reached as the owner, and takes no tenants. "pylon_tenant" is what a request
-- of a tenant runs as: only call_as turns to it. "pylon_gate" and "pylon_worker" are what our processes log in as where
-- there are tenants: they have no password until somebody gives them one.
do $roles$
declare
    wanted record;
begin
    for wanted in
        select *
        from (values
            ('anon', 'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role', 'nologin noinherit bypassrls'),
            ('pylon_tenant', 'nologin noinherit'),
            ('pylon_gate', 'login noinherit'),
            ('pylon_worker', 'login')
        ) as roles (name, options)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            begin
                execute format('create role %I %s', wanted.name, wanted.options);
            exception
                when insufficient_privilege or duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;

    for wanted in
        select *
        from (values
            ('pylon_tenant', 'pylon_gate'),
            ('pylon_tenant', 'authenticator'),
            ('service_role', 'pylon_worker')
        ) as memberships (role, member)
        where exists (select from pg_catalog.pg_roles r where r.rolname = memberships.role)
            and exists (select from pg_catalog.pg_roles r where r.rolname = memberships.member)
    loop
        if not exists (
            select from pg_catalog.pg_auth_members m
            where m.roleid = wanted.role::regrole and m.member = wanted.member::regrole)
        then
            begin
                execute format('grant %I to %I', wanted.role, wanted.member);
            exception
                -- internal_error: another database of this server is being installed at the same moment.
                when insufficient_privilege or unique_violation or internal_error then null;
            end;
        end if;
    end loop;
end
$roles$;


-- Tenants: where their functions are -----------------------------------------------------------------------------------------
--
-- A tenant is an operator. Two schemas that PostgREST does not expose: "tenancy" holds who belongs to whom, and "tenant"
-- the functions as a tenant has them. Nobody but our own functions reaches their tables.

create schema if not exists tenancy;
create schema if not exists tenant;

-- Their functions are made again below and by the second file; those that policies depend on stay.
do $drop$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as signature
        from pg_catalog.pg_proc p
        where p.pronamespace in ('tenancy'::regnamespace, 'tenant'::regnamespace)
    loop
        begin
            execute format('drop function %s', routine.signature);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$drop$;


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


-- Tables -------------------------------------------------------------------------------------------------------

create table if not exists public.operators (
    operator_id text primary key check (operator_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator_type text not null default 'OTHER'
        check (operator_type in ('CLOUD', 'COLOCATION', 'AI_LAB', 'GRID', 'STORAGE', 'OTHER')),
    country text not null default 'GB',
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists public.regions (
    region_id integer primary key check (region_id between 1 and 17),
    short_name text not null unique,
    dno_region text not null,
    country text not null,
    is_aggregate boolean not null default false,
    latitude double precision not null,
    longitude double precision not null
);

create table if not exists public.grid_signals (
    timestamp timestamptz primary key check (timestamp = date_bin('30 minutes', timestamp, '2000-01-01 00:00:00+00')),
    settlement_period integer not null check (settlement_period between 1 and 50),
    carbon_intensity_forecast double precision check (carbon_intensity_forecast >= 0 and carbon_intensity_forecast < 'infinity'),
    carbon_intensity_actual double precision check (carbon_intensity_actual >= 0 and carbon_intensity_actual < 'infinity'),
    carbon_index text check (carbon_index in ('very low', 'low', 'moderate', 'high', 'very high')),
    demand_mw double precision check (demand_mw > 0 and demand_mw < 'infinity'),
    grid_stress_score double precision check (grid_stress_score between 0 and 1),
    wholesale_price_gbp_mwh double precision
        check (wholesale_price_gbp_mwh > '-infinity' and wholesale_price_gbp_mwh < 'infinity'),
    carbon_source text check (carbon_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    demand_source text check (demand_source in ('neso', 'elexon', 'modelled', 'synthetic')),
    price_source text check (price_source in ('elexon', 'modelled', 'synthetic')),
    carbon_fetched_at timestamptz,
    demand_fetched_at timestamptz,
    price_fetched_at timestamptz,
    -- The age of a row is the age of its oldest figure.
    fetched_at timestamptz generated always as (least(carbon_fetched_at, demand_fetched_at, price_fetched_at)) stored,
    -- A modelled demand that lies on the curve between NESO's cardinal points: nearer to a published one than a model.
    demand_interpolated boolean not null default false,
    check ((carbon_intensity_forecast is null and carbon_intensity_actual is null) or carbon_source is not null),
    check (demand_mw is null or demand_source is not null),
    check (wholesale_price_gbp_mwh is null or price_source is not null)
) with (fillfactor = 80);

create table if not exists public.regional_grid_signals (
    region_id integer not null references public.regions,
    timestamp timestamptz not null check (timestamp = date_bin('30 minutes', timestamp, '2000-01-01 00:00:00+00')),
    carbon_intensity_forecast double precision check (carbon_intensity_forecast >= 0 and carbon_intensity_forecast < 'infinity'),
    carbon_index text check (carbon_index in ('very low', 'low', 'moderate', 'high', 'very high')),
    carbon_source text not null check (carbon_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    fetched_at timestamptz not null,
    -- Region first: the latest row of each region is then one short descent of the index, however long the history.
    primary key (region_id, timestamp)
) with (fillfactor = 80);

create table if not exists public.generation_mix (
    mix_id bigint generated always as identity primary key,
    region_id integer references public.regions,
    timestamp timestamptz not null,
    fuel text not null
        check (fuel in ('biomass', 'coal', 'imports', 'gas', 'nuclear', 'other', 'hydro', 'solar', 'wind')),
    percentage double precision not null check (percentage between 0 and 100.5),
    mix_source text not null check (mix_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    -- A mix belongs to one signal: the region's, or the national one where there is no region.
    national_timestamp timestamptz generated always as (case when region_id is null then timestamp end) stored
        references public.grid_signals (timestamp) on delete cascade,
    unique nulls not distinct (region_id, timestamp, fuel),
    foreign key (region_id, timestamp) references public.regional_grid_signals (region_id, timestamp) on delete cascade
);
create index if not exists generation_mix_national on public.generation_mix (national_timestamp)
    where national_timestamp is not null;

create table if not exists public.data_centres (
    dc_id text primary key check (dc_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator text references public.operators,
    -- Whose row it is: "local" where no operator is stated. What is private is keyed by it, in every table of that kind.
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    region_id integer not null references public.regions,
    location_region text not null,
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180),
    pue double precision not null check (pue >= 1 and pue < 'infinity'),
    total_capacity_teraflops double precision not null check (total_capacity_teraflops >= 0 and total_capacity_teraflops < 'infinity'),
    total_capacity_mw double precision not null check (total_capacity_mw >= 0 and total_capacity_mw < 'infinity'),
    current_load_percentage double precision not null check (current_load_percentage between 0 and 100),
    -- What others than our bookings draw; null: what it draws at present.
    base_load_percentage double precision check (base_load_percentage between 0 and 100),
    flexibility_rating double precision not null check (flexibility_rating between 0 and 1),
    min_load_percentage double precision not null default 0 check (min_load_percentage between 0 and 100),
    ramp_rate_mw_per_min double precision check (ramp_rate_mw_per_min >= 0 and ramp_rate_mw_per_min < 'infinity'),
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'MAINTENANCE', 'OFFLINE', 'CONSTRAINED')),
    -- Who runs what is booked there: nobody, which is simulated, or its owner's runners.
    execution text not null default 'simulated' check (execution in ('simulated', 'runner')),
    -- Taken from the region's signal by the pipeline, with the half-hour it is true for.
    current_carbon_intensity_gco2 double precision check (current_carbon_intensity_gco2 >= 0 and current_carbon_intensity_gco2 < 'infinity'),
    carbon_intensity_timestamp timestamptz,
    carbon_intensity_source text check (carbon_intensity_source in ('carbon_intensity_api', 'modelled', 'synthetic')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index if not exists data_centres_region on public.data_centres (region_id);
create index if not exists data_centres_operator on public.data_centres (operator);
create index if not exists data_centres_tenant on public.data_centres (tenant, dc_id);
create index if not exists data_centres_status on public.data_centres (status);

create table if not exists public.compute_workloads (
    job_id text not null check (job_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    host_dc_id text references public.data_centres,
    workload_type text not null
        check (workload_type in ('TRAINING_RUN', 'INFERENCE_BATCH', 'RAG_QUERY', 'FINE_TUNING', 'DATA_PROCESSING', 'OTHER')),
    urgency text not null default 'MEDIUM' check (urgency in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    required_gpu_mins double precision check (required_gpu_mins >= 0 and required_gpu_mins < 'infinity'),
    required_cpu_cores integer check (required_cpu_cores >= 0),
    required_memory_gb double precision check (required_memory_gb >= 0 and required_memory_gb < 'infinity'),
    estimated_energy_kwh double precision check (estimated_energy_kwh >= 0 and estimated_energy_kwh < 'infinity'),
    carbon_cap_gco2 double precision check (carbon_cap_gco2 >= 0 and carbon_cap_gco2 < 'infinity'),
    max_price_gbp double precision check (max_price_gbp >= 0 and max_price_gbp < 'infinity'),
    deadline timestamptz,
    deferral_window_mins integer check (deferral_window_mins >= 0),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'DEFERRED_GRID_STRESS',
                          'DEFERRED_CARBON', 'DEFERRED_PRICE', 'CANCELLED')),
    status_reason text,
    scheduled_start timestamptz,
    actual_start timestamptz,
    actual_end timestamptz,
    actual_energy_kwh double precision check (actual_energy_kwh >= 0 and actual_energy_kwh < 'infinity'),
    actual_carbon_gco2 double precision check (actual_carbon_gco2 >= 0 and actual_carbon_gco2 < 'infinity'),
    actual_cost_gbp double precision check (actual_cost_gbp > '-infinity' and actual_cost_gbp < 'infinity'),
    -- What these rest on: see run_accounts.
    actuals_basis jsonb,
    -- What a runner is to run: {"template", "parameters"}, of a template that the runner's owner has configured.
    run jsonb,
    -- Of the request as it was sent: tells a repeated submission from a different one with the same job_id.
    submission_digest text,
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Each tenant names its own: what names another has taken is nobody's business.
    primary key (tenant, job_id)
);
create index if not exists compute_workloads_job on public.compute_workloads (job_id);
create index if not exists compute_workloads_tenant_newest on public.compute_workloads (
    tenant, created_at desc, job_id desc);
create index if not exists compute_workloads_tenant_open on public.compute_workloads (
    tenant, created_at desc, job_id desc)
    where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index if not exists compute_workloads_tenant_status on public.compute_workloads (
    tenant, status, created_at desc, job_id desc);
create index if not exists compute_workloads_newest on public.compute_workloads (created_at desc, job_id desc);
create index if not exists compute_workloads_by_status on public.compute_workloads (status, created_at desc, job_id desc);
create index if not exists compute_workloads_open on public.compute_workloads (created_at desc)
    where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index if not exists compute_workloads_operator on public.compute_workloads (operator) where operator is not null;
create index if not exists compute_workloads_host on public.compute_workloads (host_dc_id) where host_dc_id is not null;

create table if not exists public.agents (
    agent_id text primary key check (agent_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    agent_type text not null,
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'platform')) stored, -- our gateways state none
    version text,
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'STOPPED')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant, agent_id)
);
create index if not exists agents_operator on public.agents (operator) where operator is not null;

create table if not exists public.agent_states (
    state_id bigint generated always as identity primary key,
    tenant text not null,
    agent_id text not null,
    state text not null,
    detail text,
    observed_at timestamptz not null default now(),
    tenant_state_id bigint, -- counts its tenant's alone
    foreign key (tenant, agent_id) references public.agents (tenant, agent_id) on delete cascade,
    unique (tenant, tenant_state_id)
);
create index if not exists agent_states_latest on public.agent_states (agent_id, observed_at desc);
create index if not exists agent_states_tenant on public.agent_states (tenant, observed_at desc, state_id desc);
create index if not exists agent_states_observed on public.agent_states (observed_at);

create table if not exists public.storage_assets (
    asset_id text primary key check (asset_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name text not null,
    operator text references public.operators,
    tenant text not null generated always as (coalesce(operator, 'local')) stored,
    region_id integer not null references public.regions,
    asset_type text not null default 'BATTERY' check (asset_type in ('BATTERY', 'PUMPED_HYDRO', 'OTHER')),
    capacity_mwh double precision not null check (capacity_mwh >= 0 and capacity_mwh < 'infinity'),
    power_mw double precision not null check (power_mw >= 0 and power_mw < 'infinity'),
    state_of_charge_percentage double precision check (state_of_charge_percentage between 0 and 100),
    round_trip_efficiency double precision check (round_trip_efficiency between 0 and 1),
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'MAINTENANCE', 'OFFLINE')),
    is_synthetic boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index if not exists storage_assets_region on public.storage_assets (region_id);
create index if not exists storage_assets_tenant on public.storage_assets (tenant, asset_id);
create index if not exists storage_assets_operator on public.storage_assets (operator);

-- The queues of work (here, beckn_inbox, beckn_outbox, beckn_orders, capacity_bookings and pipeline_runs) have the same
-- columns for it: work_state, scheduled_at (when it may be taken), attempt, max_attempts (null: no bound), lost_leases (of
-- the attempts, those whose holder never said how they ended: a killed process, or a database that was away), lease_token,
-- leased_until, leased_by, last_error and finished_at; and where senders take turns, turn.
create table if not exists public.workload_notifications (
    notification_id bigint generated always as identity primary key,
    tenant text not null,
    job_id text not null,
    reason text not null default 'submitted' check (reason in ('submitted', 'reconsidered')),
    -- Whose turn it takes: its tenant's.
    fairness_key text not null default '',
    turn bigint not null default 0,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer not null default 5,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    -- While a model thinks about it: what it was given.
    context jsonb,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- Whether nothing is left to do. What is discarded was never decided and may be queued again, so it is not processed.
    processed boolean generated always as (work_state = 'completed') stored,
    -- By these names and words programs of version 1 read it.
    state text generated always as (
        case work_state
            when 'running' then 'leased' when 'completed' then 'done' when 'discarded' then 'dead' else 'ready' end) stored,
    attempts integer generated always as (attempt) stored,
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists workload_notifications_due on public.workload_notifications (turn, notification_id)
    where work_state = 'available';
create index if not exists workload_notifications_retryable on public.workload_notifications (scheduled_at)
    where work_state = 'retryable';
create index if not exists workload_notifications_running on public.workload_notifications (turn)
    where work_state = 'running';
create index if not exists workload_notifications_turns on public.workload_notifications (fairness_key, turn)
    where work_state in ('available', 'running', 'retryable');
create index if not exists workload_notifications_discarded on public.workload_notifications (notification_id)
    where work_state = 'discarded';
create index if not exists workload_notifications_finished on public.workload_notifications (finished_at)
    where work_state = 'completed';
create index if not exists workload_notifications_job on public.workload_notifications (tenant, job_id);
-- At most one that is not completed for each workload: it is decided by one worker at a time.
create unique index if not exists workload_notifications_open on public.workload_notifications (tenant, job_id)
    where work_state <> 'completed';
create sequence if not exists public.lease_tokens;

-- Written to by whoever wants to know whether the database takes writes: a full disk and a standby answer reads all the same.
create table if not exists public.write_probe (
    only_row boolean primary key default true check (only_row),
    written_at timestamptz not null check (isfinite(written_at))
) with (fillfactor = 10);

-- The transactions that wrote what decisions are made from, of the last hours: triggers write them, and grid_version tells
-- one grid from another by them.
create table if not exists public.grid_changes (
    transaction xid8 primary key default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp()
);

-- The grids that decisions were made on, each once: all decisions of a half-hour share one. Like the audit log they are
-- written once, and none is ever pruned.
create table if not exists public.decision_grids (
    -- SHA-256 of the document as PostgreSQL writes a jsonb, in hexadecimal.
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    grid jsonb not null
);

-- "context" is the whole of the inputs where grid_digest is null; else what is the decision's own of them (task, as_of,
-- settings), and the rest is the grid. The view audited_decisions puts them together.
create table if not exists public.orchestration_decisions (
    decision_id uuid primary key default gen_random_uuid(),
    -- No foreign key: a notification is pruned in time, the decision stays.
    notification_id bigint unique,
    sequence bigint unique,
    tenant text not null,
    tenant_sequence bigint check (tenant_sequence > 0), -- counts its tenant's events alone: 1, 2, 3 …
    job_id text not null,
    agent_id text references public.agents,
    chosen_dc_id text references public.data_centres,
    recommended_start timestamptz,
    scorer text not null check (scorer in ('gemini', 'deterministic')),
    model text,
    scorer_version text not null,
    fallback_reason text,
    reasoning text,
    constraints_evaluated jsonb not null default '[]',
    alternatives_considered jsonb not null default '[]',
    context jsonb not null,
    output json not null, -- as text: served as it was published, its keys in their order
    token_usage jsonb,
    decided_at timestamptz not null default clock_timestamp(),
    -- No foreign key, which would lock the grid at every decision: no grid is ever changed or deleted.
    grid_digest text,
    -- The hash of all of this and of the decision before it among the tenant's: a trigger fills them.
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null,
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id),
    unique (tenant, tenant_sequence),
    unique (tenant, chain_position)
);
create index if not exists orchestration_decisions_tenant_newest on public.orchestration_decisions (
    tenant, decided_at desc);
create index if not exists orchestration_decisions_tenant_job on public.orchestration_decisions (
    tenant, job_id, decided_at desc);
create index if not exists orchestration_decisions_tenant_id on public.orchestration_decisions (tenant, decision_id);
create index if not exists orchestration_decisions_newest on public.orchestration_decisions (decided_at desc);
create index if not exists orchestration_decisions_job on public.orchestration_decisions (job_id, decided_at desc);
create index if not exists orchestration_decisions_agent on public.orchestration_decisions (agent_id, decided_at desc);
create index if not exists orchestration_decisions_choice on public.orchestration_decisions (chosen_dc_id, decided_at desc);

-- A queue of work, with the columns of all of them (see workload_notifications); "state" is how a run ended, or running.
create table if not exists public.pipeline_runs (
    slot timestamptz primary key check (slot = date_bin('30 minutes', slot, '2000-01-01 00:00:00+00')),
    state text not null check (state in ('running', 'succeeded', 'partial', 'failed')),
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer, -- null: as often as it is asked for
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    sources jsonb not null default '{}',
    counts jsonb not null default '{}',
    stages_ms jsonb not null default '{}'
);
create index if not exists pipeline_runs_finished on public.pipeline_runs (finished_at desc) where finished_at is not null;

create table if not exists public.broadcast_log (
    sequence bigint primary key check (sequence > 0),
    event_type text not null,
    job_id text,
    notification_id bigint unique,
    event jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    -- An event of nobody's is the platform's, unless it is everybody's: no tenant sees it.
    tenant text,
    tenant_sequence bigint check (tenant_sequence > 0),
    topic text not null generated always as (
        case
            when event_type like 'workload.%' then 'workloads'
            when event_type like 'order.%' then 'orders'
            when event_type like 'grid.%' then 'grid'
            when event_type like 'source.%' then 'sources'
            when event_type like 'data_centre.%' then 'data_centres'
            when event_type like 'agent.%' then 'agents'
            when event_type like 'negotiation.%' then 'negotiations'
            else 'decisions' end) stored,
    subject text,
    summary jsonb,
    -- For everybody, and how many such events there had been, itself included: they have a number in every tenant's count.
    is_everybodys boolean not null default false,
    everybodys bigint not null default 0 check (everybodys >= 0),
    unique (tenant, tenant_sequence),
    check (not is_everybodys or tenant is null)
);
create index if not exists broadcast_log_created on public.broadcast_log (created_at);
create index if not exists broadcast_log_tenant on public.broadcast_log (tenant, sequence);
create index if not exists broadcast_log_job on public.broadcast_log (job_id, sequence) where job_id is not null;
create unique index if not exists broadcast_log_everybodys on public.broadcast_log (everybodys) where is_everybodys;

-- The number of the newest event there has ever been, in one row: the log itself may be pruned or emptied.
create table if not exists public.event_numbers (
    only_row boolean primary key default true check (only_row),
    newest bigint not null check (newest >= 0),
    everybodys bigint not null default 0 check (everybodys >= 0)
) with (fillfactor = 10);

-- The same for each tenant: of its events, and of its agents' states.
create table if not exists public.tenant_numbers (
    tenant text primary key,
    newest bigint not null default 0 check (newest >= 0),
    newest_state bigint not null default 0 check (newest_state >= 0),
    -- How many of everybody's events there had been when "newest" was given.
    everybodys bigint not null default 0 check (everybodys >= 0)
) with (fillfactor = 10);

-- How often a workload that found no place has been asked about again, and when it is next. "lowest_now" and
-- "lowest_ahead" are the easiest of what it waits for, in the present half-hour and in the 48 hours ahead, that any of
-- these questions met; "centres" tells the data centres then from others.
create table if not exists public.workload_reconsiderations (
    tenant text not null,
    job_id text not null,
    status text not null,
    asked integer not null default 0,
    waiting_since timestamptz not null,
    ask_again_at timestamptz not null,
    centres text,
    lowest_now double precision,
    lowest_ahead double precision,
    primary key (tenant, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70);

create table if not exists public.output_consumers (
    -- Whose consumer it is; "local": of whoever sees everything.
    tenant text not null default 'local',
    consumer text not null check (consumer ~ '^[A-Za-z0-9._:-]{1,64}$'),
    -- The sequences of acknowledged outputs. Neighbours merge, so it stays small however many there are.
    acknowledged int8multirange not null default '{}',
    -- The same in the tenant's own numbers, which it acknowledges by where there are several.
    tenant_acknowledged int8multirange not null default '{}',
    primary key (tenant, consumer)
);

create table if not exists public.processed_contexts (
    tenant text not null,
    consumer text not null check (consumer ~ '^[A-Za-z0-9._:-]{1,64}$'),
    job_id text not null,
    processed_at timestamptz not null default clock_timestamp(),
    primary key (tenant, consumer, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
);
create index if not exists processed_contexts_job on public.processed_contexts (tenant, job_id);
create index if not exists processed_contexts_processed on public.processed_contexts (processed_at);


-- Imbalance, margin and the Demand Flexibility Service -----------------------------------------------------------------

-- Every settlement run's price. Written once: a later run is a further row. Exact decimals, for money is settled by them.
create table if not exists public.system_price_revisions (
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    revision integer not null check (revision > 0),
    system_price_gbp_mwh numeric not null check (system_price_gbp_mwh between -1e6 and 1e6),
    net_imbalance_volume_mwh numeric check (net_imbalance_volume_mwh between -1e6 and 1e6),
    reserve_scarcity_price_gbp_mwh numeric check (reserve_scarcity_price_gbp_mwh between -1e6 and 1e6),
    derivation_code text check (derivation_code ~ '^[A-Za-z0-9]{1,8}$'),
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null,
    primary key (half_hour, revision)
);
-- The newest of each half-hour that the grid is known of.
create table if not exists public.system_prices (
    half_hour timestamptz primary key references public.grid_signals (timestamp) on delete cascade,
    revision integer not null,
    system_price_gbp_mwh numeric not null,
    net_imbalance_volume_mwh numeric,
    reserve_scarcity_price_gbp_mwh numeric,
    derivation_code text,
    bsad_defaulted boolean,
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

create table if not exists public.loss_of_load_forecasts (
    half_hour timestamptz primary key check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    probability numeric not null check (probability between 0 and 1),
    derated_margin_mw numeric not null check (derated_margin_mw between -1e6 and 1e6),
    horizon_hours integer check (horizon_hours >= 0),
    published_at timestamptz not null,
    fetched_at timestamptz not null
) with (fillfactor = 80);

-- NESO's Demand Flexibility Service. An event's name begins with the delivery year, in which its number is its own.
create table if not exists public.dfs_events (
    event_ref text primary key check (event_ref ~ '^[0-9]{4}-[0-9]{1,7}$'),
    event_id integer not null check (event_id > 0),
    direction text not null check (direction in ('Downwards', 'Upwards')),
    tag text not null check (tag in ('Energy', 'System')),
    requirement_type text not null check (requirement_type in ('Live', 'Test')),
    delivery_date date not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    submitted_at timestamptz,
    dispatch_type text,
    participants jsonb,
    requirements_digest text,
    bids_digest text,
    summaries_digest text,
    fetched_at timestamptz not null
);
create index if not exists dfs_events_ends on public.dfs_events (ends_at);

create table if not exists public.dfs_periods (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    requirement_mw numeric check (requirement_mw between 0 and 1e6),
    guaranteed_price_gbp_mwh numeric check (guaranteed_price_gbp_mwh between -1e6 and 1e6),
    zonal_caps_mw jsonb,
    procured_mw numeric check (procured_mw between 0 and 1e6),
    accepted_cost_gbp numeric check (accepted_cost_gbp between -1e10 and 1e10),
    settled_mw numeric check (settled_mw between -1e6 and 1e6),
    settled_cost_gbp numeric check (settled_cost_gbp between -1e10 and 1e10),
    primary key (event_ref, half_hour)
);

create table if not exists public.dfs_bids (
    event_ref text not null references public.dfs_events on delete cascade,
    half_hour timestamptz not null,
    unit_id text not null,
    bid_number integer not null check (bid_number > 0),
    participant text not null,
    zone integer not null,
    bid_mw numeric not null check (bid_mw between 0 and 1e6),
    price_gbp_mwh numeric not null check (price_gbp_mwh between -1e6 and 1e6),
    status text not null check (status in ('Accepted', 'Rejected')),
    primary key (event_ref, half_hour, unit_id, bid_number)
);

-- The 17 regions of the Carbon Intensity API: 14 distribution licence areas and three countries -----------------

insert into public.regions (region_id, short_name, dno_region, country, is_aggregate, latitude, longitude)
values
    (1, 'North Scotland', 'Scottish Hydro Electric Power Distribution', 'Scotland', false, 57.48, -4.22),
    (2, 'South Scotland', 'SP Distribution', 'Scotland', false, 55.86, -4.25),
    (3, 'North West England', 'Electricity North West', 'England', false, 53.76, -2.70),
    (4, 'North East England', 'NPG North East', 'England', false, 54.97, -1.61),
    (5, 'Yorkshire', 'NPG Yorkshire', 'England', false, 53.80, -1.55),
    (6, 'North Wales and Merseyside', 'SP Manweb', 'Wales', false, 53.19, -3.17),
    (7, 'South Wales', 'WPD South Wales', 'Wales', false, 51.62, -3.94),
    (8, 'West Midlands', 'WPD West Midlands', 'England', false, 52.48, -1.90),
    (9, 'East Midlands', 'WPD East Midlands', 'England', false, 52.95, -1.15),
    (10, 'East England', 'UKPN East', 'England', false, 52.20, 0.12),
    (11, 'South West England', 'WPD South West', 'England', false, 50.72, -3.53),
    (12, 'South England', 'SSE South', 'England', false, 50.91, -1.40),
    (13, 'London', 'UKPN London', 'England', false, 51.51, -0.13),
    (14, 'South East England', 'UKPN South East', 'England', false, 51.27, 0.52),
    (15, 'England', 'England', 'England', true, 52.56, -1.46),
    (16, 'Scotland', 'Scotland', 'Scotland', true, 56.49, -4.20),
    (17, 'Wales', 'Wales', 'Wales', true, 52.33, -3.77)
on conflict (region_id) do update set
    short_name = excluded.short_name,
    dno_region = excluded.dno_region,
    country = excluded.country,
    is_aggregate = excluded.is_aggregate,
    latitude = excluded.latitude,
    longitude = excluded.longitude;


-- The grid as it is now and for the next 48 hours ----------------------------------------------------------------

create or replace function public.counted(words text[])
returns json
language sql
immutable parallel safe
set search_path = ''
as $$
    select coalesce(json_object_agg(word, n), '{}')
    from (select word, count(*) as n from unnest(words) as word where word is not null group by word order by word) as c
$$;
comment on function public.counted is 'How often each word occurs in a list: {"elexon": 80, "neso": 16}.';

-- Of each figure, when the oldest of those fetched was fetched: what is invented never was, whenever it was made.
-- Half-hours without a row are nulls in their place, so that a position in an array is always a time.
create or replace function public.national_forecast_series(p_start timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'start', p_start,
        'carbon_intensity_gco2_per_kwh', json_agg(g.carbon_intensity_forecast order by slot),
        'demand_mw', json_agg(g.demand_mw order by slot),
        'grid_stress_score', json_agg(g.grid_stress_score order by slot),
        'wholesale_price_gbp_mwh', json_agg(g.wholesale_price_gbp_mwh order by slot),
        'carbon_sources', public.counted(array_agg(g.carbon_source)),
        'demand_sources', public.counted(array_agg(g.demand_source)),
        'price_sources', public.counted(array_agg(g.price_source)),
        'oldest_carbon_fetched_at', min(g.carbon_fetched_at) filter (where g.carbon_source <> 'synthetic'),
        'oldest_demand_fetched_at', min(g.demand_fetched_at) filter (where g.demand_source <> 'synthetic'),
        'oldest_price_fetched_at', min(g.price_fetched_at) filter (where g.price_source <> 'synthetic'),
        'oldest_fetched_at', least(
            min(g.carbon_fetched_at) filter (where g.carbon_source <> 'synthetic'),
            min(g.demand_fetched_at) filter (where g.demand_source <> 'synthetic'),
            min(g.price_fetched_at) filter (where g.price_source <> 'synthetic')))
    from generate_series(p_start, p_start + interval '47 hours 30 minutes', interval '30 minutes') as slot
    left join public.grid_signals g on g.timestamp = slot
$$;

create or replace function public.regional_forecast_series(p_region_id integer, p_start timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'start', p_start,
        'carbon_intensity_gco2_per_kwh', json_agg(g.carbon_intensity_forecast order by slot),
        'carbon_sources', public.counted(array_agg(g.carbon_source)),
        'oldest_fetched_at', min(g.fetched_at) filter (where g.carbon_source <> 'synthetic'))
    from generate_series(p_start, p_start + interval '47 hours 30 minutes', interval '30 minutes') as slot
    left join public.regional_grid_signals g on g.region_id = p_region_id and g.timestamp = slot
$$;

-- The national mix is published for the last complete half-hour: the newest one within two hours stands for now. The
-- two statements keep each search on its own index, which "is not distinct from" could not use, and have a plan each that
-- serves every call: one statement for both would be planned anew for each, which takes longer than the rest.
create or replace function public.current_mix(p_region_id integer, p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_region_id is null then
        return (
            select json_build_object(
                'region_id', null,
                'timestamp', m.national_timestamp,
                'source', (array_agg(m.mix_source order by public.source_rank(m.mix_source)))[1],
                'mix', json_object_agg(m.fuel, m.percentage order by m.fuel))
            from public.generation_mix m
            where m.national_timestamp = (
                select max(newest.national_timestamp)
                from public.generation_mix newest
                where newest.national_timestamp between p_now - interval '2 hours' and p_now)
            group by m.national_timestamp);
    end if;
    return (
        select json_build_object(
            'region_id', p_region_id,
            'timestamp', m.timestamp,
            'source', (array_agg(m.mix_source order by public.source_rank(m.mix_source)))[1],
            'mix', json_object_agg(m.fuel, m.percentage order by m.fuel))
        from public.generation_mix m
        where m.region_id = p_region_id
            and m.timestamp = (
                select max(newest.timestamp)
                from public.generation_mix newest
                where newest.region_id = p_region_id
                    and newest.timestamp between p_now - interval '2 hours' and p_now)
        group by m.timestamp);
end
$$;

-- What is forecast of the margin in the 48 hours from a half-hour on, up to the last that is known: {"start", "source",
-- "published_at" (of the oldest of it), "derated_margin_mw", "loss_of_load_probability"}. Null where nothing is.
create or replace function public.margin_series(p_slot timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select case when count(l.half_hour) > 0 then json_build_object(
        'start', p_slot,
        'source', 'elexon',
        'published_at', min(l.published_at),
        'derated_margin_mw', json_agg(l.derated_margin_mw order by s.slot),
        'loss_of_load_probability', json_agg(l.probability order by s.slot)) end
    from generate_series(
        p_slot,
        (
            select max(known.half_hour) from public.loss_of_load_forecasts known
            where known.half_hour >= p_slot and known.half_hour < p_slot + interval '48 hours'),
        interval '30 minutes') as s (slot)
    left join public.loss_of_load_forecasts l on l.half_hour = s.slot
$$;

create or replace function public.grid_context(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    with moment as materialized (
        select public.half_hour_of(p_now) as slot
    ),
    centres as materialized (
        select d.* from public.data_centres d where d.status <> 'OFFLINE'
    ),
    present as materialized (
        select g.* from public.grid_signals g, moment where g.timestamp = moment.slot
    ),
    sited as materialized (
        select r.region_id, r.short_name, g.timestamp, g.carbon_intensity_forecast, g.carbon_index, g.carbon_source, g.fetched_at
        from public.regions r
        cross join moment
        left join public.regional_grid_signals g on g.region_id = r.region_id and g.timestamp = moment.slot
    )
    select json_build_object(
        'as_of', p_now,
        'national', json_build_object(
            'current', (select to_json(p) from present p),
            'forecast', (select public.national_forecast_series(slot) from moment),
            'margin', (select public.margin_series(slot) from moment)),
        'regional', coalesce((
            select json_agg(json_build_object(
                'region_id', s.region_id,
                'short_name', s.short_name,
                'current', case when s.timestamp is not null then json_build_object(
                    'timestamp', s.timestamp,
                    'carbon_intensity_forecast', s.carbon_intensity_forecast,
                    'carbon_index', s.carbon_index,
                    'carbon_source', s.carbon_source,
                    'fetched_at', case when s.carbon_source <> 'synthetic' then s.fetched_at end) end,
                'forecast', public.regional_forecast_series(s.region_id, moment.slot)) order by s.region_id)
            from sited s, moment
            where s.region_id in (select region_id from centres)), '[]'),
        'data_centres', coalesce((
            select json_agg(json_build_object(
                'dc_id', c.dc_id, 'name', c.name, 'operator', c.operator, 'region_id', c.region_id,
                'location_region', c.location_region, 'latitude', c.latitude, 'longitude', c.longitude, 'pue', c.pue,
                'total_capacity_teraflops', c.total_capacity_teraflops, 'total_capacity_mw', c.total_capacity_mw,
                -- The base load: what runs of ours is promised power, which is reckoned with by the half-hour. So runs that
                -- begin and end make no new grid of decisions.
                'current_load_percentage', coalesce(c.base_load_percentage, c.current_load_percentage),
                'flexibility_rating', c.flexibility_rating,
                'min_load_percentage', c.min_load_percentage, 'ramp_rate_mw_per_min', c.ramp_rate_mw_per_min,
                'status', c.status, 'is_synthetic', c.is_synthetic) order by c.dc_id)
            from centres c), '[]'),
        'generation_mix', coalesce((
            select json_agg(mix)
            from (
                select public.current_mix(null, p_now) as mix
                union all
                select public.current_mix(r.region_id, p_now)
                from (select distinct region_id from centres order by region_id) as r
            ) as mixes
            where mix is not null), '[]'),
        'summary', (
            select json_build_object(
                'lowest_carbon_region_id', lowest.region_id,
                'lowest_carbon_region', lowest.short_name,
                'lowest_carbon_gco2_per_kwh', lowest.carbon_intensity_forecast,
                'lowest_carbon_dc_id', greenest.dc_id,
                'lowest_carbon_dc_gco2_per_kwh', greenest.carbon_intensity_forecast,
                'national_carbon_gco2_per_kwh', (select carbon_intensity_forecast from present),
                'grid_stress_score', (select grid_stress_score from present),
                'wholesale_price_gbp_mwh', (select wholesale_price_gbp_mwh from present),
                'data_centres', (select count(*) from centres),
                'data_centres_active', (select count(*) from centres where status = 'ACTIVE'))
            from (select 1) as always
            left join lateral (
                select s.* from sited s
                join public.regions r on r.region_id = s.region_id and not r.is_aggregate
                where s.carbon_intensity_forecast is not null
                order by s.carbon_intensity_forecast, s.region_id
                limit 1) as lowest on true
            left join lateral (
                select c.dc_id, s.carbon_intensity_forecast
                from centres c
                join sited s on s.region_id = c.region_id
                where c.status = 'ACTIVE' and s.carbon_intensity_forecast is not null
                order by s.carbon_intensity_forecast, c.dc_id
                limit 1) as greenest on true))
$$;
comment on function public.grid_context is 'The present and the next 48 hours of the grid, and the data centres: what a decision is made from.';

-- Tells one grid_context from another without making it: the half-hour, and the transactions of the last hours that changed
-- something in it (grid_changes). Whichever of them commits last, their number and sum are others than before, so the same
-- text means the same grid, but for its as_of. Both are to be read in one statement, on one snapshot. At the very start of
-- a half-hour a generation mix is still taken for present that is too old a moment later.
create or replace function public.grid_version(p_now timestamptz)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select concat_ws(
            '/', extract(epoch from slot)::bigint, case when p_now = slot then 'start' end, count(*),
            sum(c.transaction::text::bigint), max(c.transaction::text::bigint))
        from public.grid_changes c);
end
$$;
-- Outputs and their numbers ------------------------------------------------------------------------------------------------

-- An output as it is stored: its own text, but for the sequence number. Our programs leave one place for it, which no text in
-- the document can look like, since its quotation marks would be escaped. Any other document is taken apart. Programs of
-- version 1 send the document itself, which has lost the order of its keys on the way here: what it begins with is put in
-- order.
create or replace function public.numbered_output(p_output jsonb, p_sequence bigint)
returns json
language plpgsql
immutable
set search_path = ''
as $$
declare
    place constant text := '"sequence":null';
    beginning constant text := '"_metadata":{'; -- of what the place is in
    written text;
begin
    if jsonb_typeof(p_output) = 'string' then
        written := p_output #>> '{}';
        -- Each is there once, and nothing opens or closes between them. Looked for without taking the text apart, which may
        -- be megabytes.
        if octet_length(replace(written, place, '')) = octet_length(written) - octet_length(place)
            and octet_length(replace(written, beginning, '')) = octet_length(written) - octet_length(beginning)
            and position(place in split_part(written, beginning, 2)) > 0
            and split_part(split_part(written, beginning, 2), place, 1) !~ '[{}]'
        then
            return replace(written, place, '"sequence":' || p_sequence);
        end if;
    end if;
    return (
        select '{' || string_agg(
            to_json(part.key)::text || ':' || case
                when part.key = '_metadata' and json_typeof(part.value) = 'object' then (
                    select '{' || coalesce(string_agg(
                        to_json(m.key)::text || ':' || case m.key when 'sequence' then p_sequence::text else m.value::text end,
                        ',' order by m.place), '') || '}'
                    from json_each(part.value) with ordinality as m (key, value, place))
                else part.value::text end,
            ',' order by
                case when jsonb_typeof(p_output) = 'object'
                    then array_position(array['data_centre_options', 'task', 'decision', '_metadata'], part.key) end,
                part.place) || '}'
        from json_each(case jsonb_typeof(p_output) when 'string' then (p_output #>> '{}')::json else p_output::json end)
            with ordinality as part (key, value, place));
end
$$;

-- A stored output as its tenant sees it: with the tenant's own number.
create or replace function tenancy.seen_output(p_output json, p_tenant_sequence bigint)
returns json
language sql
immutable
set search_path = ''
as $$
    select public.numbered_output(to_jsonb(p_output::text), p_tenant_sequence)
$$;


-- Views ----------------------------------------------------------------------------------------------------------

create or replace view public.current_system_state with (security_invoker = true) as
select
    now() as as_of,
    g.timestamp,
    g.settlement_period,
    g.carbon_intensity_forecast,
    g.carbon_intensity_actual,
    g.carbon_index,
    g.demand_mw,
    g.grid_stress_score,
    g.wholesale_price_gbp_mwh,
    g.carbon_source,
    g.demand_source,
    g.price_source,
    g.fetched_at,
    (select count(*) from public.data_centres where status = 'ACTIVE') as data_centres_active,
    (select count(*) from public.compute_workloads where status in ('PENDING', 'QUEUED')) as workloads_waiting
from (select public.half_hour_of(now()) as slot) as moment
left join public.grid_signals g on g.timestamp = moment.slot;

create or replace view public.regional_carbon_ranking with (security_invoker = true) as
select
    rank() over (order by g.carbon_intensity_forecast nulls last) as rank,
    r.region_id,
    r.short_name,
    r.country,
    g.timestamp,
    g.carbon_intensity_forecast,
    g.carbon_index,
    g.carbon_source,
    g.fetched_at
from public.regions r
-- One look-up a region, by the limit: as a plain join the planner may prefer to read more the longer the history is.
left join lateral (
    select s.*
    from public.regional_grid_signals s
    where s.region_id = r.region_id and s.timestamp = public.half_hour_of(now())
    limit 1) as g on true
where not r.is_aggregate
order by rank, r.region_id;

create or replace view public.recent_decisions with (security_invoker = true) as
select
    d.decision_id,
    d.sequence,
    d.job_id,
    w.workload_type,
    w.urgency,
    d.chosen_dc_id,
    c.name as chosen_dc_name,
    d.recommended_start,
    d.scorer,
    d.model,
    d.scorer_version,
    d.fallback_reason,
    d.reasoning,
    d.decided_at
from public.orchestration_decisions d
join public.compute_workloads w on (w.tenant, w.job_id) = (d.tenant, d.job_id)
left join public.data_centres c on c.dc_id = d.chosen_dc_id
order by d.decided_at desc
limit 100;


-- The audit log with every decision's context whole: what reads of orchestration_decisions by the program are made from.
create or replace view public.audited_decisions with (security_invoker = true) as
select
    d.decision_id,
    d.notification_id,
    d.sequence,
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
    coalesce(g.grid || d.context, d.context) as context,
    d.output,
    d.token_usage,
    d.decided_at,
    d.grid_digest,
    d.tenant,
    d.tenant_sequence
from public.orchestration_decisions d
left join public.decision_grids g on g.digest = d.grid_digest;

-- Imbalance, margin and the Demand Flexibility Service: read ------------------------------------------------------------

-- System prices of the half-hours that begin in [p_from, p_until): the newest revision of each, or every one. Figures are
-- text, so that no reader makes floats of them.
create or replace function public.system_prices_between(
    p_from timestamptz, p_until timestamptz, p_every boolean default false)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'half_hour', s.half_hour,
        'revision', s.revision,
        'system_price_gbp_mwh', s.system_price_gbp_mwh::text,
        'net_imbalance_volume_mwh', s.net_imbalance_volume_mwh::text,
        'reserve_scarcity_price_gbp_mwh', s.reserve_scarcity_price_gbp_mwh::text,
        'derivation_code', s.derivation_code,
        'bsad_defaulted', s.bsad_defaulted,
        'created_at', s.published_at,
        'fetched_at', s.fetched_at) order by s.half_hour, s.revision), '[]')
    from (
        select r.*, max(r.revision) over (partition by r.half_hour) as newest
        from public.system_price_revisions r
        where r.half_hour >= p_from and r.half_hour < p_until) as s
    where p_every or s.revision = s.newest
$$;

-- What is forecast of the margin in the half-hours that begin in [p_from, p_until).
create or replace function public.loss_of_load_between(p_from timestamptz, p_until timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'half_hour', l.half_hour,
        'probability', l.probability::text,
        'derated_margin_mw', l.derated_margin_mw::text,
        'horizon_hours', l.horizon_hours,
        'published_at', l.published_at,
        'fetched_at', l.fetched_at) order by l.half_hour), '[]')
    from public.loss_of_load_forecasts l
    where l.half_hour >= p_from and l.half_hour < p_until
$$;

-- One event of the Demand Flexibility Service with its half-hours, as text where it is money or power.
create or replace function public.dfs_event_document(p_event public.dfs_events)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event_ref', p_event.event_ref,
        'event_id', p_event.event_id,
        'direction', p_event.direction,
        'tag', p_event.tag,
        'requirement_type', p_event.requirement_type,
        'delivery_date', p_event.delivery_date,
        'starts_at', p_event.starts_at,
        'ends_at', p_event.ends_at,
        'submitted_at', p_event.submitted_at,
        'dispatch_type', p_event.dispatch_type,
        'participants', coalesce(p_event.participants, '[]'),
        'fetched_at', p_event.fetched_at,
        'half_hours', (
            select coalesce(json_agg(json_build_object(
                'half_hour', p.half_hour,
                'requirement_mw', p.requirement_mw::text,
                'guaranteed_price_gbp_per_mwh', p.guaranteed_price_gbp_mwh::text,
                'zonal_caps_mw', coalesce(p.zonal_caps_mw, '{}'),
                'procured_mw', p.procured_mw::text,
                'accepted_cost_gbp', p.accepted_cost_gbp::text,
                'settled_mw', p.settled_mw::text,
                'settled_cost_gbp', p.settled_cost_gbp::text,
                'bids', (
                    select count(*) from public.dfs_bids b
                    where (b.event_ref, b.half_hour) = (p.event_ref, p.half_hour))) order by p.half_hour), '[]')
            from public.dfs_periods p
            where p.event_ref = p_event.event_ref))
$$;

-- Events that take place between p_from and p_until, the latest first.
create or replace function public.dfs_events_between(p_from timestamptz, p_until timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(public.dfs_event_document(e) order by e.starts_at desc, e.event_ref desc), '[]')
    from public.dfs_events e
    where e.ends_at > p_from and e.starts_at < p_until
$$;

-- One event with every bid; null where there is none of that name.
create or replace function public.dfs_event(p_event_ref text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'event', public.dfs_event_document(e),
        'bids', (
            select coalesce(json_agg(json_build_object(
                'half_hour', b.half_hour,
                'participant', b.participant,
                'unit_id', b.unit_id,
                'zone', b.zone,
                'bid_mw', b.bid_mw::text,
                'price_gbp_per_mwh', b.price_gbp_mwh::text,
                'status', b.status,
                'cost_gbp', case when b.status = 'Accepted' then b.bid_mw * 0.5 * b.price_gbp_mwh else 0 end::text
            ) order by b.half_hour, b.price_gbp_mwh, b.unit_id, b.bid_number), '[]')
            from public.dfs_bids b
            where b.event_ref = e.event_ref))
    from public.dfs_events e
    where e.event_ref = p_event_ref
$$;

-- What is required after p_from, one row an event: for those who make something of the need. The service pays as bid, and
-- what others were paid is the best guide to a bid: the mean price of what was accepted in the newest earlier event.
create or replace function public.dfs_requirements_from(p_from timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(json_build_object(
        'event_id', e.event_ref,
        'event_type', e.direction,
        'event_tag', e.tag,
        'requirement_type', e.requirement_type,
        'from_utc', e.starts_at,
        'to_utc', e.ends_at,
        'requirement_mw', needed.most::text,
        'guaranteed_price_gbp_per_mwh', needed.guaranteed::text,
        'accepted_price_gbp_per_mwh', earlier.mean_price::text,
        'accepted_in', earlier.event_ref,
        'submitted_at', e.submitted_at,
        'fetched_at', e.fetched_at,
        'half_hours', needed.half_hours) order by e.starts_at, e.event_ref), '[]')
    from public.dfs_events e
    cross join lateral (
        select
            max(p.requirement_mw) as most,
            min(p.guaranteed_price_gbp_mwh) as guaranteed,
            json_agg(json_build_object(
                'half_hour', p.half_hour,
                'requirement_mw', p.requirement_mw::text,
                'guaranteed_price_gbp_per_mwh', p.guaranteed_price_gbp_mwh::text) order by p.half_hour) as half_hours
        from public.dfs_periods p
        where p.event_ref = e.event_ref and p.requirement_mw is not null) as needed
    left join lateral (
        select
            b.event_ref,
            round(sum(p.accepted_cost_gbp) / (sum(p.procured_mw) * 0.5), 2) as mean_price
        from public.dfs_events b
        join public.dfs_periods p on p.event_ref = b.event_ref
        where b.ends_at <= e.starts_at and b.direction = e.direction and p.procured_mw > 0 and p.accepted_cost_gbp is not null
        group by b.event_ref, b.ends_at
        order by b.ends_at desc, b.event_ref desc
        limit 1) as earlier on true
    where e.ends_at > p_from and needed.most is not null
$$;

-- By event, the digests of the three parts as they are stored.
create or replace function public.known_dfs_events()
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_object_agg(e.event_ref, json_build_object(
        'requirements', e.requirements_digest, 'bids', e.bids_digest, 'summaries', e.summaries_digest)), '{}')
    from public.dfs_events e
$$;

-- Reads for the API server ---------------------------------------------------------------------------------------

create or replace function public.regional_overview(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_agg(json_build_object(
        'region_id', r.region_id,
        'short_name', r.short_name,
        'dno_region', r.dno_region,
        'country', r.country,
        'is_aggregate', r.is_aggregate,
        'timestamp', g.timestamp,
        'carbon_intensity_gco2', g.carbon_intensity_forecast,
        'carbon_index', g.carbon_index,
        'generation_mix', coalesce((
            select json_object_agg(m.fuel, m.percentage order by m.fuel)
            from public.generation_mix m
            where m.region_id = r.region_id and m.timestamp = g.timestamp), '{}'),
        'data_source', g.carbon_source,
        'fetched_at', case when g.carbon_source <> 'synthetic' then g.fetched_at end) order by r.region_id)
    from public.regions r
    left join public.regional_grid_signals g
        on g.region_id = r.region_id and g.timestamp = public.half_hour_of(p_now)
$$;

-- A workload with its newest decision, in a few words or (p_whole) with the published output.
create or replace function public.workload_with_decision(w public.compute_workloads, p_whole boolean)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('workload', to_json(w), 'decision', (
        select json_build_object(
            'decision_id', d.decision_id,
            'sequence', d.sequence,
            'chosen_dc_id', d.chosen_dc_id,
            'recommended_start', d.recommended_start,
            'scorer', d.scorer,
            'reasoning', d.reasoning,
            'decided_at', d.decided_at,
            'output', case when p_whole then d.output end)
        from public.orchestration_decisions d
        where (d.tenant, d.job_id) = (w.tenant, w.job_id)
        order by d.decided_at desc
        limit 1))
$$;

-- Of p_operator, or (null) of whoever's the newest of this name is.
create or replace function public.workload_detail(p_job_id text, p_operator text default null)
returns json
language sql
stable
set search_path = ''
as $$
    select public.workload_with_decision(w, true)
    from public.compute_workloads w
    where w.job_id = p_job_id and (p_operator is null or w.tenant = p_operator)
    order by w.created_at desc
    limit 1
$$;

-- Newest first, after the workload p_after.
create or replace function public.workloads_page(p_status text, p_after text, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'known_after', p_after is null or exists (select from public.compute_workloads w where w.job_id = p_after),
        'workloads', (
            select coalesce(json_agg(public.workload_with_decision(page.row, false)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.created_at, w.job_id
                from public.compute_workloads w
                where (p_status is null or w.status = p_status)
                    and (p_after is null or (w.created_at, w.job_id) < (
                        select seen.created_at, seen.job_id
                        from public.compute_workloads seen
                        where seen.job_id = p_after
                        order by seen.created_at desc
                        limit 1))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page))
$$;

-- As workloads_page, of those that p_filter wants: {status, operator, host_dc_id, workload_type}, each by its exact value.
-- `matching` is how many they are, counted to 10,001. Of p_operator alone, or (null) of everybody.
create or replace function public.workload_list(
    p_filter jsonb,
    p_after text,
    p_limit integer,
    p_counted boolean default false,
    p_operator text default null
)
returns json
language plpgsql
stable
set search_path = ''
-- What is not asked for is then no condition at all, and the order comes from an index.
set plan_cache_mode = force_custom_plan
as $$
declare
    wanted_status constant text := p_filter ->> 'status';
    wanted_operator constant text := p_filter ->> 'operator';
    wanted_host constant text := p_filter ->> 'host_dc_id';
    wanted_type constant text := p_filter ->> 'workload_type';
    seen public.compute_workloads;
begin
    if p_after is not null then
        select * into seen
        from public.compute_workloads w
        where w.job_id = p_after and (p_operator is null or w.tenant = p_operator)
        order by w.created_at desc
        limit 1;
    end if;
    return json_build_object(
        'known_after', p_after is null or seen.job_id is not null,
        'matching', case when p_counted then (
            select count(*)
            from (
                select
                from public.compute_workloads w
                where (p_operator is null or w.tenant = p_operator)
                    and (wanted_status is null or w.status = wanted_status)
                    and (wanted_operator is null or w.operator = wanted_operator)
                    and (wanted_host is null or w.host_dc_id = wanted_host)
                    and (wanted_type is null or w.workload_type = wanted_type)
                limit 10001) as counted) end,
        'workloads', (
            select coalesce(json_agg(json_build_object('workload', page.row, 'decision', newest.decision)
                order by page.created_at desc, page.job_id desc), '[]')
            from (
                select w as row, w.tenant, w.created_at, w.job_id
                from public.compute_workloads w
                where (p_operator is null or w.tenant = p_operator)
                    and (wanted_status is null or w.status = wanted_status)
                    and (wanted_operator is null or w.operator = wanted_operator)
                    and (wanted_host is null or w.host_dc_id = wanted_host)
                    and (wanted_type is null or w.workload_type = wanted_type)
                    and (p_after is null or (w.created_at, w.job_id) < (seen.created_at, seen.job_id))
                order by w.created_at desc, w.job_id desc
                limit p_limit) as page
            left join lateral (
                select json_build_object(
                    'decision_id', d.decision_id,
                    'sequence', case when p_operator is null then d.sequence else d.tenant_sequence end,
                    'chosen_dc_id', d.chosen_dc_id,
                    'recommended_start', d.recommended_start,
                    'scorer', d.scorer,
                    'reasoning', d.reasoning,
                    'decided_at', d.decided_at,
                    'output', null) as decision
                from public.orchestration_decisions d
                where (d.tenant, d.job_id) = (page.tenant, page.job_id)
                order by d.decided_at desc
                limit 1) as newest on true));
end
$$;

-- Decisions in a few words, the newest first, after the place (p_before, p_before_id) of the last one seen or from the newest,
-- of those that p_filter wants: {job_id, dc_id, scorer}, each by its exact value. Of p_operator alone, or (null) of everybody.
-- What the published output says is read from it once; of an output in another shape it is null.
create or replace function public.decision_list(
    p_before timestamptz,
    p_before_id uuid,
    p_limit integer,
    p_filter jsonb,
    p_operator text default null
)
returns json
language plpgsql
stable
set search_path = ''
-- What is not asked for is then no condition at all, and the order comes from an index.
set plan_cache_mode = force_custom_plan
as $$
declare
    wanted_job constant text := p_filter ->> 'job_id';
    wanted_choice constant text := p_filter ->> 'dc_id';
    wanted_scorer constant text := p_filter ->> 'scorer';
begin
    return (
        select coalesce(json_agg(json_build_object(
            'decision_id', page.decision_id,
            'sequence', case when p_operator is null then page.sequence else page.tenant_sequence end,
            'job_id', page.job_id,
            'chosen_dc_id', page.chosen_dc_id,
            'recommended_start', page.recommended_start,
            'scorer', page.scorer,
            'model', page.model,
            'fallback_reason', page.fallback_reason,
            'reasoning', page.reasoning,
            'decided_at', page.decided_at,
            'operator', published.task -> 'operator',
            'workload_type', published.task -> 'workload_type',
            'considered', considered.amount,
            'score', case when page.chosen_dc_id is not null then considered.first -> 'suitability_score' end,
            'estimates', case when page.chosen_dc_id is not null then considered.first -> 'estimates' end,
            'objective_gbp', published.decision -> 'objective_gbp',
            'runner_up', published.decision -> 'runner_up',
            'waiting', published.decision -> 'waiting')
            order by page.decided_at desc, page.decision_id desc), '[]')
        from (
            select d.*
            from public.orchestration_decisions d
            where (p_operator is null or d.tenant = p_operator)
                and (wanted_job is null or d.job_id = wanted_job)
                and (wanted_choice is null or d.chosen_dc_id = wanted_choice)
                and (wanted_scorer is null or d.scorer = wanted_scorer)
                and (p_before is null or (d.decided_at, d.decision_id) < (p_before, p_before_id))
            order by d.decided_at desc, d.decision_id desc
            limit p_limit) as page
        cross join lateral json_to_record(
            case when json_typeof(page.output) = 'object' then page.output else '{}' end)
            as published (data_centre_options json, decision json, task json)
        -- The options are most of an output: read once, and not for each thing that is asked of them.
        left join lateral (
            select count(*) as amount, (array_agg(option.value order by option.place))[1] as first
            from json_array_elements(
                case when json_typeof(published.data_centre_options) = 'array' then published.data_centre_options else '[]' end)
                with ordinality as option (value, place)
            ) as considered on json_typeof(published.data_centre_options) = 'array');
end
$$;

-- In plpgsql, whose plans are kept: planning would take longer than the reads, and the longer the history the more.
create or replace function public.system_health(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return json_build_object(
        'last_run', (
            -- Not one that ended in what was the future: its clock was set back since.
            select to_jsonb(r) || jsonb_build_object('error', r.last_error) from public.pipeline_runs r
            where r.finished_at <= clock_timestamp() + interval '1 minute' order by r.finished_at desc limit 1),
        'running', (
            select to_json(r) from public.pipeline_runs r
            where r.work_state = 'running' and r.leased_until > clock_timestamp() order by r.slot desc limit 1),
        'current_signal', (
            select to_json(g) from public.grid_signals g where g.timestamp = public.half_hour_of(p_now)),
        -- The limit takes no row away. It tells the planner how few there are, or it would plan anew for every call.
        'newest_fetch', (
            select max(greatest(
                case when ahead.carbon_source <> 'synthetic' then ahead.carbon_fetched_at end,
                case when ahead.demand_source <> 'synthetic' then ahead.demand_fetched_at end,
                case when ahead.price_source <> 'synthetic' then ahead.price_fetched_at end))
            from (
                select g.* from public.grid_signals g
                where g.timestamp >= public.half_hour_of(p_now)
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours'
                order by g.timestamp
                limit 96) as ahead),
        'figures', public.figure_origins(p_now));
end
$$;

-- Where the figures that decisions are made from come from, in the 48 hours from the half-hour of p_now: the nation's
-- price and stress, and the intensity of every region with a data centre that is not OFFLINE. [{signal, region_id,
-- short_name, sources: {source: half-hours}, present_source, oldest_fetched_at: of what was fetched}…].
create or replace function public.figure_origins(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        with ahead as materialized (
            select g.* from public.grid_signals g
            where g.timestamp >= slot and g.timestamp < slot + interval '48 hours'
            order by g.timestamp
            limit 96
        ),
        figures as (
            select
                'wholesale_price' as signal, null::integer as region_id, null::text as short_name,
                public.counted(array_agg(a.price_source)) as sources,
                max(a.price_source) filter (where a.timestamp = slot) as present_source,
                min(a.price_fetched_at) filter (where a.price_source <> 'synthetic') as oldest_fetched_at
            from ahead a
            union all
            select
                'grid_stress', null, null,
                public.counted(array_agg(a.demand_source)),
                max(a.demand_source) filter (where a.timestamp = slot),
                min(a.demand_fetched_at) filter (where a.demand_source <> 'synthetic')
            from ahead a
            union all
            select 'carbon_intensity', r.region_id, r.short_name, of_region.sources, of_region.present, of_region.oldest
            from public.regions r
            cross join lateral (
                select
                    public.counted(array_agg(s.carbon_source)) as sources,
                    max(s.carbon_source) filter (where s.timestamp = slot) as present,
                    min(s.fetched_at) filter (where s.carbon_source <> 'synthetic') as oldest
                from (
                    select g.timestamp, g.carbon_source, g.fetched_at
                    from public.regional_grid_signals g
                    where g.region_id = r.region_id and g.timestamp >= slot and g.timestamp < slot + interval '48 hours'
                    order by g.timestamp
                    limit 96) as s) as of_region
            where r.region_id in (select d.region_id from public.data_centres d where d.status <> 'OFFLINE')
        )
        select json_agg(f order by f.signal desc, f.region_id) from figures f);
end
$$;

-- What is already known around the present, for filling the gaps the sources leave: national figures of the last
-- week and every region's last day, with the 48 hours ahead.
create or replace function public.known_signals(p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'national', coalesce((
            select json_agg(g order by g.timestamp)
            from public.grid_signals g
            where g.timestamp >= public.half_hour_of(p_now) - interval '7 days'
                and g.timestamp < public.half_hour_of(p_now) + interval '48 hours'), '[]'),
        'regional', coalesce((
            select json_agg(s order by s.region_id, s.timestamp)
            from public.regions r
            cross join lateral (
                select g.region_id, g.timestamp, g.carbon_intensity_forecast, g.carbon_source, g.fetched_at
                from public.regional_grid_signals g
                where g.region_id = r.region_id
                    and g.timestamp >= public.half_hour_of(p_now) - interval '1 day'
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') as s), '[]'),
        'has_recent_mix', exists (
            select from public.generation_mix m
            where m.national_timestamp between p_now - interval '2 hours' and p_now and m.mix_source <> 'synthetic'),
        'last_sources', coalesce((
            -- By the token and not by the slot: tokens only ever grow, and a clock may be set back.
            select r.sources from public.pipeline_runs r where r.sources <> '{}' order by r.lease_token desc limit 1), '{}'))
$$;

-- What is stored of the half-hours that begin in [p_from, p_to), for replays: of the nation, and of every region with a
-- data centre. Half-hours without a row are nulls in their place.
create or replace function public.signal_history(p_from timestamptz, p_to timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    with slots as materialized (
        select slot
        from generate_series(public.half_hour_of(p_from), p_to - interval '1 microsecond', interval '30 minutes') as slot
    )
    select json_build_object(
        'start', public.half_hour_of(p_from),
        'national', (
            select json_build_object(
                'carbon_intensity_forecast', coalesce(json_agg(g.carbon_intensity_forecast order by slot), '[]'),
                'carbon_intensity_actual', coalesce(json_agg(g.carbon_intensity_actual order by slot), '[]'),
                'grid_stress_score', coalesce(json_agg(g.grid_stress_score order by slot), '[]'),
                'wholesale_price_gbp_mwh', coalesce(json_agg(g.wholesale_price_gbp_mwh order by slot), '[]'),
                'carbon_sources', public.counted(array_agg(g.carbon_source)),
                'demand_sources', public.counted(array_agg(g.demand_source)),
                'price_sources', public.counted(array_agg(g.price_source)))
            from slots
            left join public.grid_signals g on g.timestamp = slot),
        'regional', coalesce((
            select json_agg(
                json_build_object('region_id', sited.region_id, 'carbon_intensity_forecast', coalesce(series.forecast, '[]'))
                order by sited.region_id)
            from (select distinct d.region_id from public.data_centres d where d.status <> 'OFFLINE') as sited
            cross join lateral (
                select json_agg(g.carbon_intensity_forecast order by slot) as forecast
                from slots
                left join public.regional_grid_signals g on g.region_id = sited.region_id and g.timestamp = slot
            ) as series), '[]'))
$$;


-- The grid in columns ------------------------------------------------------------------------------------------------------
--
-- Half-hours one after the other, one array a figure: a position is a time, and what is not known is null in its place.

create or replace function public.changes(words text[])
returns json
language sql
immutable parallel safe
set search_path = ''
as $$
    select coalesce(json_agg(json_build_array(s.i, s.word) order by s.i), '[]')
    from (
        select place - 1 as i, word, lag(word) over (order by place) as before
        from unnest(words) with ordinality as u (word, place)) as s
    where s.i = 0 or s.word is distinct from s.before
$$;
comment on function public.changes is
    'A list of words as where it changes: [[0, "elexon"], [12, "modelled"]] is elexon from position 0 on and modelled from 12 on.';

-- Every region in the 96 half-hours from that of p_now.
create or replace function public.regional_forecasts(p_now timestamptz)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    slot constant timestamptz := public.half_hour_of(p_now);
begin
    return (
        select json_build_object('start', slot, 'regions', json_agg(
            json_build_object(
                'region_id', r.region_id,
                'carbon_intensity', series.carbon_intensity,
                'carbon_index', series.carbon_index,
                'carbon_sources', series.carbon_sources,
                'oldest_fetched_at', series.oldest_fetched_at)
            order by r.region_id))
        from public.regions r
        cross join lateral (
            select
                json_agg(g.carbon_intensity_forecast order by ahead.i) as carbon_intensity,
                public.changes(array_agg(g.carbon_index order by ahead.i)) as carbon_index,
                public.changes(array_agg(g.carbon_source order by ahead.i)) as carbon_sources,
                min(g.fetched_at) filter (where g.carbon_source <> 'synthetic') as oldest_fetched_at
            from generate_series(0, 95) as ahead (i)
            left join public.regional_grid_signals g
                on g.region_id = r.region_id and g.timestamp = slot + ahead.i * interval '30 minutes') as series);
end
$$;

-- The half-hours that begin in [p_from, p_until), of the nation or (p_region_id) of a region: what was forecast, what came,
-- and what it was made of. No region's actual is published: it is estimated as in accounts and back-tests, from the region's
-- last forecast and how the nation's turned out, where both are of the Carbon Intensity API.
create or replace function public.grid_history(p_from timestamptz, p_until timestamptz, p_region_id integer default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    first constant timestamptz := public.half_hour_of(p_from);
begin
    return (
        with slots as materialized (
            select slot, row_number() over (order by slot) as place
            from generate_series(first, p_until - interval '1 microsecond', interval '30 minutes') as slot
        ),
        series as materialized (
            select
                s.place,
                case when p_region_id is null then n.carbon_intensity_forecast else r.carbon_intensity_forecast end as forecast,
                case
                    when p_region_id is null then n.carbon_intensity_actual
                    when n.carbon_intensity_actual > 0 and n.carbon_intensity_forecast > 0
                        and (r.carbon_source, n.carbon_source) = ('carbon_intensity_api', 'carbon_intensity_api')
                        then round((r.carbon_intensity_forecast * n.carbon_intensity_actual / n.carbon_intensity_forecast)::numeric, 1)
                end as actual,
                case when p_region_id is null then n.carbon_index else r.carbon_index end as carbon_index,
                case when p_region_id is null then n.carbon_source else r.carbon_source end as carbon_source,
                case when p_region_id is null then n.demand_mw end as demand_mw,
                case when p_region_id is null then n.demand_source end as demand_source,
                case when p_region_id is null then n.grid_stress_score end as grid_stress_score,
                case when p_region_id is null then n.wholesale_price_gbp_mwh end as wholesale_price_gbp_mwh,
                case when p_region_id is null then n.price_source end as price_source,
                case when p_region_id is null then i.system_price_gbp_mwh end as system_price_gbp_mwh,
                case when p_region_id is null then l.derated_margin_mw end as derated_margin_mw,
                case when p_region_id is null then l.probability end as loss_of_load_probability
            from slots s
            left join public.grid_signals n on n.timestamp = s.slot
            left join public.system_prices i on i.half_hour = s.slot
            left join public.loss_of_load_forecasts l on l.half_hour = s.slot
            left join public.regional_grid_signals r on r.region_id = p_region_id and r.timestamp = s.slot
        ),
        -- Two searches, each on its own index.
        mixes as materialized (
            select s.place, m.fuel, m.percentage, m.mix_source
            from slots s
            join public.generation_mix m on m.national_timestamp = s.slot
            where p_region_id is null
            union all
            select s.place, m.fuel, m.percentage, m.mix_source
            from slots s
            join public.generation_mix m on m.region_id = p_region_id and m.timestamp = s.slot
        ),
        fuels as (
            select f.fuel, json_agg(m.percentage order by s.place) as percentages
            from (select distinct fuel from mixes) as f
            cross join slots s
            left join mixes m on (m.fuel, m.place) = (f.fuel, s.place)
            group by f.fuel
        )
        select json_build_object(
            'start', first,
            'half_hours', count(*),
            'carbon_intensity_forecast', json_agg(s.forecast order by s.place),
            'carbon_intensity_actual', json_agg(s.actual order by s.place),
            'carbon_index', public.changes(array_agg(s.carbon_index order by s.place)),
            'carbon_sources', public.changes(array_agg(s.carbon_source order by s.place)),
            'demand_mw', json_agg(s.demand_mw order by s.place),
            'demand_sources', public.changes(array_agg(s.demand_source order by s.place)),
            'grid_stress_score', json_agg(s.grid_stress_score order by s.place),
            'wholesale_price_gbp_mwh', json_agg(s.wholesale_price_gbp_mwh order by s.place),
            'price_sources', public.changes(array_agg(s.price_source order by s.place)),
            'system_price_gbp_mwh', json_agg(s.system_price_gbp_mwh order by s.place),
            'derated_margin_mw', json_agg(s.derated_margin_mw order by s.place),
            'loss_of_load_probability', json_agg(s.loss_of_load_probability order by s.place),
            'generation_mix', (select coalesce(json_object_agg(f.fuel, f.percentages order by f.fuel), '{}') from fuels f),
            'mix_sources', (
                select public.changes(array_agg(m.mix_source order by slots.place))
                from slots
                left join (
                    select mixes.place, (array_agg(mixes.mix_source order by public.source_rank(mixes.mix_source)))[1] as mix_source
                    from mixes
                    group by mixes.place) as m on m.place = slots.place))
        from series s);
end
$$;

-- Runs of the pipeline, the newest first, before that of the half-hour p_after.
create or replace function public.pipeline_runs_page(p_limit integer, p_after timestamptz default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select coalesce(json_agg(page order by page.slot desc), '[]')
        from (
            select
                r.slot, r.state, r.started_at, r.finished_at, r.attempt, r.sources, r.counts, r.stages_ms, r.last_error as error
            from public.pipeline_runs r
            where r.slot < coalesce(p_after, 'infinity')
            order by r.slot desc
            limit p_limit) as page);
end
$$;

-- The Beckn network: who is on it, what arrived from it, what goes out to it ---------------------------------------

create table if not exists public.beckn_subscribers (
    -- A subscription is one platform in one role and domain, with one key. Networks name keys as they like, so a key_id is
    -- its platform's own; one that is a UUID is written in lower case.
    key_id text not null,
    subscriber_id text not null check (subscriber_id ~ '^[A-Za-z0-9._:/-]{1,200}$'),
    type text not null check (type in ('BAP', 'BPP', 'BG')),
    domain text not null check (length(domain) between 1 and 200),
    url text not null check (url ~ '^https?://'),
    -- {"country": {"code"}, "city": {"code"}}; null, and the code *, mean everywhere.
    location jsonb,
    signing_public_key text not null,
    encr_public_key text,
    valid_from timestamptz not null,
    valid_until timestamptz not null,
    status text not null default 'SUBSCRIBED'
        check (status in ('INITIATED', 'UNDER_SUBSCRIPTION', 'SUBSCRIBED', 'EXPIRED', 'UNSUBSCRIBED', 'INVALID_SSL')),
    -- The operator's word that the URL may lead to this machine or into a private network.
    private_address boolean not null default false,
    -- Of a platform that tells from time to time that it runs: until when that holds. Null: an operator looks after it.
    present_until timestamptz,
    -- The tenant that this platform speaks for; null: a stranger's.
    operator text references public.operators,
    created timestamptz not null default clock_timestamp(),
    updated timestamptz not null default clock_timestamp(),
    constraint beckn_subscribers_pkey primary key (subscriber_id, key_id),
    constraint beckn_subscribers_key_id_check check (key_id ~ '^[^|"[:cntrl:]]{1,200}$'),
    check (valid_from < valid_until)
);
create index if not exists beckn_subscribers_platform on public.beckn_subscribers (subscriber_id, type, updated desc);
create index if not exists beckn_subscribers_operator on public.beckn_subscribers (operator) where operator is not null;
create index if not exists beckn_subscribers_providers on public.beckn_subscribers (domain, type) where status = 'SUBSCRIBED';

-- The processes of a platform that tells that it runs: it is present for as long as one of them is.
create table if not exists public.beckn_presences (
    subscriber_id text not null,
    type text not null check (type in ('BAP', 'BPP', 'BG')),
    worker text not null check (length(worker) between 1 and 300),
    present_until timestamptz not null check (isfinite(present_until)),
    primary key (subscriber_id, type, worker)
);

-- How much a sender has had stored by one of our platforms in a day (UTC).
create table if not exists public.beckn_usage (
    platform text not null,
    sender text not null,
    day date not null,
    messages bigint not null check (messages >= 0),
    bytes bigint not null check (bytes >= 0),
    primary key (platform, sender, day)
);

-- Recipients that did not answer one of our platforms at the last attempt. Nothing is sent to them before open_until, and
-- then one message at a time; the row goes when one answers.
create table if not exists public.beckn_circuits (
    sender text not null,
    recipient text not null,
    failures integer not null check (failures > 0),
    open_until timestamptz not null check (isfinite(open_until)),
    primary key (sender, recipient)
);

-- Queues of work, with the columns of all of them (see workload_notifications). Rows are taken by their turn: the first message
-- of everybody comes before the second of anybody (start-time fair queueing).
create table if not exists public.beckn_inbox (
    inbox_id bigint generated always as identity primary key,
    -- Our platform that the message was sent to: several may share this database.
    recipient text not null,
    sender text not null,
    action text not null,
    transaction_id uuid not null,
    message_id uuid not null,
    -- The very bytes that arrived, which are UTF-8; they go a minute after the end of the work, their SHA-256 stays.
    body text,
    body_digest text not null default '',
    turn bigint not null default 0,
    -- What was answered at once, and is answered again to the same message.
    answer jsonb not null,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer not null default 5,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    -- timestamp + ttl: after it nobody waits for a callback. Null where the work must be done however late it is.
    expires_at timestamptz,
    received_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    unique (recipient, sender, action, message_id),
    check (body is not null or work_state in ('completed', 'discarded'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists beckn_inbox_retryable on public.beckn_inbox (recipient, scheduled_at) where work_state = 'retryable';
create index if not exists beckn_inbox_order on public.beckn_inbox (transaction_id, recipient, sender, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_discarded on public.beckn_inbox (inbox_id) where work_state = 'discarded';
create index if not exists beckn_inbox_finished on public.beckn_inbox (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists beckn_inbox_turns on public.beckn_inbox (recipient, sender, turn, inbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_running on public.beckn_inbox (recipient, turn) where work_state = 'running';
create index if not exists beckn_inbox_expiring on public.beckn_inbox (recipient, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_inbox_bodies on public.beckn_inbox (recipient, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

create table if not exists public.beckn_outbox (
    outbox_id bigint generated always as identity primary key,
    -- Our platform, which signs it.
    sender text not null,
    -- Who wrote it: another platform where a gateway passes it on, else the sender.
    origin text not null,
    recipient text not null,
    recipient_type text not null check (recipient_type in ('BAP', 'BPP', 'BG')),
    action text not null,
    domain text not null,
    transaction_id uuid not null,
    message_id uuid not null,
    -- It goes a minute after the delivery, its SHA-256 stays.
    body text,
    body_digest text not null default '',
    turn bigint not null default 0,
    -- Of a message that a gateway passes on: the signature header it came with.
    "authorization" text,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer, -- null: until its time is over
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- What is left out as known already is the very same message.
    constraint beckn_outbox_message_key unique (
        sender, origin, recipient, recipient_type, action, message_id, body_digest),
    check (body is not null or work_state in ('completed', 'discarded'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists beckn_outbox_retryable on public.beckn_outbox (sender, scheduled_at) where work_state = 'retryable';
create index if not exists beckn_outbox_order on public.beckn_outbox (transaction_id, sender, origin, recipient, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_discarded on public.beckn_outbox (outbox_id) where work_state = 'discarded';
create index if not exists beckn_outbox_finished on public.beckn_outbox (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists beckn_outbox_turns on public.beckn_outbox (sender, recipient, turn, outbox_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_origins on public.beckn_outbox (sender, origin, recipient, turn)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_running on public.beckn_outbox (sender, turn) where work_state = 'running';
create index if not exists beckn_outbox_expiring on public.beckn_outbox (sender, expires_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_outbox_bodies on public.beckn_outbox (sender, finished_at)
    where work_state in ('completed', 'discarded') and body is not null;

-- Whether two codes of a country or city can mean the same place: nothing and * mean any.
create or replace function public.beckn_same_place(one text, other text)
returns boolean
language sql
immutable parallel safe
set search_path = ''
as $$
    select one is null or other is null or one = '*' or other = '*' or one = other
$$;

-- A key's id as the registry keeps it: the case of a UUID's digits means nothing.
create or replace function public.beckn_key_id(p_key_id text)
returns text
language sql
immutable parallel safe
set search_path = ''
as $$
    select case
        when p_key_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(p_key_id)
        else p_key_id end
$$;

-- Whether a URL names an address that is called only with the operator's word: this machine, a private network. What a
-- name leads to is looked at when it is called (beckn/outgoing_calls.py), which is the one that decides.
create or replace function public.beckn_leads_inside(p_url text)
returns boolean
language plpgsql
immutable parallel safe
set search_path = ''
as $$
declare
    host text := lower(coalesce(
        substring(p_url from '^https?://\[([^]]*)\]'), substring(p_url from '^https?://([^/:?#]*)')));
begin
    if host = 'localhost' or host like '%.localhost' then
        return true;
    end if;
    return host::inet <<= any (array[
        '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16',
        '224.0.0.0/3', '::/127', 'fc00::/7', 'fe80::/10', 'ff00::/8']::inet[]);
exception
    when invalid_text_representation then
        return false;
end
$$;

-- The status that a subscription has at p_now: it expires by itself, and when the platform does not tell any more that it
-- runs.
create or replace function public.beckn_status_at(s public.beckn_subscribers, p_now timestamptz)
returns text
language sql
stable
set search_path = ''
as $$
    select case
        when s.status = 'SUBSCRIBED' and (p_now >= s.valid_until or clock_timestamp() >= s.present_until) then 'EXPIRED'
        else s.status end
$$;

-- Subscriptions that are like p_query, a subscription of which any field may be left out; without a status, only those
-- that hold at p_now. At most 1,000.
create or replace function public.beckn_lookup(p_query jsonb, p_now timestamptz)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(
        jsonb_strip_nulls(to_jsonb(found) - 'private_address' - 'present_until' - 'operator'
            || jsonb_build_object('status', public.beckn_status_at(found, p_now)))
        order by found.subscriber_id, found.key_id), '[]')
    from (
        select s.*
        from public.beckn_subscribers s
        where public.beckn_status_at(s, p_now) = coalesce(p_query ->> 'status', 'SUBSCRIBED')
            and (p_query ? 'status' or p_now >= s.valid_from)
            and s.key_id = coalesce(public.beckn_key_id(p_query ->> 'key_id'), s.key_id)
            and s.subscriber_id = coalesce(p_query ->> 'subscriber_id', s.subscriber_id)
            and s.type = coalesce(p_query ->> 'type', s.type)
            and s.domain = coalesce(p_query ->> 'domain', s.domain)
            and s.url = coalesce(p_query ->> 'url', s.url)
            and s.signing_public_key = coalesce(p_query ->> 'signing_public_key', s.signing_public_key)
            and public.beckn_same_place(s.location #>> '{country,code}', p_query #>> '{location,country,code}')
            and public.beckn_same_place(s.location #>> '{city,code}', p_query #>> '{location,city,code}')
        order by s.subscriber_id, s.key_id
        limit 1000) as found
$$;

-- How the queues are: rows that wait (retries not yet due and expired leases included), are in hand, and are dead.
create or replace function public.beckn_health()
returns json
language sql
stable
set search_path = ''
as $$
    with open as (
        select 'inbox' as queue, work_state = 'running' and leased_until >= clock_timestamp() as in_hand, received_at as since
        from public.beckn_inbox
        where work_state in ('available', 'running', 'retryable')
        union all
        select 'outbox', work_state = 'running' and leased_until >= clock_timestamp(), created_at
        from public.beckn_outbox
        where work_state in ('available', 'running', 'retryable')
    ),
    waiting as (
        select
            queue,
            count(*) filter (where not in_hand) as waiting,
            count(*) filter (where in_hand) as in_flight,
            extract(epoch from clock_timestamp() - min(since)) as oldest_seconds
        from open
        group by queue
    ),
    dead as (
        select 'inbox' as queue, count(*) as dead from public.beckn_inbox where work_state = 'discarded'
        union all
        select 'outbox', count(*) from public.beckn_outbox where work_state = 'discarded'
    )
    select json_object_agg(dead.queue, json_build_object(
        'waiting', coalesce(waiting.waiting, 0),
        'in_flight', coalesce(waiting.in_flight, 0),
        'dead', dead.dead,
        'oldest_waiting_seconds', waiting.oldest_seconds))
    from dead
    left join waiting on waiting.queue = dead.queue
$$;

-- What was given up in either queue, newest first and without the bodies: {"inbox": […], "outbox": […]}.
create or replace function public.beckn_dead_letters(p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'inbox', coalesce((
            select json_agg(dead) from (
                select inbox_id, recipient, sender, action, transaction_id, message_id, attempt as attempts, last_error, received_at,
                    finished_at
                from public.beckn_inbox where work_state = 'discarded' order by inbox_id desc limit p_limit) as dead), '[]'),
        'outbox', coalesce((
            select json_agg(dead) from (
                select outbox_id, sender, recipient, recipient_type, action, transaction_id, message_id,
                    attempt as attempts, last_error, created_at, expires_at, finished_at
                from public.beckn_outbox where work_state = 'discarded' order by outbox_id desc limit p_limit) as dead), '[]'))
$$;


-- Negotiations ---------------------------------------------------------------------------------------------------------
--
-- Agents that share a limit of power by half-hour settle who draws when. tenant is who opened a negotiation ('platform': the
-- platform itself), or whose agent it is; opened_by is who opened what the agent takes part in. Powers and costs are worked out
-- in floating point by a linear program; what is paid is numeric. All but the negotiations and their agents' states is written
-- once.

-- A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when the next step is due.
create table if not exists public.negotiations (
    negotiation_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    name text not null check (length(name) between 1 and 200),
    started_by text not null check (started_by in ('hand', 'region_limit', 'flexibility_need', 'contention')),
    -- The limit that it is about, of which one negotiation at a time is open; null of one by hand.
    limit_key text check (length(limit_key) between 1 and 200),
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    half_hours integer not null check (half_hours between 1 and 96),
    -- How long an agent outside has to answer.
    round_seconds integer not null check (round_seconds between 1 and 600),
    most_rounds integer not null check (most_rounds between 1 and 40),
    -- By then it is awarded, or over.
    closes_at timestamptz not null,
    document jsonb not null default '{}',
    state text not null default 'OPEN'
        check (state in ('OPEN', 'ROUND', 'AWARDED', 'CONFIRMED', 'SETTLED', 'FALLBACK', 'EXPIRED', 'CANCELLED')),
    state_reason text,
    round integer not null default 0 check (round >= 0),
    award_number integer not null default 0 check (award_number >= 0),
    answer_by timestamptz,
    outcome jsonb,
    -- Counts every step and every message, so that no step is made without knowing what was said before it.
    version bigint not null default 0,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    opened_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp(),
    unique (tenant, name)
) with (fillfactor = 70);
create index if not exists negotiations_tenant on public.negotiations (tenant, opened_at desc, negotiation_id desc);
create index if not exists negotiations_newest on public.negotiations (opened_at desc, negotiation_id desc);
create index if not exists negotiations_due on public.negotiations (scheduled_at)
    where work_state in ('available', 'running', 'retryable');
create unique index if not exists negotiations_limit on public.negotiations (limit_key)
    where limit_key is not null and state in ('OPEN', 'ROUND', 'AWARDED');

-- Who takes part, with what it has of the limit, and within what its proposals must stay. What an agent of the platform's own
-- program is to do is declared; an agent outside says it itself.
create table if not exists public.negotiation_agents (
    negotiation_id uuid not null references public.negotiations,
    agent text not null check (agent ~ '^[A-Za-z0-9._:-]{1,64}$'),
    tenant text not null,
    opened_by text not null,
    kind text not null check (kind in ('compute', 'storage', 'buyer', 'outside')),
    -- Where its award holds power; null: nowhere.
    dc_id text references public.data_centres,
    endowment_mw double precision[] not null,
    least_mw double precision[] not null,
    most_mw double precision[] not null,
    declared jsonb not null default '{}',
    state text not null default 'INVITED'
        check (state in ('INVITED', 'JOINED', 'PROPOSED', 'SILENT', 'AWARDED', 'CONFIRMED', 'BREACHED', 'LEFT')),
    primary key (negotiation_id, agent)
) with (fillfactor = 80);
create index if not exists negotiation_agents_tenant on public.negotiation_agents (tenant, negotiation_id);
create index if not exists negotiation_agents_opened_by on public.negotiation_agents (opened_by);
create index if not exists negotiation_agents_data_centre on public.negotiation_agents (dc_id);

-- What was said, by FIPA's words. A call for proposals is the coordinator's to one agent.
create table if not exists public.negotiation_messages (
    message_number bigint generated always as identity primary key,
    negotiation_id uuid not null,
    agent text not null,
    tenant text not null,
    round integer not null check (round >= 0),
    sender text not null check (sender in ('agent', 'coordinator')),
    performative text not null check (performative in (
        'cfp', 'propose', 'refuse', 'accept-proposal', 'reject-proposal', 'confirm', 'failure', 'cancel', 'inform')),
    -- The sender's own name for it: what bears one that is known changes nothing.
    message_id text not null check (length(message_id) between 1 and 200),
    body jsonb not null,
    received_at timestamptz not null,
    unique (negotiation_id, agent, sender, message_id),
    foreign key (negotiation_id, agent) references public.negotiation_agents (negotiation_id, agent)
);
create index if not exists negotiation_messages_tenant on public.negotiation_messages (tenant, negotiation_id);

-- What each agent is to draw, what that costs it, and what it pays (below 0: is paid). The newest award counts.
create table if not exists public.negotiation_awards (
    negotiation_id uuid not null,
    award_number integer not null check (award_number > 0),
    agent text not null,
    tenant text not null,
    opened_by text not null,
    award_id uuid not null,
    draw_mw double precision[] not null,
    cost_gbp double precision not null,
    fallback_gbp double precision not null,
    pays_gbp numeric not null,
    awarded_at timestamptz not null,
    primary key (negotiation_id, award_number, agent),
    foreign key (negotiation_id, agent) references public.negotiation_agents (negotiation_id, agent)
);
create index if not exists negotiation_awards_agent on public.negotiation_awards (negotiation_id, agent);
create index if not exists negotiation_awards_tenant on public.negotiation_awards (tenant);
create index if not exists negotiation_awards_opened_by on public.negotiation_awards (opened_by);

-- Who pays whom for an award.
create table if not exists public.negotiation_payments (
    negotiation_id uuid not null,
    award_number integer not null check (award_number > 0),
    payer text not null,
    payee text not null check (payee <> payer),
    payer_tenant text not null,
    payee_tenant text not null,
    opened_by text not null,
    amount_gbp numeric not null check (amount_gbp > 0),
    primary key (negotiation_id, award_number, payer, payee),
    foreign key (negotiation_id, payer) references public.negotiation_agents (negotiation_id, agent),
    foreign key (negotiation_id, payee) references public.negotiation_agents (negotiation_id, agent)
);
create index if not exists negotiation_payments_payer on public.negotiation_payments (negotiation_id, payer);
create index if not exists negotiation_payments_payee on public.negotiation_payments (negotiation_id, payee);
create index if not exists negotiation_payments_payer_tenant on public.negotiation_payments (payer_tenant);
create index if not exists negotiation_payments_payee_tenant on public.negotiation_payments (payee_tenant);
create index if not exists negotiation_payments_opened_by on public.negotiation_payments (opened_by);

-- The provider's platform: quotes and orders ------------------------------------------------------------------------

create table if not exists public.beckn_quotes (
    quote_id uuid primary key,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    dc_id text not null references public.data_centres,
    item_id text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw double precision not null check (it_power_kw >= 0 and it_power_kw < 'infinity'),
    price_gbp numeric not null,
    -- The workload, the lines of the quote and the estimates, as the platform wrote them.
    terms jsonb not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    -- The tenants on both sides; a stranger's purchase is the platform's.
    buyer_operator text not null,
    seller_operator text not null,
    check (starts_at < ends_at)
);
create index if not exists beckn_quotes_buyer_operator on public.beckn_quotes (buyer_operator, created_at desc);
create index if not exists beckn_quotes_seller_operator on public.beckn_quotes (seller_operator, created_at desc);
create index if not exists beckn_quotes_data_centre on public.beckn_quotes (dc_id);
create index if not exists beckn_quotes_expired on public.beckn_quotes (expires_at);
create index if not exists beckn_quotes_buyer on public.beckn_quotes (bpp_id, bap_id, expires_at);

-- A queue of work, with the columns of all of them (see workload_notifications); "state" is what the buyer is told. scheduled_at
-- is when the executor has something to do with an order: its start, or its end once it runs. It is completed when nothing
-- is left to be done.
create table if not exists public.beckn_orders (
    order_id uuid primary key,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    quote_id uuid not null references public.beckn_quotes,
    job_id text not null,
    dc_id text not null references public.data_centres,
    item_id text not null,
    state text not null check (state in ('SCHEDULED', 'RUNNING', 'DEFERRED', 'COMPLETED', 'CANCELLED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw double precision not null check (it_power_kw >= 0 and it_power_kw < 'infinity'),
    price_gbp numeric not null,
    -- The quote's terms with billing, customer and the context of the confirm.
    terms jsonb not null,
    deferral jsonb,
    cancellation jsonb,
    revision integer not null default 1,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The order's workload is the buyer's; its data centre is the seller's.
    buyer_operator text not null,
    seller_operator text not null,
    check (starts_at < ends_at),
    unique (buyer_operator, job_id),
    foreign key (buyer_operator, job_id) references public.compute_workloads (tenant, job_id),
    -- One order a transaction: a confirm that is repeated finds the first one's order.
    unique (bpp_id, bap_id, transaction_id)
);
create index if not exists beckn_orders_capacity on public.beckn_orders (dc_id, starts_at)
    where state in ('SCHEDULED', 'DEFERRED', 'RUNNING');
create index if not exists beckn_orders_due on public.beckn_orders (bpp_id, scheduled_at)
    where work_state in ('available', 'running', 'retryable');
create index if not exists beckn_orders_buyer_operator on public.beckn_orders (buyer_operator, created_at desc);
create index if not exists beckn_orders_seller_operator on public.beckn_orders (seller_operator, created_at desc);
create index if not exists beckn_orders_quote on public.beckn_orders (quote_id);
create index if not exists beckn_orders_open on public.beckn_orders (bpp_id, bap_id)
    where state in ('SCHEDULED', 'DEFERRED', 'RUNNING');
create index if not exists beckn_orders_cancelled on public.beckn_orders (bpp_id, bap_id, updated_at)
    where state = 'CANCELLED';

-- An order with what its workload has recorded, or null; p_bap_id null means of any buyer.
create or replace function public.beckn_order(p_bpp_id text, p_bap_id text, p_order_id uuid)
returns json
language sql
stable
set search_path = ''
as $$
    select to_jsonb(o) || jsonb_build_object(
        'status', w.status,
        'status_reason', w.status_reason,
        'actual_start', w.actual_start,
        'actual_end', w.actual_end,
        'actual_energy_kwh', w.actual_energy_kwh,
        'actual_carbon_gco2', w.actual_carbon_gco2,
        'actual_cost_gbp', w.actual_cost_gbp)
    from public.beckn_orders o
    join public.compute_workloads w on (w.tenant, w.job_id) = (o.buyer_operator, o.job_id)
    where o.order_id = p_order_id and o.bpp_id = p_bpp_id and (p_bap_id is null or o.bap_id = p_bap_id)
$$;


-- Power that is promised ---------------------------------------------------------------------------------------------

-- Every promise of power, whoever made it: a decision of the gateway, an order bought over Beckn, a commitment to be
-- flexible, an award of a negotiation. While it is HELD or RUNNING it holds its IT power in every half-hour that its window
-- touches. A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when whoever
-- carries it out has something to do, its start or its end. An order's is completed from the start: beckn_orders is the
-- queue of orders.
create table if not exists public.capacity_bookings (
    booking_id bigint generated always as identity primary key,
    -- What readers know it by: the number would tell every tenant how much the others book.
    booking_key uuid not null default gen_random_uuid(),
    dc_id text not null references public.data_centres,
    -- Whose workload it is for. What an event of flexibility holds is for none, as it keeps power free, and what an award of
    -- a negotiation holds is for whatever its agent runs there.
    tenant text not null,
    job_id text,
    source text not null check (source in ('decision', 'beckn_order', 'flexibility', 'negotiation')),
    -- No foreign key: a notification is pruned in time, the booking stays.
    notification_id bigint,
    order_id uuid references public.beckn_orders on delete cascade,
    state text not null default 'HELD' check (state in ('HELD', 'RUNNING', 'ENDED', 'RELEASED')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    it_power_kw numeric(16, 6) not null check (it_power_kw >= 0),
    reason text, -- why it was released
    -- What the workload would have had without a decision, fixed when it was decided: {dc_id, starts_at, ends_at, it_power_kw,
    -- basis: "home" | "first_come"}. Null where no decision chose the place: an order, or what its owner moved.
    run_now jsonb,
    carried_out_by text not null
        check (carried_out_by in ('simulation', 'runner', 'order', 'flexibility', 'negotiation')),
    started_at timestamptz,
    ended_at timestamptz,
    -- The owner no longer wants what a runner runs: its runner stops it.
    cancel_requested_at timestamptz,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    flexibility_event_id uuid, -- no foreign key: events are made further down, and none is ever deleted
    negotiation_id uuid, -- likewise
    check (starts_at < ends_at),
    constraint capacity_bookings_job check (job_id is not null or source in ('flexibility', 'negotiation')),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
-- A workload has one place at a time.
create unique index if not exists capacity_bookings_open on public.capacity_bookings (tenant, job_id)
    where state in ('HELD', 'RUNNING');
create unique index if not exists capacity_bookings_order on public.capacity_bookings (order_id) where order_id is not null;
create index if not exists capacity_bookings_flexibility on public.capacity_bookings (flexibility_event_id)
    where flexibility_event_id is not null;
create index if not exists capacity_bookings_negotiation on public.capacity_bookings (negotiation_id)
    where negotiation_id is not null;
create unique index if not exists capacity_bookings_key on public.capacity_bookings (booking_key);
create index if not exists capacity_bookings_job on public.capacity_bookings (job_id, tenant, created_at desc);
create index if not exists capacity_bookings_data_centre on public.capacity_bookings (dc_id);
create index if not exists capacity_bookings_active on public.capacity_bookings (dc_id, starts_at)
    where state in ('HELD', 'RUNNING');
create index if not exists capacity_bookings_due on public.capacity_bookings (carried_out_by, scheduled_at)
    where work_state in ('available', 'running', 'retryable');

-- The sum of what the bookings that are HELD or RUNNING hold of a data centre, half-hour by half-hour: a trigger keeps it,
-- so that what was taken is given back exactly. A half-hour without a row holds nothing.
create table if not exists public.held_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    held_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
create index if not exists held_power_half_hour on public.held_power (half_hour);

-- What a kilowatt is worth in each half-hour by the joint plan of the work that can still be placed: one row for a pipeline run,
-- made anew as decisions are made. gbp_per_kw: {dc_id: [[i, £]…]}, from the i-th half-hour on; one that is not named is worth 0.
create table if not exists public.capacity_prices (
    slot timestamptz primary key references public.pipeline_runs on delete cascade,
    planned_at timestamptz not null,
    newest_event bigint not null, -- when it was planned: with another there may be other work
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    half_hours integer not null check (half_hours between 1 and 1000),
    workloads integer not null check (workloads >= 0),
    left_out integer not null check (left_out between 0 and workloads),
    method text not null check (method in ('each_alone', 'exact', 'search')),
    gbp_per_kw jsonb not null
);


-- Meters and accounts ---------------------------------------------------------------------------------------------------

-- What a run used in one half-hour, to the thousandth of a watt-hour. Written once, like the decisions: a correction is a further revision
-- of the same half-hour, and the newest counts. Only record_readings writes here. None is ever pruned.
create table if not exists public.meter_readings (
    -- No number: that would tell every tenant how much the others run.
    reading_id uuid primary key default gen_random_uuid(),
    -- No foreign key: it stays for as long as its workload, and that for as long as it has readings.
    booking_id bigint not null,
    dc_id text not null references public.data_centres,
    tenant text not null,
    job_id text not null,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    it_energy_wh numeric(18, 3) not null check (it_energy_wh >= 0),
    site_energy_wh numeric(18, 3) not null,
    source text not null check (source in ('simulated', 'rapl', 'power_x_time', 'reported')),
    revision integer not null check (revision > 0),
    recorded_at timestamptz not null default clock_timestamp(),
    check (site_energy_wh >= it_energy_wh),
    unique (booking_id, half_hour, revision),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index if not exists meter_readings_data_centre on public.meter_readings (dc_id, half_hour);
create index if not exists meter_readings_workload on public.meter_readings (tenant, job_id);
create index if not exists meter_readings_tenant_id on public.meter_readings (tenant, reading_id);
create index if not exists meter_readings_job on public.meter_readings (job_id);

-- The history of a data centre's load: what others drew, as the pipeline's run of the half-hour found it (null: there was
-- none), and what runs of ours used, which a trigger sums up from the readings.
create table if not exists public.data_centre_loads (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    total_capacity_mw double precision,
    base_load_percentage double precision check (base_load_percentage between 0 and 100),
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index if not exists data_centre_loads_half_hour on public.data_centre_loads (half_hour);

-- What each run came to, and what it would have come to without a decision. account_runs works it out, at the end of the
-- run and again as the grid's actual figures come, until settled_at.
create table if not exists public.run_accounts (
    booking_id bigint primary key references public.capacity_bookings on delete cascade,
    booking_key uuid not null references public.capacity_bookings (booking_key) on delete cascade,
    tenant text not null,
    job_id text not null,
    dc_id text not null references public.data_centres,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    it_energy_wh numeric(18, 3) not null default 0,
    site_energy_wh numeric(18, 3) not null default 0,
    -- Null: unknown for one of its half-hours. So are the others below.
    carbon_gco2 double precision,
    cost_gbp double precision,
    -- The counterfactual: the same run moved to run_now_starts_at at run_now_dc_id. Null: the decision fixed none.
    run_now_dc_id text,
    run_now_starts_at timestamptz,
    run_now_pue double precision,
    -- Whether there would have been power for it there, beside all counterfactuals that are credited already.
    run_now_fits boolean,
    run_now_site_energy_wh double precision,
    run_now_carbon_gco2 double precision,
    run_now_cost_gbp double precision,
    -- What the decision said of both.
    predicted_carbon_gco2 double precision,
    predicted_cost_gbp double precision,
    predicted_run_now_carbon_gco2 double precision,
    predicted_run_now_cost_gbp double precision,
    basis jsonb not null default '{}',
    revision integer not null default 0,
    accounted_at timestamptz not null,
    settled_at timestamptz,
    check (started_at < ended_at),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id) on delete cascade
) with (fillfactor = 70);
create index if not exists run_accounts_started on public.run_accounts (started_at);
create index if not exists run_accounts_tenant_started on public.run_accounts (tenant, started_at);
create unique index if not exists run_accounts_key on public.run_accounts (booking_key);
create index if not exists run_accounts_job on public.run_accounts (job_id, tenant);
create index if not exists run_accounts_data_centre on public.run_accounts (dc_id);
create index if not exists run_accounts_unsettled on public.run_accounts (booking_id) where settled_at is null;

-- The power that all credited counterfactuals together would have held: never more than a data centre has, since savings
-- against runs that could not have been all at once would be counted against nothing.
create table if not exists public.run_now_power (
    dc_id text not null references public.data_centres on delete cascade,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    power_kw numeric not null,
    primary key (dc_id, half_hour)
) with (fillfactor = 50);
create index if not exists run_now_power_half_hour on public.run_now_power (half_hour);

-- Runners: programs on machines of a data centre that run what is booked there -----------------------------------------

-- One by its name, as it last registered. session tells its present process from earlier ones; templates: {name: {power_kw,
-- longest_s, parameters: {name: {pattern, optional}}}}.
create table if not exists public.runners (
    tenant text not null, -- whose data centre it stands in
    runner_id text not null check (runner_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    dc_id text not null references public.data_centres on delete cascade,
    session uuid not null,
    capacity_kw double precision not null check (capacity_kw > 0 and capacity_kw < 'infinity'),
    templates jsonb not null,
    registered_at timestamptz not null,
    seen_at timestamptz not null,
    primary key (tenant, runner_id)
);
create index if not exists runners_data_centre on public.runners (dc_id);

-- What a runner has said of a booking that it took. The lease is the booking's; fence is its token, and stays here when the
-- booking is done, so that whoever tells the end again is known.
create table if not exists public.runs (
    run_id bigint primary key references public.capacity_bookings (booking_id) on delete cascade,
    runner_tenant text not null,
    runner_id text not null,
    fence bigint not null,
    taken_at timestamptz not null,
    began_at timestamptz,
    heard_at timestamptz not null,
    ended text check (ended in ('exited', 'signalled', 'not_started', 'lost')),
    exit_status integer,
    signal integer,
    cause text,
    reason text,
    output_tail text,
    output_bytes bigint,
    run_s double precision check (run_s >= 0 and run_s < 'infinity'),
    -- IT energy so far: [{half_hour, energy_kwh, source: "rapl" | "power_x_time"}…]
    energy jsonb not null default '[]',
    ended_at timestamptz
);



-- Flexibility that is sold ---------------------------------------------------------------------------------------------
--
-- Whoever needs less load announces an event; what can give way is offered, committed, notified before gate closure,
-- delivered, measured against a baseline and settled. tenant is whose event it is: 'platform' of whoever sees everything,
-- whose events all may read; an operator's are its own, and move its own work at its own data centres. Volumes are MWh,
-- money is numeric: nothing here is a floating-point number. All but the events is written once.

-- What is sold together: the data centres of one owner in one GSP group.
create table if not exists public.flexibility_units (
    unit_id text primary key check (unit_id ~ '^V__[A-Z0-9]{1,8}$'),
    tenant text not null,
    gsp_group text not null check (gsp_group ~ '^_[A-P]$'),
    region_id integer not null references public.regions,
    created_at timestamptz not null default clock_timestamp(),
    unique (tenant, gsp_group)
);
create index if not exists flexibility_units_region on public.flexibility_units (region_id);

-- A queue of work, with the columns of all of them (see workload_notifications): scheduled_at is when the next step is due.
create table if not exists public.flexibility_events (
    event_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    -- How it came in, and what the source calls it.
    door text not null check (door in ('dfs', 'beckn', 'openadr', 'manual')),
    source_id text not null check (length(source_id) between 1 and 200),
    -- The rule that it is paid by.
    programme text not null check (programme in ('P415', 'DFS', 'DEG')),
    starts_at timestamptz not null check (starts_at = date_bin('30 minutes', starts_at, '2000-01-01 00:00:00+00')),
    ends_at timestamptz not null,
    -- An hour before its first half-hour: from then on nothing about it changes.
    gate_closes_at timestamptz not null,
    -- By half-hour: how much less is to be drawn, and what is paid for it.
    need_mw numeric[] not null,
    price_gbp_per_mwh numeric[] not null,
    penalty_gbp_per_mwh numeric[],
    compensation text not null check (compensation in ('mutualised', 'bilateral')),
    in_day text not null check (in_day in ('additive', 'none')),
    document jsonb not null default '{}',
    state text not null default 'ANNOUNCED'
        check (state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED', 'DELIVERED', 'SETTLED', 'DECLINED', 'MISSED', 'CANCELLED')),
    state_reason text,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null,
    attempt integer not null default 0,
    max_attempts integer, -- null: until it is done
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    announced_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp(),
    unique (tenant, door, source_id),
    check (cardinality(need_mw) between 1 and 96 and cardinality(price_gbp_per_mwh) = cardinality(need_mw)),
    check (penalty_gbp_per_mwh is null or cardinality(penalty_gbp_per_mwh) = cardinality(need_mw)),
    check (ends_at = starts_at + cardinality(need_mw) * interval '30 minutes')
) with (fillfactor = 70);
create index if not exists flexibility_events_tenant on public.flexibility_events (tenant, starts_at desc, event_id desc);
create index if not exists flexibility_events_newest on public.flexibility_events (starts_at desc, event_id desc);
create index if not exists flexibility_events_due on public.flexibility_events (scheduled_at)
    where work_state in ('available', 'running', 'retryable');

-- Why each event went from one state to the next, and on what figures: an audit log like the decisions', with a chain of its
-- own for each tenant.
create table if not exists public.flexibility_decisions (
    decision_id uuid primary key default gen_random_uuid(),
    tenant text not null,
    event_id uuid not null references public.flexibility_events,
    from_state text,
    to_state text not null,
    reason text,
    content jsonb not null default '{}',
    decided_at timestamptz not null,
    chain_position bigint not null,
    previous_hash text,
    chain_hash text not null,
    unique (tenant, chain_position)
);
create index if not exists flexibility_decisions_event on public.flexibility_decisions (event_id, chain_position);

-- Workloads that gave way. J is in pounds; freed_mwh is by half-hour of the event. tenant is whose workload it is.
create table if not exists public.flexibility_moves (
    event_id uuid not null references public.flexibility_events,
    tenant text not null,
    job_id text not null,
    unit_id text not null references public.flexibility_units,
    from_dc_id text not null references public.data_centres,
    from_starts_at timestamptz not null,
    to_dc_id text not null references public.data_centres,
    to_starts_at timestamptz not null,
    it_power_kw numeric(16, 6) not null,
    keep_gbp numeric not null,
    delta_gbp numeric not null,
    freed_mwh numeric[] not null,
    -- No foreign key: a notification is pruned in time. The decision that moved it has its number.
    notification_id bigint not null,
    primary key (event_id, tenant, job_id),
    foreign key (tenant, job_id) references public.compute_workloads (tenant, job_id)
);
create index if not exists flexibility_moves_workload on public.flexibility_moves (tenant, job_id);
create index if not exists flexibility_moves_job on public.flexibility_moves (job_id);
create index if not exists flexibility_moves_unit on public.flexibility_moves (unit_id);
create index if not exists flexibility_moves_from on public.flexibility_moves (from_dc_id);
create index if not exists flexibility_moves_to on public.flexibility_moves (to_dc_id);

-- What was sold, by unit and half-hour.
create table if not exists public.flexibility_commitments (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    committed_mwh numeric not null check (committed_mwh >= 0),
    primary key (event_id, unit_id, half_hour)
);
create index if not exists flexibility_commitments_unit on public.flexibility_commitments (unit_id, half_hour);

-- What would be drawn without the event, and the days that say so.
create table if not exists public.flexibility_baselines (
    event_id uuid not null references public.flexibility_events,
    dc_id text not null references public.data_centres,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    -- BL01 from history; SEV, a submitted expected volume (what was booked), where there is no history.
    method text not null check (method in ('BL01', 'SEV')),
    version text not null,
    days date[] not null,
    wanted_days integer not null,
    unadjusted_mwh numeric not null,
    adjustment_mwh numeric not null,
    baseline_mwh numeric not null,
    in_day text not null,
    primary key (event_id, dc_id, half_hour)
);
create index if not exists flexibility_baselines_data_centre on public.flexibility_baselines (dc_id, half_hour);
create index if not exists flexibility_baselines_unit on public.flexibility_baselines (unit_id);

-- What batteries do for an event, half-hour by half-hour, until they have back what they gave: so long nobody else has them.
create table if not exists public.flexibility_storage (
    event_id uuid not null references public.flexibility_events,
    asset_id text not null references public.storage_assets,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    tenant text not null,
    unit_id text not null references public.flexibility_units,
    charge_mw numeric not null check (charge_mw >= 0),
    discharge_mw numeric not null check (discharge_mw >= 0),
    primary key (event_id, asset_id, half_hour)
);
create index if not exists flexibility_storage_asset on public.flexibility_storage (asset_id, half_hour);
create index if not exists flexibility_storage_unit on public.flexibility_storage (unit_id);

-- What was told before gate closure, by unit and half-hour: that the unit trades (WMAN), the contracted volume (ECVN) and,
-- for a submitted expected volume, that (SEV, negative: import). Simulated: nobody receives it.
create table if not exists public.flexibility_notifications (
    event_id uuid not null references public.flexibility_events,
    unit_id text not null references public.flexibility_units,
    half_hour timestamptz not null check (half_hour = date_bin('30 minutes', half_hour, '2000-01-01 00:00:00+00')),
    kind text not null check (kind in ('WMAN', 'ECVN', 'SEV')),
    tenant text not null,
    volume_mwh numeric,
    sent_at timestamptz not null,
    is_simulated boolean not null default true,
    primary key (event_id, unit_id, half_hour, kind)
);
create index if not exists flexibility_notifications_unit on public.flexibility_notifications (unit_id);

-- What an event came to, run by run: a later run has the later prices and readings, and changes no earlier one.
create table if not exists public.flexibility_settlements (
    event_id uuid not null references public.flexibility_events,
    run integer not null check (run > 0),
    tenant text not null,
    settled_at timestamptz not null,
    received_gbp numeric not null,
    -- By half-hour and site: all that the amounts are worked out from.
    inputs jsonb not null,
    primary key (event_id, run)
);

create table if not exists public.flexibility_cashflows (
    event_id uuid not null,
    run integer not null,
    place integer not null check (place > 0),
    tenant text not null,
    kind text not null
        check (kind in ('trade', 'imbalance', 'compensation', 'utilisation', 'delivery', 'penalty')),
    half_hour timestamptz not null,
    payer text not null,
    payee text not null check (payee <> payer),
    amount_gbp numeric not null check (amount_gbp >= 0),
    primary key (event_id, run, place),
    foreign key (event_id, run) references public.flexibility_settlements (event_id, run)
);


-- Flexibility that is bought over Beckn: what a buyer's platform confirmed, and the event that came of it. tenant is the
-- event's. The platforms' own: no tenant reads it, for all may read of the platform's events, but not who bought them.
create table if not exists public.beckn_flexibility_contracts (
    contract_id uuid primary key,
    tenant text not null,
    event_id uuid not null unique references public.flexibility_events,
    bpp_id text not null,
    bap_id text not null,
    transaction_id uuid not null,
    -- The context of the confirm, which later messages answer, and what is needed as it was read from it.
    context jsonb not null,
    need jsonb not null,
    -- Up to which of the event's decisions its buyer was told (flexibility_decisions.chain_position).
    told bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    unique (bpp_id, bap_id, transaction_id)
);

-- OpenADR 3.1 --------------------------------------------------------------------------------------------------------------

-- What a virtual top node keeps: programs, events, reports, virtual end nodes (VENs), their resources, subscriptions. tenant is
-- whose it is; 'platform' of whoever sees everything, whose programs and events all may read. Whatever hangs on something goes
-- with it.
create table if not exists public.openadr_objects (
    object_id text primary key check (object_id ~ '^[A-Za-z0-9_-]{1,128}$'),
    tenant text not null,
    object_type text not null check (object_type in ('PROGRAM', 'EVENT', 'REPORT', 'VEN', 'RESOURCE', 'SUBSCRIPTION')),
    program_id text references public.openadr_objects on delete cascade,
    event_id text references public.openadr_objects on delete cascade,
    ven_id text references public.openadr_objects on delete cascade,
    -- What is its own in its kind: a program's, a VEN's, and a resource's among those of its VEN.
    name text,
    -- The service account ("svc:…") that a VEN is, and whose its resources, reports and subscriptions are.
    client text,
    targets text[] not null default '{}',
    flexibility_event_id uuid references public.flexibility_events,
    -- As OpenADR writes it, without what the columns below say.
    content jsonb not null check (jsonb_typeof(content) = 'object'),
    created_at timestamptz not null,
    modified_at timestamptz not null,
    place bigint generated always as identity,
    -- The event of flexibility that this one tells VENs to deliver; null of what clients put here.
    dispatches uuid references public.flexibility_events,
    -- When the last interval of an event ends; null where that is open.
    ends_at timestamptz
);
create unique index if not exists openadr_objects_name on public.openadr_objects (tenant, object_type, coalesce(ven_id, ''), name);
create unique index if not exists openadr_objects_ven_client on public.openadr_objects (client) where object_type = 'VEN';
create index if not exists openadr_objects_newest on public.openadr_objects (tenant, object_type, place desc);
create index if not exists openadr_objects_program on public.openadr_objects (program_id, place desc);
create index if not exists openadr_objects_event on public.openadr_objects (event_id, place desc);
create index if not exists openadr_objects_ven on public.openadr_objects (ven_id);
create index if not exists openadr_objects_client on public.openadr_objects (client, object_type);
create index if not exists openadr_objects_flexibility on public.openadr_objects (flexibility_event_id);
create index if not exists openadr_objects_dispatches on public.openadr_objects (dispatches) where dispatches is not null;
create index if not exists openadr_objects_ended on public.openadr_objects (ends_at) where ends_at is not null;

-- What subscriptions are told of: one row for each change, subscription and callback. A queue of work, with the columns of all of
-- them (see workload_notifications). A subscription's rows are delivered in their order, one at a time.
create table if not exists public.openadr_webhooks (
    webhook_id bigint generated always as identity primary key,
    subscription_id text not null,
    callback_url text not null check (length(callback_url) between 1 and 1000),
    -- What is sent: {token, operation, object, targets}. Gone a minute after the end of the work.
    body jsonb,
    work_state text not null default 'available'
        check (work_state in ('available', 'running', 'completed', 'retryable', 'discarded')),
    scheduled_at timestamptz not null default clock_timestamp(),
    attempt integer not null default 0,
    max_attempts integer default 10,
    lost_leases integer not null default 0,
    lease_token bigint,
    leased_until timestamptz,
    leased_by text,
    last_error text,
    finished_at timestamptz,
    created_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
create index if not exists openadr_webhooks_unfinished on public.openadr_webhooks (subscription_id, webhook_id)
    where work_state in ('available', 'running', 'retryable');
create index if not exists openadr_webhooks_finished on public.openadr_webhooks (finished_at)
    where work_state in ('completed', 'discarded');
create index if not exists openadr_objects_subscriptions on public.openadr_objects (tenant, place) where object_type = 'SUBSCRIPTION';
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
                and c.table_name in (
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
    'openadr_webhooks') and c.table_name <> 'schema_version'
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

-- The present world ---------------------------------------------------------------------------------------------------

-- Asked for as ["DataCentre", "Region"]; a type that was not asked for costs nothing. Decisions come without their
-- stored inputs and outputs, which are read one by one.
create or replace function public.live_state(p_now timestamptz, p_types jsonb)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object(
        'Operator', case when p_types ? 'Operator' then (
            select coalesce(json_agg(o order by o.operator_id), '[]')
            from (select * from public.operators order by operator_id limit 1000) as o) end,
        'Region', case when p_types ? 'Region' then (
            select json_agg(r order by r.region_id) from public.regions r) end,
        'GridSignal', case when p_types ? 'GridSignal' then (
            select coalesce(json_agg(g order by g.timestamp), '[]')
            from public.grid_signals g
            where g.timestamp >= public.half_hour_of(p_now)
                and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') end,
        'RegionalGridSignal', case when p_types ? 'RegionalGridSignal' then (
            select coalesce(json_agg(s order by s.region_id, s.timestamp), '[]')
            from public.regions r
            cross join lateral (
                select g.*
                from public.regional_grid_signals g
                where g.region_id = r.region_id
                    and g.timestamp >= public.half_hour_of(p_now)
                    and g.timestamp < public.half_hour_of(p_now) + interval '48 hours') as s) end,
        'GenerationMix', case when p_types ? 'GenerationMix' then (
            select coalesce(json_agg(m order by m.region_id nulls first, m.fuel), '[]')
            from (
                select regional.*
                from public.regions r
                join public.generation_mix regional
                    on regional.region_id = r.region_id and regional.timestamp = public.half_hour_of(p_now)
                union all
                select national.*
                from public.generation_mix national
                where national.national_timestamp = (
                    select max(newest.national_timestamp)
                    from public.generation_mix newest
                    where newest.national_timestamp between p_now - interval '2 hours' and p_now)) as m) end,
        'DataCentre', case when p_types ? 'DataCentre' then (
            select coalesce(json_agg(d order by d.dc_id), '[]')
            from (select * from public.data_centres where status <> 'OFFLINE' order by dc_id limit 1000) as d) end,
        'ComputeWorkload', case when p_types ? 'ComputeWorkload' then (
            select coalesce(json_agg(w order by w.created_at desc, w.job_id desc), '[]')
            from (
                select * from public.compute_workloads
                where status not in ('COMPLETED', 'FAILED', 'CANCELLED')
                order by created_at desc, job_id desc
                limit 100) as w) end,
        'CapacityBooking', case when p_types ? 'CapacityBooking' then (
            select coalesce(json_agg(to_jsonb(b) - '{booking_id,notification_id}'::text[] order by b.starts_at, b.booking_id), '[]')
            from (
                select * from public.capacity_bookings
                where state in ('HELD', 'RUNNING')
                order by starts_at, booking_id
                limit 100) as b) end,
        'Agent', case when p_types ? 'Agent' then (
            select coalesce(json_agg(a order by a.agent_id), '[]')
            from (
                select * from public.agents where status = 'ACTIVE' order by updated_at desc, agent_id limit 100) as a) end,
        'AgentState', case when p_types ? 'AgentState' then (
            select coalesce(json_agg(s order by s.observed_at desc, s.state_id desc), '[]')
            from (
                select a.state_id, a.agent_id, a.state, a.detail, a.observed_at
                from public.agent_states a
                order by a.observed_at desc, a.state_id desc
                limit 100) as s) end,
        'OrchestrationDecision', case when p_types ? 'OrchestrationDecision' then (
            select coalesce(json_agg(d order by d.decided_at desc, d.decision_id), '[]')
            from (
                select
                    decision_id, notification_id, sequence, job_id, agent_id, chosen_dc_id, recommended_start, scorer, model,
                    scorer_version, fallback_reason, reasoning, token_usage, decided_at
                from public.orchestration_decisions
                order by decided_at desc
                limit 100) as d) end,
        'StorageAsset', case when p_types ? 'StorageAsset' then (
            select coalesce(json_agg(s order by s.asset_id), '[]')
            from (select * from public.storage_assets where status <> 'OFFLINE' order by asset_id limit 1000) as s) end,
        'FlexibilityUnit', case when p_types ? 'FlexibilityUnit' then (
            select coalesce(json_agg(u order by u.unit_id), '[]')
            from (
                select unit_id, gsp_group, region_id, created_at
                from public.flexibility_units order by unit_id limit 1000) as u) end,
        'FlexibilityEvent', case when p_types ? 'FlexibilityEvent' then (
            select coalesce(json_agg(e order by e.starts_at desc, e.event_id desc), '[]')
            from (
                select
                    event_id, door, source_id, programme, starts_at, ends_at, gate_closes_at, need_mw, price_gbp_per_mwh,
                    penalty_gbp_per_mwh, compensation, in_day, state, state_reason, announced_at, updated_at
                from public.flexibility_events
                where state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED', 'DELIVERED')
                order by starts_at desc, event_id desc
                limit 100) as e) end,
        'last_updated', (
            select max(finished_at) from public.pipeline_runs
            where state in ('succeeded', 'partial') and finished_at <= clock_timestamp() + interval '1 minute'),
        'pipeline_running', exists (
            select from public.pipeline_runs where work_state = 'running' and leased_until > clock_timestamp()),
        -- Whether time alone changes neither of the two.
        'settled', not exists (
            select from public.pipeline_runs
            where (work_state = 'running' and leased_until > clock_timestamp())
                or finished_at > clock_timestamp() + interval '1 minute'))
$$;

-- Access: only the service role reads and writes; Row Level Security shuts out everyone else -----------------------

do $access$
declare
    object record;
begin
    for object in
        select c.relname, c.relkind
        from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace
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
    'openadr_webhooks')
    loop
        if object.relkind = 'r' then
            execute format('alter table public.%I enable row level security', object.relname);
        end if;
        execute format('revoke all on public.%I from public', object.relname);
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            execute format('revoke all on public.%I from anon', object.relname);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
            execute format('revoke all on public.%I from authenticated', object.relname);
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format(
                'grant %s on public.%I to service_role',
                case when object.relkind = 'r' then 'select, insert, update, delete' else 'select' end, object.relname);
        end if;
    end loop;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant usage on schema public to service_role;
        grant usage on all sequences in schema public to service_role;
    end if;
end
$access$;

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
-- Access tokens: what /auth/token gives for a key, good for an hour at most. Only their digests, and not worth a write to the
-- log: after a crash everybody asks for another.
create unlogged table if not exists tenancy.access_tokens (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    credential_id text not null,
    good_until timestamptz not null check (isfinite(good_until))
);
create index if not exists access_tokens_good_until on tenancy.access_tokens (good_until);
revoke all on tenancy.access_tokens from public;
alter table tenancy.access_tokens enable row level security;
-- Tenants: who may act for which operator ------------------------------------------------------------------------------

-- user_id: the "sub" of a user's token, or svc:<uuid> of a service account.
create table if not exists tenancy.memberships (
    user_id text not null check (length(user_id) between 1 and 200 and user_id !~ '[[:cntrl:]]'),
    operator_id text not null references public.operators on delete cascade,
    role text not null check (role in ('admin', 'member', 'reader')),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    primary key (user_id, operator_id)
);
create index if not exists memberships_operator on tenancy.memberships (operator_id, user_id);

create table if not exists tenancy.service_accounts (
    service_account_id uuid primary key default gen_random_uuid(),
    operator_id text not null references public.operators on delete cascade,
    name text not null check (length(name) between 1 and 200 and name !~ '[[:cntrl:]]'),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    disabled_at timestamptz,
    unique (operator_id, service_account_id)
);

-- Of a key only its SHA-256 is kept: the key itself is shown once, to whoever made it.
create table if not exists tenancy.api_keys (
    key_id text primary key check (key_id ~ '^[A-Za-z0-9]{12}$'),
    digest text not null unique check (digest ~ '^[0-9a-f]{64}$'),
    operator_id text not null,
    service_account_id uuid not null,
    scopes text[] not null default '{}' check (cardinality(scopes) <= 100),
    name text not null check (length(name) between 1 and 200 and name !~ '[[:cntrl:]]'),
    created_by text,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null check (isfinite(expires_at)),
    last_used_at timestamptz,
    revoked_at timestamptz,
    replaces text,
    -- A key is filed under its account's operator, and under no other.
    foreign key (operator_id, service_account_id) references tenancy.service_accounts (operator_id, service_account_id)
        on delete cascade
);
create index if not exists api_keys_operator on tenancy.api_keys (operator_id, created_at desc);
create index if not exists api_keys_account on tenancy.api_keys (operator_id, service_account_id);

-- Who did what, and who was refused what. Written once, like the decisions.
create table if not exists tenancy.audit_events (
    event_id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp() check (isfinite(at)),
    operator_id text,
    principal text,
    credential_id text,
    action text not null check (length(action) between 1 and 100),
    object text,
    outcome text not null check (outcome in ('allowed', 'refused', 'failed')),
    request_id text,
    detail jsonb not null default '{}'
);
create index if not exists audit_events_operator on tenancy.audit_events (operator_id, event_id desc);

-- What an operator may do other than the usual. per_seconds is null for a limit on how many there are at a time.
create table if not exists tenancy.limits (
    operator_id text not null references public.operators on delete cascade,
    name text not null,
    capacity integer not null check (capacity >= 0),
    primary key (operator_id, name)
);

-- How much of its limits each operator has left. Not worth a write to the log: after a crash everybody begins full.
create unlogged table if not exists tenancy.buckets (
    operator_id text not null,
    name text not null,
    tokens double precision not null,
    taken boolean not null, -- whether the last who asked got what it asked for
    filled_at timestamptz not null,
    primary key (operator_id, name)
) with (fillfactor = 50);

create unlogged table if not exists tenancy.holds (
    operator_id text not null,
    name text not null,
    holder text not null check (length(holder) between 1 and 200),
    held_until timestamptz not null check (isfinite(held_until)),
    primary key (operator_id, name, holder)
) with (fillfactor = 70);

do $access$
declare
    outsider text;
begin
    for outsider in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated')
    loop
        execute format('revoke all on schema tenancy, tenant from %I', outsider);
        execute format('revoke all on all tables in schema tenancy from %I', outsider);
    end loop;
    revoke all on schema tenancy, tenant from public;
    revoke all on all tables in schema tenancy from public;
end
$access$;

-- Behind no door at all, and all the same: on, so that a grant by mistake shows nothing.
alter table tenancy.memberships enable row level security;
alter table tenancy.service_accounts enable row level security;
alter table tenancy.api_keys enable row level security;
alter table tenancy.audit_events enable row level security;
alter table tenancy.limits enable row level security;
alter table tenancy.buckets enable row level security;
alter table tenancy.holds enable row level security;
-- Tickets: what a browser shows for one stream, instead of a credential. Only their digests, and not worth a write to the
-- log: after a crash everybody asks for another.
create unlogged table if not exists tenancy.tickets (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    holder jsonb not null check (jsonb_typeof(holder) = 'object'),
    good_until timestamptz not null check (isfinite(good_until))
);
create index if not exists tickets_good_until on tenancy.tickets (good_until);
revoke all on tenancy.tickets from public;
alter table tenancy.tickets enable row level security;


commit;
