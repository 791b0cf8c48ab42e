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
        present_until = null,
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
        where (i.recipient, i.sender) = (p_platform, p_sender) and i.state in ('ready', 'leased')
        union all
        select o.message_id, octet_length(o.body)
        from public.beckn_outbox o
        where (o.sender, o.origin) = (p_platform, p_sender) and o.state in ('ready', 'leased')
        union all
        select o.message_id, octet_length(o.body)
        from public.beckn_outbox o
        where (o.sender, o.origin, o.recipient) = (p_platform, p_platform, p_sender) and o.state in ('ready', 'leased')
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
        recipient, sender, action, transaction_id, message_id, body, body_digest, turn, answer, state, expires_at,
        finished_at)
    values (
        given.recipient, given.sender, given.action, given.transaction_id, given.message_id,
        case when p_work then given.body end, digest,
        case when p_work then 1 + greatest(
            (select max(i.turn) from public.beckn_inbox i where i.recipient = given.recipient and i.state = 'leased'),
            (
                select max(i.turn)
                from public.beckn_inbox i
                where (i.recipient, i.sender) = (given.recipient, given.sender) and i.state in ('ready', 'leased')),
            0) else 0 end,
        given.answer, case when p_work then 'ready' else 'done' end, given.expires_at,
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
        select max(o.turn) as turn from public.beckn_outbox o where o.sender = p_sender and o.state = 'leased') as in_hand
    cross join lateral (
        select max(o.turn) as turn
        from public.beckn_outbox o
        where (o.sender, o.origin, o.recipient) = (p_sender, coalesce(r.origin, p_sender), r.recipient)
            and o.state in ('ready', 'leased')) as lane
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
            where (o.sender, o.origin, o.recipient) = (platform, writer, one.recipient) and o.state in ('ready', 'leased'))
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
    died json;
    candidates bigint[];
    due bigint[];
    taken json;
    -- A value, and not the volatile function, so that an index finds what is due.
    moment timestamptz := clock_timestamp();
begin
    with late as materialized (
        select i.inbox_id
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.expires_at <= moment
            and (i.state = 'ready' or i.due_at <= moment)
        order by i.expires_at
        limit 1000
        for update skip locked
    ),
    tried as materialized (
        select i.inbox_id
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.state = 'leased' and i.due_at <= moment
            and i.lost_leases + 1 >= public.most_lost_leases()
        for update skip locked
    ),
    over as (
        select late.inbox_id, true as expired from late
        union all
        select tried.inbox_id, false from tried where tried.inbox_id not in (select late.inbox_id from late)
    ),
    buried as (
        update public.beckn_inbox i
        set state = 'dead',
            finished_at = clock_timestamp(),
            last_error = case
                when over.expired then 'its ttl ended before it was worked on'
                else format('its lease ran out %s times, the last held by %s', i.lost_leases + 1, i.leased_by) end
                || coalesce('; before that: ' || i.last_error, '')
        from over
        where i.inbox_id = over.inbox_id
        returning i.inbox_id, i.action, i.sender, i.message_id, i.last_error
    )
    select coalesce(json_agg(buried), '[]') into died from buried;

    update public.beckn_inbox i
    set body = null
    where i.inbox_id in (
        select finished.inbox_id
        from public.beckn_inbox finished
        where finished.recipient = p_recipient and finished.state in ('done', 'dead') and finished.body is not null
            and finished.finished_at < moment - interval '1 minute'
        order by finished.finished_at
        limit 100
        for update skip locked);

    -- The first messages of every sender, by its turn: however many wait, each sender costs a look at an index.
    with recursive senders as (
        (
            select i.sender
            from public.beckn_inbox i
            where i.recipient = p_recipient and i.state in ('ready', 'leased')
            order by i.sender
            limit 1)
        union all
        select (
            select i.sender
            from public.beckn_inbox i
            where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.sender > senders.sender
            order by i.sender
            limit 1)
        from senders
        where senders.sender is not null
    ),
    busy as materialized (
        select i.sender, count(*) as in_hand
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.state = 'leased' and i.due_at > moment
        group by i.sender
    ),
    places as materialized (
        select senders.sender, least(p_limit + 10, p_busiest - coalesce(busy.in_hand, 0)) as free
        from senders
        left join busy on busy.sender = senders.sender
        where senders.sender is not null
    )
    select coalesce(array_agg(front.inbox_id order by front.turn, front.inbox_id), '{}')
    into candidates
    from places
    cross join lateral (
        select i.inbox_id, i.turn, row_number() over (order by i.turn, i.inbox_id) as place
        from public.beckn_inbox i
        where i.recipient = p_recipient and i.sender = places.sender and i.state in ('ready', 'leased')
            and i.due_at <= moment
            -- Not "not exists", which may be planned as a join of all that waits.
            and (
                select earlier.inbox_id
                from public.beckn_inbox earlier
                where earlier.transaction_id = i.transaction_id and earlier.inbox_id < i.inbox_id
                    and earlier.state in ('ready', 'leased')
                    and earlier.recipient = i.recipient and earlier.sender = i.sender
                limit 1) is null
        order by i.turn, i.inbox_id
        limit p_limit + 2) as front
    where front.place <= places.free;

    -- Locked in a statement of its own: inside the update the planner may lock, and update, more rows than the limit.
    select coalesce(array_agg(ready.inbox_id), '{}') into due
    from (
        select i.inbox_id
        from public.beckn_inbox i
        where i.inbox_id = any (candidates) and i.state in ('ready', 'leased') and i.due_at <= moment
        order by i.turn, i.inbox_id
        limit p_limit
        for update skip locked) as ready;

    with claimed as (
        update public.beckn_inbox i
        set state = 'leased',
            attempts = i.attempts + 1,
            lost_leases = i.lost_leases + case when i.state = 'leased' then 1 else 0 end,
            leased_by = p_worker,
            lease_token = nextval('public.lease_tokens'),
            due_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
        where i.inbox_id = any (due)
        returning i.inbox_id, i.lease_token, i.sender, i.action, i.transaction_id, i.message_id, i.body,
            i.attempts as attempt, i.expires_at, i.received_at, i.turn
    )
    select coalesce(json_agg(to_jsonb(claimed) - 'turn' order by claimed.turn, claimed.inbox_id), '[]') into taken
    from claimed;
    moment := clock_timestamp();
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', (
            select extract(epoch from min(i.due_at) - moment)
            from public.beckn_inbox i
            where i.recipient = p_recipient and i.state in ('ready', 'leased') and i.due_at > moment));
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

