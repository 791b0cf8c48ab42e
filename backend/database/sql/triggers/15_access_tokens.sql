-- Tenants: access tokens -----------------------------------------------------------------------------------------------------

-- Notes a token by its SHA-256: whoever shows it within p_seconds, an hour at most, has the credential p_credential_id as it
-- then is. Answers {"good_until"}.
create or replace function public.tenancy_issue_access_token(p_digest text, p_credential_id text, p_seconds double precision)
returns json
language plpgsql
security definer
set search_path = ''
as $$
declare
    until constant timestamptz := clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0), 3600));
begin
    -- Whoever comes for one takes away what has run out; a few at a time.
    delete from tenancy.access_tokens t
    where t.digest in (
        select old.digest from tenancy.access_tokens old
        where old.good_until < clock_timestamp()
        order by old.good_until
        limit 100
        for update skip locked);
    insert into tenancy.access_tokens (digest, credential_id, good_until) values (p_digest, p_credential_id, until);
    return json_build_object('good_until', until);
end
$$;

-- What the token with this digest stands for: {"credential_id", "good_until"}; null where there is none, or no more.
create or replace function public.tenancy_access_token(p_digest text)
returns json
language sql
stable
security definer
set search_path = ''
as $$
    select json_build_object('credential_id', t.credential_id, 'good_until', t.good_until)
    from tenancy.access_tokens t
    where t.digest = p_digest and t.good_until >= clock_timestamp()
$$;

