-- Compatible from: 1

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
