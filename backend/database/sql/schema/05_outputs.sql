-- Outputs and their numbers ------------------------------------------------------------------------------------------------

-- An output as it is stored: its own text, but for the sequence number. Programs of version 1 send the document itself,
-- which has lost the order of its keys on the way here: what it begins with is put in order.
create or replace function public.numbered_output(p_output jsonb, p_sequence bigint)
returns json
language sql
immutable
set search_path = ''
as $$
    select (
        '{' || string_agg(
            to_json(part.key)::text || ':' || case
                when part.key = '_metadata' and json_typeof(part.value) = 'object' then (
                    select '{' || coalesce(string_agg(
                        to_json(m.key)::text || ':' || case m.key when 'sequence' then p_sequence::text else m.value::text end,
                        ',' order by m.place), '') || '}'
                    from json_each(part.value) with ordinality as m (key, value, place))
                else part.value::text end,
            ',' order by
                case when jsonb_typeof(p_output) = 'object'
                    then array_position(array['data_centre_options', 'task', 'decision', '_metadata'], part.key) end,
                part.place) || '}')::json
    from json_each(case jsonb_typeof(p_output) when 'string' then (p_output #>> '{}')::json else p_output::json end)
        with ordinality as part (key, value, place)
$$;

-- A stored output as its tenant sees it: with the tenant's own number.
create or replace function tenancy.seen_output(p_output json, p_tenant_sequence bigint)
returns json
language sql
immutable
set search_path = ''
as $$
    select public.numbered_output(to_jsonb(p_output::text), p_tenant_sequence)
$$;


