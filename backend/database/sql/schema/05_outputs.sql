-- Outputs and their numbers ------------------------------------------------------------------------------------------------

-- An output as it is stored: its own text, but for the sequence number. Our programs leave one place for it, which no text in
-- the document can look like, since its quotation marks would be escaped. Any other document is taken apart. Programs of
-- version 1 send the document itself, which has lost the order of its keys on the way here: what it begins with is put in
-- order.
create or replace function public.numbered_output(p_output jsonb, p_sequence bigint)
returns json
language plpgsql
immutable
set search_path = ''
as $$
declare
    place constant text := '"sequence":null';
    beginning constant text := '"_metadata":{'; -- of what the place is in
    written text;
begin
    if jsonb_typeof(p_output) = 'string' then
        written := p_output #>> '{}';
        -- Each is there once, and nothing opens or closes between them. Looked for without taking the text apart, which may
        -- be megabytes.
        if octet_length(replace(written, place, '')) = octet_length(written) - octet_length(place)
            and octet_length(replace(written, beginning, '')) = octet_length(written) - octet_length(beginning)
            and position(place in split_part(written, beginning, 2)) > 0
            and split_part(split_part(written, beginning, 2), place, 1) !~ '[{}]'
        then
            return replace(written, place, '"sequence":' || p_sequence);
        end if;
    end if;
    return (
        select '{' || string_agg(
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
                part.place) || '}'
        from json_each(case jsonb_typeof(p_output) when 'string' then (p_output #>> '{}')::json else p_output::json end)
            with ordinality as part (key, value, place));
end
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


