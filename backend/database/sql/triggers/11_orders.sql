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

