-- Tenants: their own objects -----------------------------------------------------------------------------------------------

-- Rows of a table that tenants may read, as the program reads them: p_where [{column, comparison: eq | gt | gte | lt | lte |
-- in | is_null, value}…], p_order [column…], p_after: the values of the p_order columns of the last row seen.
--
-- Raises 42501 for any other table, and 42703 for a column that there is not.
create or replace function tenant.select_rows(
    p_table text, p_where jsonb default '[]', p_order jsonb default '[]', p_descending boolean default false,
    p_after jsonb default null, p_limit integer default null, p_columns jsonb default null)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
    direction constant text := case when p_descending then 'desc' else 'asc' end;
    source text;
    listed text;
    conditions text;
    position text;
    sorted text;
    answer json;
begin
    source := case
        when p_table in (
            'operators', 'regions', 'grid_signals', 'regional_grid_signals', 'generation_mix', 'data_centres',
            'compute_workloads', 'agents', 'storage_assets') then format('public.%I', p_table)
    end;
    if source is null then
        raise exception 'tenants may not read %', p_table using errcode = 'insufficient_privilege';
    end if;
    select string_agg(format('%I', name), ', ') into listed from jsonb_array_elements_text(p_columns) as name;
    select string_agg(format('%I %s', name, direction), ', ') into sorted from jsonb_array_elements_text(p_order) as name;
    select string_agg(
        case condition ->> 'comparison'
            when 'is_null' then format(
                '%I is %s null', condition ->> 'column', case when condition ->> 'value' = 'true' then '' else 'not' end)
            when 'in' then format('%I in (%s)', condition ->> 'column', coalesce((
                select string_agg(format('%L', one), ', ') from jsonb_array_elements_text(condition -> 'value') as one), 'null'))
            else format(
                '%I %s %L', condition ->> 'column',
                (jsonb '{"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}') ->> (condition ->> 'comparison'),
                condition ->> 'value')
        end, ' and ')
    into conditions
    from jsonb_array_elements(p_where) as condition;
    if jsonb_array_length(p_after) > 0 then
        select format(
            '(%s) %s (%s)', string_agg(format('%I', p_order ->> (place::integer - 1)), ', '),
            case when p_descending then '<' else '>' end, string_agg(format('%L', value), ', '))
        into position
        from jsonb_array_elements_text(p_after) with ordinality as seen (value, place);
    end if;
    execute format(
        'select coalesce(json_agg(r), ''[]'') from (select %s from %s where %s and %s %s %s) as r',
        coalesce(listed, '*'), source, coalesce(conditions, 'true'), coalesce(position, 'true'),
        coalesce('order by ' || sorted, ''), coalesce('limit ' || p_limit, ''))
    into answer;
    return answer;
end
$$;
