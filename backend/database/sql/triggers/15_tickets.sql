-- Tenants: tickets for streams -----------------------------------------------------------------------------------------------

-- Notes a ticket by its SHA-256: whoever shows it within p_seconds, a minute at most, is p_holder, once. Answers
-- {"good_until"}.
create or replace function public.tenancy_issue_ticket(p_digest text, p_holder jsonb, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    until constant timestamptz := clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0), 60));
begin
    -- Whoever comes for tickets takes away those that nobody came back with; a few at a time, and none that is in use.
    delete from tenancy.tickets t
    where t.digest in (
        select old.digest from tenancy.tickets old
        where old.good_until < clock_timestamp()
        order by old.good_until
        limit 100
        for update skip locked);
    insert into tenancy.tickets (digest, holder, good_until) values (p_digest, p_holder, until);
    return json_build_object('good_until', until);
end
$$;

-- Who shows the ticket with this digest; null where there is none, or no more. Of two who show it at once, one is answered.
create or replace function public.tenancy_redeem_ticket(p_digest text)
returns json
language sql
security definer
set search_path = ''
as $$
    with taken as (
        delete from tenancy.tickets t where t.digest = p_digest
        returning t.holder, t.good_until
    )
    select taken.holder::json from taken where taken.good_until >= clock_timestamp()
$$;

