-- What was bought and sold on the network ----------------------------------------------------------------------------------
--
-- Orders and quotes, newest first, after the place (p_before, p_before_id) of the last one seen, or from the newest. Whoever
-- sees everything sees all of them, without a "side"; a tenant those that it placed and those of its data centres. Both sides
-- see the whole purchase, and neither anything else of the other's. "side" is buyer, seller or both.

create or replace function public.purchased_orders(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(page order by page.created_at desc, page.order_id desc), '[]')
    from (
        select
            o.order_id, o.bpp_id, o.bap_id, o.transaction_id, o.quote_id, o.job_id, o.dc_id, o.item_id, o.state,
            o.starts_at, o.ends_at, o.it_power_kw, o.price_gbp, o.terms, o.deferral, o.cancellation, o.revision,
            o.created_at, o.updated_at, o.buyer_operator, o.seller_operator, null::text as side
        from public.beckn_orders o
        where p_before is null or (o.created_at, o.order_id) < (p_before, p_before_id)
        order by o.created_at desc, o.order_id desc
        limit p_limit) as page
$$;

create or replace function public.purchased_quotes(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(page order by page.created_at desc, page.quote_id desc), '[]')
    from (
        select
            q.quote_id, q.bpp_id, q.bap_id, q.transaction_id, q.dc_id, q.item_id, q.starts_at, q.ends_at, q.it_power_kw,
            q.price_gbp, q.terms, q.expires_at, q.created_at, q.buyer_operator, q.seller_operator, null::text as side
        from public.beckn_quotes q
        where p_before is null or (q.created_at, q.quote_id) < (p_before, p_before_id)
        order by q.created_at desc, q.quote_id desc
        limit p_limit) as page
$$;

-- What was bought and what was sold are read apart, each by its index, and no further than the page.
create or replace function tenant.purchased_orders(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select coalesce(json_agg(page order by page.created_at desc, page.order_id desc), '[]')
        from (
            select
                o.order_id, o.bpp_id, o.bap_id, o.transaction_id, o.quote_id, o.job_id, o.dc_id, o.item_id, o.state,
                o.starts_at, o.ends_at, o.it_power_kw, o.price_gbp, o.terms, o.deferral, o.cancellation, o.revision,
                o.created_at, o.updated_at, o.buyer_operator, o.seller_operator, o.side
            from (
                (
                    select *, case when seller_operator = own then 'both' else 'buyer' end as side
                    from public.beckn_orders
                    where buyer_operator = own
                        and (p_before is null or (created_at, order_id) < (p_before, p_before_id))
                    order by created_at desc, order_id desc
                    limit p_limit)
                union all
                (
                    select *, 'seller'
                    from public.beckn_orders
                    where seller_operator = own and buyer_operator <> own
                        and (p_before is null or (created_at, order_id) < (p_before, p_before_id))
                    order by created_at desc, order_id desc
                    limit p_limit)) as o
            order by o.created_at desc, o.order_id desc
            limit p_limit) as page);
end
$$;

create or replace function tenant.purchased_quotes(p_before timestamptz, p_before_id uuid, p_limit integer)
returns json
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
    own constant text := tenancy.operator_id();
begin
    return (
        select coalesce(json_agg(page order by page.created_at desc, page.quote_id desc), '[]')
        from (
            select
                q.quote_id, q.bpp_id, q.bap_id, q.transaction_id, q.dc_id, q.item_id, q.starts_at, q.ends_at, q.it_power_kw,
                q.price_gbp, q.terms, q.expires_at, q.created_at, q.buyer_operator, q.seller_operator, q.side
            from (
                (
                    select *, case when seller_operator = own then 'both' else 'buyer' end as side
                    from public.beckn_quotes
                    where buyer_operator = own
                        and (p_before is null or (created_at, quote_id) < (p_before, p_before_id))
                    order by created_at desc, quote_id desc
                    limit p_limit)
                union all
                (
                    select *, 'seller'
                    from public.beckn_quotes
                    where seller_operator = own and buyer_operator <> own
                        and (p_before is null or (created_at, quote_id) < (p_before, p_before_id))
                    order by created_at desc, quote_id desc
                    limit p_limit)) as q
            order by q.created_at desc, q.quote_id desc
            limit p_limit) as page);
end
$$;

-- One order as in the lists, and the messages of its transaction that both sides sent each other, as far as they are kept: what
-- came in (received_at) and what went out (sent_at), without bodies. What both platforms have here stands in both. For
-- p_operator only where it is a side of the purchase; null where there is no such order.
create or replace function public.purchase_story(p_order_id uuid, p_operator text default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    bought public.beckn_orders;
begin
    select * into bought
    from public.beckn_orders o
    where o.order_id = p_order_id and (p_operator is null or p_operator in (o.buyer_operator, o.seller_operator));
    if bought.order_id is null then
        return null;
    end if;
    return json_build_object(
        'order', (
            select to_json(shown)
            from (
                select
                    bought.order_id, bought.bpp_id, bought.bap_id, bought.transaction_id, bought.quote_id, bought.job_id,
                    bought.dc_id, bought.item_id, bought.state, bought.starts_at, bought.ends_at, bought.it_power_kw,
                    bought.price_gbp, bought.terms, bought.deferral, bought.cancellation, bought.revision, bought.created_at,
                    bought.updated_at, bought.buyer_operator, bought.seller_operator,
                    case
                        when p_operator is null then null
                        when bought.buyer_operator = bought.seller_operator then 'both'
                        when bought.buyer_operator = p_operator then 'buyer'
                        else 'seller' end as side) as shown),
        'quoted_at', (select q.created_at from public.beckn_quotes q where q.quote_id = bought.quote_id),
        'messages', (
            select coalesce(json_agg(message order by message.at, message.action), '[]')
            from (
                select
                    i.sender, i.recipient, i.action, i.message_id, i.received_at as at, null::timestamptz as sent_at,
                    i.received_at, i.work_state, i.attempt as attempts, i.finished_at,
                    i.answer #>> '{message,ack,status}' as answered, i.body_digest
                from (values (bought.bap_id, bought.bpp_id), (bought.bpp_id, bought.bap_id)) as way (sender, recipient)
                join public.beckn_inbox i on i.sender = way.sender and i.recipient = way.recipient
                where i.transaction_id = bought.transaction_id
                union all
                select
                    o.sender, o.recipient, o.action, o.message_id, o.created_at, o.created_at, null, o.work_state,
                    o.attempt, o.finished_at, null, o.body_digest
                from (values (bought.bap_id, bought.bpp_id), (bought.bpp_id, bought.bap_id)) as way (sender, recipient)
                join public.beckn_outbox o
                    on o.sender = way.sender and o.origin = way.sender and o.recipient = way.recipient
                where o.transaction_id = bought.transaction_id) as message));
end
$$;

create or replace function tenant.purchase_story(p_order_id uuid)
returns json language sql stable security definer set search_path = ''
as $$ select public.purchase_story(p_order_id, tenancy.operator_id()) $$;
