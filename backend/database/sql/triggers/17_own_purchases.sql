-- Tenants: what they bought and sold on the network ------------------------------------------------------------------------

-- The caller's newest orders, those that it placed and those of its data centres: both sides see the whole order, and neither
-- anything else of the other's. "side" is buyer, seller or both.
create or replace function tenant.own_orders(p_limit integer default 100)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(own order by own.created_at desc, own.order_id), '[]')
    from (
        select
            o.order_id, o.bpp_id, o.bap_id, o.transaction_id, o.quote_id, o.job_id, o.dc_id, o.item_id, o.state,
            o.starts_at, o.ends_at, o.it_power_kw, o.price_gbp, o.terms, o.deferral, o.cancellation, o.revision,
            o.created_at, o.updated_at, o.buyer_operator, o.seller_operator,
            case
                when o.buyer_operator = o.seller_operator then 'both'
                when o.buyer_operator = (select tenancy.operator_id()) then 'buyer'
                else 'seller' end as side
        from public.beckn_orders o
        where o.buyer_operator = (select tenancy.operator_id()) or o.seller_operator = (select tenancy.operator_id())
        order by o.created_at desc, o.order_id
        limit p_limit) as own
$$;

-- The same of quotes, the used and expired ones included for as long as they are kept.
create or replace function tenant.own_quotes(p_limit integer default 100)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(own order by own.created_at desc, own.quote_id), '[]')
    from (
        select
            q.quote_id, q.bpp_id, q.bap_id, q.transaction_id, q.dc_id, q.item_id, q.starts_at, q.ends_at, q.it_power_kw,
            q.price_gbp, q.terms, q.expires_at, q.created_at, q.buyer_operator, q.seller_operator,
            case
                when q.buyer_operator = q.seller_operator then 'both'
                when q.buyer_operator = (select tenancy.operator_id()) then 'buyer'
                else 'seller' end as side
        from public.beckn_quotes q
        where q.buyer_operator = (select tenancy.operator_id()) or q.seller_operator = (select tenancy.operator_id())
        order by q.created_at desc, q.quote_id
        limit p_limit) as own
$$;
