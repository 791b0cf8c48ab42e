-- The Beckn network: subscribers, inbox, outbox ----------------------------------------------------------------------------
--
-- ready → leased → done or delivered, or back to ready after a failure, or dead. A lease fences by its token, and due_at is
-- its end. Messages of one transaction between the same two platforms are taken in the order in which they came, each
-- when the one before is finished.

-- A platform's own entry, or one that an operator adds: made, or brought up to date. What was revoked stays revoked, and a
-- key stays whose it is: another platform may have its id, and not the key itself with it. Answers {"state": "registered" | "revoked" | "taken"}.
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
    if exists (
        select
        from public.beckn_subscribers s
        where (s.key_id, s.signing_public_key) = (given.key_id, given.signing_public_key)
            and s.subscriber_id <> given.subscriber_id) then
        return json_build_object('state', 'taken');
    end if;
    insert into public.beckn_subscribers as s (
        key_id, subscriber_id, type, domain, url, location, signing_public_key, encr_public_key, valid_from, valid_until,
        private_address)
    values (
        given.key_id, given.subscriber_id, given.type, given.domain, given.url, given.location, given.signing_public_key,
        given.encr_public_key, given.valid_from, given.valid_until, coalesce(given.private_address, false))
    on conflict (subscriber_id, key_id) do update set
        domain = excluded.domain,
        url = excluded.url,
        location = excluded.location,
        encr_public_key = excluded.encr_public_key,
        valid_until = excluded.valid_until,
        private_address = excluded.private_address,
        updated = clock_timestamp()
    where s.status = 'SUBSCRIBED'
        and (s.subscriber_id, s.type, s.signing_public_key)
            = (excluded.subscriber_id, excluded.type, excluded.signing_public_key)
    returning * into found;
    if found.key_id is not null then
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

-- Stores a message that passed its checks. p_message: {recipient, sender, action, transaction_id, message_id, body, answer,
-- expires_at}. p_key_id: the key it was signed with, looked at once more here, as whoever checked may have remembered it
-- for a while; null where signatures are off. p_work: whether a worker is to take it from the inbox.
-- Answers {"state": "stored" | "repeated" (the same was stored before) | "conflict" (another with its message_id was) |
-- "revoked", "inbox_id", "answer"}.
create or replace function public.beckn_receive(p_message jsonb, p_key_id text, p_work boolean)
returns json
language plpgsql
set search_path = ''
as $$
declare
    given public.beckn_inbox := jsonb_populate_record(null::public.beckn_inbox, p_message);
    stored public.beckn_inbox;
begin
    if p_key_id is not null and not public.beckn_key_holds(given.sender, p_key_id) then
        return json_build_object('state', 'revoked');
    end if;
    insert into public.beckn_inbox (
        recipient, sender, action, transaction_id, message_id, body, answer, state, expires_at, finished_at)
    values (
        given.recipient, given.sender, given.action, given.transaction_id, given.message_id, given.body, given.answer,
        case when p_work then 'ready' else 'done' end, given.expires_at,
        case when not p_work then clock_timestamp() end)
    on conflict (recipient, sender, action, message_id) do nothing
    returning * into stored;
    if stored.inbox_id is not null then
        if p_work then
            perform pg_notify('beckn_inbox', '');
        end if;
        return json_build_object('state', 'stored', 'inbox_id', stored.inbox_id, 'answer', stored.answer);
    end if;
    select * into stored
    from public.beckn_inbox i
    where (i.recipient, i.sender, i.action, i.message_id)
        = (given.recipient, given.sender, given.action, given.message_id);
    return json_build_object(
        'state', case when stored.body = given.body then 'repeated' else 'conflict' end,
        'inbox_id', stored.inbox_id,
        'answer', stored.answer);
end
$$;

-- Puts messages of p_sender into the outbox, one that is there already not again. p_outgoing: [{recipient, recipient_type,
-- action, domain, transaction_id, message_id, body, authorization, expires_at}…]. Answers {"stored": n}.
create or replace function public.beckn_put_outbox(p_sender text, p_outgoing jsonb)
returns json
language plpgsql
set search_path = ''
as $$
declare
    stored bigint;