-- Gives back a message that the database's own trouble kept from being worked on: uncounted, and due again after
-- p_pause_seconds. Answers {"state": "ready" | "fenced"}.
create or replace function public.beckn_give_back_inbox(
    p_inbox_id bigint, p_lease_token bigint, p_pause_seconds double precision)
returns json
language sql
set search_path = ''
as $$
    with given_back as (
        update public.beckn_inbox i
        set state = 'ready',
            attempts = i.attempts - 1,
            due_at = clock_timestamp() + make_interval(secs => p_pause_seconds),
            lease_token = null
        where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.state = 'leased'
        returning i.state
    )
    select json_build_object('state', coalesce((select given_back.state from given_back), 'fenced'))
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
        set state = case when i.attempts - i.lost_leases >= i.max_attempts then 'dead' else 'ready' end,
            due_at = clock_timestamp() + make_interval(
                secs => p_first_retry_seconds * power(2, least(i.attempts - i.lost_leases - 1, 20)) * (0.75 + random() / 2)),
            finished_at = case when i.attempts - i.lost_leases >= i.max_attempts then clock_timestamp() end,
            lease_token = null,
            last_error = left(p_error, 2000)
        where i.inbox_id = p_inbox_id and i.lease_token = p_lease_token and i.state = 'leased'
        returning case when i.state = 'dead' then 'dead' else 'retry' end as state
    )
    select json_build_object('state', coalesce((select failed.state from failed), 'fenced'))
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
    died json;
    candidates bigint[];
    due bigint[];
    taken json;
    -- A value, and not the volatile function, so that an index finds what is due.
    moment timestamptz := clock_timestamp();
