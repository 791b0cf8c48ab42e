
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