begin
    insert into public.beckn_outbox (
        sender, recipient, recipient_type, action, domain, transaction_id, message_id, body, "authorization", expires_at)
    select
        p_sender, r.recipient, r.recipient_type, r.action, r.domain, r.transaction_id, r.message_id, r.body,
        r."authorization", r.expires_at
    from jsonb_array_elements(p_outgoing) with ordinality as given (message, position)
    cross join lateral jsonb_populate_record(null::public.beckn_outbox, given.message) as r
    order by given.position
    on conflict (sender, recipient, recipient_type, action, message_id) do nothing;
    get diagnostics stored = row_count;
    if stored > 0 then
        perform pg_notify('beckn_outbox', '');
    end if;
    return json_build_object('stored', stored);
end
$$;

-- A gateway's work: stores a message as beckn_receive does, and puts it into the outbox for every subscriber of the role
-- p_role, or for p_recipient alone, that serves its domain and location. p_message has, beside that, {domain, location,
-- authorization}. Answers as beckn_receive does, or {"state": "nobody"} with nothing stored.
create or replace function public.beckn_relay(p_message jsonb, p_key_id text, p_role text, p_recipient text)
returns json
language plpgsql
set search_path = ''
as $$
declare
    received json := public.beckn_receive(p_message, p_key_id, false);
    outgoing jsonb;
begin
    if received ->> 'state' <> 'stored' then
        return received;
    end if;
    select jsonb_agg(p_message || jsonb_build_object('recipient', provider.subscriber_id, 'recipient_type', p_role))
    into outgoing
    from (
        select distinct s.subscriber_id
        from public.beckn_subscribers s
        where s.type = p_role
            and s.domain = p_message ->> 'domain'
            and s.status = 'SUBSCRIBED'
            and clock_timestamp() between s.valid_from and s.valid_until
            and s.subscriber_id = coalesce(p_recipient, s.subscriber_id)
            and public.beckn_same_place(s.location #>> '{country,code}', p_message #>> '{location,country,code}')
            and public.beckn_same_place(s.location #>> '{city,code}', p_message #>> '{location,city,code}')
        order by s.subscriber_id) as provider;
    if outgoing is null then
        delete from public.beckn_inbox i where i.inbox_id = (received ->> 'inbox_id')::bigint;
        return json_build_object('state', 'nobody');
    end if;
    perform public.beckn_put_outbox(p_message ->> 'recipient', outgoing);
    return received;
end
$$;

-- Takes up to p_limit messages that p_recipient has yet to work on. Answers {"claimed": [{inbox_id, lease_token, sender,
-- action, transaction_id, message_id, body, attempt, expires_at, received_at}…], "died": [{inbox_id, action, sender,
-- message_id, last_error}…] (their time was over, or their last lease ran out), "next_due_seconds": when to look again}.
create or replace function public.beckn_claim_inbox(
    p_recipient text, p_worker text, p_limit integer, p_lease_seconds double precision)
returns json
language plpgsql
set search_path = ''
as $$
declare
    died json;
    due bigint[];
    taken json;
begin
    with over as materialized (
        select i.inbox_id, i.expires_at <= clock_timestamp() as expired
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.due_at <= clock_timestamp()
            and (i.expires_at <= clock_timestamp() or i.attempts >= i.max_attempts)
        for update skip locked
    ),
    buried as (
        update public.beckn_inbox i
        set state = 'dead',
            finished_at = clock_timestamp(),
            last_error = case
                when over.expired then 'its ttl ended before it was worked on'
                else 'the lease of the last attempt ran out, held by ' || i.leased_by end
                || coalesce('; before that: ' || i.last_error, '')
        from over
        where i.inbox_id = over.inbox_id
        returning i.inbox_id, i.action, i.sender, i.message_id, i.last_error
    )
    select coalesce(json_agg(buried), '[]') into died from buried;

    -- Locked in a statement of its own: inside the update the planner may lock, and update, more rows than the limit.
    select coalesce(array_agg(ready.inbox_id), '{}') into due
    from (
        select i.inbox_id
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.due_at <= clock_timestamp()
            and not exists (
                select
                from public.beckn_inbox earlier
                where earlier.transaction_id = i.transaction_id and earlier.inbox_id < i.inbox_id
                    and earlier.state in ('ready', 'leased')
                    and (earlier.recipient, earlier.sender) = (i.recipient, i.sender))
        order by i.due_at, i.inbox_id
        limit p_limit
        for update skip locked) as ready;

    with claimed as (
        update public.beckn_inbox i
        set state = 'leased',
            attempts = i.attempts + 1,
            leased_by = p_worker,
            lease_token = nextval('public.lease_tokens'),
            due_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        where i.inbox_id = any (due)
        returning i.inbox_id, i.lease_token, i.sender, i.action, i.transaction_id, i.message_id, i.body,
            i.attempts as attempt, i.expires_at, i.received_at
    )
    select coalesce(json_agg(claimed order by claimed.inbox_id), '[]') into taken from claimed;
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', (
            select extract(epoch from min(i.due_at) - clock_timestamp())
            from public.beckn_inbox i
            where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.due_at > clock_timestamp()));
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
begin
    update public.beckn_inbox i
    set state = 'done', finished_at = clock_timestamp()
    where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.state = 'leased'
    returning * into finished;
    if finished.inbox_id is null then
        return json_build_object('state', case
            when exists (
                select from public.beckn_inbox i
                where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.state = 'done') then 'finished'
            else 'fenced' end);
    end if;
    perform public.beckn_put_outbox(finished.recipient, p_outgoing);
    return json_build_object('state', 'finished');
