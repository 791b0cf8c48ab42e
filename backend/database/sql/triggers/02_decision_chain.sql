-- The audit log is a chain ---------------------------------------------------------------------------------------------
--
-- A trigger keeps others from changing a decision, but not whoever owns the database and may switch triggers off. So every
-- decision holds the SHA-256 of its own bytes, which name the hash of the one before it among its tenant's: who changes,
-- removes, inserts or moves one has to write all later ones anew, and is found out by whoever kept a later hash elsewhere
-- (`python backend/audit.py`).

-- What is hashed of a decision, as text: every column but chain_hash, in the order of the names below. A time is the seconds
-- since 1970 began, with six decimals, which no session's time zone or style changes. The grid is in by its digest, and
-- that is the hash of what is stored.
create or replace function public.decision_texts(d public.orchestration_decisions)
returns text[]
language plpgsql -- which plans it once a session, and not once a decision
stable
set search_path = ''
as $$
begin
    return array[
        d.chain_position::text, d.previous_hash, d.tenant, d.tenant_sequence::text, d.sequence::text, d.decision_id::text,
        d.notification_id::text, d.job_id, d.agent_id, d.chosen_dc_id, extract(epoch from d.recommended_start)::text,
        d.scorer, d.model, d.scorer_version, d.fallback_reason, d.reasoning, d.constraints_evaluated::text,
        d.alternatives_considered::text, d.context::text, d.output::text, d.token_usage::text,
        extract(epoch from d.decided_at)::text, d.grid_digest];
end
$$;

-- The SHA-256 of a decision's bytes, in hexadecimal. The bytes are lines of UTF-8, each ended by a line feed: first
-- "pylon decision 1", then one for each column: its name, "=", and the text's number of bytes, ":", and the text; or "-" for
-- null. The number keeps one text from passing for two.
create or replace function public.decision_hash(d public.orchestration_decisions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    names constant text[] := array[
        'chain_position', 'previous_hash', 'tenant', 'tenant_sequence', 'sequence', 'decision_id',
        'notification_id', 'job_id', 'agent_id', 'chosen_dc_id', 'recommended_start',
        'scorer', 'model', 'scorer_version', 'fallback_reason', 'reasoning', 'constraints_evaluated',
        'alternatives_considered', 'context', 'output', 'token_usage', 'decided_at', 'grid_digest'];
    texts constant text[] := public.decision_texts(d);
    written text := E'pylon decision 1\n';
begin
    -- Put together without a query, which would take as long as the hashing itself.
    for i in 1 .. cardinality(names) loop
        written := concat(
            written, names[i],
            coalesce(concat('=', octet_length(convert_to(texts[i], 'UTF8')), ':') || texts[i], '=-'), E'\n');
    end loop;
    return encode(sha256(convert_to(written, 'UTF8')), 'hex');
end
$$;

create or replace function public.chain_decision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- The lock that numbers are given under: whoever publishes has it already. The next statement sees what was committed
    -- before it, and the rows that the same statement has stored.
    perform pg_advisory_xact_lock(7263812);
    select d.chain_position + 1, d.chain_hash into new.chain_position, new.previous_hash
    from public.orchestration_decisions d
    where d.tenant = new.tenant and d.chain_position is not null
    order by d.chain_position desc
    limit 1;
    new.chain_position := coalesce(new.chain_position, 1);
    new.chain_hash := public.decision_hash(new);
    return new;
end
$$;

-- After "file_under_tenant": triggers fire in the order of their names. And for a replica's sessions too.
create or replace trigger hash_into_chain
    before insert on public.orchestration_decisions
    for each row execute function public.chain_decision();
alter table public.orchestration_decisions enable always trigger hash_into_chain;

-- Decisions of a tenant in the order of its chain, behind the one with p_after_position and p_after_decision, as what is to
-- be hashed: [{"texts": […], "hash"}…]. At most p_limit, and fewer where they are long.
create or replace function public.decision_chain(
    p_operator text, p_after_position bigint default null, p_after_decision uuid default null, p_limit integer default 200)
returns json
language sql
stable
set search_path = ''
as $$
    with page as (
        select d as decision, d.chain_position, d.decision_id, octet_length(d.output::text) + pg_column_size(d.context)
            + pg_column_size(d.alternatives_considered) as bytes
        from public.orchestration_decisions d
        where d.tenant = p_operator
            and d.chain_position >= coalesce(p_after_position, -9223372036854775808)
            and (p_after_decision is null or (d.chain_position, d.decision_id) > (p_after_position, p_after_decision))
        order by d.chain_position, d.decision_id
        limit p_limit
    ),
    ahead as (
        select page.decision, row_number() over in_order as place, sum(page.bytes) over in_order as bytes
        from page
        window in_order as (order by page.chain_position, page.decision_id)
    )
    select coalesce(json_agg(
        json_build_object('texts', public.decision_texts(ahead.decision), 'hash', (ahead.decision).chain_hash)
        order by ahead.place), '[]')
    from ahead
    where ahead.place = 1 or ahead.bytes < 1048576
$$;

-- Where the chains end: {"heads": [{"operator", "position", "hash", "decision_id"}…], "unchained": [decisions that are in no
-- chain, at most one for each tenant]}.
create or replace function public.decision_heads()
returns json
language sql
stable
set search_path = ''
as $$
    -- One step of an index for each tenant, however many decisions it has.
    with recursive tenants as (
        (select d.tenant from public.orchestration_decisions d order by d.tenant limit 1)
        union all
        select (
            select d.tenant from public.orchestration_decisions d where d.tenant > t.tenant order by d.tenant limit 1)
        from tenants t
        where t.tenant is not null
    )
    select json_build_object(
        'heads', (
            select coalesce(json_agg(json_build_object(
                'operator', t.tenant, 'position', head.chain_position, 'hash', head.chain_hash,
                'decision_id', head.decision_id) order by t.tenant), '[]')
            from tenants t
            cross join lateral (
                select d.chain_position, d.chain_hash, d.decision_id
                from public.orchestration_decisions d
                where d.tenant = t.tenant and d.chain_position is not null
                order by d.chain_position desc
                limit 1) as head),
        -- The tables refuse such; but whoever owns them may let them in.
        'unchained', (
            select coalesce(json_agg(outside.decision_id), '[]')
            from (
                select (
                    select d.decision_id from public.orchestration_decisions d
                    where d.tenant = t.tenant and d.chain_position is null
                    limit 1) as decision_id
                from tenants t
                union all
                (select d.decision_id from public.orchestration_decisions d where d.tenant is null limit 1)) as outside
            where outside.decision_id is not null))
$$;

-- A grid as the text whose SHA-256 is its digest: {"grid"}, null where there is none.
create or replace function public.decision_grid(p_digest text)
returns json
language sql
stable
set search_path = ''
as $$
    select json_build_object('grid', (select g.grid::text from public.decision_grids g where g.digest = p_digest))
$$;


