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