end
$$;

-- Work that failed: tried again after p_first_retry_seconds and then after twice as long each time, give or take a quarter;
-- dead after the last attempt. Answers {"state": "retry" | "dead" | "fenced"}.
create or replace function public.beckn_fail_inbox(
    p_inbox_id bigint, p_lease_token bigint, p_error text, p_first_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    with failed as (
        update public.beckn_inbox i
        set state = case when i.attempts >= i.max_attempts then 'dead' else 'ready' end,
            due_at = clock_timestamp() + make_interval(
                secs => p_first_retry_seconds * power(2, least(i.attempts - 1, 20)) * (0.75 + random() / 2)),
            finished_at = case when i.attempts >= i.max_attempts then clock_timestamp() end,
            lease_token = null,
            last_error = left(p_error, 2000)
        where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.state = 'leased'
        returning case when i.state = 'dead' then 'dead' else 'retry' end as state
    )
    select json_build_object('state', coalesce((select failed.state from failed), 'fenced'))
$$;

-- Takes up to p_limit messages that p_sender has to deliver now, with the URL that is registered for their recipient (null
-- where it is not subscribed any more); at most p_busiest at a time go to one recipient, so that one that hangs does not
-- hold up the others. Answers {"claimed": [{outbox_id, lease_token, recipient, recipient_type, action, transaction_id,
-- message_id, body, authorization, attempt, expires_at, url, private_address}…], "died": [{outbox_id, recipient, action,
-- message_id, last_error}…] (their time was over), "next_due_seconds": when to look again}.
create or replace function public.beckn_claim_outbox(
    p_sender text, p_worker text, p_limit integer, p_lease_seconds double precision, p_busiest integer)
returns json
language plpgsql
set search_path = ''
as $$
declare
    died json;
    due bigint[];
    taken json;
begin
    with over as materialized (
        select o.outbox_id
        from public.beckn_outbox o
        where o.sender = p_sender and o.state in ('ready', 'leased') and o.due_at <= clock_timestamp()
            and o.expires_at <= clock_timestamp()
        for update skip locked
    ),
    buried as (
        update public.beckn_outbox o
        set state = 'dead',
            finished_at = clock_timestamp(),
            last_error = format('its ttl ended after %s attempts', o.attempts) || coalesce('; the last: ' || o.last_error, '')
        from over
        where o.outbox_id = over.outbox_id
        returning o.outbox_id, o.recipient, o.action, o.message_id, o.last_error
    )
    select coalesce(json_agg(buried), '[]') into died from buried;

    select coalesce(array_agg(ready.outbox_id), '{}') into due
    from (
        select o.outbox_id
        from public.beckn_outbox o
        where o.sender = p_sender and o.state in ('ready', 'leased') and o.due_at <= clock_timestamp()
            and not exists (
                select
                from public.beckn_outbox earlier
                where earlier.transaction_id = o.transaction_id and earlier.outbox_id < o.outbox_id
                    and earlier.state in ('ready', 'leased')
                    and (earlier.sender, earlier.recipient) = (o.sender, o.recipient))
            and (
                select count(*)
                from public.beckn_outbox busy
                where busy.recipient = o.recipient and busy.state = 'leased' and busy.due_at > clock_timestamp()) < p_busiest
        order by o.due_at, o.outbox_id
        limit p_limit
        for update skip locked) as ready;

    with claimed as (
        update public.beckn_outbox o
        set state = 'leased',
            attempts = o.attempts + 1,
            leased_by = p_worker,
            lease_token = nextval('public.lease_tokens'),
            due_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        where o.outbox_id = any (due)
        returning o.outbox_id, o.lease_token, o.recipient, o.recipient_type, o.action, o.domain, o.transaction_id,
            o.message_id, o.body, o."authorization", o.attempts as attempt, o.expires_at
    ),
    addressed as (
        select claimed.*, subscribed.url, subscribed.private_address
        from claimed
        left join lateral (
            select s.url, s.private_address
            from public.beckn_subscribers s
            where s.subscriber_id = claimed.recipient and s.type = claimed.recipient_type and s.status = 'SUBSCRIBED'
                and clock_timestamp() between s.valid_from and s.valid_until
            order by s.domain = claimed.domain desc, s.updated desc
            limit 1) as subscribed on true
    )
    select coalesce(json_agg(addressed order by addressed.outbox_id), '[]') into taken from addressed;
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', (
            select extract(epoch from min(o.due_at) - clock_timestamp())
            from public.beckn_outbox o
            where o.sender = p_sender and o.state in ('ready', 'leased') and o.due_at > clock_timestamp()));