begin
    with over as materialized (
        select o.outbox_id
        from public.beckn_outbox o
        where o.sender = p_sender and o.state in ('ready', 'leased') and o.expires_at <= moment
            and (o.state = 'ready' or o.due_at <= moment)
        order by o.expires_at
        limit 1000
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

    update public.beckn_outbox o
    set body = null
    where o.outbox_id in (
        select finished.outbox_id
        from public.beckn_outbox finished
        where finished.sender = p_sender and finished.state in ('delivered', 'dead') and finished.body is not null
            and finished.finished_at < moment - interval '1 minute'
        order by finished.finished_at
        limit 100
        for update skip locked);

    -- The first messages to every recipient, by their turn: however many wait, each recipient costs a look at an index.
    with recursive recipients as (
        (
            select o.recipient
            from public.beckn_outbox o
            where o.sender = p_sender and o.state in ('ready', 'leased')
            order by o.recipient
            limit 1)
        union all
        select (
            select o.recipient
            from public.beckn_outbox o
            where o.sender = p_sender and o.state in ('ready', 'leased') and o.recipient > recipients.recipient
            order by o.recipient
            limit 1)
        from recipients
        where recipients.recipient is not null
    ),
    busy as materialized (
        select o.recipient, count(*) as in_hand
        from public.beckn_outbox o
        where o.sender = p_sender and o.state = 'leased' and o.due_at > moment
        group by o.recipient
    ),
    troubled as materialized (
        select coalesce(sum(busy.in_hand), 0) as in_hand
        from busy
        join public.beckn_circuits c on (c.sender, c.recipient) = (p_sender, busy.recipient)
    ),
    places as materialized (
        select
            recipients.recipient,
            case
                when c.recipient is null then least(p_limit + 10, p_busiest - coalesce(busy.in_hand, 0))
                when c.open_until <= moment and busy.recipient is null
                    and (select troubled.in_hand from troubled) < p_troubled then 1
                else 0 end as free
        from recipients
        left join public.beckn_circuits c on (c.sender, c.recipient) = (p_sender, recipients.recipient)
        left join busy on busy.recipient = recipients.recipient
        where recipients.recipient is not null
    )
    select coalesce(array_agg(front.outbox_id order by front.turn, front.outbox_id), '{}')
    into candidates
    from places
    cross join lateral (
        select o.outbox_id, o.turn, row_number() over (order by o.turn, o.outbox_id) as place
        from public.beckn_outbox o
        where o.sender = p_sender and o.recipient = places.recipient and o.state in ('ready', 'leased')
            and o.due_at <= moment
            and (
                select earlier.outbox_id
                from public.beckn_outbox earlier
                where earlier.transaction_id = o.transaction_id and earlier.outbox_id < o.outbox_id
                    and earlier.state in ('ready', 'leased')
                    and earlier.sender = o.sender and earlier.origin = o.origin and earlier.recipient = o.recipient
                limit 1) is null
        order by o.turn, o.outbox_id
        limit p_limit + 2) as front
    where front.place <= places.free;

    select coalesce(array_agg(ready.outbox_id), '{}') into due
    from (
        select o.outbox_id
        from public.beckn_outbox o
        where o.outbox_id = any (candidates) and o.state in ('ready', 'leased') and o.due_at <= moment
        order by o.turn, o.outbox_id
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
            o.message_id, o.body, o."authorization", o.attempts as attempt, o.expires_at, o.turn
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
    select coalesce(json_agg(to_jsonb(addressed) - 'turn' order by addressed.turn, addressed.outbox_id), '[]') into taken
    from addressed;
    moment := clock_timestamp();
    return json_build_object(
        'claimed', taken,
        'died', died,
        'next_due_seconds', (
            select extract(epoch from min(next.due_at) - moment)
            from (
                select min(o.due_at) as due_at
                from public.beckn_outbox o
                where o.sender = p_sender and o.state in ('ready', 'leased') and o.due_at > moment
                union all
                select c.open_until
                from public.beckn_circuits c
                where c.sender = p_sender and c.open_until > moment) as next));
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
language sql
set search_path = ''
as $$
    with held as materialized (
        select
            o.outbox_id,
            o.sender,
            o.recipient,
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
                when p_outcome not in ('retry', 'unreachable') then p_outcome
                when held.again_at > clock_timestamp() then 'retry'
                else 'dead' end as outcome
        from held
    ),
    opened as (
        insert into public.beckn_circuits as c (sender, recipient, failures, open_until)
        select held.sender, held.recipient, 1, clock_timestamp() + make_interval(secs => least(5, p_first_retry_seconds))
        from held
        where p_outcome = 'unreachable'
        on conflict (sender, recipient) do update set
            failures = least(c.failures + 1, 30),
            open_until = clock_timestamp() + make_interval(
                secs => least(5, p_first_retry_seconds * power(2, least(c.failures, 20))) * (0.75 + random() / 2))
    ),
    closed as (
        delete from public.beckn_circuits c
        using held
        where (c.sender, c.recipient) = (held.sender, held.recipient) and p_outcome <> 'unreachable'
    ),
    settled as (
        update public.beckn_outbox o
        set state = case when judged.outcome = 'retry' then 'ready' else judged.outcome end,
            due_at = case when judged.outcome = 'retry' then judged.again_at else o.due_at end,
            finished_at = case when judged.outcome <> 'retry' then clock_timestamp() end,
            last_error = case
                when judged.outcome = 'dead' and p_outcome in ('retry', 'unreachable')
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
                i.state in ('done', 'dead') and i.finished_at < greatest(
                    p_before, clock_timestamp() - case when i.state = 'dead' then interval '7 days' else interval '1 hour' end)
                and (
                    i.finished_at < p_before
                    or coalesce(i.expires_at, i.received_at + interval '1 day') < clock_timestamp() - interval '1 hour'))
            or (i.state in ('ready', 'leased') and coalesce(i.expires_at, i.received_at) < p_before)
        returning i.inbox_id
    ),
    sent as (
        delete from public.beckn_outbox o
        where (
                o.state in ('delivered', 'dead') and o.finished_at < greatest(
                    p_before, clock_timestamp() - case when o.state = 'dead' then interval '7 days' else interval '1 hour' end)
                and (o.finished_at < p_before or o.expires_at < clock_timestamp() - interval '1 hour'))
            or (o.state in ('ready', 'leased') and o.expires_at < p_before)
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

