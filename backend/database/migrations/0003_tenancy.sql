-- Compatible from: 1

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