end
$$;

-- The end of an attempt at delivery. p_outcome: delivered, retry or dead. A retry comes after p_first_retry_seconds and
-- then after twice as long each time, at most a minute, give or take a quarter; the last one a second before the message's
-- time is over. Answers {"state": "delivered" | "retry" | "dead" | "fenced" (the lease was lost), "due_at"}.
create or replace function public.beckn_settle_outbox(
    p_outbox_id bigint, p_lease_token bigint, p_outcome text, p_error text, p_first_retry_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    with held as materialized (
        select
            o.outbox_id,
            least(
                o.expires_at - interval '1 second',
                clock_timestamp() + make_interval(
                    secs => least(60, p_first_retry_seconds * power(2, least(o.attempts - 1, 20))) * (0.75 + random() / 2))) as again_at
        from public.beckn_outbox o
        where o.outbox_id = p_outbox_id and o.lease_token = p_lease_token and o.state = 'leased'
        for update
    ),
    judged as (
        select
            held.outbox_id,
            held.again_at,
            case
                when p_outcome <> 'retry' then p_outcome
                when held.again_at > clock_timestamp() then 'retry'
                else 'dead' end as outcome
        from held
    ),
    settled as (
        update public.beckn_outbox o
        set state = case when judged.outcome = 'retry' then 'ready' else judged.outcome end,
            due_at = case when judged.outcome = 'retry' then judged.again_at else o.due_at end,
            finished_at = case when judged.outcome <> 'retry' then clock_timestamp() end,
            last_error = case
                when judged.outcome = 'dead' and p_outcome = 'retry'
                    then left(format('its ttl ended after %s attempts; the last: %s', o.attempts, p_error), 2000)
                else left(p_error, 2000) end
        from judged
        where o.outbox_id = judged.outbox_id
        returning judged.outcome, o.due_at
    )
    select coalesce(
        (
            select json_build_object(
                'state', settled.outcome, 'due_at', case when settled.outcome = 'retry' then settled.due_at end)
            from settled),
        '{"state": "fenced", "due_at": null}')
$$;

-- Messages that were finished before p_before, or whose time was over by then and nobody came for them. A replay of one is
-- refused for its age. Answers {"inbox": n, "outbox": n}.
create or replace function public.beckn_prune(p_before timestamptz)
returns json
language sql
set search_path = ''
as $$
    with received as (
        delete from public.beckn_inbox i
        where (i.state in ('done', 'dead') and i.finished_at < p_before)
            or (i.state in ('ready', 'leased') and coalesce(i.expires_at, i.received_at) < p_before)
        returning i.inbox_id
    ),
    sent as (
        delete from public.beckn_outbox o
        where (o.state in ('delivered', 'dead') and o.finished_at < p_before)
            or (o.state in ('ready', 'leased') and o.expires_at < p_before)
        returning o.outbox_id
    )
    select json_build_object(
        'inbox', (select count(*) from received), 'outbox', (select count(*) from sent))
$$;


