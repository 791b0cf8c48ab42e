
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
-- announce_flexibility_event takes it, its source_id the contract's id. Answers as that does, or {"state": "too_many"}: the
-- buyer has p_most contracts whose events are still ahead.
create or replace function public.beckn_confirm_flexibility(
    p_contract jsonb, p_event jsonb, p_most integer, p_now timestamptz)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_flexibility_contracts := jsonb_populate_record(null::public.beckn_flexibility_contracts, p_contract);
    announced json;
begin
    -- As announcing does: one confirm at a time, so that none is counted too late.
    lock table public.flexibility_events in share row exclusive mode;
    if (
        select count(*)
        from public.beckn_flexibility_contracts c
        join public.flexibility_events e on e.event_id = c.event_id
        where (c.bpp_id, c.bap_id) = (given.bpp_id, given.bap_id) and c.contract_id <> given.contract_id
            and e.state in ('ANNOUNCED', 'OFFERED', 'COMMITTED', 'NOTIFIED') and e.ends_at > p_now) >= p_most
    then
        return json_build_object('state', 'too_many', 'event', null);
    end if;
    given.tenant := public.beckn_operator(given.bap_id);
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
