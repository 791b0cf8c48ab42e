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

